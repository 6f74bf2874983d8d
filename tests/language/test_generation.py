"""Sampling sequences: frequencies against exact probabilities, the cache against the full run, and what is refused."""

import itertools
import re

import numpy as np
import pytest
from scipy import stats

from pbde_ref.language.generation import inverted, sample_sequences
from pbde_ref.models import transformer as tf
from pbde_ref.models.transformer_decoding import Decoder

END = 1
TINY = tf.TransformerConfig(4, embedding_dim=8, layers=2, heads=2, mlp_dim=8, max_length=4)
# The chance that a right sampler fails a test of frequencies. Seeds are fixed, so it fails always or never.
FALSE_ALARM = 1e-6


def tiny_parameters(dtype=np.float32):
    """A model for which length, order and padding matter: it draws padding about one time in six."""
    parameters = tf.initial_parameters(TINY, rng=3).astype(dtype)
    tf.named_views(TINY, parameters)["logits/bias"][:] = [0.0, 0.5, 0.7, 0.2]
    return parameters


def all_sequences():
    """Every sequence of tokens 2 and 3 that ends within four tokens, padded."""
    bodies = itertools.chain.from_iterable(itertools.product((2, 3), repeat=n) for n in range(4))
    return np.array([[*body, END, *[0] * (3 - len(body))] for body in bodies])


def exact_probabilities(temperature=1.0, *, padding_excluded=False):
    """Of all sequences, not normalised; from the full run's logits."""
    sequences = all_sequences()
    z = tf.logits(TINY, tiny_parameters(np.float64), sequences) / temperature
    if padding_excluded:
        z[..., 0] = -np.inf
    log_probs = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(log_probs, sequences[..., None], axis=-1)[..., 0]
    return np.exp(np.where(sequences > 0, chosen, 0.0).sum(axis=1))


def frequencies(samples):
    place = {tuple(sequence): i for i, sequence in enumerate(all_sequences())}
    return np.bincount([place[tuple(tokens)] for tokens in samples.tokens], minlength=len(place))


@pytest.mark.parametrize(("temperature", "batch_size"), [(1.0, 256), (0.6, 64), (1.0, 3000)])
def test_frequencies_are_the_models_probabilities(temperature, batch_size):
    """χ² over all 15 sequences, given that they end; and the number rejected on the way."""
    count = 20_000
    samples = sample_sequences(
        TINY, tiny_parameters(), count, rng=5, end_token=END, temperature=temperature, batch_size=batch_size
    )
    weights = exact_probabilities(temperature)
    test = stats.chisquare(frequencies(samples), count * weights / weights.sum())
    assert test.pvalue > FALSE_ALARM
    # Attempts until `count` end are negative binomial.
    low, high = stats.nbinom.interval(1 - FALSE_ALARM, count, weights.sum())
    assert low <= samples.rejected <= high


@pytest.mark.parametrize("wrong", [{"temperature": 0.9}, {"padding_excluded": True}])
def test_frequencies_tell_other_distributions_apart(wrong):
    """Control: neither a slightly lower temperature, nor renormalising each step without padding, would pass."""
    samples = sample_sequences(TINY, tiny_parameters(), 20_000, rng=5, end_token=END)
    weights = exact_probabilities(**wrong)
    assert stats.chisquare(frequencies(samples), 20_000 * weights / weights.sum()).pvalue < FALSE_ALARM


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probs_are_the_models(temperature):
    """Whatever the temperature, `log_probs` is what `sequence_log_probs` says, within rounding of float32 logits."""
    samples = sample_sequences(TINY, tiny_parameters(), 300, rng=2, end_token=END, temperature=temperature)
    expected = tf.sequence_log_probs(TINY, tiny_parameters(), samples.tokens)
    np.testing.assert_allclose(samples.log_probs, expected, rtol=0, atol=1e-5)


def test_sequences_are_well_formed():
    """One end token, at the end; no padding before it, only padding after it."""
    samples = sample_sequences(TINY, tiny_parameters(), 500, rng=1, end_token=END, max_length=3)
    assert samples.tokens.shape == (500, 3)
    place = np.arange(3)
    last = samples.lengths[:, None] - 1
    np.testing.assert_array_equal(samples.tokens == END, place == last)
    np.testing.assert_array_equal(samples.tokens == 0, place > last)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cached_logits_are_those_of_the_full_run(dtype):
    """Step by step, also after some sequences have left; tolerance: a hundred roundings of numbers of size 10."""
    config = tf.TransformerConfig(40, embedding_dim=32, layers=3, heads=4, mlp_dim=64, max_length=12)
    parameters = tf.initial_parameters(config, rng=0).astype(dtype)
    tokens = np.random.default_rng(1).integers(1, 40, size=(9, 12))
    expected = tf.logits(config, parameters, tokens)
    decoder, rows = Decoder(config, parameters, 9), np.arange(9)
    for t in range(12):
        found = decoder.step(tokens[rows, t - 1] if t else np.zeros(rows.size, dtype=np.intp))
        np.testing.assert_allclose(found, expected[rows, t], rtol=0, atol=1000 * np.finfo(dtype).eps)
        if t in (3, 7):
            staying = rows % (t - 1) != 0
            decoder.keep(staying)
            rows = rows[staying]
    assert 0 < rows.size < 9


def test_equal_seeds_give_equal_bytes_and_a_generator_is_left_alone():
    """Another seed gives other sequences; the caller's generator goes on as if nothing had been drawn from it."""
    runs = [sample_sequences(TINY, tiny_parameters(), 50, rng=seed, end_token=END) for seed in (4, 4, 5)]
    assert runs[0].tokens.tobytes() == runs[1].tokens.tobytes() != runs[2].tokens.tobytes()
    assert runs[0].log_probs.tobytes() == runs[1].log_probs.tobytes()
    generator = np.random.default_rng(0)
    sample_sequences(TINY, tiny_parameters(), 5, rng=generator, end_token=END)
    assert generator.random() == np.random.default_rng(0).random()


def test_batches_do_not_matter():
    """In float64 the same sequences come, in the same order and with the same number rejected, from any batch size."""
    runs = [
        sample_sequences(TINY, tiny_parameters(np.float64), 200, rng=9, end_token=END, batch_size=size)
        for size in (1, 7, 500)
    ]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.tokens, runs[0].tokens)
        np.testing.assert_allclose(run.log_probs, runs[0].log_probs, rtol=0, atol=1e-12)
        assert run.rejected == runs[0].rejected


def test_progress_rises_to_the_count():
    seen = []
    sample_sequences(TINY, tiny_parameters(), 100, rng=0, end_token=END, batch_size=2, progress=seen.append)
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == 100


@pytest.mark.parametrize("columns", [1, 2, 15, 100, 101])
def test_inversion_finds_the_column(columns):
    """Of the cumulative weights, beside a search in all of them; columns without weight are never found."""
    rng = np.random.default_rng(columns)
    weights = rng.random((400, columns)) * (rng.random((400, columns)) < 0.3)
    weights[:, rng.integers(columns)] += 0.01
    uniforms = np.concatenate([[0.0, 1.0 - 2.0**-53], rng.random(398)])
    found = inverted(weights, uniforms)
    cumulative = np.cumsum(weights, axis=1)
    expected = [np.searchsorted(row, u * row[-1], side="right") for row, u in zip(cumulative, uniforms, strict=True)]
    differs = found != np.minimum(expected, columns - 1)
    # At 1 − 2⁻⁵³ rounding decides between the last columns.
    assert not differs[[0, *range(2, 400)]].any()
    assert (weights[np.arange(400), found] > 0.0).all()


def test_a_model_that_never_ends_is_refused():
    parameters = tiny_parameters()
    tf.named_views(TINY, parameters)["logits/bias"][END] = -50.0
    with pytest.raises(ValueError, match=r"must be of a model whose sequences end; got 0 of \d+ with token 1 within 4"):
        sample_sequences(TINY, parameters, 10, rng=0, end_token=END)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"count": 0}, ValueError, "`count` must be at least 1; got 0"),
        ({"end_token": 0}, ValueError, "`end_token` must be at least 1; got 0"),
        ({"end_token": 4}, ValueError, "`end_token` must be below the vocabulary's size 4; got 4"),
        ({"temperature": 0.0}, ValueError, "`temperature` must be positive; got 0.0"),
        ({"max_length": 5}, ValueError, "`max_length` must be at most the model's, 4; got 5"),
        ({"batch_size": 1.5}, TypeError, "`batch_size` must be a whole number; got 1.5"),
        ({"config": None}, TypeError, "`config` must be a TransformerConfig; got NoneType"),
        ({"parameters": np.zeros(3)}, ValueError, "`parameters` must be a contiguous vector of"),
    ],
)
def test_arguments_are_refused(arguments, error, message):
    given = {"config": TINY, "parameters": tiny_parameters(), "count": 1, "end_token": END, **arguments}
    with pytest.raises(error, match=re.escape(message)):
        sample_sequences(**given)
