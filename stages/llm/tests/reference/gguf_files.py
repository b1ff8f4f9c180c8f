"""Holds GGUF files of every family against the folders they were made of: gguf_files.py FOLDER.

FOLDER has a folder with `config.json`, `model.safetensors` and `model.gguf` for each. Names are those that gguf-py gives, order of rows
and changes of numbers those of llama.cpp's converter. Where transformers reads the architecture from GGUF, it computes logits of both; it
knows Mistral's files, whose architecture is `llama`, by a name alone.
Prints one JSON object: the largest difference of a weight and of a logit by family, `logits` null where transformers cannot read it.
"""
import json
import os
import sys

import gguf
import numpy
import torch
from gguf.quants import dequantize
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModelForCausalLM

torch.set_grad_enabled(False)
IDS = torch.tensor([[1, 5, 9, 3, 7, 11, 7, 20]])
TURNED = {"llama", "smollm3", "baichuan"}
# Per architecture, what llama.cpp reads beside the keys that all have.
KEYS = {"phi3": ["attention.sliding_window", "rope.scaling.original_context_length"],
        "gemma2": ["attn_logit_softcapping", "final_logit_softcapping", "attention.sliding_window"],
        "gemma3": ["attention.sliding_window"]}
COMMON = ["context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
          "attention.layer_norm_rms_epsilon", "rope.dimension_count"]


def turned(weight, heads):
    """As the converter's `permute`."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def expected(architecture, config, name, weight, names):
    """What the converter writes for a tensor: pairs of name and numbers."""
    heads = config["num_attention_heads"]
    groups = config.get("num_key_value_heads", heads)
    part, suffix = name.rsplit(".", 1)
    if part.endswith("self_attn.W_pack"):
        layer = part.split(".")[2]
        q, k, v = numpy.split(weight, 3)
        return [(f"blk.{layer}.attn_q.weight", turned(q, heads)), (f"blk.{layer}.attn_k.weight", turned(k, heads)),
                (f"blk.{layer}.attn_v.weight", v)]
    if architecture in TURNED and part.endswith("q_proj"):
        weight = turned(weight, heads)
    if architecture in TURNED and part.endswith("k_proj"):
        weight = turned(weight, groups)
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        weight = weight + 1
    if architecture == "baichuan" and "z_loss_weight" in config and part == "lm_head":
        weight = weight / numpy.linalg.norm(weight, axis=1, keepdims=True)
    return [(f"{names.get_name(part.removeprefix('transformer.'))}.{suffix}", weight)]


def logits(folder, config):
    try:
        settings = AutoConfig.from_pretrained(folder)
        found = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", config=settings, dtype=torch.float32).eval()
    except (ValueError, NotImplementedError, KeyError) as error:
        print(config["model_type"], error)
        return None
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = IDS[:, :4] if config.get("sliding_window") == 32 else IDS
    before = base(ids).logits
    return ((found(ids).logits - before).abs().max() / before.abs().max()).item()


result = {}
for family in sorted(os.listdir(sys.argv[1])):
    folder = os.path.join(sys.argv[1], family)
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    reader = gguf.GGUFReader(os.path.join(folder, "model.gguf"))
    architecture = reader.fields["general.architecture"].contents()
    for key in COMMON + KEYS.get(architecture, []):
        assert f"{architecture}.{key}" in reader.fields, (family, key)
    layers = reader.fields[f"{architecture}.block_count"].contents()
    names = gguf.get_tensor_name_map(next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture), layers)
    tensors = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    worst = 0.0
    for name, weight in load_file(os.path.join(folder, "model.safetensors")).items():
        for key, wanted in expected(architecture, config, name, weight, names):
            worst = max(worst, float(numpy.abs(tensors.pop(key) - wanted).max()))
    factors = {"llama": {"rope_freqs.weight"}, "phi3": {"rope_factors_long.weight", "rope_factors_short.weight"}}
    assert set(tensors) == factors.get(family, set()), (family, list(tensors))
    if family == "phi3":
        assert numpy.allclose(tensors["rope_factors_long.weight"], config["rope_parameters"]["long_factor"])
    result[family] = {"weights": worst, "logits": logits(folder, config)}
print(json.dumps(result))
