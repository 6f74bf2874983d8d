"""What a wrong fitter may have computed instead: other formulas, with the threads where they were found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice

import numpy as np
from scipy.special import expit

from pbde_ref.estimation.connectivity import NoFiniteEstimateError
from pbde_ref.estimation.likelihood import TIE_MODELS
from pbde_ref.estimation.priors import GaussianPrior, PseudoCounts
from pbde_ref.oracle.fitters.bench import Bench, apart
from pbde_ref.oracle.fitters.definition import Declared, optimum, score_residual
from pbde_ref.oracle.fitters.votes import TIE, Votes
from pbde_ref.validation import FloatArray

__all__ = ["KNOWN", "diagnose"]

# Steps of a slow method that are tried, and nats within which a stop counts as one near the maximum.
MOST_STEPS, NEAR = 3000, 0.05

Formula = Callable[[Declared, Votes], FloatArray]


def minorized(wins: FloatArray, won: FloatArray) -> Iterator[FloatArray]:
    """Zermelo's iteration p ← W / Σ n/(p + p') from equal strengths, step by step, as logarithms."""
    games, strength = wins + wins.T, np.ones(len(wins))
    while True:
        strength = won / (games / np.add.outer(strength, strength)).sum(axis=1)
        logs = np.log(strength)
        logs -= np.add.reduce(logs) / logs.size
        strength = np.exp(logs)
        yield logs


def second_iterate(declared: Declared, votes: Votes) -> FloatArray:
    """Zermelo's iteration, ended after two steps."""
    steps = minorized(votes.wins, votes.wins.sum(axis=1))
    next(steps)
    return next(steps)


def alternating(count: float, declared: Declared, votes: Votes) -> FloatArray:
    """Newman's update of all strengths at once, a thousand times, with a prior against strength 1 or none."""
    wins, strength = votes.wins, np.ones(len(votes.names))
    for _ in range(1000):
        shares, own = wins / np.add.outer(strength, strength), count / (strength + 1.0)
        strength = (shares @ strength + own) / (shares.sum(axis=0) + own)
        strength /= np.exp(np.add.reduce(np.log(strength)) / strength.size)
    return np.asarray(np.log(strength))


def recentred_prior(declared: Declared, votes: Votes) -> FloatArray:
    """Zermelo's iteration with pseudo-counts against strength 1, the strengths' geometric mean set to 1 each time."""
    count = declared.prior.pseudo_count if declared.prior is not None else 0.1
    games, won, strength = votes.wins + votes.wins.T, votes.wins.sum(axis=1) + count, np.ones(len(votes.names))
    for _ in range(20000):
        before = strength
        strength = won / ((games / np.add.outer(strength, strength)).sum(axis=1) + 2.0 * count / (strength + 1.0))
        strength = strength / np.exp(np.add.reduce(np.log(strength)) / strength.size)
        if np.abs(np.log(strength / before)).max() < 1e-12:
            break
    return np.asarray(np.log(strength))


def ties_as(code: int, declared: Declared, votes: Votes) -> FloatArray:
    """Ties counted as wins of one side."""
    return _fit(declared, replace(votes, outcome=np.where(votes.outcome == TIE, code, votes.outcome)))


def one_sided_ties(declared: Declared, votes: Votes) -> FloatArray:
    """Ties of items that tied on one side only are lost when a table and its transpose are added."""
    tied = votes.outcome == TIE
    both = np.intersect1d(votes.left[tied], votes.right[tied])
    kept = ~tied | (np.isin(votes.left, both) & np.isin(votes.right, both))
    return _fit(declared, votes.rows(kept))


def both_win(declared: Declared, votes: Votes) -> FloatArray:
    """A tie counted as a whole win of either side."""
    tied = votes.outcome == TIE
    return _fit(declared, replace(votes, weights=votes.times * np.where(tied, 2.0, 1.0)), "half")


def equal_pairs(declared: Declared, votes: Votes) -> FloatArray:
    """Shares of wins instead of numbers: each pair weighs the same."""
    games = votes.wins + votes.wins.T
    return _fit(declared, replace(votes, weights=votes.times / games[votes.left, votes.right]))


def once(declared: Declared, votes: Votes) -> FloatArray:
    """Equal rows counted once."""
    key = (votes.left * len(votes.names) + votes.right) * 3 + votes.outcome
    return _fit(declared, votes.rows(np.unique(key, return_index=True)[1]))


def share(declared: Declared, votes: Votes) -> FloatArray:
    """The logit of each item's share of wins, whoever the opponents were."""
    won, games = votes.wins.sum(axis=1), (votes.wins + votes.wins.T).sum(axis=1)
    return np.asarray(np.log(won) - np.log(games - won))


KNOWN: dict[str, Formula] = {
    "an array under two names makes the change between iterates 0, and the iteration stops at the second, whatever the "
    "tolerance (crowd-kit 1.4.2, evalica #7)": second_iterate,
    "strengths are centred in each step of an iteration whose pseudo-counts stand against strength 1: the end is the "
    "maximum of nothing (elote 1.5.1)": recentred_prior,
    "an update of all strengths at once that goes to and fro and not to the maximum (elote #58, #65)":
        partial(alternating, 0.1),
    "Newman's update of all strengths at once, which goes to and fro for ever where items win alike (evalica 0.4.2)":
        partial(alternating, 0.0),
    "ties count as wins of the left (one-hot columns of which one was left out)": partial(ties_as, 0),
    "ties count as wins of the right (one-hot columns of which one was left out)": partial(ties_as, 1),
    "ties of items that tied on one side only are lost, a pivot table being added to its transpose "
    "(ai-agent-book #358)": one_sided_ties,
    "a tie counts as a whole win of either side": both_win,
    "weights are ignored": lambda declared, votes: _fit(declared, replace(votes, weights=None)),
    "equal rows count once": once,
    "each pair weighs the same: shares of wins instead of numbers": equal_pairs,
    "the logit of the share of wins, without regard to the opponents": share,
    "the sign is inverted: losers and winners are exchanged": lambda declared, votes: -_fit(declared, votes),
}


def diagnose(bench: Bench, votes: Votes, utilities: FloatArray) -> str:
    """What explains wrong scores; empty if nothing does."""
    if not np.isfinite(utilities).all():
        return ""
    right, close = bench.right(votes).utilities, 2.0 * bench.declared.tolerance
    centred, wanted = utilities - utilities.mean(), right - right.mean()

    def fits(candidate: FloatArray) -> bool:
        gap = np.abs(apart(utilities, candidate)).max()
        return bool(gap <= close and np.abs(apart(candidate, right)).max() > 5.0 * max(gap, 1e-9))

    with np.errstate(all="ignore"):
        for says in KNOWN:
            with suppress(NoFiniteEstimateError, ValueError):
                if fits(_computed(says, bench.declared, votes)):
                    return f"matches a known bug: {says}"
    for ties in ("drop", *TIE_MODELS) if (votes.outcome == TIE).any() else ():
        with suppress(NoFiniteEstimateError, ValueError):
            if fits(optimum(votes, ties, bench.declared.prior).utilities):
                return f"agrees with ties={ties!r}; you declared {bench.declared.ties!r}"
    factor = float(centred @ wanted / (wanted @ wanted))
    if np.abs(centred - factor * wanted).max() <= close * max(1.0, abs(factor)) and abs(factor - 1.0) > 1e-4:
        unit = "" if bench.declared.scale == "odds" else f" (scale={factor * bench.declared.unit:.6g})"
        return f"all differences times {factor:.6g}{unit}: another unit than declared"
    return _prior(bench, votes, utilities, fits) or _stopped(bench, votes, utilities, fits)


def _prior(bench: Bench, votes: Votes, utilities: FloatArray, fits: Callable[[FloatArray], bool]) -> str:
    """A prior of some strength that was not declared, found from the scores' span."""
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import brentq

    declared = f"; you declared ridge={bench.declared.ridge!r}"
    if bench.declared.prior is not None:
        with suppress(NoFiniteEstimateError):
            if fits(optimum(votes, bench.declared.ties).utilities):
                return f"agrees with no prior{declared}"
    candidates: dict[str, Callable[[float], FloatArray]] = {
        "agrees with ridge={:.4g}" + declared:
            lambda c: optimum(votes, bench.declared.ties, GaussianPrior(c**-0.5)).utilities,
        "agrees with ridge='pseudo:{:.4g}'" + declared:
            lambda c: optimum(votes, bench.declared.ties, PseudoCounts(c)).utilities,
        "matches a known bug: {:.4g} added to every pair's comparisons, and once to each item's wins: no table of wins "
        "has these sums (GABRIEL #73)": lambda c: _incoherent(votes, c),
    }  # fmt: skip
    for says, at in candidates.items():
        with suppress(ValueError, NoFiniteEstimateError):
            size = float(np.std(utilities))
            count = brentq(lambda log_c: float(np.std(at(np.exp(log_c)))) - size, -14.0, 5.0, xtol=1e-13)  # noqa: B023
            if fits(at(float(np.exp(count)))):
                return says.format(np.exp(count))
    return ""


def _incoherent(votes: Votes, count: float) -> FloatArray:
    """GABRIEL's sums: pseudo-counts in every cell of the comparisons, the diagonal's too, and one for each item."""
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import root

    wins = votes.wins
    won, games = np.log(wins.sum(axis=1) + count), wins + wins.T + count

    def gap(at: FloatArray) -> FloatArray:
        left = won - np.log((games * expit(np.subtract.outer(at, at))).sum(axis=1))
        return np.asarray(left - left.mean() + at.mean())

    return np.asarray(root(gap, np.zeros(len(wins)), tol=1e-12).x)


def _stopped(bench: Bench, votes: Votes, utilities: FloatArray, fits: Callable[[FloatArray], bool]) -> str:
    """A method that stopped before its end."""
    if bench.declared.prior is None:
        steps = np.array(list(islice(minorized(votes.wins, votes.wins.sum(axis=1)), MOST_STEPS)))
        off = np.abs(steps - (utilities - utilities.mean())).max(axis=1)
        for place in np.flatnonzero(off <= 3.0 * bench.declared.tolerance).tolist():
            if fits(steps[place]):
                return f"stops early: step {place + 1} of Zermelo's iteration (a loose tolerance, or a limit on steps)"
    gap = float(np.abs(apart(utilities, bench.right(votes).utilities)).max())
    slope = float(np.abs(score_residual(votes, utilities, bench.declared.prior)).max())
    if gap <= NEAR and not (votes.outcome == TIE).any():
        return (f"{gap:.2g} nats from the maximum, where each item's wins are met to {slope:.1g} of its comparisons: a "
                "loose tolerance (tabarena #488, orq-arena #20), or a weak prior that is not declared")  # fmt: skip
    return ""


@lru_cache(maxsize=256)
def _computed(says: str, declared: Declared, votes: Votes) -> FloatArray:
    return KNOWN[says](declared, votes)


def _fit(declared: Declared, votes: Votes, ties: str | None = None) -> FloatArray:
    return optimum(votes, ties or declared.ties, declared.prior).utilities
