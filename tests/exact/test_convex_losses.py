"""Losses that are only convex: their minimiser, and whether what it proves is true.

Proof: proofs/convex_losses.md.
"""

import math
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.exact.convex_losses import GRID, check_convex, minimize_convex_loss
from pbde_ref.exact.hinge import minimize_rso
from pbde_ref.exact.ipo import ipo_optimum
from pbde_ref.objectives import hinge, ipo, robust, rrhf, smoothed, with_margin
from tests import adversarial
from tests.seeds import drawn_seed

EXPONENTIAL = pb.Objective(
    "exponential", lambda m: np.exp(-m), lambda m: -np.exp(-m), lambda m: np.exp(-m), convex=True
)
SQUARED_HINGE = pb.Objective(
    "squared hinge", lambda m: np.maximum(1.0 - m, 0.0) ** 2, lambda m: -2.0 * np.maximum(1.0 - m, 0.0),
    lambda m: np.where(m < 1.0, 2.0, 0.0),
)  # fmt: skip
SMOOTH_HINGE = pb.Objective(
    "smooth hinge",  # flat above 1, a line below 0
    lambda m: np.where(m < 0.0, 0.5 - m, 0.5 * np.clip(1.0 - m, 0.0, 1.0) ** 2),
    lambda m: -np.clip(1.0 - m, 0.0, 1.0),
    lambda m: np.where((m > 0.0) & (m < 1.0), 1.0, 0.0),
)
CRUDE_HINGE = pb.Objective(
    "own hinge", lambda m: np.maximum(1.0 - m, 0.0), lambda m: np.where(m < 1.0, -1.0, 0.0), np.zeros_like
)

COIN, PAIR = pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]]), pb.PairListProposal([0], [1])


def logistic(m):
    """The logistic loss, its slope and its curvature in as many digits as mpmath works with."""
    return mpmath.log1p(mpmath.exp(-m)), -1 / (1 + mpmath.exp(m)), 1 / (2 + mpmath.exp(m) + mpmath.exp(-m))


def flipped(m, keep, flip):
    """`keep` times the logistic loss of m plus `flip` times that of -m."""
    (v, s, c), (w, t, e) = logistic(m), logistic(-m)
    return keep * v + flip * w, keep * s - flip * t, keep * c + flip * e


def squared(m, target, one_sided):
    r = m - target
    return (mpmath.mpf(0),) * 3 if one_sided and r > 0 else (r * r, 2 * r, mpmath.mpf(2))


EXACT = {
    "exponential": (EXPONENTIAL, lambda m: (mpmath.exp(-m), -mpmath.exp(-m), mpmath.exp(-m))),
    "squared hinge": (SQUARED_HINGE, lambda m: squared(m, 1, True)),
    "logistic": (pb.BRADLEY_TERRY, logistic),
    "logistic, margin": (with_margin("bradley_terry", 0.7), lambda m: logistic(m - mpmath.mpf(0.7))),
    "square, margin": (with_margin(ipo(0.25), 3.5), lambda m: squared(m, mpmath.mpf(5.5), False)),
    "smoothed, margin": (
        with_margin(smoothed(0.125), 4.25),
        lambda m: flipped(m - mpmath.mpf(17) / 4, mpmath.mpf(7) / 8, mpmath.mpf(1) / 8)
    ),
    "robust": (robust(0.125), lambda m: flipped(m, mpmath.mpf(7) / 6, -mpmath.mpf(1) / 6)),
}  # fmt: skip


def exact_minimum(pairs, loss, start, components):
    """Newton's method in mpmath's precision from near the minimum; grounded at one outcome of each component."""
    roots = set(np.unique(components, return_index=True)[1].tolist())
    index = {x: i for i, x in enumerate(x for x in range(len(start)) if x not in roots)}
    omega = [mpmath.mpf(float(x)) for x in start]
    for _ in range(40 if index else 0):
        gradient, hessian = mpmath.matrix(len(index), 1), mpmath.matrix(len(index), len(index))
        for a, b, won, lost in pairs:
            (_, up, bend), (_, down, other) = loss(omega[a] - omega[b]), loss(omega[b] - omega[a])
            slope, curvature = won * up - lost * down, won * bend + lost * other
            for x, y, sign in ((a, b, 1), (b, a, -1)):
                if x in index:
                    gradient[index[x]] += sign * slope
                    hessian[index[x], index[x]] += curvature
                    if y in index:
                        hessian[index[x], index[y]] -= curvature
        step = mpmath.lu_solve(hessian, gradient)
        for x, i in index.items():
            omega[x] -= step[i]
        if max(abs(s) for s in step) < mpmath.mpf(10) ** -70:
            return omega
    assert not index, "no minimum in 40 steps"
    return omega


def exact_loss(pairs, loss, omega):
    return mpmath.fsum(w * loss(omega[a] - omega[b])[0] + u * loss(omega[b] - omega[a])[0] for a, b, w, u in pairs)


def held_against_the_truth(name, rng, max_steps):
    """Draw a problem, solve it, perhaps stop early, and check all bounds in 120 digits; whether it converged."""
    objective, loss = EXACT[name]
    drawn, annotator, proposal = adversarial.problem(rng, sizes=(2, 6), spreads=(1, 10, 36))
    try:
        best = minimize_convex_loss(objective, annotator, proposal)
    except ValueError:
        if name == "robust":  # bounded only for some annotators
            return None
        raise
    found = minimize_convex_loss(objective, annotator, proposal, max_steps=max_steps)
    if math.isinf(best.utility_error):
        return False
    with mpmath.workdps(120):
        pairs = adversarial.exact_pairs(annotator, proposal)
        components = found.certificate.components
        exact = exact_minimum(pairs, loss, best.utilities, components)
        at = [mpmath.mpf(float(x)) for x in found.utilities]
        above = exact_loss(pairs, loss, at) - exact_loss(pairs, loss, exact)
        assert 0 <= above <= found.gap, (drawn, name, max_steps, mpmath.nstr(above, 5), found.gap)
        error = adversarial.largest_difference(found.utilities, exact, components)
        assert error <= found.utility_error, (drawn, name, max_steps, mpmath.nstr(error, 5), found.utility_error)
    return best.converged


# --- By hand, in fractions ---


@pytest.mark.parametrize("won", [Fraction(1, 2), Fraction(3, 4), Fraction(9, 10), Fraction(1, 3)])
def test_two_outcomes_by_hand(won):
    """One pair with P: the squared hinge and the square are least at d = 2 P - 1, the squared hinge with a loss of
    4 P (1 - P); the exponential at half the log-odds, with 2 sqrt(P (1 - P)).
    """
    lost = 1 - won
    annotator = pb.PreferenceMatrix([[0.5, float(won)], [float(lost), 0.5]])
    for objective in (SQUARED_HINGE, with_margin(pb.Objective(
        "square", lambda m: m * m, lambda m: 2.0 * m, lambda m: 2.0 + 0.0 * m), 1.0
    )):  # fmt: skip
        found = pb.minimize_expected_loss(objective, annotator, PAIR)
        assert found.converged
        assert found.value[0] - found.value[1] == pytest.approx(float(won - lost), abs=1e-14)
        assert found.loss == pytest.approx(float(4 * won * lost), rel=1e-14)
    found = pb.minimize_expected_loss(EXPONENTIAL, annotator, PAIR)
    assert found.converged
    assert found.value[0] - found.value[1] == pytest.approx(math.log(won / lost) / 2, abs=1e-14)
    assert found.loss == pytest.approx(2 * math.sqrt(won * lost), rel=1e-14)


def test_flat_minimum_by_hand():
    """Who always wins is preferred by any margin above 1: the squared hinge is 0 there, no utilities are singled out,
    and the gap is proved to be what the margin's rounding leaves of 0.
    """
    always = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    found = pb.minimize_expected_loss(SQUARED_HINGE, always, PAIR)
    assert (found.loss, found.unique, found.utility_error) == (0.0, None, math.inf)
    assert found.gap < 1e-27
    assert found.value[0] - found.value[1] >= 1.0
    assert not found.converged
    assert "utility error" in found.reason


def test_components_and_outcomes_that_nobody_compares():
    """Each component is solved by itself, an outcome without comparison stays at 0, and no policy is unique."""
    matrix = np.full((5, 5), 0.5)
    matrix[0, 1], matrix[1, 0], matrix[2, 3], matrix[3, 2] = 0.9, 0.1, 0.2, 0.8
    found = pb.minimize_expected_loss(EXPONENTIAL, pb.PreferenceMatrix(matrix), pb.PairListProposal([0, 2], [1, 3]))
    half, other = math.log(9) / 4, math.log(4) / 4
    np.testing.assert_allclose(found.value, [half, -half, -other, other, 0.0], atol=1e-14)
    assert (found.converged, found.unique, found.policy_error) == (True, False, 1.0)
    alone = pb.minimize_expected_loss(EXPONENTIAL, pb.PreferenceMatrix([[0.5]]), pb.ProductProposal([1]))
    assert (alone.value.tolist(), alone.loss, alone.gap, alone.utility_error) == ([0.0], 1.0, 0.0, 0.0)


# --- The bounds, in 120 digits ---


@pytest.mark.parametrize("name", EXACT)
def test_bounds_are_never_below_the_truth(name):
    """Any problem, solved or stopped early: gap and error of every difference are at most what the result says."""
    seed = drawn_seed()
    for number in range(3):
        for max_steps in (2, 200):
            held_against_the_truth(name, np.random.default_rng([seed, number]), max_steps)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_bounds_are_never_below_the_truth_often(name):
    """More of them, and nearly all converge."""
    proved = [held_against_the_truth(name, np.random.default_rng([31, number]), 200) for number in range(40)]
    solvable = [x for x in proved if x is not None]
    assert sum(solvable) >= 0.8 * len(solvable) > 0


def test_the_check_sees_a_bound_that_is_too_small(monkeypatch):
    """Control: with a tenth of the bounds of a result that was stopped early, the check fails."""

    def boastful(*arguments, honest=minimize_convex_loss, **options):
        found = honest(*arguments, **options)
        return replace(found, gap=found.gap / 10.0, utility_error=found.utility_error / 10.0)

    monkeypatch.setitem(globals(), "minimize_convex_loss", boastful)
    with pytest.raises(AssertionError):
        [held_against_the_truth("exponential", np.random.default_rng([2, number]), 1) for number in range(10)]


# --- Against solvers that share nothing with it ---


def drawn(seed, **options):
    return adversarial.problem(np.random.default_rng(seed), **{"sizes": (3, 12), "spreads": (1, 10), **options})


@pytest.mark.parametrize("seed", range(4))
def test_the_special_solvers_agree(seed):
    """Through the general path Bradley–Terry and IPO come out as through their own solvers."""
    _, annotator, proposal = drawn(seed, decades=(0, 5), answers=("matrix", "mixture"))
    own = pb.minimize_expected_loss("bradley_terry", annotator, proposal)
    general = minimize_convex_loss(pb.BRADLEY_TERRY, annotator, proposal)
    np.testing.assert_allclose(general.value, own.value, atol=own.utility_error + general.utility_error + 1e-14)
    assert general.converged
    reference = pb.uniform(annotator.support)
    if own.unique:
        square = ipo_optimum(annotator, proposal, tau=0.3, reference=reference)
        general = minimize_convex_loss(ipo(0.3), annotator, proposal)
        allowed = square.utility_error + general.utility_error + 1e-14
        np.testing.assert_allclose(general.value, square.value, atol=allowed)
        assert general.converged


def test_kinks_are_proved():
    """A hinge of one's own, all pairs of five outcomes: the interior point's loss, with a gap that rounding leaves."""
    rng = np.random.default_rng([0, 5])
    upper = np.triu(rng.uniform(0.05, 0.95, (5, 5)), 1)
    annotator = pb.PreferenceMatrix(upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(5))
    proposal = pb.JointProposal(rng.random((5, 5)))
    found = pb.minimize_expected_loss(CRUDE_HINGE, annotator, proposal, tolerance=1e-12)
    best = minimize_rso(annotator, proposal, delta=1.0, reference=pb.uniform(range(5)))
    assert found.gap < 1e-12
    assert found.loss == pytest.approx(best.loss, abs=1e-12)
    assert found.converged or found.unique is None


@pytest.mark.parametrize(
    "objective", [SMOOTH_HINGE, SQUARED_HINGE, with_margin(smoothed(0.1), 0.5)], ids=lambda objective: objective.name
)
def test_an_optimiser_finds_no_less(objective):
    """BFGS from a random start ends no lower than the loss less its gap, and at the same loss."""
    for seed in range(3):
        rng = np.random.default_rng([seed, 8])
        name, annotator, proposal = drawn([seed, 9], decades=(0,), answers=("matrix", "mixture"))
        found = pb.minimize_expected_loss(objective, annotator, proposal)

        def loss(omega, annotator=annotator, proposal=proposal):
            at = pb.expected_loss(objective, annotator, omega, proposal)
            return at.value, at.gradient

        other = minimize(loss, rng.normal(size=annotator.size), jac=True, method="BFGS", options={"gtol": 1e-8})
        assert found.gap < 1e-12, (name, found.reason)
        assert found.loss - found.gap - 1e-14 <= other.fun <= found.loss + 1e-7, name


def test_robust_labels_are_the_projection_of_mended_answers():
    """robust(ε) is least where Bradley–Terry is for (P - ε) / (1 - 2ε); smoothed(ε) for ε + (1 - 2ε) P."""
    epsilon, rng = 0.125, np.random.default_rng(3)
    upper = np.triu(rng.uniform(0.2, 0.8, (6, 6)), 1)
    matrix = upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(6)
    annotator, proposal = pb.PreferenceMatrix(matrix), pb.JointProposal(rng.random((6, 6)))
    mended, flipped_too = (matrix - epsilon) / (1 - 2 * epsilon), epsilon + (1 - 2 * epsilon) * matrix
    for objective, answers in ((robust(epsilon), mended), (smoothed(epsilon), flipped_too)):
        found = pb.minimize_expected_loss(objective, annotator, proposal)
        projected = pb.minimize_expected_loss("bradley_terry", pb.PreferenceMatrix(answers), proposal)
        assert found.converged
        np.testing.assert_allclose(found.value, projected.value, atol=1e-12)
        loss = pb.expected_loss(objective, annotator, found.value, proposal).value
        assert found.loss == pytest.approx(loss, rel=1e-14)
        if objective.name == "smoothed":
            linear = pb.minimize_expected_loss(objective, pb.Annotator(pb.uniform(range(6)), pb.luce()),
                                               pb.ProductProposal(np.ones(6)), method="kernel_sum")  # fmt: skip
            np.testing.assert_allclose(linear.value, 0.0, atol=1e-8)


def test_a_pair_that_falls_for_ever_may_be_held_by_others():
    """P = 1/20 < ε = 1/10 on one pair: alone, or as a bridge, its robust loss has no bound, and the message names it;
    in a triangle whose other pairs contradict it the loss is bounded.
    """
    def answers(p):
        matrix = np.full((3, 3), 0.5)
        for (a, b), value in p.items():
            matrix[a, b], matrix[b, a] = value, 1.0 - value
        return pb.PreferenceMatrix(matrix)

    three = pb.PairListProposal([0, 1, 2], [1, 2, 0])
    with pytest.raises(ValueError, match=r"bounded below; got Prob = 0\.95 of \(1, 0\)"):
        pb.minimize_expected_loss(robust(0.1), answers({(0, 1): 0.05}), pb.PairListProposal([0, 1], [1, 2]))
    found = pb.minimize_expected_loss(robust(0.1), answers({(0, 1): 0.05}), three)
    assert found.converged
    assert found.value[0] < found.value[2] < found.value[1]


def test_ford_decides_where_the_loss_falls_on():
    """Who always wins: no finite utilities for the exponential, the logistic loss with a margin, or an own one."""
    always = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    for objective in (EXPONENTIAL, with_margin("bradley_terry", 1.0)):
        with pytest.raises(ValueError, match="finite utilities fit best"):
            pb.minimize_expected_loss(objective, always, PAIR)
    for objective in (ipo(0.5), hinge(1.0), smoothed(0.1), SMOOTH_HINGE):
        assert np.isfinite(pb.minimize_expected_loss(objective, always, PAIR).value).all()


# --- The dispatch ---


def test_every_objective_of_the_package_is_minimised():
    """Each by its solver, each an `Optimum` with a gap; parameters may come beside the name."""
    proposal = pb.JointProposal([[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    annotator = pb.PreferenceMatrix([[0.5, 0.8, 0.7], [0.2, 0.5, 0.6], [0.3, 0.4, 0.5]])
    proofs = {"bradley_terry": "curvature", "smoothed": "curvature", "ipo": "equations"}
    for base in (pb.BRADLEY_TERRY, smoothed(0.1), robust(0.1), hinge(1.0), rrhf(), ipo(0.5)):
        assert base.convex
        for objective in (base, with_margin(base, 0.3)):
            found = pb.minimize_expected_loss(objective, annotator, proposal)
            assert isinstance(found, pb.Optimum)
            assert found.converged
            assert 0.0 <= found.gap < 1e-13
            assert objective is not base or found.proof == proofs.get(objective.name, "dual")
            best = pb.expected_loss(objective, annotator, found.value, proposal).value
            assert found.loss == pytest.approx(best, rel=1e-12, abs=1e-15)
            for shift in np.random.default_rng(1).normal(size=(20, 3)):
                assert pb.expected_loss(objective, annotator, found.value + shift, proposal).value >= best - 1e-14
    named = pb.minimize_expected_loss("ipo", annotator, proposal, tau=0.5)
    assert named.value.tolist() == pb.minimize_expected_loss(ipo(0.5), annotator, proposal).value.tolist()


def test_a_name_alone_does_not_make_an_objective_the_packages():
    """An own loss called "hinge" or "bradley_terry" is not given to the solver of another loss."""
    for name, parameters in (("hinge", {"delta": 1.0}), ("bradley_terry", {}), ("ipo", {"tau": 0.5}), ("ipo", {})):
        found = pb.minimize_expected_loss(replace(EXPONENTIAL, name=name, parameters=parameters), COIN, PAIR)
        assert found.value[0] - found.value[1] == pytest.approx(math.log(3.0) / 2, abs=1e-13)


def test_what_is_asked_for_is_held():
    """Tolerances are asked for beside the solver's own criterion, and refused where they make no sense."""
    found = pb.minimize_expected_loss(hinge(1.0), COIN, PAIR, utility_tolerance=1e-3)
    assert not found.converged
    assert "utility error" in found.reason
    assert pb.minimize_expected_loss(EXPONENTIAL, COIN, PAIR, tolerance=1e-300).reason.startswith("its gap is")
    for options, message in (({"tolerance": 0.0}, "`tolerance`"), ({"method": "kernel_sum"}, "linear-time"),
                             ({"method": "quick"}, "`method`"), ({"max_steps": 0}, "`max_steps`")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            pb.minimize_expected_loss(EXPONENTIAL, COIN, PAIR, **options)


def test_large_problems_and_fairly_far_ones():
    """A hundred outcomes, all compared, and a chain over ten decades of weights: proved."""
    rng = np.random.default_rng(4)
    upper = np.triu(rng.uniform(0.01, 0.99, (100, 100)), 1)
    annotator = pb.PreferenceMatrix(upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(100))
    chain = pb.PairListProposal(np.arange(99), np.arange(1, 100), 10.0 ** -rng.uniform(0, 10, 99))
    for proposal in (pb.ProductProposal(np.ones(100)), chain):
        for objective in (EXPONENTIAL, SQUARED_HINGE):
            assert pb.minimize_expected_loss(objective, annotator, proposal).converged


# --- What is not convex ---


@pytest.mark.parametrize(
    "objective",
    [
        pb.Objective("squared error", lambda m: 1 / (1 + np.exp(m)) ** 2,
                     lambda m: -2 * np.exp(m) / (1 + np.exp(m)) ** 3, lambda m: 0.0 * m),
        pb.Objective("no derivative of its value", np.abs, lambda m: 2.0 * np.sign(m), np.zeros_like),
        pb.Objective("dip", lambda m: m * m - 4.0 * np.exp(-((m - 3.0) ** 2)),
                     lambda m: 2 * m + 8.0 * (m - 3.0) * np.exp(-((m - 3.0) ** 2)), lambda m: 2.0 + 0.0 * m),
        replace(EXPONENTIAL, convex=False),
    ],
    ids=lambda objective: objective.name,
)  # fmt: skip
def test_what_is_not_convex_is_refused(objective):
    with pytest.raises(ValueError, match="`objective` must be convex"):
        pb.minimize_expected_loss(objective, COIN, PAIR)


def test_a_dip_between_the_grid_is_seen_where_a_step_leads():
    """A loss that is convex on the grid and not at the margins of the steps; what looks convex is said to."""
    margin = 0.5 * math.log(3.0)
    low = float(GRID[margin > GRID].max())
    narrow = 0.02 * (float(GRID[margin < GRID].min()) - low)
    dip = pb.Objective(
        "narrow dip", EXPONENTIAL.value, lambda m: -np.exp(-m) * (1.0 + (np.abs(m - margin) < narrow)),
        EXPONENTIAL.second_derivative,
    )  # fmt: skip
    check_convex(dip, GRID)
    with pytest.raises(ValueError, match="must be convex"):
        pb.minimize_expected_loss(dip, COIN, PAIR)
    assert "as far as" in pb.minimize_expected_loss(replace(EXPONENTIAL, convex=None), COIN, PAIR).reason


def test_the_hessian_takes_what_the_loss_takes():
    for name, parameters in (("ipo", {"tau": 0.5}), ("smoothed", {"epsilon": 0.1}), ("slic", {"delta": 1.0})):
        hessian = pb.expected_hessian(name, COIN, [0.3, 0.0], PAIR, **parameters)
        product = pb.expected_hessian_vector_product(name, COIN, [0.3, 0.0], PAIR, [1.0, 0.0], **parameters)
        np.testing.assert_allclose(product, hessian[:, 0], rtol=1e-15)
    assert pb.expected_hessian("ipo", COIN, [0.3, 0.0], PAIR, tau=0.5).tolist() == [[2.0, -2.0], [-2.0, 2.0]]
    with pytest.raises(TypeError, match="tau"):
        pb.expected_hessian("ipo", COIN, [0.0, 0.0], PAIR)
