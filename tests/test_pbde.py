"""Preference behaviour distribution equations: Ω = f·log p + g and its named cases."""

import dataclasses
from math import inf, log, nan

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pbde_ref as pb
from tests.refusals import pattern
from tests.strategies import distributions, pbdes, vectors

EPS = np.finfo(float).eps
from_weights = pb.FiniteDistribution.from_weights


def differences(values):
    """All logits Ω(x_A) − Ω(x_B)."""
    return values[:, None] - values[None, :]


# Cases by hand


def test_utility_by_hand():
    """Ω = (1 · log 1/2 + 0, 2 · log 1/4 + 1)."""
    utility = pb.PBDE([1.0, 2.0], [0.0, 1.0]).utility(np.log([1 / 2, 1 / 4]))
    np.testing.assert_allclose(utility, [-log(2), 1 - 4 * log(2)], rtol=4 * EPS)


def test_luce_is_the_log_probability_itself():
    """Eq. (9): f = 1 and g = 0."""
    assert pb.luce().utility([-1.0, -2.5, -inf]).tolist() == [-1.0, -2.5, -inf]


def test_dpo_by_hand():
    """Eq. (15): β log(π/π_pre) with π = (3/4, 1/4), π_pre = (1/4, 3/4), β = 2 is ±2 log 3."""
    process = pb.dpo(2.0, from_weights([1, 3]))
    np.testing.assert_allclose(process.utility(np.log([3 / 4, 1 / 4])), [2 * log(3), -2 * log(3)], rtol=8 * EPS)


def test_geometric_average_by_hand():
    """Eq. (18): α = 1/2 gives f = 2, g = −log π_pre; π = (1/2, 1/2) and π_pre = (1/4, 3/4) give (0, −log 3)."""
    process = pb.geometric_average(0.5, from_weights([1, 3]))
    np.testing.assert_allclose(process.utility(np.log([1 / 2, 1 / 2])), [0, -log(3)], atol=8 * EPS)


def test_length_normalized_by_hand():
    """Eq. (26): log p / |x|, here log-probabilities −8 and −8 of lengths 2 and 4, at scale 1 and 50."""
    assert pb.length_normalized([2, 4]).utility([-8.0, -8.0]).tolist() == [-4.0, -2.0]
    assert pb.length_normalized([2, 4], scale=50.0).utility([-8.0, -8.0]).tolist() == [-200.0, -100.0]


def test_an_excluded_outcome_has_utility_minus_infinity_whatever_g_is():
    process = pb.PBDE(2.0, [inf, -inf, 7.0, 7.0])
    assert process.utility([-inf, -inf, -inf, 0.0]).tolist() == [-inf, -inf, -inf, 7.0]


def test_an_outcome_that_only_the_reference_excludes_has_utility_plus_infinity():
    reference = from_weights([1, 0])
    assert pb.dpo(1.0, reference).utility(np.log([0.5, 0.5]))[1] == inf
    assert pb.geometric_average(0.5, reference).utility(np.log([0.5, 0.5]))[1] == inf
    assert pb.geometric_average(2.0, reference).utility(np.log([0.5, 0.5]))[1] == -inf


def test_the_geometric_average_at_one_does_not_know_its_reference():
    utility = pb.geometric_average(1.0, from_weights([1, 0])).utility(np.log([0.5, 0.5]))
    np.testing.assert_allclose(utility, [-log(2), -log(2)], rtol=4 * EPS)


# Laws


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(pbdes(n), vectors(n, -1000.0, 0.0))))
def test_utility_is_f_log_p_plus_g_to_fifty_digits(case):
    """Ω = f·log p + g, within a rounding of each of its two terms and their sum."""
    process, log_p = case
    f, g = np.broadcast_to(process.f, log_p.shape), np.broadcast_to(process.g, log_p.shape)
    with mpmath.workdps(50):
        for actual, *terms in zip(process.utility(log_p), f, log_p, g, strict=True):
            f_x, log_x, g_x = map(mpmath.mpf, map(float, terms))
            error = abs(mpmath.mpf(float(actual)) - (f_x * log_x + g_x))
            assert error <= 2 * EPS * (abs(f_x * log_x) + abs(g_x))


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(distributions(n), distributions(n))), st.floats(0.01, 100.0))
def test_dpo_logits_are_log_ratios_of_ratios(pair, beta):
    """Eq. (14): the logit of A over B is β log[π(A)/π_pre(A)] − β log[π(B)/π_pre(B)]; logs up to 14 in size."""
    policy, reference = pair
    ratio = policy.log_pmf - reference.log_pmf
    logits = differences(pb.dpo(beta, reference).utility(policy.log_pmf))
    np.testing.assert_allclose(logits, beta * differences(ratio), atol=16 * EPS * beta * 28)


@given(
    st.integers(1, 40).flatmap(lambda n: st.tuples(vectors(n, 1.0, 50.0), vectors(n, -100.0, 0.0))),
    st.floats(0.1, 100.0),
)
def test_the_scale_of_a_length_normalised_process_multiplies_its_utilities(case, scale):
    """c/|x| · log p = c · (log p)/|x|: Eq. (26) with 50/|x| has 50 times its logits (a few roundings)."""
    lengths, log_p = case
    scaled = pb.length_normalized(lengths, scale).utility(log_p)
    np.testing.assert_allclose(scaled, scale * log_p / lengths, rtol=8 * EPS)


def test_constant_and_varying_parameters_agree():
    log_p = np.log([0.2, 0.3, 0.5])
    constant, varying = pb.PBDE(2.0, -1.0), pb.PBDE([2.0] * 3, [-1.0] * 3)
    assert constant.utility(log_p).tolist() == varying.utility(log_p).tolist()


# Values that do not change


def test_inputs_are_copied():
    f, g = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    process = pb.PBDE(f, g)
    f[:], g[:] = 99.0, 99.0
    assert (process.f.tolist(), process.g.tolist()) == ([1.0, 2.0], [3.0, 4.0])
    assert process.utility([-1.0, -1.0]).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("name", ["f", "g"])
def test_arrays_are_read_only(name):
    process = pb.PBDE([1.0, 2.0], [3.0, 4.0])
    with pytest.raises(ValueError, match="read-only"):
        getattr(process, name)[0] = 5.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(process, name, np.ones(2))


def test_the_result_is_not_a_view_of_the_argument():
    log_p = np.array([-1.0, -2.0])
    utility = pb.luce().utility(log_p)
    log_p[0] = 9.0
    assert utility.tolist() == [-1.0, -2.0]


# Bad input

UNIFORM = pb.uniform([0, 1])

BAD = {
    "f = 0": (lambda: pb.PBDE(0), ValueError, "`f` must be positive; got 0.0"),
    "f < 0": (lambda: pb.PBDE(-0.5), ValueError, "`f` must be positive; got -0.5"),
    "f = 0 somewhere": (lambda: pb.PBDE([1, 2, 0]), ValueError, "`f` must be positive; got 0.0 at index 2"),
    "f < 0 somewhere": (lambda: pb.PBDE([1, -1]), ValueError, "`f` must be positive; got -1.0 at index 1"),
    "f NaN": (lambda: pb.PBDE([nan, 1]), ValueError, "`f` must be free of NaN; got nan at index 0"),
    "f inf": (lambda: pb.PBDE([1, inf]), ValueError, "`f` must be finite; got inf at index 1"),
    "f empty": (lambda: pb.PBDE([]), ValueError, "`f` must be a number or a vector; got shape (0,)"),
    "f a matrix": (lambda: pb.PBDE([[1, 1]]), ValueError, "`f` must be a number or a vector; got shape (1, 2)"),
    "f text": (lambda: pb.PBDE("a"), TypeError, "`f` must be an array of real numbers; got 'a'"),
    "g NaN": (lambda: pb.PBDE(1, [0, nan]), ValueError, "`g` must be free of NaN; got nan at index 1"),
    "g text": (lambda: pb.PBDE(1, "a"), TypeError, "`g` must be an array of real numbers; got 'a'"),
    "sizes": (lambda: pb.PBDE([1, 1], [1, 2, 3]), ValueError, "`g` must have 2 outcomes*; got 3"),
    "log p size": (lambda: pb.PBDE([1, 1]).utility([0, 0, 0]), ValueError, "must have *3*2"),
    "log p NaN": (lambda: pb.luce().utility([0, nan]), ValueError, "`log_p` must be free of NaN; got nan at index 1"),
    "log p +inf": (lambda: pb.luce().utility([inf]), ValueError, "`log_p` must be below +inf; got inf at index 0"),
    "log p scalar": (lambda: pb.luce().utility(0.0), ValueError, "`log_p` must be a vector *; got shape ()"),
    "check_size": (lambda: pb.PBDE([1, 1]).check_size(3), ValueError, "`f` must have 3 outcomes*; got 2"),
    "check_size of g": (lambda: pb.PBDE(1, [1, 1]).check_size(3), ValueError, "`g` must have 3 outcomes*; got 2"),
    "DPO beta = 0": (lambda: pb.dpo(0, UNIFORM), ValueError, "`beta` must be positive; got 0.0"),
    "DPO beta < 0": (lambda: pb.dpo(-1, UNIFORM), ValueError, "`beta` must be positive; got -1.0"),
    "DPO beta NaN": (lambda: pb.dpo(nan, UNIFORM), ValueError, "`beta` must be free of NaN; got nan"),
    "DPO beta inf": (lambda: pb.dpo(inf, UNIFORM), ValueError, "`beta` must be finite; got inf"),
    "DPO reference": (
        lambda: pb.dpo(1, [0.5, 0.5]),
        TypeError,
        "`reference` must be a FiniteDistribution or ConditionalDistribution; got list",
    ),
    "alpha = 0": (lambda: pb.geometric_average(0, UNIFORM), ValueError, "`alpha` must be positive; got 0.0"),
    "alpha < 0": (lambda: pb.geometric_average(-1, UNIFORM), ValueError, "`alpha` must be positive; got -1.0"),
    "alpha inf": (lambda: pb.geometric_average(inf, UNIFORM), ValueError, "`alpha` must be finite; got inf"),
    "geometric reference": (
        lambda: pb.geometric_average(0.5, [0.5, 0.5]),
        TypeError,
        "`reference` must be a FiniteDistribution or ConditionalDistribution; got list",
    ),
    "length 0": (lambda: pb.length_normalized([1, 0]), ValueError, "`lengths` must be positive; got 0.0 at index 1"),
    "length < 0": (lambda: pb.length_normalized([-2]), ValueError, "`lengths` must be positive; got -2.0 at index 0"),
    "length NaN": (
        lambda: pb.length_normalized([1, nan]),
        ValueError,
        "`lengths` must be free of NaN; got nan at index 1",
    ),
    "length inf": (lambda: pb.length_normalized([1, inf]), ValueError, "`lengths` must be finite; got inf at index 1"),
    "lengths empty": (lambda: pb.length_normalized([]), ValueError, "`lengths` must be a vector *; got shape (0,)"),
    "scale = 0": (lambda: pb.length_normalized([1], 0), ValueError, "`scale` must be positive; got 0.0"),
    "scale NaN": (lambda: pb.length_normalized([1], nan), ValueError, "`scale` must be free of NaN; got nan"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=pattern(message)):
        call()
