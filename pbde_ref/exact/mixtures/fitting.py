r"""Mixed annotators without identities, Eq. (29) and (30): exact losses, and expectation–maximisation.

The model of a comparison is :math:`M_{AB} = \sum_i w_i\, \sigma(\omega_i(x_A) - \omega_i(x_B))`: one utility, and so
one density with its own normaliser, for each annotator, and nobody noted who answered. How it is fitted is told in
`expectation_maximization`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.annotators import PreferenceModel, prompts_of
from pbde_ref.conditional import ConditionalDistribution
from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution, mixture, same_support
from pbde_ref.exact.expected import check_models, expected_entropy
from pbde_ref.exact.identifiability import comparison_components, null_projection
from pbde_ref.exact.mixtures.curvature import MixtureCertificate, certify, mixture_hessian
from pbde_ref.exact.mixtures.expectation_maximization import run_one_start
from pbde_ref.exact.mixtures.model import MixtureModel, answered_pairs, divide_answers, evaluate
from pbde_ref.exact.optima import policy_of
from pbde_ref.exact.results import Optimum, unmet
from pbde_ref.exact.selection import win_weights_error
from pbde_ref.numerics import EPS
from pbde_ref.pbde import PBDE, luce
from pbde_ref.proposals import Proposal
from pbde_ref.validation import (
    FloatArray,
    array,
    function_or_none,
    generator_of,
    instance,
    number,
    positive_number,
    probability_weights,
    reject,
    vector,
    whole_number,
)

__all__ = [
    "MixtureCertificate", "MixtureLoss", "MixtureProgress", "MixtureSolution", "expected_mixture_hessian",
    "expected_mixture_loss", "fit_annotator_mixture",
]


@dataclass(frozen=True, eq=False)
class MixtureLoss(Shown):
    """An expected loss of the model of Eq. (30).

    Attributes
    ----------
    value : float
        Expected KL divergence of the annotators' answers from the model's, in nats, non-negative.
    cross_entropy : float
        The same plus the annotators' entropy: the expected binary cross-entropy, in nats.
    utilities_gradient : ndarray, shape (k, n)
        Derivative of either with respect to the utilities; each row sums to zero. Read-only.
    weights_gradient : ndarray, shape (k,)
        Derivative with respect to the weights as given, which Eq. (30) divides by their sum. Read-only.
    """

    value: float
    cross_entropy: float
    utilities_gradient: FloatArray
    weights_gradient: FloatArray


@dataclass(frozen=True, eq=False)
class MixtureProgress:
    """Where a run of expectation–maximisation stands: number of the start, iterations done, loss, parameters."""

    start: int
    step: int
    loss: float
    weights: FloatArray
    utilities: FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class MixtureSolution(Optimum):
    """A fitted mixture of annotators.

    Attributes
    ----------
    policy : FiniteDistribution
        Eq. (29): the mixture of the densities. Also called `marginal`.
    weights : ndarray, shape (k,)
        The annotators' shares, in the order of the start's rows. Read-only.
    utilities : ndarray, shape (k, n)
        Their utilities, with mean zero in each component of the comparison graph. Read-only.
    densities : tuple of k FiniteDistribution
        The policies that the model's process turns into these utilities; for the Luce rule, their softmax.
    loss : float
        Expected KL divergence in nats.
    losses : ndarray, shape (steps + 1,)
        The loss before the first and after every iteration; it never rises. Read-only.
    gap : float
        Upper bound on the loss above the least possible one, in nats: the loss itself, because no divergence is
        negative, with what rounding may have done to it. Nothing is proved of utilities or densities, for the loss is
        not convex.
    converged : bool
        Whether the gradient is within the tolerance at a point that is no saddle.
    certificate : MixtureCertificate
    steps : int
        Iterations of the start that is reported.
    start : int
        Number of that start.
    start_losses : ndarray, shape (n_starts,)
        Last loss of every start. Read-only.
    """

    policy: FiniteDistribution
    weights: FloatArray
    densities: tuple[FiniteDistribution, ...]
    losses: FloatArray
    start: int
    start_losses: FloatArray

    @property
    def marginal(self) -> FiniteDistribution:
        """`policy`."""
        return self.policy


def expected_mixture_loss(
    annotator: PreferenceModel, weights: ArrayLike, utilities: ArrayLike, proposal: Proposal
) -> MixtureLoss:
    r"""Expected loss of the mixture model of Eq. (30), with its gradients.

    .. math:: \sum_{A,B} q_{AB}\, D_{KL}(p_{AB} \,\|\, M_{AB}), \qquad
              M_{AB} = \sum_i \frac{w_i}{\sum_j w_j}\, \sigma(\omega_i(x_A) - \omega_i(x_B))

    With the responsibility :math:`r_i = w_i \sigma_i / M` of annotator i for an answer, the gradient in
    :math:`\omega_i` is that of a single annotator's cross-entropy in which each answer counts :math:`r_i`.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
        Who really answers, :math:`p_{AB}`.
    weights : array_like, shape (k,)
        Positive, from 1e-150 to 1e150; normalised here.
    utilities : array_like, shape (k, n)
        Row i holds :math:`\omega_i` in nats, of at most 1e300 in size.
    proposal : ProductProposal, JointProposal or PairListProposal
        Which pairs they are shown, :math:`q`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape or is out of its range.

    Notes
    -----
    Eq. (29) and (30) print :math:`\pi_\theta` without an index inside the sum; with one density for all annotators the
    model would be the Luce rule itself. Proof: ``proofs/mixed_annotators.md``.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.mixtures import expected_mixture_loss
    >>> even = pb.Annotator(pb.uniform("ab"), pb.luce())
    >>> torn = np.log([[3.0, 1.0], [1.0, 3.0]])  # two annotators who disagree are even together
    >>> expected_mixture_loss(even, [1, 1], torn, pb.ProductProposal([1, 1])).value < 1e-30
    True
    """
    check_models(annotator, proposal)
    utilities = _utility_rows("utilities", utilities, annotator.size)
    given = _positive_weights(weights, len(utilities))
    shares = probability_weights("weights", given)
    pairs = answered_pairs(annotator, proposal)
    model = evaluate(pairs, shares, utilities)
    expectation = divide_answers(pairs, model)
    # An annotator's share of all answers, relative to the weight, is 1 where the weight is right.
    weights_gradient = (1.0 - expectation.shares / model.weights) / given.sum()
    for value in (expectation.gradient, weights_gradient):
        value.flags.writeable = False
    entropy = expected_entropy(annotator, proposal)
    return MixtureLoss(model.loss, model.loss + entropy, expectation.gradient, weights_gradient)


def expected_mixture_hessian(
    annotator: PreferenceModel, weights: ArrayLike, utilities: ArrayLike, proposal: Proposal
) -> FloatArray:
    r"""Hessian of the expected loss of Eq. (30), shape (kn + k, kn + k).

    The coordinates are the k utilities one after the other, then the logits :math:`\lambda` of the weights,
    :math:`w = e^{\lambda} / \sum e^{\lambda}`. Louis' identity: it is what it would be if every answer were signed,
    less the covariance, given the answers, of the score that signatures would have added.

    Parameters and errors are those of `expected_mixture_loss`.

    Notes
    -----
    Where the model equals the annotators' preferences this is the Fisher information of one comparison. It always has
    one null direction for each annotator and component of the comparison graph, and one for the logits; a further one
    is a change of the mixture that the comparisons do not show to first order, as there is for two annotators and at
    most four outcomes.
    Proof: ``proofs/mixed_annotators.md``.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.mixtures import expected_mixture_hessian
    >>> even, pair = pb.Annotator(pb.uniform("ab"), pb.luce()), pb.JointProposal([[0, 1], [0, 0]])
    >>> hessian = expected_mixture_hessian(even, [1, 1], np.log([[3.0, 1.0], [1.0, 3.0]]), pair)
    >>> int((np.linalg.eigvalsh(hessian) > 1e-12).sum())  # one number is observed, so one direction is determined
    1
    """
    check_models(annotator, proposal)
    utilities = _utility_rows("utilities", utilities, annotator.size)
    weights = probability_weights("weights", _positive_weights(weights, len(utilities)))
    pairs = answered_pairs(annotator, proposal)
    model = evaluate(pairs, weights, utilities)
    return mixture_hessian(pairs, model, divide_answers(pairs, model))


def fit_annotator_mixture(
    annotator: PreferenceModel,
    proposal: Proposal,
    n_annotators: int = 2,
    *,
    pbde: PBDE | None = None,
    reference: FiniteDistribution | ConditionalDistribution | None = None,
    start: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    noise: float = 1e-4,
    n_starts: int = 1,
    rng: Any = None,
    max_steps: int = 1000,
    tolerance: float = 1e-6,
    callback: Callable[[MixtureProgress], object] | None = None,
) -> MixtureSolution:
    r"""Fit Eq. (30) to the annotators' preferences by expectation–maximisation on the population.

    One iteration computes every annotator's responsibility for each ordered pair and outcome, which gives the new
    weights, and takes for each annotator one damped Newton step with a line search on the utilities' weighted
    Bradley–Terry loss. The loss never rises.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
        Whose preferences are fitted; identities are not used.
    proposal : ProductProposal, JointProposal or PairListProposal
        Which pairs they are shown, :math:`q`.
    n_annotators : int
        k, from 1 to 10,000.
    pbde : PBDE, optional
        The process of all annotators in the model. Default: the Luce rule of Eq. (30).
    reference : FiniteDistribution or ConditionalDistribution, optional
        :math:`\pi_{pre}`, positive everywhere; its utility is where each annotator starts, and its support labels the
        result. Default: uniform.
    start : array_like, shape (k, n), optional
        Finite utilities to start from instead.
    weights : array_like, shape (k,), optional
        Positive weights to start from; normalised. Default: all equal.
    noise : float
        Standard deviation of the normal noise, in nats, that is added to each utility of every start; non-negative.
        The default is that of appendix A.4. Identical annotators stay identical for ever; below about 1e-7 the loss,
        which falls by the square of the noise at first, cannot tell them apart either.
    n_starts : int
        Number of runs, which differ in the noise; the lowest loss is kept.
    rng : numpy.random.Generator or seed, optional
        Each start draws from a child of it.
    max_steps : int
        Bound on the iterations of a start, at least 1.
    tolerance : float
        Gradient norm at which a start ends, unless the point is a saddle; positive.
    callback : callable, optional
        Called with a `MixtureProgress` before the first and after each iteration.

    Returns
    -------
    MixtureSolution
        In no particular order of annotators. `converged` is False at a saddle, and where steps or digits ran out.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a number is out of its range, or several starts are asked for without noise.

    Notes
    -----
    The loss is not convex: the result is a stationary point, not a proven minimum; `mixture_loss_bound` says what no
    other can undercut. Convergence is fast at first, then slow. Comparisons of four or fewer outcomes do not determine
    two annotators: outside a set of measure zero there are others nearby with the same preferences. Densities are
    determined only where somebody's preferences are informative; tails are not.
    If the comparison graph is not connected, the masses of its components are a convention. Memory is a few times k n²
    numbers, and the certificate needs the eigenvalues of a matrix of k (n + 1) rows.
    Proof: ``proofs/mixed_annotators.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.mixtures import fit_annotator_mixture
    >>> problem = pb.paper_problem(16)
    >>> experts = [pb.Annotator(p, pb.luce()) for p in problem.annotator_distributions]
    >>> crowd = pb.AnnotatorMixture(problem.annotator_weights, experts)
    >>> q = pb.ProductProposal(problem.reference)
    >>> solution = fit_annotator_mixture(crowd, q, reference=problem.reference, rng=0)
    >>> round(pb.total_variation(solution.marginal, problem.implicit_preference_distribution), 2)
    0.0
    """
    check_models(annotator, proposal)
    function_or_none("callback", callback)
    size, k = annotator.size, whole_number("n_annotators", n_annotators, least=1, most=10_000)
    process = luce() if pbde is None else pbde
    instance("pbde", process, PBDE, "a PBDE")
    prompts = prompts_of(annotator)
    kind: Any = FiniteDistribution if prompts is None else ConditionalDistribution
    reference = kind(np.zeros(size), annotator.support) if reference is None else reference
    instance("reference", reference, kind, f"a {kind.__name__}")
    same_support("reference", reference.support, "annotator", annotator.support)
    same_support("pbde", process.support, "annotator", annotator.support)
    base = np.tile(process.utility(reference.log_pmf), (k, 1)) if start is None else start
    base = _utility_rows("start" if start is not None else "the reference's utilities", base, size, rows=k)
    shares = probability_weights("weights", np.ones(k) if weights is None else _positive_weights(weights, k))
    noise, n_starts = number("noise", noise), whole_number("n_starts", n_starts, least=1, most=10**6)
    if not 0.0 <= noise <= 1e100:
        raise ValueError(f"`noise` must be {'non-negative' if noise < 0.0 else 'at most 1e100'}; got {noise}")
    if noise == 0.0 and n_starts > 1:
        raise ValueError(f"`n_starts` must be 1 where `noise` is 0, for all starts are the same; got {n_starts}")
    max_steps, tolerance = whole_number("max_steps", max_steps, least=1), positive_number("tolerance", tolerance)

    pairs = answered_pairs(annotator, proposal)
    components = comparison_components(proposal, size)
    null = null_projection(components)
    runs = []
    for index, child in enumerate(generator_of(rng).spawn(n_starts)):
        utilities = base + noise * child.standard_normal(base.shape)
        model = evaluate(pairs, shares, utilities)
        runs.append(run_one_start(pairs, model, null, max_steps, tolerance, partial(_report, callback, index)))
    best = min(range(n_starts), key=lambda index: runs[index].model.loss)
    run = runs[best]
    utilities = run.model.utilities - run.model.utilities @ null
    densities = tuple(policy_of(row, process, reference.support, 0.0)[0] for row in utilities)
    certificate = certify(run.hessian, run.gradient_norm, null, components, k)
    losses, start_losses = np.array(run.losses), np.array([other.model.loss for other in runs])
    for value in (utilities, losses, start_losses):
        value.flags.writeable = False
    # Rounding moves probabilities by a share of themselves; the root of a divergence, by no more than that.
    unit = 2.0 * win_weights_error(annotator, proposal) + EPS * (k + float(np.ptp(utilities)))
    gap = (math.sqrt(max(run.model.loss, 0.0)) + unit) ** 2
    reason = "it is a saddle" if certificate.is_saddle else unmet(("gradient norm", run.gradient_norm, tolerance))
    return MixtureSolution(
        policy=mixture(run.model.weights, densities), utilities=utilities, loss=run.model.loss, gap=gap,
        converged=not reason, unique=None, proof="divergence", certificate=certificate, steps=len(losses) - 1,
        reason=reason, weights=run.model.weights, densities=densities, losses=losses, start=best,
        start_losses=start_losses,
    )  # fmt: skip


def _utility_rows(name: str, value: ArrayLike, size: int, rows: int | None = None) -> FloatArray:
    """A copy of k finite utilities of `size` outcomes each."""
    result = array(name, value)
    wanted = (result.shape[0] if result.ndim == 2 and result.size and rows is None else rows, size)
    if result.shape != wanted:
        raise ValueError(f"`{name}` must have shape ({rows or 'k'}, {size}); got {result.shape}")
    reject(name, "finite", result, np.isinf(result))
    reject(name, "at most 1e300 in size", result, np.abs(result) > 1e300)
    return result


def _positive_weights(weights: ArrayLike, k: int) -> FloatArray:
    given = vector("weights", weights)
    if given.size != k:
        raise ValueError(f"`weights` must have one entry for each annotator, {k}; got {given.size}")
    reject("weights", "positive", given, given <= 0.0)
    reject("weights", "finite", given, np.isinf(given))
    reject("weights", "from 1e-150 to 1e150", given, (given < 1e-150) | (given > 1e150))
    return given


def _report(callback: Callable[[MixtureProgress], object] | None, start: int, step: int, model: MixtureModel) -> None:
    if callback is not None:
        callback(MixtureProgress(start, step, model.loss, model.weights.copy(), model.utilities.copy()))
