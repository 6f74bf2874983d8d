"""The closed loop of section 2.2, against rounds written out, and what it says where it cannot go on.

Proof: ``proofs/closed_loop.md``.
"""

import numpy as np
import pytest

import pbde_ref as pb
from tests.seeds import drawn_seed

LABELS = ["tea", "coffee", "milk"]


def policies(*arguments, **settings):
    return [policy.pmf for policy in pb.closed_loop(*arguments, **settings).policies]


def test_dpo_by_hand():
    """Odds of 4 to 1, β = 2: a root a round from the last policy, one root from the first."""
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([4, 1]), pb.luce())
    start = pb.uniform([0, 1])
    odds = [p[0] / p[1] for p in policies("dpo", annotator, start, rounds=3, reference="last", beta=2.0)]
    np.testing.assert_allclose(odds, [1, 2, 4, 8], rtol=1e-12)
    odds = [p[0] / p[1] for p in policies("dpo", annotator, start, rounds=3, beta=2.0)]
    np.testing.assert_allclose(odds, [1, 2, 2, 2], rtol=1e-12)


@pytest.mark.parametrize("reference", ["first", "last"])
def test_ipo_is_the_map_of_win_rates(reference):
    """Each round multiplies its reference by exp(win rate / τ), the rates being those against the last policy."""
    rng = np.random.default_rng(drawn_seed())
    upper = np.triu(rng.uniform(size=(5, 5)), 1)
    p = upper + np.tril(1.0 - upper.T, -1) + 0.5 * np.eye(5)
    start, tau = rng.dirichlet(np.ones(5)), float(rng.uniform(0.3, 2.0))
    found = policies("ipo", pb.PreferenceMatrix(p), pb.FiniteDistribution.from_weights(start), rounds=4,
                     reference=reference, tau=tau)  # fmt: skip
    policy = start
    for t in range(4):
        weights = (start if reference == "first" else policy) * np.exp(p @ policy / tau)
        policy = weights / weights.sum()
        np.testing.assert_allclose(found[t + 1], policy, rtol=1e-9)


def test_an_outcome_that_is_shown_no_more_stays_at_zero_for_every_kind_of_annotator():
    """Utilities 400 nats apart with β = ½: one round leaves two outcomes, the next is theirs alone."""
    chi = np.array([0.0, -1.0, -400.0])
    single = pb.Annotator(pb.FiniteDistribution(chi, LABELS), pb.luce())
    pool = pb.AnnotatorMixture([1.0], [single])
    matrix = pb.PreferenceMatrix(single.preference_probabilities(), LABELS)
    for annotator in (single, pool, matrix):
        found = pb.closed_loop("dpo", annotator, pb.uniform(LABELS), rounds=2, reference="last", beta=0.5)
        odds = [policy.pmf / policy.pmf[0] for policy in found.policies[1:]]
        np.testing.assert_allclose(odds[1], [1.0, np.exp(-4.0), 0.0], rtol=1e-6, atol=1e-300)


def test_parameters_with_an_entry_for_each_outcome_go_with_the_outcomes():
    """Lengths of the outcomes that are left are handed on: the last round is Eq. (26) of two outcomes."""
    start = pb.FiniteDistribution([0.0, 0.0, -np.inf], LABELS)
    annotator = pb.Annotator(pb.FiniteDistribution.from_weights([1, 3, 4], LABELS), pb.length_normalized([1, 2, 3]))
    found = pb.closed_loop("length_normalized", annotator, start, rounds=1, lengths=[1.0, 2.0, 3.0])
    one, other, none = found.policies[-1].pmf
    assert none == 0.0
    assert np.log(one) - np.log(other) / 2 == pytest.approx(np.log(1 / 8) - np.log(3 / 8) / 2, rel=1e-9)


def test_samples_end_where_pairs_determine_nothing():
    """Equal seeds draw equal loops; one that shows too little stops, and says in which round and why."""
    annotator = pb.Annotator(pb.FiniteDistribution([0.0, -9.0, -9.0], LABELS), pb.luce())
    loops = [
        pb.closed_loop("ipo", annotator, pb.uniform(LABELS), rounds=30, reference="last", comparisons=50,
                       rng=seed, tau=0.2)
        for seed in (3, 3, 4)
    ]  # fmt: skip
    assert loops[0].reason == loops[1].reason
    assert len(loops[0].policies) == len(loops[0].optima) + 1 < 31
    assert loops[0].reason.startswith(f"round {len(loops[0].policies)}: comparisons fall into")
    assert any((a.pmf != b.pmf).any() for a, b in zip(loops[0].policies, loops[2].policies, strict=False))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reference": "middle"}, "`reference` must be 'first' or 'last'; got 'middle'"),
        ({"rounds": 0}, "`rounds` must be at least 1"),
        ({"comparisons": 0}, "`comparisons` must be at least 1"),
        ({"start": pb.uniform("ab")}, "`start`"),
    ],
)
def test_bad_input_is_named(changed, message):
    given = {"start": pb.uniform(LABELS), "rounds": 2, "beta": 1.0} | changed
    annotator = pb.Annotator(pb.uniform(LABELS), pb.luce())
    with pytest.raises(ValueError, match=message):
        pb.closed_loop("dpo", annotator, given.pop("start"), **given)
