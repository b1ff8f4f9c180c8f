use refit_checkpoint::ModelConfig;

use super::{Adapter, LoraConfig, Part};
use crate::{
    LlmError,
    random::{self, Purpose},
};

impl Adapter {
    /// A new adapter that changes nothing yet: A uniform in ±1/√in (PEFT's Kaiming uniform with a = √5), B zero.
    ///
    /// # Errors
    /// When `target_modules` matches nothing.
    pub fn initial(config: LoraConfig, model: &ModelConfig, seed: u64) -> Result<Self, LlmError> {
        let modules = config.target_modules.resolve(model)?;
        let mut adapter = Self::zeros(config, model, &modules);
        for (place, tensor) in adapter.tensors.iter().enumerate() {
            if tensor.part == Part::A {
                let bound = 1.0 / (tensor.shape[1] as f32).sqrt();
                let mut rng = random::stream(seed, Purpose::Init, place as u64);
                for value in &mut adapter.values[tensor.range()] {
                    *value = (2.0 * random::unit(&mut rng) - 1.0) * bound;
                }
            }
        }
        Ok(adapter)
    }
}
