"""Markov chains whose accept step is the annotator."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.annotators import PreferenceModel, check_prompts
from pbde_ref.sampling.comparisons import check_annotator, outcome_indices, win_probability
from pbde_ref.sampling.outcomes import random_generator
from pbde_ref.validation import IndexArray, plain_array, transition_matrix, whole_number

__all__ = ["sample_barker_chain"]


def sample_barker_chain(
    annotator: PreferenceModel, kernel: ArrayLike, steps: int, *, start: ArrayLike = 0, rng: Any = None
) -> IndexArray:
    r"""Run Markov chains whose accept step is the annotator's preference.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    kernel : array_like, shape (n, n)
        Proposal :math:`K(x, x')`; rows sum to one. With a symmetric kernel and a Luce annotator the chain samples
        :math:`p^*`.
    steps : int
        Number of steps; may be 0.
    start : int or array_like of int, shape (m,)
        Where each of m chains starts.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    ndarray of int, shape (steps + 1, m)
        States; row 0 is `start`.

    Notes
    -----
    `barker_transition_matrix` has the exact transition probabilities.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([0.75, 0.25]), pb.luce())
    >>> states = pb.sample_barker_chain(annotator, [[0.5, 0.5], [0.5, 0.5]], 2000, start=[0] * 50, rng=0)
    >>> round(float((states[100:] == 0).mean()), 2)
    0.75
    """
    check_annotator(annotator)
    kernel = transition_matrix("kernel", kernel, size=annotator.size)
    check_prompts("kernel", annotator, *np.nonzero(kernel))
    steps = whole_number("steps", steps)
    current = outcome_indices("start", np.atleast_1d(plain_array("start", start)), annotator.size)
    generator, probability = random_generator(rng), win_probability(annotator, steps * current.size)
    cumulative = np.cumsum(kernel, axis=1)
    cumulative /= cumulative[:, -1:]
    states = np.empty((steps + 1, current.size), dtype=np.intp)
    states[0] = current
    for step in range(1, len(states)):
        uniform = generator.random(current.size)
        proposed = (cumulative[current] <= uniform[:, None]).sum(axis=1)
        moved = generator.random(current.size) < probability(proposed, current)
        current = np.where(moved, proposed, current)
        states[step] = current
    return states
