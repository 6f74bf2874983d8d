"""Train the paper's experiments again, and set the exact optimum beside each.

Finished pieces are kept in the folder of results: what was interrupted is taken up where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pbde_ref.cli.arguments import add_workers, output_path, table, whole, workers_of
from pbde_ref.experiments.language import settings as language_settings
from pbde_ref.experiments.language.settings import TARGETS as LANGUAGE_TARGETS
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Reporter, execute, execute_all, runs_folder
from pbde_ref.experiments.toy import settings as toy_settings
from pbde_ref.experiments.toy.catalogue import FIGURES, runs_of
from pbde_ref.files import write_atomically, write_json
from pbde_ref.threads import own_cores

__all__ = ["RunReporter", "add_arguments", "run"]

PRESETS = {"toy": tuple(toy_settings.PRESETS), "language": tuple(language_settings.PRESETS)}
FORMATS = ("png", "pdf", "svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``pbde-ref reproduce``."""
    parser.description = (
        "Train the paper's experiments again, draw their figures with the exact optimum beside what was trained, and "
        "write a page of them. Finished pieces are kept: an interrupted command goes on where it was, without what its "
        "processes were at. Language models use threads; more than one process is for several --seeds."
    )
    parser.add_argument(
        "target", metavar="TARGET", nargs="+", choices=["toy", *LANGUAGE_TARGETS, *FIGURES],
        help=f"toy (all univariate figures), language (table-2 and figure-6), {', '.join(list(LANGUAGE_TARGETS)[1:])}, "
        f"or: {', '.join(FIGURES)}",
    )  # fmt: skip
    parser.add_argument(
        "--preset", metavar="NAME",
        help=f"where the settings come from: {', '.join(PRESETS['toy'])} [paper]; language: "
        f"{', '.join(PRESETS['language'])} [laptop; paper with --checkpoints]; paper is for --corpus or --checkpoints",
    )  # fmt: skip
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[],
                        help="change a setting, numbers or lists as 1,4,16; repeatable; all is computed again")
    parser.add_argument(
        "--annotator", metavar="SPEC", action="append", default=[],
        help="univariate figures: who answers, WEIGHT:normal(MEAN,DEVIATION) for each, instead of Eq. (10)",
    )  # fmt: skip
    parser.add_argument("--seed", metavar="N", type=whole(0, 2**32 - 1), help="seed of all randomness [0]")
    parser.add_argument("--seeds", metavar="N", type=whole(1, 100), default=1,
                        help="language: train with so many seeds, a folder each, and show the spread [1]")
    parser.add_argument(
        "--out", metavar="DIR", type=output_path(folder=True),
        help="folder of results; of several targets, one in it for each [reproduction/TARGET-PRESET, with a digest of "
        "what was changed]",
    )  # fmt: skip
    add_workers(parser, None, "--jobs")
    parser.add_argument("--corpus", metavar="PATH", help="language: LM1B, or a file with a sentence a line")
    parser.add_argument(
        "--checkpoints", metavar="DIR", help="language: finished models whole, short, long with their "
        "sentencepiece_model, or a *.model beside them; no training",
    )
    parser.add_argument("--format", choices=FORMATS, default="png", help="of the figures [png]")
    parser.add_argument("--json", metavar="PATH", type=output_path(), help="also write all settings and numbers there")
    parser.add_argument("--show-settings", action="store_true", help="say what would run, and stop")


def run(options: argparse.Namespace) -> int:
    """Run, draw, print."""
    language = options.target[0] in LANGUAGE_TARGETS
    if any((target in LANGUAGE_TARGETS) != language for target in options.target):
        raise ValueError(f"`{options.target[0]}` must be given without univariate figures and these without it; "
                         f"got {' '.join(options.target)}")  # fmt: skip
    if language and options.annotator:
        raise ValueError("--annotator is for univariate figures")
    if not language and (options.corpus or options.checkpoints or options.seeds > 1):
        raise ValueError("--corpus, --checkpoints and --seeds are for the target language")
    known = PRESETS["language" if language else "toy"]
    options.preset = options.preset or ("paper" if options.checkpoints else known[0])
    if options.preset not in known:
        raise ValueError(f"--preset must be one of {', '.join(known)} here; got {options.preset!r}")
    kind = language_settings if language else toy_settings
    settings = kind.preset(options.preset, **_changes(options, type(kind.PRESETS[options.preset])))
    changed: tuple[str, ...] = () if settings == kind.PRESETS[options.preset] else (str(settings),)
    changed += tuple(str(Path(path).resolve()) for path in (options.corpus, options.checkpoints) if path)
    digest = f"-{hashlib.sha256(repr(changed).encode()).hexdigest()[:8]}" if changed else ""
    single = bool(options.out) and len(options.target) == 1
    base = Path(options.out or "reproduction")
    folders = {t: base if single else base / f"{t}-{options.preset}{digest}" for t in dict.fromkeys(options.target)}
    # Language models use threads of their own.
    options.workers = options.workers or (1 if language else own_cores())
    work = _language if language else _toy
    if options.show_settings:
        return work(options, settings, options.target[0], folders[options.target[0]], base / "runs")[0]
    records, status = dict[str, Record](), 0
    for target, folder in folders.items():
        failed, found = work(options, settings, target, folder, base / "runs")
        records, status = records | found, max(status, failed)
    if options.json:
        numbers = {name: dict(record.numbers) for name, record in records.items()}
        write_json(options.json, {"version": version("pbde-ref"), "settings": asdict(settings), "runs": numbers})
    return status


def _toy(
    options: argparse.Namespace, settings: Any, target: str, folder: Path, kept: Path
) -> tuple[int, dict[str, Record]]:
    """The exit status, and all records."""
    # autograd and Matplotlib are wanted by this command alone.
    from pbde_ref.cli.pages.univariate import HEADERS, gallery_page, rows_of
    from pbde_ref.figures.saving import save_figure
    from pbde_ref.figures.toy import draw_toy_figure

    figures = [name for name in FIGURES if target in ("toy", name)]
    runs, identity = runs_of(figures, settings), asdict(settings)
    if options.show_settings:
        return _show(options, settings, runs, folder), {}
    with RunReporter() as reporter, workers_of(options) as executor:
        records = execute(
            runs, settings, runs_folder(kept, identity), identity=identity, executor=executor, reporter=reporter
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in figures:
        save_figure(draw_toy_figure(name, records, settings), folder / f"{name}.{options.format}")
    page = gallery_page(records, figures, _command(options, target), settings, options.format)
    write_atomically(folder / "README.md", page.encode())
    if rows := rows_of(records, list(records)):
        print(table(rows, HEADERS, colalign=["left"] + ["right"] * 7) + "\n")
    print(f"{len(figures)} figures and their page: {folder / 'README.md'}")
    return _diverging(records), records


def _language(
    options: argparse.Namespace, settings: Any, target: str, folder: Path, kept: Path
) -> tuple[int, dict[str, Record]]:
    """The same for one seed, or several."""
    from pbde_ref.cli.pages.language import seeds_page
    from pbde_ref.experiments.language import catalogue
    from pbde_ref.experiments.language.seeds import seed_headers, seed_rows

    names = LANGUAGE_TARGETS[target]
    if options.show_settings:
        place = language_settings.Workplace(settings, kept, options.corpus, options.checkpoints)
        return _show(options, settings, catalogue.runs(place, names), folder), {}
    several = options.seeds > 1
    seeds = range(settings.seed, settings.seed + options.seeds)
    experiments = []
    for seed in seeds:
        mine = replace(settings, seed=seed)
        place = language_settings.Workplace(mine, kept, options.corpus, options.checkpoints)
        experiments.append(catalogue.experiment(place, names, f"seed-{seed}" if several else ""))
    with workers_of(options) as executor, RunReporter(bar=executor != 1) as reporter:
        found = dict(zip(seeds, execute_all(experiments, executor=executor, reporter=reporter), strict=True))
    for seed, records in found.items():
        one = argparse.Namespace(**{**vars(options), "seed": seed, "seeds": 1}) if several else options
        _show_language(records, _command(one, target), folder / f"seed-{seed}" if several else folder, options.format)
    status = max(map(_diverging, found.values()))
    if not several:
        return status, found[settings.seed]
    write_atomically(folder / "README.md", seeds_page(found, _command(options, target)).encode())
    print("\n" + table(seed_rows(found), seed_headers(found)))
    print(f"\nThe page: {folder / 'README.md'}")
    return status, {f"seed-{s}/{n}": r for s, runs in found.items() for n, r in runs.items()}


def _show_language(records: dict[str, Record], command: str, folder: Path, ending: str) -> None:
    """Figure, page and tables of one seed."""
    from pbde_ref.cli.pages import language as pages
    from pbde_ref.figures.language import draw_figure_6
    from pbde_ref.figures.saving import save_figure

    image = f"figure-6.{ending}"
    folder.mkdir(parents=True, exist_ok=True)
    if pages.has_figure_6(records):
        save_figure(draw_figure_6(records), folder / image)
    write_atomically(folder / "README.md", pages.language_page(records, command, image).encode())
    print(pages.language_summary(records))
    print(f"\nThe page: {folder / 'README.md'}")


def _command(options: argparse.Namespace, target: str) -> str:
    """The command as it could be given again; of the user's files and folders only the names are shown."""
    words = ["pbde-ref", "reproduce", target, "--preset", options.preset]
    words += [] if options.seed is None else ["--seed", str(options.seed)]
    words += [] if options.seeds == 1 else ["--seeds", str(options.seeds)]
    words += [word for change in options.set for word in ("--set", change)]
    words += [word for spec in options.annotator for word in ("--annotator", spec)]
    for option in ("corpus", "checkpoints"):
        value = getattr(options, option)
        words += [f"--{option}", Path(value).name] if value else []
    return shlex.join(words)


def _changes(options: argparse.Namespace, kind: Any) -> dict[str, Any]:
    """Settings from the command line, each of the type that it has."""
    types: dict[str, Any] = {f.name: _CONVERTERS.get(str(f.type), str) for f in fields(kind) if f.name != "annotators"}
    changes: dict[str, Any] = {"annotators": tuple(options.annotator)} if options.annotator else {}
    for text in options.set:
        name, separator, value = text.partition("=")
        if not separator or name not in types:
            raise ValueError(f"--set must be NAME=VALUE with NAME one of {', '.join(types)}; got {text!r}")
        try:
            changes[name] = types[name](value)
        except ValueError:
            wanted = {int: "a whole number", float: "a number"}.get(types[name], "numbers with commas between them")
            raise ValueError(f"--set {name} must be {wanted}; got {value!r}") from None
    return changes if options.seed is None else changes | {"seed": options.seed}


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


_CONVERTERS: dict[str, Any] = {"int": int, "float": float, "tuple[float, ...]": _numbers}


def _show(options: argparse.Namespace, settings: Any, runs: list[Any], folder: Path) -> int:
    print(f"{', '.join(options.target)}: {len(runs)} runs, results in {folder}\n")
    print(table([[name, str(value)] for name, value in asdict(settings).items()], ["setting", options.preset]))
    rows = [[r.name, f"{r.steps:,}" if r.steps > 1 else "", ", ".join(r.needs)] for r in runs]
    print("\n" + table(rows, ["run", "steps", "needs"]))
    return 0


def _diverging(records: Mapping[str, Record]) -> int:
    """1 if a training diverged, which is said; 0 otherwise."""
    diverged = [record for record in records.values() if _diverged(record)]
    for record in diverged:
        first, last = record.arrays["losses"][[0, -1]]
        print(f"{record.name}: training diverged, its loss went from {first:.4g} to {last:.4g}", file=sys.stderr)
    return 1 if diverged else 0


def _diverged(record: Record) -> bool:
    """Whether training ended far above where it began; noise alone does not lead there."""
    losses = record.arrays.get("losses")
    return losses is not None and losses.size > 0 and not losses[-1] <= losses[0] + max(1.0, abs(float(losses[0])))


class RunReporter(Reporter):
    """A line on stderr for each run that ends, and one bar for all, unless runs have bars of their own."""

    def __init__(self, *, bar: bool = True, lines: bool = True) -> None:
        self._wanted, self._lines = bar, lines
        self._bar: tqdm[object] | None = None
        self._start = time.monotonic()

    def __enter__(self) -> RunReporter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def start(self, steps: int) -> None:
        """Show the bar."""
        if steps and self._wanted:
            self._bar = tqdm(total=steps, unit="step", unit_scale=True, disable=None, leave=False, file=sys.stderr)

    def advance(self, name: str, steps: int, loss: float) -> None:
        """Move it."""
        if self._bar is not None:
            self._bar.update(steps)
            if loss == loss:
                self._bar.set_postfix_str(f"{name}, loss {loss:.4f}", refresh=False)

    def finished(self, record: Record) -> None:
        """Say so, with the time since the command began."""
        loss = record.numbers.get("loss.trained.sample", record.numbers.get("held_out_loss"))
        said = "" if loss is None else f"loss {loss:.4f}, "
        self._say(f"{record.name}: {said}done after {time.monotonic() - self._start:.0f} s")

    def kept(self, name: str) -> None:
        """Say so."""
        self._say(f"{name}: found finished")

    def outdated(self, name: str) -> None:
        """Say so."""
        self._say(f"{name}: found of another run (settings, version, sources) or damaged, computed again")

    def _say(self, text: str) -> None:
        if self._lines:
            tqdm.write(text, file=sys.stderr)
