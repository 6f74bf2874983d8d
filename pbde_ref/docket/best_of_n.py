"""Claims about the best of N draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln

from pbde_ref.distributions import FiniteDistribution, kl_divergence, uniform
from pbde_ref.docket.record import FAILS, HOLDS, HOLDS_IF, DocketClaim, Finding, finding
from pbde_ref.games import best_of_n
from pbde_ref.validation import FloatArray

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


# --- The tilted limit, and optimality ---


def _lengths(m: int) -> tuple[FiniteDistribution, FiniteDistribution, float]:
    """Best of exp(m / 5) sequences of m fair bits by their number of ones, the tilt of equal divergence, its slope."""
    ones = np.arange(m + 1.0)
    reference = FiniteDistribution(gammaln(m + 1) - gammaln(ones + 1) - gammaln(m - ones + 1))
    best = best_of_n(reference, ones, int(math.exp(0.2 * m)))

    def tilted(slope: float) -> FiniteDistribution:
        return FiniteDistribution(reference.log_pmf + slope * ones)

    slope = brentq(lambda slope: kl_divergence(tilted(slope), reference) - 0.2 * m, 0.0, 20.0, xtol=1e-13)
    return best.policy, tilted(slope), float(slope)


def _asymptotic(rng: np.random.Generator) -> Finding:
    divergences = {m: kl_divergence(*_lengths(m)[:2]) for m in (10, 20, 40, 80, 160)}
    above = max(kl / math.log(m + 1) - 1.0 for m, kl in divergences.items())
    lengths = list(divergences)
    falls = max(divergences[2 * m] / (2 * m) - divergences[m] / m for m in lengths[:-1])
    return finding(
        _not_divided(rng), 1e-9, "both laws as laws of the number of ones; the slope by bracketing",
        supposing=max(above, falls, 0.0),
        witness="m fair bits, reward the number of ones, N = floor(e^(m/5)): at m = 10, N = 7, the divergence is "
        f"{divergences[10]:.3f}, at m = 160 it is {divergences[160]:.3f}",
        numbers={f"divergence over length at {m}": kl / m for m, kl in divergences.items()},
    )  # fmt: skip


def _not_divided(rng: np.random.Generator) -> float:
    """By how much the divergence grows from 10 to 160 bits."""
    return kl_divergence(*_lengths(160)[:2]) - kl_divergence(*_lengths(10)[:2])


def _wins_less(reference: FiniteDistribution, policy: FiniteDistribution, win: FloatArray) -> float:
    """How much more the policy of the same divergence wins that is best: the reference tilted by win rates."""
    kl = kl_divergence(policy, reference)

    def tilted(slope: float) -> FiniteDistribution:
        return FiniteDistribution(reference.log_pmf + slope * win)

    most = 1e4
    if kl_divergence(tilted(most), reference) <= kl:
        return 0.0
    slope = brentq(lambda slope: kl_divergence(tilted(slope), reference) - kl, 0.0, most, xtol=1e-12)
    return tilted(slope).expectation(win) - policy.expectation(win)


def _half_ties(reference: FiniteDistribution) -> FloatArray:
    """Win rates against the reference of outcomes in rising order."""
    return np.asarray(np.cumsum(reference.pmf) - 0.5 * reference.pmf)


ESSENTIALLY, ATOM = 0.01, 0.01
"""By how much another policy may win more often, our reading of "essentially", and the greatest share of a reward."""


def continuous_gap(n: int) -> float:
    """How much more the best policy of that divergence wins than best-of-N, where no two rewards are equal.

    The density exp(c u) on [0, 1] against n u^(n - 1); both depend on n alone.
    """

    def wins(c: float) -> float:
        return -1.0 / math.expm1(-c) - 1.0 / c

    def excess(c: float) -> float:
        return math.log(c) - c - math.log(-math.expm1(-c)) + c * wins(c) - _bound(n)

    return wins(float(brentq(excess, 1e-3, 1e6, xtol=1e-13))) - n / (n + 1)


WEIGHTS, LEVELS = [Fraction(w, 10) for w in (1, 1, 7, 1)], [0, 1, 2, 3]
"""Reference of the witness, worst to best; N = 3."""


def _wins_and_divergence(odds: Sequence[Fraction]) -> tuple[Fraction, float]:
    """Of the law with these odds, on the witness."""
    law = [x / sum(odds) for x in odds]
    return win_rate(law, WEIGHTS, LEVELS, Fraction(1, 2)), exact_kl(law, WEIGHTS)


def _optimal(rng: np.random.Generator) -> Finding:
    t = Fraction(32, 23)
    best, kl = _wins_and_divergence(exact_law(WEIGHTS, LEVELS, 3))
    more, less = _wins_and_divergence([w * t**k for w, k in zip(WEIGHTS, (0, 1, 5, 9), strict=True)])
    gaps = {n: continuous_gap(n) for n in range(2, 200)}
    # What atoms of at most 1/100 add; from N = 200 on nobody can win 1 / (N + 1) more often than N / (N + 1).
    proved = max(1.0 / 201.0 + ATOM / 2.0, *(gap + min(n * ATOM**2 / 4.0, ATOM / 2.0) for n, gap in gaps.items()))
    largest, off = 0.0, 0.0
    for n in (2, 3, 5, 10, 30, 100):
        for size in (200, 300, 1000):
            reference = FiniteDistribution.from_weights(rng.uniform(0.5, 1.0, size))
            policy = best_of_n(reference, np.arange(float(size)), n).policy
            largest = max(largest, _wins_less(reference, policy, _half_ties(reference)))
        # Atoms of 1/4000: they change the gap by about N times their square.
        fine = uniform(range(4000))
        policy = best_of_n(fine, np.arange(4000.0), n).policy
        off = max(off, abs(_wins_less(fine, policy, _half_ties(fine)) - gaps[n]))
    return finding(
        float(more - best) - ESSENTIALLY if less <= kl else 0.0, 1e-6,
        "the tilt by win rates, which is optimal, by bracketing; the witness in fractions, logarithms of 50 digits",
        supposing=max(0.0, proved - ESSENTIALLY, largest - proved, off - 1e-6),
        witness="reference (1/10, 1/10, 7/10, 1/10), worst to best, N = 3: best-of-N is (1, 7, 721, 271)/1000, wins "
        f"{best} and has divergence {kl:.6f}; the policy with odds 1 : t : 7 t^5 : t^9, t = {t}, wins "
        f"{float(more):.6f}, {float(more - best):.6f} more, and has divergence {less:.6f}",
        numbers={
            "without atoms at N = 2": gaps[2], "without atoms at N = 3": gaps[3],
            "proved for atoms up to 1/100": proved, "largest drawn": largest,
        },
    )  # fmt: skip


def _one_atom(rng: np.random.Generator) -> float:
    """Excess over 1/100 where one outcome of 17/25 lies between 400 small ones: 17/25 is no small part."""
    reference = FiniteDistribution.from_weights([0.16 / 400] * 400 + [0.68] + [0.16 / 400] * 400)
    policy = best_of_n(reference, np.arange(801.0), 2).policy
    return _wins_less(reference, policy, _half_ties(reference)) - ESSENTIALLY


BEST_OF_N = (
    DocketClaim(
        name="best_of_n_kl_equality",
        source="used by many before Beirami et al. 2024, arXiv:2401.01879, who refute it",
        seen="as cited by its abstract and introduction",
        printed="The divergence of best-of-N from its reference is log N - (N - 1) / N.",
        read="For every finite reference, every reward and N, D(best of N, reference) equals that number.",
        hypothesis="It is an upper bound. Equality would take rewards without atoms, which a finite support has.",
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
        # Whoever draws all of N equally likely outcomes always has the best: log N.
        control=lambda rng: math.log(4) - _bound(4),
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
    DocketClaim(
        name="best_of_n_is_tilted",
        source="Yang et al. 2024, arXiv:2404.01730",
        seen="abstract, and a summary of the whole",
        printed="For memoryless models and linear rewards, best-of-N and the KL-constrained optimum are asymptotically "
        "equivalent: expected rewards are asymptotically equal, and so the laws must be close in KL divergence.",
        read='Our question, what "close" may mean: with N = floor(exp(m Delta)), does D(best of N, tilt of divergence '
        "m Delta) itself fall with the length m?",
        hypothesis="Divergences are divided by the length: the undivided one grows, here by less than log(m + 1).",
        instance="fair bits, Delta = 1/5, m = 10, 20, 40, 80, 160",
        expected=HOLDS_IF,
        check=_asymptotic,
        control=_not_divided,
    ),
    DocketClaim(
        name="best_of_n_is_optimal",
        source="Gui et al. 2024, arXiv:2406.00832",
        seen="abstract and introduction",
        printed="Within a class of tiltings of the base model best-of-N is essentially optimal in the trade-off of win "
        "rate against divergence.",
        read='Our reading of "essentially": no policy with the divergence of best-of-N wins more often against the '
        "reference by more than 1/100. The policy that wins most often is such a tilting.",
        hypothesis="No reward has more than 1/100 of the reference. Without atoms the difference depends on N alone "
        "and is largest, 0.00924, for N = 2.",
        instance="the witness; no atoms, N from 2 to 199; drawn references of 200 to 1,000 outcomes of at most 1/100, "
        "N from 2 to 100",
        expected=HOLDS_IF,
        check=_optimal,
        control=_one_atom,
    ),
)  # fmt: skip
