"""One step of the univariate experiments: on the support here, on both outcomes of every pair in PyTorch."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

from typing import Any

import numpy as np
from autograd import value_and_grad

from pbde_ref.benchmarking.contests import needs, relative_errors
from pbde_ref.experiments.annotators import luce_annotator
from pbde_ref.models.adam import adam_step, initial_adam_state
from pbde_ref.models.mlp import MLP, energy_log_policy
from pbde_ref.models.sampled_losses import margins, mean_loss
from pbde_ref.models.threads import keep_freed_memory
from pbde_ref.objectives import BRADLEY_TERRY
from pbde_ref.paper_problem import paper_problem
from pbde_ref.proposals import ProductProposal
from pbde_ref.sampling.comparisons import sample_comparisons

__all__ = ["FullBatchStep"]


class FullBatchStep:
    """A step of DPO on all comparisons, 1,024 grid points, network of Table 1"""

    params = ([2**15],)
    quick_params = ([2**10],)
    param_names = ("comparisons",)
    reference = "pbde_ref"

    def setup(self, comparisons: int) -> None:
        problem = paper_problem(1024)
        annotator, proposal = luce_annotator(problem), ProductProposal(problem.reference)
        self.drawn = sample_comparisons(annotator, proposal, comparisons, rng=0)
        self.network, self.grid, self.reference_log_pmf = MLP(), problem.grid, problem.reference.log_pmf
        self.parameters = self.network.initial_parameters(rng=0).astype(np.float32)
        self.state = initial_adam_state(self.parameters)
        self.theirs: Any = None
        chosen, rejected = self.drawn.chosen, self.drawn.rejected

        def loss(parameters: Any) -> Any:
            log_ratio = energy_log_policy(self.network, parameters, self.grid) - self.reference_log_pmf
            return mean_loss(margins(log_ratio, chosen, rejected), BRADLEY_TERRY)

        # As `pbde_ref.models.training.train` does.
        keep_freed_memory()
        self.loss_and_gradient = value_and_grad(loss)

    def time_pbde_ref(self, comparisons: int) -> tuple[float, Any]:
        value, gradient = self.loss_and_gradient(self.parameters)
        adam_step(self.parameters, gradient, self.state, learning_rate=1e-4)
        return float(value), gradient

    @needs("torch")
    def time_torch_on_pairs(self, comparisons: int) -> tuple[float, Any]:
        import torch

        if self.theirs is None:
            self.theirs = self._in_torch(torch)
        model, optimizer, x_a, x_b, reference_margin, y = self.theirs
        optimizer.zero_grad()
        margin = model(x_b)[:, 0] - model(x_a)[:, 0] - reference_margin
        value = torch.nn.functional.binary_cross_entropy_with_logits(margin, y)
        value.backward()
        # A learning rate of zero: every repetition takes the same step.
        optimizer.step()
        return float(value.detach()), [p.grad for p in model.parameters()]

    def _in_torch(self, torch: Any) -> tuple[Any, ...]:
        layers: list[Any] = []
        for rows, columns in self.network.shapes:
            layers += [torch.nn.Linear(rows, columns), torch.nn.Tanh()]
        model, start = torch.nn.Sequential(*layers[:-1]), 0
        with torch.no_grad():
            for (rows, columns), layer in zip(self.network.shapes, layers[::2], strict=True):
                middle, stop = start + rows * columns, start + (rows + 1) * columns
                layer.weight.copy_(torch.tensor(self.parameters[start:middle].reshape(rows, columns).T))
                layer.bias.copy_(torch.tensor(self.parameters[middle:stop]))
                start = stop
        x_a, x_b = (torch.tensor(self.grid[i], dtype=torch.float32)[:, None] for i in (self.drawn.x_a, self.drawn.x_b))
        reference = torch.tensor(self.reference_log_pmf, dtype=torch.float32)
        margin = reference[torch.tensor(self.drawn.x_a)] - reference[torch.tensor(self.drawn.x_b)]
        optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
        return model, optimizer, x_a, x_b, margin, torch.tensor(self.drawn.y, dtype=torch.float32)

    def accuracy(self, contender: str, answer: tuple[float, Any]) -> dict[str, float]:
        """The gradient's is the largest difference, relative to the largest entry; PyTorch computes in float32."""
        if contender == "pbde_ref":
            return {}
        value, ours = self.loss_and_gradient(self.parameters)
        parts = [p.T.reshape(-1) if p.ndim == 2 else p for p in answer[1]]
        theirs = np.concatenate([part.numpy() for part in parts])
        return relative_errors(answer[0], [theirs], float(value), [ours])
