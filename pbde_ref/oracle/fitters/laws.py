"""The checks of a fitter by name. The first line of each says what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.special import expit

from pbde_ref.estimation.result import ComparisonFit, interval_reach
from pbde_ref.oracle.context import FailedCheckError, SkippedCheckError
from pbde_ref.oracle.fitters.bench import Bench, RefusedError
from pbde_ref.oracle.fitters.definition import score_residual
from pbde_ref.oracle.fitters.votes import CASES, TIE, Votes
from pbde_ref.validation import FloatArray, shown

__all__ = ["CHECKS"]

Check = Callable[[Bench], None]
ONLINE = "an update game by game (Elo, Glicko, TrueSkill, OpenSkill) is not the maximum of anything"
UNEQUAL = "ties are not treated alike (openskill.py #203, ai-agent-book #358)"
SPREADS = "an infinite score spreads to the others (tabarena #494, ComparIA #470)"
STOPS = "where a method stops is taken for an estimate"
# Repetitions in which widths are looked at; 90 % instead of 95 % is 0.84 times as wide, 99 % 1.31.
WIDTHS, WIDE = 20, (0.88, 1.15)
EMPTY = "an empty run reports success (langwatch #6110)"


def repeatability(bench: Bench) -> None:
    """Equal calls give equal scores."""
    again = bench.call(bench.votes("generic"))
    if not np.array_equal(again.scores, bench.known("generic").scores, equal_nan=True):
        raise FailedCheckError("the same call gives other scores the second time", "state, or chance without a seed")


def inputs_unmodified(bench: Bench) -> None:
    """The lists that it is given are as they were."""
    given, kept = (bench.votes("generic").arguments() for _ in range(2))
    bench.tried(*given)
    if given != kept:
        raise FailedCheckError("a list that the fitter was given has changed")


def value(bench: Bench, case: str) -> None:
    """The scores are those of greatest likelihood, or of the prior's mode."""
    bench.hold(bench.votes(case), bench.known(case).utilities, f"the scores of {case!r} are not the optimum")


def score_equation(bench: Bench) -> None:
    """Each item won as often as its scores say, whoever computed them."""
    for case in CASES:
        votes, utilities = bench.votes(case), bench.known(case).utilities
        residual = np.nan_to_num(np.abs(score_residual(votes, utilities, bench.declared.prior)), nan=np.inf)
        worst, allowed = int(np.argmax(residual)), bench.declared.tolerance / 2.0
        if residual[worst] > allowed:
            raise FailedCheckError(
                f"on {case!r} {votes.names[worst]!r} won another share of its comparisons than its score says, by "
                f"{residual[worst]:.3g}; {allowed:.1g} is allowed", bench.explain(bench, votes, utilities),
            )  # fmt: skip


def renamed(votes: Votes, rng: np.random.Generator, utilities: FloatArray) -> Iterator[tuple[str, Votes]]:
    """Scores do not depend on what items are called: by strength or against it, numbers, words with spaces."""
    place = np.argsort(np.argsort(utilities)).tolist()
    spelled = {"by strength": "m{0:02}", "against it": "m{1:02}", "as numbers": "{2}", "in words": "Model {1} (β)"}
    for how, name in spelled.items():
        names = tuple(name.format(i, len(place) - i, 9 + 7 * i) for i in place)
        yield f"items that are named {how} get other scores", replace(votes, names=names)
    nearly = tuple(("gpt {}", "GPT {}")[i % 2].format(i // 2) for i in place)
    yield "items whose names differ in the case of letters get other scores", replace(votes, names=nearly)


def reordered(votes: Votes, rng: np.random.Generator, utilities: FloatArray) -> Iterator[tuple[str, Votes]]:
    """The order of the rows does not matter."""
    for order in (np.arange(votes.left.size)[::-1], rng.permutation(votes.left.size)):
        yield "rows in another order get other scores", votes.rows(order)


def turned(votes: Votes, rng: np.random.Generator, utilities: FloatArray) -> Iterator[tuple[str, Votes]]:
    """It does not matter which side an item stands on."""
    for which in (np.ones(votes.left.size, dtype=bool), rng.random(votes.left.size) < 0.5):
        yield "with sides exchanged the scores are others", votes.turned(which)
    for item in (int(np.argmax(utilities)), int(rng.integers(len(utilities)))):
        yield "with an item that is always on the right the scores are others", votes.turned(votes.left == item)


def unchanged(bench: Bench, change: Callable[..., Iterator[tuple[str, Votes]]], says: str = "") -> None:
    """What does not change the comparisons' meaning changes no score."""
    known = bench.known("generic").utilities
    for what, votes in change(bench.votes("generic"), bench.rng(change.__name__), known):
        bench.hold_equal(votes, bench.call(votes).utilities, known, what, 2.0, says)


def repeats(bench: Bench) -> None:
    """Each row three times is that many comparisons: without a prior nothing changes."""
    thrice = bench.votes("generic").rows(np.tile(np.arange(bench.votes("generic").left.size), 3))
    bench.hold(thrice, bench.call(thrice).utilities, "with each row three times the scores are not the optimum")


def weights(bench: Bench) -> None:
    """A weight is so many equal rows; halves are halves."""
    if not bench.takes_weights:
        raise SkippedCheckError("the fitter has no keyword `weights`")
    votes, rng = bench.votes("generic"), bench.rng("weights")
    times = rng.integers(1, 5, votes.left.size)
    for of_row in (times, rng.integers(1, 9, votes.left.size) / 4.0):
        weighed = replace(votes, weights=of_row.astype(np.float64))
        bench.hold(weighed, bench.call(weighed).utilities, "with weights the scores are not the optimum")
    rows, weighed = votes.rows(np.repeat(np.arange(times.size), times)), replace(votes, weights=times.astype(float))
    each = bench.call(rows).utilities
    bench.hold_equal(weighed, bench.call(weighed).utilities, each, "weights are not so many equal rows", 2.0)


def unrelated_component(bench: Bench) -> None:
    """Items that met none of the others change nothing between the others; or they are refused."""
    votes, size = bench.votes("generic"), len(bench.votes("generic").names)
    more = votes.more([size, size + 1, size], [size + 1, size, size + 1], [0, 0, 0], ("ypsilon", "zeta"))
    try:
        found = bench.call(more)
    except RefusedError as error:
        raise SkippedCheckError(f"the fitter refuses groups without a comparison between them ({error})") from None
    bench.hold(votes, found.utilities[:size], "two items that met none of the others change the others' differences")


def without_finite_estimate(bench: Bench, outcome: int) -> None:
    """An item that never won, or never lost, is infinite or refused, and the others are right all the same."""
    votes, size = bench.votes("generic"), len(bench.votes("generic").names)
    more = votes.more([size] * 3, [0, 1, 2], [outcome] * 3, ("omega",))
    if bench.declared.prior is not None:
        bench.hold(more, bench.call(more).utilities, "with a prior every item has a finite score, but not this one")
        return
    try:
        found = bench.call(more)
    except RefusedError:
        return
    others, last = found.utilities[:size], found.utilities[size]
    if not np.isfinite(others).all():
        raise FailedCheckError(f"an item without a finite estimate makes others' scores {others}", SPREADS)
    if not np.isfinite(last):
        bench.hold(votes, others, "the others' scores are not what they are without the infinite item")
    elif not found.warned:
        raise FailedCheckError(f"there is no finite estimate, and {found.scores[size]:.6g} came without a word", STOPS)


def with_ties(bench: Bench) -> None:
    """With ties the scores are the optimum of what ties are said to count for, whoever stood on the left."""
    _declared_ties(bench)
    votes, known = bench.votes("ties"), bench.known("ties").utilities
    bench.hold(votes, known, "with ties the scores are not the optimum")
    votes = votes.turned(bench.rng("ties turned").random(votes.left.size) < 0.5)
    bench.hold_equal(votes, bench.call(votes).utilities, known, "with the sides of ties exchanged scores are others", 2)


def equal_items(bench: Bench) -> None:
    """Items that only ever tied, or won and lost as often, have equal scores."""
    _declared_ties(bench)
    outcomes = (TIE, TIE) if bench.declared.ties == "half" else (TIE, TIE, 0, 1)
    left, right = (np.tile(side, len(outcomes)) for side in np.triu_indices(4, 1))
    votes = Votes(tuple("wxyz"), left, right, np.repeat(outcomes, 6))
    bench.hold_equal(votes, bench.call(votes).utilities, np.zeros(4), "equal items have different scores", 2.0, UNEQUAL)


def monotone(bench: Bench) -> None:
    """One more win raises its winner over everybody, and lowers its loser under everybody."""
    votes, before, rng = bench.votes("generic"), bench.known("generic"), bench.rng("monotone")
    for _ in range(3):
        a, b = rng.permutation(len(votes.names))[:2].tolist()
        more = votes.more([a], [b], [0])
        after = bench.call(more).utilities
        gain, right = after - before.utilities, bench.right(more).utilities - bench.right(votes).utilities
        passed = max(float(np.max(gain - gain[a])), float(np.max(gain[b] - gain)))
        if not (passed <= 4.0 * bench.declared.tolerance and gain[a] - gain[b] >= 0.5 * (right[a] - right[b])):
            raise FailedCheckError(
                f"one more win of {votes.names[a]!r} over {votes.names[b]!r} changes their difference by "
                f"{gain[a] - gain[b]:.3g} nats instead of {right[a] - right[b]:.3g}; others pass them by {passed:.3g}",
                bench.explain(bench, more, after),
            )


def anchor(bench: Bench) -> None:
    """What is said to be pinned is."""
    if bench.declared.zero is None:
        raise SkippedCheckError("no anchor is declared, so that differences alone count")
    what, wanted = bench.declared.zero
    for case in ("generic", "many"):
        votes, scores = bench.votes(case), bench.known(case).scores
        pinned = bench.declared.pinned(votes)
        got = scores.mean() if what == "mean" else scores.sum() if pinned is None else scores[pinned]
        unit = 1.0 if bench.declared.scale == "odds" else bench.declared.unit
        if not abs(got - wanted) <= max(unit * bench.declared.tolerance, 1e-9 * abs(wanted)):
            raise FailedCheckError(f"the {what} of the scores of {case!r} is {got:.9g} instead of {wanted:g}")


def no_comparisons(bench: Bench) -> None:
    """No comparisons give no scores, or an error."""
    try:
        found = bench.tried([], [], [])
    except KeyboardInterrupt:
        raise
    except BaseException:
        return
    first = found[0] if isinstance(found, tuple) else found
    if first is not None and (not hasattr(first, "__len__") or len(first)):
        raise FailedCheckError(f"scores came from no comparisons: {shown(first)}", EMPTY)


def standard_errors(bench: Bench) -> None:
    """Errors, of the information or of the sandwich, are those of differences to what is pinned, else to the mean."""
    for case in ["generic", "many"] + ["ties"] * (bench.declared.ties is not None):
        votes, found = bench.votes(case), bench.known(case)
        if found.beside is None or found.beside.ndim > 1:
            raise SkippedCheckError("no standard errors came beside the scores")
        errors = found.beside / (found.scores if bench.declared.scale == "odds" else bench.declared.unit)
        pinned = bench.declared.pinned(votes)
        wanted = bench.right(votes).standard_errors(relative_to=pinned)
        others = _relative(_sandwich(votes, bench.right(votes)), pinned) if case != "ties" else wanted
        # Without ties both are right if the model is.
        gaps = [np.abs(errors - right) / np.where(right > 0.0, right, 1.0) for right in (wanted, others)]
        worst = int(np.argmax(np.nan_to_num(gaps[0], nan=np.inf)))
        if not (gaps[0].max() <= 1e-3 or gaps[1].max() <= 1e-3):
            raise FailedCheckError(
                f"the error of {votes.names[worst]!r} on {case!r} is {errors[worst]:.5g} nats instead of "
                f"{wanted[worst]:.5g}", _explain_errors(bench, votes, errors),
            )  # fmt: skip


def coverage(bench: Bench) -> None:
    """Intervals hold the truth as often as they say, over data drawn again and again."""
    rng, truth, hits = bench.rng("coverage"), np.array([-0.6, -0.1, 0.2, 0.5]), 0
    widths: list[float] = []
    left, right = (np.repeat(side, 40) for side in np.triu_indices(4, 1))
    beside = bench.known("generic").beside
    if beside is None or beside.ndim != 2:
        raise SkippedCheckError("no intervals, two numbers for each item, came beside the scores")
    for _ in range(bench.repetitions):
        won = rng.random(left.size) < expit(truth[left] - truth[right])
        votes = Votes(("a", "b", "c", "d"), left, right, np.where(won, 0, 1))
        found, pinned = bench.call(votes), bench.declared.pinned(votes)
        ends, at = bench.declared.nats(np.asarray(found.beside)), found.utilities
        item = int(rng.integers(4)) if pinned is None else (pinned + int(rng.integers(1, 4))) % 4
        zero = at.mean() - truth.mean() if pinned is None else at[pinned] - truth[pinned]
        hits += bool(ends[item, 0] <= truth[item] + zero <= ends[item, 1])
        if len(widths) < WIDTHS and bench.declared.prior is None:
            error = bench.right(votes).standard_errors(items=[item], relative_to=pinned)[0]
            widths.append(float(ends[item, 1] - ends[item, 0]) / (2.0 * interval_reach(bench.level) * error))
    # Intervals that are much too wide hold the truth as often as a few hundred repetitions can tell.
    if widths and not WIDE[0] <= np.mean(widths) <= WIDE[1]:
        raise FailedCheckError(
            f"intervals of {100 * bench.level:g} % are {np.mean(widths):.3g} times as wide as standard errors say, in "
            f"{len(widths)} repetitions; from {WIDE[0]:g} to {WIDE[1]:g} are allowed"
        )
    # This module takes a second to load, and nobody else here needs it.
    from scipy.stats import binom

    chance = binom(bench.repetitions, bench.level)
    low, high = chance.ppf(1e-4) - 0.01 * bench.repetitions, chance.ppf(1.0 - 1e-4) + 0.01 * bench.repetitions
    if not low <= hits <= high:
        raise FailedCheckError(
            f"intervals of {100 * bench.level:g} % hold the truth in {hits} of {bench.repetitions} repetitions; "
            f"from {low:.0f} to {high:.0f} are allowed"
        )


def _explain_errors(bench: Bench, votes: Votes, errors: FloatArray) -> str:
    """Which other convention the errors follow."""
    size, fit, pinned = len(votes.names), bench.right(votes), bench.declared.pinned(votes)
    fisher, robust = (matrix[:size, :size] for matrix in (fit.information.covariance(), fit.covariance()))
    known = {
        "half a win counted as a whole comparison: intervals are too wide": _relative(fisher, pinned),
        "errors of differences to the mean; another anchor is declared": _relative(robust, None),
        "each item by itself, as if the others' scores were known": np.linalg.pinv(fisher).diagonal() ** -0.5,
        **{f"errors of differences to {name!r}, which is not declared as the anchor": _relative(robust, item)
           for item, name in enumerate(votes.names)},
    }  # fmt: skip
    for says, values in known.items():
        if np.allclose(errors, values, rtol=1e-3, atol=1e-9):
            return says
    wanted = _relative(robust, pinned)
    ratio = errors[wanted > 1e-9] / wanted[wanted > 1e-9]
    return f"all errors times {ratio.mean():.6g}" if np.ptp(ratio) <= 1e-3 * abs(ratio.mean()) else ""


def _sandwich(votes: Votes, fit: ComparisonFit) -> FloatArray:
    """The covariance that the rows' scores give, whatever the model."""
    size, apart = len(votes.names), np.eye(len(votes.names))[votes.left] - np.eye(len(votes.names))[votes.right]
    missed = np.where(votes.outcome == TIE, 0.5, 1.0 - votes.outcome) - expit(apart @ fit.utilities)
    inverse = fit.information.covariance()[:size, :size]
    return np.asarray(inverse @ (apart.T @ ((votes.times * missed**2)[:, None] * apart)) @ inverse)


def _relative(covariance: FloatArray, item: int | None) -> FloatArray:
    """Errors as they are, or of differences to an item."""
    variance = covariance.diagonal()
    if item is not None:
        variance = variance + covariance[item, item] - 2.0 * covariance[item]
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def _declared_ties(bench: Bench) -> None:
    if bench.declared.ties is None:
        raise SkippedCheckError("it is not declared what ties count for")


CHECKS: dict[str, Check] = {
    "repeatability": repeatability, "inputs_unmodified": inputs_unmodified,
    **{("value" if case == "generic" else f"value_{case}"): partial(value, case=case) for case in CASES},
    "score_equation": score_equation,
    "renaming": partial(unchanged, change=renamed, says="what items are called matters (tabarena #502)"),
    "row_order": partial(unchanged, change=reordered, says=ONLINE), "sides": partial(unchanged, change=turned),
    "repeats": repeats, "weights": weights, "unrelated_component": unrelated_component,
    "winless": partial(without_finite_estimate, outcome=1), "unbeaten": partial(without_finite_estimate, outcome=0),
    "ties": with_ties, "equal_items": equal_items, "monotone": monotone, "anchor": anchor,
    "no_comparisons": no_comparisons, "standard_errors": standard_errors, "coverage": coverage,
}  # fmt: skip
