r"""How much data? The error of the tabular model against the number of comparisons, and the theory of both.

The paper's Discussion asks how many comparisons a policy takes. For a model with one free utility for each outcome the
answer is exact as N grows: its loss exceeds the least possible by :math:`(n - 1) / (2N)` on average, whatever the
annotator prefers and whatever pairs are shown, as long as the model is right; :math:`\operatorname{tr}(H^+ V) / (2N)`
if it is not. So comparisons are needed in proportion to outcomes, and a policy over the sentences of a language cannot
be learnt like that: what makes it possible must be the model's structure.

About 15 seconds on one core with the paper's settings.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel
from pbde_ref.distributions import FiniteDistribution, total_variation
from pbde_ref.estimation.connectivity import NoFiniteEstimateError
from pbde_ref.estimation.likelihood import fit_comparisons
from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.exact.expected import expected_cross_entropy, expected_kl
from pbde_ref.exact.identifiability import asymptotic_covariance, expected_excess_loss, score_covariance
from pbde_ref.exact.minimizers import minimize_expected_loss
from pbde_ref.exact.optima import normalized_log_policy
from pbde_ref.experiments.intervals import mean_interval
from pbde_ref.experiments.records import Record
from pbde_ref.experiments.runs import Progress, Run
from pbde_ref.experiments.toy.settings import ToySettings
from pbde_ref.paper_problem import PaperProblem
from pbde_ref.pbde import PBDE
from pbde_ref.proposals import ProductProposal
from pbde_ref.sampling.counts import sample_counts
from pbde_ref.validation import FloatArray

__all__ = ["measure", "numbers_of_comparisons", "process", "runs"]

FEWEST = 20
"""Finite estimates below which no average is reported."""


def runs(settings: ToySettings) -> list[Run]:
    """One annotator, for whom the model is right, and the two of Eq. (25), for whom it is not."""
    steps = len(numbers_of_comparisons(settings)) * settings.replicates
    return [Run("data-one-annotator", measure_one, (), steps), Run("data-two-annotators", measure_two, (), steps)]


def process(settings: ToySettings) -> PBDE:
    """Of annotators and model, Eq. (11) with f = 1 / temperature."""
    return PBDE(1.0 / settings.temperature)


def numbers_of_comparisons(settings: ToySettings) -> list[int]:
    """Powers of two times the least number, up to the largest."""
    result = [settings.least_comparisons]
    while 2 * result[-1] <= settings.most_comparisons:
        result.append(2 * result[-1])
    return result


def measure_one(settings: ToySettings, needed: Mapping[str, Record], progress: Progress) -> Record:
    """The annotator of Eq. (10), by the model's own process."""
    problem = settings.problem(settings.outcomes)
    annotator = Annotator(problem.implicit_preference_distribution, process(settings))
    return measure(settings, problem, annotator, "one annotator", progress)


def measure_two(settings: ToySettings, needed: Mapping[str, Record], progress: Progress) -> Record:
    """The annotators of Eq. (25), each by the model's process."""
    problem = settings.problem(settings.outcomes)
    annotators = [Annotator(p, process(settings)) for p in problem.annotator_distributions]
    return measure(
        settings, problem, AnnotatorMixture(problem.annotator_weights, annotators), "two annotators", progress
    )


def measure(
    settings: ToySettings, problem: PaperProblem, annotator: PreferenceModel, name: str, progress: Progress
) -> Record:
    """Fit many samples of each size; compare with the exact optimum and the asymptotic theory.

    Returns
    -------
    Record
        For each number N in ``comparisons`` with at least 20 finite estimates: ``excess`` (the estimates' expected loss
        above the least possible, in nats) and ``error`` (total variation between the estimated policy and the optimal
        one), each with mean, the ends of its 95 % interval by Student's quantile, and theory. For every N in
        ``all_comparisons``: ``finite``, the share of samples that have a finite estimate. Means are over those.
    """
    proposal, model = ProductProposal(problem.reference), process(settings)
    optimum = minimize_expected_loss("bradley_terry", annotator, proposal)
    best = FiniteDistribution(normalized_log_policy(optimum.value, model), problem.grid)
    least = expected_kl(annotator, optimum.value, proposal).value
    sizes, share, rows, done = numbers_of_comparisons(settings), [], [], 0
    for size in sizes:
        found = []
        for child in settings.rng(f"{name}, {size} comparisons").spawn(settings.replicates):
            fit = _fit(sample_counts(annotator, proposal, size, rng=child))
            if fit is not None:
                policy = FiniteDistribution(normalized_log_policy(fit.utilities, model), problem.grid)
                excess = expected_kl(annotator, fit.utilities, proposal).value - least
                found.append((excess, total_variation(policy, best)))
            done += 1
            if done % 64 == 0:
                progress(done, found[-1][0] if found else float("nan"))
        share.append(len(found) / settings.replicates)
        if len(found) >= FEWEST:
            excesses, distances = (mean_interval(np.array(values)) for values in zip(*found, strict=True))
            rows.append((size, *excesses, *distances))
    table = np.array(rows).reshape(-1, 7)
    reported = table[:, 0]
    arrays = {
        "all_comparisons": np.array(sizes, dtype=np.float64),
        "finite": np.array(share),
        "comparisons": reported,
        "excess.theory": np.array([expected_excess_loss(annotator, optimum.value, proposal, int(n)) for n in reported]),
        "error.theory": _error_of_one_comparison(annotator, optimum.value, best, proposal, model) / np.sqrt(reported),
    }
    for i, quantity in ((1, "excess"), (4, "error")):
        arrays |= {f"{quantity}.{part}": table[:, i + k] for k, part in enumerate(("mean", "low", "high"))}
    arrays |= {"grid": problem.grid, "policy.optimum": best.pmf}
    arrays |= {"policy.preference": problem.implicit_preference_distribution.pmf}
    per_comparison = expected_excess_loss(annotator, optimum.value, proposal, 1)
    numbers = {
        "loss.least.population": expected_cross_entropy(annotator, optimum.value, proposal).value,
        "outcomes": float(settings.outcomes),
        "excess.times_comparisons": per_comparison,
    }
    return Record(name, {}, numbers, arrays)


def _fit(counts: np.ndarray) -> ComparisonFit | None:
    try:
        return fit_comparisons(counts=counts)
    except NoFiniteEstimateError:
        return None


def _error_of_one_comparison(
    annotator: PreferenceModel,
    utilities: FloatArray,
    best: FiniteDistribution,
    proposal: ProductProposal,
    model: PBDE,
) -> float:
    r"""Asymptotic mean total variation times :math:`\sqrt N`, by the delta method.

    :math:`\delta \log \pi = (\delta\omega - \mathbb{E}_\pi[\delta\omega]) / f` with :math:`\delta\omega` normal, of
    covariance :math:`H^+ V H^+ / N`; a normal variable's mean absolute value is :math:`\sqrt{2 / \pi}` times its
    standard deviation.
    """
    inverse = asymptotic_covariance(utilities, proposal, 1)
    covariance = inverse @ score_covariance(annotator, utilities, proposal) @ inverse
    jacobian = best.pmf[:, None] * (np.eye(len(best)) - best.pmf[None, :]) / model.f
    deviations = np.sqrt(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian))
    return 0.5 * float(np.sqrt(2.0 / np.pi) * deviations.sum())
