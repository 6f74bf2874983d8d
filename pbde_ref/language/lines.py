"""Text files read line by line, plain or gzip, and never more of a line than is reasonable."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["GZIP_DAMAGE", "is_blank", "open_bytes", "read_lines"]

GZIP_MAGIC = b"\x1f\x8b"
GZIP_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)
MAX_LINE_BYTES = 2**20


def open_bytes(path: Path) -> IO[bytes] | gzip.GzipFile:
    """A file's bytes, decompressed if its first two say that it is gzip; reading may raise one of `GZIP_DAMAGE`."""
    with path.open("rb") as file:
        compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return gzip.open(path) if compressed else path.open("rb")


def is_blank(text: str) -> bool:
    r"""Whether a text shows nothing: blanks, controls, joiners, byte order marks, of which a tokenizer leaves nothing.

    Examples
    --------
    >>> from pbde_ref.language.lines import is_blank
    >>> [is_blank(text) for text in ("\u00a0", "\u200b \ufeff", "\u2581", "\u00a0a", "…")]
    [True, True, True, False, False]
    """
    # SentencePiece writes blanks as U+2581, and reads U+FFFD as one.
    return not any(character.isprintable() and character not in " \u2581\ufffd" for character in text)


def read_lines(stream: IO[bytes] | gzip.GzipFile, name: str) -> Iterator[str]:
    r"""Lines that are not blank, split at ``\n`` alone: Unicode's other separators occur inside of sentences.

    Raises
    ------
    ValueError
        If a line is not UTF-8 or longer than 1 MiB.

    Examples
    --------
    >>> from io import BytesIO
    >>> from pbde_ref.language.lines import read_lines
    >>> list(read_lines(BytesIO("one\u2028line\r\n\nand another".encode()), "example"))
    ['one\u2028line', 'and another']
    """
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), start=1):
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"`path` must have lines of at most 1 MiB; got a longer one in {name}, line {number}")
        try:
            text = line.decode("utf-8").strip(" \t\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"`path` must be UTF-8; got {error.reason} in {name}, line {number}") from error
        if not is_blank(text):
            yield text
