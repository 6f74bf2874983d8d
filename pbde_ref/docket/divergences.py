"""Claims about other divergences and losses than DPO's, about samples, and about rankings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial

import numpy as np
from scipy.optimize import linprog, minimize
from scipy.special import expit

from pbde_ref.annotators import Annotator, PreferenceMatrix
from pbde_ref.catalogue.losses import optimum
from pbde_ref.distributions import FiniteDistribution, total_variation, uniform
from pbde_ref.docket.record import HOLDS, HOLDS_IF, DocketClaim, Finding, finding
from pbde_ref.exact.minimizer_face import minimizer_vertices, probability_range
from pbde_ref.exact.plackett_luce import all_pairs_of, neighbours_of, rank_breaking_covariances
from pbde_ref.losses.log_ratios import link
from pbde_ref.pbde import luce
from pbde_ref.proposals import JointProposal, ProductProposal
from pbde_ref.validation import FloatArray

__all__ = ["DIVERGENCES"]

# Certified policies are right to 1e-6 or better; a quasi-Newton method without certificate to 1e-4.
SOLVER, DESCENT = 1e-6, 1e-4


# --- which link keeps Theorem 2 ---


def _taught(loss: str, name: str, rng: np.random.Generator, alpha: float = 0.5, spread: float = 2.0) -> float:
    """Total variation between p* and what is learnt from an annotator of the loss's own process; 1 if nothing is."""
    n, beta = int(rng.integers(2, 7)), float(rng.uniform(0.2, 2.0))
    reference = FiniteDistribution(rng.normal(size=n))
    truth = FiniteDistribution(reference.log_pmf + rng.uniform(0.0, spread, n))
    utilities = beta * link(name, alpha).value(truth.log_pmf - reference.log_pmf)
    annotator = Annotator(FiniteDistribution(utilities), luce())
    more = {"divergence": name, "alpha": alpha} if loss == "f_dpo" else {}
    found = optimum(loss, annotator, ProductProposal(np.ones(n)), beta=beta, reference=reference, **more)
    return 1.0 if found.policy is None else total_variation(found.policy, truth)


def _f_dpo(rng: np.random.Generator) -> Finding:
    kinds = [("forward_kl", 0.5), ("js_divergence", 0.5), ("alpha_divergence", 0.5), ("alpha_divergence", 3.0)]
    errors = [_taught("f_dpo", name, rng, alpha) for name, alpha in kinds for _ in range(8)]
    return finding(max(errors), SOLVER, "certified minimisers against p*")


def _too_far_apart(rng: np.random.Generator) -> float:
    """An annotator whose utilities are no values of the link: they lie further apart than it reaches."""
    annotator, half = Annotator(FiniteDistribution([0.0, -9.0]), luce()), uniform([0, 1])
    found = optimum(
        "f_dpo", annotator, ProductProposal([1, 1]), beta=0.3, reference=half, divergence="alpha_divergence", alpha=3.0
    )
    return found.policy_error


def _chi_po(rng: np.random.Generator) -> Finding:
    errors = [_taught("chi_po", "chi_po", rng) for _ in range(20)]
    annotator = Annotator(FiniteDistribution([0.0, -9.0, 30.0]), luce())
    far = optimum("chi_po", annotator, ProductProposal(np.ones(3)), beta=0.3, reference=uniform(range(3)))
    assert far.policy is not None
    utilities = 0.3 * link("chi_po").value(far.policy.log_pmf + math.log(3.0))
    apart = float(np.abs(np.diff(utilities) - [-9.0, 39.0]).max())
    return finding(max(*errors, apart), SOLVER, "certified minimisers against p*; utilities 39 nats apart")


FIRST, SECOND, REFERENCE = ([Fraction(x, 8) for x in row] for row in ((2, 4, 2), (4, 2, 2), (1, 1, 6)))


def _same_utilities() -> float:
    """Total variation of two policies that SquaredPO cannot tell apart: log 2 / 2 = log 4 / 4, as 2^4 = 4^2."""
    ratios = [(a / r, b / r) for a, b, r in zip(FIRST, SECOND, REFERENCE, strict=True)]
    alike = all(a == b or a**b == b**a for a, b in ratios)
    return float(alike * sum(abs(a - b) for a, b in zip(FIRST, SECOND, strict=True)) / 2)


def _squared(rng: np.random.Generator) -> Finding:
    within = max(_taught("squared_po", "squared", rng, spread=0.99) for _ in range(12))
    return finding(
        _same_utilities(), SOLVER, "an identity of integers; certified minimisers against p*", supposing=within,
        witness="reference (1/8, 1/8, 3/4): policies (1/4, 1/2, 1/4) and (1/2, 1/4, 1/4) have ratios 2, 4, 1/3 and "
        "4, 2, 1/3, and log 2 / 2 = log 4 / 4: the same utilities, whatever beta",
    )  # fmt: skip


# --- Bregman divergences and proper losses ---

Generator = Callable[[FloatArray], FloatArray]


def _descended(loss: Callable[[FloatArray], float], n: int) -> FloatArray:
    """Probabilities of the softmax that a quasi-Newton method leads to."""
    logits = minimize(lambda u: loss(u - u.mean()) + 1e-12 * float(u @ u), np.zeros(n), method="BFGS", tol=1e-10).x
    return np.asarray(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum())


def _bregman(p: FloatArray, weights: FloatArray, h: Generator, slope: Generator) -> FloatArray:
    """The policy whose ratios loser to winner are nearest to the preferences', in expectation over answers."""
    ratio = p.T / p

    def loss(u: FloatArray) -> float:
        own = np.exp(u[None, :] - u[:, None])
        return float((weights * p * (h(ratio) - h(own) - slope(own) * (ratio - own))).sum())

    return _descended(loss, len(p))


BREGMAN: tuple[tuple[Generator, Generator], ...] = (
    (lambda r: r * np.log(r) - (1 + r) * np.log1p(r), lambda r: np.log(r) - np.log1p(r)),
    (lambda r: r * np.log(r) - r, np.log),
    (lambda r: r**2 / 2, lambda r: r),
)
"""Generators h and their slopes: logistic regression (DPO), Kullback-Leibler importance, least squares."""


def _bpo(rng: np.random.Generator) -> Finding:
    n = 4
    p = rng.dirichlet(np.full(n, 4.0)) + 0.05
    p /= p.sum()
    ring = np.roll(np.eye(n), 1, axis=1) + np.roll(np.eye(n), -1, axis=1)
    answers = p[:, None] / (p[:, None] + p)
    errors = [np.abs(_bregman(answers, ring, *h) - p).sum() / 2 for h in BREGMAN]
    return finding(
        float(Fraction(1, 4)), DESCENT, "a quasi-Newton method against the target, three generators",
        supposing=float(max(errors)),
        witness="pairs (1,2) and (3,4) only: policies (1/4, 1/4, 1/4, 1/4) and (3/8, 3/8, 1/8, 1/8) have all ratios 1",
    )  # fmt: skip


def _cyclic(rng: np.random.Generator) -> float:
    """Without a target policy, generators lead apart."""
    p = np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.8], [0.7, 0.2, 0.5]])
    found = [_bregman(p, np.ones((3, 3)), *h) for h in BREGMAN[:2]]
    return float(np.abs(found[0] - found[1]).sum() / 2)


PROPER: tuple[tuple[Generator, Generator], ...] = (
    (lambda c: -np.log(c), lambda c: -np.log1p(-c)),
    (lambda c: (1 - c) ** 2, lambda c: c**2),
    (lambda c: -c / np.hypot(c, 1 - c), lambda c: (c - 1) / np.hypot(c, 1 - c)),
)
"""Loss of an answer and of its opposite at a modelled probability c: log, square, spherical; of these only the first is
convex in the margin."""


def _proper(rng: np.random.Generator) -> Finding:
    n = 4
    p = rng.dirichlet(np.full(n, 4.0)) + 0.05
    p /= p.sum()
    answers = p[:, None] / (p[:, None] + p)
    errors = []
    for won, lost in PROPER:
        found = _descended(partial(_expected, answers, won=won, lost=lost), n)
        errors.append(float(np.abs(found - p).sum() / 2))
    return finding(
        float(Fraction(1, 12)), DESCENT, "a quasi-Newton method against p*: log, square and spherical losses",
        supposing=max(errors),
        witness="zero-one loss, p* = (2/3, 1/3): p* and (3/4, 1/4) both err with probability 1/3, the least there is",
    )  # fmt: skip


def _expected(answers: FloatArray, u: FloatArray, won: Generator, lost: Generator) -> float:
    model = expit(u[:, None] - u)
    return float((answers * won(model) + answers.T * lost(model)).sum())


def _square_for_a_cycle(rng: np.random.Generator) -> float:
    """Where no policy has the preferences, strictly proper losses lead apart."""
    p = np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.8], [0.7, 0.2, 0.5]])
    found = [_descended(partial(_expected, p, won=won, lost=lost), 3) for won, lost in PROPER[:2]]
    return float(np.abs(found[0] - found[1]).sum() / 2)


# --- samples ---


def _least_of_chosen(wins: FloatArray) -> float:
    """The least probability that all answers that ever won have together, among limits of minimisers; two ways."""
    met = wins + wins.T
    shares = np.divide(wins, met, out=np.full(wins.shape, 0.5), where=met > 0.0)
    vertices = minimizer_vertices(PreferenceMatrix(shares), JointProposal(np.triu(met)), beta=0.1)
    chosen = np.flatnonzero(wins.sum(axis=1)).tolist()
    least = probability_range(vertices, chosen)[0]
    goal = np.isin(range(len(wins)), chosen).astype(float)
    mixed = linprog(vertices @ goal, A_eq=np.ones((1, len(vertices))), b_eq=[1.0], method="highs").fun
    return max(least, float(mixed))


def _sample(rng: np.random.Generator, unseen: int) -> FloatArray:
    """One answer to each of some pairs of five outcomes, and outcomes that were never compared."""
    wins = np.zeros((5 + unseen, 5 + unseen))
    for a, b in itertools.combinations(range(5), 2):
        wins[(a, b) if rng.random() < 0.5 else (b, a)] = float(rng.random() < 0.7 or b == a + 1)
    return wins


def _vanishing(rng: np.random.Generator) -> Finding:
    both = np.array([[0.0, 2.0], [1.0, 0.0]])
    return finding(
        _least_of_chosen(both), SOLVER, "vertices of the face, and a linear programme over it",
        supposing=max(_least_of_chosen(_sample(rng, 2)) for _ in range(20)),
        witness="two answers, one of which won twice and lost once: beta = 1 and an even reference leave (2/3, 1/3) "
        "only, any beta one policy, and both were chosen",
    )  # fmt: skip


# --- rankings ---

Law = dict[tuple[int, ...], Fraction]


def _law(odds: list[int]) -> Law:
    """Plackett and Luce's law in fractions."""
    law = {}
    for ranking in itertools.permutations(range(len(odds))):
        chances = (Fraction(odds[x], sum(odds[y] for y in ranking[i:])) for i, x in enumerate(ranking))
        law[ranking] = math.prod(chances, start=Fraction(1))
    return law


def _broken(odds: list[int], breaking: Callable[[tuple[int, ...]], Iterable[tuple[int, int]]]) -> float:
    """How far the broken pairs' shares are from Luce's rule: where they agree, the pairs' optimum is at the odds."""
    won: dict[tuple[int, int], Fraction] = {}
    for ranking, probability in _law(odds).items():
        for pair in breaking(ranking):
            won[pair] = won.get(pair, Fraction(0)) + probability
    shares = {(a, b): x / (x + won[b, a]) for (a, b), x in won.items()}
    return float(max(abs(x - Fraction(odds[a], odds[a] + odds[b])) for (a, b), x in shares.items()))


def _odds(rng: np.random.Generator, n: int) -> list[int]:
    return [int(x) for x in rng.choice(np.arange(1, 30), n, replace=False)]


def _converge(rng: np.random.Generator) -> Finding:
    return finding(max(_broken(_odds(rng, n), all_pairs_of) for n in (3, 4, 5)), 1e-15, "shares of pairs in fractions")


def _lost(n: int, odds: FloatArray) -> float:
    """What the likelihood lacks to be strictly more precise: 0 where its covariance is smaller, 1 where it is none."""
    likelihood, pairs = rank_breaking_covariances(odds)
    below = float(np.linalg.eigvalsh(pairs - likelihood)[0])
    return max(-below, 0.0) if np.trace(pairs) > (1.0 + 1e-6) * np.trace(likelihood) else 1.0


def _efficient(n: int) -> float:
    likelihood, pairs = rank_breaking_covariances(np.ones(n))
    return float(likelihood[0, 0] / pairs[0, 0])


def _efficiency(rng: np.random.Generator) -> Finding:
    return finding(
        max(abs(_efficient(3) - 27 / 28), *(_lost(n, rng.uniform(0.2, 5.0, n)) for n in (3, 4, 5))), 1e-10,
        "covariances from all rankings; 27/28 by hand",
        numbers={f"efficiency of pairs, {n} equals": _efficient(n) for n in (3, 4, 5, 6)},
    )  # fmt: skip


KEEPS = "Our reading: an annotator of utilities beta * link(p* / reference), asked all pairs, teaches only p*."

DIVERGENCES = (
    DocketClaim(
        name="f_dpo_keeps_theorem_2",
        source="Wang et al. 2024, arXiv:2309.16240",
        seen="abstract only; the losses from their code as the catalogue has it",
        printed="With forward KL, Jensen-Shannon, alpha-divergences reward and policy are still tractably linked.",
        read=KEEPS,
        hypothesis="Utilities are no further apart than the link reaches: nothing is asked where it falls to minus "
        "infinity, as (1 - u^-alpha) / alpha does for alpha > 0; it is bounded below for alpha < 0.",
        instance="32 drawn problems of two to six outcomes: forward KL, Jensen-Shannon, and alpha = 1/2 and -2, where "
        "u is p* / reference and (1 - u^-alpha) / alpha the link",
        expected=HOLDS,
        check=_f_dpo,
        control=_too_far_apart,
    ),
    DocketClaim(
        name="chi_po_keeps_theorem_2",
        source="Huang et al. 2025, arXiv:2407.13399",
        seen="abstract only; the link z + log z as its summaries quote it",
        printed="One line of DPO changes: the link, which regularises by the chi-squared divergence as well.",
        read=KEEPS + " Any other annotator has exactly one optimum, too.",
        hypothesis="A link that rises from minus to plus infinity, as this one does.",
        instance="20 drawn problems of two to six outcomes, and utilities 39 nats apart",
        expected=HOLDS,
        check=_chi_po,
        control=lambda rng: _same_utilities(),
    ),
    DocketClaim(
        name="squared_po_theorem_2",
        source="Pipano et al. 2026, arXiv:2602.06788",
        seen="abstract, and a summary of its condition; the loss as the catalogue has it",
        printed="RLHF remains tractable for an f that need not be convex, if f is DPO-inducing: f'(0+) = -infinity. "
        "SquaredPO's f is.",
        read="Our question, of identification and not of tractability: does an annotator whose utilities are beta "
        "times the link of p* / reference, asked all pairs, teach only p*?",
        hypothesis="No policy gives an answer more than e times what the reference does: up to there the link rises.",
        instance="the witness, and 12 drawn problems of two to six outcomes with ratios below e",
        expected=HOLDS_IF,
        check=_squared,
        control=lambda rng: _same_utilities(),
    ),
    DocketClaim(
        name="bpo_identifies_target",
        source="Kim et al. 2025, arXiv:2505.19601",
        seen="abstract and a summary of its method",
        printed="The ratio identifies the policy uniquely; all Bregman divergences of ratios attain the target policy.",
        read="Our question: whatever pairs are drawn, has only the target the least expected divergence?",
        hypothesis="The pairs connect all outcomes, and the answers are some policy's by Luce's rule.",
        instance="the witness, and a drawn policy of four outcomes compared round a ring, three generators",
        expected=HOLDS_IF,
        check=_bpo,
        control=_cyclic,
    ),
    DocketClaim(
        name="every_proper_loss",
        source="Zhou et al. 2025, arXiv:2507.07855",
        seen="abstract only",
        printed="The connection of DPO with choice theory is established for all of Savage's (proper) losses.",
        read="Our question, of minimisers: for every proper loss of the modelled preference, strictly proper or not, "
        "is the expected loss least at p* only?",
        hypothesis="The loss is strictly proper, the annotator follows Luce's rule, the pairs connect all outcomes.",
        instance="the witness, and a drawn p* of four outcomes",
        expected=HOLDS_IF,
        check=_proper,
        control=_square_for_a_cycle,
    ),
    DocketClaim(
        name="chosen_may_vanish",
        source="Fisch et al. 2025, arXiv:2405.19316",
        seen="abstract only",
        printed="DPO leads to degenerate policies, sometimes with probabilities of preferred answers that go to zero.",
        read="Our question, of every finite sample: among limits of policies whose loss tends to the least, do some "
        "give all chosen answers together probability 0?",
        hypothesis="Some answer was never compared.",
        instance="the witness, and 20 drawn samples of five outcomes with two more that nobody saw",
        expected=HOLDS_IF,
        check=_vanishing,
        control=lambda rng: _least_of_chosen(np.array([[0.0, 2.0], [1.0, 0.0]])),
    ),
    DocketClaim(
        name="rankings_or_pairs",
        source="Zhu et al. 2023, arXiv:2301.11270",
        seen="abstract only",
        printed="Under the Plackett-Luce model the likelihood and the one of all pairs of a ranking both converge.",
        read="The law of every pair of a ranking is Luce's with the same odds, so that both optima are there.",
        hypothesis="All pairs of each ranking are taken, not only neighbours.",
        instance="drawn odds of three, four and five outcomes",
        expected=HOLDS,
        check=_converge,
        control=lambda rng: _broken(_odds(rng, 3), neighbours_of),
    ),
    DocketClaim(
        name="rankings_are_efficient",
        source="Zhu et al. 2023, arXiv:2301.11270",
        seen="abstract only",
        printed="The true likelihood is asymptotically more efficient than that of all pairs.",
        read="Its covariance is smaller in the order of matrices, and not equal.",
        hypothesis="Three outcomes or more in a ranking.",
        instance="drawn odds of three, four and five outcomes, and equals",
        expected=HOLDS,
        check=_efficiency,
        control=lambda rng: _lost(2, rng.uniform(0.2, 5.0, 2)),
    ),
)  # fmt: skip
