"""Writing files so that a reader never sees half of one, and reading no more of them than is reasonable."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MOST_ARRAY_BYTES", "MOST_BYTES", "bytes_of", "check_folder", "check_writable", "content_digest", "named",
    "read_arrays", "read_bytes", "read_json", "write_arrays", "write_atomically", "write_json",
]  # fmt: skip

MOST_BYTES = 2**28
"""Largest file that is read at once unless another limit is given: 256 MiB."""

MOST_ARRAY_BYTES = 2**34
"""Most that the arrays of a file hold unless another limit is given: 16 GiB."""


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`: either all of it arrives, or the file stays as it was.

    A link is followed to its target, which is replaced. Into a character device, a named pipe (which waits for its
    reader) or the file that is this process's stdout the content is written as it is, neither atomically nor undone.

    Parameters
    ----------
    path : path
    content : bytes

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written to, or `path` is a folder, a socket or a loop of links.
    """
    check_writable(path)
    with named(path):
        stream = _standard_stream(path)
        if stream is not None:
            stream.flush()
            with os.fdopen(os.dup(stream.fileno()), "wb") as file:
                file.write(content)
        elif os.path.exists(path) and not os.path.isfile(path):
            # It was looked at; should it have become a file meanwhile, that is not cut off.
            with os.fdopen(os.open(path, os.O_WRONLY), "wb") as file:
                file.write(content)
        else:
            # A link to nothing resolves to the place where the file will be.
            _replace(Path(os.path.realpath(path)), content)


@contextlib.contextmanager
def named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let the system's errors name `path`: not a temporary file, which tells nobody anything, and not nothing."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror or str(error), os.fspath(path)) from error


def content_digest(content: Any) -> str:
    """SHA-256 of what JSON makes of a value, whatever the order of its names.

    Examples
    --------
    >>> content_digest({"a": 1, "b": None}) == content_digest({"b": None, "a": 1}) != content_digest({"a": 2})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_writable(path: str | os.PathLike[str], endings: Sequence[str] = ()) -> None:
    """Raise now, rather than after long work, what `write_atomically` would raise.

    Parameters
    ----------
    path : path
    endings : sequence of str, optional
        Those that the name may have, in lower case.

    Raises
    ------
    ValueError
        If the ending is another one, or `path` is empty or holds what no name may.
    OSError
        If the folder does not exist, or `path` is something that cannot be written to.
    """
    name = _name_of("a file", path)
    if endings and Path(name).suffix.lower() not in endings:
        raise ValueError(f"`path` must end in one of {', '.join(endings)}; got {name!r}")
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode) or name.endswith(("/", os.sep)):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        raise OSError(errno.EINVAL, "neither a file nor a character device or pipe", name)
    folder = os.path.dirname(os.path.realpath(name))
    if stat.S_ISREG(mode) and not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "the folder does not exist", name)
    # What is there is replaced: its folder, not the file, has to be writable.
    if not os.access(folder if stat.S_ISREG(mode) else name, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)


def _name_of(what: str, path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    try:
        possible = bool(name) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise ValueError(f"`path` must be the name of {what}; got {name!r}")
    return name


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise now, rather than after long work, what making a folder and writing into it would raise.

    Parameters
    ----------
    path : path
        Of a folder; it and those above it need not exist.

    Raises
    ------
    ValueError
        If `path` is empty or holds what no name may.
    OSError
        If the lowest of them that exists is no folder, or cannot be written to.
    """
    name = _name_of("a folder", path)
    there = os.path.realpath(name)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    number = errno.EACCES if os.path.isdir(there) else errno.ENOTDIR
    if number == errno.ENOTDIR or not os.access(there, os.W_OK | os.X_OK):
        raise OSError(number, os.strerror(number), name)


def _standard_stream(path: str | os.PathLike[str]) -> IO[str] | None:
    """The stream of this process that writes to this very place: replacing it would lose what was printed."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        there = os.stat(path)
        for stream in (sys.stdout, sys.stderr):
            if not stat.S_ISCHR(there.st_mode) and os.path.samestat(there, os.fstat(stream.fileno())):
                return stream
    return None


def _replace(target: Path, content: bytes) -> None:
    # A long name leaves no room for a longer one.
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:64]}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _mode(target: Path) -> int:
    """Permissions: those that the file has, or that any new file of the user gets; mkstemp makes files private."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = 2) -> None:
    """Write `value` as JSON, atomically; numbers survive the round trip bit for bit.

    Parameters
    ----------
    path : path
    value : anything that JSON has a word for
    indent : int, optional
        Spaces per level; None puts everything in one line.

    Raises
    ------
    ValueError
        If `value` holds NaN or an infinity, which JSON has no word for.
    """
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False, default=_plain)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            # Half of a surrogate pair has no place in UTF-8; JSON can spell it.
            text = json.dumps(value, indent=indent, allow_nan=False, default=_plain)
    write_atomically(path, (text + "\n").encode())


def _plain(value: Any) -> Any:
    """A number of NumPy's as one of Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"`value` must be what JSON has a word for; got {type(value).__name__}")


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as an uncompressed ``.npz``, atomically; equal arrays give equal bytes.

    Raises
    ------
    TypeError
        If an array holds Python objects.
    """
    named: dict[str, Any] = dict(arrays)
    for name, value in named.items():
        if value.dtype.hasobject:
            raise TypeError(f"`arrays` must hold numbers or text; got dtype {value.dtype} for {name!r}")
    content = io.BytesIO()
    np.savez(content, **named)
    write_atomically(path, content.getvalue())


def read_bytes(path: str | os.PathLike[str], *, limit: int = MOST_BYTES) -> bytes:
    """A whole file, unless it is too large; devices and pipes are read as far as that, too.

    Parameters
    ----------
    path : path
    limit : int
        Most bytes.

    Raises
    ------
    ValueError
        If there are more.
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as file:
        # A file with holes announces more than it is worth reading; a pipe announces nothing.
        if os.fstat(file.fileno()).st_size <= limit and (content := bytes_of(file, limit)) is not None:
            return content
    raise ValueError(f"`path` must hold at most {limit:,} bytes; got more in {os.fspath(path)!r}")


def bytes_of(stream: IO[bytes], limit: int) -> bytes | None:
    """What is left in a stream, or None if that is more; no memory is set aside for what does not come."""
    # Its value is its buffer, and no copy.
    content = io.BytesIO()
    while part := stream.read(min(limit + 1 - content.tell(), 2**20)):
        content.write(part)
    return content.getvalue() if content.tell() <= limit else None


def read_json(path: str | os.PathLike[str], *, limit: int = MOST_BYTES) -> Any:
    """What a JSON file says.

    Parameters
    ----------
    path : path
    limit : int
        Most bytes.

    Raises
    ------
    ValueError
        If it is larger, is no JSON, is nested deeper than Python can follow, or holds NaN or an infinity.
    OSError
        If it cannot be read.
    """
    try:
        return json.loads(read_bytes(path, limit=limit), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(f"`path` must be nested less deeply; got {os.fspath(path)!r}") from None
    except ValueError as error:
        said = f"{error!s:.150}"
        if "`path`" in said:
            raise
        raise ValueError(f"`path` must be JSON; got {os.fspath(path)!r}: {said}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


def read_arrays(path: str | os.PathLike[str], *, limit: int = MOST_ARRAY_BYTES) -> dict[str, NDArray[Any]]:
    """The named arrays of an ``.npz``; nothing in it is executed.

    Parameters
    ----------
    path : path
    limit : int
        Most bytes of all arrays.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such file, is damaged, is larger, or holds Python objects.
    """
    try:
        # NumPy leaves a file that it opened itself open when it cannot read it.
        with Path(path).open("rb") as file:
            # The directory of an archive stands at its end, which a device does not have.
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or not zipfile.is_zipfile(file):
                raise ValueError("it is no archive")
            announced = sum(member.file_size for member in zipfile.ZipFile(file).infolist())
            if announced > limit:
                raise ValueError(f"it holds {announced:,} bytes, more than the limit of {limit:,}")
            file.seek(0)
            content = np.load(file, allow_pickle=False)
            arrays = {name: content[name] for name in content.files}
            for name, value in arrays.items():
                if not isinstance(value, np.ndarray):
                    raise ValueError(f"{name!r:.80} is no array")
            return arrays
    except Exception as error:
        # Where a damaged archive leads there may be nothing to read; such an error names no file.
        if isinstance(error, OSError) and error.filename is not None:
            raise
        # A damaged archive may raise anything: errors of zlib, of NumPy's parser of headers, of memory.
        name = os.fspath(path)
        raise ValueError(f"`path` must be a whole .npz file of plain arrays; got {name!r}: {error!s:.150}") from error
