use std::{
    borrow::Borrow,
    io::{BufWriter, Write},
    path::Path,
};

use fs_err::File;
use serde_json::{Map, Value, json};

use super::FloatType;
use crate::{CheckpointError, HostTensor};

/// A file ends before it grows beyond this: what transformers cuts large models into.
pub(super) const SHARD_BYTES: u64 = 5_000_000_000;

/// Writes tensors as safetensors into a folder, one at a time: no more than one of them is in memory. As one file
/// `model.safetensors`, or as several and their index where one would be larger than `limit`.
pub(super) fn write_shards<E: From<CheckpointError>>(
    folder: &Path,
    tensors: &[(String, Vec<usize>)],
    stored: FloatType,
    limit: u64,
    mut tensor: impl FnMut(&str) -> Result<HostTensor, E>,
) -> Result<(), E> {
    let bytes = |shape: &[usize]| shape.iter().product::<usize>() as u64 * stored.bytes() as u64;
    let mut shards: Vec<Vec<&(String, Vec<usize>)>> = Vec::new();
    let mut filled = 0;
    for entry in tensors {
        let size = bytes(&entry.1);
        match shards.last_mut() {
            Some(shard) if filled + size <= limit => shard.push(entry),
            _ => {
                shards.push(vec![entry]);
                filled = 0;
            }
        }
        filled += size;
    }
    let mut places = Map::new();
    for (index, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        };
        let path = folder.join(&name);
        write_safetensors(&path, shard, stored, &mut tensor)?;
        places.extend(shard.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
    }
    if shards.len() > 1 {
        let total: u64 = tensors.iter().map(|(_, shape)| bytes(shape)).sum();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
        let path = folder.join("model.safetensors.index.json");
        fs_err::write(&path, format!("{index:#}\n")).map_err(|cause| CheckpointError::write(&path, cause))?;
    }
    Ok(())
}

/// Writes tensors of these names and shapes as one safetensors file; `tensor` is asked for each in turn.
///
/// # Errors
/// What `tensor` says; a disk that takes no more; numbers that the type does not hold.
pub fn write_safetensors<E: From<CheckpointError>, N: Borrow<(String, Vec<usize>)>>(
    path: &Path,
    tensors: &[N],
    stored: FloatType,
    mut tensor: impl FnMut(&str) -> Result<HostTensor, E>,
) -> Result<(), E> {
    let failed = |cause| CheckpointError::write(path, cause);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    write_header(&mut file, tensors, stored).map_err(failed)?;
    for (name, shape) in tensors.iter().map(Borrow::borrow) {
        let found = tensor(name)?;
        if found.shape != *shape {
            return Err(CheckpointError::new(
                "write::wrong_shape",
                format!("the weight `{name}` has the shape {:?}; the model's is {shape:?}", found.shape),
            )
            .into());
        }
        file.write_all(&stored.encode(name, &found)?).map_err(failed)?;
    }
    file.flush().map_err(failed)?;
    Ok(())
}

/// Length of the header, header, and spaces up to a multiple of eight, as the format asks for.
fn write_header<N: Borrow<(String, Vec<usize>)>>(
    file: &mut impl Write,
    tensors: &[N],
    stored: FloatType,
) -> std::io::Result<()> {
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut start = 0;
    for (name, shape) in tensors.iter().map(Borrow::borrow) {
        let end = start + shape.iter().product::<usize>() * stored.bytes();
        let entry = json!({ "dtype": stored.safetensors_name(), "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
        start = end;
    }
    let mut text = Value::Object(header).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    file.write_all(&(text.len() as u64).to_le_bytes())?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::safetensor::SafetensorFile;

    #[test]
    fn tensors_are_cut_into_files_that_other_tools_find() {
        let tensors: Vec<(String, Vec<usize>)> = (1..=5).map(|index| (format!("t{index}"), vec![index, 3])).collect();
        let make = |name: &str| {
            let rows: usize = name[1..].parse().unwrap();
            let values = (0..rows * 3).map(|i| i as f32 * 0.3 - rows as f32).collect();
            Ok::<_, CheckpointError>(HostTensor { shape: vec![rows, 3], values })
        };
        let folder = tempfile::tempdir().unwrap();
        write_shards(folder.path(), &tensors, FloatType::F32, 110, make).unwrap();
        let index = fs_err::read_to_string(folder.path().join("model.safetensors.index.json")).unwrap();
        let index: Value = serde_json::from_str(&index).unwrap();
        assert_eq!(index["metadata"]["total_size"], 180);
        for (name, file) in index["weight_map"].as_object().unwrap() {
            let file = SafetensorFile::open(&folder.path().join(file.as_str().unwrap())).unwrap();
            assert_eq!(file.tensor(name).unwrap().unwrap(), make(name).unwrap());
        }
        assert_eq!(index["weight_map"]["t5"], "model-00002-of-00002.safetensors");

        let folder = tempfile::tempdir().unwrap();
        write_shards(folder.path(), &tensors, FloatType::Bf16, 100, make).unwrap();
        let file = SafetensorFile::open(&folder.path().join("model.safetensors")).unwrap();
        assert_eq!(file.tensor("t1").unwrap().unwrap().values, [-1.0, -0.699_218_75, -0.400_390_62]);
    }

    #[test]
    fn a_number_beyond_float16_is_refused() {
        let tensors = [("big".to_owned(), vec![1])];
        let folder = tempfile::tempdir().unwrap();
        let make = |_: &str| Ok::<_, CheckpointError>(HostTensor { shape: vec![1], values: vec![70_000.0] });
        let error = write_shards(folder.path(), &tensors, FloatType::F16, 100, make).unwrap_err();
        assert_eq!(error.code(), "write::too_large");
    }
}
