"""Another way to `pbde_ref.exact.linear_time.minimizer`."""

from pbde_ref.exact.linear_time.minimizer import *  # noqa: F403
