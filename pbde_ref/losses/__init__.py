r"""Batch losses: what a trainer computes. Log-probabilities in, the loss and its gradients out, conventions declared.

Common to all functions whose names end in `_loss`:

- Log-probabilities are of whole outcomes (sequences), in nats, at most 0. A positive one raises: it is usually a
  negative log-likelihood, or a log-density (which `pairwise_loss` takes, as a utility). Policies may exclude an outcome
  (-inf) as long as the pair's margin is defined; references must be finite.
- ``reduction="mean"`` (the default) divides the sum over the batch by the number of pairs, "sum" does not. Each pair's
  own loss is always in the result, so there is no "none": with "sum" the gradients are those of the pairs' own losses.
- No gradient flows into a reference, nor into what belongs to the process (f, g, margins, lengths): those names are
  absent from the result's gradients.
- Margins are computed in float64. Arrays in the result are float32 if every array of log-probabilities or rewards was
  float32 (or float16), and float64 otherwise; losses and slopes are then computed in that precision, wherever it is
  enough for an error of a unit in its last place. `value` is a Python float.
- Hinges have the subgradient 0 at their kink.

Files by idea: pairwise (any objective of any utilities; Eq. 1, 2), processes (PBDEs; Eq. 11, 14, 18, 26), alternatives
(Eq. 20, 21, 23), log_ratios (no functions of one margin; single answers), ranking (Eq. 19), annotators (Eq. 30),
policy_gradient (Eq. 4, 5), sequences (from logits and tokens to log-probabilities of sequences).
"""

from pbde_ref.losses.alternatives import ipo_loss, rso_loss, slic_loss
from pbde_ref.losses.annotators import annotator_mixture_loss
from pbde_ref.losses.log_ratios import answer_loss, aot_loss, centred_reward_loss, ld_dpo_loss, log_ratio_loss
from pbde_ref.losses.pairwise import bradley_terry_loss, pairwise_loss
from pbde_ref.losses.policy_gradient import kl_controlled_policy_gradient_loss
from pbde_ref.losses.processes import dpo_loss, geometric_loss, length_normalized_loss, pbde_loss
from pbde_ref.losses.ranking import rrhf_loss
from pbde_ref.losses.result import BatchLoss
from pbde_ref.losses.sequences import (
    completion_mask,
    sequence_log_probs,
    sequence_log_probs_vjp,
    token_log_probs_from_logits,
    token_log_probs_vjp,
)

__all__ = [
    "BatchLoss",
    "annotator_mixture_loss",
    "answer_loss",
    "aot_loss",
    "bradley_terry_loss",
    "centred_reward_loss",
    "completion_mask",
    "dpo_loss",
    "geometric_loss",
    "ipo_loss",
    "kl_controlled_policy_gradient_loss",
    "ld_dpo_loss",
    "length_normalized_loss",
    "log_ratio_loss",
    "pairwise_loss",
    "pbde_loss",
    "rrhf_loss",
    "rso_loss",
    "sequence_log_probs",
    "sequence_log_probs_vjp",
    "slic_loss",
    "token_log_probs_from_logits",
    "token_log_probs_vjp",
]
