r"""From cells of text to comparisons of numbered items, with a reason for every line that is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.distributions import labels
from pbde_ref.estimation.aggregation import Accumulator, Labels, added_up
from pbde_ref.estimation.formats import Chunk
from pbde_ref.estimation.layouts import Roles
from pbde_ref.estimation.outcomes import (
    BOTH_BAD,
    LEFT,
    RIGHT,
    TIE,
    VOID,
    Checks,
    Games,
    Rows,
    Words,
    games_of,
    numbers_of,
)  # fmt: skip
from pbde_ref.estimation.sources import BadLine, DataError, Note, shortened
from pbde_ref.estimation.table import ComparisonTable, Ranking
from pbde_ref.validation import FloatArray, IndexArray, generator_of

__all__ = ["Assembler", "Rules"]

# Bad lines and rows that are kept for a report.
KEPT = 5
TIES = ("say what ties count for: ", ("ties", "half"), " (to either side) or ", ("ties", "drop"))


@dataclass(frozen=True)
class Rules:
    """What to do with ties and with lines that are no comparison, what share to hold out, and whether sides matter."""

    ties: str = "error"
    skip: bool = False
    share: float = 0.0
    sides: bool = False
    decimal_comma: bool = False


class Assembler:
    """Turns cells into numbers, finds what is wrong with them, and adds them up."""

    def __init__(self, file: str, roles: Roles, words: Words, rules: Rules, rng: Any) -> None:
        self._file, self._roles, self._words, self._rules, self._rng = file, roles, words, rules, generator_of(rng)
        self._sides = rules.sides or bool(roles.covariates)
        self._items, self._annotators, self._clusters, self._prompts = Labels(), Labels(), Labels(), Labels()
        # A row that says more than one thing says them together.
        self._by_row = roles.cluster is None and (roles.outcome in ("probability", "ranking") or (
            roles.outcome == "winner" and len(roles.says) > 1))  # fmt: skip
        self._groups: dict[tuple[Any, ...], int] = {}
        # Winner, loser, tie, winner on the right, held out; what else is asked for.
        self._wide = bool(roles.covariates or roles.cluster or self._by_row or roles.annotator)
        self._sums = Accumulator((30, 30, 1, 1, 1, 40) if self._wide else (30, 30, 1, 1, 1))
        self._n_rows = self._n_ties = self._n_bad = self._n_headers = self._n_void = self._n_itself = 0
        self._repeats: list[FloatArray] = []
        self._rankings: dict[Ranking, float] = {}
        self._bad: list[BadLine] = []
        self._sample: list[str] = []

    def add(self, chunk: Chunk) -> None:
        """Add up a chunk's rows, or raise for the first that is no comparison."""
        size = len(chunk.lines)
        # Drawn for every row, good or bad, so that the split of a row depends on where it stands and nothing else.
        share = self._rules.share
        held_out = self._rng.random(size) < share if share else np.zeros(size, dtype=bool)
        bad = list(chunk.bad)
        self._n_headers += chunk.headers
        if size:
            checks = Checks(size)
            cells = dict(zip(self._roles.columns, chunk.columns, strict=True))
            rows = Rows(self._roles, self._words, self._items, cells, checks, self._prompts)
            try:
                games = games_of(rows)
            except DataError as error:
                raise DataError(f"{self._file}: {error.note.problem}", *error.note.advice) from None
            weights = self._weights(rows)
            group = self._group(rows, weights)
            tie = np.zeros(size, dtype=bool)
            for game in games:
                said = (game.code == TIE) & (np.broadcast_to(game.times, game.code.shape) > 0.0)
                # A row may have many games, and of those with one number the last alone would count.
                tie[np.arange(size)[game.row][said]] = True
            if self._rules.ties == "error":
                undeclared = np.flatnonzero(tie & checks.good)
                if self._rules.skip and undeclared.size:
                    # Not the line's fault: skipping it would decide for the user.
                    raise DataError(f"{self._file}, line {chunk.lines[undeclared[0]]}: a tie", *TIES)
                checks.reject(tie, lambda i: "a tie", lambda i: TIES)
            bad += [BadLine(chunk.lines[i], reason, advice) for i, reason, advice in checks.reasons()]
            self._n_rows += int(checks.good.sum())
            self._n_ties += int((tie & checks.good).sum())
            for game in games:
                self._count(game, weights, checks.good, held_out, group)
            for i, ranking in rows.rankings.items():
                if checks.good[i] and weights[i] > 0.0:
                    self._rankings[ranking] = self._rankings.get(ranking, 0.0) + float(weights[i])
        if bad:
            bad.sort(key=lambda line: line.line)
            if not self._rules.skip:
                advice = bad[0].advice or ("leave such lines out: ", ("bad_lines", "skip"))
                raise DataError(f"{self._file}, {bad[0]}", *advice)
            self._n_bad += len(bad)
            self._bad = (self._bad + bad)[:KEPT]

    def join(self, other: Assembler) -> None:
        """Add up what comes after: the rows of another file, whose new labels get the next numbers."""
        if replace(other._roles, layout="") != replace(self._roles, layout=""):
            raise DataError(f"{other._file}: its columns must be those of {self._file}")
        if self._roles.answers and self._roles.prompt is not None:
            raise DataError(f"{self._file}: answers to prompts must be in one file", "or say ", ("prompt", "none"))
        items = self._items.numbers_after(other._items)
        named = [mine.numbers_after(theirs) for role, mine, theirs in (
            (self._roles.annotator, self._annotators, other._annotators),
            (self._roles.cluster, self._clusters, other._clusters)) if role is not None]  # fmt: skip
        groups, before = [], len(self._groups)
        for key in other._groups:
            parts = [int(numbers[one]) for numbers, one in zip(named, key, strict=False)] + list(key[len(named) :])
            parts[-1] += before if self._by_row else 0
            groups.append(self._groups.setdefault(tuple(parts), len(self._groups)))
        weights, (winner, loser, tie, *more) = other._sums.result()
        if weights.size:
            winner, loser = items[winner], items[loser]
            if not self._sides:
                swap = (tie == 1) & (winner > loser)
                winner, loser = np.where(swap, (loser, winner), (winner, loser))
            self._sums.add(weights, winner, loser, tie, *more[:2], *(np.array(groups)[one] for one in more[2:]))
        self._repeats += other._repeats
        for ranking, weight in other._rankings.items():
            renumbered = tuple(tuple(int(items[one]) for one in place) for place in ranking)
            self._rankings[renumbered] = self._rankings.get(renumbered, 0.0) + weight
        for count in ("_n_rows", "_n_ties", "_n_bad", "_n_headers", "_n_void", "_n_itself"):
            setattr(self, count, getattr(self, count) + getattr(other, count))
        self._words.void |= other._words.void
        bad = [replace(line, reason=f"{line.reason} ({other._file})") for line in other._bad]
        self._bad, self._sample = (self._bad + bad)[:KEPT], (self._sample + other._sample)[:KEPT]

    def result(self) -> ComparisonTable:
        """Everything added up, with the items that take part in a comparison."""
        weights, columns = self._sums.result()
        winner, loser, tie, on_right, held_out = columns[:5]
        if not weights.size:
            skipped = f" ({self._n_bad} lines skipped, the first: {self._bad[0]})" if self._bad else ""
            raise DataError(f"{self._file}: no comparisons{skipped}")
        group = columns[5] if self._wide else np.zeros(weights.size, dtype=np.intp)
        of_ties = np.where(tie == 1, weights, 0.0)
        if tie.any() and self._rules.ties == "half":
            halves = np.flatnonzero(tie)
            rest = np.append(np.arange(weights.size), halves)
            winner, loser = (np.append(one, other[halves]) for one, other in ((winner, loser), (loser, winner)))
            on_right = np.append(on_right, np.where(self._sides, 1 - on_right[halves], on_right[halves]))
            half = np.where(tie[rest] == 1, 0.5, 1.0)
            weights, of_ties, held_out, group = half * weights[rest], half * of_ties[rest], held_out[rest], group[rest]
        if tie.any():
            (weights, of_ties), columns = added_up([weights, of_ties], [winner, loser, on_right, held_out, group])
            winner, loser, on_right, held_out, group = columns
        items, (winner, loser) = _used(self._items.names, winner, loser)
        annotators, annotator, clusters, covariates = self._of_groups(group)
        # Left minus right becomes winner minus loser.
        covariates = {name: np.where(on_right == 1, -column, column) for name, column in covariates.items()}
        arrays = (winner, loser, weights, of_ties, annotators, annotator, held_out, clusters, *covariates.values())
        for value in arrays:
            if value is not None:
                value.flags.writeable = False
        renumber = {name: number for number, name in enumerate(items.tolist())} if self._rankings else {}
        rankings = tuple(
            (tuple(tuple(renumber[self._items.names[one]] for one in place) for place in ranking), weight)
            for ranking, weight in self._rankings.items()
        )
        return ComparisonTable(
            items=items, winner=winner, loser=loser, weights=weights, annotators=annotators, annotator=annotator,
            held_out=held_out.astype(bool) if self._rules.share else None, n_rows=self._n_rows, n_ties=self._n_ties,
            n_bad=self._n_bad, bad_lines=tuple(self._bad), ties=of_ties if of_ties.any() else None,
            first=on_right == 0 if self._rules.sides else None, clusters=clusters,
            repeats=np.concatenate(self._repeats) if self._by_row else None, covariates=covariates, rankings=rankings,
            roles=self._roles, notes=tuple(self._notes(set(items.tolist()))), sample=tuple(self._sample),
        )  # fmt: skip

    def _notes(self, names: set[str]) -> Iterator[Note]:
        roles, void = self._roles, sorted(self._words.void)
        if self._n_headers:
            yield Note(f"{self._n_headers:,} repeated header lines left out")
        if self._n_void:
            bad = any(BOTH_BAD.fullmatch(word.casefold()) for word in void)
            advice = ("to count them as ties say ", ("tie_values", ",".join(void))) if bad else ()
            yield Note(f"{self._n_void:,} rows left out: {', '.join(void)} is nobody's win and no tie", advice)
        if self._n_itself:
            yield Note(f"{self._n_itself:,} comparisons of an item with itself left out")
        if roles.dependent and roles.annotator is None and not self._by_row:
            advice = ("if they are not say ", ("cluster", roles.dependent))
            yield Note(f"rows with equal {roles.dependent!r} are taken as independent of each other", advice)
        if roles.outcome == "winner" and self._words.guessing and names <= {"0", "1", "2"}:
            one, other = sorted(names)[:2]
            sides = ("if they are sides say ", ("left_wins", one), " ", ("right_wins", other))
            yield Note(f"{one} and {other} are taken for items that won", sides)

    def _weights(self, rows: Rows) -> FloatArray:
        if self._roles.weight is None:
            return np.ones(rows.checks.good.size)
        return numbers_of(rows, self._roles.weight, comma=self._rules.decimal_comma)

    def _group(self, rows: Rows, weights: FloatArray) -> IndexArray:
        """A number for what a row's annotator, cluster and covariates are together."""
        size, roles = weights.size, self._roles
        parts: list[list[Any]] = []
        for name, known in ((roles.annotator, self._annotators), (roles.cluster, self._clusters)):
            if name is not None:
                numbers = known.numbers(rows.cells[name], size)
                rows.checks.reject(numbers < 0, lambda i, name=name: f"{name!r} is empty")
                parts.append(numbers.tolist())
        for name in roles.covariates:
            values = numbers_of(rows, name, -np.inf, rule="a finite number", comma=self._rules.decimal_comma)
            parts.append(values.tolist())
        if self._by_row:
            parts.append(list(range(len(self._groups), len(self._groups) + size)))
            self._repeats.append(weights)
        if not parts:
            return np.zeros(size, dtype=np.intp)
        groups = self._groups
        return np.fromiter((groups.setdefault(key, len(groups)) for key in zip(*parts, strict=True)), np.intp, size)

    def _of_groups(
        self, group: IndexArray
    ) -> tuple[NDArray[Any] | None, IndexArray | None, IndexArray | None, dict[str, FloatArray]]:
        """Annotators, who they were, clusters and covariates of rows of these groups."""
        if not self._groups:
            return None, None, None, {}
        parts = list(zip(*self._groups, strict=True))
        roles, annotators, annotator, clusters = self._roles, None, None, None
        if roles.annotator is not None:
            annotators, (annotator,) = _used(self._annotators.names, np.array(parts.pop(0), dtype=np.intp)[group])
        if roles.cluster is not None:
            clusters = np.array(parts.pop(0), dtype=np.intp)[group]
        covariates = {name: np.array(parts.pop(0))[group] for name in roles.covariates}
        return annotators, annotator, group if self._by_row else clusters, covariates

    def _count(
        self, game: Games, weights: FloatArray, good: NDArray[np.bool_], held_out: NDArray[np.bool_], group: IndexArray
    ) -> None:
        times = weights[game.row] * game.times
        counted = good[game.row] & (times > 0.0)
        void, itself = counted & (game.code == VOID), counted & (game.left == game.right)
        self._n_void += int(np.count_nonzero(void))
        self._n_itself += int(np.count_nonzero(itself))
        tie, on_right = game.code == TIE, game.code == RIGHT
        used = counted & ~void & ~itself & ~(tie & (self._rules.ties == "drop"))
        winner, loser = np.where(on_right, (game.right, game.left), (game.left, game.right))
        if not self._sides:
            on_right = np.zeros_like(on_right)
            if tie.any():
                winner[tie], loser[tie] = np.minimum(winner[tie], loser[tie]), np.maximum(winner[tie], loser[tie])
        if len(self._sample) < KEPT:
            for i in np.flatnonzero(counted)[: KEPT - len(self._sample)].tolist():
                self._sample.append(self._in_words(game, i, float(times[i])))
        columns: list[Any] = [winner, loser, tie, on_right, held_out[game.row]] + [group[game.row]] * self._wide
        if used.all():
            self._sums.add(times, *columns)
        elif used.any():
            self._sums.add(times[used], *(column[used] for column in columns))

    def _in_words(self, game: Games, i: int, times: float) -> str:
        left, right = (shortened(self._items.names[number[i]], 24) for number in (game.left, game.right))
        said = {LEFT: "beats", RIGHT: "loses to", TIE: "ties with", VOID: "(left out)"}[int(game.code[i])]
        return f"{left} {said} {right}" + (f", {times:g} times" if times != 1.0 else "")


def _used(names: Sequence[str], *columns: IndexArray) -> tuple[NDArray[Any], list[IndexArray]]:
    """The names that occur, and the columns renumbered."""
    occurs = np.zeros(len(names), dtype=bool)
    for column in columns:
        occurs[column] = True
    number = np.cumsum(occurs) - 1
    used = [name for name, there in zip(names, occurs.tolist(), strict=True) if there]
    return labels(used, len(used)), [number[column] for column in columns]
