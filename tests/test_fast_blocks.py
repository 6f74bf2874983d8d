"""The dense sum's fast path: the same digits as the termwise formula, or no answer."""

import math

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.exact import fast_blocks
from pbde_ref.exact.expected import _accurate_kl
from pbde_ref.exact.fast_blocks import FastBlocks

SIZE = 600


def process(chi):
    return pb.Annotator(pb.FiniteDistribution(chi), pb.luce())


def proposals(rng):
    weights = np.where(rng.random((SIZE, SIZE)) < 0.5, 0.0, 10.0 ** rng.uniform(-6.0, 0.0, (SIZE, SIZE)))
    return pb.JointProposal(weights), pb.ProductProposal(rng.random(SIZE), rng.random(SIZE))


def utilities(spread, rng):
    return tuple(rng.uniform(-0.5 * spread, 0.5 * spread, (2, SIZE)))


def termwise(annotator, omega, q):
    return math.fsum(_accurate_kl(annotator, omega, block)[0] for block in q.blocks(SIZE))


@pytest.mark.parametrize("spread", [0.01, 1.0, 20.0, 300.0, 690.0])
def test_accepted_blocks_are_right(spread):
    """Blocks that the fast path answers are within 1e-12 of the termwise formula, gradients within 1e-13 of a row's
    weight.
    """
    rng = np.random.default_rng(1)
    chi, omega = utilities(spread, rng)
    annotator = process(chi)
    fast, accepted = FastBlocks.of(annotator, omega), 0
    for q in proposals(rng):
        for block in q.blocks(SIZE):
            answer = fast(block)
            if answer is not None:
                accepted += 1
                value, terms = _accurate_kl(annotator, omega, block)
                assert answer[0] == pytest.approx(value, rel=1e-12, abs=0)
                assert np.all(np.abs(answer[1] - terms) <= 1e-13 * block.weight)
    assert accepted > 0 or spread < 1.0


@pytest.mark.parametrize("change", [0.0, 1e-12, 1e-6, 1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("spread", [1.0, 60.0, 600.0])
def test_dense_values_keep_twelve_digits(spread, change):
    """However close the two preferences are, `expected_kl` has the termwise value."""
    rng = np.random.default_rng(2)
    annotator = process(utilities(spread, rng)[0])
    omega = annotator.utility + change * rng.normal(size=SIZE)
    for q in proposals(rng):
        loss = pb.expected_kl(annotator, omega, q, method="dense")
        assert loss.value == pytest.approx(termwise(annotator, omega, q), rel=1e-12, abs=1e-300)


def test_one_pair_that_differs_does_not_lend_its_digits():
    """A single outcome that is off by 5 nats, with a weight of 1e-14, leaves its blocks in doubt; nothing is lost."""
    rng = np.random.default_rng(3)
    annotator = process(rng.normal(0.0, 2.0, SIZE))
    omega = annotator.utility + 1e-9 * rng.normal(size=SIZE)
    omega[17] += 5.0
    weight = np.ones(SIZE)
    weight[17] = 1e-14
    q = pb.ProductProposal(weight)
    loss = pb.expected_kl(annotator, omega, q, method="dense")
    assert loss.value == pytest.approx(termwise(annotator, omega, q), rel=1e-12, abs=0)


def test_without_the_bound_digits_are_lost(monkeypatch):
    """Control: a fast path that accepts every block is wrong where preferences nearly agree."""
    rng = np.random.default_rng(4)
    annotator = process(rng.normal(0.0, 2.0, SIZE))
    omega, q = annotator.utility + 1e-7 * rng.normal(size=SIZE), pb.ProductProposal(np.ones(SIZE))
    monkeypatch.setattr(FastBlocks, "_is_right", lambda *_: True)
    assert pb.expected_kl(annotator, omega, q, method="dense").value != pytest.approx(
        termwise(annotator, omega, q), rel=1e-6, abs=0
    )


def test_most_blocks_are_accepted():
    """Where the two disagree the fast path does nearly all the work."""
    rng = np.random.default_rng(5)
    chi, omega = utilities(20.0, rng)
    fast = FastBlocks.of(process(chi), omega)
    for q in proposals(rng):
        answers = [fast(block) for block in q.blocks(SIZE)]
        assert sum(answer is not None for answer in answers) >= 0.9 * len(answers)


def test_where_there_is_no_fast_path():
    """Few outcomes, mixtures, infinite or very wide utilities, lists of pairs."""
    rng = np.random.default_rng(6)
    chi, omega = utilities(10.0, rng)
    annotator = process(chi)
    excluded, wide = omega.copy(), omega.copy()
    excluded[3], wide[3] = -math.inf, 800.0
    assert FastBlocks.of(annotator, excluded) is None
    assert FastBlocks.of(annotator, wide) is None
    assert FastBlocks.of(pb.AnnotatorMixture([1], [annotator]), omega) is None
    assert FastBlocks.of(process(chi[:100]), omega[:100]) is None
    pairs = pb.PairListProposal([0, 1], [1, 2])
    assert FastBlocks.of(annotator, omega)(next(pairs.blocks(SIZE))) is None
    assert fast_blocks.FEW <= SIZE
