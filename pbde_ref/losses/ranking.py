r"""RRHF, Eq. (19): a ranking of k candidates, and the likelihood of the best."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.losses.chunks import evaluated, write
from pbde_ref.losses.inputs import LENGTHS, LOG_PROBABILITIES, Rule, batch, log_probabilities, precision
from pbde_ref.losses.result import BatchLoss, Reduction
from pbde_ref.numerics import weighted
from pbde_ref.validation import FloatArray, non_negative_number, switch

__all__ = ["rrhf_loss"]


def rrhf_loss(
    policy: ArrayLike,
    lengths: ArrayLike,
    *,
    scores: ArrayLike | None = None,
    ranks: ArrayLike | None = None,
    likelihood_weight: float = 1.0,
    average_likelihood: bool = False,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""RRHF's ranking loss, Eq. (19) repaired, plus the negative log-likelihood of the best candidate.

    .. math:: \sum_{x_i \succ x_j} (p_j - p_i)^+ - w \log \pi_\theta(x_{best}), \qquad
              p_i = \frac{1}{|x_i|} \log \pi_\theta(x_i)

    Parameters
    ----------
    policy : array_like, shape (B, k)
        :math:`\log \pi_\theta` of the k candidates for each of B prompts, summed over tokens, at most 0; k is at least
        2. A pair that is compared must not be -inf twice.
    lengths : array_like, shape (B, k)
        Numbers of tokens :math:`|x|`, positive and finite.
    scores, ranks : array_like, shape (B, k)
        Exactly one of them: the annotator's scores, higher is better, or ranks, lower is better. Only their order
        within a prompt matters. Tied candidates are not compared with each other; if the best are tied, the likelihood
        term is the mean over them, so that the order of the candidates never matters.
    likelihood_weight : float
        :math:`w`, non-negative. The default is 1; with 0 the loss is Eq. (19) alone.
    average_likelihood : bool
        Whether the likelihood term has the best candidate's log-probability per token. The default, False, is that of
        the whole sequence.
    reduction : {"mean", "sum"}
        Over prompts; a prompt's pairs are always summed.

    Returns
    -------
    BatchLoss
        `losses` has one entry for each prompt, both terms together. Gradients: policy, with respect to the summed
        log-probabilities; the subgradient of a pair with :math:`p_i = p_j` is 0.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, k is 1, a number is out of range, or scores and ranks are both given or
        both missing.

    Notes
    -----
    Eq. (19) is printed with :math:`-(p_i - p_j)^+` for :math:`x_i \succ x_j`, which rewards a margin that is already
    right without bound and is indifferent to a wrong one.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> candidates, lengths = [[-8.0, -3.0, -6.0]], [[4, 3, 2]]  # per token: -2, -1, -3
    >>> losses.rrhf_loss(candidates, lengths, scores=[[0.9, 0.5, 0.1]], likelihood_weight=0.0).losses  # only -2 < -1
    array([1.])
    >>> losses.rrhf_loss(candidates, lengths, ranks=[[1, 2, 3]]).losses  # and 8 nats for the best
    array([9.])
    """
    weight = non_negative_number("likelihood_weight", likelihood_weight)
    per_token = switch("average_likelihood", average_likelihood)
    if (scores is None) == (ranks is None):
        given = "none" if scores is None else "both"
        raise ValueError(f"exactly one of `scores` and `ranks` must be given; got {given}")
    name, sign, order = ("scores", 1.0, scores) if ranks is None else ("ranks", -1.0, ranks)
    assert order is not None
    candidates = policy.shape[-1] if isinstance(policy, np.ndarray) and policy.ndim else 1

    def compute(
        log_pi: FloatArray, lengths: FloatArray, preference: FloatArray, *, out: list[Any], share: float, usual: bool
    ) -> tuple[float, float]:
        # Candidates come first, so that sums over them run along prompts.
        log_pi, lengths, preference = (np.ascontiguousarray(x.T) for x in (log_pi, lengths, sign * preference))
        p = log_pi / lengths
        preferred = preference[:, None] > preference
        # By how much j is ahead of i where i is preferred to j.
        ahead = (p - p[:, None]) * preferred
        if math.isnan(ahead.max()):
            ahead = np.where(preferred, p - p[:, None], 0.0)
        np.maximum(ahead, np.zeros(ahead.shape), out=ahead)
        wrong = (ahead > 0.0).view(np.int8)
        slopes = wrong.sum(axis=0, dtype=np.float64) - wrong.sum(axis=1, dtype=np.float64)
        slopes /= lengths
        # The mean over the best, and what the likelihood term divides a log-probability by.
        best = preference == preference.max(axis=0)
        likelihood = best * (weight / best.sum(axis=0))
        if per_token:
            likelihood /= lengths
        losses = ahead.sum(axis=(0, 1)) + weighted(likelihood, -log_pi).sum(axis=0)
        slopes -= likelihood
        slopes *= share
        write(losses, out[0])
        write(slopes.T, out[1])
        return losses.sum(), 0.0

    def defined(log_pi: FloatArray, lengths: FloatArray, preference: FloatArray) -> None:
        excluded, preference = np.isneginf(log_pi), sign * preference
        undefined = excluded[:, :, None] & excluded[:, None] & (preference[:, :, None] > preference[:, None])
        if undefined.any():
            prompt, i, j = (int(index) for index in np.unravel_index(int(np.argmax(undefined)), undefined.shape))
            raise ValueError(
                f"`policy` must not be -inf for both candidates of a pair that is compared; "
                f"got -inf for candidates {i} and {j} at index {prompt}"
            )

    arguments = {"policy": (policy, Rule(_of_candidates, LOG_PROBABILITIES.holds)), "lengths": (lengths, LENGTHS),
                 name: (order, Rule(batch, lambda chunk: not math.isnan(chunk.max())))}  # fmt: skip
    return evaluated(
        arguments, compute, reduction=reduction, dtype=precision(policy), defined=defined, differentiated=1, ndim=2,
        width=candidates**2,
    )  # fmt: skip


def _of_candidates(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None) -> FloatArray:
    result = log_probabilities(name, value, shape=shape, ndim=2)
    if result.shape[1] < 2:
        raise ValueError(f"`{name}` must have at least 2 candidates for each prompt; got shape {result.shape}")
    return result
