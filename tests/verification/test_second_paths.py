"""The second paths of `pbde-ref verify` are themselves held against hand cases, enumeration, SciPy and mpmath."""

from fractions import Fraction
from itertools import combinations, product

import mpmath
import numpy as np
import pytest
from scipy.optimize import linprog

from pbde_ref import paper
from pbde_ref.verification import exact_fits, paper_in_decimals, second_paths
from pbde_ref.verification.exact_flows import even_policy, least_hinge


def random_wins(rng, size, decades=0.0):
    wins = rng.exponential(size=(size, size)) * (rng.random((size, size)) < rng.uniform(0.3, 1.0))
    wins *= 10.0 ** rng.uniform(-decades, 0.0, wins.shape)
    np.fill_diagonal(wins, 0.0)
    return wins


def by_linear_programme(wins):
    size, (a, b) = len(wins), np.nonzero(wins)
    rows, index = np.zeros((a.size, size + a.size)), np.arange(a.size)
    rows[index, a], rows[index, b], rows[index, size + index] = -1.0, 1.0, -1.0
    bounds = [(None, None)] * size + [(0.0, None)] * a.size
    return linprog(np.r_[np.zeros(size), wins[a, b]], A_ub=rows, b_ub=-np.ones(a.size), bounds=bounds).fun


@pytest.mark.parametrize("seed", range(20))
def test_the_least_hinge_is_that_of_a_linear_programme(seed):
    rng = np.random.default_rng(seed)
    wins = random_wins(rng, int(rng.integers(2, 9)))
    assert float(least_hinge(wins)) == pytest.approx(by_linear_programme(wins) if wins.any() else 0.0, abs=1e-7)


@pytest.mark.parametrize("seed", range(10))
def test_the_least_hinge_is_the_least_over_whole_numbers_whatever_the_scale(seed):
    rng = np.random.default_rng(seed)
    wins = random_wins(rng, 4, decades=300.0)
    exact = [[Fraction(value) for value in row] for row in wins.tolist()]
    least = min(
        sum(exact[a][b] * max(0, 1 - s[a] + s[b]) for a in range(4) for b in range(4) if a != b)
        for s in product(range(4), repeat=4)
    )
    assert least_hinge(wins) == least


def test_the_least_hinge_of_preferences_that_never_contradict_each_other_is_zero():
    assert least_hinge(np.triu(np.ones((5, 5)), 1)) == 0
    assert least_hinge(np.zeros((1, 1))) == 0


@pytest.mark.parametrize("decades", [0.0, 200.0])
@pytest.mark.parametrize("seed", range(10))
def test_the_even_policy_cannot_be_made_more_even(seed, decades):
    """It is a base, m(T) ≤ f(T) for all T; what is larger cannot give to what is less, for a tight set parts them."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 7))
    wins = random_wins(rng, size, decades)
    best = rng.exponential(size=size)
    m = even_policy(wins, best)
    exact = [[Fraction(value) for value in row] for row in wins.tolist()]
    total = sum(map(Fraction, best.tolist()))
    sets = [set(t) for k in range(size + 1) for t in combinations(range(size), k)]

    def most(members):
        out = sum(exact[x][y] for x in members for y in range(size) if y not in members)
        return (sum(Fraction(best[x]) for x in members) + out) / total

    assert sum(m) == 1
    slack = [most(t) - sum(m[x] for x in t) for t in sets]
    assert min(slack) >= 0
    for x, y in product(range(size), repeat=2):
        if m[x] > m[y]:
            assert any(s == 0 and y in t and x not in t for s, t in zip(slack, sets, strict=True))


def random_mixture(rng, size, nats, decades):
    members = [rng.uniform(-nats / 2, nats / 2, size) for _ in range(2)]
    q = rng.exponential(size=(size, size)) * 10.0 ** rng.uniform(-decades, 0.0, (size, size))
    return members, rng.uniform(0.3, 0.7, 2), q / q.sum()


def mpmath_gradient(members, mixed, q, utilities):
    """Largest entry of the gradient, each relative to the sum of the sizes of its terms."""
    size, total = len(q), mpmath.mpf(float(mixed[0])) + mpmath.mpf(float(mixed[1]))

    def sigma(v, a, b):
        return 1 / (1 + mpmath.exp(mpmath.mpf(float(v[b])) - mpmath.mpf(float(v[a]))))

    worst = mpmath.mpf(0)
    for a in range(size):
        terms = []
        for b in range(size):
            if a != b:
                weight = mpmath.mpf(float(q[a, b])) + mpmath.mpf(float(q[b, a]))
                won, lost = (
                    sum(mpmath.mpf(float(w)) * sigma(chi, *pair) for w, chi in zip(mixed, members, strict=True)) / total
                    for pair in ((a, b), (b, a))
                )
                terms.append((weight * lost * sigma(utilities, a, b), weight * won * sigma(utilities, b, a)))
        worst = max(worst, abs(sum(x - y for x, y in terms)) / sum(x + y for x, y in terms))
    return worst


@pytest.mark.parametrize(("nats", "decades"), [(4.0, 0.0), (60.0, 0.0), (4.0, 12.0), (300.0, 3.0)])
@pytest.mark.parametrize("seed", range(3))
def test_the_projection_balances_every_outcome(seed, nats, decades):
    """Its gradient, in mpmath, vanishes to the rounding of the utilities that were returned."""
    rng = np.random.default_rng(seed)
    members, mixed, q = random_mixture(rng, 5, nats, decades)
    found = exact_fits.projection(members, mixed, q)
    with mpmath.workdps(400):
        assert mpmath_gradient(members, mixed, q, found.utilities) < 1e-15 * (8 + 4 * nats)
        # Control: a thousandth of a nat is noticed.
        moved = found.utilities + 1e-3 * (np.arange(5) == 2)
        assert mpmath_gradient(members, mixed, q, moved) > 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_the_projection_on_a_tree_meets_every_pair(seed):
    """Weights over 30 decades and log-odds of 600 nats: each pair's own log-odds, whatever the weights."""
    rng = np.random.default_rng(seed)
    size = 12
    one = rng.uniform(-300.0, 300.0, size)
    q = np.zeros((size, size))
    for child in range(1, size):
        q[child, rng.integers(child)] = 10.0 ** rng.uniform(-30.0, 0.0)
    found = exact_fits.projection([one], [1.0], q / q.sum())
    assert np.abs(found.utilities - (one - one[0])).max() < 1e-12 * 600
    assert found.uncertainty < 1e-9


def test_the_uncertainty_covers_what_rounding_does():
    """Weights one unit in the last place away move the projection by no more, and sometimes by a good part of it."""
    rng = np.random.default_rng(1)
    # What a rare pair is to be met to, the misfit of frequent ones decides to 1e-16 of theirs.
    members, mixed, q = random_mixture(rng, 5, 8.0, 9.0)
    found = exact_fits.projection(members, mixed, q)
    moved = []
    for _ in range(20):
        other = np.where(rng.random(q.shape) < 0.5, np.nextafter(q, 1.0), np.nextafter(q, 0.0))
        moved.append(np.ptp(exact_fits.projection(members, mixed, other).utilities - found.utilities))
    assert 1e-4 * found.uncertainty < max(moved) <= found.uncertainty + 1e-14


def test_log_policies_are_normalised_to_the_last_digit():
    rng = np.random.default_rng(0)
    for _ in range(20):
        f = 10.0 ** rng.uniform(-2.0, 2.0, 9)
        log_policy = second_paths.normalized(rng.uniform(-1e3, 1e3, 9), f)
        assert abs(np.exp(log_policy).sum() - 1.0) < 1e-13


@pytest.mark.parametrize("nats", [0.5, 30.0, 300.0])
@pytest.mark.parametrize("seed", range(4))
def test_sums_in_floats_are_those_of_the_papers_text(seed, nats):
    """Preferences, Eq. (7), (8) and the gradient against `paper` in mpmath, with an outcome that never wins."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    chi, omega = (rng.uniform(-nats / 2, nats / 2, n) for _ in range(2))
    q = rng.exponential(size=(n, n)) * (rng.random((n, n)) < 0.6) + np.eye(n, k=1) * 0.1
    q[-1, -1], chi[-1] = 0.0, chi[-1] if seed % 2 else -np.inf
    q /= q.sum()
    with mpmath.workdps(60 + int(nats)):
        rows, (c, w) = [list(map(mpmath.mpf, row)) for row in q.tolist()], (exact(chi), exact(omega))
        star = lambda a, b: paper.equation_2(c, a, b, mpmath)  # noqa: E731
        model = lambda v: lambda a, b: paper.equation_2(v, a, b, mpmath)  # noqa: E731
        pairs = np.argwhere(q > 0).tolist()
        p = np.array([float(star(a, b)) for a, b in pairs])
        eq_7, entropy = (float(paper.equation_7(rows, star, m, mpmath)) for m in (model(w), star))
        eq_8 = float(paper.equation_8(rows, star, model(w), mpmath))
        h = mpmath.mpf(10) ** -25
        slopes = [
            float(sum(s * paper.equation_8(rows, star, model([*w[:x], w[x] + s * h, *w[x + 1 :]]), mpmath)
                      for s in (1, -1)) / (2 * h))
            for x in range(n)
        ]  # fmt: skip
    rounding = 1e-15 * (10 + nats)
    np.testing.assert_allclose(second_paths.preferences(chi, q), p, rtol=rounding)
    assert second_paths.cross_entropy(chi, omega, q) == pytest.approx(eq_7, rel=rounding)
    assert second_paths.entropy(chi, q) == pytest.approx(entropy, rel=rounding)
    assert second_paths.kl(chi, omega, q) == pytest.approx(eq_8, abs=rounding * eq_7)
    np.testing.assert_allclose(second_paths.gradient(p, omega, q), slopes, rtol=0, atol=1e-15 * (10 + nats))
    # Control: a margin of the wrong sign is noticed.
    assert abs(second_paths.cross_entropy(chi, -omega, q) - eq_7) > 1e-6


def exact(values):
    return [mpmath.mpf(float(value)) for value in values]


def test_the_papers_text_in_decimals_by_hand():
    """p* = (3/4, 1/4, 0): 0 beats 1 with 3/4, and always 2, which against itself is a coin."""
    log_p = np.array([np.log(3.0), 0.0, -np.inf])
    p = paper_in_decimals.luce_preferences(log_p, np.ones((3, 3)))
    np.testing.assert_allclose(p, [[1 / 2, 3 / 4, 1], [1 / 4, 1 / 2, 1], [0, 0, 1 / 2]], rtol=1e-15)
    np.testing.assert_allclose(
        paper_in_decimals.wins(log_p, np.ones((3, 3))), [[0, 3 / 2, 2], [1 / 2, 0, 2], [0, 0, 0]], rtol=1e-15
    )
    one_pair, log_2, log_3 = np.array([[0.0, 1.0], [0.0, 0.0]]), np.log(2.0), np.log(3.0)
    entropy = 2 * log_2 - 0.75 * log_3
    found = paper_in_decimals.cross_entropies(np.array([log_3, 0.0]), np.zeros(2), one_pair)
    np.testing.assert_allclose(found, [log_2, log_2 - entropy, entropy], rtol=1e-15)
    assert paper_in_decimals.pair_kl(np.array([log_3, 0.0]), np.zeros(2), 0, 1) == pytest.approx(found[1], rel=1e-15)
    # A uniform policy of two under rewards (2, 0), beta = 1/2 and the reference (3/4, 1/4).
    arguments = np.array([2.0, 0.0]), 0.5, np.array([log_3, 0.0])
    value = 1.0 - 0.5 * 0.5 * np.log((1 / 2) ** 2 / (3 / 16))
    assert paper_in_decimals.controlled_reward(np.zeros(2), *arguments) == pytest.approx(value, rel=1e-15)
    # Its derivative by the first logit is 1/4 of the difference of r - beta log(pi / pi_pre): 2 + 1/2 log 3.
    slope = paper_in_decimals.controlled_reward_slope(np.zeros(2), np.array([1.0, 0.0]), *arguments)
    assert slope == pytest.approx((2.0 + 0.5 * log_3) / 4, rel=1e-14)
    half = np.log([0.5, 0.5])
    optimum = paper_in_decimals.optimum(paper.equation_16, half, np.array([log_3, 0.0]), 0.5)
    np.testing.assert_allclose(np.exp(optimum), [0.9, 0.1], rtol=1e-15)
    # 0 won once, 1 twice, scores -1e13 and 0: the wrong order costs 1e13 once, the likelihood 1/2 of that.
    ranked = paper_in_decimals.ranking_loss(
        np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([0.5, 0.5]), np.array([-1e13, 0.0])
    )
    assert ranked == pytest.approx(1.5e13, rel=1e-15)
