"""Writes blocks.txt: for each GGUF block format its name, two blocks in hex, and the decoded values as float32 bits.

Needs the `gguf` and `numpy` packages: python blocks.py > blocks.txt
"""

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# Byte offsets of the half-precision scales in one block; random bits there would give NaN and infinity.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}
rng = np.random.default_rng(7)
for kind in [T.F32, T.F16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K, T.BF16]:
    values, size = GGML_QUANT_SIZES[kind]
    if kind in HALVES:
        packed = rng.integers(0, 256, (2, size), dtype=np.uint8)
        for row in packed:
            for at in HALVES[kind]:
                row[at:at + 2] = np.frombuffer(np.float16(rng.normal() * 0.1).tobytes(), np.uint8)
    else:
        numbers = rng.normal(size=(1, 8)).astype(np.float32)
        if kind == T.F32:
            packed = numbers.view(np.uint8)
        elif kind == T.F16:
            packed = numbers.astype(np.float16).view(np.uint8)
        else:
            packed = (numbers.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    decoded = dequantize(packed, kind).astype(np.float32).reshape(-1)
    print(kind.name)
    print(packed.tobytes().hex())
    print(" ".join(f"{bits:08x}" for bits in decoded.view(np.uint32)))
