"""Figures to files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from pbde_ref.files import write_atomically

__all__ = ["FORMATS", "save_figure"]

# What would make the bytes of equal figures differ is left out.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}
DOTS_PER_INCH = 200
FORMATS = tuple(suffix[1:] for suffix in _METADATA)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, PDF or SVG, by the path's ending; equal figures give equal bytes.

    Raises
    ------
    ValueError
        If the ending is another one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _METADATA:
        raise ValueError(f"`path` must end in one of {', '.join(_METADATA)}; got {os.fspath(path)!r}")
    buffer = io.BytesIO()
    # Element names in SVG are random unless salted.
    with rc_context({"svg.hashsalt": "pbde_ref"}):
        figure.savefig(buffer, format=suffix[1:], metadata=_METADATA[suffix], dpi=DOTS_PER_INCH)
    write_atomically(path, buffer.getvalue())
