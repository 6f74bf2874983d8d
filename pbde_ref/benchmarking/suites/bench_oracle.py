"""How long it takes to be told whether an implementation of a loss is right, or which bug it has."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from typing import Any

from pbde_ref.oracle import Report, check_loss
from pbde_ref.oracle.selftest.sources import Subject, build

__all__ = ["FixedVectors", "FirstTry", "FirstBug"]  # noqa: RUF022 (the order of the tables)

SUBJECTS = {"dpo": Subject("dpo", "dpo", {"beta": 0.3}), "mixture": Subject("mixture", "mixture")}
FRAMEWORKS = ["numpy", "torch", "jax"]
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

    params = (list(SUBJECTS), FRAMEWORKS)
    quick_params = (["dpo"], FRAMEWORKS)
    param_names = ("loss", "framework")

    def setup(self, loss: str, framework: str) -> None:
        if importlib.util.find_spec(framework) is None:
            raise NotImplementedError(f"{framework} is not installed")

    def time_checks(self, loss: str, framework: str) -> Report:
        return check(loss, framework)

    def accuracy(self, contender: str, answer: Report) -> dict[str, float]:
        return {"failed": sum(result.status == "failed" for result in answer.results)}


class FirstTry(FixedVectors):
    """A new process that imports all it needs and checks one function; "checking" is without the package's imports"""

    def time_checks(self, loss: str, framework: str) -> Any:
        return _in_a_new_process(loss, framework)

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        return {"checking": float(answer[0])}


class FirstBug(FixedVectors):
    """A new process that imports all it needs and is told which bug its DPO has: "named" is 1 if it is the right one"""

    params = (["dpo"], FRAMEWORKS)

    def time_checks(self, loss: str, framework: str) -> Any:
        return _in_a_new_process(loss, framework, RIGHT, WRONG)

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        return {"named": BUG in " ".join(answer)}


def _in_a_new_process(*arguments: str) -> list[str]:
    script = f"from {__name__} import first_try; first_try(*{arguments!r})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return run.stdout.split(maxsplit=1)
