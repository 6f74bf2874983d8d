"""Where tests have their seeds from."""

import os

import numpy as np


def drawn_seed():
    """The same in every ordinary run; one that nobody chose in the thorough one. Printed where a test fails."""
    thorough = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
    seed = int(np.random.default_rng().integers(2**32)) if thorough else 20231119
    print("seed", seed)
    return seed
