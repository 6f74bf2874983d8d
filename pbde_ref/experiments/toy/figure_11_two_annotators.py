"""Fig. 11: a model of two annotators tells them apart, though nobody noted who answered, Eq. (29) and (30).

About a minute on one core with the paper's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import numpy as np

from pbde_ref.distributions import FiniteDistribution, kl_divergence, mixture, total_variation
from pbde_ref.exact.expected import expected_entropy
from pbde_ref.exact.mixtures import expected_mixture_loss
from pbde_ref.experiments.annotators import pooled_annotators
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.experiments.toy.adaptation import distances, finite, start_from
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.models.mlp import mixture_log_policies
from pbde_ref.models.sampled_losses import margins, mean_mixture_loss
from pbde_ref.models.training import train
from pbde_ref.proposals import ProductProposal
from pbde_ref.sampling.comparisons import observed_preferences, sample_comparisons
from pbde_ref.validation import FloatArray

__all__ = ["runs", "train_two_annotators"]


def runs(settings: ToySettings) -> list[Run]:
    """One model, drawn as its marginal and as its components."""
    return [Run("two-annotators", train_two_annotators, ("pretrained",), 2 * settings.steps)]


def train_two_annotators(settings: ToySettings, needed: Mapping[str, Record], progress: Progress) -> Record:
    """A noisy copy of the pretrained model for each annotator, and the logits of their weights, which start at zero.

    The model is well specified and its components are identifiable, so the population's optimum is the truth. The
    sample has no unique optimum over all pairs of policies, and none is reported.
    """
    start, network = start_from(settings, needed), settings.network
    problem, proposal = start.problem, ProductProposal(start.reference)
    annotators, truths = pooled_annotators(problem), problem.annotator_distributions
    count = len(truths)
    drawn = sample_comparisons(
        annotators, proposal, settings.comparisons, rng=settings.rng("comparisons two annotators")
    )
    chosen, rejected = drawn.chosen, drawn.rejected
    noise = settings.mixture_noise * settings.rng("two annotators").standard_normal(count * network.size)

    def training_loss(parameters: FloatArray) -> float:
        policies, log_weights = mixture_log_policies(network, parameters, problem.grid, count)
        return mean_mixture_loss([margins(policy, chosen, rejected) for policy in policies], log_weights)

    result = train(
        training_loss,
        np.concatenate([np.tile(start.parameters, count) + noise, np.zeros(count)]).astype(np.float32),
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        progress=lambda steps, loss: progress(2 * steps, loss),
    )
    log_policies, log_weights = mixture_log_policies(network, result.parameters, problem.grid, count)
    fitted, weights = [FiniteDistribution(policy, problem.grid) for policy in log_policies], np.exp(log_weights)
    order = min(permutations(range(count)), key=lambda order: _mismatch([fitted[i] for i in order], truths))
    fitted, weights = [fitted[i] for i in order], weights[list(order)]
    policies = {
        "trained": mixture(weights, fitted),
        "optimum": problem.implicit_preference_distribution,
        "reference": start.reference,
    }
    utilities = np.stack([policy.log_pmf for policy in fitted])
    sample = observed_preferences(chosen, rejected, problem.grid)
    numbers = {
        "loss.trained.sample": expected_mixture_loss(sample[0], weights, utilities, sample[1]).cross_entropy,
        "loss.least.sample": None,
        "loss.trained.population": expected_mixture_loss(annotators, weights, utilities, proposal).cross_entropy,
        "loss.least.population": expected_entropy(annotators, proposal),
        **distances(policies),
    }
    arrays = {"grid": problem.grid, "losses": np.array(result.losses), "weights.trained": weights}
    arrays |= {f"policy.{name}": policy.pmf for name, policy in policies.items()}
    arrays["policy.preference"] = problem.implicit_preference_distribution.pmf
    for i, (component, truth) in enumerate(zip(fitted, truths, strict=True), start=1):
        arrays |= {f"policy.trained_{i}": component.pmf, f"policy.annotator_{i}": truth.pmf}
        arrays[f"log_policy.trained_{i}"] = component.log_pmf
        numbers |= {f"weight.trained_{i}": float(weights[i - 1])}
        numbers[f"total_variation.trained_{i}.annotator_{i}"] = total_variation(component, truth)
        numbers[f"kl.annotator_{i}.trained_{i}"] = kl_divergence(truth, component)
    return Record("two-annotators", {}, {name: finite(value) for name, value in numbers.items()}, arrays)


def _mismatch(fitted: list[FiniteDistribution], truth: tuple[FiniteDistribution, ...]) -> float:
    return sum(total_variation(one, other) for one, other in zip(fitted, truth, strict=True))
