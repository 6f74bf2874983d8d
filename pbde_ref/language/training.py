r"""Language models trained on sentences: AdamW on the mean cross-entropy per token.

.. math:: L(\theta) = -\frac{1}{\sum_b |x_b|} \sum_b \log \pi_\theta(x_b)

A run is determined by its settings, sizes and sequences: neither the number of cores nor an interruption changes a bit
of its result on one machine. (Another processor, or another BLAS library, may round products of matrices otherwise.)
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.files import read_arrays, write_arrays
from pbde_ref.language.tokenizers import Tokenizer
from pbde_ref.language.trained_models import (
    CheckpointError,
    History,
    TrainedModel,
    TrainingSettings,
    described,
    history_arrays,
    history_of,
)  # fmt: skip
from pbde_ref.language.training_data import Tokens, TrainingData, batch_order, padded, token_vectors
from pbde_ref.models.adam import AdamState, adam_step, initial_adam_state, warmup_cosine
from pbde_ref.models.transformer import (
    TransformerConfig,
    initial_parameters,
    parameter_count,
    token_log_probs,
    weighted_loss_and_gradient,
)  # fmt: skip
from pbde_ref.validation import instance, whole_number

__all__ = ["end_probability", "held_out_loss", "loss_and_error", "train_language_model"]

CHECKPOINT_FORMAT = "pbde_ref language training 1"
EVALUATION_TOKENS = 8192
# The held-out part of the benchmark has 300,000 sentences; the first of them tell enough.
EVALUATION_SEQUENCES = 2000

Parameters = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class _State:
    """Everything that the steps to come depend on, and the best weights so far."""

    parameters: Parameters
    adam: AdamState
    best: Parameters
    history: History


def train_language_model(
    config: TransformerConfig,
    data: TrainingData,
    settings: TrainingSettings | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TrainedModel:
    """Train a Transformer on sequences, and keep the weights of the lowest held-out loss.

    What the model is worth is its loss on other sequences, ``data.test``: `loss_and_error`.

    Parameters
    ----------
    config : TransformerConfig
    data : TrainingData
        From `pbde_ref.language.training_data.training_data`.
    settings : TrainingSettings, optional
    checkpoint : path, optional
        File that is written after each evaluation. If it exists, training goes on from there: a run that was killed
        ends with the same weights, bit for bit, as one that was not.
    progress : bool
        Show steps, tokens per second and held-out loss on stderr, if that is a terminal.

    Raises
    ------
    CheckpointError
        If the checkpoint is of another run or damaged; a ``ValueError``, too.
    ValueError
        If a sequence is longer than ``config.max_length`` or has a token outside the vocabulary, or the loss
        becomes infinite or NaN (the learning rate is too high).
    OSError
        If the checkpoint cannot be written.

    Examples
    --------
    >>> from pbde_ref.language.trained_models import TrainingSettings
    >>> from pbde_ref.language.training import train_language_model
    >>> from pbde_ref.language.training_data import TrainingData
    >>> from pbde_ref.models.transformer import TransformerConfig
    >>> data = TrainingData(training=([3, 4, 1], [3, 5, 1]), held_out=([3, 4, 1],))
    >>> config = TransformerConfig(vocabulary_size=6, embedding_dim=8, layers=1, heads=2, mlp_dim=16)
    >>> model = train_language_model(config, data, TrainingSettings(steps=60, learning_rate=1e-2, warmup_steps=5))
    >>> float(model.history.held_out_loss[-1]) < 0.4  # log(2) nats for one of the three tokens: 0.23
    True
    """
    settings = TrainingSettings() if settings is None else settings
    instance("settings", settings, TrainingSettings, "TrainingSettings")
    instance("data", data, TrainingData, "TrainingData")
    data.fits(config)
    identity = described(config, settings) | {"data": np.array(data.digest()), "format": np.array(CHECKPOINT_FORMAT)}
    state = _start(config, settings)
    if checkpoint is not None:
        if Path(checkpoint).exists():
            state = _read(checkpoint, identity, config)
        else:
            # A path that cannot be written to is better known before the long work.
            _write(checkpoint, identity, state)

    def keep(state: _State) -> None:
        if checkpoint is not None:
            _write(checkpoint, identity, state)

    try:
        state = _run(config, data, settings, state, keep, progress)
    except ValueError as error:
        raise ValueError(
            f"`learning_rate` must keep the loss and its gradient finite; got {settings.learning_rate}: {error}"
        ) from error
    return TrainedModel(config, state.best.astype(np.float32), settings, state.history)


def held_out_loss(config: TransformerConfig, parameters: Parameters, sequences: Sequence[Tokens]) -> float:
    """Mean cross-entropy per token, in nats, of (at most the first 2,000) sequences.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.language.training import held_out_loss
    >>> from pbde_ref.models.transformer import TransformerConfig, parameter_count
    >>> config = TransformerConfig(vocabulary_size=8, embedding_dim=4, layers=1, heads=1, mlp_dim=2)
    >>> round(held_out_loss(config, np.zeros(parameter_count(config)), [[3, 4, 1], [5, 1]]), 6)  # log 8
    2.079442
    """
    chosen = sorted(token_vectors("sequences", sequences)[:EVALUATION_SEQUENCES], key=len)
    total = 0.0
    for batch in _batches(chosen):
        total -= float(token_log_probs(config, parameters, padded(batch)).sum())
    return total / sum(len(sequence) for sequence in chosen)


def loss_and_error(
    config: TransformerConfig, parameters: Parameters, sequences: Sequence[Tokens]
) -> tuple[float, float]:
    r"""Mean cross-entropy per token of at least two sequences, and its standard error, in nats.

    .. math:: R = \frac{\sum_i c_i}{\sum_i |x_i|}, \qquad
              \text{error}^2 = \frac{m}{m - 1} \frac{\sum_i (c_i - R |x_i|)^2}{(\sum_i |x_i|)^2}

    with :math:`c_i = -\log \pi(x_i)`: sequences are what was drawn, not tokens. The error says nothing about another
    seed of training.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.language.training import loss_and_error
    >>> from pbde_ref.models.transformer import TransformerConfig, parameter_count
    >>> config = TransformerConfig(vocabulary_size=8, embedding_dim=4, layers=1, heads=1, mlp_dim=2)
    >>> loss, error = loss_and_error(config, np.zeros(parameter_count(config)), [[3, 4, 1], [5, 1]])
    >>> round(loss, 6), error < 1e-12  # each token costs log 8
    (2.079442, True)
    """
    chosen = sorted(token_vectors("sequences", sequences, least=2), key=len)
    batches = [token_log_probs(config, parameters, padded(batch)).sum(axis=1) for batch in _batches(chosen)]
    costs, lengths = -np.concatenate(batches), np.array([len(sequence) for sequence in chosen], dtype=np.float64)
    loss = float(costs.sum() / lengths.sum())
    spread = float(np.square(costs - loss * lengths).sum()) * costs.size / (costs.size - 1)
    return loss, math.sqrt(spread) / float(lengths.sum())


def end_probability(
    config: TransformerConfig,
    parameters: Parameters,
    sequences: Sequence[Tokens],
    tokenizer: Tokenizer,
    *,
    position: int = 15,
) -> float:
    r"""The probability that a sentence ends after a full stop at `position`, averaged over prefixes that occur.

    .. math:: \frac{1}{|X|} \sum_{x \in X} \pi(\text{end} \mid x_{\le t}), \qquad
              X = \{x : x_t \text{ is a full stop}\},\ t = \text{position}

    A model of long sentences alone has never seen an end so early. Unless it gives one a small probability, it has
    learnt "end after a full stop" and not the lengths of its sentences.

    Parameters
    ----------
    config, parameters
        The model, such as ``model.config, model.parameters``.
    sequences : sequence of vectors of tokens
        Sentences of all lengths, whether the model has seen them or not; those with another piece at that place do not
        count.
    tokenizer : Tokenizer
        Says which pieces end in a full stop.
    position : int
        Of the full stop; the first piece has position 1. At most ``config.max_length - 1``.

    Raises
    ------
    ValueError
        If no sequence has a full stop there, or there is no room for an end behind.
    """
    position = whole_number("position", position, least=1)
    if position >= config.max_length:
        raise ValueError(f"`position` must be below max_length = {config.max_length}; got {position}")
    stops = [token for token in range(tokenizer.vocabulary_size) if tokenizer.decode([token]).endswith(".")]
    prefixes = [
        [*sequence[:position], tokenizer.end_id]
        for sequence in sequences
        if len(sequence) >= position and sequence[position - 1] in stops
    ]
    if not prefixes:
        raise ValueError(f"`sequences` must have one with a full stop at position {position}; got none")
    log_probs = [token_log_probs(config, parameters, padded(batch))[:, -1] for batch in _batches(prefixes)]
    return float(np.exp(np.concatenate(log_probs)).mean())


def _start(config: TransformerConfig, settings: TrainingSettings) -> _State:
    parameters = initial_parameters(config, rng=_generators(settings)[0])
    nothing = History(np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0))
    return _State(parameters, initial_adam_state(parameters), parameters, nothing)


def _generators(settings: TrainingSettings) -> list[np.random.Generator]:
    """One for the initial parameters, one for the order of batches."""
    return np.random.default_rng(settings.seed).spawn(2)


def _run(
    config: TransformerConfig,
    data: TrainingData,
    settings: TrainingSettings,
    state: _State,
    keep: Callable[[_State], None],
    progress: bool,
) -> _State:
    """The steps that are left; `keep` is called after each evaluation."""
    from tqdm import tqdm

    lengths = np.array([sequence.size for sequence in data.training])
    batches = batch_order(lengths, settings.tokens_per_batch, rng=_generators(settings)[1])
    loss, tokens, tokens_in_all, begin = 0.0, 0, 0, time.perf_counter()
    with tqdm(total=settings.steps, initial=state.adam.steps, disable=None if progress else True, unit="step") as bar:
        for batch in islice(batches, state.adam.steps, settings.steps):
            state, value = _step(config, [data.training[index] for index in batch], settings, state)
            count = int(lengths[batch].sum())
            loss, tokens, tokens_in_all = loss + value * count, tokens + count, tokens_in_all + count
            bar.update()
            if state.adam.steps % settings.evaluate_every == 0 or state.adam.steps == settings.steps:
                state = _evaluated(state, loss / tokens, held_out_loss(config, state.parameters, data.held_out))
                loss, tokens = 0.0, 0
                keep(state)
                rate = tokens_in_all / (time.perf_counter() - begin)
                bar.set_postfix_str(f"{rate:,.0f} tokens/s, held-out loss {state.history.held_out_loss[-1]:.4f}")
    return state


def _step(
    config: TransformerConfig, sequences: list[Tokens], settings: TrainingSettings, state: _State
) -> tuple[_State, float]:
    """One step of AdamW, and the batch's loss before it."""
    step = state.adam.steps
    weight = 1.0 / sum(sequence.size for sequence in sequences)
    value, gradient = weighted_loss_and_gradient(
        config, state.parameters, padded(sequences), np.full(len(sequences), weight)
    )
    # A dot product would add up in an order that depends on the number of threads.
    norm = math.sqrt(float(np.square(gradient, dtype=np.float64).sum()))
    if not math.isfinite(value + norm):
        raise ValueError(f"{value} nats at step {step}")
    gradient *= min(1.0, settings.clip_norm / max(norm, np.finfo(np.float64).tiny))
    parameters, adam = adam_step(
        state.parameters,
        gradient,
        state.adam,
        learning_rate=warmup_cosine(
            step, peak=settings.learning_rate, warmup_steps=settings.warmup_steps, steps=settings.steps
        ),
        weight_decay=settings.weight_decay,
    )
    return replace(state, parameters=parameters, adam=adam), value


def _evaluated(state: _State, training_loss: float, held_out: float) -> _State:
    history = state.history.extended(state.adam.steps, training_loss, held_out)
    is_best = history.best == history.steps.size - 1
    return replace(state, history=history, best=state.parameters if is_best else state.best)


def _write(path: str | os.PathLike[str], identity: dict[str, NDArray[Any]], state: _State) -> None:
    arrays = {
        "parameters": state.parameters,
        "first_moment": state.adam.first_moment,
        "second_moment": state.adam.second_moment,
        "steps": np.array(state.adam.steps),
        "best": state.best,
    }
    write_arrays(path, identity | arrays | history_arrays(state.history))


def _read(path: str | os.PathLike[str], identity: dict[str, NDArray[Any]], config: TransformerConfig) -> _State:
    try:
        arrays = read_arrays(path)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    for name, expected in identity.items():
        if name not in arrays or str(arrays[name]) != str(expected):
            raise CheckpointError(
                f"`checkpoint` must be of the same run, or not exist; {os.fspath(path)!r} has another {name}: "
                f"{arrays.get(name)!s:.200} instead of {expected!s:.200}"
            )
    try:
        count = parameter_count(config)
        flat = {name: arrays[name] for name in ("parameters", "first_moment", "second_moment", "best")}
        for name, value in flat.items():
            if value.shape != (count,) or value.dtype != np.float32:
                raise ValueError(f"{name} has shape {value.shape} and dtype {value.dtype}, not ({count},) and float32")
            if not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite")
        adam = AdamState(flat["first_moment"], flat["second_moment"], int(arrays["steps"]))
        history = history_of(arrays)
        if not 0 <= adam.steps == (history.steps[-1] if history.steps.size else 0):
            raise ValueError(f"it is after {adam.steps} steps, and its history is not")
        return _State(flat["parameters"], adam, flat["best"], history)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
        name = os.fspath(path)
        raise CheckpointError(f"`checkpoint` must be a whole checkpoint; {name!r} is not: {error}") from error


def _batches(sequences: Sequence[Any]) -> list[Sequence[Any]]:
    """Consecutive sequences, about as many tokens in each batch."""
    longest = max(len(sequence) for sequence in sequences)
    size = max(1, EVALUATION_TOKENS // longest)
    return [sequences[begin : begin + size] for begin in range(0, len(sequences), size)]
