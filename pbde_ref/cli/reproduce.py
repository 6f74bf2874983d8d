"""Train the paper's experiments again, and set the exact optimum beside each.

Finished pieces are kept in the folder of results: what was interrupted is taken up where it was.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pbde_ref.cli.arguments import add_workers, output_path, table, whole, workers_of
from pbde_ref.experiments.language import settings as language_settings
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Reporter, execute, execute_all
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
        "target", metavar="TARGET", nargs="+", choices=["toy", "language", *FIGURES],
        help=f"toy (all univariate figures), language (Table 2 and Fig. 6), or: {', '.join(FIGURES)}",
    )  # fmt: skip
    parser.add_argument(
        "--preset", metavar="NAME",
        help=f"where the settings come from: {', '.join(PRESETS['toy'])} [paper]; language: "
        f"{', '.join(PRESETS['language'])} [laptop; paper with --checkpoints]; paper is for --corpus or --checkpoints",
    )  # fmt: skip
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[],
                        help="change a setting, numbers or lists as 1,4,16; repeatable; all is computed again")
    parser.add_argument("--seed", metavar="N", type=whole(0, 2**32 - 1), help="seed of all randomness [0]")
    parser.add_argument("--seeds", metavar="N", type=whole(1, 100), default=1,
                        help="language: train with so many seeds, a folder each, and show the spread [1]")
    parser.add_argument("--out", metavar="DIR", help="folder of results [reproduction/TARGET-PRESET]")
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
    language = "language" in options.target
    if language and len(options.target) > 1:
        raise ValueError(f"`language` must be the only target; got {' '.join(options.target)}")
    if not language and (options.corpus or options.checkpoints or options.seeds > 1):
        raise ValueError("--corpus, --checkpoints and --seeds are for the target language")
    known = PRESETS["language" if language else "toy"]
    options.preset = options.preset or ("paper" if options.checkpoints else known[0])
    if options.preset not in known:
        raise ValueError(f"--preset must be one of {', '.join(known)} here; got {options.preset!r}")
    options.out = Path(options.out or f"reproduction/{'language' if language else 'toy'}-{options.preset}")
    # Language models use threads of their own.
    options.workers = options.workers or (1 if language else own_cores())
    return _language(options) if language else _toy(options)


def _toy(options: argparse.Namespace) -> int:
    # autograd and Matplotlib are wanted by this command alone.
    from pbde_ref.cli.pages.univariate import HEADERS, gallery_page, rows_of
    from pbde_ref.figures.saving import save_figure
    from pbde_ref.figures.toy import draw_toy_figure

    figures = [name for name in FIGURES if "toy" in options.target or name in options.target]
    settings = toy_settings.preset(options.preset, **_changes(options, toy_settings.ToySettings))
    runs = runs_of(figures, settings)
    if options.show_settings:
        return _show(options, settings, runs)
    with RunReporter() as reporter, workers_of(options) as executor:
        records = execute(
            runs, settings, options.out / "runs", identity=asdict(settings), executor=executor, reporter=reporter
        )
    for name in figures:
        save_figure(draw_toy_figure(name, records, settings), options.out / f"{name}.{options.format}")
    page = gallery_page(records, figures, _command(options), settings, options.format)
    write_atomically(options.out / "README.md", page.encode())
    print(table(rows_of(records, list(records)), HEADERS, colalign=["left"] + ["right"] * 7))
    print(f"\n{len(figures)} figures and their page: {options.out / 'README.md'}")
    return _finish(options, settings, records)


def _language(options: argparse.Namespace) -> int:
    from pbde_ref.cli.pages.language import seeds_page
    from pbde_ref.experiments.language import catalogue
    from pbde_ref.experiments.language.seeds import seed_headers, seed_rows

    settings = _workplace(options).settings
    if options.show_settings:
        return _show(options, settings, catalogue.runs(_workplace(options)))
    seeds = {settings.seed: options}
    if options.seeds > 1:
        for seed in range(settings.seed, settings.seed + options.seeds):
            # The last change of a setting counts.
            changes = {"set": [*options.set, f"seed={seed}"], "out": options.out / f"seed-{seed}", "json": None}
            seeds[seed] = argparse.Namespace(**{**vars(options), **changes})
    name = "seed-{}" if options.seeds > 1 else ""
    experiments = [catalogue.experiment(_workplace(each), name.format(seed)) for seed, each in seeds.items()]
    with workers_of(options) as executor, RunReporter(bar=executor != 1) as reporter:
        found = execute_all(experiments, executor=executor, reporter=reporter)
    for each, records in zip(seeds.values(), found, strict=True):
        _show_language(each, records)
    if len(seeds) == 1:
        return _finish(options, settings, found[0])
    by_seed = dict(zip(seeds, found, strict=True))
    write_atomically(options.out / "README.md", seeds_page(by_seed, _command(options)).encode())
    print("\n" + table(seed_rows(by_seed), seed_headers(by_seed)))
    print(f"\nThe page: {options.out / 'README.md'}")
    return _finish(options, settings, {f"seed-{s}/{n}": r for s, runs in by_seed.items() for n, r in runs.items()})


def _workplace(options: argparse.Namespace) -> language_settings.Workplace:
    settings = language_settings.preset(options.preset, **_changes(options, language_settings.LanguageSettings))
    return language_settings.Workplace(settings, options.out / "runs", options.corpus, options.checkpoints)


def _show_language(options: argparse.Namespace, records: dict[str, Record]) -> None:
    """Figure, page and tables of one seed."""
    from pbde_ref.cli.pages import language as pages
    from pbde_ref.figures.language import draw_figure_6
    from pbde_ref.figures.saving import save_figure

    image = f"figure-6.{options.format}"
    save_figure(draw_figure_6(records), options.out / image)
    write_atomically(options.out / "README.md", pages.language_page(records, _command(options), image).encode())
    print(table(pages.table_2_rows(records), ["annotator", "rule", "S ≻ M", "S ≻ L", "M ≻ L"]))
    print()
    print(table(pages.length_rows(records), ["sentences from", "short", "medium", "long", "no end"]))
    print()
    print("\n".join(pages.findings_text(records)))
    print(f"\nThe page: {options.out / 'README.md'}")


def _command(options: argparse.Namespace) -> str:
    """The command as it could be given again; of the user's files and folders only the names are shown."""
    words = ["pbde-ref", "reproduce", *options.target, "--preset", options.preset]
    words += [] if options.seed is None else ["--seed", str(options.seed)]
    words += [] if options.seeds == 1 else ["--seeds", str(options.seeds)]
    words += [word for change in options.set for word in ("--set", change)]
    for option in ("corpus", "checkpoints"):
        value = getattr(options, option)
        words += [f"--{option}", Path(value).name] if value else []
    return shlex.join(words)


def _changes(options: argparse.Namespace, kind: Any) -> dict[str, Any]:
    """Settings from the command line, each of the type that it has."""
    types: dict[str, Any] = {f.name: _CONVERTERS.get(str(f.type), str) for f in fields(kind)}
    changes: dict[str, Any] = {} if options.seed is None else {"seed": options.seed}
    for text in options.set:
        name, separator, value = text.partition("=")
        if not separator or name not in types:
            raise ValueError(f"--set must be NAME=VALUE with NAME one of {', '.join(types)}; got {text!r}")
        try:
            changes[name] = types[name](value)
        except ValueError:
            wanted = {int: "a whole number", float: "a number"}.get(types[name], "numbers with commas between them")
            raise ValueError(f"--set {name} must be {wanted}; got {value!r}") from None
    return changes


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


_CONVERTERS: dict[str, Any] = {"int": int, "float": float, "tuple[float, ...]": _numbers}


def _show(options: argparse.Namespace, settings: Any, runs: list[Any]) -> int:
    print(f"{', '.join(options.target)}: {len(runs)} runs, results in {options.out}\n")
    print(table([[name, str(value)] for name, value in asdict(settings).items()], ["setting", options.preset]))
    rows = [[r.name, f"{r.steps:,}" if r.steps > 1 else "", ", ".join(r.needs)] for r in runs]
    print("\n" + table(rows, ["run", "steps", "needs"]))
    return 0


def _finish(options: argparse.Namespace, settings: Any, records: Mapping[str, Record]) -> int:
    if options.json:
        numbers = {name: dict(record.numbers) for name, record in records.items()}
        write_json(options.json, {"version": version("pbde-ref"), "settings": asdict(settings), "runs": numbers})
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
