//! A result goes out: the objects that are not there, then the manifest.

use std::{collections::BTreeMap, io::Read, path::Path, sync::Arc};

use object_store::{Error, MultipartUpload, ObjectStoreExt, PutPayload};
use refit_cache::{Digest, Manifest, Store, Tree};
use tokio::task::JoinSet;

use crate::{
    client::{Client, innermost},
    envelope,
    remote_cache::Shared,
};

/// What became of a result.
#[derive(Debug)]
pub(crate) enum Sent {
    /// It was there.
    Present,
    /// It is there now.
    New {
        /// Of the objects that were sent.
        bytes: u64,
    },
    /// The place cannot be reached, which was said before.
    Nothing,
}

/// Why a result could not go out.
enum Obstacle {
    Unreachable(String),
    /// The store's copy is not what it should be, or cannot be read.
    Local(String),
}

/// Objects up to this size go in one piece; larger ones in pieces of it.
const PIECE: usize = 8 << 20;

pub(crate) async fn push(shared: &Arc<Shared>, store: &Store, manifest: &Manifest) -> Result<Sent, String> {
    if shared.is_down() {
        return Ok(Sent::Nothing);
    }
    match send(shared, store, manifest).await {
        Ok(sent) => Ok(sent),
        Err(Obstacle::Local(why)) => Err(format!("the result {} is not shared: {why}", manifest.key.short())),
        Err(Obstacle::Unreachable(why)) if shared.give_up() => Err(shared.unreachable(&why)),
        Err(Obstacle::Unreachable(_)) => Ok(Sent::Nothing),
    }
}

async fn send(shared: &Arc<Shared>, store: &Store, manifest: &Manifest) -> Result<Sent, Obstacle> {
    let client = shared.client().map_err(Obstacle::Unreachable)?;
    let path = client.layout.manifest(&manifest.key);
    let is_trusted = !shared.distrusted().manifests.contains(&manifest.key);
    if is_trusted && size_there(shared, &client, &path).await?.is_some() {
        return Ok(Sent::Present);
    }
    let objects: BTreeMap<Digest, u64> = manifest.trees().flat_map(Tree::objects).collect();
    let mut sends = JoinSet::new();
    for (object, bytes) in objects {
        let (shared, client, from) = (Arc::clone(shared), client.clone(), store.object_path(&object));
        sends.spawn(async move { send_object(&shared, &client, object, bytes, &from, is_trusted).await });
    }
    let mut bytes = 0;
    while let Some(ended) = sends.join_next().await {
        bytes += ended.unwrap_or_else(|error| Err(Obstacle::Local(format!("a push broke off: {error}"))))?;
    }
    let sealed = envelope::seal(manifest, shared.options.signing_key.as_ref())
        .map_err(|error| Obstacle::Local(error.to_string()))?;
    let _lane = shared.lane().await.map_err(Obstacle::Unreachable)?;
    client.store.put(&path, sealed.into()).await.map_err(unreachable)?;
    Ok(Sent::New { bytes })
}

/// Sends one object unless it is there, and returns how many bytes that took.
async fn send_object(
    shared: &Shared,
    client: &Client,
    object: Digest,
    bytes: u64,
    from: &Path,
    is_trusted: bool,
) -> Result<u64, Obstacle> {
    let to = client.layout.object(&object);
    // Of a result that was refused, any object may be the wrong one.
    let is_trusted = is_trusted && !shared.distrusted().objects.contains(&object);
    if is_trusted && size_there(shared, client, &to).await? == Some(bytes) {
        return Ok(0);
    }
    let _lane = shared.lane().await.map_err(Obstacle::Unreachable)?;
    let unreadable = |error: std::io::Error| Obstacle::Local(error.to_string());
    let damaged = || Obstacle::Local(format!("its object {} is damaged in the store", object.short()));
    let mut file = fs_err::File::open(from).map_err(unreadable)?;
    if bytes <= PIECE as u64 || !client.takes_parts {
        let mut content = Vec::with_capacity(bytes as usize);
        file.read_to_end(&mut content).map_err(unreadable)?;
        if Digest::of(&content) != object {
            return Err(damaged());
        }
        client.store.put(&to, PutPayload::from(content)).await.map_err(unreachable)?;
        return Ok(bytes);
    }
    let mut upload = client.store.put_multipart(&to).await.map_err(unreachable)?;
    let sent = send_pieces(&mut file, upload.as_mut()).await;
    match sent {
        Ok(digest) if digest == object => {
            upload.complete().await.map_err(unreachable)?;
            Ok(bytes)
        }
        ended => {
            // Pieces that nobody completes are not the object; the place drops them in time if this fails too.
            let _ = upload.abort().await;
            ended.and_then(|_| Err(damaged()))
        }
    }
}

/// Sends a file piece by piece and returns its digest.
async fn send_pieces(file: &mut fs_err::File, upload: &mut dyn MultipartUpload) -> Result<Digest, Obstacle> {
    let mut hasher = blake3::Hasher::new();
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        file.by_ref().take(PIECE as u64).read_to_end(&mut piece).map_err(|error| Obstacle::Local(error.to_string()))?;
        if piece.is_empty() {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&piece);
        upload.put_part(piece.into()).await.map_err(unreachable)?;
    }
}

/// The size of what lies at a path, if anything does.
async fn size_there(
    shared: &Shared,
    client: &Client,
    path: &object_store::path::Path,
) -> Result<Option<u64>, Obstacle> {
    let _lane = shared.lane().await.map_err(Obstacle::Unreachable)?;
    match client.store.head(path).await {
        Ok(meta) => Ok(Some(meta.size)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(unreachable(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn unreachable(error: Error) -> Obstacle {
    Obstacle::Unreachable(innermost(&error))
}
