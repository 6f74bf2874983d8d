"""Flax's msgpack files: a map of names to maps and arrays, read value by value, and never more than is there.

Flax writes a state as nested msgpack maps. An array is an extension value whose bytes are msgpack again: shape, name of
the dtype, entries in row-major order. An array beyond a gigabyte is a map instead, of its shape and of chunks.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgpack
import numpy as np
from numpy.typing import NDArray

__all__ = ["CheckpointError", "read_state"]

# Codes of Flax's extension types.
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"
# NumPy and the files of Flax agree in these names; bfloat16, the upper half of a float32, is not NumPy's.
_NUMBERS = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
)  # fmt: skip
_DTYPES = {"bfloat16": np.dtype("<u2"), **{name: np.dtype(name).newbyteorder("<") for name in _NUMBERS}}
# NumPy 1 allowed 32 dimensions; no parameter has more than three.
_MOST_DIMENSIONS = 32
# A network's arrays lie five to ten short names deep. Paths and entries cost memory beyond the file's own size; a real
# checkpoint is far from these limits, which keep that below some 200 MB.
_MOST_NESTED, _MOST_ENTRIES, _LONGEST_TEXT = 16, 100_000, 100
_KINDS = {
    **dict.fromkeys([*range(0x80, 0x90), 0xDE, 0xDF], "map"),
    **dict.fromkeys([*range(0x90, 0xA0), 0xDC, 0xDD], "list"),
    **dict.fromkeys([*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB], "text"),
    **dict.fromkeys([*range(0xC7, 0xCA), *range(0xD4, 0xD9)], "extension"),
}
# What people hand over by mistake, by the bytes that it begins with.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, as NumPy and PyTorch write",
    b"\x1f\x8b": "compressed with gzip",
    b"\x89HDF": "an HDF5 file",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"{": "JSON or other text",
}


class CheckpointError(ValueError):
    """A file does not hold the checkpoint that it should; the message says where, and what is missing or wrong.

    Examples
    --------
    >>> from pbde_ref.models.flax_msgpack import CheckpointError
    >>> raise CheckpointError("checkpoint_7: `decoder/logitdense/kernel` is missing")
    Traceback (most recent call last):
        ...
    pbde_ref.models.flax_msgpack.CheckpointError: checkpoint_7: `decoder/logitdense/kernel` is missing
    """


def read_state(file: BinaryIO, size: int, *, keep: Container[str]) -> dict[str, Any]:
    """The entries of a Flax state whose names are in `keep`; others, such as an optimiser's moments, are passed over.

    Arrays come in their own dtype, bfloat16 as float32; chunks are put together, and the box ``{"value": array}`` in
    which Flax writes an array with partitioning names is opened.

    Parameters
    ----------
    file : binary file, seekable
        At its beginning.
    size : int
        Its bytes. What the file declares is compared with what is left of them before anything is allocated.
    keep : container of str
        Names at the outermost level.

    Raises
    ------
    CheckpointError
        If the file is no msgpack map, ends too early or goes on too long, or an array does not hold what it declares.

    Examples
    --------
    >>> import io
    >>> import msgpack
    >>> from pbde_ref.models.flax_msgpack import read_state
    >>> array = msgpack.ExtType(1, msgpack.packb([[2, 1], "float32", bytes([0, 0, 128, 63, 0, 0, 0, 64])]))
    >>> content = msgpack.packb({"step": 7, "params": {"bias": array}, "opt_state": {}})
    >>> read_state(io.BytesIO(content), len(content), keep={"step", "params"})
    {'step': 7, 'params': {'bias': array([[1.], [2.]], dtype=float32)}}
    """
    _refuse_foreign(file, size)
    cursor = _Cursor(file, size, msgpack.Unpacker(file, max_buffer_size=size, max_str_len=_LONGEST_TEXT))
    state = {}
    for name in cursor.names(""):
        if name in keep:
            state[name] = _value(cursor, name, 1)
        else:
            cursor.take(cursor.unpacker.skip, name)
    if cursor.rest:
        raise CheckpointError(f"{cursor.rest} bytes follow after the end of the state")
    return state


@dataclass
class _Cursor:
    """A place in a msgpack file; its methods take one step forward, or say where and why they cannot."""

    file: BinaryIO
    size: int
    unpacker: Any
    entries: int = 0

    @property
    def rest(self) -> int:
        """Bytes from here to the end."""
        return self.size - self.unpacker.tell()

    def kind(self, where: str) -> str:
        """Kind of the value that comes next: "map", "list", "text", "extension", or "scalar" for all the others."""
        resume = self.file.tell()
        self.file.seek(self.unpacker.tell())
        first = self.file.read(1)
        self.file.seek(resume)
        if not first:
            raise CheckpointError(f"the file ends before {_place(where)}")
        return _KINDS.get(first[0], "scalar")

    def take(self, step: Callable[[], Any], where: str) -> Any:
        """What a method of the unpacker returns."""
        try:
            return step()
        except msgpack.OutOfData:
            raise CheckpointError(f"the file ends inside {_place(where)}") from None
        # Too deep nesting, bytes that begin no value, declared sizes above the file's, text that is not UTF-8.
        except (msgpack.UnpackException, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise CheckpointError(f"{_place(where)} is not valid msgpack ({reason})") from None

    def names(self, where: str) -> Any:
        """Iterate over the names of the map that comes next; their values are left to the caller, in turn."""
        count = self.take(self.unpacker.read_map_header, where)
        # A name and a value take a byte each, at least.
        if 2 * count > self.rest:
            raise CheckpointError(f"{_place(where)} declares {count} entries; the file has {self.rest} more bytes")
        self.entries += count
        if self.entries > _MOST_ENTRIES:
            raise CheckpointError(f"{_place(where)} takes the number of entries above {_MOST_ENTRIES}")
        seen = set()
        for _ in range(count):
            if self.kind(where) != "text":
                raise CheckpointError(f"{_place(where)} has a name that is not text")
            name = self.take(self.unpacker.unpack, where)
            if name in seen:
                raise CheckpointError(f"{_place(where)} has the name {name!r} twice")
            seen.add(name)
            yield name


def _place(where: str) -> str:
    return f"`{where}`" if where else "the state"


def _refuse_foreign(file: BinaryIO, size: int) -> None:
    first = file.read(4)
    file.seek(0)
    if size == 0:
        raise CheckpointError("must be a Flax msgpack file; it is empty")
    for mark, description in _FOREIGN.items():
        if first.startswith(mark):
            raise CheckpointError(f"must be a Flax msgpack file; it is {description}")
    if _KINDS.get(first[0]) != "map":
        raise CheckpointError(f"must be a Flax msgpack file, which begins with a map; it begins with {first!r}")


def _value(cursor: _Cursor, where: str, depth: int) -> Any:
    kind = cursor.kind(where)
    if kind == "map":
        if depth >= _MOST_NESTED:
            raise CheckpointError(f"`{where}` lies deeper than {_MOST_NESTED} names")
        return _opened(where, {name: _value(cursor, f"{where}/{name}", depth + 1) for name in cursor.names(where)})
    if kind == "list":
        raise CheckpointError(f"`{where}` is a list, which Flax does not write")
    value = cursor.take(cursor.unpacker.unpack, where)
    return _extension(where, value) if isinstance(value, msgpack.ExtType) else value


def _opened(where: str, tree: dict[str, Any]) -> Any:
    if _CHUNKED in tree:
        return _joined(where, tree)
    if tree.keys() == {"value"} and isinstance(tree["value"], np.ndarray):
        return tree["value"]
    return tree


def _joined(where: str, tree: dict[str, Any]) -> NDArray[Any]:
    """An array from its chunks."""
    shape = _shape(where, _sequence(f"{where}/shape", tree.get("shape")))
    chunks = _sequence(f"{where}/chunks", tree.get("chunks"))
    for i, chunk in enumerate(chunks):
        if not isinstance(chunk, np.ndarray) or chunk.ndim != 1:
            raise CheckpointError(f"`{where}/chunks/{i}` must be an array with one axis")
        if chunk.dtype != chunks[0].dtype:
            raise CheckpointError(f"`{where}/chunks/{i}` must be {chunks[0].dtype} like the first; got {chunk.dtype}")
    held = sum(chunk.size for chunk in chunks)
    if held != math.prod(shape) or held == 0:
        raise CheckpointError(f"`{where}` declares shape {shape}; its chunks hold {held} entries")
    return np.concatenate(chunks).reshape(shape)


def _sequence(where: str, tree: Any) -> list[Any]:
    """A tuple, which Flax writes as a map with the names "0", "1", …"""
    if not isinstance(tree, dict):
        raise CheckpointError(f"`{where}` must be a map; got {reprlib.repr(tree)}")
    for i in range(len(tree)):
        if str(i) not in tree:
            raise CheckpointError(f"`{where}/{i}` is missing")
    return [tree[str(i)] for i in range(len(tree))]


def _shape(where: str, dimensions: Any) -> tuple[int, ...]:
    whole = isinstance(dimensions, list) and all(type(d) is int and d >= 0 for d in dimensions)
    if not whole or len(dimensions) > _MOST_DIMENSIONS:
        raise CheckpointError(f"`{where}` must have a shape of whole numbers; got {reprlib.repr(dimensions)}")
    return tuple(dimensions)


def _extension(where: str, value: Any) -> Any:
    if value.code in (_ARRAY, _SCALAR):
        return _array(where, value.data)
    if value.code == _COMPLEX:
        parts = _fields(where, value.data, 2)
        if not all(isinstance(part, float) for part in parts):
            raise CheckpointError(f"`{where}` must be a complex number, two floats; got {reprlib.repr(parts)}")
        return complex(*parts)
    raise CheckpointError(f"`{where}` has the extension type {value.code}, which is none of Flax's")


def _fields(where: str, data: bytes, count: int) -> list[Any]:
    """The list of `count` values that an extension's bytes are."""
    try:
        fields = msgpack.unpackb(data, raw=True, max_array_len=_MOST_DIMENSIONS, max_map_len=0)
    except (msgpack.UnpackException, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"`{where}` does not hold an array ({reason})") from None
    if not isinstance(fields, list) or len(fields) != count:
        raise CheckpointError(f"`{where}` does not hold the {count} fields of its type; got {reprlib.repr(fields)}")
    return fields


def _array(where: str, data: bytes) -> NDArray[Any]:
    dimensions, dtype, entries = _fields(where, data, 3)
    shape = _shape(where, dimensions)
    name = dtype.decode("ascii", "replace") if isinstance(dtype, bytes) else reprlib.repr(dtype)
    if name not in _DTYPES:
        raise CheckpointError(f"`{where}` must have a dtype of numbers; got {name}")
    if not isinstance(entries, bytes):
        raise CheckpointError(f"`{where}` must hold its entries as bytes; got {reprlib.repr(entries)}")
    # Python's integers do not overflow, whatever the shape declares.
    declared = math.prod(shape) * _DTYPES[name].itemsize
    if declared != len(entries):
        raise CheckpointError(
            f"`{where}` declares shape {shape} of {name}, which takes {declared} bytes; it holds {len(entries)}"
        )
    if declared == 0:
        raise CheckpointError(f"`{where}` must have entries; got shape {shape}")
    values = np.frombuffer(entries, dtype=_DTYPES[name]).reshape(shape)
    return (values.astype("<u4") << 16).view("<f4") if name == "bfloat16" else values
