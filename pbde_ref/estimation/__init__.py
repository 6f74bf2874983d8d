"""Estimates from comparisons that somebody really made: reading them, fitting them, saying how sure the result is."""

from pbde_ref.estimation.annotator_models import AnnotatorModels, HeldOutScore, compare_annotator_models
from pbde_ref.estimation.bootstrap import bootstrap_utilities
from pbde_ref.estimation.connectivity import NoFiniteEstimateError
from pbde_ref.estimation.examples import stigler_citations, stigler_file
from pbde_ref.estimation.identification import ProcessIdentification, identify_process
from pbde_ref.estimation.likelihood import fit_comparisons, fit_rankings
from pbde_ref.estimation.priors import GaussianPrior, PseudoCounts
from pbde_ref.estimation.profile import profile_intervals
from pbde_ref.estimation.reading import read_comparisons
from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.estimation.sources import BadLine, DataError
from pbde_ref.estimation.table import ComparisonTable, comparison_table

__all__ = [
    "AnnotatorModels", "BadLine", "ComparisonFit", "ComparisonTable", "DataError", "GaussianPrior", "HeldOutScore",
    "NoFiniteEstimateError", "ProcessIdentification", "PseudoCounts", "bootstrap_utilities",
    "compare_annotator_models", "comparison_table", "fit_comparisons", "fit_rankings", "identify_process",
    "profile_intervals", "read_comparisons", "stigler_citations", "stigler_file",
]  # fmt: skip
