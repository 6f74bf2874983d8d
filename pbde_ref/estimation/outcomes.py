"""Who won: every way in which a row of a file says it, each a function from cells to games."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.estimation.aggregation import Coded, Labels, coded
from pbde_ref.estimation.layouts import Roles
from pbde_ref.estimation.sources import SHOWN, DataError, shortened
from pbde_ref.estimation.table import Ranking
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["BOTH_BAD", "LEFT", "RIGHT", "TIE", "VOID", "Checks", "Games", "Rows", "Words", "games_of", "numbers_of"]

LEFT, RIGHT, TIE, VOID, UNKNOWN = 0, 1, 2, 3, -1
# What a cell of the winner's column may say beside an item's name and the names of the two columns.
USUAL = {
    LEFT: ("left", "a", "l", "1-0", "a>b", "a>>b", "model_a", "first"),
    RIGHT: ("right", "b", "r", "0-1", "b>a", "b>>a", "model_b", "second"),
    TIE: ("tie", "tied", "draw", "drawn", "both", "equal", "a=b", "b=a", "1/2-1/2", "½-½", "0.5-0.5"),
}  # fmt: skip
# Items of a ranking, any two of which are a pair, and pairs of the rankings that are read at a time: 1 GiB.
MOST_RANKED, MOST_PAIRS = 1_000, 2**25
BOTH_BAD = re.compile(r"(tie[\W_]*)?both[\W_]*(are[\W_]*)?bad\W*")
_TRUE, _FALSE = ("1", "1.0", "true", "yes", "t", "y"), ("0", "0.0", "false", "no", "f", "n", "")
_Cells = Sequence[Any] | Coded
_Advice = tuple[str | tuple[str, str], ...]
_Results = list[tuple[IndexArray, FloatArray | float]]


@dataclass(frozen=True, eq=False)
class Games:
    """Comparisons that rows hold: which row each is in, the items on the left and right, what came of it, how often."""

    row: IndexArray | slice
    left: IndexArray
    right: IndexArray
    code: IndexArray
    times: FloatArray | float = 1.0


@dataclass(frozen=True, eq=False)
class Rows:
    """The cells of a chunk by column, and what is known about all of them."""

    roles: Roles
    words: Words
    items: Labels
    cells: Mapping[str, _Cells]
    checks: Checks
    prompts: Labels
    rankings: dict[int, Ranking] = field(default_factory=dict)

    def pairs(self) -> tuple[IndexArray, IndexArray]:
        """Numbers of the two items of each row."""
        names = self.roles.items
        columns = [self.cells[name] for name in names]
        size = self.checks.good.size
        if self.roles.answers and self.roles.prompt is not None:
            asked = self.cells[self.roles.prompt]
            number = self.prompts.numbers(asked, size).tolist()
            columns = [[_answer(column[i], asked[i], number[i]) for i in range(size)] for column in columns]
        if isinstance(columns[0], Coded) or isinstance(columns[1], Coded):
            one, other = (self.items.numbers(column, size) for column in columns)
        else:
            # Alternately, so that items are numbered as they appear.
            both = chain.from_iterable(zip(*columns, strict=True))
            one, other = np.ascontiguousarray(self.items.numbers(both, 2 * size).reshape(-1, 2).T)
        for name, number_of in zip(names, (one, other), strict=True):
            self.checks.reject(number_of < 0, lambda i, name=name: f"{name!r} is empty")
        # Judgments of answers may well be of two answers by the same model: they say nothing about models.
        itself = (one == other) & (not self.roles.layout)
        self.checks.reject(itself, lambda i: f"{shortened(str(columns[0][i]))!r} is compared with itself")
        return one, other


class Checks:
    """Which rows are good, and the first thing that is wrong with each of the others."""

    def __init__(self, size: int) -> None:
        self.good = np.ones(size, dtype=bool)
        self._found: list[tuple[IndexArray, Callable[[int], str], Callable[[int], _Advice]]] = []

    def reject(
        self, wrong: NDArray[np.bool_], reason: Callable[..., str], advice: Callable[[int], _Advice] = lambda i: ()
    ) -> None:
        """Mark rows as bad."""
        wrong = wrong & self.good
        if wrong.any():
            self._found.append((np.flatnonzero(wrong), reason, advice))
            self.good &= ~wrong

    def reasons(self) -> list[tuple[int, str, _Advice]]:
        """The bad rows, what is wrong with each, and what to do about it."""
        return [(row, reason(row), advice(row)) for rows, reason, advice in self._found for row in rows.tolist()]


class Words:
    """What the cells of a winner's column stand for."""

    def __init__(self, roles: Roles, left: Sequence[str], right: Sequence[str], tie: Sequence[str]) -> None:
        self.declared: dict[str, int] = {}
        for code, values in enumerate((left, right, tie)):
            for value in values:
                if self.declared.setdefault(value.strip(), code) != code:
                    raise ValueError(f"`left_wins`, `right_wins`, `tie_values` must differ; got {value!r:.100} twice")
        # Once the caller has said what one side's cells say, no guess is made about the other's.
        self.guessing = not left and not right
        self._usual = {word: code for code, words in USUAL.items() for word in words}
        self._usual |= {name.casefold(): side for side, name in enumerate(roles.items)}
        groups = (roles.left_wins, roles.right_wins, roles.tie_values, roles.void)
        self._usual |= {word.casefold(): code for code, words in enumerate(groups) for word in words}
        # Cells that are no comparison, as they were written.
        self.void: set[str] = set()

    def code(self, cell: str) -> int:
        """By the caller's word, else by convention."""
        said = cell.strip()
        if said in self.declared or not self.guessing:
            return self.declared.get(said, UNKNOWN)
        word = said.casefold()
        code = VOID if BOTH_BAD.fullmatch(word) else self._usual.get(word, UNKNOWN)
        if code == VOID:
            self.void.add(said)
        return code


    def __str__(self) -> str:
        sides = ("left", "right", "tie")
        return ", ".join(f"{word} ({sides[code]})" for word, code in self.declared.items())


def _number(cell: Any, decimal_comma: bool) -> float:
    try:
        return float(str(cell).replace(",", ".") if decimal_comma else cell)
    except (ValueError, TypeError):
        return float("nan")


def _answer(answer: Any, prompt: Any, number: int) -> str:
    """An answer's label; long prompts are named by their number."""
    if not str(answer).strip():
        return ""
    return f"{answer} | {prompt if len(prompt) <= SHOWN else f'prompt {number + 1}'}"


def _winner(rows: Rows, one: IndexArray, other: IndexArray) -> _Results:
    result: _Results = []
    for name in rows.roles.says:
        said = coded(rows.cells[name])
        texts = list(map(str, said.cells))
        code = np.array([rows.words.code(cell) for cell in texts], dtype=np.intp)[said.codes]
        # Names come before words, but for those that were declared.
        names = [-1 if cell.strip() in rows.words.declared else rows.items.known(cell) for cell in texts]
        if rows.words.guessing and max(names) >= 0:
            item = np.array(names, dtype=np.intp)[said.codes]
            code[(item == other) & (item >= 0)] = RIGHT
            code[(item == one) & (item >= 0)] = LEFT
        reason, advice = partial(_who_won, rows, name, said), partial(_declare, said)
        rows.checks.reject(code == UNKNOWN, reason, advice)
        result.append((code, 1.0))
    return result


def _who_won(rows: Rows, name: str, cells: Coded, row: int) -> str:
    left, right = (shortened(str(rows.cells[column][row]).strip()) for column in rows.roles.items)
    said = f"{name!r} says {shortened(str(cells[row]).strip())!r}"
    if not rows.words.guessing:
        return f"{said}, and only declared words count, {rows.words}"
    return f"{said}, which is neither {left!r} nor {right!r} nor a tie"


def _declare(cells: Coded, row: int) -> _Advice:
    word = shortened(str(cells[row]).strip(), 20)
    if word.isdigit() and len(word) < 3:
        return ("if it is a number, name it and the other side's: ", ("counts", "A,B"), " or ", ("scores", "A,B"),
                "; else say what it means: ", ("left_wins", word), " or ", ("right_wins", word))  # fmt: skip
    return ("say what it means: ", ("left_wins", word), " or ", ("right_wins", word), " or ", ("tie_values", word))


def _one_hot(rows: Rows, one: IndexArray, other: IndexArray) -> _Results:
    flags = []
    for name in rows.roles.says:
        known = coded(rows.cells[name])
        words = [str(cell).strip().casefold() for cell in known.cells]
        flag = np.array([1 if word in _TRUE else 0 if word in _FALSE else UNKNOWN for word in words])[known.codes]
        rows.checks.reject(flag == UNKNOWN, partial(_must_be, name, "0 or 1", known))
        flags.append(flag)
    count, names = np.sum(flags, axis=0), ", ".join(rows.roles.says)
    wrong = (count > 1) | ((count == 0) & (len(flags) == 3))
    rows.checks.reject(wrong, lambda i: f"one of {names} must be 1; got {count[i]} of them")
    return [(np.where(count == 0, TIE, np.argmax(flags, axis=0)), 1.0)]


def _must_be(name: str, rule: str, cells: _Cells, row: int) -> str:
    return f"{name!r} must be {rule}; got {cells[row]!r:.40}"


def numbers_of(
    rows: Rows, name: str, low: float = 0.0, high: float = np.inf, rule: str = "a finite non-negative number",
    comma: bool = False,
) -> FloatArray:  # fmt: skip
    """A column as numbers in a range; zero where it is none, which is a reason against the row."""
    known = coded(rows.cells[name])
    values = np.array([_number(cell, comma) for cell in known.cells])[known.codes]
    wrong = ~((values >= low) & (values <= high) & np.isfinite(values))
    rows.checks.reject(wrong, partial(_must_be, name, rule, known))
    return np.where(wrong, 0.0, values)


def _lead(rows: Rows, one: IndexArray, other: IndexArray) -> _Results:
    """By two scores, or by a margin."""
    columns = [numbers_of(rows, name, -np.inf, rule="a finite number") for name in rows.roles.says]
    left, right = columns if len(columns) == 2 else (columns[0] * np.sign(rows.roles.highest), 0.0)
    return [(np.where(left == right, TIE, np.where(left > right, LEFT, RIGHT)), 1.0)]


def _counts(rows: Rows, one: IndexArray, other: IndexArray) -> _Results:
    """Of left, right and perhaps ties."""
    return [(np.full(one.size, code), numbers_of(rows, name)) for code, name in enumerate(rows.roles.says)]


def _probability(rows: Rows, one: IndexArray, other: IndexArray) -> _Results:
    low, high = rows.roles.lowest, rows.roles.highest
    least, most = min(low, high), max(low, high)
    value = numbers_of(rows, rows.roles.says[0], least, most, f"a number from {least:g} to {most:g}")
    left = (value - low) / (high - low)
    return [(np.full(one.size, LEFT), left), (np.full(one.size, RIGHT), 1.0 - left)]


def _ranking_of(cell: Any, items: Labels) -> Ranking:
    """Numbers of ranked items, best first; from groups, objects with ranks, or text such as ``a > b = c``."""
    if isinstance(cell, str):
        groups = [part.split("=") for part in re.split(r"[>;]" if re.search("[>;]", cell) else ",", cell)]
    elif cell and isinstance(cell[0], dict):
        places: dict[float, list[str]] = {}
        for entry in cell:
            label = next(str(entry[name]) for name in ("model", "item", "name", "answer") if name in entry)
            places.setdefault(float(entry["rank"]), []).append(label)
        groups = [places[place] for place in sorted(places)]
    else:
        groups = [part if isinstance(part, list | tuple) else [part] for part in cell]
    return tuple(tuple(items[str(one)] for one in group) for group in groups)


def _ranking(rows: Rows) -> list[Games]:
    cells = rows.cells[rows.roles.says[0]]
    wrong, long = np.zeros((2, len(cells)), dtype=bool)
    found, count = [np.empty((4, 0), dtype=np.intp)], 0
    for i, cell in enumerate(cells):
        ranking: Ranking = ()
        with suppress(KeyError, StopIteration, TypeError, ValueError):
            ranking = _ranking_of(cell, rows.items)
        flat = [one for group in ranking for one in group]
        long[i] = len(flat) > MOST_RANKED
        wrong[i] = len(flat) < 2 or min(flat) < 0 or len(set(flat)) < len(flat)
        if not wrong[i] and not long[i]:
            count += len(flat) * (len(flat) - 1) // 2
            if count > MOST_PAIRS:
                raise DataError(f"rankings hold more than {MOST_PAIRS:,} pairs, the limit, as any two items are one")
            rows.rankings[i] = ranking
            place = np.repeat(np.arange(len(ranking)), [len(group) for group in ranking])
            better, worse = np.triu_indices(len(flat), 1)
            code = np.where(place[better] == place[worse], TIE, LEFT)
            items = np.array(flat, dtype=np.intp)
            found.append(np.stack([np.full(code.size, i), items[better], items[worse], code]))
    rows.checks.reject(wrong, lambda i: f"a ranking needs two or more different items; got {shortened(str(cells[i]))}")
    rows.checks.reject(long, lambda i: f"a ranking of more than {MOST_RANKED:,} items, the limit: each two are a pair")
    return [Games(*np.concatenate(found, axis=1))]


def _matrix(rows: Rows) -> list[Games]:
    first, *names = rows.roles.says
    left = rows.items.numbers(rows.cells[first], rows.checks.good.size)
    size, across = left.size, rows.items.numbers(names, len(names))
    unknown = ~np.isin(left, across)
    if unknown.any():
        cell = shortened(str(rows.cells[first][int(np.argmax(unknown))]))
        problem = f"a matrix of wins needs the same items above and on the left; got {cell!r} on the left alone"
        raise DataError(problem, "or name columns: ", ("chosen", "COLUMN"), " ", ("rejected", "COLUMN"))
    result = []
    for name, number in zip(names, across.tolist(), strict=True):
        # What stands on the diagonal, or nowhere, says nothing.
        cells = [cell if str(cell).strip() else "0" for cell in rows.cells[name]]
        cells = ["0" if i == number else cell for i, cell in zip(left, cells, strict=True)]
        wins = numbers_of(replace(rows, cells={name: cells}), name)
        result.append(Games(slice(None), left, np.full(size, number), np.zeros(size, dtype=np.intp), wins))
    return result


_PAIRS: dict[str, Callable[[Rows, IndexArray, IndexArray], _Results]] = {
    "chosen": lambda rows, one, other: [(np.full(one.size, LEFT), 1.0)], "winner": _winner, "one_hot": _one_hot,
    "scores": _lead, "margin": _lead, "counts": _counts, "probability": _probability,
}  # fmt: skip


def games_of(rows: Rows) -> list[Games]:
    """The games that rows hold; what is wrong with rows goes to their checks."""
    if rows.roles.outcome in ("ranking", "matrix"):
        return _ranking(rows) if rows.roles.outcome == "ranking" else _matrix(rows)
    one, other = rows.pairs()
    found = _PAIRS[rows.roles.outcome](rows, one, other)
    return [Games(slice(None), one, other, code, times) for code, times in found]
