"""Preferences of many kinds."""

from fractions import Fraction

import numpy as np

import pbde_ref as pb

HALF = Fraction(1, 2)
CYCLE = pb.PreferenceMatrix([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])


def matrix_of(upper):
    """Preferences from what stands above the diagonal."""
    upper = np.triu(upper, 1)
    return pb.PreferenceMatrix(upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(len(upper)))


def drawn(rng, size):
    return matrix_of(rng.uniform(0.0, 1.0, (size, size)))


def votes(rng, size, voters=4):
    """Ties, certain answers and equal rows."""
    return matrix_of(rng.integers(0, voters + 1, (size, size)) / voters)


def luce(rng, size, scale=1.0):
    return pb.Annotator(pb.FiniteDistribution(scale * rng.normal(size=size)), pb.luce())
