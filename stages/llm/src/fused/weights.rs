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
    /// Angle per position of each rotary pair.
    pub(super) frequencies: Vec<f32>,
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
        let blocks = model.layers.iter().map(|layer| {
            Ok(Block {
                attention_norm: norm(&layer.attention_norm)?,
                qkv: projection(&layer.attention_inputs)?,
                output: projection(from_ref(&layer.output))?,
                feed_forward_norm: norm(&layer.feed_forward_norm)?,
                gate_up: projection(&layer.feed_forward_inputs)?,
                down: projection(from_ref(&layer.down))?,
            })
        });
        Ok(Self {
            isa,
            shape: Shape { heads: config.heads, key_heads: config.kv_heads, width: config.head_dim },
            frequencies: config.rotary.inverse_frequencies().into_iter().map(|f| f as f32).collect(),
            blocks: blocks.collect::<Result<_, LlmError>>()?,
            norm: norm(&model.norm)?,
            head: model.head.tiles()?,
        })
    }
}
