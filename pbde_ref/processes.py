"""Where long work is done: here, in processes of this machine, or on any executor; what is lost is done once more.

Processes start afresh, and end when their parent does, however it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

__all__ = ["Call", "Workers", "end_with_parent", "finished", "in_order", "process_pool"]

Workers = Executor | int
"""Who does the work: so many processes of this machine, 1 being this process itself, or any executor."""

# Of an executor nobody knows how many calls it can have in hand; of results that wait for their turn.
MOST_AT_ONCE = 1024
MOST_AHEAD = 32
# How often a call may lose its process before that is taken for the call's own doing.
MOST_LOSSES = 3
TICK = 0.1


class Call(NamedTuple):
    """A function of a module, or a `functools.partial` of one, and what it is called with; `key` names its result."""

    key: Hashable
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


def finished(
    take: Callable[[], Call | None], workers: Workers = 1, tick: Callable[[], object] = lambda: None
) -> Iterator[tuple[Any, Any]]:
    """Keys and results of calls, in the order in which they end.

    Parameters
    ----------
    take : callable
        The next call, or None if there is none before another result has been looked at.
    workers : concurrent.futures.Executor or int
    tick : callable
        Called ten times a second while others work.

    Raises
    ------
    ChildProcessError
        If processes of this machine end three times over the same call.

    Examples
    --------
    >>> from pbde_ref.processes import Call, finished
    >>> calls = iter([Call("a", abs, (-3,)), Call("b", abs, (4,))])
    >>> dict(finished(lambda: next(calls, None)))
    {'a': 3, 'b': 4}
    """
    if workers == 1:
        while (call := take()) is not None:
            yield call.key, call.function(*call.arguments)
        return
    at_once = workers if isinstance(workers, int) else MOST_AT_ONCE
    running: dict[Future[Any], Call] = {}
    lost: deque[Call] = deque()
    losses: dict[Hashable, int] = {}

    def fill(executor: Executor) -> None:
        while len(running) < at_once and (call := lost.popleft() if lost else take()) is not None:
            try:
                running[executor.submit(call.function, *call.arguments)] = call
            except BrokenExecutor:
                if executor is workers:
                    raise
                lost.append(call)
                return

    while True:
        with ExitStack() as stack:
            executor = workers if isinstance(workers, Executor) else stack.enter_context(process_pool(at_once))
            stack.callback(lambda: [future.cancel() for future in running])
            fill(executor)
            while running:
                ended, _ = wait(running, timeout=TICK, return_when=FIRST_COMPLETED)
                tick()
                done = [(running.pop(future), future) for future in ended]
                broken = [call for call, future in done if isinstance(_error(future), BrokenExecutor)]
                if broken and executor is not workers:
                    for call in broken:
                        losses[call.key] = losses.get(call.key, 0) + 1
                        if losses[call.key] == MOST_LOSSES:
                            raise ChildProcessError(f"a process ended {MOST_LOSSES} times while it computed {call.key}")
                    lost += broken
                elif not lost:
                    # Others go on before the caller looks at what has ended.
                    fill(executor)
                for call, future in done:
                    if call not in broken or executor is workers:
                        yield call.key, future.result()
                if not lost:
                    fill(executor)
        if not lost:
            return


def _error(future: Future[Any]) -> BaseException | None:
    return None if future.cancelled() else future.exception()


def in_order(calls: Iterable[tuple[Callable[..., Any], tuple[Any, ...]]], workers: Workers = 1) -> Iterator[Any]:
    """Results in the order of the calls, whoever computes them and when: sums over them have the same digits.

    No more than 32 calls are begun before the first of them has ended, so that few results wait in memory.

    Examples
    --------
    >>> from pbde_ref.processes import in_order
    >>> list(in_order([(abs, (-3,)), (abs, (4,))]))
    [3, 4]
    """
    numbered = enumerate(calls)
    early: dict[int, Any] = {}
    begun = ended = 0

    def take() -> Call | None:
        nonlocal begun
        if begun - ended >= MOST_AHEAD or (following := next(numbered, None)) is None:
            return None
        begun += 1
        return Call(following[0], *following[1])

    for number, result in finished(take, workers):
        early[number] = result
        while ended in early:
            ended += 1
            yield early.pop(ended - 1)


@contextmanager
def process_pool(size: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes do not outlive an interruption, nor a parent that was killed.

    Parameters
    ----------
    size : int
        Number of processes.

    Examples
    --------
    >>> from pbde_ref.processes import process_pool
    >>> with process_pool(1) as pool:
    ...     pool.submit(abs, -3).result()
    3
    """
    pool = ProcessPoolExecutor(size, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()


def end_with_parent(parent: int) -> None:
    """Ask the system to end this process as soon as its parent has ended; Linux can.

    Parameters
    ----------
    parent : int
        Process id; if it is not the parent any more, this process ends at once.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if hasattr(os, "getppid") and os.getppid() != parent:
        os._exit(1)


class _NoTerminal(io.TextIOWrapper):
    """Errors and warnings arrive; progress bars do not show themselves."""

    def isatty(self) -> bool:
        """No."""
        return False


def _begin() -> None:
    # Whoever asked for the work shows how far it is: bars here would write over each other.
    sys.stderr = _NoTerminal(open(2, "wb", closefd=False), line_buffering=True)  # noqa: SIM115
    # Ctrl-C reaches every process of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        if parent.pid is not None:
            end_with_parent(parent.pid)
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: Any) -> None:
    """A killed process cannot end its children; they would finish their pieces, and wait for others for ever."""
    parent.join()
    os._exit(1)
