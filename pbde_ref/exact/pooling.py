r"""What a model of one annotator takes from each of several whose answers are pooled."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.annotators import AnnotatorMixture
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.identifiability import comparison_components
from pbde_ref.exact.laplacian import pseudo_inverse
from pbde_ref.exact.pair_flows import pair_information
from pbde_ref.exact.selection import winners_distribution
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, instance, reject, vector

__all__ = ["annotator_influence"]


def annotator_influence(annotators: AnnotatorMixture, utilities: ArrayLike, proposal: Proposal) -> FloatArray:
    r"""How the pooled fit moves when an annotator's share of the answers grows, shape (k, n).

    .. math:: \frac{d \omega}{d t} = H^+ (w_i - w), \qquad
              \text{shares } (1 - t)\, (\text{share}_1, \dots, \text{share}_k) + t\, e_i, \quad t = 0

    :math:`w_i` is the winners' law of annotator i, w that of all together, H the Hessian at the fit. The pooled fit is
    the only one whose winners' law is :math:`w = \sum_i \text{share}_i\, w_i`: nothing else of an annotator counts.

    Parameters
    ----------
    annotators : AnnotatorMixture
    utilities : array_like, shape (n,)
        The pooled fit, for example ``pb.minimize_expected_loss("bradley_terry", annotators, proposal).value``.
    proposal : ProductProposal, JointProposal or PairListProposal

    Returns
    -------
    ndarray, shape (k, n)
        Rows of mean zero in each component of the comparison graph; weighted with the shares they add up to zero.

    Notes
    -----
    Proof: ``proofs/pooled_annotators.md``.

    Examples
    --------
    Of two who never agree the one with the smaller share has more room to move the fit.

    >>> import pbde_ref as pb
    >>> first, second = (pb.Annotator(pb.FiniteDistribution.from_weights(w), pb.luce()) for w in ([4, 1], [1, 4]))
    >>> both, pair = pb.AnnotatorMixture([0.75, 0.25], [first, second]), pb.JointProposal([[0, 1], [0, 0]])
    >>> fit = pb.minimize_expected_loss("bradley_terry", both, pair)
    >>> pb.annotator_influence(both, fit.value, pair).round(4)
    array([[ 0.3297, -0.3297],
           [-0.989 ,  0.989 ]])
    """
    instance("annotators", annotators, AnnotatorMixture, "an AnnotatorMixture")
    check_models(annotators, proposal)
    fit = vector("utilities", utilities, size=annotators.size)
    reject("utilities", "finite", fit, ~np.isfinite(fit))
    winners = np.array([winners_distribution(member, proposal).pmf for member in annotators.annotators])
    inverse = pseudo_inverse(pair_information(fit, proposal, 0), comparison_components(proposal, annotators.size))
    return np.asarray((winners - annotators.weights @ winners) @ inverse)
