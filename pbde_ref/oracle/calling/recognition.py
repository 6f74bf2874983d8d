"""Which framework a function wants, from the names that it mentions.

Looked at: the module the function or its class comes from, the modules and objects that its code (and that of other
functions that it calls) refers to, what it has closed over, its defaults and its annotations. A function that
mentions neither PyTorch nor JAX is tried with NumPy arrays; if it raises TypeError or AttributeError on them, with
those of a framework that is installed, and if it returns the array of another framework, with those of that one.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

__all__ = ["framework_of", "frameworks_to_try", "mentioned_frameworks"]

_ROOTS = {"torch": "torch", "jax": "jax", "jaxlib": "jax", "flax": "jax", "optax": "jax", "rlax": "jax", "chex": "jax"}
_DEPTH = 4
# What these refer to says nothing about the arrays that their caller has.
_NEUTRAL = {"numpy", "scipy", "autograd", "pbde_ref", *sys.stdlib_module_names} - {"__main__"}


def framework_of(value: Any) -> str | None:
    """The framework that an object comes from, PyTorch or JAX.

    Examples
    --------
    >>> framework_of([0.5]) is None
    True
    """
    if isinstance(value, ModuleType):
        names = [value.__name__]
    else:
        kinds = type(value).__mro__ if not isinstance(value, type) else value.__mro__
        names = [kind.__module__ for kind in kinds]
        names.append(getattr(value, "__module__", None) or "")
    return next((_ROOTS[root] for name in names if (root := str(name).split(".")[0]) in _ROOTS), None)


def mentioned_frameworks(function: Callable[..., Any]) -> set[str]:
    """The frameworks that a function refers to.

    Examples
    --------
    >>> mentioned_frameworks(lambda a, b: a - b)
    set()
    """
    found: set[str] = set()
    _look(function, found, set(), _DEPTH)
    return found


def frameworks_to_try(function: Callable[..., Any]) -> list[str]:
    """Names of frameworks, the likeliest first."""
    mentioned = mentioned_frameworks(function)
    if len(mentioned) > 1:
        raise ValueError(
            f"`framework` must be declared for a function that mentions several; got 'auto' and {sorted(mentioned)}"
        )
    if mentioned:
        return list(mentioned)
    return ["numpy", *(name for name in ("torch", "jax") if _installed(name))]


def _installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _look(value: Any, found: set[str], seen: set[int], depth: int) -> None:
    if depth < 0 or id(value) in seen:
        return
    seen.add(id(value))
    root = framework_of(value)
    if root:
        found.add(root)
        # A compiled or wrapped function of a framework hides nothing that would say more.
        return
    if not isinstance(value, partial) and str(getattr(value, "__module__", None)).split(".")[0] in _NEUTRAL:
        return
    for part in _parts(value):
        if isinstance(part, str):
            found |= {_ROOTS[name] for name in _ROOTS if part.split(".")[0].strip("'\"") == name}
        else:
            _look(part, found, seen, depth - 1)


def _parts(value: Any) -> Iterator[Any]:
    """What a callable is made of, or refers to."""
    if isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, FunctionType):
        yield from (cell.cell_contents for cell in value.__closure__ or () if _filled(cell))
        yield from value.__defaults__ or ()
        yield from value.__annotations__.values()
        yield from _referenced(value.__code__, value.__globals__)
    elif callable(value) and not isinstance(value, (type, ModuleType)):
        call = type(value).__call__
        if isinstance(call, FunctionType):
            yield call
            yield from vars(value).values() if hasattr(value, "__dict__") else ()
    wrapped = getattr(value, "__wrapped__", None)
    if wrapped is not None:
        yield wrapped


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # an empty cell raises here
    except ValueError:
        return False
    return True


def _referenced(code: CodeType, names: dict[str, Any]) -> Iterator[Any]:
    """Values of global names in the code, and modules that it imports itself."""
    for name in code.co_names:
        if name in names:
            yield names[name]
            if isinstance(names[name], ModuleType):
                # In `library.loss(...)` both are names of the code.
                yield from (vars(names[name])[other] for other in code.co_names if other in vars(names[name]))
        elif name in _ROOTS and name in sys.modules:
            yield sys.modules[name]
        elif name in _ROOTS:
            yield name
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _referenced(constant, names)
