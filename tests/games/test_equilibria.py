"""Maximal lotteries and Nash policies: by hand, by other optimisers, by 50 digits. Proofs: `proofs/maximal_lottery.md`
and `proofs/nash_policy.md`.
"""

from fractions import Fraction
from itertools import combinations

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.games import maximal_lottery, nash_policy
from pbde_ref.games.equilibria import margins, nash_gap
from tests.games.cases import CYCLE, HALF, drawn, luce, votes
from tests.seeds import drawn_seed


def in_fractions(preferences):
    """The exact lottery of up to six outcomes: a support whose equations have a positive solution that nobody beats."""
    table = [[Fraction(float(p)) for p in row] for row in preferences.preference_probabilities()]
    # What is above a half is the complement of an exact number.
    n = len(table)
    payoff = [[min(table[i][j], HALF) - min(table[j][i], HALF) for j in range(n)] for i in range(n)]
    for size in range(1, n + 1, 2):
        for support in combinations(range(n), size):
            solved = null_vector([[payoff[i][j] for j in support] for i in support])
            if solved is None or min(solved) <= 0:
                continue
            policy = [Fraction(0)] * n
            for i, p in zip(support, solved, strict=True):
                policy[i] = p / sum(solved)
            if all(sum(a * p for a, p in zip(row, policy, strict=True)) <= 0 for row in payoff):
                return policy
    return None


def null_vector(square):
    """The null direction of a matrix of fractions, by elimination, if there is exactly one, with positive sum."""
    rows, pivots = [row[:] for row in square], []
    for column in range(len(square)):
        pivot = next((i for i in range(len(pivots), len(rows)) if rows[i][column] != 0), None)
        if pivot is None:
            continue
        top = len(pivots)
        rows[top], rows[pivot] = rows[pivot], rows[top]
        rows[top] = [x / rows[top][column] for x in rows[top]]
        rows = [row if i == top else [x - row[column] * y for x, y in zip(row, rows[top], strict=True)]
                for i, row in enumerate(rows)]  # fmt: skip
        pivots.append(column)
    free = [column for column in range(len(square)) if column not in pivots]
    if len(free) != 1:
        return None
    result = [Fraction(0)] * len(square)
    result[free[0]] = Fraction(1)
    for row, column in zip(rows, pivots, strict=False):
        result[column] = -row[free[0]]
    return result


@pytest.mark.parametrize("seed", range(20))
def test_a_lottery_is_the_one_found_in_fractions(seed):
    rng = np.random.default_rng(seed)
    preferences = drawn(rng, int(rng.integers(2, 7)))
    exact, found = in_fractions(preferences), maximal_lottery(preferences)
    assert found.converged
    assert found.unique
    assert np.abs(np.array(exact, dtype=float) - found.policy.pmf).max() < 1e-12


def test_a_cycle_of_three_mixes_by_the_margins_across():
    """Margins 1/4, 1/2, 1/2 around the cycle: each outcome by the margin of the other two, (2, 2, 1) / 5."""
    preferences = pb.PreferenceMatrix([[0.5, 0.75, 0.0], [0.25, 0.5, 1.0], [1.0, 0.0, 0.5]])
    assert maximal_lottery(preferences).policy.pmf == pytest.approx([0.4, 0.4, 0.2], abs=1e-14)


@pytest.mark.parametrize("seed", range(10))
def test_the_gap_is_never_below_the_exact_one(seed):
    """In fractions, of the policy as it is stored; ties, certain answers and degenerate programmes too."""
    rng = np.random.default_rng(seed)
    for preferences in (drawn(rng, 12), votes(rng, 12), luce(rng, 12)):
        found = maximal_lottery(preferences)
        p = preferences.preference_probabilities()
        policy = [Fraction(float(x)) for x in found.policy.pmf]
        won = max(
            sum(
                q * (Fraction(float(p[i, j])) - HALF if p[i, j] <= HALF else HALF - Fraction(float(p[j, i])))
                for j, q in enumerate(policy)
            )
            / sum(policy)
            for i in range(12)
        )
        assert 2 * won <= found.gap <= 1e-12
        assert found.converged


def test_uniqueness_is_not_claimed_where_there_are_more():
    assert maximal_lottery(pb.PreferenceMatrix(np.full((4, 4), 0.5))).unique is None
    # Two copies of one outcome of the cycle share its mass in any way.
    cloned = CYCLE.matrix[np.ix_([0, 0, 1, 2], [0, 0, 1, 2])]
    assert maximal_lottery(pb.PreferenceMatrix(cloned)).unique is None


@pytest.mark.parametrize("seed", range(5))
def test_of_a_luce_annotator_the_lottery_is_the_mode_and_not_p_star(seed):
    annotator = luce(np.random.default_rng(seed), 9)
    found = maximal_lottery(annotator)
    assert np.flatnonzero(found.policy.pmf).tolist() == [int(np.argmax(annotator.utility))]
    assert pb.total_variation(found.policy, annotator.distribution) > 0.2


def in_fifty_digits(preferences, tau, reference, steps=60):
    """The same equations by damped fixed-point steps that are averaged, then Newton by finite Jacobians, in mpmath."""
    n = preferences.size
    payoff = mpmath.matrix(margins(preferences).tolist())
    weights = [mpmath.mpf(float(w)) for w in np.exp(reference.log_pmf)]
    u = mpmath.matrix(n, 1)
    for _ in range(steps):
        policy = [w * mpmath.exp(x / tau) for w, x in zip(weights, u, strict=True)]
        total = mpmath.fsum(policy)
        policy = mpmath.matrix([p / total for p in policy])
        off = u - payoff * policy
        slope = mpmath.matrix(n, n)
        for i in range(n):
            won = mpmath.fsum(payoff[i, k] * policy[k] for k in range(n))
            for j in range(n):
                slope[i, j] = (i == j) - policy[j] * (payoff[i, j] - won) / tau
        change = mpmath.lu_solve(slope, -off)
        most = max(abs(x) for x in change)
        u = u + change * min(mpmath.mpf(1), tau / most if most else 1)
        if most < mpmath.mpf(10) ** -45:
            return policy
    raise AssertionError("no convergence")


@pytest.mark.parametrize("tau", [0.05, 0.3, 2.0])
def test_a_nash_policy_is_the_one_of_fifty_digits(tau):
    rng = np.random.default_rng(drawn_seed())
    with mpmath.workdps(50):
        for preferences in (CYCLE, drawn(rng, 4), votes(rng, 5), luce(rng, 6)):
            reference = pb.FiniteDistribution(rng.normal(size=preferences.size))
            found = nash_policy(preferences, tau, reference)
            exact = np.array([float(p) for p in in_fifty_digits(preferences, mpmath.mpf(tau), reference)])
            assert found.converged
            off = 0.5 * float(np.abs(exact - found.policy.pmf).sum())
            # What float64 probabilities cannot say is half an ulp each.
            assert off <= found.policy_error + 1e-15
            assert off < 1e-11


def test_no_other_policy_gains_against_a_nash_policy():
    """A minimiser of the best answer's objective finds nothing, and the gap of a worse policy is what it gains."""
    rng = np.random.default_rng(drawn_seed())
    preferences, reference, tau = drawn(rng, 5), pb.FiniteDistribution(rng.normal(size=5)), 0.2
    table = preferences.preference_probabilities()

    def gain(policy):
        def negative(logits):
            p = np.exp(logits - logits.max())
            p /= p.sum()
            return -(p @ (table - 0.5) @ policy - tau * (p @ np.log(p / reference.pmf)))

        paid = tau * (policy @ np.log(policy / reference.pmf))
        return paid - minimize(negative, np.log(reference.pmf), method="BFGS", options={"gtol": 1e-10}).fun

    assert abs(gain(nash_policy(preferences, tau, reference).policy.pmf)) < 1e-9
    worse = pb.FiniteDistribution(rng.normal(size=5))
    gap = nash_gap(margins(preferences), worse.log_pmf, reference.log_pmf, tau)
    assert gap == pytest.approx(2.0 * gain(worse.pmf), rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_gap_with_control_is_never_below_that_of_fifty_digits(seed):
    """Of policies near the equilibrium, far from it, and without mass where the best answer has some."""
    rng = np.random.default_rng(seed)
    preferences, reference, tau = drawn(rng, 6), pb.FiniteDistribution(5.0 * rng.normal(size=6)), 0.1
    payoff = margins(preferences)
    near = nash_policy(preferences, tau, reference).policy.log_pmf
    for log_policy in (near, near + 1e-9 * rng.normal(size=6), near + rng.normal(size=6), 300.0 * rng.normal(size=6)):
        policy = pb.FiniteDistribution(log_policy)
        with mpmath.workdps(50):
            p = [mpmath.mpf(float(x)) for x in policy.pmf]
            p = [x / mpmath.fsum(p) for x in p]
            won = [mpmath.fsum(mpmath.mpf(float(a)) * x for a, x in zip(row, p, strict=True)) for row in payoff]
            r = [mpmath.exp(mpmath.mpf(float(x))) for x in reference.log_pmf]
            total = mpmath.fsum(x * mpmath.exp(w / tau) for x, w in zip(r, won, strict=True))
            answer = [x * mpmath.exp(w / tau) / total for x, w in zip(r, won, strict=True)]
            divergence = mpmath.fsum(x * mpmath.log(x / y) for x, y in zip(p, answer, strict=True) if x > 0)
            exact = float(2 * mpmath.mpf(tau) * divergence)
        bound = nash_gap(payoff, policy.log_pmf, reference.log_pmf, tau)
        assert exact <= bound
        assert bound <= max(40.0 * exact, 1e-22)


def test_the_limits_are_the_reference_and_the_nearest_lottery():
    """Two copies of an outcome: of all lotteries, the limit shares its mass as the reference does."""
    cloned = pb.PreferenceMatrix(CYCLE.matrix[np.ix_([0, 0, 1, 2], [0, 0, 1, 2])])
    reference = pb.FiniteDistribution.from_weights([1, 3, 2, 2])
    assert pb.total_variation(nash_policy(cloned, 1e5, reference).policy, reference) < 1e-5
    limit = nash_policy(cloned, 1e-5, reference).policy
    assert limit.pmf == pytest.approx([1 / 12, 1 / 4, 1 / 3, 1 / 3], abs=1e-4)


def test_a_reference_of_all_but_nothing_has_no_part():
    """Log-probabilities to -1e308 neither warn nor widen the bound: the answer of the outcomes that have some."""
    annotator = pb.Annotator(pb.FiniteDistribution(np.arange(4.0)), pb.luce())
    found = nash_policy(annotator, 0.5, pb.FiniteDistribution([0.0, -1e300, -5.0, -1e308]))
    some = pb.Annotator(pb.FiniteDistribution([0.0, 2.0]), pb.luce())
    expected = nash_policy(some, 0.5, pb.FiniteDistribution([0.0, -5.0]))
    np.testing.assert_allclose(found.policy.pmf[[0, 2]], expected.policy.pmf, rtol=1e-12)
    assert found.converged


def test_what_the_reference_excludes_stays_excluded():
    reference = pb.FiniteDistribution.from_weights([1, 1, 0])
    found = nash_policy(CYCLE, 0.1, reference)
    assert found.policy.pmf[2] == 0.0
    assert found.policy.pmf[1] == pytest.approx(1.0 / (1.0 + np.exp(5.0)))  # margins of ±1/2: log-odds 1 / (2 tau)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: maximal_lottery(np.eye(2)), "`preferences` must be an annotator"),
        (lambda: maximal_lottery(CYCLE, tolerance=0.0), "`tolerance` must be positive"),
        (lambda: nash_policy(CYCLE, 0.0, pb.uniform(range(3))), "`tau` must be"),
        (lambda: nash_policy(CYCLE, 1.0, pb.uniform(range(4))), "`reference`"),
        (lambda: nash_policy(CYCLE, 1.0, pb.uniform(range(3)), max_steps=0), "`max_steps` must be at least 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_steps_that_run_out_are_said():
    rng = np.random.default_rng(1)
    found = nash_policy(drawn(rng, 30), 1e-3, pb.FiniteDistribution(rng.normal(size=30)), max_steps=2)
    assert not found.converged
    assert found.reason.startswith("its gap is")


@pytest.mark.slow
def test_a_thousand_outcomes():
    rng = np.random.default_rng(drawn_seed())
    for preferences in (drawn(rng, 1024), votes(rng, 1024), luce(rng, 1024)):
        assert maximal_lottery(preferences).converged
        reference = pb.FiniteDistribution(rng.normal(size=1024))
        assert all(nash_policy(preferences, tau, reference).converged for tau in (1.0, 0.1, 0.01))
