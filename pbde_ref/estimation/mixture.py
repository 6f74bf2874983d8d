r"""A mixture of annotators from comparisons, Eq. (30), with a prior on every annotator's utilities.

.. math:: \max \sum_m n_m \log \sum_i w_i\, \sigma\big(\omega_i(A_m) - \omega_i(B_m)\big) + \sum_i \log p(\omega_i)

Without the prior, comparisons that are few for each annotator are explained by infinite utilities, which predict
nothing. The maximum is local, found by a quasi-Newton method from several starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from pbde_ref.display import Shown
from pbde_ref.estimation.priors import Prior
from pbde_ref.numerics import log_sigmoid, logsumexp
from pbde_ref.validation import FloatArray, IndexArray

__all__ = ["MixtureFit", "fit_mixture"]

STARTS, MOST_STEPS = 3, 1000
# Largest entry of the gradient, per comparison.
CLOSE = 1e-7


@dataclass(frozen=True, eq=False)
class MixtureFit(Shown):
    """Weights of the annotators, shape (k,), and their utilities, shape (k, n), of greatest posterior among the starts.

    `converged` says whether no entry of the gradient is above 1e-7 nats per comparison.
    """

    weights: FloatArray
    utilities: FloatArray
    log_posterior: float
    converged: bool
    steps: int


def fit_mixture(
    winner: IndexArray, loser: IndexArray, weights: FloatArray, pooled: FloatArray, prior: Prior, k: int,
    rng: np.random.Generator, tell: Callable[[str], object],
) -> MixtureFit:  # fmt: skip
    """The best of several climbs, each from the pooled utilities with noise."""
    found = []
    for number in range(STARTS if k > 1 else 1):
        tell(f"mixture, start {number + 1}")
        found.append(_climb(winner, loser, weights, pooled + rng.normal(size=(k, pooled.size)), prior))
    return max(found, key=lambda fit: fit.log_posterior)


def _climb(
    winner: IndexArray, loser: IndexArray, times: FloatArray, start: FloatArray, prior: Prior
) -> MixtureFit:
    # As slow to load as NumPy, and few processes call it.
    from scipy.optimize import minimize

    k, size = start.shape
    total = float(times.sum())

    def cost(parameters: FloatArray) -> tuple[float, FloatArray]:
        """Per comparison, with its gradient."""
        shares, utilities = softmax(parameters[:k]), parameters[k:].reshape(k, size)
        margin = utilities[:, winner] - utilities[:, loser]
        joint = log_sigmoid(margin) + np.log(np.maximum(shares, 1e-300))[:, None]
        together = logsumexp(joint, axis=0)
        blame = np.exp(joint - together) * times
        slope = blame * expit(-margin)
        pull = np.array([np.bincount(loser, row, size) - np.bincount(winner, row, size) for row in slope])
        pull += prior.slope(utilities)
        value = -float((times * together).sum()) - prior.log_density(utilities)
        return value / total, np.concatenate([shares * total - blame.sum(axis=1), pull.ravel()]) / total

    found = minimize(
        cost, np.concatenate([np.zeros(k), start.ravel()]), jac=True, method="L-BFGS-B",
        options={"maxiter": MOST_STEPS, "maxfun": 2 * MOST_STEPS, "gtol": CLOSE, "ftol": 0.0},
    )  # fmt: skip
    converged = bool(np.abs(cost(found.x)[1]).max() <= CLOSE)
    weights, utilities = softmax(found.x[:k]), found.x[k:].reshape(k, size)
    return MixtureFit(weights, utilities, -float(found.fun) * total, converged, int(found.nit))
