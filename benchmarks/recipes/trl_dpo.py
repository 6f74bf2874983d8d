"""TRL's DPO loss types, as `DPOTrainer._compute_loss` of the installed package computes them.

The method is called on a stand-in for the trainer that has the attributes which the method reads. A stand-in for the
model returns the log-probabilities that the oracle asks for: a sequence's whole log-probability on its first completion
token, zero on the others, so that their sum is exact.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import torch
from recipe import Declaration, main
from torch import nn
from trl import DPOTrainer
from trl.trainer.utils import add_fused_lm_head


def outputs(log_probs):
    """What TRL's fused head returns, for sequences whose first token is the prompt."""
    nothing = torch.zeros_like(log_probs)
    return SimpleNamespace(log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())


def compute_loss(loss_type, policy, reference, lengths, **settings):
    """Call the method; `policy` and `reference` are the chosen and the rejected sequences' log-probabilities."""
    policy, reference, lengths = torch.cat(policy), torch.cat(reference), torch.cat(lengths)
    width = int(lengths.max())
    completion = (torch.arange(width + 1) >= 1) & (torch.arange(width + 1) <= lengths[:, None])
    first = torch.zeros(1, width, dtype=policy.dtype)
    first[0, 0] = 1.0
    model = SimpleNamespace(training=False, is_gradient_checkpointing=False)
    trainer = SimpleNamespace(
        model=model, ref_model=lambda **_: outputs(reference[:, None] * first), beta=settings["beta"],
        label_smoothing=settings.get("label_smoothing", 0.0), loss_types=[loss_type], loss_weights=[1.0],
        f_divergence_type="reverse_kl", ld_alpha=None, precompute_ref_logps=False, aux_loss_enabled=False,
        use_weighting=False, args=SimpleNamespace(gradient_checkpointing_kwargs=None), _tp_size=1,
        _total_train_tokens=0, _metrics=defaultdict(lambda: defaultdict(list)),
        accelerator=SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x),
    )  # fmt: skip
    inputs = {
        "input_ids": torch.zeros(len(lengths), width + 1, dtype=torch.long),
        "attention_mask": completion.long(), "completion_mask": completion.long(),
    }  # fmt: skip
    return DPOTrainer._compute_loss(trainer, lambda **_: outputs(policy[:, None] * first), inputs, False)


def summed(loss_type):
    """A loss type of sums, as a function of four vectors."""

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
        lengths = torch.full(policy_chosen.shape, 3), torch.full(policy_chosen.shape, 2)
        return compute_loss(loss_type, (policy_chosen, policy_rejected), (reference_chosen, reference_rejected),
                            lengths, beta=beta)  # fmt: skip

    loss.__name__ = f"trl_{loss_type}"
    return loss


def smoothed(loss_type):
    """A loss type with label smoothing."""

    def loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta, label_smoothing):
        lengths = torch.full(policy_chosen.shape, 3), torch.full(policy_chosen.shape, 2)
        return compute_loss(loss_type, (policy_chosen, policy_rejected), (reference_chosen, reference_rejected),
                            lengths, beta=beta, label_smoothing=label_smoothing)  # fmt: skip

    loss.__name__ = f"trl_{loss_type}"
    return loss


def trl_hinge(policy_chosen, policy_rejected, reference_chosen, reference_rejected):
    """The hinge loss at one beta."""
    return summed("hinge")(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.25)


def trl_ipo(
    policy_chosen, policy_rejected, reference_chosen, reference_rejected, chosen_lengths, rejected_lengths, beta
):
    """IPO, with the sequences' lengths."""
    return compute_loss("ipo", (policy_chosen, policy_rejected), (reference_chosen, reference_rejected),
                        (chosen_lengths, rejected_lengths), beta=beta)  # fmt: skip


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
    """TRL's fused head: log-probabilities of sequences from logits and labels with -100."""
    model = Head(logits.shape[-1], logits.dtype)
    add_fused_lm_head(model)
    return model(logits, labels=labels, fused_lm_head=True).log_probs.sum(dim=1)


DECLARATIONS = [
    Declaration("sigmoid", summed("sigmoid"), "dpo", {"beta": 0.3}),
    Declaration("robust", smoothed("robust"), "dpo", {"beta": 0.3, "label_smoothing": 0.1, "variant": "robust"}),
    Declaration("sigmoid", smoothed("sigmoid"), "dpo", {"beta": 0.3, "label_smoothing": 0.1},
                "as if label smoothing meant cDPO; TRL documents it for robust and exo_pair only"),
    Declaration("hinge", summed("hinge"), "hinge", {"beta": 0.3}),
    Declaration("hinge", trl_hinge, "rso", {"delta": 4.0}, "beta = 1/4, as if it were Eq. (21)"),
    Declaration("ipo", trl_ipo, "ipo", {"tau": 0.3, "average": True}, "as TRL documents it"),
    Declaration("ipo", trl_ipo, "ipo", {"tau": 0.3, "average": False}, "as in Eq. (23)"),
    Declaration("fused LM head", trl_fused_head, "sequence_log_probs", {"layout": "labels", "dtype": "float32"},
                "on the CPU; TRL computes it in float32 whatever comes in"),
]  # fmt: skip

if __name__ == "__main__":
    main("TRL's DPO loss types", ["trl", "torch", "transformers", "numpy"], DECLARATIONS, "torch")
