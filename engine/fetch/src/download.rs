use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use refit_engine::fetch::FetchError;

use crate::{
    address::Address,
    http::{Answer, Client, HttpError, Rest, header},
    place::{make_folder_of, place, read_text, remove, reserve, size, with_suffix, write},
};

const WRONG_DIGEST: &str = "fetch::wrong_digest";

/// What a server says the bytes of a file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// SHA-256 of the bytes: large files on the hub.
    Sha256(String),
    /// SHA-1 of git's blob header and the bytes: small files on the hub.
    GitBlob(String),
}

impl Known {
    /// A digest in an entity tag of the hub; any other tag is opaque.
    pub(crate) fn from_etag(etag: &str) -> Option<Self> {
        let bare = etag.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let is_hex = bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        match bare.len() {
            64 if is_hex => Some(Self::Sha256(bare)),
            40 if is_hex => Some(Self::GitBlob(bare)),
            _ => None,
        }
    }

    /// The hexadecimal digits.
    pub(crate) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }

    fn measure(&self, path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        Ok(match self {
            Self::Sha256(_) => Self::Sha256(digest_of::<Sha256>(Sha256::new(), &mut file)?),
            Self::GitBlob(_) => {
                let length = file.metadata()?.len();
                Self::GitBlob(digest_of(Sha1::new_with_prefix(format!("blob {length}\0")), &mut file)?)
            }
        })
    }
}

fn digest_of<D: Digest>(mut digest: D, file: &mut File) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
    }
    let mut hex = String::new();
    for byte in digest.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

/// One file to be brought here.
pub(crate) struct Download<'a> {
    pub(crate) from: &'a Address,
    /// Where it goes once it is whole and right.
    pub(crate) to: &'a Path,
    /// Where it grows; what an earlier try left here is continued.
    pub(crate) part: &'a Path,
    /// Its length, if a listing gave one.
    pub(crate) size: Option<u64>,
    /// Its digest, if a listing gave one.
    pub(crate) known: Option<Known>,
    /// How to get it without this machine's network.
    pub(crate) by_hand: &'a str,
}

/// Why a download ended early.
#[derive(Debug)]
pub(crate) enum DownloadError {
    /// No answer to a request.
    Http(HttpError),
    /// All else.
    Failed(FetchError),
}

impl DownloadError {
    pub(crate) fn explain(self, by_hand: &str) -> FetchError {
        match self {
            Self::Http(error) => error.explain(by_hand),
            Self::Failed(error) => error,
        }
    }
}

impl From<FetchError> for DownloadError {
    fn from(error: FetchError) -> Self {
        Self::Failed(error)
    }
}

impl Download<'_> {
    /// Brings the file here. The caller holds the lock of its place.
    ///
    /// A broken connection is continued where it broke; the digest is checked over the whole file at the end. What was
    /// continued from an earlier run and turns out wrong is fetched once more from the start.
    pub(crate) fn run(&self, client: &Client, on_bytes: &mut dyn FnMut(u64, Option<u64>)) -> Result<(), DownloadError> {
        make_folder_of(self.part)?;
        make_folder_of(self.to)?;
        let continued = self.part.metadata().is_ok_and(|found| found.len() > 0);
        let mut brought = self.transfer(client, on_bytes).and_then(|known| self.check(known.as_ref()));
        if continued && matches!(&brought, Err(DownloadError::Failed(error)) if error.code() == WRONG_DIGEST) {
            brought = self.transfer(client, on_bytes).and_then(|known| self.check(known.as_ref()));
        }
        if brought.is_err() && self.part.metadata().is_ok_and(|found| found.len() == 0) {
            self.discard()?;
        }
        brought?;
        remove(&self.tag_file())?;
        Ok(place(self.part, self.to)?)
    }

    fn transfer(
        &self,
        client: &Client,
        on_bytes: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Option<Known>, DownloadError> {
        let retry = client.retry();
        let mut known = self.known.clone();
        let mut etag = read_text(&self.tag_file());
        let mut furthest = 0;
        let mut attempt = 1;
        let mut first = true;
        let mut file = self.open()?;
        loop {
            let mut have = file.seek(SeekFrom::End(0)).map_err(|error| self.io("reading", error))?;
            // Without a digest or a tag nobody could tell whether what lies here belongs to what would come.
            let unguarded = first && known.is_none() && etag.is_none();
            first = false;
            if self.size.is_some_and(|size| have > size) || unguarded {
                have = self.restart(&mut file)?;
            }
            if self.size == Some(have) && (have > 0 || self.size == Some(0)) {
                break;
            }
            let rest = Rest { from: have, etag: if known.is_some() { None } else { etag.as_deref() } };
            let answer = client.get(self.from, (have > 0).then_some(&rest)).map_err(DownloadError::Http)?;
            known = known.or_else(|| answer.linked_etag.as_deref().and_then(Known::from_etag));
            if answer.status == 416 && attempt >= retry.attempts {
                return Err(self.broken(have, None, &io::Error::other("the server refuses to continue the file")));
            }
            if answer.status == 416 {
                self.restart(&mut file)?;
                attempt += 1;
                continue;
            }
            if !continues(&answer, have) {
                have = self.restart(&mut file)?;
            }
            etag = header(&answer.headers, "etag").or_else(|| header(&answer.headers, "last-modified"));
            self.remember(etag.as_deref())?;
            let total = length(&answer, have).or(self.size);
            self.expect(total)?;
            if let Some(total) = total {
                reserve(self.part, total.saturating_sub(have))?;
            }
            let (reached, ended) = self.receive(answer, &mut file, have, total, on_bytes)?;
            match ended {
                Ok(()) => break,
                Err(error) => {
                    if reached > furthest {
                        furthest = reached;
                        attempt = 0;
                    }
                    attempt += 1;
                    if attempt > retry.attempts {
                        return Err(self.broken(reached, total, &error));
                    }
                    retry.wait(attempt, None);
                }
            }
        }
        file.sync_all().map_err(|error| self.io("writing", error))?;
        Ok(known)
    }

    /// Writes what comes, and says how far that went and whether it was all.
    fn receive(
        &self,
        answer: Answer,
        file: &mut File,
        mut have: u64,
        total: Option<u64>,
        on_bytes: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<(u64, io::Result<()>), DownloadError> {
        let mut body = answer.body.into_reader();
        let mut buffer = vec![0; 1 << 17];
        on_bytes(have, total);
        loop {
            let read = match body.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok((have, Err(error))),
            };
            if read == 0 {
                let missing = total.is_some_and(|total| have < total);
                let ended = if missing { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) };
                return Ok((have, ended));
            }
            if let Err(error) = file.write_all(&buffer[..read]) {
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                    // Half a model on a full disk is in everybody's way.
                    self.discard()?;
                }
                return Err(self.io("writing", error).into());
            }
            have += read as u64;
            on_bytes(have, total);
        }
    }

    /// The length a server announces must be the one its listing gave.
    fn expect(&self, total: Option<u64>) -> Result<(), DownloadError> {
        match (self.size, total) {
            (Some(listed), Some(total)) if listed != total => {
                self.discard()?;
                let message = format!("{} should be {} bytes long, and the server sends {total}", self.from, listed);
                Err(FetchError::new("fetch::wrong_size", message)
                    .help(format!("a proxy or mirror answers something else; {}", self.by_hand))
                    .into())
            }
            _ => Ok(()),
        }
    }

    fn check(&self, known: Option<&Known>) -> Result<(), DownloadError> {
        let Some(known) = known else { return Ok(()) };
        let found = known.measure(self.part).map_err(|error| self.io("reading", error))?;
        if found == *known {
            return Ok(());
        }
        self.discard()?;
        let message = format!(
            "what came from {} is not what the server promised: expected {}, received {}",
            self.from,
            known.hex(),
            found.hex()
        );
        Err(FetchError::new(WRONG_DIGEST, message)
            .help(format!(
                "nothing of it was kept; run again, and if it stays so, a proxy or mirror is damaged: {}",
                self.by_hand
            ))
            .into())
    }

    fn broken(&self, have: u64, total: Option<u64>, error: &io::Error) -> DownloadError {
        let of = total.map_or_else(String::new, |total| format!(" of {}", size(total)));
        FetchError::new(
            "fetch::broken_connection",
            format!("the connection to {} broke again and again, after {}{of}", self.from, size(have)),
        )
        .help(format!("run again: the download goes on where it stopped; or {}", self.by_hand))
        .caused_by(error.to_string())
        .into()
    }

    fn open(&self) -> Result<File, FetchError> {
        let opened = File::options().create(true).truncate(false).read(true).write(true).open(self.part);
        opened.map_err(|error| self.io("opening", error))
    }

    fn restart(&self, file: &mut File) -> Result<u64, FetchError> {
        let emptied = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| self.io("writing", error))
    }

    fn discard(&self) -> Result<(), FetchError> {
        remove(self.part)?;
        remove(&self.tag_file())
    }

    /// Keeps the tag of what lies in the part file, for the next process.
    fn remember(&self, etag: Option<&str>) -> Result<(), FetchError> {
        match etag.filter(|_| self.known.is_none()) {
            Some(etag) => write(&self.tag_file(), etag),
            None => remove(&self.tag_file()),
        }
    }

    fn tag_file(&self) -> std::path::PathBuf {
        with_suffix(self.part, ".etag")
    }

    fn io(&self, action: &str, error: io::Error) -> FetchError {
        FetchError::io(action, self.part, error)
    }
}

/// Whether an answer holds just what is missing after `have` bytes, rather than the whole file again.
fn continues(answer: &Answer, have: u64) -> bool {
    let range = header(&answer.headers, "content-range");
    let start =
        range.and_then(|range| range.trim_start_matches("bytes ").split('-').next()?.trim().parse::<u64>().ok());
    have > 0 && answer.status == 206 && start == Some(have)
}

/// The length of the whole file, from an answer that begins after `have` bytes.
fn length(answer: &Answer, have: u64) -> Option<u64> {
    let rest: u64 = header(&answer.headers, "content-length")?.parse().ok()?;
    rest.checked_add(have)
}
