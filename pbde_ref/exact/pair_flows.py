r"""The derivatives of the expected Bradley–Terry loss pair by pair, where they have digits that their sums lose.

What pulls A up against B is :math:`z_{AB} = w_{AB}\,[p_{AB}\, \sigma(-d) - p_{BA}\, \sigma(d)]`, :math:`d = \omega_A -
\omega_B`; minus the gradient is its divergence :math:`\sum_B z_{AB}`, and the Hessian is the Laplacian of the
conductances :math:`\kappa_{AB} = w_{AB}\, \sigma(d) \sigma(-d)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from pbde_ref.annotators import PreferenceModel
from pbde_ref.exact.laplacian import maximal_spanning_tree
from pbde_ref.numerics import EPS
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray

__all__ = ["PairFlows", "PairProblem", "pair_information", "weight_exponent"]



class PairFlows(NamedTuple):
    """Flows z, antisymmetric, and conductances, of shape (n, n), times two to the power of the problem's exponent."""

    flows: FloatArray
    conductances: FloatArray


@dataclass(frozen=True, eq=False)
class PairProblem:
    """An annotator's comparisons, ready for derivatives at any utilities.

    Attributes
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal
    exponent : int
        Weights are multiplied by two to this power, so that curvatures of pairs that are drawn rarely and far apart do
        not underflow.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> problem = PairProblem(pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]]), pb.PairListProposal([0], [1]), 0)
    >>> problem.at(np.zeros(2)).flows
    array([[ 0.  ,  0.25],
           [-0.25,  0.  ]])
    """

    annotator: PreferenceModel
    proposal: Proposal
    exponent: int

    @classmethod
    def of(cls, annotator: PreferenceModel, proposal: Proposal) -> PairProblem:
        """With the exponent that moves the largest weight to 2**500."""
        return cls(annotator, proposal, weight_exponent(proposal, annotator.size))

    def flows(self, utilities: FloatArray) -> FloatArray:
        """What pulls each outcome up against each other one, shape (n, n)."""
        result = np.zeros((utilities.size, utilities.size))
        for block in self.proposal.blocks(utilities.size):
            pull = -np.ldexp(block.weight, self.exponent) * self.annotator.excess(block, utilities)
            block.add_to_matrix(pull, result, -1.0)
        return result

    def at(self, utilities: FloatArray) -> PairFlows:
        """Flows and conductances at these utilities."""
        return PairFlows(self.flows(utilities), pair_information(utilities, self.proposal, self.exponent))

    def flow_errors(self, utilities: FloatArray) -> FloatArray:
        r"""Bound on what rounding may have done to each flow, shape (n, n).

        A few units in the last place of :math:`w\,[p_{AB}\, \sigma(-d) + p_{BA}\, \sigma(d)]`; the logistic function
        multiplies the rounding of d by d.
        """
        result = np.zeros((utilities.size, utilities.size))
        for block in self.proposal.blocks(utilities.size):
            margin = block.difference(utilities, "utilities")
            forward, backward = self.annotator.probabilities(block)
            size = forward * expit(-margin) + backward * expit(margin)
            # Probabilities below 1e-308 have fewer digits.
            error = EPS * (12.0 + np.abs(margin)) * size + 1e-322
            block.add_to_matrix(np.ldexp(block.weight, self.exponent) * error, result, 1.0)
        return result

    def least_probability(self) -> float:
        """The least probability of an answer to a pair that is drawn."""
        least = 1.0
        for block in self.proposal.blocks(self.annotator.size):
            rarer = np.minimum(*self.annotator.probabilities(block))
            least = min(least, float(rarer.min(where=block.weight > 0.0, initial=1.0)))
        return least

    def interpolation(self) -> FloatArray:
        """Utilities that explain one spanning tree, of the comparisons that tell most about log-odds, shape (n,)."""
        size = self.annotator.size
        forward, backward, weight = np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, size))
        for block in self.proposal.blocks(size):
            won, lost = self.annotator.probabilities(block)
            block.add_to_matrix(block.weight, weight, 1.0)
            # A list may name a pair several times: an average is as good as any.
            block.add_to_matrix(block.weight * won, forward, 0.0)
            block.add_to_matrix(block.weight * lost, backward, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            wins, weight = np.log(forward + backward.T), np.log(weight)
            odds = wins - wins.T
            tree = maximal_spanning_tree(np.where(np.isfinite(odds), wins + wins.T - weight, -np.inf))
        below, child, above = tree.edges()
        steps = np.zeros(size)
        steps[below] = odds[child, above]
        return tree.path_sums(steps)


def weight_exponent(proposal: Proposal, size: int) -> int:
    """The power of two that moves the largest weight of a pair to about 2**500.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> weight_exponent(pb.PairListProposal([0], [1]), 2)
    499
    """
    largest = max((float(block.weight.max(initial=0.0)) for block in proposal.blocks(size)), default=0.0)
    return 500 - int(np.frexp(largest)[1]) if largest > 0.0 else 0


def pair_information(utilities: FloatArray, proposal: Proposal, exponent: int) -> FloatArray:
    r"""Each pair's information, :math:`2^e w_{AB}\, \sigma(d) \sigma(-d)`, zero on the diagonal, shape (n, n).

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> pair_information(np.zeros(2), pb.PairListProposal([0], [1]), exponent=0)
    array([[0.  , 0.25],
           [0.25, 0.  ]])
    """
    result = np.zeros((utilities.size, utilities.size))
    for block in proposal.blocks(utilities.size):
        margin = block.difference(utilities, "utilities")
        block.add_to_matrix(np.ldexp(block.weight, exponent) * expit(margin) * expit(-margin), result, 1.0)
    return result
