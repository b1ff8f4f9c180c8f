use std::collections::BTreeMap;

use refit_checkpoint::{Checkpoint, Family};
use serde_json::json;

use crate::support::{config, folder, refused, safetensors, shapes, tokenizer_json, values, write};

#[test]
fn a_folder_opens_and_gives_its_tensors() {
    let folder = folder("{{ messages[0].content }}");
    let model = Checkpoint::open(folder.path()).unwrap();
    let config = model.config();
    assert_eq!((config.family, config.head_dim, config.name.as_str()), (Family::Llama, 4, "llama"));
    assert!(config.tied_head && !model.has_tensor("lm_head.weight"));
    for (name, shape) in shapes() {
        let tensor = model.tensor(&name).unwrap();
        assert_eq!(tensor.values, values(&name, &shape), "{name}");
        assert_eq!(model.tensor_shape(&name), Some(shape));
    }
    assert_eq!(model.tensor("model.layers.9.mlp.up_proj.weight").unwrap_err().code(), "weights::missing_tensor");
    let tokenizer = model.tokenizer().unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.id_of("<|im_end|>")), (Some(0), Some(1), Some(3)));
    // The folder's tokenizer.json says to cut texts to five tokens.
    let ids = tokenizer.encode("hello world</s>").unwrap();
    assert_eq!((ids.len(), ids.last()), (12, Some(&1)));
    assert_eq!(tokenizer.decode(&ids).unwrap(), "hello world");
}

#[test]
fn shards_are_found_through_the_index() {
    let folder = folder("x");
    fs_err::remove_file(folder.path().join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    let mut shards: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    for (i, (name, shape)) in shapes().into_iter().enumerate() {
        let file = format!("model-{}-of-2.safetensors", i % 2 + 1);
        map.insert(name.clone(), json!(file));
        shards.entry(file).or_default().insert(name, shape);
    }
    for (file, tensors) in &shards {
        write(folder.path(), file, safetensors(tensors));
    }
    write(folder.path(), "model.safetensors.index.json", json!({"weight_map": map}).to_string());
    let model = Checkpoint::open(folder.path()).unwrap();
    for (name, shape) in shapes() {
        assert_eq!(model.tensor(&name).unwrap().values, values(&name, &shape), "{name}");
    }

    fs_err::remove_file(folder.path().join("model-2-of-2.safetensors")).unwrap();
    let error = refused(folder.path());
    assert_eq!(error.code(), "safetensors::missing_shard");
    assert!(error.message().contains("model-2-of-2.safetensors"));

    map.insert("x".into(), json!("../outside.safetensors"));
    write(folder.path(), "model.safetensors.index.json", json!({"weight_map": map}).to_string());
    assert_eq!(refused(folder.path()).code(), "safetensors::bad_index");
}

#[test]
fn every_damage_has_its_own_message() {
    let whole = safetensors(&shapes());
    let mut not_finite = whole.clone();
    let end = not_finite.len();
    not_finite[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut wrong_shape = shapes();
    wrong_shape.insert("model.norm.weight".into(), vec![9]);
    let mut missing = shapes();
    missing.remove("model.layers.0.mlp.up_proj.weight");
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("empty", vec![], "weights::empty"),
        ("truncated data", whole[..end - 10].to_vec(), "safetensors::truncated"),
        ("truncated header", whole[..100].to_vec(), "safetensors::truncated"),
        ("absurd header", [&u64::MAX.to_le_bytes(), &b"{}      "[..]].concat(), "safetensors::header_too_large"),
        ("no header", vec![b'x'; 4096], "safetensors::header_too_large"),
        ("git-lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(), "weights::lfs_pointer"),
        ("wrong shape", safetensors(&wrong_shape), "weights::wrong_shape"),
        ("missing tensor", safetensors(&missing), "weights::missing_tensor"),
    ];
    for (what, bytes, code) in cases {
        let folder = folder("x");
        write(folder.path(), "model.safetensors", bytes);
        let error = refused(folder.path());
        assert_eq!(error.code(), code, "{what}: {}", error.message());
        assert!(error.file().is_some(), "{what} names its file");
    }

    let folder = folder("x");
    write(folder.path(), "model.safetensors", not_finite);
    let model = Checkpoint::open(folder.path()).unwrap();
    let errors: Vec<_> = shapes().keys().filter_map(|name| model.tensor(name).err()).collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].code(), "weights::not_finite");
    assert!(errors[0].message().contains("holds NaN at position"), "{}", errors[0].message());
}

#[test]
fn what_is_no_model_is_told_so() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(refused(empty.path()).code(), "model::no_config");
    assert_eq!(refused(&empty.path().join("nowhere")).code(), "io::not_found");

    let no_weights = folder("x");
    fs_err::remove_file(no_weights.path().join("model.safetensors")).unwrap();
    assert_eq!(refused(no_weights.path()).code(), "model::no_weights");
    write(no_weights.path(), "pytorch_model.bin", "pickle");
    assert!(refused(no_weights.path()).help().unwrap().contains("pickled"));
    fs_err::create_dir(no_weights.path().join("model.safetensors")).unwrap();
    assert_eq!(refused(no_weights.path()).code(), "weights::not_a_file");

    let lone = folder("x");
    let error = refused(&lone.path().join("model.safetensors"));
    assert!(error.help().unwrap().contains("name the folder"), "{:?}", error.help());

    let other = folder("x");
    write(other.path(), "config.json", "{\"model_type\": \"gpt_neox\"}");
    let error = refused(other.path());
    assert_eq!(error.code(), "config::unsupported_architecture");
    assert!(error.help().unwrap().contains("`llama`"));
    write(other.path(), "config.json", b"\xff\xfe");
    assert_eq!(refused(other.path()).code(), "model::not_utf8");
}

#[test]
fn qwen2_needs_its_biases() {
    let folder = folder("x");
    let mut qwen = config();
    qwen["model_type"] = json!("qwen2");
    write(folder.path(), "config.json", qwen.to_string());
    assert!(refused(folder.path()).message().contains("model.layers.0.self_attn.q_proj.bias"));
    let mut tensors = shapes();
    for (part, size) in [("q", 8), ("k", 4), ("v", 4)] {
        tensors.insert(format!("model.layers.0.self_attn.{part}_proj.bias"), vec![size]);
    }
    write(folder.path(), "model.safetensors", safetensors(&tensors));
    let model = Checkpoint::open(folder.path()).unwrap();
    assert!(model.has_tensor("model.layers.0.self_attn.v_proj.bias"));
}

#[test]
fn the_template_is_found_wherever_it_is_kept() {
    let folder = folder("from tokenizer_config");
    let text = |folder: &tempfile::TempDir| {
        Checkpoint::open(folder.path()).unwrap().chat_template().unwrap().text().to_owned()
    };
    assert_eq!(text(&folder), "from tokenizer_config");
    let named = json!({"bos_token": "<s>", "chat_template": [{"name": "rag", "template": "no"}, {"name": "default", "template": "yes"}]});
    write(folder.path(), "tokenizer_config.json", named.to_string());
    assert_eq!(text(&folder), "yes");
    write(folder.path(), "chat_template.jinja", "from jinja");
    assert_eq!(text(&folder), "from jinja");

    fs_err::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    write(folder.path(), "tokenizer_config.json", "{}");
    let model = Checkpoint::open(folder.path()).unwrap();
    let error = model.chat_template().unwrap_err();
    assert_eq!(error.code(), "template::missing");
    assert!(error.help().unwrap().contains("chatml"));
    assert!(model.chat_template_or(Some("chatml")).is_ok());
}

#[test]
fn a_missing_or_broken_tokenizer_is_told() {
    let folder = folder("x");
    write(folder.path(), "tokenizer.json", "{");
    let model = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(model.tokenizer().unwrap_err().code(), "tokenizer::malformed");
    // Cut inside the decoder, where the library itself panics.
    let whole = tokenizer_json().to_string();
    write(folder.path(), "tokenizer.json", &whole[..whole.find("\"decoder\"").unwrap() + 20]);
    assert_eq!(model.tokenizer().unwrap_err().code(), "tokenizer::malformed");
    fs_err::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert_eq!(model.tokenizer().unwrap_err().code(), "tokenizer::missing");
    write(folder.path(), "tokenizer.model", "pieces");
    let error = model.tokenizer().unwrap_err();
    assert_eq!(error.code(), "tokenizer::missing");
    assert!(error.help().unwrap().contains("LlamaTokenizerFast"));
    write(folder.path(), "tokenizer.json", tokenizer_json().to_string());
    assert!(model.tokenizer().is_ok());
}
