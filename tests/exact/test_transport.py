"""Where alignment by optimal transport leads, held against the batch function and other couplings
(proofs/transport.md)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, minimize

import pbde_ref as pb
from pbde_ref.exact.transport import comonotone, minimize_transport_loss

SEEDS = st.integers(0, 2**32 - 1)


def a_problem(seed, n=3, counts=4):
    """An annotator whose answers to a uniform proposal come in whole numbers, and the batch of all of them."""
    rng = np.random.default_rng(seed)
    wins = rng.integers(1, counts, size=(n, n))
    wins = wins - np.diag(wins.diagonal()) + np.eye(n, dtype=int)
    met = wins + wins.T
    annotator, pairs = pb.PreferenceMatrix(wins / met), pb.JointProposal(met)
    # Each unordered pair is in the proposal twice.
    w, v = (np.repeat(place.ravel(), 2 * wins.ravel()) for place in np.indices((n, n)))
    return rng, annotator, pairs, w, v


@given(SEEDS, st.booleans(), st.sampled_from([0.0, 0.1]))
def test_the_loss_is_that_of_a_batch_that_has_every_answer_as_often_as_it_comes(seed, paired, epsilon):
    rng, annotator, pairs, w, v = a_problem(seed)
    reference, beta = pb.FiniteDistribution(rng.normal(size=3)), rng.uniform(0.3, 2.0)
    found = minimize_transport_loss(
        annotator, pairs, beta=beta, reference=reference, paired=paired, label_smoothing=epsilon
    )
    if found.policy is None:
        assert not paired
        return

    def loss(log_pmf):
        batch = [p[x] for p in (log_pmf, reference.log_pmf) for x in (w, v)]
        return pb.losses.aot_loss(*batch, beta=beta, paired=paired, label_smoothing=epsilon).value

    assert found.loss == pytest.approx(loss(found.policy.log_pmf), rel=1e-12)
    for scale in (1e-4, 1e-2):
        assert loss(pb.FiniteDistribution(found.utilities + scale * rng.normal(size=3)).log_pmf) >= found.loss - 1e-12
    assert found.loss - found.gap <= loss(pb.FiniteDistribution(rng.normal(size=3)).log_pmf)


@given(SEEDS, st.integers(1, 6))
def test_no_assignment_costs_less_than_the_sorted_one(seed, n):
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(2, n)).round(1)
    i, j, weight = comonotone(u, np.full(n, 1.0 / n), v, np.full(n, 1.0 / n))
    cost = np.logaddexp(0.0, v - u[:, None])
    assert float(weight @ cost[i, j]) == pytest.approx(cost[linear_sum_assignment(cost)].mean(), abs=1e-12)


@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_a_coupling_has_its_margins(seed, m, n):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 3, m).astype(float), rng.random(n)
    a[0] = 1.0
    b *= a.sum() / b.sum()
    x, y = rng.integers(-2, 3, m).astype(float), rng.normal(size=n)
    i, j, weight = comonotone(x, a, y, b)
    np.testing.assert_allclose(np.bincount(i, weight, m), a, atol=1e-14)
    np.testing.assert_allclose(np.bincount(j, weight, n), b, atol=1e-14)
    assert (np.diff(x[i]) >= 0.0).all()
    assert (np.diff(y[j]) >= 0.0).all()


def test_paired_with_a_uniform_reference_it_is_dpo():
    _, annotator, pairs, _, _ = a_problem(3)
    given = {"beta": 0.7, "reference": pb.uniform(range(3))}
    found, dpo = pb.optimum("aot", annotator, pairs, **given), pb.optimum("dpo", annotator, pairs, **given)
    assert found.loss == pytest.approx(dpo.loss, rel=1e-12)
    assert pb.total_variation(found.policy, dpo.policy) < 1e-9


def test_more_starts_find_no_more():
    rng, annotator, pairs, w, v = a_problem(8)
    reference = pb.FiniteDistribution([0.0, 1.0, -1.0])
    found = minimize_transport_loss(annotator, pairs, beta=1.0, reference=reference, paired=True, n_starts=8)

    def loss(theta):
        log_pmf = theta - np.logaddexp.reduce(theta)
        return pb.losses.aot_loss(*[p[x] for p in (log_pmf, reference.log_pmf) for x in (w, v)], beta=1.0).value

    climbed = [minimize(loss, rng.normal(size=3), method="Nelder-Mead", options={"fatol": 1e-13, "xatol": 1e-9})
               for _ in range(8)]  # fmt: skip
    assert found.loss == pytest.approx(min(one.fun for one in climbed), abs=1e-9)


def test_what_has_no_optimum_says_why():
    luce, pairs = pb.Annotator(pb.FiniteDistribution.from_weights([3, 1]), pb.luce()), pb.ProductProposal([1, 1])
    given = {"beta": 1.0, "reference": pb.uniform([0, 1])}
    assert "rise above all others" in pb.optimum("aot_unpaired", luce, pairs, **given).reason
    even = pb.optimum("aot_unpaired", pb.Annotator(pb.uniform([0, 1]), pb.luce()), pairs, **given)
    assert even.policy is None
    assert even.loss == pytest.approx(np.log(2.0))
    assert "all policies are as good" in even.reason
    sure = pb.PreferenceMatrix([[0.5, 1.0], [0.0, 0.5]])
    assert "never lose" in pb.optimum("aot", sure, pairs, **given).reason
    assert "2 groups" in pb.optimum("aot", luce, pb.PairListProposal([0], [0]), **given).reason
    with pytest.raises(ValueError, match="`reference` must be positive"):
        pb.optimum("aot", luce, pairs, beta=1.0, reference=pb.FiniteDistribution([0.0, -np.inf]))
