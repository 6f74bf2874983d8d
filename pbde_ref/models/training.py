"""Full-batch training: Adam along autograd's gradient, the learning rate falling to zero along a cosine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autograd import value_and_grad

from pbde_ref.models.adam import adam_step, cosine_decay, initial_adam_state
from pbde_ref.models.threads import keep_freed_memory
from pbde_ref.validation import FloatArray, whole_number

__all__ = ["Training", "train"]

REPORT_EVERY = 64

Progress = Callable[[int, float], object]


@dataclass(frozen=True, eq=False)
class Training:
    """Where training ended.

    Attributes
    ----------
    parameters : ndarray
    losses : tuple of float
        The loss before every 64th step, the first included.
    """

    parameters: FloatArray
    losses: tuple[float, ...]


def train(
    loss: Callable[[FloatArray], float],
    parameters: FloatArray,
    *,
    steps: int,
    learning_rate: float,
    progress: Progress | None = None,
) -> Training:
    """Minimise a loss by Adam.

    Parameters
    ----------
    loss : callable
        Parameters to loss; called once a step, differentiated by autograd. It may draw anew in each call.
    parameters : ndarray
        Where to start.
    steps : int
        At least 1.
    learning_rate : float
        Of the first step; it decays to zero along a cosine over the steps.
    progress : callable, optional
        Called with the number of steps done and the loss, every 64 steps.

    Raises
    ------
    ArithmeticError
        If the loss becomes infinite or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.models.training import train
    >>> train(lambda x: (x[0] - 3.0) ** 2, np.zeros(1), steps=500, learning_rate=0.1).parameters.round(3)
    array([3.])
    """
    steps = whole_number("steps", steps, least=1)
    keep_freed_memory()
    loss_and_gradient = value_and_grad(loss)
    state = initial_adam_state(parameters)
    losses = []
    for step in range(steps):
        value, gradient = loss_and_gradient(parameters)
        if not abs(value) < float("inf"):
            raise ArithmeticError(
                f"the loss must stay finite; got {value} at step {step} with learning rate {learning_rate}"
            )
        if step % REPORT_EVERY == 0:
            losses.append(float(value))
            if progress is not None:
                progress(step, losses[-1])
        rate = cosine_decay(step, peak=learning_rate, steps=steps)
        parameters, state = adam_step(parameters, gradient, state, learning_rate=rate)
    if progress is not None:
        progress(steps, losses[-1])
    return Training(parameters, tuple(losses))
