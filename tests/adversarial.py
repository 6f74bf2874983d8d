"""Problems that nobody chose, for every solver: trees, stars, bipartite and nearly disconnected graphs, ties, weights
over decades, utilities far apart; and their minimum in as many digits as it takes.
"""

import mpmath
import numpy as np

import pbde_ref as pb

SHAPES = ("tree", "star", "path", "bipartite", "complete", "nearly disconnected", "cycle", "sparse", "two components")
ANSWERS = ("process", "ties", "matrix", "near certain", "mixture", "opposed mixture")


def graph(shape, size, rng):
    """Edges of a graph of that shape, by name of its outcomes; no pair twice."""
    label = rng.permutation(size)
    if shape == "star":
        edges = [(0, x) for x in range(1, size)]
    elif shape == "path":
        edges = [(x - 1, x) for x in range(1, size)]
    elif shape == "bipartite":
        half = max(1, size // 2)
        edges = [(a, b) for a in range(half) for b in range(half, size)]
    elif shape == "cycle":
        edges = [(x - 1, x) for x in range(1, size)] + ([(size - 1, 0)] if size > 2 else [])
    elif shape == "complete":
        edges = [(a, b) for a in range(size) for b in range(a + 1, size)]
    elif shape in ("nearly disconnected", "two components"):
        half = size // 2
        edges = [(a, b) for a in range(size) for b in range(a + 1, size) if (a < half) == (b < half)]
        edges += [(0, size - 1)] if shape == "nearly disconnected" else []
    else:
        edges = [(int(rng.integers(x)), x) for x in range(1, size)]
        if shape == "sparse":
            present = {frozenset(edge) for edge in edges}
            for _ in range(size):
                a, b = (int(x) for x in rng.integers(size, size=2))
                if a != b and frozenset((a, b)) not in present:
                    present.add(frozenset((a, b)))
                    edges.append((a, b))
    return [(int(label[a]), int(label[b])) for a, b in edges]


def weights(edges, decades, rng):
    """Log-uniform over that many decades; equal for 0."""
    return 10.0 ** (-decades * rng.random(len(edges)))


def chi(size, spread, rng):
    """Utilities over a spread, evenly, at random, or in two clusters."""
    kind = int(rng.integers(3))
    if kind == 0:
        return rng.permutation(np.linspace(0.0, spread, size))
    if kind == 1:
        return spread * rng.random(size)
    return spread * rng.integers(2, size=size) + rng.normal(size=size)


def annotator(answers, size, spread, rng):
    """Somebody with answers of that kind; where probabilities are given as numbers, they stay above 1e-290."""

    def process(utilities):
        return pb.Annotator(pb.FiniteDistribution(utilities), pb.luce())

    if answers == "process":
        return process(chi(size, spread, rng))
    if answers == "ties":
        return process(spread * rng.integers(3, size=size))
    if answers == "mixture":
        base = chi(size, spread, rng)
        return pb.AnnotatorMixture(rng.random(3) + 0.1, [process(base + rng.normal(size=size)) for _ in range(3)])
    if answers == "opposed mixture":
        base = chi(size, spread, rng)
        return pb.AnnotatorMixture([0.3, 0.7], [process(base), process(-base)])
    odds = rng.normal(size=(size, size)) * (2.0 if answers == "matrix" else min(spread, 600.0) / 3.0)
    smaller = np.maximum(1.0 / (1.0 + np.exp(np.minimum(np.abs(odds), 700.0))), 1e-290)
    upper = np.where(odds > 0.0, 1.0 - smaller, smaller)
    result = np.full((size, size), 0.5)
    for a in range(size):
        for b in range(a + 1, size):
            # The smaller one is what counts.
            result[a, b], result[b, a] = upper[a, b], smaller[a, b] if odds[a, b] > 0.0 else 1.0 - smaller[a, b]
    return pb.PreferenceMatrix(result)


def problem(rng, *, sizes=(2, 40), decades=(0, 5, 15, 30), spreads=(1, 10, 36, 100, 340, 680), answers=ANSWERS):
    """A name, an annotator and a proposal, drawn at random."""
    size = int(rng.integers(sizes[0], sizes[1] + 1))
    shape, kind = str(rng.choice(SHAPES)), str(rng.choice(answers))
    decade, spread = float(rng.choice(decades)), float(rng.choice(spreads))
    edges = graph(shape, size, rng) or [(0, size - 1)]
    a, b = (np.array(side) for side in zip(*edges, strict=True))
    proposal = pb.PairListProposal(a, b, weights(edges, decade, rng))
    name = f"{shape}, {kind}, n={size}, {decade:g} decades, {spread:g} nats"
    return name, annotator(kind, size, spread, rng), proposal


def exact_answers(someone, a, b):
    """Prob(A ≻ B) and Prob(B ≻ A) of one pair, exact up to mpmath's precision."""
    if isinstance(someone, pb.Annotator):
        d = mpmath.mpf(float(someone.utility[a])) - mpmath.mpf(float(someone.utility[b]))
        return 1 / (1 + mpmath.exp(-d)), 1 / (1 + mpmath.exp(d))
    if isinstance(someone, pb.AnnotatorMixture):
        pairs = [exact_answers(member, a, b) for member in someone.annotators]
        share = [mpmath.mpf(float(w)) for w in someone.weights]
        return tuple(sum(w * pair[side] for w, pair in zip(share, pairs, strict=True)) for side in (0, 1))
    p, other = float(someone.matrix[a, b]), float(someone.matrix[b, a])
    return (mpmath.mpf(p), 1 - mpmath.mpf(p)) if p <= other else (1 - mpmath.mpf(other), mpmath.mpf(other))


def exact_pairs(someone, proposal):
    """Pairs of different outcomes: (A, B, weight times Prob(A ≻ B), weight times Prob(B ≻ A))."""
    found = []
    for block in proposal.blocks(someone.size):
        first, second, weight = (x.ravel() for x in np.broadcast_arrays(block.a, block.b, block.weight))
        for a, b, w in zip(first.tolist(), second.tolist(), weight.tolist(), strict=True):
            if a != b and w > 0.0:
                p, other = exact_answers(someone, a, b)
                found.append((a, b, mpmath.mpf(w) * p, mpmath.mpf(w) * other))
    return found


def exact_loss_above(pairs, utilities, least):
    """Loss at utilities less the loss at others, by terms that are each about as small as the result."""
    total = mpmath.mpf(0)
    for a, b, won, lost in pairs:
        d, c = utilities[a] - utilities[b], least[a] - least[b]
        total += won * mpmath.log((1 + mpmath.exp(-d)) / (1 + mpmath.exp(-c)))
        total += lost * mpmath.log((1 + mpmath.exp(d)) / (1 + mpmath.exp(c)))
    return total


def exact_minimum(pairs, start, components, steps=60):
    """Newton's method from `start` in mpmath's precision, grounded at one outcome of each component, by LU."""
    size = len(start)
    _, grounded = np.unique(components, return_index=True)
    free = [x for x in range(size) if x not in set(grounded.tolist())]
    index = {x: i for i, x in enumerate(free)}
    omega = [mpmath.mpf(float(x)) for x in start]
    for _ in range(steps):
        gradient, hessian = mpmath.matrix(len(free), 1), mpmath.matrix(len(free), len(free))
        for a, b, won, lost in pairs:
            d = omega[a] - omega[b]
            up, down = 1 / (1 + mpmath.exp(-d)), 1 / (1 + mpmath.exp(d))
            pull, bend = won * down - lost * up, (won + lost) * up * down
            for x, y, sign in ((a, b, 1), (b, a, -1)):
                if x in index:
                    gradient[index[x]] += sign * pull
                    hessian[index[x], index[x]] += bend
                    if y in index:
                        hessian[index[x], index[y]] -= bend
        if not free:
            return omega
        step = mpmath.lu_solve(hessian, gradient)
        reach = max(abs(s) for s in step)
        shrink = 1 if reach < 1 else 1 / reach
        for x, i in index.items():
            omega[x] += shrink * step[i]
        if reach < mpmath.mpf(10) ** -40:
            return omega
    raise ArithmeticError(f"no minimum in {steps} steps; the last was {mpmath.nstr(reach, 5)}")


def largest_difference(found, exact, components):
    """Largest error of a difference of two utilities of one component."""
    errors = [mpmath.mpf(float(x)) - y for x, y in zip(found, exact, strict=True)]
    worst = mpmath.mpf(0)
    for label in set(components.tolist()):
        inside = [errors[x] for x in np.flatnonzero(components == label)]
        worst = max(worst, max(inside) - min(inside))
    return worst
