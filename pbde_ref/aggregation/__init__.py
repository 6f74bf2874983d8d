"""What is learnt from many annotators at once, held against the rules and the welfare that social choice asks for."""

from pbde_ref.aggregation.distortion import WorstCase, distortion, largest_distortion, worst_distortion
from pbde_ref.aggregation.voting import borda_scores, condorcet_winner, minority_losses, pareto_violations

__all__ = [
    "WorstCase", "borda_scores", "condorcet_winner", "distortion", "largest_distortion", "minority_losses",
    "pareto_violations", "worst_distortion",
]  # fmt: skip
