"""Another way to `pbde_ref.experiments.atlas`."""

from pbde_ref.experiments.atlas import RULES as LOSSES
from pbde_ref.experiments.atlas import AtlasRow as Optimum
from pbde_ref.experiments.atlas import atlas as optima
from pbde_ref.experiments.atlas import atlas_row as optimum

__all__ = ["LOSSES", "Optimum", "optima", "optimum"]
