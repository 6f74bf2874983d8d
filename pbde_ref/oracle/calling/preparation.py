"""From what the caller declares, and what the function takes, to the conventions of a case."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from pbde_ref.catalogue import LOSSES
from pbde_ref.catalogue.records import PER_EXAMPLE, Conventions, Loss, Parameter
from pbde_ref.oracle.calling.subjects import accepted_keywords, parameters_of
from pbde_ref.oracle.cases import Case

__all__ = ["chosen_of", "conventions_of", "keywords_of", "misplaced_arguments", "with_lengths"]

_REDUCTION = Parameter(("mean", "sum", "none"), "mean")


def conventions_of(definition: Loss, declared: Mapping[str, Any], accepted: set[str]) -> dict[str, Any]:
    """All conventions of the definition: as declared, generic if the function takes them, or their default.

    Examples
    --------
    >>> from pbde_ref.catalogue import loss_named
    >>> conventions_of(loss_named("dpo"), {"beta": 1}, set())
    {'beta': 1.0, 'label_smoothing': 0.0, 'variant': 'cdpo', 'reference_free': False, 'reduction': 'mean'}
    >>> conventions_of(loss_named("dpo"), {"tau": 1}, set())
    Traceback (most recent call last):
        ...
    TypeError: the loss 'dpo' has beta, label_smoothing, variant, reference_free and reduction to declare; got 'tau'
    """
    names = [*definition.parameters, "reduction"]
    for name in declared:
        if name not in names:
            listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
            raise TypeError(f"the loss {definition.name!r} has {listed} to declare; got {name!r:.100}")
    result = {}
    for name, parameter in definition.parameters.items():
        value = declared.get(name)
        if value is None:
            value = parameter.default
        if value is None and name in accepted:
            value = parameter.generic
        if value is None:
            raise TypeError(
                f"the loss {definition.name!r} needs {name}=..., the value that your function is bound to "
                f"(or let it take {name} as a keyword)"
            )
        result[name] = parameter.checked(name, value)
    reduction = declared.get("reduction")
    result["reduction"] = _REDUCTION.checked("reduction", "mean" if reduction is None else reduction)
    if result.get("lambda_") and result["reduction"] == "none":
        raise ValueError("`reduction` must be 'mean' or 'sum' if `lambda_` is positive; got 'none'")
    return result


def chosen_of(definition: Loss, declared: Mapping[str, Any]) -> dict[str, Any]:
    """What nobody declared and what has no default: the values that `conventions_of` takes.

    Examples
    --------
    >>> from pbde_ref.catalogue import loss_named
    >>> chosen_of(loss_named("dpo"), {}), chosen_of(loss_named("dpo"), {"beta": 0.1})
    ({'beta': 0.3}, {})
    """
    parameters = definition.parameters.items()
    return {name: p.generic for name, p in parameters if p.default is None and declared.get(name) is None}


def keywords_of(function: Callable[..., Any], definition: Loss, declared: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that the function takes as keywords, with its own names for them."""
    # How many arrays it is called with may itself depend on what is declared, or on what is taken instead.
    needed = {
        name: declared.get(name, h.generic if h.default is None else h.default)
        for name, h in definition.parameters.items()
    }
    arrays = len(definition.inputs({**needed, "reduction": "mean"}))
    found: dict[str, str] = {}
    bound = function.keywords if isinstance(function, functools.partial) else {}
    for name, parameter in definition.parameters.items():
        own = accepted_keywords(function, parameter.keywords, arrays)
        if own is not None and own not in bound and declared.get(name) != PER_EXAMPLE and own not in found.values():
            found[name] = own
    return found


# What parameters are called, here and elsewhere.
_NEVER_ARRAYS = {
    "average_log_prob", "epsilon", "eps", "gamma_beta_ratio", "label_smoothing", "loss_type", "reduction",
    "reference_free", "temperature",
} | {word for d in LOSSES.values() for n, h in d.parameters.items() for word in (n, *h.keywords)}  # fmt: skip


def misplaced_arguments(function: Callable[..., Any], case: Case) -> str:
    """Why the function must not be called: its name for an argument says that no array belongs there; empty if none.

    Called nevertheless, ``simpo(chosen, rejected, beta, gamma)`` would take lengths for its beta without a word.

    Examples
    --------
    >>> from pbde_ref.catalogue import loss_named
    >>> simpo = loss_named("simpo")
    >>> case = Case(simpo, simpo.batches["generic"], conventions_of(simpo, {}, set()))
    >>> print(misplaced_arguments(lambda chosen, rejected, beta, gamma: 0.0, case).splitlines()[0])
    it was not called: its argument 'beta' stands where the array chosen_lengths is passed
    """
    for given, parameter in zip(case.inputs, parameters_of(function), strict=False):
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            break
        if parameter.name in _NEVER_ARRAYS and not given.name.startswith(parameter.name):
            names = ", ".join(i.name for i in case.inputs)
            return (
                f"it was not called: its argument {parameter.name!r} stands where the array {given.name} is passed\n"
                f"expected   a function of these {len(case.inputs)} arrays; wrap yours: lambda {names}: ..."
            )
    return ""


def with_lengths(function: Callable[..., Any], definition: Loss, conventions: Conventions) -> dict[str, Any]:
    """IPO on sums needs no lengths; a function that demands them gets them, so that it can be told what it does."""
    if "takes_lengths" not in conventions or conventions["average"]:
        return dict(conventions)
    demanded = [p for p in parameters_of(function) if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    takes = len(demanded) >= 6 and all("len" in p.name for p in demanded[4:6])
    return {**conventions, "takes_lengths": conventions["takes_lengths"] or takes}
