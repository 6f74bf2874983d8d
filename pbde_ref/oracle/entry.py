"""`check_loss`, `check_sequence_log_probs`, `check_sequence_rewards`: one call runs all checks on a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pbde_ref.catalogue import loss_named
from pbde_ref.catalogue.records import Loss
from pbde_ref.objectives import Objective
from pbde_ref.oracle.calling.preparation import chosen_of, conventions_of
from pbde_ref.oracle.calling.readiness import Options, bench_for, checks_of, generic_case
from pbde_ref.oracle.own import OwnLoss, own_loss
from pbde_ref.oracle.reduction.check import CUTS, check_reduction
from pbde_ref.oracle.report import (
    EXPECT_CHECKS,
    CheckResult,
    LossCheckError,
    Report,
    as_expected,
    as_many_as_expected,
)
from pbde_ref.oracle.rewards import SEQUENCE_REWARDS
from pbde_ref.oracle.sequences import SEQUENCE_LOG_PROBS
from pbde_ref.validation import choice, instance

__all__ = [
    "check_loss", "check_sequence_log_probs", "check_sequence_rewards", "chosen_values", "iter_checks", "run_check",
]  # fmt: skip

# What `check_reduction` is called among the losses.
REDUCTION = "reduction"


def check_loss(
    function: Callable[..., Any],
    loss: str | None = None,
    *,
    objective: Objective | Callable[..., Any] | None = None,
    framework: str = "auto",
    dtype: str = "float64",
    gradients: bool = True,
    returns_gradients: bool = False,
    detached_reference: bool = False,
    returns_rewards: bool = False,
    random_search: int = 0,
    seed: int = 0,
    on_failure: str = "raise",
    expected_failed_checks: Mapping[str, str] | None = None,
    expect_checks: int | None = None,
    **conventions: Any,
) -> Report:
    r"""Hold a loss function against its definition.

    Parameters
    ----------
    function : callable
        Called with arrays as positional arguments, in the order of the function of `pbde_ref.losses`:

        - "bradley_terry" ("reward"): chosen_rewards, rejected_rewards, and margins under ``margin="per_example"``;
        - "dpo", "geometric", "rso", "scaled_hinge" ("hinge"), "ipo": policy_chosen, policy_rejected, reference_chosen,
          reference_rejected; for "ipo" with ``average=True`` also chosen_lengths, rejected_lengths;
        - "slic": policy_chosen, policy_rejected, and regularization if ``lambda_`` is positive;
        - "length_normalized" ("simpo"): policy_chosen, policy_rejected, chosen_lengths, rejected_lengths;
        - "pbde": policy_chosen, policy_rejected, f_chosen, f_rejected, g_chosen, g_rejected;
        - "rrhf": policy, lengths, scores (or ranks, under ``ranking="ranks"``), each of shape (B, k);
        - "annotator_mixture" ("mixture"): policy_chosen, policy_rejected, each of shape (B, k), and weight_logits of
          shape (k,).

        - your own `objective`: policy_chosen, policy_rejected, reference_chosen, reference_rejected, or the first two
          with ``reference_free=True``.

        It returns the loss, or a tuple whose first element is the loss.
    loss : str, optional
        Which definition; or else `objective`.
    objective : callable or Objective, optional
        Your own definition of a pair's loss: a function, in NumPy's arithmetic and elementwise, of an array of margins
        :math:`m = a - b`, or of the two arrays of log-ratios :math:`a = \log \pi(y_w) - \log \pi_{ref}(y_w)` and b,
        the same of the rejected outcome. Further arguments are its hyperparameters. Its gradients are differences; near
        a kink, as of ``np.maximum``, they are held only as far as both sides agree. `Objective` brings its own.
    framework : {"auto", "numpy", "torch", "jax"}
        What arrays it takes. "auto": the framework that its code mentions; otherwise NumPy, and if it raises TypeError
        or AttributeError on NumPy arrays, PyTorch or JAX if they are installed.
    dtype : {"float64", "float32", "bfloat16", "float16"}
        Of the arrays in all checks but those named after another. Inputs are rounded to it first. What is right beyond
        65504 is not held in float16, and its extreme gaps are 64 times smaller.
    gradients : bool
        Whether to look at gradients. They come from the framework's own differentiation.
    returns_gradients : bool
        That the function returns (loss, gradients), a mapping from the inputs' names or one array for each of them.
        For NumPy, which has no derivative of its own.
    detached_reference : bool
        That the function itself keeps gradients from the reference. Without it a function that does not is no failure:
        its caller computes the reference without gradient.
    returns_rewards : bool
        That it returns (loss, chosen rewards, rejected rewards), or a mapping with both behind the loss. They are held
        against the two utilities whose difference is the margin, such as ``beta (log pi - log pi_ref)``
        for "dpo", each of shape (B,). If this is not declared the report notes what was not looked at.
    random_search : int
        How many random batches to look at besides the fixed ones. Needs Hypothesis.
    seed : int
        Of the random search.
    on_failure : {"raise", "report"}
        Whether a failed check raises.
    expected_failed_checks : mapping of str to str, optional
        Names of checks that are known to fail, with the reason.
    expect_checks : int, optional
        How many checks must hold something (`Report.held`), so that one that is skipped without a word fails.
    **conventions
        What the function computes: the hyperparameters of the definition (beta, label_smoothing, variant, tau, average,
        delta, ``lambda_``, alpha, scale, margin, likelihood_weight, average_likelihood, ranking, and for a function of
        the policy's two arrays alone reference_free=True), and ``reduction="mean" | "sum" | "none"``, what it returns.
        A hyperparameter that the function takes as a keyword is passed to it, and varied; any other must be bound in
        the function to what is declared here.

    Returns
    -------
    Report

    Raises
    ------
    LossCheckError
        If a check fails that was not expected to, unless ``on_failure="report"``.
    ValueError, TypeError
        If something is declared that the loss does not have, or not declared that it needs.

    Examples
    --------
    >>> import numpy as np
    >>> def mine(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    ...     margin = beta * (policy_chosen - reference_chosen - policy_rejected + reference_rejected)
    ...     return np.mean(np.logaddexp(0.0, -beta * margin))
    >>> report = check_loss(mine, "dpo", beta=0.3, on_failure="report")
    >>> report.passed, report.diagnoses[0]
    (False, 'matches a known bug: β applied twice (MaxText #1530): the margin is multiplied by β²')

    A definition of one's own, held against a function that has lost the reference:

    >>> def exponential(margin, beta):
    ...     return np.exp(-beta * margin)
    >>> def lost(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    ...     return np.mean(np.exp(-beta * (policy_chosen - policy_rejected)))
    >>> report = check_loss(lost, objective=exponential, beta=0.3, on_failure="report")
    >>> report.loss, report.diagnoses[0].split(" (")[0]
    ('exponential', 'matches a known bug: reference model missing')
    """
    definition = _definition(loss, objective, conventions)
    options = Options(
        framework, dtype, gradients, returns_gradients, detached_reference, random_search, seed, returns_rewards,
        expect_checks,
    )  # fmt: skip
    return _check(function, definition, conventions, options, on_failure, expected_failed_checks)


def check_sequence_log_probs(
    function: Callable[..., Any],
    *,
    average: bool = False,
    shift: bool = True,
    temperature: float = 1.0,
    layout: str = "mask",
    framework: str = "auto",
    dtype: str = "float64",
    gradients: bool = True,
    returns_gradients: bool = False,
    on_failure: str = "raise",
    expected_failed_checks: Mapping[str, str] | None = None,
    expect_checks: int | None = None,
) -> Report:
    """Hold a function that makes log-probabilities of sequences from logits against the definition.

    Parameters
    ----------
    function : callable
        Called with arrays as positional arguments, returns shape (B,) or a tuple whose first element that is.
    average : bool
        Whether it returns the mean over the tokens instead of the sum.
    shift : bool
        True: logits at position t are about the token at t + 1, and the function takes care of it.
    temperature : float
        What logits are divided by, positive. A function that takes it as a keyword is also tried with another one.
    layout : {"mask", "labels", "lengths"}
        How it is told what counts. "mask": (logits, labels, mask), the mask over the labels, true for the completion
        with its end. "labels": (logits, labels), -100 where nothing counts. "lengths": (logits, labels,
        attention_mask, prompt_lengths), the attention mask being 0 for padding on either side, and the prompts' lengths
        the number of positions before the completion, padding on the left included.
    framework, dtype, gradients, returns_gradients, on_failure, expected_failed_checks, expect_checks
        As in `check_loss`.

    Returns
    -------
    Report

    Examples
    --------
    >>> import numpy as np
    >>> def mine(logits, labels, mask):
    ...     z = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    ...     tokens = np.take_along_axis(z[:, :-1], labels[:, 1:, None], -1)[..., 0]
    ...     return (tokens * mask[:, :-1]).sum(-1)
    >>> check_sequence_log_probs(mine, on_failure="report").diagnoses[0].split(": ")[1]
    'mask not shifted with the labels'
    """
    options = Options(framework, dtype, gradients, returns_gradients, expect_checks=expect_checks)
    choice("layout", layout, ("mask", "labels", "lengths"))
    conventions = {
        "average": average, "shift": shift, "temperature": temperature, "layout": layout, "reduction": "none",
    }  # fmt: skip
    return _check(function, SEQUENCE_LOG_PROBS, conventions, options, on_failure, expected_failed_checks)


def check_sequence_rewards(
    function: Callable[..., Any],
    *,
    framework: str = "auto",
    dtype: str = "float64",
    gradients: bool = True,
    returns_gradients: bool = False,
    on_failure: str = "raise",
    expected_failed_checks: Mapping[str, str] | None = None,
    expect_checks: int | None = None,
) -> Report:
    r"""Hold a function that reads the rewards of sequences from the scores of their tokens against the definition.

    .. math:: r_b = s_{b, t_b}, \qquad t_b = \max \{t : \text{mask}_{b, t} \ne 0\}

    Parameters
    ----------
    function : callable
        Called with two arrays as positional arguments, scores of shape (B, T), what a reward model says at each
        position, and the attention mask of shape (B, T), 1 for prompt and completion, 0 for padding on either side. It
        returns shape (B,) or a tuple whose first element that is.
    framework, dtype, gradients, returns_gradients, on_failure, expected_failed_checks, expect_checks
        As in `check_loss`. A function for padding on the right alone fails "left_padding"; name it among
        `expected_failed_checks` if that is meant.

    Returns
    -------
    Report

    Raises
    ------
    LossCheckError
        If a check fails that was not expected to, unless ``on_failure="report"``.
    ValueError
        If `framework`, `dtype` or `on_failure` is none of those there are.

    Examples
    --------
    >>> import numpy as np
    >>> def mine(scores, mask):
    ...     return scores[np.arange(len(scores)), mask.sum(axis=1) - 1]
    >>> report = check_sequence_rewards(mine, on_failure="report")
    >>> [result.name for result in report.results if result.status == "failed"], report.diagnoses[0].split(" (")[0]
    (['left_padding'], "matches a known bug: reward read where the mask's sum points")
    """
    options = Options(framework, dtype, gradients, returns_gradients, expect_checks=expect_checks)
    return _check(function, SEQUENCE_REWARDS, {"reduction": "none"}, options, on_failure, expected_failed_checks)


def iter_checks(loss: str | None = None, **conventions: Any) -> Iterator[str]:
    """The names of the checks that `check_loss` runs.

    Parameters
    ----------
    loss : str
        As in `check_loss`; or "sequence_log_probs", "sequence_rewards" or "reduction".
    **conventions
        As in `check_loss`, ``objective=...`` among them, and its options that add checks: ``returns_rewards=True``,
        ``random_search=N``, ``expect_checks=N``. Conventions left out have generic values.

    Examples
    --------
    >>> list(iter_checks("dpo"))[:5]
    ['call', 'repeatability', 'statelessness', 'inputs_unmodified', 'value']
    """
    if isinstance(loss, str) and loss == REDUCTION:
        return iter(CUTS)
    definition, options, declared = _asked(loss, conventions)
    case = generic_case(definition, conventions_of(definition, declared, set(definition.parameters)))
    pinned = [EXPECT_CHECKS] if options.expect_checks is not None else []
    return iter(["call", *checks_of(case, options), *pinned])


def run_check(name: str, function: Callable[..., Any], loss: str | None = None, **conventions: Any) -> CheckResult:
    """Run one check.

    Parameters
    ----------
    name : str
        As given by `iter_checks`; or "random_search", with ``random_search=N``; or "expect_checks", with
        ``expect_checks=N``, which runs all others.
    function, loss
        As in `check_loss`; `loss` may be "sequence_log_probs", "sequence_rewards" or "reduction".
    **conventions
        Conventions, and the keywords of `check_loss` that say how the function is to be called.

    Returns
    -------
    CheckResult

    Examples
    --------
    >>> import numpy as np
    >>> run_check("value", lambda c, r: np.mean(np.logaddexp(0.0, r - c)), "reward").status
    'passed'
    """
    if isinstance(loss, str) and loss == REDUCTION:
        results = check_reduction(function, **conventions, on_failure="report").results
        return next(result for result in results if result.name == choice("name", name, CUTS))
    definition, options, declared = _asked(loss, conventions)
    bench = bench_for(function, definition, declared, options)
    names = ["call", *bench.checks]
    if name == EXPECT_CHECKS and options.expect_checks is not None:
        return as_many_as_expected([*bench.run(names)], options.expect_checks)
    return next(result for result in bench.run([choice("name", name, names)]))


def chosen_values(loss: str | None = None, **conventions: Any) -> dict[str, Any]:
    """What `check_loss` passes to a function because nobody declared it.

    Examples
    --------
    >>> chosen_values("dpo", label_smoothing=0.1)
    {'beta': 0.3}
    """
    if loss == REDUCTION:
        return {}
    definition, _, declared = _asked(loss, conventions)
    return chosen_of(definition, declared)


def _definition(loss: str | None, objective: Any, conventions: Mapping[str, Any]) -> Loss:
    if loss is not None:
        instance("loss", loss, str, "a name")
    if (loss is None) == (objective is None):
        both = "neither" if loss is None else "both"
        raise TypeError(f"check_loss takes `loss`, a name, or `objective`, your own formula; got {both}")
    if loss is None:
        return own_loss(objective, conventions)
    of_tokens = {definition.name: definition for definition in (SEQUENCE_LOG_PROBS, SEQUENCE_REWARDS)}
    return of_tokens[loss] if loss in of_tokens else loss_named(loss)


def _asked(loss: str | None, keywords: Mapping[str, Any]) -> tuple[Loss, Options, dict[str, Any]]:
    """The definition, what says how to call, and what says what is computed."""
    own = {name: value for name, value in keywords.items() if name in Options.__dataclass_fields__}
    declared = {name: value for name, value in keywords.items() if name not in own}
    return _definition(loss, declared.pop("objective", None), declared), Options(**own), declared


def _check(
    function: Callable[..., Any],
    definition: Loss,
    conventions: Mapping[str, Any],
    options: Options,
    on_failure: str,
    expected: Mapping[str, str] | None,
) -> Report:
    choice("on_failure", on_failure, ("raise", "report"))
    expected = {} if expected is None else expected
    instance("expected_failed_checks", expected, Mapping, "a mapping from checks to reasons")
    bench = bench_for(function, definition, conventions, options)
    names = ["call", *bench.checks]
    for name in expected:
        choice("expected_failed_checks", name, names)
    results = tuple(as_expected(result, expected) for result in bench.run(names))
    if options.expect_checks is not None:
        results = (*results, as_many_as_expected(results, options.expect_checks))
    rare = ("reference_free", "takes_lengths")
    shown = {name: value for name, value in bench.case.conventions.items() if name not in rare or value}
    framework = bench.subject.framework.name
    changes = tuple(sorted(bench.subject.changes))
    against = definition.title if isinstance(definition, OwnLoss) else definition.name
    chosen = tuple(chosen_of(definition, conventions))
    report = Report(bench.subject.name, against, shown, results, framework, options.dtype, bench.notes, changes, chosen)
    if on_failure == "raise" and not report.passed:
        raise LossCheckError(report)
    return report
