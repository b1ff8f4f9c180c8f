use std::collections::BTreeMap;

use refit_cache::{Digest, Store, Tree};
use serde_json::Value;

use crate::{
    graph::{InputRef, Pipeline},
    plan::{Plan, Reason, Sources, StepState},
    run::{RunPlan, RunReport},
};

/// A pipeline as a run found it, or as it is now: all that decides what its stages make.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The stages by name.
    pub stages: BTreeMap<String, StageView>,
    /// The sources by name: where from, and their content as far as it is known.
    pub sources: BTreeMap<String, (String, Option<Digest>)>,
}

/// One stage in a [`View`].
#[derive(Debug, Clone)]
pub struct StageView {
    /// The kind.
    pub kind: String,
    /// Its version; none in the record of a run that was not finished.
    pub version: Option<u32>,
    /// The parameters with every default filled in.
    pub with: Value,
    /// What is wired to each port.
    pub inputs: BTreeMap<String, Wire>,
    /// What it made, by port; none while that is not known.
    pub outputs: Option<BTreeMap<String, Tree>>,
    /// Why it must run whatever its inputs are: forced, lost, damaged.
    pub own: Vec<Reason>,
}

/// What is wired to a port.
#[derive(Debug, Clone)]
pub struct Wire {
    /// As it is written: a source's name, or `stage.port`.
    pub from: String,
    /// The source.
    pub source: Option<String>,
    /// The outputs of other stages: stage and port.
    pub outputs: Vec<(String, String)>,
}

impl View {
    /// As a run found it, from its record and the results that are still in the store.
    pub fn of_run(store: &Store, plan: &RunPlan, report: &RunReport) -> Self {
        let sources: BTreeMap<String, (String, Option<Digest>)> = report
            .sources
            .iter()
            .map(|(name, source)| (name.clone(), (source.from.clone(), Some(source.digest))))
            .collect();
        let stages = report.stages.iter().filter_map(|stage| {
            let planned = plan.stages.get(&stage.name)?;
            let manifest = stage.result(store).ok().flatten();
            let inputs =
                planned.get("inputs").and_then(Value::as_object).into_iter().flatten().filter_map(|(port, from)| {
                    let from = from.as_str()?.to_owned();
                    let source = sources.contains_key(&from).then(|| from.clone());
                    let outputs = outputs_of(&from, plan);
                    Some((port.clone(), Wire { from, source, outputs }))
                });
            let version =
                planned.get("version").and_then(Value::as_u64).and_then(|version| u32::try_from(version).ok());
            let view = StageView {
                kind: stage.kind.clone(),
                version: version.or(manifest.as_ref().map(|manifest| manifest.version)),
                with: planned.get("with").cloned().unwrap_or_default(),
                inputs: inputs.collect(),
                outputs: manifest.map(|manifest| manifest.outputs),
                own: Vec::new(),
            };
            Some((stage.name.clone(), view))
        });
        Self { stages: stages.collect(), sources }
    }

    /// As it is now.
    pub fn now(pipeline: &Pipeline, sources: &Sources, plan: &Plan) -> Self {
        let found = pipeline
            .sources
            .values()
            .map(|source| (source.name.clone(), (source.uri.to_string(), sources.digest(&source.name))));
        let stages = pipeline.stages.stages().zip(&plan.steps).map(|(node, step)| {
            let wire = |input: &InputRef| Wire {
                from: input.to_string(),
                source: input.source().map(ToOwned::to_owned),
                outputs: input.outputs().map(|(stage, port)| (stage.to_owned(), port.to_owned())).collect(),
            };
            let own = step.reasons.iter().filter(|reason| {
                matches!(
                    reason,
                    Reason::Forced
                        | Reason::OutputMissing { .. }
                        | Reason::OutputCorrupt { .. }
                        | Reason::NotFetched { .. }
                )
            });
            let view = StageView {
                kind: node.kind.name.to_owned(),
                version: Some(node.kind.version),
                with: node.with.clone(),
                inputs: node.inputs.iter().map(|(port, input)| (port.clone(), wire(input))).collect(),
                outputs: (step.state == StepState::Cached).then(|| step.outputs.clone()),
                own: own.cloned().collect(),
            };
            (node.name.clone(), view)
        });
        Self { stages: stages.collect(), sources: found.collect() }
    }

    /// The artifact that a port of a stage gives, as far as it is known.
    pub fn output(&self, stage: &str, port: &str) -> Option<&Tree> {
        self.stages.get(stage)?.outputs.as_ref()?.get(port)
    }
}

/// The outputs that a wire of a run's plan names. Where it names several copies of a stage, all of them: the others are
/// the same in both views that are compared, or a cause of their own.
fn outputs_of(from: &str, plan: &RunPlan) -> Vec<(String, String)> {
    let Some((stage, port)) = from.rsplit_once('.') else { return Vec::new() };
    if plan.stages.contains_key(stage) {
        return vec![(stage.to_owned(), port.to_owned())];
    }
    let template = stage.split_once('[').map_or(stage, |(template, _)| template);
    let is_copy = |name: &&String| name.strip_prefix(template).is_some_and(|rest| rest.starts_with('['));
    plan.stages.keys().filter(is_copy).map(|name| (name.clone(), port.to_owned())).collect()
}
