"""`check_fitter`: one call holds an estimator for comparisons against the certified optimum and the laws it obeys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from pbde_ref.estimation.result import interval_reach
from pbde_ref.oracle.calling.subjects import name_of
from pbde_ref.oracle.context import FailedCheckError, SkippedCheckError
from pbde_ref.oracle.fitters.bench import Bench, RefusedError
from pbde_ref.oracle.fitters.definition import Declared
from pbde_ref.oracle.fitters.known_bugs import diagnose
from pbde_ref.oracle.fitters.laws import CHECKS
from pbde_ref.oracle.report import CheckResult, LossCheckError, Report, as_expected, as_many_as_expected
from pbde_ref.validation import choice, instance, shown, whole_number

__all__ = ["check_fitter"]


def check_fitter(
    function: Callable[..., Any], model: str = "bradley_terry", *, ties: str | None = None, scale: float | str = 1.0,
    ridge: float | str = 0.0, anchor: str | None = None, tolerance: float = 1e-5, level: float = 0.95,
    repetitions: int = 200, seed: int = 0, on_failure: str = "raise",
    expected_failed_checks: Mapping[str, str] | None = None, expect_checks: int | None = None,
) -> Report:  # fmt: skip
    r"""Hold a function that makes scores from comparisons against what it says it computes.

    .. math:: \hat\omega = \arg\max_\omega \sum_m w_m \log \sigma(\omega_{\text{winner}} - \omega_{\text{loser}})
              - \tfrac{c}{2} \sum_i \omega_i^2

    Parameters
    ----------
    function : callable
        Called with three lists of equal length: labels on the left, labels on the right, and what came of it,
        ``"left"``, ``"right"`` or ``"tie"``; and, if it has such a keyword, ``weights``. It returns a mapping (a
        pandas Series, too) from each label to its score; or two of them, the second with standard errors, or with two
        ends of an interval for each.
    model : {"bradley_terry"}
        Davidson's and Rao and Kupper's are it with ties.
    ties : {"drop", "half", "davidson", "rao-kupper"}, optional
        What ties count for. Default: the function is given none.
    scale : float, "elo" or "odds"
        Units of a score in a nat of utility: 1, or 400 / ln 10. "odds": scores are strengths, :math:`e^\omega`.
    ridge : float or "pseudo:COUNT"
        c of the formula, which is 1 / C of scikit-learn; or so many wins and losses of each item against utility 0.
    anchor : str, optional
        What is pinned: "mean:1000", "sum:1", "first:0" or "last:0", these in the order of the labels. Default:
        differences alone count. Standard errors are those of differences to a pinned item, else to the mean.
    tolerance : float
        By how many nats a difference may be off. A point of Elo is 0.0058.
    level, repetitions : float, int
        Of intervals, and how many sets of comparisons their coverage is tried on.
    seed : int
        Of everything that the function is tried on.
    on_failure, expected_failed_checks, expect_checks
        As in `check_loss`.

    Returns
    -------
    Report

    Raises
    ------
    LossCheckError
        If a check fails that was not expected to, unless ``on_failure="report"``.
    ValueError, TypeError
        If something is declared that cannot be.

    Examples
    --------
    >>> from pbde_ref.estimation import fit_comparisons
    >>> def mine(left, right, outcome, weights=None):
    ...     winner = [a if said == "left" else b for a, b, said in zip(left, right, outcome)]
    ...     loser = [b if said == "left" else a for a, b, said in zip(left, right, outcome)]
    ...     fit = fit_comparisons(winner, loser, weights)
    ...     return dict(zip(fit.distribution.support, fit.utilities))
    >>> check_fitter(mine, tolerance=1e-8).passed
    True
    >>> elo = check_fitter(lambda *rows: {k: 173.7 * v for k, v in mine(*rows).items()}, on_failure="report")
    >>> elo.diagnoses[0]
    'all differences times 173.7 (scale=173.7): another unit than declared'
    """
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"`function` must be a function or an instance that can be called; got {shown(function)}")
    choice("model", model, ("bradley_terry",))
    choice("on_failure", on_failure, ("raise", "report"))
    expected = {} if expected_failed_checks is None else expected_failed_checks
    instance("expected_failed_checks", expected, Mapping, "a mapping from checks to reasons")
    for name in expected:
        choice("expected_failed_checks", name, ("call", *CHECKS))
    declared = Declared(ties, scale, ridge, anchor, tolerance)
    repetitions = whole_number("repetitions", repetitions, least=1)
    interval_reach(level)
    bench = Bench(function, declared, whole_number("seed", seed), level, repetitions, diagnose)
    if expect_checks is not None:
        whole_number("expect_checks", expect_checks, least=1)
    results = tuple(as_expected(result, expected) for result in _run(bench))
    if expect_checks is not None:
        results = (*results, as_many_as_expected(results, expect_checks))
    says = {**asdict(declared), "seed": bench.seed}
    changes = tuple(sorted(bench.changes))
    report = Report(name_of(function), model, says, results, "lists", "labels", changes=changes)
    if on_failure == "raise" and not report.passed:
        raise LossCheckError(report)
    return report


def _run(bench: Bench) -> Iterator[CheckResult]:
    """First whether the function can be called at all."""
    called = _result("call", lambda tried: tried.known("generic"), bench)
    yield called
    for name, check in CHECKS.items():
        if called.status == "failed":
            yield CheckResult(name, "skipped", "the function could not be called")
        else:
            yield _result(name, check, bench)


def _result(name: str, check: Callable[[Bench], Any], bench: Bench) -> CheckResult:
    try:
        # Scores may be infinite, and no numbers at all.
        with np.errstate(all="ignore"):
            check(bench)
    except SkippedCheckError as reason:
        return CheckResult(name, "skipped", str(reason))
    except FailedCheckError as failure:
        return CheckResult(name, "failed", str(failure), failure.diagnosis)
    except RefusedError as error:
        return CheckResult(name, "failed", f"the function raised {error}")
    return CheckResult(name, "passed")
