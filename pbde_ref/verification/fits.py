"""What training would reach: the package's minimiser on a problem, wherever double precision determines the answer."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.pbde import PBDE
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray
from pbde_ref.verification import second_paths
from pbde_ref.verification.exact_fits import Projection, projection
from pbde_ref.verification.problems import Problem

__all__ = ["SMALLEST", "certified_fit", "exact_projection", "numerical_fit", "numerical_policy"]

SMALLEST = 1e-290
"""Below it products of probabilities and weights are no longer normal numbers, and lose their digits."""

DETERMINED = 1e-6
"""Nats that rounding of the inputs may move a difference of utilities where double precision determines it."""


def certified_fit(annotator: PreferenceModel, proposal: Proposal) -> FloatArray:
    """Utilities that minimise the expected loss.

    Raises
    ------
    ArithmeticError
        If the minimiser itself does not vouch for them.
    """
    solution = minimize_expected_loss("bradley_terry", annotator, proposal)
    if not solution.converged:
        raise ArithmeticError(f"the fit is not certified, its gap is {solution.certificate.gap:.1e} nats")
    return solution.value


@lru_cache(maxsize=128)
def numerical_fit(problem: Problem, luce_annotator: bool) -> FloatArray | None:
    r"""Utilities that training on the annotator's preferences would reach, by minimising the expected loss.

    None where no finite minimiser exists in double precision: where the pairs whose rarer answer is drawn with a
    probability of at least 1e-290 do not connect all outcomes.

    Elsewhere doubles determine it, whatever weights and utilities are. The annotator is well-specified, so if each
    probability is off by a factor :math:`1 \pm \eta`, log-odds are off by at most :math:`2 \eta`, and the fit by their
    sum along the paths of a unit current: at most :math:`2 (n - 1) \eta` between any two outcomes.
    """
    if not problem.positive:
        return None
    annotator = problem.luce if luce_annotator else problem.annotator
    if not second_paths.connects(second_paths.curvatures(annotator.utility, problem.q) >= SMALLEST):
        return None
    return certified_fit(annotator, problem.proposal)


def numerical_policy(problem: Problem, model: PBDE, *, luce_annotator: bool) -> FiniteDistribution | None:
    """The policy that training a model with the process `model` would reach, normalised by bracketing."""
    utilities = numerical_fit(problem, luce_annotator)
    if utilities is None:
        return None
    return FiniteDistribution(second_paths.normalized(utilities - model.g, model.f), problem.preference.support)


def exact_projection(members: list[FloatArray], mixed: FloatArray, q: FloatArray) -> Projection | None:
    """The projection of mixed annotators, or None where double precision does not determine it.

    Unlike one annotator's, it balances pairs that the model cannot meet all at once: where rare pairs must be met
    better than frequent ones can be rounded, the last digit of a frequent one decides.
    """
    p = np.asarray(sum(w * second_paths.all_preferences(chi) for w, chi in zip(mixed, members, strict=True)))
    rarer = np.minimum(p, p.T)
    if not second_paths.connects((q + q.T) * rarer >= SMALLEST):
        return None
    found = projection(members, list(mixed), q)
    return found if found.uncertainty <= DETERMINED else None
