"""From the names of a file's columns to what each is for; layouts that many files share are rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from pbde_ref.estimation.sources import SHOWN, DataError

__all__ = ["LAYOUTS", "OUTCOMES", "Columns", "Roles", "roles_of"]

# How an outcome is written, and how many columns it takes beside the two items.
OUTCOMES = {
    "chosen": (0, 0), "winner": (1, 9), "one_hot": (2, 3), "scores": (2, 2), "counts": (2, 3), "probability": (1, 1),
    "margin": (1, 1), "ranking": (1, 1), "matrix": (0, 0),
}  # fmt: skip


@dataclass(frozen=True)
class Roles:
    """What the columns of a file are for.

    Attributes
    ----------
    outcome : str
        One of `OUTCOMES`: how a row says who won.
    items : tuple of str
        Columns of the two items, the winner's first if the outcome is "chosen"; none for rankings.
    says : tuple of str
        Columns that say who won.
    layout : str
        Whose files look like this; empty if nobody's.
    left_wins, right_wins, tie_values, void : tuple of str
        What this layout's outcome says beside the usual words; void is what counts as no comparison.
    lowest, highest : float
        The numbers that mean that the right and the left item is preferred for certain, of a probability. A margin
        favours the left item if it has the sign of `highest`.
    prompt : str or None
        Column of what the items answer. With `answers`, an item is an answer to its prompt.
    answers : bool
    weight, annotator, cluster : str or None
    covariates : tuple of str
    dependent : str or None
        A column whose equal entries often mark rows that depend on each other, if nobody has named it.
    """

    outcome: str
    items: tuple[str, ...]
    says: tuple[str, ...] = ()
    layout: str = ""
    left_wins: tuple[str, ...] = ()
    right_wins: tuple[str, ...] = ()
    tie_values: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    lowest: float = 0.0
    highest: float = 1.0
    prompt: str | None = None
    answers: bool = False
    weight: str | None = None
    annotator: str | None = None
    cluster: str | None = None
    covariates: tuple[str, ...] = ()
    dependent: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them, each once."""
        single = (self.prompt if self.answers else None, self.weight, self.annotator, self.cluster)
        used = [*self.items, *self.says, *filter(None, single), *self.covariates]
        return tuple(dict.fromkeys(used))

    def __str__(self) -> str:
        named = f"looks like {self.layout}" if self.layout else "read as"
        extra = {"prompt": self.prompt if self.answers else None, "weight": self.weight, "annotator": self.annotator,
                 "cluster": self.cluster}  # fmt: skip
        said = [*self.items, *self.says, *(name if name == role else f"{name} as {role}" for role, name in extra.items()
                                           if name)]  # fmt: skip
        return f"{named}: {', '.join(said)}"


def _layout(layout: str, left: str, right: str, outcome: str, *says: str, **more: Any) -> Roles:
    return Roles(outcome, (left, right), says, layout, **more)


_SHP = {"left_wins": ("1",), "right_wins": ("0",), "prompt": "history", "answers": True}
LAYOUTS = (
    _layout("Kaggle LMSYS battles", "model_a", "model_b", "one_hot", "winner_model_a", "winner_model_b", "winner_tie"),
    _layout("Chatbot Arena battles", "model_a", "model_b", "winner", "winner"),
    _layout("Arena-Hard verdicts", "model_a", "model_b", "winner", "score"),
    _layout("MT-Bench judgments of pairs", "model_1", "model_2", "winner", "g1_winner", "g2_winner", void=("error",)),
    _layout("AlpacaEval annotations", "generator_1", "generator_2", "probability", "preference", lowest=2.0,
            highest=1.0),
    _layout("RewardBench", "chosen_model", "rejected_model", "chosen"),
    _layout("HelpSteer3 preferences", "response1", "response2", "margin", "overall_preference", highest=-1.0,
            prompt="context", answers=True),
    _layout("HelpSteer2 preferences", "response_1", "response_2", "margin", "preference_strength", highest=-1.0,
            prompt="prompt", answers=True),
    _layout("SHP", "human_ref_A", "human_ref_B", "winner", "labels", **_SHP),
    _layout("UltraFeedback, binarized", "chosen", "rejected", "chosen", prompt="prompt_id", answers=True),
    _layout("TRL's preference format", "chosen", "rejected", "chosen", prompt="prompt", answers=True),
    _layout("football-data.co.uk", "HomeTeam", "AwayTeam", "winner", "FTR", left_wins=("H",), right_wins=("A",),
            tie_values=("D",)),
    _layout("chess results", "White", "Black", "winner", "Result", void=("*",)),
    Roles("ranking", (), ("answers",), "Nectar's ranked answers"),
    Roles("ranking", (), ("ranking",), "rankings"),
)  # fmt: skip
_WINNERS = (
    ("chosen", "rejected"), ("winner", "loser"), ("winner_name", "loser_name"), ("preferred", "rejected"),
    ("sieger", "verlierer"), ("gewinner", "verlierer"),
)  # fmt: skip
_PAIRS = (
    ("left", "right"), ("model_a", "model_b"), ("item_a", "item_b"), ("a", "b"), ("item1", "item2"), ("option_a",
    "option_b"), ("player1", "player2"), ("player_1", "player_2"), ("home_team", "away_team"), ("team1", "team2"),
    ("home", "away"), ("white", "black"), ("response_a", "response_b"), ("output_1", "output_2"), ("model1", "model2"),
)  # fmt: skip
_SAID = (
    ("winner", "winner"), ("winner", "result"), ("winner", "preference"), ("winner", "label"), ("winner", "outcome"),
    ("scores", "score_a", "score_b"), ("scores", "home_score", "away_score"), ("scores", "score1", "score2"),
    ("scores", "score_1", "score_2"), ("scores", "left_score", "right_score"), ("counts", "win1", "win2"),
    ("counts", "wins1", "wins2"), ("counts", "wins_a", "wins_b"), ("counts", "win_a", "win_b"),
    ("counts", "home_wins", "away_wins"), ("counts", "left_wins", "right_wins"),
)  # fmt: skip
PLAIN = tuple(Roles("chosen", pair) for pair in _WINNERS) + tuple(
    Roles(outcome, pair, tuple(says)) for pair, (outcome, *says) in product(_PAIRS, _SAID)
)
_DEPENDENT = ("judge", "annotator", "worker", "worker_id", "user", "user_id", "rater", "prompt", "instruction")
_WEIGHTS = ("weight", "weights", "count", "n", "anzahl", "voters")


@dataclass(frozen=True)
class Columns:
    """The columns that a caller named."""

    items: Mapping[str, str] = field(default_factory=dict)
    outcome: str = ""
    says: tuple[str, ...] = ()
    prompt: str | None = None
    weight: str | None = None
    annotator: str | None = None
    cluster: str | None = None
    covariates: tuple[str, ...] = ()


def roles_of(file: str, names: Sequence[str], given: Columns) -> Roles:
    """What the columns are for: as the caller says; else as the first layout has it whose columns exist.

    Raises
    ------
    DataError
        If a column does not exist, or no layout fits; the message says what to type.

    Examples
    --------
    >>> print(roles_of("x.csv", ["id", "White", "Black", "Result"], Columns()))
    looks like chess results: White, Black, Result
    """
    known = {name.casefold(): name for name in reversed(names)}
    candidates = [fit for layout in (*LAYOUTS, *PLAIN) if (fit := _fitted(layout, known)) is not None]
    found = next((layout for layout in candidates if _agrees(layout, given)), None)
    torn = [fit.says for fit in candidates if fit.outcome == "one_hot" and set(given.says) < set(fit.says)]
    if given.outcome == "winner" and torn:
        raise DataError(f"{file}: {given.says[0]!r} is part of an answer", "name all: ", ("one_hot", ",".join(torn[0])))
    if found is None and (given.outcome or given.items):
        outcome = given.outcome or "winner"
        items = () if outcome == "ranking" else tuple(given.items.get(side, side) for side in _sides(outcome))
        found = Roles(outcome, items, given.says or ("winner",) * (outcome == "winner"))
    if found is None and len(names) > 2 and not names[0]:
        found = Roles("matrix", (), tuple(names), "a matrix of wins, each row's over each column's")
    if found is None:
        problem = "say which columns hold the comparisons (left, right, winner; or chosen, rejected); the file has"
        advice = ("name them: ", ("chosen", "COLUMN"), " ", ("rejected", "COLUMN"))
        raise DataError(f"{file}: {problem} {_listed(names)}", *advice)
    prompt = given.prompt or (found.prompt if found.prompt in names else None)
    found = replace(
        found, prompt=prompt, answers=prompt not in (None, "none") and (found.answers or given.prompt is not None),
        weight=given.weight or _usual_weight(names, found, given), annotator=given.annotator, cluster=given.cluster,
        covariates=given.covariates,
    )  # fmt: skip
    for column in found.columns:
        # In JSON a name may be a path into nested objects.
        if column not in names and column.split(".")[0] not in names:
            role = {str(name): role for role, name in {**vars(given), **given.items}.items()}.get(column, found.outcome)
            raise DataError(f"{file}: there is no column {column!r} for `{role}`; the file has {_listed(names)}")
    dependent = (name for name in names if name.casefold() in _DEPENDENT and name not in found.columns)
    return found if found.answers or found.cluster else replace(found, dependent=next(dependent, None))


def _sides(outcome: str) -> tuple[str, str]:
    return ("chosen", "rejected") if outcome == "chosen" else ("left", "right")


def _fitted(layout: Roles, known: Mapping[str, str]) -> Roles | None:
    """The layout with the columns' names as the file spells them; None if one is missing."""
    if layout.answers and layout.outcome == "chosen" and layout.prompt not in known:
        return None
    try:
        items, says = (tuple(known[name.casefold()] for name in group) for group in (layout.items, layout.says))
    except KeyError:
        return None
    return replace(layout, items=items, says=says, prompt=known.get(layout.prompt or ""))


def _agrees(layout: Roles, given: Columns) -> bool:
    """Whether the caller's columns are those of the layout."""
    if given.outcome not in ("", layout.outcome) or given.says not in ((), layout.says):
        return False
    sides = dict(zip(_sides(layout.outcome), layout.items, strict=False))
    return all(sides.get(side) == name for side, name in given.items.items())


def _usual_weight(names: Sequence[str], found: Roles, given: Columns) -> str | None:
    if given.outcome or given.items or (found.layout and found.outcome != "ranking"):
        return None
    return next((name for name in names if name.casefold() in _WEIGHTS and name not in found.columns), None)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:SHOWN]) for name in names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
