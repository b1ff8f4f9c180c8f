//! Lowers `inputs`: what flows along which edge.

use indexmap::IndexMap;

use super::{InputRef, lower::Lowering, matrix::Reference, params::OPEN};
use crate::{
    source::{Label, Mistake, Path, choice, did_you_mean, list, nearest},
    spec::{InputSpec, StageSpec, is_name},
    stage::{ArtifactKind, InputPort, OutputDecl, StageKind},
};

/// What a reference leads to.
pub(super) struct Resolved {
    pub(super) from: InputRef,
    /// Unknown for sources, which may be anything, and behind mistakes.
    pub(super) artifact: Option<ArtifactKind>,
}

impl Lowering<'_> {
    /// The inputs of a stage whose kind is known.
    pub(super) fn inputs(&mut self, name: &str, stage: &StageSpec, kind: &StageKind) -> IndexMap<String, InputRef> {
        let mut inputs = IndexMap::new();
        for (port, input) in stage.inputs.iter().flatten() {
            let path = Path::of(&["stages", name, "inputs", port]);
            let resolved = self.input(name, &path, input, kind.input(port));
            if kind.open.is_some() {
                self.check_port_name(&path, port);
                inputs.extend(resolved.map(|resolved| (port.clone(), resolved.from)));
                continue;
            }
            let Some(wanted) = kind.input(port) else {
                self.unknown_port(&path, port, kind);
                continue;
            };
            let Some(resolved) = resolved else { continue };
            if let Some(artifact) = resolved.artifact.filter(|artifact| !artifact.fits(wanted.kinds)) {
                self.wrong_artifact(name, &path, wanted, &resolved.from, artifact);
            }
            inputs.insert(port.clone(), resolved.from);
        }
        if !self.is_broken(&["stages", name, "inputs"]) {
            let known = kind.inputs.iter().map(|port| port.name);
            let unknown =
                stage.inputs.iter().flatten().map(|(port, _)| port.as_str()).filter(|port| kind.input(port).is_none());
            // A misspelt port is not missing as well.
            let meant: Vec<&str> = unknown.filter_map(|port| nearest(port, known.clone())).collect();
            self.missing_inputs(name, kind, &meant);
        }
        inputs
    }

    /// Notes a name that an author gave to an input and that is none.
    fn check_port_name(&mut self, path: &Path, port: &str) {
        if is_name(port) {
            return;
        }
        self.mistakes.push(
            Mistake::new("pipeline::bad_name", format!("`{port}` cannot be the name of an input"))
                .with_labels(self.places.key(path, "this name"))
                .help("a name has letters, digits, `_` and `-`, at most 64 of them, and does not begin with `-`"),
        );
    }

    /// The inputs of a stage whose kind is unknown: only what they name can be checked.
    pub(super) fn inputs_of_unknown(&mut self, name: &str, stage: &StageSpec) {
        for (port, input) in stage.inputs.iter().flatten() {
            let path = Path::of(&["stages", name, "inputs", port]);
            match input {
                InputSpec::One(text) => drop(self.resolve(name, &path, text, None)),
                InputSpec::Many(texts) => {
                    for (index, text) in texts.iter().enumerate() {
                        self.resolve(name, &path.join(index), text, None);
                    }
                }
            }
        }
    }

    fn missing_inputs(&mut self, name: &str, kind: &StageKind, meant: &[&str]) {
        let path = Path::of(&["stages", name, "inputs"]);
        let written =
            self.places.root.get("stages").and_then(|node| node.get(name)).and_then(|node| node.get("inputs"));
        let given = |port: &str| meant.contains(&port) || written.is_some_and(|inputs| inputs.get(port).is_some());
        for port in kind.inputs.iter().filter(|port| port.required && !given(port.name)) {
            let fitting = self.fitting(port, name);
            let help = format!("`{}` takes {}: {}", port.name, kinds(port), port.doc.trim_end_matches('.'));
            let help = match fitting.as_slice() {
                [] => help,
                some => format!("{help}; {} would fit", choice(some.iter().map(String::as_str))),
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
        let help = did_you_mean(port, known.clone()).unwrap_or_else(|| match kind.inputs {
            [] => "it takes no input".to_owned(),
            [only] => format!("its only input is `{}`", only.name),
            _ => format!("its inputs are {}", list(known)),
        });
        self.mistakes.push(
            Mistake::new("pipeline::unknown_port", format!("`{}` has no input `{port}`", kind.name))
                .with_labels(self.places.key(path, "unknown input"))
                .help(help),
        );
    }

    fn wrong_artifact(&mut self, name: &str, path: &Path, wanted: &InputPort, from: &InputRef, artifact: ArtifactKind) {
        let mut mistake = Mistake::new(
            "pipeline::wrong_artifact",
            format!("the input `{}` takes {}, but `{from}` is `{artifact}`", wanted.name, kinds(wanted)),
        )
        .with_labels(self.places.value(path, format!("this is `{artifact}`")));
        if let InputRef::Output { stage, .. } = from {
            let uses = Path::of(&["stages", stage, "uses"]);
            mistake = mistake.at(self.places.span(&uses), format!("`{stage}` hands it out"));
        }
        let fitting = self.fitting(wanted, name);
        let help = match fitting.as_slice() {
            [] => format!("no stage here hands out {}", kinds(wanted)),
            some => format!("{} would fit", choice(some.iter().map(String::as_str))),
        };
        self.mistakes.push(mistake.help(help));
    }

    /// The outputs of the other stages that fit a port; of many the first three.
    fn fitting(&self, port: &InputPort, except: &str) -> Vec<String> {
        let stages = self.stage_kinds.iter().filter(|(name, _)| *name != except);
        let mut found = Vec::new();
        for (name, kind) in stages {
            let outputs = kind.map(|kind| self.outputs_of(name, kind)).unwrap_or_default();
            let fitting = outputs.iter().filter(|output| output.kind.fits(port.kinds));
            found.extend(fitting.map(|output| format!("{name}.{}", output.name)));
            if found.len() > 3 {
                found.truncate(3);
                break;
            }
        }
        found
    }

    /// What an input of the stage `own` is wired to.
    fn input(&mut self, own: &str, path: &Path, input: &InputSpec, wanted: Option<&InputPort>) -> Option<Resolved> {
        let resolved = match input {
            InputSpec::One(text) => self.resolve(own, path, text, wanted)?,
            InputSpec::Many(texts) => self.list(own, path, texts, wanted)?,
        };
        let InputRef::Many { written, parts } = &resolved.from else { return Some(resolved) };
        let Some(wanted) = wanted.filter(|wanted| !wanted.many) else { return Some(resolved) };
        let message = format!("the input `{}` takes one artifact, but `{written}` is {}", wanted.name, parts.len());
        let label = if parts.len() == 1 { "a list of one".to_owned() } else { format!("{} of them", parts.len()) };
        let example = parts.first().map(|part| format!("{}.{}", part.stage, part.port)).unwrap_or_default();
        let labels = self.places.value(path, label);
        self.mistakes.push(
            Mistake::new("pipeline::one_artifact", message)
                .with_labels(labels)
                .help(format!("name one, such as `{example}`, or give this stage the same matrix")),
        );
        None
    }

    /// Follows a source's name, `STAGE.PORT` or `STAGE[AXIS=VALUE,…].PORT`, written in the stage `own`; what leads nowhere
    /// is noted.
    pub(super) fn resolve(
        &mut self,
        own: &str,
        path: &Path,
        text: &str,
        wanted: Option<&InputPort>,
    ) -> Option<Resolved> {
        if text.contains(OPEN) && self.refuse_reference(path, text) {
            return None;
        }
        match Reference::parse(text) {
            Ok(Reference::Source(name)) => self.resolve_source(path, name, wanted),
            Ok(Reference::Output { stage, selector, port }) => {
                if selector.is_some() || self.copies.get(stage).is_some() {
                    self.resolve_copies(own, path, text, stage, &selector.unwrap_or_default(), port)
                } else {
                    self.resolve_output(path, stage, port)
                }
            }
            Err(problem) => {
                let message = format!("`{text}` {problem}");
                let help = "choose copies of a stage like this: `train[rank=8,lr=1e-4].adapter`, all of them with `train[*].adapter`";
                self.leads_nowhere("pipeline::bad_selector", message, path, "not a reference", help.to_owned())
            }
        }
    }

    fn resolve_source(&mut self, path: &Path, name: &str, wanted: Option<&InputPort>) -> Option<Resolved> {
        if self.source_names.iter().any(|known| known == name) {
            self.used_sources.insert(name.to_owned());
            return Some(Resolved { from: InputRef::Source(name.to_owned()), artifact: None });
        }
        let copy = self.copies.get(name).and_then(|template| template.names().next());
        let (message, label, help) = if let Some(kind) = self.stage_kinds.get(copy.unwrap_or(name)) {
            let outputs = kind.map(|kind| self.outputs_of(copy.unwrap_or(name), kind)).unwrap_or_default();
            let fits = |output: &&OutputDecl| wanted.is_none_or(|wanted| output.kind.fits(wanted.kinds));
            let fitting: Vec<String> =
                outputs.iter().filter(fits).map(|output| format!("{name}.{}", output.name)).collect();
            let help = match fitting.as_slice() {
                [] => format!("name one of its outputs: `{name}.PORT`"),
                [only] => format!("name its output: `{only}`"),
                some => format!("name one of its outputs, {}", choice(some.iter().map(String::as_str))),
            };
            (format!("`{name}` is a stage, not a source"), "a stage", help)
        } else {
            let sources = self.source_names.iter().map(String::as_str);
            let stages = self.written_stages.iter().map(String::as_str);
            let help = did_you_mean(name, sources.clone())
                .or_else(|| nearest(name, stages).map(|stage| format!("did you mean `{stage}.PORT`?")))
                .unwrap_or_else(|| match self.source_names.as_slice() {
                    [] => "the file names no source; add one under `sources`".to_owned(),
                    _ => format!("the sources are {}; an output is written `STAGE.PORT`", list(sources)),
                });
            (format!("there is no source `{name}`"), "unknown source", help)
        };
        self.leads_nowhere("pipeline::unknown_source", message, path, label, help)
    }

    pub(super) fn resolve_output(&mut self, path: &Path, stage: &str, port: &str) -> Option<Resolved> {
        let Some(kind) = self.stage_kinds.get(stage).copied() else {
            // Why its import could not be read has been said.
            if self.missing.iter().any(|prefix| stage.starts_with(prefix.as_str())) {
                return None;
            }
            if self.source_names.iter().any(|source| source == stage) {
                self.used_sources.insert(stage.to_owned());
                let message = format!("`{stage}` is a source, which has no ports");
                return self.leads_nowhere(
                    "pipeline::unknown_stage",
                    message,
                    path,
                    "a source",
                    format!("write `{stage}`"),
                );
            }
            let stages = self.written_stages.iter().map(String::as_str);
            let help = match nearest(stage, stages.clone()) {
                Some(meant) => format!("did you mean `{meant}.{port}`?"),
                None => format!("the stages are {}", list(stages)),
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
        if kind.open.is_some() {
            // Of parameters with a mistake nobody knows what they declare; the mistake has been noted.
            let Some(declared) = self.declared.get(stage) else { return Some(Resolved { from, artifact: None }) };
            if let Some(output) = declared.iter().find(|output| output.name == port) {
                return Some(Resolved { from, artifact: Some(output.kind) });
            }
        }
        let outputs = self.outputs_of(stage, kind);
        let known = outputs.iter().map(|output| output.name.as_ref());
        let help = match (nearest(port, known.clone()), outputs.as_slice()) {
            (Some(meant), _) => format!("did you mean `{stage}.{meant}`?"),
            (None, []) => "it hands out nothing: declare it under `with.outputs`".to_owned(),
            (None, _) => format!("it hands out {}", list(known)),
        };
        let message = format!("the stage `{stage}` has no output `{port}`");
        self.leads_nowhere("pipeline::unknown_port", message, path, "unknown output", help)
    }

    /// What a stage hands out, as far as that is known.
    fn outputs_of(&self, name: &str, kind: &StageKind) -> Vec<OutputDecl> {
        match self.declared.get(name) {
            Some(declared) => declared.clone(),
            None => kind.outputs.iter().map(OutputDecl::from).collect(),
        }
    }

    pub(super) fn leads_nowhere(
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
    choice(port.kinds.iter().map(|kind| kind.name()))
}
