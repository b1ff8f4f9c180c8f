//! From the stages of a dvc.yaml to a pipeline of `exec` stages.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    dvc_file::{DvcFile, DvcStage, PARAMS_FILE, Spoken},
    names::Names,
    remark::Remark,
    template::find,
};

/// A pipeline in the making.
pub(super) struct Carried<'f> {
    file: &'f DvcFile,
    /// The folder of the dvc.yaml, seen from where the pipeline will lie.
    base: PathBuf,
    /// The folder of the dvc.yaml.
    folder: &'f Path,
    names: Names,
    parameters: Names,
    params: Map<String, Value>,
    sources: Map<String, Value>,
    /// Output path → stage and port that make it.
    makers: BTreeMap<String, (String, String)>,
    pub(super) remarks: Vec<Remark>,
}

/// What ends the parameters that a command finds in its file.
const END: &str = "REFIT_PARAMS";

impl<'f> Carried<'f> {
    pub(super) fn new(file: &'f DvcFile, folder: &'f Path, base: PathBuf) -> Self {
        Self {
            file,
            base,
            folder,
            names: Names::default(),
            parameters: Names::default(),
            params: Map::new(),
            sources: Map::new(),
            makers: BTreeMap::new(),
            remarks: file.remarks.clone(),
        }
    }

    /// The pipeline.
    pub(super) fn pipeline(&mut self, name: &str) -> Value {
        // Stages and sources share one set of names, and stages choose first.
        let stages: Vec<(&DvcStage, String)> =
            self.file.stages.iter().map(|stage| (stage, self.names.fresh(&stage.name))).collect();
        let mut ports: Vec<Vec<(String, String)>> = Vec::new();
        for (stage, name) in &stages {
            let mut own = Names::default();
            let outs = stage.outs.iter().filter_map(|out| {
                let path = self.inside(stage, out)?;
                let is_metrics = stage.metrics.as_ref() == Some(out);
                let port = own.like(&path, if is_metrics { "metrics" } else { &path });
                Some((path, port))
            });
            let outs: Vec<(String, String)> = outs.collect();
            for (path, port) in &outs {
                self.makers.insert(path.clone(), (name.clone(), port.clone()));
            }
            ports.push(outs);
        }
        let mut made = Map::new();
        let mut outputs = Map::new();
        for ((stage, name), outs) in stages.iter().zip(&ports) {
            made.insert(name.clone(), self.stage(stage, outs));
            for (path, port) in outs {
                // A pipeline writes into its own folder only.
                outputs.insert(path.clone(), format!("{name}.{port}").into());
            }
        }
        let mut pipeline = Map::new();
        pipeline.insert("name".into(), name.into());
        for (key, map) in [("params", std::mem::take(&mut self.params)), ("sources", std::mem::take(&mut self.sources))]
        {
            if !map.is_empty() {
                pipeline.insert(key.into(), map.into());
            }
        }
        pipeline.insert("stages".into(), made.into());
        if !outputs.is_empty() {
            pipeline.insert("outputs".into(), outputs.into());
        }
        pipeline.into()
    }

    fn stage(&mut self, stage: &DvcStage, outs: &[(String, String)]) -> Value {
        let mut ports = Names::default();
        for (path, port) in outs {
            ports.like(path, port);
        }
        let (mut inputs, mut place) = (Map::new(), Map::new());
        let mut script = Vec::new();
        let mut paths: BTreeSet<String> = stage.deps.iter().filter_map(|dep| self.inside(stage, dep)).collect();
        paths.extend(self.own_files(stage, &paths, outs));
        for (file, keys) in &stage.params {
            let Some(path) = self.inside(stage, file) else { continue };
            match keys.as_ref().map(|keys| self.parameters(stage, file, keys)) {
                _ if paths.contains(&path) => {}
                Some(Some(text)) => {
                    // It is no output, and a file that nobody declared would be warned of.
                    script.push(format!("trap \"rm -f '$PWD/{path}'\" EXIT"));
                    script.push(text);
                }
                Some(None) => {
                    self.remark(
                        stage,
                        file,
                        "any change of the file runs the stage again, not only one of the keys named",
                    );
                    paths.insert(path);
                }
                None => {
                    paths.insert(path);
                }
            }
        }
        for (path, reference) in self.feeds(stage, &paths) {
            let port = ports.fresh(&path);
            inputs.insert(port.clone(), reference.into());
            place.insert(port, path.into());
        }
        script.extend(self.commands(stage));
        let mut with = Map::new();
        with.insert("run".into(), script.join("\n").into());
        with.insert(
            "outputs".into(),
            outs.iter().map(|(path, port)| (port.clone(), json!(path))).collect::<Map<_, _>>().into(),
        );
        if !place.is_empty() {
            with.insert("place".into(), place.into());
        }
        let mut made = Map::new();
        made.insert("uses".into(), "exec".into());
        if !inputs.is_empty() {
            made.insert("inputs".into(), inputs.into());
        }
        made.insert("with".into(), with.into());
        made.into()
    }

    /// Where each path comes from: an output of a stage, the outputs in a folder, or a file of the project.
    fn feeds(&mut self, stage: &DvcStage, paths: &BTreeSet<String>) -> Vec<(String, String)> {
        let mut feeds: Vec<(String, String)> = Vec::new();
        for path in paths {
            let maker = |path: &str| self.makers.get(path).map(|(stage, port)| format!("{stage}.{port}"));
            if let Some(reference) = maker(path) {
                feeds.push((path.clone(), reference));
                continue;
            }
            if let Some((above, reference)) = above(path).find_map(|above| Some((above, maker(above)?))) {
                feeds.push((above.to_owned(), reference));
                continue;
            }
            let below: Vec<(String, String)> = self
                .makers
                .iter()
                .filter(|(out, _)| out.starts_with(&format!("{path}/")))
                .map(|(out, (stage, port))| (out.clone(), format!("{stage}.{port}")))
                .collect();
            if !below.is_empty() {
                self.remark(stage, path, "of this folder only what other stages make in it is an input");
                feeds.extend(below);
                continue;
            }
            if !self.folder.join(path).exists() {
                self.remark(stage, path, "it is not here: get it first, for example with `dvc pull`");
            }
            let name = self.names.of(path);
            self.sources.insert(name.clone(), self.base.join(path).display().to_string().into());
            feeds.push((path.clone(), name));
        }
        feeds.sort();
        feeds.dedup();
        // What lies in a folder that is an input is there already.
        let folders: Vec<String> = feeds.iter().map(|(path, _)| path.clone()).collect();
        feeds.retain(|(path, _)| !above(path).any(|above| folders.iter().any(|folder| folder == above)));
        feeds
    }

    /// Files of the project that a command names without declaring them: it would not find them in a folder of its own.
    fn own_files(&mut self, stage: &DvcStage, deps: &BTreeSet<String>, outs: &[(String, String)]) -> Vec<String> {
        let mut found = Vec::new();
        for text in stage.commands.iter().flatten().filter_map(|piece| match piece {
            Spoken::Text(text) => Some(text),
            Spoken::Parameter(..) => None,
        }) {
            for word in text.split(|c: char| c.is_whitespace() || "\"'=;|&<>()".contains(c)) {
                let Some(path) = normal(&Path::new(&stage.wdir).join(word)).filter(|path| !path.is_empty()) else {
                    continue;
                };
                let known = deps.contains(&path)
                    || found.contains(&path)
                    || self.makers.contains_key(&path)
                    || outs.iter().any(|(out, _)| *out == path)
                    || above(&path).any(|above| deps.contains(above) || self.makers.contains_key(above));
                if !word.is_empty() && !known && self.folder.join(&path).is_file() {
                    self.remark(
                        stage,
                        &path,
                        "the command names it and `deps` does not: it is an input now, so a change of it counts",
                    );
                    found.push(path);
                }
            }
        }
        found
    }

    /// The part of the script that writes the parameters a stage declares; none for a file that is not known.
    fn parameters(&mut self, stage: &DvcStage, file: &str, keys: &[String]) -> Option<String> {
        let path = self.inside(stage, file)?;
        if file != PARAMS_FILE && path != PARAMS_FILE {
            return None;
        }
        let mut lines = Vec::new();
        let mut root = Map::new();
        for key in keys {
            let steps: Vec<String> = key.split('.').map(str::to_owned).collect();
            let Some(value) = find(&self.file.globals, &steps) else {
                self.remark(stage, key, "params.yaml has no such key");
                continue;
            };
            let shown = self.live(&steps, &value.clone());
            let mut at = &mut root;
            for step in &steps[..steps.len() - 1] {
                let inner = at.entry(step.clone()).or_insert_with(|| json!({}));
                let Value::Object(inner) = inner else { return None };
                at = inner;
            }
            at.insert(steps[steps.len() - 1].clone(), shown.into());
        }
        write_yaml(&root, 0, &mut lines);
        let folder = Path::new(&path).parent().filter(|folder| !folder.as_os_str().is_empty());
        let make = folder.map(|folder| format!("mkdir -p '{}'\n", folder.display())).unwrap_or_default();
        Some(format!("{make}cat > '{path}' <<'{END}'\n{}\n{END}", lines.join("\n")))
    }

    /// A value for a YAML file: a reference to a parameter of the pipeline where it is a plain one.
    fn live(&mut self, path: &[String], value: &Value) -> String {
        match value {
            Value::Bool(_) | Value::Number(_) => self.reference(path, value),
            Value::String(text) if !text.contains(['"', '\\', '$']) && !text.contains(char::is_control) => {
                format!("\"{}\"", self.reference(path, value))
            }
            // JSON is YAML.
            other => escaped(&other.to_string()),
        }
    }

    fn reference(&mut self, path: &[String], value: &Value) -> String {
        let name = self.parameters.of(&path.join("."));
        self.params.insert(name.clone(), value.clone());
        format!("${{params.{name}}}")
    }

    /// The commands of a stage in its working folder.
    fn commands(&mut self, stage: &DvcStage) -> Vec<String> {
        let mut lines = Vec::new();
        let mut texts = Vec::new();
        for command in &stage.commands {
            let mut text = String::new();
            for piece in command {
                match piece {
                    Spoken::Text(plain) => text.push_str(&escaped(plain)),
                    Spoken::Parameter(path, value) => text.push_str(&self.reference(path, value)),
                }
            }
            texts.push(text);
        }
        if let Some(wdir) = normal(Path::new(&stage.wdir)).filter(|wdir| !wdir.is_empty()) {
            lines.push(format!("mkdir -p '{wdir}'\ncd '{wdir}'"));
        }
        // DVC's shell goes on after a command that fails within a line, and over variables that are not set.
        if texts.iter().any(|text| text.contains([';', '\n'])) {
            lines.push("set +e".into());
        }
        if texts.iter().any(|text| text.contains('$')) {
            lines.push("set +u".into());
        }
        lines.extend(texts);
        lines
    }

    /// A path of a stage from the folder of the dvc.yaml; nothing, with a remark, of one that lies elsewhere.
    fn inside(&mut self, stage: &DvcStage, path: &str) -> Option<String> {
        let remote = path.contains("://");
        let found =
            (!remote).then(|| normal(&Path::new(&stage.wdir).join(path))).flatten().filter(|path| !path.is_empty());
        if found.is_none() {
            let why = if remote {
                "it lies outside this machine: add a source with its address"
            } else {
                "it lies outside the folder of dvc.yaml: add a source with its path"
            };
            self.remark(stage, path, why);
        }
        found
    }

    fn remark(&mut self, stage: &DvcStage, what: &str, why: &str) {
        let remark = Remark { line: stage.line, what: format!("{what} of {}", stage.name), why: why.to_owned() };
        if !self
            .remarks
            .iter()
            .any(|there| there.line == remark.line && there.what == remark.what && there.why == remark.why)
        {
            self.remarks.push(remark);
        }
    }
}

/// The folders above a path, the nearest first.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').map(|(at, _)| &path[..at])
}

/// A relative path without `.` and `..`; none of one that leaves its folder.
fn normal(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// A text in which refit sees no reference.
fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

/// Nested maps of finished values as the lines of a YAML file.
fn write_yaml(map: &Map<String, Value>, depth: usize, lines: &mut Vec<String>) {
    for (key, value) in map {
        let key = format!("{}{}:", "  ".repeat(depth), json!(key));
        match value {
            Value::Object(inner) => {
                lines.push(key);
                write_yaml(inner, depth + 1, lines);
            }
            Value::String(text) => lines.push(format!("{key} {text}")),
            other => lines.push(format!("{key} {other}")),
        }
    }
}
