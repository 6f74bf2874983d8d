r"""A Transformer's parameters as its computation uses them: fewer arrays, and layer norms without scale and bias.

A layer norm's scale :math:`s` and bias :math:`b` go into the kernel :math:`K` and bias :math:`c` that come next,

.. math:: (s \odot \hat x + b)\,K + c = [\hat x, 1] \begin{bmatrix} \text{diag}(s)\,K \\ b\,K + c \end{bmatrix}

and the division of attention scores by the square root of a head's width into the kernel of the queries. So activations
are touched less often. `fold` maps the flat vector of parameters to folded kernels; gradients with respect to these go
back through `unfold`. The embedding comes before any norm and stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pbde_ref.models.transformer_parameters import Floats, TransformerConfig, named_views

__all__ = ["FoldedKernels", "FoldedLayer", "empty_kernels", "fold", "unfold"]


class FoldedLayer(NamedTuple):
    """Kernels of one layer; the last row of D + 1 or M + 1 is a bias."""

    projections: Floats  # (3, D + 1, D): query, key, value
    attention_out: Floats  # (D, D)
    mlp_in: Floats  # (D + 1, M)
    mlp_out: Floats  # (M + 1, D)


class FoldedKernels(NamedTuple):
    """All folded kernels, or a gradient with respect to them."""

    layers: tuple[FoldedLayer, ...]
    logits: Floats  # (D + 1, V)


def empty_kernels(config: TransformerConfig, dtype: Any) -> FoldedKernels:
    """Uninitialised arrays for folded kernels or a gradient."""
    width, hidden = config.embedding_dim, config.mlp_dim
    shapes = ((3, width + 1, width), (width, width), (width + 1, hidden), (hidden + 1, width))
    layers = tuple(FoldedLayer(*(np.empty(shape, dtype) for shape in shapes)) for _ in range(config.layers))
    return FoldedKernels(layers, np.empty((width + 1, config.vocabulary_size), dtype))


def fold(config: TransformerConfig, parameters: Floats) -> FoldedKernels:
    """The folded kernels, new arrays."""
    given = named_views(config, parameters)
    kernels = empty_kernels(config, parameters.dtype)
    for i, layer in enumerate(kernels.layers):
        for index, name in enumerate(PROJECTIONS):
            kernel = given[f"layer_{i}/attention/{name}"]
            _fold_norm(given, f"layer_{i}/attention_norm", kernel, layer.projections[index])
        layer.projections[0] *= _query_factor(config)
        layer.attention_out[...] = given[f"layer_{i}/attention/out"]
        _fold_norm(given, f"layer_{i}/mlp_norm", given[f"layer_{i}/mlp/in/kernel"], layer.mlp_in)
        layer.mlp_in[-1] += given[f"layer_{i}/mlp/in/bias"]
        layer.mlp_out[:-1] = given[f"layer_{i}/mlp/out/kernel"]
        layer.mlp_out[-1] = given[f"layer_{i}/mlp/out/bias"]
    _fold_norm(given, "final_norm", given["logits/kernel"], kernels.logits)
    kernels.logits[-1] += given["logits/bias"]
    return kernels


def unfold(
    config: TransformerConfig, parameters: Floats, shares: Sequence[FoldedKernels], gradient: dict[str, Floats]
) -> None:
    """Write all of `gradient` but the embedding's: the sum of the shares, which are overwritten, carried back."""
    given = named_views(config, parameters)
    for name, array in gradient.items():
        if "norm/" in name:
            array[...] = 0.0
    for i in range(config.layers):
        slope = FoldedLayer(*(_total(arrays) for arrays in zip(*(share.layers[i] for share in shares), strict=True)))
        slope.projections[0] *= _query_factor(config)
        for index, name in enumerate(PROJECTIONS):
            kernel = f"layer_{i}/attention/{name}"
            _unfold_norm(given, gradient, f"layer_{i}/attention_norm", kernel, slope.projections[index])
        gradient[f"layer_{i}/attention/out"][...] = slope.attention_out
        _unfold_norm(given, gradient, f"layer_{i}/mlp_norm", f"layer_{i}/mlp/in/kernel", slope.mlp_in)
        gradient[f"layer_{i}/mlp/in/bias"][...] = slope.mlp_in[-1]
        gradient[f"layer_{i}/mlp/out/kernel"][...] = slope.mlp_out[:-1]
        gradient[f"layer_{i}/mlp/out/bias"][...] = slope.mlp_out[-1]
    logits = _total([share.logits for share in shares])
    _unfold_norm(given, gradient, "final_norm", "logits/kernel", logits)
    gradient["logits/bias"][...] = logits[-1]


PROJECTIONS = ("query", "key", "value")


def _query_factor(config: TransformerConfig) -> float:
    return 1.0 / math.sqrt(config.embedding_dim // config.heads)


def _total(arrays: Sequence[Floats]) -> Floats:
    """The sum, in the first of them."""
    total, *others = arrays
    for other in others:
        total += other
    return total


def _fold_norm(given: dict[str, Floats], norm: str, kernel: Floats, out: Floats) -> None:
    np.multiply(given[f"{norm}/scale"][:, None], kernel, out=out[:-1])
    np.matmul(given[f"{norm}/bias"], kernel, out=out[-1])


def _unfold_norm(given: dict[str, Floats], gradient: dict[str, Floats], norm: str, kernel: str, slope: Floats) -> None:
    """The gradient with respect to a kernel; what it adds to those with respect to the norm before it is added."""
    np.multiply(given[f"{norm}/scale"][:, None], slope[:-1], out=gradient[kernel])
    gradient[kernel] += np.multiply.outer(given[f"{norm}/bias"], slope[-1])
    gradient[f"{norm}/scale"] += np.vecdot(given[kernel], slope[:-1])
    gradient[f"{norm}/bias"] += given[kernel] @ slope[-1]
