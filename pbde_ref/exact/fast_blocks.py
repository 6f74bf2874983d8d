r"""The dense sums' fast path: blocks of pairs whose losses are large enough for the quick formula to be right.

With :math:`c = \chi_A - \chi_B`, :math:`d = \omega_A - \omega_B`, :math:`p = \sigma(c)`, a pair's divergence and its
cross-entropy are

.. math:: \log \frac{1 + e^d}{1 + e^c} - p\, (d - c), \qquad \log (1 + e^d) - p\, d

and :math:`e^c, e^d` are outer products of n exponentials: one logarithm and two reciprocals per pair. Of a mixture of
annotators :math:`p = \sum_i v_i \sigma(c_i)`; its divergence is the cross-entropy less that of p with itself. The terms
cancel where the preferences nearly agree, or are nearly certain, so each block's rounding error is bounded; a block in
which it could reach a share of 4e-13 is left to the termwise formula of ``proofs/relative_accuracy.md``. So is a block
with an outcome whose gradient could err by a share of 1e-12 of its terms' sizes (``proofs/convexity.md``, part 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from pbde_ref.annotators import Annotator, AnnotatorMixture, PreferenceModel
from pbde_ref.numerics import EPS
from pbde_ref.pairs import PairBlock
from pbde_ref.threads import keep_freed_memory
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["FastBlocks"]

# exp(700) is finite, and so are its products with 1 + exp(-700).
WIDEST = 700.0
SHARE = 4e-13
GRADIENT_SHARE = 1e-12
# Entries.
SHORT_BUFFER = 512
# Fewer outcomes take no time either way.
FEW = 32


@dataclass(frozen=True, eq=False)
class FastBlocks:
    r"""What the quick formula needs of each outcome; a function of blocks.

    Attributes
    ----------
    annotator, model : tuple of two ndarray, shape (n,), or (k, n) for the annotators of a mixture
        Exponentials of the utilities and of their negatives, both measured from the middle of their range.
    difference : ndarray, shape (n,)
        :math:`u = \omega - \chi`, or :math:`\omega`, measured from the middle of its range.
    error, error_per_nat : float
        Bound on the rounding error of a pair's loss: the first plus :math:`|u_A| + |u_B|` times the second.
    entropy : bool
        Whether the loss is the cross-entropy, which has the annotator's entropy in it.
    odds_error : float
        Bound on the relative errors of :math:`e^c` and :math:`e^d` together.
    weights : tuple of float
        Of the annotators.
    """

    annotator: tuple[FloatArray, FloatArray]
    model: tuple[FloatArray, FloatArray]
    difference: FloatArray
    error: float
    error_per_nat: float
    entropy: bool = False
    odds_error: float = 0.0
    weights: tuple[float, ...] = (1.0,)
    buffers: list[FloatArray] = field(default_factory=list)

    @classmethod
    def of(cls, annotator: PreferenceModel, utilities: FloatArray, *, entropy: bool = False) -> FastBlocks | None:
        """None unless there are many outcomes, logistic annotators, and no two utilities more than 700 nats apart."""
        keep_freed_memory()
        answering = annotator.answering() if isinstance(annotator, AnnotatorMixture) else [(1.0, annotator)]
        chi = [one.utility for _, one in answering if isinstance(one, Annotator)]
        if annotator.size < FEW or len(chi) < len(answering):
            return None
        spreads = [float(np.ptp(t)) if np.isfinite(t).all() else math.inf for t in (*chi, utilities)]
        if not max(spreads) <= WIDEST:
            return None
        single = len(chi) == 1
        difference = utilities - chi[0] if single and not entropy else utilities
        centered = _from_middle(difference)
        # Distances from the middle are rounded, exponentials to a unit in the last place: c and d err by this much.
        error_c, error_d = EPS * (2.0 + 0.5 * max(spreads[:-1])), EPS * (2.0 + 0.5 * spreads[-1])
        # σ(c) is the logarithm's derivative by -c, and σ'(c) ≤ 1/4 that of p; log and products err by a few units.
        rounded = float(np.abs(difference).max()) if single and not entropy else 0.0
        error = error_c + error_d + EPS * (rounded + float(np.ptp(centered))) + 8.0 * EPS
        # A cross-entropy's logarithm is not small where d is large, and errs by a unit in its last place.
        error_per_nat = 0.25 * error_c + (4.0 if single and not entropy else 8.0) * EPS
        exponentials = _exponentials(chi[0] if single else np.array(chi)), _exponentials(utilities)
        odds_error = error_c + error_d + 8.0 * EPS
        if not single:
            # Sums over annotators: k units; p log p errs by the error of p times |log p| + 1, p̄ log p̄ likewise.
            odds_error += len(chi) * EPS
            error += 0.0 if entropy else 3.0 * (error_c + (4.0 + len(chi)) * EPS)
            error_per_nat += len(chi) * EPS
        weights = tuple(float(weight) for weight, _ in answering)
        return cls(*exponentials, centered, error, error_per_nat, entropy, odds_error, weights)

    def __call__(self, block: PairBlock) -> tuple[float, FloatArray] | None:
        """The block's loss, and each pair's weight times excess, which the next block overwrites.

        None if the error could be too large.
        """
        if block.weight.ndim != 2:
            return None
        with np.errstate():
            # NumPy repeats what it broadcasts in its buffers where rows are shorter than a third of them, at twice the
            # cost of not doing so. Their size, too, is restored on leaving `errstate`.
            np.setbufsize(SHORT_BUFFER)
            return self._loss(block)

    def _loss(self, block: PairBlock) -> tuple[float, FloatArray] | None:
        rows, columns, weight = block.a[:, 0], block.b[0], block.weight
        odds_d, odds_c, loses, excess, wins, spare = self._buffers(weight.shape)
        np.multiply.outer(self.model[0][rows], self.model[1][columns], out=odds_d)
        single, lost = len(self.weights) == 1, loses
        for i, (share, up, down) in enumerate(zip(self.weights, *map(np.atleast_2d, self.annotator), strict=True)):
            np.multiply.outer(up[rows], down[columns], out=odds_c)
            np.add(odds_c, 1.0, out=loses)
            np.divide(share, loses, out=loses)
            # σ(d) − σ(c) = (e^d − e^c) / ((1 + e^d)(1 + e^c)): right in relative terms, as far as e^d − e^c is.
            np.subtract(odds_d, odds_c, out=spare)
            if i == 0:
                lost = loses if single else loses.copy()
                np.multiply(spare, loses, out=excess)
                np.multiply(odds_c, loses, out=wins)
            else:
                lost += loses
                spare *= loses
                excess += spare
                odds_c *= loses
                wins += odds_c
        odds_d += 1.0
        excess /= odds_d
        excess *= weight
        if single and not self.entropy:
            odds_d *= loses
        logarithm = np.log(odds_d, out=odds_d)
        if not (single or self.entropy):
            for p in (wins, lost):
                np.log(p, out=spare)
                spare *= p
                logarithm += spare
        u_a, u_b = self.difference[rows], self.difference[columns]
        wins *= np.subtract.outer(u_a, u_b, out=spare)
        logarithm -= wins
        value = float(np.einsum("ij,ij->", weight, logarithm))
        right = self._is_right(value, weight, u_a, u_b) and self._gradient_is_right(np.abs(excess, out=spare), block)
        return (value, excess) if right else None

    def _buffers(self, shape: tuple[int, ...]) -> list[FloatArray]:
        """Six arrays, whose memory is asked for once: new memory for each block costs as much as what is computed."""
        size = math.prod(shape)
        if not self.buffers or self.buffers[0].size < size:
            self.buffers[:] = [np.empty(size) for _ in range(6)]
        return [buffer[:size].reshape(shape) for buffer in self.buffers]

    def _is_right(self, value: float, weight: FloatArray, u_a: FloatArray, u_b: FloatArray) -> bool:
        """Whether rounding may have changed no more than the allowed share of a block's value."""
        mass = weight.sum(axis=1)
        total = float(mass.sum())
        distance = float((mass * np.abs(u_a)).sum()) + total * float(np.abs(u_b).max())
        if total * self.error + distance * self.error_per_nat > SHARE * value:
            # The largest distance says little if it has little weight.
            distance = float((mass * np.abs(u_a)).sum() + (weight.sum(axis=0) * np.abs(u_b)).sum())
        return total * self.error + distance * self.error_per_nat <= SHARE * value

    def _gradient_is_right(self, size: FloatArray, block: PairBlock) -> bool:
        """Whether no outcome's share of the gradient may err by more than what is allowed of its terms' sizes."""
        weight = block.weight
        rows, columns = block.a[:, 0], block.b[0]
        # An outcome that meets itself adds as much as it takes away. In a proposal's blocks that is the diagonal.
        if np.array_equal(rows, columns[: rows.size]):
            diagonal = np.einsum("ii->i", weight[:, : rows.size])
            own = diagonal.copy()
            diagonal[:] = 0.0
            right = self._is_small(size, weight, rows, columns)
            diagonal[:] = own
            return right
        return self._is_small(size, np.where(block.a == block.b, 0.0, weight), rows, columns)

    def _is_small(self, size: FloatArray, weight: FloatArray, rows: IndexArray, columns: IndexArray) -> bool:
        # No term errs by more than its weight times the odds' error.
        if _exceeds(size, weight, self.odds_error):
            return True
        # With M = max(e^c, e^d) / ((1 + e^c)(1 + e^d)) a term is M (1 - e^-|d - c|). It errs by M times the odds'.
        odds_d = np.multiply.outer(self.model[0][rows], self.model[1][columns])
        error = np.zeros(weight.shape)
        for share, up, down in zip(self.weights, *map(np.atleast_2d, self.annotator), strict=True):
            odds_c = np.multiply.outer(up[rows], down[columns])
            error += share * np.maximum(odds_c, odds_d) / (1.0 + odds_c) / (1.0 + odds_d)
        error *= weight
        return _exceeds(size, error, self.odds_error)


def _exceeds(size: FloatArray, weight: FloatArray, error: float) -> bool:
    """Whether the errors of each row and of each column are a small share of its size."""
    return all(bool((error * weight.sum(axis) <= GRADIENT_SHARE * size.sum(axis)).all()) for axis in (0, 1))


def _from_middle(values: FloatArray) -> FloatArray:
    low, high = values.min(axis=-1, keepdims=True), values.max(axis=-1, keepdims=True)
    return values - (0.5 * low + 0.5 * high)


def _exponentials(utilities: FloatArray) -> tuple[FloatArray, FloatArray]:
    centered = _from_middle(utilities)
    return np.exp(centered), np.exp(-centered)
