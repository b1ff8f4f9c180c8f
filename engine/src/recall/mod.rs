//! What a run that ended with everything in place was asked, saw and found.
//!
//! When the same is asked again, and all that was seen then looks the same now, the answer is known without reading the
//! pipeline: one look at each file (its stat, behind which stands its content) replaces parsing, planning and reading
//! manifests. Where anything differs, the long way is taken; so a recall can be deleted at any time.
//!
//! A run keeps what there is to know; whoever only asks (`plan`, `check`, `explain`) reads it without a lock and writes nothing.

mod keep;
mod question;
mod recalled;
mod record;
mod subjects;

pub(crate) use keep::Finished;
pub use question::Question;
pub use recalled::Recalled;
use record::Record;
