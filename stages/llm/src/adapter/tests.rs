#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::{Value, json};

use super::{
    Adapter, AdapterTemplate, CONFIG_FILE, LoraConfig, LoraInit, TEMPLATE_FILE, TargetModules, WEIGHTS_FILE, load, save,
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
    let adapter = Adapter::initial(Reference::lora(), &reference.model(), 5).unwrap();
    for pair in adapter.tensors.chunks(2) {
        let bound = 1.0 / (pair[0].shape[1] as f32).sqrt();
        let a = &adapter.values[pair[0].range()];
        assert!(a.iter().all(|v| v.abs() <= bound) && a.iter().any(|v| v.abs() > bound / 2.0));
        assert!(adapter.values[pair[1].range()].iter().all(|v| *v == 0.0));
    }
    assert_eq!(adapter, Adapter::initial(Reference::lora(), &reference.model(), 5).unwrap());
    assert_ne!(adapter.values, Adapter::initial(Reference::lora(), &reference.model(), 6).unwrap().values);
}

#[test]
fn methods_that_are_neither_lora_nor_dora_are_refused_by_name() {
    for (key, value) in [
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
fn lengths_of_rows_are_named_as_in_peft_and_need_use_dora() {
    let reference = reference::llama();
    let adapter = Adapter::initial(LoraConfig { dora: true, ..Reference::lora() }, &reference.model(), 5).unwrap();
    let folder = tempfile::tempdir().unwrap();
    save(&adapter, folder.path()).unwrap();
    let bytes = fs_err::read(folder.path().join(WEIGHTS_FILE)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let name = "base_model.model.model.layers.1.mlp.up_proj.lora_magnitude_vector";
    assert_eq!(file.tensor(name).unwrap().shape(), [24]);
    let weight = reference.values("model.layers.1.mlp.up_proj.weight");
    let lengths = adapter.tensors.iter().find(|tensor| tensor.name() == name).unwrap().range();
    for (row, length) in weight.chunks(16).zip(&adapter.values[lengths]) {
        assert!((row.iter().map(|v| v * v).sum::<f32>().sqrt() - length).abs() < 1e-5);
    }
    let loaded = load(folder.path(), &reference.config).unwrap();
    assert!(loaded.config.dora);
    assert_eq!(loaded.values, adapter.values);
    let path = folder.path().join(CONFIG_FILE);
    let mut config: Value = serde_json::from_str(&fs_err::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(config["use_dora"], true);
    config["use_dora"] = json!(false);
    fs_err::write(&path, config.to_string()).unwrap();
    let error = load(folder.path(), &reference.config).unwrap_err();
    assert!(error.to_string().contains("use_dora"), "{error}");
}

#[test]
fn gaussian_values_have_the_deviation_of_peft() {
    let (reference, config) =
        (reference::llama(), LoraConfig { rank: 8, init: LoraInit::Gaussian, ..Reference::lora() });
    let adapter = Adapter::initial(config, &reference.model(), 5).unwrap();
    let a: Vec<f64> = adapter.modules().flat_map(|m| &adapter.values[m.a.range()]).map(|v| f64::from(*v)).collect();
    let deviation = (a.iter().map(|v| v * v).sum::<f64>() / a.len() as f64).sqrt();
    assert!((deviation - 0.125).abs() < 0.01, "{deviation}");
    assert!(adapter.modules().all(|module| adapter.values[module.b.range()].iter().all(|v| *v == 0.0)));
    assert!(adapter.config.to_json(&[]).contains("\"init_lora_weights\": \"gaussian\""));
}

#[test]
fn singular_values_leave_the_model_as_it_is_and_are_written_for_the_base_as_it_was() {
    for rslora in [false, true] {
        let (reference, init) = (reference::llama(), LoraInit::Pissa);
        let model = reference.model();
        let initial = Adapter::initial(LoraConfig { init, rank: 3, rslora, ..Reference::lora() }, &model, 5).unwrap();
        let residual = initial.residual(&model).unwrap();
        let rows = reference.rows();
        let losses = |model: &crate::Model| -> Vec<f64> {
            model.row_losses(&rows, |_| {}).unwrap().iter().map(|row| row.loss).collect()
        };
        let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4 * b);
        let before = losses(&model);
        assert!(!same(&losses(&residual), &before), "the base has lost its largest singular values");
        assert!(same(&losses(&residual.with(&initial).unwrap()), &before));

        let mut trained = initial.clone();
        trained.values.iter_mut().enumerate().for_each(|(at, value)| *value += ((at % 7) as f32 - 3.0) * 0.01);
        let expected = losses(&residual.with(&trained).unwrap());
        assert!(!same(&expected, &before));
        let folder = tempfile::tempdir().unwrap();
        save(&trained.for_original_base(&initial), folder.path()).unwrap();
        let written = load(folder.path(), &reference.config).unwrap();
        assert_eq!(written.config.rank, 6);
        assert!(same(&losses(&model.with(&written).unwrap()), &expected));
    }
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
