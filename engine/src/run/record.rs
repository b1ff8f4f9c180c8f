use std::{
    collections::BTreeMap,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use refit_cache::{Digest, Manifest, RunId, StepKey, Store, StoreError, UsedResult};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use super::{RunError, RunOptions, SweepRun, VariantOf, Verdict, summary::read_json};
use crate::{graph::Pipeline, plan::Reason, stage::StageError};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Every stage asked for has its result.
    Ok,
    /// A stage failed.
    Failed,
    /// It was interrupted.
    Interrupted,
}

/// What became of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageState {
    /// Its result was in the store.
    Cached,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
    /// It could not run because of another stage.
    Blocked,
    /// It was not asked for, or the run ended before its turn.
    Skipped,
}

/// One output of a stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutputReport {
    /// Content of the file or folder.
    pub digest: Digest,
    /// Size of all its files.
    pub bytes: u64,
    /// Where it was copied out, if the pipeline's `outputs` name it.
    pub path: Option<PathBuf>,
}

/// One stage of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageReport {
    /// The stage's name.
    pub name: String,
    /// The kind's name.
    pub kind: String,
    /// What became of it.
    pub state: StageState,
    /// When its result was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<jiff::Timestamp>,
    /// Its key, when every input was known.
    pub key: Option<StepKey>,
    /// Why it ran, in one line.
    pub reason: Option<String>,
    /// Why it ran, for scripts.
    pub reasons: Vec<Reason>,
    /// Wall time in seconds: of this run when it ran, of the run that made the result when it was cached.
    pub seconds: Option<f64>,
    /// Peak resident memory of the worker in bytes, likewise.
    pub peak_memory: Option<u64>,
    /// Its outputs by port.
    pub outputs: IndexMap<String, OutputReport>,
    /// What a person should know, also of a cached result.
    pub warnings: Vec<String>,
    /// What its command printed, as it lies in the store; none if it printed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// Facts such as the device.
    pub facts: BTreeMap<String, Value>,
    /// What it measured: metric → value, and the `verdict` of a comparison. They outlive the artifact.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub scores: Map<String, Value>,
    /// How often it was tried in this run; 0 if it was not.
    #[serde(default)]
    pub attempts: u32,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<StageError>>,
    /// What became of it when it was carried out once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

impl StageReport {
    /// Its result as the store knows it: the very one that this run had, whatever the stage made since.
    pub fn used(&self) -> Option<UsedResult> {
        let outputs = self.outputs.iter().map(|(port, output)| (port.as_str(), output.digest));
        self.key.map(|key| UsedResult::new(key, outputs))
    }

    /// The manifest of that result; none if there was none, or it is gone.
    ///
    /// # Errors
    /// The store cannot be read, or the manifest is damaged.
    pub fn result(&self, store: &Store) -> Result<Option<Manifest>, StoreError> {
        self.used().map_or(Ok(None), |used| store.used_result(&used))
    }

    /// Whether it was carried out once more and did not make the same bytes.
    pub fn is_refuted(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| *verdict != Verdict::Identical)
    }
}

/// One source as a run found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Where it comes from.
    pub from: String,
    /// Its content.
    pub digest: Digest,
}

/// A run as it is kept and as `--json` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunReport<S = Vec<StageReport>> {
    /// The run.
    pub run: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// How it ended.
    pub status: RunStatus,
    /// When it started.
    pub started: jiff::Timestamp,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Every stage, in the order of the graph.
    pub stages: S,
    /// What was copied out: path relative to the pipeline's folder → `stage.port`.
    pub exported: BTreeMap<String, String>,
    /// What the sources were, as far as the run came to know them.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceReport>,
    /// Its place in a sweep, if it was one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<VariantOf>,
    /// The runs of a sweep, if this is the record of their common work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<SweepRun>,
}

impl RunReport {
    const FILE: &'static str = "report.json";

    /// Reads the report in a run's folder; none if the run wrote none, or it cannot be read.
    pub fn read(folder: &Path) -> Option<Self> {
        read_json(&folder.join(Self::FILE))
    }

    /// Reads what became of one stage, without taking in the others, of which there may be very many. None if the run did not
    /// know the stage.
    pub fn read_stage(folder: &Path, stage: &str) -> Option<StageReport> {
        let text = fs_err::read_to_string(folder.join(Self::FILE)).ok()?;
        // This is how `write` begins each of them; what only looks like one has none of the other fields.
        let beginning = format!("{{\"name\":{},", serde_json::to_string(stage).ok()?);
        text.match_indices(&beginning).find_map(|(at, _)| {
            let mut reports = serde_json::Deserializer::from_str(&text[at..]).into_iter();
            reports.next()?.ok()
        })
    }

    /// Writes the report, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> Result<(), RunError> {
        Ok(refit_cache::write_atomic_with(&folder.join(Self::FILE), |file| Ok(serde_json::to_writer(file, self)?))?)
    }
}

impl RunReport<&RawValue> {
    /// Writes the report of a run that made nothing, its stages as another run's report has them: a crash may cost it.
    pub(crate) fn write_soon(&self, folder: &Path) -> Result<(), RunError> {
        let text = serde_json::to_vec(self).map_err(std::io::Error::from)?;
        Ok(fs_err::write(folder.join(RunReport::<Vec<StageReport>>::FILE), text)?)
    }

    /// The same report with its stages as values.
    pub(crate) fn with_stages(self, stages: Vec<StageReport>) -> RunReport {
        let Self { run, pipeline, status, started, seconds, stages: _, exported, sources, variant, sweep } = self;
        RunReport { run, pipeline, status, started, seconds, stages, exported, sources, variant, sweep }
    }
}

/// What a run set out to do, written before its first step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunPlan {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its file.
    pub file: PathBuf,
    /// `-S` as given.
    pub overrides: Vec<String>,
    /// `params` of the pipeline, after overrides.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// `--device` as given.
    #[serde(default)]
    pub device: String,
    /// The version of refit.
    pub refit: String,
    /// When the run started.
    pub started: jiff::Timestamp,
    /// Kind, its version, parameters and wiring of every stage.
    pub stages: BTreeMap<String, Value>,
    /// Its place in a sweep, if it is one of several runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<VariantOf>,
}

impl RunPlan {
    const FILE: &'static str = "plan.json";
    const TEXT: &'static str = "pipeline.yaml";
    /// Only where there are any.
    const IMPORTS: &'static str = "imports.json";

    /// Reads the plan in a run's folder; none if it is not there or cannot be read.
    pub fn read(folder: &Path) -> Option<Self> {
        read_json(&folder.join(Self::FILE))
    }

    /// The text of the pipeline file as the run in this folder read it.
    pub fn text(folder: &Path) -> std::io::Result<String> {
        fs_err::read_to_string(folder.join(Self::TEXT))
    }

    /// The files that the pipeline imports as the run in this folder read them, in order: path from the pipeline's folder and
    /// text. None are known of a run of an older refit.
    pub fn imports(folder: &Path) -> Vec<(PathBuf, String)> {
        read_json(&folder.join(Self::IMPORTS)).unwrap_or_default()
    }

    /// Whether a run's folder holds its plan.
    pub(crate) fn is_in(folder: &Path) -> bool {
        [Self::FILE, Self::TEXT].iter().all(|name| folder.join(name).is_file())
    }

    /// Writes down that the run is about to do what another one did. Neither file is ever changed, so both share them
    /// where the file system can.
    pub(crate) fn repeat(other: &Path, folder: &Path) -> std::io::Result<()> {
        for name in [Self::FILE, Self::TEXT, Self::IMPORTS] {
            let (from, to) = (other.join(name), folder.join(name));
            if name == Self::IMPORTS && !from.exists() {
                continue;
            }
            if fs_err::hard_link(&from, &to).is_err() {
                fs_err::copy(&from, &to)?;
            }
        }
        Ok(())
    }

    /// Writes down what the run is about to do.
    pub(super) fn write(&self, pipeline: &Pipeline, folder: &Path) -> std::io::Result<()> {
        fs_err::write(folder.join(Self::TEXT), pipeline.text())?;
        let imports: Vec<_> = pipeline.imports().collect();
        if !imports.is_empty() {
            fs_err::write(folder.join(Self::IMPORTS), serde_json::to_vec(&imports)?)?;
        }
        let mut file = BufWriter::new(fs_err::File::create(folder.join(Self::FILE))?);
        serde_json::to_writer(&mut file, self)?;
        file.flush()
    }

    pub(super) fn of(pipeline: &Pipeline, options: &RunOptions, started: jiff::Timestamp) -> Self {
        let stages = pipeline.stages.stages().map(|node| {
            let inputs: BTreeMap<&String, String> =
                node.inputs.iter().map(|(port, input)| (port, input.to_string())).collect();
            let mut planned = serde_json::json!({
                "uses": node.kind.name, "version": node.kind.version, "with": node.with, "inputs": inputs,
            });
            if !node.manner.is_empty() {
                planned["manner"] = Value::Object(node.manner.clone());
            }
            (node.name.clone(), planned)
        });
        Self {
            pipeline: pipeline.name.clone(),
            file: pipeline.file.clone(),
            overrides: options.overrides.clone(),
            params: pipeline.params.clone(),
            device: options.settings.device.clone(),
            refit: env!("CARGO_PKG_VERSION").into(),
            started,
            stages: stages.collect(),
            variant: None,
        }
    }
}
