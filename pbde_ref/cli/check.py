"""Hold a loss function against its definition.

For example ``pbde-ref check package.module:function --loss dpo --beta 0.1``. The exit status is 0 if every function
passed, 1 if a check failed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from textwrap import fill
from typing import Any

from pbde_ref.catalogue import LOSSES, Parameter
from pbde_ref.cli.arguments import option_of, output_path, real, table, whole
from pbde_ref.files import write_atomically, write_json
from pbde_ref.foreign import Answer, Reached, ask_child
from pbde_ref.oracle.calling.naming import subject_named
from pbde_ref.oracle.conformance import conformance_table, junit_xml
from pbde_ref.oracle.entry import REDUCTION, check_loss, check_sequence_log_probs, check_sequence_rewards
from pbde_ref.oracle.reduction.check import check_reduction
from pbde_ref.oracle.reduction.parts import OVER
from pbde_ref.oracle.report import CheckResult, Report
from pbde_ref.oracle.rewards import SEQUENCE_REWARDS
from pbde_ref.oracle.sequences import SEQUENCE_LOG_PROBS
from pbde_ref.oracle.tolerances import DTYPES

__all__ = [
    "add_arguments", "add_outputs", "check_there", "compliance_table", "expected_failure", "report_on_each", "run",
]  # fmt: skip

_OTHERS = (SEQUENCE_LOG_PROBS.name, SEQUENCE_REWARDS.name, REDUCTION)
# Everything that some loss has to declare, in the order of the catalogue.
_PARAMETERS: dict[str, Parameter] = {
    **{n: p for record in (*LOSSES.values(), SEQUENCE_LOG_PROBS) for n, p in record.parameters.items()},
    "reduction": Parameter(("mean", "sum", "none"), "mean"),
}
_SIGNS = {"passed": "ok", "failed": "FAILED", "skipped": "-", "expected failure": "known", "unexpected pass": "ok?"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the subcommand takes.

    Examples
    --------
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["package.module:function", "--loss", "dpo", "--beta", "0.1"]).beta
    0.1
    """
    losses = [*LOSSES, *(alias for d in LOSSES.values() for alias in d.aliases), *_OTHERS]
    parser.add_argument("subjects", nargs="+", metavar="MODULE:FUNCTION", help="what to check; several make a table")
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument("--loss", choices=losses, metavar="LOSS", help=f"one of {', '.join(losses)}")
    against.add_argument("--objective", metavar="MODULE:FUNCTION",
                         help="or your own formula of a margin, or of two log-ratios")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="a number of your formula")
    conventions = parser.add_argument_group("what the function computes")
    for name, parameter in _PARAMETERS.items():
        option, said = option_of(name), _explained(name, parameter)
        if parameter.rule == "switch":
            negated = parameter.default is True
            conventions.add_argument(option_of("no_" * negated + name), dest=name, default=None, help=said,
                                     action="store_false" if negated else "store_true")  # fmt: skip
        elif parameter.rule == "margin":
            said += "; per_example for one of each pair"
            conventions.add_argument(option, dest=name, type=_margin, metavar="NUMBER", help=said)
        elif isinstance(parameter.rule, tuple):
            conventions.add_argument(option, dest=name, choices=parameter.rule, metavar="WORD", help=said)
        else:
            conventions.add_argument(option, dest=name, type=real, metavar="NUMBER", help=said)
    conventions.add_argument("--over", choices=tuple(OVER), help="a reduction: what the batch's loss is the mean over")
    conventions.add_argument("--across", choices=("mean", "sum"), help="a reduction: what becomes of ranks' gradients")
    calling = parser.add_argument_group("how it is called")
    calling.add_argument("--framework", choices=("auto", "numpy", "torch", "jax"), default="auto", help="[auto]")
    calling.add_argument("--dtype", choices=tuple(DTYPES), default="float64", help="[float64]")
    calling.add_argument("--no-gradients", dest="gradients", action="store_false", help="do not look at gradients")
    calling.add_argument("--returns-gradients", action="store_true", help="it returns (loss, gradients)")
    calling.add_argument("--detached-reference", action="store_true", help="it keeps gradients from the reference")
    calling.add_argument("--returns-rewards", action="store_true", help="it returns (loss, chosen, rejected rewards)")
    calling.add_argument("--expect-checks", type=int, metavar="N", help="how many checks must hold something")
    calling.add_argument("--random-search", type=int, default=0, metavar="N", help="look at N random batches too [0]")
    calling.add_argument("--seed", type=int, default=0, help="of the random search [0]")
    calling.add_argument("--expect", action="append", default=[], metavar="CHECK=REASON", help="a check known to fail")
    calling.add_argument("--timeout", type=whole(1, 10**6), default=600, metavar="SECONDS",
                         help="after which a subject's process is ended [600]")  # fmt: skip
    add_outputs(parser)


def _explained(name: str, parameter: Parameter) -> str:
    """A convention with an example, its default, and the losses that have it."""
    owners = [record.name for record in (*LOSSES.values(), SEQUENCE_LOG_PROBS) if name in record.parameters]
    of = f"of {', '.join(owners[:3])}{' …' * (len(owners) > 3)}" if owners else "of every loss"
    default = f" [{parameter.default}]" if parameter.default is not None else ""
    if parameter.rule == "switch":
        return of
    if isinstance(parameter.rule, tuple):
        return f"{', '.join(parameter.rule)}; {of}{default}"
    letter = f"{parameter.letter}, " * bool(parameter.letter)
    return f"{letter}as in {option_of(name)} {parameter.generic:g}; {of}{default}"


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Where reports are written beside the terminal."""
    parser.add_argument("--json", metavar="PATH", type=output_path(), help="also write the reports there")
    parser.add_argument("--junit", metavar="PATH", type=output_path(), help="also write them as JUnit's XML")
    parser.add_argument("--markdown", metavar="PATH", type=output_path(), help="also write a table for a README")


def run(options: argparse.Namespace) -> int:
    """Check every subject in a process of its own, print what was found, and return the exit status.

    Raises
    ------
    ValueError
        If a function cannot be found, or something is declared that the loss does not have; after the reports of the
        others.
    """
    return report_on_each(options, "pbde_ref.cli.check:check_there", lambda name, fault: Report(
        name, options.loss or options.objective, _declared(options), (CheckResult("process", "failed", fault),),
        options.framework, options.dtype,
    ))  # fmt: skip


def report_on_each(options: argparse.Namespace, task: str, broken: Callable[[str, str], Report]) -> int:
    """Run a task on every subject in a process of its own, print what came back, and return the exit status.

    `broken` makes the report on a subject, by its own name, whose process came to no end.
    """
    request = {name: value for name, value in vars(options).items() if name not in ("run", "command", "subjects")}
    answers = {
        name: ask_child(task, request | {"subject": name}, timeout=options.timeout)
        for name in dict.fromkeys(options.subjects)
    }
    reports = {name: _judged(name, answer, broken) for name, answer in answers.items() if not answer.refused}
    if len(answers) == 1:
        print(*reports.values(), sep="", end="\n" if reports else "")
    elif reports:
        print(compliance_table(reports))
    if options.json:
        write_json(options.json, {"reports": [report.as_dict() for report in reports.values()]})
    if options.junit:
        write_atomically(options.junit, junit_xml([*reports.values()]))
    if options.markdown:
        write_atomically(options.markdown, f"{conformance_table([*reports.values()])}\n".encode())
    refused = dict.fromkeys(answer.refused for answer in answers.values() if answer.refused)
    if refused:
        raise ValueError("; ".join(refused))
    return 0 if all(report.passed for report in reports.values()) else 1


def check_there(request: Mapping[str, Any], reached: Reached) -> dict[str, Any]:
    """Check one subject, in the process that has been started for it.

    Parameters
    ----------
    request : mapping
        The options, and the ``subject``.
    reached : callable
        Told what comes next.

    Returns
    -------
    dict
        The report, as JSON has it.
    """
    reached("while its module was imported")
    function = subject_named(request["subject"])
    reached("while it was checked")
    return _report(function, argparse.Namespace(**request)).as_dict()


def _judged(name: str, answer: Answer, broken: Callable[[str, str], Report]) -> Report:
    """The report that came back, or one that says why none did."""
    report, fault = None, answer.fault
    if not fault:
        try:
            report = Report.from_dict(answer.value)
        except (TypeError, ValueError, LookupError, AttributeError):
            fault = "it changed what became of its report"
    report = report or broken(name.rpartition(":")[2].rpartition(".")[2], fault)
    return replace(report, changes=(*report.changes, *answer.notes))


def compliance_table(reports: dict[str, Report]) -> str:
    """Checks by subject, then what each failing subject was diagnosed with."""
    names = list(dict.fromkeys(result.name for report in reports.values() for result in report.results))
    statuses_of = [{result.name: _SIGNS[result.status] for result in report.results} for report in reports.values()]
    rows = [[name, *(statuses.get(name, "-") for statuses in statuses_of)] for name in names]
    rows.append(["all", *("passed" if report.passed else "FAILED" for report in reports.values())])
    lines = [table(rows, ["check", *reports])]
    for name, report in reports.items():
        ended = [result.message for result in report.results if result.name == "process"]
        unseen = [f"not looked at: {note}" for note in report.notes]
        found = [*ended, *report.diagnoses, *unseen, *(f"note: it {change}" for change in report.changes)]
        lines += [f"\n{name}", *(fill(f"  - {line}", 80, subsequent_indent="    ") for line in found)] if found else []
    return "\n".join(lines)


def _report(function: Callable[..., Any], options: argparse.Namespace) -> Report:
    declared = _declared(options)
    parts = {name: getattr(options, name) for name in ("over", "across") if getattr(options, name) is not None}
    if options.loss == REDUCTION:
        return check_reduction(function, **declared, **parts, framework=options.framework, gradients=options.gradients,
                               seed=options.seed, on_failure="report")  # fmt: skip
    if parts:
        raise TypeError(f"--over and --across belong to {REDUCTION}; got --loss {options.loss}")
    passed_on = ("framework", "dtype", "gradients", "returns_gradients", "expect_checks")
    calling = {name: getattr(options, name) for name in passed_on} | {
        "on_failure": "report",
        "expected_failed_checks": dict(expected_failure(text) for text in options.expect),
    }
    if options.loss == SEQUENCE_LOG_PROBS.name:
        return check_sequence_log_probs(function, **declared, **calling)
    if "shift" in declared:
        raise TypeError(f"--no-shift belongs to {SEQUENCE_LOG_PROBS.name}; got --loss {options.loss}")
    if options.loss == SEQUENCE_REWARDS.name:
        return check_sequence_rewards(function, **declared, **calling)
    if options.objective:
        declared |= dict(_number(text) for text in options.set)
    elif options.set:
        raise TypeError(f"--set belongs to --objective; got --loss {options.loss}")
    objective = subject_named(options.objective) if options.objective else None
    return check_loss(
        function, options.loss, objective=objective, **declared, **calling, random_search=options.random_search,
        detached_reference=options.detached_reference, returns_rewards=options.returns_rewards, seed=options.seed,
    )  # fmt: skip


def _declared(options: argparse.Namespace) -> dict[str, Any]:
    # An option that is not given is None; 0 is a number like any other.
    return {name: getattr(options, name) for name in _PARAMETERS if getattr(options, name) is not None}


def _margin(text: str) -> float | str:
    return "per_example" if text in ("per_example", "per-example") else real(text)


def _number(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set must be given as NAME=NUMBER; got {text!r}")
    return name, real(value)


def expected_failure(text: str) -> tuple[str, str]:
    """A check's name and the reason why it is known to fail, from ``name=reason``."""
    name, _, reason = text.partition("=")
    return name, reason or "expected by the caller"
