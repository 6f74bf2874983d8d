"""Nearest annotators and what turns in circles. Proof: `proofs/maximal_lottery.md`, part 5."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.games import intransitivity, nearest_annotator
from tests.games.cases import CYCLE, drawn, luce
from tests.seeds import drawn_seed


@pytest.mark.parametrize("of", ["log_odds", "margins"])
def test_the_potential_is_the_least_squares_one(of):
    """A dense least-squares problem over all pairs, weighted by a proposal that is no product."""
    rng = np.random.default_rng(drawn_seed())
    preferences, q = drawn(rng, 6), pb.JointProposal(rng.random((6, 6)))
    found = intransitivity(preferences, q, of=of)
    p = preferences.preference_probabilities()
    flow = np.log(p / p.T) if of == "log_odds" else p - 0.5
    weights = q.matrix(6)
    rows = [(a, b) for a in range(6) for b in range(6) if a != b]
    root = np.sqrt([weights[a, b] for a, b in rows])
    design = np.array([np.eye(6)[a] - np.eye(6)[b] for a, b in rows]) * root[:, None]
    exact = np.linalg.lstsq(design, root * np.array([flow[a, b] for a, b in rows]), rcond=None)[0]
    assert found.utilities - found.utilities.mean() == pytest.approx(exact - exact.mean(), abs=1e-10)
    rest = root * np.array([flow[a, b] for a, b in rows]) - design @ exact
    assert found.share == pytest.approx(float(rest @ rest / np.sum((root * [flow[a, b] for a, b in rows]) ** 2)))


def test_gradient_and_rest_are_orthogonal_and_the_worst_triangle_is_that_of_all():
    rng = np.random.default_rng(drawn_seed())
    found = intransitivity(drawn(rng, 7))
    gradient = found.utilities[:, None] - found.utilities
    assert float((gradient * found.residual).sum()) == pytest.approx(0.0, abs=1e-9)
    r = found.residual
    most = max(r[a, b] + r[b, c] + r[c, a] for a in range(7) for b in range(7) for c in range(7))
    (a, b, c), total = found.worst_triangle()
    assert total == pytest.approx(most)
    assert r[a, b] + r[b, c] + r[c, a] == pytest.approx(total)


def test_a_pure_cycle_is_all_curl_and_a_luce_annotator_none():
    assert intransitivity(CYCLE, of="margins").share == pytest.approx(1.0)
    assert intransitivity(luce(np.random.default_rng(0), 8)).share < 1e-28
    assert intransitivity(luce(np.random.default_rng(0), 8), of="margins").share > 1e-4


def test_certain_answers_have_no_log_odds():
    with pytest.raises(ValueError, match="`preferences` must leave each answer uncertain"):
        intransitivity(CYCLE)


@pytest.mark.parametrize("seed", range(4))
def test_a_density_is_found_where_there_is_one_and_refuted_where_not(seed):
    """Under the Luce rule and under a process with unequal f; one probability changed by 1e-6 is enough."""
    rng = np.random.default_rng(seed)
    process = pb.PBDE(rng.uniform(0.5, 2.0, 5), rng.normal(size=5))
    truth = pb.FiniteDistribution(rng.normal(size=5))
    p = pb.Annotator(truth, process).preference_probabilities().copy()
    found = nearest_annotator(pb.PreferenceMatrix(p), process=process)
    assert found.explains
    assert pb.total_variation(found.annotator.distribution, truth) < 1e-7
    assert found.distance < 1e-20
    other = nearest_annotator(pb.PreferenceMatrix(p))
    assert other.explains  # by another density
    assert pb.total_variation(other.annotator.distribution, truth) > 1e-3
    p[0, 1], p[1, 0] = p[0, 1] + 1e-6 * (1 if p[0, 1] < 0.5 else -1), p[1, 0] - 1e-6 * (1 if p[0, 1] < 0.5 else -1)
    assert not nearest_annotator(pb.PreferenceMatrix(p), process=process).explains


def test_the_distance_is_the_least_expected_divergence():
    rng = np.random.default_rng(drawn_seed())
    preferences = drawn(rng, 4)
    found, p = nearest_annotator(preferences), preferences.preference_probabilities()

    def divergence(u):
        total = 0.0
        for a in range(4):
            for b in range(4):
                s = 1.0 / (1.0 + math.exp(u[b] - u[a]))
                total += (p[a, b] * math.log(p[a, b] / s) + p[b, a] * math.log(p[b, a] / (1.0 - s))) / 16
        return total

    assert found.distance == pytest.approx(minimize(divergence, np.zeros(4), method="BFGS").fun, abs=1e-8)


def test_no_finite_utilities_is_said():
    with pytest.raises(ValueError, match="Ford's condition"):
        nearest_annotator(pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]]))
