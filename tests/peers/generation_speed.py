"""How fast others answer prompts, greedily: generation_speed.py --engine transformers|llama --model PATH --prompts FILE --new N --threads N [--dtype float32|bfloat16] [--batch-size N].

FILE holds a JSON list of lists of token ids; with --questions FILE.jsonl it is written first, from the `instruction` of each row and the
template of the model's folder. transformers answers padded batches with its cache of keys and values; llama.cpp answers one
prompt after the other and keeps what a prompt shares with the one before. One prompt of other words is answered before the clock
starts. Prints one JSON line: answered tokens (without the end) in a second of all the time, and the first answer's ids.
"""
import argparse, json, resource, time

parser = argparse.ArgumentParser()
parser.add_argument("--engine", choices=["transformers", "llama"], required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--prompts", required=True)
parser.add_argument("--questions")
parser.add_argument("--new", type=int, required=True)
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--dtype", default="float32")
parser.add_argument("--batch-size", type=int, default=32)
args = parser.parse_args()

if args.engine == "transformers":
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype))
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    end = tokenizer.eos_token_id
    if args.questions:
        rows = [json.loads(line) for line in open(args.questions)]
        ask = lambda text: tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)
        ids = [ask(row["instruction"]) for row in rows]
        json.dump([list(row["input_ids"]) if hasattr(row, "keys") else row for row in ids], open(args.prompts, "w"))

    def answer(prompts):
        answers = []
        for at in range(0, len(prompts), args.batch_size):
            batch = prompts[at : at + args.batch_size]
            width = max(map(len, batch))
            ids = torch.tensor([[end] * (width - len(row)) + row for row in batch])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
            with torch.no_grad():
                made = model.generate(ids, attention_mask=mask, max_new_tokens=args.new, do_sample=False, pad_token_id=end)
            answers += [row[width:].tolist() for row in made]
        return answers
else:
    from llama_cpp import Llama

    model = Llama(args.model, n_ctx=1024, n_threads=args.threads, n_threads_batch=args.threads, verbose=False)
    end = model.token_eos()

    def answer(prompts):
        answers = []
        for prompt in prompts:
            ids = []
            for token in model.generate(prompt, temp=0.0, repeat_penalty=1.0):
                ids.append(token)
                if token == end or len(ids) == args.new:
                    break
            answers.append(ids)
        return answers

prompts = json.load(open(args.prompts))
answer([prompts[0][::-1]])
start = time.time()
answers = [row[: row.index(end)] if end in row else row for row in answer(prompts)]
seconds = time.time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"tokens_per_second": sum(map(len, answers)) / seconds, "peak_memory": peak, "tokens": sum(map(len, answers)), "first": answers[0]}))
