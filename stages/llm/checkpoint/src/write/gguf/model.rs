use std::path::Path;

use super::{
    GgufType,
    file::{Planned, write_file},
    metadata::Metadata,
    number::TensorType,
    tokenizer::describe_tokenizer,
};
use crate::{
    Checkpoint, CheckpointError, Family, FloatType, HostTensor, ModelConfig, RopeScaling, Rotary,
    checkpoint::Files,
    family::{expected_tensors, gguf_name},
    gguf::{interleaved_rows, rotary_heads},
};

/// Llama 3's factors, one for each frequency.
const ROPE_FACTORS: &str = "rope_freqs.weight";

impl Checkpoint {
    /// Writes a model like this one, with other numbers, as one GGUF file that llama.cpp loads: names, order of rows,
    /// tokenizer and chat template are as its converter makes them. `tensor` is asked for each weight by its Hugging Face
    /// name.
    ///
    /// # Errors
    /// What `tensor` says; a disk that takes no more; a tokenizer that GGUF has no form for.
    pub fn write_gguf<E: From<CheckpointError>>(
        &self,
        path: &Path,
        kept: GgufType,
        mut tensor: impl FnMut(&str) -> Result<HostTensor, E>,
    ) -> Result<(), E> {
        let config = self.config();
        let mut metadata = Metadata::default();
        match self.files() {
            Files::Gguf(model) => model.file().raw_pairs().for_each(|(key, value)| metadata.raw(key, value.to_vec())),
            Files::Folder(folder) => {
                describe(config, &mut metadata)?;
                describe_tokenizer(folder, config, &mut metadata)?;
            }
        }
        metadata.count("general.file_type", kept.file_type() as usize);
        metadata.count("general.quantization_version", 2);
        let mut tensors = Vec::new();
        let mut names = Vec::new();
        if let Some(factors) = rope_factors(config) {
            let kind = TensorType::Float(FloatType::F32);
            tensors.push(Planned { name: ROPE_FACTORS.into(), shape: vec![factors.len()], kind });
            names.push(String::new());
        }
        for (name, shape) in expected_tensors(config) {
            let in_file = gguf_name(config, &name).ok_or_else(|| {
                CheckpointError::new("write::no_name", format!("the weight `{name}` has no name in GGUF"))
                    .with_help("write the model as a Hugging Face folder")
            })?;
            let part = name.strip_suffix(".weight").unwrap_or_default();
            let is_table = part == config.names.embedding || part == config.names.head;
            tensors.push(Planned { name: in_file, kind: kept.of_tensor(&shape, is_table), shape });
            names.push(name);
        }
        let mut names = names.iter();
        write_file(path, &metadata, &tensors, |planned| {
            let name = names.next().expect("invariant: tensors are asked for in order");
            if planned.name == ROPE_FACTORS {
                let values = rope_factors(config).unwrap_or_default().into_iter().map(|factor| factor as f32);
                return Ok(HostTensor { shape: planned.shape.clone(), values: values.collect() });
            }
            let mut found = tensor(name)?;
            if let Some(heads) = rotary_heads(name, config) {
                found.values = interleaved_rows(&found.values, found.shape[0], heads);
            }
            Ok(found)
        })
    }
}

/// How positions enter the attention of a family that is the same in all blocks.
fn rotary(config: &ModelConfig) -> Option<&Rotary> {
    config.layer_forms.first()?.rotary.as_ref()
}

/// The divisors of a model's rotary frequencies, if Llama 3's rule stretches them.
fn rope_factors(config: &ModelConfig) -> Option<Vec<f64>> {
    let rotary = rotary(config)?;
    match rotary.scaling.as_ref()? {
        RopeScaling::Factors(factors) => Some(factors.clone()),
        RopeScaling::Llama3 { .. } => {
            let plain = Rotary { scaling: None, ..rotary.clone() }.inverse_frequencies(1);
            Some(plain.iter().zip(rotary.inverse_frequencies(1)).map(|(plain, found)| plain / found).collect())
        }
        _ => None,
    }
}

/// What a folder's configuration is called in GGUF.
fn describe(config: &ModelConfig, metadata: &mut Metadata) -> Result<(), CheckpointError> {
    let (Family::Llama | Family::Qwen2, Some(rotary)) = (config.family, rotary(config)) else {
        return Err(CheckpointError::new(
            "write::unsupported_family",
            format!("models of the family `{}` are not written as GGUF from a Hugging Face folder", config.family),
        )
        .with_help(
            "write a Hugging Face folder, which llama.cpp's `convert_hf_to_gguf.py` takes; or start from a GGUF file",
        ));
    };
    let architecture = config.family.name();
    metadata.text("general.architecture", architecture);
    metadata.text("general.type", "model");
    metadata.text("general.name", &config.name);
    for (key, value) in [
        ("block_count", config.layers),
        ("context_length", config.max_positions),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", rotary.width),
        ("vocab_size", config.vocab_size),
    ] {
        metadata.count(&format!("{architecture}.{key}"), value);
    }
    metadata.float(&format!("{architecture}.rope.freq_base"), rotary.base);
    metadata.float(&format!("{architecture}.attention.layer_norm_rms_epsilon"), config.rms_eps);
    if let Some(RopeScaling::Linear { factor }) = &rotary.scaling {
        metadata.text(&format!("{architecture}.rope.scaling.type"), "linear");
        metadata.float(&format!("{architecture}.rope.scaling.factor"), *factor);
    }
    Ok(())
}
