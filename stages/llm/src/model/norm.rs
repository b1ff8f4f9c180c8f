use burn::tensor::Tensor;

/// Root-mean-square norm over the last dimension: x / √(mean(x²) + ε) · w.
#[derive(Debug, Clone)]
pub(crate) struct RmsNorm {
    /// `[1, hidden]`.
    weight: Tensor<2>,
    epsilon: f64,
}

impl RmsNorm {
    pub(crate) fn new(weight: Tensor<1>, epsilon: f64) -> Self {
        Self { weight: weight.unsqueeze(), epsilon }
    }

    pub(crate) fn weight(&self) -> Tensor<1> {
        self.weight.clone().squeeze_dim(0)
    }

    /// Norms each head: `[tokens, heads, d]` to the same shape.
    pub(crate) fn forward_heads(&self, x: Tensor<3>) -> Tensor<3> {
        let [tokens, heads, d] = x.dims();
        self.forward(x.reshape([tokens * heads, d])).reshape([tokens, heads, d])
    }

    /// `[tokens, hidden]` to the same shape.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let scale = (x.clone().square().mean_dim(1) + self.epsilon).sqrt().recip();
        x * scale * self.weight.clone()
    }
}
