"""Fig. 1 and 7: a reward model trained on Luce preferences learns log p*, up to a constant.

About 20 seconds on one core with the paper's settings.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pbde_ref.distributions import uniform
from pbde_ref.experiments.annotators import luce_annotator
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.experiments.toy.adaptation import Loss, start_from, train_and_compare
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.objectives import BRADLEY_TERRY
from pbde_ref.pbde import luce
from pbde_ref.proposals import ProductProposal

__all__ = ["runs", "train_reward"]


def runs(settings: ToySettings) -> list[Run]:
    """One model serves both figures."""
    return [Run("reward", train_reward, ("pretrained",), settings.steps)]


def train_reward(settings: ToySettings, needed: Mapping[str, Record], progress: Progress) -> Record:
    """Section 4.1: Eq. (1) and (2), from a network that knows nothing; its policy is its reward's softmax."""
    start, network = start_from(settings, needed), settings.network
    grid = start.problem.grid
    pairs = start.reference if settings.reward_pairs == "reference" else uniform(grid)
    return train_and_compare(
        settings,
        start.problem,
        Loss(BRADLEY_TERRY, luce(), start.reference),
        luce_annotator(start.problem),
        ProductProposal(pairs),
        data=f"luce, {settings.reward_pairs} pairs",
        log_weights=lambda parameters: network(parameters, grid),
        parameters=network.initial_parameters(rng=settings.rng("reward")).astype(np.float32),
        progress=progress,
    )
