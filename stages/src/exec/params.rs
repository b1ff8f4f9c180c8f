use std::{borrow::Cow, collections::BTreeMap};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Runs a command. Every input and output is handed over as a variable of the port's name that holds an absolute path;
/// a `-` in a name becomes `_`. The command runs in an empty folder of its own and sees only the variables that are
/// declared, besides `PATH`, `HOME`, `TMPDIR`, `LANG` and `REFIT_STAGE`, `REFIT_RUN`, `REFIT_ATTEMPT`, `REFIT_THREADS`,
/// `REFIT_GPUS` (the numbers of the GPUs it was given, if any), `REFIT_SCRATCH` (a folder that outlives a kill) and `REFIT_FOLDER` (where the pipeline file lies).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecParams {
    /// The command: a text for `/bin/sh -euc`, such as `cat $x > $out`, or a list of a program and its arguments, which no
    /// shell reads. In a list, `$NAME` stands for a variable's value and `$$` for `$`; a program such as `./tool` is
    /// looked for in the pipeline's folder, and its bytes count as those of `tools` do.
    pub run: Command,
    /// What the command makes: the port's name, and where in its folder it is found. `a.txt` is a file or a folder,
    /// `parts/` a folder, `parts/*.csv` all files that match (`**` crosses folders), put together to one folder. The numbers
    /// of a JSON object at the port `metrics` are the stage's scores, and what stands in JSON lines at the port `history` can
    /// be plotted.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub outputs: IndexMap<String, String>,
    /// Variables for the command: a list of `NAME` (its value now, which counts: another value runs the stage again) and
    /// `NAME=VALUE`, or a map of names and values.
    #[serde(default, skip_serializing_if = "Environment::is_empty")]
    pub env: Environment,
    /// Variables for the command that hold secrets: their values never count, are never stored, and what the command
    /// prints of them is replaced by `***`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Programs and scripts whose bytes count, such as `python3` (looked up in `PATH`) or `./script.py` (from the pipeline's
    /// folder): a new one runs the stage again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Inputs that the command expects at a fixed place: the input's name, and the path in the command's folder that leads to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub place: BTreeMap<String, String>,
}

/// A text for the shell, or a program and its arguments.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Command {
    /// For `/bin/sh -euc`.
    Shell(#[schemars(length(min = 1))] String),
    /// The program first.
    Arguments(#[schemars(length(min = 1))] Vec<String>),
}

/// Names, some with values, or names and values.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Environment {
    /// `NAME` or `NAME=VALUE`.
    List(Vec<String>),
    /// Names and values; a number or a truth value is handed over as it would be written in JSON.
    Map(IndexMap<String, Plain>),
}

/// A value that is text, or can be written as one in one way only.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Plain {
    /// Handed over as it is.
    Text(String),
    /// As JSON writes it.
    Number(serde_json::Number),
    /// `true` or `false`.
    Truth(bool),
}

impl Plain {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Number(number) => number.to_string().into(),
            Self::Truth(truth) => truth.to_string().into(),
        }
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Environment {
    fn is_empty(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Map(map) => map.is_empty(),
        }
    }

    /// Each name, with its value if that is given, and where it is written below `env`.
    pub(super) fn entries(&self) -> Vec<(&str, Option<Cow<'_, str>>, String)> {
        match self {
            Self::List(items) => items
                .iter()
                .enumerate()
                .map(|(place, item)| match item.split_once('=') {
                    Some((name, value)) => (name, Some(value.into()), place.to_string()),
                    None => (item.as_str(), None, place.to_string()),
                })
                .collect(),
            Self::Map(map) => {
                map.iter().map(|(name, value)| (name.as_str(), Some(value.text()), name.clone())).collect()
            }
        }
    }
}

impl ExecParams {
    /// What counts as a tool: what is declared, and a program that lies in the pipeline's folder.
    pub(super) fn all_tools(&self) -> Vec<String> {
        let mut tools = self.tools.clone();
        if let Command::Arguments(arguments) = &self.run
            && let Some(program) = arguments.first().filter(|program| is_own_program(program))
            && !tools.contains(program)
        {
            tools.push(program.clone());
        }
        tools
    }
}

/// Whether a program is meant by its path from the pipeline's folder.
pub(super) fn is_own_program(program: &str) -> bool {
    program.contains('/') && !program.starts_with('/') && !program.contains('$')
}
