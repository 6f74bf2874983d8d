"""Certificates of losses of two scores, and stationary points of others.

Against drawn policies and closed forms: proofs/policy_losses.md, proofs/nca.md, proofs/exo.md.
"""

import numpy as np
import pytest
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.exact.pairwise_minima import minimize_by_pairs
from pbde_ref.exact.policy_losses import Kinks, PolicyProblem, descend, minimize_policy_loss, wins_with_ties
from pbde_ref.losses.log_ratios import apo_down, bco, bpo, dpop, nca, of_margin, sppo
from pbde_ref.objectives import BRADLEY_TERRY, discopop, exo
from tests.seeds import drawn_seed

CONVEX = {"nca": (nca(0.7), 0.0), "bco": (bco(0.5, 0.2), 0.0), "sppo": (sppo(0.6), 0.0),
          "rpo": (of_margin(BRADLEY_TERRY, 0.4), 0.3), "dpop": (dpop(0.4, 2.0), 0.1), "bpo": (bpo(0.4, 0.5), 0.1)}


def drawn():
    rng = np.random.default_rng(drawn_seed())
    n = int(rng.integers(2, 7))
    p = rng.random((n, n))
    annotator = pb.PreferenceMatrix(np.where(np.eye(n), 0.5, p / (p + p.T)))
    reference = pb.FiniteDistribution(rng.normal(size=n))
    return rng, annotator, reference, pb.ProductProposal(reference)


@pytest.mark.parametrize("name", CONVEX)
def test_the_bound_holds_for_drawn_policies(name):
    """F(π′) is at least F(π) − gap, and at least what the divergence adds, for policies near and far."""
    objective, weight = CONVEX[name]
    rng, annotator, reference, pairs = drawn()
    found = minimize_policy_loss(objective, annotator, pairs, reference=reference, likelihood_weight=weight)
    wins = wins_with_ties(annotator, pairs)
    n = len(reference)
    problem = PolicyProblem(objective, wins, reference.log_pmf, np.ones(n), weight * wins.sum(axis=1), 0.0)
    assert found.gap < 1e-8
    for scale in (1e-3, 0.1, 1.0, 10.0):
        other = pb.FiniteDistribution(found.policy.log_pmf + scale * rng.normal(size=n))
        assert problem.parts(other.log_pmf)[0] >= found.loss - found.gap


def test_a_certificate_is_refused_where_the_policy_is_not_best():
    """Control: beside the optimum the gap is what the loss has above it, or more."""
    _, annotator, reference, pairs = drawn()
    found = minimize_policy_loss(sppo(0.6), annotator, pairs, reference=reference)
    wins = wins_with_ties(annotator, pairs)
    n = len(reference)
    problem = PolicyProblem(sppo(0.6), wins, reference.log_pmf, np.ones(n), np.zeros(n), 0.0)
    off = pb.FiniteDistribution(found.policy.log_pmf + 0.01 * np.arange(n))
    loss, gap, _ = problem.bound(off.log_pmf)
    assert loss > found.loss
    assert gap >= loss - found.loss > 1e-9


def test_derivatives_are_those_of_the_expected_loss():
    _, annotator, reference, pairs = drawn()
    wins, n = wins_with_ties(annotator, pairs), len(reference)
    problem = PolicyProblem(dpop(0.4, 2.0), wins, reference.log_pmf, 1.0 / (1.0 + np.arange(n)), np.full(n, 0.1), 0.0)
    theta, h = np.linspace(-1.0, 1.5, n), 1e-5
    kinks = Kinks(problem.objective.branches, np.linspace(0.1, 0.9, n * n).reshape(n, n), 2.0)
    _, gradient, hessian = problem.evaluate(theta, kinks)
    for i in range(n):
        step = h * (np.arange(n) == i)
        (up, above, _), (down, below, _) = (problem.evaluate(theta + s * step, kinks) for s in (1.0, -1.0))
        # Truncation h² and rounding 1e-16 / h, and for the Hessian twice that.
        assert gradient[i] == pytest.approx((up - down) / (2 * h), abs=1e-8)
        assert hessian[i] == pytest.approx((above - below) / (2 * h), abs=1e-6)


def test_descent_ends_at_the_bottom_of_a_narrow_valley():
    def valley(x):
        d, e = x[0] - x[1] - 1.0, x[1] - x[2]
        gradient = np.array([2e6 * d, -2e6 * d + 4.0 * e**3, -4.0 * e**3])
        bend = 2e6 * np.outer([1, -1, 0], [1, -1, 0]) + 12.0 * e * e * np.outer([0, 1, -1], [0, 1, -1])
        return 1e6 * d * d + e**4, gradient, bend

    point, _ = descend(valley, np.array([5.0, -3.0, 1.0]), 300)
    assert point[0] - point[1] == pytest.approx(1.0, abs=1e-9)
    assert point[1] == pytest.approx(point[2], abs=1e-3)


@pytest.mark.parametrize("objective", [exo(0.2), discopop(0.3)], ids=["exo", "discopop"])
def test_no_drawn_utilities_are_below_what_pairs_have_alone(objective):
    rng, annotator, _, pairs = drawn()
    found = minimize_by_pairs(objective, annotator, pairs)
    here = pb.expected_loss(objective, annotator, found.utilities, pairs)
    assert found.loss == pytest.approx(here.value, rel=1e-12)
    assert np.abs(here.gradient).max() < 1e-9
    for scale in (0.1, 1.0, 10.0):
        other = found.utilities + scale * rng.normal(size=annotator.size)
        assert pb.expected_loss(objective, annotator, other, pairs).value >= found.loss - found.gap


def test_centred_rewards_are_where_a_quasi_newton_method_ends():
    """And not at log p*: what holds rewards near zero takes a share of every difference."""
    rng, annotator, reference, pairs = drawn()
    n, q = len(reference), pairs.matrix(len(reference))
    won = annotator.preference_probabilities() * (q + q.T)

    def loss(r):
        return float((won * (np.logaddexp(0.0, r - r[:, None]) + 0.2 * (r[:, None] + r) ** 2)).sum())

    found = pb.optimum("centred_reward", annotator, pairs, coefficient=0.2)
    assert found.converged
    assert found.loss == pytest.approx(minimize(loss, rng.normal(size=n), options={"gtol": 1e-9}).fun, abs=1e-10)
    assert found.loss == pytest.approx(loss(found.utilities), abs=1e-12)
    free = pb.optimum("reward", annotator, pairs)
    assert np.ptp(found.utilities) < np.ptp(free.utilities)
    alone = pb.optimum("centred_reward", annotator, pb.PairListProposal([0], [1]), coefficient=0.2)
    assert alone.policy is None
    assert "hold all rewards in place" in alone.reason


def test_an_answer_that_is_never_compared_is_named():
    annotator = pb.PreferenceMatrix(np.full((3, 3), 0.5), support=["tea", "coffee", "milk"])
    given = {"beta": 1.0, "reference": pb.uniform(["tea", "coffee", "milk"])}
    found = pb.optimum("nca", annotator, pb.PairListProposal([0], [1]), **given)
    assert found.policy is None
    assert "'milk' is never compared" in found.reason


@pytest.mark.parametrize("objective", [dpop(1.0, 2.0), bpo(1.0, 0.5)], ids=["dpop", "bpo"])
def test_kinks_are_certified_on_the_paper_s_problem(objective):
    """Nothing of what softened them is left: the best policy is known to 1e-6, and no quasi-Newton method is below."""
    problem = pb.paper_problem(48)
    annotator, reference = pb.Annotator(problem.implicit_preference_distribution, pb.luce()), problem.reference
    found = minimize_policy_loss(objective, annotator, pb.ProductProposal(reference), reference=reference)
    assert found.converged, found.reason
    assert found.proof == "divergence"
    wins = wins_with_ties(annotator, pb.ProductProposal(reference))

    def loss(theta):
        a = theta - np.logaddexp.reduce(theta) - reference.log_pmf
        return float((wins * objective.parts(a[:, None], a)[0]).sum())

    assert found.loss == pytest.approx(loss(found.policy.log_pmf), abs=1e-13)
    climbed = minimize(loss, found.policy.log_pmf, options={"maxiter": 30})
    # From the reference it is stopped by the first kink, far above.
    assert climbed.fun >= found.loss - found.gap


@pytest.mark.parametrize("objective", [dpop(0.7, 3.0), bpo(0.6, 1.3)], ids=["dpop", "bpo"])
def test_a_kinked_bound_holds_for_any_shares(objective):
    """Of all shares the bound is right, and those of another problem's optimum prove nothing here: the control."""
    rng, annotator, reference, pairs = drawn()
    wins, n = wins_with_ties(annotator, pairs), len(reference)
    problem = PolicyProblem(objective, wins, reference.log_pmf, np.ones(n), 0.1 * wins.sum(axis=1), 0.0)
    theta, kinks, _ = problem.descended(reference.log_pmf)
    best = problem.parts(theta - np.logaddexp.reduce(theta))[0]
    for shares in (kinks.shares, rng.random((n, n)), np.zeros((n, n)), np.ones((n, n))):
        point = reference.log_pmf + rng.normal(size=n)
        point -= np.logaddexp.reduce(point)
        value, gap, _ = problem.bound(point, Kinks(objective.branches, shares, np.inf))
        assert value - gap <= best + 1e-12
        assert gap > 1e-9


@pytest.mark.parametrize("objective", [dpop(0.7, 3.0), bpo(0.6, 1.3)], ids=["dpop", "bpo"])
def test_softened_kinks_are_the_smaller_margin_and_no_more_than_half_the_softness_above(objective):
    rng = np.random.default_rng(drawn_seed())
    a, wins = rng.normal(size=5), rng.random((5, 5))
    value = float((wins * objective.parts(a[:, None], a)[0]).sum())
    for softness in (1e-1, 1e-6):
        soft = Kinks(objective.branches, rng.random((5, 5)), softness).expanded(a, wins)[0]
        assert value - 0.5 * softness * wins.sum() <= soft <= value + 1e-12


def test_second_derivatives_that_are_stated_are_those_of_the_first():
    objective, h = apo_down(0.7), 1e-6
    a, b = np.random.default_rng(drawn_seed()).normal(scale=3.0, size=(2, 50))
    parts = objective.parts
    of_a = [(up - down) / (2 * h) for up, down in zip(parts(a + h, b), parts(a - h, b), strict=True)]
    of_b = [(up - down) / (2 * h) for up, down in zip(parts(a, b + h), parts(a, b - h), strict=True)]
    for stated, differenced in zip(objective.second(a, b), (of_a[1], of_a[2], of_b[2]), strict=True):
        # Rounding 1e-16 / h, truncation h².
        assert stated == pytest.approx(differenced, abs=1e-8)


def test_a_loss_without_a_number_for_its_curvature_still_has_an_answer():
    """Found by drawing: ORPO's odds of an answer that takes all probability are no number."""
    p = pb.FiniteDistribution([-19.0, -15.5, -11.8, -8.7, -13.2, 0.0, -15.1, -13.4])
    given = {"beta": 0.5, "likelihood_weight": 0.026, "lengths": [3, 4, 3, 1, 3, 3, 1, 4]}
    found = pb.optimum("orpo", pb.Annotator(p, pb.luce()), pb.ProductProposal(p), **given)
    assert found.policy is not None
    assert not found.converged


def test_a_point_that_is_no_minimum_is_not_called_one():
    """Steps end where log-probabilities would go on for thousands of nats; a policy nearby is 2.7 % lower."""
    sure = pb.PreferenceMatrix([[0.5, 1, 1], [0, 0.5, 1], [0, 0, 0.5]])
    reference = pb.FiniteDistribution([0.0, -1.0, -300.0])
    found = pb.optimum("sppo", sure, pb.ProductProposal([1, 1, 1]), beta=1e-4, reference=reference)
    assert found.reason.startswith("where the descent ended, with a gradient of 2e+03")
    assert "leave 0 of the mass" in found.reason
    assert not found.converged
    assert found.loss - found.gap <= 42591225.0
