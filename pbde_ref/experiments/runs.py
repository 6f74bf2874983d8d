"""Runs the pieces of an experiment, in processes if asked; keeps each finished one, and goes on where it was stopped.

Every piece is a function of the settings and of other pieces' results alone: the number of processes changes nothing
but the time.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from pbde_ref.experiments.records import Record, file_digest, read_record, write_record
from pbde_ref.files import content_digest
from pbde_ref.processes import process_pool

__all__ = ["Reporter", "Run", "execute", "runs_folder"]

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
    """Who is told how far things are; this one tells nobody."""

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


def execute(
    runs: Sequence[Run],
    settings: Any,
    folder: Path,
    *,
    identity: Mapping[str, Any],
    jobs: int = 1,
    reporter: Reporter | None = None,
) -> dict[str, Record]:
    """Results of all runs by name, computed unless the folder has them.

    Parameters
    ----------
    runs : sequence of Run
        Together with all that they need.
    settings : object
        Handed to each run.
    folder : Path
        Made if it does not exist; ``<name>.json`` for each finished run, and the runs' files.
    identity : mapping
        The settings as JSON has them. A stored result counts only if it was computed with the same ones, by the same
        version of this package, from the results that its needs have now, and if it and its files are as they were
        written. What was of other settings is computed again, and replaced: give each a folder, see `runs_folder`.
    jobs : int
        Processes; 1 works in this one.
    reporter : Reporter, optional

    Raises
    ------
    ValueError
        If a run needs one that is not there.
    """
    reporter = Reporter() if reporter is None else reporter
    names = [run.name for run in runs]
    for run in runs:
        for need in run.needs:
            if need not in names:
                raise ValueError(f"`runs` must hold what {run.name!r} needs, {need!r}; got {', '.join(names)}")
    folder.mkdir(parents=True, exist_ok=True)
    place = _Place(folder, _stamp(identity))
    stored: dict[str, Record] = {}
    for run in runs:
        if place.path(run).exists():
            record = place.found(run)
            if record is None:
                reporter.outdated(run.name)
            else:
                stored[run.name] = record
    waiting, done = list(runs), dict[str, Record]()
    _keep(stored, waiting, done, reporter)
    reporter.start(sum(run.steps for run in waiting))
    work = _in_processes if jobs > 1 and len(waiting) > 1 else _in_this_process
    for record in work(waiting, settings, place, done, jobs, reporter):
        done[record.name] = record
        reporter.finished(record)
        for run in _keep(stored, waiting, done, reporter):
            reporter.advance(run.name, run.steps, float("nan"))
    return {name: done[name] for name in names}


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


@dataclass(frozen=True)
class _Place:
    """Where records and files are, and of which run they must be."""

    folder: Path
    stamp: Mapping[str, Any]

    def path(self, run: Run) -> Path:
        """Of the run's record."""
        return self.folder / f"{run.name}.json"

    def digests(self, run: Run) -> dict[str, str]:
        """Of the run's files."""
        return {name: file_digest(self.folder / name) for name in run.files}

    def found(self, run: Run) -> Record | None:
        """The record, if it is this run's and whole."""
        if not self.path(run).is_file():
            raise ValueError(f"`folder` must hold files alone; got something else in {str(self.path(run))!r}")
        try:
            record = read_record(self.path(run))
        except ValueError:
            return None
        mine = record.name == run.name and dict(record.settings) == self.stamp
        return record if mine and dict(record.files) == self.digests(run) else None


def _keep(
    stored: dict[str, Record], waiting: list[Run], done: dict[str, Record], reporter: Reporter
) -> list[Run]:
    """Take over stored results whose needs are done, if they were computed from these; the runs that were."""
    kept = []
    for run in waiting:
        if run.name in stored and all(need in done for need in run.needs):
            record = stored.pop(run.name)
            if dict(record.sources) == _sources(run, done):
                done[run.name] = record
                kept.append(run)
                reporter.kept(run.name)
            else:
                reporter.outdated(run.name)
    waiting[:] = [run for run in waiting if run not in kept]
    return kept + _keep(stored, waiting, done, reporter) if kept else kept


def _sources(run: Run, done: Mapping[str, Record]) -> dict[str, str]:
    return {need: done[need].digest for need in run.needs}


def _ready(waiting: list[Run], done: Mapping[str, Record]) -> list[Run]:
    """Runs that can start, the longest first, so that no process is left with one at the end."""
    return sorted((run for run in waiting if all(need in done for need in run.needs)), key=lambda run: -run.steps)


def _perform(
    run: Run, settings: Any, place: _Place, needed: Mapping[str, Record], progress: Progress
) -> Record:
    """Compute and store a run."""
    with threadpool_limits(limits=None if run.threaded else 1):
        result = run.compute(settings, needed, progress)
    record = Record(
        run.name, place.stamp, result.numbers, result.arrays, result.texts, place.digests(run), _sources(run, needed)
    )
    # What comes back is what a later command would find, whoever else writes here.
    return write_record(place.path(run), record)


def _in_this_process(
    waiting: list[Run], settings: Any, place: _Place, done: dict[str, Record], jobs: int, reporter: Reporter
) -> Iterator[Record]:
    while waiting:
        run = _ready(waiting, done)[0]
        waiting.remove(run)
        reached = 0

        def progress(steps: int, loss: float, name: str = run.name) -> None:
            nonlocal reached
            reporter.advance(name, steps - reached, loss)
            reached = steps

        record = _perform(run, settings, place, {need: done[need] for need in run.needs}, progress)
        reporter.advance(run.name, run.steps - reached, float("nan"))
        yield record


_messages: Any = None


def _send_messages_to(queue: Any) -> None:
    global _messages
    _messages = queue


def _perform_there(
    run: Run, settings: Any, place: _Place, needed: Mapping[str, Record]
) -> Record:
    """`_perform` in a process of the pool."""
    return _perform(
        run, settings, place, needed, lambda steps, loss: _messages.put((run.name, steps, loss))
    )


def _in_processes(
    waiting: list[Run], settings: Any, place: _Place, done: dict[str, Record], jobs: int, reporter: Reporter
) -> Iterator[Record]:
    steps = {run.name: run.steps for run in waiting}
    reached = dict.fromkeys(steps, 0)
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    with process_pool(min(jobs, len(waiting)), _send_messages_to, (queue,)) as pool:
        running: dict[Future[Record], Run] = {}
        while waiting or running:
            for run in _ready(waiting, done):
                # No more at a time than there are processes: what is long and becomes ready later goes first then.
                if len(running) < jobs:
                    needed = {need: done[need] for need in run.needs}
                    running[pool.submit(_perform_there, run, settings, place, needed)] = run
                    waiting.remove(run)
            ended, _ = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
            while not queue.empty():
                name, at, loss = queue.get()
                reporter.advance(name, at - reached[name], loss)
                reached[name] = at
            for future in ended:
                name = running.pop(future).name
                record = future.result()
                reporter.advance(name, steps[name] - reached[name], float("nan"))
                reached[name] = steps[name]
                yield record
