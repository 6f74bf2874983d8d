"""How often intervals hold the truth: a table for docs/fit.md.

python benchmarks/coverage.py [--repetitions 10000] [--seed N] [--kept FILE]; some twenty minutes of one core. A
repetition draws comparisons of utilities that are drawn too, and looks at one item's interval, drawn as well. Ctrl-C
prints what there is so far; with the same seed and file it goes on from there.
"""

from __future__ import annotations

import argparse
import json
import math
import secrets
from pathlib import Path

import numpy as np
from scipy.special import expit

from pbde_ref.estimation import (
    NoFiniteEstimateError,
    bootstrap_utilities,
    fit_comparisons,
    profile_intervals,
)
from pbde_ref.estimation.ranking import rank_intervals


def pairs(n, each):
    return (np.repeat(side, each) for side in np.triu_indices(n, 1))


def won_by(rng, utilities, left, right):
    won = rng.random(left.size) < expit(utilities[left] - utilities[right])
    return np.where(won, left, right), np.where(won, right, left)


def thirds(utilities, left, right, kappa, order=0.0):
    d = utilities[left] - utilities[right] + order
    parts = np.exp([d / 2, -d / 2, np.full(d.size, kappa)])
    return parts / parts.sum(axis=0)


def with_ties(rng, utilities, left, right, kappa, order=0.0):
    chance = thirds(utilities, left, right, kappa, order)
    draw = rng.random(left.size)
    said = (draw > chance[0]).astype(int) + (draw > chance[0] + chance[1])
    return np.where(said == 1, right, left), np.where(said == 1, left, right), said == 2, said != 1


def inside(interval, truth):
    return bool(interval[0] <= truth <= interval[1])


def fisher(rng):
    """6 items, 20 comparisons of each pair."""
    utilities = 0.7 * rng.normal(size=6)
    fit, item = fit_comparisons(*won_by(rng, utilities, *pairs(6, 20))), rng.integers(6)
    return inside(fit.confidence_intervals(items=[item])[0], utilities[item] - utilities.mean())


def difference(rng):
    """The same, differences between two items."""
    utilities = 0.7 * rng.normal(size=6)
    fit = fit_comparisons(*won_by(rng, utilities, *pairs(6, 20)))
    a, b = rng.permutation(6)[:2].tolist()
    return inside(fit.confidence_intervals(items=[a], relative_to=b)[0], utilities[a] - utilities[b])


def davidson(rng):
    """5 items, 40 comparisons of each pair, about a third ties."""
    utilities = 0.7 * rng.normal(size=5)
    winner, loser, tied, _ = with_ties(rng, utilities, *pairs(5, 40), 0.0)
    fit, item = fit_comparisons(winner, loser, ties=tied, tie_model="davidson"), rng.integers(5)
    return inside(fit.confidence_intervals(items=[item])[0], utilities[item] - utilities.mean())


def order(rng):
    """The same with an advantage of 0.4 nats on the left: the effect's interval."""
    winner, loser, tied, first = with_ties(rng, 0.7 * rng.normal(size=5), *pairs(5, 40), 0.0, 0.4)
    fit = fit_comparisons(winner, loser, ties=tied, tie_model="davidson", first=first)
    reach = 1.959964 * fit.effect_errors()["order"]
    return abs(fit.effects["order"] - 0.4) <= reach


def half_wins(rng, kind="sandwich"):
    """5 items, 40 comparisons of each pair, a third ties that count half; the truth is their limit."""
    utilities, (left, right) = 0.7 * rng.normal(size=5), pairs(5, 40)
    winner, loser, tied, _ = with_ties(rng, utilities, left, right, 0.0)
    chance = thirds(utilities, left, right, 0.0)
    both = np.append(left, right), np.append(right, left)
    limit = fit_comparisons(*both, np.append(chance[0] + chance[2] / 2, chance[1] + chance[2] / 2)).utilities
    item = rng.integers(5)
    if kind == "bootstrap":
        drawn = bootstrap_utilities(winner, loser, ties=tied, draws=400, rng=rng)[:, item]
        return inside(np.nanquantile(drawn, [0.025, 0.975]), limit[item])
    fit = fit_comparisons(winner, loser, ties=tied)
    reach = 1.959964 * (fit.standard_errors([item]) if kind == "sandwich" else
                        np.sqrt(fit.information.covariance()[item, item]))  # fmt: skip
    return bool(abs(fit.utilities[item] - limit[item]) <= reach)


def half_wins_as_coins(rng):
    """The same with the Fisher information, which takes half a win for a comparison (not offered)."""
    return half_wins(rng, "fisher")


def bootstrap(rng):
    """The same by quantiles of 400 drawn sets."""
    return half_wins(rng, "bootstrap")


def clustered(rng, by_cluster=True):
    """5 items, 150 clusters that say the same thing one to five times."""
    utilities, left = 0.7 * rng.normal(size=5), rng.integers(5, size=150)
    right = (left + rng.integers(1, 5, size=150)) % 5
    winner, loser = won_by(rng, utilities, left, right)
    row = np.repeat(np.arange(150), rng.integers(1, 6, size=150))
    fit = fit_comparisons(winner[row], loser[row], clusters=row if by_cluster else None)
    item = rng.integers(5)
    return inside(fit.confidence_intervals(items=[item])[0], utilities[item] - utilities.mean())


def not_clustered(rng):
    """The same without saying so (what the notice warns of)."""
    return clustered(rng, by_cluster=False)


def profile(rng, wald=False):
    """2 items, 12 comparisons, a difference drawn evenly from −1.5 to 1.5 nats."""
    utilities = np.array([rng.uniform(-1.5, 1.5), 0.0])
    winner, loser = won_by(rng, utilities, *pairs(2, 12))
    if wald:
        found = fit_comparisons(winner, loser, support=range(2)).confidence_intervals(items=[0], relative_to=1)
    else:
        found = profile_intervals(winner, loser, support=range(2), items=[0], relative_to=1)
    return inside(found[0], utilities[0])


def profile_of_more(rng):
    """5 items, 6 comparisons of each pair, by profile likelihood."""
    utilities, item = 0.7 * rng.normal(size=5), rng.integers(5)
    found = profile_intervals(*won_by(rng, utilities, *pairs(5, 6)), items=[item], support=range(5))
    return inside(found[0], utilities[item] - utilities.mean())


def wald_of_few(rng):
    """The same as for profile likelihood with 2 items, by Wald."""
    return profile(rng, wald=True)


def ranks(rng):
    """6 items, 20 comparisons of each pair: the rank's interval, which promises at least the level."""
    utilities, item = 0.7 * rng.normal(size=6), rng.integers(6)
    fit = fit_comparisons(*won_by(rng, utilities, *pairs(6, 20)))
    low, high = rank_intervals(fit, 0.95, np.array([item]), rng)[0]
    return low <= 1 + np.count_nonzero(utilities > utilities[item]) <= high


KINDS = {
    "Fisher information": fisher, "Fisher information, differences": difference, "Davidson": davidson,
    "order effect": order, "sandwich": half_wins, "(half wins as coins)": half_wins_as_coins, "bootstrap": bootstrap,
    "clustered": clustered, "(clusters not named)": not_clustered, "profile likelihood": profile_of_more,
    "profile likelihood, 2 items": profile, "(Wald, 2 items)": wald_of_few, "ranks": ranks,
}  # fmt: skip


SLICE = 250


def sliced(number, kind, seed, first, last):
    """How often these repetitions hold the truth, and how many have no finite estimate."""
    held = lost = 0
    for repetition in range(first, last):
        try:
            held += bool(kind(np.random.default_rng([seed, number, repetition])))
        except NoFiniteEstimateError:
            lost += 1
    return held, lost


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--kept", type=Path, help="finished slices; with the same seed they are not computed again")
    parser.add_argument("only", nargs="*")
    options = parser.parse_args()
    lines = options.kept.read_text().splitlines() if options.kept and options.kept.exists() else []
    kept = {tuple(key): found for key, found in map(json.loads, lines)}
    named = [one for one in enumerate(KINDS.items()) if not options.only or one[1][0] in options.only]
    done = {name: np.zeros(3, dtype=int) for _, (name, _) in named}
    try:
        for first in range(0, options.repetitions, SLICE):
            last = min(first + SLICE, options.repetitions)
            for number, (name, kind) in named:
                key = options.seed, name, first, last
                if key not in kept:
                    kept[key] = sliced(number, kind, options.seed, first, last)
                    if options.kept:
                        with options.kept.open("a") as file:
                            print(json.dumps([key, kept[key]]), file=file)
                done[name] += [*kept[key], last - first]
    except KeyboardInterrupt:
        pass
    print(f"Seed {options.seed}.\n")
    print("| interval | design | repetitions | holds the truth | no finite estimate |\n|---|---|---|---|---|")
    for _, (name, kind) in named:
        held, lost, count = done[name]
        share = held / max(count - lost, 1)
        error = math.sqrt(share * (1.0 - share) / max(count - lost, 1))
        print(f"| {name} | {kind.__doc__} | {count:,} | {share:.4f} ± {error:.4f} | {lost} |")


if __name__ == "__main__":
    main()
