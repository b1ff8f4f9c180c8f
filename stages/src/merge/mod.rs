//! `merge`: a base and its adapter become one model.

mod params;
mod run;

pub use params::{FloatName, MergeParams};
use refit_engine::stage::{ArtifactKind, InputPort, OutputPort, Resource, Stage, StageError, StepContext};

/// The stage kind.
pub struct Merge;

impl Stage for Merge {
    type Params = MergeParams;

    const KIND: &'static str = "merge";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Adds a LoRA adapter to the weights of its base and writes the model they make.";
    const INPUTS: &'static [InputPort] = &[
        InputPort::required("model", &[ArtifactKind::Model], "the base model"),
        InputPort::required("adapter", &[ArtifactKind::Adapter], "the LoRA adapter"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::new(
        "model",
        ArtifactKind::Model,
        "a Hugging Face folder: configuration, tokenizer and template of the base, and the new weights",
    )];
    const RESOURCE: Resource = Resource::Accelerator;

    fn run(params: Self::Params, step: &StepContext) -> Result<(), StageError> {
        run::run(&params, step)
    }
}
