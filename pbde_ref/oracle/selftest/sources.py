"""Correct implementations as source text, and bugs planted in them by replacing a piece of it.

One text runs in NumPy, PyTorch and JAX: what differs between them is in the names that it is given. None of it uses the
oracle's own formulas, so a bug that the catalogue names has been written down twice, independently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pbde_ref.oracle.selftest.namespaces import namespace

__all__ = ["CORRECT", "Planted", "Subject", "build"]

_PAIR = "policy_chosen, policy_rejected"
_FOUR = f"{_PAIR}, reference_chosen, reference_rejected"

_MARGIN = """
    chosen = policy_chosen - detach(reference_chosen)
    rejected = policy_rejected - detach(reference_rejected)
"""

SOURCES = {
    "bradley_terry": """
def loss(chosen_rewards, rejected_rewards, *, margin=0.0):
    return reduce(-log_sigmoid(chosen_rewards - rejected_rewards - margin))
""",
    "bradley_terry per example": """
def loss(chosen_rewards, rejected_rewards, margin):
    return reduce(-log_sigmoid(chosen_rewards - rejected_rewards - margin))
""",
    "dpo": f"""
def loss({_FOUR}, *, beta, label_smoothing=0.0):{_MARGIN}
    m = beta * (chosen - rejected)
    return reduce(-(1 - label_smoothing) * log_sigmoid(m) - label_smoothing * log_sigmoid(-m))
""",
    "dpo robust": f"""
def loss({_FOUR}, *, beta, label_smoothing=0.0):{_MARGIN}
    m = beta * (chosen - rejected)
    each = -(1 - label_smoothing) * log_sigmoid(m) + label_smoothing * log_sigmoid(-m)
    return reduce(each / (1 - 2 * label_smoothing))
""",
    "dpo with rewards": f"""
def loss({_FOUR}, *, beta):{_MARGIN}
    chosen, rejected = beta * chosen, beta * rejected
    return reduce(-log_sigmoid(chosen - rejected)), detach(chosen), detach(rejected)
""",
    "dpo without reference": f"""
def loss({_PAIR}, *, beta):
    return reduce(-log_sigmoid(beta * (policy_chosen - policy_rejected)))
""",
    "dpo with gradients": f"""
def loss({_FOUR}, *, beta):
    m = beta * (policy_chosen - policy_rejected - (reference_chosen - reference_rejected))
    slope = -beta * exp(log_sigmoid(-m)) / len(m)
    into_policy = [slope, -slope]
    into_reference = [0 * slope, 0 * slope]
    names = ["policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected"]
    return reduce(-log_sigmoid(m)), dict(zip(names, into_policy + into_reference))
""",
    "pbde": f"""
def loss({_PAIR}, f_chosen, f_rejected, g_chosen, g_rejected):
    m = f_chosen * policy_chosen + g_chosen - (f_rejected * policy_rejected + g_rejected)
    return reduce(-log_sigmoid(m))
""",
    "length_normalized": f"""
def loss({_PAIR}, chosen_lengths, rejected_lengths, *, scale=1.0, margin=0.0):
    m = scale * (policy_chosen / chosen_lengths - policy_rejected / rejected_lengths)
    return reduce(-log_sigmoid(m - margin))
""",
    "geometric": f"""
def loss({_FOUR}, *, alpha):{_MARGIN}
    m = (chosen - rejected) / alpha + detach(reference_chosen - reference_rejected)
    return reduce(-log_sigmoid(m))
""",
    "ipo": f"""
def loss({_FOUR}, *, tau):{_MARGIN}
    return reduce((chosen - rejected - 1 / (2 * tau)) ** 2)
""",
    "ipo average": f"""
def loss({_FOUR}, chosen_lengths, rejected_lengths, *, tau):{_MARGIN}
    return reduce((chosen / chosen_lengths - rejected / rejected_lengths - 1 / (2 * tau)) ** 2)
""",
    "ipo given lengths": f"""
def loss({_FOUR}, chosen_lengths, rejected_lengths, *, tau):{_MARGIN}
    return reduce((chosen - rejected - 1 / (2 * tau)) ** 2)
""",
    "slic": f"""
def loss({_PAIR}, *, delta):
    return reduce(relu(delta - (policy_chosen - policy_rejected)))
""",
    "slic regularized": f"""
def loss({_PAIR}, regularization, *, delta, lambda_):
    return reduce(relu(delta - (policy_chosen - policy_rejected))) - lambda_ * reduce(regularization)
""",
    "rso": f"""
def loss({_FOUR}, *, delta):{_MARGIN}
    return reduce(relu(delta - (chosen - rejected)))
""",
    "hinge": f"""
def loss({_FOUR}, *, beta):{_MARGIN}
    return reduce(relu(1 - beta * (chosen - rejected)))
""",
    "rrhf": """
def loss(policy, lengths, scores, *, likelihood_weight=1.0):
    p = policy / lengths
    preferred = scores[:, :, None] > scores[:, None, :]
    ranking = where(preferred, relu(p[:, None, :] - p[:, :, None]), 0 * p[:, :, None]).sum(-1).sum(-1)
    best = where(scores == row_max(scores), policy, 0 * policy).sum(-1)
    return reduce(ranking - likelihood_weight * best)
""",
    "mixture": f"""
def loss({_PAIR}, weight_logits):
    log_wins = log_sigmoid(policy_chosen - policy_rejected)
    return reduce(-logsumexp(log_softmax(weight_logits) + log_wins))
""",
    "sequence_log_probs": """
def loss(logits, labels, attention_mask, prompt_lengths):
    mask = (positions(labels) >= prompt_lengths[:, None]) & (attention_mask != 0)
    tokens = gather(log_softmax(logits[:, :-1]), labels[:, 1:])
    counted = mask[:, 1:]
    return where(counted, tokens, zeros_like(tokens)).sum(-1)
""",
    "sequence_log_probs mean": """
def loss(logits, labels, attention_mask, prompt_lengths):
    mask = (positions(labels) >= prompt_lengths[:, None]) & (attention_mask != 0)
    tokens = gather(log_softmax(logits[:, :-1]), labels[:, 1:])
    counted = mask[:, 1:]
    return where(counted, tokens, zeros_like(tokens)).sum(-1) / at_least_one(counted.sum(-1))
""",
    "sequence_log_probs by mask": """
def loss(logits, labels, mask):
    tokens = gather(log_softmax(logits[:, :-1]), labels[:, 1:])
    counted = mask[:, 1:]
    return where(counted, tokens, zeros_like(tokens)).sum(-1)
""",
    "sequence_log_probs by labels": """
def loss(logits, labels):
    tokens = gather(log_softmax(logits[:, :-1]), where(labels == -100, 0 * labels, labels)[:, 1:])
    counted = (labels != -100)[:, 1:]
    return where(counted, tokens, zeros_like(tokens)).sum(-1)
""",
    "sequence_log_probs mean by mask": """
def loss(logits, labels, mask):
    tokens = gather(log_softmax(logits[:, :-1]), labels[:, 1:])
    counted = mask[:, 1:]
    return where(counted, tokens, zeros_like(tokens)).sum(-1) / at_least_one(counted.sum(-1))
""",
    "sequence_log_probs mean by weights": """
def loss(logits, labels):
    counted = (labels != -100)[:, 1:]
    tokens = gather(log_softmax(logits[:, :-1]), where(counted, labels[:, 1:], 0 * labels[:, 1:]))
    return where(counted, tokens / at_least_one(counted.sum(-1))[:, None], zeros_like(tokens)).sum(-1)
""",
    "sequence_log_probs rolled": """
def loss(logits, labels, mask):
    tokens = gather(log_softmax(logits), rolled(labels))
    counted = (rolled(mask) != 0) & (positions(labels) < labels.shape[1] - 1)
    return where(counted, tokens, zeros_like(tokens)).sum(-1)
""",
    "sequence_log_probs by difference": """
def loss(logits, labels, mask):
    logits = logits[:, :-1]
    tokens = gather(logits, labels[:, 1:]) - logsumexp(logits)
    return where(mask[:, 1:] != 0, tokens, zeros_like(tokens)).sum(-1)
""",
    "sequence_log_probs row by row": """
def loss(logits, labels, mask):
    rows = []
    for row in range(len(labels)):
        tokens = gather(log_softmax(logits[row, :-1]), labels[row, 1:])
        rows.append(where(mask[row, 1:] != 0, tokens, zeros_like(tokens)).sum())
    return stack(rows)
""",
    "sequence_log_probs of clean logits": """
def loss(logits, labels, mask):
    counted = (mask != 0)[:, 1:]
    tokens = gather(log_softmax(where(counted[..., None], logits[:, :-1], 0 * labels[:, 1:, None])), labels[:, 1:])
    return where(counted, tokens, zeros_like(tokens)).sum(-1)
""",
    "sequence_log_probs hot": """
def loss(logits, labels, mask, temperature=1.0):
    tokens = gather(log_softmax(logits[:, :-1] / temperature), labels[:, 1:])
    return where(mask[:, 1:] != 0, tokens, zeros_like(tokens)).sum(-1)
""",
    "sequence_rewards": """
def loss(scores, mask):
    last = mask.shape[1] - 1 - first_of_row(flipped(mask) != 0)
    return gather(scores[:, None, :], last[:, None])[:, 0]
""",
    "sequence_rewards by positions": """
def loss(scores, mask):
    last = row_max(where(mask != 0, positions(mask), 0 * positions(mask)))
    return where(positions(mask) == last, scores, zeros_like(scores)).sum(-1)
""",
    "sequence_rewards row by row": """
def loss(scores, mask):
    rows = []
    for row in range(len(scores)):
        rows.append(scores[row, max(t for t in range(mask.shape[1]) if mask[row, t])])
    return stack(rows)
""",
    "sequence_log_probs not shifted": """
def loss(logits, labels, mask):
    tokens = gather(log_softmax(logits), labels)
    return where(mask, tokens, zeros_like(tokens)).sum(-1)
""",
}


# What trainers have and the paper does not: hyperparameters beside β, and each pair's loss.
_OF_RATIOS = {
    "exo": ("epsilon", "exp(log_sigmoid(m)) * (log_sigmoid(m) - log(1 - epsilon + 0 * m))"
                       " + exp(log_sigmoid(-m)) * (log_sigmoid(-m) - log(epsilon + 0 * m))"),
    "discopop": ("discopop_tau", "-exp(log_sigmoid(-m / discopop_tau)) * log_sigmoid(m)"
                                 " + exp(log_sigmoid(m / discopop_tau) - m)"),
    "odpo": ("offset", "-log_sigmoid(m - offset)"),
    "f_dpo": ("", "-log_sigmoid(beta * (exp(-rejected) - exp(-chosen)))"),
    "squared_po": ("", "-log_sigmoid(beta * (chosen * exp(-chosen) - rejected * exp(-rejected)))"),
    "chi_po": ("", "-log_sigmoid(beta * (exp(chosen) + chosen - exp(rejected) - rejected))"),
    "clipped_chi_po": ("bound", "-log_sigmoid(clip(beta * (exp(chosen) + chosen - exp(rejected) - rejected),"
                                  " -bound, bound))"),
    "nca": ("", "-log_sigmoid(beta * chosen) - 0.5 * (log_sigmoid(-beta * chosen) + log_sigmoid(-beta * rejected))"),
    "bco": ("baseline=0.0", "-log_sigmoid(beta * (chosen - baseline)) - log_sigmoid(beta * (baseline - rejected))"),
    "sppo": ("", "(chosen - 0.5 / beta) ** 2 + (rejected + 0.5 / beta) ** 2"),
    "apo_zero": ("", "exp(log_sigmoid(-beta * chosen)) + exp(log_sigmoid(beta * rejected))"),
    "apo_down": ("", "exp(log_sigmoid(beta * chosen)) + exp(log_sigmoid(-m))"),
    "cal_dpo": ("", "-log_sigmoid(chosen - rejected) + (chosen - 0.5 / beta) ** 2 + (rejected + 0.5 / beta) ** 2"),
    "dpop": ("penalty", "-log_sigmoid(m - beta * penalty * relu(-chosen))"),
    "bpo": ("balance=0.5", "-log_sigmoid(where(chosen <= -balance * rejected, beta * chosen,"
                           " -balance * beta * rejected))"),
    "rpo": ("likelihood_weight=1.0", "-log_sigmoid(m) - likelihood_weight * policy_chosen"),
}
_TIED = {
    "rao_kupper": ("threshold", "-log_sigmoid(m - threshold)",
                   "-log_sigmoid(-m - threshold) - log(exp(2 * threshold + 0 * m) - 1)"),
    "davidson": ("tendency", "-log_sigmoid(-logsumexp(stack([-m, log(2 * tendency + 0 * m) - m / 2], -1)))",
                 "m / 2 - log(2 * tendency + 0 * m)"),
}
SOURCES |= {
    name: f"""
def loss({_FOUR}, ties, *, beta, {own}):{_MARGIN}
    m = beta * (chosen - rejected)
    tied = {tied}
    return reduce({decided} + where(ties != 0, tied, 0 * m))
"""
    for name, (own, decided, tied) in _TIED.items()
} | {
    name: f"""
def loss({_FOUR}, *, beta{', ' * bool(own)}{own}):{_MARGIN}
    m = beta * (chosen - rejected)
    return reduce({each})
"""
    for name, (own, each) in _OF_RATIOS.items()
} | {
    "centred_reward": """
def loss(chosen_rewards, rejected_rewards, *, coefficient):
    each = -log_sigmoid(chosen_rewards - rejected_rewards)
    return reduce(each + coefficient * (chosen_rewards + rejected_rewards) ** 2)
""",
    "odpo per example": f"""
def loss({_FOUR}, offsets, *, beta):{_MARGIN}
    m = beta * (chosen - rejected)
    return reduce(-log_sigmoid(m - offsets))
""",
    "soft_dpo": f"""
def loss({_FOUR}, labels, *, beta):{_MARGIN}
    m = beta * (chosen - rejected)
    return reduce(-labels * log_sigmoid(m) - (1 - labels) * log_sigmoid(-m))
""",
    "ld_dpo": """
def loss(policy_chosen, policy_rejected, policy_chosen_excess, policy_rejected_excess,
         reference_chosen, reference_rejected, reference_chosen_excess, reference_rejected_excess, *, beta, share):
    chosen = policy_chosen - detach(reference_chosen)
    rejected = policy_rejected - detach(reference_rejected)
    m = chosen - rejected
    beyond = policy_chosen_excess - detach(reference_chosen_excess)
    beyond = beyond - (policy_rejected_excess - detach(reference_rejected_excess))
    return reduce(-log_sigmoid(beta * (m + share * beyond)))
""",
    "alphapo": f"""
def loss({_PAIR}, chosen_lengths, rejected_lengths, *, beta, alpha, margin=0.0):
    chosen = (1 - exp(-alpha * policy_chosen / chosen_lengths)) / alpha
    rejected = (1 - exp(-alpha * policy_rejected / rejected_lengths)) / alpha
    m = beta * (chosen - rejected)
    return reduce(-log_sigmoid(m - margin))
""",
    "orpo": f"""
def loss({_PAIR}, chosen_lengths, rejected_lengths, *, beta, likelihood_weight=1.0):
    chosen, rejected = policy_chosen / chosen_lengths, policy_rejected / rejected_lengths
    m = chosen - rejected - (log_lost(chosen) - log_lost(rejected))
    return reduce(-beta * log_sigmoid(m) - likelihood_weight * chosen)
""",
    "wpo": f"""
def loss({_FOUR}, chosen_lengths, rejected_lengths, *, beta):{_MARGIN}
    m = beta * (chosen - rejected)
    weight = exp(detach(policy_chosen / chosen_lengths + policy_rejected / rejected_lengths))
    return reduce(-weight * log_sigmoid(m))
""",
    "aot": f"""
def loss({_FOUR}, *, beta):
    m = ascending(policy_chosen - policy_rejected) - ascending(detach(reference_chosen - reference_rejected))
    return reduce(-log_sigmoid(beta * m))
""",
    "aot_unpaired": f"""
def loss({_FOUR}, *, beta):{_MARGIN}
    m = ascending(chosen) - ascending(rejected)
    return reduce(-log_sigmoid(beta * m))
""",
    "ln_dpo": f"""
def loss({_FOUR}, chosen_lengths, rejected_lengths, *, beta):{_MARGIN}
    return reduce(-log_sigmoid(beta * (chosen / chosen_lengths - rejected / rejected_lengths)))
""",
    "cpo": f"""
def loss({_PAIR}, *, beta, likelihood_weight=1.0):
    return reduce(-log_sigmoid(beta * (policy_chosen - policy_rejected)) - likelihood_weight * policy_chosen)
""",
    "kto": """
def loss(policy, reference, desirable, *, beta, baseline=0.0, desirable_weight=1.0, undesirable_weight=1.0):
    m = beta * (policy - detach(reference) - baseline)
    good, bad = exp(log_sigmoid(-m)), exp(log_sigmoid(m))
    return reduce(where(desirable != 0, desirable_weight * good, undesirable_weight * bad))
""",
    "bco_single": """
def loss(policy, reference, desirable, *, beta, baseline=0.0, desirable_weight=1.0, undesirable_weight=1.0):
    m = beta * (policy - detach(reference) - baseline)
    return reduce(-where(desirable != 0, desirable_weight * log_sigmoid(m), undesirable_weight * log_sigmoid(-m)))
""",
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A correct implementation and what is declared of it."""

    source: str
    loss: str
    conventions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Planted:
    """A bug: a piece of the source text and what stands there instead.

    `bug` is its name in the catalogue or among the conventions; empty for one that neither has. `frameworks` are those
    that can show it: a plain NumPy function has no gradient to be wrong, and JAX arrays cannot be assigned to.
    """

    bug: str
    subject: Subject
    old: str
    new: str
    frameworks: tuple[str, ...] = ("numpy", "torch", "jax")


def build(
    subject: Subject, framework: str, old: str = "", new: str = "", reduction: str | None = None
) -> Callable[..., Any]:
    """The function of a source text in a framework, with a piece of it replaced.

    Examples
    --------
    >>> import numpy as np
    >>> slic = build(Subject("slic", "slic"), "numpy")
    >>> float(slic(np.array([-1.0]), np.array([-1.5]), delta=1.0))
    0.5
    """
    text = SOURCES[subject.source]
    if old not in text:
        raise ValueError(f"`old` must stand in the source of {subject.source!r}; got {old!r}")
    names = namespace(framework, reduction or subject.conventions.get("reduction", "mean"))
    exec(compile(text.replace(old, new) if old else text, f"<{subject.source}>", "exec"), names)
    function: Callable[..., Any] = names["loss"]
    return function


_DPO = {"beta": 0.3, "label_smoothing": 0.1}
_LENGTHS = {"layout": "lengths"}

CORRECT: tuple[Subject, ...] = (
    Subject("bradley_terry", "bradley_terry"),
    Subject("bradley_terry", "bradley_terry", {"margin": 0.4}),
    Subject("bradley_terry per example", "bradley_terry", {"margin": "per_example"}),
    Subject("dpo", "dpo", {"beta": 0.1}),
    Subject("dpo", "dpo", _DPO),
    Subject("dpo robust", "dpo", {**_DPO, "variant": "robust"}),
    Subject("dpo", "dpo", {"beta": 2.5, "label_smoothing": 0.2}),
    Subject("dpo with rewards", "dpo", {"beta": 0.3}),
    Subject("dpo without reference", "dpo", {"beta": 0.3, "reference_free": True}),
    Subject("pbde", "pbde"),
    Subject("length_normalized", "length_normalized"),
    Subject("length_normalized", "length_normalized", {"scale": 2.0, "margin": 0.5}),
    Subject("geometric", "geometric", {"alpha": 0.7}),
    Subject("ipo", "ipo", {"tau": 0.1}),
    Subject("ipo given lengths", "ipo", {"tau": 0.1}),
    Subject("ipo average", "ipo", {"tau": 0.1, "average": True}),
    Subject("slic", "slic", {"delta": 1.0}),
    Subject("slic regularized", "slic", {"delta": 1.0, "lambda_": 0.5}),
    Subject("rso", "rso", {"delta": 1.0}),
    Subject("hinge", "hinge", {"beta": 0.1}),
    Subject("rrhf", "rrhf"),
    Subject("rrhf", "rrhf", {"likelihood_weight": 0.5}),
    Subject("mixture", "mixture"),
    Subject("centred_reward", "centred_reward", {"coefficient": 0.1}),
    Subject("exo", "exo", {"beta": 0.3, "epsilon": 0.1}),
    Subject("discopop", "discopop", {"beta": 0.3, "discopop_tau": 0.3}),
    Subject("odpo", "odpo", {"beta": 0.3, "offset": 0.4}),
    Subject("odpo per example", "odpo", {"beta": 0.3, "offset": "per_example"}),
    Subject("dpop", "dpop", {"beta": 0.3, "penalty": 2.0}),
    Subject("clipped_chi_po", "clipped_chi_po", {"beta": 0.3, "bound": 1.6}),
    Subject("alphapo", "alphapo", {"beta": 0.3, "alpha": 0.3, "margin": 0.4}),
    Subject("ld_dpo", "ld_dpo", {"beta": 0.3, "share": 0.4}),
    Subject("rao_kupper", "rao_kupper", {"beta": 0.3, "threshold": 0.4}),
    Subject("davidson", "davidson", {"beta": 0.3, "tendency": 0.4}),
    *(Subject(name, name, {"beta": 0.3}) for name in (
        "chi_po", "nca", "bco", "sppo", "apo_zero", "apo_down", "cal_dpo", "bpo", "rpo", "ln_dpo", "cpo", "kto",
        "bco_single", "soft_dpo", "f_dpo", "squared_po", "orpo", "wpo", "aot", "aot_unpaired",
    )),
    Subject("sequence_log_probs", "sequence_log_probs", _LENGTHS),
    Subject("sequence_log_probs mean", "sequence_log_probs", {**_LENGTHS, "average": True}),
    Subject("sequence_log_probs by mask", "sequence_log_probs", {"layout": "mask"}),
    Subject("sequence_log_probs by labels", "sequence_log_probs", {"layout": "labels"}),
    Subject("sequence_log_probs not shifted", "sequence_log_probs", {"layout": "mask", "shift": False}),
    Subject("sequence_log_probs mean by mask", "sequence_log_probs", {"average": True}),
    Subject("sequence_log_probs mean by weights", "sequence_log_probs", {"layout": "labels", "average": True}),
    Subject("sequence_log_probs rolled", "sequence_log_probs"),
    Subject("sequence_log_probs by difference", "sequence_log_probs"),
    Subject("sequence_log_probs row by row", "sequence_log_probs"),
    Subject("sequence_log_probs of clean logits", "sequence_log_probs"),
    Subject("sequence_log_probs hot", "sequence_log_probs"),
    Subject("sequence_log_probs hot", "sequence_log_probs", {"temperature": 0.6}),
    Subject("sequence_rewards", "sequence_rewards"),
    Subject("sequence_rewards by positions", "sequence_rewards"),
    Subject("sequence_rewards row by row", "sequence_rewards"),
)
