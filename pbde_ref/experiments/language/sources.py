"""What results depend on besides settings: the text, or the finished models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pbde_ref.experiments.language.models import KINDS, checkpoint_files, model_of, tokenizer_of
from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.records import file_digest
from pbde_ref.language.corpora import open_corpus

__all__ = ["fingerprint"]


def fingerprint(place: Workplace) -> dict[str, str]:
    """A digest of all sentences, or of the checkpoints' files; what is wrong with them is said now.

    Raises
    ------
    ValueError, OSError
        As `open_corpus` and `checkpoint_files`; or if tokenizer and models of `place.checkpoints` do not fit together.
    """
    digest, checkpoints = hashlib.sha256(), place.checkpoints
    if checkpoints is not None:
        expected = tokenizer_of(place).vocabulary_size
        for kind in KINDS:
            size = model_of(place, kind)[0].vocabulary_size
            if size < expected:
                raise ValueError(
                    f"`checkpoints` must hold models of the tokenizer's {expected} pieces; got {size} in {kind}"
                )
        for name, path in checkpoint_files(checkpoints).items():
            digest.update(name.encode())
            for file in _files(path):
                digest.update(file_digest(file).encode())
        return {"checkpoints": digest.hexdigest()}
    text = open_corpus(place.corpus, limit=place.settings.sentences)
    for sentences in (text.training, text.held_out, text.test):
        for sentence in sentences:
            digest.update(sentence.encode() + b"\n")
        digest.update(b"\n")
    return {"corpus": digest.hexdigest()}


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if p.is_file())
    else:
        yield path
