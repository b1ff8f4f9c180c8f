use burn::tensor::Tensor;

use super::{LinearModule, Noise, frozen::Frozen};

/// A frozen linear layer as the files hold it.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    module: LinearModule,
    weight: Frozen,
    /// `[1, out]`.
    bias: Option<Tensor<2>>,
}

impl Linear {
    pub(crate) fn new(module: LinearModule, weight: Frozen, bias: Option<Tensor<1>>) -> Self {
        Self { module, weight, bias: bias.map(Tensor::unsqueeze) }
    }

    /// What it computes.
    pub(crate) fn module(&self) -> LinearModule {
        self.module
    }

    /// `[out, in]`.
    pub(crate) fn weight(&self) -> &Frozen {
        &self.weight
    }

    /// The same layer with another weight.
    pub(crate) fn with_weight(&self, weight: Frozen) -> Self {
        Self { module: self.module, weight, bias: self.bias.clone() }
    }

    /// The same layer with another bias, `[1, out]`.
    pub(crate) fn with_bias_of(&self, bias: Tensor<2>) -> Self {
        Self { bias: Some(bias), ..self.clone() }
    }

    /// `[out]`.
    pub(crate) fn bias(&self) -> Option<Tensor<1>> {
        self.bias.clone().map(|bias| bias.squeeze_dim(0))
    }

    /// x · Wᵀ + b.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.with_bias(self.product(x))
    }

    /// x · Wᵀ.
    fn product(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.tensor().transpose())
    }

    fn with_bias(&self, y: Tensor<2>) -> Tensor<2> {
        match &self.bias {
            Some(bias) => y + bias.clone(),
            None => y,
        }
    }
}

/// The two matrices LoRA adds to one linear layer.
#[derive(Debug, Clone)]
pub struct LoraPair {
    /// `[rank, in]`.
    pub a: Tensor<2>,
    /// `[out, rank]`.
    pub b: Tensor<2>,
    /// In DoRA, the length of each row of W + s·B·A apart from its direction.
    pub rows: Option<DoraRows>,
}

/// DoRA's lengths: y = m/n · (W + s·B·A)·x + b, row by row (<https://arxiv.org/abs/2402.09353>).
#[derive(Debug, Clone)]
pub struct DoraRows {
    /// m, trained, `[1, out]`.
    pub magnitude: Tensor<2>,
    /// n, the lengths of the rows of W + s·B·A, a constant to the gradient, `[1, out]`.
    pub norm: Tensor<2>,
}

impl DoraRows {
    /// Rows of a frozen W and of B and A as they are now.
    pub(crate) fn new(weight: &Tensor<2>, pair: [&Tensor<2>; 2], scale: f64, magnitude: Tensor<2>) -> Self {
        let [a, b] = pair.map(|tensor| tensor.clone().detach());
        let turned = weight.clone() + b.matmul(a) * scale;
        Self { magnitude, norm: turned.square().sum_dim(1).sqrt().transpose() }
    }
}

/// The pairs of one layer, by [`LinearModule::index`].
pub type LayerLora = [Option<LoraPair>; LinearModule::COUNT];

/// An adapter on a device.
#[derive(Debug, Clone)]
pub struct LoraWeights {
    /// One entry per decoder layer.
    pub layers: Vec<LayerLora>,
    /// α/r, or α/√r for rsLoRA.
    pub scale: f64,
}

impl LoraWeights {
    /// An adapter that changes nothing, for the model by itself.
    pub fn none(layers: usize) -> Self {
        Self { layers: (0..layers).map(|_| LayerLora::default()).collect(), scale: 1.0 }
    }
}

/// What a projection needs beside its input.
#[derive(Clone, Copy)]
pub(crate) struct LoraInLayer<'a> {
    pub(crate) pairs: &'a LayerLora,
    pub(crate) scale: f64,
    /// Which layer it is.
    pub(crate) layer: usize,
    /// In training, if entries of the input are dropped.
    pub(crate) dropout: Option<&'a Noise>,
}

/// y = x·Wᵀ + b + s·(dropout(x)·Aᵀ)·Bᵀ for linear layers that share their input `[tokens, in]`.
///
/// Without dropout all `A` of the group are applied in one product, so that the input is read, and its gradient summed,
/// once. The frozen weights stay apart: a joined product would have to be cut up again, and cutting costs more passes
/// than it saves.
pub(crate) fn project(x: Tensor<2>, group: &[Linear], lora: LoraInLayer<'_>) -> Vec<Tensor<2>> {
    let mut lowered: Vec<Option<Tensor<2>>> = vec![None; group.len()];
    let adapted: Vec<(usize, LinearModule, &LoraPair)> = group
        .iter()
        .enumerate()
        .filter_map(|(place, linear)| Some((place, linear.module, lora.pairs[linear.module.index()].as_ref()?)))
        .collect();
    match lora.dropout {
        Some(noise) => {
            for (place, module, pair) in &adapted {
                let mask = noise.mask(lora.layer, *module, x.dims()[1], None).tensor(&x.device());
                let dropped = x.clone() * mask;
                lowered[*place] = Some(dropped.matmul(pair.a.clone().transpose()) * lora.scale);
            }
        }
        None if adapted.len() > 1 => {
            let joined = Tensor::cat(adapted.iter().map(|(_, _, pair)| pair.a.clone()).collect(), 0);
            let low = x.clone().matmul(joined.transpose()) * lora.scale;
            let mut start = 0;
            for (place, _, pair) in &adapted {
                let rank = pair.a.dims()[0];
                lowered[*place] = Some(low.clone().narrow(1, start, rank));
                start += rank;
            }
        }
        None => {
            for (place, _, pair) in &adapted {
                lowered[*place] = Some(x.clone().matmul(pair.a.clone().transpose()) * lora.scale);
            }
        }
    }
    let outputs = group.iter().zip(lowered).map(|(linear, low)| match (low, &lora.pairs[linear.module.index()]) {
        (Some(low), Some(LoraPair { b, rows: None, .. })) => {
            linear.forward(x.clone()) + low.matmul(b.clone().transpose())
        }
        (Some(low), Some(LoraPair { b, rows: Some(rows), .. })) => {
            let y = linear.product(x.clone()) + low.matmul(b.clone().transpose());
            linear.with_bias(y * (rows.magnitude.clone() / rows.norm.clone()))
        }
        _ => linear.forward(x.clone()),
    });
    outputs.collect()
}

/// [`project`] by one linear layer.
pub(crate) fn project_by_one(x: Tensor<2>, linear: &Linear, lora: LoraInLayer<'_>) -> Tensor<2> {
    project(x, std::slice::from_ref(linear), lora).remove(0)
}

/// The outputs of these widths: what linear layers gave apart, or what one gave with its features one after the other.
pub(crate) fn apart<const N: usize>(outputs: Vec<Tensor<2>>, widths: [usize; N]) -> [Tensor<2>; N] {
    match <[Tensor<2>; N]>::try_from(outputs) {
        Ok(apart) => apart,
        Err(joined) => {
            let mut start = 0;
            widths.map(|width| {
                start += width;
                joined[0].clone().narrow(1, start - width, width)
            })
        }
    }
}
