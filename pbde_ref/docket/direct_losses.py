"""Claims about losses of policies: what they do to chosen answers, and how DPO and RLHF are related."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from scipy.special import expit

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceMatrix, PreferenceModel
from pbde_ref.catalogue.losses import optimum
from pbde_ref.distributions import FiniteDistribution, tilt, total_variation, uniform
from pbde_ref.docket.record import FAILS, HOLDS_IF, DocketClaim, Finding, finding
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.pbde import luce
from pbde_ref.proposals import JointProposal, ProductProposal, Proposal
from pbde_ref.validation import FloatArray

__all__ = ["DIRECT_LOSSES"]

# Certified policies are right to 1e-7 or better; where a loss has a kink, to 1e-4.
SOLVER, KINKED = 1e-7, 1e-4
PAIR = JointProposal([[0, 1], [0, 0]])
"""Of two answers, each with the other."""


def _between_two(share: Fraction | float) -> PreferenceMatrix:
    """The first wins this share."""
    won = float(share)
    return PreferenceMatrix([[0.5, won], [1.0 - won, 0.5]])


def _drawn(rng: np.random.Generator, n: int) -> PreferenceMatrix:
    upper = np.triu(rng.uniform(0.05, 0.95, (n, n)), 1)
    return PreferenceMatrix(upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(n))


def _learnt(loss: str, annotator: PreferenceModel, proposal: Proposal, **more: object) -> FiniteDistribution:
    """The minimiser of a loss that has one."""
    found = optimum(loss, annotator, proposal, **more)
    assert found.policy is not None
    assert found.unique is not False
    return found.policy


def _chosen_gain(annotator: PreferenceModel, proposal: Proposal, policy: FloatArray, reference: FloatArray) -> float:
    """Expected log-ratio of the chosen answer of a pair."""
    n = len(policy)
    asked = proposal.matrix(n)
    won = (asked + asked.T) * annotator.preference_probabilities()
    return float((won.sum(axis=1) * np.log(policy / reference)).sum() / won.sum())


# --- the gradient of DPO ---


def _rises(features: FloatArray, theta: FloatArray, share: float = 1.0) -> tuple[float, float, float]:
    r"""What a small step of DPO on the pair (0, 1) adds to log-probabilities of both and to the margin, over the step.

    The policy is :math:`\pi \propto e^{\phi \theta}`, reference uniform, beta = 1; 0 is preferred by this share of the
    answers, and the gradient is one of differences.
    """

    def log_policy(at: FloatArray) -> FloatArray:
        scores = features @ at
        return np.asarray(scores - np.log(np.exp(scores - scores.max()).sum()) - scores.max())

    def loss(at: FloatArray) -> float:
        log_p = log_policy(at)
        margin = log_p[0] - log_p[1]
        return float(share * np.logaddexp(0.0, -margin) + (1.0 - share) * np.logaddexp(0.0, margin))

    step, axes = 1e-5, 1e-5 * np.eye(theta.size)
    gradient = np.array([(loss(theta + axis) - loss(theta - axis)) / 2e-5 for axis in axes])
    gain = (log_policy(theta - step * gradient) - log_policy(theta)) / step
    return float(gain[0]), float(gain[1]), float(gain[0] - gain[1])


FEATURES = (Fraction(1), Fraction(0), Fraction(5))
"""Of the chosen, of the rejected and of a third answer."""


def _gradient(rng: np.random.Generator) -> Finding:
    chosen, rejected, _ = FEATURES
    move = Fraction(1, 2) * (chosen - rejected)
    slope = move * (chosen - sum(FEATURES) / 3)
    measured = _rises(np.array(FEATURES, float)[:, None], np.zeros(1))[0]
    margins, single = 0.0, 0.0
    for _ in range(40):
        n, d = int(rng.integers(2, 6)), int(rng.integers(1, 4))
        margins = max(margins, -_rises(rng.normal(size=(n, d)), rng.normal(size=d))[2])
        up, down, _ = _rises(np.eye(n), rng.normal(size=n))
        single = max(single, -up, down)
    return finding(
        float(-slope), 1e-4, "slopes in fractions; steps along a gradient of differences",
        instead=max(margins, single, abs(measured - float(slope))),
        witness="uniform reference, pi proportional to exp(phi theta) at theta = 0, phi = 1, 0, 5 for a, b, c; a was "
        f"preferred to b, beta = 1: theta moves by {move} per unit step, log pi(a) by {move} * (1 - 2) = {slope}",
        numbers={"measured slope of log pi(a)": measured},
    )  # fmt: skip


def _one_of_four(rng: np.random.Generator) -> float:
    """The margin of a pair that one answer of four has that way round falls."""
    return -_rises(np.eye(2), np.zeros(2), share=0.25)[2]


# --- what stays of the chosen ---


def _nca(rng: np.random.Generator) -> Finding:
    reference, share, policy = Fraction(4, 7), Fraction(20, 27), Fraction(25, 28)
    # e^(beta log-ratio): slopes in the two log-ratios are proportional to the policy, and the problem is convex.
    up, down = Fraction(5, 4), Fraction(1, 2)
    pull = [w - x / (1 + x) * (w + Fraction(1, 2)) for w, x in ((share, up), (1 - share, down))]
    stationary = pull[0] * (1 - policy) == pull[1] * policy and pull[0] > 0 and reference * up**2 == policy
    falls = up**40 * down**14 < 1 and stationary
    gain = float(share) * 2.0 * math.log(up) + float(1 - share) * 2.0 * math.log(down)
    two = FiniteDistribution.from_weights([4, 3])
    found = _learnt("nca", _between_two(share), PAIR, beta=0.5, reference=two)
    lost = 0.0
    for _ in range(20):
        n = int(rng.integers(2, 6))
        annotator, own = _drawn(rng, n), FiniteDistribution(rng.normal(size=n))
        policy_of = _learnt("nca", annotator, ProductProposal(own), beta=1.0, reference=own)
        lost = max(lost, -_chosen_gain(annotator, ProductProposal(own), policy_of.pmf, own.pmf))
    return finding(
        -gain if falls else 0.0, SOLVER, "stationarity in fractions; certified minimisers",
        instead=max(lost, abs(found.pmf[0] - float(policy))),
        witness="two answers, reference (4/7, 3/7), a preferred to b with probability 20/27, beta = 1/2: the optimum "
        "is (25/28, 3/28), ratios 25/16 and 1/4, and (5/4)^40 < 2^14: the chosen answer's expected log-likelihood "
        f"falls by {-gain:.6f}",
    )  # fmt: skip


def _small_beta(rng: np.random.Generator) -> float:
    """At beta = 1/4 with pairs from an even reference the chosen lose."""
    annotator, even = _between_two(0.75), uniform(range(2))
    policy = _learnt("nca", annotator, PAIR, beta=0.25, reference=even)
    return -_chosen_gain(annotator, PAIR, policy.pmf, even.pmf)


def _dpop_policy(share: float, first: float, penalty: float, beta: float = 1.0) -> FloatArray:
    reference = FiniteDistribution.from_weights([first, 1.0 - first])
    return _learnt("dpop", _between_two(share), PAIR, beta=beta, penalty=penalty, reference=reference).pmf


def _dpop(rng: np.random.Generator) -> Finding:
    first, share, policy = Fraction(5, 6), Fraction(62, 71), Fraction(15, 16)
    up, down = policy / first, (1 - policy) / (1 - first)
    # Margins, as odds: of a over b, and of b over a less what b is below its reference.
    plain, reduced = up / down, down**2 / up
    slope = -share / (1 + plain) * (1 / policy + 1 / (1 - policy))
    slope += (1 - share) / (1 + reduced) * (1 / policy + 2 / (1 - policy))
    falls = slope == 0 and up**62 * down**9 < 1
    loss = -(62 * math.log(up) + 9 * math.log(down)) / 71.0
    off = abs(_dpop_policy(float(share), float(first), 1.0)[0] - float(policy))
    for _ in range(4):
        won, own, beta = rng.uniform(0.6, 0.9), rng.uniform(0.2, 0.8), rng.uniform(0.5, 1.5)
        least = (2.0 * won - 1.0) / ((1.0 - won) * own)
        kept, moved = (_dpop_policy(won, own, least * by, beta)[0] - own for by in (1.1, 0.7))
        off = max(off, abs(kept), 1.0 if moved < 1e-3 else 0.0)
    return finding(
        loss if falls else 0.0, KINKED, "stationarity in fractions; minimisers of a convex loss",
        instead=off,
        witness="two answers, reference (5/6, 1/6), a preferred to b with probability 62/71, beta = lambda = 1: the "
        "optimum is (15/16, 1/16), ratios 9/8 and 3/8, and (9/8)^62 (3/8)^9 < 1: the preferred answer's expected "
        f"log-likelihood falls by {loss:.6f}",
    )  # fmt: skip


def _below_the_threshold(rng: np.random.Generator) -> float:
    return abs(float(_dpop_policy(0.8, 0.5, 0.5 * 6.0)[0]) - 0.5)


# --- DPO and RLHF ---


def _rlhf(annotator: PreferenceModel, proposal: Proposal, beta: float, reference: FiniteDistribution) -> FloatArray:
    """RLHF: a reward for each outcome by the log loss, and the policy that is best for it with KL control."""
    return tilt(reference, minimize_expected_loss("bradley_terry", annotator, proposal).value, beta).pmf


def _apart(annotator: PreferenceModel, proposal: Proposal, beta: float, reference: FiniteDistribution) -> float:
    """Total variation between what RLHF and DPO learn."""
    found = _learnt("dpo", annotator, proposal, beta=beta, reference=reference)
    return float(np.abs(found.pmf - _rlhf(annotator, proposal, beta, reference)).sum() / 2.0)


def _all_apart(rng: np.random.Generator) -> float:
    """The same for drawn preferences, cycles among them, compared on drawn pairs that connect all outcomes."""
    worst = 0.0
    for _ in range(20):
        n = int(rng.integers(2, 6))
        weights = np.triu((rng.random((n, n)) < 0.5) * rng.random((n, n)), 1) + 0.1 * np.eye(n, k=1)
        reference, beta = FiniteDistribution(rng.normal(size=n)), float(rng.uniform(0.3, 2.0))
        worst = max(worst, _apart(_drawn(rng, n), JointProposal(weights), beta, reference))
    return worst


def _subset(rng: np.random.Generator) -> Finding:
    odds = Fraction(2, 3) / Fraction(1, 3)
    same = _apart(_between_two(Fraction(2, 3)), PAIR, 1.0, uniform(range(2)))
    only = minimize_expected_loss("bradley_terry", _between_two(Fraction(2, 3)), PAIR)
    wrong = abs(float(np.exp(only.value[0] - only.value[1])) - float(odds))
    return finding(
        1.0 if max(same, wrong) <= SOLVER else 0.0, SOLVER, "odds by hand; certified fits", instead=_all_apart(rng),
        witness="two answers, of which the first won two comparisons and lost one, even reference, beta = 1: rewards "
        "log 2 apart and nothing else fit best, and policies with odds 2 : 1 and no others minimise DPO's loss: both "
        "classes are {(2/3, 1/3)}",
    )  # fmt: skip


def _unseen(rng: np.random.Generator) -> float:
    """How far DPO may go from RLHF where an answer is not compared and the reference excludes it: 9/10 on it."""
    policy, rlhf = ([Fraction(x, 100) for x in row] for row in ((6, 4, 90), (60, 40, 0)))
    alike = policy[0] / policy[1] == rlhf[0] / rlhf[1]
    return float(alike * sum(abs(a - b) for a, b in zip(policy, rlhf, strict=True)) / 2)


def _conditional(rng: np.random.Generator) -> Finding:
    odds = Fraction(9, 1) * Fraction(1, 2)
    nine = FiniteDistribution.from_weights([9, 1])
    annotator = _between_two(Fraction(1, 3))
    both = [_learnt("dpo", annotator, PAIR, beta=1.0, reference=nine).pmf, _rlhf(annotator, PAIR, 1.0, nine)]
    wrong = max(abs(float(p[0] / p[1]) - float(odds)) for p in both)
    return finding(
        1.0 if odds > 1 and wrong <= 10 * SOLVER else 0.0, SOLVER, "odds by hand; certified fits",
        instead=_all_apart(rng),
        witness="two answers, reference (9/10, 1/10), b preferred to a with probability 2/3, beta = 1: the reward of "
        "b is greater by log 2, RLHF's optimum is (9/11, 2/11), which prefers a, and (9/11, 2/11) is the only "
        "minimiser of DPO's loss",
    )  # fmt: skip


def _mean_utility(rng: np.random.Generator) -> float:
    """RLHF for the mean utility of two annotators is another policy than what DPO learns from both."""
    members = [Annotator(FiniteDistribution([u, 0.0]), luce()) for u in (4.0, -1.0)]
    learnt = _learnt("dpo", AnnotatorMixture([1, 1], members), PAIR, beta=1.0, reference=uniform(range(2)))
    return abs(float(learnt.pmf[0]) - float(expit(1.5)))


# --- the preference distribution ---


def _from_preferences(truth: FiniteDistribution, beta: float, reference: FiniteDistribution) -> float:
    """Total variation from p* to RLHF's optimum for the reward log p*."""
    return total_variation(tilt(reference, truth.log_pmf, beta), truth)


def _matching(truth: FiniteDistribution, beta: float) -> FiniteDistribution:
    """The reference at which RLHF's optimum is p*."""
    return FiniteDistribution((1.0 - 1.0 / beta) * truth.log_pmf)


def _bias(rng: np.random.Generator) -> Finding:
    # With an even reference and beta = 1 the odds of the optimum are those of the reward.
    odds, even = Fraction(2, 1), uniform(range(2))
    truth = FiniteDistribution.from_weights([float(odds), 1.0])
    matched = 0.0
    for _ in range(20):
        n, beta = int(rng.integers(2, 7)), float(rng.uniform(0.2, 3.0))
        own = FiniteDistribution(rng.normal(size=n))
        other = FiniteDistribution(_matching(own, beta).log_pmf + rng.permutation(np.arange(n) / 4.0))
        matched = max(matched, _from_preferences(own, beta, _matching(own, beta)))
        matched = max(matched, 0.0 if _from_preferences(own, beta, other) > 1e-6 else 1.0)
    return finding(
        1.0 if _from_preferences(truth, 1.0, even) <= SOLVER else 0.0, SOLVER, "odds by hand; tilts", supposing=matched,
        witness="two answers, p* = (2/3, 1/3), even reference, beta = 1: RLHF's optimum has odds 2 : 1 and is p*",
    )  # fmt: skip


def _no_bias(rng: np.random.Generator) -> float:
    return 1.0 - _from_preferences(FiniteDistribution(rng.normal(size=4)), 1.0, uniform(range(4)))


DIRECT_LOSSES = (
    DocketClaim(
        name="dpo_raises_chosen",
        source="Rafailov et al. 2023, arXiv:2305.18290, section 4",
        seen="the sentence as several public notes quote it; the section itself was not",
        printed="Intuitively, the gradient of DPO's loss increases the likelihood of preferred and decreases that of "
        "dispreferred answers.",
        read="For a policy with any parameters, a small step down the gradient on one pair raises log pi of the "
        "preferred answer. (Pal et al. 2024, arXiv:2402.13228, found that it need not.)",
        hypothesis="The margin between both never falls; with a logit for each answer, one goes up and one down.",
        instance="the witness; 40 drawn log-linear policies of two to five answers, and with a logit for each",
        expected=FAILS,
        check=_gradient,
        control=_one_of_four,
    ),
    DocketClaim(
        name="nca_keeps_chosen",
        source="Chen et al. 2024, arXiv:2402.05369v3",
        seen="abstract; the loss of a pair as trainers have it",
        printed="NCA optimises the absolute likelihood of each response and so effectively prevents the chosen "
        "likelihood from decreasing.",
        read="At the optimum of NCA's expected loss the chosen answer's expected log-likelihood is at least the "
        "reference's, for any annotator, reference and beta.",
        hypothesis="It is, for beta = 1 and both answers from the reference: log-ratios are log(2 win share).",
        instance="the witness; 20 drawn preferences of two to five answers with pairs from the reference",
        expected=FAILS,
        check=_nca,
        control=_small_beta,
    ),
    DocketClaim(
        name="dpop_keeps_chosen",
        source="Pal et al. 2024, arXiv:2402.13228",
        seen="abstract; Eq. (3) as quoted by others",
        printed="DPO may reduce the likelihood of preferred examples; DPO-positive is designed to avoid this.",
        read="At the optimum of DPO-positive's expected loss the preferred answer's expected log-likelihood is at "
        "least the reference's, for any annotator, reference, beta and lambda.",
        hypothesis="Of two answers, a winning share p > 1/2, it stays at the reference, if and only if lambda >= "
        "(2p - 1) / ((1 - p) reference(a)): for each lambda some p is too large.",
        instance="the witness; four drawn problems with lambda above and below",
        expected=FAILS,
        check=_dpop,
        control=_below_the_threshold,
    ),
    DocketClaim(
        name="ppo_is_proper_subset",
        source="Xu et al. 2024, arXiv:2404.10719, Theorem 4.1",
        seen="theorem and proof",
        printed="Given a reward and a preference dataset, policies of RLHF are a proper subset of policies that "
        "minimise DPO's loss.",
        read="For every dataset, with a reward free for each answer: RLHF's are DPO's, and DPO's are more. The proof "
        "shows the first for all datasets, the second by one example.",
        hypothesis="Both are the same single policy where comparisons connect all answers, each way.",
        instance="the witness; 20 drawn preferences on drawn pairs that connect two to five answers",
        expected=FAILS,
        check=_subset,
        control=_unseen,
    ),
    DocketClaim(
        name="dpo_rlhf_conditional",
        source="Yang et al. 2026, arXiv:2605.20834",
        seen="abstract only",
        printed="DPO and RLHF are equivalent only if RLHF's optimal policy prefers what humans prefer; where it does "
        "not, they optimise different objectives.",
        read="Wherever RLHF's optimum, for the reward that fits the same answers, gives the preferred of two answers "
        "less probability, DPO's loss has another minimiser. Rewards and policies are free for each answer.",
        hypothesis="The two optima are one, whatever they prefer, where comparisons connect all answers, each way.",
        instance="the witness; 20 drawn preferences on drawn pairs that connect two to five answers",
        expected=FAILS,
        check=_conditional,
        control=_mean_utility,
    ),
    DocketClaim(
        name="kl_control_is_biased",
        source="Xiao et al. 2024, arXiv:2405.16455v2",
        seen="abstract",
        printed="RLHF suffers from an inherent bias by its KL regularisation: the policy is not the preference "
        "distribution of the reward model.",
        read="For every preference distribution p* by Luce's rule, reward log p*, reference and beta, RLHF's optimum "
        "is not p*.",
        hypothesis="The reference is not proportional to p*^(1 - 1/beta): then, and only then.",
        instance="the witness; 20 drawn p* of two to six answers, beta from 0.2 to 3, that reference and another one",
        expected=HOLDS_IF,
        check=_bias,
        control=_no_bias,
    ),
)  # fmt: skip
