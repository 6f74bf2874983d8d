"""Another way to `pbde_ref.exact.policy_optimization`."""

from pbde_ref.exact.policy_optimization import *  # noqa: F403
