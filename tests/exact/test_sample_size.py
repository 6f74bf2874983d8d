"""How many comparisons it takes: by hand, by simulation, and as inverses of each other."""

import numpy as np
import pytest

import pbde_ref as pb
from tests.seeds import drawn_seed


def test_two_outcomes_by_hand():
    """p = (3/4, 1/4), each comparison of the two: C₀₀ = 3/16, so TV is 2 √(3/16) / √(2πN) and the divergence 1/(2N)."""
    truth, pairs = np.log([0.75, 0.25]), pb.JointProposal([[0, 1], [0, 0]])
    error = pb.policy_error(truth, pairs, 50)
    assert error.total_variation == pytest.approx(2 * np.sqrt(3 / 16) / np.sqrt(100 * np.pi), rel=1e-14)
    assert error.nats == pytest.approx(1 / 100, rel=1e-14)
    # Half of the comparisons say nothing: each outcome beside itself.
    assert pb.policy_error(truth, pb.ProductProposal([1, 1]), 100).nats == pytest.approx(1 / 100, rel=1e-14)


def test_simulated_fits_err_by_so_much():
    """Means over fits of 20,000 comparisons among four outcomes, within five standard errors and 2 % for finite N."""
    rng = np.random.default_rng(drawn_seed())
    p = pb.FiniteDistribution.from_weights(rng.uniform(1, 4, 4))
    number, size = 20_000, 4
    pairs = pb.ProductProposal(rng.uniform(1, 3, size))
    wins = pb.Annotator(p, pb.luce()).preference_probabilities() * (pairs.matrix(size) + pairs.matrix(size).T)
    np.fill_diagonal(wins, np.diag(pairs.matrix(size)))
    errors = []
    for counts in rng.multinomial(number, wins.ravel(), 400).reshape(-1, size, size):
        fit = pb.fit_comparisons(counts=counts * (1 - np.eye(size)))
        estimate = pb.FiniteDistribution(fit.utilities)
        errors.append((pb.total_variation(p, estimate), pb.kl_divergence(p, estimate)))
    expected = pb.policy_error(p.log_pmf, pairs, number)
    for found, right in zip(np.transpose(errors), expected, strict=True):
        assert abs(found.mean() - right) <= 5 * found.std() / np.sqrt(len(found)) + 0.02 * right


@pytest.mark.parametrize("of", ["total_variation", "nats"])
def test_needed_is_the_inverse(of):
    """The least N whose error is at most what is wanted; one fewer is not enough."""
    rng = np.random.default_rng(drawn_seed())
    for _ in range(20):
        size = int(rng.integers(2, 30))
        truth, pairs = 3 * rng.normal(size=size), pb.ProductProposal(rng.uniform(0.1, 1, size))
        wanted = float(10 ** rng.uniform(-3, -1))
        number = pb.comparisons_needed(truth, pairs, **{of: wanted})
        assert getattr(pb.policy_error(truth, pairs, number), of) <= wanted * (1 + 1e-12)
        if number > 1:
            assert getattr(pb.policy_error(truth, pairs, number - 1), of) > wanted * (1 - 1e-12)


@pytest.mark.parametrize("given", [{}, {"total_variation": 0.1, "nats": 0.1}])
def test_exactly_one_target(given):
    with pytest.raises(TypeError, match="exactly one of `total_variation` and `nats`"):
        pb.comparisons_needed([0.0, 0.0], pb.ProductProposal([1, 1]), **given)


@pytest.mark.parametrize("wanted", [0.0, -1.0, np.inf, np.nan])
def test_target_is_positive(wanted):
    with pytest.raises(ValueError, match="`nats` must be"):
        pb.comparisons_needed([0.0, 0.0], pb.ProductProposal([1, 1]), nats=wanted)
