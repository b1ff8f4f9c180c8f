use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    fmt,
};

use indexmap::IndexMap;
use petgraph::{
    Direction,
    algo::kosaraju_scc,
    graph::{DiGraph, NodeIndex},
    visit::EdgeRef,
};
use refit_cache::canonical::canonical;
use serde_json::{Map, Value};

use super::{Terms, matrix::split_copies};
use crate::stage::{OutputDecl, Outside, StageKind};

/// Where an input or an export comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputRef {
    /// A source, by its name.
    Source(String),
    /// An output of a stage.
    Output {
        /// The stage's name.
        stage: String,
        /// The output port's name.
        port: String,
    },
    /// Several outputs, which arrive as one folder.
    Many {
        /// The reference as it is written: `train[*].metrics`.
        written: String,
        /// The entries of the folder, sorted by name.
        parts: Vec<Part>,
    },
}

/// One of several outputs that an input takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The name of its entry in the folder.
    pub name: String,
    /// The stage's name.
    pub stage: String,
    /// The output port's name.
    pub port: String,
}

/// What a copy of a stage was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyOf {
    /// The stage with the matrix.
    pub template: String,
    /// The copy's value of each axis.
    pub values: IndexMap<String, Value>,
}

impl InputRef {
    /// The outputs of stages that it takes: stage and port.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &str)> {
        let (one, many) = match self {
            Self::Source(_) => (None, [].as_slice()),
            Self::Output { stage, port } => (Some((stage.as_str(), port.as_str())), [].as_slice()),
            Self::Many { parts, .. } => (None, parts.as_slice()),
        };
        one.into_iter().chain(many.iter().map(|part| (part.stage.as_str(), part.port.as_str())))
    }

    /// The source that it takes.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Source(name) => Some(name),
            Self::Output { .. } | Self::Many { .. } => None,
        }
    }
}

impl fmt::Display for InputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(name) => f.write_str(name),
            Self::Output { stage, port } => write!(f, "{stage}.{port}"),
            Self::Many { written, .. } => f.write_str(written),
        }
    }
}

/// A stage, ready to be planned.
#[derive(Clone)]
pub struct StageNode {
    /// Its key under `stages`.
    pub name: String,
    /// What it does.
    pub kind: StageKind,
    /// Its parameters with every default filled in, as far as they can change a result.
    pub with: Value,
    /// The others: how it works. Nothing of that is in its key.
    pub manner: Map<String, Value>,
    /// What is wired to each input port, sorted by the port; optional ports may be missing.
    pub inputs: IndexMap<String, InputRef>,
    /// What it hands out.
    pub outputs: Vec<OutputDecl>,
    /// What counts besides parameters and inputs.
    pub outside: Outside,
    /// Whether an earlier result may stand for a new one.
    pub cache: bool,
    /// What the author says about it.
    pub description: Option<String>,
    /// The stage it is a copy of, if a matrix made it.
    pub copy_of: Option<CopyOf>,
    /// How it may run; nothing of that is in its key.
    pub terms: Terms,
}

impl StageNode {
    /// The names of its outputs.
    pub fn ports(&self) -> Vec<String> {
        self.outputs.iter().map(|output| output.name.clone().into_owned()).collect()
    }

    /// All parameters, as the kind takes them.
    pub fn params(&self) -> Value {
        let mut params = self.with.clone();
        if let Some(params) = params.as_object_mut() {
            params.extend(self.manner.clone());
        }
        params
    }

    /// The output of that name.
    pub fn output(&self, port: &str) -> Option<&OutputDecl> {
        self.outputs.iter().find(|output| output.name == port)
    }
}

impl fmt::Debug for StageNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageNode")
            .field("name", &self.name)
            .field("kind", &self.kind.name)
            .field("with", &self.with)
            .field("manner", &self.manner)
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .field("outside", &self.outside)
            .field("cache", &self.cache)
            .field("description", &self.description)
            .field("copy_of", &self.copy_of)
            .field("terms", &self.terms)
            .finish()
    }
}

/// One wire of a cycle: `stage` takes the output `port` of `from` in at `input`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CycleEdge {
    /// Who needs the output.
    pub stage: String,
    /// The input port it is wired to.
    pub input: String,
    /// Whose output it is.
    pub from: String,
}

/// Stages that wait for each other: each edge's `from` is the next edge's `stage`, the last one's the first's.
pub type Cycle = Vec<CycleEdge>;

/// The stages and what flows between them: a directed acyclic graph.
#[derive(Debug, Clone, Default)]
pub struct StageGraph {
    /// An edge runs from the stage that makes an output to the one that takes it and carries the input port's name.
    graph: DiGraph<StageNode, String>,
    /// Topological; among equals as in the file.
    order: Vec<NodeIndex>,
    /// By node, its place in the order.
    places: Vec<usize>,
    index: HashMap<String, NodeIndex>,
}

impl StageGraph {
    /// Links stages, given in the file's order and with different names, by their inputs. An input that names no
    /// stage of the list makes no edge.
    ///
    /// # Errors
    /// One shortest cycle of every group of stages that wait for each other.
    pub fn new(stages: Vec<StageNode>) -> Result<Self, Vec<Cycle>> {
        let mut graph = DiGraph::with_capacity(stages.len(), stages.len() * 2);
        let mut index = HashMap::with_capacity(stages.len());
        for stage in stages {
            let name = stage.name.clone();
            index.insert(name, graph.add_node(stage));
        }
        for at in graph.node_indices() {
            let wires: Vec<_> = graph[at]
                .inputs
                .iter()
                .flat_map(|(port, from)| from.outputs().map(move |(stage, _)| (stage, port)))
                .filter_map(|(stage, port)| Some((*index.get(stage)?, port.clone())))
                .collect();
            for (from, port) in wires {
                graph.add_edge(from, at, port);
            }
        }
        let order = topological(&graph);
        if order.len() == graph.node_count() {
            let mut places = vec![0; order.len()];
            for (place, at) in order.iter().enumerate() {
                places[at.index()] = place;
            }
            return Ok(Self { graph, order, places, index });
        }
        // Not Tarjan's algorithm: it calls itself once for every stage of a chain.
        let mut groups = kosaraju_scc(&graph);
        groups.retain(|group| group.len() > 1 || graph.contains_edge(group[0], group[0]));
        groups.sort_by_key(|group| group.iter().min().copied());
        Err(groups.into_iter().filter_map(|group| shortest_cycle(&graph, &group)).collect())
    }

    /// All stages, each after everything it needs; among equals as in the file.
    pub fn stages(&self) -> impl ExactSizeIterator<Item = &StageNode> + Clone {
        self.order.iter().map(|&at| &self.graph[at])
    }

    /// The place of a stage in the order of [`stages`](Self::stages).
    pub fn place(&self, name: &str) -> Option<usize> {
        self.index.get(name).map(|at| self.places[at.index()])
    }

    /// Every wire between stages: the place of the stage it comes from and that of the one it leads to.
    pub fn wires(&self) -> impl Iterator<Item = (usize, usize)> + Clone {
        let edges = self.graph.raw_edges().iter();
        edges.map(|edge| (self.places[edge.source().index()], self.places[edge.target().index()]))
    }

    /// How many stages there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no stage.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The stage of that name.
    pub fn get(&self, name: &str) -> Option<&StageNode> {
        self.index.get(name).map(|&at| &self.graph[at])
    }

    /// The stages that a name means, in topological order: the one of that name; of a stage with a matrix all copies, or
    /// those that `NAME[AXIS=VALUE,…]` chooses.
    pub fn named(&self, name: &str) -> Vec<&StageNode> {
        if let Some(stage) = self.get(name) {
            return vec![stage];
        }
        let Some((template, selector)) = split_copies(name) else { return Vec::new() };
        let wanted = |(axis, value): (&String, &Value), copy: &CopyOf| {
            copy.values.get(axis).is_some_and(|own| canonical(own) == canonical(value))
        };
        let chosen = |copy: &CopyOf| {
            copy.template == template
                && selector.iter().flat_map(|selector| &selector.values).all(|value| wanted(value, copy))
        };
        self.stages().filter(|stage| stage.copy_of.as_ref().is_some_and(chosen)).collect()
    }

    /// The stages whose outputs it takes, in topological order. Empty for a name that is no stage's.
    pub fn dependencies(&self, name: &str) -> Vec<&str> {
        self.neighbours(name, Direction::Incoming)
    }

    /// The stages that take its outputs, in topological order. Empty for a name that is no stage's.
    pub fn dependents(&self, name: &str) -> Vec<&str> {
        self.neighbours(name, Direction::Outgoing)
    }

    /// Everything it needs, near and far, in topological order, without itself.
    pub fn ancestors(&self, name: &str) -> Vec<&str> {
        self.reachable(name, Direction::Incoming)
    }

    /// Everything that needs it, near and far, in topological order, without itself.
    pub fn descendants(&self, name: &str) -> Vec<&str> {
        self.reachable(name, Direction::Outgoing)
    }

    fn neighbours(&self, name: &str, direction: Direction) -> Vec<&str> {
        let found = self.index.get(name).into_iter().flat_map(|&at| self.graph.neighbors_directed(at, direction));
        self.names_of(found.collect())
    }

    fn reachable(&self, name: &str, direction: Direction) -> Vec<&str> {
        let mut found = HashSet::new();
        let mut waiting: Vec<_> = self.index.get(name).copied().into_iter().collect();
        while let Some(at) = waiting.pop() {
            waiting.extend(self.graph.neighbors_directed(at, direction).filter(|&next| found.insert(next)));
        }
        self.names_of(found.into_iter().collect())
    }

    /// The names of stages, each once, in topological order.
    fn names_of(&self, mut found: Vec<NodeIndex>) -> Vec<&str> {
        found.sort_unstable_by_key(|at| self.places[at.index()]);
        found.dedup();
        found.into_iter().map(|at| self.graph[at].name.as_str()).collect()
    }
}

/// Kahn's algorithm with a heap, which keeps the file's order among stages that are ready at once.
fn topological(graph: &DiGraph<StageNode, String>) -> Vec<NodeIndex> {
    let mut missing: Vec<usize> =
        graph.node_indices().map(|at| graph.edges_directed(at, Direction::Incoming).count()).collect();
    let mut ready: BinaryHeap<_> = graph.node_indices().filter(|at| missing[at.index()] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(graph.node_count());
    while let Some(Reverse(at)) = ready.pop() {
        order.push(at);
        for edge in graph.edges(at) {
            let left = &mut missing[edge.target().index()];
            *left -= 1;
            if *left == 0 {
                ready.push(Reverse(edge.target()));
            }
        }
    }
    order
}

/// Breadth first against the edges from the group's first stage in the file back to itself.
fn shortest_cycle(graph: &DiGraph<StageNode, String>, group: &[NodeIndex]) -> Option<Cycle> {
    let inside: HashSet<_> = group.iter().copied().collect();
    let start = *group.iter().min()?;
    let mut reached: HashMap<NodeIndex, (NodeIndex, &str)> = HashMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(at) = waiting.pop_front() {
        let mut edges: Vec<_> = graph.edges_directed(at, Direction::Incoming).collect();
        edges.sort_by_key(EdgeRef::id);
        for edge in edges {
            let from = edge.source();
            if inside.contains(&from) && !reached.contains_key(&from) {
                reached.insert(from, (at, edge.weight()));
                waiting.push_back(from);
            }
        }
        if reached.contains_key(&start) {
            break;
        }
    }
    let mut cycle = Vec::new();
    let mut from = start;
    loop {
        let &(stage, input) = reached.get(&from)?;
        cycle.push(CycleEdge {
            stage: graph[stage].name.clone(),
            input: input.to_owned(),
            from: graph[from].name.clone(),
        });
        if stage == start {
            break;
        }
        from = stage;
    }
    cycle.reverse();
    Some(cycle)
}
