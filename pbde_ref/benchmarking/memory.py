"""Peak memory of a benchmark beyond its inputs, measured in a process of its own.

Linux only: there a process can read how much memory it had at most, and reset that number.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pbde_ref.benchmarking.contests import Contest

__all__ = ["peak_beyond_inputs"]

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_beyond_inputs(contest: Contest, method: str, values: Sequence[Any]) -> int | None:
    """Bytes that a method needs at most beyond what its `setup` holds; None where that cannot be measured."""
    if not _RESET.exists():
        return None
    arguments = [contest.kind.__module__, contest.kind.__name__, method, json.dumps(list(values))]
    command = [sys.executable, "-m", "pbde_ref.benchmarking.memory", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"the memory of {contest.name}.{method} could not be measured: {run.stderr[-500:]}")
    return int(run.stdout.split()[-1])


def _measure(module: str, name: str, method: str, values: Sequence[Any]) -> int:
    kind = getattr(importlib.import_module(module), name)
    # A first run at the smallest size imports and caches what later ones share.
    _run(kind, method, [options[0] for options in kind.quick_params])
    instance = kind()
    instance.setup(*values)
    gc.collect()
    _return_free_memory()
    # "5" sets the peak to what is resident now.
    _RESET.write_text("5", encoding="ascii")
    before = _kibibytes("VmRSS")
    getattr(instance, method)(*values)
    return max(0, _kibibytes("VmHWM") - before) * 1024


def _run(kind: Any, method: str, values: Sequence[Any]) -> None:
    instance = kind()
    instance.setup(*values)
    getattr(instance, method)(*values)


def _return_free_memory() -> None:
    """What the allocator keeps of freed memory would hide the first megabytes of the method's own."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _kibibytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    if found is None:
        raise OSError(f"{_STATUS} does not say {field}")
    return int(found.group(1))


if __name__ == "__main__":
    _module, _name, _method, _values = sys.argv[1:]
    print(_measure(_module, _name, _method, json.loads(_values)))
