"""Reference values of training methods on the tiny Llama of tiny.py: methods.py writes methods.json beside itself.

Computed in float64 by transformers and PEFT from the weights, the adapter and the rows in tiny-llama.safetensors. Of a gradient, each tensor's
norm and its product with sin(1), sin(2), … are kept; of a training, the losses of eight steps over all rows at once: torch's AdamW (rate 0.01,
betas 0.9 and 0.999, decay 0.01), global-norm clip 1.0. DoRA's magnitudes are the lengths of W's rows times 1 + 0.1·sin(row).
"""
import json, os
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, Trainer

from tiny import ROWS, SHAPE

HERE = os.path.dirname(os.path.abspath(__file__))
FILE = load_file(os.path.join(HERE, "tiny-llama.safetensors"))
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def base():
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, rope_scaling=scaling, tie_word_embeddings=False))
    model.load_state_dict({key: value for key, value in FILE.items() if key in model.state_dict()})
    return model.double()


def adapted(**settings):
    model = get_peft_model(base(), LoraConfig(r=2, lora_alpha=6, target_modules=TARGETS, task_type="CAUSAL_LM", **settings))
    for key, value in model.named_parameters():
        if value.requires_grad and "magnitude" in key:
            value.data *= 1 + 0.1 * torch.sin(torch.arange(len(value)).double())
        elif value.requires_grad:
            value.data = FILE["adapter." + key.replace(".default", "")].double()
    return model


def loss_of(model):
    total, count = 0, 0
    for ids, mask in ROWS:
        logits = model(torch.tensor([ids])).logits[0]
        places = [i for i, m in enumerate(mask) if m]
        total += torch.nn.functional.cross_entropy(logits[[i - 1 for i in places]], torch.tensor(ids)[places], reduction="sum")
        count += len(places)
    return total / count


def gradients(model):
    loss = loss_of(model)
    loss.backward()
    found = {}
    for key, value in model.named_parameters():
        if value.requires_grad:
            flat = value.grad.flatten()
            along = (flat * torch.sin(torch.arange(1, len(flat) + 1).double())).sum()
            key = key.replace("lora_magnitude_vector.default.weight", "lora_magnitude_vector").replace(".default", "")
            found[key] = [flat.norm().item(), along.item()]
    model.zero_grad()
    return {"loss": loss.item(), "gradients": found}


def steps(model, optimizer=None):
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = optimizer or torch.optim.AdamW(trained, lr=0.01)
    losses = []
    for _ in range(8):
        loss = loss_of(model)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def decayed_as_the_trainer_does(model):
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    groups = [[value for key, value in model.named_parameters() if (key in decayed) == decays] for decays in (True, False)]
    return torch.optim.AdamW([{"params": groups[0]}, {"params": groups[1], "weight_decay": 0.0}], lr=0.01)


if __name__ == "__main__":
    plus, full = adapted(), base()
    plus_optimizer = create_loraplus_optimizer(plus, torch.optim.AdamW, lr=0.01, loraplus_lr_ratio=4.0, loraplus_weight_decay=0.01)
    result = {
        "dora": gradients(adapted(use_dora=True)) | {"steps": steps(adapted(use_dora=True))},
        "lora": {"steps": steps(adapted())},
        "rslora": {"steps": steps(adapted(use_rslora=True))},
        "lora_plus": {"steps": steps(plus, plus_optimizer)},
        "full": gradients(base()) | {"steps": steps(full, decayed_as_the_trainer_does(full))},
    }
    with open(os.path.join(HERE, "methods.json"), "w") as out:
        json.dump(result, out, indent=1)
        out.write("\n")
