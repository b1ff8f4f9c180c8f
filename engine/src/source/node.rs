use std::{fmt, sync::Arc};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::{Label, Span};

/// One step down from a collection to what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// A key of a mapping.
    Key(String),
    /// A place in a sequence, from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<&String> for Step {
    fn from(key: &String) -> Self {
        Self::Key(key.clone())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// The way from the top of a file down to a value: `stages.train.with.target_modules[0]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// A path of keys.
    pub fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|&key| key.into()).collect())
    }

    /// The path one step further down.
    #[must_use]
    pub fn join(&self, step: impl Into<Step>) -> Self {
        let mut steps = self.0.clone();
        steps.push(step.into());
        Self(steps)
    }

    /// The last step, if it is a key.
    pub fn last_key(&self) -> Option<&str> {
        match self.0.last() {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it is written; empty where nothing is written (`key:`).
    pub span: Span,
    /// What it is.
    pub shape: Shape,
}

/// What a [`Node`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Null, a boolean, a number or text.
    Scalar(Value),
    /// A list.
    Sequence(Vec<Arc<Node>>),
    /// A map, in the order of the text; keys that were merged in with `<<` come last.
    Mapping(IndexMap<String, Entry>),
    /// `*name`, which stands for what the anchor is on.
    Alias(Arc<Node>),
    /// `${params.NAME}` or `${matrix.NAME}` as a whole value, which stands for the value of that name. In an imported
    /// file also the name of a source that the importing file gives.
    Parameter {
        /// The name.
        name: String,
        /// The reference, as it is written.
        written: String,
        /// Its value in the file or in an override.
        definition: Arc<Node>,
    },
    /// A text with references in it.
    Template {
        /// The finished text.
        text: String,
        /// What they refer to.
        parameters: Vec<(String, Arc<Node>)>,
    },
    /// What another line brought here: a matrix makes copies of a stage, an import brings in those of another file.
    Brought {
        /// That line, and what it did.
        by: Label,
        /// What came here.
        inner: Arc<Node>,
    },
}

/// A key of a mapping and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where the key is written.
    pub key: Span,
    /// What it holds.
    pub value: Arc<Node>,
    /// What added it, if it is not written where it counts: `<<: *name`, or the defaults of the stage kind.
    pub merged: Option<Arc<Label>>,
}

impl Node {
    /// A node.
    pub fn new(span: Span, shape: Shape) -> Self {
        Self { span, shape }
    }

    /// What it stands for: itself unless it is an alias, a parameter, or was brought here.
    pub fn target(&self) -> &Self {
        match &self.shape {
            Shape::Alias(inner) | Shape::Parameter { definition: inner, .. } | Shape::Brought { inner, .. } => {
                inner.target()
            }
            _ => self,
        }
    }

    /// The entries, if it stands for a mapping.
    pub fn entries(&self) -> Option<&IndexMap<String, Entry>> {
        match &self.target().shape {
            Shape::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under a key, if it stands for a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Arc<Self>> {
        self.entries()?.get(key).map(|entry| &entry.value)
    }

    /// The value one step down.
    pub fn child(&self, step: &Step) -> Option<&Arc<Self>> {
        match (&self.target().shape, step) {
            (Shape::Mapping(entries), Step::Key(key)) => entries.get(key).map(|entry| &entry.value),
            (Shape::Sequence(items), Step::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    /// The text, if it stands for text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.target().shape {
            Shape::Scalar(Value::String(text)) | Shape::Template { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether it stands for null.
    pub fn is_null(&self) -> bool {
        matches!(self.target().shape, Shape::Scalar(Value::Null))
    }

    /// The plain value.
    pub fn to_value(&self) -> Value {
        match &self.target().shape {
            Shape::Scalar(value) => value.clone(),
            Shape::Template { text, .. } => Value::String(text.clone()),
            Shape::Sequence(items) => items.iter().map(|item| item.to_value()).collect(),
            Shape::Mapping(entries) => {
                entries.iter().map(|(key, entry)| (key.clone(), entry.value.to_value())).collect::<Map<_, _>>().into()
            }
            Shape::Alias(_) | Shape::Parameter { .. } | Shape::Brought { .. } => {
                unreachable!("invariant: a target is none of them")
            }
        }
    }

    /// A value that was not read from a text of its own: all of it stands at `span`.
    pub fn from_value(value: Value, span: Span) -> Self {
        let shape = match value {
            Value::Array(items) => {
                Shape::Sequence(items.into_iter().map(|item| Arc::new(Self::from_value(item, span))).collect())
            }
            Value::Object(fields) => Shape::Mapping(
                fields
                    .into_iter()
                    .map(|(key, value)| {
                        (key, Entry { key: span, value: Arc::new(Self::from_value(value, span)), merged: None })
                    })
                    .collect(),
            ),
            scalar => Shape::Scalar(scalar),
        };
        Self { span, shape }
    }
}
