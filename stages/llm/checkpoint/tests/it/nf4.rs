//! Weights as bitsandbytes keeps them in NF4. The files are written by `tests/reference/nf4.py`.

use std::collections::BTreeMap;

use refit_checkpoint::{BlockFormat, Checkpoint, StoredTensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{config, folder, refused, values, write};

const PLAIN: &[u8] = include_bytes!("../reference/nf4-plain.safetensors");
const NESTED: &[u8] = include_bytes!("../reference/nf4-nested.safetensors");
const WEIGHT: &str = "model.layers.0.self_attn.v_proj.weight";

/// The tiny model with `v_proj` `[6, 128]` as the file has it, and what bitsandbytes makes of that.
fn quantized(
    file: &[u8],
    change: impl FnOnce(&mut BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>),
) -> (TempDir, Vec<f32>) {
    let source = folder("x");
    let mut settings = config();
    for (key, size) in [("hidden_size", 128), ("num_attention_heads", 4), ("head_dim", 6), ("num_key_value_heads", 1)] {
        settings[key] = size.into();
    }
    settings["quantization_config"] =
        json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4"});
    write(source.path(), "config.json", settings.to_string());
    let mut tensors = BTreeMap::new();
    let vocabulary = settings["vocab_size"].as_u64().unwrap() as usize;
    for (name, shape) in [
        ("model.embed_tokens", vec![vocabulary, 128]),
        ("model.norm", vec![128]),
        ("model.layers.0.input_layernorm", vec![128]),
        ("model.layers.0.post_attention_layernorm", vec![128]),
        ("model.layers.0.self_attn.q_proj", vec![24, 128]),
        ("model.layers.0.self_attn.k_proj", vec![6, 128]),
        ("model.layers.0.self_attn.o_proj", vec![128, 24]),
        ("model.layers.0.mlp.gate_proj", vec![12, 128]),
        ("model.layers.0.mlp.up_proj", vec![12, 128]),
        ("model.layers.0.mlp.down_proj", vec![128, 12]),
    ] {
        let bytes = values(name, &shape).iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.insert(format!("{name}.weight"), (Dtype::F32, shape, bytes));
    }
    let reference = SafeTensors::deserialize(file).unwrap();
    let mut expected = Vec::new();
    for (name, view) in reference.tensors() {
        if name == "expected" {
            expected = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        } else {
            let name = name.replace("proj.weight", WEIGHT);
            tensors.insert(name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
        }
    }
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    write(source.path(), "model.safetensors", safetensors::serialize(views, None).unwrap());
    (source, expected)
}

#[test]
fn weights_in_nf4_are_what_bitsandbytes_makes_of_them() {
    for file in [PLAIN, NESTED] {
        let (source, expected) = quantized(file, |_| {});
        let model = Checkpoint::open(source.path()).unwrap();
        assert_eq!(model.tensor_shape(WEIGHT), Some(vec![6, 128]));
        let found = model.tensor(WEIGHT).unwrap();
        assert_eq!(found.shape, [6, 128]);
        for (found, expected) in found.values.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} {expected}");
        }
        let StoredTensor::Packed(packed) = model.stored(WEIGHT).unwrap() else { panic!("it was unpacked") };
        assert_eq!((packed.format, packed.bytes.len()), (BlockFormat::Nf4, 12 * 36));
    }
}

#[test]
fn what_is_wrong_with_a_weight_in_nf4_is_said() {
    let code = |part: &str, to: Option<Vec<u8>>| {
        let (source, _) = quantized(NESTED, |tensors| {
            let (_, shape, bytes) = tensors.get_mut(&format!("{WEIGHT}{part}")).unwrap();
            match to {
                Some(new) => (*shape, *bytes) = (vec![new.len()], new),
                None => drop(tensors.remove(&format!("{WEIGHT}{part}"))),
            }
        });
        let model = Checkpoint::open(source.path()).unwrap();
        let error = model.tensor(WEIGHT).unwrap_err();
        assert_eq!(error.code(), "nf4::malformed", "{}", error.message());
        error.message().to_owned()
    };
    assert!(code(".nested_absmax", None).contains("is missing"));
    assert!(code(".absmax", Some(vec![1; 11])).contains("not of one size"));
    assert!(code("", Some(vec![0; 380])).contains("not of one size"));
}

#[test]
fn other_quantisation_is_refused_by_its_name() {
    for (settings, named) in [
        (json!({"quant_method": "gptq"}), "gptq"),
        (json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "fp4"}), "fp4"),
        (json!({"quant_method": "bitsandbytes", "load_in_8bit": true}), "eight bits"),
    ] {
        let source = folder("x");
        let mut changed: Value = config();
        changed["quantization_config"] = settings;
        write(source.path(), "config.json", changed.to_string());
        let error = refused(source.path());
        assert_eq!(error.code(), "config::quantized");
        assert!(error.message().contains(named), "{}", error.message());
    }
}
