"""SLiC-HF and RSO, Eq. (20) and (21): expected hinge losses, and their optima with duality gaps."""

from pbde_ref.exact.hinge.slic import SlicSolution, expected_slic, minimize_rso, minimize_slic

__all__ = ["SlicSolution", "expected_slic", "minimize_rso", "minimize_slic"]
