"""Parameters that all prompts share: the certified optimum, what sharing changes, and answers that are displaced."""

import math
import re
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.exact.results import NoMinimumError
from pbde_ref.prompts import LogLinearRegression
from tests.refusals import pattern
from tests.seeds import drawn_seed

SMALL = pb.Prompts("aaa")
PAIRS = pb.PairListProposal([1, 2], [0, 0])


def luce(weights, prompts=SMALL):
    return pb.Annotator(pb.ConditionalDistribution(np.log(np.asarray(weights, dtype=float)), prompts), pb.luce())


def drawn(seed, width=3):
    """Ragged prompts, features, an annotator, a reference and a proposal over all pairs."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 6, rng.integers(3, 8))
    prompts = pb.Prompts(np.repeat(np.arange(sizes.size), sizes))
    features = rng.normal(size=(prompts.size, width))
    p, reference = (pb.ConditionalDistribution(rng.normal(0, 1.5, prompts.size), prompts) for _ in range(2))
    q = pb.prompt_pairs(reference, prompts=rng.uniform(0.2, 1.0, sizes.size))
    return rng, pb.LogLinearPolicies(features, prompts), pb.Annotator(p, pb.luce()), reference, q


def transcribed(policies, annotator, proposal, process):
    """The loss of a policy by its definition, log Z included."""
    chi, q = annotator.utility, proposal.matrix(annotator.size)
    f = np.broadcast_to(process.f, chi.shape)

    def loss(theta):
        score = policies.features @ theta
        log_pi = score.copy()
        for k in range(len(policies.prompts.names)):
            part = policies.prompts.number == k
            log_pi[part] -= np.log(np.exp(score[part]).sum())
        omega = f * log_pi + process.g
        total = 0.0
        for a, b in zip(*np.nonzero(q), strict=True):
            p, d = 1 / (1 + math.exp(chi[b] - chi[a])), omega[a] - omega[b]
            total += q[a, b] * (p * np.logaddexp(0, -d) + (1 - p) * np.logaddexp(0, d))
        return total

    return loss


@pytest.mark.parametrize("draw", range(6))
def test_the_optimum_is_a_quasi_newton_methods(draw):
    """Parameters, loss and policy, by BFGS on the transcribed loss with log Z."""
    _, policies, annotator, reference, q = drawn([drawn_seed(), draw])
    process = pb.dpo(0.5, reference)
    found, loss = pb.minimize_log_linear(policies, annotator, q, process), transcribed(policies, annotator, q, process)
    other = minimize(loss, np.zeros(3), method="BFGS", jac="3-point", options={"gtol": 1e-9})
    assert found.converged
    assert found.unique
    assert found.gap < 1e-20
    assert found.policy_error < 1e-9
    assert found.loss == pytest.approx(loss(found.parameters), rel=1e-13)
    assert found.loss <= other.fun + 1e-14
    np.testing.assert_allclose(found.parameters, other.x, atol=1e-6)
    # A step in any direction costs.
    for step in np.random.default_rng(draw).normal(0, 1e-3, (5, 3)):
        assert loss(found.parameters + step) > found.loss


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("draw", range(6))
def test_the_bounds_hold_wherever_it_stops(draw, steps):
    """Gap and error of the margins, against Newton's method in 40 digits; before convergence they are far from zero."""
    _, policies, annotator, reference, q = drawn([drawn_seed(), draw, steps], width=2)
    found = pb.minimize_log_linear(policies, annotator, q, pb.dpo(2.0, reference), max_steps=steps)
    problem = LogLinearRegression.of(policies, annotator, q, pb.dpo(2.0, reference))
    with mpmath.workdps(40):
        rows = [[mpmath.mpf(x) for x in row] for row in (problem.features[problem.a] - problem.features[problem.b])]
        won, lost, offset = ([mpmath.mpf(float(x)) for x in v] for v in (problem.won, problem.lost, problem.offset))

        def at(theta):
            loss, gradient, hessian = mpmath.mpf(problem.constant), mpmath.zeros(2, 1), mpmath.zeros(2)
            for row, w, v, o in zip(rows, won, lost, offset, strict=True):
                d = row[0] * theta[0] + row[1] * theta[1] + o
                s = 1 / (1 + mpmath.exp(-d))
                loss += w * mpmath.log1p(mpmath.exp(-d)) + v * mpmath.log1p(mpmath.exp(d))
                for i in range(2):
                    gradient[i] += ((w + v) * s - w) * row[i]
                    for j in range(2):
                        hessian[i, j] += (w + v) * s * (1 - s) * row[i] * row[j]
            return loss, gradient, hessian

        best = mpmath.matrix(pb.minimize_log_linear(policies, annotator, q, pb.dpo(2.0, reference)).parameters.tolist())
        for _ in range(4):
            _, gradient, hessian = at(best)
            best -= mpmath.lu_solve(hessian, gradient)
        theta = mpmath.matrix(found.parameters.tolist())
        gap = at(theta)[0] - at(best)[0]
        moved = max(abs(sum(row[i] * (theta[i] - best[i]) for i in range(2))) for row in rows)
        assert 0 <= gap <= found.gap
        assert moved <= found.utility_error
        if steps == 1:
            assert gap > 1e-12
        # Where something is proved it is no more than a few times what is true.
        assert not (math.isfinite(found.gap) and gap > 1e-18) or found.gap < 20 * gap


def test_a_margin_that_flew_off_comes_back():
    """Two pairs, two features: the optimum has the annotator's own log-odds, and Newton's first step ends at -69."""
    prompts, log_p = pb.Prompts("aabb"), np.array([-1.77706489, -4.69889808, -4.65654831, -0.20793275])
    log_reference = np.array([-1.27509427, -2.165611, -3.03392363, -0.58377436])
    features = np.column_stack([[0.46164482, -0.06165796, 1.03006063, -0.1692], log_reference])
    annotator = pb.Annotator(pb.ConditionalDistribution(log_p, prompts), pb.luce())
    process = pb.dpo(2.5755652433754395, pb.ConditionalDistribution(log_reference, prompts))
    policies = pb.LogLinearPolicies(features, prompts)
    found = pb.minimize_log_linear(policies, annotator, pb.prompt_pairs(prompts), process)
    assert found.converged
    margins = found.regression.margins(found.parameters)
    np.testing.assert_allclose(np.abs(margins), np.abs([log_p[0] - log_p[1], log_p[2] - log_p[3]]), rtol=1e-9)


@pytest.mark.parametrize("draw", range(8))
def test_two_stages_and_dpo_agree_where_the_reference_is_in_the_span(draw):
    """`proofs/log_linear.md`, part 3: log π_pre = θ₀·φ + a constant of each prompt; then β θ = β θ₀ + θ_R."""
    rng, policies, annotator, _, q = drawn([drawn_seed(), draw])
    prompts, theta_0 = policies.prompts, rng.normal(size=3)
    reference = pb.ConditionalDistribution(policies.features @ theta_0 + rng.normal(size=9)[prompts.number], prompts)
    beta = float(rng.uniform(0.2, 3.0))
    dpo = pb.minimize_log_linear(policies, annotator, q, pb.dpo(beta, reference))
    reward = pb.minimize_log_linear(policies, annotator, q, pb.luce())
    np.testing.assert_allclose(dpo.parameters, theta_0 + reward.parameters / beta, atol=1e-9)
    np.testing.assert_allclose(pb.tilt(reference, reward.utilities, beta).pmf, dpo.policy.pmf, atol=1e-9)
    # Control: outside the span they are different policies.
    other = pb.ConditionalDistribution(reference.log_pmf + rng.normal(size=prompts.size), prompts)
    dpo = pb.minimize_log_linear(policies, annotator, q, pb.dpo(beta, other))
    assert 0.5 * prompts.sums(np.abs(pb.tilt(other, reward.utilities, beta).pmf - dpo.policy.pmf)).max() > 1e-3


def test_the_smallest_reversal_in_fractions():
    """`proofs/log_linear.md`, part 4: φ = (0, 1, 1), p* ∝ (1, 2, 2), π_pre ∝ (4, 16, 1), β = 1. Two stages put the
    last answer below the first, 2 to 4; DPO puts it above, for its slope at e^θ = 1 is negative.
    """
    reward = Fraction(2)
    pi = [Fraction(4), Fraction(16) * reward, Fraction(1) * reward]
    assert pi[2] < pi[0]

    def slope(t):
        """Σ over both pairs of σ(margin) − 2/3, t = e^θ, the margins' odds being t π_pre(A) / π_pre(B)."""
        return sum(t * Fraction(4) / (t * Fraction(4) + r) - Fraction(2, 3) for r in (Fraction(16), Fraction(1)))

    assert slope(Fraction(1)) == Fraction(-1, 3)
    assert slope(Fraction(3)) > 0
    policies, annotator = pb.LogLinearPolicies([[0.0], [1.0], [1.0]], SMALL), luce([1, 2, 2])
    reference = pb.ConditionalDistribution(np.log([4.0, 16.0, 1.0]), SMALL)
    found = pb.minimize_log_linear(policies, annotator, PAIRS, pb.dpo(1.0, reference))
    first = pb.minimize_log_linear(policies, annotator, PAIRS, pb.luce())
    assert first.loss == pytest.approx(pb.expected_cross_entropy(annotator, annotator.utility, PAIRS).value)
    np.testing.assert_allclose(
        pb.tilt(reference, first.utilities, 1.0).pmf, [float(x / sum(pi)) for x in pi], rtol=1e-12
    )
    t = math.exp(found.parameters[0])
    assert 1 < t < 3
    assert abs(float(slope(Fraction(t)))) < 1e-14
    # Two answers cannot do it: there DPO says what the annotator says.
    two = pb.Prompts("aa")
    policies, reference = pb.LogLinearPolicies([[0.0], [1.0]], two), pb.ConditionalDistribution(np.log([4.0, 1.0]), two)
    found = pb.minimize_log_linear(policies, luce([1, 2], two), pb.PairListProposal([1], [0]), pb.dpo(1.0, reference))
    experts = pb.product_of_experts(reference, luce([1, 2], two).distribution, 1.0)
    np.testing.assert_allclose(found.policy.pmf, experts.pmf)


def test_what_pairs_do_not_see():
    """A feature that is constant at each prompt, and one that repeats another, leave directions open and the policy
    determined; one that differs only between answers that are never compared leaves the policy open.
    """
    prompts = pb.Prompts("aabbb")
    features = np.array([[1, 0, 0], [1, 2, 1], [3, 0, 0], [3, 1, 0.5], [3, 4, 2.0]])
    annotator, policies = luce([1, 2, 1, 2, 4], prompts), pb.LogLinearPolicies(features, prompts)
    found = pb.minimize_log_linear(policies, annotator, pb.prompt_pairs(prompts), pb.luce())
    assert found.converged
    assert found.unique
    assert found.undetermined.shape == (3, 2)
    np.testing.assert_allclose(np.abs(found.undetermined.T @ [0, 2, 1]), 0.0, atol=1e-12)
    np.testing.assert_allclose(found.undetermined.T @ found.parameters, 0.0, atol=1e-12)
    features[4, 2] = 7.0
    policies = pb.LogLinearPolicies(features, prompts)
    found = pb.minimize_log_linear(policies, annotator, pb.PairListProposal([0, 2], [1, 3]), pb.luce())
    assert not found.unique
    assert found.policy_error == 1.0
    assert found.converged
    flat = pb.LogLinearPolicies(np.ones((5, 1)), prompts)
    nothing = pb.minimize_log_linear(flat, annotator, pb.prompt_pairs(prompts), pb.luce())
    assert nothing.gap == 0.0
    assert nothing.unique
    assert nothing.parameters.tolist() == [0.0]


def test_errors_of_samples_are_those_of_the_formula():
    """Covariance of 400 estimates, 2,000 comparisons each, against H⁺VH⁺/N for a model that is wrong: standard errors
    within 15 % (their own error is 3.5 %) and away from H⁺/N where that is another.
    """
    rng, policies, annotator, reference, q = drawn([drawn_seed(), 7], width=2)
    process = pb.dpo(1.0, reference)
    truth = pb.minimize_log_linear(policies, annotator, q, process)
    found = []
    for _ in range(400):
        data = pb.sample_comparisons(annotator, q, 2000, rng=rng)
        y = data.y.astype(bool)
        listed = pb.PairListProposal(np.where(y, data.x_a, data.x_b), np.where(y, data.x_b, data.x_a))
        found.append(pb.minimize_log_linear(policies, None, listed, process).parameters)
    errors = np.std(found, axis=0)
    np.testing.assert_allclose(errors, np.sqrt(truth.covariance(2000).diagonal()), rtol=0.15)
    assert np.abs(np.mean(found, axis=0) - truth.parameters).max() < 0.3 * errors.max()
    well = pb.Annotator(truth.policy, process)
    right = pb.minimize_log_linear(policies, well, q, process)
    np.testing.assert_allclose(right.parameters, truth.parameters, atol=1e-9)
    np.testing.assert_allclose(right.covariance(10), right.covariance(10, robust=False), rtol=1e-9)


@pytest.mark.parametrize(("scale", "f"), [(1e-200, 1.0), (1.0, 1e-150), (1e200, 1.0), (1.0, 1e308), (5e307, 1e308)])
def test_features_that_leave_the_range_of_squares_are_refused(scale, f):
    """Squares of 1e-200 are zero: the pairs would seem to say nothing, and any parameters the best."""
    policies = pb.LogLinearPolicies(scale * np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 3.0]]), SMALL)
    with np.errstate(all="raise"), pytest.raises(ValueError, match="must be 0 or of size 1e-100 to 1e100, times f"):
        pb.minimize_log_linear(policies, luce([1, 2, 2]), PAIRS, pb.PBDE(f))
    # Control: within it the scale of features does not matter.
    one, other = (pb.minimize_log_linear(pb.LogLinearPolicies(s * np.array([[0.0], [1.0], [3.0]]), SMALL),
                                         luce([1, 2, 2]), PAIRS, pb.luce()) for s in (1.0, 2.0**-300))  # fmt: skip
    np.testing.assert_allclose(one.policy.pmf, other.policy.pmf, rtol=1e-12)
    assert other.converged


@pytest.mark.parametrize("draw", range(5))
def test_displacement_is_predicted_and_seen(draw):
    """One pair, chosen above rejected: the chosen answer's log-probability moves as (φ_w − E φ)·(φ_w − φ_l) says,
    by differences along the gradient flow, integrated.
    """
    rng = np.random.default_rng([drawn_seed(), draw])
    prompts = pb.Prompts("aaaa")
    policies = pb.LogLinearPolicies(rng.normal(size=(4, 2)) + np.array([[0, 0], [0, 0], [3, 0], [0, 3]]), prompts)
    reference, pair = policies.policy(rng.normal(size=2)), pb.PairListProposal([0], [1])
    problem = LogLinearRegression.of(policies, None, pair, pb.dpo(0.7, reference))
    flow = solve_ivp(lambda _, theta: -problem.at(theta).gradient, (0, 1), np.zeros(2), rtol=1e-11, atol=1e-12,
                     dense_output=True)  # fmt: skip
    for t in (0.1, 0.5, 0.9):
        theta = flow.sol(t)
        rate = policies.velocity(theta, -problem.at(theta).gradient)
        seen = (policies.policy(flow.sol(t + 1e-4)).log_pmf - policies.policy(flow.sol(t - 1e-4)).log_pmf) / 2e-4
        np.testing.assert_allclose(rate, seen, atol=1e-6)
        mean = policies.policy(theta).pmf @ policies.features
        sign = (policies.features[0] - mean) @ (policies.features[0] - policies.features[1])
        assert np.sign(rate[0]) == np.sign(sign)
        # The margin between the two grows whatever becomes of each.
        assert rate[0] > rate[1]


def test_a_chosen_answer_is_displaced_in_fractions():
    """φ = (1, 0, 3), uniform: 1 − 4/3 < 0, so the chosen first answer loses to the third, which nobody compared."""
    policies = pb.LogLinearPolicies([[1.0], [0.0], [3.0]], SMALL)
    problem = LogLinearRegression.of(policies, None, pb.PairListProposal([0], [1]), pb.luce())
    rate = policies.velocity([0.0], -problem.at(np.zeros(1)).gradient)
    exact = [Fraction(1, 2) * (x - Fraction(4, 3)) for x in (1, 0, 3)]
    np.testing.assert_allclose(rate, [float(x) for x in exact], rtol=1e-14)


def test_lengths_break_convexity():
    """Where f differs in a pair, log Z stays: with margin 2 log Z the loss is convex here, with 10 − 2 log Z it bends
    down; either way it is refused.
    """
    prompts = pb.Prompts("aaa")
    policies, annotator = pb.LogLinearPolicies([[0.0], [0.0], [1.0]], prompts), luce([1, 1, 1], prompts)
    process, q = pb.PBDE([1.0, 3.0, 1.0]), pb.PairListProposal([0], [1])
    loss = transcribed(policies, annotator, q, process)
    values = [loss(np.array([t])) for t in (-9.0, -6.0, -3.0)]
    bends = [loss(np.array([t - 1])) - 2 * loss(np.array([t])) + loss(np.array([t + 1])) for t in (-2.0, 0.0, 2.0)]
    assert values[0] < values[1] < values[2]
    assert min(bends) > 0
    process = pb.PBDE([3.0, 1.0, 1.0], [10.0, 0.0, 0.0])
    loss = transcribed(policies, annotator, q, process)
    bends = [loss(np.array([t - 1])) - 2 * loss(np.array([t])) + loss(np.array([t + 1])) for t in np.arange(-6.0, 9.0)]
    assert min(bends) < -1e-3
    with pytest.raises(ValueError, match=re.escape("`pbde.f` must be equal at both answers of a compared pair")):
        pb.minimize_log_linear(policies, annotator, q, process)


def test_a_rule_without_exceptions_has_no_optimum():
    policies = pb.LogLinearPolicies([[0.0, 1.0], [1.0, 0.0], [2.0, 0.5]], SMALL)
    with pytest.raises(NoMinimumError, match=r"exceptions to every linear rule; got .* most of all feature 0"):
        pb.minimize_log_linear(policies, None, pb.PairListProposal([1, 2], [0, 1]), pb.luce())
    # One answer to the contrary, and there is one.
    assert pb.minimize_log_linear(policies, None, pb.PairListProposal([1, 2, 0, 1], [0, 1, 1, 2]), pb.luce()).converged


BAD = {
    "shape": (lambda: pb.LogLinearPolicies([1.0, 2.0, 3.0], SMALL), "`features` must be a matrix with a column*"),
    "rows": (lambda: pb.LogLinearPolicies([[1.0]], SMALL), "`features` must have 3 outcomes*; got 1"),
    "infinite": (lambda: pb.LogLinearPolicies([[1.0], [np.inf], [0.0]], SMALL), "`features` must be finite; got inf*"),
    "parameters": (
        lambda: pb.LogLinearPolicies(np.eye(3), SMALL).policy([1.0]),
        "`parameters` must have one entry for each feature, 3; got 1",
    ),
    "reference": (
        lambda: pb.minimize_log_linear(
            pb.LogLinearPolicies(np.eye(3), SMALL), None, PAIRS,
            pb.dpo(1.0, pb.ConditionalDistribution([0, 0, -np.inf], SMALL)),
        ),
        "`pbde.g` must be finite; got inf at index 2",
    ),
    "across": (
        lambda: pb.minimize_log_linear(
            pb.LogLinearPolicies(np.eye(4), pb.Prompts("aabb")), None, pb.PairListProposal([0], [2]), pb.luce()
        ),
        "`proposal` must only draw answers to one prompt; got ('a', 0) and ('b', 2)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=pattern(message)):
        call()


@pytest.mark.parametrize(
    ("theta", "message"),
    [([np.inf], "`parameters` must be finite; got inf at index 0"),
     ([1e308], "`parameters` must leave scores in the range of float64; got some of size 1e\\+308")],
)  # fmt: skip
def test_parameters_without_a_policy_are_refused(theta, message):
    policies = pb.LogLinearPolicies([[0.0], [10.0], [1.0]], pb.Prompts("aaa"))
    with pytest.raises(ValueError, match=message):
        policies.policy(theta)
    with pytest.raises(ValueError, match=message.replace("parameters", "direction")):
        policies.velocity([0.0], theta)
