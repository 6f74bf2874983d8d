"""Another way to `pbde_ref.strategies`."""

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
    "distributions", "generators", "mixture_batches", "pair_batches", "pbdes", "preference_matrices", "problems",
    "proposals", "ranking_batches", "reward_batches", "sizes", "smoothings", "token_batches", "utilities", "vectors",
    "zero_outcomes",
]  # fmt: skip
