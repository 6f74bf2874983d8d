r"""Length bias, exactly: an idealised language model under which all of Table 2 is a finite sum over lengths.

A sentence of length l, its end piece counted, has probability :math:`h(l)\,v^{-(l-1)}`: h is the distribution of
lengths, v the perplexity, and the :math:`v^{l-1}` sentences of one length are equally likely. Sentences whose utilities
are equal form a class, and sums over sentences become sums over classes, for vocabularies and lengths of any size.

Why the Luce rule prefers short sentences, when normalising by length repairs it and which scale Table 2 needs:
``proofs/length_bias.md``. Where adapting to such annotators ends: `sentence_classes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution, same_support
from pbde_ref.exact.lengths.sentence_classes import checked_lengths, merged_process
from pbde_ref.pairs import PairBlock
from pbde_ref.pbde import PBDE
from pbde_ref.validation import (
    FloatArray,
    array,
    choice,
    instance,
    number,
    positive_number,
    probability_weights,
    reject,
    vector,
)  # fmt: skip

__all__ = [
    "GROUP_PAIRS", "LENGTH_BINS", "IdealizedLanguageModel", "bin_members", "group_preference", "least_scale",
    "length_bias_table",
]  # fmt: skip

LENGTH_BINS: Mapping[str, tuple[float, float]] = MappingProxyType({"S": (1, 20), "M": (21, 29), "L": (30, math.inf)})
"""Table 2's bins: first and last length, in pieces with the end piece."""

GROUP_PAIRS = (("S", "M"), ("S", "L"), ("M", "L"))
"""Table 2's columns: the bin preferred, and the bin it is preferred to."""


@dataclass(frozen=True, eq=False, init=False)
class IdealizedLanguageModel(Shown):
    r"""A language model in which the sentences of a class are equally likely.

    .. math:: p(x) = h_k\, v_k^{-(l_k - 1)} \quad \text{for each of the } v_k^{l_k - 1} \text{ sentences } x
              \text{ of class } k

    Parameters
    ----------
    class_pmf : FiniteDistribution
        h, the probability that a sentence is in a class. In the plain case there is one class for each length.
    perplexity : float or array_like, shape (n,)
        v, at least 1 and finite; one for all classes, or each class's own.
    lengths : array_like, shape (n,), optional
        Each class's length in pieces, end piece included: whole numbers of at least 1, repeated where several classes
        have sentences of the same length. Default: the labels of `class_pmf`.

    Attributes
    ----------
    class_pmf : FiniteDistribution
    perplexity, lengths : ndarray, shape (n,)
        Read-only.

    Raises
    ------
    TypeError, ValueError
        If a perplexity is below 1 or infinite, a length is no positive whole number, or their number is not that of
        the classes.

    Notes
    -----
    Annotators are compared on the same sentences, so the models of one comparison share lengths and perplexities and
    differ in `class_pmf`.

    Examples
    --------
    Three sentences of two pieces and nine of three, likely together:

    >>> import pbde_ref as pb
    >>> from pbde_ref.exact.lengths.length_bias import IdealizedLanguageModel
    >>> model = IdealizedLanguageModel(pb.FiniteDistribution.from_weights([1, 3], support=[2, 3]), perplexity=3.0)
    >>> np.exp(model.log_likelihoods)
    array([0.08333333, 0.08333333])
    """

    class_pmf: FiniteDistribution
    perplexity: FloatArray
    lengths: FloatArray

    def __init__(
        self, class_pmf: FiniteDistribution, perplexity: ArrayLike, lengths: ArrayLike | None = None
    ) -> None:
        instance("class_pmf", class_pmf, FiniteDistribution, "a FiniteDistribution")
        size = len(class_pmf)
        perplexity = array("perplexity", perplexity)
        if perplexity.ndim == 0:
            perplexity = np.full(size, perplexity)
        perplexity = vector("perplexity", perplexity, size=size)
        reject("perplexity", "at least 1", perplexity, perplexity < 1.0)
        reject("perplexity", "finite", perplexity, np.isinf(perplexity))
        lengths = checked_lengths(class_pmf.support if lengths is None else lengths, size)
        for name, value in (("class_pmf", class_pmf), ("perplexity", perplexity), ("lengths", lengths)):
            object.__setattr__(self, name, value)

    @property
    def log_counts(self) -> FloatArray:
        r"""Logarithm of each class's number of sentences, :math:`(l - 1) \log v`, shape (n,)."""
        return (self.lengths - 1.0) * np.log(self.perplexity)

    @property
    def log_likelihoods(self) -> FloatArray:
        r"""Log-probability of each single sentence of a class, :math:`\log h - (l - 1) \log v`, shape (n,), in nats."""
        return self.class_pmf.log_pmf - self.log_counts

    @property
    def surprisals(self) -> FloatArray:
        r"""Nats per piece, :math:`-\log p(x) / |x|`, shape (n,): what Eq. (26) compares, times its scale."""
        return -self.log_likelihoods / self.lengths

    def annotator(self, process: PBDE) -> Annotator:
        """An annotator with this implicit preference distribution, who answers about single sentences.

        Parameters
        ----------
        process : PBDE
            ``luce()`` for Eq. (9), ``length_normalized(model.lengths, scale)`` for Eq. (26).

        Returns
        -------
        Annotator
            On the classes; its utility is that of each sentence in them.
        """
        return Annotator(self.class_pmf, merged_process(process, self.log_counts))


def bin_members(lengths: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Which lengths fall into one of Table 2's bins.

    Examples
    --------
    >>> bin_members([20, 21, 29, 30], "M")
    array([False,  True,  True, False])
    """
    first, last = LENGTH_BINS[choice("name", name, LENGTH_BINS)]
    lengths = vector("lengths", lengths)
    return (lengths >= first) & (lengths <= last)


def group_preference(
    annotator: PreferenceModel, drawn_from: FiniteDistribution, first: ArrayLike, second: ArrayLike
) -> float:
    r"""Probability that the annotator prefers an outcome of one group to an outcome of another.

    .. math:: \sum_{A \in X} \sum_{B \in Y} w(A \mid X)\, w(B \mid Y)\, \text{Prob}(x_A \succ x_B)

    Parameters
    ----------
    annotator : Annotator, AnnotatorMixture or PreferenceMatrix
    drawn_from : FiniteDistribution
        w, by which both outcomes are drawn, each on condition of its group; in the paper the *whole* model.
    first, second : array_like of bool, shape (n,)
        X and Y.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If a group has no outcome that can be drawn.

    Notes
    -----
    An entry of Table 2.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> annotator = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1, 1]), pb.luce())
    >>> round(group_preference(annotator, pb.uniform(range(3)), [True, False, False], [False, True, True]), 12)
    0.75
    """
    instance("annotator", annotator, PreferenceModel, "an annotator")
    instance("drawn_from", drawn_from, FiniteDistribution, "a FiniteDistribution")
    same_support("drawn_from", drawn_from.support, "annotator", annotator.support)
    x, weight_x = _group("first", first, drawn_from)
    y, weight_y = _group("second", second, drawn_from)
    block = PairBlock(x[:, None], y[None, :], np.multiply.outer(weight_x, weight_y))
    forward, _ = annotator.probabilities(block)
    return float((block.weight * forward).sum())


def length_bias_table(
    annotators: Sequence[PreferenceModel], drawn_from: FiniteDistribution, lengths: ArrayLike
) -> FloatArray:
    r"""Table 2: each annotator's probabilities of S ≻ M, S ≻ L and M ≻ L.

    Parameters
    ----------
    annotators : sequence of k annotators
        Over the same n outcomes: sentences, or classes of them.
    drawn_from : FiniteDistribution
        The *whole* model's probability of each outcome.
    lengths : array_like, shape (n,)
        In pieces, with the end piece.

    Returns
    -------
    ndarray, shape (k, 3)
        Columns as in `GROUP_PAIRS`.

    Examples
    --------
    All lengths equally likely, and still the Luce rule finds the shorter sentence better:

    >>> import pbde_ref as pb
    >>> lengths = np.arange(1, 51)
    >>> model = IdealizedLanguageModel(pb.uniform(lengths), perplexity=20.0)
    >>> processes = [pb.luce(), pb.length_normalized(lengths, scale=50.0), pb.length_normalized(lengths)]
    >>> length_bias_table([model.annotator(process) for process in processes], model.class_pmf, lengths).round(3)
    array([[1.   , 1.   , 1.   ],
           [0.13 , 0.077, 0.339],
           [0.469, 0.465, 0.497]])
    """
    members = {name: bin_members(lengths, name) for name in LENGTH_BINS}
    return np.array(
        [[group_preference(one, drawn_from, members[x], members[y]) for x, y in GROUP_PAIRS] for one in annotators]
    )


def least_scale(preference: float, surprisal_range: float) -> float:
    r"""The scale of Eq. (26) that a preference of this size needs at least.

    .. math:: c \ge \big|\operatorname{logit} P\big| \Big/ \max_{x, x'} \Big|\frac{\log p(x)}{|x|} -
              \frac{\log p(x')}{|x'|}\Big|

    Parameters
    ----------
    preference : float
        P in (0, 1), of one pair or averaged over pairs.
    surprisal_range : float
        Largest less smallest surprisal among the sentences compared, in nats per piece; positive.

    Notes
    -----
    For every annotator of Eq. (26) with a scale c, idealised or not. Proof: ``proofs/length_bias.md``.

    Examples
    --------
    Table 2 prints 1.0000, so at least 0.99995. If the annotator's surprisals lie within 3 nats per piece:

    >>> round(least_scale(0.99995, 3.0), 2)
    3.3
    """
    preference = number("preference", preference)
    if not 0.0 < preference < 1.0:
        raise ValueError(f"`preference` must be in (0, 1); got {preference}")
    logit = math.log(preference) - math.log1p(-preference)
    return abs(logit) / positive_number("surprisal_range", surprisal_range)


def _group(name: str, value: ArrayLike, drawn_from: FiniteDistribution) -> tuple[NDArray[np.intp], FloatArray]:
    """Indices of the members that can be drawn, and their conditional probabilities."""
    members = np.asarray(value)
    if members.dtype != np.bool_ or members.shape != drawn_from.pmf.shape:
        raise TypeError(
            f"`{name}` must hold True or False for each of the {len(drawn_from)} outcomes; "
            f"got shape {members.shape} and dtype {members.dtype}"
        )
    index = np.flatnonzero(members & (drawn_from.pmf > 0.0))
    if index.size == 0:
        raise ValueError(f"`{name}` must have an outcome of positive probability; got none")
    return index, probability_weights(name, drawn_from.pmf[index])
