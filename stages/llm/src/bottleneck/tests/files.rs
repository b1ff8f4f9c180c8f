use refit_checkpoint::{ModelConfig, NormPlace};
use serde_json::{Value, json};

use super::{
    super::{BottleneckPart, WEIGHTS_FILE, load, save},
    BottleneckAdapter, BottleneckConfig, BottleneckKind, KINDS, ReductionFactor, adapter, norm, small,
};
use crate::{
    LlmError,
    adapter::{self, AdapterTemplate, AnyAdapter, CONFIG_FILE, TEMPLATE_FILE},
    reference,
};

fn saved(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let model = reference::llama().config;
    let folder = tempfile::tempdir().unwrap();
    save(&adapter(small(BottleneckKind::Houlsby), &model), &model, folder.path()).unwrap();
    let path = folder.path().join(CONFIG_FILE);
    let mut config: Value = serde_json::from_str(&fs_err::read_to_string(&path).unwrap()).unwrap();
    change(&mut config);
    fs_err::write(path, config.to_string()).unwrap();
    folder
}

fn refusal(change: impl FnOnce(&mut Value)) -> LlmError {
    load(saved(change).path(), &reference::llama().config).unwrap_err()
}

#[test]
fn what_is_saved_is_loaded_and_the_bytes_do_not_vary() {
    let model = reference::llama().config;
    for kind in KINDS {
        let config = BottleneckConfig {
            base_model: Some("owner/name".into()),
            leave_out: vec![1],
            dropout: 0.1,
            reduction_factor: ReductionFactor::for_width(5, 16),
            ..small(kind)
        };
        let mut adapter = adapter(config, &model);
        adapter.template = Some(AdapterTemplate { chat_template: "{{ messages }}".into(), digest: "b3:1".into() });
        let bytes = || {
            let folder = tempfile::tempdir().unwrap();
            save(&adapter, &model, folder.path()).unwrap();
            assert_eq!(load(folder.path(), &model).unwrap(), adapter);
            let any = AnyAdapter::load(folder.path(), &model).unwrap();
            assert_eq!(any.template(), adapter.template.as_ref());
            assert_eq!(any, AnyAdapter::Bottleneck(adapter.clone()));
            [CONFIG_FILE, WEIGHTS_FILE, TEMPLATE_FILE].map(|name| fs_err::read(folder.path().join(name)).unwrap())
        };
        assert_eq!(bytes(), bytes());
    }
}

#[test]
fn tensors_have_the_names_and_shapes_of_the_library() {
    let folder = saved(|_| {});
    let bytes = fs_err::read(folder.path().join(WEIGHTS_FILE)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 2 * 2 * 4);
    for (name, shape) in [
        ("model.layers.0.attention_adapters.adapters.refit.adapter_down.0.weight", &[4, 16][..]),
        ("model.layers.0.attention_adapters.adapters.refit.adapter_down.0.bias", &[4]),
        ("model.layers.1.output_adapters.adapters.refit.adapter_up.weight", &[16, 4]),
        ("model.layers.1.output_adapters.adapters.refit.adapter_up.bias", &[16]),
    ] {
        assert_eq!(file.tensor(name).unwrap().shape(), shape, "{name}");
    }
}

#[test]
fn lora_and_bottlenecks_are_told_apart() {
    let reference = reference::llama();
    let folder = tempfile::tempdir().unwrap();
    adapter::save(&reference.adapter(), folder.path()).unwrap();
    assert!(matches!(AnyAdapter::load(folder.path(), &reference.config).unwrap(), AnyAdapter::Lora(_)));
    let error = adapter::load(saved(|_| {}).path(), &reference.config).unwrap_err();
    assert!(matches!(error, LlmError::NotLora));
    assert!(error.help().unwrap().contains("load_adapter"));
}

#[test]
fn forms_that_are_not_computed_are_refused_by_name() {
    for (key, value) in [
        ("architecture", json!("prefix_tuning")),
        ("inv_adapter", json!("nice")),
        ("ln_before", json!(true)),
        ("ln_after", json!(true)),
        ("use_gating", json!(true)),
        ("phm_layer", json!(true)),
        ("original_ln_after", json!(false)),
        ("residual_before_ln", json!("post_add")),
        ("scaling", json!("learned")),
        ("non_linearity", json!("mish")),
    ] {
        let error = refusal(|file| file["config"][key] = value);
        assert!(matches!(&error, LlmError::UnsupportedAdapter { feature } if feature.contains(key)), "{key}: {error}");
    }
    // Names of the same function, and keys that a newer library may have.
    load(
        saved(|file| {
            file["config"]["non_linearity"] = json!("SiLU");
            file["config"]["something_new"] = json!(null);
        })
        .path(),
        &reference::llama().config,
    )
    .unwrap();
}

#[test]
fn damaged_files_and_those_of_another_model_are_refused() {
    for (key, value) in [
        ("reduction_factor", json!("16")),
        ("leave_out", json!("0")),
        ("scaling", json!(null)),
        ("mh_adapter", json!(1)),
    ] {
        let error = refusal(|file| file["config"][key] = value);
        assert!(matches!(&error, LlmError::AdapterFile { reason, .. } if reason.contains(key)), "{key}: {error}");
    }
    for (error, part) in [
        (refusal(|file| file["config"]["reduction_factor"] = json!(8)), "reduction_factor"),
        (refusal(|file| file["config"]["reduction_factor"] = json!({"1": 4})), "layer 0"),
        (refusal(|file| file["config"]["leave_out"] = json!([0, 1])), "no layer in any block"),
        (refusal(|file| file["config"]["leave_out"] = json!([2])), "layer 2"),
        (refusal(|file| file["config"]["leave_out"] = json!([1])), "layers.1"),
        (refusal(|file| file["name"] = json!("other")), "adapters.other"),
    ] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }

    let folder = saved(|_| {});
    let mut other = reference::llama().config;
    other.hidden_size = 32;
    assert!(matches!(load(folder.path(), &other), Err(LlmError::AdapterMismatch { .. })));
    let wide = adapter(small(BottleneckKind::Houlsby), &reference::llama().config);
    assert!(matches!(wide.check_fits(&other), Err(LlmError::AdapterMismatch { .. })));
    other = ModelConfig { layers: 1, ..reference::llama().config };
    assert!(matches!(wide.check_fits(&other), Err(LlmError::AdapterMismatch { .. })));

    let path = folder.path().join(WEIGHTS_FILE);
    let bytes = fs_err::read(&path).unwrap();
    fs_err::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(load(folder.path(), &reference::llama().config), Err(LlmError::AdapterFile { .. })));
    fs_err::rename(&path, folder.path().join("pytorch_adapter.bin")).unwrap();
    let error = load(folder.path(), &reference::llama().config).unwrap_err();
    assert!(matches!(error, LlmError::PickledAdapter { .. }));
    assert!(error.help().unwrap().contains("use_safetensors"));
}

#[test]
fn the_first_values_follow_the_library() {
    let model = ModelConfig { hidden_size: 256, ..reference::llama().config };
    for kind in KINDS {
        let config = BottleneckConfig::of(kind);
        let adapter = BottleneckAdapter::initial(config.clone(), &model, 5).unwrap();
        for tensor in &adapter.tensors {
            let values = &adapter.values[tensor.range()];
            let deviation = norm(values.iter().copied()) / (values.len() as f64).sqrt();
            let expected = match (kind, tensor.part) {
                (_, BottleneckPart::DownBias | BottleneckPart::UpBias)
                | (BottleneckKind::Parallel, BottleneckPart::Up) => 0.0,
                // Uniform in ±1/√256.
                (BottleneckKind::Parallel, BottleneckPart::Down) => 1.0 / 16.0 / 3f64.sqrt(),
                _ => 0.02,
            };
            assert!((deviation - expected).abs() <= 0.03 * expected, "{kind:?} {}: {deviation}", tensor.name);
        }
        assert_eq!(adapter, BottleneckAdapter::initial(config.clone(), &model, 5).unwrap());
        assert_ne!(adapter.values, BottleneckAdapter::initial(config, &model, 6).unwrap().values);
    }
}

#[test]
fn families_whose_blocks_norm_what_they_add_are_refused_with_those_that_do_not() {
    for family in reference::families() {
        let found = BottleneckAdapter::initial(small(BottleneckKind::Pfeiffer), &family.config, 0);
        let norms = family.config.norm(NormPlace::AfterFeedForward).is_some();
        match found {
            Ok(_) => assert!(!norms, "{}", family.name),
            Err(error) => {
                assert!(norms, "{}: {error}", family.name);
                assert!(matches!(error, LlmError::NoBottleneck { .. }));
                assert!(error.help().unwrap().contains("`llama`, `mistral`, `qwen2`, `qwen3`"));
            }
        }
    }
}
