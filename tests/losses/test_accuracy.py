"""Batch losses and their gradients to 50 digits, by autograd and by differences, in float32, and their laws."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from autograd import grad
from hypothesis import given
from hypothesis import strategies as st

from pbde_ref import losses as pl
from pbde_ref.objectives import hinge, ipo, with_margin
from tests.losses.cases import (
    ALPHA,
    AUTOGRAD,
    BETA,
    CASES,
    CHOSEN_LENGTHS,
    DELTA,
    EPSILON,
    GAMMA,
    LENGTHS,
    REJECTED_LENGTHS,
    SCALE,
    TAU,
    batch,
    check_central_differences,
    exact_losses,
    inputs_of,
)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, case in CASES.items() for kind in case.kinds])
def test_losses_to_fifty_digits(name, kind):
    """Value and gradients equal the equation's, for generic pairs, near-certain ones and gaps of ±100 and ±10,000."""
    case = CASES[name]
    inputs = inputs_of(case, kind)
    values, gradients = exact_losses(case, inputs)
    result = case.loss(*inputs, reduction="sum")
    # A margin built from numbers of size 10,000 carries an absolute rounding of about 1e-12, times a slope below 3; the
    # logistic's tail turns that into a relative one. At hinges' kinks both sides' difference would be ½: none here.
    np.testing.assert_allclose(result.losses, values, rtol=1e-11, atol=1e-300)
    for argument, gradient in zip(case.needs, gradients, strict=True):
        if argument.startswith("reference"):
            assert argument not in result.gradients
        else:
            np.testing.assert_allclose(result.gradients[argument], gradient, rtol=1e-11, atol=1e-300)
    assert set(result.gradients) == {argument for argument in case.needs if not argument.startswith("reference")}


@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_autograd(name):
    """The closed form is autograd's derivative of the mean loss, for every input that a gradient flows into."""
    case = CASES[name]
    inputs = inputs_of(case, "generic")
    formula = case.formula(AUTOGRAD)

    def mean(*arrays):
        return sum(formula(*row) for row in zip(*arrays, *case.constants, strict=True)) / len(inputs[0])

    result = case.loss(*inputs)
    for i, argument in enumerate(case.needs):
        if argument in result.gradients:
            derivative = grad(lambda *a: sum(formula(*row) for row in zip(*a, *case.constants, strict=True)) / 4, i)(
                *inputs
            )
            np.testing.assert_allclose(result.gradients[argument], derivative, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_central_differences(name, reduction):
    """The gradient is that of `value` itself."""
    case = CASES[name]
    check_central_differences(
        lambda *a: case.loss(*a, reduction=reduction), inputs_of(case, "generic"), case.needs, h=1e-5
    )


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, case in CASES.items() for kind in case.kinds])
def test_float32_stays_accurate(name, kind):
    """On inputs rounded to float32, results are within 1.3e-6 of the exact ones, and come as float32."""
    case = CASES[name]
    inputs = tuple(np.float32(x) for x in inputs_of(case, kind))
    values, gradients = exact_losses(case, inputs)
    result = case.loss(*inputs, reduction="sum")
    assert result.losses.dtype == np.float32
    # Below 1e-38 float32 has fewer digits.
    np.testing.assert_allclose(result.losses, values, rtol=1.3e-6, atol=1e-38)
    for argument, gradient in zip(case.needs, gradients, strict=True):
        if argument in result.gradients:
            assert result.gradients[argument].dtype == np.float32
            np.testing.assert_allclose(result.gradients[argument], gradient, rtol=1.3e-6, atol=1e-38)
    assert case.loss(*(np.float64(x) for x in inputs)).losses.dtype == np.float64
    assert case.loss(np.float64(inputs[0]), *inputs[1:]).losses.dtype == np.float64
    assert isinstance(result.value, float)


def test_float32_overflow_is_infinite():
    result = pl.ipo_loss(*(np.float32([x]) for x in (-1e30, -1.0, -1.0, -1.0)), tau=1.0)
    assert result.losses.tolist() == [inf]
    assert result.value == pytest.approx(1e60)


# The same loss in two ways


def test_special_cases_coincide():
    """DPO and the geometric loss are PBDEs (Eq. 15, 18), and every pairwise loss is an objective of utilities."""
    pc, pr, rc, rr = batch("generic")

    def same(a, b):
        np.testing.assert_allclose(a.losses, b.losses, rtol=1e-13)
        for x, y in zip(a.gradients.values(), b.gradients.values(), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12)

    same(
        pl.dpo_loss(pc, pr, rc, rr, beta=BETA),
        pl.pbde_loss(pc, pr, f_chosen=BETA, f_rejected=BETA, g_chosen=-BETA * rc, g_rejected=-BETA * rr),
    )
    f, g = 1.0 / ALPHA, 1.0 - 1.0 / ALPHA
    same(
        pl.geometric_loss(pc, pr, rc, rr, alpha=ALPHA),
        pl.pbde_loss(pc, pr, f_chosen=f, f_rejected=f, g_chosen=g * rc, g_rejected=g * rr),
    )
    same(pl.geometric_loss(pc, pr, rc, rr, alpha=1.0), pl.bradley_terry_loss(pc, pr))
    f_chosen, f_rejected = SCALE / CHOSEN_LENGTHS, SCALE / REJECTED_LENGTHS
    same(
        pl.length_normalized_loss(pc, pr, *LENGTHS, scale=SCALE),
        pl.pbde_loss(pc, pr, f_chosen=f_chosen, f_rejected=f_rejected),
    )
    same(pl.slic_loss(pc, pr, delta=DELTA), pl.pairwise_loss(pc, pr, objective=hinge(DELTA)))
    same(pl.rso_loss(pc, pr, rc, rr, delta=DELTA), pl.pairwise_loss(pc - rc, pr - rr, objective=hinge(DELTA)))
    same(pl.ipo_loss(pc, pr, rc, rr, tau=TAU), pl.pairwise_loss(pc - rc, pr - rr, objective=ipo(TAU)))
    same(
        pl.pairwise_loss(pc, pr, objective="bradley_terry", margin=GAMMA),
        pl.pairwise_loss(pc, pr, objective=with_margin("bradley_terry", GAMMA)),
    )


def test_rso_is_the_hinge_of_the_literature_up_to_a_factor():
    """(1 − γm)^+ = γ·(1/γ − m)^+."""
    pc, pr, rc, rr = batch("generic")
    gamma = 0.4
    written = np.maximum(1.0 - gamma * ((pc - rc) - (pr - rr)), 0.0)
    np.testing.assert_allclose(gamma * pl.rso_loss(pc, pr, rc, rr, delta=1 / gamma).losses, written, rtol=1e-13)


@given(st.floats(0.01, 5.0), st.floats(0.0, 0.45), st.integers(0, 2**32 - 1))
def test_reference_shift_changes_nothing(beta, epsilon, seed):
    """Losses of log-ratios do not change if policy and reference of both outcomes move together."""
    rng = np.random.default_rng(seed)
    inputs = -rng.uniform(5.0, 60.0, (4, 5))
    moved = inputs + np.array([1.0, 0.0, 1.0, 0.0])[:, None] * rng.uniform(-4.0, 4.0, 5)
    for loss in (
        lambda *a: pl.dpo_loss(*a, beta=beta, label_smoothing=epsilon),
        lambda *a: pl.ipo_loss(*a, tau=beta),
        lambda *a: pl.rso_loss(*a, delta=beta),
    ):
        # Differences of numbers below 64 carry 1e-14, squared margins 100 times that.
        np.testing.assert_allclose(loss(*moved).losses, loss(*inputs).losses, rtol=1e-11, atol=1e-11)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_mean_is_sum_over_number_of_pairs(size, seed):
    """The two reductions differ by the batch's size, in value and gradients, and not in the pairs' losses."""
    rng = np.random.default_rng(seed)
    inputs = -rng.uniform(0.1, 30.0, (4, size))
    mean, total = (pl.dpo_loss(*inputs, beta=BETA, label_smoothing=EPSILON, reduction=r) for r in ("mean", "sum"))
    np.testing.assert_array_equal(mean.losses, total.losses)
    assert mean.value * size == pytest.approx(total.value, rel=1e-14)
    assert total.value == pytest.approx(float(total.losses.sum()), rel=1e-15)
    for name, gradient in mean.gradients.items():
        np.testing.assert_allclose(gradient * size, total.gradients[name], rtol=1e-14)
