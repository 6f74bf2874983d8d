r"""All minimisers of DPO on a finite sample: the least and the largest probability that some answers have among them.

Limits of policies of least loss form a simplex. Its vertices are the policies of the groups that never lose
(`limit_fit`), every answer that was never compared among them; what the groups weigh against each other is free.
Proof: ``proofs/minimizer_face.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution, same_support
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.identifiability import groups_that_lose, preference_components
from pbde_ref.exact.limits import limit_fit, restricted
from pbde_ref.exact.results import NoMinimumError
from pbde_ref.numerics import logsumexp
from pbde_ref.proposals import JointProposal, Proposal
from pbde_ref.validation import FloatArray, array, indices, instance, positive_number, reject

__all__ = ["minimizer_vertices", "probability_range"]


def minimizer_vertices(
    annotator: PreferenceModel, proposal: Proposal, *, beta: float = 1.0, reference: FiniteDistribution | None = None
) -> FloatArray:
    r"""The policies that all limits of minimisers of DPO are mixtures of, shape (groups, n), rows summing to one.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
        Shares of answers, for a sample.
    proposal : ProductProposal, JointProposal or PairListProposal
        Shares of pairs; they need not connect all outcomes.
    beta : float
        :math:`\beta` of Eq. (14): the log-ratio times it is the utility.
    reference : FiniteDistribution, optional
        :math:`\pi_{pre}`, positive. Default: uniform.

    Raises
    ------
    NoMinimumError
        If the fit within a group is not certified.

    Examples
    --------
    Of the first two each won once; the third lost, and nobody saw the fourth.

    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.minimizer_face import minimizer_vertices
    >>> answers = [[0.5, 0.5, 1, 0.5], [0.5, 0.5, 0.5, 0.5], [0, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
    >>> minimizer_vertices(pb.PreferenceMatrix(answers), pb.PairListProposal([0, 0], [1, 2]))
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0. , 1. ]])
    """
    check_models(annotator, proposal)
    beta, n = positive_number("beta", beta), annotator.size
    base = np.zeros(n)
    if reference is not None:
        instance("reference", reference, FiniteDistribution, "a FiniteDistribution")
        same_support("reference", reference.support, "annotator", annotator.support)
        base = reference.log_pmf
    reject("reference", "positive", np.exp(base), np.isneginf(base))
    groups, weights = preference_components(annotator, proposal), proposal.matrix(n)
    rows = []
    for group in np.flatnonzero(~groups_that_lose(annotator, proposal, groups)):
        members = np.flatnonzero(groups == group)
        utilities = np.zeros(members.size)
        if members.size > 1:
            fit = limit_fit(restricted(annotator, members), JointProposal(weights[np.ix_(members, members)]))
            if not fit.converged:
                raise NoMinimumError(f"`annotator` must leave every group a certified fit; {fit.reason}")
            utilities = fit.utilities
        row = np.zeros(n)
        log_pmf = base[members] + utilities / beta
        row[members] = np.exp(log_pmf - logsumexp(log_pmf))
        rows.append(row)
    return np.array(rows)


def probability_range(vertices: ArrayLike, outcomes: Sequence[int]) -> tuple[float, float]:
    """The least and the largest probability of some outcomes together, over all mixtures of `minimizer_vertices`.

    A linear function is least and largest at vertices: the solution of both linear programmes.

    Parameters
    ----------
    vertices : array_like, shape (groups, n)
    outcomes : sequence of int
        Indices of chosen answers, say.

    Examples
    --------
    >>> from pbde_ref.exact.minimizer_face import probability_range
    >>> probability_range([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], [0])
    (0.0, 0.5)
    """
    shares = np.take(array("vertices", vertices), indices("outcomes", outcomes), axis=1).sum(axis=1)
    return float(shares.min()), float(shares.max())
