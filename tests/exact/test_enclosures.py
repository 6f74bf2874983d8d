"""Boxes that hold a minimum, and what errors of utilities make of a policy, against exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import brentq

import pbde_ref as pb
from pbde_ref.exact.enclosures import largest_difference, lies_between, policy_distance, policy_rounding


@pytest.mark.parametrize("seed", range(30))
def test_no_policy_within_the_errors_is_further_off(seed):
    """Extreme and random shifts of the utilities, each normalised again by its own root."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    pmf, f = pb.FiniteDistribution(rng.uniform(0.0, 8.0, n)).pmf, 10.0 ** rng.uniform(-1.0, 1.0, n)
    errors = 10.0 ** rng.uniform(-8.0, 0.3) * rng.random(n)
    bound, furthest = policy_distance(pmf, errors, f), 0.0
    for k in range(2**n + 30):
        signs = 1.0 - 2.0 * ((k >> np.arange(n)) & 1) if k < 2**n else rng.uniform(-1.0, 1.0, n)
        v = signs * errors
        top = float(np.abs(v).max()) + 1.0
        c = brentq(lambda c, v=v: float((pmf * np.expm1((v + c) / f)).sum()), -top, top, xtol=1e-15)
        furthest = max(furthest, 0.5 * float(np.abs(pmf * np.expm1((v + c) / f)).sum()))
    assert furthest <= bound * (1.0 + 1e-6) + 1e-14
    # To first order it is twice the mean error.
    if (errors / f).max() < 0.01:
        assert bound <= 2.1 * float((pmf * errors / f).sum())


def test_nothing_is_proved_of_a_policy_with_unknown_utilities():
    assert policy_distance(np.array([0.5, 0.5]), np.array([0.0, np.inf])) == 1.0
    # What has no probability does not matter.
    assert policy_distance(np.array([1.0, 0.0]), np.array([0.0, np.inf])) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_rounding_of_a_policy_in_fractions(seed):
    rng = np.random.default_rng(seed)
    reference, s = pb.FiniteDistribution(rng.uniform(0.0, 50.0, 5)), rng.uniform(-9.0, 0.0, 5)
    policy = pb.FiniteDistribution(reference.log_pmf + s)
    columns = zip(policy.log_pmf, reference.log_pmf, s, strict=True)
    moved = [Fraction(a) - Fraction(b) - Fraction(c) for a, b, c in columns]
    moved = [float(abs(x - moved[int(np.argmax(policy.pmf))])) for x in moved]
    found = policy_rounding(policy.log_pmf, reference.log_pmf, s)
    assert (np.array(moved) <= found).all()
    assert (found <= np.array(moved) * (1.0 + 1e-10) + 1e-28).all()


def test_a_box_that_is_too_narrow_proves_nothing():
    """σ(x) − σ(1) is zero at 1, which the box around 0 must reach."""

    def slope(x):
        return 1.0 / (1.0 + np.exp(-x)) - 1.0 / (1.0 + np.exp(-1.0)), np.full(1, 1e-15)

    assert lies_between(slope, np.zeros(1), np.array([0.999])) is None
    assert lies_between(slope, np.zeros(1), np.array([1.001])) is not None
    # Nor one whose corners point outwards by no more than the error of the field.
    assert lies_between(lambda x: (slope(x)[0], np.full(1, 1.0)), np.zeros(1), np.array([1.001])) is None
    assert largest_difference(np.array([3.0])) >= 3.0
