r"""The KL-controlled policy gradient as the gradient of a surrogate loss, Eq. (4) and (5)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.losses.chunks import Arguments, evaluated, write
from pbde_ref.losses.inputs import FINITE, REFERENCE, precision
from pbde_ref.losses.result import BatchLoss, Reduction
from pbde_ref.validation import FloatArray, non_negative_number

__all__ = ["kl_controlled_policy_gradient_loss"]


def kl_controlled_policy_gradient_loss(
    policy: ArrayLike, reference: ArrayLike, rewards: ArrayLike, *, beta: float, reduction: Reduction = "mean"
) -> BatchLoss:
    r"""The surrogate whose gradient estimates minus Eq. (5), from outcomes sampled from the policy itself.

    .. math:: -A(x) \log \pi_\theta(x), \qquad
              A(x) = r(x) - \beta \log \frac{\pi_\theta(x)}{\pi_{pre}(x)} \text{ held constant}

    Parameters
    ----------
    policy : array_like, shape (B,)
        :math:`\log \pi_\theta(x)` of outcomes :math:`x \sim \pi_\theta`, at most 0 and finite: what was sampled has
        positive probability.
    reference : array_like, shape (B,)
        :math:`\log \pi_{pre}(x)`, at most 0 and finite.
    rewards : array_like, shape (B,)
        :math:`r(x)`, finite.
    beta : float
        :math:`\beta`, non-negative; 0 gives Eq. (4).
    reduction : {"mean", "sum"}
        The estimate of Eq. (5) is that of "mean".

    Returns
    -------
    BatchLoss
        Gradients: policy, which is exactly :math:`-A(x)`, divided by B under "mean". The advantage counts as a
        constant: the gradient has no term for the policy inside :math:`A`, because that term's expectation is zero
        (:math:`\mathbb{E}_\pi[\nabla \log \pi] = 0`), and none flows into rewards or reference. Multiplied by
        :math:`\nabla_\theta \log \pi_\theta(x)` and summed, it is an unbiased estimate of
        :math:`-\nabla_\theta J`, J of Eq. (12), so descending it ascends J. `value` has no meaning of its own beyond
        having this gradient.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, or a number is out of range.

    Notes
    -----
    The exact gradient, without sampling, is `pbde_ref.policy_gradient`.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> result = losses.kl_controlled_policy_gradient_loss([-1.0, -3.0], [-2.0, -2.0], [5.0, 1.0], beta=2.0)
    >>> result.gradients["policy"], result.value  # advantages 5 - 2 and 1 + 2
    (array([-1.5, -1.5]), 6.0)
    """
    beta = non_negative_number("beta", beta)
    arguments: Arguments = {
        "policy": (policy, REFERENCE), "reference": (reference, REFERENCE), "rewards": (rewards, FINITE)
    }  # fmt: skip

    def compute(
        log_pi: FloatArray, log_pre: FloatArray, r: FloatArray, *, out: list[NDArray[Any]], share: float, usual: bool
    ) -> tuple[float, float]:
        advantages = r - beta * (log_pi - log_pre)
        np.negative(advantages, out=advantages)
        losses = advantages * log_pi
        write(losses, out[0])
        write(np.multiply(advantages, share, out=advantages), out[1])
        return np.add.reduce(losses), 0.0

    dtype = precision(policy, reference, rewards)
    return evaluated(arguments, compute, reduction=reduction, dtype=dtype, differentiated=1)
