//! Models written for other tools, read back.

use std::collections::BTreeMap;

use refit_checkpoint::{
    BlockFormat, Checkpoint, CheckpointError, FloatType, GgufLora, GgufType, HostTensor, LoraMatrix, StoredTensor,
};

use crate::support::{config, folder, gguf, refused, safetensors, shapes, tokenizer_json, write};

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

/// A folder whose matrices are wide enough for blocks.
fn wide() -> tempfile::TempDir {
    let source = folder("{{ messages[0].content }}");
    let mut settings = config();
    for (key, size) in [("hidden_size", 64), ("num_attention_heads", 4), ("intermediate_size", 96)] {
        settings[key] = size.into();
    }
    settings["num_key_value_heads"] = 2.into();
    write(source.path(), "config.json", settings.to_string());
    let shape = |name: &str, old: Vec<usize>| match name.rsplit('.').nth(1).unwrap() {
        "embed_tokens" => vec![old[0], 64],
        "k_proj" | "v_proj" => vec![32, 64],
        "gate_proj" | "up_proj" => vec![96, 64],
        "down_proj" => vec![64, 96],
        "q_proj" | "o_proj" => vec![64, 64],
        _ => vec![64],
    };
    let tensors: BTreeMap<_, _> = shapes().into_iter().map(|(name, old)| (name.clone(), shape(&name, old))).collect();
    write(source.path(), "model.safetensors", safetensors(&tensors));
    source
}

#[test]
fn a_folder_becomes_a_gguf_file_and_a_gguf_file_another() {
    let source = folder("{{ messages[0].content }}");
    let model = Checkpoint::open(source.path()).unwrap();
    let to = tempfile::tempdir().unwrap();
    let first = to.path().join("first.gguf");
    let kept = GgufType::Float(FloatType::F32);
    model.write_gguf(&first, kept, |name| model.tensor(name)).unwrap();
    let written = Checkpoint::open(&first).unwrap();
    same(&model, &written);
    let second = to.path().join("second.gguf");
    written.write_gguf(&second, kept, |name| written.tensor(name)).unwrap();
    assert_eq!(fs_err::read(&first).unwrap(), fs_err::read(&second).unwrap());
}

#[test]
fn matrices_of_a_gguf_file_are_packed_and_the_rest_is_not() {
    let source = wide();
    let model = Checkpoint::open(source.path()).unwrap();
    let to = tempfile::tempdir().unwrap();
    let path = to.path().join("model.gguf");
    for (kept, layers, table) in
        [(GgufType::Q8_0, BlockFormat::Q8_0, BlockFormat::Q8_0), (GgufType::Q4_0, BlockFormat::Q4_0, BlockFormat::Q8_0)]
    {
        model.write_gguf(&path, kept, |name| model.tensor(name)).unwrap();
        let written = Checkpoint::open(&path).unwrap();
        assert_eq!(written.block_format(), Some(layers));
        assert_eq!((model.block_format(), model.float_type()), (None, Some(FloatType::F32)));
        for name in ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"] {
            let expected = model.tensor(name).unwrap();
            let format = if name.contains("embed") { table } else { layers };
            match written.stored(name).unwrap() {
                StoredTensor::Plain(found) => assert_eq!((name, found), ("model.norm.weight", expected)),
                StoredTensor::Packed(found) => {
                    // Rows are in the model's order again, each packed by itself.
                    assert_eq!(found.bytes, refit_blocks::quantize(format, &expected.values).unwrap(), "{name}");
                    assert_eq!(StoredTensor::Packed(found).decode(), written.tensor(name).unwrap());
                }
            }
        }
    }
}

#[test]
fn an_adapter_becomes_a_gguf_file() {
    let source = wide();
    let model = Checkpoint::open(source.path()).unwrap();
    let tensor = |rows: usize, columns: usize| HostTensor {
        shape: vec![rows, columns],
        values: (0..rows * columns).map(|i| (i * 37 % 101) as f32 / 64.0).collect(),
    };
    let weight = "model.layers.0.self_attn.q_proj.weight".to_owned();
    let matrices = vec![(weight.clone(), LoraMatrix::A, tensor(4, 64)), (weight, LoraMatrix::B, tensor(64, 4))];
    let lora = GgufLora { model: model.config(), alpha: 8.0, matrices };
    let to = tempfile::tempdir().unwrap();
    let path = to.path().join("adapter.gguf");
    lora.write(&path, FloatType::F16).unwrap();
    let found = lora.read(&path).unwrap();
    assert_eq!((&found[0], &found[1]), (&lora.matrices[0].2, &lora.matrices[1].2));
    let error = refused(&path);
    assert_eq!(error.code(), "gguf::not_a_model");
}
