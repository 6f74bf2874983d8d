"""Hypothesis strategies for the objects of the package: distributions, processes, annotators, proposals, problems.

What they draw is valid by construction; nothing is filtered. A vector over the support is drawn as a string of bytes,
which Hypothesis can shrink and draws as fast as a single number; matrices, graphs and pair lists come from a NumPy
generator whose seed Hypothesis draws.

Shrinking drifts to the points where bugs hide: uniform distributions, f = 1, g = 0. Unless ``degenerate=True``, what is
drawn is a fixed irregular pattern plus what Hypothesis adds, and the simplest example is the pattern itself. Batches of
log-probabilities and hyperparameters are in `pbde_ref.strategies.batches`, whose names are available here as well.

The module needs Hypothesis; nothing else of the package imports it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceMatrix, PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.pbde import PBDE
from pbde_ref.proposals import JointProposal, PairListProposal, ProductProposal, Proposal
from pbde_ref.strategies.batches import (
    PairBatch,
    RankingBatch,
    TokenBatch,
    betas,
    mixture_batches,
    pair_batches,
    ranking_batches,
    reward_batches,
    shares,
    smoothings,
    token_batches,
)
from pbde_ref.validation import FloatArray, IndexArray

__all__ = [
    "KINDS", "PairBatch", "Problem", "RankingBatch", "TokenBatch", "annotator_mixtures", "annotators", "betas",
    "distributions", "generators", "mixture_batches", "pair_batches", "pbdes", "preference_matrices", "problems",
    "proposals", "ranking_batches", "reward_batches", "sizes", "smoothings", "token_batches", "utilities", "vectors",
    "zero_outcomes",
]  # fmt: skip

Kind = Literal["product", "two products", "joint", "pair list"]

KINDS: tuple[Kind, ...] = ("product", "two products", "joint", "pair list")

generators: st.SearchStrategy[np.random.Generator] = st.integers(0, 2**32 - 1).map(np.random.default_rng)


class Problem(NamedTuple):
    """An annotator, a model's utilities and a proposal, all over the same outcomes."""

    annotator: PreferenceModel
    utilities: FloatArray
    proposal: Proposal


@cache
def sizes(max_size: int = 40, *, degenerate: bool = False) -> st.SearchStrategy[int]:
    """Numbers of outcomes, from 3; with `degenerate`, from 1.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(sizes(), lambda size: True)
    3
    """
    return st.integers(1 if degenerate else min(3, max_size), max_size)


@cache
def vectors(size: int, low: float, high: float, *, degenerate: bool = False) -> st.SearchStrategy[FloatArray]:
    """Vectors of floats in [low, high] whose simplest example has entries that all differ.

    With `degenerate` they shrink to ties and round numbers, and a third of a longer vector's entries are among four
    values.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(vectors(3, 0.0, 1.0), lambda values: True)
    array([0.3125, 0.9375, 0.5625])
    >>> find(vectors(3, 0.0, 1.0, degenerate=True), lambda values: True)
    array([0., 0., 0.])
    """
    if degenerate:
        few = min(size, 4)
        one = st.floats(low, high, allow_subnormal=False)
        values = st.lists(one, min_size=few, max_size=few).map(lambda values: np.array(values, dtype=float))
        if size == few:
            return values
        return st.builds(_with_ties, values, shares(size), st.just(low), st.just(high))
    # Odd sixteenths: neither end of the range, nor its middle. Adding a multiple of the range and wrapping around keeps
    # every vector possible.
    pattern = (5 + 10 * np.arange(size)) % 16 / 16.0 + np.arange(size) // 8 / (32.0 * max(size, 8))
    return shares(size).map(lambda shares: low + (high - low) * ((pattern + shares) % 1.0))


def _with_ties(values: FloatArray, shares: FloatArray, low: float, high: float) -> FloatArray:
    """The shares below a third are replaced by values, in turn; the others are spread over the range."""
    tied = np.resize(values, shares.size)
    return np.where(shares < 1 / 3, tied, low + (high - low) * (1.5 * shares - 0.5))


@cache
def utilities(size: int, spread: float = 10.0, *, degenerate: bool = False) -> st.SearchStrategy[FloatArray]:
    """Utilities within ±spread.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(utilities(2), lambda values: True)
    array([-3.75,  8.75])
    """
    return vectors(size, -spread, spread, degenerate=degenerate)


@cache
@st.composite
def distributions(
    draw: st.DrawFn, size: int | None = None, max_size: int = 40, *,
    zeros: bool = False, extremes: bool = False, degenerate: bool = False,
) -> FiniteDistribution:  # fmt: skip
    """Distributions over `size` outcomes; with `zeros`, some may have probability zero (never all of them).

    Log-probabilities go down to about -10, and with `extremes` to -1,000.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(distributions(size=3), lambda p: True).pmf.round(3)
    array([0.002, 0.975, 0.023])
    """
    size = draw(sizes(max_size, degenerate=degenerate)) if size is None else size
    logits = draw(vectors(size, -1000.0 if extremes else -10.0, 0.0, degenerate=degenerate))
    if zeros:
        dropped = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
        dropped[draw(st.integers(0, size - 1))] = False
        logits = np.where(dropped, -np.inf, logits)
    return FiniteDistribution(logits)


def zero_outcomes(distribution: FiniteDistribution) -> IndexArray:
    """Indices of the outcomes that a distribution excludes.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> zero_outcomes(pb.FiniteDistribution.from_weights([1, 0, 2]))
    array([1])
    """
    return np.flatnonzero(distribution.log_pmf == -np.inf)


@cache
@st.composite
def pbdes(draw: st.DrawFn, size: int, *, degenerate: bool = False) -> PBDE:
    """Processes with f over four decades, both f and g varying; with `degenerate`, perhaps constant.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(pbdes(size=2), lambda process: True).g
    array([-3.75,  8.75])
    """
    exponents, offsets = (_perhaps_constant(size, spread, degenerate) for spread in (2.0, 10.0))
    return PBDE(10.0 ** draw(exponents), draw(offsets))


@cache
def _perhaps_constant(size: int, spread: float, degenerate: bool) -> st.SearchStrategy[Any]:
    entries = vectors(size, -spread, spread, degenerate=degenerate)
    return st.floats(-spread, spread) | entries if degenerate else entries


@cache
@st.composite
def annotators(
    draw: st.DrawFn, size: int | None = None, max_size: int = 40, *,
    zeros: bool = False, extremes: bool = False, degenerate: bool = False,
) -> Annotator:  # fmt: skip
    """Single preference processes.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(annotators(size=2), lambda annotator: True).preference_probabilities().round(3)
    array([[0.5, 0. ],
           [1. , 0.5]])
    """
    distribution = draw(distributions(size, max_size, zeros=zeros, extremes=extremes, degenerate=degenerate))
    return Annotator(distribution, draw(pbdes(len(distribution), degenerate=degenerate)))


@cache
@st.composite
def annotator_mixtures(
    draw: st.DrawFn, size: int | None = None, max_size: int = 40, *, extremes: bool = False, degenerate: bool = False
) -> AnnotatorMixture:
    """Two or three annotators with positive weights; with `degenerate`, perhaps a single one.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(annotator_mixtures(size=3))
    ... def probabilities_are_complementary(mixture):
    ...     P = mixture.preference_probabilities()
    ...     assert np.allclose(P + P.T, 1.0)
    >>> probabilities_are_complementary()
    """
    size = draw(sizes(max_size, degenerate=degenerate)) if size is None else size
    one = annotators(size, extremes=extremes, degenerate=degenerate)
    members = draw(st.lists(one, min_size=1 if degenerate else 2, max_size=3))
    return AnnotatorMixture(10.0 ** draw(vectors(len(members), -2.0, 0.0, degenerate=degenerate)), members)


@cache
@st.composite
def preference_matrices(
    draw: st.DrawFn, size: int | None = None, max_size: int = 40, *, certain: bool = False, degenerate: bool = False
) -> PreferenceMatrix:
    """Matrices with P + Pᵀ = 1 that no utility need explain; with `certain`, some preferences are 0 or 1.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(preference_matrices(size=2), lambda matrix: True).preference_probabilities().diagonal()
    array([0.5, 0.5])
    """
    size = draw(sizes(max_size, degenerate=degenerate)) if size is None else size
    rng = draw(generators)
    scale = draw(st.floats(0.0 if degenerate else 1.0, 10.0))
    upper = np.triu(1.0 / (1.0 + np.exp(rng.normal(0.0, scale, (size, size)))), 1)
    if certain:
        upper = np.where(rng.random((size, size)) < 0.2, np.triu(np.round(upper), 1), upper)
    return PreferenceMatrix(upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(size))


def proposals(
    size: int, kind: Kind | None = None, *, connected: bool = False, avoid: Any = ()
) -> st.SearchStrategy[Proposal]:
    """Proposals of every kind over `size` outcomes.

    `kind` is one of `KINDS`. With `connected`, the comparison graph contains a random spanning tree. No two different
    outcomes listed in `avoid` (those of probability zero) are ever compared; `avoid` must leave an outcome over.

    Examples
    --------
    >>> from hypothesis import find
    >>> round(find(proposals(2, kind="joint"), lambda proposal: True).matrix(2).sum(), 12)
    np.float64(1.0)
    """
    return _proposals(size, kind, connected, tuple(map(int, avoid)))


@cache
@st.composite
def _proposals(
    draw: st.DrawFn, size: int, kind: Kind | None, connected: bool, avoided: tuple[int, ...]
) -> Proposal:
    kind = draw(st.sampled_from(KINDS)) if kind is None else kind
    rng = draw(generators)
    avoid = np.array(avoided, dtype=int)
    if kind in ("product", "two products"):
        return _product(rng, size, kind, connected, avoid)
    x_a, x_b = _pairs(rng, size, connected, avoid).T
    weights = 10.0 ** rng.uniform(-2.0, 0.0, x_a.size)
    if kind == "pair list":
        return PairListProposal(x_a, x_b, weights if rng.random() < 0.8 else None)
    matrix = np.zeros((size, size))
    matrix[x_a, x_b] = weights
    return JointProposal(matrix)


@st.composite
def problems(
    draw: st.DrawFn, max_size: int = 40, *,
    zeros: bool = False, extremes: bool = False, connected: bool = False, single: bool = False,
    degenerate: bool = False,
) -> Problem:  # fmt: skip
    """An annotator, a model's utilities and a proposal of the same size.

    The annotator is a single process with `single`, `zeros` or `extremes`; otherwise of any kind.

    Examples
    --------
    >>> from hypothesis import given
    >>> import pbde_ref as pb
    >>> @given(problems(max_size=5))
    ... def kl_is_not_negative(problem):
    ...     assert pb.expected_kl(*problem).value >= 0.0
    >>> kl_is_not_negative()
    """
    size = draw(sizes(max_size, degenerate=degenerate))
    avoid: Any = ()
    annotator: PreferenceModel
    if single or zeros or extremes:
        annotator = draw(annotators(size, zeros=zeros, extremes=extremes, degenerate=degenerate))
        avoid = zero_outcomes(annotator.distribution)
    else:
        annotator = draw(_models(size, degenerate))
    proposal = draw(proposals(size, connected=connected, avoid=avoid))
    return Problem(annotator, draw(utilities(size, 1000.0 if extremes else 10.0, degenerate=degenerate)), proposal)


@cache
def _models(size: int, degenerate: bool) -> st.SearchStrategy[PreferenceModel]:
    one, several = annotators(size, degenerate=degenerate), annotator_mixtures(size, degenerate=degenerate)
    return one | several | preference_matrices(size, degenerate=degenerate)


def _product(
    rng: np.random.Generator, size: int, kind: Kind, connected: bool, avoid: NDArray[Any]
) -> ProductProposal:
    a, b = 10.0 ** rng.uniform(-2.0, 0.0, (2, size))
    if not connected:
        a = np.where(rng.random(size) < 0.3, 0.0, a)
        a[rng.choice(np.setdiff1d(np.arange(size), avoid))] = 1.0
    if len(avoid) > 1:
        a[avoid] = 0.0
        kind = "two products"  # a ⊗ a would either compare two outcomes of `avoid` or leave them out
    if kind == "product":
        return ProductProposal(a)
    return ProductProposal(a, b) if rng.random() < 0.5 else ProductProposal(b, a)


def _pairs(rng: np.random.Generator, size: int, connected: bool, avoid: NDArray[Any]) -> IndexArray:
    """Pairs of which none joins two different outcomes of `avoid`, at least one of them, shape (m, 2)."""
    inner = np.setdiff1d(np.arange(size), avoid)
    pairs: list[tuple[Any, Any]] = _tree(rng, size, avoid) if connected else []
    for a, b in rng.integers(size, size=(rng.integers(2 * size + 1), 2)):
        if a == b or not (a in avoid and b in avoid):
            pairs.append((a, b))
    pairs.append((rng.choice(inner), rng.integers(size)))  # a proposal needs mass
    return np.array(pairs)


def _tree(rng: np.random.Generator, size: int, avoid: NDArray[Any]) -> list[tuple[Any, Any]]:
    """Edges of a random spanning tree, randomly directed; no edge joins two outcomes of `avoid`."""
    inner = rng.permutation(np.setdiff1d(np.arange(size), avoid))
    order = np.concatenate([inner, rng.permutation(np.asarray(avoid, dtype=int))])
    edges = [(order[k], inner[rng.integers(min(k, len(inner)))]) for k in range(1, size)]
    return [edge if rng.random() < 0.5 else edge[::-1] for edge in edges]
