"""TRL's losses on preferences, as its trainers' methods in the installed package compute them.

Each method is called on a stand-in for the trainer that has the attributes which the method reads. For DPO and KTO a
stand-in for the model returns the log-probabilities that the oracle asks for: a sequence's whole log-probability on its
first completion token, zero on the others, so that their sum is exact.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import torch
from recipe import Declaration, main, varied
from torch import nn
from trl import DPOTrainer, KTOTrainer, RewardTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.trainer.utils import add_fused_lm_head

AROUND = SimpleNamespace(
    device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
)  # the part of an accelerator that is read


def outputs(log_probs):
    """What TRL's fused head returns, for sequences whose first token is the prompt."""
    nothing = torch.zeros_like(log_probs)
    return SimpleNamespace(log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(),
                           log_sum_sq_probs=nothing)  # fmt: skip


def batch_of(lengths):
    """A prompt of one token and completions of these lengths, as TRL's collators have them."""
    width = int(lengths.max())
    completion = (torch.arange(width + 1) >= 1) & (torch.arange(width + 1) <= lengths[:, None])
    return {
        "input_ids": torch.zeros(len(lengths), width + 1, dtype=torch.long),
        "attention_mask": completion.long(), "completion_mask": completion.long(),
    }  # fmt: skip


def on_first(log_probs, width):
    """Log-probabilities of tokens."""
    return torch.nn.functional.pad(log_probs[:, None], (0, width - 1))


def even(log_probs, width):
    """Halves on the first two tokens of sequences that have two, all on the first of the others."""
    return torch.nn.functional.pad(log_probs, (0, width - log_probs.shape[1]))


def trainer_of(**settings):
    """What the methods of TRL's trainers read."""
    model = SimpleNamespace(training=False, is_gradient_checkpointing=False)
    args = SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=settings.pop("discopop_tau", 0.05),
                           center_rewards_coefficient=settings.pop("coefficient", None))  # fmt: skip
    own = {"label_smoothing": 0.0, "f_divergence_type": "reverse_kl", "ld_alpha": None, "precompute_ref_logps": False,
           "aux_loss_enabled": False, "use_weighting": False, "_tp_size": 1, "_total_train_tokens": 0}  # fmt: skip
    metrics = defaultdict(lambda: defaultdict(list))
    return SimpleNamespace(model=model, args=args, _metrics=metrics, accelerator=AROUND, **{**own, **settings})


def compute_loss(loss_types, policy, reference, lengths, spread=on_first, loss_weights=None, **settings):
    """DPO's method; `policy` and `reference` are the chosen and the rejected sequences' log-probabilities."""
    policy, reference, lengths = torch.cat(policy), torch.cat(reference), torch.cat(lengths)
    loss_types = [loss_types] if isinstance(loss_types, str) else loss_types
    inputs, width = batch_of(lengths), int(lengths.max())
    trainer = trainer_of(
        ref_model=lambda **_: outputs(spread(reference, width)), loss_types=loss_types,
        loss_weights=loss_weights or [1.0] * len(loss_types), **settings,
    )  # fmt: skip
    return DPOTrainer._compute_loss(trainer, lambda **_: outputs(spread(policy, width)), inputs, False)


def dpo(loss_types, *names, **bound):
    """Loss types as a function of four vectors, or of six with lengths, and of the hyperparameters `names`."""

    @varied("beta", *names)
    def loss(*arrays, **given):
        lengths = arrays[4:] or (torch.full(arrays[0].shape, 3), torch.full(arrays[0].shape, 2))
        return compute_loss(loss_types, arrays[:2], arrays[2:4], lengths, **bound, **given)

    loss.__name__ = f"trl_{loss_types if isinstance(loss_types, str) else '_'.join(loss_types)}"
    return loss


def trl_ipo(
    policy_chosen, policy_rejected, reference_chosen, reference_rejected, chosen_lengths, rejected_lengths, beta
):
    """IPO, with the sequences' lengths."""
    return compute_loss("ipo", (policy_chosen, policy_rejected), (reference_chosen, reference_rejected),
                        (chosen_lengths, rejected_lengths), beta=beta)  # fmt: skip


@varied("beta", "likelihood_weight")
def trl_rpo(*arrays, beta, likelihood_weight):
    """DPO and the likelihood of the chosen answer."""
    lengths = arrays[4:] or (torch.ones(arrays[0].shape, dtype=torch.long),) * 2
    return compute_loss(["sigmoid", "sft"], arrays[:2], arrays[2:4], lengths, loss_weights=[1.0, likelihood_weight],
                        beta=beta)  # fmt: skip


def trl_hinge(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
    """The hinge loss at one beta."""
    return dpo("hinge")(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.25)


def desensitised(longer):
    """LD-DPO: answers of two tokens that share their log-probability, against answers of one."""

    @varied()
    def loss(*arrays):
        pairs = [(x / 2, x / 2) if i % 2 == longer else (x, 0 * x) for i, x in enumerate(arrays)]
        tokens = [torch.stack(pair, dim=1) for pair in pairs]
        lengths = [torch.full(arrays[0].shape, 1 + (i == longer)) for i in (0, 1)]
        return compute_loss("sigmoid", tokens[:2], tokens[2:], lengths, even, beta=0.3, ld_alpha=0.4)

    return loss


def kto(loss_type, *names):
    """A loss type of single answers; the divergence that the trainer estimates is `baseline`."""

    @varied("beta", *names)
    def loss(policy, reference, desirable, beta, baseline=0.0, **given):
        policy_model = lambda **_: outputs(on_first(policy, 2))  # noqa: E731
        divergence = lambda model, _: torch.tensor([baseline * (model is policy_model)])  # noqa: E731
        weights = {"desirable_weight": 1.0, "undesirable_weight": 1.0, **given}
        trainer = trainer_of(
            ref_model=lambda **_: outputs(on_first(reference, 2)), loss_type=loss_type, beta=beta,
            calculate_KL=loss_type == "kto", _compute_kl_logps=divergence, **weights,
        )  # fmt: skip
        inputs = {**batch_of(torch.full(policy.shape, 2)), "label": desirable}
        return KTOTrainer._compute_loss(trainer, policy_model, inputs, False)

    loss.__name__ = f"trl_{loss_type}"
    return loss


def reward(*names):
    """The reward trainer's loss, with a third vector as each pair's margin."""

    @varied(*names)
    def loss(*arrays, **given):
        inputs = {"margin": arrays[2]} if arrays[2:] else {}
        model = lambda **_: SimpleNamespace(logits=torch.cat(arrays[:2])[:, None])  # noqa: E731
        return RewardTrainer.compute_loss(trainer_of(**given), model, inputs)

    return loss


def cpo(loss_type, *names, per_token=False, **bound):
    """`cpo_loss`, which leaves the likelihood of the chosen answer to its caller."""

    @varied("beta", *names)
    def loss(chosen, rejected, *lengths, **given):
        if per_token:
            chosen, rejected = chosen / lengths[0], rejected / lengths[1]
        settings = {"alpha": 0.0, "simpo_gamma": 0.0, **bound, **given}
        return CPOTrainer.cpo_loss(trainer_of(loss_type=loss_type, **settings), chosen, rejected)[0]

    loss.__name__ = f"trl_cpo_{loss_type}"
    return loss


@varied("beta")
def trl_orpo(chosen, rejected, chosen_lengths, rejected_lengths, beta):
    """`odds_ratio_loss`, which returns what its caller subtracts."""
    return -ORPOTrainer.odds_ratio_loss(
        trainer_of(beta=beta), chosen / chosen_lengths, rejected / rejected_lengths
    )[0]  # fmt: skip


class Head(nn.Module):
    """A causal language model whose hidden states are the logits: all that is left is TRL's head."""

    def __init__(self, vocabulary, dtype):
        super().__init__()
        self.head = nn.Linear(vocabulary, vocabulary, bias=False, dtype=dtype)
        self.head.weight.data.copy_(torch.eye(vocabulary))
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(output_router_logits=False))

    def base_model(self, hidden, **_):
        """The backbone."""
        return SimpleNamespace(last_hidden_state=hidden, past_key_values=None, hidden_states=None, attentions=None)

    def get_output_embeddings(self):
        """As in transformers."""
        return self.head

    def forward(self, hidden):
        """The ordinary way."""
        return self.head(hidden)


def trl_fused_head(logits, labels):
    """TRL's fused head: log-probabilities of sequences from labels with -100 and hidden states, which are finite."""
    model = Head(logits.shape[-1], logits.dtype)
    add_fused_lm_head(model)
    return model(logits.clamp(min=-1e30), labels=labels, fused_lm_head=True).log_probs.sum(dim=1)


def trl_cpo_head(average):
    """CPO's log-probabilities of sequences; ORPO has the same method."""
    return lambda logits, labels: CPOTrainer.get_batch_logps(logits, labels, average)


def softplus(x):
    """The loss of a margin of -x."""
    return np.logaddexp(0.0, x)


BETA, NONE, SINGLE = {"beta": 0.3}, {"reduction": "none"}, {"dtype": "float32"}
SMOOTHED, WEIGHTS = {**BETA, "label_smoothing": 0.1}, {"desirable_weight": 1.3, "undesirable_weight": 0.7}
IN_FLOAT32 = "it takes no float64"

DECLARATIONS = [
    Declaration("sigmoid", dpo("sigmoid"), "dpo", BETA),
    Declaration("robust", dpo("robust", "label_smoothing"), "dpo", {**SMOOTHED, "variant": "robust"}),
    Declaration("sigmoid", dpo("sigmoid", "label_smoothing"), "dpo", SMOOTHED,
                "as if label smoothing meant cDPO; TRL documents it for robust and exo_pair only"),
    Declaration("hinge", dpo("hinge"), "hinge", BETA),
    Declaration("hinge", trl_hinge, "rso", {"delta": 4.0}, "beta = 1/4, as if it were Eq. (21)"),
    Declaration("ipo", trl_ipo, "ipo", {"tau": 0.3, "average": True}, "as TRL documents it"),
    Declaration("ipo", trl_ipo, "ipo", {"tau": 0.3, "average": False}, "as in Eq. (23)"),
    Declaration("exo_pair", dpo("exo_pair", "label_smoothing"), "exo", {**BETA, "epsilon": 0.1}),
    Declaration("exo_pair", dpo("exo_pair", "label_smoothing"), "exo", {**BETA, "epsilon": 0.1, **SINGLE}),
    Declaration("nca_pair", dpo("nca_pair"), "nca", BETA),
    Declaration("bco_pair", dpo("bco_pair"), "bco", {**BETA, "baseline": 0.0}),
    Declaration("sppo_hard", dpo("sppo_hard"), "sppo", BETA),
    *(Declaration(name, dpo(name, "label_smoothing"), name, SMOOTHED) for name in ("aot", "aot_unpaired")),
    *(Declaration(name, dpo(name), name, BETA) for name in ("apo_zero", "apo_down")),
    Declaration("discopop", dpo("discopop", "discopop_tau"), "discopop", {**BETA, "discopop_tau": 0.05}),
    Declaration("sigmoid_norm", dpo("sigmoid_norm"), "ln_dpo", BETA),
    Declaration("sigmoid + sft", trl_rpo, "rpo", {**BETA, "likelihood_weight": 0.6}, "answers of one token"),
    Declaration("sigmoid + sft", trl_rpo, "rpo", {**BETA, "likelihood_weight": 0.6, "average_likelihood": True},
                "each answer's mean over its tokens"),
    Declaration("use_weighting", dpo("sigmoid", use_weighting=True), "wpo", BETA, "where the sum of p² is 1"),
    *(Declaration(f"f_divergence_type={name}", dpo("sigmoid", f_divergence_type=name), "f_dpo",
                  {**BETA, "divergence": name}) for name in ("forward_kl", "js_divergence")),
    Declaration("f_divergence_type=alpha_divergence",
                dpo("sigmoid", "f_alpha_divergence_coef", f_divergence_type="alpha_divergence"), "f_dpo",
                {**BETA, "divergence": "alpha_divergence", "alpha": 0.7}),
    Declaration("f_divergence_type=alpha_divergence",
                dpo("sigmoid", "f_alpha_divergence_coef", f_divergence_type="alpha_divergence"), "f_dpo",
                {**BETA, "divergence": "alpha_divergence", "alpha": 0.7, **SINGLE}, IN_FLOAT32),
    Declaration("ld_alpha=0.4", desensitised(0), "", {"objective": lambda a, b: softplus(-0.3 * (0.7 * a - b))},
                "the chosen answer has two tokens, the rejected one"),
    Declaration("ld_alpha=0.4", desensitised(1), "", {"objective": lambda a, b: softplus(-0.3 * (a - 0.7 * b))},
                "the rejected answer has two tokens, the chosen one"),
    Declaration("KTOTrainer kto", kto("kto", "baseline", *WEIGHTS), "kto", {**BETA, "baseline": 0.4, **WEIGHTS}),
    Declaration("KTOTrainer apo_zero_unpaired", kto("apo_zero_unpaired", *WEIGHTS), "kto",
                {**BETA, "baseline": 0.0, **WEIGHTS}),
    Declaration("RewardTrainer", reward(), "reward", {"margin": 0.0}),
    Declaration("RewardTrainer, margins", reward(), "reward", {"margin": "per_example"}),
    Declaration("RewardTrainer, center_rewards_coefficient", reward("coefficient"), "centred_reward",
                {"coefficient": 0.1}),
    Declaration("CPOTrainer sigmoid", cpo("sigmoid"), "cpo", {**BETA, **NONE, "likelihood_weight": 0.0}),
    Declaration("CPOTrainer simpo", cpo("simpo", per_token=True, simpo_gamma=0.5), "simpo",
                {"scale": 2.0, "margin": 0.5, **NONE}),
    Declaration("CPOTrainer alphapo", cpo("simpo", "alpha", "simpo_gamma", per_token=True), "alphapo",
                {"beta": 2.0, "alpha": 0.3, "margin": 0.5, **NONE}),
    Declaration("ORPOTrainer odds_ratio_loss", trl_orpo, "orpo",
                {**BETA, "likelihood_weight": 0.0, **NONE, **SINGLE}, "TRL computes it in float32 whatever comes in"),
    Declaration("fused LM head", trl_fused_head, "sequence_log_probs", {"layout": "labels", "dtype": "float32"},
                "on the CPU; TRL computes it in float32 whatever comes in"),
    Declaration("CPOTrainer get_batch_logps", trl_cpo_head(False), "sequence_log_probs", {"layout": "labels"}),
    Declaration("CPOTrainer get_batch_logps, mean", trl_cpo_head(True), "sequence_log_probs",
                {"layout": "labels", "average": True}),
]  # fmt: skip

if __name__ == "__main__":
    main("TRL's losses on preferences", ["trl", "torch", "transformers", "numpy"], DECLARATIONS, "torch")
