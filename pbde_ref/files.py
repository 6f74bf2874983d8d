"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["write_atomically", "write_json"]


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`: either all of it arrives, or the file stays as it was.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written to.
    """
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; a result is as readable as any other file that the user writes.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = 2) -> None:
    """Write `value` as JSON, atomically; numbers survive the round trip bit for bit.

    Parameters
    ----------
    path : path
    value : anything that JSON has a word for
    indent : int, optional
        Spaces per level; None puts everything in one line.

    Raises
    ------
    ValueError
        If `value` holds NaN or an infinity, which JSON has no word for.
    """
    write_atomically(path, (json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n").encode())
