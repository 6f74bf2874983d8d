"""From what the caller declares, and what the function takes, to the conventions of a case."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pbde_ref.oracle.cases import Conventions, Definition
from pbde_ref.oracle.ingredients import PER_EXAMPLE
from pbde_ref.oracle.subjects import accepted_keywords
from pbde_ref.validation import flip_probability, non_negative_number, positive_number

__all__ = ["conventions_of", "keywords_of", "with_lengths"]

_WORDS = {
    "variant": ("cdpo", "robust"),
    "ranking": ("scores", "ranks"),
    "layout": ("mask", "labels", "lengths"),
    "reduction": ("mean", "sum", "none"),
}
_TRUTHS = ("average", "average_likelihood", "shift")
_NON_NEGATIVE = ("margin", "delta", "lambda_", "likelihood_weight")


def conventions_of(definition: Definition, declared: Mapping[str, Any], accepted: set[str]) -> dict[str, Any]:
    """All conventions of the definition: as declared, generic if the function takes them, or their default.

    Examples
    --------
    >>> from pbde_ref.oracle.definitions import definition_of
    >>> conventions_of(definition_of("dpo"), {"beta": 1}, set())
    {'beta': 1.0, 'label_smoothing': 0.0, 'variant': 'cdpo', 'reduction': 'mean'}
    >>> conventions_of(definition_of("dpo"), {"tau": 1}, set())
    Traceback (most recent call last):
        ...
    TypeError: the loss 'dpo' has beta, label_smoothing, variant and reduction to declare; got 'tau'
    """
    names = [*definition.hyperparameters, "reduction"]
    for name in declared:
        if name not in names:
            listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
            raise TypeError(f"the loss {definition.name!r} has {listed} to declare; got {name!r}")
    result = {}
    for name, hyperparameter in definition.hyperparameters.items():
        value = declared.get(name)
        if value is None:
            value = hyperparameter.default
        if value is None and name in accepted:
            value = hyperparameter.generic
        if value is None:
            raise TypeError(
                f"the loss {definition.name!r} needs {name}=..., the value that your function is bound to "
                f"(or let it take {name} as a keyword)"
            )
        result[name] = _valid(name, value)
    result["reduction"] = _valid("reduction", declared.get("reduction") or "mean")
    if result.get("lambda_") and result["reduction"] == "none":
        raise ValueError("`reduction` must be 'mean' or 'sum' if `lambda_` is positive; got 'none'")
    return result


def _valid(name: str, value: Any) -> Any:
    if name in _WORDS:
        if value not in _WORDS[name]:
            raise ValueError(f"`{name}` must be {' or '.join(map(repr, _WORDS[name]))}; got {value!r}")
        return value
    if name in _TRUTHS:
        if not isinstance(value, bool):
            raise TypeError(f"`{name}` must be True or False; got {value!r}")
        return value
    if name == "margin" and value == PER_EXAMPLE:
        return value
    if name == "label_smoothing":
        return flip_probability(name, value)
    return non_negative_number(name, value) if name in _NON_NEGATIVE else positive_number(name, value)


def keywords_of(function: Callable[..., Any], definition: Definition, declared: Mapping[str, Any]) -> dict[str, str]:
    """The hyperparameters that the function takes as keywords, with its own names for them."""
    # How many arrays it is called with may itself depend on what is declared.
    needed = {name: declared.get(name, h.generic) for name, h in definition.hyperparameters.items()}
    arrays = len(definition.inputs({**needed, "reduction": "mean"}))
    found: dict[str, str] = {}
    for name, hyperparameter in definition.hyperparameters.items():
        own = accepted_keywords(function, hyperparameter.keywords, arrays)
        if own is not None and declared.get(name) != PER_EXAMPLE and own not in found.values():
            found[name] = own
    return found


def with_lengths(function: Callable[..., Any], definition: Definition, conventions: Conventions) -> dict[str, Any]:
    """IPO on sums needs no lengths; a function that demands them gets them, so that it can be told what it does."""
    if definition.name != "ipo" or conventions["average"]:
        return dict(conventions)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return dict(conventions)
    demanded = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    takes = len(demanded) >= 6 and all("len" in p.name for p in demanded[4:6])
    return {**conventions, **({"lengths_given": True} if takes else {})}
