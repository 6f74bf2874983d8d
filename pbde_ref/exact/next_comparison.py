"""Active learning, one step of it: which pair to have compared next, and what no further comparisons can beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from pbde_ref.exact.identifiability import asymptotic_covariance, comparison_components
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, vector, whole_number

__all__ = ["NextComparison", "next_comparison"]


@dataclass(frozen=True)
class NextComparison:
    """The pair that one more comparison should show.

    Attributes
    ----------
    pair : tuple of int
        Indices of its outcomes.
    variance : float
        Sum of the variances of the centred utilities as they are, in nats squared.
    gain : float
        By how much one comparison of the pair lowers it; by no other pair is it lowered more.
    bound : float
        No M further comparisons of any pairs lower it by more than M times this.
    """

    pair: tuple[int, int]
    variance: float
    gain: float
    bound: float


def next_comparison(utilities: ArrayLike, proposal: Proposal, comparisons: int) -> NextComparison:
    r"""The pair whose comparison lowers the asymptotic variance most, after comparisons drawn from a proposal.

    .. math:: \text{gain}_{AB} = \frac{w_{AB}\, |\Sigma (e_A - e_B)|^2}{1 + w_{AB} R_{AB}}, \qquad
              w_{AB} = \sigma(d)\,\sigma(-d), \quad R_{AB} = (e_A - e_B)^\top \Sigma\, (e_A - e_B)

    with :math:`\Sigma` the covariance of the centred utilities (`asymptotic_covariance`), d the difference of the two.

    Parameters
    ----------
    utilities : array_like, shape (n,)
        At which the information is taken: the truth, or an estimate of it.
    proposal : ProductProposal, JointProposal or PairListProposal
        Connected.
    comparisons : int
        N, drawn from it so far.

    Raises
    ------
    ValueError
        If utilities are not finite, the proposal is not connected, or `comparisons` is not positive.

    Notes
    -----
    Proof: ``proofs/next_comparison.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> path = pb.PairListProposal([0, 1], [1, 2])  # the ends of a path are known least
    >>> found = pb.next_comparison([0.0, 0.0, 0.0], path, 100)
    >>> found.pair, round(found.variance, 4), round(found.gain, 6), round(found.bound, 6)
    ((0, 2), 0.1067, 0.003077, 0.0032)
    """
    utilities, comparisons = vector("utilities", utilities), whole_number("comparisons", comparisons, least=1)
    if comparison_components(proposal, utilities.size).any():
        raise ValueError("`proposal` must connect all outcomes; got several components")
    covariance = asymptotic_covariance(utilities, proposal, comparisons)
    if covariance.max() > 1e150:
        raise ValueError(f"`proposal` must determine utilities with variances up to 1e150; got {covariance.max():.3g}")
    differences = utilities[:, None] - utilities
    weights = expit(differences) * expit(-differences)
    slopes = weights * _of_differences(covariance @ covariance)
    gains = slopes / (1.0 + weights * _of_differences(covariance))
    a, b = np.unravel_index(int(np.argmax(gains)), gains.shape)
    return NextComparison((int(a), int(b)), float(np.trace(covariance)), float(gains[a, b]), float(slopes.max()))


def _of_differences(matrix: FloatArray) -> FloatArray:
    r""":math:`(e_A - e_B)^\top M (e_A - e_B)` for all pairs."""
    diagonal = matrix.diagonal()
    return np.asarray(diagonal[:, None] + diagonal - 2.0 * matrix)
