"""The parts of RRHF's solver, each against a slower or a blunter way to the same.

The search repairs itself: what one order gets wrong the next puts right. Hence these tests.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

import pbde_ref as pb
from pbde_ref.exact.maximum_flow import filled_flow
from pbde_ref.exact.ranking import expected_rrhf, minimize_rrhf
from pbde_ref.exact.ranking import flow as ranking_flow
from pbde_ref.exact.ranking.flow import certified_minimum, lower_bound, multipliers
from pbde_ref.exact.ranking.order import best_in_order
from pbde_ref.exact.ranking.programme import RankingProgramme, loss_value, ranking_programme
from pbde_ref.verification.exact_flows import even_policy


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


# --- one order ---------------------------------------------------------------------------------------------------


def pooled_by_trial(programme, order):
    """For equal lengths, in fractions: the best of all ways to pool neighbours whose scores then fall."""
    wins = [[Fraction(float(x)) for x in row] for row in programme.wins]
    start = [Fraction(programme.likelihood_weight) * Fraction(float(x)) for x in programme.best]
    length, n, least = Fraction(float(programme.lengths[0])), len(order), None
    w = {
        x: start[x] + (sum(wins[x][b] for b in order[:i]) - sum(wins[b][x] for b in order[i + 1 :])) / length
        for i, x in enumerate(order)
    }
    for cuts in itertools.product([False, True], repeat=n - 1):
        edges = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), n]
        masses = [sum(w[x] for x in order[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
        if masses[-1] > 0 and all(x > y for x, y in itertools.pairwise(masses)):
            log_pmf = np.empty(n)
            for (a, b), mass in zip(itertools.pairwise(edges), masses, strict=True):
                log_pmf[list(order[a:b])] = math.log(mass / sum(start))
            loss = loss_value(programme, log_pmf)
            least = loss if least is None else min(least, loss)
    return least


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 1.0, 20.0]))
def test_the_best_in_an_order_is_the_best_way_to_pool(seed, gamma):
    rng = np.random.default_rng(seed)
    programme = programme_of(seed, size=int(rng.integers(1, 6)), gamma=gamma, certain=False)
    programme = programme._replace(lengths=np.full(programme.best.size, rng.uniform(0.5, 3.0)))
    order = rng.permutation(programme.best.size)
    found = best_in_order(programme, order)
    assert np.exp(found.log_pmf).sum() == pytest.approx(1.0, rel=1e-14)
    assert loss_value(programme, found.log_pmf) == pytest.approx(pooled_by_trial(programme, order.tolist()), rel=1e-12)
    assert found.multiplier == pytest.approx(gamma, rel=1e-13)
    assert_array_equal(np.concatenate(found.pools), order)
    levels = [found.log_pmf[pool] for pool in found.pools]
    assert all(np.ptp(level) <= 1e-13 * (1.0 + np.abs(level).max()) for level in levels)
    assert all(x.min() > y.max() for x, y in itertools.pairwise(levels))


@pytest.mark.parametrize("seed", range(8))
def test_no_optimiser_finds_less_in_an_order(seed):
    """Lengths differ; the optimiser moves the falls of the scores, and the sum of probabilities is mended along |x|."""
    rng = np.random.default_rng(seed)
    programme, order = programme_of(seed, gamma=float(rng.choice([0.1, 1.0, 10.0]))), rng.permutation(4)
    lengths = programme.lengths[order]

    def loss(falls):
        score = -np.concatenate([[0.0], np.cumsum(falls)])
        low, high = -1e3, 1e3
        while high - low > 1e-12 * (1.0 + abs(low)):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if np.logaddexp.reduce(lengths * (score + middle)) < 0.0 else (low, middle)
        log_pmf = np.empty(4)
        log_pmf[order] = lengths * (score + low)
        return loss_value(programme, log_pmf)

    found = loss_value(programme, best_in_order(programme, order).log_pmf)
    searched = min(minimize(loss, x, bounds=[(0, 50)] * 3, method="Nelder-Mead",
                            options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000}).fun
                   for x in (np.full(3, 0.01), np.full(3, 0.5)))  # fmt: skip
    assert found <= searched + 1e-11
    assert searched <= found + 1e-4 * (1.0 + found)


@pytest.mark.parametrize("seed", range(6))
def test_the_minimum_is_the_least_of_all_orders(seed):
    programme = programme_of(seed, gamma=[0.02, 0.3, 2.0][seed % 3], certain=seed % 2 == 1)
    losses = [
        loss_value(programme, best_in_order(programme, np.array(order)).log_pmf)
        for order in itertools.permutations(range(4))
    ]
    log_pmf, lower, _ = certified_minimum(programme, 1e-12, 100)
    assert loss_value(programme, log_pmf) == pytest.approx(min(losses), rel=1e-13)
    assert 0.0 <= min(losses) - lower < 1e-12
    # Control: some order is not good enough, and its flows say so.
    worst = np.array(list(itertools.permutations(range(4)))[int(np.argmax(losses))])
    policy = best_in_order(programme, worst)
    y, parts = multipliers(programme, policy)
    if max(losses) > min(losses) + 1e-6:
        assert loss_value(programme, policy.log_pmf) - lower_bound(programme, y) > 1e-6
        assert len(parts) > len(policy.pools)
        again = best_in_order(programme, np.concatenate(parts))
        assert loss_value(programme, again.log_pmf) < max(losses)


# --- flows -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 6, 10]), st.sampled_from([0.2, 0.5, 1.0]))
def test_the_flow_is_the_greatest_and_its_cut_is_full(seed, size, density):
    rng = np.random.default_rng(seed)
    room = rng.integers(1, 20, (size, size)) * (rng.random((size, size)) < density)
    np.fill_diagonal(room, 0)
    surplus = rng.integers(-15, 16, size)
    surplus[-1] -= surplus.sum()
    network = np.zeros((size + 2, size + 2), dtype=np.int32)
    network[:size, :size], network[size, :size] = room, np.maximum(surplus, 0)
    network[:size, size + 1] = np.maximum(-surplus, 0)
    greatest = maximum_flow(csr_array(network), size, size + 1).flow_value
    flow, full = filled_flow(room.astype(float), surplus.astype(float))
    assert_array_equal(flow, -flow.T)
    assert (flow <= room).all()
    left = surplus - flow.sum(axis=1)
    assert (np.sign(left) * np.sign(surplus) >= 0).all()
    assert np.maximum(surplus, 0).sum() - np.maximum(left, 0).sum() == greatest
    if greatest == np.maximum(surplus, 0).sum():
        assert full.all()
    else:
        assert 0 < full.sum() < size
        assert_array_equal(flow[np.ix_(full, ~full)], room[np.ix_(full, ~full)])
        assert surplus[full].sum() > room[np.ix_(full, ~full)].sum()


@pytest.mark.parametrize(("seed", "gamma"), [(0, 0.1), (1, 1.0), (2, 5.0), (3, 0.02)])
def test_every_multiplier_makes_a_bound(seed, gamma):
    """M H(m / M) where m is positive, and below every policy's loss in any case."""
    rng = np.random.default_rng(seed)
    programme = programme_of(seed, size=5, gamma=gamma)
    policies = [pb.FiniteDistribution(spread * rng.normal(size=5)).log_pmf for spread in (0.0, 0.5, 1.0, 3.0)]
    least = min(loss_value(programme, log_pmf) for log_pmf in (*policies, certified_minimum(programme, 1e-9, 99)[0]))
    mended = 0
    for _ in range(20):
        y = np.triu(rng.uniform(-programme.wins.T, programme.wins), 1)
        y -= y.T
        bound = lower_bound(programme, y)
        assert bound <= least
        mass = gamma * programme.best + y.sum(axis=1) / programme.lengths
        if (mass >= 0.0).all():
            assert bound == pytest.approx(mass.sum() * entropy(mass / mass.sum()), rel=1e-12)
        else:
            mended += 1
    assert mended > 0 or gamma >= 1.0
    assert lower_bound(programme, np.zeros((5, 5))) == pytest.approx(gamma * entropy(programme.best), rel=1e-13)


def pair_programme(gamma=0.5):
    return RankingProgramme(np.array([[0.0, 0.6], [0.4, 0.0]]), np.array([0.9, 0.1]), np.array([2.0, 4.0]), gamma)


@pytest.mark.parametrize(
    ("y", "mass"), [(0.1, [0.5, 0.025]), (0.2, [0.55, 0.0]), (0.4, [0.55, 0.0]), (-0.4, [0.25, 0.15])]
)
def test_no_outcome_passes_on_more_than_it_has(y, mass):
    """γ b = (0.45, 0.05); 0 gets y / 2 and 1 pays y / 4, of which it has enough for y = 0.2."""
    bound = lower_bound(pair_programme(), np.array([[0.0, y], [-y, 0.0]]))
    value = sum(mass) * entropy(np.array(mass) / sum(mass))
    assert bound == pytest.approx(value, rel=1e-13, abs=1e-12)
    # Nothing is certain about a mass of zero: a little stays, and the bound is a little more than the limit's.
    assert bound < value or mass[1] == 0.0


def test_income_may_be_passed_on():
    """1 has 0.1 and gets 0.3 from 0; it pays 0.4 of the 0.6 that are asked, and only then 2 is scaled, not 0."""
    programme = RankingProgramme(np.ones((3, 3)) - np.eye(3), np.array([0.5, 0.1, 0.4]), np.ones(3), 1.0)
    y = np.array([[0.0, -0.3, 0.0], [0.3, 0.0, -0.6], [0.0, 0.6, 0.0]])
    assert lower_bound(programme, y) == pytest.approx(entropy([0.2, 0.8]), abs=1e-12)
    y = np.array([[0.0, 0.6, 0.0], [-0.6, 0.0, 0.3], [0.0, -0.3, 0.0]])
    assert lower_bound(programme, y) == pytest.approx(entropy([0.9, 0.1]), abs=1e-12)


def test_a_dual_point_beyond_repair_is_not_used(monkeypatch):
    monkeypatch.setattr(ranking_flow, "REPAIRS", 1)
    bound = lower_bound(pair_programme(), np.array([[0.0, 0.4], [-0.4, 0.0]]))
    assert bound == pytest.approx(0.5 * entropy([0.9, 0.1]), rel=1e-13)


# --- the minimum -------------------------------------------------------------------------------------------------


def preferences(seed, size, labels=None):
    p = np.triu(np.random.default_rng(seed).uniform(0.05, 0.95, (size, size)), 1)
    return pb.PreferenceMatrix(p + np.tril(1.0 - p.T, -1) + 0.5 * np.eye(size), labels)


def luce_ranker(seed, size=60):
    rng = np.random.default_rng(seed)
    p = pb.FiniteDistribution(rng.normal(size=size))
    return pb.Annotator(p, pb.luce()), pb.ProductProposal(rng.exponential(size=size))


def test_steps_are_the_orders_after_the_first():
    programme = ranking_programme(*luce_ranker(1), 2, None, 1.0)
    _, _, steps = certified_minimum(programme, 1e-10, 100)
    assert 2 <= steps <= 30
    # As many as are needed, and no step fewer will do.
    losses, gaps = [], []
    for max_steps in range(1, steps + 1):
        log_pmf, lower, taken = certified_minimum(programme, 1e-10, max_steps)
        assert taken == max_steps
        losses.append(loss_value(programme, log_pmf))
        gaps.append(losses[-1] - lower)
    assert (np.diff(losses) < 0.0).all()
    assert (np.diff(gaps) < 0.0).all()
    assert (np.array(gaps) > 1e-10).tolist() == [True] * (steps - 1) + [False]


def test_where_equal_scores_are_best_it_takes_no_step():
    even = RankingProgramme(0.25 * (1.0 - np.eye(2)), np.array([0.5, 0.5]), np.ones(2), 1.0)
    log_pmf, lower, steps = certified_minimum(even, 1e-9, 5)
    assert_allclose(np.exp(log_pmf), 0.5, rtol=1e-14)
    assert lower == pytest.approx(math.log(2.0), rel=1e-13)
    assert steps == 0


def test_a_winner_of_one_in_1e31_does_not_stop_the_search():
    """The smallest case in which an interior point's own policy came down by a nat a step, and then no further."""
    annotator = pb.Annotator(pb.FiniteDistribution([-66.64745278627339, -math.log(2.0), -math.log(2.0)]), pb.luce())
    pairs = pb.PairListProposal([1, 1], [0, 2], [0.0030156169560583796, 0.9969843830439415])
    found = minimize_rrhf(annotator, pairs)
    programme = ranking_programme(annotator, pairs, 2, None, 1.0)
    m = even_policy(programme.wins, programme.best)
    assert float(m[0]) == pytest.approx(1.37e-31, rel=1e-3)
    assert found.converged
    assert found.gap < 1e-12
    assert_allclose(found.policy.log_pmf, [math.log(x) for x in m], rtol=1e-13)


def extreme_programme(rng, unequal):
    """A graph of comparisons of any shape, wins over up to 60 decades, some of them impossible, and many ties."""
    n = int(rng.choice([2, 3, 5, 9, 17]))
    shape = rng.choice(["complete", "star", "tree", "path"])
    pairs = [(a, b) for a, b in itertools.combinations(range(n), 2)
             if shape == "complete" or (shape == "star" and a == 0) or (shape == "path" and b == a + 1)]  # fmt: skip
    if shape == "tree":
        pairs = [(int(rng.integers(b)), b) for b in range(1, n)]
    wins, levels = np.zeros((n, n)), 10.0 ** -rng.uniform(0.0, rng.choice([1.0, 15.0, 60.0]), 3)
    for a, b in pairs:
        wins[a, b], wins[b, a] = rng.choice([*levels, 10.0 ** -rng.uniform(0.0, 60.0), 0.0], 2)
    ties = rng.choice([*levels, 0.0], n)
    best = wins.sum(axis=1) + ties
    best[int(rng.integers(n))] += 1.0
    best, wins = best / best.sum(), wins / best.sum()
    lengths = 10.0 ** rng.uniform(-2.0, 2.0, n) if unequal else np.ones(n)
    kept = np.flatnonzero(best > 0.0)
    return RankingProgramme(wins, best, lengths, float(rng.choice([1e-3, 0.1, 1.0, 10.0]))).restricted(kept)


@given(st.integers(0, 2**32 - 1))
def test_the_minimum_is_exact_flows_at_any_scale(seed):
    programme = extreme_programme(np.random.default_rng(seed), unequal=False)
    gamma = programme.likelihood_weight
    log_pmf, lower, _ = certified_minimum(programme, 1e-11 * gamma, 100)
    m = even_policy(programme.wins, gamma * programme.best)
    assert loss_value(programme, log_pmf) - lower <= 1e-11 * gamma
    divergence = sum(float(x) * (math.log(x) - v) for x, v in zip(m, log_pmf.tolist(), strict=True) if x > 0)
    assert abs(divergence) < 1e-11


@given(st.integers(0, 2**32 - 1))
def test_the_minimum_is_certified_for_all_lengths(seed):
    programme = extreme_programme(np.random.default_rng(seed), unequal=True)
    log_pmf, lower, _ = certified_minimum(programme, 1e-9, 100)
    assert loss_value(programme, log_pmf) - lower <= 1e-9


@pytest.mark.parametrize(("gamma", "lengths"), [(0.5, [1.0, 2.0, 8.0]), (3.0, [5.0, 0.5, 1.0])])
def test_the_divergence_bound_is_the_gap_over_the_least_multiplier(gamma, lengths):
    (annotator, q), lengths = luce_ranker(3), np.tile(lengths, 20)
    rough = minimize_rrhf(annotator, q, lengths=lengths, likelihood_weight=gamma, tolerance=1e-11, max_steps=1)
    close = minimize_rrhf(annotator, q, lengths=lengths, likelihood_weight=gamma, tolerance=1e-11)
    best = pb.winners_distribution(annotator, q).pmf
    least = gamma * (best @ lengths) / max(lengths)
    for solution in (rough, close):
        assert solution.gap == max(solution.loss - solution.lower_bound, 0.0)
        assert solution.divergence_bound == pytest.approx(solution.gap / least, rel=1e-13)
        assert solution.converged is bool(solution.gap <= 1e-11)
    arguments = {"lengths": lengths, "likelihood_weight": gamma, "policy_tolerance": 1.0, "max_steps": 1}
    again = [
        minimize_rrhf(annotator, q, tolerance=tolerance, **arguments)
        for tolerance in (rough.gap, rough.gap * (1.0 - 1e-9))
    ]
    assert [solution.converged for solution in again] == [True, False]
    assert rough.gap > 1e-6
    assert rough.steps == 1
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
