r"""Which preference process did annotators follow: comparisons as a regression on log-probabilities and lengths.

.. math:: \text{logit Prob}(A \succ B) = \Delta\big[a \log p + b \log p / |x| + c \log \pi_{pre} + d\, |x|\big] + \dots,
          \qquad \Delta v = v(A) - v(B)

A process is a linear restriction of (a, b, c, d). What cannot be told apart, and why: ``proofs/process_identified.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, expit, fdtrc

from pbde_ref.display import Shown
from pbde_ref.estimation.connectivity import NoFiniteEstimateError
from pbde_ref.estimation.newton import newton
from pbde_ref.estimation.regression import ColumnChoices, Dependence
from pbde_ref.exact.separation import separating_direction
from pbde_ref.validation import (
    FloatArray,
    array,
    comparison_weights,
    indices,
    instance,
    reject,
    vector,
    whole_number,
)

__all__ = ["COLUMNS", "PROCESSES", "ProcessIdentification", "ProcessTest", "identify_process"]

COLUMNS = LOG_P, PER_TOKEN, REFERENCE, LENGTH = "log p", "log p / |x|", "log π_pre", "|x|"
# Eigenvalue of the columns' correlations at which they count as collinear.
COLLINEAR = 1e-10
LEVEL = 0.05

PROCESSES: dict[str, tuple[str, dict[str, float], dict[str, float]]] = {
    "Luce": ("log p", {LOG_P: 1.0}, {}),
    "DPO": ("β (log p − log π_pre)", {}, {LOG_P: 1.0, REFERENCE: -1.0}),
    "length-normalised": ("c · log p / |x|", {}, {PER_TOKEN: 1.0}),
    "geometric": ("log p / α + (1 − 1/α) log π_pre", {REFERENCE: 1.0}, {LOG_P: 1.0, REFERENCE: -1.0}),
}
"""Each process's formula, the coefficients that it fixes, and those that its one parameter multiplies."""

LETTERS = {"DPO": "β", "geometric": "α"}

WITHOUT_LOG_P: dict[str, tuple[str, dict[str, float], dict[str, float]]] = {
    "a coin": ("0", {}, {}),
    "the reference alone": ("c · log π_pre", {}, {REFERENCE: 1.0}),
    "length alone": ("d · |x|", {}, {LENGTH: 1.0}),
}


@dataclass(frozen=True, eq=False)
class ProcessTest:
    r"""One process held against the comparisons.

    Attributes
    ----------
    name, formula : str
    parameter, error : float or None
        :math:`\beta`, c or :math:`\alpha`, and its standard error; None where there is none. A process has f > 0: a
        parameter below zero is an estimate outside of it.
    log_likelihood, aic : float
    n_parameters : int
        Other columns' included.
    statistic, degrees, p_value : float
        Twice the likelihood's loss against all columns, and its :math:`\chi^2` tail; with clusters Wald's test with
        their covariance, and an F tail.
    """

    name: str
    formula: str
    parameter: float | None
    error: float | None
    log_likelihood: float
    aic: float
    n_parameters: int
    statistic: float
    degrees: int
    p_value: float

    @property
    def estimate(self) -> str:
        """The parameter with its letter and error; empty if there is none."""
        if self.parameter is None:
            return ""
        return f"{LETTERS.get(self.name, 'c')} = {self.parameter:.3g} ± {self.error:.2g}"

    @property
    def rejected(self) -> bool:
        """At 5 %, or because its parameter has the wrong sign."""
        return self.p_value < LEVEL or (self.parameter is not None and self.parameter <= 0.0)


@dataclass(frozen=True, eq=False)
class ProcessIdentification(Shown):
    """What comparisons say about the process behind them.

    Attributes
    ----------
    columns : tuple of str
    coefficients, errors : ndarray, shape (k,)
        Of the regression on all columns.
    covariance : ndarray, shape (k, k)
    error_kind : {"fisher", "clustered"}
    log_likelihood, aic : float
    n : float
        Comparisons.
    processes : tuple of ProcessTest
        Those whose columns there are; without log p what the reference and lengths alone explain.
    link : float
        p-value of a cube of the fitted margin beside it: small where the logistic curve is wrong.
    calibration : ndarray, shape (bins, 3)
        By how sure the regression was: how many, which share of the favourites it expected to win, and which did.
    converged : bool
    """

    columns: tuple[str, ...]
    coefficients: FloatArray
    errors: FloatArray
    covariance: FloatArray
    error_kind: str
    log_likelihood: float
    aic: float
    n: float
    processes: tuple[ProcessTest, ...]
    link: float
    calibration: FloatArray
    converged: bool

    @property
    def best(self) -> ProcessTest:
        """The process with the least AIC."""
        return min(self.processes, key=lambda test: test.aic)

    def sentence(self) -> str:
        """The finding."""
        left = [test for test in self.processes if not test.rejected]
        known = LOG_P in self.columns or PER_TOKEN in self.columns
        subject = "process" if known else "account without log p"
        if not left:
            closest = max(self.processes, key=lambda test: test.p_value)
            text = f"No {subject} fits: each is rejected at 5 %, {closest.name} least (p = {closest.p_value:.2g})."
        elif len(left) == 1:
            only = left[0]
            text = f"{only.name}{_with(only)} is the one {subject} that is not rejected (p = {only.p_value:.2g})."
        else:
            names = " and ".join(f"{test.name}{_with(test)}" for test in left)
            best = min(left, key=lambda test: test.aic)
            text = f"These comparisons do not tell {names} apart; AIC prefers {best.name}."
        if not known:
            text += " Without log p no preference process can be named."
        return text + (" But the margins' shape is not logistic (link test)." if self.link < 0.01 else "")


def _with(test: ProcessTest) -> str:
    return f" ({test.estimate})" if test.estimate else ""


def identify_process(
    *, log_p: ArrayLike | None = None, log_reference: ArrayLike | None = None, lengths: ArrayLike | None = None,
    covariates: Mapping[str, ArrayLike] | None = None, weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None, bins: int = 10,
) -> ProcessIdentification:  # fmt: skip
    r"""Find the preference process that comparisons of texts follow.

    Parameters
    ----------
    log_p, log_reference, lengths : array_like, shape (2, m), optional
        Of the chosen answers, then of the rejected: log-probabilities in nats given the prompt, of the annotator's
        :math:`p^*` or of a model that may be it, and of :math:`\pi_{pre}`; numbers of tokens. Columns that are missing
        leave out the processes that need them. Without `log_p` the rest is asked what it explains alone.
    covariates : mapping of str to array_like, shape (m,), optional
        Numbers that speak for the chosen answer, such as ±1 for standing first; free in every process.
    weights : array_like, shape (m,), optional
        How often each comparison happened.
    clusters : array_like of int, shape (m,), optional
        Comparisons of one prompt or annotator, which may depend on each other; errors and tests then allow for it.
    bins : int
        Of the calibration, at least 1.

    Returns
    -------
    ProcessIdentification

    Raises
    ------
    NoFiniteEstimateError
        If a combination of columns explains all comparisons without exception.
    ValueError
        If log-probabilities are missing or positive, lengths not positive, or columns collinear within pairs; the
        message names them.

    Examples
    --------
    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> rng = np.random.default_rng(0)
    >>> lengths = rng.integers(5, 16, (2, 500))
    >>> log_reference = -2.0 - 0.3 * lengths - rng.exponential(1.5, lengths.shape)
    >>> log_p = log_reference - rng.exponential(2.0, lengths.shape)
    >>> utilities = pb.PBDE(0.3, -0.3 * log_reference.ravel()).utility(log_p.ravel()).reshape(2, 500)  # DPO's
    >>> won = rng.random(500) < 1.0 / (1.0 + np.exp(utilities[1] - utilities[0]))
    >>> log_p, log_reference, lengths = (np.where(won, x, x[::-1]) for x in (log_p, log_reference, lengths))
    >>> found = pb.identify_process(log_p=log_p, log_reference=log_reference, lengths=lengths)
    >>> found.best.name, round(found.best.parameter, 2), [test.name for test in found.processes if test.rejected]
    ('DPO', 0.35, ['Luce', 'length-normalised', 'geometric'])
    """
    bins = whole_number("bins", bins, least=1)
    columns = _columns(log_p, log_reference, lengths, covariates)
    size = next(iter(columns.values())).size
    times = np.ones(size) if weights is None else vector("weights", weights)
    grouped = None if clusters is None else indices("clusters", clusters)  # type: ignore[arg-type]
    for name, value in (*columns.items(), ("weights", times), ("clusters", times if grouped is None else grouped)):
        if value.size != size:
            raise ValueError(f"`{name}` must have one entry for each comparison, {size}; got {value.size}")
    comparison_weights("weights", times)
    if grouped is not None and np.unique(grouped).size <= len(columns):
        raise ValueError(f"`clusters` must be more than the columns, {len(columns)}; got {np.unique(grouped).size}")
    _check_collinear(columns, times)
    design, dependence, width = np.column_stack(list(columns.values())), Dependence(grouped), len(columns)
    full = _fit(design, times, np.zeros(width), np.eye(width), dependence)
    if not full.converged:
        _explain(design[times > 0.0], list(columns))
    extra = [name for name in columns if name not in COLUMNS]
    known = PROCESSES if LOG_P in columns else WITHOUT_LOG_P
    tests = []
    for name, (formula, fixed, free) in known.items():
        if set(fixed) | set(free) <= set(columns):
            basis = [np.array([float(free.get(column, 0.0)) for column in columns])] if free else []
            basis += [np.array([float(column == other) for column in columns]) for other in extra]
            offset = np.array([fixed.get(column, 0.0) for column in columns])
            restricted = _fit(design, times, offset, np.array(basis).reshape(-1, width).T, dependence)
            tests.append(_test(name, formula, bool(free), restricted, full, grouped))
    margin = design @ full.at
    return ProcessIdentification(
        columns=tuple(columns), coefficients=full.at, errors=np.sqrt(full.covariance.diagonal()),
        covariance=full.covariance, error_kind="fisher" if clusters is None else "clustered",
        log_likelihood=full.log_likelihood, aic=2.0 * (width - full.log_likelihood), n=float(times.sum()),
        processes=tuple(tests), link=_link(design, margin, times), calibration=_calibration(margin, times, bins),
        converged=full.converged,
    )  # fmt: skip


def _columns(
    log_p: ArrayLike | None, log_reference: ArrayLike | None, lengths: ArrayLike | None,
    covariates: Mapping[str, ArrayLike] | None,
) -> dict[str, FloatArray]:  # fmt: skip
    """Differences, chosen less rejected, by their names."""
    columns = {}
    named = {"log_p": log_p, "log_reference": log_reference, "lengths": lengths}
    given = {name: _both(name, value) for name, value in named.items() if value is not None}
    for name, pair in given.items():
        first = next(iter(given))
        if pair.shape != given[first].shape:
            raise ValueError(f"`{name}` must have the shape of `{first}`, {given[first].shape}; got {pair.shape}")
    for name in ("log_p", "log_reference"):
        if name in given:
            reject(name, "at most 0, for it is the logarithm of a probability", given[name], given[name] > 0.0)
    if "lengths" in given:
        reject("lengths", "positive", given["lengths"], given["lengths"] <= 0.0)
    if "log_p" in given:
        columns[LOG_P] = given["log_p"]
        if "lengths" in given:
            columns[PER_TOKEN] = given["log_p"] / given["lengths"]
    for name, column in ((REFERENCE, "log_reference"), (LENGTH, "lengths")):
        if column in given:
            columns[name] = given[column]
    if not columns:
        raise TypeError("one of `log_p`, `log_reference` and `lengths` must be given; got none")
    result = {name: value[0] - value[1] for name, value in columns.items()}
    if covariates is not None:
        instance("covariates", covariates, Mapping, "a mapping of names to numbers")
    for name, value in (covariates or {}).items():
        result[str(name)] = vector(f"covariates[{name!r}]", value)
        reject(f"covariates[{name!r}]", "finite", result[str(name)], np.isinf(result[str(name)]))
        reject(f"covariates[{name!r}]", "of size at most 1e100", result[str(name)], np.abs(result[str(name)]) > 1e100)
    return result


def _both(name: str, value: Any) -> FloatArray:
    result = array(name, value, nan=True)
    reject(name, "free of missing values", result, np.isnan(result))
    reject(name, "finite", result, np.isinf(result))
    reject(name, "of size at most 1e100", result, np.abs(result) > 1e100)
    if result.ndim != 2 or len(result) != 2 or not result.size:
        raise ValueError(f"`{name}` must have two rows, of chosen and of rejected answers; got shape {result.shape}")
    return result


def _check_collinear(columns: Mapping[str, FloatArray], weights: FloatArray) -> None:
    """Raise ``ValueError`` naming columns of which one says what others say."""
    matrix = np.sqrt(weights)[:, None] * np.column_stack(list(columns.values()))
    norms = np.linalg.norm(matrix, axis=0)
    flat = [name for name, norm in zip(columns, norms, strict=True) if norm == 0.0]
    if flat:
        raise ValueError(f"columns must differ between chosen and rejected answers; got no difference in {flat[0]!r}")
    values, vectors = np.linalg.eigh(matrix.T @ matrix / np.multiply.outer(norms, norms))
    if values[0] < COLLINEAR:
        involved = [name for name, share in zip(columns, vectors[:, 0], strict=True) if abs(share) > 0.01]
        raise ValueError(
            "columns must not be collinear within pairs, for the comparisons cannot tell them apart; got "
            f"{', '.join(map(repr, involved))}: leave one out"
        )


@dataclass(frozen=True, eq=False)
class _Fit:
    """Coefficients of all columns, and the covariance of those that are free."""

    at: FloatArray
    basis: FloatArray
    free: FloatArray
    covariance: FloatArray
    log_likelihood: float
    converged: bool


def _fit(
    design: FloatArray, weights: FloatArray, offset: FloatArray, basis: FloatArray, dependence: Dependence
) -> _Fit:
    choices = ColumnChoices(design @ basis, design @ offset, weights)
    free, converged, covariance = np.zeros(basis.shape[1]), True, np.zeros((basis.shape[1],) * 2)
    if free.size:
        found = newton(choices, free, 1e-10, 100)
        # One more step, which is too short for anything but the last digits.
        step = found.information.solve(choices.derivatives(found.utilities, free)[0])
        free, converged = found.utilities - step if found.converged else found.utilities, found.converged
        covariance = found.information.covariance()
        if dependence.clusters is not None:
            squared = dependence.squared(choices.scores(free), weights)
            covariance = covariance @ squared.toarray() @ covariance
    return _Fit(offset + basis @ free, basis, free, covariance, choices.log_likelihood(free), converged)


def _test(
    name: str, formula: str, has_parameter: bool, restricted: _Fit, full: _Fit, clusters: Any
) -> ProcessTest:
    degrees = full.at.size - restricted.free.size
    statistic = max(2.0 * (full.log_likelihood - restricted.log_likelihood), 0.0)
    if clusters is None:
        p_value = float(chdtrc(degrees, statistic)) if degrees else 1.0
    else:
        # Wald's test of what the process fixes: directions across its own, at the full estimate.
        across = np.linalg.svd(restricted.basis, full_matrices=True)[0][:, restricted.free.size :]
        apart = across.T @ (full.at - restricted.at)
        statistic = float(apart @ np.linalg.solve(across.T @ full.covariance @ across, apart)) if degrees else 0.0
        others = np.unique(clusters).size - 1
        p_value = float(fdtrc(degrees, others, statistic / degrees)) if degrees else 1.0
    parameter = error = None
    if has_parameter:
        parameter, error = float(restricted.free[0]), float(np.sqrt(restricted.covariance[0, 0]))
        if name == "geometric":
            parameter, error = (1.0 / parameter, error / parameter**2) if parameter else (np.inf, np.inf)
    return ProcessTest(
        name, formula, parameter, error, restricted.log_likelihood,
        2.0 * (restricted.free.size - restricted.log_likelihood), restricted.free.size, statistic, degrees, p_value,
    )  # fmt: skip


def _explain(design: FloatArray, names: list[str]) -> None:
    """Raise if a combination of columns is on the winner's side in every comparison."""
    rows = design / np.abs(design).max(axis=0)
    found = separating_direction(rows)
    if found is not None:
        # A column that does it alone is the one to look at; others only come along.
        alone = (rows >= 0.0).all(axis=0) | (rows <= 0.0).all(axis=0)
        grown = [repr(name) for name, is_part in zip(names, alone if alone.any() else abs(found) > 1e-6, strict=True)
                 if is_part]  # fmt: skip
        how = "" if alone.any() else "a combination of "
        raise NoFiniteEstimateError(
            f"comparisons must have exceptions to every rule; got {len(rows)} that {how}"
            f"{', '.join(grown)} explains without one",
            "add comparisons of answers that are closer to each other, or leave out a column",
        )


def _link(design: FloatArray, margin: FloatArray, weights: FloatArray) -> float:
    """Score test of the margin's cube."""
    cube, model = margin**3, expit(margin)
    rows = np.column_stack([design, cube])
    information = rows.T @ ((weights * model * expit(-margin))[:, None] * rows)
    slope = float((weights * expit(-margin)) @ cube)
    within = information[:-1, :-1]
    left = float(information[-1, -1] - information[-1, :-1] @ np.linalg.solve(within, information[:-1, -1]))
    return float(chdtrc(1, slope**2 / left)) if left > 1e-12 * information[-1, -1] else 1.0


def _calibration(margin: FloatArray, weights: FloatArray, bins: int) -> FloatArray:
    """Comparisons in order of how sure the regression was, in groups of equal size."""
    order = np.argsort(np.abs(margin), kind="stable")
    won = np.where(margin == 0.0, 0.5, margin > 0.0)
    rows = []
    for part in np.array_split(order, min(bins, order.size)):
        total = float(weights[part].sum())
        if total > 0.0:
            expected = float(weights[part] @ expit(np.abs(margin[part]))) / total
            rows.append((total, expected, float(weights[part] @ won[part]) / total))
    return np.array(rows)
