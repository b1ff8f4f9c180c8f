//! A dvc.yaml with every stage written out: `foreach` and `matrix` unrolled, `${…}` filled in.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;
use miette::{LabeledSpan, miette};
use refit_engine::source::{Entry, Mistake, Node, SourceFile};
use serde_json::{Map, Value, json};

use super::{
    remark::Remark,
    template::{Piece, find, pieces, spelled},
};
use crate::failure::Failure;

/// A stage, its paths as they are written: relative to its `wdir`.
#[derive(Debug, Clone)]
pub(super) struct DvcStage {
    pub(super) name: String,
    pub(super) line: usize,
    /// One command after the other; what stands in them is text and values that can be changed later.
    pub(super) commands: Vec<Vec<Spoken>>,
    pub(super) wdir: String,
    pub(super) deps: Vec<String>,
    pub(super) outs: Vec<String>,
    /// The first of them that holds scores.
    pub(super) metrics: Option<String>,
    /// File → the keys that count; none: the whole file.
    pub(super) params: Vec<(String, Option<Vec<String>>)>,
}

/// A piece of a command.
#[derive(Debug, Clone)]
pub(super) enum Spoken {
    /// As it stands.
    Text(String),
    /// A value of the project's parameters: its path, and what it is now.
    Parameter(Vec<String>, Value),
}

/// A dvc.yaml as it was read.
pub(super) struct DvcFile {
    source: SourceFile,
    folder: PathBuf,
    /// What `${…}` may name in every stage.
    pub(super) globals: Value,
    pub(super) remarks: Vec<Remark>,
    pub(super) stages: Vec<DvcStage>,
}

/// The file that DVC reads parameters from where no other is named.
pub(super) const PARAMS_FILE: &str = "params.yaml";

/// What a stage may hold that changes nothing about its results.
const SILENT: [&str; 2] = ["desc", "meta"];

impl DvcFile {
    /// Reads a dvc.yaml and unrolls it. What is no YAML at all is an error; what cannot be carried over is a remark.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let (source, mistakes) = SourceFile::read(path);
        if let Some(mistake) = mistakes.first() {
            return Err(unreadable(&source, mistake));
        }
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let mut file = Self { source, folder, globals: json!({}), remarks: Vec::new(), stages: Vec::new() };
        let Some(root) = file.source.root().cloned() else {
            return Err(Failure::usage(miette!(code = "import::empty", "{} is empty", path.display())));
        };
        if root.get("stages").and_then(|stages| stages.entries()).is_none_or(IndexMap::is_empty) {
            let help = "`refit import` reads a dvc.yaml with a map `stages`";
            return Err(Failure::usage(miette!(
                code = "import::no_stages",
                help = help,
                "{} has no stages",
                path.display()
            )));
        }
        file.read_globals(&root);
        for (key, entry) in root.entries().into_iter().flatten() {
            match key.as_str() {
                "stages" | "vars" => {}
                "plots" | "metrics" => {
                    file.remark(entry, key, "how results are shown: `refit runs show` and `diff` do that");
                }
                other => file.remark(entry, other, "refit has nothing like it"),
            }
        }
        let stages = root.get("stages").and_then(|stages| stages.entries()).cloned().unwrap_or_default();
        for (name, entry) in &stages {
            file.unroll(name, entry);
        }
        Ok(file)
    }

    pub(super) fn line(&self, node: &Entry) -> usize {
        1 + self.source.text.get(..node.key.start).map_or(0, |before| before.matches('\n').count())
    }

    fn remark(&mut self, entry: &Entry, what: &str, why: impl Into<String>) {
        let line = self.line(entry);
        self.remarks.push(Remark { line, what: what.to_owned(), why: why.into() });
    }

    /// `params.yaml`, and over it what `vars` names.
    fn read_globals(&mut self, root: &Node) {
        let mut globals = self.read_values(PARAMS_FILE).unwrap_or_else(|| json!({}));
        let vars = root.entries().and_then(|entries| entries.get("vars")).cloned();
        if let Some(entry) = vars {
            for item in entry.value.to_value().as_array().into_iter().flatten() {
                match item {
                    Value::String(file) => {
                        let (path, keys) = file.split_once(':').unwrap_or((file, ""));
                        match self.read_values(path) {
                            Some(Value::Object(mut values)) => {
                                let keys: Vec<&str> = keys.split(',').filter(|key| !key.is_empty()).collect();
                                values.retain(|key, _| keys.is_empty() || keys.contains(&key.as_str()));
                                merge(&mut globals, Value::Object(values));
                            }
                            _ => self.remark(&entry, path, "it cannot be read, or is no YAML or JSON map"),
                        }
                    }
                    values @ Value::Object(_) => merge(&mut globals, values.clone()),
                    _ => self.remark(&entry, "vars", "an item is neither a file nor a map"),
                }
            }
        }
        self.globals = globals;
    }

    fn read_values(&self, path: &str) -> Option<Value> {
        let (file, mistakes) = SourceFile::read(&self.folder.join(path));
        if mistakes.is_empty() { file.root().map(|root| root.to_value()) } else { None }
    }

    /// Makes one stage, or one for each item of `foreach` and each cell of `matrix`.
    fn unroll(&mut self, name: &str, entry: &Entry) {
        let node = Arc::clone(&entry.value);
        let empty = json!({});
        if let Some(each) = node.get("foreach") {
            let Some(body) = node.get("do").cloned() else {
                return self.remark(entry, name, "it has `foreach` without `do`");
            };
            match self.whole(each, &empty) {
                Ok(Value::Array(items)) => {
                    for (index, item) in items.iter().enumerate() {
                        let label = if item.is_object() || item.is_array() { index.to_string() } else { spelled(item) };
                        self.stage(&format!("{name}@{label}"), entry, &body, json!({ "item": item }));
                    }
                }
                Ok(Value::Object(items)) => {
                    for (key, item) in &items {
                        self.stage(&format!("{name}@{key}"), entry, &body, json!({ "item": item, "key": key }));
                    }
                }
                Ok(_) => self.remark(entry, name, "its `foreach` is neither a list nor a map"),
                Err(why) => self.remark(entry, name, why),
            }
            return;
        }
        let Some(matrix) = node.get("matrix") else { return self.stage(name, entry, &node, empty) };
        let axes = match self.whole(matrix, &empty) {
            Ok(Value::Object(axes)) => axes,
            Ok(_) => return self.remark(entry, name, "its `matrix` is no map"),
            Err(why) => return self.remark(entry, name, why),
        };
        let mut cells = vec![(String::new(), Map::new())];
        for (axis, values) in &axes {
            let values = values.as_array().cloned().unwrap_or_default();
            cells = cells
                .into_iter()
                .flat_map(|(label, cell)| {
                    values
                        .iter()
                        .enumerate()
                        .map(move |(index, value)| {
                            let own = if value.is_object() || value.is_array() {
                                format!("{axis}{index}")
                            } else {
                                spelled(value)
                            };
                            let label = if label.is_empty() { own } else { format!("{label}-{own}") };
                            let mut cell = cell.clone();
                            cell.insert(axis.clone(), value.clone());
                            (label, cell)
                        })
                        .collect::<Vec<_>>()
                })
                .collect();
        }
        for (label, cell) in cells {
            self.stage(&format!("{name}@{label}"), entry, &node, json!({ "item": cell, "key": label }));
        }
    }

    fn stage(&mut self, name: &str, entry: &Entry, node: &Node, mut own: Value) {
        let line = self.line(entry);
        for item in
            node.get("vars").map(|vars| vars.to_value()).as_ref().and_then(Value::as_array).into_iter().flatten()
        {
            match item {
                Value::Object(_) => merge(&mut own, item.clone()),
                Value::String(file) => match self.read_values(file) {
                    Some(values @ Value::Object(_)) => merge(&mut own, values),
                    _ => self.remark(entry, file, "it cannot be read, or is no YAML or JSON map"),
                },
                _ => self.remark(entry, name, "an item of its `vars` is neither a file nor a map"),
            }
        }
        let mut stage = DvcStage {
            name: name.to_owned(),
            line,
            commands: Vec::new(),
            wdir: ".".into(),
            deps: Vec::new(),
            outs: Vec::new(),
            metrics: None,
            params: Vec::new(),
        };
        for (key, entry) in node.entries().into_iter().flatten() {
            let taken = self.take(&mut stage, key, entry, &own);
            if let Err(why) = taken {
                self.remark(entry, &format!("{key} of {name}"), why);
            }
        }
        if stage.commands.is_empty() {
            return self.remark(entry, name, "it has no command");
        }
        self.stages.push(stage);
    }

    /// Takes one key of a stage. The error is a sentence about why it is left out.
    fn take(&mut self, stage: &mut DvcStage, key: &str, entry: &Entry, own: &Value) -> Result<(), String> {
        let value = &entry.value;
        match key {
            "cmd" => {
                let texts = value.to_value();
                let texts = texts.as_array().map_or_else(|| vec![texts.clone()], Clone::clone);
                for text in texts {
                    stage.commands.push(self.command(&spelled(&text), own)?);
                }
            }
            "wdir" => stage.wdir = self.text(value.as_str().unwrap_or("."), own)?,
            "deps" => {
                for item in items(&value.to_value()) {
                    stage.deps.push(self.text(&item.0, own)?);
                }
            }
            "outs" | "metrics" | "plots" => {
                for (path, flags) in items(&value.to_value()) {
                    let path = self.text(&path, own)?;
                    for (flag, why) in [
                        ("persist", "outputs are made anew, in an empty folder"),
                        ("remote", "results go where `cache.remote` says"),
                    ] {
                        if flags.get(flag).is_some_and(|value| *value != Value::Bool(false)) {
                            self.remark(entry, &format!("{flag} of {path}"), why);
                        }
                    }
                    if key == "metrics" {
                        stage.metrics.get_or_insert_with(|| path.clone());
                    }
                    stage.outs.push(path);
                }
            }
            "params" => self.take_params(stage, &value.to_value(), own)?,
            "frozen" | "always_changed" if value.to_value() == Value::Bool(false) => {}
            "frozen" => return Err("a result is kept anyway while its inputs stay what they are".into()),
            "always_changed" => return Err("run it with `--force=STAGE`, or give it what changes as an input".into()),
            "foreach" | "matrix" | "do" | "vars" => {}
            other if SILENT.contains(&other) => {}
            _ => return Err("refit has nothing like it".into()),
        }
        Ok(())
    }

    fn take_params(&self, stage: &mut DvcStage, value: &Value, own: &Value) -> Result<(), String> {
        let mut default = Vec::new();
        for item in value.as_array().into_iter().flatten() {
            match item {
                Value::String(key) => default.push(self.text(key, own)?),
                Value::Object(files) => {
                    for (file, keys) in files {
                        let keys = match keys {
                            Value::Array(keys) => {
                                Some(keys.iter().map(|key| self.text(&spelled(key), own)).collect::<Result<_, _>>()?)
                            }
                            _ => None,
                        };
                        stage.params.push((self.text(file, own)?, keys));
                    }
                }
                _ => return Err("an item is neither a key nor a file".into()),
            }
        }
        if !default.is_empty() {
            stage.params.insert(0, (PARAMS_FILE.into(), Some(default)));
        }
        Ok(())
    }

    /// A text with its references filled in.
    fn text(&self, text: &str, own: &Value) -> Result<String, String> {
        let filled = self.command(text, own)?.into_iter().map(|piece| match piece {
            Spoken::Text(text) => text,
            Spoken::Parameter(_, value) => spelled(&value),
        });
        Ok(filled.collect())
    }

    fn command(&self, text: &str, own: &Value) -> Result<Vec<Spoken>, String> {
        pieces(text)?
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) => Ok(Spoken::Text(text)),
                Piece::Reference(path) => match (find(own, &path), find(&self.globals, &path)) {
                    (Some(value), _) | (None, Some(value @ (Value::Array(_) | Value::Object(_)))) => {
                        Ok(Spoken::Text(spelled(value)))
                    }
                    (None, Some(value)) => Ok(Spoken::Parameter(path, value.clone())),
                    (None, None) => Err(format!("`${{{}}}` has no value", path.join("."))),
                },
            })
            .collect()
    }

    /// A value that may be one reference, or hold some.
    fn whole(&self, node: &Node, own: &Value) -> Result<Value, String> {
        self.filled(&node.to_value(), own)
    }

    fn filled(&self, value: &Value, own: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => match pieces(text)?.as_slice() {
                [Piece::Reference(path)] => find(own, path)
                    .or_else(|| find(&self.globals, path))
                    .cloned()
                    .ok_or_else(|| format!("`${{{}}}` has no value", path.join(".")))?,
                _ => Value::String(self.text(text, own)?),
            },
            Value::Array(items) => items.iter().map(|item| self.filled(item, own)).collect::<Result<_, _>>()?,
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), self.filled(value, own)?)))
                    .collect::<Result<_, String>>()?,
            ),
            other => other.clone(),
        })
    }
}

/// `[a, {b: {cache: false}}]` as paths and what is said about them.
fn items(value: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for item in value.as_array().map_or_else(|| vec![value.clone()], Clone::clone) {
        match item {
            Value::Object(entries) => found.extend(entries),
            item => found.push((spelled(&item), json!({}))),
        }
    }
    found
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn unreadable(source: &SourceFile, mistake: &Mistake) -> Failure {
    let labels =
        mistake.labels.iter().map(|label| LabeledSpan::at(label.span.range(), &label.text)).collect::<Vec<_>>();
    let text = miette::NamedSource::new(source.path.display().to_string(), source.text.to_string());
    Failure::usage(miette!(labels = labels, code = "import::unreadable", "{}", mistake.message).with_source_code(text))
}
