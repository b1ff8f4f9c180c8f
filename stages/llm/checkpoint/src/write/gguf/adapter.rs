use std::path::Path;

use super::{
    file::{Planned, write_file},
    metadata::Metadata,
    number::TensorType,
};
use crate::{
    CheckpointError, FloatType, HostTensor, ModelConfig,
    family::gguf_name,
    gguf::{GgufFile, half_split_rows, interleaved_rows, rotary_heads},
};

/// Which matrix of a LoRA update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraMatrix {
    /// `[rank, in]`, first applied.
    A,
    /// `[out, rank]`.
    B,
}

/// A LoRA adapter as llama.cpp loads it beside a GGUF model (`--lora`, `convert_lora_to_gguf.py`): `alpha / rank` scales it.
#[derive(Debug)]
pub struct GgufLora<'a> {
    /// The model it belongs to.
    pub model: &'a ModelConfig,
    /// `adapter.lora.alpha`.
    pub alpha: f64,
    /// The matrices: the layer's weight by its Hugging Face name, which of the two, and its numbers.
    pub matrices: Vec<(String, LoraMatrix, HostTensor)>,
}

impl GgufLora<'_> {
    /// The name of a matrix in the file: `blk.0.attn_q.weight.lora_a`.
    fn name(&self, weight: &str, matrix: LoraMatrix) -> Result<String, CheckpointError> {
        let weight = gguf_name(self.model, weight).ok_or_else(|| {
            CheckpointError::new("write::no_name", format!("the weight `{weight}` has no name in GGUF"))
        })?;
        let end = match matrix {
            LoraMatrix::A => "lora_a",
            LoraMatrix::B => "lora_b",
        };
        Ok(format!("{weight}.{end}"))
    }

    /// Rows of B are the rows of the weight, which the file may keep in another order.
    fn heads(&self, weight: &str, matrix: LoraMatrix) -> Option<usize> {
        (matrix == LoraMatrix::B).then(|| rotary_heads(weight, self.model)).flatten()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// A disk that takes no more; numbers that the type does not hold.
    pub fn write(&self, path: &Path, stored: FloatType) -> Result<(), CheckpointError> {
        let mut metadata = Metadata::default();
        metadata.text("general.architecture", self.model.family.name());
        metadata.text("general.type", "adapter");
        metadata.text("general.name", &self.model.name);
        metadata.text("adapter.type", "lora");
        metadata.float("adapter.lora.alpha", self.alpha);
        metadata.count("general.file_type", super::GgufType::Float(stored).file_type() as usize);
        let kind = TensorType::Float(stored);
        let plan = |(weight, matrix, tensor): &(String, LoraMatrix, HostTensor)| {
            Ok(Planned { name: self.name(weight, *matrix)?, shape: tensor.shape.clone(), kind })
        };
        let tensors = self.matrices.iter().map(plan).collect::<Result<Vec<_>, CheckpointError>>()?;
        let mut matrices = self.matrices.iter();
        write_file(path, &metadata, &tensors, |_| {
            let (weight, matrix, tensor) = matrices.next().expect("invariant: tensors are asked for in order");
            let mut tensor = tensor.clone();
            if let Some(heads) = self.heads(weight, *matrix) {
                tensor.values = interleaved_rows(&tensor.values, tensor.shape[0], heads);
            }
            Ok(tensor)
        })
    }

    /// The numbers that a file holds for these matrices, in their order, as the model's rows lie.
    ///
    /// # Errors
    /// A file that cannot be read or lacks one of them.
    pub fn read(&self, path: &Path) -> Result<Vec<HostTensor>, CheckpointError> {
        let file = GgufFile::open(path)?;
        let read = |(weight, matrix, _): &(String, LoraMatrix, HostTensor)| {
            let name = self.name(weight, *matrix)?;
            let mut found = file.tensor(&name).ok_or_else(|| {
                CheckpointError::new("weights::missing_tensor", format!("`{name}` is not in the file")).at(path)
            })?;
            if let Some(heads) = self.heads(weight, *matrix) {
                found.values = half_split_rows(&found.values, found.shape[0], heads);
            }
            Ok(found)
        };
        self.matrices.iter().map(read).collect()
    }
}
