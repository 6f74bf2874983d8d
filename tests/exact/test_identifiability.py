"""What comparisons determine and how well: components, Ford's condition, Fisher information.

Proof: proofs/asymptotic_error.md.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pbde_ref as pb
from pbde_ref import paper
from pbde_ref import proposals as proposals_module
from pbde_ref.exact.identifiability import preference_components
from tests import paper_on_arrays
from tests.strategies import annotators, preference_matrices, problems, proposals, utilities, zero_outcomes

NAN, INF = math.nan, math.inf
W = pb.FiniteDistribution.from_weights


def components_by_search(q):
    """Components of the graph with an edge A–B, A ≠ B, where q(A, B) + q(B, A) > 0, in the order of first outcomes."""
    size, labels = len(q), {}
    for start in range(size):
        if start not in labels:
            waiting, label = [start], len(set(labels.values()))
            while waiting:
                x = waiting.pop()
                labels[x] = label
                waiting += [y for y in range(size) if y not in labels and q[x][y] + q[y][x] > 0]
    return [labels[x] for x in range(size)]


def partition(labels):
    return {frozenset(np.flatnonzero(np.asarray(labels) == label)) for label in set(labels)}


def finite_fit_by_subsets(preference, q):
    """Ford's condition as he states it: in every component, whichever way it is split in two, somebody of each part is
    preferred to somebody of the other with positive probability in a comparison that is drawn.
    """
    for component in partition(components_by_search(q)):
        members = sorted(component)
        for size in range(1, len(members)):
            for part in itertools.combinations(members, size):
                rest = [x for x in members if x not in part]
                if not any(preference[a][b] > 0 and q[a][b] + q[b][a] > 0 for a in part for b in rest):
                    return False
    return True


def sandwich_by_loop(preference, omega, q):
    """Σ q_AB [p_AB σ(−d)² + p_BA σ(d)²] (e_A − e_B)(e_A − e_B)ᵀ: the covariance of one comparison's gradient."""
    weights = {}
    for a, b in itertools.product(range(len(q)), repeat=2):
        s = paper.sigma(omega[a] - omega[b])
        weights[a, b] = q[a][b] * (preference[a][b] * (1 - s) ** 2 + preference[b][a] * s**2)
    return paper_on_arrays.scatter(weights, len(q))


# --- Components ---


@given(data=st.data(), size=st.integers(1, 30))
def test_components_are_those_of_the_comparison_graph(data, size):
    """Breadth-first search over the matrix q + qᵀ finds the same components; they are numbered 0, 1, … without gap."""
    proposal = data.draw(proposals(size))
    found = pb.comparison_components(proposal, size)
    assert partition(found) == partition(components_by_search(proposal.matrix(size)))
    assert set(found) == set(range(max(found) + 1))


@pytest.mark.parametrize(
    ("proposal", "expected"),
    [
        (pb.JointProposal([[0, 1, 0], [0, 0, 0], [0, 0, 1]]), {frozenset({0, 1}), frozenset({2})}),
        (pb.JointProposal([[0, 0, 0], [1, 0, 0], [0, 0, 0]]), {frozenset({0, 1}), frozenset({2})}),
        (pb.JointProposal(np.eye(3)), {frozenset({0}), frozenset({1}), frozenset({2})}),
        (pb.ProductProposal([1, 1, 0]), {frozenset({0, 1}), frozenset({2})}),
        (pb.ProductProposal([1, 0, 0], [0, 1, 1]), {frozenset({0, 1, 2})}),
        (pb.ProductProposal([1, 0, 0]), {frozenset({0}), frozenset({1}), frozenset({2})}),
        (pb.ProductProposal([1, 1e-200, 1e-200]), {frozenset({0, 1, 2})}),
        (pb.ProductProposal([1e-200, 0, 1], [1, 1e-200, 1e-200]), {frozenset({0, 1, 2})}),
        (pb.ProductProposal([1, 0, 0], [1, 0, 1e-320]), {frozenset({0, 2}), frozenset({1})}),
        (pb.PairListProposal([2], [0], [1e-300]), {frozenset({0, 2}), frozenset({1})}),
        (pb.PairListProposal([0, 2], [1, 1], [1, 0]), {frozenset({0, 1}), frozenset({2})}),
    ],
)
def test_components_by_hand(proposal, expected):
    """One direction is enough, the diagonal is no edge, an outcome without edges is a component, a pair of weight zero
    is no comparison, a tiny weight is one.
    """
    assert partition(pb.comparison_components(proposal, 3)) == expected


# --- Unique policies ---


@given(problem=problems(max_size=12, zeros=True))
def test_policy_is_unique_exactly_under_the_condition(problem):
    """Unique if and only if the graph restricted to {p* > 0} is connected and every other outcome is compared with one
    of {p* > 0}; the others are listed as unreachable.
    """
    annotator, _, proposal = problem
    q, excluded = proposal.matrix(annotator.size), set(zero_outcomes(annotator.distribution))
    possible = [x for x in range(annotator.size) if x not in excluded]
    one_component = len(partition(components_by_search(q[np.ix_(possible, possible)]))) == 1
    lost = [z for z in sorted(excluded) if not any(q[z][x] + q[x][z] > 0 for x in possible)]
    found = pb.identifiability(annotator, proposal)
    assert list(found.unreachable) == lost
    assert found.policy_is_unique == (one_component and not lost)
    assert partition(found.components) == partition(components_by_search(q))
    assert found.n_components == len(partition(components_by_search(q)))


def test_impossible_outcome_that_is_never_compared_is_unreachable():
    """p* = (3/10, 7/10, 0) with q on the first pair only: nothing shows that the third is never preferred."""
    found = pb.identifiability(pb.Annotator(W([0.3, 0.7, 0]), pb.luce()), pb.PairListProposal([0], [1]))
    assert list(found.unreachable) == [2]
    assert not found.policy_is_unique


STAR = pb.PairListProposal([0, 1], [2, 2])
ZERO = pb.Annotator(W([0.3, 0.7, 0]), pb.luce())


@pytest.mark.parametrize(
    "annotator",
    [ZERO, pb.AnnotatorMixture([1, 1], [ZERO, ZERO]), pb.PreferenceMatrix([[0.5, 0.5, 1], [0.5, 0.5, 1], [0, 0, 0.5]])],
    ids=["process", "mixture", "matrix"],
)
def test_two_that_always_beat_a_third_and_never_meet(annotator):
    """Whoever says so: (3/10, 7/10, 0) and (9/10, 1/10, 0) have zero loss on the star, one more pair decides."""
    assert not pb.identifiability(annotator, STAR).policy_is_unique
    assert not pb.limit_fit(annotator, STAR).unique
    for weights in ([0.3, 0.7, 0], [0.9, 0.1, 0]):
        assert pb.expected_kl(annotator, W(weights).log_pmf, STAR).value == 0.0
    decided = pb.PairListProposal([0, 1, 0], [2, 2, 1])
    assert pb.identifiability(annotator, decided).policy_is_unique
    assert pb.limit_fit(annotator, decided).unique


def test_a_mixture_knows_what_one_of_its_members_knows():
    """One member excludes outcome 2, the other outcome 0: on the star 2 wins sometimes, and all is determined. With a
    member of weight zero in its place it does not.
    """
    other = pb.Annotator(W([0, 0.5, 0.5]), pb.luce())
    assert pb.identifiability(pb.AnnotatorMixture([1, 1], [ZERO, other]), STAR).policy_is_unique
    assert not pb.identifiability(pb.AnnotatorMixture([1, 0], [ZERO, other]), STAR).policy_is_unique


def test_probabilities_that_underflow_are_not_zero():
    """Two outcomes 1,000 nats above a third are determined by it; if it never wins they are not."""
    for low, unique in ((0.0, True), (-INF, False)):
        annotator = pb.Annotator(pb.FiniteDistribution([1000.0, 1001.0, low]), pb.luce())
        assert pb.identifiability(annotator, STAR).policy_is_unique is unique
        assert pb.limit_fit(annotator, STAR).unique is unique
        assert pb.finite_fit_exists(annotator, STAR) is unique


def random_annotator(rng, size, depth=2):
    """One of the three kinds, with probabilities of zero, certain preferences and members that never answer."""
    kind = rng.integers(3 if depth else 2)
    if kind == 0:
        logits = rng.choice([1.0, 30.0, 2000.0]) * rng.normal(size=size)
        logits[rng.random(size) < 0.3] = -INF
        logits[rng.integers(size)] = 0.0
        return pb.Annotator(pb.FiniteDistribution(logits), pb.PBDE(rng.uniform(0.5, 2.0, size)))
    if kind == 2:
        weights = rng.choice([0.0, 1e-8, 1.0], 3)
        weights[rng.integers(3)] = 1.0
        return pb.AnnotatorMixture(weights, [random_annotator(rng, size, depth - 1) for _ in range(3)])
    upper = np.triu(rng.choice([0.0, 1.0, 0.5, 1e-12, 0.3], (size, size)), 1)
    return pb.PreferenceMatrix(upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(size))


def possible_winners(annotator, a, b):
    """Whether `a` is ever preferred to `b`, without underflow; KeyError where that is undefined."""
    if isinstance(annotator, pb.Annotator):
        if max(annotator.utility[a], annotator.utility[b]) == -INF:
            raise KeyError
        return annotator.utility[a] > -INF
    if isinstance(annotator, pb.AnnotatorMixture):
        members = zip(annotator.weights, annotator.annotators, strict=True)
        return any([possible_winners(member, a, b) for weight, member in members if weight > 0])
    return annotator.matrix[a, b] > 0


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 6), density=st.sampled_from([0.1, 0.3, 0.6]))
def test_limits_and_identifiability_agree(seed, size, density):
    """For every kind of annotator the policy is unique exactly if some outcome leads to all others by arrows from
    possible winners to losers; `limit_fit` says the same, or refuses comparisons that do not connect all outcomes.
    """
    rng = np.random.default_rng(seed)
    annotator = random_annotator(rng, size)
    weights = np.where(rng.random((size, size)) < density, rng.random((size, size)), 0.0)
    leads = np.eye(size, dtype=bool)
    for a, b in itertools.permutations(range(size), 2):
        if weights[a, b] + weights[b, a] > 0:
            try:
                leads[a, b] = possible_winners(annotator, a, b)
            except KeyError:
                weights[a, b] = weights[b, a] = 0.0  # such a pair must not be drawn
    weights[0, 0] += 0.1
    proposal = pb.JointProposal(weights)
    for middle in range(size):
        leads |= np.logical_and.outer(leads[:, middle], leads[middle])
    found = pb.identifiability(annotator, proposal)
    assert found.policy_is_unique == bool(leads.all(axis=1).any())
    if found.n_components > 1:
        assert not found.policy_is_unique
        with pytest.raises(ValueError, match="must connect all outcomes"):
            pb.limit_fit(annotator, proposal)
    else:
        assert pb.limit_fit(annotator, proposal).unique == found.policy_is_unique


# --- Ford's condition ---


@given(data=st.data(), size=st.integers(1, 5), certain=st.booleans())
def test_finite_fit_is_fords_condition(data, size, certain):
    """Strong connectivity of the arrows of positive probability is the same as: no part of a component always loses to
    the rest. All subsets are tried.
    """
    annotator = data.draw(preference_matrices(size, certain=certain))
    proposal = data.draw(proposals(size))
    # As in the annotator, the smaller entry of a pair is exact: 1 − 1e-17 is 1, but its complement is 1e-17.
    preference = annotator.preference_probabilities()
    assert pb.finite_fit_exists(annotator, proposal) == finite_fit_by_subsets(preference, proposal.matrix(size))


@pytest.mark.parametrize(
    ("preference", "proposal", "expected"),
    [
        ([[0.5, 1.0], [0.0, 0.5]], pb.ProductProposal([1, 1]), False),
        ([[0.5, 1.0], [0.0, 0.5]], pb.JointProposal(np.eye(2)), True),  # the pair is never drawn
        ([[0.5, 1e-300], [1.0, 0.5]], pb.ProductProposal([1, 1]), True),
        ([[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]], pb.ProductProposal([1, 1, 1]), True),  # a cycle of certainties
        ([[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]], pb.PairListProposal([0, 1], [1, 2]), False),
    ],
)
def test_finite_fit_by_hand(preference, proposal, expected):
    """Certain answers are harmless where they go round in a circle, or are never asked for."""
    assert pb.finite_fit_exists(pb.PreferenceMatrix(preference), proposal) is expected


def test_finite_fit_of_a_process_needs_positive_probabilities():
    """A single process has a finite fit exactly where no impossible outcome is compared with a possible one."""
    annotator = pb.Annotator(W([1, 2, 0]), pb.luce())
    assert not pb.finite_fit_exists(annotator, pb.ProductProposal([1, 1, 1]))
    assert pb.finite_fit_exists(annotator, pb.PairListProposal([0], [1]))


# --- Fisher information ---


@pytest.mark.parametrize("seed", range(4))
def test_fisher_information_is_the_variance_of_the_score(seed):
    """E[score scoreᵀ] of one comparison under the truth, by enumeration of pairs and answers."""
    rng = np.random.default_rng(seed)
    chi, q = rng.normal(size=4), rng.random((4, 4))
    q /= q.sum()
    preference = paper_on_arrays.tabulated(paper_on_arrays.model(chi), 4)
    variance = sandwich_by_loop(preference, chi, q)
    # Sums of 32 terms of size 1/16.
    np.testing.assert_allclose(pb.fisher_information(chi, pb.JointProposal(q)), variance, rtol=1e-13, atol=1e-16)


def test_fisher_information_by_hand():
    """d = log 3: σσ(−) = 3/16; q(0, 1) = 1/4, q(1, 0) = 1/2: weight 9/64. The diagonal tells nothing."""
    found = pb.fisher_information([math.log(3.0), 0.0], pb.JointProposal([[0.25, 0.25], [0.5, 0.0]]))
    np.testing.assert_allclose(found, 9 / 64 * np.array([[1, -1], [-1, 1]]), rtol=1e-15)


def test_information_of_far_outcomes_is_tiny_but_not_lost():
    """d = 400: σσ(−) = e^−400 to rounding."""
    found = pb.fisher_information([400.0, 0.0], pb.JointProposal([[0, 1], [0, 0]]))
    assert abs(found[0, 0] / math.exp(-400.0) - 1.0) < 1e-14
    assert found[0, 1] == -found[0, 0]


# --- Covariance ---


@given(data=st.data(), size=st.integers(1, 10), n=st.integers(1, 10**9))
def test_asymptotic_covariance_is_the_pseudo_inverse(data, size, n):
    """Cov = I⁺/N as numpy.linalg.pinv gives it, for connected and disconnected graphs."""
    omega, proposal = data.draw(utilities(size, 2.0)), data.draw(proposals(size))
    information = paper_on_arrays.hessian(omega, proposal.matrix(size))
    # One tenth of the smallest weight (1e-2 of a pair's weight, σσ(−) ≥ 0.018) bounds what counts as zero.
    expected = np.linalg.pinv(information, rcond=1e-11, hermitian=True) / n
    found = pb.asymptotic_covariance(omega, proposal, n_comparisons=n)
    scale = np.max(np.abs(expected)) if size > 1 else 1.0
    # Conditioning up to 1e6 multiplies the rounding of both inverses.
    np.testing.assert_allclose(found, expected, atol=1e-8 * scale)


def test_asymptotic_covariance_by_hand():
    """One pair with σσ(−) = 3/16: I = 3/16 [[1, −1], [−1, 1]], I⁺ = 4/3 [[1, −1], [−1, 1]]; outcome 2 is alone."""
    found = pb.asymptotic_covariance([math.log(3.0), 0.0, 5.0], pb.PairListProposal([0], [1]), n_comparisons=100)
    np.testing.assert_allclose(found, np.array([[4, -4, 0], [-4, 4, 0], [0, 0, 0]]) / 300, rtol=1e-13, atol=1e-18)


def test_a_rare_pair_makes_no_variance_negative():
    """1–2 is asked once in 10^18: variances 4.26 and 4.26e18 by hand, and a matrix that is not indefinite."""
    chi, q = [0.0, 0.5, 1.0], pb.PairListProposal([0, 1], [1, 2], [1, 1e-18])
    near = 1 / (paper.sigma(0.5) * paper.sigma(-0.5))
    found = pb.difference_variances(chi, q, [(0, 1), (1, 2), (0, 2), (2, 0), (1, 1)], n_comparisons=1)
    np.testing.assert_allclose(found, [near, near * 1e18, near * 1e18, near * 1e18, 0.0], rtol=1e-15)
    covariance = pb.asymptotic_covariance(chi, q, 1)
    # Relative to the rest of the chain: 2/3 and 1/3 of the long one.
    np.testing.assert_allclose(covariance.diagonal(), near * 1e18 * np.array([1, 1, 4]) / 9, rtol=1e-12)
    assert np.linalg.eigvalsh(covariance / 1e18)[0] > -1e-15
    np.testing.assert_allclose(pb.difference_variances(chi, q, [(0, 1)], 50), near / 50, rtol=1e-15)


@pytest.mark.parametrize("far", [-40.0, -60.0, -300.0, -690.0])
def test_excess_loss_counts_parameters_however_far_apart(far):
    """Utilities (0, 1, far), all pairs: 2N · excess = 2."""
    chi = [0.0, 1.0, far]
    annotator = pb.Annotator(pb.FiniteDistribution(chi), pb.luce())
    for q in (pb.ProductProposal([1, 1, 1]), pb.PairListProposal([0, 1], [1, 2], [1e-25, 1])):
        assert 2 * pb.expected_excess_loss(annotator, annotator.utility, q, 1) == pytest.approx(2.0, rel=1e-12)


def test_what_overflows_is_refused():
    """Outcomes 800 nats apart have no information that a float can hold; nor have variances of e^710 a value."""
    pair = pb.PairListProposal([0], [1])
    for call in (pb.asymptotic_covariance, lambda *args: pb.difference_variances(args[0], args[1], [(0, 1)], args[2])):
        with pytest.raises(ValueError, match=r"`utilities`.*800"):
            call([0.0, -800.0], pair, 1)
    with pytest.raises(ValueError, match=r"`utilities`.*713"):
        pb.asymptotic_covariance([0.0, -713.0], pair, 1)

def test_a_drawn_pair_counts_where_its_own_information_underflows():
    """Path 0–1–2 carries the information; the pair 0, 2 is 1,100 nats apart, and half the loss all the same."""
    undecided = pb.PreferenceMatrix(np.full((3, 3), 0.5))
    found = pb.expected_excess_loss(undecided, [0.0, 550.0, 1100.0], pb.PairListProposal([0, 1, 0], [1, 2, 2]), 1)
    # Σ V R / 2 with V = 1/6 three times, R = 3 e^550 for each step and 6 e^550 from end to end
    assert found == pytest.approx(math.exp(550.0), rel=1e-12)


def test_variances_near_the_largest_number():
    """Resistances overflow, variances do not; or they do, and are refused."""
    chi, path, n = [0.0, 709.0, 0.0], pb.PairListProposal([0, 1], [1, 2]), 10**6
    exact = math.exp(709.0 + math.log(2.0) - math.log(n))
    found = pb.difference_variances(chi, path, [(0, 1), (0, 2)], n)
    np.testing.assert_allclose(found, [exact, 2 * exact], rtol=1e-12)
    covariance = pb.asymptotic_covariance(chi, path, n)
    np.testing.assert_allclose(covariance, np.array([[5, -1, -4], [-1, 2, -1], [-4, -1, 5]]) * (exact / 9), rtol=1e-12)
    with pytest.raises(ValueError, match=r"`pairs`.*variance.*below 1.8e308; got inf at index 1"):
        pb.difference_variances(chi, path, [(0, 1), (0, 2)], 1)


def test_centred_estimates_have_the_covariance_and_the_excess_loss():
    """Simulation, N = 4,000 comparisons, 400 repetitions: the maximum-likelihood utilities have covariance I⁺/N, and
    their loss exceeds the least one by (n − c)/(2N) on average.
    """
    rng, n_comparisons, repetitions = np.random.default_rng(2024), 4000, 400
    chi = np.array([0.6, 0.0, -0.2, -0.4])
    edges = [(0, 1), (1, 2), (2, 3), (3, 0)]
    truth = pb.Annotator(pb.FiniteDistribution(chi), pb.luce())
    proposal = pb.PairListProposal([a for a, _ in edges], [b for _, b in edges])
    q = proposal.matrix(4)
    wins = [paper.sigma(chi[a] - chi[b]) for a, b in edges]
    preference = truth.preference_probabilities()
    least = paper_on_arrays.cross_entropy(preference, chi, q)
    estimates, excess = [], []
    for _ in range(repetitions):
        asked = rng.multinomial(n_comparisons, [0.25] * 4)
        shares = rng.binomial(asked, wins) / asked
        observed = np.full((4, 4), 0.5)
        for (a, b), share in zip(edges, shares, strict=True):
            observed[a, b], observed[b, a] = share, 1.0 - share
        sample = pb.PairListProposal([a for a, _ in edges], [b for _, b in edges], asked)
        fit = pb.minimize_expected_loss("bradley_terry", pb.PreferenceMatrix(observed), sample).value
        estimates.append(fit)
        excess.append(paper_on_arrays.cross_entropy(preference, fit, q) - least)
    expected = pb.asymptotic_covariance(chi, proposal, n_comparisons=n_comparisons)
    # A sample covariance of R normal vectors has standard deviation at most √2·max Cov/√R = 7 % of max Cov; four of
    # them. The asymptotic formula's own error is of order 1/(N q σσ(−)) ≈ 0.4 %.
    np.testing.assert_allclose(np.cov(np.transpose(estimates)), expected, atol=0.28 * np.max(expected))
    # 2N · excess is χ² with 3 degrees of freedom: standard deviation √6; four standard errors of its mean.
    assert 2 * n_comparisons * np.mean(excess) == pytest.approx(3.0, abs=4 * math.sqrt(6.0 / repetitions))
    assert pb.expected_excess_loss(truth, chi, proposal, n_comparisons) == pytest.approx(3 / 8000, rel=1e-12)


# --- Excess loss ---


@given(data=st.data(), size=st.integers(1, 10), n=st.integers(1, 10**6))
def test_excess_loss_counts_parameters_when_well_specified(data, size, n):
    """A single process: (n − c)/(2N), whatever p*, f, g and the proposal's weights are."""
    annotator = data.draw(annotators(size))
    chi = annotator.utility / max(1.0, float(np.ptp(annotator.utility)) / 6.0)  # within 6 nats
    process, proposal = pb.Annotator(pb.FiniteDistribution(chi), pb.luce()), data.draw(proposals(size))
    components = len(partition(components_by_search(proposal.matrix(size))))
    found = pb.expected_excess_loss(process, process.utility, proposal, n_comparisons=n)
    # tr(H⁺H) of a Laplacian whose eigenvalues span up to seven decades.
    assert found == pytest.approx((size - components) / (2 * n), rel=1e-7, abs=1e-18)


@pytest.mark.parametrize("seed", range(6))
def test_excess_loss_is_the_sandwich_when_misspecified(seed):
    """tr(H⁺V)/(2N) with H and V by double loops and numpy's pseudo-inverse, at the population's fit."""
    rng = np.random.default_rng(seed)
    n = 5
    upper = np.triu(rng.uniform(0.05, 0.95, (n, n)), 1)
    preference = upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(n)
    q = rng.random((n, n))
    q /= q.sum()
    annotator, proposal = pb.PreferenceMatrix(preference), pb.JointProposal(q)
    omega = pb.minimize_expected_loss("bradley_terry", annotator, proposal).value
    h, v = paper_on_arrays.hessian(omega, q), sandwich_by_loop(preference, omega, q)
    expected = np.trace(np.linalg.pinv(h, hermitian=True) @ v) / (2 * 500)
    found = pb.expected_excess_loss(annotator, omega, proposal, n_comparisons=500)
    assert found == pytest.approx(expected, rel=1e-11)  # condition number below 1e3
    # Control: misspecified, it is not the number of parameters.
    assert abs(found - (n - 1) / 1000) > 1e-3 * found


def test_excess_loss_by_hand():
    """One pair, P = 3/4, at ω = 0 instead of the fit: V = ¼ = H, so 1/(2N); at d = log 3, the fit, too: [3/4 · 1/16 +
    1/4 · 9/16]/(3/16) = 1. At d = −log 3: [3/4 · 9/16 + 1/4 · 1/16]/(3/16) = 7/3.
    """
    annotator, pair = pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]]), pb.JointProposal([[0, 1], [0, 0]])
    for d, ratio in ((0.0, 1.0), (math.log(3.0), 1.0), (-math.log(3.0), 7 / 3)):
        found = pb.expected_excess_loss(annotator, [d, 0.0], pair, n_comparisons=50)
        assert found == pytest.approx(ratio / 100, rel=1e-13)


# --- Bad input ---

COIN, PAIR = pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]]), pb.ProductProposal([1, 1])
NOWHERE = pb.Annotator(W([1, 0, 0]), pb.luce())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pb.comparison_components(PAIR, 3), ValueError, "`proposal`.*3 outcomes.*got 2"),
        (lambda: pb.comparison_components(PAIR, 0), ValueError, "`size`.*at least 1; got 0"),
        (lambda: pb.comparison_components(pb.PairListProposal([0, 5], [1, 1]), 3), ValueError, "`x_a`.*5 at index 1"),
        (lambda: pb.identifiability(NOWHERE, pb.ProductProposal([1, 1, 1])), ValueError, "0/0.*indices 1 and 2"),
        (lambda: pb.identifiability(COIN, pb.ProductProposal([1, 1, 1])), ValueError, "`proposal`.*2 outcomes.*got 3"),
        (lambda: pb.finite_fit_exists(COIN, pb.ProductProposal([1, 1, 1])), ValueError, "`proposal`.*2.*got 3"),
        (lambda: pb.fisher_information([NAN, 0.0], PAIR), ValueError, "`utilities`.*nan at index 0"),
        (lambda: pb.fisher_information([INF, INF], PAIR), ValueError, "utilities.*inf"),
        (lambda: pb.fisher_information([0.0, 1.0, 2.0], PAIR), ValueError, "`proposal`.*3 outcomes.*got 2"),
        (lambda: pb.asymptotic_covariance([0.0, INF], PAIR, 10), ValueError, "`utilities`.*inf at index 1"),
        (lambda: pb.asymptotic_covariance([0.0, 0.0], PAIR, 0), ValueError, "`n_comparisons`.*at least 1; got 0"),
        (lambda: pb.asymptotic_covariance([0.0, 0.0], PAIR, 1.5), (TypeError, ValueError), "`n_comparisons`.*1.5"),
        (lambda: pb.difference_variances([0.0, INF], PAIR, [(0, 1)], 10), ValueError, "`utilities`.*inf at index 1"),
        (lambda: pb.difference_variances([0.0, 0.0], PAIR, [(0, 1)], 0), ValueError, "`n_comparisons`.*at least 1"),
        (lambda: pb.difference_variances([0.0, 0.0], PAIR, [0, 1], 1), ValueError, r"`pairs`.*\(m, 2\); got \(2,\)"),
        (lambda: pb.difference_variances([0.0, 0.0], PAIR, [(0, 2)], 1), ValueError, "`pairs`.*2; got 2 at index 1"),
        (lambda: pb.difference_variances([0.0, 0.0], PAIR, [(0, -1)], 1), ValueError, "`pairs`.*-1"),
        (lambda: pb.difference_variances([0.0, 0.0], PAIR, [(0, 0.5)], 1), (TypeError, ValueError), "`pairs`"),
        (
            lambda: pb.difference_variances([0.0] * 3, pb.PairListProposal([0], [1]), [(0, 1), (2, 1)], 1),
            ValueError,
            "`pairs`.*joined.*2 and 1 at index 1",
        ),
        (lambda: pb.expected_excess_loss(COIN, [0.0, 0.0], PAIR, 0), ValueError, "`n_comparisons`.*at least 1; got 0"),
        (lambda: pb.expected_excess_loss(COIN, [NAN, 0.0], PAIR, 9), ValueError, "`utilities`.*nan at index 0"),
        (lambda: pb.expected_excess_loss(COIN, [0.0] * 3, PAIR, 9), ValueError, "[23] outcomes.*got [23]"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    """A wrong argument raises before any arithmetic and names the argument, the rule and what came."""
    with pytest.raises(error, match=message):
        call()


def test_a_cycle_of_certain_preferences_that_spans_blocks_is_one_group(monkeypatch):
    """Arrows between components are kept until the block comes that closes the cycle."""
    annotator = pb.PreferenceMatrix([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])
    proposal = pb.PairListProposal([0, 1, 2], [1, 2, 0])
    assert preference_components(annotator, proposal).tolist() == [0, 0, 0]
    monkeypatch.setattr(proposals_module, "BLOCK_PAIRS", 1)
    assert preference_components(annotator, proposal).tolist() == [0, 0, 0]
