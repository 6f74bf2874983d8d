"""What `check_training` says: the two errors, and of which objective the policy is the optimum, if that can be told.

A policy that is still on its way to one objective's optimum can lie near another's optimum for some odd value of that
one's parameter. So an objective is named outright only if its parameter is one that a slip would explain; otherwise it
is said how far training has come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from pbde_ref.oracle.training.rivals import UNTRAINED, Fit

__all__ = ["describe"]

# The number that the loss is declared with.
_PARAMETERS = {"dpo": "beta", "geometric": "alpha", "ipo": "tau", "rso": "delta", "slic": "delta"}


class _Report(Protocol):
    """What is described; read-only."""

    @property
    def subject(self) -> str: ...
    @property
    def loss(self) -> str: ...
    @property
    def conventions(self) -> Mapping[str, Any]: ...
    @property
    def support_size(self) -> int: ...
    @property
    def n_comparisons(self) -> int: ...
    @property
    def training_error(self) -> float: ...
    @property
    def finite_data_error(self) -> float: ...
    @property
    def progress(self) -> float: ...
    @property
    def repeat_error(self) -> float: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def fits(self) -> tuple[Fit, ...]: ...
    @property
    def passed(self) -> bool: ...


def describe(report: _Report) -> str:
    """The message of a report on a trainer that returned a policy."""
    declared = ", ".join([report.loss, *(f"{name}={value}" for name, value in report.conventions.items())])
    lines = [
        f"{report.subject} declared as {declared}: {report.n_comparisons} comparisons of {report.support_size} "
        "outcomes",
        f"  training error    {report.training_error:8.3g}  trained policy to this sample's exact optimum; "
        f"at most {report.tolerance:g}",
        f"  finite-data error {report.finite_data_error:8.3g}  this sample's optimum to the population's; "
        "not the trainer's doing",
        *([] if math.isnan(report.repeat_error) else [
            f"  repeat error      {report.repeat_error:8.3g}  between two identical calls in a row; "
            f"at most {report.tolerance:g}"]),
        "  (unit: from the reference to this sample's optimum)",
    ]
    return "\n".join([*lines, *(f"  {sentence}" for sentence in _verdict(report))])


def _verdict(report: _Report) -> list[str]:
    if report.passed:
        return ["The policy is the optimum of its sample."]
    if report.training_error <= report.tolerance:
        return [
            "The policy was the optimum of its sample, but a second identical call ended elsewhere: something is kept "
            "from one call to the next (an optimiser, a policy that goes on from where it was, a reference that was "
            "trained), or chance decides.",
        ]
    best = report.fits[0]
    if best.objective == UNTRAINED and best.distance < 1e-6:
        return [
            f"The objective fitted best: {best}: no step was taken, or the gradient is zero where the policy is the "
            "reference, as that of relu(-m) + log1p(exp(-|m|)) is at m = 0 in PyTorch and JAX (TRL #1627).",
        ]
    reason = _reason(best, report)
    if best.distance <= report.tolerance and reason is not None:
        return [f"The objective fitted best: {best}{reason}."]
    nearest = "; ".join(str(fit) for fit in report.fits[:3])
    if 0.0 < report.progress < 1.0:
        return [
            f"The policy has come {100.0 * report.progress:.0f} % of the way from the reference to the optimum: "
            "training may have stopped early, or its steps are too large at the end.",
            f"Otherwise, the objectives with the nearest optima: {nearest}.",
        ]
    if best.distance <= report.tolerance:
        return [f"The objective fitted best: {best}."]
    return [f"No known objective's optimum is within {report.tolerance:g}. Nearest: {nearest}."]


def _reason(fit: Fit, report: _Report) -> str | None:
    """Where a fit's parameter comes from, in words to add to it; None if nothing explains it."""
    if not fit.parameter:
        return ""
    name = _PARAMETERS.get(report.loss)
    declared = 1.0 if name is None else float(report.conventions[name])
    you = "" if name is None else f" (you declared {name}={declared:g}"
    if you and report.conventions.get("label_smoothing") and "smoothing" not in fit.objective:
        you += f" and label_smoothing={report.conventions['label_smoothing']:g}"
    reasons = {you and you + ")": declared}
    if fit.parameter == name:
        reasons |= {
            f"{you}; this is {name} squared, as if applied twice)": declared**2,
            f"{you}; this is 1, as if {name} were not used)": 1.0,
            f"{you}; this is 1/{name})": 1.0 / declared,
            f"{you}; this is -{name}, as if chosen and rejected were exchanged)": -declared,
            f"{you}; this is half of {name})": declared / 2.0,
            f"{you}; this is twice {name})": 2.0 * declared,
        }
    else:
        reasons |= {"": 1.0, f"{you}; this is 1/{name})": 1.0 / declared}
    # On its way a policy passes near other optima, but hardly ever through them.
    unexplained = "" if fit.distance < 0.02 * report.tolerance else None
    return next((words for words, value in reasons.items() if abs(fit.value - value) <= 0.02 * abs(value)), unexplained)
