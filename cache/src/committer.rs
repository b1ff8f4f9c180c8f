use std::{
    fmt,
    io::Write,
    marker::PhantomData,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
};

use crate::{
    Manifest, Store, StoreError, StoreLock, Taken,
    durable::{Dirty, folder_of, rename_temporary, write_beside},
    earlier::Earlier,
    index::Index,
};

/// At most so many results wait for the same sync, and as many for the next one.
const GROUP: usize = 512;

/// Makes results durable and findable in groups, so that very many small ones do not wait for the disk one by one.
///
/// ```text
/// take_in ─► commit ─► [ all that is waiting ] ─► sync objects and manifests' bytes ─► name the manifests ─► sync ─► index ─► then
/// ```
///
/// The order within a group is that of a single commit: no manifest has its name before its objects are durable. What
/// was handed to [`commit`](Self::commit) is read by others only after `then` was called; until then only whoever made it
/// knows of it, and may go on with its objects. When this value is dropped, all that was handed in is finished first.
pub struct Committer<'l> {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    lock: PhantomData<&'l StoreLock>,
}

/// Given the manifest back and told how its commit ended, from the committing thread.
pub type Committed = Box<dyn FnOnce(Manifest, Result<(), StoreError>) + Send>;

/// A result to be made durable.
struct Order {
    manifest: Manifest,
    dirty: Dirty,
    then: Committed,
}

impl fmt::Debug for Committer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a result findable; all its objects were ingested before. It is durable when this returns.
    pub fn commit(&self, lock: &StoreLock, manifest: &Manifest) -> Result<(), StoreError> {
        self.commit_group(&lock.index, &[manifest], &Dirty::default())
    }

    /// Starts what commits results in groups. The lock is held at least as long.
    pub fn committer<'l>(&self, lock: &'l StoreLock) -> Result<Committer<'l>, StoreError> {
        let (orders, waiting) = mpsc::sync_channel(GROUP);
        let (store, index) = (self.clone(), Arc::clone(&lock.index));
        let thread = thread::Builder::new()
            .name("refit-commit".to_owned())
            .spawn(move || store.commit_what_comes(&index, &waiting))
            .map_err(|error| StoreError::io("starting a thread for", self.root(), error))?;
        Ok(Committer { orders: Some(orders), thread: Some(thread), lock: PhantomData })
    }

    fn commit_what_comes(&self, index: &Index, waiting: &Receiver<Order>) {
        while let Ok(first) = waiting.recv() {
            let mut group = vec![first];
            group.extend(waiting.try_iter().take(GROUP - 1));
            let manifests: Vec<&Manifest> = group.iter().map(|order| &order.manifest).collect();
            let mut dirty = Dirty::default();
            for order in &group {
                dirty.extend(order.dirty.clone());
            }
            if self.commit_group(index, &manifests, &dirty).is_ok() {
                for Order { manifest, then, .. } in group {
                    then(manifest, Ok(()));
                }
                continue;
            }
            // One bad result, or one that the disk has no room for, is no reason to lose the others.
            for Order { manifest, dirty, then } in group {
                let outcome = self.commit_group(index, &[&manifest], &dirty);
                then(manifest, outcome);
            }
        }
    }

    /// Objects first, then manifests, then the index; each is durable before the next is begun.
    pub(crate) fn commit_group(
        &self,
        index: &Index,
        manifests: &[&Manifest],
        objects: &Dirty,
    ) -> Result<(), StoreError> {
        let (mut contents, mut names) = (objects.clone(), Dirty::default());
        let mut written = Vec::with_capacity(manifests.len());
        let mut earlier = Vec::new();
        for manifest in manifests {
            // The records of runs still name what this one takes the place of.
            if let Some(replaced) = self.replaced_by(manifest)? {
                earlier.extend(self.write_earlier(&replaced, &mut names)?);
            }
            let path = self.manifest_path(&manifest.key);
            let bytes = manifest.encode().map_err(|error| StoreError::io("writing", &path, error.into()))?;
            let temporary = write_beside(&path, |file| file.write_all(&bytes), &mut names)?;
            contents.file(temporary.path());
            names.folder(folder_of(&path));
            written.push((temporary, path));
        }
        failpoint!("commit: manifests are written");
        for earlier in &earlier {
            earlier.note(&mut contents);
        }
        contents.sync()?;
        failpoint!("commit: contents are synced");
        Earlier::settle_all(earlier)?;
        for (temporary, path) in written {
            rename_temporary(temporary, &path)?;
            failpoint!("commit: a manifest has its name");
        }
        names.sync()?;
        failpoint!("commit: manifests are synced");
        for manifest in manifests {
            index.insert(manifest);
        }
        failpoint!("commit: the index knows");
        Ok(())
    }

    /// Takes in results that runs elsewhere had of keys that find other ones here.
    pub(crate) fn commit_earlier(&self, manifests: &[&Manifest], objects: &Dirty) -> Result<(), StoreError> {
        let (mut contents, mut names) = (objects.clone(), Dirty::default());
        let mut earlier = Vec::new();
        for manifest in manifests {
            earlier.extend(self.write_earlier(manifest, &mut names)?);
        }
        for earlier in &earlier {
            earlier.note(&mut contents);
        }
        contents.sync()?;
        Earlier::settle_all(earlier)?;
        names.sync()
    }
}

impl Committer<'_> {
    /// Takes a result and what its outputs became. `then` is called as soon as it is durable, or cannot be. Waits while very
    /// many others wait for the disk.
    pub fn commit(&self, manifest: Manifest, outputs: Vec<Taken>, then: Committed) {
        let mut dirty = Dirty::default();
        for taken in outputs {
            dirty.extend(taken.dirty);
        }
        let order = Order { manifest, dirty, then };
        let undeliverable = match &self.orders {
            Some(orders) => orders.send(order).err().map(|unsent| unsent.0),
            None => Some(order),
        };
        if let Some(Order { manifest, then, .. }) = undeliverable {
            then(manifest, Err(StoreError::CommitStopped));
        }
    }
}

impl Drop for Committer<'_> {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was told where it happened; whoever waits for it learns that nothing was committed.
            let _ = thread.join();
        }
    }
}
