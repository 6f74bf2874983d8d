"""The evaluator of batch losses: chunks, threads and quick formulas change nothing."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest

from pbde_ref import losses as pl
from pbde_ref.losses import chunks
from pbde_ref.objectives import BRADLEY_TERRY, Objective, hinge, ipo, robust, smoothed, with_margin
from tests.losses.cases import BETA
from tests.seeds import drawn_seed

OBJECTIVES = {
    "bradley_terry": BRADLEY_TERRY, "smoothed": smoothed(0.2), "robust": robust(0.2), "hinge": hinge(0.7),
    "ipo": ipo(0.3), "with margin": with_margin(BRADLEY_TERRY, 0.5),
}  # fmt: skip


def drawn(size):
    """Four vectors of log-probabilities, by a seed nobody chose."""
    seed = drawn_seed()
    return -np.random.default_rng(seed).exponential(20.0, (4, size))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_quick_formulas_are_the_plain_ones(name, dtype):
    """To a few units in the last place of the larger of the terms that are added, within their range."""
    objective = OBJECTIVES[name]
    m = np.concatenate([drawn(1000)[0] - 30.0, -drawn(1000)[0], np.linspace(-40.0, 40.0, 81), [-690.0, 690.0]])
    out = np.empty(m.size, dtype)
    slopes = objective.quick(m.copy(), out)
    eps = float(np.finfo(dtype).eps)
    value, slope = objective.value(m), objective.derivative(m)
    # Smoothed and robust losses add λm, whose size is at most |m|; ε − σ(−m) has the size of its terms.
    size = np.abs(value) + (np.abs(m) if name == "robust" else 0.0)
    np.testing.assert_array_less(np.abs(out - value), 8.0 * eps * size + 1e-38)
    kind = float(np.finfo(slopes.dtype).eps)
    added = 1.0 if name in ("smoothed", "robust") else 0.0
    np.testing.assert_array_less(np.abs(slopes - slope), 8.0 * kind * (np.abs(slope) + added) + 1e-38)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_out_of_range_the_sum_says_so(name):
    """Margins of −∞, and such as a logistic loss is not quick for, make the losses' sum infinite or right."""
    for m in (-800.0, -inf):
        out = np.empty(2)
        with np.errstate(over="ignore", invalid="ignore"):
            slopes = OBJECTIVES[name].quick(np.array([m, 1.0]), out)
        value, slope = (f(np.array([m, 1.0])) for f in (OBJECTIVES[name].value, OBJECTIVES[name].derivative))
        if np.isfinite(out.sum()):
            np.testing.assert_allclose(out, value, rtol=1e-14)
            np.testing.assert_allclose(slopes, slope, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_chunks_and_threads_change_nothing(dtype, monkeypatch):
    """One pair or three at a time, in two threads: the same losses and gradients, and the value up to rounding."""
    batch = [x.astype(dtype) for x in drawn(10)]
    tokens = np.arange(1.0, 11.0)
    calls = (
        lambda: pl.dpo_loss(*batch, beta=BETA),
        lambda: pl.ipo_loss(*batch, tau=BETA, average=True, chosen_lengths=tokens, rejected_lengths=tokens[::-1]),
        lambda: pl.annotator_mixture_loss(np.stack(batch[:2], 1), np.stack(batch[2:], 1), np.zeros(2, dtype)),
        lambda: pl.rrhf_loss(np.stack(batch, 1), np.stack([tokens] * 4, 1), scores=np.stack(batch[::-1], 1)),
        lambda: pl.kl_controlled_policy_gradient_loss(*batch[:3], beta=BETA),
    )
    whole = [call() for call in calls]
    monkeypatch.setattr(chunks, "MANY", 1)
    monkeypatch.setattr(chunks, "own_cores", lambda: 2)
    for chunk in (1, 3, 48):
        monkeypatch.setattr(chunks, "CHUNK", chunk)
        for call, expected in zip(calls, whole, strict=True):
            found = call()
            assert found.value == pytest.approx(expected.value, rel=1e-6 if dtype == np.float32 else 1e-14)
            # Vector and scalar instructions may differ in the last place.
            np.testing.assert_allclose(found.losses, expected.losses, rtol=4.0 * np.finfo(dtype).eps)
            for name, gradient in found.gradients.items():
                np.testing.assert_allclose(gradient, expected.gradients[name], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("place", [0, 7, 9])
@pytest.mark.parametrize(
    ("argument", "bad", "rule"),
    [(0, nan, "free of NaN"), (1, 0.5, "at most 0"), (2, -inf, "finite"), (3, nan, "free of NaN"), (3, 1, "at most 0")],
)
def test_what_is_wrong_is_found_in_any_chunk(argument, bad, rule, place, monkeypatch):
    """Arrays that are read chunk by chunk get the same errors as lists."""
    monkeypatch.setattr(chunks, "CHUNK", 4)
    batch = drawn(10)
    batch[argument, place] = bad
    for given in (list(batch), batch.tolist(), [x.astype(np.float32) for x in batch]):
        with pytest.raises(ValueError, match=rf"must be {rule}.*at index {place}"):
            pl.rso_loss(*given, delta=1.0)


def test_excluded_outcomes_among_others(monkeypatch):
    """One policy of −∞ in a later chunk: infinite where it is chosen, nothing where it is rejected."""
    monkeypatch.setattr(chunks, "CHUNK", 4)
    batch = drawn(10)
    batch[0, 8] = batch[1, 5] = -inf
    result = pl.dpo_loss(*batch, beta=BETA)
    assert result.value == result.losses[8] == inf
    assert result.losses[5] == result.gradients["policy_chosen"][5] == 0.0
    assert np.isfinite(np.delete(result.losses, 8)).all()


def test_margins_beyond_the_quick_range_cost_no_digits():
    """A loss of 1,000 nats beside one of 1e-200, in both precisions."""
    for dtype in (np.float64, np.float32):
        result = pl.bradley_terry_loss(np.array([0.0, 60.0], dtype), np.array([1000.0, 0.0], dtype), reduction="sum")
        np.testing.assert_allclose(result.losses, [1000.0, np.exp(-60.0)], rtol=1e-6)
        np.testing.assert_allclose(result.gradients["chosen_rewards"], [-1.0, -np.exp(-60.0)], rtol=1e-6)


def test_the_callers_own_objective_is_called_as_it_is():
    """Without a quick formula, value and derivative do, on float64 margins."""
    seen = []
    own = Objective("own", lambda m: seen.append(m.dtype) or m**2, lambda m: 2.0 * m, lambda m: 2.0 + 0.0 * m)
    result = pl.pairwise_loss(np.float32([3.0]), np.float32([1.0]), objective=own)
    assert result.losses.tolist() == [4.0]
    assert result.gradients["rejected_utilities"].tolist() == [-4.0]
    assert seen == [np.float64]
