use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{DroppedResult, GcPolicy, GcReport, remover::Remover};
use crate::{
    Digest, Manifest, Pinned, RunId, StepKey, Store, StoreError, StoreLock, Tree, UsedResult,
    durable::{Dirty, folder_of},
    earlier::Kept,
    runs::Used,
    stat::{changed, is_older},
    store::{list_sharded, names},
};

/// What is decided before anything is removed.
struct Sweep {
    runs: Vec<RunId>,
    dropped: Vec<(Kept, Timestamp)>,
    kept: Vec<Kept>,
}

/// What no policy touches, and when results were last used.
#[derive(Default)]
struct Reached {
    runs: BTreeSet<RunId>,
    results: BTreeSet<UsedResult>,
    last_use: BTreeMap<UsedResult, Timestamp>,
}

impl Reached {
    /// Whether a kept run or a pin needs a result.
    fn holds(&self, manifest: &Manifest) -> bool {
        let named = [manifest.used(), UsedResult::any_of(manifest.key)].iter().any(|used| self.results.contains(used));
        // A run that was killed has no report; what it made names it.
        named || self.runs.contains(&manifest.run)
    }

    /// When a run last made or used it.
    fn last_use(&self, manifest: &Manifest) -> Timestamp {
        let named = [manifest.used(), UsedResult::any_of(manifest.key)];
        let used = named.iter().filter_map(|used| self.last_use.get(used)).max();
        used.map_or(manifest.created, |used| manifest.created.max(*used))
    }
}

impl Store {
    /// Drops what no pin and no kept run needs and nobody used lately: runs, results, objects, leftovers.
    ///
    /// The lock keeps commits away, and nobody can pin anything meanwhile. A kill at any moment leaves a sound store.
    pub fn gc(&self, lock: &StoreLock, policy: &GcPolicy) -> Result<GcReport, StoreError> {
        let _no_new_pins = self.hold_pins()?;
        let mut report = GcReport::default();
        let sweep = self.plan_sweep(policy, &mut report.notices)?;
        let kept_objects: BTreeMap<Digest, u64> = sweep.kept.iter().flat_map(objects_of).collect();
        report.kept_results = sweep.kept.len() as u64;
        report.kept_bytes = kept_objects.values().sum();
        if let Some(limit) = policy.max_size.filter(|limit| report.kept_bytes > *limit) {
            report.notices.push(format!(
                "the results of the runs and pins that are kept take {} bytes, more than the {limit} asked for; keep fewer runs",
                report.kept_bytes
            ));
        }
        let mut remover = Remover { dry_run: policy.dry_run, bytes: 0 };
        if !policy.dry_run {
            // The index first: it must never know of a result that went on purpose.
            let dropped = sweep.dropped.iter().filter(|(kept, _)| kept.is_current);
            let keys: Vec<StepKey> = dropped.map(|(kept, _)| kept.manifest.key).collect();
            lock.index.forget(&keys);
            lock.index.flush();
            failpoint!("gc: the index forgot");
        }
        // Results before objects: a kill in between leaves objects that nobody needs, never a result without them.
        for (dropped, _) in &sweep.dropped {
            remover.file(&dropped.path)?;
            failpoint!("gc: a manifest is removed");
        }
        if !policy.dry_run && !sweep.dropped.is_empty() {
            let mut shards = Dirty::default();
            for (dropped, _) in &sweep.dropped {
                shards.folder(folder_of(&dropped.path));
            }
            shards.sync()?;
            failpoint!("gc: the manifests are synced");
        }
        self.sweep_objects(policy, &sweep, &kept_objects, &mut remover, &mut report)?;
        for run in &sweep.runs {
            remover.folder(&self.run_folder(run))?;
            failpoint!("gc: a run is removed");
        }
        // They are only memories, mostly of what is gone now.
        for (_, memory) in names(&self.folder("recall"))? {
            remover.file(&memory)?;
        }
        for path in self.leftovers(policy)? {
            remover.folder(&path)?;
            report.leftovers += 1;
            failpoint!("gc: a leftover is removed");
        }
        report.freed_bytes = remover.bytes;
        report.runs = sweep.runs;
        report.results =
            sweep.dropped.iter().map(|(dropped, used)| DroppedResult::of(&dropped.manifest, *used)).collect();
        Ok(report)
    }

    fn sweep_objects(
        &self,
        policy: &GcPolicy,
        sweep: &Sweep,
        kept: &BTreeMap<Digest, u64>,
        remover: &mut Remover,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let dropped: BTreeSet<Digest> =
            sweep.dropped.iter().flat_map(|(dropped, _)| objects_of(dropped)).map(|(object, _)| object).collect();
        for (name, path) in list_sharded(&self.folder("objects"), "")? {
            let Ok(object) = name.parse::<Digest>() else { continue };
            if kept.contains_key(&object) {
                continue;
            }
            // One that never was of a result may be about to become so.
            let since = path.symlink_metadata().ok().as_ref().and_then(changed);
            if !dropped.contains(&object) && !since.is_some_and(|since| is_older(since, policy.grace)) {
                report.spared_objects += 1;
                continue;
            }
            remover.folder(&path)?;
            report.objects += 1;
            failpoint!("gc: an object is removed");
        }
        Ok(())
    }

    fn plan_sweep(&self, policy: &GcPolicy, notices: &mut Vec<String>) -> Result<Sweep, StoreError> {
        let limit = policy
            .older_than
            .and_then(|age| SignedDuration::try_from(age).ok().and_then(|age| Timestamp::now().checked_sub(age).ok()));
        // Without an age everything else goes; with one that reaches beyond the calendar nothing does.
        let is_old = |used: Timestamp| policy.older_than.is_none() || limit.is_some_and(|limit| used < limit);
        let runs = self.runs()?;
        let reached = self.reach(&runs, policy.keep_runs, notices)?;
        let (mut kept, others): (Vec<_>, Vec<_>) =
            self.all_results()?.into_iter().partition(|kept| reached.holds(&kept.manifest));
        let mut others: Vec<_> = others.into_iter().map(|other| (reached.last_use(&other.manifest), other)).collect();
        others.sort_by(|(a, _), (b, _)| b.cmp(a));
        let mut sizes: BTreeMap<Digest, u64> = kept.iter().flat_map(objects_of).collect();
        let mut total: u64 = sizes.values().sum();
        let mut dropped = Vec::new();
        let mut full = false;
        for (used, other) in others {
            let new: BTreeMap<Digest, u64> =
                objects_of(&other).filter(|(object, _)| !sizes.contains_key(object)).collect();
            let grown = total + new.values().sum::<u64>();
            full |= policy.max_size.is_some_and(|limit| grown > limit);
            if full || is_old(used) {
                dropped.push((other, used));
            } else {
                total = grown;
                sizes.extend(new);
                kept.push(other);
            }
        }
        let runs = runs.into_iter().filter(|run| !reached.runs.contains(run) && is_old(run.began())).collect();
        Ok(Sweep { runs, dropped, kept })
    }

    /// What the newest runs and the pins need, and when each result was last used.
    fn reach(&self, runs: &[RunId], keep_runs: usize, notices: &mut Vec<String>) -> Result<Reached, StoreError> {
        let mut reached = Reached { runs: runs.iter().take(keep_runs).cloned().collect(), ..Reached::default() };
        for pin in self.pins()? {
            reached.results.extend(pin.results);
            if let Pinned::Run(run) = pin.pinned {
                reached.runs.insert(run);
            }
        }
        for run in runs {
            match self.used_by(run)? {
                Used::Results(results) => {
                    let needed = reached.runs.contains(run);
                    for used in results {
                        reached.last_use.entry(used).or_insert(run.began());
                        if needed {
                            reached.results.insert(used);
                        }
                    }
                }
                Used::Unknown => {}
                Used::Unreadable(notice) => notices.push(notice),
            }
        }
        Ok(reached)
    }
}

fn objects_of(kept: &Kept) -> impl Iterator<Item = (Digest, u64)> + '_ {
    kept.manifest.trees().flat_map(Tree::objects)
}
