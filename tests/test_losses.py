"""Batch losses: by hand, to 50 digits, gradients three ways, against exact expectations, and what they refuse.

Each loss stands once more in `CASES`, transcribed from its equation for one example and any arithmetic: plain autograd,
or mpmath with 50 digits.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from math import inf, log, nan
from types import SimpleNamespace
from typing import Any

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import grad
from hypothesis import given
from hypothesis import strategies as st

import pbde_ref as pb
from pbde_ref import losses as pl
from pbde_ref.objectives import hinge, ipo, robust, smoothed, with_margin

# The formulas' arithmetic.
AUTOGRAD = SimpleNamespace(
    number=float, log=anp.log, exp=anp.exp, log_sigmoid=lambda z: -anp.logaddexp(0.0, -z), relu=lambda z: z * (z > 0.0)
)
MPMATH = SimpleNamespace(
    number=mpmath.mpf,
    log=mpmath.log,
    exp=mpmath.exp,
    log_sigmoid=lambda z: -mpmath.log1p(mpmath.exp(-z)),
    relu=lambda z: z if z > 0 else mpmath.mpf(0),
)

BETA, EPSILON, ALPHA, DELTA, LAMBDA, TAU, SCALE, GAMMA = 0.3, 0.1, 0.4, 0.75, 0.35, 0.2, 2.5, 0.6
CHOSEN_LENGTHS, REJECTED_LENGTHS = np.array([3.0, 7.0, 12.0, 5.0]), np.array([9.0, 2.0, 12.0, 31.0])


def dpo(ns, variant):
    def formula(pc, pr, rc, rr):
        epsilon = ns.number(EPSILON)
        m = ns.number(BETA) * (pc - rc) - ns.number(BETA) * (pr - rr)
        if variant == "plain":
            return -ns.log_sigmoid(m)
        if variant == "cdpo":
            return -(1 - epsilon) * ns.log_sigmoid(m) - epsilon * ns.log_sigmoid(-m)
        return (-(1 - epsilon) * ns.log_sigmoid(m) + epsilon * ns.log_sigmoid(-m)) / (1 - 2 * epsilon)

    return formula


def geometric(ns, pc, pr, rc, rr):
    inverse = 1 / ns.number(ALPHA)
    return -ns.log_sigmoid((inverse * pc + (1 - inverse) * rc) - (inverse * pr + (1 - inverse) * rr))


def ipo_averaged(ns, pc, pr, rc, rr, lc, lr):
    return ((pc - rc) / lc - (pr - rr) / lr - 1 / (2 * ns.number(TAU))) ** 2


@dataclass(frozen=True)
class Case:
    """A loss as the package computes it, and as the equation has it."""

    loss: Callable[..., pl.BatchLoss]
    formula: Callable[[Any], Callable[..., Any]]
    needs: tuple[str, ...]
    constants: tuple[np.ndarray, ...] = ()
    argument: str = "policy_chosen"


FOUR = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
TWO = FOUR[:2]
LENGTHS = (CHOSEN_LENGTHS, REJECTED_LENGTHS)
F, G = (np.array([0.5, 2.0, 1.0, 0.1]), np.array([1.5, 0.3, 1.0, 0.7])), (np.array([0.1, -0.2, 3.0, 0.0]), np.zeros(4))

CASES = {
    "bradley_terry": Case(
        lambda a, b, **k: pl.bradley_terry_loss(a, b, margin=GAMMA, **k),
        lambda ns: lambda a, b: -ns.log_sigmoid(a - b - ns.number(GAMMA)),
        ("chosen_rewards", "rejected_rewards"),
    ),
    "pbde": Case(
        lambda a, b, **k: pl.pbde_loss(a, b, f_chosen=F[0], f_rejected=F[1], g_chosen=G[0], g_rejected=G[1], **k),
        lambda ns: lambda a, b, fc, fr, gc, gr: -ns.log_sigmoid((fc * a + gc) - (fr * b + gr)),
        TWO,
        (*F, *G),
    ),
    "dpo": Case(lambda *a, **k: pl.dpo_loss(*a, beta=BETA, **k), lambda ns: dpo(ns, "plain"), FOUR),
    "cdpo": Case(
        lambda *a, **k: pl.dpo_loss(*a, beta=BETA, label_smoothing=EPSILON, **k), lambda ns: dpo(ns, "cdpo"), FOUR
    ),
    "robust dpo": Case(
        lambda *a, **k: pl.dpo_loss(*a, beta=BETA, label_smoothing=EPSILON, variant="robust", **k),
        lambda ns: dpo(ns, "robust"),
        FOUR,
    ),
    "geometric": Case(
        lambda *a, **k: pl.geometric_loss(*a, alpha=ALPHA, **k), lambda ns: lambda *a: geometric(ns, *a), FOUR
    ),
    "length normalised": Case(
        lambda a, b, **k: pl.length_normalized_loss(a, b, *LENGTHS, scale=SCALE, margin=GAMMA, **k),
        lambda ns: lambda a, b, la, lb: -ns.log_sigmoid(ns.number(SCALE) * (a / la - b / lb) - ns.number(GAMMA)),
        TWO,
        LENGTHS,
    ),
    "slic": Case(
        lambda a, b, **k: pl.slic_loss(a, b, delta=DELTA, **k),
        lambda ns: lambda a, b: ns.relu(ns.number(DELTA) - (a - b)),
        TWO,
    ),
    "rso": Case(
        lambda *a, **k: pl.rso_loss(*a, delta=DELTA, **k),
        lambda ns: lambda pc, pr, rc, rr: ns.relu(ns.number(DELTA) - ((pc - rc) - (pr - rr))),
        FOUR,
    ),
    "ipo": Case(
        lambda *a, **k: pl.ipo_loss(*a, tau=TAU, **k),
        lambda ns: lambda pc, pr, rc, rr: ((pc - rc) - (pr - rr) - 1 / (2 * ns.number(TAU))) ** 2,
        FOUR,
    ),
    "averaged ipo": Case(
        lambda *a, **k: pl.ipo_loss(
            *a, tau=TAU, average=True, chosen_lengths=LENGTHS[0], rejected_lengths=LENGTHS[1], **k
        ),
        lambda ns: lambda *a: ipo_averaged(ns, *a),
        FOUR,
        LENGTHS,
    ),
}


def batch(kind):
    """Four pairs (policy chosen, rejected, reference chosen, rejected) of unequal lengths, away from special points."""
    if kind == "generic":
        return (
            np.array([-4.1, -9.7, -14.2, -6.3]), np.array([-11.3, -3.9, -13.1, -40.5]),
            np.array([-5.0, -8.8, -15.9, -6.1]), np.array([-10.1, -4.2, -12.6, -42.0]),
        )  # fmt: skip
    if kind == "near-certain":  # 1e-9 to 1e-7 per token: for the rejected ones, and for both
        return (
            np.array([-4.1, -9.7, -3e-8, -6.3]), -REJECTED_LENGTHS * np.array([1e-9, 1e-8, 1e-7, 1e-9]),
            np.array([-5.0, -8.8, -2e-8, -6.1]), -REJECTED_LENGTHS * np.array([2e-9, 3e-8, 2e-7, 5e-9]),
        )  # fmt: skip
    gap = {"gap 100": 100.0, "gap 10,000": 1e4}[kind]
    return (
        np.array([-gap - 3.5, -0.25, -gap, -1.5]), np.array([-0.125, -gap - 0.5, -2.0, -gap]),
        np.array([-4.0, -3.25, -gap / 2, -2.5]), np.array([-0.5, -6.5, -1.0, -gap / 4]),
    )  # fmt: skip


BATCHES = ("generic", "near-certain", "gap 100", "gap 10,000")


def inputs_of(case, kind):
    return batch(kind)[: len(case.needs)]


def exact_losses(case, inputs):
    """Each pair's loss and its derivative with respect to each input, to more than 30 digits."""
    formula = case.formula(MPMATH)
    values, gradients = [], [[] for _ in inputs]
    with mpmath.workdps(60):
        h = mpmath.mpf(10) ** -20
        for row in zip(*inputs, *case.constants, strict=True):
            row = [mpmath.mpf(float(x)) for x in row]
            values.append(float(formula(*row)))
            for i, gradient in enumerate(gradients):
                above, below = ([*row[:i], row[i] + s * h, *row[i + 1 :]] for s in (1, -1))
                gradient.append(float((formula(*above) - formula(*below)) / (2 * h)))
    return np.array(values), [np.array(gradient) for gradient in gradients]


# Cases by hand


def test_bradley_terry_by_hand():
    """σ(log 3) = 3/4, and with a margin of log 2 σ(log 3/2) = 3/5."""
    result = pl.bradley_terry_loss([log(3.0), 0.0], [0.0, log(3.0)])
    np.testing.assert_allclose(result.losses, [log(4 / 3), log(4)], rtol=1e-15)
    np.testing.assert_allclose(result.gradients["chosen_rewards"], [-1 / 8, -3 / 8], rtol=1e-15)
    np.testing.assert_allclose(result.gradients["rejected_rewards"], [1 / 8, 3 / 8], rtol=1e-15)
    assert result.value == pytest.approx((log(4 / 3) + log(4)) / 2, rel=1e-15)
    # The margin makes the loss harder: a sign error would give σ(log 6) = 6/7.
    assert pl.bradley_terry_loss([log(3.0)], [0.0], margin=log(2.0)).value == pytest.approx(log(5 / 3), rel=1e-15)


def test_dpo_by_hand():
    """Ratios 2 and 1/2 give a margin of β·log 4, with β = 1/2: σ(log 2) = 2/3."""
    vectors = np.log([0.5]), np.log([0.125]), np.log([0.25]), np.log([0.25])
    result = pl.dpo_loss(*vectors, beta=0.5)
    assert result.value == pytest.approx(log(3 / 2), rel=1e-15)
    assert float(result.gradients["policy_chosen"][0]) == pytest.approx(-Fraction(1, 2) * Fraction(1, 3), rel=1e-15)
    soft = pl.dpo_loss(*vectors, beta=0.5, label_smoothing=0.25)
    assert soft.value == pytest.approx(0.75 * log(3 / 2) + 0.25 * log(3), rel=1e-15)
    assert float(soft.gradients["policy_chosen"][0]) == pytest.approx(
        Fraction(1, 2) * (Fraction(1, 4) * Fraction(2, 3) - Fraction(3, 4) * Fraction(1, 3)), rel=1e-15
    )
    unbiased = pl.dpo_loss(*vectors, beta=0.5, label_smoothing=0.25, variant="robust")
    assert unbiased.value == pytest.approx((0.75 * log(3 / 2) - 0.25 * log(3)) / 0.5, rel=1e-14)
    assert pl.dpo_loss(*vectors[:2], *vectors[:2], beta=7.0).value == pytest.approx(log(2), rel=1e-15)


def test_pbde_by_hand():
    """Ω = 2·log 1/2 + log 8 = log 2 against 1·log 1/4 + log 2 = −log 2: σ(log 4) = 4/5."""
    result = pl.pbde_loss(
        np.log([0.5]), np.log([0.25]), f_chosen=2.0, f_rejected=1.0, g_chosen=log(8.0), g_rejected=log(2.0)
    )
    assert result.value == pytest.approx(log(5 / 4), rel=1e-15)
    assert float(result.gradients["policy_chosen"][0]) == pytest.approx(-2 * Fraction(1, 5), rel=1e-14)
    assert float(result.gradients["policy_rejected"][0]) == pytest.approx(Fraction(1, 5), rel=1e-14)


def test_geometric_by_hand():
    """α = 1/2: (π/π_pre)²·π_pre is 2²/4 = 1 against (1/2)²/4 = 1/16: σ = 16/17."""
    result = pl.geometric_loss(np.log([0.5]), np.log([0.125]), np.log([0.25]), np.log([0.25]), alpha=0.5)
    assert result.value == pytest.approx(log(17 / 16), rel=1e-14)
    assert float(result.gradients["policy_chosen"][0]) == pytest.approx(-2 * Fraction(1, 17), rel=1e-14)


def test_length_normalised_by_hand():
    """(1/4)^{1/2} = 1/2 against (1/64)^{1/3} = 1/4: σ(log 2) = 2/3; with scale 2, σ(log 4) = 4/5."""
    arguments = np.log([0.25]), np.log([1 / 64]), [2], [3]
    assert pl.length_normalized_loss(*arguments).value == pytest.approx(log(3 / 2), rel=1e-15)
    result = pl.length_normalized_loss(*arguments, scale=2.0)
    assert result.value == pytest.approx(log(5 / 4), rel=1e-15)
    assert float(result.gradients["policy_rejected"][0]) == pytest.approx(Fraction(1, 5) * Fraction(2, 3), rel=1e-14)
    # γ inside σ, after the scale: 4 / 2 = 2.
    assert pl.length_normalized_loss(*arguments, scale=2.0, margin=log(2.0)).value == pytest.approx(log(3 / 2))


def test_hinges_by_hand():
    """SLiC looks at policies, RSO at their ratios to the reference."""
    vectors = [-1.0, -4.0], [-3.0, -3.0], [-2.0, -6.0], [-1.0, -4.0]
    slic = pl.slic_loss(*vectors[:2], delta=1.0)  # margins 2, −1
    assert (slic.value, slic.losses.tolist()) == (1.0, [0.0, 2.0])
    assert slic.gradients["policy_chosen"].tolist() == [0.0, -0.5]
    rso = pl.rso_loss(*vectors, delta=1.0)  # margins 3, 1: the second one is at the kink
    assert (rso.value, rso.gradients["policy_chosen"].tolist()) == (0.0, [0.0, 0.0])
    assert pl.rso_loss(*vectors, delta=2.0).losses.tolist() == [0.0, 1.0]


def test_slic_regulariser_by_hand():
    """Each term is reduced over its own samples: 1 + ½·4 as means, 2 + ½·12 as sums."""
    pairs, samples = ([-1.0, -4.0], [-3.0, -3.0]), [-2.0, -4.0, -6.0]
    mean = pl.slic_loss(*pairs, delta=1.0, lambda_=0.5, regularization=samples)
    assert (mean.value, mean.losses.tolist()) == (3.0, [0.0, 2.0])
    np.testing.assert_allclose(mean.gradients["regularization"], [-1 / 6] * 3, rtol=1e-15)
    total = pl.slic_loss(*pairs, delta=1.0, lambda_=0.5, regularization=samples, reduction="sum")
    assert (total.value, total.gradients["regularization"].tolist()) == (8.0, [-0.5] * 3)
    none = pl.slic_loss(*pairs, delta=1.0, regularization=[-inf])
    assert (none.value, none.gradients["regularization"].tolist()) == (1.0, [0.0])
    assert "regularization" not in pl.slic_loss(*pairs, delta=1.0).gradients


def test_ipo_by_hand():
    """A margin of 6 against 1/(2τ) = 2; per token, 2/2 − (−4)/4 = 2 and the loss is zero."""
    vectors = [-2.0], [-8.0], [-4.0], [-4.0]
    summed = pl.ipo_loss(*vectors, tau=0.25)
    assert (summed.value, summed.gradients["policy_chosen"].tolist()) == (16.0, [8.0])
    averaged = pl.ipo_loss(*vectors, tau=0.5, average=True, chosen_lengths=[2], rejected_lengths=[4])
    assert (averaged.value, averaged.gradients["policy_rejected"].tolist()) == (1.0, [-0.5])
    # Averages passed as they are mean the same.
    by_caller = pl.ipo_loss([-1.0], [-2.0], [-2.0], [-1.0], tau=0.5)
    assert by_caller.value == averaged.value


def test_rrhf_by_hand():
    """Per token −2, −1, −3 in this order of preference: only the first pair is the wrong way round, by 1."""
    candidates, lengths = [[-8.0, -3.0, -6.0]], [[4, 3, 2]]
    ranking = pl.rrhf_loss(candidates, lengths, scores=[[9, 5, 1]], likelihood_weight=0.0)
    assert (ranking.value, ranking.gradients["policy"].tolist()) == (1.0, [[-1 / 4, 1 / 3, 0.0]])
    both = pl.rrhf_loss(candidates, lengths, ranks=[[1, 2, 3]])
    assert (both.value, both.gradients["policy"].tolist()) == (9.0, [[-1 / 4 - 1, 1 / 3, 0.0]])
    per_token = pl.rrhf_loss(candidates, lengths, ranks=[[1, 2, 3]], average_likelihood=True)
    assert (per_token.value, per_token.gradients["policy"].tolist()) == (3.0, [[-1 / 2, 1 / 3, 0.0]])


def test_annotator_mixture_by_hand():
    """0.4·0.9 + 0.6·0.2 = 0.48; responsibilities 3/4 and 1/4."""
    result = pl.annotator_mixture_loss(np.log([[0.9, 0.2]]), np.log([[0.1, 0.8]]), np.log([2.0, 3.0]))
    assert result.value == pytest.approx(-log(0.48), rel=1e-15)
    np.testing.assert_allclose(result.gradients["policy_chosen"], [[-0.75 * 0.1, -0.25 * 0.8]], rtol=1e-14)
    np.testing.assert_allclose(result.gradients["policy_rejected"], [[0.75 * 0.1, 0.25 * 0.8]], rtol=1e-14)
    np.testing.assert_allclose(result.gradients["weight_logits"], [0.4 - 0.75, 0.6 - 0.25], rtol=1e-14)


def test_policy_gradient_by_hand():
    """Advantages 5 − 2·1 and 1 − 2·(−1)."""
    result = pl.kl_controlled_policy_gradient_loss([-1.0, -3.0], [-2.0, -2.0], [5.0, 1.0], beta=2.0)
    assert (result.value, result.gradients["policy"].tolist()) == (6.0, [-1.5, -1.5])
    plain = pl.kl_controlled_policy_gradient_loss([-1.0, -3.0], [-2.0, -2.0], [5.0, 1.0], beta=0.0, reduction="sum")
    assert (plain.losses.tolist(), plain.gradients["policy"].tolist()) == ([5.0, 3.0], [-5.0, -1.0])


# To fifty digits, and gradients three ways


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("name", CASES)
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
    result = case.loss(*inputs)
    for i, argument in enumerate(case.needs):
        if argument in result.gradients:
            derivative = grad(lambda *a: anp.mean(formula(*a, *case.constants)), i)(*inputs)
            np.testing.assert_allclose(result.gradients[argument], derivative, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_central_differences(name, reduction):
    """The gradient is that of `value` itself."""
    case = CASES[name]
    check_central_differences(
        lambda *a: case.loss(*a, reduction=reduction), inputs_of(case, "generic"), case.needs, h=1e-5
    )


def check_central_differences(loss, inputs, names, h):
    """Truncation h² and rounding 1e-16·|value|/h stay below the tolerance."""
    result = loss(*inputs)
    for i, name in enumerate(names):
        if name not in result.gradients:
            continue
        numerical = np.zeros(inputs[i].shape)
        for place in np.ndindex(inputs[i].shape):
            step = np.zeros(inputs[i].shape)
            step[place] = h
            above, below = (loss(*inputs[:i], inputs[i] + s * step, *inputs[i + 1 :]).value for s in (1.0, -1.0))
            numerical[place] = (above - below) / (2.0 * h)
        np.testing.assert_allclose(result.gradients[name], numerical, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("name", CASES)
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


# Against exact expectations


def enumerated_batch():
    """Pairs of three outcomes and winners, each as often as p* = (1/2, 1/3, 1/6) prefers it: 3/5, 3/4, 2/3 of 60."""
    winners, losers = [], []
    for a, b, wins in ((0, 1, 36), (0, 2, 45), (1, 2, 40)):
        winners += [a] * wins + [b] * (60 - wins)
        losers += [b] * wins + [a] * (60 - wins)
    return np.array(winners), np.array(losers)


LOG_PI, LOG_REFERENCE, SIZES = np.log([0.2, 0.5, 0.3]), np.log([0.3, 0.3, 0.4]), np.array([2.0, 3.0, 5.0])
ENUMERATED = {
    "dpo": (
        lambda w, v: pl.dpo_loss(LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v], beta=BETA),
        "bradley_terry", BETA, -BETA * LOG_REFERENCE,
    ),
    "cdpo": (
        lambda w, v: pl.dpo_loss(
            LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v], beta=BETA, label_smoothing=EPSILON
        ),
        smoothed(EPSILON), BETA, -BETA * LOG_REFERENCE,
    ),
    "robust dpo": (
        lambda w, v: pl.dpo_loss(
            LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v],
            beta=BETA, label_smoothing=EPSILON, variant="robust",
        ),
        robust(EPSILON), BETA, -BETA * LOG_REFERENCE,
    ),
    "geometric": (
        lambda w, v: pl.geometric_loss(LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v], alpha=ALPHA),
        "bradley_terry", 1 / ALPHA, (1 - 1 / ALPHA) * LOG_REFERENCE,
    ),
    "length normalised": (
        lambda w, v: pl.length_normalized_loss(LOG_PI[w], LOG_PI[v], SIZES[w], SIZES[v], scale=SCALE),
        "bradley_terry", SCALE / SIZES, np.zeros(3),
    ),
    "slic": (lambda w, v: pl.slic_loss(LOG_PI[w], LOG_PI[v], delta=DELTA), hinge(DELTA), 1.0, np.zeros(3)),
    "rso": (
        lambda w, v: pl.rso_loss(LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v], delta=DELTA),
        hinge(DELTA), 1.0, -LOG_REFERENCE,
    ),
    "ipo": (
        lambda w, v: pl.ipo_loss(LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v], tau=TAU),
        ipo(TAU), 1.0, -LOG_REFERENCE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENUMERATED)
def test_a_batch_that_enumerates_the_support_is_the_expectation(name):
    """The mean over every pair, each winner as often as the annotator prefers it, is the expected loss; so are the
    gradients, gathered by outcome.
    """
    loss, objective, f, g = ENUMERATED[name]
    winners, losers = enumerated_batch()
    result = loss(winners, losers)
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 2, 1]), pb.luce())
    pairs = pb.PairListProposal([0, 0, 1], [1, 2, 2])
    expected = pb.expected_loss(objective, annotator, f * LOG_PI + g, pairs)
    # 180 additions.
    assert result.value == pytest.approx(expected.value, rel=1e-13)
    gathered = np.zeros(3)
    np.add.at(gathered, winners, result.gradients["policy_chosen"])
    np.add.at(gathered, losers, result.gradients["policy_rejected"])
    np.testing.assert_allclose(gathered, f * expected.gradient, rtol=1e-12, atol=1e-15)


def test_annotator_mixture_agrees_with_the_mixture_of_annotators():
    """Minus the logarithm of Eq. (25)'s matrix, entry by entry."""
    policies = [pb.FiniteDistribution.from_weights(w) for w in ([5, 3, 2], [1, 1, 8])]
    mixture = pb.AnnotatorMixture([0.4, 0.6], [pb.Annotator(policy, pb.luce()) for policy in policies])
    log_pi = np.stack([policy.log_pmf for policy in policies], axis=1)
    a, b = np.array(list(permutations(range(3), 2))).T
    result = pl.annotator_mixture_loss(log_pi[a], log_pi[b], np.log([2.0, 3.0]))
    np.testing.assert_allclose(result.losses, -np.log(mixture.preference_probabilities()[a, b]), rtol=1e-14)


def test_policy_gradient_agrees_with_the_exact_one():
    """Weighted by the policy and chained with ∇ log π for softmax logits, the surrogate's gradient is minus Eq. (5)."""
    logits, rewards = np.array([0.3, -0.7, 1.1]), np.array([1.0, 2.0, -0.5])
    policy, reference = pb.FiniteDistribution(logits), pb.FiniteDistribution.from_weights([2, 1, 1])
    for beta in (0.0, BETA):
        result = pl.kl_controlled_policy_gradient_loss(
            policy.log_pmf, reference.log_pmf, rewards, beta=beta, reduction="sum"
        )
        jacobian = np.eye(3) - policy.pmf  # row x: ∇ log π(x)
        exact = pb.policy_gradient(logits, rewards, beta, reference)
        np.testing.assert_allclose((policy.pmf * result.gradients["policy"]) @ jacobian, -exact, atol=1e-15)


def test_policy_gradient_holds_the_advantage_constant():
    """Its gradient is autograd's with the advantage fixed, and not that of the whole expression (control)."""
    policy, reference, rewards = np.array([-1.0, -3.0]), np.array([-2.0, -1.5]), np.array([0.5, -1.0])
    result = pl.kl_controlled_policy_gradient_loss(policy, reference, rewards, beta=BETA)
    advantage = rewards - BETA * (policy - reference)
    fixed = grad(lambda p: anp.mean(-advantage * p))(policy)
    flowing = grad(lambda p: anp.mean(-(rewards - BETA * (p - reference)) * p))(policy)
    np.testing.assert_allclose(result.gradients["policy"], fixed, rtol=1e-14)
    assert np.abs(result.gradients["policy"] - flowing).min() > 0.01
    assert list(result.gradients) == ["policy"]


# RRHF

RRHF = (
    np.array([[-8.0, -3.5, -6.25, -9.0], [-1.0, -20.0, -7.5, -2.0]]),
    np.array([[4.0, 3.0, 2.0, 9.0], [5.0, 7.0, 3.0, 8.0]]),
    np.array([[0.9, 0.5, 0.1, 0.5], [-1.0, 2.0, 2.0, 0.0]]),  # with ties, once among the best
)


def rrhf_double_loop(policy, lengths, scores, weight, average):
    total = 0.0
    for prompt in range(policy.shape[0]):
        p = policy[prompt] / lengths[prompt]
        k = policy.shape[1]
        for i in range(k):
            for j in range(k):
                if scores[prompt, i] > scores[prompt, j]:
                    total = total + (p[j] - p[i]) * (p[j] > p[i])
        best = [i for i in range(k) if scores[prompt, i] == scores[prompt].max()]
        for i in best:
            total = total - weight * (p[i] if average else policy[prompt, i]) / len(best)
    return total


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("weight", [0.0, 1.0, 0.7])
def test_rrhf_is_a_double_loop(weight, average):
    """Value and gradient equal the loop transcribed from the equation; autograd and central differences agree."""
    policy, lengths, scores = RRHF

    def loss(values, reduction="sum"):
        return pl.rrhf_loss(
            values, lengths, scores=scores, likelihood_weight=weight, average_likelihood=average, reduction=reduction
        )

    result = loss(policy)
    assert result.value == pytest.approx(rrhf_double_loop(policy, lengths, scores, weight, average), rel=1e-14)
    derivative = grad(rrhf_double_loop)(policy, lengths, scores, weight, average)
    np.testing.assert_allclose(result.gradients["policy"], derivative, rtol=1e-13, atol=1e-16)
    check_central_differences(lambda x: loss(x, "mean"), (policy,), ("policy",), h=1e-5)


def test_rrhf_for_two_candidates_is_the_hinge_without_margin():
    pc, pr, _, _ = batch("generic")
    policy, lengths = np.stack([pc, pr], axis=1), np.stack(LENGTHS, axis=1)
    ranked = pl.rrhf_loss(policy, lengths, ranks=np.tile([1, 2], (4, 1)), likelihood_weight=0.0)
    paired = pl.pairwise_loss(pc / CHOSEN_LENGTHS, pr / REJECTED_LENGTHS, objective="rrhf")
    np.testing.assert_array_equal(ranked.losses, paired.losses)
    np.testing.assert_allclose(
        ranked.gradients["policy"][:, 0], paired.gradients["chosen_utilities"] / CHOSEN_LENGTHS, rtol=1e-15
    )


@given(st.permutations(range(4)))
def test_rrhf_does_not_depend_on_the_order_of_candidates(order):
    """Not even with ties among the best."""
    order = np.array(order)
    policy, lengths, scores = RRHF
    plain = pl.rrhf_loss(policy, lengths, scores=scores)
    mixed = pl.rrhf_loss(policy[:, order], lengths[:, order], scores=scores[:, order])
    np.testing.assert_allclose(mixed.losses, plain.losses, rtol=1e-14)
    np.testing.assert_allclose(mixed.gradients["policy"], plain.gradients["policy"][:, order], rtol=1e-14)


def test_rrhf_ties_are_not_compared():
    """All tied: nothing is ranked, and the likelihood is the mean over all; equal scores per token: subgradient 0."""
    tied = pl.rrhf_loss([[-1.0, -9.0]], [[1, 1]], scores=[[2, 2]])
    assert (tied.value, tied.gradients["policy"].tolist()) == (5.0, [[-0.5, -0.5]])
    kink = pl.rrhf_loss([[-2.0, -4.0]], [[1, 2]], scores=[[2, 1]], likelihood_weight=0.0)
    assert (kink.value, kink.gradients["policy"].tolist()) == (0.0, [[0.0, 0.0]])
    excluded = pl.rrhf_loss([[-inf, -1.0, -inf]], [[1, 1, 1]], scores=[[0, 1, 0]])
    assert excluded.value == 1.0


def test_rrhf_extremes():
    """Gaps of 10,000 and certain sequences stay exact, in float32 too."""
    policy = np.float32([[-1e4, -1e-9, -3e-8]])
    result = pl.rrhf_loss(policy, [[1, 2, 3]], ranks=[[1, 3, 2]], likelihood_weight=0.0)
    exact = sum(Fraction(float(x)) for x in (-policy[0, 0], -policy[0, 0])) + Fraction(float(policy[0, 1])) / 2
    exact += Fraction(float(policy[0, 2])) / 3 + Fraction(float(policy[0, 1])) / 2 - Fraction(float(policy[0, 2])) / 3
    assert result.value == pytest.approx(float(exact), rel=1e-15)
    assert result.gradients["policy"].dtype == np.float32


# Mixtures of annotators

MIXTURE = (
    np.array([[-1.5, -0.2, -3.1], [-2.0, -4.0, -0.9]]),
    np.array([[-0.7, -2.2, -3.0], [-6.0, -0.1, -1.4]]),
    np.array([0.3, -0.4, 1.1]),
)
NAMES = ("policy_chosen", "policy_rejected", "weight_logits")


def mixture_formula(ns, chosen, rejected, logits, total):
    """−log Σ_i w_i π_i(x_w) / (π_i(x_w) + π_i(x_l)) of one pair."""
    weights = [ns.exp(logit) for logit in logits]
    pairs = zip(weights, chosen, rejected, strict=True)
    terms = [w * ns.exp(c) / (ns.exp(c) + ns.exp(r)) for w, c, r in pairs]
    return -ns.log(total(terms) / total(weights))


def test_annotator_mixture_gradients_three_ways():
    """Closed form, autograd on the equation as it stands, and central differences, the weights' logits included."""
    result = pl.annotator_mixture_loss(*MIXTURE)

    def mean(chosen, rejected, logits):
        pairs = [mixture_formula(AUTOGRAD, chosen[i], rejected[i], logits, sum) for i in range(2)]
        return sum(pairs) / 2

    assert result.value == pytest.approx(float(mean(*MIXTURE)), rel=1e-14)
    for i, name in enumerate(NAMES):
        np.testing.assert_allclose(result.gradients[name], grad(mean, i)(*MIXTURE), rtol=1e-12, atol=1e-15)
    check_central_differences(pl.annotator_mixture_loss, MIXTURE, NAMES, h=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_annotator_mixture_extremes(dtype):
    """Gaps of ±100 and ±10,000, annotators who agree that the chosen one wins almost surely, and near-certain ones."""
    chosen = np.array([[-1e4, -1e-9], [-0.5, -1e4], [-1e-9, -2e-9], [-1e-8, -0.25], [-1e4, -9e3], [-0.5, -0.5]], dtype)
    rejected = np.array([[-0.5, -1e4], [-1e4, -1.0], [-100, -60], [-45, -44.0], [-1.0, -2.0], [-3e-9, -0.5]], dtype)
    logits = np.array([0.3, -0.9], dtype)
    result = pl.annotator_mixture_loss(chosen, rejected, logits, reduction="sum")
    # The equation as it stands takes the logarithm of numbers as close to 1 as 1e-44, and of 1 − e^−10000.
    with mpmath.workdps(150):
        h = mpmath.mpf(10) ** -25
        triples = [(c, r, logits) for c, r in zip(chosen, rejected, strict=True)]
        rows = [[[mpmath.mpf(float(x)) for x in row] for row in triple] for triple in triples]
        values = [mixture_formula(MPMATH, *row, mpmath.fsum) for row in rows]
        gradients = [np.zeros((6, 2)) for _ in NAMES]
        for i in range(3):
            for pair, row in enumerate(rows):
                for k in range(2):
                    moved = [[list(x) for x in row] for _ in range(2)]
                    moved[0][i][k] += h
                    moved[1][i][k] -= h
                    above, below = (mixture_formula(MPMATH, *x, mpmath.fsum) for x in moved)
                    gradients[i][pair, k] = float((above - below) / (2 * h))
    gradients[2] = gradients[2].sum(axis=0)
    # 1e-12 is the rounding of log-probabilities of 10,000 nats; 1.3e-6 that of float32.
    rtol, atol = (1e-11, 1e-100) if dtype == np.float64 else (1.3e-6, 1e-38)
    np.testing.assert_allclose(result.losses, np.array(values, float), rtol=rtol, atol=atol)
    for name, gradient in zip(NAMES, gradients, strict=True):
        assert result.gradients[name].dtype == dtype
        np.testing.assert_allclose(result.gradients[name], gradient, rtol=rtol, atol=atol)


def test_weight_gradients_keep_their_digits_where_annotators_agree():
    """Both annotators are certain to 1e-18 and 1e-20: w − ρ is about 2e-19, which a plain difference rounds to 0."""
    chosen, rejected, logits = np.zeros((1, 2)), np.array([[-41.0, -46.0]]), np.zeros(2)
    gradient = pl.annotator_mixture_loss(chosen, rejected, logits).gradients["weight_logits"]
    with mpmath.workdps(60):
        a, b = (1 / (1 + mpmath.exp(-mpmath.mpf(d))) for d in (41, 46))
        exact = float(mpmath.mpf("0.5") - a / (a + b))
    np.testing.assert_allclose(gradient, [exact, -exact], rtol=1e-14)
    assert 1e-19 < exact < 1e-18


def test_annotator_mixture_with_excluded_outcomes():
    """Who excludes the chosen outcome contributes nothing, unless everybody does."""
    result = pl.annotator_mixture_loss([[-inf, log(0.5)]], [[-1.0, log(0.5)]], [0.0, 0.0])
    assert result.value == pytest.approx(log(4))
    np.testing.assert_allclose(result.gradients["weight_logits"], [0.5, -0.5])
    with pytest.raises(ValueError, match="`policy_chosen` must be above -inf for some annotator; got -inf at index 0"):
        pl.annotator_mixture_loss([[-inf, -inf]], [[-1.0, -1.0]], [0.0, 0.0])


# Zero probabilities


def test_excluded_outcomes():
    """A rejected outcome of probability zero costs nothing, a chosen one is infinitely bad; neither gives NaN."""
    certain = pl.dpo_loss([-1.0], [-inf], [-1.0], [-1.0], beta=BETA)
    assert (certain.value, certain.gradients["policy_rejected"].tolist()) == (0.0, [0.0])
    hopeless = pl.dpo_loss([-inf], [-1.0], [-1.0], [-1.0], beta=BETA)
    assert (hopeless.value, hopeless.gradients["policy_chosen"].tolist()) == (inf, [-BETA])
    assert pl.slic_loss([-inf], [-1.0], delta=1.0).value == inf
    assert pl.ipo_loss([-1.0], [-inf], [-1.0], [-1.0], tau=1.0).value == inf
    assert pl.dpo_loss([-1.0], [-inf], [-1.0], [-1.0], beta=1.0, label_smoothing=0.1).value == inf


def test_losses_without_a_sum_are_refused():
    with pytest.raises(ValueError, match="must have a sum; got both inf and -inf"):
        pl.dpo_loss(
            [-1.0, -inf], [-inf, -1.0], [-1.0, -1.0], [-1.0, -1.0], beta=1.0, label_smoothing=0.1, variant="robust"
        )


# Errata


def test_eq_19_as_printed_rewards_the_wrong_thing():
    """Printed −(p_i − p_j)^+: −2 for a margin of +2, 0 for −2. Right: 0 and 2."""
    for margin, printed, right in ((2.0, -2.0, 0.0), (-2.0, 0.0, 2.0)):
        p = np.array([-3.0, -3.0 - margin])
        assert -max(p[0] - p[1], 0.0) == printed
        assert pl.rrhf_loss([p], [[1, 1]], ranks=[[1, 2]], likelihood_weight=0.0).value == right


def test_eq_20_as_printed_only_shifts_by_delta():
    """Printed δ − (m)^+: the gradient never depends on δ, and m = −1 is as good as m = 0. Right: (δ − m)^+."""
    for margin, printed, right in ((2.0, -1.0, 0.0), (0.5, 0.5, 0.5), (-1.0, 1.0, 2.0)):
        assert 1.0 - max(margin, 0.0) == printed
        assert pl.slic_loss([-5.0 + margin], [-5.0], delta=1.0).value == right


# Sequences

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(0.0, 2.0, (2, 5, 4))
LABELS = np.array([[0, 3, 1, 2, 2], [0, 1, 1, 3, 2]])
MASK = np.array([[False, True, True, False], [True, True, True, True]])


def naive_token_log_probs(logits, labels, shift):
    """Softmax by its definition, one token at a time."""
    rows = []
    for b in range(len(labels)):
        positions = range(len(labels[0]) - 1) if shift else range(len(labels[0]))
        row = []
        for t in positions:
            z = logits[b, t]
            row.append(z[labels[b][t + 1 if shift else t]] - anp.log(anp.sum(anp.exp(z))))
        rows.append(row)
    return anp.array(rows)


@pytest.mark.parametrize("shift", [True, False])
def test_token_log_probs_are_shifted_softmax(shift):
    """Entry t is about token t + 1, with shift; the gradient is autograd's."""
    result = pl.token_log_probs_from_logits(LOGITS, LABELS, shift=shift)
    np.testing.assert_allclose(result, naive_token_log_probs(LOGITS, LABELS, shift), rtol=1e-12)
    assert result.shape == (2, 4 if shift else 5)
    upstream = RNG.normal(size=result.shape)
    derivative = grad(lambda z: anp.sum(upstream * naive_token_log_probs(z, LABELS, shift)))(LOGITS)
    vjp = pl.token_log_probs_vjp(upstream, LOGITS, LABELS, shift=shift)
    np.testing.assert_allclose(vjp, derivative, rtol=1e-12, atol=1e-15)
    assert not vjp[:, -1].any() or not shift


def test_token_log_probs_by_hand():
    """Logits log 1, log 3 give 1/4 and 3/4; adding a constant to them changes nothing."""
    logits = np.log([[[1.0, 3.0], [4.0, 1.0], [9.0, 1.0]]]) + np.array([[[500.0], [-3000.0], [0.0]]])
    np.testing.assert_allclose(np.exp(pl.token_log_probs_from_logits(logits, [[0, 1, 0]])), [[0.75, 0.8]], rtol=1e-12)
    assert pl.token_log_probs_from_logits([[[7.0]]], [[0]], shift=False).tolist() == [[0.0]]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_near_certain_tokens_keep_their_digits(dtype):
    """log π = −1e-9 from logits 20 apart, −1e4 from logits 1e4 apart; 1 − softmax likewise."""
    logits = np.array([[[0.0, 20.75, -3.0], [1e4, 0.0, 3.0], [-np.inf, 2.0, 2.0], [-np.inf, 2.0, 2.0]]], dtype)
    labels = [[1, 1, 1, 0]]
    result = pl.token_log_probs_from_logits(logits, labels, shift=False)
    vjp = pl.token_log_probs_vjp(np.ones((1, 4), dtype), logits, labels, shift=False)
    with mpmath.workdps(50):
        z = [[mpmath.mpf(float(x)) for x in row] for row in logits[0]]
        softmax = [[mpmath.exp(x) / mpmath.fsum(mpmath.exp(y) for y in row) for x in row] for row in z]
        exact = [float(mpmath.log(softmax[t][labels[0][t]])) if t < 3 else -inf for t in range(4)]
        slopes = [[float((v == labels[0][t]) - softmax[t][v]) for v in range(3)] for t in range(4)]
    rtol, atol = (1e-14, 0.0) if dtype == np.float64 else (1.3e-7, 1e-45)
    assert result.dtype == vjp.dtype == dtype
    np.testing.assert_allclose(result[0], exact, rtol=rtol)
    np.testing.assert_allclose(vjp[0], slopes, rtol=rtol, atol=atol)
    assert -1e-8 < result[0, 0] < 0.0


def test_sequence_log_probs_by_hand():
    """Masked sums and means; what is masked may be anything."""
    tokens = np.array([[nan, -1.0, -2.0, inf], [-3.0, -0.5, 0.0, -1.0]])
    mask = np.array([[0, 1, 1, 0], [1, 1, 1, 1]])
    assert pl.sequence_log_probs(tokens, mask).tolist() == [-3.0, -4.5]
    assert pl.sequence_log_probs(tokens, mask == 1, average=True).tolist() == [-1.5, -1.125]
    assert pl.sequence_log_probs_vjp([1.0, 2.0], mask).tolist() == [[0, 1, 1, 0], [2, 2, 2, 2]]
    assert pl.sequence_log_probs_vjp([1.0, 2.0], mask, average=True).tolist() == [[0, 0.5, 0.5, 0], [0.5] * 4]
    assert pl.sequence_log_probs(np.float32(tokens), mask).dtype == np.float32


def test_a_long_sequence_of_near_certain_tokens():
    """A thousand tokens of −1e-9 in float32: the sum is −1e-6, not lost beside other numbers."""
    tokens = np.full((1, 1000), -1e-9, np.float32)
    total = pl.sequence_log_probs(tokens, np.ones((1, 1000)))
    assert total[0] == np.float32(1000 * float(tokens[0, 0]))


@pytest.mark.parametrize("average", [False, True])
def test_from_logits_to_a_loss_and_back(average):
    """The chain logits → tokens → sequences → DPO, and its gradient at the logits, equal autograd's end to end."""
    reference = np.array([-6.0]), np.array([-9.0])

    def loss(z):
        tokens = anp.sum(naive_token_log_probs(z, LABELS, True) * MASK, axis=1)
        tokens = tokens / MASK.sum(axis=1) if average else tokens
        return -AUTOGRAD.log_sigmoid(BETA * ((tokens[0] - reference[0][0]) - (tokens[1] - reference[1][0])))

    tokens = pl.token_log_probs_from_logits(LOGITS, LABELS)
    sequences = pl.sequence_log_probs(tokens, MASK, average=average)
    result = pl.dpo_loss(sequences[:1], sequences[1:], *reference, beta=BETA)
    assert result.value == pytest.approx(float(loss(LOGITS)), rel=1e-13)
    at_sequences = np.concatenate([result.gradients["policy_chosen"], result.gradients["policy_rejected"]])
    at_tokens = pl.sequence_log_probs_vjp(at_sequences, MASK, average=average)
    at_logits = pl.token_log_probs_vjp(at_tokens, LOGITS, LABELS)
    np.testing.assert_allclose(at_logits, grad(loss)(LOGITS), rtol=1e-11, atol=1e-15)


def test_completion_mask_by_hand():
    """Prompt out, end-of-sequence in, what follows out; also where padding and end are the same token."""

    def mask(tokens, **keywords):
        return pl.completion_mask(tokens, shift=False, **keywords).astype(int).tolist()

    assert mask([[5, 6, 7, 2, 0, 0]], prompt_lengths=2, end_of_sequence=2, padding=0) == [[0, 0, 1, 1, 0, 0]]
    assert mask([[5, 6, 7, 2, 2, 2]], prompt_lengths=2, end_of_sequence=2, padding=2) == [[0, 0, 1, 1, 0, 0]]
    assert mask([[5, 6, 7, 2, 9, 2]], end_of_sequence=2) == [[1, 1, 1, 1, 0, 0]]
    assert mask([[5, 2, 7, 8, 2, 0]], prompt_lengths=2, end_of_sequence=2, padding=0) == [[0, 0, 1, 1, 1, 0]]
    assert mask([[5, 6, 7, 8]], end_of_sequence=2, padding=0) == [[1, 1, 1, 1]]  # cut off
    assert mask([[0, 0, 5, 6], [5, 6, 7, 2]], prompt_lengths=[3, 1], padding=0) == [[0, 0, 0, 1], [0, 1, 1, 1]]
    assert mask([[5, 2, 7, 8]], prompt_lengths=1, end_of_sequence=2) == [[0, 1, 0, 0]]  # ends at once
    assert mask([[0, 5, 6, 0]], padding=0) == [[0, 1, 1, 0]]


def test_completion_mask_is_shifted_with_the_tokens():
    """Column t is about token t + 1, so the end-of-sequence token stays in."""
    tokens = [[5, 6, 7, 2, 0]]
    keywords = {"prompt_lengths": 2, "end_of_sequence": 2, "padding": 0}
    unshifted = pl.completion_mask(tokens, **keywords, shift=False)
    np.testing.assert_array_equal(pl.completion_mask(tokens, **keywords), unshifted[:, 1:])
    assert pl.completion_mask(tokens, **keywords).tolist() == [[False, True, True, False]]


# What comes in stays as it was; what goes out cannot be changed


def calls():
    """Every loss once, as a function of arrays, with the arrays."""
    for name, case in CASES.items():
        yield name, case.loss, inputs_of(case, "generic")
    yield "pairwise", pl.pairwise_loss, batch("generic")[:2]
    yield "rrhf", lambda p, n, s: pl.rrhf_loss(p, n, scores=s), RRHF
    yield "mixture", pl.annotator_mixture_loss, MIXTURE
    yield (
        "policy gradient",
        lambda p, r, w: pl.kl_controlled_policy_gradient_loss(p, r, w, beta=BETA),
        batch("generic")[:3],
    )


@pytest.mark.parametrize(("name", "loss", "inputs"), list(calls()), ids=lambda x: x if isinstance(x, str) else "")
def test_inputs_are_not_modified_and_results_are_read_only(name, loss, inputs):
    """Read-only arrays come in, come out unchanged, and the result is read-only and shares no memory with them."""
    copies = [x.copy() for x in inputs]
    for x in copies:
        x.flags.writeable = False
    result, again = loss(*copies), loss(*copies)
    for x, y in zip(copies, inputs, strict=True):
        np.testing.assert_array_equal(x, y)
    assert result.value == again.value
    for x in (result.losses, *result.gradients.values()):
        assert not x.flags.writeable
        assert not any(np.shares_memory(x, y) for y in copies)
    with pytest.raises(TypeError):
        result.gradients["policy_chosen"] = None
    # Plain lists are float64.
    from_lists = loss(*(x.tolist() for x in copies))
    assert from_lists.value == result.value
    assert from_lists.losses.dtype == np.float64


@pytest.mark.parametrize("name", [name for name in pl.__all__ if name.endswith("_loss")])
def test_conventions_have_one_default(name):
    """Every convention is keyword-only; reduction is the mean, no smoothing, no margin; hyperparameters have none."""
    parameters = inspect.signature(getattr(pl, name)).parameters
    positional = {"scores", "ranks", "lengths", "policy", "reference", "rewards", "weight_logits"}
    for parameter in parameters.values():
        is_data = (
            parameter.name.startswith(("policy", "reference", "chosen", "rejected")) or parameter.name in positional
        )
        assert is_data or parameter.kind is inspect.Parameter.KEYWORD_ONLY, parameter
    assert parameters["reduction"].default == "mean"
    for hyperparameter in {"beta", "alpha", "delta", "tau"} & set(parameters):
        assert parameters[hyperparameter].default is inspect.Parameter.empty


# Bad input

V = [-1.0, -2.0]
PAIR = {"policy_chosen": V, "policy_rejected": V}
ALL_FOUR = {**PAIR, "reference_chosen": V, "reference_rejected": V}
VALID = {
    "bradley_terry_loss": {"chosen_rewards": V, "rejected_rewards": V},
    "pairwise_loss": {"chosen_utilities": V, "rejected_utilities": V},
    "pbde_loss": {**PAIR, "f_chosen": 1.0, "f_rejected": 1.0},
    "dpo_loss": {**ALL_FOUR, "beta": 1.0},
    "geometric_loss": {**ALL_FOUR, "alpha": 1.0},
    "length_normalized_loss": {**PAIR, "chosen_lengths": [1, 1], "rejected_lengths": [1, 1]},
    "slic_loss": {**PAIR, "delta": 1.0},
    "rso_loss": {**ALL_FOUR, "delta": 1.0},
    "ipo_loss": {**ALL_FOUR, "tau": 1.0},
    "rrhf_loss": {"policy": [V], "lengths": [[1, 1]], "ranks": [[1, 2]]},
    "annotator_mixture_loss": {"policy_chosen": [V], "policy_rejected": [V], "weight_logits": [0.0, 0.0]},
    "kl_controlled_policy_gradient_loss": {"policy": V, "reference": V, "rewards": V, "beta": 1.0},
    "sequence_log_probs": {"token_log_probs": [V], "mask": [[1, 1]]},
    "sequence_log_probs_vjp": {"upstream": [1.0], "mask": [[1, 1]]},
    "token_log_probs_from_logits": {"logits": [[[0.0, 1.0]]], "labels": [[0]], "shift": False},
    "token_log_probs_vjp": {"upstream": [[1.0]], "logits": [[[0.0, 1.0]]], "labels": [[0]], "shift": False},
    "completion_mask": {"tokens": [[1, 2]]},
}
EXCLUDED = {"policy_chosen": [-1.0, -inf], "policy_rejected": [-1.0, -inf]}
BAD_VALUES = [
    ("dpo_loss", {"beta": 0.0}, "`beta` must be positive; got 0.0"),
    ("dpo_loss", {"beta": -0.1}, "`beta` must be positive; got -0.1"),
    ("dpo_loss", {"beta": nan}, "`beta` must be free of NaN; got nan"),
    ("dpo_loss", {"policy_chosen": [-1.0, nan]}, "`policy_chosen` must be free of NaN; got nan at index 1"),
    ("dpo_loss", {"policy_chosen": [-1.0, 0.5]},
     "`policy_chosen` must be at most 0 (a log-probability); got 0.5 at index 1"),
    ("dpo_loss", {"policy_chosen": []}, "`policy_chosen` must be a vector with at least one entry; got shape (0,)"),
    ("dpo_loss", {"policy_chosen": [V]}, "`policy_chosen` must be a vector with at least one entry; got shape (1, 2)"),
    ("dpo_loss", {"policy_rejected": [-1.0]},
     "`policy_rejected` must have shape (2,), as the arguments before it; got shape (1,)"),
    ("dpo_loss", {"reference_chosen": [V]},
     "`reference_chosen` must have shape (2,), as the arguments before it; got shape (1, 2)"),
    ("dpo_loss", {"reference_rejected": -1.0},
     "`reference_rejected` must have shape (2,), as the arguments before it; got shape ()"),
    ("dpo_loss", {"reference_rejected": [0.0, 1e-9]},
     "`reference_rejected` must be at most 0 (a log-probability); got 1e-09"),
    ("dpo_loss", {"reference_chosen": [-inf, 0.0]}, "`reference_chosen` must be finite; got -inf at index 0"),
    ("dpo_loss", EXCLUDED, "`policy_chosen` and `policy_rejected` must not be the same infinity in a pair"),
    ("dpo_loss", EXCLUDED, "got -inf twice at index 1"),
    ("dpo_loss", {"label_smoothing": 0.5}, "`label_smoothing` must be in [0, 1/2); got 0.5"),
    ("dpo_loss", {"label_smoothing": -0.1}, "`label_smoothing` must be in [0, 1/2); got -0.1"),
    ("dpo_loss", {"variant": "hinge"}, "`variant` must be 'cdpo' or 'robust'; got 'hinge'"),
    ("dpo_loss", {"reduction": "none"},
     "`reduction` must be 'mean' or 'sum' (each example's own loss is in the result's"),
    ("bradley_terry_loss", {"chosen_rewards": [1.0, inf]}, "`chosen_rewards` must be finite; got inf at index 1"),
    ("bradley_terry_loss", {"margin": -1.0}, "`margin` must be non-negative; got -1.0"),
    ("bradley_terry_loss", {"margin": [0.0, inf]}, "`margin` must be finite; got inf at index 1"),
    ("bradley_terry_loss", {"margin": [0, 0, 0]}, "`margin` must be a number or have shape (2,); got shape (3,)"),
    ("pairwise_loss", {"chosen_utilities": [inf, 0], "rejected_utilities": [inf, 0]}, "got inf twice at index 0"),
    ("pairwise_loss", {"margin": -1.0}, "`margin` must be non-negative; got -1.0"),
    ("pairwise_loss", {"objective": "dpo"}, "`objective` must be one of 'bradley_terry'"),
    ("pbde_loss", {"f_rejected": [1.0, -0.5]}, "`f_rejected` must be positive; got -0.5 at index 1"),
    ("pbde_loss", {"f_chosen": 0.0}, "`f_chosen` must be positive; got 0.0"),
    ("pbde_loss", {"g_chosen": inf}, "`g_chosen` must be finite; got inf"),
    ("geometric_loss", {"alpha": 0.0}, "`alpha` must be positive; got 0.0"),
    ("length_normalized_loss", {"chosen_lengths": [1, 0]}, "`chosen_lengths` must be positive; got 0.0 at index 1"),
    ("length_normalized_loss", {"rejected_lengths": [-2, 1]},
     "`rejected_lengths` must be positive; got -2.0 at index 0"),
    ("length_normalized_loss", {"chosen_lengths": 3}, "`chosen_lengths` must have shape (2,)"),
    ("length_normalized_loss", {"chosen_lengths": [1, inf]}, "`chosen_lengths` must be finite; got inf at index 1"),
    ("length_normalized_loss", {"scale": 0.0}, "`scale` must be positive; got 0.0"),
    ("length_normalized_loss", {"margin": -0.5}, "`margin` must be non-negative; got -0.5"),
    ("slic_loss", {"delta": -1.0}, "`delta` must be non-negative; got -1.0"),
    ("slic_loss", {"lambda_": -1.0}, "`lambda_` must be non-negative; got -1.0"),
    ("slic_loss", {"lambda_": 1.0},
     "`regularization` must be given if `lambda_` is positive; got lambda_=1.0 and None"),
    ("slic_loss", {"regularization": []}, "`regularization` must be a vector with at least one entry; got shape (0,)"),
    ("slic_loss", {"regularization": [2.0]},
     "`regularization` must be at most 0 (a log-probability); got 2.0 at index 0"),
    ("slic_loss", {"reduction": "none", "regularization": V}, "`reduction` must be 'mean' or 'sum'"),
    ("rso_loss", {"delta": -0.25}, "`delta` must be non-negative; got -0.25"),
    ("ipo_loss", {"tau": 0.0}, "`tau` must be positive; got 0.0"),
    ("ipo_loss", {"average": True},
     "`chosen_lengths` must be given exactly if `average` is true; got average=True and None"),
    ("ipo_loss", {"rejected_lengths": [1, 2]}, "`rejected_lengths` must be given exactly if `average` is true"),
    ("ipo_loss", {"average": True, "chosen_lengths": [1, 0]}, "`chosen_lengths` must be positive; got 0.0 at index 1"),
    ("rrhf_loss", {"ranks": None}, "exactly one of `scores` and `ranks` must be given; got none"),
    ("rrhf_loss", {"scores": [[1, 2]]}, "exactly one of `scores` and `ranks` must be given; got both"),
    ("rrhf_loss", {"policy": [[-1.0]]}, "`policy` must have at least 2 candidates for each prompt; got shape (1, 1)"),
    ("rrhf_loss", {"policy": V}, "`policy` must be an array of 2 axes with at least one entry; got shape (2,)"),
    ("rrhf_loss", {"policy": [[-1.0, 3.0]]}, "`policy` must be at most 0 (a log-probability); got 3.0 at index (0, 1)"),
    ("rrhf_loss", {"policy": [[-inf, -inf]]},
     "`policy` must not be -inf for both candidates of a pair that is compared"),
    ("rrhf_loss", {"policy": [[-1, -2, -3], [-1, -inf, -inf]], "lengths": np.ones((2, 3)), "ranks": [[1, 2, 3]] * 2},
     "got -inf for candidates 1 and 2 at index 1"),
    ("rrhf_loss", {"lengths": [[1, 0]]}, "`lengths` must be positive; got 0.0 at index (0, 1)"),
    ("rrhf_loss", {"ranks": [[1, nan]]}, "`ranks` must be free of NaN; got nan at index (0, 1)"),
    ("rrhf_loss", {"ranks": [[1, 2, 3]]},
     "`ranks` must have shape (1, 2), as the arguments before it; got shape (1, 3)"),
    ("rrhf_loss", {"likelihood_weight": -1.0}, "`likelihood_weight` must be non-negative; got -1.0"),
    ("annotator_mixture_loss", {"policy_chosen": V}, "`policy_chosen` must be an array of 2 axes"),
    ("annotator_mixture_loss", {"weight_logits": [0.0]}, "`weight_logits` must have shape (2,)"),
    ("annotator_mixture_loss", {"weight_logits": [0.0, -inf]}, "`weight_logits` must be finite; got -inf at index 1"),
    ("kl_controlled_policy_gradient_loss", {"beta": -1.0}, "`beta` must be non-negative; got -1.0"),
    ("kl_controlled_policy_gradient_loss", {"policy": [0.0, -inf]}, "`policy` must be finite; got -inf at index 1"),
    ("kl_controlled_policy_gradient_loss", {"rewards": [nan, 0.0]},
     "`rewards` must be free of NaN; got nan at index 0"),
    ("sequence_log_probs", {"mask": [[0, 0]]},
     "`mask` must have at least one token in each sequence; got none at index 0"),
    ("sequence_log_probs", {"mask": [[0, 2]]}, "`mask` must be 0 or 1; got 2 at index (0, 1)"),
    ("sequence_log_probs", {"mask": [[1, nan]]}, "`mask` must be 0 or 1; got nan at index (0, 1)"),
    ("sequence_log_probs", {"mask": [0, 1]},
     "`mask` must be an array of 2 axes with at least one entry; got shape (2,)"),
    ("sequence_log_probs", {"mask": [[1, 1, 1]]},
     "`token_log_probs` must have the mask's shape (1, 3); got shape (1, 2)"),
    ("sequence_log_probs", {"token_log_probs": [[nan, 0]]},
     "`token_log_probs` must be free of NaN where the mask is true"),
    ("sequence_log_probs", {"token_log_probs": [[0.1, 0]]},
     "`token_log_probs` must be at most 0 (a log-probability) where"),
    ("sequence_log_probs_vjp", {"upstream": [1.0, 2.0]}, "`upstream` must have shape (1,)"),
    ("token_log_probs_from_logits", {"labels": [[-100]]}, "`labels` must be in [0, 2); got -100 at index (0, 0)"),
    ("token_log_probs_from_logits", {"labels": [[2]]}, "`labels` must be in [0, 2); got 2 at index (0, 0)"),
    ("token_log_probs_from_logits", {"labels": [[0, 1]]},
     "`labels` must have the logits' shape (1, 1); got shape (1, 2)"),
    ("token_log_probs_from_logits", {"labels": [0]}, "`labels` must be an array of 2 axes"),
    ("token_log_probs_from_logits", {"shift": True},
     "`labels` must have at least 2 tokens to shift by one; got shape (1, 1)"),
    ("token_log_probs_from_logits", {"logits": [[[0, inf]]]},
     "`logits` must be below +inf; got inf at index (0, 0, 1)"),
    ("token_log_probs_from_logits", {"logits": [[[-inf, -inf]]]}, "`logits` must be above -inf for some token"),
    ("token_log_probs_from_logits", {"logits": [[[0, nan]]]},
     "`logits` must be free of NaN; got nan at index (0, 0, 1)"),
    ("token_log_probs_from_logits", {"logits": [[0, 1]]},
     "`logits` must be an array of 3 axes with at least one entry"),
    ("token_log_probs_vjp", {"upstream": [1.0]}, "`upstream` must have shape (1, 1)"),
    ("completion_mask", {"prompt_lengths": 2},
     "`mask` must have at least one token in each sequence; got none at index 0"),
    ("completion_mask", {"tokens": [[0, 0]], "padding": 0}, "`mask` must have at least one token in each sequence"),
    ("completion_mask", {"prompt_lengths": -1}, "`prompt_lengths` must be non-negative; got -1"),
    ("completion_mask", {"prompt_lengths": [1, 1]}, "`prompt_lengths` must be a whole number or have shape (1,)"),
    ("completion_mask", {"end_of_sequence": -1}, "`end_of_sequence` must be at least 0; got -1"),
]  # fmt: skip
BAD_TYPES = [
    ("dpo_loss", {"beta": [0.1, 0.2]}, "`beta` must be a single number; got shape (2,)"),
    ("dpo_loss", {"policy_chosen": "abc"}, "`policy_chosen` must be an array of real numbers; got 'abc'"),
    ("pairwise_loss", {"objective": "ipo"}, "objective 'ipo' must have the parameter `tau`"),
    ("token_log_probs_from_logits", {"labels": [[0.0]]}, "`labels` must be whole numbers; got dtype float64"),
    ("completion_mask", {"tokens": [[1.5, 2]]}, "`tokens` must be whole numbers; got dtype float64"),
    ("completion_mask", {"end_of_sequence": 0.5}, "`end_of_sequence` must be a whole number; got 0.5"),
]
BAD = [(*row, ValueError) for row in BAD_VALUES] + [(*row, TypeError) for row in BAD_TYPES]


@pytest.mark.parametrize(("name", "change", "message", "error"), BAD)
def test_bad_input(name, change, message, error):
    """The error names the argument, the rule and the value; without the change the call is valid."""
    function = getattr(pl, name)
    function(**VALID[name])
    with pytest.raises(error, match=re.escape(message)):
        function(**{**VALID[name], **change})


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for name, arguments in VALID.items() if name.endswith("_loss")
        for argument, value in list(arguments.items())[1:] if isinstance(value, list)
    ],
)  # fmt: skip
def test_one_entry_is_not_repeated_over_the_batch(name, argument):
    """NumPy would broadcast it: an argument of another example's size is refused by name."""
    short = np.array(VALID[name][argument])[..., :1].tolist()
    with pytest.raises(ValueError, match=f"`{argument}` must have shape"):
        getattr(pl, name)(**{**VALID[name], argument: short})


def test_losses_whose_sum_overflows_are_infinite():
    """Each is finite, their sum and mean are not, and nothing warns."""
    result = pl.pairwise_loss([-1.5e308, -1.5e308], [0.0, 0.0])
    np.testing.assert_array_equal(result.losses, [1.5e308, 1.5e308])
    assert result.value == inf


def test_gradients_bear_the_arguments_names():
    """Also those of a loss of plain utilities."""
    assert set(pl.pairwise_loss(V, V).gradients) == {"chosen_utilities", "rejected_utilities"}


def test_no_zero_is_negative():
    """The gradient of an inactive hinge is 0.0 for both, not -0.0 for one."""
    result = pl.slic_loss([-1.0], [-9.0], delta=1.0)
    for x in (result.losses, *result.gradients.values()):
        assert x.tolist() == [0.0]
        assert not np.signbit(x).any()


def test_every_function_has_bad_input():
    assert {name for name, *_ in BAD} == set(VALID) == {name for name in pl.__all__ if name != "BatchLoss"}
