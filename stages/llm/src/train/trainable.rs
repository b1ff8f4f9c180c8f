use std::{ops::Range, sync::Arc};

use burn::tensor::{Tensor, TensorData};
use refit_checkpoint::ModelConfig;

use super::TrainConfig;
use crate::{LlmError, Model, fused::Changes, model::Applied};

/// What a training changes: values in one row, and what a model computes with them.
///
/// The trainer, the optimizer, snapshots and validation know this and nothing else of a method. A method says twice how it
/// computes: by burn operations ([`Trainable::place`], any device, the oracle in tests) and by the fused pass of the CPU
/// ([`Trainable::changes`]).
pub trait Trainable: Sync {
    /// All values.
    fn values(&self) -> &[f32];

    /// All values, for the optimizer.
    fn values_mut(&mut self) -> &mut [f32];

    /// The same with other values, of the same number.
    #[must_use]
    fn with_values(&self, values: Vec<f32>) -> Self
    where
        Self: Sized;

    /// How the optimizer treats which values; what is left out moves at the learning rate itself and decays.
    fn groups(&self, _config: &TrainConfig) -> Vec<ValueGroup> {
        Vec::new()
    }

    /// What the tensor is called that a value belongs to, for a message.
    fn name_of(&self, value: usize) -> String;

    /// Says whether the values fit a model.
    ///
    /// # Errors
    /// The first tensor that does not.
    fn check(&self, model: &ModelConfig) -> Result<(), LlmError>;

    /// Where the values of the head lie, if it is trained: its gradient is known in closed form.
    fn head(&self, _model: &ModelConfig) -> Option<Range<usize>> {
        None
    }

    /// Probability with which entries are dropped in training. Above 0, rows share no work.
    fn dropout(&self) -> f64 {
        0.0
    }

    /// A model that computes with the values, whose tensors `leaf` makes: it is told where the values of a tensor lie,
    /// and rows and columns.
    ///
    /// # Errors
    /// A failing device.
    fn place(
        &self,
        model: &Model,
        leaf: &mut dyn FnMut(Range<usize>, [usize; 2]) -> Tensor<2>,
    ) -> Result<Model, LlmError>;

    /// The same values, for a model to keep.
    fn shared(&self) -> Arc<dyn Trainable + Send>;

    /// What the fused pass does otherwise than the model alone.
    ///
    /// # Errors
    /// A failing device.
    fn changes<'a>(&'a self, model: &Model) -> Result<Changes<'a>, LlmError>;
}

/// Values that the optimizer treats alike.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueGroup {
    /// Which.
    pub values: Range<usize>,
    /// The learning rate is multiplied by this.
    pub rate: f64,
    /// Whether weight decay applies.
    pub decays: bool,
}

impl Model {
    /// The same model, computing with values as they are now; the base stays as it is.
    ///
    /// # Errors
    /// When shapes are not this model's; a failing device.
    pub fn with(&self, trained: &dyn Trainable) -> Result<Self, LlmError> {
        trained.check(&self.config)?;
        let placed = trained.place(self, &mut |range, shape| self.leaf(trained, range, shape))?;
        Ok(Self { applied: Some(Applied(trained.shared())), ..placed })
    }

    /// Some values as a tensor on the model's device.
    pub(super) fn leaf(&self, trained: &dyn Trainable, range: Range<usize>, shape: [usize; 2]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(trained.values()[range].to_vec(), shape), &self.device)
    }
}
