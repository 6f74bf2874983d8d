r"""Sentences that are equal in everything, merged into classes, and where adapting a model to annotators ends.

With it Fig. 6 (right) is an exact optimum, over all sentences of a tiny language or over the lengths of a large one.
Why classes may stand for sentences: ``proofs/merged_outcomes.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.annotators import PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.enclosures import policy_distance
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.optima import normalized_log_policy
from pbde_ref.exact.solution import Solution
from pbde_ref.pbde import PBDE
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray, instance, positive_number, reject, vector

__all__ = ["ProjectedPolicy", "checked_lengths", "length_distribution", "merged_process", "projected_policy"]


def merged_process(process: PBDE, log_counts: ArrayLike) -> PBDE:
    r"""The process by which a class of N equally likely outcomes has the utility of each of them.

    .. math:: f \log \frac{P}{N} + g = f \log P + (g - f \log N), \qquad P = N\,p(x) \text{ the class's probability}

    Parameters
    ----------
    process : PBDE
        Equal for all outcomes of a class.
    log_counts : array_like, shape (n,)
        :math:`\log N`, finite.

    Notes
    -----
    Where all utilities agree within classes and both outcomes of a pair come from one distribution, the optimum on the
    classes under the merged process is that on the outcomes under the process itself.
    Proof: ``proofs/merged_outcomes.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> process = merged_process(pb.luce(), np.log([1.0, 2.0]))  # one outcome of probability 1/2, two of 1/4
    >>> np.exp(process.utility(np.log([0.5, 0.5])))
    array([0.5 , 0.25])
    """
    instance("process", process, PBDE, "a PBDE")
    log_counts = vector("log_counts", log_counts)
    reject("log_counts", "finite", log_counts, np.isinf(log_counts))
    return PBDE(process.f, process.g - process.f * log_counts)


def length_distribution(policy: FiniteDistribution, lengths: ArrayLike) -> FiniteDistribution:
    """The distribution of lengths under a policy; its labels are the distinct lengths in increasing order.

    Parameters
    ----------
    policy : FiniteDistribution
        On sentences or classes of them.
    lengths : array_like, shape (n,)
        Each outcome's length.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> marginal = length_distribution(pb.uniform(["", "a", "b", "aa"]), [1, 2, 2, 3])
    >>> marginal.support, marginal.pmf
    (array([1., 2., 3.]), array([0.25, 0.5 , 0.25]))
    """
    instance("policy", policy, FiniteDistribution, "a FiniteDistribution")
    distinct, index = np.unique(checked_lengths(lengths, len(policy)), return_inverse=True)
    log_pmf = np.full(distinct.size, -np.inf)
    np.logaddexp.at(log_pmf, index, policy.log_pmf)
    return FiniteDistribution(log_pmf, distinct)


@dataclass(frozen=True, eq=False)
class ProjectedPolicy:
    """Where adapting a model to preferences ends.

    Attributes
    ----------
    policy : FiniteDistribution
        On the annotators' outcomes.
    policy_error : float
        Upper bound on its total variation from the policy with the least expected loss, rounding included; 1 where
        nothing is proved. A tiny gap in the loss proves nothing here: where preferences are nearly certain, the loss is
        flat, and a process that divides utilities by 1 / f moves the policy all the more.
    converged : bool
        Whether the loss, the utilities and the policy are certified within the tolerances asked for.
    solution : Solution
        The utilities that it has up to a constant, and what certifies them.
    """

    policy: FiniteDistribution
    policy_error: float
    converged: bool
    solution: Solution


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
    If the utilities' differences are within e of the optimum's, :math:`\log \pi` is off by :math:`(v_x + C) / f_x`
    with :math:`|v_x + C| \le e`: what is certified of the utilities is turned into total variation. Where the
    comparison graph is not connected, constants between components are open, and nothing is proved.
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
    solution = minimize_expected_loss("bradley_terry", annotator, proposal)
    policy = FiniteDistribution(normalized_log_policy(solution.value, process), annotator.support)
    connected = int(solution.certificate.components.max()) == 0
    error = _policy_error(policy, solution, process) if connected else 1.0
    return ProjectedPolicy(policy, error, solution.converged and error <= policy_tolerance, solution)


def _policy_error(policy: FiniteDistribution, solution: Solution, process: PBDE) -> float:
    """Total variation that errors of the utilities, and rounding on the way to the policy, can make."""
    g, f = np.broadcast_to(process.g, policy.pmf.shape), np.broadcast_to(process.f, policy.pmf.shape)
    # In units of the utilities: those of differences χ − g, of the constant, and of log π, each of a few roundings.
    rounding = np.abs(solution.value) + np.abs(g) + float(np.abs(solution.value - g).max())
    rounding = 4.0 * float(np.finfo(float).eps) * (rounding + f * (2.0 - policy.log_pmf))
    return policy_distance(policy.pmf, 0.5 * solution.certificate.utility_error + rounding, f)


def checked_lengths(value: Any, size: int) -> FloatArray:
    """Lengths of `size` outcomes as a read-only vector of whole numbers of at least 1, or an error."""
    lengths = vector("lengths", value, size=size)
    reject("lengths", "finite", lengths, np.isinf(lengths))
    reject("lengths", "whole numbers of at least 1", lengths, (lengths < 1.0) | (lengths % 1.0 != 0.0))
    return lengths
