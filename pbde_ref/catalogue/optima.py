r"""Where each loss leads: the best of all policies on a finite support, and what proves it.

Every function takes an annotator, a proposal and the loss's parameters by name, and returns an `Optimum`. What has no
answer is a value as well: a policy of None, and a reason that says what would help.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.annotators import Annotator, PreferenceMatrix, PreferenceModel, prompts_of
from pbde_ref.distributions import FiniteDistribution, tilt, total_variation, uniform
from pbde_ref.exact.expected import expected_cross_entropy, expected_kl
from pbde_ref.exact.hinge import minimize_rso, minimize_slic
from pbde_ref.exact.identifiability import comparison_components, finite_fit_exists, identifiability
from pbde_ref.exact.ipo import ipo_optimum
from pbde_ref.exact.kept_answers import minimize_sigmoids
from pbde_ref.exact.limits import limit_fit
from pbde_ref.exact.links import clipped, with_linked_policy
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.mixtures import expected_mixture_loss, fit_annotator_mixture
from pbde_ref.exact.optima import optimal_policy, policy_bound, policy_of
from pbde_ref.exact.pairwise_minima import minimize_by_pairs
from pbde_ref.exact.policy_losses import minimize_policy_loss, minimize_reward_loss, wins_with_ties
from pbde_ref.exact.prefixes import Prefixes, minimize_prefix_loss
from pbde_ref.exact.projection import projected_policy
from pbde_ref.exact.ranking import minimize_rrhf
from pbde_ref.exact.results import NoMinimumError, Optimum, undetermined, unmet
from pbde_ref.exact.transport import minimize_transport_loss
from pbde_ref.losses.log_ratios import Link, PairObjective, centred, of_halves
from pbde_ref.numerics import EPS, softplus, weighted
from pbde_ref.objectives import BRADLEY_TERRY, Objective, robust, smoothed, with_margin
from pbde_ref.pbde import PBDE, dpo, geometric_average, length_normalized, luce
from pbde_ref.proposals import JointProposal, ProductProposal, Proposal
from pbde_ref.validation import choice, matrix, positive_number, reject, vector

__all__ = [
    "best_dpo", "best_geometric", "best_hinge", "best_ipo", "best_length_normalized", "best_mixture", "best_pbde",
    "best_reward", "best_rlhf", "best_rrhf", "best_rso", "best_slic", "of_answers", "of_centred", "of_dpo_margin",
    "of_link", "of_policy_weights", "of_prefixes", "of_process", "of_ratios_per_token", "of_scores", "of_sigmoids",
    "of_ties", "of_transport",
]  # fmt: skip

# Total variation from the best policy within which an optimum counts as found, as in `projected_policy`.
POLICY_TOLERANCE = 1e-6
# A policy that weighs the pairs it is made of is settled where it moves by less, or is never.
SETTLED, MOST_ROUNDS = 1e-12, 200


def of_process(
    annotator: PreferenceModel, proposal: Proposal, process: PBDE, objective: Objective = BRADLEY_TERRY
) -> Optimum:
    r"""The policy whose utilities :math:`\Omega = f \log \pi + g` have the least expected loss.

    For the cross-entropy of one annotator the closed form; of several annotators, or of any preferences, the projection
    on the process; where no finite utilities are best, the limit of those that come ever closer.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p, q = pb.FiniteDistribution.from_weights([1, 3]), pb.ProductProposal([1, 1])
    >>> of_process(pb.Annotator(p, pb.luce()), q, pb.luce()).policy.pmf
    array([0.25, 0.75])
    """
    open_ended = _unconnected(annotator, proposal) or _excluded(annotator, np.isposinf(process.g))
    if open_ended:
        return undetermined(annotator.size, open_ended)
    if objective is not BRADLEY_TERRY:
        try:
            solve = minimize_by_pairs if objective.least else minimize_expected_loss
            return _with_policy(solve(objective, annotator, proposal), annotator, process)
        except NoMinimumError as error:
            return undetermined(annotator.size, str(error))
    if isinstance(annotator, Annotator):
        return _closed_form(annotator, proposal, process)
    if finite_fit_exists(annotator, proposal):
        return projected_policy(annotator, process, proposal)
    limit = limit_fit(annotator, proposal)
    if not limit.unique:
        return undetermined(annotator.size, "several groups of outcomes never lose: their shares are open", limit.loss)
    known = "no policy is best: losses come ever closer to this infimum, policies to this limit"
    return replace(_with_policy(limit, annotator, process), reason=limit.reason or known)


def _with_policy(fit: Optimum, annotator: PreferenceModel, process: PBDE) -> Optimum:
    """What is known of the utilities, with the policy that has them under the process."""
    policy, policy_error = policy_of(fit.utilities, process, annotator.support, fit.utility_error)
    reason = fit.reason or (unmet(("policy error", policy_error, POLICY_TOLERANCE)) if fit.unique else "")
    policy_error = policy_error if fit.unique else 1.0
    return replace(fit, policy=policy, policy_error=policy_error, converged=fit.converged and not reason, reason=reason)


def _closed_form(annotator: Annotator, proposal: Proposal, process: PBDE) -> Optimum:
    """The one policy that answers as the annotator does, certified by the divergence that it leaves."""
    found = _certified(annotator, proposal, process, optimal_policy(annotator, process))
    if identifiability(annotator, proposal).policy_is_unique:
        return found
    other = "other policies are as good: outcomes that win are compared only with such as never do"
    return replace(found, policy_error=1.0, utility_error=math.inf, converged=False, unique=False, reason=other)


def _certified(
    annotator: PreferenceModel, proposal: Proposal, process: PBDE, policy: FiniteDistribution, error: float = 0.0
) -> Optimum:
    """A policy that answers as the annotator does, but for `error` in nats of utility and for rounding."""
    utilities = process.utility(policy.log_pmf)
    held = np.isfinite(utilities)
    parts = np.abs(utilities) + np.abs(process.g) + np.abs(process.f * policy.log_pmf)
    # Each utility is a product and a sum of rounded numbers; the root of a divergence moves by no more than that.
    rounding = np.where(held, 8.0 * EPS * (1.0 + np.where(held, parts, 0.0)), 0.0)
    if isinstance(proposal, ProductProposal):
        share = 0.5 * (proposal.a + proposal.b)
    else:
        share = np.zeros(annotator.size)
        for block in proposal.blocks(annotator.size):
            for side in (block.a, block.b):
                place = np.broadcast_to(side, block.weight.shape).ravel()
                share += np.bincount(place, 0.5 * block.weight.ravel(), share.size)
    most = float(rounding.max())
    root = math.sqrt(expected_kl(annotator, utilities, proposal).value)
    root += most * math.sqrt(float(share @ (rounding / most) ** 2))
    utilities.flags.writeable = False
    policy_error = policy_bound(policy, error + rounding, process.f)
    reason = unmet(("policy error", policy_error, POLICY_TOLERANCE))
    return Optimum(
        policy=policy,
        utilities=utilities,
        loss=expected_cross_entropy(annotator, utilities, proposal).value,
        gap=root * root,
        utility_error=2.0 * (error + most),
        policy_error=policy_error,
        converged=not reason,
        unique=True,
        proof="divergence",
        reason=reason,
    )


def _unconnected(
    annotator: PreferenceModel, proposal: Proposal, reference: FiniteDistribution | None = None
) -> str:
    """Why comparisons leave the policy open, and what would help; empty if they do not."""
    components, prompts = comparison_components(proposal, annotator.size), prompts_of(annotator)
    places = np.arange(annotator.size) if reference is None else np.flatnonzero(reference.pmf > 0.0)
    numbers = np.zeros(places.size, dtype=np.intp) if prompts is None else prompts.number[places]
    first = places[np.unique(numbers, return_index=True)[1]]
    others = np.flatnonzero(components[places] != components[np.repeat(first, np.bincount(numbers))])
    if not others.size:
        return ""
    other, names = int(others[0]), annotator.support.tolist() if prompts is None else prompts
    pair = " with ".join(f"{names[int(i)]!r:.40}" for i in (first[numbers[other]], places[other]))
    return f"comparisons fall into {len(set(components[places].tolist()))} groups: compare {pair}"


def _excluded(annotator: PreferenceModel, outside: NDArray[np.bool_]) -> str:
    """Why margins have no value; empty if the reference excludes only what the annotator excludes, too."""
    answered = np.isfinite(annotator.utility) if isinstance(annotator, Annotator) else np.ones(annotator.size, bool)
    places = np.flatnonzero(outside & answered)
    if not places.size:
        return ""
    prompts = prompts_of(annotator)
    name = (annotator.support.tolist() if prompts is None else prompts)[int(places[0])]
    return f"log-ratios have no value: the reference excludes {name!r:.40}, which is compared"


# Cross-entropies, each with its process


def best_reward(annotator: PreferenceModel, proposal: Proposal, *, margin: float = 0.0) -> Optimum:
    """The reward of Eq. (1) and (2), and the policy that is its softmax, Theorem 1."""
    return of_process(annotator, proposal, luce(), with_margin(BRADLEY_TERRY, margin))


def best_pbde(annotator: PreferenceModel, proposal: Proposal, *, f: ArrayLike = 1.0, g: ArrayLike = 0.0) -> Optimum:
    """The policy of any preference behaviour distribution equation, Eq. (11), Theorem 2; by default the Luce rule."""
    return of_process(annotator, proposal, PBDE(f, g))


def best_dpo(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    beta: float,
    reference: FiniteDistribution,
    label_smoothing: float = 0.0,
    variant: str = "cdpo",
) -> Optimum:
    """The policy of DPO, Eq. (14); for a Luce annotator the product of experts of Eq. (16)."""
    choice("variant", variant, ("cdpo", "robust"))
    objective = (smoothed if variant == "cdpo" else robust)(label_smoothing)
    return of_process(annotator, proposal, dpo(beta, reference), objective)


def best_geometric(
    annotator: PreferenceModel, proposal: Proposal, *, alpha: float, reference: FiniteDistribution
) -> Optimum:
    """The policy of the geometric process; for a Luce annotator the geometric mean of Eq. (18)."""
    return of_process(annotator, proposal, geometric_average(alpha, reference))


def best_length_normalized(
    annotator: PreferenceModel, proposal: Proposal, *, lengths: ArrayLike, scale: float = 1.0, margin: float = 0.0
) -> Optimum:
    """The policy of the length-normalised Luce rule, Eq. (26), with SimPO's scale and margin."""
    process = length_normalized(vector("lengths", lengths, size=annotator.size), scale)
    return of_process(annotator, proposal, process, with_margin(BRADLEY_TERRY, margin))


def best_rlhf(
    annotator: PreferenceModel, proposal: Proposal, *, beta: float, reference: FiniteDistribution
) -> Optimum:
    """Two stages: the reward of Theorem 1, then the KL-controlled policy of Eq. (13); judged by DPO's loss."""
    fit = best_reward(annotator, proposal)
    if fit.policy is None or not np.isfinite(fit.utilities).all():
        return fit
    policy = tilt(reference, fit.utilities, beta)
    found = _certified(annotator, proposal, dpo(beta, reference), policy, 0.5 * fit.utility_error)
    reason = fit.reason or found.reason
    return replace(found, converged=fit.converged and found.converged, unique=fit.unique, reason=reason)


# What is used instead


def best_ipo(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    tau: float,
    reference: FiniteDistribution,
    lengths: ArrayLike | None = None,
) -> Optimum:
    """The policy of IPO, Eq. (23); with lengths, of log-ratios averaged over tokens."""
    open_ended = _unconnected(annotator, proposal, reference)
    if open_ended:
        return undetermined(annotator.size, open_ended)
    if lengths is None:
        return ipo_optimum(annotator, proposal, tau=tau, reference=reference)
    per_token = length_normalized(vector("lengths", lengths, size=annotator.size))
    fit = ipo_optimum(annotator, proposal, tau=tau, reference=uniform(annotator.support))
    return _with_policy(fit, annotator, PBDE(per_token.f, -per_token.f * reference.log_pmf))


def best_rso(
    annotator: PreferenceModel, proposal: Proposal, *, delta: float, reference: FiniteDistribution
) -> Optimum:
    """The policy of RSO, Eq. (21)."""
    return minimize_rso(annotator, proposal, delta=delta, reference=reference)


def best_hinge(
    annotator: PreferenceModel, proposal: Proposal, *, beta: float, reference: FiniteDistribution
) -> Optimum:
    """The policy of (1 − βm)⁺, which is β times RSO's loss at δ = 1 / β."""
    beta = positive_number("beta", beta)
    found = minimize_rso(annotator, proposal, delta=1.0 / beta, reference=reference)
    gap = beta * found.gap * (1.0 + 4.0 * EPS)
    return replace(found, loss=beta * found.loss, hinge=beta * found.hinge, gap=gap)


def best_slic(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    delta: float,
    lambda_: float = 0.0,
    reference: FiniteDistribution | None = None,
) -> Optimum:
    """The policy of SLiC-HF, Eq. (20); the reference is only needed for its regulariser."""
    reference = uniform(annotator.support) if reference is None and lambda_ == 0.0 else reference
    return minimize_slic(annotator, proposal, delta=delta, lambda_=lambda_, reference=reference)  # type: ignore[arg-type]


def best_rrhf(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    likelihood_weight: float = 1.0,
    n_candidates: int = 2,
    lengths: ArrayLike | None = None,
) -> Optimum:
    """The policy of RRHF, Eq. (19), with its likelihood term."""
    return minimize_rrhf(
        annotator, proposal, likelihood_weight=likelihood_weight, n_candidates=n_candidates, lengths=lengths
    )


def best_mixture(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    n_annotators: int = 2,
    reference: FiniteDistribution | None = None,
    noise: float = 1e-4,
    n_starts: int = 1,
    rng: Any = 0,
) -> Optimum:
    """A stationary mixture of annotators, Eq. (29) and (30); its policy is the mixture of their densities."""
    found = fit_annotator_mixture(
        annotator, proposal, n_annotators=n_annotators, reference=reference, noise=noise, n_starts=n_starts, rng=rng
    )
    loss = expected_mixture_loss(annotator, found.weights, found.utilities, proposal)
    return replace(found, loss=loss.cross_entropy)


# What trainers have and the paper does not


def of_dpo_margin(
    annotator: PreferenceModel, proposal: Proposal, objective: Objective, beta: float, reference: FiniteDistribution
) -> Optimum:
    """The policy of any function of DPO's margin."""
    return of_process(annotator, proposal, dpo(beta, reference), objective)


def of_ratios_per_token(
    annotator: PreferenceModel, proposal: Proposal, *, beta: float, reference: FiniteDistribution, lengths: ArrayLike
) -> Optimum:
    """The policy of DPO whose log-ratios are per token: a process with f = β / length."""
    f = length_normalized(vector("lengths", lengths, size=annotator.size), beta).f
    return of_process(annotator, proposal, PBDE(f, -f * reference.log_pmf))


def of_link(
    annotator: PreferenceModel, proposal: Proposal, beta: float, reference: FiniteDistribution | None, of: Link, *,
    lengths: ArrayLike | None = None, margin: float = 0.0, bound: float = math.inf,
) -> Optimum:  # fmt: skip
    """The policy of DPO with another function in the place of the logarithm, perhaps per token, perhaps clipped."""
    fit = best_reward(annotator, proposal, margin=margin)
    if fit.policy is None or not np.isfinite(fit.utilities).all():
        return fit
    log_pre = np.zeros(annotator.size) if reference is None else reference.log_pmf
    if infinite := _excluded(annotator, np.isneginf(log_pre)):
        return undetermined(annotator.size, infinite)
    tokens = np.ones(annotator.size) if lengths is None else vector("lengths", lengths, size=annotator.size)
    found = with_linked_policy(fit, annotator.support, log_pre, tokens, beta, of)
    return found if math.isinf(bound) else clipped(found, annotator, proposal, bound)


def of_scores(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    make: Callable[..., PairObjective],
    per_token: bool,
    reference: FiniteDistribution | None = None,
    lengths: ArrayLike | None = None,
    likelihood_weight: float = 0.0,
    average_likelihood: bool = False,
    **parameters: Any,
) -> Optimum:
    """The policy of a loss of two scores; with lengths its likelihood, and perhaps its scores, are per token."""
    tokens = None if lengths is None else vector("lengths", lengths, size=annotator.size)
    try:
        return minimize_policy_loss(
            make(**parameters), annotator, proposal, reference=reference, lengths=tokens, per_token=per_token,
            likelihood_weight=likelihood_weight,
        )  # fmt: skip
    except NoMinimumError as error:
        return undetermined(annotator.size, str(error))


def of_centred(annotator: PreferenceModel, proposal: Proposal, *, coefficient: float) -> Optimum:
    """The rewards of a loss that also holds them near zero, and their softmax."""
    try:
        return minimize_reward_loss(centred(coefficient), annotator, proposal)
    except NoMinimumError as error:
        return undetermined(annotator.size, str(error))


def of_answers(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    make: Callable[..., PairObjective],
    reference: FiniteDistribution,
    desirable_weight: float,
    undesirable_weight: float,
    **parameters: Any,
) -> Optimum:
    """The policy of a loss of single answers, where a pair's winner is the desirable one and its loser is not."""
    objective = make(**parameters)
    assert objective.halves is not None
    if not objective.convex:
        weights = desirable_weight, undesirable_weight
        return of_sigmoids(annotator, proposal, reference=reference, weights=weights, **parameters)
    (good, bad), (w, v) = objective.halves, (desirable_weight, undesirable_weight)
    both = of_halves(
        objective.name, lambda t: tuple(w * x for x in good(t)), lambda t: tuple(v * x for x in bad(t)), convex=True
    )
    return of_scores(annotator, proposal, make=lambda: both, per_token=False, reference=reference)


def of_sigmoids(
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    beta: float,
    reference: FiniteDistribution,
    baseline: float = 0.0,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Optimum:
    """The policy of KTO's and APO-zero's sigmoids."""
    wins = wins_with_ties(annotator, proposal)
    wanted, unwanted = weights[0] * wins.sum(axis=1), weights[1] * wins.sum(axis=0)
    return minimize_sigmoids(wanted, unwanted, reference, beta=beta, baseline=beta * baseline)


def of_ties(
    annotator: PreferenceModel, proposal: Proposal, objective: Objective, beta: float, reference: FiniteDistribution, *,
    won: float, constant: float, ties: ArrayLike | None = None,
) -> Optimum:  # fmt: skip
    r"""The policy of DPO with ties, where `ties` says how often each pair is one; by default never.

    Twice the mean of :math:`\ell(m)` and :math:`\ell(-m)` less a constant is what a tie costs by Rao and Kupper's
    model, and once by Davidson's: it counts as `won` wins for each side. Proof: ``proofs/ties.md``.
    """
    if ties is None:
        return of_dpo_margin(annotator, proposal, objective, beta, reference)
    n = annotator.size
    share = matrix("ties", ties)
    if share.shape != (n, n):
        raise ValueError(f"`ties` must have a row and a column for each outcome, {n}; got {share.shape}")
    reject("ties", "in [0, 1]", share, ~((share >= 0.0) & (share <= 1.0)))
    reject("ties", "the same in both orders of a pair", share, share != share.T)
    wins = (1.0 - share) * annotator.preference_probabilities() + won * share
    asked, counted = proposal.matrix(n), wins + wins.T
    met = float((asked * counted).sum())
    model, pairs = PreferenceMatrix(wins / counted, annotator.support), JointProposal(asked * counted)
    found = of_dpo_margin(model, pairs, objective, beta, reference)
    loss = met * found.loss - constant * float((asked * share).sum())
    return replace(found, loss=loss, gap=met * found.gap + 16.0 * EPS * abs(loss))


def of_transport(
    annotator: PreferenceModel, proposal: Proposal, *, beta: float, reference: FiniteDistribution,
    label_smoothing: float, paired: bool,
) -> Optimum:  # fmt: skip
    """A stationary policy of alignment by optimal transport, in the limit of large batches."""
    open_ended = _unconnected(annotator, proposal)
    if paired and not label_smoothing and not open_ended and not finite_fit_exists(annotator, proposal):
        open_ended = "the loss falls for ever: some outcomes never lose to others"
    if open_ended:
        return undetermined(annotator.size, open_ended)
    return minimize_transport_loss(
        annotator, proposal, beta=beta, reference=reference, paired=paired, label_smoothing=label_smoothing
    )


def of_prefixes(
    annotator: PreferenceModel, proposal: Proposal, *, beta: float, share: float, reference: FiniteDistribution,
    tokens: Sequence[Sequence[Hashable]] | None = None,
) -> Optimum:  # fmt: skip
    """A policy of length-desensitised DPO: where no compared answers begin alike, that of DPO."""
    if tokens is None or not Prefixes(tokens, annotator.size).shared or share == 1.0:
        return of_process(annotator, proposal, dpo(beta, reference))
    open_ended = _unconnected(annotator, proposal)
    if not open_ended and not finite_fit_exists(annotator, proposal):
        open_ended = "the loss falls for ever: some outcomes never lose to others"
    if open_ended:
        return undetermined(annotator.size, open_ended)
    return minimize_prefix_loss(annotator, proposal, beta=beta, share=share, reference=reference, tokens=tokens)


def of_policy_weights(
    annotator: PreferenceModel, proposal: Proposal, *, beta: float, reference: FiniteDistribution, lengths: ArrayLike
) -> Optimum:
    r"""The policy of WPO: DPO's best one where each pair has the weight that this policy gives it.

    Weights are :math:`\exp(s_A + s_B)`, s the log-probability per token, and have no gradient. They are those of a pair
    whoever wins it, so that for an annotator who answers by a process it is the policy of Eq. (16), as if there were
    none. Of other preferences the weights are followed until the policy settles; the gap is at fixed weights.
    Proof: ``proofs/policy_weights.md``.
    """
    tokens, process = vector("lengths", lengths, size=annotator.size), dpo(beta, reference)
    found = of_process(annotator, proposal, process)
    if found.policy is None:
        return found
    asked, policy, moved, steps = proposal.matrix(annotator.size), found.policy, 1.0, 0
    while moved > SETTLED and steps < MOST_ROUNDS:
        # Nothing is above one, and what underflows beside the largest weight is not compared any more.
        s = policy.log_pmf / tokens
        highest = float(s.max())
        weights = np.exp((s - highest)[:, None] + (s - highest))
        if isinstance(annotator, Annotator) or not np.isfinite(s).all():
            each = weights * annotator.preference_probabilities() * (asked + asked.T)
            with np.errstate(invalid="ignore"):
                m = found.utilities[:, None] - found.utilities
            loss = math.exp(2.0 * highest) * float(weighted(each, softplus(-m)).sum())
            return replace(found, loss=loss)
        found = of_process(annotator, JointProposal(weights * asked), process)
        if found.policy is None:
            return found
        moved, policy, steps = total_variation(found.policy, policy), found.policy, steps + 1
    size = math.exp(2.0 * highest) * float((weights * asked).sum())
    reason = found.reason or ("" if moved <= SETTLED else f"the policy still moves by {moved:.1e} in its own weights")
    return replace(
        found, loss=size * found.loss, gap=size * found.gap, policy_error=1.0, unique=None, converged=not reason,
        steps=steps, reason=reason,
    )  # fmt: skip
