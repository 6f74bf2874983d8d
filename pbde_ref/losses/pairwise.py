r"""Losses of pairs: an objective of the winner's margin, whatever utilities make it up.

Every pairwise loss is :math:`\ell(\omega(x_w) - \omega(x_l))`, x_w the chosen and x_l the rejected outcome. The paper
writes y = 1 for :math:`x_A \succ x_B`; then A is the chosen one, otherwise B.
"""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import ArrayLike

from pbde_ref.losses.inputs import batch, difference, finite, per_example, precision
from pbde_ref.losses.result import BatchLoss, Precision, Reduction, batch_loss
from pbde_ref.objectives import BRADLEY_TERRY, Objective, as_objective
from pbde_ref.validation import FloatArray

__all__ = ["bradley_terry_loss", "pairwise_loss", "reduced"]


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
    chosen = batch("chosen_utilities", chosen_utilities)
    rejected = batch("rejected_utilities", rejected_utilities, shape=chosen.shape)
    margins = difference("chosen_utilities", chosen, "rejected_utilities", rejected)
    return reduced(
        as_objective(objective),
        margins - per_example("margin", margin, chosen.size, sign="non-negative"),
        {"chosen_utilities": 1.0, "rejected_utilities": -1.0},
        reduction,
        precision(chosen_utilities, rejected_utilities),
    )


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
    chosen = finite("chosen_rewards", chosen_rewards)
    rejected = finite("rejected_rewards", rejected_rewards, shape=chosen.shape)
    return reduced(
        BRADLEY_TERRY,
        chosen - rejected - per_example("margin", margin, chosen.size, sign="non-negative"),
        {"chosen_rewards": 1.0, "rejected_rewards": -1.0},
        reduction,
        precision(chosen_rewards, rejected_rewards),
    )


def reduced(
    objective: Objective,
    margins: FloatArray,
    slopes: Mapping[str, FloatArray | float],
    reduction: Reduction,
    dtype: Precision,
    penalty: float = 0.0,
    penalty_gradients: Mapping[str, FloatArray] | None = None,
) -> BatchLoss:
    r""":math:`\ell(m)` of each pair; `slopes` are the derivatives of the margin with respect to each argument."""
    derivative = objective.derivative(margins)
    return batch_loss(
        objective.value(margins),
        {name: derivative * slope for name, slope in slopes.items()},
        reduction=reduction,
        dtype=dtype,
        penalty=penalty,
        penalty_gradients=penalty_gradients,
    )
