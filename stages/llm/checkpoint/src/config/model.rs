use super::RopeScaling;
use crate::{CheckpointError, Family};

/// The shape of a model. Sizes are counts of elements.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The architecture.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Rows of the embedding, padding rows included.
    pub vocab_size: usize,
    /// Positions the model was trained for.
    pub max_positions: usize,
    /// Added under the root of `RMSNorm`.
    pub rms_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched, if they are.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the head is the embedding matrix.
    pub tied_head: bool,
    /// Whether the q, k and v projections have a bias.
    pub qkv_bias: bool,
    /// What the model calls itself; never a path of some machine.
    pub name: String,
    /// The token that starts a text, if the model has one.
    pub bos_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_ids: Vec<u32>,
}

/// Above every model there is; keeps products of two sizes far from overflow.
const LIMIT: usize = 1 << 30;

impl ModelConfig {
    /// The rotary inverse frequencies `[head_dim / 2]`, scaling applied.
    pub fn inverse_frequencies(&self) -> Vec<f64> {
        let pairs = self.head_dim / 2;
        (0..pairs)
            .map(|i| {
                let plain = self.rope_theta.powf(-2.0 * i as f64 / self.head_dim as f64);
                self.rope_scaling.as_ref().map_or(plain, |scaling| scaling.apply(i, plain))
            })
            .collect()
    }

    /// Refuses sizes no model can have.
    pub(crate) fn check(self) -> Result<Self, CheckpointError> {
        let sizes = [
            ("the hidden size", self.hidden_size),
            ("the number of layers", self.layers),
            ("the number of heads", self.heads),
            ("the number of key/value heads", self.kv_heads),
            ("the head width", self.head_dim),
            ("the feed-forward width", self.intermediate_size),
            ("the vocabulary", self.vocab_size),
            ("the number of positions", self.max_positions),
        ];
        let bad = |message: String| Err(CheckpointError::new("config::bad_value", message));
        for (what, size) in sizes {
            if size == 0 || size > LIMIT {
                return bad(format!("{what} is {size}, which no model can have"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return bad(format!("{} heads cannot be shared by {} key/value heads", self.heads, self.kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return bad(format!("the head width is {}, but rotary positions need an even one", self.head_dim));
        }
        if !(self.rms_eps.is_finite() && self.rms_eps >= 0.0) {
            return bad(format!("the RMSNorm epsilon is {}", self.rms_eps));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return bad(format!("the rotary base is {}", self.rope_theta));
        }
        if let Some(problem) = self.rope_scaling.as_ref().and_then(|scaling| scaling.problem(self.head_dim)) {
            return bad(problem);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ModelConfig {
        ModelConfig {
            family: Family::Llama,
            hidden_size: 64,
            layers: 1,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            intermediate_size: 128,
            vocab_size: 100,
            max_positions: 256,
            rms_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            tied_head: true,
            qkv_bias: false,
            name: "tiny".into(),
            bos_id: None,
            eos_ids: vec![],
        }
    }

    #[test]
    fn plain_frequencies_fall_from_one() {
        let frequencies = config().inverse_frequencies();
        assert_eq!(frequencies.len(), 8);
        assert!((frequencies[0] - 1.0).abs() < 1e-12);
        assert!((frequencies[4] - 0.01).abs() < 1e-12);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(config().check().is_ok());
        assert!(ModelConfig { kv_heads: 3, ..config() }.check().is_err());
        assert!(ModelConfig { head_dim: 15, ..config() }.check().is_err());
        assert!(ModelConfig { layers: 0, ..config() }.check().is_err());
        assert!(ModelConfig { rope_theta: f64::NAN, ..config() }.check().is_err());
        assert!(ModelConfig { rope_scaling: Some(RopeScaling::Factors(vec![1.0; 3])), ..config() }.check().is_err());
    }
}
