"""Fig. 2: DPO recovers p* where the annotator answers by DPO's own process, Theorem 2.

About 20 seconds on one core with the paper's settings.
"""

from __future__ import annotations

from collections.abc import Mapping

from pbde_ref.annotators import Annotator
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.experiments.toy.adaptation import Loss, adapt, start_from
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.objectives import BRADLEY_TERRY
from pbde_ref.pbde import dpo

__all__ = ["adapt_shared_process", "runs"]

def runs(settings: ToySettings) -> list[Run]:
    """One panel."""
    return [Run("shared-process", adapt_shared_process, ("pretrained",), settings.steps)]


def adapt_shared_process(settings: ToySettings, needed: Mapping[str, Record], progress: Progress) -> Record:
    """Annotator and model share Eq. (15)."""
    start = start_from(settings, needed)
    process = dpo(settings.shared_beta, start.reference)
    annotator = Annotator(start.problem.implicit_preference_distribution, process)
    loss = Loss(BRADLEY_TERRY, process, start.reference)
    return adapt(settings, start, loss, annotator, "dpo", progress)
