use std::{
    collections::{BTreeMap, BTreeSet},
    fs::Metadata,
    path::Path,
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp};
use walkdir::WalkDir;

use crate::{
    Digest, Manifest, RunId, StepKey, Store, StoreError, StoreLock, Tree,
    durable::{folder_of, sync_folder},
    error::At,
    runs::Used,
    store::{list_sharded, names},
    usage::below,
};

/// What `gc` keeps: the results of the newest runs always, others for a time and while there is room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPolicy {
    /// The newest runs, whose results all stay.
    pub keep_runs: usize,
    /// Of the other runs and results, those used longer ago than this go. `None`: all of them go.
    pub older_than: Option<Duration>,
    /// If the objects still take more bytes, the least recently used of the other results go until they do not.
    pub max_size: Option<u64>,
    /// Only says what would go.
    pub dry_run: bool,
}

impl Default for GcPolicy {
    /// Keeps the results of the last 20 runs, and whatever was used in the last 30 days.
    fn default() -> Self {
        Self { keep_runs: 20, older_than: Some(Duration::from_hours(30 * 24)), max_size: None, dry_run: false }
    }
}

/// What `gc` dropped, or would drop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Runs whose records went.
    pub runs: Vec<RunId>,
    /// Results that went.
    pub results: Vec<StepKey>,
    /// Objects that no result needs any more.
    pub objects: u64,
    /// Folders of killed steps and quarantined files that lay untouched for a week.
    pub leftovers: u64,
    /// Bytes that all of these took.
    pub freed_bytes: u64,
    /// Results that stay.
    pub kept_results: u64,
    /// Bytes of the objects that stay.
    pub kept_bytes: u64,
    /// What a person should know, such as a run whose report cannot be read.
    pub notices: Vec<String>,
}

/// The folder of a killed step may hold hours of training; damaged files are evidence. Neither goes before this.
const GRACE: Duration = Duration::from_hours(7 * 24);

/// What is decided before anything is removed.
struct Sweep {
    runs: Vec<RunId>,
    results: Vec<StepKey>,
    kept: Vec<Manifest>,
}

impl Store {
    /// Drops what no kept run needs and nobody used lately: runs, results, objects, leftovers.
    pub fn gc(&self, lock: &StoreLock, policy: &GcPolicy) -> Result<GcReport, StoreError> {
        let mut report = GcReport::default();
        let sweep = self.plan_sweep(policy, &mut report.notices)?;
        let kept_objects: BTreeMap<Digest, u64> = sweep.kept.iter().flat_map(objects_of).collect();
        report.kept_results = sweep.kept.len() as u64;
        report.kept_bytes = kept_objects.values().sum();
        if let Some(limit) = policy.max_size.filter(|limit| report.kept_bytes > *limit) {
            report.notices.push(format!(
                "the results of the runs that are kept take {} bytes, more than the {limit} asked for; keep fewer runs",
                report.kept_bytes
            ));
        }
        let mut remover = Remover { dry_run: policy.dry_run, bytes: 0 };
        // Results before objects: a kill in between leaves objects that nobody needs, never a result without them.
        for key in &sweep.results {
            remover.file(&self.manifest_path(key))?;
        }
        if !policy.dry_run {
            lock.index.forget(&sweep.results);
            for (_, shard) in names(&self.folder("manifests"))? {
                sync_folder(&shard)?;
            }
        }
        for (name, path) in list_sharded(&self.folder("objects"), "")? {
            if name.parse().is_ok_and(|object| !kept_objects.contains_key(&object)) {
                remover.file(&path)?;
                report.objects += 1;
            }
        }
        for run in &sweep.runs {
            remover.folder(&self.run_folder(run))?;
        }
        for folder in [self.tmp(), self.folder("quarantine")] {
            for (_, path) in names(&folder)? {
                if is_forgotten(&path) {
                    remover.folder(&path)?;
                    report.leftovers += 1;
                }
            }
        }
        report.freed_bytes = remover.bytes;
        report.runs = sweep.runs;
        report.results = sweep.results;
        Ok(report)
    }

    fn plan_sweep(&self, policy: &GcPolicy, notices: &mut Vec<String>) -> Result<Sweep, StoreError> {
        let limit = policy
            .older_than
            .and_then(|age| SignedDuration::try_from(age).ok().and_then(|age| Timestamp::now().checked_sub(age).ok()));
        // Without an age everything else goes; with one that reaches beyond the calendar nothing does.
        let is_old = |used: Timestamp| policy.older_than.is_none() || limit.is_some_and(|limit| used < limit);
        let runs = self.runs()?;
        let (newest, others) = runs.split_at(policy.keep_runs.min(runs.len()));
        let mut needed = BTreeSet::new();
        let mut last_use: BTreeMap<StepKey, Timestamp> = BTreeMap::new();
        for (place, run) in runs.iter().enumerate() {
            match self.used_by(run)? {
                Used::Keys(keys) => {
                    for key in keys {
                        last_use.entry(key).or_insert(run.began());
                        if place < newest.len() {
                            needed.insert(key);
                        }
                    }
                }
                Used::Unknown => {}
                Used::Unreadable(notice) => notices.push(notice),
            }
        }
        // A run that was killed has no report; what it made names it.
        let newest: BTreeSet<&RunId> = newest.iter().collect();
        let (mut kept, others_made): (Vec<_>, Vec<_>) = self
            .manifests()?
            .into_iter()
            .partition(|manifest| needed.contains(&manifest.key) || newest.contains(&manifest.run));
        let mut others_made: Vec<_> = others_made
            .into_iter()
            .map(|manifest| {
                (last_use.get(&manifest.key).copied().unwrap_or(manifest.created).max(manifest.created), manifest)
            })
            .collect();
        others_made.sort_by(|(a, _), (b, _)| b.cmp(a));
        let mut sizes: BTreeMap<Digest, u64> = kept.iter().flat_map(objects_of).collect();
        let mut total: u64 = sizes.values().sum();
        let mut results = Vec::new();
        let mut full = false;
        for (used, manifest) in others_made {
            let new: BTreeMap<Digest, u64> =
                objects_of(&manifest).filter(|(object, _)| !sizes.contains_key(object)).collect();
            let grown = total + new.values().sum::<u64>();
            full |= policy.max_size.is_some_and(|limit| grown > limit);
            if full || is_old(used) {
                results.push(manifest.key);
            } else {
                total = grown;
                sizes.extend(new);
                kept.push(manifest);
            }
        }
        let runs = others.iter().filter(|run| is_old(run.began())).cloned().collect();
        Ok(Sweep { runs, results, kept })
    }
}

fn objects_of(manifest: &Manifest) -> impl Iterator<Item = (Digest, u64)> + '_ {
    manifest.outputs.values().flat_map(Tree::objects)
}

/// Whether nothing in it was touched for a week. A time in the future counts as touched.
fn is_forgotten(path: &Path) -> bool {
    let now = SystemTime::now();
    let untouched = |metadata: Metadata| {
        metadata.modified().is_ok_and(|time| now.duration_since(time).is_ok_and(|age| age > GRACE))
    };
    WalkDir::new(path).into_iter().all(|entry| entry.and_then(|entry| entry.metadata()).is_ok_and(untouched))
}

/// Removes, or only counts.
struct Remover {
    dry_run: bool,
    bytes: u64,
}

impl Remover {
    fn file(&mut self, path: &Path) -> Result<(), StoreError> {
        self.bytes += path.symlink_metadata().at("reading", path)?.len();
        if self.dry_run { Ok(()) } else { std::fs::remove_file(path).at("removing", path) }
    }

    fn folder(&mut self, path: &Path) -> Result<(), StoreError> {
        if !path.is_dir() || path.is_symlink() {
            return self.file(path);
        }
        self.bytes += below(path).1;
        if self.dry_run {
            return Ok(());
        }
        std::fs::remove_dir_all(path).at("removing", path)?;
        sync_folder(folder_of(path))
    }
}
