use std::collections::BTreeSet;

use rand_chacha::rand_core::Rng;
use refit_kernels::Lanes;

use crate::random::{self, Purpose};

/// How the next token is chosen of what the model holds likely: the steps of transformers' logits processors, in their
/// order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits of tokens that were said or read before are divided by it if above zero, multiplied otherwise; 1 leaves them.
    pub repetition_penalty: f64,
    /// Logits are divided by it; 0 takes the most likely token instead of drawing one.
    pub temperature: f64,
    /// Only so many of the most likely tokens can be drawn.
    pub top_k: Option<usize>,
    /// Only the most likely tokens that together have at least this probability.
    pub top_p: f64,
    /// Only tokens that are at least this probable in proportion to the most likely one.
    pub min_p: f64,
    /// Decides what is drawn, with the prompt's name and the place in the answer.
    pub seed: u64,
}

impl Default for Sampling {
    /// The most likely token.
    fn default() -> Self {
        Self { repetition_penalty: 1.0, temperature: 0.0, top_k: None, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

/// Below the most likely token's score by so much, tokens are looked at only if those above have not probability enough.
const NEAR: [f32; 3] = [10.0, 20.0, f32::INFINITY];

impl Sampling {
    /// Whether the most likely token of the plain logits is the next.
    pub(super) fn is_plain(&self) -> bool {
        self.temperature == 0.0 && !self.penalises()
    }

    /// Whether tokens seen before matter.
    pub(super) fn penalises(&self) -> bool {
        (self.repetition_penalty - 1.0).abs() > f64::EPSILON
    }

    /// Makes what was seen before less likely, for one token of `logits`.
    pub(super) fn penalise(&self, logits: &mut Lanes, token: usize, seen: &BTreeSet<u32>) {
        let (stride, penalty) = (logits.stride(), self.repetition_penalty as f32);
        for entry in seen {
            let logit = &mut logits.values_mut()[*entry as usize * stride + token];
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
    }

    /// The tokens that can be drawn, with their weights, which need not add up to 1.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        // Scores count from the most likely token's, so that no temperature is too low for them.
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let temperature = self.temperature as f32;
        let mut found: Vec<(u32, f32)> = (0..).zip(logits.iter().map(|logit| (logit - most) / temperature)).collect();
        if let Some(k) = self.top_k.filter(|k| (1..found.len()).contains(k)) {
            let mut scores: Vec<f32> = found.iter().map(|(_, score)| *score).collect();
            let (_, least, _) = scores.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            // Of equally likely ones none is left out.
            let least = *least;
            found.retain(|(_, score)| *score >= least);
        }
        let weight = |score: f32| f64::from(score).exp();
        if self.top_p < 1.0 {
            let enough = self.top_p * found.iter().map(|(_, score)| weight(*score)).sum::<f64>();
            for below in NEAR {
                let mut near: Vec<(u32, f32)> = found.iter().copied().filter(|(_, score)| *score >= -below).collect();
                if below.is_finite() && near.iter().map(|(_, score)| weight(*score)).sum::<f64>() < enough {
                    continue;
                }
                near.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                let mut before = 0.0;
                let kept = near.iter().take_while(|(_, score)| {
                    let kept = before < enough;
                    before += weight(*score);
                    kept
                });
                let kept = kept.count().max(1);
                near.truncate(kept);
                found = near;
                break;
            }
        }
        let weights = found.into_iter().map(|(token, score)| (token, weight(score)));
        weights.filter(|(_, weight)| *weight >= self.min_p).collect()
    }

    /// Draws the next token: `name` is the prompt's, `place` that of the token in the answer.
    pub(super) fn draw(&self, logits: &[f32], name: u64, place: usize) -> u32 {
        let candidates = self.candidates(logits);
        let mut random = random::stream(self.seed, Purpose::Sampling, name);
        random.set_word_pos(2 * place as u128);
        let unit = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = unit * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
        for (token, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        // Rounding may leave a last trace; logits that are no numbers leave no candidate.
        candidates.last().map_or(0, |(token, _)| *token)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::Value;

    use super::*;

    /// As `tests/reference/sampling.py` makes them.
    fn logits(row: usize) -> Lanes {
        let mut logits = Lanes::zeros(40, 2);
        let stride = logits.stride();
        for (token, to) in logits.values_mut().chunks_exact_mut(stride).enumerate() {
            to[1] = (((token * 37 + 11 * row) % 101) as f64 / 101.0 * 12.0 - 6.0) as f32;
        }
        logits
    }

    #[test]
    fn probabilities_are_those_of_transformers() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../../tests/reference/sampling.json")).unwrap();
        assert_eq!(cases.len(), 10);
        for case in cases {
            let setting =
                |name: &str, default: f64| case["settings"].get(name).map_or(default, |v| v.as_f64().unwrap());
            let sampling = Sampling {
                repetition_penalty: setting("repetition_penalty", 1.0),
                temperature: setting("temperature", 1.0),
                top_k: case["settings"].get("top_k").map(|k| k.as_u64().unwrap() as usize),
                top_p: setting("top_p", 1.0),
                min_p: setting("min_p", 0.0),
                seed: 1,
            };
            let mut logits = logits(case["row"].as_u64().unwrap() as usize);
            let seen = case["seen"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            sampling.penalise(&mut logits, 1, &seen);
            let logits = &logits.columns()[1];
            let candidates = sampling.candidates(logits);
            let sum: f64 = candidates.iter().map(|(_, weight)| weight).sum();
            let expected = case["probabilities"].as_object().unwrap();
            // What is rounded to zero there may be left here.
            assert!(candidates.len() >= expected.len(), "{case}");
            for (token, weight) in &candidates {
                let expected = expected.get(&token.to_string()).map_or(0.0, |p| p.as_f64().unwrap());
                assert!(
                    (weight / sum - expected).abs() < 1e-6,
                    "{token}: {} instead of {expected}, {case}",
                    weight / sum
                );
            }
            // What is drawn follows the probabilities.
            let mut drawn = vec![0.0; 40];
            (0..4000).for_each(|name| drawn[sampling.draw(logits, name, 3) as usize] += 1.0 / 4000.0);
            for (token, weight) in &candidates {
                assert!((drawn[*token as usize] - weight / sum).abs() < 0.04, "{token}, {case}");
                drawn[*token as usize] = 0.0;
            }
            assert!(drawn.iter().all(|share| *share == 0.0), "{case}");
        }
    }

    #[test]
    fn places_and_names_draw_apart() {
        let sampling = Sampling { temperature: 3.0, ..Sampling::default() };
        let logits = &logits(0).columns()[1];
        let drawn = |name, seed| -> Vec<u32> {
            (0..50).map(|place| Sampling { seed, ..sampling }.draw(logits, name, place)).collect()
        };
        assert_eq!(drawn(7, 1), drawn(7, 1));
        assert_ne!(drawn(7, 1), drawn(8, 1));
        assert_ne!(drawn(7, 1), drawn(7, 2));
        assert!(drawn(7, 1).iter().any(|token| *token != drawn(7, 1)[0]));
    }
}
