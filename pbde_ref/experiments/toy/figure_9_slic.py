"""Fig. 9: SLiC-HF on Luce preferences, δ = 0, 1/4, 1/2, 1, 2 without and with its regulariser, λ = 0, 1.

About 20 seconds a panel on one core with the paper's settings, and up to 80 seconds more for the exact optima.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product

from pbde_ref.experiments.annotators import luce_annotator
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.experiments.toy.adaptation import Loss, adapt, start_from
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.objectives import hinge
from pbde_ref.pbde import luce

__all__ = ["adapt_slic", "runs"]

def runs(settings: ToySettings) -> list[Run]:
    """One panel for each δ and λ."""
    return [
        Run(
            f"slic-delta-{delta:g}-lambda-{lambda_:g}",
            partial(adapt_slic, delta=delta, lambda_=lambda_),
            ("pretrained",),
            # The exact optima take as long again.
            2 * settings.steps,
        )
        for lambda_, delta in product(settings.lambdas, settings.deltas)
    ]


def adapt_slic(
    settings: ToySettings, needed: Mapping[str, Record], progress: Progress, *, delta: float, lambda_: float
) -> Record:
    """Eq. (20), its second expectation over draws from the reference."""
    start = start_from(settings, needed)
    loss = Loss(hinge(delta), luce(), start.reference, lambda_)
    return adapt(settings, start, loss, luce_annotator(start.problem), "luce", progress)
