"""What a piece of a sentence costs by its position, and what sentences cost that chose no weights.

Ten seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pbde_ref.exact.lengths.length_bias import LENGTH_BINS, bin_members
from pbde_ref.experiments.language.models import KINDS, model_of, tokenizer_of
from pbde_ref.experiments.language.sentences import SCORED_AT_ONCE, pairs_of
from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.files import read_arrays, write_arrays
from pbde_ref.language.corpora import open_corpus
from pbde_ref.language.training import loss_and_error
from pbde_ref.language.training_data import training_data
from pbde_ref.models.transformer import token_log_probs
from pbde_ref.validation import FloatArray

__all__ = ["POSITIONS", "last_log_probs", "measure_positions", "measure_test_loss", "runs"]

POSITIONS = ((1, 1), (2, 5), (6, 10), (11, 20), (21, 29), (30, 49))
"""First and last position of the ranges over which costs are averaged."""


def runs(place: Workplace) -> list[Run]:
    """The sentences of Table 2 piece by piece, and the corpus's test sentences."""
    positions = Run("positions", measure_positions, ("pairs",), threaded=True)
    if place.checkpoints is not None:
        return [positions]
    return [Run("test-loss", measure_test_loss, ("tokenizer", *KINDS), threaded=True), positions]


def measure_test_loss(place: Workplace, needed: Mapping[str, Record], progress: Progress) -> Record:
    """Each model's loss on test sentences of its lengths, with the standard error of drawing them; None if too few."""
    corpus, tokenizer = open_corpus(place.corpus, limit=place.settings.sentences), tokenizer_of(place)
    numbers: dict[str, float | None] = {}
    for kind in KINDS:
        sequences = training_data(corpus, tokenizer, kind).test
        found = loss_and_error(*model_of(place, kind), sequences) if len(sequences) > 1 else (None, None)
        numbers |= {kind: found[0], f"{kind}.error": found[1], f"{kind}.sentences": float(len(sequences))}
    return Record("test-loss", {}, numbers, {})


def last_log_probs(place: Workplace) -> Mapping[str, FloatArray]:
    """What the run "positions" left: log-probabilities of the last pieces of each of Table 2's sentences, by model.

    Of the end piece and of the one before it (0 if there is none), shape (count, 2).
    """
    arrays = read_arrays(place.folder / "last.npz")
    return {kind: arrays[kind] for kind in KINDS}


def measure_positions(place: Workplace, needed: Mapping[str, Record], progress: Progress) -> Record:
    r"""Mean cost :math:`-\log \pi(x_t \mid x_{<t})` of the pieces of Table 2's sentences, apart from the end piece.

    Returns
    -------
    Record
        Numbers ``<model>.<bin>.<first>-<last>``, nats per piece at these positions, ``<model>.<bin>.pieces`` at all,
        ``<model>.<bin>.before_end``, of the last one before the end piece, which mostly is a full stop, and
        ``<model>.<bin>.end``, of the end piece; None where there is no piece.
    """
    pairs, count = pairs_of(place), place.settings.table_sentences
    tokens, lengths = pairs.tokens[:count], pairs.lengths[:count]
    positions, rows = np.arange(1, tokens.shape[1] + 1), np.arange(count)
    inside = positions < lengths[:, None]
    members = {name: bin_members(lengths, name) for name in LENGTH_BINS}
    numbers: dict[str, float | None] = {}
    last_pieces = {}
    for kind in KINDS:
        config, parameters = model_of(place, kind)
        batches = [tokens[begin : begin + SCORED_AT_ONCE] for begin in range(0, count, SCORED_AT_ONCE)]
        costs = -np.concatenate([token_log_probs(config, parameters, batch) for batch in batches])
        ends = costs[rows, lengths - 1]
        before = np.where(lengths > 1, costs[rows, lengths - 2], 0.0)
        last_pieces[kind] = -np.stack([ends, before], axis=1)
        for name, chosen in members.items():
            for first, last in POSITIONS:
                here = inside & chosen[:, None] & (positions >= first) & (positions <= last)
                numbers[f"{kind}.{name}.{first}-{last}"] = _mean(costs[here])
            numbers[f"{kind}.{name}.pieces"] = _mean(costs[inside & chosen[:, None]])
            numbers[f"{kind}.{name}.before_end"] = _mean(before[chosen & (lengths > 1)])
            numbers[f"{kind}.{name}.end"] = _mean(ends[chosen])
    write_arrays(place.folder / "last.npz", last_pieces)
    return Record("positions", {}, numbers, {})


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if values.size else None
