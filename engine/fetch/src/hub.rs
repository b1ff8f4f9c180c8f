use std::path::{Path, PathBuf};

use fluent_uri::pct_enc::{EString, encoder::Data, encoder::Path as PathCharacters};
use serde::Deserialize;

use refit_engine::fetch::{FetchError, FetchProgress, Fetched};

use crate::{
    FetchOptions,
    address::Address,
    download::{Download, DownloadError, Known},
    heads,
    http::{Client, HttpError, header},
    hub_cache::{HubCache, is_commit},
    listing::{Listing, Refs, Sibling},
    near::did_you_mean,
    place::lock,
    selection::{INDEX, beside, has_ending, is_inner, weights},
};

/// What a repository is read at when no revision is named.
const BRANCH: &str = "main";
/// A listing of a hundred thousand files is smaller.
const LONGEST_LISTING: u64 = 64 << 20;

/// A repository on the Hugging Face hub, or one file of it.
pub(crate) struct Hub<'a> {
    options: &'a FetchOptions,
    repo: &'a str,
    revision: Option<&'a str>,
    file: Option<&'a str>,
    cache: HubCache,
}

/// A file's bytes, as the hub names them.
struct Blob {
    /// Its name in the cache.
    name: String,
    known: Option<Known>,
}

impl<'a> Hub<'a> {
    pub(crate) fn new(
        options: &'a FetchOptions,
        repo: &'a str,
        revision: Option<&'a str>,
        file: Option<&'a str>,
    ) -> Self {
        Self { options, repo, revision, file, cache: HubCache::new(options, repo) }
    }

    /// What an earlier call fetched.
    pub(crate) fn cached(&self) -> Option<Fetched> {
        let commit = self.cache.own_commit(self.wanted())?;
        let path = match self.file {
            Some(file) => Some(self.cache.snapshot(&commit).join(file)).filter(|path| path.is_file()),
            None => self.cache.has_model(&commit).then(|| self.cache.model(&commit)),
        };
        Some(Fetched { path: path?, revision: Some(commit) })
    }

    /// What any tool downloaded to this machine; an error that says how to get it here otherwise.
    pub(crate) fn offline(&self) -> Result<Fetched, FetchError> {
        self.left_by_other_tools()?.ok_or_else(|| {
            let message = format!("{} is not on this machine, and no network may be used", self.name());
            FetchError::new("fetch::offline", message).help(self.by_hand())
        })
    }

    pub(crate) fn fetch(
        &self,
        client: &Client,
        on_progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Fetched, FetchError> {
        let listing = match self.list(client) {
            Ok(listing) => listing,
            // What another tool left here is as good as what cannot be reached.
            Err(error) if error.code() == "fetch::no_network" => return self.left_by_other_tools()?.ok_or(error),
            Err(error) => return Err(error),
        };
        let commit = listing.sha.as_str();
        let path = match self.file {
            Some(file) => {
                let sibling = listing.find(file).ok_or_else(|| self.no_such_file(file, &listing))?;
                self.bring(client, commit, &[sibling], on_progress)?;
                self.cache.snapshot(commit).join(file)
            }
            None => self.bring_model(client, &listing, on_progress)?,
        };
        self.cache.remember(self.wanted(), commit)?;
        Ok(Fetched { path, revision: Some(commit.to_owned()) })
    }

    /// Brings configuration and headers of a model to a folder.
    pub(crate) fn headers(&self, client: &Client, into: &Path) -> Result<PathBuf, FetchError> {
        let listing = self.list(client)?;
        let from = |file: &str| self.address(&[self.repo, "resolve", &listing.sha, file]);
        let place = |file: &str| into.join(file.rsplit('/').next().unwrap_or(file));
        if let Some(file) = self.file {
            let sibling = listing.find(file).ok_or_else(|| self.no_such_file(file, &listing))?;
            heads::begin(client, &from(&sibling.path)?, &place(file))?;
            return Ok(place(file));
        }
        let paths = listing.paths();
        for file in ["config.json", "generation_config.json", INDEX].iter().filter(|file| paths.contains(file)) {
            heads::whole(client, &from(file)?, &place(file))?;
        }
        let weights = weights(&paths, fs_err::read_to_string(place(INDEX)).ok().as_deref());
        if weights.is_empty() {
            return Err(self.no_weights(&paths));
        }
        for file in weights.iter().filter(|file| *file != INDEX && is_inner(file)) {
            heads::begin(client, &from(file)?, &place(file))?;
        }
        Ok(into.to_owned())
    }

    fn bring_model(
        &self,
        client: &Client,
        listing: &Listing,
        on_progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<PathBuf, FetchError> {
        let commit = listing.sha.as_str();
        // The index names the shards, so it comes first.
        let index = match listing.find(INDEX) {
            Some(index) => {
                self.bring(client, commit, &[index], &mut |_| {})?;
                let path = self.cache.snapshot(commit).join(INDEX);
                Some(fs_err::read_to_string(&path).map_err(|error| FetchError::io("reading", &path, error))?)
            }
            None => None,
        };
        let paths = listing.paths();
        let weights = weights(&paths, index.as_deref());
        if weights.is_empty() {
            return Err(self.no_weights(&paths));
        }
        let mut files = beside(&paths);
        files.extend(weights);
        let find = |file: &String| {
            listing.find(file).ok_or_else(|| {
                let message = format!("{INDEX} of {} names {file}, which is not there", self.name());
                FetchError::new("fetch::bad_model", message)
                    .help("the repository is incomplete: take another revision of it, or another repository")
            })
        };
        let siblings = files.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        self.bring(client, commit, &siblings, on_progress)?;
        self.hand_out(commit, &files)
    }

    fn hand_out(&self, commit: &str, files: &[String]) -> Result<PathBuf, FetchError> {
        let _locked = lock(&self.cache.model_lock(commit))?;
        if self.cache.has_model(commit) { Ok(self.cache.model(commit)) } else { self.cache.gather(commit, files) }
    }

    /// Downloads those of the files that are not here.
    fn bring(
        &self,
        client: &Client,
        commit: &str,
        siblings: &[&Sibling],
        on_progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<(), FetchError> {
        let total: Option<u64> = siblings.iter().map(|sibling| sibling.size()).sum();
        let by_hand = self.by_hand();
        let mut done = 0;
        for sibling in siblings {
            let file = sibling.path.as_str();
            let from = self.address(&[self.repo, "resolve", commit, file])?;
            let blob = self.blob(client, sibling, &from)?;
            let to = self.cache.blob(&blob.name);
            let _locked = lock(&self.cache.blob_lock(&blob.name))?;
            let size = sibling.size();
            if !to.metadata().is_ok_and(|found| size.is_none_or(|size| size == found.len())) {
                let part = self.cache.part(&blob.name);
                let download =
                    Download { from: &from, to: &to, part: &part, size, known: blob.known.clone(), by_hand: &by_hand };
                let report = &mut |bytes, _| on_progress(FetchProgress { done: done + bytes, total });
                download.run(client, report).map_err(|error| match error {
                    DownloadError::Http(error) => self.refused(error),
                    DownloadError::Failed(error) => error,
                })?;
            }
            self.cache.link_blob(commit, file, &blob.name)?;
            done += to.metadata().map_or(0, |found| found.len());
            on_progress(FetchProgress { done, total });
        }
        Ok(())
    }

    /// How a file's bytes are named: by the listing, or by the file's own headers where a mirror's listing says less.
    fn blob(&self, client: &Client, sibling: &Sibling, from: &Address) -> Result<Blob, FetchError> {
        if let Some(known) = sibling.known() {
            return Ok(Blob { name: known.hex().to_owned(), known: Some(known) });
        }
        let answer = client.get(from, None).map_err(|error| self.refused(error))?;
        let etag = answer.linked_etag.or_else(|| header(&answer.headers, "etag"));
        let known = etag.as_deref().and_then(Known::from_etag);
        // A tag of another form names the bytes just as well, once it is a file name; without one, the address does.
        let opaque = || blake3::hash(etag.as_deref().unwrap_or(from.as_str()).as_bytes()).to_hex().to_string();
        Ok(Blob { name: known.as_ref().map_or_else(opaque, |known| known.hex().to_owned()), known })
    }

    fn list(&self, client: &Client) -> Result<Listing, FetchError> {
        // What a branch once meant here it goes on meaning, so that all its files are of one commit.
        let commit = self.cache.own_commit(self.wanted());
        let revision = commit.as_deref().unwrap_or(self.wanted());
        let address = self.address(&["api/models", self.repo, "revision", revision])?;
        let with_digests = address.with_query("blobs=true");
        let listing: Listing = match self.ask(client, &with_digests) {
            Err(HttpError::Refused(refusal)) if refusal.status == 404 && !refusal.says("RepoNotFound") => {
                return Err(self.no_such_revision(client));
            }
            answer => answer.map_err(|error| self.refused(error))?,
        };
        let bad = |what: String| {
            let message = format!("{} answers what the hub would not: {what}", self.options.hub.endpoint);
            FetchError::new("fetch::bad_listing", message).help(self.by_hand())
        };
        if !is_commit(&listing.sha) {
            return Err(bad(format!("the commit {:?}", listing.sha)));
        }
        match listing.siblings.iter().find(|sibling| !is_inner(&sibling.path)) {
            Some(sibling) => Err(bad(format!("the path {:?}", sibling.path))),
            None => Ok(listing),
        }
    }

    fn ask<T: for<'de> Deserialize<'de>>(&self, client: &Client, address: &Address) -> Result<T, HttpError> {
        let mut answer = client.get(address, None)?;
        let read = answer.body.with_config().limit(LONGEST_LISTING).read_to_vec();
        let bytes = read.map_err(|cause| HttpError::Silent { host: address.host().to_owned(), cause })?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("{address} answers with something that is no listing of the hub");
            HttpError::Address(
                FetchError::new("fetch::bad_listing", message)
                    .help(format!(
                        "check HF_ENDPOINT, and whether a sign-in page stands in between; or {}",
                        self.by_hand()
                    ))
                    .caused_by(error),
            )
        })
    }

    /// An address below the endpoint.
    fn address(&self, parts: &[&str]) -> Result<Address, FetchError> {
        let mut path = EString::<PathCharacters>::new();
        for part in parts {
            for segment in part.split('/') {
                path.push('/');
                path.encode_str::<Data>(segment);
            }
        }
        let endpoint = self.options.hub.endpoint.trim_end_matches('/');
        Address::parse(&format!("{endpoint}{path}")).map_err(|error| error.help("HF_ENDPOINT looks like https://HOST"))
    }

    /// What another tool downloaded, as far as it is all there.
    fn left_by_other_tools(&self) -> Result<Option<Fetched>, FetchError> {
        let Some(commit) = self.cache.any_commit(self.wanted()) else { return Ok(None) };
        let path = if let Some(file) = self.file {
            self.cache.snapshot(&commit).join(file)
        } else {
            let files = self.cache.files(&commit);
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            let index = fs_err::read_to_string(self.cache.snapshot(&commit).join(INDEX)).ok();
            let weights = weights(&files, index.as_deref());
            let mut model = beside(&files);
            let whole = weights.iter().all(|file| files.contains(&file.as_str()));
            if weights.is_empty() || !whole || !model.iter().any(|file| file.ends_with("config.json")) {
                return Ok(None);
            }
            model.extend(weights);
            self.hand_out(&commit, &model)?
        };
        if !path.exists() {
            return Ok(None);
        }
        self.cache.remember(self.wanted(), &commit)?;
        Ok(Some(Fetched { path, revision: Some(commit) }))
    }

    fn wanted(&self) -> &str {
        self.revision.unwrap_or(BRANCH)
    }

    /// The repository and revision as people write them.
    fn name(&self) -> String {
        let file = self.file.map_or_else(String::new, |file| format!("/{file}"));
        match self.revision {
            Some(revision) => format!("hf://{}@{revision}{file}", self.repo),
            None => format!("hf://{}{file}", self.repo),
        }
    }

    /// How to get it without this machine's network.
    fn by_hand(&self) -> String {
        let revision = self.revision.map_or_else(String::new, |revision| format!(" --revision {revision}"));
        let file = self.file.map_or_else(String::new, |file| format!(" {file}"));
        let folder = self.cache.folder().file_name().unwrap_or_default().to_string_lossy();
        format!(
            "on a machine with network run `hf download {}{file}{revision}` and copy the folder \
             ~/.cache/huggingface/hub/{folder} from there to {}; or set HF_ENDPOINT to a mirror; or name a local copy by its path",
            self.repo,
            self.cache.folder().display()
        )
    }

    fn refused(&self, error: HttpError) -> FetchError {
        let HttpError::Refused(refusal) = error else { return error.explain(&self.by_hand()) };
        let (repo, endpoint) = (self.repo, self.options.hub.endpoint.trim_end_matches('/'));
        let has_token = self.options.hub.token.is_some();
        let gated = refusal.says("GatedRepo") || refusal.status == 403;
        let missing = refusal.says("RepoNotFound") || refusal.status == 404;
        let reason = refusal.reason.clone();
        let made = if gated && matches!(refusal.status, 401 | 403) {
            let message = format!("{repo} is open only to those who accepted its terms ({})", refusal.status);
            let token = if has_token {
                "the token given belongs to an account that has not, or it may not read this repository".to_owned()
            } else {
                "then set HF_TOKEN to a token of that account".to_owned()
            };
            FetchError::new("fetch::licence", message)
                .help(format!("accept them at {endpoint}/{repo} with an account of yours; {token}"))
        } else if missing {
            let message = format!("there is no repository {repo} at {endpoint}, or it is private");
            FetchError::new("fetch::not_found", message).help(if has_token {
                "check its name; the token given may lack the right to read it"
            } else {
                "check its name; for a private one set HF_TOKEN"
            })
        } else if refusal.status == 401 {
            let message = format!("{endpoint} does not let this machine read {repo} (401)");
            FetchError::new("fetch::unauthorized", message).help(if has_token {
                "the token given is not valid any more, or wrong: make a new one and set HF_TOKEN"
            } else {
                "the repository is private, or its name is wrong: check the name, or set HF_TOKEN"
            })
        } else {
            return refusal.explain(&self.by_hand());
        };
        match reason {
            Some(reason) => made.caused_by(reason),
            None => made,
        }
    }

    fn no_such_revision(&self, client: &Client) -> FetchError {
        let wanted = self.wanted();
        let refs: Refs = match self.address(&["api/models", self.repo, "refs"]) {
            // If even this fails, the repository is what is missing.
            Ok(address) => match self.ask(client, &address) {
                Ok(refs) => refs,
                Err(error) => return self.refused(error),
            },
            Err(error) => return error,
        };
        let message = format!("{} has no branch, tag or commit `{wanted}`", self.repo);
        FetchError::new("fetch::no_revision", message).help(did_you_mean(wanted, &refs.names()))
    }

    fn no_such_file(&self, file: &str, listing: &Listing) -> FetchError {
        let message = format!("{} has no file `{file}` at {}", self.repo, self.wanted());
        FetchError::new("fetch::no_file", message).help(did_you_mean(file, &listing.paths()))
    }

    fn no_weights(&self, paths: &[&str]) -> FetchError {
        let message = format!("{} holds no weights in safetensors form", self.name());
        let gguf: Vec<&str> = paths.iter().copied().filter(|path| has_ending(path, "gguf")).take(12).collect();
        FetchError::new("fetch::no_weights", message).help(match gguf.first() {
            Some(first) => {
                format!("name one of its GGUF files, as in hf://{}/{first}; there are: {}", self.repo, gguf.join(", "))
            }
            None => "take a repository or a revision that has *.safetensors files".to_owned(),
        })
    }
}
