//! `train-adapter`: fits a bottleneck adapter to tokens, keeps the best and the last, and draws how the loss fell.

mod params;
mod run;

pub use params::TrainAdapterParams;
use refit_engine::stage::{
    ArtifactKind, InputPort, MemoryEstimate, Outlook, OutputPort, ParamProblem, Resource, Stage, StageError,
    StepContext,
};

use crate::training::{self, ports};

/// The stage kind.
pub struct TrainAdapter;

impl Stage for TrainAdapter {
    type Params = TrainAdapterParams;

    const KIND: &'static str = "train-adapter";
    const VERSION: u32 = 8;
    const SUMMARY: &'static str = "Trains a bottleneck adapter (Houlsby, Pfeiffer, parallel) on tokens and writes it as the `adapters` library does.";
    const INPUTS: &'static [InputPort] = &[ports::BASE, ports::TOKENS];
    const OUTPUTS: &'static [OutputPort] =
        &[ports::best(ArtifactKind::Bottleneck), ports::last(ArtifactKind::Bottleneck), ports::HISTORY];
    const RESOURCE: Resource = Resource::Accelerators;
    const MANNER: &'static [&'static str] = training::MANNER;
    const YIELDS: bool = true;

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.problems()
    }

    fn memory(params: &Self::Params, outlook: &Outlook) -> Result<Option<MemoryEstimate>, StageError> {
        params.memory(outlook)
    }

    fn run(params: Self::Params, step: &StepContext) -> Result<(), StageError> {
        run::run(&params, step)
    }
}

#[cfg(test)]
mod tests;
