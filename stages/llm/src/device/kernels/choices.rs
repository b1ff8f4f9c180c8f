use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which of the kernels for an operation is the fastest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Choice {
    /// The operation: shapes, types and layouts, in the runtime's own words.
    pub(super) key: Value,
    /// Names the list of kernels that were tried: of another list, the choice says nothing.
    pub(super) checksum: String,
    /// Its place in that list.
    pub(super) fastest: usize,
}

impl Choice {
    fn answers_as(&self, other: &Self) -> bool {
        self.key == other.key && self.checksum == other.checksum
    }
}

/// All choices that were made on an adapter, for each kind of operation that has some.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Choices(BTreeMap<String, Vec<Choice>>);

impl Choices {
    pub(super) fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Vec<Choice>)> {
        self.0.iter()
    }

    /// Adds a choice about a kind of operation.
    pub(super) fn push(&mut self, kind: &str, choice: Choice) {
        self.0.entry(kind.to_owned()).or_default().push(choice);
    }

    /// Adds what is not known. Where another list of kernels was tried for the same, the newer one counts.
    pub(super) fn add(&mut self, newer: Self) {
        for (kind, choices) in newer.0 {
            let known = self.0.entry(kind).or_default();
            for choice in choices {
                if !known.iter().any(|known| known.answers_as(&choice)) {
                    known.retain(|known| known.key != choice.key);
                    known.push(choice);
                }
            }
        }
    }

    /// Those that the other ones do not have.
    pub(super) fn without(mut self, known: &Self) -> Self {
        for (kind, choices) in &mut self.0 {
            let known = known.0.get(kind).map_or(&[][..], Vec::as_slice);
            choices.retain(|choice| !known.iter().any(|known| known.answers_as(choice)));
        }
        self
    }
}
