"""Corpora: sentences to train language models on, and sentences held out to test them."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pbde_ref.language.lines import GZIP_DAMAGE, LimitedBytes, open_bytes, read_lines
from pbde_ref.language.lm1b import is_lm1b_folder, lm1b_sentences
from pbde_ref.language.python_documentation import python_sentences
from pbde_ref.validation import whole_number

__all__ = ["Corpus", "is_held_out", "open_corpus"]

TAR_MAGIC = b"ustar"
TAR_MAGIC_AT = 257


@dataclass(frozen=True)
class Corpus:
    """Sentences in a fixed order.

    Attributes
    ----------
    name : str
        Where they come from.
    training, held_out : tuple of str
        Neither is empty.

    Raises
    ------
    ValueError
        If one is empty.
    """

    name: str
    training: tuple[str, ...]
    held_out: tuple[str, ...]

    def __post_init__(self) -> None:
        for part in ("training", "held_out"):
            if not getattr(self, part):
                other = len(self.training) + len(self.held_out)
                raise ValueError(f"`{part}` must have at least one sentence; got none of {other} in {self.name}")

    def __repr__(self) -> str:
        return f"Corpus({self.name!r}, {len(self.training)} training, {len(self.held_out)} held-out sentences)"


def open_corpus(path: str | os.PathLike[str] | None = None, *, limit: int | None = 1_000_000) -> Corpus:
    """The corpus at `path`: the One Billion Word benchmark, a text file, or what Python itself brings along.

    Parameters
    ----------
    path : path, optional
        - The benchmark's ``.tar.gz`` or its unpacked folder: its own training and held-out shards
          (`pbde_ref.language.lm1b.lm1b_sentences`).
        - Any text file in UTF-8, plain or gzip, one sentence a line: `is_held_out` splits it.
        - None: the documentation of the running Python, split in the same way
          (`pbde_ref.language.python_documentation.python_sentences`).
    limit : int, optional
        At most so many sentences of the benchmark's training shards and of its held-out shards, or of the text file,
        the first ones. A million sentences take about 0.2 GB of memory. None: all.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, is not text, or has no sentence for training or none to hold out.

    Examples
    --------
    >>> from pbde_ref.language.corpora import open_corpus
    >>> corpus = open_corpus()
    >>> len(corpus.training) > 10 * len(corpus.held_out) > 1000
    True
    """
    if limit is not None:
        limit = whole_number("limit", limit, least=1)
    if path is None:
        return _split(f"Python {platform.python_version()} documentation", python_sentences())
    path = Path(path)
    if path.is_dir() and not is_lm1b_folder(path):
        raise ValueError(f"`path` must be a file or a folder of the One Billion Word benchmark; got {str(path)!r}")
    if path.is_dir() or _is_archive(path):
        return Corpus(path.name, *lm1b_sentences(path, limit=limit))
    return _split(path.name, tuple(islice(_lines_of(path), limit)))


def is_held_out(sentence: str) -> bool:
    """Whether a sentence is held out: the first byte of its SHA-256 digest is below 16, so every 16th is.

    The same sentence is on the same side wherever it occurs, and however often.

    Examples
    --------
    >>> from pbde_ref.language.corpora import is_held_out
    >>> sum(is_held_out(str(i)) for i in range(16_000))
    1012
    """
    return hashlib.sha256(sentence.encode()).digest()[0] < 16


def _split(name: str, sentences: tuple[str, ...]) -> Corpus:
    if not sentences:
        raise ValueError(f"`path` must have at least one sentence; got none in {name}")
    held_out = [is_held_out(sentence) for sentence in sentences]
    return Corpus(
        name,
        training=tuple(sentence for sentence, held in zip(sentences, held_out, strict=True) if not held),
        held_out=tuple(sentence for sentence, held in zip(sentences, held_out, strict=True) if held),
    )


def _is_archive(path: Path) -> bool:
    if path.name.endswith((".tar", ".tar.gz", ".tgz")):
        return True
    try:
        with open_bytes(path) as stream:
            return stream.read(TAR_MAGIC_AT + len(TAR_MAGIC))[TAR_MAGIC_AT:] == TAR_MAGIC
    except GZIP_DAMAGE:
        return False


def _lines_of(path: Path) -> Iterator[str]:
    try:
        with open_bytes(path) as stream:
            yield from read_lines(LimitedBytes(stream, path.name), path.name)
    except GZIP_DAMAGE as error:
        raise ValueError(f"`path` must be a whole gzip or plain text file; got {str(path)!r}: {error}") from error
