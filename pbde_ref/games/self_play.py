r"""Self-play: the rules by which policies are to reach an equilibrium, iterated exactly, with what they reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pbde_ref.annotators import PreferenceModel
from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution, same_support
from pbde_ref.games.equilibria import kl_control, margins, nash_gap
from pbde_ref.numerics import log_normalize
from pbde_ref.validation import FloatArray, choice, instance, non_negative_number, positive_number, whole_number

__all__ = ["METHODS", "SelfPlay", "self_play"]

Step = Callable[[FloatArray, FloatArray, FloatArray, float, float], FloatArray]


def _nash_md(
    log_policy: FloatArray, log_reference: FloatArray, payoff: FloatArray, tau: float, eta: float
) -> FloatArray:
    """The opponent is the geometric mixture with the reference, and so is what the step stays near."""
    mixed = log_normalize((1.0 - eta * tau) * log_policy + eta * tau * log_reference)
    return log_normalize(mixed + eta * (payoff @ np.exp(mixed)))


def _prox(
    log_policy: FloatArray, log_reference: FloatArray, payoff: FloatArray, tau: float, eta: float, against: FloatArray
) -> FloatArray:
    """The best answer to `against` with both divergences, from the reference and from the policy."""
    numerator = log_policy + eta * tau * log_reference + eta * (payoff @ np.exp(against))
    return log_normalize(numerator / (1.0 + eta * tau))


def _mirror_prox(
    log_policy: FloatArray, log_reference: FloatArray, payoff: FloatArray, tau: float, eta: float
) -> FloatArray:
    half = _prox(log_policy, log_reference, payoff, tau, eta, log_policy)
    return _prox(log_policy, log_reference, payoff, tau, eta, half)


def _sppo(log_policy: FloatArray, log_reference: FloatArray, payoff: FloatArray, tau: float, eta: float) -> FloatArray:
    return log_normalize(log_policy + eta * (payoff @ np.exp(log_policy)))


def _ipo(log_policy: FloatArray, log_reference: FloatArray, payoff: FloatArray, tau: float, eta: float) -> FloatArray:
    """IPO's optimum where both answers come from the last policy: the best answer to it."""
    return log_normalize(log_reference + payoff @ np.exp(log_policy) / tau)


METHODS: dict[str, Step] = {"nash_md": _nash_md, "mirror_prox": _mirror_prox, "sppo": _sppo, "ipo": _ipo}
"""Nash-MD (Munos et al. 2023), Nash mirror prox (Tiapkin et al. 2025), SPPO (Wu et al. 2024), IPO on own answers."""


@dataclass(frozen=True, eq=False)
class SelfPlay(Shown):
    r"""What self-play went through.

    Attributes
    ----------
    log_policies : ndarray, shape (steps + 1, n)
        Start and all iterates. Read-only.
    gaps : ndarray, shape (steps + 1,)
        Their duality gaps: with KL control, `nash_gap`; without, :math:`2 \max A \pi`. Read-only.
    average_gaps : ndarray, shape (steps,)
        Of the mean of the first t policies, t = 1, 2, …. Read-only.
    rate : float or None
        Geometric mean of the factors of `gaps` per step, from the step where they are half way down, in logarithms, to
        the last one above 1e-20: below 1 where the last iterate converges linearly. None from less than two gaps.
    order : float or None
        Slope of log gap over log step from half of the steps on: -1/2 and -1 for gaps that fall as
        :math:`T^{-1/2}` and :math:`T^{-1}`. Of the mean for "sppo", of the last policies otherwise.
    """

    log_policies: FloatArray
    gaps: FloatArray
    average_gaps: FloatArray
    rate: float | None
    order: float | None


def self_play(
    method: str,
    preferences: PreferenceModel,
    steps: int,
    *,
    tau: float = 0.0,
    eta: float | str = 1.0,
    reference: FiniteDistribution,
    start: FiniteDistribution | None = None,
) -> SelfPlay:
    r"""Iterate a rule of self-play, with exact expectations and exact minimisation at each step.

    ============  ====================================================================================================
    nash_md       :math:`\pi' \propto \tilde\pi e^{\eta A \tilde\pi}`,
                  :math:`\tilde\pi \propto \pi^{1 - \eta\tau} \pi_{ref}^{\eta\tau}`
    mirror_prox   :math:`\pi' \propto (\pi\, \pi_{ref}^{\eta\tau} e^{\eta A \pi''})^{1 / (1 + \eta\tau)}`, where
                  :math:`\pi''` is the same with :math:`A \pi`
    sppo          :math:`\pi' \propto \pi e^{\eta A \pi}`, without KL control
    ipo           :math:`\pi' \propto \pi_{ref} e^{A \pi / \tau}`: the optimum of Eq. (23) for pairs from π
    ============  ====================================================================================================

    Parameters
    ----------
    method : str
    preferences : Annotator, AnnotatorMixture or PreferenceMatrix
    steps : int
        From 1 to 10**6.
    tau : float
        KL control, from 1e-6 to 1e6; 0 for "sppo" alone.
    eta : float or "decreasing"
        Length of a step, at most 1e6; "decreasing" is :math:`\eta_t = 2 / [\tau (t + 2)]`, t = 0, 1, …, of Nash-MD's
        theorem.
    reference : FiniteDistribution
        Positive.
    start : FiniteDistribution, optional
        Positive; the reference by default.

    Raises
    ------
    ValueError
        If an argument is out of range, such as :math:`\eta \tau > 1` for "nash_md".

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.games import self_play
    >>> cycle = pb.PreferenceMatrix([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])
    >>> start, level = pb.FiniteDistribution.from_weights([2, 1, 1]), pb.uniform(range(3))
    >>> away = self_play("sppo", cycle, 1000, eta=0.1, reference=level, start=start)
    >>> away.gaps[[0, -1]].round(3), away.average_gaps[[0, -1]].round(3)  # only the mean converges
    (array([0.25 , 0.371]), array([0.25 , 0.018]))
    >>> self_play("mirror_prox", cycle, 200, tau=0.1, eta=2.0, reference=level, start=start).gaps[-1] < 1e-12
    np.True_
    """
    payoff = margins(preferences)
    step = METHODS[choice("method", method, METHODS)]
    steps = whole_number("steps", steps, least=1, most=10**6)
    instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
    start = reference if start is None else start
    instance("start", start, FiniteDistribution, "a FiniteDistribution")
    for name, given in (("reference", reference), ("start", start)):
        same_support(name, given.support, "preferences", preferences.support)
        if not np.isfinite(given.log_pmf).all():
            raise ValueError(f"`{name}` must be positive; got probability 0")
    tau = kl_control(tau) if method != "sppo" else non_negative_number("tau", tau)
    if method == "sppo" and tau > 0.0:
        raise ValueError(f"`tau` must be 0 for 'sppo', which has no KL control; got {tau}")
    if isinstance(eta, str):
        choice("eta", eta, ("decreasing",))
        if tau == 0.0:
            raise ValueError("`eta` must be a number where `tau` is 0; got 'decreasing'")
        lengths = 2.0 / (tau * (np.arange(steps) + 2.0))
    else:
        lengths = np.full(steps, positive_number("eta", eta))
        if lengths[0] > 1e6:
            raise ValueError(f"`eta` must be at most 1e6; got {eta}")
    if method == "nash_md" and lengths[0] * tau > 1.0:
        raise ValueError(f"`eta` must be at most 1 / tau for 'nash_md'; got {eta}")
    policies = np.empty((steps + 1, len(payoff)))
    policies[0] = start.log_pmf
    for t, length in enumerate(lengths):
        policies[t + 1] = step(policies[t], reference.log_pmf, payoff, tau, float(length))
    means = np.cumsum(np.exp(policies[:-1]), axis=0) / np.arange(1, steps + 1)[:, None]
    with np.errstate(divide="ignore"):
        gaps, average = (_gaps(payoff, logs, reference.log_pmf, tau) for logs in (policies, np.log(means)))
    for result in (policies, gaps, average):
        result.flags.writeable = False
    return SelfPlay(policies, gaps, average, _rate(gaps), _order(gaps if tau > 0.0 else average))


def _gaps(payoff: FloatArray, log_policies: FloatArray, log_reference: FloatArray, tau: float) -> FloatArray:
    if tau > 0.0:
        return np.array([nash_gap(payoff, log_policy, log_reference, tau) for log_policy in log_policies])
    return np.asarray(2.0 * np.maximum((np.exp(log_policies) @ payoff.T).max(axis=1), 0.0))


def _rate(gaps: FloatArray) -> float | None:
    logs = np.log(np.maximum(gaps[gaps > 1e-20], 1e-20))
    if logs.size < 2 or not (gaps[: logs.size] > 1e-20).all():
        return None
    middle = int(np.argmax(logs <= 0.5 * (logs[0] + logs[-1]))) if logs[-1] < logs[0] else 0
    middle = min(middle, logs.size - 2)
    return float(np.exp((logs[-1] - logs[middle]) / (logs.size - 1 - middle)))


def _order(gaps: FloatArray) -> float | None:
    late = np.arange(gaps.size) >= gaps.size // 2
    late &= gaps > 0.0
    if late.sum() < 2:
        return None
    return float(np.polyfit(np.log(np.flatnonzero(late) + 1.0), np.log(gaps[late]), 1)[0])
