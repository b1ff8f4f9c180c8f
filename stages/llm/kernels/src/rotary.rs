//! Rotary position embedding: pairs of a head's first features turn, the others stay.

use rayon::prelude::*;

use crate::{
    Isa,
    simd::{Kernel, Simd},
};

/// Cosines and sines of the tokens of a pass, a row of `stride` tokens for each pair, and which features the pairs are.
#[derive(Debug, Clone, Default)]
pub struct Angles {
    /// cos θ.
    pub cos: Vec<f32>,
    /// sin θ.
    pub sin: Vec<f32>,
    /// Length of a row.
    pub stride: usize,
    /// Features of a head.
    head: usize,
    pairs: Pairs,
}

/// Which features of a head turn together, of which `n` pairs turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pairs {
    /// Feature `i` with feature `i + n`.
    #[default]
    Halves,
    /// Feature `2 i` with feature `2 i + 1`.
    Neighbours,
}

impl Angles {
    /// For tokens at these positions, with a frequency for each pair, cosines and sines times `magnitude`; heads have `head`
    /// features. Padding does not turn.
    pub fn new(
        frequencies: &[f32],
        magnitude: f32,
        (head, pairs): (usize, Pairs),
        positions: &[u32],
        stride: usize,
    ) -> Self {
        assert!(2 * frequencies.len() <= head, "more pairs than features");
        let count = frequencies.len() * stride;
        let mut angles = Self { cos: vec![1.0; count], sin: vec![0.0; count], stride, head, pairs };
        let rows = angles.cos.chunks_exact_mut(stride).zip(angles.sin.chunks_exact_mut(stride));
        for ((cos, sin), frequency) in rows.zip(frequencies) {
            for ((cos, sin), position) in cos.iter_mut().zip(sin).zip(positions) {
                let (of_sin, of_cos) = (*position as f32 * frequency).sin_cos();
                (*sin, *cos) = (of_sin * magnitude, of_cos * magnitude);
            }
        }
        angles
    }
}

/// Turns heads that lie in lanes and multiplies them by `scale`; `back` turns them the other way, as gradients need it.
pub fn rotate(isa: Isa, heads: &mut [f32], angles: &Angles, scale: f32, back: bool) {
    let head = angles.head * angles.stride;
    heads.par_chunks_mut(head).for_each(|head| isa.run(Turn { head, angles, scale, back }));
}

struct Turn<'a> {
    head: &'a mut [f32],
    angles: &'a Angles,
    scale: f32,
    back: bool,
}

impl Kernel for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let stride = self.angles.stride;
        let (turning, still) = self.head.split_at_mut(2 * self.angles.cos.len());
        let (scale, sign) = (s.splat(self.scale), s.splat(if self.back { -self.scale } else { self.scale }));
        // The first features of the pairs, the second ones, and how many rows of either lie together.
        let together = match self.angles.pairs {
            Pairs::Halves => turning.len() / 2,
            Pairs::Neighbours => stride,
        };
        if together > 0 {
            let tables = self.angles.cos.chunks_exact(together).zip(self.angles.sin.chunks_exact(together));
            for (pairs, (cos, sin)) in turning.chunks_exact_mut(2 * together).zip(tables) {
                let (first, second) = pairs.split_at_mut(together);
                let tables = cos.chunks_exact(S::WIDTH).zip(sin.chunks_exact(S::WIDTH));
                let pairs = first.chunks_exact_mut(S::WIDTH).zip(second.chunks_exact_mut(S::WIDTH));
                for ((first, second), (cos, sin)) in pairs.zip(tables) {
                    let (a, b) = (s.load(first), s.load(second));
                    let (cos, sin) = (s.mul(s.load(cos), scale), s.mul(s.load(sin), sign));
                    s.store(first, s.sub(s.mul(a, cos), s.mul(b, sin)));
                    s.store(second, s.fma(a, sin, s.mul(b, cos)));
                }
            }
        }
        for value in still.chunks_exact_mut(S::WIDTH) {
            s.store(value, s.mul(s.load(value), scale));
        }
    }
}
