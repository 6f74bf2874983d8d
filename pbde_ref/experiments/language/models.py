"""The three models of section 5.2: trained on a corpus, or read from finished checkpoints.

About a minute each with the default settings on two cores.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.files import read_bytes, write_atomically
from pbde_ref.language.corpora import open_corpus
from pbde_ref.language.tokenizers import Tokenizer, count_lengths, load_tokenizer, train_tokenizer
from pbde_ref.language.trained_models import CheckpointError, TrainingSettings, load_model, save_model
from pbde_ref.language.training import end_probability, train_language_model
from pbde_ref.language.training_data import training_data
from pbde_ref.models.transformer import TransformerConfig, parameter_count
from pbde_ref.models.transformer_parameters import Floats

__all__ = ["KINDS", "checkpoint_files", "model_of", "runs", "tokenizer_of"]

KINDS = ("whole", "short", "long")
FULL_STOP_AT = 15
FLAX_TOKENIZER = "sentencepiece_model"

Model = tuple[TransformerConfig, Floats]


def runs(place: Workplace) -> list[Run]:
    """The tokenizer, then the models."""
    if place.checkpoints is not None:
        return []
    return [Run("tokenizer", prepare_tokenizer, files=("tokenizer.model",))] + [
        Run(kind, partial(train_model, kind=kind), ("tokenizer",), threaded=True, files=(f"{kind}.npz",))
        for kind in KINDS
    ]


def checkpoint_files(folder: str) -> dict[str, Path]:
    """Finished models in a folder: ``whole``, ``short`` and ``long``, each a file or a folder of Flax's LM1B example.

    Their one tokenizer is a SentencePiece model: ``*.model`` beside them or, as Flax's example leaves it, a file
    ``sentencepiece_model`` in their folders, where several must be the same.

    Raises
    ------
    ValueError
        If one is missing, or there are several tokenizers.
    """
    root = Path(folder)
    found = {kind: root / kind for kind in KINDS}
    missing = [kind for kind, path in found.items() if not path.exists()]
    files = [*root.glob("*.model"), *(path / FLAX_TOKENIZER for path in found.values())]
    tokenizers = {read_bytes(path): path for path in sorted(files, reverse=True) if path.is_file()}
    if missing or len(tokenizers) != 1:
        raise ValueError(
            f"`checkpoints` must name a folder with {', '.join(KINDS)} and one *.model file or the same "
            f"{FLAX_TOKENIZER} in each; got {folder!r:.100} with "
            f"{'no ' + ', '.join(missing) + ' and ' if missing else ''}{len(tokenizers)} tokenizers"
        )
    return {**found, "tokenizer": next(iter(tokenizers.values()))}


def tokenizer_of(place: Workplace) -> Tokenizer:
    """The tokenizer of all three models."""
    if place.checkpoints is not None:
        return load_tokenizer(checkpoint_files(place.checkpoints)["tokenizer"])
    return load_tokenizer(place.folder / "tokenizer.model")


def model_of(place: Workplace, name: str) -> Model:
    """Sizes and parameters of a model that is finished."""
    if place.checkpoints is not None and name in KINDS:
        from pbde_ref.models.flax_checkpoint import read_flax_checkpoint

        checkpoint = read_flax_checkpoint(checkpoint_files(place.checkpoints)[name])
        return checkpoint.config, checkpoint.parameters
    model = load_model(place.folder / f"{name}.npz")
    return model.config, model.parameters


def prepare_tokenizer(place: Workplace, needed: Mapping[str, Record], progress: Progress) -> Record:
    """Train the tokenizer on the corpus's training sentences; count lengths."""
    corpus = open_corpus(place.corpus, limit=place.settings.sentences)
    tokenizer = train_tokenizer(corpus.training, vocabulary_size=place.settings.vocabulary)
    for kind in KINDS:
        # A bin without sentences is better known now than after the first model.
        training_data(corpus, tokenizer, kind)
    write_atomically(place.folder / "tokenizer.model", tokenizer.model_bytes)
    every = [*corpus.training, *corpus.held_out, *corpus.test]
    counts = {f"sentences.{name}": float(count) for name, count in count_lengths(tokenizer.encode(every)).items()}
    counts |= {"sentences": float(len(every))}
    return Record("tokenizer", {}, counts, {}, {"corpus": [corpus.name], "sentences": list(corpus.held_out[:5])})


def train_model(place: Workplace, needed: Mapping[str, Record], progress: Progress, *, kind: str) -> Record:
    """Train one model; a run that was killed goes on from its last evaluation."""
    settings, tokenizer = place.settings, tokenizer_of(place)
    corpus = open_corpus(place.corpus, limit=settings.sentences)
    config = settings.config(tokenizer.vocabulary_size)
    data = training_data(corpus, tokenizer, kind)
    shared = ("tokens_per_batch", "learning_rate", "warmup_steps", "weight_decay")
    steps, seed = getattr(settings, f"{kind}_steps"), int(settings.rng(kind).integers(2**31))
    training = TrainingSettings(steps=steps, seed=seed, **{name: getattr(settings, name) for name in shared})
    # One that was left by a run with other settings must not be in the way.
    what = hashlib.sha256(f"{config} {training} {data.digest()}".encode()).hexdigest()
    checkpoint = place.folder / f"{kind}-{what[:16]}.checkpoint.npz"
    try:
        model = train_language_model(config, data, training, checkpoint=checkpoint, progress=True)
    except CheckpointError as error:
        tqdm.write(f"{kind}: trained from the beginning: {error}", file=sys.stderr)
        checkpoint.unlink(missing_ok=True)
        model = train_language_model(config, data, training, checkpoint=checkpoint, progress=True)
    save_model(place.folder / f"{kind}.npz", model)
    for left in place.folder.glob(f"{kind}-*.checkpoint.npz"):
        left.unlink(missing_ok=True)
    history = model.history
    numbers: dict[str, float | None] = {
        "parameters": float(parameter_count(config)),
        "held_out_loss": float(history.held_out_loss[history.best]),
        "best_step": float(history.steps[history.best]),
        "end_after_stop": _end_after_stop(model.config, model.parameters, corpus.held_out, tokenizer),
    }
    arrays = {
        "steps": history.steps.astype(np.float64),
        "training_loss": history.training_loss,
        "held_out_loss": history.held_out_loss,
    }
    return Record(kind, {}, numbers, arrays)


def _end_after_stop(
    config: TransformerConfig, parameters: Floats, sentences: tuple[str, ...], tokenizer: Tokenizer
) -> float | None:
    try:
        return end_probability(config, parameters, tokenizer.encode(sentences), tokenizer, position=FULL_STOP_AT)
    except ValueError:
        # No held-out sentence has a full stop there.
        return None
