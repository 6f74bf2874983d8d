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
from pbde_ref.exact.identifiability import (
    Identifiability,
    asymptotic_covariance,
    comparison_components,
    expected_excess_loss,
    finite_fit_exists,
    fisher_information,
    identifiability,
)
from pbde_ref.exact.minimizers import Certificate, Solution, minimize_expected_loss
from pbde_ref.exact.optima import (
    NormalizingConstant,
    normalized_log_policy,
    normalizing_constant,
    optimal_policy,
    product_of_experts,
)
from pbde_ref.exact.selection import (
    barker_transition_matrix,
    detailed_balance_residual,
    stationary_distribution,
    winners_distribution,
)
from pbde_ref.objectives import BRADLEY_TERRY, Objective
from pbde_ref.paper_problem import PaperProblem, paper_problem
from pbde_ref.pbde import PBDE, dpo, geometric_average, length_normalized, luce
from pbde_ref.policy_optimization import (
    PolicySolution,
    gradient_ascent,
    kl_controlled_objective,
    log_partition,
    policy_gradient,
)
from pbde_ref.proposals import JointProposal, PairListProposal, ProductProposal

__all__ = [
    "BRADLEY_TERRY",
    "PBDE",
    "Annotator",
    "AnnotatorMixture",
    "Certificate",
    "ExpectedLoss",
    "FiniteDistribution",
    "Identifiability",
    "JointProposal",
    "NormalizingConstant",
    "Objective",
    "PairListProposal",
    "PaperProblem",
    "PolicySolution",
    "PreferenceMatrix",
    "ProductProposal",
    "Solution",
    "asymptotic_covariance",
    "barker_transition_matrix",
    "comparison_components",
    "detailed_balance_residual",
    "dpo",
    "expected_cross_entropy",
    "expected_entropy",
    "expected_excess_loss",
    "expected_hessian",
    "expected_hessian_vector_product",
    "expected_kl",
    "expected_loss",
    "finite_fit_exists",
    "fisher_information",
    "geometric_average",
    "geometric_mean",
    "gradient_ascent",
    "identifiability",
    "kl_controlled_objective",
    "kl_divergence",
    "length_normalized",
    "log_partition",
    "luce",
    "minimize_expected_loss",
    "mixture",
    "normalized_log_policy",
    "normalizing_constant",
    "optimal_policy",
    "paper_problem",
    "policy_gradient",
    "product_of_experts",
    "stationary_distribution",
    "tilt",
    "total_variation",
    "truncated_normal",
    "uniform",
    "winners_distribution",
]
