"""The central path: every iterate proves something, the gap falls fast, and it ends at the optimum."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pbde_ref as pb
from pbde_ref.exact.hinge import interior_point as path_module
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


@pytest.mark.parametrize("seed", range(12))
def test_no_step_raises_an_outcome_far_above_what_the_optimum_gives_it(seed):
    """At most e times what its reference and all of its wins could give it, or what it has; full steps would."""
    rng = np.random.default_rng(seed)
    n, delta, lambda_ = int(rng.integers(2, 8)), 10.0 ** rng.uniform(-1.0, 1.0), 10.0 ** rng.uniform(-3.0, 2.0)
    wins = random_wins(rng, n, 0.8) * 10.0 ** -rng.uniform(0.0, 20.0, (n, n))
    reference = pb.FiniteDistribution(rng.uniform(0.0, 60.0, n)).pmf
    most = np.minimum(1.0, reference + wins.sum(axis=1) / lambda_)
    before = pb.FiniteDistribution(np.log(0.9 * reference + 0.1 * most)).pmf
    for s, _, _ in interior_point(wins, delta, lambda_, reference, 100):
        assert (s <= 1.0 + 1e-9 + np.log(np.maximum(before, most))).all()
        before = np.exp(s)


def first_call(monkeypatch, *arguments):
    """What the first step is given."""
    calls = []

    def step(path, inverse, iterate):
        calls.append((path, inverse, iterate))
        return iterate, 0.0

    with monkeypatch.context() as patch:
        patch.setattr(path_module, "mehrotra_step", step)
        assert list(interior_point(*arguments)) == []
    return calls[0]


@pytest.mark.parametrize(("delta", "lambda_"), [(0.05, 0.0), (0.05, 2.0), (3.0, 0.4), (3.0, 100.0)])
def test_the_method_starts_on_the_central_path(monkeypatch, delta, lambda_):
    rng = np.random.default_rng(1)
    wins = random_wins(rng, 4, 0.7)
    wins[0, 1], wins[2, 3] = 2.0, 1e-31 * wins.sum()  # the latter is too rare
    reference = pb.FiniteDistribution(rng.normal(size=4)).pmf
    path, inverse, (s, a, b, y, z) = first_call(monkeypatch, wins, delta, lambda_, reference, 5)
    active = wins > 1e-30 * wins.sum()
    assert not active[2, 3]
    assert_array_equal(path.active, active)
    assert_array_equal(path.c, np.where(active, wins, 0.0))
    assert_allclose(path.null, 0.25, rtol=1e-15)
    assert (path.delta, path.lambda_) == (delta, lambda_)
    c = path.c[active]
    assert_allclose(inverse[active], c.sum() / c.size / c, rtol=1e-14)
    assert not inverse[~active].any()
    if lambda_:
        most = [min(1.0, reference[x] + path.c[x].sum() / lambda_) for x in range(4)]
        assert_allclose(path.most, most, rtol=1e-14)
        start = np.log(0.9 * reference + 0.1 * np.array(most))
        assert np.ptp(s - start) < 1e-14
        assert np.exp(s).sum() == pytest.approx(1.0, rel=1e-14)
    else:
        assert_allclose(s, np.log(reference), rtol=1e-14)
    # a - b = δ - d, y + z = 1 and c a z = c b y = the same for all, the mean of which belongs to max(10 δ, 1).
    assert_allclose((a - b)[active], (delta - np.subtract.outer(s, s))[active], atol=1e-12)
    assert_allclose((y + z)[active], 1.0, rtol=1e-14)
    middle = max(10.0 * delta, 1.0) * c.sum() / c.size
    for product in (path.c * a * z, path.c * b * y):
        assert_allclose(product[active], middle, rtol=1e-13)
    with np.errstate(invalid="ignore", over="ignore"):
        assert np.isfinite(y).all()


def test_the_null_space_may_be_given(monkeypatch):
    wins, null = np.array([[0.0, 1.0], [2.0, 0.0]]), np.eye(2)
    path, _, _ = first_call(monkeypatch, wins, 1.0, 0.0, np.full(2, 0.5), 5, null)
    assert path.null is null


def followed(monkeypatch, steps, max_steps, wins=((0.0, 2.0), (1.0, 0.0)), lambda_=0.0):
    """What the method yields if its steps lead to these iterates."""
    answers = iter(steps)
    with monkeypatch.context() as patch:
        patch.setattr(path_module, "mehrotra_step", lambda *_: next(answers))
        return list(interior_point(np.array(wins), 1.0, lambda_, np.array([0.5, 0.5]), max_steps))


def pair_iterate(mu=1.0, imbalance=0.0, s=(0.0, 0.0)):
    """Two outcomes, wins 2 and 1: fractions ½ and 1 balance. Slack times fraction is mu on average."""
    y = np.array([[0.5, 0.5 + 0.5 * imbalance], [1.0, 0.5]])
    side = np.full((2, 2), 1.5 * mu)
    # The mean is (2 (a / 2 + b / 2) + 1 · b) / 6 = a / 1.5 for b = 1.5 a.
    return np.array(s), side, 1.5 * side, y, 1.0 - y


def test_when_the_path_ends(monkeypatch):
    far = pair_iterate()
    three = followed(monkeypatch, [(far, 1.0)] * 9, 3)
    assert [steps for _, _, steps in three] == [1, 2, 3]
    assert_array_equal(three[0][0], [0.0, 0.0])
    assert_array_equal(three[0][1], [[0.0, 1.0], [1.0, 0.0]])
    # A step that leads nowhere, or to no number, is not told of.
    assert followed(monkeypatch, [(far, 9e-9)], 3) == []
    assert len(followed(monkeypatch, [(far, 1e-8), (far, 9e-9)], 3)) == 1
    assert followed(monkeypatch, [(pair_iterate(s=(0.0, math.nan)), 1.0)], 3) == []
    # The end: products below 1e-17 of the start's, 10 at margin 1, and flows that balance to 1e-14 of the wins.
    for last, more in [
        (pair_iterate(mu=0.95e-16), False), (pair_iterate(mu=1.05e-16), True),
        (pair_iterate(mu=math.nan), False),
        (pair_iterate(mu=1e-17, imbalance=1.4e-14), False), (pair_iterate(mu=1e-17, imbalance=1.6e-14), True),
        (pair_iterate(mu=1e-17, imbalance=-1.6e-14), True), (pair_iterate(mu=1e-15), True),
    ]:  # fmt: skip
        assert len(followed(monkeypatch, [(last, 1.0), (far, 1.0)], 2)) == 1 + more


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
