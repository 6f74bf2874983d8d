"""The parts of RRHF's solver, each against a slower or a blunter way to the same.

The interior-point method repairs itself: what one step gets wrong the next puts right. Hence these tests.
"""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pbde_ref as pb
from pbde_ref.exact import ranking_interior_point as solver
from pbde_ref.exact.ranking import expected_rrhf, minimize_rrhf
from pbde_ref.exact.ranking_interior_point import _Boxes, _Iterate, certified_minimum
from pbde_ref.exact.ranking_programme import RankingProgramme, loss_value, ranking_programme


def programme_of(seed, size=4, gamma=0.7, certain=False):
    """Random preferences, frequencies and lengths."""
    rng = np.random.default_rng(seed)
    wins, best = rng.random((size, size)), rng.random(size) + 0.1
    np.fill_diagonal(wins, 0.0)
    if certain:
        wins[0, 1], wins[1, 0], wins[2, 3], wins[3, 2] = 0.5, 0.0, 0.0, 0.0
    return RankingProgramme(wins, best / best.sum(), rng.uniform(0.5, 3.0, size), gamma)


def entropy(pmf):
    return -sum(float(x) * math.log(x) for x in pmf if x > 0.0)


def test_boxes_are_as_wide_as_pairs_are_frequent():
    programme = programme_of(0, certain=True)
    boxes = solver._boxes(programme)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]  # 2 and 3 never meet
    assert list(zip(boxes.a.tolist(), boxes.b.tolist(), strict=True)) == pairs
    assert_array_equal(boxes.high, [programme.wins[a, b] for a, b in pairs])
    assert_array_equal(boxes.low, [-programme.wins[b, a] for a, b in pairs])
    score, y = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    assert boxes.differences(score).tolist() == [1.0, 3.0, 7.0, 2.0, 6.0]
    assert boxes.flow(y, 4).tolist() == [7.0, 8.0 + 16.0 - 1.0, -2.0 - 8.0, -4.0 - 16.0]
    laplacian = boxes.laplacian(y, 4)
    for v in np.eye(4):
        expected = sum(w * (v[a] - v[b]) ** 2 for w, (a, b) in zip(y, pairs, strict=True))
        assert v @ laplacian @ v == expected
    assert_array_equal(laplacian, laplacian.T)
    assert not laplacian.sum(axis=1).any()
    assert laplacian[0, 1] == -1.0


@pytest.mark.parametrize(("share", "kept"), [(0.9e-20, False), (1e-20, False), (1.1e-20, True)])
def test_boxes_that_are_too_narrow_are_left_out(share, kept):
    wins = np.zeros((3, 3))
    wins[0, 1], wins[1, 0], wins[1, 2] = 3.0, 1.0, 4.0 * share
    for scale in (1.0, 2.0**-30):
        boxes = solver._boxes(RankingProgramme(scale * wins, np.ones(3) / 3, np.ones(3), 1.0))
        assert boxes.a.tolist() == [0, 1][: 1 + kept]
    assert solver._boxes(RankingProgramme(np.zeros((1, 1)), np.ones(1), np.ones(1), 1.0)).a.size == 0


def test_multipliers_are_measured_from_the_nearer_side():
    boxes = _Boxes(np.array([0, 0]), np.array([1, 2]), np.array([-1.0, -1.0]), np.array([3.0, 3.0]))
    state = _Iterate(np.zeros(3), 1.0, np.array([1e-30, 4.0]), np.array([4.0, 1e-30]), np.ones(2), np.ones(2))
    assert boxes.multipliers(state).tolist() == [-1.0, 3.0]
    state = state._replace(left=np.array([0.5, 3.0]), right=np.array([3.5, 1.0]))
    assert boxes.multipliers(state).tolist() == [-0.5, 2.0]


def test_an_iterate_moves_in_all_its_parts():
    state, direction = (_Iterate(*(np.full(2, 10.0**k * c) for k in range(6))) for c in (1.0, 3.0))
    moved = state.moved(direction, 0.5)
    assert [part.tolist() for part in moved] == [[2.5 * 10.0**k] * 2 for k in range(6)]


@pytest.mark.parametrize("seed", range(3))
def test_the_first_iterate_is_in_the_middle(seed):
    programme = programme_of(seed, gamma=0.7)
    boxes = solver._boxes(programme)
    log_pmf = pb.FiniteDistribution(np.random.default_rng(seed).normal(size=4)).log_pmf
    first = solver._first_iterate(programme, boxes, log_pmf)
    assert_array_equal(first.log_pmf, log_pmf)
    # Frequencies in tokens: γ Σ b |x| over Σ π |x|.
    tokens = sum(programme.best[x] * programme.lengths[x] for x in range(4))
    assert first.rho == pytest.approx(0.7 * tokens / (np.exp(log_pmf) @ programme.lengths), rel=1e-14)
    assert_allclose(boxes.multipliers(first), 0.5 * (boxes.low + boxes.high), atol=1e-15)
    assert_allclose(first.left + first.right, boxes.high - boxes.low, rtol=1e-14)
    assert_array_equal(first.below, first.above)
    scores = log_pmf / programme.lengths
    rises = [abs(scores[b] - scores[a]) * (programme.wins[a, b] + programme.wins[b, a])
             for a, b in itertools.combinations(range(4), 2)]  # fmt: skip
    assert_allclose(first.left * first.below, sum(rises) / 6.0, rtol=1e-14)
    # Where all scores are the same already: as good as nothing, but not nothing.
    flat = -0.5 * programme.lengths
    again = solver._first_iterate(programme, boxes, flat)
    assert_allclose(again.left * again.below, 0.7e-8, rtol=1e-14)


@pytest.mark.parametrize(("seed", "gamma"), [(0, 0.1), (1, 1.0), (2, 5.0), (3, 0.02)])
def test_every_multiplier_makes_a_policy_and_a_bound(seed, gamma):
    """Flow in tokens is conserved, so M = γ Σ b |x| / Σ π |x|; the bound is M H(π), and below every policy's loss."""
    rng = np.random.default_rng(seed)
    programme = programme_of(seed, size=5, gamma=gamma)
    boxes = solver._boxes(programme)
    policies = [pb.FiniteDistribution(spread * rng.normal(size=5)).log_pmf for spread in (0.0, 0.5, 1.0, 3.0)]
    least = min(loss_value(programme, log_pmf) for log_pmf in policies)
    mended = 0
    for _ in range(20):
        y = boxes.low + rng.random(10) * (boxes.high - boxes.low)
        log_pmf, bound = solver._dual(programme, boxes, y)
        pmf = np.exp(log_pmf)
        assert pmf.sum() == pytest.approx(1.0, rel=1e-13)
        multiplier = gamma * (programme.best @ programme.lengths) / (pmf @ programme.lengths)
        assert bound == pytest.approx(multiplier * entropy(pmf), rel=1e-9, abs=1e-13)
        assert bound <= least
        mass = gamma * programme.best + boxes.flow(y, 5) / programme.lengths
        if (mass >= 0.0).all():
            assert_allclose(pmf, mass / mass.sum(), rtol=1e-12)
        else:
            mended += 1
    assert mended > 0 or gamma >= 1.0
    log_pmf, bound = solver._dual(programme, boxes, np.zeros(10))
    assert_allclose(np.exp(log_pmf), programme.best, rtol=1e-14)
    assert bound == pytest.approx(gamma * entropy(programme.best), rel=1e-13)


def pair_programme(gamma=0.5):
    return RankingProgramme(np.array([[0.0, 0.6], [0.4, 0.0]]), np.array([0.9, 0.1]), np.array([2.0, 4.0]), gamma)


@pytest.mark.parametrize(
    ("y", "mass"), [(0.1, [0.5, 0.025]), (0.2, [0.55, 0.0]), (0.4, [0.55, 0.0]), (-0.4, [0.25, 0.15])]
)
def test_no_outcome_passes_on_more_than_it_has(y, mass):
    """γ b = (0.45, 0.05); 0 gets y / 2 and 1 pays y / 4, of which it has enough for y = 0.2."""
    programme = pair_programme()
    log_pmf, bound = solver._dual(programme, solver._boxes(programme), np.array([y]))
    assert_allclose(np.exp(log_pmf), np.array(mass) / sum(mass), atol=1e-15)
    value = sum(mass) * entropy(np.array(mass) / sum(mass))
    assert value * (1.0 - 1e-13) <= bound <= value
    assert bound < value or value == 0.0


def test_income_may_be_passed_on():
    """1 has 0.1 and gets 0.3 from 0; it pays 0.4 of the 0.6 that are asked, and only then 2 is scaled, not 0."""
    boxes = _Boxes(np.array([0, 1]), np.array([1, 2]), np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
    programme = RankingProgramme(np.zeros((3, 3)), np.array([0.5, 0.1, 0.4]), np.ones(3), 1.0)
    log_pmf, _ = solver._dual(programme, boxes, np.array([-0.3, -0.6]))
    assert_allclose(np.exp(log_pmf), [0.2, 0.0, 0.8], atol=1e-15)
    # The other way round, and nothing at all is passed on by who has nothing.
    log_pmf, _ = solver._dual(programme, boxes, np.array([0.6, 0.3]))
    assert_allclose(np.exp(log_pmf), [0.9, 0.0, 0.1], atol=1e-15)


def test_a_dual_point_beyond_repair_is_not_used(monkeypatch):
    monkeypatch.setattr(solver, "REPAIRS", 1)
    programme = pair_programme()
    log_pmf, bound = solver._dual(programme, solver._boxes(programme), np.array([0.4]))
    assert_allclose(np.exp(log_pmf), [0.9, 0.1], rtol=1e-14)
    assert bound == pytest.approx(0.5 * entropy([0.9, 0.1]), rel=1e-14)


# --- one step ----------------------------------------------------------------------------------------------------


def dense_direction(programme, boxes, state, for_below, for_above):
    """Newton's direction from the whole system, nothing eliminated: v, ρ, y and both slacks of every pair."""
    n, m = programme.best.size, boxes.a.size
    v, rho, y, below, above = 0, n, n + 1, n + 1 + m, n + 1 + 2 * m
    pmf, lengths, multipliers = np.exp(state.log_pmf), programme.lengths, boxes.multipliers(state)
    rows, right = [], []
    scores = state.log_pmf / lengths
    for k, (a, b) in enumerate(zip(boxes.a, boxes.b, strict=True)):
        # t + z_below = z_above
        row = np.zeros(above + m)
        row[v + b], row[v + a], row[below + k], row[above + k] = 1.0 / lengths[b], -1.0 / lengths[a], 1.0, -1.0
        rows.append(row)
        right.append(-(scores[b] - scores[a] + state.below[k] - state.above[k]))
        # y grows away from the left side and towards the right one.
        for slack, distance, sign, wanted in (
            (below, state.left[k], 1.0, for_below[k]), (above, state.right[k], -1.0, for_above[k]),
        ):  # fmt: skip
            row = np.zeros(above + m)
            row[slack + k] = distance
            row[y + k] = sign * (state.below[k] if sign > 0 else state.above[k])
            rows.append(row)
            right.append(wanted)
    for x in range(n):
        # ρ e^v = γ b + flow / |x|
        row, flow = np.zeros(above + m), 0.0
        row[v + x], row[rho] = state.rho * pmf[x], pmf[x]
        for k, (a, b) in enumerate(zip(boxes.a, boxes.b, strict=True)):
            sign = (1.0 if a == x else 0.0) - (1.0 if b == x else 0.0)
            row[y + k] = -sign / lengths[x]
            flow += sign * multipliers[k] / lengths[x]
        rows.append(row)
        right.append(programme.likelihood_weight * programme.best[x] + flow - state.rho * pmf[x])
    row = np.zeros(above + m)
    row[:n] = pmf
    rows.append(row)
    right.append(1.0 - pmf.sum())
    found = np.linalg.solve(np.array(rows), np.array(right))
    d_y = found[y:below]
    return found[:n], found[rho], d_y, -d_y, found[below:above], found[above:]


def step_by_the_book(programme, boxes, state):
    """Predictor to product zero, corrector to the cube of what the predictor left, 99 % of the way to the boundary."""

    def products(parts):
        return np.mean(np.concatenate([parts[4] * parts[2], parts[5] * parts[3]]))

    def length(direction):
        longest = 1.0
        for now, change in zip(state[1:], direction[1:], strict=True):
            for value, step in zip(np.ravel(now), np.ravel(change), strict=True):
                if step < 0.0:
                    longest = min(longest, value / -step)
        v, dv = state.log_pmf, direction[0]
        while (
            sum(math.exp(v[x] + longest * dv[x]) - math.exp(v[x]) * (1.0 + longest * dv[x]) for x in range(v.size)) > 1
        ):
            longest *= 0.8
        return longest

    left, right = state.below * state.left, state.above * state.right
    predictor = dense_direction(programme, boxes, state, -left, -right)
    reach = length(predictor)
    ahead = products([now + reach * change for now, change in zip(state, predictor, strict=True)])
    product = products(state)
    target = product * min(1.0, ahead / product) ** 3
    corrector = dense_direction(
        programme,
        boxes,
        state,
        target - left - predictor[4] * predictor[2],
        target - right - predictor[5] * predictor[3],
    )
    reach = 0.99 * length(corrector)
    return [now + reach * change for now, change in zip(state, corrector, strict=True)]


def some_state(seed, boxes, size, spread):
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.05, 0.95, boxes.a.size)
    width = boxes.high - boxes.low
    log_pmf = pb.FiniteDistribution(spread * rng.normal(size=size)).log_pmf + 0.1 * rng.normal()
    slacks = spread * (0.1 + rng.random((2, boxes.a.size)))
    return _Iterate(log_pmf, 0.3 + rng.random(), share * width, (1.0 - share) * width, *slacks)


@pytest.mark.parametrize("certain", [False, True])
@pytest.mark.parametrize(("gamma", "spread"), [(0.7, 1.0), (0.05, 1.0), (8.0, 0.3), (0.7, 6.0), (0.3, 0.01)])
def test_a_step_is_mehrotras(gamma, spread, certain):
    for seed in range(3):
        programme = programme_of(seed, gamma=gamma, certain=certain)
        boxes = solver._boxes(programme)
        state = some_state(seed, boxes, 4, spread)
        for part, expected in zip(
            solver._step(programme, boxes, state), step_by_the_book(programme, boxes, state), strict=True
        ):
            assert_allclose(part, expected, rtol=1e-7, atol=1e-9)


def test_newtons_direction_solves_the_whole_system():
    programme = programme_of(5)
    boxes = solver._boxes(programme)
    state, rng = some_state(5, boxes, 4, 1.0), np.random.default_rng(6)
    wanted = rng.normal(size=(2, boxes.a.size))
    found = solver._newton(programme, boxes, state)(*wanted)
    for part, expected in zip(found, dense_direction(programme, boxes, state, *wanted), strict=True):
        assert_allclose(part, expected, rtol=1e-9, atol=1e-11)


def test_a_step_that_cannot_be_computed_is_none():
    programme = programme_of(0)
    boxes = solver._boxes(programme)
    state = some_state(0, boxes, 4, 1.0)
    assert solver._step(programme, boxes, state._replace(below=np.full(6, np.nan))) is None
    assert solver._step(programme, boxes, state._replace(log_pmf=np.array([0.0, 0.0, 0.0, 1e4]))) is None
    assert solver._step(programme, boxes, state._replace(right=np.zeros(6))) is None
    # A Laplacian alone is singular.
    assert solver._step(programme, boxes, state._replace(rho=-1e3)) is None
    assert solver._step(programme, boxes, state) is not None
    steps = list(itertools.islice(solver._interior_point(programme, boxes, np.full(4, np.nan)), 5))
    assert len(steps) == 1


def test_rare_outcomes_keep_their_digits():
    """Newton's equation for an outcome of 1e-200: what it gets over what it has, less one, as in equal units."""
    wins = np.array([[0.0, 0.5, 1e-200], [0.5, 0.0, 1e-200], [1e-201, 1e-201, 0.0]])
    programme = RankingProgramme(wins, np.array([0.5, 0.5, 1e-201]), np.ones(3), 1.0)
    boxes = _Boxes(np.array([0]), np.array([1]), np.array([-0.5]), np.array([0.5]))
    log_pmf = np.log([0.5, 0.5, 1e-200])
    state = _Iterate(log_pmf, 1.0, np.array([0.5]), np.array([0.5]), np.ones(1), np.ones(1))
    found = solver._newton(programme, boxes, state)(np.zeros(1), np.zeros(1))
    assert_allclose(found.log_pmf, [0.0, 0.0, 0.1 - 1.0], atol=1e-14)
    assert found.rho == pytest.approx(0.0, abs=1e-14)


def test_complementarity_is_the_mean_product():
    state = _Iterate(np.zeros(2), 1.0, *(np.array(x) for x in ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0])))
    assert solver._complementarity(state) == (5.0 + 12.0 + 21.0 + 32.0) / 4.0
    one = _Iterate(np.zeros(2), 1.0, *(np.array([x]) for x in (1.0, 2.0, 3.0, 4.0)))
    assert solver._complementarity(one) == 5.5
    nothing = _Iterate(np.zeros(1), 1.0, *[np.zeros(0)] * 4)
    assert solver._complementarity(nothing) == 0.0


def test_how_far_a_step_goes():
    def length(*direction, rho=4.0):
        state = _Iterate(np.log([0.5, 0.5]), rho, *(np.array([x]) for x in (1.0, 2.0, 3.0, 5.0)))
        parts = [np.zeros(2), 0.0, *(np.zeros(1) for _ in range(4))]
        for place, value in direction:
            parts[place] = np.array(value) if place != 1 else value
        return solver._step_length(state, _Iterate(*parts))

    assert length() == 1.0
    assert length((1, -8.0)) == 0.5
    assert length((1, -2.0)) == 1.0
    assert length((2, [-4.0])) == 0.25
    assert length((3, [-4.0])) == 0.5
    assert length((4, [-4.0])) == 0.75
    assert length((5, [-8.0])) == 0.625
    assert length((2, [4.0]), (3, [8.0])) == 1.0
    assert length((2, [-4.0]), (4, [-4.0])) == 0.25
    assert length((4, [-4.0]), (2, [-1.5])) == pytest.approx(2 / 3, rel=1e-15)
    # Half of e^d - 1 - d is at most 1, for one outcome of ½ that would rise by 3: a fifth less, as often as it takes.
    expected = 1.0
    while 0.5 * (math.exp(3.0 * expected) - 1.0 - 3.0 * expected) > 1.0:
        expected *= 0.8
    assert length((0, [3.0, 0.0])) == expected < 0.6
    # Two that fall by d: e^-d - 1 + d <= 1.
    assert length((0, [-1.8, -1.8])) == 1.0
    assert length((0, [-2.0, -2.0])) == 0.8
    assert length((0, [1e4, 0.0])) > 0.0
    assert solver._bend(np.log([0.5, 0.25]), np.array([1.0, -2.0])) == pytest.approx(
        0.5 * (math.e - 2.0) + 0.25 * (math.exp(-2.0) + 1.0), rel=1e-14
    )


# --- the minimum -------------------------------------------------------------------------------------------------


def preferences(seed, size, labels=None):
    p = np.triu(np.random.default_rng(seed).uniform(0.05, 0.95, (size, size)), 1)
    return pb.PreferenceMatrix(p + np.tril(1.0 - p.T, -1) + 0.5 * np.eye(size), labels)


def test_steps_are_those_of_all_starts_together():
    programme = programme_of(1, size=6)
    _, lower, steps = certified_minimum(programme, 1e-10, 100)
    assert 3 <= steps <= 30
    # As many as are needed, and no step fewer will do.
    log_pmf, lower, again = certified_minimum(programme, 1e-10, steps)
    assert again == steps
    assert 0.0 <= loss_value(programme, log_pmf) - lower <= 1e-10
    # One step from each of the seven starts, none of which is enough.
    log_pmf, lower, once = certified_minimum(programme, 1e-30, 1)
    assert once == 7
    assert certified_minimum(programme, 1e-30, 2)[2] == 14
    assert loss_value(programme, log_pmf) >= lower
    # The more steps, the smaller the gap.
    gaps = []
    for max_steps in range(1, 5):
        log_pmf, lower, _ = certified_minimum(programme, 1e-30, max_steps)
        gaps.append(loss_value(programme, log_pmf) - lower)
    assert (np.diff(gaps) <= 0.0).all()
    assert gaps[-1] < 0.3 * gaps[0]


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_what_an_iterate_suggests_is_kept(monkeypatch, seed):
    """Its own policy, that of its multipliers, and wherever the latter has less, that."""
    rng = np.random.default_rng(seed)
    programme = programme_of(seed, size=5)
    boxes = solver._boxes(programme)
    best = certified_minimum(programme, 1e-9, 100)[0]
    share = rng.uniform(0.3, 0.7, 10)
    width = boxes.high - boxes.low
    state = _Iterate(
        best + np.array([2.0, 0, 0, 0, 0]), 1.0, share * width, (1 - share) * width, np.ones(10), np.ones(10)
    )
    recovered, bound = solver._dual(programme, boxes, boxes.multipliers(state))
    lowered = state.log_pmf.copy()
    for x in range(5):
        if -np.inf < recovered[x] < lowered[x]:
            lowered[x] = recovered[x]
    candidates = [np.log(programme.best), state.log_pmf, recovered, lowered]
    losses = [loss_value(programme, pb.FiniteDistribution(candidate).log_pmf) for candidate in candidates]
    monkeypatch.setattr(solver, "_interior_point", lambda *_: iter([state]))
    log_pmf, lower, _ = certified_minimum(programme, 1e-30, 5)
    assert loss_value(programme, log_pmf) == pytest.approx(min(losses), rel=1e-13)
    assert lower == pytest.approx(bound, rel=1e-9)


def test_each_start_blends_winners_and_equal_scores(monkeypatch):
    programme, starts = programme_of(2), []

    def nothing(programme, boxes, start):
        starts.append(start)
        return iter([])

    monkeypatch.setattr(solver, "_interior_point", nothing)
    log_pmf, lower, steps = certified_minimum(programme, 1e-9, 5)
    assert_allclose(np.exp(log_pmf), programme.best, rtol=1e-14)
    assert (lower, steps) == (-np.inf, 0)
    flat = -programme.lengths
    for start, blend in zip(starts, (0.0, 0.5, 1.0, 0.25, 0.75, 0.1, 0.9), strict=True):
        assert np.exp(start).sum() == pytest.approx(1.0, rel=1e-14)
        if blend == 0.0:
            assert_allclose(np.exp(start), programme.best, rtol=1e-14)
            continue
        # (1 - blend) log b + blend · (-ν |x|), up to a constant: ν is fixed by the flat policy's normalisation.
        scores = starts[2] / programme.lengths
        assert np.ptp(scores) < 1e-14
        rest = start - (1.0 - blend) * np.log(programme.best) - blend * starts[2]
        assert np.ptp(rest) < 1e-13
    assert np.ptp(flat / programme.lengths) == 0.0


def test_where_equal_scores_are_best_it_takes_no_step():
    even = RankingProgramme(0.25 * (1.0 - np.eye(2)), np.array([0.5, 0.5]), np.ones(2), 1.0)
    log_pmf, lower, steps = certified_minimum(even, 1e-9, 5)
    assert_allclose(np.exp(log_pmf), 0.5, rtol=1e-14)
    assert lower == pytest.approx(math.log(2.0), rel=1e-14)
    assert steps == 0


@pytest.mark.parametrize(("gamma", "lengths"), [(0.5, [1.0, 2.0, 8.0]), (3.0, [5.0, 0.5, 1.0])])
def test_the_divergence_bound_is_the_gap_over_the_least_multiplier(gamma, lengths):
    annotator, q = preferences(3, 3), pb.ProductProposal([1, 2, 3])
    rough = minimize_rrhf(annotator, q, lengths=lengths, likelihood_weight=gamma, tolerance=1e-12, max_steps=1)
    close = minimize_rrhf(annotator, q, lengths=lengths, likelihood_weight=gamma, tolerance=1e-12)
    best = pb.winners_distribution(annotator, q).pmf
    least = gamma * (best @ lengths) / max(lengths)
    for solution in (rough, close):
        assert solution.gap == max(solution.loss - solution.lower_bound, 0.0)
        assert solution.divergence_bound == pytest.approx(solution.gap / least, rel=1e-13)
        assert solution.converged is bool(solution.gap <= 1e-12)
    arguments = {"lengths": lengths, "likelihood_weight": gamma, "policy_tolerance": 1.0, "max_steps": 1}
    again = [
        minimize_rrhf(annotator, q, tolerance=tolerance, **arguments)
        for tolerance in (rough.gap, rough.gap * (1.0 - 1e-9))
    ]
    assert [solution.converged for solution in again] == [True, False]
    assert rough.gap > 1e-6
    assert rough.steps == 7
    assert not rough.converged
    assert close.converged
    # The bound on the multiplier itself: Σ m |x| = γ Σ b |x|, whatever the flow.
    assert gamma * (best @ lengths) / (close.policy.pmf @ lengths) >= least


def test_labels_are_the_annotators():
    """Of whatever kind they are, and whether or not there is a likelihood term."""
    labels = ["x", "y", "z"]
    members = [pb.Annotator(pb.FiniteDistribution(u, labels), pb.luce()) for u in ([1.0, 0.0, 0.5], [0.0, 1.0, 0.5])]
    for annotator in (members[0], pb.AnnotatorMixture([1, 2], members), preferences(0, 3, labels)):
        for gamma in (0.0, 1.0):
            policy = minimize_rrhf(annotator, pb.ProductProposal([1, 1, 1]), likelihood_weight=gamma).policy
            assert policy.support.tolist() == labels


def test_without_likelihood_nothing_is_certified_but_zero():
    annotator = preferences(4, 3)
    for lengths in (None, [1.0, 3.0, 2.0]):
        solution = minimize_rrhf(annotator, pb.ProductProposal([1, 1, 1]), lengths=lengths, likelihood_weight=0.0)
        assert solution.loss < solution.gap <= 2e-15
        assert solution.policy_error <= 1e-13
        assert (solution.lower_bound, solution.steps, solution.converged) == (0.0, 0, True)
        assert solution.divergence_bound == np.inf
        tokens = np.ones(3) if lengths is None else np.array(lengths)
        assert np.ptp(solution.policy.log_pmf / tokens) < 1e-14
    # What rounding leaves of zero is within a tolerance of just as much.
    lengths = np.random.default_rng(1).uniform(0.5, 9.0, (20, 3))
    for row in lengths:
        found = minimize_rrhf(annotator, pb.ProductProposal([1, 1, 1]), lengths=row, likelihood_weight=0.0)
        if found.loss > 0.0:
            break
    arguments = {"lengths": row, "likelihood_weight": 0.0}
    assert minimize_rrhf(annotator, pb.ProductProposal([1, 1, 1]), tolerance=found.gap, **arguments).converged
    assert not minimize_rrhf(annotator, pb.ProductProposal([1, 1, 1]), tolerance=found.gap / 2.0, **arguments).converged


def test_what_never_wins_may_be_excluded():
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1, 0]), pb.luce())
    pairs = pb.PairListProposal([0, 0, 1], [1, 2, 2])
    loss = expected_rrhf(annotator, [0.0, 0.0, -np.inf], pairs)
    assert loss.value == pytest.approx(math.log(2.0), rel=1e-14)
    assert loss.likelihood == pytest.approx(math.log(2.0), rel=1e-14)
    assert loss.ranking == 0.0
    assert_allclose(loss.gradient, [0.5 - (0.75 + 1.0) / 3.0, 0.5 - (0.25 + 1.0) / 3.0, 0.0], atol=1e-15)


def test_without_weight_an_infinite_likelihood_loss_is_no_part_of_the_value():
    annotator = pb.Annotator(pb.uniform(range(2)), pb.luce())
    loss = expected_rrhf(annotator, [0.0, -np.inf], pb.PairListProposal([0], [1]), likelihood_weight=0.0)
    assert loss.value == loss.ranking == loss.likelihood == np.inf


def test_an_outcome_is_not_ranked_above_itself():
    annotator = preferences(1, 3)
    for k in (2, 3):
        programme = ranking_programme(annotator if k == 2 else pb.Annotator(pb.uniform(range(3)), pb.luce()),
                                      pb.ProductProposal([1, 2, 3]), k, None, 1.0)  # fmt: skip
        assert not programme.wins.diagonal().any()
        # Ordered pairs of different candidates: k (k - 1) / 2 in a ranking, with Σ q_x² of them the same twice.
        assert programme.wins.sum() == pytest.approx(k * (k - 1) / 2 * (1.0 - 14.0 / 36.0), rel=1e-13)
        assert programme.best.sum() == pytest.approx(1.0, rel=1e-13)


def test_an_outcome_that_is_never_best_does_not_change_the_rest():
    """In a restricted problem only its rows, frequencies and lengths are left."""
    programme = programme_of(0)._replace(best=np.array([0.5, 0.0, 0.25, 0.25]))
    rest = programme.restricted(np.array([0, 2, 3]))
    assert_array_equal(rest.wins, [[programme.wins[a, b] for b in (0, 2, 3)] for a in (0, 2, 3)])
    assert_array_equal(rest.best, [0.5, 0.25, 0.25])
    assert_array_equal(rest.lengths, programme.lengths[[0, 2, 3]])
    assert rest.likelihood_weight == programme.likelihood_weight


def test_three_candidates_some_of_whom_are_impossible():
    """p* = (1, 0, 0): the first wins whenever it is drawn; alone, an outcome of probability zero ties with itself."""
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([1, 0, 0]), pb.luce())
    single = ranking_programme(annotator, pb.ProductProposal([0.5, 0.5, 0.0]), 3, None, 1.0)
    assert_allclose(single.best, [1.0 - 0.125, 0.125, 0.0], rtol=1e-14)
    assert_allclose(single.wins[0, 1], 3 * 0.5, rtol=1e-14)
    assert single.wins[1, 0] == 0.0
    # Utilities over a thousand nats overflow nowhere that matters.
    wide = pb.Annotator(pb.FiniteDistribution([0.0, 1000.0, -1000.0]), pb.luce())
    far = ranking_programme(wide, pb.ProductProposal([0.25, 0.25, 0.5]), 3, None, 1.0)
    assert_allclose(far.best, [0.25**3 + 3 * 0.25**2 * 0.5 + 3 * 0.25 * 0.25, 1.0 - 0.75**3, 0.125], rtol=1e-13)


def test_a_positive_weight_however_small_counts():
    annotator, q = preferences(4, 2), pb.PairListProposal([0], [1])
    p = annotator.preference_probabilities()[0, 1]
    small, one = (
        minimize_rrhf(annotator, q, likelihood_weight=gamma, tolerance=1e-12 * gamma) for gamma in (1e-3, 1.0)
    )
    assert small.divergence_bound < 1e-11
    assert_allclose(small.policy.pmf, 0.5, atol=1e-4)
    assert one.policy.pmf.max() == pytest.approx(max(2.0 * max(p, 1 - p) - 1.0, 0.5), abs=1e-5)
    assert small.loss == pytest.approx(1e-3 * math.log(2.0), rel=1e-6)
