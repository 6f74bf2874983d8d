r"""What an estimate from comparisons is: utilities, the distribution behind them, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit, ndtri

from pbde_ref.display import Shown
from pbde_ref.distributions import FiniteDistribution
from pbde_ref.estimation.newton import DENSE_LIMIT, SMALL, Information
from pbde_ref.estimation.priors import Prior
from pbde_ref.pbde import PBDE
from pbde_ref.validation import FloatArray, IndexArray, indices, number, reject, whole_number

__all__ = ["ComparisonFit", "interval_reach"]

# So few standard errors are solved for one by one even where the whole covariance could be formed.
FEW = 32


@dataclass(frozen=True, eq=False)
class ComparisonFit(Shown):
    r"""An implicit preference distribution estimated from comparisons.

    Attributes
    ----------
    utilities : ndarray, shape (n,)
        :math:`\omega` in nats. Without a prior their mean is zero in each component; with one, zero is the prior's
        mode. Read-only.
    distribution : FiniteDistribution
        The one whose process has these utilities up to a constant: :math:`\omega = f \log p + g + C`. Its support
        labels the items.
    pbde : PBDE
    prior : Prior or None
    log_likelihood : float
        Of all comparisons in their order, in nats.
    log_prior : float
        Logarithm of the prior density without its constant; 0 without a prior.
    criterion : float
        The largest entry of the gradient of ``log_likelihood + log_prior``, in absolute value, each divided by its
        item's number of comparisons.
    remaining : float
        By how many nats one more Newton step would change a difference of utilities at most.
    converged : bool
        Whether the criterion is within the tolerance and `remaining` at most 1e-6.
    steps : int
        Newton steps taken.
    components : ndarray of int, shape (n,)
        Group of items that comparisons join, numbered from 0. Between groups nothing but a prior determines
        differences. Read-only.
    comparisons, wins : ndarray, shape (n,)
        How many comparisons each item took part in, and won; sums of weights. Read-only.
    n_comparisons : float
        Sum of all weights, comparisons of an item with itself left out.
    dropped : tuple
        Labels of the items that were left out for having no finite estimate.
    method : str
        "dense" or "sparse": how comparisons were added up.
    information : Information or DenseInformation
        Fisher information at the estimate, plus the prior's curvature.
    effects : mapping of str to float
        What columns beside the items contribute, in nats. "tie" is :math:`\kappa` of Davidson's model, "threshold"
        :math:`\tau` of Rao and Kupper's, "order" what standing on the left is worth.
    scores_squared : csr_array or None
        Sum of outer products of the score over what is independent, from which standard errors then are.
    error_kind : {"fisher", "sandwich", "clustered"}
    """

    utilities: FloatArray
    distribution: FiniteDistribution
    pbde: PBDE
    prior: Prior | None
    log_likelihood: float
    log_prior: float
    criterion: float
    remaining: float
    converged: bool
    steps: int
    components: IndexArray
    comparisons: FloatArray
    wins: FloatArray
    n_comparisons: float
    dropped: tuple[Any, ...]
    method: str
    information: Any = field(repr=False)
    effects: Mapping[str, float] = field(default_factory=dict)
    scores_squared: csr_array | None = field(default=None, repr=False)
    error_kind: str = "fisher"

    def standard_errors(
        self, items: Sequence[int] | NDArray[Any] | None = None, *, relative_to: int | None = None
    ) -> FloatArray:
        r"""Standard errors of utilities, from the inverse of the Fisher information.

        .. math:: \operatorname{se}_i^2 = (I^+)_{ii}, \qquad I = \text{Laplacian with weights } T_{ij}\,
                  \sigma(d)\, \sigma(-d)

        Where ties count half, or comparisons may depend on each other, from the sandwich
        :math:`I^+ \big(\sum_c s_c s_c^\top\big) I^+` with the scores s of ties, or of groups, instead (Huber 1967;
        Liang and Zeger 1986).

        Parameters
        ----------
        items : sequence of int, optional
            Indices. Default: all, for up to 4,096 items. Beyond that the matrix is not inverted; each item asked for
            takes one linear solve by conjugate gradients, about a tenth of the time of the fit.
        relative_to : int, optional
            Item whose utility is subtracted: errors of differences :math:`\omega_i - \omega_r`. Default: errors of
            utilities relative to their mean, over the component or, with a prior, over all items. Where the prior has
            its mode says nothing about the items, so how uncertain that is does not enter.

        Raises
        ------
        ValueError
            If an item does not exist, is compared in another component than `relative_to`, or `items` is missing for
            more than 4,096 items.

        Notes
        -----
        Asymptotic: they hold where each item took part in many comparisons that were not foregone conclusions, and
        where the model is right. With a prior they are the posterior's standard deviations in Laplace's approximation.
        """
        size = self.utilities.size
        chosen = np.arange(size) if items is None else indices("items", items)
        reject("items", f"an index below the number of items, {size}", chosen, chosen >= size)
        other = None if relative_to is None else whole_number("relative_to", relative_to, most=size - 1)
        if other is not None and self.prior is None:
            apart = self.components[chosen] != self.components[other]
            reject(f"items compared with item {other}", "in its component", chosen, apart)
        if size <= DENSE_LIMIT and (size <= SMALL or chosen.size > FEW):
            if other is not None and self.scores_squared is None and isinstance(self.information, Information):
                variance = self.information.variances(chosen, np.full(chosen.size, other))
            else:
                covariance = self.covariance()[:size, :size]
                if other is not None:
                    covariance = covariance - covariance[other]
                    covariance = covariance - covariance[:, [other]]
                variance = np.diag(covariance)[chosen]
        elif items is None:
            raise ValueError(
                f"`items` must be given beyond {DENSE_LIMIT} items, where each standard error takes a linear solve; "
                f"got {size} items"
            )
        else:
            variance = np.array([self._variance(item, other) for item in chosen.tolist()])
        variance[chosen == other] = 0.0
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    def covariance(self) -> FloatArray:
        """Covariance of utilities relative to their mean, as in `standard_errors`, and of the effects after them.

        For up to 4,096 items.
        """
        result = np.asarray(self.information.covariance())
        if self.scores_squared is not None:
            result = np.asarray(result @ (self.scores_squared @ result))
        if self.prior is not None:
            size = self.utilities.size
            result[:size] -= result[:size].mean(axis=0)
            result[:, :size] -= result[:, :size].mean(axis=1)[:, None]
        return result

    def effect_errors(self) -> dict[str, float]:
        """Standard error of each effect."""
        if not self.effects:
            return {}
        variance = np.diag(self.covariance())[self.utilities.size :]
        return dict(zip(self.effects, np.sqrt(np.maximum(variance, 0.0)).tolist(), strict=True))

    def _variance(self, item: int, other: int | None) -> float:
        contrast = np.zeros(self.utilities.size + len(self.effects))
        contrast[item] = 1.0
        if other is not None:
            contrast[other] -= 1.0
        elif self.prior is not None:
            contrast[: self.utilities.size] -= 1.0 / self.utilities.size
        contrast = self.information.centred(contrast)
        found = self.information.solve(contrast, 1e-8)
        if self.scores_squared is not None:
            return float(found @ (self.scores_squared @ found))
        return float((contrast * found).sum())

    def relative_utilities(self, relative_to: int | None = None) -> FloatArray:
        """Utilities less that of an item, or less their mean, shape (n,)."""
        if relative_to is not None:
            other = whole_number("relative_to", relative_to, most=self.utilities.size - 1)
            return np.asarray(self.utilities - self.utilities[other])
        return np.asarray(self.utilities - (0.0 if self.prior is None else self.utilities.mean()))

    def win_probabilities(self) -> FloatArray:
        r"""That the item of a row beats that of a column, :math:`\sigma(\omega_i - \omega_j)`, shape (n, n).

        NaN between groups without a comparison between them, unless a prior compares them. Where ties are modelled,
        among comparisons that are no ties in Davidson's model; without other effects.
        """
        chances = expit(np.subtract.outer(self.utilities, self.utilities))
        if self.prior is None:
            chances[self.components[:, None] != self.components] = np.nan
        return np.asarray(chances)

    def confidence_intervals(
        self, level: float = 0.95, items: Sequence[int] | NDArray[Any] | None = None, *,
        relative_to: int | None = None,
    ) -> FloatArray:  # fmt: skip
        """Wald intervals, shape (k, 2): the estimate and so many standard errors to either side.

        They are intervals of `relative_utilities`, or of differences to an item.

        Parameters
        ----------
        level : float
            Probability that an interval covers the truth, in (0, 1).
        items, relative_to
            As in `standard_errors`.
        """
        reach = interval_reach(level)
        errors = self.standard_errors(items, relative_to=relative_to)
        centre = self.relative_utilities(relative_to)
        centre = centre if items is None else centre[np.asarray(items)]
        return np.stack([centre - reach * errors, centre + reach * errors], axis=1)


def interval_reach(level: float) -> float:
    """Standard errors to either side that a normal variable stays within with probability `level`.

    Examples
    --------
    >>> round(interval_reach(0.95), 3)
    1.96
    """
    level = number("level", level)
    if not 0.0 < level < 1.0:
        raise ValueError(f"`level` must be in (0, 1); got {level}")
    return -float(ndtri(0.5 * (1.0 - level)))
