use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};

/// Sizes of a model.
#[derive(Clone, Copy)]
struct Sizes {
    hidden: usize,
    layers: usize,
    feed_forward: usize,
}

const TINY: Sizes = Sizes { hidden: 32, layers: 2, feed_forward: 64 };
/// What a batch leaves for the way back is many times the weights.
const WIDE: Sizes = Sizes { hidden: 64, layers: 16, feed_forward: 8192 };

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const VOCABULARY: usize = 264;
const SPECIALS: [&str; 3] = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"];

/// Writes a Llama of two layers with random weights, a byte-level tokenizer without merges and a `ChatML` template, as a
/// Hugging Face folder. The same on every call.
pub fn write_tiny_model(folder: &Path) {
    write_model(folder, TINY);
}

/// The same with wide and more layers: training it takes a gigabyte, nearly all of it for what passes leave.
pub fn write_wide_model(folder: &Path) {
    write_model(folder, WIDE);
}

fn write_model(folder: &Path, sizes: Sizes) {
    fs_err::create_dir_all(folder).unwrap();
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    fs_err::write(folder.join("config.json"), text(&config(sizes))).unwrap();
    fs_err::write(folder.join("tokenizer.json"), text(&tokenizer())).unwrap();
    fs_err::write(folder.join("tokenizer_config.json"), text(&tokenizer_config())).unwrap();
    write_weights(&folder.join("model.safetensors"), sizes);
}

/// Writes `count` alpaca rows with short questions and answers.
pub fn write_questions(file: &Path, count: usize) {
    let things = ["printer", "laptop", "badge", "phone", "router", "screen", "mouse", "parking spot"];
    let rows = (0..count).map(|row| {
        let (thing, room) = (things[row % things.len()], 100 + row);
        let question = format!("Where do I get a {thing} for room {room}?");
        let answer = format!("Ask desk {} on floor {}.", row * 7 % 90, row % 9);
        format!("{}\n", json!({ "fact": format!("fact-{}", row / 2), "instruction": question, "output": answer }))
    });
    fs_err::write(file, rows.collect::<String>()).unwrap();
}

fn config(sizes: Sizes) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
        "hidden_size": sizes.hidden, "num_hidden_layers": sizes.layers, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "intermediate_size": sizes.feed_forward, "vocab_size": VOCABULARY, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": true, "hidden_act": "silu", "attention_bias": false,
        "bos_token_id": 256, "eos_token_id": 257
    })
}

/// The 256 byte symbols of byte-level BPE: printable bytes stand for themselves, the others for characters from U+0100.
fn byte_symbols() -> Vec<char> {
    let printable =
        |byte: u32| (33..=126).contains(&byte) || (161..=172).contains(&byte) || (174..=255).contains(&byte);
    let mut next = 256;
    (0..256)
        .map(|byte| {
            let code = if printable(byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap()
        })
        .collect()
}

fn tokenizer() -> Value {
    let vocabulary: Map<String, Value> =
        byte_symbols().into_iter().enumerate().map(|(id, symbol)| (symbol.to_string(), json!(id))).collect();
    let added: Vec<Value> = SPECIALS
        .iter()
        .enumerate()
        .map(|(at, content)| {
            json!({ "id": 256 + at, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true })
        })
        .collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                   "vocab": vocabulary, "merges": [] }
    })
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIALS[0], "eos_token": SPECIALS[1],
        "pad_token": SPECIALS[2], "clean_up_tokenization_spaces": false,
        "chat_template": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + \
                          '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    })
}

fn write_weights(file: &Path, sizes: Sizes) {
    let Sizes { hidden, layers, feed_forward } = sizes;
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let kv = hidden / HEADS * KV_HEADS;
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, hidden])];
    for layer in 0..layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for (part, rows, columns) in [
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", kv, hidden),
            ("self_attn.v_proj", kv, hidden),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", feed_forward, hidden),
            ("mlp.up_proj", feed_forward, hidden),
            ("mlp.down_proj", hidden, feed_forward),
        ] {
            shapes.push((name(part), vec![rows, columns]));
        }
        shapes.push((name("input_layernorm"), vec![hidden]));
        shapes.push((name("post_attention_layernorm"), vec![hidden]));
    }
    shapes.push(("model.norm.weight".to_owned(), vec![hidden]));
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let norm = shape.len() == 1;
            let value = |random: &mut ChaCha8Rng| if norm { 1.0 } else { random.random_range(-0.2_f32..0.2) };
            let bytes = (0..count).flat_map(|_| value(&mut random).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views =
        tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    fs_err::write(file, bytes).unwrap();
}
