r"""The reinforcement-learning route, Eq. (3)–(5) and (12)–(13), with exact expectations over the support.

The policy is a softmax of logits, :math:`\pi = e^{\theta} / \sum e^{\theta}`; Eq. (3) and (4) are the case
:math:`\beta = 0`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.distributions import (
    FiniteDistribution,
    common_support,
    kl_divergence,
    rewards_in_units,
    tilt,
    total_variation,
)
from pbde_ref.exact.results import Optimum, unmet
from pbde_ref.numerics import EPS, log_normalize, logsumexp, weighted
from pbde_ref.validation import FloatArray, instance, non_negative_number, positive_number, reject, vector, whole_number

__all__ = [
    "PolicySolution", "clipped_surrogate", "clipped_surrogate_maximum", "distributional_policy_gradient",
    "gradient_ascent", "kl_controlled_objective", "log_partition", "policy_gradient",
]  # fmt: skip



def kl_controlled_objective(
    policy: FiniteDistribution, rewards: ArrayLike, beta: float, reference: FiniteDistribution
) -> float:
    r"""Expected reward less the KL penalty, Eq. (12); Eq. (3) for ``beta=0``.

    .. math:: J(\pi) = \mathbb{E}_\pi[r] - \beta D_{KL}(\pi \,\|\, \pi_{pre})

    Parameters
    ----------
    policy, reference : FiniteDistribution
        :math:`\pi` and :math:`\pi_{pre}`, on the same support.
    rewards : array_like, shape (n,)
        Finite.
    beta : float
        Non-negative.

    Returns
    -------
    float
        -inf where a positive `beta` meets a policy that leaves the support of the reference.

    Notes
    -----
    For :math:`\beta > 0`, :math:`J(\pi) = -\beta D_{KL}(\pi \,\|\, \pi_{13}) + \beta \log Z` with :math:`\pi_{13}` of
    Eq. (13) and :math:`Z = \sum_x \pi_{pre}\, e^{r / \beta}`. Proof: ``proofs/kl_control.md``; what the penalty keeps
    of the reference: ``proofs/forgetting.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> policy, reference = pb.FiniteDistribution.from_weights([1, 0]), pb.uniform([0, 1])
    >>> round(pb.kl_controlled_objective(policy, [3.0, 5.0], 1.0, reference), 6)  # 3 - log 2
    2.306853
    """
    common_support(policy=policy, reference=reference)
    rewards, beta = _rewards(rewards, len(policy)), non_negative_number("beta", beta)
    penalty = beta * kl_divergence(policy, reference) if beta > 0.0 else 0.0
    return policy.expectation(rewards) - penalty


def log_partition(rewards: ArrayLike, beta: float, reference: FiniteDistribution) -> float:
    r""":math:`\log Z = \log \sum_x \pi_{pre}(x)\, e^{r(x) / \beta}`, the normaliser of Eq. (13).

    :math:`\beta \log Z` is the greatest value that `kl_controlled_objective` can take.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.log_partition([7.0, 7.0], 2.0, pb.uniform([0, 1]))
    3.5
    """
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    scaled = rewards_in_units(_rewards(rewards, len(reference)), positive_number("beta", beta))
    return float(logsumexp(reference.log_pmf + scaled))


def policy_gradient(logits: ArrayLike, rewards: ArrayLike, beta: float, reference: FiniteDistribution) -> FloatArray:
    r"""Exact policy gradient with respect to softmax logits, Eq. (5); Eq. (4) for ``beta=0``.

    .. math:: \nabla_\theta J = \pi \odot (A - \mathbb{E}_\pi[A]), \qquad
              A = r - \beta \log \frac{\pi}{\pi_{pre}}

    Parameters
    ----------
    logits : array_like, shape (n,)
        :math:`\theta`; finite.
    rewards, beta, reference
        As in `kl_controlled_objective`; the reference must be positive everywhere if ``beta > 0``.

    Returns
    -------
    ndarray, shape (n,)
        Sums to zero; zero where the policy is Eq. (13).

    Notes
    -----
    The penalty's own derivative does not appear: :math:`\mathbb{E}_\pi[\nabla \log \pi] = 0`.
    Proof: ``proofs/kl_control.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.policy_gradient([0.0, 0.0], [1.0, 0.0], 0.0, pb.uniform([0, 1]))
    array([ 0.25, -0.25])
    """
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    logits = vector("logits", logits, size=len(reference))
    reject("logits", "finite", logits, ~np.isfinite(logits))
    rewards, beta = _rewards(rewards, logits.size), non_negative_number("beta", beta)
    if beta > 0.0:
        reject("reference", "positive everywhere", reference.pmf, np.isneginf(reference.log_pmf))
    return _softmax_gradient(logits, rewards, beta, reference.log_pmf if beta > 0.0 else np.zeros(logits.size))


def distributional_policy_gradient(logits: ArrayLike, target: FiniteDistribution) -> FloatArray:
    r"""Exact gradient of distributional policy gradients (DPG) with respect to softmax logits.

    .. math:: -\nabla_\theta D_{KL}(p \,\|\, \pi) = \mathbb{E}_\pi\Big[\frac{p}{\pi} \nabla_\theta \log \pi\Big]
              = p - \pi

    DPG lowers the forward divergence from the target :math:`p \propto \pi_{pre}\, e^{r / \beta}`, RLHF with KL control
    the reverse one: `policy_gradient` is :math:`\beta\, \pi \odot (\log \frac{p}{\pi} + D_{KL}(\pi \,\|\, p))`.

    Parameters
    ----------
    logits : array_like, shape (n,)
        Finite.
    target : FiniteDistribution
        p, for example ``pb.tilt(reference, rewards, beta)``.

    Notes
    -----
    Proof, and when the two agree: ``proofs/dpg.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.distributional_policy_gradient([0.0, 0.0], pb.FiniteDistribution.from_weights([3, 1]))
    array([ 0.25, -0.25])
    """
    instance("target", target, FiniteDistribution, "a FiniteDistribution")
    logits = vector("logits", logits, size=len(target))
    reject("logits", "finite", logits, ~np.isfinite(logits))
    return np.asarray(target.pmf - np.exp(log_normalize(logits)))


def clipped_surrogate(
    policy: FiniteDistribution, old: FiniteDistribution, advantages: ArrayLike, epsilon: float
) -> float:
    r"""PPO's clipped surrogate with exact expectations, for one step.

    .. math:: L(\pi) = \mathbb{E}_{old}\big[\min(\rho A,\, \text{clip}(\rho, 1 - \epsilon, 1 + \epsilon) A)\big],
              \qquad \rho = \pi / \pi_{old}

    Parameters
    ----------
    policy, old : FiniteDistribution
        On the same support.
    advantages : array_like, shape (n,)
        A, finite; with KL control :math:`r - \beta \log(\pi_{old} / \pi_{pre})` less its mean under the old policy.
    epsilon : float
        In (0, 1).

    Notes
    -----
    What the old policy never draws does not count, whatever its advantage. Proof: ``proofs/clipped_surrogate.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> old = pb.uniform([0, 1])
    >>> clipped = [pb.clipped_surrogate(pb.FiniteDistribution.from_weights(w), old, [1.0, -1.0], 0.2)
    ...            for w in ([1, 1], [11, 9], [6, 4], [1, 0])]
    >>> [round(value, 12) for value in clipped]
    [0.0, 0.1, 0.2, 0.2]
    """
    common_support(policy=policy, old=old)
    advantages, epsilon = _clipping(advantages, epsilon, len(old))
    bound = (1.0 + np.sign(advantages) * epsilon) * old.pmf
    counted = np.where(advantages > 0.0, np.minimum(policy.pmf, bound), np.maximum(policy.pmf, bound))
    return float(advantages @ np.where(np.isneginf(old.log_pmf), 0.0, counted))


def clipped_surrogate_maximum(
    old: FiniteDistribution, advantages: ArrayLike, epsilon: float
) -> tuple[float, FiniteDistribution]:
    r"""The greatest value of `clipped_surrogate` over all policies, and one policy that attains it.

    Outcomes take mass in the order of their advantages, each up to :math:`(1 \pm \epsilon)\, \pi_{old}` with the sign
    of A, as long as there is any; what is left over goes to the first, or, where that has no advantage, to one that the
    old policy never draws.

    Returns
    -------
    float
        Between :math:`\frac12 \epsilon\, \mathbb{E}_{old}|A|` and :math:`\epsilon\, \mathbb{E}_{old}|A|` if the
        advantages have mean zero under `old`.
    FiniteDistribution

    Examples
    --------
    >>> import pbde_ref as pb
    >>> value, policy = pb.clipped_surrogate_maximum(pb.uniform([0, 1, 2]), [2.0, -1.0, -1.0], 0.5)
    >>> round(value, 12), policy.pmf
    (0.666666666667, array([0.66666667, 0.16666667, 0.16666667]))
    """
    instance("old", old, FiniteDistribution, "a FiniteDistribution")
    advantages, epsilon = _clipping(advantages, epsilon, len(old))
    order = np.argsort(-advantages, kind="stable")
    room = ((1.0 + np.sign(advantages) * epsilon) * old.pmf)[order]
    mass = np.zeros(len(old))
    mass[order] = np.minimum(room, np.maximum(1.0 - (np.cumsum(room) - room), 0.0))
    unseen = np.flatnonzero(np.isneginf(old.log_pmf))
    rest = unseen[0] if unseen.size and advantages[order[0]] <= 0.0 else order[0]
    mass[rest] += max(1.0 - mass.sum(), 0.0)
    policy = FiniteDistribution.from_weights(mass, old.support)
    return clipped_surrogate(policy, old, advantages, epsilon), policy


def _clipping(advantages: ArrayLike, epsilon: float, size: int) -> tuple[FloatArray, float]:
    advantages, epsilon = vector("advantages", advantages, size=size), positive_number("epsilon", epsilon)
    reject("advantages", "finite", advantages, ~np.isfinite(advantages))
    if epsilon >= 1.0:
        raise ValueError(f"`epsilon` must be below 1; got {epsilon}")
    return advantages, epsilon


def _softmax_gradient(logits: FloatArray, rewards: FloatArray, beta: float, log_reference: FloatArray) -> FloatArray:
    log_policy = log_normalize(logits)
    policy = np.exp(log_policy)
    # In units of about the largest reward, so that differences of rewards cannot overflow; nor can beta.
    exponent = max(int(np.frexp(np.abs(rewards).max())[1]), int(np.frexp(beta)[1]) - 1000)
    with np.errstate(over="ignore", invalid="ignore"):
        advantage = np.ldexp(rewards, -exponent)
        if beta > 0.0:
            advantage = advantage - np.ldexp(beta, -exponent) * (log_policy - log_reference)
        result = weighted(policy, advantage - weighted(policy, advantage).sum())
        result = np.ldexp(result, exponent)
    reject("r - beta log(policy / reference)", "finite where the policy is positive", result, ~np.isfinite(result))
    return result


@dataclass(frozen=True, eq=False, kw_only=True)
class PolicySolution(Optimum):
    r"""What gradient ascent reached; its `utilities` are :math:`\log \pi`, its `loss` is that of Eq. (12), negated.

    Attributes
    ----------
    gap : float
        :math:`\beta \log Z - J(\pi) = \beta D_{KL}(\pi \,\|\, \pi_{13}) \ge 0`, by how much the objective falls short
        of the greatest possible value, and all that rounding may have done to that.
    policy_error : float
        Total variation between `policy` and :math:`\pi_{13}`, Eq. (13), and what rounding may have done to it.
    certificate : float
        Largest absolute entry of the policy gradient. Also called `gradient_norm`.
    converged : bool
        Whether gradient, gap and `policy_error` are within the tolerances. The gradient alone proves nothing: it
        vanishes wherever the softmax saturates.
    """

    policy: FiniteDistribution

    @property
    def objective(self) -> float:
        """Eq. (12) there."""
        return -self.loss

    @property
    def gradient_norm(self) -> float:
        """`certificate`."""
        return float(self.certificate)


def gradient_ascent(
    rewards: ArrayLike,
    beta: float,
    reference: FiniteDistribution,
    *,
    learning_rate: float = 1.0,
    tolerance: float = 1e-10,
    policy_tolerance: float = 1e-4,
    max_steps: int = 1_000_000,
) -> PolicySolution:
    r"""Maximise Eq. (12) by plain gradient ascent with the exact gradient of Eq. (5), starting at the reference.

    .. math:: \theta \leftarrow \theta + \frac{\eta}{\beta} \nabla_\theta J(\theta)

    Parameters
    ----------
    rewards : array_like, shape (n,)
        Finite.
    beta : float
        Positive.
    reference : FiniteDistribution
        Positive everywhere.
    learning_rate : float
        :math:`\eta`, positive. In units of :math:`1 / \beta`, because Eq. (12) is curved in proportion to `beta`.
    tolerance : float
        Bound on the gradient's largest entry, divided by `beta`, at which to stop, and on the gap divided by `beta`.
    policy_tolerance : float
        Bound on the policy's total variation from Eq. (13) at which the result counts as converged.
    max_steps : int

    Returns
    -------
    PolicySolution
        The distance to Eq. (13) is part of the result.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> reference = pb.FiniteDistribution.from_weights([0.2, 0.3, 0.5])
    >>> solution = pb.gradient_ascent([1.0, 0.0, -1.0], 1.0, reference)
    >>> solution.converged, pb.total_variation(solution.policy, pb.tilt(reference, [1.0, 0.0, -1.0], 1.0)) < 1e-9
    (True, True)
    """
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    rewards, beta = _rewards(rewards, len(reference)), positive_number("beta", beta)
    learning_rate, tolerance = positive_number("learning_rate", learning_rate), positive_number("tolerance", tolerance)
    policy_tolerance = positive_number("policy_tolerance", policy_tolerance)
    max_steps = whole_number("max_steps", max_steps)
    reject("reference", "positive everywhere", reference.pmf, np.isneginf(reference.log_pmf))
    rewards_in_units(rewards, beta)
    logits = np.array(reference.log_pmf)
    for steps in range(max_steps + 1):
        gradient = _softmax_gradient(logits, rewards, beta, reference.log_pmf) / beta
        size = float(np.abs(gradient).max())
        if size <= tolerance or steps == max_steps:
            break
        with np.errstate(over="ignore"):
            logits += learning_rate * gradient
        reject("logits, which move by learning_rate / beta", "finite", logits, ~np.isfinite(logits))
    policy = FiniteDistribution(logits, reference.support)
    best = tilt(reference, rewards, beta)
    unit = _rounding(policy, best, rewards, beta, reference)
    ratio = np.abs(policy.log_pmf - best.log_pmf)
    divergence = (1.0 + 64.0 * EPS) * kl_divergence(policy, best)
    with np.errstate(over="ignore"):
        divergence += float(weighted(policy.pmf, unit * (ratio + unit)).sum())
        error = total_variation(policy, best) + float(weighted(policy.pmf, unit).sum())
    reason = unmet(
        ("gradient norm over beta", size, tolerance),
        ("gap over beta", divergence, tolerance),
        ("policy error", error, policy_tolerance),
    )
    return PolicySolution(
        policy=policy,
        utilities=policy.log_pmf,
        loss=-kl_controlled_objective(policy, rewards, beta, reference),
        gap=math.nextafter(beta * divergence, math.inf),
        policy_error=min(1.0, error),
        converged=not reason,
        unique=True,
        proof="divergence",
        certificate=beta * size,
        steps=steps,
        reason=reason,
    )


def _rounding(
    policy: FiniteDistribution,
    best: FiniteDistribution,
    rewards: FloatArray,
    beta: float,
    reference: FiniteDistribution,
) -> FloatArray:
    """Bound on the error of the logarithm of the ratio of the two policies, each of which was rounded a few times."""
    scaled = 4.0 * EPS * np.abs(rewards) / beta
    with np.errstate(over="ignore"):  # where the policy is zero, which weighs nothing
        own = np.abs(policy.log_pmf) + np.abs(best.log_pmf) + np.abs(reference.log_pmf)
    return np.asarray(4.0 * EPS * (1.0 + own) + scaled + float(scaled.max()))


def _rewards(rewards: ArrayLike, size: int) -> FloatArray:
    rewards = vector("rewards", rewards, size=size)
    reject("rewards", "finite", rewards, ~np.isfinite(rewards))
    return rewards
