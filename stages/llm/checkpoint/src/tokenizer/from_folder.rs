use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Tokenizer, encoding::unusable};
use crate::{CheckpointError, ModelConfig, folder::HfFolder};

/// Builds the tokenizer of a Hugging Face folder.
pub(crate) fn from_folder(folder: &HfFolder, config: &ModelConfig) -> Result<Tokenizer, CheckpointError> {
    let path = folder.path().join("tokenizer.json");
    let text = folder.read("tokenizer.json")?.ok_or_else(|| {
        let missing = CheckpointError::new("tokenizer::missing", "the folder holds no tokenizer.json");
        let help = if folder.path().join("tokenizer.model").exists() {
            "SentencePiece's tokenizer.model is there; write tokenizer.json of it once with transformers: \
             `LlamaTokenizerFast.from_pretrained(FOLDER).save_pretrained(FOLDER)`. Tokens that a model's own code adds \
             (ChatGLM3's `[gMASK]`, `sop`, `<|user|>` …) have to be among its added tokens, and a chat template in \
             chat_template.jinja"
        } else {
            "save the tokenizer once with transformers: \
             `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)` writes tokenizer.json"
        };
        missing.with_help(help).at(folder.path())
    })?;
    let inner = parse(&text).map_err(|error| error.at(&path))?;
    let id = |key: &str, fallback: Option<u32>| -> Result<Option<u32>, CheckpointError> {
        let named = token_text(folder, key)?.and_then(|token| inner.token_to_id(&token));
        Ok(named.or(fallback.filter(|id| inner.id_to_token(*id).is_some())))
    };
    let bos = id("bos_token", config.bos_id)?;
    let eos = id("eos_token", config.eos_ids.first().copied())?;
    Tokenizer::new(inner, bos, eos).map_err(|error| error.at(&path))
}

/// Parses a tokenizer.json. The library panics on some damage (a file cut inside its decoder, a bad normalisation table),
/// so the syntax is checked before and a panic is taken for what it is.
fn parse(text: &str) -> Result<tokenizers::Tokenizer, CheckpointError> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|cause| unusable(cause.into()))?;
    std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(text))
        .unwrap_or_else(|_| Err("one of its parts is damaged".into()))
        .map_err(unusable)
}

/// The text of a special token such as `bos_token`, as the folder names it.
pub(crate) fn token_text(folder: &HfFolder, key: &str) -> Result<Option<String>, CheckpointError> {
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let Some(text) = folder.read(name)? else { continue };
        let value: Value = serde_json::from_str(&text).map_err(|cause| {
            CheckpointError::new("tokenizer::malformed", format!("`{name}` is not JSON"))
                .caused_by(cause)
                .at(&folder.path().join(name))
        })?;
        let token = match value.get(key) {
            Some(Value::Object(token)) => token.get("content").and_then(Value::as_str),
            Some(token) => token.as_str(),
            None => None,
        };
        if let Some(token) = token {
            return Ok(Some(token.to_owned()));
        }
    }
    Ok(None)
}
