"""Expected values as theorems: each float64 of a test vector lies within one unit in its last place of the real number.

The text of `pbde_ref.paper` computes with terms of Coq's real numbers, and coq-interval proves what comes out: that
rounding, this package and its arithmetic played no part in it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np

from pbde_ref.vectors.against_the_paper import DECIMAL, batch_by_definition, exact, tokens_by_definition
from pbde_ref.vectors.definitions import DEFINITIONS
from pbde_ref.vectors.derivatives import Dual, differentiable

__all__ = ["theorems"]

# Of each number beyond those that cancel: 53, and some for what is added up.
BITS = 90
SMALLEST = 1e-30

NEUTRAL = {"+": "0", "-": "0", "*": "1", "/": "1"}

HEADER = """\
From Coq Require Import Reals.
From Interval Require Import Tactic.
Open Scope R_scope.
"""


class Term:
    """A real number: as a term of Coq, and in decimals, by which two are compared.

    Each comparison that the text makes is a fact to be proved as well; `facts` of the arithmetic collects them.
    """

    __slots__ = ("facts", "text", "value")

    def __init__(self, value: Any, text: str, facts: list[str]) -> None:
        self.value, self.text, self.facts = Decimal(value), text, facts

    def _joined(self, sign: str, other: Any, operation: Callable[[Decimal, Decimal], Decimal]) -> Term:
        if isinstance(other, Dual):
            return NotImplemented  # what carries derivatives knows how
        other = self._term(other)
        if other.text == NEUTRAL[sign]:
            return self
        if sign in "+*" and self.text == NEUTRAL[sign]:
            return other
        return Term(operation(self.value, other.value), f"({self.text} {sign} {other.text})", self.facts)

    def _term(self, number: Any) -> Term:
        return number if isinstance(number, Term) else Term(number, _rational(number), self.facts)

    def __add__(self, other: Any) -> Term:
        return self._joined("+", other, operator.add)

    def __sub__(self, other: Any) -> Term:
        return self._joined("-", other, operator.sub)

    def __mul__(self, other: Any) -> Term:
        return self._joined("*", other, operator.mul)

    def __truediv__(self, other: Any) -> Term:
        return self._joined("/", other, operator.truediv)

    def __radd__(self, other: Any) -> Term:
        return self._term(other) + self

    def __rsub__(self, other: Any) -> Term:
        return self._term(other) - self

    def __rmul__(self, other: Any) -> Term:
        return self._term(other) * self

    def __rtruediv__(self, other: Any) -> Term:
        return self._term(other) / self

    def __float__(self) -> float:
        return float(self.value)

    def __neg__(self) -> Term:
        return Term(-self.value, f"(- {self.text})", self.facts)

    def __pow__(self, exponent: int) -> Term:
        return Term(self.value**exponent, f"({self.text} ^ {exponent})", self.facts)

    def __gt__(self, other: Any) -> bool:
        other = self._term(other)
        larger: bool = self.value > other.value
        self.facts.append(f"0 < {self.text} - {other.text}" if larger else f"{self.text} - {other.text} <= 0")
        return larger

    def __eq__(self, other: object) -> bool:
        return bool(self.value == self._term(other).value)

    def __bool__(self) -> bool:
        return bool(self.value)


def _rational(value: Any) -> str:
    """A whole number or a float, exactly."""
    numerator, denominator = Fraction(value).as_integer_ratio()
    text = str(numerator) if denominator == 1 else f"{numerator} / {denominator}"
    return text if text.isdigit() else f"({text})"


def _applied(name: str, function: Callable[[Decimal], Decimal]) -> Callable[[Term], Term]:
    return lambda x: Term(function(x.value), f"({name} {x.text})", x.facts)


TERMS = differentiable(SimpleNamespace(exp=_applied("exp", DECIMAL.exp), log=_applied("ln", DECIMAL.log)))


def theorems(documents: Iterable[Mapping[str, Any]], sample: int | None = None, seed: int = 0) -> Iterator[str]:
    """A file for Coq in pieces: its header, then a theorem for each test that has a closed form, about all its numbers.

    Parameters
    ----------
    documents : iterable of mappings
        As `make_vectors` makes them.
    sample : int, optional
        Theorems for so many tests only, drawn with `seed`; fewer where there are no more.

    Notes
    -----
    A test that holds a number below 1e-30 is left out: the tactic would need a thousand bits.
    """
    provable = [
        (document["name"], group["parameters"], test)
        for document in documents
        if document["name"] in (*DEFINITIONS, "sequence_log_probs")
        for group in document["groups"]
        for test in group["tests"]
        if test["result"] != "invalid"
    ]
    order = range(len(provable)) if sample is None else np.random.default_rng(seed).permutation(len(provable))
    yield HEADER
    found = (text for place in order for text in _theorem(*provable[place]))
    yield from islice(found, sample)


def _theorem(name: str, parameters: Mapping[str, Any], test: Mapping[str, Any]) -> Iterator[str]:
    facts: list[str] = []
    expected = {key: value for key, value in test["expected"].items() if key != "mask"}

    def term(number: float) -> Term:
        return Term(number, _rational(number), facts)

    given = exact(parameters, term)
    if name == "sequence_log_probs":
        terms = tokens_by_definition(given, test["inputs"], TERMS, term)
    else:
        differentiated = tuple(expected.get("gradients", ()))
        terms = batch_by_definition(name, given, exact(test["inputs"], term), differentiated, TERMS)
    numbers = [
        (found, right if isinstance(right, Term) else term(right)) for found, right in _matched(expected, terms)
    ]
    smallest = min((abs(found) for found, right in numbers if right.text != "0"), default=1.0)
    if smallest < SMALLEST:
        return
    facts += [f"Rabs ({right.text} - {_rational(found)}) <= {_rational(math.ulp(found))}" for found, right in numbers]
    conjunction = " /\\\n  ".join(dict.fromkeys(facts))
    # 1 - p keeps as many bits as p is small.
    precision = BITS - math.frexp(smallest)[1]
    yield (
        f"Theorem {name}_{test['id']} :\n  {conjunction}.\n"
        f"Proof. repeat split; interval with (i_prec {precision}). Qed.\n"
    )


def _matched(expected: Any, terms: Any) -> Iterator[tuple[float, Any]]:
    """The numbers of a test, each with its term."""
    if isinstance(expected, Mapping):
        for key, value in expected.items():
            yield from _matched(value, terms[key])
    elif isinstance(expected, list):
        for one, other in zip(expected, terms, strict=True):
            yield from _matched(one, other)
    else:
        yield expected, terms
