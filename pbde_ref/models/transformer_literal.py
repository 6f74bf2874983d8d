"""The Transformer of `transformer`, written to be read: one sequence, every step in sight, a shape on each line.

T tokens, width D, H heads, MLP width M, vocabulary V. `parameters` are arrays by name, as `named_views` gives them.
`arithmetic` is NumPy, or autograd's NumPy to differentiate. Slow; the fast one is held against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pbde_ref.models.transformer_parameters import TransformerConfig

__all__ = ["literal_log_prob", "literal_logits"]

EPSILON = 1e-6

Arrays = Mapping[str, Any]


def literal_logits(config: TransformerConfig, parameters: Arrays, tokens: Any, arithmetic: Any = np) -> Any:
    """Logits of the token at each place of one sequence, given those before it, shape (T, V); token 0 is padding.

    Rows at places of padding mean nothing: no token is predicted there.

    Examples
    --------
    >>> from pbde_ref.models.transformer import TransformerConfig, initial_parameters, logits, named_views
    >>> config = TransformerConfig(vocabulary_size=5, embedding_dim=8, layers=1, heads=2, mlp_dim=8)
    >>> parameters = initial_parameters(config, rng=0)
    >>> literal = literal_logits(config, named_views(config, parameters), [3, 1, 4])
    >>> bool(np.allclose(literal, logits(config, parameters, [[3, 1, 4]])[0], atol=1e-5))
    True
    """
    width, p = config.embedding_dim, parameters
    inputs = shifted_right(tokens)  # (T,)
    mask = visible(tokens)  # (T, T)
    x = p["embedding"][inputs] + sinusoids(len(inputs), width)  # (T, D)
    for i in range(config.layers):
        layer = f"layer_{i}"
        h = norm(x, p[f"{layer}/attention_norm/scale"], p[f"{layer}/attention_norm/bias"], arithmetic)  # (T, D)
        query, key, value = (h @ p[f"{layer}/attention/{name}"] for name in ("query", "key", "value"))  # (T, D) each
        heads = [
            attention(query[:, part], key[:, part], value[:, part], mask, arithmetic)  # (T, D/H)
            for part in head_columns(width, config.heads)
        ]
        x = x + arithmetic.concatenate(heads, axis=1) @ p[f"{layer}/attention/out"]  # (T, D)
        h = norm(x, p[f"{layer}/mlp_norm/scale"], p[f"{layer}/mlp_norm/bias"], arithmetic)  # (T, D)
        h = arithmetic.maximum(h @ p[f"{layer}/mlp/in/kernel"] + p[f"{layer}/mlp/in/bias"], 0.0)  # (T, M)
        x = x + h @ p[f"{layer}/mlp/out/kernel"] + p[f"{layer}/mlp/out/bias"]  # (T, D)
    x = norm(x, p["final_norm/scale"], p["final_norm/bias"], arithmetic)  # (T, D)
    return x @ p["logits/kernel"] + p["logits/bias"]  # (T, V)


def literal_log_prob(config: TransformerConfig, parameters: Arrays, tokens: Any, arithmetic: Any = np) -> Any:
    r"""Log-probability of one sequence in nats, :math:`\sum_t \log \text{softmax}(z_t)_{x_t}` where x_t is no padding.

    Examples
    --------
    >>> from pbde_ref.models.transformer import TransformerConfig, initial_parameters, named_views
    >>> config = TransformerConfig(vocabulary_size=5, embedding_dim=8, layers=1, heads=2, mlp_dim=8)
    >>> bool(literal_log_prob(config, named_views(config, initial_parameters(config, rng=0)), [3, 1, 4, 0]) < 0)
    True
    """
    z = literal_logits(config, parameters, tokens, arithmetic)  # (T, V)
    log_softmax = z - arithmetic.log(arithmetic.sum(arithmetic.exp(z), axis=1, keepdims=True))  # (T, V)
    return sum(log_softmax[t, token] for t, token in enumerate(tokens) if token != 0)


def shifted_right(tokens: Any) -> Any:
    """What stands before each place, shape (T,); 0 before the first."""
    return np.concatenate([[0], np.asarray(tokens)[:-1]]).astype(int)


def visible(tokens: Any) -> Any:
    """Which places (columns) each place (rows) attends to, shape (T, T): itself, and earlier ones without padding."""
    tokens = np.asarray(tokens)
    return np.tril(np.ones((len(tokens), len(tokens)), dtype=bool)) & ((tokens != 0) | np.eye(len(tokens), dtype=bool))


def sinusoids(length: int, width: int) -> Any:
    """Positions, shape (T, D): sines, then cosines, of frequencies from 1 down to 1/10,000; an odd width ends in 0."""
    half = width // 2
    angle = np.arange(length)[:, None] * 10000.0 ** (-np.arange(half) / (half - 1))  # (T, D/2)
    return np.concatenate([np.sin(angle), np.cos(angle), np.zeros((length, width % 2))], axis=1)  # (T, D)


def norm(x: Any, scale: Any, bias: Any, arithmetic: Any = np) -> Any:
    """Layer norm of each row, shape (T, D)."""
    centered = x - arithmetic.mean(x, axis=1, keepdims=True)  # (T, D)
    variance = arithmetic.mean(centered**2, axis=1, keepdims=True)  # (T, 1)
    return centered / arithmetic.sqrt(variance + EPSILON) * scale + bias  # (T, D)


def attention(query: Any, key: Any, value: Any, mask: Any, arithmetic: Any = np) -> Any:
    """One head, shape (T, D/H): values averaged with softmax weights of scaled scores."""
    scores = query @ arithmetic.transpose(key) / np.sqrt(query.shape[1])  # (T, T)
    weights = arithmetic.exp(scores) * mask  # (T, T)
    return weights / arithmetic.sum(weights, axis=1, keepdims=True) @ value  # (T, D/H)


def head_columns(width: int, heads: int) -> list[slice]:
    """The columns of each head: H slices of D/H."""
    return [slice(h * width // heads, (h + 1) * width // heads) for h in range(heads)]
