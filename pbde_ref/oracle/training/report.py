"""What `check_training` gives back and says: the two errors, and whose optimum the policy is, if that can be told.

A policy that is still on its way to one objective's optimum can lie near another's optimum for some odd value of that
one's parameter. So an objective is named outright only if its parameter is one that a slip would explain; otherwise it
is said how far training has come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from pbde_ref.catalogue import LOSSES
from pbde_ref.oracle.training.rivals import UNTRAINED, Fit
from pbde_ref.validation import FloatArray

__all__ = ["TrainingError", "TrainingReport", "describe"]


@dataclass(frozen=True, eq=False)
class TrainingReport:
    """How a trained policy relates to the exact optimum of its sample.

    Attributes
    ----------
    subject, loss : str
        The trainer's name and the objective that it was declared to minimise.
    conventions : mapping of str to object
        The objective's parameters. Read-only.
    support_size, n_comparisons, seed : int
        Of the sample.
    log_probs, sample_optimum, population_optimum, reference_log_probs : ndarray, shape (n,)
        Log-probabilities: what `train` returned, the exact optimum of the sample and of the population that it was
        drawn from, and where training starts. The first is all NaN if `train` returned no policy.
    training_error : float
        Distance of the trained policy from the sample's optimum.
    finite_data_error : float
        Distance of the sample's optimum from the population's: what no trainer could have avoided.
    progress : float
        How far the policy has come in the direction from the reference to the sample's optimum: 0 untrained, 1 there.
    repeat_error : float
        Distance between what two identical calls in a row returned. NaN if the first did not pass, or there was no
        second.
    tolerance : float
        Largest training error, and largest repeat error, that passes.
    fits : tuple of Fit
        Objectives by how near their optima come to the trained policy, the nearest first.
    message : str
        What was found, in words.
    n_prompts : int
    passed : bool
        Whether both errors are within the tolerance.
    """

    subject: str
    loss: str
    conventions: Mapping[str, Any]
    support_size: int
    n_comparisons: int
    seed: int
    log_probs: FloatArray
    sample_optimum: FloatArray
    population_optimum: FloatArray
    reference_log_probs: FloatArray
    training_error: float
    finite_data_error: float
    progress: float
    repeat_error: float
    tolerance: float
    fits: tuple[Fit, ...]
    message: str
    n_prompts: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "conventions", MappingProxyType(dict(self.conventions)))

    def __reduce__(self) -> Any:
        # A read-only mapping cannot be sent to other processes.
        given = (getattr(self, field.name) for field in fields(self))
        return TrainingReport, tuple(dict(x) if isinstance(x, MappingProxyType) else x for x in given)

    @property
    def passed(self) -> bool:
        """Whether both errors are within the tolerance."""
        repeats = np.isnan(self.repeat_error) or self.repeat_error <= self.tolerance
        return bool(self.training_error <= self.tolerance and repeats)

    def __str__(self) -> str:
        return self.message

    def as_dict(self) -> dict[str, Any]:
        """The report in types that JSON has; numbers that do not exist are None."""
        numbers = ("training_error", "finite_data_error", "progress", "repeat_error", "tolerance")
        number = {name: _finite(getattr(self, name)) for name in numbers}
        arrays = {
            name: [_finite(x) for x in getattr(self, name)]
            for name in ("log_probs", "sample_optimum", "population_optimum", "reference_log_probs")
        }
        fits = [
            {"objective": f.objective, "parameter": f.parameter, "value": _finite(f.value), "distance": f.distance}
            for f in self.fits
        ]
        named = ("subject", "loss", "support_size", "n_prompts", "n_comparisons", "seed")
        plain = {name: getattr(self, name) for name in named}
        conventions = {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in self.conventions.items()}
        return {**plain, "conventions": conventions, "passed": self.passed, "message": self.message, **number, **arrays,
                "fits": fits}  # fmt: skip


class TrainingError(AssertionError):
    """Training did not end at the optimum; `report` has the details."""

    def __init__(self, report: TrainingReport) -> None:
        super().__init__(f"\n{report}")
        self.report = report


def describe(report: TrainingReport) -> str:
    """The message of a report on a trainer that returned a policy."""
    declared = ", ".join([report.loss, *(f"{name}={value}" for name, value in report.conventions.items())])
    lines = [
        f"{report.subject} declared as {declared}: {report.n_comparisons} comparisons of {report.support_size} "
        f"{'outcomes' if report.n_prompts == 1 else f'answers to {report.n_prompts} prompts'}",
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


def _verdict(report: TrainingReport) -> list[str]:
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
            "reference, as that of relu(-m) + log1p(exp(-|m|)) is at m = 0 in PyTorch and JAX (TRL #1627); or "
            "margins are centred over all prompts, or the batch: by Jensen's inequality the reference is best then.",
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


def _reason(fit: Fit, report: TrainingReport) -> str | None:
    """Where a fit's parameter comes from, in words to add to it; None if nothing explains it."""
    if not fit.parameter:
        return ""
    name = _main_parameter(report.loss)
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


def _main_parameter(loss: str) -> str | None:
    """The number that the loss has to be declared with, if there is one."""
    if loss not in LOSSES:
        return None
    return next((name for name, p in LOSSES[loss].parameters.items() if p.default is None), None)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
