//! `export`: a model, or an adapter, in the form another tool loads.

mod adapter;
mod params;
mod run;

pub use params::ExportParams;
use refit_engine::stage::{
    ArtifactKind, InputPort, OutputPort, ParamProblem, Resource, Stage, StageError, StepContext,
};

/// The stage kind.
pub struct Export;

impl Stage for Export {
    type Params = ExportParams;

    const KIND: &'static str = "export";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Writes a model or an adapter for other tools: Hugging Face, GGUF, GGUF LoRA, MLX.";
    const INPUTS: &'static [InputPort] = &[
        InputPort::required("model", &[ArtifactKind::Model], "the model; for an adapter, its base"),
        InputPort::optional(
            "adapter",
            &[ArtifactKind::Adapter],
            "a LoRA adapter: what `gguf-lora` and `mlx` write, and what the other formats add to the weights",
        ),
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort::new(
        "files",
        ArtifactKind::Files,
        "a Hugging Face folder; `model.gguf`; `adapter.gguf`; or `adapters.safetensors` and `adapter_config.json` for MLX",
    )];
    const RESOURCE: Resource = Resource::Accelerator;

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.problems()
    }

    fn run(params: Self::Params, step: &StepContext) -> Result<(), StageError> {
        run::run(&params, step)
    }
}
