"""The face of DPO's minimisers: against linear programmes, against fits that drift along it, by hand."""

import numpy as np
import pytest
from scipy.optimize import linprog

import pbde_ref as pb
from pbde_ref.exact.minimizer_face import minimizer_vertices, probability_range


def sample(wins):
    """Annotator and pairs of a table of how often the row's answer was chosen over the column's."""
    wins = np.array(wins, float)
    met = wins + wins.T
    shares = np.divide(wins, met, out=np.full(wins.shape, 0.5), where=met > 0)
    return pb.PreferenceMatrix(shares), pb.JointProposal(np.triu(met))


# 0 and 1 each won once against each other, both beat 2; 3 beat 2; 4 was never shown.
WINS = [[0, 1, 1, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]


def test_by_hand_and_by_programmes():
    """0 and 1 keep the reference's ratio; the programmes see the ratio and the loser's zero only."""
    reference = pb.FiniteDistribution.from_weights([1, 3, 2, 2, 2])
    vertices = minimizer_vertices(*sample(WINS), beta=0.1, reference=reference)
    np.testing.assert_allclose(vertices, [[0.25, 0.75, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]], atol=1e-12)
    equal = [[1.0] * 5, [3.0, -1.0, 0, 0, 0], [0, 0, 1.0, 0, 0]]
    for chosen in ([0], [0, 1], [0, 3], [2], [0, 1, 3], [4]):
        goal = np.isin(range(5), chosen).astype(float)
        ends = [linprog(sign * goal, A_eq=equal, b_eq=[1, 0, 0], method="highs").fun * sign for sign in (1, -1)]
        np.testing.assert_allclose(probability_range(vertices, chosen), ends, atol=1e-9)
    assert probability_range(vertices, [0, 1, 3]) == (0.0, 1.0)  # every chosen answer may vanish


def test_policies_near_the_face_have_nearly_the_least_loss():
    """Any mixture of vertices is a limit of policies whose loss tends to the infimum; a policy off the face is not."""
    annotator, pairs = sample(WINS)
    rng = np.random.default_rng()
    point = rng.dirichlet(np.ones(3)) @ minimizer_vertices(annotator, pairs)

    def loss(policy):
        return pb.expected_kl(annotator, np.log(policy), pairs).value

    found = [loss((1 - e) * point + e / 5) for e in (1e-3, 1e-6, 1e-9)]
    assert found[0] > found[1] > found[2]
    assert found[2] < 1e-7
    off = point * [2, 1, 1, 1, 1] + 1e-9
    assert loss(off / off.sum()) > 1e-3


def test_a_sample_that_contradicts_itself_has_one_minimiser():
    """Control: arrows both ways everywhere leave one vertex, which is the fit's policy."""
    annotator, pairs = sample([[0, 2, 1], [1, 0, 3], [2, 1, 0]])
    (only,) = minimizer_vertices(annotator, pairs)
    found = pb.optimum("dpo", annotator, pairs, beta=1.0, reference=pb.uniform(range(3)))
    np.testing.assert_allclose(only, found.policy.pmf, atol=1e-9)
    low, high = probability_range([only], [0])
    assert low == high > 0.1


def test_refusals():
    with pytest.raises(ValueError, match="`reference` must be positive"):
        minimizer_vertices(*sample(WINS), reference=pb.FiniteDistribution.from_weights([1, 1, 1, 1, 0]))
    with pytest.raises(ValueError, match="`reference` must"):
        minimizer_vertices(*sample(WINS), reference=pb.uniform(range(2)))
