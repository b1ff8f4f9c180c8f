//! Random numbers that depend on a seed and a place only: the same bits on every machine, device and thread count.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// What a stream of random numbers is for; streams of different purposes never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial values of an adapter.
    Init = 1,
    /// Order of the rows in an epoch.
    Order = 2,
    /// Dropout.
    Dropout = 3,
    /// Noise on embeddings.
    Embedding = 4,
    /// Tokens of answers.
    Sampling = 5,
}

/// The generator of one purpose and one place: a tensor's index, an epoch, a row.
pub fn stream(seed: u64, purpose: Purpose, place: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (purpose as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    rng.set_stream(place);
    rng
}

/// Uniform in [0, 1), on a grid of 2⁻²⁴ so that every value is exact in f32.
pub fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Standard normal (Box–Muller).
pub fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - f64::from(unit(rng))).ln()).sqrt();
    (radius * (std::f64::consts::TAU * f64::from(unit(rng))).cos()) as f32
}

/// The numbers 0..`count` in random order (Fisher–Yates).
pub fn permutation(count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let pick = below(rng, last as u64 + 1) as usize;
        order.swap(last, pick);
    }
    order
}

/// Uniform in 0..`bound` without bias (Lemire's multiplication with rejection).
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    let threshold = bound.wrapping_neg() % bound;
    loop {
        let wide = u128::from(rng.next_u64()) * u128::from(bound);
        if wide as u64 >= threshold {
            return (wide >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_every_number_once_and_depends_on_seed_and_epoch() {
        let order = permutation(100, &mut stream(7, Purpose::Order, 0));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(order, permutation(100, &mut stream(7, Purpose::Order, 0)));
        assert_ne!(order, permutation(100, &mut stream(7, Purpose::Order, 1)));
        assert_ne!(order, permutation(100, &mut stream(8, Purpose::Order, 0)));
    }

    #[test]
    fn unit_values_are_pinned_because_adapters_depend_on_them() {
        let mut rng = stream(7, Purpose::Init, 3);
        let values: Vec<f32> = (0..10_000).map(|_| unit(&mut rng)).collect();
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
        let mean = values.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
