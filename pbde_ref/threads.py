"""One function on several parts of the work, in threads: NumPy's loops over long arrays run at the same time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np

__all__ = ["in_threads", "keep_freed_memory", "one_blas_thread", "own_cores"]

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGE_BLOCK = 2**25 - 2**13


@cache
def keep_freed_memory() -> None:
    """Let arrays reuse the memory of earlier ones: what computes with many of them takes half of the time.

    glibc keeps the memory of blocks up to the size of the largest that was freed, at most 32 MB; others go back to the
    system and cost a page fault for each 4 kB when asked for again. So one large block is freed, once in a process.
    """
    np.empty(LARGE_BLOCK, dtype=np.uint8)


def own_cores() -> int:
    """How many cores this process may use, or fewer if ``OMP_NUM_THREADS`` says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdecimal() and int(limit) > 0 else cores


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """``[function(item) for item in items]``; the calling thread is one of at most so many.

    After an exception no other item is begun, and it is raised.

    Examples
    --------
    >>> in_threads(abs, [-1, 2, -3], 2)
    [1, 2, 3]
    """
    threads = min(threads, len(items))
    if threads <= 1:
        return [function(item) for item in items]
    waiting = deque(range(len(items)))
    results: dict[int, Result] = {}

    def work() -> None:
        try:
            while True:
                try:
                    index = waiting.popleft()
                except IndexError:
                    return
                results[index] = function(items[index])
        finally:
            waiting.clear()

    with ThreadPoolExecutor(threads - 1) as helpers:
        helping = [helpers.submit(work) for _ in range(threads - 1)]
        work()
        for helper in helping:
            helper.result()
    return [results[index] for index in range(len(items))]


_LIMITING = threading.Lock()
_limits: Any = None
_limited = 0


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Products of matrices in one thread: how they are divided among several changes their last digits.

    The limit is the process's. Where several threads ask for it, it holds until the last of them has ended.
    """
    from threadpoolctl import threadpool_limits

    global _limits, _limited
    with _LIMITING:
        _limits = threadpool_limits(limits=1) if _limited == 0 else _limits
        _limited += 1
    try:
        yield
    finally:
        with _LIMITING:
            _limited -= 1
            if _limited == 0:
                _limits.restore_original_limits()
