r"""Losses of two scores that are not functions of their difference alone: :math:`\ell(a, b)`, a of the chosen, b of the
rejected outcome.

A score is a log-ratio :math:`\log \pi_\theta / \pi_{pre}`, without a reference a log-probability, with lengths either
of them per token. A term :math:`-\lambda \log \pi_\theta(x_w)` may be added to any loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.losses.chunks import evaluated, write
from pbde_ref.losses.inputs import (
    FINITE,
    LENGTHS,
    LOG_PROBABILITIES,
    NON_NEGATIVE,
    REAL,
    REFERENCE,
    log_probabilities,
    policies,
    precision,
    reference_log_probabilities,
)
from pbde_ref.losses.result import BatchLoss, Reduction, batch_loss, batch_size
from pbde_ref.numerics import expit, sigmoid_difference, softplus, weighted
from pbde_ref.objectives import BRADLEY_TERRY, LEAST_TAU, Objective, smoothed, with_margin
from pbde_ref.objectives import davidson as decided_by_davidson
from pbde_ref.validation import (
    FloatArray,
    choice,
    flip_probability,
    instance,
    non_negative_number,
    number,
    plain_array,
    positive_number,
    probability,
    reject,
    switch,
)

__all__ = [
    "Link", "PairObjective", "answer_loss", "aot_loss", "apo_down", "bco", "bpo", "cal_dpo", "centred",
    "centred_reward_loss", "davidson", "dpop", "kto", "ld_dpo_loss", "link", "linked", "log_ratio_loss", "nca",
    "odds_ratio", "of_halves", "of_margin", "rao_kupper", "sppo",
]  # fmt: skip

Parts = tuple[Any, Any, Any]
Half = Callable[[Any], tuple[Any, Any]]


@dataclass(frozen=True, eq=False)
class PairObjective:
    r"""One pair's loss as a function of the scores of its chosen and its rejected outcome.

    Attributes
    ----------
    name : str
    parts : callable
        :math:`\ell(a, b)`, :math:`\partial_a \ell` and :math:`\partial_b \ell`, elementwise, of a and b; at a kink with
        the subgradient that the definition states.
    convex : bool
        Whether :math:`\ell` is known to be convex in (a, b).
    branches : two pairs of floats, optional
        Of a loss :math:`-\log \sigma(\min(p, q))`: the coefficients of a and b in p, and those in q.
    second : callable, optional
        :math:`\partial_a^2 \ell`, :math:`\partial_a \partial_b \ell` and :math:`\partial_b^2 \ell`, elementwise.
    halves : pair of callables, optional
        Of a loss that is a function of a plus one of b: both, each with its derivative. They are also the losses of a
        desirable and of an undesirable answer.
    floor : callable
        From the matrix of probabilities that A meets B and wins to a lower bound of the expected loss.
    """

    name: str
    parts: Callable[[FloatArray, FloatArray], Parts] = field(repr=False)
    convex: bool = False
    branches: tuple[tuple[float, float], tuple[float, float]] | None = None
    second: Callable[[FloatArray, FloatArray], Parts] | None = field(default=None, repr=False)
    halves: tuple[Half, Half] | None = field(default=None, repr=False)
    floor: Callable[[FloatArray], float] = field(default=lambda wins: 0.0, repr=False)


def of_margin(objective: Objective, beta: float) -> PairObjective:
    r""":math:`\ell(\beta (a - b))`, for losses to which another term is added."""
    beta = positive_number("beta", beta)

    def parts(a: FloatArray, b: FloatArray) -> Parts:
        m = beta * (a - b)
        slope = beta * objective.derivative(m)
        return objective.value(m), slope, -slope

    return PairObjective(objective.name, parts, convex=bool(objective.convex))


class Link(NamedTuple):
    r"""What stands in the place of the logarithm: a function of the log-ratio, its derivative, and where they end.

    Attributes
    ----------
    value, derivative : callable
    turn : float
        The log-ratio to which it rises; infinite if it always does.
    lowest : float
        What it tends to where an outcome is excluded; mostly -inf.
    """

    value: Callable[[Any], Any]
    derivative: Callable[[Any], Any]
    turn: float = math.inf
    lowest: float = -math.inf


def link(divergence: str, alpha: float = 0.5) -> Link:
    r""":math:`h(a) = f'(e^a)`, up to a constant, of the divergence that the policy is held to its reference by.

    "reverse_kl" is DPO's; "forward_kl", "js_divergence" and "alpha_divergence" are f-DPO's (Wang et al. 2024), "chi_po"
    is χPO's :math:`e^a + a` (Huang et al. 2025), and "squared" SquaredPO's :math:`a e^{-a}` (Pipano et al. 2026).
    "alphapo" is AlphaPO's :math:`(1 - e^{-\alpha a}) / \alpha` of log-probabilities per token (Gupta et al. 2025).

    Examples
    --------
    >>> float(link("forward_kl").value(0.0)), float(link("alpha_divergence", 0.5).value(np.log(4.0)))
    (0.0, 1.0)
    """
    if divergence in ("alpha_divergence", "alphapo"):
        k = -number("alpha", alpha) if divergence == "alphapo" else positive_number("alpha", alpha) - 1.0
        # Nearer to 0 its products are no numbers of full precision, and the limit is right to the last digit.
        if abs(k) >= 1e-150:
            lowest = -1.0 / k if k > 0.0 else -math.inf
            return Link(lambda a: np.expm1(k * a) / k, lambda a: np.exp(k * a), lowest=lowest)
        divergence = "reverse_kl"
    known = {
        "reverse_kl": Link(lambda a: a, np.ones_like),
        "forward_kl": Link(lambda a: -np.expm1(-a), lambda a: np.exp(-a)),
        "js_divergence": Link(lambda a: math.log(2.0) - softplus(-a), lambda a: expit(-a)),
        "chi_po": Link(lambda a: np.exp(a) + a, lambda a: np.exp(a) + 1.0),
        "squared": Link(lambda a: a * np.exp(-a), lambda a: (1.0 - a) * np.exp(-a), turn=1.0),
    }
    return known[choice("divergence", divergence, (*known, "alpha_divergence", "alphapo"))]


def linked(beta: float, of: Link, margin: float = 0.0, bound: float = math.inf) -> PairObjective:
    r""":math:`-\log \sigma(\beta (h(a) - h(b)) - \gamma)`, the argument of the sigmoid held between -bound and bound.

    The derivative is 0 where it is held, and on the edge.
    """
    beta = positive_number("beta", beta)

    def parts(a: FloatArray, b: FloatArray) -> Parts:
        with np.errstate(over="ignore", invalid="ignore"):
            m = beta * (of.value(a) - of.value(b)) - margin
            slope = np.where(np.abs(m) < bound, -beta * expit(-m), 0.0)
            m = np.clip(m, -bound, bound)
            return softplus(-m), weighted(slope, of.derivative(a)), weighted(-slope, of.derivative(b))

    return PairObjective("linked", parts)


def rao_kupper(beta: float, threshold: float) -> tuple[PairObjective, PairObjective]:
    r"""DPO by Rao and Kupper's model (Chen et al. 2024): the losses of a pair that was decided, and of a tie.

    .. math:: -\log \sigma(m - \alpha), \qquad
              -\log \sigma(m - \alpha) - \log \sigma(-m - \alpha) - \log (e^{2 \alpha} - 1), \qquad m = \beta (a - b)

    Parameters
    ----------
    beta : float
        Positive.
    threshold : float
        :math:`\alpha = \log \nu`, positive: by how much a utility must be larger to win half the time.
    """
    beta, alpha = positive_number("beta", beta), positive_number("threshold", threshold)

    def tied(a: FloatArray, b: FloatArray) -> Parts:
        m = beta * (a - b)
        # The same without what cancels: no term is negative.
        value = softplus(m - alpha) + softplus(-m - alpha) - math.log(-math.expm1(-2.0 * alpha))
        slope = beta * sigmoid_difference(m + alpha, alpha - m, 2.0 * m)
        return value, slope, -slope

    return of_margin(with_margin(BRADLEY_TERRY, alpha), beta), PairObjective("rao_kupper", tied, convex=True)


def davidson(beta: float, tendency: float) -> tuple[PairObjective, PairObjective]:
    r"""DPO by Davidson's model (Chen et al. 2024): the losses of a pair that was decided, and of a tie.

    .. math:: \log (1 + e^{-m} + 2 \nu e^{-m / 2}), \qquad
              \log (1 + e^{-m} + 2 \nu e^{-m / 2}) + \tfrac{m}{2} - \log 2 \nu, \qquad m = \beta (a - b)

    Parameters
    ----------
    beta : float
        Positive.
    tendency : float
        :math:`\nu`, positive: odds of a tie between equals are :math:`\nu` to 1.
    """
    beta, decided = positive_number("beta", beta), of_margin(decided_by_davidson(tendency), beta)
    log_nu = math.log(2.0) + math.log(tendency)

    def tied(a: FloatArray, b: FloatArray) -> Parts:
        m = beta * (a - b)
        odds = np.logaddexp(0.5 * m, -0.5 * m) - log_nu
        slope = 0.5 * beta * np.tanh(0.5 * m) * expit(odds)
        return softplus(odds), slope, -slope

    return decided, PairObjective("davidson", tied, convex=True)


def of_halves(name: str, chosen: Half, rejected: Half, convex: bool = False) -> PairObjective:
    """A function of a plus a function of b."""

    def parts(a: FloatArray, b: FloatArray) -> Parts:
        (of_a, slope_a), (of_b, slope_b) = chosen(a), rejected(b)
        return of_a + of_b, slope_a + 0.0 * of_b, slope_b + 0.0 * of_a

    return PairObjective(name, parts, convex=convex, halves=(chosen, rejected))


def nca(beta: float) -> PairObjective:
    r"""Noise contrastive alignment of a pair (Chen et al. 2024).

    .. math:: -\log \sigma(\beta a) - \tfrac12 \log \sigma(-\beta a) - \tfrac12 \log \sigma(-\beta b)

    What it learns: ``proofs/nca.md``.
    """
    beta = positive_number("beta", beta)

    def chosen(t: FloatArray) -> tuple[FloatArray, FloatArray]:
        m = beta * t
        return softplus(-m) + 0.5 * softplus(m), beta * (0.5 * expit(m) - expit(-m))

    return of_halves(
        "nca", chosen, lambda t: (0.5 * softplus(beta * t), 0.5 * beta * expit(beta * t)), convex=True
    )


def bco(beta: float, baseline: float = 0.0) -> PairObjective:
    r"""Binary classifier optimisation (Jung et al. 2024).

    .. math:: -\log \sigma(\beta (a - z)) - \log \sigma(\beta (z - b))

    Parameters
    ----------
    beta : float
        Positive.
    baseline : float
        :math:`z`, non-negative, in nats of log-ratio. TRL's ``bco_pair`` has none; LLaMA-Factory keeps a running mean
        of the rewards, :math:`\beta z`.
    """
    beta, z = positive_number("beta", beta), non_negative_number("baseline", baseline)
    return of_halves(
        "bco",
        lambda t: (softplus(beta * (z - t)), -beta * expit(beta * (z - t))),
        lambda t: (softplus(beta * (t - z)), beta * expit(beta * (t - z))),
        convex=True,
    )


def kto(beta: float, baseline: float = 0.0) -> PairObjective:
    r"""Kahneman–Tversky optimisation (Ethayarajh et al. 2024), with a baseline that no gradient flows into.

    .. math:: 1 - \sigma(\beta (a - z)) + 1 - \sigma(\beta (z - b))

    At :math:`z = 0` that is anchored preference optimisation, APO-zero (D'Oosterlinck et al. 2024).

    Parameters
    ----------
    beta : float
        Positive.
    baseline : float
        :math:`z`, non-negative, in nats of log-ratio; trainers estimate the divergence from the reference.
    """
    beta, z = positive_number("beta", beta), non_negative_number("baseline", baseline)

    def half(sign: float) -> Half:
        def of(t: FloatArray) -> tuple[FloatArray, FloatArray]:
            lost = expit(sign * beta * (z - t))
            return lost, -sign * beta * lost * expit(sign * beta * (t - z))

        return of

    return of_halves("kto", half(1.0), half(-1.0))


def _squares(beta: float) -> tuple[float, float]:
    beta = positive_number("beta", beta)
    if not LEAST_TAU <= beta <= 1.0 / LEAST_TAU:
        raise ValueError(f"`beta` must be from 1e-150 to 1e150, so that its square is a number; got {beta}")
    return beta, 0.5 / beta


def sppo(beta: float) -> PairObjective:
    r"""Self-play preference optimisation with sure answers (Wu et al. 2024).

    .. math:: \Big(a - \frac{1}{2\beta}\Big)^2 + \Big(b + \frac{1}{2\beta}\Big)^2
    """
    beta, target = _squares(beta)
    return of_halves(
        "sppo",
        lambda t: ((t - target) ** 2, 2.0 * (t - target)),
        lambda t: ((t + target) ** 2, 2.0 * (t + target)),
        convex=True,
    )


def cal_dpo(beta: float) -> PairObjective:
    r"""Calibrated DPO (Xiao et al. 2024): DPO at :math:`\beta = 1`, and both log-ratios drawn to their targets.

    .. math:: -\log \sigma(a - b) + \Big(a - \frac{1}{2\beta}\Big)^2 + \Big(b + \frac{1}{2\beta}\Big)^2
    """
    squares = sppo(beta)

    def parts(a: FloatArray, b: FloatArray) -> Parts:
        value, of_a, of_b = squares.parts(a, b)
        slope = expit(b - a)
        return value + softplus(b - a), of_a - slope, of_b + slope

    return PairObjective("cal_dpo", parts, convex=True)


def apo_down(beta: float) -> PairObjective:
    r"""Anchored preference optimisation, down (D'Oosterlinck et al. 2024).

    .. math:: \sigma(\beta a) + 1 - \sigma(\beta (a - b))
    """
    beta = positive_number("beta", beta)

    def parts(a: FloatArray, b: FloatArray) -> Parts:
        u, m = beta * a, beta * (a - b)
        slope, tanh = expit(m) * expit(-m), np.tanh(0.5 * m)
        # σ′(u) − σ′(m) by the addition theorem, which subtracts nothing.
        of_a = -np.tanh(0.5 * beta * b) * np.tanh(0.5 * (m + u)) * (slope + tanh * tanh * expit(u) * expit(-u))
        return expit(u) + expit(-m), beta * of_a, beta * slope

    def second(a: FloatArray, b: FloatArray) -> Parts:
        of_u, of_m = (-expit(x) * expit(-x) * np.tanh(0.5 * x) for x in (beta * a, beta * (a - b)))
        return beta * beta * (of_u - of_m), beta * beta * of_m, -beta * beta * of_m

    # Of two outcomes one wins at most; whoever loses by any margin costs one.
    def floor(wins: FloatArray) -> float:
        return 0.5 * float(np.minimum(wins, wins.T).sum())

    return PairObjective("apo_down", parts, second=second, floor=floor)


def dpop(beta: float, penalty: float) -> PairObjective:
    r"""DPO-positive (Pal et al. 2024): a chosen outcome below its reference counts against the margin.

    .. math:: -\log \sigma\big(\beta (a - b - \lambda (-a)^+)\big)

    Parameters
    ----------
    beta : float
        Positive.
    penalty : float
        :math:`\lambda`, non-negative.
    """
    beta, penalty = positive_number("beta", beta), non_negative_number("penalty", penalty)

    def parts(a: FloatArray, b: FloatArray) -> Parts:
        m = beta * (a - b - penalty * np.maximum(-a, 0.0))
        slope = -beta * expit(-m)
        return softplus(-m), slope * np.where(a < 0.0, 1.0 + penalty, 1.0), -slope

    branches = (beta, -beta), (beta * (1.0 + penalty), -beta)
    return PairObjective("dpop", parts, convex=True, branches=branches)


def bpo(beta: float, balance: float) -> PairObjective:
    r"""Balanced preference optimisation (Sun et al. 2025): the weaker of the two rewards counts.

    .. math:: -\log \sigma\big(\min(\beta a, -\alpha \beta b)\big)

    Parameters
    ----------
    beta : float
        Positive.
    balance : float
        :math:`\alpha`, positive. At equal rewards the derivative is that of the chosen one.
    """
    beta, balance = positive_number("beta", beta), positive_number("balance", balance)

    def parts(a: FloatArray, b: FloatArray) -> Parts:
        u, v = beta * a, -balance * beta * b
        m = np.minimum(u, v)
        slope = -expit(-m)
        return softplus(-m), np.where(u <= v, beta * slope, 0.0), np.where(u <= v, 0.0, -balance * beta * slope)

    return PairObjective("bpo", parts, convex=True, branches=((beta, 0.0), (0.0, -balance * beta)))


def odds_ratio(beta: float) -> PairObjective:
    r"""ORPO's ratio of odds (Hong et al. 2024), without its likelihood.

    .. math:: -\beta \log \sigma\Big(\log \frac{e^a}{1 - e^a} - \log \frac{e^b}{1 - e^b}\Big)
    """
    weight = positive_number("beta", beta)

    def parts(a: FloatArray, b: FloatArray) -> Parts:
        lost_a, lost_b = -np.expm1(a), -np.expm1(b)
        with np.errstate(divide="ignore"):
            m = a - b - (np.log(lost_a) - np.log(lost_b))
            slope = -weight * expit(-m)
            return weight * softplus(-m), slope / lost_a, -slope / lost_b

    return PairObjective("odds_ratio", parts)


def centred(coefficient: float) -> PairObjective:
    r"""The reward model's loss, and a pull of rewards towards zero: :math:`-\log \sigma(a - b) + c (a + b)^2`."""
    c = non_negative_number("coefficient", coefficient)

    def parts(a: FloatArray, b: FloatArray) -> Parts:
        slope, pull = expit(b - a), 2.0 * c * (a + b)
        return softplus(b - a) + c * (a + b) ** 2, pull - slope, pull + slope

    return PairObjective("centred", parts, convex=True)


def centred_reward_loss(
    chosen_rewards: ArrayLike, rejected_rewards: ArrayLike, *, coefficient: float, reduction: Reduction = "mean"
) -> BatchLoss:
    r"""The reward model's loss with rewards held near zero, :math:`-\log \sigma(r_w - r_l) + c (r_w + r_l)^2`.

    Parameters
    ----------
    chosen_rewards, rejected_rewards : array_like, shape (B,)
        Finite.
    coefficient : float
        :math:`c`, non-negative.
    reduction : {"mean", "sum"}

    Returns
    -------
    BatchLoss
        Gradients: chosen_rewards, rejected_rewards.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> losses.centred_reward_loss([1.0], [1.0], coefficient=0.25).losses  # log 2 + 1
    array([1.69314718])
    """
    parts = centred(coefficient).parts
    both = {"chosen_rewards": (chosen_rewards, FINITE), "rejected_rewards": (rejected_rewards, FINITE)}

    def compute(a: Any, b: Any, *, out: list[NDArray[Any]], share: float, usual: bool) -> tuple[float, float]:
        value, slope_a, slope_b = parts(a, b)
        for values, place in zip((value, share * slope_a, share * slope_b), out, strict=True):
            write(values, place)
        return float(np.add.reduce(value)), 0.0

    return evaluated(both, compute, reduction=reduction, dtype=precision(chosen_rewards, rejected_rewards))


def log_ratio_loss(
    objective: PairObjective,
    policy_chosen: ArrayLike,
    policy_rejected: ArrayLike,
    reference_chosen: ArrayLike | None = None,
    reference_rejected: ArrayLike | None = None,
    *,
    chosen_lengths: ArrayLike | None = None,
    rejected_lengths: ArrayLike | None = None,
    per_token: bool = False,
    likelihood_weight: float = 0.0,
    labels: ArrayLike | None = None,
    otherwise: PairObjective | None = None,
    offsets: ArrayLike = 0.0,
    weights: ArrayLike = 1.0,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""Any loss of two scores, :math:`\ell(a, b) - \lambda \log \pi_\theta(x_w)`.

    Parameters
    ----------
    objective : PairObjective
        Such as ``nca(0.1)``.
    policy_chosen, policy_rejected : array_like, shape (B,)
        :math:`\log \pi_\theta`, summed over tokens, at most 0.
    reference_chosen, reference_rejected : array_like, shape (B,), optional
        :math:`\log \pi_{pre}`, at most 0 and finite. Without them the scores are the policy's own.
    chosen_lengths, rejected_lengths : array_like, shape (B,), optional
        Numbers of tokens. With them the likelihood's term is per token.
    per_token : bool
        Whether the scores are too, which needs lengths.
    likelihood_weight : float
        :math:`\lambda`, non-negative.
    labels : array_like, shape (B,), optional
        Probability p that the chosen outcome is the better one: the loss is then
        :math:`p\, \ell(a, b) + (1 - p)\, \ell(b, a)`.
    otherwise : PairObjective, optional
        What stands in the place of :math:`\ell(b, a)`: with labels that are 1 or 0, the loss of the others.
    offsets : float or array_like, shape (B,)
        What is taken off each chosen outcome's score, non-negative, in nats; no gradient flows into it.
    weights : float or array_like, shape (B,)
        What each pair counts, non-negative; no gradient flows into it.
    reduction : {"mean", "sum"}
        Over pairs; "mean" divides the sum by their number.

    Returns
    -------
    BatchLoss
        Gradients: policy_chosen, policy_rejected; none flows into the reference, labels or weights.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, or a number is out of range.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> from pbde_ref.losses.log_ratios import sppo
    >>> losses.log_ratio_loss(sppo(0.25), [-1.0], [-7.0], [-3.0], [-4.0]).losses  # a = 2, b = -3, targets 2 and -2
    array([1.])
    """
    for name, given in (("objective", objective), ("otherwise", objective if otherwise is None else otherwise)):
        instance(name, given, PairObjective, "a PairObjective, such as sppo(beta)")
    weight = non_negative_number("likelihood_weight", likelihood_weight)
    references = () if reference_chosen is None else (reference_chosen, reference_rejected)
    four: tuple[Any, ...] = (policy_chosen, policy_rejected, *references)
    arguments = policies(*four) | {"weights": (weights, NON_NEGATIVE), "offsets": (offsets, NON_NEGATIVE)}
    if labels is not None:
        arguments["labels"] = labels, NON_NEGATIVE
        reject("labels", "at most 1", np.asarray(labels, float), np.asarray(labels, float) > 1.0)
    if chosen_lengths is not None:
        arguments |= {"chosen_lengths": (chosen_lengths, LENGTHS), "rejected_lengths": (rejected_lengths, LENGTHS)}
    elif per_token:
        raise ValueError("`chosen_lengths` must be given if `per_token` is true; got None")

    def parts(own: tuple[Any, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
        pre_w, pre_l = own[2:4] if references else (0.0, 0.0)
        tokens_w, tokens_l = own[-2:] if chosen_lengths is not None else (1.0, 1.0)
        scale_w, scale_l = (1.0 / tokens_w, 1.0 / tokens_l) if per_token else (1.0, 1.0)
        a, b, counts = (own[0] - pre_w) * scale_w, (own[1] - pre_l) * scale_l, own[len(four)]
        a = a - own[len(four) + 1]
        value, slope_w, slope_l = objective.parts(a, b)
        if labels is not None:
            p, other = own[len(four) + 2], objective.parts(b, a)
            other = (other[0], other[2], other[1]) if otherwise is None else otherwise.parts(a, b)
            value, slope_w, slope_l = (
                weighted(p, here) + weighted(1.0 - p, there)
                for here, there in zip((value, slope_w, slope_l), other, strict=True)
            )
        value, slope_w, slope_l = counts * value, counts * slope_w * scale_w, counts * slope_l * scale_l
        if weight:
            # An excluded outcome that was chosen costs everything.
            value, slope_w = value - weight / tokens_w * own[0], slope_w - weight / tokens_w
        return value, slope_w, slope_l

    def compute(*own: Any, out: list[NDArray[Any]], share: float, usual: bool) -> tuple[float, float]:
        value, slope_w, slope_l = parts(own)
        write(value, out[0])
        write(share * slope_w, out[1])
        write(share * slope_l, out[2])
        return float(np.add.reduce(value)), 0.0

    def defined(*own: Any) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            bad = np.isnan(parts(own)[0])
        if bad.any():
            where = int(np.argmax(bad))
            raise ValueError(
                "`policy_chosen` and `policy_rejected` must have a loss together; got "
                f"{own[0][where]} and {own[1][where]} at index {where}"
            )

    return evaluated(arguments, compute, reduction=reduction, dtype=precision(*four), defined=defined)


def ld_dpo_loss(
    policy_chosen: ArrayLike,
    policy_rejected: ArrayLike,
    policy_chosen_excess: ArrayLike,
    policy_rejected_excess: ArrayLike,
    reference_chosen: ArrayLike,
    reference_rejected: ArrayLike,
    reference_chosen_excess: ArrayLike,
    reference_rejected_excess: ArrayLike,
    *,
    beta: float,
    share: float,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""LD-DPO (Liu et al. 2024): DPO in which tokens beyond the shorter outcome's length count less.

    .. math:: -\log \sigma(\beta (a - b)), \qquad a = \log \frac{\pi_\theta}{\pi_{pre}}(x_{w, \le l})
              + \alpha \log \frac{\pi_\theta}{\pi_{pre}}(x_{w, > l} \mid x_{w, \le l}), \qquad
              l = \min(|x_w|, |x_l|), and b likewise

    Parameters
    ----------
    policy_chosen, policy_rejected, reference_chosen, reference_rejected : array_like, shape (B,)
        Log-probabilities summed over the first l tokens, at most 0; the reference's finite.
    policy_chosen_excess, policy_rejected_excess, reference_chosen_excess, reference_rejected_excess : array_like
        Summed over the tokens beyond, shape (B,), at most 0 and finite; 0 where there are none.
    beta : float
        Positive.
    share : float
        :math:`\alpha`, in [0, 1]: at 1 the loss is DPO's.
    reduction : {"mean", "sum"}

    Returns
    -------
    BatchLoss
        Gradients: the policy's four.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> public, excess = ([-2.0], [-2.0]), ([-3.0], [0.0])
    >>> losses.ld_dpo_loss(*public, *excess, *public, [-1.0], [0.0], beta=1.0, share=0.5).losses.round(6)
    array([1.313262])
    """
    share = probability("share", share)
    publics = policy_chosen, policy_rejected, reference_chosen, reference_rejected
    others = {
        "policy_chosen_excess": policy_chosen_excess, "policy_rejected_excess": policy_rejected_excess,
        "reference_chosen_excess": reference_chosen_excess, "reference_rejected_excess": reference_rejected_excess,
    }  # fmt: skip
    shape = np.shape(policy_chosen)
    excess = [reference_log_probabilities(n, x, shape=shape) for n, x in others.items()]
    given = [
        log_probabilities("policy_chosen", policy_chosen, shape=shape),
        log_probabilities("policy_rejected", policy_rejected, shape=shape),
        reference_log_probabilities("reference_chosen", reference_chosen, shape=shape),
        reference_log_probabilities("reference_rejected", reference_rejected, shape=shape),
    ]
    sums = [x + share * y for x, y in zip(given, excess, strict=True)]
    found = log_ratio_loss(of_margin(BRADLEY_TERRY, beta), *sums, reduction=reduction)
    dtype = precision(*publics, *others.values())
    gradients = {n: g.astype(dtype) for n, g in found.gradients.items()}
    gradients |= {f"{n}_excess": (share * g).astype(dtype) for n, g in found.gradients.items()}
    return batch_loss(found.value, found.losses.astype(dtype), gradients)


def answer_loss(
    objective: PairObjective,
    policy: ArrayLike,
    reference: ArrayLike,
    desirable: ArrayLike,
    *,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""A loss of single answers, each of which was found desirable or not.

    Parameters
    ----------
    objective : PairObjective
        One with halves, such as ``kto(0.1)``: the first is the loss of a desirable answer's log-ratio.
    policy, reference : array_like, shape (B,)
        :math:`\log \pi_\theta` and :math:`\log \pi_{pre}`, at most 0, the latter finite.
    desirable : array_like of bool, shape (B,)
        Numbers count as true if they are not 0.
    desirable_weight, undesirable_weight : float
        Positive.
    reduction : {"mean", "sum"}
        Over answers.

    Returns
    -------
    BatchLoss
        Gradients: policy.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> from pbde_ref.losses.log_ratios import kto
    >>> losses.answer_loss(kto(2.0), [-1.0, -1.0], [-1.0, -1.0], [True, False]).losses
    array([0.5, 0.5])
    """
    instance("objective", objective, PairObjective, "a PairObjective, such as kto(beta)")
    if objective.halves is None:
        raise ValueError(f"`objective` must be a sum of two functions, one of each answer; got {objective.name!r:.50}")
    good, bad = objective.halves
    of_good = positive_number("desirable_weight", desirable_weight)
    of_bad = positive_number("undesirable_weight", undesirable_weight)
    arguments = {"policy": (policy, LOG_PROBABILITIES), "reference": (reference, REFERENCE),
                 "desirable": (plain_array("desirable", desirable) != 0, REAL)}  # fmt: skip

    def compute(log_p: Any, log_pre: Any, wanted: Any, *, out: Any, share: float, usual: bool) -> tuple[float, float]:
        t = log_p - log_pre
        (of_wanted, slope_wanted), (of_unwanted, slope_unwanted) = good(t), bad(t)
        value = np.where(wanted != 0.0, of_good * of_wanted, of_bad * of_unwanted)
        write(value, out[0])
        write(share * np.where(wanted != 0.0, of_good * slope_wanted, of_bad * slope_unwanted), out[1])
        return float(np.add.reduce(value)), 0.0

    return evaluated(arguments, compute, reduction=reduction, dtype=precision(policy, reference), differentiated=1)


def aot_loss(
    policy_chosen: ArrayLike,
    policy_rejected: ArrayLike,
    reference_chosen: ArrayLike,
    reference_rejected: ArrayLike,
    *,
    beta: float,
    paired: bool = True,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""Alignment by optimal transport (Melnyk et al. 2024): DPO of sorted numbers, a loss of the whole batch.

    .. math:: -\log \sigma(\beta (u_{(i)} - v_{(i)})), \qquad u_{(1)} \le u_{(2)} \le \dots, \quad
              v_{(1)} \le v_{(2)} \le \dots

    Paired, u are the policy's margins and v the reference's; unpaired, u are the chosen outcomes' log-ratios and v the
    rejected ones'.

    Parameters
    ----------
    policy_chosen, policy_rejected : array_like, shape (B,)
        :math:`\log \pi_\theta`, at most 0 and finite.
    reference_chosen, reference_rejected : array_like, shape (B,)
        :math:`\log \pi_{pre}`, at most 0 and finite.
    beta : float
        Positive.
    paired : bool
    label_smoothing : float
        :math:`\epsilon`, in [0, 1/2), as in cDPO.
    reduction : {"mean", "sum"}

    Returns
    -------
    BatchLoss
        `losses` in the order of u. Gradients: policy_chosen, policy_rejected; of equal numbers the first comes first.

    Notes
    -----
    Of all ways to pair u with v the sorted one has the least loss, as the logistic loss is convex.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> batch = [-1.0, -2.0], [-3.0, -1.0], [-2.0, -2.0], [-2.0, -2.0]  # u = -1, 2; v = 0, 0
    >>> losses.aot_loss(*batch, beta=1.0).losses
    array([1.31326169, 0.12692801])
    """
    beta, objective = positive_number("beta", beta), smoothed(flip_probability("label_smoothing", label_smoothing))
    switch("paired", paired)
    four = policy_chosen, policy_rejected, reference_chosen, reference_rejected
    pc = reference_log_probabilities("policy_chosen", policy_chosen, shape=None)
    names = ("policy_rejected", "reference_chosen", "reference_rejected")
    pr, rc, rr = (reference_log_probabilities(n, x, shape=pc.shape) for n, x in zip(names, four[1:], strict=True))
    u, v = (pc - pr, rc - rr) if paired else (pc - rc, pr - rr)
    first, second = np.argsort(u, kind="stable"), np.argsort(v, kind="stable")
    with np.errstate(over="ignore"):
        m, count = beta * (u[first] - v[second]), batch_size(reduction, pc.size)
    rising, falling = np.empty(pc.size), np.empty(pc.size)
    rising[first] = falling[first if paired else second] = beta * objective.derivative(m) / count
    values, dtype = objective.value(m), precision(*four)
    gradients = {"policy_chosen": rising.astype(dtype), "policy_rejected": (0.0 - falling).astype(dtype)}
    return batch_loss(float(values.sum()) / count, values.astype(dtype), gradients)
