r"""Where the log loss leads when no finite utilities attain its least value: the limit of minimising sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceMatrix, PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.expected import check_models
from pbde_ref.exact.identifiability import comparison_components, groups_that_lose, preference_components
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.optima import policy_of
from pbde_ref.exact.results import Optimum, unmet
from pbde_ref.exact.selection import win_weights
from pbde_ref.pbde import luce
from pbde_ref.proposals import JointProposal, Proposal
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["LimitFit", "limit_fit", "restricted"]

# What `minimize_expected_loss` asks of utilities by itself, in nats.
ERROR = 1e-8


@dataclass(frozen=True, eq=False, kw_only=True)
class LimitFit(Optimum):
    r"""The limit of the utilities along every sequence whose expected cross-entropy tends to its infimum.

    Attributes
    ----------
    policy : FiniteDistribution
        The softmax of the utilities, which has them under the Luce rule.
    utilities : ndarray, shape (n,)
        In nats; finite, with mean zero, on each group that never loses to another, and :math:`-\infty` elsewhere.
        Read-only.
    unique : bool
        Whether only one group never loses. If several do, what they weigh against each other is undetermined.
    loss : float
        Infimum of the expected cross-entropy, in nats; attained only if all utilities are finite. Also called
        `infimum`.
    gap : float
        Bound on how far the loss of these utilities, the groups moved infinitely far apart, is above the infimum: the
        sum of the fits' certified gaps, with what rounding of the groups' shares adds.
    utility_error : float
        Upper bound, in nats, on the error of any difference of two utilities within a group that never loses.
    converged : bool
        Whether the fit within every group has, with both bounds within its tolerances.
    certificate : tuple of int
        Numbers of outcomes of the groups: of those that never lose first, then from large to small. Also called
        `group_sizes`.
    """

    @property
    def infimum(self) -> float:
        """`loss`."""
        return self.loss

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """`certificate`."""
        sizes: tuple[int, ...] = self.certificate
        return sizes


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
        return LimitFit(**{**vars(fit), "certificate": (size,)})
    undefeated = ~groups_that_lose(annotator, proposal, groups)
    weights = proposal.matrix(size)
    # An outcome that meets itself costs log 2 whatever the utilities are.
    infimum, gap, error, reason = float(np.log(2.0) * np.trace(weights)), 0.0, 0.0, ""
    utilities = np.where(undefeated[groups], 0.0, -np.inf)
    for group in np.flatnonzero(sizes > 1):
        members = np.flatnonzero(groups == group)
        between = weights[np.ix_(members, members)]
        np.fill_diagonal(between, 0.0)
        share, inside = float(between.sum()), restricted(annotator, members)
        fit = minimize_expected_loss("bradley_terry", inside, JointProposal(between))
        own_gap, own_error = _with_rounding(fit, win_weights(inside, JointProposal(between))[0], between / share)
        reason = reason or fit.reason or unmet(("utility error", own_error, max(ERROR, fit.utility_error)))
        infimum, gap = infimum + share * fit.loss, gap + (1.0 + 1e-12) * share * own_gap
        if undefeated[group]:
            utilities[members], error = fit.value, max(error, own_error)
    utilities.flags.writeable = False
    ordered = [*sorted(sizes[undefeated].tolist(), reverse=True), *sorted(sizes[~undefeated].tolist(), reverse=True)]
    only = int(undefeated.sum()) == 1
    policy, policy_error = policy_of(utilities, luce(), annotator.support, error)
    return LimitFit(
        policy=policy, utilities=utilities, loss=infimum, gap=gap, utility_error=error,
        policy_error=policy_error if only else 1.0, converged=not reason, unique=only, proof="curvature",
        certificate=tuple(ordered), reason=reason,
    )  # fmt: skip


def restricted(annotator: PreferenceModel, members: IndexArray) -> PreferenceModel:
    """The annotator's preferences among some of the outcomes, each of which has been compared with another of them."""
    if isinstance(annotator, AnnotatorMixture):
        answering = np.flatnonzero(annotator.weights)
        inside = [restricted(annotator.annotators[i], members) for i in answering]
        return AnnotatorMixture(annotator.weights[answering], inside)
    if isinstance(annotator, Annotator):
        return Annotator(FiniteDistribution(annotator.utility[members]), luce())
    return PreferenceMatrix(annotator.preference_probabilities()[np.ix_(members, members)])


def _with_rounding(fit: Optimum, wins: FloatArray, weights: FloatArray) -> tuple[float, float]:
    r"""The fit's gap and error, with what rounding of weights to the group's shares adds.

    A pair's flow :math:`w (\sigma - p)` moves by a share of itself, and by what rounding of a logit of up to 746 nats
    makes of p; see ``proofs/minimizer_certificate.md``.
    """
    model = expit(fit.value[:, None] - fit.value)
    curvature = model * model.T
    share = 4.0 * float(np.finfo(float).eps)
    total = wins + wins.T
    compared = total > 0.0
    probabilities = np.divide(wins, total, out=np.full_like(wins, 0.5), where=compared)
    # Where a curvature has underflowed nothing is bounded: not a number there is no bound below.
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        moved = np.abs(model - probabilities) + 746.0 * probabilities * probabilities.T
        flow = np.where(compared, share * moved / curvature, 0.0)
        added = float((weights * curvature * np.where(compared, flow, 0.0) ** 2).sum())
    reach = (len(weights) - 1.0) * float(flow.max())
    if not reach < 0.5:
        return math.inf, math.inf
    gap = (math.sqrt(fit.gap) + math.sqrt(2.0 * added)) ** 2
    return gap, fit.utility_error - math.log1p(-reach)
