"""The linear programme at λ = 0: shortest paths, rounding, flows and what they prove, against enumeration."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pbde_ref.exact.hinge import linear
from pbde_ref.exact.hinge.duality import EPS, finished, hinge_and_slackness, net_flow
from pbde_ref.exact.hinge.interior_point import interior_point
from pbde_ref.verification.exact_flows import least_hinge
from tests.exact.hinge.wins import random_wins

INF = math.inf


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
    assert_array_equal(linear.largest_below(start, bounds), (start[:, None] + distance).min(axis=0))
    assert_array_equal(start, given)


def test_a_chain_takes_as_many_rounds_as_it_has_links():
    bounds = np.full((5, 5), INF)
    bounds[[0, 1, 2, 3], [1, 2, 3, 4]] = -1.0
    assert_array_equal(linear.largest_below(np.zeros(5), bounds), [0.0, -1.0, -2.0, -3.0, -4.0])
    # Demands that contradict each other have no solution, but an end: a round for each outcome.
    assert_array_equal(linear.largest_below(np.zeros(2), np.full((2, 2), -1.0)), [-2.0, -2.0])


@pytest.mark.parametrize("seed", range(20))
def test_rounding_is_the_best_of_all_shifts(seed):
    rng = np.random.default_rng(seed)
    n = 5
    wins, s = random_wins(rng, n, 0.6), rng.normal(0.0, 2.0, n)
    if seed % 2:
        s[2], s[3] = s[1] + 1.0, np.floor(s[3])  # margins of exactly 1, whole numbers
    rounded = linear.best_whole_numbers(wins, s)
    shifts = np.unique(np.concatenate([[0.0], np.ceil(s) - s]))
    losses = [hinge_and_slackness(wins, 1.0, np.floor(s + t), wins)[0] for t in shifts]
    assert_array_equal(rounded, np.round(rounded))
    assert hinge_and_slackness(wins, 1.0, rounded, wins)[0] <= min(losses) + 1e-12
    assert hinge_and_slackness(wins, 1.0, rounded, wins)[0] <= hinge_and_slackness(wins, 1.0, s, wins)[0] + 1e-12


def test_levels_that_nothing_occupies_are_closed_in_each_group():
    wins = np.zeros((5, 5))
    wins[0, 1], wins[1, 2], wins[2, 1], wins[3, 4] = 2.0, 1.0, 1.0, 1.0
    found = linear.best_whole_numbers(wins, np.array([7.0, 3.0, 3.0, -2.0, -9.0]))
    assert_array_equal(found, [0.0, -1.0, -1.0, 0.0, -1.0])
    wins[2, 1] = 0.0
    # Control: a group whose levels are all occupied keeps them, with the largest at 0.
    found = linear.best_whole_numbers(wins, np.array([2.0, 1.0, 0.0, 5.0, 4.0]))
    assert_array_equal(found, [0.0, -1.0, -2.0, 0.0, -1.0])


def test_rounding_by_hand():
    """Wins of 0 over 1 with margin 0.5: floor(s + t) has margin 0 or 1, and 1 costs nothing; so the other way round."""
    wins = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert_array_equal(linear.best_whole_numbers(wins, np.array([0.25, -0.25])), [0.0, -1.0])
    assert_array_equal(linear.best_whole_numbers(wins, np.array([0.75, 0.25])), [0.0, -1.0])
    assert_array_equal(linear.best_whole_numbers(wins.T, np.array([-0.25, 0.25])), [-1.0, 0.0])


def test_bounds_that_describe_all_optima():
    """By complementary slackness: margin at least 1 where the dual is below c, at most 1 where it is above 0."""
    s = np.array([0.0, -1.0, -3.0])  # margins 1, 3, 2 and their negatives
    wins = np.array([[0.0, 4.0, 4.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    one, none = 1.0, INF

    def bounds(fraction):
        return linear.largest_optimum(wins, s, np.full((3, 3), 4.0 * fraction))[1]

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
    assert_array_equal(linear.largest_optimum(wins, s, tied)[0], [0.0, 0.0])
    # Wins of 0 over 1 only, said to be of no use: everything at 0 is suggested, and costs 1 more. The levels stay.
    once = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert_array_equal(linear.largest_optimum(once, np.array([-1.0, -2.0]), once)[0], [0.0, -1.0])
    assert_array_equal(linear.largest_optimum(once, np.array([-1.0, -2.0]), 0.0 * once)[0], [0.0, -1.0])


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
    _, bounds = linear.largest_optimum(wins, s, np.clip(path[-1][1], 0.0, wins))
    assert linear.has_other_optimum(wins, s, bounds, everywhere) is other
    # What lies within the bounds is tried, not believed.
    believed = linear.has_other_optimum(wins, s, np.full((n, n), INF), everywhere)
    assert believed is other or not believed
    # Shifts that nobody counts are no other optimum.
    assert linear.has_other_optimum(wins, s, bounds, np.arange(n) == 0) is False


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
    routed = linear.balanced(flows, wins, tight)[0]
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
    assert_allclose(linear.balanced(flows, wins, tight)[0], expected, atol=1e-16)
    # Without pairs that may change, nothing does.
    assert_array_equal(linear.balanced(flows, wins, np.zeros((3, 3), dtype=bool))[0], flows)


@pytest.mark.parametrize("decades", [0.0, 3.0, 12.0])
@pytest.mark.parametrize("seed", range(5))
def test_cuts_lead_from_any_whole_numbers_to_an_optimum(seed, decades):
    """Against exact flows; the point to start from, which is none, is the control."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 12))
    wins = random_wins(rng, n, 0.7) * 10.0 ** -rng.uniform(0.0, decades, (n, n))
    s, least = rng.integers(-6, 1, n).astype(float), float(least_hinge(wins))
    reached, dual, complement = linear.descended(wins, s, wins * rng.random((n, n)))
    value, gap = linear.linear_gap(wins, reached, complement)
    assert value == pytest.approx(least, rel=1e-13)
    assert gap <= 1e-12 * float(wins.sum())
    assert linear.linear_gap(wins, s, dual)[0] > least * (1.0 + 1e-9)
    # An optimum stays, and so does the dual point that came with it.
    given = wins * rng.random((n, n))
    again, kept, _ = linear.descended(wins, reached, given)
    assert linear.linear_gap(wins, again, kept)[0] <= value
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
    dual, unique = linear.complementary(wins, s, rough, counted)
    assert unique is True
    assert_array_equal(dual[margin < 1.0], wins[margin < 1.0])
    assert not dual[margin > 1.0].any()
    assert np.abs(net_flow(dual)).max() < 1e-14
    assert dual.sum() == pytest.approx(found.hinge, rel=1e-13)
    # The widest tree of the rough point's room is the true one's, so each of its pairs keeps some.
    value, gap = linear.linear_gap(wins, s, dual)
    assert value == found.hinge
    assert 0.0 <= gap <= 1e-13


def test_pairs_at_their_bounds_prove_nothing_about_uniqueness():
    """0 and 1 lead 2 and 3 by 1; the flow of 0 over 3 is all of its wins, those of the other three pairs are not.

    They make a tree, along which room remains in both directions: the optimum is unique. Without it, it is not known.
    """
    s, everywhere = np.array([0.0, 0.0, -1.0, -1.0]), np.ones(4, dtype=bool)
    wins = np.array([[0, 0, 0.6, 0.5], [0, 0, 0.6, 0.6], [0.3, 0.2, 0, 0], [0.5, 0.3, 0, 0]])
    flows = np.array([[0, 0, 0.3, 0.5], [0, 0, 0.2, 0.3], [0.3, 0.2, 0, 0], [0.5, 0.3, 0, 0]])
    dual, unique = linear.complementary(wins, s, flows, everywhere)
    assert_allclose(dual, flows, atol=1e-15)
    assert unique is True
    assert linear.minimize_linear(wins, 1.0, everywhere, 1e-7, 100).s.tolist() == s.tolist()
    # A pair with next to no room, but some, is no better: the widest three are taken.
    wins[0, 3] += 1e-15
    assert linear.complementary(wins, s, flows, everywhere)[1] is True
    wins[0, 3] = 0.5
    # All wins of 1 over 2 are needed as well: a tree of three pairs has one that is at its bound.
    wins[1, 2] = 0.2
    dual, unique = linear.complementary(wins, s, flows, everywhere)
    assert_allclose(dual, flows, atol=1e-15)
    assert unique is None
    assert linear.complementary(wins, s, flows, np.arange(4) < 1)[1] is None


@pytest.mark.parametrize(("spare", "unique"), [(7, None), (8, None), (9, True)])
def test_room_that_rounding_may_have_made_proves_nothing(spare, unique):
    """0 leads 1 by 1, half of the wins flow each way; what is left of those of 0 is so many times the rounding of 1.

    Eight roundings of the flows' sum, which is 1, four for each outcome, may be in it.
    """
    wins = np.array([[0.0, 0.5 + spare * EPS], [0.5, 0.0]])
    flows = np.array([[0.0, 0.5], [0.5, 0.0]])
    for scale in (1.0, 2.0**-20, 2.0**20):
        dual, found = linear.complementary(scale * wins, np.array([0.0, -1.0]), scale * flows, np.ones(2, dtype=bool))
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
    dual, _ = linear.complementary(wins, s, given, np.ones(n, dtype=bool))
    assert (dual >= 0.0).all()
    assert (dual <= wins).all()
    assert linear.linear_gap(wins, s, dual)[1] <= linear.linear_gap(wins, s, given)[1]


@pytest.mark.parametrize("tolerance", [0.5, 1e-2, 1e-5, 1e-12, 1e-18])
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_the_path_is_followed_until_the_gap_is_small_enough(seed, tolerance):
    """A thousandth of the tolerance, or next to what rounding leaves of all the wins."""
    wins = random_wins(np.random.default_rng(seed), 6)
    found = linear.minimize_linear(wins, 1.0, np.ones(6, dtype=bool), tolerance, 100)

    gaps, last = [INF], 0
    for s, dual, steps in interior_point(wins, 1.0, 0.0, np.full(6, 1.0 / 6.0), 100):
        last = steps
        value, gap = linear.linear_gap(wins, s, dual)
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
    assert_allclose(linear.linear_gap(wins, s, dual), (hinge, hinge - dual.sum() + 1.5 * imbalance), rtol=1e-13)
    free = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert linear.linear_gap(free, np.array([0.0, -1.0]), 0.0 * free) == (0.0, 0.0)


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
            assert linear.complementary(wins, found.s, found.dual, mask)[1] is True


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


def test_levels_that_were_raised_end_at_zero():
    """Cuts raise three of the rounded levels above 0; the tie of 0 and 1, next to exact, hides the largest optimum."""
    wins = np.array([
        [0.0, 0.230385377, 0.0, 0.0], [0.051908423, 0.0, 0.0, 0.681060494], [0.0, 0.0, 0.0, 0.00922985978],
        [0.0, 1.60786709e-08, 2.17901169e-10, 0.0],
    ])  # fmt: skip
    found = linear.minimize_linear(wins, 1.0, np.ones(4, dtype=bool), 1e-7, 200)
    assert found.s.tolist() == [0.0, -1.0, -1.0, -2.0]
    assert found.gap <= 1e-13


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
