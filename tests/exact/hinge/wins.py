"""Random wins of each outcome over each other."""

import numpy as np


def random_wins(rng, n, density=1.0):
    wins = rng.random((n, n)) * (rng.random((n, n)) < density)
    np.fill_diagonal(wins, 0.0)
    return wins
