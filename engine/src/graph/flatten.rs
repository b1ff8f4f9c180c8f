//! From the stages as they are written, in this file and in those it imports, to every stage there is: with the defaults
//! in, a copy for each combination of a matrix, and references replaced.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use indexmap::IndexMap;
use serde_json::Value;

use super::{
    grammar::Written,
    matrix::{Combination, Copies, Matrix, Notes, Reference, StageCopy, Template},
    params::{OPEN, Substitution, brought, changed, edited, refers_to},
    place::Places,
};
use crate::{
    source::{Entry, Label, Mistake, Node, Path, Shape, Span, Step, Text, did_you_mean, list},
    spec::{InputSpec, SourceSpec, StageSpec, is_name},
    stage::Registry,
};

/// One file with what its importer gives it.
pub(super) struct Unit {
    pub(super) written: Written,
    pub(super) root: Arc<Node>,
    /// Its tree without overrides.
    pub(super) as_written: Arc<Node>,
    /// What the names of its stages and sources begin with: nothing, or `eval/`.
    pub(super) prefix: String,
    /// Where it is imported.
    pub(super) by: Option<Label>,
    /// Where paths in it start.
    pub(super) folder: PathBuf,
    /// Its parameters, with the importer's values in place of its own.
    pub(super) params: IndexMap<String, Entry>,
    /// What the importer wires in place of its sources.
    pub(super) wires: IndexMap<String, Arc<Node>>,
    /// The files that import each other down to this one, itself last.
    pub(super) chain: Vec<PathBuf>,
}

/// Everything that units come to.
#[derive(Default)]
pub(super) struct Flat {
    pub(super) stages: IndexMap<String, Entry>,
    pub(super) specs: IndexMap<String, Box<StageSpec>>,
    pub(super) sources: IndexMap<String, Entry>,
    pub(super) source_specs: IndexMap<String, SourceSpec>,
    /// The names of stages as they are written, without those of copies.
    pub(super) written_stages: Vec<String>,
    pub(super) copies: Copies,
    /// The copy that a stage is, by the stage's name.
    pub(super) copy_of: HashMap<String, Arc<StageCopy>>,
    pub(super) broken: HashSet<Path>,
    pub(super) unresolved: HashSet<Path>,
    pub(super) warnings: Vec<Mistake>,
    /// Every imported file that was read.
    pub(super) files: Vec<PathBuf>,
    /// What the stages of imports would be called that could not be read.
    pub(super) missing: Vec<String>,
}

/// What flattening works with.
pub(super) struct Flattening<'a> {
    pub(super) texts: &'a mut Vec<Text>,
    /// What stands for the files that are imported; those that it does not reach to are read.
    pub(super) imports: std::vec::IntoIter<Arc<str>>,
    pub(super) registry: &'a Registry,
    pub(super) mistakes: &'a mut Vec<Mistake>,
    pub(super) flat: Flat,
}

/// The combinations of the stages of a unit whose matrix was looked at; none where there is a mistake in it.
type Known = HashMap<String, Option<Vec<Combination>>>;

/// A stage or a copy of one, before the references in it are replaced.
struct Draft {
    name: String,
    written: String,
    entry: Entry,
    spec: Option<Box<StageSpec>>,
    copy: Option<Arc<StageCopy>>,
}

impl Flattening<'_> {
    pub(super) fn unit(&mut self, unit: &mut Unit) {
        let defaults = self.defaults_of(unit);
        let mut specs = std::mem::take(&mut unit.written.spec.stages);
        let unit = &*unit;
        let texts = self.texts.clone();
        let mut substitution = Substitution::new(&texts, &unit.params);
        for (name, entry) in unit.root.get("imports").and_then(|node| node.entries()).into_iter().flatten() {
            self.import(unit, &mut substitution, name, entry);
        }
        self.check_params(unit);
        self.sources_of(unit);
        let mut drafts = Vec::new();
        let stages = unit.root.get("stages").and_then(|node| node.entries());
        let mut combinations = Known::new();
        for (name, entry) in stages.into_iter().flatten() {
            self.check_name(unit, &Path::of(&["stages", name]), "stage");
            let full = format!("{}{name}", unit.prefix);
            self.flat.written_stages.push(full.clone());
            let spec = specs.swap_remove(name);
            let (entry, spec) = defaults.applied(name, entry, spec, self.mistakes);
            let has_matrix = entry.value.get("matrix").is_some_and(|node| !node.is_null());
            if !has_matrix {
                drafts.push(Draft { name: full, written: name.clone(), entry, spec, copy: None });
                continue;
            }
            let Some(template) = self.template(unit, &mut substitution, name, &mut combinations, &mut Vec::new())
            else {
                // Its mistake has been noted; what it hands out is not known, but its name is.
                drafts.push(Draft { name: full, written: name.clone(), entry, spec: None, copy: None });
                continue;
            };
            let full: Arc<str> = full.into();
            let at = key_of(&entry.value, "matrix").unwrap_or(entry.key);
            let copies: Vec<_> =
                template.iter().map(|values| Arc::new(StageCopy::new(&full, values.clone()))).collect();
            let spec = spec.map(|spec| Box::new(StageSpec { with: None, matrix: None, ..*spec }));
            drafts.extend(copies.iter().map(|copy| Draft {
                name: copy.name.clone(),
                written: name.clone(),
                entry: entry.clone(),
                spec: spec.clone(),
                copy: Some(copy.clone()),
            }));
            self.flat.copies.insert(full, Template::new(at, copies));
        }
        for draft in drafts {
            self.finish(unit, &mut substitution, draft);
        }
        self.unused_params(unit, &substitution.used);
        self.flat.unresolved.extend(substitution.unresolved);
        self.mistakes.append(&mut substitution.mistakes);
    }

    /// Puts a stage, with the references in it replaced, among the others.
    fn finish(&mut self, unit: &Unit, substitution: &mut Substitution<'_>, draft: Draft) {
        let Draft { name, written, mut entry, mut spec, copy } = draft;
        let path = Path::of(&["stages", &name]);
        substitution.copy.clone_from(&copy);
        let mut node = substitution.stage(&entry.value, &path);
        if !unit.prefix.is_empty() {
            node = changed(&node, "inputs", &mut |inputs| each_value(inputs, &mut |input| unit.rewired(input)));
        }
        if copy.is_some() || !unit.prefix.is_empty() {
            self.reread(&path, &node, spec.as_deref_mut());
        }
        if let Some(copy) = copy {
            let at = key_of(&node, "matrix").unwrap_or(entry.key);
            node = brought(Label::new(at, format!("makes the copy `{name}`")), node);
            self.flat.copy_of.insert(name.clone(), copy);
        }
        if let Some(by) = &unit.by {
            node = brought(by.clone(), node);
        }
        let broken = unit.written.broken.iter().filter_map(|broken| match broken.0.as_slice() {
            [Step::Key(top), Step::Key(stage), below @ ..] if top == "stages" && *stage == written => {
                Some(Path(path.0.iter().chain(below).cloned().collect()))
            }
            _ => None,
        });
        self.flat.broken.extend(broken);
        entry.value = node;
        if let Some(spec) = spec {
            self.flat.specs.insert(name.clone(), spec);
        }
        self.flat.stages.insert(name, entry);
    }

    /// Reads anew what replacing references may have changed.
    fn reread(&mut self, path: &Path, node: &Node, spec: Option<&mut StageSpec>) {
        let Some(spec) = spec else { return };
        if let Some(text) = node.get("description").and_then(|node| node.as_str()) {
            spec.description = Some(text.to_owned());
        }
        for (port, input) in spec.inputs.iter_mut().flatten() {
            let Some(node) = node.get("inputs").and_then(|inputs| inputs.get(port)) else { continue };
            if let Some(read) = input_of(node) {
                *input = read;
                continue;
            }
            self.flat.broken.insert(path.join("inputs").join(port));
            let mistake = Mistake::new("pipeline::wrong_type", format!("the input `{port}` must be text"))
                .at(node.span, "a source's name or `STAGE.PORT` is needed here")
                .at(node.target().span, "this is no text");
            self.mistakes.push(mistake);
        }
        let broken = &self.flat.broken;
        if let Some(inputs) = &mut spec.inputs {
            inputs.retain(|port, _| !broken.contains(&path.join("inputs").join(port)));
        }
    }

    /// The combinations of a stage's matrix, its own or another stage's. Each is read once.
    fn template(
        &mut self,
        unit: &Unit,
        substitution: &mut Substitution<'_>,
        name: &str,
        known: &mut Known,
        followed: &mut Vec<(String, Span)>,
    ) -> Option<Vec<Combination>> {
        if let Some(found) = known.get(name) {
            return found.clone();
        }
        let path = Path::of(&["stages", name, "matrix"]);
        let is_broken = unit.written.broken.iter().any(|broken| broken.0.starts_with(&path.0));
        let node = unit.root.get("stages")?.get(name)?.get("matrix").filter(|_| !is_broken)?;
        let bad = substitution.unresolved.len();
        substitution.copy = None;
        let node = substitution.node(node, &path);
        let key = key_of(unit.root.get("stages")?.get(name)?, "matrix").unwrap_or(node.span);
        let mut notes = Notes { texts: substitution.texts, mistakes: self.mistakes, warnings: &mut self.flat.warnings };
        let matrix = (substitution.unresolved.len() == bad).then(|| Matrix::read(&node, key, name, &mut notes));
        let combinations = match matrix.flatten() {
            Some(Matrix::Own(combinations)) => Some(combinations),
            Some(Matrix::Same { stage, at }) => {
                followed.push((name.to_owned(), at));
                self.followed(unit, substitution, &stage, at, known, followed)
            }
            None => None,
        };
        known.insert(name.to_owned(), combinations.clone());
        combinations
    }

    /// The combinations of the stage that another one's `matrix` names.
    fn followed(
        &mut self,
        unit: &Unit,
        substitution: &mut Substitution<'_>,
        stage: &str,
        at: Span,
        known: &mut Known,
        followed: &mut Vec<(String, Span)>,
    ) -> Option<Vec<Combination>> {
        if let Some(first) = followed.iter().position(|(name, _)| name == stage) {
            let mut mistake = Mistake::new("pipeline::matrix_cycle", "these matrices only name each other");
            for (name, span) in followed[first..].iter().rev() {
                mistake = mistake.at(*span, format!("`{name}` takes the copies of this one"));
            }
            self.mistakes.push(mistake.help("give one of them axes: `matrix: { rank: [8, 16] }`"));
            return None;
        }
        let own = unit.root.get("stages").and_then(|stages| stages.get(stage));
        if own.is_some_and(|node| node.get("matrix").is_some_and(|matrix| !matrix.is_null())) {
            return self.template(unit, substitution, stage, known, followed);
        }
        let full = format!("{}{stage}", unit.prefix);
        if let Some(template) = self.flat.copies.get(&full) {
            return Some(template.copies.iter().map(|copy| copy.values.clone()).collect());
        }
        let (message, label, help) = if own.is_some() || self.flat.stages.contains_key(&full) {
            let help = format!("give `{stage}` a matrix, or write the axes here: `matrix: {{ rank: [8, 16] }}`");
            (format!("the stage `{stage}` has no matrix to follow"), "a stage without copies", help)
        } else {
            let stages = unit.root.get("stages").and_then(|node| node.entries());
            let names = || stages.into_iter().flatten().map(|(name, _)| name.as_str());
            let help = did_you_mean(stage, names()).unwrap_or_else(|| format!("the stages are {}", list(names())));
            (format!("there is no stage `{stage}`"), "unknown stage", help)
        };
        self.mistakes.push(Mistake::new("pipeline::unknown_stage", message).at(at, label).help(help));
        None
    }

    fn sources_of(&mut self, unit: &Unit) {
        for (name, entry) in unit.root.get("sources").and_then(|node| node.entries()).into_iter().flatten() {
            let path = Path::of(&["sources", name]);
            self.check_name(unit, &path, "source");
            if unit.wires.contains_key(name) {
                continue;
            }
            let full = format!("{}{name}", unit.prefix);
            let mut entry = entry.clone();
            if let Some(by) = &unit.by {
                entry.value = brought(by.clone(), entry.value);
            }
            if let Some(spec) = unit.written.spec.sources.as_ref().and_then(|sources| sources.get(name)) {
                self.flat.source_specs.insert(full.clone(), spec.clone());
            }
            self.flat.sources.insert(full, entry);
        }
    }

    /// Notes a key that is no name. A text with a reference in it gets the better words for that.
    pub(super) fn check_name(&mut self, unit: &Unit, path: &Path, what: &str) {
        let Some(name) = path.last_key().filter(|name| !is_name(name)) else { return };
        let mistake = Mistake::new("pipeline::bad_name", format!("`{name}` cannot be the name of a {what}"))
            .with_labels(Places { root: &unit.root, texts: self.texts }.key(path, "this name"))
            .help("a name has letters, digits, `_` and `-`, at most 64 of them, and does not begin with `-`");
        self.mistakes.push(mistake);
    }

    fn check_params(&mut self, unit: &Unit) {
        for (name, entry) in unit.root.get("params").and_then(|node| node.entries()).into_iter().flatten() {
            let path = Path::of(&["params", name]);
            self.check_name(unit, &path, "parameter");
            self.refuse_nested(unit, &path, &entry.value.to_value());
        }
    }

    fn refuse_nested(&mut self, unit: &Unit, path: &Path, value: &Value) {
        match value {
            Value::String(text) if text.contains("${params.") || text.contains("${matrix.") => {
                let mistake = Mistake::new("pipeline::bad_reference", "a parameter cannot refer to another one")
                    .with_labels(Places { root: &unit.root, texts: self.texts }.value(path, "nested reference"))
                    .help("write the value itself");
                self.mistakes.push(mistake);
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.refuse_nested(unit, &path.join(index), item);
                }
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    self.refuse_nested(unit, &path.join(key), item);
                }
            }
            _ => {}
        }
    }

    fn unused_params(&mut self, unit: &Unit, used: &HashSet<String>) {
        // A parameter whose reference an override has replaced is none that could be removed.
        let is_overridden = !Arc::ptr_eq(&unit.root, &unit.as_written);
        let is_used = |name: &String| used.contains(name) || (is_overridden && refers_to(&unit.as_written, name));
        for (name, _) in unit.params.iter().filter(|(name, _)| !is_used(name)) {
            let path = Path::of(&["params", name]);
            self.flat.warnings.push(
                Mistake::new("pipeline::unused_parameter", format!("the parameter `{name}` is never used"))
                    .with_labels(Places { root: &unit.root, texts: self.texts }.key(&path, "unused"))
                    .help(format!("use it inside `with` as `${{params.{name}}}`, or remove it")),
            );
        }
    }
}

impl Unit {
    /// A reference of this unit as one of the whole: names get the prefix, and a source that the importer wires becomes
    /// what it is wired to.
    pub(super) fn rewired(&self, input: &Arc<Node>) -> Arc<Node> {
        if let Shape::Sequence(items) = &input.target().shape {
            let items = items.iter().map(|item| self.rewired(item)).collect();
            return Arc::new(Node::new(input.span, Shape::Sequence(items)));
        }
        let Some(text) = input.as_str().filter(|text| !self.prefix.is_empty() && !text.contains(OPEN)) else {
            return input.clone();
        };
        if let (Ok(Reference::Source(name)), Some(wire)) = (Reference::parse(text), self.wires.get(text)) {
            let shape = Shape::Parameter { name: name.to_owned(), written: name.to_owned(), definition: wire.clone() };
            return Arc::new(Node::new(input.span, shape));
        }
        let text = format!("{}{text}", self.prefix);
        Arc::new(Node::new(input.span, Shape::Template { text, parameters: Vec::new() }))
    }
}

/// The mapping with each of its values changed.
pub(super) fn each_value(node: &Arc<Node>, change: &mut dyn FnMut(&Arc<Node>) -> Arc<Node>) -> Arc<Node> {
    if node.entries().is_none() {
        return node.clone();
    }
    edited(node, &mut |entries| entries.values_mut().for_each(|entry| entry.value = change(&entry.value)))
}

/// Where a key of a mapping is written.
pub(super) fn key_of(node: &Node, key: &str) -> Option<Span> {
    node.entries()?.get(key).map(|entry| entry.key)
}

fn input_of(node: &Node) -> Option<InputSpec> {
    match &node.target().shape {
        Shape::Sequence(items) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.map(InputSpec::Many)
        }
        _ => node.as_str().map(|text| InputSpec::One(text.to_owned())),
    }
}
