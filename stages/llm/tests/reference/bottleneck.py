"""Reference values of bottleneck adapters: bottleneck.py writes bottleneck.json beside itself.

Computed in float64 by the `adapters` library (1.3.0, with transformers 4.57) on the tiny Llama and Qwen2 of tiny.py, and on tiny models of
families.json with the weights that families.py gives them. The adapter's values come from a formula of their names (`numbers`, as in
families.py). Of each case: the library's own adapter_config.json; the mean loss of every row; of the logits at all targets and of the gradient of
the mean loss over all targets by each tensor, the norm and the product with sin(1), sin(2), …; and the losses of eight steps over all rows at
once with torch's AdamW (rate 0.01, betas 0.9 and 0.999, decay 0.01 except for biases), global-norm clip 1.0.
"""
import json, os, tempfile
import adapters
import numpy
import torch
import transformers
from adapters import AdapterModelInterface, BnConfig, DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS = [([1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 0, 0, 0, 0, 1, 1, 1, 1]), ([1, 2, 3, 11, 12], [0, 0, 0, 1, 1]),
        ([1, 2, 3, 20, 21, 22, 23, 10, 9, 8, 7, 6, 5, 4], [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0])]
SHAPE = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24, vocab_size=24,
             max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=100.0)
NAME = "refit"


def numbers(name, shape):
    seed = 2166136261
    for byte in name.encode():
        seed = ((seed ^ byte) * 16777619) % 2**32
    places = numpy.arange(int(numpy.prod(shape)), dtype=numpy.uint64)
    state = (seed + places * 2654435761) % 2**32
    state = ((state ^ (state >> 15)) * 2246822519) % 2**32
    state = ((state ^ (state >> 13)) * 3266489917) % 2**32
    return torch.tensor(((state >> 8) % 1001).astype(numpy.float32) / numpy.float32(500) - numpy.float32(1)).reshape(shape)


def of_file(name, model):
    file = load_file(os.path.join(HERE, f"tiny-{name}.safetensors"))
    model.load_state_dict({key: value for key, value in file.items() if key in model.state_dict()}, strict=False)
    return model


def llama():
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    return of_file("llama", LlamaForCausalLM(LlamaConfig(**SHAPE, rope_scaling=scaling, tie_word_embeddings=False)))


def qwen2():
    return of_file("qwen2", Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True)))


def of_family(name, kind, **changes):
    with open(os.path.join(HERE, "families.json")) as file:
        config = json.load(file)[name]
    rope = config.pop("rope_parameters")
    config = getattr(transformers, kind + "Config")(**{**config, "rope_theta": rope["rope_theta"], "rope_scaling": None, **changes})
    config._attn_implementation = "eager"
    model = getattr(transformers, kind + "ForCausalLM")(config)
    for key, value in model.named_parameters():
        scale = 0.125 if "norm" in key or value.dim() == 1 else 0.375
        value.data = numbers(key, value.shape) * scale + (1.0 if "norm" in key else 0.0)
    return model


def interface(intermediate):
    """What the library is told of a family that it does not know by itself: that of its Qwen2, with the names of the family."""
    return AdapterModelInterface(
        adapter_methods=["bottleneck"], model_embeddings="embed_tokens", model_layers="layers", layer_self_attn="self_attn", layer_cross_attn=None,
        attn_k_proj="k_proj", attn_q_proj="q_proj", attn_v_proj="v_proj", attn_o_proj="o_proj", layer_intermediate_proj=intermediate,
        layer_output_proj="mlp.down_proj", layer_pre_self_attn="input_layernorm", layer_pre_ffn="post_attention_layernorm")


def adapted(model, config, interface=None):
    adapters.init(model, interface=interface)
    model.add_adapter(NAME, config=config)
    model.train_adapter(NAME)
    for key, value in model.named_parameters():
        if value.requires_grad:
            value.data = numbers(key, value.shape) * 0.25
    with tempfile.TemporaryDirectory() as folder:
        model.save_adapter(folder, NAME, with_head=False)
        with open(os.path.join(folder, "adapter_config.json")) as file:
            written = json.load(file)
    return model.double(), written


def losses(model):
    rows = []
    for ids, mask in ROWS:
        logits = model(torch.tensor([ids])).logits[0]
        places = [i for i, m in enumerate(mask) if m]
        predicting = logits[[i - 1 for i in places]]
        rows.append((predicting, torch.nn.functional.cross_entropy(predicting, torch.tensor(ids)[places], reduction="sum"), len(places)))
    return rows


def mean(rows):
    return sum(loss for _, loss, _ in rows) / sum(count for _, _, count in rows)


def summary(values):
    flat = values.detach().flatten()
    return [digits(flat.norm()), digits((flat * torch.sin(torch.arange(1, len(flat) + 1).double())).sum())]


def digits(value):
    return float(f"{value.item():.9g}")


def trained(model):
    return [(key, value) for key, value in model.named_parameters() if value.requires_grad]


def case(build, config, interface=None):
    model, written = adapted(build(), config, interface)
    rows = losses(model)
    mean(rows).backward()
    gradients = {key: summary(value.grad) for key, value in trained(model)}
    model.zero_grad()
    groups = [[value for key, value in trained(model) if key.endswith("bias") == still] for still in (False, True)]
    optimizer = torch.optim.AdamW([{"params": groups[0]}, {"params": groups[1], "weight_decay": 0.0}], lr=0.01)
    steps = []
    for _ in range(8):
        loss = mean(losses(model))
        loss.backward()
        torch.nn.utils.clip_grad_norm_([value for _, value in trained(model)], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        steps.append(digits(loss))
    return {"config": written, "rows": [digits(loss / count) for _, loss, count in rows],
            "logits": summary(torch.cat([logits for logits, _, _ in rows])), "gradients": gradients, "steps": steps}


if __name__ == "__main__":
    small, two = dict(reduction_factor=4), dict(tie_word_embeddings=False)
    plain = dict(mh_adapter=True, output_adapter=True, reduction_factor={"1": 8, "default": 3.5})
    result = {
        "llama houlsby": case(llama, DoubleSeqBnConfig(**small)),
        "llama pfeiffer": case(llama, SeqBnConfig(**small)),
        "llama parallel": case(llama, ParBnConfig(reduction_factor=2)),
        "llama pfeiffer, gelu, layer 0 left out": case(llama, SeqBnConfig(reduction_factor=0.8, non_linearity="gelu", leave_out=[0], scaling=0.5)),
        "llama parallel, twice, tanh": case(llama, ParBnConfig(mh_adapter=True, non_linearity="tanh", scaling=1.5)),
        "llama sums, twice, gelu_new": case(llama, BnConfig(**plain, non_linearity="gelu_new", original_ln_before=True)),
        "llama on the attention, leakyrelu": case(llama, BnConfig(**{**plain, "output_adapter": False}, non_linearity="leakyrelu")),
        "qwen2 houlsby": case(qwen2, DoubleSeqBnConfig(**small)),
        "qwen2 pfeiffer": case(qwen2, SeqBnConfig(**small)),
        "qwen2 parallel": case(qwen2, ParBnConfig(**small)),
        "mistral houlsby": case(lambda: of_family("mistral", "Mistral", **two), DoubleSeqBnConfig(**small)),
        "mistral pfeiffer": case(lambda: of_family("mistral", "Mistral", **two), SeqBnConfig(**small)),
        "qwen3 houlsby": case(lambda: of_family("qwen3", "Qwen3"), DoubleSeqBnConfig(**small)),
        "qwen3 parallel": case(lambda: of_family("qwen3", "Qwen3"), ParBnConfig(**small)),
        "smollm3 pfeiffer": case(lambda: of_family("smollm3", "SmolLM3"), SeqBnConfig(**small), interface("mlp.up_proj")),
    }
    with open(os.path.join(HERE, "bottleneck.json"), "w") as out:
        out.write("{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(found, sort_keys=True)}" for name, found in result.items()) + "\n}\n")
    for name, found in result.items():
        print(f"{name}: rows {found['rows']}, steps {found['steps'][0]:.4f} to {found['steps'][-1]:.4f}")
