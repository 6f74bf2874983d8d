"""The regularised minimum, λ > 0: feasible dual points, outcomes that the reference hardly has, and the gap by hand."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pbde_ref as pb
from pbde_ref.exact.hinge import linear, regularized
from pbde_ref.exact.hinge.duality import EPS, finished, net_flow
from pbde_ref.exact.hinge.interior_point import interior_point
from tests.exact.hinge.wins import random_wins

INF = math.inf


def test_who_is_tied_to_the_reference():
    wins = np.zeros((5, 5))
    wins[1, 0], wins[2, 1], wins[3, 2], wins[0, 4] = 1.0, 0.5, 1e-9, 1.0

    def supported(reference, least, rare):
        return regularized.supported(wins, np.array(reference), least, rare).tolist()

    assert supported([1.0, 0.0, 0.0, 0.0, 0.0], 0.0, 0.0) == [True, True, True, True, False]
    assert supported([1.0, 0.0, 0.0, 0.0, 0.0], 0.0, 1e-9) == [True, True, True, False, False]
    assert supported([1.0, 0.0, 0.0, 0.0, 0.0], 0.0, 0.5) == [True, True, False, False, False]
    assert supported([0.5, 0.0, 0.0, 0.0, 0.5], 0.5, 0.0) == [False] * 5
    assert supported([0.4, 0.0, 0.6, 0.0, 0.0], 0.5, 0.0) == [False, False, True, True, False]


def feasible(dual, wins, lambda_, reference):
    """The mended flows and r, which certainly exceeds what rounding may hide, and is what the flows make it."""
    dual, wins = np.array(dual, dtype=float), np.array(wins, dtype=float)
    prior = pb.FiniteDistribution.from_weights(reference)
    mended, r, noise = regularized.feasible(dual, wins, lambda_, prior)
    assert_allclose(r, np.maximum(prior.pmf + net_flow(mended) / lambda_, 0.0), atol=1e-14)
    assert (r >= np.where(prior.pmf > 0.0, noise, 0.0)).all()
    assert (mended >= 0.0).all()
    assert (mended <= wins).all()
    return mended, r


CLOSE = {"rtol": 1e-14, "atol": 1e-13}


def test_a_dual_point_that_is_feasible_stays():
    mended, r = feasible([[0, 0.25], [0, 0]], [[0, 1], [0, 0]], 1.0, [0.5, 0.5])
    assert mended.tolist() == [[0, 0.25], [0, 0]]
    assert r.tolist() == [0.75, 0.25]
    # Exactly nothing would be left, which rounding could hide: next to nothing is.
    mended, r = feasible([[0, 1.0], [0, 0]], [[0, 2], [0, 0]], 2.0, [0.5, 0.5])
    assert 0.0 < r[1] < 1e-14
    assert_allclose(mended, [[0, 1.0], [0, 0]], **CLOSE)


def test_what_an_outcome_lacks_is_taken_from_the_most_probable_one():
    # r would be (1.25, -0.25) at λ = 1; a quarter flows back through the pair, which has room for it.
    mended, r = feasible([[0, 0.75], [0, 0]], [[0, 1], [0, 0]], 1.0, [0.5, 0.5])
    assert_allclose(mended, [[0, 0.5], [0, 0]], **CLOSE)
    # The same at λ = ½, wins 4 and a third outcome that has nothing to do with it.
    mended, r = feasible(
        [[0, 0.375, 0], [0, 0, 0], [0, 0, 0]], [[0, 4, 0], [0, 0, 0], [0, 0, 0]], 0.5, [0.25, 0.5, 0.25]
    )
    assert_allclose(mended, [[0, 0.25, 0], [0, 0, 0], [0, 0, 0]], **CLOSE)
    assert_allclose(r, [0.75, 0.0, 0.25], **CLOSE)
    # r = (1.3, -0.35, 0.05): the third keeps what it has, though it could pass it on.
    mended, r = feasible(
        [[0, 0.75, 0.25], [0, 0, 0], [0, 0, 0]], [[0, 1, 1], [0, 0, 0], [0, 0, 0]], 1.0, [0.3, 0.4, 0.3]
    )
    assert_allclose(mended, [[0, 0.4, 0.25], [0, 0, 0], [0, 0, 0]], **CLOSE)
    assert_allclose(r, [0.95, 0.0, 0.05], **CLOSE)


def test_losses_are_counted_less_where_no_pair_has_room():
    # All of the wins are counted, and r = (1.5, -0.5): half of them are.
    mended, r = feasible([[0, 1], [0, 0]], [[0, 1], [0, 0]], 1.0, [0.5, 0.5])
    assert_allclose(mended, [[0, 0.5], [0, 0]], **CLOSE)
    assert_allclose(r, [1.0, 0.0], **CLOSE)
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
    start = regularized.regularized_point(wins, 0.1, 0.02, reference, reference.log_pmf, np.zeros((5, 5)), 0)
    gaps, last = [start.gap], 0
    for s, dual, steps in interior_point(wins, 0.1, 0.02, (reference.pmf + EPS) / (1.0 + 5.0 * EPS), 200):
        last = steps
        best = regularized.regularized_point(wins, 0.1, 0.02, reference, s, dual, steps)
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
