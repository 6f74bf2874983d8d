"""From files: a preference process, each item's f and g; and log-probabilities of compared answers, to find one."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.estimation.aggregation import Labels
from pbde_ref.estimation.formats import Style, open_table
from pbde_ref.estimation.sources import DataError
from pbde_ref.pbde import PBDE

__all__ = ["read_pairs", "read_process"]

COLUMNS = ("item", "f", "g")


def read_process(path: str | os.PathLike[str], items: NDArray[Any]) -> PBDE:
    r"""Read a process :math:`f \log p + g` from a CSV file with the columns item, f and g.

    Parameters
    ----------
    path : str or path
        Other items than `items` do not matter.
    items : ndarray of str, shape (n,)
        The items in the order that the process is wanted in.

    Raises
    ------
    DataError
        If a column or an item is missing, or a line has no numbers.
    """
    numbers: dict[int, tuple[float, float]] = {}
    known = Labels()
    known.numbers(items.tolist(), items.size)
    with open_table(path, Style("csv")) as table:
        header = next((i for i, one in enumerate(table.headers) if set(COLUMNS) <= set(one.names)), 0)
        for name in COLUMNS:
            if name not in table.headers[header].names:
                raise DataError(f"{table.name}: there is no column {name!r}; a process needs item, f and g")
        for chunk in table.chunks(header, COLUMNS, ()):
            if chunk.bad:
                raise DataError(f"{table.name}, {chunk.bad[0]}")
            for line, (item, f, g) in zip(chunk.lines, zip(*chunk.columns, strict=True), strict=True):
                number = known.known(item)
                try:
                    value = float(f), float(g)
                except ValueError:
                    where = f"{table.name}, line {line}"
                    raise DataError(f"{where}: f and g must be numbers; got {f!r:.40} and {g!r:.40}") from None
                if not all(map(math.isfinite, value)):
                    got = f"got {value[0]:g} and {value[1]:g}"
                    raise DataError(f"{table.name}, line {line}: f and g must be finite; {got}")
                if number >= 0 and numbers.setdefault(number, value) != value:
                    raise DataError(f"{table.name}, line {line}: {item!r:.100} has other values than before")
    missing = [name for i, name in enumerate(items.tolist()) if i not in numbers]
    if missing:
        others = f"{missing[0]!r:.80} and {len(missing) - 1} other items"
        raise DataError(f"{os.fspath(path)}: there is no line for {others}")
    f, g = np.array([numbers[i] for i in range(items.size)]).T
    return PBDE(f, g)


LAYOUTS: dict[str, tuple[tuple[str, str], ...]] = {
    "log_p": (("chosen_log_p", "rejected_log_p"), ("chosen_logps", "rejected_logps"),
              ("policy_chosen_logps", "policy_rejected_logps")),
    "log_reference": (("chosen_log_reference", "rejected_log_reference"), ("ref_chosen_logps", "ref_rejected_logps"),
                      ("reference_chosen_logps", "reference_rejected_logps")),
    "lengths": (("chosen_length", "rejected_length"), ("chosen_tokens", "rejected_tokens")),
}  # fmt: skip
"""Columns, of the chosen and of the rejected answer, that are looked for where none are named."""


def read_pairs(
    path: Any, *, columns: Mapping[str, Sequence[str]] | None = None, covariates: Sequence[str] = (),
    cluster: str | None = None, style: Style | None = None,
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:  # fmt: skip
    """Read what `identify_process` takes from a file with a comparison a line.

    Parameters
    ----------
    path : str, path or DataFrame
        As `read_comparisons` takes it.
    columns : mapping of str to two names, optional
        For "log_p", "log_reference" and "lengths": the columns of chosen and of rejected answers. Others are looked
        for under well-known names.
    covariates : sequence of str
        Columns of numbers that speak for the chosen answer.
    cluster : str, optional
        Column of prompt, annotator or both, whose rows may depend on each other.

    Returns
    -------
    arguments, names : dict
        Of `identify_process`, and the columns that each was taken from.

    Raises
    ------
    DataError
        If a column is missing, or a cell holds no number.
    """
    with open_table(path, style or Style()) as table:
        header = next((i for i, one in enumerate(table.headers) if len(one.names) > 1), 0)
        there = table.headers[header].names
        found = {key: tuple(pair) for key, pair in (columns or {}).items()}
        for key, layouts in LAYOUTS.items():
            # Half of a pair is a column that was forgotten, and is asked for by name.
            known = max(layouts, key=lambda pair: len(set(pair) & set(there)))
            if key not in found and set(known) & set(there):
                found[key] = known
        if not found:
            raise DataError(f"{table.name}: there are no columns of log-probabilities or lengths; name them")
        numeric = [*(name for pair in found.values() for name in pair), *covariates]
        wanted = list(dict.fromkeys([*numeric, *([cluster] if cluster else [])]))
        for name in wanted:
            if name.split(".")[0] not in there and name not in there:
                raise DataError(f"{table.name}: there is no column {name!r:.100}; there are {', '.join(there):.200}")
        cells: dict[str, list[Any]] = {name: [] for name in wanted}
        for chunk in table.chunks(header, wanted, ()):
            if chunk.bad:
                raise DataError(f"{table.name}, {chunk.bad[0]}")
            for name, column in zip(wanted, chunk.columns, strict=True):
                for line, cell in zip(chunk.lines, column, strict=True):
                    cells[name].append(_number(table.name, line, name, cell) if name in numeric else cell)
    if not cells[wanted[0]]:
        raise DataError(f"{table.name}: there are no rows")
    arguments: dict[str, Any] = {key: np.array([cells[name] for name in pair]) for key, pair in found.items()}
    arguments["covariates"] = {name: np.array(cells[name]) for name in covariates}
    if cluster is not None:
        arguments["clusters"] = np.unique(np.array(cells[cluster], dtype=object).astype(str), return_inverse=True)[1]
    return arguments, found


def _number(name: str, line: int, column: str, cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise DataError(f"{name}, line {line}: {column} must be a number; got {cell!r:.40}") from None
