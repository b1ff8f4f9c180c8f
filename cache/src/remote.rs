use std::{fmt, future::Future, pin::Pin};

use crate::{Manifest, StepKey, Store, StoreLock};

/// What a [`Remote`] is asked for takes its time.
pub type RemoteFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Results that machines share. It is asked only for what the store does not hold, and its failures never fail a run.
pub trait Remote: fmt::Debug + Send + Sync {
    /// Brings the result of a key into the store, committed as if it had been made here. One that lacks an output of `ports`
    /// is refused.
    fn pull<'a>(
        &'a self,
        store: &'a Store,
        lock: &'a StoreLock,
        key: StepKey,
        ports: Vec<String>,
    ) -> RemoteFuture<'a, Pull>;

    /// Begins to copy a committed result to the others and returns at once. Must be called on a tokio runtime.
    fn push(&self, store: &Store, manifest: &Manifest);

    /// How many results are still being copied.
    fn pending(&self) -> usize;

    /// Waits until all that was pushed has arrived or failed.
    fn settle(&self) -> RemoteFuture<'_, Pushed>;
}

/// What became of a question for a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pull {
    /// It is in the store now; so many bytes came over.
    Hit {
        /// Bytes of the objects that were not here before.
        bytes: u64,
    },
    /// The others do not have it, or cannot be asked, which was said before.
    Miss,
    /// They have something under this key that does not deserve trust, or could not be had. One sentence.
    Refused(String),
    /// They cannot be reached, and will not be asked again. One sentence, said once.
    Unreachable(String),
}

/// What became of the results pushed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Results that are there now and were not before.
    pub results: usize,
    /// Results that were there already.
    pub present: usize,
    /// Bytes of the objects that were copied.
    pub bytes: u64,
    /// What went wrong, a sentence each.
    pub failures: Vec<String>,
}
