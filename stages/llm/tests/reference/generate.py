"""Greedy answers to tokenised prompts by transformers' `generate`, one prompt at a time: the oracle for `Model::generate`.

generate.py --model HF_FOLDER [--adapter PEFT_FOLDER] --max-new-tokens N --stop ID < rows.jsonl > answers.jsonl
Each input line is {"ids": […]}. Each output line has the answer's ids, with the one that stopped it, and for each of them by how much its
logit was above the second largest.
"""
import argparse, json, sys
import torch
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--adapter")
parser.add_argument("--max-new-tokens", type=int, required=True)
parser.add_argument("--stop", type=int, required=True)
args = parser.parse_args()
torch.set_num_threads(2)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
if args.adapter:
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, args.adapter)
model.eval()
for line in sys.stdin:
    ids = torch.tensor([json.loads(line)["ids"]])
    with torch.no_grad():
        said = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=args.max_new_tokens,
                              eos_token_id=args.stop, pad_token_id=args.stop, return_dict_in_generate=True, output_logits=True)
    gaps = [(top := logits[0].float().topk(2).values)[0].item() - top[1].item() for logits in said.logits]
    print(json.dumps({"ids": said.sequences[0, ids.shape[1]:].tolist(), "gaps": gaps}))
