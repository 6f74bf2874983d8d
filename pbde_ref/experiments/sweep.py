"""Any experiment over a grid of settings: one tidy table, a row for each point.

A point is one of `pbde_ref.experiments.runs`' experiments, in a folder of its own: it is computed anywhere, kept, and
not computed again, in whatever grid it turns up next.
"""

from __future__ import annotations

import ast
import csv
import inspect
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from itertools import permutations, product
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture
from pbde_ref.distributions import FiniteDistribution, total_variation, truncated_normal, uniform
from pbde_ref.estimation.connectivity import groups
from pbde_ref.estimation.likelihood import fit_comparisons
from pbde_ref.exact.mixtures.fitting import fit_annotator_mixture
from pbde_ref.experiments.atlas import atlas_row
from pbde_ref.experiments.language.settings import LanguageSettings, Workplace
from pbde_ref.experiments.language.settings import preset as language_preset
from pbde_ref.experiments.records import Record, file_digest
from pbde_ref.experiments.runs import Experiment, Progress, Reporter, Run, execute_all
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.experiments.toy.settings import preset as toy_preset
from pbde_ref.files import check_folder, content_digest, write_atomically
from pbde_ref.foreign import raised
from pbde_ref.pbde import luce
from pbde_ref.processes import Workers
from pbde_ref.proposals import JointProposal, ProductProposal
from pbde_ref.sampling.comparisons import sample_comparisons
from pbde_ref.validation import choice, instance, shown

__all__ = ["SUBJECTS", "Subject", "Sweep", "identification", "optimum", "subject_of", "sweep", "two_annotators"]

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Subject:
    """What can be swept.

    Attributes
    ----------
    summary : str
    settings : mapping
        Each setting's default, whose type its values have; `inspect.Parameter.empty` if it has none.
    experiment : callable
        From settings, a folder and a name to the experiment of one point.
    open_ended : bool
        Whether there are other settings, numbers or words.
    """

    summary: str
    settings: Mapping[str, Any]
    experiment: Callable[[Mapping[str, Any], Path, str], Experiment]
    open_ended: bool = False


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes
    ----------
    varied : tuple of str
        Settings with more than one value.
    settings, numbers : mapping of str to list
        Columns with an entry for each point; None where a point has no such number, or an infinite one.
    """

    varied: tuple[str, ...]
    settings: Mapping[str, list[Any]]
    numbers: Mapping[str, list[float | None]]

    def write(self, path: Path) -> Path:
        """Write the table to a path without ending: CSV, and parquet if pyarrow is installed; the CSV file's path."""
        columns = {**self.settings, **self.numbers}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        write_atomically(path.with_suffix(".csv"), text.getvalue().encode())
        if find_spec("pyarrow"):
            arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
            buffer = arrow.BufferOutputStream()
            parquet.write_table(arrow.table(columns), buffer)
            write_atomically(path.with_suffix(".parquet"), buffer.getvalue().to_pybytes())
        return path.with_suffix(".csv")

    def to_xarray(self) -> Any:
        """The numbers on the grid of what was varied, an `xarray.Dataset` (xarray must be installed).

        Raises
        ------
        ValueError
            If a setting has one value twice: the grid has two points at one place.
        """
        xarray = import_module("xarray")
        grid = {name: list(dict.fromkeys(self.settings[name])) for name in self.varied}
        shape = [len(values) for values in grid.values()]
        if any(len(column) != math.prod(shape) for column in self.settings.values()):
            raise ValueError(f"the settings must have each value once; got {', '.join(self.varied)!r:.100}")
        variables = {
            name: (self.varied, np.array(column, dtype=float).reshape(shape)) for name, column in self.numbers.items()
        }
        same = {name: column[0] for name, column in self.settings.items() if name not in grid}
        return xarray.Dataset(variables, coords=grid, attrs=same)


def sweep(
    subject: Subject | Callable[..., Numbers], over: Mapping[str, Sequence[Any]], folder: Path, *,
    settings: Mapping[str, Any] | None = None, executor: Workers = 1, reporter: Reporter | None = None,
) -> Sweep:  # fmt: skip
    """An experiment at every point of a grid of settings.

    Parameters
    ----------
    subject : Subject or callable
        A value of `SUBJECTS`, or a function of a module, from settings by keyword to numbers by name.
    over : mapping of str to sequence
        Values of the settings that make up the grid; the last one changes fastest.
    folder : Path
        Where points are kept.
    settings : mapping, optional
        Those that are the same everywhere.
    executor : int or concurrent.futures.Executor
        As of `pbde_ref.experiments.runs.execute_all`.

    Raises
    ------
    ValueError
        If a setting is unknown, has no value, or is given twice.

    Examples
    --------
    >>> import tempfile
    >>> from pbde_ref.experiments.sweep import optimum, sweep
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = sweep(optimum, {"beta": [1.0, 4.0]}, Path(folder), settings={"size": 32})
    >>> [round(distance, 2) for distance in found.numbers["kl_reference"]]
    [1.04, 0.45]
    """
    subject = subject if isinstance(subject, Subject) else subject_of(subject)
    settings, empty = {} if settings is None else settings, inspect.Parameter.empty
    instance("over", over, Mapping, "a mapping from names to lists of values")
    instance("settings", settings, Mapping, "a mapping from names to values")
    for values in over.values():
        instance("over", values, (Sequence, np.ndarray), "lists of values")
    instance("folder", folder, (str, PathLike), "a path")
    check_folder(folder)
    folder = Path(folder)
    for name in (*over, *settings):
        if not subject.open_ended and name not in subject.settings:
            choice("over", name, subject.settings)
        if name in over and (name in settings or not len(over[name])):
            raise ValueError(f"`over` must have values of {name}, which is no other setting; got {over[name]!r:.100}")
    given = {*over, *settings}
    missing = [name for name, default in subject.settings.items() if default is empty and name not in given]
    if missing:
        raise ValueError(f"the settings must have {missing[0]!r}; got {', '.join([*over, *settings]) or 'none'}")
    points = [{**settings, **dict(zip(over, values, strict=True))} for values in product(*map(_plain, over.values()))]
    experiments = [subject.experiment(point, folder / _digest(point), _label(point, over)) for point in points]
    found = execute_all(experiments, executor=executor, reporter=reporter)
    rows = [_row(records) for records in found]
    names = dict.fromkeys(name for row in rows for name in row)
    return Sweep(
        tuple(name for name, values in over.items() if len(values) > 1),
        {name: [point[name] for point in points] for name in (*settings, *over)},
        {name: [row.get(name) for row in rows] for name in names},
    )


def _plain(values: Any) -> list[Any]:
    # JSON has no word for NumPy's numbers.
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _digest(point: Mapping[str, Any]) -> str:
    try:
        return content_digest(point)[:16]
    except (TypeError, ValueError, RecursionError):
        raise TypeError(f"`over` and `settings` must be numbers, words, or lists of them; got {shown(point)}") from None


def _label(point: Mapping[str, Any], over: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={point[name]}" for name in over)


def _row(records: Mapping[str, Record]) -> dict[str, float | None]:
    """Numbers by name, and by run if there are several."""
    of_run = "{}.{}" if len(records) > 1 else "{1}"
    return {of_run.format(r, n): value for r, record in records.items() for n, value in record.numbers.items()}


def subject_of(function: Callable[..., Numbers]) -> Subject:
    """A function of a module, from settings by keyword to numbers by name, as what can be swept."""
    try:
        parameters, own = inspect.signature(function).parameters.values(), function.__qualname__
        inspect.getsourcefile(function)
    except Exception:
        raise _no_function(function) from None
    wide = any(p.kind is p.VAR_KEYWORD for p in parameters)
    settings = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}

    @cache
    def stamp() -> dict[str, str]:
        # What a changed function has left is of no use. Every process that finds the function here makes a subject of
        # it: only the one that asks for experiments reads the sources.
        try:
            return {"function": own, "source": content_digest(_sources(function))}
        except Exception:
            raise _no_function(function) from None

    def experiment(point: Mapping[str, Any], folder: Path, name: str) -> Experiment:
        runs = [Run("result", partial(_result, function))]
        return Experiment(runs, point, folder, {**point, **stamp()}, name=name)

    summary = (inspect.getdoc(function) or own).split("\n")[0]
    return Subject(summary, settings, experiment, wide)


def _no_function(function: object) -> TypeError:
    return TypeError(f"`subject` must be a Subject or a function of a module; got {shown(function)}")


def _sources(function: Callable[..., Numbers]) -> dict[str, str]:
    """Digests of the function's file and of what it imports, directly or not, from its package or its folder."""
    source = inspect.getsourcefile(function)
    if source is None:
        return {}
    package, folder, found = function.__module__.partition(".")[0], Path(source).resolve().parent, dict[str, str]()
    waiting = [(function.__module__, Path(source))]
    while waiting:
        name, file = waiting.pop()
        found[name] = file_digest(file)
        for other in _imported(name, file) - found.keys():
            inside = other.startswith(f"{package}.")
            if "." in other and not inside:
                # To find it would import the package that it is in.
                continue
            try:
                spec = find_spec(other)
            except (ImportError, ValueError, AttributeError):
                continue
            origin = Path(spec.origin or "") if spec else Path()
            if origin.suffix == ".py" and (inside or origin.resolve().parent == folder):
                waiting.append((other, origin))
    return found


def _imported(name: str, file: Path) -> frozenset[str]:
    """Modules that a file names in import statements, wherever they stand; and what may be one."""
    try:
        return _imported_by(name if file.name == "__init__.py" else name.rpartition(".")[0], file.read_bytes())
    except OSError:
        return frozenset()


@cache
def _imported_by(package: str, source: bytes) -> frozenset[str]:
    # A hundred files are parsed in a second, and the same ones for every subject.
    found = set[str]()
    try:
        tree = ast.parse(source)
    except (ValueError, SyntaxError):
        return frozenset()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def _result(
    function: Callable[..., Numbers], settings: Mapping[str, Any], needed: Mapping[str, Record], progress: Progress
) -> Record:
    try:
        numbers = {name: float(value) for name, value in function(**settings).items()}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # One that ends the process would look as if all had been computed.
        raise ValueError(f"`subject` must return numbers by name; it raised {raised(error)}") from error
    if not numbers or not all(isinstance(name, str) and name.isprintable() for name in numbers):
        raise ValueError(f"`subject` must return numbers by name; it returned {shown(numbers)}")
    return Record("", {}, {name: value if math.isfinite(value) else None for name, value in numbers.items()}, {})


# --- What there is to sweep ---


def optimum(loss: str = "dpo", size: int = 256, **parameters: float) -> Numbers:
    """What a loss learns on the paper's problem: exact optimum, and its distances from p* and from the reference."""
    row = atlas_row(loss, size=size, **parameters)
    left, right = row.mode_masses
    found = row.optimum
    numbers = {"loss": found.loss, "gap": found.gap, "converged": float(found.converged)}
    return numbers | row.distances | {"mass_left": left, "mass_right": right}


def two_annotators(
    outcomes: int = 64, distance: float = 5.0, width: float = 1.5, weight: float = 0.5, noise: float = 1e-4,
    starts: int = 1, max_steps: int = 1000, seed: int = 0,
) -> Numbers:  # fmt: skip
    """Whether EM tells two annotators apart: normal densities at a distance, answers pooled, Eq. (30) fitted."""
    grid = np.linspace(-10.0, 10.0, outcomes)
    truth = [truncated_normal(grid, place, width) for place in (-0.5 * distance, 0.5 * distance)]
    shares = np.array([weight, 1.0 - weight])
    annotator = AnnotatorMixture(shares, [Annotator(p, luce()) for p in truth])
    fit = fit_annotator_mixture(
        annotator, ProductProposal(uniform(grid)), reference=uniform(grid), noise=noise, n_starts=starts,
        max_steps=max_steps, rng=seed,
    )  # fmt: skip
    marginal = FiniteDistribution.from_weights(sum(w * p.pmf for w, p in zip(shares, truth, strict=True)), grid)
    apart, order = min(
        (max(total_variation(fit.densities[i], truth[k]) for k, i in enumerate(order)), order)
        for order in permutations(range(2))
    )
    return {
        "loss": fit.loss, "steps": fit.steps, "converged": fit.converged,
        "total_variation": total_variation(fit.policy, marginal), "worst_component": apart,
        "weight_error": abs(fit.weights[order[0]] - weight),
    }  # fmt: skip


def identification(items: int = 20, comparisons: int = 60, spread: float = 1.0, seed: int = 0) -> Numbers:
    """Whether comparisons of random pairs have a finite estimate, how much of the items they join, and its error."""
    rng = np.random.default_rng(seed)
    truth = FiniteDistribution(rng.normal(scale=spread, size=items))
    pairs = JointProposal(1.0 - np.eye(items))
    drawn = sample_comparisons(Annotator(truth, luce()), pairs, comparisons, rng=rng)
    found = groups(drawn.chosen, drawn.rejected, items)
    finite = found.strong.max() == 0
    numbers = {"finite": float(finite), "groups": 1.0 + found.weak.max(), "largest": float(found.main.mean())}
    if finite:
        fit = fit_comparisons(drawn.chosen, drawn.rejected, support=range(items))
        numbers["total_variation"] = float(0.5 * np.abs(fit.distribution.pmf - truth.pmf).sum())
    return numbers


def _toy(point: Mapping[str, Any], folder: Path, name: str) -> Experiment:
    # Autograd is wanted here alone.
    from pbde_ref.experiments.toy.catalogue import FIGURES, runs_of

    changes: dict[str, Any] = {key: (value,) if _is_list(ToySettings, key) else value for key, value in point.items()}
    figure, preset = (changes.pop(key, default) for key, default in (("figure", "figure-3"), ("preset", "paper")))
    if figure not in FIGURES:
        raise ValueError(f"`figure` must be one of {', '.join(FIGURES)}; got {figure!r:.100}")
    settings = toy_preset(preset, **changes)
    return Experiment(runs_of([figure], settings), settings, folder, asdict(settings), name=name)


def _language(point: Mapping[str, Any], folder: Path, name: str) -> Experiment:
    from pbde_ref.experiments.language.catalogue import experiment

    changes = dict(point)
    preset, corpus = changes.pop("preset", "laptop"), changes.pop("corpus", None)
    return experiment(Workplace(language_preset(preset, **changes), folder, corpus or None), name)


def _is_list(kind: Any, name: str) -> bool:
    return any(field.name == name and str(field.type).startswith("tuple") for field in fields(kind))


SUBJECTS: Mapping[str, Subject] = {
    "optimum": subject_of(optimum), "two-annotators": subject_of(two_annotators),
    "identification": subject_of(identification),
    "toy": Subject("A univariate figure of the paper, trained again; a list of settings takes one value at a time.",
                   {"figure": "figure-3", "preset": "paper", **asdict(ToySettings())}, _toy),
    "language": Subject("Table 2 and Fig. 6 on language models that are trained for it.",
                        {"preset": "laptop", "corpus": "", **asdict(LanguageSettings())}, _language),
}  # fmt: skip
"""By name; see `subject_of` for functions of one's own."""
