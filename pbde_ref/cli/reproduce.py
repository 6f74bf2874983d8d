"""Train the paper's experiments again, and set the exact optimum beside each.

Finished pieces are kept in the folder of results: what was interrupted is taken up where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from pbde_ref.cli.arguments import table, whole
from pbde_ref.experiments.records import Record
from pbde_ref.files import write_atomically, write_json

__all__ = ["add_arguments", "run"]

TOY = (
    "figure-1", "figure-2", "figure-3", "figure-4", "figure-5", "figure-7", "figure-8", "figure-9", "figure-10",
    "figure-11", "how-much-data",
)  # fmt: skip
PRESETS = ("paper", "notebook", "quick")
FORMATS = ("png", "pdf", "svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``pbde-ref reproduce``."""
    parser.description = (
        "Train the paper's univariate experiments again, draw their figures with the exact optimum beside what was "
        "trained, and write a page of them. Finished pieces are kept: an interrupted command goes on where it was."
    )
    parser.add_argument(
        "target", metavar="TARGET", nargs="+", choices=["toy", *TOY], help=f"toy (all), or: {', '.join(TOY)}"
    )
    parser.add_argument("--preset", choices=PRESETS, default="paper", help="where the settings come from [paper]")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="change a setting; repeatable")
    parser.add_argument("--seed", metavar="N", type=whole(0, 2**32 - 1), help="seed of all randomness [0]")
    parser.add_argument("--out", metavar="DIR", help="folder of results [reproduction/PRESET]")
    parser.add_argument(
        "--jobs", metavar="N", type=whole(1, 256), default=_processors(), help="processes [%(default)s]"
    )
    parser.add_argument("--format", choices=FORMATS, default="png", help="of the figures [png]")
    parser.add_argument("--json", metavar="PATH", help="also write all settings and numbers there")
    parser.add_argument("--show-settings", action="store_true", help="say what would run, and stop")


def run(options: argparse.Namespace) -> int:
    """Run, draw, print."""
    # autograd and Matplotlib are wanted by this command alone.
    from pbde_ref.experiments.runs import execute
    from pbde_ref.experiments.toy.catalogue import FIGURES, runs_of
    from pbde_ref.experiments.toy.gallery import HEADERS, gallery_page, rows_of
    from pbde_ref.experiments.toy.settings import preset
    from pbde_ref.figures.saving import save_figure
    from pbde_ref.figures.toy import draw_toy_figure

    figures = [name for name in FIGURES if "toy" in options.target or name in options.target]
    settings = preset(options.preset, **_changes(options))
    runs = runs_of(figures, settings)
    folder = Path(options.out or f"reproduction/{options.preset}")
    if options.show_settings:
        print(f"{', '.join(figures)}: {len(runs)} runs, results in {folder}\n")
        print(table([[name, str(value)] for name, value in asdict(settings).items()], ["setting", options.preset]))
        print("\n" + table([[r.name, f"{r.steps:,}", ", ".join(r.needs)] for r in runs], ["run", "steps", "needs"]))
        return 0
    reporter = _Reporter()
    records = execute(
        runs, settings, folder / "runs", identity=asdict(settings), jobs=options.jobs, reporter=reporter
    )
    reporter.close()
    for name in figures:
        save_figure(draw_toy_figure(name, records), folder / f"{name}.{options.format}")
    page = gallery_page(records, figures, options.preset, settings, options.format)
    write_atomically(folder / "README.md", page.encode())
    print(table(rows_of(records, list(records)), HEADERS, colalign=["left"] + ["right"] * 7))
    print(f"\n{len(figures)} figures and their page: {folder / 'README.md'}")
    if options.json:
        write_json(options.json, _document(records, asdict(settings)))
    return 0


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _changes(options: argparse.Namespace) -> dict[str, int | float | str]:
    """Settings from the command line, each of the type that it has."""
    from pbde_ref.experiments.toy.settings import ToySettings

    types = {field.name: {"int": int, "float": float}.get(str(field.type), str) for field in fields(ToySettings)}
    changes: dict[str, int | float | str] = {} if options.seed is None else {"seed": options.seed}
    for text in options.set:
        name, separator, value = text.partition("=")
        if not separator or name not in types:
            raise ValueError(f"--set must be NAME=VALUE with NAME one of {', '.join(types)}; got {text!r}")
        try:
            changes[name] = types[name](value)
        except ValueError:
            kind = {int: "a whole number", float: "a number"}[types[name]]
            raise ValueError(f"--set {name} must be {kind}; got {value!r}") from None
    return changes


def _document(records: dict[str, Record], settings: dict[str, object]) -> dict[str, object]:
    numbers = {name: dict(record.numbers) for name, record in records.items()}
    return {"version": version("pbde-ref"), "settings": settings, "runs": numbers}


class _Reporter:
    """One bar for all runs on stderr, and a line for each that ends."""

    def __init__(self) -> None:
        self._bar: tqdm[object] | None = None
        self._start = time.monotonic()

    def start(self, steps: int) -> None:
        """Show the bar."""
        if steps:
            self._bar = tqdm(total=steps, unit="step", unit_scale=True, disable=None, leave=False, file=sys.stderr)

    def advance(self, name: str, steps: int, loss: float) -> None:
        """Move it."""
        if self._bar is not None:
            self._bar.update(steps)
            if loss == loss:
                self._bar.set_postfix_str(f"{name}, loss {loss:.4f}", refresh=False)

    def finished(self, record: Record) -> None:
        """Say so, with the time since the command began."""
        loss = record.numbers.get("loss.trained.sample")
        said = "" if loss is None else f"loss {loss:.4f}, "
        self._say(f"{record.name}: {said}done after {time.monotonic() - self._start:.0f} s")

    def kept(self, name: str) -> None:
        """Say so."""
        self._say(f"{name}: found finished")

    def outdated(self, name: str) -> None:
        """Say so."""
        self._say(f"{name}: found with other settings or of another version, computed again")

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def _say(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)
