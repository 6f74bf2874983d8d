"""Runs the pieces of experiments, anywhere; keeps each finished one, and goes on where it was stopped.

Every piece is a function of the settings and of other pieces' results alone: who computes it changes nothing but the
time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pbde_ref.experiments.records import Record, file_digest, read_record, write_record
from pbde_ref.files import content_digest
from pbde_ref.processes import TICK, Call, Workers, finished
from pbde_ref.threads import one_blas_thread
from pbde_ref.validation import instance, whole_number

__all__ = ["Experiment", "Reporter", "Run", "execute", "execute_all", "runs_folder"]

Progress = Callable[[int, float], object]
Compute = Callable[[Any, Mapping[str, Record], Progress], Record]


@dataclass(frozen=True)
class Run:
    """A piece of work whose result is kept by itself.

    Attributes
    ----------
    name : str
        Also the name of its file.
    compute : callable
        Settings, the results of `needs` by name, and a callable for progress (steps done, loss), to a `Record`. A
        function of a module, or a `functools.partial` of one, which other processes can find.
    needs : tuple of str
        Names of runs that come first.
    steps : int
        How much work it is, for the progress bar and for starting long runs first.
    threaded : bool
        Whether it divides its work among threads itself, in a way that its result does not depend on. Otherwise it has
        one BLAS thread: how a machine's BLAS divides a product changes its last digits.
    """

    name: str
    compute: Compute
    needs: tuple[str, ...] = ()
    steps: int = 1
    threaded: bool = False
    files: tuple[str, ...] = ()


class Reporter:
    """Who is told how far things are; this one does not listen."""

    def start(self, steps: int) -> None:
        """So many steps are ahead."""

    def advance(self, name: str, steps: int, loss: float) -> None:
        """A run has done `steps` more."""

    def finished(self, record: Record) -> None:
        """A run has ended and is stored."""

    def kept(self, name: str) -> None:
        """A run was found finished."""

    def outdated(self, name: str) -> None:
        """A stored result is of another run, or damaged, and is computed again."""


@dataclass(frozen=True)
class Experiment:
    """Runs with the same settings, and where their results are kept.

    Attributes
    ----------
    runs : sequence of Run
        Together with all that they need.
    settings : object
        Handed to each run.
    folder : Path
        Made if it does not exist; ``<name>.json`` for each finished run.
    identity : mapping
        The settings as JSON has them. A stored result counts only if it was computed with the same ones, by the same
        version of this package, from the results that its needs have now, and if it and its files are as they were
        written. What was of other settings is computed again, and replaced: give each a folder, see `runs_folder`.
    name : str
        Stands before the names of its runs where progress is reported.
    """

    runs: Sequence[Run]
    settings: Any
    folder: Path
    identity: Mapping[str, Any]
    name: str = ""


def execute(
    runs: Sequence[Run], settings: Any, folder: Path, *, identity: Mapping[str, Any], executor: Workers = 1,
    reporter: Reporter | None = None,
) -> dict[str, Record]:  # fmt: skip
    """Results of all runs of one `Experiment` by name, computed unless the folder has them; see `execute_all`."""
    experiment = Experiment(runs, settings, folder, identity)
    return execute_all([experiment], executor=executor, reporter=reporter)[0]


def execute_all(
    experiments: Sequence[Experiment], *, executor: Workers = 1, reporter: Reporter | None = None
) -> list[dict[str, Record]]:
    """Results of all runs of some experiments by name, computed unless their folders have them.

    Parameters
    ----------
    experiments : sequence of Experiment
        In folders of their own.
    executor : int or concurrent.futures.Executor
        So many processes of this machine, 1 being this process, or who else computes the runs. The results do not
        depend on it. Records are written by this process.
    reporter : Reporter, optional

    Raises
    ------
    ValueError
        If a run needs one that is not there.
    """
    if not isinstance(executor, Executor):
        executor = whole_number("executor", executor, least=1, most=1024)
    reporter = Reporter() if reporter is None else reporter
    instance("reporter", reporter, Reporter, "a Reporter")
    works = [_Work(experiment, reporter) for experiment in experiments]
    reporter.start(sum(run.steps for work in works for run in work.waiting))
    begun: dict[str, tuple[_Work, Run]] = {}
    reached: dict[str, int] = {}
    notes: dict[str, Path] = {}

    def report(label: str, steps: int, loss: float) -> None:
        reporter.advance(label, steps - reached.get(label, 0), loss)
        reached[label] = steps

    def read_notes() -> None:
        for label, path in notes.items():
            with suppress(OSError, ValueError):
                steps, loss = path.read_text().split()
                report(label, int(steps), float(loss))

    with ExitStack() as stack:

        def take() -> Call | None:
            ready = [(work, run) for work in works for run in work.waiting if all(n in work.done for n in run.needs)]
            if not ready:
                return None
            # The longest first, so that no process is left with one at the end.
            work, run = max(ready, key=lambda one: one[1].steps)
            work.waiting.remove(run)
            label = work.label(run.name)
            begun[label] = work, run
            progress: Progress = partial(report, label)
            if executor != 1:
                notes[label] = work.notes(stack) / run.name
                progress = _Note(str(notes[label]))
            return Call(label, _computed, (run, work.settings, {n: work.done[n] for n in run.needs}, progress))

        for label, result in finished(take, executor, read_notes):
            notes.pop(label, None)
            work, run = begun[label]
            record = work.store(run, result)
            report(label, run.steps, float("nan"))
            reporter.finished(replace(record, name=label))
            for kept in work.keep():
                reporter.advance(work.label(kept.name), kept.steps, float("nan"))
    return [{run.name: work.done[run.name] for run in work.runs} for work in works]


def runs_folder(folder: Path, identity: Mapping[str, Any]) -> Path:
    """A folder in `folder` for runs with these settings alone, of this version of the package.

    Examples
    --------
    >>> runs_folder(Path("runs"), {"seed": 0}) == runs_folder(Path("runs"), {"seed": 1})
    False
    """
    return folder / content_digest(_stamp(identity))[:16]


def _stamp(identity: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it, so that what is read back can be equal."""
    stamp: dict[str, Any] = json.loads(json.dumps({**identity, "version": version("pbde-ref")}))
    return stamp


class _Work:
    """An experiment under way: what its folder holds, what is done, what waits."""

    def __init__(self, experiment: Experiment, reporter: Reporter) -> None:
        self.runs, self.settings, self._reporter = experiment.runs, experiment.settings, reporter
        self._name, self._folder, self._stamp = experiment.name, experiment.folder, _stamp(experiment.identity)
        names = [run.name for run in self.runs]
        for run in self.runs:
            for need in run.needs:
                if need not in names:
                    raise ValueError(f"`runs` must hold what {run.name!r} needs, {need!r}; got {', '.join(names)}")
        self._folder.mkdir(parents=True, exist_ok=True)
        self.waiting, self.done = list(self.runs), dict[str, Record]()
        self._stored: dict[str, Record] = {}
        self._notes: Path | None = None
        for run in self.runs:
            if self._path(run).exists():
                record = self._found(run)
                if record is None:
                    reporter.outdated(self.label(run.name))
                else:
                    self._stored[run.name] = record
        self.keep()

    def label(self, name: str) -> str:
        """What a run is called among those of other experiments."""
        return f"{self._name}/{name}" if self._name else name

    def notes(self, stack: ExitStack) -> Path:
        """A folder where runs say how far they are; it goes with the stack."""
        if self._notes is None:
            self._notes = Path(stack.enter_context(TemporaryDirectory(prefix=".progress-", dir=self._folder)))
        return self._notes

    def store(self, run: Run, result: Record) -> Record:
        """Write a run's record. What comes back is what a later command would find, whoever else writes here."""
        record = replace(
            result, name=run.name, settings=self._stamp, files=self._digests(run), sources=self._sources(run), digest=""
        )
        self.done[run.name] = write_record(self._path(run), record)
        return self.done[run.name]

    def keep(self) -> list[Run]:
        """Take over stored results whose needs are done, if they were computed from these; the runs that were."""
        kept = []
        for run in self.waiting:
            if run.name in self._stored and all(need in self.done for need in run.needs):
                record = self._stored.pop(run.name)
                if dict(record.sources) == self._sources(run):
                    self.done[run.name] = record
                    kept.append(run)
                    self._reporter.kept(self.label(run.name))
                else:
                    self._reporter.outdated(self.label(run.name))
        self.waiting = [run for run in self.waiting if run not in kept]
        return kept + self.keep() if kept else kept

    def _path(self, run: Run) -> Path:
        return self._folder / f"{run.name}.json"

    def _digests(self, run: Run) -> dict[str, str]:
        return {name: file_digest(self._folder / name) for name in run.files}

    def _found(self, run: Run) -> Record | None:
        """The record, if it is this run's and whole."""
        path = self._path(run)
        if not path.is_file():
            raise ValueError(f"`folder` must hold files alone; got something else in {str(path)!r}")
        try:
            record = read_record(path)
        except ValueError:
            return None
        mine = record.name == run.name and dict(record.settings) == self._stamp
        return record if mine and dict(record.files) == self._digests(run) else None

    def _sources(self, run: Run) -> dict[str, str]:
        return {need: self.done[need].digest for need in run.needs}


def _computed(run: Run, settings: Any, needed: Mapping[str, Record], progress: Progress) -> Record:
    with nullcontext() if run.threaded else one_blas_thread():
        return run.compute(settings, needed, progress)


class _Note:
    """Progress of a run somewhere else, left in a file, if that place has the folder."""

    def __init__(self, path: str) -> None:
        self.path, self._again = path, 0.0

    def __call__(self, steps: int, loss: float) -> None:
        """Say it, ten times a second at most."""
        if time.monotonic() >= self._again:
            self._again = time.monotonic() + TICK
            with suppress(OSError):
                Path(self.path).write_text(f"{steps} {loss!r}")
