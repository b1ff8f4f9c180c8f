//! `SentencePiece` BPE as GGUF keeps it: pieces with scores. Merges follow from the scores, as transformers and llama.cpp
//! take them: a piece may be made of any two pieces, and the highest score goes first.

use std::cmp::Ordering;

use ahash::AHashMap;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper,
    decoders::{byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence as Decoders, strip::Strip},
    models::bpe::BPE,
    normalizers::{Prepend, Replace, Sequence as Normalizers},
};

use super::encoding::unusable;
use crate::{CheckpointError, gguf::GgufFile};

/// What a space is spelled as.
const SPACE: &str = "\u{2581}";

pub(super) fn build(file: &GgufFile, tokens: &[&str]) -> Result<tokenizers::Tokenizer, CheckpointError> {
    let scores = file
        .numbers("tokenizer.ggml.scores")?
        .ok_or_else(|| CheckpointError::new("tokenizer::missing", "the GGUF file holds no scores"))?;
    if scores.len() != tokens.len() {
        return Err(CheckpointError::new(
            "tokenizer::malformed",
            format!("there are {} scores for {} tokens", scores.len(), tokens.len()),
        ));
    }
    let vocabulary: AHashMap<String, u32> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id as u32)).collect();
    let merges = merges(tokens, &scores, &vocabulary);
    let mut model = BPE::builder().vocab_and_merges(vocabulary, merges).fuse_unk(true).byte_fallback(true);
    let unknown = file.integer("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
    if let Some(token) = tokens.get(unknown) {
        model = model.unk_token((*token).to_owned());
    }
    let mut tokenizer = tokenizers::Tokenizer::new(model.build().map_err(unusable)?);
    let prefixed = file.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    let mut decoders: Vec<DecoderWrapper> = vec![
        DecoderWrapper::Replace(Replace::new(SPACE, " ").map_err(unusable)?),
        DecoderWrapper::ByteFallback(ByteFallback::new()),
        DecoderWrapper::Fuse(Fuse::new()),
    ];
    if prefixed {
        // llama.cpp and the models' own tokenizer.json put the space before every stretch of text between specials.
        normalizers.push(Prepend::new(SPACE.to_owned()).into());
        decoders.push(DecoderWrapper::Strip(Strip::new(' ', 1, 0)));
    }
    normalizers.push(Replace::new(" ", SPACE).map_err(unusable)?.into());
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).map_err(unusable)?;
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// The merges the scores imply, in order: `generate_merges` of transformers.
fn merges(tokens: &[&str], scores: &[f64], vocabulary: &AHashMap<String, u32>) -> Vec<(String, String)> {
    struct Merge<'a> {
        left: &'a str,
        right: &'a str,
        score: f64,
    }
    let mut merges = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        let mut of_token: Vec<(u32, u32, Merge<'_>)> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = token.split_at(at);
                Some((*vocabulary.get(left)?, *vocabulary.get(right)?, Merge { left, right, score: *score }))
            })
            .collect();
        of_token.sort_by_key(|(left, right, _)| (*left, *right));
        merges.extend(of_token.into_iter().map(|(_, _, merge)| merge));
    }
    let length = |text: &str| text.chars().count();
    merges.sort_by(|a, b| {
        b.score
            .partial_cmp(&a.score)
            .unwrap_or(Ordering::Equal)
            .then_with(|| length(b.left).cmp(&length(a.left)))
            .then_with(|| length(b.right).cmp(&length(a.right)))
    });
    merges.into_iter().map(|merge| (merge.left.to_owned(), merge.right.to_owned())).collect()
}
