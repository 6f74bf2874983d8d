"""Batch losses, value and gradients, in single and double precision: this package, PyTorch, and JAX compiled."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

import pbde_ref.losses as losses
from pbde_ref.benchmarking.batch_problems import BATCH_LOSSES, batch_arrays
from pbde_ref.benchmarking.contests import JaxCompiled, needs, relative_errors

__all__ = ["PairLosses", "SequenceLogProbs"]


class PairLosses:
    """Losses of a batch of pairs, from log-probabilities of sequences"""

    params = (list(BATCH_LOSSES), [64, 4096, 2**18], ["float64", "float32"])
    quick_params = (list(BATCH_LOSSES), [64, 4096], ["float64", "float32"])
    param_names = ("loss", "n", "dtype")
    reference = "pbde_ref"

    def setup(self, loss: str, n: int, dtype: str) -> None:
        self.problem = BATCH_LOSSES[loss]
        self.arrays = batch_arrays(self.problem, n, dtype)
        self.tensors: Any = None
        self.compiled: Any = None

    def time_pbde_ref(self, loss: str, n: int, dtype: str) -> losses.BatchLoss:
        return self.problem.function(*self.arrays, **self.problem.parameters)

    @needs("torch")
    def time_torch(self, loss: str, n: int, dtype: str) -> tuple[float, list[Any]]:
        import torch

        if self.tensors is None:
            self.tensors = [torch.tensor(a, requires_grad=i < 2) for i, a in enumerate(self.arrays)]
        value = self.problem.torch(torch, *self.tensors, **self.problem.parameters)
        return float(value.detach()), list(torch.autograd.grad(value, self.tensors[:2]))

    @needs("jax")
    def time_jax_compiled(self, loss: str, n: int, dtype: str) -> tuple[float, Any]:
        self.compiled = self.compiled or JaxCompiled(self._in_jax, self.arrays, dtype)
        value, gradients = self.compiled()
        return float(value), gradients

    def _in_jax(self, jax: Any) -> Any:
        functional = SimpleNamespace(logsigmoid=jax.nn.log_sigmoid)
        names = SimpleNamespace(relu=jax.nn.relu, nn=SimpleNamespace(functional=functional))
        return jax.value_and_grad(partial(self.problem.torch, names, **self.problem.parameters), argnums=(0, 1))

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        if contender == "pbde_ref":
            return {}
        ours = self.problem.function(*self.arrays, **self.problem.parameters)
        own = [ours.gradients[name] for name in self.problem.differentiated]
        return relative_errors(answer[0], answer[1], ours.value, own)


class SequenceLogProbs:
    """From logits to log-probabilities of sequences of 128 tokens, and the gradient back"""

    params = ([1, 4], [8192, 32768, 131072], ["float64", "float32"])
    quick_params = ([1], [512], ["float64", "float32"])
    param_names = ("batch", "vocabulary", "dtype")
    reference = "pbde_ref"

    def setup(self, batch: int, vocabulary: int, dtype: str) -> None:
        rng = np.random.default_rng(3)
        self.logits = rng.normal(size=(batch, 128, vocabulary)).astype(dtype)
        self.labels = rng.integers(vocabulary, size=(batch, 128))
        self.mask = np.ones((batch, 127), dtype=bool)
        self.tensors: Any = None
        self.compiled: Any = None

    def time_pbde_ref(self, batch: int, vocabulary: int, dtype: str) -> tuple[Any, Any]:
        tokens = losses.token_log_probs_from_logits(self.logits, self.labels)
        sums = losses.sequence_log_probs(tokens, self.mask)
        back = losses.sequence_log_probs_vjp(np.ones(len(self.mask), dtype), self.mask)
        return sums, losses.token_log_probs_vjp(back, self.logits, self.labels)

    def time_pbde_ref_at_once(self, batch: int, vocabulary: int, dtype: str) -> tuple[Any, Any]:
        """For a loss whose gradient at the sequences is known beforehand, such as the likelihood."""
        back = losses.sequence_log_probs_vjp(np.ones(len(self.mask), dtype), self.mask)
        tokens = np.empty(self.mask.shape, dtype)
        gradient = losses.token_log_probs_vjp(back, self.logits, self.labels, log_probs=tokens)
        return losses.sequence_log_probs(tokens, self.mask), gradient

    @needs("torch")
    def time_torch(self, batch: int, vocabulary: int, dtype: str) -> tuple[Any, Any]:
        import torch

        if self.tensors is None:
            logits = torch.tensor(self.logits, requires_grad=True)
            self.tensors = logits, torch.tensor(self.labels), torch.tensor(self.mask)
        logits, labels, mask = self.tensors
        tokens = logits[:, :-1].log_softmax(-1).gather(-1, labels[:, 1:, None])[..., 0]
        sums = (tokens * mask).sum(-1)
        return sums.detach().numpy(), torch.autograd.grad(sums.sum(), logits)[0]

    @needs("jax")
    def time_jax_compiled(self, batch: int, vocabulary: int, dtype: str) -> tuple[Any, Any]:
        self.compiled = self.compiled or JaxCompiled(self._in_jax, (self.logits, self.labels), dtype)
        gradient, sums = self.compiled()
        return sums, gradient

    @staticmethod
    def _in_jax(jax: Any) -> Any:
        def loss(logits: Any, labels: Any) -> Any:
            tokens = jax.numpy.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), labels[:, 1:, None], -1)
            return tokens.sum(), tokens.sum((1, 2))

        return jax.grad(loss, has_aux=True)

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        sums, gradient = self.time_pbde_ref(0, 0, self.logits.dtype.name)
        theirs = float(np.sum(np.asarray(answer[0], dtype=np.float64)))
        ours = float(np.sum(sums, dtype=np.float64))
        return {} if contender == "pbde_ref" else relative_errors(theirs, answer[1:], ours, [gradient])

    peakmem_pbde_ref = time_pbde_ref
