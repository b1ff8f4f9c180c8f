use std::{
    io::{BufWriter, Write},
    path::Path,
};

use fs_err::File;

use super::{
    metadata::{Metadata, spelled},
    number::TensorType,
};
use crate::{CheckpointError, HostTensor};

/// A tensor that a file is to hold.
pub(super) struct Planned {
    /// Its name in the file.
    pub(super) name: String,
    /// Outermost size first.
    pub(super) shape: Vec<usize>,
    pub(super) kind: TensorType,
}

const ALIGNMENT: usize = 32;

/// Writes a GGUF file of version 3; `tensor` is asked for each tensor in turn, and no more than one is in memory.
pub(super) fn write_file<E: From<CheckpointError>>(
    path: &Path,
    metadata: &Metadata,
    tensors: &[Planned],
    mut tensor: impl FnMut(&Planned) -> Result<HostTensor, E>,
) -> Result<(), E> {
    let failed = |cause| CheckpointError::write(path, cause);
    let header = header(metadata, tensors);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    file.write_all(&header).map_err(failed)?;
    let mut at = header.len();
    for planned in tensors {
        let padding = at.next_multiple_of(ALIGNMENT) - at;
        file.write_all(&[0; ALIGNMENT][..padding]).map_err(failed)?;
        let found = tensor(planned)?;
        if found.shape != planned.shape {
            return Err(CheckpointError::new(
                "write::wrong_shape",
                format!(
                    "the weight `{}` has the shape {:?}; the model's is {:?}",
                    planned.name, found.shape, planned.shape
                ),
            )
            .into());
        }
        let bytes = planned.kind.encode(&planned.name, &found)?;
        file.write_all(&bytes).map_err(failed)?;
        at += padding + bytes.len();
    }
    // llama.cpp asks for the last tensor's padding as well.
    file.write_all(&[0; ALIGNMENT][..at.next_multiple_of(ALIGNMENT) - at]).map_err(failed)?;
    file.flush().map_err(failed)?;
    Ok(())
}

fn header(metadata: &Metadata, tensors: &[Planned]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.pairs().len() as u64).to_le_bytes());
    for (key, value) in metadata.pairs() {
        bytes.extend(spelled(key));
        bytes.extend(value);
    }
    let mut offset = 0;
    for Planned { name, shape, kind } in tensors {
        bytes.extend(spelled(name));
        bytes.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| bytes.extend((*size as u64).to_le_bytes()));
        bytes.extend(kind.number().to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        offset += kind.bytes_of(shape.iter().product()).next_multiple_of(ALIGNMENT);
    }
    bytes
}
