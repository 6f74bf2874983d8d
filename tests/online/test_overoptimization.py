"""The true reward along a proxy's path: by hand, in 50 digits, on grids. Proof: `proofs/overoptimization.md`."""

import mpmath
import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.games import best_of_n
from pbde_ref.online import best_of_n_rewards, overoptimization
from tests.seeds import drawn_seed


def test_three_outcomes_by_hand():
    """Odds 1 : t : t^2, true reward 0, 3, 1: (3t + t^2)/(1 + t + t^2) has its top where 2 t^2 - 2 t - 3 = 0."""
    found = overoptimization(pb.uniform(range(3)), [0, 1, 2], [0, 3, 1])
    with mpmath.workdps(50):
        t = (1 + mpmath.sqrt(7)) / 2
        assert found.turns == pytest.approx([float(mpmath.log(t))], abs=1e-12)
        assert found.rewards == pytest.approx([float((3 * t + t**2) / (1 + t + t**2))], abs=1e-12)
    assert found.all_found
    assert found.eventually_falls
    assert found.initial_slope == pytest.approx(5 / 3 - 4 / 3, abs=1e-15)
    assert (found.at_start, found.at_end) == pytest.approx((4 / 3, 1.0))


def test_slope_is_the_covariance():
    rng = np.random.default_rng(drawn_seed())
    reference, r, g = pb.FiniteDistribution(rng.normal(size=6)), rng.normal(size=6), rng.normal(size=6)
    p = reference.pmf
    assert overoptimization(reference, r, g).initial_slope == pytest.approx(p @ (r * g) - (p @ r) * (p @ g), abs=1e-14)


def test_turns_on_fine_grids():
    """As many as on a grid of strengths, never more than the bound; unimodal true rewards turn once at most."""
    rng = np.random.default_rng(drawn_seed())
    strengths = np.append(0.0, np.geomspace(1e-4, 60.0, 3000))
    for _ in range(60):
        n = int(rng.integers(2, 7))
        reference = pb.FiniteDistribution(2 * rng.normal(size=n))
        r, g = np.sort(rng.uniform(0, 4, n)), rng.normal(size=n)
        if rng.random() < 0.5:
            g = -np.abs(np.arange(n) - rng.uniform(0, n))
        found = overoptimization(reference, r, g)
        logs = reference.log_pmf + strengths[:, None] * r
        policies = np.exp(logs - logs.max(axis=1, keepdims=True))
        policies /= policies.sum(axis=1, keepdims=True)
        slopes = policies @ (r * g) - (policies @ r) * (policies @ g)
        seen = np.sign(slopes[np.abs(slopes) > 1e-13])
        turns = int((seen[1:] != seen[:-1]).sum())
        assert turns <= found.turns.size <= found.most_turns
        changes = np.sign(np.diff(g))
        if (changes[1:] != changes[:-1]).sum() <= 1:
            assert found.most_turns <= 1
            assert found.all_found


def test_two_turns():
    """True rewards that go up, down and up again may do so along the path, and need not."""
    proxy, true = [0, 1, 2, 3], [0, 2, 1, 3]
    found = overoptimization(pb.FiniteDistribution(-4.0 * np.arange(4) ** 2), proxy, true)
    assert found.turns.size == found.most_turns == 2
    assert found.rewards[0] > found.rewards[1]
    assert overoptimization(pb.uniform(range(4)), proxy, true).turns.size == 0


def test_ties_and_constants():
    """Of outcomes that tie in the proxy their mean counts; excluded ones do not; a constant reward never moves."""
    reference = pb.FiniteDistribution.from_weights([1, 3, 2, 0])
    found = overoptimization(reference, [0, 0, 1, 9], [4, 0, 2, -50])
    assert found.at_end == 2.0
    assert found.initial_slope == pytest.approx(1 / 3 * (2 / 3) * (2 - 1))
    assert found.eventually_falls is False
    flat = overoptimization(reference, [0, 1, 2, 3], [1, 1, 1, 1])
    assert (flat.turns.size, flat.most_turns, flat.eventually_falls) == (0, 0, None)
    assert overoptimization(reference, [5, 5, 5, 5], [1, 2, 3, 4]).turns.size == 0


def test_best_of_n():
    """Against the law of the best of N; turns of the levels bound turns in N."""
    rng = np.random.default_rng(drawn_seed())
    reference, r, g = pb.FiniteDistribution(rng.normal(size=6)), rng.integers(0, 4, 6) * 1.0, rng.normal(size=6)
    found = best_of_n_rewards(reference, r, g, 30)
    for n in (1, 2, 7, 30):
        assert found[n - 1] == pytest.approx(best_of_n(reference, r, n).policy.expectation(g), abs=1e-13)
    for _ in range(30):
        n = int(rng.integers(2, 7))
        reference, g = pb.FiniteDistribution(rng.normal(size=n)), rng.normal(size=n)
        path = np.diff(best_of_n_rewards(reference, np.arange(n), g, 400))
        path, levels = (np.sign(x[np.abs(x) > 1e-13]) for x in (path, np.diff(g)))
        assert (path[1:] != path[:-1]).sum() <= (levels[1:] != levels[:-1]).sum()


def test_refusals():
    with pytest.raises(TypeError, match="`reference`"):
        overoptimization([1, 2], [0, 1], [0, 1])
    with pytest.raises(ValueError, match="`proxy_rewards`"):
        overoptimization(pb.uniform(range(2)), [0, 1, 2], [0, 1])
    with pytest.raises(ValueError, match="`most`"):
        best_of_n_rewards(pb.uniform(range(2)), [0, 1], [0, 1], 0)
