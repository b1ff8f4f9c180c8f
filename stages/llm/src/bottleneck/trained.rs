use std::{ops::Range, sync::Arc};

use burn::tensor::Tensor;
use refit_checkpoint::ModelConfig;

use super::BottleneckAdapter;
use crate::{
    LlmError, Model,
    fused::Changes,
    model::{Bottleneck, LayerBottlenecks},
    train::{TrainConfig, Trainable, ValueGroup},
};

impl Trainable for BottleneckAdapter {
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
        let found = self.tensors.iter().find(|tensor| tensor.range().contains(&value));
        found.map_or_else(String::new, |tensor| tensor.name.clone())
    }

    fn check(&self, model: &ModelConfig) -> Result<(), LlmError> {
        self.check_fits(model)
    }

    /// As in the library's `AdapterTrainer`, biases do not decay.
    fn groups(&self, _config: &TrainConfig) -> Vec<ValueGroup> {
        let biases = self.tensors.iter().filter(|tensor| tensor.part.is_bias());
        biases.map(|tensor| ValueGroup { values: tensor.range(), rate: 1.0, decays: false }).collect()
    }

    fn dropout(&self) -> f64 {
        self.config.dropout
    }

    fn place(
        &self,
        model: &Model,
        leaf: &mut dyn FnMut(Range<usize>, [usize; 2]) -> Tensor<2>,
    ) -> Result<Model, LlmError> {
        let mut layers = vec![LayerBottlenecks::default(); model.config.layers];
        for module in self.modules() {
            let tensors = [module.down, module.down_bias, module.up, module.up_bias];
            let [down, down_bias, up, up_bias] = tensors.map(|tensor| leaf(tensor.range(), tensor.shape));
            layers[module.down.layer][module.down.place.index()] = Some(Bottleneck {
                input: self.config.input,
                non_linearity: self.config.non_linearity,
                scaling: self.config.scaling,
                down,
                down_bias,
                up,
                up_bias,
            });
        }
        Ok(Model { bottlenecks: layers, ..model.clone() })
    }

    fn shared(&self) -> Arc<dyn Trainable + Send> {
        Arc::new(self.clone())
    }

    fn changes<'a>(&'a self, model: &Model) -> Result<Changes<'a>, LlmError> {
        Ok(Changes::of_bottlenecks(self, model.config.layers))
    }
}
