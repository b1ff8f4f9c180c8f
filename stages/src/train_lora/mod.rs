//! `train-lora`: fits a LoRA adapter to tokens, keeps the best and the last, and draws how the loss fell.

mod params;
mod run;

pub use params::TrainLoraParams;
use refit_engine::stage::{
    InputPort, MemoryEstimate, Outlook, OutputPort, ParamProblem, Resource, Stage, StageError, StepContext,
};

use crate::training::{self, ports};

/// The stage kind.
pub struct TrainLora;

impl Stage for TrainLora {
    type Params = TrainLoraParams;

    const KIND: &'static str = "train-lora";
    const VERSION: u32 = 10;
    const SUMMARY: &'static str = "Trains a LoRA adapter on tokens and writes it in PEFT's format.";
    const INPUTS: &'static [InputPort] = &[ports::BASE, ports::TOKENS];
    const OUTPUTS: &'static [OutputPort] = &[ports::BEST, ports::LAST, ports::HISTORY];
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
