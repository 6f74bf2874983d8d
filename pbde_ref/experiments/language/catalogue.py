"""All runs of the experiments with language models, in the order of need."""

from __future__ import annotations

from dataclasses import asdict, replace

from pbde_ref.experiments.language import figure_6, models, positions, sentences, table_2
from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.language.sources import fingerprint
from pbde_ref.experiments.runs import Experiment, Run, files_folder

__all__ = ["experiment", "runs"]


def runs(place: Workplace) -> list[Run]:
    """Everything, in the order of need."""
    return [part for module in (models, sentences, positions, table_2, figure_6) for part in module.runs(place)]


def experiment(place: Workplace, name: str = "") -> Experiment:
    """Everything, with its records in the place's folder and its files in a folder of these settings there.

    Raises
    ------
    ValueError, OSError
        As `fingerprint`.
    """
    identity = {**asdict(place.settings), **fingerprint(place)}
    files = files_folder(place.folder, identity)
    return Experiment(runs(place), replace(place, folder=files), place.folder, identity, files, name)
