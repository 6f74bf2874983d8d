"""A preference process from a file: each item's f and g."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.estimation.aggregation import Labels
from pbde_ref.estimation.formats import Style, open_table
from pbde_ref.estimation.sources import DataError
from pbde_ref.pbde import PBDE

__all__ = ["read_process"]

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
                if number >= 0 and numbers.setdefault(number, value) != value:
                    raise DataError(f"{table.name}, line {line}: {item!r:.100} has other values than before")
    missing = [name for i, name in enumerate(items.tolist()) if i not in numbers]
    if missing:
        others = f"{missing[0]!r:.80} and {len(missing) - 1} other items"
        raise DataError(f"{os.fspath(path)}: there is no line for {others}")
    f, g = np.array([numbers[i] for i in range(items.size)]).T
    return PBDE(f, g)
