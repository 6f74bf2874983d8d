"""Expected losses over all pairs, value and gradient: dense, in linear time, PyTorch, JAX compiled, a naive loop.

Scores are normal with a standard deviation of a tenth of the stated spread, in no order; proposals are random. The
annotator's and the model's utilities are independent except where a small KL is asked for.
"""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

import math
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from scipy.special import expit

import pbde_ref as pb
from pbde_ref.benchmarking.contests import JaxCompiled, needs, relative_errors
from pbde_ref.estimation.tallies import slices
from pbde_ref.exact.linear_time.kernel_sums import kernel_kl, kl_of_arrays

# The order of the tables.
__all__ = [
    "DenseJoint", "DenseOrLinear", "Linear", "LinearFromDisk",
]


class DenseJoint:
    """Joint proposal: cross-entropy and its gradient"""

    params = ([64, 256, 1024, 4096],)
    quick_params = ([32, 512],)
    param_names = ("n",)
    reference = "dense"
    preferences: Any = None
    compiled: Any = None

    def setup(self, n: int) -> None:
        rng = np.random.default_rng(0)
        self.annotator = pb.Annotator(pb.FiniteDistribution(rng.normal(scale=3.0, size=n)), pb.luce())
        self.utilities = rng.normal(scale=3.0, size=n)
        self.proposal = pb.JointProposal(rng.exponential(size=(n, n)))

    def time_dense(self, n: int) -> Any:
        return pb.expected_cross_entropy(self.annotator, self.utilities, self.proposal)

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        ours = self.time_dense(0)
        return {} if contender == "dense" else relative_errors(answer[0], answer[1:], ours.value, [ours.gradient])

    @needs("torch")
    def time_torch_with_logits(self, n: int) -> tuple[float, Any]:
        torch, p, q, utilities = self._tensors()
        margin = utilities[:, None] - utilities[None, :]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(margin, p, weight=q, reduction="sum")
        loss.backward()
        return float(loss.detach()), utilities.grad

    @needs("jax")
    def time_jax_compiled(self, n: int) -> tuple[float, Any]:
        if self.compiled is None:
            matrices = self.annotator.preference_probabilities(), self.proposal.weights
            self.compiled = JaxCompiled(self._in_jax, (self.utilities, *matrices), "float64")
        value, gradient = self.compiled()
        return float(value), gradient

    @staticmethod
    def _in_jax(jax: Any) -> Any:
        def loss(utilities: Any, p: Any, q: Any) -> Any:
            margin = utilities[:, None] - utilities[None, :]
            return (q * (jax.nn.softplus(-margin) + (1.0 - p) * margin)).sum()

        return jax.value_and_grad(loss)

    peakmem_dense = time_dense
    peakmem_torch_with_logits = time_torch_with_logits

    def _tensors(self) -> tuple[Any, Any, Any, Any]:
        import torch

        if self.preferences is None:
            # Not counted: a program in PyTorch would have these matrices.
            self.preferences = torch.tensor(self.annotator.preference_probabilities())
            self.weights = torch.tensor(self.proposal.weights)
        return torch, self.preferences, self.weights, torch.tensor(self.utilities, requires_grad=True)


KINDS: dict[str, dict[str, Any]] = {
    "300 nats": {}, "3 nats": {"spread": 3.0}, "30 nats": {"spread": 30.0}, "2000 nats": {"spread": 2000.0},
    "a ≠ b": {"factors": 2}, "small KL": {"spread": 30.0, "change": 1e-6},
}  # fmt: skip


class _LinearTime:
    """What the linear-time contests share: the inputs, the sum itself, the gradient's error."""

    def prepare(self, n: int, spread: float = 300.0, factors: int = 1, change: float | None = None) -> None:
        rng = np.random.default_rng(1)
        self.kernel_kl = kernel_kl
        self.annotator = pb.Annotator(pb.FiniteDistribution(rng.normal(scale=spread / 10.0, size=n)), pb.luce())
        chi = self.annotator.utility
        noise = rng.normal(size=n)
        self.utilities = spread / 10.0 * noise if change is None else chi + change * noise
        self.proposal = pb.ProductProposal(*(rng.exponential(size=n) for _ in range(factors)))

    def time_kernel_sum(self, *values: float) -> Any:
        return self.kernel_kl(self.annotator, self.utilities, self.proposal)

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        """Largest error of the gradient at four outcomes, relative to what the proposal gives them."""
        if contender != "kernel_sum":
            return {}
        gradient, chi, omega = answer.gradient, self.annotator.utility, self.utilities
        a, b = self.proposal.a, self.proposal.b
        errors = []
        for x in np.argsort(omega)[[0, omega.size // 3, omega.size // 2, -1]]:
            excess = expit(omega[x] - omega) - expit(chi[x] - chi)
            exact = math.fsum(a[x] * b * excess) + math.fsum(b[x] * a * excess)
            errors.append(abs(gradient[x] - exact) / (a[x] + b[x]))
        return {"gradient_error": float(max(errors))}


class Linear(_LinearTime):
    """Product proposal, utilities spread over so many nats, a ⊗ b, or a small KL right in relative terms"""

    params = ([10**4, 10**5, 10**6, 10**7], list(KINDS))
    quick_params = ([1000, 10**5], list(KINDS))
    param_names = ("n", "kind")
    reference = "one_pass"

    @staticmethod
    def wanted(n: int, kind: str) -> bool:
        """All sizes of one kind, and all kinds of two sizes."""
        return kind == "300 nats" or n in (1000, 10**6)

    def setup(self, n: int, kind: str) -> None:
        self.prepare(n, **KINDS[kind])
        self.room = np.empty(n)

    def time_one_pass(self, n: int, kind: str) -> Any:
        """A multiplication into memory that is there already."""
        return np.multiply(self.utilities, 1.5, out=self.room)

    def time_argsort(self, n: int, kind: str) -> Any:
        return np.argsort(self.utilities)

    peakmem_kernel_sum = _LinearTime.time_kernel_sum


class LinearFromDisk:
    """Product proposal a ⊗ a, spread 300 nats, from memory maps: KL and its gradient"""

    params = ([10**8],)
    quick_params = ([10**4],)
    param_names = ("n",)

    def setup(self, n: int) -> None:
        self.arrays, rng = [], np.random.default_rng(1)
        for name in ("chi", "omega", "a"):
            with TemporaryFile() as file:
                array = np.memmap(file, np.float64, "w+", shape=(n,))
            for part in slices(n):
                array[part] = rng.exponential(size=array[part].size) if name == "a" else 30.0 * rng.normal(
                    size=array[part].size)  # fmt: skip
            array /= array.sum() if name == "a" else 1.0
            self.arrays.append(array)

    def time_kernel_sum(self, n: int) -> Any:
        return kl_of_arrays(*self.arrays)

    peakmem_kernel_sum = time_kernel_sum

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        """Error of the gradient at one outcome, relative to what the proposal gives it."""
        (chi, omega, a), x = self.arrays, len(answer.gradient) // 2
        parts = ((a[p] * (expit(omega[x] - omega[p]) - expit(chi[x] - chi[p]))).sum() for p in slices(a.size))
        return {"gradient_error": abs(answer.gradient[x] / a[x] / 2.0 - math.fsum(parts))}


class DenseOrLinear(_LinearTime):
    """Product proposal a ⊗ a: all pairs or linear time"""

    params = ([64, 256, 1024, 4096],)
    quick_params = ([64, 512],)
    param_names = ("n",)
    reference = "kernel_sum"

    def setup(self, n: int) -> None:
        self.prepare(n, 30.0)

    def time_dense(self, n: int) -> Any:
        return pb.expected_kl(self.annotator, self.utilities, self.proposal, method="dense")

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        errors = super().accuracy(contender, answer)
        return errors and errors | {"value_error": abs(answer.value / self.time_dense(0).value - 1.0)}

