use std::path::Path;

use super::{
    file::{Planned, write_file},
    metadata::Metadata,
    number::TensorType,
};
use crate::{
    CheckpointError, FloatType, HostTensor, ModelConfig,
    family::{GgufPart, gguf_parts},
    gguf::{GgufFile, half_split_rows, interleaved_rows},
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
    /// What the file has of a matrix: with a weight in parts go as many pairs of matrices, of which all A are alike.
    fn parts(&self, weight: &str) -> Result<Vec<GgufPart>, CheckpointError> {
        gguf_parts(self.model, weight)
            .ok_or_else(|| CheckpointError::new("write::no_name", format!("the weight `{weight}` has no name in GGUF")))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// A disk that takes no more; numbers that the type does not hold.
    pub fn write(&self, path: &Path, stored: FloatType) -> Result<(), CheckpointError> {
        let mut metadata = Metadata::default();
        metadata.text("general.architecture", self.model.family.gguf_architecture());
        metadata.text("general.type", "adapter");
        metadata.text("general.name", &self.model.name);
        metadata.text("adapter.type", "lora");
        metadata.float("adapter.lora.alpha", self.alpha);
        metadata.count("general.file_type", super::GgufType::Float(stored).file_type() as usize);
        let kind = TensorType::Float(stored);
        let (mut planned, mut sources) = (Vec::new(), Vec::new());
        for (weight, matrix, tensor) in &self.matrices {
            for part in self.parts(weight)? {
                let mut shape = tensor.shape.clone();
                if let Some(rows) = part.rows.as_ref().filter(|_| *matrix == LoraMatrix::B) {
                    shape[0] = rows.len();
                }
                planned.push(Planned { name: matrix.name_for(&part), shape, kind });
                sources.push((part, *matrix, tensor));
            }
        }
        let mut sources = sources.into_iter();
        write_file(path, &metadata, &planned, |_| {
            let (part, matrix, tensor) = sources.next().expect("invariant: tensors are asked for in order");
            let mut tensor = tensor.clone();
            if matrix == LoraMatrix::A {
                return Ok(tensor);
            }
            if let Some(rows) = part.rows {
                tensor = tensor.rows(rows);
            }
            if let Some(heads) = part.heads {
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
        let tensor = |name: String| {
            file.tensor(&name).ok_or_else(|| {
                CheckpointError::new("weights::missing_tensor", format!("`{name}` is not in the file")).at(path)
            })
        };
        let read = |(weight, matrix, expected): &(String, LoraMatrix, HostTensor)| {
            let parts = self.parts(weight)?;
            if *matrix == LoraMatrix::A {
                let mut found =
                    parts.iter().map(|part| tensor(matrix.name_for(part))).collect::<Result<Vec<_>, _>>()?;
                // One that differs from the first is the one to be seen.
                let other = found.iter().position(|other| *other != found[0]).unwrap_or(0);
                return Ok(found.swap_remove(other));
            }
            let mut whole = HostTensor { shape: expected.shape.clone(), values: Vec::new() };
            for part in parts {
                let mut found = tensor(matrix.name_for(&part))?;
                if let Some(heads) = part.heads {
                    found.values = half_split_rows(&found.values, found.shape[0], heads);
                }
                whole.values.append(&mut found.values);
            }
            Ok(whole)
        };
        self.matrices.iter().map(read).collect()
    }
}

impl LoraMatrix {
    /// The name in the file of such a matrix for a part of a weight: `blk.0.attn_q.weight.lora_a`.
    fn name_for(self, part: &GgufPart) -> String {
        let end = match self {
            Self::A => "lora_a",
            Self::B => "lora_b",
        };
        format!("{}.{end}", part.name)
    }
}
