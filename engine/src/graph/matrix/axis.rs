use std::sync::Arc;

use refit_cache::canonical::canonical;
use serde_json::Value;

use super::label::{label, plain};
use crate::source::{Node, Span, Text};

/// An axis of a matrix and the values it takes.
#[derive(Debug, Clone)]
pub(in crate::graph) struct Axis {
    pub(in crate::graph) name: Arc<str>,
    /// Where its name is written.
    pub(in crate::graph) key: Span,
    pub(in crate::graph) values: Vec<Arc<AxisValue>>,
}

/// A value of an axis.
#[derive(Debug, Clone)]
pub(in crate::graph) struct AxisValue {
    /// Where it is written.
    pub(in crate::graph) node: Arc<Node>,
    pub(in crate::graph) value: Value,
    /// As the names of copies show it: as it is written, in quotation marks where it could be read as something else.
    pub(in crate::graph) label: String,
    /// The same for every spelling of the value, for names that count as content.
    pub(in crate::graph) plain: String,
    /// Equal for values that mean the same.
    pub(in crate::graph) bytes: Vec<u8>,
}

impl AxisValue {
    pub(in crate::graph) fn new(node: &Arc<Node>, texts: &[Text]) -> Self {
        let value = node.to_value();
        let target = node.target().span;
        let written = texts.get(target.text).and_then(|text| text.text.get(target.range()));
        Self {
            label: label(&value, written),
            plain: plain(&value),
            bytes: canonical(&value),
            node: node.clone(),
            value,
        }
    }
}
