"""Liger-Kernel's chunked preference losses: the formulas alone, and the chunked functions from hidden states on.

The chunked functions run here on the CPU and not compiled. Their weight is the identity, so hidden states are logits; a
vocabulary of two tokens carries the log-probability that the oracle asks for.
"""

from __future__ import annotations

import torch
from liger_kernel.chunked_loss import (
    LigerFusedLinearCPOLoss,
    LigerFusedLinearDPOLoss,
    LigerFusedLinearKTOLoss,
    LigerFusedLinearORPOLoss,
)
from liger_kernel.chunked_loss.cpo_loss import LigerFusedLinearCPOFunction
from liger_kernel.chunked_loss.dpo_loss import LigerFusedLinearDPOFunction
from liger_kernel.chunked_loss.kto_loss import LigerFusedLinearKTOFunction
from liger_kernel.chunked_loss.orpo_loss import LigerFusedLinearORPOFunction
from liger_kernel.chunked_loss.simpo_loss import LigerFusedLinearSimPOFunction
from recipe import Declaration, main, varied


def formula(loss_type, *names):
    """`preference_loss_fn` of the DPO function."""

    @varied("beta", *names)
    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, **given):
        pairs = torch.zeros(2 * len(policy_chosen), 1)  # only its length is read
        return LigerFusedLinearDPOFunction.preference_loss_fn(
            policy_chosen, policy_rejected, pairs, reference_chosen.detach(), reference_rejected.detach(),
            loss_type=loss_type, **given,
        )  # fmt: skip

    loss.__name__ = f"liger_{loss_type}"
    return loss


def of_policy(function, *names):
    """`preference_loss_fn` of a function without a reference, on averages over tokens if lengths are given."""

    @varied("beta", *names)
    def loss(chosen, rejected, *lengths, **given):
        if lengths:
            chosen, rejected = chosen / lengths[0], rejected / lengths[1]
        return function.preference_loss_fn(chosen, rejected, torch.zeros(2 * len(chosen), 1), **given)

    loss.__name__ = function.__name__
    return loss


@varied("beta", "kl")
def liger_kto(policy, reference, desirable, **given):
    """`preference_loss_fn` of the KTO function."""
    return LigerFusedLinearKTOFunction.preference_loss_fn(
        policy, desirable, torch.zeros(len(policy), 1), reference.detach(), **given
    )  # fmt: skip


def logits_of(*log_probs):
    """Logits of two tokens, shape (B, 1, 2); the first has the given log-probability, or -1e-7 if that is nearer 0."""
    log_p = torch.cat(log_probs)
    log_p = log_p + (log_p.clamp(max=-1e-7) - log_p).detach()  # probability 1 takes logits that are not finite
    return torch.stack([log_p, torch.log(-torch.expm1(log_p))], dim=-1)[:, None, :]


def chunked(function, reference=True, **bound):
    """A whole chunked function, chosen first, then rejected, a pair at a time; answers have one token."""

    @varied("beta", *(("alpha",) if "compute_nll_loss" in bound and function is LigerFusedLinearCPOLoss else ()))
    def loss(*arrays, **given):
        weight = torch.eye(2, dtype=arrays[0].dtype)
        targets = torch.zeros(2 * len(arrays[0]), 1, dtype=torch.long)
        if function is LigerFusedLinearORPOLoss:
            arrays = arrays[0] / arrays[2], arrays[1] / arrays[3]
        named = {"ref_input": logits_of(*arrays[2:4]).detach(), "ref_weight": weight} if reference else {}
        module = function(compiled=False, chunk_size=1, **bound, **given)
        return module(weight, logits_of(*arrays[:2]), targets, **named)

    loss.__name__ = function.__name__
    return loss


@varied("beta", "kl")
def chunked_kto(policy, reference, desirable, beta, kl):
    """The whole chunked function of single answers."""
    weight, targets = torch.eye(2, dtype=policy.dtype), torch.zeros(len(policy), 1, dtype=torch.long)
    module = LigerFusedLinearKTOLoss(beta=beta, compiled=False, use_ref_model=True)
    return module(
        logits_of(policy), weight, targets, preference_labels=desirable, ref_input=logits_of(reference).detach(),
        ref_weight=weight, kl=torch.tensor(kl, dtype=policy.dtype),
    )  # fmt: skip


BETA, ALONE = {"beta": 0.3}, {"likelihood_weight": 0.0}
SMOOTHED, EXO = {**BETA, "label_smoothing": 0.1}, {**BETA, "epsilon": 0.1}
SINGLE, CHUNKED = {"dtype": "float32"}, "Liger computes in float32 whatever comes in"
KTO = {**BETA, "baseline": 0.4, "desirable_weight": 1.0, "undesirable_weight": 1.0}
NAMES = {"sigmoid": "dpo", "hinge": "hinge", "nca_pair": "nca", "bco_pair": "bco", "sppo_hard": "sppo",
         "apo_zero": "apo_zero", "apo_down": "apo_down"}  # fmt: skip

DECLARATIONS = [
    *(Declaration(f"formula {own}", formula(own), loss, BETA) for own, loss in NAMES.items()),
    Declaration("formula robust", formula("robust", "label_smoothing"), "dpo", {**SMOOTHED, "variant": "robust"}),
    Declaration("formula sigmoid", formula("sigmoid", "label_smoothing"), "dpo", SMOOTHED,
                'as if label smoothing meant cDPO; the docstring says "for robust / exo_pair / cDPO"'),
    Declaration("formula exo_pair", formula("exo_pair", "label_smoothing"), "exo", EXO),
    Declaration("formula exo_pair", formula("exo_pair", "label_smoothing"), "exo", {**EXO, **SINGLE}),
    Declaration("formula discopop", formula("discopop", "discopop_tau"), "discopop", {**BETA, "discopop_tau": 0.05}),
    Declaration("formula SimPO", of_policy(LigerFusedLinearSimPOFunction, "gamma"), "length_normalized",
                {"scale": 2.5, "margin": 0.4}),
    Declaration("formula CPO", of_policy(LigerFusedLinearCPOFunction), "cpo", {**BETA, **ALONE}),
    Declaration("formula ORPO", of_policy(LigerFusedLinearORPOFunction), "orpo", {**BETA, **ALONE}),
    Declaration("formula KTO", liger_kto, "kto", KTO),
    *(Declaration(f"chunked {own}", chunked(LigerFusedLinearDPOLoss, loss_type=own), loss, {**BETA, **SINGLE}, CHUNKED)
      for own, loss in list(NAMES.items())[:2]),
    Declaration("chunked CPO", chunked(LigerFusedLinearCPOLoss, False, compute_nll_loss=True), "cpo",
                {**BETA, "likelihood_weight": 0.6, **SINGLE}, CHUNKED),
    Declaration("chunked ORPO", chunked(LigerFusedLinearORPOLoss, False), "orpo",
                {**BETA, "likelihood_weight": 1.0, **SINGLE}, CHUNKED),
    Declaration("chunked KTO", chunked_kto, "kto", {**KTO, **SINGLE}, CHUNKED),
]  # fmt: skip

if __name__ == "__main__":
    packages = ["liger-kernel", "torch", "triton", "numpy"]
    main("Liger-Kernel's chunked preference losses", packages, DECLARATIONS, "torch")
