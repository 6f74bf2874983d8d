"""What a finished piece of an experiment leaves behind: one JSON file, written whole or not at all.

JSON keeps every digit of a float, and reading it runs no code. A record says what it depends on and what it consists
of, by digests: a piece of another run, or one that was damaged, is told from the right one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.files import MOST_BYTES, content_digest, read_json, write_json
from pbde_ref.validation import FloatArray

__all__ = ["Record", "file_digest", "read_record", "write_record"]

FORMAT = 2


@dataclass(frozen=True, eq=False)
class Record:
    """The result of one run.

    Attributes
    ----------
    name : str
    settings : mapping
        Everything that the result depends on, as JSON has it.
    numbers : mapping of str to float or None
        None where a number is infinite, or does not exist.
    arrays : mapping of str to ndarray of float
    texts : mapping of str to list of str
    files : mapping of str to str
        SHA-256 of the files that belong to it, by name.
    sources : mapping of str to str
        Digests of the records that it was computed from, by name.
    digest : str
        SHA-256 of all of the above; of a record that was written or read.
    """

    name: str
    settings: Mapping[str, Any]
    numbers: Mapping[str, float | None]
    arrays: Mapping[str, FloatArray]
    texts: Mapping[str, list[str]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""

    def policy(self, name: str) -> FiniteDistribution:
        """The distribution stored as ``policy.name`` on the points stored as ``grid``."""
        return FiniteDistribution.from_weights(self.arrays[f"policy.{name}"], self.arrays["grid"])


def write_record(path: str | os.PathLike[str], record: Record) -> Record:
    """Write a record atomically; equal records give equal bytes.

    Returns
    -------
    Record
        As `read_record` would find it.

    Raises
    ------
    ValueError
        If an array holds NaN or an infinity.
    """
    content = {
        "format": FORMAT,
        "name": record.name,
        "settings": dict(record.settings),
        "sources": dict(record.sources),
        "files": dict(record.files),
        "numbers": dict(record.numbers),
        "texts": dict(record.texts),
        "arrays": {name: np.asarray(array).tolist() for name, array in record.arrays.items()},
    }
    digest = content_digest(content)
    write_json(path, content | {"digest": digest}, indent=None)
    return _record(json.loads(json.dumps(content)), digest)


def read_record(path: str | os.PathLike[str], *, limit: int = MOST_BYTES) -> Record:
    """Read what `write_record` wrote.

    Parameters
    ----------
    path : path
    limit : int
        Largest file that is read, in bytes.

    Raises
    ------
    ValueError
        If the file is something else, or not as it was written.
    OSError
        If it cannot be read.
    """
    try:
        content = read_json(path, limit=limit)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError("another format")
        digest = content.pop("digest")
        if digest != content_digest(content):
            raise ValueError("its digest is of another content")
        _check_parts(content)
        return _record(content, digest)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        name = os.fspath(path)
        raise ValueError(f"`path` must be a record of an experiment; got {name!r} ({error!s:.150})") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; empty if there is no such file.

    Examples
    --------
    >>> file_digest(Path("no such file"))
    ''
    """
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(content: Mapping[str, Any], digest: str) -> Record:
    arrays = {name: np.array(values, dtype=np.float64) for name, values in content["arrays"].items()}
    return Record(
        content["name"], content["settings"], content["numbers"], arrays, content["texts"], content["files"],
        content["sources"], digest,
    )  # fmt: skip


def _check_parts(content: Mapping[str, Any]) -> None:
    """The digest is against accidents; whoever computes it anew shall not get through with a wrong type either."""
    if not isinstance(content["name"], str):
        raise ValueError("its name is no text")
    for part in ("settings", "sources", "files", "numbers", "texts", "arrays"):
        if not isinstance(content[part], dict):
            raise ValueError(f"its {part} are no mapping")
    for part in ("sources", "files"):
        if not all(isinstance(value, str) for value in content[part].values()):
            raise ValueError(f"its {part} are no digests")
    for value in content["numbers"].values():
        if value is not None and not (type(value) in (int, float) and math.isfinite(value)):
            raise ValueError("its numbers are none")
    for lines in content["texts"].values():
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise ValueError("its texts are none")
