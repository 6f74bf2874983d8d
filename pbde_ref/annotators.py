r"""Annotators: who prefers what, with which probability.

Three kinds share one interface, so that every exact computation takes any of them: a single preference process
(`Annotator`), a mixture of annotators whose identities are not recorded (`AnnotatorMixture`), and preference
probabilities that come from anywhere (`PreferenceMatrix`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from pbde_ref.conditional import ConditionalDistribution, Prompts
from pbde_ref.display import Shown
from pbde_ref.distributions import EITHER_DISTRIBUTION, FiniteDistribution, labels, same_support
from pbde_ref.double_double import sigmoid_excess
from pbde_ref.numerics import sigmoid_difference, sigmoids, two_difference
from pbde_ref.pairs import PairBlock, all_pairs
from pbde_ref.pbde import PBDE
from pbde_ref.validation import FloatArray, IndexArray, instance, matrix, probability_weights, reject, vector

__all__ = ["Annotator", "AnnotatorMixture", "PreferenceMatrix", "PreferenceModel", "check_prompts", "prompts_of"]


@runtime_checkable
class PreferenceModel(Protocol):
    """What every annotator can do."""

    @property
    def size(self) -> int:
        """Number of outcomes."""

    @property
    def support(self) -> Any:
        """The outcomes' labels, shape (n,)."""

    def preference_probabilities(self) -> FloatArray:
        """Matrix of Prob(A ≻ B), shape (n, n)."""

    def probabilities(self, block: PairBlock) -> tuple[FloatArray, FloatArray]:
        """Prob(A ≻ B) and Prob(B ≻ A) of a block's pairs, each accurate in relative terms."""

    def excess(self, block: PairBlock, utilities: FloatArray) -> FloatArray:
        """By how much a logistic model with these utilities overestimates Prob(A ≻ B)."""


@dataclass(frozen=True, eq=False, init=False)
class Annotator(Shown):
    r"""One preference process, Eq. (11).

    .. math:: \text{Prob}(x_A \succ x_B) = \sigma(\chi(x_A) - \chi(x_B)), \qquad \chi = f \log p^* + g

    Parameters
    ----------
    distribution : FiniteDistribution or ConditionalDistribution
        The implicit preference distribution :math:`p^*`, or that of each prompt.
    pbde : PBDE
        The process; ``luce()`` gives Eq. (9).

    Attributes
    ----------
    utility : ndarray, shape (n,)
        :math:`\chi`; :math:`-\infty` where :math:`p^*` is zero. Read-only.

    Raises
    ------
    ValueError
        If the utility would be NaN or +inf somewhere, or −inf everywhere.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> p = pb.FiniteDistribution.from_weights([3, 1])
    >>> pb.Annotator(p, pb.luce()).preference_probabilities()
    array([[0.5 , 0.75],
           [0.25, 0.5 ]])
    """

    distribution: Any
    pbde: PBDE
    utility: FloatArray

    def __init__(self, distribution: FiniteDistribution | ConditionalDistribution, pbde: PBDE) -> None:
        kinds = "a FiniteDistribution or ConditionalDistribution"
        instance("distribution", distribution, EITHER_DISTRIBUTION, kinds)
        instance("pbde", pbde, PBDE, "a PBDE, such as luce() or dpo(beta, reference)")
        same_support("pbde", pbde.support, "distribution", distribution.support)
        utility = pbde.utility(distribution.log_pmf)
        reject("the annotator's utility f·log p + g", "below +inf", utility, np.isposinf(utility))
        if np.isneginf(utility).all():
            raise ValueError("`pbde` must leave the annotator a finite utility; got -inf everywhere")
        utility.flags.writeable = False
        for name, value in (("distribution", distribution), ("pbde", pbde), ("utility", utility)):
            object.__setattr__(self, name, value)

    @property
    def size(self) -> int:
        """Number of outcomes."""
        return self.utility.size

    @property
    def support(self) -> Any:
        """The outcomes' labels."""
        return self.distribution.support

    def preference_probabilities(self) -> FloatArray:
        r"""Matrix of :math:`\text{Prob}(x_A \succ x_B)`, shape (n, n), entry [A, B]; the diagonal is ½.

        Raises
        ------
        ValueError
            If two outcomes have probability zero: their comparison is undefined.
        """
        return self.probabilities(all_pairs(self.size))[0]

    def probabilities(self, block: PairBlock) -> tuple[FloatArray, FloatArray]:
        """Prob(A ≻ B) and Prob(B ≻ A) of a block's pairs, each accurate in relative terms."""
        margin = block.difference(self.utility, "the annotator's utility")
        return sigmoids(margin)

    def excess(self, block: PairBlock, utilities: FloatArray) -> FloatArray:
        r""":math:`\sigma(\omega_A - \omega_B) - \text{Prob}(x_A \succ x_B)`, accurate in relative terms."""
        # χ_A − χ_B and ω_A − ω_B are each rounded at the scale of the utilities. Their difference must not be: it is
        # formed from ω − χ, with the rounding error carried along.
        high, low = two_difference(utilities, self.utility)
        high = np.where(np.isnan(high), 0.0, high)
        return sigmoid_difference(
            block.difference(self.utility, "the annotator's utility"),
            block.difference(utilities, "utilities"),
            block.exact_difference(high, low),
        )


@dataclass(frozen=True, eq=False, init=False)
class AnnotatorMixture(Shown):
    r"""A population of annotators, one of which answers each comparison unrecorded; Eq. (25) and (27).

    .. math:: \text{Prob}(x_A \succ x_B) = \sum_i w_i\, \text{Prob}_i(x_A \succ x_B)

    Not the annotator whose implicit preference distribution is the density mixture :math:`\sum_i w_i p_i^*`: in general
    no utility produces these probabilities. Proof: ``proofs/annotator_mixture.md``.

    Parameters
    ----------
    weights : array_like, shape (k,)
        Non-negative; normalised here.
    annotators : sequence of k annotators
        Of any kind, over the same outcomes.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> cold, hot = (pb.Annotator(pb.FiniteDistribution.from_weights(w), pb.luce()) for w in ([4, 1], [1, 4]))
    >>> pb.AnnotatorMixture([0.25, 0.75], [cold, hot]).preference_probabilities()
    array([[0.5 , 0.35],
           [0.65, 0.5 ]])
    """

    weights: FloatArray
    annotators: tuple[PreferenceModel, ...]

    def __init__(self, weights: ArrayLike, annotators: Sequence[PreferenceModel]) -> None:
        weights = probability_weights("weights", vector("weights", weights))
        instance("annotators", annotators, Sequence, "a sequence of annotators")
        annotators = tuple(annotators)
        if len(annotators) != weights.size:
            raise ValueError(f"`annotators` must have one entry for each weight, {weights.size}; got {len(annotators)}")
        for i, annotator in enumerate(annotators):
            instance(f"annotators[{i}]", annotator, PreferenceModel, "an annotator")
            same_support(f"annotators[{i}]", annotator.support, "annotators[0]", annotators[0].support)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "annotators", annotators)

    @property
    def size(self) -> int:
        """Number of outcomes."""
        return self.annotators[0].size

    @property
    def support(self) -> Any:
        """The outcomes' labels."""
        return self.annotators[0].support

    def preference_probabilities(self) -> FloatArray:
        r"""Matrix of :math:`\text{Prob}(x_A \succ x_B)`, shape (n, n), entry [A, B]; the diagonal is ½."""
        matrix = self.probabilities(all_pairs(self.size))[0]
        np.fill_diagonal(matrix, 0.5)  # what the weights add up to is rounded
        return matrix

    def probabilities(self, block: PairBlock) -> tuple[FloatArray, FloatArray]:
        """Prob(A ≻ B) and Prob(B ≻ A) of a block's pairs, each accurate in relative terms."""
        pairs = [(w, *annotator.probabilities(block)) for w, annotator in self.answering()]
        forward, backward = sum(w * won for w, won, _ in pairs), sum(w * lost for w, _, lost in pairs)
        return np.asarray(forward), np.asarray(backward)

    def excess(self, block: PairBlock, utilities: FloatArray) -> FloatArray:
        r""":math:`\sigma(\omega_A - \omega_B) - \text{Prob}(x_A \succ x_B)`.

        The sum of the annotators' own excesses; accurate relative to the largest of them.
        """
        return np.asarray(sum(w * annotator.excess(block, utilities) for w, annotator in self.answering()))

    def answering(self) -> list[tuple[float, PreferenceModel]]:
        """Weights and annotators without those who never answer, whose preferences need not be defined."""
        return [(w, annotator) for w, annotator in zip(self.weights, self.annotators, strict=True) if w > 0.0]


@dataclass(frozen=True, eq=False, init=False)
class PreferenceMatrix(Shown):
    r"""Preference probabilities from anywhere: measured, estimated, or cyclic ones that no utility explains.

    Parameters
    ----------
    probabilities : array_like, shape (n, n)
        Entry [A, B] is :math:`\text{Prob}(x_A \succ x_B)`. Entries lie in [0, 1], the matrix and its transpose sum to 1
        within 1e-9, the diagonal is ½. The smaller entry of a pair is taken as exact, the larger as its complement.
    support : sequence of n distinct hashable labels, optional
        Default: ``range(n)``.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.PreferenceMatrix([[0.5, 0.9], [0.2, 0.5]])
    Traceback (most recent call last):
        ...
    ValueError: `probabilities` must be complementary, P + Pᵀ = 1; got 0.9 + 0.2 at index (0, 1)
    """

    matrix: FloatArray
    support: NDArray[Any]

    def __init__(
        self, probabilities: ArrayLike, support: Sequence[Hashable] | NDArray[Any] | None = None
    ) -> None:
        given = matrix("probabilities", probabilities)
        reject("probabilities", "in [0, 1]", given, (given < 0.0) | (given > 1.0))
        # Probabilities often arrive with six to ten printed digits.
        broken = np.abs(given + given.T - 1.0) > 1e-9
        if broken.any():
            a, b = (int(i) for i in np.unravel_index(int(np.argmax(broken)), broken.shape))
            raise ValueError(
                f"`probabilities` must be complementary, P + Pᵀ = 1; got {given[a, b]} + {given[b, a]} at index {a, b}"
            )
        exact = np.where(given > given.T, 1.0 - given.T, given)
        np.fill_diagonal(exact, 0.5)
        exact.flags.writeable = False
        object.__setattr__(self, "matrix", exact)
        object.__setattr__(self, "support", labels(support, len(exact)))

    @property
    def size(self) -> int:
        """Number of outcomes."""
        return len(self.matrix)

    def preference_probabilities(self) -> FloatArray:
        r"""Matrix of :math:`\text{Prob}(x_A \succ x_B)`, shape (n, n), entry [A, B]; the diagonal is ½."""
        return self.matrix

    def probabilities(self, block: PairBlock) -> tuple[FloatArray, FloatArray]:
        """Prob(A ≻ B) and Prob(B ≻ A) of a block's pairs."""
        return self.matrix[block.a, block.b], self.matrix[block.b, block.a]

    def excess(self, block: PairBlock, utilities: FloatArray) -> FloatArray:
        r""":math:`\sigma(\omega_A - \omega_B) - \text{Prob}(x_A \succ x_B)`, accurate in relative terms."""
        forward, backward = self.probabilities(block)
        # Seen from the less likely winner: sign times (σ(z) − smaller), where the smaller probability is exact.
        sign = np.where(forward <= backward, 1.0, -1.0)
        smaller = np.minimum(forward, backward)
        logit = sign * block.difference(utilities, "utilities")
        model = expit(logit)
        result = np.asarray(model - smaller)
        # Where the two nearly agree, the model's own rounding, relatively (1 + |logit|) · 1e-16, would be what is left.
        size = np.minimum(np.abs(logit), 700.0)
        close = (np.abs(result) < 4e-3 * (1.0 + size) * model) & (size < 700.0)
        if close.any():
            error = two_difference(utilities[block.a], utilities[block.b])[1]
            result[close] = sigmoid_excess(logit[close], (sign * error)[close], smaller[close])
        return sign * result


def prompts_of(annotator: PreferenceModel) -> Prompts | None:
    """What an annotator's outcomes are answers to; None where they are not grouped."""
    return annotator.support if isinstance(annotator.support, Prompts) else None


def check_prompts(name: str, annotator: PreferenceModel, x_a: IndexArray, x_b: IndexArray) -> None:
    """Raise ``ValueError`` if a pair has answers to two prompts, of which there is no preference."""
    if (prompts := prompts_of(annotator)) is not None:
        prompts.check(name, x_a, x_b)
