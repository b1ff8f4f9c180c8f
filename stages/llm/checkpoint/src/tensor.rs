use std::ops::Range;

use rayon::prelude::*;
use refit_blocks::BlockFormat;

use crate::CheckpointError;

/// Values one thread checks at a time.
const BLOCK: usize = 1 << 16;

/// One tensor in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Sizes, outermost first: a projection is `[out, in]`.
    pub shape: Vec<usize>,
    /// The values, row by row.
    pub values: Vec<f32>,
}

impl HostTensor {
    /// Each row divided by its length, or by 1e-12 if that is more, as `torch.nn.functional.normalize` does it.
    #[must_use]
    pub fn with_unit_rows(mut self) -> Self {
        let lengths = self.row_lengths();
        let width = self.shape.last().copied().unwrap_or(1).max(1);
        self.values.par_chunks_exact_mut(width).zip(lengths).for_each(|(row, length)| {
            for value in row {
                *value = (f64::from(*value) / length) as f32;
            }
        });
        self
    }

    /// The length of each row, or 1e-12 if that is more.
    pub fn row_lengths(&self) -> Vec<f64> {
        let width = self.shape.last().copied().unwrap_or(1).max(1);
        let length = |row: &[f32]| row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(1e-12);
        self.values.par_chunks_exact(width).map(length).collect()
    }

    /// Some of its rows.
    ///
    /// # Panics
    /// When it has no such rows.
    #[must_use]
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        let width: usize = self.shape[1..].iter().product();
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        Self { shape, values: self.values[rows.start * width..rows.end * width].to_vec() }
    }
}

/// One matrix in the blocks its file has it in.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedTensor {
    /// How.
    pub format: BlockFormat,
    /// Rows and columns: `[out, in]`. A row is made of whole blocks.
    pub shape: [usize; 2],
    /// The blocks, row by row.
    pub bytes: Vec<u8>,
}

/// A tensor as its file has it: matrices may be packed.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredTensor {
    /// Plain numbers.
    Plain(HostTensor),
    /// Blocks.
    Packed(PackedTensor),
}

impl StoredTensor {
    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Plain(tensor) => &tensor.shape,
            Self::Packed(tensor) => &tensor.shape,
        }
    }

    /// Some of its rows, in the same form.
    ///
    /// # Panics
    /// When it has no such rows.
    #[must_use]
    pub fn rows(&self, rows: Range<usize>) -> Self {
        match self {
            Self::Plain(tensor) => Self::Plain(tensor.rows(rows)),
            Self::Packed(tensor) => {
                let [_, width] = tensor.shape;
                let bytes = width / tensor.format.values() * tensor.format.bytes();
                Self::Packed(PackedTensor {
                    format: tensor.format,
                    shape: [rows.len(), width],
                    bytes: tensor.bytes[rows.start * bytes..rows.end * bytes].to_vec(),
                })
            }
        }
    }

    /// The numbers themselves.
    pub fn decode(self) -> HostTensor {
        match self {
            Self::Plain(tensor) => tensor,
            Self::Packed(tensor) => {
                HostTensor { shape: tensor.shape.into(), values: tensor.format.decode(&tensor.bytes) }
            }
        }
    }
}

impl StoredTensor {
    /// Refuses NaN and infinity.
    pub(crate) fn check_finite(self, name: &str) -> Result<Self, CheckpointError> {
        match self {
            Self::Plain(tensor) => tensor.check_finite(name).map(Self::Plain),
            Self::Packed(tensor) => tensor.check_finite(name).map(Self::Packed),
        }
    }
}

impl From<PackedTensor> for StoredTensor {
    fn from(tensor: PackedTensor) -> Self {
        Self::Packed(tensor)
    }
}

impl From<HostTensor> for StoredTensor {
    fn from(tensor: HostTensor) -> Self {
        Self::Plain(tensor)
    }
}

impl PackedTensor {
    /// Refuses blocks with NaN and infinity, as [`HostTensor::check_finite`] does.
    pub(crate) fn check_finite(self, name: &str) -> Result<Self, CheckpointError> {
        let (in_block, bytes) = (self.format.values(), self.format.bytes());
        let per_task = BLOCK / in_block;
        let finite = self.bytes.par_chunks(per_task * bytes).all(|blocks| {
            let mut values = vec![0.0; blocks.len() / bytes * in_block];
            self.format.decode_into(blocks, &mut values);
            values.iter().all(|value| value.is_finite())
        });
        if !finite {
            // To say where.
            StoredTensor::Packed(self.clone()).decode().check_finite(name)?;
        }
        Ok(self)
    }
}

impl HostTensor {
    /// Refuses NaN and infinity: one such weight turns every output into NaN, long after the cause.
    pub(crate) fn check_finite(self, name: &str) -> Result<Self, CheckpointError> {
        // In blocks: a search over single values would spend more on finding out where others already found one.
        let bad = self.values.par_chunks(BLOCK).enumerate().find_map_first(|(block, values)| {
            Some(block * BLOCK + values.iter().position(|value| !value.is_finite())?)
        });
        match bad {
            None => Ok(self),
            Some(at) => Err(CheckpointError::new(
                "weights::not_finite",
                format!("the weight `{name}` holds {} at position {:?}", self.values[at], position(at, &self.shape)),
            )
            .with_help("the file is damaged or the model was saved after training diverged; fetch it again")),
        }
    }
}

/// The index along each dimension of the value at a flat position.
fn position(flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = flat;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|size| {
            let at = rest % size;
            rest /= size;
            at
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_value_is_named() {
        let mut values = vec![0.5; 12];
        values[7] = f32::NAN;
        values[9] = f32::INFINITY;
        let error = HostTensor { shape: vec![3, 4], values }.check_finite("w").unwrap_err();
        assert_eq!(error.message(), "the weight `w` holds NaN at position [1, 3]");
    }
}
