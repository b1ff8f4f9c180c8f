use std::f64::consts::TAU;

/// How the rotary frequencies are stretched for long contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Every frequency divided by the factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3's rule: low frequencies divided by the factor, high ones kept, a smooth step between.
    /// Formula: `transformers/modeling_rope_utils.py`, `_compute_llama3_parameters`.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_positions / low_freq_factor` are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_positions / high_freq_factor` are high frequencies.
        high_freq_factor: f64,
        /// Positions before stretching.
        original_max_positions: usize,
    },
    /// Phi-3's rule: one divisor for each frequency, of which there are two sets; cosines and sines grow as well.
    /// Formula: `transformers/modeling_rope_utils.py`, `_compute_longrope_parameters`.
    LongRope {
        /// Divisors where no row of a pass is longer than `original_max_positions`, `[width / 2]`.
        short: Vec<f64>,
        /// Divisors otherwise, `[width / 2]`.
        long: Vec<f64>,
        /// Positions before stretching.
        original_max_positions: usize,
        /// What cosines and sines are multiplied by.
        magnitude: f64,
    },
    /// One divisor for each frequency, `[width / 2]`: what a GGUF file keeps of Llama 3's rule (`rope_freqs.weight`).
    Factors(Vec<f64>),
}

impl RopeScaling {
    /// The stretched form of the inverse frequency at index `i`, where the longest row of a pass has `longest` tokens.
    pub(super) fn apply(&self, i: usize, frequency: f64, longest: usize) -> f64 {
        match self {
            Self::LongRope { short, long, original_max_positions, .. } => {
                frequency / if longest > *original_max_positions { long[i] } else { short[i] }
            }
            Self::Linear { factor } => frequency / factor,
            Self::Factors(factors) => frequency / factors[i],
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                let original = *original_max_positions as f64;
                let wavelength = TAU / frequency;
                if wavelength > original / low_freq_factor {
                    frequency / factor
                } else if wavelength < original / high_freq_factor {
                    frequency
                } else {
                    let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }

    pub(super) fn magnitude(&self) -> f32 {
        match self {
            Self::LongRope { magnitude, .. } => *magnitude as f32,
            _ => 1.0,
        }
    }

    /// What is wrong with the numbers, if anything is.
    pub(super) fn problem(&self, width: usize) -> Option<String> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        match self {
            Self::Linear { factor } if !positive(*factor) => Some(format!("the rotary scaling factor is {factor}")),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }
                if !(positive(*factor)
                    && positive(*low_freq_factor)
                    && high_freq_factor.is_finite()
                    && high_freq_factor > low_freq_factor
                    && *original_max_positions > 0) =>
            {
                Some("the numbers of the llama3 rotary scaling contradict each other".into())
            }
            Self::LongRope { short, long, original_max_positions, magnitude }
                if [short, long].iter().any(|f| f.len() != width / 2 || !f.iter().all(|f| positive(*f)))
                    || !positive(*magnitude)
                    || *original_max_positions == 0 =>
            {
                Some(format!("the factors of the longrope scaling are not {} positive numbers each", width / 2))
            }
            Self::Factors(factors) if factors.len() != width / 2 || !factors.iter().all(|f| positive(*f)) => {
                Some(format!("the rotary factors are not {} positive numbers", width / 2))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama-3.2-1B's numbers; expected values from `transformers`' `ROPE_INIT_FUNCTIONS["llama3"]`.
    #[test]
    fn llama3_rule_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192,
        };
        let at = |i: usize| {
            let plain = 500_000f64.powf(-2.0 * i as f64 / 64.0);
            scaling.apply(i, plain, 1) / plain
        };
        assert!((at(0) - 1.0).abs() < 1e-12);
        assert!((at(31) - 1.0 / 32.0).abs() < 1e-12);
        let middle = at(16);
        assert!(middle > 1.0 / 32.0 && middle < 1.0, "{middle}");
    }
}
