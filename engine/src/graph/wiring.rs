//! Lowers `inputs`: what flows along which edge.

use std::collections::BTreeMap;

use super::{InputRef, lower::Lowering};
use crate::{
    source::{Label, Mistake, Path, did_you_mean, list},
    spec::StageSpec,
    stage::{ArtifactKind, InputPort, StageKind},
};

/// What a reference leads to.
pub(super) struct Resolved {
    pub(super) from: InputRef,
    /// Unknown for sources, which may be anything, and behind mistakes.
    pub(super) artifact: Option<ArtifactKind>,
}

impl Lowering<'_> {
    /// The inputs of a stage whose kind is known.
    pub(super) fn inputs(&mut self, name: &str, stage: &StageSpec, kind: &StageKind) -> BTreeMap<String, InputRef> {
        let mut inputs = BTreeMap::new();
        for (port, text) in stage.inputs.iter().flatten() {
            let path = Path::of(&["stages", name, "inputs", port]);
            let resolved = self.resolve(&path, text, kind.input(port));
            let Some(wanted) = kind.input(port) else {
                self.unknown_port(&path, port, kind);
                continue;
            };
            let Some(resolved) = resolved else { continue };
            if let Some(artifact) = resolved.artifact.filter(|artifact| !wanted.kinds.contains(artifact)) {
                self.wrong_artifact(&path, wanted, &resolved.from, artifact);
            }
            inputs.insert(port.clone(), resolved.from);
        }
        if !self.is_broken(&["stages", name, "inputs"]) {
            self.missing_inputs(name, kind);
        }
        inputs
    }

    /// The inputs of a stage whose kind is unknown: only what they name can be checked.
    pub(super) fn inputs_of_unknown(&mut self, name: &str, stage: &StageSpec) {
        for (port, text) in stage.inputs.iter().flatten() {
            self.resolve(&Path::of(&["stages", name, "inputs", port]), text, None);
        }
    }

    fn missing_inputs(&mut self, name: &str, kind: &StageKind) {
        let path = Path::of(&["stages", name, "inputs"]);
        let written = self.places.root.get("stages").and_then(|node| node.get(name)).and_then(|node| node.get("inputs"));
        let given = |port: &str| written.is_some_and(|inputs| inputs.get(port).is_some());
        for port in kind.inputs.iter().filter(|port| port.required && !given(port.name)) {
            let fitting = self.fitting(port, Some(name));
            let help = format!("`{}` takes {}: {}", port.name, kinds(port), port.doc.trim_end_matches('.'));
            let help = match fitting.as_slice() {
                [] => help,
                some => format!("{help}; {} would fit", list(some.iter().map(String::as_str))),
            };
            self.mistakes.push(
                Mistake::new("pipeline::missing_input", format!("the stage `{name}` needs the input `{}`", port.name))
                    .with_labels(self.places.owner(&path, format!("`{}` is missing here", port.name)))
                    .help(help),
            );
        }
    }

    fn unknown_port(&mut self, path: &Path, port: &str, kind: &StageKind) {
        let known = kind.inputs.iter().map(|port| port.name);
        let help = did_you_mean(port, known.clone()).unwrap_or_else(|| format!("its inputs are {}", list(known)));
        self.mistakes.push(
            Mistake::new("pipeline::unknown_port", format!("`{}` has no input `{port}`", kind.name))
                .with_labels(self.places.key(path, "unknown input"))
                .help(help),
        );
    }

    fn wrong_artifact(&mut self, path: &Path, wanted: &InputPort, from: &InputRef, artifact: ArtifactKind) {
        let mut mistake = Mistake::new(
            "pipeline::wrong_artifact",
            format!("the input `{}` takes {}, but `{from}` is {artifact}", wanted.name, kinds(wanted)),
        )
        .with_labels(self.places.value(path, format!("this is {artifact}")));
        if let InputRef::Output { stage, .. } = from {
            let uses = Path::of(&["stages", stage, "uses"]);
            mistake = mistake.at(self.places.span(&uses), format!("`{stage}` hands it out"));
        }
        let fitting = self.fitting(wanted, None);
        let help = match fitting.as_slice() {
            [] => format!("no stage here hands out {}", kinds(wanted)),
            some => format!("{} would fit", list(some.iter().map(String::as_str))),
        };
        self.mistakes.push(mistake.help(help));
    }

    /// The outputs of the pipeline's stages that fit a port.
    fn fitting(&self, port: &InputPort, except: Option<&str>) -> Vec<String> {
        let stages = self.stage_kinds.iter().filter(|(name, _)| Some(name.as_str()) != except);
        let mut found = Vec::new();
        for (name, kind) in stages {
            let outputs = kind.iter().flat_map(|kind| kind.outputs).filter(|output| port.kinds.contains(&output.kind));
            found.extend(outputs.map(|output| format!("{name}.{}", output.name)));
            if found.len() > 3 {
                found.truncate(3);
                break;
            }
        }
        found
    }

    /// Follows a source's name or `STAGE.PORT`; what leads nowhere is noted.
    pub(super) fn resolve(&mut self, path: &Path, text: &str, wanted: Option<&InputPort>) -> Option<Resolved> {
        if self.refuse_reference(path, text) {
            return None;
        }
        match text.split_once('.') {
            None => self.resolve_source(path, text, wanted),
            Some((stage, port)) => self.resolve_output(path, stage, port),
        }
    }

    fn resolve_source(&mut self, path: &Path, name: &str, wanted: Option<&InputPort>) -> Option<Resolved> {
        if self.source_names.iter().any(|known| known == name) {
            self.used_sources.insert(name.to_owned());
            return Some(Resolved { from: InputRef::Source(name.to_owned()), artifact: None });
        }
        let (message, help) = match self.stage_kinds.get(name) {
            Some(kind) => {
                let outputs = kind.map(|kind| kind.outputs).unwrap_or_default();
                let fits = |port: &&crate::stage::OutputPort| wanted.is_none_or(|wanted| wanted.kinds.contains(&port.kind));
                let fitting: Vec<String> = outputs.iter().filter(fits).map(|port| format!("{name}.{}", port.name)).collect();
                let help = match fitting.as_slice() {
                    [] => format!("name one of its outputs: `{name}.PORT`"),
                    [only] => format!("name its output: `{only}`"),
                    some => format!("name one of its outputs: {}", list(some.iter().map(String::as_str))),
                };
                (format!("`{name}` is a stage, not a source"), help)
            }
            None => {
                let sources = self.source_names.iter().map(String::as_str);
                let stages = self.stage_kinds.keys().map(String::as_str);
                let help = did_you_mean(name, sources.clone())
                    .or_else(|| did_you_mean(name, stages).map(|help| help.replace("`?", ".PORT`?")))
                    .unwrap_or_else(|| {
                        if self.source_names.is_empty() {
                            "the file names no source; add one under `sources`".to_owned()
                        } else {
                            format!("the sources are {}; an output is written `STAGE.PORT`", list(sources))
                        }
                    });
                (format!("there is no source `{name}`"), help)
            }
        };
        self.leads_nowhere("pipeline::unknown_source", message, path, "unknown source", help)
    }

    fn resolve_output(&mut self, path: &Path, stage: &str, port: &str) -> Option<Resolved> {
        let Some(kind) = self.stage_kinds.get(stage).copied() else {
            let stages = self.stage_kinds.keys().map(String::as_str);
            let help = if self.source_names.iter().any(|source| source == stage) {
                self.used_sources.insert(stage.to_owned());
                format!("`{stage}` is a source, which has no ports: write `{stage}`")
            } else {
                did_you_mean(stage, stages.clone())
                    .map_or_else(|| format!("the stages are {}", list(stages)), |help| help.replace("`?", &format!(".{port}`?")))
            };
            let message = format!("there is no stage `{stage}`");
            return self.leads_nowhere("pipeline::unknown_stage", message, path, "unknown stage", help);
        };
        let from = InputRef::Output { stage: stage.to_owned(), port: port.to_owned() };
        // The kind is unknown, which has been said where it is named.
        let Some(kind) = kind else { return Some(Resolved { from, artifact: None }) };
        if let Some(output) = kind.output(port) {
            return Some(Resolved { from, artifact: Some(output.kind) });
        }
        let known = kind.outputs.iter().map(|output| output.name);
        let help = did_you_mean(port, known.clone())
            .map_or_else(|| format!("it hands out {}", list(known)), |help| help.replace("mean `", &format!("mean `{stage}.")));
        let message = format!("the stage `{stage}` has no output `{port}`");
        self.leads_nowhere("pipeline::unknown_port", message, path, "unknown output", help)
    }

    fn leads_nowhere(
        &mut self,
        code: &'static str,
        message: String,
        path: &Path,
        label: &str,
        help: String,
    ) -> Option<Resolved> {
        let labels: Vec<Label> = self.places.value(path, label);
        self.mistakes.push(Mistake::new(code, message).with_labels(labels).help(help));
        None
    }
}

fn kinds(port: &InputPort) -> String {
    port.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ")
}
