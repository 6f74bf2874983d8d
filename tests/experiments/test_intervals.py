"""Intervals of experiments hold their level: by the binomial law itself, and by repeated draws."""

import numpy as np
import pytest
from scipy.stats import binom

from pbde_ref.experiments.intervals import Interval, difference, mean_interval, share_interval


@pytest.mark.parametrize(("total", "share"), [(20, 0.05), (200, 0.002), (4096, 0.0002), (50, 0.5)])
def test_intervals_of_shares_hold_their_level(total, share):
    """No sampling; Wilson's interval is known to fall to 0.89 at single shares, 1.96 standard errors to 0."""
    counts = np.arange(total + 1)
    found = [share_interval(k, total) for k in counts]
    law = binom.pmf(counts, total, share)
    assert law[[one.low <= share <= one.high for one in found]].sum() > 0.89
    errors = np.sqrt(counts / total * (1.0 - counts / total) / total)
    usual = law[np.abs(counts / total - share) <= 1.96 * errors].sum()
    assert usual < 0.95
    assert found[0].high > found[0].low == 0.0


def test_share_interval_by_hand():
    """Wilson's interval ends where the share is 1.96 of its own standard errors from the estimate."""
    found = share_interval(7, 10)
    for end in (found.low, found.high):
        assert abs(0.7 - end) == pytest.approx(1.959963984540054 * np.sqrt(end * (1.0 - end) / 10), rel=1e-12)


def test_intervals_of_differences_add_reaches():
    one, other = share_interval(300, 1000), share_interval(0, 1000)
    found = difference(one, other)
    assert found.value == pytest.approx(0.3)
    ends = 0.3 - np.hypot(0.3 - one.low, other.high), 0.3 + (one.high - 0.3)
    assert (found.low, found.high) == pytest.approx(ends, rel=1e-9)


@pytest.mark.parametrize("size", [2, 3, 20])
def test_intervals_of_means_hold_their_level(size):
    """4,000 samples of normal numbers; control: 1.96 standard errors of two hold the mean only 70 % of the time."""
    draws = np.random.default_rng([12, size]).normal(3.0, 2.0, (4000, size))
    found = [mean_interval(draw) for draw in draws]
    # The standard error of a share of 4,000 is 0.35 %.
    assert np.mean([one.low <= 3.0 <= one.high for one in found]) == pytest.approx(0.95, abs=0.015)
    errors = draws.std(axis=1, ddof=1) / np.sqrt(size)
    assert np.mean(np.abs(draws.mean(axis=1) - 3.0) <= 1.96 * errors) < 0.945


def test_an_interval_is_written_with_digits_of_its_length():
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert str(Interval(1.0, 1.0 - 3e-7, 1.0)) == "1.00000000 [0.99999970, 1.00000000]"
    assert str(Interval(0.0, 0.0, 0.0)) == "0.000 [0.000, 0.000]"
