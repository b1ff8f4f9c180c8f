use std::path::Path;

use super::{
    GgufType,
    factors::rotary_factors,
    file::{Planned, write_file},
    keys::GgufKeys,
    metadata::Metadata,
    number::TensorType,
    tokenizer::describe_tokenizer,
};
use crate::{
    Checkpoint, CheckpointError, FloatType, HostTensor, ModelConfig,
    checkpoint::Files,
    family::{GgufPart, expected_tensors, gguf_parts, is_norm},
    gguf::interleaved_rows,
};

/// Where the numbers of a tensor in the file come from.
enum Source {
    /// They are divisors of rotary frequencies.
    Factors(Vec<f32>),
    /// They are those of a weight, by its Hugging Face name, or a part of them.
    Weight { name: String, shape: Vec<usize>, part: GgufPart },
}

impl Checkpoint {
    /// Whether the model can be written as a GGUF file, as far as its configuration and its tokenizer say.
    ///
    /// # Errors
    /// A model that llama.cpp would compute otherwise; a tokenizer that GGUF has no form for.
    pub fn check_gguf(&self) -> Result<(), CheckpointError> {
        rotary_factors(self.config())?;
        self.gguf_metadata().map(|_| ())
    }

    /// Writes a model like this one, with other numbers, as one GGUF file that llama.cpp loads: names, order of rows,
    /// tokenizer and chat template are as its converter makes them. `tensor` is asked for each weight by its Hugging Face
    /// name, more than once for one that the file has in parts.
    ///
    /// # Errors
    /// What `tensor` says; a disk that takes no more; what [`Checkpoint::check_gguf`] refuses.
    pub fn write_gguf<E: From<CheckpointError>>(
        &self,
        path: &Path,
        kept: GgufType,
        mut tensor: impl FnMut(&str) -> Result<HostTensor, E>,
    ) -> Result<(), E> {
        let config = self.config();
        let mut metadata = self.gguf_metadata()?;
        metadata.count("general.file_type", kept.file_type() as usize);
        metadata.count("general.quantization_version", 2);
        let (mut tensors, mut sources) = (Vec::new(), Vec::new());
        for (name, factors) in rotary_factors(config)? {
            let kind = TensorType::Float(FloatType::F32);
            tensors.push(Planned { name: name.to_owned(), shape: vec![factors.len()], kind });
            sources.push(Source::Factors(factors));
        }
        for (name, shape) in expected_tensors(config) {
            let parts = gguf_parts(config, &name).ok_or_else(|| {
                CheckpointError::new("write::no_name", format!("the weight `{name}` has no name in GGUF"))
                    .with_help("write the model as a Hugging Face folder")
            })?;
            let module = name.strip_suffix(".weight").unwrap_or_default();
            let is_table = module == config.names.embedding || module == config.names.head;
            for part in parts {
                let mut in_file = shape.clone();
                in_file[0] = part.rows.as_ref().map_or(shape[0], ExactSizeIterator::len);
                let kind = kept.of_tensor(&in_file, is_table);
                tensors.push(Planned { name: part.name.clone(), shape: in_file, kind });
                sources.push(Source::Weight { name: name.clone(), shape: shape.clone(), part });
            }
        }
        let mut sources = sources.into_iter();
        write_file(path, &metadata, &tensors, |planned| {
            match sources.next().expect("invariant: tensors are asked for in order") {
                Source::Factors(values) => Ok(HostTensor { shape: planned.shape.clone(), values }),
                Source::Weight { name, shape, part } => {
                    let found = tensor(&name)?;
                    Ok(if found.shape == shape { in_file(config, &name, &part, found) } else { found })
                }
            }
        })
    }

    /// The metadata of a GGUF file, numbers' type apart.
    fn gguf_metadata(&self) -> Result<Metadata, CheckpointError> {
        let mut metadata = Metadata::default();
        match self.files() {
            Files::Gguf(model) => model.file().raw_pairs().for_each(|(key, value)| metadata.raw(key, value.to_vec())),
            Files::Folder(folder) => {
                let config = self.config();
                config.family.write_gguf(config, &mut GgufKeys::new(config.family, &mut metadata))?;
                describe_tokenizer(folder, config, &mut metadata)?;
            }
        }
        Ok(metadata)
    }
}

/// A weight, or a part of it, with the numbers and in the order that the file has.
fn in_file(config: &ModelConfig, name: &str, part: &GgufPart, mut tensor: HostTensor) -> HostTensor {
    if let Some(rows) = &part.rows {
        tensor = tensor.rows(rows.clone());
    }
    if let Some(heads) = part.heads {
        tensor.values = interleaved_rows(&tensor.values, tensor.shape[0], heads);
    }
    if is_norm(config, name) {
        for value in &mut tensor.values {
            *value += config.norm_offset;
        }
    }
    if config.unit_head && name.strip_suffix(".weight") == Some(config.names.head) {
        // llama.cpp takes the head as it stands.
        tensor = tensor.with_unit_rows();
    }
    tensor
}
