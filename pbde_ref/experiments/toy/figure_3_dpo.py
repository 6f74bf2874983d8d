"""Fig. 3: DPO on Luce preferences ends at a product of experts, Eq. (16), for β = 1, 4, 16.

About 20 seconds a panel on one core with the paper's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from pbde_ref.experiments.annotators import luce_annotator
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.experiments.toy.adaptation import Loss, adapt, start_from
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.objectives import BRADLEY_TERRY
from pbde_ref.pbde import dpo

__all__ = ["adapt_dpo", "runs"]

def runs(settings: ToySettings) -> list[Run]:
    """One panel for each β."""
    return [Run(f"dpo-beta-{b:g}", partial(adapt_dpo, beta=b), ("pretrained",), settings.steps) for b in settings.betas]


def adapt_dpo(settings: ToySettings, needed: Mapping[str, Record], progress: Progress, *, beta: float) -> Record:
    """Eq. (14) on the answers of Eq. (9)."""
    start = start_from(settings, needed)
    loss = Loss(BRADLEY_TERRY, dpo(beta, start.reference), start.reference)
    return adapt(settings, start, loss, luce_annotator(start.problem), "luce", progress)
