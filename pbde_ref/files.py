"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_arrays", "write_arrays", "write_atomically", "write_json"]


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


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as an uncompressed ``.npz``, atomically; equal arrays give equal bytes.

    Raises
    ------
    TypeError
        If an array holds Python objects.
    """
    named: dict[str, Any] = dict(arrays)
    for name, value in named.items():
        if value.dtype.hasobject:
            raise TypeError(f"`arrays` must hold numbers or text; got dtype {value.dtype} for {name!r}")
    content = io.BytesIO()
    np.savez(content, **named)
    write_atomically(path, content.getvalue())


def read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The named arrays of an ``.npz``; nothing in it is executed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such file, is damaged, or holds Python objects.
    """
    try:
        # NumPy leaves a file that it opened itself open when it cannot read it.
        with Path(path).open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                raise ValueError("it is a single array")
            return {name: content[name] for name in content.files}
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(
            f"`path` must be a whole .npz file of plain arrays; got {os.fspath(path)!r}: {error}"
        ) from error
