"""Objectives as functions of the margin: by hand, to 50 digits, and their derivatives."""

from __future__ import annotations

from fractions import Fraction
from math import inf, log

import mpmath
import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.objectives import (
    BRADLEY_TERRY,
    Objective,
    as_objective,
    davidson,
    discopop,
    exo,
    hinge,
    ipo,
    robust,
    rrhf,
    smoothed,
    with_margin,
)

MARGINS = np.array([-1e4, -100.0, -3.7, -0.3, -1e-9, 0.0, 1e-9, 0.2, 2.9, 40.0, 100.0, 700.0])


def log_sigmoid(z):
    return -mpmath.log1p(mpmath.exp(-z))


# Each objective beside its formula; transcribed, in mpmath.
EPSILON = mpmath.mpf(0.1)
FORMULAS = {
    "bradley_terry": (BRADLEY_TERRY, lambda m: -log_sigmoid(m)),
    "smoothed": (smoothed(0.1), lambda m: -(1 - EPSILON) * log_sigmoid(m) - EPSILON * log_sigmoid(-m)),
    "robust": (
        robust(0.1),
        lambda m: (-(1 - EPSILON) * log_sigmoid(m) + EPSILON * log_sigmoid(-m)) / (1 - 2 * EPSILON),
    ),
    "hinge": (hinge(0.75), lambda m: max(mpmath.mpf(0.75) - m, mpmath.mpf(0))),
    "rrhf": (rrhf(), lambda m: max(-m, mpmath.mpf(0))),
    "ipo": (ipo(0.3), lambda m: (m - 1 / (2 * mpmath.mpf(0.3))) ** 2),
    "exo": (
        exo(0.1),
        lambda m: sum(
            mpmath.exp(log_sigmoid(s * m)) * (log_sigmoid(s * m) - mpmath.log(share))
            for s, share in ((1, 1 - EPSILON), (-1, EPSILON))
        ),
    ),
    "discopop": (
        discopop(0.3),
        lambda m: (
            -mpmath.exp(log_sigmoid(-m / mpmath.mpf(0.3))) * log_sigmoid(m)
            + mpmath.exp(log_sigmoid(m / mpmath.mpf(0.3)) - m)
        ),
    ),
    "davidson": (
        davidson(0.3),
        lambda m: mpmath.log1p(mpmath.exp(-m) + 2 * mpmath.mpf(0.3) * mpmath.exp(-m / 2)),
    ),
    "margin": (with_margin(BRADLEY_TERRY, 0.5), lambda m: -log_sigmoid(m - mpmath.mpf(0.5))),
}
SMOOTH = {"bradley_terry", "smoothed", "robust", "ipo", "margin", "exo", "discopop", "davidson"}


@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_derivatives_to_fifty_digits(name):
    objective, formula = FORMULAS[name]
    with mpmath.workdps(50):
        exact = [formula(mpmath.mpf(float(m))) for m in MARGINS]
        h = mpmath.mpf(10) ** -15
        points = [mpmath.mpf(float(m)) + (0 if name in SMOOTH else 3 * h) for m in MARGINS]
        slopes = [(formula(m + h) - formula(m - h)) / (2 * h) for m in points]
        curvatures = [(formula(m + h) - 2 * formula(m) + formula(m - h)) / h**2 for m in points]
    # Rounding of the objective's own few operations; absolute terms are for zero crossings.
    np.testing.assert_allclose(objective.value(MARGINS), np.array(exact, float), rtol=4e-15, atol=1e-300)
    # At the hinges' kinks the differences are taken on the right, which is the documented subgradient.
    np.testing.assert_allclose(objective.derivative(MARGINS), np.array(slopes, float), rtol=1e-14, atol=1e-16)
    # h² of the second difference leaves 20 digits.
    np.testing.assert_allclose(
        objective.second_derivative(MARGINS), np.array(curvatures, float), rtol=1e-13, atol=1e-18
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_central_differences(name):
    objective, _ = FORMULAS[name]
    m, h = np.array([-2.1, -0.4, 0.3, 1.9]), 1e-5
    # Truncation h² and rounding 1e-16 / h are both below 1e-9.
    slopes = (objective.value(m + h) - objective.value(m - h)) / (2 * h)
    np.testing.assert_allclose(objective.derivative(m), slopes, rtol=1e-8, atol=1e-9)
    curvatures = (objective.derivative(m + h) - objective.derivative(m - h)) / (2 * h)
    np.testing.assert_allclose(objective.second_derivative(m), curvatures, rtol=1e-8, atol=1e-9)


def test_by_hand():
    three = np.log(3.0)
    assert float(BRADLEY_TERRY.value(three)) == pytest.approx(log(4 / 3), rel=1e-15)
    assert float(BRADLEY_TERRY.derivative(three)) == pytest.approx(-Fraction(1, 4), rel=1e-15)
    assert float(BRADLEY_TERRY.second_derivative(three)) == pytest.approx(Fraction(3, 16), rel=1e-15)
    assert float(smoothed(0.125).value(three)) == pytest.approx(7 / 8 * log(4 / 3) + log(4) / 8, rel=1e-15)
    assert float(robust(0.125).value(three)) == pytest.approx((7 / 8 * log(4 / 3) - log(4) / 8) / 0.75, rel=1e-14)
    assert float(ipo(0.25).value(np.array(5.0))) == (5 - 2) ** 2
    assert hinge(2.0).value(np.array([-1.0, 1.5, 2.0, 7.0])).tolist() == [3.0, 0.5, 0.0, 0.0]
    assert rrhf().value(np.array([-1.5, 0.0, 2.0])).tolist() == [1.5, 0.0, 0.0]
    assert float(with_margin(hinge(1.0), 0.5).value(np.array(1.25))) == 0.25


def test_subgradient_at_the_kink_is_zero():
    for delta in (0.0, 0.25, 2.0):
        m = np.array([np.nextafter(delta, -inf), delta, np.nextafter(delta, inf)])
        assert hinge(delta).derivative(m).tolist() == [-1.0, 0.0, 0.0]


def test_infinite_margins():
    m = np.array([-inf, inf])
    values = {name: objective.value(m).tolist() for name, (objective, _) in FORMULAS.items()}
    assert values["bradley_terry"] == values["hinge"] == values["rrhf"] == values["margin"] == [inf, 0.0]
    assert values["smoothed"] == values["ipo"] == [inf, inf]
    assert values["robust"] == [inf, -inf]
    for objective, _ in FORMULAS.values():
        assert not np.isnan(objective.derivative(m)).any()
        assert not np.isnan(objective.second_derivative(m)).any()


def test_smoothing_of_zero_and_margin_of_zero_are_the_objective_itself():
    # Exact expectations recognise this one by identity.
    assert smoothed(0.0) is robust(0.0) is with_margin(BRADLEY_TERRY, 0.0) is BRADLEY_TERRY
    assert as_objective("bradley_terry") is as_objective(BRADLEY_TERRY) is BRADLEY_TERRY


def test_robust_undoes_flips_in_expectation():
    m = np.array([-3.0, -0.1, 0.0, 2.0])
    for epsilon in (0.05, 0.3, 0.45):
        loss = robust(epsilon)
        noisy = (1 - epsilon) * loss.value(m) + epsilon * loss.value(-m)
        # 1 / (1 − 2ε) is at most 10, which multiplies the rounding.
        np.testing.assert_allclose(noisy, BRADLEY_TERRY.value(m), rtol=1e-13)


def test_smoothed_is_least_at_the_logit_of_the_label():
    assert abs(float(smoothed(0.1).derivative(np.log(9.0)))) < 1e-16


@pytest.mark.parametrize(
    ("name", "parameters", "like"),
    [
        ("ipo", {"tau": 0.3}, ipo(0.3)),
        ("slic", {"delta": 0.5}, hinge(0.5)),
        ("rso", {"delta": 0.5}, hinge(0.5)),
        ("hinge", {"delta": 0.5}, hinge(0.5)),
        ("rrhf", {}, hinge(0.0)),
        ("smoothed", {"epsilon": 0.2}, smoothed(0.2)),
        ("robust", {"epsilon": 0.2}, robust(0.2)),
    ],
)
def test_names(name, parameters, like):
    objective = as_objective(name, **parameters)
    assert (objective.name, objective.parameters) == (like.name, like.parameters)
    np.testing.assert_array_equal(objective.value(MARGINS), like.value(MARGINS))
    assert as_objective(objective) is objective


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: as_objective("dpo2"),
            ValueError,
            r"`objective` must be one of bradley_terry, .*ipo\(tau\), .*; got 'dpo2'",
        ),
        (
            lambda: as_objective("ipo"),
            TypeError,
            r"'ipo' must have the parameter `tau`.*tau=\.\.\.\); got no parameters",
        ),
        (
            lambda: as_objective("slic", tau=1.0),
            TypeError,
            r"'slic' must have the parameter `delta`.*got the parameter `tau`",
        ),
        (
            lambda: as_objective("rrhf", delta=1.0),
            TypeError,
            r"'rrhf' must have no parameters.*got the parameter `delta`",
        ),
        (
            lambda: as_objective(ipo(1.0), tau=2.0),
            TypeError,
            r"already has its parameters; got also the parameter `tau`",
        ),
        (lambda: as_objective(3.0), TypeError, r"must be a name or an Objective, such as ipo\(tau\); got 3.0"),
        (lambda: ipo(0.0), ValueError, r"`tau` must be positive; got 0.0"),
        (lambda: ipo(inf), ValueError, r"`tau` must be finite; got inf"),
        (lambda: ipo([1.0]), TypeError, r"`tau` must be a single number"),
        (lambda: hinge(-0.5), ValueError, r"`delta` must be non-negative; got -0.5"),
        (lambda: hinge(np.nan), ValueError, r"`delta` must be free of NaN"),
        (lambda: smoothed(0.5), ValueError, r"`epsilon` must be in \[0, 1/2\); got 0.5"),
        (lambda: robust(-0.1), ValueError, r"`epsilon` must be in \[0, 1/2\); got -0.1"),
        (lambda: with_margin("bradley_terry", -1.0), ValueError, r"`margin` must be non-negative; got -1.0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_objective_is_frozen_and_says_what_it_is():
    assert repr(ipo(0.5)) == "Objective(name='ipo', parameters=mappingproxy({'tau': 0.5}))"
    with pytest.raises(TypeError):
        ipo(0.5).parameters["tau"] = 1.0
    assert with_margin(with_margin(hinge(1.0), 0.5), 0.25).parameters == {"delta": 1.0, "margin": 0.75}
    # Whoever solves by name must not take a shifted hinge for a hinge.
    assert with_margin(hinge(1.0), 0.5).name == "hinge with margin"


OWN = Objective("exponential", lambda m: np.exp(-m), lambda m: -np.exp(-m), lambda m: np.exp(-m))


@pytest.mark.parametrize(
    "objective",
    [BRADLEY_TERRY, smoothed(0.1), robust(0.1), hinge(0.7), rrhf(), ipo(0.3), with_margin(ipo(1.0), 0.2), OWN],
    ids=lambda objective: objective.name,
)
def test_expected_loss_takes_every_objective(objective):
    """The expectation and its derivatives equal a double loop over the support."""
    utilities = np.array([0.9, -0.4, 0.1])
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([0.5, 0.3, 0.2]), pb.luce())
    proposal = pb.JointProposal([[1, 4, 2], [0, 3, 5], [6, 2, 1]])
    p, q = annotator.preference_probabilities(), proposal.matrix(3)
    value, gradient, hessian = 0.0, np.zeros(3), np.zeros((3, 3))
    for a in range(3):
        for b in range(3):
            for winner, loser, weight in ((a, b, q[a, b] * p[a, b]), (b, a, q[a, b] * p[b, a])):
                m = utilities[winner] - utilities[loser]
                direction = np.eye(3)[winner] - np.eye(3)[loser]
                value += weight * float(objective.value(m))
                gradient += weight * float(objective.derivative(m)) * direction
                hessian += weight * float(objective.second_derivative(m)) * np.outer(direction, direction)
    result = pb.expected_loss(objective, annotator, utilities, proposal)
    assert result.value == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(result.gradient, gradient, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(pb.expected_hessian(objective, annotator, utilities, proposal), hessian, atol=1e-14)


def test_the_printed_eq_20_has_no_minimum():
    """With p = 3/4 the right hinge is least at d = δ; the printed bracket falls without bound."""
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    pair = pb.JointProposal([[0, 1], [0, 0]])
    printed = Objective(
        "printed", lambda m: 1.0 - np.maximum(m, 0.0), lambda m: np.where(m > 0.0, -1.0, 0.0), np.zeros_like
    )
    at = [pb.expected_loss(hinge(1.0), annotator, [d, 0.0], pair).value for d in (0.0, 1.0, 100.0)]
    assert at == pytest.approx([1.0, 0.5, 25.25])
    assert pb.expected_loss(printed, annotator, [100.0, 0.0], pair).value == pytest.approx(-74.0)


@pytest.mark.parametrize("tau", [0.05, 0.3, 1.0, 3.174, 40.0])
@pytest.mark.parametrize("m", [-1500.0, -999.92, -724.9, -31.0, -2.5, 0.0, 3.0, 50.0, 900.0])
def test_discopop_to_fifty_digits(tau, m):
    """With τ above 1 the exponential outgrows its weight: below a margin of -700 it is nearly all of the loss."""

    def exact(m):
        s = 1 / (1 + mpmath.exp(-m / tau))
        return (1 - s) * mpmath.log1p(mpmath.exp(-m)) + s * mpmath.exp(-m)

    objective = discopop(tau)
    with mpmath.workdps(50 + 800):
        at = mpmath.mpf(m)
        wanted = [mpmath.diff(exact, at, order, h=mpmath.mpf(10) ** -200) if order else exact(at) for order in range(3)]
    found = [objective.value(np.array(m)), objective.derivative(np.array(m)), objective.second_derivative(np.array(m))]
    for ours, right in zip(found, wanted, strict=True):
        right = float(right) if abs(right) < 1.7e308 else inf * (1 if right > 0 else -1)
        assert float(ours) == pytest.approx(right, rel=1e-11, abs=1e-300)
