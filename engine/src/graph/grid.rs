//! The pipelines of a sweep as one graph that shares what they have in common.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path as FilePath,
    sync::Arc,
};

use indexmap::IndexMap;
use refit_cache::canonical::CanonicalWriter;
use serde_json::{Map, Value};

use super::{
    CopyOf, InputRef, Part, Pipeline, PipelineError, PipelineErrors, SourceRef, StageGraph, StageNode, load,
    load_texts, matrix::label,
};
use crate::{
    spec::{Combination, Override, Sweep},
    stage::Registry,
};

/// One pipeline of a sweep.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The pipeline by itself, as it would be without the others.
    pub pipeline: Pipeline,
    /// What is given with `-S` for this one alone.
    pub overrides: Vec<String>,
    /// The paths with several values, and this one's value of each.
    pub values: Map<String, Value>,
    /// What each of its stages is called in the common graph.
    pub names: BTreeMap<String, String>,
}

/// Reads a pipeline as [`load`] does. When a sweep has more than one combination, the pipeline is that of all of them: its
/// graph holds every stage once that the combinations share, the others with the values they differ by in their names, as
/// copies of a matrix have. It copies nothing out, and [`Pipeline::variants`] says which stages belong to which combination.
///
/// # Errors
/// Every mistake in the file and in the overrides; one that several combinations have, once.
pub fn load_sweep(file: &FilePath, sweep: &Sweep, registry: &Registry) -> Result<Pipeline, PipelineErrors> {
    joined(sweep, |overrides| load(file, overrides, registry))
}

/// The same for a text that stands for the file at `file`, and texts for what it imports, as [`load_texts`] reads them.
pub fn load_sweep_texts(
    file: &FilePath,
    text: &str,
    imports: &[Arc<str>],
    sweep: &Sweep,
    registry: &Registry,
) -> Result<Pipeline, PipelineErrors> {
    joined(sweep, |overrides| load_texts(file, text, imports.to_vec(), overrides, registry))
}

fn joined(
    sweep: &Sweep,
    load: impl Fn(&[Override]) -> Result<Pipeline, PipelineErrors>,
) -> Result<Pipeline, PipelineErrors> {
    let mut loaded: Vec<(Combination, Pipeline)> = Vec::new();
    let mut failed: Option<PipelineErrors> = None;
    for combination in sweep.combinations() {
        match load(&combination.overrides) {
            Ok(pipeline) => loaded.push((combination, pipeline)),
            Err(errors) if errors.is_unreadable() => return Err(errors),
            Err(errors) => match &mut failed {
                Some(known) => known.join(errors),
                None => failed = Some(errors),
            },
        }
    }
    if let Some(errors) = failed {
        return Err(errors);
    }
    if loaded.len() == 1
        && let Some((_, pipeline)) = loaded.pop()
    {
        return Ok(pipeline);
    }
    Ok(Grid::of(loaded).pipeline())
}

/// A stage of the common graph under way.
struct Shared {
    node: StageNode,
    /// The pipelines that have it.
    users: Vec<usize>,
}

struct Grid {
    loaded: Vec<(Combination, Pipeline)>,
    /// What each swept path is called in names.
    axes: IndexMap<String, String>,
    shared: Vec<Shared>,
    /// By pipeline, the place of each of its stages in `shared`.
    places: Vec<HashMap<String, usize>>,
    sources: IndexMap<String, SourceRef>,
}

impl Grid {
    fn of(loaded: Vec<(Combination, Pipeline)>) -> Self {
        let paths: Vec<String> =
            loaded.first().into_iter().flat_map(|(combination, _)| combination.values.keys().cloned()).collect();
        let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
        let axes = paths.iter().map(|path| {
            let short = last(path);
            let is_alone = paths.iter().filter(|other| last(other) == short).count() == 1;
            (path.clone(), if is_alone { short } else { path.clone() })
        });
        let mut grid = Self {
            axes: axes.collect(),
            shared: Vec::new(),
            places: Vec::with_capacity(loaded.len()),
            sources: IndexMap::new(),
            loaded,
        };
        let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
        for variant in 0..grid.loaded.len() {
            grid.add(variant, &mut known);
        }
        grid
    }

    /// Adds the stages of a pipeline that no earlier one has.
    fn add(&mut self, variant: usize, known: &mut HashMap<Vec<u8>, usize>) {
        let sources = self.add_sources(variant);
        let mut places = HashMap::new();
        let (_, pipeline) = &self.loaded[variant];
        for node in pipeline.stages.stages() {
            let mut node = node.clone();
            for input in node.inputs.values_mut() {
                if let InputRef::Source(name) = input
                    && let Some(shared) = sources.get(name)
                {
                    name.clone_from(shared);
                }
            }
            let identity = identity(&node, &places);
            let place = *known.entry(identity).or_insert_with(|| {
                self.shared.push(Shared { node: node.clone(), users: Vec::new() });
                self.shared.len() - 1
            });
            self.shared[place].users.push(variant);
            places.insert(node.name, place);
        }
        self.places.push(places);
    }

    /// Adds the sources of a pipeline; returns what those are called that another one has under the same name.
    fn add_sources(&mut self, variant: usize) -> HashMap<String, String> {
        let mut renamed = HashMap::new();
        for source in self.loaded[variant].1.sources.values().cloned().collect::<Vec<_>>() {
            let same = |other: &SourceRef| other.uri == source.uri && other.digest == source.digest;
            let name = match self.sources.get(&source.name) {
                Some(known) if !same(known) => {
                    let labels: Vec<String> = self.axes.keys().map(|path| self.label(variant, path)).collect();
                    let name = format!("{}[{}]", source.name, labels.join(","));
                    renamed.insert(source.name.clone(), name.clone());
                    name
                }
                _ => source.name.clone(),
            };
            self.sources.entry(name.clone()).or_insert(SourceRef { name, ..source });
        }
        renamed
    }

    /// `rank=8`.
    fn label(&self, variant: usize, path: &str) -> String {
        let (combination, _) = &self.loaded[variant];
        let value = combination.values.get(path).unwrap_or(&Value::Null);
        let written = combination.written.get(path).and_then(Value::as_str).map(str::trim);
        format!("{}={}", self.axes.get(path).map_or(path, String::as_str), label(value, written))
    }

    /// The paths on which all pipelines that have a stage agree, and not all pipelines there are.
    fn agreed(&self, users: &[usize]) -> Vec<&str> {
        let value = |variant: usize, path: &str| self.loaded[variant].0.values.get(path);
        let same = |path: &str| users.windows(2).all(|pair| value(pair[0], path) == value(pair[1], path));
        let is_of_all = users.len() == self.loaded.len();
        self.axes.keys().map(String::as_str).filter(|path| !is_of_all && same(path)).collect()
    }

    /// The name of each stage of the common graph.
    fn names(&self) -> Vec<(String, Option<CopyOf>)> {
        let mut taken = HashSet::new();
        let mut names = Vec::with_capacity(self.shared.len());
        for Shared { node, users } in &self.shared {
            let mut named = self.named(node, users[0], &self.agreed(users));
            if !taken.insert(named.0.clone()) {
                // They differ in what their names do not show; with every value, names differ.
                named = self.named(node, users[0], &self.axes.keys().map(String::as_str).collect::<Vec<_>>());
                taken.insert(named.0.clone());
            }
            names.push(named);
        }
        names
    }

    fn named(&self, node: &StageNode, variant: usize, paths: &[&str]) -> (String, Option<CopyOf>) {
        if paths.is_empty() {
            return (node.name.clone(), node.copy_of.clone());
        }
        let labels: Vec<String> = paths.iter().map(|path| self.label(variant, path)).collect();
        let name = match node.name.strip_suffix(']').filter(|_| node.copy_of.is_some()) {
            Some(open) => format!("{open},{}]", labels.join(",")),
            None => format!("{}[{}]", node.name, labels.join(",")),
        };
        let mut copy =
            node.copy_of.clone().unwrap_or_else(|| CopyOf { template: node.name.clone(), values: IndexMap::new() });
        for path in paths {
            let value = self.loaded[variant].0.values.get(*path).cloned().unwrap_or_default();
            copy.values.insert(self.axes[*path].clone(), value);
        }
        (name, Some(copy))
    }

    fn pipeline(self) -> Pipeline {
        let names = self.names();
        let name_of = |variant: usize, stage: &str| {
            self.places[variant].get(stage).map_or_else(|| stage.to_owned(), |&place| names[place].0.clone())
        };
        let nodes = self.shared.iter().zip(&names).map(|(shared, (name, copy_of))| {
            let mut node = StageNode { name: name.clone(), copy_of: copy_of.clone(), ..shared.node.clone() };
            for input in node.inputs.values_mut() {
                match input {
                    InputRef::Source(_) => {}
                    InputRef::Output { stage, .. } => *stage = name_of(shared.users[0], stage),
                    InputRef::Many { parts, .. } => {
                        for part in parts {
                            part.stage = name_of(shared.users[0], &part.stage);
                        }
                    }
                }
            }
            node
        });
        let stages = StageGraph::new(nodes.collect()).expect(
            "invariant: every edge is one of a pipeline without a cycle, and stages are added after their inputs",
        );
        let mut variants = Vec::with_capacity(self.loaded.len());
        let mut warnings: Vec<PipelineError> = Vec::new();
        for (place, (combination, mut pipeline)) in self.loaded.into_iter().enumerate() {
            let own = std::mem::take(&mut pipeline.warnings);
            for warning in own {
                if warnings.iter().all(|known| !known.is_same(&warning)) {
                    warnings.push(warning);
                }
            }
            let stages = self.places[place].iter();
            variants.push(Variant {
                names: stages.map(|(stage, &place)| (stage.clone(), names[place].0.clone())).collect(),
                overrides: combination.overrides.into_iter().map(|given| given.text).collect(),
                values: combination.values,
                pipeline,
            });
        }
        let first = variants[0].pipeline.clone();
        Pipeline { sources: self.sources, stages, outputs: Vec::new(), warnings, variants, ..first }
    }
}

/// Equal for stages that have the same key whatever the sources hold, and work in the same manner.
fn identity(node: &StageNode, places: &HashMap<String, usize>) -> Vec<u8> {
    let mut writer = CanonicalWriter::new();
    let place = |stage: &str| places.get(stage).map_or(-1, |&place| place as i64);
    writer.text(&node.name).text(node.kind.name).value(&node.params()).map(node.inputs.len());
    for (port, input) in &node.inputs {
        writer.text(port);
        match input {
            InputRef::Source(name) => writer.text(name),
            InputRef::Output { stage, port } => writer.integer(place(stage)).text(port),
            InputRef::Many { parts, .. } => {
                writer.list(parts.len());
                for Part { name, stage, port } in parts {
                    writer.text(name).integer(place(stage)).text(port);
                }
                &mut writer
            }
        };
    }
    writer.finish()
}
