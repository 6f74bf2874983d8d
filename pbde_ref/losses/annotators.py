r"""A mixture of annotators whose identities are not recorded, Eq. (30)."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.losses.chunks import evaluated, write
from pbde_ref.losses.inputs import LOG_PROBABILITIES, Rule, defined_pairs, finite, log_probabilities, precision
from pbde_ref.losses.result import BatchLoss, Reduction
from pbde_ref.numerics import logsumexp, softplus
from pbde_ref.validation import FloatArray, reject

__all__ = ["annotator_mixture_loss"]


def annotator_mixture_loss(
    policy_chosen: ArrayLike, policy_rejected: ArrayLike, weight_logits: ArrayLike, *, reduction: Reduction = "mean"
) -> BatchLoss:
    r"""Cross-entropy of a mixture of k Luce annotators, Eq. (30), each with a policy of its own.

    .. math:: -\log \sum_{i=1}^k w_i\, \frac{\pi_{\theta_i}(x_w)}{\pi_{\theta_i}(x_w) + \pi_{\theta_i}(x_l)}, \qquad
              w = \text{softmax}(\text{weight logits})

    Parameters
    ----------
    policy_chosen, policy_rejected : array_like, shape (B, k)
        :math:`\log \pi_{\theta_i}` of each pair's outcomes under each annotator's policy, at most 0; not -inf twice for
        one annotator, and some annotator must not exclude the chosen one.
    weight_logits : array_like, shape (k,)
        Finite. For weights as in the paper, which need not sum to one, their logarithms.
    reduction : {"mean", "sum"}
        Over pairs; "mean" divides the sum by their number.

    Returns
    -------
    BatchLoss
        In nats; each pair's loss is in [0, inf). Gradients: policy_chosen, policy_rejected, weight_logits; the last
        sums to zero.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, or a number is out of range.

    Notes
    -----
    With responsibilities :math:`\rho_i = w_i \sigma(d_i) / \sum_j w_j \sigma(d_j)`,
    :math:`d_i = \log \pi_{\theta_i}(x_w) - \log \pi_{\theta_i}(x_l)`, the gradients are :math:`-\rho_i \sigma(-d_i)`,
    its negative, and :math:`w_i - \rho_i`. Eq. (29) and (30) print one policy, :math:`\pi_\theta`, for all annotators.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref.losses as losses
    >>> chosen, rejected = np.log([[0.9, 0.2]]), np.log([[0.1, 0.8]])  # 0.4 * 0.9 + 0.6 * 0.2 = 0.48
    >>> result = losses.annotator_mixture_loss(chosen, rejected, np.log([2.0, 3.0]))
    >>> round(float(np.exp(-result.value)), 12), result.gradients["weight_logits"]  # 0.4 - 0.36 / 0.48
    (0.48, array([-0.35,  0.35]))
    """
    dtype = precision(policy_chosen, policy_rejected, weight_logits)
    if type(policy_chosen) is not np.ndarray or policy_chosen.ndim != 2:
        policy_chosen = log_probabilities("policy_chosen", policy_chosen, ndim=2)
    logits = finite("weight_logits", weight_logits, shape=policy_chosen.shape[1:])
    log_w = (logits - logsumexp(logits))[:, None]
    w = np.exp(log_w)

    def compute(
        chosen: FloatArray, rejected: FloatArray, *, out: list[NDArray[Any]], share: float, usual: bool
    ) -> tuple[float, FloatArray]:
        # Annotators come first, so that sums over them run along examples.
        margins = np.ascontiguousarray((chosen - rejected).T)
        lost = softplus(-margins)
        slopes = np.expm1(-lost)
        joint = log_w - lost
        largest = joint.max(axis=0)
        joint -= largest
        responsibilities = np.exp(joint, out=joint)
        mixture = responsibilities.sum(axis=0)
        responsibilities /= mixture
        # Where the chosen one wins almost surely the digits are in the complement.
        loses = -(w * slopes).sum(axis=0)
        with np.errstate(divide="ignore"):
            losses = np.where(loses < 0.5, -np.log1p(-loses), -largest - np.log(mixture))
        slopes *= responsibilities
        slopes *= share
        for values, result in zip((losses, slopes.T, -slopes.T), out, strict=True):
            write(values, result)
        return losses.sum(), share * _weight_gradients(w, responsibilities, lost)

    def defined(chosen: FloatArray, rejected: FloatArray) -> None:
        with np.errstate(invalid="ignore"):
            margins = chosen - rejected
        defined_pairs("policy_chosen", chosen, "policy_rejected", margins)
        best = chosen.max(axis=1)
        reject("policy_chosen", "above -inf for some annotator", best, np.isneginf(best))

    rule = Rule(partial(log_probabilities, ndim=2), LOG_PROBABILITIES.holds)
    arguments = {"policy_chosen": (policy_chosen, rule), "policy_rejected": (policy_rejected, rule)}
    return evaluated(
        arguments, compute, reduction=reduction, dtype=dtype, defined=defined, shared="weight_logits", ndim=2,
        width=logits.size,
    )  # fmt: skip


def _weight_gradients(w: FloatArray, responsibilities: FloatArray, lost: FloatArray) -> FloatArray:
    r"""The chunk's sum of :math:`w_i - \rho_i`, shape (k,), without cancellation where two annotators nearly agree."""
    # w_i − ρ_i = Σ_j w_i w_j (σ_j − σ_i) / Σ_l w_l σ_l; each term is formed from the larger of σ_i and σ_j.
    result = np.zeros(len(w))
    for i, j in combinations(range(len(w)), 2):
        gap = lost[i] - lost[j]
        gap[np.isnan(gap)] = 0.0
        terms = np.maximum(w[i] * responsibilities[j], w[j] * responsibilities[i])
        terms *= np.copysign(np.expm1(-np.abs(gap)), gap)
        result[i] += terms.sum()
        result[j] -= terms.sum()
    return result
