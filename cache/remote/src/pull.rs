//! A result comes over: manifest, then the objects that are not here, each checked on arrival, then one commit.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::StreamExt;
use object_store::{Error, ObjectStoreExt};
use refit_cache::{Content, Digest, Manifest, Pull, StepKey, Store, StoreError, StoreLock, Tree};
use tokio::task::JoinSet;

use crate::{
    client::{Client, innermost},
    envelope,
    remote_cache::Shared,
};

/// What stands in the way of a result.
enum Obstacle {
    /// The place holds something wrong; the sentence says what.
    Wrong(String),
    /// The place does not answer.
    Unreachable(String),
    /// The store cannot take it.
    Store(StoreError),
}

/// Larger than any manifest: one of a folder of a million files has 150 MB.
const MANIFEST_LIMIT: u64 = 1 << 30;

pub(crate) async fn pull(
    shared: &Arc<Shared>,
    store: &Store,
    lock: &StoreLock,
    key: StepKey,
    ports: &[String],
) -> Pull {
    let folder = store.step_folder(&key).join("pull");
    let outcome = bring(shared, store, lock, key, ports, &folder).await;
    // What did not arrive whole is of no use to anybody.
    let _ = fs_err::remove_dir_all(&folder);
    let _ = folder.parent().map(fs_err::remove_dir);
    match outcome {
        Ok(Some(bytes)) => Pull::Hit { bytes },
        Err(Obstacle::Wrong(why)) => {
            shared.distrusted().manifests.insert(key);
            Pull::Refused(format!("the shared result {} is not used: {why}", key.short()))
        }
        Err(Obstacle::Store(error)) => {
            Pull::Refused(format!("the shared result {} could not be stored: {error}", key.short()))
        }
        Err(Obstacle::Unreachable(why)) if shared.give_up() => Pull::Unreachable(shared.unreachable(&why)),
        Ok(None) | Err(Obstacle::Unreachable(_)) => Pull::Miss,
    }
}

/// Returns the bytes that came over, or nothing if the place does not have the result.
async fn bring(
    shared: &Arc<Shared>,
    store: &Store,
    lock: &StoreLock,
    key: StepKey,
    ports: &[String],
    folder: &Path,
) -> Result<Option<u64>, Obstacle> {
    let client = shared.client().map_err(Obstacle::Unreachable)?;
    let Some(manifest) = manifest(shared, &client, key).await? else { return Ok(None) };
    if let Some(port) = ports.iter().find(|port| !manifest.outputs.contains_key(*port)) {
        return Err(Obstacle::Wrong(format!("it lacks the output `{port}`, which its stage declares")));
    }
    let missing = missing(store, &manifest);
    let bytes = missing.values().sum();
    if !missing.is_empty() {
        fs_err::create_dir_all(folder).map_err(|error| Obstacle::Wrong(error.to_string()))?;
        download(shared, &client, &missing, folder).await?;
        let taken = tokio::task::block_in_place(|| store.ingest(lock, folder)).map_err(Obstacle::Store)?;
        if !holds(&taken, &missing) {
            return Err(Obstacle::Wrong("its objects changed on the way into the store".into()));
        }
    }
    tokio::task::block_in_place(|| store.commit(lock, &manifest)).map_err(Obstacle::Store)?;
    Ok(Some(bytes))
}

async fn manifest(shared: &Shared, client: &Client, key: StepKey) -> Result<Option<Manifest>, Obstacle> {
    let _lane = shared.lane().await.map_err(Obstacle::Unreachable)?;
    let got = match client.store.get(&client.layout.manifest(&key)).await {
        Ok(got) => got,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(Obstacle::Unreachable(innermost(&error))),
    };
    if got.meta.size > MANIFEST_LIMIT {
        return Err(Obstacle::Wrong(format!("it claims to have {} bytes", got.meta.size)));
    }
    let bytes = got.bytes().await.map_err(|error| Obstacle::Unreachable(innermost(&error)))?;
    envelope::open(&bytes, &key, shared.options.signing_key.as_ref()).map(Some).map_err(Obstacle::Wrong)
}

/// The objects of a result that the store does not hold, with their sizes.
fn missing(store: &Store, manifest: &Manifest) -> BTreeMap<Digest, u64> {
    let is_here = |object: &Digest, bytes: u64| {
        std::fs::symlink_metadata(store.object_path(object)).is_ok_and(|metadata| metadata.len() == bytes)
    };
    manifest.trees().flat_map(Tree::objects).filter(|(object, bytes)| !is_here(object, *bytes)).collect()
}

/// Downloads every object into a file that bears its name. All of them, or none counts.
async fn download(
    shared: &Arc<Shared>,
    client: &Client,
    objects: &BTreeMap<Digest, u64>,
    folder: &Path,
) -> Result<(), Obstacle> {
    let mut downloads = JoinSet::new();
    for (object, bytes) in objects {
        let (shared, client, object, bytes) = (Arc::clone(shared), client.clone(), *object, *bytes);
        let to: PathBuf = folder.join(object.to_string());
        downloads.spawn(async move {
            let _lane = shared.lane().await.map_err(Obstacle::Unreachable)?;
            let outcome = fetch(&client, object, bytes, &to).await;
            if matches!(outcome, Err(Obstacle::Wrong(_))) {
                shared.distrusted().objects.insert(object);
            }
            outcome
        });
    }
    while let Some(ended) = downloads.join_next().await {
        ended.unwrap_or_else(|error| Err(Obstacle::Wrong(format!("a download broke off: {error}"))))?;
    }
    Ok(())
}

async fn fetch(client: &Client, object: Digest, bytes: u64, to: &Path) -> Result<(), Obstacle> {
    let got = match client.store.get(&client.layout.object(&object)).await {
        Ok(got) => got,
        Err(Error::NotFound { .. }) => return Err(Obstacle::Wrong(format!("its object {} is gone", object.short()))),
        Err(error) => return Err(Obstacle::Unreachable(innermost(&error))),
    };
    let in_store =
        |error: std::io::Error| Obstacle::Wrong(format!("its object {} cannot be written: {error}", object.short()));
    let mut file = fs_err::File::create(to).map_err(in_store)?;
    let (mut hasher, mut arrived) = (blake3::Hasher::new(), 0_u64);
    let mut stream = got.into_stream();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| Obstacle::Unreachable(innermost(&error)))?;
        arrived += part.len() as u64;
        if arrived > bytes {
            break;
        }
        hasher.update(&part);
        file.write_all(&part).map_err(in_store)?;
    }
    let found = Digest::from(hasher.finalize());
    if arrived != bytes || found != object {
        return Err(Obstacle::Wrong(format!(
            "the bytes of its object {} are not what its digest says ({arrived} bytes of {bytes} came)",
            object.short()
        )));
    }
    Ok(())
}

/// Whether every object is among what the store took in, under its own name.
fn holds(taken: &Tree, objects: &BTreeMap<Digest, u64>) -> bool {
    let Content::Folder(entries) = &taken.content else { return false };
    entries.len() == objects.len()
        && entries.iter().all(|entry| entry.path == entry.digest.to_string() && objects.contains_key(&entry.digest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use refit_cache::{MANIFEST_FORMAT, Remote, Wait};

    use crate::{Credentials, RemoteCache, RemoteOptions};

    use super::*;

    fn cache(place: &Path) -> RemoteCache {
        RemoteCache::new(RemoteOptions {
            location: format!("file://{}", place.display()).parse().unwrap(),
            pull: true,
            push: true,
            signing_key: None,
            endpoint: None,
            region: None,
            timeout: Duration::from_secs(5),
            certificates: None,
            credentials: Credentials::default(),
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_result_without_a_declared_output_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("shared");
        let (here, there) = ["here", "there"].map(|name| Store::open(&folder.path().join(name)).unwrap()).into();
        let (lock, other_lock) = (here.lock("a test", Wait::Fail).unwrap(), there.lock("a test", Wait::Fail).unwrap());
        let out = folder.path().join("out");
        fs_err::write(&out, "text").unwrap();
        let tree = here.ingest(&lock, &out).unwrap();
        let key = StepKey::from_bytes([7; 32]);
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            key,
            kind: "clean".into(),
            version: 1,
            params: serde_json::json!({}),
            inputs: BTreeMap::new(),
            outputs: [("records".to_owned(), tree)].into(),
            log: None,
            facts: BTreeMap::new(),
            warnings: Vec::new(),
            seconds: 0.0,
            peak_memory: 0,
            created: jiff::Timestamp::now(),
            run: "20261123T175301-4f2a9c".parse().unwrap(),
        };
        here.commit(&lock, &manifest).unwrap();
        let first = cache(&place);
        first.push(&here, &manifest);
        assert_eq!(first.settle().await.results, 1);

        let second = cache(&place);
        let ports = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let Pull::Refused(why) = second.pull(&there, &other_lock, key, ports(&["records", "rejected"])).await else {
            panic!("not refused")
        };
        assert!(why.contains("lacks the output `rejected`"), "{why}");
        assert_eq!(there.manifest(&key).unwrap(), None);
        assert_eq!(second.pull(&there, &other_lock, key, ports(&["records"])).await, Pull::Hit { bytes: 4 });
    }
}
