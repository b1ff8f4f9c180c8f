//! Tiny models on disk.

use std::{collections::BTreeMap, path::Path};

use refit_checkpoint::{Checkpoint, CheckpointError};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

pub(crate) const SPECIALS: [&str; 8] = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|begin_of_text|>",
];

/// Layer, width, heads and so on of the tiny model.
pub(crate) const HIDDEN: usize = 8;
pub(crate) const HEADS: usize = 2;
pub(crate) const KV_HEADS: usize = 1;
pub(crate) const WIDE: usize = 12;

/// The vocabulary: specials first, then one token for each byte.
pub(crate) fn vocabulary() -> Vec<String> {
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    SPECIALS.iter().map(|token| (*token).to_owned()).chain(bytes.into_iter().map(String::from)).collect()
}

/// Names and shapes of the tiny model's tensors, in Hugging Face's terms.
pub(crate) fn shapes() -> BTreeMap<String, Vec<usize>> {
    let kv = HIDDEN / HEADS * KV_HEADS;
    let mut shapes = BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary().len(), HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ]);
    for (part, shape) in [
        ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
        ("self_attn.k_proj", vec![kv, HIDDEN]),
        ("self_attn.v_proj", vec![kv, HIDDEN]),
        ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
        ("mlp.gate_proj", vec![WIDE, HIDDEN]),
        ("mlp.up_proj", vec![WIDE, HIDDEN]),
        ("mlp.down_proj", vec![HIDDEN, WIDE]),
        ("input_layernorm", vec![HIDDEN]),
        ("post_attention_layernorm", vec![HIDDEN]),
    ] {
        shapes.insert(format!("model.layers.0.{part}.weight"), shape);
    }
    shapes
}

/// Values that differ everywhere and from tensor to tensor.
pub(crate) fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let seed = name.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    (0..shape.iter().product::<usize>())
        .map(|i| (seed.wrapping_add((i as u32).wrapping_mul(2_654_435_761)) % 1000) as f32 / 500.0 - 1.0)
        .collect()
}

pub(crate) fn config() -> Value {
    json!({
        "model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "intermediate_size": WIDE, "vocab_size": vocabulary().len(),
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "bos_token_id": 0, "eos_token_id": 1,
    })
}

pub(crate) fn tokenizer_json() -> Value {
    let vocabulary: serde_json::Map<String, Value> =
        vocabulary().into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    let added: Vec<Value> = SPECIALS
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
        "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": []},
    })
}

pub(crate) fn safetensors(tensors: &BTreeMap<String, Vec<usize>>) -> Vec<u8> {
    let data: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, shape)| (name, values(name, shape).iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape)| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &data[name]).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

pub(crate) fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs_err::write(folder.join(name), bytes).unwrap();
}

/// A folder with everything a model needs, and this chat template.
pub(crate) fn folder(template: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "config.json", config().to_string());
    write(folder.path(), "tokenizer.json", tokenizer_json().to_string());
    let tokens = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": template});
    write(folder.path(), "tokenizer_config.json", tokens.to_string());
    write(folder.path(), "model.safetensors", safetensors(&shapes()));
    folder
}

/// Opens what is expected not to open.
pub(crate) fn refused(path: &Path) -> CheckpointError {
    Checkpoint::open(path).expect_err("this model must be refused")
}

/// A GGUF file in the making.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) version: u32,
    pairs: Vec<(String, Vec<u8>)>,
    pub(crate) tensors: Vec<GgufTensor>,
}

#[derive(Clone)]
pub(crate) struct GgufTensor {
    pub(crate) name: String,
    /// In the file's order.
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) data: Vec<u8>,
    /// Set to lie about where the data is.
    pub(crate) offset: Option<u64>,
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

impl Gguf {
    pub(crate) fn new() -> Self {
        Self { version: 3, pairs: Vec::new(), tensors: Vec::new() }
    }

    fn pair(&mut self, key: &str, kind: u32, value: Vec<u8>) -> &mut Self {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(value);
        self.pairs.retain(|(other, _)| other != key);
        self.pairs.push((key.to_owned(), bytes));
        self
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.pair(key, 8, text(value))
    }

    pub(crate) fn count(&mut self, key: &str, value: u32) -> &mut Self {
        self.pair(key, 4, value.to_le_bytes().to_vec())
    }

    pub(crate) fn float(&mut self, key: &str, value: f32) -> &mut Self {
        self.pair(key, 6, value.to_le_bytes().to_vec())
    }

    pub(crate) fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.pair(key, 7, vec![u8::from(value)])
    }

    fn list(&mut self, key: &str, kind: u32, count: usize, items: Vec<u8>) -> &mut Self {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((count as u64).to_le_bytes());
        bytes.extend(items);
        self.pair(key, 9, bytes)
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[String]) -> &mut Self {
        self.list(key, 8, values.len(), values.iter().flat_map(|value| text(value)).collect())
    }

    pub(crate) fn ints(&mut self, key: &str, values: &[i32]) -> &mut Self {
        self.list(key, 5, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    pub(crate) fn floats(&mut self, key: &str, values: &[f32]) -> &mut Self {
        self.list(key, 6, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) -> &mut Self {
        self.tensors.push(GgufTensor {
            name: name.to_owned(),
            dims: shape.iter().rev().map(|size| *size as u64).collect(),
            kind: 0,
            data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            offset: None,
        });
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, value) in &self.pairs {
            out.extend(text(key));
            out.extend(value);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset += (tensor.data.len() as u64).next_multiple_of(32);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&tensor.data);
        }
        out
    }

    pub(crate) fn write(&self) -> (TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        fs_err::write(&path, self.bytes()).unwrap();
        (folder, path)
    }
}

/// The rows of q and k as llama.cpp's converter reorders them.
pub(crate) fn interleaved(values: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let width = values.len() / rows;
    let dim = rows / heads;
    let mut out = vec![0.0; values.len()];
    for head in 0..heads {
        for half in 0..2 {
            for pair in 0..dim / 2 {
                let from = (head * dim + half * dim / 2 + pair) * width;
                let to = (head * dim + pair * 2 + half) * width;
                out[to..to + width].copy_from_slice(&values[from..from + width]);
            }
        }
    }
    out
}

/// The same tiny model as [`folder`], as a GGUF file.
pub(crate) fn gguf() -> Gguf {
    let mut file = Gguf::new();
    file.text("general.architecture", "llama")
        .text("general.name", "Tiny")
        .count("llama.embedding_length", HIDDEN as u32)
        .count("llama.block_count", 1)
        .count("llama.attention.head_count", HEADS as u32)
        .count("llama.attention.head_count_kv", KV_HEADS as u32)
        .count("llama.feed_forward_length", WIDE as u32)
        .count("llama.context_length", 64)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .float("llama.rope.freq_base", 10_000.0)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.tokens", &vocabulary())
        .texts("tokenizer.ggml.merges", &[])
        .ints(
            "tokenizer.ggml.token_type",
            &(0..vocabulary().len()).map(|id| if id < SPECIALS.len() { 3 } else { 1 }).collect::<Vec<_>>(),
        )
        .count("tokenizer.ggml.bos_token_id", 0)
        .count("tokenizer.ggml.eos_token_id", 1)
        .text("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}");
    for (name, shape) in shapes() {
        let mut numbers = values(&name, &shape);
        if name.contains("q_proj") {
            numbers = interleaved(&numbers, shape[0], HEADS);
        } else if name.contains("k_proj") {
            numbers = interleaved(&numbers, shape[0], KV_HEADS);
        }
        file.tensor(&gguf_name(&name), &shape, &numbers);
    }
    file
}

/// The same file with as many rows in its table as there are tokens.
pub(crate) fn with_table(mut file: Gguf, tokens: usize) -> Gguf {
    file.tensors.retain(|tensor| tensor.name != "token_embd.weight");
    file.tensor("token_embd.weight", &[tokens, HIDDEN], &vec![0.0; tokens * HIDDEN]);
    file
}

fn gguf_name(name: &str) -> String {
    [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers.", "blk."),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ]
    .iter()
    .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}
