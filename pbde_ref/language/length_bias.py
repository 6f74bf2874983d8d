"""Another way to `pbde_ref.exact.lengths.length_bias`."""

from pbde_ref.exact.lengths.length_bias import *  # noqa: F403
