"""A model of two annotators, Eq. (30) under Eq. (26), adapted to the annotator mixture: section 5.1 says it failed.

About two minutes with the default settings on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pbde_ref.exact.lengths.length_bias import bin_members
from pbde_ref.experiments.intervals import mean_interval
from pbde_ref.experiments.language.figure_6 import batches, preference_probability
from pbde_ref.experiments.language.models import model_of
from pbde_ref.experiments.language.sentences import Pairs, draw_sentences, log_probs_of, pairs_of, sentence_record
from pbde_ref.experiments.language.settings import LanguageSettings, Workplace
from pbde_ref.experiments.language.table_2 import mean_preference
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.losses.annotators import annotator_mixture_loss
from pbde_ref.models.adam import adam_step, initial_adam_state
from pbde_ref.models.transformer import TransformerConfig, log_probs_and_pullback
from pbde_ref.models.transformer_parameters import Floats
from pbde_ref.validation import FloatArray

__all__ = ["adapt_components", "adapt_two", "runs"]

NOISE = 1e-4
"""Standard deviation of what tells the copies apart at the start, as in appendix A.4."""


def runs(place: Workplace) -> list[Run]:
    """One and two components, on the same answers."""
    return [Run("two-components", adapt_two, ("pairs",), threaded=True)]


def adapt_two(place: Workplace, needed: Mapping[str, Record], progress: Progress) -> Record:
    """Adapt one and two copies of *whole* to the annotator mixture, and see whether the two are told apart.

    Returns
    -------
    Record
        ``loss.one``, ``loss.two``, ``loss.least``: nats per answer, each before it was trained on, over the last
        quarter of the steps, and under the annotators themselves; ``gain``, ``gain.low``, ``gain.high``, by how much
        two are better than one; and of each component i its ``weight.i``, ``prefers.i``, the mean P(S ≻ L), and the
        lengths of its sentences, ``length_counts.i``.
    """
    pairs, (config, parameters), settings = pairs_of(place), model_of(place, "whole"), place.settings
    probability = preference_probability(pairs, "annotator-mixture", settings.scale)
    answers = settings.rng("answers annotator-mixture").random(probability.size) < probability
    noise = NOISE * settings.rng("two components").standard_normal((2, parameters.size))
    (_, one), (two_parameters, two) = (
        adapt_components(config, copies.astype(parameters.dtype), pairs, answers, settings)
        for copies in (parameters[None], parameters + noise)
    )
    least = -np.log(np.where(answers, probability, 1.0 - probability)).reshape(one.size, -1).mean(axis=1)
    last = slice(-max(2, one.size // 4), None)
    numbers: dict[str, float | None] = {
        f"loss.{name}": float(losses[last].mean()) for name, losses in (("one", one), ("two", two), ("least", least))
    }
    numbers["gain"], numbers["gain.low"], numbers["gain.high"] = mean_interval((one - two)[last])
    count, arrays = min(1024, settings.table_sentences), {"losses.one": one, "losses.two": two}
    lengths = pairs.lengths[:count]
    weights = np.exp(two_parameters[-2:]) / np.exp(two_parameters[-2:]).sum()
    for i, component in enumerate(two_parameters[:-2].reshape(2, -1)):
        drawn = draw_sentences(place, config, component, max(1, settings.samples // 2), f"samples component {i + 1}")
        arrays[f"length_counts.{i + 1}"] = sentence_record(place, "", drawn).arrays["length_counts"]
        utility = settings.scale * log_probs_of(config, component, pairs.tokens[:count], lengths, "") / lengths
        found = mean_preference(*(utility[bin_members(lengths, name)] for name in ("S", "L")))
        numbers |= {f"weight.{i + 1}": float(weights[i]), f"prefers.{i + 1}": None if found is None else found.value}
    return Record("two-components", {}, numbers, arrays)


def adapt_components(
    config: TransformerConfig, copies: Floats, pairs: Pairs, answers: np.ndarray, settings: LanguageSettings
) -> tuple[Floats, FloatArray]:
    """One pass of Adam over the pairs on the loss of Eq. (30); all parameters in one vector, and the loss of each step.

    Parameters
    ----------
    config : TransformerConfig
    copies : ndarray, shape (k, n)
        Parameters of each component at the start; the logits of their weights, which start at zero, come after them.
    pairs : Pairs
    answers : ndarray of bool, shape (m,)
        Whether the first sentence of each pair is preferred.
    settings : LanguageSettings
        The likelihood term is that of the components' mean log-likelihood, and not part of the losses returned.
    """
    count, size = len(copies), settings.pairs_per_step
    theta = np.concatenate([copies.ravel(), np.zeros(count, copies.dtype)])
    state, losses = initial_adam_state(theta), list[float]()
    for tokens, lengths in batches(pairs, answers, size, f"{count} components"):
        found = [log_probs_and_pullback(config, each, tokens) for each in theta[:-count].reshape(count, -1)]
        factor = settings.scale / lengths[:, None]
        utilities = factor * np.stack([log_probs for log_probs, _ in found], axis=1)
        loss = annotator_mixture_loss(utilities[:size], utilities[size:], theta[-count:].astype(np.float64))
        slopes = np.concatenate([loss.gradients["policy_chosen"], loss.gradients["policy_rejected"]]) * factor
        slopes = slopes - settings.likelihood_weight / size / count
        parts = [pullback(slopes[:, i]) for i, (_, pullback) in enumerate(found)]
        gradient = np.concatenate([*parts, loss.gradients["weight_logits"]]).astype(theta.dtype)
        theta, state = adam_step(theta, gradient, state, learning_rate=settings.adaptation_learning_rate)
        losses.append(float(loss.value))
    return theta, np.array(losses)
