"""The matrix-free minimiser against the dense one, and whether its certificate is true."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pbde_ref as pb
from pbde_ref.exact.large_scale import minimize_product_loss, solve_product_laplacian


def process(chi):
    return pb.Annotator(pb.FiniteDistribution(chi), pb.luce())


def mixture(size, spread, rng):
    return pb.AnnotatorMixture(rng.random(2) + 0.1, [process(rng.uniform(0.0, spread, size)) for _ in range(2)])


def paper_mixture(size):
    problem = pb.paper_problem(size)
    members = [process(p.log_pmf) for p in problem.annotator_distributions]
    return pb.AnnotatorMixture(problem.annotator_weights, members), pb.ProductProposal(problem.reference)


def laplacian(q):
    weight = np.multiply.outer(q.a, q.b)
    weight = weight + weight.T
    np.fill_diagonal(weight, 0.0)
    return np.diag(weight.sum(axis=1)) - weight


def test_two_outcomes_by_hand():
    """½·σ(2) + ½·σ(0) = σ(ω_0 − ω_1): ω = ± half the logit."""
    annotator = pb.AnnotatorMixture([1, 1], [process([2.0, 0.0]), process([0.0, 0.0])])
    solution = minimize_product_loss(annotator, pb.ProductProposal([1, 3]))
    p = 0.5 / (1.0 + math.exp(-2.0)) + 0.25
    half = 0.5 * math.log(p / (1.0 - p))
    np.testing.assert_allclose(solution.value, [half, -half], rtol=1e-13)
    assert solution.converged


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("spread", [0.1, 5.0, 20.0])
def test_against_the_dense_minimiser(same, spread):
    rng = np.random.default_rng(1)
    annotator = mixture(150, spread, rng)
    q = pb.ProductProposal(rng.random(150) + 0.01, None if same else rng.random(150) + 0.01)
    solution, dense = minimize_product_loss(annotator, q), pb.minimize_expected_loss("bradley_terry", annotator, q)
    assert solution.converged
    assert solution.certificate.residual <= 1e-13
    np.testing.assert_allclose(solution.value, dense.value, atol=1e-8)
    assert solution.loss == pytest.approx(dense.loss, rel=1e-13)
    hessian = pb.expected_hessian("bradley_terry", annotator, solution.value, q)
    assert 0.0 < solution.certificate.smallest_eigenvalue <= np.linalg.eigvalsh(hessian)[1]
    np.testing.assert_array_equal(solution.certificate.components, dense.certificate.components)


def test_the_papers_projection():
    """Two annotators, 600 points: the dense minimiser's curve, with a single maximum near x = 1.5."""
    annotator, q = paper_mixture(600)
    solution, dense = minimize_product_loss(annotator, q), pb.minimize_expected_loss("bradley_terry", annotator, q)
    np.testing.assert_allclose(solution.value, dense.value, atol=1e-12)
    assert solution.certificate.gap <= 1e-20


def test_many_outcomes_begin_with_few():
    """Where classes of outcomes are solved first, the result is the same minimum, in at most three full steps."""
    annotator, q = paper_mixture(20_000)
    solution = minimize_product_loss(annotator, q)
    assert solution.converged
    assert solution.steps <= 3
    assert solution.certificate.residual <= 1e-13
    gradient = pb.exact.kernel_sums.kernel_cross_entropy(annotator, solution.value, q).gradient
    assert np.abs(gradient / (2 * q.a)).max() <= 1e-13


@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(1, 6))
def test_the_certified_gap_is_a_bound(seed, same, steps):
    """Stopped after any step, the loss is no further above the minimum than certified."""
    rng = np.random.default_rng(seed)
    annotator = mixture(30, rng.uniform(0.1, 10.0), rng)
    q = pb.ProductProposal(rng.random(30) + 1e-3, None if same else rng.random(30) + 1e-3)
    early, exact = minimize_product_loss(annotator, q, max_steps=steps), minimize_product_loss(annotator, q)
    assert early.loss - exact.loss <= early.certificate.gap + 1e-14
    assert early.steps <= steps


def test_a_certificate_that_ignores_the_spread_would_be_wrong():
    """Control: with the curvature at spread zero in place of σ'(R) the bound is broken."""
    rng = np.random.default_rng(2)
    annotator, q = mixture(30, 30.0, rng), pb.ProductProposal(rng.random(30) + 0.1)
    annotator = annotator.annotators[0]
    early, exact = minimize_product_loss(annotator, q, max_steps=6), minimize_product_loss(annotator, q)
    g = pb.expected_kl(annotator, early.value, q).gradient
    assert early.loss - exact.loss > 0.5 * float(g @ solve_product_laplacian(q, g)) / 0.25


def test_single_annotators_are_recovered():
    chi = np.random.default_rng(3).uniform(-5.0, 5.0, 3000)
    solution = minimize_product_loss(process(chi), pb.ProductProposal(np.ones(3000)))
    np.testing.assert_allclose(solution.value, chi - chi.mean(), atol=1e-9)


def test_wide_utilities_are_reported_as_what_they_are():
    """Over 80 nats the gradient is as small as rounding lets it be, and nothing is certified."""
    rng = np.random.default_rng(4)
    solution = minimize_product_loss(process(rng.uniform(0.0, 80.0, 500)), pb.ProductProposal(np.ones(500)))
    assert not solution.converged
    assert solution.certificate.gap == math.inf
    assert solution.certificate.residual <= 1e-13
    assert solution.certificate.decrement <= 1e-12


def test_outcomes_that_are_never_drawn():
    """They stand alone, with utility zero, and change nothing for the others."""
    rng = np.random.default_rng(5)
    chi = rng.normal(0.0, 2.0, (2, 40))
    chi[:, [7, 20]] = [[100.0, -math.inf], [0.0, -math.inf]]
    weight = rng.random(40)
    weight[[7, 20]] = 0.0
    annotator = pb.AnnotatorMixture([1, 2], [process(c) for c in chi])
    solution = minimize_product_loss(annotator, pb.ProductProposal(weight))
    others = np.delete(np.arange(40), [7, 20])
    alone = minimize_product_loss(
        pb.AnnotatorMixture([1, 2], [process(c[others]) for c in chi]), pb.ProductProposal(weight[others])
    )
    np.testing.assert_allclose(solution.value[others], alone.value, atol=1e-12)
    assert solution.value[7] == solution.value[20] == 0.0
    assert len(set(solution.certificate.components)) == 3
    assert solution.converged


def test_one_outcome():
    solution = minimize_product_loss(process([0.0]), pb.ProductProposal([1]))
    assert solution.converged
    assert solution.loss == pytest.approx(math.log(2.0), rel=1e-15)
    assert solution.certificate.gap == 0.0


@pytest.mark.parametrize("same", [True, False])
def test_laplacian_solutions(same):
    """L z = r, mean zero where drawn."""
    rng = np.random.default_rng(6)
    a, b = rng.random(25), rng.random(25)
    a[:5], b[3:8] = 0.0, 0.0
    q = pb.ProductProposal(a, a if same else b)
    drawn = q.a + q.b > 0.0
    right = np.where(drawn, rng.normal(size=25), 0.0)
    right[drawn] -= right[drawn].mean()
    z = solve_product_laplacian(q, right)
    np.testing.assert_allclose(laplacian(q) @ z, right, atol=1e-13)
    assert abs(z[drawn].mean()) < 1e-14 * np.abs(z).max()


def test_what_is_refused():
    q = pb.ProductProposal([1, 1])
    for call, message in (
        (lambda: minimize_product_loss(process([0.0, -math.inf]), q), "`annotator` must be finite"),
        (lambda: minimize_product_loss(pb.PreferenceMatrix([[0.5]]), pb.ProductProposal([1])), "`annotator` must be"),
        (lambda: minimize_product_loss(process([0.0, 0.0]), pb.JointProposal(np.ones((2, 2)))), "`proposal` must be"),
        (lambda: minimize_product_loss(process([0.0, 0.0]), q, tolerance=-1.0), "`tolerance` must be positive"),
        (lambda: minimize_product_loss(process([0.0, 0.0]), q, max_steps=0), "`max_steps` must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
