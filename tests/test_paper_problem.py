"""The paper's univariate problem, Eq. (10), against scipy.stats and fifty-digit sums."""

import math
import re

import mpmath
import numpy as np
import pytest
import scipy.stats

import pbde_ref as pb

EPS = np.finfo(float).eps
SIZES = [2, 3, 17, 256]


def exact_weights(loc, scale, grid):
    """Normalised weights e^(−z²/2) on the grid, in the working precision of mpmath."""
    weights = [mpmath.exp(-(((mpmath.mpf(float(x)) - loc) / scale) ** 2) / 2) for x in grid]
    total = mpmath.fsum(weights)
    return [w / total for w in weights]


@pytest.mark.parametrize("size", SIZES)
def test_the_grid_is_equally_spaced_with_both_ends(size):
    grid = pb.paper_problem(size).grid
    assert (len(grid), grid[0], grid[-1]) == (size, -10.0, 10.0)
    np.testing.assert_allclose(np.diff(grid), 20 / (size - 1), atol=4 * 10 * EPS)  # points up to 10 round


def test_the_default_grid_has_256_points():
    assert len(pb.paper_problem().grid) == 256


@pytest.mark.parametrize("size", SIZES)
def test_log_probabilities_are_those_of_fifty_digits(size):
    """Eq. (10): p* = 2/5 N(−2.5, 0.25) + 3/5 N(2.5, 1) and π_pre = N(0, 5), each normalised on the grid.

    Logs reach −1,250 in size, through three roundings of the exponent: 1e-12 relatively, and 64 eps where log p
    is of the order of one.
    """
    problem = pb.paper_problem(size)
    with mpmath.workdps(50):
        first = exact_weights(mpmath.mpf("-2.5"), mpmath.mpf("0.25"), problem.grid)
        second = exact_weights(mpmath.mpf("2.5"), mpmath.mpf(1), problem.grid)
        both = [(2 * a + 3 * b) / 5 for a, b in zip(first, second, strict=True)]
        reference = exact_weights(mpmath.mpf(0), mpmath.mpf(5), problem.grid)
        expected = [[float(mpmath.log(w)) for w in weights] for weights in (first, second, both, reference)]
    actual = [*problem.annotator_distributions, problem.implicit_preference_distribution, problem.reference]
    for distribution, logs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(distribution.log_pmf, logs, rtol=1e-12, atol=64 * EPS)


def test_probabilities_approach_scipys_truncated_normals():
    """p/h at 4,001 points is the density. All but π_pre vanish at the ends, where the sum of a smooth density is exact;
    π_pre has f(±10) h ≈ 5e-5 too much mass."""
    problem = pb.paper_problem(4001)
    grid, step = problem.grid, 20 / 4000
    first = scipy.stats.truncnorm(-30, 50, loc=-2.5, scale=0.25).pdf(grid)
    second = scipy.stats.truncnorm(-12.5, 7.5, loc=2.5, scale=1.0).pdf(grid)
    reference = scipy.stats.truncnorm(-2, 2, loc=0.0, scale=5.0).pdf(grid)
    np.testing.assert_allclose(
        problem.implicit_preference_distribution.pmf / step, 0.4 * first + 0.6 * second, atol=1e-10
    )
    np.testing.assert_allclose(problem.reference.pmf / step, reference, rtol=1e-4)


def test_the_density_at_the_modes_by_hand():
    """2/5 / (1/4 √2π) = 0.638 at −2.5 and 3/5 / √2π = 0.239 at 2.5; the other component adds less than 1e-6."""
    problem = pb.paper_problem(4001)
    density = problem.implicit_preference_distribution.pmf / (20 / 4000)
    at = {x: density[np.argmin(abs(problem.grid - x))] for x in (-2.5, 2.5)}
    assert at[-2.5] == pytest.approx(1.6 / math.sqrt(2 * math.pi), abs=1e-5)
    assert at[2.5] == pytest.approx(0.6 / math.sqrt(2 * math.pi), abs=1e-5)


def test_the_implicit_preference_distribution_is_the_mixture_of_the_annotators():
    problem = pb.paper_problem(64)
    np.testing.assert_allclose(problem.annotator_weights, [0.4, 0.6], rtol=4 * EPS)
    first, second = (p.pmf for p in problem.annotator_distributions)
    expected = 0.4 * first + 0.6 * second
    np.testing.assert_allclose(problem.implicit_preference_distribution.pmf, expected, rtol=1e-12, atol=1e-300)


def test_all_distributions_live_on_the_grid():
    problem = pb.paper_problem(32)
    all_of_them = [*problem.annotator_distributions, problem.implicit_preference_distribution, problem.reference]
    for distribution in all_of_them:
        assert distribution.support.tolist() == problem.grid.tolist()
        assert (distribution.log_pmf > -np.inf).all()


def test_arrays_are_read_only():
    problem = pb.paper_problem(4)
    for array in (problem.grid, problem.annotator_weights):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (1, ValueError, "`size` must be at least 2; got 1"),
        (0, ValueError, "`size` must be at least 2; got 0"),
        (-5, ValueError, "`size` must be at least 2; got -5"),
        (2.5, TypeError, "`size` must be a whole number; got 2.5"),
        ("many", TypeError, "`size` must be a whole number; got 'many'"),
    ],
)
def test_a_bad_size_is_named(size, error, message):
    with pytest.raises(error, match=re.escape(message)):
        pb.paper_problem(size)
