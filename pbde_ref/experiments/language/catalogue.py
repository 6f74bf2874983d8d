"""All runs of the experiments with language models, in the order of need."""

from __future__ import annotations

from collections.abc import Collection

from pbde_ref.experiments.language import figure_6, models, positions, sentences, table_2, two_components
from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.runs import Run

__all__ = ["runs"]


def runs(place: Workplace, names: Collection[str] = ()) -> list[Run]:
    """Everything, in the order of need; or only what some runs need, and these."""
    modules = (models, sentences, positions, table_2, figure_6, two_components)
    every = [part for module in modules for part in module.runs(place)]
    wanted = set(names or (run.name for run in every))
    for run in reversed(every):
        wanted |= set(run.needs) if run.name in wanted else set()
    return [run for run in every if run.name in wanted]
