//! Joins what stands where with what it means.

use std::{collections::HashMap, sync::Arc};

use indexmap::{IndexMap, map};
use serde_json::Value;

use super::{
    Entry, Mistake, Node, Path, Shape, Span, Step,
    merge::{MERGE_KEY, merge},
    outline::{Form, Outline},
    values::Plain,
};

pub(super) struct Builder<'a> {
    text: &'a str,
    pub(super) number: usize,
    pub(super) offset: usize,
    pub(super) mistakes: &'a mut Vec<Mistake>,
    anchors: HashMap<u32, Arc<Node>>,
    path: Path,
}

/// The two parsers read the text differently.
pub(super) struct Ambiguous(pub(super) Span);

impl<'a> Builder<'a> {
    pub(super) fn new(text: &'a str, number: usize, offset: usize, mistakes: &'a mut Vec<Mistake>) -> Self {
        Self { text, number, offset, mistakes, anchors: HashMap::new(), path: Path::default() }
    }

    fn span(&self, outline: &Outline) -> Span {
        Span::new(self.number, outline.range.start + self.offset..outline.range.end + self.offset)
    }

    pub(super) fn node(&mut self, outline: &Outline, plain: Plain) -> Result<Arc<Node>, Ambiguous> {
        let span = self.span(outline);
        let shape = match (&outline.form, plain) {
            (Form::Alias(anchor), _) => match self.anchors.get(anchor) {
                Some(target) => Shape::Alias(target.clone()),
                None => return Err(Ambiguous(span)),
            },
            (Form::Scalar { .. }, Plain::Scalar(value)) => Shape::Scalar(value),
            (Form::Scalar { .. }, Plain::Unbounded) => {
                self.mistakes.push(
                    Mistake::new("pipeline::bad_number", "this is no finite number of at most 64 bits")
                        .at(span, "not usable as a number")
                        .help("quotation marks make it text"),
                );
                Shape::Scalar(Value::Null)
            }
            (Form::Sequence(items), Plain::Sequence(values)) if items.len() == values.len() => {
                let mut nodes = Vec::with_capacity(items.len());
                for (index, (item, value)) in items.iter().zip(values).enumerate() {
                    self.path.0.push(index.into());
                    nodes.push(self.node(item, value)?);
                    self.path.0.pop();
                }
                Shape::Sequence(nodes)
            }
            (Form::Mapping(pairs), Plain::Mapping(values)) if pairs.len() == values.len() => {
                Shape::Mapping(self.mapping(pairs, values)?)
            }
            _ => return Err(Ambiguous(span)),
        };
        let node = Arc::new(Node::new(span, shape));
        if outline.anchor > 0 {
            self.anchors.insert(outline.anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(
        &mut self,
        pairs: &[(Outline, Outline)],
        values: Vec<(Plain, Plain)>,
    ) -> Result<IndexMap<String, Entry>, Ambiguous> {
        let mut entries: IndexMap<String, Entry> = IndexMap::with_capacity(pairs.len());
        let mut merged = Vec::new();
        for ((key, value), (plain_key, plain)) in pairs.iter().zip(values) {
            let key_span = self.span(key);
            let key_node = self.node(key, plain_key)?;
            let Some(name) = self.key(key, &key_node) else {
                self.node(value, plain)?;
                continue;
            };
            self.path.0.push(Step::Key(name));
            let node = self.node(value, plain)?;
            let Some(Step::Key(name)) = self.path.0.pop() else { return Err(Ambiguous(key_span)) };
            if name == MERGE_KEY && matches!(key.form, Form::Scalar { plain: true, .. }) {
                merged.push(node);
                continue;
            }
            match entries.entry(name) {
                map::Entry::Occupied(first) => {
                    let mistake = duplicate(&self.path, first.key(), first.get().key, key_span);
                    self.mistakes.push(mistake);
                }
                map::Entry::Vacant(place) => {
                    place.insert(Entry { key: key_span, value: node, merged: None });
                }
            }
        }
        for node in merged {
            merge(&mut entries, &node, self.mistakes);
        }
        Ok(entries)
    }

    /// The text of a key; a number or boolean is taken as it is written.
    fn key(&mut self, outline: &Outline, node: &Node) -> Option<String> {
        match (&node.target().shape, &outline.form) {
            (Shape::Scalar(Value::String(text)), _) => Some(text.clone()),
            (Shape::Scalar(Value::Bool(_) | Value::Number(_)), Form::Scalar { .. }) => {
                self.text.get(outline.range.clone()).map(str::to_owned)
            }
            _ => {
                self.mistakes.push(
                    Mistake::new("pipeline::bad_key", "a key must be text")
                        .at(node.span, "this is no text")
                        .help("put the key in quotation marks"),
                );
                None
            }
        }
    }
}

fn duplicate(path: &Path, key: &str, first: Span, second: Span) -> Mistake {
    let (code, message) = match path.0.as_slice() {
        [Step::Key(top)] if top == "stages" => ("pipeline::duplicate_stage", format!("two stages are named `{key}`")),
        [] => ("pipeline::duplicate_key", format!("the key `{key}` appears twice")),
        _ => ("pipeline::duplicate_key", format!("the key `{key}` appears twice in `{path}`")),
    };
    Mistake::new(code, message)
        .at(second, "again here")
        .at(first, "first here")
        .help(if code == "pipeline::duplicate_stage" { "give one of them another name" } else { "remove one of them" })
}
