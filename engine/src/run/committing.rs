//! Results on their way to the disk. Steps go on with what is in the store meanwhile, and nobody else hears of a result
//! before it is durable.

use std::path::PathBuf;

use refit_cache::{Committer, Manifest, Store, StoreError, StoreLock};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::step::Uncommitted;
use crate::schedule::StepId;

/// What was made and is not known to be durable yet.
pub(super) struct Committing<'a> {
    store: &'a Store,
    committer: Committer<'a>,
    done: UnboundedSender<Committed>,
    ended: UnboundedReceiver<Committed>,
    under_way: usize,
}

/// What became of a result.
pub(super) struct Committed {
    pub(super) step: StepId,
    pub(super) manifest: Box<Manifest>,
    /// What the step said, in full.
    pub(super) log: Option<PathBuf>,
    pub(super) outcome: Result<(), StoreError>,
}

impl<'a> Committing<'a> {
    pub(super) fn new(store: &'a Store, lock: &'a StoreLock) -> Result<Self, StoreError> {
        let (done, ended) = mpsc::unbounded_channel();
        Ok(Self { store, committer: store.committer(lock)?, done, ended, under_way: 0 })
    }

    /// Whether all that was made is durable, or cannot be.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way == 0
    }

    /// Takes what a step made. Nothing of the step is left behind but, if it cannot be committed, its folder.
    pub(super) fn begin(&mut self, step: StepId, made: Uncommitted) {
        let Uncommitted { manifest, outputs, log } = made;
        let (done, folder) = (self.done.clone(), self.store.step_folder(&manifest.key));
        self.under_way += 1;
        let then = move |manifest, outcome: Result<(), StoreError>| {
            if outcome.is_ok() {
                // A folder that stays costs space until the next `gc`, nothing else.
                let _ = fs_err::remove_dir_all(folder);
            }
            // Nobody listens any more once the run has broken off.
            let _ = done.send(Committed { step, manifest: Box::new(manifest), log, outcome });
        };
        tokio::task::block_in_place(|| self.committer.commit(*manifest, outputs, Box::new(then)));
    }

    /// Waits until the next one has ended.
    pub(super) async fn next(&mut self) -> Option<Committed> {
        let ended = self.ended.recv().await;
        self.under_way -= usize::from(ended.is_some());
        ended
    }
}
