"""Eq. (30) at given parameters: its loss, and how every answer is divided among the annotators who may have given it.

The division, by responsibilities, is the E-step of expectation–maximisation; its sums are the gradient of the loss.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pbde_ref.annotators import PreferenceModel
from pbde_ref.numerics import bernoulli_kl, softplus
from pbde_ref.pairs import PairBlock
from pbde_ref.proposals import Proposal
from pbde_ref.validation import FloatArray

__all__ = [
    "AnsweredPairs", "Expectation", "MixtureModel", "answered_pairs", "divide_answers", "evaluate", "log_sigmoids_of",
]


class AnsweredPairs(NamedTuple):
    """A list of m pairs, Prob(A ≻ B) and Prob(B ≻ A), shape (2, m), and these times the pairs' weights."""

    block: PairBlock
    probabilities: FloatArray
    answers: FloatArray


class MixtureModel(NamedTuple):
    """Weights (k,), utilities (k, n), and for each block log σ(±d), shape (2, k, m), and log M, shape (2, m)."""

    weights: FloatArray
    utilities: FloatArray
    log_sigmoids: list[FloatArray]
    log_mixtures: list[FloatArray]
    loss: float


class Expectation(NamedTuple):
    """Each annotator's answers for each block, shape (2, k, m), their shares (k,), and the gradients (k, n)."""

    answers: list[FloatArray]
    shares: FloatArray
    gradient: FloatArray


def answered_pairs(annotator: PreferenceModel, proposal: Proposal) -> list[AnsweredPairs]:
    """The pairs that the proposal draws, block by block, with the annotators' answers."""
    result = []
    for block in proposal.blocks(annotator.size):
        # The blocks of dense proposals are rectangles in which up to half of the pairs have no weight.
        drawn = block.weight > 0.0
        a, b = (np.broadcast_to(index, drawn.shape)[drawn] for index in (block.a, block.b))
        block = PairBlock(a, b, block.weight[drawn])
        probabilities = np.stack(annotator.probabilities(block))
        result.append(AnsweredPairs(block, probabilities, block.weight * probabilities))
    return result


def log_sigmoids_of(block: PairBlock, utilities: FloatArray) -> FloatArray:
    r""":math:`\log \sigma(d)` and :math:`\log \sigma(-d)`, shape (2, m), of one annotator."""
    margin = block.difference(utilities, "utilities")
    rest = softplus(-np.abs(margin))
    return np.stack([np.minimum(margin, 0.0) - rest, np.minimum(-margin, 0.0) - rest])


def evaluate(
    pairs: list[AnsweredPairs], weights: FloatArray, utilities: FloatArray, log_sigmoids: list[FloatArray] | None = None
) -> MixtureModel:
    """The model at these parameters; `log_sigmoids` may be handed in where they are known."""
    if log_sigmoids is None:
        log_sigmoids = [np.stack([log_sigmoids_of(block, row) for row in utilities], axis=1) for block, *_ in pairs]
    log_mixtures, losses = [], []
    for (block, probabilities, _), terms in zip(pairs, log_sigmoids, strict=True):
        mixed = np.logaddexp.reduce(terms + np.log(weights)[:, None], axis=1)
        forward, backward = probabilities
        # From the smaller of each pair of probabilities, which carries the digits.
        excess = np.where(forward <= backward, np.exp(mixed[0]) - forward, backward - np.exp(mixed[1]))
        losses.append((block.weight * bernoulli_kl(forward, backward, mixed[0] - mixed[1], excess)).sum())
        log_mixtures.append(mixed)
    return MixtureModel(weights, utilities, log_sigmoids, log_mixtures, math.fsum(losses))


def divide_answers(pairs: list[AnsweredPairs], model: MixtureModel) -> Expectation:
    """The E-step: every answer divided among the annotators by their responsibilities."""
    k, size = model.utilities.shape
    answers, shares, gradient = [], np.zeros(k), np.zeros((k, size))
    log_weights = np.log(model.weights)
    for (block, _, given), terms, mixed in zip(pairs, model.log_sigmoids, model.log_mixtures, strict=True):
        own = np.empty_like(terms)
        for i in range(k):
            own[:, i] = given * np.exp(terms[:, i] + log_weights[i] - mixed)
            shares[i] += own[:, i].sum()
            surprise = np.exp(terms[::-1, i])  # the probability of the other answer
            gradient[i] += block.scatter(own[1, i] * surprise[1] - own[0, i] * surprise[0], size)
        answers.append(own)
    return Expectation(answers, shares, gradient)
