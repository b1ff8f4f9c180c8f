//! A pipeline file with overrides written into it.

use std::path::Path as FilePath;

use serde_json::Value;

use super::{Override, apply};
use crate::source::{Node, Shape, SourceFile};

/// The text of a pipeline file in which every override stands in its place; all else, comments too, stays as it is.
///
/// Where the text cannot be changed so (a value behind an alias, say), the whole file is written anew, without comments.
pub fn written(text: &str, overrides: &[Override]) -> String {
    let mut text = text.to_owned();
    for given in overrides {
        text = with_one(&text, given);
    }
    text
}

fn with_one(text: &str, given: &Override) -> String {
    let (source, _) = SourceFile::parse(FilePath::new("pipeline.yaml"), text);
    let Some(root) = source.root() else { return text.to_owned() };
    let mut mistakes = Vec::new();
    let wanted = apply(root, given, 1, &mut mistakes).0.to_value();
    let edited = edit(&source.text, root, &given.path, &given.value).filter(|edited| reads_as(edited, &wanted));
    edited.unwrap_or_else(|| serde_yaml::to_string(&wanted).unwrap_or_else(|_| text.to_owned()))
}

/// The text with one value replaced or put in.
fn edit(text: &str, root: &Node, path: &[String], value: &Value) -> Option<String> {
    let mut node = root;
    for (place, key) in path.iter().enumerate() {
        let next = match &node.shape {
            Shape::Mapping(entries) => {
                entries.get(key).filter(|entry| entry.merged.is_none()).map(|entry| &entry.value)
            }
            Shape::Sequence(items) => items.get(key.parse::<usize>().ok()?),
            _ => return None,
        };
        match next {
            Some(next) => node = next,
            None => return put_in(text, node, &path[place..], value),
        }
    }
    let range = node.span.range();
    let gap = if range.is_empty() { " " } else { "" };
    Some(format!("{}{gap}{}{}", text.get(..range.start)?, flow(value), text.get(range.end..)?))
}

/// The text with a new key in a mapping: behind the last one of `{ … }`, before the first one of lines.
fn put_in(text: &str, node: &Node, path: &[String], value: &Value) -> Option<String> {
    let Shape::Mapping(entries) = &node.shape else { return None };
    let (first, rest) = path.split_first()?;
    let value = rest.iter().rev().fold(value.clone(), |value, key| serde_json::json!({ key: value }));
    let entry = format!("{}: {}", flow(&Value::String(first.clone())), flow(&value));
    let range = node.span.range();
    if text.get(range.clone())?.starts_with('{') {
        let end = range.end.checked_sub(1)?;
        let comma = if entries.is_empty() { "" } else { ", " };
        let before = text.get(..end)?.trim_end();
        return Some(format!("{before}{comma}{entry} {}", text.get(end..)?));
    }
    let at = entries.values().next()?.key.start;
    let begin = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let indent = text.get(begin..at)?;
    Some(format!("{}{entry}\n{indent}{}", text.get(..at)?, text.get(at..)?))
}

/// A value in one line. A word that means only itself needs no quotation marks.
fn flow(value: &Value) -> String {
    if let Value::String(text) = value {
        let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.'));
        if is_word && serde_yaml::from_str::<Value>(text).is_ok_and(|read| read == *value) {
            return text.clone();
        }
    }
    value.to_string()
}

fn reads_as(text: &str, wanted: &Value) -> bool {
    let (source, mistakes) = SourceFile::parse(FilePath::new("pipeline.yaml"), text);
    mistakes.is_empty() && source.root().is_some_and(|root| root.to_value() == *wanted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# A pipeline.
name: a
params: { rank: 8 }   # the rank
stages:
  train:
    uses: train-lora   # with care
    with:
      # Tried before.
      rank: ${params.rank}
      seed: 7
";

    fn with(overrides: &[&str]) -> String {
        let overrides: Vec<Override> = overrides.iter().map(|text| Override::parse(text).unwrap()).collect();
        written(TEXT, &overrides)
    }

    #[test]
    fn values_change_and_comments_stay() {
        insta::assert_snapshot!(with(&[
            "params.rank=16",
            "stages.train.with.seed=8",
            "stages.train.with.learning_rate=1e-4",
            "stages.train.uses=train-lora-2",
            "outputs.out/a=train.adapter",
        ]));
    }

    #[test]
    fn what_cannot_be_edited_is_written_anew() {
        let text = "params: &p { rank: 8 }\nstages: { a: { uses: x, with: *p } }\n";
        let given = Override::parse("stages.a.with.rank=9").unwrap();
        let told: Value = serde_yaml::from_str(&written(text, &[given])).unwrap();
        assert_eq!((&told["stages"]["a"]["with"]["rank"], &told["params"]["rank"]), (&9.into(), &8.into()));
    }
}
