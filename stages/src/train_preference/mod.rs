//! `train-preference`: fits a LoRA adapter to better and worse answers.

mod params;
mod run;

pub use params::TrainPreferenceParams;
use refit_engine::stage::{
    ArtifactKind, InputPort, MemoryEstimate, Outlook, OutputPort, ParamProblem, Resource, Stage, StageError,
    StepContext,
};

use crate::training::{self, ports};

/// The stage kind.
pub struct TrainPreference;

impl Stage for TrainPreference {
    type Params = TrainPreferenceParams;

    const KIND: &'static str = "train-preference";
    const VERSION: u32 = 8;
    const SUMMARY: &'static str =
        "Trains a LoRA adapter to prefer better answers to worse ones: DPO, IPO, ORPO, SimPO or KTO.";
    const INPUTS: &'static [InputPort] = &[
        ports::BASE,
        InputPort::required(
            "tokens",
            &[ArtifactKind::Tokens],
            "what `tokenize` made of preference rows with this model",
        ),
        InputPort::optional(
            "adapter",
            &[ArtifactKind::Adapter],
            "an adapter to go on from, with its rank, alpha and target modules; it is the reference too",
        ),
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        ports::BEST,
        ports::LAST,
        OutputPort::new(
            "history",
            ArtifactKind::History,
            "`history.jsonl` (loss, rewards and log-probabilities of chosen and rejected answers, accuracies and margins of each step), `curve.png`, `curve.svg`",
        ),
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
