"""Exact reference implementation of learning from pairwise preferences as density estimation (arXiv:2311.14115)."""

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceMatrix
from pbde_ref.distributions import (
    FiniteDistribution,
    geometric_mean,
    kl_divergence,
    mixture,
    tilt,
    total_variation,
    truncated_normal,
    uniform,
)
from pbde_ref.exact.expected import (
    ExpectedLoss,
    expected_cross_entropy,
    expected_entropy,
    expected_hessian,
    expected_hessian_vector_product,
    expected_kl,
    expected_loss,
)
from pbde_ref.exact.optima import (
    NormalizingConstant,
    normalized_log_policy,
    normalizing_constant,
    optimal_policy,
    product_of_experts,
)
from pbde_ref.objectives import BRADLEY_TERRY, Objective
from pbde_ref.paper_problem import PaperProblem, paper_problem
from pbde_ref.pbde import PBDE, dpo, geometric_average, length_normalized, luce
from pbde_ref.proposals import JointProposal, PairListProposal, ProductProposal
