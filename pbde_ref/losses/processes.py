r"""Cross-entropy under a preference behaviour distribution equation, Eq. (11), and its three special cases."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.losses.inputs import (
    NON_NEGATIVE,
    NUMBERS,
    POSITIVE,
    Rule,
    finite_and_at_least,
    lengths_of,
    log_ratio_margins,
    policies,
    precision,
)
from pbde_ref.losses.pairwise import margin_loss
from pbde_ref.losses.result import BatchLoss, Reduction
from pbde_ref.objectives import BRADLEY_TERRY, robust, smoothed
from pbde_ref.validation import FloatArray, choice, flip_probability, positive_number, reject

__all__ = ["dpo_loss", "geometric_loss", "length_normalized_loss", "pbde_loss"]


def pbde_loss(
    policy_chosen: ArrayLike,
    policy_rejected: ArrayLike,
    *,
    f_chosen: ArrayLike,
    f_rejected: ArrayLike,
    g_chosen: ArrayLike = 0.0,
    g_rejected: ArrayLike = 0.0,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""The loss of Eq. (1) under any preference behaviour distribution equation, Eq. (11).

    .. math:: -\log \sigma(\Omega(x_w) - \Omega(x_l)), \qquad \Omega(x) = f(x) \log \pi_\theta(x) + g(x)

    Parameters
    ----------
    policy_chosen, policy_rejected : array_like, shape (B,)
        :math:`\log \pi_\theta`, at most 0; not -inf in both of a pair.
    f_chosen, f_rejected : float or array_like, shape (B,)
        :math:`f` of each outcome, positive and finite.
    g_chosen, g_rejected : float or array_like, shape (B,)
        :math:`g` of each outcome, finite.
    reduction : {"mean", "sum"}
        Over pairs; "mean" divides the sum by their number.

    Returns
    -------
    BatchLoss
        In nats; each pair's loss is in [0, inf]. Gradients: policy_chosen, policy_rejected.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, or a number is out of range.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> losses.pbde_loss([-4.0], [-3.0], f_chosen=0.5, f_rejected=1.0).gradients["policy_chosen"]  # -0.5 sigma(-1)
    array([-0.13447071])
    """
    process = {"f_chosen": (f_chosen, POSITIVE), "f_rejected": (f_rejected, POSITIVE),
               "g_chosen": (g_chosen, NUMBERS), "g_rejected": (g_rejected, NUMBERS)}  # fmt: skip
    return margin_loss(
        BRADLEY_TERRY,
        policies(policy_chosen, policy_rejected) | process,
        lambda chosen, rejected, f_w, f_l, g_w, g_l: ((f_w * chosen + g_w) - (f_l * rejected + g_l), f_w, f_l),
        reduction,
        precision(policy_chosen, policy_rejected),
    )


def dpo_loss(
    policy_chosen: ArrayLike,
    policy_rejected: ArrayLike,
    reference_chosen: ArrayLike,
    reference_rejected: ArrayLike,
    *,
    beta: float,
    label_smoothing: float = 0.0,
    variant: Literal["cdpo", "robust"] = "cdpo",
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""Direct preference optimisation, Eq. (14).

    .. math:: -\log \sigma(m), \qquad m = \beta \log \frac{\pi_\theta(x_w)}{\pi_{pre}(x_w)}
              - \beta \log \frac{\pi_\theta(x_l)}{\pi_{pre}(x_l)}

    and with label smoothing :math:`\epsilon`

    .. math:: \text{cDPO: } -(1 - \epsilon) \log \sigma(m) - \epsilon \log \sigma(-m), \qquad
              \text{robust: } \frac{-(1 - \epsilon) \log \sigma(m) + \epsilon \log \sigma(-m)}{1 - 2 \epsilon}

    Parameters
    ----------
    policy_chosen, policy_rejected : array_like, shape (B,)
        :math:`\log \pi_\theta`, at most 0; not -inf in both of a pair.
    reference_chosen, reference_rejected : array_like, shape (B,)
        :math:`\log \pi_{pre}`, at most 0 and finite.
    beta : float
        :math:`\beta`, positive.
    label_smoothing : float
        :math:`\epsilon`, in [0, 1/2). The default, 0, is Eq. (14), and then both variants agree.
    variant : {"cdpo", "robust"}
        What the smoothing means: soft labels, or the unbiased correction for flipped ones.
    reduction : {"mean", "sum"}
        Over pairs; "mean" divides the sum by their number.

    Returns
    -------
    BatchLoss
        In nats; log 2 for each pair where policy and reference agree. The robust loss may be negative. Gradients:
        policy_chosen, policy_rejected; none flows into the reference.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, a number is out of range, or the variant is unknown.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> batch = [-5.0, -9.0], [-7.0, -8.0], [-6.0, -9.0], [-7.0, -9.0]
    >>> losses.dpo_loss(*batch, beta=0.5).losses  # margins 1/2 and -1/2
    array([0.47407698, 0.97407698])
    >>> losses.dpo_loss(*batch, beta=0.5, label_smoothing=0.5)
    Traceback (most recent call last):
        ...
    ValueError: `label_smoothing` must be in [0, 1/2); got 0.5
    """
    beta = positive_number("beta", beta)
    epsilon = flip_probability("label_smoothing", label_smoothing)
    choice("variant", variant, ("cdpo", "robust"))
    objective = smoothed(epsilon) if variant == "cdpo" else robust(epsilon)
    four = policy_chosen, policy_rejected, reference_chosen, reference_rejected
    dtype = precision(*four)
    return margin_loss(
        objective, policies(*four), lambda *own: (beta * log_ratio_margins(*own), beta, beta), reduction, dtype
    )


def geometric_loss(
    policy_chosen: ArrayLike,
    policy_rejected: ArrayLike,
    reference_chosen: ArrayLike,
    reference_rejected: ArrayLike,
    *,
    alpha: float,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""The loss whose optimum under a Luce annotator is the geometric mean of Eq. (18).

    .. math:: -\log \sigma(\Omega(x_w) - \Omega(x_l)), \qquad
              \Omega(x) = \frac{1}{\alpha} \log \frac{\pi_\theta(x)}{\pi_{pre}(x)} + \log \pi_{pre}(x)

    which is Eq. (11) with :math:`f = 1/\alpha` and :math:`g = (1 - 1/\alpha) \log \pi_{pre}`.

    Parameters
    ----------
    policy_chosen, policy_rejected : array_like, shape (B,)
        :math:`\log \pi_\theta`, at most 0; not -inf in both of a pair.
    reference_chosen, reference_rejected : array_like, shape (B,)
        :math:`\log \pi_{pre}`, at most 0 and finite.
    alpha : float
        :math:`\alpha`, positive; at 1 the reference drops out.
    reduction : {"mean", "sum"}
        Over pairs; "mean" divides the sum by their number.

    Returns
    -------
    BatchLoss
        In nats; each pair's loss is in [0, inf]. Gradients: policy_chosen, policy_rejected; none flows into the
        reference.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, or a number is out of range.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> losses.geometric_loss([-1.0], [-2.0], [-2.0], [-1.0], alpha=0.5).losses  # margin 2 * 1 - (-1) = 3
    array([0.04858735])
    """
    inverse = 1.0 / positive_number("alpha", alpha)
    if math.isinf(inverse):
        raise ValueError(f"`alpha` must have a finite reciprocal; got {alpha}")
    four = policy_chosen, policy_rejected, reference_chosen, reference_rejected
    return margin_loss(
        BRADLEY_TERRY,
        policies(*four),
        lambda pc, pr, rc, rr: (inverse * log_ratio_margins(pc, pr, rc, rr) + (rc - rr), inverse, inverse),
        reduction,
        precision(*four),
    )


def length_normalized_loss(
    policy_chosen: ArrayLike,
    policy_rejected: ArrayLike,
    chosen_lengths: ArrayLike,
    rejected_lengths: ArrayLike,
    *,
    scale: float = 1.0,
    margin: ArrayLike = 0.0,
    reduction: Reduction = "mean",
) -> BatchLoss:
    r"""The length-normalised Luce choice rule, Eq. (26), with a scale and a margin; also known as SimPO.

    .. math:: -\log \sigma\Big(\frac{c}{|x_w|} \log \pi_\theta(x_w) - \frac{c}{|x_l|} \log \pi_\theta(x_l)
              - \gamma\Big)

    Parameters
    ----------
    policy_chosen, policy_rejected : array_like, shape (B,)
        :math:`\log \pi_\theta`, summed over tokens, at most 0; not -inf in both of a pair.
    chosen_lengths, rejected_lengths : array_like, shape (B,)
        Numbers of tokens :math:`|x|`, positive and finite.
    scale : float
        :math:`c`, positive. The default, 1, is Eq. (26) as printed; the paper's Table 2 and Fig. 6 were computed with
        50, the maximum length. SimPO calls it :math:`\beta`.
    margin : float or array_like, shape (B,)
        :math:`\gamma`, finite and non-negative, inside :math:`\sigma`. Where a framework's margin is multiplied by the
        scale, or is the ratio of the two, pass the product.
    reduction : {"mean", "sum"}
        Over pairs; "mean" divides the sum by their number.

    Returns
    -------
    BatchLoss
        In nats; each pair's loss is in [0, inf]. Gradients: policy_chosen, policy_rejected, with respect to the summed
        log-probabilities.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, or a number is out of range.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> losses.length_normalized_loss([-20.0], [-20.0], [10], [20], scale=2.0).losses  # margin 2 * (-2 - (-1))
    array([2.12692801])
    """
    scale = positive_number("scale", scale)
    # Whatever is not shorter leaves the quotient far from infinite.
    lengths = Rule(partial(_lengths_for, scale), partial(finite_and_at_least, max(1e-300 * scale, math.ulp(0.0))))

    def per_token(chosen: Any, rejected: Any, length_w: Any, length_l: Any, margin: Any) -> tuple[Any, Any, Any]:
        f_w, f_l = scale / length_w, scale / length_l
        return f_w * chosen - f_l * rejected - margin, f_w, f_l

    others = {"chosen_lengths": (chosen_lengths, lengths), "rejected_lengths": (rejected_lengths, lengths),
              "margin": (margin, NON_NEGATIVE)}  # fmt: skip
    arguments, dtype = policies(policy_chosen, policy_rejected) | others, precision(policy_chosen, policy_rejected)
    return margin_loss(BRADLEY_TERRY, arguments, per_token, reduction, dtype)


def _lengths_for(scale: float, name: str, value: ArrayLike, *, shape: tuple[int, ...]) -> FloatArray:
    lengths = lengths_of(name, value, shape=shape)
    with np.errstate(over="ignore"):
        too_short = np.isinf(scale / lengths)
    reject(name, f"so long that {scale} divided by it is finite", lengths, too_short)
    return lengths
