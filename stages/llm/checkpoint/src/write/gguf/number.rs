use refit_blocks::{BlockFormat, quantize};

use crate::{CheckpointError, FloatType, HostTensor};

/// How the matrices of a GGUF file are kept. Everything else in it is `F32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufType {
    /// Plain floats.
    Float(FloatType),
    /// Blocks of 32 with eight bits a number.
    Q8_0,
    /// Blocks of 32 with four bits a number; embedding and head, which suffer most, have eight.
    Q4_0,
}

/// A number type of `enum ggml_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TensorType {
    Float(FloatType),
    Blocks(BlockFormat),
}

impl GgufType {
    /// `general.file_type` (`enum llama_ftype`).
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::Float(FloatType::F32) => 0,
            Self::Float(FloatType::F16) => 1,
            Self::Float(FloatType::Bf16) => 32,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
        }
    }

    /// The type of one tensor. Rows that do not fill blocks become `F16`, as llama.cpp's converter does it.
    pub(super) fn of_tensor(self, shape: &[usize], is_table: bool) -> TensorType {
        let [_, columns] = shape else { return TensorType::Float(FloatType::F32) };
        let blocks = match self {
            Self::Float(float) => return TensorType::Float(float),
            Self::Q8_0 => BlockFormat::Q8_0,
            Self::Q4_0 if is_table => BlockFormat::Q8_0,
            Self::Q4_0 => BlockFormat::Q4_0,
        };
        if columns.is_multiple_of(blocks.values()) {
            TensorType::Blocks(blocks)
        } else {
            TensorType::Float(FloatType::F16)
        }
    }
}

impl TensorType {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Float(FloatType::F32) => 0,
            Self::Float(FloatType::F16) => 1,
            Self::Float(FloatType::Bf16) => 30,
            Self::Blocks(BlockFormat::Q8_0) => 8,
            Self::Blocks(_) => 2,
        }
    }

    pub(super) fn bytes_of(self, values: usize) -> usize {
        match self {
            Self::Float(float) => values * float.bytes(),
            Self::Blocks(blocks) => blocks.bytes_of(values).expect("invariant: rows fill blocks"),
        }
    }

    pub(super) fn encode(self, name: &str, tensor: &HostTensor) -> Result<Vec<u8>, CheckpointError> {
        match self {
            Self::Float(float) => float.encode(name, tensor),
            Self::Blocks(blocks) => {
                Ok(quantize(blocks, &tensor.values).expect("invariant: rows fill blocks of a format that is written"))
            }
        }
    }
}
