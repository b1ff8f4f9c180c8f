//! Adapters for other tools.

use std::collections::HashMap;

use refit_checkpoint::{FloatType, GgufLora, HostTensor, LoraMatrix, ModelConfig, read_safetensors, write_safetensors};
use refit_engine::stage::{StageError, StepContext};
use refit_llm::adapter::{Adapter, AdapterTensor};
use serde_json::json;

use crate::model_error::model_error;

/// The matrices of an adapter, where that is all it has.
fn matrices(adapter: &Adapter) -> Result<impl Iterator<Item = (&AdapterTensor, LoraMatrix)>, StageError> {
    if adapter.config.dora {
        return Err(StageError::new(
            "export::dora",
            "the adapter is one of DoRA, and this format has no place for the lengths of rows that it learnt",
        )
        .help("merge it into its base with the stage `merge`, or export that with `format: huggingface` or `gguf`"));
    }
    Ok(adapter.modules().flat_map(|module| [(module.a, LoraMatrix::A), (module.b, LoraMatrix::B)]))
}

/// A file for `llama-cli --lora`: its scale is α / rank, whatever the adapter's is.
pub(super) fn write_gguf_lora(
    adapter: &Adapter,
    model: &ModelConfig,
    stored: FloatType,
    step: &StepContext,
) -> Result<(), StageError> {
    let matrices = matrices(adapter)?.map(|(tensor, matrix)| {
        let values = adapter.values[tensor.range()].to_vec();
        let weight = format!("{}.weight", tensor.path);
        (weight, matrix, HostTensor { shape: tensor.shape.to_vec(), values })
    });
    let lora =
        GgufLora { model, alpha: adapter.config.scale() * adapter.config.rank as f64, matrices: matrices.collect() };
    let file = step.output_folder("files")?.join("adapter.gguf");
    lora.write(&file, stored).map_err(|error| model_error(&error))?;
    let found = lora.read(&file).map_err(|error| model_error(&error))?;
    same_numbers(lora.matrices.iter().map(|(name, _, tensor)| (name.as_str(), tensor)), &found, stored, step)
}

/// A folder for `mlx_lm.generate --adapter-path`: matrices transposed, and the scale as a number of its own.
pub(super) fn write_mlx(
    adapter: &Adapter,
    model: &ModelConfig,
    stored: FloatType,
    step: &StepContext,
) -> Result<(), StageError> {
    let folder = step.output_folder("files")?;
    let tensors: Vec<(String, HostTensor)> = matrices(adapter)?
        .map(|(tensor, matrix)| {
            let end = match matrix {
                LoraMatrix::A => "lora_a",
                LoraMatrix::B => "lora_b",
            };
            (format!("{}.{end}", tensor.path), transposed(&adapter.values[tensor.range()], tensor.shape))
        })
        .collect();
    let file = folder.join("adapters.safetensors");
    let entries: Vec<(String, Vec<usize>)> =
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
    let by_name: HashMap<&str, &HostTensor> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write_safetensors(&file, &entries, stored, |name| Ok(by_name[name].clone()))
        .map_err(|error| model_error(&error))?;

    // Within a layer, as mlx-lm names what it adapts.
    let mut keys: Vec<String> = adapter
        .tensors
        .iter()
        .filter_map(|tensor| tensor.path.split_once(&format!(".{}.", tensor.layer)).map(|(_, key)| key.to_owned()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let settings = json!({
        "fine_tune_type": "lora",
        // All of them: a layer without matrices in the file keeps its own output.
        "num_layers": model.layers,
        "lora_parameters": {
            "rank": adapter.config.rank,
            "scale": adapter.config.scale(),
            "dropout": adapter.config.dropout,
            "keys": keys,
        },
    });
    fs_err::write(folder.join("adapter_config.json"), format!("{settings:#}\n"))?;

    let found = tensors.iter().map(|(name, _)| read_safetensors(&file, name)).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| model_error(&error))?;
    same_numbers(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)), &found, stored, step)
}

fn transposed(values: &[f32], [rows, columns]: [usize; 2]) -> HostTensor {
    let values = (0..values.len()).map(|at| values[at % rows * columns + at / rows]).collect();
    HostTensor { shape: vec![columns, rows], values }
}

/// Refuses a file that does not hold the adapter's numbers, up to the rounding of its type.
fn same_numbers<'a>(
    expected: impl Iterator<Item = (&'a str, &'a HostTensor)>,
    found: &[HostTensor],
    stored: FloatType,
    step: &StepContext,
) -> Result<(), StageError> {
    let (share, name) = match stored {
        FloatType::F32 => (0.0, "f32"),
        FloatType::F16 => (f32::EPSILON * 4096.0, "f16"),
        FloatType::Bf16 => (f32::EPSILON * 32_768.0, "bf16"),
    };
    let mut numbers = 0;
    for ((tensor, expected), found) in expected.zip(found) {
        // Half-precision numbers below this have fewer digits.
        let off = |(a, b): (&f32, &f32)| (a - b).abs() > share * b.abs().max(6e-5);
        if found.shape != expected.shape || found.values.iter().zip(&expected.values).any(off) {
            return Err(StageError::new(
                "written::other_numbers",
                format!("the file holds other numbers for `{tensor}` than the adapter"),
            )
            .help("this is a defect; nothing was kept"));
        }
        numbers += found.values.len();
    }
    step.fact("written.type", name);
    step.fact("written.numbers", numbers);
    Ok(())
}
