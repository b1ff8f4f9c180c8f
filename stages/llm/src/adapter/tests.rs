#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::{Value, json};

use super::{
    Adapter, AdapterTemplate, CONFIG_FILE, LoraConfig, TEMPLATE_FILE, TargetModules, WEIGHTS_FILE, load, save,
};
use crate::{
    LlmError,
    reference::{self, Reference},
};

/// An adapter on disk, and its configuration changed by `change`.
fn saved(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    save(&reference::llama().adapter(), folder.path()).unwrap();
    let path = folder.path().join(CONFIG_FILE);
    let mut config: Value = serde_json::from_str(&fs_err::read_to_string(&path).unwrap()).unwrap();
    change(&mut config);
    fs_err::write(path, config.to_string()).unwrap();
    folder
}

#[test]
fn what_is_saved_is_loaded_and_the_bytes_do_not_vary() {
    let reference = reference::llama();
    let mut adapter = reference.adapter();
    adapter.config.target_modules = TargetModules::Names(LINEAR.map(str::to_owned).to_vec());
    adapter.template = Some(AdapterTemplate { chat_template: "{{ messages }}".into(), digest: "b3:1".into() });
    let bytes = || {
        let folder = tempfile::tempdir().unwrap();
        save(&adapter, folder.path()).unwrap();
        assert_eq!(load(folder.path(), &reference.config).unwrap(), adapter);
        [CONFIG_FILE, WEIGHTS_FILE, TEMPLATE_FILE].map(|name| fs_err::read(folder.path().join(name)).unwrap())
    };
    assert_eq!(bytes(), bytes());
}

const LINEAR: [&str; 7] = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"];

#[test]
fn the_configuration_is_what_peft_writes() {
    let config = LoraConfig { base_model: Some("owner/name".into()), ..Reference::lora() };
    let expected = r#"{
  "alpha_pattern": {},
  "auto_mapping": null,
  "base_model_name_or_path": "owner/name",
  "bias": "none",
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layer_replication": null,
  "layers_pattern": null,
  "layers_to_transform": null,
  "loftq_config": {},
  "lora_alpha": 6,
  "lora_dropout": 0.0,
  "megatron_config": null,
  "megatron_core": "megatron.core",
  "modules_to_save": null,
  "peft_type": "LORA",
  "r": 2,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "k_proj",
    "q_proj"
  ],
  "task_type": "CAUSAL_LM",
  "use_dora": false,
  "use_rslora": false
}"#;
    assert_eq!(config.to_json(&["k_proj", "q_proj"]), expected);
}

#[test]
fn the_scale_is_alpha_over_rank_or_its_root() {
    let config = LoraConfig { rank: 16, alpha: 8.0, ..Reference::lora() };
    assert!((config.scale() - 0.5).abs() < 1e-12);
    assert!((LoraConfig { rslora: true, ..config }.scale() - 2.0).abs() < 1e-12);
}

#[test]
fn the_initial_values_follow_peft() {
    let reference = reference::llama();
    let adapter = Adapter::initial(Reference::lora(), &reference.config, 5).unwrap();
    for pair in adapter.tensors.chunks(2) {
        let bound = 1.0 / (pair[0].shape[1] as f32).sqrt();
        let a = &adapter.values[pair[0].range()];
        assert!(a.iter().all(|v| v.abs() <= bound) && a.iter().any(|v| v.abs() > bound / 2.0));
        assert!(adapter.values[pair[1].range()].iter().all(|v| *v == 0.0));
    }
    assert_eq!(adapter, Adapter::initial(Reference::lora(), &reference.config, 5).unwrap());
    assert_ne!(adapter.values, Adapter::initial(Reference::lora(), &reference.config, 6).unwrap().values);
}

#[test]
fn methods_that_are_not_plain_lora_are_refused_by_name() {
    for (key, value) in [
        ("use_dora", json!(true)),
        ("peft_type", json!("LOHA")),
        ("bias", json!("all")),
        ("rank_pattern", json!({"q_proj": 4})),
        ("modules_to_save", json!(["lm_head"])),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("fan_in_fan_out", json!(true)),
    ] {
        let folder = saved(|config| config[key] = value);
        let error = load(folder.path(), &reference::llama().config).unwrap_err();
        assert!(matches!(&error, LlmError::UnsupportedAdapter { feature } if feature.contains(key)), "{key}: {error}");
    }
    // Another initialisation of A and B is no other method, and an unknown key may come with a newer PEFT.
    let folder = saved(|config| {
        config["init_lora_weights"] = json!("gaussian");
        config["something_new"] = json!(null);
    });
    load(folder.path(), &reference::llama().config).unwrap();
}

#[test]
fn an_adapter_of_another_model_or_a_damaged_one_is_refused() {
    let mut other = reference::llama().config;
    other.layers = 1;
    let folder = saved(|_| {});
    assert!(matches!(load(folder.path(), &other), Err(LlmError::AdapterMismatch { .. })));
    other.layers = 2;
    other.intermediate_size = 32;
    assert!(matches!(load(folder.path(), &other), Err(LlmError::AdapterMismatch { .. })));

    let folder = saved(|config| config["r"] = json!(3));
    assert!(matches!(load(folder.path(), &reference::llama().config), Err(LlmError::AdapterMismatch { .. })));

    let folder = saved(|_| {});
    let path = folder.path().join(WEIGHTS_FILE);
    let bytes = fs_err::read(&path).unwrap();
    fs_err::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(load(folder.path(), &reference::llama().config), Err(LlmError::AdapterFile { .. })));
    fs_err::remove_file(&path).unwrap();
    assert!(matches!(load(folder.path(), &reference::llama().config), Err(LlmError::Io(_))));
}
