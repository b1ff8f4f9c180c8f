"""Holds a finished run against transformers and PEFT: check_run.py MODEL_HF RUN. Prints one JSON object.

RUN holds the artifacts of a run: records (the test rows), train (the training rows), tokens, before, after, adapter.
"""

import json
import os
import sys

import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

model_folder, run = sys.argv[1:3]
torch.set_grad_enabled(False)
tokenizer = AutoTokenizer.from_pretrained(model_folder)
model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()


def rows(*path):
    with open(os.path.join(run, *path), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def encode(messages):
    """The row's tokens up to its last end of turn, and where the answer begins."""
    head = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)
    text = head + messages[-1]["content"] + tokenizer.eos_token
    assert tokenizer.apply_chat_template(messages, tokenize=False).startswith(text)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    return ids, len(tokenizer(head, add_special_tokens=False).input_ids)


def loss(network, record):
    ids, start = encode(record["messages"])
    logits = network(torch.tensor([ids])).logits[0, start - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[start:])).item()


def worst(network, predictions):
    """The largest difference of a row's loss, relative to the loss or, where that is less, to 0.1.

    A row that was learned by heart has a loss of a few thousandths, where a relative difference only shows the rounding
    of float32.
    """
    found = {row["id"]: row["loss"] for row in predictions}
    expected = {record["id"]: loss(network, record) for record in records}
    assert found.keys() == expected.keys()
    return max(abs(found[name] - value) / max(value, 0.1) for name, value in expected.items())


records = rows("records", "records.jsonl")
before = worst(model, rows("before", "predictions.jsonl"))
tuned = PeftModel.from_pretrained(model, os.path.join(run, "adapter")).eval()
after = worst(tuned, rows("after", "predictions.jsonl"))

with safe_open(os.path.join(run, "tokens", "tokens.safetensors"), "pt") as tokens:
    ids, mask, offsets = (tokens.get_tensor("train." + part).tolist() for part in ("ids", "mask", "offsets"))
different = 0
train = rows("train", "records.jsonl")
assert len(train) == len(offsets) - 1
for record, start, end in zip(train, offsets, offsets[1:]):
    expected, answer = encode(record["messages"])
    supervised = [0] * answer + [1] * (len(expected) - answer)
    different += ids[start:end] != expected or [int(bit) for bit in mask[start:end]] != supervised
print(json.dumps({"before": before, "after": after, "rows": len(train), "different": different}))
