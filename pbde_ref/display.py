"""How values show themselves: in one line of text, and as a small table in a notebook."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from html import escape
from typing import Any

import numpy as np

__all__ = ["Shown"]

FEW = 4
WIDEST = 240


class Shown:
    """A value type that shows its fields, with large arrays by their shape and range.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.ProductProposal([1, 3])
    ProductProposal(a=[0.25, 0.75], b=[0.25, 0.75])
    >>> pb.paper_problem(256).reference
    FiniteDistribution(256 outcomes: -10.0 … 10.0)
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Let no dataclass replace the text by its own."""
        super().__init_subclass__(**options)
        for name in ("__repr__", "_repr_html_"):
            if name not in cls.__dict__:
                setattr(cls, name, getattr(cls, name))

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={text}" for name, text in _fields(self))
        text = f"{type(self).__name__}({parts})"
        return text if len(text) <= WIDEST else f"{text[: WIDEST - 2]}…)"

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Give a copy what it holds; into its arrays nobody writes either."""
        vars(self).update({name: _read_only(value) for name, value in state.items()})

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in _fields(self))
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"


def _read_only(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # A view, for a shallow copy shares the array with the original, which stays as it is.
        value = value.view()
        value.flags.writeable = False
    return value


def _fields(value: Any) -> list[tuple[str, str]]:
    return [(field.name, _in_short(getattr(value, field.name))) for field in fields(value) if field.repr]


def _in_short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple) and any(is_dataclass(entry) for entry in value):
        return f"({len(value)} × {type(value[0]).__name__})"
    if is_dataclass(value) and len(repr(value)) > WIDEST // 2:
        return f"{type(value).__name__}(…)"
    text = " ".join(repr(value).split())
    return text if len(text) <= WIDEST // 2 else f"{text[: WIDEST // 2 - 1]}…"


def _array(array: np.ndarray[Any, Any]) -> str:
    shape = " × ".join(map(str, array.shape))
    if array.dtype.kind not in "iuf" or not array.size:
        return f"[{shape} of {array.dtype}]"
    if array.ndim <= 1 and array.size <= FEW:
        return np.array2string(array, precision=4, separator=", ")
    return f"[{shape}: {array.min():.4g} … {array.max():.4g}]"
