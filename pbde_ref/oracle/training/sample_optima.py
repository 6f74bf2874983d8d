r"""Exact optima of expected losses, of a population or of a sample of comparisons, by the direction they move in.

In every family here the optimal policy is :math:`\log \pi = b + \theta v` up to its normaliser: a base b, which is the
logarithm of the reference or nothing, a direction v, which the comparisons determine, and a coefficient
:math:`\theta`, which the loss's parameter sets.
"""

from __future__ import annotations

from typing import Literal

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import uniform
from pbde_ref.exact.hinge import minimize_rso
from pbde_ref.exact.ipo import ipo_optimum
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray

__all__ = ["ObjectiveName", "direction"]

ObjectiveName = Literal["bradley_terry", "ipo", "hinge"]


def direction(objective: ObjectiveName, annotator: PreferenceModel, proposal: Proposal) -> FloatArray:
    r"""Utilities of least expected loss, mean zero, for the objective's unit parameter and connected comparisons.

    - "bradley_terry": :math:`\hat\omega`, whatever the process that makes utilities of log-probabilities;
    - "ipo": the optimum at :math:`1/(2\tau) = 1`; that at any :math:`\tau` is :math:`1/(2\tau)` times it;
    - "hinge": an optimum at :math:`\delta = 1`, the largest one; that at any :math:`\delta` is :math:`\delta` times it.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator, q = pb.Annotator(pb.FiniteDistribution.from_weights([4, 1]), pb.luce()), pb.ProductProposal([1, 1])
    >>> direction("ipo", annotator, q), direction("hinge", annotator, q)  # 4/5 - 1/5 apart; 1 apart
    (array([ 0.3, -0.3]), array([ 0.5, -0.5]))
    """
    if objective == "bradley_terry":
        solution = minimize_expected_loss("bradley_terry", annotator, proposal)
        if not solution.converged:
            raise ArithmeticError(f"the Bradley-Terry fit did not converge: {solution.certificate}")
        return solution.value
    reference = uniform(annotator.support)
    if objective == "ipo":
        quadratic = ipo_optimum(annotator, proposal, tau=0.5, reference=reference)
        if not quadratic.converged:
            raise ArithmeticError(f"the IPO fit did not converge: gap {quadratic.gap}")
        return quadratic.log_ratio
    hinge = minimize_rso(annotator, proposal, delta=1.0, reference=reference)
    if not hinge.converged:
        raise ArithmeticError(f"the hinge fit did not converge: relative gap {hinge.relative_gap}")
    return hinge.utilities - hinge.utilities.mean()
