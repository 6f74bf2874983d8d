r"""Sizes, names and initial values of a Transformer's parameters, which are one flat vector.

Names and shapes, with D the width, M that of the MLP, V the vocabulary, i = 0, 1, … the layer:

====================================================  ============  =================================
``embedding``                                         (V, D)        of tokens, not scaled
``layer_i/attention_norm/scale``, ``…/bias``          (D,)          layer norm before the attention
``layer_i/attention/query``, ``…/key``, ``…/value``   (D, D)        head after head in the columns
``layer_i/attention/out``                             (D, D)        head after head in the rows
``layer_i/mlp_norm/scale``, ``…/bias``                (D,)          layer norm before the MLP
``layer_i/mlp/in/kernel``, ``…/bias``                 (D, M), (M,)
``layer_i/mlp/out/kernel``, ``…/bias``                (M, D), (D,)
``final_norm/scale``, ``…/bias``                      (D,)          layer norm before the output
``logits/kernel``, ``…/bias``                         (D, V), (V,)  not tied to the embedding
====================================================  ============  =================================

Every kernel is applied from the right, ``x @ kernel``. Arrays lie in the vector in this order, each in C order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbde_ref.validation import generator_of, instance, reject, whole_number

__all__ = [
    "TransformerConfig", "finite_parameters", "flatten", "initial_parameters", "named_views", "parameter_count",
    "parameter_shapes", "parameter_vector", "split",
]  # fmt: skip

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a decoder-only Transformer.

    Parameters
    ----------
    vocabulary_size : int
        Number of tokens, the padding token 0 included; at least 2.
    embedding_dim : int
        Width of embeddings and layers; at least 4, and a multiple of `heads`.
    layers, heads, mlp_dim : int
        A head's width is ``embedding_dim / heads``.
    max_length : int
        Longest sequence in tokens, the end token included. No parameter depends on it.

    Raises
    ------
    TypeError, ValueError
        If a size is no whole number, or too small, or the width is not a multiple of the heads.

    Examples
    --------
    >>> from pbde_ref.models.transformer import TransformerConfig, parameter_count
    >>> parameter_count(TransformerConfig(vocabulary_size=2000))
    909776
    """

    vocabulary_size: int
    embedding_dim: int = 128
    layers: int = 2
    heads: int = 4
    mlp_dim: int = 512
    max_length: int = 50

    def __post_init__(self) -> None:
        least = {"vocabulary_size": 2, "embedding_dim": 4}
        for name in ("vocabulary_size", "embedding_dim", "layers", "heads", "mlp_dim", "max_length"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least=least.get(name, 1)))
        if self.embedding_dim % self.heads:
            raise ValueError(
                f"`embedding_dim` must be a multiple of `heads`; got {self.embedding_dim} for {self.heads} heads"
            )


def parameter_shapes(config: TransformerConfig) -> dict[str, tuple[int, ...]]:
    """Names of all arrays with their shapes, in the order in which they lie in the vector.

    Examples
    --------
    >>> from pbde_ref.models.transformer import TransformerConfig, parameter_shapes
    >>> shapes = parameter_shapes(TransformerConfig(vocabulary_size=50, layers=1))
    >>> shapes["layer_0/mlp/in/kernel"], list(shapes)[-1]
    ((128, 512), 'logits/bias')
    """
    instance("config", config, TransformerConfig, "a TransformerConfig")
    width, hidden, vocabulary = config.embedding_dim, config.mlp_dim, config.vocabulary_size
    shapes: dict[str, tuple[int, ...]] = {"embedding": (vocabulary, width)}
    for i in range(config.layers):
        layer = {
            "attention_norm/scale": (width,), "attention_norm/bias": (width,),
            "attention/query": (width, width), "attention/key": (width, width), "attention/value": (width, width),
            "attention/out": (width, width),
            "mlp_norm/scale": (width,), "mlp_norm/bias": (width,),
            "mlp/in/kernel": (width, hidden), "mlp/in/bias": (hidden,),
            "mlp/out/kernel": (hidden, width), "mlp/out/bias": (width,),
        }  # fmt: skip
        shapes |= {f"layer_{i}/{name}": shape for name, shape in layer.items()}
    shapes |= {"final_norm/scale": (width,), "final_norm/bias": (width,)}
    return shapes | {"logits/kernel": (width, vocabulary), "logits/bias": (vocabulary,)}


def parameter_count(config: TransformerConfig) -> int:
    """Length of the flat vector."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def parameter_vector(config: TransformerConfig, parameters: Floats) -> Floats:
    """The parameters themselves, or an error unless they are a float32 or float64 vector of the right length."""
    instance("parameters", parameters, np.ndarray, "an array")
    if parameters.dtype not in (np.float32, np.float64):
        raise TypeError(f"`parameters` must be float32 or float64; got dtype {parameters.dtype}")
    count = parameter_count(config)
    if parameters.shape != (count,) or not parameters.flags.c_contiguous:
        raise ValueError(f"`parameters` must be a contiguous vector of {count} numbers; got shape {parameters.shape}")
    return parameters


def in_range(name: str, values: NDArray[Any], dtype: Any) -> None:
    """Raise unless all values are finite, and so small that sums of their fourth powers are, in a precision."""
    most = np.finfo(dtype).max ** 0.2
    # Least and greatest are in range only if all are, and need no memory.
    if not (-most <= values.min() and values.max() <= most):
        reject(name, "finite", values, ~np.isfinite(values))
        reject(name, f"of magnitude at most {most:.0e}", values, np.abs(values) > most)


def finite_parameters(config: TransformerConfig, parameters: Floats) -> Floats:
    """The same, or an error also where an entry is NaN, infinite or too large."""
    parameters = parameter_vector(config, parameters)
    in_range("parameters", parameters, parameters.dtype)
    return parameters


def named_views(config: TransformerConfig, parameters: Floats) -> dict[str, Floats]:
    """Every array by its name: views, so that writing to one changes the vector.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.models.transformer import TransformerConfig, named_views, parameter_count
    >>> config = TransformerConfig(vocabulary_size=3, embedding_dim=4, layers=1, heads=1, mlp_dim=2)
    >>> parameters = np.zeros(parameter_count(config), dtype=np.float32)
    >>> named_views(config, parameters)["logits/bias"][:] = 1.0, 2.0, 3.0
    >>> parameters[-4:]
    array([0., 1., 2., 3.], dtype=float32)
    """
    parameters = parameter_vector(config, parameters)
    shapes = parameter_shapes(config)
    return dict(zip(shapes, split(parameters, list(shapes.values())), strict=True))


def split(vector: Floats, shapes: Sequence[tuple[int, ...]]) -> list[Floats]:
    """A vector cut into arrays of the given shapes, which are views."""
    ends = accumulate(math.prod(shape) for shape in shapes)
    return [vector[end - math.prod(shape) : end].reshape(shape) for shape, end in zip(shapes, ends, strict=True)]


def flatten(config: TransformerConfig, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The flat float32 vector of arrays given by name, in any order; the inverse of `named_views`.

    Raises
    ------
    ValueError
        If an array is missing, superfluous, of another shape or not finite.
    TypeError
        If an array does not hold real numbers.

    Examples
    --------
    >>> from pbde_ref.models.transformer import TransformerConfig, flatten, initial_parameters, named_views
    >>> config = TransformerConfig(vocabulary_size=3, embedding_dim=4, layers=1, heads=1, mlp_dim=2)
    >>> parameters = initial_parameters(config, rng=0)
    >>> bool((flatten(config, named_views(config, parameters)) == parameters).all())
    True
    """
    shapes = parameter_shapes(config)
    if missing := [name for name in shapes if name not in arrays]:
        raise ValueError(f"`arrays` must have every parameter; got none for {missing[0]!r} and {len(missing) - 1} more")
    if superfluous := [name for name in arrays if name not in shapes]:
        raise ValueError(f"`arrays` must have the names of `parameter_shapes` only; got {superfluous[0]!r:.80} as well")
    parameters = np.empty(parameter_count(config), dtype=np.float32)
    for name, view in named_views(config, parameters).items():
        given = np.asarray(arrays[name])
        if given.dtype.kind not in "iuf":
            raise TypeError(f"`arrays[{name!r}]` must hold real numbers; got dtype {given.dtype}")
        if given.shape != view.shape:
            raise ValueError(f"`arrays[{name!r}]` must have shape {view.shape}; got {given.shape}")
        with np.errstate(over="ignore"):
            view[...] = given
        reject(f"arrays[{name!r}]", "finite in float32", given, ~np.isfinite(view))
    return parameters


def initial_parameters(config: TransformerConfig, *, rng: Any = None) -> NDArray[np.float32]:
    r"""Random parameters as the LM1B example of Flax draws them.

    The embedding is standard normal. Kernels are uniform within :math:`\pm\sqrt{6 / (\text{rows} + \text{columns})}`
    (Glorot and Bengio, 2010), the output layer's too; their biases are normal with standard deviation
    :math:`10^{-6}`. Layer norms start with scale 1 and bias 0.

    Parameters
    ----------
    config : TransformerConfig
    rng : numpy.random.Generator or seed, optional

    Examples
    --------
    >>> from pbde_ref.models.transformer import TransformerConfig, initial_parameters, named_views
    >>> config = TransformerConfig(vocabulary_size=1000)
    >>> views = named_views(config, initial_parameters(config, rng=0))
    >>> round(float(views["embedding"].std()), 2), round(float(views["layer_1/attention/key"].max()), 3)
    (1.0, 0.153)
    """
    generator = generator_of(rng)
    parameters = np.empty(parameter_count(config), dtype=np.float32)
    for name, view in named_views(config, parameters).items():
        if name == "embedding":
            view[...] = generator.standard_normal(view.shape)
        elif name.endswith("norm/scale"):
            view[...] = 1.0
        elif name.endswith("norm/bias"):
            view[...] = 0.0
        elif name.endswith("bias"):
            view[...] = generator.normal(scale=1e-6, size=view.shape)
        else:
            limit = math.sqrt(6.0 / sum(view.shape))
            view[...] = generator.uniform(-limit, limit, size=view.shape)
    return parameters
