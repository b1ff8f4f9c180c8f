use burn::tensor::{Int, Tensor, activation};
use refit_checkpoint::{Activation, NormPlace};

use super::{
    AttentionShape, LayerBottlenecks, LayerLora, Model, Noise,
    linear::{Linear, LoraInLayer, apart, project, project_by_one},
    norm::RmsNorm,
    rope::{FormRows, RopeRows},
};
use crate::bottleneck::BottleneckPlace;

/// The frozen weights of one decoder block.
#[derive(Debug, Clone)]
pub(crate) struct DecoderLayer {
    pub(crate) attention_norm: RmsNorm,
    /// Queries, keys and values, apart or in one.
    pub(crate) attention_inputs: Vec<Linear>,
    /// On each head of queries and keys, before they turn.
    pub(crate) head_norms: Option<[RmsNorm; 2]>,
    pub(crate) output: Linear,
    /// On what the attention adds.
    pub(crate) after_attention: Option<RmsNorm>,
    pub(crate) feed_forward_norm: RmsNorm,
    /// Gate and up, apart or in one.
    pub(crate) feed_forward_inputs: Vec<Linear>,
    pub(crate) down: Linear,
    /// On what the feed-forward part adds.
    pub(crate) after_feed_forward: Option<RmsNorm>,
    pub(crate) activation: Activation,
    pub(crate) shape: AttentionShape,
    /// Features of gate and of up.
    pub(crate) wide: usize,
}

impl DecoderLayer {
    /// Its linear layers, in the order of computation.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let after_attention = std::iter::once(&mut self.output).chain(&mut self.feed_forward_inputs);
        self.attention_inputs.iter_mut().chain(after_attention).chain(std::iter::once(&mut self.down))
    }

    /// One of its norms, if it has one there.
    pub(crate) fn norm(&self, place: NormPlace) -> Option<&RmsNorm> {
        match place {
            NormPlace::BeforeAttention => Some(&self.attention_norm),
            NormPlace::Queries => self.head_norms.as_ref().map(|[queries, _]| queries),
            NormPlace::Keys => self.head_norms.as_ref().map(|[_, keys]| keys),
            NormPlace::AfterAttention => self.after_attention.as_ref(),
            NormPlace::BeforeFeedForward => Some(&self.feed_forward_norm),
            NormPlace::AfterFeedForward => self.after_feed_forward.as_ref(),
        }
    }

    /// The same, to be replaced.
    pub(crate) fn norm_mut(&mut self, place: NormPlace) -> Option<&mut RmsNorm> {
        match place {
            NormPlace::BeforeAttention => Some(&mut self.attention_norm),
            NormPlace::Queries => self.head_norms.as_mut().map(|[queries, _]| queries),
            NormPlace::Keys => self.head_norms.as_mut().map(|[_, keys]| keys),
            NormPlace::AfterAttention => self.after_attention.as_mut(),
            NormPlace::BeforeFeedForward => Some(&mut self.feed_forward_norm),
            NormPlace::AfterFeedForward => self.after_feed_forward.as_mut(),
        }
    }

    /// The same, to be read.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        let after_attention = std::iter::once(&self.output).chain(&self.feed_forward_inputs);
        self.attention_inputs.iter().chain(after_attention).chain(std::iter::once(&self.down))
    }
}

/// What one block needs beside its weights and its input.
#[derive(Clone, Copy)]
pub(crate) struct DecoderPass<'a> {
    /// Index of the block.
    pub(crate) layer: usize,
    /// The adapter's matrices for this block.
    pub(crate) lora: &'a LayerLora,
    /// The adapter's scale.
    pub(crate) scale: f64,
    /// The bottlenecks of this block.
    pub(crate) bottlenecks: &'a LayerBottlenecks,
    /// In training, what is random in it.
    pub(crate) noise: Option<&'a Noise>,
    /// Angles of the tokens.
    pub(crate) rope: &'a FormRows,
    /// Tokens whose output is wanted, in this order; all if absent. Only the last block may leave some out.
    pub(crate) keep: Option<&'a Tensor<1, Int>>,
}

impl<'a> DecoderPass<'a> {
    /// That of a block of a model, over all tokens and with nothing random.
    pub(crate) fn new(model: &'a Model, layer: usize, rope: &'a RopeRows) -> Self {
        Self {
            layer,
            lora: &model.lora.layers[layer],
            scale: model.lora.scale,
            bottlenecks: &model.bottlenecks[layer],
            noise: None,
            rope: rope.of_layer(layer),
            keep: None,
        }
    }

    /// What a part of the block adds to `residual`, once its bottleneck has seen it, if it has one.
    fn with_bottleneck(&self, place: BottleneckPlace, added: Tensor<2>, residual: &Tensor<2>) -> Tensor<2> {
        match &self.bottlenecks[place.index()] {
            Some(bottleneck) => {
                bottleneck.forward(added, residual, (self.layer, place), self.noise.filter(|noise| noise.drops()))
            }
            None => added,
        }
    }
}

/// One block: x + attention(norm(x)), then + feed-forward(norm(·)), what is added being normed in some families, and seen by a
/// bottleneck with some adapters; `[tokens, hidden]` in and out.
///
/// `attend` takes queries `[tokens, heads, d]` (turned and scaled), keys (turned) and values `[tokens, key heads, d]` and
/// returns `[tokens, heads · d]`. Training attends within packed rows; generation appends to a cache and attends to that.
/// This is the seam at which a fused block can replace the composed one.
pub(crate) fn decoder_layer(
    layer: &DecoderLayer,
    pass: DecoderPass<'_>,
    x: Tensor<2>,
    attend: impl FnOnce(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<2>,
) -> Tensor<2> {
    let lora = LoraInLayer {
        pairs: pass.lora,
        scale: pass.scale,
        layer: pass.layer,
        dropout: pass.noise.filter(|n| n.drops()),
    };
    let normed = layer.attention_norm.forward(x.clone());
    let AttentionShape { heads, key_heads, head_dim } = layer.shape;
    let inputs = project(normed, &layer.attention_inputs, lora);
    let [query, key, value] = apart(inputs, [heads, key_heads, key_heads].map(|heads| heads * head_dim)).map(|y| {
        let [tokens, width] = y.dims();
        y.reshape([tokens, width / head_dim, head_dim])
    });
    let (query, key) = match &layer.head_norms {
        Some([of_queries, of_keys]) => (of_queries.forward_heads(query), of_keys.forward_heads(key)),
        None => (query, key),
    };
    let attended = attend(pass.rope.query(query), pass.rope.key(key), value);
    let (x, attended) = match pass.keep {
        Some(keep) => (x.select(0, keep.clone()), attended.select(0, keep.clone())),
        None => (x, attended),
    };
    let added = normed_by(layer.after_attention.as_ref(), project_by_one(attended, &layer.output, lora));
    let x = pass.with_bottleneck(BottleneckPlace::Attention, added, &x) + x;
    let normed = layer.feed_forward_norm.forward(x.clone());
    let inputs = project(normed, &layer.feed_forward_inputs, lora);
    let [gate, up] = apart(inputs, [layer.wide; 2]);
    let gate = match layer.activation {
        Activation::Silu => activation::silu(gate),
        Activation::GeluTanh => activation::gelu_approximate(gate),
    };
    let added = normed_by(layer.after_feed_forward.as_ref(), project_by_one(gate * up, &layer.down, lora));
    pass.with_bottleneck(BottleneckPlace::FeedForward, added, &x) + x
}

fn normed_by(norm: Option<&RmsNorm>, x: Tensor<2>) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
