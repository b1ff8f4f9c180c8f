//! How numbers are packed: plain floats, and the blocks of ggml (layouts of `ggml-common.h`, decoding as `ggml-quants.c`).

mod float;
mod k4_k5;
mod k6;
mod q4;
mod q5;
mod q8;

use half::f16;
use rayon::prelude::*;

/// One way of packing numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockFormat {
    pub(crate) name: &'static str,
    /// Values in one block.
    pub(crate) values: usize,
    /// Bytes of one block.
    pub(crate) bytes: usize,
    /// Unpacks whole blocks.
    decode: fn(&[u8], &mut [f32]),
}

pub(crate) const F32: BlockFormat = BlockFormat { name: "F32", values: 1, bytes: 4, decode: float::f32s };
pub(crate) const F16: BlockFormat = BlockFormat { name: "F16", values: 1, bytes: 2, decode: float::f16s };
pub(crate) const BF16: BlockFormat = BlockFormat { name: "BF16", values: 1, bytes: 2, decode: float::bf16s };
pub(crate) const F64: BlockFormat = BlockFormat { name: "F64", values: 1, bytes: 8, decode: float::f64s };

/// Type numbers of GGUF (`enum ggml_type`) and their formats.
const GGML_TYPES: [(u32, BlockFormat); 11] = [
    (0, F32),
    (1, F16),
    (2, BlockFormat { name: "Q4_0", values: 32, bytes: 18, decode: q4::q4_0 }),
    (3, BlockFormat { name: "Q4_1", values: 32, bytes: 20, decode: q4::q4_1 }),
    (6, BlockFormat { name: "Q5_0", values: 32, bytes: 22, decode: q5::q5_0 }),
    (7, BlockFormat { name: "Q5_1", values: 32, bytes: 24, decode: q5::q5_1 }),
    (8, BlockFormat { name: "Q8_0", values: 32, bytes: 34, decode: q8::q8_0 }),
    (12, BlockFormat { name: "Q4_K", values: 256, bytes: 144, decode: k4_k5::q4_k }),
    (13, BlockFormat { name: "Q5_K", values: 256, bytes: 176, decode: k4_k5::q5_k }),
    (14, BlockFormat { name: "Q6_K", values: 256, bytes: 210, decode: k6::q6_k }),
    (30, BF16),
];

/// The format of a GGUF type number.
pub(crate) fn ggml_format(type_number: u32) -> Option<BlockFormat> {
    GGML_TYPES.iter().find(|(number, _)| *number == type_number).map(|(_, format)| *format)
}

/// The names of all formats a GGUF file may use here.
pub(crate) fn ggml_names() -> String {
    GGML_TYPES.map(|(_, format)| format.name).join(", ")
}

/// Values unpacked by one task: large enough to hide the cost of a task, small enough to share out one tensor.
const TASK_VALUES: usize = 1 << 16;

impl BlockFormat {
    /// Bytes that hold this many values, if they fill whole blocks.
    pub(crate) fn bytes_of(&self, values: usize) -> Option<usize> {
        if !values.is_multiple_of(self.values) {
            return None;
        }
        (values / self.values).checked_mul(self.bytes)
    }

    /// Unpacks all of `bytes`, which holds whole blocks, on all cores.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Vec<f32> {
        let blocks = bytes.len() / self.bytes;
        let mut values = vec![0.0; blocks * self.values];
        let per_task = TASK_VALUES / self.values;
        values
            .par_chunks_mut(per_task * self.values)
            .zip(bytes.par_chunks(per_task * self.bytes))
            .for_each(|(values, bytes)| (self.decode)(bytes, values));
        values
    }
}

/// The half-precision number at a byte offset.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of random bytes with tame scales and what Python's `gguf.quants.dequantize` makes of them; written by
    /// `tests/reference/blocks.py`.
    const REFERENCE: &str = include_str!("../../tests/reference/blocks.txt");

    #[test]
    fn every_block_format_decodes_like_the_gguf_package() {
        let mut lines = REFERENCE.lines();
        let mut seen = 0;
        while let (Some(name), Some(packed), Some(expected)) = (lines.next(), lines.next(), lines.next()) {
            let format = GGML_TYPES.iter().find(|(_, format)| format.name == name).expect("a known format").1;
            let bytes: Vec<u8> = (0..packed.len() / 2)
                .map(|i| u8::from_str_radix(&packed[2 * i..2 * i + 2], 16).expect("hex"))
                .collect();
            let expected: Vec<u32> =
                expected.split(' ').map(|bits| u32::from_str_radix(bits, 16).expect("hex")).collect();
            let got: Vec<u32> = format.decode(&bytes).iter().map(|value| value.to_bits()).collect();
            assert_eq!(got.len(), expected.len(), "{name}");
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                let (got, expected) = (f32::from_bits(*got), f32::from_bits(*expected));
                assert!(
                    (got - expected).abs() <= 1e-6 * expected.abs().max(1e-3),
                    "{name} value {i}: {got} is not {expected}"
                );
            }
            seen += 1;
        }
        assert_eq!(seen, GGML_TYPES.len());
    }
}
