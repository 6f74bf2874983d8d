"""What choosing does without fitting a model: Barker's chain and the winners."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pbde_ref as pb
from pbde_ref import paper, validation
from tests import paper_on_arrays
from tests.strategies import annotators, distributions, generators, problems, zero_outcomes

NAN, INF = math.nan, math.inf


def luce(weights):
    return pb.Annotator(pb.FiniteDistribution.from_weights(weights), pb.luce())


def random_walk(rng, size, symmetric=True):
    """A proposal kernel that connects all outcomes; rows of probabilities."""
    moves = rng.random((size, size)) + 0.1
    moves = moves + moves.T if symmetric else moves
    np.fill_diagonal(moves, 0.0)
    kernel = moves / (1.25 * moves.sum(axis=1).max())
    return kernel + np.diag(1.0 - kernel.sum(axis=1))


def transitions_by_loop(kernel, preference):
    """T(x, x') = K(x, x') Prob(x' ≻ x), transcribed; a row's remaining mass stays."""
    size = len(kernel)
    rows = [[kernel[x][y] * preference(y, x) if x != y else 0 for y in range(size)] for x in range(size)]
    for x in range(size):
        rows[x][x] = 1 - sum(rows[x])
    return rows


@pytest.mark.parametrize("size", [2, 3, 21, 60, 300])
@pytest.mark.parametrize("low", [-1000.0, -40.0, 0.0])
def test_nothing_stays_where_everybody_else_is_better(size, low):
    """Uniform proposals of the others: the outcome that always loses leaves with probability 1, up to the sum of its
    chances to win; nothing is negative, and what stays is right in relative terms.
    """
    kernel = (1.0 - np.eye(size)) / (size - 1)
    annotator = pb.Annotator(pb.FiniteDistribution([low] + [0.0] * (size - 1)), pb.luce())
    transition = pb.barker_transition_matrix(annotator, kernel)
    wins = paper_on_arrays.sigmoid(annotator.utility[0] - annotator.utility[1])
    assert transition[0, 0] == pytest.approx(wins, rel=1e-12, abs=0)
    np.testing.assert_allclose(transition.sum(axis=1), 1.0, rtol=0, atol=1e-15 * size)
    found = pb.stationary_distribution(transition)
    np.testing.assert_allclose(found.log_pmf[1:], annotator.distribution.log_pmf[1:], atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 30))
def test_the_packages_own_chains_are_accepted(seed, size):
    """Sparse kernels of rounded rows, utilities up to 1,000 nats apart."""
    rng = np.random.default_rng(seed)
    kernel = np.where(rng.random((size, size)) < 0.5, rng.random((size, size)), 0.0) + np.roll(np.eye(size), 1, axis=1)
    np.fill_diagonal(kernel, 0.0)
    kernel /= kernel.sum(axis=1, keepdims=True)
    annotator = pb.Annotator(pb.FiniteDistribution(rng.choice([1.0, 30.0, 300.0]) * rng.normal(size=size)), pb.luce())
    transition = pb.barker_transition_matrix(annotator, kernel)
    assert (transition >= 0.0).all()
    assert pb.detailed_balance_residual(pb.uniform(range(size)), transition) <= 1.0


def test_rows_of_many_probabilities_may_be_off_by_their_roundings():
    """1e-12, or an eps for each of more than 4,503."""
    for size, tolerance in ((10, 1e-12), (5_000, 1.11e-12)):
        row = np.zeros((size, size))
        row[:, 0] = 1.0 + 0.9 * tolerance
        assert validation.transition_matrix("kernel", row).shape == (size, size)
        row[3, 0] = 1.0 + 1.1 * tolerance
        with pytest.raises(ValueError, match=r"`row sums of kernel` must be 1 within .*at index 3"):
            validation.transition_matrix("kernel", row)


def winners_by_loop(proposal, preference):
    """w(x) = Σ_B [q(x, B) + q(B, x)] Prob(x ≻ B), transcribed, not normalised."""
    size = len(proposal)
    return [
        sum((proposal[x][b] + proposal[b][x]) * preference(x, b) for b in range(size)) for x in range(size)
    ]  # fmt: skip


def stationary_by_eigenvector(transition):
    """Left eigenvector of eigenvalue 1."""
    values, vectors = np.linalg.eig(np.asarray(transition).T)
    vector = np.real(vectors[:, np.argmin(np.abs(values - 1.0))])
    return vector / vector.sum()


# --- Barker's chain ---


def test_barker_transitions_by_hand():
    """p* = (1/2, 1/3, 1/6), K = 1/3 everywhere: T(0, 1) = ⅓ · (1/3)/(5/6) = 2/15, and so on."""
    thirds = [[Fraction(1, 3)] * 3 for _ in range(3)]
    weights = [3, 2, 1]
    exact = transitions_by_loop(thirds, lambda y, x: paper.equation_9([Fraction(w) for w in weights], y, x))
    assert exact[0] == [Fraction(47, 60), Fraction(2, 15), Fraction(1, 12)]
    found = pb.barker_transition_matrix(luce(weights), np.full((3, 3), 1 / 3))
    np.testing.assert_allclose(found, np.array(exact, dtype=float), rtol=4e-16 * 4)  # a few roundings


@given(annotator=annotators(max_size=12), rng=generators)
def test_barker_transitions_are_the_formula(annotator, rng):
    """T(x, x') = K(x, x') σ(χ(x') − χ(x)), rows sum to one, nothing is negative, whatever the kernel."""
    size, chi = len(annotator.utility), annotator.utility
    kernel = random_walk(rng, size, symmetric=False) if size > 1 else np.ones((1, 1))
    found = pb.barker_transition_matrix(annotator, kernel)
    expected = transitions_by_loop(kernel, lambda y, x: paper_on_arrays.sigmoid(chi[y] - chi[x]))
    assert found.shape == (size, size)
    assert np.min(found) >= 0.0
    # A row is a sum of at most 12 terms below 1.
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@given(annotator=annotators(max_size=12), rng=generators)
def test_barkers_chain_is_reversible_and_samples_the_preference_distribution(annotator, rng):
    """With a symmetric kernel, e^χ(x) T(x, x') = e^χ(x') T(x', x): reversible, and stationary law exp(χ)/Z."""
    size = len(annotator.utility)
    kernel = random_walk(rng, size) if size > 1 else np.ones((1, 1))
    target = pb.FiniteDistribution(annotator.utility)
    transition = pb.barker_transition_matrix(annotator, kernel)
    # Each flow is a product of three factors in [0, 1], each rounded relatively.
    assert pb.detailed_balance_residual(target, transition) <= 1e-14
    found = pb.stationary_distribution(transition)
    # χ ranges over up to ±1,000 nats, where float64 resolves 1e-13; elimination adds a rounding for each outcome.
    # The matrix itself cannot hold probabilities much below 1e-290.
    seen = target.pmf > 1e-290
    np.testing.assert_allclose(found.pmf[seen], target.pmf[seen], rtol=1e-11)
    assert np.all(found.pmf[~seen] < 1e-280)


def test_luce_chain_samples_the_implicit_preference_distribution():
    """By hand: p* = (1/2, 1/3, 1/6) is stationary for any symmetric kernel, here one without the move 0 ↔ 2."""
    half = Fraction(1, 2)
    kernel = [[half, half, 0], [half, 0, half], [0, half, half]]
    weights = [3, 2, 1]
    p = [Fraction(w, 6) for w in weights]
    exact = transitions_by_loop(kernel, lambda y, x: paper.equation_9(p, y, x))
    assert [sum(p[x] * exact[x][y] for x in range(3)) for y in range(3)] == p
    found = pb.stationary_distribution(pb.barker_transition_matrix(luce(weights), np.array(kernel, dtype=float)))
    np.testing.assert_allclose(found.pmf, [1 / 2, 1 / 3, 1 / 6], rtol=1e-14)  # a few roundings


def test_another_pbde_samples_its_own_exponential():
    """f = (2, 1), g = (0, log 3), p* = (3/4, 1/4): the chain samples e^Ω ∝ (9/16, 3/4), not p*."""
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.PBDE([2.0, 1.0], [0.0, math.log(3.0)]))
    found = pb.stationary_distribution(pb.barker_transition_matrix(annotator, np.full((2, 2), 0.5)))
    np.testing.assert_allclose(found.pmf, [3 / 7, 4 / 7], rtol=1e-14)  # a few roundings


def test_asymmetric_kernel_is_not_reversible_for_any_law():
    """Control: a kernel that prefers one way round a circle gives a chain without detailed balance even at its own
    stationary law.
    """
    circle = np.array([[0.0, 0.8, 0.2], [0.2, 0.0, 0.8], [0.8, 0.2, 0.0]])
    transition = pb.barker_transition_matrix(luce([1, 2, 3]), circle)
    assert pb.detailed_balance_residual(pb.stationary_distribution(transition), transition) > 1e-2


def test_annotator_mixture_is_in_general_not_reversible():
    """Two annotators who disagree break Kolmogorov's criterion, P01 P12 P20 = P10 P21 P02, and detailed balance;
    the chain's law is neither annotator's and not the density mixture.
    """
    first, second = [Fraction(8), Fraction(2), Fraction(1)], [Fraction(1), Fraction(1), Fraction(4)]

    def mixed(x, y):
        return paper.equation_25([Fraction(1, 2)] * 2, [first, second], x, y)

    assert mixed(0, 1) * mixed(1, 2) * mixed(2, 0) != mixed(1, 0) * mixed(2, 1) * mixed(0, 2)
    crowd = pb.AnnotatorMixture([1, 1], [luce(list(map(float, first))), luce(list(map(float, second)))])
    transition = pb.barker_transition_matrix(crowd, np.full((3, 3), 1 / 3))
    law = pb.stationary_distribution(transition)
    np.testing.assert_allclose(law.pmf, stationary_by_eigenvector(transition), atol=1e-14)  # LAPACK's rounding
    assert pb.detailed_balance_residual(law, transition) > 1e-3
    density = pb.mixture([1, 1], [luce(list(map(float, w))).distribution for w in (first, second)])
    assert pb.total_variation(law, density) > 1e-2


def test_impossible_outcomes_are_transient():
    """p*(x) = 0: the chain leaves x whenever another outcome is proposed, and never returns."""
    transition = pb.barker_transition_matrix(luce([3, 1, 0]), [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]])
    np.testing.assert_allclose(transition[2], [0.25, 0.25, 0.5], rtol=1e-15)
    np.testing.assert_array_equal(transition[:2, 2], 0.0)
    law = pb.stationary_distribution(transition)
    assert law.pmf[2] == 0.0
    np.testing.assert_allclose(law.pmf[:2], [0.75, 0.25], rtol=1e-14)


def test_chain_that_connects_the_rest_is_enough():
    """The kernel needs to connect {p* > 0} only: two impossible outcomes that are never proposed to each other."""
    kernel = [[0.0, 0.5, 0.5, 0.0], [0.5, 0.0, 0.0, 0.5], [0.5, 0.0, 0.5, 0.0], [0.0, 0.5, 0.0, 0.5]]
    law = pb.stationary_distribution(pb.barker_transition_matrix(luce([3, 1, 0, 0]), kernel))
    np.testing.assert_allclose(law.pmf, [0.75, 0.25, 0.0, 0.0], rtol=1e-14)


# --- The stationary distribution ---


@given(rng=generators, size=st.integers(1, 15))
def test_stationary_distribution_is_left_as_it_is(rng, size):
    """π T = π, and π is the left eigenvector of eigenvalue 1."""
    transition = rng.random((size, size)) ** 3
    transition /= transition.sum(axis=1, keepdims=True)
    law = pb.stationary_distribution(transition)
    np.testing.assert_allclose(law.pmf @ transition, law.pmf, rtol=1e-13)  # n roundings
    np.testing.assert_allclose(law.pmf, stationary_by_eigenvector(transition), atol=1e-10)  # LAPACK's conditioning


def test_stationary_distribution_with_exact_fractions():
    """T = [[1/2, 1/2, 0], [1/4, 1/2, 1/4], [0, 1/3, 2/3]]: π ∝ (1/2, 1, 3/4) = (2/9, 4/9, 3/9)."""
    law = pb.stationary_distribution([[1 / 2, 1 / 2, 0], [1 / 4, 1 / 2, 1 / 4], [0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(law.pmf, [2 / 9, 4 / 9, 3 / 9], rtol=1e-15)  # a few roundings


def test_stationary_distribution_of_a_periodic_chain():
    """A chain that alternates has no limit, but one stationary law."""
    np.testing.assert_array_equal(pb.stationary_distribution([[0.0, 1.0], [1.0, 0.0]]).pmf, [0.5, 0.5])


def test_tiny_stationary_probabilities_are_right_relatively():
    """T(0, 1) = 1e-200, T(1, 0) = 1/2: π(1) = 2e-200; one step further, π(2) = 2e-200 · 1e-90/¼ = 8e-290."""
    np.testing.assert_allclose(pb.stationary_distribution([[1.0, 1e-200], [0.5, 0.5]]).pmf, [1, 2e-200], rtol=2e-13)
    law = pb.stationary_distribution([[1.0, 1e-200, 0.0], [0.5, 0.5, 1e-90], [0.0, 0.25, 0.75]])
    # Log-probabilities of size 667 resolve 1e-13.
    np.testing.assert_allclose(law.pmf, [1, 2e-200, 8e-290], rtol=2e-13)


def test_eigenvector_loses_what_elimination_keeps():
    """Control: the eigenvector of the same chain misses its small probabilities altogether."""
    transition = np.array([[1.0, 1e-30], [0.5, 0.5]])
    assert abs(stationary_by_eigenvector(transition)[1] / 2e-30 - 1) > 0.1
    assert abs(pb.stationary_distribution(transition).pmf[1] / 2e-30 - 1) < 1e-13  # log-probability of size 68


def test_transient_states_have_probability_zero():
    """States that the chain leaves for good: 0 → 1 → {2, 3}."""
    transition = [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5], [0, 0, 0.25, 0.75]]
    np.testing.assert_allclose(pb.stationary_distribution(transition).pmf, [0, 0, 1 / 3, 2 / 3], rtol=1e-15)


@pytest.mark.parametrize(
    "transition",
    [
        np.eye(2),
        [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]],
        [[1 / 2, 1 / 4, 1 / 4], [0, 1, 0], [0, 0, 1]],  # one transient state before two absorbing ones
    ],
)
def test_several_closed_classes_have_no_single_law(transition):
    """Two closed classes leave the weights of their laws free: an error, not one of the answers."""
    with pytest.raises(ValueError, match=r"`transition`.*one closed class.*got 2"):
        pb.stationary_distribution(transition)


def test_detailed_balance_residual_by_loop():
    """max |π(x) T(x, x') − π(x') T(x', x)|."""
    rng = np.random.default_rng(0)
    transition = rng.random((5, 5))
    transition /= transition.sum(axis=1, keepdims=True)
    p = pb.FiniteDistribution(rng.normal(size=5))
    flows = [abs(p.pmf[x] * transition[x, y] - p.pmf[y] * transition[y, x]) for x in range(5) for y in range(5)]
    assert pb.detailed_balance_residual(p, transition) == pytest.approx(max(flows), rel=1e-14)


# --- The winners ---


@given(problem=problems(max_size=12))
def test_winners_are_the_formula_and_sum_to_one(problem):
    """w(x) = Σ_B [q(x, B) + q(B, x)] Prob(x ≻ B) sums to one before any normalisation, for every annotator and q."""
    annotator, _, proposal = problem
    preference = annotator.preference_probabilities()
    expected = winners_by_loop(proposal.matrix(annotator.size), lambda x, b: preference[x, b])
    # At most 144 terms that add up to 1.
    assert math.fsum(expected) == pytest.approx(1.0, abs=1e-13)
    np.testing.assert_allclose(pb.winners_distribution(annotator, proposal).pmf, expected, rtol=1e-12, atol=1e-15)


def test_bound_on_the_winners_is_nearly_attained():
    """An outcome of mass μ that always wins has w = 2μ − μ², which is 2μ to first order, while p* = 1 there."""
    for mass in (0.5, 0.1, 1e-3, 1e-6):
        winners = pb.winners_distribution(luce([1, 0]), pb.ProductProposal([mass, 1 - mass]))
        assert winners.pmf[0] == pytest.approx(2 * mass - mass**2, rel=1e-14, abs=0)  # a few roundings
    assert winners.pmf[0] > (2 - 2e-6) * mass


def test_dependent_pairs_break_the_bound():
    """Control: q that compares 0 (marginal 1/2) only with an outcome that loses gives w(0) = 1; and a product of two
    different laws is bounded by their sum, not by twice either.
    """
    assert pb.winners_distribution(luce([1, 0]), pb.JointProposal([[0, 1], [0, 0]])).pmf[0] == 1.0
    a, b = [0.9, 0.1], [0.1, 0.9]
    winners = pb.winners_distribution(luce([1, 1e-9]), pb.ProductProposal(a, b)).pmf
    assert winners[0] > 2 * b[0]
    assert np.all(winners <= np.add(a, b))


@given(p=distributions(2))
def test_winners_of_two_outcomes_are_the_preference_distribution(p):
    """n = 2 without diagonal mass: w = p*."""
    for q in ([[0, 1], [0, 0]], [[0, 1], [3, 0]]):
        winners = pb.winners_distribution(pb.Annotator(p, pb.luce()), pb.JointProposal(q))
        np.testing.assert_allclose(winners.pmf, p.pmf, rtol=1e-14)  # log-probabilities below 10 in size


def test_tiny_winning_probabilities_are_right_relatively():
    """A winner of probability 1e-200 keeps its digits: w(1) = q(1, 1) + (q(0, 1) + q(1, 0)) e^−460/(1 + e^−460)."""
    annotator = pb.Annotator(pb.FiniteDistribution([0.0, -460.0]), pb.luce())
    found = pb.winners_distribution(annotator, pb.JointProposal([[0, 1], [1, 0]])).pmf[1]
    with mpmath.workdps(40):
        exact = mpmath.exp(-460) / (1 + mpmath.exp(-460))
        assert abs(mpmath.mpf(float(found)) / exact - 1) < 1e-13  # e^−460 from a logarithm of size 460


def test_impossible_outcomes_win_only_against_themselves():
    """p*(x) = 0: x wins nothing but its comparison with itself."""
    winners = pb.winners_distribution(luce([1, 1, 0]), pb.JointProposal([[0, 1, 1], [1, 0, 1], [0, 0, 4]]))
    np.testing.assert_allclose(winners.pmf, [1 / 4, 1 / 4, 1 / 2], rtol=1e-14)


# --- Bad input ---

PAIR, HALVES = luce([3, 1]), [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pb.barker_transition_matrix(PAIR, [[0.5, 0.6], [0.5, 0.5]]), r"kernel.*1\.1.*index 0"),
        (lambda: pb.barker_transition_matrix(PAIR, [[1.5, -0.5], [0.5, 0.5]]), r"`kernel`.*-0\.5 at index \(0, 1\)"),
        (lambda: pb.barker_transition_matrix(PAIR, [[NAN, 0.5], [0.5, 0.5]]), r"`kernel`.*nan at index \(0, 0\)"),
        (lambda: pb.barker_transition_matrix(PAIR, [[INF, 0.5], [0.5, 0.5]]), r"kernel.*inf"),
        (lambda: pb.barker_transition_matrix(PAIR, [[0.5, 0.5]]), r"`kernel`.*\(1, 2\)"),
        (lambda: pb.barker_transition_matrix(luce([1, 2, 3]), HALVES), r"`kernel`.*3.*2"),
        (lambda: pb.barker_transition_matrix(luce([1, 0, 0]), np.full((3, 3), 1 / 3)), r"0/0.*indices 1 and 2"),
        (lambda: pb.stationary_distribution([[2.0, -1.0], [0.0, 1.0]]), r"`transition`.*-1\.0 at index \(0, 1\)"),
        (lambda: pb.stationary_distribution([[0.5, 0.4], [0.0, 1.0]]), r"transition.*0\.9.*index 0"),
        (lambda: pb.stationary_distribution([[0.5, 0.5], [NAN, 1.0]]), r"`transition`.*nan at index \(1, 0\)"),
        (lambda: pb.stationary_distribution([[0.5, 0.5]]), r"`transition`.*\(1, 2\)"),
        (lambda: pb.stationary_distribution(np.zeros((0, 0))), r"`transition`.*\(0, 0\)"),
        (lambda: pb.detailed_balance_residual(pb.uniform([0, 1, 2]), HALVES), r"`transition`.*3.*2"),
        (lambda: pb.winners_distribution(luce([1, 0, 0]), pb.ProductProposal([1, 1, 1])), r"0/0.*indices 1 and 2"),
        (lambda: pb.winners_distribution(PAIR, pb.ProductProposal([1, 1, 1])), r"`proposal`.*3|`proposal`.*2"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    """A wrong argument raises before any arithmetic and names the argument, the rule and what came."""
    with pytest.raises(ValueError, match=message):
        call()


def test_winners_ask_nothing_about_pairs_that_are_never_drawn():
    """Two impossible outcomes that the proposal does not compare are no error."""
    annotator = luce([1, 0, 0])
    assert list(zero_outcomes(annotator.distribution)) == [1, 2]
    winners = pb.winners_distribution(annotator, pb.PairListProposal([0, 0], [1, 2]))
    np.testing.assert_array_equal(winners.pmf, [1, 0, 0])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_chain_between_far_outcomes_keeps_its_stationary_distribution(order):
    """Masses that differ by 900 nats over- or underflowed, depending on the order of the states."""
    log_p = np.array([0.0, -900.0, -400.0])[list(order)]
    annotator = pb.Annotator(pb.FiniteDistribution(log_p), pb.luce())
    found = pb.stationary_distribution(pb.barker_transition_matrix(annotator, np.full((3, 3), 1 / 3)))
    likely = log_p > -700.0  # the third is left for good as far as double precision can tell
    assert np.abs(found.log_pmf[likely] - log_p[likely]).max() < 1e-11
    assert found.pmf[~likely] == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_barker_chains_of_any_range_sample_p_star(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    target = pb.FiniteDistribution(rng.uniform(-1.0, 0.0, n) * 10.0 ** rng.uniform(0.0, 3.2))
    kernel = rng.exponential(size=(n, n))
    kernel = kernel + kernel.T
    kernel /= kernel.sum(axis=1).max()
    np.fill_diagonal(kernel, 0.0)
    np.fill_diagonal(kernel, 1.0 - kernel.sum(axis=1))
    found = pb.stationary_distribution(pb.barker_transition_matrix(pb.Annotator(target, pb.luce()), kernel))
    assert pb.total_variation(found, target) < 1e-12
