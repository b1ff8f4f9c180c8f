use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};
use half::bf16;
use refit_kernels::{Precision, Weight};

use super::values;
use crate::LlmError;

/// How the frozen matrices of a model are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeightForm {
    /// How exactly.
    pub precision: Precision,
    /// As tiles for the fused kernels of the CPU; otherwise as tensors on the device.
    pub tiles: bool,
}

/// A frozen matrix `[out, in]`, as a tensor or as tiles. Who needs the other form gets it: it is made once, and both stay.
#[derive(Debug, Clone)]
pub(crate) struct Frozen(Arc<Forms>);

#[derive(Debug)]
struct Forms {
    device: Device,
    precision: Precision,
    tensor: OnceLock<Tensor<2>>,
    tiles: OnceLock<Arc<Weight>>,
}

impl Frozen {
    /// Takes over a matrix that lies row by row.
    pub(crate) fn new(mut values: Vec<f32>, [out, width]: [usize; 2], form: WeightForm, device: &Device) -> Self {
        let forms = Forms {
            device: device.clone(),
            precision: form.precision,
            tensor: OnceLock::new(),
            tiles: OnceLock::new(),
        };
        if form.tiles {
            forms.tiles.get_or_init(|| Arc::new(Weight::new(&values, out, width, form.precision)));
        } else {
            if form.precision == Precision::Bf16 {
                for value in &mut values {
                    *value = bf16::from_f32(*value).to_f32();
                }
            }
            forms.tensor.get_or_init(|| Tensor::from_data(TensorData::new(values, [out, width]), device));
        }
        Self(Arc::new(forms))
    }

    /// The place of a matrix that is trained itself, whose numbers lie with what is trained.
    pub(crate) fn absent([out, width]: [usize; 2], device: &Device) -> Self {
        Self(Arc::new(Forms {
            device: device.clone(),
            precision: Precision::F32,
            tensor: OnceLock::new(),
            tiles: OnceLock::from(Arc::new(Weight::absent(out, width))),
        }))
    }

    /// A matrix that is not frozen at all, but tracked where the tensor is.
    pub(crate) fn of_tensor(tensor: Tensor<2>) -> Self {
        let device = tensor.device();
        Self(Arc::new(Forms {
            device,
            precision: Precision::F32,
            tensor: OnceLock::from(tensor),
            tiles: OnceLock::new(),
        }))
    }

    /// Another matrix, kept as this one is.
    pub(crate) fn like(&self, values: Vec<f32>, shape: [usize; 2]) -> Self {
        let form = WeightForm { precision: self.0.precision, tiles: self.0.tensor.get().is_none() };
        Self::new(values, shape, form, &self.0.device)
    }

    /// As a tensor on the device.
    pub(crate) fn tensor(&self) -> Tensor<2> {
        let from_tiles = || {
            let tiles = self.0.tiles.get().expect("invariant: one of the two forms is there");
            let shape = [tiles.out(), tiles.width()];
            let mut values = vec![0f32; tiles.out() * tiles.width()];
            for (row, to) in values.chunks_exact_mut(tiles.width()).enumerate() {
                tiles.read_row(row, to);
            }
            Tensor::from_data(TensorData::new(values, shape), &self.0.device)
        };
        self.0.tensor.get_or_init(from_tiles).clone()
    }

    /// As tiles.
    pub(crate) fn tiles(&self) -> Result<Arc<Weight>, LlmError> {
        if let Some(tiles) = self.0.tiles.get() {
            return Ok(tiles.clone());
        }
        let tensor = self.tensor();
        let [out, width] = tensor.dims();
        let tiles = Arc::new(Weight::new(&values(tensor)?, out, width, self.0.precision));
        Ok(self.0.tiles.get_or_init(|| tiles).clone())
    }

    /// Some rows, one after the other, from the form that is there.
    pub(crate) fn rows(&self, rows: &[u32]) -> Result<Vec<f32>, LlmError> {
        match self.0.tiles.get() {
            Some(tiles) => {
                let mut found = vec![0f32; rows.len() * tiles.width()];
                for (row, to) in rows.iter().zip(found.chunks_exact_mut(tiles.width())) {
                    tiles.read_row(*row as usize, to);
                }
                Ok(found)
            }
            None => values(self.tensor().select(0, super::indices(rows, &self.0.device))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn both_forms_hold_the_same_numbers_whichever_came_first() {
        let numbers: Vec<f32> = (0..37 * 21).map(|i| (i % 101) as f32 * 0.013 - 0.5).collect();
        for precision in [Precision::F32, Precision::Bf16] {
            let kept: Vec<f32> = match precision {
                Precision::F32 => numbers.clone(),
                Precision::Bf16 => numbers.iter().map(|value| bf16::from_f32(*value).to_f32()).collect(),
            };
            for tiles in [false, true] {
                let form = WeightForm { precision, tiles };
                let frozen = Frozen::new(numbers.clone(), [37, 21], form, &Device::flex());
                assert_eq!(frozen.rows(&[3, 36]).unwrap(), [&kept[63..84], &kept[36 * 21..]].concat());
                assert_eq!(frozen.tiles().unwrap().precision(), precision);
                assert_eq!(values(frozen.tensor()).unwrap(), kept);
                assert_eq!(frozen.rows(&[3]).unwrap(), kept[63..84]);
            }
        }
    }
}
