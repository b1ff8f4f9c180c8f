//! Models written for other tools, read back.

use refit_checkpoint::{Checkpoint, CheckpointError, FloatType, HostTensor};

use crate::support::{folder, gguf, shapes, tokenizer_json, write};

fn same(model: &Checkpoint, written: &Checkpoint) {
    assert_eq!(written.config(), model.config());
    for (name, _) in shapes() {
        assert_eq!(written.tensor(&name).unwrap(), model.tensor(&name).unwrap(), "{name}");
    }
    assert!(!written.has_tensor("lm_head.weight"));
    let (tokens, known) = (written.tokenizer().unwrap(), model.tokenizer().unwrap());
    for text in ["hello world</s>", "Straße 12\n"] {
        assert_eq!(tokens.encode(text).unwrap(), known.encode(text).unwrap());
    }
    assert_eq!((tokens.bos(), tokens.eos()), (known.bos(), known.eos()));
    assert_eq!(written.chat_template().unwrap().digest(), model.chat_template().unwrap().digest());
}

fn copied(model: &Checkpoint, stored: FloatType) -> (tempfile::TempDir, Checkpoint) {
    let to = tempfile::tempdir().unwrap();
    model.write_folder(to.path(), stored, |name| model.tensor(name)).unwrap();
    let written = Checkpoint::open(to.path()).unwrap();
    (to, written)
}

#[test]
fn a_folder_is_written_as_it_was_read() {
    let source = folder("{{ messages[0].content }}");
    write(source.path(), "generation_config.json", r#"{"eos_token_id": [1, 3]}"#);
    write(source.path(), "LICENSE", "yours");
    write(source.path(), "README.md", "says what another model is");
    let model = Checkpoint::open(source.path()).unwrap();
    let (to, written) = copied(&model, FloatType::F32);
    same(&model, &written);
    assert_eq!(written.config().eos_ids, [1, 3]);
    assert!(to.path().join("LICENSE").exists() && !to.path().join("README.md").exists());
    let kept = fs_err::read_to_string(to.path().join("tokenizer.json")).unwrap();
    assert_eq!(kept, tokenizer_json().to_string());
}

#[test]
fn a_gguf_file_becomes_a_folder() {
    let mut file = gguf();
    file.boolean("tokenizer.ggml.add_bos_token", true).text("general.name", "owner/Tiny");
    let (_folder, path) = file.write();
    let model = Checkpoint::open(&path).unwrap();
    let (to, written) = copied(&model, FloatType::F32);
    same(&model, &written);
    let tokenizer = fs_err::read_to_string(to.path().join("tokenizer.json")).unwrap();
    let tokenizer: serde_json::Value = serde_json::from_str(&tokenizer).unwrap();
    let single = &tokenizer["post_processor"]["single"];
    assert_eq!(single[0]["SpecialToken"]["id"], "<s>", "{single}");
}

#[test]
fn shorter_numbers_are_said_in_the_configuration() {
    let source = folder("x");
    let model = Checkpoint::open(source.path()).unwrap();
    for (stored, name) in [(FloatType::Bf16, "bfloat16"), (FloatType::F16, "float16")] {
        let (to, written) = copied(&model, stored);
        let text = fs_err::read_to_string(to.path().join("config.json")).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["torch_dtype"], name);
        for (tensor, _) in shapes() {
            let (found, expected) = (written.tensor(&tensor).unwrap(), model.tensor(&tensor).unwrap());
            let close = found.values.iter().zip(&expected.values).all(|(a, b)| (a - b).abs() <= b.abs() / 256.0);
            assert!(close, "{tensor} as {name}");
        }
    }
}

#[test]
fn a_weight_of_another_shape_is_refused() {
    let source = folder("x");
    let model = Checkpoint::open(source.path()).unwrap();
    let to = tempfile::tempdir().unwrap();
    let wrong = |_: &str| Ok::<_, CheckpointError>(HostTensor { shape: vec![2], values: vec![0.0; 2] });
    assert_eq!(model.write_folder(to.path(), FloatType::F32, wrong).unwrap_err().code(), "write::wrong_shape");
}
