"""Batch losses worked by hand, zero probabilities, and the two equations that are not read as printed."""

from __future__ import annotations

from fractions import Fraction
from math import inf, log

import numpy as np
import pytest

from pbde_ref import losses as pl
from tests.losses.cases import (
    BETA,
)


def test_bradley_terry_by_hand():
    """σ(log 3) = 3/4, and with a margin of log 2 σ(log 3/2) = 3/5."""
    result = pl.bradley_terry_loss([log(3.0), 0.0], [0.0, log(3.0)])
    np.testing.assert_allclose(result.losses, [log(4 / 3), log(4)], rtol=1e-15)
    np.testing.assert_allclose(result.gradients["chosen_rewards"], [-1 / 8, -3 / 8], rtol=1e-15)
    np.testing.assert_allclose(result.gradients["rejected_rewards"], [1 / 8, 3 / 8], rtol=1e-15)
    assert result.value == pytest.approx((log(4 / 3) + log(4)) / 2, rel=1e-15)
    # The margin makes the loss harder: a sign error would give σ(log 6) = 6/7.
    assert pl.bradley_terry_loss([log(3.0)], [0.0], margin=log(2.0)).value == pytest.approx(log(5 / 3), rel=1e-15)


def test_dpo_by_hand():
    """Ratios 2 and 1/2 give a margin of β·log 4, with β = 1/2: σ(log 2) = 2/3."""
    vectors = np.log([0.5]), np.log([0.125]), np.log([0.25]), np.log([0.25])
    result = pl.dpo_loss(*vectors, beta=0.5)
    assert result.value == pytest.approx(log(3 / 2), rel=1e-15)
    assert float(result.gradients["policy_chosen"][0]) == pytest.approx(-Fraction(1, 2) * Fraction(1, 3), rel=1e-15)
    soft = pl.dpo_loss(*vectors, beta=0.5, label_smoothing=0.25)
    assert soft.value == pytest.approx(0.75 * log(3 / 2) + 0.25 * log(3), rel=1e-15)
    assert float(soft.gradients["policy_chosen"][0]) == pytest.approx(
        Fraction(1, 2) * (Fraction(1, 4) * Fraction(2, 3) - Fraction(3, 4) * Fraction(1, 3)), rel=1e-15
    )
    unbiased = pl.dpo_loss(*vectors, beta=0.5, label_smoothing=0.25, variant="robust")
    assert unbiased.value == pytest.approx((0.75 * log(3 / 2) - 0.25 * log(3)) / 0.5, rel=1e-14)
    assert pl.dpo_loss(*vectors[:2], *vectors[:2], beta=7.0).value == pytest.approx(log(2), rel=1e-15)


def test_pbde_by_hand():
    """Ω = 2·log 1/2 + log 8 = log 2 against 1·log 1/4 + log 2 = −log 2: σ(log 4) = 4/5."""
    result = pl.pbde_loss(
        np.log([0.5]), np.log([0.25]), f_chosen=2.0, f_rejected=1.0, g_chosen=log(8.0), g_rejected=log(2.0)
    )
    assert result.value == pytest.approx(log(5 / 4), rel=1e-15)
    assert float(result.gradients["policy_chosen"][0]) == pytest.approx(-2 * Fraction(1, 5), rel=1e-14)
    assert float(result.gradients["policy_rejected"][0]) == pytest.approx(Fraction(1, 5), rel=1e-14)


def test_geometric_by_hand():
    """α = 1/2: (π/π_pre)²·π_pre is 2²/4 = 1 against (1/2)²/4 = 1/16: σ = 16/17."""
    result = pl.geometric_loss(np.log([0.5]), np.log([0.125]), np.log([0.25]), np.log([0.25]), alpha=0.5)
    assert result.value == pytest.approx(log(17 / 16), rel=1e-14)
    assert float(result.gradients["policy_chosen"][0]) == pytest.approx(-2 * Fraction(1, 17), rel=1e-14)


def test_length_normalised_by_hand():
    """(1/4)^{1/2} = 1/2 against (1/64)^{1/3} = 1/4: σ(log 2) = 2/3; with scale 2, σ(log 4) = 4/5."""
    arguments = np.log([0.25]), np.log([1 / 64]), [2], [3]
    assert pl.length_normalized_loss(*arguments).value == pytest.approx(log(3 / 2), rel=1e-15)
    result = pl.length_normalized_loss(*arguments, scale=2.0)
    assert result.value == pytest.approx(log(5 / 4), rel=1e-15)
    assert float(result.gradients["policy_rejected"][0]) == pytest.approx(Fraction(1, 5) * Fraction(2, 3), rel=1e-14)
    # γ inside σ, after the scale: 4 / 2 = 2.
    assert pl.length_normalized_loss(*arguments, scale=2.0, margin=log(2.0)).value == pytest.approx(log(3 / 2))


def test_hinges_by_hand():
    """SLiC looks at policies, RSO at their ratios to the reference."""
    vectors = [-1.0, -4.0], [-3.0, -3.0], [-2.0, -6.0], [-1.0, -4.0]
    slic = pl.slic_loss(*vectors[:2], delta=1.0)  # margins 2, −1
    assert (slic.value, slic.losses.tolist()) == (1.0, [0.0, 2.0])
    assert slic.gradients["policy_chosen"].tolist() == [0.0, -0.5]
    rso = pl.rso_loss(*vectors, delta=1.0)  # margins 3, 1: the second one is at the kink
    assert (rso.value, rso.gradients["policy_chosen"].tolist()) == (0.0, [0.0, 0.0])
    assert pl.rso_loss(*vectors, delta=2.0).losses.tolist() == [0.0, 1.0]


def test_slic_regulariser_by_hand():
    """Each term is reduced over its own samples: 1 + ½·4 as means, 2 + ½·12 as sums."""
    pairs, samples = ([-1.0, -4.0], [-3.0, -3.0]), [-2.0, -4.0, -6.0]
    mean = pl.slic_loss(*pairs, delta=1.0, lambda_=0.5, regularization=samples)
    assert (mean.value, mean.losses.tolist()) == (3.0, [0.0, 2.0])
    np.testing.assert_allclose(mean.gradients["regularization"], [-1 / 6] * 3, rtol=1e-15)
    total = pl.slic_loss(*pairs, delta=1.0, lambda_=0.5, regularization=samples, reduction="sum")
    assert (total.value, total.gradients["regularization"].tolist()) == (8.0, [-0.5] * 3)
    none = pl.slic_loss(*pairs, delta=1.0, regularization=[-inf])
    assert (none.value, none.gradients["regularization"].tolist()) == (1.0, [0.0])
    assert "regularization" not in pl.slic_loss(*pairs, delta=1.0).gradients


def test_ipo_by_hand():
    """A margin of 6 against 1/(2τ) = 2; per token, 2/2 − (−4)/4 = 2 and the loss is zero."""
    vectors = [-2.0], [-8.0], [-4.0], [-4.0]
    summed = pl.ipo_loss(*vectors, tau=0.25)
    assert (summed.value, summed.gradients["policy_chosen"].tolist()) == (16.0, [8.0])
    averaged = pl.ipo_loss(*vectors, tau=0.5, average=True, chosen_lengths=[2], rejected_lengths=[4])
    assert (averaged.value, averaged.gradients["policy_rejected"].tolist()) == (1.0, [-0.5])
    # Averages passed as they are mean the same.
    by_caller = pl.ipo_loss([-1.0], [-2.0], [-2.0], [-1.0], tau=0.5)
    assert by_caller.value == averaged.value


def test_rrhf_by_hand():
    """Per token −2, −1, −3 in this order of preference: only the first pair is the wrong way round, by 1."""
    candidates, lengths = [[-8.0, -3.0, -6.0]], [[4, 3, 2]]
    ranking = pl.rrhf_loss(candidates, lengths, scores=[[9, 5, 1]], likelihood_weight=0.0)
    assert (ranking.value, ranking.gradients["policy"].tolist()) == (1.0, [[-1 / 4, 1 / 3, 0.0]])
    both = pl.rrhf_loss(candidates, lengths, ranks=[[1, 2, 3]])
    assert (both.value, both.gradients["policy"].tolist()) == (9.0, [[-1 / 4 - 1, 1 / 3, 0.0]])
    per_token = pl.rrhf_loss(candidates, lengths, ranks=[[1, 2, 3]], average_likelihood=True)
    assert (per_token.value, per_token.gradients["policy"].tolist()) == (3.0, [[-1 / 2, 1 / 3, 0.0]])


def test_annotator_mixture_by_hand():
    """0.4·0.9 + 0.6·0.2 = 0.48; responsibilities 3/4 and 1/4."""
    result = pl.annotator_mixture_loss(np.log([[0.9, 0.2]]), np.log([[0.1, 0.8]]), np.log([2.0, 3.0]))
    assert result.value == pytest.approx(-log(0.48), rel=1e-15)
    np.testing.assert_allclose(result.gradients["policy_chosen"], [[-0.75 * 0.1, -0.25 * 0.8]], rtol=1e-14)
    np.testing.assert_allclose(result.gradients["policy_rejected"], [[0.75 * 0.1, 0.25 * 0.8]], rtol=1e-14)
    np.testing.assert_allclose(result.gradients["weight_logits"], [0.4 - 0.75, 0.6 - 0.25], rtol=1e-14)


def test_policy_gradient_by_hand():
    """Advantages 5 − 2·1 and 1 − 2·(−1)."""
    result = pl.kl_controlled_policy_gradient_loss([-1.0, -3.0], [-2.0, -2.0], [5.0, 1.0], beta=2.0)
    assert (result.value, result.gradients["policy"].tolist()) == (6.0, [-1.5, -1.5])
    plain = pl.kl_controlled_policy_gradient_loss([-1.0, -3.0], [-2.0, -2.0], [5.0, 1.0], beta=0.0, reduction="sum")
    assert (plain.losses.tolist(), plain.gradients["policy"].tolist()) == ([5.0, 3.0], [-5.0, -1.0])


# Zero probabilities


def test_excluded_outcomes():
    """A rejected outcome of probability zero costs nothing, a chosen one is infinitely bad; neither gives NaN."""
    certain = pl.dpo_loss([-1.0], [-inf], [-1.0], [-1.0], beta=BETA)
    assert (certain.value, certain.gradients["policy_rejected"].tolist()) == (0.0, [0.0])
    hopeless = pl.dpo_loss([-inf], [-1.0], [-1.0], [-1.0], beta=BETA)
    assert (hopeless.value, hopeless.gradients["policy_chosen"].tolist()) == (inf, [-BETA])
    assert pl.slic_loss([-inf], [-1.0], delta=1.0).value == inf
    assert pl.ipo_loss([-1.0], [-inf], [-1.0], [-1.0], tau=1.0).value == inf
    assert pl.dpo_loss([-1.0], [-inf], [-1.0], [-1.0], beta=1.0, label_smoothing=0.1).value == inf


def test_losses_without_a_sum_are_refused():
    with pytest.raises(ValueError, match="must have a sum; got both inf and -inf"):
        pl.dpo_loss(
            [-1.0, -inf], [-inf, -1.0], [-1.0, -1.0], [-1.0, -1.0], beta=1.0, label_smoothing=0.1, variant="robust"
        )


# Errata


def test_eq_19_as_printed_rewards_the_wrong_thing():
    """Printed −(p_i − p_j)^+: −2 for a margin of +2, 0 for −2. Right: 0 and 2."""
    for margin, printed, right in ((2.0, -2.0, 0.0), (-2.0, 0.0, 2.0)):
        p = np.array([-3.0, -3.0 - margin])
        assert -max(p[0] - p[1], 0.0) == printed
        assert pl.rrhf_loss([p], [[1, 1]], ranks=[[1, 2]], likelihood_weight=0.0).value == right


def test_eq_20_as_printed_only_shifts_by_delta():
    """Printed δ − (m)^+: the gradient never depends on δ, and m = −1 is as good as m = 0. Right: (δ − m)^+."""
    for margin, printed, right in ((2.0, -1.0, 0.0), (0.5, 0.5, 0.5), (-1.0, 1.0, 2.0)):
        assert 1.0 - max(margin, 0.0) == printed
        assert pl.slic_loss([-5.0 + margin], [-5.0], delta=1.0).value == right
