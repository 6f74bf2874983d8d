"""Claims of section 5.2: length bias, and sentences that classes may stand for."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture
from pbde_ref.distributions import FiniteDistribution, total_variation
from pbde_ref.exact.lengths.length_bias import IdealizedLanguageModel, group_preference
from pbde_ref.exact.lengths.sentence_classes import (
    ProjectedPolicy,
    length_distribution,
    merged_process,
    projected_policy,
)
from pbde_ref.exact.optima import optimal_policy
from pbde_ref.pbde import PBDE, length_normalized, luce
from pbde_ref.proposals import ProductProposal
from pbde_ref.validation import FloatArray, IndexArray
from pbde_ref.verification import second_paths
from pbde_ref.verification.claims import MARGIN, ROUNDING, SOLVER, Claim, known, leave_if
from pbde_ref.verification.exact_fits import Projection
from pbde_ref.verification.fits import exact_projection
from pbde_ref.verification.problems import LARGEST, Problem

__all__ = ["LENGTHS"]

# Up to 364 sentences: all their pairs are quick.
MOST_LENGTHS = 6
# Split in up to three, dense minimisers are quick.
MOST_OUTCOMES = LARGEST


def _length_bias(problem: Problem, sentences_count: bool) -> float:
    """Preferences between the shorter and the longer half, as sums over lengths and over pairs of listed sentences."""
    n_tokens = 2 + problem.seed % 2
    preference, reference = _of_lengths(problem)
    lengths = preference.support
    model = IdealizedLanguageModel(preference, n_tokens if sentences_count else 1.0)
    short = lengths <= len(lengths) / 2
    processes = (luce(), length_normalized(lengths), length_normalized(lengths, scale=50.0))
    summed = [group_preference(model.annotator(process), reference, short, ~short) for process in processes]
    listed = _listed_preferences(preference.log_pmf, reference.log_pmf, n_tokens)
    return max(abs(one - other) for one, other in zip(summed, listed, strict=True))


def _of_lengths(problem: Problem) -> tuple[FiniteDistribution, FiniteDistribution]:
    """The problem's two distributions on the first few outcomes, which are lengths here."""
    leave_if(not problem.positive or problem.size < 2)
    lengths = np.arange(1.0, min(problem.size, MOST_LENGTHS) + 1.0)
    first, second = (p.log_pmf[: lengths.size] for p in (problem.preference, problem.reference))
    return FiniteDistribution(first, lengths), FiniteDistribution(second, lengths)


def _listed_preferences(log_pmf: FloatArray, log_drawn: FloatArray, n_tokens: int) -> list[float]:
    """The same under three processes, for each pair of sentences; with one token, of lengths."""
    lengths, log_p = second_paths.listed_sentences(log_pmf, n_tokens)
    _, log_q = second_paths.listed_sentences(log_drawn, n_tokens)
    middle = len(log_pmf) / 2
    q = np.exp(np.add.outer(log_q, log_q)) * np.outer(lengths <= middle, lengths > middle)
    factors = (np.ones_like(lengths), 1.0 / lengths, 50.0 / lengths)
    return [float(np.sum(q[q > 0.0] * second_paths.preferences(f * log_p, q)) / q.sum()) for f in factors]


def _lengths_compared(problem: Problem) -> float:
    preference, reference = (p.log_pmf for p in _of_lengths(problem))
    right, wrong = (_listed_preferences(preference, reference, n) for n in (2 + problem.seed % 2, 1))
    leave_if(max(abs(one - other) for one, other in zip(right, wrong, strict=True)) < MARGIN)
    return _length_bias(problem, sentences_count=False)


def _copies(problem: Problem) -> tuple[FloatArray, IndexArray, FloatArray]:
    """How many equal outcomes each outcome is split into, which one is whose copy, how often each copy is drawn."""
    rng = np.random.default_rng(problem.seed)
    counts = rng.permutation(1 + np.arange(problem.size) % 3)
    original = np.repeat(np.arange(problem.size), counts)
    return counts.astype(float), original, problem.reference.pmf[original] * rng.exponential(size=original.size)


def _merged(problem: Problem, counted: bool) -> float:
    """Optima on outcomes split into equal ones, against those on the outcomes themselves under the merged process."""
    exact = known(_exact_on_classes(problem))
    counts, original, _ = _copies(problem)
    f, g = (np.broadcast_to(value, problem.size) for value in (problem.other_process.f, problem.other_process.g))
    log_counts = np.log(counts)
    full = _on_copies(problem)
    if not full.solution.converged:
        raise ArithmeticError(f"the fit is not certified, its gap is {full.solution.certificate.gap:.1e} nats")
    merged = merged_process(problem.other_process, log_counts).utility(problem.preference.log_pmf)
    transcribed = f * (problem.preference.log_pmf - log_counts) + g
    pooled = second_paths.normalized(exact.utilities - (g - f * log_counts if counted else g), f)
    split = _split(problem)
    single = FiniteDistribution((problem.preference.log_pmf - log_counts)[original])
    alone = optimal_policy(Annotator(single, split), split)
    labels = original + 1.0
    return max(
        float(np.max(np.abs(merged - transcribed) / (1.0 + np.abs(transcribed)))),
        total_variation(length_distribution(full.policy, labels), _on_labels(pooled)),
        # Theorem 2 on the classes: a single annotator's density comes back, Eq. (28).
        total_variation(length_distribution(alone, labels), _on_labels(problem.preference.log_pmf)),
    )


def _split(problem: Problem) -> PBDE:
    """The process on copies."""
    original = _copies(problem)[1]
    f, g = (np.broadcast_to(value, problem.size) for value in (problem.other_process.f, problem.other_process.g))
    return PBDE(f[original], g[original])


@lru_cache(maxsize=128)
def _on_copies(problem: Problem) -> ProjectedPolicy:
    """What training on all copies would reach."""
    counts, original, drawn = _copies(problem)
    split = _split(problem)
    mixed = [
        Annotator(FiniteDistribution((annotator.distribution.log_pmf - np.log(counts))[original]), split)
        for annotator in problem.members
    ]
    return projected_policy(AnnotatorMixture(problem.mixture.weights, mixed), split, ProductProposal(drawn))


@lru_cache(maxsize=128)
def _exact_on_classes(problem: Problem) -> Projection | None:
    """The second path: preferences and minimum on the classes."""
    leave_if(problem.size > MOST_OUTCOMES or not problem.positive)
    counts, original, drawn = _copies(problem)
    weight = np.bincount(original, drawn / drawn.sum())
    f, g = problem.other_process.f, problem.other_process.g
    utilities = [f * (a.distribution.log_pmf - np.log(counts)) + g for a in problem.members]
    return exact_projection(utilities, problem.mixture.weights, np.multiply.outer(weight, weight))


def _classes_rounding(problem: Problem) -> float:
    """A policy's log-probabilities are utilities over f; total variation moves by no more than the largest of them."""
    return known(_exact_on_classes(problem)).uncertainty / float(np.min(problem.other_process.f))


def _classes_counted_as_one(problem: Problem) -> float | None:
    exact = known(_exact_on_classes(problem))
    f, g = (np.broadcast_to(value, problem.size) for value in (problem.other_process.f, problem.other_process.g))
    log_counts = np.log(_copies(problem)[0])
    right, wrong = (np.exp(second_paths.normalized(exact.utilities - h, f)) for h in (g - f * log_counts, g))
    margin = max(MARGIN, 10.0 * _classes_rounding(problem))
    return _merged(problem, counted=False) if second_paths.variation(right, wrong) >= margin else None


def _on_labels(log_pmf: FloatArray) -> FiniteDistribution:
    return FiniteDistribution(log_pmf, np.arange(1.0, log_pmf.size + 1.0))


LENGTHS = (
    Claim(
        "length_bias", "Table 2", "Preferences between groups of sentences are sums over their lengths.",
        "all sentences listed", lambda problem: _length_bias(problem, sentences_count=True), ROUNDING,
        "lengths compared instead", _lengths_compared,
    ),
    Claim(
        "merged_outcomes", "Fig. 6", "Equal outcomes may be merged: the optimum on classes is that on outcomes.",
        "60-digit decimals", lambda problem: _merged(problem, counted=True), SOLVER,
        "classes counted as one", _classes_counted_as_one, _classes_rounding,
    ),
)  # fmt: skip
