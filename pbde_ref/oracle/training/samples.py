"""Samples of comparisons on which a trainer's end point says what it minimised."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from pbde_ref.annotators import Annotator, PreferenceMatrix, PreferenceModel
from pbde_ref.catalogue import optimum
from pbde_ref.catalogue.losses import check_parameters, loss_named, optimum_parameters
from pbde_ref.conditional import Prompts
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.hinge import minimize_rso
from pbde_ref.exact.identifiability import comparison_components, finite_fit_exists
from pbde_ref.oracle.training.rivals import Family, families, smoothed_family
from pbde_ref.oracle.training.sample_optima import ObjectiveName, direction
from pbde_ref.pbde import luce
from pbde_ref.proposals import JointProposal, PairListProposal, Proposal
from pbde_ref.sampling.comparisons import observed_preferences
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    choice,
)

__all__ = ["Comparisons", "Sample", "draw_one_prompt", "has_an_optimum", "optimizer_of"]

class Comparisons(NamedTuple):
    """Indices of the chosen and of the rejected outcome of each comparison."""

    chosen: IndexArray
    rejected: IndexArray


@dataclass(frozen=True, eq=False)
class Sample:
    """A population, a sample of comparisons from it, and what is to be minimised on both; of one prompt."""

    loss: str
    conventions: Mapping[str, Any]
    reference: FloatArray
    population: Annotator
    proposal: JointProposal
    comparisons: Comparisons

    @property
    def parts(self) -> list[Sample]:
        """Samples of all prompts."""
        return [self]

    @cached_property
    def prompts(self) -> Prompts:
        """Which outcome is an answer to which prompt."""
        return Prompts(np.zeros(self.reference.size, dtype=int))

    @cached_property
    def wins(self) -> FloatArray:
        """How often each outcome was chosen, shape (n,)."""
        return np.bincount(self.comparisons.chosen, minlength=self.reference.size).astype(float)

    @cached_property
    def observed(self) -> tuple[PreferenceMatrix, PairListProposal]:
        """The sample as an annotator with its win rates, and a proposal with its counts."""
        return observed_preferences(*self.comparisons, np.arange(self.reference.size))

    @cached_property
    def directions(self) -> dict[ObjectiveName, FloatArray]:
        """What each objective finds on the sample, labels taken as they are."""
        names: tuple[ObjectiveName, ...] = ("bradley_terry", "ipo", "hinge")
        return {name: direction(name, *self.observed) for name in names}

    @cached_property
    def optima(self) -> tuple[FloatArray, FloatArray]:
        """Log-probabilities of the declared objective's exact optimum on the sample and on the population."""
        optimum = optimizer_of(self.loss, self.conventions)
        reference = FiniteDistribution(self.reference)
        return optimum(*self.observed, reference), optimum(self.population, self.proposal, reference)

    @cached_property
    def families(self) -> list[Family]:
        """The objectives that a trainer may have minimised, with the declared one where it is none of the usual."""
        found = self.directions
        usual = families(self.reference, found["bradley_terry"], found["ipo"], found["hinge"], self.wins)
        epsilon = self.conventions.get("label_smoothing", 0.0)
        if epsilon:
            annotator, proposal = self.observed
            along = direction("bradley_terry", _smoothed(annotator, epsilon), proposal)
            return [smoothed_family(self.reference, along, epsilon), *usual]
        if self.loss == "length_normalized" or self.conventions.get("lambda_", 0.0):
            return [Family(f"{self.loss} as declared", self.optima[0], None), *usual]
        return usual


def draw_one_prompt(
    loss: str, conventions: Mapping[str, Any], size: int, n_comparisons: int, rng: np.random.Generator
) -> Sample:
    """A Luce population with clear preferences, some pairs compared more often than others."""
    # Preferences from about even to 50 : 1; on a narrower range all objectives look alike, on a wider one an outcome
    # that never wins becomes likely.
    preference = rng.permutation(np.linspace(-2.0, 2.0, size)) + rng.uniform(-0.2, 0.2, size)
    ramp = rng.permutation(np.linspace(-1.0, 1.0, size)) + rng.uniform(-0.2, 0.2, size)
    reference = FiniteDistribution(max(1.0, _reach(loss, conventions)) * ramp)
    population = Annotator(FiniteDistribution(preference), luce())
    weights = np.exp(rng.uniform(-1.5, 1.5, (size, size)))
    np.fill_diagonal(weights, 0.0)
    proposal = JointProposal(weights)
    pairs = rng.choice(size * size, size=n_comparisons, p=proposal.weights.ravel())
    a, b = np.divmod(pairs, size)
    first_wins = rng.random(n_comparisons) < population.preference_probabilities()[a, b]
    comparisons = Comparisons(np.where(first_wins, a, b), np.where(first_wins, b, a))
    return Sample(loss, conventions, reference.log_pmf, population, proposal, comparisons)


def _reach(loss: str, conventions: Mapping[str, Any]) -> float:
    """How far training goes, in nats: a reference that is flat beside that would not be missed."""
    if loss in ("dpo", "ipo"):
        return 1.0 / conventions["beta"] if loss == "dpo" else 0.25 / conventions["tau"]
    return 0.5 * conventions["delta"] if loss in ("rso", "slic") else 1.0


def has_an_optimum(sample: Sample) -> bool:
    """Whether a finite policy is the best one."""
    if not sample.comparisons.chosen.size:
        return False
    annotator, proposal = sample.observed
    connected = comparison_components(proposal, annotator.size).max() == 0
    if not connected or not finite_fit_exists(annotator, proposal):
        return False
    if sample.loss not in ("rso", "slic") or sample.conventions.get("lambda_", 0.0):
        return True
    uniform = FiniteDistribution(np.zeros(annotator.size))
    return bool(minimize_rso(annotator, proposal, delta=1.0, reference=uniform).unique)


_Optimizer = Callable[[PreferenceModel, Proposal, FiniteDistribution], FloatArray]

# Where one word of the catalogue is too wide.
_CALLED = {"luce": "pbde"}
_TRAINED = ("dpo", "geometric", "luce", "ipo", "rso", "slic", "length_normalized")
_LEFT_OUT = ("reference", "variant", "f", "g", "margin")


def optimizer_of(loss: str, conventions: Mapping[str, Any]) -> _Optimizer:
    """The declared objective as a function from preferences to its optimum."""
    choice("loss", loss, _TRAINED)
    name = _CALLED.get(loss, loss)
    known = optimum_parameters(name)
    declared = {each: default for each, default in known.items() if each not in _LEFT_OUT}
    needed = {each for each, default in declared.items() if default is inspect.Parameter.empty}
    if loss == "ipo":
        declared.pop("lengths")
    if not needed <= set(conventions) <= set(declared):
        may = f", and may have {sorted(set(declared) - needed)}" if set(declared) - needed else ""
        raise ValueError(f"`loss` {loss!r} must have the parameters {sorted(needed)}{may}; got {sorted(conventions)}")
    check_parameters(loss_named(name), conventions)

    def optimizer(annotator: PreferenceModel, proposal: Proposal, reference: FiniteDistribution) -> FloatArray:
        more = {"reference": reference} if "reference" in known else {}
        found = optimum(name, annotator, proposal, **more, **conventions)
        if found.policy is None or not found.converged:
            raise ArithmeticError(f"the optimum of {loss!r} was not found: {found.reason}")
        return found.policy.log_pmf

    return optimizer


def _smoothed(annotator: PreferenceModel, epsilon: float) -> PreferenceModel:
    """The annotator as cDPO sees it, each label flipped with probability ε."""
    if epsilon == 0.0:
        return annotator
    return PreferenceMatrix(epsilon + (1.0 - 2.0 * epsilon) * annotator.preference_probabilities())
