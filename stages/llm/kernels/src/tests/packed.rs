//! Weights in blocks beside the same numbers unpacked first.

use half::bf16;
use proptest::prelude::*;
use refit_blocks::BlockFormat;

use super::{assert_close, lanes};
use crate::{Isa, Left, Panels, Precision, Term, Weight, product};

/// Random blocks whose half-precision and single-precision scales are small finite numbers.
fn random_blocks(format: BlockFormat, rows: usize, width: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    };
    let halves: &[usize] = match format {
        BlockFormat::Q4_0 | BlockFormat::Q5_0 | BlockFormat::Q8_0 => &[0],
        BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4K | BlockFormat::Q5K => &[0, 2],
        BlockFormat::Q6K => &[208],
        BlockFormat::Nf4 => &[],
    };
    let mut bytes = vec![0; rows * format.bytes_of(width).unwrap()];
    for block in bytes.chunks_exact_mut(format.bytes()) {
        block.fill_with(|| random() as u8);
        let mut scale = || (random() % 200) as f32 / 1e4 - 0.01;
        for at in halves {
            block[*at..at + 2].copy_from_slice(&half::f16::from_f32(scale()).to_le_bytes());
        }
        if format == BlockFormat::Nf4 {
            block[..4].copy_from_slice(&scale().abs().to_le_bytes());
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Products of blocks go through the same numbers in the same order as those of the unpacked weight: no bit differs. Where this processor multiplies
    /// f16, the unpacked one is kept in that strip by strip, and pieces of a strip are brought into it: of the smallest numbers other ones become zero.
    #[test]
    fn blocks_give_what_their_numbers_give(
        out in 1usize..70, blocks in 1usize..4, tokens in 1usize..120, seed in 1u64..1000, onto in any::<bool>(),
    ) {
        for format in BlockFormat::ALL {
            let width = blocks * format.values();
            let bytes = random_blocks(format, out, width, seed);
            let values = format.decode(&bytes);
            for precision in [Precision::F32, Precision::Bf16] {
                let packed = Weight::packed(format, bytes.clone(), out, width, precision);
                let plain = Weight::new(&values, out, width, precision);
                for isa in Isa::available() {
                    for transposed in [false, true] {
                        let (rows, depth) = if transposed { (width, out) } else { (out, width) };
                        let right = lanes(depth, tokens, seed + 1);
                        let stride = right.stride();
                        let start = super::numbers(rows * stride, seed + 2);
                        let computed = |weight| {
                            let mut panels = Panels::default();
                            let right = panels.pack(isa, precision, right.values(), stride);
                            let left = if transposed { Left::Transposed(weight) } else { Left::Weight(weight) };
                            let mut c = if onto { start.clone() } else { vec![f32::NAN; start.len()] };
                            product(isa, &mut c, stride, onto, &[Term { left, right }]);
                            c
                        };
                        let what = format!("{format} {} {precision:?}", isa.name());
                        let (found, expected) = (computed(&packed), computed(&plain));
                        if precision == Precision::Bf16 && Isa::best().multiplies_halves() {
                            let expected: Vec<f64> = expected.iter().copied().map(f64::from).collect();
                            assert_close(&found, &expected, 1e-3, &what);
                        } else {
                            prop_assert_eq!(found, expected, "{}", what);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn unpacking_is_the_decoders_bit_for_bit_with_all_instructions() {
    for format in BlockFormat::ALL {
        let width = 3 * format.values();
        let bytes = random_blocks(format, 5, width, 9);
        let values = format.decode(&bytes);
        let weight = Weight::packed(format, bytes, 5, width, Precision::F32);
        let packed = weight.in_blocks().unwrap();
        let mut row = vec![0f32; width];
        for isa in Isa::available() {
            for (at, expected) in values.chunks_exact(width).enumerate() {
                packed.read_row(isa, at, &mut row);
                assert_eq!(row, expected, "{format} {}", isa.name());
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_a_product_of_blocks() {
    let (out, width, tokens) = (200, 2304, 150);
    let right = lanes(width, tokens, 6);
    let stride = right.stride();
    for (format, precision) in [(BlockFormat::Q4K, Precision::F32), (BlockFormat::Q8_0, Precision::Bf16)] {
        let weight = Weight::packed(format, random_blocks(format, out, width, 4), out, width, precision);
        let computed: Vec<Vec<f32>> = [1, 2, 3, 7]
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let isa = Isa::best();
                    let mut panels = Panels::default();
                    let right = panels.pack(isa, precision, right.values(), stride);
                    let mut c = vec![0f32; out * stride];
                    product(isa, &mut c, stride, false, &[Term { left: Left::Weight(&weight), right }]);
                    c
                })
            })
            .into();
        assert!(computed.iter().all(|other| *other == computed[0]));
    }
}

#[test]
fn a_row_of_blocks_is_read_exactly_in_any_precision() {
    let bytes = random_blocks(BlockFormat::Q6K, 3, 512, 2);
    let values = BlockFormat::Q6K.decode(&bytes);
    assert!(values.iter().any(|value| bf16::from_f32(*value).to_f32().to_bits() != value.to_bits()));
    let weight = Weight::packed(BlockFormat::Q6K, bytes, 3, 512, Precision::Bf16);
    let mut row = vec![0f32; 512];
    weight.read_row(1, &mut row);
    assert_eq!(row, values[512..1024]);
    assert_eq!(weight.bytes(), 3 * 2 * 210);
}
