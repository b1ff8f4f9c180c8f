use refit_checkpoint::{Checkpoint, RopeScaling};

use crate::support::{Gguf, folder, gguf, refused, shapes, values};

#[test]
fn a_gguf_file_gives_the_same_model_as_the_folder() {
    let (_guard, path) = gguf().write();
    let model = Checkpoint::open(&path).unwrap();
    let same = folder("x");
    let expected = Checkpoint::open(same.path()).unwrap();
    let mut config = model.config().clone();
    assert_eq!(config.name, "Tiny");
    config.name.clone_from(&expected.config().name);
    assert_eq!(&config, expected.config());
    for (name, shape) in shapes() {
        let tensor = model.tensor(&name).unwrap();
        assert_eq!((tensor.values, tensor.shape), (values(&name, &shape), shape), "{name}");
    }
    let (ours, theirs) = (model.tokenizer().unwrap(), expected.tokenizer().unwrap());
    for text in ["hello 42 world</s>", "中文🙂", "<|im_start|>x"] {
        assert_eq!(ours.encode(text).unwrap(), theirs.encode(text).unwrap());
    }
    // A folder that holds nothing but the file is the model too.
    assert!(Checkpoint::open(path.parent().unwrap()).is_ok());
}

#[test]
fn rope_factors_are_taken_from_their_tensor() {
    let mut file = gguf();
    file.tensor("rope_freqs.weight", &[2], &[1.0, 32.0]);
    let (_guard, path) = file.write();
    let config = Checkpoint::open(&path).unwrap().config().clone();
    assert_eq!(config.layer_form(0).rotary.as_ref().unwrap().scaling, Some(RopeScaling::Factors(vec![1.0, 32.0])));
    assert!((config.layer_form(0).rotary.as_ref().unwrap().inverse_frequencies(1)[1] - 0.01 / 32.0).abs() < 1e-12);
}

#[test]
fn a_bias_that_no_key_names_is_seen() {
    let mut file = gguf();
    file.tensor("blk.0.attn_output.bias", &[8], &[0.5; 8]);
    let (_guard, path) = file.write();
    let model = Checkpoint::open(&path).unwrap();
    let biased: Vec<&str> = model.config().linears.iter().filter(|linear| linear.bias).map(|l| l.name).collect();
    assert_eq!(biased, ["self_attn.o_proj"]);
    assert_eq!(model.tensor("model.layers.0.self_attn.o_proj.bias").unwrap().values, [0.5; 8]);
}

fn code(change: impl FnOnce(&mut Gguf)) -> String {
    let mut file = gguf();
    change(&mut file);
    let (_guard, path) = file.write();
    let error = refused(&path);
    assert!(error.file().is_some(), "{} names its file", error.code());
    error.code().to_owned()
}

#[test]
fn every_damage_has_its_own_message() {
    assert_eq!(code(|file| file.version = 1), "gguf::unsupported_version");
    assert_eq!(code(|file| file.version = 3u32.swap_bytes()), "gguf::unsupported_version");
    assert_eq!(code(|file| file.tensors[1].offset = Some(7)), "gguf::misaligned_tensor");
    assert_eq!(code(|file| file.tensors[1].offset = Some(0)), "gguf::overlapping_tensors");
    assert_eq!(code(|file| file.tensors[1].offset = Some(1 << 40)), "gguf::tensor_outside_file");
    assert_eq!(code(|file| file.tensors[1].offset = Some(u64::MAX - 31)), "gguf::tensor_outside_file");
    assert_eq!(code(|file| file.tensors[1].dims = vec![u64::MAX, u64::MAX]), "gguf::tensor_outside_file");
    assert_eq!(code(|file| file.tensors[1].dims = vec![1; 9]), "gguf::bad_tensor");
    assert_eq!(code(|file| file.tensors[1].kind = 12), "gguf::bad_tensor");
    assert_eq!(code(|file| file.tensors[1].kind = 10), "gguf::unsupported_type");
    assert_eq!(code(|file| file.tensors[1].name = file.tensors[0].name.clone()), "gguf::duplicate_tensor");
    assert_eq!(code(|file| drop(file.tensors.remove(3))), "weights::missing_tensor");
    assert_eq!(code(|file| _ = file.count("llama.embedding_length", 16)), "weights::wrong_shape");
    assert_eq!(code(|file| _ = file.count("llama.block_count", u32::MAX)), "config::bad_value");
    assert_eq!(code(|file| _ = file.count("llama.block_count", 1 << 29)), "weights::missing_tensor");
    assert_eq!(code(|file| _ = file.count("llama.attention.head_count", 0)), "config::bad_value");
    assert_eq!(code(|file| _ = file.text("llama.embedding_length", "8")), "gguf::wrong_type");
    assert_eq!(code(|file| _ = file.text("general.architecture", "mamba")), "config::unsupported_architecture");
    assert_eq!(code(|file| _ = file.text("general.type", "adapter")), "gguf::not_a_model");
    assert_eq!(code(|file| _ = file.count("split.count", 3)), "gguf::split");
    assert_eq!(code(|file| _ = file.count("llama.expert_count", 8)), "config::unsupported");
    assert_eq!(code(|file| _ = file.count("general.alignment", 33)), "gguf::bad_alignment");
}

#[test]
fn counts_beyond_the_file_are_refused_before_anything_is_allocated() {
    let whole = gguf().bytes();
    for at in [8, 16] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&(1u64 << 60).to_le_bytes());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        fs_err::write(&path, bytes).unwrap();
        assert_eq!(refused(&path).code(), "gguf::absurd_count");
    }
}

#[test]
fn tokenizers_that_cannot_be_built_are_told() {
    let broken = |change: &dyn Fn(&mut Gguf)| {
        let mut file = gguf();
        change(&mut file);
        let (_guard, path) = file.write();
        Checkpoint::open(&path).unwrap().tokenizer().unwrap_err().code().to_owned()
    };
    assert_eq!(broken(&|file| _ = file.text("tokenizer.ggml.model", "bert")), "tokenizer::unsupported");
    assert_eq!(broken(&|file| _ = file.text("tokenizer.ggml.pre", "mystery")), "tokenizer::unsupported");
    assert_eq!(broken(&|file| _ = file.texts("tokenizer.ggml.merges", &["ab".into()])), "tokenizer::malformed");
    assert_eq!(broken(&|file| _ = file.texts("tokenizer.ggml.merges", &["a zz".into()])), "tokenizer::malformed");
    assert_eq!(broken(&|file| _ = file.count("tokenizer.ggml.eos_token_id", 9999)), "tokenizer::malformed");
    assert_eq!(broken(&|file| _ = file.text("tokenizer.ggml.model", "llama")), "tokenizer::missing");
}
