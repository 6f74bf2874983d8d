r"""Tiny autoregressive models, listed in full: the probability of every sentence up to a maximal length.

A sentence of length l is l − 1 tokens and an end piece. At each position the model first decides whether to end, then
draws a token by a table that depends on the position and on the previous token. It must end at the last position, so
that the probabilities of all sentences sum to one, as Theorem 2 asks; ``proofs/theorem_2.md`` has what changes where
longer sentences are cut off instead.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.validation import FloatArray, array, generator_of, instance, positive_number, reject, vector, whole_number

__all__ = ["ending_probabilities", "random_token_tables", "sentence_distribution", "sentence_lengths"]

# A list longer than this is no longer tiny: each label is a Python tuple of some 200 bytes.
MOST_SENTENCES = 1 << 20


def sentence_distribution(ending: ArrayLike, tables: ArrayLike) -> FiniteDistribution:
    r"""The probability of every sentence.

    .. math:: p(x_1 \dots x_{l-1}) = e_l \prod_{t < l} (1 - e_t)\, T_t(x_t \mid x_{t-1})

    Parameters
    ----------
    ending : array_like, shape (L,)
        e, probability of ending at each position given that the sentence has not ended before; 1 at the last.
    tables : array_like, shape (L - 1, V + 1, V)
        T, probabilities of the token at each position given the previous one; row V is for the first token, which has
        none. Rows sum to one.

    Returns
    -------
    FiniteDistribution
        On :math:`\sum_{l=1}^{L} V^{l-1}` sentences, tuples of tokens 0 … V − 1 without the end piece, in order of
        length, then of tokens.

    Raises
    ------
    ValueError
        If a probability is outside [0, 1], a row does not sum to one, sentences could go on after the last position,
        or there are more than a million of them.

    Examples
    --------
    >>> tables = [[[0.25, 0.75], [0.5, 0.5], [0.1, 0.9]]]
    >>> sentences = sentence_distribution([0.2, 1.0], tables)
    >>> list(sentences.support), sentences.pmf.round(12)
    ([(), (0,), (1,)], array([0.2 , 0.08, 0.72]))
    """
    ending, tables = _checked(ending, tables)
    n_tokens = tables.shape[2]
    with np.errstate(divide="ignore"):
        log_end, log_on, log_tables = np.log(ending), np.log1p(-ending), np.log(tables)
    prefixes, last = np.zeros(1), np.array([n_tokens])
    log_pmf = []
    for position in range(ending.size):
        log_pmf.append(prefixes + log_end[position])
        if position < ending.size - 1:
            prefixes = ((prefixes + log_on[position])[:, None] + log_tables[position, last]).ravel()
            last = np.tile(np.arange(n_tokens), last.size)
    labels = [tokens for count in range(ending.size) for tokens in product(range(n_tokens), repeat=count)]
    return FiniteDistribution(np.concatenate(log_pmf), labels)


def ending_probabilities(length_pmf: FiniteDistribution) -> FloatArray:
    r"""The probabilities of ending that lead to a given distribution of lengths 1 … L.

    .. math:: e_l = h(l) \Big/ \sum_{m \ge l} h(m)

    Parameters
    ----------
    length_pmf : FiniteDistribution
        h, with the labels 1 … L in this order; positive at L.

    Notes
    -----
    Once less than about 1e-16 of what is left goes on, the probability of ending rounds to 1.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> ending_probabilities(pb.uniform([1, 2, 3, 4]))
    array([0.25      , 0.33333333, 0.5       , 1.        ])
    """
    instance("length_pmf", length_pmf, FiniteDistribution, "a FiniteDistribution")
    labels = vector("length_pmf.support", length_pmf.support)
    reject("length_pmf.support", "1, 2, 3, …", labels, labels != np.arange(1, len(length_pmf) + 1))
    if length_pmf.pmf[-1] == 0.0:
        raise ValueError("`length_pmf` must be positive at the largest length; got 0.0")
    # Log-sums from the end keep the digits of a tail that is far less likely than the rest.
    tail = np.logaddexp.accumulate(length_pmf.log_pmf[::-1])[::-1]
    return np.exp(length_pmf.log_pmf - tail)


def random_token_tables(n_tokens: int, max_length: int, *, concentration: float = 1.0, rng: Any = None) -> FloatArray:
    """Token tables for `sentence_distribution`, each row drawn from a symmetric Dirichlet distribution.

    Parameters
    ----------
    n_tokens : int
        V, at least 1.
    max_length : int
        L, at least 2: the longest sentence's length, end piece included.
    concentration : float
        Positive. Large values make all tokens nearly equally likely.
    rng : numpy.random.Generator or seed, optional

    Returns
    -------
    ndarray, shape (max_length - 1, n_tokens + 1, n_tokens)

    Examples
    --------
    >>> random_token_tables(3, 9, rng=0).shape
    (8, 4, 3)
    """
    n_tokens = whole_number("n_tokens", n_tokens, least=1)
    shape = (whole_number("max_length", max_length, least=2) - 1, n_tokens + 1)
    alpha = np.full(n_tokens, positive_number("concentration", concentration))
    return generator_of(rng).dirichlet(alpha, shape)


def sentence_lengths(sentences: FiniteDistribution) -> FloatArray:
    """Lengths of the sentences that a distribution is on, end piece included, shape (n,).

    Examples
    --------
    >>> import pbde_ref as pb
    >>> sentence_lengths(pb.uniform([(), (0,), (0, 1)]))
    array([1., 2., 3.])
    """
    instance("sentences", sentences, FiniteDistribution, "a FiniteDistribution")
    return np.array([len(tokens) + 1.0 for tokens in sentences.support])


def _checked(ending: ArrayLike, tables: ArrayLike) -> tuple[FloatArray, FloatArray]:
    ending, tables = vector("ending", ending), array("tables", tables)
    for name, value in (("ending", ending), ("tables", tables)):
        reject(name, "in [0, 1]", value, ~((value >= 0.0) & (value <= 1.0)))
    if ending[-1] != 1.0:
        raise ValueError(f"`ending` must be 1 at the last position, where every sentence ends; got {ending[-1]}")
    if tables.ndim != 3 or tables.shape[0] != ending.size - 1 or tables.shape[1] != tables.shape[2] + 1:
        raise ValueError(f"`tables` must have shape ({ending.size - 1}, V + 1, V); got shape {tables.shape}")
    totals = tables.sum(axis=2)
    # Rows written with a few digits are meant, rows of counts are not.
    reject("tables.sum(axis=2)", "1", totals, np.abs(totals - 1.0) > 1e-9)
    count = sum(tables.shape[2] ** length for length in range(ending.size))
    if count > MOST_SENTENCES:
        raise ValueError(f"`tables` must have at most {MOST_SENTENCES:,} sentences; got {count:,}")
    return ending, tables
