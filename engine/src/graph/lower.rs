//! From the tree to the graph. Nothing stops at the first mistake; what is broken is left out of what follows.

use std::{
    collections::{HashMap, HashSet},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;

use super::{
    CopyOf, Pipeline, SourceRef, StageGraph, StageNode,
    fit::Fit,
    flatten::{Flat, Flattening, Unit},
    grammar::Written,
    matrix::{Copies, StageCopy},
    origin::Origin,
    params::{OPEN, edited},
    place::Places,
};
use crate::{
    source::{Entry, Mistake, Node, Path, Shape, did_you_mean, list},
    spec::{PipelineSpec, SourceSpec, StageSpec},
    stage::{LoweredParams, OutputDecl, Registry, StageKind},
};

/// What is known while a pipeline is lowered.
pub(super) struct Lowering<'a> {
    pub(super) origin: &'a Origin,
    pub(super) places: Places<'a>,
    pub(super) file: &'a FilePath,
    pub(super) folder: PathBuf,
    /// Every file that was read, the pipeline file first.
    files: Vec<PathBuf>,
    pub(super) registry: &'a Registry,
    pub(super) spec: PipelineSpec,
    /// Values with references that lead nowhere.
    pub(super) unresolved: HashSet<Path>,
    pub(super) used_sources: HashSet<String>,
    /// Sources that are written, also those with mistakes.
    pub(super) source_names: Vec<String>,
    pub(super) source_specs: IndexMap<String, SourceSpec>,
    /// The names of stages as they are written, without those of copies.
    pub(super) written_stages: Vec<String>,
    /// What the stages of imports would be called that could not be read.
    pub(super) missing: Vec<String>,
    /// Stages that are written, also those with mistakes, and their kinds where those are known.
    pub(super) stage_kinds: IndexMap<String, Option<&'a StageKind>>,
    /// Every stage with a matrix.
    pub(super) copies: Copies,
    /// The copy that a stage is, by the stage's name.
    pub(super) copy_of: HashMap<String, Arc<StageCopy>>,
    /// Values that do not fit the grammar.
    pub(super) broken: HashSet<Path>,
    /// The checked parameters of each stage; none where they have a mistake.
    pub(super) lowered: HashMap<String, LoweredParams>,
    /// The outputs of each stage whose parameters declare them, unless there is a mistake in those.
    pub(super) declared: HashMap<String, Vec<OutputDecl>>,
    /// The schema of each kind's parameters, compiled once.
    pub(super) fits: HashMap<&'static str, Fit>,
    pub(super) mistakes: &'a mut Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
}

/// Lowers the tree of a file and replaces the references in it. There is a pipeline when there is no mistake; the second
/// list is the warnings. `written` is the tree without overrides; `imports` stand for the files that are imported, in order.
pub(super) fn lower(
    origin: &mut Origin,
    written: &Arc<Node>,
    imports: Vec<Arc<str>>,
    file: &FilePath,
    registry: &Registry,
    mistakes: &mut Vec<Mistake>,
) -> (Option<Pipeline>, Vec<Mistake>) {
    let as_written = written.clone();
    let Some(written) = Written::read(&origin.places(), mistakes) else { return (None, Vec::new()) };
    let folder = file.parent().unwrap_or(FilePath::new("")).to_owned();
    let params = origin.root.get("params").and_then(|node| node.entries()).cloned().unwrap_or_default();
    let mut unit = Unit {
        root: origin.root.clone(),
        as_written,
        written,
        prefix: String::new(),
        by: None,
        folder: folder.clone(),
        params,
        wires: IndexMap::new(),
        chain: vec![fs_err::canonicalize(file).unwrap_or_else(|_| file.to_owned())],
    };
    let imports = imports.into_iter();
    let mut flattening = Flattening { texts: &mut origin.texts, imports, registry, mistakes, flat: Flat::default() };
    flattening.unit(&mut unit);
    let mut flat = flattening.flat;
    let Unit { root, written: Written { mut spec, broken }, .. } = unit;
    flat.broken.extend(broken);
    origin.root = edited(&root, &mut |entries| {
        for (section, flat) in [("stages", &flat.stages), ("sources", &flat.sources)] {
            if let Some(entry) = entries.get_mut(section) {
                entry.value = edited(&entry.value, &mut |entries| entries.clone_from(flat));
            } else if !flat.is_empty() {
                let value = Node::new(root.span, Shape::Mapping(flat.clone())).into();
                entries.insert(section.to_owned(), Entry { key: root.span, value, merged: None });
            }
        }
    });
    let origin = &*origin;
    spec.stages = std::mem::take(&mut flat.specs);
    let mut files = vec![file.to_owned()];
    files.append(&mut flat.files);
    let mut lowering = Lowering {
        origin,
        places: origin.places(),
        file,
        folder,
        files,
        registry,
        unresolved: flat.unresolved,
        used_sources: HashSet::new(),
        source_names: flat.sources.into_keys().collect(),
        source_specs: flat.source_specs,
        written_stages: flat.written_stages,
        missing: flat.missing,
        stage_kinds: flat.stages.into_keys().map(|name| (name, None)).collect(),
        copies: flat.copies,
        copy_of: flat.copy_of,
        spec,
        broken: flat.broken,
        lowered: HashMap::new(),
        declared: HashMap::new(),
        fits: HashMap::new(),
        mistakes,
        warnings: flat.warnings,
    };
    let pipeline = lowering.pipeline();
    lowering.unused();
    (pipeline, lowering.warnings)
}

impl Lowering<'_> {
    fn pipeline(&mut self) -> Option<Pipeline> {
        let params = self.spec.params.take().unwrap_or_default();
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
        // What a stage hands out may follow from its parameters.
        for (name, stage) in &stages {
            self.with(name, stage);
        }
        let mut nodes = Vec::with_capacity(stages.len());
        nodes.extend(stages.into_iter().filter_map(|(name, stage)| self.stage(&name, &stage)));
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
            files: std::mem::take(&mut self.files),
            description: self.spec.description.take(),
            params,
            sources,
            stages: graph?,
            outputs,
            variants: Vec::new(),
            warnings: Vec::new(),
            origin: self.origin.for_later(),
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

    /// Notes a reference where none can stand, and says whether there is one.
    pub(super) fn refuse_reference(&mut self, path: &Path, text: &str) -> bool {
        let is_reference = text.contains(OPEN) && (text.contains("params") || text.contains("matrix"));
        if is_reference {
            let mistake = Mistake::new("pipeline::bad_reference", "`${…}` can only stand inside `with`")
                .with_labels(self.places.value(path, "not replaced here"))
                .help(format!("write the value itself; it can be overridden with `-S {path}=VALUE`"));
            self.mistakes.push(mistake);
        }
        is_reference
    }

    /// Finds the kind of each stage.
    fn kinds(&mut self, stages: &IndexMap<String, Box<StageSpec>>) {
        for name in self.stage_kinds.keys().cloned().collect::<Vec<_>>() {
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
        let mut inputs = self.inputs(name, stage, kind);
        inputs.sort_unstable_keys();
        inputs.shrink_to_fit();
        // Without parameters there is a mistake, and no pipeline will come of this.
        let LoweredParams { mut with, outputs, outside, .. } = self.lowered.remove(name).unwrap_or_default();
        let copy_of = self.copy_of.get(name).map(|copy| CopyOf {
            template: copy.template.to_string(),
            values: copy.values.iter().map(|(axis, value)| (axis.to_string(), value.value.clone())).collect(),
        });
        let how = with.as_object_mut().into_iter().flat_map(|with| {
            kind.manner.iter().filter_map(|name| with.remove(*name).map(|value| ((*name).to_owned(), value)))
        });
        Some(StageNode {
            name: name.to_owned(),
            kind: *kind,
            manner: how.collect(),
            with,
            inputs,
            outputs,
            outside,
            cache: stage.cache.unwrap_or(true),
            description: stage.description.clone(),
            copy_of,
            terms: self.terms(name, stage, kind),
        })
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
