r"""Does training end where it should? A trainer held against the exact optimum of the very sample that it got.

On a small finite support the optimum of a sample of comparisons is known exactly, so what a trainer misses is told
apart from what the sample itself does not tell. Distances are between log-probabilities, root mean square about their
mean, in units of the distance from the reference to the sample's optimum: 0 is the optimum, 1 is untrained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from pbde_ref.foreign import raised, watched
from pbde_ref.numerics import logsumexp
from pbde_ref.oracle.training.report import TrainingError, TrainingReport, describe
from pbde_ref.oracle.training.rivals import Fit, fit_family, spread
from pbde_ref.oracle.training.samples import Comparisons, Sample
from pbde_ref.oracle.training.several_prompts import PromptSample, draw_sample
from pbde_ref.validation import FloatArray, choice, instance, positive_number, switch, whole_number

__all__ = ["Comparisons", "TrainingError", "TrainingReport", "check_training"]

Train = Callable[..., Any]


def check_training(
    train: Train,
    *,
    loss: str = "dpo",
    support_size: int = 8,
    answers: Sequence[int] | None = None,
    n_comparisons: int = 4000,
    seed: int = 0,
    tolerance: float = 0.02,
    repeat: bool = True,
    on_failure: Literal["raise", "report"] = "raise",
    **conventions: Any,
) -> TrainingReport:
    r"""Hold a trainer against the exact optimum of the sample that it trains on.

    Parameters
    ----------
    train : callable
        ``train(comparisons, reference_log_probs)`` returns the trained policy's log-probabilities, shape
        (support_size,). `comparisons` is a pair of index arrays, ``comparisons.chosen`` and ``comparisons.rejected``,
        shape (n_comparisons,); `reference_log_probs` has shape (support_size,), and training starts there.
    loss : str
        What it is declared to minimise, with these parameters: "dpo" (beta; label_smoothing), "geometric" (alpha),
        "luce" (none: the Luce rule on the policy itself), "ipo" (tau), "rso" (delta), "slic" (delta; ``lambda_``), or
        "length_normalized" (lengths of all outcomes; scale).
    support_size : int
        Number of outcomes n, at least 4.
    answers : sequence of K int, optional
        Several prompts, with so many answers each, two or more; n is their sum. Then ``train(comparisons,
        reference_log_probs, prompts)`` gets the number of each answer's prompt as well, shape (n,). Answers are
        numbered through, log-probabilities are given the prompt, and nobody compares answers to two prompts.
    n_comparisons : int
        Size of the sample.
    seed : int
        Of population and sample; equal seeds give equal samples. Samples without a finite optimum (Ford's condition),
        or on which another objective's optimum could be mistaken for the declared one, are passed over.
    tolerance : float
        Largest training error that passes.
    repeat : bool
        Whether a trainer that has passed is called a second time with the same sample, and must end within the
        tolerance of where it ended first: what it keeps from one call to the next, and chance that matters, show then.
    on_failure : {"raise", "report"}
    **conventions
        The objective's parameters.

    Returns
    -------
    TrainingReport

    Raises
    ------
    TrainingError
        If training ended elsewhere, or returned no policy, unless ``on_failure="report"``.
    ValueError
        If the loss or a parameter is unknown or out of range, or no sample of this size will do.

    Notes
    -----
    The loss is that of the whole sample, each comparison weighted alike. A trainer that stops early, or whose last
    steps are large, is away from the optimum too; the nearest objective tells the two apart. For "rso" and "slic"
    without regulariser the sample is one on which the optimum is unique. SLiC's regulariser is the expectation under
    the reference, not a sum over samples; with several prompts each weighs as often as it is asked.

    A policy that has parameters of its own at each prompt ends at the same optimum however prompts are weighed, and
    whatever a normaliser that cancels was summed over; what shows is what moves the policy.

    Examples
    --------
    A trainer that solves the sample's problem exactly, and one that forgot the reference:

    >>> import numpy as np
    >>> import pbde_ref as pb
    >>> def fit(comparisons):
    ...     wins = np.zeros((8, 8))
    ...     np.add.at(wins, (comparisons.chosen, comparisons.rejected), 1.0)
    ...     rates = (wins + 1e-300) / (wins + wins.T + 2e-300)
    ...     return pb.minimize_expected_loss("bradley_terry", pb.PreferenceMatrix(rates), pb.JointProposal(wins)).value
    >>> report = check_training(lambda comparisons, reference: pb.FiniteDistribution(
    ...     reference + fit(comparisons) / 0.5).log_pmf, loss="dpo", beta=0.5)
    >>> report.passed, report.fits[0].objective, round(report.fits[0].value, 6)
    (True, 'DPO', 0.5)
    >>> report = check_training(lambda comparisons, reference: pb.FiniteDistribution(
    ...     fit(comparisons) / 0.5).log_pmf, loss="dpo", beta=0.5, on_failure="report")
    >>> report.passed, report.fits[0].objective
    (False, 'the Luce rule (DPO without the reference)')
    """
    if not callable(train):
        raise TypeError(f"`train` must be callable; got {type(train).__name__:.60}")
    choice("on_failure", on_failure, ("raise", "report"))
    switch("repeat", repeat)
    tolerance = positive_number("tolerance", tolerance)
    sample = draw_sample(
        loss, conventions, _sizes(support_size, answers),
        whole_number("n_comparisons", n_comparisons, least=1), whole_number("seed", seed), tolerance,
    )  # fmt: skip
    log_probs, problem = _train(train, sample)
    report = _judge(getattr(train, "__name__", repr(train)), sample, seed, log_probs, problem, tolerance)
    if repeat and report.passed:
        report = _with_repeat(report, sample, *_train(train, sample))
    if on_failure == "raise" and not report.passed:
        raise TrainingError(report)
    return report


def _sizes(support_size: int, answers: Sequence[int] | None) -> int | list[int]:
    if answers is None:
        return whole_number("support_size", support_size, least=4)
    instance("answers", answers, Sequence, "a sequence of numbers of answers")
    sizes = [whole_number(f"answers[{k}]", size, least=2) for k, size in enumerate(answers)]
    if len(sizes) < 2:
        raise ValueError(f"`answers` must be of several prompts; got {len(sizes)}")
    return sizes


def _train(train: Train, sample: Sample | PromptSample) -> tuple[FloatArray, str]:
    """What the trainer returned, and what is wrong with it."""
    nothing = np.full(sample.reference.size, np.nan)
    comparisons = Comparisons(sample.comparisons.chosen.copy(), sample.comparisons.rejected.copy())
    reference, several = sample.reference.copy(), len(sample.parts) > 1
    called = (
        f"train(comparisons, reference_log_probs{', prompts' if several else ''}) was called with "
        f"{comparisons.chosen.size} comparisons (chosen and "
        f"rejected: index arrays of {comparisons.chosen.dtype}) and reference_log_probs of shape {reference.shape}; "
        f"expected: the policy's log-probabilities, shape {reference.shape}"
    )
    try:
        with watched(set()):
            given = train(comparisons, reference, *([sample.prompts.number.copy()] if several else []))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return nothing, f"{called}; it raised {raised(error)}"
    before = (*sample.comparisons, sample.reference)
    if not all(np.array_equal(a, b) for a, b in zip((*comparisons, reference), before, strict=True)):
        return nothing, f"{called}; it modified its input"
    try:
        # Tensors that carry a gradient, or are bfloat16, refuse to become arrays.
        plain = given.detach().cpu().double() if hasattr(given, "detach") else given
        log_probs = np.asarray(plain).astype(np.float64)
    except (TypeError, ValueError):
        return nothing, f"{called}; it returned {type(given).__name__:.60}"
    if given is None:
        return nothing, f"{called}; it returned None"
    if log_probs.shape != reference.shape:
        return nothing, f"{called}; it returned shape {log_probs.shape}"
    if not np.isfinite(log_probs).all():
        found = log_probs[np.argmin(np.isfinite(log_probs))]
        start = "; training starts where policy and reference are equal, where 0/0 and 0 · inf lurk (TRL #1311)"
        return nothing, f"{called}, finite; it returned {found}{start if np.isnan(found) else ''}"
    totals = sample.prompts.log_sums(log_probs)
    worst = int(np.argmax(np.abs(totals)))
    # Half a percent is what bfloat16 makes of a log-softmax.
    if abs(totals[worst]) > 0.02:
        if several and abs(logsumexp(log_probs)) <= 0.02:
            return nothing, f"{called}; the probabilities sum to 1 over all prompts together, not at each"
        where, also = (f" at prompt {worst}", ", or answers of others in the sum") if several else ("", "")
        return nothing, (
            f"{called}; the probabilities{where} sum to {np.exp(totals[worst]):.4g}, not 1 (logits instead{also}?)")
    return log_probs, ""


def _judge(
    subject: str, sample: Sample | PromptSample, seed: int, log_probs: FloatArray, problem: str, tolerance: float
) -> TrainingReport:
    # About the mean at each prompt: constants there are its normaliser's.
    centred = sample.prompts.centred
    (optimum, population), start = map(centred, sample.optima), centred(sample.reference)
    way, where = optimum - start, log_probs if problem else centred(log_probs)
    unit = spread(way)
    error = spread(where - optimum) / unit
    fits: tuple[Fit, ...] = ()
    if not problem:
        # What has several parameters always comes nearer; it explains what is wrong, not what is right.
        known = (f for f in sample.families if f.direction is None or f.direction.ndim < 2 or error > tolerance)
        found = (fit_family(family, where, unit) for family in known)
        # Objectives with the same optimum stay in their order, whatever rounding says.
        fits = tuple(sorted(found, key=lambda fit: round(fit.distance, 6)))
    report = TrainingReport(
        subject=subject, loss=sample.loss, conventions=sample.conventions,
        support_size=sample.reference.size, n_comparisons=sample.comparisons.chosen.size, seed=seed,
        log_probs=log_probs, sample_optimum=sample.optima[0], population_optimum=sample.optima[1],
        reference_log_probs=sample.reference, training_error=error,
        finite_data_error=spread(optimum - population) / unit,
        progress=float(way @ (where - start)) / (way.size * unit**2), repeat_error=np.nan, tolerance=tolerance,
        fits=fits, n_prompts=len(sample.parts),
        message=f"{subject}: {problem}",
    )  # fmt: skip
    return report if problem else replace(report, message=describe(report))


def _with_repeat(
    report: TrainingReport, sample: Sample | PromptSample, log_probs: FloatArray, problem: str
) -> TrainingReport:
    """The report, with what a second identical call returned."""
    moved, error = log_probs - report.log_probs, np.inf
    if not problem and np.isfinite(moved).all():
        optimum = report.sample_optimum - report.reference_log_probs
        apart, unit = (spread(sample.prompts.centred(x)) for x in (moved, optimum))
        error = apart / unit
    report = replace(report, repeat_error=error)
    message = describe(report)
    return replace(report, message=f"{message}\n  The second call: {problem}." if problem else message)
