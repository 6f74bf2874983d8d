r"""Unrestricted utilities at any number of prompts: Newton's method at all of them at once, with a bound on the gap."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit

from pbde_ref.annotators import PreferenceModel, prompts_of
from pbde_ref.conditional import ConditionalDistribution
from pbde_ref.exact.expected import check_models, expected_cross_entropy
from pbde_ref.exact.identifiability import comparison_components, finite_fit_exists
from pbde_ref.exact.optima import policy_bound
from pbde_ref.exact.results import NoMinimumError, Optimum, unmet
from pbde_ref.numerics import EPS
from pbde_ref.pairs import PairBlock
from pbde_ref.prompts.log_linear import gap_of
from pbde_ref.prompts.pairs import pairs_of
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, IndexArray, positive_number, whole_number

__all__ = ["minimize_at_prompts"]



def minimize_at_prompts(
    annotator: PreferenceModel, proposal: Proposal, *, tolerance: float = 1e-12, max_steps: int = 500
) -> Optimum:
    r"""Utilities with the least expected cross-entropy, Eq. (7), at every prompt: for thousands of prompts.

    The same minimum as that of ``minimize_expected_loss("bradley_terry", …)``, whose certificate is finer, but which
    forms a matrix of all answers. Here prompts with equally many answers are solved together, each in a matrix of its
    own.

    Parameters
    ----------
    annotator : Annotator or AnnotatorMixture
        Of `ConditionalDistribution`.
    proposal : Proposal
        Such as `prompt_pairs`.
    tolerance : float
        Certified gap, in nats, at which the result counts as converged.
    max_steps : int
        Bound on Newton steps, at least 1.

    Returns
    -------
    Optimum
        `utilities` are centred in each component; `policy` is their softmax at each prompt.

    Raises
    ------
    TypeError
        If the annotator's outcomes are not answers to prompts.
    NoMinimumError
        If at some prompt no finite utilities are best.

    Notes
    -----
    The bounds are those of `minimize_log_linear` at each prompt, :math:`r^2` being the largest effective resistance:
    ``proofs/log_linear.md``, part 2.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> prompts = pb.Prompts("aabb")
    >>> one, other = (pb.Annotator(pb.ConditionalDistribution(np.log(w), prompts), pb.luce())
    ...               for w in ([4.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 4.0]))
    >>> found = pb.minimize_at_prompts(pb.AnnotatorMixture([1, 1], [one, other]), pb.prompt_pairs(prompts))
    >>> found.policy.pmf.round(6), found.converged  # (4/5 + 1/2) / 2
    (array([0.65, 0.35, 0.35, 0.65]), True)
    """
    tolerance, max_steps = positive_number("tolerance", tolerance), whole_number("max_steps", max_steps, least=1)
    check_models(annotator, proposal)
    prompts = prompts_of(annotator)
    if prompts is None:
        raise TypeError("`annotator` must compare answers to prompts, of a ConditionalDistribution")
    if not finite_fit_exists(annotator, proposal):
        raise NoMinimumError("`annotator` must leave finite utilities the best at every prompt (Ford's condition)")
    components, sizes = comparison_components(proposal, prompts.size), np.diff(prompts.start)
    # The first weight of each prompt's square matrix, all of them one after the other.
    square = np.concatenate([[0], np.cumsum(sizes**2)])
    wins = np.zeros(square[-1])
    a, b, weight = pairs_of(proposal, prompts.size)
    a, b, weight = (x[a != b] for x in (a, b, weight))
    k = prompts.number[a]
    row, column = a - prompts.start[k], b - prompts.start[k]
    won_lost = annotator.probabilities(PairBlock(a, b, weight))
    for first, second, p in zip((row, column), (column, row), won_lost, strict=True):
        np.add.at(wins, square[k] + first * sizes[k] + second, weight * p)
    utilities, gap, error, steps = np.zeros(prompts.size), 0.0, 0.0, 0
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        answers = prompts.start[alike][:, None] + np.arange(size)
        won = wins[square[alike][:, None] + np.arange(size**2)].reshape(-1, size, size)
        found, own_gap, own_error, own_steps = _solve(won, components[answers], max_steps)
        utilities[answers], gap = found, gap + own_gap
        error, steps = max(error, own_error), max(steps, own_steps)
    utilities.flags.writeable = False
    policy, reason = ConditionalDistribution(utilities, prompts), unmet(("gap", gap, tolerance))
    unique = int(components.max()) + 1 == len(prompts.names)
    bound = policy_bound(policy, np.full(prompts.size, 0.5 * error), np.ones(1)) if unique and error < 1.0 else 1.0
    return Optimum(
        policy=policy, utilities=utilities, loss=expected_cross_entropy(annotator, utilities, proposal).value, gap=gap,
        utility_error=error, policy_error=bound, converged=not reason, unique=unique, proof="curvature", steps=steps,
        reason=reason,
    )  # fmt: skip


def _solve(won: FloatArray, components: IndexArray, max_steps: int) -> tuple[FloatArray, float, float, int]:
    """Utilities, shape (K, s), the sum of the gaps, the largest error of a difference, and steps."""
    total, size = won + won.swapaxes(1, 2), won.shape[1]
    together = components[:, :, None] == components[:, None, :]
    null = together / together.sum(axis=2, keepdims=True)
    at, steps = np.zeros(won.shape[:2]), 0

    def flows(utilities: FloatArray) -> tuple[FloatArray, FloatArray]:
        d = utilities[:, :, None] - utilities[:, None, :]
        model = expit(d)
        return total * model - won, total * model * expit(-d)

    while True:
        excess, kappa = flows(at)
        degree = kappa.sum(axis=2)
        scale = np.where(degree.max(axis=1) > 0.0, degree.max(axis=1), 1.0)[:, None, None]
        # A rounding more on the diagonal inverts what has underflowed, of which nothing is proved then.
        filled = (np.eye(size) * degree[:, :, None] - kappa) / scale + null + EPS * np.eye(size)
        inverse = np.linalg.inv(filled) / scale
        step = -np.einsum("kij,kj->ki", inverse, excess.sum(axis=2))
        change = np.where(together, step[:, :, None] - step[:, None, :], 0.0)
        reach = np.abs(change).max(axis=(1, 2))
        if not (reach > 1e-12 * (1.0 + np.abs(at).max(axis=1))).any() or steps == max_steps:
            break
        # All of a step where what lies there is downhill, else what is safe anyway.
        length = np.minimum(1.0, 300.0 / np.maximum(reach, 1e-300))
        slope = (flows(at + length[:, None] * step)[0] * change).sum(axis=(1, 2))
        length = np.where(slope <= 0.0, length, np.minimum(length, 1.0 / np.maximum(reach, 1e-300)))
        at, steps = at + length[:, None] * step, steps + 1
    ends = np.einsum("kii->ki", inverse)
    resistances = np.where(together, ends[:, :, None] + ends[:, None, :] - 2.0 * inverse, 0.0)
    widest = np.sqrt(np.maximum(resistances, 0.0).max(axis=(1, 2)))
    d = np.abs(at[:, :, None]) + np.abs(at[:, None, :])
    rounding = ((8.0 * EPS * total * (1.0 + size) + 4.0 * EPS * kappa * d) * (total > 0.0)).sum(axis=(1, 2))
    # Rounding of the inverse, relative to the least curvature.
    lost = 8.0 * size * EPS * scale[:, 0, 0] * np.linalg.norm(inverse, axis=(1, 2))
    decrement = np.sqrt(np.maximum((step * -excess.sum(axis=2)).sum(axis=1), 0.0)) + widest * rounding
    gaps, errors = gap_of(decrement, widest, 1.0 - lost)
    return at - np.einsum("kij,kj->ki", null, at), math.fsum(gaps.tolist()), float(errors.max()), steps
