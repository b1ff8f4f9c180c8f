//! Exit codes are part of the interface; scripts rely on them.

use std::process;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// All is well.
    Ok = 0,
    /// The engine, the disk or the network failed.
    Engine = 1,
    /// The command line was not understood.
    Usage = 2,
    /// A stage failed.
    Stage = 3,
    /// The pipeline file is invalid.
    Pipeline = 4,
    /// Another run holds the store.
    Locked = 5,
    /// The store is damaged.
    Corrupt = 6,
    /// Something would run (`plan --exit-code`).
    Stale = 10,
    /// A repeated run found other sources (`run --from-run`), or it or a repeated step made other outputs (`run --verify`).
    Differs = 11,
    /// Interrupted.
    Interrupted = 130,
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
