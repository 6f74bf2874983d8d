r"""Losses of pairs: an objective of the winner's margin, whatever utilities make it up.

Every pairwise loss is :math:`\ell(\omega(x_w) - \omega(x_l))`, x_w the chosen and x_l the rejected outcome. The paper
writes y = 1 for :math:`x_A \succ x_B`; then A is the chosen one, otherwise B.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.losses.chunks import Arguments, evaluated, write
from pbde_ref.losses.inputs import FINITE, NON_NEGATIVE, REAL, defined_pairs, precision
from pbde_ref.losses.result import BatchLoss, Precision, Reduction
from pbde_ref.objectives import BRADLEY_TERRY, Objective, as_objective
from pbde_ref.validation import FloatArray

__all__ = ["bradley_terry_loss", "margin_loss", "pairwise_loss"]


def pairwise_loss(
    chosen_utilities: ArrayLike,
    rejected_utilities: ArrayLike,
    *,
    objective: str | Objective = "bradley_terry",
    margin: ArrayLike = 0.0,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""Any pairwise objective of any utilities, :math:`\ell(\omega_w - \omega_l - \gamma)`.

    Parameters
    ----------
    chosen_utilities, rejected_utilities : array_like, shape (B,)
        :math:`\omega_w` and :math:`\omega_l`: any real numbers, such as rewards or log-densities; not the same infinity
        in a pair.
    objective : str or Objective
        A name that needs no parameters, or an Objective such as ``ipo(0.1)``.
    margin : float or array_like, shape (B,)
        :math:`\gamma`, finite and non-negative, in units of the utility.
    reduction : {"mean", "sum"}
        Over pairs; "mean" divides the sum by their number.

    Returns
    -------
    BatchLoss
        Gradients: chosen_utilities, rejected_utilities.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> from pbde_ref.objectives import ipo
    >>> losses.pairwise_loss([3.0, 0.0], [0.0, 1.0], objective=ipo(0.5)).losses
    array([4., 4.])
    """
    arguments = {"chosen_utilities": (chosen_utilities, REAL), "rejected_utilities": (rejected_utilities, REAL),
                 "margin": (margin, NON_NEGATIVE)}  # fmt: skip
    dtype = precision(chosen_utilities, rejected_utilities)
    return margin_loss(as_objective(objective), arguments, _plain, reduction, dtype)


def bradley_terry_loss(
    chosen_rewards: ArrayLike, rejected_rewards: ArrayLike, *, margin: ArrayLike = 0.0, reduction: Reduction = "mean"
) -> BatchLoss:
    r"""The reward model's loss, Eq. (1) and (2), with an optional margin.

    .. math:: -\log \sigma(r(x_w) - r(x_l) - \gamma)

    Parameters
    ----------
    chosen_rewards, rejected_rewards : array_like, shape (B,)
        :math:`r(x_w)` and :math:`r(x_l)`, finite.
    margin : float or array_like, shape (B,)
        :math:`\gamma`, finite and non-negative: by how much the chosen one should win. The default, 0, is Eq. (1).
    reduction : {"mean", "sum"}
        Over pairs; "mean" divides the sum by their number.

    Returns
    -------
    BatchLoss
        In nats; each pair's loss is in [0, inf). Gradients: chosen_rewards, rejected_rewards.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, or a number is out of range.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> result = losses.bradley_terry_loss([2.0, 1.0], [0.0, 1.0])  # log(1 + exp(-2)) and log 2
    >>> result.losses, result.gradients["chosen_rewards"]
    (array([0.12692801, 0.69314718]), array([-0.05960146, -0.25 ]))
    """
    arguments = {"chosen_rewards": (chosen_rewards, FINITE), "rejected_rewards": (rejected_rewards, FINITE),
                 "margin": (margin, NON_NEGATIVE)}  # fmt: skip
    return margin_loss(BRADLEY_TERRY, arguments, _plain, reduction, precision(chosen_rewards, rejected_rewards))


def _plain(chosen: FloatArray, rejected: FloatArray, margin: FloatArray | float) -> tuple[FloatArray, float, float]:
    return chosen - rejected - margin, 1.0, 1.0


def margin_loss(
    objective: Objective, arguments: Arguments, margin: Callable[..., tuple[FloatArray, Any, Any]],
    reduction: Reduction, dtype: Precision, **penalty: Any,
) -> BatchLoss:  # fmt: skip
    r""":math:`\ell(m)` of each pair, :math:`m = f_w u_w - f_l u_l + c`, with :math:`u_w, u_l` the first two arguments.

    `margin` makes of float64 vectors of all arguments (or numbers, where one holds for all pairs) a new vector of
    margins, and :math:`f_w, f_l`: vectors, or numbers.
    """
    quick = objective.quick

    def compute(*own: Any, out: list[NDArray[Any]], share: float, usual: bool) -> tuple[float, float]:
        losses, chosen, rejected = out
        margins, f_w, f_l = margin(*own)
        if usual and not math.isfinite(np.add.reduce(margins)):
            return math.nan, 0.0
        total = math.nan
        if usual and quick is not None:
            # Below 1e-38 single precision has fewer digits: of slopes no more than of gradients if these are smaller.
            exact = losses.dtype == np.float64 or max(_largest(f_w), _largest(f_l)) * share <= 1.0
            values = losses if exact else np.empty(losses.shape)
            slopes = quick(margins, values)
            total = float(np.add.reduce(values))
        if not math.isfinite(total):
            margins = margin(*own)[0]
            values, slopes = objective.value(margins), objective.derivative(margins)
            total = float(np.add.reduce(values))
        if values is not losses:
            write(values, losses)
        _multiply(slopes, f_l, -share, rejected)
        if isinstance(f_w, float) and isinstance(f_l, float) and f_w == f_l:
            np.subtract(0.0, rejected, out=chosen)
        else:
            _multiply(slopes, f_w, share, chosen)
        return total, 0.0

    def defined(*own: Any) -> None:
        chosen_name, rejected_name, *_ = arguments
        with np.errstate(invalid="ignore", over="ignore"):
            defined_pairs(chosen_name, own[0], rejected_name, margin(*own)[0])

    # An objective without `quick` may be the caller's, who need not think of threads.
    threads = 1 if quick is None else 2
    return evaluated(arguments, compute, reduction=reduction, dtype=dtype, defined=defined, threads=threads, **penalty)


def _largest(f: FloatArray | float) -> float:
    return f if isinstance(f, float) else float(np.maximum.reduce(f))


def _multiply(slopes: NDArray[Any], f: FloatArray | float, share: float, out: NDArray[Any]) -> None:
    f = f * share
    np.multiply(slopes, f if isinstance(f, float) else f.astype(slopes.dtype, copy=False), out=out, casting="same_kind")
    # -0.0 becomes 0.0.
    out += 0.0
