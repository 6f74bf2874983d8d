r"""Pairwise objectives as functions of the winner's margin, each with its first two derivatives.

For a pair (A, B) with :math:`d = \omega_A - \omega_B` the loss is :math:`\ell(d)` if A won and :math:`\ell(-d)` if B
did; batch losses and expectations are both built from :math:`\ell`. What the utility :math:`\omega` is made of, and in
which units the margin is, belongs to the loss: :math:`\beta` of DPO is in the utility, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import wraps
from inspect import signature
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pbde_ref.display import Shown
from pbde_ref.numerics import bernoulli_kl, sigmoid_difference, softplus, weighted
from pbde_ref.validation import FloatArray, flip_probability, non_negative_number, positive_number, shown

__all__ = [
    "BRADLEY_TERRY", "Objective", "as_objective", "davidson", "discopop", "exo", "hinge", "ipo", "robust", "rrhf",
    "smoothed", "with_margin",
]  # fmt: skip

_Function = Callable[[FloatArray], FloatArray]
_Quick = Callable[[FloatArray, NDArray[Any]], NDArray[Any]]
_Maker = TypeVar("_Maker", bound="Callable[..., Objective]")


@dataclass(frozen=True, eq=False)
class Objective(Shown):
    r"""One pair's loss as a function of the winner's margin :math:`m`.

    Two objectives are equal only if they are the same object.

    Attributes
    ----------
    name : str
        What kind of function it is: "bradley_terry", "smoothed", "robust", "hinge" or "ipo", or your own.
    value, derivative, second_derivative : callable
        :math:`\ell(m)`, :math:`\ell'(m)` and :math:`\ell''(m)`, elementwise, for :math:`m \in [-\infty, \infty]`.
        Where :math:`\ell` has a kink, `derivative` is the subgradient that the objective's documentation states and
        `second_derivative` is zero.
    parameters : mapping of str to float
        The numbers that single it out among objectives of its name. Read-only.
    convex : bool or None
        Whether :math:`\ell` is known to be convex, so that the expected loss is convex in the utilities; None if nobody
        said.
    quick : callable, optional
        Both at once, for large batches: of margins, whose float64 array may be overwritten, and an array for their
        losses, float32 or float64; returns the derivatives. Where the losses' sum is finite, all is right if the
        margins were finite.
    least : callable, optional
        For what is not convex: from the probability P of winning, and 1 - P, to a margin at or near which
        :math:`P \ell(m) + (1 - P) \ell(-m)` is least, and a lower bound of these values.

    Examples
    --------
    >>> exponential = Objective("exponential", lambda m: np.exp(-m), lambda m: -np.exp(-m), lambda m: np.exp(-m))
    >>> exponential.derivative(np.array([0.0]))
    array([-1.])
    >>> exponential
    Objective(name='exponential', parameters=mappingproxy({}))
    """

    name: str
    value: _Function = field(repr=False)
    derivative: _Function = field(repr=False)
    second_derivative: _Function = field(repr=False)
    parameters: Mapping[str, float] = field(default_factory=dict)
    convex: bool | None = field(default=None, repr=False)
    quick: _Quick | None = field(default=None, repr=False)
    least: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    def __reduce__(self) -> Any:
        """Stored as the call that made it, as its functions have no names; yours are stored by their names."""
        if "_call" in self.__dict__:
            return _called, self.__dict__["_call"]
        given = (getattr(self, entry.name) for entry in fields(self))
        return Objective, tuple(dict(value) if isinstance(value, MappingProxyType) else value for value in given)


def _called(function: Callable[..., Objective], *arguments: Any) -> Objective:
    return function(*arguments)


def _stored_as_call(function: _Maker) -> _Maker:
    """Let what the function makes know how it was made."""
    spelled = signature(function)

    @wraps(function)
    def make(*arguments: Any, **named: Any) -> Objective:
        made = function(*arguments, **named)
        if "_call" not in made.__dict__ and not any(argument is made for argument in (*arguments, *named.values())):
            made.__dict__["_call"] = (make, *spelled.bind(*arguments, **named).args)
        return made

    return cast(_Maker, make)


def _quick_logistic(lean: float) -> _Quick:
    r""":math:`-\log \sigma(m) + \lambda m` and its derivative, :math:`\lambda - \sigma(-m)`."""

    def quick(m: FloatArray, out: NDArray[Any]) -> NDArray[Any]:
        odds = np.negative(m, out=m if lean == 0.0 else None)
        np.exp(odds, out=odds)
        if lean == 0.0:
            slope = np.negative(np.log1p(odds, out=out, casting="same_kind"))
        else:
            slope = np.negative(np.log1p(odds, out=odds))
            m *= lean
            np.subtract(m, slope, out=out, casting="same_kind")
        # −σ(−m) = exp(log σ(m)) − 1 subtracts nothing that was rounded, so that single precision suffices for itself.
        np.expm1(slope, out=slope)
        if lean != 0.0:
            slope += lean
        return slope

    return quick


BRADLEY_TERRY = Objective(
    "bradley_terry",
    value=lambda m: softplus(-m),
    derivative=lambda m: -expit(-m),
    second_derivative=lambda m: expit(m) * expit(-m),
    convex=True,
    quick=_quick_logistic(0.0),
)
r"""Eq. (1), (2), (7): :math:`\ell(m) = -\log \sigma(m)`, the cross-entropy of a logistic preference."""


@_stored_as_call
def smoothed(epsilon: float) -> Objective:
    r"""The logistic loss with smoothed labels, known from conservative DPO (cDPO).

    .. math:: \ell(m) = -(1 - \epsilon) \log \sigma(m) - \epsilon \log \sigma(-m), \qquad
              \ell'(m) = \epsilon\, \sigma(m) - (1 - \epsilon)\, \sigma(-m), \qquad \ell''(m) = \sigma(m)\, \sigma(-m)

    Eq. (1) if each label :math:`y` becomes :math:`(1 - \epsilon) y + \epsilon (1 - y)`. Least at the margin
    :math:`\log \frac{1 - \epsilon}{\epsilon}`.

    Parameters
    ----------
    epsilon : float
        Assumed probability that a label is flipped, in [0, 1/2). At 0 the result is `BRADLEY_TERRY` itself.

    Examples
    --------
    >>> round(float(smoothed(0.25).derivative(np.log(3.0))), 15)
    0.0
    >>> smoothed(0.0) is BRADLEY_TERRY
    True
    """
    epsilon = flip_probability("epsilon", epsilon)
    if epsilon == 0.0:
        return BRADLEY_TERRY
    return Objective(
        "smoothed",
        value=lambda m: (1.0 - epsilon) * softplus(-m) + epsilon * softplus(m),
        derivative=lambda m: epsilon * expit(m) - (1.0 - epsilon) * expit(-m),
        second_derivative=BRADLEY_TERRY.second_derivative,
        parameters={"epsilon": epsilon},
        convex=True,
        quick=_quick_logistic(epsilon),
    )


@_stored_as_call
def robust(epsilon: float) -> Objective:
    r"""The logistic loss made unbiased for labels that were flipped with probability :math:`\epsilon` (robust DPO).

    .. math:: \ell(m) = \frac{-(1 - \epsilon) \log \sigma(m) + \epsilon \log \sigma(-m)}{1 - 2 \epsilon}, \qquad
              \ell'(m) = -\frac{(1 - \epsilon)\, \sigma(-m) + \epsilon\, \sigma(m)}{1 - 2 \epsilon}, \qquad
              \ell''(m) = \sigma(m)\, \sigma(-m)

    Its expectation over flips, :math:`(1 - \epsilon)\, \ell(m) + \epsilon\, \ell(-m)`, is :math:`-\log \sigma(m)`. It
    falls without bound as the margin grows.

    Parameters
    ----------
    epsilon : float
        Probability that a label is flipped, in [0, 1/2). At 0 the result is `BRADLEY_TERRY` itself.

    Examples
    --------
    >>> loss, m = robust(0.1), np.array(2.0)
    >>> round(float(0.9 * loss.value(m) + 0.1 * loss.value(-m) - BRADLEY_TERRY.value(m)), 15)
    0.0
    """
    epsilon = flip_probability("epsilon", epsilon)
    if epsilon == 0.0:
        return BRADLEY_TERRY
    keep, flip = (1.0 - epsilon) / (1.0 - 2.0 * epsilon), epsilon / (1.0 - 2.0 * epsilon)
    return Objective(
        "robust",
        value=lambda m: keep * softplus(-m) - flip * softplus(m),
        derivative=lambda m: -keep * expit(-m) - flip * expit(m),
        second_derivative=BRADLEY_TERRY.second_derivative,
        parameters={"epsilon": epsilon},
        convex=True,
        quick=_quick_logistic(-flip),
    )


@_stored_as_call
def hinge(delta: float) -> Objective:
    r"""The hinge loss of SLiC-HF, Eq. (20), and RSO, Eq. (21).

    .. math:: \ell(m) = (\delta - m)^+, \qquad \ell'(m) = -[m < \delta], \qquad \ell''(m) = 0

    At the kink, :math:`m = \delta`, the subgradient is 0, the shortest one.

    Parameters
    ----------
    delta : float
        :math:`\delta`, non-negative, in nats of log-probability.

    Notes
    -----
    Eq. (20) prints the bracket around the margin alone, :math:`\delta - (m)^+`; Eq. (21) has it right.

    Examples
    --------
    >>> m = np.array([0.0, 1.0, 3.0])
    >>> hinge(1.0).value(m), hinge(1.0).derivative(m)
    (array([1., 0., 0.]), array([-1.,  0.,  0.]))
    """
    delta = non_negative_number("delta", delta)

    def quick(m: FloatArray, out: NDArray[Any]) -> NDArray[Any]:
        np.subtract(delta, m, out=out, casting="same_kind")
        # Of an array and a number NumPy's maximum takes three times as long.
        np.maximum(out, np.zeros(out.shape, out.dtype), out=out)
        return np.negative((out > 0.0).astype(out.dtype))

    return Objective(
        "hinge",
        value=lambda m: np.maximum(delta - m, 0.0),
        derivative=lambda m: np.where(m < delta, -1.0, 0.0),
        second_derivative=np.zeros_like,
        parameters={"delta": delta},
        convex=True,
        quick=quick,
    )


def rrhf() -> Objective:
    r"""The ranking loss of RRHF for one pair, Eq. (19): :math:`\ell(m) = (-m)^+`, that is ``hinge(0)``.

    The subgradient at :math:`m = 0` is 0.

    Notes
    -----
    Eq. (19) prints :math:`-(m)^+`, which rewards without bound a margin that is already right and ignores a wrong one.

    Examples
    --------
    >>> rrhf().value(np.array([-2.0, 2.0]))
    array([2., 0.])
    """
    return hinge(0.0)


LEAST_TAU = 1e-150
"""Below it the square of 1/2τ, which is the loss at a margin of zero, is infinite, and above its inverse that of τ."""


@_stored_as_call
def ipo(tau: float) -> Objective:
    r"""The quadratic loss of IPO, Eq. (23).

    .. math:: \ell(m) = \Big(m - \frac{1}{2\tau}\Big)^2, \qquad \ell'(m) = 2 \Big(m - \frac{1}{2\tau}\Big), \qquad
              \ell''(m) = 2

    Parameters
    ----------
    tau : float
        :math:`\tau` of Eq. (22), from 1e-150 to 1e150; most code calls it beta.

    Examples
    --------
    >>> ipo(0.25).value(np.array([0.0, 2.0]))
    array([4., 0.])
    """
    tau = positive_number("tau", tau)
    if not LEAST_TAU <= tau <= 1.0 / LEAST_TAU:
        raise ValueError(f"`tau` must be from 1e-150 to 1e150, so that its square is a number; got {tau}")
    target = 0.5 / tau

    def value(m: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.asarray(np.square(m - target))

    def derivative(m: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.asarray(2.0 * (m - target))

    def quick(m: FloatArray, out: NDArray[Any]) -> NDArray[Any]:
        m -= target
        np.square(m, out=out, casting="same_kind")
        return np.multiply(m, 2.0, out=m)

    return Objective(
        "ipo",
        value=value,
        derivative=derivative,
        second_derivative=lambda m: 2.0 * np.ones_like(m),
        parameters={"tau": tau},
        convex=True,
        quick=quick,
    )


@_stored_as_call
def exo(epsilon: float) -> Objective:
    r"""The reverse divergence of EXO for a pair (Ji et al. 2024, Eq. 16), with :math:`L = -\text{logit}(\epsilon)`.

    .. math:: \ell(m) = D_{KL}\big((\sigma(m), \sigma(-m)) \,\|\, (1 - \epsilon, \epsilon)\big), \qquad
              \ell'(m) = \sigma(m)\, \sigma(-m)\, (m - L)

    Not convex. At a probability P of winning it is least at :math:`(2P - 1) L` only: what IPO asks for, with
    :math:`L = 1 / 2\tau`. Proof: ``proofs/exo.md``.

    Parameters
    ----------
    epsilon : float
        :math:`\epsilon`, in (0, 1/2).

    Examples
    --------
    >>> round(float(exo(0.25).value(np.array(np.log(3.0)))), 15), float(exo(0.25).derivative(np.array(0.0))) < 0
    (0.0, True)
    """
    epsilon = positive_number("epsilon", flip_probability("epsilon", epsilon))
    target = float(np.log1p(-epsilon) - np.log(epsilon))

    def value(m: FloatArray) -> FloatArray:
        excess = sigmoid_difference(np.asarray(m), np.asarray(target), target - np.asarray(m))
        return np.asarray(bernoulli_kl(expit(m), expit(-m), np.asarray(target), excess))

    def curvature(m: FloatArray) -> FloatArray:
        bend = expit(m) * expit(-m)
        return np.asarray(bend + weighted(bend * (expit(-m) - expit(m)), m - target))

    def least(wins: FloatArray, losses: FloatArray) -> tuple[FloatArray, FloatArray]:
        m = (wins - losses) * target
        return m, wins * value(m) + losses * value(-m)

    return Objective(
        "exo",
        value=value,
        derivative=lambda m: weighted(expit(m) * expit(-m), m - target),
        second_derivative=curvature,
        parameters={"epsilon": epsilon},
        convex=False,
        least=least,
    )


@_stored_as_call
def discopop(tau: float = 0.05) -> Objective:
    r"""The loss that DiscoPOP found, log-ratio modulated (Lu et al. 2024, Eq. 5), with :math:`s = \sigma(m / \tau)`.

    .. math:: \ell(m) = -(1 - s) \log \sigma(m) + s\, e^{-m}

    Not convex: it rises from :math:`\log 2` at margins a little below zero to 1 a little above.

    Parameters
    ----------
    tau : float
        :math:`\tau`, positive.

    Examples
    --------
    >>> round(float(discopop().value(np.array(0.0))), 6)  # (log 2 + 1) / 2
    0.846574
    """
    tau = positive_number("tau", tau)

    def parts(m: FloatArray) -> tuple[FloatArray, ...]:
        s, rest = expit(m / tau), expit(-m / tau)
        # The exponential with its weight, which far below 0 keeps it finite, or does not.
        power = weighted(np.where(m < 0.0, 1.0 - 1.0 / tau, 1.0), -m) - softplus(-np.abs(m) / tau)
        with np.errstate(over="ignore"):
            return s, rest, softplus(-m), np.exp(power), s * rest / tau

    def value(m: FloatArray) -> FloatArray:
        _, rest, logistic, exponential, _ = parts(m)
        return np.asarray(weighted(rest, logistic) + exponential)

    def derivative(m: FloatArray) -> FloatArray:
        _, rest, logistic, exponential, bend = parts(m)
        return np.asarray(-rest * expit(-m) + exponential * (rest / tau - 1.0) - weighted(bend, logistic))

    def second_derivative(m: FloatArray) -> FloatArray:
        s, rest, logistic, exponential, bend = parts(m)
        turn = bend * (rest - s) / tau
        of_exponential = exponential * ((1.0 - rest / tau) ** 2 - rest * s / tau**2)
        of_logistic = rest * expit(m) * expit(-m) + 2.0 * bend * expit(-m) - weighted(turn, logistic)
        return np.asarray(of_logistic + of_exponential)

    def least(wins: FloatArray, losses: FloatArray) -> tuple[FloatArray, FloatArray]:
        # An exponential is above the logistic loss, and so is what mixes both.
        m = np.log(wins) - np.log(losses)
        return m, weighted(wins, softplus(-m)) + weighted(losses, softplus(m))

    return Objective(
        "discopop", value, derivative, second_derivative, parameters={"tau": tau}, convex=False, least=least
    )


@_stored_as_call
def davidson(tendency: float) -> Objective:
    r"""The loss of a pair that was decided, by Davidson's model of comparisons with ties.

    .. math:: \ell(m) = \log (1 + e^{-m} + 2 \nu\, e^{-m / 2})

    A tie costs the mean of :math:`\ell(m)` and :math:`\ell(-m)`, less :math:`\log 2 \nu`.

    Parameters
    ----------
    tendency : float
        :math:`\nu`, positive: odds of a tie between equals are :math:`\nu` to 1.

    Examples
    --------
    >>> bool(np.isclose(davidson(1.0).value(np.array(0.0)), np.log(4.0)))
    True
    """
    tendency = positive_number("tendency", tendency)

    def shares(m: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Probabilities to win, to lose and to tie."""
        root = np.exp(-0.5 * np.abs(m))
        total = 1.0 + root * (root + 2.0 * tendency)
        likely, unlikely = 1.0 / total, root * root / total
        won = np.asarray(m) > 0.0
        return np.where(won, likely, unlikely), np.where(won, unlikely, likely), 2.0 * tendency * root / total

    def value(m: FloatArray) -> FloatArray:
        root = np.exp(-0.5 * np.abs(m))
        return np.asarray(np.maximum(-m, 0.0) + np.log1p(root * (root + 2.0 * tendency)))

    def derivative(m: FloatArray) -> FloatArray:
        _, lost, tied = shares(m)
        return np.asarray(-(lost + 0.5 * tied))

    def second_derivative(m: FloatArray) -> FloatArray:
        won, lost, tied = shares(m)
        return np.asarray(won * lost + 0.25 * tied * (won + lost))

    return Objective(
        "davidson", value, derivative, second_derivative, parameters={"tendency": tendency}, convex=True
    )


@_stored_as_call
def with_margin(objective: str | Objective, margin: float) -> Objective:
    r"""The objective that asks of the winner to win by a margin: :math:`m \mapsto \ell(m - \gamma)`.

    Parameters
    ----------
    objective : str or Objective
        :math:`\ell`.
    margin : float
        :math:`\gamma`, non-negative, in units of the utility. At 0 the result is the objective itself.

    Examples
    --------
    >>> shifted = with_margin("bradley_terry", 0.5)
    >>> bool(shifted.value(np.array(2.0)) == BRADLEY_TERRY.value(np.array(1.5)))
    True
    """
    objective, margin = as_objective(objective), non_negative_number("margin", margin)
    if margin == 0.0:
        return objective
    quick = objective.quick
    return Objective(
        # Not the plain name: whoever solves for the optimum by name must not overlook the margin.
        f"{objective.name} with margin",
        value=lambda m: objective.value(m - margin),
        derivative=lambda m: objective.derivative(m - margin),
        second_derivative=lambda m: objective.second_derivative(m - margin),
        parameters={**objective.parameters, "margin": margin + objective.parameters.get("margin", 0.0)},
        convex=objective.convex,
        quick=quick and (lambda m, out: quick(m - margin, out)),
    )


# Name, the parameters it needs, and how it is made.
_KNOWN: dict[str, tuple[tuple[str, ...], Callable[..., Objective]]] = {
    "bradley_terry": ((), lambda: BRADLEY_TERRY),
    "smoothed": (("epsilon",), smoothed),
    "robust": (("epsilon",), robust),
    "hinge": (("delta",), hinge),
    "slic": (("delta",), hinge),
    "rso": (("delta",), hinge),
    "rrhf": ((), rrhf),
    "ipo": (("tau",), ipo),
    "exo": (("epsilon",), exo),
    "discopop": (("tau",), discopop),
    "davidson": (("tendency",), davidson),
}


def as_objective(objective: str | Objective, **parameters: float) -> Objective:
    """The objective of that name with these parameters, or the objective itself.

    Parameters
    ----------
    objective : str or Objective
        "bradley_terry", "smoothed" (needs epsilon), "robust" (epsilon), "hinge" and its aliases "slic" and "rso"
        (delta), "rrhf" (``hinge(0)``), "ipo" (tau), "exo" (epsilon), "discopop" (tau), or "davidson" (tendency).
    **parameters : float
        Exactly those that the name needs; none for an Objective.

    Raises
    ------
    ValueError
        If the name is unknown or a parameter is out of range.
    TypeError
        If a parameter is missing or superfluous, or `objective` is neither a string nor an Objective.

    Examples
    --------
    >>> as_objective("slic", delta=1.0)
    Objective(name='hinge', parameters=mappingproxy({'delta': 1.0}))
    >>> as_objective("bradley-terry")
    Traceback (most recent call last):
        ...
    ValueError: `objective` must be one of bradley_terry, smoothed(epsilon), robust(epsilon), hinge(delta), slic(delta),
    rso(delta), rrhf, ipo(tau), exo(epsilon), discopop(tau), davidson(tendency); got ...
    """
    if isinstance(objective, Objective):
        if parameters:
            raise TypeError(f"an Objective already has its parameters; got also {_listed(parameters)}")
        return objective
    if not isinstance(objective, str):
        raise TypeError(f"`objective` must be a name or an Objective, such as ipo(tau); got {shown(objective)}")
    if objective not in _KNOWN:
        known = ", ".join(f"{name}({', '.join(needs)})" if needs else name for name, (needs, _) in _KNOWN.items())
        raise ValueError(f"`objective` must be one of {known}; got {objective!r:.60}; optimum() knows more losses")
    needs, make = _KNOWN[objective]
    if set(needs) != set(parameters):
        raise TypeError(
            f"objective {objective!r} must have {_listed(needs)}, "
            f"as in as_objective({', '.join([repr(objective), *(f'{name}=...' for name in needs)])}); "
            f"got {_listed(parameters)}"
        )
    return make(**parameters)


BRADLEY_TERRY.__dict__["_call"] = (as_objective, "bradley_terry")


def _listed(names: Any) -> str:
    """The names as words of a message."""
    return "the parameter " + ", ".join(f"`{name}`" for name in names) if names else "no parameters"
