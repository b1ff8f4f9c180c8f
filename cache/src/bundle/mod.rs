//! A run, or a result with all that it was made from, as one file that another machine checks and goes on from.
//!
//! The file is a plain tar of plain files, so that any tool can look into it. In this order:
//!
//! | name | what |
//! | --- | --- |
//! | `refit.json` | [`Contents`]: the format, the run, every key, the record's files with their digests |
//! | `manifests/KEY.json` | as in the store, each with its own check |
//! | `objects/DIGEST` | the files that the manifests name, each once |
//! | `run/NUMBER` | the files of the run's record; their paths stand in `refit.json` |
//!
//! Nothing in it names a place: where a file goes follows from its digest, its key or the run's id. It is not compressed;
//! `zstd`, `gzip` and the like work on it, and an import reads from a pipe.

mod contents;
mod read;
mod write;

pub use self::{read::Imported, write::Bundled};
