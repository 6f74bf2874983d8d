"""Formats of files: each yields the names of its columns first, then chunks of their cells."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import itemgetter, methodcaller
from pathlib import PurePath
from typing import Any

import numpy as np

from pbde_ref.estimation.aggregation import Coded
from pbde_ref.estimation.sources import PARQUET, SHOWN, BadLine, DataError, Limits, Text, open_text, optional
from pbde_ref.files import bytes_of

__all__ = ["FORMATS", "Chunk", "Header", "Style", "Table", "open_table"]

# Rows held in memory at a time; with more of them Python's garbage collector has more to look through.
CHUNK_ROWS = 1 << 12
# Characters that are split into lines at a time.
BLOCK = 1 << 17
# Bytes of a columnar file that is packed once more, which are held in memory.
MOST_UNPACKED = 1 << 31
# Rows of a columnar file; they are no Python objects.
BATCH_ROWS = 1 << 17
PACKED = (".gz", ".bz2", ".xz", ".zst")
ENDINGS = {"tsv": ".tsv .tab", "jsonl": ".jsonl .ndjson .json", "preflib": ".soc .soi .toc .toi .wmg .pwg .mjg .tog"}
Cells = Sequence[Any] | Coded


@dataclass
class Chunk:
    """Rows: the numbers of the lines where they begin, their cells by column, and the bad lines among them."""

    lines: Sequence[int] = ()
    columns: Sequence[Cells] = ()
    bad: list[BadLine] = field(default_factory=list)
    headers: int = 0


@dataclass(frozen=True)
class Style:
    """How the caller says that a file is written; None and "" where it does not."""

    form: str | None = None
    delimiter: str | None = None
    quotes: bool = True
    encoding: str | None = None
    limits: Limits | None = None


@dataclass(frozen=True)
class Header:
    """Names of the columns, and what separates them in a CSV file."""

    names: tuple[str, ...]
    delimiter: str = ""


@dataclass(frozen=True)
class Table:
    """A file whose header has been read.

    Attributes
    ----------
    name : str
    headers : tuple of Header
        Each way in which the first line can be read, the likeliest first.
    chunks : callable
        Given the number of a header, the columns wanted, and those that may hold truth values, yields chunks.
    text : Text or None
        Where it is read from, if bytes are.
    """

    name: str
    headers: tuple[Header, ...]
    chunks: Callable[[int, Sequence[str], Sequence[str]], Iterator[Chunk]]
    text: Text | None = None


@contextmanager
def open_table(path: Any, style: Style) -> Iterator[Table]:
    """Open a file, or a table in memory that has columns by name, as far as its header.

    Raises
    ------
    DataError
        If it has no header, or nothing that can be read.
    """
    if not isinstance(path, str | os.PathLike) and hasattr(type(path), "columns"):
        yield _frame(path)
        return
    with open_text(path, style.encoding, style.limits) as text:
        start = text.content.peek(4)[:4]
        form = style.form or ("parquet" if start == PARQUET else _by_ending(path))
        yield FORMATS[form](text, style)


def _by_ending(path: str | os.PathLike[str]) -> str:
    endings = [ending for ending in PurePath(os.fspath(path).lower()).suffixes if ending not in PACKED]
    return next((form for form, known in ENDINGS.items() if endings and endings[-1] in known.split()), "csv")


# --- CSV ---


def _csv(text: Text, style: Style) -> Table:
    quoting = csv.QUOTE_MINIMAL if style.quotes else csv.QUOTE_NONE
    form: dict[str, Any] = {"strict": True, "skipinitialspace": True, "quoting": quoting}
    line, above = text.stream.readline(), 1
    while line and not line.strip():
        line, above = text.stream.readline(), above + 1
    if not line:
        raise DataError(f"{text.name}: the file is empty")
    if line.lstrip()[:1] in "[{" and line.rstrip()[-1:] in "[]{}," and style.form is None:
        return _json(text, style, line)
    headers: list[tuple[str, list[str]]] = []
    failure: csv.Error | None = None
    delimiters = [style.delimiter] if style.delimiter else sorted([",", ";", "\t"], key=line.count, reverse=True)
    for delimiter in delimiters:
        try:
            headers.append((delimiter, next(csv.reader([line], delimiter=delimiter, **form))))
        except csv.Error as error:
            failure = failure or error
    if not headers:
        assert failure is not None
        raise DataError(f"{text.name}, line 1: {_csv_reason(failure)}")

    def chunks(number: int, wanted: Sequence[str], _: Sequence[str]) -> Iterator[Chunk]:
        delimiter, header = headers[number]
        names = [name.strip() for name in header]
        for name in wanted:
            if names.count(name) > 1:
                raise DataError(f"{text.name}, line 1: {names.count(name)} columns are named {name!r}")
        columns = [names.index(name) for name in wanted]
        return _csv_blocks(text, above, header, columns, {"delimiter": delimiter, **form})

    found = tuple(Header(tuple(name.strip() for name in header), delimiter) for delimiter, header in headers)
    return Table(text.name, found, chunks, text)


def _csv_blocks(
    text: Text, above: int, header: list[str], columns: list[int], form: dict[str, Any]
) -> Iterator[Chunk]:
    """Blocks of lines; those that need no CSV reader are split at once, which takes a third of the time."""
    delimiter, quoted = form["delimiter"], form["quoting"] != csv.QUOTE_NONE
    while block := text.stream.read(BLOCK):
        block += text.stream.readline()
        if "\r" in block:
            block = block.replace("\r\n", "\n")
        lines = block.removesuffix("\n").split("\n")
        if "\r" in block or "\0" in block or (quoted and '"' in block) or max(map(len, lines)) > csv.field_size_limit():
            reader = csv.reader(chain(io.StringIO(block, newline=""), text.stream), **form)
            yield from _csv_chunks(text.name, reader, above, header, columns)
            return
        cells: list[list[str]] = []
        if set(map(methodcaller("count", delimiter), lines)) == {len(header) - 1} and "\ufeff" not in block:
            flat = delimiter.join(lines).split(delimiter)
            cells = [flat[column :: len(header)] for column in columns]
        if cells and all(map(str.strip, cells[0])) and header[columns[0]] not in cells[0]:
            yield Chunk(range(above + 1, above + 1 + len(lines)), cells)
        else:
            reader = csv.reader(io.StringIO(block, newline=""), **form)
            yield from _csv_chunks(text.name, reader, above, header, columns)
        above += len(lines)


def _csv_chunks(name: str, reader: Any, above: int, header: list[str], columns: list[int]) -> Iterator[Chunk]:
    ended, last = False, above
    # Files that were joined bring their headers along, and perhaps their byte order marks.
    repeated = (header, ["\ufeff" + header[0], *header[1:]])
    while not ended:
        chunk, before = Chunk(), last
        rows: list[list[str]] = []
        # How many of them are counted, and the last line of these: most errors come in many lines.
        counted, known = 0, last
        while len(rows) < CHUNK_ROWS and not ended:
            try:
                rows.extend(islice(reader, CHUNK_ROWS - len(rows)))
                ended = len(rows) < CHUNK_ROWS
            except csv.Error as error:
                known += sum(map(_height, rows[counted:]))
                counted = len(rows)
                bad = BadLine(known + 1, _csv_reason(error))
                if above + reader.line_num > known + 1:
                    # What was swallowed with it may be most of the file; nobody would want that skipped.
                    raise DataError(f"{name}, {bad}") from None
                chunk.bad.append(bad)
                rows.append([])
        last = above + reader.line_num
        if rows:
            lines: Sequence[int] = range(before + 1, last + 1)
            flat = len(lines) == len(rows) and set(map(len, rows)) == {len(header)}
            if flat and not any(row in rows for row in repeated):
                chunk.lines, chunk.columns = lines, [list(map(itemgetter(column), rows)) for column in columns]
            if not chunk.columns or not all(map(str.strip, chunk.columns[0])):
                _sift(chunk, rows, before + 1, header, repeated, columns)
        yield chunk


def _height(row: list[str]) -> int:
    """Lines of a row: its cells hold the breaks of all but the last."""
    return 1 + sum(cell.count("\n") + cell.count("\r") - cell.count("\r\n") for cell in row)


def _sift(
    chunk: Chunk, rows: list[list[str]], line: int, header: list[str], repeated: Sequence[list[str]], columns: list[int]
) -> None:
    """Rows of the right width; blank ones do not matter, nor do empty cells beyond the last column."""
    lines, kept, width = [], [], len(header)
    for row in rows:
        first, height = line, _height(row)
        line += height
        if not any(cell.strip() for cell in row):
            continue
        if row in repeated:
            chunk.headers += 1
            continue
        spans = f"; it spans {height} lines, perhaps for a stray quotation mark" if height > 1 else ""
        if len(row) < width or any(cell.strip() for cell in row[width:]):
            chunk.bad.append(BadLine(first, f"{len(row)} cells where the header has {width}{spans}"))
        elif spans and any("\n" in row[column] or "\r" in row[column] for column in columns):
            chunk.bad.append(BadLine(first, f"a cell has several lines{spans}"))
        else:
            lines.append(first)
            kept.append(row)
    chunk.lines, chunk.columns = lines, [list(map(itemgetter(column), kept)) for column in columns]


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


# --- JSON ---


def _json(text: Text, style: Style, start: str = "") -> Table:
    """Objects, one a line or in an array over many lines."""
    start = start or text.stream.readline()
    if not start:
        raise DataError(f"{text.name}: the file is empty")
    while start and not start.strip():
        start = text.stream.readline()
    try:
        first = json.loads(start)
        by_line = not isinstance(first, list) or not all(isinstance(part, dict) for part in first)
    except (ValueError, RecursionError):
        by_line = start.strip() != "{" and not start.lstrip().startswith("[")
    numbered = _json_lines(start, text) if by_line else _json_values(start, text)
    ahead = []
    for number, value in numbered:
        ahead.append((number, value))
        if isinstance(value, dict) or len(ahead) == CHUNK_ROWS:
            break
    if not ahead:
        raise DataError(f"{text.name}: no comparisons")
    names = ahead[-1][1]
    if not isinstance(names, dict):
        number, value = ahead[0]
        raise DataError(f"{text.name}, {value if isinstance(value, BadLine) else BadLine(number, _no_object(value))}")

    def chunks(_: int, wanted: Sequence[str], truths: Sequence[str]) -> Iterator[Chunk]:
        following = chain(ahead, numbered)
        while block := list(islice(following, CHUNK_ROWS)):
            yield _json_chunk(block, wanted, truths)

    return Table(text.name, (Header(tuple(names)),), chunks, text)


def _no_object(value: Any) -> str:
    return f"a JSON {type(value).__name__:.60} where an object should be"


def _json_lines(line: str, text: Text) -> Iterator[tuple[int, Any]]:
    number = 1
    while line:
        if line.strip():
            try:
                yield number, json.loads(line)
            except RecursionError:
                yield number, BadLine(number, "JSON nested deeper than Python can follow")
            except ValueError as error:
                reason = getattr(error, "msg", str(error))
                yield number, BadLine(number, f"not JSON ({reason}); each line must be one JSON object")
        line, number = text.stream.readline(), number + 1


def _json_values(buffer: str, text: Text) -> Iterator[tuple[int, Any]]:
    """The members of an array, or objects one after the other, with the numbers of their lines."""
    decoder, line, block, ended = json.JSONDecoder(), 1, 2**16, False
    between = re.compile(r"[\s,\[\]]*")
    while True:
        skipped = between.match(buffer)
        assert skipped is not None
        line += buffer.count("\n", 0, skipped.end())
        buffer = buffer[skipped.end() :]
        if buffer:
            try:
                value, end = decoder.raw_decode(buffer)
                yield line, value
                line += buffer.count("\n", 0, end)
                buffer, block = buffer[end:], 2**16
                continue
            except RecursionError:
                raise DataError(f"{text.name}, line {line}: JSON nested deeper than Python can follow") from None
            except ValueError as error:
                if ended:
                    raise DataError(f"{text.name}, line {line}: not JSON ({getattr(error, 'msg', error)})") from None
        elif ended:
            return
        more = text.stream.read(block)
        # What is cut in two is tried again with twice as much.
        buffer, block, ended = buffer + more, 2 * block, not more


def _json_chunk(block: Iterable[tuple[int, Any]], wanted: Sequence[str], truths: Sequence[str] = ()) -> Chunk:
    chunk, lines, rows = Chunk(), [], []
    paths = [(name, name.split("."), name in truths) for name in wanted]
    for number, record in block:
        if not isinstance(record, dict):
            chunk.bad.append(record if isinstance(record, BadLine) else BadLine(number, _no_object(record)))
            continue
        cells = [cell_text(_at(record, name, path), truth) for name, path, truth in paths]
        if None in cells:
            name, path, _ = paths[cells.index(None)]
            value = _at(record, name, path)
            given = "nothing" if value is None and name not in record else _json_shown(value)
            chunk.bad.append(BadLine(number, f"{name!r} must be text or a number; got {given}"))
            continue
        lines.append(number)
        rows.append(cells)
    chunk.lines, chunk.columns = lines, list(zip(*rows, strict=True)) or [()] * len(paths)
    return chunk


def _at(record: dict[str, Any], name: str, path: list[str]) -> Any:
    if name in record or len(path) == 1:
        return record.get(name)
    value: Any = record
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _json_shown(value: Any) -> str:
    try:
        return json.dumps(value)[:SHOWN]
    except (RecursionError, TypeError):
        return f"a {type(value).__name__:.60}"


def cell_text(value: Any, truth: bool = False) -> Any:
    r"""A value as text: messages of a chat by their contents; None if it is no label; ranked answers as they are.

    Examples
    --------
    >>> cell_text([{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}])
    'Q\nA'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower() if truth else None
    if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) < 2.0**53:
        # A column of whole numbers in which one is missing comes as floats.
        return str(int(value))
    if isinstance(value, int | float | np.number):
        return None if value != value else str(value)
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        if all("content" in part for part in value):
            return "\n".join(str(part["content"]) for part in value)
        return value if all("rank" in part for part in value) else None
    if isinstance(value, list) and value and all(isinstance(part, str | int | float) for part in value):
        return ", ".join(map(str, value))
    return None


# --- Others ---


def _unpacked(text: Text) -> bytes:
    content = bytes_of(text.content, MOST_UNPACKED)
    if content is None:
        raise DataError(f"{text.name}: longer than {MOST_UNPACKED:,} bytes, the limit of a packed parquet file")
    return content


def _parquet(text: Text, style: Style) -> Table:
    parquet = optional("pyarrow.parquet", "a parquet file", "pyarrow")
    arrow = optional("pyarrow", "a parquet file", "pyarrow")
    plain = text.content is text.raw and text.raw.seekable()
    content = text.content if plain else io.BytesIO(_unpacked(text))
    try:
        file = parquet.ParquetFile(content)
        schema, groups = file.schema_arrow, [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{text.name}: the parquet file is damaged ({error})") from None
    # A few bytes can say that a value comes a billion times.
    for what, found, most in (
        ("rows", file.metadata.num_rows, text.limits.rows),
        ("bytes of a row group", max((group.total_byte_size for group in groups), default=0), MOST_UNPACKED),
        ("bytes", sum(group.total_byte_size for group in groups), text.limits.total),
    ):
        if found > most:
            raise DataError(f"{text.name}: {found:,} {what}, the limit is {most:,}")

    def chunks(_: int, wanted: Sequence[str], truths: Sequence[str]) -> Iterator[Chunk]:
        above, types = 0, arrow.types
        # Texts stay the numbers as which they were written.
        texts = [field.name for field in schema if types.is_string(field.type) and field.name in wanted]
        roots = list(dict.fromkeys(name if name in schema.names else name.split(".")[0] for name in wanted))
        try:
            for batch in parquet.ParquetFile(content, read_dictionary=texts).iter_batches(BATCH_ROWS, columns=roots):
                lines, above = range(above + 1, above + len(batch) + 1), above + len(batch)
                if roots == list(wanted) and all(_is_flat(types, batch.column(name)) for name in wanted):
                    coded = [batch.column(name).dictionary_encode() for name in wanted]
                    known = [column.dictionary.to_pylist() for column in coded]
                    # NaN is a cell without a value.
                    cells = [[cell_text(value, True) or "" for value in values] for values in known]
                    columns = zip(coded, cells, strict=True)
                    yield Chunk(lines, [Coded(np.asarray(column.indices), texts) for column, texts in columns])
                    continue
                for start in range(0, len(batch), CHUNK_ROWS):
                    part = batch.slice(start, CHUNK_ROWS).to_pylist()
                    yield _json_chunk(zip(lines[start:], part, strict=False), wanted, truths)
        except (arrow.ArrowException, OSError) as error:
            raise DataError(f"{text.name}: the parquet file is damaged ({error})") from None

    return Table(text.name, (Header(tuple(schema.names)),), chunks)


def _is_flat(types: Any, column: Any) -> bool:
    flat = (types.is_dictionary, types.is_string, types.is_integer, types.is_floating, types.is_boolean)
    return column.null_count == 0 and any(is_kind(column.type) for is_kind in flat)


def _frame(frame: Any) -> Table:
    """A DataFrame of pandas or polars."""
    names = [str(name) for name in frame.columns]

    def chunks(_: int, wanted: Sequence[str], truths: Sequence[str]) -> Iterator[Chunk]:
        lists = [frame[frame.columns[names.index(name)]].to_list() for name in wanted]
        records = enumerate(dict(zip(wanted, row, strict=True)) for row in zip(*lists, strict=True))
        while block := list(islice(records, CHUNK_ROWS)):
            yield _json_chunk(block, wanted, truths)

    return Table("the table", (Header(tuple(names)),), chunks)


def _preflib(text: Text, style: Style) -> Table:
    """PrefLib: names of alternatives in comments, then ``count: ranking``, or ``count,one,other`` of a graph."""
    names: dict[str, str] = {}
    lines: list[int] = []
    rows: list[tuple[Any, ...]] = []
    graph = False
    for number, line in enumerate(text.stream, 1):
        said = line.strip()
        if match := re.match(r"#\s*ALTERNATIVE NAME (\d+):\s*(.*)", said):
            names[match[1]] = match[2]
        if not said or said.startswith("#"):
            continue
        graph = ":" not in said
        weight, _, order = said.partition("," if graph else ":")
        places = [part.strip("{}").split(",") for part in re.findall(r"\{[^{}]*\}|[^,{}\s][^,{}]*", order)]
        ranking = [[names.get(one.strip(), one.strip()) for one in place] for place in places]
        if graph and len(ranking) != 2:
            raise DataError(f"{text.name}, line {number}: neither a count and a ranking nor an edge of a graph")
        lines.append(number)
        rows.append((ranking[0][0], ranking[1][0], weight.strip()) if graph else (ranking, weight.strip()))
    if not rows:
        raise DataError(f"{text.name}: no comparisons")
    header = ("chosen", "rejected", "weight") if graph else ("ranking", "weight")

    def chunks(_: int, wanted: Sequence[str], truths: Sequence[str]) -> Iterator[Chunk]:
        yield Chunk(lines, [[row[header.index(name)] for row in rows] for name in wanted])

    return Table(text.name, (Header(header),), chunks)


FORMATS: dict[str, Callable[[Text, Style], Table]] = {
    "csv": _csv, "tsv": lambda text, style: _csv(text, Style("tsv", "\t", style.quotes)), "jsonl": _json,
    "parquet": _parquet, "preflib": _preflib,
}  # fmt: skip
