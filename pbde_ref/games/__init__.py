"""Any preferences at all, cyclic ones among them: what is best against everybody, and what best of N draws."""

from pbde_ref.games.best_of_n import BestOfN, best_of_n

__all__ = ["BestOfN", "best_of_n"]
