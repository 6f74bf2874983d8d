"""Checkpoints of Flax's LM1B example become parameters of `pbde_ref.models.transformer`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pbde_ref.models.flax_msgpack import CheckpointError, read_state
from pbde_ref.models.transformer import TransformerConfig, flatten, parameter_shapes
from pbde_ref.validation import whole_number

__all__ = ["CheckpointError", "FlaxCheckpoint", "checkpoint_from", "read_flax_checkpoint"]

_NUMBERED = re.compile(r"checkpoint_([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)")
# Orbax, the successor of Flax's own format, makes a folder. In 2023 Flax let it put every array that lay on one device
# into a file of Flax's format there; such a checkpoint can be read.
_AGGREGATE = "checkpoint"
_ORBAX = ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt", "default")
_BLOCK = re.compile(r"decoder/encoderdecoderblock_(0|[1-9]\d{0,5})/")
# How the attention's module was named in 2023, and how it is named today.
_ATTENTION = ("SelfAttention_0", "MultiHeadDotProductAttention_0")
# The example's names of arrays by ours: outside of the layers, and in each layer.
_OUTSIDE = {
    "embedding": "Embed_0/embedding",
    "final_norm/scale": "encoderdecoder_norm/scale",
    "final_norm/bias": "encoderdecoder_norm/bias",
    "logits/kernel": "logitdense/kernel",
    "logits/bias": "logitdense/bias",
}
_LAYER = {
    "attention_norm/scale": "LayerNorm_0/scale",
    "attention_norm/bias": "LayerNorm_0/bias",
    "attention/query": "{attention}/query/kernel",
    "attention/key": "{attention}/key/kernel",
    "attention/value": "{attention}/value/kernel",
    "attention/out": "{attention}/out/kernel",
    "mlp_norm/scale": "LayerNorm_1/scale",
    "mlp_norm/bias": "LayerNorm_1/bias",
    "mlp/in/kernel": "MlpBlock_0/Dense_0/kernel",
    "mlp/in/bias": "MlpBlock_0/Dense_0/bias",
    "mlp/out/kernel": "MlpBlock_0/Dense_1/kernel",
    "mlp/out/bias": "MlpBlock_0/Dense_1/bias",
}
MOST_CHECKPOINT_BYTES = 2**34
"""Largest checkpoint that is read unless another limit is given: 16 GiB."""

# So many names stand in a message.
_NAMED = 3


@dataclass(frozen=True, eq=False)
class FlaxCheckpoint:
    """A model that Flax trained.

    Attributes
    ----------
    config : TransformerConfig
    parameters : ndarray, shape (parameter_count(config),)
        float32.
    step : int or None
        Steps that it was trained for; None if the file holds nothing but parameters.
    """

    config: TransformerConfig
    parameters: NDArray[np.float32]
    step: int | None


def read_flax_checkpoint(
    path: str | os.PathLike[str], *, max_length: int = 50, limit: int = MOST_CHECKPOINT_BYTES
) -> FlaxCheckpoint:
    r"""Read what Flax's LM1B example writes with ``flax.training.checkpoints`` or ``flax.serialization`` (msgpack).

    The file holds a ``TrainState`` or bare parameters, with or without an outer ``{"params": …}``, with the names of
    2023 (``SelfAttention_0``) or of today (``MultiHeadDotProductAttention_0``, each array in a box ``{"value": …}``).
    Flax is not needed. Sizes are read off the arrays: a query kernel has shape (width, heads, width / heads). An
    optimiser's moments are passed over, so memory is about twice that of the parameters.

    Parameters
    ----------
    path : str or path
        A file, or a folder with files ``checkpoint_<step>``, of which the one with the largest step is read. Folders
        of Orbax cannot be read, except those of 2023 that hold all arrays in the one file ``checkpoint``.
    max_length : int
        Longest sequence that the model is to be used for; the file does not know, for positions are not learnt.

    limit : int
        Largest file, in bytes.

    Returns
    -------
    FlaxCheckpoint
        Arrays of float16, bfloat16 or float64 become float32.

    Raises
    ------
    CheckpointError
        A ``ValueError``: if the file is truncated, damaged, of another format or model, or its parameters are not
        finite. The message names the array that is missing or wrong.
    OSError
        If the file cannot be read.

    Examples
    --------
    A model with one layer of width 4 and three tokens, all of whose parameters are 1: every token has probability 1/3.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import msgpack
    >>> import numpy as np
    >>> from pbde_ref.models.flax_checkpoint import read_flax_checkpoint
    >>> from pbde_ref.models.transformer import sequence_log_probs
    >>> def ones(*shape):
    ...     return msgpack.ExtType(1, msgpack.packb([shape, "float32", np.ones(shape, dtype="<f4").tobytes()]))
    >>> norm, query = {"scale": ones(4), "bias": ones(4)}, {"kernel": ones(4, 2, 2)}
    >>> block = {
    ...     "LayerNorm_0": norm,
    ...     "SelfAttention_0": {"query": query, "key": query, "value": query, "out": {"kernel": ones(2, 2, 4)}},
    ...     "LayerNorm_1": norm,
    ...     "MlpBlock_0": {"Dense_0": {"kernel": ones(4, 8), "bias": ones(8)},
    ...                    "Dense_1": {"kernel": ones(8, 4), "bias": ones(4)}},
    ... }
    >>> decoder = {"Embed_0": {"embedding": ones(3, 4)}, "encoderdecoderblock_0": block, "encoderdecoder_norm": norm,
    ...            "logitdense": {"kernel": ones(4, 3), "bias": ones(3)}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "checkpoint_7").write_bytes(msgpack.packb({"step": 7, "params": {"decoder": decoder}}))
    ...     checkpoint = read_flax_checkpoint(folder)
    >>> checkpoint.config.heads, checkpoint.step
    (2, 7)
    >>> sequence_log_probs(checkpoint.config, checkpoint.parameters, np.array([[1, 2, 0]])).round(5)
    array([-2.19722])
    """
    max_length = whole_number("max_length", max_length, least=1)
    chosen = _checkpoint_file(Path(path))
    with open(chosen, "rb") as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise CheckpointError(f"must have at most {limit:,} bytes, the limit; it has {size:,}")
            return checkpoint_from(file, size, max_length=max_length)
        except CheckpointError as error:
            raise CheckpointError(f"{chosen}: {error}") from None


def checkpoint_from(file: BinaryIO, size: int, *, max_length: int) -> FlaxCheckpoint:
    """The checkpoint in an open file of so many bytes; messages of its errors lack a path."""
    state = read_state(file, size, keep={"params", "step", "decoder"})
    tree: Any = state
    while isinstance(tree, dict) and "params" in tree:
        tree = tree["params"]
    if not isinstance(tree, dict) or "decoder" not in tree:
        raise CheckpointError("`decoder` is missing, in which the LM1B example has its parameters")
    config, parameters = _parameters(_named_arrays("decoder", tree["decoder"]), max_length)
    return FlaxCheckpoint(config, parameters, _step(state.get("step")))


def _checkpoint_file(path: Path) -> Path:
    """The file itself, or that of the largest step in a folder."""
    if not path.is_dir():
        return path
    steps = {entry: float(match[1]) for entry in path.iterdir() if (match := _NUMBERED.fullmatch(entry.name))}
    newest = max(steps, key=steps.__getitem__) if steps else path
    if newest.is_file():
        return newest
    if (newest / _AGGREGATE).is_file():
        return newest / _AGGREGATE
    if steps or any((path / name).exists() for name in _ORBAX):
        raise CheckpointError(
            f"{newest}: must be a Flax msgpack file; it is a folder of Orbax, which keeps arrays apart"
        )
    raise CheckpointError(f"{path}: must hold a file `checkpoint_<step>`; there is none")


def _step(value: Any) -> int | None:
    if value is None:
        return None
    steps = np.asarray(value)
    if steps.dtype.kind not in "iu" or steps.ndim != 0:
        raise CheckpointError(f"`step` must be a whole number; got {type(value).__name__:.60} of shape {steps.shape}")
    return int(steps)


def _named_arrays(where: str, tree: Any) -> dict[str, NDArray[np.float32]]:
    """Every array of a tree by its path."""
    if isinstance(tree, dict):
        return {name: array for key in tree for name, array in _named_arrays(f"{where}/{key}", tree[key]).items()}
    if not isinstance(tree, np.ndarray):
        elsewhere = "; Orbax keeps it in another file" if isinstance(tree, str) and "PLACEHOLDER:" in tree else ""
        raise CheckpointError(f"`{where}` must be an array; got {tree!r:.60}{elsewhere}")
    if tree.dtype.kind != "f":
        raise CheckpointError(f"`{where}` must be floating point; got {tree.dtype}")
    with np.errstate(over="ignore"):
        values = tree.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise CheckpointError(f"`{where}` must be finite in float32; got {values[~np.isfinite(values)][0]}")
    return {where: values}


def _parameters(arrays: dict[str, NDArray[np.float32]], max_length: int) -> tuple[TransformerConfig, NDArray[Any]]:
    """The flat vector, and the sizes that the arrays' shapes tell."""
    layers = len({match[1] for name in arrays if (match := _BLOCK.match(name))})
    attention = next((name for name in _ATTENTION if any(f"/{name}/" in path for path in arrays)), _ATTENTION[0])
    names = _names(max(layers, 1), attention)
    _same_names(arrays, names)

    vocabulary_size, width = _dimensions(arrays, names, "embedding", 2)
    _, heads, head_width = _dimensions(arrays, names, "layer_0/attention/query", 3)
    _, mlp_dim = _dimensions(arrays, names, "layer_0/mlp/in/kernel", 2)
    if heads * head_width != width:
        raise CheckpointError(f"attention must be as wide as the embedding, {width}; got {heads} heads of {head_width}")
    try:
        config = TransformerConfig(
            vocabulary_size=vocabulary_size,
            embedding_dim=width,
            layers=layers,
            heads=heads,
            mlp_dim=mlp_dim,
            max_length=max_length,
        )
    except ValueError as error:
        raise CheckpointError(f"the sizes are none of a model ({error})") from None

    shapes = parameter_shapes(config)
    by_head = {"query": (width, heads, head_width), "key": (width, heads, head_width),
               "value": (width, heads, head_width), "out": (heads, head_width, width)}  # fmt: skip
    for ours, theirs in names.items():
        expected = by_head[ours.rsplit("/", 1)[-1]] if "/attention/" in ours else shapes[ours]
        if arrays[theirs].shape != expected:
            raise CheckpointError(f"`{theirs}` must have shape {expected}; got {arrays[theirs].shape}")
    return config, flatten(config, {ours: arrays[theirs].reshape(shapes[ours]) for ours, theirs in names.items()})


def _names(layers: int, attention: str) -> dict[str, str]:
    """Paths in the checkpoint by the names of `parameter_shapes`."""
    names = {ours: f"decoder/{theirs}" for ours, theirs in _OUTSIDE.items()}
    for i in range(layers):
        for ours, theirs in _LAYER.items():
            names[f"layer_{i}/{ours}"] = f"decoder/encoderdecoderblock_{i}/{theirs.format(attention=attention)}"
    return names


def _same_names(arrays: dict[str, NDArray[np.float32]], names: dict[str, str]) -> None:
    missing = [theirs for theirs in names.values() if theirs not in arrays]
    if missing:
        raise CheckpointError(f"{_listed(missing)} missing")
    known = set(names.values())
    superfluous = [theirs for theirs in arrays if theirs not in known]
    if superfluous:
        raise CheckpointError(f"{_listed(superfluous)} no part of the LM1B example's model")


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{shown}{more} {'is' if len(names) == 1 else 'are'}"


def _dimensions(
    arrays: dict[str, NDArray[np.float32]], names: dict[str, str], ours: str, count: int
) -> tuple[int, ...]:
    shape = arrays[names[ours]].shape
    if len(shape) != count:
        raise CheckpointError(f"`{names[ours]}` must have {count} axes; got shape {shape}")
    return shape
