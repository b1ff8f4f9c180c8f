//! The statistics against known values, and the verdict against simulated systems.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use refit_metrics::{
    BleuStats, BleuTokenizer,
    statistics::{
        Interval, PairedComparison, Sampling, Verdict, bleu_bootstrap, holm, mean_bootstrap, sign_flip_test, sign_test,
        smallest_mean_difference, smallest_win_rate, wilson,
    },
};

const RUNS: usize = 1000;

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 5e-5, "{found} is not {expected}");
}

fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn signs(wins: usize, ties: usize, losses: usize) -> Vec<f64> {
    [vec![1.0; wins], vec![0.0; ties], vec![-1.0; losses]].concat()
}

#[test]
fn sign_test_is_exact() {
    // R: binom.test(7, 10)$p.value, binom.test(60, 100)$p.value
    close(sign_test(&signs(7, 5, 3)).p, 0.343_75);
    close(sign_test(&signs(60, 0, 40)).p, 0.056_887_93);
    close(sign_test(&signs(40, 9, 60)).p, 0.056_887_93);
    close(sign_test(&signs(5, 0, 0)).p, 0.0625);
    close(sign_test(&signs(0, 8, 0)).p, 1.0);
    close(sign_test(&signs(4, 0, 4)).p, 1.0);
    // 2^-19_999 is no double; the logarithm is.
    assert!(sign_test(&signs(20_000, 0, 0)).p >= 0.0);
    close(sign_test(&signs(10_050, 0, 9_950)).p, 0.483_9);
}

#[test]
fn permutation_of_few_rows_is_exact() {
    close(sign_flip_test(&[1.0, 1.0, 1.0, 1.0, 1.0], 100, 0), 0.0625);
    close(sign_flip_test(&[0.0, 0.0], 10, 0), 1.0);
    // Of the 8 sums of ±1 ±2 ±3, two are as far from zero as 6.
    close(sign_flip_test(&[1.0, 2.0, 0.0, 3.0], 8, 0), 0.25);
}

#[test]
fn permutation_of_many_rows_comes_close_to_the_exact_p() {
    // Differences of one size make it the sign test.
    for (wins, losses) in [(13, 4), (40, 24)] {
        let differences = signs(wins, 3, losses);
        let (sampled, exact) = (sign_flip_test(&differences, 100_000, 5), sign_test(&differences).p);
        assert!((sampled - exact).abs() < 0.002, "{sampled} is not near {exact}");
    }
}

#[test]
fn wilson_interval_of_a_rate() {
    // R: prop.test(8, 10, correct = FALSE)$conf.int
    let interval = wilson(8, 10, 0.95);
    close(interval.low, 0.490_16);
    close(interval.high, 0.943_32);
    assert_eq!(wilson(0, 0, 0.95), Interval { low: 0.0, high: 1.0 });
}

#[test]
fn holm_steps_down() {
    // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
    for (found, expected) in adjusted.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
        close(found, expected);
    }
    assert!(holm(&[]).is_empty());
}

#[test]
fn bootstrap_interval_is_near_the_normal_one_for_many_rows() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let differences: Vec<f64> = (0..2000).map(|_| uniform(&mut random) - 0.4).collect();
    let mean = differences.iter().sum::<f64>() / 2000.0;
    let half = 1.96 * (1.0 / 12.0_f64).sqrt() / 2000.0_f64.sqrt();
    let interval = mean_bootstrap(&differences, 0.95, 10_000, 7);
    assert!((interval.low - (mean - half)).abs() < half / 10.0, "{interval:?} {mean} {half}");
    assert!((interval.high - (mean + half)).abs() < half / 10.0, "{interval:?} {mean} {half}");
    assert_eq!(interval, mean_bootstrap(&differences, 0.95, 10_000, 7));
}

#[test]
fn few_skewed_rows_get_a_corrected_interval() {
    // BCa moves towards the long tail of a skewed sample.
    let differences: Vec<f64> = (0..20).map(|i| f64::from(i).exp2() / 1e5).collect();
    let mean = differences.iter().sum::<f64>() / 20.0;
    let interval = mean_bootstrap(&differences, 0.95, 10_000, 7);
    assert!(interval.high - mean > 1.5 * (mean - interval.low), "{interval:?} {mean}");
}

#[test]
fn bleu_bootstrap_of_equal_systems_is_zero() {
    let rows: Vec<BleuStats> =
        ["a b c d e", "b c d e f", "x y z"].map(|p| BleuStats::of(BleuTokenizer::V13a, p, "a b c d e f")).to_vec();
    let bootstrap = bleu_bootstrap(&rows, &rows, 0.95, 1000, 1);
    assert_eq!((bootstrap.difference, bootstrap.interval), (0.0, Interval { low: 0.0, high: 0.0 }));
    close(bootstrap.p, 1.0);
}

fn enough_for_60_to_40() -> u64 {
    (1..1000).find(|&n| smallest_win_rate(n, 0.95, 0.8).is_some_and(|rate| rate <= 0.6)).unwrap()
}

#[test]
fn about_200_decided_rows_see_60_to_40() {
    assert!((190..=210).contains(&enough_for_60_to_40()));
    assert_eq!(smallest_win_rate(5, 0.95, 0.8), None);
    assert_eq!(smallest_win_rate(0, 0.95, 0.8), None);
    close(smallest_mean_difference(&[1.0, -1.0, 1.0, -1.0], 0.95, 0.8), 2.801_585 * (4.0_f64 / 3.0).sqrt() / 2.0);
}

/// The share of runs that end in a verdict, when every run draws `n` pairs by `draw`.
fn share(verdict: Verdict, n: usize, draw: impl Fn(&mut ChaCha8Rng) -> (f64, f64)) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(20 + n as u64);
    let hits = (0..RUNS as u64)
        .filter(|&seed| {
            let (a, b): (Vec<f64>, Vec<f64>) = (0..n).map(|_| draw(&mut random)).unzip();
            let sampling = Sampling { confidence: 0.95, resamples: 1000, seed };
            PairedComparison::of_means(&a, &b, true, sampling).verdict(None) == verdict
        })
        .count();
    hits as f64 / RUNS as f64
}

#[test]
fn a_against_a_is_inconclusive() {
    // Three standard errors of 1,000 runs below the nominal 95 %.
    const LEAST: f64 = 0.95 - 0.021;
    for n in [3, 6, 12, 30, 60, 150] {
        let scores = share(Verdict::Inconclusive, n, |random| (uniform(random), uniform(random)));
        assert!(scores >= LEAST, "{n} rows of scores: {scores}");
        let skewed = share(Verdict::Inconclusive, n, |random| (uniform(random).powi(8), uniform(random).powi(8)));
        assert!(skewed >= LEAST, "{n} rows of skewed scores: {skewed}");
        let hit = |random: &mut ChaCha8Rng| f64::from(u8::from(uniform(random) < 0.7));
        let binary = share(Verdict::Inconclusive, n, |random| (hit(random), hit(random)));
        assert!(binary >= LEAST, "{n} rows right or wrong: {binary}");
    }
}

#[test]
fn planted_60_to_40_is_found_at_the_stated_power() {
    let n = enough_for_60_to_40();
    let found =
        share(Verdict::BBetter, n as usize, |random| if uniform(random) < 0.6 { (0.0, 1.0) } else { (1.0, 0.0) });
    assert!((0.75..=0.87).contains(&found), "{found} of the runs with {n} rows");
}

#[test]
fn lower_is_better_turns_the_verdict() {
    let (a, b) = (vec![2.0; 20], (0..20).map(|i| 1.0 + f64::from(i) / 100.0).collect::<Vec<_>>());
    let sampling = Sampling { confidence: 0.95, resamples: 1000, seed: 1 };
    let loss = PairedComparison::of_means(&a, &b, false, sampling);
    assert_eq!((loss.verdict(None), loss.sign.wins), (Verdict::BBetter, 20));
    assert_eq!(PairedComparison::of_means(&a, &b, true, sampling).verdict(None), Verdict::ABetter);
    assert_eq!(loss.verdict(Some(2.0)), Verdict::Equivalent);
}

proptest! {
    #[test]
    fn exchanging_the_sides_turns_everything_round(
        pairs in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 1..40), seed: u64
    ) {
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let sampling = Sampling { confidence: 0.9, resamples: 200, seed };
        let there = PairedComparison::of_means(&a, &b, true, sampling);
        let back = PairedComparison::of_means(&b, &a, true, sampling);
        prop_assert!((there.difference + back.difference).abs() < 1e-12);
        prop_assert!((there.p - back.p).abs() < 1e-12);
        prop_assert_eq!((there.sign.wins, there.sign.losses), (back.sign.losses, back.sign.wins));
        prop_assert!(there.interval.low <= there.interval.high);
    }

    #[test]
    fn p_values_are_probabilities(differences in prop::collection::vec(-1.0..1.0_f64, 0..60), seed: u64) {
        prop_assert!((0.0..=1.0).contains(&sign_test(&differences).p));
        prop_assert!((0.0..=1.0).contains(&sign_flip_test(&differences, 50, seed)));
    }
}
