"""The One Billion Word benchmark as it is distributed, from its archive or its unpacked folder.

Chelba et al. (2013), arXiv 1312.3005. The archive's members are read as a stream: nothing is written to disk, members
that are not plain files are passed over, and no announced size is believed before its bytes have come.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from pbde_ref.language.lines import GZIP_DAMAGE, LimitedBytes, open_bytes, read_lines

__all__ = ["is_lm1b_folder", "lm1b_sentences"]

# The held-out folder also holds all its shards once more as one file named like a training shard; the training shards,
# whose numbers begin at 1, have a folder of their own.
SHARDS = {
    "training-monolingual.tokenized.shuffled": ("news.en-*", re.compile(r"news\.en-(?!00000)\d{5}-of-\d{5}")),
    "heldout-monolingual.tokenized.shuffled": ("news.en.heldout-*", re.compile(r"news\.en\.heldout-\d{5}-of-\d{5}")),
}
TRAINING = next(iter(SHARDS))

MAX_HEADER_BYTES = 2**16
MAX_MEMBER_BYTES = 2**34
MAX_MEMBERS = 10_000


class _Member(tarfile.TarInfo):
    """A member's header; extended headers are read into memory whole, so theirs must be small."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        plain = member.isreg() and member.type != tarfile.GNUTYPE_SPARSE
        # A negative size would lead a reader backwards, and around for ever.
        if member.size < 0 or (not plain and member.size > MAX_HEADER_BYTES):
            raise ValueError(
                f"`path` must be an archive of plain files; got an entry of {member.size} bytes, {member.name!r:.80}"
            )
        return member


def is_lm1b_folder(path: Path) -> bool:
    """Whether a folder, or one folder in it, has the layout of the unpacked archive."""
    return bool(_roots(path))


def lm1b_sentences(
    path: str | os.PathLike[str], *, limit: int | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and held-out sentences of the benchmark, in the order of the shards' names.

    Parameters
    ----------
    path : path
        ``1-billion-word-language-modeling-benchmark-r13output.tar.gz`` (or ``.tar``), or the unpacked folder.
    limit : int, optional
        At most so many of each, the first ones; folder and archive give the same. Reading an archive to its end takes
        as long as unpacking it, whatever the limit.

    Raises
    ------
    ValueError
        If it is not such an archive or folder, is damaged or cut off, has a shard twice, lacks training or held-out
        shards, or a line is not UTF-8 or over 1 MiB long; if an archive has more than 10,000 members, or more than
        16 GiB in one or in all.
    """
    path = Path(path)
    if path.is_dir():
        found = _collect(_shards_of_folder(path), limit)
    else:
        try:
            found = _collect(_shards_of_archive(path), limit)
        except RecursionError:
            raise ValueError(f"`path` must be an archive without chains of headers; got {str(path)!r}") from None
        except (tarfile.TarError, *GZIP_DAMAGE) as error:
            raise ValueError(f"`path` must be a whole .tar or .tar.gz archive; got {str(path)!r}: {error}") from error
        except ValueError as error:
            if "`path`" in str(error):
                raise ValueError(f"{error!s:.190} of {str(path)!r:.100}") from None
            # A sparse member's map is read as numbers, whatever it holds.
            raise ValueError(f"`path` must be an archive of plain files; got {str(path)!r}: {error!s:.100}") from error
    for folder, shards in found.items():
        if not any(shards.values()):
            raise ValueError(f"`path` must hold sentences in {folder}/{SHARDS[folder][0]}; got none in {str(path)!r}")
    sentences = (chain.from_iterable(shards[name] for name in sorted(shards)) for shards in found.values())
    training, held_out = (tuple(islice(each, limit)) for each in sentences)
    return training, held_out


def _collect(shards: Iterable[tuple[str, str, IO[bytes]]], limit: int | None) -> dict[str, dict[str, tuple[str, ...]]]:
    """The lines of each folder's shards by name; of those, only the first ones, as many as the limit needs."""
    found: dict[str, dict[str, tuple[str, ...]]] = {folder: {} for folder in SHARDS}
    for folder, name, stream in shards:
        kept = found[folder]
        if name in kept:
            raise ValueError(f"`path` must hold each shard once; got {folder}/{name} again")
        if not _filled(kept, limit, before=name):
            kept[name] = tuple(islice(read_lines(stream, f"{folder}/{name}"), limit))
            for later in [other for other in kept if _filled(kept, limit, before=other)]:
                del kept[later]
    return found


def _filled(shards: dict[str, tuple[str, ...]], limit: int | None, *, before: str) -> bool:
    """Whether the shards that come before a name already hold as many sentences as are wanted."""
    return limit is not None and sum(len(lines) for name, lines in shards.items() if name < before) >= limit


def _roots(path: Path) -> list[Path]:
    candidates: Iterable[Path] = [path, *sorted(path.iterdir())] if path.is_dir() else []
    return [candidate for candidate in candidates if (candidate / TRAINING).is_dir()]


def _shards_of_folder(path: Path) -> Iterator[tuple[str, str, IO[bytes]]]:
    roots = _roots(path)
    if len(roots) != 1:
        raise ValueError(f"`path` must hold one folder with {TRAINING}/; got {len(roots)} in {str(path)!r}")
    for folder, (_, pattern) in SHARDS.items():
        if not (roots[0] / folder).is_dir():
            continue
        for file in sorted((roots[0] / folder).iterdir()):
            if pattern.fullmatch(file.name) and file.is_file():
                with file.open("rb") as stream:
                    yield folder, file.name, stream


def _shards_of_archive(path: Path) -> Iterator[tuple[str, str, IO[bytes]]]:
    with open_bytes(path) as opened:
        yield from _shards_of_stream(LimitedBytes(opened, path.name))


def _shards_of_stream(decompressed: LimitedBytes) -> Iterator[tuple[str, str, IO[bytes]]]:
    content: Any = decompressed
    with tarfile.open(fileobj=content, mode="r|", tarinfo=_Member) as archive:
        for number, member in enumerate(archive, start=1):
            # An extended header may have changed the size. Passing over what is announced takes as long as reading it.
            if not 0 <= member.size <= MAX_MEMBER_BYTES:
                raise ValueError(
                    f"`path` must have members of at most {MAX_MEMBER_BYTES:,} bytes; got {member.size} in "
                    f"{member.name!r:.80}"
                )
            if number > MAX_MEMBERS:
                raise ValueError(f"`path` must have at most {MAX_MEMBERS:,} members; got more")
            folder, name = _place(member)
            if folder in SHARDS and SHARDS[folder][1].fullmatch(name):
                stream: Any = archive.extractfile(member)
                yield folder, name, stream
        # The compressed stream's check sum stands at its end, which is after that of the archive.
        while decompressed.read(2**20):
            pass


def _place(member: tarfile.TarInfo) -> tuple[str, str]:
    """The folder and name of a plain file inside the archive; empty for links, devices, and paths that lead out."""
    parts = member.name.split("/")
    if not member.isreg() or member.issparse() or member.name.startswith("/") or ".." in parts or len(parts) < 2:
        return "", ""
    return parts[-2], parts[-1]
