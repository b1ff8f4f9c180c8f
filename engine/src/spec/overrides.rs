use std::ops::Range;

use miette::Diagnostic;
use serde_json::Value;
use thiserror::Error;

/// A value given with `-S PATH=VALUE`, which takes the place of the one in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The keys down to the value: `["stages", "train", "with", "learning_rate"]`.
    pub path: Vec<String>,
    /// What stands there instead.
    pub value: Value,
    /// As it was given.
    pub text: String,
}

/// Why a text is no [`Override`].
#[derive(Debug, Clone, PartialEq, Eq, Error, Diagnostic)]
pub enum OverrideError {
    /// There is no `=`.
    #[error("`{text}` gives no value")]
    #[diagnostic(code("override::no_value"), help("write it as PATH=VALUE: `-S stages.train.with.rank=16`"))]
    NoValue {
        /// As it was given.
        text: String,
    },
    /// A part of the path is empty, or a quotation mark is not closed.
    #[error("the path of `{text}` {problem}")]
    #[diagnostic(
        code("override::bad_path"),
        help(
            "a path is keys joined by dots: `params.rank`; a key that holds a dot stands in quotation marks: `params.\"a.b\"`"
        )
    )]
    BadPath {
        /// As it was given.
        text: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Several values are given in a way that cannot be read.
    #[error("`{text}` {problem}")]
    #[diagnostic(
        code("override::bad_sweep"),
        help(
            "several values are parted by commas, `8,16,32`, or given as range(1,9,2), logrange(1e-5,1e-3,3) or choice(a,b); a text with a comma in it stands in quotation marks"
        )
    )]
    BadSweep {
        /// As it was given.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// The values span more combinations than anybody means to run.
    #[error("{runs} combinations are too many")]
    #[diagnostic(code("override::too_many_runs"), help("give fewer values, or sweep over fewer paths at once"))]
    TooManyRuns {
        /// How they come about.
        runs: String,
    },
    /// The value is not YAML.
    #[error("the value of `{text}` is not YAML: {problem}")]
    #[diagnostic(
        code("override::bad_value"),
        help("quote a text that YAML would read as something else: `-S 'name=\"a: b\"'`")
    )]
    BadValue {
        /// As it was given.
        text: String,
        /// What the parser says.
        problem: String,
    },
}

/// A key of an override's path and where it lies in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathKey {
    pub(crate) key: String,
    pub(crate) range: Range<usize>,
}

impl PathKey {
    fn is_outputs(&self) -> bool {
        self.key == "outputs"
    }

    fn is_stages(&self) -> bool {
        self.key == "stages"
    }
}

/// The path of an override and where its value begins.
pub(crate) fn split(text: &str) -> Result<(Vec<PathKey>, usize), OverrideError> {
    let bad = |problem| OverrideError::BadPath { text: text.to_owned(), problem };
    let mut keys = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let (key, range) = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or_else(|| bad("has a quotation mark that is not closed"))?;
            (&quoted[..end], at..at + end + 2)
        } else {
            // The keys of `outputs` are paths, and paths have dots.
            let in_outputs = matches!(keys.as_slice(), [first] if PathKey::is_outputs(first));
            // So have the values in the name of a copy.
            let in_copy = match keys.as_slice() {
                [first] if PathKey::is_stages(first) => {
                    rest.find('[').filter(|&open| !rest[..open].contains(['=', '.']))
                }
                _ => None,
            };
            let begin = in_copy.and_then(|open| Some(open + rest[open..].find(']')? + 1)).unwrap_or(0);
            let end = rest[begin..].find(|c| c == '=' || c == '.' && !in_outputs).map_or(rest.len(), |end| begin + end);
            (&rest[..end], at..at + end)
        };
        at = range.end;
        let next = text[at..].chars().next();
        if next.is_none() {
            return Err(OverrideError::NoValue { text: text.to_owned() });
        }
        if key.trim().is_empty() {
            return Err(bad("has an empty key"));
        }
        keys.push(PathKey { key: key.trim().to_owned(), range });
        at += 1;
        match next {
            Some('=') => return Ok((keys, at)),
            Some('.') => {}
            _ => return Err(bad("has something after a quotation mark")),
        }
    }
}

impl Override {
    /// Reads `PATH=VALUE`. The value is YAML; an empty one is null.
    pub fn parse(text: &str) -> Result<Self, OverrideError> {
        let (keys, value_at) = split(text)?;
        let value = serde_yaml::from_str(&text[value_at..])
            .map_err(|e| OverrideError::BadValue { text: text.to_owned(), problem: e.to_string() })?;
        Ok(Self { path: keys.into_iter().map(|key| key.key).collect(), value, text: text.to_owned() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn path_and_value_are_read() {
        for (text, path, value) in [
            ("params.rank=8", vec!["params", "rank"], json!(8)),
            ("stages.train.with.learning_rate=2e-4", vec!["stages", "train", "with", "learning_rate"], json!(2e-4)),
            ("a.b=[x, y]", vec!["a", "b"], json!(["x", "y"])),
            ("a.b={c: no}", vec!["a", "b"], json!({"c": "no"})),
            ("name=a=b", vec!["name"], json!("a=b")),
            ("name=", vec!["name"], json!(null)),
            ("outputs.\"out/a.html\"=x.report", vec!["outputs", "out/a.html"], json!("x.report")),
            ("outputs.out/a.html=x.report", vec!["outputs", "out/a.html"], json!("x.report")),
            ("stages.训练.with.名=值", vec!["stages", "训练", "with", "名"], json!("值")),
        ] {
            let read = Override::parse(text).unwrap();
            assert_eq!((read.path, read.value), (path.into_iter().map(String::from).collect(), value), "{text}");
        }
    }

    #[test]
    fn what_is_no_override_is_refused() {
        for text in ["", "a", "a.b", "=1", "a.=1", ".a=1", "a..b=1", "a.\"b=1", "a.\"b\"c=1", "a=[1", "a=\"x"] {
            assert!(Override::parse(text).is_err(), "{text}");
        }
    }
}
