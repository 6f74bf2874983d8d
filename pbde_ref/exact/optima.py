r"""Closed forms: the one policy that a preference process makes of given utilities, and its special cases.

Where the annotator gives every outcome positive probability, each is the global minimiser of the expected KL divergence
of Eq. (8) for every proposal with a connected comparison graph, and the only one; ``proofs/general_optimum.md`` has the
conditions for outcomes of probability zero, and `identifiability` checks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.annotators import Annotator, PreferenceModel, prompts_of
from pbde_ref.conditional import ConditionalDistribution, Prompts
from pbde_ref.distributions import Distribution, FiniteDistribution, common_support, same_support, tilt
from pbde_ref.exact.enclosures import policy_distance
from pbde_ref.exact.results import Certificate, Optimum
from pbde_ref.numerics import grouped_logsumexp, weighted
from pbde_ref.pbde import PBDE, luce
from pbde_ref.validation import FloatArray, IndexArray, instance, positive_number, reject, vector

__all__ = [
    "NormalizingConstant", "normalized_log_policy", "normalizing_constant", "optimal_policy", "policy_bound",
    "policy_of", "product_of_experts", "with_luce_policy",
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
    found = _solve(utilities, pbde)
    value, residual = float(found.constant[0] - found.offset[0]), float(found.residual[0])
    return NormalizingConstant(value, residual, bool(found.converged[0]), int(found.steps[0]))


def normalized_log_policy(utilities: ArrayLike, pbde: PBDE, prompts: Prompts | None = None) -> FloatArray:
    r"""Log-probabilities of the one policy whose process has these utilities up to a constant, shape (n,).

    .. math:: \log \pi(x) = \frac{\chi(x) - g(x) + C}{f(x)}, \qquad \sum_x \pi(x) = 1

    Parameters and errors are those of `normalizing_constant`; :math:`\pi = 0` where :math:`\chi = -\infty`. With
    `prompts` the sum is 1, and the constant another, for each of them.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> policy = pb.FiniteDistribution.from_weights([5, 2, 3])
    >>> process = pb.PBDE(f=[2.0, 0.1, 1.0], g=[0.0, 4.0, -1.0])
    >>> np.exp(pb.normalized_log_policy(process.utility(policy.log_pmf) + 17.0, process)).round(12)
    array([0.5, 0.2, 0.3])
    """
    found = _solve(utilities, pbde, prompts)
    if not found.converged.all():
        i = int(np.argmin(found.converged))
        raise ArithmeticError(f"a normalising constant did not converge: residual {found.residual[i]}, number {i}")
    with np.errstate(over="ignore"):
        return np.asarray((found.shifted + found.constant[found.number]) / pbde.f)


def optimal_policy(annotator: Annotator, pbde: PBDE) -> Any:
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
    FiniteDistribution or ConditionalDistribution
        Of the annotator's kind. Zero where the annotator's :math:`p^*` is zero: no positive policy attains the minimum
        then, and the result is the limit of all minimising sequences if `identifiability` calls the policy unique.

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
        raise TypeError(f"`annotator` must be a single Annotator; got {type(annotator).__name__:.60}")
    instance("pbde", pbde, PBDE, "a PBDE")
    same_support("pbde", pbde.support, "annotator", annotator.support)
    log_policy = normalized_log_policy(annotator.utility, pbde, prompts_of(annotator))
    return type(annotator.distribution)(log_policy, annotator.support)


def product_of_experts(
    reference: Distribution, preference: Distribution, beta: float
) -> Distribution:
    r"""The optimum of DPO under a Luce annotator, Eq. (16).

    .. math:: \pi(x) \propto \pi_{pre}(x)\, p^*(x)^{1 / \beta}

    Parameters
    ----------
    reference, preference : FiniteDistribution or ConditionalDistribution
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
    common_support(type(reference), reference=reference, preference=preference)
    return tilt(reference, preference.log_pmf, positive_number("beta", beta))


class _Constants(NamedTuple):
    """Of K sums: the largest χ − g of each, χ − g less that, and the constants for the latter."""

    offset: FloatArray
    shifted: FloatArray
    number: IndexArray
    constant: FloatArray
    residual: FloatArray
    converged: NDArray[np.bool_]
    steps: IndexArray


def _solve(utilities: ArrayLike, pbde: PBDE, prompts: Prompts | None = None) -> _Constants:
    utilities = vector("utilities", utilities)
    if not isinstance(pbde, PBDE):
        raise TypeError(f"`pbde` must be a PBDE; got {type(pbde).__name__:.60}")
    pbde.check_size(utilities.size)
    # An outcome that the annotator excludes stays excluded where the reference policy excludes it too.
    with np.errstate(invalid="ignore", over="ignore"):
        target = np.where(np.isneginf(utilities), -np.inf, utilities - pbde.g)
    reject("χ − g", "below +inf for a normalisable policy to exist", target, ~(target < np.inf))
    if prompts is not None:
        instance("prompts", prompts, Prompts, "Prompts")
    start = np.zeros(1, dtype=np.intp) if prompts is None else prompts.start[:-1]
    number = np.zeros(target.size, dtype=np.intp) if prompts is None else prompts.number
    # Large common utilities would otherwise cost the sum eps · |C| / min f.
    offset = np.maximum.reduceat(target, start)
    if np.isneginf(offset).any():
        where = "everywhere" if prompts is None else f"everywhere at prompt number {int(np.argmin(offset))}"
        raise ValueError(f"χ − g must be finite at some outcome for a policy to exist; got -inf {where}")
    # What overflows is the exponent of an outcome without mass.
    with np.errstate(over="ignore"):
        shifted = target - offset[number]
    return _Constants(offset, shifted, number, *_newton(shifted, np.broadcast_to(pbde.f, shifted.shape), start, number))


def _newton(
    shifted: FloatArray, f: FloatArray, start: IndexArray, number: IndexArray
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_], IndexArray]:
    """Roots for targets whose largest is zero in each sum, so that C = 0 is the upper bound."""
    constant, residual, slope = np.zeros(start.size), np.full(start.size, np.inf), np.full(start.size, np.inf)
    steps = np.zeros(start.size, dtype=np.intp)
    while True:
        # A policy that is so small there is zero.
        with np.errstate(over="ignore"):
            exponents = (shifted + constant[number]) / f
        previous, residual = residual, grouped_logsumexp(exponents, start, number)
        steeper, slope = slope, np.add.reduceat(np.exp(exponents - residual[number]) / f, start)
        # Descent from above ends where rounding lets the residual fall no further. It also stands still while outcomes
        # of tiny f lose the rest of their mass, but then the slope does not.
        going = (residual > 0.0) & ~((residual >= previous) & (slope > 0.5 * steeper))
        if not going.any():
            break
        constant = np.where(going, constant - residual / slope, constant)
        steps += going
    # The targets and C are both negative, so each exponent, which is log π, has a small relative error. Equal ones err
    # alike: the sum errs by the entropy of π in units of eps, and by what adding up n terms may cost.
    terms = 1.0 + np.log(np.bincount(number)) - np.add.reduceat(weighted(np.exp(exponents), exponents), start)
    return constant, residual, np.abs(residual) <= 8.0 * float(np.finfo(float).eps) * terms, steps


def policy_of(
    utilities: FloatArray, process: PBDE, support: Any, utility_error: float
) -> tuple[Any, float]:
    r"""The policy that has these utilities under a process, and how far it may be from that of the exact ones.

    If the utilities' differences are within e of the exact ones', :math:`\log \pi` is off by :math:`(v_x + C) / f_x`
    with :math:`|v_x + C| \le e`: what is proved of the utilities is turned into total variation, with what rounding
    adds on the way.

    Parameters
    ----------
    utilities : ndarray, shape (n,)
        -inf excludes an outcome.
    process : PBDE
    support : sequence or Prompts
        Labels of the outcomes.
    utility_error : float
        Bound on the error of any difference of two utilities, in nats; may be infinite.

    Returns
    -------
    policy : FiniteDistribution or ConditionalDistribution
    policy_error : float
        Bound on the total variation, at each prompt; 1 where nothing is proved.

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
    same_support("process", process.support, "annotator", support)
    prompts = support if isinstance(support, Prompts) else None
    log_policy = normalized_log_policy(utilities, process, prompts)
    policy: Any = (FiniteDistribution if prompts is None else ConditionalDistribution)(log_policy, support)
    held = np.isfinite(utilities)
    g, f = np.broadcast_to(process.g, held.shape)[held], np.broadcast_to(process.f, held.shape)[held]
    finite, log_pmf = utilities[held], policy.log_pmf[held]
    # In units of the utilities: those of differences χ − g, of the constant, and of log π, each of a few roundings.
    rounding = np.abs(finite) + np.abs(g) + float(np.abs(finite - g).max())
    rounding = 4.0 * float(np.finfo(float).eps) * (rounding + f * (2.0 - log_pmf))
    errors = np.zeros(held.size)
    errors[held] = 0.5 * utility_error + rounding
    return policy, policy_bound(policy, errors, process.f)


def policy_bound(policy: FiniteDistribution | ConditionalDistribution, errors: FloatArray, f: FloatArray) -> float:
    """`policy_distance`, the largest one of all prompts.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> policy = pb.ConditionalDistribution(np.zeros(4), pb.Prompts("aabb"))
    >>> round(policy_bound(policy, np.array([1e-6, 1e-6, 1e-9, 1e-9]), np.array(1.0)), 9)
    1e-06
    """
    if isinstance(policy, FiniteDistribution):
        return policy_distance(policy.pmf, errors, f)
    # |C| is at most the largest error at the prompt, and the ratio of the policies at most the exponential of both.
    prompts = policy.support
    largest = np.maximum.reduceat(errors, prompts.start[:-1])[prompts.number]
    return min(1.0, float(0.5 * prompts.sums(policy.pmf * np.expm1(np.minimum((errors + largest) / f, 700.0))).max()))


def with_luce_policy(
    utilities: FloatArray, annotator: PreferenceModel, loss: float, certificate: Certificate, steps: int, reason: str
) -> Optimum:
    """The result of minimising a cross-entropy of utilities: their softmax is the policy that has them."""
    prompts = prompts_of(annotator)
    connected = int(certificate.components.max()) + 1 == (1 if prompts is None else len(prompts.names))
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
