"""Eq. (29) and (30): the loss of an annotator mixture, and expectation–maximisation on the population.

Proof: proofs/mixed_annotators.md.
"""

import inspect
import itertools
import math

import autograd
import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref import paper
from pbde_ref.exact.identifiability import comparison_components, null_projection
from pbde_ref.exact.mixtures import expectation_maximization as em
from pbde_ref.exact.mixtures import expected_mixture_hessian, expected_mixture_loss, fit_annotator_mixture
from pbde_ref.exact.mixtures.curvature import certify, extreme_eigenvalues, is_saddle
from pbde_ref.exact.mixtures.model import answered_pairs, divide_answers, evaluate, log_sigmoids_of
from tests import paper_on_arrays, strategies
from tests.paper_on_arrays import sigmoid


def problem(size, k, seed, spread=2.0):
    """Preferences that no utility explains, a joint proposal, and a model's weights and utilities."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(0.05, 0.95, (size, size)), 1)
    annotator = pb.PreferenceMatrix(upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(size))
    proposal = pb.JointProposal(rng.random((size, size)))
    return annotator, proposal, rng.uniform(0.5, 2.0, k), spread * rng.standard_normal((k, size))


def loops(annotator, weights, utilities, proposal):
    """Eq. (7) and (8) with the model of Eq. (30)."""
    with paper_on_arrays.precise(*utilities):
        q = paper_on_arrays.rows(proposal.matrix(annotator.size))
        answers, model = (
            paper_on_arrays.answers(annotator.preference_probabilities()), paper_on_arrays.mixture(weights, utilities),
        )  # fmt: skip
        return tuple(float(equation(q, answers, model, mpmath)) for equation in (paper.equation_7, paper.equation_8))


def population(size):
    """The paper's two annotators of Eq. (24), who answer by Eq. (25)."""
    paper = pb.paper_problem(size)
    annotators = [pb.Annotator(p, pb.luce()) for p in paper.annotator_distributions]
    return paper, pb.AnnotatorMixture(paper.annotator_weights, annotators), pb.ProductProposal(paper.reference)


def distance(paper, weights, densities):
    """Largest error of the marginal, of a component (up to their order) and of a weight."""
    marginal = pb.total_variation(pb.mixture(weights, densities), paper.implicit_preference_distribution)
    first, second = paper.annotator_distributions
    return min(
        max(
            marginal,
            pb.total_variation(densities[i], first),
            pb.total_variation(densities[1 - i], second),
            abs(weights[i] - paper.annotator_weights[0]),
        )
        for i in (0, 1)
    )


# ---------------------------------------------------------------------------------------------------------- the loss


def test_two_annotators_who_disagree_by_hand():
    # M = 1/3 * 3/4 + 2/3 * 1/4 = 5/12 for the pair (0, 1), seen half of the time; the rest is diagonal.
    annotator, q = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]]), pb.ProductProposal([1, 1])
    loss = expected_mixture_loss(annotator, [1, 2], np.log([[3.0, 1.0], [1.0, 3.0]]), q)
    assert loss.value == pytest.approx(0.5 * math.log(12 / 5), rel=1e-14)
    assert loss.cross_entropy == pytest.approx(0.5 * math.log(12 / 5) + 0.5 * math.log(2), rel=1e-14)
    # Responsibilities 3/5 and 2/5; the derivative of -log M in u_1(0) - u_1(1) is -3/5 * 1/4.
    assert_allclose(loss.utilities_gradient, [[-0.075, 0.075], [-0.15, 0.15]], rtol=1e-14)
    # Half of the answers say nothing: 1 - (1/2 * (3/5)/(1/3) + 1/2), over the sum of the weights.
    assert_allclose(loss.weights_gradient, [-0.4 / 3, 0.2 / 3], rtol=1e-13)


@pytest.mark.parametrize(("size", "k", "seed"), [(2, 2, 0), (4, 3, 1), (6, 2, 2), (5, 1, 3)])
def test_loss_is_the_double_loop(size, k, seed):
    arguments = problem(size, k, seed)
    annotator, proposal, weights, utilities = arguments
    loss = expected_mixture_loss(annotator, weights, utilities, proposal)
    cross_entropy, kl = loops(annotator, weights, utilities, proposal)
    # The loop's own rounding: 50 terms of size one.
    assert loss.cross_entropy == pytest.approx(cross_entropy, abs=1e-14)
    assert loss.value == pytest.approx(kl, abs=1e-14)


@pytest.mark.parametrize(("size", "k", "seed"), [(4, 3, 1), (6, 2, 2)])
def test_gradients_are_those_of_autograd(size, k, seed):
    annotator, proposal, weights, utilities = problem(size, k, seed)
    p, q = annotator.preference_probabilities(), proposal.matrix(size)

    def cross_entropy(weights, utilities):
        margins = utilities[:, :, None] - utilities[:, None, :]
        model = anp.sum((weights / anp.sum(weights))[:, None, None] / (1.0 + anp.exp(-margins)), axis=0)
        return -anp.sum(q * (p * anp.log(model) + (1.0 - p) * anp.log(1.0 - model)))

    loss = expected_mixture_loss(annotator, weights, utilities, proposal)
    assert_allclose(loss.weights_gradient, autograd.grad(cross_entropy, 0)(weights, utilities), atol=1e-14)
    assert_allclose(loss.utilities_gradient, autograd.grad(cross_entropy, 1)(weights, utilities), atol=1e-14)


def test_a_population_has_no_divergence_from_itself():
    paper, annotator, q = population(32)
    utilities = [p.log_pmf for p in paper.annotator_distributions]  # over more than a thousand nats
    loss = expected_mixture_loss(annotator, [0.4, 0.6], utilities, q)
    assert loss.value < 1e-30
    assert np.abs(loss.utilities_gradient).max() < 1e-16
    # Control: exchanging the annotators, but not their weights, is another model.
    assert expected_mixture_loss(annotator, [0.6, 0.4], utilities, q).value > 0.01


@pytest.mark.parametrize(("size", "k", "seed"), [(3, 2, 4), (4, 3, 5)])
def test_hessian_is_the_difference_of_gradients(size, k, seed):
    annotator, proposal, weights, utilities = problem(size, k, seed)
    weights = weights / weights.sum()

    def gradient(point):
        logits = point[k * size :]
        shares = np.exp(logits) / np.exp(logits).sum()
        loss = expected_mixture_loss(annotator, shares, point[: k * size].reshape(k, size), proposal)
        in_logits = shares * (loss.weights_gradient - shares @ loss.weights_gradient)
        return np.concatenate([loss.utilities_gradient.ravel(), in_logits])

    point, step = np.concatenate([utilities.ravel(), np.log(weights)]), 1e-5
    shifts = step * np.eye(point.size)
    differences = np.array([(gradient(point + s) - gradient(point - s)) / (2 * step) for s in shifts])
    hessian = expected_mixture_hessian(annotator, weights, utilities, proposal)
    # Truncation of order step² and rounding of order eps / step.
    assert_allclose(hessian, differences, atol=1e-9)
    assert_allclose(hessian, hessian.T, atol=1e-16)


def test_hessian_where_some_answers_are_certain():
    """Answers that are never given count for nothing, without a warning: against differences of gradients."""
    _, proposal, _, utilities = problem(3, 2, 6)
    annotator = pb.PreferenceMatrix([[0.5, 1.0, 0.3], [0.0, 0.5, 1.0], [0.7, 0.0, 0.5]])
    weights, step = np.array([0.25, 0.75]), 1e-5
    hessian = expected_mixture_hessian(annotator, weights, utilities, proposal)
    assert np.isfinite(hessian).all()
    for k, shift in enumerate(step * np.eye(6).reshape(6, 2, 3)):
        ahead, behind = (
            expected_mixture_loss(annotator, weights, utilities + sign * shift, proposal) for sign in (1.0, -1.0)
        )
        slope = (ahead.utilities_gradient - behind.utilities_gradient) / (2.0 * step)
        assert_allclose(hessian[k, :6], slope.ravel(), atol=1e-9)


def test_eigenvalues_outside_what_no_comparison_sees():
    """A matrix with given eigenvalues, 0 along three constants for each annotator's two components and the logits."""
    rng, k, components = np.random.default_rng(7), 2, np.array([0, 0, 1])
    null = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    hidden = np.zeros((8, 5))
    hidden[[0, 1], 0] = hidden[[3, 4], 2] = hidden[[6, 7], 4] = math.sqrt(0.5)
    hidden[2, 1] = hidden[5, 3] = 1.0
    seen = np.linalg.svd(hidden.T)[2][5:] * 1.0
    seen = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ seen
    for scale in (1.0, 1e-9, 1e9):
        for smallest, saddle in ((0.25, False), (-0.25, True), (-1.1e-5, True), (-0.9e-5, False), (0.0, False)):
            hessian = scale * (seen.T * np.array([smallest, 0.5, 1.0])) @ seen
            found = extreme_eigenvalues(hessian, null, k)
            assert found == pytest.approx((scale * smallest, scale), rel=1e-9, abs=1e-14 * scale)
            certificate = certify(hessian, 0.125, null, components, k)
            assert certificate.gradient_norm == 0.125
            assert (certificate.smallest_eigenvalue, certificate.largest_eigenvalue) == found
            assert certificate.is_saddle is saddle
            assert certificate.components is components
    # Nothing is compared: nothing is known, and nothing is a saddle.
    assert extreme_eigenvalues(np.zeros((8, 8)), null, k) == pytest.approx((0.0, 0.0), abs=1e-300)
    assert not is_saddle(0.0, 0.0)
    assert not is_saddle(-1e-5, 1.0)
    assert is_saddle(math.nextafter(-1e-5, -1.0), 1.0)


# ------------------------------------------------------------------------------------------------- identifiability


def rank_deficit(size, k, seed):
    """Directions that the comparisons leave undetermined, beyond the k + 1 constants."""
    rng = np.random.default_rng(seed)
    weights, utilities = rng.uniform(1.0, 2.0, k), rng.standard_normal((k, size))
    annotators = [pb.Annotator(pb.FiniteDistribution(u), pb.luce()) for u in utilities]
    annotator = pb.AnnotatorMixture(weights, annotators)
    hessian = expected_mixture_hessian(annotator, weights, utilities, pb.ProductProposal(np.ones(size)))
    eigenvalues = np.linalg.eigvalsh(hessian)
    # The smallest eigenvalue that is not zero is about 1e-8 at five outcomes; zeros are rounding, about 1e-17.
    return int((eigenvalues < 1e-13 * eigenvalues.max()).sum()) - k - 1


@pytest.mark.parametrize("size", [2, 3, 4])
def test_two_annotators_on_at_most_four_outcomes_are_never_determined(size):
    # 2 (n - 1) + 1 parameters against n (n - 1) / 2 pair probabilities.
    assert rank_deficit(size, 2, seed=size) == 2 * (size - 1) + 1 - size * (size - 1) // 2 > 0


@pytest.mark.parametrize("size", [5, 6])
def test_two_annotators_on_five_outcomes_or_more_are_determined_locally(size):
    assert rank_deficit(size, 2, seed=size) == 0


# ----------------------------------------------------------------------------------- expectation–maximisation itself


def test_first_weights_are_the_triple_loop():
    annotator, proposal, weights, utilities = problem(5, 3, 8)
    p, q = annotator.preference_probabilities(), proposal.matrix(5)
    weights = weights / weights.sum()
    expected = np.zeros(3)
    for a, b in itertools.product(range(5), repeat=2):
        for chance, sign in ((p[a, b], 1.0), (1.0 - p[a, b], -1.0)):
            joint = [w * sigmoid(sign * (u[a] - u[b])) for w, u in zip(weights, utilities, strict=True)]
            for i in range(3):
                expected[i] += q[a, b] * chance * joint[i] / sum(joint)
    seen = []
    fit_annotator_mixture(
        annotator, proposal, 3, start=utilities, weights=weights, noise=0.0, max_steps=1, callback=seen.append
    )
    assert [progress.step for progress in seen] == [0, 1]
    assert_allclose(seen[0].weights, weights, rtol=1e-15)
    assert_allclose(seen[1].weights, expected, rtol=1e-13)


def test_each_newton_step_lowers_the_annotators_own_loss():
    annotator, proposal, weights, utilities = problem(6, 2, 9, spread=4.0)
    p, q = annotator.preference_probabilities(), proposal.matrix(6)
    answers = (q + q.T) * p  # winner, loser
    own = [w * 1.0 / (1.0 + np.exp(u - u[:, None])) for w, u in zip(weights / weights.sum(), utilities, strict=True)]
    responsibilities = [part / sum(own) for part in own]

    def loss(i, u):
        return float((answers * responsibilities[i] * np.logaddexp(0.0, u - u[:, None])).sum())

    seen = []
    fit_annotator_mixture(
        annotator, proposal, start=utilities, weights=weights, noise=0.0, max_steps=1, callback=seen.append
    )
    for i in range(2):
        assert loss(i, seen[1].utilities[i]) < loss(i, utilities[i]) - 1e-4


@settings(max_examples=25)
@given(strategies.problems(max_size=8), st.integers(1, 3), strategies.generators)
def test_the_loss_never_rises(case, k, rng):
    """No iteration of expectation–maximisation raises the loss, whoever the annotators are."""
    start = rng.normal(0.0, 5.0, (k, case.annotator.size))
    solution = fit_annotator_mixture(case.annotator, case.proposal, k, start=start, rng=0, max_steps=15)
    assert (np.diff(solution.losses) < 0.0).all()
    again = expected_mixture_loss(case.annotator, solution.weights, solution.utilities, case.proposal)
    # The utilities that are returned are centred, which moves margins of size 10 by their rounding.
    assert again.value == pytest.approx(solution.loss, rel=1e-9, abs=1e-14)
    assert solution.losses[-1] == solution.loss


def test_newton_without_safeguard_raises_the_loss():
    # Control: the full Newton step from the same start overshoots, so the line search is what keeps the law.
    annotator = pb.Annotator(pb.FiniteDistribution([0.0, 1.0]), pb.luce())
    pair, start = pb.PairListProposal([0], [1]), np.array([8.0, 0.0])
    gradient = pb.expected_kl(annotator, start, pair).gradient
    hessian = pb.expected_hessian("bradley_terry", annotator, start, pair)
    step = -np.linalg.pinv(hessian) @ gradient
    before, after = (pb.expected_kl(annotator, u, pair).value for u in (start, start + step))
    assert after > 100.0 * before
    losses = fit_annotator_mixture(annotator, pair, 1, start=[start], noise=0.0).losses
    assert (np.diff(losses) < 0.0).all()
    assert losses[-1] < 1e-12


@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(s, marks=pytest.mark.slow) for s in range(5, 10))])
def test_recovers_both_annotators_of_the_paper(seed):
    paper, annotator, q = population(64)
    solution = fit_annotator_mixture(annotator, q, reference=paper.reference, rng=seed, max_steps=150)
    assert distance(paper, solution.weights, solution.densities) <= 1e-3
    assert pb.total_variation(solution.marginal, paper.implicit_preference_distribution) <= 1e-3
    assert (np.diff(solution.losses) < 0.0).all()
    assert solution.steps <= 150
    assert not solution.certificate.is_saddle
    assert solution.certificate.gradient_norm < 1e-5


def test_without_noise_it_stays_at_the_single_annotator():
    paper, annotator, q = population(64)
    solution = fit_annotator_mixture(annotator, q, reference=paper.reference, noise=0.0)
    single = pb.minimize_expected_loss("bradley_terry", annotator, q)
    assert_array_equal(solution.utilities[0], solution.utilities[1])
    # Both fits have a curvature of 1e-11 in the tails, where utilities are known to fewer digits.
    fits = [pb.FiniteDistribution(u, paper.grid) for u in (single.value, solution.utilities[0])]
    assert pb.total_variation(*fits) < 1e-9
    assert solution.loss == pytest.approx(pb.expected_kl(annotator, single.value, q).value, rel=1e-12)
    assert distance(paper, solution.weights, solution.densities) > 0.4
    assert solution.certificate.gradient_norm < 1e-10
    assert solution.certificate.is_saddle
    assert not solution.converged


def test_a_saddle_with_a_small_gradient_is_left():
    # With little noise the gradient is within the tolerance near the single-annotator fit, for many iterations.
    paper, annotator, q = population(32)
    seen = []
    solution = fit_annotator_mixture(
        annotator, q, reference=paper.reference, noise=1e-6, rng=3, tolerance=1e-5, callback=seen.append
    )
    early = expected_mixture_loss(annotator, seen[8].weights, seen[8].utilities, q)
    assert np.linalg.norm(early.utilities_gradient) < 1e-6
    assert early.value > 0.1
    assert solution.converged
    assert solution.loss < 1e-4


def test_noise_that_the_loss_cannot_see_leaves_it_at_the_saddle():
    # The loss falls by about the square of the noise, which is below its rounding; the certificate tells.
    paper, annotator, q = population(32)
    solution = fit_annotator_mixture(annotator, q, reference=paper.reference, noise=1e-9, rng=3)
    assert solution.loss > 0.1
    assert solution.certificate.is_saddle
    assert not solution.converged


def test_several_starts_keep_the_best_and_repeat():
    annotator, proposal, _, _ = problem(5, 2, 11)
    arguments = {"noise": 2.0, "n_starts": 4, "max_steps": 40}
    one, two = (fit_annotator_mixture(annotator, proposal, rng=5, **arguments) for _ in range(2))
    assert one.loss == one.start_losses.min() == one.start_losses[one.start]
    assert np.unique(one.start_losses).size > 1
    assert one.utilities.tobytes() == two.utilities.tobytes()
    assert fit_annotator_mixture(annotator, proposal, rng=6, **arguments).loss != one.loss


def test_agrees_with_a_general_optimiser():
    annotator, proposal, _, _ = problem(5, 2, 12)
    solution = fit_annotator_mixture(
        annotator, proposal, noise=1.0, n_starts=8, rng=0, max_steps=3000, tolerance=1e-7
    )

    def objective(point):
        shares = np.exp(point[-2:]) / np.exp(point[-2:]).sum()
        loss = expected_mixture_loss(annotator, shares, point[:-2].reshape(2, 5), proposal)
        slope = shares * loss.weights_gradient
        return loss.value, np.concatenate([loss.utilities_gradient.ravel(), slope - shares * slope.sum()])

    rng = np.random.default_rng(1)
    found = [minimize(objective, rng.standard_normal(12), jac=True, method="L-BFGS-B").fun for _ in range(8)]
    # Neither is proven global; L-BFGS stops at a relative decrease of 1e-9.
    assert solution.loss <= min(found) + 1e-6


# ------------------------------------------------------------------------------------------------ one start, in parts


def one_start(size=5, k=2, seed=21, spread=2.0):
    """Answered pairs, a model, and the projection onto constants."""
    annotator, proposal, weights, utilities = problem(size, k, seed, spread)
    pairs = answered_pairs(annotator, proposal)
    null = null_projection(comparison_components(proposal, size))
    return pairs, evaluate(pairs, weights / weights.sum(), utilities), null, (annotator, proposal)


def pair(p=0.6, utilities=(0.0, 0.0)):
    """One annotator and one pair, won with probability p by the first: the loss in d is softplus(d) - p d."""
    annotator = pb.PreferenceMatrix([[0.5, p], [1.0 - p, 0.5]])
    pairs = answered_pairs(annotator, pb.PairListProposal([0], [1]))
    model = evaluate(pairs, np.ones(1), np.array([utilities], dtype=float))
    expectation = divide_answers(pairs, model)
    answers = [own[:, 0] for own in expectation.answers]
    before = [terms[:, 0] for terms in model.log_sigmoids]
    return pairs, answers, before, np.array(utilities, dtype=float), expectation.gradient[0]


def test_a_run_reports_where_it_ends():
    """Losses before the first and after every iteration; gradient and Hessian of the last model, in all coordinates."""
    pairs, model, null, (annotator, proposal) = one_start()
    seen = []
    run = em.run_one_start(pairs, model, null, 3, 1e-300, lambda step, at: seen.append((step, at)))
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert [at.loss for _, at in seen] == run.losses
    assert seen[0][1] is model
    assert seen[3][1] is run.model
    loss = expected_mixture_loss(annotator, run.model.weights, run.model.utilities, proposal)
    assert run.losses[-1] == pytest.approx(loss.value, rel=1e-12)
    w = run.model.weights
    logits = w * (loss.weights_gradient - w @ loss.weights_gradient)
    norm = math.sqrt((loss.utilities_gradient**2).sum() + (logits**2).sum())
    assert run.gradient_norm == pytest.approx(norm, rel=1e-9)
    hessian = expected_mixture_hessian(annotator, w, run.model.utilities, proposal)
    assert_allclose(run.hessian, hessian, atol=1e-14)
    assert np.abs(run.model.utilities.sum(axis=1)).max() < 1e3


def test_a_run_ends_where_the_gradient_is_within_the_tolerance():
    """Not an iteration later, and the bound itself counts."""
    pairs, model, null, _ = one_start(size=4)
    norms = []
    for steps in range(1, 60):
        run = em.run_one_start(pairs, model, null, steps, 1e-300, lambda *_: None)
        norms.append(run.gradient_norm)
        smallest, largest = extreme_eigenvalues(run.hessian, null, 2)
        if not is_saddle(smallest, largest) and run.gradient_norm == min(norms):
            break
    assert run.gradient_norm == min(norms)
    for tolerance in (run.gradient_norm, 1.0001 * run.gradient_norm):
        ended = em.run_one_start(pairs, model, null, 500, tolerance, lambda *_: None)
        assert len(ended.losses) == len(run.losses)
        assert_allclose(ended.hessian, run.hessian, atol=1e-14)
    assert len(em.run_one_start(pairs, model, null, 500, 0.9999 * run.gradient_norm, lambda *_: None).losses) > len(
        run.losses
    )


def test_saddles_are_looked_at_every_ten_iterations(monkeypatch):
    """A test that says saddle is repeated after ten iterations and no sooner."""
    pairs, model, null, _ = one_start()
    tested, steps = [], []

    def eigenvalues(hessian, null, k):
        tested.append(steps[-1])
        return (-1.0, 1.0) if len(tested) < 3 else (1.0, 1.0)

    monkeypatch.setattr(em, "extreme_eigenvalues", eigenvalues)
    run = em.run_one_start(pairs, model, null, 500, 1e9, lambda step, _: steps.append(step))
    assert tested == [0, 10, 20]
    assert len(run.losses) == 21


def test_a_run_ends_where_no_iteration_lowers_the_loss():
    """At the minimum of one annotator nothing moves: one loss, no iteration, a saddle or not."""
    pairs = answered_pairs(pb.PreferenceMatrix(np.full((3, 3), 0.5)), pb.ProductProposal([1, 1, 1]))
    model = evaluate(pairs, np.ones(1), np.zeros((1, 3)))
    assert model.loss == 0.0
    run = em.run_one_start(pairs, model, np.full((3, 3), 1 / 3), 500, 1e-300, lambda *_: None)
    assert run.losses == [0.0]
    assert run.model is model


def test_newtons_direction_by_hand():
    """-(σ(d) - p) / σ'(d) between the two, without their mean; by at most 20 nats."""
    null = np.full((2, 2), 0.5)
    for d, p in ((0.0, 0.6), (1.0, 0.2), (-2.0, 0.7)):
        pairs, answers, before, _, gradient = pair(p, (d, 0.0))
        assert_allclose(gradient, [sigmoid(d) - p, p - sigmoid(d)], rtol=1e-13)
        full = (p - sigmoid(d)) / (sigmoid(d) * sigmoid(-d))
        step = em.newton_step(pairs, answers, before, gradient, null)
        assert_allclose(step, [0.5 * full, -0.5 * full], rtol=1e-10)
    for d in (8.0, 30.0, 300.0):
        pairs, answers, before, _, gradient = pair(0.5, (d, 0.0))
        step = em.newton_step(pairs, answers, before, gradient, null)
        assert_allclose(step, [-20.0, 20.0], rtol=1e-9)
    pairs, answers, before, _, gradient = pair(0.5, (0.0, 0.0))
    assert_array_equal(em.newton_step(pairs, answers, before, gradient, null), 0.0)
    # Where nothing is answered there is no curvature but the damping, 1e-14, which rounding leaves two digits.
    step = em.newton_step(pairs, [0.0 * own for own in answers], before, np.array([1e-16, -1e-16]), null)
    assert_allclose(step, [-0.01, 0.01], rtol=0.1)
    # The largest change counts: a pair far from its fit, and a third outcome that hardly moves.
    chain = pb.PreferenceMatrix([[0.5, 0.5, 0.5], [0.5, 0.5, 0.6], [0.5, 0.4, 0.5]])
    pairs = answered_pairs(chain, pb.PairListProposal([0, 1], [1, 2]))
    model = evaluate(pairs, np.ones(1), np.array([[30.0, 0.0, 0.0]]))
    expectation = divide_answers(pairs, model)
    own, terms = [o[:, 0] for o in expectation.answers], [t[:, 0] for t in model.log_sigmoids]
    step = em.newton_step(pairs, own, terms, expectation.gradient[0], np.full((3, 3), 1 / 3))
    assert_allclose(step, [-20.0, 10.0, 10.0], rtol=1e-3)
    assert np.abs(step).max() == pytest.approx(20.0, rel=1e-14)


@pytest.mark.parametrize("k", [1, 2])
def test_newtons_direction_is_the_dense_solution(k):
    """The Hessian of each annotator's own loss, Σ own answers · σ'(d), pair by pair."""
    pairs, model, null, (annotator, proposal) = one_start(size=6, k=k)
    expectation = divide_answers(pairs, model)
    p, q = annotator.preference_probabilities(), proposal.matrix(6)
    answered = (q + q.T) * p  # winner, loser
    wins = [w / (1.0 + np.exp(u - u[:, None])) for w, u in zip(model.weights, model.utilities, strict=True)]
    for i in range(k):
        own = answered * wins[i] / sum(wins)
        np.fill_diagonal(own, 0.0)
        slope = wins[i] / model.weights[i]
        pairwise = (own + own.T) * slope * slope.T
        hessian = np.diag(pairwise.sum(axis=1)) - pairwise
        gradient = (own * slope.T).sum(axis=0) - (own * slope.T).sum(axis=1)
        assert_allclose(expectation.gradient[i], gradient, atol=1e-15)
        answers, before = [o[:, i] for o in expectation.answers], [t[:, i] for t in model.log_sigmoids]
        step = em.newton_step(pairs, answers, before, gradient, null)
        assert_allclose(step, -np.linalg.pinv(hessian) @ gradient, rtol=1e-8)


@pytest.mark.parametrize(
    ("length", "halvings"),
    # The least loss is at 0.405 for p = 0.6, and the loss is that of zero again near 0.82.
    [(0.01, 0), (0.405, 0), (0.8, 0), (0.83, 1), (1.6, 1), (1.7, 2), (100.0, 7)],
)
def test_steps_are_halved_until_the_loss_falls(length, halvings):
    pairs, answers, before, start, gradient = pair(0.6)
    found, after = em.line_search(pairs, answers, before, start, gradient, np.array([length, 0.0]))
    assert_allclose(found, [length / 2**halvings, 0.0], rtol=1e-14)
    d = length / 2**halvings
    assert_allclose(after[0], np.log([[sigmoid(d)], [sigmoid(-d)]]), rtol=1e-12)
    assert np.logaddexp(0.0, d) - 0.6 * d < math.log(2.0) < np.logaddexp(0.0, 2 * d) - 1.2 * d or halvings == 0


def test_a_step_must_gain_a_ten_thousandth_of_what_its_slope_promises():
    """A change of exactly that much is enough, a little less is not: then half of the step is taken."""
    _, _, _, start, gradient = pair(0.6)
    step = np.array([1.0, 0.0])
    slope = float((gradient * step).sum())

    class Block:
        def difference(self, utilities, _):
            return utilities[:1] - utilities[1:]

    full = log_sigmoids_of(Block(), start + step)
    for gain, accepted in ((1.001e-4, True), (0.999e-4, False), (-1.0, False)):
        before = [full + np.array([[gain * slope], [0.0]])]
        answers = [np.array([[1.0], [0.0]])]
        # old - new is gain times the slope, whatever the pair.
        found = em.line_search([(Block(), None, None)], answers, before, start, gradient, step)
        assert (found is not None and found[0][0] == 1.0) == accepted


def test_where_no_step_is_taken():
    """Uphill or level there is none; where the slope is rounding any step downhill will do."""
    pairs, answers, before, start, gradient = pair(0.6)
    for direction in ([-1.0, 0.0], [1.0, 1.0], [0.0, 0.0]):
        assert em.line_search(pairs, answers, before, start, gradient, np.array(direction)) is None
    found, _ = em.line_search(pairs, answers, before, start, gradient, np.array([9e-15, 0.0]))
    assert found[0] == 9e-15
    # From here on every step makes it worse; it is halved until its slope is below 1e-15, or fifty times.
    worse = [terms + 1.0 for terms in before]
    tiny = np.array([0.9e-15, 0.0]) / 0.1
    assert em.line_search(pairs, answers, worse, start, gradient, tiny)[0][0] == tiny[0]
    found, _ = em.line_search(pairs, answers, worse, start, gradient, 4.0 * tiny)
    assert found[0] == pytest.approx(tiny[0], rel=1e-12)
    assert em.line_search(pairs, answers, worse, start, gradient, np.array([1e3, 0.0])) is None


def test_densities_follow_the_models_process():
    lengths = np.array([1.0, 2.0, 4.0, 2.0, 1.0])
    process = pb.length_normalized(lengths)
    truth = [pb.FiniteDistribution.from_weights(w) for w in ([9, 1, 1, 1, 1], [1, 1, 1, 1, 9])]
    annotator = pb.AnnotatorMixture([0.4, 0.6], [pb.Annotator(p, process) for p in truth])
    start = [process.utility(p.log_pmf) for p in truth]
    q = pb.ProductProposal(np.ones(5))
    solution = fit_annotator_mixture(annotator, q, pbde=process, start=start, weights=[2, 3], noise=0.0)
    assert solution.converged
    assert solution.steps == 0
    for density, p in zip(solution.densities, truth, strict=True):
        assert pb.total_variation(density, p) < 1e-12
    assert_allclose(solution.marginal.pmf, 0.4 * truth[0].pmf + 0.6 * truth[1].pmf, atol=1e-12)


def test_certain_answers_drive_utilities_apart_without_end():
    always = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    solution = fit_annotator_mixture(always, pb.ProductProposal([1, 1]), 1, max_steps=20, tolerance=1e-30)
    assert solution.loss < 1e-6
    assert np.isfinite(solution.utilities).all()
    assert not solution.converged


def test_each_start_draws_its_noise_from_its_own_child():
    annotator, proposal, _, utilities = problem(4, 2, 14)
    seen = []
    arguments = {"start": utilities, "noise": 0.5, "max_steps": 2, "tolerance": 1e-30}
    solution = fit_annotator_mixture(
        annotator, proposal, n_starts=3, rng=7, weights=[1, 3], callback=seen.append, **arguments
    )
    assert [(progress.start, progress.step) for progress in seen] == [(i, step) for i in range(3) for step in range(3)]
    for i, child in enumerate(np.random.default_rng(7).spawn(3)):
        first = seen[3 * i]
        assert_allclose(first.utilities, utilities + 0.5 * child.standard_normal((2, 4)), rtol=1e-15)
        assert_allclose(first.weights, [0.25, 0.75], rtol=1e-15)
        assert first.loss == pytest.approx(
            expected_mixture_loss(annotator, [1, 3], first.utilities, proposal).value, rel=1e-13
        )
        assert solution.start_losses[i] == seen[3 * i + 2].loss
    assert solution.start == int(np.argmin(solution.start_losses))
    assert solution.steps == 2
    assert_array_equal(solution.losses, [progress.loss for progress in seen if progress.start == solution.start])


def test_a_callback_cannot_disturb_the_run():
    annotator, proposal, _, utilities = problem(4, 2, 15)

    def spoil(progress):
        progress.weights[:] = np.nan
        progress.utilities[:] = np.nan

    one, two = (
        fit_annotator_mixture(annotator, proposal, start=utilities, rng=0, max_steps=3, callback=callback)
        for callback in (spoil, None)
    )
    assert_array_equal(one.utilities, two.utilities)
    assert one.losses.tolist() == two.losses.tolist()


def test_converged_is_what_the_tolerance_says():
    """Where a run was stopped its gradient is just within a tolerance of that size, and above one a little smaller."""
    annotator, proposal, _, utilities = problem(4, 1, 16)

    def fit(tolerance):
        return fit_annotator_mixture(
            annotator, proposal, 1, start=utilities, noise=0.0, max_steps=3, tolerance=tolerance
        )

    stopped = fit(1e-30)
    norm = stopped.certificate.gradient_norm
    assert not stopped.converged
    assert norm > 1e-12
    assert not stopped.certificate.is_saddle
    assert fit(norm).converged
    assert fit(norm).steps == 3
    assert not fit(norm * (1.0 - 1e-9)).converged


def test_the_certificate_is_that_of_the_point():
    annotator, proposal, _, utilities = problem(4, 2, 17)
    solution = fit_annotator_mixture(annotator, proposal, start=utilities, rng=0, max_steps=3, tolerance=1e-30)
    loss = expected_mixture_loss(annotator, solution.weights, solution.utilities, proposal)
    in_logits = solution.weights * (loss.weights_gradient - solution.weights @ loss.weights_gradient)
    norm = math.sqrt((loss.utilities_gradient**2).sum() + (in_logits**2).sum())
    assert solution.certificate.gradient_norm == pytest.approx(norm, rel=1e-9)
    hessian = expected_mixture_hessian(annotator, solution.weights, solution.utilities, proposal)
    values = np.linalg.eigvalsh(hessian)
    assert solution.certificate.largest_eigenvalue == pytest.approx(values[-1], rel=1e-9)
    # Three of the ten are the zeros of the two constants and of the logits.
    zeros = np.argsort(np.abs(values))[:3]
    assert solution.certificate.smallest_eigenvalue == pytest.approx(np.delete(values, zeros).min(), rel=1e-6)
    assert solution.certificate.components.tolist() == [0, 0, 0, 0]
    assert_allclose(solution.utilities.mean(axis=1), 0.0, atol=1e-14)


def test_utilities_are_centred_in_each_component():
    annotator = pb.Annotator(pb.FiniteDistribution([0.0, 1.0, 5.0, 7.0, 2.0]), pb.luce())
    separate = pb.PairListProposal([0, 2], [1, 3])
    solution = fit_annotator_mixture(annotator, separate, 1, start=[[5.0, 5.0, 1.0, 1.0, 9.0]], noise=0.0)
    assert solution.certificate.components.tolist() == [0, 0, 1, 1, 2]
    assert_allclose(solution.utilities, [[-0.5, 0.5, -1.0, 1.0, 0.0]], atol=1e-6)
    assert_allclose(solution.densities[0].log_pmf - solution.utilities[0], solution.densities[0].log_pmf[4], atol=1e-14)


def test_outcomes_that_are_never_compared_need_no_preference():
    """Two outcomes of probability zero that the proposal does not bring together."""
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([1, 0, 0]), pb.luce())
    proposal = pb.JointProposal([[0, 1, 2], [1, 0, 0], [0, 0, 0]])
    utilities = np.array([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
    loss = expected_mixture_loss(annotator, [1, 1], utilities, proposal)
    chances = [sum(sigmoid(u[0] - u[b]) for u in utilities) / 2.0 for b in (1, 2)]
    assert loss.value == pytest.approx(-0.5 * math.log(chances[0]) - 0.5 * math.log(chances[1]), rel=1e-14)
    assert np.isfinite(loss.utilities_gradient).all()


def test_defaults():
    defaults = {name: p.default for name, p in inspect.signature(fit_annotator_mixture).parameters.items()}
    assert (defaults["n_annotators"], defaults["noise"], defaults["n_starts"]) == (2, 1e-4, 1)
    assert (defaults["max_steps"], defaults["tolerance"]) == (1000, 1e-6)


def test_a_pair_list_and_its_matrix_are_the_same_proposal():
    annotator, _, weights, utilities = problem(4, 2, 13)
    pairs = pb.PairListProposal([0, 1, 2, 3, 1, 1], [1, 2, 3, 0, 0, 1], [1, 2, 3, 1, 1, 2])
    joint = pb.JointProposal(pairs.matrix(4))
    one, two = (expected_mixture_loss(annotator, weights, utilities, q) for q in (pairs, joint))
    assert one.value == pytest.approx(two.value, rel=1e-14)
    assert_allclose(one.utilities_gradient, two.utilities_gradient, atol=1e-16)
    assert_allclose(one.weights_gradient, two.weights_gradient, atol=1e-15)
    hessians = [expected_mixture_hessian(annotator, weights, utilities, q) for q in (pairs, joint)]
    assert_allclose(*hessians, atol=1e-16)


# ---------------------------------------------------------------------------------------------------------- refusals

EVEN = pb.Annotator(pb.uniform("abc"), pb.luce())
Q = pb.ProductProposal([1, 1, 1])


@pytest.mark.parametrize(
    ("weights", "utilities", "message"),
    [
        ([1, 1], [[0, 0, 0]], "`weights` must have one entry for each annotator, 1; got 2"),
        ([1], [0, 0, 0], r"`utilities` must have shape \(k, 3\); got \(3,\)"),
        ([1], [[0, 0]], r"`utilities` must have shape \(k, 3\); got \(1, 2\)"),
        ([1], np.zeros((0, 3)), r"`utilities` must have shape \(k, 3\); got \(0, 3\)"),
        ([1], np.zeros((1, 1, 3)), r"`utilities` must have shape \(k, 3\); got \(1, 1, 3\)"),
        ([0.0, 1.0], [[0, 0, 0]] * 2, "`weights` must be positive; got 0.0 at index 0"),
        ([1.0, np.inf], [[0, 0, 0]] * 2, "`weights` must be finite; got inf at index 1"),
        ([1e-300, 1.0], [[0, 0, 0]] * 2, "`weights` must be from 1e-150 to 1e150; got 1e-300 at index 0"),
        ([1.0, 1e308], [[0, 0, 0]] * 2, r"`weights` must be from 1e-150 to 1e150; got 1e\+308 at index 1"),
        ([1.0], [[0, -1e308, 0]], r"`utilities` must be at most 1e300 in size; got -1e\+308 at index \(0, 1\)"),
        ([1.0], [[0, np.inf, 0]], r"`utilities` must be finite; got inf at index \(0, 1\)"),
        ([1.0], [[0, np.nan, 0]], r"`utilities` must be free of NaN; got nan at index \(0, 1\)"),
    ],
)
@pytest.mark.parametrize("function", [expected_mixture_loss, expected_mixture_hessian])
def test_bad_models_are_refused(function, weights, utilities, message):
    with pytest.raises(ValueError, match=message):
        function(EVEN, weights, utilities, Q)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_annotators": 0}, ValueError, "`n_annotators` must be at least 1; got 0"),
        ({"n_annotators": 1.5}, TypeError, "`n_annotators` must be a whole number; got 1.5"),
        ({"start": [[0, 0, 0]]}, ValueError, r"`start` must have shape \(2, 3\); got \(1, 3\)"),
        ({"start": [[0, 0, -np.inf]] * 2}, ValueError, r"`start` must be finite; got -inf at index \(0, 2\)"),
        ({"weights": [1, -1]}, ValueError, "`weights` must be positive; got -1.0 at index 1"),
        ({"weights": [1]}, ValueError, "`weights` must have one entry for each annotator, 2; got 1"),
        ({"noise": -1.0}, ValueError, "`noise` must be non-negative; got -1.0"),
        ({"noise": 0.0, "n_starts": 2}, ValueError, "`n_starts` must be 1 where `noise` is 0"),
        ({"n_starts": 0}, ValueError, "`n_starts` must be at least 1; got 0"),
        ({"max_steps": 0}, ValueError, "`max_steps` must be at least 1; got 0"),
        ({"tolerance": 0.0}, ValueError, "`tolerance` must be positive; got 0.0"),
        ({"reference": pb.uniform("ab")}, ValueError, "`reference` must have 3 outcomes"),
        (
            {"reference": pb.FiniteDistribution.from_weights([1, 1, 0], support="abc")},
            ValueError,
            r"`the reference's utilities` must be finite; got -inf at index \(0, 2\)",
        ),
    ],
)
def test_bad_fits_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fit_annotator_mixture(EVEN, Q, **arguments)


def test_results_are_read_only():
    solution = fit_annotator_mixture(EVEN, Q, max_steps=2)
    loss = expected_mixture_loss(EVEN, [1], [[0, 0, 0]], Q)
    for value in (
        solution.weights, solution.utilities, solution.losses, solution.start_losses, loss.utilities_gradient,
        loss.weights_gradient,
    ):  # fmt: skip
        assert not value.flags.writeable


@pytest.mark.parametrize("weights", [[1e-150, 1e150], [1e150, 1e150], [1e-150, 1e-150]])
@pytest.mark.parametrize(
    "utilities", [[[1e300, -1e300]] * 2, [[-1e300, 1e300], [0.0, 0.0]], [[800.0, 0.0], [0.0, 800.0]]]
)
def test_the_largest_arguments_give_numbers(weights, utilities):
    """At the ends of the ranges that are accepted, for even answers and for answers that never come."""
    for p in (0.5, 1.0):
        annotator = pb.PreferenceMatrix([[0.5, p], [1.0 - p, 0.5]])
        loss = expected_mixture_loss(annotator, weights, utilities, pb.ProductProposal([1, 1]))
        assert np.isfinite([loss.value, loss.cross_entropy]).all()
        assert np.isfinite(loss.utilities_gradient).all()
        assert np.isfinite(loss.weights_gradient).all()
        assert np.isfinite(expected_mixture_hessian(annotator, weights, utilities, pb.ProductProposal([1, 1]))).all()
