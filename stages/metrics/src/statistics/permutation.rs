use super::draw::Draws;

const STREAM: u64 = 2;

/// Two-sided p of the mean of paired differences under random exchange of A and B row by row:
/// the share of sign assignments whose sum is at least as far from zero, all of them where `resamples` allows, else
/// (c + 1) / (resamples + 1) of `resamples` seeded draws.
pub fn sign_flip_test(differences: &[f64], resamples: u32, seed: u64) -> f64 {
    let moved: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    let observed = moved.iter().sum::<f64>().abs();
    // Sums in another order differ in the last bits, and an equal sum must count as one.
    let threshold = observed - 1e-12 * moved.iter().map(|d| d.abs()).sum::<f64>();
    let flipped = |signs: &[u64]| {
        let sum: f64 =
            moved.iter().enumerate().map(|(i, &d)| if signs[i / 64] >> (i % 64) & 1 == 1 { -d } else { d }).sum();
        u32::from(sum.abs() >= threshold)
    };
    if moved.len() <= resamples.max(1).ilog2() as usize {
        let all = 1_u64 << moved.len();
        return f64::from((0..all).map(|signs| flipped(&[signs])).sum::<u32>()) / all as f64;
    }
    let mut draws = Draws::new(seed, STREAM);
    let mut signs = vec![0; moved.len().div_ceil(64)];
    let mut extreme = 0;
    for _ in 0..resamples {
        signs.fill_with(|| draws.coins());
        extreme += flipped(&signs);
    }
    f64::from(extreme + 1) / f64::from(resamples + 1)
}
