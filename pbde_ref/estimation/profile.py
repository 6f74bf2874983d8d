r"""Intervals by profile likelihood, which hold where few comparisons make the likelihood lopsided.

An interval of :math:`c^\top \omega` holds the values at which little likelihood is lost,

.. math:: 2 \Big[\max_\omega \ell(\omega) - \max_{c^\top \omega = \delta} \ell(\omega)\Big] \le \chi^2_1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.estimation.given import given_comparisons
from pbde_ref.estimation.likelihood import add_up, fit_comparisons
from pbde_ref.estimation.newton import ItemsProblem, spread
from pbde_ref.estimation.priors import Prior
from pbde_ref.estimation.result import interval_reach
from pbde_ref.validation import FloatArray, indices

__all__ = ["profile_intervals"]

# Nats that a step may still change, and by how much an end may be off.
CLOSE, EXACT = 1e-8, 1e-6


def profile_intervals(
    winner: Any, loser: Any = None, weights: Any = None, *, level: float = 0.95,
    items: Sequence[int] | NDArray[Any] | None = None, relative_to: int | None = None, support: Any = None,
    prior: Prior | None = None,
) -> FloatArray:  # fmt: skip
    """Intervals of utilities relative to an item's, or to their mean, without a prior that of their component.

    Parameters
    ----------
    winner, loser, weights, support, prior
        As in `fit_comparisons`, or a table. Without ties, for half a win has no likelihood.
    level : float
        Probability of covering the truth, in (0, 1).
    items : sequence of int, optional
        Default: all.
    relative_to : int, optional
        The item at zero.

    Raises
    ------
    ValueError
        If there are ties, or effects.

    Returns
    -------
    ndarray, shape (k, 2)

    Examples
    --------
    Five wins of six: Wald's interval is as far below the estimate as above.

    >>> import numpy as np
    >>> from pbde_ref.estimation import fit_comparisons, profile_intervals
    >>> profile_intervals([0, 1], [1, 0], [5, 1], items=[0], relative_to=1).round(2)
    array([[-0.22,  4.56]])
    >>> fit_comparisons([0, 1], [1, 0], [5, 1]).confidence_intervals(items=[0], relative_to=1).round(2)
    array([[-0.54,  3.76]])
    """
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import brentq

    given = given_comparisons(winner, loser, weights, None, support)
    if given.ties is not None or given.columns:
        raise ValueError("`winner` must come without ties and effects; got a table with such")
    fit = fit_comparisons(
        given.winner, given.loser, given.weights, support=range(given.size), prior=prior, incomparable="separate"
    )
    tally = add_up(given.winner, given.loser, given.weights, given.size)
    problem = ItemsProblem(tally, prior, fit.components if prior is None else None)
    best, reach = fit.log_likelihood + fit.log_prior, interval_reach(level)

    def loss(contrast: FloatArray, at: FloatArray, value: float) -> float:
        """Twice the likelihood lost beyond what is allowed, where the contrast has this value; moves `at` there."""
        for _ in range(100):
            gradient, information = problem.derivatives(at, problem.room())
            down, along = (information.solve(information.centred(part), 1e-12) for part in (-gradient, contrast))
            step = down + along * (value - contrast @ at - contrast @ down) / (contrast @ along)
            size = spread(step, grounded=prior is not None)
            at += step / max(1.0, size)
            if size <= CLOSE:
                break
        lost = best - tally.log_likelihood(at) - (0.0 if prior is None else prior.log_density(at))
        return 2.0 * lost - reach**2

    chosen = np.arange(given.size) if items is None else indices("items", items)
    result = np.empty((chosen.size, 2))
    errors = fit.standard_errors(chosen, relative_to=relative_to)
    for place, (item, error) in enumerate(zip(chosen.tolist(), errors.tolist(), strict=True)):
        contrast = np.zeros(given.size)
        contrast[item] = 1.0
        if relative_to is None:
            alike = (fit.components == fit.components[item]) | (prior is not None)
            contrast -= alike / np.count_nonzero(alike)
        else:
            contrast[relative_to] -= 1.0
        middle = float(contrast @ fit.utilities)
        for side, sign in enumerate((-1.0, 1.0)):
            at, far = fit.utilities.copy(), reach * error
            while error and loss(contrast, at, middle + sign * far) < 0.0:
                far *= 1.5
            ends = (middle, middle + sign * far)
            result[place, side] = brentq(lambda v: loss(contrast, at, v), *ends, xtol=EXACT) if error else middle  # noqa: B023
    return result
