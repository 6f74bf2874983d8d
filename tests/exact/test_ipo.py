"""IPO, Eq. (22) and (23): weighted least squares, its closed form, and where the two equations part.

Proof: proofs/ipo.md.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.exact import ipo as ipo_module
from pbde_ref.exact.identifiability import comparison_components
from pbde_ref.exact.ipo import (
    bounds_of,
    identity_preference_objective,
    ipo_closed_form,
    ipo_optimum,
    slices_of,
)
from tests import adversarial, paper_on_arrays
from tests.paper_on_arrays import identity_preference
from tests.strategies import annotator_mixtures, annotators, distributions, preference_matrices, proposals

INF = math.inf
EVEN = pb.uniform([0, 1, 2])
TWO = pb.PreferenceMatrix([[0.5, 0.9], [0.1, 0.5]])
CYCLE = pb.PreferenceMatrix([[0.5, 0.8, 0.2], [0.2, 0.5, 0.8], [0.8, 0.2, 0.5]])


@st.composite
def problems(draw, max_size=8):
    annotator = draw(
        annotators(max_size=max_size)
        | annotator_mixtures(max_size=max_size)
        | preference_matrices(max_size=max_size, certain=True)
    )
    n = annotator.size
    return (
        annotator,
        draw(proposals(n, connected=True)),
        draw(distributions(n)),
        draw(st.sampled_from([0.1, 0.5, 1.0, 8.0])),
    )


@given(problems())
def test_normal_equations_and_loss_by_loops(problem):
    """Σ_B [q_xB (s_x − s_B − m_xB) − q_Bx (s_B − s_x − m_Bx)] = 0 at every outcome, m = (2p − 1)/(2τ)."""
    annotator, proposal, reference, tau = problem
    found = ipo_optimum(annotator, proposal, tau=tau, reference=reference)
    n, p = annotator.size, annotator.preference_probabilities()
    q = proposal.matrix(n)
    s = found.policy.log_pmf - reference.log_pmf
    for x in range(n):
        terms = [
            q[x, b] * (s[x] - s[b] - (2 * p[x, b] - 1) / (2 * tau))
            - q[b, x] * (s[b] - s[x] - (2 * p[b, x] - 1) / (2 * tau))
            for b in range(n)
        ]
        assert abs(math.fsum(terms)) < 1e-13 * (1.0 + 1.0 / tau)
    assert found.converged
    assert found.n_components == 1
    assert found.loss == pytest.approx(paper_on_arrays.ipo(p, s, q, tau), rel=1e-12)
    assert found.gap < 1e-22 / tau**2
    assert found.residual < 1e-13 / tau


@given(problems(5), st.integers(0, 2**32 - 1))
def test_no_other_policy_is_better(problem, seed):
    annotator, proposal, reference, tau = problem
    found = ipo_optimum(annotator, proposal, tau=tau, reference=reference)
    p, q = annotator.preference_probabilities(), proposal.matrix(annotator.size)
    rng = np.random.default_rng(seed)
    for size in (1e-3, 1e-1, 3.0):
        other = found.log_ratio + size * rng.normal(size=annotator.size)
        assert paper_on_arrays.ipo(p, other, q, tau) >= found.loss * (1.0 - 1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_optimum_by_another_solver(seed):
    rng = np.random.default_rng(seed)
    n, tau = 5, 0.4
    p = np.triu(rng.random((n, n)), 1)
    annotator = pb.PreferenceMatrix(p + np.tril(1.0 - p.T, -1) + 0.5 * np.eye(n))
    q, reference = rng.random((n, n)), pb.FiniteDistribution(rng.normal(size=n))
    q /= q.sum()
    found = ipo_optimum(annotator, pb.JointProposal(q), tau=tau, reference=reference)
    matrix = annotator.preference_probabilities()
    found_loss = lambda s: paper_on_arrays.ipo(matrix, s, q, tau)  # noqa: E731
    other = minimize(found_loss, np.zeros(n), method="BFGS", options={"gtol": 1e-9}).x
    # BFGS with differences of a loss of order 1 finds the minimum to about the root of 1e-16.
    assert found.log_ratio == pytest.approx(other - other.mean(), abs=1e-6)


def test_two_outcomes_by_hand():
    """d = (2p − 1)/(2τ) = 1 for p = 0.9, τ = 0.4; loss ½·(1/(4τ²))·(1 − 0.8²) + diagonal ½·1/(4τ²)."""
    reference = pb.FiniteDistribution.from_weights([1, 4])
    found = ipo_optimum(TWO, pb.ProductProposal([1, 1]), tau=0.4, reference=reference)
    ratio = found.policy.pmf / reference.pmf
    assert math.log(ratio[0] / ratio[1]) == pytest.approx(1.0, rel=1e-14)
    assert found.log_ratio == pytest.approx([0.5, -0.5], rel=1e-14)
    assert found.loss == pytest.approx(0.5 * 1.5625 * (1.0 - 0.64) + 0.5 * 1.5625, rel=1e-14)


@given(problems(), st.integers(0, 2**32 - 1))
def test_only_the_symmetric_part_of_the_proposal_matters(problem, seed):
    annotator, proposal, reference, tau = problem
    n = annotator.size
    q = proposal.matrix(n)
    keep = np.random.default_rng(seed).random((n, n))
    keep = np.triu(keep, 1) + np.tril(1.0 - keep.T, -1) + 0.5 * np.eye(n)
    shuffled = pb.JointProposal((q + q.T) * keep)
    one, other = (ipo_optimum(annotator, x, tau=tau, reference=reference) for x in (proposal, shuffled))
    assert one.log_ratio == pytest.approx(other.log_ratio, abs=1e-12 / tau)
    assert one.loss == pytest.approx(other.loss, rel=1e-12)


@given(problems(), st.integers(0, 2**32 - 1))
def test_closed_form_for_independent_pairs(problem, seed):
    """For q = μ ⊗ μ, μ > 0: π ∝ π_pre exp(E_B[p(x ≻ B)]/τ) minimises Eq. (23) and maximises Eq. (22)."""
    annotator, _, reference, tau = problem
    n, rng = annotator.size, np.random.default_rng(seed)
    mu = pb.FiniteDistribution(rng.normal(0.0, 2.0, n))
    closed = ipo_closed_form(annotator, mu, tau=tau, reference=reference)
    solved = ipo_optimum(annotator, pb.ProductProposal(mu), tau=tau, reference=reference)
    assert closed.log_pmf == pytest.approx(solved.policy.log_pmf, abs=1e-11 / tau)
    p = annotator.preference_probabilities()
    weights = [reference.pmf[x] * math.exp(sum(mu.pmf[b] * p[x, b] for b in range(n)) / tau) for x in range(n)]
    assert closed.pmf == pytest.approx(np.array(weights) / sum(weights), rel=1e-11)
    # Gibbs: the maximum is τ log Σ weights, and falls by τ KL(π ‖ optimum) elsewhere.
    top = tau * math.log(sum(weights))
    assert identity_preference_objective(closed, annotator, mu, tau=tau, reference=reference) == pytest.approx(
        top, abs=1e-12 * (1 + tau)
    )
    other = pb.FiniteDistribution(closed.log_pmf + rng.normal(0.0, 1.0, n))
    value = identity_preference_objective(other, annotator, mu, tau=tau, reference=reference)
    assert value == pytest.approx(identity_preference(other.pmf, p, mu.pmf, tau, reference.pmf), abs=1e-12 * (1 + tau))
    assert value == pytest.approx(top - tau * pb.kl_divergence(other, closed), abs=1e-11 * (1 + tau))


def test_no_closed_form_for_two_different_laws():
    """Control: for q = a ⊗ b with a ≠ b neither law, nor their mean, gives the solution."""
    annotator = pb.Annotator(pb.FiniteDistribution([4.0, 0.0, -4.0]), pb.luce())
    a, b = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.2, 0.7])
    solved = ipo_optimum(annotator, pb.ProductProposal(a, b), tau=0.2, reference=EVEN).policy
    for mu in (a, b, (a + b) / 2):
        closed = ipo_closed_form(annotator, mu, tau=0.2, reference=EVEN)
        assert pb.total_variation(closed, solved) > 0.01


def test_outcomes_outside_the_behaviour_law():
    """μ(x) = 0: Eq. (22) fixes π(x); Eq. (23) has no term that contains x."""
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([1, 2, 4]), pb.luce())
    mu = [0.5, 0.5, 0.0]
    closed = ipo_closed_form(annotator, mu, tau=1.0, reference=EVEN)
    weights = np.exp([(1 / 2 + 1 / 3) / 2, (2 / 3 + 1 / 2) / 2, (4 / 5 + 4 / 6) / 2])
    assert closed.pmf == pytest.approx(weights / weights.sum(), rel=1e-14)
    with pytest.raises(ValueError, match=r"2 components with the indices \{0, 1\}, \{2\}"):
        ipo_optimum(annotator, pb.ProductProposal(mu), tau=1.0, reference=EVEN)
    # If the reference excludes x as well, both agree again.
    narrow = pb.FiniteDistribution.from_weights([1, 3, 0])
    solved = ipo_optimum(annotator, pb.ProductProposal(mu), tau=1.0, reference=narrow)
    assert solved.n_components == 2
    assert solved.policy.pmf == pytest.approx(ipo_closed_form(annotator, mu, tau=1.0, reference=narrow).pmf, rel=1e-14)
    assert solved.policy.pmf[2] == 0.0
    assert solved.log_ratio[2] == 0.0


def test_a_disconnected_proposal_is_refused():
    annotator = pb.Annotator(pb.uniform(range(12)), pb.luce())
    pairs = pb.PairListProposal([0, 2, 4, 5, 6, 7, 8, 9, 10], [1, 3, 5, 6, 7, 8, 9, 10, 11])
    message = (
        r"`proposal` must connect .*; got 3 components with the indices \{0, 1\}, \{2, 3\}, \{4, 5, 6, 7, 8, 9, …\}"
    )
    with pytest.raises(ValueError, match=message):
        ipo_optimum(annotator, pairs, tau=1.0, reference=pb.uniform(range(12)))
    # Control: one more pair for each gap.
    joined = pb.PairListProposal([0, 2, 4, 5, 6, 7, 8, 9, 10, 1, 3], [1, 3, 5, 6, 7, 8, 9, 10, 11, 2, 4])
    assert ipo_optimum(annotator, joined, tau=1.0, reference=pb.uniform(range(12))).converged
    with pytest.raises(ValueError, match="and 8 more"):
        ipo_optimum(annotator, pb.PairListProposal([0], [0]), tau=1.0, reference=pb.uniform(range(12)))


def test_outcomes_that_the_annotator_excludes():
    """p* = 0 loses every comparison; two such outcomes cannot be compared."""
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([1, 0, 0]), pb.luce())
    star = pb.PairListProposal([0, 0], [1, 2])
    found = ipo_optimum(annotator, star, tau=0.5, reference=EVEN)
    assert np.ptp(found.policy.log_pmf - [0.0, -1.0, -1.0]) < 1e-14
    with pytest.raises(ValueError, match="0/0"):
        ipo_optimum(annotator, pb.ProductProposal([1, 1, 1]), tau=0.5, reference=EVEN)
    with pytest.raises(ValueError, match="0/0"):
        ipo_closed_form(annotator, [1, 1, 1], tau=0.5, reference=EVEN)
    first = ipo_closed_form(annotator, [1, 0, 0], tau=0.5, reference=EVEN)
    assert first.log_pmf[0] - first.log_pmf[1] == pytest.approx(1.0, rel=1e-14)
    # Rows that the reference excludes are not asked for.
    narrow = pb.FiniteDistribution.from_weights([1, 0, 0])
    assert ipo_closed_form(annotator, [1, 1, 1], tau=0.5, reference=narrow).pmf.tolist() == [1.0, 0.0, 0.0]


def test_rare_outcomes_keep_their_digits():
    """μ from 1 to 1e-30: scaled by its degrees the Laplacian stays well conditioned."""
    n = 16
    annotator = pb.Annotator(pb.FiniteDistribution(np.random.default_rng(0).normal(0.0, 5.0, n)), pb.luce())
    mu = pb.FiniteDistribution(np.linspace(0.0, -69.0, n))
    reference = pb.uniform(range(n))
    solved = ipo_optimum(annotator, pb.ProductProposal(mu), tau=0.1, reference=reference)
    closed = ipo_closed_form(annotator, mu, tau=0.1, reference=reference)
    assert solved.policy.log_pmf == pytest.approx(closed.log_pmf, abs=1e-11)
    assert solved.smallest_eigenvalue > 0.1
    assert solved.converged


def test_limits_in_tau():
    """τ → ∞: the reference. τ → 0: the outcome that wins most often."""
    reference = pb.FiniteDistribution.from_weights([1, 1, 6])
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 2, 1]), pb.luce())
    assert pb.total_variation(ipo_closed_form(annotator, EVEN, tau=1e9, reference=reference), reference) < 1e-9
    assert ipo_closed_form(annotator, EVEN, tau=1e-3, reference=reference).pmf[0] > 1 - 1e-9
    # Control: preferences in a cycle have no such outcome, and no influence.
    cycle = ipo_closed_form(CYCLE, EVEN, tau=1e-3, reference=reference)
    assert cycle.pmf == pytest.approx(reference.pmf, rel=1e-12)


def test_the_papers_problem():
    """Fig. 10 without training noise."""
    problem = pb.paper_problem(128)
    annotator = pb.Annotator(problem.implicit_preference_distribution, pb.luce())
    for tau in (0.1, 0.5, 1.0):
        solved = ipo_optimum(annotator, pb.ProductProposal(problem.reference), tau=tau, reference=problem.reference)
        closed = ipo_closed_form(annotator, problem.reference, tau=tau, reference=problem.reference)
        assert solved.converged
        assert solved.policy.log_pmf == pytest.approx(closed.log_pmf, abs=1e-12)
        assert np.array_equal(closed.support, problem.grid)


def test_a_policy_outside_the_reference():
    narrow = pb.FiniteDistribution.from_weights([1, 0])
    value = identity_preference_objective(pb.uniform([0, 1]), TWO, [1, 1], tau=1.0, reference=narrow)
    assert value == -INF


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"tau": 0.0}, ValueError, "`tau` must be positive; got 0.0"),
        ({"tau": -1.0}, ValueError, "`tau` must be positive"),
        ({"tau": INF}, ValueError, "`tau` must be finite"),
        ({"reference": EVEN}, ValueError, "`reference` must have 2 outcomes"),
        ({"reference": [1, 1]}, TypeError, "`reference` must be a FiniteDistribution"),
    ],
)
def test_bad_settings(change, error, message):
    arguments = {"tau": 1.0, "reference": pb.uniform([0, 1])} | change
    for call in (
        lambda: ipo_optimum(TWO, pb.ProductProposal([1, 1]), **arguments),
        lambda: ipo_closed_form(TWO, [1, 1], **arguments),
        lambda: identity_preference_objective(pb.uniform([0, 1]), TWO, [1, 1], **arguments),
    ):
        with pytest.raises(error, match=message):
            call()


def test_bad_sizes():
    arguments = {"tau": 1.0, "reference": pb.uniform([0, 1])}
    with pytest.raises(ValueError, match="`proposal` must have 2 outcomes"):
        ipo_optimum(TWO, pb.ProductProposal([1, 1, 1]), **arguments)
    with pytest.raises(ValueError, match="`mu` must have 2 outcomes"):
        ipo_closed_form(TWO, [1, 1, 1], **arguments)
    with pytest.raises(ValueError, match="`mu` must be non-negative"):
        ipo_closed_form(TWO, [1, -1], **arguments)
    with pytest.raises(ValueError, match="`policy` must have 2 outcomes"):
        identity_preference_objective(EVEN, TWO, [1, 1], **arguments)
    letters = pb.uniform("ab")
    with pytest.raises(ValueError, match="`mu` must have the support of `annotator`"):
        ipo_closed_form(TWO, letters, **arguments)
    with pytest.raises(ValueError, match="`reference` must have the support of `annotator`"):
        ipo_optimum(TWO, pb.ProductProposal([1, 1]), tau=1.0, reference=letters)
    with pytest.raises(ValueError, match="`policy` must have the support of `annotator`"):
        identity_preference_objective(letters, TWO, [1, 1], **arguments)
    with pytest.raises(TypeError, match="`annotator` must be an annotator"):
        ipo_closed_form([[0.5]], [1, 1], **arguments)
    with pytest.raises(TypeError, match="`policy` must be a FiniteDistribution"):
        identity_preference_objective([0.5, 0.5], TWO, [1, 1], **arguments)


def test_result_is_read_only():
    found = ipo_optimum(TWO, pb.ProductProposal([1, 1]), tau=1.0, reference=pb.uniform([0, 1]))
    with pytest.raises(ValueError, match="read-only"):
        found.log_ratio[0] = 1.0


# --- parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "smallest", "components"),
    [
        (([0], [1]), 2.0, 6),  # an edge
        (([0, 0, 1], [1, 2, 2]), 1.5, 5),  # a triangle
        (([0, 1], [1, 2]), 1.0, 5),  # a path, the middle of which has degree 2
        (([0, 1, 2], [1, 2, 3]), 0.5, 4),
        (([0, 2], [1, 3]), 2.0, 5),  # two edges
        (([0, 1, 3], [1, 2, 4]), 1.0, 4),
    ],
)
def test_smallest_eigenvalue_by_hand(pairs, smallest, components):
    """Eigenvalues of I - D^-½ W D^-½ that are not zero, whatever the outcomes that nobody compares."""
    n = 7
    annotator = pb.Annotator(pb.FiniteDistribution(3.0 * np.linspace(0.0, 1.0, n) ** 3), pb.luce())
    reference = pb.FiniteDistribution.from_weights(np.eye(n)[0])
    found = ipo_optimum(annotator, pb.PairListProposal(*pairs), tau=0.5, reference=reference)
    assert found.smallest_eigenvalue == pytest.approx(smallest, rel=1e-13)
    # A lower bound: what rounding may have added is taken off.
    assert found.smallest_eigenvalue < smallest
    assert found.converged
    assert found.n_components == components
    assert found.log_ratio[6] == 0.0
    for component in ([0, 1, 2, 3], [0, 1], [0, 1, 2], [2, 3], [3, 4]):
        # A whole component: nothing leads out of it.
        if all((a in component) == (b in component) for a, b in zip(*pairs, strict=True)):
            assert found.log_ratio[component].sum() == pytest.approx(0.0, abs=1e-15)


def test_nothing_is_compared_and_nothing_weakly():
    alone = pb.FiniteDistribution.from_weights([1, 0, 0])
    found = ipo_optimum(pb.Annotator(EVEN, pb.luce()), pb.PairListProposal([0], [0]), tau=0.5, reference=alone)
    assert (found.gap, found.residual, found.smallest_eigenvalue, found.n_components) == (0.0, 0.0, INF, 3)
    assert found.converged
    assert found.log_ratio.tolist() == [0.0, 0.0, 0.0]
    # A single comparison in 10^17 joins two pairs: nothing is lost.
    annotator = pb.Annotator(pb.FiniteDistribution([0.0, 1.0, 2.0, 3.0]), pb.luce())
    rare = pb.PairListProposal([0, 1, 2], [1, 2, 3], [1.0, 1e-17, 1.0])
    found = ipo_optimum(annotator, rare, tau=0.5, reference=pb.uniform(range(4)))
    # In the scaled coordinates two halves of mass 2 are joined by 1e-17: λ = 1e-17 (1/2 + 1/2).
    assert found.smallest_eigenvalue == pytest.approx(1e-17, rel=1e-12)
    np.testing.assert_allclose(np.diff(found.log_ratio), math.tanh(0.5), rtol=1e-14)  # 2σ(1) − 1
    assert found.converged


@pytest.mark.parametrize("seed", range(20))
def test_weights_over_thirty_decades(seed):
    """On a tree each log-ratio is a sum of (2p − 1)/(2τ) along a path, however rarely its pairs are drawn."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    edges = adversarial.graph("tree", n, rng)
    a, b = np.transpose(edges)
    annotator, even = pb.Annotator(pb.FiniteDistribution(rng.normal(size=n)), pb.luce()), pb.uniform(range(n))
    proposal = pb.PairListProposal(a, b, adversarial.weights(edges, 30.0, rng))
    found = ipo_optimum(annotator, proposal, tau=0.5, reference=even)
    asked = 2.0 * annotator.preference_probabilities()[a, b] - 1.0
    np.testing.assert_allclose(found.log_ratio[a] - found.log_ratio[b], asked, atol=1e-14)


def bounds_at(s, weights, relative=0.0):
    """At τ = ½, for an undecided annotator: outcome 0 meets the others so often. The true log-ratios are zero."""
    wins = np.zeros((len(s), len(s)))
    wins[0, 1:] = wins[1:, 0] = 0.5 * np.array(weights)
    return bounds_of(wins, np.array(s), 0.5, np.zeros(len(s), dtype=int), relative)


def test_a_rough_solution_is_told_how_far_off_it_is():
    error = np.array([3e-9, -4e-9, 0.0])
    gap, utility_error, widths = bounds_at(error, [0.25, 0.75])
    least = 0.25 * 7e-9**2 + 0.75 * 3e-9**2
    assert least < gap < 1.001 * least
    assert 7e-9 <= utility_error < 7.01e-9
    # Up to one constant.
    assert (error - widths).max() <= (error + widths).min()
    assert widths.max() < 7.01e-9
    # Far off in an outcome that is hardly compared: the loss does not see it, the policy does.
    gap, utility_error, widths = bounds_at([0.0, 0.0, 1e-3], [1.0, 1e-20])
    assert 1e-26 < gap < 1.1e-26
    assert 1e-3 <= widths.max() <= utility_error < 1.001e-3


def test_wins_that_are_right_to_a_share_move_no_difference_by_more():
    """Two outcomes: the log-ratio is 2p − 1, of terms that add up to 1."""
    assert bounds_at([0.0, 0.0], [1.0])[0] < 1e-30
    gap, utility_error, _ = bounds_at([0.0, 0.0], [1.0], relative=1e-9)
    assert (gap, utility_error) == (pytest.approx(1e-18, rel=1e-6), pytest.approx(1e-9, rel=1e-6))


def test_nothing_is_proved_where_weights_have_underflowed():
    assert bounds_at([0.0, 0.0, 0.0], [1.0, 0.0])[:2] == (INF, INF)


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(
    ("share", "width", "converged"), [(0.99, 0.0, True), (1.01, 0.0, False), (0.0, 4e-9, True), (0.0, 3e-8, False)]
)
def test_converged_means_gap_and_policy(monkeypatch, tau, share, width, converged):
    """1e-20 of an undecided annotator's loss, 1 / 4τ², and a policy within 1e-8."""
    gap = share * 1e-20 / (4.0 * tau**2)
    monkeypatch.setattr(ipo_module, "bounds_of", lambda *_: (gap, width, np.array([0.0, width, 0.0])))
    found = ipo_optimum(pb.Annotator(EVEN, pb.luce()), pb.ProductProposal(EVEN), tau=tau, reference=EVEN)
    assert (found.gap, found.utility_error) == (pytest.approx(gap, rel=1e-3, abs=0.0), width)
    assert found.converged is converged


DECADES = {"sizes": (2, 20), "decades": (30,), "spreads": (1, 36, 100, 340)}


@pytest.mark.parametrize("seed", range(20))
def test_rare_pairs_are_certified_beside_frequent_ones(seed):
    """Rounding where an outcome is compared often hides nothing of what it is compared with once in 10^30 times."""
    name, annotator, proposal = adversarial.problem(np.random.default_rng([14, seed]), **DECADES)
    if comparison_components(proposal, annotator.size).max() == 0:
        found = ipo_optimum(annotator, proposal, tau=0.5, reference=pb.uniform(range(annotator.size)))
        assert found.converged, (name, found.reason)


@pytest.mark.parametrize("size", [1, 5, 256, 257, 300, 65536, 70000])
def test_rows_come_in_groups(size):
    """About 2^16 pairs at a time, at least one row, none twice and none left out."""
    slices = list(slices_of(size))
    assert [part.start for part in slices] == [0, *(part.stop for part in slices[:-1])]
    assert slices[-1].stop >= size > slices[-1].start
    heights = {part.stop - part.start for part in slices}
    assert heights == {max(1, 65536 // size)}


def test_closed_form_of_many_outcomes():
    """More than one group of rows: 300 outcomes, by matrix products."""
    n, tau = 300, 0.3
    rng = np.random.default_rng(8)
    p = np.triu(rng.random((n, n)), 1)
    p = p + np.tril(1.0 - p.T, -1) + 0.5 * np.eye(n)
    mu, reference = rng.random(n), pb.FiniteDistribution(rng.normal(size=n))
    rates = p @ (mu / mu.sum())
    closed = ipo_closed_form(pb.PreferenceMatrix(p), mu, tau=tau, reference=reference)
    assert np.ptp(closed.log_pmf - reference.log_pmf - rates / tau) < 1e-12


def test_a_policy_is_asked_for_what_it_has():
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([1, 0, 0]), pb.luce())
    first, arguments = pb.FiniteDistribution.from_weights([1, 0, 0]), {"tau": 1.0, "reference": EVEN}
    # Against itself ½, against either of the others 1.
    value = identity_preference_objective(first, annotator, [1, 1, 1], **arguments)
    assert value == pytest.approx(2.5 / 3.0 - math.log(3.0), rel=1e-14)
    with pytest.raises(ValueError, match="0/0"):
        identity_preference_objective(EVEN, annotator, [1, 1, 1], **arguments)


@pytest.mark.parametrize(
    ("size", "listed"),
    [
        (4, r"4 components with the indices \{0\}, \{1\}, \{2\}, \{3\}$"),
        (5, r"5 components with the indices \{0\}, \{1\}, \{2\}, \{3\} and 1 more$"),
    ],
)
def test_at_most_four_components_are_listed(size, listed):
    annotator = pb.Annotator(pb.uniform(range(size)), pb.luce())
    with pytest.raises(ValueError, match=listed):
        ipo_optimum(annotator, pb.PairListProposal([0], [0]), tau=1.0, reference=pb.uniform(range(size)))


@pytest.mark.parametrize(("size", "listed"), [(6, "0, 1, 2, 3, 4, 5"), (7, "0, 1, 2, 3, 4, 5, …")])
def test_at_most_six_members_are_listed(size, listed):
    annotator = pb.Annotator(pb.uniform(range(size + 1)), pb.luce())
    chain = pb.PairListProposal(range(size - 1), range(1, size))
    with pytest.raises(ValueError, match=rf"2 components with the indices \{{{listed}\}}, \{{{size}\}}$"):
        ipo_optimum(annotator, chain, tau=1.0, reference=pb.uniform(range(size + 1)))


def test_what_the_reference_lacks_need_not_be_connected():
    annotator = pb.Annotator(EVEN, pb.luce())
    held = pb.FiniteDistribution.from_weights([0.7, 0.3, 0.0])
    assert ipo_optimum(annotator, pb.PairListProposal([0], [1]), tau=1.0, reference=held).n_components == 2
    with pytest.raises(ValueError, match="2 components"):
        ipo_optimum(annotator, pb.PairListProposal([0], [2]), tau=1.0, reference=held)
