"""Rankings broken into pairs: exactly for three equals, against fits of drawn rankings, and a breaking that fails."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

import pbde_ref as pb
from pbde_ref.exact.plackett_luce import (
    all_pairs_of,
    neighbours_of,
    rank_breaking_covariances,
    ranking_probabilities,
)

F = Fraction


def exact_law(p):
    law = {}
    for ranking in itertools.permutations(range(len(p))):
        law[ranking] = F(1)
        for i, x in enumerate(ranking):
            law[ranking] *= F(p[x]) / sum(p[y] for y in ranking[i:])
    return law


def broken(law, breaking, n):
    """The fit of the pairs' log loss, by the package, and the matrix of who was put above whom."""
    wins = np.zeros((n, n))
    for ranking, probability in law.items():
        for won, lost in breaking(ranking):
            wins[won, lost] += float(probability)
    met = wins + wins.T + np.eye(n)
    annotator = pb.PreferenceMatrix(np.divide(wins, met) + 0.5 * np.eye(n))
    return pb.minimize_expected_loss("bradley_terry", annotator, pb.JointProposal(np.triu(met, 1))).value


def test_probabilities_against_fractions():
    law = exact_law([F(3), F(1), F(4), F(2)])
    assert sum(law.values()) == 1
    found = ranking_probabilities([3, 1, 4, 2])
    np.testing.assert_allclose([found[r] for r in law], [float(x) for x in law.values()], rtol=1e-14)


def test_all_pairs_keep_the_optimum_and_neighbours_do_not():
    """In fractions: all pairs of Plackett-Luce rankings are Luce pairs; neighbours' are not, nor is their fit."""
    p = [F(1, 2), F(1, 3), F(1, 6)]
    law = exact_law(p)
    for a, b in itertools.combinations(range(3), 2):
        above = sum(x for r, x in law.items() if (a, b) in all_pairs_of(r))
        assert above == p[a] / (p[a] + p[b])
    pairs = [(r, x) for r, x in law.items() if (0, 1) in list(neighbours_of(r)) or (1, 0) in list(neighbours_of(r))]
    share = sum(x for r, x in pairs if (0, 1) in list(neighbours_of(r))) / sum(x for _, x in pairs)
    assert share != F(3, 5)
    truth = np.log([float(x) for x in p])
    assert np.ptp(broken(law, all_pairs_of, 3) - truth) < 1e-7
    assert np.ptp(broken(law, neighbours_of, 3) - truth) > 0.01


def test_misspecified_rankings_have_two_optima():
    """Control: where rankings do not follow the model, likelihood and pairs may disagree on the order."""
    law = {(0, 1, 2): F(1, 2), (1, 2, 0): F(5, 12), (2, 0, 1): F(1, 12)}

    def loss(u):
        return -sum(
            float(x) * sum(u[r[i]] - logsumexp([u[y] for y in r[i:]]) for i in range(2)) for r, x in law.items()
        )

    likelihood = minimize(loss, np.zeros(3), tol=1e-12).x
    assert np.ptp(likelihood - broken(law, all_pairs_of, 3)) > 0.05


def test_three_equals_exactly():
    """7/12 of the centring matrix against (3/4)^2: an efficiency of 27/28."""
    likelihood, pairs = rank_breaking_covariances([1.0, 1.0, 1.0])
    centring = np.eye(3) - 1 / 3
    np.testing.assert_allclose(likelihood, float(F(12, 7)) * centring, atol=1e-14)
    np.testing.assert_allclose(pairs, float(F(16, 9)) * centring, atol=1e-14)
    assert F(12, 7) / F(16, 9) == F(27, 28)


def test_the_likelihood_is_never_less_precise():
    rng = np.random.default_rng()
    for _ in range(5):
        n = int(rng.integers(3, 6))
        likelihood, pairs = rank_breaking_covariances(rng.dirichlet(np.ones(n)) + 0.02)
        excess = np.linalg.eigvalsh(pairs - likelihood)
        assert excess[0] > -1e-10 * excess[-1]
        assert excess[-1] > 1e-4
    two = rank_breaking_covariances([1.0, 3.0])  # one pair is the ranking: control
    np.testing.assert_allclose(*two, atol=1e-13)


def test_covariance_of_drawn_rankings():
    """2,000 fits of 400 rankings each: within five standard errors of the promised variance of a difference."""
    rng, p, size, runs = np.random.default_rng(5), np.array([0.5, 0.3, 0.2]), 400, 2000
    law = ranking_probabilities(p)
    rankings = list(law)
    wins = np.array([[sum((a, b) in list(all_pairs_of(r)) for b in range(3)) for a in range(3)] for r in rankings])
    _, pairs = rank_breaking_covariances(p)
    counts = rng.multinomial(size, list(law.values()), runs)
    totals = counts @ wins
    w = np.zeros((runs, 3))
    for _ in range(100):  # Zermelo's iteration for three pairs met equally often
        e = np.exp(w)
        expected = sum(
            size * np.eye(3)[a] * (e[:, a] / (e[:, a] + e[:, b]))[:, None] for a in range(3) for b in range(3) if a != b
        )
        w += 0.9 * np.log(totals / expected)
    measured = np.var(w[:, 0] - w[:, 2]) * size
    promised = np.array([1, 0, -1]) @ pairs @ [1, 0, -1]
    assert abs(measured / promised - 1) < 5 * np.sqrt(2 / runs) + 0.03  # and terms of order 1/400


def test_refusals():
    with pytest.raises(ValueError, match="`weights` must be positive"):
        ranking_probabilities([1, 0])
    with pytest.raises(ValueError, match="`weights` must have from 2 to 7"):
        ranking_probabilities([1] * 8)
