"""Outcomes are matched by their labels: what was made for others, or in another order, is refused."""

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.aggregation import distortion, minority_losses
from pbde_ref.exact.identifiability import preference_components
from pbde_ref.exact.lengths.length_bias import group_preference
from pbde_ref.exact.linear_time.kernel_sums import kernel_cross_entropy, kernel_entropy, kernel_kl, win_probabilities
from pbde_ref.exact.minimizer_face import minimizer_vertices
from pbde_ref.exact.mixtures import fit_annotator_mixture
from pbde_ref.exact.projection import projected_policy
from pbde_ref.exact.selection import win_weights, win_weights_error
from pbde_ref.games.intransitivity import nearest_annotator
from pbde_ref.online import offline_shortfall, online_shortfall

ANNOTATOR = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1], support=["tea", "coffee"]), pb.luce())
POOL = pb.AnnotatorMixture([1, 1], [ANNOTATOR, ANNOTATOR])
RIGHT = pb.FiniteDistribution.from_weights([1, 2], support=["tea", "coffee"])
TURNED = pb.FiniteDistribution.from_weights([1, 2], support=["coffee", "tea"])
PAIRS = pb.ProductProposal(RIGHT)

# Each with a distribution that decides what stands at which place.
CALLS = {
    "Annotator": lambda r: pb.Annotator(RIGHT, pb.dpo(1.0, r)),
    "optimal_policy, dpo": lambda r: pb.optimal_policy(ANNOTATOR, pb.dpo(1.0, r)),
    "optimal_policy, geometric": lambda r: pb.optimal_policy(ANNOTATOR, pb.geometric_average(0.5, r)),
    "projected_policy": lambda r: projected_policy(POOL, pb.dpo(1.0, r), PAIRS),
    "design_value, pairs": lambda r: pb.design_value(ANNOTATOR, pb.ProductProposal(r)),
    "design_value": lambda r: pb.design_value(ANNOTATOR, PAIRS, process=pb.dpo(1.0, r)),
    "optimal_design": lambda r: pb.optimal_design(ANNOTATOR, process=pb.dpo(1.0, r)),
    "nearest_annotator": lambda r: nearest_annotator(ANNOTATOR, process=pb.dpo(1.0, r)),
    "fit_annotator_mixture": lambda r: fit_annotator_mixture(POOL, PAIRS, reference=r, rng=0),
    "fit_annotator_mixture, process": lambda r: fit_annotator_mixture(POOL, PAIRS, pbde=pb.dpo(1.0, r), rng=0),
    "expected_kl": lambda r: pb.expected_kl(ANNOTATOR, [0.0, 0.0], pb.ProductProposal(r)),
    "expected_kl, one side": lambda r: pb.expected_kl(ANNOTATOR, [0.0, 0.0], pb.ProductProposal([1, 1], r)),
    "minimize_expected_loss": lambda r: pb.minimize_expected_loss("bradley_terry", POOL, pb.ProductProposal(r)),
    "optimum": lambda r: pb.optimum("ipo", ANNOTATOR, pb.ProductProposal(r), tau=1.0, reference=RIGHT),
    "winners_distribution": lambda r: pb.winners_distribution(ANNOTATOR, pb.ProductProposal(r)),
    "sample_comparisons": lambda r: pb.sample_comparisons(ANNOTATOR, pb.ProductProposal(r), 3, rng=0),
    "kernel_cross_entropy": lambda r: kernel_cross_entropy(POOL, [0.0, 0.0], pb.ProductProposal(r)),
    "kernel_kl": lambda r: kernel_kl(ANNOTATOR, [0.0, 0.0], pb.ProductProposal(r)),
    "kernel_entropy": lambda r: kernel_entropy(ANNOTATOR, pb.ProductProposal(r)),
    "minimize_product_loss": lambda r: pb.minimize_product_loss(ANNOTATOR, pb.ProductProposal(r)),
    "win_weights": lambda r: win_weights(ANNOTATOR, pb.ProductProposal(r)),
    "win_weights_error": lambda r: win_weights_error(ANNOTATOR, pb.ProductProposal(r)),
    "preference_components": lambda r: preference_components(POOL, pb.ProductProposal(r)),
    "offline_shortfall": lambda r: offline_shortfall([1, 0], pb.ProductProposal(r), 1.0, RIGHT),
    "online_shortfall": lambda r: online_shortfall([1, 0], pb.ProductProposal(r), 1.0, RIGHT),
    "ipo_winners": lambda r: pb.ipo_winners(RIGHT, pb.ProductProposal(r), tau=1.0, reference=RIGHT),
    "distortion": lambda r: distortion([1, 0], RIGHT, r),
    "win_probabilities": lambda r: win_probabilities(ANNOTATOR, r),
    "minimizer_vertices": lambda r: minimizer_vertices(ANNOTATOR, PAIRS, reference=r),
    "minority_losses": lambda r: minority_losses(POOL, r),
    "group_preference": lambda r: group_preference(ANNOTATOR, r, [True, False], [False, True]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_belongs_to_other_outcomes_is_refused(call):
    call(RIGHT)
    with pytest.raises(ValueError, match=r"must have the support of .*coffee.* where that has .*tea.*, at index 0"):
        call(TURNED)


def test_weights_without_labels_belong_to_outcomes_by_their_place():
    """The same numbers, with and without names."""
    named, bare = pb.ProductProposal(RIGHT), pb.ProductProposal(RIGHT.pmf)
    assert pb.expected_kl(ANNOTATOR, [0.0, 0.0], named).value == pb.expected_kl(ANNOTATOR, [0.0, 0.0], bare).value
    named = pb.dpo(0.5, RIGHT)
    bare = pb.PBDE(named.f, named.g)
    assert (pb.optimal_policy(ANNOTATOR, named).pmf == pb.optimal_policy(ANNOTATOR, bare).pmf).all()


def test_answers_to_other_prompts_are_refused():
    prompts = pb.Prompts("aabb", ["tea", "milk", "red", "blue"])
    others = pb.Prompts("aabb", ["milk", "tea", "red", "blue"])
    annotator = pb.Annotator(pb.ConditionalDistribution(np.log([1.0, 2.0, 3.0, 4.0]), prompts), pb.luce())
    policies = pb.LogLinearPolicies([[1.0], [0.0], [0.0], [1.0]], prompts)
    assert pb.minimize_log_linear(policies, annotator, pb.prompt_pairs(prompts), pb.luce()).converged
    for wrong in (
        lambda: pb.expected_kl(annotator, np.zeros(4), pb.prompt_pairs(others)),
        lambda: pb.minimize_log_linear(policies, annotator, pb.prompt_pairs(others), pb.luce()),
        lambda: pb.minimize_log_linear(
            pb.LogLinearPolicies(policies.features, others), annotator, pb.prompt_pairs(prompts), pb.luce()
        ),
        lambda: pb.minimize_log_linear(policies, None, pb.prompt_pairs(others), pb.luce()),
        lambda: pb.minimize_log_linear(
            policies, annotator, pb.prompt_pairs(prompts),
            pb.dpo(1.0, pb.ConditionalDistribution(np.zeros(4), others)),
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"must have the support of .*(tea|milk).* where that has .*(tea|milk)"):
            wrong()
