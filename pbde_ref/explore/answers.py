"""From settings to numbers: what one loss learns from annotators on a grid, and the Python that says the same."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture
from pbde_ref.catalogue import LOSSES, optimum
from pbde_ref.catalogue.losses import loss_named, optimum_parameters
from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution, mixture, total_variation, truncated_normal, uniform
from pbde_ref.experiments.atlas import LETTERS, RULES
from pbde_ref.pbde import PBDE, dpo, geometric_average, luce
from pbde_ref.proposals import ProductProposal
from pbde_ref.validation import FloatArray, choice, instance, number, positive_number, switch, vector, whole_number

__all__ = ["EXPLORED", "PAIRS", "PROCESSES", "Settings", "answer", "fixed_settings", "numbers_of", "python_of"]

PROCESSES: Mapping[str, Callable[[float, FiniteDistribution], PBDE]] = {
    "luce": lambda strength, reference: luce(),
    "dpo": dpo,
    "geometric_average": geometric_average,
}
"""How annotators answer: from a strength (β or α) and the reference to a process."""
PAIRS = ("reference", "uniform", "preference")
MOST_ANNOTATORS = 6
# Arguments that stand for the problem, and are no numbers to turn.
_GIVEN = ("reference", "lengths", "ties", "tokens", "f", "g", "n_annotators", "noise", "n_starts", "rng")


def numbers_of(loss: str) -> dict[str, Any]:
    """Numbers and words that a loss can be given, and values to begin with.

    Examples
    --------
    >>> numbers_of("dpo")
    {'beta': 1.0, 'label_smoothing': 0.0, 'variant': 'cdpo'}
    """
    known, declared = optimum_parameters(loss), loss_named(loss).parameters
    generic = {name: 1.0 if name == "beta" else parameter.generic for name, parameter in declared.items()}
    return {
        name: generic[name] if default is inspect.Parameter.empty else default
        for name, default in known.items()
        if name not in _GIVEN
    }


EXPLORED = tuple(name for name, loss in LOSSES.items() if loss.optimum and name != "pbde")
"""The losses that one can pick; `pbde` with the Luce rule is `bradley_terry`."""


@dataclass(frozen=True, eq=False)
class Settings(Shown):
    """A problem on a grid of [-10, 10], and a loss.

    Attributes
    ----------
    annotators : sequence of (weight, mean, deviation)
        Truncated normal densities, at most 6.
    several : bool
        Whether each answers by itself, Eq. (25), or one answers whose p* is their mixture, Eq. (24).
    process, strength : str, float
        How they answer: "luce", "dpo" or "geometric_average", with β or α.
    loss, parameters : str, mapping
        A name of `EXPLORED`, and what `numbers_of` says; the rest has its default.
    pairs : str
        What both answers of a pair are drawn from: "reference", "uniform" or "preference".
    reference : (mean, deviation)
    length_ratio : float
        Length of positive values, in units of that of the others; only where the loss cannot do without lengths.
    size : int
        Grid points, 16 to 512.

    Raises
    ------
    TypeError, ValueError
        If one is of another kind or out of range.

    Examples
    --------
    >>> Settings(loss="ipo", parameters={"tau": 0.1}).parameters
    {'tau': 0.1}
    """

    annotators: tuple[tuple[float, float, float], ...] = ((0.4, -2.5, 0.25), (0.6, 2.5, 1.0))
    several: bool = False
    process: str = "luce"
    strength: float = 1.0
    loss: str = "dpo"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pairs: str = "reference"
    reference: tuple[float, float] = (0.0, 5.0)
    length_ratio: float = 2.0
    size: int = 256

    def __post_init__(self) -> None:
        for name, allowed in (("process", PROCESSES), ("loss", EXPLORED), ("pairs", PAIRS)):
            choice(name, getattr(self, name), allowed)
        switch("several", self.several)
        instance("annotators", self.annotators, (list, tuple), "a list")
        instance("parameters", self.parameters, Mapping, "numbers by name")
        whole_number("number of annotators", len(self.annotators), least=1, most=MOST_ANNOTATORS)
        checked = {
            "annotators": tuple(_numbers("an annotator", row, 3) for row in self.annotators),
            "reference": _numbers("reference", self.reference, 2),
            "strength": positive_number("strength", self.strength),
            "length_ratio": positive_number("length_ratio", self.length_ratio),
            "size": whole_number("size", self.size, least=16, most=512),
            "parameters": {name: _parameter(self.loss, name, value) for name, value in self.parameters.items()},
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def numbers(self) -> dict[str, Any]:
        """All numbers and words of the loss."""
        return numbers_of(self.loss) | dict(self.parameters)

    @property
    def needs(self) -> tuple[str, ...]:
        """What the loss's optimum is given beside its numbers: "reference", "lengths"."""
        known = optimum_parameters(self.loss)
        lengths = known.get("lengths") is inspect.Parameter.empty
        return ("reference",) * ("reference" in known) + ("lengths",) * lengths


def _numbers(name: str, values: Any, size: int) -> tuple[Any, ...]:
    """Finite numbers, the last of them a deviation that the grid can show."""
    found = vector(name, values)
    if found.size != size:
        raise ValueError(f"`{name}` must have {size} numbers; got {found.size}")
    positive_number(f"deviation of {name}", found[-1], least=0.05)
    return tuple(number(name, value) for value in found)


def _parameter(loss: str, name: str, value: Any) -> Any:
    known = numbers_of(loss)
    first = known[choice(f"parameters of {loss}", name, known)]
    if isinstance(first, str):
        instance(name, value, str, "a word")
        return value
    return whole_number(name, value, least=2, most=64) if isinstance(first, int) else number(name, value)


def python_of(settings: Settings) -> str:
    """The Python that computes what `answer` does, line by line.

    Examples
    --------
    >>> print(python_of(Settings(size=64)))
    import numpy as np
    import pbde_ref as pb
    <BLANKLINE>
    grid = np.linspace(-10.0, 10.0, 64)
    reference = pb.truncated_normal(grid, 0.0, 5.0)
    densities = [
        pb.truncated_normal(grid, -2.5, 0.25),
        pb.truncated_normal(grid, 2.5, 1.0),
    ]
    p_star = pb.mixture([0.4, 0.6], densities)
    process = pb.luce()
    annotator = pb.Annotator(p_star, process)
    pairs = pb.ProductProposal(reference)
    found = pb.optimum("dpo", annotator, pairs, beta=1.0, reference=reference)
    print(found)
    """
    instance("settings", settings, Settings, "Settings")
    s = settings
    weights = [weight for weight, _, _ in s.annotators]
    densities = [f"    pb.truncated_normal(grid, {mean!r}, {deviation!r})," for _, mean, deviation in s.annotators]
    process = "pb.luce()" if s.process == "luce" else f"pb.{s.process}({s.strength!r}, reference)"
    each = f"pb.AnnotatorMixture({weights}, [pb.Annotator(p, process) for p in densities])"
    pairs = {"reference": "reference", "uniform": "pb.uniform(grid)", "preference": "p_star"}[s.pairs]
    defaults = optimum_parameters(s.loss)
    words = [f"{name}={value!r}" for name, value in s.numbers.items() if value != defaults[name]]
    words += [f"{name}={name}" for name in s.needs]
    return "\n".join(
        [
            "import numpy as np", "import pbde_ref as pb", "",
            f"grid = np.linspace(-10.0, 10.0, {s.size})",
            f"reference = pb.truncated_normal(grid, {s.reference[0]!r}, {s.reference[1]!r})",
            "densities = [", *densities, "]",
            f"p_star = pb.mixture({weights}, densities)",
            f"process = {process}",
            f"annotator = {each if s.several else 'pb.Annotator(p_star, process)'}",
            f"pairs = pb.ProductProposal({pairs})",
            *[f"lengths = np.where(grid > 0.0, {s.length_ratio!r}, 1.0)"] * ("lengths" in s.needs),
            f'found = pb.optimum("{s.loss}", annotator, pairs{"".join(f", {word}" for word in words)})',
            "print(found)",
        ]
    )  # fmt: skip


def answer(settings: Settings) -> dict[str, Any]:
    r"""What the loss learns, as JSON has it: all curves, the annotators' utilities, and what proves the optimum.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    dict
        Probabilities of the grid's points (``preference``, ``reference``, ``policy``, and of each annotator
        ``densities``), logarithms and utilities in nats, ``certificate`` with the fields of `Optimum`,
        ``distances`` (total variation from the policy), and ``python``. What is infinite or undefined is None.

    Raises
    ------
    ValueError, TypeError
        If a number is out of the loss's range.

    Examples
    --------
    >>> found = answer(Settings(size=64))
    >>> found["certificate"]["converged"], round(found["distances"]["preference"], 3)
    (True, 0.028)
    """
    instance("settings", settings, Settings, "Settings")
    s = settings
    grid = np.linspace(-10.0, 10.0, s.size)
    reference = truncated_normal(grid, *s.reference)
    weights = [weight for weight, _, _ in s.annotators]
    densities = [truncated_normal(grid, mean, deviation) for _, mean, deviation in s.annotators]
    p_star, process = mixture(weights, densities), PROCESSES[s.process](s.strength, reference)
    answering = densities if s.several else [p_star]
    annotators = [Annotator(p, process) for p in answering]
    annotator = AnnotatorMixture(weights, annotators) if s.several else annotators[0]
    drawn_from = {"reference": reference, "uniform": uniform(grid), "preference": p_star}[s.pairs]
    given = {"reference": reference, "lengths": np.where(grid > 0.0, s.length_ratio, 1.0)}
    found = optimum(s.loss, annotator, ProductProposal(drawn_from), **s.numbers,
                    **{name: given[name] for name in s.needs})  # fmt: skip
    others = {"preference": p_star, "reference": reference}
    policy = found.policy
    distances = {} if policy is None else {name: total_variation(policy, other) for name, other in others.items()}
    proved = ("loss", "gap", "utility_error", "policy_error", "converged", "unique", "proof", "steps", "reason")
    return {
        "settings": asdict(s),
        "python": python_of(s),
        "grid": grid.tolist(),
        **{name: other.pmf.tolist() for name, other in others.items()},
        "densities": [p.pmf.tolist() for p in densities],
        "shares": annotator.weights.tolist() if isinstance(annotator, AnnotatorMixture) else [1.0],
        "utilities": [_finite(process.utility(p.log_pmf)) for p in answering],
        "policy": None if policy is None else policy.pmf.tolist(),
        "log_policy": None if policy is None else _finite(policy.log_pmf),
        "distances": distances,
        "certificate": {name: _json(getattr(found, name)) for name in proved},
    }


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _finite(values: FloatArray) -> list[float | None]:
    return [_json(value) for value in values.tolist()]


def fixed_settings(start: Settings) -> Iterable[Settings]:
    """The paper's losses at the paper's values, from annotators that `start` names; one after another.

    Examples
    --------
    >>> [s.parameters["beta"] for s in fixed_settings(Settings()) if s.loss == "dpo" and not s.several]
    [1.0, 1.0, 4.0, 16.0]
    """
    for name, rule in RULES.items():
        if rule.family != "paper" or not isinstance(rule.loss, str):
            continue
        several, shared = name.startswith(("pooled", "two")), name == "dpo_shared"
        for values in product(*rule.sweep.values()):
            numbers = dict(zip(rule.sweep, values, strict=True))
            yield replace(start, loss=rule.loss, parameters=numbers, several=several,
                          process="dpo" if shared else "luce", strength=numbers["beta"] if shared else 1.0)  # fmt: skip


def choices() -> dict[str, Any]:
    """What the page offers: losses with their formulas and numbers, processes, pairs."""
    losses = {}
    for name in EXPLORED:
        record = LOSSES[name]
        rules = {n: p.rule for n, p in record.parameters.items()}
        losses[name] = {
            "title": record.title,
            "formula": record.formula or record.equation,
            "lengths": "lengths" in Settings(loss=name).needs,
            "numbers": [
                {"name": n, "letter": LETTERS.get(n, n.replace("_", " ")), "value": v, "rule": rules.get(n, "whole")}
                for n, v in numbers_of(name).items()
            ],
        }
    return {"losses": losses, "processes": list(PROCESSES), "pairs": list(PAIRS), "start": asdict(Settings())}
