use std::collections::HashSet;

use crate::CheckpointError;

/// A model's own tokenizer. Cheap calls, no state: safe to share between threads.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    specials: HashSet<u32>,
    special_texts: Vec<String>,
    bos: Option<u32>,
    eos: Option<u32>,
    digest: String,
}

/// Tokens of a text and where each lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedText {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Byte range of each token in the text.
    pub offsets: Vec<(usize, usize)>,
}

impl Tokenizer {
    /// Wraps a tokenizer; `bos` and `eos` are ids it knows.
    pub(crate) fn new(
        mut inner: tokenizers::Tokenizer,
        bos: Option<u32>,
        eos: Option<u32>,
    ) -> Result<Self, CheckpointError> {
        // A tokenizer.json may carry both; they would cut and fill rows behind the user's back.
        inner.with_padding(None);
        // It adds specials, which the template does here, and takes white space out of the offsets.
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        inner.with_truncation(None).map_err(unusable)?;
        inner.set_encode_special_tokens(false);
        let specials: HashSet<u32> = inner
            .get_added_tokens_decoder()
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| *id)
            .chain(bos)
            .chain(eos)
            .collect();
        let mut special_texts: Vec<String> = specials.iter().filter_map(|id| inner.id_to_token(*id)).collect();
        special_texts.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        hasher.update(inner.to_string(false).map_err(unusable)?.as_bytes());
        hasher.update(format!("bos {bos:?} eos {eos:?}").as_bytes());
        let digest = format!("b3:{}", hasher.finalize().to_hex());
        Ok(Self { inner, specials, special_texts, bos, eos, digest })
    }

    /// The ids of a text. Adds no token of its own; special tokens that stand in the text are recognised.
    ///
    /// # Errors
    /// A text the vocabulary cannot express.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, CheckpointError> {
        Ok(self.inner.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
    }

    /// The ids of a text, each with its byte range.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_offsets(&self, text: &str) -> Result<EncodedText, CheckpointError> {
        let encoding = self.inner.encode(text, false).map_err(failed)?;
        Ok(EncodedText { ids: encoding.get_ids().to_vec(), offsets: encoding.get_offsets().to_vec() })
    }

    /// The text of ids, special tokens left out.
    ///
    /// # Errors
    /// Tokens the decoder cannot join.
    pub fn decode(&self, ids: &[u32]) -> Result<String, CheckpointError> {
        self.inner.decode(ids, true).map_err(failed)
    }

    /// The id of a token by its text.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The text of a token by its id.
    pub fn token_of(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether an id is a special (control) token, which [`Tokenizer::decode`] leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.specials.contains(&id)
    }

    /// The special token that a text spells out, if there is one: it would be taken for that token.
    pub fn special_in(&self, text: &str) -> Option<&str> {
        self.special_texts.iter().map(String::as_str).find(|token| text.contains(token))
    }

    /// The token that starts a text, if there is one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text, if there is one.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Tokens in the vocabulary, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Identifies the tokenizer: two of the same digest give the same ids for every text.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

pub(super) fn unusable(cause: tokenizers::Error) -> CheckpointError {
    CheckpointError::new("tokenizer::malformed", "the tokenizer cannot be used").caused_by(cause)
}

fn failed(cause: tokenizers::Error) -> CheckpointError {
    CheckpointError::new("tokenizer::failed", "a text could not be tokenized").caused_by(cause)
}
