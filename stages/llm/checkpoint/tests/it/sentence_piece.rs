use refit_checkpoint::Checkpoint;
use serde::Deserialize;

use crate::support::{Gguf, gguf, with_table};

/// Written by `tests/reference/sentencepiece_bpe.py`.
const REFERENCE: &str = include_str!("../reference/sentencepiece.json");

#[derive(Deserialize)]
struct Reference {
    tokens: Vec<String>,
    scores: Vec<f32>,
    types: Vec<i32>,
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

fn reference() -> Reference {
    serde_json::from_str(REFERENCE).unwrap()
}

/// A file with the tokenizer of the reference.
pub(crate) fn file() -> Gguf {
    let reference = reference();
    let mut file = gguf();
    file.text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &reference.tokens)
        .floats("tokenizer.ggml.scores", &reference.scores)
        .ints("tokenizer.ggml.token_type", &reference.types)
        .count("tokenizer.ggml.unknown_token_id", 0)
        .count("tokenizer.ggml.bos_token_id", 1)
        .count("tokenizer.ggml.eos_token_id", 2);
    with_table(file, reference.tokens.len())
}

#[test]
fn ids_equal_the_sentencepiece_library() {
    let (reference, mut file) = (reference(), file());
    let (_guard, path) = file.write();
    let tokenizer = Checkpoint::open(&path).unwrap().tokenizer().unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    for Text { text, ids } in &reference.texts {
        assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{text:?}");
        // The character that spells a space cannot be told from a space afterwards.
        assert_eq!(tokenizer.decode(ids).unwrap(), text.replace('\u{2581}', " "), "{text:?} comes back");
    }
    // The control token is found in the text, and the space goes before every stretch between specials.
    let ids = tokenizer.encode("the</s>the").unwrap();
    let the = tokenizer.encode("the").unwrap();
    assert_eq!(ids, [&the[..], &[2], &the].concat());

    file.boolean("tokenizer.ggml.add_space_prefix", false);
    let (_guard, path) = file.write();
    let plain = Checkpoint::open(&path).unwrap().tokenizer().unwrap();
    assert_eq!(plain.encode(" the").unwrap(), the);
}
