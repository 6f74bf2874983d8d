"""Liger-Kernel's chunked preference losses: the formulas alone, and the chunked function from hidden states on.

The chunked function runs here on the CPU and not compiled. Its weight is the identity, so hidden states are logits; a
vocabulary of two tokens carries the log-probability that the oracle asks for.
"""

from __future__ import annotations

import torch
from liger_kernel.chunked_loss.dpo_loss import LigerFusedLinearDPOFunction, LigerFusedLinearDPOLoss
from liger_kernel.chunked_loss.simpo_loss import LigerFusedLinearSimPOFunction
from recipe import Declaration, main


def formula(loss_type):
    """`preference_loss_fn` of the DPO function."""

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        pairs = torch.zeros(2 * len(policy_chosen), 1)  # only its length is read
        return LigerFusedLinearDPOFunction.preference_loss_fn(
            policy_chosen, policy_rejected, pairs, reference_chosen.detach(), reference_rejected.detach(),
            beta=beta, loss_type=loss_type,
        )  # fmt: skip

    loss.__name__ = f"liger_{loss_type}"
    return loss


def smoothed_formula(loss_type):
    """The same with label smoothing."""

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta, label_smoothing):
        pairs = torch.zeros(2 * len(policy_chosen), 1)
        return LigerFusedLinearDPOFunction.preference_loss_fn(
            policy_chosen, policy_rejected, pairs, reference_chosen.detach(), reference_rejected.detach(),
            beta=beta, loss_type=loss_type, label_smoothing=label_smoothing,
        )  # fmt: skip

    loss.__name__ = f"liger_{loss_type}"
    return loss


def liger_simpo(policy_chosen, policy_rejected, chosen_lengths, rejected_lengths, beta, gamma):
    """`preference_loss_fn` of the SimPO function, which takes averages over tokens."""
    return LigerFusedLinearSimPOFunction.preference_loss_fn(
        policy_chosen / chosen_lengths, policy_rejected / rejected_lengths, torch.zeros(2 * len(policy_chosen), 1),
        beta=beta, gamma=gamma,
    )  # fmt: skip


def logits_of(*log_probs):
    """Logits of two tokens, shape (2 B, 1, 2); the first has the given log-probability."""
    log_p = torch.cat(log_probs)
    return torch.stack([log_p, torch.log(-torch.expm1(log_p))], dim=-1)[:, None, :]


def chunked(loss_type):
    """The whole chunked function, chosen first, then rejected, a pair at a time."""

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        function = LigerFusedLinearDPOLoss(beta=beta, compiled=False, loss_type=loss_type, chunk_size=1)
        weight = torch.eye(2, dtype=policy_chosen.dtype)
        targets = torch.zeros(2 * len(policy_chosen), 1, dtype=torch.long)
        reference = logits_of(reference_chosen, reference_rejected).detach()
        return function(
            weight, logits_of(policy_chosen, policy_rejected), targets, ref_input=reference, ref_weight=weight
        )

    loss.__name__ = f"liger_chunked_{loss_type}"
    return loss


SINGLE = {"beta": 0.3, "dtype": "float32"}

DECLARATIONS = [
    Declaration("formula sigmoid", formula("sigmoid"), "dpo", {"beta": 0.3}),
    Declaration("formula hinge", formula("hinge"), "hinge", {"beta": 0.3}),
    Declaration("formula robust", smoothed_formula("robust"), "dpo",
                {"beta": 0.3, "label_smoothing": 0.1, "variant": "robust"}),
    Declaration("formula sigmoid", smoothed_formula("sigmoid"), "dpo", {"beta": 0.3, "label_smoothing": 0.1},
                'as if label smoothing meant cDPO; the docstring says "for robust / exo_pair / cDPO"'),
    Declaration("formula SimPO", liger_simpo, "length_normalized", {"scale": 2.5, "margin": 0.4}),
    Declaration("chunked sigmoid", chunked("sigmoid"), "dpo", SINGLE, "Liger computes in float32 whatever comes in"),
    Declaration("chunked hinge", chunked("hinge"), "hinge", SINGLE, "Liger computes in float32 whatever comes in"),
]  # fmt: skip

if __name__ == "__main__":
    packages = ["liger-kernel", "torch", "triton", "numpy"]
    main("Liger-Kernel's chunked preference losses", packages, DECLARATIONS, "torch")
