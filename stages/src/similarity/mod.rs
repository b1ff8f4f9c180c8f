//! How alike two texts are: the Jaccard index of their shingles, exactly and, for many texts, by min-wise hashing (`MinHash`).

mod index;
mod minhash;
mod shingles;

pub use index::{Fingerprint, NearIndex};
pub use minhash::{Banding, Signature};
pub use shingles::{Shingles, letters};
