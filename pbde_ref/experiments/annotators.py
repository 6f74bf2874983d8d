"""Who answers in the univariate experiments: the paper's annotators, or the user's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pbde_ref.annotators import Annotator, AnnotatorMixture
from pbde_ref.distributions import mixture, truncated_normal
from pbde_ref.paper_problem import PaperProblem, paper_problem
from pbde_ref.pbde import luce
from pbde_ref.validation import number, positive_number, probability_weights, vector

__all__ = ["annotators_from", "luce_annotator", "pooled_annotators", "problem_with"]

_NORMAL = re.compile(r"([^:]+):normal\(([^,]+),([^,]+)\)")


def problem_with(size: int, annotators: Sequence[str] = ()) -> PaperProblem:
    """The paper's problem on a grid, with other annotators if some are named.

    Parameters
    ----------
    size : int
    annotators : sequence of str
        ``"0.4:normal(-2.5,0.25)"``: weight, mean and standard deviation of each, truncated to [-10, 10]. None: those of
        Eq. (10).

    Raises
    ------
    ValueError
        If one is spelt otherwise, a number is out of range, or all weights are zero.

    Examples
    --------
    >>> problem = problem_with(64, ["1:normal(-5,1)", "1:normal(0,1)", "2:normal(5,1)"])
    >>> problem.annotator_weights
    array([0.25, 0.25, 0.5 ])
    """
    problem = paper_problem(size)
    if not annotators:
        return problem
    weights, means, deviations = zip(*annotators_from(annotators), strict=True)
    members = [truncated_normal(problem.grid, *place) for place in zip(means, deviations, strict=True)]
    shares = probability_weights("the annotators' WEIGHT", vector("the annotators' WEIGHT", weights))
    return replace(
        problem,
        implicit_preference_distribution=mixture(shares, members),
        annotator_distributions=tuple(members),
        annotator_weights=shares,
    )


def annotators_from(annotators: Sequence[str]) -> list[tuple[float, float, float]]:
    """Weight, mean and standard deviation of each.

    Examples
    --------
    >>> annotators_from(["0.4:normal(-2.5,0.25)"])
    [(0.4, -2.5, 0.25)]
    """
    found = []
    for text in annotators:
        match = _NORMAL.fullmatch(text.replace(" ", ""))
        try:
            weight, mean, deviation = map(float, match.groups() if match else ())
        except ValueError:
            raise ValueError(
                f"the annotator must be WEIGHT:normal(MEAN,DEVIATION), as 0.4:normal(-2.5,0.25); got {text!r:.100}"
            ) from None
        place = number("the annotator's MEAN", mean), positive_number("the annotator's DEVIATION", deviation)
        found.append((weight, *place))
    return found


def luce_annotator(problem: PaperProblem) -> Annotator:
    """The annotator of Eq. (9) and (10)."""
    return Annotator(problem.implicit_preference_distribution, luce())


def pooled_annotators(problem: PaperProblem) -> AnnotatorMixture:
    """The annotators of Eq. (25), or the user's."""
    return AnnotatorMixture(problem.annotator_weights, [Annotator(p, luce()) for p in problem.annotator_distributions])
