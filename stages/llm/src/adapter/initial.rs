use super::{Adapter, LoraConfig, LoraInit, Part, pissa};
use crate::{
    LlmError, Model,
    random::{self, Purpose},
};

/// Rows of a weight that are read at once.
const ROWS_AT_ONCE: u32 = 256;

impl Adapter {
    /// A new adapter. Unless it starts from singular values, B is zero, and it changes nothing yet; if it does, the base has
    /// to be [`Adapter::residual`]. DoRA's magnitudes are the lengths of W's rows.
    ///
    /// # Errors
    /// When `target_modules` matches nothing.
    pub fn initial(config: LoraConfig, model: &Model, seed: u64) -> Result<Self, LlmError> {
        let modules = config.target_modules.resolve(&model.config)?;
        let mut adapter = Self::zeros(config, &model.config, &modules);
        let init = adapter.config.init;
        if init == LoraInit::Pissa {
            pissa::fill(&mut adapter, model, seed)?;
        }
        for (place, tensor) in adapter.tensors.iter().enumerate() {
            let values = &mut adapter.values[tensor.range()];
            let mut rng = random::stream(seed, Purpose::Init, place as u64);
            match (tensor.part, init) {
                (Part::A, LoraInit::Kaiming) => {
                    let bound = 1.0 / (tensor.shape[1] as f32).sqrt();
                    values.fill_with(|| (2.0 * random::unit(&mut rng) - 1.0) * bound);
                }
                (Part::A, LoraInit::Gaussian) => {
                    let deviation = 1.0 / adapter.config.rank as f32;
                    values.fill_with(|| random::normal(&mut rng) * deviation);
                }
                (Part::A, LoraInit::Pissa) | (Part::B, _) => {}
                (Part::Magnitude, _) => {
                    let weight = model.linear(tensor.layer, tensor.module).weight();
                    for start in (0..tensor.shape[0] as u32).step_by(ROWS_AT_ONCE as usize) {
                        let rows: Vec<u32> = (start..(start + ROWS_AT_ONCE).min(tensor.shape[0] as u32)).collect();
                        let numbers = weight.rows(&rows)?;
                        for (row, numbers) in rows.iter().zip(numbers.chunks_exact(numbers.len() / rows.len())) {
                            let square: f64 = numbers.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
                            values[*row as usize] = square.sqrt() as f32;
                        }
                    }
                }
            }
        }
        Ok(adapter)
    }
}
