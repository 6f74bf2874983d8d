"""Claims about what answers of unnamed annotators determine."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np

from pbde_ref.docket.record import HOLDS_IF, DocketClaim, Finding, finding
from pbde_ref.exact.mixtures.identification import mixture_rank

__all__ = ["IDENTIFICATION"]

ODDS = ((1, 2, 3, 5, 7), (11, 1, 4, 2, 9))


def _rational_rank() -> int:
    """Of the derivative of the ten pair probabilities of two annotators with these odds, weights 1/3 and 2/3."""
    weights, rows = (Fraction(1, 3), Fraction(2, 3)), []
    for a, b in itertools.combinations(range(5), 2):
        row, wins = [], [Fraction(t[a], t[a] + t[b]) for t in ODDS]
        for w, p in zip(weights, wins, strict=True):
            row += [w * p * (1 - p) * ((x == a) - (x == b)) for x in range(1, 5)]
        rows.append([*row, wins[0] - wins[1]])
    rank = 0
    for column in range(9):
        pivot = next((i for i in range(rank, 10) if rows[i][column]), None)
        if pivot is not None:
            rows[rank], rows[pivot] = rows[pivot], rows[rank]
            factors = [row[column] / rows[rank][column] for row in rows[rank + 1 :]]
            rows[rank + 1 :] = [
                [x - factor * y for x, y in zip(row, rows[rank], strict=True)]
                for row, factor in zip(rows[rank + 1 :], factors, strict=True)
            ]
            rank += 1
    return rank


def _determined(k: int, n: int, kind: str, rng: np.random.Generator) -> float:
    return float(mixture_rank(k, n, kind=kind, rng=rng).determined)


def _pairs(rng: np.random.Generator) -> Finding:
    few = [(k, n) for k in (2, 3, 4) for n in range(2, 9) if n * (n - 1) // 2 < k * n - 1]
    return finding(
        _rational_rank() / 9.0 - 8.0 / 9.0, 1e-12, "ranks of derivatives, in fractions and modulo a prime",
        supposing=max(_determined(k, n, "pairs", rng) for k, n in few),
        witness="two Luce annotators with odds 1 : 2 : 3 : 5 : 7 and 11 : 1 : 4 : 2 : 9 and weights 1/3, 2/3: the ten "
        "pair probabilities have a derivative of rank 9 in the nine parameters",
    )  # fmt: skip


def _rankings(rng: np.random.Generator) -> Finding:
    enough = [(k, n) for k in (2, 3, 4) for n in (3, 4, 5, 6) if k * n - 1 <= {3: 5, 4: 14}.get(n, 99)]
    return finding(
        1.0 - _determined(3, 3, "rankings", rng), 1e-12, "ranks of derivatives modulo a prime, lower bounds",
        supposing=1.0 - min(_determined(k, n, "rankings", rng) for k, n in enough),
        witness="three Luce annotators of three outcomes: eight parameters, and the law of the ranking of all three "
        "has five free numbers",
    )  # fmt: skip


Orders = dict[tuple[int, ...], int]
HIDDEN: Orders = {(0, 1, 2, 3): 1, (1, 0, 2, 3): -1, (0, 1, 3, 2): -1, (1, 0, 3, 2): 1}


def _seen(difference: Orders, size: int) -> int:
    """The largest change of any law of rankings of that many outcomes."""
    n = len(next(iter(difference)))
    change: dict[tuple[int, ...], int] = {}
    for order, mass in difference.items():
        for shown in itertools.combinations(range(n), size):
            ranking = tuple(x for x in order if x in shown)
            change[ranking] = change.get(ranking, 0) + mass
    return max(abs(x) for x in change.values())


def _orders(rng: np.random.Generator) -> Finding:
    invisible = _seen(HIDDEN, 2) == _seen(HIDDEN, 3) == 0
    three = list(itertools.permutations(range(3)))
    drawn = [dict(zip(three, rng.integers(-5, 6, 6).tolist(), strict=True)) for _ in range(9)]
    missed = [any(d.values()) and _seen(d, 3) == 0 for d in drawn]
    return finding(
        float(invisible), 1e-12, "sums of integers", supposing=float(any(missed)),
        witness="half of the people order 0123 and half 1032, or half 1023 and half 0132: all rankings of three, and "
        "pairs, have the same laws",
    )  # fmt: skip


SOURCE = "Chidambaram et al. 2025, arXiv:2405.15065"

IDENTIFICATION = (
    DocketClaim(
        name="pairs_do_not_identify",
        source=SOURCE,
        seen="abstract only; it names no class of preferences",
        printed="Binary comparisons, finite data of each of infinitely many users, are insufficient to identify latent "
        "preferences.",
        read="Our question, each person compares one pair: is for any K of 2 or more Luce annotators and any n "
        "outcomes almost no mixture determined, even within a neighbourhood, by the probabilities of all pairs?",
        hypothesis="n (n - 1) / 2 < K n - 1: n up to 4 for K = 2, 6 for K = 3, 8 for K = 4.",
        instance="the witness, and all K up to 4 and n up to 8 with too few pairs",
        expected=HOLDS_IF,
        check=_pairs,
        control=lambda rng: min(_determined(k, n, "pairs", rng) for k, n in ((2, 5), (3, 7), (4, 9))),
    ),
    DocketClaim(
        name="rankings_identify_mixtures",
        source=SOURCE,
        seen="abstract only; it names no class of preferences",
        printed="Rankings over three or more responses ensure that latent preferences are identified.",
        read="Our question, each person ranks three once: are almost all mixtures of any K Luce annotators on any n "
        "outcomes determined within a neighbourhood by the laws of all rankings of three?",
        hypothesis="K n - 1 is at most the number of free numbers of these laws: 5 for n = 3, 14 for n = 4.",
        instance="the witness, and K up to 4, n up to 6",
        expected=HOLDS_IF,
        check=_rankings,
        control=lambda rng: 1.0 - _determined(4, 4, "rankings", rng),
    ),
    DocketClaim(
        name="rankings_identify_orders",
        source=SOURCE,
        seen="abstract only; it names no class of preferences",
        printed="Rankings over three or more responses ensure that latent preferences are identified.",
        read="Our question, each person ranks three once: is the law of people's orders of all outcomes, where orders "
        "are fixed and of no model, determined by the laws of all rankings of three?",
        hypothesis="There are three outcomes.",
        instance="the witness, and nine drawn differences of laws of orders of three",
        expected=HOLDS_IF,
        check=_orders,
        control=lambda rng: float(_seen(HIDDEN, 3) == 0),
    ),
)  # fmt: skip
