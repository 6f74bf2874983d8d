r"""Where alignment by optimal transport leads: a loss of sorted numbers, in the limit of large batches.

The batch's sorted numbers become the quantiles of two distributions. As :math:`\ell` is convex, no other way to pair
them costs less, so that the loss is the least of smooth losses, one for each coupling:

.. math:: F(\pi) = \int_0^1 \ell(\beta (Q_u(t) - Q_v(t)))\, dt = \min_\Gamma \sum_k \Gamma_k\, \ell(\beta (u_k - v_k))

That is not convex in :math:`\log \pi`. Paired, it equals DPO's wherever the reference is uniform. Unpaired and without
label smoothing it has no stationary point at all unless all answers win as often as they lose. Proof:
``proofs/transport.md``.
"""

from __future__ import annotations

import math

import numpy as np

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.policy_losses import wins_with_ties
from pbde_ref.exact.results import Optimum, undetermined
from pbde_ref.exact.stationary import lowest_stationary
from pbde_ref.numerics import EPS, softplus
from pbde_ref.objectives import smoothed
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["comonotone", "minimize_transport_loss"]

def comonotone(
    x: FloatArray, x_weights: FloatArray, y: FloatArray, y_weights: FloatArray
) -> tuple[IndexArray, IndexArray, FloatArray]:
    """The coupling of two distributions of numbers that pairs their quantiles: places in x and in y, with weights.

    Parameters
    ----------
    x, y : ndarray, shapes (m,) and (n,)
        Where the distributions have mass.
    x_weights, y_weights : ndarray, the same shapes
        How much, with equal sums.

    Examples
    --------
    >>> half = np.array([0.5, 0.5])
    >>> comonotone(np.array([3.0, 1.0]), half, np.array([0.0, 2.0, 5.0]), np.array([0.25, 0.25, 0.5]))
    (array([1, 1, 0]), array([0, 1, 2]), array([0.25, 0.25, 0.5 ]))
    """
    by_x, by_y = np.argsort(x, kind="stable"), np.argsort(y, kind="stable")
    to_x, to_y = np.cumsum(x_weights[by_x]), np.cumsum(y_weights[by_y])
    # Both run from 0 to 1; what lies between two ends belongs to the first of each that ends no sooner.
    ends = np.concatenate([to_x / to_x[-1], to_y / to_y[-1]])
    order = np.argsort(ends, kind="stable")
    lengths, of_first = np.diff(ends[order], prepend=0.0), order < x.size
    ended: IndexArray = np.cumsum(of_first) - of_first
    held = lengths > 0.0
    i, j = np.minimum(ended, x.size - 1), np.minimum(np.arange(ends.size) - ended, y.size - 1)
    return by_x[i[held]], by_y[j[held]], to_x[-1] * lengths[held]


def minimize_transport_loss(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    beta: float,
    reference: FiniteDistribution,
    paired: bool,
    label_smoothing: float = 0.0,
    tolerance: float = 1e-9,
    n_starts: int = 3,
) -> Optimum:
    r"""A stationary policy of AOT's loss of large batches, the best that is found, or None where there is none.

    Parameters
    ----------
    annotator, proposal
        Who answers, and which pairs are asked. An outcome that meets itself counts too.
    beta : float
        Positive.
    reference : FiniteDistribution
        Positive.
    paired : bool
        Whether margins of the policy are sorted against margins of the reference, or log-ratios of the chosen answers
        against those of the rejected ones.
    label_smoothing : float
        :math:`\epsilon`, in [0, 1/2).
    tolerance : float
        Of the gap.
    n_starts : int
        How many points the loss is descended from.

    Returns
    -------
    Optimum
        `gap` is the distance from a bound for all policies: the loss of one pair alone cannot be lower. Where it is not
        within `tolerance` the policy is stationary, and `reason` says so.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p, pairs = pb.FiniteDistribution.from_weights([3, 1]), pb.ProductProposal([1, 1])
    >>> asked = {"beta": 1.0, "reference": pb.uniform([0, 1])}
    >>> found = minimize_transport_loss(pb.Annotator(p, pb.luce()), pairs, paired=True, **asked)
    >>> found.policy.pmf.round(9), found.converged  # DPO's, as the reference is uniform
    (array([0.75, 0.25]), True)
    >>> minimize_transport_loss(pb.Annotator(p, pb.luce()), pairs, paired=False, **asked).reason[:60]
    'the loss falls for ever: answers that win more often than th'
    """
    wins, log_pre, n = wins_with_ties(annotator, proposal), reference.log_pmf, annotator.size
    if not np.isfinite(log_pre).all():
        raise ValueError("`reference` must be positive; got a probability of 0")
    won, lost, objective = wins.sum(axis=1), wins.sum(axis=0), smoothed(label_smoothing)
    if not paired and np.abs(won - lost).max() <= 64.0 * EPS:
        reason = "all policies are as good: every answer wins as often as it loses"
        return undetermined(n, reason, float(objective.value(np.zeros(1))[0]))
    if not paired and label_smoothing == 0.0:
        reason = "answers that win more often than they lose rise above all others without end"
        return undetermined(n, f"the loss falls for ever: {reason}")
    first, second = (place.ravel() for place in np.indices((n, n)))
    far, flat = (log_pre[:, None] - log_pre).ravel(), wins.ravel()

    def coupled(utilities: FloatArray) -> tuple[IndexArray, IndexArray, FloatArray, FloatArray]:
        """Whose log-probabilities are compared, the margins, and how much each counts."""
        if paired:
            u = (utilities[:, None] - utilities).ravel()
            i, j, weight = comonotone(u, flat, far, flat)
            return first[i], second[i], beta * (u[i] - far[j]), weight
        ratios = utilities - log_pre
        i, j, weight = comonotone(ratios, won, ratios, lost)
        return i, j, beta * (ratios[i] - ratios[j]), weight

    def evaluate(utilities: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        a, b, m, weight = coupled(utilities)
        value = float(weight @ objective.value(m))
        pulls = _square(a, b, beta * weight * objective.derivative(m), n)
        bend = _square(a, b, beta * beta * weight * objective.second_derivative(m), n)
        bend = bend + bend.T
        return value, pulls.sum(axis=1) - pulls.sum(axis=0), np.diag(bend.sum(axis=1)) - bend

    floor = _floor(wins, far, beta, label_smoothing, paired)
    why = "what is sorted changes with the policy, so that its loss is not convex"
    return lowest_stationary(evaluate, reference, floor, why, tolerance=tolerance, n_starts=n_starts)


def _square(a: IndexArray, b: IndexArray, values: FloatArray, n: int) -> FloatArray:
    return np.asarray(np.bincount(a * n + b, values, n * n), dtype=np.float64).reshape(n, n)


def _floor(wins: FloatArray, far: FloatArray, beta: float, epsilon: float, paired: bool) -> float:
    """What no policy gets below: each pair alone, its margins compared with the reference's lowest."""
    if epsilon > 0.0 or not paired:
        return -(epsilon * math.log(epsilon) + (1.0 - epsilon) * math.log1p(-epsilon)) if epsilon else 0.0
    # With P e^-y z^2 + (P - W) z = W e^-y, z = e^m, W and P the weights of both answers to a pair.
    eased = beta * float(far.min())
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = wins - wins.T
        root = np.sqrt(apart * apart + 4.0 * wins * wins.T * math.exp(2.0 * eased))
        # The larger root, without what cancels.
        odds = np.where(
            apart >= 0.0, (apart + root) / (2.0 * wins.T), 2.0 * wins * math.exp(2.0 * eased) / (root - apart)
        )
        m = np.where(wins + wins.T > 0.0, np.log(odds) - eased, 0.0)
        alone = np.where(wins > 0.0, wins * softplus(eased - m), 0.0)
    return float(alone.sum()) * (1.0 - 64.0 * EPS)
