"""Fig. 6: lengths of sentences from the three models, and from *whole* adapted to two annotators in two ways.

About 40 seconds for each adaptation with the default settings on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from tqdm import tqdm

from pbde_ref.experiments.language.models import model_of
from pbde_ref.experiments.language.sentences import Pairs, draw_sentences, pairs_of, sentence_record
from pbde_ref.experiments.language.settings import LanguageSettings, Workplace
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.losses.annotators import annotator_mixture_loss
from pbde_ref.models.adam import adam_step, initial_adam_state
from pbde_ref.models.transformer import TransformerConfig, log_probs_and_pullback
from pbde_ref.models.transformer_parameters import Floats
from pbde_ref.validation import FloatArray

__all__ = ["ADAPTATIONS", "adapt", "answers_of", "preference_probability", "runs"]

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


def answers_of(place: Workplace, pairs: Pairs, population: str) -> tuple[NDArray[np.bool_], FloatArray]:
    """Whether the first sentence of each pair is preferred, and the probability that it is."""
    probability = preference_probability(pairs, population, place.settings.scale)
    return place.settings.rng(f"answers {population}").random(probability.size) < probability, probability


def adapt_and_sample(
    place: Workplace, needed: Mapping[str, Record], progress: Progress, *, population: str
) -> Record:
    """Adapt *whole* to the answers of one population, and draw sentences."""
    pairs, (config, parameters) = pairs_of(place), model_of(place, "whole")
    answers, _ = answers_of(place, pairs, population)
    (adapted,), _, losses = adapt(config, parameters[None], pairs, answers, place.settings, population)
    record = sentence_record(
        place, population, draw_sentences(place, config, adapted, place.settings.samples, f"samples {population}")
    )
    return Record(population, {}, record.numbers, {**record.arrays, **losses}, record.texts)


def adapt(
    config: TransformerConfig,
    copies: Floats,
    pairs: Pairs,
    answers: NDArray[np.bool_],
    settings: LanguageSettings,
    name: str,
) -> tuple[Floats, FloatArray, dict[str, FloatArray]]:
    """One pass of Adam over the pairs on the loss of Eq. (1), or of Eq. (30) for several components, under Eq. (26).

    Parameters
    ----------
    config : TransformerConfig
    copies : ndarray, shape (k, n)
        Parameters of each component at the start; the logits of their weights start at zero.
    pairs : Pairs
    answers : ndarray of bool, shape (m,)
        Whether the first sentence of each pair is preferred.
    settings : LanguageSettings
        The likelihood term is that of the components' mean log-likelihood.
    name : str
        For the bar.

    Returns
    -------
    parameters, weights : ndarray, shape (k, n) and (k,)
    losses : dict
        ``losses``, of each step, and ``answers``, the same without the likelihood term: the cross-entropy, in nats, of
        answers that no step has seen before.
    """
    count, half, size = len(copies), pairs.lengths.size // 2, settings.pairs_per_step
    theta = np.concatenate([copies.ravel(), np.zeros(count, copies.dtype)])
    state, losses, likelihoods, index = initial_adam_state(theta), list[float](), list[float](), np.arange(half)
    chosen, rejected = np.where(answers, index, index + half), np.where(answers, index + half, index)
    with tqdm(range(0, half, size), desc=name, unit="step", disable=None, leave=False) as bar:
        for begin in bar:
            batch = np.concatenate([chosen[begin : begin + size], rejected[begin : begin + size]])
            lengths = pairs.lengths[batch]
            tokens, factor = pairs.tokens[batch, : lengths.max()], settings.scale / lengths[:, None]
            found = [log_probs_and_pullback(config, each, tokens) for each in theta[:-count].reshape(count, -1)]
            utilities = factor * np.stack([log_probs for log_probs, _ in found], axis=1)
            loss = annotator_mixture_loss(utilities[:size], utilities[size:], theta[-count:].astype(np.float64))
            slopes = np.concatenate([loss.gradients["policy_chosen"], loss.gradients["policy_rejected"]]) * factor
            slopes = slopes - settings.likelihood_weight / size / count
            parts = [pullback(slopes[:, i]) for i, (_, pullback) in enumerate(found)]
            gradient = np.concatenate([*parts, loss.gradients["weight_logits"]]).astype(theta.dtype)
            theta, state = adam_step(theta, gradient, state, learning_rate=settings.adaptation_learning_rate)
            losses.append(float(loss.value))
            likelihoods.append(settings.likelihood_weight / size / count * sum(float(each.sum()) for each, _ in found))
            bar.set_postfix_str(f"loss {losses[-1]:.4f}", refresh=False)
    traces = {"losses": np.array(losses) - np.array(likelihoods), "answers": np.array(losses)}
    return theta[:-count].reshape(count, -1), softmax(theta[-count:].astype(np.float64)), traces
