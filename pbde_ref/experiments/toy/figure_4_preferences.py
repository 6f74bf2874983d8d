"""Fig. 4: Prob(x_A ≻ x_B) of one annotator and of two, and of the models of Fig. 5 and 11 that learnt from the two.

Nothing is trained here: the maps are formulas of what those figures' runs left. Less than a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.experiments.annotators import luce_annotator, pooled_annotators
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Run
from pbde_ref.experiments.toy import adapted, figure_11_two_annotators
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.pbde import luce
from pbde_ref.validation import FloatArray

__all__ = ["PreferenceMap", "preference_maps", "runs"]


@dataclass(frozen=True, eq=False)
class PreferenceMap:
    r"""One panel.

    Attributes
    ----------
    title : str
    grid : ndarray, shape (n,)
    probabilities : ndarray, shape (n, n)
        Entry [A, B] is :math:`\text{Prob}(x_A \succ x_B)`.
    error : float
        Mean distance from the answers of the two annotators, over all pairs of the grid.
    plateaus : float
        Share of pairs within 0.01 of an annotator's weight, 0.4 or 0.6, or of one less it.
    """

    title: str
    grid: FloatArray
    probabilities: FloatArray
    error: float
    plateaus: float


def runs(settings: ToySettings) -> list[Run]:
    """Those of Fig. 5 and 11."""
    return adapted.runs("figure-5", settings) + figure_11_two_annotators.runs(settings)


def preference_maps(records: Mapping[str, Record], settings: ToySettings) -> list[PreferenceMap]:
    """The paper's four panels and the exact one, from left to right, from the records "pooled" and "two-annotators"."""
    pooled, two = records["pooled"], records["two-annotators"]
    grid, problem = pooled.arrays["grid"], settings.problem()

    def trained(log_weights: FloatArray) -> Annotator:
        return Annotator(FiniteDistribution(log_weights, grid), luce())

    truth = pooled_annotators(problem)
    models: dict[str, PreferenceModel] = {
        "one annotator (24)": luce_annotator(problem),
        "two annotators (25)": truth,
        "best as one, exact": Annotator(pooled.policy("optimum"), luce()),
        "trained as one": trained(pooled.arrays["log_weights.trained"]),
        "trained as two": AnnotatorMixture(
            two.arrays["weights.trained"],
            [trained(two.arrays[f"log_policy.trained_{i + 1}"]) for i in range(len(problem.annotator_weights))],
        ),
    }
    expected = truth.preference_probabilities()
    levels = np.concatenate([problem.annotator_weights, 1.0 - problem.annotator_weights])
    return [_map(title, grid, model.preference_probabilities(), expected, levels) for title, model in models.items()]


def _map(
    title: str, grid: FloatArray, probabilities: FloatArray, expected: FloatArray, levels: FloatArray
) -> PreferenceMap:
    plateaus = np.any([np.abs(probabilities - level) < 0.01 for level in levels], axis=0)
    return PreferenceMap(
        title, grid, probabilities, float(np.abs(probabilities - expected).mean()), float(plateaus.mean())
    )
