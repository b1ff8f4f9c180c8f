use std::fmt;

use burn::tensor::Device;
use refit_kernels::Isa;

use crate::{Model, device::is_cpu, model::takes_halves};

/// How losses, gradients and answers are computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComputePath {
    /// By the fused kernels for the CPU.
    Fused {
        /// Which instructions they use.
        instructions: &'static str,
        /// Whether these are faster with weights in bf16.
        gains_by_bf16: bool,
    },
    /// By burn operations and its autodiff.
    Composed {
        /// Why not by the fused kernels.
        reason: String,
        /// Whether weights in bf16 take half the memory.
        keeps_halves: bool,
    },
}

impl ComputePath {
    /// The path that is taken on a device, whatever the model.
    pub fn on(device: &Device) -> Self {
        if !is_cpu(device) {
            return Self::Composed { reason: "the device is not a CPU".into(), keeps_halves: takes_halves(device) };
        }
        let isa = Isa::best();
        Self::Fused { instructions: isa.name(), gains_by_bf16: isa.has_pairs() }
    }

    /// The path that this model takes.
    pub(crate) fn of(model: &Model) -> Self {
        Self::on(model.device())
    }

    /// Whether it is the fused one.
    pub fn is_fused(&self) -> bool {
        matches!(self, Self::Fused { .. })
    }
}

impl fmt::Display for ComputePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fused { instructions, .. } => write!(f, "fused kernels ({instructions})"),
            Self::Composed { reason, .. } => write!(f, "burn operations, because {reason}"),
        }
    }
}
