r"""Preference behaviour distribution equations (PBDEs), Eq. (11): how a log-probability becomes a utility."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.conditional import ConditionalDistribution, Prompts
from pbde_ref.display import Shown
from pbde_ref.distributions import EITHER_DISTRIBUTION, FiniteDistribution, labels
from pbde_ref.validation import FloatArray, array, instance, positive_number, reject, same_size, vector

__all__ = ["PBDE", "dpo", "geometric_average", "length_normalized", "luce"]


@dataclass(frozen=True, eq=False, init=False)
class PBDE(Shown):
    r"""A preference behaviour distribution equation, Eq. (11).

    .. math:: \Omega_p(x) = f(x) \log p(x) + g(x), \qquad f(x) > 0,
              \qquad \text{Prob}(x_A \succ x_B) = \sigma(\Omega_p(x_A) - \Omega_p(x_B))

    Parameters
    ----------
    f : float or array_like, shape (n,)
        Positive, at least 1e-308, and finite.
    g : float or array_like, shape (n,)
        Not NaN. Infinite entries arise where a reference policy is zero: +inf marks an outcome that the reference
        excludes.
    support : ndarray or Prompts, optional
        The outcomes that entries of `f` and `g` belong to, such as the reference's of `dpo`: the process is refused
        where outcomes are others, or in another order. Default: they belong to outcomes by their place.

    Raises
    ------
    ValueError
        If `f` is not positive and finite, `g` holds NaN, or the two have different lengths.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> pb.PBDE(f=[1.0, 0.5], g=[0.0, 1.0]).utility(np.log([0.5, 0.25]))
    array([-0.69314718,  0.30685282])
    >>> pb.PBDE(f=[1.0, -0.5], g=0.0)
    Traceback (most recent call last):
        ...
    ValueError: `f` must be positive; got -0.5 at index 1
    """

    f: FloatArray
    g: FloatArray
    support: Any = field(repr=False)

    def __init__(self, f: ArrayLike, g: ArrayLike = 0.0, *, support: Any = None) -> None:
        f, g = array("f", f), array("g", g)
        for name, value in (("f", f), ("g", g)):
            if value.ndim > 1 or value.size == 0:
                raise ValueError(f"`{name}` must be a number or a vector; got shape {value.shape}")
        reject("f", "positive", f, f <= 0)
        reject("f", "finite", f, np.isinf(f))
        # Its inverse is a power of policies.
        reject("f", "at least 1e-300", f, f < 1e-300)
        if f.ndim == g.ndim == 1:
            same_size("g", g.size, f.size)
        for name, value in (("f", f), ("g", g)):
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        if support is not None and not isinstance(support, Prompts):
            # A distribution's own have been looked at.
            known = isinstance(support, np.ndarray) and not support.flags.writeable
            support = support if known else labels(support, None)
        object.__setattr__(self, "support", support)
        if support is not None:
            self.check_size(len(support))

    def utility(self, log_p: ArrayLike) -> FloatArray:
        r"""The utility :math:`\Omega_p = f \log p + g`, shape (n,), in nats.

        An outcome that the policy excludes, :math:`\log p = -\infty`, has utility :math:`-\infty` whatever `g` is.

        Parameters
        ----------
        log_p : array_like, shape (n,)
            Log-probabilities; finite or :math:`-\infty`. They need not be normalised.
        """
        log_p = vector("log_p", log_p)
        reject("log_p", "below +inf", log_p, np.isposinf(log_p))
        self.check_size(log_p.size)
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = self.f * log_p
            reject("f·log p", "finite where p is positive", scaled, np.isinf(scaled) & np.isfinite(log_p))
            return np.where(np.isneginf(log_p), -np.inf, scaled + self.g)

    def check_size(self, size: int) -> None:
        """Raise ``ValueError`` unless `f` and `g` fit a support of `size` outcomes."""
        for name, value in (("f", self.f), ("g", self.g)):
            if value.ndim == 1:
                same_size(name, value.size, size)


def luce() -> PBDE:
    r"""The Luce choice rule, Eq. (9), also known as the Bradley–Terry model: :math:`f = 1`, :math:`g = 0`.

    A reward trained on its preferences is :math:`\log p^*` up to a constant, Theorem 1: ``proofs/theorem_1.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.luce().utility([-1.0, -2.0])
    array([-1., -2.])
    """
    return PBDE(1.0, 0.0)


def dpo(beta: float, reference: FiniteDistribution | ConditionalDistribution) -> PBDE:
    r"""Direct preference optimisation, Eq. (14) and (15): :math:`\Omega = \beta (\log \pi - \log \pi_{pre})`.

    Parameters
    ----------
    beta : float
        Positive.
    reference : FiniteDistribution or ConditionalDistribution
        :math:`\pi_{pre}`. Where it is zero, :math:`g = +\infty`.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> reference = pb.uniform("ab")
    >>> pb.dpo(0.5, reference).utility(reference.log_pmf)
    array([0., 0.])
    """
    instance("reference", reference, EITHER_DISTRIBUTION, "a FiniteDistribution or ConditionalDistribution")
    with np.errstate(over="ignore"):
        g = -positive_number("beta", beta) * reference.log_pmf
    if (np.isinf(g) & np.isfinite(reference.log_pmf)).any():
        raise ValueError(f"`beta` must leave beta log `reference` in the range of float64; got {beta}")
    return PBDE(beta, g, support=reference.support)


def geometric_average(alpha: float, reference: FiniteDistribution | ConditionalDistribution) -> PBDE:
    r"""The PBDE whose optimum is a geometric mean, Eq. (18); proof: ``proofs/equation_18.md``.

    .. math:: f = 1/\alpha, \qquad g = (1 - 1/\alpha) \log \pi_{pre}

    Parameters
    ----------
    alpha : float
        Positive. At 1 the process is the Luce choice rule and the reference does not matter, even where it is zero.
    reference : FiniteDistribution or ConditionalDistribution
        :math:`\pi_{pre}`.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.geometric_average(0.25, pb.uniform("ab")).f
    array(4.)
    """
    instance("reference", reference, EITHER_DISTRIBUTION, "a FiniteDistribution or ConditionalDistribution")
    inverse = 1.0 / positive_number("alpha", alpha)
    if inverse == 1.0:
        return luce()
    with np.errstate(over="ignore"):
        g = (1.0 - inverse) * reference.log_pmf
    if (np.isinf(g) & np.isfinite(reference.log_pmf)).any():
        raise ValueError(f"`alpha` must leave (1 - 1/alpha) log `reference` in the range of float64; got {alpha}")
    return PBDE(inverse, g, support=reference.support)


def length_normalized(lengths: ArrayLike, scale: float = 1.0) -> PBDE:
    r"""The length-normalised Luce choice rule, Eq. (26), times a scale: :math:`f = c / |x|`, :math:`g = 0`.

    Parameters
    ----------
    lengths : array_like, shape (n,)
        Numbers of tokens :math:`|x|`, positive and finite.
    scale : float
        :math:`c`, positive. Eq. (26) as printed has 1; the paper's Table 2 and Fig. 6 were computed with 50, the
        maximum length.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.length_normalized([10, 40]).utility([-20.0, -80.0])
    array([-2., -2.])
    """
    lengths = vector("lengths", lengths)
    reject("lengths", "positive", lengths, lengths <= 0)
    reject("lengths", "finite", lengths, np.isinf(lengths))
    with np.errstate(over="ignore"):
        f = positive_number("scale", scale) / lengths
    reject("scale / lengths", "from 1e-300 to the largest number", f, ~((f >= 1e-300) & (f < np.inf)))
    return PBDE(f, 0.0)
