use super::keys::{main_rotary, no_form};
use crate::{CheckpointError, ModelConfig, RopeScaling, Rotary, family::GgufFactors};

/// The divisors of rotary frequencies that a file has in tensors of their own, by the tensors' names.
pub(super) fn rotary_factors(config: &ModelConfig) -> Result<Vec<(&'static str, Vec<f32>)>, CheckpointError> {
    let Some((rotary, scaling)) = main_rotary(config).and_then(|rotary| Some((rotary, rotary.scaling.as_ref()?)))
    else {
        return Ok(Vec::new());
    };
    let single = |factors: &[f64]| factors.iter().map(|factor| *factor as f32).collect();
    match (config.family.gguf_factors(), scaling) {
        (_, RopeScaling::Linear { .. }) => Ok(Vec::new()),
        (GgufFactors::Frequencies, RopeScaling::Factors(factors)) => Ok(vec![("rope_freqs.weight", single(factors))]),
        (GgufFactors::Frequencies, RopeScaling::Llama3 { .. }) => {
            let plain = Rotary { scaling: None, ..rotary.clone() }.inverse_frequencies(1);
            let stretched = rotary.inverse_frequencies(1);
            let factors = plain.iter().zip(stretched).map(|(plain, stretched)| (plain / stretched) as f32);
            Ok(vec![("rope_freqs.weight", factors.collect())])
        }
        (GgufFactors::LongRope, RopeScaling::LongRope { short, long, .. }) => {
            Ok(vec![("rope_factors_long.weight", single(long)), ("rope_factors_short.weight", single(short))])
        }
        _ => Err(no_form(config.family, "llama.cpp stretches its positions otherwise")),
    }
}
