"""Writes nf4-plain.safetensors and nf4-nested.safetensors beside it: one weight [6, 128] as bitsandbytes keeps it in NF4, in
blocks of 64, and `expected`, what bitsandbytes makes of it. In the second, absmax is quantised once more.

The weights come from a formula, so that nothing else is in the files than what the reference implementation computed.
Needs the packages torch, safetensors and bitsandbytes; runs on a CPU.
"""

import os

import bitsandbytes.functional as bnb
import torch
from safetensors.torch import save_file

here = os.path.dirname(os.path.abspath(__file__))
at = torch.arange(6 * 128, dtype=torch.float64)
weight = (torch.sin(at * 0.7) * (0.2 + (at % 97) / 97)).float().reshape(6, 128)
for name, nested in [("plain", False), ("nested", True)]:
    packed, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=nested)
    tensors = {"proj.weight": packed, "expected": bnb.dequantize_4bit(packed, state)}
    for key, value in state.as_dict(packed=True).items():
        tensors["proj.weight." + key] = value
    save_file({key: value.contiguous() for key, value in tensors.items()}, os.path.join(here, f"nf4-{name}.safetensors"))
