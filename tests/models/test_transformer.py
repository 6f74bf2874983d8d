"""The Transformer: against loops written from its description, finite differences, PyTorch, and what it refuses."""

import math
import re

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pbde_ref.models import transformer as tf
from pbde_ref.models import transformer_literal
from pbde_ref.models.adam import adam_step, initial_adam_state
from pbde_ref.models.transformer_layers import layer_norm, positions_table
from pbde_ref.models.transformer_literal import literal_log_prob, literal_logits

SMALL = tf.TransformerConfig(11, embedding_dim=8, layers=2, heads=2, mlp_dim=12, max_length=7)
# Full, short, a single token, and padding inside a sequence.
TOKENS = np.array([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 0, 0, 0, 0], [7, 0, 0, 0, 0, 0, 0], [2, 7, 0, 1, 8, 0, 2]])


def perturbed(config, seed=0, dtype=np.float64):
    """Parameters of which none is 0 or 1: a norm's scale or a bias that is left out would show."""
    rng = np.random.default_rng(seed)
    parameters = tf.initial_parameters(config, rng=rng).astype(np.float64)
    return (parameters + rng.normal(scale=0.2, size=parameters.size)).astype(dtype)


def loop_logits(config, parameters, tokens):
    """The literal Transformer, sequence by sequence; zeros at places of padding."""
    views = tf.named_views(config, parameters)
    rows = [literal_logits(config, views, row) for row in tokens]
    return np.where((tokens > 0)[..., None], rows, 0.0)


def test_logits_equal_loops():
    """Within rounding of float64, also where padding stands inside a sequence."""
    parameters = perturbed(SMALL)
    expected = loop_logits(SMALL, parameters, TOKENS)
    np.testing.assert_allclose(tf.logits(SMALL, parameters, TOKENS), expected, rtol=0, atol=1e-12)


def test_odd_width_and_many_tokens_equal_loops():
    """An odd width leaves the last feature without a sinusoid; many sequences are computed in several parts."""
    config = tf.TransformerConfig(5, embedding_dim=9, layers=1, heads=3, mlp_dim=4, max_length=40)
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, 5, size=(70, 40))
    tokens[np.arange(40) >= rng.integers(30, 41, size=(70, 1))] = 0
    parameters = perturbed(config)
    positions = np.array(
        [*np.sin(3.0 * 10000.0 ** (-np.arange(4) / 3)), *np.cos(3.0 * 10000.0 ** (-np.arange(4) / 3)), 0]
    )
    np.testing.assert_allclose(positions_table(40, 9, np.float64)[3], positions, rtol=1e-12)
    found = tf.logits(config, parameters, tokens)
    single = np.concatenate([tf.logits(config, parameters, row[None]) for row in tokens])
    np.testing.assert_allclose(found, single, rtol=0, atol=1e-12)


LEFT_OUT = {
    "the smallest variance": ("EPSILON", 1e-3),
    "the mask of padding": ("visible", lambda tokens: np.tril(np.ones((len(tokens), len(tokens)), dtype=bool))),
    "the shift": ("shifted_right", np.asarray),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_comparison_with_loops_sees_each_fact(monkeypatch, name):
    """Control: a literal Transformer that leaves one fact of the architecture out gives other logits."""
    monkeypatch.setattr(transformer_literal, *LEFT_OUT[name])
    parameters = perturbed(SMALL)
    assert np.abs(tf.logits(SMALL, parameters, TOKENS) - loop_logits(SMALL, parameters, TOKENS)).max() > 1e-4


def test_comparison_with_loops_sees_the_scale_of_scores():
    """Control: scores not divided by the root of a head's width, here because the queries are as much larger."""
    parameters = perturbed(SMALL)
    unscaled = parameters.copy()
    for i in range(SMALL.layers):
        tf.named_views(SMALL, unscaled)[f"layer_{i}/attention/query"][:] *= math.sqrt(4)
    assert np.abs(tf.logits(SMALL, parameters, TOKENS) - loop_logits(SMALL, unscaled, TOKENS)).max() > 1e-4


def test_a_head_by_hand():
    """Scores 0 and log 3 · 2 / √4 weigh the values 1 to 3; the first place sees itself alone."""
    query, key = np.array([[1.0, 0, 0, 0], [2.0, 0, 0, 0]]), np.array([[0.0] * 4, [math.log(3.0), 0, 0, 0]])
    value, mask = np.array([[4.0], [8.0]]), np.array([[True, False], [True, True]])
    np.testing.assert_allclose(transformer_literal.attention(query, key, value, mask), [[4.0], [7.0]], rtol=1e-14)


def test_gradients_equal_autograd_through_the_literal_text():
    """Every entry, to rounding."""
    parameters, weights = perturbed(SMALL), np.array([1.0, -2.0, 0.0, 0.3])

    def loss(views):
        return -sum(w * literal_log_prob(SMALL, views, row, anp) for w, row in zip(weights, TOKENS, strict=True))

    expected = autograd.grad(loss)(dict(tf.named_views(SMALL, parameters)))
    value, gradient = tf.weighted_loss_and_gradient(SMALL, parameters, TOKENS, weights)
    assert value == pytest.approx(loss(tf.named_views(SMALL, parameters)), abs=1e-12)
    for name, view in tf.named_views(SMALL, gradient).items():
        np.testing.assert_allclose(view, expected[name], rtol=0, atol=1e-11, err_msg=name)


def test_log_probs_equal_normalised_logits():
    """Of tokens: the logit less log-sum-exp; of sequences: their sum; padding has 0."""
    parameters = perturbed(SMALL)
    z = loop_logits(SMALL, parameters, TOKENS)
    log_probs = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    expected = np.where(TOKENS > 0, np.take_along_axis(log_probs, TOKENS[..., None], axis=-1)[..., 0], 0.0)
    np.testing.assert_allclose(tf.token_log_probs(SMALL, parameters, TOKENS), expected, rtol=0, atol=1e-12)
    found = tf.sequence_log_probs(SMALL, parameters, TOKENS)
    np.testing.assert_allclose(found, expected.sum(axis=1), rtol=0, atol=1e-11)


def test_padding_costs_nothing_and_changes_nothing():
    """More columns of padding, and other sequences beside it, leave a sequence's log-probability as it is."""
    parameters = perturbed(SMALL)
    alone = tf.sequence_log_probs(SMALL, parameters, [[6, 5, 3]])[0]
    assert tf.sequence_log_probs(SMALL, parameters, TOKENS)[1] == pytest.approx(alone, abs=1e-12)


def test_no_number_of_threads_changes_a_byte():
    """Parts of the work are the same for one core and for several."""
    config = tf.TransformerConfig(50, embedding_dim=16, layers=1, heads=2, mlp_dim=16, max_length=50)
    tokens = np.random.default_rng(0).integers(0, 50, size=(60, 50))
    parameters = tf.initial_parameters(config, rng=0)
    with threadpool_limits(1):
        value, gradient = tf.weighted_loss_and_gradient(config, parameters, tokens, np.ones(60))
    with threadpool_limits(2):
        again, parallel = tf.weighted_loss_and_gradient(config, parameters, tokens, np.ones(60))
    assert value == again
    assert gradient.tobytes() == parallel.tobytes()


def test_every_entry_of_the_gradient_by_finite_differences():
    """Central differences of the loops' own weighted log-likelihood; the error is that of the differences."""
    config = tf.TransformerConfig(4, embedding_dim=4, layers=1, heads=2, mlp_dim=3, max_length=4)
    tokens, weights = np.array([[3, 1, 2, 3], [2, 0, 3, 0]]), np.array([[1.0, -2.0, 0.5, 3.0], [0.7, 9.0, 1.1, 9.0]])
    parameters = perturbed(config)

    def loss(at):
        z = loop_logits(config, at, tokens)
        log_probs = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
        return -(np.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0] * weights)[tokens > 0].sum()

    step = 1e-5
    differences = np.empty_like(parameters)
    for i in range(parameters.size):
        up, down = parameters.copy(), parameters.copy()
        up[i] += step
        down[i] -= step
        differences[i] = (loss(up) - loss(down)) / (2 * step)
    value, gradient = tf.weighted_loss_and_gradient(config, parameters, tokens, weights)
    assert value == pytest.approx(loss(parameters), abs=1e-12)
    # Truncation is of order step² = 1e-10 times a third derivative, rounding 1e-15 / step = 1e-10.
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-7)


def test_directional_derivatives_of_a_larger_model():
    """Two layers, several parts, vocabulary in several blocks: slopes along random directions."""
    config = tf.TransformerConfig(4200, embedding_dim=16, layers=2, heads=4, mlp_dim=8, max_length=30)
    rng = np.random.default_rng(5)
    tokens = rng.integers(1, 4200, size=(90, 30))
    tokens[np.arange(30) >= rng.integers(1, 31, size=(90, 1))] = 0
    weights, parameters = rng.normal(size=90), perturbed(config)
    _, gradient = tf.weighted_loss_and_gradient(config, parameters, tokens, weights)
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=parameters.size)
        values = [-weights @ tf.sequence_log_probs(config, parameters + s * direction, tokens) for s in (1e-6, -1e-6)]
        assert gradient @ direction == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_single_precision_is_close_to_double():
    """float32 in, float32 out, and about seven digits less the length of the computation."""
    tokens, parameters = TOKENS, perturbed(SMALL, dtype=np.float32)
    value, gradient = tf.weighted_loss_and_gradient(SMALL, parameters, tokens, np.ones(4))
    exact_value, exact = tf.weighted_loss_and_gradient(SMALL, parameters.astype(np.float64), tokens, np.ones(4))
    assert gradient.dtype == tf.logits(SMALL, parameters, tokens).dtype == np.float32
    assert value == pytest.approx(exact_value, rel=1e-5)
    assert np.abs(gradient - exact).max() < 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("weights", [[1.0, -2.0, 0.0, 0.3], np.random.default_rng(0).normal(size=TOKENS.shape)])
def test_pullback_is_minus_the_loss_gradient(weights):
    """As often as it is called, and whatever becomes of the caller's parameters."""
    parameters = perturbed(SMALL)
    value, gradient = tf.weighted_loss_and_gradient(SMALL, parameters, TOKENS, weights)
    log_probs, pullback = tf.log_probs_and_pullback(SMALL, parameters, TOKENS)
    np.testing.assert_array_equal(log_probs, tf.sequence_log_probs(SMALL, parameters, TOKENS))
    parameters[:] = 0.0
    for _ in range(2):
        np.testing.assert_allclose(pullback(weights), -gradient, rtol=0, atol=1e-12)
    if np.ndim(weights) == 1:
        assert value == pytest.approx(-np.dot(weights, log_probs), abs=1e-12)


def test_very_likely_and_very_unlikely_tokens():
    """Logits of ±1,000 overflow nothing."""
    parameters = perturbed(SMALL, dtype=np.float32)
    tf.named_views(SMALL, parameters)["logits/bias"][:] = np.where(np.arange(11) == 3, 1000.0, -1000.0)
    log_probs = tf.token_log_probs(SMALL, parameters, [[3, 4]])
    assert log_probs[0, 0] == 0.0
    assert log_probs[0, 1] == pytest.approx(-2000.0, rel=0.02)
    _, gradient = tf.weighted_loss_and_gradient(SMALL, parameters, [[3, 4]], [1.0])
    assert np.isfinite(gradient).all()


def test_adam_learns_a_cycle():
    """After 1, 2, 3 comes 1 again: the loss falls to the first token's, log 3 a sequence."""
    config = tf.TransformerConfig(4, embedding_dim=16, layers=1, heads=2, mlp_dim=16, max_length=8)
    tokens = np.array([[(start + t) % 3 + 1 for t in range(8)] for start in range(3)])
    parameters = tf.initial_parameters(config, rng=0)
    state = initial_adam_state(parameters)
    for _ in range(150):
        value, gradient = tf.weighted_loss_and_gradient(config, parameters, tokens, np.full(3, 1 / 3))
        parameters, state = adam_step(parameters, gradient, state, learning_rate=1e-2)
    assert math.log(3.0) < value < math.log(3.0) + 0.1


def test_layer_norm_of_constant_rows_is_zero():
    """A row without variance is divided by √1e-6, not by 0."""
    found = layer_norm(np.array([[5.0, 5.0, 5.0, 5.0], [0.001, -0.001, 0.001, -0.001]])).normalized
    np.testing.assert_allclose(found[:, :4], [[0, 0, 0, 0], np.array([1, -1, 1, -1]) / math.sqrt(2)], atol=1e-12)


def test_names_cover_the_vector_once():
    """Views are disjoint, in order, and writing to them fills the vector."""
    parameters = np.full(tf.parameter_count(SMALL), np.nan, dtype=np.float32)
    views = tf.named_views(SMALL, parameters)
    assert {name: view.shape for name, view in views.items()} == tf.parameter_shapes(SMALL)
    start = 0
    for view in views.values():
        view[...] = np.arange(start, start + view.size).reshape(view.shape)
        start += view.size
    np.testing.assert_array_equal(parameters, np.arange(start))


def test_flatten_inverts_named_views_in_any_order():
    parameters = tf.initial_parameters(SMALL, rng=0)
    views = tf.named_views(SMALL, parameters)
    assert tf.flatten(SMALL, dict(reversed(views.items()))).tobytes() == parameters.tobytes()


def test_initial_parameters_have_the_stated_distributions():
    """Means and standard deviations within five standard errors; kernels reach close to their limit and not beyond."""
    config = tf.TransformerConfig(500, layers=1)
    for name, view in tf.named_views(config, tf.initial_parameters(config, rng=7)).items():
        if name.endswith("norm/scale"):
            assert (view == 1.0).all()
        elif name.endswith("norm/bias"):
            assert (view == 0.0).all()
        else:
            limit = math.sqrt(6.0 / sum(view.shape))
            deviation = 1.0 if name == "embedding" else 1e-6 if name.endswith("bias") else limit / math.sqrt(3.0)
            assert abs(view.mean()) < 5 * deviation / math.sqrt(view.size), name
            # The standard error of a deviation is at most deviation / √(2n), a normal's.
            assert abs(view.std() - deviation) < 5 * deviation / math.sqrt(2 * view.size), name
            if name.endswith("kernel") or "/attention/" in name:
                assert 0.99 * limit < np.abs(view).max() <= np.float32(limit), name


def test_equal_seeds_give_equal_bytes():
    first, second, other = (tf.initial_parameters(SMALL, rng=seed).tobytes() for seed in (3, 3, 4))
    assert first == second != other


FLAWED = tf.initial_parameters(SMALL, rng=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"vocabulary_size": 1}, ValueError, "`vocabulary_size` must be at least 2; got 1"),
        ({"heads": 3}, ValueError, "`embedding_dim` must be a multiple of `heads`; got 128 for 3 heads"),
        ({"layers": 0}, ValueError, "`layers` must be at least 1; got 0"),
        ({"mlp_dim": 2.5}, TypeError, "`mlp_dim` must be a whole number; got 2.5"),
        ({"max_length": -1}, ValueError, "`max_length` must be at least 1; got -1"),
    ],
)
def test_sizes_are_refused(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        tf.TransformerConfig(**{"vocabulary_size": 10, **arguments})


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ([[1, 11]], ValueError, "`tokens` must be in [0, 11); got 11 at index (0, 1)"),
        ([[1, -1]], ValueError, "`tokens` must be in [0, 11); got -1 at index (0, 1)"),
        ([[1] * 8], ValueError, "`tokens` must have at most max_length = 7 columns; got 8"),
        ([[1, 2], [0, 0]], ValueError, "in each sequence; got none at index 1"),
        ([[1.0, 2.0]], TypeError, "`tokens` must be whole numbers; got dtype float64"),
        ([1, 2], ValueError, "`tokens` must be an array of 2 axes with at least one entry; got shape (2,)"),
        (np.zeros((0, 3), int), ValueError, "`tokens` must be an array of 2 axes with at least one entry"),
    ],
)
@pytest.mark.parametrize("function", [tf.logits, tf.sequence_log_probs, tf.log_probs_and_pullback])
def test_tokens_are_refused(function, tokens, error, message):
    with pytest.raises(error, match=re.escape(message)):
        function(SMALL, FLAWED, tokens)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0, 2.0], ValueError, "`weights` must have shape (1,) or (1, 2); got (2,)"),
        ([np.inf], ValueError, "`weights` must be finite; got inf at index 0"),
        ([np.nan], ValueError, "`weights` must be free of NaN; got nan at index 0"),
        (["a"], TypeError, "`weights` must be an array of real numbers"),
    ],
)
def test_weights_are_refused(weights, error, message):
    with pytest.raises(error, match=re.escape(message)):
        tf.weighted_loss_and_gradient(SMALL, FLAWED, [[1, 2]], weights)
    _, pullback = tf.log_probs_and_pullback(SMALL, FLAWED, [[1, 2]])
    with pytest.raises(error, match=re.escape(message)):
        pullback(weights)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (FLAWED[1:], ValueError, f"`parameters` must be a contiguous vector of {FLAWED.size} numbers; got shape"),
        (FLAWED.astype(np.float16), TypeError, "`parameters` must be float32 or float64; got dtype float16"),
        (list(FLAWED), TypeError, "`parameters` must be an array; got list"),
    ],
)
def test_parameters_are_refused(parameters, error, message):
    with pytest.raises(error, match=re.escape(message)):
        tf.logits(SMALL, parameters, [[1]])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"embedding": None}, ValueError, "got none for 'embedding' and 0 more"),
        ({"embeddings": np.zeros(3)}, ValueError, "names of `parameter_shapes` only; got 'embeddings' as well"),
        ({"logits/bias": np.zeros(3)}, ValueError, "`arrays['logits/bias']` must have shape (11,); got (3,)"),
        (
            {"logits/bias": np.full(11, 1e300)},
            ValueError,
            "`arrays['logits/bias']` must be finite in float32; got 1e+300",
        ),
        ({"logits/bias": np.full(11, "x")}, TypeError, "`arrays['logits/bias']` must hold real numbers; got dtype <U1"),
    ],
)
def test_arrays_are_refused(change, error, message):
    arrays = {n: v for n, v in {**tf.named_views(SMALL, FLAWED), **change}.items() if v is not None}
    with pytest.raises(error, match=re.escape(message)):
        tf.flatten(SMALL, arrays)
