"""The public strategies: what they draw is valid, stays away from the degenerate points, and shrinks to a pattern."""

import inspect

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

import pbde_ref as pb
from pbde_ref.strategies import at_prompts
from pbde_ref.strategies import batches as batch_strategies
from pbde_ref.strategies import objects as strategies

SIZES = st.integers(2, 12)


def test_every_name_is_documented_and_exists_once():
    """Each public function has an example; `strategies` offers the names of `batch_strategies`."""
    for module in (strategies, batch_strategies, at_prompts):
        assert sorted(set(module.__all__)) == sorted(module.__all__)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                assert ">>>" in value.__doc__, name


@given(st.data())
def test_vectors_keep_their_range_and_never_tie_by_default(data):
    """Entries lie in the range asked for."""
    values = data.draw(strategies.vectors(data.draw(SIZES), -3.0, 5.0))
    assert ((values >= -3.0) & (values <= 5.0)).all()


@pytest.mark.parametrize("size", [2, 7, 8, 9, 40])
def test_simplest_vectors_have_no_ties(size):
    """What shrinking ends at has distinct entries, none of them at the ends or in the middle of the range."""
    values = find(strategies.vectors(size, 0.0, 1.0), lambda _: True)
    assert len(set(values)) == size
    assert not {0.0, 0.5, 1.0} & set(values)


@pytest.mark.parametrize(("entry", "low"), [(0, 0.0), (1, 0.45), (2, 0.9)])
def test_any_vector_can_be_drawn(entry, low):
    """The pattern shifts what is drawn and excludes nothing: any part of the range is reached in any entry."""
    found = find(strategies.vectors(3, 0.0, 1.0), lambda values: low <= values[entry] <= low + 0.1)
    assert low <= found[entry] <= low + 0.1


@given(strategies.distributions(max_size=8))
def test_distributions_are_not_uniform(p):
    """No uniform distribution is the simplest one; at least three outcomes."""
    assert len(p) >= 3


@given(st.data())
def test_processes_vary(data):
    """By default f and g are vectors; with `degenerate` constants occur as well."""
    size = data.draw(SIZES)
    process = data.draw(strategies.pbdes(size))
    assert process.f.shape == process.g.shape == (size,)


def test_simplest_objects_are_not_degenerate():
    """Shrinking ends at distributions that are not uniform, f ≠ 1, g ≠ 0; with `degenerate` at the opposite."""
    p = find(strategies.distributions(), lambda _: True)
    assert np.ptp(p.log_pmf) > 1.0
    process = find(strategies.pbdes(3), lambda _: True)
    assert (process.f != 1.0).all()
    assert (process.g != 0.0).all()
    plain = find(strategies.distributions(degenerate=True), lambda _: True)
    assert np.ptp(plain.log_pmf) == 0.0
    assert find(strategies.pbdes(3, degenerate=True), lambda process: process.f.ndim == 0).f == 1.0


@given(strategies.problems(max_size=8, connected=True))
def test_problems_fit_together(problem):
    """Annotator, utilities and proposal have one size, and the comparison graph is connected if asked for."""
    size = problem.annotator.size
    assert problem.utilities.shape == (size,)
    assert pb.comparison_components(problem.proposal, size).max() == 0
    assert np.isfinite(pb.expected_kl(problem.annotator, problem.utilities, problem.proposal).value)


@given(strategies.problems(max_size=8, zeros=True))
def test_outcomes_of_probability_zero_are_never_compared(problem):
    """Problems with zeros are defined: no two excluded outcomes meet."""
    problem.annotator.probabilities(next(problem.proposal.blocks(problem.annotator.size)))


@given(st.booleans().flatmap(lambda zeros: at_prompts.prompt_problems(connected=True, zeros=zeros, single=True)))
def test_problems_at_prompts_fit_together(problem):
    """Ragged prompts of two answers or more, pairs within them, each joined; losses and optima are defined."""
    prompts = problem.annotator.support
    sizes = np.diff(prompts.start)
    assert len(set(sizes)) > 1
    assert sizes.min() >= 2
    assert pb.comparison_components(problem.proposal, prompts.size).max() + 1 == len(prompts.names)
    assert pb.expected_kl(problem.annotator, problem.utilities, problem.proposal).value >= 0.0
    found = pb.optimum("bradley_terry", problem.annotator, problem.proposal)
    np.testing.assert_allclose(prompts.sums(found.policy.pmf), 1.0)


@given(at_prompts.prompt_problems(extremes=True, degenerate=True))
def test_degenerate_problems_at_prompts_are_defined(problem):
    """One prompt, ties, prompts that nobody asks: the loss is a number, and what is open is said."""
    assert np.isfinite(pb.expected_kl(problem.annotator, problem.utilities, problem.proposal).value)


def test_simplest_prompts_are_not_alike():
    prompts = find(at_prompts.prompts(), lambda _: True)
    assert np.diff(prompts.start).tolist() == [3, 2]
    assert len(find(at_prompts.prompts(degenerate=True), lambda _: True).names) == 1
    assert find(at_prompts.conditional_distributions(zeros=True), lambda p: np.isneginf(p.log_pmf).any())


@given(strategies.betas(), strategies.smoothings())
def test_hyperparameters_are_generic(beta, epsilon):
    """β is positive and not 1; ε is positive and below one half."""
    assert beta > 0.0
    assert beta != 1.0
    assert 0.0 < epsilon < 0.5


@given(st.booleans().flatmap(lambda extremes: strategies.pair_batches(extremes=extremes)))
def test_pairs_are_generic(batch):
    """Valid log-probabilities, different lengths, a reference neither zero nor the policy, at least two pairs."""
    assert len(batch.policy_chosen) >= 2
    for values in batch[:4]:
        assert (values < 0.0).all()
        assert np.isfinite(values).all()
    assert (batch.chosen_lengths != batch.rejected_lengths).all()
    assert (batch.policy_chosen != batch.reference_chosen).all()
    assert (batch.policy_rejected != batch.reference_rejected).all()
    pb.dpo_loss(*batch[:4], beta=0.3)
    pb.length_normalized_loss(*batch[:2], *batch[4:])


@pytest.mark.parametrize("size", [2, 4])
def test_simplest_pairs_have_margins_of_both_signs(size):
    """The batch that shrinking ends at tells a wrong sign, swapped arguments and a missing reference."""
    batch = find(strategies.pair_batches(size=size), lambda _: True)
    with_reference = batch.policy_chosen - batch.reference_chosen - batch.policy_rejected + batch.reference_rejected
    assert len(set(with_reference)) > 1
    assert (with_reference != batch.policy_chosen - batch.policy_rejected).all()


def nearly_certain(batch):
    return (batch.policy_rejected > -1e-6).any()


def far_apart(batch):
    return (abs(batch.policy_chosen - batch.policy_rejected) > 99.0).any()


@pytest.mark.parametrize("kind", [nearly_certain, far_apart])
def test_extremes_occur(kind):
    """With `extremes` there are nearly certain rejected sequences and gaps of 100."""
    find(strategies.pair_batches(size=2, extremes=True), kind)


@given(strategies.pair_batches())
def test_extremes_are_asked_for(batch):
    """Without `extremes` no sequence is nearly certain."""
    assert not nearly_certain(batch)


@given(strategies.pair_batches(dtype=np.float32))
def test_batches_are_rounded_first(batch):
    """With a dtype the numbers are rounded to it, so rounding is not blamed on the loss."""
    assert all(values.dtype == np.float32 for values in batch[:4])
    assert pb.dpo_loss(*batch[:4], beta=0.5).losses.dtype == np.float32


@given(strategies.reward_batches())
def test_rewards_suit_the_loss(batch):
    """Margins are positive."""
    assert (batch.margin > 0.0).all()
    pb.bradley_terry_loss(batch.chosen_rewards, batch.rejected_rewards, margin=batch.margin)


@given(strategies.mixture_batches(k=3))
def test_mixtures_suit_the_loss(batch):
    """k policies, weights that differ in the simplest example."""
    assert batch.policy_chosen.shape[1] == 3
    pb.annotator_mixture_loss(*batch)


@given(strategies.ranking_batches(k=4))
def test_rankings_suit_the_loss(batch):
    """No two candidates of a prompt are tied."""
    assert all(len(set(row)) == 4 for row in batch.scores)
    pb.rrhf_loss(batch.policy, batch.lengths, scores=batch.scores)


@given(strategies.token_batches())
def test_tokens_suit_the_mask(batch):
    """Each sequence has a prompt, a completion of at least two tokens, its end, and padding only after it."""
    mask = pb.completion_mask(batch.labels, prompt_lengths=batch.prompt_lengths, end_of_sequence=1, padding=0)
    assert (mask.sum(axis=1) >= 3).all()
    assert ((batch.labels == 1).sum(axis=1) == 1).all()
    pb.sequence_log_probs(pb.token_log_probs_from_logits(batch.logits, batch.labels), mask)
