"""Losses of whole batches, which are sorted, and weights and labels that no gradient flows into."""

from itertools import permutations

import numpy as np
import pytest

from pbde_ref import losses as pl
from pbde_ref.catalogue import LOSSES
from pbde_ref.losses.log_ratios import nca, sppo
from tests.losses.cases import check_central_differences
from tests.seeds import drawn_seed

NAMES = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")


def drawn(size):
    rng = np.random.default_rng(drawn_seed())
    return rng, tuple(-rng.exponential(5.0, size) for _ in range(4))


@pytest.mark.parametrize("paired", [True, False])
def test_sorting_is_the_best_way_to_pair(paired):
    """Of all permutations of five, none has a lower mean logistic loss."""
    _, (pc, pr, rc, rr) = drawn(5)
    u, v = (pc - pr, rc - rr) if paired else (pc - rc, pr - rr)
    least = min(np.logaddexp(0.0, -0.7 * (u - v[list(order)])).mean() for order in permutations(range(5)))
    assert pl.aot_loss(pc, pr, rc, rr, beta=0.7, paired=paired).value == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("paired", [True, False])
def test_gradients_of_the_sorted_loss(paired, reduction):
    """Central differences, away from equal numbers; none flows into the reference."""
    _, batch = drawn(6)

    def loss(*arrays):
        return pl.aot_loss(*arrays, beta=0.7, paired=paired, label_smoothing=0.1, reduction=reduction)

    check_central_differences(loss, batch, NAMES, h=1e-5)
    assert set(loss(*batch).gradients) == {"policy_chosen", "policy_rejected"}


def test_what_the_sorted_loss_notices_of_the_order():
    """Unpaired: nothing of how rejected rows are listed. Paired, as control: who was rejected beside whom."""
    _, (pc, pr, rc, rr) = drawn(6)
    turned = np.roll(np.arange(6), 2)
    same = [pl.aot_loss(pc, pr[o], rc, rr[o], beta=0.7, paired=False).value for o in (slice(None), turned)]
    assert same[0] == pytest.approx(same[1], rel=1e-14)
    other = [pl.aot_loss(pc, pr[o], rc, rr[o], beta=0.7).value for o in (slice(None), turned)]
    assert abs(other[0] - other[1]) > 1e-6


def test_a_batch_of_one_is_dpo():
    _, batch = drawn(1)
    for paired in (True, False):
        found, dpo = pl.aot_loss(*batch, beta=0.7, paired=paired), pl.dpo_loss(*batch, beta=0.7)
        assert found.value == pytest.approx(dpo.value, rel=1e-12)
        for name, gradient in dpo.gradients.items():
            assert found.gradients[name] == pytest.approx(gradient, rel=1e-12)


def test_a_batch_that_is_sorted_already_is_dpo_and_another_is_not():
    _, (pc, pr, rc, rr) = drawn(4)
    order = np.argsort(pc - rc)
    pr, rr = np.sort(pr - rr) - 50.0, np.full(4, -50.0)
    sorted_one = pc[order], pr, rc[order], rr
    assert pl.aot_loss(*sorted_one, beta=0.7, paired=False).value == pytest.approx(
        pl.dpo_loss(*sorted_one, beta=0.7).value, rel=1e-12
    )
    swapped = pc[order], pr[::-1], rc[order], rr
    assert pl.dpo_loss(*swapped, beta=0.7).value > pl.aot_loss(*swapped, beta=0.7, paired=False).value


def test_weights_are_counted_and_held_constant():
    """WPO by hand: each pair's loss and gradient times exp of both mean log-probabilities, nothing more."""
    rng, batch = drawn(5)
    lengths = {"chosen_lengths": rng.integers(1, 9, 5), "rejected_lengths": rng.integers(1, 9, 5)}
    found = LOSSES["wpo"].batch(*batch, **lengths, beta=0.4, reduction="sum")
    dpo = pl.dpo_loss(*batch, beta=0.4, reduction="sum")
    weights = np.exp(batch[0] / lengths["chosen_lengths"] + batch[1] / lengths["rejected_lengths"])
    assert found.losses == pytest.approx(weights * dpo.losses, rel=1e-13)
    for name, gradient in dpo.gradients.items():
        assert found.gradients[name] == pytest.approx(weights * gradient, rel=1e-13)


@pytest.mark.parametrize("objective", [nca(0.4), sppo(0.4)], ids=["nca", "sppo"])
def test_a_label_of_one_half_is_symmetric(objective):
    _, (pc, pr, rc, rr) = drawn(5)
    one = pl.log_ratio_loss(objective, pc, pr, rc, rr, labels=np.full(5, 0.5))
    other = pl.log_ratio_loss(objective, pr, pc, rr, rc, labels=np.full(5, 0.5))
    assert one.losses == pytest.approx(other.losses, rel=1e-14)
    assert one.gradients["policy_chosen"] == pytest.approx(other.gradients["policy_rejected"], rel=1e-13)
    sure = pl.log_ratio_loss(objective, pc, pr, rc, rr, labels=np.ones(5))
    assert sure.losses == pytest.approx(pl.log_ratio_loss(objective, pc, pr, rc, rr).losses, rel=1e-14)
