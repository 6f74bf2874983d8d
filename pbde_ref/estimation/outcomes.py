"""Who won: every way in which a row of a file says it, each a function from cells to games."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.estimation.aggregation import Coded, Labels, coded
from pbde_ref.estimation.layouts import Roles
from pbde_ref.estimation.sources import SHOWN, DataError, shortened
from pbde_ref.estimation.table import Ranking
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["BOTH_BAD", "LEFT", "READERS", "RIGHT", "TIE", "VOID", "Checks", "Games", "Rows", "Words", "numbers_in"]

LEFT, RIGHT, TIE, VOID, UNKNOWN = 0, 1, 2, 3, -1
# What a cell of the winner's column may say beside an item's name and the names of the two columns.
USUAL = {
    LEFT: ("left", "a", "l", "1-0", "a>b", "a>>b", "model_a", "first"),
    RIGHT: ("right", "b", "r", "0-1", "b>a", "b>>a", "model_b", "second"),
    TIE: ("tie", "tied", "draw", "drawn", "both", "equal", "a=b", "b=a", "1/2-1/2", "½-½", "0.5-0.5"),
}  # fmt: skip
BOTH_BAD = re.compile(r"(tie[\W_]*)?both[\W_]*(are[\W_]*)?bad\W*")
_TRUE, _FALSE = ("1", "1.0", "true", "yes", "t", "y"), ("0", "0.0", "false", "no", "f", "n", "")
_Cells = Sequence[Any] | Coded
_Advice = tuple[str | tuple[str, str], ...]


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

    def usual_code(self, cell: str) -> int:
        """By convention."""
        word = cell.strip().casefold()
        code = VOID if BOTH_BAD.fullmatch(word) else self._usual.get(word, UNKNOWN)
        if code == VOID and cell.strip() not in self.declared:
            self.void.add(cell.strip())
        return code

    def declared_code(self, cell: str) -> int:
        """By the caller's word."""
        return self.declared.get(cell.strip(), UNKNOWN)

    def __str__(self) -> str:
        sides = ("left", "right", "tie")
        return ", ".join(f"{word} ({sides[code]})" for word, code in self.declared.items())


def numbers_in(cells: _Cells, decimal_comma: bool = False) -> FloatArray:
    """Cells as numbers; NaN for what is none."""
    known = coded(cells)
    return np.array([_number(cell, decimal_comma) for cell in known.cells])[known.codes]


def _number(cell: Any, decimal_comma: bool) -> float:
    try:
        return float(str(cell).replace(",", ".") if decimal_comma else cell)
    except ValueError:
        return float("nan")


def _answer(answer: Any, prompt: Any, number: int) -> str:
    """An answer's label; long prompts are named by their number."""
    if not str(answer).strip():
        return ""
    return f"{answer} | {prompt if len(prompt) <= SHOWN else f'prompt {number + 1}'}"


def _chosen(rows: Rows) -> list[Games]:
    one, other = rows.pairs()
    return [Games(slice(None), one, other, np.zeros(one.size, dtype=np.intp))]


def _winner(rows: Rows) -> list[Games]:
    one, other = rows.pairs()
    words, result = rows.words, []
    for name in rows.roles.says:
        said = coded(rows.cells[name])
        texts = list(map(str, said.cells))
        plain = [words.declared_code(cell) for cell in texts]
        if words.guessing:
            plain = [words.usual_code(cell) if code == UNKNOWN else code for cell, code in zip(texts, plain, strict=True)]
        code = np.array(plain, dtype=np.intp)[said.codes]
        # Names come before words, but for those that were declared.
        names = [-1 if cell.strip() in words.declared else rows.items.known(cell) for cell in texts]
        if words.guessing and max(names) >= 0:
            item = np.array(names, dtype=np.intp)[said.codes]
            code[(item == other) & (item >= 0)] = RIGHT
            code[(item == one) & (item >= 0)] = LEFT
        rows.checks.reject(
            code == UNKNOWN,
            lambda i, name=name, said=said: _who_won(rows, name, i, str(said[i])),
            lambda i, said=said: _declare(str(said[i])),
        )
        result.append(Games(slice(None), one, other, code))
    return result


def _who_won(rows: Rows, name: str, row: int, said: str) -> str:
    left, right = (shortened(str(rows.cells[column][row]).strip()) for column in rows.roles.items)
    said = shortened(said.strip())
    if not rows.words.guessing:
        return f"{name!r} says {said!r}, and only declared words count, {rows.words}"
    return f"{name!r} says {said!r}, which is neither {left!r} nor {right!r} nor a tie"


def _declare(said: str) -> _Advice:
    word = shortened(said.strip(), 20)
    if word.isdigit() and len(word) < 3:
        return ("if it is a number, name it and the other side's: ", ("counts", "A,B"), " or ", ("scores", "A,B"),
                "; else say what it means: ", ("left_wins", word), " or ", ("right_wins", word))  # fmt: skip
    return ("say what it means: ", ("left_wins", word), " or ", ("right_wins", word), " or ", ("tie_values", word))


def _one_hot(rows: Rows) -> list[Games]:
    one, other = rows.pairs()
    flags = []
    for name in rows.roles.says:
        known = coded(rows.cells[name])
        words = [str(cell).strip().casefold() for cell in known.cells]
        flag = np.array([1 if word in _TRUE else 0 if word in _FALSE else UNKNOWN for word in words])[known.codes]
        rows.checks.reject(flag == UNKNOWN, lambda i, name=name, known=known: f"{name!r} must be 0 or 1; got {known[i]!r:.40}")
        flags.append(flag)
    count = np.sum(flags, axis=0)
    least = 1 if len(flags) == 3 else 0
    names = ", ".join(rows.roles.says)
    rows.checks.reject((count < least) | (count > 1), lambda i: f"one of {names} must be 1; got {count[i]} of them")
    return [Games(slice(None), one, other, np.where(count == 0, TIE, np.argmax(flags, axis=0)))]


def _given_numbers(rows: Rows, low: float = 0.0, high: float = np.inf) -> list[FloatArray]:
    """The columns that say who won, as numbers in a range."""
    result = []
    for name in rows.roles.says:
        values = numbers_in(rows.cells[name])
        rule = "a finite number" if low == -np.inf else f"a finite number of at least {low:g}"
        rule = rule if high == np.inf else f"a number from {low:g} to {high:g}"
        rows.checks.reject(
            ~((values >= low) & (values <= high)) | np.isinf(values),
            lambda i, name=name, rule=rule: f"{name!r} must be {rule}; got {rows.cells[name][i]!r:.40}",
        )
        result.append(np.nan_to_num(values, posinf=0.0, neginf=0.0))
    return result


def _scores(rows: Rows) -> list[Games]:
    one, other = rows.pairs()
    left, right = _given_numbers(rows, low=-np.inf)
    return [Games(slice(None), one, other, np.where(left == right, TIE, np.where(left > right, LEFT, RIGHT)))]


def _margin(rows: Rows) -> list[Games]:
    one, other = rows.pairs()
    (margin,) = _given_numbers(rows, low=-np.inf)
    margin = margin * np.sign(rows.roles.highest)
    return [Games(slice(None), one, other, np.where(margin == 0.0, TIE, np.where(margin > 0.0, LEFT, RIGHT)))]


def _counts(rows: Rows) -> list[Games]:
    one, other = rows.pairs()
    columns = _given_numbers(rows)
    return [Games(slice(None), one, other, np.full(one.size, code), times) for code, times in enumerate(columns)]


def _probability(rows: Rows) -> list[Games]:
    one, other = rows.pairs()
    low, high = rows.roles.lowest, rows.roles.highest
    (value,) = _given_numbers(rows, min(low, high), max(low, high))
    left = (value - low) / (high - low)
    sides = ((LEFT, left), (RIGHT, 1.0 - left))
    return [Games(slice(None), one, other, np.full(one.size, code), share) for code, share in sides]


def ranking_of(cell: Any, items: Labels) -> Ranking:
    """Numbers of ranked items, best first; from groups, objects with ranks, or text such as ``a > b = c``."""
    if isinstance(cell, str):
        groups = [part.split("=") for part in re.split(r"[>;]" if re.search("[>;]", cell) else ",", cell)]
    elif cell and isinstance(cell[0], dict):
        names = ("model", "item", "name", "answer")
        places: dict[float, list[str]] = {}
        for entry in cell:
            places.setdefault(float(entry["rank"]), []).append(str(next(entry[name] for name in names if name in entry)))
        groups = [places[place] for place in sorted(places)]
    else:
        groups = [part if isinstance(part, list | tuple) else [part] for part in cell]
    return tuple(tuple(items[str(one)] for one in group) for group in groups)


def _ranking(rows: Rows) -> list[Games]:
    cells = rows.cells[rows.roles.says[0]]
    wrong = np.zeros(len(cells), dtype=bool)
    found: list[tuple[int, int, int, int]] = []
    for i in range(len(cells)):
        try:
            ranking = ranking_of(cells[i], rows.items)
        except (KeyError, StopIteration, TypeError, ValueError):
            ranking = ()
        flat = [one for group in ranking for one in group]
        wrong[i] = len(flat) < 2 or min(flat) < 0 or len(set(flat)) < len(flat)
        if not wrong[i]:
            found += [(i, a, b, TIE) for group in ranking for a, b in combinations(group, 2)]
            found += [(i, a, b, LEFT) for one, other in combinations(ranking, 2) for a, b in product(one, other)]
    rows.checks.reject(wrong, lambda i: f"a ranking needs two or more different items; got {shortened(str(cells[i]))}")
    return [Games(*np.array(found, dtype=np.intp).reshape(-1, 4).T)]


def _matrix(rows: Rows) -> list[Games]:
    first, *names = rows.roles.says
    left = rows.items.numbers(rows.cells[first], rows.checks.good.size)
    size, across = left.size, rows.items.numbers(names, len(names))
    unknown = ~np.isin(left, across)
    if unknown.any():
        cell = shortened(str(rows.cells[first][int(np.argmax(unknown))]))
        raise DataError(
            f"a matrix of wins needs the same items above and on the left; got {cell!r} on the left alone",
            "name columns instead: ", ("left", "COLUMN"), " ", ("right", "COLUMN"), " ", ("winner", "COLUMN"),
        )  # fmt: skip
    result = []
    for name, number in zip(names, across.tolist(), strict=True):
        cells = rows.cells[name]
        wins = numbers_in(cells)
        blank = np.array([not str(cells[i]).strip() for i in range(size)]) | (left == number)
        rows.checks.reject(
            ~((wins >= 0.0) & np.isfinite(wins)) & ~blank,
            lambda i, cells=cells: f"wins must be finite and non-negative; got {cells[i]!r:.40}",
        )
        wins = np.where(blank, 0.0, np.nan_to_num(wins, posinf=0.0, neginf=0.0))
        result.append(Games(slice(None), left, np.full(size, number), np.zeros(size, dtype=np.intp), wins))
    return result


READERS: dict[str, Callable[[Rows], list[Games]]] = {
    "chosen": _chosen, "winner": _winner, "one_hot": _one_hot, "scores": _scores, "margin": _margin, "counts": _counts,
    "probability": _probability, "ranking": _ranking, "matrix": _matrix,
}  # fmt: skip
