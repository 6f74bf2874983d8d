"""The best of several stationary policies, of losses that are not convex, and what is known of it."""

from __future__ import annotations

import numpy as np

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.exact.policy_losses import Evaluate, descend, kind_of_point
from pbde_ref.exact.results import Optimum, unmet
from pbde_ref.numerics import EPS, logsumexp

__all__ = ["lowest_stationary"]


def lowest_stationary(
    evaluate: Evaluate, reference: FiniteDistribution, floor: float, why: str, *, tolerance: float, n_starts: int
) -> Optimum:
    """Descend from the reference, from equal probabilities and from random points, and take the lowest end.

    Parameters
    ----------
    evaluate : callable
        From log-probabilities, up to a constant, to the expected loss, its gradient and its Hessian.
    reference : FiniteDistribution
        Positive.
    floor : float
        What no policy gets below: its distance is the gap.
    why : str
        Why the gap may be open, in a sentence for `Optimum.reason`.
    tolerance : float
        Of the gap.
    n_starts : int
        How many points the loss is descended from, at least 2.

    Examples
    --------
    >>> import pbde_ref as pb
    >>> def well(x):  # least at a log-ratio of 1
    ...     d = x[0] - x[1] - 1.0
    ...     return d * d, 2.0 * d * np.array([1.0, -1.0]), 2.0 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    >>> found = lowest_stationary(well, pb.uniform("ab"), -0.5, "it is a toy", tolerance=1e-9, n_starts=2)
    >>> round(found.gap, 9), found.converged, found.reason[:17]
    (0.5, False, 'a local minimum, ')
    """
    n, rng = reference.log_pmf.size, np.random.default_rng(0)
    starts = [reference.log_pmf, np.zeros(n), *(rng.normal(scale=2.0, size=n) for _ in range(n_starts - 2))]
    found = [descend(evaluate, start) for start in starts]
    values = [evaluate(point)[0] for point, _ in found]
    utilities = found[int(np.argmin(values))][0]
    log_pmf = utilities - logsumexp(utilities)
    loss, gradient, hessian = evaluate(log_pmf)
    gap = max(float(loss) - floor, 0.0) + 64.0 * EPS * (abs(loss) + abs(floor))
    kind = kind_of_point((loss, gradient, hessian))
    worst = round(max(values), 9)
    others = f"; other starts led to losses up to {worst:.6g}" if worst > round(loss, 9) else ""
    reason = "" if gap <= tolerance else (
        f"{kind}, with a gradient of {np.abs(gradient).max():.0e}: {why}, and no policy has a loss below "
        f"{floor:.6g}{others}"
    )  # fmt: skip
    reason = reason or unmet(("gap", gap, tolerance))
    log_pmf.flags.writeable = False
    return Optimum(
        policy=FiniteDistribution(log_pmf, reference.support), utilities=log_pmf, loss=float(loss), gap=float(gap),
        converged=not reason, unique=None, proof="dual", certificate=floor, steps=sum(n for _, n in found),
        reason=reason,
    )  # fmt: skip
