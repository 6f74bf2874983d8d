"""What the settings of all trained experiments have in common: checks by type, presets, randomness by purpose."""

from __future__ import annotations

import tomllib
import zlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, replace
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np

from pbde_ref.validation import choice, non_negative_number, positive_number, whole_number

__all__ = ["changed", "check_numbers", "presets_of", "rng_for"]

Settings = TypeVar("Settings", bound=Any)


def presets_of(group: str, kind: type[Settings]) -> Mapping[str, Settings]:
    """Those in ``presets.toml``."""
    known = tomllib.loads(files(__package__).joinpath("presets.toml").read_text("utf-8"))[group]
    return {name: kind(**row) for name, row in known.items()}


def check_numbers(settings: Any, may_be_zero: Collection[str]) -> None:
    """Raise unless each number of a dataclass, or of its tuples, is of its type and positive, or zero if it may be."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.type == "int":
            whole_number(field.name, value, least=0 if field.name in may_be_zero else 1)
        check = non_negative_number if field.name in may_be_zero else positive_number
        if field.type == "float":
            check(field.name, value)
        elif field.type == "tuple[float, ...]":
            if not value:
                raise ValueError(f"`{field.name}` must have at least one number; got none")
            for number in value:
                check(field.name, number)


def changed(presets: Mapping[str, Settings], name: str, changes: Mapping[str, Any]) -> Settings:
    """A preset with some settings changed.

    Raises
    ------
    ValueError, TypeError
        If the preset or a setting is unknown, or a value is out of range.
    """
    known = asdict(presets[choice("preset", name, presets)])
    for key in changes:
        choice("changes", key, known)
    return replace(presets[name], **changes)


def rng_for(seed: int, purpose: str) -> np.random.Generator:
    """Randomness for one purpose, whatever else is run, and in which order.

    Examples
    --------
    >>> from pbde_ref.experiments.presets import rng_for
    >>> rng_for(0, "pairs").random() == rng_for(0, "pairs").random() != rng_for(0, "answers").random()
    True
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])
