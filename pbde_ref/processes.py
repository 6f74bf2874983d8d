"""Processes for long work: they start afresh, and end when their parent does, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

__all__ = ["end_with_parent", "process_pool"]


@contextmanager
def process_pool(
    size: int, initializer: Callable[..., Any] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes do not outlive an interruption, nor a parent that was killed.

    Parameters
    ----------
    size : int
        Number of processes.
    initializer : callable, optional
        Called with `arguments` in each process before its first piece.

    Examples
    --------
    >>> from pbde_ref.processes import process_pool
    >>> with process_pool(1) as pool:
    ...     pool.submit(abs, -3).result()
    3
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(size, mp_context=context, initializer=_begin, initargs=(initializer, arguments))
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


def _begin(initializer: Callable[..., Any] | None, arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches every process of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        if parent.pid is not None:
            end_with_parent(parent.pid)
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_after(parent: Any) -> None:
    """A killed process cannot end its children; they would finish their pieces, and wait for others for ever."""
    parent.join()
    os._exit(1)
