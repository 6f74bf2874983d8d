"""Any loss at prompts: the best policy of each by itself, by the solver that one prompt has, and what they prove."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel, prompts_of
from pbde_ref.conditional import ConditionalDistribution, Prompts
from pbde_ref.distributions import EITHER_DISTRIBUTION, FiniteDistribution, same_support
from pbde_ref.exact.results import Optimum, undetermined
from pbde_ref.pbde import PBDE
from pbde_ref.prompts.pairs import pairs_of
from pbde_ref.proposals import PairListProposal, Proposal
from pbde_ref.validation import FloatArray, instance, matrix, same_size, shown, vector

__all__ = ["at_each_prompt"]


def at_each_prompt(
    solve: Callable[..., Optimum], annotator: PreferenceModel, proposal: Proposal, parameters: Mapping[str, Any]
) -> Optimum:
    r"""The best policy at every prompt, of a loss that is a mean over prompts.

    .. math:: L(\pi) = \sum_{x_0} \rho(x_0)\, L_{x_0}(\pi(\cdot \mid x_0))

    Parameters
    ----------
    solve : callable
        From an annotator, a proposal and parameters to the optimum of a prompt alone.
    annotator : Annotator or AnnotatorMixture
        Of `ConditionalDistribution`.
    proposal : Proposal
        Its weight at a prompt is :math:`\rho(x_0)`.
    parameters : mapping
        Distributions, vectors and square matrices are cut into those of each prompt.

    Returns
    -------
    Optimum
        `certificate` is the tuple of the prompts' own optima. `loss` and `gap` are their means under :math:`\rho`,
        errors and `steps` the largest; it is converged, and unique, if all are; `policy` is None if one is.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p = pb.ConditionalDistribution(np.log([1.0, 3.0, 1.0, 1.0, 2.0]), pb.Prompts("aabbb"))
    >>> found = at_each_prompt(pb.ipo_optimum, pb.Annotator(p, pb.luce()), pb.prompt_pairs(p.support),
    ...                        {"tau": 1 / np.log(16), "reference": p})
    >>> found.policy.pmf[:2].round(6), found.converged  # log-ratios (3/4 − 1/4) / 2τ = log 4 apart
    (array([0.142857, 0.857143]), True)
    >>> len(found.certificate)
    2
    """
    prompts = prompts_of(annotator)
    assert prompts is not None
    vectors: dict[str, Any] = {}
    squares: dict[str, FloatArray] = {}
    for name, value in parameters.items():
        if isinstance(value, EITHER_DISTRIBUTION):
            instance(name, value, ConditionalDistribution, "a ConditionalDistribution")
            same_support(name, value.support, "annotator", prompts)
        elif name == "tokens" and value is not None:
            instance(name, value, Sequence, "a sequence of answers, each of them a sequence of tokens")
            vectors[name] = value
            same_size(name, len(value), prompts.size)
        elif np.ndim(value) == 2:
            squares[name] = matrix(name, value)
            same_size(name, len(squares[name]), prompts.size)
        elif np.ndim(value):
            vectors[name] = vector(name, value, size=prompts.size)
    a, b, weights = pairs_of(proposal, prompts.size)
    order = np.argsort(prompts.number[a], kind="stable")
    a, b, weights = a[order], b[order], weights[order]
    ends = np.searchsorted(a, prompts.start)
    share = np.add.reduceat(np.append(weights, 0.0), ends[:-1]) * (np.diff(ends) > 0)
    if not (share > 0.0).all():
        name = shown(prompts.names[int(np.argmin(share))])
        return undetermined(prompts.size, f"comparisons leave out the prompt {name}")
    found = []
    for k, start in enumerate(prompts.start[:-1]):
        part, asked = slice(start, prompts.start[k + 1]), slice(ends[k], ends[k + 1])
        own = PairListProposal(a[asked] - start, b[asked] - start, weights[asked])
        given = {
            name: vectors[name][part] if name in vectors
            else squares[name][part, part] if name in squares
            else _part(value, part) if isinstance(value, ConditionalDistribution) else value
            for name, value in parameters.items()
        }  # fmt: skip
        try:
            found.append(solve(_alone(annotator, part), own, **given))
        except ValueError as error:
            error.add_note(f"at the prompt {shown(prompts.names[k])}")
            raise
    return _together(prompts, share / share.sum(), found)


def _part(distribution: Any, part: slice) -> FiniteDistribution:
    """A prompt's own distribution, over its answers."""
    prompts = distribution.support
    return FiniteDistribution(distribution.log_pmf[part], prompts.answers[part])


def _alone(annotator: PreferenceModel, part: slice) -> PreferenceModel:
    """An annotator who only answers one prompt."""
    if isinstance(annotator, AnnotatorMixture):
        return AnnotatorMixture(annotator.weights, [_alone(one, part) for one in annotator.annotators])
    instance("annotator", annotator, Annotator, "an Annotator or AnnotatorMixture")
    assert isinstance(annotator, Annotator)
    process = annotator.pbde
    f, g = (value[part] if value.ndim else value for value in (process.f, process.g))
    return Annotator(_part(annotator.distribution, part), PBDE(f, g))


def _together(prompts: Prompts, share: FloatArray, found: list[Optimum]) -> Optimum:
    """What the prompts' optima prove of their mean."""
    utilities = np.concatenate([one.utilities for one in found])
    utilities.flags.writeable = False
    known = all(one.policy is not None for one in found)
    policy = ConditionalDistribution(np.concatenate([one.policy.log_pmf for one in found]), prompts) if known else None
    reasons = [f"at the prompt {shown(name)}: {one.reason}"
               for name, one in zip(prompts.names, found, strict=True) if one.reason]  # fmt: skip
    more = f" (and at {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    certain = [one.unique for one in found]
    loss, gap = (float(share @ np.array([getattr(one, name) for one in found])) for name in ("loss", "gap"))
    return Optimum(
        policy=policy, utilities=utilities, loss=loss, gap=gap * (1.0 + 1e-12),
        utility_error=max(one.utility_error for one in found), policy_error=max(one.policy_error for one in found),
        converged=all(one.converged for one in found),
        unique=False if False in certain else None if None in certain else True,
        proof=", ".join(sorted({one.proof for one in found if one.proof})), certificate=tuple(found),
        steps=max(one.steps for one in found), reason=reasons[0] + more if reasons else "",
    )  # fmt: skip
