r"""Several annotators: one utility for all, one for each, or a mixture; judged on comparisons that were held out.

- *pooled*: everybody shares one utility, :math:`\sigma(\omega_A - \omega_B)`;
- *each*: annotator a has a utility of their own, and it is known who answers, :math:`\sigma(\omega^a_A - \omega^a_B)`;
- *mixture*: Eq. (30), :math:`\sum_i w_i\, \sigma(\omega_i(x_A) - \omega_i(x_B))`, nobody knows who answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.estimation.likelihood import fit_comparisons
from pbde_ref.estimation.mixture import MixtureFit, fit_mixture
from pbde_ref.estimation.priors import Prior
from pbde_ref.estimation.result import ComparisonFit
from pbde_ref.estimation.table import ComparisonTable
from pbde_ref.numerics import log_sigmoid, logsumexp
from pbde_ref.validation import FloatArray, IndexArray, function_or_none, generator_of, instance, whole_number

__all__ = ["AnnotatorModels", "HeldOutScore", "compare_annotator_models", "held_out_score"]

BINS = 10


@dataclass(frozen=True, eq=False)
class HeldOutScore(Shown):
    r"""How well a model predicts comparisons that it was not fitted to.

    Attributes
    ----------
    log_loss : float
        Mean of :math:`-\log p` of what happened, in nats; a coin has :math:`\log 2 = 0.6931`.
    standard_error : float
        Of the mean.
    calibration_error : float
        Mean difference between how sure a model was of its favourite and how often that won, over ten classes of
        sureness between ½ and 1, each weighted by its comparisons.
    confidence, hit_rate, share : ndarray, shape (10,)
        Mean sureness of each class, how often the favourite won, and the class's share of comparisons; a class
        without comparisons has zeros. Read-only.
    """

    log_loss: float
    standard_error: float
    calibration_error: float
    confidence: FloatArray
    hit_rate: FloatArray
    share: FloatArray


@dataclass(frozen=True, eq=False)
class AnnotatorModels:
    """Models of several annotators and how well they predict.

    Attributes
    ----------
    pooled : ComparisonFit
    each : mapping of str to ComparisonFit
        By annotator; over the items that they compared, by the items' labels.
    mixture : MixtureFit
    scores : mapping of str to HeldOutScore
        By model: "pooled", "each", "mixture".
    parameters : mapping of str to int
        Numbers that each model estimates.
    best : str
        The model with the lowest log-loss, of those whose fits converged if any did.
    runner_up : str
        The one after it.
    margin, margin_error : float
        By how much the best one's log-loss is lower than the runner-up's, in nats per comparison, and the standard
        error of that difference, comparison by comparison.
    n_train, n_held_out : float
        Comparisons; sums of weights.
    """

    pooled: ComparisonFit
    each: Mapping[str, ComparisonFit]
    mixture: MixtureFit
    scores: Mapping[str, HeldOutScore]
    parameters: Mapping[str, int]
    best: str
    runner_up: str
    margin: float
    margin_error: float
    n_train: float
    n_held_out: float

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The models whose fits did not converge."""
        return _unfinished(self.pooled, self.each, self.mixture)

    @property
    def clear(self) -> bool:
        """Whether the best model leads by more than two standard errors."""
        return self.margin > 2.0 * self.margin_error


def compare_annotator_models(
    table: ComparisonTable, *, prior: Prior, n_mixture: int = 2, rng: Any = None,
    callback: Callable[[str], object] | None = None,
) -> AnnotatorModels:  # fmt: skip
    """Fit the pooled model, one for each annotator, and a mixture; score all on the held-out comparisons.

    Parameters
    ----------
    table : ComparisonTable
        With annotators, and a share held out.
    prior : GaussianPrior or PseudoCounts
        Of every utility. Few annotators compare enough for a finite estimate without one; an item that an annotator
        never compared has the prior's mode.
    n_mixture : int
        Annotators of the mixture, at least 1.
    rng : numpy.random.Generator or seed, optional
        For the mixture's start.
    callback : callable, optional
        Called with a few words about what is being done.

    Raises
    ------
    TypeError, ValueError
        If the table has no annotators or nothing is held out.

    Notes
    -----
    Two annotators of a mixture are never determined by comparisons of four or fewer items; predictions may be good all
    the same.

    Examples
    --------
    >>> import numpy as np
    >>> from pbde_ref.estimation import PseudoCounts, compare_annotator_models, comparison_table
    >>> rng = np.random.default_rng(0)
    >>> who, a = rng.integers(2, size=4000), rng.integers(6, size=4000)
    >>> b = (a + rng.integers(1, 6, size=4000)) % 6
    >>> taste = np.array([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])  # they want the opposite
    >>> won = rng.random(4000) < 1 / (1 + np.exp(taste[who, b] - taste[who, a]))
    >>> table = comparison_table(np.where(won, a, b), np.where(won, b, a), annotator=who, held_out=0.25, rng=0)
    >>> models = compare_annotator_models(table, prior=PseudoCounts(0.5), rng=0)
    >>> models.best, models.clear, round(models.scores["pooled"].log_loss, 2)
    ('each', True, 0.7)
    """
    instance("table", table, ComparisonTable, "a ComparisonTable")
    instance("prior", prior, Prior, "a GaussianPrior or PseudoCounts")
    if table.annotators is None or table.annotator is None:
        raise ValueError("`table` must name annotators; got one without")
    if table.held_out is None or not 0 < np.count_nonzero(table.held_out) < table.held_out.size:
        raise ValueError("`table` must have comparisons both held out and not; got one without")
    k = whole_number("n_mixture", n_mixture, least=1)
    function_or_none("callback", callback)
    tell = callback or (lambda what: None)
    train, test = np.flatnonzero(~table.held_out), np.flatnonzero(table.held_out)
    size = table.items.size
    winner, loser, weights = table.winner[test], table.loser[test], table.weights[test]

    tell("pooled")
    pooled = _fit(table, train, np.arange(size), prior)
    surprise = {"pooled": -log_sigmoid(pooled.utilities[winner] - pooled.utilities[loser])}
    parameters = {"pooled": size}

    each: dict[str, ComparisonFit] = {}
    margin = np.zeros(test.size)
    groups = _by_annotator(table.annotator[train], train, table.annotators.size)
    tests = _by_annotator(table.annotator[test], np.arange(test.size), table.annotators.size)
    for name, rows, asked in zip(table.annotators.tolist(), groups, tests, strict=True):
        if rows.size:
            tell(f"annotator {name}")
            seen = np.unique(np.concatenate([table.winner[rows], table.loser[rows]]))
            each[name] = _fit(table, rows, seen, prior)
            utilities = np.zeros(size)
            utilities[seen] = each[name].utilities
            margin[asked] = utilities[winner[asked]] - utilities[loser[asked]]
    surprise["each"] = -log_sigmoid(margin)
    parameters["each"] = sum(fit.utilities.size for fit in each.values())

    tell("mixture")
    trained = (table.winner[train], table.loser[train], table.weights[train])
    mixture = fit_mixture(*trained, pooled.utilities, prior, k, generator_of(rng), tell)
    margins = mixture.utilities[:, winner] - mixture.utilities[:, loser]
    surprise["mixture"] = -logsumexp(log_sigmoid(margins) + np.log(mixture.weights)[:, None], axis=0)
    parameters["mixture"] = k * size + k - 1

    scores = {name: held_out_score(loss, weights) for name, loss in surprise.items()}
    unfinished = _unfinished(pooled, each, mixture)
    # Where models predict alike the smaller one is enough.
    best, runner_up, *_ = sorted(
        scores, key=lambda name: (name in unfinished, round(scores[name].log_loss, 6), parameters[name])
    )
    lead, lead_error = _mean(surprise[runner_up] - surprise[best], weights)
    return AnnotatorModels(
        pooled, each, mixture, scores, parameters, best, runner_up, max(lead, 0.0), lead_error,
        float(table.weights[train].sum()), float(weights.sum()),
    )  # fmt: skip


def _unfinished(pooled: ComparisonFit, each: Mapping[str, ComparisonFit], mixture: MixtureFit) -> tuple[str, ...]:
    ended = {
        "pooled": pooled.converged, "each": all(fit.converged for fit in each.values()), "mixture": mixture.converged,
    }  # fmt: skip
    return tuple(name for name, converged in ended.items() if not converged)


def held_out_score(surprise: FloatArray, weights: FloatArray) -> HeldOutScore:
    r"""Score predictions by :math:`-\log p` of what happened, shape (m,), and how often it did.

    Examples
    --------
    >>> import numpy as np
    >>> coin = held_out_score(np.full(2, np.log(2.0)), np.array([3.0, 1.0]))
    >>> round(coin.log_loss, 4), coin.calibration_error
    (0.6931, 0.0)
    """
    log_loss, error = _mean(surprise, weights)
    chance = np.exp(-surprise)
    confidence = np.maximum(chance, 1.0 - chance)
    # A favourite that is none wins half of the time, whoever wins.
    hit = np.where(np.abs(chance - 0.5) < 1e-12, 0.5, chance > 0.5)
    number = np.minimum((confidence - 0.5) * (2 * BINS), BINS - 1).astype(np.intp)
    mass = np.bincount(number, weights, BINS)
    sums = [np.bincount(number, weights * value, BINS) for value in (confidence, hit)]
    mean_confidence, hit_rate = (np.divide(value, mass, out=np.zeros(BINS), where=mass > 0.0) for value in sums)
    share = mass / mass.sum()
    for value in (mean_confidence, hit_rate, share):
        value.flags.writeable = False
    calibration = float((share * np.abs(mean_confidence - hit_rate)).sum())
    return HeldOutScore(log_loss, error, calibration, mean_confidence, hit_rate, share)


def _mean(values: FloatArray, weights: FloatArray) -> tuple[float, float]:
    """Weighted mean of independent values, a weight being a number of them, and its standard error."""
    total = float(weights.sum())
    mean = float((weights * values).sum()) / total
    variance = float((weights * np.square(values - mean)).sum()) / total
    return mean, math.sqrt(variance / total)


def _fit(table: ComparisonTable, rows: IndexArray, items: IndexArray, prior: Prior) -> ComparisonFit:
    number = np.zeros(table.items.size, dtype=np.intp)
    number[items] = np.arange(items.size)
    numbered = number[table.winner[rows]], number[table.loser[rows]]
    fit = fit_comparisons(*numbered, table.weights[rows], support=range(items.size), prior=prior)
    return replace(fit, distribution=FiniteDistribution(fit.distribution.log_pmf, table.items[items]))


def _by_annotator(annotator: IndexArray, rows: IndexArray, count: int) -> list[IndexArray]:
    order = np.argsort(annotator, kind="stable")
    return np.split(rows[order], np.cumsum(np.bincount(annotator, minlength=count))[:-1])
