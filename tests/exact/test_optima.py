"""Closed-form optima: the normalising constant C, the policy that it makes, Eq. 16 and Eq. 18.

Proof: proofs/general_optimum.md.
"""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

import pbde_ref as pb
from pbde_ref.exact import optima
from pbde_ref.numerics import grouped_logsumexp
from tests.strategies import annotators, distributions, pbdes, utilities

NAN, INF = math.nan, math.inf
W = pb.FiniteDistribution.from_weights
TEMPERATURES = st.floats(-2.0, 2.0).map(lambda exponent: 10.0**exponent)

# f over four decades and more, against logarithms from ties to nearly impossible outcomes.
HARD = [
    pytest.param(f, chi, id=f"{f_name}, {chi_name}")
    for f_name, f in {
        "f tiny": np.full(9, 1e-4),
        "f huge": np.full(9, 1e4),
        "f over eight decades": np.logspace(-4, 4, 9),
        "f over eight decades, reversed": np.logspace(4, -4, 9),
        "f with one outlier": np.array([1e-4] + [1e4] * 8),
    }.items()
    for chi_name, chi in {
        "ties": np.zeros(9),
        "spread": np.linspace(-40.0, 3.0, 9),
        "one far off": np.array([0.0] * 8 + [1e5]),
        "excluded outcomes": np.array([-INF, 1.0, 2.0, -INF, 0.0, 5.0, -INF, -3.0, 0.5]),
        "to -1,000": np.linspace(0.0, -1000.0, 9),
    }.items()
]


def log_sum_by_mpmath(chi, process, constant):
    """log Σ exp((χ − g + C)/f) in 60 digits; C may be an mpmath number."""
    f, g = np.broadcast_to(process.f, len(chi)), np.broadcast_to(process.g, len(chi))
    with mpmath.workdps(60):
        exponents = [
            (mpmath.mpf(float(c)) - mpmath.mpf(float(shift)) + constant) / mpmath.mpf(float(slope))
            for c, shift, slope in zip(chi, g, f, strict=True)
            if c > -INF and shift < INF
        ]
        top = max(exponents)
        return top + mpmath.log(mpmath.fsum(mpmath.exp(e - top) for e in exponents))


def constant_by_bisection(chi, process):
    """The root C to 30 digits and more: log Σ exp((χ − g + C)/f) increases from −∞ to ∞."""
    with mpmath.workdps(60):
        low, high = mpmath.mpf(-1), mpmath.mpf(1)
        while log_sum_by_mpmath(chi, process, low) > 0:
            low *= 2
        while log_sum_by_mpmath(chi, process, high) < 0:
            high *= 2
        for _ in range(120):
            middle = (low + high) / 2
            low, high = (middle, high) if log_sum_by_mpmath(chi, process, middle) < 0 else (low, middle)
        return low


def total_by_mpmath(log_policy):
    with mpmath.workdps(50):
        return mpmath.fsum(mpmath.exp(mpmath.mpf(float(lp))) for lp in log_policy if lp > -INF)


# --- The constant ---


def test_newton_steps_are_counted():
    """None for one outcome; one reaches log 8 for f = 1; where f varies it takes several."""
    assert pb.normalizing_constant([3.0], pb.luce()).steps == 0
    assert pb.normalizing_constant(np.zeros(4), pb.luce()).steps == 1
    assert pb.normalizing_constant(np.log([2.0, 6.0]), pb.luce()).steps in (1, 2)  # the second if rounding asks for it
    assert 2 <= pb.normalizing_constant(np.log([2.0, 9.0]), pb.PBDE([1.0, 2.0])).steps <= 10


def test_a_constant_that_has_not_converged_is_not_used(monkeypatch):
    """It says so, and a policy is refused."""
    wrong = np.array([-1.0]), np.array([0.25]), np.array([False]), np.array([3])
    monkeypatch.setattr(optima, "_newton", lambda *_: wrong)
    found = pb.normalizing_constant([2.0, 5.0], pb.luce())
    assert (found.value, found.residual, found.converged, found.steps) == (-6.0, 0.25, False, 3)
    with pytest.raises(ArithmeticError, match=r"did not converge: residual 0.25, number 0"):
        pb.normalized_log_policy([2.0, 5.0], pb.luce())


@pytest.mark.parametrize("decades", [0.5, 5, 17, 40, 200, 300])
def test_a_sum_that_stands_still_has_not_converged(decades):
    """Equal utilities, f = 1 and a tiny f, whose outcome gives its mass away before the sum shows it: log π = −ε k and
    −k with e^{−ε k} + e^{−k} = 1, by bisection in 400 digits.
    """
    tiny = 10.0**-decades
    process = pb.PBDE([1.0, tiny])
    assert pb.normalizing_constant([7.0, 7.0], process).converged
    with mpmath.workdps(400):
        low, high = mpmath.mpf(0), mpmath.mpf(1000)
        for _ in range(200):
            k = (low + high) / 2
            low, high = (k, high) if mpmath.exp(-k * mpmath.mpf(tiny)) + mpmath.exp(-k) > 1 else (low, k)
        exact = [float(-k * mpmath.mpf(tiny)), float(-k)]
    np.testing.assert_allclose(pb.normalized_log_policy([7.0, 7.0], process), exact, rtol=1e-12)


@pytest.mark.parametrize("seed", range(300))
def test_two_valued_utilities_of_many_outcomes(seed):
    """Thousands of equal exponents round alike; the residual may be a few times as large as for different ones."""
    rng = np.random.default_rng(seed)
    utilities = rng.choice(rng.normal(0.0, 3.0, 2), 10_000)
    process = pb.PBDE(1.0 if seed % 2 else 10.0 ** rng.uniform(-2.0, 2.0))
    assert abs(math.fsum(np.exp(pb.normalized_log_policy(utilities, process))) - 1.0) < 5e-14


def test_rounding_of_the_residual_is_counted_in_the_exponents(monkeypatch):
    """Within 8 eps times one plus log n plus the policy's entropy: by hand for n equal outcomes, where it is log n."""
    eps = float(np.finfo(float).eps)
    for size in (1, 2, 1000):
        found = pb.normalizing_constant(np.zeros(size), pb.luce())
        assert found.converged is True
        assert found.value == pytest.approx(-math.log(size), rel=1e-15)
        for share, converged in ((0.9, True), (1.1, False)):
            # A logarithm of the sum that rounding keeps from falling below this.
            rounding = share * 8.0 * eps * (1.0 + 2.0 * math.log(size))
            monkeypatch.setattr(
                optima, "grouped_logsumexp", lambda *x, least=rounding: np.maximum(grouped_logsumexp(*x), least)
            )
            found = pb.normalizing_constant(np.zeros(size), pb.luce())
            monkeypatch.undo()
            assert found.residual == rounding
            assert found.converged is converged


def test_a_process_must_be_one():
    for function in (pb.normalizing_constant, pb.normalized_log_policy):
        with pytest.raises(TypeError, match="`pbde` must be a PBDE; got str"):
            function([0.0, 1.0], "luce")


def test_constant_by_hand():
    """χ = (log 2, log 6), Luce: C = −log 8. With f = (1, 2), χ = (log 2, log 9), g = 0: e^C = u² solves 2u² + 3u = 1,
    u = (√17 − 3)/4.
    """
    assert pb.normalizing_constant(np.log([2.0, 6.0]), pb.luce()).value == pytest.approx(-math.log(8.0), rel=1e-15)
    found = pb.normalizing_constant(np.log([2.0, 9.0]), pb.PBDE([1.0, 2.0]))
    assert found.value == pytest.approx(2.0 * math.log((math.sqrt(17.0) - 3.0) / 4.0), rel=1e-15)


@given(data=st.data(), size=st.integers(1, 40))
def test_constant_is_the_root_that_bisection_finds(data, size):
    """C is the one root of Σ exp((χ − g + C)/f) = 1, within the bounds min(g − χ − f log n) ≤ C ≤ min(g − χ)."""
    process, chi = data.draw(pbdes(size)), data.draw(utilities(size, 100.0))
    f, g = np.broadcast_to(process.f, size), np.broadcast_to(process.g, size)
    low, high = float(np.min(g - chi - f * math.log(size))), float(np.min(g - chi))

    def excess(constant):
        exponents = (chi - g + constant) / f
        return float(exponents.max() + math.log(math.fsum(np.exp(exponents - exponents.max()))))

    found = pb.normalizing_constant(chi, process)
    assert found.converged
    slack = 1e-12 * (1.0 + abs(low) + abs(high))  # rounding of the bounds
    assert low - slack <= found.value <= high + slack
    expected = brentq(excess, low - 1e-9, high + 1e-9, xtol=1e-13, rtol=1e-15)
    # brentq sees exponents rounded to eps·|χ − g + C|/f, worth eps·|χ − g + C| ≈ 1e-13 in C.
    assert found.value == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize(("f", "chi"), HARD)
def test_residual_is_the_logarithm_of_the_sum(f, chi):
    """`residual` is zero to rounding, where the steps ended."""
    found = pb.normalizing_constant(chi, pb.PBDE(f))
    # The exponents of the outcomes that matter are of size |C|/f; rounding them moves the sum by as much.
    assert abs(found.residual) <= 1e-15 * (1.0 + (abs(found.value) + np.max(np.abs(chi[chi > -INF]))) / f.min())


# --- The policy ---


@pytest.mark.parametrize(("f", "chi"), HARD)
@pytest.mark.parametrize("offset", [0.0, 1e6, -1e6])
def test_policy_sums_to_one_under_large_offsets(f, chi, offset):
    """|Σπ − 1| ≤ 1e-12 in 50 digits, also for f = 1e-4 and utilities that share an offset of a million."""
    log_policy = pb.normalized_log_policy(chi + offset, pb.PBDE(f))
    # 1e-12 is the promise; a C subtracted from χ instead of from χ − max χ would miss it by eps·1e6/1e-4 = 2e-6.
    assert abs(total_by_mpmath(log_policy) - 1) < 1e-12


@pytest.mark.parametrize(("f", "chi"), HARD)
def test_constant_and_policy_against_sixty_digits(f, chi):
    """For f from 1e-4 to 1e4, in at most 40 Newton steps: C as bisection in 60 digits finds it, log π = (χ − g + C)/f,
    and −∞ exactly where χ is.
    """
    process = pb.PBDE(f, np.linspace(-1.0, 1.0, 9))
    constant, found = pb.normalizing_constant(chi, process), pb.normalized_log_policy(chi, process)
    assert constant.converged
    assert constant.steps <= 40
    exact = constant_by_bisection(chi, process)
    with mpmath.workdps(60):
        # Two spacings of C in float64, plus eps times the largest f, which scales the logarithm of the sum.
        assert abs(mpmath.mpf(float(constant.value)) - exact) <= 5e-16 * (abs(exact) + 2 * float(f.max()))
    for x in range(9):
        if chi[x] == -INF:
            assert found[x] == -INF
            continue
        with mpmath.workdps(60):
            target = (mpmath.mpf(float(chi[x])) - mpmath.mpf(float(process.g[x])) + exact) / mpmath.mpf(float(f[x]))
            # χ − g and the difference to C are rounded at their own size, then divided by f.
            size = abs(chi[x]) + abs(float(exact)) + float(f.max())
            assert abs(mpmath.mpf(float(found[x])) - target) <= 2e-15 * (size / f[x] + abs(target) + 1)


def test_policy_with_another_constant_is_not_normalised():
    """Control: moving C by 1e-3 moves Σπ away from 1 by more than 1e-4, so the sum does test C."""
    process, chi = pb.PBDE([1.0, 2.0, 5.0], [0.0, 1.0, -1.0]), np.array([0.3, -0.2, 1.0])
    right = pb.normalizing_constant(chi, process).value
    for wrong in (right + 1e-3, right - 1e-3):
        assert abs(np.exp((chi - process.g + wrong) / process.f).sum() - 1.0) > 1e-4


# --- The optimum ---


@given(data=st.data(), size=st.integers(1, 40))
def test_optimal_policy_of_any_two_processes(data, size):
    """For any annotator process and any model process, log π = (χ − g + C)/f with χ the annotator's utility; π = 0
    exactly where p* = 0.
    """
    annotator = data.draw(annotators(size, zeros=True, extremes=True))
    process = data.draw(pbdes(size))
    policy = pb.optimal_policy(annotator, process)
    excluded = annotator.distribution.log_pmf == -INF
    np.testing.assert_array_equal(policy.log_pmf == -INF, excluded)
    f, g = (np.broadcast_to(v, size)[~excluded] for v in (process.f, process.g))
    gap = f * policy.log_pmf[~excluded] + g - annotator.utility[~excluded]
    # Utilities go to 100 · 1,000 nats, where float64 resolves 1.5e-11.
    assert np.ptp(gap) <= 1e-15 * 8 * (np.max(np.abs(annotator.utility[~excluded])) + np.max(np.abs(gap)) + 10.0)
    assert abs(total_by_mpmath(policy.log_pmf) - 1) < 1e-12


@given(data=st.data(), size=st.integers(1, 40))
def test_optimal_policy_of_a_shared_process_is_the_preference_distribution(data, size):
    """Theorem 2: a model with the annotator's own process ends at p*."""
    annotator = data.draw(annotators(size, zeros=True, extremes=True))
    policy = pb.optimal_policy(annotator, annotator.pbde)
    p_star = annotator.distribution.log_pmf
    f = np.broadcast_to(annotator.pbde.f, size)
    seen = p_star > -INF
    np.testing.assert_array_equal(policy.log_pmf == -INF, ~seen)
    # Utilities up to 1e5 lose eps·1e5 = 2e-11 before the division by f.
    tolerance = 1e-15 * 8 * (np.abs(annotator.utility[seen]) + np.max(np.abs(annotator.utility[seen])) + 10.0) / f[seen]
    assert np.all(np.abs(policy.log_pmf[seen] - p_star[seen]) <= tolerance + 1e-12)


def test_optimal_policy_keeps_the_labels():
    """The optimum lives on the annotator's support."""
    annotator = pb.Annotator(W([1, 3], support=["tea", "coffee"]), pb.luce())
    assert list(pb.optimal_policy(annotator, pb.luce()).support) == ["tea", "coffee"]


def test_excluded_outcomes_leave_the_rest_alone():
    """p* = (0, 2/3, 1/3): the policy is 0 there and the two-outcome optimum elsewhere."""
    with_zero = pb.optimal_policy(pb.Annotator(W([0, 2, 1]), pb.luce()), pb.PBDE([7.0, 1.0, 2.0]))
    without = pb.optimal_policy(pb.Annotator(W([2, 1]), pb.luce()), pb.PBDE([1.0, 2.0]))
    np.testing.assert_allclose(with_zero.pmf, [0.0, *without.pmf], rtol=1e-14)


# --- Eq. 16 ---


@given(p=distributions(zeros=True), data=st.data(), beta=TEMPERATURES)
def test_product_of_experts_is_dpo_under_a_luce_annotator(p, data, beta):
    """Eq. (16): π ∝ π_pre p*^{1/β} is `optimal_policy` of a Luce annotator and a DPO model, zeros included."""
    reference = data.draw(distributions(len(p)))
    found = pb.product_of_experts(reference, p, beta)
    weights = reference.log_pmf + p.log_pmf / beta
    expected = weights - (weights.max() + math.log(math.fsum(np.exp(weights - weights.max()))))
    general = pb.optimal_policy(pb.Annotator(p, pb.luce()), pb.dpo(beta, reference))
    for policy in (found, general):
        # Terms of size up to (14 + 14 β)/β ≤ 1.5e3, and χ − g at its own size.
        np.testing.assert_allclose(policy.log_pmf, expected, rtol=1e-12, atol=1e-12)


def test_reference_of_zero_excludes_under_dpo():
    """Eq. (16) gives 0 where π_pre = 0, whatever the annotator thinks of it."""
    reference, p = W([0, 1, 1]), W([6, 2, 1])
    for policy in (
        pb.product_of_experts(reference, p, 2.0),
        pb.optimal_policy(pb.Annotator(p, pb.luce()), pb.dpo(2.0, reference)),
    ):
        np.testing.assert_allclose(
            policy.pmf, [0, math.sqrt(2) / (1 + math.sqrt(2)), 1 / (1 + math.sqrt(2))], rtol=1e-14
        )


# --- Eq. 18 ---


@given(p=distributions(zeros=True), data=st.data(), alpha=TEMPERATURES)
def test_geometric_process_learns_the_geometric_mean(p, data, alpha):
    """Eq. (18): π ∝ π_pre^{1−α} p*^α."""
    reference = data.draw(distributions(len(p)))
    weights = (1.0 - alpha) * reference.log_pmf + alpha * p.log_pmf
    expected = weights - (weights.max() + math.log(math.fsum(np.exp(weights - weights.max()))))
    # Cancelling terms of size up to 2 · 100 · 14 nats.
    tolerance = 1e-12 * (1.0 + alpha)
    general = pb.optimal_policy(pb.Annotator(p, pb.luce()), pb.geometric_average(alpha, reference))
    np.testing.assert_allclose(general.log_pmf, expected, rtol=1e-12, atol=tolerance)
    np.testing.assert_allclose(pb.geometric_mean(p, reference, alpha).log_pmf, expected, rtol=1e-12, atol=tolerance)


def test_reference_of_zero_under_the_geometric_process():
    """Where π_pre = 0, Eq. (18) gives 0 for α < 1 and p* for α = 1; for α > 1 there is no normalisable optimum unless
    p* = 0 there too.
    """
    reference, p = W([0, 1, 1]), W([2, 1, 1])
    annotator = pb.Annotator(p, pb.luce())
    below = pb.optimal_policy(annotator, pb.geometric_average(0.5, reference))
    np.testing.assert_allclose(below.pmf, [0.0, 0.5, 0.5], rtol=1e-15)
    at = pb.optimal_policy(annotator, pb.geometric_average(1.0, reference))
    np.testing.assert_allclose(at.pmf, [0.5, 0.25, 0.25], rtol=1e-15)
    with pytest.raises(ValueError, match=r"\+inf.*index 0"):
        pb.optimal_policy(annotator, pb.geometric_average(2.0, reference))
    both = pb.optimal_policy(pb.Annotator(W([0, 3, 1]), pb.luce()), pb.geometric_average(2.0, reference))
    np.testing.assert_allclose(both.pmf, [0.0, 0.9, 0.1], rtol=1e-14)


# --- What cannot be answered ---

TWO = pb.PBDE([1.0, 2.0], 0.0)


@pytest.mark.parametrize("function", [pb.normalizing_constant, pb.normalized_log_policy])
@pytest.mark.parametrize(
    ("chi", "process", "error", "message"),
    [
        ([NAN, 0.0], TWO, ValueError, "`utilities`.*nan at index 0"),
        ([0.0, INF], TWO, ValueError, r"below \+inf.*got inf at index 1"),
        ([0.0, 0.0], pb.PBDE(1.0, [0.0, -INF]), ValueError, r"below \+inf.*got inf at index 1"),
        ([-INF, -INF], TWO, ValueError, "finite at some outcome.*-inf everywhere"),
        ([0.0, -INF], pb.PBDE(1.0, [INF, 0.0]), ValueError, "finite at some outcome.*-inf everywhere"),
        ([], TWO, ValueError, r"`utilities`.*at least one entry.*\(0,\)"),
        ([[0.0, 1.0]], TWO, ValueError, r"`utilities`.*\(1, 2\)"),
        ([0.0, 1.0, 2.0], TWO, ValueError, "3 outcomes.*got 2"),
        ("ab", TWO, TypeError, "`utilities`.*'ab'"),
    ],
)
def test_utilities_without_a_policy_are_refused(function, chi, process, error, message):
    """χ or χ − g of +∞ or NaN, −∞ everywhere, and wrong shapes and types are named; nothing returns NaN."""
    with pytest.raises(error, match=message):
        function(chi, process)


@pytest.mark.parametrize(
    ("chi", "g"),
    [([-INF, 1.0], [0.0, 0.0]), ([0.0, 1.0], [INF, 0.0]), ([-INF, 1.0], [-INF, 0.0]), ([-INF, 1.0], [INF, 0.0])],
)
def test_one_excluded_outcome_is_ordinary_input(chi, g):
    """χ = −∞ excludes an outcome whatever g is, g = +∞ likewise: the other one gets everything, C = −1."""
    process = pb.PBDE(1.0, g)
    found = pb.normalizing_constant(chi, process)
    assert found.converged
    assert found.value == -1.0
    np.testing.assert_array_equal(pb.normalized_log_policy(chi, process), [-INF, 0.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: pb.optimal_policy(pb.AnnotatorMixture([1], [ANNOTATOR]), pb.luce()),
            TypeError,
            "`annotator`.*Mixture",
        ),
        (
            lambda: pb.optimal_policy(pb.PreferenceMatrix([[0.5]]), pb.luce()),
            TypeError,
            "`annotator`.*PreferenceMatrix",
        ),
        (lambda: pb.optimal_policy(ANNOTATOR, pb.PBDE([1, 2, 3])), ValueError, "2 outcomes.*got 3"),
        (lambda: pb.optimal_policy(pb.Annotator(W([0, 1]), pb.luce()), pb.dpo(2, W([1, 0]))), ValueError, "-inf every"),
        (lambda: pb.product_of_experts(W([1, 2]), W([1, 2]), 0.0), ValueError, "`beta`.*positive.*0"),
        (lambda: pb.product_of_experts(W([1, 2]), W([1, 2]), -1.0), ValueError, "`beta`.*positive.*-1"),
        (lambda: pb.product_of_experts(W([1, 2]), W([1, 2]), NAN), ValueError, "`beta`.*nan"),
        (lambda: pb.product_of_experts(W([1, 2]), W([1, 2]), INF), ValueError, "`beta`.*inf"),
        (
            lambda: pb.product_of_experts(W([1, 2]), W([1, 2, 3]), 1.0),
            ValueError,
            "`(preference|reference)`.*[23].*[23]",
        ),
        (lambda: pb.product_of_experts(pb.uniform("ab"), pb.uniform("ac"), 1.0), ValueError, "support"),
        (lambda: pb.product_of_experts(W([1, 0]), W([0, 1]), 1.0), ValueError, "."),
        (lambda: pb.geometric_average(0.0, W([1, 1])), ValueError, "`alpha`.*positive.*0"),
        (lambda: pb.dpo(-0.5, W([1, 1])), ValueError, "`beta`.*positive.*-0.5"),
        (lambda: pb.PBDE([1.0, -1.0]), ValueError, r"`f` must be positive; got -1\.0 at index 1"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    """A wrong argument raises before any arithmetic and names the argument, the rule and what came."""
    with pytest.raises(error, match=message):
        call()


ANNOTATOR = pb.Annotator(W([3, 1]), pb.luce())
