//! The stage as a whole: files in, records, rejected rows, reports and errors out.

mod broken;
mod duplicates;
mod output;
mod preferences;
mod shapes;
mod streaming;

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use refit_engine::stage::{Event, EventSink, Settings, StageError, StageKind, StepContext};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Clean;
use crate::records::{Record, RecordReader};

/// A step of `clean` over files of its own.
pub(super) struct Sandbox {
    root: TempDir,
    pub warnings: Arc<Mutex<Vec<String>>>,
}

impl Sandbox {
    pub(super) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), warnings: Arc::default() }
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Writes a file and returns its path.
    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, content).unwrap();
        path
    }

    /// Cleans an input in a fresh output folder.
    pub(super) fn clean(&self, input: &Path, with: Value) -> Result<Cleaned, StageError> {
        let out = tempfile::tempdir().unwrap();
        let warnings = Arc::clone(&self.warnings);
        warnings.lock().unwrap().clear();
        let events = EventSink::new(move |event| {
            if let Event::Warning { message } = event {
                warnings.lock().unwrap().push(message);
            }
        });
        let inputs = BTreeMap::from([("records".to_owned(), input.to_owned())]);
        let step = StepContext::new(inputs, out.path(), self.root.path(), Settings::default(), events);
        let kind = StageKind::of::<Clean>();
        let lowered = kind.lower(with, &[]).expect("the parameters are right");
        assert!(lowered.problems.is_empty());
        kind.run(lowered.with, &step).map(|()| Cleaned { out })
    }

    /// Cleans the text of a file named `rows.EXTENSION`.
    pub(super) fn clean_text(
        &self,
        extension: &str,
        text: impl AsRef<[u8]>,
        with: Value,
    ) -> Result<Cleaned, StageError> {
        let file = self.file(&format!("rows.{extension}"), text);
        self.clean(&file, with)
    }
}

/// What a step of `clean` wrote.
pub(super) struct Cleaned {
    pub out: TempDir,
}

impl Cleaned {
    pub(super) fn records(&self) -> Vec<Record> {
        RecordReader::open(&self.out.path().join("records")).unwrap().map(Result::unwrap).collect()
    }

    pub(super) fn rejected(&self) -> Vec<Record> {
        RecordReader::open(&self.out.path().join("rejected")).unwrap().map(Result::unwrap).collect()
    }

    pub(super) fn report(&self) -> Value {
        serde_json::from_slice(&fs_err::read(self.out.path().join("records/report.json")).unwrap()).unwrap()
    }

    /// The reasons of the rejected rows, with their lines.
    pub(super) fn reasons(&self) -> Vec<(u64, String)> {
        let reason =
            |row: Record| (row.meta["line"].as_u64().unwrap(), row.meta["reason"].as_str().unwrap().to_owned());
        self.rejected().into_iter().map(reason).collect()
    }
}

/// One line in alpaca shape.
pub(super) fn row(instruction: &str, output: &str) -> String {
    format!("{}\n", json!({ "instruction": instruction, "output": output }))
}

/// An error as a person reads it, without the temporary folder.
pub(super) fn shown(error: &StageError, sandbox: &Sandbox) -> String {
    let place = error.place.as_ref().map_or_else(String::new, |place| {
        let file = place.file.strip_prefix(sandbox.path()).unwrap_or(&place.file).display().to_string();
        format!("{file}:{}: ", place.line.map_or_else(String::new, |line| line.to_string()))
    });
    let mut text = format!("{place}[{}] {}", error.code, error.message);
    for cause in &error.causes {
        let _ = write!(text, "\n  - {cause}");
    }
    if let Some(help) = &error.help {
        let _ = write!(text, "\n  help: {help}");
    }
    text
}
