use std::path::Path;

use rayon::prelude::*;

use super::{GgufFile, file::TensorEntry};
use crate::{
    CheckpointError, HostTensor, ModelConfig, PackedTensor, StoredTensor,
    config::GgufFacts,
    family::{GgufPart, gguf_parts, is_norm},
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

    /// The tensors of the file that together are one of the model.
    fn parts(&self, name: &str, config: &ModelConfig) -> Option<Vec<(GgufPart, &TensorEntry)>> {
        let found = gguf_parts(config, name)?.into_iter().map(|part| {
            let entry = self.file.entry(&part.name)?;
            Some((part, entry))
        });
        found.collect()
    }

    /// The shape of a tensor; of one in parts that do not fit together, that of a part that does not.
    pub(crate) fn shape(&self, name: &str, config: &ModelConfig) -> Option<Vec<usize>> {
        let parts = self.parts(name, config)?;
        let mut shape = parts.first()?.1.shape.clone();
        if parts.len() > 1 {
            let fits = |(part, entry): &&(GgufPart, &TensorEntry)| {
                entry.shape.first() == part.rows.as_ref().map(ExactSizeIterator::len).as_ref()
                    && entry.shape.get(1..) == shape.get(1..)
            };
            if let Some((_, entry)) = parts.iter().find(|part| !fits(part)) {
                return Some(entry.shape.clone());
            }
            shape[0] = parts.iter().map(|(_, entry)| entry.shape[0]).sum();
        }
        Some(shape)
    }

    /// Decodes a tensor, rows in Hugging Face's order.
    pub(crate) fn tensor(&self, name: &str, config: &ModelConfig) -> Result<Option<HostTensor>, CheckpointError> {
        let (Some(parts), Some(shape)) = (self.parts(name, config), self.shape(name, config)) else { return Ok(None) };
        let mut values = Vec::new();
        for (part, entry) in parts {
            let found = entry.format.decode(self.file.bytes(entry));
            self.file.release(entry);
            let ordered = part.heads.map(|heads| half_split_rows(&found, entry.shape[0], heads));
            values.append(&mut ordered.unwrap_or(found));
        }
        if config.norm_offset != 0.0 && is_norm(config, name) {
            // llama.cpp's converter adds the offset; Hugging Face's files are without it.
            for value in &mut values {
                *value -= config.norm_offset;
            }
        }
        let tensor = HostTensor { shape, values };
        tensor.check_finite(name).map(Some).map_err(|error| error.at(self.file.path()))
    }

    /// The same in its blocks, if it is a matrix of blocks: the order of rows is as good as theirs.
    pub(crate) fn stored(&self, name: &str, config: &ModelConfig) -> Result<Option<StoredTensor>, CheckpointError> {
        let (Some(parts), Some(shape)) = (self.parts(name, config), self.shape(name, config)) else { return Ok(None) };
        let formats = || parts.iter().map(|(_, entry)| entry.format);
        let (Some(NumberFormat::Blocks(format)), &[rows, columns]) = (formats().next(), shape.as_slice()) else {
            return Ok(self.tensor(name, config)?.map(StoredTensor::Plain));
        };
        // Parts in several kinds of blocks have no common form but floats.
        if formats().any(|other| other != NumberFormat::Blocks(format)) {
            return Ok(self.tensor(name, config)?.map(StoredTensor::Plain));
        }
        let mut bytes = Vec::new();
        for (part, entry) in parts {
            let found = self.file.bytes(entry);
            match part.heads {
                Some(heads) => bytes.append(&mut half_split_rows(found, entry.shape[0], heads)),
                None => bytes.extend_from_slice(found),
            }
            self.file.release(entry);
        }
        let tensor = PackedTensor { format, shape: [rows, columns], bytes };
        tensor.check_finite(name).map(|t| Some(StoredTensor::Packed(t))).map_err(|error| error.at(self.file.path()))
    }

    /// How a tensor's numbers are kept; of one in parts, those of the first.
    pub(crate) fn format(&self, name: &str, config: &ModelConfig) -> Option<NumberFormat> {
        Some(self.parts(name, config)?.first()?.1.format)
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
