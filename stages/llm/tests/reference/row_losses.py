"""Mean supervised loss and most likely tokens of tokenised rows, by transformers and PEFT: the oracle for `Model::row_losses`.

row_losses.py --model HF_FOLDER [--adapter FOLDER] < rows.jsonl > losses.jsonl
The adapter is one of PEFT, or, in a Python that has it, a bottleneck adapter of the `adapters` library.
Each input line is {"ids": […], "mask": […]}; a target is a token whose mask is 1, predicted from the tokens before it.
"""
import argparse, json, sys
import torch
from transformers import AutoModelForCausalLM

from with_bottleneck import is_bottleneck, load

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--adapter")
args = parser.parse_args()
torch.set_num_threads(2)
if args.adapter and is_bottleneck(args.adapter):
    model, _ = load(args.model, args.adapter, dtype=torch.float32)
else:
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    if args.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, args.adapter)
model.eval()
for line in sys.stdin:
    row = json.loads(line)
    ids = torch.tensor([row["ids"]])
    places = [i for i, m in enumerate(row["mask"]) if m and i > 0]
    with torch.no_grad():
        logits = model(ids).logits[0]
    predicting = logits[[i - 1 for i in places]]
    loss = torch.nn.functional.cross_entropy(predicting, ids[0, places]).item()
    print(json.dumps({"loss": loss, "argmax": predicting.argmax(-1).tolist()}))
