"""Figures that the package aims at, and whether a run met them; a missed one is reported as missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pbde_ref.benchmarking.batch_problems import BATCH_LOSSES
from pbde_ref.benchmarking.results import Measurement, Report
from pbde_ref.benchmarking.scaling import fitted_slope
from pbde_ref.benchmarking.timing import spread

__all__ = ["TARGETS", "Judgement", "Target", "judge"]


@dataclass(frozen=True)
class Target:
    """A bound on something measured.

    Attributes
    ----------
    statement : str
    contest, contender : str
    parameters : mapping
        Those of the measurement; "slope" is taken over all of its sizes.
    quantity : str
        "seconds", "ratio", "megabytes", "slope", or the name of something tracked.
    sense : {"at most", "at least"}
    bound : float
    beside : str
        The contender that a ratio is to, if it is not the contest's own.
    """

    statement: str
    contest: str
    contender: str
    parameters: Mapping[str, Any]
    quantity: str
    sense: str
    bound: float
    beside: str = ""

    def show(self, value: float) -> str:
        """The value with its unit."""
        units = {"seconds": " s", "ratio": " times", "megabytes": " MB"}
        return f"{value:.3g}{units.get(self.quantity, '')}"


@dataclass(frozen=True)
class Judgement:
    """A target and what was measured."""

    target: Target
    measured: float

    @property
    def met(self) -> bool:
        """Whether the bound holds."""
        at_most = self.target.sense == "at most"
        return self.measured <= self.target.bound if at_most else self.measured >= self.target.bound


def judge(report: Report) -> list[Judgement]:
    """All targets for which the report has a measurement."""
    judgements = []
    for target in TARGETS:
        there = [m for m in report.measurements if m.contest == target.contest]
        there = [m for m in there if target.parameters.items() <= dict(m.parameters).items()]
        members, others = ([m for m in there if m.contender == name] for name in (target.contender, target.beside))
        measured = _measured(target.quantity, members) if not target.beside else _beside(members, others)
        if measured is not None:
            judgements.append(Judgement(target, measured))
    return judgements


def _measured(quantity: str, members: list[Measurement]) -> float | None:
    if quantity == "slope":
        sizes = [m.parameters["n"] for m in members]
        # Over small sizes alone a slope says nothing about large ones.
        return fitted_slope(sizes, [m.time.median for m in members]) if sizes and max(sizes) >= 10**7 else None
    if not members:
        return None
    (member,) = members
    if quantity == "seconds":
        return member.time.median
    if quantity == "ratio":
        return member.ratio.median if member.ratio else None
    if quantity == "megabytes":
        return None if member.peak_bytes is None else member.peak_bytes / 1e6
    return member.tracked.get(quantity)


def _beside(members: list[Measurement], others: list[Measurement]) -> float | None:
    if not (members and others):
        return None
    (member,), (other,) = members, others
    return spread([one / two for one, two in zip(member.seconds, other.seconds, strict=True)]).median


def _at_most(statement: str, contest: str, contender: str, quantity: str, bound: float, **parameters: Any) -> Target:
    return Target(statement, contest, contender, parameters, quantity, "at most", bound)


def _others_take(least: float, statement: str, contest: str, contender: str, **parameters: Any) -> Target:
    return Target(statement, contest, contender, parameters, "ratio", "at least", least)


def _linear(n: int, kind: str, bound: float) -> Target:
    statement = f"expected KL in linear time, n = 10^{len(str(n)) - 1}, {kind}: times argsort"
    return Target(statement, "Linear", "kernel_sum", {"n": n, "kind": kind}, "ratio", "at most", bound, "argsort")


_DTYPES = ("float64", "float32")
TARGETS = (
    _linear(10**6, "30 nats", 1.0), _linear(10**6, "300 nats", 1.0), _linear(10**6, "2000 nats", 1.5),
    _linear(10**6, "a ≠ b", 2.0), _linear(10**6, "small KL", 4.0), _linear(10**7, "300 nats", 0.6),
    _at_most("the same, memory beyond the inputs", "Linear", "kernel_sum", "megabytes", 150.0, n=10**7),
    _at_most("the same, slope from n = 10^4 to 10^7", "Linear", "kernel_sum", "slope", 1.1, kind="300 nats"),
    _at_most("10^8 outcomes from memory maps", "LinearFromDisk", "kernel_sum", "seconds", 20.0, n=10**8),
    _at_most("the same, memory beyond the inputs", "LinearFromDisk", "kernel_sum", "megabytes", 2000.0, n=10**8),
    *(_others_take(bound, f"dense joint proposal, n = {n}: PyTorch with logits takes", "DenseJoint",
                   "torch_with_logits", n=n) for n, bound in ((64, 0.67), (256, 1.0), (1024, 1.0), (4096, 5.0))),
    _at_most("the same, memory beyond the inputs", "DenseJoint", "dense", "megabytes", 64.0, n=4096),
    *(_others_take(1.0 if n < 2**18 else 0.8, f"batch of {n} pairs, {loss}, {dtype}: PyTorch takes", "PairLosses",
                   "torch", loss=loss, n=n, dtype=dtype)
      for loss in BATCH_LOSSES for n in (64, 4096, 2**18) for dtype in _DTYPES),
    *(_others_take(1.5, f"from logits of {v} tokens and back, {dtype}: PyTorch takes", "SequenceLogProbs", "torch",
                   batch=4, vocabulary=v, dtype=dtype) for v in (8192, 32768, 131072) for dtype in _DTYPES),
    _at_most("projection of the paper's annotators, n = 10^5", "LinearProjection", "newton", "seconds", 0.5, n=10**5),
    _at_most("the same, n = 10^6", "LinearProjection", "newton", "seconds", 3.0, n=10**6),
    _at_most("the same, residual", "LinearProjection", "newton", "residual", 1e-13, n=10**6),
    _at_most("the same, certified gap", "LinearProjection", "newton", "gap", 1e-20, n=10**6),
    _at_most("projection, utilities over 50 nats, n = 10^5", "WideProjection", "newton", "seconds", 2.0, n=10**5),
    _at_most("log-linear DPO, 10^4 × 16 answers, 64 features", "LogLinear", "newton", "seconds", 5.0, features=64),
    _at_most("the same, certified gap", "LogLinear", "newton", "gap", 1e-12, features=64),
    _at_most("the same, memory beyond the inputs", "LogLinear", "newton", "megabytes", 1000.0, features=64),
    _others_take(1.0, "10^7 outcomes from 10^5: SciPy's alias urn takes", "ManyOutcomes", "scipy_alias_urn", n=10**5),
    _at_most("10^9 comparisons as counts, 256 outcomes", "Counts", "sample_counts", "seconds", 0.05, n=256),
    _at_most("the same, 1000 outcomes", "Counts", "sample_counts", "seconds", 0.5, n=1000),
    _others_take(3.0, "10^6 comparisons of 1000 items: evalica takes", "Fits", "evalica"),
    _others_take(5.0, "the same: choix takes", "Fits", "choix_ilsr"),
    _at_most("the same, largest gradient per comparison", "Fits", "fit_comparisons", "gradient", 1e-9),
    _at_most("10^7 comparisons of 10^5 items", "LargeFits", "fit_comparisons", "seconds", 8.0),
    _at_most("the same, memory beyond the inputs", "LargeFits", "fit_comparisons", "megabytes", 1000.0),
    _at_most("the same, largest gradient per comparison", "LargeFits", "fit_comparisons", "gradient", 1e-9),
    _others_take(1.0, "training step, 64 × 50 tokens, vocabulary 2000: PyTorch takes", "TrainingSteps", "torch",
                 lengths="full"),
    _others_take(1.0, "the same, half of it padding: PyTorch takes", "TrainingSteps", "torch", lengths="padded"),
    *(_at_most(f"oracle: all checks of {loss} in {name}, its import counted", "FirstTry", "checks", "checking", 2.0,
               loss=loss, framework=name)
      for loss, name in (("dpo", "numpy"), ("dpo", "torch"), ("dpo", "jax"), ("mixture", "jax"))),
    _at_most("from nothing to the name of a bug in PyTorch", "FirstBug", "checks", "seconds", 5.0, framework="torch"),
)  # fmt: skip
