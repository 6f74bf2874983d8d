"""The Transformer, beside the same in PyTorch: training steps, float32, two layers of width 128."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

from typing import Any

import numpy as np

from pbde_ref.benchmarking.contests import needs, relative_errors
from pbde_ref.models.adam import adam_step, initial_adam_state
from pbde_ref.models.transformer import (
    TransformerConfig,
    initial_parameters,
    named_views,
    weighted_loss_and_gradient,
)

__all__ = ["TrainingSteps"]

LENGTH = 50


class TrainingSteps:
    """Forward, backward and Adam for a batch of sequences of 50 tokens, full or on average half padding"""

    params = ([64], [2000], ["full", "padded"])
    quick_params = ([16], [500], ["full", "padded"])
    param_names = ("batch", "vocabulary", "lengths")
    reference = "pbde_ref"

    def setup(self, batch: int, vocabulary: int, lengths: str) -> None:
        rng = np.random.default_rng(0)
        self.config = TransformerConfig(vocabulary, max_length=LENGTH)
        self.start = self.parameters = initial_parameters(self.config, rng=rng)
        self.state = initial_adam_state(self.parameters)
        self.tokens = rng.integers(1, vocabulary, size=(batch, LENGTH))
        if lengths == "padded":
            self.tokens[np.arange(LENGTH) >= rng.integers(1, LENGTH + 1, size=(batch, 1))] = 0
        self.weights = np.full(batch, 1.0 / np.count_nonzero(self.tokens))
        self.other: Any = None

    def time_pbde_ref(self, batch: int, vocabulary: int, lengths: str) -> float:
        value, gradient = weighted_loss_and_gradient(self.config, self.parameters, self.tokens, self.weights)
        self.parameters, self.state = adam_step(self.parameters, gradient, self.state, learning_rate=1e-4)
        return value

    @needs("torch")
    def time_torch(self, batch: int, vocabulary: int, lengths: str) -> float:
        import torch

        from pbde_ref.benchmarking.torch_transformer import TorchTransformer

        if self.other is None:
            model = TorchTransformer(self.config, self.start)
            optimizer = torch.optim.Adam(list(model.tensors.values()), lr=1e-4)
            self.other = model, optimizer, torch.tensor(self.tokens)
        model, optimizer, tokens = self.other
        optimizer.zero_grad()
        loss = model.loss(tokens)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def accuracy(self, contender: str, answer: float) -> dict[str, float]:
        """Of loss and output kernel's gradient, the largest entry being one; both in double precision."""
        if contender == "pbde_ref":
            return {}
        import torch

        from pbde_ref.benchmarking.torch_transformer import TorchTransformer

        exact = self.start.astype(np.float64)
        value, gradient = weighted_loss_and_gradient(self.config, exact, self.tokens, self.weights)
        model = TorchTransformer(self.config, exact)
        loss = model.loss(torch.tensor(self.tokens))
        loss.backward()
        kernel = named_views(self.config, gradient)["logits/kernel"]
        theirs: Any = model.tensors["logits/kernel"].grad
        return relative_errors(float(loss.detach()), [theirs.T], value, [kernel])
