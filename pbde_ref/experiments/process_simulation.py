r"""How often comparisons of simulated annotators reveal their process: size, power, coverage of `identify_process`.

Answers have 5 to 15 tokens; the reference gives each :math:`\log \pi_{pre} = -2 - 0.3\,|x| - e`, e exponential with
mean 1.5, and the annotator :math:`\log p^* = \log \pi_{pre} - e'`, e' exponential with mean 2. Each is seen once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from pbde_ref.estimation.connectivity import NoFiniteEstimateError
from pbde_ref.estimation.identification import COLUMNS, PROCESSES, ProcessIdentification, identify_process
from pbde_ref.numerics import sigmoids
from pbde_ref.pbde import PBDE, length_normalized, luce
from pbde_ref.validation import FloatArray, choice, generator_of, whole_number

__all__ = ["TRUTHS", "SimulatedProcess", "simulate_processes", "simulated_pairs"]

TRUTHS: dict[str, float | None] = {"Luce": None, "DPO": 0.3, "length-normalised": 10.0, "geometric": 1.5}
"""Processes and their true parameters."""


@dataclass(frozen=True, eq=False)
class SimulatedProcess:
    """What came out for one true process.

    Attributes
    ----------
    name : str
    parameter : float or None
    repetitions, separated : int
        Data sets drawn, and those left out because a rule explains them without exception.
    rejected, chosen : dict of str to float
        Share of the data sets in which each process was rejected at 5 %, and in which its AIC was least.
    mean, spread : float or None
        Of the estimates of the parameter.
    covered : float or None
        Share of the parameter's 95 % intervals that hold the truth.
    coefficients_covered : ndarray, shape (4,)
        The same of the regression's coefficients.
    """

    name: str
    parameter: float | None
    repetitions: int
    separated: int
    rejected: dict[str, float]
    chosen: dict[str, float]
    mean: float | None
    spread: float | None
    covered: float | None
    coefficients_covered: FloatArray


def simulated_pairs(name: str, pairs: int, rng: Any = None) -> dict[str, Any]:
    """Log-probabilities and lengths of chosen and rejected answers, as `identify_process` takes them.

    Examples
    --------
    >>> sorted(simulated_pairs("DPO", 3, rng=0))
    ['lengths', 'log_p', 'log_reference']
    """
    choice("name", name, TRUTHS)
    rng, pairs = generator_of(rng), whole_number("pairs", pairs)
    lengths = rng.integers(5, 16, (2, pairs)).astype(np.float64)
    log_reference = -2.0 - 0.3 * lengths - rng.exponential(1.5, lengths.shape)
    log_p = log_reference - rng.exponential(2.0, lengths.shape)
    utilities = _process(name, log_reference.ravel(), lengths.ravel()).utility(log_p.ravel()).reshape(2, pairs)
    won = rng.random(pairs) < sigmoids(utilities[0] - utilities[1])[0]
    data = {"log_p": log_p, "log_reference": log_reference, "lengths": lengths}
    return {key: np.where(won, value, value[::-1]) for key, value in data.items()}


def _process(name: str, log_reference: FloatArray, lengths: FloatArray) -> PBDE:
    parameter = TRUTHS[name]
    if parameter is None:
        return luce()
    if name == "length-normalised":
        return length_normalized(lengths, parameter)
    return PBDE(parameter, -parameter * log_reference) if name == "DPO" else PBDE(
        1.0 / parameter, (1.0 - 1.0 / parameter) * log_reference
    )


def simulate_processes(
    repetitions: int, pairs: int = 500, *, rng: Any = None, progress: Callable[[], object] | None = None
) -> list[SimulatedProcess]:
    """Draw data sets of each process, identify it, and count.

    Examples
    --------
    >>> [found.name for found in simulate_processes(1, 100, rng=0)]
    ['Luce', 'DPO', 'length-normalised', 'geometric']
    """
    whole_number("repetitions", repetitions, least=1)
    whole_number("pairs", pairs, least=10)
    streams = generator_of(rng).spawn(len(TRUTHS))
    return [_simulated(*one, repetitions, pairs, progress) for one in zip(TRUTHS, streams, strict=True)]


def _simulated(name: str, rng: Any, repetitions: int, pairs: int, progress: Any) -> SimulatedProcess:
    found: list[ProcessIdentification] = []
    for _ in range(repetitions):
        with suppress(NoFiniteEstimateError):
            found.append(identify_process(**simulated_pairs(name, pairs, rng)))
        if progress is not None:
            progress()
    if not found:
        raise ValueError(f"`pairs` must be so many that not every data set has a rule without exceptions; got {pairs}")
    count, truth = len(found), TRUTHS[name]
    _, fixed, free = PROCESSES[name]
    factor = 0.0 if truth is None else 1.0 / truth if name == "geometric" else truth
    right = np.array([fixed.get(column, 0.0) + factor * free.get(column, 0.0) for column in COLUMNS])
    inside = [np.abs(one.coefficients - right) <= 1.959964 * one.errors for one in found]
    own = [next(test for test in one.processes if test.name == name) for one in found]
    estimates, errors = np.array([(test.parameter, test.error) for test in own], dtype=np.float64).reshape(-1, 2).T
    known = truth is not None
    rejections = np.mean([[test.p_value < 0.05 for test in one.processes] for one in found], axis=0)
    return SimulatedProcess(
        name=name, parameter=truth, repetitions=repetitions, separated=repetitions - len(found),
        rejected=dict(zip(PROCESSES, rejections.tolist(), strict=True)),
        chosen={key: sum(one.best.name == key for one in found) / count for key in PROCESSES},
        mean=float(estimates.mean()) if known else None,
        spread=float(estimates.std()) if known else None,
        covered=float((np.abs(estimates - (truth or 0.0)) <= 1.959964 * errors).mean()) if known else None,
        coefficients_covered=np.mean(inside, axis=0),
    )  # fmt: skip
