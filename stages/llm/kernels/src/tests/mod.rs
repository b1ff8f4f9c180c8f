//! Every kernel beside the plainest loops that say what it computes, with each kind of instructions this processor has.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attention;
mod elementwise;
mod gated;
mod packed;
mod product;

use crate::Lanes;

/// Numbers that look random and are the same every time, in ±1.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Rows of numbers in lanes; the padding stays zero.
pub(super) fn lanes(features: usize, tokens: usize, seed: u64) -> Lanes {
    let mut lanes = Lanes::zeros(features, tokens);
    let values = numbers(features * tokens, seed);
    for (feature, values) in values.chunks_exact(tokens).enumerate() {
        lanes.rows_mut(feature..feature + 1)[..tokens].copy_from_slice(values);
    }
    lanes
}

pub(super) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1e-3f64, |most, value| most.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs();
        assert!(off <= tolerance * size, "{what}: {found} instead of {expected} at {at}");
    }
}

/// The slope of `f` along the axis `at` of `x`, by central differences.
pub(super) fn slope(x: &mut Lanes, at: usize, f: impl Fn(&Lanes) -> f64) -> f64 {
    let step = 1e-2;
    let value = x.values()[at];
    x.values_mut()[at] = value + step;
    let above = f(x);
    x.values_mut()[at] = value - step;
    let below = f(x);
    x.values_mut()[at] = value;
    (above - below) / (2.0 * f64::from(step))
}
