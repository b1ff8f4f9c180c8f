use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    fmt,
    path::Path,
};

use refit_cache::{Content, Store, Tree};
use serde::Serialize;

use super::{
    FileChange, RowChange, Sketch, StageView, View, Wire,
    sketch::{LARGEST, files_between, rows_between},
};
use crate::plan::{Reason, parameter_changes};

/// Something that changed by itself, and is why a stage must run or ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cause {
    /// The stage where it shows first.
    pub stage: String,
    /// How many stages lie between it and the one that is explained; 0: that one itself.
    pub distance: usize,
    /// The stages from there to the one that is explained, both included.
    pub way: Vec<String>,
    /// What changed.
    #[serde(flatten)]
    pub reason: Reason,
    /// What changed in it, as far as the old content is still known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// What changed in a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// In a file of rows.
    Rows(RowChange),
    /// In a folder.
    Files(FileChange),
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(change) => change.fmt(f),
            Self::Files(change) => change.fmt(f),
        }
    }
}

impl fmt::Display for Cause {
    /// `source faq: 3 rows added, 1 changed (row 17), 2 stages up (clean → split)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A source is named by itself, not by the first stage that reads it.
        if self.distance > 0 && !matches!(self.reason, Reason::Source { .. }) {
            write!(f, "{}: ", self.stage)?;
        }
        match (&self.reason, &self.detail) {
            (Reason::Source { name, .. }, Some(detail)) => write!(f, "source {name}: {detail}")?,
            (reason, Some(detail)) => write!(f, "{reason}: {detail}")?,
            (reason, None) => write!(f, "{reason}")?,
        }
        match self.distance {
            0 => Ok(()),
            1 => write!(f, ", 1 stage up ({})", self.way.join(" → ")),
            stages => write!(f, ", {stages} stages up ({})", self.way.join(" → ")),
        }
    }
}

/// Why a stage is another one in `new` than it was in `old`: the causes that nothing else caused, the nearest first.
///
/// Where the stage's inputs changed, the stages that make them are asked, and so on up to the sources. `place` says where a
/// source lies now, so that what changed in it can be read.
pub fn causes<'v, 'p>(
    stage: &'v str,
    old: &'v View,
    new: &'v View,
    store: &Store,
    place: impl Fn(&str) -> Option<&'p Path>,
) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    let mut seen_sources = BTreeSet::new();
    // Every stage that was reached, and the one that asked for it.
    let mut asked_by: BTreeMap<&str, Option<&str>> = BTreeMap::from([(stage, None)]);
    let mut waiting = VecDeque::from([(stage, 0)]);
    while let Some((name, distance)) = waiting.pop_front() {
        let mut found = |reason: Reason, detail| {
            let way = std::iter::successors(Some(name), |stage| asked_by.get(stage).copied().flatten());
            let way = way.map(ToOwned::to_owned).collect();
            causes.push(Cause { stage: name.to_owned(), distance, way, reason, detail });
        };
        let mut reached = Vec::new();
        let (Some(before), Some(now)) = (old.stages.get(name), new.stages.get(name)) else {
            found(if new.stages.contains_key(name) { Reason::NeverRan } else { Reason::Removed }, None);
            continue;
        };
        let own = changes_of_its_own(before, now);
        let mut explained = !own.is_empty();
        for reason in own {
            found(reason, None);
        }
        for (port, wire) in &now.inputs {
            let Some(was) = before.inputs.get(port).filter(|was| was.from == wire.from) else { continue };
            if let Some(source) = &wire.source {
                let Some(reason) = changed_source(source, old, new) else { continue };
                explained = true;
                if seen_sources.insert(source.clone()) {
                    let detail = source_detail(&reason, store, place(source));
                    found(reason, detail);
                }
                continue;
            }
            for (upstream, port) in outputs_of(wire, was) {
                let known = |view: &View| view.output(upstream, port).map(|tree| tree.digest);
                if known(new).is_some() && known(old) == known(new) {
                    continue;
                }
                explained = true;
                reached.push(upstream.as_str());
            }
        }
        // It has other outputs though nothing that goes into it is other.
        if !explained && distance > 0 && differs(before, now) {
            found(Reason::NotReproduced, None);
        }
        for upstream in reached {
            if let Entry::Vacant(place) = asked_by.entry(upstream) {
                place.insert(Some(name));
                waiting.push_back((upstream, distance + 1));
            }
        }
    }
    causes.sort_by_key(|cause| cause.distance);
    causes
}

/// The wires of a port; the record of a run names only one stage where several are wired together.
fn outputs_of<'w>(now: &'w Wire, was: &'w Wire) -> &'w [(String, String)] {
    if now.outputs.is_empty() { &was.outputs } else { &now.outputs }
}

fn differs(before: &StageView, now: &StageView) -> bool {
    let digests = |view: &StageView| -> Option<Vec<_>> {
        Some(view.outputs.as_ref()?.values().map(|tree| tree.digest).collect())
    };
    digests(now).is_some() && digests(before) != digests(now)
}

/// What is another in the stage itself: kind, version, parameters, wiring, and what became of its result.
fn changes_of_its_own(before: &StageView, now: &StageView) -> Vec<Reason> {
    if before.kind != now.kind {
        return vec![Reason::KindChanged { old: before.kind.clone(), new: now.kind.clone() }];
    }
    let mut reasons = now.own.clone();
    if let (Some(old), Some(new)) = (before.version, now.version)
        && old != new
    {
        reasons.push(Reason::KindVersion { old, new });
    }
    reasons.extend(parameter_changes(&before.with, &now.with));
    let ports: BTreeSet<&String> = before.inputs.keys().chain(now.inputs.keys()).collect();
    for port in ports {
        let from = |view: &StageView| view.inputs.get(port).map(|wire| wire.from.clone());
        let (old, new) = (from(before), from(now));
        if old != new {
            reasons.push(Reason::Rewired { port: port.clone(), old, new });
        }
    }
    reasons
}

fn changed_source(name: &str, old: &View, new: &View) -> Option<Reason> {
    let digest = |view: &View| view.sources.get(name).and_then(|(_, digest)| *digest);
    let (old, new) = (digest(old), digest(new));
    (new.is_some() && old != new).then(|| Reason::Source { name: name.to_owned(), old, new })
}

/// What changed in a source, as far as a sketch of the old content is there, and of the new one, or the new one itself.
fn source_detail(reason: &Reason, store: &Store, place: Option<&Path>) -> Option<Detail> {
    let Reason::Source { old: Some(old), new: Some(new), .. } = reason else { return None };
    let before = Sketch::read(store, *old)?;
    let now = Sketch::read(store, *new).or_else(|| {
        let place = place?;
        Sketch::of(place, &store.measure(place, None).ok()?)
    })?;
    let rows = || rows_between(&before, &now).map(Detail::Rows);
    rows().or_else(|| files_between(&before, &now).map(Detail::Files))
}

impl Detail {
    /// What changed between two artifacts of the store: the rows of records, the files of anything else.
    pub fn between(store: &Store, old: &Tree, new: &Tree) -> Option<Self> {
        let records = |tree: &Tree| {
            let entry = tree.entry("records.jsonl").filter(|entry| entry.bytes <= LARGEST)?;
            Some(Sketch::of_rows(&fs_err::read(store.object_path(&entry.digest)).ok()?, false))
        };
        let files = |tree: &Tree| match &tree.content {
            Content::Folder(entries) => {
                Some(Sketch::Files(entries.iter().map(|entry| (entry.path.clone(), entry.digest)).collect()))
            }
            Content::File(_) | Content::Executable(_) => None,
        };
        if let (Some(old), Some(new)) = (records(old), records(new)) {
            return rows_between(&old, &new).map(Self::Rows);
        }
        files_between(&files(old)?, &files(new)?).map(Self::Files)
    }
}
