"""Files of comparisons as rows of text: which format they have, and where each row stands in the file."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import IO, Any

__all__ = ["FORMATS", "BadLine", "Chunk", "DataError", "Limits", "open_text", "rows_of"]

FORMATS = ("csv", "tsv", "jsonl")
# Rows held in memory at a time; with more of them Python's garbage collector has more to look through.
CHUNK_ROWS = 1 << 12
# Longest piece of a cell that a message repeats.
SHOWN = 40
_Wanted = Callable[[list[str]], dict[str, str]]
_GZIP = b"\x1f\x8b"
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class DataError(ValueError):
    """A file does not hold the comparisons that it should; the message says which line, and why.

    Examples
    --------
    >>> from pbde_ref.estimation.sources import BadLine
    >>> raise DataError(f"votes.csv, {BadLine(17, 'a tie')}")
    Traceback (most recent call last):
        ...
    pbde_ref.estimation.sources.DataError: votes.csv, line 17: a tie
    """


@dataclass(frozen=True)
class BadLine:
    """A line of a file that is no comparison.

    Attributes
    ----------
    line : int
        From 1, the header's included.
    reason : str
    """

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass
class Chunk:
    """Rows of cells with the numbers of the lines where they begin, and the bad lines among them."""

    lines: list[int] = field(default_factory=list)
    cells: list[Sequence[str]] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


@dataclass(frozen=True)
class Text:
    """An open file as text; `raw` are its bytes as they are on disk."""

    name: str
    stream: IO[str]
    raw: Any
    encoding: str
    limits: Limits


@dataclass(frozen=True)
class Limits:
    """How much of a file is read at most, after decompression.

    Attributes
    ----------
    line : int
        Bytes of a line.
    total : int
        Bytes of the file.
    """

    line: int = 2**24
    total: int = 2**36


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
    """Open a file, or "-" for standard input; gzip and byte order marks are recognised by their bytes.

    Raises
    ------
    DataError
        Now or while it is read: if the gzip file is damaged, or a limit is exceeded.
    ValueError
        If Python does not know the encoding.
    """
    limits = Limits() if limits is None else limits
    name = os.fspath(path)
    with _opened(name) as (raw, content):
        try:
            start = content.peek(4)[:4]
        except _DAMAGED as error:
            raise DataError(f"{name}: the gzip file is damaged ({error})") from None
        chosen = encoding or next((known for mark, known in _MARKS if start.startswith(mark)), "utf-8")
        try:
            limited = io.BufferedReader(_Limited(name, content, limits), 2**16)
            stream = io.TextIOWrapper(limited, encoding=chosen, newline="")
        except LookupError:
            raise ValueError(f"`encoding` must be one that Python knows; got {encoding!r:.100}") from None
        try:
            yield Text(name, stream, raw, chosen, limits)
        finally:
            # Whoever opened the bytes closes them; standard input stays open.
            stream.detach()


@contextmanager
def _opened(name: str) -> Iterator[tuple[Any, Any]]:
    """The file, and its content without compression."""
    with ExitStack() as stack:
        raw: Any = sys.stdin.buffer if name == "-" else stack.enter_context(open(name, "rb"))
        if raw.peek(2)[:2] == _GZIP:
            yield raw, stack.enter_context(io.BufferedReader(gzip.GzipFile(fileobj=raw)))
        else:
            yield raw, raw


def _unreadable(text: Text, error: Exception) -> DataError:
    """What is wrong with the bytes of a file, and in which line: it is read once more, for chunks know no lines."""
    where = "standard input"
    if text.name != "-":
        where, line = text.name, 0
        with _opened(text.name) as (_, content):
            limited = io.BufferedReader(_Limited(text.name, content, text.limits), 2**16)
            try:
                for line, bytes_ in enumerate(limited, 1):  # noqa: B007
                    bytes_.decode(text.encoding)
            except UnicodeDecodeError:
                where = f"{text.name}, line {line}"
            except _DAMAGED:
                where = f"{text.name}, line {line + 1}"
    if isinstance(error, UnicodeDecodeError):
        byte = f"{error.object[error.start]:#04x}"
        reason = f"byte {byte} is not {text.encoding} text; name the file's encoding, such as cp1252 or latin-1"
    else:
        reason = f"the gzip file is damaged or ends early ({error})"
    return DataError(f"{where}: {reason}")


def rows_of(
    text: Text, form: str, wanted: _Wanted, delimiter: str | None = None, quotes: bool = True
) -> Iterator[Chunk]:
    """Chunks of rows, each with the cells of the wanted columns in their order.

    Parameters
    ----------
    text : Text
    form : str
        One of `FORMATS`.
    wanted : callable
        Given the names of the file's columns, the names of those to read by what they are for; raises if one is
        missing.
    delimiter : str, optional
        Of a CSV file. Default: the one of comma, semicolon and tab under which all wanted columns exist.
    """
    if form == "jsonl":
        reader = _json_chunks(text, wanted)
    else:
        reader = _csv_chunks(text, wanted, "\t" if form == "tsv" else delimiter, quotes)
    try:
        yield from reader
    except (UnicodeDecodeError, *_DAMAGED) as error:
        raise _unreadable(text, error) from None


def _csv_chunks(text: Text, wanted: _Wanted, delimiter: str | None, quotes: bool) -> Iterator[Chunk]:
    style: dict[str, Any] = {
        "strict": True,
        "skipinitialspace": True,
        "quoting": csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
    }
    header_line = text.stream.readline()
    skipped = 0
    while header_line and not header_line.strip():
        skipped, header_line = skipped + 1, text.stream.readline()
    if not header_line:
        raise DataError(f"{text.name}: the file is empty")
    header, delimiter, columns = _header(text, header_line, wanted, delimiter, style)
    pick = itemgetter(*columns)
    reader = csv.reader(text.stream, delimiter=delimiter, **style)
    above, ended = skipped + 1, False
    last = above
    while not ended:
        chunk = Chunk()
        # Number of each row's last line, for a cell may have several.
        rows: list[tuple[int, list[str]]] = []
        while len(rows) < CHUNK_ROWS and not ended:
            try:
                rows.extend((above + reader.line_num, row) for row in islice(reader, CHUNK_ROWS - len(rows)))
                ended = len(rows) < CHUNK_ROWS
            except csv.Error as error:
                before = rows[-1][0] if rows else last
                bad = BadLine(before + 1, _csv_reason(error))
                if above + reader.line_num > before + 1:
                    # What was swallowed with it may be most of the file; nobody would want that skipped.
                    raise DataError(f"{text.name}, {bad}") from None
                chunk.bad.append(bad)
                rows.append((before + 1, []))
        if rows:
            ends = [end for end, _ in rows]
            starts = [last + 1, *(end + 1 for end in ends[:-1])]
            last = ends[-1]
            if last - starts[0] == len(rows) - 1 and {len(row) for _, row in rows} == {len(header)}:
                chunk.lines, chunk.cells = starts, [pick(row) for _, row in rows]
            if not chunk.cells or not all(map(str.strip, map(itemgetter(0), chunk.cells))):
                _sift(chunk, rows, starts, len(header), pick)
        yield chunk


def _sift(
    chunk: Chunk,
    rows: list[tuple[int, list[str]]],
    starts: list[int],
    width: int,
    pick: Callable[[list[str]], Sequence[str]],
) -> None:
    """Rows of the right width; blank ones do not matter, nor do empty cells beyond the last column."""
    chunk.lines, chunk.cells = [], []
    for first, (last, row) in zip(starts, rows, strict=True):
        if len(row) == width and last == first:
            cells = pick(row)
            if cells[0].strip() or any(cell.strip() for cell in row):
                chunk.lines.append(first)
                chunk.cells.append(cells)
            continue
        if not any(cell.strip() for cell in row):
            continue
        spans = f"; it spans {last - first + 1} lines, perhaps for a stray quotation mark" if last > first else ""
        if len(row) < width or any(cell.strip() for cell in row[width:]):
            chunk.bad.append(BadLine(first, f"{len(row)} cells where the header has {width}{spans}"))
        elif spans and any("\n" in cell or "\r" in cell for cell in pick(row)):
            chunk.bad.append(BadLine(first, f"a cell has several lines{spans}"))
        else:
            chunk.lines.append(first)
            chunk.cells.append(pick(row))


def _header(
    text: Text, line: str, wanted: _Wanted, delimiter: str | None, style: dict[str, Any]
) -> tuple[list[str], str, list[int]]:
    """The columns' names, the delimiter, and where the wanted columns are."""
    failure: DataError | None = None
    for candidate in sorted([",", ";", "\t"], key=line.count, reverse=True) if delimiter is None else [delimiter]:
        try:
            names = next(csv.reader([line], delimiter=candidate, **style))
        except csv.Error as error:
            failure = failure or DataError(f"{text.name}, line 1: {_csv_reason(error)}")
            continue
        names = [name.strip() for name in names]
        try:
            chosen = list(wanted(names).values())
        except DataError as error:
            failure = failure or error
            continue
        for name in chosen:
            if names.count(name) > 1:
                raise DataError(f"{text.name}, line 1: {names.count(name)} columns are named {name!r}")
        return names, candidate, [names.index(name) for name in chosen]
    assert failure is not None
    raise failure


def _csv_reason(error: csv.Error) -> str:
    """What the csv module found, in words that help."""
    message = str(error)
    if "field larger" in message:
        return f"a cell of more than {csv.field_size_limit():,} characters, the limit; or an open quotation mark"
    if "unexpected end of data" in message:
        return "a quotation mark opens here and is never closed"
    if "expected after" in message:
        return "text follows a closing quotation mark within a cell; a quotation mark inside quotes is written twice"
    return message


def _json_chunks(text: Text, wanted: _Wanted) -> Iterator[Chunk]:
    columns: list[str] | None = None
    numbered, empty = enumerate(text.stream, 1), True
    while block := list(islice(numbered, CHUNK_ROWS)):
        empty = False
        chunk = Chunk()
        for number, line in block:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except RecursionError:
                chunk.bad.append(BadLine(number, "JSON nested deeper than Python can follow"))
                continue
            except ValueError as error:
                reason = getattr(error, "msg", str(error))
                chunk.bad.append(BadLine(number, f"not JSON ({reason}); each line must be one JSON object"))
                continue
            if not isinstance(record, dict):
                chunk.bad.append(BadLine(number, f"a JSON {type(record).__name__} where an object should be"))
                continue
            if columns is None:
                columns = list(wanted(list(record)).values())
            cells = [_json_cell(record.get(name)) for name in columns]
            missing = [name for name, cell in zip(columns, cells, strict=True) if cell is None]
            if missing:
                given = _json_shown(record[missing[0]]) if missing[0] in record else "nothing"
                chunk.bad.append(BadLine(number, f"{missing[0]!r} must be text or a number; got {given}"))
                continue
            chunk.lines.append(number)
            chunk.cells.append([str(cell) for cell in cells])
        yield chunk
    if empty:
        raise DataError(f"{text.name}: the file is empty")


def _json_shown(value: Any) -> str:
    try:
        return json.dumps(value)[:SHOWN]
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


def _json_cell(value: Any) -> str | None:
    """A label as text; None if it is none."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
