//! From the crates' errors to what the user sees and the exit code scripts see.

use miette::Report;
use refit_cache::StoreError;
use refit_engine::{graph::PipelineErrors, plan::SourceError, run::RunError, spec::OverrideError};
use refit_remote::RemoteError;

use crate::{config::ConfigError, exit_code::ExitCode};

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) report: Report,
    pub(crate) code: ExitCode,
}

impl Failure {
    /// A mistake on the command line that clap cannot see.
    pub(crate) fn usage(report: Report) -> Self {
        Self { report, code: ExitCode::Usage }
    }
}

impl From<PipelineErrors> for Failure {
    fn from(errors: PipelineErrors) -> Self {
        let code = if errors.is_unreadable() { ExitCode::Engine } else { ExitCode::Pipeline };
        Self { code, report: errors.into() }
    }
}

impl From<OverrideError> for Failure {
    fn from(error: OverrideError) -> Self {
        Self::usage(error.into())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Locked { .. } => ExitCode::Locked,
            StoreError::UnknownRun { .. } | StoreError::AmbiguousRun { .. } => ExitCode::Usage,
            error if error.is_corruption() => ExitCode::Corrupt,
            _ => ExitCode::Engine,
        };
        Self { code, report: error.into() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.into())
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::usage(error.into())
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self { code: ExitCode::Engine, report: error.into() }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Store(error) => error.into(),
            RunError::UnknownStage { .. } => Self::usage(error.into()),
            RunError::StoreDecays { .. } => Self { code: ExitCode::Corrupt, report: error.into() },
            // What must change is in the file, as with any mistake there.
            RunError::Shortage { .. } => Self { code: ExitCode::Pipeline, report: error.into() },
            RunError::Source(_) | RunError::Io(_) => Self { code: ExitCode::Engine, report: error.into() },
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { code: ExitCode::Engine, report: miette::miette!(code = "refit::io", "{error}") }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        std::io::Error::from(error).into()
    }
}
