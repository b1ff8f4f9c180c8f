//! Weights that bitsandbytes keeps in NF4 (`Params4bit` as transformers saves it): beside the packed numbers lie the largest
//! number of each block (`absmax`, perhaps quantised to eight bits itself), the levels, and a text that says the shape.

use refit_blocks::{BlockFormat, NF4_CODE, nf4_block};
use safetensors::Dtype;
use serde::Deserialize;

use crate::{
    CheckpointError, HostTensor, PackedTensor, StoredTensor, folder::HfFolder, numbers::NumberFormat,
    safetensor::RawTensor,
};

/// What `quant_state.bitsandbytes__nf4` says.
#[derive(Debug, Deserialize)]
struct State {
    quant_type: String,
    blocksize: usize,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_offset: Option<f32>,
}

/// Numbers that a block holds in memory; those of the file may be longer.
const BLOCK: usize = 64;

impl HfFolder {
    fn nf4_state(&self, name: &str) -> Result<Option<State>, CheckpointError> {
        let Some(raw) = self.raw(&format!("{name}.quant_state.bitsandbytes__nf4")) else { return Ok(None) };
        let state: State = serde_json::from_slice(raw.bytes)
            .map_err(|cause| damaged(name, "its description cannot be read").caused_by(cause).at(self.path()))?;
        Ok(Some(state))
    }

    /// The shape of a weight in NF4, which the packed numbers do not show.
    pub(crate) fn nf4_shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.nf4_state(name).ok()??.shape)
    }

    /// A weight in NF4, if this is one.
    pub(crate) fn nf4(&self, name: &str) -> Result<Option<StoredTensor>, CheckpointError> {
        let Some(state) = self.nf4_state(name)? else { return Ok(None) };
        self.unpack_nf4(name, &state).map(Some).map_err(|error| error.at(self.path()))
    }

    fn unpack_nf4(&self, name: &str, state: &State) -> Result<StoredTensor, CheckpointError> {
        let values = state.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let values = values.ok_or_else(|| damaged(name, "its shape is absurd"))?;
        let pairs = self.part(name, "", Dtype::U8)?;
        let levels = NumberFormat::F32.decode(self.part(name, ".quant_map", Dtype::F32)?.bytes);
        if state.quant_type != "nf4" || levels != NF4_CODE {
            return Err(damaged(name, "its levels are not those of NF4"));
        }
        let absmax = self.absmax(name, state)?;
        if state.blocksize == 0
            || !values.is_multiple_of(2)
            || pairs.bytes.len() != values / 2
            || absmax.len() != values.div_ceil(state.blocksize)
        {
            return Err(damaged(name, "its parts are not of one size"));
        }
        match *state.shape.as_slice() {
            [rows, columns] if columns.is_multiple_of(BLOCK) && state.blocksize.is_multiple_of(BLOCK) => {
                let format = BlockFormat::Nf4;
                let mut bytes = vec![0; values / BLOCK * format.bytes()];
                let blocks = bytes.chunks_exact_mut(format.bytes()).zip(pairs.bytes.chunks_exact(BLOCK / 2));
                for (index, (block, pairs)) in blocks.enumerate() {
                    nf4_block(absmax[index * BLOCK / state.blocksize], pairs, block);
                }
                Ok(StoredTensor::Packed(PackedTensor { format, shape: [rows, columns], bytes }))
            }
            _ => {
                let level = |at: usize| NF4_CODE[usize::from(pairs.bytes[at / 2] >> (4 * (1 - at % 2)) & 15)];
                let values = (0..values).map(|at| level(at) * absmax[at / state.blocksize]).collect();
                Ok(StoredTensor::Plain(HostTensor { shape: state.shape.clone(), values }))
            }
        }
    }

    /// The largest number of each block.
    fn absmax(&self, name: &str, state: &State) -> Result<Vec<f32>, CheckpointError> {
        let Some(size) = state.nested_blocksize else {
            return Ok(NumberFormat::F32.decode(self.part(name, ".absmax", Dtype::F32)?.bytes));
        };
        let places = self.part(name, ".absmax", Dtype::U8)?.bytes;
        let levels = NumberFormat::F32.decode(self.part(name, ".nested_quant_map", Dtype::F32)?.bytes);
        let largest = NumberFormat::F32.decode(self.part(name, ".nested_absmax", Dtype::F32)?.bytes);
        if size == 0 || levels.len() != 256 || largest.len() != places.len().div_ceil(size) {
            return Err(damaged(name, "its parts are not of one size"));
        }
        let offset = state.nested_offset.unwrap_or(0.0);
        let number = |(at, place): (usize, &u8)| levels[usize::from(*place)] * largest[at / size] + offset;
        Ok(places.iter().enumerate().map(number).collect())
    }

    fn part(&self, name: &str, end: &str, dtype: Dtype) -> Result<RawTensor<'_>, CheckpointError> {
        let part = format!("{name}{end}");
        match self.raw(&part) {
            Some(raw) if raw.dtype == dtype => Ok(raw),
            Some(_) => Err(damaged(name, &format!("`{part}` holds numbers of another type"))),
            None => Err(damaged(name, &format!("`{part}` is missing"))),
        }
    }
}

fn damaged(name: &str, what: &str) -> CheckpointError {
    CheckpointError::new("nf4::malformed", format!("the weight `{name}` is in NF4, but {what}"))
        .with_help("save the model again with transformers and bitsandbytes, or take the unquantised one")
}
