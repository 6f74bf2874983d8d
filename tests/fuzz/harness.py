"""What the fuzzers share: a limit of time, a look for NaN, and the report."""

import argparse
import contextlib
import dataclasses
import secrets
import signal
import sys
from collections.abc import Mapping

import numpy as np

from pbde_ref import Optimum

MOST_CHARACTERS = 300
SECONDS = 20.0


class Hung(BaseException):
    """It took too long."""


class Faults(dict):
    """What was found: the words for a kind of fault, to the first that had it and how many had."""

    def note(self, kind, example):
        """One more; None is no fault."""
        if kind[-1] is not None:
            first, count = self.get(kind, (example, 0))
            self[kind] = first, count + 1


@contextlib.contextmanager
def limited(seconds):
    """End what takes too long, in this process's own time."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise Hung

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def has_nan(value, depth=4):
    """Whether there is NaN anywhere in a result."""
    if isinstance(value, (float, np.floating)):
        return bool(value != value)
    if isinstance(value, np.ndarray):
        # What is repeated along an axis takes no room there, and may be longer than any memory.
        once = value[tuple(slice(0, 1) if step == 0 else slice(None) for step in value.strides)]
        return value.dtype.kind in "fc" and bool(np.isnan(once).any())
    if depth == 0 or isinstance(value, (str, bytes)):
        return False
    if isinstance(value, Optimum) and value.policy is None and value.reason and not value.converged:
        # What nothing determines has no number, and the result says so.
        return False
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return any(has_nan(getattr(value, field.name), depth - 1) for field in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return any(has_nan(part, depth - 1) for part in value.values())
    if isinstance(value, (tuple, list)):
        return any(has_nan(part, depth - 1) for part in value)
    return False


def main(fuzz, what, description):
    """Fuzz as the command line says, print the faults, and return 1 if there are any."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(f"--{what}", type=int, default=100)
    parser.add_argument("--seed", type=int, help="[drawn]")
    parser.add_argument("--only", nargs="*", help="kinds")
    options = parser.parse_args()
    count, seed = getattr(options, what), secrets.randbelow(2**32) if options.seed is None else options.seed
    sys.stdout.reconfigure(errors="backslashreplace")
    print("seed", seed, flush=True)
    found = fuzz(count, seed, options.only)
    for kind, (example, times) in sorted(found.items()):
        print(f"{': '.join(kind)} ({times}); {example}")
    print(f"{count} {what}, seed {seed}: {len(found)} kinds of faults")
    return 1 if found else 0
