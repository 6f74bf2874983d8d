"""Claims about preferences that need not be anybody's utility: who wins against all, and how self-play gets there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import permutations

import numpy as np

from pbde_ref.annotators import PreferenceMatrix
from pbde_ref.distributions import FiniteDistribution, total_variation, uniform
from pbde_ref.docket.record import HOLDS, HOLDS_IF, DocketClaim, Finding, finding
from pbde_ref.exact.ipo import ipo_closed_form, ipo_optimum
from pbde_ref.games import maximal_lottery, nash_policy, self_play
from pbde_ref.games.equilibria import margins
from pbde_ref.proposals import ProductProposal
from pbde_ref.validation import FloatArray

__all__ = ["GENERAL_PREFERENCES"]

SOLVED = 1e-12
"""What a certified duality gap, and sums of at most 30 terms, leave."""
CYCLE = PreferenceMatrix([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])
"""Rock, paper, scissors."""


def _preferences(rng: np.random.Generator, size: int) -> PreferenceMatrix:
    """Each pair's probability uniform, independent of the others."""
    upper = np.triu(rng.uniform(0.0, 1.0, (size, size)), 1)
    return PreferenceMatrix(upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(size))


def _policy(rng: np.random.Generator, size: int, scale: float = 1.0) -> FiniteDistribution:
    return FiniteDistribution(scale * rng.normal(size=size))


def _games(rng: np.random.Generator) -> Iterator[PreferenceMatrix]:
    yield CYCLE
    for size in (2, 3, 5, 8, 12):
        yield _preferences(rng, size)


def _lost(preferences: PreferenceMatrix, policy: FloatArray) -> float:
    """By how much the best answer wins more than half; summed without NumPy."""
    table = preferences.preference_probabilities().tolist()
    return max(math.fsum(p * (won - 0.5) for p, won in zip(policy, row, strict=True)) for row in table)


# --- A minimax winner exists ---


def _minimax_winner(rng: np.random.Generator) -> Finding:
    worst = 0.0
    for preferences in _games(rng):
        worst = max(worst, _lost(preferences, maximal_lottery(preferences).policy.pmf))
    for _ in range(20):
        # Of a cycle of three: in proportion to the margins of the pairs that do not hold the outcome.
        a, b, c = (Fraction(int(k), 200) for k in rng.integers(1, 101, 3))
        half = Fraction(1, 2)
        table = [[half, half + a, half - c], [half - a, half, half + b], [half + c, half - b, half]]
        exact = [b / (a + b + c), c / (a + b + c), a / (a + b + c)]
        worst = max(worst, *(float(sum(q * (p - half) for q, p in zip(exact, row, strict=True))) for row in table))
        found = maximal_lottery(PreferenceMatrix([[float(p) for p in row] for row in table])).policy.pmf
        worst = max(worst, *(abs(float(e) - f) for e, f in zip(exact, found, strict=True)))
    return finding(worst, SOLVED, "cycles of three in fractions; best answers to linear programmes' solutions")


# --- A reward exists iff no Condorcet cycle ---


def _has_cycle(beats: list[list[bool]]) -> bool:
    """Whether no order of the outcomes agrees with all majorities: by trying all orders."""
    return not any(
        all(not beats[later][earlier] for i, earlier in enumerate(order) for later in order[i + 1 :])
        for order in permutations(range(len(beats)))
    )


def _sorted_by_wins(beats: list[list[bool]]) -> bool:
    """Whether the number of majorities that an outcome has, as its reward, is greater wherever it has one."""
    reward = [sum(row) for row in beats]
    return all(reward[i] > reward[j] for i, row in enumerate(beats) for j, won in enumerate(row) if won)


def _reward_iff_no_cycle(rng: np.random.Generator) -> Finding:
    wrong = 0
    for _ in range(60):
        table = _preferences(rng, int(rng.integers(3, 6))).preference_probabilities()
        beats = (table > 0.5).tolist()
        wrong += _has_cycle(beats) == _sorted_by_wins(beats)
    numbers = {"P(a > c) of the reward with two of 9/10, less 3/5": _cardinal(rng)}
    return finding(float(wrong), 0.0, "all orders of up to 5 outcomes", numbers=numbers)


def _cardinal(rng: np.random.Generator) -> float:
    """By how much the third probability of a Bradley-Terry reward with two of 9/10 is not 3/5."""
    odds = Fraction(9) * Fraction(9)
    return float(odds / (1 + odds) - Fraction(3, 5))


# --- Mixed iff nobody beats everybody ---


def _mixed_iff_no_winner(rng: np.random.Generator) -> Finding:
    wrong, mixed = 0, 0
    for _ in range(40):
        preferences = _preferences(rng, int(rng.integers(2, 7)))
        table = preferences.preference_probabilities()
        found = maximal_lottery(preferences).policy.pmf
        winner = ((table > 0.5).sum(axis=1) == len(table) - 1).any()
        mixed += int((found > 1e-9).sum() > 1)
        wrong += bool(winner) == bool((found > 1e-9).sum() > 1)
    return finding(
        _tie(rng), 0.0, "linear programmes, counted wins", supposing=float(wrong), numbers={"mixed of 40": mixed},
        witness="P(a > b) = 1/2: nobody beats everybody, and (1, 0) is an equilibrium",
    )  # fmt: skip


def _tie(rng: np.random.Generator) -> float:
    """1 where a game of two that tie has a pure equilibrium although nobody beats everybody."""
    tie = PreferenceMatrix([[0.5, 0.5], [0.5, 0.5]])
    return float(_lost(tie, np.array([1.0, 0.0])) <= 0.0)


# --- The Nash policy wins half; with KL control it need not ---


def _nash_wins_half(rng: np.random.Generator) -> Finding:
    plain = max(_lost(p, maximal_lottery(p).policy.pmf) for p in _games(rng))
    return finding(
        _with_control(rng), SOLVED, "best answers, summed pair by pair", supposing=plain,
        witness="P(a > b) = 3/4, reference (1/2, 1/2), tau = 1/4: with KL control (q, 1 - q), q / (1 - q) = e, "
        "loses to a alone by (1 - q) / 4",
        numbers={"lost by": _with_control(rng)},
    )  # fmt: skip


def _with_control(rng: np.random.Generator) -> float:
    pair = PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]])
    return _lost(pair, nash_policy(pair, 0.25, uniform(range(2))).policy.pmf)


# --- Nash-MD ---


def _divergences(log_policies: FloatArray, target: FiniteDistribution) -> FloatArray:
    return np.array([math.fsum(target.pmf * (target.log_pmf - row)) for row in log_policies])


def _controlled(rng: np.random.Generator) -> Iterator[tuple[PreferenceMatrix, float, FiniteDistribution]]:
    for preferences in _games(rng):
        for tau in (0.05, 0.3):
            yield preferences, tau, _policy(rng, preferences.size)


def _md(
    preferences: PreferenceMatrix, tau: float, reference: FiniteDistribution, mixed: tuple[bool, bool]
) -> FloatArray:
    """1,000 steps of Nash-MD: whether centre and opponent are the mixture with the reference, else the last policy."""
    payoff, last, policies = margins(preferences), reference.log_pmf, []
    for t in range(1000):
        share = 2.0 / (t + 2.0)
        mixture = (1.0 - share) * last + share * reference.log_pmf
        mixture = mixture - math.log(math.fsum(np.exp(mixture)))
        centre, opponent = (mixture if taken else last for taken in mixed)
        last = centre + share / tau * (payoff @ np.exp(opponent))
        last = last - last.max() - math.log(math.fsum(np.exp(last - last.max())))
        policies.append(last)
    return np.array(policies)


def _md_bound(tau: float) -> FloatArray:
    return np.asarray(8.0 / (tau**2 * (np.arange(1, 1001) + 1.0)))


def _nash_md(rng: np.random.Generator) -> Finding:
    worst, orders, largest, apart = -math.inf, [], 0.0, 0.0
    others = {"opponent": (True, False), "centre": (False, True), "opponent and centre": (False, False)}
    shares = dict.fromkeys(others, 0.0)
    for preferences, tau, reference in _controlled(rng):
        target = nash_policy(preferences, tau, reference).policy
        run = self_play("nash_md", preferences, 1000, tau=tau, eta="decreasing", reference=reference)
        again = _md(preferences, tau, reference, (True, True))
        apart = max(apart, float(np.abs(np.exp(again) - np.exp(run.log_policies[1:])).max()))
        bound = _md_bound(tau)
        off = _divergences(run.log_policies[1:], target)
        worst, largest = max(worst, float((off - bound).max())), max(largest, float((off / bound).max()))
        for name, mixed in others.items():
            other = _divergences(_md(preferences, tau, reference, mixed), target)
            shares[name] = max(shares[name], float((other / bound).max()))
        if tau > 0.1 and off[500:].min() > 1e-12:
            # Below, rounding is what is measured; with less control 1,000 steps are too few to see an order.
            orders.append(np.polyfit(np.log(np.arange(501, 1001)), np.log(off[500:]), 1)[0])
    return finding(
        max(worst, 0.0, apart - 1e-9), SOLVED,
        "the equilibrium with a duality gap below 1e-12; the steps written twice",
        numbers={
            "largest share of the bound": largest,
            **{f"with the last policy as {name}": share for name, share in shares.items()},
            "slowest measured order in T at tau 0.3": float(max(orders, default=0.0)),
        },
    )  # fmt: skip


def _centred_on_last(rng: np.random.Generator) -> float:
    """How far above the bound steps from the last policy lead, the mixture still the opponent."""
    games = [*_controlled(rng), (CYCLE, 0.05, FiniteDistribution.from_weights([2, 1, 1]))]
    return max(
        float((_divergences(policies, nash_policy(preferences, tau, reference).policy) - _md_bound(tau)).max())
        for preferences, tau, reference in games
        for policies in [_md(preferences, tau, reference, (False, True))]
    )


# --- Mirror prox ---


def _mirror_prox(rng: np.random.Generator) -> Finding:
    worst, slowest = _too_slow(rng, 2.0)
    return finding(
        max(worst, 0.0), 1e-9, "the equilibrium with a duality gap below 1e-12",
        numbers={"largest measured factor over the published one": slowest},
    )  # fmt: skip


def _too_slow(rng: np.random.Generator, eta: float) -> tuple[float, float]:
    """How far divergences are above the starting one times (1 + 2 tau)^-t, and how the measured factor compares."""
    worst, slowest = -math.inf, 0.0
    for preferences, tau, reference in _controlled(rng):
        target = nash_policy(preferences, tau, reference).policy
        run = self_play("mirror_prox", preferences, 100, tau=tau, eta=eta, reference=reference)
        off = _divergences(run.log_policies, target)
        worst = max(worst, float((off - off[0] * (1.0 + 2.0 * tau) ** -np.arange(101.0)).max()))
        slowest = max(slowest, (run.rate or 0.0) * (1.0 + 2.0 * tau))
    return worst, slowest


# --- SPPO ---


def _hedge_excess(
    preferences: PreferenceMatrix, start: FiniteDistribution, eta: float, steps: int
) -> tuple[float, float]:
    """How far the gap of the last policy, and of the mean policy, is above what the regret bound promises the mean."""
    run = self_play("sppo", preferences, steps, eta=eta, reference=start)
    promised = 2.0 * (float(-start.log_pmf.min()) / (eta * steps) + eta / 8.0)
    return float(run.gaps[-1] - promised), float(run.average_gaps[-1] - promised)


def _sppo(rng: np.random.Generator) -> Finding:
    mean = []
    for preferences in _games(rng):
        for steps in (100, 1600):
            start = uniform(range(preferences.size)) if preferences is not CYCLE else _policy(rng, 3)
            mean.append(_hedge_excess(preferences, start, math.sqrt(8.0 * math.log(12) / steps), steps)[1])
    return finding(
        max(*mean, 0.0), SOLVED, "the regret bound of multiplicative weights",
        numbers={"gap of the last policy above the bound in a cycle": _last_policy(rng)},
    )  # fmt: skip


def _last_policy(rng: np.random.Generator) -> float:
    """From (1/2, 1/4, 1/4), eta = 1/10, 4,000 steps: what the record's hypothesis tells."""
    return _hedge_excess(CYCLE, FiniteDistribution.from_weights([2, 1, 1]), 0.1, 4000)[0]


# --- IPO on its own answers ---


def _own_answers(preferences: PreferenceMatrix, tau: float, reference: FiniteDistribution) -> float:
    """Total variation from the equilibrium after 400 exact rounds from another start."""
    target = nash_policy(preferences, tau, reference).policy
    start = FiniteDistribution(reference.log_pmf + np.eye(preferences.size)[0], reference.support)
    run = self_play("ipo", preferences, 400, tau=tau, reference=reference, start=start)
    return total_variation(FiniteDistribution(run.log_policies[-1], reference.support), target)


def _online_ipo(rng: np.random.Generator) -> Finding:
    fixed = []
    for preferences in _games(rng):
        reference = _policy(rng, preferences.size)
        fixed.append(_own_answers(preferences, float(rng.uniform(0.55, 2.0)), reference))
        target = nash_policy(preferences, 0.05, reference).policy
        stays = self_play("ipo", preferences, 1, tau=0.05, reference=reference, start=target)
        fixed.append(total_variation(FiniteDistribution(stays.log_policies[-1]), target))
    return finding(
        _weak_control(rng), 1e-9, "the equilibrium with a duality gap below 1e-12", supposing=max(fixed),
        witness="rock, paper, scissors, uniform reference, tau = 1/20, first outcome raised by 1 nat: rounds keep "
        "circling",
        numbers={"total variation after 400 rounds": _weak_control(rng)},
    )  # fmt: skip


def _weak_control(rng: np.random.Generator) -> float:
    return _own_answers(CYCLE, 0.05, uniform(range(3)))


# --- IPO's closed form ---


def _ipo_error(rng: np.random.Generator, same: bool) -> float:
    worst = 0.0
    for preferences in _games(rng):
        n, tau = preferences.size, float(rng.uniform(0.2, 2.0))
        reference, mu, other = (_policy(rng, n) for _ in range(3))
        claimed = FiniteDistribution(reference.log_pmf + margins(preferences) @ mu.pmf / tau)
        found = ipo_optimum(preferences, ProductProposal(mu, mu if same else other), tau=tau, reference=reference)
        worst = max(worst, total_variation(claimed, found.policy))
        if same:
            worst = max(worst, total_variation(claimed, ipo_closed_form(preferences, mu, tau=tau, reference=reference)))
    return worst


def _ipo(rng: np.random.Generator) -> Finding:
    return finding(_ipo_error(rng, same=True), 1e-10, "the weighted least squares of the sampled loss")


DRAWN = "rock, paper, scissors, and drawn preferences of 2, 3, 5, 8 and 12 outcomes"

GENERAL_PREFERENCES = (
    DocketClaim(
        name="minimax_winner",
        source="Swamy et al. 2024, arXiv:2401.04056 (after Kreweras 1965, Fishburn 1984)",
        seen="abstract, and the authors' summary",
        printed="Preferences that no reward explains have a minimax winner, which plays a symmetric zero-sum game with "
        "itself.",
        read="For every P with P + P^T = 1 some distribution wins at least half against every other.",
        hypothesis="Distributions over answers are allowed, not single answers alone.",
        instance=f"{DRAWN}; 20 cycles of three in fractions",
        expected=HOLDS,
        check=_minimax_winner,
        # The single answer that loses least, in a cycle.
        control=lambda rng: min(_lost(CYCLE, row) for row in np.eye(3)),
    ),
    DocketClaim(
        name="reward_iff_no_cycle",
        source="Liu et al. 2025, arXiv:2503.10990",
        seen="abstract",
        printed="Preferences can be represented by a reward model if and only if they have no Condorcet cycle.",
        read='Our reading of "represented": some reward is larger for x than for y wherever P(x > y) > 1/2. No two '
        "outcomes tie.",
        hypothesis="Majorities are represented, not probabilities: P(a > b) = P(b > c) = 9/10, P(a > c) = 3/5 has no "
        "cycle, but the odds of a Bradley-Terry reward multiply, 9 * 9 = 81, and 3/5 has odds 3/2.",
        instance="60 drawn preferences of 3 to 5 outcomes",
        expected=HOLDS,
        check=_reward_iff_no_cycle,
        control=_cardinal,
    ),
    DocketClaim(
        name="mixed_iff_no_winner",
        source="Liu et al. 2025, arXiv:2503.10990",
        seen="abstract",
        printed="The Nash policy mixes if and only if no response is preferred to all others by a majority.",
        read="Every equilibrium holds more than one outcome if and only if none has P > 1/2 against all others.",
        hypothesis="No two outcomes tie.",
        instance="the witness; 40 drawn preferences of 2 to 6 outcomes",
        expected=HOLDS_IF,
        check=_mixed_iff_no_winner,
        control=_tie,
    ),
    DocketClaim(
        name="nash_wins_half",
        source="Munos et al. 2023, arXiv:2312.00886",
        seen="abstract",
        printed="Nash learning seeks a policy whose answers are preferred to those of any competing policy; Nash-MD's "
        "last iterate tends to the regularised equilibrium.",
        read="Our question: does the equilibrium at tau win at least half against every policy?",
        hypothesis="tau = 0: without KL control. Convergence to the regularised equilibrium is for tau > 0.",
        instance=f"the witness; {DRAWN}",
        expected=HOLDS_IF,
        check=_nash_wins_half,
        control=_with_control,
    ),
    DocketClaim(
        name="nash_md_last_iterate",
        source="Munos et al. 2023, arXiv:2312.00886, the theorem on Nash-MD",
        seen="abstract; its bound from memory of the full text, not seen again",
        printed="With steps 2 / (tau (t + 2)), KL(equilibrium, last iterate) <= 8 / (tau^2 (T + 1)).",
        read="The same for exact steps from the reference, T = 1, ..., 1000, with margins in [-1/2, 1/2].",
        hypothesis="Each step is centred on the geometric mixture with the reference. The opponent matters "
        "little: see what share of the bound is measured with the last policy in its place.",
        instance=f"{DRAWN}, tau 0.05 and 0.3",
        expected=HOLDS,
        check=_nash_md,
        control=_centred_on_last,
    ),
    DocketClaim(
        name="nash_mirror_prox_rate",
        source="Tiapkin et al. 2025, arXiv:2505.19731v1",
        seen="abstract and introduction of version 1",
        printed="The divergence from the equilibrium falls like (1 + 2 beta)^(-N/2), N preference queries.",
        read="With two queries a step and steps of 2, KL(equilibrium, iterate t) <= KL(equilibrium, start) "
        "(1 + 2 beta)^-t, t = 1, ..., 100.",
        hypothesis="Steps eta with eta / 2 <= 1, one over the payoff's Lipschitz constant.",
        instance=f"{DRAWN}, beta 0.05 and 0.3",
        expected=HOLDS,
        check=_mirror_prox,
        # With long steps.
        control=lambda rng: _too_slow(rng, 40.0)[0],
    ),
    DocketClaim(
        name="sppo_converges",
        source="Wu et al. 2024, arXiv:2405.00675",
        seen="abstract; its theorem as cited by a summary (a gap of the mean of order T^(-1/2))",
        printed="Self-play with multiplicative weights approximates the Nash policy, with a guarantee: the gap of the "
        "mean of all policies falls like T^(-1/2).",
        read="The mean's gap is at most 2 [log(1 / min start) / (eta T) + eta / 8], the constants of the regret bound, "
        "for exact steps with eta = sqrt(8 log 12 / T).",
        hypothesis="The mean is taken. The last policy of rock, paper, scissors from (1/2, 1/4, 1/4), eta = 1/10, T = "
        "4000, has gap 0.517, and the bound is 0.032: its divergence from the equilibrium grows at every step, its gap "
        "does not.",
        instance=f"{DRAWN}, T = 100 and 1600",
        expected=HOLDS,
        check=_sppo,
        control=_last_policy,
    ),
    DocketClaim(
        name="online_ipo_is_nash",
        source="Calandriello et al. 2024, arXiv:2403.08635",
        seen="abstract",
        printed="Optimising IPO on its own, freshly annotated answers amounts to finding the Nash policy by self-play.",
        read="Our question, of exact rounds: do rounds of IPO, each minimised exactly on pairs from the last policy, "
        "tend to the equilibrium with KL control tau?",
        hypothesis="tau > 1/2, where a round is a contraction. At every tau the equilibrium is the only policy that "
        "stays.",
        instance=f"the witness; {DRAWN}, tau from 0.55 to 2",
        expected=HOLDS_IF,
        check=_online_ipo,
        control=_weak_control,
    ),
    DocketClaim(
        name="ipo_closed_form",
        source="Azar et al. 2023, arXiv:2310.12036",
        seen="as cited by the paper that this package is about, Eq. (22) and (23)",
        printed="The sampled loss of IPO has the optimum of the identity preference objective.",
        read="Its minimiser is reference * exp(E_mu[P] / tau) / Z.",
        hypothesis="Both answers are drawn independently from one behaviour mu, positive everywhere.",
        instance=f"{DRAWN}, references, behaviours and tau drawn",
        expected=HOLDS,
        check=_ipo,
        # The two answers of a pair from two behaviours.
        control=lambda rng: _ipo_error(rng, same=False),
    ),
)
