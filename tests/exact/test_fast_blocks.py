"""The dense sum's fast path: the same digits as the termwise formula, or no answer."""

import math

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.exact import fast_blocks
from pbde_ref.exact.expected import accurate_cross_entropy, accurate_kl
from pbde_ref.exact.fast_blocks import FastBlocks
from pbde_ref.pairs import PairBlock
from tests.seeds import drawn_seed

SIZE = 600


def process(chi):
    return pb.Annotator(pb.FiniteDistribution(chi), pb.luce())


def proposals(rng):
    weights = np.where(rng.random((SIZE, SIZE)) < 0.5, 0.0, 10.0 ** rng.uniform(-6.0, 0.0, (SIZE, SIZE)))
    return pb.JointProposal(weights), pb.ProductProposal(rng.random(SIZE), rng.random(SIZE))


def utilities(spread, rng):
    return tuple(rng.uniform(-0.5 * spread, 0.5 * spread, (2, SIZE)))


def termwise(annotator, omega, q, accurate=accurate_kl):
    return math.fsum(accurate(annotator, omega, block)[0] for block in q.blocks(SIZE))


@pytest.mark.parametrize(("entropy", "accurate"), [(False, accurate_kl), (True, accurate_cross_entropy)])
@pytest.mark.parametrize("spread", [0.01, 1.0, 20.0, 300.0, 690.0])
def test_accepted_blocks_are_right(spread, entropy, accurate):
    """Blocks that the fast path answers are within 1e-12 of the termwise formula, gradients within 1e-13 of a row's
    weight.
    """
    rng = np.random.default_rng(1)
    chi, omega = utilities(spread, rng)
    annotator = process(chi)
    fast, accepted = FastBlocks.of(annotator, omega, entropy=entropy), 0
    for q in proposals(rng):
        for block in q.blocks(SIZE):
            answer = fast(block)
            if answer is not None:
                accepted += 1
                value, terms = accurate(annotator, omega, block)
                assert answer[0] == pytest.approx(value, rel=1e-12, abs=0)
                assert np.all(np.abs(answer[1] - terms) <= 1e-13 * block.weight)
    assert accepted > 0 or spread < 1.0


@pytest.mark.parametrize(("entropy", "accurate"), [(False, accurate_kl), (True, accurate_cross_entropy)])
@pytest.mark.parametrize("spread", [1.0, 20.0, 300.0])
def test_accepted_blocks_of_mixtures_are_right(spread, entropy, accurate):
    """So are those of two or more logistic annotators, one of whom may never answer."""
    seed = drawn_seed()
    rng = np.random.default_rng(seed)
    weights = np.append(rng.uniform(0.2, 1.0, int(rng.integers(2, 5))), 0.0)
    mixture = pb.AnnotatorMixture(weights, [process(utilities(spread, rng)[0]) for _ in weights])
    omega, accepted = utilities(spread, rng)[0], 0
    fast = FastBlocks.of(mixture, omega, entropy=entropy)
    for q in proposals(rng):
        for block in q.blocks(SIZE):
            answer = fast(block)
            if answer is not None:
                accepted += 1
                value, terms = accurate(mixture, omega, block)
                assert answer[0] == pytest.approx(value, rel=1e-12, abs=0)
                assert np.all(np.abs(answer[1] - terms) <= 2e-13 * block.weight)
    # A small divergence is left to the termwise formula.
    assert accepted > 0 or (spread == 1.0 and not entropy)


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


@pytest.mark.parametrize("offset", [0.0, -1e4])
@pytest.mark.parametrize("spread", [1.0, 60.0, 600.0])
def test_dense_cross_entropies_keep_twelve_digits(spread, offset):
    """Also where annotator and model are nearly certain of the same, and far from zero."""
    rng = np.random.default_rng(8)
    annotator = process(np.sort(utilities(spread, rng)[0]))
    omega = annotator.utility + 0.1 * rng.normal(size=SIZE) + offset
    for q in proposals(rng):
        loss = pb.expected_cross_entropy(annotator, omega, q, method="dense")
        exact = termwise(annotator, omega, q, accurate_cross_entropy)
        assert loss.value == pytest.approx(exact, rel=1e-12, abs=0)


def test_cross_entropies_of_certain_answers_are_left_to_the_termwise_formula(monkeypatch):
    """Two groups 60 nats apart meet only each other: the loss is about 1e-26. Accepted as it is, it would be 0."""
    chi = np.repeat([0.0, 60.0], SIZE // 2) + np.linspace(0.0, 1.0, SIZE)
    low = (np.arange(SIZE) < SIZE // 2).astype(float)
    annotator, q = process(chi), pb.ProductProposal(low, 1.0 - low)
    exact = termwise(annotator, 0.99 * chi, q, accurate_cross_entropy)
    assert 0.0 < exact < 1e-20
    loss = pb.expected_cross_entropy(annotator, 0.99 * chi, q, method="dense")
    assert loss.value == pytest.approx(exact, rel=1e-12, abs=0)
    for name in ("_is_right", "_gradient_is_right"):
        monkeypatch.setattr(FastBlocks, name, lambda *_: True)
    loss = pb.expected_cross_entropy(annotator, 0.99 * chi, q, method="dense")
    assert loss.value != pytest.approx(exact, rel=1e-3, abs=0)


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
    for name in ("_is_right", "_gradient_is_right"):
        monkeypatch.setattr(FastBlocks, name, lambda *_: True)
    assert pb.expected_kl(annotator, omega, q, method="dense").value != pytest.approx(
        termwise(annotator, omega, q), rel=1e-6, abs=0
    )


def two_scales(rng):
    """Half of the outcomes nearly agree with the annotator and hardly meet the others, who disagree with it."""
    chi = rng.normal(0.0, 3.0, SIZE)
    near = np.arange(SIZE) % 2 == 0
    annotator = process(chi)
    omega = annotator.utility + np.where(near, 1e-13, 1.0) * rng.normal(size=SIZE)
    weights = rng.random((SIZE, SIZE))
    weights[near[:, None] != near] *= 1e-20
    return annotator, omega, pb.JointProposal(weights)


@pytest.mark.parametrize("loss", [pb.expected_kl, pb.expected_cross_entropy])
@pytest.mark.parametrize("bounded", [True, False])
def test_each_entry_of_the_gradient_keeps_its_digits(loss, bounded, monkeypatch):
    """Within 1e-12 of the sum of its terms' sizes, however much larger the other entries of its blocks are. Control:
    where only the block's value is bounded, some entries have a wrong third digit.
    """
    annotator, omega, q = two_scales(np.random.default_rng(9))
    if not bounded:
        monkeypatch.setattr(FastBlocks, "_gradient_is_right", lambda *_: True)
    exact, size = np.zeros(SIZE), np.zeros(SIZE)
    for block in q.blocks(SIZE):
        terms = accurate_kl(annotator, omega, block)[1]
        exact += block.scatter(terms, SIZE)
        size[block.a[:, 0]] += np.abs(terms).sum(axis=1)
        size[block.b[0]] += np.abs(terms).sum(axis=0)
    error = np.abs(loss(annotator, omega, q, method="dense").gradient - exact) / size
    assert (error.max() < 1e-12) == bounded
    assert bounded or error.max() > 1e-3


def test_a_gradient_is_right_if_each_row_and_each_column_is():
    """Odds of 1 and 3: σ(d) − σ(c) is ±1/4 of M = 3/8, errors are 3/8 of those of the odds; no pair of an outcome with
    itself counts.
    """
    ones, model = (np.ones(3), np.ones(3)), (np.array([3.0, 1.0, 1.0]), np.array([1 / 3, 1.0, 1.0]))
    for error, right in ((0.6e-12, True), (0.7e-12, False)):
        fast = FastBlocks(ones, model, np.zeros(3), 0.0, 0.0, odds_error=error)
        for weight in ([[1.0, 1.0]], [[1e-9, 1.0]], [[0.0, 1e-200]]):
            block = PairBlock(np.array([[0]]), np.array([[1, 2]]), np.array(weight))
            assert fast._gradient_is_right(0.25 * block.weight, block) == right
    block = PairBlock(np.array([[0]]), np.array([[0, 1]]), np.array([[1e9, 1.0]]))
    assert FastBlocks(ones, model, np.zeros(3), 0.0, 0.0, odds_error=1e-13)._gradient_is_right(
        np.array([[0.0, 0.25]]), block
    )
    # One column that agrees exactly has an error and no size.
    block = PairBlock(np.array([[0, 1]]).T, np.array([[2]]), np.array([[1.0], [1.0]]))
    assert not fast._gradient_is_right(np.array([[0.25], [0.0]]), block)


def test_most_blocks_are_accepted():
    """Where the two disagree the fast path does nearly all the work."""
    rng = np.random.default_rng(5)
    chi, omega = utilities(20.0, rng)
    fast = FastBlocks.of(process(chi), omega)
    for q in proposals(rng):
        answers = [fast(block) for block in q.blocks(SIZE)]
        assert sum(answer is not None for answer in answers) >= 0.9 * len(answers)


@pytest.mark.parametrize("loss", [pb.expected_kl, pb.expected_cross_entropy])
def test_expected_losses_take_it(monkeypatch, loss):
    """Where all blocks are accepted, the termwise formulas are not called."""
    chi, omega = utilities(20.0, np.random.default_rng(7))
    for name in ("accurate_kl", "accurate_cross_entropy"):
        monkeypatch.setattr(f"pbde_ref.exact.expected.{name}", None)
    assert loss(process(chi), omega, pb.ProductProposal(np.ones(SIZE))).value > 0.0


def test_settings_of_numpy_are_left_alone():
    """The short buffers are gone afterwards."""
    chi, omega = utilities(20.0, np.random.default_rng(8))
    before = np.getbufsize()
    assert before != fast_blocks.SHORT_BUFFER
    assert FastBlocks.of(process(chi), omega)(next(pb.ProductProposal(np.ones(SIZE)).blocks(SIZE))) is not None
    assert np.getbufsize() == before


def test_where_there_is_no_fast_path():
    """Few outcomes, annotators that are not logistic, infinite or very wide utilities, lists of pairs."""
    rng = np.random.default_rng(6)
    chi, omega = utilities(10.0, rng)
    annotator = process(chi)
    excluded, wide = omega.copy(), omega.copy()
    excluded[3], wide[3] = -math.inf, 800.0
    assert FastBlocks.of(annotator, excluded) is None
    assert FastBlocks.of(annotator, wide) is None
    table = pb.PreferenceMatrix(np.full((SIZE, SIZE), 0.5))
    assert FastBlocks.of(table, omega) is None
    assert FastBlocks.of(pb.AnnotatorMixture([1, 1], [annotator, table]), omega) is None
    assert FastBlocks.of(process(chi[: fast_blocks.FEW - 1]), omega[: fast_blocks.FEW - 1]) is None
    pairs = pb.PairListProposal([0, 1], [1, 2])
    assert FastBlocks.of(annotator, omega)(next(pairs.blocks(SIZE))) is None
    assert fast_blocks.FEW <= SIZE


def test_who_has_a_fast_path():
    """32 outcomes or more, and up to 700 nats, of the annotator as of the model."""
    chi = np.linspace(0.0, 700.0, 32)
    assert np.ptp(process(chi).utility) == 700.0
    assert FastBlocks.of(process(chi), 0.1 * chi) is not None
    assert FastBlocks.of(process(0.1 * chi), chi) is not None
    assert FastBlocks.of(process(chi), np.nextafter(chi, 1e3)) is None
    assert FastBlocks.of(process(1.001 * chi), 0.1 * chi) is None
    assert FastBlocks.of(process(0.1 * chi[1:]), 0.1 * chi[1:]) is None
    infinite = np.where(np.arange(32) == 7, -math.inf, 0.1 * chi)
    assert FastBlocks.of(process(infinite), 0.1 * chi) is None
    assert FastBlocks.of(process(0.1 * chi), np.full(32, -math.inf)) is None


def test_what_is_known_of_each_outcome():
    """Exponentials measured from the middle, and the bound on rounding by hand, in units of eps."""
    size, eps = 512, np.finfo(float).eps
    annotator = process(np.linspace(0.0, 2.0, size))
    omega = np.linspace(7.0, 3.0, size)
    fast = FastBlocks.of(annotator, omega)
    for (up, down), spread in ((fast.annotator, 2.0), (fast.model, 4.0)):
        assert up.max() == pytest.approx(math.exp(0.5 * spread), rel=1e-14)
        assert up.min() == pytest.approx(math.exp(-0.5 * spread), rel=1e-14)
        np.testing.assert_allclose(up * down, 1.0, rtol=1e-15)
    np.testing.assert_allclose(fast.annotator[0], np.exp(np.linspace(-1.0, 1.0, size)), rtol=1e-14)
    np.testing.assert_allclose(fast.model[0], np.exp(np.linspace(2.0, -2.0, size)), rtol=1e-14)
    np.testing.assert_allclose(fast.difference, np.linspace(3.0, -3.0, size), atol=1e-14)
    # Logits to 2 units and half a spread, u to its size and to the range that is left, the rest to 8 units.
    largest = np.abs(omega - annotator.utility).max()
    assert fast.error == pytest.approx(eps * ((2.0 + 1.0) + (2.0 + 2.0) + largest + 6.0 + 8.0), rel=1e-13, abs=0)
    assert fast.error_per_nat == pytest.approx(eps * (0.25 * (2.0 + 1.0) + 4.0), rel=1e-13, abs=0)


def test_bounds_of_a_cross_entropy():
    """No difference is rounded, wherever the utilities lie; a nat of margin counts four units more."""
    size, eps = 512, np.finfo(float).eps
    fast = FastBlocks.of(process(np.linspace(0.0, 2.0, size)), np.linspace(1007.0, 1003.0, size), entropy=True)
    np.testing.assert_allclose(fast.difference, np.linspace(2.0, -2.0, size), atol=1e-12)
    assert fast.error == pytest.approx(eps * ((2.0 + 1.0) + (2.0 + 2.0) + 4.0 + 8.0), rel=1e-12, abs=0)
    assert fast.error_per_nat == pytest.approx(eps * (0.25 * (2.0 + 1.0) + 8.0), rel=1e-12, abs=0)


def test_a_block_is_right_if_its_errors_are_a_small_share_of_it():
    """Ten units of weight; 17 of weight times |u_A| and 42 of weight times |u_B|, by hand."""
    weight, u_a, u_b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, -2.0]), np.array([3.0, -5.0])
    none = (np.ones(2), np.ones(2))
    for error, per_nat, bound in ((1.0, 0.0, 10.0), (0.0, 1.0, 59.0), (1.0, 1.0, 69.0), (2.0, 0.5, 49.5)):
        fast = FastBlocks(none, none, np.zeros(2), fast_blocks.SHARE * error, fast_blocks.SHARE * per_nat)
        for value, right in ((1e-9, 0), (0.5, 0), (0.8, 0), (0.999, 0), (1.001, 1), (1.1, 1), (1.5, 1), (1e9, 1)):
            for scale in (1.0, 1e-6):
                assert fast._is_right(scale * value * bound, scale * weight, u_a, u_b) == bool(right)
                assert fast._is_right(scale * value * bound, scale * weight.T, u_b, u_a) == bool(right)
    exact = FastBlocks(none, none, np.zeros(2), fast_blocks.SHARE, 0.0)
    assert exact._is_right(10.0, weight, u_a, u_b)
    assert fast_blocks.SHARE == 4e-13


def test_a_block_by_hand():
    """Each pair's log((1 + e^d) / (1 + e^c)) - σ(c) (d - c), and weight times σ(d) - σ(c)."""
    rng = np.random.default_rng(7)
    chi, omega = rng.normal(size=(2, SIZE))
    annotator = process(chi)
    block = PairBlock(np.array([[3], [7]]), np.array([[1, 3, 500]]), np.array([[0.25, 0.5, 0.0], [1.0, 2.0, 0.125]]))
    value, terms = FastBlocks.of(annotator, omega)(block)
    total = 0.0
    for i, a in enumerate((3, 7)):
        for j, b in enumerate((1, 3, 500)):
            c, d, weight = chi[a] - chi[b], omega[a] - omega[b], block.weight[i, j]
            p, s = 1.0 / (1.0 + math.exp(-c)), 1.0 / (1.0 + math.exp(-d))
            total += weight * (p * math.log(p / s) + (1.0 - p) * math.log((1.0 - p) / (1.0 - s)))
            assert terms[i, j] == pytest.approx(weight * (s - p), rel=1e-12, abs=1e-16)
    assert value == pytest.approx(total, rel=1e-12)
    p = 1.0 / (1.0 + np.exp(chi[block.b] - chi[block.a]))
    s = 1.0 / (1.0 + np.exp(omega[block.b] - omega[block.a]))
    value, others = FastBlocks.of(annotator, omega, entropy=True)(block)
    assert value == pytest.approx(-(block.weight * (p * np.log(s) + (1.0 - p) * np.log(1.0 - s))).sum(), rel=1e-12)
    np.testing.assert_array_equal(others, terms)
