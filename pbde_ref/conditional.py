r"""Answers to prompts: a support that falls into groups, and distributions that are normalised in each.

Answers are numbered through, those to one prompt standing together, so that everything about them is a flat array and
a sum over each prompt's answers is one call of ``numpy.add.reduceat``. Nobody compares answers to different prompts.
When the conditional case is the unconditional one again and again, and when not: ``proofs/prompts.md``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbde_ref.display import Shown
from pbde_ref.numerics import grouped_logsumexp
from pbde_ref.validation import (
    FloatArray,
    IndexArray,
    array,
    generator_of,
    hashable,
    indices,
    plain_array,
    reject,
    same_size,
    shown,
    vector,
)

__all__ = ["ConditionalDistribution", "Prompts"]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Prompts(Shown):
    r"""Which answer belongs to which prompt: a support in groups.

    Parameters
    ----------
    prompts : sequence of n hashable labels
        The prompt :math:`x_0` of each answer; answers to one prompt stand together, and are at least two.
    answers : sequence of n distinct hashable labels, optional
        Default: the numbers from 0.

    Attributes
    ----------
    prompts, answers : list
        As given.
    names : list
        The K different prompts.
    start : ndarray of int, shape (K + 1,)
        Where each prompt's answers begin. Read-only.
    number : ndarray of int, shape (n,)
        Number of each answer's prompt. Read-only.

    Raises
    ------
    TypeError, ValueError
        If a prompt has one answer only, comes back after another, or an answer stands under two prompts.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> pb.Prompts(["capital?", "capital?", "poem?", "poem?", "poem?"]).start
    array([0, 2, 5])
    >>> pb.Prompts(["capital?", "poem?", "poem?"])
    Traceback (most recent call last):
        ...
    ValueError: `prompts` must have two answers each, or there is nothing to compare; got one for 'capital?'
    """

    prompts: list[Any]
    answers: list[Any]
    names: list[Any]
    start: IndexArray
    number: IndexArray

    def __init__(
        self, prompts: Sequence[Hashable] | NDArray[Any], answers: Sequence[Hashable] | NDArray[Any] | None = None
    ) -> None:
        given = _listed("prompts", prompts)
        named = list(range(len(given))) if answers is None else _listed("answers", answers)
        same_size("answers", len(named), len(given))
        starts: dict[Any, int] = {}
        for i, prompt in enumerate(given):
            if i and prompt != given[i - 1] and prompt in starts:
                raise ValueError(f"`prompts` must stand together; got {shown(prompt)} again at index {i}")
            starts.setdefault(prompt, i)
        seen: dict[Any, int] = {}
        for i, answer in enumerate(named):
            first = seen.setdefault(answer, i)
            if first != i:
                where = f"{shown(answer)} under {shown(given[first])} and under {shown(given[i])}"
                raise ValueError(f"`answers` must be distinct, such as (prompt, answer); got {where}")
        start = np.array([*starts.values(), len(given)], dtype=np.intp)
        names, sizes = list(starts), np.diff(start)
        if (sizes < 2).any():
            alone = shown(names[int(np.argmax(sizes < 2))])
            rule = "two answers each, or there is nothing to compare"
            raise ValueError(f"`prompts` must have {rule}; got one for {alone}")
        number = np.repeat(np.arange(sizes.size), sizes)
        for each in (start, number):
            each.flags.writeable = False
        for name, value in zip(("prompts", "answers", "names", "start", "number"),
                               (given, named, names, start, number), strict=True):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def size(self) -> int:
        """Number of answers, n."""
        return self.number.size

    def __len__(self) -> int:
        """Number of answers."""
        return self.size

    def __iter__(self) -> Iterator[NoReturn]:
        """Refused: what takes a list of outcomes would normalise over all prompts together."""
        raise TypeError(
            "`support` must be outcomes of one distribution; got answers to several prompts, for which policies are "
            "normalised one by one: `ConditionalDistribution`"
        )

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Prompt and answer."""
        return self.prompts[index], self.answers[index]

    # Beside an array NumPy would look at every answer by itself.
    __array_ufunc__ = None

    def __ne__(self, other: object) -> Any:
        """Where two supports differ, shape (n,)."""
        if other is self:
            return np.zeros(self.size, dtype=bool)
        if not isinstance(other, Prompts) or other.size != self.size:
            return np.ones(self.size, dtype=bool)
        pairs = zip(self.prompts, other.prompts, self.answers, other.answers, strict=True)
        return np.array([p != q or a != b for p, q, a, b in pairs])

    def __repr__(self) -> str:
        return f"Prompts({len(self.names)} prompts, {self.size} answers)"

    def sums(self, values: ArrayLike) -> FloatArray:
        """Sum over each prompt's answers, of values of shape (n, …): shape (K, …)."""
        return self._added(self._of_answers("values", values))

    def log_sums(self, values: ArrayLike) -> FloatArray:
        r""":math:`\log \sum_x e^{v(x)}` over each prompt's answers, shape (K,); of nothing but -inf it is -inf.

        Examples
        --------
        >>> import numpy as np
        >>> import pbde_ref as pb
        >>> pb.Prompts("aabb").log_sums(np.log([1.0, 3.0, 2.0, 2.0])).round(6)  # log 4, log 4
        array([1.386294, 1.386294])
        """
        values = vector("values", values, size=self.size)
        reject("values", "below infinity", values, values == np.inf)
        return grouped_logsumexp(values, self.start[:-1], self.number)

    def centred(self, values: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
        """Values, shape (n, …), less the mean of their prompt's, or less their mean under weights that sum to one."""
        values = self._of_answers("values", values)
        each = np.diff(self.start)
        shares = np.repeat(1.0 / each, each) if weights is None else vector("weights", weights, size=self.size)
        shares = shares.reshape(-1, *(1,) * (values.ndim - 1))
        return np.asarray(values - self._added(shares * values)[self.number])

    def _added(self, values: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(values, self.start[:-1], axis=0))

    def _of_answers(self, name: str, values: ArrayLike) -> FloatArray:
        given = array(name, values)
        if not given.ndim or len(given) != self.size:
            raise ValueError(f"`{name}` must have {self.size} rows, one for each answer; got shape {given.shape}")
        return given

    def pairs(self) -> tuple[IndexArray, IndexArray]:
        """All unordered pairs of answers to one prompt, each answer with itself included, in order of the first."""
        after = self.start[self.number + 1] - np.arange(self.size)
        a = np.repeat(np.arange(self.size), after)
        first = np.cumsum(after) - after
        return a, a + np.arange(a.size) - first[a]

    def check(self, name: str, x_a: IndexArray, x_b: IndexArray, drawn: NDArray[np.bool_] | bool = True) -> None:
        """Raise ``ValueError`` if a pair that is drawn has answers to two prompts."""
        apart = np.flatnonzero(drawn & (self.number[x_a] != self.number[x_b]))
        if apart.size:
            a, b = (int(x[apart[0]]) for x in (x_a, x_b))
            raise ValueError(
                f"`{name}` must only draw answers to one prompt; got {shown(self[a])} and {shown(self[b])}"
            )


@dataclass(frozen=True, eq=False, init=False, repr=False)
class ConditionalDistribution(Shown):
    r"""A distribution over the answers to each prompt.

    .. math:: p(x \mid x_0) = e^{\ell(x)} \Big/ \sum_{x' \in S(x_0)} e^{\ell(x')}

    Parameters
    ----------
    log_weights : array_like, shape (n,)
        Unnormalised log-probabilities; -inf stands for probability zero. Not all answers to a prompt may have it.
    support : Prompts

    Attributes
    ----------
    log_pmf, pmf : ndarray, shape (n,)
        Log-probabilities in nats and probabilities, given the prompt. Read-only.
    support : Prompts

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> p = pb.ConditionalDistribution(np.log([1.0, 3.0, 1.0, 1.0, 2.0]), pb.Prompts("aabbb"))
    >>> p.pmf
    array([0.25, 0.75, 0.25, 0.25, 0.5 ])
    """

    log_pmf: FloatArray
    pmf: FloatArray
    support: Prompts

    def __init__(self, log_weights: ArrayLike, support: Prompts) -> None:
        if not isinstance(support, Prompts):
            raise TypeError(f"`support` must be Prompts; got {shown(support)}")
        log_weights = vector("log_weights", log_weights, size=support.size)
        reject("log_weights", "below +inf", log_weights, np.isposinf(log_weights))
        largest = np.maximum.reduceat(log_weights, support.start[:-1])
        if np.isneginf(largest).any():
            empty = shown(support.names[int(np.argmin(largest))])
            raise ValueError(f"`log_weights` must have positive mass at each prompt; got -inf everywhere at {empty}")
        # The largest leaves first: what all share must not cost the differences their digits.
        with np.errstate(over="ignore"):
            shifted = log_weights - largest[support.number]
        log_pmf = shifted - support.log_sums(shifted)[support.number]
        for name, value in (("log_pmf", log_pmf), ("pmf", np.exp(log_pmf))):
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        object.__setattr__(self, "support", support)

    def __len__(self) -> int:
        """Number of answers to all prompts."""
        return self.log_pmf.size

    def __array__(self, *args: Any, **options: Any) -> NDArray[Any]:
        raise TypeError(f"a {type(self).__name__} is no array: take its `pmf`, or its `log_pmf` as utilities")

    def sample(self, prompts: Sequence[int] | NDArray[Any], *, rng: Any = None) -> IndexArray:
        """Draw one answer to each of these prompts, given by their numbers; answers by theirs, shape (m,).

        Examples
        --------
        >>> import pbde_ref as pb
        >>> p = pb.ConditionalDistribution([0.0, float("-inf"), 0.0, float("-inf")], pb.Prompts("aabb"))
        >>> p.sample([1, 0, 1], rng=0)
        array([2, 0, 2])
        """
        asked = indices("prompts", prompts)
        count = len(self.support.names)
        reject("prompts", f"numbers of prompts, below {count}", asked, asked >= count)
        # One cumulated sum for all prompts, each of which has a unit of it.
        ends = np.concatenate([[0.0], np.cumsum(self.pmf)])
        first, last = ends[self.support.start[asked]], ends[self.support.start[asked + 1]]
        at = np.minimum(first + generator_of(rng).random(asked.size) * (last - first), np.nextafter(last, first))
        return np.searchsorted(ends, at, side="right") - 1


def _listed(name: str, value: Any) -> list[Any]:
    """Hashable labels."""
    if isinstance(value, np.ndarray):
        value = plain_array(name, value)
        # Lists, as rows would be, have no hash; and as many of them as it may hold take for ever.
        value = value.tolist() if value.ndim == 1 else value
    try:
        # What has no length need not come to an end.
        result = list(value) if len(value) else []
    except Exception as error:
        raise TypeError(f"`{name}` must be a sequence of hashable labels; got {shown(value)}") from error
    for index, label in enumerate(result):
        hashable(name, label, index)
    if not result:
        raise ValueError(f"`{name}` must hold at least one label; got none")
    return result
