"""What training was told and what came of it, and files of both."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.files import read_arrays, write_arrays
from pbde_ref.models.transformer import TransformerConfig, parameter_count
from pbde_ref.validation import FloatArray, IndexArray, non_negative_number, positive_number, whole_number

__all__ = ["CheckpointError", "History", "TrainedModel", "TrainingSettings", "load_model", "save_model"]

FORMAT = "pbde_ref language model 1"


class CheckpointError(ValueError):
    """A checkpoint that is of another run, or not as it was written."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a language model is trained.

    Attributes
    ----------
    steps : int
        Of AdamW; each takes one batch.
    tokens_per_batch : int
        At most so many, padding not counted.
    learning_rate : float
        At its peak, after a linear warm-up; a cosine brings it down to zero.
    warmup_steps : int
    weight_decay : float
        Decoupled, times the learning rate. Little text that is seen many times needs more of it.
    clip_norm : float
        A gradient of the mean loss per token longer than this is shortened to it.
    evaluate_every : int
        Steps between evaluations of the held-out loss; after each, a checkpoint is written. The last step is evaluated
        in any case.
    seed : int
        For the initial parameters and the order of batches.

    Raises
    ------
    TypeError, ValueError
        If one is out of range.
    """

    steps: int = 1000
    tokens_per_batch: int = 2048
    learning_rate: float = 4e-3
    warmup_steps: int = 100
    weight_decay: float = 0.5
    clip_norm: float = 1.0
    evaluate_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("tokens_per_batch", 1),
            ("warmup_steps", 0),
            ("evaluate_every", 1),
            ("seed", 0),
        ):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least=least))
        for name, check in (
            ("learning_rate", positive_number),
            ("weight_decay", non_negative_number),
            ("clip_norm", positive_number),
        ):
            object.__setattr__(self, name, check(name, getattr(self, name)))


@dataclass(frozen=True, eq=False)
class History:
    """Loss curves, one entry for each evaluation.

    Attributes
    ----------
    steps : ndarray of int
        Steps taken before the evaluation.
    training_loss : ndarray
        Mean cross-entropy per token, in nats, of the batches since the evaluation before, as they were met.
    held_out_loss : ndarray
        Mean cross-entropy per token of the held-out sequences, in nats.
    """

    steps: IndexArray
    training_loss: FloatArray
    held_out_loss: FloatArray

    @property
    def best(self) -> int:
        """Index of the first evaluation with the lowest held-out loss."""
        return int(np.argmin(self.held_out_loss))

    def extended(self, step: int, training_loss: float, held_out_loss: float) -> History:
        """With one more evaluation."""
        return History(
            np.append(self.steps, np.intp(step)),
            np.append(self.training_loss, training_loss),
            np.append(self.held_out_loss, held_out_loss),
        )


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A language model with the weights of its lowest held-out loss: a minimum over evaluations, which flatters it.

    Attributes
    ----------
    config : TransformerConfig
    parameters : ndarray of float32, shape (count,)
        Read-only.
    settings : TrainingSettings
    history : History

    Raises
    ------
    ValueError
        If `parameters` do not fit the sizes.
    """

    config: TransformerConfig
    parameters: NDArray[np.float32]
    settings: TrainingSettings
    history: History

    def __post_init__(self) -> None:
        parameters = np.array(self.parameters, dtype=np.float32)
        count = parameter_count(self.config)
        if parameters.shape != (count,):
            raise ValueError(f"`parameters` must have shape ({count},) for these sizes; got {parameters.shape}")
        parameters.flags.writeable = False
        object.__setattr__(self, "parameters", parameters)


def save_model(path: str | os.PathLike[str], model: TrainedModel) -> None:
    """Write a trained model to an ``.npz`` file, atomically; equal models give equal bytes."""
    write_arrays(
        path,
        {"format": np.array(FORMAT), "parameters": model.parameters}
        | described(model.config, model.settings)
        | history_arrays(model.history),
    )


def load_model(path: str | os.PathLike[str]) -> TrainedModel:
    """The model that `save_model` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another file, or lacks a part.
    """
    arrays = read_arrays(path)
    try:
        if arrays["format"] != FORMAT:
            raise ValueError(f"its format is {str(arrays['format'])!r}, not {FORMAT!r}")
        return TrainedModel(
            TransformerConfig(**json.loads(str(arrays["config"]))),
            arrays["parameters"],
            TrainingSettings(**json.loads(str(arrays["settings"]))),
            history_of(arrays),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"`path` must be a file of a trained model; got {os.fspath(path)!r}: {error}") from error


def described(config: TransformerConfig, settings: TrainingSettings) -> dict[str, NDArray[Any]]:
    """Sizes and settings as arrays of text."""
    return {"config": np.array(json.dumps(asdict(config))), "settings": np.array(json.dumps(asdict(settings)))}


def history_arrays(history: History) -> dict[str, NDArray[Any]]:
    """A history's parts under the names that files have for them."""
    return {f"history_{field.name}": getattr(history, field.name) for field in fields(History)}


def history_of(arrays: Mapping[str, NDArray[Any]]) -> History:
    """The history among the arrays of a file."""
    return History(**{field.name: arrays[f"history_{field.name}"] for field in fields(History)})
