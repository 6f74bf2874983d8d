r"""RRHF, Eq. (19): a ranking of k candidates, and the likelihood of the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.losses.inputs import batch, lengths_of, log_probabilities, precision
from pbde_ref.losses.result import BatchLoss, Reduction, batch_loss
from pbde_ref.numerics import weighted
from pbde_ref.objectives import rrhf
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
    log_pi = log_probabilities("policy", policy, ndim=2)
    if log_pi.shape[1] < 2:
        raise ValueError(f"`policy` must have at least 2 candidates for each prompt; got shape {log_pi.shape}")
    tokens = lengths_of("lengths", lengths, shape=log_pi.shape)
    weight = non_negative_number("likelihood_weight", likelihood_weight)
    preference = _preference(scores, ranks, log_pi.shape)
    ranking, ranking_gradient = _ranking(log_pi / tokens, preference)

    # The mean over the best, and what the likelihood term divides a log-probability by.
    best = preference == preference.max(axis=1, keepdims=True)
    share = weight * best / best.sum(axis=1, keepdims=True)
    if switch("average_likelihood", average_likelihood):
        share = share / tokens
    return batch_loss(
        ranking + weighted(share, -log_pi).sum(axis=1),
        {"policy": ranking_gradient / tokens - share},
        reduction=reduction,
        dtype=precision(policy),
    )


def _preference(scores: ArrayLike | None, ranks: ArrayLike | None, shape: tuple[int, ...]) -> FloatArray:
    """Numbers that are higher the better the candidate."""
    if scores is not None and ranks is None:
        return batch("scores", scores, shape=shape)
    if ranks is not None and scores is None:
        return -batch("ranks", ranks, shape=shape)
    raise ValueError(f"exactly one of `scores` and `ranks` must be given; got {'none' if scores is None else 'both'}")


def _ranking(p: FloatArray, preference: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Each prompt's sum over ordered pairs i ≻ j, and its derivative with respect to `p`."""
    objective = rrhf()
    preferred = preference[:, :, None] > preference[:, None, :]
    with np.errstate(invalid="ignore"):
        margins = p[:, :, None] - p[:, None, :]
    undefined = np.isnan(margins) & preferred
    if undefined.any():
        prompt, i, j = (int(index) for index in np.unravel_index(int(np.argmax(undefined)), undefined.shape))
        raise ValueError(
            f"`policy` must not be -inf for both candidates of a pair that is compared; "
            f"got -inf for candidates {i} and {j} at index {prompt}"
        )
    margins = np.where(preferred, margins, 0.0)
    slopes = objective.derivative(margins)
    return objective.value(margins).sum(axis=(1, 2)), slopes.sum(axis=2) - slopes.sum(axis=1)
