use burn::tensor::{Tensor, activation};

use super::{LinearModule, Noise};
use crate::bottleneck::{BottleneckInput, BottleneckPlace, NonLinearity};

/// A bottleneck on a device: s·(U·act(D·z + b) + c).
#[derive(Debug, Clone)]
pub(crate) struct Bottleneck {
    pub(crate) input: BottleneckInput,
    pub(crate) non_linearity: NonLinearity,
    pub(crate) scaling: f64,
    /// `[width, hidden]`.
    pub(crate) down: Tensor<2>,
    /// `[1, width]`.
    pub(crate) down_bias: Tensor<2>,
    /// `[hidden, width]`.
    pub(crate) up: Tensor<2>,
    /// `[1, hidden]`.
    pub(crate) up_bias: Tensor<2>,
}

/// Those of one block, by [`BottleneckPlace::index`].
pub(crate) type LayerBottlenecks = [Option<Bottleneck>; 2];

impl BottleneckPlace {
    /// The linear layer that its part of the block ends with; dropout is drawn by its name.
    pub(crate) fn behind(self) -> LinearModule {
        match self {
            Self::Attention => LinearModule::Output,
            Self::FeedForward => LinearModule::Down,
        }
    }
}

impl Bottleneck {
    /// What a part of a block adds with it to `residual`, given what it adds without; `[tokens, hidden]`.
    pub(crate) fn forward(
        &self,
        added: Tensor<2>,
        residual: &Tensor<2>,
        (layer, place): (usize, BottleneckPlace),
        dropout: Option<&Noise>,
    ) -> Tensor<2> {
        let input = match self.input {
            BottleneckInput::Added => added.clone(),
            BottleneckInput::Sum => added.clone() + residual.clone(),
            BottleneckInput::Residual => residual.clone(),
        };
        let low = input.matmul(self.down.clone().transpose()) + self.down_bias.clone();
        let low = match self.non_linearity {
            NonLinearity::Relu => activation::relu(low),
            NonLinearity::LeakyRelu => activation::leaky_relu(low, 0.01),
            NonLinearity::Swish => activation::silu(low),
            NonLinearity::Gelu => activation::gelu(low),
            NonLinearity::GeluNew => activation::gelu_approximate(low),
            // By the logistic function, since burn's gradient of tanh is wrong on wgpu.
            NonLinearity::Tanh => activation::sigmoid(low * 2.0) * 2.0 - 1.0,
        };
        let high = (low.matmul(self.up.clone().transpose()) + self.up_bias.clone()) * self.scaling;
        match dropout {
            Some(noise) => {
                let mask = noise.mask(layer, place.behind(), high.dims()[1], None).tensor(&high.device());
                added + high * mask
            }
            None => added + high,
        }
    }
}
