"""Fig. 5: one policy for two annotators who disagree lies between what they like, Eq. (25).

About 20 seconds on one core with the paper's settings.
"""

from __future__ import annotations

from collections.abc import Mapping

from pbde_ref.experiments.populations import pooled_annotators
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.experiments.toy.adaptation import Loss, adapt, start_from
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.objectives import BRADLEY_TERRY
from pbde_ref.pbde import luce

__all__ = ["adapt_pooled", "runs"]


def runs(settings: ToySettings) -> list[Run]:
    """One panel."""
    return [Run("pooled", adapt_pooled, ("pretrained",), settings.steps)]


def adapt_pooled(settings: ToySettings, needed: Mapping[str, Record], progress: Progress) -> Record:
    """The Luce rule for one policy, on the answers of two annotators."""
    start = start_from(settings, needed)
    loss = Loss(BRADLEY_TERRY, luce(), start.reference)
    return adapt(settings, start, loss, pooled_annotators(start.problem), "two annotators", progress)
