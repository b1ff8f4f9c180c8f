//! YAML's merge key: `<<: *defaults` adds what is not written out.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{Entry, Label, Mistake, Node, Shape, Span};

/// The key, when it is not in quotation marks.
pub(super) const MERGE_KEY: &str = "<<";

/// Adds the entries of a mapping, or of a list of them, that `entries` does not have yet.
pub(super) fn merge(entries: &mut IndexMap<String, Entry>, node: &Node, mistakes: &mut Vec<Mistake>) {
    match &node.target().shape {
        Shape::Mapping(_) => add(entries, node, node.span),
        Shape::Sequence(items) if items.iter().all(|item| item.entries().is_some()) => {
            for item in items {
                add(entries, item, item.span);
            }
        }
        _ => mistakes.push(
            Mistake::new("pipeline::bad_merge", "only a map, or a list of maps, can be merged in with `<<`")
                .at(node.span, "this is neither"),
        ),
    }
}

fn add(entries: &mut IndexMap<String, Entry>, node: &Node, at: Span) {
    for (key, entry) in node.entries().into_iter().flatten() {
        if !entries.contains_key(key) {
            let merged = Some(Arc::new(Label::new(at, "merged in here")));
            entries.insert(key.clone(), Entry { key: entry.key, value: entry.value.clone(), merged });
        }
    }
}
