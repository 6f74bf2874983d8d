"""Another way to `pbde_ref.exact.lengths.sentence_classes`."""

from pbde_ref.exact.lengths.sentence_classes import (
    ProjectedPolicy,
    checked_lengths,
    length_distribution,
    merged_process,
    projected_policy,
)

__all__ = ["ProjectedPolicy", "checked_lengths", "length_distribution", "merged_process", "projected_policy"]
