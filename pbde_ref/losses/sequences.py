r"""From logits and tokens to log-probabilities of sequences, and the gradients back.

A sequence's log-probability is the sum (or the mean) of its completion's token log-probabilities. The functions take
apart what frameworks do in one step:

1. `token_log_probs_from_logits`: logits and labels, which it shifts by one, to token log-probabilities;
2. `completion_mask`: which of them count: no prompt, no padding, the end-of-sequence token but nothing after it;
3. `sequence_log_probs`: their sum or mean.

The functions ending in `_vjp` (vector-Jacobian product) carry a loss's gradient back through 3 and 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.losses.inputs import batch, precision
from pbde_ref.numerics import expit, log_sigmoid, logsumexp
from pbde_ref.validation import FloatArray, array, plain_array, reject, switch, whole_number

__all__ = [
    "completion_mask", "sequence_log_probs", "sequence_log_probs_vjp", "token_log_probs_from_logits",
    "token_log_probs_vjp",
]  # fmt: skip

BoolArray = NDArray[np.bool_]


def sequence_log_probs(token_log_probs: ArrayLike, mask: ArrayLike, *, average: bool = False) -> NDArray[Any]:
    r"""Log-probabilities of sequences, shape (B,): masked sums, or means, over tokens.

    .. math:: \log \pi(x) = \sum_t \text{mask}_t \log \pi(x_t \mid x_{<t}), \qquad \text{average: divided by }
              |x| = \sum_t \text{mask}_t

    Parameters
    ----------
    token_log_probs : array_like, shape (B, T)
        In nats; at most 0 and not NaN where the mask is true, anything elsewhere.
    mask : array_like of bool (or 0 and 1), shape (B, T)
        Which tokens count; at least one in each sequence. The end-of-sequence token is a token like any other:
        a sequence's probability includes that of ending there, and its length counts it.
    average : bool
        False, the default: the sum, which is the sequence's log-probability. True: the mean over its tokens.

    Returns
    -------
    ndarray, shape (B,)
        float32 if `token_log_probs` is, otherwise float64.

    Raises
    ------
    ValueError
        If shapes differ, the batch is empty, a mask has no token, or a token that counts has no log-probability.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> tokens, mask = [[-9.0, -1.0, -2.0], [-9.0, -3.0, 0.0]], [[0, 1, 1], [0, 1, 0]]
    >>> losses.sequence_log_probs(tokens, mask), losses.sequence_log_probs(tokens, mask, average=True)
    (array([-3., -3.]), array([-1.5, -3. ]))
    """
    counts = _mask(mask)
    # What is masked may be garbage, even NaN: it is replaced, not multiplied by zero.
    values = array("token_log_probs", token_log_probs, nan=True)
    if values.shape != counts.shape:
        raise ValueError(f"`token_log_probs` must have the mask's shape {counts.shape}; got shape {values.shape}")
    values = np.where(counts, values, 0.0)
    reject("token_log_probs", "free of NaN where the mask is true", values, np.isnan(values))
    reject("token_log_probs", "at most 0 (a log-probability) where the mask is true", values, values > 0.0)
    result = values.sum(axis=1)
    if switch("average", average):
        result = result / counts.sum(axis=1)
    return result.astype(precision(token_log_probs))


def sequence_log_probs_vjp(upstream: ArrayLike, mask: ArrayLike, *, average: bool = False) -> NDArray[Any]:
    r"""The gradient with respect to token log-probabilities, given that with respect to the sequences'.

    Parameters
    ----------
    upstream : array_like, shape (B,)
        For example ``dpo_loss(...).gradients["policy_chosen"]``.
    mask, average
        As in `sequence_log_probs`.

    Returns
    -------
    ndarray, shape (B, T)
        Zero where the mask is false.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> losses.sequence_log_probs_vjp([1.0], [[0, 1, 1]], average=True)
    array([[0. , 0.5, 0.5]])
    """
    counts = _mask(mask)
    slopes = batch("upstream", upstream, shape=counts.shape[:1])
    if switch("average", average):
        slopes = slopes / counts.sum(axis=1)
    return np.where(counts, slopes[:, None], 0.0).astype(precision(upstream))


def token_log_probs_from_logits(logits: ArrayLike, labels: ArrayLike, *, shift: bool = True) -> NDArray[Any]:
    r"""Log-probabilities of tokens under next-token logits.

    .. math:: \log \pi(x_t \mid x_{<t}) = z_{x_t} - \log \sum_v e^{z_v}
              = \log \sigma\Big(z_{x_t} - \log \sum_{v \ne x_t} e^{z_v}\Big)

    Parameters
    ----------
    logits : array_like, shape (B, T, V)
        :math:`z`; finite, or -inf for tokens that are excluded, not for all of them.
    labels : array_like of int, shape (B, T)
        Tokens, in [0, V), padding included: put any token there and mask it, not -100.
    shift : bool
        True, the default, is the layout of decoder-only models: the logits at position t are about the token at
        t + 1. Entry t of the result then belongs to ``labels[:, t + 1]``; the first token has no prediction, the last
        logits have no token. False: the logits at position t are about the token at t, as when the model shifts its own
        input.

    Returns
    -------
    ndarray, shape (B, T - 1), or (B, T) without shift
        In [-inf, 0]; float32 if `logits` is, otherwise float64. Its mask must have the same columns:
        `completion_mask` has the same `shift`.

    Raises
    ------
    ValueError
        If shapes differ, there is no token to predict, or a label or logit is out of range.
    TypeError
        If labels are not whole numbers.

    Notes
    -----
    The second form keeps its digits when the token is nearly certain, where the first rounds
    :math:`-10^{-9}` to a multiple of the precision of :math:`z`.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref.losses as losses
    >>> logits = np.log([[[1.0, 3.0], [4.0, 1.0], [9.0, 1.0]]])
    >>> np.exp(losses.token_log_probs_from_logits(logits, [[0, 1, 0]]))  # 1 after 0, then 0
    array([[0.75, 0.8 ]])
    """
    shift = switch("shift", shift)
    chosen, others, _ = _split(logits, labels, shift)
    return log_sigmoid(chosen - others).astype(precision(logits))


def token_log_probs_vjp(
    upstream: ArrayLike, logits: ArrayLike, labels: ArrayLike, *, shift: bool = True
) -> NDArray[Any]:
    r"""The gradient with respect to logits, given that with respect to token log-probabilities.

    .. math:: \frac{\partial \log \pi(x_t \mid x_{<t})}{\partial z_v} = [v = x_t] - \text{softmax}(z)_v

    Parameters
    ----------
    upstream : array_like, shape (B, T - 1), or (B, T) without shift
        For example the result of `sequence_log_probs_vjp`.
    logits, labels, shift
        As in `token_log_probs_from_logits`.

    Returns
    -------
    ndarray, shape (B, T, V)
        float32 if `upstream` and `logits` are, otherwise float64. With `shift` the last position is zero.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref.losses as losses
    >>> losses.token_log_probs_vjp([[2.0]], np.log([[[1.0, 3.0], [1.0, 1.0]]]), [[0, 1]])
    array([[[-0.5,  0.5],
            [ 0. ,  0. ]]])
    """
    shift = switch("shift", shift)
    chosen, others, z = _split(logits, labels, shift)
    slopes = batch("upstream", upstream, shape=chosen.shape)
    tokens = _labels(labels, shift)[..., None]
    slope = -np.exp(z - np.logaddexp(chosen, others)[..., None])
    # Where the label is nearly certain, the digits of 1 − softmax are in the others.
    np.put_along_axis(slope, tokens, expit(others - chosen)[..., None], axis=-1)
    result = slopes[..., None] * slope
    if shift:
        result = np.concatenate([result, np.zeros_like(result[:, :1])], axis=1)
    return result.astype(precision(upstream, logits))


def completion_mask(
    tokens: ArrayLike,
    *,
    prompt_lengths: ArrayLike | None = None,
    end_of_sequence: int | None = None,
    padding: int | None = None,
    shift: bool = True,
) -> BoolArray:
    """Which tokens count: the completion up to and including its first end-of-sequence token, and no padding.

    Parameters
    ----------
    tokens : array_like of int, shape (B, T)
        Prompt, completion and padding.
    prompt_lengths : int or array_like of int, shape (B,), optional
        How many leading positions are not completion: prompt, begin-of-sequence token, padding on the left. Default 0.
    end_of_sequence : int, optional
        A completion ends with the first of these; it counts, what follows does not. A completion without one was cut
        off: all its tokens count.
    padding : int, optional
        Tokens that never count. It may be the same as `end_of_sequence`: then the first one after the prompt counts as
        the end.
    shift : bool
        True, the default: the columns are those of the shifted `token_log_probs_from_logits`, so column t is about
        ``tokens[:, t + 1]``, and the first token never counts.

    Returns
    -------
    ndarray of bool, shape (B, T - 1), or (B, T) without shift

    Raises
    ------
    ValueError
        If a sequence has no token that counts, or `prompt_lengths` does not fit.
    TypeError
        If tokens are not whole numbers.

    Examples
    --------
    >>> import pbde_ref.losses as losses
    >>> losses.completion_mask([[5, 6, 7, 2, 2]], prompt_lengths=2, end_of_sequence=2, padding=2, shift=False)
    array([[False, False,  True,  True, False]])
    >>> losses.completion_mask([[5, 6, 7, 2, 2]], prompt_lengths=2, end_of_sequence=2, padding=2)
    array([[False,  True,  True, False]])
    """
    tokens = _tokens("tokens", tokens)
    prompt = np.zeros((), dtype=np.intp) if prompt_lengths is None else plain_array("prompt_lengths", prompt_lengths)
    if not np.issubdtype(prompt.dtype, np.integer) or prompt.shape not in ((), tokens.shape[:1]):
        raise ValueError(
            f"`prompt_lengths` must be a whole number or have shape {tokens.shape[:1]}; "
            f"got shape {prompt.shape} and dtype {prompt.dtype}"
        )
    reject("prompt_lengths", "non-negative", prompt, prompt < 0)
    completion = np.arange(tokens.shape[1]) >= prompt.reshape(-1, 1)
    result = np.broadcast_to(completion, tokens.shape).copy()
    ends = np.zeros_like(result)
    if end_of_sequence is not None:
        ends = result & (tokens == whole_number("end_of_sequence", end_of_sequence))
        # True up to and including the first end: no end strictly before.
        result &= np.cumsum(ends, axis=1) - ends == 0
    if padding is not None:
        result &= (tokens != whole_number("padding", padding)) | ends
    return _mask(result[:, 1:] if switch("shift", shift) else result)


def _mask(mask: ArrayLike) -> BoolArray:
    given = plain_array("mask", mask)
    if given.ndim != 2 or given.size == 0:
        raise ValueError(f"`mask` must be an array of 2 axes with at least one entry; got shape {given.shape}")
    if given.dtype != np.bool_:
        reject("mask", "0 or 1", given, (given != 0) & (given != 1))
        given = given == 1
    empty = ~given.any(axis=1)
    if empty.any():
        raise ValueError(f"`mask` must have at least one token in each sequence; got none at index {np.argmax(empty)}")
    return given


def _tokens(name: str, tokens: ArrayLike) -> NDArray[np.intp]:
    result = plain_array(name, tokens)
    if result.ndim != 2 or result.size == 0:
        raise ValueError(f"`{name}` must be an array of 2 axes with at least one entry; got shape {result.shape}")
    if not np.issubdtype(result.dtype, np.integer):
        raise TypeError(f"`{name}` must be whole numbers; got dtype {result.dtype}")
    return result.astype(np.intp)


def _labels(labels: ArrayLike, shift: bool) -> NDArray[np.intp]:
    result = _tokens("labels", labels)
    return result[:, 1:] if shift else result


def _split(logits: ArrayLike, labels: ArrayLike, shift: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Each label's logit, the log-sum-exp of all others, and all logits, less the largest at each position."""
    z = batch("logits", logits, ndim=3)
    reject("logits", "below +inf", z, np.isposinf(z))
    tokens = _tokens("labels", labels)
    if tokens.shape != z.shape[:2]:
        raise ValueError(f"`labels` must have the logits' shape {z.shape[:2]}; got shape {tokens.shape}")
    reject("labels", f"in [0, {z.shape[2]})", tokens, (tokens < 0) | (tokens >= z.shape[2]))
    if shift:
        if tokens.shape[1] < 2:
            raise ValueError(f"`labels` must have at least 2 tokens to shift by one; got shape {tokens.shape}")
        z, tokens = z[:, :-1], tokens[:, 1:]
    largest = z.max(axis=-1, keepdims=True)
    reject("logits", "above -inf for some token", largest[..., 0], np.isneginf(largest[..., 0]))
    z = z - largest
    chosen = np.take_along_axis(z, tokens[..., None], axis=-1)
    others = z.copy()
    np.put_along_axis(others, tokens[..., None], -np.inf, axis=-1)
    return chosen[..., 0], logsumexp(others, axis=-1), z
