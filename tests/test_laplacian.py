"""Weighted Laplacians: solutions, inverses, eigenvalues and resistances against exact fractions, whatever the weights.

Proof: proofs/minimizer_certificate.md, part 1.
"""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree

import pbde_ref as pb
from pbde_ref.exact import laplacian
from tests import adversarial

seeds = st.integers(0, 2**32 - 1)


def network(seed, sizes=(2, 9), decades=30.0):
    """Conductances of a graph of any shape over that many decades, and its components."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(sizes[0], sizes[1] + 1))
    edges = adversarial.graph(str(rng.choice(adversarial.SHAPES)), size, rng) or [(0, size - 1)]
    kappa = np.zeros((size, size))
    for (a, b), weight in zip(edges, adversarial.weights(edges, decades, rng), strict=True):
        kappa[a, b] = kappa[b, a] = weight
    q = pb.JointProposal(kappa)
    return kappa, pb.comparison_components(q, size), rng


def grounded(components):
    return sorted({int(np.flatnonzero(components == label)[-1]) for label in components})


def exact_inverse(kappa, components):
    """Inverse of the Laplacian, grounded at the last outcome of each component, in fractions."""
    free = [x for x in range(len(kappa)) if x not in grounded(components)]
    left = [[-Fraction(float(kappa[x, y])) for y in free] for x in free]
    for i, x in enumerate(free):
        left[i][i] = sum((Fraction(float(w)) for w in kappa[x]), Fraction(0))
    right = [[Fraction(int(i == j)) for j in range(len(free))] for i in range(len(free))]
    for i in range(len(free)):
        pivot = left[i][i]
        left[i], right[i] = [v / pivot for v in left[i]], [v / pivot for v in right[i]]
        for j in range(len(free)):
            if j != i and left[j][i]:
                factor = left[j][i]
                left[j] = [v - factor * u for v, u in zip(left[j], left[i], strict=True)]
                right[j] = [v - factor * u for v, u in zip(right[j], right[i], strict=True)]
    zero = Fraction(0)
    index = {x: i for i, x in enumerate(free)}
    size = range(len(kappa))
    return [[right[index[x]][index[y]] if x in index and y in index else zero for y in size] for x in size]


def exact_pseudo_inverse(kappa, components):
    inverse, size = exact_inverse(kappa, components), len(kappa)
    inside = [[y for y in range(size) if components[y] == components[x]] for x in range(size)]
    rows = [[v - sum(inverse[z][y] for z in inside[x]) / len(inside[x]) for y, v in enumerate(inverse[x])]
            for x in range(size)]  # fmt: skip
    return [[v - sum(rows[x][z] for z in inside[y]) / len(inside[y]) for y, v in enumerate(rows[x])]
            for x in range(size)]  # fmt: skip


# --- Solving ---


@given(seed=seeds)
def test_flows_are_solved_to_the_last_digits(seed):
    """Weights over 30 decades, |z/κ| up to 1: each potential is right to 1e-14, by exact fractions."""
    kappa, components, rng = network(seed)
    upper = np.triu(rng.uniform(-1.0, 1.0, kappa.shape), 1)
    flows = kappa * (upper - upper.T)
    found = laplacian.solve_flows(kappa, flows)
    inverse = exact_inverse(kappa, components)
    divergence = [sum((Fraction(float(z)) for z in row), Fraction(0)) for row in flows]
    for x, row in enumerate(inverse):
        exact = sum((v * g for v, g in zip(row, divergence, strict=True)), Fraction(0))
        assert abs(Fraction(float(found[x])) - exact) <= Fraction(1, 10**14)


def test_what_the_flows_are_for():
    """Control: from sums of flows the same potentials are 10 % and more off, by the same elimination and by NumPy's."""
    kappa = np.array([[0.0, 1.0, 1e-18], [1.0, 0.0, 1e-18], [1e-18, 1e-18, 0.0]])
    log_odds = np.array([[0.0, 0.3, 1.1], [-0.3, 0.0, 0.8], [-1.1, -0.8, 0.0]])
    flows = kappa * log_odds
    np.testing.assert_allclose(laplacian.solve_flows(kappa, flows), [1.1, 0.8, 0.0], rtol=1e-15)
    right = flows.sum(axis=1)
    found = laplacian.solve_laplacian(kappa, right, np.zeros(3, dtype=int))
    assert abs(found[0] - found[2] - 1.1) > 0.1
    matrix = np.diag(kappa.sum(axis=1)) - kappa
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(matrix[:2, :2] + 0.0 * right[:2])


@given(seed=seeds)
def test_right_sides_are_solved(seed):
    """L v = r for one pair's source and sink: v_A − v_B is the resistance, to 1e-12 in relative terms."""
    kappa, components, rng = network(seed)
    edges = np.argwhere(np.triu(kappa) > 0.0)
    a, b = edges[rng.integers(len(edges))]
    right = np.zeros(len(kappa))
    right[a], right[b] = 1.0, -1.0
    found = laplacian.solve_laplacian(kappa, right, components)
    for label in set(components.tolist()):
        inside = np.flatnonzero(components == label)
        found[inside] -= found[inside[-1]]
    inverse = exact_inverse(kappa, components)
    scale = max(abs(row[a] - row[b]) for row in inverse)
    for x, row in enumerate(inverse):
        assert abs(Fraction(float(found[x])) - (row[a] - row[b])) <= Fraction(1, 10**12) * max(scale, abs(row[a]))


@pytest.mark.parametrize("n", [1, 2, 47, 48, 49, 96, 97, 130])
def test_blocks_of_pivots_fit_together(n):
    """Sizes around the block's: L v is what was asked for, and Σ κ R over all pairs is n − 1 (Foster)."""
    rng = np.random.default_rng(n)
    kappa = np.triu(rng.random((n, n)), 1)
    kappa += kappa.T
    upper = np.triu(rng.normal(size=(n, n)), 1)
    flows = upper - upper.T
    for found in (
        laplacian.solve_flows(kappa, flows),
        laplacian.eliminate(kappa).solve(flows.sum(axis=1)),
        laplacian.solve_quickly(kappa, flows.sum(axis=1), np.zeros(n, dtype=int)) if n > 1 else np.zeros(1),
    ):
        np.testing.assert_allclose(kappa.sum(axis=1) * found - kappa @ found, flows.sum(axis=1), atol=1e-10)
    edges = np.nonzero(np.triu(kappa))
    total = kappa[edges] @ laplacian.effective_resistances(kappa, *edges)
    assert total == pytest.approx(n - 1, rel=1e-12, abs=1e-14)


def test_conductances_further_apart_than_doubles():
    """A share of 1e-350 underflows; what it conducts, times the large conductance beside it, does not."""
    kappa = np.array([[0.0, 1e200, 1e-150], [1e200, 0.0, 0.0], [1e-150, 0.0, 0.0]])
    flows = kappa * np.array([[0.0, 2.0, 3.0], [-2.0, 0.0, 0.0], [-3.0, 0.0, 0.0]])
    found = laplacian.solve_flows(kappa, flows)
    np.testing.assert_allclose(found - found[0], [0.0, -2.0, -3.0], rtol=1e-14)
    np.testing.assert_allclose(
        laplacian.effective_resistances(kappa, np.array([1, 0]), np.array([2, 1])), [1e150, 1e-200], rtol=1e-14
    )


def test_quick_solutions_are_refused_where_they_lose_digits():
    """A chain with a weak link of 1e-12, or outcomes of very different degree, are left to the elimination."""
    chain = np.zeros((4, 4))
    for (a, b), weight in {(0, 1): 1.0, (1, 2): 1e-12, (2, 3): 1.0}.items():
        chain[a, b] = chain[b, a] = weight
    right, together = np.array([1.0, 0.0, 0.0, -1.0]), np.zeros(4, dtype=int)
    assert laplacian.solve_quickly(chain, right, together) is None
    np.testing.assert_allclose(np.ptp(laplacian.solve_laplacian(chain, right, together)), 1e12 + 2, rtol=1e-14)
    assert laplacian.solve_quickly(np.array([[0, 1, 0], [1, 0, 1e-9], [0, 1e-9, 0]]), right[:3], together[:3]) is None
    # Two components, each with its own constant.
    pairs = np.kron(np.eye(2), [[0.0, 2.0], [2.0, 0.0]])
    found = laplacian.solve_quickly(pairs, np.array([1.0, -1.0, 2.0, -2.0]), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(found, [0.25, -0.25, 0.5, -0.5], rtol=1e-14)


# --- Resistances ---


@given(seed=seeds)
def test_resistances_in_fractions(seed):
    """All pairs, weights over 30 decades: right to 1e-14 in relative terms; infinite between components."""
    kappa, components, _ = network(seed, sizes=(2, 7))
    a, b = np.triu_indices(len(kappa))
    found = laplacian.effective_resistances(kappa, a, b)
    inverse = exact_inverse(kappa, components)
    for x, y, value in zip(a.tolist(), b.tolist(), found.tolist(), strict=True):
        if components[x] != components[y]:
            assert value == np.inf
        else:
            exact = inverse[x][x] + inverse[y][y] - 2 * inverse[x][y]
            assert abs(Fraction(value) - exact) <= Fraction(1, 10**14) * exact


@pytest.mark.parametrize("n", [70, 150])
def test_resistances_of_large_graphs(n):
    """Above 64 outcomes one inverse serves all pairs that keep their digits in it: the result is the same."""
    rng = np.random.default_rng(n)
    kappa = np.triu(10.0 ** (-20 * rng.random((n, n))), 1)
    kappa += kappa.T
    x, y = np.nonzero(np.triu(kappa))
    found, some = laplacian.effective_resistances(kappa, x, y), slice(None, None, 8 * n)
    few = [laplacian.effective_resistances(kappa, x[k : k + 1], y[k : k + 1])[0] for k in range(*some.indices(x.size))]
    np.testing.assert_allclose(found[some], few, rtol=1e-9)
    assert kappa[x, y] @ found == pytest.approx(n - 1, rel=1e-10)


# --- Inverses and eigenvalues ---


@given(seed=seeds)
def test_pseudo_inverse_in_fractions(seed):
    """Right to 1e-12 of the largest entry, and never indefinite beyond that."""
    kappa, components, _ = network(seed)
    found = laplacian.pseudo_inverse(kappa, components)
    exact = np.array([[float(v) for v in row] for row in exact_pseudo_inverse(kappa, components)])
    largest = np.abs(exact).max()
    np.testing.assert_allclose(found, exact, atol=1e-13 * largest)
    assert np.linalg.eigvalsh(found / (largest or 1.0))[0] >= -1e-14 * len(found)


@given(seed=seeds)
def test_smallest_eigenvalue_in_many_digits(seed):
    """Right to 1e-12 in relative terms however small; an eigenvalue solver alone stops at 1e-16 of the largest."""
    kappa, components, _ = network(seed, sizes=(2, 6))
    size, count = len(kappa), int(components.max()) + 1
    found = laplacian.smallest_eigenvalue(kappa, components)
    with mpmath.workdps(120):
        matrix = mpmath.matrix(size, size)
        for x in range(size):
            for y in range(size):
                if x != y:
                    matrix[x, y] -= mpmath.mpf(float(kappa[x, y]))
                    matrix[x, x] += mpmath.mpf(float(kappa[x, y]))
        values = sorted(mpmath.eigsy(matrix, eigvals_only=True))
        assert abs(found / values[count] - 1) < 1e-12


def test_nothing_to_determine():
    assert laplacian.smallest_eigenvalue(np.zeros((3, 3)), np.arange(3)) == np.inf
    assert laplacian.smallest_eigenvalue(np.zeros((2, 2)), np.zeros(2, dtype=int)) == 0.0
    np.testing.assert_array_equal(laplacian.pseudo_inverse(np.zeros((2, 2)), np.arange(2)), np.zeros((2, 2)))
    np.testing.assert_array_equal(laplacian.solve_flows(np.zeros((1, 1)), np.zeros((1, 1))), [0.0])


# --- Spanning trees ---


@given(seed=seeds)
def test_trees_are_maximal_and_their_cuts_complete(seed):
    """The weights' sum is SciPy's; a cut's flow is the sum over all pairs that it separates; distances add up paths."""
    kappa, components, rng = network(seed, decades=3.0)
    size = len(kappa)
    with np.errstate(divide="ignore"):
        tree = laplacian.maximal_spanning_tree(np.log(kappa))
    below, child, above = tree.edges()
    assert below.size == size - len(set(components))
    lightest = minimum_spanning_tree(np.where(kappa > 0.0, 10.0 - kappa, 0.0))
    assert (10.0 - kappa[child, above]).sum() == pytest.approx(lightest.sum(), rel=1e-12)
    groups = [{x} for x in range(size)]
    for position in below[::-1]:
        groups[tree.order[tree.parent[position]]] |= groups[tree.order[position]]
    upper = np.triu(rng.normal(size=(size, size)), 1) * (kappa > 0.0)
    flows = upper - upper.T
    into, through = tree.cut_sums(flows, -1.0), tree.cut_sums(np.abs(flows), 1.0)
    lengths = rng.random(size)
    distances, potentials = tree.distances(lengths), tree.path_sums(lengths)
    for position in below:
        inside = sorted(groups[tree.order[position]])
        rest = [x for x in range(size) if x not in inside]
        assert into[position] == pytest.approx(flows[np.ix_(inside, rest)].sum(), abs=1e-14)
        assert through[position] == pytest.approx(np.abs(flows[np.ix_(inside, rest)]).sum(), abs=1e-14)
        x, y = tree.order[position], tree.order[tree.parent[position]]
        assert distances[x, y] == distances[y, x] == lengths[position]
        assert potentials[x] - potentials[y] == pytest.approx(lengths[position], rel=1e-12)
    # A path's length is at most the sum of two others (here often equal), and finite within components only.
    assert np.array_equal(np.isfinite(distances), components[:, None] == components)
    for z in range(size):
        assert (distances <= distances[:, z, None] + distances[z] + 1e-12).all()


# --- Variances ---


@pytest.mark.parametrize("seed", range(20))
def test_variances_on_trees_are_sums_along_paths(seed):
    """Weights over 30 decades and utilities over 100 nats: every pair, near and far, to 1e-9 in relative terms."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 41))
    edges = adversarial.graph(str(rng.choice(["tree", "star", "path"])), n, rng)
    weight, chi = adversarial.weights(edges, 30.0, rng), adversarial.chi(n, 100.0, rng)
    q = pb.PairListProposal([a for a, _ in edges], [b for _, b in edges], weight)
    between = {x: {x: mpmath.mpf(0)} for x in range(n)}
    links = {x: [] for x in range(n)}
    with mpmath.workdps(50):
        for (a, b), w in zip(edges, q.weights.tolist(), strict=True):
            d = mpmath.mpf(float(chi[a])) - mpmath.mpf(float(chi[b]))
            variance = (1 + mpmath.exp(-d)) * (1 + mpmath.exp(d)) / mpmath.mpf(w)
            links[a].append((b, variance))
            links[b].append((a, variance))
        for start, found in between.items():
            waiting = [start]
            while waiting:
                x = waiting.pop()
                for y, variance in links[x]:
                    if y not in found:
                        found[y] = found[x] + variance
                        waiting.append(y)
    pairs = [(a, b) for a in range(n) for b in range(a)]
    variances = pb.difference_variances(chi, q, pairs, n_comparisons=1)
    for (a, b), value in zip(pairs, variances, strict=True):
        assert abs(mpmath.mpf(float(value)) / between[a][b] - 1) < 1e-12
    # The matrix holds the largest of them.
    covariance = pb.asymptotic_covariance(chi, q, 1)
    a, b = max(pairs, key=lambda pair: between[pair[0]][pair[1]])
    assert covariance[a, a] + covariance[b, b] - 2 * covariance[a, b] == pytest.approx(float(between[a][b]), rel=1e-12)
    assert np.linalg.eigvalsh(covariance / np.abs(covariance).max())[0] > -1e-12
