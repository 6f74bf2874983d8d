"""Run an experiment over a grid of settings."""

from __future__ import annotations

import argparse
import importlib
import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import Any

from pbde_ref.cli.arguments import add_workers, output_path, table, workers_of
from pbde_ref.cli.reproduce import FORMATS, RunReporter
from pbde_ref.experiments.sweep import SUBJECTS, Subject, subject_of, sweep
from pbde_ref.files import check_writable
from pbde_ref.foreign import ask_child
from pbde_ref.oracle.calling.naming import subject_named

__all__ = ["add_arguments", "run"]

SHOWN_ROWS, SHOWN_COLUMNS = 20, 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``pbde-ref sweep``."""
    parser.description = (
        "Run an experiment at every point of a grid of settings, here, in processes or on a Dask cluster, and write "
        "one table, a row for each point (sweep.csv, and sweep.parquet if pyarrow is installed), and a figure. "
        "Finished points are kept: an interrupted command goes on where it was, and a larger grid takes them over."
    )
    parser.epilog = "experiments:\n" + "\n".join(f"  {name:15} {s.summary}" for name, s in SUBJECTS.items())
    parser.add_argument("experiment", metavar="NAME", help="one of the list below, or MODULE:FUNCTION, a function of "
                        "yours from settings by keyword to numbers by name")  # fmt: skip
    parser.add_argument("--over", metavar="SETTING=A,B", action="append", default=[],
                        help="values to take, whole numbers also as 0-9; repeatable")  # fmt: skip
    parser.add_argument("--set", metavar="SETTING=A", action="append", default=[], help="a value for all points")
    parser.add_argument("--show", metavar="NUMBER", help="what the figure shows [the table's first]")
    parser.add_argument("--out", metavar="DIR", type=output_path(folder=True), help="folder of results [sweep/NAME]")
    parser.add_argument("--format", choices=FORMATS, default="png", help="of the figure [png]")
    parser.add_argument("--show-settings", action="store_true", help="say what can be set, and stop")
    add_workers(parser)


def run(options: argparse.Namespace) -> int:
    """Sweep, write, draw, print."""
    name = options.experiment
    if name not in SUBJECTS and ":" not in name:
        raise ValueError(f"`EXPERIMENT` must be one of {', '.join(SUBJECTS)}, or MODULE:FUNCTION; got {name!r:.100}")
    subject = SUBJECTS[name] if name in SUBJECTS else subject_of(_loaded(name))
    if options.show_settings:
        empty = inspect.Parameter.empty
        print(fill(subject.summary, 80) + "\n")
        print(table([[n, "" if v is empty else str(v)] for n, v in subject.settings.items()], ["setting", "default"]))
        return 0
    over = dict(_values("--over", subject, text) for text in options.over)
    fixed = {name: values[0] for name, values in (_values("--set", subject, text, 1) for text in options.set)}
    out = Path(options.out or f"sweep/{name.replace(':', '-')}")
    out.mkdir(parents=True, exist_ok=True)
    check_writable(out / "sweep.csv")
    if over:
        importlib.import_module("matplotlib")
    with RunReporter(lines=False) as reporter, workers_of(options, name not in SUBJECTS) as executor:
        found = sweep(subject, over, out / "points", settings=fixed, executor=executor, reporter=reporter)
    path = found.write(out / "sweep")
    columns = [*found.varied, *found.numbers][:SHOWN_COLUMNS]
    rows = list(zip(*({**found.settings, **found.numbers}[name] for name in columns), strict=True))
    print(table([[_cell(value) for value in row] for row in rows[:SHOWN_ROWS]], columns))
    more = len(rows) - SHOWN_ROWS, len(found.varied) + len(found.numbers) - SHOWN_COLUMNS
    print(f"\n{len(rows)} points, {len(found.numbers)} numbers each: {path}" + (" has all" if max(more) > 0 else ""))
    if found.varied:
        from pbde_ref.figures import save_figure
        from pbde_ref.figures.sweep import draw_sweep

        if options.show and options.show not in found.numbers:
            raise ValueError(f"`--show` must be one of {', '.join(found.numbers)}; got {options.show!r:.100}")
        image = out / f"sweep.{options.format}"
        save_figure(draw_sweep(found, options.show or next(iter(found.numbers))), image)
        print(f"The figure: {image}")
    return 0


def _loaded(name: str) -> Callable[..., Any]:
    """A function of a module that a process of its own has survived loading."""
    answer = ask_child("pbde_ref.cli.sweep:load_there", name, timeout=math.inf)
    if answer.refused or answer.fault:
        raise ValueError(answer.refused or f"{name:.100} cannot be loaded: {answer.fault}")
    return subject_named(name)


def load_there(name: str, reached: Callable[[str], None]) -> None:
    """Task of `ask_child`: nothing, unless a function's module ends the process or cannot be loaded."""
    reached("while its module was imported")
    subject_named(name)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(option: str, subject: Subject, text: str, most: int | None = None) -> tuple[str, list[Any]]:
    """A setting's name and values, each of the type that it has."""
    name, separator, said = text.partition("=")
    if not separator or not name or (name not in subject.settings and not subject.open_ended):
        known = ", ".join(subject.settings)
        raise ValueError(f"`{option}` must be NAME=VALUE with NAME one of {known}; got {text!r:.100}")
    default = subject.settings.get(name, inspect.Parameter.empty)
    parts = said.split(",") if most is None else [said]
    values: list[Any] = []
    for part in parts:
        span = re.fullmatch(r"(\d+)-(\d+)", part) if most is None and not isinstance(default, str) else None
        values += range(int(span[1]), int(span[2]) + 1) if span else [_value(name, part, default)]
    return name, values


def _value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, tuple):
        default = default[0]
    if default is inspect.Parameter.empty or default is None:
        kinds: tuple[Any, ...] = (int, float, str)
    else:
        kinds = (type(default),)
    for kind in kinds:
        try:
            return {"True": True, "False": False}[text] if kind is bool else kind(text)
        except (ValueError, KeyError):
            continue
    wanted = {int: "a whole number", float: "a number", bool: "True or False"}[kinds[0]]
    raise ValueError(f"{name} must be {wanted}; got {text!r:.100}")
