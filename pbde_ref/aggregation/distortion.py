r"""How much welfare is lost where only preferences are seen: distortion, and the population for which it is worst.

Annotators have utilities :math:`u_i(x) \in [0, 1]` and prefer x to y with probability
:math:`\sigma(\beta (u_i(x) - u_i(y)))`; welfare is the mean utility. Proof: ``proofs/distortion.md``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.special import expit

from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution, kl_divergence, same_support, tilt
from pbde_ref.validation import (
    FloatArray,
    instance,
    positive_number,
    probability_weights,
    reject,
    same_size,
    vector,
    whole_number,
)  # fmt: skip

__all__ = ["WorstCase", "distortion", "largest_distortion", "worst_distortion"]


def distortion(welfare: ArrayLike, policy: FiniteDistribution, reference: FiniteDistribution | None = None) -> float:
    r"""The best achievable mean utility over that of a policy, at least 1.

    .. math:: \frac{\max_{\pi'} \sum_x \pi'(x)\, W(x)}{\sum_x \pi(x)\, W(x)}, \qquad
              D_{KL}(\pi' \,\|\, \pi_{pre}) \le D_{KL}(\pi \,\|\, \pi_{pre})

    The maximum is over all policies where there is no reference. Infinite where the policy has no welfare and another
    has some.

    Parameters
    ----------
    welfare : array_like, shape (n,)
        Mean utility of each outcome, non-negative and not all zero.
    policy : FiniteDistribution
    reference : FiniteDistribution, optional
        :math:`\pi_{pre}`; positive where the policy is.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.aggregation import distortion
    >>> distortion([0.5, 0.25], pb.FiniteDistribution.from_weights([1, 1]))
    1.3333333333333333
    """
    values = vector("welfare", welfare)
    reject("welfare", "finite and non-negative", values, (values < 0.0) | ~np.isfinite(values))
    if not values.any():
        raise ValueError("`welfare` must be positive somewhere; got zeros")
    instance("policy", policy, FiniteDistribution, "a FiniteDistribution")
    same_size("policy", len(policy), values.size)
    best = float(values.max())
    if reference is not None:
        instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
        same_support("reference", reference.support, "policy", policy.support)
        radius = kl_divergence(policy, reference)
        if not np.isfinite(radius):
            raise ValueError("`reference` must be positive where the policy is; got a probability of 0")
        best = _best_within(values, reference, radius)
    reached = float(policy.pmf @ values)
    return max(best / reached, 1.0) if reached > 0.0 else np.inf


def _best_within(values: FloatArray, reference: FiniteDistribution, radius: float) -> float:
    """The largest mean within a KL ball: that of a tilt, whose strength is bisected on a scale of decades."""
    spread = float(np.ptp(values[reference.pmf > 0.0])) or 1.0
    low, high = -12.0, 12.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        near = kl_divergence(tilt(reference, values, spread * 10.0**middle), reference) <= radius
        low, high = (low, middle) if near else (middle, high)
    return float(tilt(reference, values, spread * 10.0**high).pmf @ values)


def largest_distortion(beta: float, n_outcomes: int = 3) -> float:
    r"""The largest distortion that the favourite of pairs from :math:`\mu \otimes \mu` may have, where all can be had.

    .. math:: \frac{\beta}{2} \coth \frac{\beta}{2}, \qquad
              \frac{\beta}{2} \coth \frac{\beta}{2} \Big[1 + \frac{h(a) - k a}{h(\beta)}\Big], \quad
              h(x) = \tfrac12 \tanh \tfrac x2,\ k = \frac{h(\beta)}{\beta},\ h'(a) = k

    for two outcomes, and for three or more: the supremum over :math:`\mu`, over populations of any size, and over their
    utilities in [0, 1]. It is below :math:`\beta` for :math:`\beta \ge 2`, and half a logarithm less in the end.
    Proof: ``proofs/distortion.md``.

    Parameters
    ----------
    beta : float
        From 1e-3 to 1e6.
    n_outcomes : int
        2 or more.

    Examples
    --------
    >>> from pbde_ref.aggregation import largest_distortion
    >>> [round(largest_distortion(beta) / beta, 4) for beta in (2, 8, 64, 1024)]
    [0.727, 0.7692, 0.9543, 0.9958]
    """
    beta = positive_number("beta", beta, least=1e-3)
    if beta > 1e6:
        raise ValueError(f"`beta` must be at most 1e6; got {beta}")
    top = float(expit(beta) - 0.5)
    slope = top / beta
    two = 0.25 / slope
    if whole_number("n_outcomes", n_outcomes, least=2) == 2:
        return two
    # h' = 1/4 - h^2.
    height = float(np.sqrt(max(0.25 - slope, 0.0)))
    return two * (1.0 + (height - slope * 2.0 * float(np.arctanh(2.0 * height))) / top)


@dataclass(frozen=True, eq=False)
class WorstCase(Shown):
    """A population whose favourite is far from the best outcome.

    Attributes
    ----------
    distortion : float
        Infinite where the favourite may have no welfare at all; then the rest is empty.
    favourite, best : int
        Indices of the Borda winner among what can be produced, and of the outcome of most welfare among it.
    utilities : ndarray, shape (m, n)
        Of each type of annotators.
    shares : ndarray, shape (m,)
        How many annotators are of that type.
    """

    distortion: float
    favourite: int
    best: int
    utilities: FloatArray
    shares: FloatArray


def worst_distortion(beta: float, mu: ArrayLike, levels: int = 8, reachable: ArrayLike | None = None) -> WorstCase:
    r"""The largest distortion that picking the fit's favourite has, over populations with utilities on a grid.

    The fit is that of the log loss to pairs from :math:`\mu \otimes \mu`, whose favourite is the :math:`\mu`-weighted
    Borda winner. For each favourite and each best outcome the worst population is a linear programme in the shares of
    types. A finer grid contains more populations: the result is a lower bound on the distortion over all of [0, 1],
    of which `largest_distortion` is an upper bound where everything is reachable.

    Parameters
    ----------
    beta : float
        Temperature of the annotators, positive: at utilities 1 and 0 they answer with :math:`\sigma(\beta)`.
    mu : array_like, shape (n,)
        What compared outcomes are drawn from; normalised here.
    levels : int
        Utilities are 0, 1/levels, …, 1; there are (levels + 1)ⁿ types, at most 20,000.
    reachable : array_like of bool, shape (n,), optional
        What a policy can produce: where :math:`\pi_{pre} > 0`. Default: everything.

    Notes
    -----
    The optimum leaves favourite and best tied in Borda scores; a population next to it has the favourite ahead.

    Examples
    --------
    Two outcomes cost nearly :math:`\tfrac{\beta}{2} \coth \tfrac{\beta}{2}`.

    >>> from pbde_ref.aggregation import worst_distortion
    >>> round(worst_distortion(4.0, [1, 1], levels=64).distortion, 2), float((2.0 / np.tanh(2.0)).round(2))
    (2.07, 2.07)
    """
    beta, levels = positive_number("beta", beta), whole_number("levels", levels, least=1)
    weights = probability_weights("mu", vector("mu", mu))
    n = weights.size
    able = np.ones(n, bool) if reachable is None else vector("reachable", reachable, size=n) != 0.0
    if (levels + 1) ** n > 20_000:
        raise ValueError(f"`levels` must leave at most 20,000 types; got {levels} and {n} outcomes")
    if able.sum() < 2:
        raise ValueError(f"`reachable` must hold two outcomes or more; got {able.sum()}")
    types = np.array(list(itertools.product(np.linspace(0.0, 1.0, levels + 1), repeat=n)))
    scores = expit(beta * (types[:, :, None] - types[:, None, :])) @ weights
    # Where all utilities are equal every outcome is the favourite and the best.
    first = int(np.argmax(able))
    worst = WorstCase(1.0, first, first, types[-1:], np.ones(1))
    for won, best in itertools.permutations(np.flatnonzero(able).tolist(), 2):
        ahead = [scores[:, other] - scores[:, won] for other in np.flatnonzero(able) if other != won]
        found = linprog(
            -types[:, best], A_ub=ahead, b_ub=np.zeros(len(ahead)), A_eq=[types[:, won]], b_eq=[1.0], method="highs"
        )
        if found.status == 3:
            return WorstCase(np.inf, won, best, types[:0], weights[:0])
        if found.status == 0 and -found.fun > worst.distortion:
            taken = np.flatnonzero(found.x > 1e-12)
            worst = WorstCase(float(-found.fun), won, best, types[taken], found.x[taken] / found.x.sum())
    return worst
