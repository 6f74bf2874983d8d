"""Derivatives of a text that computes in any arithmetic: numbers that carry theirs with them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import SimpleNamespace
from typing import Any

__all__ = ["Dual", "differentiable", "value_of"]


class Dual:
    """A number with its derivatives by named inputs, over any kind of number that can be added, multiplied and divided.

    Examples
    --------
    >>> from fractions import Fraction
    >>> x = Dual(Fraction(1, 3), {"x": 1})
    >>> (1 / x - x * x).slopes
    {'x': Fraction(-29, 3)}
    """

    __slots__ = ("slopes", "value")

    def __init__(self, value: Any, slopes: Mapping[Hashable, Any]) -> None:
        self.value = value
        self.slopes = slopes

    def _with(self, value: Any, *parts: tuple[Any, Any]) -> Dual:
        """A result whose derivatives are a sum over (number it was made from, derivative by that)."""
        slopes: dict[Hashable, Any] = {}
        for number, factor in parts:
            for name, slope in number.slopes.items() if isinstance(number, Dual) else ():
                slopes[name] = slopes[name] + factor * slope if name in slopes else factor * slope
        return Dual(value, slopes)

    def __add__(self, other: Any) -> Dual:
        return self._with(self.value + value_of(other), (self, 1), (other, 1))

    def __neg__(self) -> Dual:
        return self._with(-self.value, (self, -1))

    def __sub__(self, other: Any) -> Dual:
        return self._with(self.value - value_of(other), (self, 1), (other, -1))

    def __rsub__(self, other: Any) -> Dual:
        return self._with(other - self.value, (self, -1))

    def __mul__(self, other: Any) -> Dual:
        return self._with(self.value * value_of(other), (self, value_of(other)), (other, self.value))

    def __truediv__(self, other: Any) -> Dual:
        if not isinstance(other, Dual):
            # Not times 1 / other: for a whole number that would be a float.
            return Dual(self.value / other, {name: slope / other for name, slope in self.slopes.items()})
        quotient = self.value / other.value
        return self._with(quotient, (self, 1 / other.value), (other, -quotient / other.value))

    def __rtruediv__(self, other: Any) -> Dual:
        quotient = other / self.value
        return self._with(quotient, (self, -quotient / self.value))

    def __pow__(self, exponent: int) -> Dual:
        return self._with(self.value**exponent, (self, exponent * self.value ** (exponent - 1)))

    __radd__, __rmul__ = __add__, __mul__

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > value_of(other))


def value_of(number: Any) -> Any:
    """The number without its derivatives."""
    return number.value if isinstance(number, Dual) else number


def differentiable(arithmetic: Any) -> SimpleNamespace:
    """`arithmetic` for numbers of its own kind and for those that carry derivatives.

    Examples
    --------
    >>> import math
    >>> differentiable(math).exp(Dual(0.0, {"x": 3.0})).slopes
    {'x': 3.0}
    """

    def lifted(function: Callable[[Any], Any], slope: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
        def apply(x: Any) -> Any:
            if not isinstance(x, Dual):
                return function(x)
            value = function(x.value)
            return x._with(value, (x, slope(x.value, value)))

        return apply

    return SimpleNamespace(
        exp=lifted(arithmetic.exp, lambda x, value: value), log=lifted(arithmetic.log, lambda x, value: 1 / x)
    )
