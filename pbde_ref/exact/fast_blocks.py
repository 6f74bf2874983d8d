r"""The dense sums' fast path: blocks of pairs whose losses are large enough for the quick formula to be right.

With :math:`c = \chi_A - \chi_B`, :math:`d = \omega_A - \omega_B`, :math:`p = \sigma(c)`, a pair's divergence and its
cross-entropy are

.. math:: \log \frac{1 + e^d}{1 + e^c} - p\, (d - c), \qquad \log (1 + e^d) - p\, d

and :math:`e^c, e^d` are outer products of n exponentials: one logarithm and two reciprocals per pair. The two terms
cancel where the preferences nearly agree, or are nearly certain, so each block's rounding error is bounded; a block in
which it could reach a share of 4e-13 is left to the termwise formula of ``proofs/relative_accuracy.md``. So is a block
with an outcome whose gradient could err by a share of 1e-12 of its terms' sizes (``proofs/convexity.md``, part 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pbde_ref.annotators import Annotator, PreferenceModel
from pbde_ref.pairs import PairBlock
from pbde_ref.validation import FloatArray

__all__ = ["FastBlocks"]

EPS = float(np.finfo(float).eps)
# exp(700) is finite, and so are its products with 1 + exp(-700).
WIDEST = 700.0
SHARE = 4e-13
GRADIENT_SHARE = 1e-12
# Entries.
SHORT_BUFFER = 512
# Fewer outcomes take no time either way.
FEW = 512


@dataclass(frozen=True, eq=False)
class FastBlocks:
    r"""What the quick formula needs of each outcome; a function of blocks.

    Attributes
    ----------
    annotator, model : tuple of two ndarray, shape (n,)
        Exponentials of the utilities and of their negatives, both measured from the middle of their range.
    difference : ndarray, shape (n,)
        :math:`u = \omega - \chi`, or :math:`\omega`, measured from the middle of its range.
    error, error_per_nat : float
        Bound on the rounding error of a pair's loss: the first plus :math:`|u_A| + |u_B|` times the second.
    entropy : bool
        Whether the loss is the cross-entropy, which has the annotator's entropy in it.
    odds_error : float
        Bound on the relative errors of :math:`e^c` and :math:`e^d` together.
    """

    annotator: tuple[FloatArray, FloatArray]
    model: tuple[FloatArray, FloatArray]
    difference: FloatArray
    error: float
    error_per_nat: float
    entropy: bool = False
    odds_error: float = 0.0

    @classmethod
    def of(cls, annotator: PreferenceModel, utilities: FloatArray, *, entropy: bool = False) -> FastBlocks | None:
        """None unless there are many outcomes, a single annotator, and no two utilities more than 700 nats apart."""
        if annotator.size < FEW or not isinstance(annotator, Annotator):
            return None
        spreads = [float(np.ptp(t)) if np.isfinite(t).all() else math.inf for t in (annotator.utility, utilities)]
        if not max(spreads) <= WIDEST:
            return None
        difference = utilities if entropy else utilities - annotator.utility
        centered = _from_middle(difference)
        # Distances from the middle are rounded, exponentials to a unit in the last place: c and d err by this much.
        error_c, error_d = (EPS * (2.0 + 0.5 * spread) for spread in spreads)
        # σ(c) is the logarithm's derivative by -c, and σ'(c) ≤ 1/4 that of p; log and products err by a few units.
        rounded = 0.0 if entropy else float(np.abs(difference).max())
        error = error_c + error_d + EPS * (rounded + float(np.ptp(centered))) + 8.0 * EPS
        # A cross-entropy's logarithm is not small where d is large, and errs by a unit in its last place.
        error_per_nat = 0.25 * error_c + (8.0 if entropy else 4.0) * EPS
        exponentials = _exponentials(annotator.utility), _exponentials(utilities)
        return cls(*exponentials, centered, error, error_per_nat, entropy, error_c + error_d + 8.0 * EPS)

    def __call__(self, block: PairBlock) -> tuple[float, FloatArray] | None:
        """The block's loss, and each pair's weight times excess; None if the error could be too large."""
        if block.weight.ndim != 2:
            return None
        with np.errstate():
            # NumPy repeats what it broadcasts in its buffers where rows are shorter than a third of them, at four times
            # the cost of not doing so. Their size, too, is restored on leaving `errstate`.
            np.setbufsize(SHORT_BUFFER)
            return self._loss(block)

    def _loss(self, block: PairBlock) -> tuple[float, FloatArray] | None:
        rows, columns = block.a[:, 0], block.b[0]
        odds_c = np.multiply.outer(self.annotator[0][rows], self.annotator[1][columns])
        odds_d = np.multiply.outer(self.model[0][rows], self.model[1][columns])
        u_a, u_b = self.difference[rows], self.difference[columns]
        excess = odds_d - odds_c
        odds_d += 1.0
        loses_c = 1.0 / (1.0 + odds_c)
        logarithm = np.log(odds_d if self.entropy else odds_d * loses_c)
        # σ(d) − σ(c) = (e^d − e^c) / ((1 + e^d)(1 + e^c)): right in relative terms, as far as e^d − e^c is.
        excess /= odds_d
        excess *= loses_c
        excess *= block.weight
        odds_c *= loses_c
        odds_c *= np.subtract.outer(u_a, u_b, out=odds_d)
        logarithm -= odds_c
        value = float(np.einsum("ij,ij->", block.weight, logarithm))
        right = self._is_right(value, block.weight, u_a, u_b) and self._gradient_is_right(excess, block)
        return (value, excess) if right else None

    def _is_right(self, value: float, weight: FloatArray, u_a: FloatArray, u_b: FloatArray) -> bool:
        """Whether rounding may have changed no more than the allowed share of a block's value."""
        mass = weight.sum(axis=1)
        total = float(mass.sum())
        distance = float((mass * np.abs(u_a)).sum()) + total * float(np.abs(u_b).max())
        if total * self.error + distance * self.error_per_nat > SHARE * value:
            # The largest distance says little if it has little weight.
            distance = float((mass * np.abs(u_a)).sum() + (weight.sum(axis=0) * np.abs(u_b)).sum())
        return total * self.error + distance * self.error_per_nat <= SHARE * value


    def _gradient_is_right(self, terms: FloatArray, block: PairBlock) -> bool:
        """Whether no outcome's share of the gradient may err by more than what is allowed of its terms' sizes."""
        size = np.abs(terms)
        # An outcome that meets itself adds as much as it takes away.
        weight = np.where(block.a == block.b, 0.0, self.odds_error * block.weight)
        if _exceeds(size, weight):
            return True
        # With M = max(e^c, e^d) / ((1 + e^c)(1 + e^d)) a term is M (1 - e^-|d - c|). It errs by M times the odds'.
        rows, columns = block.a[:, 0], block.b[0]
        odds_c = np.multiply.outer(self.annotator[0][rows], self.annotator[1][columns])
        odds_d = np.multiply.outer(self.model[0][rows], self.model[1][columns])
        error = np.maximum(odds_c, odds_d)
        error /= 1.0 + odds_c
        error /= 1.0 + odds_d
        error *= weight
        return _exceeds(size, error)


def _exceeds(size: FloatArray, error: FloatArray) -> bool:
    """Whether the errors of each row and of each column are a small share of its size."""
    return all(bool((error.sum(axis) <= GRADIENT_SHARE * size.sum(axis)).all()) for axis in (0, 1))


def _from_middle(values: FloatArray) -> FloatArray:
    return values - (0.5 * float(values.min()) + 0.5 * float(values.max()))


def _exponentials(utilities: FloatArray) -> tuple[FloatArray, FloatArray]:
    centered = _from_middle(utilities)
    return np.exp(centered), np.exp(-centered)
