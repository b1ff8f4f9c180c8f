"""DPO steps by TRL: the oracle for `train::train_towards` with a preference.

preference_steps.py --tiny > preference-steps.json                                  (pinned beside it: the tiny Llama of tiny.py and its adapter)
preference_steps.py --model HF_FOLDER --adapter PEFT_FOLDER --batch-size N --rate R --steps N < rows.jsonl > steps.json

Rows are {"ids": […], "mask": […]}, the chosen and the rejected answer to a question in turn. The policy starts from the adapter, which is the
reference too. TRL's DPOTrainer with AdamW, constant rate, clipping at 1.0, beta 0.1, rows in order; only its tokenizing is left out.
"""
import argparse, contextlib, json, os, sys, tempfile
import pyarrow as pa
import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

HERE = os.path.dirname(os.path.abspath(__file__))


class Tokenized(DPOTrainer):
    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset


def tiny_model():
    shape = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24, vocab_size=24, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=100.0)
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    tensors = load_file(os.path.join(HERE, "tiny-llama.safetensors"))
    model = LlamaForCausalLM(LlamaConfig(**shape, rope_scaling=scaling, tie_word_embeddings=False))
    model.load_state_dict({key: tensors[key] for key in model.state_dict()})
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=2, lora_alpha=6, target_modules=targets, task_type="CAUSAL_LM"))
    for key, value in model.named_parameters():
        if value.requires_grad:
            value.data = tensors["adapter." + key.replace(".default", "")].clone()
    return model


def tiny_rows(count):
    """As `pairs` in src/train/preference/tests.rs."""
    rows = []
    for pair in range(count):
        for rejected in range(2):
            asked, length = 3 + pair % 4, 6 + (pair + rejected) % 5
            word = lambda at: at + 1 if at < 2 else (pair * 5 + at * 3) % 20 + 3 if at < asked else (pair * 7 + at * 5 + rejected * 4) % 20 + 3
            rows.append({"ids": [word(at) for at in range(length)], "mask": [int(at >= asked) for at in range(length)]})
    return rows


parser = argparse.ArgumentParser()
parser.add_argument("--tiny", action="store_true")
parser.add_argument("--model")
parser.add_argument("--adapter")
parser.add_argument("--batch-size", type=int, default=2)
parser.add_argument("--rate", type=float, default=0.01)
parser.add_argument("--steps", type=int, default=24)
args = parser.parse_args()
torch.set_num_threads(2)
if args.tiny:
    model, rows = tiny_model(), tiny_rows(8)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({f"w{i}": i for i in range(24)}, "w0")), pad_token="w0", eos_token="w0")
else:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32), args.adapter, is_trainable=True)
    tokenizer, rows = AutoTokenizer.from_pretrained(args.model), [json.loads(line) for line in sys.stdin]
examples = []
for chosen, rejected in zip(rows[::2], rows[1::2]):
    start = chosen["mask"].index(1)
    examples.append({"prompt_ids": chosen["ids"][:start], "chosen_ids": chosen["ids"][start:], "rejected_ids": rejected["ids"][rejected["mask"].index(1):]})
with tempfile.TemporaryDirectory() as folder:
    config = DPOConfig(output_dir=folder, beta=0.1, learning_rate=args.rate, lr_scheduler_type="constant", weight_decay=0.01, max_grad_norm=1.0, max_steps=args.steps, per_device_train_batch_size=args.batch_size, logging_steps=1, train_sampling_strategy="sequential", gradient_checkpointing=False, bf16=False, use_cpu=True, save_strategy="no", report_to="none", disable_tqdm=True, max_length=None)
    table = InMemoryTable(pa.table({name: [example[name] for example in examples] for name in examples[0]}))
    trainer = Tokenized(model=model, args=config, train_dataset=Dataset(table, fingerprint="rows"), processing_class=tokenizer)
    with contextlib.redirect_stdout(sys.stderr):
        trainer.train()
names = ["loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected"]
print(json.dumps([{name: step[name] for name in names} for step in trainer.state.log_history if "loss" in step]))
