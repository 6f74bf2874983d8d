"""Which pair to ask next: every pair tried, the certificate against random choices, and what is refused."""

import numpy as np
import pytest

import pbde_ref as pb
from tests.seeds import drawn_seed


def variance(utilities, weights):
    """By NumPy's pseudo-inverse of a Laplacian summed pair by pair."""
    information = np.zeros((len(utilities), len(utilities)))
    for a, b in zip(*np.nonzero(weights), strict=True):
        e = np.eye(len(utilities))[a] - np.eye(len(utilities))[b]
        p = 1.0 / (1.0 + np.exp(utilities[b] - utilities[a]))
        information += weights[a, b] * p * (1.0 - p) * np.outer(e, e)
    return float(np.trace(np.linalg.pinv(information)))


def test_no_single_pair_gains_more_and_no_choice_passes_the_bound():
    """All pairs of a drawn problem by brute force; 20 drawn sets of M pairs."""
    rng = np.random.default_rng(drawn_seed())
    size, count = int(rng.integers(3, 8)), int(rng.integers(50, 500))
    utilities, q = rng.normal(size=size), rng.dirichlet(np.ones(size * size)).reshape(size, size)
    found = pb.next_comparison(utilities, pb.JointProposal(q), count)
    before = variance(utilities, count * q)
    gains = np.zeros((size, size))
    for a in range(size):
        for b in range(size):
            more = count * q
            more[a, b] += 1.0
            gains[a, b] = before - variance(utilities, more)
    assert found.variance == pytest.approx(before, rel=1e-8)
    assert found.gain == pytest.approx(gains.max(), rel=1e-6)
    assert gains[found.pair] == pytest.approx(gains.max(), rel=1e-6)
    for _ in range(20):
        asked = int(rng.integers(1, 40))
        more = count * q
        np.add.at(more, (rng.integers(0, size, asked), rng.integers(0, size, asked)), 1.0)
        assert before - variance(utilities, more) <= asked * found.bound * (1.0 + 1e-9)
    # Control: the bound is no bound for what was not asked with the same information.
    assert before - variance(utilities, 2.0 * count * q) > found.gain


def test_by_hand():
    """A path of three at equal utilities: variances (5, 2, 5) · 16 / (9 N) · ½, and the ends are asked."""
    found = pb.next_comparison([0.0, 0.0, 0.0], pb.PairListProposal([0, 1], [1, 2]), 100)
    assert found.pair == (0, 2)
    # I = 100 · ½ · ¼ times the path's Laplacian, whose pseudo-inverse has trace 4/3.
    assert found.variance == pytest.approx(4.0 / 3.0 / 12.5)
    # |L⁺(e₀ − e₂)|² = 2 and R = 2 on the path.
    assert found.bound == pytest.approx(0.25 * 2.0 / 12.5**2)
    assert found.gain == pytest.approx(found.bound / (1.0 + 0.25 * 2.0 / 12.5))


def test_unconnected_proposals_are_refused():
    with pytest.raises(ValueError, match="`proposal` must connect all outcomes"):
        pb.next_comparison([0.0, 0.0, 0.0], pb.PairListProposal([0], [1]), 10)
