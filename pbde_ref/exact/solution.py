"""Another way to `pbde_ref.exact.results`."""

from pbde_ref.exact.results import *  # noqa: F403
