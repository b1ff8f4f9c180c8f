//! From the tree to the graph. Nothing stops at the first mistake; what is broken is left out of what follows.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path as FilePath, PathBuf},
    sync::LazyLock,
};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::{
    Pipeline, SourceRef, StageGraph, StageNode,
    fit::{Fit, Subject},
    origin::Origin,
    params::{OPEN, Substitution},
    place::Places,
};
use crate::{
    source::{Entry, Mistake, Path, Step, did_you_mean, list},
    spec::{PipelineSpec, StageSpec, is_name},
    stage::{Registry, StageKind},
};

/// The grammar that every pipeline shares. It comes from our own types, so it compiles.
static GRAMMAR: LazyLock<Fit> = LazyLock::new(|| {
    Fit::new(PipelineSpec::schema().to_value()).expect("invariant: the grammar's schema comes from our own types")
});

/// What is known while a pipeline is lowered.
pub(super) struct Lowering<'a> {
    pub(super) origin: &'a Origin,
    pub(super) places: Places<'a>,
    pub(super) file: &'a FilePath,
    pub(super) folder: PathBuf,
    pub(super) registry: &'a Registry,
    pub(super) spec: PipelineSpec,
    /// The parameters as they are written.
    pub(super) params: IndexMap<String, Entry>,
    pub(super) used_params: HashSet<String>,
    /// Values with references that lead nowhere.
    pub(super) unresolved: HashSet<Path>,
    pub(super) used_sources: HashSet<String>,
    /// Sources that are written, also those with mistakes.
    pub(super) source_names: Vec<String>,
    /// Stages that are written, also those with mistakes, and their kinds where those are known.
    pub(super) stage_kinds: IndexMap<String, Option<&'a StageKind>>,
    /// Values that do not fit the grammar.
    pub(super) broken: HashSet<Path>,
    /// The schema of each kind's parameters, compiled once.
    pub(super) fits: HashMap<&'static str, Fit>,
    pub(super) mistakes: &'a mut Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
}

/// Lowers the tree of a file and replaces the references in it. There is a pipeline when there is no mistake; the second
/// list is the warnings.
pub(super) fn lower(
    origin: &mut Origin,
    file: &FilePath,
    registry: &Registry,
    mistakes: &mut Vec<Mistake>,
) -> (Option<Pipeline>, Vec<Mistake>) {
    let value = origin.root.to_value();
    let subject = Subject { places: &origin.places(), base: Path::default(), value: &value, name: "the pipeline" };
    let misfits = GRAMMAR.misfits(&subject);
    let broken: HashSet<Path> = misfits.iter().map(|misfit| misfit.path.clone()).collect();
    mistakes.extend(misfits.into_iter().filter_map(|misfit| misfit.mistake));
    if !value.is_object() {
        return (None, Vec::new());
    }
    let written = |section: &str| origin.root.get(section).and_then(|node| node.entries()).cloned().unwrap_or_default();
    let spec = match read(value, &broken) {
        Ok(spec) => spec,
        Err(problem) => {
            mistakes.push(Mistake::new("pipeline::bad_value", format!("the file cannot be used: {problem}")));
            return (None, Vec::new());
        }
    };
    let params = written("params");
    let (source_names, stage_names) = (written("sources").into_keys(), written("stages").into_keys());
    let mut substitution = Substitution {
        texts: &origin.texts,
        params: &params,
        used: HashSet::new(),
        unresolved: HashSet::new(),
        mistakes,
    };
    let root = substitution.pipeline(&origin.root);
    let Substitution { used: used_params, unresolved, .. } = substitution;
    origin.root = root;
    let origin = &*origin;
    let mut lowering = Lowering {
        origin,
        places: origin.places(),
        file,
        folder: file.parent().unwrap_or(FilePath::new("")).to_owned(),
        registry,
        params,
        used_params,
        unresolved,
        used_sources: HashSet::new(),
        source_names: source_names.collect(),
        stage_kinds: stage_names.map(|name| (name, None)).collect(),
        spec,
        broken,
        fits: HashMap::new(),
        mistakes,
        warnings: Vec::new(),
    };
    let pipeline = lowering.pipeline();
    lowering.unused();
    (pipeline, lowering.warnings)
}

/// The spec without the parts that do not fit.
fn read(mut value: Value, broken: &HashSet<Path>) -> Result<PipelineSpec, serde_json::Error> {
    for path in broken {
        let steps = path.0.as_slice();
        // A stage without a kind and a source without an address are nothing.
        let steps = match (steps.first(), steps.last()) {
            (Some(Step::Key(top)), Some(Step::Key(last)))
                if steps.len() == 3
                    && matches!((top.as_str(), last.as_str()), ("stages", "uses") | ("sources", "from")) =>
            {
                &steps[..2]
            }
            _ => steps,
        };
        remove(&mut value, steps);
    }
    if let Value::Object(fields) = &mut value
        && !fields.get("stages").is_some_and(Value::is_object)
    {
        fields.insert("stages".into(), Value::Object(Map::new()));
    }
    serde_json::from_value(value)
}

fn remove(value: &mut Value, steps: &[Step]) {
    let Some((last, above)) = steps.split_last() else { return };
    let mut at = value;
    for step in above {
        let below = match (at, step) {
            (Value::Object(fields), Step::Key(key)) => fields.get_mut(key),
            (Value::Array(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        };
        match below {
            Some(below) => at = below,
            None => return,
        }
    }
    if let (Value::Object(fields), Step::Key(key)) = (at, last) {
        fields.shift_remove(key);
    }
}

impl Lowering<'_> {
    fn pipeline(&mut self) -> Option<Pipeline> {
        let params = self.check_params();
        let sources = self.sources();
        let stages = std::mem::take(&mut self.spec.stages);
        self.kinds(&stages);
        if self.stage_kinds.is_empty() && !self.broken.contains(&Path::default()) && !self.is_broken(&["stages"]) {
            let labels = self.places.owner(&Path::of(&["stages"]), "no stage in here");
            self.mistakes.push(
                Mistake::new("pipeline::no_stages", "the pipeline has no stage")
                    .with_labels(labels)
                    .help("add one: `clean: { uses: clean, inputs: { records: SOURCE } }`"),
            );
        }
        let nodes = stages.iter().filter_map(|(name, stage)| self.stage(name, stage)).collect();
        let outputs = self.outputs(&sources);
        let graph = match StageGraph::new(nodes) {
            Ok(graph) => Some(graph),
            Err(cycles) => {
                for cycle in &cycles {
                    self.cycle(cycle);
                }
                None
            }
        };
        Some(Pipeline {
            name: self.name(),
            file: self.file.to_owned(),
            folder: self.folder.clone(),
            description: self.spec.description.take(),
            params,
            sources,
            stages: graph?,
            outputs,
            warnings: Vec::new(),
            origin: self.origin.clone(),
        })
    }

    pub(super) fn is_broken(&self, keys: &[&str]) -> bool {
        self.broken.contains(&Path::of(keys))
    }

    fn name(&self) -> String {
        let given = self.spec.name.clone().filter(|name| !name.trim().is_empty());
        let folder = || self.folder.file_name().map(|name| name.to_string_lossy().into_owned());
        given.or_else(folder).unwrap_or_else(|| "pipeline".to_owned())
    }

    /// Notes a key that is no name. A text with a reference in it gets the better words for that.
    pub(super) fn check_name(&mut self, path: &Path, what: &str) {
        let Some(name) = path.last_key().filter(|name| !is_name(name)) else { return };
        let mistake = Mistake::new("pipeline::bad_name", format!("`{name}` cannot be the name of a {what}"))
            .with_labels(self.places.key(path, "this name"))
            .help("a name has letters, digits, `_` and `-`, at most 64 of them, and does not begin with `-`");
        self.mistakes.push(mistake);
    }

    /// Notes a reference where none can stand, and says whether there is one.
    pub(super) fn refuse_reference(&mut self, path: &Path, text: &str) -> bool {
        let is_reference = text.contains(OPEN) && text.contains("params");
        if is_reference {
            let mistake = Mistake::new("pipeline::bad_reference", "`${…}` can only stand inside `with`")
                .with_labels(self.places.value(path, "not replaced here"))
                .help(format!("write the value itself; it can be overridden with `-S {path}=VALUE`"));
            self.mistakes.push(mistake);
        }
        is_reference
    }

    fn check_params(&mut self) -> Map<String, Value> {
        let params = self.spec.params.take().unwrap_or_default();
        for (name, value) in &params {
            let path = Path::of(&["params", name]);
            self.check_name(&path, "parameter");
            self.refuse_nested(&path, value);
        }
        params
    }

    fn refuse_nested(&mut self, path: &Path, value: &Value) {
        match value {
            Value::String(text) if text.contains("${params.") => {
                let mistake = Mistake::new("pipeline::bad_reference", "a parameter cannot refer to another one")
                    .with_labels(self.places.value(path, "nested reference"))
                    .help("write the value itself");
                self.mistakes.push(mistake);
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.refuse_nested(&path.join(index), item);
                }
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    self.refuse_nested(&path.join(key), item);
                }
            }
            _ => {}
        }
    }

    /// Finds the kind of each stage.
    fn kinds(&mut self, stages: &IndexMap<String, StageSpec>) {
        for name in self.stage_kinds.keys().cloned().collect::<Vec<_>>() {
            self.check_name(&Path::of(&["stages", &name]), "stage");
            let Some(stage) = stages.get(&name) else { continue };
            let kind = self.registry.get(&stage.uses);
            self.stage_kinds.insert(name.clone(), kind);
            let path = Path::of(&["stages", &name, "uses"]);
            if kind.is_some() || self.refuse_reference(&path, &stage.uses) {
                continue;
            }
            let known = self.registry.kinds().iter().map(|kind| kind.name);
            let help = did_you_mean(&stage.uses, known.clone())
                .unwrap_or_else(|| format!("the stage kinds are {}", list(known)));
            let mistake = Mistake::new("pipeline::unknown_kind", format!("there is no stage kind `{}`", stage.uses))
                .with_labels(self.places.value(&path, "unknown stage kind"))
                .help(help);
            self.mistakes.push(mistake);
        }
    }

    fn stage(&mut self, name: &str, stage: &StageSpec) -> Option<StageNode> {
        let Some(kind) = self.stage_kinds.get(name).copied().flatten() else {
            self.inputs_of_unknown(name, stage);
            return None;
        };
        let inputs: BTreeMap<_, _> = self.inputs(name, stage, kind);
        let with = self.with(name, kind).unwrap_or_default();
        Some(StageNode { name: name.to_owned(), kind: *kind, with, inputs, description: stage.description.clone() })
    }

    fn cycle(&mut self, cycle: &super::Cycle) {
        /// More labels than this hide the excerpt.
        const SHOWN: usize = 12;
        let message = match cycle.as_slice() {
            [only] => format!("the stage `{}` waits for itself", only.stage),
            [first, rest @ ..] => {
                let mut names: Vec<_> = rest.iter().map(|edge| edge.stage.as_str()).take(SHOWN).collect();
                if rest.len() > SHOWN {
                    names.push("…");
                }
                format!("stages wait for each other: {} → {} → {}", first.stage, names.join(" → "), first.stage)
            }
            [] => return,
        };
        let mut labels = Vec::new();
        for edge in cycle.iter().take(SHOWN) {
            let path = Path::of(&["stages", &edge.stage, "inputs", &edge.input]);
            let text = format!("`{}` needs `{}`", edge.stage, edge.from);
            labels.extend(self.places.value(&path, text).into_iter().next());
        }
        self.mistakes.push(Mistake::new("pipeline::cycle", message).with_labels(labels).help(if cycle.len() == 1 {
            "take the input from somewhere else"
        } else {
            "take one of these inputs from somewhere else"
        }));
    }

    fn unused(&mut self) {
        for name in self.params.keys().filter(|name| !self.used_params.contains(*name)) {
            let path = Path::of(&["params", name]);
            self.warnings.push(
                Mistake::new("pipeline::unused_parameter", format!("the parameter `{name}` is never used"))
                    .with_labels(self.places.key(&path, "unused"))
                    .help(format!("use it inside `with` as `${{params.{name}}}`, or remove it")),
            );
        }
        for name in self.source_names.iter().filter(|name| !self.used_sources.contains(*name)) {
            let path = Path::of(&["sources", name]);
            self.warnings.push(
                Mistake::new("pipeline::unused_source", format!("the source `{name}` is never used"))
                    .with_labels(self.places.key(&path, "unused"))
                    .help("wire it to a stage's input, or remove it"),
            );
        }
    }
}

/// What the lowering of sources hands on.
pub(super) type Sources = IndexMap<String, SourceRef>;
