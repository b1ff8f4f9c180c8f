use half::{bf16, f16};
use rayon::prelude::*;

use crate::{CheckpointError, HostTensor};

/// How a model's numbers are stored as plain floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// 16 bits, eleven of them digits; nothing above 65504.
    F16,
    /// 16 bits, eight of them digits, the range of `F32`.
    Bf16,
}

impl FloatType {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The name in a safetensors header.
    pub(super) fn safetensors_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    /// The name in `config.json`.
    pub(super) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// The numbers in this form, to the nearest, ties to even; refuses those that have no place in it.
    pub(super) fn encode(self, name: &str, tensor: &HostTensor) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = vec![0; tensor.values.len() * self.bytes()];
        match self {
            Self::F32 => bytes.par_chunks_exact_mut(4).zip(&tensor.values).for_each(|(to, value)| {
                to.copy_from_slice(&value.to_le_bytes());
            }),
            Self::F16 => {
                let largest = tensor.values.par_iter().map(|value| value.abs()).reduce(|| 0.0, f32::max);
                if f16::from_f32(largest).is_infinite() {
                    return Err(CheckpointError::new(
                        "write::too_large",
                        format!("the weight `{name}` holds {largest}, and float16 ends at 65504"),
                    )
                    .with_help("write the model as `bf16` or `f32`"));
                }
                bytes.par_chunks_exact_mut(2).zip(&tensor.values).for_each(|(to, value)| {
                    to.copy_from_slice(&f16::from_f32(*value).to_le_bytes());
                });
            }
            Self::Bf16 => bytes.par_chunks_exact_mut(2).zip(&tensor.values).for_each(|(to, value)| {
                to.copy_from_slice(&bf16::from_f32(*value).to_le_bytes());
            }),
        }
        Ok(bytes)
    }
}
