"""Running code that somebody else wrote: in a process of its own, or with what it changes put back.

`ask_child` is for the command line: whatever the code does to its process, the caller gets an answer or a sentence
that says what happened. `watched` is for a single call in this process. Neither is a sandbox: the code has its user's
rights.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import secrets
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from pbde_ref_command import end_with_parent

__all__ = [
    "MOST_ANSWER", "MOST_OUTPUT", "MOST_SHOWN", "Answer", "ask_child", "child_main", "raised", "watched",
]  # fmt: skip

MOST_SHOWN = 10_000
"""Bytes of a child's output that are passed on to stderr."""

MOST_OUTPUT = 2**28
"""Bytes of output after which a child is ended."""

MOST_ANSWER = 2**26
"""Bytes of an answer."""

# sys.path goes first, so that the child finds what its parent finds.
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import pbde_ref.foreign as f; f.child_main()"
_WRONG_USAGE = (TypeError, ValueError, OSError, ImportError)

Reached = Callable[[str], None]


@dataclass(frozen=True)
class Answer:
    """What came of a task in a process of its own.

    Attributes
    ----------
    value : object
        What the task returned, as JSON has it; None if it came to no end.
    refused : str
        The task's own complaint about its arguments; empty if there is none.
    fault : str
        What the foreign code did to the process instead; empty if nothing.
    notes : tuple of str
        What else it did: forks, floods of output.
    """

    value: Any = None
    refused: str = ""
    fault: str = ""
    notes: tuple[str, ...] = ()


def ask_child(task: str, request: Any, *, timeout: float) -> Answer:
    """Run a task that calls foreign code, in a process that ends with it.

    Parameters
    ----------
    task : str
        Name of a function ``package.module:function`` of ``(request, reached)``, which returns what JSON has a word
        for, raises ``ValueError``, ``TypeError``, ``OSError`` or ``ImportError`` for what it refuses, and calls
        ``reached("while ...")`` before each stage, for the sentence that says where it was ended.
    request : object
        Handed to the task, as JSON has it.
    timeout : float
        Seconds until the process is ended.

    Returns
    -------
    Answer

    Notes
    -----
    What the code writes to stdout or stderr goes to stderr here, the first 10,000 bytes of it; its stdin is empty.
    Processes that it started are ended with it, unless they left its group. It ends with this process, too.

    Examples
    --------
    >>> from pbde_ref.foreign import ask_child
    >>> ask_child("math:fsum", [0.5], timeout=60.0).refused
    'math.fsum() takes exactly one argument (2 given)'
    """
    command = [sys.executable, "-P", "-c", _CHILD, json.dumps(sys.path), task, str(os.getpid())]
    process: Any = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    heard = _Heard(secrets.token_hex())
    threads = [
        threading.Thread(target=heard.messages, args=(process.stdout,), daemon=True),
        threading.Thread(target=heard.output, args=(process.stderr,), daemon=True),
    ]
    for thread in threads:
        thread.start()
    deadline, ended = time.monotonic() + timeout, ""
    try:
        with contextlib.suppress(OSError):
            # It stays open: when it closes, this process has ended.
            process.stdin.write(json.dumps([heard.token, request]).encode() + b"\n")
            process.stdin.flush()
        while process.poll() is None and not ended:
            if time.monotonic() > deadline:
                ended = f"it did not end within {timeout:g} s"
            elif heard.written > MOST_OUTPUT:
                ended = f"it wrote more than {MOST_OUTPUT >> 20} MiB of output"
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
    finally:
        _end(process)
        for thread in threads:
            # A process that left the group may hold the other end for ever.
            thread.join(2.0)
        with contextlib.suppress(OSError):
            process.stdin.close()
    return heard.answer(ended, process.returncode)


class _Heard:
    """What a child has said so far; its own messages follow a token that the foreign code was not given."""

    def __init__(self, token: str) -> None:
        self.token, self.written = token, 0
        self._said: dict[str, Any] = {"at": "while Python started"}

    def messages(self, stream: IO[bytes]) -> None:
        """Its messages, a JSON object a line."""
        with stream, contextlib.suppress(OSError):
            for line in iter(lambda: stream.readline(MOST_ANSWER), b""):
                _, own, said = line.partition(self.token.encode())
                with contextlib.suppress(ValueError):
                    self._said.update(json.loads(said) if own else {})

    def output(self, stream: IO[bytes]) -> None:
        """What the foreign code writes; more than is shown is counted."""
        with stream, contextlib.suppress(OSError):
            while part := os.read(stream.fileno(), 2**16):
                shown = part[: max(0, MOST_SHOWN - self.written)]
                self.written += len(part)
                if shown:
                    sys.stderr.write(shown.decode(errors="replace"))
                    sys.stderr.flush()

    def answer(self, ended: str, status: int) -> Answer:
        """Put together."""
        notes = [str(note) for note in self._said.get("notes", ())]
        if self.written > MOST_SHOWN:
            notes.append(f"wrote {self.written:,} bytes of output, of which the first {MOST_SHOWN:,} are shown")
        if "answer" in self._said:
            return Answer(value=self._said["answer"], notes=tuple(notes))
        if "refused" in self._said:
            return Answer(refused=str(self._said["refused"]), notes=tuple(notes))
        what = ended or str(self._said.get("fault", "")) or _how_it_ended(status)
        return Answer(fault=f"{what} {self._said['at']}", notes=tuple(notes))


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"it ended the process with exit status {status}"
    try:
        return f"it ended the process by {signal.Signals(-status).name}"
    except ValueError:
        return f"it ended the process by signal {-status}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its group."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def child_main() -> None:
    """What the process that `ask_child` starts does; it does not return."""
    _, _, task, parent = sys.argv
    end_with_parent(int(parent))
    # The foreign code gets streams of its own: it can neither read the lifeline nor write into the messages.
    lifeline, channel = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb")
    token, request = json.loads(lifeline.readline())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    threading.Thread(target=_end_when_closed, args=(lifeline,), daemon=True).start()
    own, forks = os.getpid(), []
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_parent=lambda: forks.append(1))

    def say(**said: Any) -> None:
        if os.getpid() != own:
            os._exit(0)
        channel.write(f"{token}{json.dumps(said)}\n".encode())
        channel.flush()

    try:
        answer = pkgutil.resolve_name(task)(request, lambda place: say(at=place))
        say(answer=answer, notes=[f"started {len(forks)} processes by fork"] if forks else [])
    except SystemExit as error:
        say(fault=f"it called sys.exit({error.code!r:.80})")
    except _WRONG_USAGE as error:
        say(refused=str(error))
    except BaseException as error:
        say(fault=f"it raised {raised(error)}")
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # Threads and exit handlers of the foreign code have no say any more.
        os._exit(0)


def _end_when_closed(lifeline: IO[bytes]) -> None:
    while lifeline.read(1):
        pass
    os._exit(1)


def raised(error: BaseException) -> str:
    """What foreign code raised, in one line, even if its error has no words.

    Examples
    --------
    >>> raised(ValueError("two", "words"))
    "ValueError: ('two', 'words')"
    """
    try:
        says = " ".join(str(error).split())
    except BaseException:
        says = "(an error that raises when asked what it says)"
    return f"{type(error).__name__:.100}: {says:.300}"


@contextlib.contextmanager
def watched(found: set[str]) -> Iterator[None]:
    """Put back what foreign code changes for everybody, and add a line about it to `found`.

    NumPy's and Python's global generators, NumPy's error and print settings, the warnings filter, and PyTorch's and
    JAX's default types if they are loaded. A copy of the process that comes back from the call (``os.fork``) ends here.

    Parameters
    ----------
    found : set of str

    Examples
    --------
    >>> import numpy as np
    >>> found = set()
    >>> with watched(found):
    ...     _ = np.seterr(all="raise")
    >>> found, np.geterr()["over"]
    ({"changed NumPy's error settings (np.seterr)"}, 'warn')
    """
    process, before = os.getpid(), {name: read() for name, (read, _) in _places().items()}
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(0)
        for name, (read, put_back) in _places().items():
            # A framework that was loaded meanwhile has no earlier state.
            if name in before and not _same(read(), before[name]):
                found.add(f"changed {name}")
                put_back(before[name])


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if hasattr(a, "shape"):
        return bool((a == b).all())
    return bool(a == b)


def _put_filters_back(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    # Else warnings that were met under the other filters would be remembered.
    warnings.simplefilter("default", append=True)
    warnings.filters[:] = filters  # type: ignore[index]


def _places() -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """How to read and write each global state."""
    # Nobody here draws from the global generators; they are read to see whether somebody else does.
    generator, python = np.random, importlib.import_module("random")
    places: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
        "NumPy's global generator (np.random)": (
            lambda: generator.get_state(legacy=False), lambda state: generator.set_state(state),
        ),
        "Python's global generator (random)": (python.getstate, python.setstate),
        "NumPy's error settings (np.seterr)": (np.geterr, lambda state: np.seterr(**state)),
        "NumPy's print options (np.set_printoptions)": (
            np.get_printoptions, lambda state: np.set_printoptions(**state),
        ),
        "the warnings filter": (lambda: list(warnings.filters), _put_filters_back),
    }  # fmt: skip
    torch: Any = sys.modules.get("torch")
    jax: Any = sys.modules.get("jax")
    if hasattr(torch, "set_default_dtype"):
        places["PyTorch's default dtype (torch.set_default_dtype)"] = (torch.get_default_dtype, torch.set_default_dtype)
        places["PyTorch's global generator (torch.manual_seed)"] = (torch.get_rng_state, torch.set_rng_state)
        places["PyTorch's recording of gradients (torch.set_grad_enabled)"] = (
            torch.is_grad_enabled, torch.set_grad_enabled,
        )  # fmt: skip
    if hasattr(jax, "config") and hasattr(jax.config, "update"):
        places["JAX's 64-bit numbers (jax_enable_x64)"] = (
            lambda: jax.config.jax_enable_x64, lambda state: jax.config.update("jax_enable_x64", state),
        )  # fmt: skip
    return places
