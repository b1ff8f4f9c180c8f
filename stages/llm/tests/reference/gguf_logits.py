"""Logits of llama.cpp for GGUF files: gguf_logits.py FOLDER < rows.json > logits.json

FOLDER has a folder with `model.gguf`, and perhaps `lora.gguf`, for each model. Standard input is one JSON object: the rows of each,
lists of token ids. Prints one JSON object: for each model the logits behind every token of every row, `plain` without and `lora` with
the adapter (null without one).
"""
import json
import os
import sys

import numpy
from llama_cpp import Llama

F32 = 0


def logits(rows, **options):
    longest = max(map(len, rows))
    # Keys and values stay as they are computed; the numbers of the file alone are rounded.
    model = Llama(n_ctx=longest, n_batch=longest, logits_all=True, type_k=F32, type_v=F32, n_threads=2, verbose=False, **options)
    found = []
    for row in rows:
        model.reset()
        model.eval(row)
        found.append(numpy.array(model.scores[: len(row)]).tolist())
    model.close()
    return found


found = {}
for name, rows in json.load(sys.stdin).items():
    model, lora = (os.path.join(sys.argv[1], name, file) for file in ["model.gguf", "lora.gguf"])
    print(name, file=sys.stderr)
    found[name] = {
        "plain": logits(rows, model_path=model),
        "lora": logits(rows, model_path=model, lora_path=lora) if os.path.exists(lora) else None,
    }
print(json.dumps(found))
