"""Another way to `pbde_ref.exact.linear_time.kernel_sums`."""

from pbde_ref.exact.linear_time.kernel_sums import *  # noqa: F403
