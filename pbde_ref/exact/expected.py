r"""Expectations over all pairs of the support: values, gradients and Hessians, pair by pair or in linear time.

The model prefers A to B with probability :math:`\sigma(\omega_A - \omega_B)`; the annotator with probability
:math:`p_{AB}`; the proposal draws the pair with probability :math:`q_{AB}`. Pair by pair, memory beyond the inputs is a
few blocks of 65,536 pairs, whatever the number of outcomes. Product proposals on large supports take the sums of
`exact.linear_time.kernel_sums`, unless told otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel, prompts_of
from pbde_ref.distributions import same_support
from pbde_ref.exact.fast_blocks import FastBlocks
from pbde_ref.exact.linear_time.kernel_sums import (
    kernel_cross_entropy,
    kernel_hessian_vector_product,
    kernel_kl,
    splits,
)
from pbde_ref.exact.results import ExpectedLoss
from pbde_ref.numerics import bernoulli_entropy, bernoulli_kl, weighted
from pbde_ref.objectives import BRADLEY_TERRY, Objective, as_objective
from pbde_ref.pairs import PairBlock
from pbde_ref.proposals import JointProposal, ProductProposal, Proposal
from pbde_ref.validation import FloatArray, choice, instance, reject, vector

__all__ = [
    "ExpectedLoss", "accurate_cross_entropy", "accurate_kl", "check_models", "expected_cross_entropy",
    "expected_entropy", "expected_hessian", "expected_hessian_vector_product", "expected_kl", "expected_loss",
    "takes_linear_time",
]  # fmt: skip


# Above this many outcomes "auto" prefers linear time to the dense sum's smaller error.
LARGE = 4096
METHODS = ("auto", "dense", "kernel_sum")


def expected_kl(
    annotator: PreferenceModel, utilities: ArrayLike, proposal: Proposal, method: str = "auto"
) -> ExpectedLoss:
    r"""Expected KL divergence between the annotator's and the model's preferences, Eq. (8).

    .. math:: \sum_{A, B} q_{AB}\, D_{KL}\big(p_{AB} \,\|\, \sigma(\omega_A - \omega_B)\big)

    Its gradient is :math:`\sum_B (q_{xB} + q_{Bx}) (\sigma(\omega_x - \omega_B) - p_{xB})`.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    utilities : array_like, shape (n,)
        The model's :math:`\omega`, for example ``pbde.utility(policy.log_pmf)`` or a reward; -inf excludes an outcome.
    proposal : ProductProposal, JointProposal or PairListProposal
    method : {"auto", "dense", "kernel_sum"}
        "dense" adds all pairs; "kernel_sum" takes linear time, for a single annotator and a product proposal; "auto"
        takes the latter where it can and there are more than 4,096 outcomes. The result says which was used.

    Returns
    -------
    ExpectedLoss
        The value is non-negative, zero exactly when both preferences agree on every pair drawn, infinite where the
        model excludes what the annotator does.

    Raises
    ------
    ValueError
        If sizes differ, `utilities` holds NaN or +inf at two outcomes that the proposal compares, or the proposal asks
        the annotator to compare two outcomes that both have probability zero.

    Notes
    -----
    It is zero exactly where the utilities agree up to a constant per component: ``proofs/lemma_1.md``.

    The dense value is right to 1e-12 in relative terms, however close the two preferences are and for utilities spread
    over ±1,000, because no step subtracts what it has rounded, save in blocks of pairs where this cannot matter
    (`pbde_ref.exact.fast_blocks`). One case is worse by nature: where annotators of a mixture disagree by
    :math:`\Delta` and yet the model meets their average to within :math:`\varepsilon \ll \Delta`, rounding of the
    weights alone changes that pair's contribution by about :math:`10^{-16} \Delta / \varepsilon` of itself.

    The errors of linear time are those of `pbde_ref.exact.linear_time.kernel_sums.kernel_kl`: at most 1e-9 in
    relative terms where :math:`\omega - \chi` varies by at most 4 nats, absolute ones otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> p = pb.FiniteDistribution.from_weights([3, 1])
    >>> luce, q = pb.Annotator(p, pb.luce()), pb.JointProposal([[0, 1], [1, 0]])
    >>> pb.expected_kl(luce, p.log_pmf + 7.0, q).value < 1e-30
    True
    >>> loss = pb.expected_kl(luce, [0.0, 0.0], q)  # 3/4 log 3/4 + 1/4 log 1/4 + log 2
    >>> round(loss.value, 6), loss.gradient
    (0.130812, array([-0.25,  0.25]))
    """
    check_models(annotator, proposal)
    if takes_linear_time(method, isinstance(annotator, Annotator), annotator, proposal):
        return kernel_kl(annotator, utilities, proposal)
    utilities = _checked(annotator, utilities, proposal)
    return _dense(accurate_kl, FastBlocks.of(annotator, utilities), annotator, utilities, proposal)


def accurate_kl(annotator: PreferenceModel, utilities: FloatArray, block: PairBlock) -> tuple[float, FloatArray]:
    """A block's divergence without cancellation, and each pair's weight times excess."""
    margin = block.difference(utilities, "utilities")
    excess = annotator.excess(block, utilities)
    divergence = bernoulli_kl(*annotator.probabilities(block), margin, excess)
    return float(weighted(block.weight, divergence).sum()), block.weight * excess


def expected_cross_entropy(
    annotator: PreferenceModel, utilities: ArrayLike, proposal: Proposal, method: str = "auto"
) -> ExpectedLoss:
    r"""Expected binary cross-entropy of the model's preferences under the annotator's, Eq. (7).

    .. math:: \sum_{A, B} q_{AB} \big[-p_{AB} \log \sigma(\omega_A - \omega_B)
              - p_{BA} \log \sigma(\omega_B - \omega_A)\big]

    It exceeds `expected_kl` by `expected_entropy`, which no utility changes; the gradients are equal
    (``proofs/cross_entropy_and_kl.md``). Parameters and
    errors are those of `expected_kl`; here linear time is open to mixtures of annotators too.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> round(pb.expected_cross_entropy(annotator, [0.0, 0.0], pb.ProductProposal([1, 1])).value, 6)  # log 2
    0.693147
    """
    check_models(annotator, proposal)
    if takes_linear_time(method, splits(annotator, proposal), annotator, proposal):
        return kernel_cross_entropy(annotator, utilities, proposal)
    utilities = _checked(annotator, utilities, proposal)
    quick = FastBlocks.of(annotator, utilities, entropy=True)
    return _dense(accurate_cross_entropy, quick, annotator, utilities, proposal)


def accurate_cross_entropy(
    annotator: PreferenceModel, utilities: FloatArray, block: PairBlock
) -> tuple[float, FloatArray]:
    """A block's cross-entropy as a sum of non-negative terms, and each pair's weight times excess."""
    margin = block.difference(utilities, "utilities")
    value = weighted(block.weight, _pair_loss(BRADLEY_TERRY, annotator, block, margin)).sum()
    return float(value), block.weight * annotator.excess(block, utilities)


def expected_entropy(annotator: PreferenceModel, proposal: Proposal) -> float:
    r"""Expected entropy of the annotator's answers, :math:`\sum_{A,B} q_{AB} H(p_{AB})`, in nats.

    The least expected cross-entropy that any model could have, and what Eq. (7) and Eq. (8) differ by.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> round(pb.expected_entropy(annotator, pb.JointProposal([[0, 1], [0, 0]])), 6)
    0.562335
    """
    check_models(annotator, proposal)
    blocks = proposal.blocks(annotator.size)
    return math.fsum((block.weight * bernoulli_entropy(*annotator.probabilities(block))).sum() for block in blocks)


def expected_loss(
    objective: str | Objective,
    annotator: PreferenceModel,
    utilities: ArrayLike,
    proposal: Proposal,
    **parameters: float,
) -> ExpectedLoss:
    r"""Expectation of any pairwise objective under the annotator's preferences.

    .. math:: \sum_{A, B} q_{AB} \big[p_{AB}\, \ell(\omega_A - \omega_B) + p_{BA}\, \ell(\omega_B - \omega_A)\big]

    Parameters
    ----------
    objective : str or Objective
        "bradley_terry" is `expected_cross_entropy`; `as_objective` lists the names and what they need. For IPO and RSO
        the utilities are :math:`\log (\pi / \pi_{pre})`, for SLiC and RRHF :math:`\log \pi`.
    annotator, utilities, proposal
        As in `expected_kl`.
    **parameters : float
        What the objective's name needs: ``tau`` for "ipo", ``delta`` for "slic" and "rso".

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce())
    >>> pb.expected_loss("bradley_terry", annotator, [1.0, 0.0], pb.JointProposal([[0, 1], [0, 0]])).value
    0.563261687518...
    >>> pb.expected_loss("ipo", annotator, [0.0, 0.0], pb.JointProposal([[0, 1], [0, 0]]), tau=0.5).value
    1.0
    """
    objective = as_objective(objective, **parameters)
    if objective is BRADLEY_TERRY:
        # Its gradient has a form without cancellation, which keeps its digits at the optimum.
        return expected_cross_entropy(annotator, utilities, proposal)
    utilities = _checked(annotator, utilities, proposal)
    values, gradient = [], np.zeros(annotator.size)
    for block, margin in _margins(utilities, proposal):
        loss, slope = _pair_loss_and_slope(objective, annotator, block, margin)
        values.append(weighted(block.weight, loss).sum())
        with np.errstate(invalid="ignore"):
            gradient += block.scatter(weighted(block.weight, slope), annotator.size)
    reject("utilities", "such that the gradient has no terms of both infinities", utilities, np.isnan(gradient))
    return _result(values, gradient)


def expected_hessian(
    objective: str | Objective, annotator: PreferenceModel, utilities: ArrayLike, proposal: Proposal,
    **parameters: float,
) -> FloatArray:  # fmt: skip
    r"""Hessian of the expected loss in the utilities: a weighted graph Laplacian, shape (n, n).

    .. math:: H_{AB} = -\kappa_{AB} \quad (A \ne B), \qquad H_{AA} = \sum_{B \ne A} \kappa_{AB}, \qquad
              \kappa_{AB} = (q_{AB} + q_{BA})\, \big[p_{AB}\, \ell''(d) + p_{BA}\, \ell''(-d)\big]

    For the Bradley–Terry objective :math:`\kappa = (q_{AB} + q_{BA})\, \sigma(d) \sigma(-d)` whatever the annotator
    does, for cross-entropy and KL alike (``proofs/convexity.md``).
    Its null space is the vectors constant on each component of the comparison
    graph.

    Parameters
    ----------
    objective, annotator, utilities, proposal, **parameters
        As in `expected_loss`.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.uniform("ab"), pb.luce())
    >>> pb.expected_hessian("bradley_terry", annotator, [0.0, 0.0], pb.JointProposal([[0, 1], [0, 0]]))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    utilities = _checked(annotator, utilities, proposal)
    result = np.zeros((annotator.size, annotator.size))
    for block, curvature in _curvatures(as_objective(objective, **parameters), annotator, utilities, proposal):
        block.add_to_laplacian(curvature, result)
    return result


def expected_hessian_vector_product(
    objective: str | Objective,
    annotator: PreferenceModel,
    utilities: ArrayLike,
    proposal: Proposal,
    direction: ArrayLike,
    method: str = "auto",
    **parameters: float,
) -> FloatArray:
    r"""Product of `expected_hessian` with a vector, shape (n,), without forming the matrix.

    .. math:: (H v)_A = \sum_B \kappa_{AB} (v_A - v_B)

    Objective and parameters are as in `expected_loss`, `method` as in `expected_kl`; linear time is for the
    Bradley–Terry objective and any annotator.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator, q = pb.Annotator(pb.uniform("ab"), pb.luce()), pb.JointProposal([[0, 1], [0, 0]])
    >>> pb.expected_hessian_vector_product("bradley_terry", annotator, [0.0, 0.0], q, direction=[1.0, 0.0])
    array([ 0.25, -0.25])
    """
    utilities = _checked(annotator, utilities, proposal)
    objective = as_objective(objective, **parameters)
    if takes_linear_time(method, objective is BRADLEY_TERRY, annotator, proposal):
        if objective is not BRADLEY_TERRY:
            raise ValueError(f"`objective` must be 'bradley_terry' for linear-time sums; got {objective.name!r:.100}")
        return kernel_hessian_vector_product(utilities, proposal, direction)
    direction = vector("direction", direction, size=annotator.size)
    reject("direction", "finite", direction, ~np.isfinite(direction))
    # Scaled to numbers of at most 1, whose differences cannot overflow.
    exponent = int(np.frexp(np.abs(direction).max())[1])
    direction, result = np.ldexp(direction, -exponent), np.zeros(annotator.size)
    for block, curvature in _curvatures(objective, annotator, utilities, proposal):
        result += block.scatter(curvature * block.difference(direction, "direction"), annotator.size)
    return np.ldexp(result, exponent)


def check_models(annotator: PreferenceModel, proposal: Proposal) -> None:
    """Raise ``TypeError`` unless the two are what their names say, ``ValueError`` where a pair has two prompts."""
    # Asking a protocol takes as long as a sum over a thousand pairs.
    if not isinstance(annotator, (Annotator, AnnotatorMixture)):
        instance("annotator", annotator, PreferenceModel, "an annotator")
    if not isinstance(proposal, (ProductProposal, JointProposal)):
        instance("proposal", proposal, Proposal, "a proposal")
    same_support("proposal", getattr(proposal, "support", None), "annotator", annotator.support)
    if (prompts := prompts_of(annotator)) is not None:
        for block in proposal.blocks(prompts.size):
            a, b, weight = np.broadcast_arrays(block.a, block.b, block.weight)
            prompts.check("proposal", a.ravel(), b.ravel(), weight.ravel() > 0.0)


def takes_linear_time(method: str, possible: bool, annotator: PreferenceModel, proposal: Proposal) -> bool:
    """Whether a method means linear time, which "auto" takes where it is possible above 4,096 outcomes."""
    choice("method", method, METHODS)
    if method == "auto":
        return possible and isinstance(proposal, ProductProposal) and annotator.size > LARGE
    return method == "kernel_sum"


def _checked(annotator: PreferenceModel, utilities: ArrayLike, proposal: Proposal) -> FloatArray:
    check_models(annotator, proposal)
    return vector("utilities", utilities, size=annotator.size)


def _dense(
    accurate: Callable[..., tuple[float, FloatArray]], quick: FastBlocks | None, annotator: PreferenceModel,
    utilities: FloatArray, proposal: Proposal,
) -> ExpectedLoss:  # fmt: skip
    """The sum over all pairs, block by block, each by the quick formula where that is right."""
    values, gradient = [], np.zeros(annotator.size)
    for block in proposal.blocks(annotator.size):
        value, terms = (quick and quick(block)) or accurate(annotator, utilities, block)
        values.append(value)
        gradient += block.scatter(terms, annotator.size)
    return _result(values, gradient)


def _margins(utilities: FloatArray, proposal: Proposal) -> Iterator[tuple[PairBlock, FloatArray]]:
    for block in proposal.blocks(utilities.size):
        yield block, block.difference(utilities, "utilities")


def _pair_loss_and_slope(
    objective: Objective, annotator: PreferenceModel, block: PairBlock, margin: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Each pair's expected loss and its derivative with respect to the margin."""
    (forward, backward), quick = annotator.probabilities(block), objective.quick
    with np.errstate(invalid="ignore", over="ignore"):
        if quick is not None:
            won, lost = np.empty(margin.shape), np.empty(margin.shape)
            slope = forward * quick(margin.copy(), won)
            slope -= backward * quick(-margin, lost)
            won *= forward
            lost *= backward
            won += lost
            # Infinite margins, or such as are not quick.
            if np.isfinite(np.add.reduce(won, axis=None)) and np.isfinite(np.add.reduce(margin, axis=None)):
                return won, slope
        slope = weighted(forward, objective.derivative(margin)) - weighted(backward, objective.derivative(-margin))
    return _pair_loss(objective, annotator, block, margin), slope


def _pair_loss(objective: Objective, annotator: PreferenceModel, block: PairBlock, margin: FloatArray) -> FloatArray:
    forward, backward = annotator.probabilities(block)
    with np.errstate(over="ignore"):
        return weighted(forward, objective.value(margin)) + weighted(backward, objective.value(-margin))


def _curvatures(
    objective: Objective, annotator: PreferenceModel, utilities: FloatArray, proposal: Proposal
) -> Iterator[tuple[PairBlock, FloatArray]]:
    for block, margin in _margins(utilities, proposal):
        if objective is BRADLEY_TERRY:
            yield block, block.weight * expit(margin) * expit(-margin)
        else:
            forward, backward = annotator.probabilities(block)
            curvature = forward * objective.second_derivative(margin) + backward * objective.second_derivative(-margin)
            yield block, block.weight * curvature


def _result(values: list[float], gradient: FloatArray) -> ExpectedLoss:
    gradient.flags.writeable = False
    return ExpectedLoss(math.fsum(values), gradient)
