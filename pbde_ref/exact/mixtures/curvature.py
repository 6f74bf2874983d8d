"""Curvature of the loss of Eq. (30): its Hessian, and whether a stationary point is a saddle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigvalsh

from pbde_ref.display import Shown
from pbde_ref.exact.mixtures.model import AnsweredPairs, Expectation, MixtureModel
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["MixtureCertificate", "certify", "extreme_eigenvalues", "is_saddle", "mixture_hessian"]

# Below this share of the largest curvature a negative one is not told from the zero that tails leave.
SADDLE = 1e-5


@dataclass(frozen=True, eq=False)
class MixtureCertificate(Shown):
    """What is known about the point where expectation–maximisation stopped.

    Attributes
    ----------
    gradient_norm : float
        Euclidean norm of the gradient with respect to all utilities and the logits of the weights.
    smallest_eigenvalue, largest_eigenvalue : float
        Of the Hessian in the same coordinates, outside the directions that no comparison can see. A smallest one near
        zero means that some direction is undetermined to working precision.
    is_saddle : bool
        Whether the smallest eigenvalue is below −1e-5 times the largest: the loss can be lowered from here.
    components : ndarray of int, shape (n,)
        Component of each outcome in the comparison graph: one undetermined constant per annotator and component.
    """

    gradient_norm: float
    smallest_eigenvalue: float
    largest_eigenvalue: float
    is_saddle: bool
    components: IndexArray


def mixture_hessian(pairs: list[AnsweredPairs], model: MixtureModel, expectation: Expectation) -> FloatArray:
    r"""Louis' identity, summed over answers.

    An answer's score, were it signed by annotator i, is :math:`\sigma(-d_i)` times A minus B if A won,
    :math:`-\sigma(d_i)` times that if B did, and :math:`e_i - w` in the logits.
    """
    k, size = model.utilities.shape
    weights = model.weights
    blocks = np.zeros((k, k, size, size))
    cross = np.zeros((k, size, k))
    logits = np.diag(weights) - weights[:, None] * weights
    for (block, *_), own, given, terms in zip(
        pairs, expectation.answers, (p.answers for p in pairs), model.log_sigmoids, strict=True
    ):
        score = np.exp(terms[::-1]) * np.array([1.0, -1.0])[:, None, None]
        with np.errstate(invalid="ignore"):
            responsibility = np.where(given[:, None] > 0.0, own / given[:, None], 0.0)
        for i in range(k):
            block.add_to_laplacian(own[:, i].sum(axis=0) * np.exp(terms[:, i].sum(axis=0)), blocks[i, i])
            for j in range(k):
                missing = own[:, i] * ((i == j) - responsibility[:, j])
                block.add_to_laplacian(-(missing * score[:, i] * score[:, j]).sum(axis=0), blocks[i, j])
                cross[i, :, j] -= block.scatter((missing * score[:, i]).sum(axis=0), size)
                logits[i, j] -= missing.sum()
    upper = blocks.transpose(0, 2, 1, 3).reshape((k * size, k * size))
    side = cross.reshape(k * size, k)
    return np.block([[upper, side], [side.T, logits]])


def extreme_eigenvalues(hessian: FloatArray, null: FloatArray, k: int) -> tuple[float, float]:
    """Smallest and largest eigenvalue outside the directions that no comparison can see."""
    size = len(hessian)
    hidden = np.zeros_like(hessian)
    hidden[: size - k, : size - k] = np.kron(np.eye(k), null)
    hidden[size - k :, size - k :] = 1.0 / k
    largest = float(eigvalsh(hessian, subset_by_index=[size - 1, size - 1])[0])
    # The hidden directions are moved to the upper end of the spectrum.
    smallest = float(eigvalsh(hessian + max(largest, 1e-300) * hidden, subset_by_index=[0, 0])[0])
    return smallest, largest


def is_saddle(smallest: float, largest: float) -> bool:
    """Whether the loss can be lowered along the eigenvector of the smallest eigenvalue."""
    return smallest < -SADDLE * largest


def certify(
    hessian: FloatArray, gradient_norm: float, null: FloatArray, components: IndexArray, k: int
) -> MixtureCertificate:
    """The certificate of a point with this Hessian, of k annotators."""
    smallest, largest = extreme_eigenvalues(hessian, null, k)
    return MixtureCertificate(gradient_norm, smallest, largest, is_saddle(smallest, largest), components)
