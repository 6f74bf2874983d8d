"""The function under test: called the same way every time, with errors that say how it was called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pbde_ref.catalogue.records import Input, Outcome
from pbde_ref.foreign import raised, watched
from pbde_ref.oracle.calling.frameworks import Framework, Given, Returned, first_of
from pbde_ref.oracle.calling.recognition import framework_of
from pbde_ref.oracle.cases import Case
from pbde_ref.oracle.tolerances import rounded

__all__ = [
    "Computed", "Subject", "SubjectError", "WrongResultError", "accepted_keywords", "name_of", "parameters_of",
    "rounded_case",
]  # fmt: skip

_GPU = ("cuda", "gpu", "triton", "device", "nvidia", "hip")


class SubjectError(Exception):
    """The function could not be called, or returned something that is not a loss; the message says how it was called.

    `original` is what it raised itself, if it raised.
    """

    def __init__(self, message: str, original: BaseException | None = None) -> None:
        super().__init__(message)
        self.original = original


@dataclass(frozen=True)
class Computed:
    """What the function returned for a case, whose array that was, and what went along with it.

    `extras` is what stood behind the loss (and behind its gradients, if it returns them), as it came.
    """

    outcome: Outcome
    framework: str | None = None
    note: str = ""
    modified: tuple[str, ...] = ()
    extras: tuple[Any, ...] = ()


def name_of(function: Callable[..., Any]) -> str:
    """What to call a function in messages.

    Examples
    --------
    >>> from functools import partial
    >>> name_of(partial(name_of)), name_of(lambda a: a)
    ('name_of', 'function')
    """
    while hasattr(function, "func"):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    return "function" if name == "<lambda>" else str(name)


def accepted_keywords(function: Callable[..., Any], names: tuple[str, ...], positional: int) -> str | None:
    """The first of these names that the function takes as a keyword, besides that many positional arguments."""
    named = {
        p.name
        for i, p in enumerate(parameters_of(function))
        if p.kind is p.KEYWORD_ONLY or (p.kind is p.POSITIONAL_OR_KEYWORD and i >= positional)
    }
    return next((name for name in names if name in named), None)


_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those of its signature; none if it has no signature."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


@dataclass(frozen=True, eq=False)
class Subject:
    """A function, the framework whose arrays it takes, and what it accepts.

    `keywords` maps the definition's hyperparameters to the function's own names for them, where it takes them;
    `changes` collects what the function changes for everybody.
    """

    function: Callable[..., Any]
    name: str
    framework: Framework
    keywords: Mapping[str, str]
    returns_gradients: bool = False
    changes: set[str] = field(default_factory=set)

    @property
    def differentiable(self) -> bool:
        """Whether gradients can be had."""
        return self.framework.differentiates or self.returns_gradients

    def compute(
        self, case: Case, dtype: str, differentiate: Callable[[Input], bool] | None = None, *, apart: bool = False
    ) -> Computed:
        """Call the function on a case.

        Parameters
        ----------
        case : Case
            Its numbers must have been rounded to `dtype` before, so that rounding is not blamed on the function.
        dtype : str
            Of the arrays it is called with.
        differentiate : callable, optional
            Which inputs to differentiate by. Default: none.
        apart : bool
            Whether entries of its arrays shall not stand side by side in memory.

        Raises
        ------
        SubjectError
            If the function raises, or returns anything but numbers of the declared shape.
        """
        wanted = differentiate or (lambda _: False)
        # A function that returns its gradients itself need not be differentiable.
        by = (lambda _: False) if self.returns_gradients else wanted
        given = [
            Given(case.arrays[i.name], dtype if i.floating else "", by(i) and i.floating, apart) for i in case.inputs
        ]
        keywords = {own: case.conventions[name] for name, own in self.keywords.items()}
        try:
            returned = self.framework.call(self._watched, given, keywords)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # pytest.skip and sys.exit too: a check that held nothing is none
            raise SubjectError(self._raised(case, dtype, error), error) from error
        value = self._value(case, dtype, returned)
        gradients = self._gradients(case, dtype, returned, wanted)
        modified = tuple(case.inputs[place].name for place in returned.modified)
        behind = returned.result if isinstance(returned.result, (tuple, list)) else ()
        extras = tuple(behind[2 if self.returns_gradients else 1 :])
        framework = framework_of(first_of(returned.result))
        return Computed(Outcome(value, gradients), framework, returned.note, modified, extras)

    def _watched(self, *arrays: Any, **keywords: Any) -> Any:
        with watched(self.changes):
            return self.function(*arrays, **keywords)

    def takes(self, case: Case) -> bool:
        """Whether the function's signature fits the call; yes if it has none."""
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):
            return True
        try:
            signature.bind(*case.inputs, **{own: case.conventions[name] for name, own in self.keywords.items()})
        except TypeError:
            return False
        return True

    def call_description(self, case: Case, dtype: str) -> str:
        """How the function was called: names, types and shapes."""
        arguments = [
            f"{i.name}: {dtype if i.floating else case.arrays[i.name].dtype} {case.arrays[i.name].shape}"
            for i in case.inputs
        ]
        arguments += [f"{own}={case.conventions[name]!r}" for name, own in self.keywords.items()]
        lines = [f"called     {self.name}("] + [f"               {argument}," for argument in arguments]
        return "\n".join([*lines, "           )"])

    def source(self, case: Case, dtype: str) -> str:
        """The call as source code that can be pasted."""
        given = [Given(case.arrays[i.name], dtype if i.floating else "", False) for i in case.inputs]
        lines = [f"    {self.framework.expression(g)},  # {i.name}" for g, i in zip(given, case.inputs, strict=True)]
        lines += [f"    {own}={case.conventions[name]!r}," for name, own in self.keywords.items()]
        return "\n".join([f"{self.name}(", *lines, ")"])

    def _raised(self, case: Case, dtype: str, error: BaseException) -> str:
        lines = [f"it raised {raised(error)}", self.call_description(case, dtype)]
        if not self.takes(case):
            names = ", ".join(i.name for i in case.inputs)
            lines.append(f"expected   a function of these {len(case.inputs)} arrays; wrap yours: lambda {names}: ...")
            lines += self.why_not(case)
        if any(word in raised(error).lower() for word in _GPU):
            lines.append("hint       the oracle calls with arrays on the CPU; wrap the function so that it moves them")
        return "\n".join(lines)

    def why_not(self, case: Case) -> list[str]:
        """What the function's signature says about a call that does not fit it."""
        parameters = parameters_of(self.function)
        demanded = [p.name for p in parameters if p.default is p.empty and p.kind in _NAMED]
        own = {word for h in case.definition.parameters.values() for word in h.keywords}
        positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY and p.name in set(demanded) - own]
        unknown = [name for name in demanded if name not in {*positional[: len(case.inputs)], *own}]
        lines = []
        if unknown:
            known = ", ".join(case.definition.parameters) or "none"
            lines.append(
                f"hint       it demands {', '.join(unknown)}, which {case.definition.name} does not have ({known}); "
                f"bind it: functools.partial({self.name}, {unknown[0]}=...), and declare what that makes of those"
            )
        references = sum(i.role == "reference" for i in case.inputs)
        if "reference_free" in case.conventions and len(positional) == len(case.inputs) - references:
            lines.append("hint       for a loss of the policy alone declare reference_free=True")
        return lines

    def _value(self, case: Case, dtype: str, returned: Returned) -> Any:
        wanted = case.expected().value.shape
        result = first_of(returned.result)
        numbers = self.framework.numbers(result)
        if numbers is not None and numbers.shape != wanted and numbers.size == 1 and np.prod(wanted, dtype=int) == 1:
            numbers = numbers.reshape(wanted)
        if numbers is not None and numbers.shape == wanted:
            return numbers
        if numbers is None:
            got = f"{type(result).__name__:.60}" + (f" {result!r}"[:60] if result is not None else "")
            got += " as the first element of what it returned" if result is not returned.result else ""
        elif numbers.shape == (case.size,) and wanted == () and "lambda_" not in case.conventions:
            got = f"an array of shape {numbers.shape}, such as each example's own loss has: pass reduction='none'"
        else:
            listed = " ".join(np.array2string(numbers, threshold=6, precision=6).split())
            got = f"an array of shape {numbers.shape}: {listed}"
        raise WrongResultError(
            f"it returned {got}\n{self.call_description(case, dtype)}\nexpected   {_wanted(case)}",
            None if numbers is None else numbers,
            case,
        )

    def _gradients(self, case: Case, dtype: str, returned: Returned, wanted: Callable[[Input], bool]) -> dict[str, Any]:
        if not self.returns_gradients:
            return {case.inputs[place].name: gradient for place, gradient in returned.gradients.items()}
        names = [i.name for i in case.inputs if wanted(i) and i.floating]
        found = returned.result[1] if isinstance(returned.result, (tuple, list)) and len(returned.result) > 1 else None
        if found is not None and not isinstance(found, Mapping):
            order = [i.name for i in case.inputs if i.differentiated]
            if isinstance(found, (tuple, list)) and len(found) > len(order):
                order = [i.name for i in case.inputs]
            found = dict(zip(order, found, strict=False)) if isinstance(found, (tuple, list)) else {order[0]: found}
        gradients = {}
        for name in names:
            numbers = self.framework.numbers(found[name]) if found is not None and name in found else None
            if numbers is None and name.startswith("reference"):
                continue
            if numbers is None or numbers.shape != case.arrays[name].shape:
                shape = "nothing" if numbers is None else f"an array of shape {numbers.shape}"
                raise SubjectError(
                    f"as the gradient with respect to {name} it returned {shape}\n"
                    f"{self.call_description(case, dtype)}\n"
                    "expected   (loss, gradients), the latter a mapping from names of inputs, or one array for each"
                )
            gradients[name] = numbers
        return gradients


class WrongResultError(SubjectError):
    """Numbers, but not of the declared shape; they may still tell which convention they belong to."""

    def __init__(self, message: str, numbers: Any, case: Case) -> None:
        super().__init__(message)
        self.numbers = numbers
        self.case = case


def _wanted(case: Case) -> str:
    tuple_too = "or a tuple whose first element is it"
    if case.expected().value.shape == ():
        return f"a number, the {case.conventions['reduction']} over the batch, {tuple_too}"
    return f"an array of shape {case.expected().value.shape}, each example's own loss, {tuple_too}"


def rounded_case(case: Case, dtype: str) -> Case:
    """The case with its numbers rounded to what `dtype` has."""
    return case.with_arrays(**{i.name: rounded(case.arrays[i.name], dtype) for i in case.inputs if i.floating})
