"""All that can be set in the univariate experiments, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pbde_ref.experiments.annotators import problem_with
from pbde_ref.experiments.presets import changed, check_numbers, presets_of, rng_for
from pbde_ref.models.mlp import MLP
from pbde_ref.paper_problem import PaperProblem
from pbde_ref.validation import choice, whole_number

__all__ = ["PRESETS", "ToySettings", "preset"]


@dataclass(frozen=True)
class ToySettings:
    """Settings of the univariate experiments; the defaults are the paper's Table 1 and text.

    Attributes
    ----------
    grid : int
        Equally spaced points of [-10, 10], the support. (The authors' notebook has 65,536, and a trapezoid sum.)
    comparisons : int
        Observation pairs of each data set.
    layers, width : int
        Of the tanh network, which computes in float32, as the authors' does; losses and optima are float64.
    steps : int
        Of Adam, on all comparisons at once.
    learning_rate : float
        Its first value; it decays to 0 along a cosine.
    pretraining_steps : int
    pretraining_learning_rate : float
        Of the regression that makes the energy-based model the reference policy.
    data : str
        "sample": policies are trained on sampled comparisons. "population": on the expected loss itself, a sum over all
        pairs of grid points, so that what remains between them and the optimum is the network's and the optimiser's.
        Fig. 11 and the errors against the number of comparisons have samples in any case.
    reward_pairs : str
        Where the pairs of the reward model, Fig. 1 and 7, come from: "uniform", or "reference" as those of all others.
    regularizer_draws : int
        Draws from the reference for SLiC's regulariser, new ones in each step.
    mixture_noise : float
        Standard deviation of the noise that tells the two annotators' networks apart at the start.
    least_comparisons, most_comparisons : int
        Ends of the range, by powers of two, in which errors are measured against the number of comparisons.
    replicates : int
        Data sets for each number.
    outcomes : int
        Grid points of that experiment, whose model has a free utility for each.
    temperature : float
        Its annotators and model follow Eq. (11) with f = 1 / temperature: under the Luce rule the tails never win, and
        no number of comparisons gives them a finite estimate.
    shared_beta : float
        β of Fig. 2; the text names none, the authors' notebook has 4.
    betas, alphas, taus, deltas, lambdas : tuple of float
        What Fig. 3, 8, 10 and 9 sweep over.
    loop_points, loop_rounds : int
        Grid points and rounds of the closed loop.
    annotators : tuple of str
        Who answers instead of the annotators of Eq. (10): see `problem_with`.
    seed : int
    """

    grid: int = 1024
    comparisons: int = 2**15
    layers: int = 4
    width: int = 64
    steps: int = 8192
    learning_rate: float = 5e-4
    pretraining_steps: int = 8192
    pretraining_learning_rate: float = 5e-4
    data: str = "sample"
    reward_pairs: str = "uniform"
    regularizer_draws: int = 8192
    mixture_noise: float = 1e-4
    least_comparisons: int = 2**8
    most_comparisons: int = 2**20
    replicates: int = 400
    outcomes: int = 16
    temperature: float = 16.0
    shared_beta: float = 4.0
    betas: tuple[float, ...] = (1.0, 4.0, 16.0)
    alphas: tuple[float, ...] = (1.0, 0.25, 0.0625)
    taus: tuple[float, ...] = (0.1, 0.5, 1.0)
    deltas: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0)
    lambdas: tuple[float, ...] = (0.0, 1.0)
    loop_points: int = 64
    loop_rounds: int = 40
    annotators: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, may_be_zero=("seed", "mixture_noise", "deltas", "lambdas"))
        whole_number("grid", self.grid, least=16)
        whole_number("outcomes", self.outcomes, least=2)
        problem_with(self.outcomes, self.annotators)
        choice("data", self.data, ("sample", "population"))
        choice("reward_pairs", self.reward_pairs, ("uniform", "reference"))
        if self.least_comparisons > self.most_comparisons:
            raise ValueError(
                f"`most_comparisons` must be at least `least_comparisons`, {self.least_comparisons}; "
                f"got {self.most_comparisons}"
            )

    def problem(self, size: int | None = None) -> PaperProblem:
        """Of so many grid points; by default `grid`."""
        return problem_with(self.grid if size is None else size, self.annotators)

    @property
    def network(self) -> MLP:
        """The network of every model."""
        return MLP(self.layers, self.width)

    def rng(self, purpose: str) -> np.random.Generator:
        """Randomness for one purpose, whatever else is run, and in which order."""
        return rng_for(self.seed, purpose)


PRESETS: Mapping[str, ToySettings] = presets_of("toy", ToySettings)


def preset(name: str, **changes: Any) -> ToySettings:
    """A preset with some settings changed.

    Parameters
    ----------
    name : str
        A key of `PRESETS`.
    **changes : int, float or str
        Attributes of `ToySettings`.

    Raises
    ------
    ValueError, TypeError
        If the preset or a setting is unknown, or a value is out of range.

    Examples
    --------
    >>> from pbde_ref.experiments.toy.settings import preset
    >>> preset("notebook", seed=3).learning_rate
    0.0001
    """
    return changed(PRESETS, name, changes)
