use std::path::Path;

use rayon::prelude::*;

use super::{GgufFile, file::TensorEntry};
use crate::{
    CheckpointError, HostTensor, ModelConfig, PackedTensor, StoredTensor,
    config::{GgufFacts, LinearModule},
    family::{GgufRows, gguf_name, is_norm},
    numbers::NumberFormat,
};

/// A model in a GGUF file, seen by Hugging Face names.
#[derive(Debug)]
pub(crate) struct GgufModel {
    file: GgufFile,
}

impl GgufModel {
    pub(crate) fn open(path: &Path) -> Result<(Self, ModelConfig), CheckpointError> {
        let file = GgufFile::open(path)?;
        let values = |entry: &TensorEntry| entry.format.decode(file.bytes(entry)).into_iter().map(f64::from).collect();
        let factors = |name: &str| file.entry(name).map(values);
        let facts = GgufFacts {
            embedding: file.entry("token_embd.weight").map(|entry| entry.shape.clone()),
            has_head: file.entry("output.weight").is_some(),
            rope_factors: factors("rope_freqs.weight"),
            longrope: factors("rope_factors_short.weight")
                .zip(factors("rope_factors_long.weight"))
                .map(|(short, long)| [short, long]),
        };
        let config = facts.lower(&file).map_err(|error| error.at(path))?;
        Ok((Self { file }, config))
    }

    pub(crate) fn file(&self) -> &GgufFile {
        &self.file
    }

    fn entry(&self, name: &str, config: &ModelConfig) -> Option<&TensorEntry> {
        self.file.entry(&gguf_name(config, name)?)
    }

    pub(crate) fn shape(&self, name: &str, config: &ModelConfig) -> Option<Vec<usize>> {
        Some(self.entry(name, config)?.shape.clone())
    }

    /// Decodes a tensor, rows in Hugging Face's order.
    pub(crate) fn tensor(&self, name: &str, config: &ModelConfig) -> Result<Option<HostTensor>, CheckpointError> {
        let Some(entry) = self.entry(name, config) else { return Ok(None) };
        let mut values = entry.format.decode(self.file.bytes(entry));
        self.file.release(entry);
        if let Some(heads) = rotary_heads(name, config) {
            values = half_split_rows(&values, entry.shape[0], heads);
        }
        if config.norm_offset != 0.0 && is_norm(config, name) {
            // llama.cpp's converter adds the offset; Hugging Face's files are without it.
            for value in &mut values {
                *value -= config.norm_offset;
            }
        }
        let tensor = HostTensor { shape: entry.shape.clone(), values };
        tensor.check_finite(name).map(Some).map_err(|error| error.at(self.file.path()))
    }

    /// The same in its blocks, if it is a matrix of blocks: the order of rows is as good as theirs.
    pub(crate) fn stored(&self, name: &str, config: &ModelConfig) -> Result<Option<StoredTensor>, CheckpointError> {
        let Some(entry) = self.entry(name, config) else { return Ok(None) };
        let (NumberFormat::Blocks(format), &[rows, columns]) = (entry.format, entry.shape.as_slice()) else {
            return Ok(self.tensor(name, config)?.map(StoredTensor::Plain));
        };
        let bytes = match rotary_heads(name, config) {
            Some(heads) => half_split_rows(self.file.bytes(entry), rows, heads),
            None => self.file.bytes(entry).to_vec(),
        };
        self.file.release(entry);
        let tensor = PackedTensor { format, shape: [rows, columns], bytes };
        tensor.check_finite(name).map(|t| Some(StoredTensor::Packed(t))).map_err(|error| error.at(self.file.path()))
    }

    /// How a tensor's numbers are kept.
    pub(crate) fn format(&self, name: &str, config: &ModelConfig) -> Option<NumberFormat> {
        Some(self.entry(name, config)?.format)
    }
}

/// The heads over whose rows a tensor is reordered in the file, if it is.
pub(crate) fn rotary_heads(name: &str, config: &ModelConfig) -> Option<usize> {
    if config.family.gguf_rows() == GgufRows::AsTheyAre {
        return None;
    }
    match config.linear_at(name.rsplit_once('.')?.0)?.1 {
        LinearModule::Query => Some(config.heads),
        LinearModule::Key => Some(config.kv_heads),
        _ => None,
    }
}

/// Undoes llama.cpp's row order: pair `i` of a head lies in its rows `2 i` and `2 i + 1`, and belongs into `i` and
/// `head_dim / 2 + i`.
pub(crate) fn half_split_rows<T: Copy + Default + Send + Sync>(values: &[T], rows: usize, heads: usize) -> Vec<T> {
    let width = values.len() / rows;
    let head_dim = rows / heads;
    let half = head_dim / 2;
    let mut out = vec![T::default(); values.len()];
    out.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
        let (head, at) = (row / head_dim, row % head_dim);
        let from = head * head_dim + at % half * 2 + at / half;
        out.copy_from_slice(&values[from * width..(from + 1) * width]);
    });
    out
}

/// The other way round: the order llama.cpp wants, `reshape(heads, 2, rows / heads / 2, …).swapaxes(1, 2)`.
pub(crate) fn interleaved_rows(values: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let width = values.len() / rows;
    let head_dim = rows / heads;
    let half = head_dim / 2;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
        let (head, at) = (row / head_dim, row % head_dim);
        let from = head * head_dim + at % 2 * half + at / 2;
        out.copy_from_slice(&values[from * width..(from + 1) * width]);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_halves() {
        // Two heads of four rows; the values say where each row belongs after the converter's
        // `reshape(2, 2, 2, 1).swapaxes(1, 2)`.
        assert_eq!(half_split_rows(&[0, 2, 1, 3, 4, 6, 5, 7], 8, 2), [0, 1, 2, 3, 4, 5, 6, 7]);
        let rows = [0., 1., 2., 3., 4., 5., 6., 7.];
        assert_eq!(interleaved_rows(&rows, 8, 2), [0., 2., 1., 3., 4., 6., 5., 7.]);
    }
}
