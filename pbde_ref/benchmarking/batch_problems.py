"""Batch losses with their inputs: for the benchmarks, and for a loss that somebody brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.catalogue import LOSSES, Loss
from pbde_ref.losses import BatchLoss

__all__ = ["BATCH_LOSSES", "BatchProblem", "batch_arrays"]

@dataclass(frozen=True)
class BatchProblem:
    """A loss of this package and how it is called here.

    Attributes
    ----------
    function : callable
        Takes the arrays by position and the parameters by keyword.
    arrays : tuple of str
    parameters : mapping of str to float
        Hyperparameters without a default, and the value used.
    torch : callable
        The same from PyTorch's functions: from the module, the tensors and the parameters to the mean loss.
    """

    function: Callable[..., BatchLoss]
    arrays: tuple[str, ...]
    parameters: Mapping[str, float]
    torch: Callable[..., Any]

    @property
    def differentiated(self) -> tuple[str, ...]:
        """Names of the arrays that the loss has gradients for."""
        return self.arrays[:2]


def batch_arrays(problem: BatchProblem, size: int, dtype: str = "float64") -> list[NDArray[Any]]:
    """Log-probabilities of sequences (or rewards, or lengths) such as training has, the same at every call."""
    rng = np.random.default_rng(2)
    values: dict[str, NDArray[Any]] = {}
    for side in ("chosen", "rejected"):
        lengths = rng.integers(20, 200, size)
        reference = -2.0 * lengths * rng.uniform(0.5, 1.5, size)
        values[f"{side}_lengths"] = lengths.astype(np.float64)
        values[f"reference_{side}"] = reference
        values[f"policy_{side}"] = np.minimum(reference + rng.normal(scale=5.0, size=size), -1e-3)
        values[f"{side}_rewards"] = rng.normal(size=size)
    return [values[name].astype(dtype) for name in problem.arrays]


def _log_ratio(pc: Any, pr: Any, rc: Any, rr: Any) -> Any:
    return (pc - rc) - (pr - rr)


def _sigmoid_loss(torch: Any, margin: Any) -> Any:
    return -torch.nn.functional.logsigmoid(margin).mean()


_IN_TORCH: Mapping[str, tuple[dict[str, float], Callable[..., Any]]] = {
    "bradley_terry": ({}, lambda t, c, r: _sigmoid_loss(t, c - r)),
    "dpo": ({"beta": 0.1}, lambda t, *batch, beta: _sigmoid_loss(t, beta * _log_ratio(*batch))),
    "geometric": (
        {"alpha": 0.5},
        lambda t, pc, pr, rc, rr, alpha: _sigmoid_loss(t, ((pc - pr) - (1.0 - alpha) * (rc - rr)) / alpha),
    ),
    "length_normalized": (
        {"scale": 2.0}, lambda t, pc, pr, lc, lr, scale: _sigmoid_loss(t, scale * (pc / lc - pr / lr))
    ),
    "ipo": ({"tau": 0.1}, lambda t, *batch, tau: ((_log_ratio(*batch) - 0.5 / tau) ** 2).mean()),
    "rso": ({"delta": 1.0}, lambda t, *batch, delta: t.relu(delta - _log_ratio(*batch)).mean()),
    "slic": ({"delta": 1.0}, lambda t, pc, pr, delta: t.relu(delta - (pc - pr)).mean()),
}  # fmt: skip


def _problem(record: Loss) -> BatchProblem:
    assert record.batch is not None
    parameters, torch = _IN_TORCH[record.name]
    return BatchProblem(record.batch, tuple(i.name for i in record.inputs(record.generic)), parameters, torch)


BATCH_LOSSES: Mapping[str, BatchProblem] = {name: _problem(LOSSES[name]) for name in _IN_TORCH}
