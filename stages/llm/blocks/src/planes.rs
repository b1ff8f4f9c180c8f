//! Blocks taken apart, for devices that know words and floats only: codes as planes of bits, and what codes stand for.

use rayon::prelude::*;

use crate::{BlockFormat, GROUP, Layout, VisitLayout};

/// Bits of a word.
const WORD: usize = 32;

/// What is taken off the integers of [`Steps`].
pub const STEP_ZERO: u8 = 128;

/// Whole blocks, taken apart without loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes {
    /// Bits of the codes, from the lowest up.
    pub codes: Vec<Plane>,
    /// What is taken off a code.
    pub zero: u8,
    /// What codes stand for where that is not themselves.
    pub levels: Option<&'static [f32; 16]>,
    /// What that is multiplied by.
    pub scale: Steps,
    /// What is added then.
    pub offset: Option<Steps>,
}

/// Some bits of integers that follow each other, from the low bits of a word to the high ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    /// How many of each: 1, 2, 4 or 8.
    pub bits: usize,
    /// Words of 32 bits.
    pub words: Vec<i32>,
}

/// A factor for every run of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// One factor for each block.
    pub factors: Vec<f32>,
    /// In formats whose blocks have runs, what the factor of the block is multiplied by in each of them, with [`STEP_ZERO`] added.
    pub runs: Option<Plane>,
}

impl BlockFormat {
    /// Takes whole blocks apart. Numbers are unpacked from that by the same operations as from the blocks:
    /// `(code − zero) · scale + offset`, the factor of a run being its block's times its own.
    ///
    /// # Panics
    /// When the last block is not whole, or the blocks do not fill words: eight of four bytes always do.
    pub fn planes(self, bytes: &[u8]) -> Planes {
        self.visit(TakeApart { bytes })
    }
}

impl Plane {
    /// So many bits of each code, from bit `from` on.
    fn of(codes: &[u8], from: usize, bits: usize) -> Self {
        let each = WORD / bits;
        assert!(codes.len().is_multiple_of(each), "codes fill words");
        let mask = u32::MAX >> (WORD - bits);
        let word = |codes: &[u8]| {
            let bits = codes.iter().enumerate().map(|(at, code)| (u32::from(*code) >> from & mask) << (at * bits));
            bits.fold(0, |word, bits| word | bits) as i32
        };
        Self { bits, words: codes.par_chunks(each).map(word).collect() }
    }
}

struct TakeApart<'a> {
    bytes: &'a [u8],
}

impl VisitLayout for TakeApart<'_> {
    type Output = Planes;

    fn visit<L: Layout>(self) -> Planes {
        let coding = L::CODING;
        let blocks = || self.bytes.par_chunks_exact(L::BYTES);
        let mut codes = vec![0; self.bytes.len() / L::BYTES * L::VALUES];
        blocks().zip(codes.par_chunks_exact_mut(L::VALUES)).for_each(|(block, codes)| {
            for (group, codes) in codes.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
                *codes = L::codes(block, group);
            }
        });
        let steps = |of: fn(&[u8], usize) -> (f32, i8)| Steps {
            factors: blocks().map(|block| of(block, 0).0).collect(),
            runs: coding.run.map(|run| {
                let of_block =
                    |block| (0..L::VALUES).step_by(run).map(move |at| of(block, at / GROUP).1 as u8 ^ STEP_ZERO);
                Plane::of(&blocks().flat_map_iter(of_block).collect::<Vec<_>>(), 0, 8)
            }),
        };
        let planes: &[(usize, usize)] = match coding.bits {
            4 => &[(0, 4)],
            5 => &[(0, 4), (4, 1)],
            6 => &[(0, 4), (4, 2)],
            _ => &[(0, 8)],
        };
        Planes {
            codes: planes.iter().map(|&(from, bits)| Plane::of(&codes, from, bits)).collect(),
            zero: coding.zero,
            levels: coding.levels,
            scale: steps(L::scale),
            offset: coding.offset.then(|| steps(L::offset)),
        }
    }
}
