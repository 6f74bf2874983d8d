"""Fig. 2, 3, 5, 8, 9 and 10: a policy adapted to answers, each with its loss, who answers, and what is swept.

About 20 seconds a panel on one core with the paper's settings; for Fig. 9 up to 80 seconds more for the exact optima.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.experiments.annotators import luce_annotator, pooled_annotators
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.experiments.toy.adaptation import Loss, Start, start_from, train_and_compare
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.objectives import BRADLEY_TERRY, hinge, ipo
from pbde_ref.pbde import dpo, geometric_average, luce
from pbde_ref.proposals import ProductProposal

__all__ = ["ADAPTED", "Adapted", "adapt_panel", "runs"]


def _luce(start: Start, **parameters: float) -> PreferenceModel:
    return luce_annotator(start.problem)


def _agreeing(start: Start, beta: float) -> PreferenceModel:
    """Who answers by DPO's own process, Eq. (15)."""
    return Annotator(start.problem.implicit_preference_distribution, dpo(beta, start.reference))


def _pooled(start: Start) -> PreferenceModel:
    return pooled_annotators(start.problem)


@dataclass(frozen=True)
class Adapted:
    """A figure with a panel for each value of its parameters.

    Attributes
    ----------
    run : str
        The run's name, parameters in braces.
    sweep : callable
        From the settings to the parameters of each panel.
    loss : callable
        From the reference and the parameters to what is minimised.
    annotator : callable
        From the start and the parameters to who answers.
    data : str
        Name of the data set; equal names draw equal comparisons.
    optimum : str
        What the best policy is called in the legend.
    work : int
        In trainings; the exact optima of some losses take as long again.
    """

    run: str
    sweep: Callable[[ToySettings], list[dict[str, float]]]
    loss: Callable[..., Loss]
    annotator: Callable[..., PreferenceModel] = _luce
    data: str = "luce"
    optimum: str = "exact optimum"
    work: int = 1


ADAPTED: Mapping[str, Adapted] = {
    "figure-2": Adapted(
        "shared-process", lambda s: [{"beta": s.shared_beta}],
        lambda reference, beta: Loss(BRADLEY_TERRY, dpo(beta, reference), reference),
        _agreeing, data="dpo",
    ),
    "figure-3": Adapted(
        "dpo-beta-{beta:g}", lambda s: [{"beta": b} for b in s.betas],
        lambda reference, beta: Loss(BRADLEY_TERRY, dpo(beta, reference), reference), optimum="optimum, Eq. (16)",
    ),
    "figure-5": Adapted(
        "pooled", lambda s: [{}], lambda reference: Loss(BRADLEY_TERRY, luce(), reference),
        _pooled, data="two annotators",
    ),
    "figure-8": Adapted(
        "geometric-alpha-{alpha:g}", lambda s: [{"alpha": a} for a in s.alphas],
        lambda reference, alpha: Loss(BRADLEY_TERRY, geometric_average(alpha, reference), reference),
        optimum="optimum, Eq. (18)",
    ),
    "figure-9": Adapted(
        "slic-delta-{delta:g}-lambda-{lambda_:g}",
        lambda s: [{"delta": delta, "lambda_": lambda_} for lambda_, delta in product(s.lambdas, s.deltas)],
        lambda reference, delta, lambda_: Loss(hinge(delta), luce(), reference, lambda_), work=2,
    ),
    # Eq. (23): the margin is that of log(π / π_pre), the utility of DPO with β = 1.
    "figure-10": Adapted(
        "ipo-tau-{tau:g}", lambda s: [{"tau": t} for t in s.taus],
        lambda reference, tau: Loss(ipo(tau), dpo(1.0, reference), reference),
    ),
}  # fmt: skip


def runs(figure: str, settings: ToySettings) -> list[Run]:
    """One run for each panel."""
    adapted = ADAPTED[figure]
    return [
        Run(
            adapted.run.format(**parameters),
            partial(adapt_panel, figure=figure, parameters=parameters),
            ("pretrained",),
            adapted.work * settings.steps,
        )
        for parameters in adapted.sweep(settings)
    ]


def adapt_panel(
    settings: ToySettings, needed: Mapping[str, Record], progress: Progress, *, figure: str,
    parameters: Mapping[str, float],
) -> Record:  # fmt: skip
    """Train one panel's policy, from the pretrained one, and set it beside the exact optima."""
    adapted, start, network = ADAPTED[figure], start_from(settings, needed), settings.network
    loss, annotator = adapted.loss(start.reference, **parameters), adapted.annotator(start, **parameters)
    return train_and_compare(
        settings, start.problem, loss, annotator, ProductProposal(start.reference), data=adapted.data,
        log_weights=lambda parameters: -network(parameters, start.problem.grid), parameters=start.parameters,
        progress=progress,
    )  # fmt: skip
