use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The settings of a bottleneck adapter, which the `adapters` library keeps in `BnConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct BottleneckConfig {
    /// The parts of a block that have one.
    pub places: Vec<BottleneckPlace>,
    /// What it reads.
    pub input: BottleneckInput,
    /// The width of the model over that of the bottleneck.
    pub reduction_factor: ReductionFactor,
    /// What the numbers in the bottleneck go through.
    pub non_linearity: NonLinearity,
    /// What it adds is multiplied by this.
    pub scaling: f64,
    /// Probability of dropping an entry of what it adds, in training.
    pub dropout: f64,
    /// What the values are before the first step.
    pub init: BottleneckInit,
    /// Blocks without one, from 0.
    pub leave_out: Vec<usize>,
    /// A name of the base model for those who load the adapter.
    pub base_model: Option<String>,
    /// What the library calls it; a part of its tensors' names.
    pub name: String,
}

/// The forms that have a name of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BottleneckKind {
    /// `double_seq_bn`: behind both parts, on what each adds (<https://arxiv.org/abs/1902.00751>).
    Houlsby,
    /// `seq_bn`: behind the feed-forward part, on the sum (<https://arxiv.org/abs/2005.00247>).
    Pfeiffer,
    /// `par_bn`: beside the feed-forward part, on what comes before it (<https://arxiv.org/abs/2110.04366>).
    Parallel,
}

/// Behind or beside which part of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BottleneckPlace {
    /// The attention.
    Attention,
    /// The feed-forward part.
    FeedForward,
}

/// What a bottleneck reads, with h what the part adds and x what it is added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BottleneckInput {
    /// h.
    Added,
    /// h + x.
    Sum,
    /// x.
    Residual,
}

/// The width of the model over that of the bottleneck.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ReductionFactor {
    /// In every block.
    Every(f64),
    /// By the block's number; `default` for the others.
    ByLayer(BTreeMap<String, f64>),
}

/// What the numbers in the bottleneck go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonLinearity {
    /// max(x, 0).
    Relu,
    /// x above 0, and x/100 below.
    LeakyRelu,
    /// x · σ(x).
    #[serde(alias = "silu")]
    Swish,
    /// x · Φ(x).
    Gelu,
    /// The same with Φ approximated by tanh.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// tanh x.
    Tanh,
}

/// What the values are before the first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BottleneckInit {
    /// D and U normal with deviation 0.02, biases zero.
    Bert,
    /// D uniform in ±1/√width of the model, U and biases zero, so that it adds nothing yet.
    MamAdapter,
}

impl BottleneckConfig {
    /// The library's settings of a kind.
    pub fn of(kind: BottleneckKind) -> Self {
        use BottleneckPlace::{Attention, FeedForward};
        let config = Self {
            places: vec![FeedForward],
            input: BottleneckInput::Sum,
            reduction_factor: ReductionFactor::Every(16.0),
            non_linearity: NonLinearity::Relu,
            scaling: 1.0,
            dropout: 0.0,
            init: BottleneckInit::Bert,
            leave_out: Vec::new(),
            base_model: None,
            name: "refit".into(),
        };
        match kind {
            BottleneckKind::Pfeiffer => config,
            BottleneckKind::Houlsby => Self {
                places: vec![Attention, FeedForward],
                input: BottleneckInput::Added,
                non_linearity: NonLinearity::Swish,
                ..config
            },
            BottleneckKind::Parallel => Self {
                input: BottleneckInput::Residual,
                reduction_factor: ReductionFactor::Every(2.0),
                scaling: 4.0,
                init: BottleneckInit::MamAdapter,
                ..config
            },
        }
    }
}

impl ReductionFactor {
    /// The factor that gives a bottleneck of this width in a model of that one.
    pub fn for_width(width: usize, hidden: usize) -> Self {
        let plain = hidden as f64 / width as f64;
        // The library divides in floats and rounds down, which may lose a one.
        match Self::Every(plain) {
            exact if exact.width(0, hidden) == Some(width) => exact,
            _ => Self::Every(hidden as f64 / (width as f64 + 0.5)),
        }
    }

    /// The width of a block's bottleneck in a model of this width, at least 1; nothing if the block has no factor above 0.
    pub fn width(&self, layer: usize, hidden: usize) -> Option<usize> {
        let factor = match self {
            Self::Every(factor) => Some(factor),
            Self::ByLayer(layers) => layers.get(&layer.to_string()).or_else(|| layers.get("default")),
        };
        let width = |factor: f64| floor_divided(hidden as f64, factor).max(1.0) as usize;
        factor.filter(|factor| **factor > 0.0 && factor.is_finite()).map(|factor| width(*factor))
    }
}

/// `a // b` of two floats above 0 as Python has it.
fn floor_divided(a: f64, b: f64) -> f64 {
    let quotient = (a - a % b) / b;
    let whole = quotient.floor();
    if quotient - whole > 0.5 { whole + 1.0 } else { whole }
}

impl BottleneckPlace {
    /// What the library calls the layers there.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention_adapters",
            Self::FeedForward => "output_adapters",
        }
    }

    /// Its place among those of a block.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Attention => 0,
            Self::FeedForward => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_python() {
        // int(hidden // factor), found with Python 3.11.
        for (hidden, factor, width) in
            [(576, 16.0, 36), (576, 5.76, 100), (1000, 0.1, 9999), (896, 3.0, 298), (16, 40.0, 1), (2048, 0.5, 4096)]
        {
            assert_eq!(ReductionFactor::Every(factor).width(0, hidden), Some(width), "{hidden} // {factor}");
        }
        for hidden in [16, 576, 896, 1000, 4096] {
            for width in 1..2 * hidden {
                assert_eq!(
                    ReductionFactor::for_width(width, hidden).width(0, hidden),
                    Some(width),
                    "{width} of {hidden}"
                );
            }
        }
        let by_layer = ReductionFactor::ByLayer(BTreeMap::from([("1".into(), 8.0), ("default".into(), 16.0)]));
        assert_eq!([by_layer.width(0, 64), by_layer.width(1, 64)], [Some(4), Some(8)]);
        assert_eq!(ReductionFactor::ByLayer(BTreeMap::new()).width(0, 64), None);
    }
}
