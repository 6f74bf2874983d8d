"""Expected losses against cases by hand, the paper's text of Eq. (7) and (8), and arithmetic with 400 digits."""

import dataclasses
import math
import tracemalloc
from collections import namedtuple
from math import inf, log, nan

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import expit

import pbde_ref as pb
from pbde_ref import paper
from tests import paper_on_arrays
from tests.refusals import pattern
from tests.strategies import (
    Problem,
    annotator_mixtures,
    generators,
    preference_matrices,
    problems,
    proposals,
    sizes,
    utilities,
    zero_outcomes,
)

EPS = np.finfo(float).eps
from_weights = pb.FiniteDistribution.from_weights


def luce(*weights):
    return pb.Annotator(from_weights(weights), pb.luce())


def process(chi):
    """An annotator whose utility is `chi` up to a constant and its rounding."""
    return pb.Annotator(pb.FiniteDistribution(chi), pb.luce())


# Double loops


def loss_loop(objective, p, omega, q):
    """Σ_AB q_AB [p_AB ℓ(d) + p_BA ℓ(−d)], its gradient and its Hessian, term by term."""
    n = len(omega)
    value, gradient, hessian = 0.0, np.zeros(n), np.zeros((n, n))
    for a in range(n):
        for b in range(n):
            d = np.array(omega[a] - omega[b])
            value += q[a, b] * (p[a, b] * objective.value(d) + p[b, a] * objective.value(-d))
            slope = q[a, b] * (p[a, b] * objective.derivative(d) - p[b, a] * objective.derivative(-d))
            curvature = q[a, b] * (p[a, b] * objective.second_derivative(d) + p[b, a] * objective.second_derivative(-d))
            gradient[a] += slope
            gradient[b] -= slope
            hessian[a, a] += curvature
            hessian[b, b] += curvature
            hessian[a, b] -= curvature
            hessian[b, a] -= curvature
    return value, gradient, hessian


SQUARED = pb.Objective("squared", lambda m: (m - 1.0) ** 2, lambda m: 2.0 * (m - 1.0), lambda m: 2.0 + 0.0 * m)
EXPONENTIAL = pb.Objective(
    "exponential", lambda m: np.exp(-m / 4), lambda m: -np.exp(-m / 4) / 4, lambda m: np.exp(-m / 4) / 16
)


# Many digits

Exact = namedtuple("Exact", "kl cross_entropy entropy gradient gradient_scale slack")


def exact_sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


def difference(values, a, b):
    """values[a] − values[b], exactly; an outcome compared with itself differs by zero, even at infinity."""
    return mpmath.mpf(0) if a == b else mpmath.mpf(float(values[a])) - mpmath.mpf(float(values[b]))


def exact_probability(annotator, a, b):
    """Prob(A ≻ B) from the annotator's own numbers."""
    if isinstance(annotator, pb.AnnotatorMixture):
        weights = [mpmath.mpf(float(w)) for w in annotator.weights]
        weights = [w / mpmath.fsum(weights) for w in weights]  # rounded, they need not sum to one
        return mpmath.fsum(w * exact_probability(m, a, b) for w, m in zip(weights, annotator.annotators, strict=True))
    if isinstance(annotator, pb.PreferenceMatrix):
        matrix = annotator.preference_probabilities()
        ours, theirs = mpmath.mpf(float(matrix[a, b])), mpmath.mpf(float(matrix[b, a]))
        return ours if ours <= theirs else 1 - theirs
    return exact_sigmoid(difference(annotator.utility, a, b))


def exact_expectations(annotator, omega, q, digits):
    """All expectations by double loops in `digits` digits.

    `gradient_scale` is the gradient's sum of absolute terms. `slack` is what a relative error of 1 in the smaller of
    each pair's two probabilities (annotator's and model's) would do to the KL divergence.
    """
    with mpmath.workdps(digits):
        kl = cross_entropy = entropy = slack = mpmath.mpf(0)
        gradient, scale = [mpmath.mpf(0)] * len(omega), [mpmath.mpf(0)] * len(omega)
        for a, b in zip(*np.nonzero(q), strict=True):
            weight, d = mpmath.mpf(float(q[a, b])), difference(omega, a, b)
            p, p_bar = exact_probability(annotator, a, b), exact_probability(annotator, b, a)
            s, s_bar = exact_sigmoid(d), exact_sigmoid(-d)
            for x, y in ((p, s), (p_bar, s_bar)):
                if x > 0:
                    kl += weight * x * mpmath.log(x / y) if y > 0 else mpmath.inf
                    cross_entropy -= weight * x * mpmath.log(y) if y > 0 else -mpmath.inf
                    entropy -= weight * x * mpmath.log(x)
                    if y > 0:
                        slack += weight * (min(p, p_bar) + min(s, s_bar)) * abs(mpmath.log(x / y))
            for x, slope in ((a, weight * (s - p)), (b, weight * (p - s))):
                gradient[x] += slope
                scale[x] += abs(slope)
        return Exact(
            *map(float, (kl, cross_entropy, entropy)), *([float(x) for x in v] for v in (gradient, scale)), float(slack)
        )


UNDERFLOW = 1e-300  # floats lose digits not far below it, so what is smaller is compared absolutely
DIGITS = 400  # a term of 1e-300 beside 1, with gaps between probabilities of 1e-16 squared, and some 50 digits left


def assert_exact(problem, digits):
    """All of a single process's expectations are right to 1e-12, the gradient relative to its terms' sizes."""
    annotator, omega, proposal = problem
    exact = exact_expectations(annotator, omega, proposal.matrix(annotator.size), digits)
    kl, cross_entropy = pb.expected_kl(*problem), pb.expected_cross_entropy(*problem)
    assert kl.value == pytest.approx(exact.kl, rel=1e-12, abs=UNDERFLOW)
    assert cross_entropy.value == pytest.approx(exact.cross_entropy, rel=1e-12, abs=UNDERFLOW)
    assert pb.expected_entropy(annotator, proposal) == pytest.approx(exact.entropy, rel=1e-12, abs=UNDERFLOW)
    for gradient in (kl.gradient, cross_entropy.gradient):
        for actual, expected, scale in zip(gradient, exact.gradient, exact.gradient_scale, strict=True):
            assert abs(actual - expected) <= 1e-12 * scale + UNDERFLOW


# Cases by hand

FORWARD = pb.JointProposal([[0, 1], [0, 0]])


def test_two_outcomes_by_hand():
    """p = 3/4 and σ(log 2) = 2/3: KL = 3/4 log 9/8 + 1/4 log 3/4, gradient ±(2/3 − 3/4), curvature 2/3 · 1/3."""
    annotator, omega = luce(3, 1), [log(2), 0.0]
    kl, cross_entropy = pb.expected_kl(annotator, omega, FORWARD), pb.expected_cross_entropy(annotator, omega, FORWARD)
    assert kl.value == pytest.approx(3 / 4 * log(9 / 8) + 1 / 4 * log(3 / 4), rel=1e-13)  # this right side cancels
    assert cross_entropy.value == pytest.approx(3 / 4 * log(3 / 2) + 1 / 4 * log(3), rel=8 * EPS)
    assert pb.expected_entropy(annotator, FORWARD) == pytest.approx(2 * log(2) - 3 / 4 * log(3), rel=8 * EPS)
    for loss in (kl, cross_entropy):
        np.testing.assert_allclose(loss.gradient, [-1 / 12, 1 / 12], rtol=32 * EPS)
    hessian = pb.expected_hessian("bradley_terry", annotator, omega, FORWARD)
    np.testing.assert_allclose(hessian, np.array([[2, -2], [-2, 2]]) / 9, rtol=16 * EPS)
    product = pb.expected_hessian_vector_product("bradley_terry", annotator, omega, FORWARD, [9.0, 4.5])
    np.testing.assert_allclose(product, [1.0, -1.0], rtol=16 * EPS)


def test_three_outcomes_by_hand():
    """Weights 1, 2, 4 against a model with odds 1, 1, 2; q is 1/2 on (A, B), 1/4 on (C, B), 1/4 on (C, C).

    p_AB = 1/3 against 1/2, p_CB = 2/3 against 2/3; the diagonal pair is a fair coin for both.
    """
    annotator, omega = luce(1, 2, 4), [0.0, 0.0, log(2)]
    q = pb.PairListProposal([0, 2, 2], [1, 1, 2], [2, 1, 1])
    kl, cross_entropy = pb.expected_kl(annotator, omega, q), pb.expected_cross_entropy(annotator, omega, q)
    third = log(3) - 2 / 3 * log(2)  # entropy of (1/3, 2/3)
    assert kl.value == pytest.approx((log(2) - third) / 2, rel=1e-13)
    assert cross_entropy.value == pytest.approx(log(2) / 2 + third / 4 + log(2) / 4, rel=8 * EPS)
    assert pb.expected_entropy(annotator, q) == pytest.approx(third / 2 + third / 4 + log(2) / 4, rel=8 * EPS)
    np.testing.assert_allclose(kl.gradient, [1 / 12, -1 / 12, 0], atol=4 * EPS)
    hessian = pb.expected_hessian("bradley_terry", annotator, omega, q)
    expected = np.array([[1 / 8, -1 / 8, 0], [-1 / 8, 1 / 8 + 1 / 18, -1 / 18], [0, -1 / 18, 1 / 18]])
    np.testing.assert_allclose(hessian, expected, atol=4 * EPS)


def test_annotator_mixture_by_hand():
    """2/5 · 3/4 + 3/5 · 1/4 = 9/20 against ½: KL = 9/20 log 9/10 + 11/20 log 11/10, slope ½ − 9/20."""
    mixture = pb.AnnotatorMixture([2, 3], [luce(3, 1), luce(1, 3)])
    kl = pb.expected_kl(mixture, [0.0, 0.0], FORWARD)
    assert kl.value == pytest.approx(9 / 20 * log(9 / 10) + 11 / 20 * log(11 / 10), rel=1e-12)
    np.testing.assert_allclose(kl.gradient, [1 / 20, -1 / 20], rtol=32 * EPS)


def test_another_objective_by_hand():
    """ℓ(m) = (m − 1)² at d = 2, p = 3/4: 3/4 · 1 + 1/4 · 9 = 3, slope 3/4 · 2 − 1/4 · (−6) = 3, curvature 2."""
    loss = pb.expected_loss(SQUARED, luce(3, 1), [2.0, 0.0], FORWARD)
    assert loss.value == pytest.approx(3.0, rel=8 * EPS)
    np.testing.assert_allclose(loss.gradient, [3.0, -3.0], rtol=8 * EPS)
    hessian = pb.expected_hessian(SQUARED, luce(3, 1), [2.0, 0.0], FORWARD)
    np.testing.assert_allclose(hessian, [[2.0, -2.0], [-2.0, 2.0]], rtol=8 * EPS)


def test_one_outcome_has_nothing_to_learn():
    annotator, q = luce(1), pb.ProductProposal([1])
    kl, cross_entropy = pb.expected_kl(annotator, [3.0], q), pb.expected_cross_entropy(annotator, [3.0], q)
    assert (kl.value, kl.gradient.tolist()) == (0.0, [0.0])
    assert cross_entropy.value == pytest.approx(log(2), rel=4 * EPS)
    assert pb.expected_hessian("bradley_terry", annotator, [3.0], q).tolist() == [[0.0]]


# Double loops

# The loops' own rounding: each of up to 1,600 terms is right to a few eps of numbers up to about 20, with weights that
# sum to 1. A KL term is a difference of two such numbers, which is why it is compared absolutely.
LOOP = {"rel": 1e-12, "abs": 1e-13}


@given(problems(max_size=20))
def test_values_and_gradients_are_those_of_the_double_loops(problem):
    """Eq. (7), Eq. (8), the entropy between them and their gradient, for annotators and proposals of any kind."""
    annotator, omega, proposal = problem
    p, q = annotator.preference_probabilities(), proposal.matrix(annotator.size)
    kl, cross_entropy = pb.expected_kl(*problem), pb.expected_cross_entropy(*problem)
    assert cross_entropy.value == pytest.approx(paper_on_arrays.cross_entropy(p, omega, q), **LOOP)
    assert kl.value == pytest.approx(paper_on_arrays.kl(p, omega, q), **LOOP)
    assert pb.expected_entropy(annotator, proposal) == pytest.approx(paper_on_arrays.entropy(p, q), **LOOP)
    expected = paper_on_arrays.kl_gradient(p, omega, q)
    for loss in (kl, cross_entropy):
        np.testing.assert_allclose(loss.gradient, expected, atol=LOOP["abs"])


@pytest.mark.parametrize("objective", [pb.BRADLEY_TERRY, SQUARED, EXPONENTIAL], ids=lambda objective: objective.name)
@settings(max_examples=25)
@given(problem=problems(max_size=20))
def test_any_objective_is_that_of_the_double_loop(objective, problem):
    """Σ q [p ℓ(d) + p̄ ℓ(−d)], gradient and Hessian. Losses reach (20 + 1)² = 441, so a few eps of that absolutely."""
    annotator, omega, proposal = problem
    p, q = annotator.preference_probabilities(), proposal.matrix(annotator.size)
    value, gradient, hessian = loss_loop(objective, p, omega, q)
    loss = pb.expected_loss(objective, *problem)
    assert loss.value == pytest.approx(value, rel=1e-12, abs=441 * 16 * EPS)
    np.testing.assert_allclose(loss.gradient, gradient, atol=441 * 16 * EPS)
    np.testing.assert_allclose(pb.expected_hessian(objective, *problem), hessian, rtol=1e-12, atol=441 * 16 * EPS)


def planted(p, omega, q, *, swap_p=False, swap_d=False, drop_complement=False, half=False, independent=False):
    """Eq. (7) with one error."""
    total = 0.0
    n = len(omega)
    for a in range(n):
        for b in range(a + 1 if half else 0, n):
            d = omega[b] - omega[a] if swap_d else omega[a] - omega[b]
            win, lose = (p[b, a], p[a, b]) if swap_p else (p[a, b], p[b, a])
            weight = q[a].sum() * q[:, b].sum() if independent else q[a, b]
            total += weight * (win * np.logaddexp(0.0, -d) + (0.0 if drop_complement else lose * np.logaddexp(0.0, d)))
    return total


def fixed_problem():
    rng = np.random.default_rng(0)
    annotator = pb.Annotator(
        pb.FiniteDistribution(rng.normal(0, 2, 7)), pb.PBDE(rng.uniform(0.5, 2, 7), rng.normal(0, 1, 7))
    )
    return Problem(annotator, rng.normal(0, 2, 7), pb.JointProposal(rng.random((7, 7))))


@pytest.mark.parametrize("error", ["swap_p", "swap_d", "drop_complement", "half", "independent"])
def test_a_planted_error_is_found(error):
    """Negative control: each wrong loop misses the package's value a thousand million times more than the right one."""
    problem = fixed_problem()
    p, q = problem.annotator.preference_probabilities(), problem.proposal.matrix(7)
    actual = pb.expected_cross_entropy(*problem).value
    assert actual == pytest.approx(planted(p, problem.utilities, q), **LOOP)
    assert abs(actual - planted(p, problem.utilities, q, **{error: True})) > 1e-3


def test_a_planted_error_in_the_gradient_is_found():
    """Negative control: with q in place of q + qᵀ, or p in place of its complement, the gradient is another."""
    annotator, omega, proposal = problem = fixed_problem()
    p, q = annotator.preference_probabilities(), proposal.matrix(7)
    actual = pb.expected_kl(*problem).gradient
    one_sided = [sum(q[a, b] * (expit(omega[a] - omega[b]) - p[a, b]) for b in range(7)) for a in range(7)]
    assert np.abs(actual - one_sided).max() > 1e-3
    assert np.abs(actual - paper_on_arrays.kl_gradient(p.T, omega, q)).max() > 1e-3


# Many digits


@settings(max_examples=40)
@given(problem=problems(max_size=5, single=True))
def test_a_process_is_exact_to_twelve_digits(problem):
    """Value and gradient of Eq. (7) and (8) for annotators with f over four decades."""
    assert_exact(problem, DIGITS)


@settings(max_examples=40)
@given(problem=problems(max_size=4, extremes=True))
def test_a_process_is_exact_for_utilities_spread_over_a_thousand(problem):
    """Log-probabilities to −1,000 times f up to 100, against utilities of ±1,000."""
    assert_exact(problem, DIGITS)


@settings(max_examples=40)
@given(
    st.integers(2, 4).flatmap(
        lambda n: st.tuples(utilities(n, 300.0), utilities(n, 1.0), proposals(n, connected=True))
    ),
    st.integers(-14, -1),
)
@example((np.array([0.3, -0.4]), np.array([0.0, 1.0]), FORWARD), -8)
@example((np.array([600.0, 0.0]), np.array([0.0, 1.0]), FORWARD), -8)
def test_a_process_is_exact_however_close_the_model_is(case, exponent):
    """ω = χ + 10^−k: probabilities that differ by 1e-8 leave a KL of 1e-16, still right to twelve digits."""
    chi, direction, proposal = case
    annotator = process(chi)
    assert_exact(Problem(annotator, annotator.utility + 10.0**exponent * direction, proposal), DIGITS)


@pytest.mark.parametrize("gap", [1e-15, 1e-12, 1e-8, 1e-4])
@pytest.mark.parametrize("center", [0.0, 1.0, -30.0, 300.0])
def test_two_outcomes_whose_probabilities_nearly_agree(center, gap):
    annotator = process([center, 0.0])
    omega = [annotator.utility[0] + gap * max(1.0, abs(center)), annotator.utility[1]]
    assert omega[0] != annotator.utility[0]
    assert_exact(Problem(annotator, omega, FORWARD), DIGITS)


def test_a_subtraction_of_rounded_numbers_would_not_pass():
    """Negative control: cross-entropy minus entropy, and the plain loop, lose most digits where KL ≈ 1e-16."""
    annotator = luce(3, 1)
    omega = annotator.utility + np.array([5e-8, 0.0])
    problem = Problem(annotator, omega, FORWARD)
    q = FORWARD.matrix(2)
    exact = exact_expectations(annotator, omega, q, DIGITS).kl
    assert_exact(problem, DIGITS)
    p = annotator.preference_probabilities()
    for naive in (
        pb.expected_cross_entropy(*problem).value - pb.expected_entropy(annotator, FORWARD),
        paper.equation_8(q, lambda a, b: p[a, b], lambda a, b: paper.equation_2(omega, a, b)),
    ):
        assert abs(naive - exact) > 1e-3 * exact


@given(sizes(5).flatmap(lambda n: st.tuples(annotator_mixtures(n), utilities(n), proposals(n))))
def test_an_annotator_mixture_is_exact_up_to_the_rounding_of_its_average(case):
    """KL, cross-entropy, entropy and gradient; the weights of the mixture are themselves rounded.

    A relative error of 32 eps in each pair's smaller probabilities is allowed for beside the twelve digits.
    """
    annotator, omega, proposal = case
    exact = exact_expectations(annotator, omega, proposal.matrix(len(omega)), 700)
    kl, cross_entropy = pb.expected_kl(*case), pb.expected_cross_entropy(*case)
    assert abs(kl.value - exact.kl) <= 1e-12 * exact.kl + 32 * EPS * exact.slack + UNDERFLOW
    assert cross_entropy.value == pytest.approx(exact.cross_entropy, rel=1e-12)
    assert pb.expected_entropy(annotator, proposal) == pytest.approx(exact.entropy, rel=1e-12, abs=UNDERFLOW)
    for loss in (kl, cross_entropy):
        np.testing.assert_allclose(
            loss.gradient, exact.gradient, atol=32 * EPS
        )  # weights sum to 1, differences below 1


@given(sizes(5).flatmap(lambda n: st.tuples(preference_matrices(n, certain=True), utilities(n), proposals(n))))
def test_a_matrix_of_preferences_is_exact_to_twelve_digits(case):
    """Value and gradient of Eq. (7) and (8), the smaller entry of each pair taken as exact."""
    assert_exact(Problem(*case), 100)


@given(st.floats(-300.0, -0.31).map(lambda exponent: 10.0**exponent), st.integers(-16, -1), st.booleans())
@example(0.3, -8, True)
@example(0.5, -8, False)
@example(0.5, -8, True)
@example(1e-9, -8, True)
def test_a_matrix_is_exact_however_close_the_model_is(p, exponent, above):
    """ω_A − ω_B = logit p ± 10^−k: the KL divergence of a probability from a model that all but agrees with it."""
    with mpmath.workdps(60):
        logit = float(mpmath.log(mpmath.mpf(p) / (1 - mpmath.mpf(p))))
    gap = 10.0**exponent * max(1.0, abs(logit))
    annotator = pb.PreferenceMatrix([[0.5, p], [1 - p, 0.5]])
    assert_exact(Problem(annotator, [logit + (gap if above else -gap), 0.0], FORWARD), DIGITS)
    assert_exact(Problem(annotator, [logit, 0.0], FORWARD), DIGITS)


# Derivatives


@pytest.mark.parametrize("objective", ["bradley_terry", SQUARED], ids=["bradley_terry", "squared"])
@given(problem=problems(), rng=generators)
def test_the_hessian_vector_product_is_that_of_the_matrix(objective, problem, rng):
    """(Hv)_A = Σ_B κ_AB (v_A − v_B), to 40 roundings of Σ |H||v|; constants are in the null space."""
    direction = rng.normal(size=problem.annotator.size)
    hessian = pb.expected_hessian(objective, *problem)
    product = pb.expected_hessian_vector_product(objective, *problem, direction)
    scale = np.abs(hessian) @ np.abs(direction)
    assert (np.abs(product - hessian @ direction) <= 80 * EPS * scale + UNDERFLOW).all()
    assert not pb.expected_hessian_vector_product(objective, *problem, np.full(len(direction), 3.0)).any()


# Laws


@given(problems(extremes=True))
def test_all_ways_to_state_a_proposal_agree(problem):
    """q enters by its joint probabilities only: product, joint matrix and list of pairs give the same to 1e-12."""
    annotator, omega, proposal = problem
    matrix = proposal.matrix(annotator.size)
    a, b = np.nonzero(matrix)
    for other in (pb.JointProposal(matrix), pb.PairListProposal(a, b, matrix[a, b])):
        for loss in (pb.expected_kl, pb.expected_cross_entropy):
            ours, theirs = loss(*problem), loss(annotator, omega, other)
            assert theirs.value == pytest.approx(ours.value, rel=1e-12, abs=UNDERFLOW)
            np.testing.assert_allclose(theirs.gradient, ours.gradient, atol=64 * EPS)
        entropy = pb.expected_entropy(annotator, proposal)
        assert pb.expected_entropy(annotator, other) == pytest.approx(entropy, rel=1e-12, abs=UNDERFLOW)
        hessian = pb.expected_hessian("bradley_terry", *problem)
        ours = pb.expected_hessian("bradley_terry", annotator, omega, other)
        np.testing.assert_allclose(ours, hessian, rtol=1e-12, atol=UNDERFLOW)


@given(problems())
def test_kl_is_not_negative_and_entropy_at_most_log_2(problem):
    assert pb.expected_kl(*problem).value >= 0
    assert 0 <= pb.expected_entropy(problem.annotator, problem.proposal) <= log(2) * (1 + 64 * EPS)


@given(problems(single=True, extremes=True))
def test_a_models_own_preferences_cost_exactly_nothing(problem):
    """ω = χ is the minimum: value and gradient are zero, not merely small."""
    loss = pb.expected_kl(problem.annotator, problem.annotator.utility, problem.proposal)
    assert loss.value == 0
    assert not loss.gradient.any()


@given(problems())
def test_the_bradley_terry_objective_is_the_cross_entropy(problem):
    """By its name, by its object, and by Eq. (7)."""
    expected = pb.expected_cross_entropy(*problem)
    for objective in ("bradley_terry", pb.BRADLEY_TERRY):
        loss = pb.expected_loss(objective, *problem)
        assert loss.value == pytest.approx(expected.value, rel=1e-13)
        np.testing.assert_allclose(loss.gradient, expected.gradient, atol=64 * EPS)


# Outcomes of probability zero, and models that exclude outcomes


@given(problems(max_size=12, zeros=True))
def test_annotators_with_zero_probabilities_are_ordinary(problem):
    """An outcome with p* = 0 always loses: the double loops with P of 0 and 1."""
    annotator, omega, proposal = problem
    n = annotator.size
    zeros = zero_outcomes(annotator.distribution)
    p = np.full((n, n), 0.5)
    for a in range(n):
        for b in range(n):
            if a in zeros or b in zeros:
                p[a, b] = 0.5 if a in zeros and b in zeros else float(b in zeros)
            else:
                p[a, b] = expit(annotator.utility[a] - annotator.utility[b])
    q = proposal.matrix(n)
    kl = pb.expected_kl(*problem)
    assert kl.value == pytest.approx(paper_on_arrays.kl(p, omega, q), rel=1e-12, abs=1e-12)
    assert pb.expected_cross_entropy(*problem).value == pytest.approx(
        paper_on_arrays.cross_entropy(p, omega, q), rel=1e-12, abs=1e-12
    )
    entropy = paper_on_arrays.entropy(p, q)
    assert pb.expected_entropy(annotator, proposal) == pytest.approx(entropy, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(kl.gradient, paper_on_arrays.kl_gradient(p, omega, q), atol=1e-12)


@given(problems(max_size=12, zeros=True))
def test_a_policy_that_excludes_what_the_annotator_excludes_costs_exactly_nothing(problem):
    """ω = χ, −∞ at the outcomes with p* = 0 included: the limit of every minimising sequence has KL zero."""
    annotator, _, proposal = problem
    loss = pb.expected_kl(annotator, annotator.utility, proposal)
    assert loss.value == 0
    assert not loss.gradient.any()


def test_an_excluded_outcome_by_hand():
    """p = (1, 0): KL = softplus(−d), a half of the way log 2, and at the limit ω = (0, −∞) zero."""
    annotator = luce(1, 0)
    for d in (0.0, 1.0, 50.0, 700.0):
        loss = pb.expected_kl(annotator, [d, 0.0], FORWARD)
        assert loss.value == pytest.approx(math.log1p(math.exp(-d)), rel=1e-12)
        np.testing.assert_allclose(loss.gradient, np.array([-1, 1]) / (1 + math.exp(d)), rtol=1e-12)
    limit = pb.expected_kl(annotator, [0.0, -inf], FORWARD)
    assert (limit.value, limit.gradient.tolist()) == (0.0, [0.0, 0.0])
    limit = pb.expected_cross_entropy(annotator, [0.0, -inf], FORWARD)
    assert (limit.value, limit.gradient.tolist()) == (0.0, [0.0, 0.0])


@pytest.mark.parametrize("loss", [pb.expected_kl, pb.expected_cross_entropy])
def test_a_model_that_excludes_what_the_annotator_wants_costs_infinitely_much(loss):
    """−p log 0 = ∞, also when p is tiny; the gradient is σ(±∞) − p all the same."""
    result = loss(luce(3, 1), [0.0, -inf], FORWARD)
    assert result.value == inf
    np.testing.assert_allclose(result.gradient, [1 / 4, -1 / 4], rtol=16 * EPS)
    assert loss(process([0.0, -700.0]), [0.0, -inf], FORWARD).value == inf
    assert loss(luce(0, 1), [0.0, -inf], FORWARD).value == inf
    assert loss(pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]]), [-inf, 0.0], FORWARD).value == inf


@pytest.mark.parametrize("loss", [pb.expected_kl, pb.expected_cross_entropy])
def test_an_excluded_outcome_costs_nothing_when_it_is_not_drawn(loss):
    q = pb.PairListProposal([0, 2], [1, 1], [1, 0])
    assert loss(luce(3, 1, 2), [0.0, 0.0, -inf], q).value == loss(luce(3, 1), [0.0, 0.0], FORWARD).value
    assert loss(luce(3, 1, 0), [0.0, 0.0, 5.0], q).value == loss(luce(3, 1), [0.0, 0.0], FORWARD).value


def test_an_excluded_outcome_compared_with_itself_is_a_fair_coin():
    q = pb.JointProposal([[1, 0], [0, 1]])
    for annotator, omega in ((luce(1, 0), [0.0, 0.0]), (luce(1, 1), [0.0, -inf]), (luce(1, 0), [0.0, -inf])):
        kl = pb.expected_kl(annotator, omega, q)
        assert (kl.value, kl.gradient.tolist()) == (0.0, [0.0, 0.0])
        assert pb.expected_cross_entropy(annotator, omega, q).value == pytest.approx(log(2), rel=4 * EPS)


@pytest.mark.parametrize("matrix", [[[0.5, 1.0], [0.0, 0.5]], [[0.5, 0.0], [1.0, 0.5]]])
def test_certain_answers_of_a_matrix_and_of_a_model_agree(matrix):
    omega = [0.0, -inf] if matrix[0][1] else [-inf, 0.0]
    for loss in (pb.expected_kl, pb.expected_cross_entropy):
        result = loss(pb.PreferenceMatrix(matrix), omega, FORWARD)
        assert (result.value, result.gradient.tolist()) == (0.0, [0.0, 0.0])


def test_a_model_without_an_outcome_is_not_curved_there():
    hessian = pb.expected_hessian(
        "bradley_terry", luce(1, 1, 0), [0.0, 0.0, -inf], pb.JointProposal([[0, 1, 1], [0] * 3, [0] * 3])
    )
    np.testing.assert_allclose(hessian, [[1 / 8, -1 / 8, 0], [-1 / 8, 1 / 8, 0], [0, 0, 0]], rtol=8 * EPS)


# Memory


def peak_megabytes(function):
    """Peak of memory allocated during a call, beyond what was there before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        function()
        return (tracemalloc.get_traced_memory()[1] - before) / 2**20
    finally:
        tracemalloc.stop()


N = 2048  # one float64 matrix of this size has 32 MB


def large(kind):
    rng = np.random.default_rng(0)
    single = process(rng.normal(0, 3, N))
    product = pb.ProductProposal(rng.random(N))
    if kind == "product":
        return single, product
    if kind == "two products":
        return single, pb.ProductProposal(rng.random(N), rng.random(N))
    if kind == "joint":
        return single, pb.JointProposal(rng.random((N, N)))
    if kind == "pair list":
        return single, pb.PairListProposal(*rng.integers(N, size=(2, 2_000_000)))
    if kind == "annotator mixture":
        return pb.AnnotatorMixture([1, 2], [single, process(rng.normal(0, 3, N))]), product
    upper = np.triu(rng.random((N, N)), 1)
    return pb.PreferenceMatrix(upper + np.tril(1 - upper.T, -1) + np.eye(N) / 2), product


@pytest.mark.parametrize("kind", ["two products", "joint", "pair list", "annotator mixture", "preference matrix"])
def test_the_kl_divergence_takes_50_megabytes_beyond_its_inputs(kind):
    annotator, proposal = large(kind)
    omega = np.random.default_rng(1).normal(0, 3, N)
    assert peak_megabytes(lambda: pb.expected_kl(annotator, omega, proposal)) < 50


@pytest.mark.parametrize(
    "function",
    [
        pb.expected_kl,
        pb.expected_cross_entropy,
        lambda annotator, omega, proposal: pb.expected_entropy(annotator, proposal),
        lambda *problem: pb.expected_loss(SQUARED, *problem),
        lambda *problem: pb.expected_hessian_vector_product("bradley_terry", *problem, np.ones(N)),
    ],
    ids=["kl", "cross entropy", "entropy", "squared loss", "Hessian-vector product"],
)
def test_every_expectation_takes_50_megabytes_beyond_its_inputs(function):
    annotator, proposal = large("product")
    omega = np.random.default_rng(1).normal(0, 3, N)
    assert peak_megabytes(lambda: function(annotator, omega, proposal)) < 50


def test_the_hessian_takes_50_megabytes_beyond_itself():
    annotator, proposal = large("product")
    assert peak_megabytes(lambda: pb.expected_hessian("bradley_terry", annotator, np.zeros(N), proposal)) < 50 + 32


def test_the_memory_test_sees_a_full_matrix():
    """Negative control: two full matrices exceed the bound."""
    assert peak_megabytes(lambda: np.ones((N, N)) + np.ones((N, N))) > 50


def test_blocks_do_not_show_in_large_sums():
    """At n = 2,048 a product and the same joint matrix agree, and a uniform problem is known in closed form."""
    annotator, proposal = large("product")
    omega = np.random.default_rng(1).normal(0, 3, N)
    joint = pb.JointProposal(proposal.matrix(N))
    ours, theirs = pb.expected_kl(annotator, omega, proposal), pb.expected_kl(annotator, omega, joint)
    assert theirs.value == pytest.approx(ours.value, rel=1e-12)
    np.testing.assert_allclose(theirs.gradient, ours.gradient, atol=64 * EPS)
    # two halves at margin 1: half of all pairs cross, each with cross-entropy softplus(1) − 1/2
    uniform = pb.Annotator(pb.uniform(range(N)), pb.luce())
    steps = np.arange(N) % 2.0
    expected = log(2) / 2 + (math.log1p(math.e) - 1 / 2) / 2
    assert pb.expected_cross_entropy(uniform, steps, pb.ProductProposal(np.ones(N))).value == pytest.approx(
        expected, rel=1e-12
    )


# Values that do not change


def test_inputs_stay_as_they_are_and_results_are_read_only():
    annotator, omega, proposal = fixed_problem()
    before = omega.copy()
    loss = pb.expected_kl(annotator, omega, proposal)
    pb.expected_hessian("bradley_terry", annotator, omega, proposal)
    np.testing.assert_array_equal(omega, before)
    with pytest.raises(ValueError, match="read-only"):
        loss.gradient[0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.value = 0.0


def test_equal_calls_give_equal_bytes():
    first, second = pb.expected_kl(*fixed_problem()), pb.expected_kl(*fixed_problem())
    assert (first.value, first.gradient.tobytes()) == (second.value, second.gradient.tobytes())
    assert type(first.value) is float


# Bad input

TWO, THREE, EXCLUDING = luce(3, 1), luce(1, 1, 1), luce(1, 0, 0)
Q2, Q3 = pb.ProductProposal([1, 1]), pb.ProductProposal([1, 1, 1])

LOSSES = {
    "kl": pb.expected_kl,
    "cross entropy": pb.expected_cross_entropy,
    "loss": lambda *arguments: pb.expected_loss("bradley_terry", *arguments),
    "hessian": lambda *arguments: pb.expected_hessian("bradley_terry", *arguments),
    "product": lambda a, w, q: pb.expected_hessian_vector_product("bradley_terry", a, w, q, np.zeros(a.size)),
}

BAD = {
    "utilities' size": (TWO, [0, 0, 0], Q2, ValueError, "`utilities` must have 2 outcomes*; got 3"),
    "proposal's size": (TWO, [0, 0], Q3, ValueError, "`proposal` must have 2 outcomes*; got 3"),
    "joint proposal's size": (
        TWO,
        [0, 0],
        pb.JointProposal(np.eye(3)),
        ValueError,
        "`proposal` must have 2 outcomes*; got 3",
    ),
    "index": (TWO, [0, 0], pb.PairListProposal([0], [2]), ValueError, "`x_b` must be *below *2; got 2 at index 0"),
    "utilities NaN": (TWO, [0, nan], Q2, ValueError, "`utilities` must be free of NaN; got nan at index 1"),
    "utilities' type": (TWO, ["a", "b"], Q2, TypeError, "`utilities` must be an array of real numbers; got ['a', 'b']"),
    "utilities a matrix": (TWO, [[0, 0]], Q2, ValueError, "`utilities` must be a vector *; got shape (1, 2)"),
    "utilities a number": (TWO, 0.0, Q2, ValueError, "`utilities` must be a vector *; got shape ()"),
    "both +inf": (TWO, [inf, inf], Q2, ValueError, "`utilities` must not be *got inf at indices 0 and 1"),
    "both −inf": (THREE, [0, -inf, -inf], Q3, ValueError, "`utilities` must not be *got -inf at indices 1 and 2"),
    "proposal's type": (TWO, [0, 0], "q", TypeError, "`proposal` must be *; got str"),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case, loss):
    *arguments, error, message = BAD[case]
    with pytest.raises(error, match=pattern(message)):
        LOSSES[loss](*arguments)


@pytest.mark.parametrize("method", ["dense", "kernel_sum"])
@pytest.mark.parametrize(
    "loss",
    [
        pb.expected_kl,
        pb.expected_cross_entropy,
        lambda *problem, method: pb.expected_hessian_vector_product("bradley_terry", *problem, [1, 0, 0], method),
    ],
    ids=["kl", "cross entropy", "product"],
)
def test_no_method_takes_an_annotator_of_another_size(loss, method):
    """Also where the sum itself would not look at the annotator."""
    with pytest.raises(ValueError, match="must have 2 outcomes, one for each of the support; got 3"):
        loss(TWO, [0, 0, 0], Q3, method=method)


@pytest.mark.parametrize("loss", ["kl", "cross entropy", "loss"])
@pytest.mark.parametrize("annotator", ["a", pb.luce(), np.eye(2)], ids=["text", "process", "array"])
def test_a_wrong_annotator_is_named(loss, annotator):
    with pytest.raises(TypeError, match=r"`annotator` must be .*; got "):
        LOSSES[loss](annotator, [0, 0], Q2)


@pytest.mark.parametrize("loss", ["kl", "cross entropy", "loss"])
@pytest.mark.parametrize(
    "annotator",
    [EXCLUDING, pb.AnnotatorMixture([1, 1], [THREE, EXCLUDING])],
    ids=["process", "mixture"],
)
@pytest.mark.parametrize(
    "proposal",
    [Q3, pb.JointProposal([[1, 1, 0], [0, 0, 0], [0, 1, 0]]), pb.PairListProposal([0, 1], [1, 2], [1, 1e-300])],
    ids=["product", "joint", "pair list"],
)
def test_a_comparison_of_two_excluded_outcomes_is_an_error(proposal, annotator, loss):
    """p = 0 on both sides of a pair that the proposal draws is 0/0: named with both indices."""
    message = "must not .*at both outcomes of a pair.*got -inf at indices (1 and 2|2 and 1)"
    with pytest.raises(ValueError, match=message):
        LOSSES[loss](annotator, [0.0, 0.0, 0.0], proposal)
    with pytest.raises(ValueError, match=message):
        pb.expected_entropy(annotator, proposal)


@pytest.mark.parametrize("loss", ["kl", "cross entropy", "loss"])
def test_two_excluded_outcomes_are_no_error_when_they_are_not_compared(loss):
    q = pb.PairListProposal([0, 0, 1], [1, 2, 2], [1, 1, 0])
    result = LOSSES[loss](EXCLUDING, [0.0, 0.0, 0.0], q)
    assert result.value == pytest.approx(log(2), rel=4 * EPS)
    np.testing.assert_allclose(result.gradient, [-1 / 2, 1 / 4, 1 / 4], rtol=8 * EPS)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pb.expected_kl(TWO, [0, 0], Q2, method="fast"), ValueError, "`method` must be *; got 'fast'"),
        (lambda: pb.expected_loss("logistic", TWO, [0, 0], Q2), ValueError, "`objective` must be *; got 'logistic'"),
        (lambda: pb.expected_hessian("logistic", TWO, [0, 0], Q2), ValueError, "`objective` must be *; got 'logistic'"),
        (
            lambda: pb.expected_hessian_vector_product("bradley_terry", TWO, [0, 0], Q2, [1, 2, 3]),
            ValueError,
            "`direction` must have 2 outcomes*; got 3",
        ),
        (
            lambda: pb.expected_hessian_vector_product("bradley_terry", TWO, [0, 0], Q2, [1, nan]),
            ValueError,
            "`direction` must be free of NaN; got nan at index 1",
        ),
        (
            lambda: pb.expected_hessian_vector_product("bradley_terry", TWO, [0, 0], Q2, [1, inf]),
            ValueError,
            "`direction` must be finite; got inf at index 1",
        ),
        (lambda: pb.expected_entropy(TWO, Q3), ValueError, "`proposal` must have 2 outcomes*; got 3"),
        (lambda: pb.expected_entropy("a", Q2), TypeError, "`annotator` must be *; got "),
    ],
)
def test_other_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=pattern(message)):
        call()
