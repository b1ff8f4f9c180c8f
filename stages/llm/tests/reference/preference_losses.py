"""Values and slopes of preference losses by TRL: preference_losses.py > preference-losses.json (pinned beside it).

Runs the loss code of TRL's own trainers (DPOTrainer, KTOTrainer, ORPOTrainer, CPOTrainer with loss_type simpo) on given log-probabilities of
answers, without a model: a stand-in returns them per token, and autograd gives the slopes. TRL has no label smoothing for its `sigmoid` loss any
more; for DPO it is that of CPOTrainer's `sigmoid` loss over the differences to the reference, which is the same formula (cDPO). ORPO's likelihood
of the chosen answers is taken over the answer's tokens (as in the paper), where ORPOTrainer takes the prompt's as well.
"""
import json
from types import SimpleNamespace

import torch
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

BETA, GAMMA, UNDESIRABLE = 0.3, 0.5, 1.5
# Sum of ln p, tokens, sum of ln p under the reference: of the chosen and of the rejected answer.
PAIRS = [((-3.0, 4, -4.0), (-9.0, 7, -7.5)), ((-8.0, 5, -6.5), (-2.5, 3, -6.0)), ((-0.5, 2, -1.0), (-30.0, 9, -12.0)), ((-12.0, 6, -12.0), (-12.0, 6, -12.0))]


class Anything:
    """Answers whatever a trainer asks its surroundings for beside the loss."""

    def __getattr__(self, name):
        return Anything()

    def __call__(self, *args, **kwargs):
        return args[0] if args else Anything()


class Accelerator(Anything):
    device = torch.device("cpu")

    def gather(self, value):
        return value

    gather_for_metrics = gather


def surroundings(**more):
    metrics = {mode: __import__("collections").defaultdict(list) for mode in ("train", "eval")}
    return SimpleNamespace(model=SimpleNamespace(training=True), accelerator=Accelerator(), _metrics=metrics, beta=BETA, aux_loss_enabled=False, _total_train_tokens=0, _tp_size=1, **more)


def outputs(per_token):
    return SimpleNamespace(log_probs=per_token, entropy=torch.zeros_like(per_token), mean_logits=torch.zeros_like(per_token), is_top1=torch.zeros_like(per_token, dtype=torch.bool))


def spread(sums, counts):
    """Each sum over the first so many of a row of tokens, as a leaf."""
    width = max(counts)
    mask = torch.tensor([[1] * count + [0] * (width - count) for count in counts])
    per_token = (mask * (torch.tensor(sums) / torch.tensor(counts))[:, None]).double().requires_grad_()
    # The prompt's one token comes first in the mask.
    return per_token, torch.cat([torch.zeros(len(counts), 1, dtype=torch.long), mask], 1)


def dpo(kind):
    answers = [pair[side] for side in (0, 1) for pair in PAIRS]
    values = []
    for place in range(len(PAIRS)):
        pair = [answers[place], answers[place + len(PAIRS)]]
        per_token, mask = spread([a[0] for a in pair], [a[1] for a in pair])
        trainer = surroundings(ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_types=[kind], loss_weights=[1.0], use_weighting=False)
        inputs = dict(input_ids=torch.zeros_like(mask), attention_mask=torch.ones_like(mask), completion_mask=mask, ref_chosen_logps=torch.tensor([pair[0][2]]).double(), ref_rejected_logps=torch.tensor([pair[1][2]]).double())
        loss = DPOTrainer._compute_loss(trainer, lambda **kw: outputs(per_token), inputs, False)
        loss.backward()
        values.append((loss.item(), [per_token.grad[side, 0].item() for side in (0, 1)]))
    return values


def sums_of(function, smoothing):
    values = []
    for chosen, rejected in PAIRS:
        leaves = [torch.tensor([float(answer[0])]).double().requires_grad_() for answer in (chosen, rejected)]
        loss = function(leaves, chosen, rejected, smoothing).sum()
        loss.backward()
        values.append((loss.item(), [leaf.grad.item() for leaf in leaves]))
    return values


def cdpo(leaves, chosen, rejected, smoothing):
    trainer = surroundings(loss_type="sigmoid", alpha=0.0, label_smoothing=smoothing)
    return CPOTrainer.cpo_loss(trainer, leaves[0] - chosen[2], leaves[1] - rejected[2])[0]


def simpo(leaves, chosen, rejected, smoothing):
    trainer = surroundings(loss_type="simpo", alpha=0.0, label_smoothing=smoothing, simpo_gamma=GAMMA)
    return CPOTrainer.cpo_loss(trainer, leaves[0] / chosen[1], leaves[1] / rejected[1])[0]


def orpo(leaves, chosen, rejected, _):
    torch.set_default_dtype(torch.float64)
    means = [leaves[0] / chosen[1], leaves[1] / rejected[1]]
    ratio = ORPOTrainer.odds_ratio_loss(surroundings(), *means)[0]
    torch.set_default_dtype(torch.float32)
    return -means[0] - ratio


def kto(divergence):
    """One batch of all answers, the desired ones first; the mismatched ones are made to differ by `divergence` on average."""
    answers = [(pair[side], side == 0) for side in (0, 1) for pair in PAIRS]
    per_token, mask = spread([a[0] for a, _ in answers], [a[1] for a, _ in answers])
    apart, mask_apart = spread([divergence] * len(answers), [1] * len(answers))
    trainer = surroundings(calculate_KL=True, precompute_ref_logps=True, loss_type="kto", desirable_weight=1.0, undesirable_weight=UNDESIRABLE)
    trainer._compute_kl_logps = lambda model, batch: apart.sum(1).detach()
    batch = dict(input_ids=torch.zeros_like(mask), attention_mask=torch.ones_like(mask), completion_mask=mask, label=torch.tensor([desired for _, desired in answers]), ref_logps=torch.tensor([a[2] for a, _ in answers]).double(), ref_KL_logps=torch.zeros(len(answers)).double())
    loss = KTOTrainer._compute_loss(trainer, lambda **kw: outputs(per_token), batch, False)
    loss.backward()
    return {"divergence": divergence, "loss": loss.item(), "slopes": [per_token.grad[row, 0].item() for row in range(len(answers))]}


settings = {"beta": BETA, "gamma": GAMMA, "undesirable_weight": UNDESIRABLE, "pairs": PAIRS}
losses = {
    "dpo": {"0": dpo("sigmoid"), "0.2": sums_of(cdpo, 0.2)},
    "ipo": {"0": dpo("ipo")},
    "simpo": {"0": sums_of(simpo, 0.0), "0.2": sums_of(simpo, 0.2)},
    "orpo": {"0": sums_of(orpo, 0.0)},
}
print(json.dumps({**settings, "losses": losses, "kto": [kto(0.8), kto(-0.5)]}))
