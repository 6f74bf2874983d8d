"""Networks, Adam, sampled losses and training, each against an independent path."""

from fractions import Fraction

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, value_and_grad
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp

import pbde_ref as pb
from pbde_ref.models.adam import BLOCK, AdamState, adam_step, cosine_decay, initial_adam_state, warmup_cosine
from pbde_ref.models.mlp import MLP, energy_log_policy, mixture_log_policies
from pbde_ref.models.sampled_losses import margins, mean_loss, mean_mixture_loss
from pbde_ref.models.training import train
from pbde_ref.sampling.comparisons import observed_preferences

GRID = np.linspace(-10.0, 10.0, 17)
RATES = "learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay"


def transcribed_adam(gradients, learning_rate, weight_decay, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Kingma and Ba's algorithm for one number, step by step, with bias correction as they write it."""
    theta, m, v = 1.0, 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g * g
        m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
        theta = theta - learning_rate * m_hat / (v_hat**0.5 + epsilon) - learning_rate * weight_decay * theta
    return theta


def transcribed_network(parameters, x, layers, width):
    """Table 1 for one input, unit by unit."""
    position = 0

    def take(count):
        nonlocal position
        position += count
        return parameters[position - count : position]

    values = [x]
    for index, units in enumerate([width] * layers + [1]):
        weights, biases = take(len(values) * units), take(units)
        sums = [sum(values[i] * weights[i * units + j] for i in range(len(values))) + biases[j] for j in range(units)]
        values = [float(np.tanh(s)) for s in sums] if index < layers else sums
    assert position == len(parameters)
    return values[0]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.sampled_from([0.0, 0.1]))
def test_adam_follows_the_published_algorithm(gradients, weight_decay):
    """θ after any sequence of gradients is that of the algorithm as published."""
    parameters = np.ones(1)
    state = initial_adam_state(parameters)
    for g in gradients:
        parameters, state = adam_step(parameters, np.array([g]), state, learning_rate=0.01, weight_decay=weight_decay)
    expected = transcribed_adam(gradients, 0.01, weight_decay)
    # The square roots are taken of the same numbers in another order of operations.
    assert parameters[0] == pytest.approx(expected, rel=1e-12, abs=1e-14)
    assert state.steps == len(gradients)


def test_adam_changes_nothing_in_place():
    parameters, gradient = np.ones(3), np.arange(3.0)
    state = AdamState(np.full(3, 0.1), np.full(3, 0.2), 4)
    adam_step(parameters, gradient, state, learning_rate=0.1, weight_decay=0.1)
    assert (parameters == 1.0).all()
    assert (state.first_moment == 0.1).all()
    assert (state.second_moment == 0.2).all()


def test_adams_rates_may_be_any_real_numbers():
    half, parameters = Fraction(1, 2), np.ones(2)
    found = [
        adam_step(parameters, parameters, initial_adam_state(parameters), **dict.fromkeys(RATES, rate))[0]
        for rate in (half, 0.5)
    ]
    np.testing.assert_array_equal(*found)


def test_adam_keeps_the_precision_that_it_is_given():
    parameters = np.ones(2, dtype=np.float32)
    moved, state = adam_step(parameters, parameters, initial_adam_state(parameters), learning_rate=0.1)
    assert {moved.dtype, state.first_moment.dtype, state.second_moment.dtype} == {np.dtype(np.float32)}


def test_adam_treats_each_number_alike_however_many_there_are():
    """A vector of several blocks, against pieces by themselves, one across two blocks, bit for bit."""
    rng = np.random.default_rng(9)
    size = 3 * BLOCK + 5
    parameters, gradient, first, second = rng.random((4, size), dtype=np.float32)
    whole, state = adam_step(parameters, gradient, AdamState(first, second, 3), learning_rate=0.1, weight_decay=0.2)
    for part in (slice(0, 7), slice(BLOCK - 3, BLOCK + 3), slice(size - 9, size)):
        alone, alone_state = adam_step(
            parameters[part], gradient[part], AdamState(first[part], second[part], 3), learning_rate=0.1,
            weight_decay=0.2,
        )  # fmt: skip
        np.testing.assert_array_equal(whole[part], alone)
        np.testing.assert_array_equal(state.second_moment[part], alone_state.second_moment)


def test_schedules_begin_and_end_where_they_should():
    assert cosine_decay(0, peak=2.0, steps=10) == 2.0
    assert cosine_decay(10, peak=2.0, steps=10) == cosine_decay(99, peak=2.0, steps=10) == 0.0
    rates = [warmup_cosine(t, peak=1.0, warmup_steps=5, steps=20) for t in range(21)]
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    assert max(rates) == 1.0
    with pytest.raises(ValueError, match="`steps` must be at least 1; got 0"):
        cosine_decay(0, peak=1.0, steps=0)


@pytest.mark.parametrize(("layers", "width"), [(1, 1), (1, 3), (2, 5), (4, 4)])
def test_network_is_the_sum_over_units(layers, width):
    network = MLP(layers, width)
    parameters = np.random.default_rng(0).normal(size=network.size)
    expected = [transcribed_network(parameters, float(x), layers, width) for x in GRID]
    # Sums of a few products of size 1, in two orders.
    np.testing.assert_allclose(network(parameters, GRID), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("layers", "width"), [(1, 2), (3, 4)])
def test_network_gradient_is_the_difference_quotient(layers, width):
    network = MLP(layers, width)
    rng = np.random.default_rng(1)
    parameters, direction = rng.normal(size=network.size), rng.normal(size=GRID.size)

    def loss(theta):
        return anp.dot(energy_log_policy(network, theta, GRID), direction)

    gradient = grad(loss)(parameters)
    for i in range(network.size):
        step = np.zeros(network.size)
        step[i] = 1e-5
        quotient = (loss(parameters + step) - loss(parameters - step)) / 2e-5
        # The quotient's own error is of the order of 1e-10 times third derivatives, plus 1e-16 / 1e-5.
        assert gradient[i] == pytest.approx(quotient, rel=1e-6, abs=1e-8)


def test_network_gradient_of_two_evaluations_adds_up():
    """Each evaluation keeps its own intermediate values."""
    network = MLP(2, 3)
    parameters = network.initial_parameters(rng=0)
    both = grad(lambda t: anp.sum(network(t, GRID)) + anp.sum(network(t, GRID[:4] + 0.3)))(parameters)
    one, other = (grad(lambda t, x=x: anp.sum(network(t, x)))(parameters) for x in (GRID, GRID[:4] + 0.3))
    np.testing.assert_allclose(both, one + other, rtol=1e-12, atol=1e-12)


def test_energy_model_is_normalised():
    network = MLP()
    log_policy = energy_log_policy(network, network.initial_parameters(rng=3), GRID)
    assert abs(logsumexp(log_policy)) < 1e-14
    np.testing.assert_allclose(np.diff(log_policy), -np.diff(network(network.initial_parameters(rng=3), GRID)))


def test_initial_weights_have_lecun_variance():
    """Variance 1 / fan-in, no value beyond two deviations of the uncut normal; biases 0."""
    network = MLP(2, 400)
    parameters = network.initial_parameters(rng=0)
    weights = parameters[800 : 800 + 400 * 400]
    assert (parameters[400:800] == 0.0).all()
    # 160,000 draws: the variance's relative standard error is about 0.3 %; five of them.
    assert np.var(weights) * 400 == pytest.approx(1.0, abs=0.015)
    assert np.abs(weights).max() * 20.0 <= 2.0 / 0.8796256610342398


@pytest.mark.parametrize(("name", "value"), [("layers", 0), ("width", 0)])
def test_network_sizes_are_checked(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1; got 0"):
        MLP(**{name: value})


OBJECTIVES = [pb.BRADLEY_TERRY, pb.ipo(0.3), pb.hinge(0.7)]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
def test_sampled_loss_is_the_mean_over_comparisons(objective):
    """Value and gradient against a loop over comparisons, and against the expectation over the sample's counts."""
    rng = np.random.default_rng(2)
    utilities = rng.normal(size=5)
    chosen, rejected = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    value, gradient = value_and_grad(lambda u: mean_loss(margins(u, chosen, rejected), objective))(utilities)
    looped, slope = 0.0, np.zeros(5)
    for w, l in zip(chosen, rejected, strict=True):  # noqa: E741
        m = np.array(utilities[w] - utilities[l])
        looped += float(objective.value(m)) / 200
        slope[w] += float(objective.derivative(m)) / 200
        slope[l] -= float(objective.derivative(m)) / 200
    assert value == pytest.approx(looped, rel=1e-13)
    np.testing.assert_allclose(gradient, slope, atol=1e-14)
    annotator, pairs = observed_preferences(chosen, rejected, np.arange(5))
    exact = pb.expected_loss(objective, annotator, utilities, pairs)
    assert value == pytest.approx(exact.value, rel=1e-12)
    np.testing.assert_allclose(gradient, exact.gradient, atol=1e-14)


def test_mixture_loss_is_equation_30():
    rng = np.random.default_rng(4)
    utilities, logits = rng.normal(size=(2, 6)), rng.normal(size=2)
    chosen, rejected = rng.integers(0, 6, 100), rng.integers(0, 6, 100)
    weights = np.exp(logits) / np.exp(logits).sum()
    probability = sum(
        w * np.exp(u[chosen]) / (np.exp(u[chosen]) + np.exp(u[rejected]))
        for w, u in zip(weights, utilities, strict=True)
    )
    value = mean_mixture_loss([margins(u, chosen, rejected) for u in utilities], np.log(weights))
    assert value == pytest.approx(-np.log(probability).mean(), rel=1e-13)


def test_mixture_policies_are_the_networks_one_after_the_other():
    network, rng = MLP(1, 3), np.random.default_rng(5)
    parts = [network.initial_parameters(rng=rng) for _ in range(2)]
    policies, log_weights = mixture_log_policies(network, np.concatenate([*parts, [0.0, np.log(3.0)]]), GRID, 2)
    for policy, part in zip(policies, parts, strict=True):
        np.testing.assert_array_equal(policy, energy_log_policy(network, part, GRID))
    np.testing.assert_allclose(np.exp(log_weights), [0.25, 0.75])


def test_mixture_loss_is_differentiated_in_networks_and_weights():
    network, rng = MLP(1, 3), np.random.default_rng(6)
    parameters = np.concatenate([network.initial_parameters(rng=rng), network.initial_parameters(rng=rng), [0.2, -0.1]])
    chosen, rejected = rng.integers(0, GRID.size, 50), rng.integers(0, GRID.size, 50)

    def loss(theta):
        policies, log_weights = mixture_log_policies(network, theta, GRID, 2)
        return mean_mixture_loss([margins(policy, chosen, rejected) for policy in policies], log_weights)

    gradient = grad(loss)(parameters)
    for i in range(parameters.size):
        step = np.zeros(parameters.size)
        step[i] = 1e-5
        quotient = (loss(parameters + step) - loss(parameters - step)) / 2e-5
        assert gradient[i] == pytest.approx(quotient, rel=1e-6, abs=1e-9)


def test_training_reaches_what_another_optimiser_finds():
    """A tabular policy: the sample's optimum, found by BFGS, and by Adam with a decaying rate."""
    rng = np.random.default_rng(7)
    truth = np.array([1.0, 0.0, -0.5, 0.3])
    chosen, rejected = rng.integers(0, 4, 400), rng.integers(0, 4, 400)
    lost = rng.random(400) > 1.0 / (1.0 + np.exp(truth[rejected] - truth[chosen]))
    chosen, rejected = np.where(lost, rejected, chosen), np.where(lost, chosen, rejected)

    def loss(utilities):
        return mean_loss(margins(utilities, chosen, rejected), pb.BRADLEY_TERRY)

    reached = train(loss, np.zeros(4), steps=600, learning_rate=0.05)
    other = minimize(value_and_grad(loss), np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-10})
    # Adam's last steps are of the order of 0.05 · (π / 600)² / 4.
    np.testing.assert_allclose(reached.parameters - reached.parameters.mean(), other.x - other.x.mean(), atol=1e-4)
    assert reached.losses[0] == pytest.approx(np.log(2.0))
    assert len(reached.losses) == 10


def test_training_reports_and_refuses_a_loss_that_is_not_finite():
    seen = []

    def report(steps, loss):
        seen.append(steps)

    train(lambda x: anp.sum(x**2), np.ones(1), steps=130, learning_rate=0.1, progress=report)
    assert seen == [0, 64, 128, 130]
    with pytest.raises(ArithmeticError, match="the loss must stay finite; got inf"), np.errstate(all="ignore"):
        train(lambda x: anp.sum(1.0 / x), np.zeros(1), steps=3, learning_rate=0.1)
