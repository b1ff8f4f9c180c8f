//! `imports`: the stages of other files.

use std::{
    path::{Component, Path as FilePath, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;

use super::{
    PIPELINE_FILE,
    flatten::{Flattening, Unit},
    grammar::Written,
    params::{OPEN, Substitution},
    place::Places,
};
use crate::source::{Entry, Label, Mistake, Node, Path, SourceFile, Span, Text, TextOrigin, did_you_mean, list};

/// More imports than this, near and far, are a mistake: a few files that import each other twice stand for thousands.
const MOST: usize = 1_000;

impl Flattening<'_> {
    /// Brings the stages and sources of the import `name` in.
    pub(super) fn import(&mut self, unit: &Unit, substitution: &mut Substitution<'_>, name: &str, entry: &Entry) {
        let path = Path::of(&["imports", name]);
        let prefix = format!("{}{name}/", unit.prefix);
        self.flat.missing.push(prefix.clone());
        self.check_name(unit, &path, "import");
        let is_broken =
            unit.written.broken.iter().any(|broken| {
                broken.0.starts_with(&path.0) && broken.0.get(2).is_none_or(|step| *step == "from".into())
            });
        let Some((from, at)) = entry.value.get("from").and_then(|from| Some((from.as_str()?, from.target().span)))
        else {
            return;
        };
        if is_broken {
            return;
        }
        if from.contains(OPEN) {
            let mistake = Mistake::new("pipeline::bad_reference", "`${…}` cannot stand in the name of a file")
                .at(at, "not replaced here")
                .help(format!("write the path itself; it can be overridden with `-S {path}.from=PATH`"));
            self.mistakes.push(mistake);
            return;
        }
        let Some((file, root)) = self.read(unit, from, at) else { return };
        let places = Places { root: &root, texts: self.texts };
        let Some(written) = Written::read(&places, self.mistakes) else { return };
        let params = self.params_of(unit, substitution, &root, entry);
        let wires = self.wires_of(unit, &root, entry);
        self.flat.missing.retain(|missing| *missing != prefix);
        let folder = file.parent().unwrap_or(FilePath::new("")).to_owned();
        let by = Some(Label::new(entry.key, format!("imported here as `{}`", prefix.trim_end_matches('/'))));
        let chain = unit.chain.iter().cloned().chain([file]).collect();
        let as_written = root.clone();
        self.unit(&mut Unit { written, root, as_written, prefix, by, folder, params, wires, chain });
    }

    /// Reads an imported file; returns its real path and its tree.
    fn read(&mut self, unit: &Unit, from: &str, at: Span) -> Option<(PathBuf, Arc<Node>)> {
        let mut file = unit.folder.join(from);
        if file.is_dir() {
            file.push(PIPELINE_FILE);
        }
        let refused = |problem: String, label: &str, help: &str| {
            Mistake::new("pipeline::bad_import", problem).at(at, label).help(help)
        };
        let (written, given) = (file, self.imports.next());
        let file = match fs_err::canonicalize(&written) {
            Ok(file) => file,
            Err(_) if given.is_some() => plain(&written),
            Err(error) => {
                let problem = match error.kind() {
                    std::io::ErrorKind::NotFound => format!("there is no file `{from}` to import"),
                    kind => format!("`{from}` cannot be imported: {kind}"),
                };
                let help = "paths start at the folder of the file they are written in";
                self.mistakes.push(refused(problem, "not found", help));
                return None;
            }
        };
        if unit.chain.contains(&file) {
            let message = if unit.chain.len() == 1 {
                "the file imports itself".to_owned()
            } else {
                format!("files import each other: `{from}` is being read already")
            };
            let mut mistake = Mistake::new("pipeline::import_cycle", message).at(at, "this import comes back");
            mistake.labels.extend(unit.by.clone());
            self.mistakes.push(mistake.help("take what both need into a third file, and import that"));
            return None;
        }
        if self.flat.files.len() > MOST {
            let problem = format!("more than {MOST} files are imported");
            self.mistakes.push(refused(
                problem,
                "this one is too many",
                "do these files import each other over and over?",
            ));
            return None;
        }
        let number = self.texts.len();
        let shown = self.shown(unit, from);
        let (source, mistakes) = match given {
            Some(text) => SourceFile::parse_from(&file, &text, number, 0),
            None => SourceFile::read_as(&file, number),
        };
        self.flat.files.push(written);
        self.texts.push(Text {
            name: shown.as_str().into(),
            text: source.text.clone(),
            origin: TextOrigin::Import(file.clone()),
        });
        let is_readable = mistakes.iter().all(|mistake| !mistake.labels.is_empty());
        if is_readable {
            let is_empty = mistakes.is_empty();
            self.mistakes.extend(mistakes.into_iter().map(|mistake| mistake.at(at, "imported here")));
            let root = source.root().filter(|root| !root.is_null()).cloned();
            if root.is_none() && is_empty {
                self.mistakes.push(refused(format!("`{from}` is empty"), "nothing to import", "name another file"));
            }
            return root.map(|root| (file, root));
        }
        for mistake in mistakes {
            let problem = format!("`{from}` cannot be imported: {}", mistake.message);
            self.mistakes.push(refused(problem, "this file", mistake.help.as_deref().unwrap_or("name another file")));
        }
        None
    }

    /// The path of an imported file as people know it: beside the file that imports it.
    fn shown(&self, unit: &Unit, from: &str) -> String {
        let importer = match &unit.by {
            None => self.texts.first(),
            Some(_) => unit.chain.last().and_then(|file| {
                self.texts.iter().rev().find(|text| matches!(&text.origin, TextOrigin::Import(own) if own == file))
            }),
        };
        let beside = importer.and_then(|text| FilePath::new(text.name.as_ref()).parent()).unwrap_or(FilePath::new(""));
        plain(&beside.join(from)).display().to_string()
    }

    /// The parameters of an imported file, with what the importer gives in place of its own.
    fn params_of(
        &mut self,
        unit: &Unit,
        substitution: &mut Substitution<'_>,
        root: &Node,
        entry: &Entry,
    ) -> IndexMap<String, Entry> {
        let mut params = root.get("params").and_then(|node| node.entries()).cloned().unwrap_or_default();
        substitution.copy = None;
        for (name, given) in entry.value.get("params").and_then(|node| node.entries()).into_iter().flatten() {
            if !params.contains_key(name) {
                let known = || params.keys().map(String::as_str);
                let help = did_you_mean(name, known()).unwrap_or_else(|| match params.len() {
                    0 => "it has no `params`".to_owned(),
                    _ => format!("its parameters are {}", list(known())),
                });
                self.mistakes.push(
                    Mistake::new("pipeline::unknown_parameter", format!("the imported file has no parameter `{name}`"))
                        .at(given.key, "unknown parameter")
                        .help(help),
                );
                continue;
            }
            let path = Path::of(&["imports", &unit.prefix, "params", name]);
            let unresolved = substitution.unresolved.len();
            let value = substitution.node(&given.value, &path);
            if substitution.unresolved.len() > unresolved {
                continue;
            }
            params.insert(name.clone(), Entry { key: given.key, value, merged: None });
        }
        params
    }

    /// What the importer wires in place of the sources of an imported file.
    fn wires_of(&mut self, unit: &Unit, root: &Node, entry: &Entry) -> IndexMap<String, Arc<Node>> {
        let sources = root.get("sources").and_then(|node| node.entries());
        let mut wires = IndexMap::new();
        for (name, given) in entry.value.get("sources").and_then(|node| node.entries()).into_iter().flatten() {
            let known = || sources.into_iter().flatten().map(|(name, _)| name.as_str());
            if known().any(|source| source == name) {
                wires.insert(name.clone(), unit.rewired(&given.value));
                continue;
            }
            let help = did_you_mean(name, known()).unwrap_or_else(|| match known().next() {
                None => "it has no `sources`".to_owned(),
                Some(_) => format!("its sources are {}", list(known())),
            });
            self.mistakes.push(
                Mistake::new("pipeline::unknown_source", format!("the imported file has no source `{name}`"))
                    .at(given.key, "unknown source")
                    .help(help),
            );
        }
        wires
    }
}

/// A path without `.` and, where the words allow it, without `..`.
fn plain(path: &FilePath) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(found.components().next_back(), Some(Component::Normal(_))) => {
                found.pop();
            }
            other => found.push(other),
        }
    }
    found
}
