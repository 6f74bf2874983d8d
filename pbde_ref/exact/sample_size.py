"""How many comparisons it takes: what maximum likelihood errs by for large N, and the N at which it errs by so much."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.identifiability import comparison_components, finite_utilities, information_of_pairs
from pbde_ref.exact.laplacian import eliminate
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, positive_number, whole_number

__all__ = ["PolicyError", "comparisons_needed", "comparisons_per_sample", "policy_error", "relative_changes"]


class PolicyError(NamedTuple):
    r"""How far an estimated policy is from the truth on average.

    Attributes
    ----------
    total_variation : float
    nats : float
        :math:`D_{KL}(p^* \| \hat p)`.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> round(pb.policy_error([0.0, 0.0], pb.JointProposal([[0, 1], [0, 0]]), 50).nats, 9)
    0.01
    """

    total_variation: float
    nats: float


def policy_error(utilities: ArrayLike, proposal: Proposal, n_comparisons: int) -> PolicyError:
    r"""How far the policy that is learnt from N comparisons is from :math:`p^* \propto e^{\omega}`, for large N.

    .. math:: E\,\mathrm{TV} \approx \frac{1}{\sqrt{2 \pi N}} \sum_x \sqrt{C_{xx}}, \qquad
              E\,D_{KL}(p^* \| \hat p) \approx \frac{1}{2N} \sum_x \frac{C_{xx}}{p^*(x)}, \qquad C = J I^+ J

    with J the covariance of one draw from :math:`p^*` and I the Fisher information of one comparison.

    Parameters
    ----------
    utilities : array_like, shape (n,)
        The truth, finite; at least two outcomes. Answers follow the Luce rule.
    proposal : ProductProposal, JointProposal or PairListProposal
        Must connect all outcomes.
    n_comparisons : int
        N, at least 1.

    Raises
    ------
    ValueError
        If there is one outcome, or the comparisons do not connect all.

    Notes
    -----
    For every finite N the estimate is infinite with positive probability; the formula needs so many comparisons that
    each outcome has been on both sides. Proof: ``proofs/pairs_and_samples.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p = pb.FiniteDistribution.from_weights([3, 1])
    >>> error = pb.policy_error(p.log_pmf, pb.JointProposal([[0, 1], [0, 0]]), 3000)
    >>> round(error.total_variation, 6), round(1 / error.nats, 6)
    (0.006308, 6000.0)
    """
    n_comparisons = whole_number("n_comparisons", n_comparisons, least=1)
    one = _of_one_comparison(utilities, proposal)[0]
    return PolicyError(one.total_variation / math.sqrt(n_comparisons), one.nats / n_comparisons)


def comparisons_needed(
    utilities: ArrayLike, proposal: Proposal, *, total_variation: float | None = None, nats: float | None = None
) -> int:
    r"""How many comparisons bring the learnt policy so close to :math:`p^* \propto e^{\omega}`.

    The N at which `policy_error` is what is asked for, rounded up.

    Parameters
    ----------
    utilities, proposal
        As for `policy_error`.
    total_variation, nats : float
        The mean total variation, or the mean divergence, that is wanted; one of them, positive.

    Raises
    ------
    TypeError
        If not exactly one of the two is given.
    ValueError
        If it is not positive, there is one outcome, or the comparisons do not connect all.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> problem = pb.paper_problem(64)
    >>> p, pairs = problem.implicit_preference_distribution, pb.ProductProposal(problem.reference)
    >>> pb.comparisons_needed(p.log_pmf, pairs, total_variation=0.05)
    15522
    """
    if (total_variation is None) == (nats is None):
        raise TypeError("exactly one of `total_variation` and `nats` must be given")
    one = _of_one_comparison(utilities, proposal)[0]
    if nats is None:
        return math.ceil((one.total_variation / positive_number("total_variation", total_variation, least=1e-100)) ** 2)
    return math.ceil(one.nats / positive_number("nats", nats, least=1e-100))


def comparisons_per_sample(utilities: ArrayLike, proposal: Proposal) -> float:
    r"""How many comparisons tell as much about :math:`p^* \propto e^{\omega}` as one draw from it does.

    .. math:: \Big( \sum_x \sqrt{(J I^+ J)_{xx}} \Big/ \sum_x \sqrt{J_{xx}} \Big)^2, \qquad
              J = \operatorname{diag}(p^*) - p^* p^{*\top}

    For many data the mean total variation of the maximum-likelihood estimate from the truth is
    :math:`\frac{1}{\sqrt{2 \pi N}} \sum_x \sqrt{C_{xx}}`, with :math:`C = J` for N draws and :math:`C = J I^+ J` for N
    comparisons of a Luce annotator; this is the ratio of the N at which the two are equal.

    Parameters
    ----------
    utilities : array_like, shape (n,)
        The truth, finite; at least two outcomes.
    proposal : ProductProposal, JointProposal or PairListProposal
        Must connect all outcomes.

    Notes
    -----
    Pairs drawn from :math:`p^* \otimes p^*` need at least 2, and exactly 2 if all outcomes are equally likely.
    Proof: ``proofs/pairs_and_samples.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p = pb.FiniteDistribution.from_weights([1, 1, 1, 1])
    >>> round(pb.comparisons_per_sample(p.log_pmf, pb.ProductProposal(p)), 12)
    2.0
    >>> problem = pb.paper_problem(16)
    >>> truth, pairs = problem.implicit_preference_distribution.log_pmf, pb.ProductProposal(problem.reference)
    >>> round(pb.comparisons_per_sample(truth, pairs), 1)
    10.7
    """
    one, scale = _of_one_comparison(utilities, proposal)
    return (one.total_variation * math.sqrt(2.0 * math.pi) / scale) ** 2


def _of_one_comparison(utilities: ArrayLike, proposal: Proposal) -> tuple[PolicyError, float]:
    """The errors as if N = 1 were large, and sum of the square roots of J's diagonal."""
    utilities = finite_utilities(utilities)
    if utilities.size < 2:
        raise ValueError("`utilities` must have at least two outcomes; got 1")
    components = comparison_components(proposal, utilities.size)
    if components.any():
        raise ValueError("`proposal` must connect all outcomes; got several components")
    p = FiniteDistribution(utilities).pmf
    information, exponent = information_of_pairs(utilities, proposal, components)
    # The likeliest outcome comes last and is grounded: rare ones, whose variances are huge, then share nothing.
    order = np.argsort(p, kind="stable")
    p, root = p[order], eliminate(information[np.ix_(order, order)]).root()
    # Of log-probabilities: dp = p dlog p.
    changes = relative_changes(p, np.ones(p.size))
    variances: FloatArray = ((changes @ root) ** 2).sum(axis=1)
    total_variation = float((p * np.sqrt(variances)).sum()) / math.sqrt(2.0 * math.pi) * 2.0 ** (exponent / 2)
    error = PolicyError(total_variation, 0.5 * float(np.ldexp((p * variances).sum(), exponent)))
    return error, float(np.sqrt(p * changes.diagonal()).sum())


def relative_changes(policy: FloatArray, f: FloatArray) -> FloatArray:
    r"""How log-probabilities change with utilities :math:`\Omega = f \log \pi + g`, shape (n, n).

    .. math:: \frac{\partial \log \pi(x)}{\partial \Omega(y)} = \frac{[x = y] - u(y)}{f(x)}, \qquad
              u \propto \frac{\pi}{f}, \quad \sum_y u(y) = 1

    Examples
    --------
    >>> relative_changes(np.array([0.75, 0.25]), np.ones(2))
    array([[ 0.25, -0.25],
           [-0.75,  0.75]])
    """
    shares = policy * (f.min() / f)
    others = shares / shares.sum() * (1.0 - np.eye(f.size))
    # Sums of what is left, not 1 less a share: the rows' sums are zero to the last digits.
    return np.asarray((np.diag(others.sum(axis=1)) - others) / f[:, None])
