"""Claims about the best of N draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.docket.record import FAILS, HOLDS, DocketClaim, Finding, finding
from pbde_ref.games import best_of_n

__all__ = ["BEST_OF_N"]

# Between sums of at most 12 terms, none above 60 nats.
ROUNDING = 1e-13


def exact_law(weights: Sequence[Fraction], levels: Sequence[int], n: int) -> list[Fraction]:
    """The best of n draws, from cumulated weights alone."""
    total = sum(weights)
    law = []
    for w, level in zip(weights, levels, strict=True):
        at_most, below = (
            sum((v for v, other in zip(weights, levels, strict=True) if other < level + up), Fraction(0)) / total
            for up in (1, 0)
        )
        share = w / sum(v for v, other in zip(weights, levels, strict=True) if other == level)
        law.append(share * (at_most**n - below**n))
    return law


def exact_kl(law: Sequence[Fraction], weights: Sequence[Fraction]) -> float:
    """D(law, weights), with logarithms of 50 digits."""
    with localcontext(prec=50):
        ratios = [(p, p / (w / sum(weights))) for p, w in zip(law, weights, strict=True) if p]
        return float(sum(_decimal(p) * _decimal(ratio).ln() for p, ratio in ratios))


def _decimal(fraction: Fraction) -> Decimal:
    return Decimal(fraction.numerator) / Decimal(fraction.denominator)


def win_rate(law: Sequence[Fraction], weights: Sequence[Fraction], levels: Sequence[int], tie: Fraction) -> Fraction:
    """Probability of a greater reward than a draw from the reference, a tie worth `tie`."""
    pairs = [(p * w, a - b) for p, a in zip(law, levels, strict=True) for w, b in zip(weights, levels, strict=True)]
    return sum((v * (1 if d > 0 else tie if d == 0 else 0) for v, d in pairs), Fraction(0)) / sum(weights)


def _cases(rng: np.random.Generator) -> Iterator[tuple[list[Fraction], list[int], int]]:
    """Weights, levels of reward with ties among them, and N."""
    yield [Fraction(1), Fraction(1)], [0, 1], 2
    for _ in range(40):
        size = int(rng.integers(2, 13))
        weights = [Fraction(int(w)) for w in rng.integers(1, 100, size)]
        levels = [int(level) for level in rng.integers(0, size, size)]
        yield weights, levels, int(rng.integers(2, 40))


def _bound(n: int) -> float:
    return math.log(n) - (n - 1) / n


def _disagreement(weights: Sequence[Fraction], levels: Sequence[int], n: int, law: Sequence[Fraction]) -> float:
    """Between the package's numbers and the exact ones."""
    reference = FiniteDistribution.from_weights([float(w) for w in weights])
    best = best_of_n(reference, np.array(levels, dtype=float), n)
    half = win_rate(law, weights, levels, Fraction(1, 2))
    off = [abs(float(p) - q) for p, q in zip(law, best.policy.pmf, strict=True)]
    return max(*off, abs(best.kl - exact_kl(law, weights)), abs(best.win_rate - float(half)))


def _kl_equality(rng: np.random.Generator) -> Finding:
    printed, above = 0.0, 0.0
    for weights, levels, n in _cases(rng):
        law = exact_law(weights, levels, n)
        kl = exact_kl(law, weights)
        printed = max(printed, abs(kl - _bound(n)))
        above = max(above, kl - _bound(n), _disagreement(weights, levels, n, law))
    half = exact_kl([Fraction(1, 4), Fraction(3, 4)], [Fraction(1), Fraction(1)])
    return finding(
        printed, ROUNDING, "the law in fractions, logarithms of 50 digits", instead=max(above, 0.0),
        witness=f"reference (1/2, 1/2), N = 2: the law is (1/4, 3/4), its divergence (3/4) log 3 - log 2 = {half:.6f}; "
        f"the expression gives log 2 - 1/2 = {_bound(2):.6f}",
        numbers={"largest difference": printed},
    )  # fmt: skip


def _kl_above_the_bound_of_one_less(rng: np.random.Generator) -> float:
    """N - 1 in place of N, where atoms are small."""
    weights, levels = [Fraction(1)] * 64, list(range(64))
    return exact_kl(exact_law(weights, levels, 4), weights) - _bound(3)


def _kl_bound(rng: np.random.Generator) -> Finding:
    above = -math.inf
    for weights, levels, n in _cases(rng):
        law = exact_law(weights, levels, n)
        above = max(above, exact_kl(law, weights) - _bound(n), _disagreement(weights, levels, n, law))
    return finding(max(above, 0.0), ROUNDING, "the law in fractions, logarithms of 50 digits")


def _without_replacement(rng: np.random.Generator) -> float:
    """Whoever draws all of N equally likely outcomes always has the best: log N."""
    return math.log(4) - _bound(4)


def _win_rate(rng: np.random.Generator) -> Finding:
    above = -math.inf
    for weights, levels, n in _cases(rng):
        law = exact_law(weights, levels, n)
        rate = win_rate(law, weights, levels, Fraction(1, 2))
        above = max(above, float(rate - Fraction(n, n + 1)), _disagreement(weights, levels, n, law))
    return finding(max(above, 0.0), ROUNDING, "sums of fractions")


def _ties_count_as_wins(rng: np.random.Generator) -> float:
    law = exact_law([Fraction(1), Fraction(1)], [0, 0], 2)
    return float(win_rate(law, [Fraction(1), Fraction(1)], [0, 0], Fraction(1)) - Fraction(2, 3))


BEST_OF_N = (
    DocketClaim(
        name="best_of_n_kl_equality",
        source="used by many before Beirami et al. 2024, arXiv:2401.01879, who refute it",
        seen="as cited by its abstract and introduction",
        printed="The divergence of best-of-N from its reference is log N - (N - 1) / N.",
        read="For every finite reference, every reward and N, D(best of N, reference) equals that number.",
        hypothesis="None on a finite support: rewards would have to have no atoms. True instead: it is an upper bound.",
        instance="the witness, and 40 drawn references of up to 12 outcomes with ties, N up to 39",
        expected=FAILS,
        check=_kl_equality,
        control=_kl_above_the_bound_of_one_less,
    ),
    DocketClaim(
        name="best_of_n_kl_bound",
        source="Beirami et al. 2024, arXiv:2401.01879",
        seen="abstract and introduction",
        printed="The divergence of best-of-N from its reference is at most log N - (N - 1) / N.",
        read="The same, for every finite reference and reward, ties included.",
        hypothesis="The N draws are independent, from the reference itself.",
        instance="two equally likely outcomes, and 40 drawn references of up to 12 outcomes with ties, N up to 39",
        expected=HOLDS,
        check=_kl_bound,
        control=_without_replacement,
    ),
    DocketClaim(
        name="best_of_n_win_rate",
        source="Beirami et al. 2024, arXiv:2401.01879",
        seen="abstract and introduction",
        printed="Best-of-N wins against its reference with probability at most N / (N + 1).",
        read="The same for every finite reference and reward.",
        hypothesis="A tie counts as half a win.",
        instance="two equally likely outcomes, and 40 drawn references of up to 12 outcomes with ties, N up to 39",
        expected=HOLDS,
        check=_win_rate,
        control=_ties_count_as_wins,
    ),
)  # fmt: skip
