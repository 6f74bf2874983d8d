"""The matrix-free minimiser against the dense one, and whether its certificate is true."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import brentq

import pbde_ref as pb
from pbde_ref.exact.linear_time import minimizer as large_scale
from pbde_ref.exact.linear_time.kernel_sums import kernel_cross_entropy
from pbde_ref.exact.linear_time.minimizer import minimize_product_loss, solve_product_laplacian
from pbde_ref.exact.linear_time.opponents import product_factors


def process(chi):
    return pb.Annotator(pb.FiniteDistribution(chi), pb.luce())


def mixture(size, spread, rng):
    return pb.AnnotatorMixture(rng.random(2) + 0.1, [process(rng.uniform(0.0, spread, size)) for _ in range(2)])


def paper_mixture(size):
    problem = pb.paper_problem(size)
    members = [pb.Annotator(p, pb.luce()) for p in problem.annotator_distributions]
    return pb.AnnotatorMixture(problem.annotator_weights, members), pb.ProductProposal(problem.reference)


def laplacian(q):
    weight = np.multiply.outer(q.a, q.b)
    weight = weight + weight.T
    np.fill_diagonal(weight, 0.0)
    return np.diag(weight.sum(axis=1)) - weight


def test_two_outcomes_by_hand():
    """½·σ(2) + ½·σ(0) = σ(ω_0 − ω_1): ω = ± half the logit."""
    annotator = pb.AnnotatorMixture([1, 1], [process([2.0, 0.0]), process([0.0, 0.0])])
    solution = minimize_product_loss(annotator, pb.ProductProposal([1, 3]))
    p = 0.5 / (1.0 + math.exp(-2.0)) + 0.25
    half = 0.5 * math.log(p / (1.0 - p))
    np.testing.assert_allclose(solution.value, [half, -half], rtol=1e-13)
    assert solution.converged


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("spread", [0.1, 5.0, 20.0])
def test_against_the_dense_minimiser(same, spread):
    rng = np.random.default_rng(1)
    annotator = mixture(150, spread, rng)
    q = pb.ProductProposal(rng.random(150) + 0.01, None if same else rng.random(150) + 0.01)
    solution, dense = minimize_product_loss(annotator, q), pb.minimize_expected_loss("bradley_terry", annotator, q)
    assert solution.converged
    assert solution.certificate.residual <= 1e-13
    np.testing.assert_allclose(solution.value, dense.value, atol=1e-8)
    assert solution.loss == pytest.approx(dense.loss, rel=1e-13)
    hessian = pb.expected_hessian("bradley_terry", annotator, solution.value, q)
    assert 0.0 < solution.certificate.smallest_eigenvalue <= np.linalg.eigvalsh(hessian)[1]
    np.testing.assert_array_equal(solution.certificate.components, dense.certificate.components)


def test_many_outcomes_begin_with_few():
    """Where classes of outcomes are solved first, the result is the same minimum, in at most three full steps."""
    annotator, q = paper_mixture(20_000)
    solution = minimize_product_loss(annotator, q)
    assert solution.converged
    assert solution.steps <= 3
    assert solution.certificate.residual <= 1e-13
    gradient = kernel_cross_entropy(annotator, solution.value, q).gradient
    assert np.abs(gradient / (2 * q.a)).max() <= 1e-13


def test_a_certificate_that_ignores_the_spread_would_be_wrong():
    """Control: with the curvature at spread zero in place of σ'(R) the bound is broken."""
    rng = np.random.default_rng(2)
    annotator, q = mixture(30, 30.0, rng), pb.ProductProposal(rng.random(30) + 0.1)
    annotator = annotator.annotators[0]
    early, exact = minimize_product_loss(annotator, q, max_steps=6), minimize_product_loss(annotator, q)
    g = pb.expected_kl(annotator, early.value, q).gradient
    assert early.loss - exact.loss > 0.5 * float(g @ solve_product_laplacian(q, g)) / 0.25


def test_wide_utilities_are_certified_where_neighbours_are_near():
    """Over 80 nats, in steps of a sixth: each difference is known from those between."""
    chi = np.random.default_rng(4).uniform(0.0, 80.0, 500)
    solution = minimize_product_loss(process(chi), pb.ProductProposal(np.ones(500)))
    assert solution.certificate.residual <= 1e-13
    assert solution.certificate.gap < 1e-20
    assert np.ptp(solution.value - chi) <= solution.certificate.utility_error < 1e-6


def test_wide_utilities_are_reported_as_what_they_are():
    """Two outcomes 80 nats apart: the gradient is as small as rounding lets it be, and nothing is certified."""
    solution = minimize_product_loss(process([0.0, 80.0]), pb.ProductProposal([1, 1]))
    assert np.ptp(solution.value) < 60.0
    assert not solution.converged
    assert solution.certificate.gap == solution.certificate.utility_error == math.inf
    assert solution.certificate.residual <= 1e-13
    assert "hide the curvature" in solution.reason


def test_a_small_gap_is_not_enough():
    """Eleven nats apart the gap is 1e-22 and the utilities are off by more than a nanonat."""
    annotator, q = process([0.0, 11.0]), pb.ProductProposal([1, 1])
    solution = minimize_product_loss(annotator, q)
    assert solution.certificate.gap <= 1e-20
    assert abs(np.diff(solution.value)[0] - 11.0) <= solution.certificate.utility_error
    error = solution.certificate.utility_error
    assert minimize_product_loss(annotator, q, utility_tolerance=error).converged
    assert not minimize_product_loss(annotator, q, utility_tolerance=0.9 * error).converged


def test_a_certificate_that_trusts_its_sums_would_be_wrong():
    """Control: the computed gradient over the curvature is less than the error of two utilities now and then."""
    below = 0
    for seed in range(40):
        chi = np.array([0.0, np.random.default_rng(seed).uniform(15.0, 25.0)])
        q = product_factors(pb.ProductProposal([1, 1]), 2)
        solution = minimize_product_loss(process(chi), q, tolerance=1e-300)
        error, margin = np.ptp(solution.value - chi), np.ptp(solution.value)
        target = large_scale.target_of(process(chi), q, q.a + q.b)
        gradient = large_scale.Point(solution.value, q, target).gradient
        below += error > 0.5 * np.ptp(gradient) / (0.5 * sigmoid(margin) * sigmoid(-margin))
        assert error <= solution.certificate.utility_error
    assert below > 0


def test_outcomes_that_are_never_drawn():
    """They stand alone, with utility zero, and change nothing for the others."""
    rng = np.random.default_rng(5)
    chi = rng.normal(0.0, 2.0, (2, 40))
    chi[:, [7, 20]] = [[100.0, -math.inf], [0.0, -math.inf]]
    weight = rng.random(40)
    weight[[7, 20]] = 0.0
    annotator = pb.AnnotatorMixture([1, 2], [process(c) for c in chi])
    solution = minimize_product_loss(annotator, pb.ProductProposal(weight))
    others = np.delete(np.arange(40), [7, 20])
    alone = minimize_product_loss(
        pb.AnnotatorMixture([1, 2], [process(c[others]) for c in chi]), pb.ProductProposal(weight[others])
    )
    np.testing.assert_allclose(solution.value[others], alone.value, atol=1e-12)
    assert solution.value[7] == solution.value[20] == 0.0
    assert len(set(solution.certificate.components)) == 3
    assert solution.converged


@pytest.mark.parametrize("same", [True, False])
def test_laplacian_solutions(same):
    """L z = r, mean zero where drawn."""
    rng = np.random.default_rng(6)
    a, b = rng.random(25), rng.random(25)
    a[:5], b[3:8] = 0.0, 0.0
    q = pb.ProductProposal(a, a if same else b)
    drawn = q.a + q.b > 0.0
    right = np.where(drawn, rng.normal(size=25), 0.0)
    right[drawn] -= right[drawn].mean()
    z = solve_product_laplacian(q, right)
    np.testing.assert_allclose(laplacian(q) @ z, right, atol=1e-13)
    assert abs(z[drawn].mean()) < 1e-14 * np.abs(z).max()
    assert (z[~drawn] == 0.0).all()


# --- The certificate, number by number ---


def sigmoid(t):
    return 1.0 / (1.0 + np.exp(-t))


def hessian(utilities, q):
    slope = sigmoid(np.subtract.outer(utilities, utilities))
    weight = np.multiply.outer(q.a, q.b)
    weight = (weight + weight.T) * slope * slope.T
    np.fill_diagonal(weight, 0.0)
    return np.diag(weight.sum(axis=1)) - weight


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_every_number_is_what_it_says(same, steps):
    """From dense matrices at the utilities returned; two outcomes are never drawn."""
    rng = np.random.default_rng(7)
    annotator = mixture(24, 4.0, rng)
    a, b = rng.random(24), rng.random(24) ** 2
    a[[3, 9]] = b[[3, 9]] = 0.0
    a[5] = 0.0
    q = pb.ProductProposal(a, None if same else b)
    drawn = q.a + q.b > 0.0
    solution = minimize_product_loss(annotator, q, max_steps=steps)
    found = solution.certificate
    assert solution.steps == steps
    assert not solution.value.flags.writeable
    assert not found.components.flags.writeable
    loss = pb.expected_cross_entropy(annotator, solution.value, q, method="dense")
    assert solution.loss == pytest.approx(loss.value, rel=1e-13)
    # The gradient cancels to 1e-16.
    g = loss.gradient
    assert found.gradient_norm == pytest.approx(np.linalg.norm(g), rel=1e-9, abs=1e-15)
    assert found.residual == pytest.approx(np.abs(g[drawn] / (q.a + q.b)[drawn]).max(), rel=1e-9, abs=1e-14)
    spread = np.ptp(solution.value[drawn])
    least = sigmoid(spread) * sigmoid(-spread)
    z = np.linalg.pinv(laplacian(q)) @ g
    ratio = np.ptp(z[drawn]) / sigmoid(-spread)
    gap = g @ z / (2.0 * (1.0 - ratio) * least) if ratio < 1.0 else math.inf
    assert found.gap == pytest.approx(gap, rel=1e-6, abs=0)
    a, b = q.a[drawn], q.b[drawn]
    d = a + b
    share = np.linalg.norm(b) * np.linalg.norm(a / d) / (a * a / d).sum()
    assert found.smallest_eigenvalue == pytest.approx(least * d.min() / (1.0 + share), rel=1e-12)
    at = hessian(solution.value, q)[np.ix_(drawn, drawn)]
    assert found.smallest_eigenvalue <= np.linalg.eigvalsh(at)[1]
    assert abs(solution.value[drawn].mean()) < 1e-14
    assert (solution.value[~drawn] == 0.0).all()
    # The last step promised g H^-1 g / 2 at the point before, to the tenth part of the gradient that it leaves.
    before = minimize_product_loss(annotator, q, max_steps=steps - 1).value if steps > 1 else np.zeros(24)
    g = pb.expected_cross_entropy(annotator, before, q, method="dense").gradient
    promised = 0.5 * g @ np.linalg.pinv(hessian(before, q)) @ g
    assert found.decrement == pytest.approx(promised, rel=0.05, abs=0)


def test_newtons_steps_on_two_outcomes_by_hand():
    """d becomes d - (σ(d) - p) / σ'(d), from zero; conjugate gradients need one step there."""
    annotator, q = process([3.0, 0.0]), pb.ProductProposal([1, 2])
    p, d = sigmoid(3.0), 0.0
    for steps in range(1, 5):
        promised = 0.5 * (4 / 9) * (sigmoid(d) - p) ** 2 / (sigmoid(d) * sigmoid(-d))
        d -= (sigmoid(d) - p) / (sigmoid(d) * sigmoid(-d))
        solution = minimize_product_loss(annotator, q, max_steps=steps)
        assert solution.steps == steps
        np.testing.assert_allclose(solution.value, [0.5 * d, -0.5 * d], rtol=1e-12)
        assert solution.certificate.decrement == pytest.approx(promised, rel=1e-11, abs=0)
        assert solution.certificate.gap > 0.0
        assert solution.certificate.smallest_eigenvalue < math.inf


def test_no_step_is_taken_where_none_is_needed():
    solution = minimize_product_loss(process(np.zeros(5)), pb.ProductProposal(np.ones(5)))
    assert solution.steps == 0
    assert solution.certificate.decrement == 0.0
    # The square of what the sums may be off by.
    assert solution.certificate.gap <= 1e-25
    assert solution.loss == pytest.approx(math.log(2.0), rel=1e-15)
    assert solution.converged
    single = minimize_product_loss(process([0.0, 3.0]), pb.ProductProposal([1, 0]))
    assert (single.certificate.gap, single.certificate.smallest_eigenvalue, single.steps) == (0.0, math.inf, 0)
    np.testing.assert_array_equal(single.certificate.components, [0, 1])


def test_components_by_hand():
    """In the order of their first outcomes."""
    for drawn, labels in (
        ([1, 1, 1], [0, 0, 0]), ([0, 1, 0, 1, 0], [0, 1, 2, 1, 3]), ([1, 0, 1, 0], [0, 1, 0, 2]),
        ([0, 0, 1], [0, 1, 2]),
    ):  # fmt: skip
        found = large_scale.components_of(np.array(drawn, dtype=bool))
        np.testing.assert_array_equal(found, labels)
        assert not found.flags.writeable


def test_converged_where_the_gap_is_the_tolerance():
    rng = np.random.default_rng(8)
    annotator, q = mixture(20, 3.0, rng), pb.ProductProposal(rng.random(20) + 0.1)
    certificate = minimize_product_loss(annotator, q, max_steps=4).certificate
    gap, error = certificate.gap, certificate.utility_error
    assert 0.0 < gap < 1.0
    arguments = {"max_steps": 4, "utility_tolerance": error}
    assert minimize_product_loss(annotator, q, tolerance=gap, **arguments).converged
    assert not minimize_product_loss(annotator, q, tolerance=0.999 * gap, **arguments).converged


def test_when_another_step_would_be_noise():
    """Never before the residual is 2e-14; then where it is 4 eps, the gap certified, or nothing can be certified."""
    eps, q = np.finfo(float).eps, product_factors(pb.ProductProposal([1, 1]), 2)

    def done(residual, tolerance, spread=1.0):
        gradient = np.array([1e-15, -1e-15])
        point = SimpleNamespace(residual=residual, utilities=np.array([spread, 0.0]), gradient=gradient)
        return large_scale.is_done(point, q, tolerance)

    # z = g for a = b = 1/2: the gap is |g|² / 2σ'(1), but for r = 2e-15 / σ(-1).
    gap = large_scale.gap_of(np.array([1.0, 0.0]), np.array([1e-15, -1e-15]), q)[0]
    assert gap == pytest.approx(1e-30 / (sigmoid(1.0) * sigmoid(-1.0)), rel=1e-13, abs=0)
    for residual in (3e-14, 1.0):
        assert done(residual, 1.0) is False
        assert done(residual, gap, spread=100.0) is False
    for residual in (2e-14, 5.0 * eps):
        assert done(residual, 1.001 * gap)
        assert done(residual, gap)
        assert not done(residual, 0.999 * gap)
        assert done(residual, 0.999 * gap, spread=100.0)
    assert done(4.0 * eps, 0.999 * gap)


def test_nothing_is_certified_where_curvature_may_vanish_on_the_way():
    """r = (max z - min z) / σ(-R), 1 at a gradient of σ(-R) / 2."""
    q, utilities = product_factors(pb.ProductProposal([1, 1]), 2), np.array([2.0, 0.0])
    for share in (0.5, 0.9, 0.999):
        g = 0.5 * share * sigmoid(-2.0) * np.array([1.0, -1.0])
        gap, least = large_scale.gap_of(utilities, g, q)
        assert least == pytest.approx(sigmoid(2.0) * sigmoid(-2.0), rel=1e-14)
        assert gap == pytest.approx(0.5 * g @ g / (least * (1.0 - share)), rel=1e-10)
    for share in (1.0 + 1e-12, 2.0):
        assert large_scale.gap_of(utilities, 0.5 * share * sigmoid(-2.0) * np.array([1.0, -1.0]), q)[0] == math.inf
    # r = 1 exactly.
    assert large_scale.gap_of(np.zeros(2), np.array([0.25, -0.25]), q)[0] == math.inf


# --- Steps ---


def at(d, p, weight=(1, 1)):
    """Two outcomes d nats apart where the first wins with probability p, and the derivative of the loss in d."""
    q = product_factors(pb.ProductProposal(weight), 2)
    pairs = 2.0 * q.a[0] * q.b[1]
    own = q.a * q.b
    target = np.array([pairs * p, pairs * (1.0 - p)]) + own
    return large_scale.Point(np.array([d, 0.0]), q, target), q, target


def test_a_point_by_hand():
    for weight in ((1, 1), (1, 3)):
        point, q, _ = at(0.7, 0.9, weight)
        pairs = 2.0 * q.a[0] * q.b[1]
        slope = pairs * (sigmoid(0.7) - 0.9)
        np.testing.assert_allclose(point.gradient, [slope, -slope], rtol=1e-13)
        assert point.residual == pytest.approx(-slope / (2.0 * q.a.min()), rel=1e-13)
        loss = pairs * (np.logaddexp(0.0, 0.7) - 0.9 * 0.7) + math.log(2.0) * (1.0 - pairs)
        assert point.loss() == pytest.approx(loss, rel=1e-13)
    alone = large_scale.Point(np.array([0.0, 5.0]), product_factors(pb.ProductProposal([1, 0]), 2), np.array([1.0, 0]))
    assert alone.residual == 0.0


@pytest.mark.parametrize("scale", [0.1, 1e-5, 1e-9])
def test_steps_solve_newtons_equation(scale):
    """What is left of the gradient, in the preconditioner's norm, is min(0.1, |g|^½) of it."""
    rng = np.random.default_rng(9)
    b = np.where(rng.random(30) < 0.3, 0.0, rng.random(30))
    q = product_factors(pb.ProductProposal(rng.random(30) + 0.1, b), 30)
    utilities = rng.normal(0.0, 2.0, 30)
    exact = large_scale.Point(utilities, q, np.zeros(30)).gradient
    noise = (q.a + q.b) * rng.normal(size=30)
    noise -= (q.a + q.b) * noise.sum() / (q.a + q.b).sum()
    point = large_scale.Point(utilities, q, exact - scale * noise)
    step = large_scale.newton_step(point, q.a + q.b)
    left = hessian(utilities, q) @ step + point.gradient
    # The diagonal counts what an outcome's comparisons with itself add.
    diagonal = np.diag(hessian(utilities, q)) + 0.5 * q.a * q.b
    norm = float(point.gradient @ (point.gradient / diagonal))
    assert left @ (left / diagonal) <= 1.01 * min(0.1, norm**0.25) ** 2 * norm
    assert -point.gradient @ step > 0.5 * norm * 0.5


def test_steps_of_more_than_twenty_nats_are_shortened():
    """Forty nats from where the loss is least, the quadratic model asks for 1e15 nats."""
    point, q, _ = at(40.0, 0.5)
    step = large_scale.newton_step(point, q.a + q.b)
    np.testing.assert_allclose(step, [-10.0, 10.0], rtol=1e-9)
    point, q, _ = at(2.0, 0.5)
    step = large_scale.newton_step(point, q.a + q.b)
    assert step[1] - step[0] == pytest.approx((sigmoid(2.0) - 0.5) / (sigmoid(2.0) * sigmoid(-2.0)), rel=1e-9)
    point, q, _ = at(0.0, 0.5)
    np.testing.assert_array_equal(large_scale.newton_step(point, q.a + q.b), [0.0, 0.0])


def test_conjugate_gradients_need_one_step_for_each_direction(monkeypatch):
    """Four outcomes, three directions: after three steps the equation is solved, however unequal the weights."""
    monkeypatch.setattr(large_scale, "CG_STEPS", 3)
    q = pb.ProductProposal([1, 2, 30, 0.1], [5, 0.2, 1, 1])
    utilities = np.array([0.0, 1.0, -2.0, 3.0])
    exact = large_scale.Point(utilities, q, np.zeros(4)).gradient
    g = 1e-9 * np.array([1.0, -2.0, 0.5, 0.5])
    point = large_scale.Point(utilities, q, exact - g)
    step = large_scale.newton_step(point, q.a + q.b)
    np.testing.assert_allclose(step - step.mean(), -np.linalg.pinv(hessian(utilities, q)) @ point.gradient, rtol=1e-6)


@pytest.mark.parametrize(
    ("length", "lengths"),
    [
        # At p = 0.6 the least loss is at 0.405. Accepted: short of it; at half the slope; a little too far, but lower.
        (0.01, 1), (0.4, 1), (0.75, 1),
        # Too far: to where a line through both slopes is zero, but by a factor of ½ to ¹⁄₁₀.
        (0.9, 2), (4.0, 3), (100.0, 5),
    ],
)  # fmt: skip
def test_line_search_on_two_outcomes_by_hand(length, lengths):
    point, q, target = at(0.0, 0.6)
    found = large_scale.line_search(point, np.array([length, 0.0]), q, target)
    d, slope, tried = length, -0.1, 1
    while tried < lengths:
        end = sigmoid(d) - 0.6
        d *= min(0.5, max(0.1, slope * length / (slope * length - end * length)))
        tried += 1
    np.testing.assert_allclose(found.utilities, [d, 0.0], rtol=1e-12)
    assert np.logaddexp(0.0, d) - 0.6 * d < math.log(2.0)


def test_line_search_shortens_by_a_tenth_at_most():
    """Slopes of -0.001 and 0.5 would ask for a factor of 1/500."""
    point, q, target = at(0.0, 0.501)
    found = large_scale.line_search(point, np.array([30.0, 0.0]), q, target)
    d = 30.0
    for _ in range(10):
        end = sigmoid(d) - 0.501
        loss = np.logaddexp(0.0, d) - 0.501 * d
        if abs(end) < 0.5 * 0.001 or end <= 0.0 or loss <= math.log(2.0) - 1e-4 * d * 0.001:
            break
        d *= min(0.5, max(0.1, 0.001 / (0.001 + end)))
    assert d < 0.03
    assert found.utilities[0] == pytest.approx(d, rel=1e-10, abs=0)


def test_line_search_asks_for_a_ten_thousandth_of_the_slope():
    """The loss is that of zero again at d; what is gained a little before that is enough, or is not.

    At p = 0.501 the first trial, ten times as far, is shortened to a tenth.
    """
    for p, first in ((0.6, 1.0), (0.501, 10.0)):
        low, high = 4.1 * (p - 0.5), 12.0 * (p - 0.5)
        d = brentq(lambda x, p=p: np.logaddexp(0.0, x) - p * x - math.log(2.0), low, high, xtol=1e-16)
        point, q, target = at(0.0, p)
        # Distance at which the gain, with the slope at d, is the ten thousandth part asked for.
        bound = 1e-4 * (p - 0.5) * d / (sigmoid(d) - p)
        for before, accepted in ((0.5 * bound, False), (3.0 * bound, True)):
            tried = d - before
            found = large_scale.line_search(point, np.array([first * tried, 0.0]), q, target)
            assert (abs(found.utilities[0] - tried) < 1e-12) == accepted


def test_line_search_ends_where_nothing_is_gained():
    """Uphill; and where the residual is rounding and does not halve."""
    point, q, target = at(0.0, 0.6)
    assert large_scale.line_search(point, np.array([-1.0, 0.0]), q, target) is None
    close = 0.6 + 1e-13
    point, q, target = at(math.log(0.6 / 0.4), close)
    assert 0.0 < point.residual < 1e-12
    assert large_scale.line_search(point, np.array([1e-15, 0.0]), q, target) is None
    found = large_scale.line_search(point, np.array([1e-13 / 0.24, 0.0]), q, target)
    assert found.residual < 0.5 * point.residual


def test_where_no_step_helps_it_ends(monkeypatch):
    """At the last point, with what the step that failed had promised."""
    monkeypatch.setattr(large_scale, "line_search", lambda *_: None)
    solution = minimize_product_loss(process([3.0, 0.0]), pb.ProductProposal([1, 2]))
    assert solution.steps == 0
    np.testing.assert_array_equal(solution.value, [0.0, 0.0])
    assert solution.certificate.decrement == pytest.approx(0.5 * (4 / 9) * (sigmoid(3.0) - 0.5) ** 2 / 0.25, rel=1e-11)
    assert not solution.converged


# --- Where to begin ---


def starting(size, rng, zeros=True):
    chi, a = rng.uniform(-3.0, 3.0, size), rng.random(size)
    if zeros:
        a[: size // 10] = 0.0
    q = product_factors(pb.ProductProposal(a), size)
    return chi, q, large_scale.target_of(process(chi), q, q.a + q.b)


def test_a_few_classes_are_nearly_the_solution(monkeypatch):
    """From 16,000 outcomes on: to half a class's width at the ends, else to about its square. Otherwise zero."""
    rng = np.random.default_rng(10)
    chi, q, target = starting(16_000, rng)
    start = large_scale.starting_point(q, target)
    error = (start - chi)[q.a > 0.0]
    assert np.ptp(error) < 2.5e-3
    assert np.ptp(error[np.abs(chi[q.a > 0.0]) < 2.9]) < 2e-5
    assert large_scale.starting_point(q, target).dtype == np.float64
    sizes, newton = [], large_scale.newton

    def counted(start, q, *rest):
        sizes.append(q.a.size)
        return newton(start, q, *rest)

    monkeypatch.setattr(large_scale, "newton", counted)
    np.testing.assert_array_equal(large_scale.starting_point(q, target), start)
    assert 1500 < sizes[0] <= 2000
    monkeypatch.undo()
    _, smaller, target = starting(15_999, rng)
    np.testing.assert_array_equal(large_scale.starting_point(smaller, target), 0.0)
    other = pb.ProductProposal(np.ones(16_000), np.arange(1.0, 16_001.0))
    np.testing.assert_array_equal(large_scale.starting_point(other, np.full(16_000, 1e-4)), 0.0)
    even = product_factors(pb.ProductProposal(np.ones(16_000)), 16_000)
    np.testing.assert_array_equal(large_scale.starting_point(even, 2.0 * 0.5 * even.a), 0.0)


def test_classes_where_some_win_for_certain():
    """A probability of winning that is 1 to rounding stands at 1 - 1e-14: finite, and above all others."""
    rng = np.random.default_rng(11)
    chi = rng.uniform(-3.0, 3.0, 16_000)
    chi[5], chi[6] = 60.0, -60.0
    # Half of its meetings with itself are lost even then; these are too few to count.
    a = np.ones(16_000)
    a[[5, 6]] = 1e-13
    q = product_factors(pb.ProductProposal(a), 16_000)
    start = large_scale.starting_point(q, large_scale.target_of(process(chi), q, q.a + q.b))
    assert np.isfinite(start).all()
    assert (np.argmax(start), np.argmin(start)) == (5, 6)
    others = np.delete(start - chi, [5, 6])
    assert np.ptp(others) < 2e-2


def test_the_annotators_part_of_the_gradient_is_a_double_loop():
    rng = np.random.default_rng(12)
    annotator = mixture(20, 5.0, rng)
    q = pb.ProductProposal(rng.random(20), rng.random(20))
    p = annotator.preference_probabilities()
    expected = q.a * (p @ q.b) + q.b * (p @ q.a)
    np.testing.assert_allclose(large_scale.target_of(annotator, q, q.a + q.b), expected, rtol=1e-13)
    excluded = pb.AnnotatorMixture([1, 1], [process(np.zeros(3)), process([0.0, -math.inf, 0.0])])
    for a, b in (([1, 1, 1], [1, 0, 1]), ([1, 0, 1], [1, 1, 1]), ([1, 1e-9, 1], [1, 0, 1])):
        with pytest.raises(ValueError, match=r"`annotator` must be finite in its utilities .*; got -inf at index 1"):
            minimize_product_loss(excluded, pb.ProductProposal(a, b))


def test_what_is_refused():
    q = pb.ProductProposal([1, 1])
    for call, message in (
        (lambda: minimize_product_loss(process([0.0, -math.inf]), q), "`annotator` must be finite"),
        (lambda: minimize_product_loss(pb.PreferenceMatrix([[0.5]]), pb.ProductProposal([1])), "`annotator` must be"),
        (lambda: minimize_product_loss(process([0.0, 0.0]), pb.JointProposal(np.ones((2, 2)))), "`proposal` must be"),
        (lambda: minimize_product_loss(process([0.0, 0.0]), q, tolerance=-1.0), "`tolerance` must be positive"),
        (lambda: minimize_product_loss(process([0.0, 0.0]), q, max_steps=0), "`max_steps` must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
