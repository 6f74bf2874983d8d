"""Losses that are only convex: their minimiser, and whether what it proves is true.

Proof: proofs/convex_losses.md.
"""

import math
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.exact.convex_losses import GRID, check_convex, minimize_convex_loss
from pbde_ref.exact.hinge import minimize_rso
from pbde_ref.exact.ipo import ipo_optimum
from pbde_ref.objectives import hinge, ipo, robust, rrhf, smoothed, with_margin
from tests import adversarial

EXPONENTIAL = pb.Objective(
    "exponential", lambda m: np.exp(-m), lambda m: -np.exp(-m), lambda m: np.exp(-m), convex=True
)
SQUARED_HINGE = pb.Objective(
    "squared hinge", lambda m: np.maximum(1.0 - m, 0.0) ** 2, lambda m: -2.0 * np.maximum(1.0 - m, 0.0),
    lambda m: np.where(m < 1.0, 2.0, 0.0),
)  # fmt: skip
SMOOTH_HINGE = pb.Objective(
    "smooth hinge",  # flat above 1, a line below 0
    lambda m: np.where(m < 0.0, 0.5 - m, 0.5 * np.clip(1.0 - m, 0.0, 1.0) ** 2),
    lambda m: -np.clip(1.0 - m, 0.0, 1.0),
    lambda m: np.where((m > 0.0) & (m < 1.0), 1.0, 0.0),
)
CRUDE_HINGE = pb.Objective(
    "own hinge", lambda m: np.maximum(1.0 - m, 0.0), lambda m: np.where(m < 1.0, -1.0, 0.0), np.zeros_like
)
COIN, PAIR = pb.PreferenceMatrix([[0.5, 0.75], [0.25, 0.5]]), pb.PairListProposal([0], [1])


def logistic(m):
    """The logistic loss, its slope and its curvature in as many digits as mpmath works with."""
    return mpmath.log1p(mpmath.exp(-m)), -1 / (1 + mpmath.exp(m)), 1 / (2 + mpmath.exp(m) + mpmath.exp(-m))


def flipped(m, keep, flip):
    """`keep` times the logistic loss of m plus `flip` times that of -m."""
    (v, s, c), (w, t, e) = logistic(m), logistic(-m)
    return keep * v + flip * w, keep * s - flip * t, keep * c + flip * e


def squared(m, target, one_sided):
    r = m - target
    return (mpmath.mpf(0),) * 3 if one_sided and r > 0 else (r * r, 2 * r, mpmath.mpf(2))


EXACT = {
    "exponential": (EXPONENTIAL, lambda m: (mpmath.exp(-m), -mpmath.exp(-m), mpmath.exp(-m))),
    "squared hinge": (SQUARED_HINGE, lambda m: squared(m, 1, True)),
    "logistic": (pb.BRADLEY_TERRY, logistic),
    "logistic, margin": (with_margin("bradley_terry", 0.7), lambda m: logistic(m - mpmath.mpf(0.7))),
    "square, margin": (with_margin(ipo(0.25), 3.5), lambda m: squared(m, mpmath.mpf(5.5), False)),
    "smoothed, margin": (
        with_margin(smoothed(0.125), 40.25), lambda m: flipped(m - mpmath.mpf(40.25), mpmath.mpf(0.875), mpmath.mpf(0.125))
    ),
    "robust": (robust(0.125), lambda m: flipped(m, mpmath.mpf(7) / 6, -mpmath.mpf(1) / 6)),
}  # fmt: skip


def exact_minimum(pairs, loss, start, components):
    """Newton's method in mpmath's precision from near the minimum; grounded at one outcome of each component."""
    roots = set(np.unique(components, return_index=True)[1].tolist())
    index = {x: i for i, x in enumerate(x for x in range(len(start)) if x not in roots)}
    omega = [mpmath.mpf(float(x)) for x in start]
    for _ in range(40 if index else 0):
        gradient, hessian = mpmath.matrix(len(index), 1), mpmath.matrix(len(index), len(index))
        for a, b, won, lost in pairs:
            (_, up, bend), (_, down, other) = loss(omega[a] - omega[b]), loss(omega[b] - omega[a])
            slope, curvature = won * up - lost * down, won * bend + lost * other
            for x, y, sign in ((a, b, 1), (b, a, -1)):
                if x in index:
                    gradient[index[x]] += sign * slope
                    hessian[index[x], index[x]] += curvature
                    if y in index:
                        hessian[index[x], index[y]] -= curvature
        step = mpmath.lu_solve(hessian, gradient)
        for x, i in index.items():
            omega[x] -= step[i]
        if max(abs(s) for s in step) < mpmath.mpf(10) ** -70:
            return omega
    assert not index, "no minimum in 40 steps"
    return omega


def exact_loss(pairs, loss, omega):
    return mpmath.fsum(w * loss(omega[a] - omega[b])[0] + u * loss(omega[b] - omega[a])[0] for a, b, w, u in pairs)


def held_against_the_truth(name, rng, max_steps):
    """Draw a problem, solve it, perhaps stop early, and check all bounds in 120 digits; whether it converged."""
    objective, loss = EXACT[name]
    drawn, annotator, proposal = adversarial.problem(rng, sizes=(2, 6), spreads=(1, 10, 36))
    try:
        best = minimize_convex_loss(objective, annotator, proposal)
        found = minimize_convex_loss(objective, annotator, proposal, max_steps=max_steps)
    except ValueError as error:
        assert name == "robust" and "falls for ever" in str(error), (drawn, error)
        return None
    if math.isinf(best.utility_error):
        return False
    with mpmath.workdps(120):
        pairs = adversarial.exact_pairs(annotator, proposal)
        components = found.certificate.components
        exact = exact_minimum(pairs, loss, best.utilities, components)
        at = [mpmath.mpf(float(x)) for x in found.utilities]
        above = exact_loss(pairs, loss, at) - exact_loss(pairs, loss, exact)
        assert 0 <= above <= found.gap, (drawn, name, max_steps, mpmath.nstr(above, 5), found.gap)
        error = adversarial.largest_difference(found.utilities, exact, components)
        assert error <= found.utility_error, (drawn, name, max_steps, mpmath.nstr(error, 5), found.utility_error)
    return best.converged
