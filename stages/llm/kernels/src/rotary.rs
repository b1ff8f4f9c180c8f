//! Rotary position embedding, half-split: feature `i` of a head turns with feature `i + d/2`.

use rayon::prelude::*;

use crate::{
    Isa,
    simd::{Kernel, Simd},
};

/// Cosines and sines of the tokens of a pass, `[d / 2]` rows of `stride` tokens each.
#[derive(Debug, Clone, Default)]
pub struct Angles {
    /// cos θ.
    pub cos: Vec<f32>,
    /// sin θ.
    pub sin: Vec<f32>,
    /// Length of a row.
    pub stride: usize,
}

impl Angles {
    /// For tokens at these positions, with a frequency for each pair; padding does not turn.
    pub fn new(frequencies: &[f32], positions: &[u32], stride: usize) -> Self {
        let mut angles =
            Self { cos: vec![1.0; frequencies.len() * stride], sin: vec![0.0; frequencies.len() * stride], stride };
        let rows = angles.cos.chunks_exact_mut(stride).zip(angles.sin.chunks_exact_mut(stride));
        for ((cos, sin), frequency) in rows.zip(frequencies) {
            for ((cos, sin), position) in cos.iter_mut().zip(sin).zip(positions) {
                (*sin, *cos) = (*position as f32 * frequency).sin_cos();
            }
        }
        angles
    }
}

/// Turns heads that lie in lanes and multiplies them by `scale`; `back` turns them the other way, as gradients need it.
pub fn rotate(isa: Isa, heads: &mut [f32], angles: &Angles, scale: f32, back: bool) {
    let head = 2 * angles.cos.len();
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
        let (first, second) = self.head.split_at_mut(self.head.len() / 2);
        let (scale, sign) = (s.splat(self.scale), s.splat(if self.back { -self.scale } else { self.scale }));
        let tables = self.angles.cos.chunks_exact(S::WIDTH).zip(self.angles.sin.chunks_exact(S::WIDTH));
        let pairs = first.chunks_exact_mut(S::WIDTH).zip(second.chunks_exact_mut(S::WIDTH));
        for ((first, second), (cos, sin)) in pairs.zip(tables) {
            let (a, b) = (s.load(first), s.load(second));
            let (cos, sin) = (s.mul(s.load(cos), scale), s.mul(s.load(sin), sign));
            s.store(first, s.sub(s.mul(a, cos), s.mul(b, sin)));
            s.store(second, s.fma(a, sin, s.mul(b, cos)));
        }
    }
}
