"""How long it takes to be told whether an implementation of DPO is right, or which bug it has."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pbde_ref.benchmarking.contests import needs
from pbde_ref.oracle import Report, check_loss

__all__ = ["FixedVectors", "FirstTry"]  # noqa: RUF022 (the order of the tables)

BETA = 0.3
BUG = "β applied twice"


def numpy_dpo(chosen: Any, rejected: Any, reference_chosen: Any, reference_rejected: Any) -> Any:
    """DPO, Eq. (13)."""
    return np.logaddexp(0.0, -BETA * ((chosen - rejected) - (reference_chosen - reference_rejected))).mean()


def torch_dpo(chosen: Any, rejected: Any, reference_chosen: Any, reference_rejected: Any) -> Any:
    """The same on PyTorch's tensors."""
    import torch

    gap = (chosen - rejected) - (reference_chosen - reference_rejected)
    return -torch.nn.functional.logsigmoid(BETA * gap).mean()


def torch_dpo_with_a_bug(chosen: Any, rejected: Any, reference_chosen: Any, reference_rejected: Any) -> Any:
    """The same with one factor β too many."""
    import torch

    gap = (chosen - rejected) - (reference_chosen - reference_rejected)
    return -torch.nn.functional.logsigmoid(BETA * BETA * gap).mean()


def jax_dpo(chosen: Any, rejected: Any, reference_chosen: Any, reference_rejected: Any) -> Any:
    """The same on JAX's arrays."""
    import jax

    gap = (chosen - rejected) - (reference_chosen - reference_rejected)
    return -jax.nn.log_sigmoid(BETA * gap).mean()


def check(function: Callable[..., Any]) -> Report:
    """The whole report."""
    return check_loss(function, "dpo", beta=BETA, on_failure="report")


def first_try(function: Callable[..., Any]) -> None:
    """Print the seconds that the checks take, and the diagnoses."""
    start = time.perf_counter()
    report = check(function)
    print(time.perf_counter() - start, *report.diagnoses)


class FixedVectors:
    """All checks of a right implementation, when its framework has been used before"""

    params = (["dpo"],)
    quick_params = params
    param_names = ("loss",)

    def setup(self, loss: str) -> None:
        pass

    def time_numpy(self, loss: str) -> Report:
        return check(numpy_dpo)

    @needs("torch")
    def time_torch(self, loss: str) -> Report:
        return check(torch_dpo)

    @needs("jax")
    def time_jax(self, loss: str) -> Report:
        return check(jax_dpo)

    def track_failed_numpy(self, loss: str) -> int:
        return _failed(self.time_numpy(loss))

    @needs("torch")
    def track_failed_torch(self, loss: str) -> int:
        return _failed(self.time_torch(loss))

    @needs("jax")
    def track_failed_jax(self, loss: str) -> int:
        return _failed(self.time_jax(loss))


class FirstTry:
    """A new process that imports all it needs and checks one function; "checking" is without the imports"""

    params = (["dpo"],)
    quick_params = params
    param_names = ("loss",)

    def setup(self, loss: str) -> None:
        pass

    def time_numpy(self, loss: str) -> list[str]:
        return _in_a_new_process(numpy_dpo)

    @needs("torch")
    def time_torch(self, loss: str) -> list[str]:
        return _in_a_new_process(torch_dpo)

    @needs("torch")
    def time_torch_with_a_bug(self, loss: str) -> list[str]:
        return _in_a_new_process(torch_dpo_with_a_bug)

    @needs("jax")
    def time_jax(self, loss: str) -> list[str]:
        return _in_a_new_process(jax_dpo)

    def track_checking_numpy(self, loss: str) -> float:
        return float(self.time_numpy(loss)[0])

    @needs("torch")
    def track_checking_torch(self, loss: str) -> float:
        return float(self.time_torch(loss)[0])

    @needs("jax")
    def track_checking_jax(self, loss: str) -> float:
        return float(self.time_jax(loss)[0])

    @needs("torch")
    def track_named_torch_with_a_bug(self, loss: str) -> int:
        """1 if the report says which bug it is."""
        return int(BUG in " ".join(self.time_torch_with_a_bug(loss)))


def _failed(report: Report) -> int:
    return sum(result.status == "failed" for result in report.results)


def _in_a_new_process(function: Callable[..., Any]) -> list[str]:
    name = function.__name__
    script = f"from {__name__} import first_try, {name}; first_try({name})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return run.stdout.split(maxsplit=1)
