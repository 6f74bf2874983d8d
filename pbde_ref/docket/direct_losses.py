"""Claims about losses of policies: what they do to chosen answers, and how DPO and RLHF are related."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceMatrix, PreferenceModel
from pbde_ref.catalogue.losses import optimum
from pbde_ref.distributions import FiniteDistribution, tilt, total_variation, uniform
from pbde_ref.docket.record import FAILS, HOLDS_IF, DocketClaim, Finding, finding
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.losses.log_ratios import PairObjective, dpop, nca
from pbde_ref.numerics import log_normalize
from pbde_ref.pbde import luce
from pbde_ref.proposals import JointProposal, ProductProposal, Proposal
from pbde_ref.validation import FloatArray

__all__ = ["DIRECT_LOSSES"]

# Certified policies are right to 1e-7 or better.
SOLVER = 1e-7
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


def _log_loss(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.logaddexp(0.0, b - a)


def _rises(
    features: FloatArray,
    theta: FloatArray,
    share: float = 1.0,
    loss_of_pair: Callable[[FloatArray, FloatArray], FloatArray] = _log_loss,
    base: FloatArray | float = 0.0,
) -> tuple[float, float, float]:
    r"""What a small step of a loss on the pair (0, 1) adds to log-probabilities of both and to the margin, over it.

    The policy is :math:`\pi \propto e^{b + \phi \theta}`, the reference that at theta = 0, beta = 1; 0 is preferred by
    this share of the answers, and the gradient is one of differences. The loss, DPO's, is one of both log-ratios.
    """

    def log_ratios(at: FloatArray) -> FloatArray:
        return log_normalize(base + features @ at) - log_normalize(base + 0.0 * features[:, 0])

    def loss(at: FloatArray) -> float:
        a, b, *_ = log_ratios(at)
        return float(share * loss_of_pair(a, b) + (1.0 - share) * loss_of_pair(b, a))

    step, axes = 1e-5, 1e-5 * np.eye(theta.size)
    gradient = np.array([(loss(theta + axis) - loss(theta - axis)) / 2e-5 for axis in axes])
    gain = (log_ratios(theta - step * gradient) - log_ratios(theta)) / step
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


# --- what stays of the chosen ---


def _loss_of(objective: PairObjective) -> Callable[[FloatArray, FloatArray], FloatArray]:
    return lambda a, b: np.asarray(objective.parts(a, b)[0])


def _on_line(objective: PairObjective, features: tuple[float, ...]) -> tuple[float, float]:
    r"""Where a loss of the pair (0, 1) is least for :math:`\pi \propto e^{\phi \theta}`, and log-ratio of 0 there.

    The reference is uniform; the slope changes its sign once from -20 to 20, at the minimum.
    """
    phi = np.array(features, float)

    def slope(theta: float) -> float:
        log_p = log_normalize(phi * theta)
        a, b = log_p[:2, None] + math.log(phi.size)
        _, in_a, in_b = objective.parts(a, b)
        rates = phi[:2] - np.exp(log_p) @ phi
        return float(in_a[0] * rates[0] + in_b[0] * rates[1])

    signs = np.sign([slope(at) for at in np.linspace(-20.0, 20.0, 401)])
    assert (np.diff(signs[signs != 0.0]) != 0.0).sum() == 1
    theta = float(brentq(slope, -20.0, 20.0, xtol=1e-14))
    return theta, float(log_normalize(phi * theta)[0] + math.log(phi.size))


def _nca_slope(odds: Fraction) -> Fraction:
    """Of NCA's loss in theta at e^theta = odds, for these features and beta = 1."""
    weights = [odds, Fraction(1), odds**5]
    total = sum(weights, Fraction(0))
    mean = (odds + 5 * odds**5) / total
    up, down = (3 * w / total for w in weights[:2])
    return (up / 2 - 1) / (1 + up) * (1 - mean) - down / (2 * (1 + down)) * mean


def _nca(rng: np.random.Generator) -> Finding:
    move = -_nca_slope(Fraction(1))
    slope = move * (FEATURES[0] - sum(FEATURES) / 3)
    # log pi(a) falls from theta = 0 on, where features have the mean 2, and the optimum is between these odds.
    between = _nca_slope(Fraction(23, 20)) < 0 < _nca_slope(Fraction(29, 25))
    theta, ratio = _on_line(nca(1.0), tuple(map(float, FEATURES)))
    lost = 0.0 if Fraction(23, 20) < math.exp(theta) < Fraction(29, 25) else 1.0
    for _ in range(20):
        n = int(rng.integers(2, 6))
        annotator, own = _drawn(rng, n), FiniteDistribution(rng.normal(size=n))
        policy = _learnt("nca", annotator, ProductProposal(own), beta=1.0, reference=own).pmf
        winners = 2.0 * own.pmf * (annotator.preference_probabilities() @ own.pmf)
        lost = max(lost, -_chosen_gain(annotator, ProductProposal(own), policy, own.pmf))
        lost = max(lost, float(np.abs(policy - winners).max()))
        up, down, _ = _rises(np.eye(n), np.zeros(n), loss_of_pair=_loss_of(nca(1.0)), base=own.log_pmf)
        lost = max(lost, -up, down)
    return finding(
        float(-slope) if between and ratio < 0.0 else 0.0, SOLVER, "slopes in fractions; certified minimisers",
        instead=lost,
        witness="uniform reference, pi proportional to exp(phi theta), phi = 1, 0, 5 for a, b, c; a was preferred to "
        f"b, beta = 1: at theta = 0 theta moves by {move} per unit step, half of DPO's 1/2, log pi(a) by {move} * "
        f"(1 - 2) = {slope}; the optimum has 23/20 < e^theta < 29/25",
        numbers={"theta at the optimum": theta, "log pi(a) there, above the reference": ratio},
    )  # fmt: skip


def _small_beta(rng: np.random.Generator) -> float:
    """At beta = 1/4 with pairs from the reference the chosen may lose, although a does not."""
    annotator, own = _between_two(0.99), FiniteDistribution.from_weights([2, 3])
    policy = _learnt("nca", annotator, ProductProposal(own), beta=0.25, reference=own)
    return -_chosen_gain(annotator, ProductProposal(own), policy.pmf, own.pmf)


def _dpop(rng: np.random.Generator) -> Finding:
    third, penalty, odds = 3, Fraction(11, 15), 2
    weights = (odds, 1, odds**third)
    policy = [Fraction(w, sum(weights)) for w in weights]
    # The loss is convex; below its reference a counts, and the margin that is left has the slope 1 + lambda (1 - mean).
    stationary = 1 + penalty * (1 - policy[0] - third * policy[2]) == 0 and policy[0] < Fraction(1, 3)
    rate = 1 - Fraction(1 + third, 3)
    reduced = 1 + rate
    falls = reduced > 0 > rate
    off = abs(_on_line(dpop(1.0, float(penalty)), (1.0, 0.0, 3.0))[0] - math.log(odds))
    for _ in range(10):
        far, beta, n = rng.uniform(2.1, 6.0), rng.uniform(0.5, 1.5), int(rng.integers(2, 6))
        kept, moved = (_on_line(dpop(beta, by * 3.0 / (far - 2.0)), (1.0, 0.0, far))[1] for by in (1.1, 0.9))
        loss = _loss_of(dpop(1.0, rng.uniform(0.0, 50.0)))
        up = _rises(np.eye(n), np.zeros(n), loss_of_pair=loss, base=rng.normal(size=n))[0]
        off = max(off, abs(kept), 0.0 if moved < -1e-5 else 1.0, -up)
    return finding(
        -math.log(3 * policy[0]) if falls and stationary else 0.0, SOLVER,
        "slopes and stationarity in fractions; minimisers of a convex loss", instead=off,
        witness="uniform reference, pi proportional to exp(phi theta), phi = 1, 0, 3 for a, b, c; a was preferred to "
        f"b, beta = 1. lambda = 1: as theta rises from 0 the margin has slope 1, log pi(a) {rate}, the reduced margin "
        f"{reduced}: theta rises, pi(a) falls. lambda = {penalty}: the optimum is ({', '.join(map(str, policy))})",
        numbers={
            "log pi(a) above the reference at the optimum, lambda 1": _on_line(dpop(1.0, 1.0), (1.0, 0.0, 3.0))[1],
            "lambda 50, phi(c) = 2.05": _on_line(dpop(1.0, 50.0), (1.0, 0.0, 2.05))[1],
        },
    )  # fmt: skip


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
        # The margin of a pair that one answer of four has that way round falls.
        control=lambda rng: -_rises(np.eye(2), np.zeros(2), share=0.25)[2],
    ),
    DocketClaim(
        name="nca_keeps_chosen",
        source="Chen et al. 2024, arXiv:2402.05369v3",
        seen="abstract; the loss of a pair as trainers have it",
        printed="NCA optimises the absolute likelihood of each response and so effectively prevents the chosen "
        "likelihood from decreasing.",
        read="For a policy with any parameters, and one pair that is always answered alike: neither a small step from "
        "the reference down the gradient of NCA's loss nor its optimum lowers log pi of the chosen answer.",
        hypothesis="With a logit for each answer a step from the reference raises the chosen and lowers the rejected; "
        "with beta = 1 and both answers from the reference, the optimum's log-ratios are log(2 win share), and the "
        "chosen answer's expected log-likelihood does not fall.",
        instance="the witness; 20 drawn preferences of two to five answers with pairs from the reference; control: two "
        "answers, reference (2/5, 3/5), a preferred with probability 99/100, beta = 1/4",
        expected=FAILS,
        check=_nca,
        control=_small_beta,
    ),
    DocketClaim(
        name="dpop_keeps_chosen",
        source="Pal et al. 2024, arXiv:2402.13228",
        seen="abstract; Eq. (3) as quoted by others",
        printed="DPO may reduce the likelihood of preferred examples; DPO-positive avoids this failure mode.",
        read="For a policy with any parameters, any lambda, and one pair that is always answered alike: neither the "
        "first step from the reference nor the optimum of DPO-positive's loss lowers log pi of the preferred answer.",
        hypothesis="Of features 1, 0, K > 2 and a uniform reference, a keeps its probability if lambda >= 3 / (K - 2), "
        "and loses if not: each lambda is too small for some K. With a logit for each answer the first step raises it.",
        instance="the witness; ten drawn K from 2.1 to 6, with lambda above and below",
        expected=FAILS,
        check=_dpop,
        # With nine tenths of the lambda that would keep it.
        control=lambda rng: -_on_line(dpop(1.0, 2.7), (1.0, 0.0, 3.0))[1],
    ),
    DocketClaim(
        name="ppo_is_proper_subset",
        source="Xu et al. 2024, arXiv:2404.10719, Theorem 4.1",
        seen="theorem and proof",
        printed="Given a reward and a preference dataset, policies of RLHF are a proper subset of policies that "
        "minimise DPO's loss.",
        read="For every dataset, with a reward free for each answer: RLHF's are DPO's, and DPO's are more. The proof "
        "shows the first for all datasets, the second by one example.",
        hypothesis="Both are the same single policy where comparisons connect all answers, each way, and the reference "
        "is positive.",
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
        read="Our question: has DPO's loss another minimiser wherever RLHF's optimum, for the reward that fits the "
        "same answers, gives the preferred of two answers less probability? Rewards and policies are free for each.",
        hypothesis="The two optima are one, whatever they prefer, where comparisons connect all answers, each way, and "
        "the reference is positive.",
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
        read="Our reading: for every preference distribution p* by Luce's rule, reward log p*, reference and beta, "
        "RLHF's optimum is not p*.",
        hypothesis="The reference is not proportional to p*^(1 - 1/beta): then, and only then.",
        instance="the witness; 20 drawn p* of two to six answers, beta from 0.2 to 3, that reference and another one",
        expected=HOLDS_IF,
        check=_bias,
        control=lambda rng: 1.0 - _from_preferences(FiniteDistribution(rng.normal(size=4)), 1.0, uniform(range(4))),
    ),
)  # fmt: skip
