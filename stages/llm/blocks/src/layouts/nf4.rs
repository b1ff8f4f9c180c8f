use super::{Coding, Layout, part};
use crate::GROUP;

/// The sixteen levels of NF4: quantiles of the normal distribution, in ±1 (`QLoRA`, appendix E; `get_4bit_type` and
/// `create_normal_map` of bitsandbytes).
pub const NF4_CODE: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// What becomes of sixteen codes: processors have instructions for it that a compiler does not find.
pub trait LookUp: Copy {
    /// `table[at[i]]`, every place being below 16.
    fn look_up(self, table: &[f32; 16], at: [u8; GROUP]) -> [f32; GROUP];

    /// The codes as numbers.
    #[inline(always)]
    fn widen(self, codes: [u8; GROUP]) -> [f32; GROUP] {
        codes.map(f32::from)
    }
}

/// One after the other.
#[derive(Clone, Copy)]
pub struct PlainLookUp;

impl LookUp for PlainLookUp {
    #[inline(always)]
    fn look_up(self, table: &[f32; 16], at: [u8; GROUP]) -> [f32; GROUP] {
        at.map(|at| table[usize::from(at & 15)])
    }
}

/// f32 absmax, 32 bytes of which each holds a number in its high nibble and the next in its low one: `code[q] absmax`.
/// bitsandbytes keeps both parts apart, absmax perhaps quantised once more; here they lie together.
pub(crate) struct Nf4;

impl Layout for Nf4 {
    const VALUES: usize = 64;
    const BYTES: usize = 36;
    const CODING: Coding = Coding { bits: 4, zero: 0, levels: Some(&NF4_CODE), run: None, offset: false };

    #[inline(always)]
    fn group(block: &[u8], group: usize, look_up: impl LookUp) -> [f32; GROUP] {
        let absmax = f32::from_le_bytes(*part(block, 0));
        look_up.look_up(&NF4_CODE, Self::codes(block, group)).map(|level| level * absmax)
    }

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u8; GROUP] {
        let pairs: &[u8; GROUP / 2] = part(block, 4 + GROUP / 2 * group);
        std::array::from_fn(|i| pairs[i / 2] >> (4 * (1 - i % 2)) & 15)
    }

    #[inline(always)]
    fn scale(block: &[u8], _group: usize) -> (f32, i8) {
        (f32::from_le_bytes(*part(block, 0)), 1)
    }
}
