//! SmolLM2-135M-Instruct, where `REFIT_TEST_MODEL` names its GGUF file and `REFIT_TEST_MODEL_HF` the folder transformers
//! made of it.

use std::path::PathBuf;

use rayon::prelude::*;
use refit_checkpoint::{
    Checkpoint, Message,
    conversation::{TrainOn, encode_conversation, prompt, stop_tokens},
};
use serde::Deserialize;

/// Written by `tests/reference/smollm2.py`.
const REFERENCE: &str = include_str!("../reference/smollm2.json");

#[derive(Deserialize)]
struct Reference {
    texts: Vec<Text>,
    talks: Vec<Talk>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Talk {
    messages: Vec<Turn>,
    ids: Vec<u32>,
    prompt: Vec<u32>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

fn named_by(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|value| !value.is_empty());
    if path.is_none() {
        eprintln!("SKIPPED: {variable} names no model");
    }
    path.map(PathBuf::from)
}

#[test]
fn ids_equal_transformers() {
    let Some(path) = named_by("REFIT_TEST_MODEL") else { return };
    let model = Checkpoint::open(&path).unwrap();
    let (tokenizer, template) = (model.tokenizer().unwrap(), model.chat_template().unwrap());
    let reference: Reference = serde_json::from_str(REFERENCE).unwrap();
    assert!(reference.texts.len() >= 400);
    for Text { text, ids } in &reference.texts {
        assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{text:?}");
    }
    let end = tokenizer.id_of("<|im_end|>").unwrap();
    assert_eq!(stop_tokens(&tokenizer, &template).unwrap(), [end]);
    for talk in &reference.talks {
        let messages: Vec<_> = talk.messages.iter().map(|turn| Message::new(&turn.role, &turn.content)).collect();
        assert_eq!(prompt(&tokenizer, &template, &messages).unwrap(), talk.prompt);
        let row = encode_conversation(&tokenizer, &template, &messages, TrainOn::Last).unwrap();
        // The row ends with the end of the last turn; the template prints one line break after it. An answer that holds
        // the end token itself does not end the row.
        assert_eq!(row.ids, talk.ids[..talk.ids.len() - 1]);
        assert_eq!((row.ids.last(), row.mask.last()), (Some(&end), Some(&true)));
        // An answer that begins with a line break shares a token with the line break before it.
        if !messages.last().unwrap().content.starts_with(char::is_whitespace) {
            assert!(row.ids.starts_with(&talk.prompt));
            assert_eq!(row.prompt_len, talk.prompt.len());
        }
    }
}

#[test]
fn weights_equal_what_transformers_reads_from_the_same_file() {
    let (Some(gguf), Some(folder)) = (named_by("REFIT_TEST_MODEL"), named_by("REFIT_TEST_MODEL_HF")) else { return };
    let (ours, theirs) = (Checkpoint::open(&gguf).unwrap(), Checkpoint::open(&folder).unwrap());
    let mut config = ours.config().clone();
    assert!((config.rms_eps - theirs.config().rms_eps).abs() < 1e-9);
    config.rms_eps = theirs.config().rms_eps;
    config.eos_ids.clone_from(&theirs.config().eos_ids);
    assert_eq!(&config, theirs.config());
    let parts = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
        "input_layernorm",
        "post_attention_layernorm",
    ];
    let mut names = vec!["model.embed_tokens.weight".to_owned(), "model.norm.weight".to_owned()];
    for layer in 0..config.layers {
        names.extend(parts.iter().map(|part| format!("model.layers.{layer}.{part}.weight")));
    }
    names.par_iter().for_each(|name| {
        let (ours, theirs) = (ours.tensor(name).unwrap(), theirs.tensor(name).unwrap());
        assert_eq!(ours.shape, theirs.shape, "{name}");
        let worst = ours.values.iter().zip(&theirs.values).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(worst <= 1e-6, "{name} differs by {worst}");
    });
}
