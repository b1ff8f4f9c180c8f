//! How the numbers of a tensor lie in a file: as plain floats, or packed in blocks.

use half::{bf16, f16};
use rayon::prelude::*;
use refit_blocks::BlockFormat;

/// One way of keeping numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberFormat {
    F32,
    F16,
    Bf16,
    F64,
    Blocks(BlockFormat),
}

/// Type numbers of GGUF (`enum ggml_type`) and what they stand for.
const GGML_TYPES: [(u32, NumberFormat); 11] = [
    (0, NumberFormat::F32),
    (1, NumberFormat::F16),
    (2, NumberFormat::Blocks(BlockFormat::Q4_0)),
    (3, NumberFormat::Blocks(BlockFormat::Q4_1)),
    (6, NumberFormat::Blocks(BlockFormat::Q5_0)),
    (7, NumberFormat::Blocks(BlockFormat::Q5_1)),
    (8, NumberFormat::Blocks(BlockFormat::Q8_0)),
    (12, NumberFormat::Blocks(BlockFormat::Q4K)),
    (13, NumberFormat::Blocks(BlockFormat::Q5K)),
    (14, NumberFormat::Blocks(BlockFormat::Q6K)),
    (30, NumberFormat::Bf16),
];

/// The format of a GGUF type number.
pub(crate) fn ggml_format(type_number: u32) -> Option<NumberFormat> {
    GGML_TYPES.iter().find(|(number, _)| *number == type_number).map(|(_, format)| *format)
}

/// The names of all formats a GGUF file may use here.
pub(crate) fn ggml_names() -> String {
    GGML_TYPES.map(|(_, format)| format.name()).join(", ")
}

/// Values unpacked by one task: large enough to hide the cost of a task, small enough to share out one tensor.
const TASK_VALUES: usize = 1 << 16;

impl NumberFormat {
    /// The name people know it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F64 => "F64",
            Self::Blocks(blocks) => blocks.name(),
        }
    }

    /// Values in one block; one for plain floats.
    pub(crate) fn values(self) -> usize {
        match self {
            Self::Blocks(blocks) => blocks.values(),
            _ => 1,
        }
    }

    /// Bytes that hold this many values, if they fill whole blocks.
    pub(crate) fn bytes_of(self, values: usize) -> Option<usize> {
        match self {
            Self::F16 | Self::Bf16 => values.checked_mul(2),
            Self::F32 => values.checked_mul(4),
            Self::F64 => values.checked_mul(8),
            Self::Blocks(blocks) => blocks.bytes_of(values),
        }
    }

    /// Unpacks all of `bytes`, which holds whole numbers or blocks, on all cores.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => floats(bytes, f32::from_le_bytes),
            Self::F16 => floats(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Self::Bf16 => floats(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Self::F64 => floats(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            Self::Blocks(blocks) => blocks.decode(bytes),
        }
    }
}

fn floats<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / N];
    values.par_chunks_mut(TASK_VALUES).zip(bytes.par_chunks(TASK_VALUES * N)).for_each(|(values, bytes)| {
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = number(*bytes);
        }
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_floats_are_read_in_every_width() {
        let numbers = [0.5f32, -3.0, 65_504.0];
        let bytes = |to: fn(f32) -> Vec<u8>| numbers.into_iter().flat_map(to).collect::<Vec<u8>>();
        for (format, bytes) in [
            (NumberFormat::F32, bytes(|number| number.to_le_bytes().into())),
            (NumberFormat::F16, bytes(|number| f16::from_f32(number).to_le_bytes().into())),
            (NumberFormat::F64, bytes(|number| f64::from(number).to_le_bytes().into())),
        ] {
            assert_eq!(format.bytes_of(3), Some(bytes.len()));
            assert_eq!(format.decode(&bytes), numbers, "{}", format.name());
        }
        assert_eq!(NumberFormat::Bf16.decode(&[0, 0x3f, 0x40, 0xc0]), [0.5, -3.0]);
    }
}
