//! Files cut short or changed anywhere are refused or read, but nothing panics.

use std::path::Path;

use proptest::prelude::*;
use refit_checkpoint::{Checkpoint, Message};

use crate::support::{config, folder, gguf, safetensors, shapes, tokenizer_json, write};

/// Uses all of a model that opens.
fn exercise(path: &Path) {
    let Ok(model) = Checkpoint::open(path) else { return };
    for name in shapes().keys() {
        let _ = model.tensor(name);
    }
    let _ = model.config().layer_form(0).rotary.as_ref().map(|rotary| rotary.inverse_frequencies(1));
    if let Ok(tokenizer) = model.tokenizer() {
        let _ = tokenizer.encode("hello 42 <s> 中文 🙂").and_then(|ids| tokenizer.decode(&ids));
        if let Ok(template) = model.chat_template() {
            let talk = [Message::new("user", "a"), Message::new("assistant", "b")];
            let train_on = refit_checkpoint::conversation::TrainOn::All;
            let _ = refit_checkpoint::conversation::encode_conversation(&tokenizer, &template, &talk, train_on);
        }
    }
}

/// Cuts the bytes to a share and overwrites some of them.
fn damage(bytes: &mut Vec<u8>, cut: Option<f64>, changes: &[(f64, u8)]) {
    if let Some(cut) = cut {
        bytes.truncate((bytes.len() as f64 * cut) as usize);
    }
    let length = bytes.len();
    for (at, value) in changes {
        if let Some(byte) = bytes.get_mut((length as f64 * at) as usize) {
            *byte = *value;
        }
    }
}

fn damages() -> impl Strategy<Value = (Option<f64>, Vec<(f64, u8)>)> {
    // Small powers of the place look at the start, where the headers are.
    let place = (0.0..1.0f64, 1..4i32).prop_map(|(at, power)| at.powi(power));
    (proptest::option::weighted(0.3, 0.0..1.0f64), proptest::collection::vec((place, any::<u8>()), 0..8))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 768, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_gguf_file_never_panics((cut, changes) in damages()) {
        let mut bytes = gguf().bytes();
        damage(&mut bytes, cut, &changes);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        fs_err::write(&path, bytes).unwrap();
        exercise(&path);
    }

    #[test]
    fn a_damaged_folder_never_panics(which in 0..3usize, (cut, changes) in damages()) {
        let folder = folder("{% for m in messages %}{{ m.content }}</s>{% endfor %}");
        let (name, mut bytes) = match which {
            0 => ("model.safetensors", safetensors(&shapes())),
            1 => ("config.json", config().to_string().into_bytes()),
            _ => ("tokenizer.json", tokenizer_json().to_string().into_bytes()),
        };
        damage(&mut bytes, cut, &changes);
        write(folder.path(), name, bytes);
        exercise(folder.path());
    }
}
