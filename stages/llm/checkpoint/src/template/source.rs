//! Where a model keeps its template.

use serde_json::Value;

use super::chat::{ChatTemplate, Specials};
use crate::{CheckpointError, folder::HfFolder, gguf::GgufFile, tokenizer::token_text};

/// Variables a template may use, and the metadata a GGUF file keeps them in.
pub(crate) const SPECIALS: [(&str, &str); 4] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
];

/// The template of a Hugging Face folder: `chat_template.jinja`, `chat_template.json` or `tokenizer_config.json`.
pub(crate) fn from_folder(folder: &HfFolder) -> Result<ChatTemplate, CheckpointError> {
    let text = match folder.read("chat_template.jinja")? {
        Some(text) => Some(text),
        None => in_json(folder, "chat_template.json")?.or(in_json(folder, "tokenizer_config.json")?),
    };
    ChatTemplate::new(text.ok_or_else(missing)?, specials_of_folder(folder)?)
}

/// The template in the metadata of a GGUF file.
pub(crate) fn from_gguf(file: &GgufFile) -> Result<ChatTemplate, CheckpointError> {
    ChatTemplate::new(text_of_gguf(file)?.ok_or_else(missing)?, specials_of_gguf(file)?)
}

pub(crate) fn text_of_gguf(file: &GgufFile) -> Result<Option<&str>, CheckpointError> {
    file.text("tokenizer.chat_template")
}

pub(crate) fn specials_of_folder(folder: &HfFolder) -> Result<Specials, CheckpointError> {
    let mut specials = Specials::new();
    for (name, _) in SPECIALS {
        if let Some(token) = token_text(folder, name)? {
            specials.insert(name, token);
        }
    }
    Ok(specials)
}

pub(crate) fn specials_of_gguf(file: &GgufFile) -> Result<Specials, CheckpointError> {
    let tokens = file.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    let mut specials = Specials::new();
    for (name, key) in SPECIALS {
        if let Some(token) = file.integer(key)?.and_then(|id| tokens.get(id)) {
            specials.insert(name, (*token).to_owned());
        }
    }
    Ok(specials)
}

/// `chat_template` in a JSON file: a text, or a list of named ones of which `default` is for conversations.
fn in_json(folder: &HfFolder, name: &str) -> Result<Option<String>, CheckpointError> {
    let Some(text) = folder.read(name)? else { return Ok(None) };
    let value: Value = serde_json::from_str(&text).map_err(|cause| {
        CheckpointError::new("template::malformed", format!("`{name}` is not JSON"))
            .caused_by(cause)
            .at(&folder.path().join(name))
    })?;
    Ok(match value.get("chat_template") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(list)) => list
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str().map(str::to_owned)),
        _ => None,
    })
}

fn missing() -> CheckpointError {
    CheckpointError::new("template::missing", "the model brings no chat template").with_help(
        "it may be a base model: take its instruct variant, or give a template with the parameter `template`: \
         `chatml`, `plain`, or the Jinja text itself",
    )
}
