"""Eq. (19): RRHF in expectation, and its certified minimisers.

Proof: proofs/rrhf.md.
"""

import inspect
import itertools
import math
from fractions import Fraction

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.exact.ranking import expected_rrhf, minimize_rrhf
from tests import paper_on_arrays, strategies


def ranker(size, seed, spread=1.0):
    return pb.Annotator(pb.FiniteDistribution(spread * np.random.default_rng(seed).standard_normal(size)), pb.luce())


def two_candidates(annotator, log_pmf, proposal, lengths, gamma):
    """The expectation over ordered pairs and outcomes."""
    answers = paper_on_arrays.data(annotator.preference_probabilities(), proposal.matrix(annotator.size))
    return paper_on_arrays.rrhf([((a, b) if y else (b, a), p) for a, b, y, p in answers], log_pmf, lengths, gamma)


def three_candidates(utility, draw, log_pmf, lengths, gamma):
    """The expectation over three draws and the six rankings of Plackett and Luce."""
    rankings = []
    for drawn in itertools.product(range(len(draw)), repeat=3):
        for ranking in itertools.permutations(drawn):
            weights = [math.exp(utility[x]) for x in ranking]
            chance = weights[0] / sum(weights) * weights[1] / (weights[1] + weights[2])
            rankings.append((ranking, draw[drawn[0]] * draw[drawn[1]] * draw[drawn[2]] * chance))
    return paper_on_arrays.rrhf(rankings, log_pmf, lengths, gamma)


# ------------------------------------------------------------------------------------------------- the expectation


def test_by_hand():
    # The stronger outcome wins 4 of 5 times; its score is ahead by log 3, or behind by as much.
    annotator, pair = pb.Annotator(pb.FiniteDistribution.from_weights([4, 1]), pb.luce()), pb.PairListProposal([0], [1])
    ahead = expected_rrhf(annotator, np.log([3.0, 1.0]), pair)
    assert ahead.ranking == pytest.approx(0.2 * math.log(3), rel=1e-14)
    assert ahead.likelihood == pytest.approx(0.8 * math.log(4 / 3) + 0.2 * math.log(4), rel=1e-14)
    assert ahead.value == pytest.approx(ahead.ranking + ahead.likelihood, rel=1e-15)
    # In the first logit: 0.2 from the hinge, pi - b = 3/4 - 4/5 from the likelihood.
    assert_allclose(ahead.gradient, [0.15, -0.15], rtol=1e-13)
    behind = expected_rrhf(annotator, np.log([1.0, 3.0]), pair, likelihood_weight=0.0)
    assert behind.value == pytest.approx(0.8 * math.log(3), rel=1e-14)


@pytest.mark.parametrize("lengths", [None, [1.0, 3.0, 0.5, 7.0]])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
def test_two_candidates_are_the_double_loop(lengths, gamma):
    rng, annotator = np.random.default_rng(0), ranker(4, 1)
    proposal, log_pmf = pb.JointProposal(rng.random((4, 4))), pb.FiniteDistribution(rng.standard_normal(4)).log_pmf
    loss = expected_rrhf(annotator, log_pmf + 5.0, proposal, lengths=lengths, likelihood_weight=gamma)
    expected = two_candidates(annotator, log_pmf, proposal, [1.0] * 4 if lengths is None else lengths, gamma)
    assert loss.value == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("lengths", [[1.0] * 4, [1.0, 3.0, 0.5, 7.0]])
def test_three_candidates_are_the_triple_loop(lengths):
    annotator, draw = ranker(4, 2), np.array([0.1, 0.2, 0.3, 0.4])
    log_pmf = pb.FiniteDistribution([0.3, -1.0, 0.5, 0.0]).log_pmf
    loss = expected_rrhf(
        annotator, log_pmf, pb.ProductProposal(draw), n_candidates=3, lengths=lengths, likelihood_weight=0.7
    )
    expected = three_candidates(annotator.utility, draw, log_pmf, lengths, 0.7)
    assert loss.value == pytest.approx(expected, rel=1e-13)


def test_a_mixture_of_rankers_ranks_as_one_of_them_at_a_time():
    one, two, q = ranker(3, 3), ranker(3, 4), pb.ProductProposal([0.2, 0.3, 0.5])
    crowd = pb.AnnotatorMixture([0.25, 0.75], [one, two])
    for k in (2, 3):
        losses = [expected_rrhf(who, [0.0, 1.0, -1.0], q, n_candidates=k, lengths=[1, 2, 3]) for who in (one, two)]
        loss = expected_rrhf(crowd, [0.0, 1.0, -1.0], q, n_candidates=k, lengths=[1, 2, 3])
        assert loss.value == pytest.approx(0.25 * losses[0].value + 0.75 * losses[1].value, rel=1e-14)
        assert_allclose(loss.gradient, 0.25 * losses[0].gradient + 0.75 * losses[1].gradient, atol=1e-15)


@pytest.mark.parametrize("k", [2, 3])
def test_gradient_is_that_of_autograd(k):
    annotator, draw, lengths = ranker(4, 5), np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 3.0, 0.5, 7.0])
    q, logits = pb.ProductProposal(draw), np.array([0.3, -1.0, 0.5, 0.1])  # no ties
    loss = expected_rrhf(annotator, logits, q, n_candidates=k, lengths=lengths, likelihood_weight=0.7)
    p, pairs = annotator.preference_probabilities(), k * (k - 1) / 2
    best, weights = np.zeros(4), np.exp(annotator.utility)
    for drawn in itertools.product(range(4), repeat=k):
        for x in drawn:
            best[x] += draw[list(drawn)].prod() * weights[x] / weights[list(drawn)].sum()

    def value(logits):
        log_pmf = logits - anp.log(anp.sum(anp.exp(logits)))
        scores = log_pmf / lengths
        hinges = anp.maximum(scores[None, :] - scores[:, None], 0.0)
        return 2.0 * pairs * anp.sum(np.outer(draw, draw) * p * hinges) - 0.7 * anp.sum(best * log_pmf)

    assert loss.value == pytest.approx(value(logits), rel=1e-13)
    assert_allclose(loss.gradient, autograd.grad(value)(logits), atol=1e-14)


@settings(max_examples=40)
@given(strategies.problems(max_size=8))
def test_gradient_is_a_subgradient_for_equal_lengths(case):
    """For equal lengths the loss is convex in the logits and never below its tangents, at ties too."""
    other = np.random.default_rng(0).normal(0.0, 3.0, case.annotator.size)
    for logits in (case.utilities, np.zeros(case.annotator.size)):
        lengths = np.full(other.size, 2.0)
        here, there = (expected_rrhf(case.annotator, x, case.proposal, lengths=lengths) for x in (logits, other))
        tangent = here.value + here.gradient @ (other - logits)
        assert there.value >= tangent - 1e-12 * (1.0 + abs(tangent))


def test_unequal_lengths_are_not_convex_in_the_logits():
    # Control for the law above: the middle of this segment lies above its chord.
    annotator, pair = pb.Annotator(pb.FiniteDistribution.from_weights([1, 1]), pb.luce()), pb.PairListProposal([0], [1])
    first, middle, last = (
        expected_rrhf(annotator, [0.0, t], pair, lengths=[1.0, 10.0], likelihood_weight=0.0).value for t in (-6, -4, -2)
    )
    assert middle > 0.5 * (first + last) + 0.02


# ----------------------------------------------------------------------------------------------------- the optimum


@pytest.mark.parametrize("p", [Fraction(1, 2), Fraction(3, 5), Fraction(9, 10), Fraction(99, 100), Fraction(1)])
@pytest.mark.parametrize("gamma", [Fraction(1, 4), Fraction(1), Fraction(8)])
def test_two_outcomes_have_a_closed_form(p, gamma):
    # The point of [p - (1 - p)/gamma, p + p/gamma] that is nearest to one half.
    expected = max(Fraction(1, 2), p - (1 - p) / gamma)
    annotator = pb.PreferenceMatrix([[0.5, float(p)], [float(1 - p), 0.5]])
    solution = minimize_rrhf(annotator, pb.PairListProposal([0], [1]), likelihood_weight=float(gamma))
    assert solution.converged
    # KL at most 1e-9 / gamma bounds the total variation by the root of half of it; kinks are met far more closely.
    assert solution.policy.pmf[0] == pytest.approx(float(expected), abs=5e-5)


@pytest.mark.parametrize(
    ("k", "gamma", "seed"),
    [(2, 0.1, 0), (3, 3.0, 3), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((2, 1.0, 1), (3, 0.3, 2)))],
)
def test_no_search_finds_less(k, gamma, seed):
    rng, annotator = np.random.default_rng(seed), ranker(3, seed, spread=2.0)
    q, lengths = pb.ProductProposal(rng.random(3) + 0.1), rng.choice([0.5, 1.0, 2.0, 5.0], 3, replace=False)
    arguments = {"n_candidates": k, "lengths": lengths, "likelihood_weight": gamma}
    solution = minimize_rrhf(annotator, q, **arguments)

    def value(logits):
        return expected_rrhf(annotator, logits, q, **arguments).value

    assert value(solution.policy.log_pmf) == pytest.approx(solution.loss, abs=1e-13)
    found = []
    for _ in range(2):
        point = 2.0 * rng.standard_normal(3)
        for _ in range(2):
            for method in ("Powell", "Nelder-Mead"):
                point = minimize(value, point, method=method, tol=1e-12).x
        found.append(value(point))
    assert min(found) >= solution.lower_bound - 1e-13
    # The search is not confined to the kink it ends on.
    assert min(found) == pytest.approx(solution.loss, abs=1e-6)


@settings(max_examples=40)
@given(strategies.problems(max_size=10), strategies.generators)
def test_no_policy_is_below_the_certified_bound(case, rng):
    """Whoever the annotator, whatever is proposed, whatever the lengths: the bound holds and is met."""
    size, gamma = case.annotator.size, 10.0 ** rng.uniform(-2.0, 2.0)
    arguments = {"lengths": rng.uniform(0.5, 20.0, size), "likelihood_weight": gamma}
    solution = minimize_rrhf(case.annotator, case.proposal, **arguments)
    assert solution.converged
    assert 0.0 <= solution.gap <= 1e-9
    for logits in (case.utilities, rng.normal(0.0, 3.0, size), np.zeros(size)):
        loss = expected_rrhf(case.annotator, logits, case.proposal, **arguments).value
        # Rounding of losses of this size.
        assert loss >= solution.lower_bound - 1e-13 * (1.0 + abs(loss))


def test_an_unfinished_search_says_so():
    paper = pb.paper_problem(32)
    annotator = pb.Annotator(paper.implicit_preference_distribution, pb.luce())
    solution = minimize_rrhf(annotator, pb.ProductProposal(paper.reference), max_steps=1)
    assert not solution.converged
    assert solution.gap > 1e-6


def test_the_weight_leads_from_equal_scores_to_the_winners():
    annotator, q = ranker(8, 9), pb.ProductProposal(np.ones(8))
    winners, lengths = pb.winners_distribution(annotator, q), np.arange(1.0, 9.0)
    flat = minimize_rrhf(annotator, q, lengths=lengths, likelihood_weight=0.0).policy
    for gamma, target in ((1e6, winners), (1e-4, flat), (1e-5, flat)):
        tolerance = 1e-9 * min(gamma, 1.0)
        policy = minimize_rrhf(annotator, q, lengths=lengths, likelihood_weight=gamma, tolerance=tolerance).policy
        assert pb.total_variation(policy, target) < 1e-4
    # Control: in between it is neither, and nowhere what Theorem 2 would have.
    middle = minimize_rrhf(annotator, q, lengths=lengths).policy
    assert min(pb.total_variation(middle, target) for target in (winners, flat)) > 0.05
    for policy in (winners, flat, middle):
        assert pb.total_variation(policy, annotator.distribution) > 0.1


def test_a_heavier_likelihood_costs_entropy():
    paper = pb.paper_problem(32)
    annotator, q = pb.Annotator(paper.implicit_preference_distribution, pb.luce()), pb.ProductProposal(paper.reference)
    policies = [minimize_rrhf(annotator, q, likelihood_weight=gamma).policy for gamma in (0.01, 0.1, 1.0, 10.0, 100.0)]
    assert (np.diff([policy.entropy() for policy in policies]) < 0.0).all()


def test_without_likelihood_equal_scores_cost_nothing():
    annotator, lengths = ranker(3, 8), np.array([1.0, 2.0, 3.0])
    solution = minimize_rrhf(annotator, pb.ProductProposal(np.ones(3)), lengths=lengths, likelihood_weight=0.0)
    # x + x^2 + x^3 = 1
    root = 0.5436890126920764
    assert_allclose(solution.policy.pmf, root**lengths, rtol=1e-12)
    assert solution.loss < 1e-15
    assert solution.converged
    assert solution.divergence_bound == np.inf


def test_what_is_never_best_gets_nothing():
    zero = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1, 0]), pb.luce())
    solution = minimize_rrhf(zero, pb.PairListProposal([0, 0, 1], [1, 2, 2]))
    assert solution.policy.pmf[2] == 0.0
    assert solution.converged
    # It is the limit of finite policies, and no other policy of the rest does better.
    pair = minimize_rrhf(pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]]), pb.PairListProposal([0, 1], [1, 1], [1, 1]))
    assert pair.converged
    near = expected_rrhf(zero, np.append(solution.policy.log_pmf[:2], -30.0), pb.PairListProposal([0, 0, 1], [1, 2, 2]))
    assert near.value == pytest.approx(solution.loss, abs=1e-8)


def test_the_order_in_which_a_ranking_is_made_matters():
    # Control: drawing the worst first has the same pairs, but another best of three.
    annotator, draw = pb.Annotator(pb.FiniteDistribution.from_weights([9, 3, 1]), pb.luce()), np.ones(3) / 3
    weights = np.exp(annotator.utility)
    forward, backward = np.zeros(3), np.zeros(3)
    for drawn in itertools.product(range(3), repeat=3):
        for order in itertools.permutations(drawn):
            w = weights[list(order)]
            forward[order[0]] += w[0] / w.sum() * w[1] / (w[1] + w[2]) / 27
            backward[order[0]] += (1 / w[2]) / (1 / w).sum() * (1 / w[1]) / (1 / w[0] + 1 / w[1]) / 27
    likelihood = expected_rrhf(annotator, [0.0, 0.0, 7.0], pb.ProductProposal(draw), n_candidates=3).likelihood
    log_pmf = pb.FiniteDistribution([0.0, 0.0, 7.0]).log_pmf
    assert likelihood == pytest.approx(-forward @ log_pmf, rel=1e-13)
    assert abs(likelihood + backward @ log_pmf) > 0.1


@pytest.mark.parametrize(("k", "gamma"), [(2, 0.01), (2, 1.0), (3, 0.01), (3, 1.0)])
def test_long_tails_and_long_sequences_converge(k, gamma):
    # Preferences over a thousand nats and lengths from 1 to 40.
    paper = pb.paper_problem(64)
    annotator = pb.Annotator(paper.annotator_distributions[0], pb.luce())
    solution = minimize_rrhf(
        annotator, pb.ProductProposal(paper.reference), n_candidates=k, lengths=np.linspace(1, 40, 64),
        likelihood_weight=gamma,
    )  # fmt: skip
    assert solution.converged
    assert solution.policy.support[0] == -10.0


def test_one_outcome():
    solution = minimize_rrhf(pb.Annotator(pb.uniform("a"), pb.luce()), pb.ProductProposal([1]))
    assert solution.policy.pmf == pytest.approx([1.0])
    assert solution.converged


# ---------------------------------------------------------------------------------------------------------- refusals

EVEN = pb.Annotator(pb.uniform("abc"), pb.luce())
Q = pb.ProductProposal([1, 1, 1])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lengths": [1, 0, 1]}, ValueError, "`lengths` must be positive; got 0.0 at index 1"),
        ({"lengths": [1, 1, np.inf]}, ValueError, "`lengths` must be finite; got inf at index 2"),
        ({"lengths": [1, 1]}, ValueError, "`lengths` must have 3 outcomes"),
        ({"likelihood_weight": -1}, ValueError, "`likelihood_weight` must be non-negative; got -1.0"),
        ({"likelihood_weight": np.inf}, ValueError, "`likelihood_weight` must be finite; got inf"),
        ({"n_candidates": 4}, ValueError, "`n_candidates` must be 2 or 3; got 4"),
        ({"n_candidates": 2.5}, TypeError, "`n_candidates` must be a whole number; got 2.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        expected_rrhf(EVEN, [0, 0, 0], Q, **arguments)
    with pytest.raises(error, match=message):
        minimize_rrhf(EVEN, Q, **arguments)


def test_three_candidates_need_a_utility_and_independent_draws():
    matrix = pb.PreferenceMatrix(EVEN.preference_probabilities())
    with pytest.raises(TypeError, match=r"`annotator` must have a utility, to rank three .*; got PreferenceMatrix"):
        minimize_rrhf(matrix, Q, n_candidates=3)
    for proposal, got in (
        (pb.JointProposal(np.ones((3, 3))), "got JointProposal"),
        (pb.ProductProposal([1, 1, 1], [1, 1, 2]), "got ProductProposal with different factors"),
    ):
        with pytest.raises(ValueError, match=f"`proposal` must be a ProductProposal with two equal factors.*; {got}"):
            minimize_rrhf(EVEN, proposal, n_candidates=3)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([0, 0], "`logits` must have 3 outcomes"),
        ([0, np.inf, 0], r"`logits` must be below \+inf; got inf at index 1"),
        ([-np.inf] * 3, "`logits` must be finite somewhere; got -inf everywhere"),
        ([0, np.nan, 0], "`logits` must be free of NaN"),
    ],
)
def test_bad_logits_are_refused(logits, message):
    with pytest.raises(ValueError, match=message):
        expected_rrhf(EVEN, logits, Q)


def test_bad_searches_are_refused():
    for arguments, message in (
        ({"tolerance": 0.0}, "`tolerance` must be positive; got 0.0"),
        ({"max_steps": 0}, "`max_steps` must be at least 1; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            minimize_rrhf(EVEN, Q, **arguments)
    nothing = pb.Annotator(pb.FiniteDistribution.from_weights([1, 0, 0]), pb.luce())
    for k in (2, 3):
        with pytest.raises(ValueError, match="such a preference is 0/0"):
            minimize_rrhf(nothing, Q, n_candidates=k)


def test_excluded_logits_cost_infinitely_much_where_they_win():
    loss = expected_rrhf(EVEN, [0.0, 0.0, -np.inf], Q)
    assert loss.value == loss.ranking == loss.likelihood == np.inf
    assert np.isfinite(loss.gradient).all()
    assert not loss.gradient.flags.writeable


def test_defaults():
    for function in (expected_rrhf, minimize_rrhf):
        defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
        assert (defaults["n_candidates"], defaults["likelihood_weight"]) == (2, 1.0)
    assert (defaults["tolerance"], defaults["max_steps"]) == (1e-9, 100)


@pytest.mark.parametrize("length", [1e-308, 1e-200, 1e200])
def test_lengths_beyond_the_range_of_their_ratios_are_refused(length):
    annotator, pairs = pb.Annotator(pb.uniform([0, 1]), pb.luce()), pb.ProductProposal([1, 1])
    with pytest.raises(ValueError, match="`lengths` must be from 1e-150 to 1e150, so that their ratios are numbers"):
        pb.minimize_rrhf(annotator, pairs, lengths=[1.0, length])
    with pytest.raises(ValueError, match="`likelihood_weight` must be 0, or at least 1e-150"):
        pb.minimize_rrhf(annotator, pairs, likelihood_weight=5e-324)
