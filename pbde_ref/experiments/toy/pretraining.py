"""The reference policy of all univariate experiments, section 4.3: an energy-based model of a truncated normal.

Takes about 20 seconds on one core with the paper's settings.
"""

from __future__ import annotations

from collections.abc import Mapping

import autograd.numpy as anp
import numpy as np

from pbde_ref.distributions import FiniteDistribution, kl_divergence, total_variation
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.models.mlp import energy_log_policy
from pbde_ref.models.training import train

__all__ = ["pretrain"]


def pretrain(settings: ToySettings, needed: Mapping[str, Record], progress: Progress) -> Record:
    r"""Regress the negative energy on the log-density of the truncated normal, over the whole support.

    The energy is free up to a constant; regression asks for the one that makes :math:`Z_{pre} = 1`, as the authors'
    notebook does.
    """
    problem, network = settings.problem(), settings.network
    log_density = problem.reference.log_pmf - np.log(problem.grid[1] - problem.grid[0])
    result = train(
        lambda parameters: anp.mean((-network(parameters, problem.grid) - log_density) ** 2),
        network.initial_parameters(rng=settings.rng("pretraining")).astype(np.float32),
        steps=settings.pretraining_steps,
        learning_rate=settings.pretraining_learning_rate,
        progress=progress,
    )
    reference = FiniteDistribution(energy_log_policy(network, result.parameters, problem.grid), problem.grid)
    return Record(
        "pretrained",
        {},
        {
            "loss.trained.sample": result.losses[-1],
            "total_variation.reference.target": total_variation(reference, problem.reference),
            "kl.reference.target": kl_divergence(reference, problem.reference),
        },
        {
            "grid": problem.grid,
            "parameters": result.parameters,
            "policy.reference": reference.pmf,
            "policy.target": problem.reference.pmf,
            "losses": np.array(result.losses),
        },
    )
