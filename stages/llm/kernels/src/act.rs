//! Activations, each with its slope.

use crate::simd::{Simd, exp, tanh};

/// A function of one number.
pub(crate) trait Act: Copy + Sync {
    /// act(x), and the slope of act at x.
    fn value_and_slope<S: Simd>(self, s: S, x: S::Vector) -> (S::Vector, S::Vector);
}

/// 1 where x is above 0, else 0.
#[inline(always)]
fn step<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    s.min(s.splat(1.0), s.max(s.splat(0.0), s.mul(x, s.splat(f32::MAX))))
}

/// max(x, 0); its slope at 0 is 0.
#[derive(Clone, Copy)]
pub(crate) struct Relu;

impl Act for Relu {
    #[inline(always)]
    fn value_and_slope<S: Simd>(self, s: S, x: S::Vector) -> (S::Vector, S::Vector) {
        (s.max(s.splat(0.0), x), step(s, x))
    }
}

/// x above 0, and x/100 below.
#[derive(Clone, Copy)]
pub(crate) struct LeakyRelu;

impl Act for LeakyRelu {
    #[inline(always)]
    fn value_and_slope<S: Simd>(self, s: S, x: S::Vector) -> (S::Vector, S::Vector) {
        (s.max(s.mul(x, s.splat(0.01)), x), s.fma(step(s, x), s.splat(0.99), s.splat(0.01)))
    }
}

/// x · σ(x).
#[derive(Clone, Copy)]
pub(crate) struct Silu;

impl Act for Silu {
    #[inline(always)]
    fn value_and_slope<S: Simd>(self, s: S, x: S::Vector) -> (S::Vector, S::Vector) {
        let one = s.splat(1.0);
        let sigmoid = s.inverse(s.add(one, exp(s, s.sub(s.splat(0.0), x))));
        // silu' = σ·(1 + x·(1 − σ))
        (s.mul(x, sigmoid), s.mul(sigmoid, s.fma(x, s.sub(one, sigmoid), one)))
    }
}

/// x · Φ(x), Φ being the normal distribution function.
#[derive(Clone, Copy)]
pub(crate) struct Gelu;

impl Act for Gelu {
    #[inline(always)]
    fn value_and_slope<S: Simd>(self, s: S, x: S::Vector) -> (S::Vector, S::Vector) {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let size = s.max(s.sub(zero, x), x);
        let bell = exp(s, s.mul(s.splat(-0.5), s.mul(x, x)));
        // What is left beyond |x|, to 1e-7: formula 7.1.26 of Abramowitz and Stegun at |x|/√2, halved.
        let t = s.div(one, s.fma(s.splat(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2), size, one));
        let mut p = s.splat(0.5 * 1.061_405_4);
        for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            p = s.fma(p, t, s.splat(0.5 * c));
        }
        let beyond = s.mul(s.mul(p, t), bell);
        let value = s.sub(s.max(zero, x), s.mul(size, beyond));
        // Φ is 1 − beyond above 0, and beyond below.
        let below = s.fma(step(s, x), s.fma(s.splat(-2.0), beyond, one), beyond);
        // 1 / √(2π)
        (value, s.fma(s.mul(x, s.splat(0.398_942_3)), bell, below))
    }
}

/// x · Φ(x), Φ by its approximation with tanh: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))).
#[derive(Clone, Copy)]
pub(crate) struct GeluTanh;

/// √(2/π).
const ROOT: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

impl Act for GeluTanh {
    #[inline(always)]
    fn value_and_slope<S: Simd>(self, s: S, x: S::Vector) -> (S::Vector, S::Vector) {
        let (half, one, x2) = (s.splat(0.5), s.splat(1.0), s.mul(x, x));
        let inner = s.mul(x, s.fma(s.splat(ROOT * CUBIC), x2, s.splat(ROOT)));
        let t = tanh(s, inner);
        let bend = s.sub(one, s.mul(t, t));
        let inner_slope = s.fma(s.splat(3.0 * ROOT * CUBIC), x2, s.splat(ROOT));
        let share = s.fma(half, t, half);
        let share_slope = s.mul(half, s.mul(bend, inner_slope));
        (s.mul(x, share), s.fma(x, share_slope, share))
    }
}

/// tanh x.
#[derive(Clone, Copy)]
pub(crate) struct Tanh;

impl Act for Tanh {
    #[inline(always)]
    fn value_and_slope<S: Simd>(self, s: S, x: S::Vector) -> (S::Vector, S::Vector) {
        let t = tanh(s, x);
        (t, s.sub(s.splat(1.0), s.mul(t, t)))
    }
}
