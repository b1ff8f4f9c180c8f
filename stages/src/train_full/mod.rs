//! `train-full`: trains weights of the model itself, all or chosen ones, and writes the model as a Hugging Face folder.

mod params;
mod run;

pub use params::TrainFullParams;
use refit_engine::stage::{
    ArtifactKind, InputPort, MemoryEstimate, Outlook, OutputPort, ParamProblem, Resource, Stage, StageError,
    StepContext,
};

use crate::training::{self, ports};

/// The stage kind.
pub struct TrainFull;

impl Stage for TrainFull {
    type Params = TrainFullParams;

    const KIND: &'static str = "train-full";
    const VERSION: u32 = 9;
    const SUMMARY: &'static str = "Trains the weights of a model itself, all or chosen ones, and writes the model.";
    const INPUTS: &'static [InputPort] =
        &[InputPort::required("model", &[ArtifactKind::Model], "the model to start from"), ports::TOKENS];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort::new(
            "model",
            ArtifactKind::Model,
            "a Hugging Face folder with the weights of the lowest validation loss; the last ones if there are no validation rows",
        ),
        ports::HISTORY,
    ];
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
