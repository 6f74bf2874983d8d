"""The central path: every iterate proves something, the gap falls fast, and it ends at the optimum."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import pbde_ref as pb
from pbde_ref.exact.hinge import linear, regularized
from pbde_ref.exact.hinge.interior_point import central_slacks, interior_point, laplacian_factor, panelled_cholesky
from pbde_ref.verification.exact_flows import least_hinge
from tests.exact.hinge.wins import random_wins


@pytest.mark.parametrize("lambda_", [0.0, 0.05, 1.0, 30.0])
@pytest.mark.parametrize("delta", [0.05, 0.6, 3.0])
def test_iterates_prove_gaps_that_fall_fast_to_nothing(delta, lambda_):
    """Wins of one and of six decades: all flows lie inside the wins, and six paths take 72 steps to twelve digits."""
    taken = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n = 4 + seed
        wins = random_wins(rng, n, 0.8) * 10.0 ** -rng.uniform(0.0, 6.0 * (seed > 3), (n, n))
        wins[np.arange(n), np.arange(1, n + 1) % n] = 0.5
        wins[0, 2] = 1e-31 * wins.sum()  # too rare to be seen
        seen, gaps = wins > 1e-30 * wins.sum(), []
        reference = pb.FiniteDistribution(rng.normal(size=n))
        for s, flows, steps in interior_point(wins, delta, lambda_, reference.pmf, 30):
            assert not flows[~seen].any()
            assert (flows[seen] > 0.0).all()
            assert (flows[seen] <= wins[seen] * (1.0 + 1e-14)).all()  # fractions of them are rounded
            if lambda_:
                gaps.append(regularized.regularized_point(wins, delta, lambda_, reference, s, flows, steps).gap)
            else:
                value, gap = linear.linear_gap(wins, s / delta, flows)
                gaps.append(delta * gap)
            assert steps == len(gaps)
        gaps = np.array(gaps)
        enough = 1e-12 * max(1.0, gaps[0])
        assert gaps[-1] < enough
        assert (gaps[3:] < np.maximum(0.5 * gaps[:-3], enough)).all()
        assert lambda_ > 0.0 or value == pytest.approx(float(least_hinge(wins)), rel=1e-11)
        taken += 1 + int(np.argmax(gaps < enough))
    assert taken <= 72


def test_without_wins_there_is_no_path():
    assert list(interior_point(np.zeros((2, 2)), 1.0, 1.0, np.array([0.5, 0.5]), 5)) == []


def test_slacks_on_the_central_path():
    short, mu = np.array([3.0, -3.0, 0.0, 1e9, -1e9, 1e-9]), np.array([0.5, 0.5, 2.0, 1e-9, 1e-9, 7.0])
    a, b = central_slacks(short, mu)
    assert_allclose(1.0 / a + 1.0 / b, 1.0 / mu, rtol=1e-14)
    assert_allclose(a - b, short, rtol=1e-14, atol=1e-15)
    assert (np.minimum(a, b) > 0.0).all()


def test_factor_of_the_laplacian():
    rng = np.random.default_rng(2)
    weights = random_wins(rng, 5)
    laplacian = np.diag((weights + weights.T).sum(axis=1)) - weights - weights.T
    for diagonal in (rng.random(5), np.array([0.0, 0.0, 1.0, 0.0, 0.0])):
        lower = np.tril(laplacian_factor(weights, diagonal, np.full((5, 5), 0.2)))
        assert_allclose(lower @ lower.T, laplacian + np.diag(diagonal), atol=1e-13)
    lower = np.tril(laplacian_factor(weights, np.zeros(5), np.full((5, 5), 0.2)))
    assert_allclose(lower @ lower.T, laplacian + 0.2 * laplacian.diagonal().max(), atol=1e-13)


@pytest.mark.parametrize(("lacking", "damping"), [(1e-9, 1e-8), (9e-9, 1e-8), (5e-17, 1e-15), (0.2, 1.0)])
def test_a_factor_that_rounding_spoils_is_damped_as_little_as_helps(lacking, damping):
    """Of the powers of ten, times the largest entry, the first that makes up for what lacks."""
    factor = laplacian_factor(np.zeros((2, 2)), 4.0 * np.array([1.0, -lacking]), np.zeros((2, 2)))
    assert_allclose(np.diag(factor) ** 2, [4.0 * (1.0 + damping), 4.0 * (damping - lacking)], rtol=1e-7)


def test_a_matrix_that_nothing_mends_is_an_error():
    with pytest.raises(ArithmeticError, match="not positive semidefinite"):
        laplacian_factor(np.zeros((2, 2)), np.array([1.0, -3.0]), np.zeros((2, 2)))


@pytest.mark.parametrize("n", [1, 31, 32, 33, 100])
def test_panelled_cholesky(n):
    root = np.random.default_rng(n).normal(size=(n, n))
    matrix = root @ root.T + n * np.eye(n)
    factor = matrix.copy()
    assert panelled_cholesky(factor) is True
    assert np.tril(factor) == pytest.approx(np.linalg.cholesky(matrix), rel=1e-11, abs=1e-11 * n)
    matrix[-1, -1] = -1.0
    assert panelled_cholesky(matrix) is False
