"""Files as text, whatever they are packed in: what is wrong with their bytes, and in which line."""

from __future__ import annotations

import bz2
import codecs
import gzip
import importlib
import io
import lzma
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

from pbde_ref.validation import instance, shown

__all__ = ["PARQUET", "SHOWN", "BadLine", "DataError", "Limits", "Note", "Text", "open_text", "optional", "shortened"]

# Longest piece of a cell that a message repeats.
SHOWN = 40
MOST_CHARACTERS = 300
PARQUET = b"PAR1"
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet; save the sheet as CSV",
    b"SQLite f": "a database; export the table as CSV",
    b"<": "a web page or XML, not the file that it links to",
    b"version ": "a pointer of Git LFS; fetch the file itself (git lfs pull)",
}


@dataclass(frozen=True)
class Note:
    """What is to be said about a file, and what to do about it: words, and options with their values.

    Examples
    --------
    >>> note = Note("line 17: a tie", ("say ", ("ties", "half")))
    >>> print(note)
    line 17: a tie; say ties="half"
    >>> print(note.spelled(command_line=True))
    line 17: a tie; say --ties half
    """

    problem: str
    advice: tuple[str | tuple[str, str], ...] = ()

    def spelled(self, *, command_line: bool = False) -> str:
        """In at most 300 characters, with options as Python or the command line spells them."""

        def option(name: str, value: str) -> str:
            return f"--{name.replace('_', '-')} {shlex.quote(value)}" if command_line else f'{name}="{value}"'

        advice = "".join(part if isinstance(part, str) else option(*part) for part in self.advice)
        room = max(MOST_CHARACTERS - len(advice) - 2, SHOWN)
        return "; ".join(filter(None, [shortened(self.problem, room), advice]))

    def __str__(self) -> str:
        return self.spelled()


class DataError(ValueError):
    """A file does not hold the comparisons that it should; the message says which line, and why.

    Attributes
    ----------
    note : Note

    Examples
    --------
    >>> from pbde_ref.estimation.sources import BadLine
    >>> raise DataError(f"votes.csv, {BadLine(17, 'a tie')}", "say ", ("ties", "half"))
    Traceback (most recent call last):
        ...
    pbde_ref.estimation.sources.DataError: votes.csv, line 17: a tie; say ties="half"
    """

    def __init__(self, problem: str, *advice: str | tuple[str, str]) -> None:
        self.note = Note(problem, advice)
        super().__init__(str(self.note))

    def __reduce__(self) -> tuple[Any, ...]:
        return DataError, (self.note.problem, *self.note.advice)


def shortened(text: str, most: int = SHOWN) -> str:
    """A text on one line, its middle left out where it is long.

    Examples
    --------
    >>> shortened("a very long text", 10)
    'a ver … xt'
    """
    text = " ".join(text[: 4 * most + 100].split()) if len(text) > 4 * most + 100 else " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - most // 3 - 2]} … {text[-(most // 3 - 1) :]}"


@dataclass(frozen=True)
class BadLine:
    """A line of a file that is no comparison.

    Attributes
    ----------
    line : int
        From 1, the header's included.
    reason : str
    advice : tuple
        As `DataError` takes it.
    """

    line: int
    reason: str
    advice: tuple[str | tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True)
class Limits:
    """How much of a file is read at most, after decompression.

    Attributes
    ----------
    line : int
        Bytes of a line.
    total : int
        Bytes of the file.
    rows : int
        Of a parquet file.
    """

    line: int = 2**24
    total: int = 2**36
    rows: int = 2**28


@dataclass(frozen=True)
class Text:
    """An open file as text; `raw` are its bytes as they are on disk."""

    name: str
    stream: IO[str]
    raw: Any
    content: Any
    encoding: str
    limits: Limits

    def unreadable(self, error: Exception) -> DataError:
        """What is wrong with the bytes, and in which line: they are read once more, for chunks know no lines."""
        where = "standard input"
        if self.name != "-":
            where, line = self.name, 0
            with _opened(self.name) as (_, content):
                limited = io.BufferedReader(_Limited(self.name, content, self.limits), 2**16)
                try:
                    for line, bytes_ in enumerate(limited, 1):  # noqa: B007
                        bytes_.decode(self.encoding)
                except UnicodeError:
                    where = f"{self.name}, line {line}"
                except Damaged:
                    where = f"{self.name}, line {line + 1}"
        if isinstance(error, UnicodeDecodeError) and any(byte < 9 for byte in error.object):
            return DataError(f"{where}: these bytes are no text", "unless they are UTF-16: ", ("encoding", "utf-16"))
        if isinstance(error, UnicodeDecodeError):
            byte = f"{error.object[error.start]:#04x}"
            problem = f"{where}: byte {byte} is not {self.encoding} text"
            return DataError(problem, "name the file's encoding, such as ", ("encoding", "cp1252"))
        if isinstance(error, UnicodeError):
            return DataError(f"{self.name}: this is not {self.encoding} text ({error})")
        return DataError(f"{where}: the compressed file is damaged or ends early ({error})")


class Damaged(Exception):  # noqa: N818
    """What a decompressor found wrong."""


class _Unpacked(io.RawIOBase):
    """Bytes without their compression."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As much as comes at once."""
        try:
            return int(self._content.readinto(buffer))
        except Exception as error:
            # Each decompressor has its own words for it.
            raise Damaged(str(error)) from None


class _Limited(io.RawIOBase):
    """Bytes of a file, until a line of it or all of it is longer than it may be."""

    def __init__(self, name: str, content: Any, limits: Limits) -> None:
        self._name, self._content, self._limits = name, content, limits
        self._line = self._total = self._lines = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As much as comes at once."""
        part = self._content.read1(len(buffer))
        buffer[: len(part)] = part
        self._total += len(part)
        if len(part) + self._line > self._limits.line:
            for line in part.splitlines(keepends=True):
                self._line += len(line)
                if self._line > self._limits.line:
                    where = f"{self._name}, line {self._lines + 1}"
                    raise DataError(f"{where}: longer than {self._limits.line:,} bytes, the limit of a line")
                if line.endswith((b"\n", b"\r")):
                    self._line, self._lines = 0, self._lines + 1
        else:
            end = max(part.rfind(b"\n"), part.rfind(b"\r"))
            self._lines += part.count(b"\n")
            self._line = self._line + len(part) if end < 0 else len(part) - end - 1
        if self._total > self._limits.total:
            raise DataError(f"{self._name}: longer than {self._limits.total:,} bytes, the limit of a file")
        return len(part)


@contextmanager
def open_text(path: str | os.PathLike[str], encoding: str | None, limits: Limits | None = None) -> Iterator[Text]:
    """Open a file, or "-" for standard input; compression and byte order marks are recognised by their bytes.

    Raises
    ------
    DataError
        Now or while it is read: if the compressed file is damaged, a limit is exceeded, or the bytes are no text.
    ValueError
        If Python does not know the encoding.
    """
    limits = Limits() if limits is None else limits
    instance("path", path, (str, os.PathLike), "a path or a table")
    name = os.fspath(path)
    with _opened(name) as (raw, content):
        try:
            start = content.peek(8)[:8]
        except Damaged as error:
            raise DataError(f"{name}: the compressed file is damaged ({error})") from None
        for mark, what in _FOREIGN.items():
            if start.startswith(mark):
                raise DataError(f"{name}: this is {what}")
        chosen = encoding or next((known for mark, known in _MARKS if start.startswith(mark)), "utf-8")
        try:
            limited = io.BufferedReader(_Limited(name, content, limits), 2**16)
            stream = io.TextIOWrapper(limited, encoding=chosen, newline="")
        except (LookupError, ValueError):
            raise ValueError(f"`encoding` must be one that Python knows; got {encoding!r:.100}") from None
        text = Text(name, stream, raw, content, chosen, limits)
        try:
            yield text
        except (UnicodeError, Damaged) as error:
            raise text.unreadable(error) from None
        finally:
            # Whoever opened the bytes closes them; standard input stays open.
            stream.detach()


@contextmanager
def _opened(name: str) -> Iterator[tuple[Any, Any]]:
    """The file, and its content without compression."""
    if name == "-" and sys.stdin is None:
        raise OSError("standard input is closed")
    with ExitStack() as stack:
        try:
            raw: Any = sys.stdin.buffer if name == "-" else stack.enter_context(open(name, "rb"))
        except UnicodeEncodeError:
            raise ValueError(f"`path` must be the name of a file; got {shown(name)}") from None
        start = raw.peek(6)[:6]
        for mark, unpack in _PACKED.items():
            if start.startswith(mark):
                yield raw, io.BufferedReader(_Unpacked(stack.enter_context(unpack(raw))), 2**16)
                return
        yield raw, raw


def optional(module: str, what: str, package: str) -> Any:
    """A module that is not required, or an error that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise DataError(f"{what} needs the package {package}: pip install 'pbde-ref[files]'") from None


def _zstandard(raw: Any) -> Any:
    return optional("zstandard", "a zst file", "zstandard").ZstdDecompressor().stream_reader(
        raw, read_across_frames=True, closefd=False
    )


_PACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _zstandard,
}
