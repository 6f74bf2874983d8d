"""Another way to `pbde_ref.exact.policy_optimization`."""

from pbde_ref.exact.policy_optimization import (
    PolicySolution,
    gradient_ascent,
    kl_controlled_objective,
    log_partition,
    policy_gradient,
)

__all__ = ["PolicySolution", "gradient_ascent", "kl_controlled_objective", "log_partition", "policy_gradient"]
