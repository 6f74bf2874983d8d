r"""Adam (Kingma and Ba, 2015), with decoupled weight decay (Loshchilov and Hutter, 2019), and learning-rate schedules.

All parameters of a model are one flat vector; a model gives names and shapes to its parts. So a step is a handful of
operations on vectors, and a checkpoint is three of them and a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from pbde_ref.validation import instance, non_negative_number, number, reject, shown, whole_number

__all__ = ["AdamState", "adam_step", "cosine_decay", "initial_adam_state", "warmup_cosine"]

_Vector = TypeVar("_Vector", bound=NDArray[np.floating[Any]])

BLOCK = 2**14


@dataclass(frozen=True, eq=False)
class AdamState:
    """What Adam remembers between steps.

    Attributes
    ----------
    first_moment, second_moment : ndarray, shape (n,)
        Exponential averages of the gradient and of its square, biased towards their start at zero.
    steps : int
        Steps taken.
    """

    first_moment: NDArray[np.floating[Any]]
    second_moment: NDArray[np.floating[Any]]
    steps: int


def initial_adam_state(parameters: NDArray[np.floating[Any]]) -> AdamState:
    """The state before the first step: zeros of the parameters' shape and dtype."""
    return AdamState(np.zeros_like(parameters), np.zeros_like(parameters), 0)


def adam_step(
    parameters: _Vector,
    gradient: NDArray[np.floating[Any]],
    state: AdamState,
    *,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[_Vector, AdamState]:
    r"""Parameters and state after one step of Adam.

    .. math:: m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
              \theta_t = \theta_{t-1} - \eta \Big( \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}
              + \lambda \theta_{t-1} \Big)

    Parameters
    ----------
    parameters, gradient : ndarray, shape (n,)
        Floating point and finite; neither is changed.
    state : AdamState
    learning_rate : float
        :math:`\eta`, finite.
    beta_1, beta_2 : float
        In [0, 1).
    epsilon : float
        As in the formula, non-negative.
    weight_decay : float
        :math:`\lambda`; 0 is Adam, more is AdamW.

    Raises
    ------
    ValueError
        If shapes differ, a number is out of range, or the gradient has an entry that is NaN or so large that its square
        is infinite in its precision.

    Examples
    --------
    The first step has the length of the learning rate, whatever the gradient's scale.

    >>> import numpy as np
    >>> from pbde_ref.models.adam import adam_step, initial_adam_state
    >>> parameters = np.zeros(2)
    >>> moved, state = adam_step(parameters, np.array([1e-3, -1e3]), initial_adam_state(parameters), learning_rate=0.1)
    >>> moved.round(4), state.steps
    (array([-0.1,  0.1]), 1)
    """
    learning_rate, weight_decay = number("learning_rate", learning_rate), number("weight_decay", weight_decay)
    beta_1, beta_2 = number("beta_1", beta_1), number("beta_2", beta_2)
    epsilon = non_negative_number("epsilon", epsilon)
    instance("state", state, AdamState, "an AdamState")
    for name, value in (("parameters", parameters), ("gradient", gradient)):
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise TypeError(f"`{name}` must be an array of floating point; got {shown(value)}")
    for name, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"`{name}` must be in [0, 1); got {beta}")
    for name, value in (("gradient", gradient), ("state.first_moment", state.first_moment)):
        if value.shape != parameters.shape:
            raise ValueError(f"`{name}` must have the parameters' shape {parameters.shape}; got {value.shape}")
    steps = state.steps + 1
    moved, first, second = (np.empty_like(parameters) for _ in range(3))
    # Block by block, everything between reading a number and writing it happens in the cache.
    for start in range(0, parameters.size, BLOCK):
        here = slice(start, start + BLOCK)
        slope = gradient[here]
        np.multiply(state.first_moment[here], beta_1, out=first[here])
        first[here] += (1.0 - beta_1) * slope
        np.multiply(state.second_moment[here], beta_2, out=second[here])
        with np.errstate(over="ignore", invalid="ignore"):
            second[here] += (1.0 - beta_2) * np.square(slope)
        if not second[here].max() < np.inf:
            reject("gradient", "finite, also when it is squared", slope, ~np.isfinite(second[here]))
        size = np.sqrt(second[here])
        size *= 1.0 / math.sqrt(1.0 - beta_2**steps)
        size += epsilon
        change = first[here] / size
        change *= learning_rate / (1.0 - beta_1**steps)
        if weight_decay != 0.0:
            change += learning_rate * weight_decay * parameters[here]
        np.subtract(parameters[here], change, out=moved[here])
    return cast(_Vector, moved), AdamState(first, second, steps)


def cosine_decay(step: int, *, peak: float, steps: int) -> float:
    r"""Learning rate :math:`\tfrac12 \eta (1 + \cos(\pi t / T))` of step t = 0, 1, …; zero from t = T on.

    Examples
    --------
    >>> from pbde_ref.models.adam import cosine_decay
    >>> [round(cosine_decay(t, peak=1.0, steps=4), 4) for t in range(6)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0]
    """
    peak, steps = non_negative_number("peak", peak), whole_number("steps", steps, least=1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(step / steps, 1.0)))


def warmup_cosine(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Learning rate of step t = 0, 1, …: linear up to `peak` over the warm-up, then `cosine_decay` over what is left.

    Examples
    --------
    >>> from pbde_ref.models.adam import warmup_cosine
    >>> [round(warmup_cosine(t, peak=1.0, warmup_steps=2, steps=6), 4) for t in range(7)]
    [0.5, 1.0, 1.0, 0.8536, 0.5, 0.1464, 0.0]
    """
    warmup_steps = whole_number("warmup_steps", warmup_steps)
    if step < warmup_steps:
        return non_negative_number("peak", peak) * (step + 1) / warmup_steps
    return cosine_decay(step - warmup_steps, peak=peak, steps=max(1, steps - warmup_steps))
