"""Measure what losses, samplers and fits cost."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pbde_ref.benchmarking.brought import Brought, loss_called, measure_brought, wrong_values
from pbde_ref.benchmarking.comparison import as_table, compare
from pbde_ref.benchmarking.contests import SUITES
from pbde_ref.benchmarking.documents import put_between_marks, split_at_marks
from pbde_ref.benchmarking.results import Report
from pbde_ref.benchmarking.runner import run_suites
from pbde_ref.benchmarking.scaling import scaling_series
from pbde_ref.benchmarking.tables import as_markdown, as_text
from pbde_ref.benchmarking.targets import judge
from pbde_ref.benchmarking.timing import QUICK, THOROUGH
from pbde_ref.cli.arguments import output_path, real, whole, words
from pbde_ref.files import read_json, write_json
from pbde_ref.foreign import Reached, ask_child
from pbde_ref.oracle.calling.naming import subject_named

__all__ = ["add_arguments", "measure_there", "run"]

SIZES = (64, 1024, 16_384, 262_144)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``pbde-ref bench``."""
    parser.description = (
        "Measure this package beside NumPy, PyTorch, choix and evalica, whichever is installed: contenders take turns "
        "in one process, ratios are of the same round, memory is measured in processes of its own. With "
        "--function, measure a batch loss of yours beside this package's and check its value; exit status 1 if it is "
        "another one."
    )
    parser.add_argument("--suite", metavar="A,B", type=words(SUITES, "suite"),
                        help=f"only these of: {', '.join(SUITES)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small sizes, a minute instead of a quarter of an hour")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="measure times only")
    parser.add_argument("--json", metavar="PATH", type=output_path(), help="also write every number there")
    parser.add_argument("--markdown", metavar="PATH", type=output_path(),
                        help="also put the tables there, between the marks of that file")  # fmt: skip
    parser.add_argument("--plot", metavar="PATH", type=output_path(".png", ".pdf", ".svg", pictures=True),
                        help="also draw time against n there (PNG, PDF or SVG)")  # fmt: skip
    parser.add_argument("--compare", metavar="OLD.json", nargs="+",
                        help="say what became slower since; of two, between them, measuring nothing")  # fmt: skip
    brought = parser.add_argument_group("a loss of yours")
    brought.add_argument("--function", metavar="MODULE:LOSS", help="called like pbde_ref.losses' own")
    brought.add_argument("--loss", metavar="NAME", help="which loss it is, if its name does not say")
    brought.add_argument("--set", metavar="NAME=X", dest="parameters", type=_setting, action="append", default=[],
                         help="a hyperparameter, such as beta=0.1")  # fmt: skip
    brought.add_argument("--sizes", metavar="N,M", type=_sizes, default=SIZES, help="of batches [64,...,262144]")
    brought.add_argument("--framework", choices=("auto", "numpy", "torch"), default="auto", help="its arrays' [auto]")
    brought.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="its arrays' [float64]")
    brought.add_argument("--timeout", type=whole(1, 10**6), default=3600, metavar="SECONDS",
                         help="after which its process is ended [3600]")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for."""
    if options.markdown:
        split_at_marks(options.markdown)
    reports = [_report(path) for path in options.compare or ()]
    if len(reports) > 2 or (reports and options.function):
        raise ValueError("--compare takes one report, or two, and no --function")
    if len(reports) == 2:
        return _compared(reports[1], reports[0])
    wrong: list[str] = []
    report: Report | None
    if options.function is None:
        suites = list(SUITES) if options.suite is None else options.suite
        report = run_suites(suites, "quick" if options.quick else "full", memory=options.memory)
    elif options.suite is not None:
        raise ValueError("--function is measured by itself; --suite does not go with it")
    else:
        report, wrong = _brought(options)
    if report is not None:
        print(as_text(report))
    for line in wrong:
        print(f"\nWRONG  {line}")
    if report is not None:
        _write(report, options)
    if report is not None and reports:
        print()
        return _compared(report, reports[0])
    return 1 if wrong else 0


def _report(path: str) -> Report:
    try:
        content = read_json(path)
    except OSError as error:
        raise ValueError(f"--compare must name a file that can be read: {error.strerror}: {path!r:.200}") from None
    try:
        return Report.from_dict(content)
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"--compare must name a report of `bench --json`; got {path!r:.200}") from None


def _compared(now: Report, before: Report) -> int:
    found = compare(now, before)
    print(as_table(found))
    return int(any(change.verdict == "slower" for change in found.changes))


def _brought(options: argparse.Namespace) -> tuple[Report | None, list[str]]:
    """What was measured in a process of its own, and what is wrong with it."""
    names = ("function", "parameters", "sizes", "framework", "dtype", "quick")
    request = {name: getattr(options, name) for name in names}
    request["loss"] = options.loss or loss_called(options.function)
    answer = ask_child("pbde_ref.cli.bench:measure_there", request, timeout=options.timeout)
    for note in answer.notes:
        print(f"{options.function} {note}", file=sys.stderr)
    if answer.refused:
        raise ValueError(answer.refused)
    if answer.fault:
        return None, [f"{options.function}: {answer.fault}"]
    report = Report.from_dict(answer.value)
    return report, wrong_values(report, options.dtype)


def measure_there(request: Mapping[str, Any], reached: Reached) -> dict[str, Any]:
    """Measure the function that was brought, in the process that has been started for it.

    Parameters
    ----------
    request : mapping
        The options ``function``, ``loss``, ``parameters``, ``sizes``, ``framework``, ``dtype`` and ``quick``.
    reached : callable
        Told what comes next.

    Returns
    -------
    dict
        The report, as JSON has it.
    """
    reached("while its module was imported")
    function = subject_named(request["function"])
    reached("while it was measured")
    brought = Brought(request["function"], function, request["loss"], dict(request["parameters"]),
                      request["framework"], request["dtype"])  # fmt: skip
    return measure_brought(brought, request["sizes"], QUICK if request["quick"] else THOROUGH).as_dict()


def _write(report: Report, options: argparse.Namespace) -> None:
    if options.json:
        targets = [asdict(judgement.target) | {"measured": judgement.measured, "met": judgement.met}
                   for judgement in judge(report)]  # fmt: skip
        write_json(options.json, report.as_dict() | {"targets": targets})
    if options.markdown:
        put_between_marks(options.markdown, as_markdown(report))
    if options.plot:
        from pbde_ref.figures import save_figure
        from pbde_ref.figures.scaling import draw_scaling

        save_figure(draw_scaling(scaling_series(report.measurements)), options.plot)


def _sizes(text: str) -> list[int]:
    return [whole(1, 2**40)(part) for part in text.split(",")]


def _setting(text: str) -> tuple[str, float]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"must be a name, = and a number; got {text!r}")
    return name, real(value)
