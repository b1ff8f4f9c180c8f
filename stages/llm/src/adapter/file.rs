use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use refit_checkpoint::ModelConfig;
use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, serialize},
};

use super::{Adapter, AdapterTemplate, AdapterTensor, LoraConfig, Part, peft::ReadError};
use crate::{LlmError, model::LinearModule};

/// PEFT's settings file.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// PEFT's weights file.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// The chat template; PEFT does not read it.
pub const TEMPLATE_FILE: &str = "template.json";

/// Writes an adapter as PEFT does, into an existing folder. The same adapter gives the same bytes.
pub fn save(adapter: &Adapter, folder: &Path) -> Result<(), LlmError> {
    let modules: Vec<&str> = {
        let mut names: Vec<&str> = adapter.tensors.iter().map(AdapterTensor::short_name).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    fs_err::write(folder.join(CONFIG_FILE), adapter.config.to_json(&modules))?;
    fs_err::write(folder.join(WEIGHTS_FILE), weights(adapter))?;
    write_template(adapter.template.as_ref(), folder)
}

/// Writes the chat template beside an adapter, if it is known.
pub(crate) fn write_template(template: Option<&AdapterTemplate>, folder: &Path) -> Result<(), LlmError> {
    if let Some(template) = template {
        let text = serde_json::to_string_pretty(template).expect("invariant: two texts always serialise");
        fs_err::write(folder.join(TEMPLATE_FILE), text)?;
    }
    Ok(())
}

/// Reads the chat template beside an adapter, if there is one.
pub(crate) fn read_template(folder: &Path) -> Result<Option<AdapterTemplate>, LlmError> {
    let path = folder.join(TEMPLATE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let template = serde_json::from_str(&fs_err::read_to_string(&path)?);
    template.map(Some).map_err(|error| LlmError::AdapterFile { path, reason: error.to_string() })
}

/// The bytes of `adapter_model.safetensors`.
pub(crate) fn weights(adapter: &Adapter) -> Vec<u8> {
    let bytes: Vec<u8> = adapter.values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let views = adapter.tensors.iter().map(|tensor| {
        let range = tensor.range();
        let view = TensorView::new(Dtype::F32, tensor.file_shape().to_vec(), &bytes[range.start * 4..range.end * 4]);
        (tensor.name(), view.expect("invariant: shape and range belong together"))
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    serialize(views, Some(metadata)).expect("invariant: names are unique and shapes fit")
}

/// Reads an adapter that PEFT or refit wrote, for a model.
///
/// # Errors
/// Missing or damaged files, a method other than LoRA and DoRA, or shapes of another model.
pub fn load(folder: &Path, model: &ModelConfig) -> Result<Adapter, LlmError> {
    let path = folder.join(CONFIG_FILE);
    let config = LoraConfig::from_json(&fs_err::read_to_string(&path)?).map_err(|error| error.at(&path))?;
    let path = folder.join(WEIGHTS_FILE);
    let mut adapter = read_weights(&fs_err::read(&path)?, config, model).map_err(|error| error.at(&path))?;
    adapter.template = read_template(folder)?;
    Ok(adapter)
}

/// Reads the bytes of `adapter_model.safetensors`. The tensors there decide which modules are adapted.
pub(crate) fn read_weights(bytes: &[u8], config: LoraConfig, model: &ModelConfig) -> Result<Adapter, ReadError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| ReadError::Malformed(error.to_string()))?;
    let mut found = BTreeMap::new();
    for (name, view) in file.tensors() {
        let (layer, module, part) = parse_name(&name, model).ok_or_else(|| {
            ReadError::Malformed(format!("`{name}` is no LoRA tensor of a linear layer of the model"))
        })?;
        found.insert((layer, module, part), (name, view));
    }
    let lengths = |(_, _, part): &(usize, LinearModule, Part)| *part == Part::Magnitude;
    if let Some((_, (name, _))) = found.iter().find(|(key, _)| lengths(key) && !config.dora) {
        return Err(ReadError::Malformed(format!("`{name}` is a part of DoRA, but `use_dora` is not set")));
    }
    let modules: Vec<(usize, LinearModule)> = {
        let mut modules: Vec<_> = found.keys().map(|(layer, module, _)| (*layer, *module)).collect();
        modules.dedup();
        modules
    };
    if modules.is_empty() {
        return Err(ReadError::Malformed("it holds no LoRA matrix".into()));
    }
    let mut adapter = Adapter::zeros(config, model, &modules);
    adapter.check_shapes(model).map_err(ReadError::Unsupported)?;
    for tensor in &adapter.tensors {
        let (name, view) = found
            .get(&(tensor.layer, tensor.module, tensor.part))
            .ok_or_else(|| ReadError::Malformed(format!("`{}` is missing", tensor.name())))?;
        if view.shape() != tensor.file_shape() {
            return Err(ReadError::Unsupported(LlmError::AdapterMismatch {
                reason: format!("`{name}` is {:?}, but {:?} fits the model and `r`", view.shape(), tensor.file_shape()),
            }));
        }
        adapter.values[tensor.range()].copy_from_slice(&values_in(name, view)?);
    }
    Ok(adapter)
}

fn parse_name(name: &str, model: &ModelConfig) -> Option<(usize, LinearModule, Part)> {
    let rest = name.strip_prefix("base_model.model.")?;
    let (path, part) =
        [(".lora_A.weight", Part::A), (".lora_B.weight", Part::B), (".lora_magnitude_vector", Part::Magnitude)]
            .into_iter()
            .find_map(|(suffix, part)| Some((rest.strip_suffix(suffix)?, part)))?;
    let (layer, module) = model.linear_at(path)?;
    Some((layer, module, part))
}

/// The numbers of a tensor of an adapter's file.
pub(crate) fn values_in(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, ReadError> {
    let values = to_f32(view).ok_or_else(|| {
        ReadError::Malformed(format!("`{name}` is stored as {:?}; only F32, F16 and BF16 are read", view.dtype()))
    })?;
    if values.iter().any(|v| !v.is_finite()) {
        return Err(ReadError::Malformed(format!("`{name}` holds NaN or infinity")));
    }
    Ok(values)
}

fn to_f32(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let two = |convert: fn([u8; 2]) -> f32| view.data().chunks_exact(2).map(|b| convert([b[0], b[1]])).collect();
    match view.dtype() {
        Dtype::F32 => Some(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Dtype::F16 => Some(two(|b| half::f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Some(two(|b| half::bf16::from_le_bytes(b).to_f32())),
        _ => None,
    }
}
