"""How long it takes to be told whether an implementation of a loss is right, or which bug it has."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from pbde_ref.benchmarking.contests import needs
from pbde_ref.oracle import Report, check_loss
from pbde_ref.oracle.selftest.sources import Subject, build

__all__ = ["FixedVectors", "FirstTry", "FirstBug"]  # noqa: RUF022 (the order of the tables)

SUBJECTS = {"dpo": Subject("dpo", "dpo", {"beta": 0.3}), "mixture": Subject("mixture", "mixture")}
BUG, RIGHT, WRONG = "β applied twice", "beta * (", "beta * beta * ("


def check(loss: str, framework: str, old: str = "", new: str = "") -> Report:
    """The whole report on an implementation, in which `new` stands for `old`."""
    subject = SUBJECTS[loss]
    conventions: dict[str, Any] = {**subject.conventions, "framework": framework, "on_failure": "report"}
    return check_loss(build(subject, framework, old, new), loss, **conventions)


def first_try(loss: str, framework: str, old: str = "", new: str = "") -> None:
    """Print the seconds that the checks take, and the diagnoses."""
    start = time.perf_counter()
    report = check(loss, framework, old, new)
    print(time.perf_counter() - start, *report.diagnoses)


class FixedVectors:
    """All checks of a right implementation, when its framework has been used before"""

    params = (list(SUBJECTS),)
    quick_params = (["dpo"],)
    param_names = ("loss",)

    def setup(self, loss: str) -> None:
        pass

    def time_numpy(self, loss: str) -> Report:
        return check(loss, "numpy")

    @needs("torch")
    def time_torch(self, loss: str) -> Report:
        return check(loss, "torch")

    @needs("jax")
    def time_jax(self, loss: str) -> Report:
        return check(loss, "jax")

    def track_failed_numpy(self, loss: str) -> int:
        return _failed(self.time_numpy(loss))

    @needs("torch")
    def track_failed_torch(self, loss: str) -> int:
        return _failed(self.time_torch(loss))

    @needs("jax")
    def track_failed_jax(self, loss: str) -> int:
        return _failed(self.time_jax(loss))


class FirstTry:
    """A new process that imports all it needs and checks one function; "checking" is without the package's imports"""

    params = (list(SUBJECTS),)
    quick_params = (["dpo"],)
    param_names = ("loss",)

    def setup(self, loss: str) -> None:
        pass

    def time_numpy(self, loss: str) -> list[str]:
        return _in_a_new_process(loss, "numpy")

    @needs("torch")
    def time_torch(self, loss: str) -> list[str]:
        return _in_a_new_process(loss, "torch")

    @needs("jax")
    def time_jax(self, loss: str) -> list[str]:
        return _in_a_new_process(loss, "jax")

    def track_checking_numpy(self, loss: str) -> float:
        return float(self.time_numpy(loss)[0])

    @needs("torch")
    def track_checking_torch(self, loss: str) -> float:
        return float(self.time_torch(loss)[0])

    @needs("jax")
    def track_checking_jax(self, loss: str) -> float:
        return float(self.time_jax(loss)[0])


class FirstBug:
    """A new process that imports all it needs and is told which bug its DPO has: "named" is 1 if it is the right one"""

    params = (["dpo"],)
    quick_params = params
    param_names = ("loss",)

    def setup(self, loss: str) -> None:
        pass

    def time_numpy(self, loss: str) -> list[str]:
        return _in_a_new_process(loss, "numpy", RIGHT, WRONG)

    @needs("torch")
    def time_torch(self, loss: str) -> list[str]:
        return _in_a_new_process(loss, "torch", RIGHT, WRONG)

    def track_named_numpy(self, loss: str) -> int:
        return _named(self.time_numpy(loss))

    @needs("torch")
    def track_named_torch(self, loss: str) -> int:
        return _named(self.time_torch(loss))


def _failed(report: Report) -> int:
    return sum(result.status == "failed" for result in report.results)


def _named(said: list[str]) -> int:
    return int(BUG in " ".join(said))


def _in_a_new_process(*arguments: str) -> list[str]:
    script = f"from {__name__} import first_try; first_try(*{arguments!r})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return run.stdout.split(maxsplit=1)
