"""RRHF's ranking loss and the cross-entropy of several annotators."""

from __future__ import annotations

from fractions import Fraction
from math import inf, log

import mpmath
import numpy as np
import pytest
from autograd import grad
from hypothesis import given
from hypothesis import strategies as st

from pbde_ref import losses as pl
from pbde_ref import paper
from tests.losses.cases import (
    AUTOGRAD,
    CHOSEN_LENGTHS,
    LENGTHS,
    MIXTURE,
    MPMATH,
    REJECTED_LENGTHS,
    RRHF,
    batch,
    check_central_differences,
    cross_entropy,
)


def rrhf_double_loop(policy, lengths, scores, weight, average):
    total = 0.0
    for prompt in range(policy.shape[0]):
        p = policy[prompt] / lengths[prompt]
        k = policy.shape[1]
        for i in range(k):
            for j in range(k):
                if scores[prompt, i] > scores[prompt, j]:
                    total = total + (p[j] - p[i]) * (p[j] > p[i])
        best = [i for i in range(k) if scores[prompt, i] == scores[prompt].max()]
        for i in best:
            total = total - weight * (p[i] if average else policy[prompt, i]) / len(best)
    return total


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("weight", [0.0, 1.0, 0.7])
def test_rrhf_is_a_double_loop(weight, average):
    """Value and gradient equal the loop transcribed from the equation; autograd and central differences agree."""
    policy, lengths, scores = RRHF

    def loss(values, reduction="sum"):
        return pl.rrhf_loss(
            values, lengths, scores=scores, likelihood_weight=weight, average_likelihood=average, reduction=reduction
        )

    result = loss(policy)
    assert result.value == pytest.approx(rrhf_double_loop(policy, lengths, scores, weight, average), rel=1e-14)
    derivative = grad(rrhf_double_loop)(policy, lengths, scores, weight, average)
    np.testing.assert_allclose(result.gradients["policy"], derivative, rtol=1e-13, atol=1e-16)
    check_central_differences(lambda x: loss(x, "mean"), (policy,), ("policy",), h=1e-5)


def test_rrhf_for_two_candidates_is_the_hinge_without_margin():
    pc, pr, _, _ = batch("generic")
    policy, lengths = np.stack([pc, pr], axis=1), np.stack(LENGTHS, axis=1)
    ranked = pl.rrhf_loss(policy, lengths, ranks=np.tile([1, 2], (4, 1)), likelihood_weight=0.0)
    paired = pl.pairwise_loss(pc / CHOSEN_LENGTHS, pr / REJECTED_LENGTHS, objective="rrhf")
    np.testing.assert_array_equal(ranked.losses, paired.losses)
    np.testing.assert_allclose(
        ranked.gradients["policy"][:, 0], paired.gradients["chosen_utilities"] / CHOSEN_LENGTHS, rtol=1e-15
    )


@given(st.permutations(range(4)))
def test_rrhf_does_not_depend_on_the_order_of_candidates(order):
    """Not even with ties among the best."""
    order = np.array(order)
    policy, lengths, scores = RRHF
    plain = pl.rrhf_loss(policy, lengths, scores=scores)
    mixed = pl.rrhf_loss(policy[:, order], lengths[:, order], scores=scores[:, order])
    np.testing.assert_allclose(mixed.losses, plain.losses, rtol=1e-14)
    np.testing.assert_allclose(mixed.gradients["policy"], plain.gradients["policy"][:, order], rtol=1e-14)


def test_rrhf_ties_are_not_compared():
    """All tied: nothing is ranked, and the likelihood is the mean over all; equal scores per token: subgradient 0."""
    tied = pl.rrhf_loss([[-1.0, -9.0]], [[1, 1]], scores=[[2, 2]])
    assert (tied.value, tied.gradients["policy"].tolist()) == (5.0, [[-0.5, -0.5]])
    kink = pl.rrhf_loss([[-2.0, -4.0]], [[1, 2]], scores=[[2, 1]], likelihood_weight=0.0)
    assert (kink.value, kink.gradients["policy"].tolist()) == (0.0, [[0.0, 0.0]])
    excluded = pl.rrhf_loss([[-inf, -1.0, -inf]], [[1, 1, 1]], scores=[[0, 1, 0]])
    assert excluded.value == 1.0


def test_rrhf_extremes():
    """Gaps of 10,000 and certain sequences stay exact, in float32 too."""
    policy = np.float32([[-1e4, -1e-9, -3e-8]])
    result = pl.rrhf_loss(policy, [[1, 2, 3]], ranks=[[1, 3, 2]], likelihood_weight=0.0)
    exact = sum(Fraction(float(x)) for x in (-policy[0, 0], -policy[0, 0])) + Fraction(float(policy[0, 1])) / 2
    exact += Fraction(float(policy[0, 2])) / 3 + Fraction(float(policy[0, 1])) / 2 - Fraction(float(policy[0, 2])) / 3
    assert result.value == pytest.approx(float(exact), rel=1e-15)
    assert result.gradients["policy"].dtype == np.float32


# Mixtures of annotators

NAMES = ("policy_chosen", "policy_rejected", "weight_logits")


def mixture_formula(ns, chosen, rejected, logits):
    """Eq. (1) with Eq. (30) for one pair."""
    models = [(ns.exp(c), ns.exp(r)) for c, r in zip(chosen, rejected, strict=True)]
    return cross_entropy(ns, paper.equation_30([ns.exp(logit) for logit in logits], models, 0, 1))


def test_annotator_mixture_gradients_three_ways():
    """Closed form, autograd on the equation as it stands, and central differences, the weights' logits included."""
    result = pl.annotator_mixture_loss(*MIXTURE)

    def mean(chosen, rejected, logits):
        return sum(mixture_formula(AUTOGRAD, chosen[i], rejected[i], logits) for i in range(2)) / 2

    assert result.value == pytest.approx(float(mean(*MIXTURE)), rel=1e-14)
    for i, name in enumerate(NAMES):
        np.testing.assert_allclose(result.gradients[name], grad(mean, i)(*MIXTURE), rtol=1e-12, atol=1e-15)
    check_central_differences(pl.annotator_mixture_loss, MIXTURE, NAMES, h=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_annotator_mixture_extremes(dtype):
    """Gaps of ±100 and ±10,000, annotators who agree that the chosen one wins almost surely, and near-certain ones."""
    chosen = np.array([[-1e4, -1e-9], [-0.5, -1e4], [-1e-9, -2e-9], [-1e-8, -0.25], [-1e4, -9e3], [-0.5, -0.5]], dtype)
    rejected = np.array([[-0.5, -1e4], [-1e4, -1.0], [-100, -60], [-45, -44.0], [-1.0, -2.0], [-3e-9, -0.5]], dtype)
    logits = np.array([0.3, -0.9], dtype)
    result = pl.annotator_mixture_loss(chosen, rejected, logits, reduction="sum")
    # The equation as it stands takes the logarithm of numbers as close to 1 as 1e-44, and of 1 − e^−10000.
    with mpmath.workdps(150):
        h = mpmath.mpf(10) ** -25
        triples = [(c, r, logits) for c, r in zip(chosen, rejected, strict=True)]
        rows = [[[mpmath.mpf(float(x)) for x in row] for row in triple] for triple in triples]
        values = [mixture_formula(MPMATH, *row) for row in rows]
        gradients = [np.zeros((6, 2)) for _ in NAMES]
        for i in range(3):
            for pair, row in enumerate(rows):
                for k in range(2):
                    moved = [[list(x) for x in row] for _ in range(2)]
                    moved[0][i][k] += h
                    moved[1][i][k] -= h
                    above, below = (mixture_formula(MPMATH, *x) for x in moved)
                    gradients[i][pair, k] = float((above - below) / (2 * h))
    gradients[2] = gradients[2].sum(axis=0)
    # 1e-12 is the rounding of log-probabilities of 10,000 nats; 1.3e-6 that of float32.
    rtol, atol = (1e-11, 1e-100) if dtype == np.float64 else (1.3e-6, 1e-38)
    np.testing.assert_allclose(result.losses, np.array(values, float), rtol=rtol, atol=atol)
    for name, gradient in zip(NAMES, gradients, strict=True):
        assert result.gradients[name].dtype == dtype
        np.testing.assert_allclose(result.gradients[name], gradient, rtol=rtol, atol=atol)


def test_weight_gradients_keep_their_digits_where_annotators_agree():
    """Both annotators are certain to 1e-18 and 1e-20: w − ρ is about 2e-19, which a plain difference rounds to 0."""
    chosen, rejected, logits = np.zeros((1, 2)), np.array([[-41.0, -46.0]]), np.zeros(2)
    gradient = pl.annotator_mixture_loss(chosen, rejected, logits).gradients["weight_logits"]
    with mpmath.workdps(60):
        a, b = (1 / (1 + mpmath.exp(-mpmath.mpf(d))) for d in (41, 46))
        exact = float(mpmath.mpf("0.5") - a / (a + b))
    np.testing.assert_allclose(gradient, [exact, -exact], rtol=1e-14)
    assert 1e-19 < exact < 1e-18


def test_annotator_mixture_with_excluded_outcomes():
    """Who excludes the chosen outcome contributes nothing, unless everybody does."""
    result = pl.annotator_mixture_loss([[-inf, log(0.5)]], [[-1.0, log(0.5)]], [0.0, 0.0])
    assert result.value == pytest.approx(log(4))
    np.testing.assert_allclose(result.gradients["weight_logits"], [0.5, -0.5])
    with pytest.raises(ValueError, match="`policy_chosen` must be above -inf for some annotator; got -inf at index 0"):
        pl.annotator_mixture_loss([[-inf, -inf]], [[-1.0, -1.0]], [0.0, 0.0])
