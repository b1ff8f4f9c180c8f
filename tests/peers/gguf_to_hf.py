"""Writes a Llama-architecture GGUF file as a float32 Hugging Face folder: gguf_to_hf.py FILE.gguf FOLDER"""

import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

source, target = sys.argv[1:3]
folder, name = os.path.split(os.path.abspath(source))
loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
# The loaded model remembers its quantisation and would not save as plain weights.
settings = loaded.config.to_dict()
for key in ("quantization_config", "model_type", "transformers_version"):
    settings.pop(key, None)
plain = LlamaForCausalLM(LlamaConfig(**settings))
plain.load_state_dict({name: weight.float() for name, weight in loaded.state_dict().items()}, strict=True)
plain.tie_weights()
plain.save_pretrained(target)
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)
