use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::program::matcher;

use super::{OpenPorts, OutputDecl, Outside, ParamProblem, Settings, StageError, Variables};

/// A kind of stage whose step is a command, a process of its own. The engine starts it directly.
///
/// The parameters are one struct, as with [`Stage`](super::Stage).
pub trait ProgramStage: 'static {
    /// What stands under `with:`.
    type Params: DeserializeOwned + Serialize + JsonSchema;
    /// The name after `uses:`.
    const KIND: &'static str;
    /// Raised whenever the same inputs and parameters would give another result.
    const VERSION: u32;
    /// One line for the manual.
    const SUMMARY: &'static str;
    /// What its inputs and outputs may be.
    const PORTS: OpenPorts;

    /// Mistakes a schema cannot express, given the names of the inputs that are wired.
    fn check(params: &Self::Params, inputs: &[&str]) -> Vec<ParamProblem>;

    /// The outputs that the parameters declare.
    fn outputs(params: &Self::Params) -> Vec<OutputDecl>;

    /// What counts besides parameters and inputs.
    fn outside(params: &Self::Params) -> Outside;

    /// The command of a step.
    fn program(params: Self::Params, step: &ProgramContext<'_>) -> Result<Program, StageError>;
}

/// What a command is made of: where its step's things lie. All paths are absolute.
#[derive(Debug, Clone)]
pub struct ProgramContext<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// The run.
    pub run: &'a str,
    /// How often the step was tried in this run, from 1.
    pub attempt: u32,
    /// The file or folder wired to each port.
    pub inputs: &'a BTreeMap<String, PathBuf>,
    /// The step's working folder, empty.
    pub work: &'a Path,
    /// A folder that outlives a kill.
    pub scratch: &'a Path,
    /// An empty folder that is gone after the step.
    pub temporary: &'a Path,
    /// The folder of the pipeline file.
    pub folder: &'a Path,
    /// What the step is told about the machine.
    pub settings: &'a Settings,
    /// The caller's environment.
    pub variables: &'a Variables,
}

/// A command, ready to be started in the step's working folder.
#[derive(Clone)]
pub struct Program {
    /// The program and its arguments.
    pub arguments: Vec<OsString>,
    /// All variables it gets.
    pub environment: BTreeMap<String, OsString>,
    /// Texts that must not be written down.
    pub secrets: Vec<String>,
    /// Where each output is found afterwards.
    pub outputs: Vec<(String, OutputPlace)>,
    /// Links to make in the working folder: the path there → what it leads to.
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// Where a command leaves an output, relative to its working folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputPlace {
    /// One file or one folder.
    Path(PathBuf),
    /// A folder, which is there before the command starts.
    Folder(PathBuf),
    /// All files that match; they become one folder, by their paths below `base`.
    Matches {
        /// The folder all of them lie in, which is there before the command starts.
        base: PathBuf,
        /// The pattern, from the working folder.
        pattern: String,
    },
}

/// What makes a path a pattern.
const PATTERN: [char; 4] = ['*', '?', '[', '{'];

impl OutputPlace {
    /// Reads `a/file`, `a/folder/` or `a/*.csv`.
    ///
    /// # Errors
    /// Why the text is no place in the working folder.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut path = PathBuf::new();
        for part in Path::new(text).components() {
            match part {
                Component::Normal(name) => path.push(name),
                Component::CurDir => {}
                Component::ParentDir => return Err(format!("`{text}` leads out of the stage's folder")),
                Component::RootDir | Component::Prefix(_) => return Err(format!("`{text}` is absolute")),
            }
        }
        if path.as_os_str().is_empty() {
            return Err("the stage's folder as a whole is no output".to_owned());
        }
        if text.contains('\0') {
            return Err(format!("`{}` holds a NUL", text.escape_debug()));
        }
        if !text.contains(PATTERN) {
            return Ok(if text.ends_with('/') { Self::Folder(path) } else { Self::Path(path) });
        }
        let pattern = path.to_string_lossy().into_owned();
        matcher(&pattern).map_err(|problem| format!("`{text}` is no pattern: {problem}"))?;
        let plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(PATTERN);
        let base = path.components().take_while(plain).collect();
        Ok(Self::Matches { base, pattern })
    }

    /// Where the command is told to write.
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path) | Self::Folder(path) | Self::Matches { base: path, .. } => path,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing expectation is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn places_are_files_folders_and_patterns() {
        assert_eq!(OutputPlace::parse("a/b.txt"), Ok(OutputPlace::Path("a/b.txt".into())));
        assert_eq!(OutputPlace::parse("./数据 1"), Ok(OutputPlace::Path("数据 1".into())));
        assert_eq!(OutputPlace::parse("a/b/"), Ok(OutputPlace::Folder("a/b".into())));
        let matches = |base: &str, pattern: &str| OutputPlace::Matches { base: base.into(), pattern: pattern.into() };
        assert_eq!(OutputPlace::parse("*.csv"), Ok(matches("", "*.csv")));
        assert_eq!(OutputPlace::parse("./a/b/**/x-?.csv"), Ok(matches("a/b", "a/b/**/x-?.csv")));
        for wrong in ["", ".", "./", "/a", "../a", "a/../b", "a\0b", "[", "a/{b"] {
            assert!(OutputPlace::parse(wrong).is_err(), "{wrong}");
        }
    }
}
