"""Probabilities after transformers' logits processors, in the order in which `generate` applies them: sampling.py writes sampling.json
beside itself.

The logits are ((i·37 + 11·row) mod 101) / 101 · 12 − 6 for 40 tokens i. Each case has its settings, the tokens seen before, and the
probability of every token that is left.
"""
import json, os
import torch
from transformers import LlamaConfig, LlamaForCausalLM, GenerationConfig

VOCABULARY = 40
CASES = [
    dict(temperature=1.0),
    dict(temperature=0.7),
    dict(temperature=1.5, top_k=7),
    dict(temperature=1.0, top_p=0.8),
    dict(temperature=0.8, top_p=0.95, top_k=12),
    dict(temperature=1.0, min_p=0.2),
    dict(temperature=2.0, min_p=0.05, top_k=20, top_p=0.97),
    dict(temperature=1.0, repetition_penalty=1.3),
    dict(temperature=0.6, repetition_penalty=1.8, top_k=10, top_p=0.9, min_p=0.01),
    dict(temperature=0.05, top_p=0.5),
]
SEEN = [3, 17, 17, 30, 8, 0]
model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
cases = []
for row, settings in enumerate(CASES):
    config = GenerationConfig(do_sample=True, **{"top_k": 0, "top_p": 1.0, **settings})
    processors = model._get_logits_processor(config, input_ids_seq_length=len(SEEN), encoder_input_ids=torch.tensor([SEEN]),
                                             prefix_allowed_tokens_fn=None, logits_processor=[])
    logits = torch.tensor([[(i * 37 + 11 * row) % 101 / 101 * 12 - 6 for i in range(VOCABULARY)]], dtype=torch.float32)
    probabilities = torch.softmax(processors(torch.tensor([SEEN]), logits), dim=-1)[0].tolist()
    cases.append(dict(settings=settings, row=row, seen=SEEN, kinds=[type(p).__name__ for p in processors],
                      probabilities={str(i): round(p, 9) for i, p in enumerate(probabilities) if p > 0}))
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sampling.json")
with open(path, "w") as out:
    out.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
