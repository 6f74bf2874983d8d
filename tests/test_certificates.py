"""Every solver's certificate against the truth to 60 digits, on problems that nobody chose."""

import mpmath
import numpy as np
import pytest
from true_gaps import (
    count_failures,
    draw,
    exact,
    logistic_loss,
    logistic_optimum,
    softmax,
    solve_laplacian,
    total_variation,
    vector,
)

import pbde_ref as pb
from pbde_ref.exact.ipo import ipo_optimum
from pbde_ref.exact.large_scale import minimize_product_loss

FEW, MANY = range(300), range(10_000)


def ipo_check(seed):
    problem = draw(seed, spreads=(0.1, 3.0, 30.0, 700.0), most=30.0)
    tau = 10.0 ** np.random.default_rng(seed).uniform(-2.0, 1.0)
    found = ipo_optimum(problem.annotator, problem.proposal, tau=tau, reference=problem.reference)
    n, q, p = problem.size, problem.q, problem.p
    h = [sum(q[i][j] * (2 * p[i][j] - 1) for j in range(n)) / (2 * exact(tau)) for i in range(n)]
    best = solve_laplacian(q, h)
    log_pi, log_pre = vector(found.policy.log_pmf), vector(problem.reference.log_pmf)

    def gap(s):
        v = [x - y for x, y in zip(s, best, strict=True)]
        return sum(q[i][j] * (v[i] - v[j]) ** 2 for i in range(n) for j in range(i))

    s = vector(found.log_ratio)
    error = [x - y for x, y in zip(s, best, strict=True)]
    distance = total_variation(softmax(log_pi), softmax([x + y for x, y in zip(log_pre, best, strict=True)]))
    return found.converged, [
        ("gap", found.gap, gap(s)),
        ("gap of the policy", found.gap, gap([x - y for x, y in zip(log_pi, log_pre, strict=True)])),
        ("utility error", found.utility_error, max(error) - min(error)),
        ("policy error", found.policy_error, distance),
    ]


def product_check(seed):
    problem = draw(seed, spreads=(0.1, 3.0, 30.0, 100.0), matrices=False, product=True)
    steps = int(np.random.default_rng(seed).choice([1, 3, 200]))
    found = minimize_product_loss(problem.annotator, problem.proposal, max_steps=steps)
    value = vector(found.value)
    single = isinstance(problem.annotator, pb.Annotator)
    best = vector(problem.annotator.utility) if single else logistic_optimum(problem.q, problem.p, value)
    if best is None:
        return None
    error = [x - y for x, y in zip(value, best, strict=True)]
    gap = logistic_loss(problem.q, problem.p, value) - logistic_loss(problem.q, problem.p, best)
    return found.converged, [
        ("gap", found.certificate.gap, gap),
        ("utility error", found.certificate.utility_error, max(error) - min(error)),
    ]


CHECKS = {
    "product": (product_check, 0.2),
    "ipo": (ipo_check, 0.7),
}


@pytest.mark.parametrize("solver", CHECKS)
def test_no_certificate_is_below_the_truth(solver):
    check, share = CHECKS[solver]
    failures, checked, converged = count_failures(check, FEW)
    assert not failures
    assert checked > 0.9 * len(FEW)
    assert converged > share * checked


@pytest.mark.slow
@pytest.mark.parametrize("solver", CHECKS)
def test_no_certificate_is_below_the_truth_in_ten_thousand_problems(solver):
    failures, checked, converged = count_failures(CHECKS[solver][0], MANY)
    print(f"{solver}: {checked} checked, {converged} converged, {len(failures)} below the truth")
    assert not failures
    assert checked > 0.9 * len(MANY)
