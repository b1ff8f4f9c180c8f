//! Results on their way to the disk. Steps go on with what is in the store meanwhile, and nobody else hears of a result
//! before it is durable.

use std::{path::PathBuf, sync::Arc};

use refit_cache::{Committer, Manifest, Store, StoreError};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::step::{Uncommitted, Workshop};
use crate::{program::SpareFolders, schedule::StepId};

/// What was made and is not known to be durable yet.
pub(super) struct Committing<'a> {
    store: &'a Store,
    spares: Arc<SpareFolders>,
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
    pub(super) fn new(workshop: &Workshop<'a>) -> Result<Self, StoreError> {
        let Workshop { store, lock, .. } = *workshop;
        let (done, ended) = mpsc::unbounded_channel();
        let spares = Arc::clone(&workshop.spares);
        Ok(Self { store, spares, committer: store.committer(lock)?, done, ended, under_way: 0 })
    }

    /// Whether all that was made is durable, or cannot be.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way == 0
    }

    /// Takes what a step made. If it cannot be committed, the step's folder stays as it is.
    pub(super) fn begin(&mut self, step: StepId, made: Uncommitted) {
        let Uncommitted { manifest, outputs, log } = made;
        let (done, folder, spares) =
            (self.done.clone(), self.store.step_folder(&manifest.key), Arc::clone(&self.spares));
        self.under_way += 1;
        let then = move |manifest, outcome: Result<(), StoreError>| {
            if outcome.is_ok() {
                spares.take_back(folder);
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
