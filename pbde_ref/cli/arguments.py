"""What the commands' options have in common."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

from tabulate import tabulate

__all__ = ["Parser", "finite_or_none", "real", "table", "whole"]


class Parser(argparse.ArgumentParser):
    """Wrong usage gets one line that names it."""

    def error(self, message: str) -> NoReturn:
        """Print the line to stderr and exit with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def whole(least: int, most: int) -> Callable[[str], int]:
    """An option's type: a whole number from `least` to `most`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number; got {text!r}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}; got {value}")
        return value

    return convert


def real(text: str) -> float:
    """An option's type: a finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number; got {text!r}") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite; got {text!r}")
    return value


def table(rows: list[list[Any]], headers: list[str], **options: Any) -> str:
    """Plain columns; what is a number has been formatted by the caller."""
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, **options)


def finite_or_none(value: float) -> float | None:
    """JSON has no word for infinities."""
    return value if math.isfinite(value) else None
