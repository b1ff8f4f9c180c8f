use std::collections::HashMap;

use serde_json::Value;

use super::metadata::Metadata;
use crate::{CheckpointError, ModelConfig, folder::HfFolder, template, tokenizer};

/// Values of `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The tokenizer of a folder as GGUF describes it: byte-level BPE by vocabulary, merges and the name of its rule for words,
/// SentencePiece by pieces and scores.
pub(super) fn describe_tokenizer(
    folder: &HfFolder,
    config: &ModelConfig,
    metadata: &mut Metadata,
) -> Result<(), CheckpointError> {
    let text = folder.read("tokenizer.json")?.ok_or_else(|| {
        CheckpointError::new("tokenizer::missing", "the folder holds no tokenizer.json").at(folder.path())
    })?;
    let path = folder.path().join("tokenizer.json");
    let json: Value = serde_json::from_str(&text).map_err(|cause| {
        CheckpointError::new("tokenizer::malformed", "tokenizer.json is not JSON").caused_by(cause).at(&path)
    })?;
    let unsupported = |what: &str| {
        CheckpointError::new("tokenizer::unsupported", format!("GGUF has no form for this tokenizer: {what}"))
            .with_help("write the model as a Hugging Face folder, which keeps tokenizer.json as it is")
            .at(&path)
    };
    let model = &json["model"];
    if model["type"] != "BPE" {
        return Err(unsupported(&format!("its model is `{}`", model["type"])));
    }
    let mut pieces = Pieces::new(&json, config.vocab_size);
    let merges = merges(model);
    let words = tokenizer::rule_of(&json["pre_tokenizer"], &json["normalizer"]);
    if model["byte_fallback"] == true {
        metadata.text("tokenizer.ggml.model", "llama");
        metadata.text("tokenizer.ggml.pre", "default");
        pieces.mark_bytes_and_unknown(model["unk_token"].as_str());
        metadata.floats("tokenizer.ggml.scores", &pieces.scores(&merges));
        let prefixed = json["normalizer"].to_string().contains("Prepend");
        metadata.boolean("tokenizer.ggml.add_space_prefix", prefixed);
    } else if let Some(name) = words {
        metadata.text("tokenizer.ggml.model", "gpt2");
        metadata.text("tokenizer.ggml.pre", name);
        let merges: Vec<String> = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        metadata.texts("tokenizer.ggml.merges", &merges);
    } else {
        return Err(unsupported("its rule for splitting words is none that llama.cpp knows by name"));
    }
    metadata.texts("tokenizer.ggml.tokens", &pieces.texts);
    metadata.ints("tokenizer.ggml.token_type", &pieces.types);
    for (name, key) in template::SPECIALS {
        let token = tokenizer::token_text(folder, name)?;
        let named = token.and_then(|token| pieces.ids.get(&token).copied());
        let said = match name {
            "bos_token" => config.bos_id,
            "eos_token" => config.eos_ids.first().copied(),
            _ => None,
        };
        let Some(id) = named.or(said.map(|id| id as usize)) else { continue };
        metadata.count(key, id);
        // A second token that ends a text is that of a turn.
        let others = config.eos_ids.iter().filter(|other| **other as usize != id);
        if let Some(other) = others.map(|other| *other as usize).next().filter(|_| name == "eos_token") {
            metadata.count("tokenizer.ggml.eot_token_id", other);
        }
    }
    // What encoding a text adds by itself; the chat template spells its own.
    let single = json["post_processor"]["single"].as_array();
    let adds = |token: Option<&Value>| token.is_some_and(|token| token.get("SpecialToken").is_some());
    metadata.boolean("tokenizer.ggml.add_bos_token", adds(single.and_then(|pieces| pieces.first())));
    metadata.boolean("tokenizer.ggml.add_eos_token", adds(single.and_then(|pieces| pieces.last())));
    if let Ok(template) = template::from_folder(folder) {
        metadata.text("tokenizer.chat_template", template.text());
    }
    Ok(())
}

/// The vocabulary by id.
struct Pieces {
    texts: Vec<String>,
    types: Vec<i32>,
    ids: HashMap<String, usize>,
}

impl Pieces {
    fn new(json: &Value, size: usize) -> Self {
        let mut texts: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
        let mut types = vec![UNUSED; size];
        let mut ids = HashMap::new();
        let mut put = |text: &str, id: u64, kind: i32| {
            if let Some(place) = texts.get_mut(id as usize) {
                text.clone_into(place);
                types[id as usize] = kind;
                ids.insert(text.to_owned(), id as usize);
            }
        };
        for (text, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
            put(text, id.as_u64().unwrap_or(u64::MAX), NORMAL);
        }
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let kind = if token["special"] == true { CONTROL } else { USER_DEFINED };
            put(token["content"].as_str().unwrap_or_default(), token["id"].as_u64().unwrap_or(u64::MAX), kind);
        }
        Self { texts, types, ids }
    }

    fn mark_bytes_and_unknown(&mut self, unknown: Option<&str>) {
        for (text, kind) in self.texts.iter().zip(&mut self.types) {
            if text.len() == 6 && text.starts_with("<0x") && text.ends_with('>') {
                *kind = BYTE;
            } else if Some(text.as_str()) == unknown {
                *kind = UNKNOWN;
            }
        }
    }

    /// Scores that give the merges their order: the earlier a piece is merged, the higher.
    fn scores(&self, merges: &[(String, String)]) -> Vec<f32> {
        let mut scores = vec![0f32; self.texts.len()];
        let mut seen = vec![false; self.texts.len()];
        for (rank, (left, right)) in merges.iter().enumerate() {
            if let Some(&id) = self.ids.get(&format!("{left}{right}"))
                && !std::mem::replace(&mut seen[id], true)
            {
                scores[id] = -(rank as f32);
            }
        }
        scores
    }
}

/// Merges as pairs, or as texts with a space between.
fn merges(model: &Value) -> Vec<(String, String)> {
    let pair = |merge: &Value| match merge {
        Value::String(text) => text.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())),
        Value::Array(pair) => Some((pair.first()?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned())),
        _ => None,
    };
    model["merges"].as_array().into_iter().flatten().filter_map(pair).collect()
}
