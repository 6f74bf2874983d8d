"""Text files read line by line, plain or gzip, and never more of a line than is reasonable."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = [
    "GZIP_DAMAGE", "MAX_BYTES", "MAX_LINES", "MAX_LINE_BYTES", "LimitedBytes", "is_blank", "open_bytes", "read_lines",
]  # fmt: skip

GZIP_MAGIC = b"\x1f\x8b"
GZIP_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error)
MAX_LINE_BYTES = 2**20
"""Of a line: 1 MiB."""

MAX_LINES = 2**27
"""Of a file."""

MAX_BYTES = 2**34
"""Of a file, after decompression: 16 GiB, four times the One Billion Word benchmark."""


class LimitedBytes:
    """A binary stream that raises when more comes than it may hold; it is closed by who opened it.

    Parameters
    ----------
    stream : binary stream
    name : str
        For the error.
    limit : int
        Most bytes.
    """

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, name: str, limit: int = MAX_BYTES) -> None:
        self._stream, self._name, self._limit, self._left = stream, name, limit, limit

    def read(self, size: int = -1) -> bytes:
        """As the stream's own."""
        return self._counted(self._stream.read(size))

    def readline(self, size: int = -1) -> bytes:
        """As the stream's own."""
        return self._counted(self._stream.readline(size))

    def _counted(self, part: bytes) -> bytes:
        self._left -= len(part)
        if self._left < 0:
            raise ValueError(f"`path` must hold at most {self._limit:,} bytes; got more in {self._name}")
        return part


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


def read_lines(
    stream: IO[bytes] | gzip.GzipFile | LimitedBytes, name: str, *, longest: int = MAX_LINE_BYTES, most: int = MAX_LINES
) -> Iterator[str]:
    r"""Lines that are not blank, split at ``\n`` alone: Unicode's other separators occur inside of sentences.

    Parameters
    ----------
    stream : binary stream
    name : str
        For errors.
    longest : int
        Bytes of a line.
    most : int
        Number of lines, empty ones counted.

    Raises
    ------
    ValueError
        If a line is not UTF-8 or longer than that, or there are more.

    Examples
    --------
    >>> from io import BytesIO
    >>> from pbde_ref.language.lines import read_lines
    >>> list(read_lines(BytesIO("one\u2028line\r\n\nand another".encode()), "example"))
    ['one\u2028line', 'and another']
    """
    for number, line in enumerate(iter(lambda: stream.readline(longest + 1), b""), start=1):
        if len(line) > longest:
            size = "1 MiB" if longest == 2**20 else f"{longest:,} bytes"
            raise ValueError(f"`path` must have lines of at most {size}; got a longer one in {name}, line {number}")
        if number > most:
            raise ValueError(f"`path` must have at most {most:,} lines; got more in {name}")
        try:
            text = line.decode("utf-8").strip(" \t\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"`path` must be UTF-8; got {error.reason} in {name}, line {number}") from error
        if not is_blank(text):
            yield text
