r"""Whether comparisons have a finite estimate, and which items stand in its way.

Draw an arrow from the winner of each comparison to its loser. A finite maximum-likelihood estimate, unique up to one
constant, exists exactly when the arrows lead from every item to every other one (Ford, 1957): else some items have
never lost to the rest, and the likelihood grows for ever as their utilities do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pbde_ref.estimation.sources import MOST_CHARACTERS, shortened
from pbde_ref.estimation.tallies import slices
from pbde_ref.validation import IndexArray

__all__ = ["Groups", "NoFiniteEstimateError", "groups", "refuse", "strongly_connected"]

# Passes over the comparisons after which reachability is left to a proper graph search.
PASSES = 8
# Names of items in a message.
NAMES = 5
RULE = "`comparisons` must lead from each item to each other and back"


class NoFiniteEstimateError(ValueError):
    """The comparisons have no finite, or no unique, maximum-likelihood estimate.

    Attributes
    ----------
    problem : str
        What is wrong, with the items' names.
    winners, losers, between : list
        Labels of items without a finite estimate: those that won every comparison with the rest of their group, those
        that lost every one, and those whose wins and losses lead to neither side alone.
    groups : list of list
        Labels of the groups between which there is no comparison, if there are several.

    Examples
    --------
    >>> from pbde_ref.estimation import NoFiniteEstimateError, fit_comparisons
    >>> try:
    ...     fit_comparisons([0, 1, 0], [1, 0, 2], support=["tea", "coffee", "water"])
    ... except NoFiniteEstimateError as error:
    ...     print(error.losers)
    ['water']
    """

    def __init__(
        self, problem: str, remedy: str, winners: Iterable[Any] = (), losers: Iterable[Any] = (),
        between: Iterable[Any] = (), groups: Iterable[Iterable[Any]] = (),
    ) -> None:  # fmt: skip
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.winners, self.losers, self.between = list(winners), list(losers), list(between)
        self.groups = [list(group) for group in groups]

    def __reduce__(self) -> Any:
        remedy = str(self).removeprefix(f"{self.problem}; ")
        return type(self), (self.problem, remedy, self.winners, self.losers, self.between, self.groups)


def strongly_connected(winner: NDArray[np.integer], loser: NDArray[np.integer], size: int) -> bool | None:
    """Whether each of `size` items is reached from each other one; None where a few passes do not decide.

    They are if the first winner reaches all and is reached by all. Chunk by chunk, whatever a reached item has beaten
    is reached: where each item has many comparisons, a small part of the first pass reaches everything.
    """
    for tail, head in ((winner, loser), (loser, winner)):
        reached = np.zeros(size, dtype=bool)
        reached[winner[0]] = True
        count = 1
        for _ in range(PASSES):
            before = count
            for part in slices(tail.size):
                reached[head[part][reached[tail[part]]]] = True
                count = int(np.count_nonzero(reached))
                if count == size:
                    break
            if count in (before, size):
                break
        if count < size:
            return False if count == before else None
    return True


@dataclass(frozen=True, eq=False)
class Groups:
    """Numbers of each item's group, from 0 in order of first appearance: `weak` ones are joined by comparisons, within
    `strong` ones arrows lead from each item to each other.
    """

    weak: IndexArray
    strong: IndexArray
    above: NDArray[np.bool_]
    below: NDArray[np.bool_]

    @property
    def main(self) -> NDArray[np.bool_]:
        """Whether an item belongs to the largest strong group."""
        return np.asarray(self.strong == np.bincount(self.strong).argmax())

    @property
    def spoilers(self) -> NDArray[np.bool_]:
        """Whether an item is outside the largest strong group of its weak group."""
        sizes = np.bincount(self.strong)
        weak_of_strong = np.zeros(sizes.size, dtype=np.intp)
        weak_of_strong[self.strong] = self.weak
        order = np.lexsort((np.arange(sizes.size), -sizes, weak_of_strong))
        largest = order[np.unique(weak_of_strong[order], return_index=True)[1]]
        return np.asarray(self.strong != largest[self.weak])


def groups(winner: NDArray[np.integer], loser: NDArray[np.integer], size: int) -> Groups:
    """All groups of `size` items, and which strong ones never lost to (`above`) or never beat (`below`) any other."""
    arrows = coo_array((np.ones(winner.size, dtype=np.int8), (winner, loser)), shape=(size, size)).tocsr()
    weak, strong = (
        _by_appearance(connected_components(arrows, directed=True, connection=kind)[1]) for kind in ("weak", "strong")
    )
    leaves = strong[winner] != strong[loser]
    lost, won = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    won[strong[winner[leaves]]] = True
    lost[strong[loser[leaves]]] = True
    return Groups(weak, strong, (won & ~lost)[strong], (lost & ~won)[strong])


def refuse(found: Groups, labels: NDArray[Any], remedy: str, allow_groups: bool) -> None:
    """Raise if the estimate is infinite, or undetermined and that is not allowed."""
    members: list[NDArray[Any]] = []
    if found.weak.max() > 0 and not allow_groups:
        order = np.argsort(found.weak, kind="stable")
        members = np.split(labels[order], np.cumsum(np.bincount(found.weak))[:-1])
        members.sort(key=len, reverse=True)
    spoilers = found.spoilers
    winners, losers = labels[spoilers & found.above], labels[spoilers & found.below]
    between = labels[spoilers & ~found.above & ~found.below]
    if not (members or winners.size or losers.size or between.size):
        return
    # As many names as a short message has room for.
    for most in range(NAMES, -1, -1):
        problem = f"{RULE}; got {'; '.join(_problems(members, winners, losers, between, most))}"
        if len(problem) + len(remedy) <= MOST_CHARACTERS or most == 0:
            lists = (winners.tolist(), losers.tolist(), between.tolist(), [group.tolist() for group in members])
            raise NoFiniteEstimateError(problem, remedy, *lists)


def _problems(
    members: list[NDArray[Any]], winners: NDArray[Any], losers: NDArray[Any], between: NDArray[Any], most: int
) -> list[str]:
    """What is wrong, with at most so many names of each kind."""
    result = []
    if members:
        listed = " | ".join(_names(group, min(most, 3)) for group in members[: min(most, 3)])
        more = f" | and {len(members) - 3} more groups" if len(members) > 3 and most >= 3 else ""
        which = f" ({listed}{more})" if most else ""
        result.append(f"{len(members)} groups without a comparison between them{which}")
    for who, what, brief in (
        (winners, "won every comparison with the others", "only won"),
        (losers, "lost every comparison with the others", "only lost"),
        (between, "met some of the others only as winner and the rest only as loser", "only won or only lost to each"),
    ):
        if who.size:
            result.append(f"{_names(who, most)} {what if most else brief}")
    return result


def _names(labels: NDArray[Any], most: int) -> str:
    """Some names and the number of the others."""
    if not most:
        return f"{len(labels)} items"
    names = ", ".join(shortened(repr(label)) for label in labels[:most].tolist())
    return names if len(labels) <= most else f"{names} and {len(labels) - most} more"


def _by_appearance(numbers: NDArray[Any]) -> IndexArray:
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
