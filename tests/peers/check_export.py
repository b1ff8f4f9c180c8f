"""Holds what was merged and exported against transformers, PEFT and gguf: check_export.py BASE ADAPTER MERGED GGUF LORA MLX.

BASE, MERGED: model folders; ADAPTER: PEFT's; GGUF: a model file; LORA: an adapter file; MLX: an adapter folder. Prints one
JSON object of differences.
"""

import json
import os
import sys

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, merged, model_file, lora_file, mlx = sys.argv[1:7]
torch.set_grad_enabled(False)
tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
ids = torch.tensor([[1, 5, 9, 33, 70, 101, 7]])
before = tuned(ids).logits
ours = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
logits = (ours(ids).logits - before).abs().max().item()
theirs = tuned.merge_and_unload()
expected = {name: weight.numpy() for name, weight in theirs.state_dict().items()}
weights = max(np.abs(weight.numpy() - expected[name]).max().item() for name, weight in ours.state_dict().items())
tied = ours.get_input_embeddings().weight.data_ptr() == ours.get_output_embeddings().weight.data_ptr()

config = theirs.config
NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
         "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def hf_name(name):
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}"
    return NAMES[parts[0]]


def interleaved(name, weight):
    """The order of rows as llama.cpp's converter makes it (`LlamaModel.permute`)."""
    heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def worst_of(reader, expected_of):
    worst = 0.0
    for tensor in reader.tensors:
        found = dequantize(tensor.data, tensor.tensor_type)
        wanted = expected_of(tensor.name)
        if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            if not tensor.name.endswith("lora_a"):
                wanted = interleaved(tensor.name, wanted)
        assert found.shape == wanted.shape, (tensor.name, found.shape, wanted.shape)
        worst = max(worst, np.abs(found - wanted).max().item() / np.abs(wanted).max().item())
    return worst


reader = GGUFReader(model_file)
names = {tensor.name for tensor in reader.tensors}
gguf = worst_of(reader, lambda name: expected[hf_name(name) + ".weight"])
tokenizer = AutoTokenizer.from_pretrained(merged)
folder, file = os.path.split(os.path.abspath(model_file))
texts = ["hello world", "Straße 12\n\t中文", "<|im_start|>user\nx<|im_end|>"]
from_gguf = AutoTokenizer.from_pretrained(folder, gguf_file=file)
tokens = all(tokenizer(text, add_special_tokens=False).input_ids == from_gguf(text, add_special_tokens=False).input_ids
             for text in texts)

matrices = load_file(os.path.join(adapter, "adapter_model.safetensors"))
settings = json.load(open(os.path.join(adapter, "adapter_config.json")))
lora_reader = GGUFReader(lora_file)
alpha = float(lora_reader.fields["adapter.lora.alpha"].contents())


def matrix(name):
    weight, part = name.rsplit(".", 1)
    part = {"lora_a": "lora_A", "lora_b": "lora_B"}[part]
    return matrices[f"base_model.model.{hf_name(weight.removesuffix('.weight'))}.{part}.weight"]


lora = worst_of(lora_reader, matrix)
mlx_matrices = load_file(os.path.join(mlx, "adapters.safetensors"))
mlx_settings = json.load(open(os.path.join(mlx, "adapter_config.json")))
worst_mlx = 0.0
for name, found in mlx_matrices.items():
    module, part = name.rsplit(".", 1)
    wanted = matrices[f"base_model.model.{module}.{part[:-1]}{part[-1].upper()}.weight"].T
    worst_mlx = max(worst_mlx, np.abs(found - wanted).max().item() / max(np.abs(wanted).max().item(), 1e-9))
print(json.dumps({
    "logits": logits, "weights": weights, "tied": tied, "gguf": gguf, "gguf_tensors": len(names), "tokens": tokens,
    "lora": lora, "lora_tensors": len(lora_reader.tensors), "lora_scale": alpha / settings["r"],
    "mlx": worst_mlx, "mlx_scale": mlx_settings["lora_parameters"]["scale"],
    "scale": settings["lora_alpha"] / settings["r"], "matrices": len(matrices),
}))
