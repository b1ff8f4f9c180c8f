mod k4_k5;
mod k6;
mod nf4;
mod q4;
mod q5;
mod q8;

pub(crate) use k4_k5::{Q4K, Q5K};
pub(crate) use k6::Q6K;
pub(crate) use nf4::Nf4;
pub use nf4::{LookUp, NF4_CODE, PlainLookUp};
pub(crate) use q4::{Q4v0, Q4v1};
pub(crate) use q5::{Q5v0, Q5v1};
pub(crate) use q8::Q8v0;

use crate::GROUP;

/// How numbers lie in a block.
pub trait Layout {
    /// Numbers in a block.
    const VALUES: usize;
    /// Bytes of a block.
    const BYTES: usize;

    /// What codes stand for.
    const CODING: Coding;

    /// The numbers at `GROUP · group` and after of a block.
    fn group(block: &[u8], group: usize, look_up: impl LookUp) -> [f32; GROUP];

    /// The codes that these numbers are made of.
    fn codes(block: &[u8], group: usize) -> [u8; GROUP];

    /// What codes of a group are multiplied by, as a number of the block and one of the run, or 1. Most blocks begin with it.
    #[inline(always)]
    fn scale(block: &[u8], _group: usize) -> (f32, i8) {
        (half_at(block, 0), 1)
    }

    /// What is added after that, in the same way, where a format adds something.
    fn offset(_block: &[u8], _group: usize) -> (f32, i8) {
        (0.0, 1)
    }
}

/// `number = scale · (code − zero) + offset`, or `scale · level[code]`. Scale and offset are those of a block; or of a run, whose
/// own part is a small integer that the block's is multiplied by.
#[derive(Debug, Clone, Copy)]
pub struct Coding {
    /// Bits of a code.
    pub bits: usize,
    /// What is taken off a code first.
    pub zero: u8,
    /// What codes stand for where that is not themselves.
    pub levels: Option<&'static [f32; 16]>,
    /// Numbers of a run, where a block has several.
    pub run: Option<usize>,
    /// Whether something is added.
    pub offset: bool,
}

/// Some bytes of a block, whose size and place are the layout's.
#[inline(always)]
fn part<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("invariant: a block is whole")
}

/// The half-precision number at a byte offset. Finite numbers only: a file with others is refused when it is read.
///
/// Written out so that it becomes part of the loop around it: exponent and digits moved to their places, and the
/// exponent's other bias made up for by a product, which is exact for subnormal ones too.
#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    let bits = u32::from(u16::from_le_bytes(*part(block, at)));
    let size = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(size.to_bits() | (bits & 0x8000) << 16)
}

/// Sixteen nibbles: the low ones of sixteen bytes for `shift` 0, the high ones for 4.
#[inline(always)]
fn nibbles(bytes: &[u8; GROUP], shift: usize) -> [u8; GROUP] {
    std::array::from_fn(|i| bytes[i] >> shift & 15)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn every_finite_half_is_read_as_the_library_reads_it() {
        for bits in 0..=u16::MAX {
            let expected = f16::from_bits(bits);
            if expected.is_finite() {
                assert_eq!(half_at(&bits.to_le_bytes(), 0).to_bits(), expected.to_f32().to_bits());
            }
        }
    }
}
