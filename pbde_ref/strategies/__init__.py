"""Hypothesis strategies for the objects of the package and for what batch losses take."""

from pbde_ref.strategies.at_prompts import conditional_distributions, prompt_problems, prompts
from pbde_ref.strategies.objects import (
    KINDS,
    PairBatch,
    Problem,
    RankingBatch,
    TokenBatch,
    annotator_mixtures,
    annotators,
    betas,
    distributions,
    generators,
    mixture_batches,
    pair_batches,
    pbdes,
    preference_matrices,
    problems,
    proposals,
    ranking_batches,
    reward_batches,
    sizes,
    smoothings,
    token_batches,
    utilities,
    vectors,
    zero_outcomes,
)

__all__ = [
    "KINDS", "PairBatch", "Problem", "RankingBatch", "TokenBatch", "annotator_mixtures", "annotators", "betas",
    "conditional_distributions", "distributions", "generators", "mixture_batches", "pair_batches", "pbdes",
    "preference_matrices", "problems", "prompt_problems", "prompts", "proposals", "ranking_batches", "reward_batches",
    "sizes", "smoothings", "token_batches", "utilities", "vectors", "zero_outcomes",
]  # fmt: skip
