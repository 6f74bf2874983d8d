"""Fig. 10: IPO on Luce preferences, τ = 0.1, 0.5, 1.

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
from pbde_ref.objectives import ipo
from pbde_ref.pbde import dpo

__all__ = ["adapt_ipo", "runs"]

def runs(settings: ToySettings) -> list[Run]:
    """One panel for each τ."""
    return [Run(f"ipo-tau-{t:g}", partial(adapt_ipo, tau=t), ("pretrained",), settings.steps) for t in settings.taus]


def adapt_ipo(settings: ToySettings, needed: Mapping[str, Record], progress: Progress, *, tau: float) -> Record:
    """Eq. (23): the margin is that of log(π / π_pre), the utility of DPO with β = 1."""
    start = start_from(settings, needed)
    loss = Loss(ipo(tau), dpo(1.0, start.reference), start.reference)
    return adapt(settings, start, loss, luce_annotator(start.problem), "luce", progress)
