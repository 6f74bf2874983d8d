"""The checks of a fitter by name. The first line of each says what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.stats import binom

from pbde_ref.oracle.context import FailedCheckError, SkippedCheckError
from pbde_ref.oracle.fitters.bench import Bench, Found, RefusedError
from pbde_ref.oracle.fitters.definition import score_residual
from pbde_ref.oracle.fitters.votes import CASES, TIE, Votes
from pbde_ref.validation import FloatArray

__all__ = ["CHECKS"]

Check = Callable[[Bench], None]
NOTHING = "there is no finite estimate, and a finite score came without a word"


def repeatability(bench: Bench) -> None:
    """Equal calls give equal scores."""
    again = bench.call(bench.votes("generic"))
    if not np.array_equal(again.scores, bench.known("generic").scores, equal_nan=True):
        raise FailedCheckError("the same call gives other scores the second time", "state, or chance without a seed")


def inputs_unmodified(bench: Bench) -> None:
    """The lists that it is given are as they were."""
    kept: list[list[str]] = []

    def spy(*columns: list[str]) -> object:
        before = [list(column) for column in columns]
        result = bench.function(*columns)
        kept.extend(column for column, was in zip(columns, before, strict=True) if column != was)
        return result

    replace(bench, function=spy).call(bench.votes("generic"))
    if kept:
        raise FailedCheckError("a list that the fitter was given has changed")


def value(bench: Bench, case: str) -> None:
    """The scores are those of greatest likelihood, or of the prior's mode."""
    bench.hold(bench.votes(case), bench.known(case).utilities, f"the scores of {case!r} are not the optimum")


def score_equation(bench: Bench) -> None:
    """Each item won as often as its scores say, whoever computed them."""
    for case in CASES:
        votes, utilities = bench.votes(case), bench.known(case).utilities
        residual = score_residual(votes, utilities, bench.declared.prior)
        worst = int(np.argmax(np.where(np.isnan(residual), np.inf, np.abs(residual))))
        allowed = bench.declared.tolerance / 2.0
        if not abs(residual[worst]) <= allowed:
            raise FailedCheckError(
                f"on {case!r} {votes.names[worst]!r} should have won {-residual[worst]:+.3g} of its comparisons, by its "
                f"score, than it did; {allowed:.1g} is allowed",
                bench.explain(bench, votes, utilities),
            )


def renaming(bench: Bench) -> None:
    """Scores do not depend on what items are called: by strength or against it, numbers, words with spaces."""
    votes, found = bench.votes("generic"), bench.known("generic")
    place = np.argsort(np.argsort(found.utilities)).tolist()
    size = len(place)
    named = {
        "by strength": [f"m{i:02}" for i in place], "against it": [f"m{size - i:02}" for i in place],
        "as numbers": [str(9 + 7 * i) for i in place], "in words": [f"Model {i} (β)" for i in reversed(range(size))],
    }  # fmt: skip
    for how, names in named.items():
        other = replace(votes, names=tuple(names))
        try:
            _hold_law(bench, other, bench.call(other), f"items that are named {how} get other scores")
        except FailedCheckError as failure:
            raise FailedCheckError(str(failure), "what items are called matters (tabarena #502)") from None


def row_order(bench: Bench) -> None:
    """The order of the rows does not matter."""
    votes, rng = bench.votes("generic"), bench.rng("row_order")
    for order in (np.arange(votes.left.size)[::-1], rng.permutation(votes.left.size)):
        try:
            _hold_law(bench, votes, bench.call(votes.rows(order)), "rows in another order get other scores")
        except FailedCheckError as failure:
            says = "an update game by game (Elo, Glicko, TrueSkill, OpenSkill) is not the maximum of anything"
            raise FailedCheckError(str(failure), says) from None


def sides(bench: Bench) -> None:
    """It does not matter which side an item stands on."""
    votes, rng = bench.votes("generic"), bench.rng("sides")
    for turned in (np.ones(votes.left.size, dtype=bool), rng.random(votes.left.size) < 0.5):
        other = votes.turned(turned)
        _hold_law(bench, other, bench.call(other), "with sides exchanged the scores are others")


def repeats(bench: Bench) -> None:
    """Each row three times is that many comparisons: without a prior nothing changes."""
    votes = bench.votes("generic")
    thrice = votes.rows(np.tile(np.arange(votes.left.size), 3))
    bench.hold(thrice, bench.call(thrice).utilities, "with each row three times the scores are not the optimum")


def weights(bench: Bench) -> None:
    """A weight is so many equal rows; halves are halves."""
    if not bench.takes_weights:
        raise SkippedCheckError("the fitter has no keyword `weights`")
    votes, rng = bench.votes("generic"), bench.rng("weights")
    times = rng.integers(1, 5, votes.left.size)
    whole = replace(votes, weights=times.astype(np.float64))
    bench.hold(whole, bench.call(whole).utilities, "with weights the scores are not the optimum")
    rows = votes.rows(np.repeat(np.arange(times.size), times))
    apart_ = bench.call(rows).utilities
    bench.hold_equal(whole, bench.call(whole).utilities, apart_, "weights are not so many equal rows", 2.0)
    parts = replace(votes, weights=rng.integers(1, 9, votes.left.size) / 4.0)
    bench.hold(parts, bench.call(parts).utilities, "with fractions as weights the scores are not the optimum")


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
    try:
        found = bench.call(more)
    except RefusedError:
        if bench.declared.prior is not None:
            raise
        return
    if bench.declared.prior is not None:
        bench.hold(more, found.utilities, "with a prior every item has a finite score, but not this one")
        return
    if not np.isfinite(found.utilities[:size]).all():
        raise FailedCheckError(
            f"{'a winless' if outcome else 'an unbeaten'} item makes the scores of others {found.scores[:size]}",
            "an infinite score spreads to the others (tabarena #494, ComparIA #470)",
        )
    if np.isfinite(found.utilities[size]) and not found.warned:
        raise FailedCheckError(f"{NOTHING}: {found.scores[size]:.6g}", "where a method stops is taken for an estimate")
    if not np.isfinite(found.utilities[size]):
        bench.hold(votes, found.utilities[:size], "the others' scores are not what they are without the infinite item")


def with_ties(bench: Bench) -> None:
    """With ties the scores are the optimum of what ties are said to count for."""
    _declared_ties(bench)
    bench.hold(bench.votes("ties"), bench.known("ties").utilities, "with ties the scores are not the optimum")
    votes = bench.votes("ties").turned(bench.rng("ties turned").random(bench.votes("ties").left.size) < 0.5)
    _hold_law(bench, votes, bench.call(votes), "with the sides of ties exchanged the scores are others", "ties")


def equal_items(bench: Bench) -> None:
    """Items that only ever tied, or won and lost as often, have equal scores."""
    _declared_ties(bench)
    left, right = (np.array(side) for side in zip(*((a, b) for a in range(4) for b in range(a)), strict=True))
    outcomes = (TIE, TIE) if bench.declared.ties == "half" else (TIE, TIE, 0, 1)
    votes = Votes(tuple("wxyz"), *(np.tile(side, len(outcomes)) for side in (left, right)),
                  np.repeat(outcomes, left.size))  # fmt: skip
    try:
        bench.hold_equal(votes, bench.call(votes).utilities, np.zeros(4), "equal items have different scores", 2.0)
    except FailedCheckError as failure:
        raise FailedCheckError(str(failure), "ties are not treated alike (openskill.py #203, ai-agent-book #358)") from None


def monotone(bench: Bench) -> None:
    """One more win raises its winner over everybody, and lowers its loser under everybody."""
    votes, before, rng = bench.votes("generic"), bench.known("generic"), bench.rng("monotone")
    base = bench.right(votes).utilities
    for _ in range(3):
        a, b = rng.permutation(len(votes.names))[:2].tolist()
        more = votes.more([a], [b], [0])
        gain = bench.call(more).utilities - before.utilities
        right = bench.right(more).utilities - base
        slack = 4.0 * bench.declared.tolerance
        up, down = gain[a] - gain, gain - gain[b]
        if not (min(up.min(), down.min()) >= -slack and gain[a] - gain[b] >= 0.5 * (right[a] - right[b])):
            raise FailedCheckError(
                f"one more win of {votes.names[a]!r} over {votes.names[b]!r} changes their difference by "
                f"{gain[a] - gain[b]:.3g} nats instead of {right[a] - right[b]:.3g}, and others pass them by "
                f"{max(-up.min(), -down.min(), 0.0):.3g}",
                bench.explain(bench, more, bench.call(more).utilities),
            )


def anchor(bench: Bench) -> None:
    """What is said to be pinned is."""
    zero = bench.declared.zero
    if zero is None:
        raise SkippedCheckError("no anchor is declared, so that differences alone count")
    what, wanted = zero
    for case in ("generic", "many"):
        votes, scores = bench.votes(case), bench.known(case).scores
        pinned = bench.declared.pinned(votes)
        got = float(scores.mean() if what == "mean" else scores.sum() if what == "sum" else scores[pinned])
        allowed = (1.0 if bench.declared.scale == "odds" else bench.declared.unit) * bench.declared.tolerance
        if not abs(got - wanted) <= max(allowed, 1e-9 * abs(wanted)):
            raise FailedCheckError(f"the {what} of the scores of {case!r} is {got:.9g} instead of {wanted:g}")


def no_comparisons(bench: Bench) -> None:
    """No comparisons give no scores, or an error."""
    try:
        found = bench.function([], [], [])
    except Exception:
        return
    first = found[0] if isinstance(found, tuple) else found
    if first is not None and len(first):
        raise FailedCheckError(f"scores came from no comparisons: {first!r:.80}", "an empty run reports success "
                               "(langwatch #6110)")  # fmt: skip


def standard_errors(bench: Bench) -> None:
    """Errors are those of the differences to what is pinned, or to the mean; a half win is no comparison."""
    if bench.known("generic").beside is None or bench.known("generic").beside.ndim > 1:
        raise SkippedCheckError("no standard errors came beside the scores")
    cases = ["generic", "many"] + ["ties"] * (bench.declared.ties is not None)
    for case in cases:
        votes, found = bench.votes(case), bench.known(case)
        errors = _in_nats(bench, found)
        right = bench.right(votes)
        pinned = bench.declared.pinned(votes)
        wanted = right.standard_errors(relative_to=pinned)
        gap = np.abs(errors - wanted) / np.maximum(wanted, 1e-12)
        if pinned is not None:
            gap[pinned] = 0.0
        if not gap.max() <= 1e-3:
            worst = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
            raise FailedCheckError(
                f"the error of {votes.names[worst]!r} on {case!r} is {errors[worst]:.5g} nats instead of "
                f"{wanted[worst]:.5g}",
                _explain_errors(bench, votes, errors),
            )


def coverage(bench: Bench) -> None:
    """Intervals hold the truth as often as they say, over data drawn again and again."""
    if bench.known("generic").beside is None or bench.known("generic").beside.ndim == 1:
        raise SkippedCheckError("no intervals, two numbers for each item, came beside the scores")
    rng, truth, hits = bench.rng("coverage"), np.array([-0.6, -0.1, 0.2, 0.5]), 0
    names = ("a", "b", "c", "d")
    left, right = (np.repeat(side, 40) for side in np.triu_indices(4, 1))
    for _ in range(bench.repetitions):
        won = rng.random(left.size) < 1.0 / (1.0 + np.exp(truth[right] - truth[left]))
        votes = Votes(names, left, right, np.where(won, 0, 1))
        found = bench.call(votes)
        ends = bench.declared.nats(found.beside)
        pinned = bench.declared.pinned(votes)
        at = found.utilities
        zero = at.mean() - truth.mean() if pinned is None else at[pinned] - truth[pinned]
        item = int(rng.integers(4)) if pinned is None else (pinned + int(rng.integers(1, 4))) % 4
        hits += bool(ends[item, 0] <= truth[item] + zero <= ends[item, 1])
    low, high = (binom.ppf(q, bench.repetitions, bench.level) for q in (1e-4, 1.0 - 1e-4))
    slack = 0.01 * bench.repetitions
    if not low - slack <= hits <= high + slack:
        raise FailedCheckError(
            f"intervals of {100 * bench.level:g} % hold the truth in {hits} of {bench.repetitions} repetitions; "
            f"from {low - slack:.0f} to {high + slack:.0f} are allowed"
        )


def _in_nats(bench: Bench, found: Found) -> FloatArray:
    assert found.beside is not None
    return found.beside / (found.scores if bench.declared.scale == "odds" else bench.declared.unit)


def _explain_errors(bench: Bench, votes: Votes, errors: FloatArray) -> str:
    """Which other convention the errors follow."""
    fit = bench.right(votes)
    inverse = fit.information.covariance()[: len(votes.names), : len(votes.names)]
    covariance = fit.covariance()[: len(votes.names), : len(votes.names)]
    curvature = np.linalg.pinv(inverse).diagonal()
    known = {
        "half a win counted as a whole comparison: intervals are too wide": np.sqrt(inverse.diagonal()),
        "errors of differences to the mean; another anchor is declared": np.sqrt(covariance.diagonal()),
        "each item by itself, as if the others' scores were known": 1.0 / np.sqrt(curvature),
    }
    for item, name in enumerate(votes.names):
        relative = np.sqrt(np.maximum(covariance.diagonal() + covariance[item, item] - 2.0 * covariance[item], 0.0))
        known[f"errors of differences to {name!r}, which is not declared as the anchor"] = relative
    for says, values in known.items():
        there = values > 1e-9
        if np.allclose(errors[there], values[there], rtol=1e-3, atol=0.0):
            return says
    ratio = errors / np.sqrt(covariance.diagonal())
    return f"all errors times {ratio.mean():.6g}" if np.ptp(ratio) <= 1e-3 * abs(ratio.mean()) else ""


def _declared_ties(bench: Bench) -> None:
    if bench.declared.ties is None:
        raise SkippedCheckError("it is not declared what ties count for")


def _hold_law(bench: Bench, votes: Votes, found: Found, what: str, case: str = "generic") -> None:
    bench.hold_equal(votes, found.utilities, bench.known(case).utilities, what, 2.0)


CHECKS: dict[str, Check] = {
    "repeatability": repeatability, "inputs_unmodified": inputs_unmodified,
    **{("value" if case == "generic" else f"value_{case}"): partial(value, case=case) for case in CASES},
    "score_equation": score_equation, "renaming": renaming, "row_order": row_order, "sides": sides,
    "repeats": repeats, "weights": weights, "unrelated_component": unrelated_component,
    "winless": partial(without_finite_estimate, outcome=1), "unbeaten": partial(without_finite_estimate, outcome=0),
    "ties": with_ties, "equal_items": equal_items, "monotone": monotone, "anchor": anchor,
    "no_comparisons": no_comparisons, "standard_errors": standard_errors, "coverage": coverage,
}  # fmt: skip
