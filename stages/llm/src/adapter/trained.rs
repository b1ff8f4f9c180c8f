use std::{ops::Range, sync::Arc};

use burn::tensor::Tensor;
use refit_checkpoint::ModelConfig;

use super::{Adapter, AdapterTensor, Part};
use crate::{
    LlmError, Model,
    fused::Changes,
    model::{DoraRows, LayerLora, LoraPair, LoraWeights},
    train::{TrainConfig, Trainable, ValueGroup},
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
        self.tensors.iter().find(|tensor| tensor.range().contains(&value)).map_or_else(String::new, AdapterTensor::name)
    }

    fn check(&self, model: &ModelConfig) -> Result<(), LlmError> {
        self.check_shapes(model)
    }

    /// LoRA+ (<https://arxiv.org/abs/2402.12354>): what is not A moves faster, as in PEFT's `create_loraplus_optimizer`.
    fn groups(&self, config: &TrainConfig) -> Vec<ValueGroup> {
        let faster = self.tensors.iter().filter(|tensor| tensor.part != Part::A);
        faster.map(|t| ValueGroup { values: t.range(), rate: config.lora_plus_ratio, decays: true }).collect()
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
        let scale = self.config.scale();
        for module in self.modules() {
            let [a, b] = [module.a, module.b].map(|tensor| leaf(tensor.range(), tensor.shape));
            let rows = module.magnitude.map(|magnitude| {
                let weight = model.linear(module.layer, module.module).weight().tensor();
                let [out, _] = magnitude.shape;
                DoraRows::new(&weight, [&a, &b], scale, leaf(magnitude.range(), [1, out]))
            });
            layers[module.layer][module.module.index()] = Some(LoraPair { a, b, rows });
        }
        Ok(Model { lora: LoraWeights { layers, scale }, ..model.clone() })
    }

    fn shared(&self) -> Arc<dyn Trainable + Send> {
        Arc::new(self.clone())
    }

    fn changes<'a>(&'a self, model: &Model) -> Result<Changes<'a>, LlmError> {
        Changes::of_adapter(self, model)
    }
}
