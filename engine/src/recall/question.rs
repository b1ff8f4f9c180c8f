use std::path::{Path, PathBuf};

use refit_cache::{Digest, Store, canonical};
use serde_json::json;

use crate::{graph::pipeline_file, run::Selection};

/// Which run is asked for: everything on which its outcome depends but the content of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question(Digest);

impl Question {
    /// The question behind a command: the pipeline file (or the folder that holds it), `-S` as given, the stages
    /// selected, and the program, since another build may know other versions of the stage kinds. None where there is
    /// no such file or its name is no text.
    pub fn new(pipeline: &Path, overrides: &[String], selection: &Selection, program: &Path) -> Option<Self> {
        let file = std::path::absolute(pipeline_file(pipeline).ok()?).ok()?;
        let program = refit_cache::Witness::of(program);
        let Selection { to, from, only } = selection;
        let asked = json!({
            "file": file.to_str()?, "overrides": overrides, "to": to, "from": from, "only": only,
            "program": serde_json::to_value(program).ok()?, "version": env!("CARGO_PKG_VERSION"),
        });
        Some(Self(Digest::of(&canonical(&asked))))
    }

    /// The digest that stands for it.
    pub(super) fn digest(self) -> Digest {
        self.0
    }

    /// Where its answer is kept.
    pub(super) fn path(self, store: &Store) -> PathBuf {
        store.root().join("recall").join(format!("{}.json", self.0))
    }
}
