# PYTHON_ARGCOMPLETE_OK
"""What works before the package is loaded: the script ``pbde-ref``, and how its processes begin.

The package takes long enough to load for Ctrl-C, or the end of a process's parent, to come in between; so would what
is imported in the functions here.
"""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


def main() -> int:
    """Run the command line, and return the exit status."""
    try:
        from pbde_ref.cli import main as run

        return run()
    except (KeyboardInterrupt, ImportError) as error:
        if not _interrupted(error):
            raise
        print("interrupted", file=sys.stderr)
        return 130


def _interrupted(error: BaseException) -> bool:
    # A module in C that was interrupted fails to load.
    return isinstance(error.__cause__ or error, KeyboardInterrupt)


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not _interrupted(error):
        sys.__excepthook__(kind, error, trace)
        return
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(130)


def end_with_parent(parent: int) -> None:
    """Ask the system to end this process as soon as its parent has ended; Linux can.

    Parameters
    ----------
    parent : int
        Process id; if it is not the parent any more, this process ends at once.
    """
    import contextlib
    import ctypes
    import signal

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


def begin_process() -> None:
    """What a worker process does first."""
    import multiprocessing
    import signal
    import threading

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


if sys.argv[:1] == ["-m"] and "pbde_ref" in sys.orig_argv:
    # The package is being loaded by ``python -m pbde_ref``, before anything of it can catch Ctrl-C.
    sys.excepthook = _end
