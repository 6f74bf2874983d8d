"""The hinge solver's parts, each against a slower or a blunter way to the same: flows, rounding, one Newton step.

The solver repairs itself: what one part gets wrong the next step or the certificate puts right. Hence these tests.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pbde_ref as pb
from pbde_ref.exact.hinge import interior_point as path_module
from pbde_ref.exact.hinge import linear, regularized
from pbde_ref.exact.hinge.duality import EPS, finished, hinge_and_slackness, net_flow, route
from pbde_ref.exact.hinge.interior_point import _central, _factor, _mehrotra_step, _Path, _reach, interior_point
from pbde_ref.verification.exact_flows import least_hinge

INF = math.inf


def random_wins(rng, n, density=1.0):
    wins = rng.random((n, n)) * (rng.random((n, n)) < density)
    np.fill_diagonal(wins, 0.0)
    return wins


# --- what a policy and a dual point prove ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gaps", "enough", "resolution", "expected"),
    [
        ([1e-3], 1.0, 0.0, True),  # a thousandth of what is enough
        ([1.1e-3], 1.0, 0.0, False),
        ([0.5], 0.0, 5.0, True),  # a tenth of what rounding leaves
        ([0.6], 0.0, 5.0, False),
        ([1.5, 1.0, 0.9, 0.8], 1.0, 0.0, True),  # not halved in three steps, and enough
        ([1.5, 1.0, 0.9, 0.8], 0.8, 0.0, True),
        ([1.5, 1.0, 0.9, 0.8], 0.0, 0.8, True),
        ([1.5, 1.0, 0.9, 0.8], 0.79, 0.7, False),  # stalled, but not enough
        ([1.6, 1.0, 0.9, 0.8], 1.0, 0.0, False),  # halved just so
        ([9.0, 1.5, 1.0, 0.9, 0.8], 1.0, 0.0, True),
        ([1.5, 9.0, 9.0, 1.0, 0.8], 1.0, 0.0, False),
        ([1.0, 0.9, 0.8], 1.0, 0.0, False),  # too early to tell
        ([1.0, 0.9, 0.8, 0.1], 0.5, 0.05, False),
    ],
)
def test_when_the_gaps_are_small_enough(gaps, enough, resolution, expected):
    assert finished(gaps, enough, resolution) is expected


def test_hinge_and_slackness_are_double_loops():
    rng = np.random.default_rng(0)
    wins, s, delta = random_wins(rng, 5), rng.normal(0.0, 2.0, 5), 0.7
    dual = wins * rng.random((5, 5))
    hinge = slackness = 0.0
    for a, b in itertools.product(range(5), repeat=2):
        short = delta - (s[a] - s[b])
        hinge += wins[a, b] * max(short, 0.0)
        slackness += wins[a, b] * max(short, 0.0) - dual[a, b] * short
    assert_allclose(hinge_and_slackness(wins, delta, s, dual), (hinge, slackness), rtol=1e-13)
    balance = [sum(dual[a, b] - dual[b, a] for b in range(5)) for a in range(5)]
    assert_allclose(net_flow(dual), balance, atol=1e-15)


def test_surplus_goes_to_the_roots_along_the_widest_arcs():
    """Two trees. 1, at the root, gets what 0 and 2 have; the arc 0 – 2 is the narrowest and is left out."""
    room = np.zeros((5, 5))
    room[0, 1], room[2, 1], room[0, 2] = 3.0, 0.5, 0.25
    room[4, 3] = 1e-30
    flows = np.arange(25.0).reshape(5, 5)
    surplus = np.array([0.25, -0.75, 0.5, 2.0, -2.0])
    routed, arcs, tree = route(flows, room, surplus, np.array([0.0, 9.0, 1.0, 0.0, 0.0]))
    expected = flows.copy()
    expected[0, 1] -= 0.25
    expected[2, 1] -= 0.5
    expected[4, 3] += 2.0
    assert_array_equal(routed, expected)
    assert sorted(arcs) == [(0, 1), (2, 1), (4, 3)]
    assert tree[0] == tree[1] == tree[2] != tree[3] == tree[4]
    assert_array_equal(flows, np.arange(25.0).reshape(5, 5))
    assert_array_equal(surplus, [0.25, -0.75, 0.5, 2.0, -2.0])
    assert_allclose(net_flow(routed - flows), -surplus, atol=1e-14)


def test_surplus_is_handed_on_from_leaf_to_root():
    """A chain 3 – 2 – 1 – 0 whose arcs point either way; of equals the first is the root."""
    room = np.zeros((4, 4))
    room[3, 2], room[1, 2], room[1, 0], room[0, 1] = 1.0, 1.0, 2.0, 2.0
    surplus = np.array([-0.75, 0.25, 0.125, 0.375])
    routed, arcs, tree = route(np.zeros((4, 4)), room, surplus, np.zeros(4))
    expected = np.zeros((4, 4))
    expected[3, 2], expected[1, 2] = -0.375, 0.5
    expected[1, 0] = -0.75
    assert_array_equal(routed, expected)
    assert arcs == [(3, 2), (1, 2), (1, 0)]
    assert tree.max() == 0


@pytest.mark.parametrize("seed", range(4))
def test_flows_balance_where_one_tree_spans_all(seed):
    rng = np.random.default_rng(seed)
    n = 7
    room = random_wins(rng, n)
    surplus = rng.normal(size=n)
    surplus -= surplus.mean()
    preference = rng.normal(size=n)
    routed, arcs, tree = route(np.zeros((n, n)), room, surplus, preference)
    assert tree.max() == 0
    assert len(arcs) == n - 1
    assert_allclose(net_flow(routed), -surplus, atol=1e-14)
    # The bottleneck of a widest tree: no arc between the parts that one of its arcs joins has more room.
    for arc in arcs:
        rest = [other for other in arcs if other != arc]
        side = {arc[0]}
        while grown := {b for a, b in rest if a in side} | {a for a, b in rest if b in side} | side:
            if grown == side:
                break
            side = grown
        inside = np.isin(np.arange(n), list(side))
        across = np.maximum(room, room.T)[np.ix_(inside, ~inside)]
        assert room[arc] == across.max()


def test_nothing_moves_where_there_is_no_room():
    surplus = np.array([1.0, -1.0])
    routed, arcs, tree = route(np.eye(2), np.zeros((2, 2)), surplus, surplus)
    assert_array_equal(routed, np.eye(2))
    assert arcs == []
    assert tree.tolist() == [0, 1]


def test_of_many_equals_the_first_is_the_root():
    n = 200
    room, surplus = np.zeros((n, n)), np.zeros(n)
    room[np.arange(n - 1), np.arange(1, n)] = 1.0
    surplus[-1], surplus[0] = 1.0, -1.0
    routed = route(np.zeros((n, n)), room, surplus, np.zeros(n))[0]
    for preference, passed in ((np.ones(n), 0.0), (np.arange(n) % 2.0, -1.0), (np.arange(n) % 5 // 4.0, -4.0)):
        assert route(np.zeros((n, n)), room, np.eye(n)[0], preference)[0].sum() == passed
    # All of it passes every arc of the chain on its way to the first; the root itself sends nothing.
    assert_array_equal(routed, room)
    surplus = np.eye(n)[n // 2]
    assert route(np.zeros((n, n)), room, surplus, np.zeros(n))[0].sum() == n // 2


# --- the interior-point method -----------------------------------------------------------------------------------


def dense_directions(path, iterate, for_a, for_b):
    """Newton's direction from the whole system: utilities, slacks and fractions of every pair, nothing eliminated."""
    s, a, b, y, z = iterate
    n, pairs = len(s), np.argwhere(path.active).tolist()
    m = len(pairs)
    rows, right = [], []

    def row(value, **entries):
        line = np.zeros(n + 3 * m)
        for name, items in entries.items():
            start = {"s": 0, "a": n, "b": n + m, "y": n + 2 * m}[name]
            for index, entry in items:
                line[start + index] += entry
        rows.append(line)
        right.append(value)

    for k, (i, j) in enumerate(pairs):
        row(0.0, a=[(k, 1.0)], b=[(k, -1.0)], s=[(i, 1.0), (j, -1.0)])
        row(for_a[i, j], a=[(k, z[i, j])], y=[(k, -a[i, j])])
        row(for_b[i, j], b=[(k, y[i, j])], y=[(k, b[i, j])])
    policy = np.exp(s)
    for x in range(n):
        flow = [(k, -path.c[i, j] * ((i == x) - (j == x))) for k, (i, j) in enumerate(pairs)]
        now = sum(path.c[i, j] * y[i, j] * ((i == x) - (j == x)) for i, j in pairs)
        pull = path.lambda_ * (policy[x] - path.reference[x]) if path.lambda_ else 0.0
        row(now - pull, s=[(x, path.lambda_ * policy[x])], y=flow)
    # Least squares of least norm: at λ = 0 the constants are not determined, and stay.
    found = np.linalg.lstsq(np.array(rows), np.array(right), rcond=1e-13)[0]
    ds = found[:n]
    if not path.lambda_:
        ds = ds - path.null @ ds
    steps = [np.zeros((n, n)) for _ in range(3)]
    for k, (i, j) in enumerate(pairs):
        for step, start in zip(steps, (n, n + m, n + 2 * m), strict=True):
            step[i, j] = found[start + k]
    return ds, *steps


def step_by_the_book(path, iterate):
    """Mehrotra's predictor and corrector with the safeguards that the module tells of, pair by pair."""
    s, a, b, y, z = iterate
    pairs = [tuple(pair) for pair in np.argwhere(path.active).tolist()]
    total = sum(path.c[p] for p in pairs)
    inverse = np.zeros_like(a)
    for p in pairs:
        inverse[p] = total / len(pairs) / path.c[p]

    def mean_product(a, b, y, z):
        return sum(path.c[p] * (a[p] * z[p] + b[p] * y[p]) for p in pairs) / (2.0 * total)

    def longest(values, changes):
        return min([1e300] + [-v[p] / d[p] for v, d in zip(values, changes, strict=True) for p in pairs if d[p] < 0.0])

    _, da, db, dy = dense_directions(path, iterate, -a * z, -b * y)
    primal, dual = min(1.0, longest((a, b), (da, db))), min(1.0, longest((y, z), (dy, -dy)))
    mu = mean_product(a, b, y, z)
    ahead = mean_product(a + primal * da, b + primal * db, y + dual * dy, z - dual * dy)
    gains = np.array([sum(path.c[p] * y[p] * ((p[0] == x) - (p[1] == x)) for p in pairs) for x in range(len(s))])
    pull = path.lambda_ * (np.exp(s) - path.reference) if path.lambda_ else 0.0
    unbalanced = np.abs(pull - gains).sum()
    centre = max(mu * min(0.5, (max(ahead, 0.0) / mu) ** 4), min(mu, 0.1 * unbalanced / total)) * inverse
    second = min(1.0, 9.0 * min(primal, dual) ** 2) * dy
    ds, da, db, dy = dense_directions(path, iterate, centre - a * z + second * da, centre - b * y - second * db)
    primal, dual = min(1.0, 0.99 * longest((a, b), (da, db))), min(1.0, 0.99 * longest((y, z), (dy, -dy)))
    if path.lambda_:
        for x in range(len(s)):
            if ds[x] > 0.0:
                # The policy may rise to e times what the optimum, or it itself, has at most.
                primal = min(primal, (1.0 + math.log(max(math.exp(s[x]), path.most[x])) - s[x]) / ds[x])
    moved = (s + primal * ds, a + primal * da, b + primal * db, y + dual * dy, z - dual * dy)
    return moved, max(primal, dual), inverse


def some_iterate(seed, lambda_, spread, balance):
    """A point of random slacks, a - b = δ - d, and fractions; the nearer to `balance` 0 the nearer to stationarity."""
    rng = np.random.default_rng(seed)
    n, delta = 4, 0.6
    wins = random_wins(rng, n, 0.8)
    wins[0, 1] = wins[1, 2] = wins[2, 3] = wins[3, 0] = 0.5
    active = wins > 0.0
    reference = pb.FiniteDistribution(rng.normal(size=n)).pmf
    s = np.log(reference) + balance * rng.normal(size=n)
    most = np.minimum(1.0, reference + wins.sum(axis=1) / lambda_) if lambda_ else reference
    b = spread * rng.random((n, n)) + 0.01 * spread
    a = b + (delta - np.subtract.outer(s, s))
    b, a = b + np.maximum(-a + 0.01, 0.0), a + np.maximum(-a + 0.01, 0.0)
    y = np.clip(0.5 + balance * rng.normal(size=(n, n)), 0.02, 0.98)
    path = _Path(wins, active, delta, lambda_, reference, most, np.full((n, n), 1.0 / n))
    return path, (s, a, b, y, 1.0 - y)


@pytest.mark.parametrize("lambda_", [0.0, 0.05, 1.0, 30.0])
@pytest.mark.parametrize(("spread", "balance"), [(1.0, 0.3), (10.0, 0.3), (0.01, 0.05), (0.5, 0.01), (100.0, 4.0)])
def test_a_step_is_mehrotras(lambda_, spread, balance):
    for seed in range(3):
        path, iterate = some_iterate(seed, lambda_, spread, balance)
        expected, length, inverse = step_by_the_book(path, iterate)
        found, moved = _mehrotra_step(path, inverse, iterate)
        assert moved == pytest.approx(length, rel=1e-8)
        # Utilities at λ = 0 are free by a constant, which stays.
        for part, other in zip(found[:1] + found[1:], expected, strict=True):
            shown = path.active if part.ndim == 2 else np.ones(len(part), dtype=bool)
            assert_allclose(part[shown], other[shown], rtol=1e-7, atol=1e-9 * (1.0 + spread))
        # Pairs that never meet stay where they are.
        for part, before in zip(found[1:], iterate[1:], strict=True):
            assert_array_equal(part[~path.active], before[~path.active])


def test_a_step_to_the_boundary_stops_short_of_it():
    for seed in range(4):
        path, iterate = some_iterate(seed, 0.3, 1.0, 0.5)
        inverse = np.where(path.active, path.c.sum() / path.active.sum() / np.where(path.active, path.c, 1.0), 0.0)
        for part in _mehrotra_step(path, inverse, iterate)[0][1:]:
            assert (part[path.active] > 0.0).all()


def first_call(monkeypatch, *arguments):
    """What the first step is given."""
    calls = []

    def step(path, inverse, iterate):
        calls.append((path, inverse, iterate))
        return iterate, 0.0

    with monkeypatch.context() as patch:
        patch.setattr(path_module, "_mehrotra_step", step)
        assert list(interior_point(*arguments)) == []
    return calls[0]


@pytest.mark.parametrize(("delta", "lambda_"), [(0.05, 0.0), (0.05, 2.0), (3.0, 0.4), (3.0, 100.0)])
def test_the_method_starts_on_the_central_path(monkeypatch, delta, lambda_):
    rng = np.random.default_rng(1)
    wins = random_wins(rng, 4, 0.7)
    wins[0, 1], wins[2, 3] = 2.0, 1e-31 * wins.sum()  # the latter is too rare
    reference = pb.FiniteDistribution(rng.normal(size=4)).pmf
    path, inverse, (s, a, b, y, z) = first_call(monkeypatch, wins, delta, lambda_, reference, 5)
    active = wins > 1e-30 * wins.sum()
    assert not active[2, 3]
    assert_array_equal(path.active, active)
    assert_array_equal(path.c, np.where(active, wins, 0.0))
    assert_allclose(path.null, 0.25, rtol=1e-15)
    assert (path.delta, path.lambda_) == (delta, lambda_)
    c = path.c[active]
    assert_allclose(inverse[active], c.sum() / c.size / c, rtol=1e-14)
    assert not inverse[~active].any()
    if lambda_:
        most = [min(1.0, reference[x] + path.c[x].sum() / lambda_) for x in range(4)]
        assert_allclose(path.most, most, rtol=1e-14)
        start = np.log(0.9 * reference + 0.1 * np.array(most))
        assert np.ptp(s - start) < 1e-14
        assert np.exp(s).sum() == pytest.approx(1.0, rel=1e-14)
    else:
        assert_allclose(s, np.log(reference), rtol=1e-14)
    # a - b = δ - d, y + z = 1 and c a z = c b y = the same for all, the mean of which belongs to max(10 δ, 1).
    assert_allclose((a - b)[active], (delta - np.subtract.outer(s, s))[active], atol=1e-12)
    assert_allclose((y + z)[active], 1.0, rtol=1e-14)
    middle = max(10.0 * delta, 1.0) * c.sum() / c.size
    for product in (path.c * a * z, path.c * b * y):
        assert_allclose(product[active], middle, rtol=1e-13)
    with np.errstate(invalid="ignore", over="ignore"):
        assert np.isfinite(y).all()


def test_the_null_space_may_be_given(monkeypatch):
    wins, null = np.array([[0.0, 1.0], [2.0, 0.0]]), np.eye(2)
    path, _, _ = first_call(monkeypatch, wins, 1.0, 0.0, np.full(2, 0.5), 5, null)
    assert path.null is null


def followed(monkeypatch, steps, max_steps, wins=((0.0, 2.0), (1.0, 0.0)), lambda_=0.0):
    """What the method yields if its steps lead to these iterates."""
    answers = iter(steps)
    with monkeypatch.context() as patch:
        patch.setattr(path_module, "_mehrotra_step", lambda *_: next(answers))
        return list(interior_point(np.array(wins), 1.0, lambda_, np.array([0.5, 0.5]), max_steps))


def pair_iterate(mu=1.0, imbalance=0.0, s=(0.0, 0.0)):
    """Two outcomes, wins 2 and 1: fractions ½ and 1 balance. Slack times fraction is mu on average."""
    y = np.array([[0.5, 0.5 + 0.5 * imbalance], [1.0, 0.5]])
    side = np.full((2, 2), 1.5 * mu)
    # The mean is (2 (a / 2 + b / 2) + 1 · b) / 6 = a / 1.5 for b = 1.5 a.
    return np.array(s), side, 1.5 * side, y, 1.0 - y


def test_when_the_path_ends(monkeypatch):
    far = pair_iterate()
    three = followed(monkeypatch, [(far, 1.0)] * 9, 3)
    assert [steps for _, _, steps in three] == [1, 2, 3]
    assert_array_equal(three[0][0], [0.0, 0.0])
    assert_array_equal(three[0][1], [[0.0, 1.0], [1.0, 0.0]])
    # A step that leads nowhere, or to no number, is not told of.
    assert followed(monkeypatch, [(far, 9e-9)], 3) == []
    assert len(followed(monkeypatch, [(far, 1e-8), (far, 9e-9)], 3)) == 1
    assert followed(monkeypatch, [(pair_iterate(s=(0.0, math.nan)), 1.0)], 3) == []
    # The end: products below 1e-17 of the start's, 10 at margin 1, and flows that balance to 1e-14 of the wins.
    for last, more in [
        (pair_iterate(mu=0.95e-16), False), (pair_iterate(mu=1.05e-16), True),
        (pair_iterate(mu=math.nan), False),
        (pair_iterate(mu=1e-17, imbalance=1.4e-14), False), (pair_iterate(mu=1e-17, imbalance=1.6e-14), True),
        (pair_iterate(mu=1e-17, imbalance=-1.6e-14), True), (pair_iterate(mu=1e-15), True),
    ]:  # fmt: skip
        assert len(followed(monkeypatch, [(last, 1.0), (far, 1.0)], 2)) == 1 + more


def test_without_wins_there_is_no_path():
    assert list(interior_point(np.zeros((2, 2)), 1.0, 1.0, np.array([0.5, 0.5]), 5)) == []


def test_slacks_on_the_central_path():
    short, mu = np.array([3.0, -3.0, 0.0, 1e9, -1e9, 1e-9]), np.array([0.5, 0.5, 2.0, 1e-9, 1e-9, 7.0])
    a, b = _central(short, mu)
    assert_allclose(1.0 / a + 1.0 / b, 1.0 / mu, rtol=1e-14)
    assert_allclose(a - b, short, rtol=1e-14, atol=1e-15)
    assert (np.minimum(a, b) > 0.0).all()


def test_how_far_a_step_reaches():
    assert _reach(np.array([2.0, 3.0, 1.0]), np.array([-1.0, -6.0, 5.0])) == 0.5
    assert _reach(np.array([2.0, 3.0]), np.array([-1.0, 6.0])) == 2.0
    assert _reach(np.array([2.0]), np.array([1.0])) >= 1e299


def test_factor_of_the_laplacian():
    rng = np.random.default_rng(2)
    weights = random_wins(rng, 5)
    laplacian = np.diag((weights + weights.T).sum(axis=1)) - weights - weights.T
    for diagonal in (rng.random(5), np.array([0.0, 0.0, 1.0, 0.0, 0.0])):
        lower = np.tril(_factor(weights, diagonal, np.full((5, 5), 0.2)))
        assert_allclose(lower @ lower.T, laplacian + np.diag(diagonal), atol=1e-13)
    lower = np.tril(_factor(weights, np.zeros(5), np.full((5, 5), 0.2)))
    assert_allclose(lower @ lower.T, laplacian + 0.2 * laplacian.diagonal().max(), atol=1e-13)


@pytest.mark.parametrize(("lacking", "damping"), [(1e-9, 1e-8), (9e-9, 1e-8), (5e-17, 1e-15), (0.2, 1.0)])
def test_a_factor_that_rounding_spoils_is_damped_as_little_as_helps(lacking, damping):
    """Of the powers of ten, times the largest entry, the first that makes up for what lacks."""
    factor = _factor(np.zeros((2, 2)), 4.0 * np.array([1.0, -lacking]), np.zeros((2, 2)))
    assert_allclose(np.diag(factor) ** 2, [4.0 * (1.0 + damping), 4.0 * (damping - lacking)], rtol=1e-7)


def test_a_matrix_that_nothing_mends_is_an_error():
    with pytest.raises(ArithmeticError, match="not positive semidefinite"):
        _factor(np.zeros((2, 2)), np.array([1.0, -3.0]), np.zeros((2, 2)))


# --- λ = 0: shortest paths, rounding, flows ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_point_below_is_a_shortest_path(seed):
    rng = np.random.default_rng(seed)
    n = 6
    start, bounds = rng.integers(-3, 4, n).astype(float), rng.integers(0, 5, (n, n)).astype(float)
    bounds[rng.random((n, n)) < 0.4] = INF
    given = start.copy()
    distance = bounds.copy()
    np.fill_diagonal(distance, 0.0)
    for k, i, j in itertools.product(range(n), repeat=3):
        distance[i, j] = min(distance[i, j], distance[i, k] + distance[k, j])
    assert_array_equal(linear._largest_below(start, bounds), (start[:, None] + distance).min(axis=0))
    assert_array_equal(start, given)


def test_a_chain_takes_as_many_rounds_as_it_has_links():
    bounds = np.full((5, 5), INF)
    bounds[[0, 1, 2, 3], [1, 2, 3, 4]] = -1.0
    assert_array_equal(linear._largest_below(np.zeros(5), bounds), [0.0, -1.0, -2.0, -3.0, -4.0])
    # Demands that contradict each other have no solution, but an end: a round for each outcome.
    assert_array_equal(linear._largest_below(np.zeros(2), np.full((2, 2), -1.0)), [-2.0, -2.0])


@pytest.mark.parametrize("seed", range(20))
def test_rounding_is_the_best_of_all_shifts(seed):
    rng = np.random.default_rng(seed)
    n = 5
    wins, s = random_wins(rng, n, 0.6), rng.normal(0.0, 2.0, n)
    if seed % 2:
        s[2], s[3] = s[1] + 1.0, np.floor(s[3])  # margins of exactly 1, whole numbers
    rounded = linear._whole_numbers(wins, s)
    shifts = np.unique(np.concatenate([[0.0], np.ceil(s) - s]))
    losses = [hinge_and_slackness(wins, 1.0, np.floor(s + t), wins)[0] for t in shifts]
    assert_array_equal(rounded, np.round(rounded))
    assert hinge_and_slackness(wins, 1.0, rounded, wins)[0] <= min(losses) + 1e-12
    assert hinge_and_slackness(wins, 1.0, rounded, wins)[0] <= hinge_and_slackness(wins, 1.0, s, wins)[0] + 1e-12


def test_levels_that_nothing_occupies_are_closed_in_each_group():
    wins = np.zeros((5, 5))
    wins[0, 1], wins[1, 2], wins[2, 1], wins[3, 4] = 2.0, 1.0, 1.0, 1.0
    assert_array_equal(linear._whole_numbers(wins, np.array([7.0, 3.0, 3.0, -2.0, -9.0])), [0.0, -1.0, -1.0, 0.0, -1.0])
    wins[2, 1] = 0.0
    # Control: a group whose levels are all occupied keeps them, with the largest at 0.
    assert_array_equal(linear._whole_numbers(wins, np.array([2.0, 1.0, 0.0, 5.0, 4.0])), [0.0, -1.0, -2.0, 0.0, -1.0])


def test_rounding_by_hand():
    """Wins of 0 over 1 with margin 0.5: floor(s + t) has margin 0 or 1, and 1 costs nothing; so the other way round."""
    wins = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert_array_equal(linear._whole_numbers(wins, np.array([0.25, -0.25])), [0.0, -1.0])
    assert_array_equal(linear._whole_numbers(wins, np.array([0.75, 0.25])), [0.0, -1.0])
    assert_array_equal(linear._whole_numbers(wins.T, np.array([-0.25, 0.25])), [-1.0, 0.0])


def test_bounds_that_describe_all_optima():
    """By complementary slackness: margin at least 1 where the dual is below c, at most 1 where it is above 0."""
    s = np.array([0.0, -1.0, -3.0])  # margins 1, 3, 2 and their negatives
    wins = np.array([[0.0, 4.0, 4.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    one, none = 1.0, INF

    def bounds(fraction):
        return linear._largest_optimum(wins, s, np.full((3, 3), 4.0 * fraction))[1]

    # Entry [i, j] bounds s_j - s_i: from above by -1 if i must lead, by 1 if j must not lead by more.
    for fraction, tight in ((0.0, (-one, none)), (0.5, (-one, one)), (1.0, (none, one))):
        expected = np.full((3, 3), INF)
        expected[0, 1] = tight[0]  # the pair at margin 1
        expected[1, 0] = min(tight[1], INF)
        expected[0, 2] = -1.0  # above
        expected[0, 1] = min(expected[0, 1], 1.0)  # 1 over 0, below: s_1 - s_0 <= 1
        expected[1, 2] = 1.0  # 2 over 1, below: s_2 - s_1 <= 1
        assert_array_equal(bounds(fraction), expected)
    # A share of 1e-7 is what the dual point is known to.
    assert bounds(1e-8)[1, 0] == INF
    assert bounds(1e-7)[1, 0] == INF
    assert bounds(1e-6)[1, 0] == 1.0
    assert bounds(1.0 - 1e-8)[0, 1] == 1.0
    assert bounds(1.0 - 1e-7)[0, 1] == 1.0
    assert bounds(1.0 - 1e-6)[0, 1] == -1.0


def test_the_largest_optimum_is_taken_only_if_it_is_one():
    wins, s = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([-3.0, -3.0])
    tied = np.array([[0.0, 0.5], [0.5, 0.0]])
    assert_array_equal(linear._largest_optimum(wins, s, tied)[0], [0.0, 0.0])
    # Wins of 0 over 1 only, said to be of no use: everything at 0 is suggested, and costs 1 more.
    once = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert_array_equal(linear._largest_optimum(once, np.array([-1.0, -2.0]), once)[0], [-1.0, -2.0])
    assert_array_equal(linear._largest_optimum(once, np.array([-1.0, -2.0]), 0.0 * once)[0], [0.0, -1.0])


def test_the_same_hinge_up_to_rounding():
    wins = np.array([[0.0, 1.0], [0.0, 0.0]])

    def same(margin, other):
        return linear._same_hinge(wins, np.array([margin, 0.0]), np.array([other, 0.0]))

    assert same(0.0, 0.0)
    assert same(0.5, 0.0)
    assert not same(0.0, 0.5)
    assert same(1.0, 1.0)
    assert same(2.0, 1.0)
    assert same(0.5, 0.5 + 1e-14)
    assert not same(0.5, 0.5 + 1e-12)


@pytest.mark.parametrize(
    ("wins", "s", "other"),
    [
        ([[0, 1], [1, 0]], [0, 0], True),
        ([[0, 9], [1, 0]], [0, -1], False),
        ([[0, 1], [0, 0]], [0, -1], True),
        ([[0, 9, 9], [1, 0, 9], [0, 1, 0]], [0, -1, -2], False),
        ([[0, 9, 0, 0], [1, 0, 0, 0], [0, 0, 0, 9], [0, 0, 1, 0]], [0, -1, 0, -1], True),
        ([[0, 5, 5], [5, 0, 5], [5, 5, 0]], [0, 0, 0], True),
    ],
)
def test_whether_there_is_another_optimum(wins, s, other):
    """Against all points within two steps, by enumeration."""
    wins, s = np.array(wins, dtype=float), np.array(s, dtype=float)
    n, everywhere = len(s), np.ones(len(s), dtype=bool)

    def loss(t):
        return hinge_and_slackness(wins, 1.0, t, wins)[0]

    points = [np.array(t, dtype=float) for t in itertools.product(range(-2, 3), repeat=n)]
    least = min(loss(t) for t in points)
    assert loss(s) == least
    assert any(np.ptp(t - s) > 0 and loss(t) == least for t in points) is other
    found = linear.minimize_linear(wins, 1.0, everywhere, 1e-7, 100)
    assert found.unique is not other
    # A dual point in the middle of the optimal ones describes all optima; it is found by the interior-point method.
    path = list(interior_point(wins, 1.0, 0.0, np.full(n, 1.0 / n), 100))
    _, bounds = linear._largest_optimum(wins, s, np.clip(path[-1][1], 0.0, wins))
    assert linear._has_other_optimum(wins, s, bounds, everywhere) is other
    # What lies within the bounds is tried, not believed.
    believed = linear._has_other_optimum(wins, s, np.full((n, n), INF), everywhere)
    assert believed is other or not believed
    # Shifts that nobody counts are no other optimum.
    assert linear._has_other_optimum(wins, s, bounds, np.arange(n) == 0) is False


@pytest.mark.parametrize("scale", [1.0, 1e-25])
@pytest.mark.parametrize("seed", range(6))
def test_flows_that_were_moved_find_their_way_back(seed, scale):
    """A circulation through pairs at the margin, disturbed: afterwards it balances again, within its bounds."""
    rng = np.random.default_rng(seed)
    s = np.array([0.0, 0.0, -1.0, -1.0, -2.0])
    tight = np.subtract.outer(s, s) == 1.0
    below = np.subtract.outer(s, s) < 1.0
    wins = scale * (random_wins(rng, 5) + 0.5 * ~np.eye(5, dtype=bool))
    # Where the margin is less than 1 all wins flow; the pairs at the margin must carry that back.
    wins[below & ~tight] *= 0.05
    flows = np.where(tight, wins * rng.random((5, 5)), np.where(below, wins, 0.0))
    given = flows.copy()
    routed = linear._balanced(flows, wins, tight)[0]
    assert_array_equal(flows, given)
    assert np.abs(net_flow(given)).max() > 1e-3 * scale
    assert np.abs(net_flow(routed)).max() <= 16 * EPS * scale
    assert_array_equal(routed[~tight], given[~tight])
    assert (routed >= 0.0).all()
    assert (routed <= wins).all()


def test_flows_are_taken_back_before_they_go_round():
    """0 → 1 carries too much, 1 → 2 nothing; by hand, whichever arc is tight."""
    wins, tight = np.zeros((3, 3)), np.zeros((3, 3), dtype=bool)
    wins[0, 1], wins[1, 2], wins[2, 0] = 1.0, 1.0, 0.25
    tight[0, 1] = tight[1, 2] = True
    flows = np.array([[0.0, 0.75, 0.0], [0.0, 0.0, 0.0], [0.25, 0.0, 0.0]])
    expected = np.array([[0.0, 0.25, 0.0], [0.0, 0.0, 0.25], [0.25, 0.0, 0.0]])
    assert_allclose(linear._balanced(flows, wins, tight)[0], expected, atol=1e-16)
    # Without pairs that may change, nothing does.
    assert_array_equal(linear._balanced(flows, wins, np.zeros((3, 3), dtype=bool))[0], flows)


@pytest.mark.parametrize("decades", [0.0, 3.0, 12.0])
@pytest.mark.parametrize("seed", range(5))
def test_cuts_lead_from_any_whole_numbers_to_an_optimum(seed, decades):
    """Against exact flows; the point to start from, which is none, is the control."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 12))
    wins = random_wins(rng, n, 0.7) * 10.0 ** -rng.uniform(0.0, decades, (n, n))
    s, least = rng.integers(-6, 1, n).astype(float), float(least_hinge(wins))
    reached, dual = linear._descended(wins, s, wins * rng.random((n, n)))
    value = linear._linear_gap(wins, reached, dual)[0]
    assert value == pytest.approx(least, rel=1e-13)
    assert linear._linear_gap(wins, s, dual)[0] > least * (1.0 + 1e-9)
    # An optimum stays, and so does the dual point that came with it.
    given = wins * rng.random((n, n))
    again, kept = linear._descended(wins, reached, given)
    assert linear._linear_gap(wins, again, kept)[0] <= value
    if (again == reached).all():
        assert_array_equal(kept, given)


@pytest.mark.parametrize("seed", range(6))
def test_a_complementary_dual_point_proves_its_optimum(seed):
    """Off the margin 1 the flow is 0 or c, everywhere it balances, and the value is that of the optimum."""
    rng = np.random.default_rng(seed)
    n = 5
    wins = random_wins(rng, n)
    counted = np.ones(n, dtype=bool)
    found = linear.minimize_linear(wins, 1.0, counted, 1e-7, 200)
    s, margin = found.s, np.subtract.outer(found.s, found.s)
    rough = np.clip(found.dual + 1e-4 * rng.normal(size=(n, n)) * (wins > 0.0), 0.0, wins)
    dual, unique = linear._complementary(wins, s, rough, counted)
    assert unique is True
    assert_array_equal(dual[margin < 1.0], wins[margin < 1.0])
    assert not dual[margin > 1.0].any()
    assert np.abs(net_flow(dual)).max() < 1e-14
    assert dual.sum() == pytest.approx(found.hinge, rel=1e-13)
    # The widest tree of the rough point's room is the true one's, so each of its pairs keeps some.
    value, gap = linear._linear_gap(wins, s, dual)
    assert value == found.hinge
    assert 0.0 <= gap <= 1e-13


def test_pairs_at_their_bounds_prove_nothing_about_uniqueness():
    """0 and 1 lead 2 and 3 by 1; the flow of 0 over 3 is all of its wins, those of the other three pairs are not.

    They make a tree, along which room remains in both directions: the optimum is unique. Without it, it is not known.
    """
    s, everywhere = np.array([0.0, 0.0, -1.0, -1.0]), np.ones(4, dtype=bool)
    wins = np.array([[0, 0, 0.6, 0.5], [0, 0, 0.6, 0.6], [0.3, 0.2, 0, 0], [0.5, 0.3, 0, 0]])
    flows = np.array([[0, 0, 0.3, 0.5], [0, 0, 0.2, 0.3], [0.3, 0.2, 0, 0], [0.5, 0.3, 0, 0]])
    dual, unique = linear._complementary(wins, s, flows, everywhere)
    assert_allclose(dual, flows, atol=1e-15)
    assert unique is True
    assert linear.minimize_linear(wins, 1.0, everywhere, 1e-7, 100).s.tolist() == s.tolist()
    # A pair with next to no room, but some, is no better: the widest three are taken.
    wins[0, 3] += 1e-15
    assert linear._complementary(wins, s, flows, everywhere)[1] is True
    wins[0, 3] = 0.5
    # All wins of 1 over 2 are needed as well: a tree of three pairs has one that is at its bound.
    wins[1, 2] = 0.2
    dual, unique = linear._complementary(wins, s, flows, everywhere)
    assert_allclose(dual, flows, atol=1e-15)
    assert unique is None
    assert linear._complementary(wins, s, flows, np.arange(4) < 1)[1] is None


@pytest.mark.parametrize(("spare", "unique"), [(7, None), (8, None), (9, True)])
def test_room_that_rounding_may_have_made_proves_nothing(spare, unique):
    """0 leads 1 by 1, half of the wins flow each way; what is left of those of 0 is so many times the rounding of 1.

    Eight roundings of the flows' sum, which is 1, four for each outcome, may be in it.
    """
    wins = np.array([[0.0, 0.5 + spare * EPS], [0.5, 0.0]])
    flows = np.array([[0.0, 0.5], [0.5, 0.0]])
    for scale in (1.0, 2.0**-20, 2.0**20):
        dual, found = linear._complementary(scale * wins, np.array([0.0, -1.0]), scale * flows, np.ones(2, dtype=bool))
        assert_array_equal(dual, scale * flows)
        assert found is unique


@pytest.mark.parametrize("seed", [*range(20), 66, 105, 190, 210, 245, 246, 303, 315])
def test_a_dual_point_is_never_made_worse(seed):
    """Whatever the levels and whatever the flows: they stay between 0 and the wins, and the gap does not grow."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    s = -rng.integers(0, 3, n).astype(float)
    wins = random_wins(rng, n, 0.8) * 10.0 ** -rng.integers(0, 9, (n, n))
    given = wins * rng.random((n, n))
    dual, _ = linear._complementary(wins, s, given, np.ones(n, dtype=bool))
    assert (dual >= 0.0).all()
    assert (dual <= wins).all()
    assert linear._linear_gap(wins, s, dual)[1] <= linear._linear_gap(wins, s, given)[1]


@pytest.mark.parametrize("tolerance", [0.5, 1e-2, 1e-5, 1e-12, 1e-18])
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_the_path_is_followed_until_the_gap_is_small_enough(seed, tolerance):
    """A thousandth of the tolerance, or next to what rounding leaves of all the wins."""
    wins = random_wins(np.random.default_rng(seed), 6)
    found = linear.minimize_linear(wins, 1.0, np.ones(6, dtype=bool), tolerance, 100)

    gaps, last = [INF], 0
    for s, dual, steps in interior_point(wins, 1.0, 0.0, np.full(6, 1.0 / 6.0), 100):
        last = steps
        value, gap = linear._linear_gap(wins, s, dual)
        gaps.append(min(gaps[-1], gap))
        if finished(gaps, tolerance * value, 1e-14 * float(wins.sum())):
            break
    assert found.steps == last


def test_the_linear_gap_by_loops():
    rng = np.random.default_rng(3)
    n = 4
    wins, s = random_wins(rng, n), rng.integers(-3, 1, n).astype(float)
    dual = wins * rng.random((n, n))
    imbalance = sum(abs(dual[x].sum() - dual[:, x].sum()) for x in range(n))
    hinge = sum(wins[a, b] * max(1.0 - s[a] + s[b], 0.0) for a in range(n) for b in range(n))
    # hinge - (Σ y - (n - 1) / 2 Σ |imbalance|)
    assert_allclose(linear._linear_gap(wins, s, dual), (hinge, hinge - dual.sum() + 1.5 * imbalance), rtol=1e-13)
    free = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert linear._linear_gap(free, np.array([0.0, -1.0]), 0.0 * free) == (0.0, 0.0)


def test_a_margin_of_zero_costs_nothing():
    wins, everywhere = np.array([[0.0, 2.0], [0.0, 0.0]]), np.ones(2, dtype=bool)
    found = linear.minimize_linear(wins, 0.0, everywhere, 1e-7, 10)
    assert (found.hinge, found.gap, found.resolution, found.unique, found.steps) == (0.0, 0.0, 0.0, False, 0)
    assert not found.s.any()
    assert found.s.shape == (2,)
    assert not found.dual.any()
    assert found.dual.shape == (2, 2)
    assert linear.minimize_linear(wins, 0.0, np.array([True, False]), 1e-7, 10).unique is True
    assert linear.minimize_linear(wins + wins.T, 0.0, everywhere, 1e-7, 10).unique is True
    weak = np.array([[0.0, 1e-3], [1e-3, 0.0]])
    assert linear.minimize_linear(weak, 0.0, everywhere, 1e-7, 10).unique is True


def test_without_wins_everything_is_best():
    found = linear.minimize_linear(np.zeros((3, 3)), 2.0, np.ones(3, dtype=bool), 1e-7, 10)
    assert found.s.tolist() == [0.0, 0.0, 0.0]
    assert not found.dual.any()
    assert (found.hinge, found.gap, found.resolution, found.unique, found.steps) == (0.0, 0.0, 0.0, False, 0)
    assert linear.minimize_linear(np.zeros((1, 1)), 2.0, np.ones(1, dtype=bool), 1e-7, 10).unique is True


@pytest.mark.parametrize("seed", [76, 92, 105, 134, 180, 182, 184, 299])
def test_wins_of_all_magnitudes_are_certified(seed):
    """Down to one in 10^20: the dual point is found, and nothing else is as good; in exact fractions nothing is."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 6))
    wins = random_wins(rng, n, 0.8) * 10.0 ** -rng.integers(0, 20, (n, n))
    found = linear.minimize_linear(wins, 1.0, np.ones(n, dtype=bool), 1e-7, 200)
    assert found.gap <= 1e-12 * found.hinge
    assert found.unique is True
    exact = [[Fraction(float(w)) for w in row] for row in wins]

    def loss(t):
        return sum(exact[a][b] * max(1 - int(t[a] - t[b]), 0) for a in range(n) for b in range(n))

    for subset in itertools.product([0, 1], repeat=n):
        if 0 < sum(subset) < n:
            assert loss(found.s + np.array(subset)) > loss(found.s)


def test_two_problems_side_by_side_are_unique_each_for_itself():
    """The constant between them is free; to who counts the outcomes of one of them, that does not matter."""
    wins = np.array([[0.0, 9.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 7.0], [0.0, 0.0, 2.0, 0.0]])
    for counted, unique in (([0, 1], True), ([2, 3], True), ([1], True), ([0, 2], False), ([0, 1, 2, 3], False)):
        mask = np.isin(np.arange(4), counted)
        found = linear.minimize_linear(wins, 1.0, mask, 1e-7, 50)
        assert found.s.tolist() == [0.0, -1.0, 0.0, -1.0]
        assert found.unique is unique
        if unique:
            assert linear._complementary(wins, found.s, found.dual, mask)[1] is True


def test_the_linear_minimum_scales_with_wins_and_margin():
    wins, everywhere = np.array([[0.0, 9.0, 8.0], [1.0, 0.0, 7.0], [0.0, 1.0, 0.0]]), np.ones(3, dtype=bool)
    one = linear.minimize_linear(wins, 1.0, everywhere, 1e-7, 50)
    assert one.s.tolist() == [0.0, -1.0, -2.0]
    assert one.hinge == 4.0  # 1 over 0 and 2 over 1, a loss of 2 each
    assert one.resolution == pytest.approx(26.0 * 1e-14, rel=1e-12, abs=0.0)
    assert one.unique is True
    assert 1 < one.steps < 20
    assert one.dual.sum() == pytest.approx(4.0, rel=1e-13)
    other = linear.minimize_linear(wins / 32.0, 4.0, everywhere, 1e-7, 50)
    assert other.s.tolist() == [0.0, -4.0, -8.0]
    assert other.hinge == 0.5
    assert other.resolution == pytest.approx(26.0 / 8.0 * 1e-14, rel=1e-12, abs=0.0)
    assert_allclose(other.dual, one.dual / 32.0, rtol=1e-9)
    assert other.steps == one.steps


def test_one_step_is_not_two():
    wins = np.array([[0.0, 9.0, 8.0], [1.0, 0.0, 7.0], [0.5, 1.0, 0.0]])
    for max_steps in (1, 2):
        assert linear.minimize_linear(wins, 1.0, np.ones(3, dtype=bool), 1e-7, max_steps).steps == max_steps


def test_wins_in_one_direction_only_cost_nothing():
    """Three strongly connected groups in a row; each is a programme of its own, a level below what beats it."""
    wins = np.zeros((6, 6))
    for first in (0, 2, 4):
        wins[first, first + 1], wins[first + 1, first] = 3.0, 1.0
    wins[0, 2] = wins[1, 2] = wins[3, 5] = wins[0, 4] = 1.0
    found = linear.minimize_linear(wins, 1.0, np.ones(6, dtype=bool), 1e-7, 100)
    assert found.hinge == 6.0
    # Largest: 0 leads 1; 2 is 1 below 1, 3 below 2; 5 is 1 below 3, and 4 is 1 above it.
    assert found.s.tolist() == [0.0, -1.0, -2.0, -3.0, -3.0, -4.0]
    assert found.unique is False
    assert found.gap <= 1e-12


# --- λ > 0 -------------------------------------------------------------------------------------------------------


def test_who_is_tied_to_the_reference():
    wins = np.zeros((5, 5))
    wins[1, 0], wins[2, 1], wins[3, 2], wins[0, 4] = 1.0, 0.5, 1e-9, 1.0

    def supported(reference, least, rare):
        return regularized._supported(wins, np.array(reference), least, rare).tolist()

    assert supported([1.0, 0.0, 0.0, 0.0, 0.0], 0.0, 0.0) == [True, True, True, True, False]
    assert supported([1.0, 0.0, 0.0, 0.0, 0.0], 0.0, 1e-9) == [True, True, True, False, False]
    assert supported([1.0, 0.0, 0.0, 0.0, 0.0], 0.0, 0.5) == [True, True, False, False, False]
    assert supported([0.5, 0.0, 0.0, 0.0, 0.5], 0.5, 0.0) == [False] * 5
    assert supported([0.4, 0.0, 0.6, 0.0, 0.0], 0.5, 0.0) == [False, False, True, True, False]


def test_the_duals_policy_and_its_rounding():
    rng = np.random.default_rng(4)
    dual, reference, lambda_ = random_wins(rng, 4), np.array([0.1, 0.2, 0.3, 0.4]), 0.3
    r, noise = regularized._dual_policy(dual, lambda_, reference)
    for x in range(4):
        gained, lost = dual[x].sum(), dual[:, x].sum()
        assert r[x] == pytest.approx(reference[x] + (gained - lost) / lambda_, rel=1e-13)
        assert noise[x] == pytest.approx(8.0 * EPS * (reference[x] + (gained + lost) / lambda_), rel=1e-13, abs=0.0)


def feasible(dual, wins, lambda_, reference):
    dual, wins, reference = (np.array(x, dtype=float) for x in (dual, wins, reference))
    mended, r = regularized._feasible(dual, wins, lambda_, reference)
    assert_allclose(r, np.maximum(reference + net_flow(mended) / lambda_, 0.0), atol=1e-15)
    assert (mended >= 0.0).all()
    assert (mended <= wins).all()
    return mended, r


def test_a_dual_point_that_is_feasible_stays():
    mended, r = feasible([[0, 0.25], [0, 0]], [[0, 1], [0, 0]], 1.0, [0.5, 0.5])
    assert mended.tolist() == [[0, 0.25], [0, 0]]
    assert r.tolist() == [0.75, 0.25]
    mended, r = feasible([[0, 0.25, 0], [0, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 0], [0, 0, 0]], 1.0, [0.5, 0.5, 0.0])
    assert mended.tolist() == [[0, 0.25, 0], [0, 0, 0], [0, 0, 0]]
    # Exactly nothing is left: no mending either.
    mended, r = feasible([[0, 1.0], [0, 0]], [[0, 2], [0, 0]], 2.0, [0.5, 0.5])
    assert mended.tolist() == [[0, 1.0], [0, 0]]
    assert r.tolist() == [1.0, 0.0]


def test_what_an_outcome_lacks_is_taken_from_the_most_probable_one():
    # r would be (1.25, -0.25) at λ = 1; a quarter flows back through the pair, which has room for it.
    mended, r = feasible([[0, 0.75], [0, 0]], [[0, 1], [0, 0]], 1.0, [0.5, 0.5])
    assert mended.tolist() == [[0, 0.5], [0, 0]]
    assert r.tolist() == [1.0, 0.0]
    # The same at λ = ½, wins 4 and a third outcome that has nothing to do with it.
    mended, r = feasible(
        [[0, 0.375, 0], [0, 0, 0], [0, 0, 0]], [[0, 4, 0], [0, 0, 0], [0, 0, 0]], 0.5, [0.25, 0.5, 0.25]
    )
    assert mended.tolist() == [[0, 0.25, 0], [0, 0, 0], [0, 0, 0]]
    assert r.tolist() == [0.75, 0.0, 0.25]


def test_what_others_have_is_left_to_them():
    # r = (1.3, -0.35, 0.05): the third keeps what it has, though it could pass it on.
    wins = [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    mended, r = feasible([[0, 0.75, 0.25], [0, 0, 0], [0, 0, 0]], wins, 1.0, [0.3, 0.4, 0.3])
    assert_allclose(mended, [[0, 0.4, 0.25], [0, 0, 0], [0, 0, 0]], atol=1e-15)
    assert_allclose(r, [0.95, 0.0, 0.05], atol=1e-15)


def test_losses_are_counted_less_where_no_pair_has_room():
    # All of the wins are counted, and r = (1.5, -0.5): half of them are, and 1e-9 of what lacked, so that it suffices.
    mended, r = feasible([[0, 1], [0, 0]], [[0, 1], [0, 0]], 1.0, [0.5, 0.5])
    assert_allclose(mended, [[0, 0.5 - 0.5e-9], [0, 0]], rtol=1e-14, atol=0)
    assert_allclose(r, [1.0 - 0.5e-9, 0.5e-9], rtol=1e-6)
    # At λ = ¼, and wins of 2 over 1, r = (0.4 + 1.2, 0.5 - 2, 0.1 + 0.8): a quarter of the losses may be counted.
    mended, r = feasible(
        [[0, 0.3, 0], [0, 0, 0], [0, 0.2, 0]], [[0, 0.3, 0], [0, 0, 0], [0, 0.2, 0]], 0.25, [0.4, 0.5, 0.1]
    )
    assert_allclose(mended, [[0, 0.075, 0], [0, 0, 0], [0, 0.05, 0]], rtol=1e-8)
    assert_allclose(r, [0.7, 0.0, 0.3], atol=1e-8)


def test_a_pair_without_enough_room_is_left_as_it_is():
    """1 lacks 0.4, but the pair with 2 has room for 0.05 only; then its losses to 0 are counted less."""
    dual = [[0, 0.9, 0], [0, 0, 0.05], [0, 0, 0]]
    wins = [[0, 0.9, 0], [0, 0, 0.1], [0, 0, 0]]
    mended, r = feasible(dual, wins, 1.0, [0.1, 0.45, 0.45])
    assert mended[1, 2] == 0.05
    assert_allclose(mended[0, 1], 0.5, rtol=1e-8)
    assert_allclose(r, [0.6, 0.0, 0.4], atol=1e-8)


def test_no_flow_is_made_negative():
    """The same with 1 losing to 2: of 0.05 no 0.4 can be taken back."""
    dual = [[0, 0.9, 0], [0, 0, 0], [0, 0.05, 0]]
    mended, r = feasible(dual, [[0, 0.9, 0], [0, 0, 0], [0, 0.1, 0]], 1.0, [0.1, 0.55, 0.35])
    assert_allclose(mended, np.array(dual) * 0.55 / 0.95, rtol=1e-8)
    assert r[1] == pytest.approx(0.0, abs=1e-8)


def test_wins_that_are_taken_from_others_are_made_up_for():
    """1 counts fewer losses to 0, which then lacks what it lost to 2 itself: several rounds."""
    wins = [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    mended, r = feasible(wins, wins, 1.0, [0.125, 0.125, 0.75])
    assert_allclose(mended[0, 1], 0.125, rtol=1e-6)
    assert_allclose(mended[2, 0], 0.25, rtol=1e-6)
    assert_allclose(r, [0.0, 0.0, 1.0], atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_any_dual_point_can_be_mended(seed):
    rng = np.random.default_rng(seed)
    wins = random_wins(rng, 6, 0.7)
    reference = pb.FiniteDistribution(rng.normal(0.0, 3.0, 6)).pmf
    for dual in (wins, wins * rng.random((6, 6)), wins * (rng.random((6, 6)) < 0.5)):
        _, r = feasible(dual, wins, 0.05 + seed % 2, reference)
        assert r.sum() == pytest.approx(1.0, abs=1e-12)


def dual_value(found, delta, lambda_, reference):
    """δ Σ y + λ H(r) − λ H(reference), from the dual point alone."""

    def entropy(p):
        return -sum(float(x) * math.log(x) for x in p if x > 0.0)

    r = np.maximum(reference + net_flow(found.dual) / lambda_, 0.0)
    return delta * found.dual.sum() + lambda_ * (entropy(r) - entropy(reference))


def minimum(wins, delta, lambda_, reference, **others):
    wins, reference = np.array(wins, dtype=float), np.array(reference, dtype=float)
    arguments = {"counted": np.ones(len(wins), dtype=bool), "tolerance": 1e-7, "max_steps": 200} | others
    return regularized.minimize_hinge(wins, delta, lambda_, reference, *arguments.values())


def test_outcomes_that_the_reference_hardly_has():
    """π_pre = 1e-14 is too little to hold an outcome on the path. By hand: nothing but the regulariser acts on it."""
    wins = np.array([[0, 0.6, 0.2], [0.4, 0, 0.1], [0, 0, 0]])
    reference = np.array([0.5, 0.5 - 1e-14, 1e-14])
    found = minimum(wins, 2.0, 1.0, reference)
    policy = pb.FiniteDistribution(found.s).pmf
    assert_allclose(policy, [0.7, 0.3, 1e-14], rtol=1e-6)  # π - reference = ±(0.6 - 0.4), as without the third
    assert found.s.max() == 0.0
    assert 0.0 <= found.gap <= 1e-9
    # At margin 40 it would be 40 nats below the other two: above, e^-40 of the rarer is more than it may have.
    found = minimum(wins, 40.0, 1.0, reference)
    policy = pb.FiniteDistribution(found.s).pmf
    assert_allclose(policy[2] / policy[1], math.exp(-40.0), rtol=1e-6)
    assert found.hinge == pytest.approx(0.6 * (40.0 - math.log(7 / 3)) + 0.4 * (40.0 + math.log(7 / 3)), rel=1e-6)
    assert found.gap <= 1e-9
    # Control: what never meets it does not push it down.
    wins[1, 2] = 0.0
    policy = pb.FiniteDistribution(minimum(wins, 40.0, 1.0, reference).s).pmf
    assert_allclose(policy[2] / policy[0], math.exp(-40.0), rtol=1e-6)


def test_several_outcomes_that_the_reference_hardly_has():
    """Among themselves they are a linear programme: one margin apart, their mass together that of the reference."""
    wins = np.array([[0, 0.6, 0.2, 0], [0.4, 0, 0, 0.1], [0, 0, 0, 0.9], [0, 0, 0.1, 0]])
    reference = np.array([0.5, 0.5 - 4e-14, 1e-14, 3e-14])
    found = minimum(wins, 2.0, 1.0, reference)
    policy = pb.FiniteDistribution(found.s).pmf
    assert_allclose(policy[:2], [0.7, 0.3], rtol=1e-6)
    assert_allclose(policy[2] / policy[3], math.exp(2.0), rtol=1e-9)
    assert_allclose(policy[2:].sum(), 4e-14, rtol=1e-6)
    margin = math.log(7 / 3)
    assert found.hinge == pytest.approx(0.6 * (2.0 - margin) + 0.4 * (2.0 + margin) + 0.1 * 4.0, rel=1e-6)
    assert found.dual[2, 3] == pytest.approx(0.1, rel=1e-9)
    assert found.dual[3, 2] == pytest.approx(0.1, rel=1e-9)
    assert 0.0 <= found.gap <= 1e-9
    # Primal minus dual value; the regulariser's share of the rare outcomes is below rounding.
    kl = pb.kl_divergence(pb.FiniteDistribution.from_weights(reference), pb.FiniteDistribution(found.s))
    assert found.hinge + kl - dual_value(found, 2.0, 1.0, reference) == pytest.approx(found.gap, abs=1e-12)
    parts = (
        minimum(wins[:2, :2], 2.0, 1.0, [0.5, 0.5]),
        linear.minimize_linear(wins[2:, 2:], 2.0, np.ones(2, dtype=bool), 1e-7, 200),
    )
    assert found.steps == parts[0].steps + parts[1].steps
    assert min(part.steps for part in parts) > 0


def test_a_margin_that_is_kept_anyway_pushes_nothing_down():
    """Only the lower of two rare outcomes, 40 nats below the other, meets what is held, itself 31 nats above them."""
    wins = np.array([[0, 0.6, 0, 0], [0.4, 0, 0, 0.1], [0, 0, 0, 0.9], [0, 0, 0.1, 0]])
    reference = np.array([0.5, 0.5 - 4e-14, 1e-14, 3e-14])
    policy = pb.FiniteDistribution(minimum(wins, 40.0, 1.0, reference).s).pmf
    assert_allclose(policy[2], 4e-14, rtol=1e-6)
    assert_allclose(policy[3] / policy[2], math.exp(-40.0), rtol=1e-9)


def test_a_regulariser_of_next_to_no_weight():
    """λ = 1e-13 holds nothing on the path; the linear optimum is within λ times the divergence."""
    wins, reference = np.array([[0, 9, 8], [1, 0, 7], [0.5, 1, 0]]), np.array([0.2, 0.3, 0.5])
    found = minimum(wins, 1.0, 1e-13, reference)
    bare = linear.minimize_linear(wins, 1.0, np.ones(3, dtype=bool), 1e-7, 200)
    assert_allclose(found.s, bare.s, atol=1e-14)
    assert found.hinge == pytest.approx(bare.hinge, rel=1e-13)
    assert 0.0 <= found.gap <= 1e-11
    assert found.steps == bare.steps
    assert found.unique is True


def test_outcomes_that_sink_pay_for_comparisons_among_themselves():
    """The reference lacks 2 and 3, which never beat what it has: they sink, one margin apart."""
    wins = np.array([[0, 0.6, 0.2, 0.1], [0.4, 0, 0, 0], [0, 0, 0, 0.75], [0, 0, 0.25, 0]])
    found = minimum(wins, 2.0, 1.0, [0.5, 0.5, 0.0, 0.0])
    kept = minimum(wins[:2, :2], 2.0, 1.0, [0.5, 0.5])
    rest = linear.minimize_linear(wins[2:, 2:], 2.0, np.ones(2, dtype=bool), 1e-7, 200)
    assert_array_equal(found.s, [*kept.s, -INF, -INF])
    assert found.hinge == pytest.approx(kept.hinge + 0.25 * 4.0, rel=1e-14)
    assert found.gap == kept.gap + rest.gap
    assert found.steps == kept.steps + rest.steps > kept.steps
    assert_array_equal(found.dual[:2, :2], kept.dual)
    assert_array_equal(found.dual[2:, 2:], rest.dual)
    assert not found.dual[:2, 2:].any()
    assert not found.dual[2:, :2].any()
    assert found.unique is True
    # One step each leaves both of them unfinished, and the gaps add up.
    early = minimum(wins, 2.0, 1.0, [0.5, 0.5, 0.0, 0.0], max_steps=1)
    assert early.steps == 2
    rough = minimum(wins[:2, :2], 2.0, 1.0, [0.5, 0.5], max_steps=1)
    assert (
        early.gap == rough.gap + linear.minimize_linear(wins[2:, 2:], 2.0, np.ones(2, dtype=bool), 1e-7, 1).gap > 1e-3
    )


def test_the_regularised_minimum_says_how_far_it_got():
    wins, reference = np.array([[0, 0.5, 0.4], [0.2, 0, 0.3], [0.1, 0.3, 0]]), np.array([0.2, 0.3, 0.5])
    whole = wins / 1.8
    gaps = []
    for max_steps in range(1, 7):
        found = minimum(whole, 0.5, 0.7, reference, max_steps=max_steps)
        assert found.steps == max_steps
        assert found.s.max() == 0.0
        assert found.resolution == pytest.approx(2.2e-14, rel=1e-12, abs=0.0)
        kl = pb.kl_divergence(pb.FiniteDistribution(np.log(reference)), pb.FiniteDistribution(found.s))
        primal = sum(
            whole[a, b] * max(0.5 - found.s[a] + found.s[b], 0.0) for a in range(3) for b in range(3)
        ) + 0.7 * kl  # fmt: skip
        assert found.hinge + 0.7 * kl == pytest.approx(primal, rel=1e-14)
        assert primal - dual_value(found, 0.5, 0.7, reference) == pytest.approx(found.gap, abs=1e-14)
        gaps.append(found.gap)
    assert (np.diff(gaps) <= 0.0).all()
    assert gaps[-1] < 1e-3 * gaps[0]
    # It stops at a thousandth of the tolerance, not later.
    rough, fine = (minimum(whole, 0.5, 0.7, reference, tolerance=tolerance) for tolerance in (1e-2, 1e-9))
    assert 1e-12 < rough.gap < 1e-4
    assert rough.steps < fine.steps < 30
    assert fine.gap < 1e-11
    # In units of the loss: the same problem with wins, λ and so the loss eight times as large.
    large = minimum(8.0 * whole, 0.5, 8.0 * 0.7, reference, tolerance=1e-2)
    assert large.gap == pytest.approx(8.0 * rough.gap, rel=1e-6)
    assert large.resolution == pytest.approx(8.0 * rough.resolution, rel=1e-12, abs=0.0)
    assert large.steps == rough.steps


def test_steps_that_make_it_worse_are_counted_but_not_taken(monkeypatch):
    wins, reference = np.array([[0, 0.5], [0.25, 0]]), np.array([0.25, 0.75])
    good, bad = np.log([0.5, 0.5]), np.log([0.01, 0.99])
    path = [(good, np.array([[0, 0.25], [0.25, 0]]), 1), (bad, np.zeros((2, 2)), 2), (bad, wins, 3)]
    monkeypatch.setattr(regularized, "interior_point", lambda *_: iter(path))
    found = minimum(wins, 0.5, 0.7, reference, tolerance=1e-12)
    assert found.steps == 3
    assert found.s.tolist() == [0.0, 0.0]
    assert found.dual.tolist() == [[0, 0.25], [0.25, 0]]


@pytest.mark.parametrize("tolerance", [0.5, 1e-1, 1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_central_path_is_followed_until_the_gap_is_small_enough(seed, tolerance):
    """In units of hinge plus λ·KL, most of which is the latter here."""
    rng = np.random.default_rng(seed)
    wins, reference = random_wins(rng, 5) / 20.0, pb.FiniteDistribution(2.0 * rng.normal(size=5))
    found = minimum(wins, 0.1, 0.02, reference.pmf, tolerance=tolerance)
    start = regularized._regularized_point(wins, 0.1, 0.02, reference, reference.log_pmf, np.zeros((5, 5)), 0)
    gaps, last = [start.gap], 0
    for s, dual, steps in interior_point(wins, 0.1, 0.02, (reference.pmf + EPS) / (1.0 + 5.0 * EPS), 200):
        last = steps
        best = regularized._regularized_point(wins, 0.1, 0.02, reference, s, dual, steps)
        gaps.append(min(best.gap, gaps[-1]))
        value = best.hinge + 0.02 * pb.kl_divergence(reference, pb.FiniteDistribution(best.s))
        if finished(gaps, tolerance * value, best.resolution):
            break
    assert gaps[-1] == best.gap
    # The result's gap has what rounding may have done besides.
    assert best.gap <= found.gap <= best.gap + 1e-15
    assert found.steps == last


def test_a_reference_without_any_loss_is_kept():
    found = minimum([[0, 1], [0, 0]], 0.5, 1.0, [0.75, 0.25])
    assert_allclose(found.s, [0.0, -math.log(3.0)], rtol=1e-15)
    assert (found.hinge, found.gap, found.steps) == (0.0, 0.0, 0)
    assert not found.dual.any()
    assert found.unique is True
    # Exactly, where the difference of the same logarithms, differently normalised, is not.
    found = minimum(np.triu(np.ones((5, 5)), 1), 0.0, 1.3, [0.37, 0.23, 0.17, 0.13, 0.1])
    assert (found.hinge, found.gap, found.steps) == (0.0, 0.0, 0)
    # Control: the margin that it lacks costs something.
    assert minimum([[0, 1], [0, 0]], 1.5, 1.0, [0.75, 0.25]).steps > 0
