r"""Where the log loss leads when no finite utilities attain its least value: the limit of minimising sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pbde_ref.annotators import PreferenceMatrix, PreferenceModel
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.identifiability import comparison_components, groups_that_lose, preference_components
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.solution import Solution
from pbde_ref.proposals import JointProposal, Proposal
from pbde_ref.validation import FloatArray

__all__ = ["LimitFit", "limit_fit"]


@dataclass(frozen=True, eq=False)
class LimitFit:
    r"""The limit of the utilities along every sequence whose expected cross-entropy tends to its infimum.

    Attributes
    ----------
    utilities : ndarray, shape (n,)
        In nats; finite, with mean zero, on each group that never loses to another, and :math:`-\infty` elsewhere.
        Read-only.
    unique : bool
        Whether only one group never loses. If several do, what they weigh against each other is undetermined.
    infimum : float
        Of the expected cross-entropy, in nats; attained only if all utilities are finite.
    gap : float
        Bound on how far the computed infimum is above the true one: the sum of the fits' certified gaps.
    converged : bool
        Whether the fit within every group has.
    group_sizes : tuple of int
        Numbers of outcomes of the groups: of those that never lose first, then from large to small.
    """

    utilities: FloatArray
    unique: bool
    infimum: float
    gap: float
    converged: bool
    group_sizes: tuple[int, ...]


def limit_fit(annotator: PreferenceModel, proposal: Proposal) -> LimitFit:
    r"""What the Bradley–Terry loss tends to, also where some outcomes always beat others.

    Draw an arrow from each possible winner of each pair that is drawn to its loser, and put outcomes that arrows join
    both ways into one group (`preference_components`). Between groups the preference is certain; its loss tends to 0 as
    their utilities move apart, and nothing opposes that. So the infimum is the sum over groups of the least loss within
    each, and if one group alone never loses, all others fall infinitely far below it: a policy whose process has these
    utilities keeps mass only there.

    Samples are the typical case: with N comparisons of a wide support, tails never win.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal

    Returns
    -------
    LimitFit

    Raises
    ------
    ValueError
        If comparisons do not connect all outcomes.

    Notes
    -----
    Proof: ``proofs/misspecification.md``, part 5.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.limits import limit_fit
    >>> preferences = pb.PreferenceMatrix([[0.5, 0.5, 1.0], [0.5, 0.5, 1.0], [0.0, 0.0, 0.5]])
    >>> limit_fit(preferences, pb.PairListProposal([0, 1], [1, 2])).utilities
    array([  0.,   0., -inf])
    """
    check_models(annotator, proposal)
    size = annotator.size
    components = comparison_components(proposal, size)
    if components.max() > 0:
        raise ValueError(f"`proposal` must connect all outcomes; got {components.max() + 1} components")
    groups = preference_components(annotator, proposal)
    sizes = np.bincount(groups)
    if sizes.size == 1:
        fit = minimize_expected_loss("bradley_terry", annotator, proposal)
        return LimitFit(fit.value, True, fit.loss, fit.certificate.gap, fit.converged, (size,))
    undefeated = ~groups_that_lose(annotator, proposal, groups)
    probabilities, weights = annotator.preference_probabilities(), proposal.matrix(size)
    # An outcome that meets itself costs log 2 whatever the utilities are.
    infimum, gap, converged = float(np.log(2.0) * np.trace(weights)), 0.0, True
    utilities = np.where(undefeated[groups], 0.0, -np.inf)
    for group in np.flatnonzero(sizes > 1):
        members = np.flatnonzero(groups == group)
        inside = np.ix_(members, members)
        share = float(weights[inside].sum() - np.trace(weights[inside]))
        fit = _fit_within(probabilities[inside], weights[inside])
        infimum, gap = infimum + share * fit.loss, gap + share * fit.certificate.gap
        converged = converged and fit.converged
        if undefeated[group]:
            utilities[members] = fit.value
    utilities.flags.writeable = False
    ordered = [*sorted(sizes[undefeated].tolist(), reverse=True), *sorted(sizes[~undefeated].tolist(), reverse=True)]
    return LimitFit(utilities, bool(undefeated.sum() == 1), infimum, gap, converged, tuple(ordered))


def _fit_within(probabilities: FloatArray, weights: FloatArray) -> Solution:
    between = weights.copy()
    np.fill_diagonal(between, 0.0)
    return minimize_expected_loss("bradley_terry", PreferenceMatrix(probabilities), JointProposal(between))
