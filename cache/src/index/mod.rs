//! The index: what can be found out again from the files, kept for speed.

mod entry;
mod sled_index;

pub(crate) use self::sled_index::Index;
