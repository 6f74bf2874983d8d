"""Sentences drawn from the models: the pairs that annotators compare, and samples for histograms.

About a minute with the default settings on two cores, most of it for the 65,536 sentences of the pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pbde_ref.experiments.language.models import KINDS, model_of, tokenizer_of
from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.files import read_arrays, write_arrays
from pbde_ref.language.generation import Samples, sample_sequences
from pbde_ref.language.tokenizers import MAX_LENGTH
from pbde_ref.models.transformer import TransformerConfig, sequence_log_probs
from pbde_ref.models.transformer_parameters import Floats
from pbde_ref.validation import FloatArray

__all__ = ["Pairs", "draw_sentences", "log_probs_of", "pairs_of", "runs", "sentence_record"]

SHOWN = 12
SCORED_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sentences drawn from *whole*; the first half stands against the second.

    Attributes
    ----------
    tokens : ndarray of int, shape (2m, 50)
    lengths : ndarray of int, shape (2m,)
    log_probs : mapping of str to ndarray, shape (2m,)
        Under each of the three models, in nats.
    """

    tokens: NDArray[np.intp]
    lengths: NDArray[np.intp]
    log_probs: Mapping[str, FloatArray]


def runs(place: Workplace) -> list[Run]:
    """The pairs from *whole*, and samples from the two annotators' models."""
    trained = () if place.checkpoints is not None else ("tokenizer", *KINDS)
    return [Run("pairs", draw_pairs, trained, threaded=True, files=("pairs.npz",))] + [
        Run(f"samples-{kind}", partial(draw_samples, kind=kind), trained, threaded=True) for kind in ("short", "long")
    ]


def pairs_of(place: Workplace) -> Pairs:
    """What the run "pairs" left."""
    arrays = read_arrays(place.folder / "pairs.npz")
    return Pairs(
        arrays["tokens"].astype(np.intp),
        arrays["lengths"].astype(np.intp),
        {kind: arrays[f"log_probs_{kind}"] for kind in KINDS},
    )


def draw_pairs(place: Workplace, needed: Mapping[str, Record], progress: Progress) -> Record:
    """Draw sentences, and let the other two models judge them."""
    config, parameters = model_of(place, "whole")
    samples = draw_sentences(place, config, parameters, 2 * place.settings.pairs, "pairs")
    scores = {"whole": samples.log_probs}
    for kind in KINDS[1:]:
        scores[kind] = log_probs_of(*model_of(place, kind), samples.tokens, samples.lengths, kind)
    write_arrays(
        place.folder / "pairs.npz",
        {
            "tokens": samples.tokens.astype(np.int32),
            "lengths": samples.lengths.astype(np.int32),
            **{f"log_probs_{kind}": values for kind, values in scores.items()},
        },
    )
    return sentence_record(place, "pairs", samples)


def draw_samples(place: Workplace, needed: Mapping[str, Record], progress: Progress, *, kind: str) -> Record:
    """Draw sentences from one model."""
    config, parameters = model_of(place, kind)
    samples = draw_sentences(place, config, parameters, place.settings.samples, f"samples {kind}")
    return sentence_record(place, f"samples-{kind}", samples)


def draw_sentences(
    place: Workplace, config: TransformerConfig, parameters: Floats, count: int, purpose: str
) -> Samples:
    """Sentences of at most 50 pieces, with a bar."""
    with tqdm(total=count, desc=purpose, unit="sentence", disable=None, leave=False) as bar:
        return sample_sequences(
            config,
            parameters,
            count,
            rng=place.settings.rng(purpose),
            end_token=tokenizer_of(place).end_id,
            max_length=MAX_LENGTH,
            progress=lambda found: bar.update(found - bar.n),
        )


def sentence_record(place: Workplace, name: str, samples: Samples) -> Record:
    """How long the sentences are, how many had no end, and the first of them."""
    tokenizer = tokenizer_of(place)
    counts = np.bincount(samples.lengths, minlength=MAX_LENGTH + 1)[1:].astype(np.float64)
    drawn = float(samples.lengths.size)
    numbers = {"sentences": drawn, "without_end": samples.rejected / (samples.rejected + drawn)}
    return Record(
        name, {}, numbers, {"length_counts": counts},
        {"sentences": [tokenizer.decode(tokens) for tokens in samples.tokens[:SHOWN]]},
    )  # fmt: skip


def log_probs_of(
    config: TransformerConfig, parameters: Floats, tokens: NDArray[np.intp], lengths: NDArray[np.intp], name: str
) -> FloatArray:
    """Log-probabilities of many sentences, those of like length together."""
    result = np.empty(lengths.size)
    order = np.argsort(lengths, kind="stable")
    batches = range(0, order.size, SCORED_AT_ONCE)
    for begin in tqdm(batches, desc=f"likelihoods, {name}", unit="batch", disable=None, leave=False):
        chosen = order[begin : begin + SCORED_AT_ONCE]
        result[chosen] = sequence_log_probs(config, parameters, tokens[chosen, : int(lengths[chosen].max())])
    return result
