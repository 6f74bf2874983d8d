"""Claims of section 5.2: length bias, and sentences that classes may stand for."""

from __future__ import annotations

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture
from pbde_ref.distributions import FiniteDistribution, total_variation
from pbde_ref.exact.optima import optimal_policy
from pbde_ref.language.length_bias import IdealizedLanguageModel, group_preference
from pbde_ref.language.sentence_classes import length_distribution, merged_process, projected_policy
from pbde_ref.pbde import PBDE, length_normalized, luce
from pbde_ref.proposals import ProductProposal
from pbde_ref.validation import FloatArray, IndexArray
from pbde_ref.verification import transcriptions
from pbde_ref.verification.claims import ROUNDING, SOLVER, Claim
from pbde_ref.verification.problems import Problem

__all__ = ["LENGTHS"]

# Up to 364 sentences: all their pairs are quick.
MOST_LENGTHS = 6
# Split in up to three, dense minimisers are quick. On a fine grid of Eq. (10) mixed utilities spread over 100 nats, and
# working precision certifies no minimum there.
MOST_OUTCOMES = 16


def _length_bias(problem: Problem, sentences_count: bool) -> float | None:
    """Preferences between the shorter and the longer half, as sums over lengths and over pairs of listed sentences."""
    if not problem.positive:
        return None
    n = min(problem.size, MOST_LENGTHS)
    n_tokens = 2 + problem.seed % 2
    lengths = np.arange(1.0, n + 1.0)
    preference, reference = (
        FiniteDistribution(p.log_pmf[:n], lengths) for p in (problem.preference, problem.reference)
    )
    listed_lengths, log_p = transcriptions.listed_sentences(preference.log_pmf, n_tokens)
    _, log_drawn = transcriptions.listed_sentences(reference.log_pmf, n_tokens)
    model = IdealizedLanguageModel(preference, n_tokens if sentences_count else 1.0)
    middle = n / 2
    q = np.exp(np.add.outer(log_drawn, log_drawn)) * np.outer(listed_lengths <= middle, listed_lengths > middle)
    errors = []
    for process, factor in (
        (luce(), np.ones_like(log_p)),
        (length_normalized(lengths), 1.0 / listed_lengths),
        (length_normalized(lengths, scale=50.0), 50.0 / listed_lengths),
    ):
        listed = np.sum(q[q > 0.0] * transcriptions.preferences(factor * log_p, q)) / q.sum()
        summed = group_preference(model.annotator(process), reference, lengths <= middle, lengths > middle)
        errors.append(abs(summed - float(listed)))
    return max(errors)


def _copies(problem: Problem) -> tuple[FloatArray, IndexArray, FloatArray]:
    """How many equal outcomes each outcome is split into, which one is whose copy, how often each copy is drawn."""
    rng = np.random.default_rng(problem.seed)
    counts = rng.permutation(1 + np.arange(problem.size) % 3)
    original = np.repeat(np.arange(problem.size), counts)
    return counts.astype(float), original, problem.reference.pmf[original] * rng.exponential(size=original.size)


def _merged(problem: Problem, counted: bool) -> float | None:
    """Optima on outcomes split into equal ones, against those on the outcomes themselves under the merged process."""
    if not problem.moderate or problem.size > MOST_OUTCOMES:
        return None
    counts, original, drawn = _copies(problem)
    process = problem.other_process
    f, g = (np.broadcast_to(value, problem.size) for value in (process.f, process.g))
    split = PBDE(f[original], g[original])
    log_counts = np.log(counts)
    members = [annotator for annotator in problem.mixture.annotators if isinstance(annotator, Annotator)]
    full_members, class_members = [], []
    for p in (problem.preference, *(annotator.distribution for annotator in members)):
        full_members.append(Annotator(FiniteDistribution((p.log_pmf - log_counts)[original]), split))
        class_members.append(Annotator(p, merged_process(process, log_counts)))
    full = projected_policy(
        AnnotatorMixture(problem.mixture.weights, full_members[1:]), split, ProductProposal(drawn)
    )
    if not full.solution.converged:
        return None
    alone = optimal_policy(full_members[0], split)
    # The second path: preferences, minimum and normalisation on the classes, none of them the package's.
    weight = np.bincount(original, drawn / drawn.sum())
    q = np.multiply.outer(weight, weight)
    parts = [transcriptions.preferences(annotator.utility, q) for annotator in class_members[1:]]
    utilities = transcriptions.newton_minimum(
        np.asarray(sum(w * p for w, p in zip(problem.mixture.weights, parts, strict=True))), q
    )
    pooled = transcriptions.normalized(utilities - (g - f * log_counts if counted else g), f)
    labels = original + 1.0
    return max(
        total_variation(length_distribution(full.policy, labels), _on_labels(pooled)),
        # Theorem 2 on the classes: a single annotator's density comes back, Eq. (28).
        total_variation(length_distribution(alone, labels), _on_labels(problem.preference.log_pmf)),
    )


def _on_labels(log_pmf: FloatArray) -> FiniteDistribution:
    return FiniteDistribution(log_pmf, np.arange(1.0, log_pmf.size + 1.0))


LENGTHS = (
    Claim(
        "length_bias", "Table 2", "Preferences between groups of sentences are sums over their lengths.",
        "all sentences listed", lambda problem: _length_bias(problem, sentences_count=True), ROUNDING,
        "lengths compared instead",
        lambda problem: _length_bias(problem, sentences_count=False) if problem.moderate else None,
    ),
    Claim(
        "merged_outcomes", "Fig. 6", "Equal outcomes may be merged: the optimum on classes is that on outcomes.",
        "Newton, bracketing", lambda problem: _merged(problem, counted=True), SOLVER,
        "classes counted as one", lambda problem: _merged(problem, counted=False),
    ),
)  # fmt: skip
