r"""What no mixture of annotators can undercut: a lower bound on the loss of Eq. (30), however many there are.

Whoever answers by utilities has :math:`1 \le M_{AB} + M_{BC} + M_{CA} \le 2` for any three outcomes, and so has a
mixture. The least loss of such preferences is a convex programme. Proof: ``proofs/mixture_bound.md``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from pbde_ref.annotators import PreferenceModel, prompts_of
from pbde_ref.display import Shown
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.selection import win_weights
from pbde_ref.numerics import EPS
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray

__all__ = ["MixtureBound", "mixture_loss_bound"]

MOST = 12
INSIDE = 1e-9
"""How far the search stays from sure preferences; the bound is right wherever it stops."""


@dataclass(frozen=True, eq=False)
class MixtureBound(Shown):
    """A lower bound on the loss of any mixture of annotators.

    Attributes
    ----------
    value : float
        Expected KL divergence in nats, non-negative; rounding is taken off.
    preferences : ndarray, shape (n, n)
        The nearest preferences that were found, with their loss within `gap` of `value`.
    gap : float
        Upper bound on what a better search could add to `value`.
    attained : bool
        Whether mixtures of sufficiently many annotators are known to come as near to the least loss of the programme as
        one likes: for up to five outcomes.
    """

    value: float
    preferences: FloatArray
    gap: float
    attained: bool


def mixture_loss_bound(annotator: PreferenceModel, proposal: Proposal) -> MixtureBound:
    r"""The least expected loss of preferences with :math:`0 \le M_{AB} + M_{BC} - M_{AC} \le 1` for all three outcomes.

    What a fit of `fit_annotator_mixture` has lost above `value` is all that any other fit, of any number of annotators,
    could gain. The bound is 0 where the preferences themselves satisfy the inequalities; for a single annotator
    `minimize_expected_loss` knows the minimum.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
        Of at most 12 outcomes.
    proposal : ProductProposal, JointProposal or PairListProposal

    Examples
    --------
    A cycle of three at 9/10 each: mixtures reach 2/3.

    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.mixtures import mixture_loss_bound
    >>> cycle = pb.PreferenceMatrix([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
    >>> found = mixture_loss_bound(cycle, pb.PairListProposal([0, 1, 2], [1, 2, 0], [1, 1, 1]))
    >>> round(found.value, 6), found.preferences.round(3)[0], found.gap < 1e-9  # 0.9 log 1.35 + 0.1 log 0.3
    (0.149697, array([0.5  , 0.667, 0.333]), True)
    """
    check_models(annotator, proposal)
    if prompts_of(annotator) is not None:
        raise ValueError("`annotator` must prefer between answers to one prompt; got several")
    n = annotator.size
    if n > MOST:
        raise ValueError(f"`annotator` must have at most {MOST} outcomes; got {n}")
    wins, _ = win_weights(annotator, proposal)
    rows = np.triu_indices(n, 1)
    won, lost = wins[rows], wins.T[rows]
    triangles = _triangles(n)
    own = np.clip(annotator.preference_probabilities()[rows], INSIDE, 1.0 - INSIDE)
    at = own if _fits(triangles, own) else _search(won, lost, triangles)
    loss, slope = _loss(won, lost, at)
    value = _below(loss, slope, at, triangles) if loss > 0.0 else 0.0
    preferences = np.full((n, n), 0.5)
    preferences[rows], preferences.T[rows] = at, 1.0 - at
    return MixtureBound(value, preferences, max(loss - value, 0.0), n <= 5)


def _triangles(n: int) -> FloatArray:
    """Rows that take M(AB) + M(BC) - M(AC) of pairs in the order of `triu_indices`, shape (n choose 3, n choose 2)."""
    place = {pair: index for index, pair in enumerate(itertools.combinations(range(n), 2))}
    result = np.zeros((n * (n - 1) * (n - 2) // 6, len(place)))
    for row, (a, b, c) in zip(result, itertools.combinations(range(n), 3), strict=True):
        row[place[a, b]], row[place[b, c]], row[place[a, c]] = 1.0, 1.0, -1.0
    return result


def _fits(triangles: FloatArray, at: FloatArray) -> bool:
    sums = triangles @ at
    return bool(((sums >= 0.0) & (sums <= 1.0)).all())


def _loss(won: FloatArray, lost: FloatArray, at: FloatArray) -> tuple[float, FloatArray]:
    """Expected divergence and its slopes; terms of answers that nobody gives are 0."""
    asked = won + lost
    value = 0.0
    for weight, model in ((won, at), (lost, 1.0 - at)):
        some = weight > 0.0
        value += float((weight[some] * np.log(weight[some] / (asked[some] * model[some]))).sum())
    return max(value, 0.0), lost / (1.0 - at) - won / at


def _search(won: FloatArray, lost: FloatArray, triangles: FloatArray) -> FloatArray:
    """Sequential quadratic programming from even preferences."""
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import minimize

    found = minimize(
        lambda at: _loss(won, lost, at), np.full(won.size, 0.5), jac=True, method="SLSQP",
        bounds=[(INSIDE, 1.0 - INSIDE)] * won.size,
        constraints=[
            {"type": "ineq", "fun": lambda at: triangles @ at, "jac": lambda at: triangles},
            {"type": "ineq", "fun": lambda at: 1.0 - triangles @ at, "jac": lambda at: -triangles},
        ],
        options={"maxiter": 500, "ftol": 1e-14},
    )  # fmt: skip
    return np.clip(found.x, INSIDE, 1.0 - INSIDE)


def _below(loss: float, slope: FloatArray, at: FloatArray, triangles: FloatArray) -> float:
    """Convexity: the least value on the polytope of the tangent at any point, from multipliers of its inequalities."""
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import linprog

    sides = np.vstack([triangles, -triangles])
    right = np.append(np.ones(len(triangles)), np.zeros(len(triangles)))
    found = linprog(slope, A_ub=sides, b_ub=right, bounds=[(0.0, 1.0)] * slope.size, method="highs")
    # Any multipliers prove a bound; those of a programme that failed are none.
    multipliers = np.zeros(right.size) if found.x is None else np.maximum(-found.ineqlin.marginals, 0.0)
    reduced = slope + sides.T @ multipliers
    tangent = float(np.minimum(reduced, 0.0).sum() - right @ multipliers - slope @ at)
    rounding = 16.0 * EPS * slope.size * (1.0 + float(np.abs(slope).sum() + multipliers.sum()))
    return max(loss + tangent - rounding, 0.0)
