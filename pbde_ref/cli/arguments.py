"""What the commands' options have in common."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

from tabulate import tabulate

from pbde_ref.files import check_writable

__all__ = ["Parser", "finite_or_none", "output_path", "real", "short", "table", "whole"]

MOST_CHARACTERS = 300


class Parser(argparse.ArgumentParser):
    """Wrong usage gets one line that names it."""

    def error(self, message: str) -> NoReturn:
        """Print the line to stderr and exit with status 2."""
        self.exit(2, short(f"{self.prog}: {message}") + "\n")


def short(message: str) -> str:
    """A message in at most 300 characters, on one line; what is left out is left out in the middle.

    Examples
    --------
    >>> len(short("x" * 1000))
    300
    """
    message = " ".join(message.split())
    return message if len(message) <= MOST_CHARACTERS else f"{message[:200]} ... {message[-95:]}"


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


def output_path(*endings: str) -> Callable[[str], str]:
    """An option's type: a path that can be written to, found out now and not after an hour's work."""

    def convert(text: str) -> str:
        try:
            check_writable(text, endings)
        except OSError as error:
            raise argparse.ArgumentTypeError(f"cannot be written to: {error.strerror}: {text!r}") from None
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return convert


def table(rows: list[list[Any]], headers: list[str], **options: Any) -> str:
    """Plain columns; what is a number has been formatted by the caller."""
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, **options)


def finite_or_none(value: float) -> float | None:
    """JSON has no word for infinities."""
    return value if math.isfinite(value) else None
