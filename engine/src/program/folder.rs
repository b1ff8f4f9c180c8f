use std::{
    io,
    path::{Path, PathBuf},
};

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
    /// Makes the folders, empty but for the scratch.
    pub(crate) fn create(step: &Path) -> io::Result<Self> {
        let folder = Self {
            inputs: StepOrder::inputs_folder(step),
            work: step.join("work"),
            temporary: step.join("tmp"),
            scratch: StepOrder::scratch_folder(step),
            matches: step.join("matches"),
            log: step.join("output.log"),
        };
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

    /// Removes what an earlier try left.
    fn clear(&self) -> io::Result<()> {
        for stale in [&self.inputs, &self.work, &self.temporary, &self.matches] {
            absent(make_writable(stale).and_then(|()| fs_err::remove_dir_all(stale)))?;
        }
        absent(fs_err::remove_file(&self.log))
    }
}

/// A command may leave folders behind that nobody may write to.
fn make_writable(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
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
