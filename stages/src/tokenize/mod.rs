//! `tokenize`: conversations as the model's own tokenizer and chat template print them, with the mask of what is learnt.

mod encode;
mod params;
mod report;
mod run;
mod text;

pub use params::TokenizeParams;
use refit_engine::stage::{ArtifactKind, InputPort, OutputPort, ParamProblem, Stage, StageError, StepContext};

/// The stage kind.
pub struct Tokenize;

impl Stage for Tokenize {
    type Params = TokenizeParams;

    const KIND: &'static str = "tokenize";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Turns conversations, preference pairs and texts into tokens with the model's own tokenizer and chat template, and marks what is learnt.";
    const INPUTS: &'static [InputPort] = &[
        InputPort::required("model", &[ArtifactKind::Model], "the model whose tokenizer and chat template are used"),
        InputPort::required("train", &[ArtifactKind::Records], "the rows to train on"),
        InputPort::optional("validation", &[ArtifactKind::Records], "the rows that training is watched with"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::new(
        "tokens",
        ArtifactKind::Tokens,
        "folder: `tokens.safetensors` and `report.json` (lengths, supervised share, what was dropped or cut)",
    )];

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.problems()
    }

    fn run(params: Self::Params, step: &StepContext) -> Result<(), StageError> {
        run::run(&params, step)
    }
}

#[cfg(test)]
mod tests;
