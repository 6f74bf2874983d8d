"""Pages in Markdown: what experiments found, with their figures."""

from collections.abc import Sequence

from tabulate import tabulate

__all__ = ["grid", "number"]


def grid(rows: list[list[str]], headers: Sequence[str]) -> str:
    """A table in Markdown."""
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def number(value: float | None, digits: int = 4) -> str:
    """With so many decimals; a dash if there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
