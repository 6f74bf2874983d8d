"""Batch losses, value and gradients: this package (float64 throughout) and PyTorch (double precision, CPU)."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pbde_ref.losses as losses
from pbde_ref.benchmarking.batch_problems import BATCH_LOSSES, batch_arrays
from pbde_ref.benchmarking.contests import needs

__all__ = ["PairLosses", "SequenceLogProbs"]


class PairLosses:
    """Losses of a batch of pairs, from log-probabilities of sequences"""

    params = (list(BATCH_LOSSES), [64, 4096, 2**18])
    quick_params = (list(BATCH_LOSSES), [64, 4096])
    param_names = ("loss", "n")
    reference = "pbde_ref"

    def setup(self, loss: str, n: int) -> None:
        self.problem = BATCH_LOSSES[loss]
        self.arrays = batch_arrays(self.problem, n)
        self.tensors: Any = None

    def time_pbde_ref(self, loss: str, n: int) -> losses.BatchLoss:
        return self.problem.function(*self.arrays, **self.problem.parameters)

    @needs("torch")
    def time_torch(self, loss: str, n: int) -> tuple[float, list[Any]]:
        import torch

        if self.tensors is None:
            self.tensors = [torch.tensor(a, requires_grad=i < 2) for i, a in enumerate(self.arrays)]
        value = self.problem.torch(torch, *self.tensors, **self.problem.parameters)
        return float(value.detach()), list(torch.autograd.grad(value, self.tensors[:2]))

    def track_value_error_torch(self, loss: str, n: int) -> float:
        return abs(self.time_torch(loss, n)[0] / self.time_pbde_ref(loss, n).value - 1.0)

    def track_gradient_error_torch(self, loss: str, n: int) -> float:
        """Largest difference, relative to the largest entry."""
        ours, theirs = self.time_pbde_ref(loss, n).gradients, self.time_torch(loss, n)[1]
        pairs = [(ours[name], g.numpy()) for name, g in zip(self.problem.differentiated, theirs, strict=True)]
        return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


class SequenceLogProbs:
    """From logits to log-probabilities of sequences of 128 tokens, and the gradient back"""

    params = ([1, 4], [8192, 32768])
    quick_params = ([1], [512])
    param_names = ("batch", "vocabulary")
    reference = "pbde_ref"

    def setup(self, batch: int, vocabulary: int) -> None:
        rng = np.random.default_rng(3)
        self.logits = rng.normal(size=(batch, 128, vocabulary))
        self.labels = rng.integers(vocabulary, size=(batch, 128))
        self.mask = np.ones((batch, 127), dtype=bool)
        self.tensors: Any = None

    def time_pbde_ref(self, batch: int, vocabulary: int) -> tuple[Any, Any]:
        tokens = losses.token_log_probs_from_logits(self.logits, self.labels)
        sums = losses.sequence_log_probs(tokens, self.mask)
        back = losses.sequence_log_probs_vjp(np.ones(batch), self.mask)
        return sums, losses.token_log_probs_vjp(back, self.logits, self.labels)

    @needs("torch")
    def time_torch(self, batch: int, vocabulary: int) -> tuple[Any, Any]:
        import torch

        if self.tensors is None:
            logits = torch.tensor(self.logits, requires_grad=True)
            self.tensors = logits, torch.tensor(self.labels), torch.tensor(self.mask)
        logits, labels, mask = self.tensors
        tokens = logits[:, :-1].log_softmax(-1).gather(-1, labels[:, 1:, None])[..., 0]
        sums = (tokens * mask).sum(-1)
        return sums.detach().numpy(), torch.autograd.grad(sums.sum(), logits)[0]

    def track_value_error_torch(self, batch: int, vocabulary: int) -> float:
        ours, theirs = self.time_pbde_ref(batch, vocabulary)[0], self.time_torch(batch, vocabulary)[0]
        return math.fsum(abs(theirs / ours - 1.0)) / batch
