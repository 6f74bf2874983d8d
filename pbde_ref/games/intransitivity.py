r"""How far preferences are from those of one annotator with a utility: the nearest one, and what turns in circles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.expected import check_models, expected_kl
from pbde_ref.exact.identifiability import comparison_components, finite_fit_exists
from pbde_ref.exact.laplacian import centred, solve_flows
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.optima import normalized_log_policy
from pbde_ref.exact.results import NoMinimumError
from pbde_ref.games.equilibria import margins
from pbde_ref.numerics import EPS
from pbde_ref.pbde import PBDE, luce
from pbde_ref.proposals import ProductProposal, Proposal
from pbde_ref.validation import FloatArray, choice, instance

__all__ = ["Intransitivity", "NearestAnnotator", "intransitivity", "nearest_annotator"]


@dataclass(frozen=True, eq=False)
class Intransitivity(Shown):
    r"""Preferences as a gradient and what is left: the Hodge decomposition of a flow on pairs.

    Attributes
    ----------
    utilities : ndarray, shape (n,)
        The potential s, centred in each component of the comparison graph. Read-only.
    residual : ndarray, shape (n, n)
        :math:`X_{AB} - (s_A - s_B)` of pairs that are drawn, 0 elsewhere; antisymmetric. Where all pairs are drawn it
        is a sum of triangles, the curl; elsewhere longer cycles may have a part in it. Read-only.
    share : float
        :math:`\sum w R^2 / \sum w X^2`, from 0 (a utility explains everything) to 1 (nothing); 0 if X is.
    """

    utilities: FloatArray
    residual: FloatArray
    share: float

    def worst_triangle(self) -> tuple[tuple[int, int, int], float]:
        """Three outcomes around which the residual adds up to most, and the sum; takes n³ steps.

        Around a triangle of pairs that are drawn it is also the sum of the preferences themselves.
        """
        best, place = 0.0, (0, 0, 0)
        for a in range(len(self.residual)):
            around = self.residual[a][:, None] + self.residual + self.residual[:, a]
            b, c = np.unravel_index(int(np.argmax(around)), around.shape)
            if around[b, c] > best:
                best, place = float(around[b, c]), (a, int(b), int(c))
        return place, best


def intransitivity(
    preferences: PreferenceModel, proposal: Proposal | None = None, *, of: str = "log_odds"
) -> Intransitivity:
    r"""Split preferences into differences of a utility and what runs in circles.

    .. math:: s = \arg\min \sum_{A,B} q_{AB} [X_{AB} - (s_A - s_B)]^2, \qquad
              X = \log \frac{P}{1 - P} \quad \text{or} \quad P - \frac12

    Parameters
    ----------
    preferences : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal, optional
        Default: all pairs alike.
    of : {"log_odds", "margins"}
        Log-odds leave nothing exactly where a Luce annotator explains the preferences. Margins also exist where an
        answer is certain, and their potential is what IPO learns, times 2 τ; a Luce annotator's leave a little.

    Raises
    ------
    ValueError
        If an answer is certain and `of` is "log_odds", or sizes differ.

    Notes
    -----
    Proof: ``proofs/maximal_lottery.md``, part 5. Concept: Jiang, Lim, Yao and Ye (2011).

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.games import intransitivity
    >>> cycle = pb.PreferenceMatrix([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
    >>> intransitivity(cycle).share, intransitivity(cycle).worst_triangle()[0]
    (1.0, (0, 1, 2))
    >>> luce = pb.Annotator(pb.FiniteDistribution.from_weights([3, 2, 1]), pb.luce())
    >>> intransitivity(luce).share < 1e-30
    True
    """
    flow = margins(preferences)
    n = len(flow)
    proposal = ProductProposal(np.ones(n)) if proposal is None else proposal
    check_models(preferences, proposal)
    drawn = proposal.matrix(n)
    weights = drawn + drawn.T
    np.fill_diagonal(weights, 0.0)
    if choice("of", of, ("log_odds", "margins")) == "log_odds":
        p = preferences.preference_probabilities()
        if ((np.minimum(p, p.T) == 0.0) & (weights > 0.0)).any():
            raise ValueError("`preferences` must leave each answer uncertain for log-odds; got 0 or 1")
        with np.errstate(divide="ignore", invalid="ignore"):
            flow = np.where(weights > 0.0, np.log(p) - np.log(p.T), 0.0)
    components = comparison_components(proposal, n)
    potential = centred(np.asarray(solve_flows(weights, weights * flow)), components)
    residual = np.where(weights > 0.0, flow - (potential[:, None] - potential), 0.0)
    total = float((weights * flow**2).sum())
    share = float((weights * residual**2).sum()) / total if total > 0.0 else 0.0
    for result in (potential, residual):
        result.flags.writeable = False
    return Intransitivity(potential, residual, min(share, 1.0))


@dataclass(frozen=True, eq=False)
class NearestAnnotator(Shown):
    r"""The density whose annotator, under a given process, comes nearest to preferences.

    Attributes
    ----------
    annotator : Annotator
    distance : float
        Expected KL divergence of the preferences from the annotator's, Eq. (8), in nats; 0 where it explains them.
    largest_error : float
        Of a preference of a pair that is drawn.
    allowed : float
        What rounding, and the minimiser's proved accuracy, may leave of it where a density does explain them.
    gap : float
        Upper bound on `distance` above the least possible one.
    """

    annotator: Annotator
    distance: float
    largest_error: float
    allowed: float
    gap: float

    @property
    def explains(self) -> bool:
        """Whether a density explains the preferences, up to rounding; if not, it is proved that none does."""
        return self.largest_error <= self.allowed


def nearest_annotator(
    preferences: PreferenceModel, proposal: Proposal | None = None, process: PBDE | None = None
) -> NearestAnnotator:
    r"""The density :math:`p^*` whose annotator :math:`\sigma(\Omega_A - \Omega_B)` is nearest in the sense of Eq. (8).

    Every process can have any utilities, so all processes with f > 0 explain the same preferences, by different
    densities, and come equally near to others.

    Parameters
    ----------
    preferences : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal, optional
        Default: all pairs alike.
    process : PBDE, optional
        Default: the Luce rule.

    Raises
    ------
    ValueError
        If no finite utilities are nearest (`finite_fit_exists`), or sizes differ.

    Notes
    -----
    Proofs: ``proofs/misspecification.md``, ``proofs/general_optimum.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.games import nearest_annotator
    >>> cycle = pb.PreferenceMatrix([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
    >>> found = nearest_annotator(cycle)
    >>> found.explains, found.annotator.distribution.pmf.round(3), round(found.largest_error, 3)
    (False, array([0.333, 0.333, 0.333]), 0.4)
    >>> halves = pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]])
    >>> nearest_annotator(halves, process=pb.PBDE(0.5)).annotator.distribution.pmf  # 9 : 1, square roots 3 : 1
    array([0.9, 0.1])
    """
    n = len(margins(preferences))
    proposal = ProductProposal(np.ones(n)) if proposal is None else proposal
    process = luce() if process is None else process
    instance("process", process, PBDE, "a PBDE")
    if not finite_fit_exists(preferences, proposal):
        raise NoMinimumError(
            "`preferences` must leave no group of outcomes that always wins against the others (Ford's condition): the "
            "nearest utilities would be infinite"
        )
    fit = minimize_expected_loss("bradley_terry", preferences, proposal)
    u: Any = fit.utilities
    density = FiniteDistribution(normalized_log_policy(u, process), preferences.support)
    drawn = proposal.matrix(n)
    error = np.abs(preferences.preference_probabilities() - expit(u[:, None] - u))
    allowed = 0.25 * (fit.utility_error + 4.0 * EPS * float(np.abs(u).max())) + 4.0 * EPS
    return NearestAnnotator(
        annotator=Annotator(density, process),
        distance=expected_kl(preferences, u, proposal, method="dense").value,
        largest_error=float(error[drawn + drawn.T > 0.0].max()),
        allowed=allowed,
        gap=fit.gap,
    )
