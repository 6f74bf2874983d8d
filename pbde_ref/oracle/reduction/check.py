r"""`check_reduction`: a loss of parts, held against the loss of the whole batch.

With :math:`\ell_t` the loss of token t, and :math:`w_t` the weight that the whole batch's mean gives it, a trainer that
adds up micro-batches and averages ranks must arrive at :math:`\sum_t w_t \ell_t`, and at the gradient :math:`w`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pbde_ref.foreign import raised, watched
from pbde_ref.oracle.calling.frameworks import FRAMEWORKS, Framework, Given, framework_named
from pbde_ref.oracle.calling.recognition import frameworks_to_try
from pbde_ref.oracle.calling.subjects import name_of
from pbde_ref.oracle.reduction.bugs import REDUCTION_BUGS, Weighting, right
from pbde_ref.oracle.reduction.parts import OVER, Batch, Counts, Cut, Part, Piece, draw_batch, pieces
from pbde_ref.oracle.report import CheckResult, LossCheckError, Report
from pbde_ref.validation import FloatArray, choice, generator_of, switch, whole_number

__all__ = ["CUTS", "Counts", "Part", "check_reduction"]

Function = Callable[[Part, Counts], Any]

CUTS: Mapping[str, Sequence[Cut]] = {
    "whole": (Cut(),),
    "micro_batches": (Cut(micro_batches=2), Cut(micro_batches=7), Cut(micro_batches=24)),
    "ranks": (Cut(2), Cut(3), Cut(64)),
    "ranks_and_micro_batches": (Cut(2, 3), Cut(8, 5)),
    "shards": (Cut(shards=2), Cut(2, 2, shards=4)),
    "packing": (Cut(packed=True), Cut(2, 2, packed=True)),
    "padding": (Cut(padding=5), Cut(2, 2, padding=40), Cut(3, 1, packed=True, padding=9)),
    "empty_parts": (Cut(1, 5), Cut(4, 2)),
}
"""By check, how its batches are cut."""

# What float32 may do to a sum; a wrong weight is off by far more.
RELATIVE = 2e-6


def check_reduction(
    function: Function,
    *,
    over: str = "tokens",
    across: str = "mean",
    framework: str = "auto",
    gradients: bool = True,
    seed: int = 0,
    on_failure: str = "raise",
) -> Report:
    r"""Hold a loss that sees parts of a batch against the loss of the whole batch.

    Parameters
    ----------
    function : callable
        ``function(part, counts)`` with a `Part` and its `Counts`. It returns

        - a number, what is differentiated at this micro-batch on this rank: numbers of a rank are added up over its
          micro-batches, and put together over ranks as `across` says;
        - or (sum, denominator): both are added up over all parts, then divided;
        - or an array of the shape of ``part.losses``, the gradient with respect to them, put together as numbers are.
    over : {"tokens", "sequences", "sequence_means"}
        What the batch's loss is the mean over: its tokens; its sequences, of each one's sum (for pairs, of their
        losses); or its sequences, of each one's mean over tokens.
    across : {"mean", "sum"}
        What the trainer does with the ranks' gradients. DDP and FSDP take the mean, over shards too.
    framework : {"auto", "numpy", "torch", "jax"}
        What arrays a part holds. PyTorch's and JAX's are differentiated.
    gradients : bool
        Whether to look at the gradients of a number or sum.
    seed : int
        Of the batches; equal seeds give equal ones.
    on_failure : {"raise", "report"}

    Returns
    -------
    Report

    Raises
    ------
    LossCheckError
        If some cut of the batch gives another loss, or another gradient, unless ``on_failure="report"``.
    TypeError, ValueError
        If an argument is none of those there are.

    Notes
    -----
    Nothing is distributed: ranks are simulated one after the other, 1 to 64 of them. Shards, and parts in which no
    token counts, are looked at where the loss is a mean over tokens; a count of sequences is not defined there.

    Examples
    --------
    >>> def mine(part, counts):  # each micro-batch's own mean
    ...     return (part.losses * part.mask).sum() / max(counts.tokens, 1) / counts.micro_batches
    >>> report = check_reduction(mine, on_failure="report")
    >>> report.diagnoses[0].split(": ")[1]
    'mean of micro-batch means (torchtune #2334, unsloth #1178, verl #2857, ms-swift #10165)'
    >>> def fixed(part, counts):
    ...     return (part.losses * part.mask).sum() / counts.all_tokens * counts.ranks * counts.shards
    >>> check_reduction(fixed).held
    8
    """
    if not callable(function):
        raise TypeError(f"`function` must be callable; got {type(function).__name__:.60}")
    choice("over", over, OVER)
    choice("across", across, ("mean", "sum"))
    choice("on_failure", on_failure, ("raise", "report"))
    choice("framework", framework, ("auto", *FRAMEWORKS))
    switch("gradients", gradients)
    whole_number("seed", seed)
    arrays = framework_named(frameworks_to_try(function)[0] if framework == "auto" else framework)
    tried = list(_drawn(over, generator_of(seed)))
    changes: set[str] = set()
    with watched(changes):
        found = [_found(function, arrays, one, across, gradients) for one in tried]
    named = _diagnosis(tried, found, over, across)
    results = [_result(name, tried, found, over, across, seed, named) for name in CUTS]
    report = Report(
        name_of(function), OVER[over], {"over": over, "across": across, "seed": seed}, tuple(results), arrays.name,
        "float64", changes=tuple(sorted(changes)),
    )  # fmt: skip
    if on_failure == "raise" and not report.passed:
        raise LossCheckError(report)
    return report


class _Tried(NamedTuple):
    """A batch that has been cut, for one of the checks."""

    check: str
    cut: Cut
    batch: Batch
    parts: list[Piece]


class _Found(NamedTuple):
    """What the parts come to together: a loss, each token's share of its gradient, or why there is none."""

    value: float | None = None
    gradient: FloatArray | None = None
    problem: str = ""


def _drawn(over: str, rng: np.random.Generator) -> Iterator[_Tried]:
    for name, cuts in CUTS.items():
        for cut in cuts if over == "tokens" or name not in ("shards", "empty_parts") else ():
            size = cut.ranks * cut.micro_batches
            # The last sequences fill the last part, and some more.
            empty = 3 if name == "empty_parts" else 0
            batch = draw_batch(rng, (2 if empty else 1) * size + int(rng.integers(3, 9)), empty)
            yield _Tried(name, cut, batch, list(pieces(batch, cut, rng)))
            if name == "whole":
                single = draw_batch(rng, 1)
                yield _Tried(name, cut, single, list(pieces(single, cut, rng)))


def _averaged(cut: Cut, across: str) -> int:
    return cut.ranks * cut.shards if across == "mean" else 1


def _found(function: Function, arrays: Framework, tried: _Tried, across: str, gradients: bool) -> _Found:
    """What a function's parts come to, as a trainer puts them together."""
    total = denominators = 0.0
    gradient = np.zeros(tried.batch.losses.size + 1)
    seen: set[str] = set()
    for part, counts, places in tried.parts:
        given = [Given(part.losses, "float64", gradients and arrays.differentiates), Given(part.mask, "", False),
                 Given(part.sequences, "", False)]  # fmt: skip
        try:
            returned = arrays.call(lambda *three, counts=counts: function(Part(*three), counts), given, {})
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return _Found(problem=f"it raised {raised(error)}")
        result = returned.result if isinstance(returned.result, (tuple, list)) else (returned.result,)
        # What is no number is as good as an empty array here.
        numbers = [np.empty(0) if n is None else n for n in map(arrays.numbers, result)]
        kind = _kind(numbers, part)
        seen.add(kind)
        if not kind or len(seen) > 1:
            return _Found(problem=(
                "it must return a number, (sum, denominator), or an array like part.losses, and the same for every "
                f"part; got shapes {', '.join(str(n.shape) for n in numbers)} for part.losses of {part.losses.shape}"
            ))  # fmt: skip
        if kind == "gradient":
            np.add.at(gradient, places, numbers[0])
            continue
        total += numbers[0].item()
        denominators += numbers[1].item() if kind == "fraction" else 0.0
        np.add.at(gradient, places, returned.gradients.get(0, 0.0))
    divisor = denominators if kind == "fraction" else _averaged(tried.cut, across)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = None if kind == "gradient" else float(np.float64(total) / divisor)
        known = kind == "gradient" or (gradients and arrays.differentiates)
        return _Found(value, gradient / divisor if known else None)


def _kind(numbers: Sequence[FloatArray], part: Part) -> str:
    """What a function has returned; empty if it is none of what it may return."""
    if [n.shape for n in numbers] == [part.losses.shape]:
        return "gradient"
    return {(1,): "number", (1, 1): "fraction"}.get(tuple(n.size for n in numbers), "")


def _weighted(weighting: Weighting, tried: _Tried, over: str, across: str) -> _Found:
    """What parts come to if tokens have these weights."""
    gradient, averaged = np.zeros(tried.batch.losses.size + 1), _averaged(tried.cut, across)
    value = 0.0
    for part, counts, places in tried.parts:
        each = weighting(part, counts, over, averaged) / averaged
        np.add.at(gradient, places, each)
        value += float(np.sum(each * part.losses))
    return _Found(value, gradient)


def _differs(found: _Found, wanted: _Found) -> str:
    """In what two outcomes differ, in words; empty if they agree in all that both have."""
    assert wanted.value is not None
    assert wanted.gradient is not None
    if found.value is not None and not abs(found.value - wanted.value) <= RELATIVE * (1.0 + abs(wanted.value)):
        return f"the loss is {found.value!r} instead of {wanted.value!r}"
    if found.gradient is None:
        return ""
    off = np.abs(found.gradient - wanted.gradient)
    if np.all(off <= RELATIVE * np.abs(wanted.gradient).max()):
        return ""
    place = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
    where = f"token {place}" if place < off.size - 1 else "padding"
    return f"the gradient at {where} is {float(found.gradient[place])!r} instead of {float(wanted.gradient[place])!r}"


def _diagnosis(tried: Sequence[_Tried], found: Sequence[_Found], over: str, across: str) -> str:
    """The bugs that explain every cut, and are not right on all of them."""
    if any(one.problem for one in found):
        return ""
    wanted = [_weighted(right, one, over, across) for one in tried]
    if not any(_differs(got, want) for got, want in zip(found, wanted, strict=True)):
        return ""
    named = []
    for bug in REDUCTION_BUGS:
        would = [_weighted(bug.weighting, one, over, across) for one in tried]
        explains = not any(_differs(got, as_if) for got, as_if in zip(found, would, strict=True))
        if explains and any(_differs(as_if, want) for as_if, want in zip(would, wanted, strict=True)):
            named.append(bug.says())
    return "\n".join(named)


def _result(
    name: str, tried: Sequence[_Tried], found: Sequence[_Found], over: str, across: str, seed: int, named: str
) -> CheckResult:
    own = [(one, got) for one, got in zip(tried, found, strict=True) if one.check == name]
    if not own:
        return CheckResult(name, "skipped", f"not defined for a mean over {over}")
    for one, got in own:
        says = got.problem or _differs(got, _weighted(right, one, over, across))
        if says:
            sizes = [piece.counts.tokens for piece in one.parts]
            shown = f"{sizes[:8]}{' ...' if len(sizes) > 8 else ''}"
            where = f"with {one.cut} (tokens that count: {shown}, seed {seed})"
            return CheckResult(name, "failed", f"{where} {says}", named)
    return CheckResult(name, "passed")
