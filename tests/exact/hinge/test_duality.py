"""What a policy and a dual point prove: gaps, flows and their routes, each against loops or by hand."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pbde_ref.exact.hinge.duality import finished, hinge_and_slackness, net_flow, route
from tests.exact.hinge.wins import random_wins


@pytest.mark.parametrize(
    ("gaps", "enough", "resolution", "expected"),
    [
        ([1e-3], 1.0, 0.0, True),  # a thousandth of what is enough
        ([1.1e-3], 1.0, 0.0, False),
        ([0.5], 0.0, 5.0, True),  # a tenth of what rounding leaves
        ([0.6], 0.0, 5.0, False),
        ([1.5, 1.0, 0.9, 0.8], 1.0, 0.0, True),  # not halved in three steps, and enough
        ([1.5, 1.0, 0.9, 0.8], 0.8, 0.0, True),
        ([1.5, 1.0, 0.9, 0.8], 0.0, 0.8, True),
        ([1.5, 1.0, 0.9, 0.8], 0.79, 0.7, False),  # stalled, but not enough
        ([1.6, 1.0, 0.9, 0.8], 1.0, 0.0, False),  # halved just so
        ([9.0, 1.5, 1.0, 0.9, 0.8], 1.0, 0.0, True),
        ([1.5, 9.0, 9.0, 1.0, 0.8], 1.0, 0.0, False),
        ([1.0, 0.9, 0.8], 1.0, 0.0, False),  # too early to tell
        ([1.0, 0.9, 0.8, 0.1], 0.5, 0.05, False),
    ],
)
def test_when_the_gaps_are_small_enough(gaps, enough, resolution, expected):
    assert finished(gaps, enough, resolution) is expected


def test_hinge_and_slackness_are_double_loops():
    rng = np.random.default_rng(0)
    wins, s, delta = random_wins(rng, 5), rng.normal(0.0, 2.0, 5), 0.7
    dual = wins * rng.random((5, 5))
    hinge = slackness = 0.0
    for a, b in itertools.product(range(5), repeat=2):
        short = delta - (s[a] - s[b])
        hinge += wins[a, b] * max(short, 0.0)
        slackness += wins[a, b] * max(short, 0.0) - dual[a, b] * short
    assert_allclose(hinge_and_slackness(wins, delta, s, dual), (hinge, slackness), rtol=1e-13)
    balance = [sum(dual[a, b] - dual[b, a] for b in range(5)) for a in range(5)]
    assert_allclose(net_flow(dual), balance, atol=1e-15)


def test_surplus_goes_to_the_roots_along_the_widest_arcs():
    """Two trees. 1, at the root, gets what 0 and 2 have; the arc 0 – 2 is the narrowest and is left out."""
    room = np.zeros((5, 5))
    room[0, 1], room[2, 1], room[0, 2] = 3.0, 0.5, 0.25
    room[4, 3] = 1e-30
    flows = np.arange(25.0).reshape(5, 5)
    surplus = np.array([0.25, -0.75, 0.5, 2.0, -2.0])
    routed, arcs, tree = route(flows, room, surplus, np.array([0.0, 9.0, 1.0, 0.0, 0.0]))
    expected = flows.copy()
    expected[0, 1] -= 0.25
    expected[2, 1] -= 0.5
    expected[4, 3] += 2.0
    assert_array_equal(routed, expected)
    assert sorted(arcs) == [(0, 1), (2, 1), (4, 3)]
    assert tree[0] == tree[1] == tree[2] != tree[3] == tree[4]
    assert_array_equal(flows, np.arange(25.0).reshape(5, 5))
    assert_array_equal(surplus, [0.25, -0.75, 0.5, 2.0, -2.0])
    assert_allclose(net_flow(routed - flows), -surplus, atol=1e-14)


def test_surplus_is_handed_on_from_leaf_to_root():
    """A chain 3 – 2 – 1 – 0 whose arcs point either way; of equals the first is the root."""
    room = np.zeros((4, 4))
    room[3, 2], room[1, 2], room[1, 0], room[0, 1] = 1.0, 1.0, 2.0, 2.0
    surplus = np.array([-0.75, 0.25, 0.125, 0.375])
    routed, arcs, tree = route(np.zeros((4, 4)), room, surplus, np.zeros(4))
    expected = np.zeros((4, 4))
    expected[3, 2], expected[1, 2] = -0.375, 0.5
    expected[1, 0] = -0.75
    assert_array_equal(routed, expected)
    assert arcs == [(3, 2), (1, 2), (1, 0)]
    assert tree.max() == 0


@pytest.mark.parametrize("seed", range(4))
def test_flows_balance_where_one_tree_spans_all(seed):
    rng = np.random.default_rng(seed)
    n = 7
    room = random_wins(rng, n)
    surplus = rng.normal(size=n)
    surplus -= surplus.mean()
    preference = rng.normal(size=n)
    routed, arcs, tree = route(np.zeros((n, n)), room, surplus, preference)
    assert tree.max() == 0
    assert len(arcs) == n - 1
    assert_allclose(net_flow(routed), -surplus, atol=1e-14)
    # The bottleneck of a widest tree: no arc between the parts that one of its arcs joins has more room.
    for arc in arcs:
        rest = [other for other in arcs if other != arc]
        side = {arc[0]}
        while grown := {b for a, b in rest if a in side} | {a for a, b in rest if b in side} | side:
            if grown == side:
                break
            side = grown
        inside = np.isin(np.arange(n), list(side))
        across = np.maximum(room, room.T)[np.ix_(inside, ~inside)]
        assert room[arc] == across.max()


def test_nothing_moves_where_there_is_no_room():
    surplus = np.array([1.0, -1.0])
    routed, arcs, tree = route(np.eye(2), np.zeros((2, 2)), surplus, surplus)
    assert_array_equal(routed, np.eye(2))
    assert arcs == []
    assert tree.tolist() == [0, 1]


def test_of_many_equals_the_first_is_the_root():
    n = 200
    room, surplus = np.zeros((n, n)), np.zeros(n)
    room[np.arange(n - 1), np.arange(1, n)] = 1.0
    surplus[-1], surplus[0] = 1.0, -1.0
    routed = route(np.zeros((n, n)), room, surplus, np.zeros(n))[0]
    for preference, passed in ((np.ones(n), 0.0), (np.arange(n) % 2.0, -1.0), (np.arange(n) % 5 // 4.0, -4.0)):
        assert route(np.zeros((n, n)), room, np.eye(n)[0], preference)[0].sum() == passed
    # All of it passes every arc of the chain on its way to the first; the root itself sends nothing.
    assert_array_equal(routed, room)
    surplus = np.eye(n)[n // 2]
    assert route(np.zeros((n, n)), room, surplus, np.zeros(n))[0].sum() == n // 2
