"""Minimisers of expected losses, to the certificates that they return."""

# ruff: noqa: D102 (the names of benchmarks say what they measure)

from __future__ import annotations

import numpy as np

import pbde_ref as pb

__all__ = ["Projection", "LinearProjection", "WideProjection"]  # noqa: RUF022 (the order of the tables)


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
