"""Voting rules, losses of members and distortion: by hand, by other optimisers, and where they must differ."""

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logsumexp

import pbde_ref as pb
from pbde_ref.aggregation import (
    borda_scores,
    condorcet_winner,
    distortion,
    largest_distortion,
    minority_losses,
    pareto_violations,
    worst_distortion,
)
from tests.seeds import drawn_seed

F = Fraction
BEATS = pb.PreferenceMatrix([[0.5, 0.6, 0.6], [0.4, 0.5, 1.0], [0.4, 0.0, 0.5]])
EVEN = pb.PreferenceMatrix(np.full((3, 3), 0.5))


def drawn(rng, n):
    upper = np.triu(rng.uniform(0.05, 0.95, (n, n)), 1)
    return pb.PreferenceMatrix(upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(n))


def order(values):
    return np.argsort(values).tolist()


def fitted(objective, annotator, proposal, **parameters):
    return pb.minimize_expected_loss(objective, annotator, proposal, **parameters).value


def test_borda_scores_by_hand():
    mu = [F(1, 2), F(1, 4), F(1, 4)]
    p = [[F(1, 2), F(3, 5), F(3, 5)], [F(2, 5), F(1, 2), F(1)], [F(2, 5), F(0), F(1, 2)]]
    by_hand = [float(sum(m * x for m, x in zip(mu, row, strict=True))) for row in p]
    np.testing.assert_allclose(borda_scores(BEATS, [2, 1, 1]), by_hand, rtol=1e-15)
    assert condorcet_winner(BEATS) == 0
    assert borda_scores(BEATS).argmax() == 1
    assert condorcet_winner(EVEN) is None


def test_a_mixture_beats_nobody_with_itself():
    """Weights 2/9 and 7/9 of ½ add up to more than ½ in floats."""
    one = pb.Annotator(pb.FiniteDistribution.from_weights([2, 1]), pb.luce())
    mixture = pb.AnnotatorMixture([2, 7], [one, one])
    assert np.diag(mixture.preference_probabilities()).tolist() == [0.5, 0.5]
    assert condorcet_winner(mixture) == 0
    alike = pb.Annotator(pb.FiniteDistribution.from_weights([1, 1]), pb.luce())
    assert condorcet_winner(pb.AnnotatorMixture([2, 7], [alike, alike])) is None


@pytest.mark.parametrize(("objective", "parameters"), [("bradley_terry", {}), ("ipo", {"tau": 0.3})])
def test_the_fit_ranks_as_weighted_borda(objective, parameters):
    """For pairs from mu x mu, losses with ℓ(m) - ℓ(-m) = -κ m rank as the mu-weighted Borda score."""
    rng = np.random.default_rng()
    for _ in range(20):
        n = int(rng.integers(3, 7))
        annotator, mu = drawn(rng, n), rng.dirichlet(np.ones(n)) + 0.01
        found = fitted(objective, annotator, pb.ProductProposal(mu), **parameters)
        assert order(found) == order(borda_scores(annotator, mu)), (annotator, mu)


def test_controls_of_the_order():
    """Other pairs, other losses, other weights and the score without its own term: somewhere the order is another."""
    rng = np.random.default_rng(3)
    e = np.exp
    exponential = pb.Objective("exponential", lambda m: e(-m), lambda m: -e(-m), lambda m: e(-m))
    differ = np.zeros(4, int)
    for _ in range(60):
        annotator, mu, joint = drawn(rng, 5), rng.dirichlet(np.ones(5)) + 0.01, rng.random((5, 5))
        mu /= mu.sum()
        wanted = order(borda_scores(annotator, mu))
        differ += [
            order(fitted("bradley_terry", annotator, pb.JointProposal(joint))) != order(borda_scores(annotator)),
            order(fitted(exponential, annotator, pb.ProductProposal(mu))) != wanted,
            order(borda_scores(annotator)) != wanted,
            order(borda_scores(annotator, mu) - mu / 2) != wanted,
        ]
    assert (differ > 5).all(), differ


def test_members_who_lose():
    """A brute-force maximum over own answers; nobody loses where the policy is everybody's favourite."""
    rng = np.random.default_rng()
    members = [pb.Annotator(pb.FiniteDistribution(rng.normal(size=4)), pb.luce()) for _ in range(3)]
    policy = pb.FiniteDistribution(rng.normal(size=4))
    pool = pb.AnnotatorMixture([1, 2, 3], members)
    by_hand = [
        max(sum(policy.pmf[y] * expit(m.utility[x] - m.utility[y]) for y in range(4)) for x in range(4)) - 0.5
        for m in members
    ]
    np.testing.assert_allclose(minority_losses(pool, policy), by_hand, atol=1e-15)
    same = pb.AnnotatorMixture([1], members[:1])
    favourite = pb.FiniteDistribution.from_weights(np.eye(4)[members[0].utility.argmax()])
    assert minority_losses(same, favourite)[0] == 0.0


def test_pareto_violations():
    """The pooled fit to a product violates nothing that all agree on; scores turned round violate all of it."""
    rng = np.random.default_rng()
    common = np.sort(rng.normal(size=4))
    members = [pb.Annotator(pb.FiniteDistribution(s * common), pb.luce()) for s in (0.5, 1.0, 4.0)]
    pool, mu = pb.AnnotatorMixture([1, 1, 1], members), rng.dirichlet(np.ones(4)) + 0.01
    found = fitted("bradley_terry", pool, pb.ProductProposal(mu))
    assert pareto_violations(pool, found).shape == (0, 2)
    below = [[x, y] for x, y in itertools.product(range(4), repeat=2) if x > y]
    assert pareto_violations(pool, -found).tolist() == below


def test_distortion_against_its_dual():
    """The best mean in a KL ball is the least λ (radius + log E exp(W / λ)), found by another optimiser; without a
    reference it is the best outcome's.
    """
    rng = np.random.default_rng()
    welfare, policy, reference = rng.random(4), pb.FiniteDistribution(rng.normal(size=4)), pb.uniform(range(4))
    radius = pb.kl_divergence(policy, reference)

    def dual(log_scale):
        scale = np.exp(log_scale)
        return scale * (radius + logsumexp(welfare / scale) - np.log(4))

    grid = np.linspace(-12, 12, 2001)
    middle = grid[np.argmin([dual(x) for x in grid])]
    best = minimize_scalar(dual, bounds=(middle - 0.02, middle + 0.02), method="bounded", options={"xatol": 1e-12})
    found = distortion(welfare, policy, reference)
    assert abs(found - best.fun / (policy.pmf @ welfare)) < 1e-7
    assert found <= distortion(welfare, policy) == welfare.max() / (policy.pmf @ welfare)
    assert distortion([1.0, 0.0], pb.FiniteDistribution.from_weights([0, 1])) == np.inf


def test_worst_population_is_one():
    """The programme's population, fitted: its favourite is the one named, or tied with it, and its welfare as told."""
    beta, mu = 4.0, np.array([1.0, 1.0, 8.0]) / 10.0
    worst = worst_distortion(beta, mu, levels=10)
    members = [pb.Annotator(pb.FiniteDistribution(beta * u), pb.luce()) for u in worst.utilities]
    found = fitted("bradley_terry", pb.AnnotatorMixture(worst.shares, members), pb.ProductProposal(mu))
    assert found.max() - found[worst.favourite] < 1e-7
    welfare = worst.shares @ worst.utilities
    assert abs(welfare[worst.best] / welfare[worst.favourite] - worst.distortion) < 1e-8
    assert welfare.max() == welfare[worst.best]


def test_two_outcomes_never_cost_more():
    """(β/2) coth(β/2) bounds two outcomes on every grid, is approached, and is exceeded by three."""
    for beta in np.random.default_rng().uniform(0.5, 8.0, 5):
        bound = beta / 2 / np.tanh(beta / 2)
        assert 0.97 * bound < worst_distortion(beta, [1, 3], levels=64).distortion <= bound * (1 + 1e-9)
    agreed = worst_distortion(0.8, [1, 2, 1], levels=1)
    assert (agreed.distortion, agreed.favourite, agreed.best) == (1.0, 0, 0)
    assert agreed.utilities.tolist() == [[1.0, 1.0, 1.0]]
    assert worst_distortion(8.0, [1, 1, 98], levels=12).distortion > 1.3 * (4.0 / np.tanh(4.0))


@pytest.mark.parametrize("beta", [0.5, 2.0, 8.0, 40.0])
def test_the_largest_distortion_in_fifty_digits(beta):
    """With h'(a) = k by halving; and multipliers that prove it, for drawn utilities of w, b and what they meet."""
    with mpmath.workdps(50):
        h = lambda x: mpmath.tanh(x / 2) / 2  # noqa: E731
        k = h(mpmath.mpf(beta)) / beta
        low, high = mpmath.mpf(0), mpmath.mpf(beta)
        for _ in range(170):
            a = (low + high) / 2
            low, high = (a, high) if mpmath.sech(a / 2) ** 2 / 4 > k else (low, a)
        wanted = (1 + (h(a) - k * a) / h(beta)) / (4 * k)
    found = largest_distortion(beta)
    assert found == pytest.approx(float(wanted), rel=1e-12)
    assert largest_distortion(beta, 2) == pytest.approx(beta / 2 / np.tanh(beta / 2), rel=1e-14)
    w, b, y = np.random.default_rng(drawn_seed()).uniform(0, beta, (3, 200_000))
    w[::2], b[::3] = w[::2] ** 4 / beta**3, beta
    first = 2 * beta / np.tanh(beta / 2)
    left = found * w - b + first * (expit(b - y) - expit(w - y)) + (4 * found - first) * (0.5 - expit(w - y))
    assert left.min() > -1e-9
    # Control: one in a hundred less of the second multiplier fails where w has nothing and b has beta - a.
    b = beta - float(a)
    tight = -b + first * (expit(b - beta) - expit(-beta))
    assert tight + (4 * found - first) * (0.5 - expit(-beta)) == pytest.approx(0.0, abs=1e-9)
    assert tight + 0.99 * (4 * found - first) * (0.5 - expit(-beta)) < 0.0


def test_no_population_costs_more():
    """Drawn populations whose favourite has less welfare, programmes, and three types that reach it."""
    rng = np.random.default_rng(drawn_seed())
    beta, largest = 6.0, 1.0
    for _ in range(2000):
        n, m = int(rng.integers(2, 6)), int(rng.integers(1, 5))
        types, shares, mu = rng.random((m, n)) ** 3, rng.dirichlet(np.ones(m)), rng.dirichlet(np.full(n, 0.3))
        scores = shares @ (expit(beta * (types[:, :, None] - types[:, None, :])) @ mu)
        welfare = shares @ types
        largest = max(largest, welfare.max() / welfare[scores.argmax()])
    assert 1.2 < largest < largest_distortion(beta)
    found = worst_distortion(beta, [1e-4, 1e-4, 1], levels=24).distortion
    assert 0.97 * largest_distortion(beta) < found <= largest_distortion(beta)
    # Control: what is compared and cannot be had makes it larger.
    assert worst_distortion(beta, [1e-4, 1e-4, 1], levels=12, reachable=[1, 1, 0]).distortion > largest_distortion(beta)


def test_what_is_compared_and_not_produced_costs_up_to_cosh_squared():
    """For any mu; it is approached by two types, in fractions at odds of 256: σ(β δ) = 2/3 for δ = 1/8."""
    rng = np.random.default_rng()
    for beta in rng.uniform(0.5, 8.0, 5):
        mu, able = rng.dirichlet(np.full(3, 0.3)) + 1e-6, [1, 1, 0]
        found = worst_distortion(beta, mu, levels=10, reachable=able).distortion
        assert found <= np.cosh(beta / 2) ** 2 * (1 + 1e-9), (beta, mu)
    by_hand = float((F(2, 3) - F(1, 2)) / (F(1, 129) - F(1, 257)))
    grid = worst_distortion(np.log(256), [1e-9, 1e-9, 1], levels=8, reachable=[1, 1, 0]).distortion
    assert 0.999 * by_hand < grid < np.cosh(np.log(16)) ** 2
    assert grid > 2 * worst_distortion(np.log(256), [1e-9, 1e-9, 1], levels=8).distortion


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: borda_scores(BEATS, [1, 1]), "`mu` must"),
        (lambda: distortion([0.0, 0.0], pb.uniform(range(2))), "`welfare` must be positive"),
        (lambda: distortion([-1.0, 0.0], pb.uniform(range(2))), "`welfare` must be finite and non-negative"),
        (lambda: worst_distortion(1.0, [1] * 9), "`levels` must leave"),
        (lambda: worst_distortion(1.0, [1, 1], reachable=[1, 0]), "`reachable` must hold"),
        (
            lambda: distortion([1, 1], pb.uniform(range(2)), pb.FiniteDistribution.from_weights([1, 0])),
            "`reference` must be positive",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
