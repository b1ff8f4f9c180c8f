//! Full tuning: weights of the model itself that are trained, all or chosen ones.

mod selection;
mod tensors;
mod unit_rows;

use std::{ops::Range, sync::Arc};

use burn::tensor::{Tensor, TensorData};
use refit_checkpoint::{HostTensor, ModelConfig};
pub use selection::Selection;
pub(crate) use tensors::WeightPlace;
pub use tensors::WeightTensor;
pub(crate) use unit_rows::UnitRows;

use crate::{
    LlmError, Model,
    fused::Changes,
    model::{Frozen, RmsNorm, Table, values},
    train::{TrainConfig, Trainable, ValueGroup},
};

/// Weights that are trained, with all values in one row, each matrix `[out, in]` row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedWeights {
    tensors: Vec<WeightTensor>,
    values: Vec<f32>,
}

impl TrainedWeights {
    /// The chosen weights of a model, as they are.
    ///
    /// # Errors
    /// When an expression is not valid or matches nothing; a failing device.
    pub fn of(model: &Model, selection: &Selection) -> Result<Self, LlmError> {
        let tensors = selection.resolve(model.config())?;
        let mut numbers = Vec::with_capacity(tensors.last().map_or(0, |tensor| tensor.range().end));
        let rows = |frozen: &Frozen, count: usize| frozen.rows(&(0..count as u32).collect::<Vec<_>>());
        for tensor in &tensors {
            numbers.extend(match tensor.place {
                WeightPlace::Embedding => model.embedding.rows(0..tensor.shape[0])?,
                WeightPlace::Head => {
                    let mut head = model.head.rows(0..tensor.shape[0])?;
                    if let Some(lengths) = &model.head_lengths {
                        // The model keeps the rows at length 1; files have them as they are.
                        let long = head.chunks_exact_mut(tensor.shape[1]).zip(lengths.iter());
                        long.for_each(|(row, length)| row.iter_mut().for_each(|value| *value *= *length as f32));
                    }
                    head
                }
                WeightPlace::LastNorm => values(model.norm.weight())?,
                WeightPlace::Norm(layer, place) => {
                    let norm = model.layers[layer].norm(place);
                    values(norm.expect("invariant: a listed norm is there").weight())?
                }
                WeightPlace::Linear(layer, module) => rows(model.linear(layer, module).weight(), tensor.shape[0])?,
                WeightPlace::Bias(layer, module) => {
                    let bias = model.linear(layer, module).bias();
                    values(bias.expect("invariant: a listed bias is there"))?
                }
            });
        }
        Ok(Self { tensors, values: numbers })
    }

    /// The trained weights, in the order of their values.
    pub fn tensors(&self) -> &[WeightTensor] {
        &self.tensors
    }

    /// A weight as files hold it, by its name in Hugging Face's files, if it is trained.
    pub fn in_files(&self, name: &str, model: &ModelConfig) -> Option<HostTensor> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name)?;
        let mut values = self.values[tensor.range()].to_vec();
        if tensor.place.is_norm() && model.norm_offset != 0.0 {
            for value in &mut values {
                *value -= model.norm_offset;
            }
        }
        Some(HostTensor { shape: tensor.shape.clone(), values })
    }
}

impl Model {
    /// The model without the matrices that are trained: they need not be in memory twice. It computes only together with
    /// them.
    #[must_use]
    pub fn without(mut self, trained: &TrainedWeights) -> Self {
        self.fused = Arc::default();
        for tensor in &trained.tensors {
            let absent = || Frozen::absent(tensor.matrix(), &self.device);
            match tensor.place {
                WeightPlace::Embedding => {
                    self.embedding = self.embedding.absent(&self.device);
                    if self.config.tied_head {
                        self.head = self.embedding.clone();
                    }
                }
                WeightPlace::Head => self.head = self.head.absent(&self.device),
                WeightPlace::Linear(layer, module) => {
                    let absent = absent();
                    for linear in self.layers[layer].linears_mut().filter(|linear| linear.module() == module) {
                        *linear = linear.with_weight(absent.clone());
                    }
                }
                WeightPlace::Norm(..) | WeightPlace::Bias(..) | WeightPlace::LastNorm => {}
            }
        }
        self
    }
}

impl Trainable for TrainedWeights {
    fn values(&self) -> &[f32] {
        &self.values
    }

    fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    fn with_values(&self, values: Vec<f32>) -> Self {
        Self { tensors: self.tensors.clone(), values }
    }

    fn groups(&self, _config: &TrainConfig) -> Vec<ValueGroup> {
        let still = self.tensors.iter().filter(|tensor| !tensor.place.decays());
        still.map(|tensor| ValueGroup { values: tensor.range(), rate: 1.0, decays: false }).collect()
    }

    fn name_of(&self, value: usize) -> String {
        let tensor = self.tensors.iter().find(|tensor| tensor.range().contains(&value));
        tensor.map_or_else(String::new, |tensor| tensor.name.clone())
    }

    /// The shapes are the model's they were taken from.
    fn check(&self, _model: &ModelConfig) -> Result<(), LlmError> {
        Ok(())
    }

    fn head(&self, model: &ModelConfig) -> Option<Range<usize>> {
        let wanted = if model.tied_head { WeightPlace::Embedding } else { WeightPlace::Head };
        self.tensors.iter().find(|tensor| tensor.place == wanted).map(WeightTensor::range)
    }

    fn place(
        &self,
        model: &Model,
        leaf: &mut dyn FnMut(Range<usize>, [usize; 2]) -> Tensor<2>,
    ) -> Result<Model, LlmError> {
        let mut placed = model.clone();
        placed.fused = Arc::default();
        for tensor in &self.tensors {
            let table = |of: &Table, leaf: &mut dyn FnMut(Range<usize>, [usize; 2]) -> Tensor<2>| {
                of.of_tensors(|rows| leaf(tensor.rows(&rows), [rows.len(), tensor.shape[1]]))
            };
            let mut values = || leaf(tensor.range(), tensor.matrix());
            match tensor.place {
                WeightPlace::Embedding => {
                    placed.embedding = table(&model.embedding, leaf);
                    if model.config.tied_head {
                        placed.head = placed.embedding.clone();
                    }
                }
                // The gradient by the head is known in closed form, so this one need not be tracked.
                WeightPlace::Head if model.config.unit_head => {
                    let unit = UnitRows::of(&self.values[tensor.range()], tensor.shape[1]);
                    placed.head = model.head.of_tensors(|rows| {
                        let shape = [rows.len(), tensor.shape[1]];
                        let values = unit.values()[rows.start * shape[1]..rows.end * shape[1]].to_vec();
                        Tensor::from_data(TensorData::new(values, shape), &model.device)
                    });
                }
                WeightPlace::Head => placed.head = table(&model.head, leaf),
                WeightPlace::LastNorm => placed.norm = RmsNorm::new(values().squeeze_dim(0), model.config.rms_eps),
                WeightPlace::Norm(layer, place) => {
                    let norm = placed.layers[layer].norm_mut(place).expect("invariant: a listed norm is there");
                    *norm = RmsNorm::new(values().squeeze_dim(0), model.config.rms_eps);
                }
                WeightPlace::Linear(layer, module) => {
                    let found = placed.layers[layer].linears_mut().find(|linear| linear.module() == module);
                    let linear = found.expect("invariant: modules are those of the model");
                    *linear = linear.with_weight(Frozen::of_tensor(values()));
                }
                WeightPlace::Bias(layer, module) => {
                    let found = placed.layers[layer].linears_mut().find(|linear| linear.module() == module);
                    let linear = found.expect("invariant: modules are those of the model");
                    *linear = linear.with_bias_of(values());
                }
            }
        }
        Ok(placed)
    }

    fn shared(&self) -> Arc<dyn Trainable + Send> {
        Arc::new(self.clone())
    }

    fn changes<'a>(&'a self, model: &Model) -> Result<Changes<'a>, LlmError> {
        Ok(Changes::of_weights(&self.tensors, &self.values, model.config.layers))
    }
}
