"""Another way to `pbde_ref.exact.lengths.length_bias`."""

from pbde_ref.exact.lengths.length_bias import (
    GROUP_PAIRS,
    LENGTH_BINS,
    IdealizedLanguageModel,
    bin_members,
    group_preference,
    least_scale,
    length_bias_table,
)

__all__ = [
    "GROUP_PAIRS", "LENGTH_BINS", "IdealizedLanguageModel", "bin_members", "group_preference", "least_scale",
    "length_bias_table",
]  # fmt: skip
