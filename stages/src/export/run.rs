use refit_checkpoint::{Checkpoint, FloatType, GgufType};
use refit_engine::stage::{StageError, StepContext};
use refit_llm::adapter::{self, Adapter};

use super::{
    ExportParams,
    adapter::{write_gguf_lora, write_mlx},
    params::{Format, NumberName},
};
use crate::{
    llm_error::llm_error,
    model_error::{model_error, open_model},
    written::{Proof, merged, refuse_blocks},
};

pub(super) fn run(params: &ExportParams, step: &StepContext) -> Result<(), StageError> {
    let checkpoint = open_model(step.input("model")?)?;
    let load = |folder| adapter::load(folder, checkpoint.config()).map_err(|error| llm_error(&error).at(folder));
    let adapter = step.optional_input("adapter").map(load).transpose()?;
    let needed = || {
        adapter.as_ref().ok_or_else(|| {
            StageError::new("export::no_adapter", "this format is that of an adapter, and none is wired")
                .help("wire one: `inputs: { model: base, adapter: train.adapter }`; or take `huggingface` or `gguf`")
        })
    };
    match params.format {
        Format::GgufLora => write_gguf_lora(needed()?, checkpoint.config(), params.float_or(FloatType::F32), step),
        Format::Mlx => write_mlx(needed()?, checkpoint.config(), params.float_or(FloatType::F32), step),
        Format::HuggingFace | Format::Gguf => write_model(params, &checkpoint, adapter.as_ref(), step),
    }
}

fn write_model(
    params: &ExportParams,
    checkpoint: &Checkpoint,
    adapter: Option<&Adapter>,
    step: &StepContext,
) -> Result<(), StageError> {
    if adapter.is_some() {
        refuse_blocks(checkpoint, params.dequantize)?;
    }
    if params.format == Format::Gguf {
        checkpoint.check_gguf().map_err(|error| model_error(&error))?;
    }
    let proof = Proof::of(checkpoint, adapter, step)?;
    let own = checkpoint.float_type().unwrap_or(FloatType::F32);
    let folder = step.output_folder("files")?;
    let tensor = |name: &str| merged(checkpoint, adapter, name);
    if params.format == Format::Gguf {
        let kept = params.number.map_or(GgufType::Float(own), NumberName::gguf);
        let file = folder.join("model.gguf");
        checkpoint.write_gguf(&file, kept, tensor).map_err(|error| model_error(&error))?;
        tell_positions(checkpoint, &open_model(&file)?, step);
        proof.hold_against(&file, kept.into(), step)
    } else {
        let stored = params.float_or(own);
        checkpoint.write_folder(&folder, stored, tensor).map_err(|error| model_error(&error))?;
        proof.hold_against(&folder, stored.into(), step)
    }
}

/// llama.cpp has no sliding window for some architectures; such a file is one of a model for texts within the window.
fn tell_positions(source: &Checkpoint, written: &Checkpoint, step: &StepContext) {
    let (all, kept) = (source.config().max_positions, written.config().max_positions);
    if kept < all {
        step.fact("written.positions", format!("{kept} of {all}: GGUF keeps no sliding window of this architecture"));
    }
}
