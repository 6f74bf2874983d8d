"""The bound from flows and effective resistances: at any point never below the truth, and close to it near the minimum.

Proof: proofs/minimizer_certificate.md, parts 2 and 3.
"""

import math

import mpmath
import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.exact.flow_certificate import flow_bound
from pbde_ref.exact.laplacian import centred, eliminate, solve_flows
from pbde_ref.exact.pair_flows import PairProblem, pair_information
from tests import adversarial


def bound_at(annotator, proposal, utilities, step=None, errors=None):
    components = pb.comparison_components(proposal, annotator.size)
    problem = PairProblem.of(annotator, proposal)
    point = problem.at(utilities)
    step = centred(solve_flows(point.conductances, point.flows), components) if step is None else step
    errors = problem.flow_errors(utilities) if errors is None else errors
    bound = flow_bound(point, eliminate(point.conductances), errors, step, components)
    return math.ldexp(bound.gap, -problem.exponent), bound.utility_error


@pytest.mark.parametrize("seed", range(80))
def test_bounds_around_the_minimum(seed):
    """Utilities off by 1e-15 to ½ nat, steps right or wrong: both bounds hold in hundreds of digits; where the step is
    right and far above rounding they are at most n³ and n² times the truth.
    """
    rng = np.random.default_rng([seed, 17])
    name, annotator, proposal = adversarial.problem(rng, sizes=(2, 6))
    if not pb.finite_fit_exists(annotator, proposal):
        return
    components, n = pb.comparison_components(proposal, annotator.size), annotator.size
    best = pb.minimize_expected_loss("bradley_terry", annotator, proposal).value
    scale = 10.0 ** rng.uniform(-15, -0.3)
    utilities = best + scale * rng.normal(size=n) / n
    with mpmath.workdps(400):
        pairs = adversarial.exact_pairs(annotator, proposal)
        exact = adversarial.exact_minimum(pairs, best, components)
        error = adversarial.largest_difference(utilities, exact, components)
        excess = adversarial.exact_loss_above(pairs, [mpmath.mpf(float(x)) for x in utilities], exact)
        gap, utility_error = bound_at(annotator, proposal, utilities)
        assert excess <= gap, name
        assert error <= utility_error, name
        if 1e-9 < scale < 0.01 / n:
            assert utility_error <= 2 * n * n * error, name
            assert gap <= 2 * n**4 * excess, name
        # A wrong step costs tightness only.
        gap, utility_error = bound_at(annotator, proposal, utilities, step=1e-3 * rng.normal(size=n))
        assert excess <= gap
        assert error <= utility_error


def test_what_is_left_out_would_be_missed():
    """Controls: a gradient rounded to zero without its error, and a second-order bound, are below the truth."""
    annotator, pair = pb.PreferenceMatrix([[0.5, 0.7], [0.3, 0.5]]), pb.PairListProposal([0], [1])
    nothing, together = np.zeros((2, 2)), np.zeros(2, dtype=int)
    kappa = pair_information(np.zeros(2), pair, 0)
    rounded = flow_bound(PairProblem(annotator, pair, 0).at(np.zeros(2))._replace(flows=nothing), eliminate(kappa),
                         nothing, np.zeros(2), together)  # fmt: skip
    assert (rounded.gap, rounded.utility_error) == (0.0, 0.0)
    gap, error = bound_at(annotator, pair, np.zeros(2))
    truth = math.log(2.0) + 0.7 * math.log(0.7) + 0.3 * math.log(0.3)
    assert 0.5 * 0.2**2 * 4.0 < truth < gap < 1.5 * truth
    assert math.log(7 / 3) < error == pytest.approx(-math.log(0.2), rel=1e-8)
    # With the error of the rounded flow stated, the bounds are those of the flow.
    stated = flow_bound(PairProblem(annotator, pair, 0).at(np.zeros(2))._replace(flows=nothing), eliminate(kappa),
                        np.array([[0.0, 0.2], [0.2, 0.0]]), np.zeros(2), together)  # fmt: skip
    assert stated.gap == pytest.approx(gap, rel=1e-8)


def test_no_bound_where_there_is_no_minimum_or_no_curvature():
    certain = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    for d in (0.0, 3.0, 30.0, 300.0):
        assert bound_at(certain, pb.PairListProposal([0], [1]), np.array([d, 0.0])) == (math.inf, math.inf)
    far = pb.Annotator(pb.FiniteDistribution([0.0, -2000.0]), pb.luce())
    assert bound_at(far, pb.PairListProposal([0], [1]), np.array([0.0, -2000.0])) == (math.inf, math.inf)


def test_parts_of_several_components():
    """Two pairs of which nobody compares one with the other: each is off by as much as it is alone."""
    odds = [0.2, -0.1]
    matrix = np.full((4, 4), 0.5)
    for (a, b), d in zip(((0, 1), (2, 3)), odds, strict=True):
        matrix[a, b] = 1 / (1 + math.exp(-d))
        matrix[b, a] = 1 - matrix[a, b]
    gap, error = bound_at(pb.PreferenceMatrix(matrix), pb.PairListProposal([0, 2], [1, 3], [3, 1]), np.zeros(4))
    total = sum(4 * abs(1 / (1 + math.exp(-d)) - 0.5) for d in odds)
    assert error == pytest.approx(-math.log1p(-total), rel=1e-8)
    assert gap > 0.75 * odds[0] ** 2 / 8 * 0.99
