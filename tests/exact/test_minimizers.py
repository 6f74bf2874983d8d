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
from scipy.sparse.csgraph import connected_components

import pbde_ref as pb
from pbde_ref.exact.identifiability import comparison_components
from pbde_ref.exact.linear_time.minimizer import minimize_product_loss
from tests import adversarial
from tests.paper_on_arrays import cross_entropy, hessian, kl_gradient
from tests.strategies import annotator_mixtures, annotators, preference_matrices, proposals

NAN, INF = math.nan, math.inf


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
    # Nor have three that nobody compares: no direction is left in which the loss could fall.
    found = solve(pb.Annotator(pb.uniform(range(3)), pb.luce()), pb.JointProposal(np.eye(3))).certificate
    assert (found.gap, found.smallest_eigenvalue, found.utility_error) == (0.0, INF, 0.0)
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
    gradient = kl_gradient(preference, solution.value, q)
    # γ² ≤ 2 M · gap with curvature M ≤ 1/2 and gap ≤ 1e-20, beside the rounding of terms of size 1.
    assert np.linalg.norm(gradient) <= 1.5e-10
    assert solution.loss == pytest.approx(cross_entropy(preference, solution.value, q), rel=1e-12)
    for label in set(solution.certificate.components):
        inside = solution.value[solution.certificate.components == label]
        assert abs(inside.mean()) <= 1e-14 * (1.0 + np.max(np.abs(inside)))


# --- The certificate ---


@given(data=st.data(), size=st.integers(2, 8), steps=st.integers(1, 3))
def test_certificate_is_what_it_says(data, size, steps):
    """`gradient_norm` and `smallest_eigenvalue` are those of the double loops at the returned utilities."""
    annotator, proposal = data.draw(preference_matrices(size)), data.draw(proposals(size, connected=True))
    if not pb.finite_fit_exists(annotator, proposal):
        return
    solution, q = solve(annotator, proposal, max_steps=steps), proposal.matrix(size)
    norm = float(np.linalg.norm(kl_gradient(annotator.preference_probabilities(), solution.value, q)))
    eigenvalue = float(np.linalg.eigvalsh(hessian(solution.value, q))[1])
    certificate = solution.certificate
    assert certificate.gradient_norm == pytest.approx(norm, rel=1e-9, abs=1e-14)  # terms of size 1 cancel
    assert certificate.smallest_eigenvalue == pytest.approx(eigenvalue, rel=1e-6, abs=1e-14)  # eigvalsh: eps·‖H‖
    assert solution.converged == (certificate.gap <= 1e-20 and certificate.utility_error <= 1e-8)
    assert solution.converged == (solution.reason == "")


@pytest.mark.parametrize("max_steps", [1, 3, 200])
@pytest.mark.parametrize("seed", range(60))
def test_bounds_are_never_below_the_truth(seed, max_steps):
    """Any problem, solved or stopped early: the gap and the error of every difference, in hundreds of digits, are at
    most what the certificate says; a solution that converged is right to 1e-8.
    """
    rng = np.random.default_rng([seed, 14])
    name, annotator, proposal = adversarial.problem(rng, sizes=(2, 6))
    if not pb.finite_fit_exists(annotator, proposal):
        with pytest.raises(ValueError, match="Ford"):
            solve(annotator, proposal)
        return
    solution = solve(annotator, proposal, max_steps=max_steps)
    certificate = solution.certificate
    assert solution.converged or max_steps < 200, (name, solution.reason)
    if certificate.gap == INF:
        assert certificate.utility_error == INF
        assert solution.reason == "the steps ran out"
        return
    with mpmath.workdps(400):
        pairs = adversarial.exact_pairs(annotator, proposal)
        exact = adversarial.exact_minimum(pairs, solution.value, certificate.components)
        at = [mpmath.mpf(float(x)) for x in solution.value]
        assert adversarial.exact_loss_above(pairs, at, exact) <= certificate.gap, name
        error = adversarial.largest_difference(solution.value, exact, certificate.components)
        assert error <= certificate.utility_error, name
        assert not solution.converged or error < 1e-8


@pytest.mark.parametrize("seed", range(40))
def test_a_process_comes_back_whatever_the_scales(seed):
    """A single process is its own fit: certified to 1e-9 and right, for weights over 30 decades and spreads of 680."""
    rng = np.random.default_rng([seed, 15])
    name, annotator, proposal = adversarial.problem(rng, sizes=(2, 40), answers=("process", "ties"))
    solution = solve(annotator, proposal)
    size, weights = annotator.size, proposal.matrix(annotator.size)
    within = (weights + weights.T > 0.0) & (np.abs(annotator.utility[:, None] - annotator.utility) < 745.0)
    if connected_components(within, directed=False)[0] > comparison_components(proposal, size).max() + 1:
        # With the noise, comparisons that hold the graph together are beyond 745 nats: their curvature underflows.
        assert solution.converged or "underflows" in solution.reason
        return
    assert solution.converged, (name, solution.reason)
    assert solution.certificate.utility_error < 1e-9
    for label in set(solution.certificate.components.tolist()):
        inside = solution.certificate.components == label
        error = np.ptp((annotator.utility - solution.value)[inside])
        # Utilities of 680 nats are stored to 1e-13.
        assert error <= solution.certificate.utility_error + 4e-13


@pytest.mark.parametrize("seed", range(12))
def test_anything_is_certified(seed):
    """Matrices, mixtures, answers that contradict each other, up to 40 outcomes."""
    name, annotator, proposal = adversarial.problem(np.random.default_rng([seed, 16]), sizes=(20, 40))
    if pb.finite_fit_exists(annotator, proposal):
        assert solve(annotator, proposal).converged, name


# Rarer answers to the pairs (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), whether the first is rare, and weights.
HIERARCHIES = {
    "a rare outcome is thrown 350 nats by the slope of the frequent ones": (
        [1e-28, 1e-2, 1e-4, 1e-19, 1e-2, 1e-37], [0, 0, 1, 1, 0, 1], [1e-37, 1e-26, 1e-27, 1e-39, 1e-55, 1e-3],
    ),
    "the same in another order": (
        [1e-19, 1e-4, 1e-3, 1e-11, 1e-8, 1e-44], [0, 0, 0, 1, 1, 1], [1e-47, 1e-29, 1e-40, 1e-53, 1e-43, 1e-6],
    ),
    "between two firm pairs": (
        [1e-23, 1e-26, 1e-24, 1e-17, 1e-21, 1e-4], [0, 0, 1, 0, 1, 0], [1e-33, 1e-48, 1e-13, 1e-46, 1e-7, 1e-46],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HIERARCHIES)
def test_rare_outcomes_do_not_stop_frequent_ones(name):
    """Answers and weights over 50 decades: Newton's steps settle each scale in turn, in far fewer than 200 steps."""
    rarer, first, weights = HIERARCHIES[name]
    a, b = np.triu_indices(4, 1)
    matrix = np.full((4, 4), 0.5)
    matrix[a, b] = np.where(first, rarer, 1.0 - np.array(rarer))
    matrix[b, a] = np.where(first, 1.0 - np.array(rarer), rarer)
    annotator, proposal = pb.PreferenceMatrix(matrix), pb.PairListProposal(a, b, weights)
    solution = solve(annotator, proposal)
    assert solution.converged, solution.reason
    assert solution.steps <= 60
    with mpmath.workdps(400):
        exact = adversarial.exact_minimum(
            adversarial.exact_pairs(annotator, proposal), solution.value, solution.certificate.components
        )
        error = adversarial.largest_difference(solution.value, exact, solution.certificate.components)
        assert error <= solution.certificate.utility_error < 1e-9


def test_two_outcomes_eighty_nats_apart():
    """A loss flat to 1e-36 there says nothing about the utilities; the bound on these does."""
    for spread in (80.0, 300.0, 680.0):
        annotator = pb.Annotator(pb.FiniteDistribution([0.0, -spread]), pb.luce())
        solution = solve(annotator, pb.ProductProposal([1, 1]))
        assert solution.converged
        np.testing.assert_allclose(solution.value, [0.5 * spread, -0.5 * spread], rtol=1e-14)


def test_the_papers_population_with_pairs_from_its_density():
    """256 points: the same utilities as in linear time, certified."""
    problem = pb.paper_problem(256)
    members = [pb.Annotator(p, pb.luce()) for p in problem.annotator_distributions]
    annotator = pb.AnnotatorMixture(problem.annotator_weights, members)
    proposal = pb.ProductProposal(problem.implicit_preference_distribution)
    solution = solve(annotator, proposal, method="dense")
    assert solution.converged
    np.testing.assert_allclose(solution.value, minimize_product_loss(annotator, proposal).value, atol=1e-6)


def test_what_double_precision_does_not_determine_is_said():
    """Two outcomes 80 nats apart, firmly, and a third that ties with both: between them the pulls, ½ each, cancel
    within e^−40 of themselves for some 70 nats. Rounding of ½ decides; the true reason is given, and no bound.
    """
    matrix = np.full((3, 3), 0.5)
    matrix[0, 1], matrix[1, 0] = 1e-35, 1.0
    third = pb.PreferenceMatrix(matrix)
    found = solve(third, pb.PairListProposal([0, 2, 2], [1, 0, 1], [1.0, 1e-38, 1e-38]))
    assert not found.converged
    assert "double precision does not determine" in found.reason
    assert found.certificate.utility_error == INF
    # Control: 20 nats apart, κ is 4e-5 of the pulls, and the answer ½ (ω₀ + ω₁) is certified.
    matrix[0, 1], matrix[1, 0] = 2e-9, 1.0 - 2e-9
    found = solve(pb.PreferenceMatrix(matrix), pb.PairListProposal([0, 2, 2], [1, 0, 1], [1.0, 1e-12, 1e-12]))
    assert found.converged
    assert abs(found.value[2]) < 1e-9


def test_tolerances_are_those_asked_for():
    """An error of 1e-14 cannot be certified to 1e-16, and the reason says by how much rounding may move it."""
    loose = solve(COIN, pb.PairListProposal([0], [1]))
    strict = solve(COIN, pb.PairListProposal([0], [1]), utility_tolerance=1e-16)
    assert loose.converged
    assert not strict.converged
    assert "double precision" in strict.reason
    assert "its minimum only" in solve(COIN, pb.PairListProposal([0], [1]), tolerance=1e-300).reason
    cycle = pb.PreferenceMatrix([[0.5, 0.9, 0.3], [0.1, 0.5, 0.8], [0.7, 0.2, 0.5]])
    assert solve(cycle, pb.ProductProposal([1, 2, 3]), max_steps=1).reason == "the steps ran out"


def test_one_step_is_not_called_converged():
    """`max_steps=1` on a problem that needs several: converged is False, and the gap is what is missing, or more."""
    annotator = pb.PreferenceMatrix([[0.5, 0.6, 0.4], [0.4, 0.5, 0.7], [0.6, 0.3, 0.5]])
    stopped = solve(annotator, pb.ProductProposal([1, 1, 2]), max_steps=1)
    full = solve(annotator, pb.ProductProposal([1, 1, 2]))
    assert not stopped.converged
    assert stopped.steps == 1
    assert 1e-20 < stopped.loss - full.loss <= stopped.certificate.gap < 1e-2
    assert full.converged
    assert full.steps > 1


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
    losses = [cross_entropy(preference, [lift + math.log(1.5), lift, 0.0], q) for lift in (0, 5, 10, 20, 30)]
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
        (lambda: solve(COIN, ONE_PAIR, utility_tolerance=0.0), ValueError, "`utility_tolerance`.*0"),
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


def test_steps_that_overflow_prove_nothing():
    """Thousands of nats apart curvatures underflow, and some steps are no numbers; the utilities stay finite."""
    annotator = pb.Annotator(pb.FiniteDistribution([-2906, -1564, -1757, 0, -2005, -2358, -1331, -2037]), pb.luce())
    weights = 10.0 ** -np.array([0, 14, 13, 28, 14, 21, 17, 13, 15, 13, 5])
    proposal = pb.PairListProposal([1, 1, 3, 3, 4, 5, 5, 5, 6, 7, 7], [2, 3, 4, 5, 6, 0, 2, 6, 7, 1, 3], weights)
    found = pb.minimize_expected_loss("bradley_terry", annotator, proposal)
    assert np.isfinite(found.value).all()
    assert (found.converged, found.certificate.gap, found.certificate.utility_error) == (False, np.inf, np.inf)
    assert "underflows" in found.reason
