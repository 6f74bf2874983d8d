"""From logits and tokens to log-probabilities of sequences, and back."""

from __future__ import annotations

import re
from math import inf, nan

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import grad

from pbde_ref import losses as pl
from pbde_ref.losses import sequences
from tests.losses.cases import (
    AUTOGRAD,
    BETA,
    dpo,
)
from tests.seeds import drawn_seed

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(0.0, 2.0, (2, 5, 4))
LABELS = np.array([[0, 3, 1, 2, 2], [0, 1, 1, 3, 2]])
MASK = np.array([[False, True, True, False], [True, True, True, True]])


def naive_token_log_probs(logits, labels, shift):
    """Softmax by its definition, one token at a time."""
    rows = []
    for b in range(len(labels)):
        positions = range(len(labels[0]) - 1) if shift else range(len(labels[0]))
        row = []
        for t in positions:
            z = logits[b, t]
            row.append(z[labels[b][t + 1 if shift else t]] - anp.log(anp.sum(anp.exp(z))))
        rows.append(row)
    return anp.array(rows)


@pytest.mark.parametrize("shift", [True, False])
def test_token_log_probs_are_shifted_softmax(shift):
    """Entry t is about token t + 1, with shift; the gradient is autograd's."""
    result = pl.token_log_probs_from_logits(LOGITS, LABELS, shift=shift)
    np.testing.assert_allclose(result, naive_token_log_probs(LOGITS, LABELS, shift), rtol=1e-12)
    assert result.shape == (2, 4 if shift else 5)
    upstream = RNG.normal(size=result.shape)
    derivative = grad(lambda z: anp.sum(upstream * naive_token_log_probs(z, LABELS, shift)))(LOGITS)
    vjp = pl.token_log_probs_vjp(upstream, LOGITS, LABELS, shift=shift)
    np.testing.assert_allclose(vjp, derivative, rtol=1e-12, atol=1e-15)
    assert not vjp[:, -1].any() or not shift


def test_token_log_probs_by_hand():
    """Logits log 1, log 3 give 1/4 and 3/4; adding a constant to them changes nothing."""
    logits = np.log([[[1.0, 3.0], [4.0, 1.0], [9.0, 1.0]]]) + np.array([[[500.0], [-3000.0], [0.0]]])
    np.testing.assert_allclose(np.exp(pl.token_log_probs_from_logits(logits, [[0, 1, 0]])), [[0.75, 0.8]], rtol=1e-12)
    assert pl.token_log_probs_from_logits([[[7.0]]], [[0]], shift=False).tolist() == [[0.0]]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_near_certain_tokens_keep_their_digits(dtype):
    """log π = −1e-9 from logits 20 apart, −1e4 from logits 1e4 apart; 1 − softmax likewise."""
    logits = np.array([[[0.0, 20.75, -3.0], [1e4, 0.0, 3.0], [-np.inf, 2.0, 2.0], [-np.inf, 2.0, 2.0]]], dtype)
    labels = [[1, 1, 1, 0]]
    result = pl.token_log_probs_from_logits(logits, labels, shift=False)
    vjp = pl.token_log_probs_vjp(np.ones((1, 4), dtype), logits, labels, shift=False)
    with mpmath.workdps(50):
        z = [[mpmath.mpf(float(x)) for x in row] for row in logits[0]]
        softmax = [[mpmath.exp(x) / mpmath.fsum(mpmath.exp(y) for y in row) for x in row] for row in z]
        exact = [float(mpmath.log(softmax[t][labels[0][t]])) if t < 3 else -inf for t in range(4)]
        slopes = [[float((v == labels[0][t]) - softmax[t][v]) for v in range(3)] for t in range(4)]
    rtol, atol = (1e-14, 0.0) if dtype == np.float64 else (1.3e-7, 1e-45)
    assert result.dtype == vjp.dtype == dtype
    np.testing.assert_allclose(result[0], exact, rtol=rtol)
    np.testing.assert_allclose(vjp[0], slopes, rtol=rtol, atol=atol)
    assert -1e-8 < result[0, 0] < 0.0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shift", [True, False])
def test_blocks_and_threads_change_nothing(dtype, shift, monkeypatch):
    """One position at a time, several sequences at once, in two threads: the same bytes; also into given arrays."""
    seed = drawn_seed()
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(2, 9, 3))
    logits = rng.normal(0.0, 5.0, shape).astype(dtype)
    labels = rng.integers(shape[2], size=shape[:2])
    expected = pl.token_log_probs_from_logits(logits, labels, shift=shift)
    upstream = rng.normal(size=expected.shape).astype(dtype)
    gradient = pl.token_log_probs_vjp(upstream, logits, labels, shift=shift)
    np.testing.assert_allclose(expected, naive_token_log_probs(np.float64(logits), labels, shift), rtol=1e-6)
    for block in (1, shape[2], 2 * shape[2], shape[1] * shape[2], 3 * shape[1] * shape[2]):
        monkeypatch.setattr(sequences, "BLOCK", block)
        monkeypatch.setattr(sequences, "MANY", 0)
        monkeypatch.setattr(sequences, "own_cores", lambda: 2)
        np.testing.assert_array_equal(pl.token_log_probs_from_logits(logits, labels, shift=shift), expected)
        out, log_probs = np.full(shape, nan, dtype), np.full(expected.shape, nan, dtype)
        found = pl.token_log_probs_vjp(upstream, logits, labels, shift=shift, out=out, log_probs=log_probs)
        assert found is out
        np.testing.assert_array_equal(out, gradient)
        np.testing.assert_array_equal(log_probs, expected)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"out": np.zeros((2, 5, 3))}, ValueError, "`out` must have shape (2, 5, 4); got shape (2, 5, 3)"),
        ({"out": np.zeros((2, 5, 4), int)}, TypeError, "`out` must be a writable array of float32 or float64; got"),
        ({"out": np.broadcast_to(0.0, (2, 5, 4))}, TypeError, "`out` must be a writable array"),
        ({"out": LOGITS}, ValueError, "`out` must not be the memory of `logits`"),
        ({"log_probs": np.zeros((2, 5))}, ValueError, "`log_probs` must have shape (2, 4); got shape (2, 5)"),
        ({"log_probs": [[0.0]]}, TypeError, "`log_probs` must be a writable array of float32 or float64; got [[0.0]]"),
    ],
)
def test_where_to_write_is_checked(change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        pl.token_log_probs_vjp(np.ones((2, 4)), LOGITS, LABELS, **change)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_upstream_gradients_are_finite(bad, dtype):
    """Infinity times a probability that underflows has no value."""
    at_tokens, at_sequences = np.ones((2, 4), dtype), np.ones(2, dtype)
    at_tokens[1, 2] = at_sequences[1] = bad
    rule = "finite" if bad in (inf, -inf) else "free of NaN"
    with pytest.raises(ValueError, match=rf"`upstream` must be {rule}; got {bad} at index \(1, 2\)"):
        pl.token_log_probs_vjp(at_tokens, LOGITS, LABELS)
    with pytest.raises(ValueError, match=rf"`upstream` must be {rule}; got {bad} at index 1"):
        pl.sequence_log_probs_vjp(at_sequences, MASK)


def test_a_gradient_beyond_single_precision_is_infinite_there():
    out = np.zeros((1, 2, 2), np.float32)
    pl.token_log_probs_vjp([[4e38]], np.zeros((1, 2, 2)), [[0, 1]], out=out)
    np.testing.assert_array_equal(out[0, 0], np.float32([-2e38, 2e38]))
    pl.token_log_probs_vjp([[1e39]], np.zeros((1, 2, 2)), [[0, 1]], out=out)
    assert out[0, 0].tolist() == [-inf, inf]


@pytest.mark.parametrize("bad", [nan, inf])
def test_logits_after_the_last_label_are_looked_at_too(bad):
    """With shift nothing is predicted from them, and still they say that something went wrong."""
    logits = LOGITS.copy()
    logits[1, 4, 2] = bad
    with pytest.raises(ValueError, match=re.escape("at index (1, 4, 2)")):
        pl.token_log_probs_from_logits(logits, LABELS)


def test_sequence_log_probs_by_hand():
    """Masked sums and means; what is masked may be anything."""
    tokens = np.array([[nan, -1.0, -2.0, inf], [-3.0, -0.5, 0.0, -1.0]])
    mask = np.array([[0, 1, 1, 0], [1, 1, 1, 1]])
    assert pl.sequence_log_probs(tokens, mask).tolist() == [-3.0, -4.5]
    assert pl.sequence_log_probs(tokens, mask == 1, average=True).tolist() == [-1.5, -1.125]
    assert pl.sequence_log_probs_vjp([1.0, 2.0], mask).tolist() == [[0, 1, 1, 0], [2, 2, 2, 2]]
    assert pl.sequence_log_probs_vjp([1.0, 2.0], mask, average=True).tolist() == [[0, 0.5, 0.5, 0], [0.5] * 4]
    assert pl.sequence_log_probs(np.float32(tokens), mask).dtype == np.float32


def test_a_long_sequence_of_near_certain_tokens():
    """A thousand tokens of −1e-9 in float32: the sum is −1e-6, not lost beside other numbers."""
    tokens = np.full((1, 1000), -1e-9, np.float32)
    total = pl.sequence_log_probs(tokens, np.ones((1, 1000)))
    assert total[0] == np.float32(1000 * float(tokens[0, 0]))


@pytest.mark.parametrize("average", [False, True])
def test_from_logits_to_a_loss_and_back(average):
    """The chain logits → tokens → sequences → DPO, and its gradient at the logits, equal autograd's end to end."""
    reference = np.array([-6.0]), np.array([-9.0])

    def loss(z):
        tokens = anp.sum(naive_token_log_probs(z, LABELS, True) * MASK, axis=1)
        tokens = tokens / MASK.sum(axis=1) if average else tokens
        return dpo(AUTOGRAD)(tokens[0], tokens[1], reference[0][0], reference[1][0])

    tokens = pl.token_log_probs_from_logits(LOGITS, LABELS)
    sequences = pl.sequence_log_probs(tokens, MASK, average=average)
    result = pl.dpo_loss(sequences[:1], sequences[1:], *reference, beta=BETA)
    assert result.value == pytest.approx(float(loss(LOGITS)), rel=1e-13)
    at_sequences = np.concatenate([result.gradients["policy_chosen"], result.gradients["policy_rejected"]])
    at_tokens = pl.sequence_log_probs_vjp(at_sequences, MASK, average=average)
    at_logits = pl.token_log_probs_vjp(at_tokens, LOGITS, LABELS)
    np.testing.assert_allclose(at_logits, grad(loss)(LOGITS), rtol=1e-11, atol=1e-15)


def test_completion_mask_by_hand():
    """Prompt out, end-of-sequence in, what follows out; also where padding and end are the same token."""

    def mask(tokens, **keywords):
        return pl.completion_mask(tokens, shift=False, **keywords).astype(int).tolist()

    assert mask([[5, 6, 7, 2, 0, 0]], prompt_lengths=2, end_of_sequence=2, padding=0) == [[0, 0, 1, 1, 0, 0]]
    assert mask([[5, 6, 7, 2, 2, 2]], prompt_lengths=2, end_of_sequence=2, padding=2) == [[0, 0, 1, 1, 0, 0]]
    assert mask([[5, 6, 7, 2, 9, 2]], end_of_sequence=2) == [[1, 1, 1, 1, 0, 0]]
    assert mask([[5, 2, 7, 8, 2, 0]], prompt_lengths=2, end_of_sequence=2, padding=0) == [[0, 0, 1, 1, 1, 0]]
    assert mask([[5, 6, 7, 8]], end_of_sequence=2, padding=0) == [[1, 1, 1, 1]]  # cut off
    assert mask([[0, 0, 5, 6], [5, 6, 7, 2]], prompt_lengths=[3, 1], padding=0) == [[0, 0, 0, 1], [0, 1, 1, 1]]
    assert mask([[5, 2, 7, 8]], prompt_lengths=1, end_of_sequence=2) == [[0, 1, 0, 0]]  # ends at once
    assert mask([[0, 5, 6, 0]], padding=0) == [[0, 1, 1, 0]]


def test_completion_mask_is_shifted_with_the_tokens():
    """Column t is about token t + 1, so the end-of-sequence token stays in."""
    tokens = [[5, 6, 7, 2, 0]]
    keywords = {"prompt_lengths": 2, "end_of_sequence": 2, "padding": 0}
    unshifted = pl.completion_mask(tokens, **keywords, shift=False)
    np.testing.assert_array_equal(pl.completion_mask(tokens, **keywords), unshifted[:, 1:])
    assert pl.completion_mask(tokens, **keywords).tolist() == [[False, True, True, False]]
