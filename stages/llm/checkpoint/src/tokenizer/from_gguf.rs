use tokenizers::AddedToken;

use super::{Tokenizer, byte_level, encoding::unusable, sentence_piece};
use crate::{CheckpointError, gguf::GgufFile};

/// Values of `tokenizer.ggml.token_type`.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Builds the tokenizer that the metadata of a GGUF file describes.
pub(crate) fn from_gguf(file: &GgufFile) -> Result<Tokenizer, CheckpointError> {
    build(file).map_err(|error| error.at(file.path()))
}

fn build(file: &GgufFile) -> Result<Tokenizer, CheckpointError> {
    let kind = file
        .text("tokenizer.ggml.model")?
        .ok_or_else(|| CheckpointError::new("tokenizer::missing", "the GGUF file holds no tokenizer"))?;
    let tokens = file
        .texts("tokenizer.ggml.tokens")?
        .ok_or_else(|| CheckpointError::new("tokenizer::missing", "the GGUF file holds no vocabulary"))?;
    let mut inner = match kind {
        "gpt2" => byte_level::build(file, &tokens)?,
        "llama" => sentence_piece::build(file, &tokens)?,
        other => {
            return Err(CheckpointError::new(
                "tokenizer::unsupported",
                format!("tokenizers of the kind `{other}` are not supported"),
            )
            .with_help(
                "supported are `gpt2` (byte-level BPE) and `llama` (SentencePiece); or take the Hugging Face folder",
            ));
        }
    };
    let types = file.numbers("tokenizer.ggml.token_type")?.unwrap_or_default();
    let of_type = |wanted: i64| {
        tokens
            .iter()
            .zip(&types)
            .filter(move |(_, found)| **found as i64 == wanted)
            .map(|(token, _)| AddedToken::from((*token).to_owned(), wanted == CONTROL).normalized(false))
            .collect::<Vec<_>>()
    };
    inner.add_special_tokens(of_type(CONTROL)).map_err(unusable)?;
    inner.add_tokens(of_type(USER_DEFINED)).map_err(unusable)?;
    let id = |key: &str| -> Result<Option<u32>, CheckpointError> {
        match file.integer(key)? {
            Some(id) if id >= tokens.len() => Err(CheckpointError::new(
                "tokenizer::malformed",
                format!("`{key}` is {id}, but the vocabulary has {} tokens", tokens.len()),
            )),
            id => Ok(id.map(|id| id as u32)),
        }
    };
    Tokenizer::new(inner, id("tokenizer.ggml.bos_token_id")?, id("tokenizer.ggml.eos_token_id")?)
}
