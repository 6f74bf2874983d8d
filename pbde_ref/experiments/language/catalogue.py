"""All runs of the language experiments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace

from pbde_ref.experiments.language import figure_6, models, positions, sentences, table_2, two_components
from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.language.sources import fingerprint
from pbde_ref.experiments.runs import Experiment, Run, runs_folder

__all__ = ["experiment", "runs"]


def runs(place: Workplace, names: Collection[str] = ()) -> list[Run]:
    """Everything, in the order of need; or only what some runs need, and these."""
    modules = (models, sentences, positions, table_2, figure_6, two_components)
    every = [part for module in modules for part in module.runs(place)]
    wanted = set(names or (run.name for run in every))
    for run in reversed(every):
        wanted |= set(run.needs) if run.name in wanted else set()
    return [run for run in every if run.name in wanted]


def experiment(place: Workplace, names: Collection[str] = (), name: str = "") -> Experiment:
    """All runs, or some and what they need, in a folder of these settings in the place's own.

    Raises
    ------
    ValueError, OSError
        As `fingerprint`.
    """
    identity = {**asdict(place.settings), **fingerprint(place)}
    folder = runs_folder(place.folder, identity)
    return Experiment(runs(place, names), replace(place, folder=folder), folder, identity, name)
