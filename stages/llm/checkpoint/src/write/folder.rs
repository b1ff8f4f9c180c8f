use std::path::Path;

use serde_json::{Map, Value, json};

use super::{FloatType, config, shards};
use crate::{
    Checkpoint, CheckpointError, HostTensor,
    checkpoint::Files,
    family::expected_tensors,
    folder::HfFolder,
    gguf::GgufFile,
    template::{specials_of_gguf, text_of_gguf},
    tokenizer,
};

impl Checkpoint {
    /// Writes a model like this one, with other numbers, as a Hugging Face folder: configuration, tokenizer and chat
    /// template are this model's, and `tensor` is asked for each weight by its Hugging Face name. A head that is the
    /// embedding stays so and is written once.
    ///
    /// # Errors
    /// What `tensor` says; a disk that takes no more; what cannot be expressed in that layout.
    pub fn write_folder<E: From<CheckpointError>>(
        &self,
        folder: &Path,
        stored: FloatType,
        tensor: impl FnMut(&str) -> Result<HostTensor, E>,
    ) -> Result<(), E> {
        fs_err::create_dir_all(folder).map_err(|cause| CheckpointError::write(folder, cause))?;
        match self.files() {
            Files::Folder(source) => copy_companions(source, folder, stored)?,
            Files::Gguf(model) => {
                write(folder, "config.json", &config::of_model(self.config(), stored)?)?;
                write(folder, "generation_config.json", &config::generation(self.config()))?;
                write_tokenizer(model.file(), self.config().max_positions, folder)?;
            }
        }
        let tensors: Vec<_> = expected_tensors(self.config()).collect();
        shards::write_shards(folder, &tensors, stored, shards::SHARD_BYTES, tensor)
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), CheckpointError> {
    let path = folder.join(name);
    fs_err::write(&path, text).map_err(|cause| CheckpointError::write(&path, cause))
}

/// Everything beside the weights: tokenizer, template, settings of generation, the model's own code, its licence.
fn copy_companions(source: &HfFolder, folder: &Path, stored: FloatType) -> Result<(), CheckpointError> {
    let text = source.read("config.json")?.unwrap_or_default();
    write(folder, "config.json", &config::of_folder(&text, stored).map_err(|error| error.at(source.path()))?)?;
    let failed = |cause| CheckpointError::io(source.path(), cause);
    for entry in fs_err::read_dir(source.path()).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_file() && is_companion(name) {
            let to = folder.join(name);
            fs_err::copy(&path, &to).map_err(|cause| CheckpointError::write(&to, cause))?;
        }
    }
    Ok(())
}

fn is_companion(name: &str) -> bool {
    let of_weights = name == "config.json" || name.ends_with(".index.json");
    let kept = [".json", ".jinja", ".txt", ".model", ".tiktoken", ".py"].iter().any(|end| name.ends_with(end));
    !of_weights && (kept || ["LICENSE", "NOTICE"].iter().any(|start| name.starts_with(start)))
}

/// `tokenizer.json` and `tokenizer_config.json` of what the metadata of a GGUF file describes.
fn write_tokenizer(file: &GgufFile, max_positions: usize, folder: &Path) -> Result<(), CheckpointError> {
    write(folder, "tokenizer.json", &tokenizer::json_of_gguf(file)?)?;
    let mut entries: Map<String, Value> =
        specials_of_gguf(file)?.into_iter().map(|(name, token)| (name.to_owned(), token.into())).collect();
    let settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_positions,
        "clean_up_tokenization_spaces": false,
    });
    entries.extend(settings.as_object().cloned().unwrap_or_default());
    if let Some(template) = text_of_gguf(file)? {
        entries.insert("chat_template".into(), template.into());
    }
    write(folder, "tokenizer_config.json", &format!("{:#}\n", Value::Object(entries)))
}
