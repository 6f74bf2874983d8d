"""Minimisers of expected losses, to the certificates that they return."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.prompts.log_linear import LogLinearRegression

__all__ = ["Projection", "LinearProjection", "WideProjection", "LogLinear"]  # noqa: RUF022 (the order of the tables)


class Projection:
    """The paper's two annotators projected on one: dense Newton"""

    params = ([64, 256, 1024],)
    quick_params = ([32, 128],)
    param_names: tuple[str, ...] = ("n",)
    reference = "newton"
    method = "dense"

    def setup(self, n: int) -> None:
        problem = pb.paper_problem(n)
        members = [pb.Annotator(p, pb.luce()) for p in problem.annotator_distributions]
        self.annotator = pb.AnnotatorMixture(problem.annotator_weights, members)
        self.proposal = pb.ProductProposal(problem.reference)

    def time_newton(self, n: int) -> pb.Solution:
        return pb.minimize_expected_loss("bradley_terry", self.annotator, self.proposal, method=self.method)

    peakmem_newton = time_newton

    def accuracy(self, contender: str, answer: pb.Solution) -> dict[str, float]:
        return {"residual": answer.certificate.gradient_norm, "gap": answer.certificate.gap}


class LinearProjection(Projection):
    """The paper's two annotators projected on one: linear time"""

    params = ([10**4, 10**5, 10**6],)
    quick_params = ([2000, 10**4],)
    method = "kernel_sum"


class WideProjection(LinearProjection):
    """Two annotators with utilities spread over 50 nats, projected on one"""

    params = ([10**5],)
    quick_params = ([2000],)

    def setup(self, n: int) -> None:
        rng = np.random.default_rng(8)
        utilities = rng.uniform(0.0, 50.0, n)
        members = [pb.Annotator(pb.FiniteDistribution(u), pb.luce()) for u in (utilities, utilities[::-1] / 2.0)]
        self.annotator = pb.AnnotatorMixture([0.5, 0.5], members)
        self.proposal = pb.ProductProposal(np.ones(n))


class LogLinear:
    """DPO with a log-linear policy, 16 answers to each prompt, all pairs of them"""

    params, quick_params, param_names = ([10**4], [64]), ([100], [8]), ("prompts", "features")
    reference = "newton"

    def setup(self, prompts: int, features: int) -> None:
        rng = np.random.default_rng(20)
        names = pb.Prompts(np.repeat(np.arange(prompts), 16))
        phi, noise = rng.normal(size=(names.size, features)) / np.sqrt(features), rng.normal(size=names.size)
        utilities = phi @ rng.normal(size=features) + 0.5 * noise
        self.annotator = pb.Annotator(pb.ConditionalDistribution(utilities, names), pb.luce())
        self.policies, self.pairs = pb.LogLinearPolicies(phi, names), pb.prompt_pairs(names)
        self.dpo = pb.dpo(0.1, pb.ConditionalDistribution(rng.normal(size=names.size), names))

    def time_newton(self, prompts: int, features: int) -> pb.Optimum:
        return pb.minimize_log_linear(self.policies, self.annotator, self.pairs, self.dpo)

    peakmem_newton = time_newton

    def time_lbfgs_on_the_same_sums(self, prompts: int, features: int) -> Any:
        sums = LogLinearRegression.of(self.policies, self.annotator, self.pairs, self.dpo)

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            point = sums.at(theta)
            return point.loss, point.gradient

        return minimize(loss, np.zeros(features), jac=True, method="L-BFGS-B", options={"ftol": 0.0, "gtol": 1e-10})

    def accuracy(self, contender: str, answer: Any) -> dict[str, float]:
        if contender == "newton":
            return {"gap": answer.gap}
        return {"gradient": float(np.abs(answer.jac).max())}
