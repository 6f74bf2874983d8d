"""No mixture undercuts the bound: against rankings, fits, and another optimiser. Proof: `proofs/mixture_bound.md`."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import linprog

import pbde_ref as pb
from pbde_ref.exact.mixtures import expected_mixture_loss, fit_annotator_mixture, mixture_loss_bound
from tests.seeds import drawn_seed

CYCLE = pb.PreferenceMatrix([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
ROUND = pb.PairListProposal([0, 1, 2], [1, 2, 0], [1, 1, 1])


def drawn(rng, n):
    upper = np.triu(rng.uniform(0.02, 0.98, (n, n)), 1)
    return pb.PreferenceMatrix(upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(n))


def of_rankings(n):
    """Pair probabilities of every ranking, shape (n!, n, n)."""
    result = np.full((math.factorial(n), n, n), 0.5)
    for table, order in zip(result, itertools.permutations(range(n)), strict=True):
        for i, x in enumerate(order):
            table[x, order[i + 1 :]], table[order[i + 1 :], x] = 1.0, 0.0
    return result


def loss(p, q, m):
    return float((q * p * np.log(p / m)).sum())


@pytest.mark.parametrize("p", [0.7, 0.9, 0.999])
def test_a_cycle_by_hand(p):
    """Three rankings reach 2/3 for each pair; the loss is p log(3p/2) + (1 - p) log(3(1 - p))."""
    cycle = pb.PreferenceMatrix([[0.5, p, 1 - p], [1 - p, 0.5, p], [p, 1 - p, 0.5]])
    found = mixture_loss_bound(cycle, ROUND)
    assert found.value == pytest.approx(p * math.log(1.5 * p) + (1 - p) * math.log(3 * (1 - p)), abs=1e-9)
    assert found.attained
    fit = fit_annotator_mixture(cycle, ROUND, 3, noise=3.0, n_starts=4, rng=0, max_steps=3000)
    assert found.value - 1e-12 <= fit.loss <= found.value + 1e-6


def test_two_thirds_cost_nothing():
    cycle = pb.PreferenceMatrix([[0.5, 0.66, 0.34], [0.34, 0.5, 0.66], [0.66, 0.34, 0.5]])
    assert mixture_loss_bound(cycle, ROUND).value == 0.0


@pytest.mark.parametrize("n", [3, 4, 5])
def test_the_bound_is_reached_by_rankings(n):
    """Shares of the n! rankings give the nearest preferences, and these have the loss of the bound."""
    rng = np.random.default_rng(drawn_seed() + n)
    tables, bounds = of_rankings(n).reshape(math.factorial(n), -1), []
    for _ in range(8):
        annotator, q = drawn(rng, n), rng.random((n, n))
        found = mixture_loss_bound(annotator, pb.JointProposal(q))
        together = (q + q.T) / q.sum() * (1 - np.eye(n))
        reached = loss(annotator.preference_probabilities(), together, found.preferences)
        assert found.value <= reached <= found.value + 1e-5
        # Least sum of deviations from what was found.
        size, eye = n * n, np.eye(n * n)
        mixed = linprog(
            np.append(np.zeros(len(tables)), np.ones(2 * size)),
            A_eq=np.block([[tables.T, eye, -eye], [np.ones(len(tables)), np.zeros(2 * size)]]),
            b_eq=[*found.preferences.ravel(), 1.0],
        )
        assert mixed.fun < 1e-6
        bounds.append(found.value)
    assert max(bounds) > 1e-4


def test_no_fit_undercuts_it():
    """Drawn mixtures, and fits of drawn preferences."""
    rng = np.random.default_rng(drawn_seed())
    for n in (3, 5, 7):
        annotator, q = drawn(rng, n), pb.ProductProposal(rng.random(n) + 0.1)
        bound = mixture_loss_bound(annotator, q)
        for k in (1, 2, 4):
            value = expected_mixture_loss(annotator, np.ones(k), 3 * rng.normal(size=(k, n)), q).value
            assert value >= bound.value
            assert fit_annotator_mixture(annotator, q, k, noise=2.0, rng=1, max_steps=200).loss >= bound.value - 1e-12


def test_mixtures_lose_nothing():
    """Where there is a mixture the bound is 0, also of sure answers; pairs that nobody compares cost nothing."""
    rng = np.random.default_rng(drawn_seed())
    members = [pb.Annotator(pb.FiniteDistribution(rng.normal(size=6)), pb.luce()) for _ in range(3)]
    assert mixture_loss_bound(pb.AnnotatorMixture([1, 2, 3], members), pb.ProductProposal(np.ones(6))).value == 0.0
    sure = pb.PreferenceMatrix(of_rankings(4)[5])
    assert mixture_loss_bound(sure, pb.ProductProposal(np.ones(4))).value == 0.0
    two = pb.PairListProposal([0, 1], [1, 2], [1, 1])
    assert mixture_loss_bound(CYCLE, two).value == pytest.approx(0.0, abs=1e-9)


def test_refusals():
    with pytest.raises(ValueError, match="at most 12 outcomes"):
        mixture_loss_bound(pb.Annotator(pb.uniform(range(13)), pb.luce()), pb.ProductProposal(np.ones(13)))
