//! A run once more, from its record: the same pipeline, overrides and device, and whether the same came out.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::miette;
use refit_cache::{Digest, Store, StoreLock};
use refit_engine::{
    graph::{self, Pipeline},
    plan::Sources,
    run::{RunPlan, RunReport, find_run},
    spec::Sweep,
};
use serde_json::{Value, json};

use super::{open, runs::RunRecord};
use crate::{
    args::PipelineArgs,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, count},
};

/// The run that is repeated.
pub(super) struct Repeat {
    record: RunRecord,
    plan: RunPlan,
    text: String,
    imports: Vec<Arc<str>>,
}

/// One output, then and now.
struct Output {
    name: String,
    then: Option<Digest>,
    now: Option<Digest>,
}

impl Repeat {
    /// Reads the record of the run that a person means, in the store of the pipeline named on the command line.
    pub(super) fn read(run: &str, args: &PipelineArgs, environment: &Environment) -> Result<Self, Failure> {
        let path = fs_err::canonicalize(&args.pipeline)?;
        let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(&path) };
        let store = Store::open_existing(&open::store_root(&args.store, folder, environment))?;
        let id = find_run(&store, run)?;
        let record = RunRecord::read(&store, &id)?;
        let folder = store.run_folder(&id);
        let imports = RunPlan::imports(&folder).into_iter().map(|(_, text)| text.into()).collect();
        match (record.plan.clone(), RunPlan::text(&folder).ok()) {
            (Some(plan), Some(text)) => Ok(Self { record, plan, text, imports }),
            _ => Err(Failure {
                code: ExitCode::Engine,
                report: miette!(
                    code = "repeat::no_record",
                    help = "an older refit wrote it; run the pipeline itself",
                    "the record of run {id} does not hold its pipeline"
                ),
            }),
        }
    }

    /// The overrides of the run.
    pub(super) fn overrides(&self) -> &[String] {
        &self.plan.overrides
    }

    /// The device as it was asked for.
    pub(super) fn device(&self) -> &str {
        if self.plan.device.is_empty() { "auto" } else { &self.plan.device }
    }

    /// The pipeline as it was, at its old place; where that is no longer there, at the one named on the command line.
    pub(super) fn pipeline(&self, args: &PipelineArgs, ui: Ui) -> Result<Pipeline, Failure> {
        let old = self.plan.file.clone();
        let file = if old.parent().is_some_and(Path::is_dir) { old } else { self.here(args)? };
        // The record of a sweep's common work has every value; those of its runs have one each.
        let sweep = Sweep::parse(&self.plan.overrides)?;
        let pipeline = graph::load_sweep_texts(&file, &self.text, &self.imports, &sweep, &refit_stages::registry())?;
        ui.say(&format!("repeating run {} of {}", self.record.id, file.display()));
        Ok(pipeline)
    }

    fn here(&self, args: &PipelineArgs) -> Result<PathBuf, Failure> {
        let path = fs_err::canonicalize(&args.pipeline)?;
        let name = self.plan.file.file_name().map(PathBuf::from).unwrap_or_default();
        Ok(if path.is_dir() { path.join(name) } else { path })
    }

    /// Whether the sources are what they were. Where they are not, it is said which; unless that is allowed, nothing runs.
    pub(super) fn check_sources(
        &self,
        pipeline: &Pipeline,
        (store, lock): (&Store, &StoreLock),
        allowed: bool,
        ui: Ui,
        environment: &Environment,
    ) -> Result<(), Failure> {
        let now = Sources::look(pipeline, store, Some(lock), &open::fetcher(environment))?;
        let then = self.record.report.iter().flat_map(|report| &report.sources);
        let changed: Vec<String> = then
            .filter_map(|(name, source)| {
                let now = now.digest(name).filter(|now| *now != source.digest)?;
                Some(format!("source {name}: {} → {}", source.digest.short(), now.short()))
            })
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        if allowed {
            for line in &changed {
                ui.note(line);
            }
            return Ok(());
        }
        Err(Failure {
            code: ExitCode::Differs,
            report: miette!(
                code = "repeat::changed_sources",
                help = "put back what they were, or go on with `--allow-changed-sources`",
                "{} changed since run {}:\n{}",
                count(changed.len(), "source"),
                self.record.id,
                changed.join("\n")
            ),
        })
    }

    /// Compares every output with what the repeated run made.
    pub(super) fn compare(&self, report: &RunReport) -> Comparison {
        let digest = |stages: &[refit_engine::run::StageReport], stage: &str, port: &str| {
            Some(stages.iter().find(|known| known.name == stage)?.outputs.get(port)?.digest)
        };
        let mut outputs = Vec::new();
        for stage in &report.stages {
            let then = self.record.stages().iter().find(|then| then.name == stage.name);
            let old_ports = then.into_iter().flat_map(|then| then.outputs.keys());
            let ports: std::collections::BTreeSet<&String> = old_ports.chain(stage.outputs.keys()).collect();
            outputs.extend(ports.into_iter().map(|port| Output {
                name: format!("{}.{port}", stage.name),
                then: digest(self.record.stages(), &stage.name, port),
                now: digest(&report.stages, &stage.name, port),
            }));
        }
        Comparison { run: self.record.id.to_string(), outputs }
    }
}

/// What came out, beside what came out then.
pub(super) struct Comparison {
    run: String,
    outputs: Vec<Output>,
}

impl Comparison {
    /// Whether every byte is the same.
    pub(super) fn is_identical(&self) -> bool {
        self.outputs.iter().all(|output| output.now == output.then)
    }

    /// For scripts.
    pub(super) fn as_json(&self) -> Value {
        let outputs: serde_json::Map<String, Value> = self
            .outputs
            .iter()
            .map(|output| {
                let told = json!({ "then": output.then, "now": output.now, "identical": output.then == output.now });
                (output.name.clone(), told)
            })
            .collect();
        json!({ "run": self.run, "identical": self.is_identical(), "outputs": outputs })
    }

    /// For people.
    pub(super) fn tell(&self, ui: Ui) {
        let mut table = Table::new();
        for output in &self.outputs {
            let short = |digest: Option<Digest>| digest.map_or_else(|| "–".to_owned(), |digest| digest.short());
            let told = match (output.then, output.now) {
                (then, now) if then == now => [ui.paint("identical", "32"), short(now)],
                (then, now) => [ui.paint("differs", "31"), format!("{} → {}", short(then), short(now))],
            };
            table.row(std::iter::once(output.name.clone()).chain(told));
        }
        for line in table.lines() {
            ui.say(&line);
        }
        let differing = self.outputs.iter().filter(|output| output.now != output.then).count();
        ui.say(&match differing {
            0 => format!("all of {} bit-identical to run {}", count(self.outputs.len(), "output"), self.run),
            _ => format!("{differing} of {} not as in run {}", count(self.outputs.len(), "output"), self.run),
        });
    }
}
