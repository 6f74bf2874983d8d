"""Numbers at the ends of the range: the right value where there is one, otherwise an error that names the argument."""

import inspect
import math
from itertools import count

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref import losses
from pbde_ref.exact.ipo import ipo_optimum
from pbde_ref.exact.linear_time.kernel_sums import kernel_kl
from pbde_ref.exact.policy_optimization import log_partition
from pbde_ref.language.generation import sample_sequences
from pbde_ref.language.training_data import batch_order
from pbde_ref.losses import BatchLoss
from pbde_ref.models.adam import adam_step, initial_adam_state
from pbde_ref.models.transformer import (
    TransformerConfig,
    initial_parameters,
    logits,
    sequence_log_probs,
    token_log_probs,
)
from pbde_ref.models.transformer_decoding import Decoder

INF, NAN = math.inf, math.nan
EVEN = pb.uniform(range(3))
TINY = TransformerConfig(vocabulary_size=5, embedding_dim=8, layers=1, heads=2, mlp_dim=8)
NUMBERS = [-INF, INF, NAN, -1e308, 1e308, 0.0, -5e-324, 5e-324, -1.0, -1e-308, 1.0, -745.0, 1e-300, -1e200]
LOGARITHMS = [-INF, -1e308, -0.0, -5e-324, -1.0, -745.0, -1e200, -3e-310]
SETTINGS = [0.0, 0.1, 0.3, 1.0, 1e308, 1e150, 1e-300, 5e-324]
PAIRWISE = [
    losses.bradley_terry_loss, losses.dpo_loss, losses.geometric_loss, losses.ipo_loss, losses.length_normalized_loss,
    losses.pbde_loss, losses.rso_loss, losses.slic_loss, losses.kl_controlled_policy_gradient_loss,
]  # fmt: skip


def drawn(parameter, size, rng):
    if parameter.name == "reduction":
        return "sum"
    if isinstance(parameter.default, bool):
        return bool(rng.integers(2))
    if parameter.kind is parameter.KEYWORD_ONLY and parameter.name in {
        "alpha", "beta", "delta", "epsilon", "label_smoothing", "lambda_", "margin", "scale", "tau"
    }:  # fmt: skip
        return float(rng.choice(SETTINGS))
    if "lengths" in parameter.name:
        return rng.choice([1.0, 5.0, 1e308, 1e-308], size)
    return rng.choice(LOGARITHMS if rng.random() < 0.8 else NUMBERS, size)


@pytest.mark.parametrize("loss", PAIRWISE, ids=lambda loss: loss.__name__)
def test_batch_losses_hold_no_nan(loss):
    """Infinite where they must be, never NaN, or refused."""
    rng, answered = np.random.default_rng(1), 0
    for _ in range(300):
        size = int(rng.integers(1, 4))
        parameters = inspect.signature(loss).parameters.values()
        needed = [p for p in parameters if p.default is p.empty or rng.random() < 0.3]
        arguments = {p.name: drawn(p, size, rng) for p in needed}
        try:
            with np.errstate(all="ignore"):
                result = loss(**arguments)
        except ValueError:
            continue
        assert isinstance(result, BatchLoss)
        answered += 1
        for part in (result.value, result.losses, *result.gradients.values()):
            assert not np.isnan(part).any(), arguments
    assert answered > 0


def test_control_an_infinite_factor_times_nothing():
    """Without the check the gradient would be ∞ · 0."""
    with pytest.raises(ValueError, match="`alpha` must have a finite reciprocal; got 5e-324"):
        losses.geometric_loss([-1.0], [-700.0], [-1.0], [-1.0], alpha=5e-324)
    with pytest.raises(ValueError, match="`rejected_lengths` must be so long"):
        losses.length_normalized_loss([-1.0], [-2.0], [1.0], [1e-308], scale=1e308)
    with pytest.raises(ValueError, match=r"`f` must be at least 1e-300"):
        pb.PBDE(5e-324)
    assert pb.normalized_log_policy([0.0, 0.0], pb.PBDE(1e-300)) == pytest.approx(-math.log(2.0))


@pytest.mark.parametrize("rewards", [(1.0, 0.0, -1.0), (1e-308, 0.0, 0.0), (1e-305, 0.0, 3e-306), (1e308, 0.0, -1e308)])
@pytest.mark.parametrize("beta", [5e-324, 1e-320, 1e-308, 2e-308, 1.0, 1e300, 1e308])
def test_gradient_ascent_bounds_its_gap_at_any_scale(rewards, beta):
    """Where rewards over beta are numbers; without a warning."""
    reference = pb.FiniteDistribution.from_weights([2, 3, 5])
    if max(rewards) / beta > 1.7e308 if beta >= 1.0 else max(rewards) > 1.7e308 * beta:
        with pytest.raises(ValueError, match="`rewards` must be so small that divided by beta"):
            pb.gradient_ascent(rewards, beta, reference, max_steps=10)
        return
    found = pb.gradient_ascent(rewards, beta, reference, max_steps=10)
    best = pb.tilt(reference, rewards, beta)
    assert found.gap > 0.0
    assert found.gap >= beta * pb.kl_divergence(found.policy, best)
    assert found.policy_error >= pb.total_variation(found.policy, best)


def test_policy_gradients_of_huge_rewards():
    """By hand: π ⊙ (A − E[A]); linear in the rewards, whose differences may overflow."""
    found = pb.policy_gradient([0.0, 0.0, 0.0], [1e308, -1e308, 0.0], 0.0, EVEN)
    np.testing.assert_allclose(found / 1e308, [1 / 3, -1 / 3, 0.0], rtol=1e-14)
    found = pb.policy_gradient([0.0, 0.0, 1e308], [1e308, -1e308, 7.0], 0.0, EVEN)
    np.testing.assert_array_equal(found, np.zeros(3))
    found = pb.policy_gradient([0.0, -1e308, 0.0], [1.0, 2.0, 3.0], 1.0, EVEN)
    np.testing.assert_allclose(found, [-0.5, 0.0, 0.5], rtol=1e-14)
    assert log_partition([3e307, 3e307, 3e307], 1.0, EVEN) == 3e307
    for function in (lambda: log_partition([1e308, 0.0, 0.0], 1e-9, EVEN), lambda: pb.tilt(EVEN, [1e308, 0, 0], 1e-9)):
        with pytest.raises(ValueError, match="`rewards` must be so small"):
            function()


def test_infinite_slopes():
    """IPO's gradient is infinite where the loss is, 0 of what is not drawn, and refused where +∞ meets −∞."""
    first = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    loss = pb.expected_loss("ipo", first, [INF, 0.0], pb.ProductProposal([1, 1]), tau=0.5)
    assert loss.value == INF
    np.testing.assert_array_equal(loss.gradient, [INF, -INF])
    even = pb.Annotator(EVEN, pb.luce())
    apart = pb.PairListProposal([0, 0], [1, 2], [1, 0])
    loss = pb.expected_loss("ipo", even, [0.0, -1.0, -INF], apart, tau=0.5)
    assert loss.value == 2.0
    np.testing.assert_allclose(loss.gradient, [2.0, -2.0, 0.0], rtol=1e-15)
    with pytest.raises(ValueError, match="`utilities` must be such that the gradient has no terms of both infinities"):
        pb.expected_loss("ipo", even, [0.0, INF, -INF], pb.ProductProposal([1, 1, 1]), tau=0.5)
    with pytest.raises(ValueError, match="`tau` must be at least 1e-150"):
        ipo_optimum(even, pb.ProductProposal([1, 1, 1]), tau=1e-200, reference=EVEN)


def test_weights_of_comparisons():
    """Sums of what is counted are finite; small weights are not the trouble."""
    with pytest.raises(ValueError, match=r"`weights` must be below 1e150 .*got 1e\+308 at index 0"):
        pb.fit_comparisons([0, 1, 0], [1, 0, 1], weights=[1e308, 1e-308, 1e308])
    with pytest.raises(ValueError, match="`counts` must be below 1e150"):
        pb.fit_comparisons(counts=[[0, 1e308], [1, 0]])
    fit = pb.fit_comparisons([0, 1], [1, 0], weights=[3e149 / 4, 1e149 / 4])
    assert fit.converged
    assert fit.distribution.pmf == pytest.approx([0.75, 0.25])


def test_adam():
    """A gradient that is NaN, or whose square is infinite, is no step of length zero."""
    for dtype, large in ((np.float64, 1e200), (np.float32, 1e25)):
        parameters = np.zeros(3, dtype=dtype)
        state = initial_adam_state(parameters)
        for bad in (NAN, INF, -INF, large):
            gradient = np.array([1.0, bad, 1.0], dtype=dtype)
            with pytest.raises(ValueError, match=r"`gradient` must be finite, also when it is squared; .* at index 1"):
                adam_step(parameters, gradient, state, learning_rate=0.1)
    for wrong in ({"learning_rate": NAN}, {"learning_rate": 0.1, "beta_1": 1.0}, {"learning_rate": 0.1, "epsilon": -1}):
        with pytest.raises(ValueError, match=f"`{list(wrong)[-1]}` must be"):
            adam_step(parameters, np.ones(3, dtype=dtype), state, **wrong)
    with pytest.raises(ValueError, match="`gradient` must have the parameters' shape"):
        adam_step(parameters, np.ones(2, dtype=dtype), state, learning_rate=0.1)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_parameters_of_a_transformer(bad):
    """One bad number among them is named."""
    parameters = initial_parameters(TINY, rng=0)
    parameters[7] = bad
    tokens = [[3, 1, 2]]
    functions = (
        lambda: logits(TINY, parameters, tokens),
        lambda: token_log_probs(TINY, parameters, tokens),
        lambda: sequence_log_probs(TINY, parameters, tokens),
        lambda: Decoder(TINY, parameters, 1),
        lambda: sample_sequences(TINY, parameters, 3, rng=0, end_token=1),
    )
    for function in functions:
        with pytest.raises(ValueError, match=f"`parameters` must be finite; got {bad} at index 7"):
            function()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_lowest_temperatures_take_the_likeliest_token(dtype):
    """Below 2.9e-39, whose reciprocal is no float32, as at 1e-6."""
    parameters = initial_parameters(TINY, rng=3).astype(dtype)
    found = [
        sample_sequences(TINY, parameters, 4, rng=0, end_token=1, temperature=t, max_length=6)
        for t in (1e-6, 1e-38, 2.8e-39, 1e-60, 1e-300, 5e-324)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other.tokens, found[0].tokens)
        np.testing.assert_array_equal(other.log_probs, found[0].log_probs)
    assert np.isfinite(found[0].log_probs).all()


def test_rrhf_asks_for_the_order_of_scores_alone():
    """Scores whose sum overflows are as good as others."""
    policy, lengths = -np.arange(1.0, 7.0).reshape(2, 3), np.ones((2, 3))
    far, near = ([[-1e308, -1.2e308, 1e308]] * 2, [[1.0, 0.0, 2.0]] * 2)
    found = [pb.rrhf_loss(policy, lengths, scores=scores).losses for scores in (far, near)]
    np.testing.assert_array_equal(*found)


def test_the_gap_of_ipo_is_a_number_for_every_tau():
    """Utilities are in proportion to 1 / τ; the gap was NaN for 1e-80 and below."""
    annotator = pb.Annotator(pb.FiniteDistribution([0.0, 1.0, 3.0]), pb.luce())
    proposal = pb.PairListProposal([0, 1, 2], [1, 2, 0])
    near, far = (pb.minimize_expected_loss(pb.ipo(tau), annotator, proposal) for tau in (1e-5, 1e-140))
    np.testing.assert_allclose(far.utilities * 1e-135, near.utilities, rtol=1e-12)
    assert 0.0 <= far.gap < 1e-16 / 1e-140**2


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda p: pb.sample_optimal_policy(p, [0.0, 1.0], 1.0, size=10**18, rng=0), MemoryError, "allocate"),
        (lambda p: p.sample(0.5, rng=0), TypeError, "`size` must be a whole number; got 0.5"),
        (lambda p: pb.gradient_ascent([1.0, 0.0], 1e-308, p, learning_rate=10.0), ValueError, "learning_rate / beta"),
        (lambda p: pb.ProductProposal(p).matrix("a"), TypeError, "`size` must be a whole number; got 'a'"),
        (lambda p: pb.GaussianPrior(1.0).slope("a"), TypeError, "`utilities` must be an array of real numbers"),
        (lambda p: kernel_kl(pb.Annotator(p, pb.luce()), np.ma.array([1.0, 2.0], mask=[0, 1]), pb.ProductProposal(p)),
         ValueError, "`utilities` must be free of masked entries; got 1 of 2"),
        (lambda p: next(batch_order([1.5], 2, rng=0)), TypeError, "`lengths` must be a vector of whole numbers"),
    ],
)  # fmt: skip
def test_what_hung_or_named_nothing(call, error, match):
    with pytest.raises(error, match=match):
        call(pb.uniform([0, 1]))


@pytest.mark.parametrize(
    "make", [pb.uniform, pb.Prompts, lambda support: pb.FiniteDistribution([0.0, 0.0], support)]
)
def test_a_support_without_a_length_is_refused(make):
    """It need not come to an end."""
    with pytest.raises(TypeError, match=r"must be a sequence of (hashable )?labels; got count\(0\)"):
        make(count())


def test_a_masked_entry_in_a_list_is_refused():
    with pytest.raises(ValueError, match="`rewards` must be free of masked entries"):
        pb.tilt(pb.uniform("ab"), [np.ma.masked, 1.0], 1.0)


def test_a_class_may_have_a_long_name():
    with pytest.raises(TypeError) as error:
        pb.optimal_policy(type("A" * 10_000, (), {})(), pb.luce())
    assert len(str(error.value)) <= 300


def test_a_drawing_that_fails_leaves_no_figure():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    with pytest.raises(AttributeError):
        pb.uniform("ab").plot(nonsense=1)
    assert pyplot.get_fignums() == before
