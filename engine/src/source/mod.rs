//! The text of a pipeline file, and where every value lies in it.
//!
//! Two parsers read the text. `serde_yaml` says what a scalar means (YAML 1.2's core schema: `1e-4`, `.5` and `0x10`
//! are numbers; `1_000`, `yes`, `no`, `on` and `007` are text); `saphyr-parser` says where it stands. Both walk the same tree, and a text
//! they read differently is refused rather than guessed at.

mod file;
mod merge;
mod mistake;
mod nearest;
mod node;
mod outline;
mod syntax;
mod text;
mod tree;
mod values;

pub(crate) use file::locate;
pub use file::{Location, MAX_BYTES, SourceFile};
pub use mistake::{Label, Mistake, Span};
pub(crate) use nearest::{choice, nearest};
pub use nearest::{did_you_mean, list};
pub use node::{Entry, Node, Path, Shape, Step};
pub use text::{Text, TextOrigin};
