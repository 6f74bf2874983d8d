r"""Probability distributions on a finite support, held as log-probabilities.

The support is any sequence of distinct labels. Outcomes of probability zero are ordinary: their log-probability is
:math:`-\infty`. Grid densities follow the paper's univariate experiments: the probability of a grid point is
proportional to the density there, and the probabilities of all grid points sum to one.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.conditional import ConditionalDistribution
from pbde_ref.display import Shown
from pbde_ref.numerics import log_normalize, logsumexp, weighted
from pbde_ref.validation import (
    FloatArray,
    generator_of,
    hashable,
    instance,
    number,
    plain_array,
    positive_number,
    probability_weights,
    reject,
    same_size,
    shown,
    vector,
    whole_number,
)  # fmt: skip

__all__ = [
    "EITHER_DISTRIBUTION", "Distribution", "FiniteDistribution", "common_support", "geometric_mean", "kl_divergence",
    "labels", "mixture", "rewards_in_units", "same_support", "tilt", "total_variation", "truncated_normal", "uniform",
]  # fmt: skip

# Characters that may be wasted on texts of unequal lengths.
ROOM_FOR_TEXTS = 2**18
# Of a distribution's one-line text.
FEW_SHOWN, LONGEST_SHOWN = 5, 24


@dataclass(frozen=True, eq=False, init=False)
class FiniteDistribution(Shown):
    r"""A probability distribution over finitely many labelled outcomes.

    .. math:: p(x_i) = e^{\ell_i} \Big/ \sum_j e^{\ell_j}

    Parameters
    ----------
    log_weights : array_like, shape (n,)
        Unnormalised log-probabilities :math:`\ell`; :math:`-\infty` stands for probability zero.
    support : sequence of n distinct hashable labels, optional
        Default: the index of a pandas Series, otherwise ``range(n)``.

    Attributes
    ----------
    log_pmf, pmf : ndarray, shape (n,)
        Log-probabilities in nats, and probabilities. Read-only.
    support : ndarray, shape (n,)
        The labels. Read-only.

    Raises
    ------
    TypeError, ValueError
        If `log_weights` is not a vector of numbers, holds NaN or +inf, or is −inf everywhere; if `support` has another
        length, or a label twice.

    Warns
    -----
    UserWarning
        If `log_weights` look like probabilities, which belong into `from_weights`.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p = pb.FiniteDistribution.from_weights([3, 1, 0], support=["tea", "coffee", "water"])
    >>> p.pmf
    array([0.75, 0.25, 0.  ])
    >>> p.log_pmf[2]
    np.float64(-inf)
    >>> float(p["tea"]), round(p.entropy(), 6)
    (0.75, 0.562335)
    """

    log_pmf: FloatArray
    pmf: FloatArray
    support: NDArray[Any]

    def __init__(self, log_weights: ArrayLike, support: Sequence[Hashable] | NDArray[Any] | None = None) -> None:
        support = _index_of(log_weights) if support is None else support
        log_weights = vector("log_weights", log_weights)
        # A utility of 1 beside zeros is no mistake, and what the package computes is none either.
        if (
            log_weights.min() >= 0.0
            and log_weights.max() < 1.0
            and abs(log_weights.sum() - 1.0) < 1e-9
            and not sys._getframe(1).f_globals.get("__name__", "").startswith("pbde_ref.")
        ):
            warnings.warn(
                "`log_weights` look like probabilities; these go to FiniteDistribution.from_weights", stacklevel=2
            )
        reject("log_weights", "below +inf", log_weights, np.isposinf(log_weights))
        if np.isneginf(log_weights).all():
            raise ValueError("`log_weights` must have positive mass; got -inf everywhere")
        log_pmf = log_normalize(log_weights)
        for name, value in (
            ("log_pmf", log_pmf),
            ("pmf", np.exp(log_pmf)),
            ("support", labels(support, log_pmf.size)),
        ):
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    @classmethod
    def from_weights(
        cls, weights: ArrayLike, support: Sequence[Hashable] | NDArray[Any] | None = None
    ) -> FiniteDistribution:
        """The distribution proportional to non-negative `weights`, which need not sum to one."""
        support = _index_of(weights) if support is None else support
        with np.errstate(divide="ignore"):
            return cls(np.log(probability_weights("weights", vector("weights", weights))), support)

    def __len__(self) -> int:
        """Number of outcomes, those of probability zero included."""
        return self.log_pmf.size

    def __repr__(self) -> str:
        if len(self) <= FEW_SHOWN:
            shown_pmf = ", ".join(f"{_short(x)}: {p:.4g}" for x, p in zip(self.support, self.pmf, strict=True))
            return f"FiniteDistribution({shown_pmf})"
        return f"FiniteDistribution({len(self)} outcomes: {_short(self.support[0])} … {_short(self.support[-1])})"

    def __getitem__(self, label: Hashable) -> np.float64:
        """The probability of an outcome, by its label."""
        places = np.flatnonzero([outcome == label for outcome in self.support.tolist()])
        if places.size != 1:
            raise KeyError(f"{shown(label)} is not in the support")
        return np.float64(self.pmf[places[0]])

    __iter__ = None  # labels or probabilities? Neither: `support` and `pmf` say which

    __array__ = ConditionalDistribution.__array__

    def plot(self, axes: Any = None, **style: Any) -> Any:
        """Draw the probabilities over the support; matplotlib's axes, new ones if none are given.

        Examples
        --------
        >>> import pbde_ref as pb
        >>> pb.paper_problem(64).reference.plot(label="reference").get_ylabel()
        'probability'
        """
        from matplotlib import pyplot  # only who draws needs it

        given, axes = axes, pyplot.subplots()[1] if axes is None else axes
        instance("axes", axes, pyplot.Axes, "axes of matplotlib")
        try:
            if self.support.dtype.kind in "iuf":
                axes.plot(self.support, self.pmf, **style)
            else:
                axes.bar(list(map(_short, self.support)), self.pmf, **style)
        except Exception:
            # Nobody else knows of it.
            if given is None:
                pyplot.close(axes.figure)
            raise
        axes.set_ylabel("probability")
        return axes

    def entropy(self) -> float:
        r"""Shannon entropy :math:`-\sum_x p(x) \log p(x)` in nats."""
        return float(-weighted(self.pmf, self.log_pmf).sum())

    def expectation(self, values: ArrayLike) -> float:
        r""":math:`\sum_x p(x)\,v(x)`; outcomes of probability zero do not count, whatever their value.

        Raises
        ------
        ValueError
            If outcomes of positive probability have both +inf and -inf: their sum is undefined.
        """
        values = vector("values", values, size=len(self))
        possible = self.pmf > 0.0
        if np.isposinf(values[possible]).any():
            reject("values", "above -inf where another is +inf", values, np.isneginf(values) & possible)
        return float(weighted(self.pmf, values).sum())

    def sample(self, size: int | tuple[int, ...] | None = None, *, rng: Any = None) -> Any:
        """Draw labels independently.

        Parameters
        ----------
        size : int or tuple of int, optional
            Shape of the result; one label if omitted.
        rng : numpy.random.Generator or seed, optional

        Examples
        --------
        >>> import pbde_ref as pb
        >>> pb.FiniteDistribution([0.0, float("-inf")], support=["a", "b"]).sample(3, rng=0)
        array(['a', 'a', 'a'], dtype='<U1')
        """
        given = size if isinstance(size, tuple) else (() if size is None else (size,))
        shape = None if size is None else tuple(whole_number("size", n, most=2**48) for n in given)
        return self.support[generator_of(rng).choice(len(self), size=shape, p=self.pmf)]


def _index_of(weights: Any) -> Any:
    """The labels that a pandas Series brings with it."""
    index: Any = getattr(weights, "index", None)
    return index.to_numpy() if hasattr(weights, "to_numpy") and hasattr(index, "to_numpy") else None


def _short(label: Any) -> str:
    text = str(label)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
EITHER_DISTRIBUTION = (FiniteDistribution, ConditionalDistribution)
"""What a formula that holds for each prompt by itself takes."""
Distribution = TypeVar("Distribution", FiniteDistribution, ConditionalDistribution)


def labels(support: Sequence[Hashable] | NDArray[Any] | None, size: int | None) -> NDArray[Any]:
    """A read-only array of `size` distinct labels, or of as many as are given; ``range(size)`` if none are given."""
    given = _sequence(range(size) if support is None and size is not None else support)
    size = len(given) if size is None else size
    same_size("support", len(given), size)
    seen: set[Hashable] = set()
    # Of a million numbers in a row nobody need ask whether one comes twice.
    for index, label in enumerate(() if support is None else given):
        hashable("support", label, index)
        if label in seen:
            raise ValueError(f"`support` must hold distinct labels; got {shown(label)} again at index {index}")
        seen.add(label)
    result: NDArray[Any] | None = None
    alike = len({type(label) for label in given}) == 1 and not isinstance(given[0], FiniteDistribution)
    alike = alike and np.ndim(given[0]) == 0
    # Every text of an array of texts takes the room of the longest.
    if alike and not (
        isinstance(given[0], str) and size * max(map(len, given)) > ROOM_FOR_TEXTS + 4 * sum(map(len, given))
    ):
        result = np.array(given)
    # NumPy drops null characters at the end of texts: 'a' and 'a\0' would be one label.
    if result is None or (result.dtype.kind in "US" and result.tolist() != given):
        # Mixed and composite labels must not be converted to a common type, or split into rows.
        result = np.empty(size, dtype=object)
        for index, label in enumerate(given):
            # All at once, NumPy would ask each what array it is.
            result[index] = label
    result.flags.writeable = False
    return result


def _sequence(support: Any) -> list[Any]:
    if isinstance(support, np.ndarray):
        plain_array("support", support)  # refuses masked entries
    # What has no length need not come to an end; the order of a set is another in each process.
    sized = isinstance(support, Iterable) and hasattr(support, "__len__")
    if not sized or isinstance(support, set | frozenset) or (isinstance(support, np.ndarray) and support.ndim == 0):
        raise TypeError(f"`support` must be a sequence of labels; got {shown(support)}")
    return list(support)


def uniform(support: Sequence[Hashable] | NDArray[Any]) -> FiniteDistribution:
    """The uniform distribution on `support`.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.uniform("abcd").pmf
    array([0.25, 0.25, 0.25, 0.25])
    """
    outcomes = _sequence(support)
    if not outcomes:
        raise ValueError("`support` must hold at least one label; got none")
    return FiniteDistribution(np.zeros(len(outcomes)), outcomes)


def truncated_normal(grid: ArrayLike, loc: float, scale: float) -> FiniteDistribution:
    r"""A normal density restricted to the points of a grid, as in Eq. (10).

    .. math:: p(x_i) \propto \exp\big(-\tfrac12 ((x_i - \text{loc}) / \text{scale})^2\big)

    Parameters
    ----------
    grid : array_like, shape (n,)
        Distinct finite points; they become the support. Points at equal distances make the result a discretisation of
        the truncated normal density on the interval that they cover.
    loc, scale : float
        Mean and standard deviation before truncation; ``scale > 0``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.truncated_normal([-1.0, 0.0, 1.0], loc=0.0, scale=1.0).pmf.round(4)
    array([0.2741, 0.4519, 0.2741])
    """
    points = vector("grid", grid)
    reject("grid", "finite", points, ~np.isfinite(points))
    order = np.argsort(points, kind="stable")
    again = np.zeros(points.size, dtype=bool)
    again[order[1:]] = points[order[1:]] == points[order[:-1]]
    reject("grid", "distinct points", points, again)
    loc, scale = number("loc", loc), positive_number("scale", scale)
    with np.errstate(over="ignore"):
        log_weights = -0.5 * ((points - loc) / scale) ** 2
    if np.isneginf(log_weights).all():
        raise ValueError(f"`grid` must have a point within 1e154 `scale` of `loc`; got none for {loc} and {scale}")
    return FiniteDistribution(log_weights, points)


def mixture(weights: ArrayLike, distributions: Sequence[Distribution]) -> Distribution:
    r"""The density mixture :math:`\sum_i w_i p_i(x)` of Eq. (10), (24) and (28); weights are normalised.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> heads, tails = pb.FiniteDistribution.from_weights([1, 0]), pb.FiniteDistribution.from_weights([0, 1])
    >>> pb.mixture([2, 3], [heads, tails]).pmf
    array([0.4, 0.6])
    """
    weights = probability_weights("weights", vector("weights", weights))
    if not isinstance(distributions, (list, tuple)):
        raise TypeError(f"`distributions` must be a list or tuple of distributions; got {shown(distributions)}")
    if len(distributions) != weights.size:
        raise ValueError(
            f"`distributions` must have one entry for each weight, {weights.size}; got {len(distributions)}"
        )
    kind = type(distributions[0])
    support = common_support(kind, **{f"distributions[{i}]": p for i, p in enumerate(distributions)})
    log_pmf = np.stack([p.log_pmf for p in distributions])
    with np.errstate(divide="ignore"):
        return kind(logsumexp(np.log(weights)[:, None] + log_pmf, axis=0), support)


def geometric_mean(p: Distribution, r: Distribution, alpha: float) -> Distribution:
    r"""The normalised weighted geometric mean of Eq. (18).

    .. math:: \pi(x) \propto r(x)^{1 - \alpha}\, p(x)^{\alpha}

    Parameters
    ----------
    p, r : FiniteDistribution or ConditionalDistribution
        On the same support; in the paper :math:`p^*` and :math:`\pi_{pre}`.
    alpha : float
        Any finite number; above 1 the result leaves `p` on the side away from `r`. A factor with exponent zero is 1,
        also where the probability is 0.

    Raises
    ------
    ValueError
        If an outcome would get infinite weight (a probability of zero with a negative exponent where the other factor
        is positive), or if no outcome has positive weight.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p, r = pb.FiniteDistribution.from_weights([16, 1]), pb.FiniteDistribution.from_weights([1, 1])
    >>> pb.geometric_mean(p, r, 0.5).pmf
    array([0.8, 0.2])
    """
    alpha = number("alpha", alpha)
    support = common_support(type(p), p=p, r=r)
    with np.errstate(invalid="ignore", over="ignore"):
        powers = [_power(p.log_pmf, alpha), _power(r.log_pmf, 1.0 - alpha)]
        for power, factor in zip(powers, (p, r), strict=True):
            if (np.isinf(power) & np.isfinite(factor.log_pmf)).any():
                raise ValueError(f"`alpha` must leave log-probabilities in the range of float64; got {alpha}")
        log_weights = powers[0] + powers[1]
    # 0 to a positive power times 0 to a negative power: the outcome is excluded by the positive one.
    log_weights[np.isnan(log_weights)] = -np.inf
    unbounded = np.isposinf(log_weights)
    if unbounded.any():
        raise ValueError(
            f"`alpha` must leave every weight finite; got alpha = {alpha} where the factor with the negative exponent "
            f"is 0 and the other is positive, at index {int(np.argmax(unbounded))}"
        )
    if np.isneginf(log_weights).all():
        raise ValueError("`p` and `r` must share an outcome of positive probability; got none")
    return type(p)(log_weights, support)


def _power(log_pmf: FloatArray, exponent: float) -> FloatArray:
    """Logarithm of a power, with 0 ** 0 = 1."""
    return np.zeros_like(log_pmf) if exponent == 0.0 else exponent * log_pmf


def tilt(p: Distribution, rewards: ArrayLike, beta: float) -> Distribution:
    r"""The maximiser of the KL-controlled objective, Eq. (13).

    .. math:: \pi(x) \propto p(x)\, e^{r(x) / \beta}

    Parameters
    ----------
    p : FiniteDistribution or ConditionalDistribution
        The reference policy :math:`\pi_{pre}`.
    rewards : array_like, shape (n,)
        In nats times `beta`; :math:`-\infty` excludes an outcome.
    beta : float
        Weight of the KL penalty, positive.

    Raises
    ------
    ValueError
        If `beta` is not positive, a reward is NaN or +inf, or no outcome of positive probability has a finite reward.

    Notes
    -----
    Proof: ``proofs/equation_13.md``. With a reward by Theorem 1 it is where DPO ends: ``proofs/rlhf_is_dpo.md``.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> pb.tilt(pb.uniform([0, 1]), rewards=[0.0, 2 * np.log(3.0)], beta=2.0).pmf
    array([0.25, 0.75])
    """
    instance("p", p, EITHER_DISTRIBUTION, "a FiniteDistribution or ConditionalDistribution")
    rewards = vector("rewards", rewards, size=len(p))
    reject("rewards", "below +inf", rewards, np.isposinf(rewards))
    log_weights = p.log_pmf + rewards_in_units(rewards, positive_number("beta", beta))
    if np.isneginf(log_weights).all():
        raise ValueError("`rewards` must be finite at an outcome of positive probability; got -inf at all of them")
    return type(p)(log_weights, p.support)


def rewards_in_units(rewards: FloatArray, beta: float) -> FloatArray:
    """Rewards divided by beta, none of which may become infinite by it."""
    with np.errstate(over="ignore"):
        result = rewards / beta
    overflow = np.isinf(result) & np.isfinite(rewards)
    reject("rewards", f"so small that divided by beta = {beta} they are finite", rewards, overflow)
    return result


def total_variation(p: FiniteDistribution, r: FiniteDistribution) -> float:
    r"""Total variation distance :math:`\tfrac12 \sum_x |p(x) - r(x)|`, in [0, 1].

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.total_variation(pb.uniform([0, 1]), pb.FiniteDistribution.from_weights([1, 0]))
    0.5
    """
    common_support(p=p, r=r)
    return float(0.5 * np.abs(p.pmf - r.pmf).sum())


def kl_divergence(p: FiniteDistribution, r: FiniteDistribution) -> float:
    r"""Kullback–Leibler divergence :math:`\sum_x p(x) \log (p(x) / r(x))` in nats, in :math:`[0, \infty]`.

    Infinite if `r` excludes an outcome that `p` has.

    Notes
    -----
    Computed termwise as :math:`\sum_x p\,(t + e^{-t} - 1)` with :math:`t = \log(p/r)`, plus the mass of `r` where `p`
    vanishes. No term is negative, so the result is right in relative terms down to where rounding of the
    log-probabilities themselves sets in.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.kl_divergence(pb.FiniteDistribution.from_weights([1, 0]), pb.uniform([0, 1]))
    0.693147180559945...
    """
    common_support(p=p, r=r)
    here = p.pmf > 0.0
    ratio = p.log_pmf[here] - r.log_pmf[here]
    with np.errstate(over="ignore", invalid="ignore"):
        terms = np.where(np.abs(ratio) < 0.1, _exponential_gap(ratio), ratio + np.expm1(-ratio))
        # p * exp(-ratio) is r itself, which stays finite where the exponential overflows.
        terms = np.where(ratio > -30.0, p.pmf[here] * terms, p.pmf[here] * (ratio - 1.0) + r.pmf[here])
    return float(terms.sum() + r.pmf[~here].sum())


def _exponential_gap(t: FloatArray) -> FloatArray:
    r""":math:`t + e^{-t} - 1 = \sum_{k \ge 2} (-t)^k / k!` for :math:`|t| < 0.1`."""
    t = np.clip(t, -0.1, 0.1)
    result = np.zeros_like(t)
    for k in range(12, 2, -1):
        result = (1.0 + result) * -t / k
    return 0.5 * t * t * (1.0 + result)


def common_support(kind: Any = FiniteDistribution, /, **distributions: Any) -> Any:
    """The support that all share, by length and labels, or an error that names the one that differs."""
    kind = kind if kind in EITHER_DISTRIBUTION else FiniteDistribution
    for name, p in distributions.items():
        instance(name, p, kind, f"a {kind.__name__}")
    (first_name, first), *others = distributions.items()
    for name, other in others:
        same_support(name, other.support, first_name, first.support)
    return first.support


def same_support(name: str, support: Any, expected_name: str, expected: Any) -> None:
    """Raise unless two arguments speak of the same outcomes in the same order; None stands for whatever there is."""
    if support is None or expected is None or support is expected:
        return
    same_size(name, support.size, expected.size)
    different = np.asarray(support != expected, dtype=bool)
    if different.any():
        i = int(np.argmax(different))
        raise ValueError(
            f"`{name}` must have the support of `{expected_name}`; "
            f"got {support[i]!r:.60} where that has {expected[i]!r:.60}, at index {i}"
        )
