//! What the index holds, as bytes. Every value carries a checksum over its key and itself.

use crate::{Digest, stat::Stat};

/// A value that is not what was written.
#[derive(Debug)]
pub(super) struct Damaged;

/// A file is found by where it is stored, not by its name: a moved folder is not read again.
pub(super) fn stat_key(stat: &Stat) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&stat.device.to_be_bytes());
    key[8..].copy_from_slice(&stat.inode.to_be_bytes());
    key
}

/// The digest of a file that looked like `stat`.
pub(super) fn encode_measure(stat: &Stat, digest: &Digest) -> Vec<u8> {
    let mut value = Vec::with_capacity(64);
    value.extend_from_slice(&stat.size.to_le_bytes());
    value.extend_from_slice(&stat.modified.to_le_bytes());
    value.extend_from_slice(&stat.changed.to_le_bytes());
    value.extend_from_slice(digest.as_bytes());
    seal(&stat_key(stat), value)
}

/// The digest, if the file still looks like `stat`.
pub(super) fn decode_measure(stat: &Stat, value: &[u8]) -> Result<Option<Digest>, Damaged> {
    let value: &[u8; 56] = unseal(&stat_key(stat), value)?.try_into().map_err(|_| Damaged)?;
    let mut digest = [0; 32];
    digest.copy_from_slice(&value[24..]);
    let same = value[..8] == stat.size.to_le_bytes()
        && value[8..16] == stat.modified.to_le_bytes()
        && value[16..24] == stat.changed.to_le_bytes();
    Ok(same.then_some(Digest::from_bytes(digest)))
}

/// Appends the checksum.
pub(super) fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    value.extend_from_slice(&checksum(key, &value));
    value
}

/// Takes the checksum off.
pub(super) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Damaged> {
    let (value, sum) = sealed.split_last_chunk::<8>().ok_or(Damaged)?;
    if *sum == checksum(key, value) { Ok(value) } else { Err(Damaged) }
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; 8] {
    let hash = blake3::Hasher::new().update(key).update(value).finalize();
    let mut sum = [0; 8];
    sum.copy_from_slice(&hash.as_bytes()[..8]);
    sum
}
