"""Design of comparisons: which pairs to ask, how much that saves, and what proves that nothing saves more."""

from pbde_ref.design.criteria import design_value
from pbde_ref.design.optimal import Design, optimal_design

__all__ = ["Design", "design_value", "optimal_design"]
