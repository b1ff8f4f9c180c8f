//! Byte-level BPE as GGUF keeps it: vocabulary, merges, and the name of the rule that splits text into words.

use serde_json::Value;
use tokenizers::{
    SplitDelimiterBehavior,
    models::bpe::BPE,
    normalizers::unicode::NFC,
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::encoding::unusable;
use crate::{CheckpointError, gguf::GgufFile};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text is split into words before merging. Names and rules of llama.cpp (`llama-vocab.cpp`), patterns as the
/// models' own `tokenizer.json` files have them.
struct SplitRule {
    /// Values of `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    /// Applied one after another.
    patterns: &'static [&'static str],
    /// A word that is a token of its own is taken whole, whatever the merges say.
    whole_words: bool,
    /// Text is brought into Unicode's NFC first.
    composed: bool,
}

const RULES: [SplitRule; 6] = [
    SplitRule {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        patterns: &[r"\p{N}", GPT2],
        whole_words: false,
        composed: false,
    },
    SplitRule {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "dbrx",
            "smaug-bpe",
            "chatglm-bpe",
            "glm4",
        ],
        patterns: &[LLAMA3],
        whole_words: true,
        composed: false,
    },
    SplitRule {
        names: &["qwen2", "deepseek-r1-qwen", "megrez"],
        patterns: &[QWEN2],
        whole_words: false,
        composed: true,
    },
    SplitRule { names: &["tekken"], patterns: &[TEKKEN], whole_words: true, composed: false },
    SplitRule {
        names: &["gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling"],
        patterns: &[GPT2],
        whole_words: false,
        composed: false,
    },
    SplitRule {
        names: &["default"],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        whole_words: false,
        composed: false,
    },
];

pub(super) fn build(file: &GgufFile, tokens: &[&str]) -> Result<tokenizers::Tokenizer, CheckpointError> {
    let rule = rule(file.text("tokenizer.ggml.pre")?.unwrap_or("default"))?;
    let merges = file
        .texts("tokenizer.ggml.merges")?
        .ok_or_else(|| CheckpointError::new("tokenizer::missing", "the GGUF file holds no merges"))?
        .into_iter()
        .map(|merge| {
            // A token may hold no space: byte-level spelling writes it as another character.
            merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())).ok_or_else(|| {
                CheckpointError::new("tokenizer::malformed", format!("the merge `{merge}` is not two tokens"))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let vocabulary: Vec<(String, u32)> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id as u32)).collect();
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.into_iter().collect::<ahash::AHashMap<_, _>>(), merges)
        .ignore_merges(rule.whole_words)
        .build()
        .map_err(unusable)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    if rule.composed {
        tokenizer.with_normalizer(Some(NFC)).map_err(unusable)?;
    }
    let mut steps = rule
        .patterns
        .iter()
        .map(|pattern| {
            Split::new(SplitPattern::Regex((*pattern).to_owned()), SplitDelimiterBehavior::Isolated, false)
                .map(PreTokenizerWrapper::Split)
                .map_err(unusable)
        })
        .collect::<Result<Vec<_>, _>>()?;
    steps.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, false)));
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    tokenizer.with_decoder(Some(ByteLevel::new(true, true, true)));
    Ok(tokenizer)
}

/// The name of the rule by which a `tokenizer.json` splits words, if GGUF has one for it.
pub(crate) fn rule_of(pre_tokenizer: &Value, normalizer: &Value) -> Option<&'static str> {
    let steps = match pre_tokenizer["pretokenizers"].as_array() {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(pre_tokenizer),
    };
    let mut patterns = Vec::new();
    for step in steps {
        match step["type"].as_str()? {
            "Split" => patterns.push(step["pattern"]["Regex"].as_str()?),
            "Digits" if step["individual_digits"] == true => patterns.push(r"\p{N}"),
            "ByteLevel" if step["use_regex"] == true => patterns.push(GPT2),
            "ByteLevel" => {}
            _ => return None,
        }
    }
    let composed = match normalizer["type"].as_str() {
        None => false,
        Some("NFC") => true,
        Some(_) => return None,
    };
    let rule = RULES.iter().find(|rule| rule.patterns == patterns && rule.composed == composed)?;
    rule.names.first().copied()
}

fn rule(name: &str) -> Result<&'static SplitRule, CheckpointError> {
    RULES.iter().find(|rule| rule.names.contains(&name)).ok_or_else(|| {
        let known = RULES.iter().flat_map(|rule| rule.names).copied().collect::<Vec<_>>().join(", ");
        CheckpointError::new(
            "tokenizer::unsupported",
            format!("the word splitting `{name}` of this vocabulary is not known"),
        )
        .with_help(format!(
            "take the model as a Hugging Face folder, whose tokenizer.json says it all; known are {known}"
        ))
    })
}
