"""SentencePiece models between sentences and the tokens of a language model, and the lengths counted in them.

The library is Kudo and Richardson's (2018); the pieces are a unigram model's (Kudo, 2018). Token 0 is padding for the
models of this package. Flax's LM1B example trains its tokenizer with the library's defaults: there 0 is the unknown
piece, 1 the unused beginning, 2 the end, and padding shares 0 with the unknown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.exact.lengths.length_bias import LENGTH_BINS
from pbde_ref.files import read_bytes
from pbde_ref.validation import instance, whole_number

__all__ = [
    "LENGTH_RANGES", "MAX_LENGTH", "PADDING", "Tokenizer", "count_lengths", "load_tokenizer", "train_tokenizer",
    "within",
]  # fmt: skip

PADDING = 0
MAX_LENGTH = 50
# In pieces with the end piece, both ends included; Section 5.2 as the experiments really were: the authors' *long* says
# nothing below 31 pieces, whereas Table 2's L begins at 30.
LENGTH_RANGES = {"whole": (1, MAX_LENGTH), "short": (1, 20), "medium": (21, 29), "long": (31, MAX_LENGTH)}

# Flax's example trains on as many characters; more costs time and changes little.
TRAINING_CHARACTERS = 10_000_000
LONGEST_SENTENCE_BYTES = 4192
SENTENCES_AT_ONCE = 10_000


@dataclass(frozen=True)
class Tokenizer:
    """A SentencePiece model.

    Parameters
    ----------
    model_bytes : bytes
        Content of a ``.model`` file. Tokenizers of equal bytes are equal.

    Attributes
    ----------
    vocabulary_size : int
        Tokens are in [0, vocabulary_size).
    end_id, unknown_id : int
        The end piece, and what stands for characters that the model does not know. If the latter is 0, models take
        such characters for padding.

    Raises
    ------
    ValueError
        If it is not a SentencePiece model, has no end piece, or uses token 0 for a piece that occurs in sentences.

    Examples
    --------
    >>> from pbde_ref.language.tokenizers import train_tokenizer
    >>> tokenizer = train_tokenizer(["A cat sat.", "A hat sat on a cat.", "That is that."], vocabulary_size=18)
    >>> (tokens,) = tokenizer.encode(["A cat sat on a hat."])
    >>> tokens[-1] == tokenizer.end_id, tokenizer.decode([*tokens, 0, 0])
    (np.True_, 'A cat sat on a hat.')
    """

    model_bytes: bytes = field(repr=False)
    vocabulary_size: int = field(init=False, compare=False)
    end_id: int = field(init=False, compare=False)
    unknown_id: int = field(init=False, compare=False)
    _processor: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        import sentencepiece

        instance("model_bytes", self.model_bytes, bytes, "bytes")
        try:
            # The library takes no bytes for no model, and says so only later.
            processor = sentencepiece.SentencePieceProcessor(model_proto=self.model_bytes or b"\0")
        except RuntimeError as error:
            raise ValueError(
                f"`model_bytes` must be a SentencePiece model; got {len(self.model_bytes)} bytes that are none"
            ) from error
        end, size = processor.eos_id(), processor.vocab_size()
        if not 0 < end < size:
            raise ValueError(f"`model_bytes` must have an end piece other than token {PADDING}; got end id {end}")
        if not (processor.is_control(PADDING) or processor.is_unknown(PADDING) or processor.is_unused(PADDING)):
            piece = processor.id_to_piece(PADDING)
            raise ValueError(
                f"`model_bytes` must leave token {PADDING} to padding or the unknown piece; got the piece {piece!r:.80}"
            )
        for name, value in (
            ("vocabulary_size", size),
            ("end_id", end),
            ("unknown_id", processor.unk_id()),
            ("_processor", processor),
        ):
            object.__setattr__(self, name, value)

    def encode(self, sentences: Iterable[str]) -> list[NDArray[np.int32]]:
        """The tokens of each sentence, with the end piece."""
        given = list(_texts(sentences))
        encoded = []
        for start in range(0, len(given), SENTENCES_AT_ONCE):
            chunk = self._processor.encode(given[start : start + SENTENCES_AT_ONCE], num_threads=1)
            encoded += [np.array([*pieces, self.end_id], dtype=np.int32) for pieces in chunk]
        return encoded

    def decode(self, tokens: ArrayLike) -> str:
        """The sentence of one sequence of tokens: up to its first end piece, without padding behind.

        Raises
        ------
        ValueError
            If a token is not in the vocabulary.
        """
        given = np.asarray(tokens)
        if given.ndim != 1 or not (given.size == 0 or np.issubdtype(given.dtype, np.integer)):
            raise TypeError(
                f"`tokens` must be a vector of whole numbers; got shape {given.shape} and dtype {given.dtype}"
            )
        sequence = [int(token) for token in given]
        for index, token in enumerate(sequence):
            if not 0 <= token < self.vocabulary_size:
                raise ValueError(f"`tokens` must be in [0, {self.vocabulary_size}); got {token} at index {index}")
        if self.end_id in sequence:
            sequence = sequence[: sequence.index(self.end_id)]
        while sequence and sequence[-1] == PADDING:
            sequence.pop()
        return str(self._processor.decode(sequence))


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """The SentencePiece model in a ``.model`` file, whoever trained it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        As `Tokenizer`, or if the file is larger than 256 MiB.
    """
    try:
        return Tokenizer(read_bytes(path))
    except ValueError as error:
        raise ValueError(f"`path` must name a usable SentencePiece model, {str(path)!r} is not: {error}") from error


def train_tokenizer(sentences: Iterable[str], *, vocabulary_size: int) -> Tokenizer:
    """A unigram model of the sentences: padding 0, end 1, unknown 2, then the pieces.

    The same sentences in the same order and version of the library give the same bytes.

    Parameters
    ----------
    sentences : iterable of str
        Their first 10 million characters are used; sentences of more than 4,192 bytes are passed over.
    vocabulary_size : int
        Exactly so many pieces, the three special ones and each character of the text included.

    Raises
    ------
    ValueError
        If there is no text, or the vocabulary is larger than the text can support (the message says how large it may
        be), or too small for the text's characters.
    """
    import sentencepiece

    vocabulary_size = whole_number("vocabulary_size", vocabulary_size, least=4)
    chosen = list(_first_characters(_texts(sentences), TRAINING_CHARACTERS))
    if not any(text.strip() for text in chosen):
        raise ValueError("`sentences` must have at least one sentence; got no text")
    model = BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(chosen),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocabulary_size,
            character_coverage=1.0,
            max_sentence_length=LONGEST_SENTENCE_BYTES,
            pad_id=PADDING,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            # Threads would add up expected counts in another order: other bytes on another machine.
            num_threads=1,
            # Messages come as exceptions; nothing is written to stderr.
            minloglevel=3,
        )
    except RuntimeError as error:
        raise _training_error(str(error), vocabulary_size) from error
    return Tokenizer(model.getvalue())


def within(sequences: Sequence[NDArray[np.int32]], lengths: tuple[int, int]) -> list[NDArray[np.int32]]:
    """The sequences whose length is in a range, both ends included.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.language.tokenizers import LENGTH_RANGES, within
    >>> [tokens.size for tokens in within([np.ones(20), np.ones(21), np.ones(30)], LENGTH_RANGES["medium"])]
    [21]
    """
    least, most = lengths
    return [tokens for tokens in sequences if least <= tokens.size <= most]


def count_lengths(sequences: Iterable[NDArray[np.int32]]) -> dict[str, int]:
    """How many sequences are in Table 2's bins, short (at most 20 tokens), medium (21 to 29) and long (30 to 50).

    ``beyond`` counts those of more than 50.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.language.tokenizers import count_lengths
    >>> count_lengths([np.ones(n) for n in (2, 20, 21, 29, 30, 50, 51)])
    {'short': 2, 'medium': 2, 'long': 2, 'beyond': 1}
    """
    lengths = np.array([tokens.size for tokens in sequences], dtype=np.intp)
    bins = {name: LENGTH_BINS[letter] for name, letter in (("short", "S"), ("medium", "M"), ("long", "L"))}
    counts = {
        name: int(((lengths >= least) & (lengths <= min(most, MAX_LENGTH))).sum())
        for name, (least, most) in bins.items()
    }
    return {**counts, "beyond": int((lengths > MAX_LENGTH).sum())}


def _texts(sentences: Iterable[str]) -> Iterator[str]:
    if isinstance(sentences, str):
        raise TypeError("`sentences` must be a sequence of sentences; got a single string")
    for index, sentence in enumerate(sentences):
        if not isinstance(sentence, str):
            raise TypeError(f"`sentences` must hold strings; got {type(sentence).__name__:.60} at index {index}")
        yield sentence


def _first_characters(texts: Iterable[str], characters: int) -> Iterator[str]:
    for text in texts:
        if characters <= 0:
            return
        characters -= len(text)
        yield text


def _training_error(message: str, vocabulary_size: int) -> ValueError:
    """What SentencePiece complains about, in terms of the arguments."""
    largest = re.search(r"value <= (\d+)", message)
    if largest is not None:
        return ValueError(
            f"`vocabulary_size` must be at most {largest[1]}, which is what the text can support; got {vocabulary_size}"
        )
    needed = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if needed is not None:
        return ValueError(
            f"`vocabulary_size` must be at least {needed[1]}, one for each character and special piece; "
            f"got {vocabulary_size}"
        )
    return ValueError(f"`sentences` must be a text that SentencePiece can train on; it says: {message.strip()}")
