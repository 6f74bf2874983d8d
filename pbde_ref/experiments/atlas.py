r"""What each loss of the paper learns: the noise-free versions of Fig. 1–3, 5 and 7–11.

Every loss is taken to its exact optimum on the problem of Eq. (10), with both outcomes of a pair drawn independently
from the reference policy. The whole table takes about a minute on two cores.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import product

import numpy as np

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.catalogue import LOSSES, optimum
from pbde_ref.catalogue.losses import optimum_parameters
from pbde_ref.catalogue.optima import best_rlhf
from pbde_ref.distributions import FiniteDistribution, kl_divergence, total_variation
from pbde_ref.exact.results import Optimum
from pbde_ref.experiments.annotators import luce_annotator, pooled_annotators
from pbde_ref.paper_problem import PaperProblem, paper_problem
from pbde_ref.pbde import dpo
from pbde_ref.proposals import ProductProposal

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
    policy : FiniteDistribution
    problem : PaperProblem
    """

    name: str
    parameters: Mapping[str, float]
    figure: str
    optimum: Optimum
    policy: FiniteDistribution
    problem: PaperProblem

    @property
    def label(self) -> str:
        """The loss and its parameters, as in ``dpo β=4``."""
        return " ".join([self.name, *(f"{LETTERS.get(k, k)}={v:g}" for k, v in self.parameters.items())])

    @property
    def distances(self) -> dict[str, float]:
        r"""Total variation and :math:`D_{KL}(\pi \,\|\, \cdot)` to :math:`p^*` and to :math:`\pi_{pre}`."""
        others = {
            "preference": self.problem.implicit_preference_distribution,
            "reference": self.problem.reference,
        }
        return {
            f"{name}_{other}": distance(self.policy, distribution)
            for other, distribution in others.items()
            for name, distance in (("total_variation", total_variation), ("kl", kl_divergence))
        }

    @property
    def mode_masses(self) -> tuple[float, float]:
        """Probability within three standard deviations of the two modes, [-3.25, -1.75] and [-0.5, 5.5]."""
        grid = self.problem.grid
        near = (np.abs(grid + 2.5) <= 0.75), (np.abs(grid - 2.5) <= 3.0)
        return float(self.policy.pmf[near[0]].sum()), float(self.policy.pmf[near[1]].sum())


_ANNOTATORS: Mapping[str, Callable[[PaperProblem, Mapping[str, float]], PreferenceModel]] = {
    "luce": lambda problem, parameters: luce_annotator(problem),
    # Who answers by DPO's own process.
    "agreeing": lambda problem, parameters: Annotator(
        problem.implicit_preference_distribution, dpo(parameters["beta"], problem.reference)
    ),
    "pooled": lambda problem, parameters: pooled_annotators(problem),
}


@dataclass(frozen=True)
class Rule:
    """A loss, and for whom it is taken to its optimum.

    Attributes
    ----------
    title : str
        For figures.
    loss : str
        A name of the catalogue, or "rlhf", which is no single loss.
    figure, statement : str
        The figure of the paper; what is minimised, in one line.
    sweep : mapping of str to tuple of float
        The paper's values of each parameter.
    annotator : str
        Who answers: "luce", "pooled", or "agreeing", by DPO's own process.
    """

    title: str
    loss: str
    figure: str
    statement: str
    sweep: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    annotator: str = "luce"


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
    if name not in RULES:
        raise ValueError(f"`name` must be one of {', '.join(map(repr, RULES))}; got {name!r:.100}")
    rule = RULES[name]
    if set(parameters) != set(rule.sweep):
        raise TypeError(
            f"{name!r} must have {', '.join(f'`{each}`' for each in rule.sweep) or 'no parameters'}; "
            f"got {', '.join(f'`{each}`' for each in parameters) or 'none'}"
        )
    problem = paper_problem(size)
    annotator, pairs = _ANNOTATORS[rule.annotator](problem, parameters), ProductProposal(problem.reference)
    if rule.loss == "rlhf":
        found = best_rlhf(annotator, pairs, reference=problem.reference, **parameters)
    else:
        more = {"reference": problem.reference} if "reference" in optimum_parameters(rule.loss) else {}
        found = optimum(rule.loss, annotator, pairs, **more, **parameters)
    if found.policy is None:
        raise ArithmeticError(f"{name} has no best policy: {found.reason}")
    return AtlasRow(name, dict(parameters), rule.figure, found, found.policy, problem)


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


_PAPERS = tomllib.loads(files(__package__).joinpath("atlas.toml").read_text("utf-8"))

RULES: Mapping[str, Rule] = {
    **{
        name: Rule(**{**row, "sweep": {key: tuple(values) for key, values in row.get("sweep", {}).items()}})
        for name, row in _PAPERS.items()
    },
    # What the paper does not have, at values where nothing is special.
    **{
        name: Rule(loss.title, name, "", loss.title, {n: (p.generic,) for n, p in loss.parameters.items() if p.letter})
        for name, loss in LOSSES.items()
        if not loss.equation
    },
}  # fmt: skip
"""Rows of the atlas by name: a loss of the catalogue, who answers, and the paper's values of each parameter."""
