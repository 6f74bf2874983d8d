r"""Closed forms: the one policy that a preference process makes of given utilities, and its special cases.

Where the annotator gives every outcome positive probability, each is the global minimiser of the expected KL divergence
of Eq. (8) for every proposal with a connected comparison graph, and the only one; ``proofs/general_optimum.md`` has the
conditions for outcomes of probability zero, and `identifiability` checks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.distributions import FiniteDistribution, common_support, tilt
from pbde_ref.exact.enclosures import policy_distance
from pbde_ref.exact.results import Certificate, Optimum
from pbde_ref.numerics import logsumexp, weighted
from pbde_ref.pbde import PBDE, luce
from pbde_ref.validation import FloatArray, positive_number, reject, vector

__all__ = [
    "NormalizingConstant", "normalized_log_policy", "normalizing_constant", "optimal_policy", "policy_of",
    "product_of_experts", "with_luce_policy",
]  # fmt: skip


@dataclass(frozen=True)
class NormalizingConstant:
    r"""The root C of :math:`\sum_x \exp((\chi - g + C) / f) = 1`.

    Attributes
    ----------
    value : float
        C, in nats.
    residual : float
        Logarithm of the sum at C; zero for the exact root.
    converged : bool
        Whether the residual is within rounding of zero.
    steps : int
        Newton steps taken.
    """

    value: float
    residual: float
    converged: bool
    steps: int


def normalizing_constant(utilities: ArrayLike, pbde: PBDE) -> NormalizingConstant:
    r"""Solve :math:`\sum_x \exp((\chi(x) - g(x) + C) / f(x)) = 1` for C.

    The left side increases strictly from 0 to ∞, so there is one root. Its logarithm is convex and increasing in C;
    Newton's method started at the upper bound :math:`\min_x (g - \chi)` therefore descends to the root without passing
    it.

    Parameters
    ----------
    utilities : array_like, shape (n,)
        :math:`\chi`; -inf excludes an outcome.
    pbde : PBDE

    Raises
    ------
    ValueError
        If :math:`\chi - g` is +inf somewhere (no normalisable policy has these preferences) or -inf everywhere.

    Notes
    -----
    Proof: ``proofs/general_optimum.md``.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> round(pb.normalizing_constant(np.log([2.0, 6.0]), pb.luce()).value, 6)  # -log 8
    -2.079442
    """
    offset, _, constant = _solve(utilities, pbde)
    return NormalizingConstant(constant.value - offset, constant.residual, constant.converged, constant.steps)


def normalized_log_policy(utilities: ArrayLike, pbde: PBDE) -> FloatArray:
    r"""Log-probabilities of the one policy whose process has these utilities up to a constant, shape (n,).

    .. math:: \log \pi(x) = \frac{\chi(x) - g(x) + C}{f(x)}, \qquad \sum_x \pi(x) = 1

    Parameters and errors are those of `normalizing_constant`; :math:`\pi = 0` where :math:`\chi = -\infty`.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> policy = pb.FiniteDistribution.from_weights([5, 2, 3])
    >>> process = pb.PBDE(f=[2.0, 0.1, 1.0], g=[0.0, 4.0, -1.0])
    >>> np.exp(pb.normalized_log_policy(process.utility(policy.log_pmf) + 17.0, process)).round(12)
    array([0.5, 0.2, 0.3])
    """
    _, shifted, constant = _solve(utilities, pbde)
    if not constant.converged:
        raise ArithmeticError(f"the normalising constant did not converge: {constant}")
    with np.errstate(over="ignore"):
        return np.asarray((shifted + constant.value) / pbde.f)


def optimal_policy(annotator: Annotator, pbde: PBDE) -> FiniteDistribution:
    r"""The policy that minimises the expected KL divergence when `pbde` turns it into preferences, Eq. (8).

    .. math:: \log \pi(x) = \frac{\chi(x) - g(x) + C}{f(x)}, \qquad \sum_x \pi(x) = 1,
              \qquad \chi = f^* \log p^* + g^*

    Theorem 2 is the case of a common process (:math:`\pi = p^*`, ``proofs/theorem_2.md``),
    Eq. (16) the case of a Luce annotator and a DPO
    model, Eq. (18) that of a Luce annotator and a geometric model.

    Parameters
    ----------
    annotator : Annotator
        A single process. A mixture of annotators has no such closed form: see `minimize_expected_loss`.
    pbde : PBDE
        The process that the model is trained with.

    Returns
    -------
    FiniteDistribution
        Zero where the annotator's :math:`p^*` is zero: no positive policy attains the minimum then, and the result is
        the limit of all minimising sequences if `identifiability` calls the policy unique.

    Raises
    ------
    TypeError
        If the annotator is not a single process.
    ValueError
        If no normalisable policy has the annotator's preferences.

    Notes
    -----
    The optimum is the same for every proposal with a connected comparison graph, and not unique otherwise.
    Proof: ``proofs/general_optimum.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p, reference = pb.FiniteDistribution.from_weights([16, 1]), pb.FiniteDistribution.from_weights([1, 2])
    >>> pb.optimal_policy(pb.Annotator(p, pb.luce()), pb.dpo(2.0, reference)).pmf  # proportional to 1 · 4, 2 · 1
    array([0.66666667, 0.33333333])
    """
    if not isinstance(annotator, Annotator):
        raise TypeError(f"`annotator` must be a single Annotator; got {type(annotator).__name__}")
    return FiniteDistribution(normalized_log_policy(annotator.utility, pbde), annotator.distribution.support)


def product_of_experts(
    reference: FiniteDistribution, preference: FiniteDistribution, beta: float
) -> FiniteDistribution:
    r"""The optimum of DPO under a Luce annotator, Eq. (16).

    .. math:: \pi(x) \propto \pi_{pre}(x)\, p^*(x)^{1 / \beta}

    Parameters
    ----------
    reference, preference : FiniteDistribution
        :math:`\pi_{pre}` and :math:`p^*`, on the same support.
    beta : float
        Positive.

    Notes
    -----
    Proof: ``proofs/equation_16.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p, reference = pb.FiniteDistribution.from_weights([16, 1]), pb.FiniteDistribution.from_weights([1, 2])
    >>> pb.product_of_experts(reference, p, beta=2.0).pmf
    array([0.66666667, 0.33333333])
    """
    common_support(reference=reference, preference=preference)
    return tilt(reference, preference.log_pmf, positive_number("beta", beta))


def _solve(utilities: ArrayLike, pbde: PBDE) -> tuple[float, FloatArray, NormalizingConstant]:
    """The largest value of χ − g, χ − g less that, and the constant for the latter."""
    utilities = vector("utilities", utilities)
    if not isinstance(pbde, PBDE):
        raise TypeError(f"`pbde` must be a PBDE; got {type(pbde).__name__}")
    pbde.check_size(utilities.size)
    # An outcome that the annotator excludes stays excluded where the reference policy excludes it too.
    with np.errstate(invalid="ignore", over="ignore"):
        target = np.where(np.isneginf(utilities), -np.inf, utilities - pbde.g)
    reject("χ − g", "below +inf for a normalisable policy to exist", target, ~(target < np.inf))
    if np.isneginf(target).all():
        raise ValueError("χ − g must be finite at some outcome for a policy to exist; got -inf everywhere")
    # Large common utilities would otherwise cost the sum eps · |C| / min f.
    offset = float(target.max())
    # What overflows is the exponent of an outcome without mass.
    with np.errstate(over="ignore"):
        shifted = target - offset
        return offset, shifted, _newton(shifted, np.broadcast_to(pbde.f, shifted.shape))


def _newton(shifted: FloatArray, f: FloatArray) -> NormalizingConstant:
    """Root for targets whose largest is zero, so that C = 0 is the upper bound."""
    constant, residual, slope = 0.0, np.inf, np.inf
    steps = 0
    while True:
        # A policy that is so small there is zero.
        with np.errstate(over="ignore"):
            exponents = (shifted + constant) / f
        previous, residual = residual, float(logsumexp(exponents))
        if residual <= 0.0:
            break
        steeper, slope = slope, float(np.sum(np.exp(exponents - residual) / f))
        # Descent from above ends where rounding lets the residual fall no further. It also stands still while outcomes
        # of tiny f lose the rest of their mass, but then the slope does not.
        if residual >= previous and slope > 0.5 * steeper:
            break
        constant -= residual / slope
        steps += 1
    # The targets and C are both negative, so each exponent, which is log π, has a small relative error. Equal ones err
    # alike: the sum errs by the entropy of π in units of eps, and by what adding up n terms may cost.
    size = 1.0 + float(np.log(shifted.size)) - float(weighted(np.exp(exponents), exponents).sum())
    return NormalizingConstant(constant, residual, abs(residual) <= 8.0 * float(np.finfo(float).eps) * size, steps)


def policy_of(
    utilities: FloatArray, process: PBDE, support: Any, utility_error: float
) -> tuple[FiniteDistribution, float]:
    r"""The policy that has these utilities under a process, and how far it may be from that of the exact ones.

    If the utilities' differences are within e of the exact ones', :math:`\log \pi` is off by :math:`(v_x + C) / f_x`
    with :math:`|v_x + C| \le e`: what is proved of the utilities is turned into total variation, with what rounding
    adds on the way.

    Parameters
    ----------
    utilities : ndarray, shape (n,)
        -inf excludes an outcome.
    process : PBDE
    support : sequence
        Labels of the outcomes.
    utility_error : float
        Bound on the error of any difference of two utilities, in nats; may be infinite.

    Returns
    -------
    policy : FiniteDistribution
    policy_error : float
        Bound on the total variation; 1 where nothing is proved.

    Notes
    -----
    Proof: ``proofs/minimizer_certificate.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> policy, error = policy_of(np.array([0.0, 0.0]), pb.luce(), ["tea", "coffee"], 1e-6)
    >>> policy.pmf, round(error, 9)
    (array([0.5, 0.5]), 1e-06)
    """
    policy = FiniteDistribution(normalized_log_policy(utilities, process), support)
    held = np.isfinite(utilities)
    g, f = np.broadcast_to(process.g, held.shape)[held], np.broadcast_to(process.f, held.shape)[held]
    finite, log_pmf = utilities[held], policy.log_pmf[held]
    # In units of the utilities: those of differences χ − g, of the constant, and of log π, each of a few roundings.
    rounding = np.abs(finite) + np.abs(g) + float(np.abs(finite - g).max())
    rounding = 4.0 * float(np.finfo(float).eps) * (rounding + f * (2.0 - log_pmf))
    return policy, policy_distance(policy.pmf[held], 0.5 * utility_error + rounding, f)


def with_luce_policy(
    utilities: FloatArray, annotator: PreferenceModel, loss: float, certificate: Certificate, steps: int, reason: str
) -> Optimum:
    """The result of minimising a cross-entropy of utilities: their softmax is the policy that has them."""
    connected = int(certificate.components.max()) == 0
    policy, policy_error = policy_of(utilities, luce(), annotator.support, certificate.utility_error)
    return Optimum(
        policy=policy,
        utilities=utilities,
        loss=loss,
        gap=certificate.gap,
        utility_error=certificate.utility_error,
        policy_error=policy_error if connected else 1.0,
        converged=not reason,
        unique=connected,
        proof="curvature",
        certificate=certificate,
        steps=steps,
        reason=reason,
    )
