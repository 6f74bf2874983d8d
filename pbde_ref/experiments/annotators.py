"""Who answers in the paper's univariate experiments."""

from __future__ import annotations

from pbde_ref.annotators import Annotator, AnnotatorMixture
from pbde_ref.paper_problem import PaperProblem
from pbde_ref.pbde import luce

__all__ = ["luce_annotator", "pooled_annotators"]


def luce_annotator(problem: PaperProblem) -> Annotator:
    """The annotator of Eq. (9) and (10)."""
    return Annotator(problem.implicit_preference_distribution, luce())


def pooled_annotators(problem: PaperProblem) -> AnnotatorMixture:
    """The two annotators of Eq. (25)."""
    return AnnotatorMixture(problem.annotator_weights, [Annotator(p, luce()) for p in problem.annotator_distributions])
