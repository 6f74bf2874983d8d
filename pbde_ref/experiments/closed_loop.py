r"""The closed loop of section 2.2: adapt, draw new pairs from the adapted policy, have them compared, adapt again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceMatrix, PreferenceModel
from pbde_ref.catalogue.losses import optimum, optimum_parameters
from pbde_ref.distributions import FiniteDistribution, same_support, uniform
from pbde_ref.exact.results import Optimum
from pbde_ref.pbde import PBDE
from pbde_ref.proposals import ProductProposal
from pbde_ref.sampling.comparisons import observed_preferences, sample_comparisons
from pbde_ref.sampling.outcomes import random_generator
from pbde_ref.validation import IndexArray, choice, instance, whole_number

__all__ = ["ClosedLoop", "closed_loop"]

RAREST = 1e-300
"""Probability below which an outcome is shown no more: that of its pairs would not be a number of double precision."""


@dataclass(frozen=True, eq=False)
class ClosedLoop:
    """The policies of a closed loop.

    Attributes
    ----------
    policies : tuple of FiniteDistribution
        The start, and the policy after each round.
    optima : tuple of Optimum
        What each round found, on the outcomes that its pairs can show.
    reason : str
        Why the loop ended before its last round; empty if it did not.
    """

    policies: tuple[FiniteDistribution, ...]
    optima: tuple[Optimum, ...]
    reason: str = ""


def closed_loop(
    loss: str,
    annotator: PreferenceModel,
    start: FiniteDistribution,
    *,
    rounds: int,
    reference: str = "first",
    comparisons: int | None = None,
    rng: Any = None,
    **parameters: Any,
) -> ClosedLoop:
    r"""Rounds of section 2.2: :math:`\pi_{t+1}` is where the loss leads on pairs from :math:`\pi_t \otimes \pi_t`.

    Parameters
    ----------
    loss : str
        A name of the catalogue: "dpo", "ipo", "rlhf", "geometric", "slic", "rso", "rrhf", …
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
        Who answers, in all rounds.
    start : FiniteDistribution
        :math:`\pi_0`.
    rounds : int
        At least 1.
    reference : str
        What the loss takes for :math:`\pi_{pre}`, if it has one: "first" is :math:`\pi_0` in all rounds, "last" is
        :math:`\pi_t`.
    comparisons : int, optional
        Drawn in each round. Default: infinitely many, the expected loss.
    rng : numpy.random.Generator or seed, optional
        Only for `comparisons`.
    **parameters
        The loss's own, as `optimum` takes them, without the reference.

    Returns
    -------
    ClosedLoop
        It ends early, with a reason, where a round's pairs determine no policy.

    Raises
    ------
    TypeError, ValueError
        As `optimum`; or if supports differ, or `rounds`, `reference` or `comparisons` are not as above.

    Notes
    -----
    An outcome of a probability below 1e-300 is shown no more, and has probability zero from then on. With a Luce
    annotator T rounds of DPO with the last reference are one round with :math:`\beta / T`: they pass :math:`p^*` and
    end on its mode. Proof, and what other losses and pooled annotators do: ``proofs/closed_loop.md``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p_star, start = pb.FiniteDistribution.from_weights([4, 1]), pb.uniform([0, 1])
    >>> loop = pb.closed_loop("dpo", pb.Annotator(p_star, pb.luce()), start, rounds=4, reference="last", beta=2.0)
    >>> [round(float(policy.pmf[0]), 3) for policy in loop.policies]  # odds of 2 to the power t
    [0.5, 0.667, 0.8, 0.889, 0.941]
    """
    instance("loss", loss, str, "a name")
    instance("annotator", annotator, PreferenceModel, "an annotator")
    instance("start", start, FiniteDistribution, "a FiniteDistribution")
    same_support("start", start.support, "annotator", annotator.support)
    choice("reference", reference, ("first", "last"))
    rounds = whole_number("rounds", rounds, least=1, most=10**6)
    size = None if comparisons is None else whole_number("comparisons", comparisons, least=1)
    policies, optima = [start], list[Optimum]()
    for child in random_generator(rng).spawn(rounds):
        now = policies[-1]
        shown = np.flatnonzero(now.pmf >= RAREST)
        asked: PreferenceModel = _among(annotator, shown)
        pairs: Any = ProductProposal(now.pmf[shown])
        if size is not None:
            drawn = sample_comparisons(asked, pairs, size, rng=child)
            asked, pairs = observed_preferences(drawn.chosen, drawn.rejected, asked.support)
        given = {name: _entries(value, now, shown) for name, value in parameters.items()}
        if "reference" in optimum_parameters(loss):
            anchor = start if reference == "first" else now
            given["reference"] = FiniteDistribution(anchor.log_pmf[shown], asked.support)
        found = optimum(loss, asked, pairs, **given)
        if found.policy is None:
            return ClosedLoop(tuple(policies), tuple(optima), f"round {len(policies)}: {found.reason}")
        log_pmf = np.full(len(now), -np.inf)
        log_pmf[shown] = found.policy.log_pmf
        optima.append(found)
        policies.append(FiniteDistribution(log_pmf, start.support))
    return ClosedLoop(tuple(policies), tuple(optima))


def _entries(value: Any, policy: FiniteDistribution, shown: IndexArray) -> Any:
    """A parameter, or what it says of the outcomes shown if it has an entry for each."""
    return np.asarray(value)[shown] if np.shape(value) == (len(policy),) else value


def _among(annotator: PreferenceModel, shown: IndexArray) -> PreferenceModel:
    """The annotator, asked about some outcomes only."""
    if shown.size == annotator.size:
        return annotator
    support = annotator.support[shown]
    if isinstance(annotator, Annotator):
        return Annotator(uniform(support), PBDE(1.0, annotator.utility[shown]))
    if isinstance(annotator, AnnotatorMixture):
        return AnnotatorMixture(annotator.weights, [_among(each, shown) for each in annotator.annotators])
    return PreferenceMatrix(annotator.preference_probabilities()[np.ix_(shown, shown)], support)
