"""Limits of minimising sequences: what the log loss tends to where nothing finite attains its infimum."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.exact import limits
from pbde_ref.exact.limits import limit_fit


def preferences(matrix):
    return pb.PreferenceMatrix(matrix)


TOP_PAIR = [[0.5, 0.7, 1.0, 0.5], [0.3, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.4], [0.5, 0.0, 0.6, 0.5]]
"""0 and 1 beat each other; 2 and 3 beat each other; 3 is compared with 1 alone among the upper two."""
PAIRS = pb.PairListProposal([0, 0, 1, 1, 2], [1, 2, 2, 3, 3], [4, 1, 1, 1, 3])


def test_hand_case():
    """Odds of 7 : 3 in the leading pair; infimum 0.4 H(0.7) + 0.3 H(0.4)."""
    fit = limit_fit(preferences(TOP_PAIR), PAIRS)
    assert fit.utilities[0] - fit.utilities[1] == pytest.approx(np.log(7 / 3), abs=1e-12)
    assert np.isneginf(fit.utilities[2:]).all()
    entropy = [-p * np.log(p) - (1 - p) * np.log(1 - p) for p in (0.7, 0.4)]
    assert fit.infimum == pytest.approx(0.4 * entropy[0] + 0.3 * entropy[1], rel=1e-12)
    assert fit.group_sizes == (2, 2)
    assert fit.gap < 1e-20
    assert fit.unique
    assert fit.converged
    assert not fit.utilities.flags.writeable


def test_an_optimiser_approaches_the_infimum_and_the_limit():
    """BFGS from 0 gets within 1e-4 of the infimum, stays above it, and moves the lower group far down."""
    annotator = preferences(TOP_PAIR)
    fit = limit_fit(annotator, PAIRS)
    found = minimize(
        lambda u: (lambda loss: (loss.value, loss.gradient))(pb.expected_cross_entropy(annotator, u, PAIRS)),
        np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 10_000},
    )  # fmt: skip
    assert 0.0 <= found.fun - fit.infimum < 1e-4
    assert found.x[:2].min() - found.x[2:].max() > 8.0
    assert found.x[0] - found.x[1] == pytest.approx(fit.utilities[0] - fit.utilities[1], abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_a_finite_fit_is_its_own_limit(seed, size):
    """Where Ford's condition holds, the limit is the minimiser and the infimum its loss."""
    rng = np.random.default_rng(seed)
    p = pb.FiniteDistribution(rng.normal(size=size))
    annotator, proposal = pb.Annotator(p, pb.luce()), pb.ProductProposal(rng.random(size) + 0.1)
    fit = limit_fit(annotator, proposal)
    np.testing.assert_allclose(fit.utilities, p.log_pmf - p.log_pmf.mean(), atol=1e-9)
    assert fit.infimum == pytest.approx(pb.expected_entropy(annotator, proposal), rel=1e-12)
    assert fit.group_sizes == (size,)
    assert fit.unique is True
    assert fit.converged is True
    assert fit.gap <= 1e-20
    assert not fit.utilities.flags.writeable


def test_one_outcome_is_its_own_limit():
    for annotator in (pb.Annotator(pb.uniform("a"), pb.luce()), preferences([[0.5]])):
        fit = limit_fit(annotator, pb.ProductProposal([1]))
        assert fit.utilities.tolist() == [0.0]
        assert (fit.unique, fit.gap, fit.converged, fit.group_sizes) == (True, 0.0, True, (1,))
        assert fit.infimum == pytest.approx(np.log(2.0), rel=1e-15)


@given(st.integers(0, 2**32 - 1))
def test_the_infimum_is_below_every_loss(seed):
    """For a random sample with certain preferences among it, no random utilities have a smaller loss."""
    rng = np.random.default_rng(seed)
    n = 6
    wins = np.where(rng.random((n, n)) < 0.4, rng.integers(1, 4, (n, n)), 0) + np.triu(np.ones((n, n)), 1)
    met = wins + wins.T
    rates = np.divide(wins, met, out=np.full((n, n), 0.5), where=met > 0)
    np.fill_diagonal(rates, 0.5)
    annotator, proposal = pb.PreferenceMatrix(rates), pb.JointProposal(wins + wins.T)
    fit = limit_fit(annotator, proposal)
    for scale in (0.3, 3.0, 30.0):
        utilities = scale * rng.normal(size=n)
        assert pb.expected_cross_entropy(annotator, utilities, proposal).value >= fit.infimum - 1e-12


def test_outcomes_that_meet_themselves_cost_log_2():
    """With mass t on the diagonal the infimum is t log 2 + (1 - t) times the one without."""
    annotator = preferences(TOP_PAIR)
    between = PAIRS.matrix(4)
    without = limit_fit(annotator, PAIRS)
    assert without.group_sizes == (2, 2)
    diagonal = np.diag([0.5, 0.3, 4.0, 0.2])
    fit = limit_fit(annotator, pb.JointProposal(between + diagonal))
    t = diagonal.sum() / (between + diagonal).sum()
    assert fit.infimum == pytest.approx(t * np.log(2.0) + (1.0 - t) * without.infimum, rel=1e-12)
    np.testing.assert_allclose(fit.utilities, without.utilities, atol=1e-9)


def test_the_winning_group_comes_first_the_others_by_size():
    """Outcomes 0 and 1 tie and always beat 2, which always beats 3, 4 and 5, which tie."""
    group = np.array([0, 0, 1, 2, 2, 2])
    fit = limit_fit(preferences(0.5 + 0.5 * np.sign(group - group[:, None])), pb.ProductProposal(np.ones(6)))
    assert fit.group_sizes == (2, 3, 1)


def test_a_single_winner_takes_all():
    fit = limit_fit(preferences([[0.5, 1.0], [0.0, 0.5]]), pb.JointProposal([[1, 1], [1, 1]]))
    np.testing.assert_array_equal(fit.utilities, [0.0, -np.inf])
    # Half of the pairs are of an outcome with itself, and cost log 2 each.
    assert fit.infimum == pytest.approx(0.5 * np.log(2.0))
    assert fit.group_sizes == (1, 1)


def test_two_groups_that_never_lose_leave_the_limit_open():
    """Their infimum is 0.4 H(0.3), and any masses of the two reach it."""
    matrix = [[0.5, 0.3, 1.0, 0.5], [0.7, 0.5, 1.0, 0.5], [0.0, 0.0, 0.5, 0.0], [0.5, 0.5, 1.0, 0.5]]
    annotator, pairs = preferences(matrix), pb.PairListProposal([0, 1, 3], [1, 2, 2], [4, 3, 3])
    fit = limit_fit(annotator, pairs)
    assert not fit.unique
    assert fit.converged
    assert fit.group_sizes == (2, 1, 1)
    entropy = -0.3 * np.log(0.3) - 0.7 * np.log(0.7)
    assert fit.infimum == pytest.approx(0.4 * entropy, rel=1e-12)
    assert fit.utilities[1] - fit.utilities[0] == pytest.approx(np.log(7 / 3), abs=1e-12)
    for level in (-3.0, 5.0):
        utilities = np.where(np.isneginf(fit.utilities), -40.0, fit.utilities) + np.array([0.0, 0.0, 0.0, level])
        assert pb.expected_cross_entropy(annotator, utilities, pairs).value == pytest.approx(fit.infimum, abs=1e-12)


@pytest.mark.parametrize("places", [(), (0,), (1,), (0, 1)])
def test_every_group_must_have_converged(places, monkeypatch):
    """The gap is the sum of the groups' gaps by their shares, 0.4 and 0.3."""
    fits, minimize = [], limits.minimize_expected_loss

    def fit(*arguments):
        found = minimize(*arguments)
        gap, reason = (0.5 if fits else 0.25), ("the steps ran out" if len(fits) in places else "")
        fits.append(replace(found, gap=gap, converged=not reason, reason=reason))
        return fits[-1]

    monkeypatch.setattr(limits, "minimize_expected_loss", fit)
    found = limit_fit(preferences(TOP_PAIR), PAIRS)
    assert len(fits) == 2
    assert found.converged == (not places)
    # And what rounding of the shares may add.
    assert 0.0 <= found.gap / (0.4 * 0.25 + 0.3 * 0.5) - 1.0 < 1e-10


def test_control_unconnected_comparisons_are_refused():
    with pytest.raises(ValueError, match="must connect all outcomes; got 2 components"):
        limit_fit(preferences(np.full((3, 3), 0.5)), pb.PairListProposal([0], [1]))


def test_what_is_proved_of_utilities_and_loss():
    """Two groups of two; the upper has a margin of log 3, the lower sinks."""
    p = np.full((4, 4), 0.5)
    p[0, 1], p[1, 0] = 0.75, 0.25
    p[:2, 2:], p[2:, :2] = 1.0, 0.0
    found = limit_fit(pb.PreferenceMatrix(p), pb.ProductProposal([1, 2, 3, 4]))
    assert found.converged
    assert 0.0 <= found.gap < 1e-23
    assert abs(found.utilities[0] - found.utilities[1] - np.log(3.0)) <= found.utility_error < 1e-11
    # Nothing is left to determine in groups of one.
    order = np.triu(np.ones((3, 3)), 1) + 0.5 * np.eye(3)
    alone = limit_fit(pb.PreferenceMatrix(order), pb.ProductProposal([1, 1, 1]))
    assert (alone.gap, alone.utility_error, alone.converged) == (0.0, 0.0, True)
