use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::Arc,
};

/// What decides a stage's result though it is neither a parameter nor wired to a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Variables of the caller's environment whose values count.
    pub variables: Vec<String>,
    /// Programs and scripts whose bytes count: a name to look up in `PATH`, or a path from the pipeline's folder.
    pub tools: Vec<String>,
}

impl Outside {
    /// Whether nothing outside counts.
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.tools.is_empty()
    }
}

/// The caller's environment as it was when refit started.
#[derive(Clone, Default)]
pub struct Variables(Arc<BTreeMap<OsString, OsString>>);

impl Variables {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The file that a tool is: a path is taken from `folder`, a name is looked up in `PATH`. None when there is no such
    /// file, or when none in `PATH` may be run.
    pub fn tool(&self, tool: &str, folder: &Path) -> Option<PathBuf> {
        if tool.contains('/') {
            let file = folder.join(tool);
            return file.exists().then_some(file);
        }
        let folders = std::env::split_paths(self.get("PATH")?);
        folders.map(|folder| folder.join(tool)).find(|file| may_be_run(file))
    }
}

impl FromIterator<(OsString, OsString)> for Variables {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(Arc::new(variables.into_iter().collect()))
    }
}

/// Values may be secret.
impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn may_be_run(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
