"""Functions that are named from outside, as package.module:function."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pbde_ref.foreign import raised

__all__ = ["subject_named"]

def subject_named(name: str) -> Callable[..., Any]:
    """The function that "package.module:function" names; the current folder is looked at first.

    Examples
    --------
    >>> subject_named("math:fsum")([0.5, 0.5])
    1.0
    """
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise ValueError(f"a subject must be named as package.module:function; got {name!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        value: Any = importlib.import_module(module_name)
        for part in path.split("."):
            value = getattr(value, part)
    except Exception as error:
        # Whatever stands in a module may raise whatever it likes.
        said = str(error) if isinstance(error, (ImportError, AttributeError)) else raised(error)
        said = f"{' '.join(said.split()):.150}{_near(error)}"
        raise ValueError(f"the subject {name!r:.100} cannot be found: {said}") from error
    if not callable(value):
        raise ValueError(f"the subject {name!r} must be callable; got {type(value).__name__:.60}")
    function: Callable[..., Any] = value
    return function


def _near(error: Exception) -> str:
    """Names like the one that is not there."""
    here = [path.stem for path in Path.cwd().glob("*.py")]
    names = dir(error.obj) if isinstance(error, AttributeError) else here * isinstance(error, ModuleNotFoundError)
    near = get_close_matches(str(getattr(error, "name", "")), names)
    return f"; near it: {', '.join(near)}"[:100] if near else ""
