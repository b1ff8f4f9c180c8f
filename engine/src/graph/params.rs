//! `${params.NAME}` and `${matrix.NAME}`.

use std::{collections::HashSet, sync::Arc};

use indexmap::IndexMap;
use serde_json::Value;

use super::matrix::StageCopy;
use crate::{
    source::{Entry, Label, Mistake, Node, Path, Shape, Span, Text, did_you_mean, list, nearest},
    spec::is_name,
};

/// What begins a reference.
pub(super) const OPEN: &str = "${";
/// What makes a plain `${` of it when it stands before it.
const ESCAPE: char = '$';

/// Puts parameters and the values of a copy into a tree.
pub(super) struct Substitution<'a> {
    /// The texts, for places within a value.
    pub(super) texts: &'a [Text],
    pub(super) params: &'a IndexMap<String, Entry>,
    /// The copy of a stage that is being made; none outside of a matrix.
    pub(super) copy: Option<Arc<StageCopy>>,
    /// Whether the values go into a reference to an output, where each is written as in the names of copies.
    pub(super) in_reference: bool,
    /// The parameters that were used.
    pub(super) used: HashSet<String>,
    /// The values with references that lead nowhere.
    pub(super) unresolved: HashSet<Path>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Makes of a value, and the path to it, another value.
type Change<'c, S> = dyn FnMut(&mut S, &Arc<Node>, &Path) -> Arc<Node> + 'c;

/// What a reference refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Params,
    Matrix,
}

/// A name in one of the scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reference<'t> {
    scope: Scope,
    name: &'t str,
    written: &'t str,
}

/// A piece of a text: as it is, or a reference.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Reference(Reference<'t>),
}

/// A `${` that is no reference.
#[derive(Debug, PartialEq, Eq)]
struct BadReference<'t> {
    written: &'t str,
    problem: String,
    help: String,
}

impl<'a> Substitution<'a> {
    pub(super) fn new(texts: &'a [Text], params: &'a IndexMap<String, Entry>) -> Self {
        Self {
            texts,
            params,
            copy: None,
            in_reference: false,
            used: HashSet::new(),
            unresolved: HashSet::new(),
            mistakes: Vec::new(),
        }
    }

    /// The stage with the references inside it replaced: in `with`, and in a copy also in `inputs` and `description`.
    pub(super) fn stage(&mut self, stage: &Arc<Node>, path: &Path) -> Arc<Node> {
        let stage = changed(stage, "with", &mut |with| self.node(with, &path.join("with")));
        if self.copy.is_none() {
            return stage;
        }
        let stage = changed(&stage, "description", &mut |text| self.node(text, &path.join("description")));
        self.in_reference = true;
        let stage = changed(&stage, "inputs", &mut |inputs| self.node(inputs, &path.join("inputs")));
        self.in_reference = false;
        stage
    }

    /// The tree with every reference replaced. A bad reference is noted and stays as it is written.
    pub(super) fn node(&mut self, node: &Arc<Node>, path: &Path) -> Arc<Node> {
        match &node.shape {
            Shape::Scalar(Value::String(text)) if text.contains(OPEN) => {
                if let Some(shape) = self.text(node.span, text) {
                    return Arc::new(Node::new(node.span, shape));
                }
                self.unresolved.insert(path.clone());
                node.clone()
            }
            Shape::Alias(inner) => {
                let new = self.node(inner, path);
                if Arc::ptr_eq(&new, inner) { node.clone() } else { Arc::new(Node::new(node.span, Shape::Alias(new))) }
            }
            Shape::Brought { by, inner } => {
                let new = self.node(inner, path);
                if Arc::ptr_eq(&new, inner) { node.clone() } else { brought(by.clone(), new) }
            }
            _ => self.each(node, path, &mut |own, child, path| own.node(child, path)),
        }
    }

    /// The collection with each of its values changed; the same node when none was.
    fn each(&mut self, node: &Arc<Node>, path: &Path, change: &mut Change<'_, Self>) -> Arc<Node> {
        let shape = match &node.shape {
            Shape::Sequence(items) => {
                let new: Vec<_> =
                    items.iter().enumerate().map(|(index, item)| change(self, item, &path.join(index))).collect();
                if new.iter().zip(items).all(|(new, old)| Arc::ptr_eq(new, old)) {
                    return node.clone();
                }
                Shape::Sequence(new)
            }
            Shape::Mapping(entries) => {
                let new: Vec<_> =
                    entries.iter().map(|(key, entry)| change(self, &entry.value, &path.join(key))).collect();
                if new.iter().zip(entries.values()).all(|(new, old)| Arc::ptr_eq(new, &old.value)) {
                    return node.clone();
                }
                let pairs = entries.iter().zip(new);
                Shape::Mapping(pairs.map(|((key, old), value)| (key.clone(), Entry { value, ..old.clone() })).collect())
            }
            Shape::Alias(inner) => {
                let new = self.each(inner, path, change);
                if Arc::ptr_eq(&new, inner) {
                    return node.clone();
                }
                Shape::Alias(new)
            }
            Shape::Brought { by, inner } => {
                let new = self.each(inner, path, change);
                if Arc::ptr_eq(&new, inner) {
                    return node.clone();
                }
                Shape::Brought { by: by.clone(), inner: new }
            }
            _ => return node.clone(),
        };
        Arc::new(Node::new(node.span, shape))
    }

    fn text(&mut self, span: Span, text: &str) -> Option<Shape> {
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(bad) => {
                self.refuse(span, bad, None);
                return None;
            }
        };
        if let [Piece::Reference(reference)] = pieces.as_slice() {
            let definition = self.definition(span, *reference)?;
            let Reference { name, written, .. } = *reference;
            return Some(Shape::Parameter { name: name.to_owned(), written: written.to_owned(), definition });
        }
        let mut finished = String::new();
        let mut parameters = Vec::new();
        let mut good = true;
        for piece in &pieces {
            match piece {
                Piece::Text(text) => finished.push_str(text),
                Piece::Reference(reference) => match self.definition(span, *reference) {
                    Some(definition) => {
                        good &= self.append(&mut finished, span, *reference, &definition);
                        parameters.push((reference.name.to_owned(), definition));
                    }
                    None => good = false,
                },
            }
        }
        good.then_some(Shape::Template { text: finished, parameters })
    }

    fn definition(&mut self, span: Span, reference: Reference<'_>) -> Option<Arc<Node>> {
        let Reference { scope, name, written } = reference;
        if scope == Scope::Matrix {
            return self.value_of_copy(span, reference);
        }
        if self.in_reference {
            let problem = "`${params.…}` can only stand inside `with`".to_owned();
            let help = "write the source or the stage itself, or choose it by the matrix: `${matrix.AXIS}`".to_owned();
            self.refuse(span, BadReference { written, problem, help }, None);
            return None;
        }
        if let Some(entry) = self.params.get(name) {
            self.used.insert(name.to_owned());
            return Some(entry.value.clone());
        }
        let known = self.params.keys().map(String::as_str);
        let help = match did_you_mean(name, known.clone()) {
            Some(help) => help,
            None if self.params.is_empty() => format!("add it: `params: {{ {name}: … }}`"),
            None => format!("the parameters are {}", list(known)),
        };
        let problem = format!("there is no parameter `{name}`");
        self.refuse(span, BadReference { written, problem, help }, None);
        None
    }

    fn value_of_copy(&mut self, span: Span, reference: Reference<'_>) -> Option<Arc<Node>> {
        let Reference { name, written, .. } = reference;
        let Some(copy) = self.copy.clone() else {
            let problem = format!("`{written}` stands where there is no matrix");
            let help = format!("add one to the stage: `matrix: {{ {name}: [ … ] }}`");
            self.refuse(span, BadReference { written, problem, help }, None);
            return None;
        };
        if let Some(value) = copy.value(name) {
            return Some(value.node.clone());
        }
        let axes = copy.values.iter().map(|(axis, _)| axis.as_ref());
        let help = did_you_mean(name, axes.clone()).unwrap_or_else(|| format!("`{}` has {}", copy.name, list(axes)));
        let problem = format!("the matrix gives a copy of `{}` no `{name}`", copy.template);
        self.refuse(span, BadReference { written, problem, help }, None);
        None
    }

    /// Appends a value within a text, which only a single value can be.
    fn append(&mut self, finished: &mut String, span: Span, reference: Reference<'_>, definition: &Node) -> bool {
        let Reference { name, written, .. } = reference;
        if let Some(value) = self.copy.as_ref().filter(|_| self.in_reference).and_then(|copy| copy.value(name)) {
            finished.push_str(&value.label);
            return true;
        }
        match definition.to_value() {
            Value::String(text) => finished.push_str(&text),
            value @ (Value::Bool(_) | Value::Number(_)) => finished.push_str(&value.to_string()),
            _ => {
                let problem = format!("`{name}` is no single value and cannot stand within a text");
                let help = format!("a value that is nothing but `{written}` may be a list or a map");
                self.refuse(span, BadReference { written, problem, help }, Some((name, definition.target().span)));
                return false;
            }
        }
        true
    }

    fn refuse(&mut self, span: Span, bad: BadReference<'_>, definition: Option<(&str, Span)>) {
        let mut mistake = Mistake::new("pipeline::bad_reference", bad.problem)
            .at(within(self.texts, span, bad.written), "this reference")
            .help(bad.help);
        if let Some((name, span)) = definition {
            mistake = mistake.at(span, format!("`{name}` is defined here"));
        }
        self.mistakes.push(mistake);
    }
}

/// What another line brought to where it is.
pub(super) fn brought(by: Label, inner: Arc<Node>) -> Arc<Node> {
    Arc::new(Node::new(inner.span, Shape::Brought { by, inner }))
}

/// A mapping with further entries changed or added, also behind aliases.
pub(super) fn edited(node: &Arc<Node>, edit: &mut dyn FnMut(&mut IndexMap<String, Entry>)) -> Arc<Node> {
    let shape = match &node.shape {
        Shape::Mapping(entries) => {
            let mut entries = entries.clone();
            edit(&mut entries);
            Shape::Mapping(entries)
        }
        Shape::Scalar(Value::Null) => {
            let mut entries = IndexMap::new();
            edit(&mut entries);
            Shape::Mapping(entries)
        }
        Shape::Alias(inner) => Shape::Alias(edited(inner, edit)),
        Shape::Brought { by, inner } => Shape::Brought { by: by.clone(), inner: edited(inner, edit) },
        _ => return node.clone(),
    };
    Arc::new(Node::new(node.span, shape))
}

/// A mapping with the value of one key changed, also behind aliases.
pub(super) fn changed(node: &Arc<Node>, key: &str, change: &mut dyn FnMut(&Arc<Node>) -> Arc<Node>) -> Arc<Node> {
    let shape = match &node.shape {
        Shape::Mapping(entries) => {
            let Some(old) = entries.get(key) else { return node.clone() };
            let new = change(&old.value);
            if Arc::ptr_eq(&new, &old.value) {
                return node.clone();
            }
            let mut entries = entries.clone();
            entries.insert(key.to_owned(), Entry { value: new, ..old.clone() });
            Shape::Mapping(entries)
        }
        Shape::Alias(inner) => {
            let new = changed(inner, key, change);
            if Arc::ptr_eq(&new, inner) {
                return node.clone();
            }
            Shape::Alias(new)
        }
        Shape::Brought { by, inner } => {
            let new = changed(inner, key, change);
            if Arc::ptr_eq(&new, inner) {
                return node.clone();
            }
            Shape::Brought { by: by.clone(), inner: new }
        }
        _ => return node.clone(),
    };
    Arc::new(Node::new(node.span, shape))
}

/// Where `written` stands in a value, or the whole value when escapes hide it.
pub(super) fn within(texts: &[Text], span: Span, written: &str) -> Span {
    let value = texts.get(span.text).and_then(|text| text.text.get(span.range()));
    match value.and_then(|value| value.find(written)) {
        Some(at) => Span { start: span.start + at, end: span.start + at + written.len(), ..span },
        None => span,
    }
}

/// Whether a parameter is referred to anywhere in a tree.
pub(super) fn refers_to(node: &Node, parameter: &str) -> bool {
    let refers = |piece: &Piece<'_>| matches!(piece, Piece::Reference(Reference { scope: Scope::Params, name, .. }) if *name == parameter);
    match &node.target().shape {
        Shape::Scalar(Value::String(text)) => pieces(text).is_ok_and(|pieces| pieces.iter().any(refers)),
        Shape::Sequence(items) => items.iter().any(|item| refers_to(item, parameter)),
        Shape::Mapping(entries) => entries.values().any(|entry| refers_to(&entry.value, parameter)),
        _ => false,
    }
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, BadReference<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        if rest[..at].ends_with(ESCAPE) {
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Text(OPEN));
            rest = &rest[at + OPEN.len()..];
            continue;
        }
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        let reference = reference(&rest[at..])?;
        pieces.push(Piece::Reference(reference));
        rest = &rest[at + reference.written.len()..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// The name in the reference that `text` begins with, and the reference as it is written.
fn reference(text: &str) -> Result<Reference<'_>, BadReference<'_>> {
    let Some(end) = text.find('}') else {
        return Err(BadReference {
            written: text.trim_end(),
            problem: "the `${` is not closed with `}`".into(),
            help: "write `${params.NAME}`, or `$${` for a plain `${`".into(),
        });
    };
    let written = &text[..=end];
    let inside = text[OPEN.len()..end].trim();
    if inside.contains(OPEN) {
        return Err(BadReference {
            written,
            problem: "references cannot be nested".into(),
            help: "name one parameter: `${params.NAME}`".into(),
        });
    }
    let scopes = [("params.", Scope::Params), ("matrix.", Scope::Matrix)];
    let found = scopes.into_iter().find_map(|(begin, scope)| Some((scope, inside.strip_prefix(begin)?)));
    let Some((scope, name)) = found.filter(|(_, name)| !name.is_empty()) else {
        let scope = inside.split_once('.').map_or(inside, |(scope, _)| scope);
        let help = match (nearest(scope, ["params", "matrix"]), inside.split_once('.')) {
            (Some(meant), Some((_, name))) if !name.is_empty() => format!("did you mean `${{{meant}.{name}}}`?"),
            (None, None) if is_name(inside) => format!("did you mean `${{params.{inside}}}`?"),
            _ => "write `${params.NAME}`, or `$${` for a plain `${`".to_owned(),
        };
        return Err(BadReference { written, problem: format!("`{written}` refers to no parameter"), help });
    };
    Ok(Reference { scope, name, written })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_fall_into_pieces() {
        let reference = |name, written| Piece::Reference(Reference { scope: Scope::Params, name, written });
        assert_eq!(pieces("${params.a}").unwrap(), [reference("a", "${params.a}")]);
        assert_eq!(
            pieces("x ${ params.名 }-${params.b}").unwrap(),
            [Piece::Text("x "), reference("名", "${ params.名 }"), Piece::Text("-"), reference("b", "${params.b}")]
        );
        assert_eq!(pieces("值${params.a}").unwrap(), [Piece::Text("值"), reference("a", "${params.a}")]);
        let matrix = Reference { scope: Scope::Matrix, name: "a", written: "${matrix.a}" };
        assert_eq!(pieces("${matrix.a}").unwrap(), [Piece::Reference(matrix)]);
        assert_eq!(pieces("$${a} $5 {}").unwrap(), [Piece::Text(""), Piece::Text("${"), Piece::Text("a} $5 {}")]);
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in
            ["${", "a ${params.x", "${}", "${x}", "${params}", "${params.}", "${param.x}", "${params.${params.x}}"]
        {
            assert!(pieces(text).is_err(), "{text}");
        }
    }
}
