"""Measure what losses, samplers and fits cost."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict

from pbde_ref.benchmarking.brought import Brought, loss_called, measure_brought, wrong_values
from pbde_ref.benchmarking.contests import SUITES
from pbde_ref.benchmarking.documents import check_writable, put_between_marks, split_at_marks
from pbde_ref.benchmarking.results import Report
from pbde_ref.benchmarking.runner import run_suites
from pbde_ref.benchmarking.scaling import scaling_series
from pbde_ref.benchmarking.tables import as_markdown, as_text
from pbde_ref.benchmarking.targets import judge
from pbde_ref.benchmarking.timing import QUICK, THOROUGH
from pbde_ref.cli.check import subject_named
from pbde_ref.files import write_json

__all__ = ["add_arguments", "run"]

SIZES = (64, 1024, 16_384, 262_144)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``pbde-ref bench``."""
    parser.description = (
        "Measure this package beside NumPy, PyTorch, choix and evalica, whichever is installed: contenders take turns "
        "in one process, ratios are of the same round, memory is measured in processes of its own. With "
        "--function, measure a batch loss of yours beside this package's and check its value; exit status 1 if it is "
        "another one."
    )
    parser.add_argument("--suite", metavar="A,B", type=_suites, help=f"only these of: {', '.join(SUITES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, a minute instead of a quarter of an hour")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="measure times only")
    parser.add_argument("--json", metavar="PATH", help="also write every number there")
    parser.add_argument("--markdown", metavar="PATH", help="also put the tables there, between the marks of that file")
    parser.add_argument("--plot", metavar="PATH", help="also draw time against n there (PNG, PDF or SVG)")
    brought = parser.add_argument_group("a loss of yours")
    brought.add_argument("--function", metavar="MODULE:LOSS", help="called like pbde_ref.losses' own")
    brought.add_argument("--loss", metavar="NAME", help="which loss it is, if its name does not say")
    brought.add_argument("--set", metavar="NAME=X", dest="parameters", type=_setting, action="append", default=[],
                         help="a hyperparameter, such as beta=0.1")  # fmt: skip
    brought.add_argument("--sizes", metavar="N,M", type=_sizes, default=SIZES, help="of batches [64,...,262144]")
    brought.add_argument("--framework", choices=("auto", "numpy", "torch"), default="auto", help="its arrays' [auto]")
    brought.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="its arrays' [float64]")


def run(options: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for."""
    _check_paths(options)
    wrong: list[str] = []
    if options.function is None:
        suites = list(SUITES) if options.suite is None else options.suite
        report = run_suites(suites, "quick" if options.quick else "full", memory=options.memory)
    elif options.suite is not None:
        raise ValueError("--function is measured by itself; --suite does not go with it")
    else:
        report, wrong = _brought(options)
    print(as_text(report))
    for line in wrong:
        print(f"\nWRONG  {line}")
    _write(report, options)
    return 1 if wrong else 0


def _brought(options: argparse.Namespace) -> tuple[Report, list[str]]:
    loss = options.loss or loss_called(options.function)
    function, parameters = subject_named(options.function), dict(options.parameters)
    brought = Brought(options.function, function, loss, parameters, options.framework, options.dtype)
    report = measure_brought(brought, options.sizes, QUICK if options.quick else THOROUGH)
    return report, wrong_values(report, options.dtype)


def _check_paths(options: argparse.Namespace) -> None:
    if options.json:
        check_writable(options.json)
    if options.plot:
        check_writable(options.plot, (".png", ".pdf", ".svg"))
    if options.markdown:
        check_writable(options.markdown)
        split_at_marks(options.markdown)


def _write(report: Report, options: argparse.Namespace) -> None:
    if options.json:
        targets = [asdict(judgement.target) | {"measured": judgement.measured, "met": judgement.met}
                   for judgement in judge(report)]  # fmt: skip
        write_json(options.json, report.as_dict() | {"targets": targets})
    if options.markdown:
        put_between_marks(options.markdown, as_markdown(report))
    if options.plot:
        from pbde_ref.benchmarking.scaling_plot import draw_scaling
        from pbde_ref.figures import save_figure

        save_figure(draw_scaling(scaling_series(report.measurements)), options.plot)


def _suites(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in SUITES:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(SUITES)}; got {name!r}")
    if not names:
        raise argparse.ArgumentTypeError("names no suite")
    return names


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be whole numbers with commas between; got {text!r}") from None
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"must be positive; got {min(sizes)}")
    return sizes


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a name, = and a number; got {text!r}")
    return name, number
