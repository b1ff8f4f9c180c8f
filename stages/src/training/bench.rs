//! A tiny model and tokens made for it, on which the kinds that train are tested.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use refit_checkpoint::Checkpoint;
use refit_engine::stage::{Event, EventSink, Settings, Stage, StageError, StageKind, StepContext};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tokens::{TokenFacts, TokenRows};

pub(crate) const VOCABULARY: usize = 40;
const HIDDEN: usize = 16;

/// A Llama of two small layers with pseudo-random weights; `words` names the tokens.
pub(crate) fn write_model(folder: &Path, words: &str) {
    fs_err::create_dir_all(folder).unwrap();
    let config = json!({"model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 24, "vocab_size": VOCABULARY, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "_name_or_path": "owner/tiny"});
    fs_err::write(folder.join("config.json"), config.to_string()).unwrap();
    let vocabulary: serde_json::Map<String, Value> =
        (0..VOCABULARY).map(|id| (format!("{words}{id}"), json!(id))).collect();
    let tokenizer = json!({"version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": format!("{words}0")}});
    fs_err::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let special = json!({"eos_token": format!("{words}1"), "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"});
    fs_err::write(folder.join("tokenizer_config.json"), special.to_string()).unwrap();

    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![HIDDEN / 2, HIDDEN]),
            ("self_attn.v_proj", vec![HIDDEN / 2, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![24, HIDDEN]),
            ("mlp.up_proj", vec![24, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, 24]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let mut state = 1u32;
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let norm = shape.len() == 1;
            let values = (0..shape.iter().product::<usize>()).flat_map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let value = (state >> 8) as f32 / 16_777_216.0 - 0.5;
                (if norm { 1.0 + 0.2 * value } else { 0.6 * value }).to_le_bytes()
            });
            let bytes = values.collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(n, s, b)| (n.as_str(), TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
    fs_err::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

pub(crate) fn token_rows(count: u32) -> TokenRows {
    let mut rows = TokenRows::default();
    for row in 0..count {
        let length = 6 + row % 5;
        let ids: Vec<u32> = (0..length).map(|i| if i < 3 { 2 + i } else { (row * 7 + i * 3) % 38 + 2 }).collect();
        rows.push(&ids, (0..length).map(|i| i >= length - 3));
    }
    rows
}

/// A pair for each question: two answers of other lengths, the chosen one first.
pub(crate) fn token_pairs(count: u32) -> TokenRows {
    let mut rows = TokenRows::default();
    for pair in 0..count {
        for rejected in 0..2 {
            let length = 7 + (pair + rejected) % 4;
            let word = |at: u32| {
                if at < 3 { 2 + at } else { (pair * 7 + at * 3 + rejected * u32::from(at > 4) * 11) % 38 + 2 }
            };
            rows.push(&(0..length).map(word).collect::<Vec<_>>(), (0..length).map(|at| at > 4));
            rows.prefer(pair, rejected == 0);
        }
    }
    rows
}

/// What a step left and told.
pub(crate) struct Outcome {
    pub(crate) outputs: PathBuf,
    pub(crate) events: Vec<Event>,
}

impl Outcome {
    /// The rows of `history.jsonl`.
    pub(crate) fn history(&self) -> Vec<Value> {
        let text = fs_err::read_to_string(self.outputs.join("history/history.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn adapter(&self) -> Vec<u8> {
        fs_err::read(self.outputs.join("adapter/adapter_model.safetensors")).unwrap()
    }

    /// What was told under a name.
    pub(crate) fn fact(&self, wanted: &str) -> Option<Value> {
        self.events.iter().find_map(|event| match event {
            Event::Fact { name, value } if name == wanted => Some(value.clone()),
            _ => None,
        })
    }
}

/// A model and tokens made for it.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) inputs: BTreeMap<String, PathBuf>,
}

impl Bench {
    pub(crate) fn new(train: TokenRows, validation: TokenRows) -> Self {
        Self::of_model(train, validation, |_| {})
    }

    /// With the usual model after something of it was changed.
    pub(crate) fn of_model(train: TokenRows, validation: TokenRows, change: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (model, tokens) = (folder.path().join("model"), folder.path().join("tokens"));
        write_model(&model, "word");
        change(&model);
        fs_err::create_dir(&tokens).unwrap();
        let checkpoint = Checkpoint::open(&model).unwrap();
        let (tokenizer, template) = (checkpoint.tokenizer().unwrap(), checkpoint.chat_template().unwrap());
        let facts = TokenFacts::new("owner/tiny", &tokenizer, &template, 64);
        let mut parts = BTreeMap::from([("train", train)]);
        if !validation.is_empty() {
            parts.insert("validation", validation);
        }
        TokenRows::write(&tokens, &parts, &facts).unwrap();
        let inputs = BTreeMap::from([("model".to_owned(), model), ("tokens".to_owned(), tokens)]);
        Self { folder, inputs }
    }

    pub(crate) fn run<S: Stage>(&self, with: Value, threads: usize) -> Result<Outcome, StageError> {
        let kind = StageKind::of::<S>();
        let lowered = kind.lower(with, &[]).unwrap();
        assert_eq!(lowered.problems, []);
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        let sink = EventSink::new(move |event| seen.lock().unwrap().push(event));
        let outputs = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let scratch = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let settings = Settings { device: "cpu".into(), threads, ..Settings::default() };
        kind.run(lowered.with, &StepContext::new(self.inputs.clone(), &outputs, scratch, settings, sink))?;
        let events = events.lock().unwrap().clone();
        Ok(Outcome { outputs, events })
    }
}
