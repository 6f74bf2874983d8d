"""Preference probabilities: cases with exact fractions, laws, fifty-digit references, bad input."""

import dataclasses
from fractions import Fraction
from math import inf, nan

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pbde_ref as pb
from pbde_ref import paper
from pbde_ref.pairs import all_pairs
from tests.refusals import pattern
from tests.strategies import annotator_mixtures, annotators, preference_matrices, utilities

EPS = np.finfo(float).eps
from_weights = pb.FiniteDistribution.from_weights

any_annotator = st.one_of(
    annotators(), annotators(extremes=True), annotator_mixtures(), preference_matrices(certain=True)
)


def luce(*weights):
    return pb.Annotator(from_weights(weights), pb.luce())


# Cases by hand


def test_luce_probabilities_are_exact_fractions():
    """Eq. (9), p(A)/(p(A) + p(B)), with the weights 1, 2, 5 as fractions."""
    weights = [1, 2, 5]
    expected = [[float(Fraction(a, a + b)) for b in weights] for a in weights]
    np.testing.assert_allclose(luce(*weights).preference_probabilities(), expected, rtol=8 * EPS)


def test_general_process_by_hand():
    """Eq. (11): p = (1/4, 3/4), f = (2, 1), g = (log 3, 0) give odds 3·(1/4)² : 3/4 = 1 : 4."""
    annotator = pb.Annotator(from_weights([1, 3]), pb.PBDE([2.0, 1.0], [np.log(3.0), 0.0]))
    np.testing.assert_allclose(annotator.preference_probabilities(), [[1 / 2, 1 / 5], [4 / 5, 1 / 2]], rtol=16 * EPS)


def test_length_normalised_annotator_by_hand():
    """Eq. (26): p^(1/|x|) is (1/16)^(1/2) = 1/4 and (15/16)^(1) = 15/16, so A is preferred with 4/19."""
    annotator = pb.Annotator(from_weights([1, 15]), pb.length_normalized([2, 1]))
    assert annotator.preference_probabilities()[0, 1] == pytest.approx(4 / 19, rel=16 * EPS)


def test_dpo_annotator_by_hand():
    """Eq. (14): p/π_pre is (1/2)/(1/4) = 2 and (1/2)/(3/4) = 2/3; squared by β = 2, the odds are 9 : 1."""
    annotator = pb.Annotator(from_weights([1, 1]), pb.dpo(2.0, from_weights([1, 3])))
    assert annotator.preference_probabilities()[0, 1] == pytest.approx(9 / 10, rel=16 * EPS)


def test_mixture_of_annotators_by_hand():
    """Eq. (25): 2/5 · 3/4 + 3/5 · 1/4 = 9/20."""
    mixture = pb.AnnotatorMixture([2, 3], [luce(3, 1), luce(1, 3)])
    np.testing.assert_allclose(mixture.preference_probabilities(), [[1 / 2, 9 / 20], [11 / 20, 1 / 2]], rtol=16 * EPS)
    np.testing.assert_allclose(mixture.weights, [2 / 5, 3 / 5], rtol=4 * EPS)


def test_an_excluded_outcome_always_loses():
    annotator = luce(1, 0, 3)
    matrix = annotator.preference_probabilities()
    assert annotator.utility[1] == -inf
    np.testing.assert_allclose(matrix, [[1 / 2, 1, 1 / 4], [0, 1 / 2, 0], [3 / 4, 1, 1 / 2]], rtol=8 * EPS)


def test_a_reference_of_zero_is_harmless_where_the_annotator_is_zero_too():
    annotator = pb.Annotator(from_weights([1, 1, 0]), pb.dpo(1.0, from_weights([3, 1, 0])))
    np.testing.assert_allclose(
        annotator.preference_probabilities()[:2, :2], [[1 / 2, 1 / 4], [3 / 4, 1 / 2]], rtol=16 * EPS
    )
    assert annotator.utility[2] == -inf


def test_one_outcome():
    assert luce(7).preference_probabilities().tolist() == [[0.5]]
    assert pb.PreferenceMatrix([[0.5]]).preference_probabilities().tolist() == [[0.5]]


def test_a_matrix_comes_back():
    matrix = [[0.5, 1.0, 0.125], [0.0, 0.5, 0.75], [0.875, 0.25, 0.5]]
    assert pb.PreferenceMatrix(matrix).preference_probabilities().tolist() == matrix


def test_the_smaller_entry_of_a_matrix_is_exact_and_the_larger_its_complement():
    """A measured matrix may miss P + Pᵀ = 1 by 1e-9: the smaller entry counts."""
    matrix = pb.PreferenceMatrix([[0.5, 0.7 + 5e-10], [0.3, 0.5]]).preference_probabilities()
    assert (matrix[1, 0], matrix[0, 1]) == (0.3, 1 - 0.3)


# Laws


@given(any_annotator)
def test_preferences_are_complementary(annotator):
    """P + Pᵀ = 1 to a rounding of each entry, 0 ≤ P ≤ 1, and the diagonal is ½."""
    matrix = annotator.preference_probabilities()
    assert matrix.shape == (annotator.size, annotator.size)
    np.testing.assert_allclose(matrix + matrix.T, 1.0, atol=4 * EPS)
    assert ((matrix >= 0) & (matrix <= 1)).all()
    np.testing.assert_allclose(np.diag(matrix), 0.5, rtol=4 * EPS)


@given(annotators(max_size=8, extremes=True))
@example(pb.Annotator(from_weights([1.0, 1e-30]), pb.luce()))
def test_probabilities_of_a_process_are_relatively_exact(annotator):
    """σ(χ(A) − χ(B)) and σ(χ(B) − χ(A)), each right to 1e-12 relatively, from the double loop of Eq. (11).

    The logit rounds: an error of eps·|logit| ≤ 1.6e-13 for |logit| ≤ 720, beyond which probabilities underflow.
    """
    p, p_complement = annotator.probabilities(all_pairs(annotator.size))
    with mpmath.workdps(50):
        for a, chi_a in enumerate(annotator.utility):
            for b, chi_b in enumerate(annotator.utility):
                z = mpmath.mpf(float(chi_a)) - mpmath.mpf(float(chi_b))
                assert p[a, b] == pytest.approx(float(paper.sigma(z, mpmath)), rel=1e-12, abs=1e-300)
                assert p_complement[a, b] == pytest.approx(float(paper.sigma(-z, mpmath)), rel=1e-12, abs=1e-300)


@given(any_annotator)
def test_a_pairs_two_probabilities_are_those_of_the_matrix(annotator):
    block = all_pairs(annotator.size)
    p, p_complement = annotator.probabilities(block)
    matrix = annotator.preference_probabilities()
    np.testing.assert_allclose(p, matrix, rtol=8 * EPS)
    np.testing.assert_allclose(p_complement, matrix.T, rtol=8 * EPS)


@given(annotator_mixtures(max_size=12))
def test_a_mixture_is_the_weighted_double_loop(mixture):
    """Prob(A ≻ B) = Σ_i w_i σ(χ_i(A) − χ_i(B)), Eq. (25), (27): positive terms, right relatively."""
    actual = mixture.preference_probabilities()
    for a in range(mixture.size):
        for b in range(mixture.size):
            with mpmath.workdps(50):
                expected = mpmath.fsum(
                    mpmath.mpf(float(w))
                    * paper.sigma(mpmath.mpf(float(m.utility[a])) - mpmath.mpf(float(m.utility[b])), mpmath)
                    for w, m in zip(mixture.weights, mixture.annotators, strict=True)
                )
            assert actual[a, b] == pytest.approx(float(expected), rel=1e-12)  # logits up to 2,800: eps times that


@given(annotators(max_size=10))
def test_excess_of_the_annotators_own_utility_is_zero(annotator):
    """σ(χ_A − χ_B) − P_AB = 0 exactly: no rounding pretends a difference."""
    assert not annotator.excess(all_pairs(annotator.size), annotator.utility).any()


def exact_excesses(annotator, omega):
    """σ(ω_A − ω_B) − Prob(A ≻ B) of a process, in 400 digits."""
    with mpmath.workdps(400):  # differences of 1e-300 between numbers near 1
        d = [[mpmath.mpf(float(x)) - mpmath.mpf(float(y)) for y in omega] for x in omega]
        c = [[mpmath.mpf(float(x)) - mpmath.mpf(float(y)) for y in annotator.utility] for x in annotator.utility]
        return np.array(
            [
                [float(paper.sigma(y, mpmath) - paper.sigma(x, mpmath)) for x, y in zip(*rows, strict=True)]
                for rows in zip(c, d, strict=True)
            ]
        )


@given(
    annotators(max_size=5).flatmap(lambda a: st.tuples(st.just(a), utilities(a.size, 1.0))),
    st.floats(-15.0, 3.0).map(lambda exponent: 10.0**exponent),
)
def test_excess_of_a_process_is_relatively_exact(case, gap):
    """However little ω = χ + gap differs from χ; 1e-12, and absolutely below 1e-300, where floats lose digits."""
    annotator, direction = case
    omega = annotator.utility + gap * direction
    actual = annotator.excess(all_pairs(annotator.size), omega)
    np.testing.assert_allclose(actual, exact_excesses(annotator, omega), rtol=1e-12, atol=1e-300)


@given(annotator_mixtures(max_size=5).flatmap(lambda a: st.tuples(st.just(a), utilities(a.size, 1000.0))))
def test_excess_of_a_mixture_is_exact_relative_to_the_largest_of_its_members(case):
    """Σ_i w_i (σ(ω_A − ω_B) − P_i): weights that sum to one within rounding."""
    mixture, omega = case
    actual = mixture.excess(all_pairs(mixture.size), omega)
    members = np.array([exact_excesses(member, omega) for member in mixture.annotators])
    expected = np.tensordot(mixture.weights, members, 1)
    assert (np.abs(actual - expected) <= 1e-12 * np.abs(members).max(axis=0) + 1e-300).all()


@given(st.floats(-300.0, -0.31).map(lambda exponent: 10.0**exponent), st.floats(-15.0, 3.0), st.booleans())
@example(0.5, -8.0, True)
def test_excess_of_a_matrix_is_relatively_exact(p, exponent, above):
    """σ(logit p ± gap) − p and the same from the other side, the smaller entry taken as exact.

    A probability near 1e-300 holds only its own digits of a difference: absolutely below 1e-300 there.
    """
    with mpmath.workdps(400):
        small = mpmath.mpf(p)
        d = float(mpmath.log(small / (1 - small))) + (1 if above else -1) * 10.0**exponent
        expected = float(paper.sigma(mpmath.mpf(d), mpmath) - small)
    for matrix, omega, sign in (([[0.5, p], [1 - p, 0.5]], [d, 0.0], 1), ([[0.5, 1 - p], [p, 0.5]], [0.0, d], -1)):
        actual = pb.PreferenceMatrix(matrix).excess(all_pairs(2), np.array(omega))
        np.testing.assert_allclose(actual, [[0.0, sign * expected], [-sign * expected, 0.0]], rtol=1e-12, atol=1e-300)


def test_labels_travel_with_the_annotators():
    labels = ["tea", "coffee"]
    annotator = pb.Annotator(from_weights([1, 3], support=labels), pb.luce())
    matrix = pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]], support=labels)
    for one in (annotator, matrix, pb.AnnotatorMixture([1, 1], [annotator, matrix])):
        assert one.support.tolist() == labels
    assert pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]]).support.tolist() == [0, 1]


# Values that do not change


def test_inputs_are_copied_and_arrays_are_read_only():
    matrix, weights = np.array([[0.5, 0.75], [0.25, 0.5]]), np.array([1.0, 3.0])
    explicit = pb.PreferenceMatrix(matrix)
    members = [luce(1, 2), luce(2, 1)]
    mixture = pb.AnnotatorMixture(weights, members)
    matrix[:], weights[:] = 9.0, 9.0
    members.clear()
    assert explicit.preference_probabilities()[0, 1] == 0.75
    assert mixture.weights.tolist() == [0.25, 0.75]
    assert len(mixture.annotators) == 2
    for array in (mixture.weights, luce(1, 2).utility, explicit.support):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_changed_result_does_not_change_the_annotator():
    for annotator in (
        luce(1, 3),
        pb.AnnotatorMixture([1], [luce(1, 3)]),
        pb.PreferenceMatrix([[0.5, 0.25], [0.75, 0.5]]),
    ):
        result = annotator.preference_probabilities()
        if result.flags.writeable:
            result[:] = 9.0
        np.testing.assert_allclose(annotator.preference_probabilities(), [[1 / 2, 1 / 4], [3 / 4, 1 / 2]], rtol=8 * EPS)


def test_attributes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        luce(1, 2).utility = np.zeros(2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        pb.AnnotatorMixture([1], [luce(1, 2)]).weights = np.ones(1)


# Bad input

UNIFORM = pb.uniform([0, 1])
TWO, THREE = luce(1, 1), luce(1, 1, 1)


def matrix_of(*rows):
    return lambda: pb.PreferenceMatrix(rows)


BAD = {
    "sizes": (lambda: pb.Annotator(UNIFORM, pb.PBDE([1, 1, 1])), ValueError, "`f` must have 2 outcomes*; got 3"),
    "utility +inf": (
        lambda: pb.Annotator(UNIFORM, pb.PBDE(1, [0, inf])),
        ValueError,
        "utility *must be below +inf; got inf at index 1",
    ),
    "reference excludes": (
        lambda: pb.Annotator(UNIFORM, pb.dpo(1, from_weights([1, 0]))),
        ValueError,
        "utility *must be below +inf; got inf at index 1",
    ),
    "utility −inf everywhere": (
        lambda: pb.Annotator(UNIFORM, pb.PBDE(1, [-inf, -inf])),
        ValueError,
        "must *finite utility; got -inf everywhere",
    ),
    "distribution": (
        lambda: pb.Annotator([0.5, 0.5], pb.luce()),
        TypeError,
        "`distribution` must be a FiniteDistribution or ConditionalDistribution; got list",
    ),
    "pbde": (lambda: pb.Annotator(UNIFORM, "luce"), TypeError, "`pbde` must be a PBDE*; got str"),
    "pbde not called": (lambda: pb.Annotator(UNIFORM, pb.luce), TypeError, "`pbde` must be a PBDE*; got function"),
    "two excluded outcomes": (
        lambda: luce(1, 0, 0).preference_probabilities(),
        ValueError,
        "must not *at both outcomes of a pair*got -inf at indices 1 and 2",
    ),
    "mixture of two excluded outcomes": (
        lambda: pb.AnnotatorMixture([1, 1], [THREE, luce(1, 0, 0)]).preference_probabilities(),
        ValueError,
        "must not *at both outcomes of a pair*got -inf at indices 1 and 2",
    ),
    "too few annotators": (
        lambda: pb.AnnotatorMixture([1, 1], [TWO]),
        ValueError,
        "`annotators` must have one entry for each weight, 2; got 1",
    ),
    "no annotators": (
        lambda: pb.AnnotatorMixture([], []),
        ValueError,
        "`weights` must be a vector with at least one entry; got shape (0,)",
    ),
    "negative weight": (
        lambda: pb.AnnotatorMixture([1, -1], [TWO, TWO]),
        ValueError,
        "`weights` must be non-negative; got -1.0 at index 1",
    ),
    "weight NaN": (
        lambda: pb.AnnotatorMixture([nan, 1], [TWO, TWO]),
        ValueError,
        "`weights` must be free of NaN; got nan at index 0",
    ),
    "no mass": (
        lambda: pb.AnnotatorMixture([0, 0], [TWO, TWO]),
        ValueError,
        "`weights` must have positive mass; got *0",
    ),
    "annotators' sizes": (
        lambda: pb.AnnotatorMixture([1, 1], [TWO, THREE]),
        ValueError,
        "`annotators[1]` must have 2 outcomes*; got 3",
    ),
    "annotators' labels": (
        lambda: pb.AnnotatorMixture([1, 1], [TWO, pb.Annotator(pb.uniform("ab"), pb.luce())]),
        ValueError,
        "`annotators[1]` must have the support of `annotators[0]`; got *'a'*0*at index 0",
    ),
    "matrix labels": (
        lambda: pb.PreferenceMatrix([[0.5]], support=["a", "b"]),
        ValueError,
        "`support` must have 1 outcomes*; got 2",
    ),
    "matrix label twice": (
        lambda: pb.PreferenceMatrix([[0.5, 0.5], [0.5, 0.5]], support="aa"),
        ValueError,
        "`support` must hold distinct labels; got 'a' again at index 1",
    ),
    "no annotator": (lambda: pb.AnnotatorMixture([1], [3]), TypeError, "`annotators[0]` must be *; got int"),
    "not complementary": (
        matrix_of([0.5, 0.9], [0.2, 0.5]),
        ValueError,
        "`probabilities` must be complementary, P + Pᵀ = 1; got 0.9 + 0.2 at index (0, 1)",
    ),
    "diagonal": (
        matrix_of([0.5, 0.5], [0.5, 0.4]),
        ValueError,
        "`probabilities` must be complementary, P + Pᵀ = 1; got 0.4 + 0.4 at index (1, 1)",
    ),
    "matrix NaN": (
        matrix_of([0.5, nan], [0.2, 0.5]),
        ValueError,
        "`probabilities` must be free of NaN; got nan at index (0, 1)",
    ),
    "above 1": (
        matrix_of([0.5, 1.2], [-0.2, 0.5]),
        ValueError,
        "`probabilities` must be in [0, 1]; got 1.2 at index (0, 1)",
    ),
    "below 0": (
        matrix_of([0.5, -0.2], [1.2, 0.5]),
        ValueError,
        "`probabilities` must be in [0, 1]; got -0.2 at index (0, 1)",
    ),
    "matrix inf": (
        matrix_of([0.5, inf], [0, 0.5]),
        ValueError,
        "`probabilities` must be in [0, 1]; got inf at index (0, 1)",
    ),
    "not square": (matrix_of([0.5, 0.5]), ValueError, "`probabilities` must be a square matrix *; got shape (1, 2)"),
    "vector": (
        lambda: pb.PreferenceMatrix([0.5]),
        ValueError,
        "`probabilities` must be a square matrix *; got shape (1,)",
    ),
    "empty": (lambda: pb.PreferenceMatrix([]), ValueError, "`probabilities` must be a square matrix *; got shape (0,)"),
    "text": (lambda: pb.PreferenceMatrix("a"), TypeError, "`probabilities` must be an array of real numbers; got 'a'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=pattern(message)):
        call()
