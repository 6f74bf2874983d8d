r"""What a proposal is judged by: covariances of utilities, errors of the policy.

Every value is that of one comparison. Each falls as one over the number of comparisons, so that the ratio of two values
is the ratio of the numbers that two proposals need.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pbde_ref.annotators import Annotator
from pbde_ref.distributions import FiniteDistribution, same_support
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.identifiability import comparison_components, information_of_pairs
from pbde_ref.exact.laplacian import eliminate
from pbde_ref.exact.optima import optimal_policy
from pbde_ref.exact.sample_size import relative_changes
from pbde_ref.numerics import EPS
from pbde_ref.pbde import PBDE
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, IndexArray, choice, instance, reject

__all__ = [
    "CRITERIA", "Measured", "Question", "design_value", "measure", "question", "squared_distances", "value_in_range",
]  # fmt: skip

CRITERIA = {
    "D": "geometric mean of the principal variances of the utilities",
    "A": "sum of the variances of the centred utilities",
    "policy": "nats from the best policy to the one learnt",
}
"""What each criterion measures."""

# Pairs of points closer than this share of their distances from 0, squared, are subtracted before they are squared.
CLOSE = 1e-2


class Question(NamedTuple):
    r"""What a design has to be good for, outcomes in the order in which they are eliminated.

    Attributes
    ----------
    utilities : ndarray, shape (n,)
    order : ndarray of int, shape (n,)
        Which outcomes these are: the likeliest comes last.
    slopes : ndarray, shape (n, n), or None
        F, where the value is :math:`\operatorname{tr}(F I^+ F^\top)`; None for D.
    """

    utilities: FloatArray
    order: IndexArray
    slopes: FloatArray | None


class Measured(NamedTuple):
    r"""A proposal's value, and what it says of each pair.

    Attributes
    ----------
    value : float
    bound : float
        No proposal has a value below this one's `bound` / :math:`\max_e \phi_e`.
    root : ndarray, shape (n, n)
        M, with :math:`M M^\top` the inverse of the information where the last outcome is grounded.
    points : ndarray, shape (n, k)
        X, with :math:`\phi_e = s\, c_e |X_A - X_B|^2` for e = (A, B), whose comparison has the information c.
    scale : float
        s.
    rounding : float
        How much of itself `value`, `bound` or a distance may be off by.
    """

    value: float
    bound: float
    root: FloatArray
    points: FloatArray
    scale: float
    rounding: float


def design_value(
    annotator: Annotator, proposal: Proposal, criterion: str = "policy", process: PBDE | None = None
) -> float:
    r"""How good a proposal is, by one comparison; the value after N is this over N, for large N.

    .. math:: \textbf{D}: \Big(\det\nolimits_\perp I^+\Big)^{1/(n-1)}, \qquad
              \textbf{A}: \operatorname{tr} I^+, \qquad
              \textbf{policy}: \tfrac12 \operatorname{tr}(F I^+ F^\top) \approx N\, E\, D_{KL}(\pi \| \hat\pi), \quad
              F_{xy} = \sqrt{\pi(x)}\; \partial \log \pi(x) / \partial \Omega(y)

    with I the Fisher information of one comparison (`fisher_information`), :math:`\det_\perp` the determinant on the
    complement of the constants.

    Parameters
    ----------
    annotator : Annotator
        Who answers: one process on one support of at least two outcomes, with finite utilities.
    proposal : ProductProposal, JointProposal or PairListProposal
        Must connect all outcomes.
    criterion : {"policy", "A", "D"}
        "A" and "D" in nats squared, "policy" in nats.
    process : PBDE, optional
        How the learnt policy is read off the utilities; default: the annotator's, where the best policy is
        :math:`p^*`. For "policy" alone.

    Raises
    ------
    ValueError
        If there is one outcome, the comparisons do not connect all, the best policy has a probability below 1e-300
        (for "policy"), or the value is out of the range of float64.

    Notes
    -----
    Under the Luce rule "policy" is the divergence of `policy_error`, and a mean squared error weighted by
    :math:`1 / \pi`. Proof: ``proofs/optimal_design.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.uniform("abc"), pb.luce())
    >>> [round(pb.design_value(annotator, pb.ProductProposal([1, 1, 1]), by), 9) for by in ("D", "A", "policy")]
    [6.0, 12.0, 2.0]
    """
    asked = question(annotator, criterion, process)
    check_models(annotator, proposal)
    components = comparison_components(proposal, asked.order.size)
    if components.any():
        raise ValueError("`proposal` must connect all outcomes; got several components")
    information, exponent = information_of_pairs(annotator.utility, proposal, components, "annotator.utility")
    with np.errstate(all="ignore"):
        value = np.ldexp(measure(information[np.ix_(asked.order, asked.order)], asked).value, exponent)
    return value_in_range(float(value))


def value_in_range(value: float) -> float:
    """The value, if the policy is not all but certain, and its errors are not out of range.

    Examples
    --------
    >>> value_in_range(0.5)
    0.5
    """
    if not 0.0 < value < math.inf:
        raise ValueError(f"`annotator` and `process` must lead to a value between 5e-324 and 1.8e308; got {value}")
    return value


def question(annotator: Annotator, criterion: str, process: PBDE | None) -> Question:
    """What the arguments of `design_value` ask for.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> question(pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce()), "A", None).order
    array([1, 0])
    """
    instance("annotator", annotator, Annotator, "a single Annotator")
    instance("annotator.distribution", annotator.distribution, FiniteDistribution, "a FiniteDistribution")
    choice("criterion", criterion, CRITERIA)
    utilities = annotator.utility
    reject("annotator.utility", "finite", utilities, ~np.isfinite(utilities))
    if (size := utilities.size) < 2:
        raise ValueError("`annotator` must have at least two outcomes; got 1")
    if process is not None:
        instance("process", process, PBDE, "a PBDE")
        same_support("process", process.support, "annotator", annotator.support)
    policy = annotator.distribution if process is None else optimal_policy(annotator, process)
    order = np.argsort(policy.log_pmf, kind="stable")
    slopes = np.eye(size) - 1.0 / size if criterion == "A" else None
    if criterion == "policy":
        reject("best policy of annotator and process", "at least 1e-300", policy.pmf, policy.pmf < 1e-300)
        f = np.broadcast_to((annotator.pbde if process is None else process).f, (size,))[order]
        slopes = np.sqrt(0.5 * policy.pmf[order])[:, None] * relative_changes(policy.pmf[order], f)
    return Question(utilities[order], order, slopes)


def measure(information: FloatArray, asked: Question) -> Measured:
    """Value and slopes of a proposal with this information, shape (n, n), in the order of the question.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> asked = question(pb.Annotator(pb.uniform("ab"), pb.luce()), "A", None)
    >>> round(measure(0.25 * (1.0 - np.eye(2)), asked).value, 12)
    2.0
    """
    elimination = eliminate(information)
    root, size = elimination.root(), len(information)
    spread = float(np.ptp(asked.utilities))
    # Elimination loses a few units per outcome, c as many as there are nats, close points what CLOSE allows.
    unit = 8.0 * EPS * (size * (1.0 + 0.25 / CLOSE) + spread)
    if asked.slopes is None:
        # By the matrix-tree theorem the determinant on the complement is n times that with one outcome grounded.
        logs = np.log(elimination.degree[:-1]).sum() + np.log(size)
        value = float(np.exp(elimination.exponent * np.log(2.0) - logs / (size - 1)))
        return Measured(value, value, root, root, 1.0 / (size - 1), unit)
    changes = asked.slopes @ root
    # Where weights underflow, what is not connected has no finite variance.
    total = np.where(elimination.degree[:-1].min() > 0.0, (changes**2).sum(), np.inf)
    points, absolute = root @ changes.T, np.abs(asked.slopes)
    trace, most = (asked.slopes * points.T).sum(), (absolute * np.abs(points.T)).sum()
    cancelled = max(most / total, np.sqrt(((absolute @ root) ** 2).sum() / total))
    bound, rounding = float(trace * (trace / total)), float(unit * (1.0 + cancelled))
    return Measured(float(total), bound, root, points, float(1.0 / total), rounding)


def squared_distances(points: FloatArray) -> FloatArray:
    r""":math:`|X_A - X_B|^2` for all pairs of rows, shape (n, n), with digits for close ones too.

    Examples
    --------
    >>> squared_distances(np.array([[1e10], [1e10 + 1.0]]))
    array([[0., 1.],
           [1., 0.]])
    """
    gram = points @ points.T
    both = gram.diagonal()[:, None] + gram.diagonal()
    result = both - gram - gram.T
    a, b = np.nonzero(np.triu(~(result > CLOSE * both), 1))
    for part in np.array_split(np.arange(a.size), a.size // 4096 + 1):
        i, j = a[part], b[part]
        result[i, j] = result[j, i] = ((points[i] - points[j]) ** 2).sum(axis=1)
    np.fill_diagonal(result, 0.0)
    return np.asarray(result)
