"""Hold other fitters of Bradley and Terry's model against the certified optimum."""

from pbde_ref.oracle.fitters.check import check_fitter

__all__ = ["check_fitter"]
