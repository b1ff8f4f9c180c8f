//! `SOURCE`, `STAGE.PORT` and `STAGE[AXIS=VALUE,…].PORT`.

use indexmap::IndexMap;
use serde_json::Value;

use crate::spec::{closing, items};

/// A reference to what an input takes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::graph) enum Reference<'t> {
    Source(&'t str),
    Output { stage: &'t str, selector: Option<Selector>, port: &'t str },
}

/// Which copies of a stage are meant.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::graph) struct Selector {
    /// The values that are written: `rank=8`.
    pub(in crate::graph) values: IndexMap<String, Value>,
    /// The axes that are left open on purpose: `rank=*`.
    pub(in crate::graph) open: Vec<String>,
    /// Whether all axes that are not written are left open: `*`.
    pub(in crate::graph) all: bool,
}

impl Selector {
    /// Whether more than one copy may be meant.
    pub(in crate::graph) fn takes_many(&self) -> bool {
        self.all || !self.open.is_empty()
    }
}

impl<'t> Reference<'t> {
    /// Reads a reference.
    ///
    /// # Errors
    /// What is wrong with the part in brackets, in words that follow its text.
    pub(in crate::graph) fn parse(text: &'t str) -> Result<Self, String> {
        let dot = text.find('.').unwrap_or(text.len());
        let Some(open) = text.find('[').filter(|&open| open < dot) else {
            return Ok(match text.split_once('.') {
                None => Self::Source(text),
                Some((stage, port)) => Self::Output { stage, selector: None, port },
            });
        };
        let close = closing(text, open).ok_or("has a `[` without its `]`")?;
        let port = text[close + 1..].strip_prefix('.').ok_or("names no output after the `]`")?;
        let selector = selector(&text[open + 1..close])?;
        Ok(Self::Output { stage: &text[..open], selector: Some(selector), port })
    }
}

/// The name of a stage, or of a copy of one, and that of its output: `train[lr=0.5].adapter`.
pub fn split_output(text: &str) -> Option<(&str, &str)> {
    let dot = text.find('.')?;
    let after = match text.find('[').filter(|&open| open < dot) {
        Some(open) => closing(text, open)? + 1,
        None => dot,
    };
    Some((&text[..after], text[after..].strip_prefix('.')?))
}

/// The name of a stage and, of a copy or of a selection of copies, what stands in its brackets.
pub(in crate::graph) fn split_copies(text: &str) -> Option<(&str, Option<Selector>)> {
    let Some(open) = text.find('[') else { return Some((text, None)) };
    let close = closing(text, open).filter(|close| close + 1 == text.len())?;
    Some((&text[..open], Some(selector(&text[open + 1..close]).ok()?)))
}

fn selector(text: &str) -> Result<Selector, String> {
    let mut selector = Selector::default();
    for item in items(text) {
        let item = item.trim();
        if item == "*" {
            selector.all = true;
            continue;
        }
        let (axis, value) = match item.split_once('=') {
            Some((axis, value)) if !axis.trim().is_empty() && !value.trim().is_empty() => (axis.trim(), value.trim()),
            _ => return Err(format!("has `{item}` where `AXIS=VALUE` or `*` is needed")),
        };
        if selector.values.contains_key(axis) || selector.open.iter().any(|open| open == axis) {
            return Err(format!("names `{axis}` twice"));
        }
        if value == "*" {
            selector.open.push(axis.to_owned());
            continue;
        }
        let value: Value = serde_yaml::from_str(value).map_err(|_| format!("has `{value}`, which is no value"))?;
        selector.values.insert(axis.to_owned(), value);
    }
    Ok(selector)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(text: &str) -> (String, Selector, String) {
        match Reference::parse(text).unwrap() {
            Reference::Output { stage, selector, port } => {
                (stage.to_owned(), selector.unwrap_or_default(), port.to_owned())
            }
            Reference::Source(name) => panic!("{name}"),
        }
    }

    #[test]
    fn references_are_read() {
        assert_eq!(Reference::parse("faq"), Ok(Reference::Source("faq")));
        assert_eq!(parsed("train.adapter"), ("train".into(), Selector::default(), "adapter".into()));
        let (stage, selector, port) = parsed("eval/train[rank=8, lr=1e-4,note=\"a, ]b\",list=[1,2]].adapter");
        assert_eq!((stage.as_str(), port.as_str()), ("eval/train", "adapter"));
        assert_eq!(selector.values["lr"], json!(1e-4));
        assert_eq!(selector.values["note"], json!("a, ]b"));
        assert_eq!(selector.values["list"], json!([1, 2]));
        assert!(!selector.takes_many());
        assert!(parsed("train[*].adapter").1.all);
        let (_, selector, _) = parsed("train[rank=*,lr=0.5].a.b");
        assert_eq!(selector.open, ["rank"]);
        assert!(selector.takes_many());
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in
            ["t[", "t[a=1", "t[a].b", "t[a=1]", "t[a=1]b", "t[=1].b", "t[a=].b", "t[a=1,a=2].b", "t[].b", "t[a={].b"]
        {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_copies_split_at_the_port() {
        assert_eq!(split_output("train[lr=0.5].adapter"), Some(("train[lr=0.5]", "adapter")));
        assert_eq!(split_output("train.adapter"), Some(("train", "adapter")));
        assert_eq!(split_output("train.a.b[c]"), Some(("train", "a.b[c]")));
        assert_eq!(split_output("train"), None);
        assert_eq!(split_output("train[lr=0.5]"), None);
    }
}
