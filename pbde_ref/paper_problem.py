"""The paper's univariate problem: Eq. (10), the two annotators of Eq. (24), the reference policy of section 4.3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution, mixture, truncated_normal
from pbde_ref.validation import FloatArray, whole_number

__all__ = ["PaperProblem", "paper_problem"]


@dataclass(frozen=True, eq=False)
class PaperProblem(Shown):
    r"""The distributions that all of the paper's univariate experiments share.

    Attributes
    ----------
    grid : ndarray, shape (n,)
        Equally spaced points of [-10, 10], both ends included; the support of all distributions below.
    implicit_preference_distribution : FiniteDistribution
        :math:`p^* = \tfrac25 p_1^* + \tfrac35 p_2^*`, Eq. (10).
    annotator_distributions : tuple of FiniteDistribution
        :math:`p_1^*`, truncated normal with mean -2.5 and standard deviation 0.25, and :math:`p_2^*`, with 2.5 and 1.
    annotator_weights : ndarray, shape (2,)
        (0.4, 0.6).
    reference : FiniteDistribution
        :math:`\pi_{pre}`, truncated normal with mean 0 and standard deviation 5.
    """

    grid: FloatArray
    implicit_preference_distribution: FiniteDistribution
    annotator_distributions: tuple[FiniteDistribution, ...]
    annotator_weights: FloatArray
    reference: FiniteDistribution


def paper_problem(size: int = 256) -> PaperProblem:
    """The paper's univariate problem on a grid of `size` points.

    Parameters
    ----------
    size : int
        Number of grid points, at least 2.

    Examples
    --------
    >>> from pbde_ref.paper_problem import paper_problem
    >>> problem = paper_problem(1024)
    >>> left = problem.grid < 0
    >>> round(float(problem.implicit_preference_distribution.pmf[left].sum()), 3)
    0.404
    """
    grid = np.linspace(-10.0, 10.0, whole_number("size", size, least=2))
    weights = np.array([0.4, 0.6])
    for array in (grid, weights):
        array.flags.writeable = False
    annotators = truncated_normal(grid, -2.5, 0.25), truncated_normal(grid, 2.5, 1.0)
    return PaperProblem(grid, mixture(weights, annotators), annotators, weights, truncated_normal(grid, 0.0, 5.0))
