"""SLiC-HF, Eq. (20), and RSO, Eq. (21): the expected loss, its exact optima and their certificates.

Proof: proofs/slic.md.
"""

import inspect
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from scipy.special import logsumexp

import pbde_ref as pb
from pbde_ref.exact.hinge.duality import Minimum
from pbde_ref.exact.hinge.slic import expected_slic, minimize_rso, minimize_slic, solution_of
from pbde_ref.exact.selection import win_weights
from tests import paper_on_arrays
from tests.strategies import annotator_mixtures, annotators, distributions, preference_matrices, proposals

INF = math.inf
HAND = pb.Annotator(pb.FiniteDistribution([4.0, 0.0, -4.0]), pb.luce())
UNIFORM = pb.ProductProposal([1, 1, 1])
EVEN = pb.uniform([0, 1, 2])
CYCLE = pb.PreferenceMatrix([[0.5, 0.8, 0.2], [0.2, 0.5, 0.8], [0.8, 0.2, 0.5]])
ONE_PAIR = pb.JointProposal([[0, 1], [0, 0]])


def wins_by_loop(annotator, proposal):
    """How often A meets B and wins, without the diagonal, and how often an outcome meets itself."""
    n = annotator.size
    p, q = annotator.preference_probabilities(), proposal.matrix(n)
    wins = np.array([[(q[a, b] + q[b, a]) * p[a, b] if a != b else 0.0 for b in range(n)] for a in range(n)])
    return wins, float(np.trace(q))


def hinge_by_loop(wins, s, delta):
    n = len(s)
    return sum(wins[a, b] * max(delta - s[a] + s[b], 0.0) for a in range(n) for b in range(n))


def linear_programme(wins, delta, *, spread=None, optimum=None, direction=0.0):
    """Least hinge loss by HiGHS; with `optimum`, the least sum of direction * s among those that attain it, s <= 0."""
    n = len(wins)
    a, b = np.nonzero(wins)
    rows = np.arange(a.size)
    constraint = np.zeros((a.size, n + a.size))
    constraint[rows, a] -= 1.0
    constraint[rows, b] += 1.0
    constraint[rows, n + rows] -= 1.0
    bound = np.full(a.size, -delta)
    cost = np.concatenate([np.zeros(n), wins[a, b]])
    low = -spread if spread is not None else None
    box = [(low, 0.0)] * n + [(0.0, None)] * a.size
    if optimum is not None:
        constraint, bound = np.vstack([constraint, cost]), np.append(bound, optimum + 1e-12)
        cost = np.concatenate([np.full(n, direction), np.zeros(a.size)])
    # The smallest tolerances that HiGHS takes; with its usual 1e-7 it stops short of the optimum by as much.
    exact = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    result = linprog(cost, constraint, bound, bounds=box, options=exact)
    assert result.status == 0
    return result.fun, result.x[:n]


def smooth_programme(wins, delta, lambda_, reference):
    """Least hinge loss plus λ·KL by sequential quadratic programming on the slacks: accurate for small n only."""
    n = len(wins)
    a, b = np.nonzero(wins)
    rows = np.arange(a.size)
    constraint = np.zeros((a.size, n + a.size))
    constraint[rows, a] += 1.0
    constraint[rows, b] -= 1.0
    constraint[rows, n + rows] += 1.0
    cost = np.concatenate([np.zeros(n), wins[a, b]])

    def value(x):
        return cost @ x + lambda_ * (logsumexp(x[:n]) - reference @ x[:n])

    def gradient(x):
        slope = cost.copy()
        slope[:n] += lambda_ * (np.exp(x[:n] - logsumexp(x[:n])) - reference)
        return slope

    start = np.concatenate([np.log(reference), np.maximum(0.0, delta - np.log(reference[a] / reference[b]))])
    inequality = {"type": "ineq", "fun": lambda x: constraint @ x - delta, "jac": lambda x: constraint}
    box = [(None, None)] * n + [(0.0, None)] * a.size
    options = {"maxiter": 500, "ftol": 1e-15}
    found = minimize(value, start, jac=gradient, method="SLSQP", constraints=inequality, bounds=box, options=options).x
    return hinge_by_loop(wins, found[:n], delta) + lambda_ * (
        logsumexp(found[:n]) - reference @ found[:n] + float(reference @ np.log(reference))
    )


@st.composite
def problems(draw, max_size=6, *, connected=False):
    annotator = draw(
        annotators(max_size=max_size)
        | annotator_mixtures(max_size=max_size)
        | preference_matrices(max_size=max_size, certain=True)
    )
    return annotator, draw(proposals(annotator.size, connected=connected)), draw(distributions(annotator.size))


# --- the expected loss -------------------------------------------------------------------------------------------


@given(problems(8), st.floats(0.0, 3.0), st.sampled_from([0.0, 0.3, 2.0]), st.integers(0, 2**32 - 1))
def test_expected_loss_is_the_double_loop(problem, delta, lambda_, seed):
    annotator, proposal, reference = problem
    log_pi = pb.FiniteDistribution(np.random.default_rng(seed).normal(0.0, 3.0, annotator.size)).log_pmf
    expected = paper_on_arrays.slic(
        annotator.preference_probabilities(), log_pi, proposal.matrix(annotator.size), delta, lambda_, reference.pmf
    )
    found = expected_slic(annotator, log_pi + 5.0, proposal, delta=delta, lambda_=lambda_, reference=reference)
    # A few dozen terms of size 10; normalisation makes the shift by 5 irrelevant.
    assert found.value == pytest.approx(expected, abs=1e-13 * (1.0 + abs(expected)))
    assert abs(found.gradient.sum()) < 1e-14 * (1.0 + lambda_)


@given(problems(6), st.sampled_from([0.0, 0.5]), st.integers(0, 2**32 - 1))
def test_gradient_is_the_derivative_in_the_logits(problem, lambda_, seed):
    annotator, proposal, reference = problem
    rng = np.random.default_rng(seed)
    logits, delta, step = rng.normal(0.0, 2.0, annotator.size), 0.7, 1e-6
    margins = np.abs(np.abs(np.subtract.outer(logits, logits)) - delta)
    if margins.min() < 1e-4:
        logits = logits * 1.01  # off the kinks, where there are two derivatives

    def loss_at(v):
        return expected_slic(annotator, v, proposal, delta=delta, lambda_=lambda_, reference=reference)

    for x, direction in enumerate(np.eye(annotator.size)):
        slope = (loss_at(logits + step * direction).value - loss_at(logits - step * direction).value) / (2.0 * step)
        # The loss is of order 10 with rounding 1e-15, over 2e-6.
        assert loss_at(logits).gradient[x] == pytest.approx(slope, abs=1e-7)


def test_subgradient_at_a_kink():
    always = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    settings_ = {"delta": 1.0, "lambda_": 0.0, "reference": pb.uniform([0, 1])}
    assert expected_slic(always, [1.0, 0.0], ONE_PAIR, **settings_).gradient.tolist() == [0.0, 0.0]
    assert expected_slic(always, [1.0 - 1e-9, 0.0], ONE_PAIR, **settings_).gradient.tolist() == [-1.0, 1.0]


def test_excluded_outcomes():
    sometimes = pb.PreferenceMatrix([[0.5, 0.9], [0.1, 0.5]])
    always = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    first = pb.FiniteDistribution.from_weights([1, 0])
    settings_ = {"delta": 1.0, "reference": first}
    assert expected_slic(sometimes, [0.0, -INF], ONE_PAIR, lambda_=0.0, **settings_).value == INF
    assert expected_slic(always, [0.0, -INF], ONE_PAIR, lambda_=0.0, **settings_).value == 0.0
    assert expected_slic(always, [0.0, -INF], ONE_PAIR, lambda_=1.0, **settings_).value == 0.0
    lost = expected_slic(always, [0.0, -INF], ONE_PAIR, delta=1.0, lambda_=1.0, reference=pb.uniform([0, 1]))
    assert lost.value == INF
    with pytest.raises(ValueError, match="0/0"):
        expected_slic(CYCLE, [0.0, -INF, -INF], UNIFORM, delta=1.0, lambda_=0.0, reference=EVEN)


# --- λ = 0 -------------------------------------------------------------------------------------------------------


def test_the_hand_case():
    """χ = (4, 0, −4): levels one δ apart. A.2's sentence would keep all of them within one δ."""
    found = minimize_slic(HAND, UNIFORM, delta=1.0, lambda_=0.0, reference=EVEN)
    assert found.utilities.tolist() == [0.0, -1.0, -2.0]
    # By hand: the diagonal 3/9; σ(−4) twice with loss 2, σ(−8) once with loss 3, each with weight 2/9.
    low, lower = 1.0 / (1.0 + math.exp(4.0)), 1.0 / (1.0 + math.exp(8.0))
    assert found.loss == pytest.approx(3 / 9 + 2 / 9 * (2 * 2 * low + 3 * lower), rel=1e-14)
    assert round(found.loss, 4) == 0.3495
    assert found.converged
    assert found.unique is True
    wins, ties = wins_by_loop(HAND, UNIFORM)
    assert round(linear_programme(wins, 1.0, spread=1.0)[0] + ties, 4) == 0.5637


@given(problems(7))
@settings(max_examples=120)
def test_linear_optimum_is_that_of_a_linear_programme(problem):
    annotator, proposal, reference = problem
    wins, ties = wins_by_loop(annotator, proposal)
    found = minimize_slic(annotator, proposal, delta=1.0, lambda_=0.0, reference=reference)
    assert found.converged
    assert found.relative_gap <= 1e-7 or found.gap <= 1e-14
    # HiGHS is accurate to its own tolerance of 1e-10 times a few dozen costs and levels.
    assert found.hinge - ties == pytest.approx(linear_programme(wins, 1.0)[0] if wins.any() else 0.0, abs=1e-8)
    assert np.array_equal(found.utilities, np.round(found.utilities))
    assert found.utilities.max() == 0.0
    assert found.loss == found.hinge
    assert found.hinge == pytest.approx(hinge_by_loop(wins, found.utilities, 1.0) + ties, abs=1e-14)


def test_the_largest_optimum_is_found_without_the_interior_point():
    """Where the interior point's dual point is no use, the complementary flow leads to the largest optimum.

    By hand: 1 loses to 0 and beats 3, and 2 beats 3, so that 1 and 2 are one level down and 3 two.
    """
    members = [
        pb.Annotator(pb.FiniteDistribution([-1.0, -2.0, -1.0, -3.0]), pb.PBDE(10.0, 0.0)),
        pb.Annotator(pb.uniform(range(4)), pb.PBDE([1.0, 1.0, 1.0, 100.0], 0.0)),
    ]
    proposal = pb.PairListProposal([1, 1, 3], [0, 3, 2], [0.08, 0.85, 0.02])
    found = minimize_slic(
        pb.AnnotatorMixture([1, 1], members), proposal, delta=1.0, lambda_=0.0, reference=pb.uniform(range(4))
    )
    assert found.utilities.tolist() == [0.0, -1.0, -1.0, -2.0]
    assert found.converged


@pytest.mark.parametrize("seed", range(12))
def test_rare_references_have_a_certificate(seed):
    """Reference masses down to e^-134: the dual point is feasible to the last digit all the same."""
    rng = np.random.default_rng([seed, 134])
    n = int(rng.integers(3, 9))
    reference = pb.FiniteDistribution(rng.uniform(-134.0, 0.0, n))
    annotator = pb.Annotator(pb.FiniteDistribution(rng.uniform(0.0, rng.choice([3.0, 30.0]), n)), pb.luce())
    weights = 10.0 ** -rng.uniform(0.0, 30.0, n)
    found = minimize_slic(annotator, pb.ProductProposal(weights), delta=0.7, lambda_=0.3, reference=reference)
    assert found.converged, found.reason
    assert found.policy_error <= 1e-4


@pytest.mark.parametrize("nats", [20.0, 31.0, 32.0, 33.0, 36.0, 60.0])
def test_wins_that_are_next_to_impossible_have_a_certificate(nats):
    """An outcome that wins once in 10^14 comparisons and less: the optimum is one level below, and has its dual point.

    By hand: that outcome's wins cost 2 each, and flow back through the pairs at the margin.
    """
    annotator = pb.Annotator(pb.FiniteDistribution([nats, nats, 0.0]), pb.luce())
    proposal = pb.PairListProposal([0, 1], [2, 2], [1.0, 2.0])
    found = minimize_slic(annotator, proposal, delta=1.0, lambda_=0.0, reference=pb.uniform(range(3)))
    assert found.utilities.tolist() == [0.0, 0.0, -1.0]
    assert found.loss == pytest.approx(2.0 / (1.0 + math.exp(nats)), rel=1e-14)
    assert found.converged
    assert found.gap <= 1e-15
    assert found.unique is True
    # What the policy's rounding adds to the gap is no fault of the utilities, which the dual point certifies.
    assert found.loss - found.dual.sum() <= 1e-14 * found.loss
    assert found.dual.sum(axis=1) == pytest.approx(found.dual.sum(axis=0), rel=1e-14)


@pytest.mark.parametrize("rare", [1e-3, 1e-7, 1e-12])
def test_rare_pairs_do_not_stop_the_path(rare):
    """Two pairs, one of them hardly ever compared: on the central path its margin is of the order of 1/rare nats.

    By hand: one level per pair, and the loser's wins cost 2 each.
    """
    annotator = pb.Annotator(pb.FiniteDistribution([13.0, 1.0, 6.0]), pb.luce())
    proposal = pb.PairListProposal([0, 1], [2, 2], [1.0, rare])
    found = minimize_slic(annotator, proposal, delta=1.0, lambda_=0.0, reference=pb.uniform(range(3)))
    assert found.utilities.tolist() == [0.0, -2.0, -1.0]
    least = 2.0 * (1.0 / (1.0 + math.exp(7.0)) + rare / (1.0 + math.exp(5.0))) / (1.0 + rare)
    assert found.loss == pytest.approx(least, rel=1e-14)
    assert found.converged
    assert found.unique is True


def test_rare_wins_find_their_way_around():
    """0 wins against 2 once in 10^14; the loss balances only over a path that no tree of the widest pairs has."""
    annotator = pb.Annotator(pb.FiniteDistribution([-80.5, -6.6, -49.9, -6.6, -23.9]), pb.luce())
    weights = np.zeros((5, 5))
    weights[0, [2, 4]] = 0.14576752, 0.22928474
    weights[1, [2, 4]] = 0.27806725, 0.00778128
    weights[[2, 4], [0, 1]] = 0.0156357, 0.18040835
    weights[[2, 3, 4], [2, 3, 4]] = 0.06586995, 0.00958083, 0.06760437
    proposal = pb.JointProposal(weights)
    found = minimize_slic(annotator, proposal, delta=1.0, lambda_=0.0, reference=pb.uniform(range(5)))
    assert found.converged
    # In units of the loss without the diagonal, which is 1e-8: what the dual point has lost to rounding.
    wins, _ = wins_by_loop(annotator, proposal)
    imbalance = np.abs(found.dual.sum(axis=1) - found.dual.sum(axis=0)).sum()
    assert hinge_by_loop(wins, found.utilities, 1.0) - found.dual.sum() + 2.0 * imbalance <= 1e-20
    # Rounding of the policy moves pairs at the margin off it.
    assert found.gap <= 1e-15
    assert found.utilities.tolist() == [-2.0, 0.0, -1.0, 0.0, -1.0]


@given(problems(7), st.sampled_from([0.25, 0.5, 2.0, 3.0]))
def test_homogeneity(problem, delta):
    """L_δ(s) = δ L_1(s / δ): the optimum scales with the margin."""
    annotator, proposal, reference = problem
    unit = minimize_slic(annotator, proposal, delta=1.0, lambda_=0.0, reference=reference)
    found = minimize_slic(annotator, proposal, delta=delta, lambda_=0.0, reference=reference)
    assert np.array_equal(found.utilities, delta * unit.utilities)
    assert found.loss == pytest.approx(delta * unit.loss, rel=1e-14)
    log_ratio = found.policy.log_pmf - delta * unit.policy.log_pmf
    assert np.ptp(log_ratio) < 1e-12


@pytest.mark.parametrize("seed", range(25))
def test_the_largest_optimum_is_chosen(seed):
    """Preferences in quarters and small whole weights leave many optima; HiGHS maximises Σ s among them."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    p = np.triu(rng.integers(0, 5, (n, n)) / 4.0, 1)
    annotator = pb.PreferenceMatrix(p + np.tril(1.0 - p.T, -1) + 0.5 * np.eye(n))
    weights = rng.integers(0, 3, (n, n)) + np.eye(n)
    found = minimize_slic(annotator, pb.JointProposal(weights), delta=1.0, lambda_=0.0, reference=pb.uniform(range(n)))
    wins, _ = wins_by_loop(annotator, pb.JointProposal(weights))
    if wins.any():
        least, _ = linear_programme(wins, 1.0)
        largest = linear_programme(wins, 1.0, optimum=least, direction=-1.0)[1]
        smallest = linear_programme(wins, 1.0, spread=20.0, optimum=least, direction=1.0)[1]
        # The budget of 1e-12 over costs of at least 1e-2, and HiGHS's own tolerance.
        assert found.utilities == pytest.approx(largest, abs=1e-5)
        several = np.ptp(largest - smallest) > 1e-4
        if several:
            assert found.unique is False
    # Whatever was said of uniqueness must not be refuted by a random other point on the optimal face.
    if found.unique:
        assert wins.any()
        assert not several


def exact_hinge(wins, s):
    """H at margin 1 and whole-numbered s, without rounding."""
    pairs = [(a, b) for a in range(len(s)) for b in range(len(s)) if a != b]
    return sum(Fraction(float(wins[a, b])) * max(1 - int(s[a]) + int(s[b]), 0) for a, b in pairs)


@given(problems(6))
@settings(max_examples=100)
def test_what_is_said_to_be_unique_is(problem):
    """Exact fractions: raising any proper subset of the outcomes by one step costs something.

    The loss is convex and linear on the simplices that whole-numbered points and such steps span, so this suffices.
    """
    annotator, proposal, reference = problem
    found = minimize_slic(annotator, proposal, delta=1.0, lambda_=0.0, reference=reference)
    blocks = proposal.blocks(annotator.size)
    wins = np.zeros((annotator.size, annotator.size))
    for block in blocks:
        forward, backward = annotator.probabilities(block)
        np.add.at(wins, (block.a, block.b), block.weight * forward)
        np.add.at(wins, (block.b, block.a), block.weight * backward)
    least = exact_hinge(wins, found.utilities)
    raised = [
        exact_hinge(wins, found.utilities + np.array(subset))
        for subset in itertools.product([0, 1], repeat=annotator.size)
        if 0 < sum(subset) < annotator.size
    ]
    if found.unique:
        assert all(value > least for value in raised)
    if found.unique is False:
        # Some step costs nothing, or less than rounding can tell.
        assert min(raised) <= least * (1 + Fraction(1, 10**12))


def test_uniqueness_is_told():
    def unique(p, delta=1.0, **others):
        annotator = pb.PreferenceMatrix([[0.5, p], [1.0 - p, 0.5]])
        return minimize_slic(annotator, ONE_PAIR, delta=delta, lambda_=0.0, reference=pb.uniform([0, 1]), **others)

    assert unique(0.9).unique is True
    assert unique(0.9).utilities.tolist() == [0.0, -1.0]
    assert unique(0.5).unique is False  # every |d| <= 1
    assert unique(0.5).utilities.tolist() == [0.0, 0.0]
    assert unique(1.0).unique is False  # every d >= 1
    assert unique(1.0).utilities.tolist() == [0.0, -1.0]
    assert unique(1.0, delta=0.0).unique is False  # every d >= 0
    assert unique(0.9, delta=0.0).unique is True
    assert unique(0.9, delta=0.0).policy.pmf.tolist() == [0.5, 0.5]
    separate = pb.PairListProposal([0, 2], [1, 3])
    four = pb.Annotator(pb.FiniteDistribution.from_weights([4, 1, 1, 4]), pb.luce())
    found = minimize_slic(four, separate, delta=1.0, lambda_=0.0, reference=pb.uniform(range(4)))
    assert found.unique is False
    assert found.utilities.tolist() == [0.0, -1.0, -1.0, 0.0]


def test_zero_margin_without_regulariser():
    """Uniform exactly where the arrows of possible wins connect strongly; Σ c (s_B − s_A)^+ is zero there."""
    positive = pb.Annotator(pb.FiniteDistribution.from_weights([1, 2, 30]), pb.luce())
    found = minimize_slic(positive, UNIFORM, delta=0.0, lambda_=0.0, reference=EVEN)
    assert found.unique is True
    assert found.policy.pmf.tolist() == EVEN.pmf.tolist()
    assert found.hinge == found.gap == found.relative_gap == 0.0
    order = pb.PreferenceMatrix([[0.5, 1, 1], [0, 0.5, 1], [0, 0, 0.5]])
    assert minimize_slic(order, UNIFORM, delta=0.0, lambda_=0.0, reference=EVEN).unique is False
    assert expected_slic(order, [3.0, 1.0, 0.0], UNIFORM, delta=0.0, lambda_=0.0, reference=EVEN).value == 0.0
    # Control: with the arrows reversed the same policy pays.
    assert expected_slic(order, [0.0, 1.0, 3.0], UNIFORM, delta=0.0, lambda_=0.0, reference=EVEN).value > 0.5


@given(problems(6))
def test_the_linear_bound_holds_for_its_dual_point(problem):
    """Any y in [0, c] proves hinge >= Σ y − (n − 1)/2 · Σ |imbalance| at margin 1."""
    annotator, proposal, reference = problem
    wins, ties = wins_by_loop(annotator, proposal)
    found = minimize_slic(annotator, proposal, delta=1.0, lambda_=0.0, reference=reference)
    y = found.dual
    assert (y >= 0.0).all()
    assert (y <= wins * (1.0 + 1e-12)).all()
    imbalance = np.abs(y.sum(axis=1) - y.sum(axis=0)).sum()
    bound = y.sum() - 0.5 * (annotator.size - 1) * imbalance
    assert found.hinge - ties - bound <= found.gap + 1e-13
    if wins.any():
        assert bound <= linear_programme(wins, 1.0)[0] + 1e-8


# --- λ > 0 -------------------------------------------------------------------------------------------------------


def certificate_by_loop(found, wins, delta, lambda_, reference):
    """Primal minus dual value of hinge + λ·KL, from the dual point alone, and the dual's distribution r."""
    y, pi, n = found.dual, found.policy.pmf, len(wins)
    r = reference + (y.sum(axis=1) - y.sum(axis=0)) / lambda_
    kl = sum(reference[x] * math.log(reference[x] / pi[x]) for x in range(n))
    primal = hinge_by_loop(wins, np.log(pi), delta) + lambda_ * kl
    entropy = sum(-r[x] * math.log(r[x]) for x in range(n) if r[x] > 0.0)
    constant = lambda_ * sum(-reference[x] * math.log(reference[x]) for x in range(n))
    return primal, primal - (delta * y.sum() + lambda_ * entropy - constant), r


@given(problems(5), st.sampled_from([0.0, 0.25, 1.0, 2.0]), st.sampled_from([0.03, 1.0, 20.0]))
@settings(max_examples=100)
def test_regularised_optimum_has_a_true_certificate(problem, delta, lambda_):
    annotator, proposal, reference = problem
    wins, ties = wins_by_loop(annotator, proposal)
    found = minimize_slic(annotator, proposal, delta=delta, lambda_=lambda_, reference=reference)
    assert found.converged
    assert found.unique is True
    assert found.relative_gap <= 1e-7 or found.gap <= 1e-14 * (1.0 + delta)
    assert (found.dual >= 0.0).all()
    assert (found.dual <= wins * (1.0 + 1e-12)).all()
    primal, gap, r = certificate_by_loop(found, wins, delta, lambda_, reference.pmf)
    assert r.min() > -1e-15
    # The difference of two sums of order delta + lambda; `found.gap` itself is formed without cancellation.
    assert gap == pytest.approx(found.gap, abs=1e-13 * (1.0 + delta + lambda_))
    value = found.hinge - delta * ties + lambda_ * found.divergence
    assert value == pytest.approx(primal, abs=1e-13 * (1.0 + delta + lambda_))
    value = expected_slic(
        annotator, found.policy.log_pmf, proposal, delta=delta, lambda_=lambda_, reference=reference
    ).value
    assert found.loss == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("lambda_", [0.1, 1.0])
def test_regularised_optimum_by_another_solver(seed, lambda_):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    p = np.triu(1.0 / (1.0 + np.exp(rng.normal(0.0, 3.0, (n, n)))), 1)
    annotator = pb.PreferenceMatrix(p + np.tril(1.0 - p.T, -1) + 0.5 * np.eye(n))
    proposal, reference = pb.JointProposal(rng.random((n, n))), pb.FiniteDistribution(rng.normal(0.0, 1.0, n))
    delta = float(rng.choice([0.0, 0.5, 2.0]))
    found = minimize_slic(annotator, proposal, delta=delta, lambda_=lambda_, reference=reference)
    wins, ties = wins_by_loop(annotator, proposal)
    other = smooth_programme(wins, delta, lambda_, reference.pmf)
    value = found.hinge - delta * ties + lambda_ * found.divergence
    # SLSQP stops at its own accuracy, above the optimum; the certified bound is never above it.
    assert value - found.gap <= other + 1e-12
    assert value == pytest.approx(other, abs=1e-7)


def test_two_outcomes_by_hand():
    """n = 2, λ = 1, uniform reference: between the kinks λ(π − ½) = c₁ − c₂, if the margin stays below δ."""
    annotator = pb.PreferenceMatrix([[0.5, 0.6], [0.4, 0.5]])
    found = minimize_slic(annotator, ONE_PAIR, delta=2.0, lambda_=1.0, reference=pb.uniform([0, 1]))
    assert found.policy.pmf == pytest.approx([0.7, 0.3], abs=1e-9)  # margin log(7/3) = 0.85 < 2
    capped = minimize_slic(annotator, ONE_PAIR, delta=0.5, lambda_=1.0, reference=pb.uniform([0, 1]))
    assert np.diff(-capped.policy.log_pmf) == pytest.approx([0.5], abs=1e-6)  # 0.85 > 0.5: stopped at the kink


def test_zero_margin_keeps_a_reference_that_agrees():
    order = pb.PreferenceMatrix([[0.5, 1, 1], [0, 0.5, 1], [0, 0, 0.5]])
    agrees = pb.FiniteDistribution.from_weights([3, 2, 1])
    found = minimize_slic(order, UNIFORM, delta=0.0, lambda_=0.5, reference=agrees)
    assert found.policy.pmf == pytest.approx(agrees.pmf, rel=1e-15)
    # The square of what rounding did to the policy.
    assert found.gap <= 1e-30
    assert found.loss == pytest.approx(0.5 * agrees.entropy(), rel=1e-15)
    against = pb.FiniteDistribution.from_weights([1, 2, 3])
    moved = minimize_slic(order, UNIFORM, delta=0.0, lambda_=0.5, reference=against)
    assert moved.converged
    assert pb.total_variation(moved.policy, against) > 0.1


@given(problems(6, connected=True), st.sampled_from([0.3, 1.0]))
@settings(max_examples=30)
def test_the_gap_bounds_loss_and_policy_before_convergence(problem, lambda_):
    """λ KL(optimum ‖ π) <= loss − least loss <= gap, whatever the solver has reached."""
    annotator, proposal, reference = problem
    arguments = {"delta": 1.0, "lambda_": lambda_, "reference": reference}
    best = minimize_slic(annotator, proposal, **arguments)
    for max_steps in (1, 3, 5):
        early = minimize_slic(annotator, proposal, max_steps=max_steps, **arguments)
        assert early.steps <= max_steps
        excess = early.loss - best.loss
        assert excess + best.gap >= -1e-12
        assert excess <= early.gap + 1e-12
        assert lambda_ * pb.kl_divergence(best.policy, early.policy) <= excess + best.gap + 1e-9
        assert early.converged == (early.relative_gap <= 1e-7 or early.gap <= 2e-14)


def test_outcomes_that_the_reference_excludes():
    """They are kept where they win against what it has, and sink to zero where they never do."""
    reference = pb.FiniteDistribution.from_weights([1, 1, 0])
    wins = pb.PreferenceMatrix([[0.5, 0.5, 0.2], [0.5, 0.5, 0.2], [0.8, 0.8, 0.5]])
    found = minimize_slic(wins, UNIFORM, delta=1.0, lambda_=0.5, reference=reference)
    assert found.converged
    assert found.policy.pmf[2] > 0.2
    never = pb.PreferenceMatrix([[0.5, 0.5, 1.0], [0.5, 0.5, 1.0], [0.0, 0.0, 0.5]])
    found = minimize_slic(never, UNIFORM, delta=1.0, lambda_=0.5, reference=reference)
    assert found.policy.pmf == pytest.approx([0.5, 0.5, 0.0], abs=1e-7)
    assert found.utilities[2] == -INF
    assert found.converged
    # The limit: policies with less and less of the third outcome approach the loss from above.
    limits = [
        expected_slic(never, [0.0, 0.0, -t], UNIFORM, delta=1.0, lambda_=0.5, reference=reference).value
        for t in (2.0, 10.0, 40.0)
    ]
    assert limits[0] > limits[1] > limits[2] >= found.loss - found.gap
    assert limits[2] == pytest.approx(found.loss, abs=1e-12)


@pytest.mark.parametrize("lambda_", [1e-6, 1e-2, 1e2, 1e6])
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_extreme_settings_keep_the_certificate(lambda_, spread):
    rng = np.random.default_rng(7)
    n = 24
    annotator = pb.Annotator(pb.FiniteDistribution(spread * rng.normal(size=n)), pb.luce())
    reference = pb.FiniteDistribution(spread * rng.normal(size=n))
    proposal = pb.ProductProposal(rng.random(n))
    for delta in (0.3, 10.0):
        found = minimize_slic(annotator, proposal, delta=delta, lambda_=lambda_, reference=reference)
        assert found.converged


# --- the paper's problem and RSO ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lambda_", [0.0, 1.0])
def test_the_papers_sweep_is_certified(lambda_):
    """Fig. 9 without training noise: Eq. (10), pairs from π_pre ⊗ π_pre."""
    problem = pb.paper_problem(64)
    annotator = pb.Annotator(problem.implicit_preference_distribution, pb.luce())
    proposal = pb.ProductProposal(problem.reference)
    for delta in (0.0, 0.25, 0.5, 1.0, 2.0):
        found = minimize_slic(annotator, proposal, delta=delta, lambda_=lambda_, reference=problem.reference)
        assert found.converged
        assert found.unique is True
        assert found.relative_gap <= 1e-7
        assert np.array_equal(found.policy.support, problem.grid)
        again = minimize_slic(annotator, proposal, delta=delta, lambda_=lambda_, reference=problem.reference)
        assert np.array_equal(again.utilities, found.utilities)
        # Control: a policy moved a little costs more than the gap allows.
        if delta > 0.0:
            moved = found.policy.log_pmf + 0.01 * np.sin(np.arange(64.0))
            loss = expected_slic(
                annotator, moved, proposal, delta=delta, lambda_=lambda_, reference=problem.reference
            ).value
            assert loss > found.loss + 10.0 * found.gap


@pytest.mark.slow
@pytest.mark.parametrize("size", [128, 256])
def test_the_papers_sweep_converges(size):
    problem = pb.paper_problem(size)
    annotator = pb.Annotator(problem.implicit_preference_distribution, pb.luce())
    for delta, lambda_ in [(1.0, 0.0), (2.0, 1.0)]:
        found = minimize_slic(
            annotator, pb.ProductProposal(problem.reference), delta=delta, lambda_=lambda_, reference=problem.reference
        )
        assert found.converged


@given(problems(6), st.sampled_from([0.5, 1.0]))
def test_rso_is_the_linear_programme_around_the_reference(problem, delta):
    annotator, proposal, reference = problem
    rso = minimize_rso(annotator, proposal, delta=delta, reference=reference)
    slic = minimize_slic(annotator, proposal, delta=delta, lambda_=0.0, reference=reference)
    assert np.array_equal(rso.utilities, slic.utilities)
    assert (rso.loss, rso.hinge) == (slic.loss, slic.hinge)
    # The two policies are rounded differently.
    assert rso.gap == pytest.approx(slic.gap, abs=1e-14)
    ratio = rso.policy.log_pmf - reference.log_pmf
    assert np.ptp(ratio - rso.utilities) < 1e-12
    # Eq. (21) by loops at π.
    log_ratio = rso.policy.log_pmf - reference.log_pmf
    q, p = proposal.matrix(annotator.size), annotator.preference_probabilities()
    value = paper_on_arrays.slic(p, log_ratio, q, delta, 0.0, reference.pmf)
    assert rso.loss == pytest.approx(value, abs=1e-12)


def test_rso_at_margin_zero_gives_the_reference():
    reference = pb.FiniteDistribution.from_weights([1, 2, 5])
    found = minimize_rso(HAND, UNIFORM, delta=0.0, reference=reference)
    assert found.policy.pmf.tolist() == reference.pmf.tolist()
    assert found.unique is True
    assert found.divergence == 0.0
    # Control: SLiC's own log-probabilities give the uniform policy instead.
    slic = minimize_slic(HAND, UNIFORM, delta=0.0, lambda_=0.0, reference=reference)
    assert pb.total_variation(slic.policy, reference) > 0.2


def test_rso_counts_only_what_the_reference_has():
    reference = pb.FiniteDistribution.from_weights([1, 3, 0, 0])
    four = pb.Annotator(pb.FiniteDistribution.from_weights([4, 1, 1, 1]), pb.luce())
    found = minimize_rso(four, pb.PairListProposal([0, 2], [1, 3]), delta=1.0, reference=reference)
    assert found.policy.pmf[2:].tolist() == [0.0, 0.0]
    assert found.policy.pmf[0] / found.policy.pmf[1] == pytest.approx(math.e / 3.0, rel=1e-14)


def test_a_mixture_of_annotators_and_a_cycle():
    problem = pb.paper_problem(32)
    members = [pb.Annotator(p, pb.luce()) for p in problem.annotator_distributions]
    mixture = pb.AnnotatorMixture(problem.annotator_weights, members)
    proposal = pb.ProductProposal(problem.reference)
    for lambda_ in (0.0, 1.0):
        assert minimize_slic(mixture, proposal, delta=1.0, lambda_=lambda_, reference=problem.reference).converged
    found = minimize_slic(CYCLE, UNIFORM, delta=1.0, lambda_=0.0, reference=EVEN)
    assert found.utilities.tolist() == [0.0, 0.0, 0.0]
    assert found.converged


# --- parts and bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": -0.5}, "`delta` must be .*non-negative; got -0.5"),
        ({"delta": math.nan}, "`delta`"),
        ({"delta": INF}, "`delta`"),
        ({"lambda_": -1.0}, "`lambda_` must be .*non-negative; got -1"),
        ({"delta": 1e101}, "`delta` must be at most 1e100; got 1e.101"),
        ({"reference": pb.uniform([0, 1])}, "`reference` must have 3 outcomes"),
        ({"tolerance": 0.0}, "`tolerance` must be positive"),
        ({"max_steps": 0}, "`max_steps` must be at least 1"),
    ],
)
def test_bad_settings(change, message):
    arguments = {"delta": 1.0, "lambda_": 1.0, "reference": EVEN} | change
    with pytest.raises(ValueError, match=message):
        minimize_slic(HAND, UNIFORM, **arguments)
    if "lambda_" not in change:
        del arguments["lambda_"]
        with pytest.raises(ValueError, match=message):
            minimize_rso(HAND, UNIFORM, **arguments)
    if not {"tolerance", "max_steps"} & set(change):
        with pytest.raises(ValueError, match=message):
            expected_slic(HAND, [0, 0, 0], UNIFORM, **({"delta": 1.0, "lambda_": 1.0, "reference": EVEN} | change))


def test_weights_that_cannot_be_divided_by():
    """The expected loss has them, its minimum not."""
    arguments = {"delta": 1.0, "lambda_": 5e-324, "reference": pb.uniform(range(HAND.size))}
    with pytest.raises(ValueError, match="`lambda_` must be 0 or at least 1e-100, for flows are divided by it; got 5e"):
        minimize_slic(HAND, UNIFORM, **arguments)
    assert np.isfinite(expected_slic(HAND, np.zeros(HAND.size), UNIFORM, **arguments).value)


def test_bad_objects():
    arguments = {"delta": 1.0, "lambda_": 1.0, "reference": EVEN}
    with pytest.raises(ValueError, match="`proposal` must have 3 outcomes"):
        minimize_slic(HAND, ONE_PAIR, **arguments)
    with pytest.raises(ValueError, match="`reference` must have the support of `annotator`"):
        minimize_slic(HAND, UNIFORM, **(arguments | {"reference": pb.uniform("abc")}))
    with pytest.raises(TypeError, match="`annotator` must be an annotator"):
        minimize_slic([[0.5]], UNIFORM, **arguments)
    with pytest.raises(TypeError, match="`reference` must be a FiniteDistribution"):
        minimize_slic(HAND, UNIFORM, **(arguments | {"reference": [1, 1, 1]}))
    with pytest.raises(ValueError, match="`log_policy` must be below"):
        expected_slic(HAND, [0, 0, INF], UNIFORM, **arguments)
    with pytest.raises(ValueError, match="`log_policy` must have positive mass"):
        expected_slic(HAND, [-INF] * 3, UNIFORM, **arguments)
    undefined = pb.Annotator(pb.FiniteDistribution.from_weights([1, 0, 0]), pb.luce())
    with pytest.raises(ValueError, match="0/0"):
        minimize_slic(undefined, UNIFORM, **arguments)


def test_converged_is_what_the_tolerance_says():
    """One step reaches the same point whatever is asked; the relative gap there is just within, or just not."""
    rng = np.random.default_rng(3)
    annotator = pb.Annotator(pb.FiniteDistribution(rng.normal(size=5)), pb.luce())
    reference = pb.FiniteDistribution(rng.normal(size=5))
    proposal = pb.JointProposal(rng.random((5, 5)))

    def early(tolerance):
        return minimize_slic(
            annotator, proposal, delta=0.5, lambda_=0.2, reference=reference, max_steps=1, tolerance=tolerance,
            policy_tolerance=1.0,
        )  # fmt: skip

    first = early(1e-7)
    assert not first.converged
    assert first.gap > 1e-3
    assert early(first.relative_gap).converged
    assert not early(first.relative_gap * (1.0 - 1e-9)).converged
    wins, ties = wins_by_loop(annotator, proposal)
    changeable = hinge_by_loop(wins, first.utilities, 0.5) + 0.2 * first.divergence
    assert first.relative_gap == pytest.approx(first.gap / changeable, rel=1e-12)
    assert first.hinge == pytest.approx(hinge_by_loop(wins, first.utilities, 0.5) + 0.5 * ties, rel=1e-12)
    assert first.divergence == pytest.approx(pb.kl_divergence(reference, first.policy), rel=1e-12)
    assert first.loss == pytest.approx(
        first.hinge + 0.2 * (first.divergence + reference.entropy()), rel=1e-12
    )  # fmt: skip


@pytest.mark.parametrize(
    ("hinge", "gap", "lambda_", "relative", "converged"),
    [
        (0.5, 0.125, 0.0, 0.25, False),
        (0.5, 0.0, 0.0, 0.0, True),
        (0.0, 0.0, 0.0, 0.0, True),
        (0.0, 1e-3, 0.0, INF, False),  # nothing to compare it with
        (0.0, 1e-9, 0.0, INF, True),  # but what rounding leaves
        (0.0, 1.1e-9, 0.0, INF, False),
        (0.5, 0.05, 0.0, 0.1, True),
        (0.5, 0.125, 2.0, 0.125 / (0.5 + math.log(4.0 / 3.0)), False),
        (0.0, 0.125, 2.0, 0.125 / math.log(4.0 / 3.0), False),
    ],
)
def test_what_is_reported_of_a_minimum(hinge, gap, lambda_, relative, converged):
    """π = (¾, ¼), a reference of (½, ½): KL = ½ log(4/3), E[-log π] = ½ log(16/3)."""
    policy, reference = pb.FiniteDistribution.from_weights([3, 1]), pb.uniform([0, 1])
    point = Minimum(np.array([0.0, -1.0]), np.zeros((2, 2)), hinge, gap, 1e-9, None, 7)
    found = solution_of(point, policy, reference, 0.25, lambda_, 0.1, 1.0, np.zeros(2))
    assert found.relative_gap == pytest.approx(relative, rel=1e-14)
    assert found.converged is converged
    assert found.hinge == hinge + 0.25
    assert found.loss == pytest.approx(hinge + 0.25 + lambda_ * 0.5 * math.log(16.0 / 3.0), rel=1e-14)
    assert found.divergence == pytest.approx(0.5 * math.log(4.0 / 3.0), rel=1e-14)
    assert (found.gap, found.unique, found.steps) == (gap, None, 7)
    assert found.policy is policy
    assert not found.utilities.flags.writeable
    assert not found.dual.flags.writeable


def test_a_reference_that_the_policy_lacks_does_not_matter_without_regulariser():
    policy, reference = pb.FiniteDistribution.from_weights([1, 0]), pb.uniform([0, 1])
    point = Minimum(np.array([0.0, -INF]), np.zeros((2, 2)), 0.5, 0.0, 0.0, True, 0)
    found = solution_of(point, policy, reference, 0.0, 0.0, 0.1, 1.0, np.zeros(2))
    assert (found.loss, found.divergence, found.relative_gap) == (0.5, INF, 0.0)


def test_who_wins_how_often():
    """Against the double loop, for rectangles of pairs and for lists that name a pair several times."""
    annotator = pb.PreferenceMatrix([[0.5, 0.9, 1.0], [0.1, 0.5, 0.2], [0.0, 0.8, 0.5]])
    for proposal in (
        pb.ProductProposal([1, 2, 3]), pb.ProductProposal([1, 2, 3], [3, 0, 1]),
        pb.JointProposal(np.arange(9.0).reshape(3, 3)),
        pb.PairListProposal([0, 0, 1, 2, 2], [1, 1, 0, 2, 2], [1.0, 2.0, 3.0, 4.0, 5.0]),
    ):  # fmt: skip
        wins, ties = win_weights(annotator, proposal)
        expected, expected_ties = wins_by_loop(annotator, proposal)
        assert wins == pytest.approx(expected, abs=1e-16)
        assert ties == pytest.approx(expected_ties, rel=1e-14)


def test_log_probabilities_are_normalised_and_read_only():
    arguments = {"delta": 1.0, "reference": EVEN}
    for lambda_ in (0.0, 1.0):
        found = expected_slic(HAND, [3.0, 3.0, 3.0], UNIFORM, lambda_=lambda_, **arguments)
        # Each comparison costs 1, and each draw from the reference log 3.
        assert found.value == pytest.approx(1.0 + lambda_ * math.log(3.0), rel=1e-14)
        assert not found.gradient.flags.writeable
    with pytest.raises(ValueError, match="`log_policy` must have 3 outcomes"):
        expected_slic(HAND, [0.0, 0.0], UNIFORM, lambda_=1.0, **arguments)


def test_a_single_step_and_no_margin_are_allowed():
    for function, others in ((minimize_slic, {"lambda_": 1.0}), (minimize_slic, {"lambda_": 0.0}), (minimize_rso, {})):
        found = function(HAND, UNIFORM, delta=1.0, reference=EVEN, max_steps=1, **others)
        assert found.steps == 1
        assert function(HAND, UNIFORM, delta=0.0, reference=EVEN, **others).hinge >= 0.0


def test_rso_is_unique_where_the_reference_is():
    """Outcome 2 may stand anywhere at least 1 below; only a reference that has it is concerned."""
    annotator = pb.PreferenceMatrix([[0.5, 0.9, 1.0], [0.1, 0.5, 1.0], [0.0, 0.0, 0.5]])
    for weights, unique in (([1, 1, 0], True), ([1, 1, 1], False)):
        reference = pb.FiniteDistribution.from_weights(weights)
        found = minimize_rso(annotator, UNIFORM, delta=1.0, reference=reference)
        assert found.utilities.tolist() == [0.0, -1.0, -2.0]
        assert found.unique is not (not unique)


def test_defaults():
    for function in (minimize_slic, minimize_rso):
        parameters = inspect.signature(function).parameters
        assert (parameters["tolerance"].default, parameters["max_steps"].default) == (1e-7, 200)


def test_results_are_read_only():
    found = minimize_slic(HAND, UNIFORM, delta=1.0, lambda_=1.0, reference=EVEN)
    for values in (found.utilities, found.dual):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1.0
