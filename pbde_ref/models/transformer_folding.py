r"""A Transformer's parameters as its computation uses them: fewer arrays, and layer norms without scale and bias.

A layer norm's scale :math:`s` and bias :math:`b` go into the kernel :math:`K` and bias :math:`c` that come next,

.. math:: (s \odot \hat x + b)\,K + c = [\hat x, 1] \begin{bmatrix} \text{diag}(s)\,K \\ b\,K + c \end{bmatrix}

and the division of attention scores by the square root of a head's width into the kernel of the queries. So activations
are touched less often. `fold` maps the flat vector of parameters to that of folded ones; a gradient with respect to
these goes back through `fold_back`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pbde_ref.models.transformer_parameters import Floats, TransformerConfig, named_views, split

__all__ = ["FoldedLayer", "FoldedTransformer", "empty_folded", "fold", "fold_back", "folded_views"]


class FoldedLayer(NamedTuple):
    """Kernels of one layer; the last row of D + 1 or M + 1 is a bias."""

    projections: Floats  # (3, D + 1, D): query, key, value
    attention_out: Floats  # (D, D)
    mlp_in: Floats  # (D + 1, M)
    mlp_out: Floats  # (M + 1, D)


class FoldedTransformer(NamedTuple):
    """All folded parameters, or a gradient with respect to them: views of a flat vector."""

    embedding: Floats  # (V, D)
    layers: tuple[FoldedLayer, ...]
    logits: Floats  # (D + 1, V)


def _shapes(config: TransformerConfig) -> list[tuple[int, ...]]:
    width, hidden, vocabulary = config.embedding_dim, config.mlp_dim, config.vocabulary_size
    layer = ((3, width + 1, width), (width, width), (width + 1, hidden), (hidden + 1, width))
    return [(vocabulary, width), *layer * config.layers, (width + 1, vocabulary)]


def empty_folded(config: TransformerConfig, like: Floats) -> Floats:
    """An uninitialised flat vector for folded parameters or a gradient."""
    return np.empty(sum(math.prod(shape) for shape in _shapes(config)), dtype=like.dtype)


def folded_views(config: TransformerConfig, folded: Floats) -> FoldedTransformer:
    """The arrays of a flat vector of folded parameters."""
    embedding, *kernels, logits = split(folded, _shapes(config))
    layers = tuple(FoldedLayer(*kernels[4 * i : 4 * i + 4]) for i in range(config.layers))
    return FoldedTransformer(embedding, layers, logits)


def fold(config: TransformerConfig, parameters: Floats) -> Floats:
    """The flat vector of folded parameters."""
    given = named_views(config, parameters)
    folded = empty_folded(config, parameters)
    views = folded_views(config, folded)
    views.embedding[...] = given["embedding"]
    for i, layer in enumerate(views.layers):
        for index, name in enumerate(PROJECTIONS):
            kernel = given[f"layer_{i}/attention/{name}"]
            _fold_norm(given, f"layer_{i}/attention_norm", kernel, layer.projections[index])
        layer.projections[0] *= _query_factor(config)
        layer.attention_out[...] = given[f"layer_{i}/attention/out"]
        _fold_norm(given, f"layer_{i}/mlp_norm", given[f"layer_{i}/mlp/in/kernel"], layer.mlp_in)
        layer.mlp_in[-1] += given[f"layer_{i}/mlp/in/bias"]
        layer.mlp_out[:-1] = given[f"layer_{i}/mlp/out/kernel"]
        layer.mlp_out[-1] = given[f"layer_{i}/mlp/out/bias"]
    _fold_norm(given, "final_norm", given["logits/kernel"], views.logits)
    views.logits[-1] += given["logits/bias"]
    return folded


def fold_back(config: TransformerConfig, parameters: Floats, folded_gradient: Floats) -> Floats:
    """The gradient with respect to parameters, given that with respect to the folded ones, which is overwritten."""
    given = named_views(config, parameters)
    result = np.zeros_like(parameters)
    gradient = named_views(config, result)
    views = folded_views(config, folded_gradient)
    gradient["embedding"][...] = views.embedding
    for i, layer in enumerate(views.layers):
        layer.projections[0] *= _query_factor(config)
        for index, name in enumerate(PROJECTIONS):
            _fold_norm_back(
                given, gradient, f"layer_{i}/attention_norm", f"layer_{i}/attention/{name}", layer.projections[index]
            )
        gradient[f"layer_{i}/attention/out"][...] = layer.attention_out
        _fold_norm_back(given, gradient, f"layer_{i}/mlp_norm", f"layer_{i}/mlp/in/kernel", layer.mlp_in)
        gradient[f"layer_{i}/mlp/in/bias"][...] = layer.mlp_in[-1]
        gradient[f"layer_{i}/mlp/out/kernel"][...] = layer.mlp_out[:-1]
        gradient[f"layer_{i}/mlp/out/bias"][...] = layer.mlp_out[-1]
    _fold_norm_back(given, gradient, "final_norm", "logits/kernel", views.logits)
    gradient["logits/bias"][...] = views.logits[-1]
    return result


PROJECTIONS = ("query", "key", "value")


def _query_factor(config: TransformerConfig) -> float:
    return 1.0 / math.sqrt(config.embedding_dim // config.heads)


def _fold_norm(given: dict[str, Floats], norm: str, kernel: Floats, out: Floats) -> None:
    np.multiply(given[f"{norm}/scale"][:, None], kernel, out=out[:-1])
    np.matmul(given[f"{norm}/bias"], kernel, out=out[-1])


def _fold_norm_back(
    given: dict[str, Floats], gradient: dict[str, Floats], norm: str, kernel: str, slope: Floats
) -> None:
    """Gradients of a kernel, and what it adds to those of the norm before it."""
    np.multiply(given[f"{norm}/scale"][:, None], slope[:-1], out=gradient[kernel])
    gradient[kernel] += np.multiply.outer(given[f"{norm}/bias"], slope[-1])
    gradient[f"{norm}/scale"] += np.vecdot(given[kernel], slope[:-1])
    gradient[f"{norm}/bias"] += given[kernel] @ slope[-1]
