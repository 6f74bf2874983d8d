"""A fitter on the bench: how it is called, what it gave, and how that is compared with what is right."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.foreign import raised, watched
from pbde_ref.oracle.context import FailedCheckError
from pbde_ref.oracle.fitters.definition import Declared, optimum
from pbde_ref.oracle.fitters.votes import CASES, Votes, with_ties
from pbde_ref.validation import FloatArray

__all__ = ["Bench", "Found", "RefusedError", "apart"]



class RefusedError(Exception):
    """The fitter raised; the message says what."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a fitter gave: scores as it spells them, as utilities in nats, what stood beside them, and if it warned.

    A score that is missing or None is NaN. `beside` has a row per item: an error, or two ends of an interval.
    """

    scores: FloatArray
    utilities: FloatArray
    beside: FloatArray | None
    warned: bool


@dataclass(eq=False)
class Bench:
    """A fitter, what it is said to compute, and the seed of what it is tried on."""

    function: Callable[..., Any]
    declared: Declared
    seed: int = 0
    level: float = 0.95
    repetitions: int = 200
    explain: Callable[[Bench, Votes, FloatArray], str] = lambda bench, votes, utilities: ""
    changes: set[str] = field(default_factory=set)
    settings: Any = field(default_factory=np.geterr)
    _known: dict[str, Found] = field(default_factory=dict)

    def rng(self, what: str) -> np.random.Generator:
        """Numbers of their own for each purpose, whatever else was drawn."""
        return np.random.default_rng([self.seed, *what.encode()])

    @cached_property
    def takes_weights(self) -> bool:
        """Whether the fitter has a keyword `weights`."""
        try:
            return "weights" in inspect.signature(self.function).parameters
        except (TypeError, ValueError):
            return False

    def votes(self, name: str) -> Votes:
        """One of the cases."""
        return _case(name, self.seed)

    def known(self, name: str) -> Found:
        """What the fitter gives for a case, called once."""
        if name not in self._known:
            self._known[name] = self.call(self.votes(name))
        return self._known[name]

    def tried(self, *rows: Any, **keywords: Any) -> Any:
        """The function, with what it changes for everybody put back."""
        # A fitter that warns is heard, whatever is made of its scores.
        with np.errstate(**self.settings), watched(self.changes):
            return self.function(*rows, **keywords)

    def call(self, votes: Votes) -> Found:
        """Call the fitter with copies.

        Raises
        ------
        RefusedError
            If it raises.
        FailedCheckError
            If what it returns is no mapping from labels to numbers.
        """
        keywords = {} if votes.weights is None else {"weights": votes.weights.tolist()}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                result = self.tried(*votes.arguments(), **keywords)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise RefusedError(raised(error)) from error
        scores, beside = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        values = _in_order("scores", scores, votes.names)
        if values.ndim > 1:
            raise FailedCheckError(f"each score must be one number; got {values.shape[1]} for each item")
        more = None if beside is None else _in_order("errors", beside, votes.names)
        ours = [w for w in said if not issubclass(w.category, DeprecationWarning | FutureWarning)]
        return Found(values, self.declared.nats(values), more, bool(ours))

    def right(self, votes: Votes) -> ComparisonFit:
        """What it should give."""
        return _right(votes, self.declared)

    def hold(self, votes: Votes, utilities: FloatArray, what: str) -> None:
        """Compare with the optimum, differences alone."""
        self.hold_equal(votes, utilities, self.right(votes).utilities, what)

    def hold_equal(
        self, votes: Votes, utilities: FloatArray, wanted: FloatArray, what: str, times: float = 1.0, says: str = ""
    ) -> None:
        """Compare differences of utilities with others; `says` is what it means if they differ."""
        gap, allowed = apart(utilities, wanted), times * self.declared.tolerance
        worst = int(np.argmax(np.where(np.isnan(gap), np.inf, np.abs(gap))))
        if not abs(gap[worst]) <= allowed:
            centre = utilities - utilities[np.isfinite(utilities)].mean() if np.isfinite(utilities).any() else utilities
            right = wanted - wanted.mean()
            raise FailedCheckError(
                f"{what}\ncomputed   {centre[worst]:.9g} nats for {votes.names[worst]!r}, the mean being 0\n"
                f"expected   {right[worst]:.9g}\ndifference {abs(gap[worst]):.3g}, where {allowed:.3g} is allowed\n\n"
                f"{source(votes)}",
                says or self.explain(self, votes, utilities),
            )


@lru_cache(maxsize=16)
def _case(name: str, seed: int) -> Votes:
    return (with_ties if name == "ties" else CASES[name])(np.random.default_rng([seed, *name.encode()]))


@lru_cache(maxsize=64)
def _right(votes: Votes, declared: Declared) -> ComparisonFit:
    return optimum(votes, declared.ties, declared.prior)


def apart(utilities: FloatArray, wanted: FloatArray) -> FloatArray:
    """Differences of centred utilities."""
    return np.asarray(utilities - utilities.mean() - (wanted - wanted.mean()))


def source(votes: Votes) -> str:
    """A call that can be pasted, where it is short."""
    if votes.left.size > 200:
        return f"on {votes.left.size} comparisons of {len(votes.names)} items"
    rows = [f"{a} {b} {said}" for a, b, said in zip(*votes.arguments(), strict=True)]
    lines = [f'    "{"; ".join(rows[i : i + 4])}; "' for i in range(0, len(rows), 4)]
    called = "" if votes.weights is None else f", weights={votes.weights.tolist()}"
    split = "left, right, outcome = zip(*(row.split() for row in rows.split(';')[:-1]))"
    return "\n".join(["rows = (", *lines, ")", split, f"function(left, right, outcome{called})"])


def _in_order(what: str, given: Any, names: tuple[str, ...]) -> FloatArray:
    """A mapping's values in the items' order."""
    if not isinstance(given, Mapping):
        if not (hasattr(given, "items") and hasattr(given, "keys")):
            raise FailedCheckError(f"{what} must be a mapping from labels to numbers; got {type(given).__name__:.60}")
        given = dict(given.items())
    strange = [key for key in given if key not in names]
    if strange:
        raise FailedCheckError(f"{what} must be of the labels that were compared; got {strange[0]!r:.60}")
    nothing = np.nan if what == "scores" else next((np.full(np.shape(v), np.nan) for v in given.values()), np.nan)
    values = [nothing if given.get(name) is None else given[name] for name in names]
    texts = [x for value in values for x in np.asarray(value, dtype=object).flat if isinstance(x, str | bytes)]
    if texts:
        raise FailedCheckError(f"{what} must be numbers; got the text {texts[0]!r:.60}")
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FailedCheckError(f"{what} must be numbers; {error}") from None
