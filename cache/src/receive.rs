use std::io::{self, Read, Write};

use crate::{
    Digest, Store, StoreError,
    durable::{Dirty, folder_of, make_folder, rename_temporary},
    error::At,
    failpoint,
    ingest::{INGEST_PREFIX, note_sound, settle},
    object::{Check, ObjectState},
};

/// Read at a time.
const PIECE: usize = 1 << 20;

impl Store {
    /// Makes an object of bytes that come from elsewhere, unless it is one already. What has another digest or size never
    /// becomes one. It is durable once `dirty` is synced.
    pub(crate) fn receive(
        &self,
        object: Digest,
        bytes: u64,
        content: &mut impl Read,
        dirty: &mut Dirty,
    ) -> Result<(), StoreError> {
        let path = self.object_path(&object);
        if self.check_object(object, bytes, Check::Bytes)? == ObjectState::Sound {
            note_sound(&path, dirty);
            return Ok(());
        }
        let tmp = self.tmp();
        let mut copy =
            tempfile::Builder::new().prefix(INGEST_PREFIX).tempfile_in(&tmp).at("creating a file in", &tmp)?;
        failpoint::wrote(copy.path());
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; PIECE.min(usize::try_from(bytes).unwrap_or(PIECE).saturating_add(1))];
        let mut size = 0_u64;
        // One byte more than promised is enough to know.
        let mut content = content.take(bytes.saturating_add(1));
        loop {
            let read = match content.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(StoreError::Unreadable { source }),
            };
            hasher.update(&piece[..read]);
            copy.write_all(&piece[..read]).at("writing", copy.path())?;
            size += read as u64;
        }
        if size < bytes {
            return Err(StoreError::Unreadable { source: io::ErrorKind::UnexpectedEof.into() });
        }
        if size != bytes || Digest::from(hasher.finalize()) != object {
            return Err(StoreError::WrongBytes { object });
        }
        settle(copy.path(), object).at("writing", copy.path())?;
        make_folder(folder_of(&path), dirty)?;
        rename_temporary(copy, &path)?;
        dirty.file(&path);
        dirty.folder(folder_of(&path));
        Ok(())
    }
}
