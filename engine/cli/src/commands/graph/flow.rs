use std::collections::HashSet;

use refit_engine::graph::{InputRef, Pipeline};
use serde::Serialize;

/// A pipeline as it is drawn: what flows from where to where.
#[derive(Debug, Serialize)]
pub(super) struct Flow {
    pub(super) pipeline: String,
    /// Each after everything it needs; a source right before the first stage that reads it.
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    /// What is copied out.
    pub(super) outputs: Vec<Copied>,
}

/// A source or a stage.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) what: What,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "node")]
pub(super) enum What {
    Source { uri: String },
    Stage { kind: String, description: Option<String> },
}

/// One wire.
#[derive(Debug, Serialize)]
pub(super) struct Edge {
    /// A source's or stage's name; a stage and a source never share one.
    pub(super) from: String,
    /// The output port; none from a source.
    pub(super) output: Option<String>,
    pub(super) to: String,
    pub(super) input: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Copied {
    pub(super) to: String,
    pub(super) from: String,
}

impl Flow {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let mut nodes = Vec::new();
        let mut edges = Vec::new();
        let mut seen = HashSet::new();
        for stage in pipeline.stages.stages() {
            for (input, from) in &stage.inputs {
                let edge = |from: &str, output: Option<&str>| Edge {
                    from: from.to_owned(),
                    output: output.map(str::to_owned),
                    to: stage.name.clone(),
                    input: input.clone(),
                };
                if let InputRef::Source(name) = from {
                    if let Some(source) = pipeline.sources.get(name).filter(|_| seen.insert(name.clone())) {
                        let uri = source.uri.to_string();
                        // A path in the pipeline's folder reads better without that folder.
                        let folder = format!("{}/", pipeline.folder.display());
                        let uri = uri.strip_prefix(&folder).unwrap_or(&uri).to_owned();
                        nodes.push(Node { name: name.clone(), what: What::Source { uri } });
                    }
                    edges.push(edge(name, None));
                }
                edges.extend(from.outputs().map(|(from, output)| edge(from, Some(output))));
            }
            nodes.push(Node {
                name: stage.name.clone(),
                what: What::Stage { kind: stage.kind.name.to_owned(), description: stage.description.clone() },
            });
        }
        let outputs = pipeline
            .outputs
            .iter()
            .map(|export| Copied { to: export.to.display().to_string(), from: export.from.to_string() });
        Self { pipeline: pipeline.name.clone(), nodes, edges, outputs: outputs.collect() }
    }
}

impl Edge {
    /// `records`, or `test → records` where the ports have different names.
    pub(super) fn label(&self) -> String {
        match &self.output {
            Some(output) if *output != self.input => format!("{output} → {}", self.input),
            _ => self.input.clone(),
        }
    }

    /// `split.test` or `faq`.
    pub(super) fn origin(&self) -> String {
        self.output.as_ref().map_or_else(|| self.from.clone(), |output| format!("{}.{output}", self.from))
    }
}
