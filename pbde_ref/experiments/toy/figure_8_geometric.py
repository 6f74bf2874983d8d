"""Fig. 8: the geometric process on Luce preferences ends at Eq. (18), for α = 1, 1/4, 1/16.

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
from pbde_ref.pbde import geometric_average

__all__ = ["adapt_geometric", "runs"]

def runs(settings: ToySettings) -> list[Run]:
    """One panel for each α."""
    return [
        Run(f"geometric-alpha-{a:g}", partial(adapt_geometric, alpha=a), ("pretrained",), settings.steps)
        for a in settings.alphas
    ]  # fmt: skip


def adapt_geometric(
    settings: ToySettings, needed: Mapping[str, Record], progress: Progress, *, alpha: float
) -> Record:
    """The process f = 1/α and g = (1 − 1/α) log π_pre, on the answers of Eq. (9)."""
    start = start_from(settings, needed)
    loss = Loss(BRADLEY_TERRY, geometric_average(alpha, start.reference), start.reference)
    return adapt(settings, start, loss, luce_annotator(start.problem), "luce", progress)
