use burn::tensor::{Int, Tensor, activation};

use super::{
    Dropout, LayerLora, LinearModule,
    linear::{Linear, LoraInLayer, project},
    norm::RmsNorm,
    rope::RopeRows,
};

/// The frozen weights of one decoder block.
#[derive(Debug, Clone)]
pub(crate) struct DecoderLayer {
    pub(crate) attention_norm: RmsNorm,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
    pub(crate) feed_forward_norm: RmsNorm,
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) head_dim: usize,
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
    /// In training, with dropout.
    pub(crate) dropout: Option<&'a Dropout>,
    /// Angles of the tokens.
    pub(crate) rope: &'a RopeRows,
    /// Tokens whose output is wanted, in this order; all if absent. Only the last block may leave some out.
    pub(crate) keep: Option<&'a Tensor<1, Int>>,
}

/// One block: x + attention(norm(x)), then + feed-forward(norm(·)); `[tokens, hidden]` in and out.
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
    let lora = LoraInLayer { pairs: pass.lora, scale: pass.scale, dropout: pass.dropout.map(|d| (d, pass.layer)) };
    let normed = layer.attention_norm.forward(x.clone());
    let [query, key, value] = project(
        normed,
        [(LinearModule::Query, &layer.query), (LinearModule::Key, &layer.key), (LinearModule::Value, &layer.value)],
        lora,
    )
    .map(|y| {
        let [tokens, width] = y.dims();
        y.reshape([tokens, width / layer.head_dim, layer.head_dim])
    });
    let attended = attend(pass.rope.query(query), pass.rope.key(key), value);
    let (x, attended) = match pass.keep {
        Some(keep) => (x.select(0, keep.clone()), attended.select(0, keep.clone())),
        None => (x, attended),
    };
    let [output] = project(attended, [(LinearModule::Output, &layer.output)], lora);
    let x = output + x;
    let normed = layer.feed_forward_norm.forward(x.clone());
    let [gate, up] = project(normed, [(LinearModule::Gate, &layer.gate), (LinearModule::Up, &layer.up)], lora);
    let [down] = project(activation::silu(gate) * up, [(LinearModule::Down, &layer.down)], lora);
    down + x
}
