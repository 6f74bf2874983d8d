r"""From logits and tokens to log-probabilities of sequences, and the gradients back.

A sequence's log-probability is the sum (or the mean) of its completion's token log-probabilities. The functions take
apart what frameworks do in one step:

1. `token_log_probs_from_logits`: logits and labels, which it shifts by one, to token log-probabilities;
2. `completion_mask`: which of them count: no prompt, no padding, the end-of-sequence token but nothing after it;
3. `sequence_log_probs`: their sum or mean.

The functions ending in `_vjp` (vector-Jacobian product) carry a loss's gradient back through 3 and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.losses.inputs import batch, finite, precision
from pbde_ref.threads import in_threads, keep_freed_memory, own_cores
from pbde_ref.validation import FloatArray, array, plain_array, reject, shown, switch, whole_number

__all__ = [
    "completion_mask", "sequence_log_probs", "sequence_log_probs_vjp", "token_log_probs_from_logits",
    "token_log_probs_vjp",
]  # fmt: skip

BoolArray = NDArray[np.bool_]
_Block = tuple[slice, slice]

# Logits: the one array that is made of them fits a core's second-level cache.
BLOCK = 1 << 16
# From here on a second thread gains more than starting it costs.
MANY = 1 << 18


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
    with np.errstate(over="ignore"):
        result = values.sum(axis=1)
    if switch("average", average):
        result = result / counts.sum(axis=1)
    return result.astype(precision(token_log_probs))


def sequence_log_probs_vjp(upstream: ArrayLike, mask: ArrayLike, *, average: bool = False) -> NDArray[Any]:
    r"""The gradient with respect to token log-probabilities, given that with respect to the sequences'.

    Parameters
    ----------
    upstream : array_like, shape (B,)
        Finite; for example ``dpo_loss(...).gradients["policy_chosen"]``.
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
    slopes = finite("upstream", upstream, shape=counts.shape[:1])
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
    z, tokens = _logits_and_tokens(logits, labels, switch("shift", shift))
    result = np.empty(tokens.shape, precision(logits))

    def part(block: _Block) -> None:
        result[block] = _softmax(z[block], tokens[block], None)[0]

    _in_blocks(part, z, tokens)
    return result


def token_log_probs_vjp(
    upstream: ArrayLike,
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    shift: bool = True,
    out: NDArray[Any] | None = None,
    log_probs: NDArray[Any] | None = None,
) -> NDArray[Any]:
    r"""The gradient with respect to logits, given that with respect to token log-probabilities.

    .. math:: \frac{\partial \log \pi(x_t \mid x_{<t})}{\partial z_v} = [v = x_t] - \text{softmax}(z)_v

    Parameters
    ----------
    upstream : array_like, shape (B, T - 1), or (B, T) without shift
        Finite; for example the result of `sequence_log_probs_vjp`.
    logits, labels, shift
        As in `token_log_probs_from_logits`.
    out : ndarray, shape (B, T, V), optional
        Where to write the gradient: float32 or float64, apart from the logits. After an error it holds nothing.
    log_probs : ndarray, shape (B, T - 1), or (B, T) without shift, optional
        Where to write the result of `token_log_probs_from_logits`, which costs nothing more here.

    Returns
    -------
    ndarray, shape (B, T, V)
        `out` if it was given; else float32 if `upstream` and `logits` are, otherwise float64. With `shift` the last
        position is zero.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref.losses as losses
    >>> losses.token_log_probs_vjp([[2.0]], np.log([[[1.0, 3.0], [1.0, 1.0]]]), [[0, 1]])
    array([[[-0.5,  0.5],
            [ 0. ,  0. ]]])
    """
    shift = switch("shift", shift)
    z, tokens = _logits_and_tokens(logits, labels, shift)
    slopes = finite("upstream", upstream, shape=tokens.shape)
    result = np.empty(z.shape, precision(upstream, logits)) if out is None else _writable("out", out, z.shape)
    if np.may_share_memory(result, z):
        raise ValueError("`out` must not be the memory of `logits`, which is read while the gradient is written")
    if log_probs is not None:
        _writable("log_probs", log_probs, tokens.shape)

    def part(block: _Block) -> None:
        own = result[block]
        found, softmax, others, total, at = _softmax(z[block], tokens[block], own if own.dtype == np.float64 else None)
        if log_probs is not None:
            log_probs[block] = found
        slope = slopes[block] / total
        # What exceeds single precision becomes infinite there.
        with np.errstate(over="ignore"):
            np.multiply(softmax, -slope[..., None], out=own, casting="same_kind")
            # Where the label is nearly certain, the digits of 1 − softmax are in the others.
            own[at] = slope * others

    _in_blocks(part, z, tokens)
    if shift:
        result[:, -1] = 0.0
    return result


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


def _writable(name: str, value: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array to write to."""
    if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64) or not value.flags.writeable:
        raise TypeError(f"`{name}` must be a writable array of float32 or float64; got {shown(value)}")
    if value.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape}; got shape {value.shape}")
    return value


def _logits_and_tokens(logits: ArrayLike, labels: ArrayLike, shift: bool) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """All logits, float32 as they came or float64, and the labels that they predict; entries are looked at later."""
    z = logits if isinstance(logits, np.ndarray) and logits.dtype in (np.float32, np.float64) else None
    if z is None or z.ndim != 3 or z.size == 0:
        z = batch("logits", logits, ndim=3)
    tokens = _tokens("labels", labels)
    if tokens.shape != z.shape[:2]:
        raise ValueError(f"`labels` must have the logits' shape {z.shape[:2]}; got shape {tokens.shape}")
    reject("labels", f"in [0, {z.shape[2]})", tokens, (tokens < 0) | (tokens >= z.shape[2]))
    if shift and tokens.shape[1] < 2:
        raise ValueError(f"`labels` must have at least 2 tokens to shift by one; got shape {tokens.shape}")
    return z, tokens[:, 1:] if shift else tokens


def _softmax(
    z: NDArray[Any], tokens: NDArray[np.intp], out: NDArray[Any] | None
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, tuple[Any, ...]]:
    r"""Labels' log-probabilities; :math:`e^z`, zero for the labels; its sum; that with the labels; the labels' places.

    All :math:`z` are less the largest of their position, so that one summand is 1.
    """
    largest = np.maximum.reduce(z, axis=-1, keepdims=True)
    if not np.isfinite(largest).all():
        raise FloatingPointError
    z = np.subtract(z, largest, out=out, dtype=np.float64)
    at = (*np.ogrid[: tokens.shape[0], : tokens.shape[1]], tokens)
    chosen = z[at]
    exponentials = np.exp(z, out=z)
    exponentials[at] = 0.0
    others = np.add.reduce(exponentials, axis=-1)
    total = others + np.exp(chosen)
    # The label of the largest logit has chosen = 0; the logarithm then has all digits of the others.
    return chosen - np.where(chosen == 0.0, np.log1p(others), np.log(total)), exponentials, others, total, at


def _in_blocks(part: Callable[[_Block], None], z: NDArray[Any], tokens: NDArray[np.intp]) -> None:
    """Call `part` for blocks of positions, in two threads if there are many; logits out of range raise."""
    keep_freed_memory()
    sequences, positions, vocabulary = *tokens.shape, z.shape[2]
    width = min(positions, max(1, BLOCK // vocabulary))
    height = max(1, BLOCK // (width * vocabulary)) if width == positions else 1
    blocks = [
        (slice(i, min(i + height, sequences)), slice(j, min(j + width, positions)))
        for i in range(0, sequences, height)
        for j in range(0, positions, width)
    ]
    last = z[:, positions:]
    try:
        if not (last < np.inf).all():
            raise FloatingPointError
        in_threads(part, blocks, min(2, own_cores()) if z.size >= MANY else 1)
    except FloatingPointError:
        reject("logits", "free of NaN", z, np.isnan(z))
        reject("logits", "below +inf", z, np.isposinf(z))
        excluded = np.asarray(np.isneginf(z[:, :positions]).all(axis=-1))
        reject("logits", "above -inf for some token", np.where(excluded, -np.inf, 0.0), excluded)
        raise
