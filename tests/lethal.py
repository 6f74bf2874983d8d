"""Work for other processes that ends the first one to reach it; they load nothing else for it."""

import os
import signal

import numpy as np


def share(seed, number, folder=None):
    """A sum of fractions; if there is a folder, whoever is the first to compute the fourth one is killed."""
    if folder is not None and number == 3:
        try:
            os.close(os.open(os.path.join(folder, "killed"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return share(seed, number)
        os.kill(os.getpid(), signal.SIGKILL)
    return float(np.random.default_rng([seed, number]).normal(size=1000).sum())


def shares(folder, number, seed=0, above=0.0):
    """Sums of fractions, none of them above a bound; whoever is the first to compute number 3 is killed."""
    value = share(seed, number, folder)
    return {"share": value, "bounded": value if value > above else float("inf")}


def divide(by):
    return 1 / by


def doomed():
    os.kill(os.getpid(), signal.SIGKILL)
