use std::{ops::Range, sync::Arc};

use burn::tensor::{Device, Int, Tensor};
use refit_checkpoint::StoredTensor;

use super::{Frozen, Quantization, WeightForm, WeightsKept};
use crate::{
    LlmError,
    device::{is_cpu, largest_buffer},
};

/// Bytes that blocks or halves of a table are unpacked into at once, so that a product with such rows needs no more than that.
const UNPACKED_AT_ONCE: usize = 128 << 20;

/// Shards have a multiple of so many rows where they can, which suits the products with them.
const ROWS: usize = 16;

/// The embedding or the head, `[vocabulary, hidden]`, cut into shards of rows: each is no larger than a device takes in one
/// buffer. On a CPU there is one shard.
#[derive(Debug, Clone)]
pub(crate) struct Table(Arc<[Shard]>);

/// Some rows of a table.
#[derive(Debug, Clone)]
pub(crate) struct Shard {
    /// Which of the table's.
    pub(crate) rows: Range<usize>,
    /// `[rows, hidden]`.
    pub(crate) matrix: Frozen,
}

/// Where tokens stand in a shard.
pub(crate) struct Found {
    /// A row of the shard for each token; any, if it has another shard's.
    pub(crate) at: Tensor<1, Int>,
    /// 1 for each token whose row is in the shard, else 0, `[tokens, 1]`; nothing if the shard has all rows.
    inside: Option<Tensor<2>>,
}

impl Table {
    /// Takes over a table.
    ///
    /// # Errors
    /// As [`Frozen::new`].
    pub(crate) fn new(
        name: &str,
        table: StoredTensor,
        shape: [usize; 2],
        form: WeightForm,
        device: &Device,
    ) -> Result<Self, LlmError> {
        let on_device = form.planes || !is_cpu(device);
        let packed = matches!(table, StoredTensor::Packed(_)) && form.quantization != Quantization::Unpack;
        let unpacked = if packed { on_device } else { form.keeps_halves(device) };
        let most = largest_buffer(device).min(if unpacked { UNPACKED_AT_ONCE } else { usize::MAX });
        Self::cut(name, table, shape, form, device, most / (shape[1] * size_of::<f32>()))
    }

    /// The same in shards of at most so many rows.
    pub(super) fn cut(
        name: &str,
        table: StoredTensor,
        [rows, width]: [usize; 2],
        form: WeightForm,
        device: &Device,
        most: usize,
    ) -> Result<Self, LlmError> {
        if rows <= most {
            let matrix = Frozen::new(name, table, [rows, width], form, device)?;
            return Ok(Self(Arc::new([Shard { rows: 0..rows, matrix }])));
        }
        let most = most.max(1);
        // All but the last are alike, so that a device needs one kernel for them.
        let even = rows.div_ceil(rows.div_ceil(most));
        let each = if even.next_multiple_of(ROWS) <= most { even.next_multiple_of(ROWS) } else { even };
        let shard = |first: usize| {
            let rows = first..rows.min(first + each);
            let matrix = Frozen::new(name, table.rows(rows.clone()), [rows.len(), width], form, device)?;
            Ok::<_, LlmError>(Shard { rows, matrix })
        };
        Ok(Self((0..rows).step_by(each).map(shard).collect::<Result<_, _>>()?))
    }

    /// The place of a table that is trained itself, whose numbers lie with what is trained.
    pub(crate) fn absent(&self, device: &Device) -> Self {
        self.with(|shard| Frozen::absent([shard.rows.len(), shard.matrix.numbers() / shard.rows.len()], device))
    }

    /// A table of other numbers, in tensors of the same rows.
    pub(crate) fn of_tensors(&self, mut tensor: impl FnMut(Range<usize>) -> Tensor<2>) -> Self {
        self.with(|shard| Frozen::of_tensor(tensor(shard.rows.clone())))
    }

    /// The same numbers, not tracked.
    pub(crate) fn untracked(&self) -> Self {
        self.with(|shard| Frozen::of_tensor(shard.matrix.tensor().inner()))
    }

    fn with(&self, mut matrix: impl FnMut(&Shard) -> Frozen) -> Self {
        self.0.iter().map(|shard| Shard { rows: shard.rows.clone(), matrix: matrix(shard) }).collect()
    }

    /// All shards, in order.
    pub(crate) fn shards(&self) -> &[Shard] {
        &self.0
    }

    /// Rows of all shards.
    pub(crate) fn len(&self) -> usize {
        self.0.last().map_or(0, |shard| shard.rows.end)
    }

    /// Rows of the largest shard.
    pub(crate) fn widest(&self) -> usize {
        self.0.iter().map(|shard| shard.rows.len()).max().unwrap_or(0)
    }

    /// All of it as one matrix, as the fused pass takes it.
    pub(crate) fn whole(&self) -> &Frozen {
        let [shard] = &*self.0 else { unreachable!("invariant: the CPU has no limit that a table is cut for") };
        &shard.matrix
    }

    /// Some rows, one after the other.
    ///
    /// # Errors
    /// A failing device.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Result<Vec<f32>, LlmError> {
        let mut found = Vec::new();
        for shard in &*self.0 {
            let (start, end) = (rows.start.max(shard.rows.start), rows.end.min(shard.rows.end));
            if start < end {
                let wanted: Vec<u32> = (start..end).map(|row| (row - shard.rows.start) as u32).collect();
                found.extend(shard.matrix.rows(&wanted)?);
            }
        }
        Ok(found)
    }

    /// The rows of some tokens, `[tokens, hidden]`.
    pub(crate) fn select(&self, tokens: Tensor<1, Int>) -> Tensor<2> {
        let rows = self.0.iter().map(|shard| {
            let found = self.find(shard, &tokens);
            found.only_inside(shard.matrix.select(found.at.clone()))
        });
        rows.reduce(|sum, rows| sum + rows).expect("invariant: a table has a shard")
    }

    /// Where some tokens stand in one of the shards.
    pub(crate) fn find(&self, shard: &Shard, tokens: &Tensor<1, Int>) -> Found {
        if self.0.len() == 1 {
            return Found { at: tokens.clone(), inside: None };
        }
        let (first, last) = (shard.rows.start as i32, shard.rows.end as i32 - 1);
        let at = tokens.clone().clamp(first, last);
        let inside = at.clone().equal(tokens.clone()).float().unsqueeze_dim(1);
        Found { at: at - first, inside: Some(inside) }
    }

    /// The same numbers in shards of at most so many rows.
    #[cfg(test)]
    pub(super) fn in_shards(&self, most: usize, width: usize, form: WeightForm) -> Self {
        let shape = [self.len(), width];
        let values = self.rows(0..self.len()).expect("the CPU does not fail");
        let numbers = refit_checkpoint::HostTensor { shape: shape.into(), values };
        Self::cut("table", numbers.into(), shape, form, &Device::flex(), most).expect("floats can be cut anywhere")
    }

    /// Counts all shards in.
    pub(super) fn count_in(&self, kept: &mut WeightsKept) {
        self.0.iter().for_each(|shard| kept.count(&shard.matrix));
    }
}

impl FromIterator<Shard> for Table {
    fn from_iter<I: IntoIterator<Item = Shard>>(shards: I) -> Self {
        Self(shards.into_iter().collect())
    }
}

impl Found {
    /// What was taken for each token, `[tokens, width]`, with 0 for those whose row is in another shard.
    pub(crate) fn only_inside(&self, taken: Tensor<2>) -> Tensor<2> {
        match &self.inside {
            Some(inside) => taken * inside.clone(),
            None => taken,
        }
    }
}
