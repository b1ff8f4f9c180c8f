use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::rand_core::Rng;

use super::LinearModule;
use crate::random::{self, Purpose};

/// Dropout on the input of LoRA, as PEFT applies it: each module draws its own mask.
///
/// A mask depends on seed, epoch, row, layer and module only, so the way rows are batched, the device, and stopping and
/// resuming do not change it.
#[derive(Debug, Clone)]
pub struct Dropout {
    probability: f32,
    seed: u64,
    /// For each row of the pass: what names it in the whole training, and its tokens.
    rows: Vec<(u64, usize)>,
    device: Device,
}

impl Dropout {
    /// Dropout for a pass over `rows`: (epoch · rows of the set + index, tokens) each, in the order of the tokens.
    pub(crate) fn new(probability: f32, seed: u64, rows: Vec<(u64, usize)>, device: Device) -> Self {
        Self { probability, seed, rows, device }
    }

    /// Zeroes entries of `[tokens, width]` with the given probability and scales the rest up.
    pub(crate) fn apply(&self, x: Tensor<2>, layer: usize, module: LinearModule) -> Tensor<2> {
        let [tokens, width] = x.dims();
        let threshold = (f64::from(self.probability) * 65_536.0).round() as u32;
        let keep = 65_536.0 / (65_536 - threshold) as f32;
        let mut mask = vec![0f32; tokens * width];
        let mut rest = mask.as_mut_slice();
        for (name, length) in &self.rows {
            let place = name.wrapping_mul(1 << 16) + (layer * LinearModule::COUNT + module.index()) as u64;
            let mut rng = random::stream(self.seed, Purpose::Dropout, place);
            let (row, after) = rest.split_at_mut(length * width);
            for pair in row.chunks_mut(2) {
                let word = rng.next_u32();
                for (value, bits) in pair.iter_mut().zip([word & 0xffff, word >> 16]) {
                    *value = if bits < threshold { 0.0 } else { keep };
                }
            }
            rest = after;
        }
        x * Tensor::<2>::from_data(TensorData::new(mask, [tokens, width]), &self.device)
    }
}
