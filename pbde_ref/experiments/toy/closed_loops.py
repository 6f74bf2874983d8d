r"""The closed loop on the paper's problem: what each loss comes to in rounds whose pairs the last policy draws.

About two minutes on one core with the default settings, most of it for DPO and RSO with pooled annotators.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from pbde_ref.distributions import FiniteDistribution, total_variation
from pbde_ref.experiments.annotators import luce_annotator, pooled_annotators
from pbde_ref.experiments.closed_loop import closed_loop
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.paper_problem import PaperProblem

__all__ = ["LOOPS", "run_loops", "runs"]

LOOPS: Mapping[str, tuple[str, dict[str, float], tuple[str, ...]]] = {
    "DPO, β = 4": ("dpo", {"beta": 4.0}, ("first", "last")),
    "geometric, α = 1/4": ("geometric", {"alpha": 0.25}, ("first", "last")),
    "IPO, τ = 1/2": ("ipo", {"tau": 0.5}, ("first", "last")),
    "SLiC, δ = λ = 1": ("slic", {"delta": 1.0, "lambda_": 1.0}, ("first", "last")),
    "RSO, δ = 1": ("rso", {"delta": 1.0}, ("first", "last")),
    "RRHF": ("rrhf", {}, ("first",)),
    "reward, Luce": ("reward", {}, ("first",)),
}
"""Losses with their parameters, and the references with which they are tried: those without one need one try."""


def runs(settings: ToySettings) -> list[Run]:
    """One for each loss."""
    return [
        Run(f"loop-{loss}", partial(run_loops, name=name), (), 2 * settings.loop_rounds * len(references))
        for name, (loss, _, references) in LOOPS.items()
    ]


def run_loops(settings: ToySettings, needed: Mapping[str, Record], progress: Progress, *, name: str) -> Record:
    """The loops of one loss.

    Returns
    -------
    Record
        For each reference: ``<reference>.distance``, the total variation from p* after each round for the annotator of
        Eq. (9); ``<reference>.share``, for the pooled annotators of Eq. (25), the expected share of annotator 1 in a
        draw from the policy, which is her weight at p*; ``<reference>.policies``; and numbers ``<reference>.entropy``,
        of the last policy in nats, and ``<reference>.sampled``, the rounds with as many comparisons as the settings
        have, after which the loop's own pairs determine no policy (None: it goes on).
    """
    problem, rounds = settings.problem(settings.loop_points), settings.loop_rounds
    loss, parameters, references = LOOPS[name]
    arrays, numbers = {"grid": problem.grid}, dict[str, float | None]()
    p_star = problem.implicit_preference_distribution
    for reference in references:
        one, pool, sampled = (
            closed_loop(
                loss, annotator, problem.reference, rounds=rounds, reference=reference, comparisons=size,
                rng=settings.rng(f"loop {name} {reference}"), **parameters,
            )
            for annotator, size in (
                (luce_annotator(problem), None),
                (pooled_annotators(problem), None),
                (luce_annotator(problem), settings.comparisons),
            )
        )  # fmt: skip
        arrays[f"{reference}.distance"] = np.array([total_variation(policy, p_star) for policy in one.policies])
        arrays[f"{reference}.policies"] = np.array([policy.pmf for policy in one.policies])
        arrays[f"{reference}.share"] = np.array([_share_of_the_first(policy, problem) for policy in pool.policies])
        numbers[f"{reference}.entropy"] = one.policies[-1].entropy()
        numbers[f"{reference}.sampled"] = float(len(sampled.optima)) if sampled.reason else None
    return Record(f"loop-{loss}", {}, numbers, arrays)


def _share_of_the_first(policy: FiniteDistribution, problem: PaperProblem) -> float:
    r""":math:`\mathbb{E}_\pi[w_1 p_1 / p^*]`."""
    first = np.log(problem.annotator_weights[0]) + problem.annotator_distributions[0].log_pmf
    return policy.expectation(np.exp(first - problem.implicit_preference_distribution.log_pmf))
