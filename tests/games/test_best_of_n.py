"""The law of the best of N: against all sequences of draws, fractions and 50 digits. Proof: `proofs/best_of_n.md`."""

from fractions import Fraction
from itertools import pairwise, product

import mpmath
import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.games import best_of_n
from tests.seeds import drawn_seed


def by_enumeration(weights, rewards, n):
    """All sequences of n draws; each of the draws that tie for the best is as likely to be taken."""
    total, law = sum(weights), [Fraction(0)] * len(weights)
    for draws in product(range(len(weights)), repeat=n):
        likely = Fraction(1)
        for x in draws:
            likely *= Fraction(weights[x], total)
        most = max(rewards[x] for x in draws)
        best = [x for x in draws if rewards[x] == most]
        for x in best:
            law[x] += likely / len(best)
    return law


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("rewards", [[0, 1, 2, 3], [1, 0, 1, 1], [5, 5, 5, 5], [2, 2, 1, 9]])
def test_the_law_is_that_of_all_sequences(n, rewards):
    weights = [3, 1, 0, 4]
    exact = by_enumeration(weights, rewards, n)
    found = best_of_n(pb.FiniteDistribution.from_weights(weights), rewards, n)
    assert found.policy.pmf == pytest.approx([float(p) for p in exact], rel=1e-14)
    won = sum(
        p * Fraction(w, 8) * (1 if a > b else Fraction(1, 2) if a == b else 0)
        for p, a in zip(exact, rewards, strict=True) for w, b in zip(weights, rewards, strict=True)
    )  # fmt: skip
    assert found.win_rate == pytest.approx(float(won), rel=1e-14)
    assert found.win_rate <= n / (n + 1) + 1e-15


def test_two_outcomes_by_hand():
    """(1/4, 3/4) against (1/2, 1/2): (3/4) log 3 − log 2, below log 2 − 1/2."""
    found = best_of_n(pb.uniform(range(2)), [0.0, 1.0], 2)
    assert found.kl == pytest.approx(0.75 * np.log(3.0) - np.log(2.0), rel=1e-14)
    assert found.kl_bound == pytest.approx(np.log(2.0) - 0.5, rel=1e-15)


@pytest.mark.parametrize("n", [2, 7, 10**6, 10**15])
def test_rare_outcomes_keep_their_digits(n):
    """Relative errors against 60 digits, of outcomes that are hardly ever drawn, or hardly ever the best."""
    rng = np.random.default_rng(drawn_seed())
    log_weights = -np.abs(15.0 * rng.normal(size=8))
    reference, levels = pb.FiniteDistribution(log_weights), rng.integers(0, 5, 8)
    found = best_of_n(reference, levels.astype(float), n)
    with mpmath.workdps(60):
        weights = [mpmath.exp(mpmath.mpf(float(w))) for w in reference.log_pmf]
        total = mpmath.fsum(weights)
        kl = mpmath.mpf(0)
        for x, level in enumerate(levels):
            at_most = mpmath.fsum(w for w, other in zip(weights, levels, strict=True) if other <= level) / total
            mass = mpmath.fsum(w for w, other in zip(weights, levels, strict=True) if other == level) / total
            exact = weights[x] / total / mass * (at_most**n - (at_most - mass) ** n)
            if exact > mpmath.mpf(10) ** -290:
                # log F is rounded at 1e-16 of itself, and N of them are added.
                allowed = 1e-13 + 4e-16 * abs(float(n * mpmath.log(at_most)))
                assert abs(found.policy.pmf[x] / exact - 1) < allowed
            kl += exact * mpmath.log(exact * total / weights[x]) if exact > 0 else 0
        assert found.kl == pytest.approx(float(kl), rel=1e-11, abs=1e-14)


def test_the_bound_is_neared_by_small_atoms_and_the_law_by_the_tilt():
    off = []
    for size in (10, 100, 1000):
        found = best_of_n(pb.uniform(range(size)), np.arange(float(size)), 4)
        assert found.kl < found.kl_bound
        off.append((found.kl_bound - found.kl, pb.total_variation(found.policy, found.tilted)))
    # The divergence is off by the order of the square of the atoms, the tilt by that as well.
    for coarse, fine in pairwise(off):
        assert fine[0] < coarse[0] / 50
        assert fine[1] < coarse[1] / 50


def test_one_draw_is_the_reference():
    reference = pb.FiniteDistribution.from_weights([1, 2, 0])
    found = best_of_n(reference, [3.0, 1.0, 2.0], 1)
    assert found.policy.pmf == pytest.approx(reference.pmf)
    assert found.kl == pytest.approx(0.0, abs=1e-15)
    assert found.win_rate == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.5], [0, 1], 2), "`reference` must be a FiniteDistribution"),
        ((pb.uniform(range(2)), [0, 1, 2], 2), "`rewards`"),
        ((pb.uniform(range(2)), [0, np.nan], 2), "`rewards`"),
        ((pb.uniform(range(2)), [0, 1], 0), "`n` must be at least 1"),
        ((pb.uniform(range(2)), [0, 1], 2.5), "`n` must be a whole number"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        best_of_n(*arguments)
