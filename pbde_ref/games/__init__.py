"""Any preferences at all, cyclic ones among them: what no other policy beats, how self-play gets there, best of N."""

from pbde_ref.games.best_of_n import BestOfN, best_of_n
from pbde_ref.games.equilibria import Equilibrium, maximal_lottery, nash_policy
from pbde_ref.games.intransitivity import Intransitivity, NearestAnnotator, intransitivity, nearest_annotator
from pbde_ref.games.self_play import SelfPlay, self_play

__all__ = [
    "BestOfN", "Equilibrium", "Intransitivity", "NearestAnnotator", "SelfPlay", "best_of_n", "intransitivity",
    "maximal_lottery", "nash_policy", "nearest_annotator", "self_play",
]  # fmt: skip
