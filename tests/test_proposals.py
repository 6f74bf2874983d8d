"""Proposals: joint probabilities by hand, agreement of blocks and matrix, the strategies' own promises, bad input."""

import dataclasses
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pbde_ref as pb
from tests.refusals import pattern
from tests.strategies import KINDS, annotators, proposals, sizes, zero_outcomes

EPS = np.finfo(float).eps


def sized_proposals(**kwargs):
    return sizes().flatmap(lambda n: st.tuples(st.just(n), proposals(n, **kwargs)))


def unordered(matrix):
    """Weight of each unordered pair, on and above the diagonal."""
    return np.triu(matrix + matrix.T, 1) + np.diag(np.diag(matrix))


def is_connected(matrix):
    """Breadth-first search over the pairs of positive weight."""
    reached, frontier = {0}, [0]
    while frontier:
        a = frontier.pop()
        for b in range(len(matrix)):
            if b not in reached and (matrix[a, b] > 0 or matrix[b, a] > 0):
                reached.add(b)
                frontier.append(b)
    return len(reached) == len(matrix)


# Cases by hand


def test_product_by_hand():
    """(1/4, 3/4) ⊗ (1/2, 1/2)."""
    q = pb.ProductProposal([1, 3], [5, 5])
    np.testing.assert_allclose(q.matrix(2), [[1 / 8, 1 / 8], [3 / 8, 3 / 8]], rtol=8 * EPS)


def test_product_of_one_distribution_with_itself_by_hand():
    expected = [[1 / 16, 3 / 16], [3 / 16, 9 / 16]]
    np.testing.assert_allclose(pb.ProductProposal([1, 3]).matrix(2), expected, rtol=8 * EPS)
    p = pb.FiniteDistribution.from_weights([1, 3])
    np.testing.assert_allclose(pb.ProductProposal(p).matrix(2), expected, rtol=16 * EPS)
    np.testing.assert_allclose(pb.ProductProposal(p, [1, 3]).matrix(2), expected, rtol=16 * EPS)


def test_joint_by_hand():
    np.testing.assert_allclose(pb.JointProposal([[0, 1], [3, 4]]).matrix(2), [[0, 1 / 8], [3 / 8, 1 / 2]], rtol=4 * EPS)


def test_pair_list_by_hand():
    """A pair that occurs twice adds up, its two orders stay apart, and outcomes that no pair names have no mass."""
    q = pb.PairListProposal([0, 1, 0, 2], [1, 0, 1, 2], [1, 2, 4, 1])
    expected = np.zeros((4, 4))
    expected[0, 1], expected[1, 0], expected[2, 2] = 5 / 8, 2 / 8, 1 / 8
    np.testing.assert_allclose(q.matrix(4), expected, rtol=4 * EPS)


def test_pairs_without_weights_count_equally():
    expected = [[0, 2 / 3], [1 / 3, 0]]
    np.testing.assert_allclose(pb.PairListProposal([0, 1, 0], [1, 0, 1]).matrix(2), expected, rtol=4 * EPS)


# Laws


@given(sized_proposals())
def test_joint_probabilities_sum_to_one(case):
    """Σ q = 1, q ≥ 0; 1,600 terms, each with a few roundings."""
    size, proposal = case
    matrix = proposal.matrix(size)
    assert matrix.shape == (size, size)
    assert (matrix >= 0).all()
    assert matrix.sum() == pytest.approx(1.0, abs=64 * EPS)


def assert_blocks_hold_each_unordered_pair(proposal, size):
    """Summed over all blocks, the weight of {A, B} is q(A, B) + q(B, A), and q(A, A) on the diagonal."""
    total = np.zeros((size, size))
    for block in proposal.blocks(size):
        a, b, weight = np.broadcast_arrays(block.a, block.b, block.weight)
        np.add.at(total, (np.minimum(a, b), np.maximum(a, b)), weight)
    np.testing.assert_allclose(total, unordered(proposal.matrix(size)), rtol=64 * EPS, atol=EPS * EPS)


@given(sized_proposals())
def test_blocks_hold_each_unordered_pair(case):
    size, proposal = case
    assert_blocks_hold_each_unordered_pair(proposal, size)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_hold_each_unordered_pair_beyond_one_block(kind):
    """The same at a size where one block cannot hold all pairs."""
    assert_blocks_hold_each_unordered_pair(large_proposal(kind, 700), 700)


def large_proposal(kind, size):
    rng = np.random.default_rng(0)
    if kind == "product":
        return pb.ProductProposal(rng.random(size))
    if kind == "two products":
        return pb.ProductProposal(rng.random(size), rng.random(size))
    if kind == "joint":
        return pb.JointProposal(rng.random((size, size)))
    return pb.PairListProposal(*rng.integers(size, size=(2, 3 * size * size // 2)))


# What the strategies promise


@given(sized_proposals(connected=True))
def test_proposals_connected_by_construction_are_connected(case):
    size, proposal = case
    assert is_connected(proposal.matrix(size))


def test_breadth_first_search_sees_a_disconnected_proposal():
    """Negative control to the promise above."""
    assert not is_connected(pb.PairListProposal([0, 2], [1, 3]).matrix(4))
    assert not is_connected(pb.PairListProposal([0, 1], [0, 1]).matrix(2))


@given(
    annotators(zeros=True).flatmap(
        lambda a: st.tuples(st.just(a), proposals(a.size, connected=True, avoid=zero_outcomes(a.distribution)))
    )
)
def test_proposals_never_compare_two_outcomes_to_avoid(case):
    annotator, proposal = case
    zeros = zero_outcomes(annotator.distribution)
    matrix = proposal.matrix(annotator.size)
    assert is_connected(matrix)
    among = matrix[np.ix_(zeros, zeros)]
    assert not (among - np.diag(np.diag(among))).any()


# Values that do not change


def test_inputs_are_copied():
    a, b, joint = np.array([1.0, 3.0]), np.array([1.0, 1.0]), np.array([[0.0, 1.0], [3.0, 4.0]])
    x_a, x_b, weights = np.array([0, 1]), np.array([1, 0]), np.array([1.0, 3.0])
    all_proposals = pb.ProductProposal(a, b), pb.JointProposal(joint), pb.PairListProposal(x_a, x_b, weights)
    before = [q.matrix(2).copy() for q in all_proposals]
    for array in (a, b, joint, x_a, x_b, weights):
        array[:] = 0
    for q, matrix in zip(all_proposals, before, strict=True):
        np.testing.assert_array_equal(q.matrix(2), matrix)


@pytest.mark.parametrize(
    ("proposal", "names"),
    [
        (pb.ProductProposal([1, 3]), ["a", "b"]),
        (pb.JointProposal([[1, 3], [0, 1]]), ["weights"]),
        (pb.PairListProposal([0], [1]), ["x_a", "x_b", "weights"]),
    ],
    ids=["product", "joint", "pair list"],
)
def test_arrays_are_read_only(proposal, names):
    for name in names:
        with pytest.raises(ValueError, match="read-only"):
            getattr(proposal, name)[0] = 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(proposal, name, np.ones(2))


def test_a_changed_matrix_does_not_change_the_proposal():
    for q in (
        pb.ProductProposal([1, 1]),
        pb.JointProposal([[1, 1], [1, 1]]),
        pb.PairListProposal([0, 0, 1, 1], [0, 1, 0, 1]),
    ):
        matrix = q.matrix(2)
        if matrix.flags.writeable:
            matrix[:] = 9.0
        np.testing.assert_allclose(q.matrix(2), 1 / 4, rtol=4 * EPS)


# Bad input

TWO, THREE = pb.uniform([0, 1]), pb.uniform([0, 1, 2])


def product(*arguments):
    return lambda: pb.ProductProposal(*arguments)


def joint(weights):
    return lambda: pb.JointProposal(weights)


def pair_list(*arguments):
    return lambda: pb.PairListProposal(*arguments)


BAD_VALUES = {
    "a negative": (product([1, -1]), "`a` must be non-negative; got -1.0 at index 1"),
    "a without mass": (product([0, 0]), "`a` must have positive mass; got weights that are all 0"),
    "a NaN": (product([1, nan]), "`a` must be free of NaN; got nan at index 1"),
    "a inf": (product([inf, 1]), "`a` must be finite; got inf at index 0"),
    "a empty": (product([]), "`a` must be a vector with at least one entry; got shape (0,)"),
    "a a matrix": (product([[1, 1]]), "`a` must be a vector *; got shape (1, 2)"),
    "b negative": (product([1, 1], [1, -1]), "`b` must be non-negative; got -1.0 at index 1"),
    "b without mass": (product([1, 1], [0, 0]), "`b` must have positive mass; got weights that are all 0"),
    "b size": (product([1, 1], [1, 1, 1]), "`b` must have 2 outcomes*; got 3"),
    "distributions' sizes": (product(TWO, THREE), "`b` must have 2 outcomes*; got 3"),
    "distributions' labels": (product(TWO, pb.uniform([0, 7])), "`b` must have the support of `a`; got *7* at index 1"),
    "joint negative": (joint([[1, 1], [-2, 1]]), "`weights` must be non-negative; got -2.0 at index (1, 0)"),
    "joint without mass": (joint([[0, 0], [0, 0]]), "`weights` must have positive mass; got weights that are all 0"),
    "joint NaN": (joint([[0, nan], [0, 0]]), "`weights` must be free of NaN; got nan at index (0, 1)"),
    "joint inf": (joint([[0, inf], [0, 0]]), "`weights` must be finite; got inf at index (0, 1)"),
    "joint not square": (joint([[1, 1]]), "`weights` must be a square matrix *; got shape (1, 2)"),
    "joint a vector": (joint([1, 1]), "`weights` must be a square matrix *; got shape (2,)"),
    "joint empty": (joint([]), "`weights` must be a square matrix *; got shape (0,)"),
    "list lengths": (pair_list([0, 1], [1]), "`x_b` must have one entry for each pair, 2; got 1"),
    "list weights' length": (pair_list([0], [1], [1, 1]), "`weights` must have one entry for each pair, 1; got 2"),
    "list negative": (pair_list([0], [1], [-1]), "`weights` must be non-negative; got -1.0 at index 0"),
    "list without mass": (pair_list([0], [1], [0]), "`weights` must have positive mass; got weights that are all 0"),
    "list NaN": (pair_list([0], [1], [nan]), "`weights` must be free of NaN; got nan at index 0"),
    "list inf": (pair_list([0], [1], [inf]), "`weights` must be finite; got inf at index 0"),
    "index negative": (pair_list([0, -1], [1, 1]), "`x_a` must be non-negative; got -1 at index 1"),
    "index too large": (lambda: pb.PairListProposal([0], [5]).matrix(3), "`x_b` must be *below *3; got 5 at index 0"),
    "product matrix size": (lambda: pb.ProductProposal([1, 1]).matrix(3), "`proposal` must have 3 outcomes*; got 2"),
    "joint matrix size": (lambda: pb.JointProposal(np.eye(2)).matrix(3), "`proposal` must have 3 outcomes*; got 2"),
    "product blocks' size": (
        lambda: list(pb.ProductProposal([1, 1]).blocks(3)),
        "`proposal` must have 3 outcomes*; got 2",
    ),
}

BAD_TYPES = {
    "a text": (product("a"), "`a` must be an array of real numbers; got 'a'"),
    "joint text": (joint("a"), "`weights` must be an array of real numbers; got 'a'"),
    "index a fraction": (pair_list([0.5], [1]), "`x_a` must be a vector of whole numbers *; got * dtype float64"),
    "index text": (pair_list([0], ["b"]), "`x_b` must be a vector of whole numbers *; got * dtype "),
    "index a truth value": (pair_list([True], [False]), "`x_a` must be a vector of whole numbers *; got * dtype bool"),
    "index matrix": (pair_list([[0]], [[1]]), "`x_a` must be a vector of whole numbers *; got shape (1, 1)"),
}


@pytest.mark.parametrize("case", [*BAD_VALUES, *BAD_TYPES])
def test_bad_input_is_named(case):
    error, (call, message) = (ValueError, BAD_VALUES[case]) if case in BAD_VALUES else (TypeError, BAD_TYPES[case])
    with pytest.raises(error, match=pattern(message)):
        call()


def test_an_empty_list_of_pairs_is_refused():
    with pytest.raises((TypeError, ValueError), match=r"`x_a` must be .* at least one entry; got shape \(0,\)"):
        pb.PairListProposal([], [])
