use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{Digest, RunId, StepKey};

/// Why the store could not do what was asked: which path, and the way out.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum StoreError {
    /// An object's bytes are not what its name says. It was moved aside and is never served.
    #[error("object {} of the store is damaged; it was moved to {}", object.short(), path.display())]
    #[diagnostic(
        code(cache::corrupt),
        help("run again: the step that made it is repeated; `refit cache verify` checks all other objects")
    )]
    Corrupt {
        /// The digest its bytes should have.
        object: Digest,
        /// Where it lies now.
        path: PathBuf,
    },
    /// An object that a manifest names is not there.
    #[error("object {} is not in the store: no file {}", object.short(), path.display())]
    #[diagnostic(code(cache::missing_object), help("run again: the step that made it is repeated"))]
    MissingObject {
        /// The object.
        object: Digest,
        /// Where it should lie.
        path: PathBuf,
    },
    /// A manifest's bytes are not what was written.
    #[error("the manifest {} is damaged: {what}", path.display())]
    #[diagnostic(code(cache::corrupt_manifest), help("run again: the step is repeated and its manifest written anew"))]
    CorruptManifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another process commits to this store.
    #[error("the store {} is in use by {holder}", root.display())]
    #[diagnostic(code(cache::locked), help("wait for it to end, or use another store with `--store`"))]
    Locked {
        /// The store.
        root: PathBuf,
        /// Who holds it, since when.
        holder: String,
    },
    /// The file system cannot lock files.
    #[error("the file system of {} cannot lock files", path.display())]
    #[diagnostic(code(cache::no_locks), help("put the store on a local disk with `--store` or `REFIT_STORE`"))]
    NoLocks {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No space is left, or a quota is used up.
    #[error("the disk is full: {action} {}", path.display())]
    #[diagnostic(
        code(cache::disk_full),
        help(
            "free some space (`refit cache gc` drops results that no kept run needs) and run again; what is finished is kept"
        )
    )]
    DiskFull {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something must be written on a disk that is read-only.
    #[error("the disk is read-only: {action} {}", path.display())]
    #[diagnostic(
        code(cache::read_only),
        help("use a store on a disk that can be written, with `--store` or `REFIT_STORE`")
    )]
    ReadOnly {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder may not be used by this user.
    #[error("permission denied: {action} {}", path.display())]
    #[diagnostic(code(cache::permission_denied), help("check who owns it and its mode"))]
    PermissionDenied {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder is not there.
    #[error("{} is not there", path.display())]
    #[diagnostic(code(cache::not_found), help("check the path"))]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// Any other failure of the file system.
    #[error("{action} {} failed", path.display())]
    #[diagnostic(code(cache::io))]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no store at this path.
    #[error("there is no store at {}", root.display())]
    #[diagnostic(
        code(cache::no_store),
        help("the first `refit run` makes it; `--store` and `REFIT_STORE` name another")
    )]
    NoStore {
        /// Where it was looked for.
        root: PathBuf,
    },
    /// The folder holds something that is no store.
    #[error("{} is not a store: {what}", root.display())]
    #[diagnostic(code(cache::not_a_store), help("name another folder with `--store` or `REFIT_STORE`"))]
    NotAStore {
        /// The folder.
        root: PathBuf,
        /// What speaks against it.
        what: String,
    },
    /// A newer refit wrote the store.
    #[error("the store {} has format {found}, this refit reads format {known}", root.display())]
    #[diagnostic(code(cache::format), help("use the refit that wrote it, or another store with `--store`"))]
    Format {
        /// The store.
        root: PathBuf,
        /// Its format.
        found: u32,
        /// The format this build reads and writes.
        known: u32,
    },
    /// A file's name is not UTF-8.
    #[error("the name of {} is not UTF-8", path.display())]
    #[diagnostic(code(cache::name_not_utf8), help("rename the file"))]
    NameNotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link of a step's output leads out of that output.
    #[error("the link {} leads out of its folder, to {}", link.display(), target.display())]
    #[diagnostic(
        code(cache::link_leaves_output),
        help("a step's output must hold its own files: copy the file instead of linking it")
    )]
    LinkLeavesOutput {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A link leads nowhere or in a circle.
    #[error("the link {} leads nowhere or in a circle", link.display())]
    #[diagnostic(code(cache::broken_link), help("remove it or put its target back"))]
    BrokenLink {
        /// The link.
        link: PathBuf,
    },
    /// A pipe, socket or device stands where a file or folder is needed.
    #[error("{} is neither a file nor a folder", path.display())]
    #[diagnostic(code(cache::not_a_file), help("use a regular file or a folder"))]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file was written to while it was read.
    #[error("{} changes while it is read", path.display())]
    #[diagnostic(code(cache::changed_while_read), help("let the program that writes it finish, then run again"))]
    ChangedWhileRead {
        /// The file.
        path: PathBuf,
    },
    /// An export would overwrite what refit cannot give back.
    #[error("{} holds something that did not come from refit: {what}", path.display())]
    #[diagnostic(code(cache::not_ours), help("move it away, or name another place"))]
    NotOurs {
        /// Where the export should go.
        path: PathBuf,
        /// The files in question.
        what: String,
    },
    /// A tree read from a manifest contradicts itself.
    #[error("an artifact's list of files contradicts itself: {}", tree.short())]
    #[diagnostic(code(cache::unsound_tree), help("run again: the step is repeated"))]
    UnsoundTree {
        /// The artifact's digest.
        tree: Digest,
    },
    /// The thread that commits ended before its time.
    #[error("the result was not committed: the committing thread has ended")]
    #[diagnostic(code(cache::commit_stopped), help("this is a defect in refit; please report it, and run again"))]
    CommitStopped,
    /// A file that should be made is there already.
    #[error("{} is there already", path.display())]
    #[diagnostic(code(cache::exists), help("name another file, or remove that one"))]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file to import is not what an export wrote. Nothing of it can be found in the store.
    #[error("{} cannot be imported: {what}", path.display())]
    #[diagnostic(
        code(cache::bad_bundle),
        help(
            "copy or export it again; one that was compressed is unpacked first: `zstd -dc FILE | refit cache import -`"
        )
    )]
    BadBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Bytes from elsewhere are not those of the object they should be.
    #[error("what came as object {} is something else", object.short())]
    #[diagnostic(code(cache::wrong_bytes), help("copy it again; nothing of it was kept"))]
    WrongBytes {
        /// The object.
        object: Digest,
    },
    /// Bytes from elsewhere could not be read.
    #[error("an object could not be read to its end")]
    #[diagnostic(code(cache::unreadable), help("copy it again; nothing of it was kept"))]
    Unreadable {
        /// What its reader said.
        source: io::Error,
    },
    /// A result that is asked for is not there, or not whole.
    #[error("the result {} is not in the store, or not whole", key.short())]
    #[diagnostic(code(cache::no_result), help("run the pipeline: that makes it"))]
    NoResult {
        /// Its key.
        key: StepKey,
    },
    /// A pin cannot be read.
    #[error("the pin {} is damaged: {what}", path.display())]
    #[diagnostic(
        code(cache::damaged_pin),
        help("nothing is dropped while a pin cannot be read: remove the file, and pin again what it held")
    )]
    DamagedPin {
        /// The pin's file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// No run has this id.
    #[error("no run `{wanted}`")]
    #[diagnostic(code(cache::unknown_run), help("`refit runs` lists them"))]
    UnknownRun {
        /// What was asked for.
        wanted: String,
    },
    /// Several runs begin like this.
    #[error("`{wanted}` fits {} runs: {}", runs.len(), list(runs))]
    #[diagnostic(code(cache::ambiguous_run), help("give more of the id"))]
    AmbiguousRun {
        /// What was asked for.
        wanted: String,
        /// The runs, newest first.
        runs: Vec<RunId>,
    },
}

fn list(runs: &[RunId]) -> String {
    runs.iter().map(RunId::as_str).collect::<Vec<_>>().join(", ")
}

impl StoreError {
    /// Whether something in the store is damaged (exit code 6).
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::CorruptManifest { .. } | Self::UnsoundTree { .. })
    }

    /// Sorts an error of the file system by what the user can do about it. `action` reads before the path: `writing`.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { action, path, source },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { action, path, source },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { action, path, source },
            io::ErrorKind::NotFound => Self::NotFound { path },
            _ => Self::Io { action, path, source },
        }
    }
}

/// Adds action and path to an error of the file system.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::io(action, path, source))
    }
}
