"""Writes reference.txt beside it: what the reference implementations make of blocks and of numbers.

For each block format of GGUF: its name, two blocks in hex, the decoded values as float32 bits (`gguf.quants.dequantize`).
Then for the formats that are written: `quantize NAME`, numbers as float32 bits, their blocks in hex, from `gguf.quants.quantize`
for Q4_0 and Q8_0, and for NF4 from bitsandbytes' own CPU code: its packed bytes and its absmax, block by block.

Needs the packages gguf, numpy, torch and bitsandbytes.
"""

import os

import bitsandbytes.functional as bnb
import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

# Byte offsets of the half-precision scales in one block; random bits there would give NaN and infinity.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}
rng = np.random.default_rng(7)
out = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "reference.txt"), "w")


def bits(numbers):
    return " ".join(f"{number:08x}" for number in np.asarray(numbers, np.float32).reshape(-1).view(np.uint32))


def tell(*lines):
    out.write("\n".join(lines) + "\n")


for kind, halves in HALVES.items():
    packed = rng.integers(0, 256, (2, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for row in packed:
        for at in halves:
            row[at:at + 2] = np.frombuffer(np.float16(rng.normal() * 0.1).tobytes(), np.uint8)
    tell(kind.name, packed.tobytes().hex(), bits(dequantize(packed, kind)))

numbers = rng.normal(size=(1, 320)).astype(np.float32)
# Blocks of zeros, of one sign, and with halves between two levels.
numbers[0, 64:128] = 0
numbers[0, 128:192] = np.abs(numbers[0, 128:192])
numbers[0, 192:256] = np.round(numbers[0, 192:256] * 4) / 4
for kind in [T.Q4_0, T.Q8_0]:
    tell("quantize " + kind.name, bits(numbers), quantize(numbers, kind).tobytes().hex())
# A block of zeros divides by zero there.
numbers[0, 64] = 1e-3
tensor = torch.from_numpy(numbers)
packed, state = bnb.quantize_4bit(tensor, blocksize=64, quant_type="nf4")
absmax = state.absmax.numpy().astype(np.float32)
packed = packed.numpy().reshape(-1, 32)
blocks = b"".join(scale.tobytes() + pairs.tobytes() for scale, pairs in zip(absmax, packed))
tell("quantize NF4", bits(numbers), blocks.hex())
tell("NF4", blocks.hex(), bits(bnb.dequantize_4bit(torch.from_numpy(packed.reshape(-1, 1)), state).numpy()))
tell("code NF4", bits(state.code.numpy()), "")
