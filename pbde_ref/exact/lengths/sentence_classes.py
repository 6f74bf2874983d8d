r"""Sentences that are equal in everything, merged into classes, and where adapting a model to annotators ends.

With it Fig. 6 (right) is an exact optimum, over all sentences of a tiny language or over the lengths of a large one.
Why classes may stand for sentences: ``proofs/merged_outcomes.md``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.projection import ProjectedPolicy, projected_policy
from pbde_ref.pbde import PBDE
from pbde_ref.validation import FloatArray, instance, reject, vector

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


def checked_lengths(value: Any, size: int) -> FloatArray:
    """Lengths of `size` outcomes as a read-only vector of whole numbers of at least 1, or an error."""
    lengths = vector("lengths", value, size=size)
    reject("lengths", "finite", lengths, np.isinf(lengths))
    reject("lengths", "whole numbers of at least 1", lengths, (lengths < 1.0) | (lengths % 1.0 != 0.0))
    return lengths
