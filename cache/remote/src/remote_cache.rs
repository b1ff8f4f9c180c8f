use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use refit_cache::{Digest, Manifest, Pull, Pushed, Remote, RemoteFuture, StepKey, Store, StoreLock};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::JoinSet,
};

use crate::{RemoteOptions, client::Client, pull, push};

/// Objects on their way at a time.
const AT_A_TIME: usize = 8;

/// Results at a remote place. Nothing is opened before it is first needed.
pub struct RemoteCache {
    shared: Arc<Shared>,
    pushes: Mutex<JoinSet<Result<push::Sent, String>>>,
    /// Serializes those who wait for the pushes.
    done: Mutex<Pushed>,
}

/// What pulls and pushes share.
pub(crate) struct Shared {
    pub(crate) options: RemoteOptions,
    lanes: Semaphore,
    client: OnceLock<Result<Client, String>>,
    down: OnceLock<()>,
    distrusted: Mutex<Distrusted>,
}

/// What was found to be wrong at the place: pushed again although it is there.
#[derive(Debug, Default)]
pub(crate) struct Distrusted {
    pub(crate) manifests: HashSet<StepKey>,
    pub(crate) objects: HashSet<Digest>,
}

impl RemoteCache {
    /// A cache at the place that the options name.
    pub fn new(options: RemoteOptions) -> Self {
        let shared = Shared {
            options,
            lanes: Semaphore::new(AT_A_TIME),
            client: OnceLock::new(),
            down: OnceLock::new(),
            distrusted: Mutex::default(),
        };
        Self { shared: Arc::new(shared), pushes: Mutex::default(), done: Mutex::default() }
    }
}

impl fmt::Debug for RemoteCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteCache").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn client(&self) -> Result<Client, String> {
        self.client.get_or_init(|| Client::new(&self.options).map_err(|error| error.to_string())).clone()
    }

    /// Waits for a turn. The error says why there is none any more: whoever waited longest would otherwise try a place in vain
    /// that others found to be unreachable meanwhile.
    pub(crate) async fn lane(&self) -> Result<SemaphorePermit<'_>, String> {
        let lane = self.lanes.acquire().await.map_err(|error| error.to_string())?;
        if self.is_down() { Err("it was found to be unreachable".into()) } else { Ok(lane) }
    }

    /// Whether the place was found to be unreachable.
    pub(crate) fn is_down(&self) -> bool {
        self.down.get().is_some()
    }

    /// The place is asked no more. True for the first who says so.
    pub(crate) fn give_up(&self) -> bool {
        self.down.set(()).is_ok()
    }

    pub(crate) fn distrusted(&self) -> MutexGuard<'_, Distrusted> {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One sentence about a failure of the place.
    pub(crate) fn unreachable(&self, why: &str) -> String {
        format!("the remote cache {} cannot be used, this run goes on without it: {why}", self.options.location)
    }
}

impl Remote for RemoteCache {
    fn pull<'a>(
        &'a self,
        store: &'a Store,
        lock: &'a StoreLock,
        key: StepKey,
        ports: Vec<String>,
    ) -> RemoteFuture<'a, Pull> {
        Box::pin(async move {
            if !self.shared.options.pull || self.shared.is_down() {
                return Pull::Miss;
            }
            pull::pull(&self.shared, store, lock, key, &ports).await
        })
    }

    fn push(&self, store: &Store, manifest: &Manifest) {
        if !self.shared.options.push || self.shared.is_down() {
            return;
        }
        let (shared, store, manifest) = (Arc::clone(&self.shared), store.clone(), manifest.clone());
        let pushing = async move { push::push(&shared, &store, &manifest).await };
        self.pushes.lock().unwrap_or_else(PoisonError::into_inner).spawn(pushing);
    }

    fn pending(&self) -> usize {
        let mut pushes = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = pushes.try_join_next() {
            self.note(ended);
        }
        pushes.len()
    }

    fn settle(&self) -> RemoteFuture<'_, Pushed> {
        Box::pin(async move {
            let mut pushes = std::mem::take(&mut *self.pushes.lock().unwrap_or_else(PoisonError::into_inner));
            while let Some(ended) = pushes.join_next().await {
                self.note(ended);
            }
            std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

impl RemoteCache {
    fn note(&self, ended: Result<Result<push::Sent, String>, tokio::task::JoinError>) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        match ended.unwrap_or_else(|error| Err(format!("a push broke off: {error}"))) {
            Ok(push::Sent::Present) => done.present += 1,
            Ok(push::Sent::New { bytes }) => {
                done.results += 1;
                done.bytes += bytes;
            }
            Ok(push::Sent::Nothing) => {}
            Err(why) => done.failures.push(why),
        }
    }
}
