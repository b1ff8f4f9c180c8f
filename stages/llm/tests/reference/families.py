"""Reference values of a tiny random model of every family: families.py writes families.safetensors beside itself.

Weights come from a formula of their names (`numbers` below, and the same in src/reference/families.rs), so that the file holds results alone:
what transformers and PEFT compute in float64 from these float32 values: logits at each target and the mean loss of the base and of a
tuned model, and the gradient of the tuned model's mean loss by every A and B of a LoRA over all linear layers of the blocks.
The configurations are written to families.json.

transformers no longer carries ChatGLM3 and Baichuan. The classes at the end compute what their published code computes, from the formulas
of THUDM/chatglm3-6b modeling_chatglm.py and baichuan-inc/Baichuan2-7B-Base and Baichuan-13B-Base modeling_baichuan.py; Baichuan 7B is
checked against transformers' Llama, and ChatGLM3 against its Glm, with the same numbers under those names before anything is written.
Every gradient is checked against central differences along itself in float64.
"""
import json
import math
import os

import numpy
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS = [([1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 0, 0, 0, 0, 1, 1, 1, 1]), ([1, 2, 3, 11, 12], [0, 0, 0, 1, 1]),
        ([1, 2, 3, 20, 21, 22, 23, 10, 9, 8, 7, 6, 5, 4], [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0])]
SHAPE = dict(hidden_size=16, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24, vocab_size=24,
             max_position_embeddings=64, rms_norm_eps=1e-5, pad_token_id=0, bos_token_id=1, eos_token_id=2)
RANK, ALPHA = 2, 6


def keep_float64():
    """transformers rounds to float32 within norms and softmax whatever it is given; here float64 stays."""
    to, softmax, single = torch.Tensor.to, nn.functional.softmax, torch.Tensor.float

    def to_kept(self, *args, **kwargs):
        wanted = torch.float32 in args or kwargs.get("dtype") == torch.float32
        return self if wanted and self.dtype == torch.float64 else to(self, *args, **kwargs)

    torch.Tensor.to = to_kept
    torch.Tensor.float = lambda self, *args: self if self.dtype == torch.float64 else single(self, *args)
    nn.functional.softmax = lambda x, dim=None, dtype=None, **rest: softmax(x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype)


def numbers(name, shape):
    """In ±1, in steps of 1/500: a hash of the name (FNV-1a) steps through a linear congruence."""
    seed = 2166136261
    for byte in name.encode():
        seed = ((seed ^ byte) * 16777619) % 2**32
    places = numpy.arange(int(numpy.prod(shape)), dtype=numpy.uint64)
    state = (seed + places * 2654435761) % 2**32
    state = ((state ^ (state >> 15)) * 2246822519) % 2**32
    state = ((state ^ (state >> 13)) * 3266489917) % 2**32
    return torch.tensor(((state >> 8) % 1001).astype(numpy.float32) / numpy.float32(500) - numpy.float32(1)).reshape(shape)


def weight(name, shape, offset):
    """What every side gives the tensor of that name: norms near 1 (or near 0, where the code adds 1), the rest within ±0.4."""
    if "norm" in name:
        return numbers(name, shape) * 0.125 + (1 - offset)
    return numbers(name, shape) * (0.125 if len(shape) == 1 else 0.375)


def losses(model):
    rows = []
    for ids, mask in ROWS:
        logits = model(torch.tensor([ids])).logits[0]
        places = [i for i, m in enumerate(mask) if m]
        predicting = logits[[i - 1 for i in places]]
        rows.append((predicting, nn.functional.cross_entropy(predicting, torch.tensor(ids)[places], reduction="sum"), len(places)))
    return rows


def mean(rows):
    return sum(loss for _, loss, _ in rows) / sum(count for _, _, count in rows)


def build(name, model, config, offset=0):
    for key, value in model.named_parameters():
        value.data = weight(key, value.shape, offset)
    layers = [key for key, module in model.named_modules() if isinstance(module, nn.Linear) and ".layers." in key]
    targets = sorted({key.rsplit(".", 1)[1] for key in layers})
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets))
    adapted = {key.replace(".default", ""): value for key, value in model.named_parameters() if value.requires_grad}
    for key, value in adapted.items():
        value.data = numbers(key, value.shape) * 0.25
    model = model.double().eval()
    with torch.no_grad(), model.disable_adapter():
        base = losses(model)
    tuned = losses(model)
    loss = mean(tuned)
    loss.backward()
    tensors = {}
    for kind, rows in [("base", base), ("tuned", tuned)]:
        tensors[f"{name}.{kind}.logits"] = torch.cat([logits for logits, _, _ in rows])
        tensors[f"{name}.{kind}.loss"] = mean(rows).reshape(1)
    for key in sorted(adapted):
        tensors[f"{name}.gradient.{key}"] = adapted[key].grad.clone()
    length = math.sqrt(sum(float(value.grad.pow(2).sum()) for value in adapted.values()))
    with torch.no_grad():
        def moved(step):
            for value in adapted.values():
                value.data += step * value.grad / length
            found = float(mean(losses(model)))
            for value in adapted.values():
                value.data -= step * value.grad / length
            return found
        slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
    assert abs(slope - length) < 1e-6 * length, (name, slope, length)
    print(f"{name}: loss {float(base and mean(base)):.6f} -> {float(loss):.6f}, |gradient| {length:.6f}, targets {targets}")
    return {key: torch.tensor(value.detach().numpy().astype(numpy.float32)) for key, value in tensors.items()}, config


def hugging_face(name, kind, offset=0, **changes):
    config = getattr(transformers, {"Gemma3": "Gemma3Text"}.get(kind, kind) + "Config")(**{**SHAPE, **changes}, attn_implementation="eager")
    model = getattr(transformers, kind + "ForCausalLM")(config)
    written = {key: value for key, value in config.to_dict().items() if key not in ("transformers_version", "dtype", "architectures")}
    return build(name, model, written, offset)


class Output:
    def __init__(self, logits):
        self.logits = logits


class Norm(nn.Module):
    """x / √(mean(x²) + ε) · w."""

    def __init__(self, width, epsilon):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(width)), epsilon

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


def causal(query, key, value, bias=None):
    """Softmax of q·k/√d (+ bias) over the keys up to each query; [heads, tokens, d]."""
    scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
    if bias is not None:
        scores = scores + bias
    hidden = torch.triu(torch.ones(scores.shape[-2:], dtype=torch.bool), 1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ value


def alibi_slopes(heads):
    """`_get_interleave`."""
    def power_of_2(count):
        start = 2 ** (-(2 ** -(math.log2(count) - 3)))
        return [start * start**i for i in range(count)]
    if math.log2(heads).is_integer():
        return power_of_2(heads)
    closest = 2 ** math.floor(math.log2(heads))
    return power_of_2(closest) + power_of_2(2 * closest)[0::2][: heads - closest]


class BaichuanAttention(nn.Module):
    def __init__(self, hidden, heads, alibi):
        super().__init__()
        self.W_pack, self.o_proj = nn.Linear(hidden, 3 * hidden, bias=False), nn.Linear(hidden, hidden, bias=False)
        self.heads, self.alibi = heads, alibi

    def forward(self, x):
        tokens, hidden = x.shape
        query, key, value = [part.view(tokens, self.heads, -1).transpose(0, 1) for part in self.W_pack(x).chunk(3, -1)]
        if self.alibi:
            # `_gen_alibi_mask`: slope times position of the key.
            bias = torch.tensor(alibi_slopes(self.heads), dtype=x.dtype)[:, None, None] * torch.arange(tokens, dtype=x.dtype)
        else:
            width = hidden // self.heads
            angles = torch.arange(tokens, dtype=x.dtype)[:, None] / 10000 ** (torch.arange(0, width, 2, dtype=x.dtype) / width)
            cos, sin = [torch.cat([f(angles)] * 2, -1) for f in (torch.cos, torch.sin)]
            half = lambda y: torch.cat([-y[..., width // 2 :], y[..., : width // 2]], -1)
            query, key, bias = query * cos + half(query) * sin, key * cos + half(key) * sin, None
        return self.o_proj(causal(query, key, value, bias).transpose(0, 1).reshape(tokens, hidden))


class BaichuanMlp(nn.Module):
    def __init__(self, hidden, wide):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(hidden, wide, bias=False), nn.Linear(hidden, wide, bias=False)
        self.down_proj = nn.Linear(wide, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class BaichuanLayer(nn.Module):
    def __init__(self, config, alibi):
        super().__init__()
        hidden, epsilon = config["hidden_size"], config["rms_norm_eps"]
        self.self_attn = BaichuanAttention(hidden, config["num_attention_heads"], alibi)
        self.mlp = BaichuanMlp(hidden, config["intermediate_size"])
        self.input_layernorm, self.post_attention_layernorm = Norm(hidden, epsilon), Norm(hidden, epsilon)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class BaichuanModel(nn.Module):
    def __init__(self, config, alibi):
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(BaichuanLayer(config, alibi) for _ in range(config["num_hidden_layers"]))
        self.norm = Norm(config["hidden_size"], config["rms_norm_eps"])

    def forward(self, ids):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class Baichuan(nn.Module):
    def __init__(self, config, alibi, normed_head):
        super().__init__()
        self.model, self.normed_head = BaichuanModel(config, alibi), normed_head
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)

    def forward(self, input_ids):
        # `NormHead`.
        head = nn.functional.normalize(self.lm_head.weight) if self.normed_head else self.lm_head.weight
        return Output((self.model(input_ids[0]) @ head.T)[None])


class GlmAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.groups, self.width = config["num_attention_heads"], config["multi_query_group_num"], config["kv_channels"]
        queries, keys = self.heads * self.width, self.groups * self.width
        self.parts = [queries, keys, keys]
        self.query_key_value = nn.Linear(config["hidden_size"], sum(self.parts), bias=config["add_qkv_bias"])
        self.dense = nn.Linear(queries, config["hidden_size"], bias=False)
        self.base = 10000 * config["rope_ratio"]

    def turned(self, x):
        """`apply_rotary_pos_emb`: neighbours turn, in the first half of a head."""
        width = self.width // 2
        angles = torch.arange(x.shape[1], dtype=x.dtype)[:, None] / self.base ** (torch.arange(0, width, 2, dtype=x.dtype) / width)
        pairs = x[..., :width].unflatten(-1, (-1, 2))
        cos, sin = torch.cos(angles), torch.sin(angles)
        turned = torch.stack([pairs[..., 0] * cos - pairs[..., 1] * sin, pairs[..., 1] * cos + pairs[..., 0] * sin], -1)
        return torch.cat([turned.flatten(-2), x[..., width:]], -1)

    def forward(self, x):
        tokens = x.shape[0]
        query, key, value = [part.view(tokens, -1, self.width).transpose(0, 1) for part in self.query_key_value(x).split(self.parts, -1)]
        repeat = self.heads // self.groups
        key, value = [part.repeat_interleave(repeat, 0) for part in (self.turned(key), value)]
        return self.dense(causal(self.turned(query), key, value).transpose(0, 1).reshape(tokens, -1))


class GlmMlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config["hidden_size"], 2 * config["ffn_hidden_size"], bias=False)
        self.dense_4h_to_h = nn.Linear(config["ffn_hidden_size"], config["hidden_size"], bias=False)

    def forward(self, x):
        gate, up = self.dense_h_to_4h(x).chunk(2, -1)
        return self.dense_4h_to_h(nn.functional.silu(gate) * up)


class GlmLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = [Norm(config["hidden_size"], config["layernorm_epsilon"]) for _ in range(2)]
        self.self_attention, self.mlp = GlmAttention(config), GlmMlp(config)

    def forward(self, x):
        x = x + self.self_attention(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class GlmEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layers = nn.ModuleList(GlmLayer(config) for _ in range(config["num_layers"]))
        self.final_layernorm = Norm(config["hidden_size"], config["layernorm_epsilon"])


class GlmEmbedding(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config["padded_vocab_size"], config["hidden_size"])


class GlmTransformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedding, self.encoder = GlmEmbedding(config), GlmEncoder(config)
        self.output_layer = nn.Linear(config["hidden_size"], config["padded_vocab_size"], bias=False)

    def forward(self, ids):
        x = self.embedding.word_embeddings(ids)
        for layer in self.encoder.layers:
            x = layer(x)
        return self.output_layer(self.encoder.final_layernorm(x))


class ChatGlm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.transformer = GlmTransformer(config)

    def forward(self, input_ids):
        return Output(self.transformer(input_ids[0])[None])


def filled(model):
    for key, value in model.named_parameters():
        value.data = weight(key, value.shape, 0)
    return model.double().eval()


def same(ours, theirs, renamed):
    """That two classes compute the same with the same numbers; `renamed` gives those of the second from the first's."""
    theirs.double().eval().load_state_dict(renamed(filled(ours).state_dict()))
    ids = torch.tensor([ROWS[2][0]])
    with torch.no_grad():
        assert torch.allclose(ours(ids).logits, theirs(ids).logits, rtol=1e-6, atol=1e-6)


def check_own_classes(baichuan, glm):
    def to_llama(state):
        parts = {}
        for key, value in state.items():
            if "W_pack" in key:
                parts |= {key.replace("W_pack", f"{part}_proj"): value for part, value in zip("qkv", value.chunk(3))}
            else:
                parts[key] = value
        return parts
    keys = {**SHAPE, "num_key_value_heads": SHAPE["num_attention_heads"], "tie_word_embeddings": False}
    same(Baichuan(baichuan, False, False), transformers.LlamaForCausalLM(transformers.LlamaConfig(**keys, attn_implementation="eager")), to_llama)

    def to_glm(state):
        parts, sizes = {}, GlmAttention(glm).parts
        for key, value in state.items():
            for ours, theirs in [("transformer.encoder.layers", "model.layers"), ("transformer.embedding.word_embeddings", "model.embed_tokens"),
                                 ("transformer.encoder.final_layernorm", "model.norm"), ("transformer.output_layer", "lm_head"),
                                 ("self_attention.dense", "self_attn.o_proj"), ("dense_h_to_4h", "gate_up_proj"), ("dense_4h_to_h", "down_proj")]:
                key = key.replace(ours, theirs)
            if "query_key_value" in key:
                parts |= {key.replace("self_attention.query_key_value", f"self_attn.{part}_proj"): value for part, value in zip("qkv", value.split(sizes))}
            else:
                parts[key] = value
        return parts
    keys = {**SHAPE, "head_dim": 8, "attention_bias": True, "tie_word_embeddings": False}
    same(ChatGlm(glm), transformers.GlmForCausalLM(transformers.GlmConfig(**keys, attn_implementation="eager")), to_glm)


def main():
    keep_float64()
    baichuan = {**SHAPE, "model_type": "baichuan", "num_hidden_layers": 2, "tie_word_embeddings": False}
    del baichuan["num_key_value_heads"]
    larger = {**baichuan, "model_max_length": 64, "num_attention_heads": 4}
    del larger["max_position_embeddings"]
    glm = dict(model_type="chatglm", hidden_size=16, num_layers=2, num_attention_heads=4, kv_channels=8, multi_query_attention=True,
               multi_query_group_num=2, ffn_hidden_size=24, padded_vocab_size=24, seq_length=64, layernorm_epsilon=1e-5, rmsnorm=True,
               post_layer_norm=True, add_bias_linear=False, add_qkv_bias=True, rope_ratio=1.0, tie_word_embeddings=False)
    check_own_classes({**baichuan, "num_hidden_layers": 4}, {**glm, "num_layers": 4})
    turned = dict(rope_parameters={"rope_type": "default", "rope_theta": 100.0})
    longrope = {"rope_type": "longrope", "rope_theta": 100.0, "short_factor": [1.0, 1.5], "long_factor": [2.0, 5.0],
                "original_max_position_embeddings": 10, "factor": 4.0}
    two = dict(num_hidden_layers=2)
    built = {
        "mistral": hugging_face("mistral", "Mistral", sliding_window=4, head_dim=8, tie_word_embeddings=False, **turned, **two),
        "smollm3": hugging_face("smollm3", "SmolLM3", no_rope_layers=[1, 0], tie_word_embeddings=True, **turned, **two),
        "qwen3": hugging_face("qwen3", "Qwen3", head_dim=8, tie_word_embeddings=True, **turned, **two),
        "phi3": hugging_face("phi3", "Phi3", sliding_window=6, tie_word_embeddings=False, original_max_position_embeddings=10,
                             rope_parameters=longrope, **two),
        "phi3.partial": hugging_face("phi3.partial", "Phi3", head_dim=8, tie_word_embeddings=False,
                                     rope_parameters={**turned["rope_parameters"], "partial_rotary_factor": 0.75}, **two),
        "gemma2": hugging_face("gemma2", "Gemma2", 1, head_dim=8, query_pre_attn_scalar=12, attn_logit_softcapping=2.0,
                               final_logit_softcapping=3.0, sliding_window=4, tie_word_embeddings=True, **turned, **two),
        "gemma3": hugging_face("gemma3", "Gemma3", 1, head_dim=8, query_pre_attn_scalar=10, sliding_window=4, tie_word_embeddings=True,
                               layer_types=["sliding_attention", "full_attention"],
                               rope_parameters={"sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
                                                "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000.0}}, **two),
        "baichuan": build("baichuan", Baichuan(baichuan, False, False), baichuan),
        "baichuan2": build("baichuan2", Baichuan(baichuan, False, True), {**baichuan, "z_loss_weight": 0}),
        "baichuan.13b": build("baichuan.13b", Baichuan(larger, True, False), larger),
        "chatglm": build("chatglm", ChatGlm(glm), glm),
        "glm": hugging_face("glm", "Glm", head_dim=8, attention_bias=True, tie_word_embeddings=False, **turned, **two),
        "glm4": hugging_face("glm4", "Glm4", head_dim=8, attention_bias=True, tie_word_embeddings=False, **turned, **two),
    }
    tensors = {key: value for found, _ in built.values() for key, value in found.items()}
    save_file(tensors, os.path.join(HERE, "families.safetensors"))
    with open(os.path.join(HERE, "families.json"), "w") as file:
        json.dump({name: config for name, (_, config) in built.items()}, file, indent=1, sort_keys=True)
        file.write("\n")


main()
