"""Claims about what is learnt from many annotators at once: voting rules, axioms, distortion."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from scipy.special import expit

from pbde_ref.aggregation import borda_scores, distortion, largest_distortion, pareto_violations, worst_distortion
from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceMatrix, PreferenceModel
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.docket.record import HOLDS, HOLDS_IF, DocketClaim, Finding, finding
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.pbde import luce
from pbde_ref.proposals import JointProposal, ProductProposal, Proposal
from pbde_ref.validation import FloatArray

__all__ = ["AGGREGATION"]

# Probabilities, beside certified utilities that are right to 1e-8 and a curvature of at least 0.01.
SOLVER = 1e-7
Exact = list[list[Fraction]]


def _cycle(odds: Sequence[int], weights: Exact, flow: Fraction) -> Exact:
    """Preferences whose fit to pairs with these weights has these odds: Luce's, and a flow round three outcomes."""
    p = [[Fraction(a, a + b) for b in odds] for a in odds]
    for a, b in ((0, 1), (1, 2), (2, 0)):
        p[a][b] += flow / weights[a][b]
        p[b][a] -= flow / weights[a][b]
    return p


def _said(p: Exact) -> str:
    return f"P(a,b) = {p[0][1]}, P(a,c) = {p[0][2]}, P(b,c) = {p[1][2]}"


def _from_product(mu: Sequence[Fraction]) -> Exact:
    return [[a * b for b in mu] for a in mu]


def _fit(annotator: PreferenceModel, proposal: Proposal) -> FloatArray:
    return minimize_expected_loss("bradley_terry", annotator, proposal).value


def _off(p: Exact, weights: Exact, odds: Sequence[int]) -> float:
    """What is left of the score equations, in fractions, and between the package's fit and these odds."""
    scores = [sum(weights[a][b] * (p[a][b] - Fraction(odds[a], odds[a] + odds[b])) for b in range(3)) for a in range(3)]
    fit = _fit(PreferenceMatrix([[float(x) for x in row] for row in p]), JointProposal(np.array(weights, float)))
    return float(np.ptp(fit - np.log(odds))) + max(abs(float(score)) for score in scores)


def _disorder(found: FloatArray, wanted: FloatArray) -> float:
    """The largest difference of two wanted scores that are found the other way round."""
    apart = wanted[:, None] - wanted
    return float(np.max(np.where((found[:, None] - found) * apart < 0.0, np.abs(apart), 0.0)))


def _drawn(rng: np.random.Generator, n: int) -> PreferenceMatrix:
    upper = np.triu(rng.uniform(0.02, 0.98, (n, n)), 1)
    return PreferenceMatrix(upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(n))


def _worst(rng: np.random.Generator, error: Callable[[np.random.Generator, int], float], draws: int = 40) -> float:
    """The largest of the errors on drawn problems of three to six outcomes."""
    return max(error(rng, int(rng.integers(3, 7))) for _ in range(draws))


def _mu(rng: np.random.Generator, n: int) -> FloatArray:
    return np.asarray(rng.dirichlet(np.ones(n)) + 0.02)


# --- Borda's count ---


def _weighted(rng: np.random.Generator, n: int) -> float:
    annotator, mu = _drawn(rng, n), _mu(rng, n)
    return _disorder(_fit(annotator, ProductProposal(mu)), borda_scores(annotator, mu))


def _joint(rng: np.random.Generator, n: int) -> float:
    annotator = _drawn(rng, n)
    return _disorder(_fit(annotator, JointProposal(rng.random((n, n)))), borda_scores(annotator))


def _borda(rng: np.random.Generator) -> Finding:
    weights, odds = [[Fraction(x) for x in row] for row in ((0, 8, 1), (8, 0, 1), (1, 1, 0))], (2, 1, 1)
    p = _cycle(odds, weights, Fraction(1, 3))
    a, b, _ = (sum(row) for row in p)
    kept, other = ([error(rng, int(rng.integers(3, 7))) for _ in range(300)] for error in (_weighted, _joint))
    return finding(
        float(b - a) if b > a else 0.0, SOLVER, "score equations in fractions; certified fits",
        supposing=max(*kept, _off(p, weights, odds)),
        numbers={
            "orders kept of 300 with pairs from mu x mu": sum(lost <= SOLVER for lost in kept),
            "orders that differ of 300 with other pairs": sum(lost > SOLVER for lost in other),
        },
        witness=f"pairs ab, ac, bc asked 8 : 1 : 1, {_said(p)}: the fit "
        f"has odds 2 : 1 : 1, a first, and the counts are {a - Fraction(1, 2)} for a, {b - Fraction(1, 2)} for b",
    )  # fmt: skip


def _own_count(rng: np.random.Generator, n: int) -> float:
    annotator = _drawn(rng, n)
    return _disorder(_fit(annotator, ProductProposal(np.ones(n))), borda_scores(annotator))


def _skewed(rng: np.random.Generator, n: int) -> float:
    annotator = _drawn(rng, n)
    return _disorder(_fit(annotator, ProductProposal(_mu(rng, n))), borda_scores(annotator))


def _voting(rng: np.random.Generator) -> Finding:
    weights, odds = _from_product([Fraction(2, 5), Fraction(2, 5), Fraction(1, 5)]), (6, 5, 5)
    p = _cycle(odds, weights, Fraction(1, 50))
    a, b, _ = (sum(row) for row in p)
    return finding(
        float(b - a) if b > a else 0.0, SOLVER, "score equations in fractions; certified fits",
        supposing=max(_worst(rng, _own_count), _off(p, weights, odds)),
        witness=f"pairs from mu x mu, mu = (2/5, 2/5, 1/5), {_said(p)}: "
        f"the fit has odds 6 : 5 : 5, a first, and b has {b - a} more in Borda's count",
    )  # fmt: skip


# --- majorities ---


def _against_majorities(annotator: PreferenceMatrix) -> float:
    """How clear the clearest majority is that the fit to uniform pairs turns round."""
    p, fit = annotator.preference_probabilities(), _fit(annotator, ProductProposal(np.ones(annotator.size)))
    return float(np.max(np.where(fit[:, None] < fit, p - 0.5, 0.0)))


def _strongly_transitive(rng: np.random.Generator, n: int) -> float:
    upper = np.maximum.accumulate(np.triu(rng.uniform(0.5, 0.98, (n, n)), 1), axis=1)
    upper = np.triu(np.maximum.accumulate(upper[::-1], axis=0)[::-1], 1)
    order = rng.permutation(n)
    p = upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(n)
    return _against_majorities(PreferenceMatrix(p[np.ix_(order, order)]))


def _majority(rng: np.random.Generator) -> Finding:
    weights, odds = [[Fraction(1)] * 3 for _ in range(3)], (4, 5, 1)
    p = _cycle(odds, weights, Fraction(1, 9))
    return finding(
        float(min(p[0][1], p[0][2]) - Fraction(1, 2)), SOLVER, "score equations in fractions; certified fits",
        supposing=max(_worst(rng, _strongly_transitive), _off(p, weights, odds)),
        witness=f"uniform pairs, {_said(p)}: a beats both, and the fit "
        "has odds 4 : 5 : 1, b first",
    )  # fmt: skip


def _weakly_transitive(rng: np.random.Generator) -> float:
    """An order that majorities follow is not enough."""
    uppers = (np.triu(rng.uniform(0.51, 0.99, (4, 4)), 1) for _ in range(40))
    return max(_against_majorities(PreferenceMatrix(u + np.tril(1 - u.T, -1) + np.eye(4) / 2)) for u in uppers)


# --- everybody agrees ---

PATH = ((1, 0), (2, 1), (3, 2))
"""Pairs c-a, d-c, b-d of outcomes a, c, d, b; utilities of half of the annotators each, in eighths."""
HALVES = ((1, 4, 8, 0), (1, 0, 0, 0))


def _path_odds() -> list[Fraction]:
    """Odds of c over a, d over c and b over d, of two Luce annotators at odds of 2 for each eighth: a path's fit."""
    shares = [sum((Fraction(2 ** u[x], 2 ** u[x] + 2 ** u[y]) for u in HALVES), Fraction(0)) / 2 for x, y in PATH]
    return [share / (1 - share) for share in shares]


def _path_pool() -> AnnotatorMixture:
    members = [Annotator(FiniteDistribution(np.log(2.0) * np.array(u)), luce()) for u in HALVES]
    return AnnotatorMixture([1, 1], members)


def _path_proposal() -> JointProposal:
    weights = np.zeros((4, 4))
    for x, y in PATH:
        weights[x, y] = 1.0
    return JointProposal(weights)


def _no_violation(proposal: Proposal | None, rng: np.random.Generator) -> float:
    """1 where the pool's agreement on a over b is kept: 0 where the fit turns it round."""
    pool = _path_pool()
    fit = _fit(pool, proposal or ProductProposal(_mu(rng, 4)))
    return 0.0 if [0, 3] in pareto_violations(pool, fit).tolist() else 1.0


def _pareto(rng: np.random.Generator) -> Finding:
    odds = math.prod(_path_odds())
    fit = _fit(_path_pool(), _path_proposal())
    off = abs(float(fit[3] - fit[0]) - math.log(odds))
    return finding(
        min(_no_violation(None, rng) for _ in range(20)), SOLVER, "odds of a path in fractions, and certified fits",
        supposing=max(off, _no_violation(_path_proposal(), rng), 0.0 if odds > 1 else 1.0),
        witness="two Luce annotators with odds (2, 16, 256, 1) and (2, 1, 1, 1) of a, c, d, b: fitted to pairs from "
        "mu x mu, a is above b, as both say",
        numbers={"odds of b to a on the path": float(odds)},
    )  # fmt: skip


def _unbounded(rng: np.random.Generator) -> Finding:
    odds = math.prod(_path_odds())
    fit = _fit(_path_pool(), _path_proposal())
    welfare, favourite = [1 / 8, 0.0], int(fit[3] > fit[0])
    lost = distortion(welfare, FiniteDistribution.from_weights(np.eye(2)[favourite]))
    error = abs(float(fit[3] - fit[0]) - math.log(odds))
    return finding(
        error if odds > 1 and math.isinf(lost) else 1.0, SOLVER, "odds of a path in fractions, and a certified fit",
        numbers={"odds of b to a": float(odds), "utility of a": 0.125, "utility of b": 0.0},
    )  # fmt: skip


# --- cycles ---


def _acyclic(beats: dict[tuple[int, int], bool], n: int) -> bool:
    """By taking away whoever beats nobody that is left."""
    left = set(range(n))
    while losers := [x for x in left if not any(beats[x, y] for y in left if y != x)]:
        left -= set(losers)
    return not left


def _tournaments(n: int) -> list[dict[tuple[int, int], bool]]:
    pairs = list(itertools.combinations(range(n), 2))
    tables = []
    for answers in itertools.product((True, False), repeat=len(pairs)):
        won = dict(zip(pairs, answers, strict=True))
        tables.append({**won, **{(y, x): not a for (x, y), a in won.items()}})
    return tables


def _luces_without(rng: np.random.Generator) -> float:
    """The share of drawn Luce annotators whose majorities have no cycle."""
    pairs, drawn = list(itertools.permutations(range(14), 2)), rng.dirichlet(np.ones(14), 20)
    return float(np.mean([_acyclic({(x, y): bool(p[x] > p[y]) for x, y in pairs}, 14) for p in drawn]))


def _cycles(rng: np.random.Generator) -> Finding:
    n = 14
    without = Fraction(math.factorial(n), 2 ** math.comb(n, 2))
    counted = [Fraction(sum(_acyclic(t, m) for t in _tournaments(m)), 2 ** math.comb(m, 2)) for m in (3, 4)]
    wrong = sum(x != Fraction(math.factorial(m), 2 ** math.comb(m, 2)) for m, x in zip((3, 4), counted, strict=True))
    return finding(
        _luces_without(rng), 1e-15, "n! / 2^(n(n-1)/2), counted for three and four outcomes",
        supposing=float(without) + wrong,
        witness="Luce's rule with odds 3 : 2 : 1: P(a,b) = 3/5, P(b,c) = 2/3, P(a,c) = 3/4, no cycle; "
        "P(x,y) > 1/2 only where p(x) > p(y), for any odds and any number of outcomes",
        numbers={"probability of no cycle, 14 outcomes": float(without)},
    )  # fmt: skip


# --- distortion ---


def _families(beta: float) -> tuple[FloatArray, FloatArray]:
    """Utilities of (a, b, c) and shares: b is slightly ahead in both scores where c is what all are compared with."""
    t, small = math.log(beta) / beta, 0.01 / beta
    types = np.array([[1.0 - t, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, small, 0.0]])
    half, near = expit(beta) - 0.5, expit(-beta * t) - expit(-beta)
    lead = 1.02 * half / (expit(beta * small) - 0.5)
    return types, np.array([1.0, (half - near) / half, lead]) / (2.0 - near / half + lead)


def _reached(beta: float) -> float:
    """The family's distortion, for mu near the point mass at c."""
    types, shares = _families(beta)
    pool = AnnotatorMixture(shares, [Annotator(FiniteDistribution(beta * u), luce()) for u in types])
    fit = _fit(pool, ProductProposal([1e-4, 1e-4, 1.0]))
    favourite = FiniteDistribution.from_weights(np.eye(3)[int(fit.argmax())])
    return distortion(shares @ types, favourite)


def _short_of(beta: float) -> float:
    r"""By how much the family's distortion over beta is below :math:`1 - (\log \beta + 5) / 2 \beta`."""
    return max(0.0, 1.0 - (math.log(beta) + 5.0) / (2.0 * beta) - _reached(beta) / beta)


def _linear(rng: np.random.Generator) -> Finding:
    sizes = [16.0, 32.0, 64.0, float(rng.uniform(16.0, 64.0))]
    shares = _families(16.0)[1]
    return finding(
        max(map(_short_of, sizes)), SOLVER, "certified fits; the population is explicit",
        numbers={
            **{f"share of type {i + 1} at beta 16": float(share) for i, share in enumerate(shares)},
            "distortion at beta 16": _reached(16.0),
            "needed": 16.0 - (math.log(16.0) + 5.0) / 2.0,
            "uniform mu, utilities in twentieths:": worst_distortion(16.0, [1, 1, 1], levels=20).distortion,
        },
    )  # fmt: skip


def _two_outcomes(rng: np.random.Generator) -> float:
    beta = 64.0
    return 1.0 - (math.log(beta) + 5.0) / (2.0 * beta) - 0.5 / math.tanh(beta / 2.0)


def _on_policy(rng: np.random.Generator) -> Finding:
    found = [
        worst_distortion(beta, mu, levels=12).distortion / largest_distortion(beta)
        for beta in (2.0, 4.0, 8.0)
        for mu in ([1, 1, 1], [1, 1, 98], _mu(rng, 3))
    ]
    sizes = [2.0, 4.0, 8.0, 64.0, float(rng.uniform(2.0, 100.0))]
    short = max(1.0 - _three_types(beta) / largest_distortion(beta) for beta in sizes)
    hidden = {beta: _hidden(beta) for beta in (2.0, 4.0, 8.0)}
    # Odds of 256 at beta = log 256, types (1/8, 0, 1) and (0, 1/8, 0): they tie where this is the ratio of welfare.
    by_hand = (Fraction(2, 3) - Fraction(1, 2)) / (Fraction(1, 129) - Fraction(1, 257))
    wrong = abs(_two_types(math.log(256.0), 0.125) - float(by_hand))
    above = max(found_there / math.cosh(beta / 2.0) ** 2 - 1.0 for beta, found_there in hidden.items())
    return finding(
        max(
            0.0, max(found) - 1.0, above, wrong, short - 1e-5, max(map(_multipliers, sizes)),
            max(largest_distortion(beta) / beta for beta in sizes) - 1.0,
        ), 1e-9, "multipliers for every utility and any mu; a population that reaches the bound; linear programmes",
        numbers={
            **{f"supremum over beta, at {beta:g}": largest_distortion(beta) / beta for beta in sizes[:4]},
            "largest share of it in programmes": max(found),
            **{f"c not producible at beta {beta:g} gives": found_there for beta, found_there in hidden.items()},
            **{f"cosh^2({beta:g}/2) =": math.cosh(beta / 2.0) ** 2 for beta in hidden},
        },
    )  # fmt: skip


def _three_types(beta: float) -> float:
    """Distortion of types (1 - t, 0, 1), (1, 0, 0) and (0, 1e-6, 0) of a, b, c that tie for mu at c, for the best t."""

    def ratio(t: FloatArray) -> FloatArray:
        half, small = expit(beta) - 0.5, 1e-6
        near = expit(-beta * t) - expit(-beta)
        first, third = 1.0, half / (expit(beta * small) - 0.5)
        return np.asarray((first * (1.0 - t) + 1.0 - near / half) / (third * small))

    return float(ratio(np.linspace(0.0, 1.0, 100_001)).max())


def _multipliers(beta: float) -> float:
    """By how much multipliers of both scores miss u_b <= D u_w for some utilities of w, b and of what they meet."""
    bound, top = largest_distortion(beta), expit(beta) - 0.5
    first = beta / top
    more = 4.0 * bound - first
    w, b, y = np.meshgrid(*3 * [np.linspace(0.0, beta, 61)], indexing="ij")
    left = bound * w - b + first * (expit(b - y) - expit(w - y)) + more * (0.5 - expit(w - y))
    return max(0.0, -float(left.min()) / beta)


def _two_types(beta: float, delta: float) -> float:
    """Distortion of types (delta, 0, 1) and (0, delta, 0) of a, b, c, for mu at c, which cannot be produced."""
    return float((expit(beta * delta) - 0.5) / (expit(-beta * (1.0 - delta)) - expit(-beta)))


def _hidden(beta: float) -> float:
    """The largest of such distortions: on the grid, and of small utilities, which no grid of this size has."""
    grid = worst_distortion(beta, [1e-6, 1e-6, 1.0], levels=12, reachable=[1, 1, 0]).distortion
    return max(grid, _two_types(beta, 1e-3))


DRAWN = "the witness, and 40 drawn preference matrices of three to six outcomes"

AGGREGATION = (
    DocketClaim(
        name="borda_count",
        source="Siththaranjan et al. 2024, arXiv:2312.08358",
        seen="abstract only; the paper probably has uniform pairs in mind",
        printed="Preference learning aggregates over hidden contexts by Borda's count.",
        read="Our question: do the utilities of least expected log loss rank outcomes as the row means of P for any "
        "law of pairs?",
        hypothesis="Both outcomes are drawn from one mu, which weights the count, an outcome's own 1/2 included.",
        instance="the witness, and 300 drawn preference matrices of three to six outcomes with pairs of each kind",
        expected=HOLDS_IF,
        check=_borda,
        control=lambda rng: _worst(rng, _joint),
    ),
    DocketClaim(
        name="btl_is_borda",
        source="Differential Voting 2026, arXiv:2601.18824",
        seen="abstract only",
        printed="The Bradley-Terry-Luce model corresponds to voting by Borda's count.",
        read="Our question: for pairs from mu x mu, any mu, do the fitted utilities rank as unweighted row sums of P?",
        hypothesis="mu is uniform on the outcomes.",
        instance=DRAWN,
        expected=HOLDS_IF,
        check=_voting,
        control=lambda rng: _worst(rng, _skewed),
    ),
    DocketClaim(
        name="btl_follows_majorities",
        source="Xiao et al. 2025, arXiv:2506.12350; also arXiv:2601.18824",
        seen="abstracts only; what the first calls mild assumptions was not seen, the second calls BTL majority-based",
        printed="Under mild assumptions, reward learning satisfies pairwise majority and Condorcet consistency.",
        read="Our question, without these assumptions: fitted to uniform pairs, is x above y wherever P(x,y) > 1/2?",
        hypothesis="P is strongly stochastically transitive: who beats y beats everyone at least as often as y does.",
        instance=DRAWN,
        expected=HOLDS_IF,
        check=_majority,
        control=_weakly_transitive,
    ),
    DocketClaim(
        name="btl_violates_pareto",
        source="Ge et al. 2024, arXiv:2405.14758",
        seen="abstract only; that the axiom is Pareto's as cited by a work of 2026",
        printed="Bradley-Terry-Luce reward learning fails Pareto optimality.",
        read="Our question: may a free reward for each outcome, fitted to pairs from mu x mu or to others, reverse "
        "what every annotator says?",
        hypothesis="The pairs are not from mu x mu (or rewards are not free: there linear ones are meant).",
        instance="two Luce annotators of four outcomes asked along a path; and 20 drawn product proposals",
        expected=HOLDS_IF,
        check=_pareto,
        control=lambda rng: _no_violation(None, rng),
    ),
    DocketClaim(
        name="luce_model_cycles",
        source="Liu et al. 2025, arXiv:2503.10990",
        seen="abstracts of both versions; the definition of the model was not seen",
        printed="Condorcet cycles exist with probability tending to one exponentially fast, under a probabilistic "
        "preference model (version 1), a general one called the Luce model (version 2).",
        read="Our question: is it so for Luce's rule of this package, odds on the outcomes? Theirs must be another "
        "model: for this one it fails, whatever the law of the odds.",
        hypothesis="Our choice of a model with cycles: each pair's majority is an independent fair coin.",
        instance="20 drawn odds on 14 outcomes; all tournaments of three and four outcomes",
        expected=HOLDS_IF,
        check=_cycles,
        control=_luces_without,
    ),
    DocketClaim(
        name="distortion_without_kl",
        source="Gölz et al. 2025, arXiv:2505.23749",
        seen="abstract only",
        printed="Without KL control RLHF has distortion at least (1 - o(1)) beta.",
        read="For some mu, pairs from mu x mu, and utilities in [0, 1], some population's fitted favourite has "
        "distortion beta - (log beta + 5) / 2 or more. Our reading is not for every mu: less was found for the uniform "
        "one.",
        hypothesis="Three outcomes or more; of two it is never above (beta / 2) coth(beta / 2).",
        instance="mu = (0.0001, 0.0001, 1) / 1.0002 of a, b, c; types 1 to 3 with utilities (1 - t, 0, 1), (1, 0, 0), "
        "(0, 1/(100 beta), 0), t = log(beta) / beta; beta from 16 to 64",
        expected=HOLDS,
        check=_linear,
        control=_two_outcomes,
    ),
    DocketClaim(
        name="distortion_unbounded",
        source="Gölz et al. 2025, arXiv:2505.23749",
        seen="abstract only",
        printed="With KL control RLHF has unbounded distortion, depending on how pairs are sampled.",
        read="At beta = log 256 the better fitted of the two outcomes that the reference allows has utility 0 for "
        "everybody, the other 1/8.",
        hypothesis="Pairs run along a path through outcomes that the reference excludes.",
        instance="two Luce annotators with odds (2, 16, 256, 1) and (2, 1, 1, 1) of a, c, d, b",
        expected=HOLDS,
        check=_unbounded,
        control=lambda rng: _no_violation(None, rng),
    ),
    DocketClaim(
        name="distortion_on_policy",
        source="Distortion of AI Alignment Revisited 2026 (workshop paper, OpenReview BciUs38t6W)",
        seen="abstract only",
        printed="RLHF with reward clipping has, in a representative regime of KL control, distortion of order beta B "
        "up to logarithms, B bounding the log density ratio of mu to the reference; O(beta) where both are equal.",
        read="Our question, without clipping and without KL control: for no mu, population and number of outcomes has "
        "the favourite, of pairs from mu x mu and among mu's outcomes, distortion above beta, beta >= 2? The supremum "
        "is computed, (beta/2) coth(beta/2) times a number between 1 and 2.",
        hypothesis="What is compared can be produced. Else it is up to cosh^2(beta/2), about exp(beta)/4, as mu "
        "concentrates on what cannot be.",
        instance="beta from 2 to 100; three laws mu of three outcomes, beta = 2, 4, 8, utilities 0, 1/12, ..., 1; for "
        "the hypothesis mu near c, the same grid, and types (1/1000, 0, 1), (0, 1/1000, 0) of a, b, c",
        expected=HOLDS,
        check=_on_policy,
        control=lambda rng: worst_distortion(8, [1e-6, 1e-6, 1], levels=12, reachable=[1, 1, 0]).distortion / 8.0 - 1.0,
    ),
)  # fmt: skip
