//! Puts overrides in the place of what the file says.

use std::{path::Path as FilePath, sync::Arc};

use indexmap::IndexMap;
use serde_json::Value;

use super::{
    Override,
    overrides::{PathKey, split},
};
use crate::source::{Entry, Mistake, Node, Shape, SourceFile, Span, did_you_mean, list};

const TOP: [&str; 8] = ["name", "description", "params", "sources", "imports", "defaults", "stages", "outputs"];
const STAGE: [&str; 13] = [
    "uses",
    "matrix",
    "inputs",
    "with",
    "cache",
    "description",
    "resources",
    "mutex",
    "priority",
    "retries",
    "timeout",
    "grace",
    "deterministic",
];
const IMPORT: [&str; 3] = ["from", "params", "sources"];
const SOURCE: [&str; 2] = ["from", "digest"];

/// The tree with one override in it, and the override's text as the text with the number `number`.
pub(crate) fn apply(
    root: &Arc<Node>,
    given: &Override,
    number: usize,
    mistakes: &mut Vec<Mistake>,
) -> (Arc<Node>, SourceFile) {
    let (keys, value, text) = read(given, number, mistakes);
    if let Some(mistake) = refuse(root, &keys, number) {
        mistakes.push(mistake);
        return (root.clone(), text);
    }
    match replace(root, &keys, &value, number) {
        Ok(changed) => (changed, text),
        Err(mistake) => {
            mistakes.push(*mistake);
            (root.clone(), text)
        }
    }
}

/// Path and value, with the places they have in the override's text.
fn read(given: &Override, number: usize, mistakes: &mut Vec<Mistake>) -> (Vec<PathKey>, Arc<Node>, SourceFile) {
    let name = FilePath::new("-S");
    let whole = 0..given.text.len();
    let parts = split(&given.text).ok().filter(|(keys, _)| keys.iter().map(|key| &key.key).eq(&given.path));
    if let Some((keys, at)) = parts {
        let (text, found) = SourceFile::parse_from(name, &given.text, number, at);
        mistakes.extend(found);
        let empty = || Arc::new(Node::new(Span::new(number, at..at), Shape::Scalar(Value::Null)));
        let value = text.root().cloned().unwrap_or_else(empty);
        return (keys, value, text);
    }
    // The override was not made from a text.
    let keys = given.path.iter().map(|key| PathKey { key: key.clone(), range: whole.clone() }).collect();
    let value = Arc::new(Node::from_value(given.value.clone(), Span::new(number, whole)));
    let (mut text, _) = SourceFile::parse(name, "");
    text.text = given.text.as_str().into();
    (keys, value, text)
}

/// A path that the grammar, or this file, does not have.
fn refuse(root: &Node, keys: &[PathKey], number: usize) -> Option<Mistake> {
    let unknown = |at: usize, what: &str, known: Vec<&str>| {
        let key = &keys[at];
        let message = match what {
            "import" if at != 1 => format!("an import has no key `{}`", key.key),
            "pipeline" | "source" | "stage" if at != 1 => format!("a {what} has no key `{}`", key.key),
            _ => format!("there is no {what} `{}` to override", key.key),
        };
        // A copy and an imported stage come from what is written under another name.
        let whole = (what == "stage").then(|| key.key.split_once('[').map(|(stage, _)| stage)).flatten();
        let import = (what == "stage").then(|| key.key.split_once('/').map(|(import, _)| import)).flatten();
        let help = whole
            .map(|stage| format!("an override holds for all copies: `-S stages.{stage}.with.PARAMETER=VALUE`"))
            .or(import
                .map(|import| format!("give the imported file another value: `-S imports.{import}.params.NAME=VALUE`")))
            .or_else(|| did_you_mean(&key.key, known.iter().copied()))
            .or_else(|| (!known.is_empty()).then(|| format!("there are {}", list(known.iter().copied()))));
        Some(
            Mistake::new("override::unknown_path", message)
                .at(Span::new(number, key.range.clone()), "nothing has this name")
                .maybe_help(help),
        )
    };
    let whole = |what: &str| {
        let key = &keys[0];
        Some(
            Mistake::new("override::unknown_path", format!("`{}` as a whole cannot be overridden", key.key))
                .at(Span::new(number, key.range.clone()), "this path is too short")
                .help(match what {
                    "stage" => "name what to change: `-S stages.NAME.with.PARAMETER=VALUE`".to_owned(),
                    _ => format!("name the {what} after it: `-S {}.NAME=VALUE`", key.key),
                }),
        )
    };
    let first = keys.first()?;
    if !TOP.contains(&first.key.as_str()) {
        return unknown(0, "pipeline", TOP.to_vec());
    }
    let section: Vec<&str> = root
        .get(&first.key)
        .and_then(|node| node.entries())
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    match (first.key.as_str(), keys.get(1)) {
        ("params", None) => whole("parameter"),
        ("sources", None) => whole("source"),
        ("stages", None) => whole("stage"),
        ("outputs", None) => whole("path"),
        ("imports", None) => whole("import"),
        ("defaults", None) => whole("stage kind"),
        ("params", Some(key)) if !section.contains(&key.key.as_str()) => unknown(1, "parameter", section),
        ("sources", Some(key)) if !section.contains(&key.key.as_str()) => unknown(1, "source", section),
        ("stages", Some(key)) if !section.contains(&key.key.as_str()) => unknown(1, "stage", section),
        ("imports", Some(key)) if !section.contains(&key.key.as_str()) => unknown(1, "import", section),
        ("imports", Some(_)) => keys
            .get(2)
            .filter(|key| !IMPORT.contains(&key.key.as_str()))
            .and_then(|_| unknown(2, "import", IMPORT.to_vec())),
        ("sources", Some(_)) => keys
            .get(2)
            .filter(|key| !SOURCE.contains(&key.key.as_str()))
            .and_then(|_| unknown(2, "source", SOURCE.to_vec())),
        ("stages", Some(_)) => match keys.get(2) {
            None => Some(
                Mistake::new("override::unknown_path", "a stage as a whole cannot be overridden")
                    .at(Span::new(number, keys[1].range.clone()), "this path is too short")
                    .help(format!("name what to change: `-S stages.{}.with.PARAMETER=VALUE`", keys[1].key)),
            ),
            Some(key) if !STAGE.contains(&key.key.as_str()) => unknown(2, "stage", STAGE.to_vec()),
            Some(_) => None,
        },
        _ => None,
    }
}

/// The tree with `value` at the end of `keys`; maps on the way are made where there are none.
fn replace(node: &Arc<Node>, keys: &[PathKey], value: &Arc<Node>, number: usize) -> Result<Arc<Node>, Box<Mistake>> {
    let Some((first, rest)) = keys.split_first() else { return Ok(value.clone()) };
    let key_span = Span::new(number, first.range.clone());
    let wrong = |problem: String| {
        Box::new(Mistake::new("override::unknown_path", problem).at(key_span, "the path ends before this"))
    };
    let target = node.target();
    let shape = match &target.shape {
        Shape::Mapping(entries) => Shape::Mapping(replace_key(entries, first, rest, value, number)?),
        Shape::Scalar(Value::Null) => Shape::Mapping(replace_key(&IndexMap::new(), first, rest, value, number)?),
        Shape::Sequence(items) => {
            let index = first.key.parse::<usize>().ok().filter(|&index| index < items.len()).ok_or_else(|| {
                wrong(format!("`{}` is no place in a list of {}; they count from 0", first.key, items.len()))
            })?;
            let mut items = items.clone();
            items[index] = replace(&items[index], rest, value, number)?;
            Shape::Sequence(items)
        }
        // A source that is plain text becomes one with keys when one of them is given.
        Shape::Scalar(Value::String(_)) if SOURCE.contains(&first.key.as_str()) && rest.is_empty() => {
            let from = Entry { key: target.span, value: Arc::new(target.clone()), merged: None };
            let entries = IndexMap::from([("from".to_owned(), from)]);
            Shape::Mapping(replace_key(&entries, first, rest, value, number)?)
        }
        _ => return Err(wrong(format!("there is nothing named `{}`: what stands there is a single value", first.key))),
    };
    Ok(Arc::new(Node::new(target.span, shape)))
}

fn replace_key(
    entries: &IndexMap<String, Entry>,
    first: &PathKey,
    rest: &[PathKey],
    value: &Arc<Node>,
    number: usize,
) -> Result<IndexMap<String, Entry>, Box<Mistake>> {
    let span = Span::new(number, first.range.clone());
    let mut entries = entries.clone();
    let entry = match entries.get(&first.key) {
        Some(_) if rest.is_empty() => Entry { key: span, value: value.clone(), merged: None },
        Some(old) => {
            Entry { key: old.key, value: replace(&old.value, rest, value, number)?, merged: old.merged.clone() }
        }
        None => {
            let nothing = Arc::new(Node::new(span, Shape::Scalar(Value::Null)));
            Entry { key: span, value: replace(&nothing, rest, value, number)?, merged: None }
        }
    };
    entries.insert(first.key.clone(), entry);
    Ok(entries)
}
