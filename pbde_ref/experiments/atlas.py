r"""What each loss learns: the noise-free versions of Fig. 1–3, 5 and 7–11, and the losses that trainers have beside.

Every loss is taken to its exact optimum on the problem of Eq. (10), with both outcomes of a pair drawn independently
from the reference policy; where none is proved, to the best stationary point. The whole table takes some minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from inspect import Parameter
from itertools import product
from typing import Any

import numpy as np

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.catalogue import LOSSES, Loss, optimum
from pbde_ref.catalogue.losses import optimum_parameters
from pbde_ref.catalogue.optima import best_rlhf
from pbde_ref.distributions import FiniteDistribution, kl_divergence, total_variation
from pbde_ref.exact.optima import product_of_experts
from pbde_ref.exact.results import Optimum
from pbde_ref.exact.selection import winners_distribution
from pbde_ref.experiments.annotators import luce_annotator, pooled_annotators
from pbde_ref.experiments.flows import TOLERANCE, chosen_on_the_way
from pbde_ref.numerics import weighted
from pbde_ref.paper_problem import PaperProblem, paper_problem
from pbde_ref.pbde import dpo
from pbde_ref.proposals import ProductProposal
from pbde_ref.validation import choice

__all__ = ["LETTERS", "RULES", "AtlasRow", "Rule", "atlas", "atlas_row"]

LETTERS = {name: p.letter for loss in LOSSES.values() for name, p in loss.parameters.items() if p.letter} | {
    "n_candidates": "k"
}
"""What parameters are called in the paper."""


@dataclass(frozen=True, eq=False)
class AtlasRow:
    r"""What one loss prefers on the paper's problem.

    Attributes
    ----------
    name : str
        A key of `RULES`.
    parameters : mapping of str to float
    figure : str
        The figure of the paper whose curve this is without noise; empty if there is none.
    optimum : Optimum
        The expected loss at the best policy, and what proves it.
    policy : FiniteDistribution or None
    problem : PaperProblem
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    """

    name: str
    parameters: Mapping[str, float]
    figure: str
    optimum: Optimum
    policy: FiniteDistribution | None
    problem: PaperProblem
    annotator: PreferenceModel

    @property
    def label(self) -> str:
        """The loss and its parameters, as in ``dpo β=4``."""
        return " ".join([self.name, *(f"{LETTERS.get(k, k)}={v:g}" for k, v in self.parameters.items())])

    @property
    def distances(self) -> dict[str, float]:
        r"""Total variation and :math:`D_{KL}(\pi \,\|\, \cdot)` to :math:`p^*`, :math:`\pi_{pre}` and Eq. (16).

        Eq. (16) is taken at the loss's own :math:`\beta`, or at 1. Nothing where no policy is known.
        """
        if self.policy is None:
            return {}
        preference, reference = self.problem.implicit_preference_distribution, self.problem.reference
        others = {
            "preference": preference,
            "reference": reference,
            "product": product_of_experts(reference, preference, self.parameters.get("beta", 1.0)),
        }
        return {
            f"{name}_{other}": distance(self.policy, distribution)
            for other, distribution in others.items()
            for name, distance in (("total_variation", total_variation), ("kl", kl_divergence))
        }

    @property
    def chosen(self) -> float:
        """Mean log-ratio of policy and reference of the answers that are chosen: negative where these become rarer."""
        if self.policy is None:
            return math.nan
        winners = winners_distribution(self.annotator, ProductProposal(self.problem.reference)).pmf
        return float(weighted(winners, self.policy.log_pmf - self.problem.reference.log_pmf).sum())

    @cached_property
    def falls(self) -> str:
        """Whether the mean log-ratio of the chosen answers is ever negative along the gradient flow from the reference.

        "at end" where the optimum itself has it negative, which is as certain as the optimum; "before" where
        the flow has, "no" where the flow, solved to 8 digits, has not; empty where neither is known.
        """
        loss = RULES[self.name].loss
        if self.policy is None or not isinstance(loss, str):
            return ""
        if self.chosen < 0.0:
            return "at end"
        path = chosen_on_the_way(LOSSES[loss], self.parameters, self.annotator, self.problem.reference)
        return "" if path is None else "before" if path.min() < -100.0 * TOLERANCE else "no"

    @property
    def mode_masses(self) -> tuple[float, float]:
        """Probability within three standard deviations of the two modes, [-3.25, -1.75] and [-0.5, 5.5]."""
        if self.policy is None:
            return math.nan, math.nan
        grid = self.problem.grid
        near = (np.abs(grid + 2.5) <= 0.75), (np.abs(grid - 2.5) <= 3.0)
        return float(self.policy.pmf[near[0]].sum()), float(self.policy.pmf[near[1]].sum())


def _luce(problem: PaperProblem, parameters: Mapping[str, float]) -> PreferenceModel:
    return luce_annotator(problem)


def _agreeing(problem: PaperProblem, parameters: Mapping[str, float]) -> PreferenceModel:
    """Who answers by DPO's own process."""
    return Annotator(problem.implicit_preference_distribution, dpo(parameters["beta"], problem.reference))


def _pooled(problem: PaperProblem, parameters: Mapping[str, float]) -> PreferenceModel:
    return pooled_annotators(problem)


@dataclass(frozen=True)
class Rule:
    """A loss, and for whom it is taken to its optimum.

    Attributes
    ----------
    title : str
        For figures.
    loss : str or callable
        A name of the catalogue, or a function to an `Optimum` for what is no single loss.
    figure, statement : str
        The figure of the paper; what is minimised, in one line.
    sweep : mapping of str to tuple of float
        The paper's values of each parameter.
    annotator : callable
        From the problem and the parameters to who answers.
    family : str
        "paper", or what the loss is a function of: "margins", "log-ratios", "likelihoods" or "single answers".
    """

    title: str
    loss: str | Callable[..., Optimum]
    figure: str
    statement: str
    sweep: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    annotator: Callable[[PaperProblem, Mapping[str, float]], PreferenceModel] = _luce
    family: str = "paper"

    @property
    def learns(self) -> str:
        """What the optimum tells of who answered, as far as it is known: see `Loss.learns`."""
        if self.annotator is _pooled:
            return ""
        return LOSSES[self.loss].learns if isinstance(self.loss, str) else "p*"


def atlas_row(name: str, *, size: int = 256, **parameters: float) -> AtlasRow:
    """The policy that a loss prefers on the paper's problem.

    Parameters
    ----------
    name : str
        A key of `RULES`.
    size : int
        Grid points.
    **parameters : float
        Exactly those of the rule's sweep.

    Raises
    ------
    ValueError
        If the name is unknown or a parameter is out of range.
    TypeError
        If a parameter is missing or superfluous.

    Examples
    --------
    What does SLiC with δ = 1 converge to, and how far is it from p*?

    >>> from pbde_ref.experiments.atlas import atlas_row
    >>> slic = atlas_row("slic", size=64, delta=1.0, lambda_=0.0)
    >>> round(slic.distances["total_variation_preference"], 3)
    0.111
    """
    rule = RULES[choice("name", name, RULES)]
    if set(parameters) != set(rule.sweep):
        raise TypeError(
            f"{name!r} must have {', '.join(f'`{each}`' for each in rule.sweep) or 'no parameters'}; "
            f"got {', '.join(f'`{each}`' for each in parameters) or 'none'}"
        )
    problem = paper_problem(size)
    annotator, pairs = rule.annotator(problem, parameters), ProductProposal(problem.reference)
    if callable(rule.loss):
        found = rule.loss(annotator, pairs, reference=problem.reference, **parameters)
    else:
        taken = optimum_parameters(rule.loss)
        more: dict[str, Any] = {"reference": problem.reference} if "reference" in taken else {}
        # Answers of one length.
        more |= {"lengths": np.ones(size)} if taken.get("lengths", None) is Parameter.empty else {}
        found = optimum(rule.loss, annotator, pairs, **more, **parameters)
    return AtlasRow(name, dict(parameters), rule.figure, found, found.policy, problem, annotator)


def atlas(names: list[str] | None = None, *, size: int = 256) -> Iterator[AtlasRow]:
    """The optima of several losses over the paper's sweeps, one by one as they are found.

    Parameters
    ----------
    names : list of str, optional
        Keys of `RULES`. Default: all.
    size : int
        Grid points.
    """
    for name in RULES if names is None else names:
        for values in product(*RULES[name].sweep.values()):
            yield atlas_row(name, size=size, **dict(zip(RULES[name].sweep, values, strict=True)))


def _family(loss: Loss) -> str:
    if loss.family == "answers":
        return "single answers"
    if "likelihood_weight" in loss.parameters:
        return "likelihoods"
    linked = loss.learns == "p*" or "exp(" in loss.formula
    return "margins" if loss.has_margins or linked or not loss.has_policy else "log-ratios"


def _sweep(loss: Loss) -> dict[str, tuple[float, ...]]:
    """β = 1, the least confusing one, and generic values, of what its optimum takes."""
    lettered = {n: p for n, p in loss.parameters.items() if p.letter and (n != "alpha" or p.default is None)}
    return {n: (1.0 if n == "beta" else p.generic,) for n, p in lettered.items()}


RULES: Mapping[str, Rule] = {
    "reward": Rule("reward", "bradley_terry", "1, 7", "Bradley–Terry reward, Theorem 1"),
    "dpo_shared": Rule(
        "DPO, shared process", "dpo", "2", "DPO, the annotator with the same process, Theorem 2", {"beta": (1.0,)},
        annotator=_agreeing,
    ),
    "dpo": Rule("DPO", "dpo", "3", "DPO, Luce annotator, Eq. (16)", {"beta": (1.0, 4.0, 16.0)}),
    "geometric": Rule(
        "geometric", "geometric", "8", "geometric process, Luce annotator, Eq. (18)", {"alpha": (1.0, 0.25, 0.0625)}
    ),
    "rlhf": Rule(
        "RLHF", best_rlhf, "", "reward, then KL-controlled reinforcement learning, Eq. (13)", {"beta": (1.0, 4.0, 16.0)}
    ),
    "slic": Rule(
        "SLiC", "slic", "9", "SLiC-HF, Eq. (20)", {"delta": (0.0, 0.25, 0.5, 1.0, 2.0), "lambda_": (0.0, 1.0)}
    ),
    "rso": Rule("RSO", "rso", "", "RSO, Eq. (21)", {"delta": (0.25, 0.5, 1.0, 2.0)}),
    "ipo": Rule("IPO", "ipo", "10", "IPO, Eq. (23)", {"tau": (0.1, 0.5, 1.0)}),
    "rrhf": Rule("RRHF", "rrhf", "", "RRHF with likelihood term, equal lengths, Eq. (19)", {"n_candidates": (2, 3)}),
    "pooled_reward": Rule(
        "pooled reward", "bradley_terry", "5", "one reward for two annotators, Eq. (25)", annotator=_pooled
    ),
    "pooled_dpo": Rule(
        "pooled DPO", "dpo", "", "DPO for two annotators, Eq. (25)", {"beta": (4.0,)}, annotator=_pooled
    ),
    "pooled_mean": Rule(
        "pooled geometric", "geometric", "", "geometric process for two annotators, Eq. (25)", {"alpha": (0.25,)},
        annotator=_pooled,
    ),
    "two_annotators": Rule(
        "two annotators", "annotator_mixture", "11", "a model of two annotators for two annotators, Eq. (30)",
        annotator=_pooled,
    ),
    # What the paper does not have, at values where nothing is special.
    **{
        name: Rule(name, name, "", loss.title, _sweep(loss), family=_family(loss))
        for name, loss in LOSSES.items()
        if not loss.equation and loss.optimum
    },
}  # fmt: skip
"""Rows of the atlas by name: a loss of the catalogue, who answers, and the paper's values of each parameter."""
