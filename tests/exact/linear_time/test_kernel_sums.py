"""Linear-time expectations against double loops in extended precision, the dense path, and 220-digit arithmetic."""

import itertools
import math
import tracemalloc
from functools import partial

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pbde_ref as pb
from pbde_ref.exact.expected import takes_linear_time
from pbde_ref.exact.linear_time import close_kernel_sums, kernel_sums, panel_grid, panels
from pbde_ref.exact.linear_time.kernel_sums import (
    kernel_cross_entropy,
    kernel_entropy,
    kernel_hessian_vector_product,
    kernel_kl,
    splits,
    win_probabilities,
)
from pbde_ref.exact.linear_time.opponents import Population, product_factors
from pbde_ref.exact.linear_time.panel_grid import Points, lay_grid
from pbde_ref.exact.linear_time.panels import Field, convolve, deposit
from tests.seeds import drawn_seed

SPREADS = [1e-6, 1e-2, 1.0, 30.0, 300.0, 2000.0]
LAYOUTS = ["normal", "clustered", "duplicated", "equally spaced", "outliers", "sorted", "constant"]
KERNELS = {
    "sigmoid": lambda t: 1 / (1 + np.exp(-t)),
    "curvature": lambda t: 1 / (2 + np.exp(t) + np.exp(-t)),
    "entropy": lambda t: np.log1p(np.exp(-abs(t))) + abs(t) / (1 + np.exp(abs(t))),
}


def test_which_method_takes_linear_time():
    """On request; "auto" for a product proposal above 4,096 outcomes, where the annotator allows it."""
    small, large = (pb.Annotator(pb.uniform(range(n)), pb.luce()) for n in (4096, 4097))
    product, joint = pb.ProductProposal(np.ones(4097)), pb.JointProposal(np.eye(2))
    assert takes_linear_time("auto", True, large, product)
    assert not takes_linear_time("auto", True, small, product)
    assert not takes_linear_time("auto", False, large, product)
    assert not takes_linear_time("auto", True, large, joint)
    assert takes_linear_time("kernel_sum", True, small, product)
    assert not takes_linear_time("dense", True, large, product)


def scores(layout, size, spread, rng):
    """`size` utilities of about the spread, in an arrangement that a method with panels could stumble over."""
    normal = rng.normal(0.0, spread / 6.0, size)
    if layout == "clustered":
        return rng.choice(rng.uniform(-spread / 2, spread / 2, 5), size) + 1e-5 * normal
    if layout == "duplicated":
        return rng.choice(normal[:20], size)
    if layout == "equally spaced":
        return np.linspace(-spread / 2, spread / 2, size)
    if layout == "outliers":
        normal[: min(size, 3)] = [1e3 * spread + 7.0, -1e9 * spread, -1e13][: min(size, 3)]
        return normal
    if layout == "sorted":
        return np.sort(normal)
    if layout == "constant":
        return np.full(size, spread)
    return normal


def process(chi):
    return pb.Annotator(pb.FiniteDistribution(chi), pb.luce())


def weights(size, rng):
    """Proposal weights over four decades, a fifth of them zero."""
    result = np.where(rng.random(size) < 0.2, 0.0, 10.0 ** rng.uniform(-4.0, 0.0, size))
    result[rng.integers(size)] = 1.0
    return result


def gradient_bound(proposal):
    return 1e-13 * (proposal.a + proposal.b)


def value_bound(utilities, proposal):
    mean = (proposal.a * utilities).sum()
    return 2e-13 + 6e-14 * (np.abs(utilities - mean) * (proposal.a + proposal.b)).sum()


def exact_sums(kernel, t, v):
    """Σ_B v_B φ(t_x − t_B), the double loop in extended precision."""
    t, v = t.astype(np.longdouble), v.astype(np.longdouble)
    with np.errstate(over="ignore"):
        return np.array([(v * KERNELS[kernel](x - t)).sum() for x in t])


def panel_sums(kernel, t, v):
    grid = lay_grid(t)
    points = Points(grid, t)
    field = Field.through(grid, convolve(grid, kernel, deposit(points, v)[0]))
    return np.concatenate([field(index, offset) for _, index, offset in points])


# --- The sums themselves ---


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_sums_in_extended_precision(kernel, spread, layout):
    """Right to 1e-14 of the total weight: 4e-15 from interpolation, twice, and rounding; also for signed weights."""
    rng = np.random.default_rng(7)
    for size in (1, 2, 300):
        t, v = scores(layout, size, spread, rng), rng.normal(size=size)
        error = np.abs(panel_sums(kernel, t, v) - exact_sums(kernel, t, v)).max()
        assert error <= 1e-14 * np.abs(v).sum()


@pytest.mark.parametrize("grid", [*panel_grid.GRIDS, *panel_grid.ROUGH_GRIDS])
def test_every_grid_reaches_its_accuracy(grid, monkeypatch):
    """Points at the edges of fine panels, where interpolation is at its worst, on each of the grids."""
    monkeypatch.setattr(panel_grid, "TABLE", 1e9)
    rng = np.random.default_rng(3)
    t = rng.integers(-3000, 3000, 40_000) / 2.0 ** (grid[0] + 1)
    v = rng.random(t.size)
    laid = lay_grid(t, grids=(grid,))
    assert (laid.bits, laid.order) == grid
    points = Points(laid, t)
    some = rng.choice(t.size, 20)
    for kernel in KERNELS:
        field = Field.through(laid, convolve(laid, kernel, deposit(points, v)[0]))
        sums = np.concatenate([field(index, offset) for _, index, offset in points])[some]
        direct = np.array([(v * KERNELS[kernel](x - t)).sum() for x in t[some]])
        tolerance = 1e-14 if grid in panel_grid.GRIDS else 4e-12
        assert np.abs(sums - direct).max() <= tolerance * v.sum()


def test_too_few_moments_are_seen():
    """Control: with three moments on sixteenths of a nat the same comparison fails by three digits and more."""
    rng = np.random.default_rng(3)
    t, v = rng.normal(0.0, 3.0, 2000), rng.random(2000)
    grid = lay_grid(t, grids=((4, 3),))
    points = Points(grid, t)
    field = Field.through(grid, convolve(grid, "sigmoid", deposit(points, v)[0]))
    sums = np.concatenate([field(index, offset) for _, index, offset in points])
    assert np.abs(sums[:20] - exact_sums("sigmoid", t, v)[:20]).max() > 1e-11 * v.sum()


def test_too_short_a_reach_is_seen():
    """Control: panels that interact up to 10 nats only leave e^-10 behind."""
    t, v = np.array([0.0, 11.9]), np.array([1.0, 0.0])
    grid = lay_grid(t, reach=10)
    values = convolve(grid, "sigmoid", deposit(Points(grid, t), v)[0], reach=10)
    assert abs(values[-1].max() - 1.0) < 1e-15 < 1.0 - KERNELS["sigmoid"](11.9)


@given(st.integers(1, 60), st.sampled_from([1e-300, 1e-9, 1.0, 1e6, 1e15, 1e200]), st.integers(0, 2**32 - 1))
def test_points_are_located_exactly(size, scale, seed):
    """(key + offset) / 2**bits is the score, without rounding, on plain and on sparse grids."""
    t = np.random.default_rng(seed).normal(0.0, scale, size)
    grid = lay_grid(t)
    index, offset = grid.locate(t)
    key = grid.keys[index] if grid.keys is not None else grid.origin + index
    assert np.abs(offset).max() <= 0.5
    scaled = [mpmath.mpf(float(k)) + mpmath.mpf(float(x)) for k, x in zip(key, offset, strict=True)]
    assert all(mpmath.ldexp(s, -grid.bits) == float(x) for s, x in zip(scaled, t, strict=True))


def test_common_constant_and_order_do_not_matter():
    """Utilities shifted by a power of two, or permuted, give the same loss."""
    rng = np.random.default_rng(5)
    chi, omega = rng.integers(-400, 400, (2, 500)) / 16.0
    q = pb.ProductProposal(rng.random(500))
    loss, shifted = (kernel_cross_entropy(process(chi), omega + c, q) for c in (0.0, 2.0**40))
    np.testing.assert_allclose(shifted.gradient, loss.gradient, rtol=0, atol=1e-14 / 500)
    assert shifted.value == pytest.approx(loss.value, rel=1e-13, abs=0)
    order = rng.permutation(500)
    permuted = kernel_cross_entropy(process(chi[order]), omega[order], pb.ProductProposal(q.a[order]))
    np.testing.assert_allclose(permuted.gradient, loss.gradient[order], rtol=0, atol=1e-14 / 500)


# --- Losses against the dense path ---


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spread", SPREADS)
def test_losses_keep_the_contract(spread, layout):
    """Cross-entropy, KL and their gradients within the absolute bounds of the docstring, a = b and a ≠ b."""
    rng = np.random.default_rng(11)
    for size, same in ((1, True), (2, False), (2, True), (150, True), (150, False)):
        chi, omega = scores(layout, size, spread, rng), scores("normal", size, spread, rng)
        a = weights(size, rng)
        annotator, q = process(chi), pb.ProductProposal(a, None if same else weights(size, rng))
        for linear, dense in ((kernel_cross_entropy, pb.expected_cross_entropy), (kernel_kl, pb.expected_kl)):
            loss, expected = linear(annotator, omega, q), dense(annotator, omega, q, method="dense")
            assert np.all(np.abs(loss.gradient - expected.gradient) <= gradient_bound(q))
            assert abs(loss.value - expected.value) <= value_bound(omega, q) + 1e-13
            assert loss.value >= 0.0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(
    "change", [0.0, 1e-12, 0.02, *(pytest.param(change, marks=pytest.mark.slow) for change in (1e-6, 0.5, 2.0))]
)
def test_small_divergences_keep_their_digits(spread, layout, change):
    """Relative error at most 1e-9 wherever ω − χ varies by at most 4 nats over what is drawn."""
    rng = np.random.default_rng(13)
    for size, same in ((2, True), (90, True), (60, False)):
        annotator = process(scores(layout, size, spread, rng))
        omega = annotator.utility + change * rng.uniform(-1.0, 1.0, size)
        q = pb.ProductProposal(weights(size, rng), None if same else weights(size, rng))
        loss, exact = kernel_kl(annotator, omega, q), pb.expected_kl(annotator, omega, q, method="dense").value
        assert loss.value == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_the_difference_of_two_sums_would_not_do():
    """Control: cross-entropy minus entropy misses a divergence of 1e-17 altogether; the integral does not."""
    rng = np.random.default_rng(17)
    annotator = process(rng.normal(0.0, 5.0, 400))
    omega, q = annotator.utility + 1e-8 * rng.normal(size=400), pb.ProductProposal(np.ones(400))
    exact = pb.expected_kl(annotator, omega, q, method="dense").value
    difference = kernel_cross_entropy(annotator, omega, q).value - kernel_entropy(annotator, q)
    assert exact < 1e-16
    assert abs(difference - exact) > 0.1 * exact
    loss = kernel_kl(annotator, omega, q)
    assert loss.value == pytest.approx(exact, rel=1e-10, abs=0)
    assert loss.method == "close_kernel_sum"


def test_divergence_between_outcomes_far_apart():
    """Two outcomes 150 nats apart: all that is left is e^-150 of a difference, which the usual reach leaves out."""
    annotator = process(np.array([0.0, -150.0]))
    omega = annotator.utility + np.array([0.0, 0.5])
    loss = kernel_kl(annotator, omega, pb.ProductProposal([1, 1]))
    exact = pb.expected_kl(annotator, omega, pb.ProductProposal([1, 1]), method="dense").value
    assert 0.0 < exact < 1e-64
    assert loss.value == pytest.approx(exact, rel=1e-9, abs=0)


@pytest.mark.parametrize("same", [True, False])
def test_divergence_between_groups_far_apart(same):
    """Outcomes of a group agree to the last bit, and leave nothing that could cover the e^-150 between the groups."""
    rng = np.random.default_rng(67)
    label = np.array([0, 1, 0, 2, 1, 0, 2, 2, 1])
    chi, u = np.array([0.0, -150.3, 160.7])[label], np.array([0.3, 0.1, 0.7])[label]
    annotator = process(chi)
    q = pb.ProductProposal(rng.random(9), None if same else rng.random(9))
    loss = kernel_kl(annotator, annotator.utility + u, q)
    exact = pb.expected_kl(annotator, annotator.utility + u, q, method="dense").value
    assert 0.0 < exact < 1e-60
    assert loss.value == pytest.approx(exact, rel=1e-9, abs=0)


def test_quadrature_reaches_its_accuracy():
    """Each rule against the divergence of one pair at the end of its range, in 40 digits."""
    for limit, _ in close_kernel_sums.NODES_FOR_RANGE:
        for c in (-6.0, -1.5, 0.0, 2.25):
            for u in (limit, -limit):
                annotator = process(np.array([c, 0.0]))
                omega = annotator.utility + np.array([u, 0.0])
                with mpmath.workdps(40):
                    logits = (mpmath.mpf(float(t[0])) - mpmath.mpf(float(t[1])) for t in (annotator.utility, omega))
                    p, s = (1 / (1 + mpmath.exp(-logit)) for logit in logits)
                    exact = (p * mpmath.log(p / s) + (1 - p) * mpmath.log((1 - p) / (1 - s))) / 2
                q = pb.ProductProposal([1, 1])
                close = close_kernel_sums.close_kl(annotator.utility, omega, q)
                if close is not None:  # rounding may carry the last range over its limit
                    assert close == pytest.approx(float(exact), rel=2e-10, abs=0)


@pytest.mark.parametrize("same", [True, False])
def test_small_differences_beside_a_large_one_far_away(same):
    """u differs by 1e-6 within a group over several nats, and by one nat from an outcome a hundred nats away."""
    rng = np.random.default_rng(71)
    chi, u = rng.uniform(-3.0, 3.0, 24), 1e-6 * rng.normal(size=24)
    chi[20:], u[20:] = 110.0, 1.0
    annotator = process(chi)
    q = pb.ProductProposal(rng.random(24), None if same else rng.random(24))
    loss = kernel_kl(annotator, annotator.utility + u, q)
    exact = pb.expected_kl(annotator, annotator.utility + u, q, method="dense").value
    assert loss.value == pytest.approx(exact, rel=1e-9, abs=0)


def test_a_common_constant_costs_close_preferences_nothing():
    """Utilities a power of two higher, which float64 represents, have the same divergence to the last digits."""
    rng = np.random.default_rng(73)
    chi, u = rng.integers(-60, 60, (2, 40)) / 2.0**5
    u /= 2.0**6
    q = product_factors(pb.ProductProposal(rng.random(40)), 40)
    value = close_kernel_sums.close_kl(chi, chi + u, q)
    assert value > 0.0
    assert close_kernel_sums.close_kl(chi + 2.0**40, chi + u + 2.0**40, q) == pytest.approx(value, rel=1e-13, abs=0)
    many = np.tile(chi, 200)
    large = product_factors(pb.ProductProposal(np.tile(q.a, 200)), 8000)
    base = 2.0**40
    moved = close_kernel_sums.close_kl(many + base, many + np.tile(u, 200) + base, large)
    assert moved == pytest.approx(value, rel=1e-9, abs=0)


def test_pairs_out_of_reach_are_asked_for_only_where_they_matter(monkeypatch):
    """First up to 40 nats; up to 745, where σ' underflows, if what is out of reach may be a share of 1e-10."""
    reaches, integral = [], close_kernel_sums.integral_of

    def counted(difference, reach):
        reaches.append(reach)
        return integral(difference, reach)

    monkeypatch.setattr(close_kernel_sums, "integral_of", counted)
    q = pb.ProductProposal([1, 1])
    for distance, expected in ((1.0, [40]), (15.0, [40]), (25.0, [40, 745]), (150.0, [40, 745])):
        reaches.clear()
        chi = np.array([0.0, -distance])
        # e^-distance · u² / 4 within reach, against e^-40 · u² / 4.
        close_kernel_sums.close_kl(chi, chi + np.array([0.0, 0.5]), q)
        assert reaches == expected


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("size", [60, 40_000])
def test_centers_are_the_means_of_each_panel(exact, size):
    """Weighted by both factors; exact ones as a member and the mean distance from it."""
    rng = np.random.default_rng(79)
    chi, u = rng.choice(np.linspace(-500.0, 500.0, 9), size) + rng.uniform(0.0, 0.4, size), rng.uniform(-1.0, 1.0, size)
    a, b = np.where(rng.random(size) < 0.3, 0.0, rng.random(size)), rng.random(size)
    difference = close_kernel_sums.Difference.of(chi, chi + u, pb.ProductProposal(a, b))
    fractions = np.array([0.25, 0.75])
    shifts = [close_kernel_sums.shift_of(difference, fraction) for fraction in fractions]
    grid = lay_grid(chi, margin=2.0, shifts=shifts, grids=panel_grid.ROUGH_GRIDS)
    weight, every = sum(difference.sides), difference(slice(0, size))
    for fraction, (member, mean) in zip(
        fractions, close_kernel_sums.centers_of(grid, difference, fractions, exact=exact), strict=True
    ):
        assert (member is not None) == exact
        panel = grid.coarse(grid.locate(chi, fraction * every)[0])
        for one in np.unique(panel):
            inside = panel == one
            center = mean[one] + (0.0 if member is None else member[one])
            assert center == pytest.approx((weight[inside] * every[inside]).sum() / weight[inside].sum(), rel=1e-11)
            assert member is None or member[one] in every[inside]


@pytest.mark.parametrize("place", range(1, len(close_kernel_sums.NODES_FOR_RANGE)))
def test_no_rule_has_more_nodes_than_it_needs(place, monkeypatch):
    """With one node fewer the divergence of some pair at the end of the range is off by more than 1e-10."""
    limit, count = close_kernel_sums.NODES_FOR_RANGE[place]
    monkeypatch.setattr(close_kernel_sums, "NODES_FOR_RANGE", ((limit, count - 1),))
    worst = 0.0
    for c in np.arange(-8.0, 8.5, 0.5):
        d = c + limit
        with mpmath.workdps(40):
            p, s = (1 / (1 + mpmath.exp(-mpmath.mpf(float(t)))) for t in (c, d))
            exact = (p * mpmath.log(p / s) + (1 - p) * mpmath.log((1 - p) / (1 - s))) / 2
        close = close_kernel_sums.close_kl(np.array([c, 0.0]), np.array([d, 0.0]), pb.ProductProposal([1, 1]))
        if close is not None:
            worst = max(worst, abs(float(close / exact) - 1.0))
    assert worst > 1.5e-10


def test_equal_preferences_have_no_divergence():
    """Zero, not 1e-15 and not -1e-15, for equal utilities and for utilities that differ by a constant."""
    annotator = process(np.random.default_rng(0).integers(0, 800, 3000) / 8.0)
    q = pb.ProductProposal(np.ones(3000))
    for constant in (0.0, 1024.0):
        assert kernel_kl(annotator, annotator.utility + constant, q).value <= 1e-26


# --- Zero-probability outcomes, zero weights, mixtures ---


def test_outcomes_that_are_excluded():
    """χ = −∞, or ω = ±∞, at one outcome: as the dense path has it."""
    inf = math.inf
    rng = np.random.default_rng(19)
    base, omega = rng.normal(0.0, 3.0, 40), rng.normal(0.0, 3.0, 40)

    def at(values, index, value):
        result = values.copy()
        result[index] = value
        return result

    for q in (pb.ProductProposal(rng.random(40)), pb.ProductProposal(rng.random(40), rng.random(40))):
        for chi, model in (
            (at(base, 3, -inf), omega),
            (at(base, 3, -inf), at(omega, 3, -inf)),
            (base, at(omega, 3, -inf)),
            (at(base, 3, -inf), at(omega, 5, -inf)),
            (base, at(omega, 3, inf)),
            (at(base, 3, -inf), at(base, 3, -inf) + 1e-7 * np.arange(40)),
        ):
            annotator = process(chi)
            loss, dense = kernel_kl(annotator, model, q), pb.expected_kl(annotator, model, q, method="dense")
            assert loss.value == pytest.approx(dense.value, rel=1e-9, abs=0)
            np.testing.assert_allclose(loss.gradient, dense.gradient, rtol=0, atol=1e-13 / 40)
            expected = pb.expected_cross_entropy(annotator, model, q, method="dense").value
            assert kernel_cross_entropy(annotator, model, q).value == pytest.approx(expected, rel=1e-12, abs=0)


def test_excluded_outcomes_that_are_not_compared():
    """Two excluded outcomes are an error only if the proposal compares them; alone an outcome costs log 2."""
    chi = np.array([0.0, 1.0, -math.inf, -math.inf])
    annotator = process(chi)
    omega = np.array([0.0, 0.5, 1.0, -1.0])
    q = pb.ProductProposal([1, 1, 1, 1], [1, 1, 0, 0])
    dense = pb.expected_kl(annotator, omega, q, method="dense")
    assert kernel_kl(annotator, omega, q).value == pytest.approx(dense.value, rel=1e-12, abs=0)
    with pytest.raises(ValueError, match="0/0"):
        kernel_kl(annotator, omega, pb.ProductProposal([1, 1, 1, 1]))
    with pytest.raises(ValueError, match="`utilities` must not be the same infinity"):
        kernel_kl(process(omega), chi, pb.ProductProposal([1, 1, 1, 1]))
    alone = pb.ProductProposal([0, 0, 1, 0])
    assert kernel_cross_entropy(annotator, chi, alone).value == pytest.approx(math.log(2.0), rel=1e-15, abs=0)
    assert kernel_kl(annotator, chi, alone).value == 0.0


def test_weightless_outcomes_do_not_matter():
    """Outcomes that are never drawn may be anywhere: the loss is that of the others, their gradient is zero."""
    rng = np.random.default_rng(23)
    chi, omega, a = rng.normal(0.0, 3.0, 30), rng.normal(0.0, 3.0, 30), rng.random(30)
    far = np.array([-1e250, -1e12, -math.inf, 7.0])
    annotator, wide = process(chi), process(np.concatenate([chi, far]))
    loss = kernel_kl(annotator, omega, pb.ProductProposal(a))
    q = pb.ProductProposal(np.concatenate([a, np.zeros(4)]))
    with_far = kernel_kl(wide, np.concatenate([omega, -far]), q)
    assert with_far.value == pytest.approx(loss.value, rel=1e-13, abs=0)
    np.testing.assert_allclose(with_far.gradient, np.concatenate([loss.gradient, np.zeros(4)]), atol=1e-15)
    close = kernel_kl(wide, wide.utility + np.concatenate([1e-9 * omega, np.full(4, 5.0)]), q)
    nearby = pb.expected_kl(annotator, annotator.utility + 1e-9 * omega, pb.ProductProposal(a), method="dense")
    assert close.value == pytest.approx(nearby.value, rel=1e-6, abs=0)  # ω itself is rounded at another constant


@pytest.mark.parametrize("same", [True, False])
def test_mixtures(same):
    """Cross-entropy and gradient of a mixture of mixtures; its KL is refused."""
    rng = np.random.default_rng(29)
    one, two, three = (process(rng.normal(0.0, s, 90)) for s in (1.0, 10.0, 100.0))
    annotator = pb.AnnotatorMixture([0.3, 0.7], [pb.AnnotatorMixture([1, 4], [one, two]), three])
    omega, q = rng.normal(0.0, 5.0, 90), pb.ProductProposal(rng.random(90), None if same else rng.random(90))
    loss = kernel_cross_entropy(annotator, omega, q)
    dense = pb.expected_cross_entropy(annotator, omega, q, method="dense")
    assert loss.value == pytest.approx(dense.value, rel=1e-13, abs=0)
    assert np.all(np.abs(loss.gradient - dense.gradient) <= gradient_bound(q))
    with pytest.raises(ValueError, match="single annotator"):
        kernel_kl(annotator, omega, q)
    probabilities = annotator.preference_probabilities() @ q.b
    np.testing.assert_allclose(win_probabilities(annotator, q.b), probabilities, rtol=0, atol=1e-14)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("same", [True, False])
def test_hessian_vector_products(layout, same):
    """H v against the dense product; constants are in the null space."""
    rng = np.random.default_rng(31)
    q = pb.ProductProposal(weights(120, rng), None if same else weights(120, rng))
    omega, v = scores(layout, 120, 20.0, rng), rng.normal(size=120)
    dense = pb.expected_hessian_vector_product("bradley_terry", process(omega), omega, q, v, method="dense")
    bound = 1e-14 * (q.a + q.b) * np.abs(v).max()
    assert np.all(np.abs(kernel_hessian_vector_product(omega, q, v) - dense) <= bound)
    assert np.all(np.abs(kernel_hessian_vector_product(omega, q, np.full(120, 3.0))) <= 3 * bound)


def test_entropy():
    annotator = process(np.random.default_rng(37).normal(0.0, 4.0, 200))
    q = pb.ProductProposal(np.arange(200.0), np.ones(200))
    assert kernel_entropy(annotator, q) == pytest.approx(pb.expected_entropy(annotator, q), rel=1e-14, abs=0)


# --- Size ---


def test_many_outcomes_are_few_with_weights():
    """300,000 outcomes on 300 different utilities are 300 outcomes with the weights added up."""
    rng = np.random.default_rng(41)
    label = rng.integers(300, size=300_000)
    chi, omega = rng.normal(0.0, 20.0, (2, 300))
    a = rng.random(label.size)
    few = pb.ProductProposal(np.bincount(label, a))
    dense = pb.expected_kl(process(chi), omega, few, method="dense")
    annotator = pb.Annotator(pb.FiniteDistribution(chi[label]), pb.luce())
    loss = kernel_kl(annotator, omega[label], pb.ProductProposal(a))
    assert loss.value == pytest.approx(dense.value, rel=1e-13, abs=0)
    assert np.all(np.abs(np.bincount(label, loss.gradient) - dense.gradient) <= gradient_bound(few))


def test_memory_is_linear():
    """Beyond the inputs: the gradient, and a few megabytes whatever the size."""
    rng = np.random.default_rng(43)
    peaks = []
    for size in (100_000, 400_000):
        annotator = pb.Annotator(pb.FiniteDistribution(rng.normal(0.0, 10.0, size)), pb.luce())
        omega, q = rng.normal(0.0, 10.0, size), pb.ProductProposal(np.ones(size))
        kernel_kl(annotator, omega, q)
        tracemalloc.start()
        kernel_kl(annotator, omega, q)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] <= 1.1 * 8 * 300_000
    assert peaks[0] <= 8 * 100_000 + 2**23


def test_what_is_refused():
    annotator, q = process(np.zeros(2)), pb.ProductProposal([1, 1])
    for call, message in (
        (lambda: kernel_kl(annotator, [0.0], q), "`utilities` must have 2 outcomes"),
        (lambda: kernel_kl(annotator, [0.0, math.nan], q), "`utilities` must be free of NaN"),
        (lambda: kernel_kl(annotator, [0.0, 1e301], q), "`utilities` must be below 1e300 in size"),
        (lambda: kernel_kl(annotator, [0.0, 0.0], pb.JointProposal(np.ones((2, 2)))), "`proposal` must be a product"),
        (lambda: kernel_kl(annotator, [0.0, 0.0], pb.ProductProposal([1, 1, 1])), "`proposal` must have 2 outcomes"),
        (lambda: kernel_cross_entropy(pb.PreferenceMatrix(np.full((2, 2), 0.5)), [0, 0], q), "`annotator` must"),
        (lambda: kernel_hessian_vector_product([0.0, 0.0], q, [math.inf, 0.0]), "`direction` must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_kernels_have_the_values_of_their_formulas():
    t = np.linspace(-30.0, 30.0, 61)
    for name, formula in KERNELS.items():
        np.testing.assert_allclose(getattr(panels, name)(t), formula(t), rtol=1e-13)


# --- Infinite utilities, every case ---


def test_every_arrangement_of_infinite_utilities():
    """Three outcomes, each excluded or not by the annotator and at -inf, 0, 1 or +inf for the model; as dense."""
    inf, several = math.inf, ([1, 2, 3], [1, 1, 0], [1, 0, 0], [0, 0, 1])
    proposals = [pb.ProductProposal(a, b) for a in several for b in (None, *several)]
    annotators = [process(np.array(chi)) for chi in itertools.product((0.0, -inf), repeat=3) if max(chi) == 0.0]
    models = [np.array(omega) for omega in itertools.product((-inf, 0.0, 1.0, inf), repeat=3) if np.isinf(omega).any()]
    cases, infinite, refused = list(itertools.product(annotators, models, proposals)), 0, 0
    for i in np.random.default_rng(53).permutation(len(cases))[:900]:
        annotator, omega, q = cases[i]
        try:
            dense = pb.expected_cross_entropy(annotator, omega, q, method="dense").value
        except ValueError:
            with pytest.raises(ValueError, match=r"same infinity|0/0"):
                kernel_cross_entropy(annotator, omega, q)
            refused += 1
            continue
        assert kernel_cross_entropy(annotator, omega, q).value == pytest.approx(dense, rel=1e-12, abs=1e-15)
        infinite += dense == inf
    assert infinite > 100
    assert refused > 100
    assert infinite + refused < 700


def test_a_single_annotator_of_a_mixture_may_disagree():
    """The model excludes an outcome that one of two annotators does not: the loss is infinite."""
    one, two = process(np.array([0.0, 0.0, -math.inf])), process(np.zeros(3))
    omega, q = np.array([0.0, 0.5, -math.inf]), pb.ProductProposal([1, 1, 1])
    for members in ([one, two], [two, one]):
        loss = kernel_cross_entropy(pb.AnnotatorMixture([1, 1], members), omega, q)
        assert loss.value == math.inf
        assert loss.method == "kernel_sum"
    assert math.isfinite(kernel_cross_entropy(pb.AnnotatorMixture([1, 1], [one, one]), omega, q).value)
    divergence = kernel_kl(two, omega, q)
    assert (divergence.value, divergence.method) == (math.inf, "kernel_sum")


def test_opponents_of_another_support_are_named():
    with pytest.raises(ValueError, match="`opponents` must have 4 outcomes, one for each of the support; got 2"):
        win_probabilities(process(np.zeros(4)), pb.uniform("ab"))


def test_winning_against_opponents_of_the_same_infinite_utility():
    """An outcome that the annotator excludes wins half of its meetings with itself, and nothing else."""
    annotator = process(np.array([0.0, -math.inf, math.log(3.0), -math.inf]))
    found = win_probabilities(annotator, [1, 2, 3, 4])
    # Weights 0.1, 0.2, 0.3, 0.4; odds of 1 : 3 between the others.
    expected = [0.05 + 0.25 * 0.3 + 0.6, 0.1, 0.75 * 0.1 + 0.15 + 0.6, 0.2]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    mixed = pb.AnnotatorMixture([1, 3], [annotator, process(np.zeros(4))])
    np.testing.assert_allclose(
        win_probabilities(mixed, pb.FiniteDistribution.from_weights([1, 2, 3, 4])), 0.25 * np.array(expected) + 0.375
    )


# --- What is promised besides the numbers ---


def grouped(omega, chi, counts, a, b):
    """Cross-entropy and gradients of a few groups of equal outcomes, with `counts` of them, at 40 digits."""
    with mpmath.workdps(40):
        omega, chi, a, b = ([mpmath.mpf(float(x)) for x in v] for v in (omega, chi, a, b))
        mass_a, mass_b = ([int(n) * w for n, w in zip(counts, side, strict=True)] for side in (a, b))
        value, gradient = mpmath.mpf(0), [mpmath.mpf(0)] * len(omega)
        for i, j in itertools.product(range(len(omega)), repeat=2):
            c, d = chi[i] - chi[j], omega[i] - omega[j]
            p = 1 / (1 + mpmath.exp(-c))
            value += mass_a[i] * mass_b[j] * (mpmath.log1p(mpmath.exp(-d)) + (1 - p) * d)
            gradient[i] += (a[i] * mass_b[j] + b[i] * mass_a[j]) * (1 / (1 + mpmath.exp(-d)) - p)
        return float(value), np.array(gradient, dtype=float)


@pytest.mark.parametrize(("bits", "place"), [(9, 0.924), (6, 0.809), (5, 0.866), (4, 0.901)])
@pytest.mark.parametrize("distance", [0, 1, 400])
def test_clusters_where_interpolation_errs_one_way(bits, place, distance):
    """Two clusters of 2,000, those who are A and those who are B each where a fine panel's interpolant errs most:
    errors of a whole cluster have one sign, and are multiplied by its distance from the mean.
    """
    offset = place / 2.0 ** (bits + 1)
    omega = np.array([distance + offset, distance - offset, -distance + offset, -distance - offset])
    chi = omega[::-1].copy()
    members, a, b = np.repeat(np.arange(4), 1000), np.array([1, 0, 1, 0]) / 2000, np.array([0, 1, 0, 1]) / 2000
    q, annotator = pb.ProductProposal(a[members], b[members]), process(chi[members])
    loss = kernel_cross_entropy(annotator, omega[members], q)
    value, gradient = grouped(omega, annotator.utility[::1000], [1000] * 4, q.a[::1000], q.b[::1000])
    assert abs(loss.value - value) <= value_bound(omega[members], q)
    assert np.all(np.abs(loss.gradient - gradient[members]) <= gradient_bound(q))


@pytest.mark.parametrize("distance", [50.0, 400.0, 3000.0])
def test_all_errors_of_a_cluster_are_alike(distance):
    """2,000 who are A, 2,000 who are B, far apart for the model and near each other for the annotator. Control: the
    error is more than roundings of the gradient would explain.
    """
    omega, chi = np.array([distance, -distance]), np.array([-1.0, 0.2]) / 64
    members = np.repeat([0, 1], 2000)
    q, annotator = pb.ProductProposal(members == 0, members == 1), process(chi[members])
    loss = kernel_cross_entropy(annotator, omega[members], q)
    value, _ = grouped(omega, annotator.utility[::2000], [2000, 2000], q.a[::2000], q.b[::2000])
    assert abs(loss.value - value) <= value_bound(omega[members], q)
    assert abs(loss.value - value) > 1e-13 + 4e-15 * 2 * distance


@pytest.mark.parametrize("layout", ["alternating", "random", "sorted"])
def test_roundings_of_equal_weights_do_not_add_up(layout):
    """200,000 outcomes at three places: added one by one to the same three bins, their weights would err by 3e-13."""
    size = 200_000
    members = np.arange(size) % 3 if layout == "alternating" else np.random.default_rng(5).integers(0, 3, size)
    members = np.sort(members) if layout == "sorted" else members
    omega, chi, q = np.array([0.0, 0.3, 2.0]), np.array([0.1, 5.0, 0.2]), pb.ProductProposal(np.ones(size))
    loss = kernel_cross_entropy(process(chi[members]), omega[members], q)
    first = [int(np.argmax(members == place)) for place in range(3)]
    value, gradient = grouped(omega, chi, np.bincount(members), q.a[first], q.b[first])
    assert np.all(np.abs(loss.gradient[first] - gradient) <= 1e-14 * (q.a + q.b)[first])
    assert loss.value == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("weight", [1e-140, 1e-290, 1e-300, 1e-307])
@pytest.mark.parametrize("size", [1e-12, 1e-6, 0.5, 3.0])
def test_tiny_weights_cost_no_digits(weight, size):
    """Ten digits down to the smallest normal numbers, and below these to their last place."""
    q, annotator = pb.ProductProposal([1.0, weight]), process([0.0, 0.7])
    omega = annotator.utility + np.array([size, 0.0])
    with mpmath.workdps(60):
        p, s = (
            1 / (1 + mpmath.exp(mpmath.mpf(float(t[1])) - mpmath.mpf(float(t[0])))) for t in (annotator.utility, omega)
        )
        divergence = p * mpmath.log(p / s) + (1 - p) * mpmath.log((1 - p) / (1 - s))
        exact = 2 * mpmath.mpf(float(q.a[0])) * mpmath.mpf(float(q.a[1])) * divergence
    assert abs(mpmath.mpf(kernel_kl(annotator, omega, q).value) - exact) <= 1e-9 * exact + 2.0**-1074
    dense = pb.expected_kl(annotator, omega, q, method="dense")
    assert abs(mpmath.mpf(dense.value) - exact) <= 1e-12 * exact + 4 * 2.0**-1074


@pytest.mark.parametrize("method", ["dense", "kernel_sum"])
def test_directions_of_any_size(method):
    """Hessian times v is linear in v, up to 1e308 and down to 1e-300; NaN is refused, also in a float64 vector."""
    annotator, q, omega = process([0.0, 1.0, 2.0]), pb.ProductProposal([1, 2, 3]), np.array([0.5, 0.0, 1.0])
    v = np.array([1.0, -1.0, 0.25])
    product = partial(pb.expected_hessian_vector_product, "bradley_terry", annotator, omega, q, method=method)
    expected = pb.expected_hessian("bradley_terry", annotator, omega, q) @ v
    for scale in (1e308, 1.0, 1e-300):
        np.testing.assert_allclose(product(scale * v) / scale, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(product(np.zeros(3)), np.zeros(3))
    with pytest.raises(ValueError, match=r"`direction` must be .*got nan at index 1"):
        product(np.array([0.0, math.nan, 1.0]))


@pytest.mark.parametrize("scale", [1.0, 3000.0])
def test_the_integral_is_taken_below_ten_digits_of_the_difference(scale):
    """The absolute bound, 2e-13 + 6e-14 · mean deviation, times 1e9, is where the integral begins."""
    chi = np.array([0.5, 0.5, 0.5 - scale])
    annotator = pb.Annotator(pb.FiniteDistribution(chi), pb.luce())
    q = pb.ProductProposal([1, 1, 1])
    methods, values = [], []
    for size in np.geomspace(1e-3, 3.9, 40):
        omega = annotator.utility + np.array([size, 0.0, 0.0])
        loss = kernel_kl(annotator, omega, q)
        deviation = Population.of(omega, product_factors(q, 3)).mean_deviation()
        assert (loss.method == "close_kernel_sum") == (loss.value < 1e9 * (2e-13 + 6e-14 * deviation))
        assert loss.value == pytest.approx(pb.expected_kl(annotator, omega, q, method="dense").value, rel=1e-9)
        methods.append(loss.method)
        values.append(loss.value)
    assert len(set(methods)) == 2
    assert values == sorted(values)


def test_values_and_gradients_are_plain_and_read_only():
    rng = np.random.default_rng(59)
    annotator, omega, q = process(rng.normal(size=20)), rng.normal(size=20), pb.ProductProposal(rng.random(20))
    given = omega.copy()
    for loss in (
        kernel_cross_entropy(annotator, omega, q), kernel_kl(annotator, omega, q),
        kernel_kl(annotator, annotator.utility + 1e-8 * omega, q),
    ):  # fmt: skip
        assert type(loss.value) is float
        assert not loss.gradient.flags.writeable
        assert abs(loss.gradient.sum()) < 1e-15
    np.testing.assert_array_equal(omega, given)
    assert type(kernel_entropy(annotator, q)) is float
    v = rng.normal(size=20)
    given = v.copy()
    kernel_hessian_vector_product(omega, q, v)
    np.testing.assert_array_equal(v, given)


def test_utilities_of_any_numeric_type():
    """Lists, whole numbers and float32 are converted; a vector of float64 is taken as it is."""
    q, annotator = pb.ProductProposal([1, 2, 3]), process(np.array([0.0, 1.0, 2.0]))
    expected = kernel_cross_entropy(annotator, np.array([2.0, 0.0, 1.0]), q)
    for omega in ([2, 0, 1], (2.0, 0.0, 1.0), np.array([2, 0, 1]), np.array([2, 0, 1], dtype=np.float32)):
        loss = kernel_cross_entropy(annotator, omega, q)
        assert loss.value == expected.value
        assert loss.gradient.dtype == np.float64
        np.testing.assert_array_equal(loss.gradient, expected.gradient)
    omega = np.array([2.0, 0.0, 1.0])
    assert kernel_sums._utilities("utilities", omega, 3) is omega
    for wrong in ([1.0, 2.0], np.array([1.0, 2.0])):
        for call in (kernel_cross_entropy, kernel_kl):
            with pytest.raises(ValueError, match=r"`utilities` must have 3 outcomes, .*; got 2"):
                call(annotator, wrong, q)
        with pytest.raises(ValueError, match=r"`direction` must have 3 outcomes, .*; got 2"):
            kernel_hessian_vector_product(omega, q, wrong)
    with pytest.raises(ValueError, match="`utilities` must"):
        kernel_cross_entropy(annotator, np.ones((3, 1)), q)
    with pytest.raises(ValueError, match="`proposal` must have 2 outcomes"):
        kernel_hessian_vector_product([0.0, 1.0], q, [0.0, 1.0])
    with pytest.raises(ValueError, match="`direction` must be finite; got -inf at index 2"):
        kernel_hessian_vector_product(omega, q, [0.0, 1.0, -math.inf])
    for other in (pb.AnnotatorMixture([1], [annotator]), pb.PreferenceMatrix(np.full((3, 3), 0.5))):
        with pytest.raises(ValueError, match=f"`annotator` must be a single.*; got {type(other).__name__}"):
            kernel_entropy(other, q)
        with pytest.raises(ValueError, match=f"`annotator` must be a single.*; got {type(other).__name__}"):
            kernel_kl(other, omega, q)


def test_who_splits():
    """Every member of a mixture must, and the proposal be a product."""
    single, matrix = process(np.zeros(2)), pb.PreferenceMatrix(np.full((2, 2), 0.5))
    product, joint = pb.ProductProposal([1, 1]), pb.JointProposal(np.ones((2, 2)))
    assert splits(single, product) is True
    assert splits(single, joint) is False
    assert splits(matrix, product) is False
    for members in ([single, matrix], [matrix, single]):
        assert splits(pb.AnnotatorMixture([1, 1], members), product) is False
    assert splits(pb.AnnotatorMixture([1, 1], [single, single]), product) is True
    assert splits(pb.AnnotatorMixture([1, 1], [single, single]), joint) is False


# --- The difference of two preferences ---


def test_the_difference_of_two_utilities_by_hand():
    """u from its value at the first who is drawn, its range, and Σ weight · u² over the factors."""
    difference = close_kernel_sums.Difference.of
    chi, omega = np.array([9.0, 0.0, 1.0, 2.0]), np.array([0.0, 1.0, 5.0, 2.5])
    found = difference(chi, omega, pb.ProductProposal([0, 1, 1, 2]))
    np.testing.assert_allclose(found(slice(1, 4)), [0.0, 3.0, -0.5], atol=1e-15)
    assert (found.low, found.high, found.spread, found.center) == (-0.5, 3.0, 3.5, 1.0)
    assert found.second_moment == pytest.approx(9.0 / 4.0 + 0.25 * 2.0 / 4.0, rel=1e-15)
    assert len(found.sides) == 1
    # Who is not drawn stands where the first who is does.
    assert (found.chi[0], found.omega[0], found.sides[0][0]) == (0.0, 1.0, 0.0)
    two = difference(chi, omega, pb.ProductProposal([0, 1, 1, 2], [1, 0, 1, 2]))
    assert len(two.sides) == 2
    assert (two.low, two.high, two.center) == (0.0, 13.0, -9.0)
    everything = 100 / 4 + (13**2 + 13**2) / 4 + 9.5**2
    assert two.second_moment == pytest.approx(everything, rel=1e-14)


def test_differences_with_infinite_utilities():
    """Both excluded: left out. Excluded by one alone, or at +inf: infinitely different. Not drawn: left out."""
    inf = math.inf
    difference = close_kernel_sums.Difference.of
    chi, omega = np.array([0.0, -inf, 1.0]), np.array([0.5, -inf, 1.0])
    q = pb.ProductProposal([1, 2, 1])
    both = difference(chi, omega, q)
    assert (both.low, both.high) == (-0.5, 0.0)
    np.testing.assert_array_equal(both.sides[0], [0.25, 0.0, 0.25])
    finite = np.array([0.5, 3.0, 1.0])
    for one, two in ((chi, finite), (finite, chi), (finite, np.array([0.0, inf, 1.0])), (chi, -chi)):
        assert difference(one, two, q).spread == inf
        assert close_kernel_sums.close_kl(one, two, q) is None
        assert difference(one, two, pb.ProductProposal([1, 0, 1])).spread < inf
    for one, two in ((chi[[1, 0, 2]], finite), (finite, chi[[1, 0, 2]]), (finite, np.array([inf, 0.0, 1.0]))):
        assert difference(one, two, q).spread == inf
    alone = pb.ProductProposal([0, 1, 0])
    assert difference(chi, omega, alone).spread == 0.0
    assert close_kernel_sums.close_kl(chi, omega, alone) == 0.0


@pytest.mark.parametrize("same", [True, False])
def test_the_whole_sum_of_close_preferences_is_a_double_loop(same):
    """σ'(t) u² / 2 of each pair, where u is so small that it is the divergence to ten digits."""
    rng = np.random.default_rng(61)
    for layout in ("normal", "clustered", "equally spaced"):
        chi, u = scores(layout, 50, 12.0, rng), rng.uniform(-1.0, 1.0, 50) * 2.0**-24
        chi = np.round(chi * 2.0**20) / 2.0**20
        u = np.round(u * 2.0**46) / 2.0**46
        q = product_factors(pb.ProductProposal(rng.random(50), None if same else rng.random(50)), 50)
        d = np.subtract.outer(chi, chi) + 0.5 * np.subtract.outer(u, u)
        exact = (np.multiply.outer(q.a, q.b) * KERNELS["curvature"](d) * np.subtract.outer(u, u) ** 2).sum() / 2
        assert close_kernel_sums.close_kl(chi, chi + u, q) == pytest.approx(exact, rel=1e-8, abs=0)


def test_the_last_range_is_four_nats():
    q = pb.ProductProposal([1, 1])
    assert close_kernel_sums.close_kl(np.zeros(2), np.array([4.0, 0.0]), q) is not None
    assert close_kernel_sums.close_kl(np.zeros(2), np.array([4.0 + 1e-12, 0.0]), q) is None


# --- How `expected_*` choose ---


def test_methods(monkeypatch):
    """ "auto" takes linear time from a size on, where it can; the result says which was used."""
    monkeypatch.setattr("pbde_ref.exact.expected.LARGE", 19)
    rng = np.random.default_rng(47)
    large, small = (process(rng.normal(size=n)) for n in (20, 19))
    q, joint = pb.ProductProposal(rng.random(20)), pb.JointProposal(rng.random((20, 20)))
    mixed, omega = pb.AnnotatorMixture([1, 1], [large, large]), rng.normal(size=20)
    assert pb.expected_kl(large, omega, q).method == "kernel_sum"
    assert pb.expected_kl(large, large.utility + 1e-6 * omega, q).method == "close_kernel_sum"
    few = pb.ProductProposal(np.ones(19))
    assert pb.expected_kl(small, omega[:19], few).method == "dense"
    assert pb.expected_kl(small, omega[:19], few, method="kernel_sum").method == "kernel_sum"
    assert pb.expected_kl(mixed, omega, q).method == "dense"
    assert pb.expected_kl(large, omega, joint).method == "dense"
    assert pb.expected_kl(large, omega, q, method="dense").method == "dense"
    assert pb.expected_cross_entropy(mixed, omega, q).method == "kernel_sum"
    assert pb.expected_loss("bradley_terry", mixed, omega, q).method == "kernel_sum"
    v = rng.normal(size=20)
    products = [pb.expected_hessian_vector_product("bradley_terry", mixed, omega, q, v, m) for m in ("auto", "dense")]
    np.testing.assert_allclose(*products, rtol=0, atol=1e-15)
    for call in (pb.expected_kl, pb.expected_cross_entropy):
        with pytest.raises(ValueError, match="`method` must be 'auto', 'dense' or 'kernel_sum'; got 'fast'"):
            call(large, omega, q, method="fast")
        with pytest.raises(ValueError, match="`proposal` must be a product"):
            call(large, omega, joint, method="kernel_sum")
    with pytest.raises(ValueError, match="`objective` must be 'bradley_terry'"):
        pb.expected_hessian_vector_product(pb.ipo(0.1), large, omega, q, v, method="kernel_sum")


def test_memory_maps_are_read_where_they_are(tmp_path):
    """The same bytes as from arrays in memory, and no copy of any: the gradient alone is new."""
    rng, n = np.random.default_rng(drawn_seed()), 300_000
    mapped = [np.lib.format.open_memmap(tmp_path / f"{i}.npy", "w+", np.float64, (n,)) for i in range(4)]
    mapped[0][:], mapped[1][:] = rng.normal(scale=30.0, size=(2, n))
    mapped[2][:] = pb.ProductProposal(rng.exponential(size=n)).a
    chi = pb.Annotator(pb.FiniteDistribution(mapped[0]), pb.luce()).utility
    mapped[0][:] = chi
    expected = kernel_sums.kernel_kl(process(chi), mapped[1], kernel_sums.one_factor(np.array(mapped[2])))
    tracemalloc.start()
    found = kernel_sums.kl_of_arrays(*mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The process' utilities are measured from another point, which moves their last digit.
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=0.0, atol=1e-13 * mapped[2].max())
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert peak < 8 * n + 16e6
    again = kernel_sums.kl_of_arrays(*mapped[:3])
    assert found.gradient is mapped[3]
    np.testing.assert_array_equal(again.gradient, mapped[3])
    assert again.value == found.value


@pytest.mark.parametrize(
    ("arrays", "error", "match"),
    [
        (([0.0], np.zeros(1), np.ones(1)), TypeError, "`truth` must be a vector of float64"),
        ((np.zeros(2), np.zeros(1), np.ones(1)), ValueError, "`utilities` must have 2 outcomes"),
        ((np.zeros(2), np.zeros(2), np.ones(2)), ValueError, "`weights` must be non-negative, with a sum of 1; got a"),
        ((np.zeros(2), np.zeros(2), np.array([2.0, -1.0])), ValueError, "`weights` must be non-negative"),
        ((np.zeros(2), np.zeros(2), np.array([math.nan, 1.0])), ValueError, "`weights` must be non-negative"),
        ((np.zeros(2), np.array([0.0, math.nan]), np.full(2, 0.5)), ValueError, "`utilities` must be free of NaN"),
    ],
)  # fmt: skip
def test_arrays_that_are_not_copied_are_checked(arrays, error, match):
    with pytest.raises(error, match=match):
        kernel_sums.kl_of_arrays(*arrays)
