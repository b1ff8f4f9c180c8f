use refit_checkpoint::ModelConfig;

use super::{BottleneckAdapter, BottleneckConfig, BottleneckInit, BottleneckPart};
use crate::{
    LlmError,
    random::{self, Purpose},
};

/// The deviation of BERT's first weights.
const BERT: f32 = 0.02;

impl BottleneckAdapter {
    /// A new adapter for a model.
    ///
    /// # Errors
    /// Blocks of another shape than the library defines, and settings that leave nothing to train.
    pub fn initial(config: BottleneckConfig, model: &ModelConfig, seed: u64) -> Result<Self, LlmError> {
        let mut adapter = Self::zeros(config, model)?;
        for (place, tensor) in adapter.tensors.iter().enumerate() {
            let values = &mut adapter.values[tensor.range()];
            let mut rng = random::stream(seed, Purpose::Init, place as u64);
            match (adapter.config.init, tensor.part) {
                (BottleneckInit::Bert, BottleneckPart::Down | BottleneckPart::Up) => {
                    values.fill_with(|| random::normal(&mut rng) * BERT);
                }
                // Kaiming's uniform with a = √5.
                (BottleneckInit::MamAdapter, BottleneckPart::Down) => {
                    let bound = 1.0 / (tensor.shape[1] as f32).sqrt();
                    values.fill_with(|| (2.0 * random::unit(&mut rng) - 1.0) * bound);
                }
                _ => {}
            }
        }
        Ok(adapter)
    }
}
