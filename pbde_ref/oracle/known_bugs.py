"""Bugs that really happened in public code, and a few of their kind, as formulas.

Each says what its loss returns instead; a failing case is computed with each of them, and the one that gives the
function's numbers is named. An entry without a thread is a slip that is easily made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pbde_ref.catalogue import LOSSES
from pbde_ref.catalogue.records import Outcome
from pbde_ref.objectives import BRADLEY_TERRY, ipo
from pbde_ref.oracle.batch_bugs import BROADCASTS, FIRST_ROWS, MEANS_OF_MEANS, last_row_lost
from pbde_ref.oracle.cases import Case, exchanged_name, of_margins, reduced
from pbde_ref.oracle.fitted_bugs import (
    Fit,
    another_value,
    constant_factor,
    extra_likelihood,
    nan_gradient,
    temperature,
)
from pbde_ref.oracle.head_bugs import HEAD_BUGS
from pbde_ref.oracle.mask_bugs import MASK_BUGS
from pbde_ref.oracle.own import OF_MARGINS, OF_RATIOS
from pbde_ref.oracle.rewards import REWARD_BUGS

__all__ = ["CATALOGUE", "KnownBug"]

Formula = Callable[[Case, str], "Outcome | None"]


@dataclass(frozen=True)
class KnownBug:
    """A bug that happened, or easily happens.

    Attributes
    ----------
    name : str
        What is wrong, in a few words; unique.
    losses : tuple of str
        Definitions in which it can occur.
    effect : str
        What it looks like from outside.
    thread : str
        Where it was found in public; empty for a slip that is easily made, without a thread to point to.
    formula : callable
        From a case and a dtype to what the function returns then, reduced as declared; None if the case cannot show
        the bug. Gradients that the formula leaves out are not compared.
    shown_by : str
        What shows this bug by itself, as a check says it; empty if numbers must match.
    variants : tuple of callable
        Other formulas that the same bug has.
    fit : callable, optional
        From a case and what a function returned for it to candidates, each in words and as a formula; for a bug with a
        number in it that only the results tell.

    Examples
    --------
    >>> bug = next(bug for bug in CATALOGUE if bug.name == "β applied twice")
    >>> bug.thread, "dpo" in bug.losses
    ('MaxText #1530', True)
    """

    name: str
    losses: tuple[str, ...]
    effect: str
    thread: str
    formula: Formula
    shown_by: str = ""
    variants: tuple[Formula, ...] = ()
    fit: Fit | None = None

    def says(self) -> str:
        """The diagnosis."""
        thread = f" ({self.thread})" if self.thread else ""
        return f"matches a known bug: {self.name}{thread}: {self.effect}"


OWN = OF_MARGINS, OF_RATIOS
ALL = (*LOSSES, *OWN)
REFERENCED = (*(n for n, loss in LOSSES.items() if loss.has_reference and loss.family != "answers"), *OWN)
LOGISTIC = tuple(name for name, loss in LOSSES.items() if loss.is_logistic)
PAIRED = (*(name for name, loss in LOSSES.items() if loss.family in ("pairwise", "mixture", "batch")), *OWN)
PAIRWISE = (*(name for name, loss in LOSSES.items() if loss.has_margins), OF_MARGINS)
POLICY_PAIRS = (*(name for name in PAIRWISE if name in LOSSES and LOSSES[name].has_policy), *OWN)
# What has DPO's four inputs, and is not DPO.
NOT_SIGMOID = tuple(
    name for name, loss in LOSSES.items()
    if loss.has_reference and loss.family == "pairwise" and loss.parameters.keys() & {"beta", "tau", "delta"}
    and not loss.is_logistic
)  # fmt: skip
LENGTHENED = tuple(name for name, loss in LOSSES.items() if loss.has_lengths)
OF_TOKENS = SEQUENCES, REWARDS = ("sequence_log_probs", "sequence_rewards")


def _at(change: Callable[[float], float], *names: str) -> Formula:
    """The right formula at a wrong value of the first of these hyperparameters that the loss has."""

    def formula(case: Case, dtype: str) -> Outcome | None:
        name = next(n for n in names if n in case.conventions)
        return case.with_conventions(**{name: change(case.conventions[name])}).expected()

    return formula


def _without_reference(case: Case, dtype: str) -> Outcome:
    zeros = {i.name: np.zeros_like(case.arrays[i.name]) for i in case.inputs if i.role == "reference"}
    return case.with_arrays(**zeros).expected()


def _sign_inverted(case: Case, dtype: str) -> Outcome:
    value, gradients = case.expected()
    return Outcome(-value, {name: -gradient for name, gradient in gradients.items()})


def _swapped(case: Case, dtype: str) -> Outcome:
    value, gradients = case.exchanged().expected()
    return Outcome(value, {exchanged_name(name): gradient for name, gradient in gradients.items()})


def _reference_swapped(case: Case, dtype: str) -> Outcome:
    chosen, rejected = case.arrays["reference_chosen"], case.arrays["reference_rejected"]
    return case.with_arrays(reference_chosen=rejected, reference_rejected=chosen).expected()


def _always_the_sigmoid(case: Case, dtype: str) -> Outcome:
    given = case.conventions
    beta = 1.0 / given["delta"] if "delta" in given else given.get("beta", given.get("tau"))
    conventions = {"reduction": given["reduction"], "beta": beta, "label_smoothing": 0.0, "variant": "cdpo"}
    return replace(case, definition=LOSSES["dpo"], conventions=conventions).expected()


def _flipped_average(case: Case, dtype: str) -> Outcome:
    return case.with_conventions(average=not case.conventions["average"]).expected()


def _margin_added(case: Case, dtype: str) -> Outcome | None:
    margin = case.conventions["margin"]
    given = case.arrays["margins"] if isinstance(margin, str) else margin
    return of_margins(case, case.margins().values + 2.0 * given) if np.any(np.asarray(given) > 0.0) else None


def _margin_missing(case: Case, dtype: str) -> Outcome | None:
    return None if case.conventions["margin"] == 0.0 else case.with_conventions(margin=0.0).expected()


def _naive(log_sigmoid: Callable[[Any], Any]) -> Formula:
    """The logarithm of the logistic function by a formula that overflows, in the precision of the case."""

    def formula(case: Case, dtype: str) -> Outcome | None:
        if dtype == "bfloat16":
            return None
        margins = case.margins().values.astype(dtype)
        epsilon = case.conventions.get("label_smoothing", 0.0)
        with np.errstate(all="ignore"):
            losses = -log_sigmoid(margins)
            if epsilon:
                robust = case.conventions["variant"] == "robust"
                losses = (1.0 - epsilon) * losses + (-epsilon if not robust else epsilon) * log_sigmoid(-margins)
                losses = losses / (1.0 - 2.0 * epsilon) if robust else losses
        # Where it overflows so do its derivatives, each framework in its own way.
        return Outcome(reduced(losses.astype(np.float64), {}, case.conventions["reduction"]).value, {})

    return formula


def _one(dtype: Any) -> Any:
    return np.ones((), dtype=dtype)


def _log_of_sigmoid(m: Any) -> Any:
    return np.log(_one(m.dtype) / (_one(m.dtype) + np.exp(-m)))


def _log_of_one_plus_exp(m: Any) -> Any:
    return -np.log(_one(m.dtype) + np.exp(-m))


def _gradient_zero(case: Case, dtype: str) -> Outcome:
    value, gradients = case.expected()
    return Outcome(value, {name: np.zeros_like(gradient) for name, gradient in gradients.items()})


def _into_reference(case: Case, dtype: str) -> Outcome | None:
    if case.conventions.get("reference_free"):
        return None
    value, gradients = case.expected()
    into = {name.replace("policy", "reference"): -gradient for name, gradient in gradients.items()}
    return Outcome(value, {**gradients, **into})


def _smoothing_remembered(case: Case, dtype: str) -> Outcome | None:
    changed = case.conventions.get("label_smoothing") == 0.0
    return case.with_conventions(label_smoothing=1e-3).expected() if changed else None


def _unseen(case: Case, dtype: str) -> None:
    """No formula: a check shows it, or its number is found first."""


def _still_at_zero(case: Case, dtype: str) -> Outcome | None:
    """A derivative that is 0 at margin 0, as relu(-m) + log1p(exp(-|m|)) has it in most frameworks."""
    level = case.margins().values == 0.0
    if not np.any(level):
        return None
    value, gradients = case.expected()
    of_pairs = case.margins().slopes
    return Outcome(value, {n: np.where(level, 0.0, g) if n in of_pairs else g for n, g in gradients.items()})


def _with_lengths(change: Callable[[Any], Any]) -> Formula:
    """The right formula at wrong lengths, where lengths enter."""

    def formula(case: Case, dtype: str) -> Outcome | None:
        names = [i.name for i in case.inputs if "lengths" in i.name]
        if case.conventions.get("average") is False or not names:
            return None
        return case.with_arrays(**{name: np.maximum(change(case.arrays[name]), 1) for name in names}).expected()

    return formula


def _reference_not_averaged(case: Case, dtype: str) -> Outcome | None:
    if not case.conventions["average"]:
        return None
    sides = ("chosen", "rejected")
    summed = {f"reference_{s}": case.arrays[f"reference_{s}"] * case.arrays[f"{s}_lengths"] for s in sides}
    return case.with_arrays(**summed).expected()


def _as_printed_ranking(case: Case, dtype: str) -> Outcome:
    """-(p_i - p_j)^+ for i preferred to j: minus the ranking loss of the opposite order."""
    ranking = case.conventions["ranking"]
    alone = case.with_conventions(likelihood_weight=0.0)
    right = alone.expected()
    opposite = alone.with_arrays(**{ranking: -case.arrays[ranking]}).expected()
    both = case.expected()
    return Outcome(
        both.value - right.value - opposite.value,
        {name: both.gradients[name] - right.gradients[name] - opposite.gradients[name] for name in both.gradients},
    )


def _ones_for(*names: str) -> Formula:
    def formula(case: Case, dtype: str) -> Outcome:
        return case.with_arrays(**{name: np.ones_like(case.arrays[name]) for name in names}).expected()

    return formula


def _as_printed_hinge(case: Case, dtype: str) -> Outcome:
    margins = case.margins()
    inside = margins.values > 0.0
    losses = case.conventions["delta"] - np.maximum(margins.values, 0.0)
    slopes = {name: np.where(inside, -1.0, 0.0) * slope for name, slope in margins.slopes.items()}
    return reduced(losses, slopes, case.conventions["reduction"])


def _unscaled_robust(case: Case, dtype: str) -> Outcome | None:
    epsilon = case.conventions["label_smoothing"]
    if case.conventions["variant"] != "robust" or epsilon == 0.0:
        return None
    value, gradients = case.expected()
    factor = 1.0 - 2.0 * epsilon
    return Outcome(factor * value, {name: factor * gradient for name, gradient in gradients.items()})


def _quadratic_of_beta(case: Case, dtype: str) -> Outcome:
    """IPO with β in the margin as well as in the target."""
    tau = case.conventions["tau"]
    scaled = of_margins(case, tau * case.margins().values, ipo(tau))
    return Outcome(scaled.value, {name: tau * gradient for name, gradient in scaled.gradients.items()})


def _mean_of_logits(case: Case, dtype: str) -> Outcome:
    """The logistic loss of the annotators' mean margin instead of the mean of their preferences."""
    logits = case.arrays["weight_logits"]
    w = np.exp(logits - np.logaddexp.reduce(logits))
    gaps = case.arrays["policy_chosen"] - case.arrays["policy_rejected"]
    derivative = BRADLEY_TERRY.derivative(gaps @ w)[:, None]
    slopes = {"policy_chosen": derivative * w, "policy_rejected": -derivative * w}
    return reduced(BRADLEY_TERRY.value(gaps @ w), slopes, case.conventions["reduction"])


def _equal_weights(case: Case, dtype: str) -> Outcome:
    value, gradients = case.with_arrays(weight_logits=np.zeros_like(case.arrays["weight_logits"])).expected()
    return Outcome(value, {**gradients, "weight_logits": np.zeros_like(gradients["weight_logits"])})


CATALOGUE: tuple[KnownBug, ...] = (
    KnownBug("β applied twice", ("dpo", "length_normalized", "scaled_hinge"), "the margin is multiplied by β²",
             "MaxText #1530", _at(lambda b: b * b, "beta", "scale")),
    KnownBug("divided by β", ("dpo", "length_normalized", "scaled_hinge"), "the margin is divided by β",
             "Liger-Kernel #378", _at(lambda b: 1.0 / b, "beta", "scale")),
    KnownBug("β missing", ("dpo", "length_normalized", "scaled_hinge"), "the margin is not scaled at all",
             "", _at(lambda b: 1.0, "beta", "scale")),
    KnownBug("β in IPO's margin", ("ipo",), "the margin is multiplied by the parameter that also makes the target",
             "", lambda case, dtype: _quadratic_of_beta(case, dtype)),
    KnownBug("reference model missing", REFERENCED, "the reference's log-probabilities have no effect",
             "Liger-Kernel #378, #387", _without_reference),
    KnownBug("reference swapped", REFERENCED, "the reference's chosen and rejected log-probabilities are exchanged",
             "", _reference_swapped),
    KnownBug("sign inverted", (*ALL, *OF_TOKENS), "minus the loss: training makes it worse",
             "Liger-Kernel #481, #484", _sign_inverted),
    KnownBug("chosen and rejected swapped", PAIRED, "the loss rewards what was rejected", "several", _swapped),
    KnownBug("label smoothing ignored", ("dpo",), "label_smoothing has no effect",
             "TRL #3906, #7062", lambda case, dtype: _smoothing_ignored(case)),
    KnownBug("factor 1 / (1 - 2ε) missing", ("dpo",), "robust DPO is too small by a constant factor",
             "", _unscaled_robust),
    KnownBug("loss type ignored", NOT_SIGMOID, "it is always the sigmoid loss of DPO",
             "ms-swift #10167; LLaMA-Factory 0.9.5 with TRL 0.24", _always_the_sigmoid),
    KnownBug("IPO on sums where means were meant, or the reverse", ("ipo",), "lengths enter, or do not",
             "TRL #1265, torchtune #1291", _flipped_average),
    KnownBug("margin with the wrong sign", ("bradley_terry", "length_normalized"), "the margin makes winning easier",
             "OpenRLHF 879d812", _margin_added),
    KnownBug("margin ignored", ("bradley_terry", "length_normalized"), "the margin has no effect",
             "", _margin_missing),
    KnownBug("log(σ(x)) formed directly", LOGISTIC, "infinite below -89 in float32",
             "DeepSpeedExamples #423", _naive(_log_of_sigmoid)),
    KnownBug("log(1 + exp(x)) formed directly", LOGISTIC, "infinite, and its gradient NaN, for large gaps",
             "OpenRLHF #1278", _naive(_log_of_one_plus_exp)),
    KnownBug("gradient identically zero", (*ALL, *OF_TOKENS), "the right loss is logged, nothing learns",
             "mlx-lm-lora #25", _gradient_zero),
    KnownBug("gradient flows into the reference", REFERENCED, "the reference is trained as well",
             "several", _into_reference, "no_gradient_to_reference"),
    KnownBug("gradient zero at margin 0", PAIRWISE, "where the policy is the reference, the first step of every "
             "training, nothing moves", "TRL #1627", _still_at_zero),
    KnownBug("state", (*ALL, *OF_TOKENS), "one call changes what the next one gives, such as a label_smoothing that "
             "is set when it is 0", "TRL ≤ 0.28, EXO branch", _smoothing_remembered, "state"),
    KnownBug("dropout or other noise", (*ALL, *OF_TOKENS), "equal calls in a row differ without a pattern, as when "
             "the reference's dropout is active", "LLaMA-Factory #10779, TRL #2042", _unseen, "noise"),
    KnownBug("odd batch loses its last row", ALL, "batches are cut to an even size",
             "TRL #1911", last_row_lost),
    KnownBug("mean of micro-batch means", ALL, "a smaller last micro-batch counts as much as a full one",
             "unsloth #1178, torchtune #2334, LLaMA-Factory #5747", MEANS_OF_MEANS[0], "", MEANS_OF_MEANS[1:]),
    KnownBug("only the first rows count", ALL, "rows behind a fixed number have no effect",
             "", FIRST_ROWS[0], "", FIRST_ROWS[1:]),
    KnownBug("margins broadcast to (B, B)", PAIRWISE, "an array of shape (B, 1) meets one of shape (B,), so that every "
             "example is held against every other", "ms-swift #9927, TRL #7062", BROADCASTS[0], "", BROADCASTS[1:]),
    KnownBug("length counted one off", LENGTHENED, "the end of sequence is in the length, not in the sum, or the "
             "reverse", "PaddleFormers #4908, #4909", _with_lengths(lambda n: n + 1), "",
             (_with_lengths(lambda n: n - 1),)),
    KnownBug("divided by length twice", LENGTHENED, "log-probabilities that are means already are averaged again",
             "LLaMA-Factory #6722, turbo-alignment #24", _with_lengths(lambda n: n * n)),
    KnownBug("normalised policy, unnormalised reference", ("ipo",), "only the policy's log-probabilities are averaged",
             "ms-swift #10167", _reference_not_averaged),
    KnownBug("returned rewards exchanged", PAIRWISE, "the rewards that are logged as the chosen ones are those of the "
             "rejected outcomes", "TRL #1402, LLaMA-Factory #6050", _unseen, "rewards exchanged"),
    KnownBug("RRHF as printed", ("rrhf",), "-(p_i - p_j)^+ rewards a margin that is right already, without bound",
             "Eq. (19) as printed", _as_printed_ranking),
    KnownBug("lengths ignored", ("rrhf",), "log-probabilities are compared without dividing by length",
             "", _ones_for("lengths")),
    KnownBug("lengths ignored in a pair", ("length_normalized",), "log-probabilities are not divided by length",
             "", _ones_for("chosen_lengths", "rejected_lengths")),
    KnownBug("hinge as printed", ("slic",), "delta - (m)^+ has no kink at delta, so delta has no effect on training",
             "Eq. (20) as printed", _as_printed_hinge),
    KnownBug("logits mixed instead of probabilities", ("annotator_mixture",), "one logistic loss of the mean margin",
             "", _mean_of_logits),
    KnownBug("weights of the mixture ignored", ("annotator_mixture",), "all annotators count alike",
             "", _equal_weights),
    KnownBug("constant factor", (*ALL, *OF_TOKENS), "loss or gradient is divided once more, by steps, ranks or the "
             "batch size", "ms-swift #10117, VeOmni #338, Megatron-LM #673", _unseen, fit=constant_factor),
    KnownBug("bound to another value", ALL, "a hyperparameter is another one than declared, as in a module that "
             "keeps its own default", "rlhf-book #400", _unseen, fit=another_value),
    KnownBug("temperature on the policy alone", REFERENCED, "the policy's log-probabilities are scaled, the "
             "reference's are not", "prime-rl #697, compose-rl #105, verl #4162, NeMo-RL #935", _unseen,
             fit=temperature),
    KnownBug("extra likelihood term", POLICY_PAIRS, "the chosen outcome's log-likelihood is part of the loss, as in "
             "RPO", "TRL #1868", _unseen, fit=extra_likelihood),
    KnownBug("gradient NaN", ALL, "0 times infinity in the backward pass, as of the branch of `where` that is not "
             "taken", "tinker-cookbook #188, TRL #1311", _unseen, fit=nan_gradient),
    *(KnownBug(b.name, (SEQUENCES,), b.effect, b.thread, b.formula, "", b.variants) for b in MASK_BUGS),
    *(KnownBug(name, (SEQUENCES,), effect, thread, _unseen, fit=fit) for name, effect, thread, fit in HEAD_BUGS),
    *(KnownBug(b.name, (REWARDS,), b.effect, b.thread, b.formula, "", b.variants) for b in REWARD_BUGS),
    KnownBug("mask read by its type", OF_TOKENS, "right for truth values, wrong for the same mask as numbers, or the "
             "reverse, as ~mask and x[mask] are", "", _unseen, "mask_types"),
)  # fmt: skip
"""All of them, in the order in which a diagnosis names them."""


def _smoothing_ignored(case: Case) -> Outcome | None:
    smoothed = case.conventions["label_smoothing"] > 0.0
    return case.with_conventions(label_smoothing=0.0).expected() if smoothed else None


def bugs_of(loss: str) -> Iterator[KnownBug]:
    """Those of a loss.

    Examples
    --------
    >>> [bug.name for bug in bugs_of("pbde")][:2]
    ['sign inverted', 'chosen and rejected swapped']
    """
    return (bug for bug in CATALOGUE if loss in bug.losses)
