"""Hypothesis strategies for the objects of the package; what they draw is valid by construction, nothing is filtered.

Vectors over the support are drawn by Hypothesis as logits and normalised by the package, so that they shrink to ties
and round numbers. Matrices, graphs and pair lists come from a NumPy generator whose seed Hypothesis draws.
"""

from collections import namedtuple

import numpy as np
from hypothesis import strategies as st

import pbde_ref as pb

KINDS = ("product", "two products", "joint", "pair list")

Problem = namedtuple("Problem", "annotator utilities proposal")

generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def vectors(size, low, high):
    """Vectors of floats in [low, high]."""
    entries = st.floats(low, high, allow_subnormal=False)
    return st.lists(entries, min_size=size, max_size=size).map(lambda values: np.array(values, dtype=float))


def sizes(max_size=40):
    """Support sizes, the smallest ones included."""
    return st.integers(1, max_size)


def utilities(size, spread=10.0):
    """Utilities within ±spread."""
    return vectors(size, -spread, spread)


@st.composite
def distributions(draw, size=None, max_size=40, *, zeros=False, extremes=False):
    """Distributions over `size` outcomes; with `zeros`, some may have probability zero (never all of them).

    Log-probabilities go down to about -10, and with `extremes` to -1,000.
    """
    size = draw(sizes(max_size)) if size is None else size
    logits = draw(vectors(size, -1000.0 if extremes else -10.0, 0.0))
    if zeros:
        dropped = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
        dropped[draw(st.integers(0, size - 1))] = False
        logits = np.where(dropped, -np.inf, logits)
    return pb.FiniteDistribution(logits)


def zero_outcomes(distribution):
    """Indices of the outcomes that a distribution excludes."""
    return np.flatnonzero(distribution.log_pmf == -np.inf)


@st.composite
def pbdes(draw, size):
    """Processes with f over four decades, and f and g constant or varying."""
    exponent = draw(st.floats(-2.0, 2.0) | vectors(size, -2.0, 2.0))
    g = draw(st.floats(-10.0, 10.0) | vectors(size, -10.0, 10.0))
    return pb.PBDE(10.0**exponent, g)


@st.composite
def annotators(draw, size=None, max_size=40, *, zeros=False, extremes=False):
    """Single preference processes."""
    distribution = draw(distributions(size, max_size, zeros=zeros, extremes=extremes))
    return pb.Annotator(distribution, draw(pbdes(len(distribution))))


@st.composite
def annotator_mixtures(draw, size=None, max_size=40, *, extremes=False):
    """One to three annotators with positive weights."""
    size = draw(sizes(max_size)) if size is None else size
    members = draw(st.lists(annotators(size, extremes=extremes), min_size=1, max_size=3))
    return pb.AnnotatorMixture(10.0 ** draw(vectors(len(members), -2.0, 0.0)), members)


@st.composite
def preference_matrices(draw, size=None, max_size=40, *, certain=False):
    """Matrices with P + Pᵀ = 1 that no utility need explain; with `certain`, some preferences are 0 or 1."""
    size = draw(sizes(max_size)) if size is None else size
    rng = draw(generators)
    upper = np.triu(1.0 / (1.0 + np.exp(rng.normal(0.0, draw(st.floats(0.0, 10.0)), (size, size)))), 1)
    if certain:
        upper = np.where(rng.random((size, size)) < 0.2, np.triu(np.round(upper), 1), upper)
    return pb.PreferenceMatrix(upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(size))


def _tree(rng, size, avoid):
    """Edges of a random spanning tree, randomly directed; no edge joins two outcomes of `avoid`."""
    inner = rng.permutation(np.setdiff1d(np.arange(size), avoid))
    order = np.concatenate([inner, rng.permutation(np.asarray(avoid, dtype=int))])
    edges = [(order[k], inner[rng.integers(min(k, len(inner)))]) for k in range(1, size)]
    return [edge if rng.random() < 0.5 else edge[::-1] for edge in edges]


@st.composite
def proposals(draw, size, kind=None, *, connected=False, avoid=()):
    """Proposals of every kind over `size` outcomes.

    `kind` is one of `KINDS`. With `connected`, the comparison graph contains a random spanning tree. No two different
    outcomes listed in `avoid` (those of probability zero) are ever compared; `avoid` must leave an outcome over.
    """
    kind = draw(st.sampled_from(KINDS)) if kind is None else kind
    rng = draw(generators)
    avoid = np.asarray(avoid, dtype=int)
    inner = np.setdiff1d(np.arange(size), avoid)
    if kind in ("product", "two products"):
        a, b = 10.0 ** rng.uniform(-2.0, 0.0, (2, size))
        if not connected:
            a = np.where(rng.random(size) < 0.3, 0.0, a)
            a[rng.choice(inner)] = 1.0
        if len(avoid) > 1:
            a[avoid] = 0.0
            kind = "two products"  # a ⊗ a would either compare two outcomes of `avoid` or leave them out
        if kind == "product":
            return pb.ProductProposal(a)
        return pb.ProductProposal(a, b) if rng.random() < 0.5 else pb.ProductProposal(b, a)

    pairs = _tree(rng, size, avoid) if connected else []
    for a, b in rng.integers(size, size=(rng.integers(2 * size + 1), 2)):
        if a == b or not (a in avoid and b in avoid):
            pairs.append((a, b))
    pairs.append((rng.choice(inner), rng.integers(size)))  # a proposal needs mass
    pairs = np.array(pairs)
    weights = 10.0 ** rng.uniform(-2.0, 0.0, len(pairs))
    if kind == "pair list":
        return pb.PairListProposal(pairs[:, 0], pairs[:, 1], weights if rng.random() < 0.8 else None)
    matrix = np.zeros((size, size))
    matrix[pairs[:, 0], pairs[:, 1]] = weights
    return pb.JointProposal(matrix)


@st.composite
def problems(draw, max_size=40, *, zeros=False, extremes=False, connected=False, single=False):
    """An annotator, a model's utilities and a proposal of the same size.

    The annotator is a single process with `single`, `zeros` or `extremes`; otherwise of any kind.
    """
    size = draw(sizes(max_size))
    if single or zeros or extremes:
        annotator = draw(annotators(size, zeros=zeros, extremes=extremes))
        avoid = zero_outcomes(annotator.distribution)
    else:
        annotator = draw(annotators(size) | annotator_mixtures(size) | preference_matrices(size))
        avoid = ()
    proposal = draw(proposals(size, connected=connected, avoid=avoid))
    return Problem(annotator, draw(utilities(size, 1000.0 if extremes else 10.0)), proposal)
