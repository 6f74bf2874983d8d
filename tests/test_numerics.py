"""Every scalar function against arithmetic with 400 digits.

Relative tolerance 1e-12 throughout: what the package promises, some thousand roundings. Results below 1e-300 are
compared absolutely: there floats themselves lose digits.

Proof: proofs/relative_accuracy.md.
"""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pbde_ref import numerics
from tests.strategies import vectors

RELATIVE = 1e-12
UNDERFLOW = 1e-300
DIGITS = 400  # a result of 1e-300 beside 1, with gaps of 1e-16 squared, and some 50 digits left

logits = st.floats(-1000.0, 1000.0)
EXTREME_LOGITS = [-1000.0, -745.0, -709.0, -40.0, -36.0, -1.0, -1e-8, 0.0, 1e-300, 0.3, 18.0, 37.0, 50.0, 710.0, 1000.0]


def exact_sigmoid(z):
    """σ(z) in the working precision of mpmath."""
    return 1 / (1 + mpmath.exp(-z))


def assert_close(actual, exact):
    exact = float(exact)
    assert float(actual) == pytest.approx(exact, rel=RELATIVE, abs=UNDERFLOW), (float(actual), exact)


@given(logits)
def test_log_sigmoid_and_softplus_are_relatively_exact(z):
    """log σ(z) = −log(1 + e^−z) and softplus(z) = −log σ(−z)."""
    with mpmath.workdps(DIGITS):
        exact = -mpmath.log(1 + mpmath.exp(-mpmath.mpf(z)))
        assert_close(numerics.log_sigmoid(np.array(z)), exact)
        assert_close(numerics.softplus(np.array(-z)), -exact)


@pytest.mark.parametrize("z", EXTREME_LOGITS)
def test_log_sigmoid_and_softplus_at_the_edges(z):
    with mpmath.workdps(DIGITS):
        exact = -mpmath.log(1 + mpmath.exp(-mpmath.mpf(z)))
        assert_close(numerics.log_sigmoid(np.array(z)), exact)
        assert_close(numerics.softplus(np.array(-z)), -exact)


def test_log_sigmoid_and_softplus_at_infinity():
    assert numerics.log_sigmoid(np.array([-np.inf, np.inf])).tolist() == [-np.inf, 0.0]
    assert numerics.softplus(np.array([-np.inf, np.inf])).tolist() == [0.0, np.inf]


@given(st.integers(1, 40).flatmap(lambda size: vectors(size, -1000.0, 1000.0)))
def test_log_normalize_is_relatively_exact(log_weights):
    """log p_i = ℓ_i − log Σ_j e^ℓ_j, also for an outcome whose probability is nearly one."""
    result = numerics.log_normalize(log_weights)
    with mpmath.workdps(DIGITS):
        total = mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(w)) for w in log_weights))
        for actual, weight in zip(result, log_weights, strict=True):
            assert_close(actual, mpmath.mpf(weight) - total)


def test_log_normalize_keeps_minus_infinity():
    assert numerics.log_normalize(np.array([-np.inf, 3.0])).tolist() == [-np.inf, 0.0]
    assert numerics.log_normalize(np.array([5.0, -np.inf, 5.0])).tolist() == [-np.log(2.0), -np.inf, -np.log(2.0)]


@given(st.integers(1, 9).flatmap(lambda size: vectors(3 * size, -1000.0, 1000.0)))
def test_logsumexp_is_relatively_exact(x):
    """log Σ e^x along either axis, to the digits that its largest entry has."""
    x = x.reshape(3, -1)
    for axis in (0, 1):
        for found, entries in zip(numerics.logsumexp(x, axis), np.moveaxis(x, axis, -1), strict=True):
            with mpmath.workdps(DIGITS):
                exact = mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(entry)) for entry in entries))
                rounding = np.spacing(np.abs(entries).max()) + RELATIVE * abs(float(exact))
            assert abs(mpmath.mpf(float(found)) - exact) <= rounding


@pytest.mark.parametrize("low", [-1e-9, -40.0, -300.0, -800.0])
def test_logsumexp_keeps_what_the_smaller_entries_add(low):
    """log(1 + e^low), although it is next to zero."""
    with mpmath.workdps(DIGITS):
        assert_close(numerics.logsumexp(np.array([low, 0.0])), mpmath.log1p(mpmath.exp(low)))


def test_logsumexp_at_the_edges():
    inf, half = np.inf, -np.log(2.0)
    assert numerics.logsumexp(np.array([[-inf, -inf], [-inf, 3.0], [half, half], [-1e308, 1e308]])).tolist() == [
        -inf, 3.0, 0.0, 1e308,
    ]  # fmt: skip
    assert float(numerics.logsumexp(np.array([-inf]))) == -inf


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
@example(1.0, 1e-20)
@example(1e-20, 1.0)
@example(1000.0, 1000.0 + 1e-8)
@example(5e-324, 1.0)
def test_two_difference_is_exact(x, y):
    """x − y = high + low in exact arithmetic, and high is the rounded difference."""
    high, low = (float(part) for part in numerics.two_difference(np.array(x), np.array(y)))
    assert high == x - y
    assert Fraction(x) - Fraction(y) == Fraction(high) + Fraction(low)


def test_two_difference_reports_no_error_at_infinity():
    x, y = np.array([np.inf, -np.inf, 1.0, np.inf]), np.array([1.0, 1.0, np.inf, np.inf])
    high, low = numerics.two_difference(x, y)
    assert high[:3].tolist() == [np.inf, -np.inf, -np.inf]
    assert low.tolist() == [0.0, 0.0, 0.0, 0.0]


DIFFERENCES = st.floats(-12.0, 3.0).map(lambda exponent: 10.0**exponent) | st.sampled_from([0.0, 1e-8, 2000.0, 1e-200])


@given(logits, DIFFERENCES, st.booleans())
@example(50.0, 1e-12, False)
@example(-1000.0, 2000.0, False)
@example(700.0, 1e-8, True)
def test_sigmoid_difference_is_relatively_exact(c, u, negative):
    """σ(c + u) − σ(c), with d = c + u rounded but u exact."""
    u = -u if negative else u
    with mpmath.workdps(DIGITS):
        exact = exact_sigmoid(mpmath.mpf(c) + mpmath.mpf(u)) - exact_sigmoid(mpmath.mpf(c))
    assert_close(numerics.sigmoid_difference(np.array(c), np.array(c + u), np.array(u)), exact)


def test_sigmoid_difference_between_infinities():
    inf = np.inf
    c, d = np.array([inf, -inf, -inf, inf, 0.0, 0.0]), np.array([inf, -inf, inf, -inf, inf, -inf])
    u = np.array([0.0, 0.0, inf, -inf, inf, -inf])
    assert numerics.sigmoid_difference(c, d, u).tolist() == [0.0, 0.0, 1.0, -1.0, 0.5, -0.5]
    # ∞ − ∞ is undefined, but the two preferences are the same.
    assert numerics.sigmoid_difference(c[:2], d[:2], np.array([np.nan, np.nan])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "exponent", [-300, -150, -100, -17, -16, -12, -8, -4, -2, -1, -0.5, -0.3, -0.2, -0.1, -0.01, 0]
)
def test_log1p_gap_is_relatively_exact(sign, exponent):
    """x − log(1 + x) across the seams of any series, from 1e-300 to 1."""
    x = sign * 10.0**exponent
    if x > -1.0:
        with mpmath.workdps(DIGITS):
            exact = mpmath.mpf(x) - mpmath.log(1 + mpmath.mpf(x))
        assert_close(numerics.log1p_gap(np.array(x)), exact)


@given(st.floats(-1.0, 10.0, exclude_min=True, allow_subnormal=False))
@example(np.nextafter(-1.0, 0.0))
@example(1e300)
def test_log1p_gap_is_relatively_exact_everywhere(x):
    with mpmath.workdps(DIGITS):
        exact = mpmath.mpf(x) - mpmath.log(1 + mpmath.mpf(x))
    assert_close(numerics.log1p_gap(np.array(x)), exact)


def bernoulli_kl_of(c, d):
    """Arguments of `bernoulli_kl` for probabilities σ(c) and σ(d), each rounded once, and the exact divergence."""
    with mpmath.workdps(DIGITS):
        p, p_complement = exact_sigmoid(c), exact_sigmoid(-c)
        s, s_complement = exact_sigmoid(d), exact_sigmoid(-d)
        exact = p * mpmath.log(p / s) + p_complement * mpmath.log(p_complement / s_complement)
        arguments = [np.array(float(x)) for x in (p, p_complement, d, s - p)]
    return arguments, exact


@given(logits, DIFFERENCES, st.booleans())
@example(0.0, 1e-8, False)
@example(30.0, 1e-8, True)
@example(-300.0, 1e-8, False)
@example(1000.0, 2000.0, True)
@example(-1000.0, 2000.0, False)
@example(37.0, 74.0, True)
def test_bernoulli_kl_is_relatively_exact(c, u, negative):
    """D_KL(σ(c) ‖ σ(d)), also where the two differ by 1e-8 or where they are certain of opposite answers."""
    d = mpmath.mpf(c - u if negative else c + u)
    arguments, exact = bernoulli_kl_of(mpmath.mpf(c), d)
    assert_close(numerics.bernoulli_kl(*arguments), exact)


def test_probabilities_that_differ_by_1e_minus_8_defeat_the_first_form_but_not_bernoulli_kl():
    """Negative control: p log(p/s) + p̄ log(p̄/s̄) in floats misses the tolerance that `bernoulli_kl` keeps."""
    arguments, exact = bernoulli_kl_of(mpmath.mpf(1.0), mpmath.mpf(1.0 + 5e-8))
    p, p_complement, d, _ = (float(x) for x in arguments)
    s, s_complement = 1 / (1 + np.exp(-d)), 1 / (1 + np.exp(d))
    naive = p * np.log(p / s) + p_complement * np.log(p_complement / s_complement)
    assert abs(float(arguments[3])) == pytest.approx(1e-8, rel=0.02)
    assert_close(numerics.bernoulli_kl(*arguments), exact)
    assert abs(naive - float(exact)) > 1e3 * RELATIVE * float(exact)


@pytest.mark.parametrize(
    ("p", "d", "expected"),
    [
        (0.0, -np.inf, 0.0),
        (1.0, np.inf, 0.0),
        (0.0, np.inf, np.inf),
        (1.0, -np.inf, np.inf),
        (0.5, np.inf, np.inf),
        (0.5, -np.inf, np.inf),
        (0.0, 0.0, np.log(2.0)),
        (1.0, 0.0, np.log(2.0)),
        (1.0, -1000.0, 1000.0),
        (0.0, 1000.0, 1000.0),
    ],
)
def test_bernoulli_kl_of_certain_answers(p, d, expected):
    s = float(numerics.expit(d))
    actual = numerics.bernoulli_kl(np.array(p), np.array(1.0 - p), np.array(d), np.array(s - p))
    assert float(actual) == pytest.approx(expected, rel=1e-15)  # one rounding of log 2


@given(logits)
@example(40.0)
@example(-700.0)
def test_bernoulli_entropy_is_relatively_exact(c):
    """H(σ(c)) = −p log p − p̄ log p̄, also where p̄ rounds to one."""
    with mpmath.workdps(DIGITS):
        p, p_complement = exact_sigmoid(mpmath.mpf(c)), exact_sigmoid(-mpmath.mpf(c))
        exact = -p * mpmath.log(p) - p_complement * mpmath.log(p_complement)
        arguments = np.array(float(p)), np.array(float(p_complement))
    assert_close(numerics.bernoulli_entropy(*arguments), exact)


def test_bernoulli_entropy_at_its_ends():
    p = np.array([0.0, 1.0, 0.5])
    assert numerics.bernoulli_entropy(p, 1.0 - p).tolist() == [0.0, 0.0, np.log(2.0)]


def test_an_outcome_that_never_happens_costs_nothing():
    weight, values = np.array([0.0, 0.0, 2.0, 1.0]), np.array([np.inf, -np.inf, 3.0, np.inf])
    assert numerics.weighted(weight, values).tolist() == [0.0, 0.0, 6.0, np.inf]


def test_functions_work_elementwise_and_broadcast():
    column, row = np.linspace(-3.0, 3.0, 4)[:, None], np.linspace(-2.0, 2.0, 5)
    p, s = numerics.expit(column), numerics.expit(row)
    high, low = numerics.two_difference(column, row)
    difference = numerics.sigmoid_difference(column, row, row - column)
    divergence = numerics.bernoulli_kl(p, 1.0 - p, row, difference)
    assert high.shape == low.shape == difference.shape == divergence.shape == (4, 5)
    for i in range(4):
        for j in range(5):
            single = numerics.bernoulli_kl(p[i, 0], 1.0 - p[i, 0], row[j], difference[i, j])
            assert divergence[i, j] == single
            assert difference[i, j] == pytest.approx(s[j] - p[i, 0], abs=1e-15)  # a few roundings of numbers below 1


def test_bernoulli_kl_where_the_ratio_overflows():
    """p = 1e-310 against ½: log 2, and (s − p)/p is infinite without a warning."""
    p = np.array(1e-310)
    found = numerics.bernoulli_kl(p, np.array(1.0), np.array(0.0), 0.5 - p)
    with mpmath.workdps(DIGITS):
        tiny = mpmath.mpf(1e-310)
        assert_close(found, tiny * mpmath.log(2 * tiny) + (1 - tiny) * mpmath.log(2 * (1 - tiny)))
