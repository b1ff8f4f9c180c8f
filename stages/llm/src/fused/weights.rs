use std::{slice::from_ref, sync::Arc};

use refit_kernels::{Isa, Weight, attention::Shape};

use super::{
    block::{Block, Norm},
    projection::{Linear, Projection},
};
use crate::{
    LlmError, Model,
    model::{self, values},
};

/// The frozen weights of a model as the fused kernels take them.
#[derive(Debug)]
pub(crate) struct FusedWeights {
    pub(super) isa: Isa,
    pub(super) shape: Shape,
    /// Queries are multiplied by it.
    pub(super) scale: f32,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Norm,
    /// `[vocabulary, hidden]`.
    pub(super) head: Arc<Weight>,
}

impl FusedWeights {
    /// The tiles of a model's weights; they are shared with the model.
    pub(crate) fn new(model: &Model, isa: Isa) -> Result<Self, LlmError> {
        let config = &model.config;
        let projection = |layers: &[model::Linear]| -> Result<Projection, LlmError> {
            let linear = |layer: &model::Linear| -> Result<Linear, LlmError> {
                let bias = layer.bias().map(values).transpose()?;
                Ok(Linear::new(layer.module(), layer.weight().tiles()?, bias))
            };
            Ok(Projection::new(layers.iter().map(linear).collect::<Result<_, _>>()?))
        };
        let norm = |norm: &model::RmsNorm| -> Result<Norm, LlmError> {
            Ok(Norm { weight: values(norm.weight())?, epsilon: config.rms_eps })
        };
        let maybe = |of: &Option<model::RmsNorm>| of.as_ref().map(norm).transpose();
        let blocks = model.layers.iter().enumerate().map(|(index, layer)| {
            let of_heads = layer.head_norms.as_ref();
            Ok(Block {
                attention_norm: norm(&layer.attention_norm)?,
                qkv: projection(&layer.attention_inputs)?,
                head_norms: of_heads
                    .map(|[queries, keys]| Ok::<_, LlmError>([norm(queries)?, norm(keys)?]))
                    .transpose()?,
                output: projection(from_ref(&layer.output))?,
                after_attention: maybe(&layer.after_attention)?,
                feed_forward_norm: norm(&layer.feed_forward_norm)?,
                gate_up: projection(&layer.feed_forward_inputs)?,
                down: projection(from_ref(&layer.down))?,
                after_feed_forward: maybe(&layer.after_feed_forward)?,
                activation: layer.activation,
                window: config.layer_form(index).window,
            })
        });
        Ok(Self {
            isa,
            shape: Shape { heads: config.heads, key_heads: config.kv_heads, width: config.head_dim },
            scale: config.attention.scale,
            blocks: blocks.collect::<Result<_, LlmError>>()?,
            norm: norm(&model.norm)?,
            head: model.head.whole().tiles()?,
        })
    }
}
