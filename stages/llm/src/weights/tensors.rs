use std::ops::Range;

use refit_checkpoint::{LinearModule, ModelConfig, NormPlace};

/// Where in a model a weight stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightPlace {
    /// The embedding, which is the head as well if they are tied.
    Embedding,
    /// A norm of a block.
    Norm(usize, NormPlace),
    /// The matrix of a linear layer of a block.
    Linear(usize, LinearModule),
    /// The bias of one.
    Bias(usize, LinearModule),
    /// The norm before the head.
    LastNorm,
    /// The head, if it is not the embedding.
    Head,
}

/// One trained weight and where its values lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightTensor {
    /// The name in Hugging Face's files: `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// `[out, in]`, or `[length]`.
    pub shape: Vec<usize>,
    /// First of its values.
    pub start: usize,
    pub(crate) place: WeightPlace,
}

impl WeightTensor {
    /// Where its values lie.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.shape.iter().product::<usize>()
    }

    /// Where the values of some rows of a matrix lie.
    pub(super) fn rows(&self, rows: &Range<usize>) -> Range<usize> {
        let width: usize = self.shape[1..].iter().product();
        self.start + rows.start * width..self.start + rows.end * width
    }

    /// Rows and columns of a matrix; one row of a vector.
    pub(super) fn matrix(&self) -> [usize; 2] {
        match *self.shape.as_slice() {
            [rows, columns] => [rows, columns],
            _ => [1, self.shape.iter().product()],
        }
    }
}

impl WeightPlace {
    /// Every weight of a model with name and shape, in the order of computation.
    pub(super) fn all(config: &ModelConfig) -> Vec<(String, Vec<usize>, Self)> {
        let (names, hidden, vocabulary) = (config.names, config.hidden_size, config.vocab_size);
        let mut all = vec![(format!("{}.weight", names.embedding), vec![vocabulary, hidden], Self::Embedding)];
        for layer in 0..config.layers {
            let norm = |place: NormPlace| {
                let width = if place.is_of_heads() { config.head_dim } else { hidden };
                let found = config.norm(place).into_iter();
                found.map(move |norm| (config.norm_weight(layer, norm), vec![width], Self::Norm(layer, place)))
            };
            let linears = |wanted: fn(LinearModule) -> bool| {
                config.linears.iter().filter(move |linear| wanted(linear.module)).flat_map(move |linear| {
                    let (path, shape) = (config.linear_path(layer, linear.module), config.linear_shape(linear.module));
                    let bias =
                        linear.bias.then(|| (format!("{path}.bias"), vec![shape[0]], Self::Bias(layer, linear.module)));
                    let weight = (format!("{path}.weight"), shape.to_vec(), Self::Linear(layer, linear.module));
                    std::iter::once(weight).chain(bias)
                })
            };
            let in_attention = |module: LinearModule| module.is_attention_input() || module == LinearModule::Output;
            all.extend(norm(NormPlace::BeforeAttention));
            all.extend(linears(in_attention));
            all.extend([NormPlace::Queries, NormPlace::Keys, NormPlace::AfterAttention].into_iter().flat_map(norm));
            all.extend(norm(NormPlace::BeforeFeedForward));
            all.extend(linears(|module| module.is_feed_forward_input() || module == LinearModule::Down));
            all.extend(norm(NormPlace::AfterFeedForward));
        }
        all.push((format!("{}.weight", names.norm), vec![hidden], Self::LastNorm));
        if !config.tied_head {
            all.push((format!("{}.weight", names.head), vec![vocabulary, hidden], Self::Head));
        }
        all
    }

    /// The block that it stands in, or whose input it makes.
    pub(crate) fn layer(self) -> Option<usize> {
        match self {
            Self::Norm(layer, _) | Self::Linear(layer, _) | Self::Bias(layer, _) => Some(layer),
            Self::Embedding => Some(0),
            Self::LastNorm | Self::Head => None,
        }
    }

    /// Whether it is the matrix of a linear layer.
    pub(crate) fn is_linear(self) -> bool {
        matches!(self, Self::Linear(..))
    }

    /// Whether it is the embedding or the head.
    pub(crate) fn is_table(self) -> bool {
        matches!(self, Self::Embedding | Self::Head)
    }

    /// Whether it is the weight of a norm.
    pub(super) fn is_norm(self) -> bool {
        matches!(self, Self::Norm(..) | Self::LastNorm)
    }

    /// Whether weight decay applies: as in transformers' `Trainer`, to matrices only.
    pub(super) fn decays(self) -> bool {
        matches!(self, Self::Embedding | Self::Linear(..) | Self::Head)
    }
}
