"""KTO's and APO-zero's optimum against enumeration, a concave maximisation and its own dual: proofs/kept_answers.md."""

import numpy as np
import pytest
from scipy.optimize import minimize

import pbde_ref as pb
from pbde_ref.exact.kept_answers import minimize_sigmoids
from tests.seeds import drawn_seed


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def expected(wanted, unwanted, reference, policy, beta, baseline):
    """The loss as it is defined, answer by answer; of what is excluded the limit."""
    total = 0.0
    for w, v, pre, share in zip(wanted, unwanted, reference, policy, strict=True):
        m = beta * np.log(share / pre) - baseline if share > 0.0 else -np.inf
        lost = sigmoid(-m) if share > 0.0 else 1.0
        total += w * lost + v * (1.0 - lost)
    return total


@pytest.mark.parametrize("beta", [0.3, 1.0, 2.5])
def test_no_policy_of_a_fine_grid_is_better(beta):
    """Three answers, every policy in steps of 1/120."""
    rng = np.random.default_rng(drawn_seed())
    wanted, unwanted, pre = rng.random(3), rng.random(3), rng.dirichlet([2, 2, 2])
    baseline = rng.uniform(0.0, 1.0)
    found = minimize_sigmoids(wanted, unwanted, pb.FiniteDistribution.from_weights(pre), beta=beta, baseline=baseline)
    steps = [(i, j) for i in range(121) for j in range(121 - i)]
    grid = [np.array([i, j, 120 - i - j]) / 120.0 for i, j in steps]
    least = min(expected(wanted, unwanted, pre, policy, beta, baseline) for policy in grid)
    assert found.loss == pytest.approx(expected(wanted, unwanted, pre, found.policy.pmf, beta, baseline), abs=1e-12)
    assert found.loss - found.gap <= least + 1e-12
    if found.converged:
        assert found.loss <= least + 1e-12


def test_what_is_kept_is_a_concave_maximum():
    """SLSQP on the simplex of the answers that are wanted more often than not."""
    rng = np.random.default_rng(drawn_seed())
    wanted, unwanted, pre = rng.random(6), rng.random(6), rng.dirichlet(np.full(6, 3.0))
    wanted[0] = unwanted[0] + 0.2
    kept = wanted > unwanted
    kappa, own = (wanted - unwanted)[kept], pre[kept]
    found = minimize_sigmoids(wanted, unwanted, pb.FiniteDistribution.from_weights(pre), beta=0.6, baseline=0.4)

    def lost(shares):
        return float(-(kappa @ sigmoid(0.6 * np.log(np.maximum(shares, 1e-300) / own) - 0.4)))

    best = minimize(
        lost, np.full(kept.sum(), 1.0 / kept.sum()), bounds=[(1e-12, 1.0)] * int(kept.sum()),
        constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1.0}, options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    assert (found.policy.pmf[~kept] == 0.0).all()
    assert found.policy.pmf[kept] == pytest.approx(best.x, abs=1e-4)
    assert found.unique
    # Control: a policy with a little for everybody is worse.
    mixed = 0.99 * found.policy.pmf + 0.01 * pre
    assert expected(wanted, unwanted, pre, mixed, 0.6, 0.4) > found.loss + 1e-6 or kept.all()


def test_where_nothing_is_wanted_one_answer_remains():
    """The corner whose loss is least, and a tie that is not called unique."""
    reference = pb.FiniteDistribution.from_weights([0.5, 0.3, 0.2])
    found = minimize_sigmoids(np.zeros(3), np.array([3.0, 1.0, 2.0]), reference, beta=1.0)
    corners = [expected(np.zeros(3), [3.0, 1.0, 2.0], [0.5, 0.3, 0.2], corner, 1.0, 0.0) for corner in np.eye(3)]
    assert found.policy.pmf.argmax() == int(np.argmin(corners))
    assert found.loss == pytest.approx(min(corners))
    tied = minimize_sigmoids(np.zeros(2), np.ones(2), pb.uniform([0, 1]), beta=1.0)
    assert tied.unique is None


def test_a_reference_of_zero_is_refused():
    with pytest.raises(ValueError, match="`reference` must be positive; got a probability of 0"):
        minimize_sigmoids(np.ones(2), np.zeros(2), pb.FiniteDistribution.from_weights([1, 0]), beta=1.0)
