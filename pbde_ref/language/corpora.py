"""Corpora: sentences to train language models on, sentences that choose among weights, and sentences for testing."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pbde_ref.language.lines import GZIP_DAMAGE, LimitedBytes, open_bytes, read_lines
from pbde_ref.language.lm1b import is_lm1b_folder, lm1b_sentences
from pbde_ref.language.python_documentation import python_sentences
from pbde_ref.validation import whole_number

__all__ = ["Corpus", "is_held_out", "is_test", "open_corpus"]

TAR_MAGIC = b"ustar"
TAR_MAGIC_AT = 257

# Files are often sorted by a digest of their lines, or cut off by one: the split must not know about it.
SALT = b"training, held out or test\n"
PARTS = 16


@dataclass(frozen=True)
class Corpus:
    """Sentences in a fixed order.

    Attributes
    ----------
    name : str
        Where they come from.
    training, held_out : tuple of str
        Neither is empty. The held-out sentences choose a model's weights: their loss is a minimum over evaluations.
    test : tuple of str
        For the loss of the weights chosen. Empty if there are too few.

    Raises
    ------
    ValueError
        If one is empty.
    """

    name: str
    training: tuple[str, ...]
    held_out: tuple[str, ...]
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("training", "held_out"):
            if not getattr(self, part):
                other = len(self.training) + len(self.held_out) + len(self.test)
                raise ValueError(f"`{part}` must have at least one sentence; got none of {other} in {self.name}")

    def __repr__(self) -> str:
        return (
            f"Corpus({self.name!r}, {len(self.training)} training, {len(self.held_out)} held-out, "
            f"{len(self.test)} test sentences)"
        )


def open_corpus(path: str | os.PathLike[str] | None = None, *, limit: int | None = 1_000_000) -> Corpus:
    r"""The corpus at `path`: the One Billion Word benchmark, a text file, or what Python itself brings along.

    Parameters
    ----------
    path : path, optional
        - The benchmark's ``.tar.gz`` or its unpacked folder: its own training and held-out shards
          (`pbde_ref.language.lm1b.lm1b_sentences`), about half of the latter for testing.
        - Any text file in UTF-8, plain or gzip, one sentence a line: `is_held_out` and `is_test` split it.
        - None: the documentation of the running Python, split in the same way
          (`pbde_ref.language.python_documentation.python_sentences`).
    limit : int, optional
        At most so many sentences of the benchmark's training shards and of its held-out shards, of the text file, or
        of Python's documentation, the first ones. A million sentences take about 0.2 GB of memory. None: all.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, is not text, or has no sentence for training or none to hold out.

    Examples
    --------
    >>> import tempfile
    >>> from pbde_ref.language.corpora import open_corpus
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "said.txt")
    ...     _ = path.write_text("".join(f"This is sentence {i}.\n" for i in range(100)))
    ...     open_corpus(path, limit=80)
    Corpus('said.txt', 72 training, 6 held-out, 2 test sentences)
    """
    if limit is not None:
        limit = whole_number("limit", limit, least=1)
    if path is None:
        return _split(f"Python {platform.python_version()} documentation", python_sentences()[:limit])
    path = Path(path)
    if path.is_dir() and not is_lm1b_folder(path):
        raise ValueError(f"`path` must be a file or a folder of the One Billion Word benchmark; got {str(path)!r}")
    if path.is_dir() or _is_archive(path):
        training, others = lm1b_sentences(path, limit=limit)
        test = tuple(sentence for sentence in others if _byte(sentence) % 2)
        held_out = tuple(sentence for sentence in others if not _byte(sentence) % 2)
        return Corpus(path.name, training, held_out, test) if held_out else Corpus(path.name, training, others)
    return _split(path.name, tuple(islice(_lines_of(path), limit)))


def is_held_out(sentence: str) -> bool:
    """Whether a sentence of a text file is held out to choose a model's weights; every 16th is.

    A salted SHA-256 digest decides, of the sentence's letters and digits in Unicode's compatible form without case: so
    sentences that a tokenizer takes for the same, because they differ in blanks or in ways to write a character, are on
    the same side, wherever and however often they occur.

    Examples
    --------
    >>> from pbde_ref.language.corpora import is_held_out
    >>> sum(is_held_out(str(i)) for i in range(16_000))
    996
    >>> is_held_out("Sentence number 1.") == is_held_out(" Sentence  number\u00a01.")
    True
    """
    return _byte(sentence) < 256 // PARTS


def is_test(sentence: str) -> bool:
    """Whether a sentence of a text file is kept for testing; another 16th is, decided as in `is_held_out`.

    Examples
    --------
    >>> from pbde_ref.language.corpora import is_held_out, is_test
    >>> sum(is_test(str(i)) for i in range(16_000)), any(is_test(str(i)) and is_held_out(str(i)) for i in range(16_000))
    (1008, False)
    """
    return 256 // PARTS <= _byte(sentence) < 2 * (256 // PARTS)


def _byte(sentence: str) -> int:
    """A number in [0, 256) that depends on what the sentence says, not on how it is typeset."""
    text = unicodedata.normalize("NFKC", sentence).casefold()
    said = re.sub(r"[\W_]+", "", text) or "".join(text.split())
    return hashlib.sha256(SALT + said.encode()).digest()[0]


def _split(name: str, sentences: tuple[str, ...]) -> Corpus:
    if not sentences:
        raise ValueError(f"`path` must have at least one sentence; got none in {name}")
    parts: dict[str, list[str]] = {"training": [], "held_out": [], "test": []}
    for sentence in sentences:
        parts["held_out" if is_held_out(sentence) else "test" if is_test(sentence) else "training"].append(sentence)
    return Corpus(name, **{part: tuple(chosen) for part, chosen in parts.items()})


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
