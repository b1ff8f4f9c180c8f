use refit_cache::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    graph::{InputRef, Pipeline, StageNode},
    plan::Sources,
};

/// What an explanation is about: a stage as it is written and wired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The stage's name.
    pub name: String,
    /// The kind's name.
    pub kind: String,
    /// What the author says about it.
    pub description: Option<String>,
    /// Its parameters with every default filled in.
    pub with: Value,
    /// What is wired to it, by port.
    pub inputs: Vec<Input>,
    /// What it hands out: the port and the kind of the artifact.
    pub outputs: Vec<(String, String)>,
}

/// One input of a stage, as far as it is known before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The input port.
    pub port: String,
    /// As it is written: a source's name, or `stage.port`.
    pub from: String,
    /// Its content.
    pub digest: Option<Digest>,
    /// Where a source lies, or what makes the input.
    pub place: String,
}

impl Subject {
    /// A stage of a pipeline, given what is known of the outputs of others.
    pub fn of(
        pipeline: &Pipeline,
        sources: &Sources,
        node: &StageNode,
        content: impl Fn(&InputRef) -> Option<Digest>,
    ) -> Self {
        let inputs = node.inputs.iter().map(|(port, from)| {
            let (digest, place) = match from {
                InputRef::Source(name) => {
                    let source = pipeline.sources.get(name);
                    let uri = source.map(|source| source.uri.to_string()).unwrap_or_default();
                    let is_here = sources.path(name).is_some();
                    (sources.digest(name), if is_here { uri } else { format!("{uri} (not fetched yet)") })
                }
                InputRef::Output { .. } | InputRef::Many { .. } => {
                    let digest = content(from);
                    (digest, place(from, digest.is_some()))
                }
            };
            Input { port: port.clone(), from: from.to_string(), digest, place }
        });
        let outputs = node.outputs.iter().map(|port| (port.name.clone().into_owned(), port.kind.name().to_owned()));
        Self {
            name: node.name.clone(),
            kind: node.kind.name.to_owned(),
            description: node.description.clone(),
            with: node.params(),
            inputs: inputs.collect(),
            outputs: outputs.collect(),
        }
    }
}

fn place(from: &InputRef, is_known: bool) -> String {
    match (is_known, from) {
        (true, InputRef::Many { parts, .. }) if parts.len() == 1 => "1 output in the store".to_owned(),
        (true, InputRef::Many { parts, .. }) => format!("{} outputs in the store", parts.len()),
        (true, _) => "in the store".to_owned(),
        (false, InputRef::Many { .. }) => "known once these stages have run".to_owned(),
        (false, _) => "known once that stage has run".to_owned(),
    }
}
