"""Putting measured tables where they are read."""

from __future__ import annotations

import os
from pathlib import Path

from pbde_ref.files import check_writable, read_bytes, write_atomically

__all__ = ["BEGIN", "END", "check_writable", "put_between_marks", "split_at_marks"]

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def put_between_marks(path: str | os.PathLike[str], text: str) -> None:
    """Replace what stands between the two marks of a file; a file that does not exist gets the text alone.

    Raises
    ------
    ValueError
        If the file exists and does not hold each mark once, in order.
    """
    head, tail = split_at_marks(path)
    write_atomically(path, f"{head}{BEGIN}\n\n{text.strip()}\n\n{END}{tail}".encode())


def split_at_marks(path: str | os.PathLike[str]) -> tuple[str, str]:
    """What stands before and after the marks of a file; nothing if there is no such file."""
    target = Path(path)
    # A pipe that is about to be written to is not waited for.
    if not target.exists() or target.is_fifo():
        return "", "\n"
    document = read_bytes(target, limit=2**26).decode()
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in tail or END in head:
        raise ValueError(f"`{os.fspath(path)}` must hold the lines {BEGIN} and {END}, once each, or not exist yet")
    return head, tail
