"""Reports as plain tables and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from tabulate import tabulate

from pbde_ref.benchmarking.results import Measurement, Report
from pbde_ref.benchmarking.targets import judge

__all__ = ["as_markdown", "as_text", "duration", "machine_line", "number", "three_digits"]

# Columns of a terminal.
WIDTH = 80
RANGE = "min … max"
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def as_text(report: Report) -> str:
    """For a terminal."""
    parts = [machine_line(report.machine), *map(_filled, _warning(report))]
    for title, rows, headers in _tables(report.measurements):
        parts.append(f"{_filled(title)}\n\n{_for_terminal(rows, headers)}")
    return "\n\n".join([*parts, *_judgements(report, "simple"), *map(_filled, _skipped(report))])


def _filled(text: str) -> str:
    return textwrap.fill(text, WIDTH)


def _for_terminal(rows: list[list[str]], headers: list[str]) -> str:
    """A table; if it is too wide, with ranges below what they are ranges of, and then parameters below each other."""
    lines = [headers, *rows]
    ranges = [slice(place - 1, place + 1) for place, header in enumerate(headers) if header == RANGE]
    for below, widest in (([], None), (ranges, None), ([slice(0, headers.index(""))], 12)):
        for part in reversed(below):
            lines = [[*line[: part.start], "\n".join(filter(None, line[part])), *line[part.stop :]] for line in lines]
        widths = None if widest is None else [None, widest, *[None] * (len(lines[0]) - 2)]
        table = tabulate(lines[1:], lines[0], tablefmt="simple", disable_numparse=True, maxcolwidths=widths)
        if max(map(len, table.splitlines())) <= WIDTH:
            break
    return table


def as_markdown(report: Report) -> str:
    """For ``benchmarks/README.md``: first what was aimed at, then everything that was measured."""
    parts = [machine_line(report.machine), *_warning(report), *_judgements(report, "github")]
    for suite, members in groupby(report.measurements, key=lambda m: m.suite):
        parts.append(f"## {suite.replace('-', ' ').capitalize()}")
        for title, rows, headers in _tables(members):
            flat = [header.replace("\n", " ") for header in headers]
            parts.append(f"**{title}**\n\n{tabulate(rows, flat, tablefmt='github', disable_numparse=True)}")
    return "\n\n".join([*parts, *_skipped(report)]) + "\n"


def machine_line(found: Mapping[str, Any]) -> str:
    """The machine in two lines."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    load = " to ".join(str(found[name]) for name in ("load_average", "load_average_after") if name in found)
    limits = "".join(f", {name}={value}" for name, value in found["thread_limits"].items())
    memory = "" if found["memory_gib"] is None else f", {found['memory_gib']} GiB"
    return (
        f"{found['processor'] or 'unknown processor'}, {found['cores']} cores{memory}, {found['system']}, "
        f"load average {load}{limits}.\n{versions}."
    )


def duration(seconds: float) -> str:
    """Three digits and a unit.

    Examples
    --------
    >>> duration(0.01234), duration(61.0)
    ('12.3 ms', '61 s')
    """
    scale, unit = next(((s, u) for s, u in _UNITS if seconds >= s), _UNITS[-1])
    return f"{seconds / scale:.3g} {unit}"


def three_digits(value: float) -> str:
    """Without an exponent below a million.

    Examples
    --------
    >>> three_digits(0.98765), three_digits(6481.0), three_digits(123456789.0)
    ('0.988', '6480', '1.23e+08')
    """
    text = f"{value:.3g}"
    return f"{float(text):.0f}" if 1e3 <= value < 1e6 else text


def _range(low: float, high: float) -> str:
    return f"{three_digits(low)} … {three_digits(high)}"


def number(value: Any) -> str:
    """A parameter: powers of ten as such.

    Examples
    --------
    >>> number(10_000_000), number(4096), number("dpo")
    ('10^7', '4096', 'dpo')
    """
    if isinstance(value, int) and value >= 1000 and str(value).strip("0") == "1":
        return f"10^{len(str(value)) - 1}"
    return str(value)


def _tables(measurements: Iterable[Measurement]) -> Iterable[tuple[str, list[list[str]], list[str]]]:
    for _, group in groupby(measurements, key=lambda m: (m.suite, m.contest)):
        members = list(group)
        names = list(members[0].parameters)
        reference = members[0].reference
        compared = [f"times\n{_name(reference)}", RANGE] if reference else []
        tracked = list(dict.fromkeys(name for m in members for name in m.tracked))
        peak = any(m.peak_bytes is not None for m in members)
        accuracy = [_name(name).replace(" ", "\n") for name in tracked]
        headers = [*names, "", "time", RANGE, *compared, *accuracy, *(["memory"] if peak else [])]
        yield members[0].title, [_row(m, tracked, peak) for m in members], headers


def _row(m: Measurement, tracked: Sequence[str], peak: bool) -> list[str]:
    if not m.reference:
        ratio = []
    elif m.ratio is None or m.contender == m.reference:
        ratio = ["", ""]
    else:
        # Who wins in every round is said to.
        faster = " faster" if m.ratio.high < 1.0 else ""
        ratio = [f"{three_digits(m.ratio.median)}{faster}", _range(m.ratio.low, m.ratio.high)]
    accuracy = [f"{m.tracked[name]:.1e}" if name in m.tracked else "" for name in tracked]
    memory = [] if not peak else ["" if m.peak_bytes is None else f"{m.peak_bytes / 1e6:.3g} MB"]
    low, high = duration(m.time.low), duration(m.time.high)
    value, unit = low.split()
    times = f"{value if high.endswith(f' {unit}') else low} … {high}"
    parameters = [number(value) for value in m.parameters.values()]
    return [*parameters, _name(m.contender), duration(m.time.median), times, *ratio, *accuracy, *memory]


def _name(contender: str) -> str:
    return contender.replace("_", " ")


def _judgements(report: Report, style: str) -> list[str]:
    rows = [
        [j.target.statement, f"{j.target.sense} {j.target.show(j.target.bound)}", j.target.show(j.measured),
         "met" if j.met else "missed"]
        for j in judge(report)
    ]  # fmt: skip
    if not rows:
        return []
    # Only a terminal's lines end.
    wide = [42, None, None, None] if style == "simple" else None
    headers = ["aimed at", "bound", "measured", ""]
    return [tabulate(rows, headers, tablefmt=style, disable_numparse=True, maxcolwidths=wide)]


def _warning(report: Report) -> list[str]:
    load, cores = report.machine["load_average"], report.machine["cores"]
    # Measuring itself keeps the cores busy; what counts is what went on before.
    if load is None or load <= 0.5 * cores:
        return []
    return [f"The machine was busy with other work when this began (load average {load}): repeat it when it is quiet."]


def _skipped(report: Report) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for s in report.skipped:
        where = ", ".join(f"{name} = {number(value)}" for name, value in s.parameters.items())
        # What is not installed is not measured anywhere.
        at = "" if s.reason.endswith("not installed") else f" ({where})"
        reasons.setdefault(s.reason, []).append(f"{s.contest} {_name(s.contender)}{at}")
    return [f"Not measured, because {reason}: {'; '.join(dict.fromkeys(p))}." for reason, p in reasons.items()]
