"""From what the caller declares, and what the function takes, to the conventions of a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pbde_ref.oracle.calling.subjects import accepted_keywords, parameters_of
from pbde_ref.oracle.cases import Case, Conventions, Definition
from pbde_ref.oracle.definitions import DEFINITIONS
from pbde_ref.oracle.ingredients import PER_EXAMPLE
from pbde_ref.validation import flip_probability, non_negative_number, positive_number

__all__ = ["conventions_of", "keywords_of", "misplaced_arguments", "with_lengths"]

_WORDS = {
    "variant": ("cdpo", "robust"),
    "ranking": ("scores", "ranks"),
    "layout": ("mask", "labels", "lengths"),
    "reduction": ("mean", "sum", "none"),
}
_TRUTHS = ("average", "average_likelihood", "reference_free", "shift")
_NON_NEGATIVE = ("margin", "delta", "lambda_", "likelihood_weight")


def conventions_of(definition: Definition, declared: Mapping[str, Any], accepted: set[str]) -> dict[str, Any]:
    """All conventions of the definition: as declared, generic if the function takes them, or their default.

    Examples
    --------
    >>> from pbde_ref.oracle.definitions import definition_of
    >>> conventions_of(definition_of("dpo"), {"beta": 1}, set())
    {'beta': 1.0, 'label_smoothing': 0.0, 'variant': 'cdpo', 'reference_free': False, 'reduction': 'mean'}
    >>> conventions_of(definition_of("dpo"), {"tau": 1}, set())
    Traceback (most recent call last):
        ...
    TypeError: the loss 'dpo' has beta, label_smoothing, variant, reference_free and reduction to declare; got 'tau'
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
    reduction = declared.get("reduction")
    result["reduction"] = _valid("reduction", "mean" if reduction is None else reduction)
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
    # How many arrays it is called with may itself depend on what is declared, or on what is taken instead.
    needed = {
        name: declared.get(name, h.generic if h.default is None else h.default)
        for name, h in definition.hyperparameters.items()
    }
    arrays = len(definition.inputs({**needed, "reduction": "mean"}))
    found: dict[str, str] = {}
    for name, hyperparameter in definition.hyperparameters.items():
        own = accepted_keywords(function, hyperparameter.keywords, arrays)
        if own is not None and declared.get(name) != PER_EXAMPLE and own not in found.values():
            found[name] = own
    return found


# What hyperparameters are called, here and elsewhere.
_NEVER_ARRAYS = {
    "average_log_prob", "epsilon", "eps", "gamma_beta_ratio", "label_smoothing", "loss_type", "reduction",
    "reference_free", "temperature",
} | {word for d in DEFINITIONS.values() for n, h in d.hyperparameters.items() for word in (n, *h.keywords)}  # fmt: skip


def misplaced_arguments(function: Callable[..., Any], case: Case) -> str:
    """Why the function must not be called: its name for an argument says that no array belongs there; empty if none.

    Called nevertheless, ``simpo(chosen, rejected, beta, gamma)`` would take lengths for its beta without a word.

    Examples
    --------
    >>> from pbde_ref.oracle.definitions import definition_of
    >>> simpo = definition_of("simpo")
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


def with_lengths(function: Callable[..., Any], definition: Definition, conventions: Conventions) -> dict[str, Any]:
    """IPO on sums needs no lengths; a function that demands them gets them, so that it can be told what it does."""
    if definition.name != "ipo" or conventions["average"]:
        return dict(conventions)
    demanded = [p for p in parameters_of(function) if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    takes = len(demanded) >= 6 and all("len" in p.name for p in demanded[4:6])
    return {**conventions, **({"lengths_given": True} if takes else {})}
