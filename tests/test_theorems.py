"""The claims of the paper and what follows from them, one test per claim, each with its control.

Equation numbers are those of arXiv:2311.14115. The reference side of every comparison is the text of `paper.py`, exact
fractions, SciPy's optimisers and root finders on the paper's loops, and mpmath.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

import pbde_ref as pb
from pbde_ref import paper
from tests import paper_on_arrays
from tests.paper_on_arrays import kl, kl_gradient, sigmoid
from tests.strategies import annotators, distributions, problems, proposals
from tests.strategies import utilities as utility_vectors

W = pb.FiniteDistribution.from_weights


# --- Training, on the paper's equations ---


def log_softmax(logits):
    top = max(logits)
    return np.asarray(logits) - top - math.log(math.fsum(math.exp(x - top) for x in logits))


def fit_utilities(preference, q, start):
    """Minimise the loop of Eq. (8) over utilities, by BFGS."""
    return minimize(
        lambda omega: kl(preference, omega, q),
        start,
        jac=lambda omega: kl_gradient(preference, omega, q),
        method="BFGS",
        options={"gtol": 1e-10},
    )


def fit_policy(preference, f, g, q, start):
    """Minimise the loop of Eq. (8) over softmax logits of a policy whose process is (f, g), by BFGS."""

    def loss_and_gradient(logits):
        log_pi = log_softmax(logits)
        slope = f * kl_gradient(preference, f * log_pi + g, q)
        return kl(preference, f * log_pi + g, q), slope - np.exp(log_pi) * slope.sum()

    found = minimize(loss_and_gradient, start, jac=True, method="BFGS", options={"gtol": 1e-11})
    return np.exp(log_softmax(found.x)), found.fun


def luce_preferences(p):
    """Eq. (9) for all pairs."""
    return paper_on_arrays.tabulated(lambda a, b: paper.equation_9(p.pmf, a, b), len(p))


def components(q):
    """Components of the graph with an edge where q(A, B) + q(B, A) > 0, A ≠ B, merged pair by pair."""
    label = list(range(len(q)))
    for a in range(len(q)):
        for b in range(len(q)):
            if q[a][b] > 0:
                label = [label[a] if x == label[b] else x for x in label]
    return np.array(label)


def random_problem(seed, n=4):
    """A p*, a reference and a connected joint q with zeros and diagonal mass."""
    rng = np.random.default_rng(seed)
    q = rng.random((n, n)) * (rng.random((n, n)) < 0.5) + np.diag(rng.random(n - 1), 1)
    return rng, pb.FiniteDistribution(rng.normal(size=n)), pb.FiniteDistribution(rng.normal(size=n)), q / q.sum()


def luce(distribution):
    return pb.Annotator(distribution, pb.luce())


# --- Eq. 7 ⇔ Eq. 8: proofs/cross_entropy_and_kl.md ---


def test_cross_entropy_exceeds_kl_by_the_annotators_entropy_by_hand():
    """p* = (3/4, 1/4), ω = 0, one pair: log 2 = (log 2 − H) + H with H = 2 log 2 − ¾ log 3."""
    annotator, pair = luce(W([3, 1])), pb.JointProposal([[0, 1], [0, 0]])
    h = 2 * math.log(2) - 0.75 * math.log(3)
    assert pb.expected_cross_entropy(annotator, [0, 0], pair).value == pytest.approx(math.log(2), rel=1e-15)
    assert pb.expected_entropy(annotator, pair) == pytest.approx(h, rel=1e-15)
    assert pb.expected_kl(annotator, [0, 0], pair).value == pytest.approx(math.log(2) - h, rel=1e-14)


def test_the_entropy_does_depend_on_the_annotator():
    """Control: between two annotators the difference of Eq. (7) and (8) changes; it is a constant in the model only."""
    q = pb.ProductProposal([1, 1])
    differences = [
        pb.expected_cross_entropy(luce(W(w)), [0.3, 0], q).value - pb.expected_kl(luce(W(w)), [0.3, 0], q).value
        for w in ([1, 1], [9, 1])
    ]
    assert abs(differences[0] - differences[1]) > 0.1


# --- Lemma 1: proofs/lemma_1.md ---


@given(data=st.data(), size=st.integers(1, 12), constant=st.floats(-100.0, 100.0))
def test_equal_utilities_up_to_a_constant_have_zero_loss(data, size, constant):
    """Lemma 1, first direction: ω = χ + C has expected KL zero, whatever the proposal; ties and all."""
    annotator, proposal = data.draw(annotators(size)), data.draw(proposals(size))
    loss = pb.expected_kl(annotator, annotator.utility + constant, proposal)
    # Margins of size up to 2,000 are rounded to 4e-13; the KL divergence is quadratic in that error.
    assert 0.0 <= loss.value <= 1e-24
    assert np.max(np.abs(loss.gradient)) <= 1e-12


@given(data=st.data(), size=st.integers(2, 12))
def test_zero_loss_leaves_nothing_but_a_constant(data, size):
    """Lemma 1, second direction: over a connected graph any ω that is not χ + C has positive loss."""
    chi, change = data.draw(utility_vectors(size, 5.0)), data.draw(utility_vectors(size, 5.0))
    annotator, proposal = luce(pb.FiniteDistribution(chi)), data.draw(proposals(size, connected=True))
    loss = pb.expected_kl(annotator, chi + change, proposal).value
    q, largest = proposal.matrix(size), 0.0
    for a in range(size):
        for b in range(size):
            if q[a, b] > 0:
                largest = max(largest, abs(change[a] - change[b]))
    # On a connected graph some drawn pair differs by a (size − 1)-th of the range of the change.
    assert largest >= np.ptp(change) / size
    if np.ptp(change) > 1e-6:  # below, rounding of χ itself to 1e-15 could hide the change
        assert loss > 0.0
        assert np.max(np.abs(pb.expected_kl(annotator, chi + change, proposal).gradient)) > 0.0


@pytest.mark.parametrize("seed", range(4))
def test_minimising_over_all_utilities_finds_the_annotators(seed):
    """Lemma 1 by optimisation: BFGS on the double loop of Eq. (8) from a random start ends at χ + C."""
    rng, p, _, q = random_problem(seed)
    found = fit_utilities(luce_preferences(p), q, rng.normal(size=4))
    assert found.fun < 1e-14
    # A gradient of 1e-10 over eigenvalues down to 1e-3.
    assert np.ptp(found.x - p.log_pmf) < 1e-6


def test_lemma_1_needs_no_injective_utilities():
    """Ties are no exception, though the paper assumes injective functions: χ = (0, 0, 1) has the fit (0, 0, 1)."""
    annotator = luce(pb.FiniteDistribution([0.0, 0.0, 1.0]))
    fit = pb.minimize_expected_loss("bradley_terry", annotator, pb.ProductProposal([1, 1, 1])).value
    np.testing.assert_allclose(fit - fit[0], [0.0, 0.0, 1.0], atol=1e-12)


# --- Theorem 1: proofs/theorem_1.md ---


def test_optimal_reward_by_hand():
    """Theorem 1 with p* = (1/2, 1/3, 1/6): the stationarity equations hold in fractions at e^r = (3, 2, 1)."""
    weights = [Fraction(3), Fraction(2), Fraction(1)]
    q = [[Fraction(k, 12) for k in row] for row in ([1, 3, 0], [0, 2, 1], [4, 0, 1])]
    for x in range(3):
        slope = sum(
            (q[x][b] + q[b][x]) * (weights[x] / (weights[x] + weights[b]) - Fraction(3 - x) / (3 - x + 3 - b))
            for b in range(3)
        )
        assert slope == 0
    reward = pb.minimize_expected_loss("bradley_terry", luce(W([3, 2, 1])), pb.JointProposal(np.array(q, dtype=float)))
    np.testing.assert_allclose(np.exp(reward.value - reward.value[2]), [3.0, 2.0, 1.0], rtol=1e-12)


def test_reward_of_another_process_is_not_the_preference_distribution():
    """Control: an annotator with f = 2 teaches e^r ∝ p*², not p*."""
    p = W([3, 1])
    fit = pb.minimize_expected_loss("bradley_terry", pb.Annotator(p, pb.PBDE(2.0)), pb.ProductProposal([1, 1])).value
    np.testing.assert_allclose(pb.FiniteDistribution(fit).pmf, [0.9, 0.1], rtol=1e-12)


# --- Theorem 2: proofs/theorem_2.md ---


@pytest.mark.parametrize("seed", range(4))
def test_training_a_policy_with_the_shared_pbde_ends_at_the_preference_distribution(seed):
    """Theorem 2 by optimisation: BFGS over softmax logits on the loops of Eq. (8) and (11), f and g varying, ends at
    p*.
    """
    rng, p, _, q = random_problem(seed)
    f, g = np.exp(rng.normal(0, 0.5, 4)), rng.normal(size=4)
    policy, loss = fit_policy(paper_on_arrays.preferences(p.log_pmf, f, g), f, g, q, rng.normal(size=4))
    assert loss < 1e-14
    np.testing.assert_allclose(policy, p.pmf, atol=1e-6)  # a gradient of 1e-11 over curvatures down to 1e-4


def test_shared_pbde_by_hand():
    """Theorem 2, n = 2, f = (1, 2), g = 0: with p* = (1/2, 1/2) the margin is log ½ − 2 log ½ = log 2, P = 2/3; and
    π(1 − π)^−2 = 2 has the one root π = 1/2 in (0, 1), the other being π = 2.
    """
    process, p = pb.PBDE([1.0, 2.0]), W([1, 1])
    np.testing.assert_allclose(pb.Annotator(p, process).preference_probabilities()[0, 1], 2 / 3, rtol=1e-15)
    assert all(2 * (1 - pi) ** 2 - pi == 0 for pi in (Fraction(1, 2), Fraction(2)))
    np.testing.assert_allclose(pb.optimal_policy(pb.Annotator(p, process), process).pmf, [0.5, 0.5], rtol=1e-15)


def test_theorem_2_fails_where_f_changes_sign():
    """Counter-example, f = (1, −1), p* = (3/10, 7/10): (7/10, 3/10) has zero loss too. PBDE refuses such f."""
    f, g, q = [1.0, -1.0], [0.0, 0.0], [[0.0, 1.0], [0.0, 0.0]]
    right, other = np.log([0.3, 0.7]), np.log([0.7, 0.3])
    preference = paper_on_arrays.preferences(right, f, g)
    for log_pi in (right, other):
        assert abs(kl(preference, [fx * lp for fx, lp in zip(f, log_pi, strict=True)], q)) < 1e-16
    assert kl(preference, [math.log(0.5), -math.log(0.5)], q) > 1e-3  # not every policy does
    # In fractions: log p(0) + log p(1) is the margin, and 3/10 · 7/10 = 7/10 · 3/10.
    assert Fraction(3, 10) * Fraction(7, 10) == Fraction(7, 10) * Fraction(3, 10)
    with pytest.raises(ValueError, match=r"`f` must be positive; got -1\.0 at index 1"):
        pb.PBDE(f)


def test_theorem_2_holds_for_negative_f_of_one_sign():
    """f < 0 everywhere mirrors the process and leaves one solution: Σ e^{(χ + C)/f} falls from ∞ to 0."""
    log_p, f = np.log([0.2, 0.3, 0.5]), np.array([-1.0, -2.0, -0.5])
    chi = f * log_p

    def log_total(constant):
        return math.log(math.fsum(np.exp((chi + constant) / f)))

    totals = [log_total(c) for c in np.linspace(-3.0, 3.0, 25)]
    assert np.all(np.diff(totals) < 0)
    assert abs(brentq(log_total, -3.0, 3.0, xtol=1e-14)) < 1e-13


def test_theorem_2_needs_normalised_policies():
    """Counter-example without normalisation (sequences cut short): every π = p* e^{C/f} has zero loss, with C < 0 a
    total below one.
    """
    process, p = pb.PBDE([1.0, 2.0, 0.5], [0.0, 1.0, 2.0]), W([2, 3, 5])
    short = p.log_pmf - 0.7 / process.f
    loss = pb.expected_kl(pb.Annotator(p, process), process.utility(short), pb.ProductProposal([1, 1, 1]))
    assert loss.value < 1e-30
    assert np.exp(short).sum() < 0.8


def test_theorem_2_needs_the_same_process():
    """Control: a Luce annotator teaches a DPO model something else than p*."""
    p, reference = W([3, 1]), W([1, 2])
    assert pb.total_variation(pb.optimal_policy(luce(p), pb.dpo(1.0, reference)), p) > 0.1


# --- Eq. 13: proofs/equation_13.md ---


def test_eq_13_by_hand():
    """π_pre = (1/6, 1/3, 1/2), r = 2 (log 6, 0, log 2), β = 2: weights 1, 1/3, 1; with β = 4 others (control)."""
    rewards = 2.0 * np.log([6.0, 1.0, 2.0])
    np.testing.assert_allclose(pb.tilt(W([1, 2, 3]), rewards, 2.0).pmf, [3 / 7, 1 / 7, 3 / 7], rtol=1e-14)
    assert pb.total_variation(pb.tilt(W([1, 2, 3]), rewards, 4.0), W([3, 1, 3])) > 0.05


# --- Eq. 16: proofs/equation_16.md ---


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(2))
def test_dpo_on_luce_preferences_learns_a_product_of_experts(seed, beta):
    """Eq. (16): π ∝ π_pre p*^{1/β}; by BFGS over policies on the loops, by formula, and by `product_of_experts`."""
    rng, p, reference, q = random_problem(seed)
    f, g = np.full(4, beta), -beta * reference.log_pmf
    policy, loss = fit_policy(luce_preferences(p), f, g, q, rng.normal(size=4))
    formula = np.array(paper.equation_16(reference.pmf, p.pmf, beta))
    assert loss < 1e-14
    np.testing.assert_allclose(policy, formula, atol=1e-6)  # a gradient of 1e-11 over curvatures down to 1e-4
    np.testing.assert_allclose(pb.product_of_experts(reference, p, beta).pmf, formula, rtol=1e-13)
    np.testing.assert_allclose(pb.optimal_policy(luce(p), pb.dpo(beta, reference)).pmf, formula, rtol=1e-13)
    # Control: neither p* nor the exponent β in place of 1/β.
    assert pb.expected_kl(luce(p), f * p.log_pmf + g, pb.JointProposal(q)).value > 1e-4
    if beta != 1.0:
        inverted = np.exp(log_softmax(reference.log_pmf + p.log_pmf * beta))
        assert np.max(np.abs(inverted - formula)) > 1e-2


def test_eq_16_with_exact_fractions():
    """Eq. (16), β = 1/2, π_pre = (1, 2, 3)/6, p* = (3, 2, 1)/6: weights 1 · 9, 2 · 4, 3 · 1 make (9, 8, 3)/20; and the
    process answers as Luce does: (π(0)/π_pre(0) · π_pre(1)/π(1))^β = p*(0)/p*(1).
    """
    pi, ref, p = ([Fraction(k) for k in row] for row in ([9, 8, 3], [1, 2, 3], [3, 2, 1]))
    for a in range(3):
        for b in range(3):
            assert pi[a] / ref[a] * ref[b] / pi[b] == (p[a] / p[b]) ** 2
    np.testing.assert_allclose(
        pb.product_of_experts(W([1, 2, 3]), W([3, 2, 1]), 0.5).pmf, [0.45, 0.4, 0.15], rtol=1e-14
    )


# --- Eq. 18: proofs/equation_18.md ---


@pytest.mark.parametrize("alpha", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(2))
def test_geometric_process_on_luce_preferences_learns_a_geometric_mean(seed, alpha):
    """Eq. (18): π ∝ π_pre^{1−α} p*^α; by BFGS over policies on the loops, by formula, and by `geometric_mean`."""
    rng, p, reference, q = random_problem(seed)
    f, g = np.full(4, 1.0 / alpha), (1.0 - 1.0 / alpha) * reference.log_pmf
    policy, loss = fit_policy(luce_preferences(p), f, g, q, rng.normal(size=4))
    formula = np.array(paper.equation_18(reference.pmf, p.pmf, alpha))
    assert loss < 1e-14
    np.testing.assert_allclose(policy, formula, atol=1e-6)  # a gradient of 1e-11 over curvatures down to 1e-4
    np.testing.assert_allclose(pb.geometric_mean(p, reference, alpha).pmf, formula, rtol=1e-13)
    found = pb.optimal_policy(luce(p), pb.geometric_average(alpha, reference))
    np.testing.assert_allclose(found.pmf, formula, rtol=1e-13)
    # Control: the exponents exchanged.
    exchanged = np.exp(log_softmax(alpha * reference.log_pmf + (1.0 - alpha) * p.log_pmf))
    assert np.max(np.abs(exchanged - formula)) > 1e-2


def test_eq_18_with_exact_fractions():
    """Eq. (18), α = 1/2, π_pre ∝ (1, 4), p* ∝ (9, 4): (3/7, 4/7); f = 2, g = −log π_pre answer as Luce does, in
    fractions: (3/4)² · 4/1 = 9/4.
    """
    assert Fraction(3, 4) ** 2 * Fraction(4, 1) == Fraction(9, 4)
    found = pb.optimal_policy(luce(W([9, 4])), pb.geometric_average(0.5, W([1, 4])))
    np.testing.assert_allclose(found.pmf, [3 / 7, 4 / 7], rtol=1e-14)


# --- One optimum for every pair of processes: proofs/general_optimum.md ---


def test_general_optimum_by_hand():
    """p* = (2/11, 9/11) under Luce, f = (1, 2): π = (2u², 3u) with 2u² + 3u = 1, so u = (√17 − 3)/4."""
    u = (math.sqrt(17.0) - 3.0) / 4.0
    annotator = luce(W([2, 9]))
    found = pb.optimal_policy(annotator, pb.PBDE([1.0, 2.0]))
    np.testing.assert_allclose(found.pmf, [2 * u * u, 3 * u], rtol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_training_any_policy_ends_at_the_general_optimum(seed):
    """BFGS over policies on the loops of Eq. (8) and (11), annotator and model with processes of their own."""
    rng, p, _, q = random_problem(seed)
    f_a, f_m = np.exp(rng.normal(0, 0.4, (2, 4)))
    g_a, g_m = rng.normal(0, 0.5, (2, 4))
    policy, loss = fit_policy(paper_on_arrays.preferences(p.log_pmf, f_a, g_a), f_m, g_m, q, rng.normal(size=4))
    best = pb.optimal_policy(pb.Annotator(p, pb.PBDE(f_a, g_a)), pb.PBDE(f_m, g_m))
    assert loss < 1e-13
    np.testing.assert_allclose(policy, best.pmf, atol=1e-5)  # a gradient of 1e-11 over curvatures down to 1e-5


def test_impossible_outcomes_are_a_limit():
    """p* = (0, 2/3, 1/3): no finite log π attains the infimum, log π(0) → −∞ approaches it, π(0) = 0 has it."""
    annotator, process, q = luce(W([0, 2, 1])), pb.PBDE([2.0, 1.0, 3.0]), pb.ProductProposal([1, 1, 1])
    best = pb.optimal_policy(annotator, process)
    assert best.pmf[0] == 0.0
    losses = []
    for low in (-5.0, -10.0, -20.0, -200.0):
        near = pb.FiniteDistribution([low, *best.log_pmf[1:]])
        losses.append(pb.expected_kl(annotator, process.utility(near.log_pmf), q).value)
    assert losses[0] > losses[1] > losses[2] > losses[3]
    assert losses[3] < 1e-30
    assert pb.expected_kl(annotator, process.utility(best.log_pmf), q).value < 1e-30


def test_policy_beside_the_general_optimum_has_positive_loss():
    """Control: the loss notices a policy that is off by one percent in one outcome."""
    annotator, process, q = luce(W([1, 2, 1])), pb.PBDE([2.0, 1.0, 3.0]), pb.ProductProposal([1, 1, 1])
    best = pb.optimal_policy(annotator, process)
    beside = pb.FiniteDistribution(best.log_pmf + np.array([0.01, 0.0, 0.0]))
    assert pb.expected_kl(annotator, process.utility(beside.log_pmf), q).value > 1e-7


# --- Connected proposals: proofs/connected_proposals.md ---


@given(data=st.data(), size=st.integers(2, 12), shift=st.floats(0.5, 5.0))
def test_connected_proposals_are_necessary_and_sufficient(data, size, shift):
    """Lemma 1's conclusion holds if and only if the comparison graph is connected: lifting one component by a constant
    keeps zero loss; lifting any other set of outcomes does not.
    """
    chi, proposal = data.draw(utility_vectors(size, 5.0)), data.draw(proposals(size))
    annotator, label = luce(pb.FiniteDistribution(chi)), components(proposal.matrix(size))
    lifted = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    splits_a_component = any(len(set(lifted[label == one])) == 2 for one in set(label))
    loss = pb.expected_kl(annotator, chi + shift * lifted, proposal).value
    if splits_a_component:
        # A pair of weight ≥ 1e-6 with margins within 15: its KL divergence is at least 1e-6 · e^−15 · 0.05.
        assert loss > 1e-16
    else:
        assert loss <= 1e-28  # quadratic in rounding of 1e-15
    unique = pb.identifiability(annotator, proposal).policy_is_unique
    assert unique == (len(set(label)) == 1)


@pytest.mark.parametrize("seed", range(3))
def test_disconnected_training_depends_on_its_start(seed):
    """Two components: BFGS from two starts ends at two policies, both with zero loss, equal inside each component only;
    `optimal_policy` is one of them. With one more pair both ends agree.
    """
    rng, p, _, _ = random_problem(seed)
    ones, zeros = np.ones(4), np.zeros(4)
    preference = paper_on_arrays.preferences(p.log_pmf, ones, zeros)
    apart, joined = np.zeros((4, 4)), np.zeros((4, 4))
    apart[0, 1] = apart[3, 2] = 0.5
    joined[0, 1] = joined[3, 2] = joined[1, 2] = 1 / 3
    starts = rng.normal(0, 2, (2, 4))
    one, two = (fit_policy(preference, ones, zeros, apart, start)[0] for start in starts)
    assert np.max(np.abs(one - two)) > 1e-2
    for part in ([0, 1], [2, 3]):
        np.testing.assert_allclose(one[part] / one[part].sum(), two[part] / two[part].sum(), atol=1e-6)
        np.testing.assert_allclose(one[part] / one[part].sum(), p.pmf[part] / p.pmf[part].sum(), atol=1e-6)
    one, two = (fit_policy(preference, ones, zeros, joined, start)[0] for start in starts)
    np.testing.assert_allclose(one, two, atol=1e-6)  # a gradient of 1e-11 over curvatures of 1e-3 and less


def test_masses_of_components_are_free_and_change_conditionals_for_varying_f():
    """One optimum for every choice of component masses; for varying f the conditionals inside a component change too:
    f = (1, 2), χ = (0, 0) on the first: π(0) = t², π(1) = t, whatever t is.
    """
    q = pb.PairListProposal([0, 2], [1, 3])
    process = pb.PBDE([1.0, 2.0, 1.0, 1.0])
    annotator = luce(pb.uniform(range(4)))
    for t in (0.1, 0.5):
        rest = (1 - t * t - t) / 2
        policy = W([t * t, t, rest, rest])
        assert pb.expected_kl(annotator, process.utility(policy.log_pmf), q).value < 1e-30


# --- Convexity: the Hessian is a Laplacian: proofs/convexity.md ---


@given(problem=problems(max_size=10))
def test_hessian_is_a_graph_laplacian(problem):
    """∂²/∂ω² of Eq. (8) is the Laplacian with weights (q_AB + q_BA) σ(d)σ(−d), whatever the annotator: symmetric, rows
    sum to zero, no positive off-diagonal, positive semi-definite, null on the constants of each component.
    """
    annotator, omega, proposal = problem
    n, q = annotator.size, proposal.matrix(annotator.size)
    found = pb.expected_hessian("bradley_terry", annotator, omega, proposal)
    expected = paper_on_arrays.hessian(omega, q)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-16)  # sums of up to 20 terms
    np.testing.assert_allclose(found, found.T, rtol=1e-14)  # a pair listed in both directions is added up twice
    # An entry for each edge and no other: the quadratic form vanishes on constants of components only.
    off_diagonal = ~np.eye(n, dtype=bool)
    np.testing.assert_array_equal(found[off_diagonal] < 0.0, (q + q.T)[off_diagonal] > 0.0)
    np.testing.assert_array_equal(found[off_diagonal] > 0.0, False)
    assert np.linalg.eigvalsh(found)[0] >= -1e-15
    label = components(q)
    for one in set(label):
        np.testing.assert_allclose(found @ (label == one), 0.0, atol=1e-15)


@given(problem=problems(max_size=10), data=st.data(), share=st.floats(0.0, 1.0))
def test_expected_kl_is_convex(problem, data, share):
    """Eq. (8) on a segment lies below its chord: no local minima in utilities."""
    annotator, one, proposal = problem
    two = data.draw(utility_vectors(annotator.size))
    middle, left, right = (
        pb.expected_kl(annotator, omega, proposal).value for omega in (share * one + (1 - share) * two, one, two)
    )
    # Values of size up to 1,000, rounded.
    assert middle <= share * left + (1 - share) * right + 1e-12 * (1.0 + left + right)


def test_convexity_is_in_utilities_not_in_logits():
    """Control: as a function of softmax logits with varying f the same loss is not convex."""
    f, q = np.array([0.1, 10.0]), [[0.0, 1.0], [0.0, 0.0]]
    preference = paper_on_arrays.preferences(np.log([0.5, 0.5]), f, [0, 0])

    def loss(logit):
        return kl(preference, f * log_softmax([logit, 0.0]), q)

    second = [loss(x + 0.1) - 2 * loss(x) + loss(x - 0.1) for x in np.linspace(-20, 20, 81)]
    assert min(second) < -1e-4


# --- Misspecified annotators: a projection: proofs/misspecification.md ---


def project(annotator, proposal, grid):
    solution = pb.minimize_expected_loss("bradley_terry", annotator, proposal)
    assert solution.converged
    return pb.FiniteDistribution(solution.value, support=grid)


@pytest.fixture(scope="module")
def toy():
    """The paper's problem, Eq. (10), with its two annotators answering in proportion 2 : 3, Eq. (25)."""
    problem = pb.paper_problem(256)
    return problem, pb.AnnotatorMixture([0.4, 0.6], [luce(p) for p in problem.annotator_distributions])


@pytest.fixture(scope="module")
def toy_fits(toy):
    """The curve of Fig. 5 without training noise, for pairs from π_pre ⊗ π_pre and for uniform pairs."""
    problem, crowd = toy
    return tuple(project(crowd, pb.ProductProposal(mu), problem.grid) for mu in (problem.reference, np.ones(256)))


@pytest.mark.parametrize("seed", range(3))
def test_projection_is_unique(seed):
    """Any P with entries in (0, 1) on a connected graph has one best-fitting curve: BFGS from two far starts and Newton
    agree, though no utility has zero loss.
    """
    rng, _, _, q = random_problem(seed)
    upper = np.triu(rng.uniform(0.1, 0.9, (4, 4)), 1)
    preference = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(4)
    solution = pb.minimize_expected_loss("bradley_terry", pb.PreferenceMatrix(preference), pb.JointProposal(q))
    for start in rng.normal(0, 5, (2, 4)):
        found = fit_utilities(preference, q, start)
        np.testing.assert_allclose(found.x - found.x.mean(), solution.value, atol=1e-6)  # as in Lemma 1
        assert pb.expected_kl(pb.PreferenceMatrix(preference), solution.value, pb.JointProposal(q)).value == (
            pytest.approx(found.fun, abs=1e-14)
        )
    assert found.fun > 1e-4


def test_projection_by_hand():
    """Three outcomes, all pairs, P01 = 4/5, P02 = P12 = 1/2: each outcome's expected wins, 13/10, 7/10 and 1, and
    symmetry make the fit (t, −t, 0) with σ(2t) + σ(t) = 13/10; with other weights of the pairs, another fit.
    """
    preference = [[0.5, 0.8, 0.5], [0.2, 0.5, 0.5], [0.5, 0.5, 0.5]]
    t = brentq(lambda x: sigmoid(2 * x) + sigmoid(x) - 1.3, 0.0, 2.0, xtol=1e-15)
    annotator = pb.PreferenceMatrix(preference)
    fit = pb.minimize_expected_loss("bradley_terry", annotator, pb.ProductProposal([1, 1, 1])).value
    np.testing.assert_allclose(fit, [t, -t, 0.0], atol=1e-13)
    other = pb.minimize_expected_loss("bradley_terry", annotator, pb.PairListProposal([0, 0, 1], [1, 2, 2], [9, 1, 1]))
    assert np.max(np.abs(other.value - fit)) > 0.1


def test_toy_projection_is_stationary(toy, toy_fits):
    """The fitted curve of Fig. 5 satisfies Σ_B (q_xB + q_Bx)(σ(ω_x − ω_B) − P_xB) = 0 at each x, in plain NumPy with P
    written out from Eq. (25).
    """
    problem, _ = toy
    omega, mu = toy_fits[0].log_pmf, problem.reference.pmf
    answers = sum(
        w / (1.0 + np.exp(np.clip(p.log_pmf[None, :] - p.log_pmf[:, None], -700, 700)))
        for w, p in zip((0.4, 0.6), problem.annotator_distributions, strict=True)
    )

    def slope(utilities):
        return 2.0 * mu * ((1.0 / (1.0 + np.exp(utilities[None, :] - utilities[:, None])) - answers) @ mu)

    # 256 terms of size 1e-4; a gap of 1e-20 leaves a gradient of 1e-10 at most.
    assert np.max(np.abs(slope(omega))) < 1e-12
    # Control: a change of one percent in the curve would show.
    assert np.max(np.abs(slope(omega + 0.01 * np.sin(problem.grid)))) > 1e-7


def test_toy_projection_has_one_maximum(toy, toy_fits):
    """Fig. 5 without training noise, from π_pre ⊗ π_pre: the density has one maximum, 0.1366 at x = 1.50, and no bump
    near −1.7.
    """
    grid = toy[0].grid
    step = grid[1] - grid[0]
    density = toy_fits[0].pmf / step
    rises = np.diff(density) > 0
    assert np.count_nonzero(rises[:-1] != rises[1:]) == 1
    peak = int(density.argmax())
    left, top, right = density[peak - 1 : peak + 2]
    mode = grid[peak] + 0.5 * step * (left - right) / (left - 2 * top + right)
    assert density.max() == pytest.approx(0.1366, abs=1e-4)  # the known digits
    assert mode == pytest.approx(1.50, abs=0.02)  # the known digits, and a parabola through three points


def test_toy_projection_depends_on_the_proposal(toy, toy_fits):
    """Uniform pairs against π_pre ⊗ π_pre: total variation 0.028; the well-specified optimum does not move."""
    problem, _ = toy
    assert pb.total_variation(*toy_fits) == pytest.approx(0.028, abs=0.001)  # the known digits
    # Control: one annotator, of moderate sharpness, is recovered from both.
    for mu in (problem.reference, np.ones(256)):
        fit = project(luce(problem.reference), pb.ProductProposal(mu), problem.grid)
        assert pb.total_variation(fit, problem.reference) < 1e-9  # a gap of 1e-20 over eigenvalues of 1e-5


def test_toy_projection_is_nobodys_preference(toy, toy_fits):
    """Fig. 5's curve is neither annotator's p_i*, nor the density mixture p*, and no curve explains the answers."""
    problem, crowd = toy
    for p in (*problem.annotator_distributions, problem.implicit_preference_distribution):
        assert pb.total_variation(toy_fits[0], p) > 0.3
    q = pb.ProductProposal(problem.reference)
    assert pb.expected_kl(crowd, toy_fits[0].log_pmf, q).value > 1e-2


# --- RLHF with KL control: proofs/kl_control.md, proofs/rlhf_is_dpo.md ---


def test_dpo_reparametrises_the_kl_controlled_reward():
    """Eq. (13) solved for the reward is Eq. (14): preferences σ(r_A − r_B) are those of the tilted policy under DPO."""
    reference, rewards, beta = W([1, 2, 3]), np.array([0.3, -1.0, 2.0]), 0.7
    policy = pb.tilt(reference, rewards, beta)
    under_dpo = pb.Annotator(policy, pb.dpo(beta, reference)).preference_probabilities()
    expected = paper_on_arrays.tabulated(paper_on_arrays.model(rewards), 3)
    np.testing.assert_allclose(under_dpo, expected, rtol=1e-14)
    # Control: with another β it is not so.
    assert np.max(np.abs(pb.Annotator(policy, pb.dpo(1.4, reference)).preference_probabilities() - expected)) > 0.05


# --- Barker's chain: proofs/barker.md ---


def test_barkers_chain_needs_a_symmetric_kernel():
    """Control: p* = (1/2, 1/2) with K(0, 1) = 1/2, K(1, 0) = 1/4 gives flows 1/8 and 1/16, and the law (1/3, 2/3)."""
    lopsided = pb.barker_transition_matrix(luce(W([1, 1])), [[0.5, 0.5], [0.25, 0.75]])
    np.testing.assert_allclose(pb.stationary_distribution(lopsided).pmf, [1 / 3, 2 / 3], rtol=1e-14)
    assert pb.detailed_balance_residual(pb.uniform([0, 1]), lopsided) == pytest.approx(1 / 16, rel=1e-14)


# --- Winners: proofs/winners.md ---


@given(p=distributions(max_size=10))
def test_winners_are_the_preference_distribution_for_one_proposal(p):
    """w = p* where Σ_B [q(x, B) + q(B, x)]/(p*(x) + p*(B)) is the same for all x, as for q ∝ p*(A) + p*(B)."""
    fair = pb.JointProposal(p.pmf[:, None] + p.pmf[None, :])
    np.testing.assert_allclose(pb.winners_distribution(luce(p), fair).pmf, p.pmf, rtol=1e-12)


def test_winners_by_hand():
    """p* = (9/10, 1/10): independent fair pairs leave (7/10, 3/10), the pair without repetition p* itself (control)."""
    w = Fraction(1, 4) + 2 * Fraction(1, 4) * Fraction(9, 10)
    assert w == Fraction(7, 10)
    np.testing.assert_allclose(pb.winners_distribution(luce(W([9, 1])), pb.ProductProposal([1, 1])).pmf, [0.7, 0.3])
    np.testing.assert_allclose(
        pb.winners_distribution(luce(W([9, 1])), pb.JointProposal([[0, 1], [0, 0]])).pmf, [0.9, 0.1]
    )


@given(annotator=annotators(max_size=10, extremes=True), data=st.data())
def test_winners_stay_within_log_2_of_the_proposal(annotator, data):
    """q = μ ⊗ μ: w ≤ 2μ and KL(w ‖ μ) ≤ log 2, however sharp the annotator."""
    mu = data.draw(distributions(annotator.size, extremes=True))
    winners = pb.winners_distribution(annotator, pb.ProductProposal(mu))
    # Sums of ten terms; float64 has no smaller relative precision below 1e-307.
    assert np.all(winners.pmf <= 2 * mu.pmf * (1 + 1e-13) + 1e-300)
    assert pb.kl_divergence(winners, mu) <= math.log(2) + 1e-13


# --- Annotator mixtures are not density mixtures (Eq. 24–28): proofs/annotator_mixture.md ---


def log_odds_around(preference, a, b, c):
    """logit P(a ≻ b) + logit P(b ≻ c) + logit P(c ≻ a): zero for every single process, by Eq. (11)."""
    return sum(math.log(preference[x][y]) - math.log(preference[y][x]) for x, y in ((a, b), (b, c), (c, a)))


def test_annotator_mixture_is_no_density_mixture_by_hand():
    """p_1 = (8, 2, 1)/11, p_2 = (1, 1, 4)/6, weights ½, ½. Annotators: P(0 ≻ 1) = ½ · 4/5 + ½ · 1/2 = 13/20; density
    mixture: (8/11 + 1/6)/(8/11 + 1/6 + 2/11 + 1/6) = 59/82. Log-odds of the annotators do not add up around 0, 1, 2.
    """
    first, second = [Fraction(k, 11) for k in (8, 2, 1)], [Fraction(k, 6) for k in (1, 1, 4)]
    mixed = [
        [(p[a] / (p[a] + p[b]) + r[a] / (r[a] + r[b])) / 2 for b in range(3)]
        for p, r in [(first, second)]
        for a in range(3)
    ]
    assert mixed[0][1] == Fraction(13, 20)
    density = [(p + r) / 2 for p, r in zip(first, second, strict=True)]
    assert density[0] / (density[0] + density[1]) == Fraction(59, 82)
    around = mixed[0][1] * mixed[1][2] * mixed[2][0] / (mixed[1][0] * mixed[2][1] * mixed[0][2])
    assert around != 1

    one, two = W([8, 2, 1]), W([1, 1, 4])
    crowd = pb.AnnotatorMixture([1, 1], [luce(one), luce(two)]).preference_probabilities()
    np.testing.assert_allclose(crowd, np.array(mixed, dtype=float), rtol=1e-15)
    single = luce(pb.mixture([1, 1], [one, two])).preference_probabilities()
    assert single[0, 1] == pytest.approx(59 / 82, rel=1e-14)
    assert log_odds_around(crowd, 0, 1, 2) == pytest.approx(math.log(around), rel=1e-13)
    assert abs(log_odds_around(crowd, 0, 1, 2)) > 0.1


@given(annotator=annotators(3))
def test_log_odds_of_one_process_add_up(annotator):
    """Control: for every single process the log-odds around a circle sum to zero, utilities within 30 nats."""
    chi = annotator.utility / max(1.0, float(np.ptp(annotator.utility)) / 30.0)
    preference = luce(pb.FiniteDistribution(chi)).preference_probabilities()
    # Each entry carries a relative error of 1e-15 from margins of size 30, 1e-14 with their own rounding.
    assert abs(log_odds_around(preference, 0, 1, 2)) < 1e-13


def test_toy_annotators_are_no_density_mixture(toy):
    """On the paper's problem: Eq. (25) and Eq. (9) with the density mixture, Eq. (24), answer differently, by 0.3
    and more; in the region of Fig. 4 where both annotators are certain and disagree, Eq. (25) is a weight, 0.4 or 0.6.
    """
    problem, crowd = toy
    p, single = (
        crowd.preference_probabilities(),
        luce(problem.implicit_preference_distribution).preference_probabilities(),
    )
    assert np.max(np.abs(p - single)) > 0.3
    left, right = (int(np.argmin(np.abs(problem.grid - x))) for x in (-2.5, 2.5))
    assert p[left, right] == pytest.approx(0.4, abs=1e-4)  # each is certain to within e^−12
    assert single[left, right] > 0.7


