"""Where long work is done: here, in processes of this machine, or on any executor; what is lost is done once more.

Processes start afresh, and end when their parent does, however it ends.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, NamedTuple

# Where the package is not loaded yet, so that a process ends with its parent while it loads the package.
from pbde_ref_command import begin_process

__all__ = ["Call", "Workers", "finished", "in_order", "process_pool"]

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

    If several calls raise, the error is that of the first. No more than 32 calls are begun before the first of them has
    ended, so that few results wait in memory.

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
        function, arguments = following[1]
        return Call(following[0], _attempt, (function, *arguments))

    for number, outcome in finished(take, workers):
        early[number] = outcome
        while ended in early:
            result, error = early.pop(ended)
            if error is not None:
                raise error
            ended += 1
            yield result


def _attempt(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Exception | None]:
    """A result, or the error instead."""
    try:
        return function(*arguments), None
    except Exception as error:
        return None, error


class _Pool(ProcessPoolExecutor):
    """Processes that are started when there is work for them."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Ask for a call."""
        with _unbroken():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _unbroken() -> Iterator[None]:
    """Let Ctrl-C wait: a process that was told half of what it is, or is only starting, would end with a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *given: came.append(given))
    try:
        with _blocked():
            yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(*came[0])


@contextmanager
def _blocked() -> Iterator[None]:
    """Block Ctrl-C where signals have a mask, which a process that starts here inherits."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


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
    pool = _Pool(size, mp_context=multiprocessing.get_context("spawn"), initializer=begin_process)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()
