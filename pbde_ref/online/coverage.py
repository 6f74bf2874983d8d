r"""How far from the optimum learning may end where answers were not compared: offline, and with KL control online.

Exact answers of Luce's rule with utilities u determine what is compared up to a constant for each component of the
comparison graph. :math:`\pi^* \propto \pi_{pre}\, e^{u / \beta}` is the optimum of Eq. (12). Proof:
``proofs/coverage.md``.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.distributions import FiniteDistribution, same_support, tilt
from pbde_ref.exact.identifiability import comparison_components, finite_utilities
from pbde_ref.numerics import logsumexp
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, IndexArray, instance, number, positive_number, same_size

__all__ = ["offline_shortfall", "online_shortfall"]

# Corners of a box are tried, two for each component.
MOST = 16


def _components(
    utilities: ArrayLike, proposal: Proposal, beta: float, reference: FiniteDistribution
) -> tuple[FloatArray, IndexArray, FloatArray]:
    """Utilities, each outcome's component, and the logarithm of the optimum's share of each component."""
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    values = finite_utilities(utilities, len(reference))
    same_size("utilities", values.size, len(reference))
    component = comparison_components(proposal, values.size)
    same_support("proposal", getattr(proposal, "support", None), "reference", reference.support)
    optimum = tilt(reference, values, positive_number("beta", beta))
    sizes = np.bincount(component)
    if (np.isneginf(reference.log_pmf) & (sizes[component] > 1)).any():
        raise ValueError("`reference` must be positive where `proposal` compares outcomes; got probability 0")
    shares = np.array([logsumexp(optimum.log_pmf[component == c]) for c in range(sizes.size)])
    return values, component, shares


def offline_shortfall(utilities: ArrayLike, proposal: Proposal, beta: float, reference: FiniteDistribution) -> float:
    r"""By how much a minimiser of DPO's expected loss may miss the optimum of Eq. (12), in units of reward.

    .. math:: \sup_\pi \big[ J(\pi^*) - J(\pi) \big] = -\beta \log \min_C \pi^*(C), \qquad
              J(\pi) = E_\pi[u] - \beta D_{KL}(\pi \,\|\, \pi_{pre})

    over components C of the comparison graph: 0 for one component, infinite where the reference excludes an outcome
    that was never compared.

    Parameters
    ----------
    utilities : array_like, shape (n,)
        u, the rewards.
    proposal : ProductProposal, JointProposal or PairListProposal
    beta : float
    reference : FiniteDistribution
        Positive where outcomes are compared.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.online import offline_shortfall
    >>> even = pb.uniform(range(3))
    >>> round(offline_shortfall([0, 0, 0], pb.JointProposal([[0, 1, 0], [0, 0, 0], [0, 0, 0]]), 1.0, even), 6)  # log 3
    1.098612
    >>> offline_shortfall([0, 0, 0], pb.ProductProposal(even), 1.0, even)
    0.0
    """
    _, _, shares = _components(utilities, proposal, beta, reference)
    return float(-beta * shares.min()) if shares.size > 1 else 0.0


def online_shortfall(
    utilities: ArrayLike,
    proposal: Proposal,
    beta: float,
    reference: FiniteDistribution,
    *,
    least: float | None = None,
    most: float | None = None,
) -> float:
    r"""By how much RLHF may miss it, whatever rewards from a range are fitted to the same comparisons.

    A reward that fits is u plus a constant :math:`\Delta_C` for each component, and what RLHF learns from it gives C
    the probability :math:`\propto \pi^*(C)\, e^{\Delta_C / \beta}`. The divergence from :math:`\pi^*` is greatest
    in a corner of the box that the range leaves to the constants. What the reference excludes stays excluded.

    Parameters
    ----------
    utilities, proposal, beta, reference
        As for `offline_shortfall`.
    least, most : float, optional
        Of rewards; `utilities` lie between. Default: no bound.

    Examples
    --------
    The reference excludes what was not compared; offline anything may come of it.

    >>> import pbde_ref as pb
    >>> from pbde_ref.online import offline_shortfall, online_shortfall
    >>> pairs = pb.JointProposal([[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    >>> reference = pb.FiniteDistribution.from_weights([1, 1, 0])
    >>> [fall([1, 0, 0], pairs, 1.0, reference) for fall in (offline_shortfall, online_shortfall)]
    [inf, 0.0]
    >>> round(online_shortfall([1, 0, 0], pairs, 1.0, pb.uniform(range(3)), least=0, most=1), 6)
    0.111769
    """
    values, component, shares = _components(utilities, proposal, beta, reference)
    low = -math.inf if least is None else number("least", least)
    high = math.inf if most is None else number("most", most)
    if values.min() < low or values.max() > high:
        span = f"{values.min():g} to {values.max():g}"
        raise ValueError(f"`least` and `most` must enclose the utilities, {span}; got {low:g} and {high:g}")
    possible = np.flatnonzero(np.isfinite(shares))
    if possible.size <= 1:
        return 0.0
    if math.isinf(high) or math.isinf(low):
        # One constant may be so large, or all others so small, that its component takes everything.
        return float(-beta * shares[possible].min())
    if possible.size > MOST:
        raise ValueError(f"`proposal` must leave at most {MOST} components to the reference; got {possible.size}")
    ranges = [
        ((low - values[component == c].min()) / beta, (high - values[component == c].max()) / beta) for c in possible
    ]
    return float(beta * max(_divergence(shares[possible], np.array(corner)) for corner in itertools.product(*ranges)))


def _divergence(log_shares: FloatArray, shift: FloatArray) -> float:
    """Of shares that are shifted in their logarithms from what they were."""
    log_total = float(logsumexp(log_shares + shift))
    moved = np.exp(log_shares + shift - log_total)
    return max(float(moved @ (shift - log_total)), 0.0)
