"""RRHF, Eq. (19): its expected loss, and its optimum with a lower bound from each order of the scores."""

from pbde_ref.exact.ranking.rrhf import RRHFLoss, RRHFSolution, expected_rrhf, minimize_rrhf

__all__ = ["RRHFLoss", "RRHFSolution", "expected_rrhf", "minimize_rrhf"]
