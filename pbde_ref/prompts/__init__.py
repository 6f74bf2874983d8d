"""Answers to prompts: pairs within each, and certified regressions whose parameters all prompts share."""

from pbde_ref.prompts.log_linear import (
    LogLinearOptimum,
    LogLinearPolicies,
    LogLinearRegression,
    minimize_log_linear,
)
from pbde_ref.prompts.pairs import prompt_pairs
from pbde_ref.prompts.tabular import minimize_at_prompts

__all__ = [
    "LogLinearOptimum", "LogLinearPolicies", "LogLinearRegression", "minimize_at_prompts", "minimize_log_linear",
    "prompt_pairs",
]  # fmt: skip
