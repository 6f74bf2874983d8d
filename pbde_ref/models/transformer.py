r"""A decoder-only Transformer: log-likelihoods of token sequences, and their gradients.

The architecture is that of Flax's LM1B example, so that its checkpoints run (:mod:`pbde_ref.models.flax_checkpoint`):

- the inputs are the tokens shifted right, with 0 as start; embeddings are not scaled, positions are fixed sinusoids;
- each layer normalises first (ε = 1e-6), attends with several heads without biases, scores divided by the square root
  of a head's width, and has a ReLU MLP with biases;
- a last layer norm, and an output layer with a bias and a kernel of its own.

Token 0 is padding. It is given no probability of its own to predict, and nothing attends to its place: a place is
masked where its *own* token, not the one shifted into it, is 0. So places of padding can be left out of the
computation, and are. What is left is the probability of a sequence,

.. math:: \log \pi(x) = \sum_{t\,:\,x_t \ne 0} \log \pi(x_t \mid x_{<t}), \qquad
          \pi(v \mid x_{<t}) = \text{softmax}(z_t)_v

where the softmax is over all V tokens, the padding token too: a model can waste probability on it. The probabilities of
all sequences that end with an end token within `max_length` sum to at most 1.

Arithmetic is in the precision of the parameters: float32, or float64 for checks. The work is split by sequences into
parts that do not depend on the machine, and as many threads as the BLAS library has compute them; so the results do not
depend on the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_array

from pbde_ref.models.threads import map_in_threads
from pbde_ref.models.transformer_batches import Part, parts_of, token_array
from pbde_ref.models.transformer_folding import FoldedKernels, empty_kernels, fold, unfold
from pbde_ref.models.transformer_layers import (
    LayerTape,
    NormTape,
    causal_mask,
    layer,
    layer_back,
    layer_norm,
    layer_norm_back,
    positions_table,
    token_scores,
)
from pbde_ref.models.transformer_parameters import (
    Floats,
    TransformerConfig,
    finite_parameters,
    flatten,
    in_range,
    initial_parameters,
    named_views,
    parameter_count,
    parameter_shapes,
)
from pbde_ref.validation import FloatArray, array

__all__ = [
    "TransformerConfig", "flatten", "initial_parameters", "log_probs_and_pullback", "logits", "named_views",
    "parameter_count", "parameter_shapes", "sequence_log_probs", "token_log_probs", "weighted_loss_and_gradient",
]  # fmt: skip

Pullback = Callable[[ArrayLike], Floats]


def logits(config: TransformerConfig, parameters: Floats, tokens: ArrayLike) -> Floats:
    """Logits of the token at each place, given those before it.

    Parameters
    ----------
    config : TransformerConfig
    parameters : ndarray, shape (count,)
        float32 or float64.
    tokens : array_like of int, shape (B, T)
        In [0, V), 0 for padding; each sequence has another token, and T is at most ``config.max_length``.

    Returns
    -------
    ndarray, shape (B, T, V)
        In nats, up to a constant at each place, and in the precision of the parameters. Zeros at places of padding. The
        logits at a place do not depend on the token there: to see what follows a prefix, put any token after it.

    Raises
    ------
    TypeError, ValueError
        If the tokens are not whole numbers in range, a sequence is too long or all padding, or `parameters` does not
        fit the sizes.

    Examples
    --------
    >>> from pbde_ref.models.transformer import TransformerConfig, initial_parameters, logits
    >>> config = TransformerConfig(vocabulary_size=5, embedding_dim=8, layers=1, heads=2, mlp_dim=8)
    >>> logits(config, initial_parameters(config, rng=0), [[3, 1, 4], [2, 1, 0]]).shape
    (2, 3, 5)
    """
    parameters, ids = finite_parameters(config, parameters), token_array(config, tokens)
    kernels = fold(config, parameters)
    result = np.zeros((*ids.shape, config.vocabulary_size), dtype=parameters.dtype)

    def fill(part: Part) -> None:
        final, _ = _trunk(config, parameters, kernels, part)
        result[part.rows, part.columns] = final.normalized @ kernels.logits

    map_in_threads(fill, parts_of(ids))
    return result


def token_log_probs(config: TransformerConfig, parameters: Floats, tokens: ArrayLike) -> FloatArray:
    r"""Log-probability :math:`\log \pi(x_t \mid x_{<t})` of each token in nats, shape (B, T); 0 for padding.

    Parameters and errors as in `logits`, whose results it never holds.

    Examples
    --------
    >>> from pbde_ref.models.transformer import TransformerConfig, initial_parameters, token_log_probs
    >>> config = TransformerConfig(vocabulary_size=5, embedding_dim=8, layers=1, heads=2, mlp_dim=8)
    >>> found = token_log_probs(config, initial_parameters(config, rng=0), [[3, 1, 4], [2, 1, 0]])
    >>> bool((found[:, :2] < 0).all()), float(found[1, 2])
    (True, 0.0)
    """
    parameters, ids = finite_parameters(config, parameters), token_array(config, tokens)
    kernels = fold(config, parameters)
    result = np.zeros(ids.shape)

    def fill(part: Part) -> None:
        final, _ = _trunk(config, parameters, kernels, part)
        result[part.rows, part.columns], _ = token_scores(final.normalized, kernels.logits, part.targets, None, None)

    map_in_threads(fill, parts_of(ids))
    return result


def sequence_log_probs(config: TransformerConfig, parameters: Floats, tokens: ArrayLike) -> FloatArray:
    r"""Log-probability :math:`\log \pi(x) = \sum_t \log \pi(x_t \mid x_{<t})` of each sequence in nats, shape (B,).

    The sum is over the tokens that are not padding, in float64. An end token is a token like any other. Parameters and
    errors as in `logits`.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.models.transformer import TransformerConfig, initial_parameters, sequence_log_probs
    >>> config = TransformerConfig(vocabulary_size=5, embedding_dim=8, layers=1, heads=2, mlp_dim=8)
    >>> single_tokens = [[0], [1], [2], [3], [4]]
    >>> found = sequence_log_probs(config, initial_parameters(config, rng=0), single_tokens[1:])
    >>> bool(np.exp(found).sum() < 1.0)  # the rest is the padding token's
    True
    """
    result: FloatArray = token_log_probs(config, parameters, tokens).sum(axis=1)
    return result


def weighted_loss_and_gradient(
    config: TransformerConfig, parameters: Floats, tokens: ArrayLike, weights: ArrayLike
) -> tuple[float, Floats]:
    r"""The weighted negative log-likelihood and its gradient with respect to the parameters.

    .. math:: L(\theta) = -\sum_{b,\, t\,:\,x_{bt} \ne 0} w_{bt} \log \pi_\theta(x_{bt} \mid x_{b,<t})

    Parameters
    ----------
    config, parameters, tokens
        As in `logits`.
    weights : array_like, shape (B,) or (B, T)
        One for each sequence, all its tokens alike, or one for each token; finite, of any sign. Those of padding do not
        count. The mean cross-entropy per token has ``weights = np.full(B, 1 / (tokens != 0).sum())``.

    Returns
    -------
    value : float
        In nats, if weights are without unit.
    gradient : ndarray, shape (count,)
        In the precision of the parameters, and in their order.

    Raises
    ------
    TypeError, ValueError
        As in `logits`, and if `weights` has another shape or is not finite.

    Examples
    --------
    Uniform predictions cost log V nats a token.

    >>> import numpy as np
    >>> from pbde_ref.models.transformer import TransformerConfig, parameter_count, weighted_loss_and_gradient
    >>> config = TransformerConfig(vocabulary_size=8, embedding_dim=4, layers=1, heads=1, mlp_dim=2)
    >>> parameters = np.zeros(parameter_count(config), dtype=np.float32)
    >>> value, gradient = weighted_loss_and_gradient(config, parameters, [[1, 2], [3, 0]], weights=[1.0, 1.0])
    >>> round(float(value / np.log(8)), 6)
    3.0
    >>> gradient[-8:]
    array([ 0.375, -0.625, -0.625, -0.625,  0.375,  0.375,  0.375,  0.375], dtype=float32)
    """
    parameters, ids = finite_parameters(config, parameters), token_array(config, tokens)
    slopes = _token_weights(parameters, ids, weights)
    kernels = fold(config, parameters)

    parts = parts_of(ids)
    weight_of = [-slopes[part.rows, part.columns] for part in parts]

    def share(index: int) -> _Share:
        part, weight = parts[index], weight_of[index].astype(parameters.dtype)
        return _back(config, kernels, part, *_trunk(config, parameters, kernels, part), weight)

    shares = map_in_threads(share, range(len(parts)))
    value = sum(float(weight @ share.log_probs) for weight, share in zip(weight_of, shares, strict=True))
    return value, _total(config, parameters, shares)


def log_probs_and_pullback(
    config: TransformerConfig, parameters: Floats, tokens: ArrayLike
) -> tuple[FloatArray, Pullback]:
    r"""Log-probabilities of sequences, and a function that carries a gradient with respect to them back.

    For losses of log-likelihoods, whose gradient is known only when these are. The function takes
    :math:`w = \partial L / \partial \log \pi(x)`, shape (B,), or the same for every token, (B, T), and returns
    :math:`\partial L / \partial \theta = \sum_b w_b\,\partial \log \pi_\theta(x_b) / \partial \theta`, shape (count,).
    It may be called again. Until it is forgotten, it holds the activations, about ``layers · (6 · embedding_dim +
    mlp_dim + heads · T)`` numbers a token, and two copies of the parameters. The layers are not computed again, the
    logits are.

    Parameters and errors as in `weighted_loss_and_gradient`.

    Examples
    --------
    A step of DPO needs no second run through the layers.

    >>> import pbde_ref as pb
    >>> from pbde_ref.models.transformer import TransformerConfig, initial_parameters, log_probs_and_pullback
    >>> config = TransformerConfig(vocabulary_size=8, embedding_dim=4, layers=1, heads=1, mlp_dim=2)
    >>> parameters = initial_parameters(config, rng=0)
    >>> log_probs, pullback = log_probs_and_pullback(config, parameters, [[3, 1, 2], [5, 2, 0]])
    >>> loss = pb.dpo_loss(log_probs[:1], log_probs[1:], [-6.0], [-4.0], beta=0.1)
    >>> gradient = pullback([*loss.gradients["policy_chosen"], *loss.gradients["policy_rejected"]])
    >>> gradient.shape == parameters.shape
    True
    """
    parameters, ids = finite_parameters(config, parameters).copy(), token_array(config, tokens)
    kernels = fold(config, parameters)
    parts = parts_of(ids)
    log_probs = np.zeros(ids.shape)

    def forward(part: Part) -> tuple[NormTape, list[LayerTape]]:
        final, tapes = _trunk(config, parameters, kernels, part)
        log_probs[part.rows, part.columns], _ = token_scores(final.normalized, kernels.logits, part.targets, None, None)
        return final, tapes

    runs = map_in_threads(forward, parts)

    def pullback(weights: ArrayLike) -> Floats:
        slopes = _token_weights(parameters, ids, weights).astype(parameters.dtype)

        def share(index: int) -> _Share:
            part = parts[index]
            return _back(config, kernels, part, *runs[index], slopes[part.rows, part.columns])

        return _total(config, parameters, map_in_threads(share, range(len(parts))))

    return log_probs.sum(axis=1), pullback


def _token_weights(parameters: Floats, ids: NDArray[np.intp], weights: ArrayLike) -> FloatArray:
    """Weights of tokens, (B, T)."""
    given = array("weights", weights)
    if given.shape not in (ids.shape, ids.shape[:1]):
        raise ValueError(f"`weights` must have shape {ids.shape[:1]} or {ids.shape}; got {given.shape}")
    in_range("weights", given, parameters.dtype)
    return given if given.ndim == 2 else np.broadcast_to(given[:, None], ids.shape)


def _trunk(
    config: TransformerConfig, parameters: Floats, kernels: FoldedKernels, part: Part
) -> tuple[NormTape, list[LayerTape]]:
    """All but the output layer."""
    dtype = parameters.dtype
    x = named_views(config, parameters)["embedding"][part.inputs]
    x += positions_table(int(part.columns.max()) + 1, config.embedding_dim, dtype)[part.columns]
    mask = causal_mask(part.packing.places, dtype)
    tapes = []
    for folded in kernels.layers:
        x, tape = layer(x, folded, config.heads, part.packing, mask)
        tapes.append(tape)
    return layer_norm(x), tapes


class _Share(NamedTuple):
    """What a part of the batch adds to a gradient."""

    log_probs: Floats  # (n,)
    inputs: NDArray[np.intp]  # (n,)
    embedded: Floats  # (n, D), with respect to the embeddings of the inputs
    kernels: FoldedKernels


def _back(
    config: TransformerConfig,
    kernels: FoldedKernels,
    part: Part,
    final: NormTape,
    tapes: list[LayerTape],
    weights: Floats,
) -> _Share:
    """Log-probabilities, and the gradient of their weighted sum."""
    gradient = empty_kernels(config, weights.dtype)
    log_probs, slope = token_scores(final.normalized, kernels.logits, part.targets, weights, gradient.logits)
    slope = layer_norm_back(slope, final)
    for folded, tape, layer_gradient in zip(
        reversed(kernels.layers), reversed(tapes), reversed(gradient.layers), strict=True
    ):
        slope = layer_back(slope, folded, part.packing, tape, layer_gradient)
    return _Share(log_probs, part.inputs, slope, gradient)


def _total(config: TransformerConfig, parameters: Floats, shares: Sequence[_Share]) -> Floats:
    """The gradient of the whole batch; the shares are overwritten."""
    result = np.empty_like(parameters)
    gradient = named_views(config, result)
    inputs = np.concatenate([share.inputs for share in shares])
    _sum_rows(np.concatenate([share.embedded for share in shares]), inputs, gradient["embedding"])
    unfold(config, parameters, [share.kernels for share in shares], gradient)
    return result


def _sum_rows(rows: Floats, groups: NDArray[np.intp], out: Floats) -> None:
    """Row g of `out` becomes the sum of the rows of group g."""
    shape = (len(out), len(rows))
    members = csc_array((np.ones_like(rows[:, 0]), groups, np.arange(len(rows) + 1)), shape=shape)
    out[...] = members @ rows
