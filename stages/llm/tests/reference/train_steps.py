"""Losses of training steps by PEFT, the `adapters` library or transformers, and torch: the oracle for `train::train`.

train_steps.py --model HF_FOLDER [--adapter FOLDER] --out FOLDER --batch-size N --rate R --steps N [--loss-in-float64] < rows.jsonl > losses.json
Rows are {"ids": […], "mask": […]} in file order, around again when they run out. Without an adapter
every weight is trained. AdamW with torch's defaults, but norms and biases do not decay (those of LoRA are none), constant rate,
global-norm clip 1.0. With `--loss-in-float64` the cross-entropy of the same logits is computed in float64, to see how far rounding
takes a training from itself.
"""
import argparse, json, sys
import torch
from transformers import AutoModelForCausalLM

from with_bottleneck import is_bottleneck, load

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--adapter")
parser.add_argument("--out", required=True)
parser.add_argument("--batch-size", type=int, required=True)
parser.add_argument("--rate", type=float, required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--loss-in-float64", action="store_true")
args = parser.parse_args()
torch.set_num_threads(2)
bottleneck = args.adapter and is_bottleneck(args.adapter)
if bottleneck:
    model, name = load(args.model, args.adapter, dtype=torch.float32)
    model.train_adapter(name)
else:
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    if args.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, args.adapter, is_trainable=True)
rows = [json.loads(line) for line in sys.stdin]
trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
still = lambda name: "norm" in name or name.endswith("bias")
groups = [{"params": [p for name, p in trained if not still(name)]}, {"params": [p for name, p in trained if still(name)], "weight_decay": 0.0}]
optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=args.rate)
model.train()
losses = []
for step in range(args.steps):
    start = step * args.batch_size % len(rows)
    batch = rows[start : start + args.batch_size]
    width = max(len(row["ids"]) for row in batch)
    pad = lambda values, fill: values + [fill] * (width - len(values))
    ids = torch.tensor([pad(row["ids"], 0) for row in batch])
    labels = torch.tensor([pad([i if m else -100 for i, m in zip(row["ids"], row["mask"])], -100) for row in batch])
    mask = torch.tensor([pad([1] * len(row["ids"]), 0) for row in batch])
    if args.loss_in_float64:
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.double().flatten(0, 1), labels[:, 1:].flatten())
    else:
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
if bottleneck:
    model.save_adapter(args.out, name, use_safetensors=True, with_head=False)
else:
    model.save_pretrained(args.out)
print(json.dumps(losses))
