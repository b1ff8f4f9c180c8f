use std::fmt;

use refit_checkpoint::Family;
use refit_kernels::Isa;

use crate::{Model, adapter::Adapter};

/// How losses and gradients of a training are computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComputePath {
    /// By the fused kernels for the CPU.
    Fused {
        /// Which instructions they use.
        instructions: &'static str,
    },
    /// By burn operations and its autodiff.
    Composed {
        /// Why not by the fused kernels.
        reason: String,
    },
}

impl ComputePath {
    /// The path that training this adapter takes.
    pub(crate) fn of(model: &Model, adapter: &Adapter) -> Self {
        let composed = |reason: &str| Self::Composed { reason: reason.into() };
        if !model.on_cpu() {
            return composed("the device is not a CPU");
        }
        if adapter.config.dropout > 0.0 {
            return composed("dropout draws its masks on burn's path");
        }
        match model.config().family {
            Family::Llama | Family::Qwen2 => Self::Fused { instructions: Isa::best().name() },
        }
    }

    /// Whether it is the fused one.
    pub(crate) fn is_fused(&self) -> bool {
        matches!(self, Self::Fused { .. })
    }
}

impl fmt::Display for ComputePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fused { instructions } => write!(f, "fused kernels ({instructions})"),
            Self::Composed { reason } => write!(f, "burn operations, because {reason}"),
        }
    }
}
