"""Thirty digits of the logistic function, against mpmath's."""

import numpy as np
import pytest
from mpmath import mp, mpf

from pbde_ref.double_double import sigmoid, sigmoid_excess
from tests.seeds import drawn_seed


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(60):
        yield


def test_the_logistic_function_has_thirty_digits():
    """At numbers of any size, each in two parts; to one part it has sixteen."""
    rng = np.random.default_rng(drawn_seed())
    high = -np.concatenate([[0.0, 1e-300, 0.5 * np.log(2.0), 30.0], rng.uniform(0.0, 3.0, 60),
                            10.0 ** rng.uniform(-12.0, 1.5, 60)])  # fmt: skip
    low = high * rng.uniform(-0.5, 0.5, high.size) * 2.0**-53
    found = sigmoid(high, low)
    off = []
    for z, z_low, model, model_low in zip(high.tolist(), low.tolist(), *(part.tolist() for part in found), strict=True):
        right = 1 / (1 + mp.exp(-mpf(z) - mpf(z_low)))
        off.append((abs((mpf(model) + mpf(model_low)) / right - 1), abs(mpf(model) / right - 1)))
    # Errors of some thirty sums and products, each a few times 2**-106, which is 1e-32.
    assert max(pair[0] for pair in off) < mpf(10) ** -30
    assert max(pair[1] for pair in off) > mpf(10) ** -17


def test_what_is_left_of_two_numbers_that_nearly_agree_keeps_its_digits():
    rng = np.random.default_rng(drawn_seed())
    z = rng.normal(0.0, 2.0, 60)
    p = 1.0 / (1.0 + np.exp(-z)) * (1.0 + 10.0 ** rng.uniform(-15.0, -3.0, 60))
    for at, given, found in zip(z.tolist(), p.tolist(), sigmoid_excess(z, np.zeros(60), p).tolist(), strict=True):
        right = 1 / (1 + mp.exp(-mpf(at))) - mpf(given)
        # Of 32 digits 17 are left where 15 agree; a double has 16.
        assert abs(mpf(found) - right) <= mpf(10) ** -13 * abs(right) + mpf(10) ** -30
