r"""The pieces of a Transformer, forwards and backwards, on the tokens that count.

Arrays of activations have one row for each token that is not padding, n in all; attention alone sees sequences,
(b, T) cells of which the tokens fill some from the left. A forward function returns its result and a tape; the
backward function of the same name takes the gradient with respect to the result, gives that with respect to the input,
and writes those with respect to folded parameters to views of a gradient vector. All is in the precision of the
parameters.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pbde_ref.models.transformer_folding import FoldedLayer
from pbde_ref.models.transformer_parameters import Floats

__all__ = [
    "AttentionTape", "LayerTape", "NormTape", "Packing", "attention", "attention_back", "causal_mask", "feed_forward",
    "layer", "layer_back", "layer_norm", "layer_norm_back", "positions_table", "token_scores", "with_ones",
]  # fmt: skip

EPSILON = 1e-6
MASKED = -1e30


class Packing(NamedTuple):
    """How n rows fill the cells of b sequences of T places."""

    sequences: int  # b
    places: int  # T
    cells: NDArray[np.intp]  # (n,), increasing

    @property
    def full(self) -> bool:
        """Whether there is a row for every cell."""
        return self.cells.size == self.sequences * self.places

    def spread(self, rows: Floats) -> Floats:
        """(…, n, D) to (…, b, T, D), zero in cells without a row."""
        *outer, _, width = rows.shape
        if not self.full:
            cells = np.zeros((*outer, self.sequences * self.places, width), dtype=rows.dtype)
            cells[..., self.cells, :] = rows
            rows = cells
        return rows.reshape(*outer, self.sequences, self.places, width)

    def gather(self, cells: Floats) -> Floats:
        """(…, b, T, D) to (…, n, D)."""
        *outer, _, _, width = cells.shape
        rows = cells.reshape(*outer, self.sequences * self.places, width)
        return rows if self.full else rows[..., self.cells, :]


def positions_table(length: int, width: int, dtype: Any) -> Floats:
    r"""Fixed sinusoids, shape (length, width): sines in the first half of the features, cosines in the second.

    .. math:: \sin(t\,\omega_k), \; \cos(t\,\omega_k), \qquad
              \omega_k = 10000^{-k / (h - 1)}, \; k = 0, \dots, h - 1, \; h = \lfloor D / 2 \rfloor

    With an odd width the last feature is 0.
    """
    half = width // 2
    angles = np.arange(length)[:, None] * np.exp(np.arange(half) * (-math.log(10000.0) / (half - 1)))
    table = np.zeros((length, width), dtype=dtype)
    table[:, :half] = np.sin(angles)
    table[:, half : 2 * half] = np.cos(angles)
    return table


def causal_mask(places: int, dtype: Any) -> Floats:
    """(T, T), added to attention scores: 0 for keys up to the query's place, very negative beyond."""
    return np.triu(np.full((places, places), MASKED, dtype=dtype), k=1)


def with_ones(rows: int, width: int, dtype: Any) -> Floats:
    """An uninitialised array (rows, width + 1) but for its last column of ones, which meets the bias."""
    result = np.empty((rows, width + 1), dtype=dtype)
    result[:, width] = 1.0
    return result


class NormTape(NamedTuple):
    """What `layer_norm_back` needs, and the layer norm's result."""

    normalized: Floats  # (n, D + 1), with a column of ones
    inverse_deviation: Floats  # (n, 1)


def layer_norm(x: Floats) -> NormTape:
    r""":math:`\hat x = (x - \bar x) / \sqrt{\text{var}(x) + 10^{-6}}` of each row."""
    rows, width = x.shape
    result = with_ones(rows, width, x.dtype)
    normalized = result[:, :width]
    mean = np.full(width, 1.0 / width, dtype=x.dtype)
    np.subtract(x, (x @ mean)[:, None], out=normalized)
    inverse = 1.0 / np.sqrt(np.vecdot(normalized, normalized) / width + EPSILON)[:, None]
    normalized *= inverse
    return NormTape(result, inverse)


def layer_norm_back(slope: Floats, tape: NormTape) -> Floats:
    """Gradient with respect to the input of `layer_norm`; `slope` (n, D) is overwritten by it."""
    width = slope.shape[1]
    normalized = tape.normalized[:, :width]
    mean = np.full(width, 1.0 / width, dtype=slope.dtype)
    shift, tilt = (slope @ mean)[:, None], np.vecdot(slope, normalized)[:, None] / width
    slope -= shift
    slope -= normalized * tilt
    slope *= tape.inverse_deviation
    return slope


class AttentionTape(NamedTuple):
    """What `attention_back` needs; H heads of width d."""

    query: Floats  # (b, H, T, d), divided by √d in the folded kernel
    key: Floats  # (b, H, T, d)
    value: Floats  # (b, H, T, d)
    weights: Floats  # (b, H, T, T)
    mixed: Floats  # (n, D), the heads' results side by side


def attention(
    x: Floats, layer: FoldedLayer, heads: int, packing: Packing, mask: Floats
) -> tuple[Floats, AttentionTape]:
    r"""Multi-head attention :math:`\text{softmax}(Q K^\top + \text{mask})\, V W`, (n, D + 1) to (n, D)."""
    cells = packing.spread(x @ layer.projections)
    width = cells.shape[-1] // heads
    query, key, value = cells.reshape(*cells.shape[:-1], heads, width).swapaxes(2, 3)
    weights = query @ key.swapaxes(2, 3)
    weights += mask
    weights -= weights.max(axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= np.einsum("bhqk->bhq", weights)[..., None]
    mixed = np.empty(cells.shape[1:], dtype=x.dtype)
    np.matmul(weights, value, out=mixed.reshape(*mixed.shape[:-1], heads, width).swapaxes(1, 2))
    rows = packing.gather(mixed)
    return rows @ layer.attention_out, AttentionTape(query, key, value, weights, rows)


def attention_back(
    slope: Floats, x: Floats, layer: FoldedLayer, packing: Packing, tape: AttentionTape, gradient: FoldedLayer
) -> Floats:
    """Gradient with respect to the input of `attention`."""
    query, key, value, weights, mixed = tape
    sequences, heads, places, width = query.shape
    np.matmul(mixed.T, slope, out=gradient.attention_out)
    rows = slope @ layer.attention_out.T
    centre = packing.spread(np.vecdot(rows.reshape(-1, heads, width), mixed.reshape(-1, heads, width)))
    out = packing.spread(rows).reshape(sequences, places, heads, width).swapaxes(1, 2)
    back = np.empty((3, sequences, places, heads * width), dtype=x.dtype)
    query_back, key_back, value_back = back.reshape(3, sequences, places, heads, width).swapaxes(2, 3)
    np.matmul(weights.swapaxes(2, 3), out, out=value_back)
    scores = out @ value.swapaxes(2, 3)
    scores -= centre.swapaxes(1, 2)[..., None]
    scores *= weights
    np.matmul(scores, key, out=query_back)
    np.matmul(scores.swapaxes(2, 3), query, out=key_back)
    projected = packing.gather(back)
    np.matmul(x.T, projected, out=gradient.projections)
    result = projected[0] @ layer.projections[0, :-1].T
    result += projected[1] @ layer.projections[1, :-1].T
    result += projected[2] @ layer.projections[2, :-1].T
    return result


class LayerTape(NamedTuple):
    """What `layer_back` needs."""

    attention_norm: NormTape
    attention: AttentionTape
    mlp_norm: NormTape
    hidden: Floats  # (n, M + 1), after the ReLU, with a column of ones


def layer(x: Floats, views: FoldedLayer, heads: int, packing: Packing, mask: Floats) -> tuple[Floats, LayerTape]:
    """A pre-norm layer: attention and then a ReLU MLP, each added to what came in."""
    attention_norm = layer_norm(x)
    attended, attention_tape = attention(attention_norm.normalized, views, heads, packing, mask)
    attended += x
    result, mlp_norm, hidden = feed_forward(attended, views)
    return result, LayerTape(attention_norm, attention_tape, mlp_norm, hidden)


def feed_forward(x: Floats, views: FoldedLayer) -> tuple[Floats, NormTape, Floats]:
    """A layer's second half: norm and ReLU MLP, added to what came in; also the norm's and the ReLU's results."""
    norm = layer_norm(x)
    width = views.mlp_in.shape[1]
    hidden = with_ones(x.shape[0], width, x.dtype)
    np.matmul(norm.normalized, views.mlp_in, out=hidden[:, :width])
    np.maximum(hidden, 0.0, out=hidden)
    result = hidden @ views.mlp_out
    result += x
    return result, norm, hidden


def layer_back(slope: Floats, views: FoldedLayer, packing: Packing, tape: LayerTape, gradient: FoldedLayer) -> Floats:
    """Gradient with respect to the input of `layer`."""
    np.matmul(tape.hidden.T, slope, out=gradient.mlp_out)
    hidden = slope @ views.mlp_out[:-1].T
    hidden *= tape.hidden[:, :-1] > 0.0
    np.matmul(tape.mlp_norm.normalized.T, hidden, out=gradient.mlp_in)
    attended = layer_norm_back(hidden @ views.mlp_in[:-1].T, tape.mlp_norm)
    attended += slope
    back = attention_back(attended, tape.attention_norm.normalized, views, packing, tape.attention, gradient)
    result = layer_norm_back(back, tape.attention_norm)
    result += attended
    return result


def token_scores(
    x: Floats, kernel: Floats, targets: NDArray[np.intp], weights: Floats | None, gradient: Floats | None
) -> tuple[Floats, Floats]:
    r"""Log-probabilities of tokens under softmax(x·kernel), and the gradient of their weighted sum.

    .. math:: \ell_t = z_{t, y_t} - \log \sum_v e^{z_{tv}}, \quad
              \frac{\partial}{\partial z_{tv}} \sum_t w_t \ell_t = w_t \big([v = y_t] - \text{softmax}(z_t)_v\big)

    Parameters
    ----------
    x : ndarray, shape (n, D + 1)
        With a column of ones.
    kernel : ndarray, shape (D + 1, V)
        The bias is its last row.
    targets : ndarray, shape (n,)
    weights : ndarray, shape (n,), or None
        None: no gradient is computed.
    gradient : ndarray, shape (D + 1, V), or None
        Where the gradient with respect to `kernel` is written.

    Returns
    -------
    log_probs : ndarray, shape (n,)
    slope : ndarray, shape (n, D)
        Gradient with respect to `x` without its column of ones; zeros without `weights`.

    Notes
    -----
    Rows are taken in blocks whose logits fit a core's cache; all logits together never exist.
    """
    rows, vocabulary = x.shape[0], kernel.shape[1]
    log_probs = np.empty(rows, dtype=x.dtype)
    slope = np.zeros((rows, x.shape[1] - 1), dtype=x.dtype)
    block = max(64, 2**19 // vocabulary)
    ones = np.ones(vocabulary, dtype=x.dtype)
    buffer = np.empty((min(block, rows), vocabulary), dtype=x.dtype)
    for start in range(0, rows, block):
        here = slice(start, start + block)
        chosen = targets[here]
        index = np.arange(chosen.size)
        scores = np.matmul(x[here], kernel, out=buffer[: chosen.size])
        scores -= scores.max(axis=1, keepdims=True)
        score = scores[index, chosen]
        np.exp(scores, out=scores)
        total = scores @ ones
        log_probs[here] = score - np.log(total)
        if weights is None or gradient is None:
            continue
        # Less the total at the target, the exponentials are the softmax's slope but for a factor of each row.
        scores[index, chosen] -= total
        factor = (-weights[here] / total)[:, None]
        product = (x[here] * factor).T @ scores
        if start == 0:
            gradient[...] = product
        else:
            gradient += product
        np.multiply(scores @ kernel[:-1].T, factor, out=slope[here])
    return log_probs, slope
