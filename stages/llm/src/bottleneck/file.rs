use std::path::Path;

use refit_checkpoint::ModelConfig;
use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, serialize},
};

use super::{BottleneckAdapter, BottleneckConfig};
use crate::{
    LlmError,
    adapter::{CONFIG_FILE, ReadError, read_template, values_in, write_template},
};

/// The library's weights file with `use_safetensors=True`.
pub const WEIGHTS_FILE: &str = "adapter.safetensors";

/// Writes an adapter as the `adapters` library does, into an existing folder: `model.load_adapter(folder,
/// use_safetensors=True)` reads it. The same adapter gives the same bytes.
///
/// # Errors
/// What the disk says.
pub fn save(adapter: &BottleneckAdapter, model: &ModelConfig, folder: &Path) -> Result<(), LlmError> {
    fs_err::write(folder.join(CONFIG_FILE), adapter.config.to_json(model))?;
    fs_err::write(folder.join(WEIGHTS_FILE), weights(adapter))?;
    write_template(adapter.template.as_ref(), folder)
}

/// The bytes of `adapter.safetensors`.
fn weights(adapter: &BottleneckAdapter) -> Vec<u8> {
    let bytes: Vec<u8> = adapter.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let views = adapter.tensors.iter().map(|tensor| {
        let range = tensor.range();
        let view = TensorView::new(Dtype::F32, tensor.file_shape().to_vec(), &bytes[range.start * 4..range.end * 4]);
        (tensor.name.as_str(), view.expect("invariant: shape and range belong together"))
    });
    serialize(views, None).expect("invariant: names are unique and shapes fit")
}

/// Reads an adapter that the library or refit wrote, for a model.
///
/// # Errors
/// Missing or damaged files, a form that is not computed here, or shapes of another model.
pub fn load(folder: &Path, model: &ModelConfig) -> Result<BottleneckAdapter, LlmError> {
    let path = folder.join(CONFIG_FILE);
    let config = BottleneckConfig::from_json(&fs_err::read_to_string(&path)?).map_err(|error| error.at(&path))?;
    let path = folder.join(WEIGHTS_FILE);
    if !path.exists() && folder.join("pytorch_adapter.bin").exists() {
        return Err(LlmError::PickledAdapter { path: folder.join("pytorch_adapter.bin") });
    }
    let mut adapter = read_weights(&fs_err::read(&path)?, config, model).map_err(|error| error.at(&path))?;
    adapter.template = read_template(folder)?;
    Ok(adapter)
}

/// Reads the bytes of `adapter.safetensors`, which has to hold all tensors that the settings ask for and no others.
fn read_weights(bytes: &[u8], config: BottleneckConfig, model: &ModelConfig) -> Result<BottleneckAdapter, ReadError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| ReadError::Malformed(error.to_string()))?;
    let mut adapter = BottleneckAdapter::zeros(config, model).map_err(ReadError::Unsupported)?;
    for tensor in &adapter.tensors {
        let name = &tensor.name;
        // Saved from a model without a head, names begin within it.
        let inner = name.split_once('.').map_or(name.as_str(), |(_, inner)| inner);
        let view = file.tensor(name).or_else(|_| file.tensor(inner));
        let view = view.map_err(|_| ReadError::Malformed(format!("`{name}` is missing")))?;
        if view.shape() != tensor.file_shape() {
            return Err(ReadError::Unsupported(LlmError::AdapterMismatch {
                reason: format!(
                    "`{name}` is {:?}, but {:?} fits the model and `reduction_factor`",
                    view.shape(),
                    tensor.file_shape()
                ),
            }));
        }
        adapter.values[tensor.range()].copy_from_slice(&values_in(name, &view)?);
    }
    let known = |name: &str| {
        adapter.tensors.iter().any(|tensor| tensor.name == name || tensor.name.ends_with(&format!(".{name}")))
    };
    match file.names().into_iter().find(|name| !known(name)) {
        Some(other) => Err(ReadError::Malformed(format!("`{other}` is no tensor of an adapter with these settings"))),
        None => Ok(adapter),
    }
}
