"""What a finished piece of an experiment leaves behind: one JSON file, written whole or not at all.

JSON keeps every digit of a float, and reading it runs no code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.files import write_json
from pbde_ref.validation import FloatArray

__all__ = ["Record", "read_record", "write_record"]

FORMAT = 1


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
    """

    name: str
    settings: Mapping[str, Any]
    numbers: Mapping[str, float | None]
    arrays: Mapping[str, FloatArray]
    texts: Mapping[str, list[str]] = field(default_factory=dict)

    def policy(self, name: str) -> FiniteDistribution:
        """The distribution stored as ``policy.name`` on the points stored as ``grid``."""
        return FiniteDistribution.from_weights(self.arrays[f"policy.{name}"], self.arrays["grid"])


def write_record(path: str | os.PathLike[str], record: Record) -> None:
    """Write a record atomically; equal records give equal bytes.

    Raises
    ------
    ValueError
        If an array holds NaN or an infinity.
    """
    write_json(
        path,
        {
            "format": FORMAT,
            "name": record.name,
            "settings": dict(record.settings),
            "numbers": dict(record.numbers),
            "texts": dict(record.texts),
            "arrays": {name: np.asarray(array).tolist() for name, array in record.arrays.items()},
        },
        indent=None,
    )


def read_record(path: str | os.PathLike[str]) -> Record:
    """Read what `write_record` wrote.

    Raises
    ------
    ValueError
        If the file is something else.
    OSError
        If it cannot be read.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        arrays = {name: np.array(values, dtype=np.float64) for name, values in content["arrays"].items()}
        return Record(content["name"], content["settings"], content["numbers"], arrays, content["texts"])
    except (ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"`path` must be a record of an experiment; got {os.fspath(path)!r} ({error})") from error
