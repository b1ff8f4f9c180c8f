//! Reads a `matrix`. References to parameters in it are replaced by then.

use std::{collections::HashSet, sync::Arc};

use super::{Axis, AxisValue, Combination, Item, combine};
use crate::{
    source::{Mistake, Node, Shape, Span, Text, choice, did_you_mean, list},
    spec::is_name,
};

/// More copies of one stage than this are a mistake in the file, not a plan.
const MOST: usize = 100_000;

/// A matrix as it is written.
#[derive(Debug)]
pub(in crate::graph) enum Matrix {
    /// The copies of another stage.
    Same { stage: String, at: Span },
    /// Combinations of its own.
    Own(Vec<Combination>),
}

/// What is noted while a matrix is read.
pub(in crate::graph) struct Notes<'a> {
    pub(in crate::graph) texts: &'a [Text],
    pub(in crate::graph) mistakes: &'a mut Vec<Mistake>,
    pub(in crate::graph) warnings: &'a mut Vec<Mistake>,
}

impl Matrix {
    /// The matrix in `node`, the one of the stage called `stage`, whose key stands at `key`; `None` when there is a
    /// mistake in it, which is noted.
    pub(in crate::graph) fn read(node: &Node, key: Span, stage: &str, notes: &mut Notes<'_>) -> Option<Self> {
        if let Some(stage) = node.as_str() {
            return Some(Self::Same { stage: stage.to_owned(), at: node.span });
        }
        let known = notes.mistakes.len();
        let axes = notes.axes(node);
        let exclude = notes.items(node, "exclude");
        let include = notes.items(node, "include");
        notes.unknown_axes(&axes, &exclude);
        if notes.mistakes.len() > known {
            return None;
        }
        let product = axes.iter().try_fold(1_usize, |product, axis| product.checked_mul(axis.values.len()));
        if !axes.is_empty() && product.is_none_or(|product| product > MOST) {
            let sizes: Vec<String> = axes.iter().map(|axis| axis.values.len().to_string()).collect();
            let mistake = Mistake::new(
                "pipeline::too_many_copies",
                format!("the matrix of `{stage}` has more than {MOST} copies"),
            )
            .at(key, format!("{} combinations", sizes.join(" × ")))
            .help("give it fewer values, or name the combinations one by one under `include`");
            notes.mistakes.push(mistake);
            return None;
        }
        let combined = combine(&axes, &exclude, &include);
        for span in combined.idle {
            notes.warnings.push(
                Mistake::new("pipeline::idle_exclude", format!("this `exclude` leaves no copy of `{stage}` out"))
                    .at(span, "no combination has these values")
                    .help("correct its values, or remove it"),
            );
        }
        for span in &combined.repeated {
            notes.mistakes.push(
                Mistake::new("pipeline::duplicate_copy", format!("two copies of `{stage}` have the same values"))
                    .at(*span, "made again here")
                    .help("remove one of them"),
            );
        }
        if combined.combinations.is_empty() {
            let label = if exclude.is_empty() { "no combination in here" } else { "`exclude` leaves none of them" };
            let mistake = Mistake::new("pipeline::no_copies", format!("the matrix of `{stage}` makes no copy"))
                .at(key, label)
                .help("give it an axis with values: `matrix: { rank: [8, 16] }`");
            notes.mistakes.push(mistake);
        }
        (notes.mistakes.len() == known).then_some(Self::Own(combined.combinations))
    }
}

impl Notes<'_> {
    fn axes(&mut self, node: &Node) -> Vec<Axis> {
        let mut axes = Vec::new();
        for (name, entry) in node.entries().into_iter().flatten() {
            if matches!(name.as_str(), "include" | "exclude") {
                continue;
            }
            self.check_name(name, entry.key);
            let Shape::Sequence(items) = &entry.value.target().shape else {
                let mistake = Mistake::new("pipeline::wrong_type", format!("the axis `{name}` must be a list"))
                    .at(entry.value.span, "a list is needed here")
                    .help(format!("write its values in brackets: `{name}: [ … ]`"));
                self.mistakes.push(mistake);
                continue;
            };
            if items.is_empty() {
                let mistake = Mistake::new("pipeline::no_copies", format!("the axis `{name}` has no values"))
                    .at(entry.value.span, "empty")
                    .help("give it a value, or remove it");
                self.mistakes.push(mistake);
            }
            let values: Vec<_> = items.iter().map(|item| Arc::new(AxisValue::new(item, self.texts))).collect();
            let mut seen = HashSet::new();
            for value in &values {
                if !seen.insert(value.bytes.as_slice()) {
                    let first = values.iter().find(|first| first.bytes == value.bytes).map(|first| first.node.span);
                    let mistake = Mistake::new(
                        "pipeline::duplicate_copy",
                        format!("the axis `{name}` has the value `{}` twice", value.plain),
                    )
                    .at(value.node.span, "again here")
                    .at(first.unwrap_or_default(), "first here")
                    .help("remove one of them: how a value is written makes no difference");
                    self.mistakes.push(mistake);
                }
            }
            axes.push(Axis { name: name.as_str().into(), key: entry.key, values });
        }
        axes
    }

    fn items(&mut self, node: &Node, section: &str) -> Vec<Item> {
        let Some(Shape::Sequence(items)) = node.get(section).map(|node| &node.target().shape) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in items {
            let mut values = Combination::new();
            for (name, entry) in item.entries().into_iter().flatten() {
                self.check_name(name, entry.key);
                values.push((name.as_str().into(), Arc::new(AxisValue::new(&entry.value, self.texts))));
            }
            if values.is_empty() && section == "include" {
                let mistake = Mistake::new("pipeline::no_copies", "this `include` names no value")
                    .at(item.span, "empty")
                    .help("name at least one: `{ AXIS: VALUE }`");
                self.mistakes.push(mistake);
            }
            found.push(Item { span: item.target().span, values });
        }
        found
    }

    fn check_name(&mut self, name: &str, key: Span) {
        if !is_name(name) {
            let mistake = Mistake::new("pipeline::bad_name", format!("`{name}` cannot be the name of an axis"))
                .at(key, "this name")
                .help("a name has letters, digits, `_` and `-`, at most 64 of them, and does not begin with `-`");
            self.mistakes.push(mistake);
        }
    }

    /// `exclude` can only name axes: whatever else an item names, no combination would have.
    fn unknown_axes(&mut self, axes: &[Axis], exclude: &[Item]) {
        let names = || axes.iter().map(|axis| axis.name.as_ref());
        for item in exclude {
            for (name, value) in item.values.iter().filter(|(name, _)| names().all(|axis| axis != name.as_ref())) {
                let help = did_you_mean(name, names()).unwrap_or_else(|| match axes {
                    [] => "the matrix has no axes to leave combinations out of".to_owned(),
                    [only] => format!("its only axis is `{}`", only.name),
                    _ => format!("its axes are {}", list(names())),
                });
                let mut mistake = Mistake::new("pipeline::unknown_axis", format!("the matrix has no axis `{name}`"))
                    .at(value.node.span, format!("a value of `{name}`"))
                    .help(help);
                if let Some(first) = axes.first() {
                    mistake = mistake.at(first.key, format!("axes begin here: {}", choice(names())));
                }
                self.mistakes.push(mistake);
            }
        }
    }
}
