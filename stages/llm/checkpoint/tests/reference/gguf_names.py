"""What gguf-py, with which llama.cpp's converter names tensors, calls those of a model of each family: writes gguf_names.json beside itself.

Names of embedding, norm, head and of the first block, Hugging Face's first; `general.architecture` is the key.
"""
import json
import os

import gguf

ATTENTION = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
FEED_FORWARD = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
TWO_NORMS = ["input_layernorm", "post_attention_layernorm"]
FOUR_NORMS = TWO_NORMS + ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
HEAD_NORMS = ["self_attn.q_norm", "self_attn.k_norm"]
FAMILIES = {
    "llama": ATTENTION + FEED_FORWARD + TWO_NORMS,
    "smollm3": ATTENTION + FEED_FORWARD + TWO_NORMS,
    "qwen2": ATTENTION + FEED_FORWARD + TWO_NORMS,
    "qwen3": ATTENTION + FEED_FORWARD + TWO_NORMS + HEAD_NORMS,
    "phi3": ["self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"] + TWO_NORMS,
    "gemma2": ATTENTION + FEED_FORWARD + FOUR_NORMS,
    "gemma3": ATTENTION + FEED_FORWARD + FOUR_NORMS + HEAD_NORMS,
    "glm4": ATTENTION + ["mlp.gate_up_proj", "mlp.down_proj", "post_self_attn_layernorm", "post_mlp_layernorm"] + TWO_NORMS,
    "chatglm": ["self_attention.query_key_value", "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"] + TWO_NORMS,
}

found = {}
for name, parts in FAMILIES.items():
    arch = next(arch for arch, known in gguf.MODEL_ARCH_NAMES.items() if known == name)
    names = gguf.get_tensor_name_map(arch, 1)
    prefix = "transformer.encoder.layers.0." if name == "chatglm" else "model.layers.0."
    ends = ["transformer.embedding.word_embeddings", "transformer.encoder.final_layernorm", "transformer.output_layer"]
    if name != "chatglm":
        ends = ["model.embed_tokens", "model.norm"] + ([] if name.startswith("gemma") else ["lm_head"])
    # As the converter of ChatGLM does.
    found[name] = {part: names.get_name(part.removeprefix("transformer.")) for part in ends + [prefix + part for part in parts]}
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf_names.json"), "w") as file:
    json.dump(found, file, indent=1)
    file.write("\n")
