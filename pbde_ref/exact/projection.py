r"""The policy whose preferences, by its own process, come closest to those of the annotators."""

from __future__ import annotations

from dataclasses import dataclass

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.optima import policy_of
from pbde_ref.exact.results import Optimum, unmet
from pbde_ref.pbde import PBDE
from pbde_ref.proposals import Proposal
from pbde_ref.validation import positive_number

__all__ = ["ProjectedPolicy", "projected_policy"]


@dataclass(frozen=True, eq=False, kw_only=True)
class ProjectedPolicy(Optimum):
    """Where adapting a model to preferences ends: an `Optimum` whose policy has the utilities under a process.

    Attributes
    ----------
    policy, policy_error, converged, utilities, loss, gap, certificate
        As of every `Optimum`. A tiny gap in the loss proves nothing of the policy: where preferences are nearly
        certain, the loss is flat, and a process that divides utilities by 1 / f moves the policy all the more.
    solution : Optimum
        The fit of the utilities alone, whose policy is their softmax.
    """

    policy: FiniteDistribution
    solution: Optimum


def projected_policy(
    annotator: PreferenceModel, process: PBDE, proposal: Proposal, *, policy_tolerance: float = 1e-6
) -> ProjectedPolicy:
    r"""The policy whose preferences by `process` come closest to the annotator's, Eq. (7): Fig. 6 (right), exactly.

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
        Eq. (27) is a mixture; Eq. (28) a single annotator, whose policy `optimal_policy` has in closed form.
    process : PBDE
        The model's: ``length_normalized(lengths, scale)`` on sentences, its `merged_process` on classes.
    proposal : Proposal
        With a connected comparison graph; in the paper pairs from *whole* ⊗ *whole*.
    policy_tolerance : float
        Certified total variation from the optimum at which the result counts as converged.

    Returns
    -------
    ProjectedPolicy

    Raises
    ------
    ValueError
        If `process` is of another size, no finite utilities attain the minimum, or no normalisable policy has them.

    Notes
    -----
    What is certified of the utilities is turned into total variation by `policy_of`. Where the comparison graph is not
    connected, constants between components are open, and nothing is proved.
    Proof: ``proofs/minimizer_certificate.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotators = [pb.Annotator(pb.FiniteDistribution.from_weights(w), pb.luce()) for w in ([4, 1], [1, 4])]
    >>> found = projected_policy(pb.AnnotatorMixture([1, 1], annotators), pb.luce(), pb.ProductProposal([1, 1]))
    >>> found.converged, found.policy_error < 1e-12, found.policy.pmf
    (True, True, array([0.5, 0.5]))
    """
    policy_tolerance = positive_number("policy_tolerance", policy_tolerance)
    fit = minimize_expected_loss("bradley_terry", annotator, proposal)
    policy, policy_error = policy_of(fit.utilities, process, annotator.support, fit.utility_error)
    policy_error = policy_error if fit.unique else 1.0
    reason = fit.reason or unmet(("policy error", policy_error, policy_tolerance))
    found = {**vars(fit), "policy": policy, "policy_error": policy_error, "converged": not reason, "reason": reason}
    return ProjectedPolicy(**found, solution=fit)
