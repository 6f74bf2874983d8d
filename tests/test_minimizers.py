"""The numerical minimiser of the expected Bradley–Terry loss, and whether its certificate is true.

Proof: proofs/minimizer_certificate.md.
"""

import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.exact import minimizers
from pbde_ref.exact.expected_loss import ExpectedLoss
from pbde_ref.exact.large_scale import minimize_product_loss
from tests.strategies import annotator_mixtures, annotators, generators, preference_matrices, proposals

NAN, INF = math.nan, math.inf


def softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def sigmoid(z):
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))


def loss_by_loop(preference, utilities, q):
    """Eq. (7): Σ q_AB [−p_AB log σ(ω_A − ω_B) − p_BA log σ(ω_B − ω_A)], transcribed."""
    total = 0.0
    for a in range(len(q)):
        for b in range(len(q)):
            if q[a][b] > 0.0:
                d = utilities[a] - utilities[b]
                total += q[a][b] * (preference[a][b] * softplus(-d) + preference[b][a] * softplus(d))
    return total


def gradient_by_loop(preference, utilities, q):
    gradient = np.zeros(len(q))
    for a in range(len(q)):
        for b in range(len(q)):
            slope = q[a][b] * (sigmoid(utilities[a] - utilities[b]) - preference[a][b])
            gradient[a] += slope
            gradient[b] -= slope
    return gradient


def hessian_by_loop(utilities, q):
    hessian = np.zeros((len(q), len(q)))
    for a in range(len(q)):
        for b in range(len(q)):
            d = utilities[a] - utilities[b]
            curvature = q[a][b] * sigmoid(d) * sigmoid(-d)
            hessian[a, a] += curvature
            hessian[b, b] += curvature
            hessian[a, b] -= curvature
            hessian[b, a] -= curvature
    return hessian


def components_by_search(q):
    """Components of the comparison graph, numbered in the order of their first outcome."""
    size, labels = len(q), {}
    for start in range(size):
        if start not in labels:
            reached, label = [start], len(set(labels.values()))
            while reached:
                x = reached.pop()
                labels[x] = label
                reached += [y for y in range(size) if y not in labels and q[x][y] + q[y][x] > 0]
    return np.array([labels[x] for x in range(size)])


def certified_gap(gradient_norm, eigenvalue):
    """(m/2) [r + (1 − r) log(1 − r)] with r = √2 γ/m < 1, the bound on the loss above its minimum."""
    ratio = math.sqrt(2.0) * gradient_norm / eigenvalue
    return eigenvalue / 2 * (ratio + (1 - ratio) * math.log1p(-ratio)) if ratio < 1 else INF


def solve(annotator, proposal, **options):
    return pb.minimize_expected_loss("bradley_terry", annotator, proposal, **options)


# --- By hand ---


def test_two_outcomes_by_hand():
    """P = 3/4 on one pair: ω = ±½ log 3, loss = entropy of (3/4, 1/4) = 2 log 2 − ¾ log 3."""
    solution = solve(pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]]), pb.JointProposal([[0, 1], [0, 0]]))
    assert solution.converged
    np.testing.assert_allclose(solution.value, [0.5 * math.log(3.0), -0.5 * math.log(3.0)], rtol=1e-14)
    assert solution.loss == pytest.approx(2 * math.log(2.0) - 0.75 * math.log(3.0), rel=1e-14)


def test_tree_by_hand():
    """On a tree the fit interpolates: 0–1 with 2/3, 1–2 with 3/4 give ω = (log 6, log 3, 0) + constant, whatever the
    weights and whatever the never-drawn pair 0–2 would say.
    """
    preference = [[0.5, 2 / 3, 0.1], [1 / 3, 0.5, 3 / 4], [0.9, 1 / 4, 0.5]]
    expected = np.array([math.log(6.0), math.log(3.0), 0.0])
    for weights in ([1, 1], [1, 1000], [1000, 1]):
        solution = solve(pb.PreferenceMatrix(preference), pb.PairListProposal([0, 1], [1, 2], weights))
        # A gap of 1e-20 over an eigenvalue of 2e-4 allows 1e-8; Newton's last step leaves far less.
        np.testing.assert_allclose(solution.value, expected - expected.mean(), atol=1e-12)


def test_moments_by_hand():
    """Row sums decide: P01 = 1, P12 = 1, P20 = 1 over ½ each is a tie, and P = (9/10 forward, 1/10 back) too: ω = 0,
    loss log 2; no utility explains a cycle.
    """
    for p in (0.9, 1.0):
        cycle = pb.PreferenceMatrix([[0.5, p, 1 - p], [1 - p, 0.5, p], [p, 1 - p, 0.5]])
        solution = solve(cycle, pb.ProductProposal([1, 1, 1]))
        assert solution.converged
        np.testing.assert_allclose(solution.value, 0.0, atol=1e-15)
        assert solution.loss == pytest.approx(math.log(2.0), rel=1e-15)


def test_one_outcome():
    """A support of one outcome has nothing to fit: loss log 2 from the diagonal, converged at once."""
    solution = solve(pb.Annotator(pb.uniform([0]), pb.luce()), pb.ProductProposal([1]))
    assert solution.converged
    assert solution.steps == 0
    np.testing.assert_array_equal(solution.value, [0.0])
    assert solution.loss == pytest.approx(math.log(2.0), rel=1e-15)
    assert solution.certificate.gap == 0.0


def test_diagonal_mass_adds_only_a_constant():
    """Comparing an outcome with itself costs log 2 each time and moves nothing."""
    annotator = pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]])
    without = solve(annotator, pb.JointProposal([[0, 1], [0, 0]]))
    having = solve(annotator, pb.JointProposal([[1, 2], [0, 1]]))
    np.testing.assert_allclose(having.value, without.value, rtol=1e-14)
    assert having.loss == pytest.approx(0.5 * without.loss + 0.5 * math.log(2.0), rel=1e-14)


# --- Against an optimiser that shares no code ---


@pytest.mark.parametrize("seed", range(6))
def test_scipy_finds_the_same_minimum(seed):
    """BFGS on the double loop of Eq. (7), from a random start, ends at the same loss and the same centred utilities."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    upper = np.triu(rng.uniform(0.05, 0.95, (n, n)), 1)
    preference = upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(n)
    q = rng.random((n, n)) ** 2
    q /= q.sum()
    solution = solve(pb.PreferenceMatrix(preference), pb.JointProposal(q))
    found = minimize(
        lambda omega: loss_by_loop(preference, omega, q),
        rng.normal(size=n),
        jac=lambda omega: gradient_by_loop(preference, omega, q),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    assert solution.converged
    assert solution.loss == pytest.approx(found.fun, abs=1e-14)  # both losses are of size 1
    # A gradient of 1e-9 over eigenvalues down to 1e-3.
    np.testing.assert_allclose(solution.value, found.x - found.x.mean(), atol=1e-6)


@given(data=st.data(), size=st.integers(1, 12))
def test_solution_is_stationary_and_centred(data, size):
    """The gradient of Eq. (7), as a double loop, vanishes at the solution; utilities have mean zero in each component
    of the comparison graph; the loss is the loop's.
    """
    annotator = data.draw(preference_matrices(size) | annotator_mixtures(size))
    proposal = data.draw(proposals(size))
    if not pb.finite_fit_exists(annotator, proposal):  # a probability of exactly 0, from rounding
        with pytest.raises(ValueError, match="Ford"):
            solve(annotator, proposal)
        return
    solution, q, preference = solve(annotator, proposal), proposal.matrix(size), annotator.preference_probabilities()
    if not solution.converged:
        # Allowed only where the Hessian is singular to working precision.
        assert solution.certificate.smallest_eigenvalue < 1e-12
        return
    np.testing.assert_array_equal(
        solution.certificate.components == solution.certificate.components[:, None],
        components_by_search(q) == components_by_search(q)[:, None],
    )
    gradient = gradient_by_loop(preference, solution.value, q)
    # γ² ≤ 2 M · gap with curvature M ≤ 1/2 and gap ≤ 1e-20, beside the rounding of terms of size 1.
    assert np.linalg.norm(gradient) <= 1.5e-10
    assert solution.loss == pytest.approx(loss_by_loop(preference, solution.value, q), rel=1e-12)
    for label in set(solution.certificate.components):
        inside = solution.value[solution.certificate.components == label]
        assert abs(inside.mean()) <= 1e-14 * (1.0 + np.max(np.abs(inside)))


@given(data=st.data(), size=st.integers(2, 12), rng=generators)
def test_no_perturbation_improves(data, size, rng):
    """Convexity: no utilities have a loss below the minimum, near or far."""
    annotator, proposal = data.draw(preference_matrices(size)), data.draw(proposals(size, connected=True))
    if not pb.finite_fit_exists(annotator, proposal):
        return
    solution, q, preference = solve(annotator, proposal), proposal.matrix(size), annotator.preference_probabilities()
    for scale in (1e-6, 1e-3, 1.0, 30.0):
        other = solution.value + scale * rng.normal(size=size)
        assert loss_by_loop(preference, other, q) >= solution.loss - solution.certificate.gap - 1e-13 * solution.loss


def test_perturbation_check_sees_a_wrong_minimum():
    """Control: utilities 1e-3 beside the minimum are improved upon, by more than the comparison's rounding."""
    preference, q = np.array([[0.5, 0.75], [0.25, 0.5]]), np.array([[0.0, 1.0], [0.0, 0.0]])
    solution = solve(pb.PreferenceMatrix(preference), pb.JointProposal(q))
    beside = solution.value + np.array([1e-3, 0.0])
    assert loss_by_loop(preference, beside, q) - solution.loss > 1e-8
    assert np.linalg.norm(gradient_by_loop(preference, beside, q)) > 1e-4


# --- The certificate ---


@given(data=st.data(), size=st.integers(2, 8), steps=st.integers(1, 4))
def test_certificate_bounds_the_distance_to_the_minimum(data, size, steps):
    """Stopped after any number of steps, the loss is at most `gap` above the least known one."""
    annotator, proposal = data.draw(preference_matrices(size)), data.draw(proposals(size, connected=True))
    if not pb.finite_fit_exists(annotator, proposal):
        return
    stopped, best = solve(annotator, proposal, max_steps=steps), solve(annotator, proposal)
    # The subtraction of two losses of size up to 1 rounds to 1e-15.
    assert stopped.loss - best.loss <= stopped.certificate.gap + 1e-14
    assert stopped.loss >= best.loss - 1e-14
    assert stopped.steps <= steps


@given(data=st.data(), size=st.integers(2, 8), steps=st.integers(1, 3))
def test_certificate_is_what_it_says(data, size, steps):
    """`gradient_norm`, `smallest_eigenvalue` and `gap` are those of the double loops at the returned utilities."""
    annotator, proposal = data.draw(preference_matrices(size)), data.draw(proposals(size, connected=True))
    if not pb.finite_fit_exists(annotator, proposal):
        return
    solution, q = solve(annotator, proposal, max_steps=steps), proposal.matrix(size)
    norm = float(np.linalg.norm(gradient_by_loop(annotator.preference_probabilities(), solution.value, q)))
    eigenvalue = float(np.linalg.eigvalsh(hessian_by_loop(solution.value, q))[1])
    certificate = solution.certificate
    assert certificate.gradient_norm == pytest.approx(norm, rel=1e-9, abs=1e-14)  # terms of size 1 cancel
    assert certificate.smallest_eigenvalue == pytest.approx(eigenvalue, rel=1e-6, abs=1e-14)  # eigvalsh: eps·‖H‖
    if eigenvalue > 1e-8 and norm > 1e-6:
        expected = certified_gap(norm, eigenvalue)
        # Near r = 1 the formula is steep: relative errors of r grow by the logarithm's derivative.
        assert certificate.gap == pytest.approx(expected, rel=1e-4) or math.sqrt(2) * norm / eigenvalue > 0.999
    assert solution.converged == (certificate.gap <= 1e-20)


def test_the_bound_holds_in_fifty_digits():
    """One pair, any P and any margin d: L(d) − L(d*) ≤ (m/2)[r + (1 − r) log(1 − r)] with γ = √2 |σ(d) − P|,
    m = 2 σ(d)σ(−d), r = √2 γ/m, whenever r < 1; and the bound is at most three times the truth where r < 1/2.
    """
    with mpmath.workdps(50):
        one = mpmath.mpf(1)
        for preference in (mpmath.mpf(k) / 64 for k in range(1, 64)):
            least = -preference * mpmath.log(preference) - (1 - preference) * mpmath.log(1 - preference)
            for margin in (mpmath.mpf(k) / 8 for k in range(-48, 49)):
                s = 1 / (1 + mpmath.exp(-margin))
                norm, m = mpmath.sqrt(2) * abs(s - preference), 2 * s * (1 - s)
                r = mpmath.sqrt(2) * norm / m
                excess = -preference * mpmath.log(s) - (1 - preference) * mpmath.log(1 - s) - least
                if 0 < r < 1:
                    bound = m / 2 * (r + (1 - r) * mpmath.log(one - r))
                    assert excess <= bound
                    if 2 * r < 1:
                        assert bound <= 3 * excess


def test_the_bound_holds_for_perturbed_points_of_a_graph():
    """Three outcomes, five hundred perturbed points: the formula with γ and m from double loops bounds L(ω) − L*."""
    rng, tried = np.random.default_rng(0), 0
    preference = np.array([[0.5, 0.8, 0.3], [0.2, 0.5, 0.65], [0.7, 0.35, 0.5]])
    q = np.array([[0.1, 0.3, 0.0], [0.05, 0.0, 0.25], [0.3, 0.0, 0.0]])
    best = solve(pb.PreferenceMatrix(preference), pb.JointProposal(q))
    for scale in np.repeat([1e-3, 1e-2, 0.1, 0.3, 1.0], 100):
        omega = best.value + scale * rng.normal(size=3)
        norm = float(np.linalg.norm(gradient_by_loop(preference, omega, q)))
        bound = certified_gap(norm, float(np.linalg.eigvalsh(hessian_by_loop(omega, q))[1]))
        assert loss_by_loop(preference, omega, q) - best.loss <= bound + 1e-15  # rounding of two losses of size 1
        tried += bound < INF
    assert tried > 300


def test_without_the_logarithm_the_bound_fails():
    """Control: γ²/(2m), which ignores that curvature falls away from the point, is below the truth for P = 7/10, d = 0:
    0.08 against log 2 − H(7/10) = 0.0823.
    """
    excess = math.log(2.0) + 0.7 * math.log(0.7) + 0.3 * math.log(0.3)
    norm, m = math.sqrt(2.0) * 0.2, 0.5
    assert norm**2 / (2 * m) < excess <= certified_gap(norm, m)


def test_one_step_is_not_called_converged():
    """`max_steps=1` on a problem that needs several: converged is False, and the gap is what is missing, or more."""
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([1, 2, 3]), pb.luce())
    stopped = solve(annotator, pb.ProductProposal([1, 1, 1]), max_steps=1)
    full = solve(annotator, pb.ProductProposal([1, 1, 1]))
    assert not stopped.converged
    assert stopped.steps == 1
    assert 1e-20 < stopped.loss - full.loss <= stopped.certificate.gap < 1e-2
    assert full.converged
    assert full.steps > 1


def test_steps_on_one_pair_by_hand():
    """d becomes d - (σ(d) - p) / σ'(d): far from the fit a nat each; it ends where the decrement is the tolerance."""
    p = 1.0 - 1e-9
    annotator, proposal = pb.PreferenceMatrix([[0.5, p], [1.0 - p, 0.5]]), pb.PairListProposal([0], [1])
    for tolerance in (0.3, 1e-2, 1e-3, 1e-5):
        d, steps, decrement = 0.0, 0, INF
        while True:
            previous, decrement = decrement, (sigmoid(d) - p) ** 2 / (sigmoid(d) * sigmoid(-d))
            if decrement <= tolerance and decrement > 0.01 * previous:
                break
            d, steps = d - (sigmoid(d) - p) / (sigmoid(d) * sigmoid(-d)), steps + 1
        solution = solve(annotator, proposal, tolerance=tolerance)
        assert solution.steps == steps
        np.testing.assert_allclose(solution.value, [0.5 * d, -0.5 * d], rtol=1e-6)
        assert steps < 15
    # Where it converges quadratically it goes on, whatever the tolerance.
    easy = solve(COIN, pb.PairListProposal([0], [1]), tolerance=0.1)
    assert easy.steps >= 4
    np.testing.assert_allclose(easy.value, [0.5 * math.log(3.0), -0.5 * math.log(3.0)], rtol=1e-14)


# --- Its parts ---


def one_pair(p):
    """The divergence at utilities of two outcomes of which the first wins with probability p, and its gradient."""
    least = -p * math.log(p) - (1 - p) * math.log(1 - p)

    def loss_at(utilities):
        d = float(utilities[0] - utilities[1])
        slope = sigmoid(d) - p
        return ExpectedLoss(softplus(d) - p * d - least, np.array([slope, -slope]))

    return loss_at


@pytest.mark.parametrize(
    ("length", "halvings"),
    # The least loss is at 0.405 for p = 0.6, and the loss is that of zero again near 0.82.
    [(0.01, 0), (0.405, 0), (0.8, 0), (0.83, 1), (1.6, 1), (1.7, 2), (100.0, 7)],
)
def test_steps_are_halved_until_the_loss_falls(length, halvings):
    loss_at, start = one_pair(0.6), np.array([0.0, 0.0])
    found, loss = minimizers._line_search(loss_at, start, loss_at(start), np.array([length, 0.0]))
    np.testing.assert_allclose(found, [length / 2**halvings, 0.0], rtol=1e-14)
    assert loss.value == loss_at(found).value < loss_at(start).value
    assert np.array_equal(loss.gradient, loss_at(found).gradient)


@pytest.mark.parametrize("halvings", [0, 1, 3])
def test_a_step_must_gain_a_ten_thousandth_of_what_its_slope_promises(halvings):
    """On the line where nothing else is gained, the change decides; the slope is halved with the step."""
    promised = 2.0**-halvings
    for gain, accepted in ((1.001e-4, True), (0.999e-4, False)):
        def loss_at(utilities, gain=gain):
            at = utilities[0]
            value = 1.0 - gain * promised if at == promised else (2.0 if at > promised else -9.0)
            return ExpectedLoss(value, np.zeros(2))

        current = ExpectedLoss(1.0, np.array([-1.0, 0.0]))
        found, loss = minimizers._line_search(loss_at, np.zeros(2), current, np.array([1.0, 0.0]))
        assert (found[0] == promised) == accepted
        assert loss.value == (1.0 - gain * promised if accepted else -9.0)


def test_where_the_loss_is_flat_a_step_must_halve_the_gradient():
    """A slope of 1e-14 of the loss: the loss's rounding says nothing there."""
    current, step = ExpectedLoss(1.0, np.array([-1.0, 0.0])), np.array([1e-14, 0.0])
    for left, accepted in ((0.499, True), (0.5, False), (0.9, False), (-0.499, True)):
        trial = ExpectedLoss(5.0, np.array([left, 0.0]))
        found = minimizers._line_search(lambda _, trial=trial: trial, np.array([1.0, 2.0]), current, step)
        assert (found is not None) == accepted
        if accepted:
            np.testing.assert_array_equal(found[0], np.array([1.0, 2.0]) + step)
            assert found[1] is trial
    # Just above that slope the loss decides, and it does not fall: no step, once steps are lost in rounding.
    worse = ExpectedLoss(1.1, np.zeros(2))
    assert minimizers._line_search(lambda _: worse, np.array([1.0, 2.0]), current, 1.01 * step) is None
    better = ExpectedLoss(0.9, np.array([9.0, 0.0]))
    assert minimizers._line_search(lambda _: better, np.array([1.0, 2.0]), current, 1.01 * step)[1] is better


def test_newtons_step_is_the_dense_solution():
    """Among the utilities with mean zero; damped only where curvature has underflowed."""
    rng = np.random.default_rng(5)
    q = rng.random((6, 6))
    for scale in (1.0, 1e-9, 1e6):
        hessian, null = scale * hessian_by_loop(rng.normal(size=6), q), np.full((6, 6), 1 / 6)
        gradient = rng.normal(size=6)
        gradient -= gradient.mean()
        step = minimizers._newton_step(hessian, null, gradient)
        np.testing.assert_allclose(step, -np.linalg.pinv(hessian, rcond=1e-12) @ gradient, rtol=1e-9)
        assert abs(step.sum()) < 1e-14 * np.abs(step).max() * 6
    flat = minimizers._newton_step(np.zeros((2, 2)), np.zeros((2, 2)), np.array([1e-30, -1e-30]))
    # No curvature at all: 1e-14 of the scale, which is one.
    np.testing.assert_allclose(flat, [-1e-16, 1e-16], rtol=1e-9)
    # A curvature that is negative by rounding is passed over by the smallest damping that will do.
    hessian = np.diag([1.0, -3e-13, 0.0])
    step = minimizers._newton_step(hessian, np.zeros((3, 3)), np.array([0.0, 1.0, 0.0]))
    assert step[1] == pytest.approx(-1.0 / (1e-12 - 3e-13), rel=1e-2, abs=0)


def test_certificates_by_hand():
    """Path of three with curvatures 2 and 1: eigenvalues 3 ± √3 and 0."""
    hessian = np.array([[2.0, -2.0, 0.0], [-2.0, 3.0, -1.0], [0.0, -1.0, 1.0]])
    null, together = np.full((3, 3), 1 / 3), np.zeros(3, dtype=int)
    smallest = 3.0 - math.sqrt(3.0)
    for norm in (1e-9, 0.1, 0.5, 0.89):
        gradient = norm * np.array([0.6, -0.8, 0.0])
        found = minimizers._certify(hessian, null, gradient, together)
        assert found.gradient_norm == pytest.approx(norm, rel=1e-14)
        assert found.smallest_eigenvalue == pytest.approx(smallest, rel=1e-13)
        r = mpmath.sqrt(2) * norm / (3 - mpmath.sqrt(3))
        gap = (3 - mpmath.sqrt(3)) / 2 * (r + (1 - r) * mpmath.log(1 - r)) if norm > 1e-5 else norm**2 / (2 * smallest)
        assert found.gap == pytest.approx(float(gap), rel=1e-9, abs=0)
        assert found.components is together
    assert minimizers._certify(hessian, null, 0.9 * np.array([0.6, -0.8, 0.0]), together).gap == INF
    # Curvature that the eigenvalue solver may have made up: n eps times twice the largest degree.
    eps = np.finfo(float).eps
    for curvature, certified in ((5e-16, False), (2e-14, True)):
        weak = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0 + curvature, -curvature], [0.0, -curvature, curvature]])
        found = minimizers._certify(weak, null, np.zeros(3), together)
        assert (found.gap == 0.0) == certified
        assert certified or found.gap == INF
    assert 1.5 * 5e-16 < 3 * eps * 2.0 < 1.5 * 2e-14
    # All curvature has underflowed: nothing is known.
    flat = minimizers._certify(np.zeros((3, 3)), null, np.array([1e-20, -1e-20, 0.0]), together)
    assert (flat.gap, flat.smallest_eigenvalue) == (INF, 0.0)
    # Three components of three outcomes: nothing can fall.
    alone = minimizers._certify(np.zeros((3, 3)), np.eye(3), np.array([3.0, 4.0, 0.0]), np.arange(3))
    assert (alone.gap, alone.gradient_norm, alone.smallest_eigenvalue) == (0.0, 5.0, INF)
    # Two components: {0, 1} with curvature 5, {2, 3} with curvature ½, eigenvalues 10 and 1.
    blocks = np.kron(np.diag([5.0, 0.5]), [[1.0, -1.0], [-1.0, 1.0]])
    halves = np.kron(np.eye(2), np.full((2, 2), 0.5))
    found = minimizers._certify(blocks, halves, np.zeros(4), np.array([0, 0, 1, 1]))
    assert found.smallest_eigenvalue == pytest.approx(1.0, rel=1e-13)


@pytest.mark.parametrize("r", [0.0, 1e-9, 1e-3, 0.3, 0.5, 0.7, 0.999])
def test_the_certificates_function_in_many_digits(r):
    with mpmath.workdps(50):
        exact = float(mpmath.mpf(r) + (1 - mpmath.mpf(r)) * mpmath.log(1 - mpmath.mpf(r)))
    assert minimizers._bregman(r) == pytest.approx(exact, rel=1e-13, abs=0)


# --- Well-specified annotators, far apart ---


@given(data=st.data(), size=st.integers(1, 12))
def test_single_process_is_recovered(data, size):
    """Lemma 1: for a single process the fit is χ up to one constant per component, whatever the proposal."""
    annotator = data.draw(annotators(size))
    chi = annotator.utility / max(1.0, float(np.ptp(annotator.utility)) / 12.0)  # within 12 nats
    process = pb.Annotator(pb.FiniteDistribution(chi), pb.luce())
    proposal = data.draw(proposals(size))
    solution = solve(process, proposal)
    assert solution.converged
    error = process.utility - solution.value
    for label in set(solution.certificate.components):
        inside = error[solution.certificate.components == label]
        # ½ m |error|² is at most the gap, 1e-20, or rounding of the gradient, 1e-16/m.
        assert np.ptp(inside) <= 1e-10 + 1e-14 / solution.certificate.smallest_eigenvalue


@pytest.mark.parametrize("n", [11, 40])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_utilities_over_a_hundred_nats_converge(n, seed):
    """Utilities spread over 100 nats: Newton from ω = 0 with a line search converges and finds them."""
    chi = np.linspace(0.0, 100.0, n) if seed is None else 100.0 * np.sort(np.random.default_rng(seed).random(n))
    solution = solve(pb.Annotator(pb.FiniteDistribution(chi), pb.luce()), pb.ProductProposal(np.ones(n)))
    assert solution.converged
    # Neighbours up to 15 nats apart: probabilities of 1e-7 times pair weights of 1e-3, known to 1e-16 relatively.
    np.testing.assert_allclose(solution.value, chi - chi.mean(), atol=1e-6)


def test_preferences_of_a_hundred_nats_on_one_pair():
    """Two outcomes 30 nats apart come back, and 1 − P = 9e-14 is not lost to rounding of P."""
    solution = solve(pb.Annotator(pb.FiniteDistribution([0.0, -30.0]), pb.luce()), pb.ProductProposal([1, 1]))
    assert solution.converged
    np.testing.assert_allclose(solution.value, [15.0, -15.0], rtol=1e-10)


def test_admits_failure_beyond_working_precision():
    """Two outcomes 600 nats apart are found, or `converged` is False: never a confident wrong answer."""
    solution = solve(pb.Annotator(pb.FiniteDistribution([0.0, -600.0]), pb.luce()), pb.ProductProposal([1, 1]))
    assert not solution.converged or solution.value[0] - solution.value[1] == pytest.approx(600.0, abs=1.0)


# --- Graphs that are not connected, and fits that do not exist ---


def test_disconnected_graph_has_a_constant_per_component():
    """Pairs {0, 3} and {1, 4}, outcome 2 alone: each component is centred, the lone outcome is 0."""
    annotator = pb.Annotator(pb.FiniteDistribution(np.log([1, 2, 3, 4, 10])), pb.luce())
    solution = solve(annotator, pb.PairListProposal([0, 1], [3, 4]))
    assert solution.converged
    np.testing.assert_array_equal(solution.certificate.components, [0, 1, 2, 0, 1])
    half = [0.5 * math.log(4.0), 0.5 * math.log(5.0)]
    np.testing.assert_allclose(solution.value, [-half[0], -half[1], 0.0, half[0], half[1]], atol=1e-12)
    assert solution.certificate.smallest_eigenvalue > 0.0


def test_certificate_of_a_disconnected_graph_ignores_only_the_constants():
    """`smallest_eigenvalue` skips one zero per component and no more."""
    annotator = pb.PreferenceMatrix(np.full((4, 4), 0.5))
    solution = solve(annotator, pb.PairListProposal([0, 2], [1, 3], [9, 1]))
    # Laplacians with weights 0.9/4 and 0.1/4: eigenvalues 0, 0.45, 0, 0.05.
    assert solution.certificate.smallest_eigenvalue == pytest.approx(0.05, rel=1e-12)


@pytest.mark.parametrize(
    ("preference", "proposal"),
    [
        ([[0.5, 1.0], [0.0, 0.5]], pb.ProductProposal([1, 1])),
        ([[0.5, 0.6, 1.0], [0.4, 0.5, 1.0], [0.0, 0.0, 0.5]], pb.ProductProposal([1, 1, 1])),
        # The pair that would close the cycle is never drawn.
        ([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]], pb.PairListProposal([0, 1], [1, 2])),
    ],
)
def test_fits_that_do_not_exist_are_refused(preference, proposal):
    """Ford's condition: where one group always beats the rest, the loss has no finite minimiser, and says so."""
    with pytest.raises(ValueError, match="Ford's condition"):
        solve(pb.PreferenceMatrix(preference), proposal)


def test_refused_fit_really_diverges():
    """Control: for such a matrix, pulling the winning group up lowers the loss for ever, towards its infimum."""
    preference = [[0.5, 0.6, 1.0], [0.4, 0.5, 1.0], [0.0, 0.0, 0.5]]
    q = np.full((3, 3), 1 / 9)
    losses = [loss_by_loop(preference, [lift + math.log(1.5), lift, 0.0], q) for lift in (0, 5, 10, 20, 30)]
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))


def test_impossible_outcomes_have_no_finite_fit():
    """p*(x) = 0 means x always loses: no finite utility, an error; also between two such outcomes, where P is 0/0."""
    for weights, message in (([0, 1, 2], "Ford"), ([0, 0, 2], "0/0")):
        annotator = pb.Annotator(pb.FiniteDistribution.from_weights(weights), pb.luce())
        with pytest.raises(ValueError, match=message):
            solve(annotator, pb.ProductProposal([1, 1, 1]))


# --- Bad input ---

COIN, ONE_PAIR = pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]]), pb.ProductProposal([1, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pb.minimize_expected_loss("nonsense", COIN, ONE_PAIR), ValueError, "`objective`.*'nonsense'"),
        (lambda: pb.minimize_expected_loss(3, COIN, ONE_PAIR), (TypeError, ValueError), "`objective`.*3"),
        (lambda: solve(COIN, pb.ProductProposal([1, 1, 1])), ValueError, "`proposal`.*2 outcomes.*got 3"),
        (lambda: solve(COIN, ONE_PAIR, max_steps=0), ValueError, "`max_steps`.*at least 1; got 0"),
        (lambda: solve(COIN, ONE_PAIR, max_steps=2.5), (TypeError, ValueError), "`max_steps`.*2.5"),
        (lambda: solve(COIN, ONE_PAIR, tolerance=-1.0), ValueError, "`tolerance`.*-1"),
        (lambda: solve(COIN, ONE_PAIR, tolerance=NAN), ValueError, "`tolerance`.*nan"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    """A wrong argument raises before any arithmetic and names the argument, the rule and what came."""
    with pytest.raises(error, match=message):
        call()


def test_linear_time_on_request_with_its_own_bounds():
    """The method is the matrix-free minimiser: its utilities, its own certificate, and the bounds it is given."""
    rng = np.random.default_rng(0)
    members = [pb.Annotator(pb.FiniteDistribution(rng.normal(size=30)), pb.luce()) for _ in range(2)]
    annotator, proposal = pb.AnnotatorMixture([0.3, 0.7], members), pb.ProductProposal(rng.random(30) + 0.1)
    dense = pb.minimize_expected_loss("bradley_terry", annotator, proposal)
    linear = pb.minimize_expected_loss("bradley_terry", annotator, proposal, method="kernel_sum")
    direct = minimize_product_loss(annotator, proposal)
    assert type(linear.certificate) is type(direct.certificate) is not type(dense.certificate)
    np.testing.assert_array_equal(linear.value, direct.value)
    np.testing.assert_allclose(linear.value, dense.value, atol=1e-8)
    hasty = pb.minimize_expected_loss("bradley_terry", annotator, proposal, method="kernel_sum", max_steps=1)
    assert hasty.steps == 1
    strict = pb.minimize_expected_loss("bradley_terry", annotator, proposal, method="kernel_sum", tolerance=1e-300)
    assert linear.converged
    assert not strict.converged


def test_solution_is_read_only_and_plain():
    """The result cannot be changed by accident, and holds Python floats where it says float."""
    solution = solve(COIN, ONE_PAIR)
    assert not solution.value.flags.writeable
    for number in (solution.loss, solution.certificate.gap, solution.certificate.gradient_norm):
        assert type(number) is float
    assert type(solution.converged) is bool
