"""Expected losses against the mean over sampled comparisons, within a stated number of standard errors."""

import numpy as np
import pytest

import pbde_ref as pb

N = 200_000
# A normal mean lies within 5 standard errors in all but 6e-7 of cases: a false-alarm rate below 1e-5 for this file,
# under seeds that are fixed besides.
SIGMAS = 5.0

P, R = pb.FiniteDistribution([0.0, 1.0, -0.5, 2.0]), pb.FiniteDistribution([0.3, -0.7, 0.1, 0.4])
LUCE = pb.Annotator(P, pb.luce())
ANNOTATORS = {
    "one process": LUCE,
    "a mixture": pb.AnnotatorMixture([0.3, 0.7], [LUCE, pb.Annotator(R, pb.luce())]),
    "a cyclic matrix": pb.PreferenceMatrix(
        [[0.5, 0.9, 0.2, 0.5], [0.1, 0.5, 0.8, 0.6], [0.8, 0.2, 0.5, 0.7], [0.5, 0.4, 0.3, 0.5]]
    ),
}
PROPOSALS = {
    "product": pb.ProductProposal(R, P),
    "joint": pb.JointProposal(np.arange(1.0, 17.0).reshape(4, 4)),
    "list": pb.PairListProposal([0, 3, 2, 1], [1, 0, 3, 1], [1.0, 2.0, 3.0, 0.5]),
}
OBJECTIVES = {
    "bradley_terry": {},
    "smoothed": {"epsilon": 0.1},
    "robust": {"epsilon": 0.1},
    "ipo": {"tau": 0.3},
    "slic": {"delta": 0.7},
    "rrhf": {},
}
UTILITIES = np.array([0.4, -0.3, 1.1, 0.2])


def sampled_losses(annotator, proposal, objective, parameters, seed):
    drawn = pb.sample_comparisons(annotator, proposal, N, rng=seed)
    margins = UTILITIES[drawn.chosen] - UTILITIES[drawn.rejected]
    return pb.as_objective(objective, **parameters).value(margins)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("proposal", PROPOSALS)
@pytest.mark.parametrize("annotator", ANNOTATORS)
def test_the_expected_loss_is_the_mean_over_comparisons(annotator, proposal, objective):
    parameters = OBJECTIVES[objective]
    model, pairs = ANNOTATORS[annotator], PROPOSALS[proposal]
    losses = sampled_losses(model, pairs, objective, parameters, seed=7)
    expected = pb.expected_loss(objective, model, UTILITIES, pairs, **parameters).value
    assert abs(losses.mean() - expected) < SIGMAS * losses.std() / np.sqrt(N)


def test_the_error_bar_notices_another_annotator():
    """Control: comparisons by the mixture do not have the single annotator's expected loss."""
    losses = sampled_losses(ANNOTATORS["a mixture"], PROPOSALS["joint"], "bradley_terry", {}, seed=7)
    expected = pb.expected_loss("bradley_terry", LUCE, UTILITIES, PROPOSALS["joint"]).value
    assert abs(losses.mean() - expected) > SIGMAS * losses.std() / np.sqrt(N)


def test_slic_with_its_regulariser_is_the_mean_over_comparisons_and_reference_samples():
    """Eq. (20) with λ > 0; the two means are independent, so their variances add."""
    policy = pb.FiniteDistribution(UTILITIES)
    drawn = pb.sample_comparisons(LUCE, PROPOSALS["product"], N, rng=11)
    hinge = pb.hinge(0.7).value(policy.log_pmf[drawn.chosen] - policy.log_pmf[drawn.rejected])
    regulariser = -2.0 * policy.log_pmf[pb.sample_outcomes(R, N, rng=12)]
    error = np.sqrt((hinge.var() + regulariser.var()) / N)
    expected = pb.expected_slic(LUCE, policy.log_pmf, PROPOSALS["product"], delta=0.7, lambda_=2.0, reference=R).value
    assert abs(hinge.mean() + regulariser.mean() - expected) < SIGMAS * error
