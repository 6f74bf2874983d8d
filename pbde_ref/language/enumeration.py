"""Another way to `pbde_ref.exact.lengths.enumeration`."""

from pbde_ref.exact.lengths.enumeration import (
    ending_probabilities,
    random_token_tables,
    sentence_distribution,
    sentence_lengths,
)

__all__ = ["ending_probabilities", "random_token_tables", "sentence_distribution", "sentence_lengths"]
