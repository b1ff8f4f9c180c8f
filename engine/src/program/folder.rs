use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::SpareFolders;
use crate::worker::StepOrder;

/// The folders of a step that is a command, below the step's own folder.
#[derive(Debug)]
pub(crate) struct ProgramFolder {
    /// Where inputs from the store are laid out.
    pub(crate) inputs: PathBuf,
    /// Where the command runs.
    pub(crate) work: PathBuf,
    /// For files that nobody needs afterwards.
    pub(crate) temporary: PathBuf,
    /// What outlives a kill.
    pub(crate) scratch: PathBuf,
    /// What matches a pattern, put together to one folder an output.
    pub(crate) matches: PathBuf,
    /// What the command says.
    pub(crate) log: PathBuf,
}

impl ProgramFolder {
    /// Where the folders lie, below the step's own.
    fn of(step: &Path) -> Self {
        Self {
            inputs: StepOrder::inputs_folder(step),
            work: step.join("work"),
            temporary: step.join("tmp"),
            scratch: StepOrder::scratch_folder(step),
            matches: step.join("matches"),
            log: step.join("output.log"),
        }
    }

    /// Makes the folders, empty but for the scratch.
    pub(crate) fn create(step: &Path, spares: &SpareFolders) -> io::Result<Self> {
        let folder = Self::of(step);
        if spares.furnish(step) {
            return Ok(folder);
        }
        match fs_err::create_dir(step) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => folder.clear()?,
            Err(_) => fs_err::create_dir_all(step)?,
        }
        for made in [&folder.work, &folder.temporary] {
            fs_err::create_dir(made)?;
        }
        match fs_err::create_dir(&folder.scratch) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(folder),
        }
    }

    /// Removes what a command left, all but the folders themselves. False if they would not be like new: the command has
    /// changed more than what they hold.
    pub(super) fn empty(step: &Path) -> io::Result<bool> {
        let folder = Self::of(step);
        let lasting = [&folder.work, &folder.temporary, &folder.scratch];
        let mode = fs_err::symlink_metadata(step)?.permissions().mode();
        let mut seen = 0;
        for entry in fs_err::read_dir(step)? {
            let (path, metadata) = {
                let entry = entry?;
                (entry.path(), entry.metadata()?)
            };
            let is_lasting = lasting.contains(&&path);
            if is_lasting || path == folder.inputs {
                if !metadata.is_dir() || metadata.permissions().mode() != mode {
                    return Ok(false);
                }
                seen += usize::from(is_lasting);
                remove_entries(&path)?;
            } else if path == folder.matches && metadata.is_dir() {
                fs_err::remove_dir_all(path)?;
            } else if path != folder.log || !metadata.is_file() {
                return Ok(false);
            } else if metadata.len() > 0 {
                fs_err::remove_file(path)?;
            }
        }
        Ok(seen == lasting.len())
    }

    /// Removes what an earlier try left.
    fn clear(&self) -> io::Result<()> {
        for stale in [&self.inputs, &self.work, &self.temporary, &self.matches] {
            absent(make_writable(stale).and_then(|()| fs_err::remove_dir_all(stale)))?;
        }
        absent(fs_err::remove_file(&self.log))
    }
}

fn remove_entries(folder: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
            fs_err::remove_dir_all(entry.path())?;
        } else {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A command may leave folders behind that nobody may write to.
fn make_writable(folder: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(folder) {
        let entry = match entry {
            Ok(entry) => entry,
            // A folder that cannot be read is made readable too late for this walk; removing it will say so.
            Err(error) if error.depth() > 0 => continue,
            Err(error) => return Err(error.into()),
        };
        if entry.file_type().is_dir() {
            let mode = entry.metadata()?.permissions().mode();
            if mode & 0o700 != 0o700 {
                fs_err::set_permissions(entry.path(), std::fs::Permissions::from_mode(mode | 0o700))?;
            }
        }
    }
    Ok(())
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
