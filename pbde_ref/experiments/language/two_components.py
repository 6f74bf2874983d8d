"""A model of two annotators, Eq. (30) under Eq. (26), adapted to the annotator mixture: section 5.1 says it failed.

About a minute and a half with the default settings on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pbde_ref.exact.lengths.length_bias import bin_members
from pbde_ref.experiments.intervals import mean_interval
from pbde_ref.experiments.language.figure_6 import adapt, answers_of
from pbde_ref.experiments.language.models import model_of
from pbde_ref.experiments.language.sentences import draw_sentences, log_probs_of, pairs_of, sentence_record
from pbde_ref.experiments.language.settings import Workplace
from pbde_ref.experiments.language.table_2 import mean_preference
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run

__all__ = ["adapt_two", "runs"]

NOISE = 1e-4
"""Standard deviation of what tells the copies apart at the start, as in appendix A.4."""


def runs(place: Workplace) -> list[Run]:
    """Two components, on the answers that the single model has learnt from."""
    return [Run("two-components", adapt_two, ("pairs", "annotator-mixture"), threaded=True)]


def adapt_two(place: Workplace, needed: Mapping[str, Record], progress: Progress) -> Record:
    """Adapt two copies of *whole* to the annotator mixture, and see whether they are told apart.

    Returns
    -------
    Record
        ``loss.one``, ``loss.two``, ``loss.least``: nats per answer, each before it was trained on, over the last
        quarter of the steps, and under the annotators themselves; ``gain``, ``gain.low``, ``gain.high``, by how much
        two are better than one, from 8 steps on; and of each component i its ``weight.i``, ``prefers.i``, the mean
        P(S ≻ L), and the lengths of its sentences, ``length_counts.i``.
    """
    pairs, (config, parameters), settings = pairs_of(place), model_of(place, "whole"), place.settings
    answers, probability = answers_of(place, pairs, "annotator-mixture")
    noise = NOISE * settings.rng("two components").standard_normal((2, parameters.size))
    copies = (parameters + noise).astype(parameters.dtype)
    components, weights, losses = adapt(config, copies, pairs, answers, settings, "two components")
    one, two = needed["annotator-mixture"].arrays["answers"], losses["answers"]
    least = -np.log(np.where(answers, probability, 1.0 - probability)).reshape(one.size, -1).mean(axis=1)
    last = slice(-max(1, one.size // 4), None)
    numbers: dict[str, float | None] = {
        f"loss.{name}": float(losses[last].mean()) for name, losses in (("one", one), ("two", two), ("least", least))
    }
    gain = mean_interval((one - two)[last]) if one.size > 7 else (None, None, None)
    numbers["gain"], numbers["gain.low"], numbers["gain.high"] = gain
    count, arrays = min(1024, settings.table_sentences), dict(losses)
    lengths = pairs.lengths[:count]
    for i, component in enumerate(components):
        drawn = draw_sentences(place, config, component, max(1, settings.samples // 2), f"samples component {i + 1}")
        arrays[f"length_counts.{i + 1}"] = sentence_record(place, "", drawn).arrays["length_counts"]
        utility = settings.scale * log_probs_of(config, component, pairs.tokens[:count], lengths, "") / lengths
        found = mean_preference(*(utility[bin_members(lengths, name)] for name in ("S", "L")))
        numbers |= {f"weight.{i + 1}": float(weights[i]), f"prefers.{i + 1}": None if found is None else found.value}
    return Record("two-components", {}, numbers, arrays)
