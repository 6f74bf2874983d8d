r"""One regression for comparisons: a design matrix on differences within sets of alternatives, one Newton's method.

An observation is a choice among alternatives whose utilities are linear in the parameters: the items' utilities, and
effects of columns. With rows :math:`a` of the design in the set :math:`m`, of which :math:`c(m)` was chosen,

.. math:: -\log L = \sum_m w_m \Big[\log \sum_{a \in m} e^{a^\top \theta} - c(m)^\top \theta\Big].

- A comparison has the alternatives :math:`\omega_A - \omega_B + x^\top \beta` and 0.
- *Davidson* (1970): a tie is a third one, halfway between the two items and :math:`\kappa` above.
- *Rao and Kupper* (1967): an item wins with :math:`\sigma(d - \tau)`, where its lead exceeds a threshold
  :math:`\tau > 0`; what is left for a tie is :math:`(e^{2\tau} - 1)\, \sigma(d - \tau)\, \sigma(-d - \tau)`.
- *Plackett and Luce*: a ranking is a choice among what is left, again and again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import csr_array, diags_array, vstack
from scipy.special import expit

from pbde_ref.estimation.connectivity import NoFiniteEstimateError
from pbde_ref.estimation.newton import DENSE_LIMIT, Maximum, newton, spread
from pbde_ref.estimation.priors import Prior
from pbde_ref.exact.separation import separating_direction
from pbde_ref.validation import FloatArray, IndexArray

__all__ = [
    "Choices", "ColumnChoices", "DenseInformation", "Dependence", "choices_of_pairs", "choices_of_rankings",
    "differences", "fit_choices",
]  # fmt: skip

# Least eigenvalue of the effects' information, over its diagonal, at which effects count as determined.
COLLINEAR = 1e-9


@dataclass(frozen=True, eq=False)
class Dependence:
    """Which observations depend on each other, and how often each such group happened."""

    clusters: IndexArray | None = None
    repeats: FloatArray | None = None

    def squared(self, scores: csr_array, weights: FloatArray) -> csr_array:
        """Sum of outer products of the groups' scores: the middle of a sandwich.

        Each group's variance is multiplied by G / (G - 1), for its mean has been fitted.
        """
        if self.clusters is None:
            return csr_array(scores.T @ (diags_array(weights) @ scores))
        _, number = np.unique(self.clusters, return_inverse=True)
        count = int(number.max()) + 1
        together = csr_array((weights, (number, np.arange(number.size))), shape=(count, number.size)) @ scores
        times = np.ones(count) if self.repeats is None else self.repeats[np.unique(self.clusters)]
        correction = float(times.sum()) / max(float(times.sum()) - 1.0, 1.0)
        return csr_array(together.T @ (diags_array(correction / times) @ together))


@dataclass(frozen=True, eq=False)
class DenseInformation:
    """A Hessian over items and effects; without a prior, constants of each component of items are its null space."""

    matrix: FloatArray
    components: IndexArray | None
    n_items: int

    def centred(self, values: FloatArray) -> FloatArray:
        """Items' values without the constants that the comparisons leave open."""
        if self.components is None:
            return values
        result, items = values.copy(), values[: self.n_items]
        result[: self.n_items] -= (np.bincount(self.components, items) / np.bincount(self.components))[self.components]
        return result

    def solve(self, right: FloatArray, tolerance: float = 0.0) -> FloatArray:
        """Pseudo-inverse times a vector or matrix that the Hessian can produce."""
        matrix, _ = self._filled()
        damping = 0.0
        while True:
            try:
                factor = cho_factor(matrix + damping * np.diag(matrix.diagonal() + 1e-300))
                return np.asarray(cho_solve(factor, right))
            except LinAlgError:
                # What has underflowed is determined by nothing; any short step will do.
                damping = max(1e-14, 10.0 * damping)

    def covariance(self) -> FloatArray:
        """Pseudo-inverse, over items and effects."""
        null = self._filled()[1]
        return np.asarray(self.solve(np.eye(len(self.matrix))) - null)

    def _filled(self) -> tuple[FloatArray, FloatArray]:
        """The Hessian with its null space filled in, and what that adds to the inverse."""
        if self.components is None:
            return self.matrix, np.zeros_like(self.matrix)
        size = np.bincount(self.components)
        null = np.zeros_like(self.matrix)
        alike = self.components[:, None] == self.components
        null[: self.n_items, : self.n_items] = alike / size[self.components]
        scale = float(self.matrix.diagonal()[: self.n_items].mean()) or 1.0
        return self.matrix + scale * null, null / scale


@dataclass(frozen=True, eq=False)
class Choices:
    """Observations, each a choice among alternatives.

    Attributes
    ----------
    alternatives : csr_array, shape (a, p)
    start : ndarray of int, shape (m + 1,)
        Where each observation's alternatives begin.
    picked : csr_array, shape (m, p)
        The design's row of what was chosen.
    weights : ndarray, shape (m,)
    units : ndarray of int, shape (m,)
        Observations of the same comparison or ranking have the same number.
    unit_weights : ndarray
    n_items : int
    effects : tuple of str
        Names of the parameters after the items'.
    threshold_ties : ndarray or None
        Units that are ties of Rao and Kupper's model, whose threshold is the last parameter.
    prior, components
        As in `fit_comparisons`.
    """

    alternatives: csr_array
    start: IndexArray
    picked: csr_array
    weights: FloatArray
    units: IndexArray
    unit_weights: FloatArray
    n_items: int
    effects: tuple[str, ...]
    threshold_ties: IndexArray | None = None
    prior: Prior | None = None
    components: IndexArray | None = None

    @property
    def scale(self) -> FloatArray:
        """How often each parameter took part."""
        found = abs(self.alternatives).T @ np.repeat(self.weights, np.diff(self.start))
        return np.where(found > 0.0, found, 1.0)

    @property
    def threshold_weight(self) -> float:
        """How many ties a threshold makes."""
        return 0.0 if self.threshold_ties is None else float(self.unit_weights[self.threshold_ties].sum())

    def room(self) -> FloatArray:
        """Nothing is kept."""
        return np.empty(0)

    def reach(self, at: FloatArray, step: FloatArray) -> float:
        """By how much a step changes a difference of utilities at most."""
        change = self.alternatives @ step
        low, high = (f.reduceat(change, self.start[:-1]) for f in (np.minimum, np.maximum))
        result = max(float((high - low).max()), spread(step[: self.n_items], grounded=self.prior is not None))
        if self.threshold_ties is not None:
            result += abs(float(step[-1])) * 2.0 / math.tanh(0.5 * float(at[-1]))
        return result

    def longest(self, at: FloatArray, step: FloatArray) -> float:
        """As far as halves a threshold."""
        if self.threshold_ties is None or step[-1] >= -0.5 * at[-1]:
            return 1.0
        return float(-0.5 * at[-1] / step[-1])

    def probabilities(self, at: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Of the alternatives in their observations, and each observation's logarithm of the sum, less the chosen."""
        value = self.alternatives @ at
        top = np.maximum.reduceat(value, self.start[:-1])
        raised = np.exp(value - np.repeat(top, np.diff(self.start)))
        total = np.add.reduceat(raised, self.start[:-1])
        return raised / np.repeat(total, np.diff(self.start)), top + np.log(total) - self.picked @ at

    def log_likelihood(self, at: FloatArray) -> float:
        """In nats."""
        result = -float((self.weights * self.probabilities(at)[1]).sum())
        ties = self.threshold_weight
        threshold = float(at[-1])
        return result + (ties * (2.0 * threshold + math.log(-math.expm1(-2.0 * threshold))) if ties else 0.0)

    def derivatives(self, at: FloatArray, out: FloatArray) -> tuple[FloatArray, DenseInformation]:
        """Gradient of the negative log-likelihood and log-prior, and the Hessian."""
        chance, _ = self.probabilities(at)
        per = np.repeat(self.weights, np.diff(self.start)) * chance
        gradient = self.alternatives.T @ per - self.picked.T @ self.weights
        mean = self._means(chance)
        matrix = (self.alternatives.T @ (diags_array(per) @ self.alternatives)).toarray()
        matrix -= (mean.T @ (diags_array(self.weights) @ mean)).toarray()
        if ties := self.threshold_weight:
            share = -np.expm1(-2.0 * at[-1])
            gradient[-1] -= 2.0 * ties / share
            matrix[-1, -1] += 4.0 * ties * np.exp(-2.0 * at[-1]) / share**2
        if self.prior is not None:
            n = self.n_items
            gradient[:n] += self.prior.slope(at[:n])
            matrix[np.arange(n), np.arange(n)] += self.prior.curvature(at[:n])
        return gradient, DenseInformation(matrix, self.components, self.n_items)

    def _means(self, chance: FloatArray) -> csr_array:
        """Mean row of each observation's alternatives."""
        shape = (self.weights.size, chance.size)
        return csr_array((chance, np.arange(chance.size), self.start), shape=shape) @ self.alternatives

    def scores(self, at: FloatArray) -> csr_array:
        """Derivative of each unit's log-likelihood."""
        rows = self.picked - self._means(self.probabilities(at)[0])
        shape = (self.unit_weights.size, self.units.size)
        result = csr_array(csr_array((np.ones(shape[1]), (self.units, np.arange(shape[1]))), shape=shape) @ rows)
        if self.threshold_ties is not None:
            place = (self.threshold_ties, np.full(self.threshold_ties.size, at.size - 1))
            extra = np.full(self.threshold_ties.size, -2.0 / np.expm1(-2.0 * at[-1]))
            result = csr_array(result + csr_array((extra, place), shape=result.shape))
        return result


def choices_of_pairs(
    winner: NDArray[Any], loser: NDArray[Any], weights: FloatArray, of_ties: FloatArray,
    columns: Mapping[str, FloatArray], size: int, tie_model: str,
) -> tuple[Choices, IndexArray]:  # fmt: skip
    """Comparisons as choices, and the row that each unit comes from.

    `of_ties` is how much of each weight are ties; columns speak for the winner, in a tie for who is named as one.
    """
    wins, ties = np.flatnonzero(weights > of_ties), np.flatnonzero(of_ties > 0.0)
    row = np.concatenate([wins, ties])
    is_tie = np.arange(row.size) >= wins.size
    amount = np.where(is_tie, of_ties[row], weights[row] - of_ties[row])
    effects, unit = tuple(columns), np.arange(row.size)
    width = size + len(effects) + (tie_model != "half")
    apart = differences(winner[row], loser[row], [column[row] for column in columns.values()], size, width)
    own = csr_array((np.ones(row.size), (unit, np.full(row.size, width - 1))), shape=apart.shape)
    if tie_model == "half":
        picked = diags_array(np.where(is_tie, 0.5, 1.0)) @ apart
        return _choices([apart, csr_array(apart.shape)], picked, amount, unit, amount, size, effects), row
    if tie_model == "davidson":
        half = 0.5 * apart
        picked = diags_array(np.where(is_tie, 0.0, 1.0)) @ half + diags_array(is_tie.astype(float)) @ own
        return _choices([half, -half, own], picked, amount, unit, amount, size, (*effects, "tie")), row
    # A win is a lead over the threshold, a tie the product of both items' over what is left.
    tied = np.flatnonzero(is_tie)
    leads, units = csr_array(vstack([apart - own, csr_array(-apart - own)[tied]])), np.concatenate([unit, tied])
    sets, names = [leads, csr_array(leads.shape)], (*effects, "threshold")
    return replace(_choices(sets, leads, amount[units], units, amount, size, names), threshold_ties=tied), row


@dataclass(frozen=True, eq=False)
class ColumnChoices:
    """Comparisons without items: `rows` of numbers that speak for the winner, and a margin that is `fixed`."""

    rows: FloatArray
    fixed: FloatArray
    weights: FloatArray

    @property
    def scale(self) -> FloatArray:
        """How often each parameter took part."""
        found = np.abs(self.rows).T @ self.weights
        return np.where(found > 0.0, found, 1.0)

    def room(self) -> FloatArray:
        """Nothing is kept."""
        return np.empty(0)

    def reach(self, at: FloatArray, step: FloatArray) -> float:
        """By how much a step changes a difference of utilities at most."""
        return float(np.abs(self.rows @ step).max())

    def longest(self, at: FloatArray, step: FloatArray) -> float:
        """All of it."""
        return 1.0

    def margins(self, at: FloatArray) -> FloatArray:
        """The winners' leads."""
        return self.fixed + self.rows @ at

    def log_likelihood(self, at: FloatArray) -> float:
        """In nats."""
        return -float(self.weights @ np.logaddexp(0.0, -self.margins(at)))

    def scores(self, at: FloatArray) -> csr_array:
        """Derivative of each comparison's log-likelihood."""
        return csr_array(expit(-self.margins(at))[:, None] * self.rows)

    def derivatives(self, at: FloatArray, out: FloatArray) -> tuple[FloatArray, DenseInformation]:
        """Gradient of the negative log-likelihood, and the Hessian."""
        margins = self.margins(at)
        lost = self.weights * expit(-margins)
        matrix = self.rows.T @ ((lost * expit(margins))[:, None] * self.rows)
        return -self.rows.T @ lost, DenseInformation(matrix, None, 0)


def choices_of_rankings(rankings: Sequence[tuple[tuple[tuple[int, ...], ...], float]], size: int) -> Choices:
    """Rankings as choices from what is left, best first; nothing is said of the order of those that come last together.

    Raises
    ------
    ValueError
        If items share another place, or no ranking has two places.
    """
    shared = [place for ranking, _ in rankings for place, group in enumerate(ranking[:-1], 1) if len(group) > 1]
    if shared:
        rule = "have one item at each place but the last for Plackett and Luce's model"
        raise ValueError(f"`rankings` must {rule}; got several at place {shared[0]}")
    said = [(ranking, weight) for ranking, weight in rankings if len(ranking) > 1]
    if not said:
        raise ValueError("`rankings` must have two or more places; got none that has")
    stages = [(number, list(chain.from_iterable(ranking[place:]))) for number, (ranking, _) in enumerate(said)
              for place in range(len(ranking) - 1)]  # fmt: skip
    items, chosen = np.array([one for _, left in stages for one in left]), [left[0] for _, left in stages]
    start = np.cumsum([0, *(len(left) for _, left in stages)])
    unit, weights = np.array([number for number, _ in stages]), np.array([weight for _, weight in said])
    alternatives = csr_array((np.ones(items.size), (np.arange(items.size), items)), shape=(items.size, size))
    picked = csr_array((np.ones(len(chosen)), (np.arange(len(chosen)), chosen)), shape=(len(chosen), size))
    return Choices(alternatives, start, picked, weights[unit], unit, weights, size, ())


def _choices(
    sets: list[Any], picked: Any, weights: FloatArray, units: IndexArray, unit_weights: FloatArray, size: int,
    effects: tuple[str, ...],
) -> Choices:  # fmt: skip
    """Observations that all have as many alternatives."""
    count, each = len(weights), len(sets)
    order = np.arange(count * each).reshape(each, count).T.ravel()
    alternatives = csr_array(vstack(sets, format="csr")[order])
    start = np.arange(0, count * each + 1, each)
    return Choices(alternatives, start, csr_array(picked), weights, units, unit_weights, size, effects)


def differences(one: NDArray[Any], other: NDArray[Any], columns: list[FloatArray], size: int, width: int) -> csr_array:
    """Rows e_one − e_other, then the columns."""
    rows = np.arange(one.size)
    parts = [(np.ones(one.size), one), (-np.ones(one.size), other)]
    parts += [(column, np.full(one.size, size + k)) for k, column in enumerate(columns)]
    data, place = (np.concatenate(part) for part in zip(*parts, strict=True))
    return csr_array((data, (np.tile(rows, len(parts)), place)), shape=(one.size, width))


def fit_choices(choices: Choices, names: NDArray[Any], tolerance: float, max_steps: int) -> Maximum:
    """The most likely utilities and effects.

    Raises
    ------
    NoFiniteEstimateError
        If some grow without bound.
    ValueError
        If effects cannot be told from the items or from each other, or there are too many items.
    """
    size = choices.alternatives.shape[1]
    if size > DENSE_LIMIT:
        raise ValueError(f"`ties` by a model, and effects, must have at most {DENSE_LIMIT} parameters; got {size}")
    start = np.append(np.zeros(size - 1), 0.0 if choices.threshold_ties is None else 0.5)
    _determined(choices, start)
    found = newton(choices, start, tolerance, max_steps)
    if not found.converged:
        _explain(choices, names)
    return found


def _determined(choices: Choices, at: FloatArray) -> None:
    """Raise if effects are combinations of items and other effects."""
    n, k = choices.n_items, len(choices.effects)
    if not k:
        return
    _, information = choices.derivatives(at, np.empty(0))
    matrix = information.matrix
    items = DenseInformation(matrix[:n, :n], choices.components, n)
    rest = matrix[n:, n:] - matrix[n:, :n] @ items.solve(matrix[:n, n:])
    unit = 1.0 / np.sqrt(np.maximum(matrix.diagonal()[n:], 1e-300))
    values, vectors = np.linalg.eigh(unit[:, None] * rest * unit)
    if values[0] < COLLINEAR:
        involved = [choices.effects[i] for i in np.flatnonzero(np.abs(vectors[:, 0]) > 0.1)]
        names = ", ".join(map(repr, involved))
        raise ValueError(f"effects must vary beyond what the items and each other explain; got none of that in {names}")


def _explain(choices: Choices, names: NDArray[Any]) -> None:
    """Raise if the likelihood grows for ever along a direction, which a linear programme finds."""
    repeated = np.repeat(np.arange(choices.weights.size), np.diff(choices.start))
    gains = csr_array(choices.picked[repeated] - choices.alternatives)
    if choices.prior is not None:
        return
    if choices.threshold_ties is not None:
        # A tie's likelihood does not fall where the threshold grows as fast as any lead.
        tied = np.isin(choices.units, choices.threshold_ties)[repeated]
        gains = csr_array(diags_array(np.where(tied, -1.0, 1.0)) @ gains)
    found = separating_direction(gains)
    if found is None:
        return
    direction = found[: choices.n_items] - np.median(found[: choices.n_items])
    effects = zip(choices.effects, found[choices.n_items :], strict=True)
    grown = [f"the effect {name!r}" for name, value in effects if abs(value) > 1e-6]
    grown += [repr(str(names[i])) for i in np.flatnonzero(np.abs(direction) > 1e-6)]
    listed = ", ".join(name[:30] for name in grown[:4]) + (f" and {len(grown) - 4} more" if len(grown) > 4 else "")
    raise NoFiniteEstimateError(
        f"`comparisons` must be unexplained by any rule without exceptions; got one that involves {listed}",
        "leave out an effect, or add a prior",
    )
