"""Designs of comparisons: by hand in fractions, by SciPy's optimiser, in 50 digits, by simulation, and what fails."""

import time
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.design.criteria import measure, question
from pbde_ref.exact.optima import normalized_log_policy
from tests.seeds import drawn_seed

CRITERIA = ("D", "A", "policy")


def luce(weights):
    return pb.Annotator(pb.FiniteDistribution.from_weights(weights), pb.luce())


def information_by_pairs(utilities, weights):
    """A Laplacian, summed pair by pair."""
    size = len(utilities)
    result = np.zeros((size, size))
    for a in range(size):
        for b in range(a):
            e = np.eye(size)[a] - np.eye(size)[b]
            p = 1.0 / (1.0 + np.exp(utilities[b] - utilities[a]))
            result += (weights[a, b] + weights[b, a]) * p * (1.0 - p) * np.outer(e, e)
    return result


def value_by_pseudo_inverse(criterion, utilities, weights):
    covariance = np.linalg.pinv(information_by_pairs(utilities, weights))
    if criterion == "D":
        return np.prod(np.linalg.eigvalsh(covariance)[1:]) ** (1.0 / (len(utilities) - 1))
    if criterion == "A":
        return np.trace(covariance)
    p = np.exp(utilities) / np.exp(utilities).sum()
    return 0.5 * np.trace((np.diag(p) - np.outer(p, p)) @ covariance)


def slopes_in_digits(criterion, weights, shares):
    """The criterion's value and every pair's slope at a proposal, for outcomes of these weights, in 50 digits."""
    size = len(weights)
    with mpmath.workdps(60):
        p = [mpmath.mpf(w) / sum(weights) for w in weights]
        def c(a, b):
            return p[a] * p[b] / (p[a] + p[b]) ** 2
        total = mpmath.fsum(map(mpmath.mpf, shares.values()))
        information = mpmath.matrix(size, size)
        for (a, b), share in shares.items():
            kappa = mpmath.mpf(share) / total * c(a, b)
            information[a, a] += kappa
            information[b, b] += kappa
            information[a, b] -= kappa
            information[b, a] -= kappa
        ones = mpmath.ones(size, size) / size
        covariance = (information + ones) ** -1 - ones
        if criterion == "A":
            k = mpmath.eye(size) - ones
        else:
            k = (mpmath.diag(p) - mpmath.matrix(p) * mpmath.matrix(p).T) / 2
        value = mpmath.det(covariance + ones) ** (mpmath.mpf(1) / (size - 1)) if criterion == "D" else mpmath.fsum(
            (k * covariance)[i, i] for i in range(size)
        )
        turned = covariance / (size - 1) if criterion == "D" else covariance * k * covariance / value
        slopes = {
            (a, b): c(a, b) * (turned[a, a] + turned[b, b] - 2 * turned[a, b]) for a in range(size) for b in range(a)
        }
        return value, slopes


def shares_of(design):
    proposal = design.proposal
    return dict(zip(zip(proposal.x_a.tolist(), proposal.x_b.tolist(), strict=True), proposal.weights, strict=True))


@pytest.mark.parametrize(
    ("criterion", "value"), [("D", Fraction(8, 3)), ("A", Fraction(8, 3)), ("policy", Fraction(1, 2))]
)
def test_two_outcomes_by_hand(criterion, value):
    """p = (3/4, 1/4): c = 3/16, the one eigenvalue of I is 2 c, and the divergence is ½ p₀ p₁ / c."""
    design = pb.optimal_design(luce([3, 1]), criterion)
    assert design.value == pytest.approx(float(value), rel=1e-13)
    assert design.converged
    assert design.gap < 1e-11
    assert design.comparisons_needed(float(value) / 7) == 7


@pytest.mark.parametrize(
    ("criterion", "value"), [("D", Fraction(4)), ("A", Fraction(8)), ("policy", Fraction(4, 3))]
)
def test_three_equal_outcomes_by_hand(criterion, value):
    """c = 1/4, all pairs alike: I = (3 Id − 1 1ᵀ) / 12 with eigenvalue 1/4 twice."""
    design = pb.optimal_design(luce([1, 1, 1]), criterion, tolerance=1e-10)
    assert design.value == pytest.approx(float(value), rel=1e-10)
    assert design.proposal.weights == pytest.approx(np.full(3, 1 / 3), rel=1e-4)  # flat at the minimum: root of 1e-10


def test_an_uninformative_pair_is_not_asked():
    """p ∝ (1, 9, 81): c = 9/100 for neighbours, 81/82² < c/2 for the ends, so D asks the neighbours, half each.

    On a path R₀₁ = R₁₂ = 2/c, and the ends' slope is 2 c₀₂ / c = 0.27. The determinant on the complement is
    3 (c/2)².
    """
    design = pb.optimal_design(luce([1, 9, 81]), "D")
    assert {frozenset(pair) for pair in shares_of(design)} == {frozenset((0, 1)), frozenset((1, 2))}
    assert design.proposal.weights == pytest.approx([0.5, 0.5], rel=1e-4)
    assert design.value**-2 == pytest.approx(float(3 * Fraction(9, 200) ** 2), rel=1e-8)
    ends = slopes_in_digits("D", [1, 9, 81], {(1, 0): 1, (2, 1): 1})[1][2, 0]
    assert float(ends) == pytest.approx(2 * (81 / 82**2) / 0.09, rel=1e-15)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_another_optimizer_finds_no_less(criterion):
    """SciPy's SLSQP, on values by NumPy's pseudo-inverse, from the uniform proposal."""
    rng = np.random.default_rng(drawn_seed())
    for size in (3, 4, 5):
        utilities = rng.normal(size=size)
        a, b = np.triu_indices(size, 1)

        def value(shares, utilities=utilities, a=a, b=b, size=size):
            weights = np.zeros((size, size))
            weights[a, b] = shares
            return np.log(value_by_pseudo_inverse(criterion, utilities, weights))

        other = minimize(
            value, np.full(a.size, 1.0 / a.size), bounds=[(1e-9, 1.0)] * a.size, method="SLSQP",
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0}, options={"ftol": 1e-13, "maxiter": 500},
        )  # fmt: skip
        design = pb.optimal_design(pb.Annotator(pb.FiniteDistribution(utilities), pb.luce()), criterion)
        assert design.converged
        assert np.log(design.value) <= other.fun + 1e-8  # the gap
        assert np.log(design.value) == pytest.approx(other.fun, abs=1e-5)  # SLSQP's differences


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_gap_holds_in_fifty_digits(criterion):
    """Value and slopes of the returned weights in 50 digits: the gap covers them, and is not far above."""
    rng = np.random.default_rng(drawn_seed())
    for scale in (1.0, 12.0):
        weights = [int(w) + 1 for w in 1e6 * np.exp(scale * rng.normal(size=6))]
        # The outcomes' weights are whole numbers, so that log-probabilities are all that is rounded.
        design = pb.optimal_design(luce(weights), criterion)
        value, slopes = slopes_in_digits(criterion, weights, shares_of(design))
        true_gap = 1 - 1 / max(slopes.values())
        assert design.converged
        assert design.value == pytest.approx(float(value), rel=1e-11)
        assert float(true_gap) <= design.gap <= float(true_gap) + 1e-10
        # Slopes average to one over the weights: the criterion is homogeneous.
        shares = shares_of(design)
        mean = sum(mpmath.mpf(share) * slopes[max(e), min(e)] for e, share in shares.items()) / sum(shares.values())
        assert float(mean) == pytest.approx(1.0, rel=1e-14)
        # Control: all pairs alike have a gap, which covers what they lose.
        alike, others = slopes_in_digits(criterion, weights, dict.fromkeys(slopes, 1))
        assert max(others.values()) > 1.001
        assert 1 - value / alike <= 1 - 1 / max(others.values())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_values_of_any_proposal(criterion):
    rng = np.random.default_rng(drawn_seed())
    utilities, q = rng.normal(size=6), rng.dirichlet(np.ones(36)).reshape(6, 6)
    annotator = pb.Annotator(pb.FiniteDistribution(utilities), pb.luce())
    found = pb.design_value(annotator, pb.JointProposal(q), criterion)
    assert found == pytest.approx(value_by_pseudo_inverse(criterion, utilities, q), rel=1e-10)
    if criterion == "policy":
        assert found == pytest.approx(pb.policy_error(utilities, pb.JointProposal(q), 1).nats, rel=1e-12)
    # No proposal is better than the best, and the best is as good as its value says.
    design = pb.optimal_design(annotator, criterion)
    assert design.value * (1.0 - design.gap) < found
    assert design.value == pytest.approx(pb.design_value(annotator, design.proposal, criterion), rel=1e-12)


def test_the_policy_of_any_process():
    """Against the Jacobian of log π by differences, for an f that is not constant."""
    rng = np.random.default_rng(drawn_seed())
    process = pb.PBDE(f=rng.uniform(0.3, 2.0, size=5), g=rng.normal(size=5))
    annotator, q = luce([1, 2, 3, 4, 5]), pb.ProductProposal([1, 1, 2, 1, 1])
    policy = pb.optimal_policy(annotator, process).pmf
    step = 1e-5
    jacobian = np.array([
        normalized_log_policy(annotator.utility + step * e, process)
        - normalized_log_policy(annotator.utility - step * e, process)
        for e in np.eye(5)
    ]).T / (2.0 * step)  # fmt: skip
    covariance = np.linalg.pinv(pb.fisher_information(annotator.utility, q))
    by_differences = 0.5 * np.trace(np.diag(policy) @ jacobian @ covariance @ jacobian.T)
    assert pb.design_value(annotator, q, "policy", process) == pytest.approx(by_differences, rel=1e-7)
    # What is best for one policy is not for another.
    own, other = pb.optimal_design(annotator, "policy", process), pb.optimal_design(annotator)
    assert own.value < pb.design_value(annotator, other.proposal, "policy", process) * (1.0 - 1e-4)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_papers_problem(criterion):
    """256 outcomes, 32,640 pairs: a gap of 1e-8 within 10 seconds of computing; what others lose."""
    problem = pb.paper_problem(256)
    annotator = pb.Annotator(problem.implicit_preference_distribution, pb.luce())
    start = time.process_time()
    design = pb.optimal_design(annotator, criterion)
    assert time.process_time() - start < 10.0
    assert design.gap <= 1e-8
    assert design.reason == ""
    assert len(design.proposal.weights) < 4000
    saved = {
        name: pb.design_value(annotator, proposal, criterion) / design.value
        for name, proposal in {"uniform": pb.ProductProposal(np.ones(256)),
                               "reference": pb.ProductProposal(problem.reference)}.items()
    }  # fmt: skip
    expected = {"D": (10.271, 13.227), "A": (22.357, 89.835), "policy": (12.905, 6.1108)}
    assert saved["uniform"] == pytest.approx(expected[criterion][0], rel=1e-3)
    assert saved["reference"] == pytest.approx(expected[criterion][1], rel=1e-3)


def test_the_promise_holds_by_simulation():
    """The divergence after as many comparisons as are said to be needed, fitted 2,000 times, within 5 %."""
    rng = np.random.default_rng(drawn_seed())
    annotator = luce([4, 3, 2, 1])
    p, design = annotator.distribution, pb.optimal_design(annotator)
    count = design.comparisons_needed(0.001)
    a, b = design.proposal.x_a, design.proposal.x_b
    divergences = []
    for _ in range(2000):
        asked = rng.multinomial(count, design.proposal.weights)
        won = rng.binomial(asked, p.pmf[a] / (p.pmf[a] + p.pmf[b]))
        counts = np.append(won, asked - won)
        fit = pb.fit_comparisons(np.append(a, b), np.append(b, a), weights=counts, support=range(4))
        divergences.append(pb.kl_divergence(p, pb.FiniteDistribution(fit.utilities, p.support)))
    assert np.mean(divergences) == pytest.approx(0.001, rel=0.05)  # 2.7 standard errors


def test_one_pair_after_the_other():
    """At the A-design no pair is worth more than another of its support, and greedy choices come near it."""
    annotator = luce([8, 4, 2, 1, 1])
    design = pb.optimal_design(annotator, "A", tolerance=1e-9)
    found = pb.next_comparison(annotator.utility, design.proposal, 1000)
    assert found.variance == pytest.approx(design.value / 1000, rel=1e-12)
    assert found.bound * 1000 == pytest.approx(found.variance, rel=1e-8)
    asked = np.ones((5, 5))
    for count in range(25, 1025):
        asked[pb.next_comparison(annotator.utility, pb.JointProposal(asked), count).pair] += 1.0
    efficiency = design.value / pb.design_value(annotator, pb.JointProposal(asked), "A")
    assert 0.98 < efficiency <= 1.0
    # Control: so far from it is where it started.
    assert design.value / pb.design_value(annotator, pb.ProductProposal(np.ones(5)), "A") < 0.8


@pytest.mark.parametrize("criterion", CRITERIA)
def test_what_is_not_connected_is_worth_nothing(criterion):
    """Weights that underflow must not look like variances of zero."""
    information = np.kron(np.eye(2), 1.0 - np.eye(2))
    with np.errstate(divide="ignore", invalid="ignore"):
        assert measure(information, question(luce([1, 2, 3, 4]), criterion, None)).value == np.inf
        assert measure(information + 1e-9, question(luce([1, 2, 3, 4]), criterion, None)).value < 1e9


def test_far_apart_and_too_early_an_end():
    """Utilities over hundreds of nats converge; no steps leave a gap, and say so."""
    rng = np.random.default_rng(drawn_seed())
    annotator = pb.Annotator(pb.FiniteDistribution(30.0 * rng.normal(size=40)), pb.luce())
    for criterion in CRITERIA:
        assert pb.optimal_design(annotator, criterion).converged
    early = pb.optimal_design(annotator, "A", max_steps=0)
    assert not early.converged
    assert early.reason.startswith("its gap is")
    assert early.value * (1.0 - early.gap) <= pb.optimal_design(annotator, "A").value < early.value


@pytest.mark.parametrize(
    ("call", "error", "complaint"),
    [
        (lambda: pb.optimal_design(luce([1])), ValueError, "`annotator` must have at least two outcomes"),
        (lambda: pb.optimal_design(luce([1, 0])), ValueError, "`annotator.utility` must be finite"),
        (lambda: pb.optimal_design(luce([1, 1]), "E"), ValueError, "`criterion` must be 'D', 'A' or 'policy'"),
        (lambda: pb.optimal_design(pb.AnnotatorMixture([1], [luce([1, 1])])), TypeError, "`annotator` must be"),
        (lambda: pb.optimal_design(luce([1, 1]), tolerance=0), ValueError, "`tolerance` must be positive"),
        (lambda: pb.optimal_design(luce([1, 1]), process="dpo"), TypeError, "`process` must be a PBDE"),
        (lambda: pb.optimal_design(pb.Annotator(pb.FiniteDistribution([0.0, -101.0]), pb.luce())), ValueError,
         "within 100 nats; got 101"),
        (lambda: pb.optimal_design(luce([1, 2]), process=pb.PBDE(1e-6)), ValueError,
         "best policy of annotator and process` must be at least 1e-300"),
        (lambda: pb.design_value(luce([1, 1]), pb.PairListProposal([0, 0], [0, 1], [1, 5e-309]), "A"), ValueError,
         "to a value between"),
        (lambda: pb.design_value(pb.Annotator(pb.FiniteDistribution([0.0, -800.0]), pb.luce()),
                                 pb.ProductProposal([1, 1]), "A"), ValueError, "`annotator.utility` must not lie"),
        (lambda: pb.design_value(luce([1, 1, 1]), pb.PairListProposal([0], [1])), ValueError, "must connect all"),
        (lambda: pb.optimal_design(luce([1, 1])).comparisons_needed(0), ValueError, "`value` must be positive"),
    ],
)  # fmt: skip
def test_refusals(call, error, complaint):
    with pytest.raises(error, match=complaint):
        call()
