"""Reward maximisation with KL control (Eq. 3–5, 12, 13): the objective, its gradient, and where ascent ends."""

import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import pbde_ref as pb
from tests.paper_on_arrays import controlled_reward, controlled_reward_gradient
from tests.strategies import distributions, utilities

NAN, INF = math.nan, math.inf
BETAS = st.floats(min_value=-2.0, max_value=2.0).map(lambda exponent: 10.0**exponent)


def random_problem(seed, n=6, spread=2.0):
    rng = np.random.default_rng(seed)
    reference = pb.FiniteDistribution(rng.normal(0, spread, n))
    return rng.normal(0, spread, n), rng.normal(0, spread, n), float(np.exp(rng.normal())), reference


# --- The objective ---


def test_objective_by_hand():
    """Eq. (12): π = (3/4, 1/4), π_pre = (1/2, 1/2), r = (1, 5), β = 2 gives 2 − 2(¾ log 3/2 − ¼ log 2)."""
    policy, reference = pb.FiniteDistribution.from_weights([3, 1]), pb.uniform([0, 1])
    expected = 2.0 - 2.0 * (0.75 * math.log(1.5) - 0.25 * math.log(2.0))
    # 1e-15 relative: a handful of float64 roundings of terms of size 1.
    assert pb.kl_controlled_objective(policy, [1.0, 5.0], 2.0, reference) == pytest.approx(expected, rel=4e-16 * 8)


@given(policy=distributions(zeros=True), data=st.data(), beta=BETAS)
def test_objective_is_the_sum_of_eq_12(policy, data, beta):
    """J(π) = Σ π r − β Σ π log(π / π_pre), −∞ where π leaves the support of π_pre."""
    reference, rewards = data.draw(distributions(len(policy), zeros=True)), data.draw(utilities(len(policy), 50.0))
    value = pb.kl_controlled_objective(policy, rewards, beta, reference)
    expected = controlled_reward(policy.log_pmf, rewards, beta, reference.log_pmf)
    # n ≤ 40 terms, each rounded relative to the largest that can occur: max|r| + β·max|log π/π_pre|.
    finite = [abs(a - b) for a, b in zip(policy.log_pmf, reference.log_pmf, strict=True) if a > -INF and b > -INF]
    scale = 50.0 + beta * max([1.0, *finite])
    assert value == pytest.approx(expected, rel=0, abs=1e-13 * scale)


@pytest.mark.parametrize("seed", range(3))
def test_without_penalty_the_objective_is_eq_3(seed):
    """β = 0 leaves E_π[r], Eq. (3), whatever the reference excludes."""
    logits, rewards, _, _ = random_problem(seed)
    policy = pb.FiniteDistribution(logits)
    value = pb.kl_controlled_objective(policy, rewards, 0.0, pb.FiniteDistribution([0.0] + [-INF] * 5))
    assert value == pytest.approx(math.fsum(policy.pmf * rewards), rel=1e-14, abs=1e-14)  # rounding of six terms


def test_leaving_the_reference_costs_infinity():
    """For β > 0 a policy outside the support of the reference has J = −∞; a policy inside it does not."""
    half, reference = pb.uniform([0, 1]), pb.FiniteDistribution.from_weights([1, 0])
    assert pb.kl_controlled_objective(half, [1.0, 2.0], 1e-300, reference) == -INF
    assert pb.kl_controlled_objective(reference, [1.0, 2.0], 1.0, half) == pytest.approx(1 - math.log(2), rel=1e-15)


# --- Notes 3.6: the objective as a reverse KL divergence ---


@pytest.mark.parametrize("seed", range(4))
def test_tilted_reference_is_the_unique_maximiser(seed):
    """Eq. (13) attains β log Z, and every other policy stays below it by β KL(π ‖ Eq. 13) > 0."""
    _, rewards, beta, reference = random_problem(seed)
    best = pb.tilt(reference, rewards, beta)
    greatest = beta * pb.log_partition(rewards, beta, reference)
    assert pb.kl_controlled_objective(best, rewards, beta, reference) == pytest.approx(greatest, rel=1e-13, abs=1e-13)
    rng = np.random.default_rng(seed)
    for scale in (1e-3, 1e-1, 1.0):
        other = pb.FiniteDistribution(best.log_pmf + rng.normal(0, scale, 6))
        shortfall = greatest - pb.kl_controlled_objective(other, rewards, beta, reference)
        assert shortfall > 0
        # The difference of two numbers of size 10 carries an absolute error of 1e-14.
        assert shortfall == pytest.approx(beta * pb.kl_divergence(other, best), abs=1e-13, rel=1e-9)


def test_another_temperature_is_not_the_maximiser():
    """Control: tilting with 2β or with r in place of r/β falls measurably short of β log Z."""
    _, rewards, _, reference = random_problem(0)
    greatest = 0.5 * pb.log_partition(rewards, 0.5, reference)
    for wrong_beta in (1.0, 0.25):
        wrong = pb.tilt(reference, rewards, wrong_beta)
        assert greatest - pb.kl_controlled_objective(wrong, rewards, 0.5, reference) > 1e-2


@pytest.mark.parametrize("seed", range(3))
def test_scipy_reaches_eq_13_on_an_own_loss(seed):
    """A numerical optimiser that knows only the loop of Eq. (12) ends at π_pre e^{r/β}/Z."""
    _, rewards, beta, reference = random_problem(seed, n=4, spread=1.0)

    def negative_objective(free):
        logits = np.append(free, 0.0)
        log_policy = logits - np.log(np.sum(np.exp(logits)))
        return -controlled_reward(log_policy, rewards, beta, reference.log_pmf)

    found = minimize(negative_objective, np.zeros(3), method="BFGS", options={"gtol": 1e-7})
    weights = np.exp(np.append(found.x, 0.0))
    # BFGS with difference quotients stops at a gradient of about 1e-7, divided by curvatures down to 1e-2.
    np.testing.assert_allclose(weights / weights.sum(), pb.tilt(reference, rewards, beta).pmf, atol=1e-4)


def test_log_partition_of_large_rewards():
    """log Z neither overflows nor loses a common offset of the rewards."""
    assert pb.log_partition([1e6, 1e6], 1.0, pb.uniform([0, 1])) == 1e6
    assert pb.log_partition([-1e6, -1e6 + math.log(3.0)], 1.0, pb.uniform([0, 1])) == pytest.approx(
        -1e6 + math.log(2.0),
        abs=4e-10,  # two spacings of float64 at 1e6
    )


def test_log_partition_ignores_excluded_outcomes():
    """An outcome with π_pre = 0 adds nothing to Z, however large its reward."""
    assert pb.log_partition([2.0, 1e9], 2.0, pb.FiniteDistribution.from_weights([1, 0])) == pytest.approx(1.0)


def test_log_partition_of_a_rare_but_rewarding_outcome():
    """log Z = log(1 + e^{−1000 + 2000}) = 1000: a probability too small for float64 counts if its reward is large."""
    rare = pb.FiniteDistribution([0.0, -1000.0])
    assert pb.log_partition([0.0, 2000.0], 1.0, rare) == pytest.approx(1000.0, rel=1e-15)
    # The policy that Eq. (13) makes of it attains it.
    best = pb.tilt(rare, [0.0, 2000.0], 1.0)
    assert pb.kl_controlled_objective(best, [0.0, 2000.0], 1.0, rare) == pytest.approx(1000.0, rel=1e-15)


# --- The gradient ---


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("beta", [0.0, 0.1, 3.0])
def test_gradient_is_the_sum_of_eq_5(seed, beta):
    """∇J = E_π[(r − β log π/π_pre) ∇ log π], Eq. (5), and for β = 0 it is Eq. (4)."""
    logits, rewards, _, reference = random_problem(seed)
    log_policy = pb.FiniteDistribution(logits).log_pmf
    gradient = pb.policy_gradient(logits, rewards, beta, reference)
    # 36 terms of size at most 30.
    np.testing.assert_allclose(
        gradient, controlled_reward_gradient(log_policy, rewards, beta, reference.log_pmf), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("beta", [0.0, 0.1, 3.0])
def test_gradient_agrees_with_automatic_differentiation(seed, beta):
    """autograd applied to Eq. (12) gives Eq. (5)."""
    logits, rewards, _, reference = random_problem(seed)

    def objective(theta):
        log_policy = theta - anp.log(anp.sum(anp.exp(theta)))
        return anp.sum(anp.exp(log_policy) * (rewards - beta * (log_policy - reference.log_pmf)))

    np.testing.assert_allclose(
        pb.policy_gradient(logits, rewards, beta, reference), autograd.grad(objective)(logits), rtol=1e-12, atol=1e-13
    )


def test_gradient_by_hand():
    """π = (1/2, 1/2), A = (1, 0): ½(1 − ½) = ¼ and −¼, and with β = 1, π_pre = (e/(1+e), 1/(1+e)) also A = (1, 0)."""
    half = pb.uniform([0, 1])
    np.testing.assert_allclose(pb.policy_gradient([3.0, 3.0], [1.0, 0.0], 0.0, half), [0.25, -0.25], rtol=1e-15)
    skewed = pb.FiniteDistribution([1.0, 0.0])
    np.testing.assert_allclose(pb.policy_gradient([3.0, 3.0], [0.0, 0.0], 1.0, skewed), [0.25, -0.25], rtol=1e-15)


@pytest.mark.parametrize("seed", range(4))
def test_gradient_vanishes_at_eq_13_only(seed):
    """The gradient is zero at the tilted reference and, as control, not beside it."""
    _, rewards, beta, reference = random_problem(seed)
    best = pb.tilt(reference, rewards, beta)
    at_best = pb.policy_gradient(best.log_pmf, rewards, beta, reference)
    assert np.max(np.abs(at_best)) < 1e-14 * (1 + beta) * 20  # rounding of advantages of size 20
    beside = pb.policy_gradient(best.log_pmf + 0.1 * np.arange(6), rewards, beta, reference)
    assert np.max(np.abs(beside)) > 1e-4 * beta


# --- Gradient ascent ---


@pytest.mark.parametrize("beta", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("seed", range(3))
def test_gradient_ascent_reaches_eq_13(seed, beta):
    """Plain ascent along Eq. (5) ends at π_pre e^{r/β}/Z, and says how far from it."""
    rng = np.random.default_rng(seed)
    reference = pb.FiniteDistribution(rng.normal(0, 0.5, 4))
    rewards = beta * rng.normal(0, 0.7, 4)
    solution = pb.gradient_ascent(rewards, beta, reference)
    best = pb.tilt(reference, rewards, beta)
    assert solution.converged
    assert solution.gradient_norm <= 1e-10 * beta
    # A gradient of 1e-10·β on curvature β·π with π above 0.02.
    assert pb.total_variation(solution.policy, best) < 1e-7
    assert 0 <= solution.gap <= 1e-12 * beta
    assert solution.objective == pytest.approx(pb.kl_controlled_objective(solution.policy, rewards, beta, reference))


def test_gradient_ascent_certifies_its_gap():
    """Stopped early, `gap` is β log Z − J(π) = β KL(π ‖ Eq. 13), and `converged` is False."""
    reference, rewards = pb.FiniteDistribution.from_weights([0.2, 0.3, 0.5]), [1.0, 0.0, -1.0]
    stopped = pb.gradient_ascent(rewards, 2.0, reference, max_steps=2)
    assert (stopped.converged, stopped.steps) == (False, 2)
    log_z = math.log(0.2 * math.exp(0.5) + 0.3 + 0.5 * math.exp(-0.5))
    objective = controlled_reward(stopped.policy.log_pmf, rewards, 2.0, reference.log_pmf)
    # Both sides are differences of numbers of size 1.
    assert stopped.gap == pytest.approx(2.0 * log_z - objective, abs=1e-14)
    assert stopped.gap > 1e-3


def test_logits_near_the_largest_number_leave_no_warning():
    """Log-probabilities of two policies, each near -1.7e308, have no sum."""
    reference = pb.FiniteDistribution.from_weights([0.35, 0.2, 0.21, 0.14, 0.1])
    solution = pb.gradient_ascent([0.82, -0.79, 0.13, -0.11, 0.54], 1e-308, reference, learning_rate=0.5, max_steps=30)
    np.testing.assert_array_equal(solution.policy.pmf, [1.0, 0.0, 0.0, 0.0, 0.0])


def test_gradient_ascent_takes_the_steps_of_its_formula():
    """θ ← θ + (η/β) ∇J(θ), from θ = log π_pre, step by step."""
    reference, rewards, beta, rate = pb.FiniteDistribution.from_weights([1, 2, 5]), np.array([1.0, 0.0, 2.0]), 0.5, 0.3
    theta = np.log([0.125, 0.25, 0.625])
    for _ in range(3):
        log_policy = theta - math.log(math.fsum(np.exp(theta)))
        theta = theta + rate / beta * controlled_reward_gradient(log_policy, rewards, beta, reference.log_pmf)
    solution = pb.gradient_ascent(rewards, beta, reference, learning_rate=rate, max_steps=3)
    np.testing.assert_allclose(solution.policy.pmf, np.exp(theta) / np.sum(np.exp(theta)), rtol=1e-13)


def test_gradient_ascent_starts_at_its_optimum_without_rewards():
    """With equal rewards the reference is optimal already: no step is needed."""
    solution = pb.gradient_ascent([3.0, 3.0], 1.0, pb.FiniteDistribution.from_weights([1, 4]))
    assert solution.converged
    assert solution.steps <= 1
    np.testing.assert_allclose(solution.policy.pmf, [0.2, 0.8], rtol=1e-14)


def test_gradient_ascent_never_calls_a_false_stop_converged():
    """A step so large that the softmax saturates has a vanishing gradient but a large gap: that is not converged."""
    solution = pb.gradient_ascent([1.0, 2.0], 1.0, pb.uniform([0, 1]), learning_rate=100.0, max_steps=1000)
    assert not (solution.converged and solution.gap > 1e-3)


# --- Bad input ---

HALF, EDGE = pb.uniform([0, 1]), pb.FiniteDistribution.from_weights([1, 0])
OTHER, THREE = pb.uniform(["a", "b"]), pb.uniform([0, 1, 2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pb.kl_controlled_objective(HALF, [1, 2], -1.0, HALF), ValueError, "`beta`.*-1"),
        (lambda: pb.kl_controlled_objective(HALF, [1, 2], NAN, HALF), ValueError, "`beta`.*nan"),
        (lambda: pb.kl_controlled_objective(HALF, [1, 2], INF, HALF), ValueError, "`beta`.*inf"),
        (lambda: pb.kl_controlled_objective(HALF, [1, NAN], 1.0, HALF), ValueError, "`rewards`.*nan at index 1"),
        (lambda: pb.kl_controlled_objective(HALF, [INF, 1], 1.0, HALF), ValueError, "`rewards`.*inf at index 0"),
        (lambda: pb.kl_controlled_objective(HALF, [1, 2, 3], 1.0, HALF), ValueError, "`rewards`.*2.*3"),
        (lambda: pb.kl_controlled_objective(HALF, [1, 2], 1.0, THREE), ValueError, "2.*3|3.*2"),
        (lambda: pb.kl_controlled_objective(HALF, [1, 2], 1.0, OTHER), ValueError, "support"),
        (lambda: pb.policy_gradient([NAN, 0], [1, 2], 1.0, HALF), ValueError, "`logits`.*nan at index 0"),
        (lambda: pb.policy_gradient([-INF, 0], [1, 2], 1.0, HALF), ValueError, "`logits`.*inf at index 0"),
        (lambda: pb.policy_gradient([0, 0], [1, 2], 1.0, EDGE), ValueError, "`reference`.*0.0 at index 1"),
        (lambda: pb.policy_gradient([0, 0], [1, 2], -0.5, HALF), ValueError, "`beta`.*-0.5"),
        (lambda: pb.policy_gradient([0, 0, 0], [1, 2], 1.0, HALF), ValueError, "3.*2|2.*3"),
        (lambda: pb.log_partition([1, 2], 0.0, HALF), ValueError, "`beta`.*positive.*0"),
        (lambda: pb.log_partition([1, NAN], 1.0, HALF), ValueError, "`rewards`.*nan at index 1"),
        (lambda: pb.tilt(HALF, [1, 2], 0.0), ValueError, "`beta`.*positive.*0"),
        (lambda: pb.tilt(HALF, [NAN, 2], 1.0), ValueError, "`rewards`.*nan at index 0"),
        (lambda: pb.tilt(HALF, [1, INF], 1.0), ValueError, "`rewards`.*inf at index 1"),
        (lambda: pb.tilt(EDGE, [-INF, 0], 1.0), ValueError, "`rewards`"),
        (lambda: pb.gradient_ascent([1, 2], 0.0, HALF), ValueError, "`beta`.*positive.*0"),
        (lambda: pb.gradient_ascent([1, NAN], 1.0, HALF), ValueError, "`rewards`.*nan at index 1"),
        (lambda: pb.gradient_ascent([1, 2], 1.0, EDGE), ValueError, "`reference`.*0.0 at index 1"),
        (lambda: pb.gradient_ascent([1, 2], 1.0, HALF, learning_rate=0.0), ValueError, "`learning_rate`.*0"),
        (lambda: pb.gradient_ascent([1, 2], 1.0, HALF, tolerance=-1.0), ValueError, "`tolerance`.*-1"),
        (lambda: pb.gradient_ascent([1, 2], 1.0, HALF, max_steps=1.5), (TypeError, ValueError), "`max_steps`.*1.5"),
        (lambda: pb.gradient_ascent([1, 2], "much", HALF), (TypeError, ValueError), "`beta`.*much"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    """A wrong argument raises before any arithmetic and names the argument, the rule and what came."""
    with pytest.raises(error, match=message):
        call()
