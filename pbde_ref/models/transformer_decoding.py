"""A Transformer one token at a time: keys and values of earlier tokens are kept, so that a step costs one token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbde_ref.models.transformer_folding import fold
from pbde_ref.models.transformer_layers import feed_forward, layer_norm, positions_table
from pbde_ref.models.transformer_parameters import Floats, TransformerConfig, finite_parameters, named_views

__all__ = ["Decoder"]


class Decoder:
    """Sequences that grow together, one token in each step.

    Parameters
    ----------
    config : TransformerConfig
    parameters : ndarray, shape (count,)
    sequences : int
        How many there are at the start.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.models.transformer import TransformerConfig, initial_parameters, logits
    >>> from pbde_ref.models.transformer_decoding import Decoder
    >>> config = TransformerConfig(vocabulary_size=5, embedding_dim=8, layers=1, heads=2, mlp_dim=8)
    >>> parameters = initial_parameters(config, rng=0)
    >>> decoder = Decoder(config, parameters, 1)
    >>> found = [decoder.step(np.array([token])) for token in (0, 3, 1)]  # 0 starts; then what follows 3, and 3, 1
    >>> bool(np.allclose(found, logits(config, parameters, [[3, 1, 4]]).swapaxes(0, 1), atol=1e-5))
    True
    """

    def __init__(self, config: TransformerConfig, parameters: Floats, sequences: int) -> None:
        self._heads = config.heads
        self._embedding = named_views(config, finite_parameters(config, parameters))["embedding"]
        self._kernels = fold(config, parameters)
        self._positions = positions_table(config.max_length, config.embedding_dim, parameters.dtype)
        # (2, layers, b, H, T, d): keys and values.
        shape = (2, config.layers, sequences, config.heads, config.max_length, config.embedding_dim // config.heads)
        self._cache = np.empty(shape, dtype=parameters.dtype)
        self._time = 0

    def step(self, tokens: NDArray[np.intp]) -> Floats:
        """Logits (b, V) of what comes after `tokens` (b,), which come after all that went before; 0 at the start."""
        kernels, now = self._kernels, self._time
        rows = tokens.size
        x = self._embedding[tokens]
        x += self._positions[now]
        for layer, (keys, values) in zip(kernels.layers, self._cache.swapaxes(0, 1), strict=True):
            projected = layer_norm(x).normalized @ layer.projections
            query, keys[:, :, now], values[:, :, now] = projected.reshape(3, rows, self._heads, -1)
            scores = keys[:, :, : now + 1] @ query[..., None]  # (b, H, t, 1)
            scores -= scores.max(axis=2, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=2, keepdims=True)
            mixed = scores.swapaxes(2, 3) @ values[:, :, : now + 1]  # (b, H, 1, d)
            attended = mixed.reshape(rows, -1) @ layer.attention_out
            attended += x
            x, _, _ = feed_forward(attended, layer)
        self._time += 1
        result: Floats = layer_norm(x).normalized @ kernels.logits
        return result

    def keep(self, sequences: NDArray[np.bool_]) -> None:
        """Go on with some of the sequences only."""
        kept = np.empty((*self._cache.shape[:2], int(sequences.sum()), *self._cache.shape[3:]), dtype=self._cache.dtype)
        kept[..., : self._time, :] = self._cache[:, :, sequences, :, : self._time]
        self._cache = kept
