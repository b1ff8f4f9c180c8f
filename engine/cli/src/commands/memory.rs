//! How much memory steps will need, told before they run.

use std::collections::BTreeMap;

use refit_engine::stage::{Foreseen, MemoryEstimate, MemoryPlace, StageError};
use refit_fetch::Fetcher;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::open::{self, Planned};
use crate::{
    environment::Environment,
    failure::Failure,
    machine,
    ui::{Table, Ui, bytes},
};

/// What a step needs at its peak, or why that is not known.
pub(super) struct Needed(Result<MemoryEstimate, StageError>);

impl Needed {
    pub(super) fn as_json(&self) -> Value {
        match &self.0 {
            Ok(estimate) => json!(estimate),
            Err(error) => json!({ "unknown": error.message, "help": error.help }),
        }
    }
}

/// Headers of models that are not here; each is fetched once, and none is kept.
pub(super) struct Headers {
    fetcher: Fetcher,
    folder: TempDir,
    found: BTreeMap<String, Foreseen>,
}

impl Headers {
    pub(super) fn new(environment: &Environment) -> Result<Self, Failure> {
        Ok(Self { fetcher: open::fetcher(environment), folder: tempfile::tempdir()?, found: BTreeMap::new() })
    }

    fn of(&mut self, source: &str, planned: &Planned) -> Foreseen {
        if let Some(found) = self.found.get(source) {
            return found.clone();
        }
        let Some(uri) = planned.sources.uri(source) else {
            return Foreseen::Elsewhere { why: format!("the source `{source}` is not known") };
        };
        let into = self.folder.path().join(self.found.len().to_string());
        let fetched = fs_err::create_dir(&into).map_err(|error| error.to_string()).and_then(|()| {
            self.fetcher.headers(&uri, &into).map_err(|error| match error.way_out() {
                Some(way_out) => format!("{error}: {way_out}"),
                None => error.to_string(),
            })
        });
        let found = fetched.map_or_else(|why| Foreseen::Elsewhere { why }, Foreseen::Here);
        self.found.insert(source.to_owned(), found.clone());
        found
    }
}

/// The device that is meant: of `auto`, what a run would find.
pub(super) fn place(device: &str) -> &str {
    let finds_gpu = || machine::probe(device).is_ok_and(|found| found.name != "CPU");
    match device {
        "auto" if finds_gpu() => "wgpu",
        _ => device,
    }
}

/// What a stage's step needs; none if its kind does not tell.
pub(super) fn needed(stage: &str, planned: &Planned, device: &str, headers: &mut Headers) -> Option<Needed> {
    let node = planned.pipeline.stages.get(stage)?;
    let known = (&planned.pipeline, &planned.sources, &planned.store);
    let outlook = planned.plan.outlook(node, known, device, &mut |source| headers.of(source, planned));
    node.kind.memory(node.params(), &outlook).transpose().map(Needed)
}

/// Prints what steps need, for people.
pub(super) fn show(needed: &[(&str, &Needed)], ui: Ui) -> Result<(), Failure> {
    if needed.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.row(["stage", "of", "peak memory", "program", "weights", "passes", "trained"]);
    for (stage, Needed(needed)) in needed {
        match needed {
            Ok(estimate) => {
                let bound = if estimate.at_most { "at most " } else { "" };
                let part = |name: &str| estimate.parts.get(name).map_or_else(String::new, |part| bytes(*part));
                let place = match estimate.place {
                    MemoryPlace::Cpu => "CPU",
                    MemoryPlace::Gpu => "GPU",
                };
                table.row([
                    (*stage).to_owned(),
                    place.to_owned(),
                    format!("{bound}{}", bytes(estimate.bytes)),
                    part("program"),
                    part("weights"),
                    part("passes"),
                    part("trained"),
                ]);
            }
            Err(error) => {
                let way_out = error.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
                table.row([(*stage).to_owned(), String::new(), format!("not known: {}{way_out}", error.message)]);
            }
        }
    }
    ui.data(&format!("\nmemory\n{}", table.text()))?;
    Ok(())
}
