r"""Losses of a margin that are not convex, EXO's and DiscoPOP's: a point where the gradient vanishes, and how low no
utilities can get.

No expected loss is below the sum of what each pair would have alone, :math:`\sum_e \min_d \varphi_e(d)` with
:math:`\varphi_e(d) = c_{AB}\, \ell(d) + c_{BA}\, \ell(-d)`. Where all pairs can have their minimum at once, as on a
tree, or where the annotator answers as the loss wants it, that is the least loss. Proof: ``proofs/exo.md``.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pbde_ref.annotators import PreferenceModel
from pbde_ref.exact.identifiability import comparison_components
from pbde_ref.exact.laplacian import centred, solve_flows
from pbde_ref.exact.optima import with_luce_policy
from pbde_ref.exact.policy_losses import descend
from pbde_ref.exact.results import Certificate, NoMinimumError, Optimum, unmet
from pbde_ref.exact.selection import win_weights
from pbde_ref.numerics import EPS, weighted
from pbde_ref.objectives import Objective
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray

__all__ = ["minimize_by_pairs"]



def minimize_by_pairs(
    objective: Objective, annotator: PreferenceModel, proposal: Proposal, *, tolerance: float = 1e-9
) -> Optimum:
    r"""Utilities at which the expected loss is stationary, the best that is found, and a bound that holds for all.

    Parameters
    ----------
    objective : Objective
        With `least`.
    annotator, proposal
        Who answers, and which pairs are asked.
    tolerance : float
        Gap at which the result counts as the optimum.

    Returns
    -------
    Optimum
        `gap` is the distance from what each pair could have alone. Where it is not within `tolerance`, the result is
        stationary, and `reason` says what is known of it.

    Raises
    ------
    NoMinimumError
        If a pair alone has no finite margin at which its loss is least.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator, pair = pb.PreferenceMatrix([[0.5, 0.9], [0.1, 0.5]]), pb.PairListProposal([0], [1])
    >>> found = minimize_by_pairs(pb.objectives.exo(0.25), annotator, pair)  # 0.8 log 3
    >>> np.diff(found.utilities).round(6), found.converged
    (array([-0.87889]), True)
    """
    components = comparison_components(proposal, annotator.size)
    wins, ties = win_weights(annotator, proposal)
    met = wins + wins.T
    share = np.divide(wins, met, out=np.full(met.shape, 0.5), where=met > 0.0)
    with np.errstate(all="ignore"):
        aims, floors = objective.least(share, share.T)  # type: ignore[misc]
    if not np.isfinite(aims[met > 0.0]).all():
        raise NoMinimumError("`annotator` must be sure of no pair, or its loss falls for ever; got a probability of 1")
    floor = 0.5 * float(weighted(met, floors).sum()) + ties * float(objective.value(np.zeros(1))[0])

    def evaluate(utilities: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        d = utilities[:, None] - utilities
        flows, bend = wins * objective.derivative(d), wins * objective.second_derivative(d)
        bend = bend + bend.T
        value = float((wins * objective.value(d)).sum()) + ties * float(objective.value(np.zeros(1))[0])
        return value, flows.sum(axis=1) - flows.sum(axis=0), np.diag(bend.sum(axis=1)) - bend

    # As near to all aims as least squares come, and where policy and reference agree.
    near = met * share * share.T
    starts = centred(solve_flows(near, near * aims), components), np.zeros(annotator.size)
    found = [descend(evaluate, start) for start in starts]
    values = [evaluate(point)[0] for point, _ in found]
    utilities, _ = found[int(np.argmin(values))]
    utilities = centred(utilities, components)
    utilities.flags.writeable = False
    loss, gradient, hessian = evaluate(utilities)
    gap = max(loss - floor, 0.0) + 64.0 * EPS * (abs(loss) + abs(floor))
    curvature = float(np.linalg.eigvalsh(hessian + np.max(np.abs(hessian)) * (components[:, None] == components))[0])
    certificate = Certificate(gap, float(np.linalg.norm(gradient)), curvature, components, math.inf)
    kind = "a local minimum" if curvature > 0.0 else "a stationary point"
    reason = "" if gap <= tolerance else (
        f"{kind}, with a gradient of {np.abs(gradient).max():.0e}: {objective.name!r} is not convex, "
        f"and its pairs would have {gap:.1e} less alone"
    )  # fmt: skip
    best = with_luce_policy(utilities, annotator, loss, certificate, sum(n for _, n in found), reason)
    off = reason or unmet(("gap", gap, tolerance))
    return replace(best, proof="dual", policy_error=1.0, unique=None, converged=not off, reason=off)
