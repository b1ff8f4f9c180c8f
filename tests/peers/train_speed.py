"""How fast torch trains on the rows of a tokens artifact: train_speed.py --model HF_FOLDER --tokens FOLDER --steps N --batch-size N --dtype float32|bfloat16 [--sort] [--full|--bottleneck].

PEFT's LoRA r=8 on all seven linear layers; every weight with --full (rate 1e-5); or Houlsby's adapters of the `adapters` library with
--bottleneck, in a Python that has it. AdamW without decay, constant rate, global-norm clip 1.0; batches in the order of the rows, or of their
lengths with --sort. The first step is not timed. Prints one JSON line, with the rate of
torch's own matrix products, and how many of the tokens are targets.
"""
import argparse, contextlib, json, os, resource, time
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--tokens", required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--batch-size", type=int, required=True)
parser.add_argument("--dtype", choices=["float32", "bfloat16"], required=True)
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--sort", action="store_true")
parser.add_argument("--full", action="store_true")
parser.add_argument("--bottleneck", action="store_true")
args = parser.parse_args()
torch.set_num_threads(args.threads)
dtype = getattr(torch, args.dtype)
with open(os.path.join(args.model, "config.json")) as file:
    config = json.load(file)
# Older versions of transformers read the base of the angles where newer ones no longer write it.
older = {"rope_theta": config["rope_parameters"]["rope_theta"]} if args.bottleneck and "rope_parameters" in config else {}
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, **older)
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
if args.bottleneck:
    import adapters

    adapters.init(model)
    model.add_adapter("refit", config="double_seq_bn")
    model.train_adapter("refit")
elif not args.full:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=targets))
trained = [p for p in model.parameters() if p.requires_grad]
for parameter in trained:
    parameter.data = parameter.data.float()
file = load_file(args.tokens + "/tokens.safetensors")
ids, mask, offsets = file["train.ids"].long(), file["train.mask"].bool(), file["train.offsets"].tolist()
rows = [(ids[a:b], torch.where(mask[a:b], ids[a:b], -100)) for a, b in zip(offsets, offsets[1:])][: args.steps * args.batch_size]
if args.sort:
    rows.sort(key=lambda row: len(row[0]))
optimizer = torch.optim.AdamW(trained, lr=1e-5 if args.full else 5e-4, weight_decay=0.0)
amp = torch.autocast("cpu", dtype=dtype) if args.dtype == "bfloat16" else contextlib.nullcontext()
pad = torch.nn.utils.rnn.pad_sequence
model.train()
losses, tokens, aimed, start = [], 0, 0, None
for step in range(args.steps):
    batch = rows[step * args.batch_size : (step + 1) * args.batch_size]
    attention = pad([torch.ones_like(row) for row, _ in batch], batch_first=True)
    with amp:
        loss = model(input_ids=pad([row for row, _ in batch], batch_first=True), attention_mask=attention,
                     labels=pad([labels for _, labels in batch], batch_first=True, padding_value=-100)).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    if start is None:
        start = time.time()
    else:
        tokens += sum(len(row) for row, _ in batch)
        # The first token of a row has nothing that it could be told from.
        aimed += sum((labels[1:] != -100).sum().item() for _, labels in batch)
speed = tokens / (time.time() - start)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
# What torch reaches in nothing but products of a layer's shape with as many tokens as a batch has.
x, w = torch.randn(512, config["hidden_size"], dtype=dtype), torch.randn(config["hidden_size"], config["intermediate_size"], dtype=dtype)
rate = 0.0
with torch.no_grad():
    for _ in range(5):
        start = time.time()
        for _ in range(50):
            torch.mm(x, w)
        rate = max(rate, 50 * 2 * x.numel() * w.shape[1] / (time.time() - start))
print(json.dumps({"tokens_per_second": speed, "peak_memory": peak, "losses": losses, "product_rate": rate, "targets": aimed / tokens}))
