"""All runs of the experiments with language models, in the order of need."""

from __future__ import annotations

from pbde_ref.experiments.language import figure_6, models, positions, sentences, table_2
from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.runs import Run

__all__ = ["runs"]


def runs(place: Workplace) -> list[Run]:
    """Everything, in the order of need."""
    return [part for module in (models, sentences, positions, table_2, figure_6) for part in module.runs(place)]
