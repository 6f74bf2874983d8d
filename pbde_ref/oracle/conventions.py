"""Other conventions in use: not bugs, but to be declared.

A failing case is computed under each of them; the one that gives the function's numbers is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pbde_ref.catalogue import LOSSES
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.own import OF_MARGINS, OF_RATIOS

__all__ = ["CONVENTIONS", "Convention"]


@dataclass(frozen=True)
class Convention:
    """Another way to define the same thing.

    Attributes
    ----------
    name : str
        Short and unique.
    losses : tuple of str
        Definitions that it belongs to.
    change : callable
        From a case to the same numbers under this convention; None if the case already is, or has no such thing.
    agrees_with, declared : str
        What a diagnosis says: "agrees with …; you declared …". Fields of the case's conventions stand in braces.

    Examples
    --------
    >>> next(c for c in CONVENTIONS if c.name == "IPO on sums").agrees_with
    'IPO on summed log-probabilities'
    """

    name: str
    losses: tuple[str, ...]
    change: Callable[[Case], Case | None]
    agrees_with: str
    declared: str

    def says(self, case: Case, changed: Case | None = None) -> str:
        """The diagnosis for a case that was declared otherwise; `changed` is that case under another convention too."""
        # A convention of another loss may have a name that the declared loss does not have.
        other = dict(changed.conventions) if changed else {}
        declared = self.declared.format(**{**other, **case.conventions})
        return f"agrees with {self.agrees_with.format(**{**case.conventions, **other})}; you declared {declared}"


def _instead(name: str, there: Any, here: Any = None) -> Callable[[Case], Case | None]:
    """Change a convention to `there`, if it is `here` (or anything but `there`)."""

    def change(case: Case) -> Case | None:
        now = case.conventions.get(name)
        applies = now is not None and now != there and (here is None or now == here)
        return case.with_conventions(**{name: there}) if applies else None

    return change


def _number(name: str, function: Callable[[float], float]) -> Callable[[Case], Case | None]:
    """Change a positive number to a function of it."""

    def change(case: Case) -> Case | None:
        now = case.conventions.get(name)
        return case.with_conventions(**{name: function(now)}) if isinstance(now, float) and now > 0.0 else None

    return change


def _reduction(there: str) -> Callable[[Case], Case | None]:
    def change(case: Case) -> Case | None:
        # With the regulariser of SLiC the losses of single pairs are not the whole loss.
        if case.conventions["reduction"] == there or (there == "none" and case.conventions.get("lambda_")):
            return None
        return case.with_conventions(reduction=there)

    return change


def _variant(there: str) -> Callable[[Case], Case | None]:
    def change(case: Case) -> Case | None:
        smoothed = case.conventions["label_smoothing"] > 0.0
        return case.with_conventions(variant=there) if smoothed and case.conventions["variant"] != there else None

    return change


def _other_hinge(there: str, name: str) -> Callable[[Case], Case | None]:
    def change(case: Case) -> Case | None:
        here = {"beta": "delta", "delta": "beta"}[name]
        conventions = {n: v for n, v in case.conventions.items() if n != here} | {name: 1.0 / case.conventions[here]}
        return replace(case, definition=LOSSES[there], conventions=conventions)

    return change


def _margin_by_scale(power: int) -> Callable[[Case], Case | None]:
    def change(case: Case) -> Case | None:
        margin, scale = case.conventions["margin"], case.conventions["scale"]
        return case.with_conventions(margin=margin * scale**power) if margin > 0.0 and scale != 1.0 else None

    return change


def _lower_is_better(case: Case) -> Case | None:
    ranking = case.conventions["ranking"]
    return case.with_arrays(**{ranking: -case.arrays[ranking]})


_REDUCTIONS = {
    "mean": "the mean over the batch",
    "sum": "the sum over the batch",
    "none": "each example's own loss (reduction='none')",
}

CONVENTIONS: tuple[Convention, ...] = (
    *(
        Convention(
            f"reduction: {name}", (*LOSSES, OF_MARGINS, OF_RATIOS), _reduction(name), text, "reduction={reduction!r}",
        )
        for name, text in _REDUCTIONS.items()
    ),
    Convention(
        "IPO on sums", ("ipo",), _instead("average", False),
        "IPO on summed log-probabilities", "the mean (average=True)",
    ),
    Convention(
        "IPO on means", ("ipo",), _instead("average", True),
        "IPO on log-probabilities averaged over tokens", "the sum (average=False)",
    ),
    Convention("IPO, target 1 / tau", ("ipo",), _number("tau", lambda t: 0.5 * t),
               "IPO with the target 1 / tau, or with tau = {tau} / 2", "tau={tau}, whose target is 1 / (2 tau)"),
    Convention("IPO, target tau", ("ipo",), _number("tau", lambda t: 0.5 / t),
               "IPO with tau itself as the target", "tau={tau}, whose target is 1 / (2 tau)"),
    Convention("cDPO", ("dpo",), _variant("cdpo"), "cDPO, soft labels", "variant='robust'"),
    Convention("robust DPO", ("dpo",), _variant("robust"), "robust DPO, the unbiased correction", "variant='cdpo'"),
    Convention("hinge scaled by beta", ("rso",), _other_hinge("scaled_hinge", "beta"),
               "(1 - beta m)^+ at beta = 1 / delta, the loss 'scaled_hinge'", "(delta - m)^+ with delta={delta}"),
    Convention("hinge in nats", ("scaled_hinge",), _other_hinge("rso", "delta"),
               "(delta - m)^+ at delta = 1 / beta, the loss 'rso'", "(1 - beta m)^+ with beta={beta}"),
    Convention("margin times scale", ("length_normalized",), _margin_by_scale(1),
               "a margin that is multiplied by the scale", "margin={margin}, inside the sigmoid as it is"),
    Convention("margin over scale", ("length_normalized",), _margin_by_scale(-1),
               "a margin that is divided by the scale", "margin={margin}, inside the sigmoid as it is"),
    Convention("exponent alpha", ("geometric",), _number("alpha", lambda a: 1.0 / a),
               "the exponent alpha on the ratio", "alpha={alpha}, whose exponent is 1 / alpha"),
    Convention("likelihood per token", ("rrhf",), _instead("average_likelihood", True),
               "the best candidate's log-probability per token", "that of the whole sequence"),
    Convention("likelihood of the sequence", ("rrhf",), _instead("average_likelihood", False),
               "the best candidate's log-probability of the whole sequence", "that per token"),
    Convention("ranking alone", ("rrhf",), _instead("likelihood_weight", 0.0),
               "Eq. (19) alone, without the likelihood of the best", "likelihood_weight={likelihood_weight}"),
    Convention("order reversed", ("rrhf",), _lower_is_better, "{ranking} in the opposite order",
               "ranking={ranking!r} (scores: higher is better; ranks: lower is better)"),
    Convention("mean over tokens", ("sequence_log_probs",), _instead("average", True),
               "the mean over tokens", "the sum (average=False)"),
    Convention("sum over tokens", ("sequence_log_probs",), _instead("average", False),
               "the sum over tokens", "the mean (average=True)"),
    Convention("not shifted", ("sequence_log_probs",), _instead("shift", False),
               "logits at position t being about the token at t", "shift=True: they are about the token at t + 1"),
    Convention("shifted", ("sequence_log_probs",), _instead("shift", True),
               "logits at position t being about the token at t + 1", "shift=False: they are about the token at t"),
)  # fmt: skip
"""All of them."""
