use tokenizers::{AddedToken, processors::template::TemplateProcessing};

use super::{Tokenizer, byte_level, encoding::unusable, sentence_piece};
use crate::{CheckpointError, gguf::GgufFile};

/// Values of `tokenizer.ggml.token_type`.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Builds the tokenizer that the metadata of a GGUF file describes.
pub(crate) fn from_gguf(file: &GgufFile) -> Result<Tokenizer, CheckpointError> {
    build(file).map_err(|error| error.at(file.path()))
}

/// The same as a `tokenizer.json`. In it stands what transformers adds around a text by itself, which here the template does.
pub(crate) fn json_of_gguf(file: &GgufFile) -> Result<String, CheckpointError> {
    let written = || {
        let mut inner = build_inner(file)?;
        let around = Around {
            start: added(file, &inner, "bos", file.text("tokenizer.ggml.model")? == Some("llama"))?,
            end: added(file, &inner, "eos", false)?,
        };
        inner.with_post_processor(around.processor()?);
        inner.to_string(true).map_err(unusable)
    };
    written().map_err(|error: CheckpointError| error.at(file.path()))
}

/// Tokens that a text gets when it is made ready for the model, by their spelling and id.
struct Around {
    start: Option<(String, u32)>,
    end: Option<(String, u32)>,
}

impl Around {
    fn processor(&self) -> Result<Option<TemplateProcessing>, CheckpointError> {
        let tokens: Vec<_> = self.start.iter().chain(&self.end).cloned().collect();
        if tokens.is_empty() {
            return Ok(None);
        }
        let piece =
            |token: &Option<(String, u32)>, kind| token.iter().map(|(text, _)| format!("{text}:{kind}")).collect();
        let text = |name: &str, kind: usize| -> Vec<String> {
            [piece(&self.start, kind), vec![format!("${name}:{kind}")], piece(&self.end, kind)].concat()
        };
        let mut builder = TemplateProcessing::builder();
        builder.try_single(text("A", 0)).map_err(|cause| unusable(cause.into()))?;
        builder.try_pair([text("A", 0), text("B", 1)].concat()).map_err(|cause| unusable(cause.into()))?;
        builder.special_tokens(tokens).build().map(Some).map_err(|cause| unusable(cause.into()))
    }
}

/// The token that stands at the beginning (`bos`) or end (`eos`) of every text, if the file asks for it.
fn added(
    file: &GgufFile,
    inner: &tokenizers::Tokenizer,
    which: &str,
    otherwise: bool,
) -> Result<Option<(String, u32)>, CheckpointError> {
    if !file.boolean(&format!("tokenizer.ggml.add_{which}_token"))?.unwrap_or(otherwise) {
        return Ok(None);
    }
    let id = file.integer(&format!("tokenizer.ggml.{which}_token_id"))?.map(|id| id as u32);
    Ok(id.and_then(|id| Some((inner.id_to_token(id)?, id))))
}

fn build(file: &GgufFile) -> Result<Tokenizer, CheckpointError> {
    let inner = build_inner(file)?;
    let known = inner.get_vocab_size(true);
    let id = |key: &str| -> Result<Option<u32>, CheckpointError> {
        match file.integer(key)? {
            Some(id) if id >= known => Err(CheckpointError::new(
                "tokenizer::malformed",
                format!("`{key}` is {id}, but the vocabulary has {known} tokens"),
            )),
            id => Ok(id.map(|id| id as u32)),
        }
    };
    let (bos, eos) = (id("tokenizer.ggml.bos_token_id")?, id("tokenizer.ggml.eos_token_id")?);
    Tokenizer::new(inner, bos, eos)
}

fn build_inner(file: &GgufFile) -> Result<tokenizers::Tokenizer, CheckpointError> {
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
    Ok(inner)
}
