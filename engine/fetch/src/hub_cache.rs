use std::path::{Path, PathBuf};

use refit_engine::fetch::FetchError;

use crate::{
    FetchOptions,
    place::{make_folder_of, read_text, write},
};

/// One repository in the cache that the Hugging Face tools share on a machine.
///
/// Its layout is theirs (`huggingface_hub`, "Understand caching"), so that each side finds what the other downloaded:
/// ```text
/// models--ORG--REPO/blobs/<entity tag>           the bytes
///                   snapshots/<commit>/<path>    links to blobs
///                   refs/<branch or tag>         a commit
/// .locks/models--ORG--REPO/<entity tag>.lock     held while a blob is downloaded
/// ```
///
/// What this program hands out lies apart, in its own download cache: one folder for each commit, with links to just the
/// files that make up the model. Another tool's further downloads and its moving of `refs/main` then change no source.
pub(crate) struct HubCache {
    repo: PathBuf,
    locks: PathBuf,
    own: PathBuf,
}

impl HubCache {
    pub(crate) fn new(options: &FetchOptions, repo: &str) -> Self {
        let own = options.cache.join("huggingface");
        let shared = options.hub.cache.clone().unwrap_or_else(|| own.join("hub"));
        let name = format!("models--{}", repo.replace('/', "--"));
        Self { repo: shared.join(&name), locks: shared.join(".locks").join(&name), own: own.join(&name) }
    }

    /// The repository's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.repo
    }

    pub(crate) fn blob(&self, blob: &str) -> PathBuf {
        self.repo.join("blobs").join(blob)
    }

    /// Where a blob grows. The name is that of the other tools, which continue it as well.
    pub(crate) fn part(&self, blob: &str) -> PathBuf {
        self.repo.join("blobs").join(format!("{blob}.incomplete"))
    }

    pub(crate) fn blob_lock(&self, blob: &str) -> PathBuf {
        self.locks.join(format!("{blob}.lock"))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.join("snapshots").join(commit)
    }

    /// The commit that this program first resolved a revision to.
    pub(crate) fn own_commit(&self, revision: &str) -> Option<String> {
        is_commit(revision).then(|| revision.to_owned()).or_else(|| commit_in(&self.own.join("refs").join(revision)))
    }

    /// The commit that any tool resolved a revision to.
    pub(crate) fn any_commit(&self, revision: &str) -> Option<String> {
        self.own_commit(revision).or_else(|| commit_in(&self.repo.join("refs").join(revision)))
    }

    /// Remembers what a revision means, for the other tools too.
    pub(crate) fn remember(&self, revision: &str, commit: &str) -> Result<(), FetchError> {
        if revision == commit {
            return Ok(());
        }
        write(&self.own.join("refs").join(revision), commit)?;
        let shared = self.repo.join("refs").join(revision);
        if commit_in(&shared).is_none() { write(&shared, commit) } else { Ok(()) }
    }

    /// The folder handed out for a commit.
    pub(crate) fn model(&self, commit: &str) -> PathBuf {
        self.own.join("commits").join(commit)
    }

    pub(crate) fn model_lock(&self, commit: &str) -> PathBuf {
        self.own.join("commits").join(format!("{commit}.lock"))
    }

    /// Whether the folder handed out for a commit is there, with all that it links to.
    pub(crate) fn has_model(&self, commit: &str) -> bool {
        let model = self.model(commit);
        model.is_dir()
            && walkdir::WalkDir::new(&model)
                .into_iter()
                .all(|entry| entry.is_ok_and(|entry| !entry.path_is_symlink() || entry.path().exists()))
    }

    /// The files of a snapshot that are there, with `/` between the parts.
    pub(crate) fn files(&self, commit: &str) -> Vec<String> {
        let snapshot = self.snapshot(commit);
        let found = walkdir::WalkDir::new(&snapshot).sort_by_file_name().into_iter().flatten();
        found
            .filter(|entry| entry.path().is_file())
            .filter_map(|entry| Some(entry.path().strip_prefix(&snapshot).ok()?.to_str()?.to_owned()))
            .collect()
    }

    /// Gives a blob its name in a snapshot.
    pub(crate) fn link_blob(&self, commit: &str, file: &str, blob: &str) -> Result<(), FetchError> {
        let link = self.snapshot(commit).join(file);
        if link.is_file() {
            return Ok(());
        }
        make_folder_of(&link)?;
        // Relative, as the other tools do: the cache may be moved.
        let up = "../".repeat(file.matches('/').count() + 2);
        link_to(Path::new(&format!("{up}blobs/{blob}")), &self.blob(blob), &link)
    }

    /// Makes the folder handed out for a commit, all at once.
    pub(crate) fn gather(&self, commit: &str, files: &[String]) -> Result<PathBuf, FetchError> {
        let model = self.model(commit);
        make_folder_of(&model)?;
        if model.is_dir() {
            // A link leads nowhere any more; it is made anew with all others.
            fs_err::remove_dir_all(&model).map_err(|error| FetchError::io("removing", &model, error))?;
        }
        let parent = self.own.join("commits");
        let growing =
            tempfile::tempdir_in(&parent).map_err(|error| FetchError::io("creating a folder in", &parent, error))?;
        for file in files {
            let link = growing.path().join(file);
            make_folder_of(&link)?;
            let original = self.snapshot(commit).join(file);
            let original =
                std::path::absolute(&original).map_err(|error| FetchError::io("finding", &original, error))?;
            link_to(&original, &original, &link)?;
        }
        let growing = growing.keep();
        fs_err::rename(&growing, &model).map_err(|error| FetchError::io("renaming to", &model, error))?;
        Ok(model)
    }
}

/// Whether a text is a full commit of git.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn commit_in(path: &Path) -> Option<String> {
    read_text(path).filter(|text| is_commit(text))
}

#[cfg(unix)]
fn link_to(target: &Path, _original: &Path, link: &Path) -> Result<(), FetchError> {
    match std::os::unix::fs::symlink(target, link) {
        // A link to a blob that was deleted.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs_err::remove_file(link).and_then(|()| std::os::unix::fs::symlink(target, link))
        }
        made => made,
    }
    .map_err(|error| FetchError::io("linking", link, error))
}

#[cfg(not(unix))]
fn link_to(_target: &Path, original: &Path, link: &Path) -> Result<(), FetchError> {
    // Symbolic links need a privilege elsewhere.
    let _ = fs_err::remove_file(link);
    fs_err::hard_link(original, link)
        .or_else(|_| fs_err::copy(original, link).map(|_| ()))
        .map_err(|error| FetchError::io("copying to", link, error))
}
