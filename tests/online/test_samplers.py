"""Exact gradient steps of DPO: against mpmath, an optimiser's Jacobian, and by hand. Proof: `proofs/samplers.md`."""

import itertools

import mpmath
import numpy as np
import pytest
from scipy.special import expit

from pbde_ref.online import linear_rate, online_dpo
from tests.seeds import drawn_seed


def sigma(x):
    return 1 / (1 + mpmath.exp(-x))


def gradient_step(logits, utilities, sampler, beta, length):
    """The update from the loss itself, differentiated numerically in 60 digits with weights held."""
    n = len(logits)
    odds = {
        "uniform": lambda i, j: mpmath.mpf(1),
        "mixed": lambda i, j: 1 / (sigma(beta * (logits[i] - logits[j])) * sigma(beta * (logits[j] - logits[i]))),
        "rewards": lambda i, j: 1 / (sigma(utilities[i] - utilities[j]) * sigma(utilities[j] - utilities[i])),
        "policy": lambda i, j: n**2 * mpmath.exp(logits[i] + logits[j]) / mpmath.fsum(map(mpmath.exp, logits)) ** 2,
    }[sampler]
    weights = [[odds(i, j) for j in range(n)] for i in range(n)]

    def loss(at):
        total = mpmath.mpf(0)
        for i in range(n):
            for j in range(i):
                won, d = sigma(utilities[i] - utilities[j]), beta * (at[i] - at[j])
                total -= weights[i][j] * (won * mpmath.log(sigma(d)) + (1 - won) * mpmath.log(sigma(-d)))
        return total

    small, result = mpmath.mpf(10) ** -25, []
    for i in range(n):
        up, down = list(logits), list(logits)
        up[i] += small
        down[i] -= small
        result.append(logits[i] - length / (n * beta**2) * (loss(up) - loss(down)) / (2 * small))
    return result


@pytest.mark.parametrize("sampler", ["uniform", "mixed", "rewards", "policy"])
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_steps_are_those_of_the_loss(sampler, beta):
    """Three steps, from the loss itself; from the policy, pairs depend on its logits only where beta is 1."""
    if sampler == "policy" and beta != 1.0:
        pytest.skip("this sampler is for beta = 1")
    with mpmath.workdps(60):
        utilities = [mpmath.mpf(x) for x in (0.0, 0.75, -0.5)]
        logits, errors = [mpmath.mpf(0)] * 3, []
        for _ in range(4):
            off = [mpmath.mpf(beta) * h - u for h, u in zip(logits, utilities, strict=True)]
            errors.append(max(off) - min(off))
            logits = gradient_step(logits, utilities, sampler, mpmath.mpf(beta), mpmath.mpf(1))
        found = online_dpo([0.0, 0.75, -0.5], sampler, steps=3, length=1.0)
        for mine, theirs in zip(found.errors, errors, strict=True):
            assert abs(mpmath.mpf(str(mine)) - theirs) < mpmath.mpf(10) ** -30


@pytest.mark.parametrize("sampler", ["mixed", "rewards"])
def test_the_mixture_is_quadratic(sampler):
    """Every error is below 2 (n - 1)/n (e^D - 1 - D), and the order is 2; with half the step it is 1."""
    rng = np.random.default_rng(drawn_seed())
    for n in (2, 3, 5):
        utilities = rng.uniform(0.0, 2.0, n)
        run = online_dpo(utilities, sampler)
        assert run.order == pytest.approx(2.0, abs=0.05)
        with mpmath.workdps(120):
            errors = [mpmath.mpf(str(e)) for e in run.errors]
            for d, after in itertools.pairwise(errors):
                assert after <= 2 * mpmath.mpf(n - 1) / n * (mpmath.exp(d) - 1 - d) * (1 + mpmath.mpf(10) ** -8)
        assert online_dpo(utilities, sampler, steps=80, length=0.5).order == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("sampler", ["uniform", "policy"])
def test_the_linear_rate_is_that_of_the_jacobian(sampler):
    """And it is measured; another step than the best is slower."""
    utilities = np.array([0.0, 0.25, 1.5])
    n = utilities.size

    def step(h, length):
        weights = np.ones((n, n))
        if sampler == "policy":
            p = np.exp(h) / np.exp(h).sum()
            weights = n**2 * np.outer(p, p)
        return h + length / n * (weights * (expit(utilities[:, None] - utilities) - expit(h[:, None] - h))).sum(axis=1)

    run = online_dpo(utilities, sampler, steps=400)
    length = float(run.length)
    jacobian = np.array([
        (step(utilities + 1e-6 * e, length) - step(utilities - 1e-6 * e, length)) / 2e-6 for e in np.eye(n)
    ])  # fmt: skip
    values = np.sort(np.abs(np.linalg.eigvals(jacobian)))
    assert values[-1] == pytest.approx(1.0, abs=1e-8)
    assert values[-2] == pytest.approx(linear_rate(utilities, sampler), abs=1e-8)
    assert run.factor == pytest.approx(linear_rate(utilities, sampler), abs=1e-8)
    for other in (0.8, 1.2):
        slower = online_dpo(utilities, sampler, steps=400, length=other * length)
        assert slower.factor > run.factor + 1e-3


def test_two_outcomes_need_no_mixture():
    """One curvature: the best constant step is Newton's; of three different utilities no constant step is."""
    assert linear_rate([0.0, 1.0], "uniform") == pytest.approx(0.0, abs=1e-15)
    assert online_dpo([0.0, 1.0], "uniform").order == pytest.approx(2.0, abs=0.01)
    assert linear_rate([0.0, 1.0, 0.5], "uniform") > 0.01
    assert online_dpo([0.0, 0.0], "mixed", start=[0.0, 0.5]).order == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0.0, 1.0], "other"), "`sampler`"),
        (([0.0], "mixed"), "`utilities` must hold from 2 to 30"),
        (([0.0, 31.0], "mixed"), "`utilities` must lie within 30 nats"),
        (([0.0, np.nan], "mixed"), "`utilities`"),
    ],
)
def test_refusals(arguments, said):
    with pytest.raises(ValueError, match=said):
        online_dpo(*arguments)
    with pytest.raises(ValueError, match="`digits`"):
        online_dpo([0.0, 1.0], "mixed", digits=5)
    with pytest.raises(ValueError, match="`length`"):
        online_dpo([0.0, 1.0], "mixed", length=0.0)
