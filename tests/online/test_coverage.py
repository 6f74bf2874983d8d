"""What is lost where answers were not compared: against optimisers over what is free. Proof: `proofs/coverage.md`."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.online import offline_shortfall, online_shortfall
from tests.seeds import drawn_seed

SPLIT = pb.PairListProposal([0, 2], [1, 3], [1.0, 1.0])
"""Components {0, 1}, {2, 3} and {4}."""
PARTS = ([0, 1], [2, 3], [4])


def objective(policy, utilities, beta, reference):
    held = policy > 0
    return float(policy[held] @ (utilities[held] - beta * np.log(policy[held] / reference[held])))


def problem(rng):
    return rng.uniform(0.0, 1.0, 5), float(rng.uniform(0.3, 2.0)), pb.FiniteDistribution(rng.normal(size=5))


def test_offline_is_the_worst_mass_of_components():
    """Every policy with the right odds within components is a minimiser; none is worse, and one is as bad."""
    rng = np.random.default_rng(drawn_seed())
    for _ in range(10):
        utilities, beta, reference = problem(rng)
        best = pb.tilt(reference, utilities, beta).pmf
        found = offline_shortfall(utilities, SPLIT, beta, reference)
        gaps = []
        for masses in [*np.eye(3), *rng.dirichlet(np.full(3, 0.3), 200)]:
            policy = np.zeros(5)
            for part, mass in zip(PARTS, masses, strict=True):
                policy[part] = mass * best[part] / best[part].sum()
            gap = objective(best, utilities, beta, reference.pmf) - objective(policy, utilities, beta, reference.pmf)
            gaps.append(gap)
        assert max(gaps) == pytest.approx(found, abs=1e-12)
        assert offline_shortfall(utilities, pb.ProductProposal(np.ones(5)), beta, reference) == 0.0


def test_online_is_the_worst_corner():
    """A search over rewards in [0, 1] that fit the same comparisons finds nothing worse, and something as bad."""
    rng = np.random.default_rng(drawn_seed())
    for _ in range(5):
        utilities, beta, reference = problem(rng)
        best = pb.tilt(reference, utilities, beta).pmf
        bounds = [(-utilities[part].min(), 1.0 - utilities[part].max()) for part in PARTS]

        def lost(shift, utilities=utilities, beta=beta, reference=reference, best=best):
            reward = utilities.copy()
            for part, by in zip(PARTS, shift, strict=True):
                reward[part] += by
            policy = pb.tilt(reference, reward, beta).pmf
            return objective(best, utilities, beta, reference.pmf) - objective(policy, utilities, beta, reference.pmf)

        found = online_shortfall(utilities, SPLIT, beta, reference, least=0.0, most=1.0)
        starts = [rng.uniform(*np.array(bounds).T) for _ in range(10)]
        searched = max(-minimize(lambda s: -lost(s), s, bounds=bounds).fun for s in starts)
        assert searched <= found + 1e-9
        assert searched == pytest.approx(found, abs=1e-6)
        assert found <= offline_shortfall(utilities, SPLIT, beta, reference)
        free = online_shortfall(utilities, SPLIT, beta, reference)
        assert free == pytest.approx(offline_shortfall(utilities, SPLIT, beta, reference))


def test_partial_coverage():
    """Where the reference excludes what was not compared, online learning misses nothing and offline anything."""
    pairs, reference = pb.ProductProposal([1, 1, 0]), pb.FiniteDistribution.from_weights([1, 2, 0])
    assert online_shortfall([1, 0, 0], pairs, 1.0, reference) == 0.0
    assert math.isinf(offline_shortfall([1, 0, 0], pairs, 1.0, reference))
    assert online_shortfall([1, 0, 0], pairs, 1.0, pb.uniform(range(3)), least=0, most=1) > 0.1


def test_refusals():
    even = pb.uniform(range(3))
    with pytest.raises(ValueError, match="`reference` must be positive where"):
        offline_shortfall([0, 0, 0], pb.ProductProposal([1, 1, 1]), 1.0, pb.FiniteDistribution.from_weights([1, 1, 0]))
    with pytest.raises(ValueError, match="`least` and `most` must enclose the utilities"):
        online_shortfall([2, 0, 0], pb.ProductProposal([1, 1, 0]), 1.0, even, least=0, most=1)
    with pytest.raises(ValueError, match="`beta`"):
        offline_shortfall([0, 0, 0], pb.ProductProposal([1, 1, 1]), 0.0, even)
    nobody = pb.PairListProposal([0], [1], [1.0])
    with pytest.raises(ValueError, match="at most 16 components"):
        online_shortfall(np.zeros(20), nobody, 1.0, pb.uniform(range(20)), least=0, most=1)
