//! `defaults`: what stages get unless they say otherwise.

use std::{collections::HashSet, sync::Arc};

use indexmap::IndexMap;
use serde_json::Value;

use super::{
    flatten::{Flattening, Unit, key_of},
    params::edited,
};
use crate::{
    source::{Entry, Label, Mistake, Node, Path, Shape, did_you_mean, list},
    spec::StageSpec,
};

/// The key under `defaults` that holds no parameters of a kind but settings of every stage.
const STAGES: &str = "stages";

/// The defaults of one file.
#[derive(Default)]
pub(super) struct Defaults {
    /// Parameters by stage kind.
    kinds: IndexMap<String, IndexMap<String, Entry>>,
    /// Settings of every stage.
    settings: IndexMap<String, Entry>,
}

impl Flattening<'_> {
    /// Reads a file's `defaults`; what does not fit the grammar is left out.
    pub(super) fn defaults_of(&mut self, unit: &Unit) -> Defaults {
        let mut defaults = Defaults::default();
        let is_broken = |key: &str| {
            let path = Path::of(&["defaults", key]);
            unit.written.broken.iter().any(|broken| broken.0.starts_with(&path.0))
        };
        let used: HashSet<&str> = unit.written.spec.stages.values().map(|stage| stage.uses.as_str()).collect();
        for (key, entry) in unit.root.get("defaults").and_then(|node| node.entries()).into_iter().flatten() {
            let Some(entries) = entry.value.entries().filter(|_| !is_broken(key)) else { continue };
            if key == STAGES {
                defaults.settings.clone_from(entries);
                continue;
            }
            if self.registry.get(key).is_none() {
                let known = || self.registry.kinds().iter().map(|kind| kind.name);
                let help = did_you_mean(key, known()).unwrap_or_else(|| {
                    format!("the stage kinds are {}; `{STAGES}` is for settings of all", list(known()))
                });
                let mistake = Mistake::new("pipeline::unknown_kind", format!("there is no stage kind `{key}`"))
                    .at(entry.key, "unknown stage kind")
                    .help(help);
                self.mistakes.push(mistake);
                continue;
            }
            if !used.contains(key.as_str()) {
                let message = format!("no stage is of the kind `{key}`, so these defaults change nothing");
                self.flat.warnings.push(
                    Mistake::new("pipeline::unused_default", message)
                        .at(entry.key, "unused")
                        .help("remove them; the defaults of a file hold for its own stages, not for imported ones"),
                );
            }
            defaults.kinds.insert(key.clone(), entries.clone());
        }
        defaults
    }
}

impl Defaults {
    /// The stage with what it does not say itself.
    pub(super) fn applied(
        &self,
        name: &str,
        stage: &Entry,
        mut spec: Option<Box<StageSpec>>,
        mistakes: &mut Vec<Mistake>,
    ) -> (Entry, Option<Box<StageSpec>>) {
        let mut stage = stage.clone();
        let kind = stage.value.get("uses").and_then(|uses| uses.as_str());
        let parameters = kind.and_then(|kind| self.kinds.get(kind));
        let at = key_of(&stage.value, "uses").unwrap_or(stage.key);
        let label = |text: String| Some(Arc::new(Label::new(at, text)));
        if let Some(parameters) = parameters {
            let merged = label(format!("`{name}` gets this default"));
            let add = |entries: &mut IndexMap<String, Entry>| {
                for (key, entry) in parameters {
                    let added = || Entry { merged: merged.clone(), ..entry.clone() };
                    entries.entry(key.clone()).or_insert_with(added);
                }
            };
            let written = stage.value.get("with").cloned();
            let nothing = || Node::new(stage.key, Shape::Scalar(Value::Null));
            let with = edited(&written.unwrap_or_else(|| nothing().into()), &mut { add });
            let key = key_of(&stage.value, "with").unwrap_or(stage.key);
            stage.value = edited(&stage.value, &mut |entries| {
                let old = entries.get("with").and_then(|entry| entry.merged.clone());
                entries.insert("with".to_owned(), Entry { key, value: with.clone(), merged: old });
            });
        }
        let mut settings = self.settings.iter().filter(|(key, _)| stage.value.get(key).is_none()).peekable();
        if settings.peek().is_some() {
            let settings: Vec<_> = settings.collect();
            let value = edited(&stage.value, &mut |entries| {
                for (key, entry) in &settings {
                    let merged = label(format!("`{name}` gets this default"));
                    entries.insert((*key).clone(), Entry { merged, ..(*entry).clone() });
                }
            });
            stage.value = value;
            if let Some(known) = &spec {
                let mut all = serde_json::to_value(known).unwrap_or_default();
                for (key, entry) in settings {
                    all[key] = entry.value.to_value();
                }
                match serde_json::from_value(all) {
                    Ok(read) => spec = Some(read),
                    Err(problem) => mistakes.push(
                        Mistake::new(
                            "pipeline::bad_value",
                            format!("the settings of all stages cannot be used: {problem}"),
                        )
                        .at(at, "in this stage"),
                    ),
                }
            }
        }
        (stage, spec)
    }
}
