"""Batches that enumerate the support: their losses are the exact expectations."""

from __future__ import annotations

from itertools import permutations

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import pbde_ref as pb
from pbde_ref import losses as pl
from pbde_ref.objectives import hinge, ipo, robust, smoothed
from tests.losses.cases import (
    ALPHA,
    BETA,
    DELTA,
    EPSILON,
    SCALE,
    TAU,
)


def enumerated_batch():
    """Pairs of three outcomes and winners, each as often as p* = (1/2, 1/3, 1/6) prefers it: 3/5, 3/4, 2/3 of 60."""
    winners, losers = [], []
    for a, b, wins in ((0, 1, 36), (0, 2, 45), (1, 2, 40)):
        winners += [a] * wins + [b] * (60 - wins)
        losers += [b] * wins + [a] * (60 - wins)
    return np.array(winners), np.array(losers)


LOG_PI, LOG_REFERENCE, SIZES = np.log([0.2, 0.5, 0.3]), np.log([0.3, 0.3, 0.4]), np.array([2.0, 3.0, 5.0])
ENUMERATED = {
    "dpo": (
        lambda w, v: pl.dpo_loss(LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v], beta=BETA),
        "bradley_terry", BETA, -BETA * LOG_REFERENCE,
    ),
    "cdpo": (
        lambda w, v: pl.dpo_loss(
            LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v], beta=BETA, label_smoothing=EPSILON
        ),
        smoothed(EPSILON), BETA, -BETA * LOG_REFERENCE,
    ),
    "robust dpo": (
        lambda w, v: pl.dpo_loss(
            LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v],
            beta=BETA, label_smoothing=EPSILON, variant="robust",
        ),
        robust(EPSILON), BETA, -BETA * LOG_REFERENCE,
    ),
    "geometric": (
        lambda w, v: pl.geometric_loss(LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v], alpha=ALPHA),
        "bradley_terry", 1 / ALPHA, (1 - 1 / ALPHA) * LOG_REFERENCE,
    ),
    "length normalised": (
        lambda w, v: pl.length_normalized_loss(LOG_PI[w], LOG_PI[v], SIZES[w], SIZES[v], scale=SCALE),
        "bradley_terry", SCALE / SIZES, np.zeros(3),
    ),
    "slic": (lambda w, v: pl.slic_loss(LOG_PI[w], LOG_PI[v], delta=DELTA), hinge(DELTA), 1.0, np.zeros(3)),
    "rso": (
        lambda w, v: pl.rso_loss(LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v], delta=DELTA),
        hinge(DELTA), 1.0, -LOG_REFERENCE,
    ),
    "ipo": (
        lambda w, v: pl.ipo_loss(LOG_PI[w], LOG_PI[v], LOG_REFERENCE[w], LOG_REFERENCE[v], tau=TAU),
        ipo(TAU), 1.0, -LOG_REFERENCE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENUMERATED)
def test_a_batch_that_enumerates_the_support_is_the_expectation(name):
    """The mean over every pair, each winner as often as the annotator prefers it, is the expected loss; so are the
    gradients, gathered by outcome.
    """
    loss, objective, f, g = ENUMERATED[name]
    winners, losers = enumerated_batch()
    result = loss(winners, losers)
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 2, 1]), pb.luce())
    pairs = pb.PairListProposal([0, 0, 1], [1, 2, 2])
    expected = pb.expected_loss(objective, annotator, f * LOG_PI + g, pairs)
    # 180 additions.
    assert result.value == pytest.approx(expected.value, rel=1e-13)
    gathered = np.zeros(3)
    np.add.at(gathered, winners, result.gradients["policy_chosen"])
    np.add.at(gathered, losers, result.gradients["policy_rejected"])
    np.testing.assert_allclose(gathered, f * expected.gradient, rtol=1e-12, atol=1e-15)


def test_annotator_mixture_agrees_with_the_mixture_of_annotators():
    """Minus the logarithm of Eq. (25)'s matrix, entry by entry."""
    policies = [pb.FiniteDistribution.from_weights(w) for w in ([5, 3, 2], [1, 1, 8])]
    mixture = pb.AnnotatorMixture([0.4, 0.6], [pb.Annotator(policy, pb.luce()) for policy in policies])
    log_pi = np.stack([policy.log_pmf for policy in policies], axis=1)
    a, b = np.array(list(permutations(range(3), 2))).T
    result = pl.annotator_mixture_loss(log_pi[a], log_pi[b], np.log([2.0, 3.0]))
    np.testing.assert_allclose(result.losses, -np.log(mixture.preference_probabilities()[a, b]), rtol=1e-14)


def test_policy_gradient_agrees_with_the_exact_one():
    """Weighted by the policy and chained with ∇ log π for softmax logits, the surrogate's gradient is minus Eq. (5)."""
    logits, rewards = np.array([0.3, -0.7, 1.1]), np.array([1.0, 2.0, -0.5])
    policy, reference = pb.FiniteDistribution(logits), pb.FiniteDistribution.from_weights([2, 1, 1])
    for beta in (0.0, BETA):
        result = pl.kl_controlled_policy_gradient_loss(
            policy.log_pmf, reference.log_pmf, rewards, beta=beta, reduction="sum"
        )
        jacobian = np.eye(3) - policy.pmf  # row x: ∇ log π(x)
        exact = pb.policy_gradient(logits, rewards, beta, reference)
        np.testing.assert_allclose((policy.pmf * result.gradients["policy"]) @ jacobian, -exact, atol=1e-15)


def test_policy_gradient_holds_the_advantage_constant():
    """Its gradient is autograd's with the advantage fixed, and not that of the whole expression (control)."""
    policy, reference, rewards = np.array([-1.0, -3.0]), np.array([-2.0, -1.5]), np.array([0.5, -1.0])
    result = pl.kl_controlled_policy_gradient_loss(policy, reference, rewards, beta=BETA)
    advantage = rewards - BETA * (policy - reference)
    fixed = grad(lambda p: anp.mean(-advantage * p))(policy)
    flowing = grad(lambda p: anp.mean(-(rewards - BETA * (p - reference)) * p))(policy)
    np.testing.assert_allclose(result.gradients["policy"], fixed, rtol=1e-14)
    assert np.abs(result.gradients["policy"] - flowing).min() > 0.01
    assert list(result.gradients) == ["policy"]
