"""Decision processes, PPO's surrogate, DPG, RSO's sampler, hindsight sequences, ΨPO, what optima identify, pools.

The proofs are in ``proofs/``: each test names its own. The reference side is brute force, SciPy and exact fractions.
"""

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.optimize import linprog, root

import pbde_ref as pb
from tests.seeds import drawn_seed

W = pb.FiniteDistribution.from_weights


def luce(weights):
    return pb.Annotator(W(weights), pb.luce())


@pytest.fixture
def rng():
    """A seed that nobody chose, printed where a test fails."""
    seed = drawn_seed()
    return np.random.default_rng(seed)


# --- proofs/policy_gradient.md ---


def test_a_decision_process_with_exact_fractions():
    """Two states, action 1 moves: V solves (1 − γP)V = r by hand, and the gradient is d/(1 − γ)·π·(Q − V)."""
    process = pb.DecisionProcess([[[1, 0], [0, 1]], [[0, 1], [1, 0]]], [[0, 0], [1, 1]], gamma=0.5)
    even = np.zeros((2, 2))
    half = Fraction(1, 2)
    v1 = (1 + half * half * half) / ((1 - half * half) * 1)
    v0 = v1 - 1
    assert (v0, v1) == (half, Fraction(3, 2))
    assert process.values(even) == pytest.approx([float(v0), float(v1)], rel=1e-15)
    assert process.visits(even, [1, 0]) == pytest.approx([0.75, 0.25], rel=1e-15)
    assert process.stationary(even) == pytest.approx([0.5, 0.5], rel=1e-15)


def test_values_are_means_of_simulated_returns(rng):
    moves, rewards, logits = rng.dirichlet([1, 1], (2, 2)), rng.normal(size=(2, 2)), rng.normal(size=(2, 2))
    process = pb.DecisionProcess(moves, rewards, gamma=0.6)
    policy = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    states, total = np.zeros(20_000, dtype=int), np.zeros(20_000)
    for t in range(40):
        actions = (rng.random(states.size) > policy[states, 0]).astype(int)
        total += 0.6**t * rewards[states, actions]
        states = (rng.random(states.size) > moves[states, actions, 0]).astype(int)
    assert total.mean() == pytest.approx(process.values(logits)[0], abs=6 * total.std() / 141 + 1e-8)


def test_the_printed_sum_is_no_gradient_of_one_states_value():
    """A state that is left at once has no stationary mass, and its own logits matter all the same."""
    process = pb.DecisionProcess([[[0, 1], [0, 1]], [[0, 1], [0, 1]]], [[0, 1], [2, 5]], gamma=0.5)
    even = np.zeros((2, 2))
    assert process.gradient(even, [1, 0])[0] == pytest.approx([-0.25, 0.25], rel=1e-15)
    assert not process.gradient(even, process.stationary(even))[0].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[[1.0]]], [[0.0]], 1.0), "`gamma` must be at least 0 and below 1; got 1.0"),
        (([[[0.5]]], [[0.0]], 0.5), "row sums of transition"),
        (([[[1.0]]], [[np.inf]], 0.5), "`rewards` must be finite"),
        (([[[1.0]]], [0.0], 0.5), "`rewards` must have shape"),
        (([[1.0]], [[0.0]], 0.5), "`transition` must have shape"),
    ],
)
def test_bad_processes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        pb.DecisionProcess(*arguments)


def test_bad_logits_of_a_process_are_named():
    process = pb.DecisionProcess([[[1.0], [1.0]]], [[0.0, 1.0]], 0.5)
    with pytest.raises(ValueError, match="`logits` must have shape"):
        process.values([0.0, 0.0])
    with pytest.raises(ValueError, match="`logits` must be finite"):
        process.values([[0.0, np.inf]])


# --- proofs/clipped_surrogate.md ---


def test_the_surrogates_maximum_by_a_linear_programme(rng):
    """Winnings g ≤ A·π and g ≤ A·bound, outcome by outcome, over the simplex."""
    for _ in range(20):
        n = int(rng.integers(1, 7))
        old, epsilon = W(rng.dirichlet(np.ones(n))), float(rng.uniform(0.05, 0.9))
        a = rng.normal(size=n)
        a -= old.pmf @ a
        bound = a * (1 + np.sign(a) * epsilon) * old.pmf
        rows = np.block([[-np.diag(a), np.eye(n)]])
        found = linprog(
            np.concatenate([np.zeros(n), -np.ones(n)]), A_ub=rows, b_ub=np.zeros(n),
            A_eq=[[1] * n + [0] * n], b_eq=[1], bounds=[(0, 1)] * n + [(None, b) for b in bound],
        )  # fmt: skip
        value, policy = pb.clipped_surrogate_maximum(old, a, epsilon)
        assert value == pytest.approx(-found.fun, abs=1e-9)
        assert policy.pmf.sum() == pytest.approx(1.0, rel=1e-12)
        assert epsilon / 2 * (old.pmf @ abs(a)) - 1e-12 <= value <= epsilon * (old.pmf @ abs(a)) + 1e-12


def test_only_eq_13_stays_put():
    reference, reward = W([4, 3, 2, 1]), np.arange(4.0)
    best = pb.tilt(reference, reward, 2.0)

    def gain(policy, beta):
        a = reward - beta * (policy.log_pmf - reference.log_pmf)
        return pb.clipped_surrogate_maximum(policy, a - policy.pmf @ a, 0.2)[0]

    assert abs(gain(best, 2.0)) < 1e-15
    assert gain(reference, 2.0) > 0.05
    assert gain(best, 0.0) > 0.05


def test_what_is_never_drawn_does_not_count():
    """By the expectation under the old policy, and not by its limit as a probability goes to zero."""
    old, policy = W([0, 1]), W([1, 0])
    assert pb.clipped_surrogate(policy, old, [-1.0, -1.0], 0.2) == pytest.approx(-0.8)
    assert pb.clipped_surrogate(policy, old, [1.0, -1.0], 0.2) == pytest.approx(-0.8)
    value, best = pb.clipped_surrogate_maximum(old, [-1.0, -1.0], 0.2)
    assert value == pytest.approx(-0.8)
    np.testing.assert_allclose(best.pmf, [0.2, 0.8])
    # However rarely it is drawn, it counts, also where its probability is no number any more.
    for log_odds in (-740.0, -750.0):
        rare = pb.FiniteDistribution([log_odds, 0.0])
        assert pb.clipped_surrogate(pb.uniform([0, 1]), rare, [-1.0, 1.0], 0.2) == pytest.approx(0.0)


def test_a_clipping_range_is_checked():
    for epsilon in (0.0, 1.0, -0.1):
        with pytest.raises(ValueError, match="`epsilon` must be"):
            pb.clipped_surrogate(pb.uniform([0, 1]), pb.uniform([0, 1]), [0.0, 0.0], epsilon)
    with pytest.raises(ValueError, match="`advantages` must be finite"):
        pb.clipped_surrogate_maximum(pb.uniform([0, 1]), [0.0, np.inf], 0.2)


# --- proofs/forgetting.md, proofs/dpg.md ---


def test_divergences_of_the_tilted_reference_stay_within_hoeffdings_bound(rng):
    for _ in range(20):
        n, beta = int(rng.integers(2, 9)), float(np.exp(rng.normal()))
        reference, r = W(rng.dirichlet(np.ones(n))), rng.normal(size=n) * np.exp(rng.normal())
        policy, bound = pb.tilt(reference, r, beta), np.ptp(r) ** 2 / (8 * beta**2)
        assert pb.kl_divergence(policy, reference) <= bound * (1 + 1e-9)
        assert pb.kl_divergence(reference, policy) <= bound * (1 + 1e-9)
        assert abs(policy.log_pmf - reference.log_pmf).max() <= np.ptp(r) / beta * (1 + 1e-12)
    # Control: with an eighth replaced by a ninth the bound fails.
    even = pb.uniform([0, 1])
    assert pb.kl_divergence(pb.tilt(even, [1.0, 0.0], 50.0), even) > 1 / (9 * 50.0**2)


def test_dpg_goes_from_policy_to_target_in_fifty_digits():
    with mpmath.workdps(50):
        p, theta, h = [mpmath.mpf(3) / 4, mpmath.mpf(1) / 4], [mpmath.mpf("0.3"), mpmath.mpf(0)], mpmath.mpf("1e-20")

        def kl(theta):
            z = sum(mpmath.exp(t) for t in theta)
            return sum(a * mpmath.log(a * z / mpmath.exp(t)) for a, t in zip(p, theta, strict=True))

        slope = (kl([theta[0] + h, theta[1]]) - kl([theta[0] - h, theta[1]])) / (2 * h)
        found = pb.distributional_policy_gradient([0.3, 0.0], W([3, 1]))
        assert found[0] == pytest.approx(-float(slope), rel=1e-14)
    with pytest.raises(ValueError, match="`logits` must be finite"):
        pb.distributional_policy_gradient([0.0, np.inf], W([3, 1]))


# --- proofs/rejection_sampling.md ---


@pytest.mark.parametrize("candidates", [1, 2, 3, 5])
def test_rsos_law_by_listing_all_candidates(candidates, rng):
    pre, r, beta = rng.dirichlet(np.ones(4)), rng.choice([0.0, 0.5, 2.0, 3.0], 4), float(rng.uniform(0.3, 2))
    law = np.zeros(4)
    for drawn in itertools.product(range(4), repeat=candidates):
        chance, top = np.prod(pre[list(drawn)]), max(r[x] for x in drawn)
        for x in drawn:
            accept = np.exp((r[x] - top) / beta)
            law[x] += chance * accept
            chance *= 1 - accept
    found = pb.rso_distribution(W(pre), r, beta, candidates).pmf
    assert found == pytest.approx(law, rel=1e-11)
    if candidates == 1:
        assert found == pytest.approx(pre, rel=1e-14)
    else:
        gap = pb.total_variation(W(found), pb.tilt(W(pre), r, beta))
        assert gap <= (1 - pre[r == r.max()].sum()) ** candidates + 1e-14


def test_the_greatest_rewards_are_short_by_a_power():
    pre, r = W([5, 3, 2]), [0.0, 1.0, 2.0]
    best, rate = pb.tilt(pre, r, 1.0), pb.sample_optimal_policy(pre, r, 1.0, size=0).acceptance
    for n in (1, 4, 30):
        found = pb.rso_distribution(pre, r, 1.0, n).pmf[2]
        assert found == pytest.approx(best.pmf[2] * (1 - (1 - rate) ** n), rel=1e-13)


def test_rsos_arguments_are_checked():
    even = pb.uniform([0, 1])
    for arguments, message in (
        ((W([1, 0]), [0, 0], 1.0, 2), "`reference` must be positive"),
        ((even, [0, -np.inf], 1.0, 2), "`rewards` must be finite"),
        ((even, [0, 0], 1.0, 0), "`candidates` must be"),
    ):
        with pytest.raises(ValueError, match=message):
            pb.rso_distribution(*arguments)


# --- proofs/chain_of_hindsight.md ---


def test_a_sequence_shows_its_preference_with_exact_fractions():
    """p* = (3/4, 1/4), q uniform on ordered pairs: J = (1/4, 3/8; 1/8, 1/4)."""
    found = pb.hindsight_distribution(luce([3, 1]), pb.ProductProposal([1, 1]))
    assert found == pytest.approx(np.array([[0.25, 0.375], [0.125, 0.25]]), rel=1e-15)
    listed = pb.hindsight_distribution(luce([3, 1]), pb.PairListProposal([0, 0, 1], [1, 1, 1]))
    assert listed == pytest.approx(np.array([[0, 0.5], [1 / 6, 1 / 3]]), rel=1e-15)


def test_what_one_half_teaches_does_not_determine_p_star():
    apart = pb.JointProposal([[0, 1], [1, 0]])
    halves = [pb.hindsight_distribution(*case).sum(axis=1) for case in (
        (luce([9, 1]), pb.ProductProposal([1, 1])), (luce([7, 3]), apart))]  # fmt: skip
    assert halves[0] == pytest.approx(halves[1], rel=1e-14)


# --- proofs/psi_po.md, proofs/sure_preferences.md ---


def test_psi_of_any_kind_has_the_optimum_of_its_win_rates(rng):
    p, mu, reference = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5)), W(rng.dirichlet(np.ones(5)))
    annotator = luce(p)
    logit = pb.psi_closed_form(annotator, mu, lambda won, lost: np.log(won / lost), tau=0.7, reference=reference)
    assert pb.total_variation(logit, pb.product_of_experts(reference, W(p), 0.7)) < 1e-13
    identity = pb.psi_closed_form(annotator, mu, lambda won, lost: won, tau=0.7, reference=reference)
    assert pb.total_variation(identity, pb.ipo_closed_form(annotator, mu, tau=0.7, reference=reference)) < 1e-14
    assert pb.total_variation(identity, logit) > 1e-6  # control


def test_psi_must_be_finite():
    sure = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    with pytest.raises(ValueError, match="`psi` must be finite"), np.errstate(divide="ignore"):
        pb.psi_closed_form(sure, [1, 1], lambda won, lost: np.log(won / lost), tau=1.0, reference=pb.uniform([0, 1]))
    with pytest.raises(ValueError, match="`psi` must be finite, one value"):
        pb.psi_closed_form(sure, [1, 1], lambda won, lost: [1.0], tau=1.0, reference=pb.uniform([0, 1]))


def test_sure_answers_hold_ipo_back_and_not_dpo():
    rank = np.array([2, 0, 1, 1])
    sure = pb.PreferenceMatrix(0.5 + 0.5 * np.sign(np.subtract.outer(rank, rank)))
    reference, pairs = W([1, 4, 3, 2]), pb.ProductProposal([1, 4, 3, 2])
    # Below rank 2 lies 9/10, and half of its own 1/10; below rank 1 lies 4/10, and half of 5/10; half of 4/10.
    rate = np.array([0.95, 0.2, 0.65, 0.65])
    found = pb.ipo_closed_form(sure, reference, tau=0.25, reference=reference)
    assert found.pmf == pytest.approx(W(reference.pmf * np.exp(rate / 0.25)).pmf, rel=1e-14)
    assert np.ptp(found.log_pmf - reference.log_pmf) < 4.0
    assert not pb.finite_fit_exists(sure, pairs)
    losses = [pb.expected_cross_entropy(sure, t * rank, pairs).value for t in (1, 10, 40)]
    ties = (0.01 + 0.16 + 0.25) * np.log(2)
    assert losses[0] > losses[1] > losses[2] == pytest.approx(ties, rel=1e-12)


# --- proofs/slic_regularizers.md, proofs/slic.md ---


@pytest.mark.parametrize("law", ["data", "model", "preferred"])
def test_each_regulariser_pulls_to_its_own_law(law):
    annotator, pairs = luce([6, 3, 1]), pb.ProductProposal([1, 1, 1])
    laws = {"data": W([1, 1, 8]), "model": pb.uniform(range(3)), "preferred": pb.winners_distribution(annotator, pairs)}
    found = {x: pb.minimize_slic(annotator, pairs, delta=1.0, lambda_=50.0, reference=laws[x]).policy for x in laws}
    distances = {x: pb.total_variation(found[law], laws[x]) for x in laws}
    assert distances[law] <= (1 - 1 / 3) / 50
    assert min(distances, key=distances.get) == law


def test_delta_scales_every_log_ratio_alike():
    """A.2's "non-uniform smoothing": in log-probabilities it is uniform, π_δ ∝ π_1^δ, and no bound on their range."""
    problem = pb.paper_problem(64)
    annotator, reference = pb.Annotator(problem.implicit_preference_distribution, pb.luce()), problem.reference
    pairs = pb.ProductProposal(reference)
    found = {d: pb.minimize_slic(annotator, pairs, delta=d, lambda_=0.0, reference=reference) for d in (0.25, 1.0)}
    assert found[1.0].unique
    assert found[0.25].utilities == pytest.approx(0.25 * found[1.0].utilities, abs=1e-12)
    assert np.ptp(found[1.0].utilities) == pytest.approx(34.0)


# --- proofs/identified.md ---


def test_ipos_optimum_gives_the_wins_back_and_the_wins_p_star(rng):
    n = 5
    p, q, reference = rng.dirichlet(np.ones(n)), rng.random((n, n)), W(rng.dirichlet(np.ones(n)))
    annotator, pairs = luce(p), pb.JointProposal(q)
    policy = pb.ipo_optimum(annotator, pairs, tau=0.4, reference=reference).policy
    wins = pb.ipo_winners(policy, pairs, tau=0.4, reference=reference)
    both = (q + q.T) / q.sum()

    def excess(utilities):
        chi = np.append(utilities, 0.0)
        return ((both / (1 + np.exp(chi - chi[:, None]))).sum(axis=1) - wins)[:-1]

    found = root(excess, np.zeros(n - 1), tol=1e-13).x
    assert W(np.exp(np.append(found, 0.0))).pmf == pytest.approx(p, rel=1e-6)
    other = pb.ipo_winners(policy, pairs, tau=0.8, reference=reference)
    assert abs(other - wins).max() > 1e-4  # control
    with pytest.raises(ValueError, match="`policy` must be positive"):
        pb.ipo_winners(W([1, 0]), pb.ProductProposal([1, 1]), tau=1.0, reference=W([1, 1]))


def test_three_annotators_share_slics_optimum_and_not_ipos():
    even, pairs = pb.uniform(range(3)), pb.ProductProposal([1, 1, 1])
    policies = []
    for chi in ((4, 0, -4), (3.5, 0.2, -3), (5, -0.5, -4.5)):
        annotator = pb.Annotator(pb.FiniteDistribution(np.array(chi)), pb.luce())
        slic = pb.minimize_slic(annotator, pairs, delta=1.0, lambda_=0.0, reference=even)
        rso = pb.minimize_rso(annotator, pairs, delta=1.0, reference=W([1, 2, 3]))
        assert slic.unique
        assert slic.utilities.tolist() == rso.utilities.tolist() == [0.0, -1.0, -2.0]
        policies.append(pb.ipo_optimum(annotator, pairs, tau=0.5, reference=even).policy)
        # Nothing is as good nearby: the hinge rises along every set of outcomes.
        for members in itertools.product((0.0, 1.0), repeat=3):
            if 0 < sum(members) < 3:
                moved = slic.utilities + 1e-3 * np.array(members)
                loss = pb.expected_slic(annotator, moved, pairs, delta=1.0, lambda_=0.0, reference=even).value
                rise = loss - slic.loss
                assert rise > 1e-7
    assert min(pb.total_variation(*two) for two in itertools.combinations(policies, 2)) > 1e-3


# --- proofs/pairs_and_samples.md ---


def test_a_comparison_of_two_outcomes_is_worth_a_draw():
    for pairs, ratio in ((pb.JointProposal([[0, 1], [0, 0]]), 1), (pb.ProductProposal([1, 1]), 2)):
        assert pb.comparisons_per_sample(np.log([0.9, 0.1]), pairs) == pytest.approx(ratio, rel=1e-14)


@pytest.mark.parametrize(("size", "ratio"), [(16, 10.7306), (64, 13.9485)])
def test_the_papers_problem_takes_so_many_comparisons(size, ratio):
    """In 50 digits by inverting the grounded information, where float64 would lose all."""
    problem = pb.paper_problem(size)
    chi, pre = problem.implicit_preference_distribution.log_pmf, problem.reference.pmf
    assert pb.comparisons_per_sample(chi, pb.ProductProposal(pre)) == pytest.approx(ratio, abs=1e-4)
    if size > 16:
        return
    with mpmath.workdps(400):
        z = [mpmath.exp(mpmath.mpf(float(x))) for x in chi]
        p = [x / sum(z) for x in z]
        information = mpmath.zeros(size)
        for a, b in itertools.combinations(range(size), 2):
            k = 2 * mpmath.mpf(float(pre[a])) * mpmath.mpf(float(pre[b])) * p[a] * p[b] / (p[a] + p[b]) ** 2
            for i, j, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
                information[i, j] += sign * k
        inverse = information[: size - 1, : size - 1] ** -1
        pairs = samples = mpmath.mpf(0)
        for x in range(size):
            slope = mpmath.matrix([p[x] * ((x == y) - p[y]) for y in range(size - 1)])
            pairs += mpmath.sqrt((slope.T * inverse * slope)[0])
            samples += mpmath.sqrt(p[x] * (1 - p[x]))
        assert float((pairs / samples) ** 2) == pytest.approx(ratio, abs=1e-4)


def test_pairs_from_p_star_need_two_at_least(rng):
    for _ in range(20):
        p = W(rng.dirichlet(np.full(5, 0.5)) + 1e-9)
        assert pb.comparisons_per_sample(p.log_pmf, pb.ProductProposal(p)) > 2
    even = pb.uniform(range(5))
    assert pb.comparisons_per_sample(even.log_pmf, pb.ProductProposal(even)) == pytest.approx(2, rel=1e-13)


def test_a_ratio_needs_two_connected_outcomes():
    with pytest.raises(ValueError, match="at least two outcomes"):
        pb.comparisons_per_sample([0.0], pb.ProductProposal([1]))
    with pytest.raises(ValueError, match="must connect all outcomes"):
        pb.comparisons_per_sample([0.0, 0.0], pb.JointProposal(np.eye(2)))


# --- proofs/pooled_annotators.md ---


def test_the_pool_has_the_mean_of_the_winners_and_its_influence_is_a_derivative(rng):
    members = [luce(rng.dirichlet(np.ones(4))) for _ in range(3)]
    shares, pairs = rng.dirichlet(np.ones(3)), pb.JointProposal(rng.random((4, 4)))

    def fitted(shares):
        value = pb.minimize_expected_loss("bradley_terry", pb.AnnotatorMixture(shares, members), pairs).value
        return value - value.mean()

    fit = fitted(shares)
    winners = [pb.winners_distribution(a, pairs).pmf for a in members]
    assert pb.winners_distribution(luce(np.exp(fit)), pairs).pmf == pytest.approx(shares @ winners, abs=1e-12)
    influence = pb.annotator_influence(pb.AnnotatorMixture(shares, members), fit, pairs)
    up, down = ((1 - t) * shares + t * np.eye(3)[0] for t in (1e-5, -1e-5))
    assert influence[0] == pytest.approx((fitted(up) - fitted(down)) / 2e-5, abs=1e-6)
    assert shares @ influence == pytest.approx(np.zeros(4), abs=1e-12)


def test_second_choice_of_all_beats_first_choice_of_some():
    members = [pb.Annotator(pb.FiniteDistribution(np.array(u, float)), pb.luce())
               for u in ([9, 0, 0, 6], [0, 9, 0, 6], [0, 0, 9, 6])]  # fmt: skip
    pool = pb.AnnotatorMixture([1, 1, 1], members)
    fit = pb.minimize_expected_loss("bradley_terry", pool, pb.ProductProposal(np.ones(4)))
    assert fit.value.argmax() == 3
    density = sum(a.distribution.pmf for a in members)
    assert density.argmax() != 3  # the density mixture's favourite is somebody's first choice


def test_figure_5_takes_a_quarter_from_the_minority():
    problem = pb.paper_problem(256)
    pool = pb.AnnotatorMixture(
        problem.annotator_weights, [pb.Annotator(p, pb.luce()) for p in problem.annotator_distributions]
    )
    fit = pb.minimize_expected_loss("bradley_terry", pool, pb.ProductProposal(problem.reference)).value
    pooled = pb.FiniteDistribution(fit, problem.grid).pmf
    left, step = problem.grid < -1.5, problem.grid[1] - problem.grid[0]
    assert pooled[left].sum() == pytest.approx(0.2535, abs=1e-4)
    assert np.interp(-2.5, problem.grid, pooled / step) == pytest.approx(0.0838, abs=1e-4)
    second = problem.annotator_distributions[1].pmf
    assert np.interp(1.5, problem.grid, second) / second.max() == pytest.approx(0.607, abs=1e-3)


# --- proofs/convexity.md, part 7 ---


def test_a_network_may_stand_still_where_the_loss_is_not_least():
    """r = a·b·χ: no slope at a = b = 0, more loss on one diagonal and less on the other."""
    chi = np.array([1.0, 0.0, -1.0])
    annotator, pairs = pb.Annotator(pb.FiniteDistribution(chi), pb.luce()), pb.ProductProposal([1, 1, 1])

    def loss(a, b):
        return pb.expected_kl(annotator, a * b * chi, pairs).value

    assert loss(0.1, 0.0) == loss(-0.1, 0.0) == loss(0.0, 0.1) == loss(0.0, 0.0) > 0.05
    assert loss(0.1, 0.1) < loss(0.0, 0.0) < loss(0.1, -0.1)
    assert loss(1.0, 1.0) < 1e-15
