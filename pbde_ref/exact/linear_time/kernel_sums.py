r"""Expectations under product proposals, :math:`q = a \otimes b`, in linear time and memory.

A sum over all pairs of :math:`a_A b_B\, \phi(\omega_A - \omega_B)` takes two visits to each outcome
(`exact.linear_time.panels`): a million million pairs are done in a tenth of a second. The annotator enters only through
such sums, because its preference probabilities are logistic functions of differences; so single annotators and mixtures
of them qualify, a `PreferenceMatrix` does not.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel
from pbde_ref.distributions import FiniteDistribution, same_support
from pbde_ref.exact.linear_time import close_kernel_sums
from pbde_ref.exact.linear_time.opponents import (
    Curvature,
    Population,
    one_factor,
    product_factors,
    single_annotators,
    weighted_sums,
)
from pbde_ref.exact.linear_time.panel_grid import chunks
from pbde_ref.exact.results import ExpectedLoss
from pbde_ref.proposals import ProductProposal, Proposal
from pbde_ref.validation import FloatArray, instance, probability_weights, reject, same_size, shown, vector

__all__ = [
    "kernel_cross_entropy", "kernel_entropy", "kernel_hessian_vector_product", "kernel_kl", "kl_of_arrays", "splits",
    "win_probabilities",
]  # fmt: skip

def kernel_cross_entropy(annotator: PreferenceModel, utilities: ArrayLike, proposal: Proposal) -> ExpectedLoss:
    r"""Expected binary cross-entropy, Eq. (7), of a product proposal in linear time.

    .. math:: \sum_{A, B} a_A b_B\, h(\omega_A - \omega_B) + \sum_x (\omega_x - \bar\omega)\, g_x, \qquad
              g_x = a_x [S_b(\omega) - S_b(\chi)]_x + b_x [S_a(\omega) - S_a(\chi)]_x

    with :math:`S_v(t)_x = \sum_B v_B\, \sigma(t_x - t_B)`, the entropy :math:`h(d)` of a comparison with logit d, and
    the gradient g; for a mixture of annotators :math:`S(\chi)` is the weighted mean of theirs.

    Parameters
    ----------
    annotator : Annotator or AnnotatorMixture
    utilities : array_like, shape (n,)
        The model's :math:`\omega`; infinite entries are allowed, finite ones must be below 1e300 in size.
    proposal : ProductProposal

    Returns
    -------
    ExpectedLoss

    Raises
    ------
    ValueError
        If the proposal is no product, the annotator does not split (`splits`), sizes differ, a utility is NaN or too
        large, or two outcomes that the proposal compares have the same infinite utility.

    Notes
    -----
    Absolute errors, :math:`\bar\omega` being the mean under a of the finite utilities:

    - gradient: at most :math:`10^{-13} (a_x + b_x)`, in trials :math:`10^{-14} (a_x + b_x)`;
    - value: at most :math:`2 \cdot 10^{-13} + 6 \cdot 10^{-14} \sum_x |\omega_x - \bar\omega| (a_x + b_x)`, the sum
      being over finite utilities; in trials a seventh of that.

    The second term of the value's bound is the gradient's error, multiplied by the utilities; where scores cluster,
    errors of interpolation are the same for a whole cluster, and do not average out. They are not relative errors: a
    gradient entry whose terms cancel may have no correct digit. Proof: ``proofs/kernel_sums.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.linear_time.kernel_sums import kernel_cross_entropy
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> loss = kernel_cross_entropy(annotator, [0.0, 0.0], pb.ProductProposal([1, 1]))
    >>> round(loss.value, 6), loss.gradient  # log 2
    (0.693147, array([-0.125,  0.125]))
    """
    proposal = product_factors(proposal, annotator.size, annotator.support)
    model = Population.of(_utilities("utilities", utilities, annotator.size), proposal, "utilities")
    members = _populations(annotator, proposal)
    gradient, product = _gradient(model, members)
    return ExpectedLoss(_cross_entropy(model, members, product), gradient, "kernel_sum")


def kernel_kl(annotator: PreferenceModel, utilities: ArrayLike, proposal: Proposal) -> ExpectedLoss:
    r"""Expected KL divergence, Eq. (8), of a single annotator and a product proposal in linear time.

    The cross-entropy minus the annotator's entropy where that has enough digits; otherwise, if
    :math:`u = \omega - \chi` varies by at most 4 nats,

    .. math:: \int_0^1 (1 - s) \sum_{A, B} a_A b_B\, \sigma'(t_A - t_B)\, (u_A - u_B)^2\, ds, \qquad t = \chi + s u

    by Gauss–Jacobi quadrature, in which every term is positive.

    Parameters
    ----------
    annotator : Annotator
        The entropy of a mixture's answers does not split into sums over outcomes.
    utilities, proposal
        As in `kernel_cross_entropy`.

    Returns
    -------
    ExpectedLoss
        Its `method` is "close_kernel_sum" if the integral was used. The value is never negative.

    Notes
    -----
    Errors of the gradient and absolute errors of the value are those of `kernel_cross_entropy`, with 3e-13 in place of
    the value's 2e-13. The relative error of the value is at most 1e-9 wherever u varies by at most 4 nats over the
    outcomes that the proposal draws and the value is above 1e-307, in trials 1e-11: either the absolute bound already
    implies it, or the integral is taken, whose quadrature errs by 1e-10 and whose sums lose no digits (u is measured
    from its mean in each panel). Smaller values, of weights near 1e-300, are right to 1e-9 of 1e-307: numbers below
    2.2e-308 have fewer digits. Where u varies more, only the absolute bound holds; the dense method has a relative one
    everywhere.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.linear_time.kernel_sums import kernel_kl
    >>> p, q = pb.FiniteDistribution.from_weights([3, 1]), pb.ProductProposal([1, 1])
    >>> loss = kernel_kl(pb.Annotator(p, pb.luce()), p.log_pmf + [1e-9, 0.0], q)  # 2 · ¼ · ½ · 3/16 · 1e-18
    >>> loss.value, loss.method
    (4.68...e-20, 'close_kernel_sum')
    """
    if not isinstance(annotator, Annotator):
        raise ValueError(
            "`annotator` must be a single annotator, because the entropy of other annotators' answers does not split "
            f"into sums over outcomes (use the cross-entropy, or method='dense'); got {type(annotator).__name__:.60}"
        )
    proposal = product_factors(proposal, annotator.size, annotator.support)
    return _kl(annotator.utility, _utilities("utilities", utilities, annotator.size), proposal)


def kl_of_arrays(
    truth: FloatArray, utilities: FloatArray, weights: FloatArray, out: FloatArray | None = None
) -> ExpectedLoss:
    r"""`kernel_kl` of arrays that are not copied, such as memory maps of more outcomes than fit twice.

    Parameters
    ----------
    truth, utilities : ndarray of float64, shape (n,)
        Utilities of the annotator, and of the model.
    weights : ndarray of float64, shape (n,)
        The proposal's factor a = b: non-negative, with a sum of 1 to 1e-9.
    out : ndarray of float64, shape (n,), optional
        Where the gradient goes. Default: a new array.

    Raises
    ------
    ValueError
        If sizes or types differ, weights are negative or have another sum, or a utility is NaN.

    Notes
    -----
    Each outcome is visited twice; memory beyond arrays and gradient is a few tables that fit a cache. Weights are
    taken as they are: their sum is asked for lest somebody forgets to divide. Errors are those of `kernel_kl`.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.exact.linear_time.kernel_sums import kl_of_arrays
    >>> kl_of_arrays(np.array([1.0, 0.0]), np.zeros(2), np.full(2, 0.5)).value
    0.0554...
    """
    arrays = {"truth": truth, "utilities": utilities, "weights": weights} | ({} if out is None else {"out": out})
    for name, value in arrays.items():
        if not (isinstance(value, np.ndarray) and value.dtype == np.float64 and value.ndim == 1 and value.size):
            raise TypeError(f"`{name}` must be a vector of float64 with an entry at least; got {shown(value)}")
        same_size(name, value.size, truth.size)
    parts = [weights[part] for part in chunks(weights.size)]
    total = math.fsum(float(part.sum()) for part in parts)
    if not (min(float(part.min()) for part in parts) >= 0.0 and abs(total - 1.0) <= 1e-9):
        raise ValueError(f"`weights` must be non-negative, with a sum of 1; got a sum of {total}")
    return _kl(truth, utilities, one_factor(weights), out)


def _kl(chi: FloatArray, omega: FloatArray, proposal: ProductProposal, out: FloatArray | None = None) -> ExpectedLoss:
    model = Population.of(omega, proposal, "utilities")
    members = [(1.0, Population.of(chi, proposal))]
    gradient, product = _gradient(model, members, out)
    truth = members[0][1]
    value = _cross_entropy(model, members, product)
    if math.isinf(value):
        return ExpectedLoss(value, gradient, "kernel_sum")
    value -= truth.entropy()
    error = 2e-13 + 6e-14 * model.mean_deviation()
    if value < 1e9 * error:
        close = close_kernel_sums.close_kl(truth.scores, omega, proposal)
        if close is not None:
            return ExpectedLoss(close, gradient, "close_kernel_sum")
    return ExpectedLoss(max(0.0, value), gradient, "kernel_sum")


def kernel_entropy(annotator: PreferenceModel, proposal: Proposal) -> float:
    r"""Expected entropy of a single annotator's answers, :math:`\sum_{A, B} a_A b_B\, h(\chi_A - \chi_B)`.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.linear_time.kernel_sums import kernel_entropy
    >>> kernel_entropy(pb.Annotator(pb.uniform("ab"), pb.luce()), pb.ProductProposal([1, 1]))  # log 2
    0.693147180559945...
    """
    if not isinstance(annotator, Annotator):
        raise ValueError(f"`annotator` must be a single annotator; got {type(annotator).__name__:.60}")
    proposal = product_factors(proposal, annotator.size, annotator.support)
    return Population.of(annotator.utility, proposal).entropy()


def kernel_hessian_vector_product(utilities: ArrayLike, proposal: Proposal, direction: ArrayLike) -> FloatArray:
    r"""Product of the expected loss's Hessian with a vector, in linear time; the same for all annotators.

    .. math:: H v = a \odot (v \odot S_b - S_{b v}) + b \odot (v \odot S_a - S_{a v}), \qquad
              S_w = \sum_B w_B\, \sigma'(\omega_x - \omega_B)

    Parameters
    ----------
    utilities, proposal
        As in `kernel_cross_entropy`.
    direction : array_like, shape (n,)
        Finite.

    Notes
    -----
    Absolute error at most :math:`10^{-13} (a_x + b_x) \max |v - \bar v|` with the mean :math:`\bar v` of all entries
    alike, in trials a tenth of that. Proof: ``proofs/kernel_sums.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.linear_time.kernel_sums import kernel_hessian_vector_product
    >>> kernel_hessian_vector_product([0.0, 0.0], pb.ProductProposal([1, 1]), [1.0, 0.0]).round(12)
    array([ 0.125, -0.125])
    """
    proposal = product_factors(proposal, np.size(utilities))
    omega = _utilities("utilities", utilities, proposal.a.size)
    direction = _utilities("direction", direction, proposal.a.size)
    reject("direction", "finite", direction, ~np.isfinite(direction))
    # Scaled to numbers of at most 1, whose sums cannot overflow.
    exponent = int(np.frexp(np.abs(direction).max())[1])
    return np.ldexp(Curvature(Population.of(omega, proposal, "utilities"))(np.ldexp(direction, -exponent)), exponent)


def win_probabilities(annotator: PreferenceModel, opponents: FiniteDistribution | ArrayLike) -> FloatArray:
    r"""Probability that an outcome is preferred to one drawn from `opponents`, :math:`E_{B \sim b}[p^*(x \succ B)]`.

    All that a product proposal's squared-error objective (IPO, Eq. 23) needs of the annotator, and the utility in
    Eq. (22).

    Parameters
    ----------
    annotator : Annotator or AnnotatorMixture
    opponents : FiniteDistribution or array_like of weights, shape (n,)

    Returns
    -------
    ndarray, shape (n,)
        Each right to 1e-13. An outcome that the annotator excludes gets half of its own weight.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.linear_time.kernel_sums import win_probabilities
    >>> win_probabilities(pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce()), [1, 1])
    array([0.625, 0.375])
    """
    instance("annotator", annotator, PreferenceModel, "an annotator")
    if not isinstance(opponents, FiniteDistribution):
        probability_weights("opponents", vector("opponents", opponents, size=annotator.size))
    else:
        same_support("opponents", opponents.support, "annotator", annotator.support)
    proposal = product_factors(ProductProposal(opponents), annotator.size)
    ones = np.ones(annotator.size)
    members = [(weight, Population.of(chi, proposal, refuse=False)) for weight, chi in single_annotators(annotator)]
    # In a gradient each sum would count twice, and be multiplied by the outcome's own weight.
    members = [(0.5 * weight, replace(member, factors=(ones,))) for weight, member in members]
    return np.concatenate([sums for _, sums in weighted_sums(members)])


def splits(annotator: PreferenceModel, proposal: Proposal) -> bool:
    """Whether the expected cross-entropy can be had in linear time.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.linear_time.kernel_sums import splits
    >>> splits(pb.PreferenceMatrix([[0.5]]), pb.ProductProposal([1]))
    False
    """
    if isinstance(annotator, AnnotatorMixture):
        return all(splits(member, proposal) for member in annotator.annotators)
    return isinstance(annotator, Annotator) and isinstance(proposal, ProductProposal)


def _populations(annotator: PreferenceModel, proposal: ProductProposal) -> list[tuple[float, Population]]:
    return [(weight, Population.of(chi, proposal)) for weight, chi in single_annotators(annotator)]


def _gradient(
    model: Population, members: list[tuple[float, Population]], out: FloatArray | None = None
) -> tuple[FloatArray, float]:
    """The gradient, read-only unless it is `out`, and its product with the model's utilities."""
    result, center, products = np.empty(model.scores.size) if out is None else out, model.center(), []
    for part, terms in weighted_sums([(1.0, model), *((-weight, member) for weight, member in members)]):
        result[part] = terms
        # Infinite utilities stand at a finite place here; unless the loss is infinite their gradient is zero.
        terms *= model.points.scores[part] - center
        products.append(float(terms.sum()))
    result.flags.writeable = out is not None
    return result, math.fsum(products)


def _cross_entropy(model: Population, members: list[tuple[float, Population]], product: float) -> float:
    if model.infinite and _excluded_by_mistake(model, members):
        return math.inf
    return max(0.0, model.entropy() + product)


def _excluded_by_mistake(model: Population, members: list[tuple[float, Population]]) -> bool:
    """Whether the model is certain of a comparison that the proposal draws and some annotator is not."""
    a, b = model.factors[0], model.factors[-1]
    for z in np.flatnonzero(np.isinf(model.scores)):
        below = np.isneginf(model.scores[z])
        for _, member in members:
            # At -inf the model errs unless the annotator excludes z too; at +inf unless it excludes all that z meets.
            if below and np.isneginf(member.scores[z]):
                continue
            met = np.ones(a.size, dtype=bool) if below else np.isfinite(member.scores)
            met[z] = False
            if (a[z] > 0.0 and b[met].any()) or (b[z] > 0.0 and a[met].any()):
                return True
    return False


def _utilities(name: str, value: ArrayLike, size: int) -> FloatArray:
    """A float64 vector; not copied if it is one already, since nothing here keeps or changes it."""
    # Subtypes, such as masked arrays, have an arithmetic of their own.
    if not (type(value) is np.ndarray and value.dtype == np.float64 and value.ndim == 1):
        return vector(name, value, size=size)
    same_size(name, value.size, size)
    return value
