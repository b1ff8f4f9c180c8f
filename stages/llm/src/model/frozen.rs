use std::sync::{Arc, OnceLock};

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use half::{bf16, f16};
use rayon::prelude::*;
use refit_checkpoint::{BlockFormat, HostTensor, PackedTensor, StoredTensor};
use refit_kernels::{Precision, Weight};

use super::{planes::DevicePlanes, values};
use crate::{
    LlmError,
    device::{is_cpu, largest_buffer},
};

/// Rows that one task reads, at least: in tiles each of their numbers lies in a cache line of its own.
const ROWS_PER_TASK: usize = 16;

/// How the frozen matrices of a model are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeightForm {
    /// How exactly they are kept and, on a CPU, multiplied. A GPU multiplies in f32 what it keeps in half of that.
    pub precision: Precision,
    /// As tiles for the fused kernels of the CPU; otherwise as tensors on the device.
    pub tiles: bool,
    /// What becomes of blocks.
    pub quantization: Quantization,
    /// Blocks that are kept lie on the device as tensors, as they always do on a GPU; otherwise in memory as they are.
    pub planes: bool,
}

impl WeightForm {
    /// Whether plain numbers are kept in f16 on this device, if they fit into it.
    pub(super) fn keeps_halves(self, device: &Device) -> bool {
        self.precision == Precision::Bf16 && !self.tiles && takes_halves(device)
    }
}

/// Whether frozen matrices are kept in blocks and unpacked inside the products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quantization {
    /// All are unpacked when they are read.
    #[default]
    Unpack,
    /// Those that the file has in blocks stay so.
    Keep,
    /// Those too, and the linear layers of the others are brought into NF4 in blocks of 64 when they are read (`QLoRA`).
    Nf4,
}

impl Quantization {
    /// What holds for embedding and head, which nobody quantises for a training.
    pub(crate) fn of_tables(self) -> Self {
        match self {
            Self::Unpack => Self::Unpack,
            Self::Keep | Self::Nf4 => Self::Keep,
        }
    }
}

/// A frozen matrix `[out, in]`: as a tensor, as tiles, in halves on the device, or in blocks, in memory or on the device. Who
/// needs another form than the one that is there gets it: of plain numbers it is made once, and both stay; halves and blocks
/// are unpacked for each use and the numbers dropped after it.
#[derive(Debug, Clone)]
pub(crate) struct Frozen(Arc<Forms>);

#[derive(Debug)]
struct Forms {
    device: Device,
    precision: Precision,
    tensor: OnceLock<Tensor<2>>,
    tiles: OnceLock<Arc<Weight>>,
    planes: Option<DevicePlanes>,
    /// As f16, on a GPU that has it: what bf16 rounds to is there in it to the last digit, but for numbers below 2⁻¹⁴, of
    /// which f16 keeps 2⁻²⁴ and what is above.
    halves: Option<Tensor<2>>,
}

impl Frozen {
    /// Takes over a matrix.
    ///
    /// # Errors
    /// Rows that do not fill the blocks which are asked for; more numbers than the device takes in one buffer.
    pub(crate) fn new(
        name: &str,
        matrix: StoredTensor,
        [out, width]: [usize; 2],
        form: WeightForm,
        device: &Device,
    ) -> Result<Self, LlmError> {
        let mut forms = Forms {
            device: device.clone(),
            precision: form.precision,
            tensor: OnceLock::new(),
            tiles: OnceLock::new(),
            planes: None,
            halves: None,
        };
        // What is kept in blocks or halves is unpacked into one buffer too.
        let (bytes, limit) = (out * width * size_of::<f32>(), largest_buffer(device));
        if bytes > limit {
            return Err(LlmError::WeightTooLarge { name: name.into(), bytes, limit });
        }
        let matrix = match matrix {
            StoredTensor::Plain(plain) if form.quantization == Quantization::Nf4 => in_nf4(name, &plain, [out, width])?,
            matrix => matrix,
        };
        let keeps_blocks = form.quantization != Quantization::Unpack;
        match matrix {
            StoredTensor::Packed(packed) if keeps_blocks && (form.planes || !is_cpu(device)) => {
                forms.planes = Some(DevicePlanes::new(&packed, device));
            }
            StoredTensor::Packed(PackedTensor { format, bytes, .. }) if keeps_blocks => {
                forms.tiles.get_or_init(|| Arc::new(Weight::packed(format, bytes, out, width, form.precision)));
            }
            matrix => {
                let HostTensor { mut values, .. } = matrix.decode();
                if form.tiles {
                    forms.tiles.get_or_init(|| Arc::new(Weight::new(&values, out, width, form.precision)));
                } else {
                    round(&mut values, form.precision);
                    if form.keeps_halves(device) && fit_halves(&values) {
                        let values: Vec<f16> = values.into_par_iter().map(f16::from_f32).collect();
                        let data = TensorData::new(values, [out, width]);
                        forms.halves = Some(Tensor::from_data(data, (device, DType::F16)));
                    } else {
                        forms.tensor.get_or_init(|| Tensor::from_data(TensorData::new(values, [out, width]), device));
                    }
                }
            }
        }
        Ok(Self(Arc::new(forms)))
    }

    /// The place of a matrix that is trained itself, whose numbers lie with what is trained.
    pub(crate) fn absent([out, width]: [usize; 2], device: &Device) -> Self {
        Self(Arc::new(Forms {
            device: device.clone(),
            precision: Precision::F32,
            tensor: OnceLock::new(),
            tiles: OnceLock::from(Arc::new(Weight::absent(out, width))),
            planes: None,
            halves: None,
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
            planes: None,
            halves: None,
        }))
    }

    /// Another matrix, kept as this one is.
    pub(crate) fn like(&self, values: Vec<f32>, shape: [usize; 2]) -> Self {
        let form = WeightForm {
            precision: self.0.precision,
            tiles: self.0.tensor.get().is_none() && !self.unpacks_on_device(),
            ..WeightForm::default()
        };
        let matrix = HostTensor { shape: shape.into(), values };
        Self::new("", matrix.into(), shape, form, &self.0.device).expect("invariant: plain numbers fit always")
    }

    /// As a tensor on the device.
    pub(crate) fn tensor(&self) -> Tensor<2> {
        if let Some(planes) = &self.0.planes {
            return planes.unpack();
        }
        if let Some(halves) = &self.0.halves {
            return halves.clone().cast(FloatDType::F32);
        }
        let unpacked = |tiles: &Weight| {
            let width = tiles.width();
            let mut values = vec![0f32; tiles.out() * width];
            values.par_chunks_mut(width).enumerate().for_each(|(row, to)| tiles.read_row(row, to));
            // Blocks hold more digits than products in bf16 take.
            round(&mut values, self.0.precision);
            Tensor::from_data(TensorData::new(values, [tiles.out(), width]), &self.0.device)
        };
        match self.0.tiles.get() {
            Some(tiles) if tiles.blocks().is_some() => unpacked(tiles),
            Some(tiles) => self.0.tensor.get_or_init(|| unpacked(tiles)).clone(),
            None => self.0.tensor.get().expect("invariant: one of the two forms is there").clone(),
        }
    }

    /// As the fused kernels take it.
    ///
    /// # Errors
    /// A failing device.
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
                let to = rows.par_iter().zip(found.par_chunks_exact_mut(tiles.width())).with_min_len(ROWS_PER_TASK);
                to.for_each(|(row, to)| tiles.read_row(*row as usize, to));
                Ok(found)
            }
            None => values(self.select(super::indices(rows, &self.0.device))),
        }
    }

    /// Some rows as a tensor on the device.
    pub(crate) fn select(&self, rows: Tensor<1, Int>) -> Tensor<2> {
        if let Some(planes) = &self.0.planes {
            return planes.select(&rows).unpack();
        }
        if let Some(halves) = &self.0.halves {
            return halves.clone().select(0, rows).cast(FloatDType::F32);
        }
        match self.0.tiles.get() {
            // Not the whole of it for the sake of some rows.
            Some(tiles) if tiles.blocks().is_some() => {
                let wanted = rows.try_into_vec_as::<i32>().expect("invariant: the CPU gives back what it was given");
                let wanted: Vec<u32> = wanted.into_iter().map(|row| row as u32).collect();
                let found = self.rows(&wanted).expect("invariant: blocks are in memory");
                Tensor::from_data(TensorData::new(found, [wanted.len(), tiles.width()]), &self.0.device)
            }
            _ => self.tensor().select(0, rows),
        }
    }

    /// How many numbers it has.
    pub(crate) fn numbers(&self) -> usize {
        match (self.0.tiles.get(), &self.0.planes, self.0.tensor.get()) {
            (Some(tiles), ..) => tiles.out() * tiles.width(),
            (None, Some(planes), _) => planes.shape().iter().product(),
            (None, None, tensor) => {
                tensor.or(self.0.halves.as_ref()).map_or(0, |tensor| tensor.dims().iter().product())
            }
        }
    }

    /// Whether the device unpacks it for each use.
    fn unpacks_on_device(&self) -> bool {
        self.0.planes.is_some() || self.0.halves.is_some()
    }

    /// Whether it is unpacked each time that a burn operation asks for its tensor.
    pub(crate) fn unpacks_for_each_use(&self) -> bool {
        self.unpacks_on_device() || self.0.tiles.get().is_some_and(|tiles| tiles.blocks().is_some())
    }

    /// The blocks it is kept in, if it is, and the bytes of the form it was read into.
    pub(crate) fn kept(&self) -> (Option<BlockFormat>, usize) {
        match (&self.0.planes, self.0.tiles.get()) {
            (Some(planes), _) => (Some(planes.format()), planes.bytes()),
            (None, Some(tiles)) => (tiles.blocks().map(|(format, _)| format), tiles.bytes()),
            (None, None) => {
                let number = if self.0.halves.is_some() { size_of::<f16>() } else { size_of::<f32>() };
                (None, self.numbers() * number)
            }
        }
    }
}

fn in_nf4(name: &str, plain: &HostTensor, shape: [usize; 2]) -> Result<StoredTensor, LlmError> {
    let format = BlockFormat::Nf4;
    if !shape[1].is_multiple_of(format.values()) {
        return Err(LlmError::NotInBlocks { name: name.into(), width: shape[1], format });
    }
    let bytes = refit_blocks::quantize(format, &plain.values).expect("invariant: rows fill blocks of NF4");
    Ok(StoredTensor::Packed(PackedTensor { format, shape, bytes }))
}

/// Whether a device keeps matrices in f16: a GPU that has it.
pub(crate) fn takes_halves(device: &Device) -> bool {
    !is_cpu(device) && device.supports_dtype(DType::F16)
}

fn fit_halves(values: &[f32]) -> bool {
    let largest = f32::from(f16::MAX);
    values.par_iter().all(|value| value.abs() <= largest)
}

/// Rounds numbers to what products of this precision multiply.
fn round(values: &mut [f32], precision: Precision) {
    if precision == Precision::Bf16 {
        values.par_iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::reference::blocks;

    #[test]
    fn both_forms_hold_the_same_numbers_whichever_came_first() {
        let numbers: Vec<f32> = (0..37 * 21).map(|i| (i % 101) as f32 * 0.013 - 0.5).collect();
        for precision in [Precision::F32, Precision::Bf16] {
            let kept: Vec<f32> = match precision {
                Precision::F32 => numbers.clone(),
                Precision::Bf16 => numbers.iter().map(|value| bf16::from_f32(*value).to_f32()).collect(),
            };
            for tiles in [false, true] {
                let form = WeightForm { precision, tiles, ..WeightForm::default() };
                let matrix = HostTensor { shape: vec![37, 21], values: numbers.clone() };
                let frozen = Frozen::new("w", matrix.into(), [37, 21], form, &Device::flex()).unwrap();
                assert_eq!(frozen.rows(&[3, 36]).unwrap(), [&kept[63..84], &kept[36 * 21..]].concat());
                assert_eq!(frozen.tiles().unwrap().precision(), precision);
                assert_eq!(values(frozen.tensor()).unwrap(), kept);
                assert_eq!(frozen.rows(&[3]).unwrap(), kept[63..84]);
            }
        }
    }

    #[test]
    fn blocks_stay_blocks_unless_they_are_to_be_unpacked() {
        let numbers: Vec<f32> = (0..5 * 64).map(|i| (i % 101) as f32 * 0.013 - 0.5).collect();
        let format = BlockFormat::Q8_0;
        let packed = PackedTensor { format, shape: [5, 64], bytes: refit_blocks::quantize(format, &numbers).unwrap() };
        let kept = format.decode(&packed.bytes);
        for (quantization, tiles, expected) in [
            (Quantization::Keep, true, (Some(format), 5 * 68)),
            (Quantization::Keep, false, (Some(format), 5 * 68)),
            (Quantization::Unpack, false, (None, 5 * 64 * 4)),
        ] {
            let form = WeightForm { tiles, quantization, ..WeightForm::default() };
            let packed = StoredTensor::Packed(packed.clone());
            let frozen = Frozen::new("w", packed, [5, 64], form, &Device::flex()).unwrap();
            assert_eq!(frozen.kept(), expected);
            assert_eq!(frozen.rows(&[3]).unwrap(), kept[3 * 64..4 * 64]);
            assert_eq!(values(frozen.tensor()).unwrap(), kept);
            assert_eq!(frozen.kept(), expected);
        }
    }

    #[test]
    fn on_a_device_every_format_unpacks_to_the_same_numbers() {
        let (rows, width) = (5, 512);
        for format in BlockFormat::ALL {
            let packed = blocks(format, [rows, width], "w");
            let kept = format.decode(&packed.bytes);
            let form = WeightForm { planes: true, quantization: Quantization::Keep, ..WeightForm::default() };
            let frozen = Frozen::new("w", packed.into(), [rows, width], form, &Device::flex()).unwrap();
            assert_eq!(values(frozen.tensor()).unwrap(), kept, "{format}");
            assert_eq!(
                frozen.rows(&[3, 0]).unwrap(),
                [&kept[3 * width..4 * width], &kept[..width]].concat(),
                "{format}"
            );
            assert_eq!(values(frozen.like(kept.clone(), [rows, width]).tensor()).unwrap(), kept);
            let (found, bytes) = frozen.kept();
            let (own, floats) = (format.bytes_of(rows * width).unwrap(), rows * width * 4);
            assert!(
                found == Some(format) && bytes >= own && bytes * 10 <= own * 14 && bytes * 3 < floats,
                "{format}: {bytes}"
            );
        }
    }

    #[test]
    fn floats_are_brought_into_nf4_where_that_is_asked_for() {
        let numbers: Vec<f32> = (0..5 * 64).map(|i| (i % 101) as f32 * 0.013 - 0.5).collect();
        let form = WeightForm { quantization: Quantization::Nf4, tiles: true, ..WeightForm::default() };
        let matrix = |width| HostTensor { shape: vec![320 / width, width], values: numbers.clone() }.into();
        let frozen = Frozen::new("w", matrix(64), [5, 64], form, &Device::flex()).unwrap();
        assert_eq!(frozen.kept(), (Some(BlockFormat::Nf4), 5 * 36));
        let expected = BlockFormat::Nf4.decode(&refit_blocks::quantize(BlockFormat::Nf4, &numbers).unwrap());
        assert_eq!(values(frozen.tensor()).unwrap(), expected);
        let error = Frozen::new("w", matrix(32), [10, 32], form, &Device::flex()).unwrap_err();
        assert!(matches!(error, LlmError::NotInBlocks { width: 32, .. }));
    }
}
