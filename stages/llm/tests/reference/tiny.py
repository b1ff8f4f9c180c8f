"""Reference values of two tiny random models: tiny.py writes tiny-llama.safetensors and tiny-qwen2.safetensors beside itself.

Each holds the weights, a LoRA adapter over all linear layers, three rows (ids, mask), and what transformers and PEFT compute in
float64 from these float32 values: logits at each target, per-row losses, the mean loss of the tuned model and its gradient by A and B.
Llama: grouped-query attention, llama3 rotary scaling, untied head. Qwen2: bias on q, k, v, tied head.
"""
import os
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPE = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24, vocab_size=24,
             max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=100.0)
ROWS = [([1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 0, 0, 0, 0, 1, 1, 1, 1]), ([1, 2, 3, 11, 12], [0, 0, 0, 1, 1]),
        ([1, 2, 3, 20, 21, 22, 23, 10, 9, 8, 7, 6, 5, 4], [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0])]


def build(name, model):
    generator = torch.Generator().manual_seed(7)
    for key, value in sorted(model.named_parameters()):
        value.data = torch.randn(value.shape, generator=generator) * (0.1 if value.dim() == 1 else 0.4) + (1.0 if "norm" in key else 0.0)
    tensors = {key: value.detach().clone() for key, value in model.state_dict().items() if not (key == "lm_head.weight" and model.config.tie_word_embeddings)}
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=2, lora_alpha=6, target_modules=targets, task_type="CAUSAL_LM"))
    for key, value in sorted(model.named_parameters()):
        if value.requires_grad:
            value.data = torch.randn(value.shape, generator=generator) * 0.2
            tensors["adapter." + key.replace(".default", "")] = value.detach().clone()
    model = model.double()
    for index, (ids, mask) in enumerate(ROWS):
        tensors[f"row.{index}.ids"], tensors[f"row.{index}.mask"] = torch.tensor(ids, dtype=torch.int32), torch.tensor(mask, dtype=torch.uint8)

    def losses():
        rows = []
        for ids, mask in ROWS:
            logits = model(torch.tensor([ids])).logits[0]
            places = [i for i, m in enumerate(mask) if m]
            predicting = logits[[i - 1 for i in places]]
            rows.append((predicting, torch.nn.functional.cross_entropy(predicting, torch.tensor(ids)[places], reduction="sum"), len(places)))
        return rows

    with torch.no_grad(), model.disable_adapter():
        base = losses()
    for index, (logits, loss, count) in enumerate(base):
        tensors[f"base.{index}.logits"], tensors[f"base.{index}.loss"] = logits, (loss / count).reshape(1)
    tuned = losses()
    for index, (logits, loss, count) in enumerate(tuned):
        tensors[f"tuned.{index}.logits"], tensors[f"tuned.{index}.loss"] = logits, (loss / count).reshape(1)
    mean = sum(loss for _, loss, _ in tuned) / sum(count for _, _, count in tuned)
    mean.backward()
    tensors["mean_loss"] = mean.reshape(1)
    for key, value in model.named_parameters():
        if value.requires_grad:
            tensors["gradient." + key.replace(".default", "")] = value.grad
    tensors = {key: (value.float() if value.is_floating_point() else value).contiguous().detach().clone() for key, value in tensors.items()}
    save_file(tensors, os.path.join(HERE, f"tiny-{name}.safetensors"))


if __name__ == "__main__":
    torch.manual_seed(0)
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    build("llama", LlamaForCausalLM(LlamaConfig(**SHAPE, rope_scaling=scaling, tie_word_embeddings=False)))
    build("qwen2", Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True)))
