"""What do you learn from pairwise preferences, and is your number right? (arXiv:2311.14115, exactly.)

On a finite support every distribution is a vector of probabilities; what the paper takes expectations of is summed.

=================================================  ==================================================================
what does this loss converge to?                   ``pb.optimum("dpo", annotator, proposal, beta=0.1, reference=r)``
the same by its formula, Eq. (16), (18)            ``pb.optimal_policy(annotator, pb.dpo(beta, r))``
what is the best single annotator for many?        ``pb.minimize_expected_loss("bradley_terry", mixture, proposal)``
is my loss right (NumPy, PyTorch, JAX)?            ``pb.check_loss(function, "dpo", beta=0.1)``
what is the expected loss, and its gradient?       ``pb.expected_kl(annotator, utilities, proposal)``
what do these votes say?                           ``pb.fit_comparisons(winners, losers)``
do my comparisons determine the policy?            ``pb.identifiability(annotator, proposal)``
how many comparisons do I need?                    ``pb.comparisons_needed(utilities, proposal, total_variation=0.05)``
what wins against everybody, if nobody has a rank? ``pb.maximal_lottery(preferences)``, ``pb.nash_policy``
which pairs should I ask?                          ``pb.optimal_design(annotator)``
what does Eq. (16) say, literally?                 ``pbde_ref.paper.equation_16``
=================================================  ==================================================================

What they are asked about is put together from few parts: a `FiniteDistribution` on a support, a process (`luce`, `dpo`,
`geometric_average`, `length_normalized`, any `PBDE`), an `Annotator` or `AnnotatorMixture`, and a proposal, which says
what pairs are compared (`ProductProposal`, `JointProposal`, `PairListProposal`).

Rooms: `losses` (batches), `exact` (expectations, optima, certificates), `games` (any preferences), `aggregation` (many
annotators), `prompts`, `online` (pairs that depend on the policy), `design` (which pairs to ask), `catalogue` (all
losses), `docket` (published claims), `sampling`, `estimation`, `oracle`, `vectors`, `strategies`, `experiments`,
`figures`; on the command line ``pbde-ref list``.
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import Any as _Any

import pbde_ref_command as _  # noqa: F401 - Ctrl-C has one word from here on
from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceMatrix
from pbde_ref.catalogue import optimum
from pbde_ref.conditional import ConditionalDistribution, Prompts
from pbde_ref.design import Design, design_value, optimal_design
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
from pbde_ref.estimation import (
    ComparisonFit,
    GaussianPrior,
    NoFiniteEstimateError,
    ProcessIdentification,
    PseudoCounts,
    compare_annotator_models,
    fit_comparisons,
    identify_process,
    read_comparisons,
    stigler_citations,
)
from pbde_ref.exact.decision_processes import DecisionProcess
from pbde_ref.exact.expected import (
    expected_cross_entropy,
    expected_entropy,
    expected_hessian,
    expected_hessian_vector_product,
    expected_kl,
    expected_loss,
)
from pbde_ref.exact.hinge import SlicSolution, expected_slic, minimize_rso, minimize_slic
from pbde_ref.exact.identifiability import (
    Identifiability,
    asymptotic_covariance,
    comparison_components,
    difference_variances,
    expected_excess_loss,
    finite_fit_exists,
    fisher_information,
    identifiability,
)
from pbde_ref.exact.ipo import (
    IpoSolution,
    identity_preference_objective,
    ipo_closed_form,
    ipo_optimum,
    ipo_winners,
    psi_closed_form,
)
from pbde_ref.exact.limits import LimitFit, limit_fit
from pbde_ref.exact.linear_time.kernel_sums import win_probabilities
from pbde_ref.exact.linear_time.minimizer import minimize_product_loss
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.mixtures import (
    MixtureLoss,
    MixtureSolution,
    expected_mixture_hessian,
    expected_mixture_loss,
    fit_annotator_mixture,
)
from pbde_ref.exact.next_comparison import NextComparison, next_comparison
from pbde_ref.exact.optima import (
    NormalizingConstant,
    normalized_log_policy,
    normalizing_constant,
    optimal_policy,
    product_of_experts,
)
from pbde_ref.exact.policy_optimization import (
    PolicySolution,
    clipped_surrogate,
    clipped_surrogate_maximum,
    distributional_policy_gradient,
    gradient_ascent,
    kl_controlled_objective,
    log_partition,
    policy_gradient,
)
from pbde_ref.exact.pooling import annotator_influence
from pbde_ref.exact.ranking import RRHFSolution, expected_rrhf, minimize_rrhf
from pbde_ref.exact.results import Certificate, ExpectedLoss, Optimum, Solution
from pbde_ref.exact.sample_size import PolicyError, comparisons_needed, comparisons_per_sample, policy_error
from pbde_ref.exact.selection import (
    barker_transition_matrix,
    detailed_balance_residual,
    hindsight_distribution,
    stationary_distribution,
    winners_distribution,
)
from pbde_ref.experiments.closed_loop import ClosedLoop, closed_loop
from pbde_ref.games import best_of_n, maximal_lottery, nash_policy
from pbde_ref.losses import (
    BatchLoss,
    annotator_mixture_loss,
    bradley_terry_loss,
    completion_mask,
    dpo_loss,
    geometric_loss,
    ipo_loss,
    kl_controlled_policy_gradient_loss,
    length_normalized_loss,
    pairwise_loss,
    pbde_loss,
    rrhf_loss,
    rso_loss,
    sequence_log_probs,
    sequence_log_probs_vjp,
    slic_loss,
    token_log_probs_from_logits,
    token_log_probs_vjp,
)
from pbde_ref.objectives import BRADLEY_TERRY, Objective, as_objective, hinge, ipo
from pbde_ref.paper_problem import PaperProblem, paper_problem
from pbde_ref.pbde import PBDE, dpo, geometric_average, length_normalized, luce
from pbde_ref.prompts import (
    LogLinearOptimum,
    LogLinearPolicies,
    minimize_at_prompts,
    minimize_log_linear,
    prompt_pairs,
)
from pbde_ref.proposals import JointProposal, PairListProposal, ProductProposal
from pbde_ref.sampling import (
    Comparisons,
    RejectionSample,
    rso_distribution,
    sample_barker_chain,
    sample_comparisons,
    sample_counts,
    sample_optimal_policy,
    sample_outcomes,
    sample_pairs,
    sample_preferences,
)

__all__ = [
    "BRADLEY_TERRY",
    "PBDE",
    "Annotator",
    "AnnotatorMixture",
    "BatchLoss",
    "Certificate",
    "ClosedLoop",
    "ComparisonFit",
    "Comparisons",
    "ConditionalDistribution",
    "DecisionProcess",
    "Design",
    "ExpectedLoss",
    "FiniteDistribution",
    "GaussianPrior",
    "Identifiability",
    "IpoSolution",
    "JointProposal",
    "LimitFit",
    "LogLinearOptimum",
    "LogLinearPolicies",
    "MixtureLoss",
    "MixtureSolution",
    "NextComparison",
    "NoFiniteEstimateError",
    "NormalizingConstant",
    "Objective",
    "Optimum",
    "PairListProposal",
    "PaperProblem",
    "PolicyError",
    "PolicySolution",
    "PreferenceMatrix",
    "ProcessIdentification",
    "ProductProposal",
    "Prompts",
    "PseudoCounts",
    "RRHFSolution",
    "RejectionSample",
    "SlicSolution",
    "Solution",
    "annotator_influence",
    "annotator_mixture_loss",
    "as_objective",
    "asymptotic_covariance",
    "barker_transition_matrix",
    "best_of_n",
    "bradley_terry_loss",
    "clipped_surrogate",
    "clipped_surrogate_maximum",
    "closed_loop",
    "compare_annotator_models",
    "comparison_components",
    "comparisons_needed",
    "comparisons_per_sample",
    "completion_mask",
    "design_value",
    "detailed_balance_residual",
    "difference_variances",
    "distributional_policy_gradient",
    "dpo",
    "dpo_loss",
    "expected_cross_entropy",
    "expected_entropy",
    "expected_excess_loss",
    "expected_hessian",
    "expected_hessian_vector_product",
    "expected_kl",
    "expected_loss",
    "expected_mixture_hessian",
    "expected_mixture_loss",
    "expected_rrhf",
    "expected_slic",
    "finite_fit_exists",
    "fisher_information",
    "fit_annotator_mixture",
    "fit_comparisons",
    "geometric_average",
    "geometric_loss",
    "geometric_mean",
    "gradient_ascent",
    "hindsight_distribution",
    "hinge",
    "identifiability",
    "identify_process",
    "identity_preference_objective",
    "ipo",
    "ipo_closed_form",
    "ipo_loss",
    "ipo_optimum",
    "ipo_winners",
    "kl_controlled_objective",
    "kl_controlled_policy_gradient_loss",
    "kl_divergence",
    "length_normalized",
    "length_normalized_loss",
    "limit_fit",
    "log_partition",
    "luce",
    "maximal_lottery",
    "minimize_at_prompts",
    "minimize_expected_loss",
    "minimize_log_linear",
    "minimize_product_loss",
    "minimize_rrhf",
    "minimize_rso",
    "minimize_slic",
    "mixture",
    "nash_policy",
    "next_comparison",
    "normalized_log_policy",
    "normalizing_constant",
    "optimal_design",
    "optimal_policy",
    "optimum",
    "pairwise_loss",
    "paper_problem",
    "pbde_loss",
    "policy_error",
    "policy_gradient",
    "product_of_experts",
    "prompt_pairs",
    "psi_closed_form",
    "read_comparisons",
    "rrhf_loss",
    "rso_distribution",
    "rso_loss",
    "sample_barker_chain",
    "sample_comparisons",
    "sample_counts",
    "sample_optimal_policy",
    "sample_outcomes",
    "sample_pairs",
    "sample_preferences",
    "sequence_log_probs",
    "sequence_log_probs_vjp",
    "slic_loss",
    "stationary_distribution",
    "stigler_citations",
    "tilt",
    "token_log_probs_from_logits",
    "token_log_probs_vjp",
    "total_variation",
    "truncated_normal",
    "uniform",
    "win_probabilities",
    "winners_distribution",
]

_ROOMS = (
    "aggregation", "catalogue", "design", "docket", "estimation", "exact", "experiments", "figures", "games", "losses",
    "models", "online", "oracle", "paper", "prompts", "sampling", "strategies", "vectors", "verification",
)  # fmt: skip
_PARTS = (
    "Annotator", "AnnotatorMixture", "FiniteDistribution", "JointProposal", "Optimum", "PBDE", "PairListProposal",
    "PreferenceMatrix", "ProductProposal", "check_loss", "dpo", "expected_kl", "expected_loss", "fit_comparisons",
    "geometric_average", "identifiability", "length_normalized", "luce", "minimize_expected_loss", "mixture",
    "optimal_policy", "optimum", "paper_problem", "total_variation", "truncated_normal", "uniform",
)  # fmt: skip


def __dir__() -> list[str]:
    """The rooms and what most people need; every name of `__all__` can be imported."""
    return [*_PARTS, *_ROOMS, "__version__"]


def __getattr__(name: str) -> _Any:
    """Rooms, and what would make the import slow."""
    if name == "__version__":
        return _version("pbde-ref")
    if name == "check_loss":
        return _import_module("pbde_ref.oracle").check_loss
    if name in _ROOMS:
        try:
            return _import_module(f"pbde_ref.{name}")
        except ModuleNotFoundError as error:
            # What asks a module for all that it has, as `help` and completion do, expects nothing else.
            raise AttributeError(f"`pbde_ref.{name}` needs {error.name}, which is not installed") from error
    raise AttributeError(f"module 'pbde_ref' has no attribute {name!r}")
