r"""Alternatives to the binary cross-entropy for pairs (Sec. 4.4): SLiC-HF, RSO and IPO."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.losses.inputs import (
    LENGTHS,
    log_probabilities,
    log_ratio_margins,
    policies,
    precision,
)
from pbde_ref.losses.pairwise import margin_loss
from pbde_ref.losses.result import BatchLoss, Reduction, batch_size
from pbde_ref.numerics import weighted
from pbde_ref.objectives import hinge, ipo
from pbde_ref.validation import FloatArray, non_negative_number, shown, switch

__all__ = ["ipo_loss", "rso_loss", "slic_loss"]


def slic_loss(
    policy_chosen: ArrayLike,
    policy_rejected: ArrayLike,
    *,
    delta: float,
    lambda_: float = 0.0,
    regularization: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""SLiC-HF-direct with its regulariser, Eq. (20) repaired.

    .. math:: \mathbb{E}\Big[\Big(\delta - \log \frac{\pi_\theta(x_w)}{\pi_\theta(x_l)}\Big)^+\Big]
              - \lambda\, \mathbb{E}_{D_{SFT}}[\log \pi_\theta(x)]

    Parameters
    ----------
    policy_chosen, policy_rejected : array_like, shape (B,)
        :math:`\log \pi_\theta`, at most 0; not -inf in both of a pair.
    delta : float
        :math:`\delta`, non-negative.
    lambda_ : float
        :math:`\lambda`, non-negative. The default is no regulariser.
    regularization : array_like, shape (M,), optional
        :math:`\log \pi_\theta` of the regulariser's samples, at most 0; needed if ``lambda_ > 0``. Their number need
        not be that of the pairs.
    reduction : {"mean", "sum"}
        Applied to each of the two terms over its own samples.

    Returns
    -------
    BatchLoss
        `losses` are the pairs' hinges, without the regulariser. Gradients: policy_chosen, policy_rejected, and
        regularization if it was given.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, a number is out of range, or the regulariser lacks its samples.

    Notes
    -----
    Eq. (20) is printed with the bracket :math:`\delta - (\dots)^+`, from which :math:`\delta` drops out of the arg min;
    this function has :math:`(\delta - \dots)^+`.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> batch = [-1.0, -4.0], [-3.0, -3.0]  # margins 2 and -1
    >>> losses.slic_loss(*batch, delta=1.0).losses
    array([0., 2.])
    >>> losses.slic_loss(*batch, delta=1.0, lambda_=0.5, regularization=[-2.0, -4.0, -6.0]).value  # 1 + 0.5 * 4
    3.0
    """
    objective, weight = hinge(delta), non_negative_number("lambda_", lambda_)
    given = [policy_chosen, policy_rejected]
    penalty, penalty_gradients = 0.0, {}
    if regularization is not None:
        given.append(regularization)
        samples = log_probabilities("regularization", regularization)
        count = batch_size(reduction, samples.size)
        with np.errstate(over="ignore"):
            penalty = float(np.sum(weighted(np.asarray(weight), -samples))) / count
        if np.isinf(penalty) and np.isfinite(samples).all():
            raise ValueError("`regularization` must have a sum in the range of float64, times `lambda_`; got more")
        penalty_gradients["regularization"] = np.full(samples.shape, -weight / count)
    elif weight > 0.0:
        raise ValueError(f"`regularization` must be given if `lambda_` is positive; got lambda_={weight} and None")
    return margin_loss(
        objective,
        policies(policy_chosen, policy_rejected),
        lambda chosen, rejected: (chosen - rejected, 1.0, 1.0),
        reduction,
        precision(*given),
        penalty=penalty,
        penalty_gradients=penalty_gradients,
    )


def rso_loss(
    policy_chosen: ArrayLike,
    policy_rejected: ArrayLike,
    reference_chosen: ArrayLike,
    reference_rejected: ArrayLike,
    *,
    delta: float,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""SLiC normalised by the reference, as in RSO, Eq. (21).

    .. math:: (\delta - m)^+, \qquad
              m = \log \frac{\pi_\theta(x_w)\, \pi_{pre}(x_l)}{\pi_\theta(x_l)\, \pi_{pre}(x_w)}

    Parameters
    ----------
    policy_chosen, policy_rejected : array_like, shape (B,)
        :math:`\log \pi_\theta`, at most 0; not -inf in both of a pair.
    reference_chosen, reference_rejected : array_like, shape (B,)
        :math:`\log \pi_{pre}`, at most 0 and finite.
    delta : float
        :math:`\delta`, non-negative.
    reduction : {"mean", "sum"}
        Over pairs; "mean" divides the sum by their number.

    Returns
    -------
    BatchLoss
        Each pair's loss is in [0, inf]. Gradients: policy_chosen, policy_rejected; none flows into the reference.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, or a number is out of range.

    Notes
    -----
    Liu et al. and most code write :math:`(1 - \gamma m)^+`, which is :math:`\gamma` times this loss at
    :math:`\delta = 1 / \gamma`.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> losses.rso_loss([-1.0], [-2.0], [-1.5], [-2.0], delta=2.0).losses  # margin 1/2
    array([1.5])
    """
    objective = hinge(delta)
    four = policy_chosen, policy_rejected, reference_chosen, reference_rejected
    return margin_loss(
        objective, policies(*four), lambda *own: (log_ratio_margins(*own), 1.0, 1.0), reduction, precision(*four)
    )


def ipo_loss(
    policy_chosen: ArrayLike,
    policy_rejected: ArrayLike,
    reference_chosen: ArrayLike,
    reference_rejected: ArrayLike,
    *,
    tau: float,
    average: bool = False,
    chosen_lengths: ArrayLike | None = None,
    rejected_lengths: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""Identity preference optimisation, Eq. (23).

    .. math:: \Big(m - \frac{1}{2\tau}\Big)^2, \qquad
              m = \log \frac{\pi_\theta(x_w)\, \pi_{pre}(x_l)}{\pi_\theta(x_l)\, \pi_{pre}(x_w)}

    Parameters
    ----------
    policy_chosen, policy_rejected : array_like, shape (B,)
        :math:`\log \pi_\theta`, summed over tokens, at most 0; not -inf in both of a pair.
    reference_chosen, reference_rejected : array_like, shape (B,)
        :math:`\log \pi_{pre}`, summed over tokens, at most 0 and finite.
    tau : float
        :math:`\tau`, positive; most code calls it beta.
    average : bool
        False, the default, is Eq. (23). True divides each log-probability by its sequence's length first, as several
        libraries do; that is another loss, with another optimum.
    chosen_lengths, rejected_lengths : array_like, shape (B,), optional
        Numbers of tokens, positive and finite: needed if `average`, refused if not.
    reduction : {"mean", "sum"}
        Over pairs; "mean" divides the sum by their number.

    Returns
    -------
    BatchLoss
        In squared nats; each pair's loss is in [0, inf]. Gradients: policy_chosen, policy_rejected, with respect to the
        arguments as given, summed over tokens; none flows into the reference.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, a number is out of range, or lengths and `average` disagree.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> batch = [-2.0], [-8.0], [-4.0], [-4.0]
    >>> losses.ipo_loss(*batch, tau=0.25).losses  # margin 2 - (-4) = 6, target 2
    array([16.])
    >>> losses.ipo_loss(*batch, tau=0.25, average=True, chosen_lengths=[2], rejected_lengths=[4]).losses  # margin 2
    array([0.])
    """
    objective = ipo(tau)
    four = policy_chosen, policy_rejected, reference_chosen, reference_rejected
    arguments = policies(*four)
    for name, lengths in (("chosen_lengths", chosen_lengths), ("rejected_lengths", rejected_lengths)):
        if switch("average", average) != (lengths is not None):
            raise ValueError(
                f"`{name}` must be given exactly if `average` is true; got average={average} and {shown(lengths)}"
            )
        if lengths is not None:
            arguments[name] = lengths, LENGTHS

    def margin(*own: Any) -> tuple[FloatArray, Any, Any]:
        tokens_w, tokens_l = own[4:] or (1.0, 1.0)
        return log_ratio_margins(*own), 1.0 / tokens_w, 1.0 / tokens_l

    return margin_loss(objective, arguments, margin, reduction, precision(*four))
