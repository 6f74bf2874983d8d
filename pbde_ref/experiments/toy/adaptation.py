r"""Train a policy on sampled comparisons, and find what it should have become: exactly, of population and of sample.

Three policies tell three things apart. The population's optimum is the theory. The optimum of the very sample, over all
policies and not only those of the network, differs from it by finite data. What was trained differs from both by the
network's smoothness and by how far the optimiser came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive

from pbde_ref.annotators import PreferenceModel
from pbde_ref.catalogue.optima import best_ipo, best_slic, of_process
from pbde_ref.distributions import FiniteDistribution, kl_divergence, total_variation
from pbde_ref.exact.expected import expected_loss
from pbde_ref.exact.results import Optimum
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.models.mlp import energy_log_policy
from pbde_ref.models.primitives import logsumexp
from pbde_ref.models.sampled_losses import margins, mean_loss
from pbde_ref.models.training import train
from pbde_ref.objectives import Objective
from pbde_ref.paper_problem import PaperProblem
from pbde_ref.pbde import PBDE
from pbde_ref.proposals import Proposal
from pbde_ref.sampling.comparisons import observed_preferences, sample_comparisons
from pbde_ref.validation import FloatArray

__all__ = [
    "Loss", "Start", "distances", "exact_optimum", "finite", "start_from", "train_and_compare",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Loss:
    r"""A loss of section 4: an objective of the margin of :math:`\Omega = f \log \pi + g`, and a regulariser.

    .. math:: \mathbb{E}\big[\ell(\Omega(x_w) - \Omega(x_l))\big] - \lambda\, \mathbb{E}_{\pi_{pre}}[\log \pi]

    Attributes
    ----------
    objective : Objective
    pbde : PBDE
    reference : FiniteDistribution
        :math:`\pi_{pre}`.
    lambda_ : float
    """

    objective: Objective
    pbde: PBDE
    reference: FiniteDistribution
    lambda_: float = 0.0

    def expected(self, annotator: PreferenceModel, policy: FiniteDistribution, proposal: Proposal) -> float:
        """The exact loss of a policy, in nats (for IPO, in nats squared)."""
        pairs = expected_loss(self.objective, annotator, self.pbde.utility(policy.log_pmf), proposal).value
        return pairs - (self.lambda_ * self.reference.expectation(policy.log_pmf) if self.lambda_ else 0.0)


def exact_optimum(loss: Loss, annotator: PreferenceModel, proposal: Proposal) -> Optimum:
    """The best of all policies for a population or, with `observed_preferences`, for a sample."""
    parameters = loss.objective.parameters
    if loss.objective.name == "ipo":
        return best_ipo(annotator, proposal, tau=parameters["tau"], reference=loss.reference)
    if loss.objective.name == "hinge":
        delta, reference = parameters["delta"], loss.reference
        return best_slic(annotator, proposal, delta=delta, lambda_=loss.lambda_, reference=reference)
    return of_process(annotator, proposal, loss.pbde, loss.objective)


@dataclass(frozen=True, eq=False)
class Start:
    """Where every univariate experiment begins.

    Attributes
    ----------
    problem : PaperProblem
    reference : FiniteDistribution
        The pretrained policy.
    parameters : ndarray
        Its network's.
    """

    problem: PaperProblem
    reference: FiniteDistribution
    parameters: FloatArray


def start_from(settings: ToySettings, needed: Mapping[str, Record]) -> Start:
    """What the run "pretrained" left."""
    problem = settings.problem()
    parameters: Any = needed["pretrained"].arrays["parameters"].astype(np.float32)
    reference = FiniteDistribution(energy_log_policy(settings.network, parameters, problem.grid), problem.grid)
    return Start(problem, reference, parameters)


def train_and_compare(
    settings: ToySettings,
    problem: PaperProblem,
    loss: Loss,
    annotator: PreferenceModel,
    proposal: Proposal,
    *,
    data: str,
    log_weights: Callable[[FloatArray], FloatArray],
    parameters: FloatArray,
    progress: Progress,
) -> Record:
    """Draw comparisons, train on them or on their population, and set the result beside the exact optima.

    Parameters
    ----------
    settings : ToySettings
    problem : PaperProblem
    loss : Loss
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    proposal : ProductProposal, JointProposal or PairListProposal
    data : str
        Name of the data set; equal names draw equal comparisons from equal annotators and proposals.
    log_weights : callable
        Parameters to unnormalised log-probabilities on the grid, differentiable by autograd.
    parameters : ndarray
        Where to start.
    progress : callable

    Returns
    -------
    Record
        Policies "trained", "optimum" (one of them, if there are several), "sample_optimum" (if it is the only one),
        "preference" and "reference"; their distances; and the trained policy's loss beside the least possible one, on
        the sample and in expectation.
    """
    drawn = sample_comparisons(annotator, proposal, settings.comparisons, rng=settings.rng(f"comparisons {data}"))
    chosen, rejected = drawn.chosen, drawn.rejected
    regularizer_rng = settings.rng(f"regularizer {data}")
    sampled = settings.data == "sample"

    def training_loss(trial: FloatArray) -> float:
        values = log_weights(trial)
        log_policy = values - logsumexp(values)
        utilities = loss.pbde.f * log_policy + loss.pbde.g
        if sampled:
            result = mean_loss(margins(utilities, chosen, rejected), loss.objective)
        else:
            result = _population_loss(utilities, loss.objective, annotator, proposal, [])
        if loss.lambda_:
            weights = loss.reference.pmf
            if sampled:
                weights = regularizer_rng.multinomial(settings.regularizer_draws, weights) / settings.regularizer_draws
            result = result - loss.lambda_ * anp.dot(weights, log_policy)
        return result

    result = train(
        training_loss, parameters, steps=settings.steps, learning_rate=settings.learning_rate, progress=progress
    )
    trained = FiniteDistribution(log_weights(result.parameters), problem.grid)
    sample = observed_preferences(chosen, rejected, problem.grid)
    optimum, of_sample = exact_optimum(loss, annotator, proposal), exact_optimum(loss, *sample)
    policies = {
        "trained": trained,
        "preference": problem.implicit_preference_distribution,
        "reference": loss.reference,
        **({} if optimum.policy is None else {"optimum": optimum.policy}),
        **({} if of_sample.policy is None or not of_sample.unique else {"sample_optimum": of_sample.policy}),
    }
    numbers = {
        "loss.trained.sample": loss.expected(sample[0], trained, sample[1]),
        "loss.least.sample": of_sample.loss,
        "loss.trained.population": loss.expected(annotator, trained, proposal),
        "loss.least.population": optimum.loss,
        **distances(policies),
    }
    arrays = {
        "grid": problem.grid,
        "losses": np.array(result.losses),
        "log_weights.trained": log_weights(result.parameters),
        **{f"policy.{name}": policy.pmf for name, policy in policies.items()},
    }
    return Record(data, {}, {name: finite(value) for name, value in numbers.items()}, arrays)


@primitive
def _population_loss(
    utilities: FloatArray, objective: Objective, annotator: PreferenceModel, proposal: Proposal, tape: list[FloatArray]
) -> float:
    """The expected loss of utilities; its gradient is left on the tape for the way back."""
    found = expected_loss(objective, annotator, utilities, proposal)
    tape.append(found.gradient)
    return found.value


defvjp(
    _population_loss,
    lambda ans, utilities, objective, annotator, proposal, tape: lambda g: g * tape[-1],
    argnums=(0,),
)


def distances(policies: Mapping[str, FiniteDistribution]) -> dict[str, float | None]:
    """Total variation of each pair of policies, and KL divergence in both directions; None where it is infinite."""
    result: dict[str, float | None] = {}
    for one, other in permutations(policies, 2):
        if f"total_variation.{other}.{one}" not in result:
            result[f"total_variation.{one}.{other}"] = total_variation(policies[one], policies[other])
        result[f"kl.{one}.{other}"] = finite(kl_divergence(policies[one], policies[other]))
    return result


def finite(value: float | None) -> float | None:
    """JSON has no word for infinities."""
    return value if value is not None and math.isfinite(value) else None
