"""Fig. 6: lengths of sentences from the three models, and from *whole* adapted to two annotators in two ways.

About 40 seconds for each adaptation with the default settings on two cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from scipy.special import expit
from tqdm import tqdm

from pbde_ref.experiments.language.models import model_of
from pbde_ref.experiments.language.sentences import Pairs, draw_sentences, pairs_of, sentence_record
from pbde_ref.experiments.language.settings import LanguageSettings, Workplace
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.losses.processes import length_normalized_loss
from pbde_ref.models.adam import adam_step, initial_adam_state
from pbde_ref.models.transformer import TransformerConfig, log_probs_and_pullback
from pbde_ref.models.transformer_parameters import Floats
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["ADAPTATIONS", "adapt", "batches", "preference_probability", "runs"]

ADAPTATIONS = ("annotator-mixture", "density-mixture")


def runs(place: Workplace) -> list[Run]:
    """The two adaptations."""
    return [Run(name, partial(adapt_and_sample, population=name), ("pairs",), threaded=True) for name in ADAPTATIONS]


def preference_probability(pairs: Pairs, population: str, scale: float) -> FloatArray:
    r"""Prob(A ≻ B) of each pair under Eq. (27), the annotator mixture, or Eq. (28), the density mixture.

    Parameters
    ----------
    pairs : Pairs
    population : str
        One of `ADAPTATIONS`.
    scale : float
        c in Eq. (26).
    """
    half = pairs.lengths.size // 2

    def margin(log_probs: FloatArray) -> FloatArray:
        utilities = scale * log_probs / pairs.lengths
        return np.asarray(utilities[:half] - utilities[half:])

    short, long = pairs.log_probs["short"], pairs.log_probs["long"]
    if population == "annotator-mixture":
        return np.asarray(0.5 * expit(margin(short)) + 0.5 * expit(margin(long)))
    return np.asarray(expit(margin(np.logaddexp(short, long) - np.log(2.0))))


def adapt_and_sample(
    place: Workplace, needed: Mapping[str, Record], progress: Progress, *, population: str
) -> Record:
    """Adapt *whole* to the answers of one population, and draw sentences."""
    pairs, (config, parameters) = pairs_of(place), model_of(place, "whole")
    probability = preference_probability(pairs, population, place.settings.scale)
    answers = place.settings.rng(f"answers {population}").random(probability.size) < probability
    adapted, losses = adapt(config, parameters, pairs, answers, place.settings, population)
    record = sentence_record(
        place, population, draw_sentences(place, config, adapted, place.settings.samples, f"samples {population}")
    )
    return Record(population, {}, record.numbers, {**record.arrays, "losses": losses}, record.texts)


def adapt(
    config: TransformerConfig,
    parameters: Floats,
    pairs: Pairs,
    answers: np.ndarray,
    settings: LanguageSettings,
    name: str,
) -> tuple[Floats, FloatArray]:
    """One pass of Adam over the pairs, on the loss of Eq. (1) under Eq. (26); parameters and the loss of each step.

    Parameters
    ----------
    config, parameters
        The model to adapt.
    pairs : Pairs
    answers : ndarray of bool, shape (m,)
        Whether the first sentence of each pair is preferred.
    settings : LanguageSettings
    name : str
        For the bar.
    """
    size, state, losses = settings.pairs_per_step, initial_adam_state(parameters), list[float]()
    for tokens, lengths in batches(pairs, answers, size, name):
        log_probs, pullback = log_probs_and_pullback(config, parameters, tokens)
        loss = length_normalized_loss(
            log_probs[:size], log_probs[size:], lengths[:size], lengths[size:], scale=settings.scale
        )
        slopes = np.concatenate([loss.gradients["policy_chosen"], loss.gradients["policy_rejected"]])
        gradient = pullback(slopes - settings.likelihood_weight / size)
        parameters, state = adam_step(parameters, gradient, state, learning_rate=settings.adaptation_learning_rate)
        losses.append(loss.value - settings.likelihood_weight / size * float(log_probs.sum()))
    return parameters, np.array(losses)


def batches(pairs: Pairs, answers: np.ndarray, size: int, name: str) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Tokens and lengths of so many pairs at a time, in their order: first the preferred sentences, then the others."""
    half = pairs.lengths.size // 2
    index = np.arange(half)
    chosen, rejected = np.where(answers, index, index + half), np.where(answers, index + half, index)
    for begin in tqdm(range(0, half, size), desc=name, unit="step", disable=None, leave=False):
        batch = np.concatenate([chosen[begin : begin + size], rejected[begin : begin + size]])
        lengths = pairs.lengths[batch]
        yield pairs.tokens[batch, : lengths.max()], lengths
