//! One safetensors file.

use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::Metadata};

use crate::{CheckpointError, HostTensor, map::MappedFile, numbers::NumberFormat};

/// A safetensors file: the header parsed, the data mapped.
#[derive(Debug)]
pub(crate) struct SafetensorFile {
    file: MappedFile,
    /// Where the data starts.
    start: usize,
    header: Metadata,
}

/// A tensor as it lies in its file.
pub(crate) struct RawTensor<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) bytes: &'a [u8],
}

impl SafetensorFile {
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = MappedFile::open(path)?;
        // The library checks every size against the file: header length, offsets in order and without holes, and that
        // the last one ends where the file does.
        let (header_size, header) = SafeTensors::read_metadata(&file).map_err(|cause| malformed(&file, cause))?;
        Ok(Self { start: header_size + 8, file, header })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.header.tensors().into_keys().collect()
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.header.info(name)?.shape.clone())
    }

    /// The bytes of a tensor.
    pub(crate) fn raw(&self, name: &str) -> Option<RawTensor<'_>> {
        let info = self.header.info(name)?;
        let (from, to) = info.data_offsets;
        Some(RawTensor { dtype: info.dtype, bytes: self.file.get(self.start + from..self.start + to)? })
    }

    /// How a tensor's numbers are kept.
    pub(crate) fn format(&self, name: &str) -> Option<NumberFormat> {
        format_of(self.header.info(name)?.dtype)
    }

    /// Decodes a tensor, or `None` when the file has none of that name.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<HostTensor>, CheckpointError> {
        let Some(info) = self.header.info(name) else { return Ok(None) };
        let format = format_of(info.dtype).ok_or_else(|| {
            CheckpointError::new(
                "safetensors::unsupported_type",
                format!(
                    "the tensor `{name}` holds {:?} values, which are no weights that can be trained on",
                    info.dtype
                ),
            )
            .with_help("take the model in float32, float16 or bfloat16")
            .at(self.path())
        })?;
        let (from, to) = info.data_offsets;
        let bytes = self.file.get(self.start + from..self.start + to).ok_or_else(|| {
            CheckpointError::new("safetensors::malformed", format!("the tensor `{name}` lies outside the file"))
                .at(self.path())
        })?;
        let tensor = HostTensor { shape: info.shape.clone(), values: format.decode(bytes) };
        self.file.release(self.start + from..self.start + to);
        tensor.check_finite(name).map(Some).map_err(|error| error.at(self.path()))
    }
}

/// Decodes one tensor of a safetensors file.
///
/// # Errors
/// A file that cannot be read or has no tensor of that name.
pub fn read_safetensors(path: &Path, name: &str) -> Result<HostTensor, CheckpointError> {
    SafetensorFile::open(path)?
        .tensor(name)?
        .ok_or_else(|| CheckpointError::new("weights::missing_tensor", format!("`{name}` is not in the file")).at(path))
}

fn format_of(dtype: Dtype) -> Option<NumberFormat> {
    match dtype {
        Dtype::F64 => Some(NumberFormat::F64),
        Dtype::F32 => Some(NumberFormat::F32),
        Dtype::F16 => Some(NumberFormat::F16),
        Dtype::BF16 => Some(NumberFormat::Bf16),
        _ => None,
    }
}

fn malformed(file: &MappedFile, cause: safetensors::SafeTensorError) -> CheckpointError {
    use safetensors::SafeTensorError as E;
    let (code, message) = match cause {
        E::HeaderTooSmall | E::InvalidHeaderLength | E::MetadataIncompleteBuffer => {
            ("safetensors::truncated", "the safetensors file is shorter or longer than its header says")
        }
        E::HeaderTooLarge => ("safetensors::header_too_large", "the safetensors header claims an absurd size"),
        _ => ("safetensors::malformed", "the file is not a sound safetensors file"),
    };
    CheckpointError::new(code, message)
        .with_help("the file was not fetched whole, or is of another format; fetch it again")
        .caused_by(cause)
        .at(file.path())
}
