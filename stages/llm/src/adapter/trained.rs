use std::ops::Range;

use burn::tensor::Tensor;
use refit_checkpoint::ModelConfig;

use super::Adapter;
use crate::{
    LlmError, Model,
    fused::Changes,
    model::{LayerLora, LoraPair, LoraWeights},
    train::Trainable,
};

impl Trainable for Adapter {
    fn values(&self) -> &[f32] {
        &self.values
    }

    fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    fn with_values(&self, values: Vec<f32>) -> Self {
        Self { config: self.config.clone(), tensors: self.tensors.clone(), template: self.template.clone(), values }
    }

    fn name_of(&self, value: usize) -> String {
        self.tensors.iter().find(|tensor| tensor.range().contains(&value)).map_or_else(String::new, |t| t.name())
    }

    fn check(&self, model: &ModelConfig) -> Result<(), LlmError> {
        self.check_shapes(model)
    }

    fn dropout(&self) -> f64 {
        self.config.dropout
    }

    fn place(
        &self,
        model: &Model,
        leaf: &mut dyn FnMut(Range<usize>, [usize; 2]) -> Tensor<2>,
    ) -> Result<Model, LlmError> {
        let mut layers: Vec<LayerLora> = (0..model.config.layers).map(|_| LayerLora::default()).collect();
        for pair in self.tensors.chunks_exact(2) {
            let [a, b] = [&pair[0], &pair[1]].map(|tensor| leaf(tensor.range(), tensor.shape));
            layers[pair[0].layer][pair[0].module.index()] = Some(LoraPair { a, b });
        }
        Ok(Model { lora: LoraWeights { layers, scale: self.config.scale() }, ..model.clone() })
    }

    fn changes<'a>(&'a self, model: &Model) -> Result<Changes<'a>, LlmError> {
        Ok(Changes::of_adapter(self, model.config.layers))
    }
}
