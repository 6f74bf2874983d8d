"""The univariate figures: what each takes, and what to look for in it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

from pbde_ref.experiments.runs import Run
from pbde_ref.experiments.toy import (
    adapted,
    closed_loops,
    figure_1_reward,
    figure_4_preferences,
    figure_11_two_annotators,
    how_much_data,
)
from pbde_ref.experiments.toy.pretraining import pretrain
from pbde_ref.experiments.toy.settings import ToySettings

__all__ = ["FIGURES", "LETTERS", "Figure", "runs_of"]

_CAPTIONS = tomllib.loads(files(__package__).joinpath("captions.toml").read_text("utf-8"))

LETTERS: Mapping[str, str] = _CAPTIONS.pop("letters")
"""What a caption says of each letter in its figure."""


@dataclass(frozen=True)
class Figure:
    """One figure of the paper, or beyond it.

    Attributes
    ----------
    runs : callable
        Settings to the runs whose results it shows.
    title : str
    look_for : str
        What to see in it.
    letters : tuple of str
        Keys of `LETTERS` that it shows.
    print_differs : str
        Where the paper's figure looks otherwise, and why; empty if it does not.
    """

    runs: Callable[[ToySettings], list[Run]]
    title: str
    look_for: str
    letters: tuple[str, ...]
    print_differs: str = ""


_RUNS: Mapping[str, Callable[[ToySettings], list[Run]]] = {
    "figure-1": figure_1_reward.runs,
    "figure-4": figure_4_preferences.runs,
    "figure-7": figure_1_reward.runs,
    "figure-11": figure_11_two_annotators.runs,
    "how-much-data": how_much_data.runs,
    "closed-loop": closed_loops.runs,
    **{name: partial(adapted.runs, name) for name in adapted.ADAPTED},
}

FIGURES: Mapping[str, Figure] = {name: Figure(_RUNS[name], **caption) for name, caption in _CAPTIONS.items()}


def runs_of(figures: Iterable[str], settings: ToySettings) -> list[Run]:
    """All runs that some figures need, each once, with those that come first."""
    found = {run.name: run for figure in figures for run in FIGURES[figure].runs(settings)}
    if any("pretrained" in run.needs for run in found.values()):
        found = {"pretrained": Run("pretrained", pretrain, (), settings.pretraining_steps)} | found
    return list(found.values())
