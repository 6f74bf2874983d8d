r"""Reading comparisons from CSV, TSV and JSON lines, plain or gzipped, of any length."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pbde_ref.estimation.assembly import Assembler, Words
from pbde_ref.estimation.sources import FORMATS, SHOWN, DataError, Limits, open_text, rows_of
from pbde_ref.estimation.table import ComparisonTable, held_out_share
from pbde_ref.validation import shown

__all__ = ["read_comparisons"]

TIES = ("error", "half", "drop")


def read_comparisons(
    path: str | os.PathLike[str],
    *,
    left: str | None = None,
    right: str | None = None,
    winner: str | None = None,
    chosen: str | None = None,
    rejected: str | None = None,
    weight: str | None = None,
    annotator: str | None = None,
    ties: str = "error",
    left_wins: Sequence[str] = (),
    right_wins: Sequence[str] = (),
    tie_values: Sequence[str] = (),
    bad_lines: str = "error",
    held_out: float = 0.0,
    rng: Any = None,
    form: str | None = None,
    delimiter: str | None = None,
    quotes: bool = True,
    encoding: str | None = None,
    limits: Limits | None = None,
    progress: Callable[[int], object] | None = None,
) -> ComparisonTable:
    r"""Read comparisons from a file and add up equal ones, chunk by chunk.

    Memory is bounded by a chunk of 4,096 rows and the *different* comparisons of the file, not by its length.

    Parameters
    ----------
    path : str or path
        CSV, TSV or JSON lines; gzip is recognised. "-" reads standard input.
    left, right, winner : str, optional
        Names of the columns with the two items and with who won. The winner's cell holds the item's own name, or the
        name of its column, or "left"/"right" or "a"/"b"; a tie is "tie", "draw", "both", "equal" or anything that
        begins with "tie".
    chosen, rejected : str, optional
        Names of the columns with the winner and the loser, instead. Without any of the five, columns of exactly these
        names are looked for.
    weight : str, optional
        Column of how often a comparison happened: a non-negative number.
    annotator : str, optional
        Column of who made it.
    ties : {"error", "half", "drop"}
        "half" counts a tie as half a win of either side.
    left_wins, right_wins, tie_values : sequence of str
        What the winner's cell says, where it is none of the above. Values given here are looked at first.
    bad_lines : {"error", "skip"}
        Whether a line that is no comparison ends the reading, or is left out and counted.
    held_out : float
        Share of the rows, drawn at random, to mark as held out; in [0, 1).
    rng : numpy.random.Generator or seed, optional
        For `held_out`.
    form : {"csv", "tsv", "jsonl"}, optional
        Default: by the file's ending; CSV if that says nothing.
    delimiter : str, optional
        Default: comma, semicolon or tab, whichever yields the columns.
    quotes : bool
        False if quotation marks are letters like others.
    encoding : str, optional
        Default: by the byte order mark; UTF-8 without one.
    limits : Limits, optional
        Of `pbde_ref.estimation.sources`: how long a line (16 MiB) and the file (64 GiB) may be after decompression. A
        cell of a CSV file may have 131,072 characters (`csv.field_size_limit`).
    progress : callable, optional
        Called after each chunk with the number of bytes read so far, as they are on disk.

    Raises
    ------
    DataError
        If the file does not hold what it should; the message names the line and says why.
    OSError
        If it cannot be read.

    Notes
    -----
    Labels are text, without surrounding space and in Unicode's composed form. Blank lines and other columns do not
    matter. A quotation mark that is never closed is always an error, for the rest of the file would vanish with it.

    Examples
    --------
    >>> from pbde_ref.estimation import fit_comparisons, read_comparisons, stigler_file
    >>> table = read_comparisons(stigler_file(), chosen="cited", rejected="citing", weight="citations")
    >>> fit = fit_comparisons(table.winner, table.loser, table.weights, support=table.items)
    >>> fit.distribution.support[fit.utilities.argmax()]
    np.str_('JRSS-B')
    """
    _one_of("ties", ties, TIES)
    _one_of("bad_lines", bad_lines, ("error", "skip"))
    share = held_out_share(held_out)
    chosen_form = _form(path) if form is None else form
    _one_of("form", chosen_form, FORMATS)
    if delimiter is not None and len(delimiter) != 1:
        raise ValueError(f"`delimiter` must be one character; got {delimiter!r:.100}")
    columns = {"left": left, "right": right, "winner": winner, "chosen": chosen, "rejected": rejected}
    given = _given(columns)
    extra = {role: name for role, name in (("weight", weight), ("annotator", annotator)) if name is not None}
    with open_text(path, encoding, limits) as text:
        roles: dict[str, str] = {}

        def wanted(names: list[str]) -> dict[str, str]:
            roles.clear()
            roles.update(_wanted(text.name, names, given, extra))
            return roles

        assembler: Assembler | None = None
        for chunk in rows_of(text, chosen_form, wanted, delimiter, quotes):
            if assembler is None:
                words = Words(roles, left_wins, right_wins, tie_values)
                assembler = Assembler(text.name, roles, words, ties, bad_lines == "skip", share, rng)
            assembler.add(chunk)
            if progress is not None and text.raw.seekable():
                progress(text.raw.tell())
    if assembler is None:
        raise DataError(f"{text.name}: no comparisons below the header")
    return assembler.result()


def _one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}; got {shown(value)}")


def _form(path: str | os.PathLike[str]) -> str:
    """The format that a file's ending stands for."""
    endings = [ending.lower() for ending in PurePath(os.fspath(path)).suffixes if ending.lower() != ".gz"]
    known = {".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
    return known.get(endings[-1], "csv") if endings else "csv"


def _given(columns: Mapping[str, str | None]) -> dict[str, str]:
    """The columns of one of the two layouts, completed by their default names; none if the file's header decides."""
    named = {role: name for role, name in columns.items() if name is not None}
    layouts = [("left", "right", "winner"), ("chosen", "rejected")]
    fitting = [layout for layout in layouts if set(named) <= set(layout)]
    if not fitting:
        raise ValueError(
            "columns must be `left`, `right` and `winner`, or `chosen` and `rejected`; got " + ", ".join(sorted(named))
        )
    return {role: named.get(role, role) for role in fitting[0]} if named else {}


def _wanted(file: str, names: list[str], given: dict[str, str], extra: dict[str, str]) -> dict[str, str]:
    """Names of the columns to read, by role."""
    if not given:
        for layout in (("chosen", "rejected"), ("left", "right", "winner")):
            given = {role: role for role in layout}
            if set(layout) <= set(names):
                break
        else:
            raise DataError(
                f"{file}: say which columns hold the comparisons (left, right and winner; or chosen and rejected); "
                f"the file has {_listed(names)}"
            )
    for role, name in {**given, **extra}.items():
        if name not in names:
            raise DataError(f"{file}: there is no column {name!r} for `{role}`; the file has {_listed(names)}")
    return {**given, **extra}


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:SHOWN]) for name in names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
