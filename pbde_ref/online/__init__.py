"""Where the policy has a say in what is compared: fast samplers, what must be covered, too much of a wrong reward."""

from pbde_ref.online.coverage import offline_shortfall, online_shortfall
from pbde_ref.online.overoptimization import Overoptimization, best_of_n_rewards, overoptimization
from pbde_ref.online.samplers import OnlineRun, linear_rate, online_dpo

__all__ = [
    "OnlineRun", "Overoptimization", "best_of_n_rewards", "linear_rate", "offline_shortfall", "online_dpo",
    "online_shortfall", "overoptimization",
]  # fmt: skip
