"""The same Transformer in PyTorch, as its users would write it: what the NumPy one is measured against."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pbde_ref.models.transformer import TransformerConfig, named_views
from pbde_ref.models.transformer_parameters import Floats

__all__ = ["TorchTransformer"]


class TorchTransformer:
    """A decoder-only Transformer on PyTorch tensors, with fused attention and fused query, key and value.

    Parameters
    ----------
    config : TransformerConfig
    parameters : ndarray, shape (count,)
        Copied, in their precision.
    """

    def __init__(self, config: TransformerConfig, parameters: Floats) -> None:
        import torch

        self.torch, self.config = torch, config
        views = named_views(config, parameters)
        arrays = {name: np.array(value.T if value.ndim == 2 else value) for name, value in views.items()}
        arrays["embedding"] = np.array(views["embedding"])
        for i in range(config.layers):
            projections = [arrays.pop(f"layer_{i}/attention/{name}") for name in ("query", "key", "value")]
            arrays[f"layer_{i}/attention/projections"] = np.concatenate(projections)
        self.tensors = {name: torch.tensor(np.ascontiguousarray(a), requires_grad=True) for name, a in arrays.items()}
        half = config.embedding_dim // 2
        frequencies = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10000.0) / (half - 1)))
        angles = torch.arange(config.max_length, dtype=torch.float64)[:, None] * frequencies
        self.positions = torch.cat([angles.sin(), angles.cos()], dim=1).to(self.tensors["embedding"].dtype)

    def logits(self, tokens: Any) -> Any:
        """Logits (B, T, V) of padded tokens (B, T)."""
        functional, leaf = self.torch.nn.functional, self.tensors
        x = leaf["embedding"][functional.pad(tokens, (1, 0))[:, :-1]] + self.positions[: tokens.shape[1]]
        for i in range(self.config.layers):
            query, key, value = self._project(x, i)
            # Padding comes last, so causality hides it.
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = self._finish(x, mixed, i)
        return functional.linear(self._norm(x, "final_norm"), leaf["logits/kernel"], leaf["logits/bias"])

    def loss(self, tokens: Any) -> Any:
        """Mean cross-entropy of the tokens that are not padding."""
        z = self.logits(tokens)
        return self.torch.nn.functional.cross_entropy(z.flatten(0, 1), tokens.flatten(), ignore_index=0)

    def _norm(self, x: Any, name: str) -> Any:
        scale, bias = self.tensors[f"{name}/scale"], self.tensors[f"{name}/bias"]
        return self.torch.nn.functional.layer_norm(x, scale.shape, scale, bias, 1e-6)

    def _project(self, x: Any, i: int) -> Any:
        projected = self._norm(x, f"layer_{i}/attention_norm") @ self.tensors[f"layer_{i}/attention/projections"].T
        return projected.unflatten(-1, (3, self.config.heads, -1)).permute(2, 0, 3, 1, 4)

    def _finish(self, x: Any, mixed: Any, i: int) -> Any:
        functional, leaf = self.torch.nn.functional, self.tensors
        x = x + functional.linear(mixed.transpose(1, 2).flatten(2), leaf[f"layer_{i}/attention/out"])
        hidden = self._norm(x, f"layer_{i}/mlp_norm")
        hidden = functional.linear(hidden, leaf[f"layer_{i}/mlp/in/kernel"], leaf[f"layer_{i}/mlp/in/bias"]).relu()
        return x + functional.linear(hidden, leaf[f"layer_{i}/mlp/out/kernel"], leaf[f"layer_{i}/mlp/out/bias"])
