r"""Mixed annotators without identities, Eq. (29) and (30): exact losses, and expectation–maximisation.

The model of a comparison is :math:`M_{AB} = \sum_i w_i\, \sigma(\omega_i(x_A) - \omega_i(x_B))`: one utility, and so
one density with its own normaliser, for each annotator, and nobody noted who answered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import cho_factor, cho_solve, eigvalsh

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution, mixture, uniform
from pbde_ref.exact.expected import expected_entropy
from pbde_ref.exact.identifiability import comparison_components, null_projection
from pbde_ref.exact.optima import normalized_log_policy
from pbde_ref.numerics import bernoulli_kl, softplus
from pbde_ref.pairs import PairBlock
from pbde_ref.pbde import PBDE, luce
from pbde_ref.proposals import Proposal
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    array,
    number,
    positive_number,
    probability_weights,
    reject,
    same_size,
    vector,
    whole_number,
)  # fmt: skip

__all__ = [
    "MixtureCertificate", "MixtureLoss", "MixtureProgress", "MixtureSolution", "expected_mixture_hessian",
    "expected_mixture_loss", "fit_annotator_mixture",
]  # fmt: skip

# A Newton step may cross a region where nobody's preference is informative; 20 nats are certainty there.
LARGEST_STEP = 20.0
# Curvatures of tails underflow; this share of the largest degree keeps the factorisation alive.
DAMPING = 1e-14
# Below this share of the largest curvature a negative one is not told from the zero that tails leave.
SADDLE = 1e-5
# A rejected second-order test is repeated no sooner than after so many iterations.
PATIENCE = 10


@dataclass(frozen=True, eq=False)
class MixtureLoss:
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


@dataclass(frozen=True, eq=False)
class MixtureCertificate:
    """What is known about the point where expectation–maximisation stopped.

    Attributes
    ----------
    gradient_norm : float
        Euclidean norm of the gradient with respect to all utilities and the logits of the weights.
    smallest_eigenvalue, largest_eigenvalue : float
        Of the Hessian in the same coordinates, outside the directions that no comparison can see. A smallest one near
        zero means that some direction is undetermined to working precision.
    is_saddle : bool
        Whether the smallest eigenvalue is below −1e-5 times the largest: the loss can be lowered from here.
    components : ndarray of int, shape (n,)
        Component of each outcome in the comparison graph: one undetermined constant per annotator and component.
    """

    gradient_norm: float
    smallest_eigenvalue: float
    largest_eigenvalue: float
    is_saddle: bool
    components: IndexArray


@dataclass(frozen=True, eq=False)
class MixtureSolution:
    """A fitted mixture of annotators.

    Attributes
    ----------
    weights : ndarray, shape (k,)
        The annotators' shares, in the order of the start's rows. Read-only.
    utilities : ndarray, shape (k, n)
        Their utilities, with mean zero in each component of the comparison graph. Read-only.
    densities : tuple of k FiniteDistribution
        The policies that the model's process turns into these utilities; for the Luce rule, their softmax.
    marginal : FiniteDistribution
        Eq. (29): the mixture of the densities.
    loss : float
        Expected KL divergence in nats.
    losses : ndarray, shape (steps + 1,)
        The loss before the first and after every iteration; it never rises. Read-only.
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

    weights: FloatArray
    utilities: FloatArray
    densities: tuple[FiniteDistribution, ...]
    marginal: FiniteDistribution
    loss: float
    losses: FloatArray
    converged: bool
    certificate: MixtureCertificate
    steps: int
    start: int
    start_losses: FloatArray


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
        Positive and finite; normalised here.
    utilities : array_like, shape (k, n)
        Row i holds :math:`\omega_i` in nats; finite.
    proposal : ProductProposal, JointProposal or PairListProposal
        Which pairs they are shown, :math:`q`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape, is not finite, or a weight is not positive.

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
    utilities = _utility_rows("utilities", utilities, annotator.size)
    given = _positive_weights(weights, len(utilities))
    pairs = _pairs(annotator, proposal)
    model = _evaluate(pairs, probability_weights("weights", given), utilities)
    expectation = _expectation(pairs, model)
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
    means that the comparisons do not determine the mixture, as for two annotators and at most four outcomes.
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
    utilities = _utility_rows("utilities", utilities, annotator.size)
    weights = probability_weights("weights", _positive_weights(weights, len(utilities)))
    pairs = _pairs(annotator, proposal)
    model = _evaluate(pairs, weights, utilities)
    return _hessian(pairs, model, _expectation(pairs, model))


def fit_annotator_mixture(
    annotator: PreferenceModel,
    proposal: Proposal,
    n_annotators: int = 2,
    *,
    pbde: PBDE | None = None,
    reference: FiniteDistribution | None = None,
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
        k, at least 1.
    pbde : PBDE, optional
        The process of all annotators in the model. Default: the Luce rule of Eq. (30).
    reference : FiniteDistribution, optional
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
    The loss is not convex: the result is a stationary point, not a proven minimum, and an imperfect one shows itself by
    its loss alone. Convergence is fast at first, then slow. Two annotators are never determined by the comparisons of
    four or fewer outcomes. Densities are determined only where somebody's preferences are informative; tails are not.
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
    size, k = annotator.size, whole_number("n_annotators", n_annotators, least=1)
    process = luce() if pbde is None else pbde
    reference = uniform(range(size)) if reference is None else reference
    same_size("reference", len(reference), size)
    base = np.tile(process.utility(reference.log_pmf), (k, 1)) if start is None else start
    base = _utility_rows("start" if start is not None else "the reference's utilities", base, size, rows=k)
    given = np.ones(k) if weights is None else _positive_weights(weights, k)
    noise, n_starts = number("noise", noise), whole_number("n_starts", n_starts, least=1)
    if noise < 0.0:
        raise ValueError(f"`noise` must be non-negative; got {noise}")
    if noise == 0.0 and n_starts > 1:
        raise ValueError(f"`n_starts` must be 1 where `noise` is 0, for all starts are the same; got {n_starts}")
    max_steps, tolerance = whole_number("max_steps", max_steps, least=1), positive_number("tolerance", tolerance)

    pairs = _pairs(annotator, proposal)
    components = comparison_components(proposal, size)
    null = null_projection(components)
    runs = []
    for index, child in enumerate(np.random.default_rng(rng).spawn(n_starts)):
        utilities = base + noise * child.standard_normal(base.shape)
        model = _evaluate(pairs, probability_weights("weights", given), utilities)
        runs.append(_run(pairs, model, null, max_steps, tolerance, partial(_report, callback, index)))
    best = min(range(n_starts), key=lambda index: runs[index].model.loss)
    run = runs[best]
    utilities = run.model.utilities - run.model.utilities @ null
    densities = tuple(FiniteDistribution(normalized_log_policy(row, process), reference.support) for row in utilities)
    certificate = _certify(run.hessian, run.gradient_norm, null, components, k)
    losses, start_losses = np.array(run.losses), np.array([other.model.loss for other in runs])
    for value in (utilities, losses, start_losses):
        value.flags.writeable = False
    return MixtureSolution(
        run.model.weights, utilities, densities, mixture(run.model.weights, densities), run.model.loss, losses,
        run.gradient_norm <= tolerance and not certificate.is_saddle, certificate, len(losses) - 1, best, start_losses,
    )  # fmt: skip


def _utility_rows(name: str, value: ArrayLike, size: int, rows: int | None = None) -> FloatArray:
    """A copy of k finite utilities of `size` outcomes each."""
    result = array(name, value)
    wanted = (result.shape[0] if result.ndim == 2 and result.size and rows is None else rows, size)
    if result.shape != wanted:
        raise ValueError(f"`{name}` must have shape ({rows or 'k'}, {size}); got {result.shape}")
    reject(name, "finite", result, np.isinf(result))
    return result


def _positive_weights(weights: ArrayLike, k: int) -> FloatArray:
    given = vector("weights", weights)
    if given.size != k:
        raise ValueError(f"`weights` must have one entry for each annotator, {k}; got {given.size}")
    reject("weights", "positive", given, given <= 0.0)
    reject("weights", "finite", given, np.isinf(given))
    return given


class _Pairs(NamedTuple):
    """A list of m pairs, Prob(A ≻ B) and Prob(B ≻ A), shape (2, m), and these times the pairs' weights."""

    block: PairBlock
    probabilities: FloatArray
    answers: FloatArray


class _Model(NamedTuple):
    """Weights (k,), utilities (k, n), and for each block log σ(±d), shape (2, k, m), and log M, shape (2, m)."""

    weights: FloatArray
    utilities: FloatArray
    log_sigmoids: list[FloatArray]
    log_mixtures: list[FloatArray]
    loss: float


class _Expectation(NamedTuple):
    """Each annotator's answers for each block, shape (2, k, m), their shares (k,), and the gradients (k, n)."""

    answers: list[FloatArray]
    shares: FloatArray
    gradient: FloatArray


class _Run(NamedTuple):
    model: _Model
    losses: list[float]
    gradient_norm: float
    hessian: FloatArray


def _pairs(annotator: PreferenceModel, proposal: Proposal) -> list[_Pairs]:
    result = []
    for block in proposal.blocks(annotator.size):
        # The blocks of dense proposals are rectangles in which up to half of the pairs have no weight.
        drawn = block.weight > 0.0
        a, b = (np.broadcast_to(index, drawn.shape)[drawn] for index in (block.a, block.b))
        block = PairBlock(a, b, block.weight[drawn])
        probabilities = np.stack(annotator.probabilities(block))
        result.append(_Pairs(block, probabilities, block.weight * probabilities))
    return result


def _log_sigmoids(block: PairBlock, utilities: FloatArray) -> FloatArray:
    r""":math:`\log \sigma(d)` and :math:`\log \sigma(-d)`, shape (2, m), of one annotator."""
    margin = block.difference(utilities, "utilities")
    rest = softplus(-np.abs(margin))
    return np.stack([np.minimum(margin, 0.0) - rest, np.minimum(-margin, 0.0) - rest])


def _evaluate(
    pairs: list[_Pairs], weights: FloatArray, utilities: FloatArray, log_sigmoids: list[FloatArray] | None = None
) -> _Model:
    """The model at these parameters; `log_sigmoids` may be handed in where they are known."""
    if log_sigmoids is None:
        log_sigmoids = [np.stack([_log_sigmoids(block, row) for row in utilities], axis=1) for block, *_ in pairs]
    log_mixtures, losses = [], []
    for (block, probabilities, _), terms in zip(pairs, log_sigmoids, strict=True):
        mixed = np.logaddexp.reduce(terms + np.log(weights)[:, None], axis=1)
        forward, backward = probabilities
        # From the smaller of each pair of probabilities, which carries the digits.
        excess = np.where(forward <= backward, np.exp(mixed[0]) - forward, backward - np.exp(mixed[1]))
        losses.append((block.weight * bernoulli_kl(forward, backward, mixed[0] - mixed[1], excess)).sum())
        log_mixtures.append(mixed)
    return _Model(weights, utilities, log_sigmoids, log_mixtures, math.fsum(losses))


def _expectation(pairs: list[_Pairs], model: _Model) -> _Expectation:
    """The E-step: every answer divided among the annotators by their responsibilities."""
    k, size = model.utilities.shape
    answers, shares, gradient = [], np.zeros(k), np.zeros((k, size))
    log_weights = np.log(model.weights)
    for (block, _, given), terms, mixed in zip(pairs, model.log_sigmoids, model.log_mixtures, strict=True):
        own = np.empty_like(terms)
        for i in range(k):
            own[:, i] = given * np.exp(terms[:, i] + log_weights[i] - mixed)
            shares[i] += own[:, i].sum()
            surprise = np.exp(terms[::-1, i])  # the probability of the other answer
            gradient[i] += block.scatter(own[1, i] * surprise[1] - own[0, i] * surprise[0], size)
        answers.append(own)
    return _Expectation(answers, shares, gradient)


def _maximization(pairs: list[_Pairs], model: _Model, expectation: _Expectation, null: FloatArray) -> _Model:
    """The M-step: exact weights, and one safeguarded Newton step for each annotator."""
    utilities = model.utilities.copy()
    log_sigmoids = [terms.copy() for terms in model.log_sigmoids]
    for i in range(len(utilities)):
        answers = [own[:, i] for own in expectation.answers]
        before = [terms[:, i] for terms in model.log_sigmoids]
        step = _newton_step(pairs, answers, before, expectation.gradient[i], null)
        found = _line_search(pairs, answers, before, utilities[i], expectation.gradient[i], step)
        if found is not None:
            utilities[i], after = found
            for terms, new in zip(log_sigmoids, after, strict=True):
                terms[:, i] = new
    weights = probability_weights("weights", expectation.shares)
    return _evaluate(pairs, weights, utilities, log_sigmoids)


def _newton_step(
    pairs: list[_Pairs],
    answers: list[FloatArray],
    log_sigmoids: list[FloatArray],
    gradient: FloatArray,
    null: FloatArray,
) -> FloatArray:
    """Newton's direction of one annotator, without the components' constants and of limited length."""
    hessian = np.zeros((gradient.size, gradient.size))
    for (block, *_), own, terms in zip(pairs, answers, log_sigmoids, strict=True):
        block.add_to_laplacian(own.sum(axis=0) * np.exp(terms.sum(axis=0)), hessian)
    scale = float(hessian.diagonal().max()) or 1.0
    step = -cho_solve(cho_factor(hessian + scale * (null + DAMPING * np.eye(gradient.size))), gradient)
    step -= null @ step
    return step * min(1.0, LARGEST_STEP / max(float(np.abs(step).max()), 1e-300))


def _line_search(
    pairs: list[_Pairs],
    answers: list[FloatArray],
    before: list[FloatArray],
    utilities: FloatArray,
    gradient: FloatArray,
    step: FloatArray,
) -> tuple[FloatArray, list[FloatArray]] | None:
    """The first of the halved steps that lowers the annotator's own loss; None where there is no such step."""
    slope = float((gradient * step).sum())
    for _ in range(50):
        if not slope < 0.0:
            return None
        after = [_log_sigmoids(block, utilities + step) for block, *_ in pairs]
        # Differences are summed, not sums subtracted: close to the optimum only the former have digits left.
        terms = zip(answers, before, after, strict=True)
        change = math.fsum(float((own * (old - new)).sum()) for own, old, new in terms)
        if change <= 1e-4 * slope or -slope < 1e-15:
            return utilities + step, after
        step, slope = 0.5 * step, 0.5 * slope
    return None


def _run(
    pairs: list[_Pairs],
    model: _Model,
    null: FloatArray,
    max_steps: int,
    tolerance: float,
    report: Callable[[int, _Model], object],
) -> _Run:
    """One start: iterate until the gradient vanishes at a point that is no saddle, or nothing moves any more."""
    losses, next_test = [model.loss], 0
    report(0, model)
    while True:
        expectation = _expectation(pairs, model)
        norm = math.hypot(np.linalg.norm(expectation.gradient), np.linalg.norm(model.weights - expectation.shares))
        step, hessian = len(losses) - 1, None
        if norm <= tolerance and step >= next_test:
            hessian = _hessian(pairs, model, expectation)
            if not _is_saddle(*_extreme_eigenvalues(hessian, null, len(model.weights))):
                break
            next_test = step + PATIENCE
        if step == max_steps:
            break
        candidate = _maximization(pairs, model, expectation, null)
        if not candidate.loss < model.loss:
            break  # rounding
        model = candidate
        losses.append(model.loss)
        report(step + 1, model)
    return _Run(model, losses, norm, _hessian(pairs, model, expectation) if hessian is None else hessian)


def _report(callback: Callable[[MixtureProgress], object] | None, start: int, step: int, model: _Model) -> None:
    if callback is not None:
        callback(MixtureProgress(start, step, model.loss, model.weights.copy(), model.utilities.copy()))


def _hessian(pairs: list[_Pairs], model: _Model, expectation: _Expectation) -> FloatArray:
    r"""Louis' identity, summed over answers.

    An answer's score, were it signed by annotator i, is :math:`\sigma(-d_i)` times A minus B if A won,
    :math:`-\sigma(d_i)` times that if B did, and :math:`e_i - w` in the logits.
    """
    k, size = model.utilities.shape
    weights = model.weights
    blocks = np.zeros((k, k, size, size))
    cross = np.zeros((k, size, k))
    logits = np.diag(weights) - np.outer(weights, weights)
    for (block, *_), own, given, terms in zip(
        pairs, expectation.answers, (p.answers for p in pairs), model.log_sigmoids, strict=True
    ):
        score = np.exp(terms[::-1]) * np.array([1.0, -1.0])[:, None, None]
        with np.errstate(invalid="ignore"):
            responsibility = np.where(given[:, None] > 0.0, own / given[:, None], 0.0)
        for i in range(k):
            block.add_to_laplacian(own[:, i].sum(axis=0) * np.exp(terms[:, i].sum(axis=0)), blocks[i, i])
            for j in range(k):
                missing = own[:, i] * ((i == j) - responsibility[:, j])
                block.add_to_laplacian(-(missing * score[:, i] * score[:, j]).sum(axis=0), blocks[i, j])
                cross[i, :, j] -= block.scatter((missing * score[:, i]).sum(axis=0), size)
                logits[i, j] -= missing.sum()
    upper = blocks.transpose(0, 2, 1, 3).reshape(k * size, k * size)
    side = cross.reshape(k * size, k)
    return np.block([[upper, side], [side.T, logits]])


def _extreme_eigenvalues(hessian: FloatArray, null: FloatArray, k: int) -> tuple[float, float]:
    """Smallest and largest eigenvalue outside the directions that no comparison can see."""
    size = len(hessian)
    hidden = np.zeros_like(hessian)
    hidden[: size - k, : size - k] = np.kron(np.eye(k), null)
    hidden[size - k :, size - k :] = 1.0 / k
    largest = float(eigvalsh(hessian, subset_by_index=[size - 1, size - 1])[0])
    # The hidden directions are moved to the upper end of the spectrum.
    smallest = float(eigvalsh(hessian + max(largest, 1e-300) * hidden, subset_by_index=[0, 0])[0])
    return smallest, largest


def _is_saddle(smallest: float, largest: float) -> bool:
    return smallest < -SADDLE * largest


def _certify(
    hessian: FloatArray, gradient_norm: float, null: FloatArray, components: IndexArray, k: int
) -> MixtureCertificate:
    smallest, largest = _extreme_eigenvalues(hessian, null, k)
    return MixtureCertificate(gradient_norm, smallest, largest, _is_saddle(smallest, largest), components)
