"""Writes smollm2.json: token ids of strings and of conversations as transformers gives them for SmolLM2-135M-Instruct.

    python smollm2.py HF_FOLDER > smollm2.json

A folder that transformers converted from GGUF lacks the digit splitting of the published tokenizer.json
(`Sequence[Digits(individual_digits=True), ByteLevel]`, GGUF's `smollm`); it is put back here.
"""

import json
import sys

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

from texts import texts

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
)
sample = texts(400)
talks = []
for i in range(40):
    a, b, c, d = (sample[(i * 4 + k) % len(sample)] for k in range(4))
    talk = [{"role": "user", "content": a}, {"role": "assistant", "content": b}]
    if i % 3 == 0:
        talk.insert(0, {"role": "system", "content": d})
    if i % 2 == 0:
        talk += [{"role": "user", "content": c}, {"role": "assistant", "content": d}]
    talks.append(talk)
json.dump(
    {
        "texts": [{"text": t, "ids": tokenizer.encode(t, add_special_tokens=False)} for t in sample],
        "talks": [
            {
                "messages": talk,
                "ids": tokenizer.apply_chat_template(talk, return_dict=False),
                "prompt": tokenizer.apply_chat_template(talk[:-1], add_generation_prompt=True, return_dict=False),
            }
            for talk in talks
        ],
    },
    sys.stdout,
    ensure_ascii=True,
    separators=(",", ":"),
)
print()
