"""One vector of utilities under a product proposal: its place on the grid, sums and curvature, against double loops."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pbde_ref as pb
from pbde_ref.exact.linear_time.opponents import (
    Curvature,
    Population,
    product_factors,
    single_annotators,
    weighted_sums,
)

INF = math.inf


def sigmoid(t):
    return 1.0 / (1.0 + np.exp(-np.clip(t, -700.0, 700.0)))


def wins(scores):
    """Probability that x beats y, [x, y]; one half where both have the same utility, infinite ones included."""
    with np.errstate(invalid="ignore"):
        difference = np.subtract.outer(scores, scores)
    return sigmoid(np.where(np.isnan(difference), 0.0, difference))


def entropy(p):
    p = np.clip(p, 1e-300, 1.0)
    return -p * np.log(p)


def problem(size=40, same=False, seed=0, infinite=()):
    rng = np.random.default_rng(seed)
    scores, a = rng.normal(0.0, 4.0, size), rng.random(size)
    proposal = product_factors(pb.ProductProposal(a, None if same else rng.random(size) ** 2), size)
    for i, value in infinite:
        scores[i] = value
    return scores, proposal


def gathered(pieces, size):
    result = np.full(size, math.nan)
    for part, terms in pieces:
        result[part] = terms
    return result


# --- Placement ---


def test_what_a_population_holds():
    """(a, b) meet (b, a); one vector stands for two that are the same."""
    for same in (False, True):
        scores, q = problem(same=same)
        population = Population.of(scores, q)
        assert population.scores is scores
        assert population.points.scores is scores
        assert not population.infinite
        factors, opponents = ((q.a,), (q.a,)) if same else ((q.a, q.b), (q.b, q.a))
        assert [id(x) for x in population.factors] == [id(x) for x in factors]
        assert [id(x) for x in population.opponents] == [id(x) for x in opponents]
        for table, weight in zip(population.tables, opponents, strict=True):
            assert table.sum() == pytest.approx(weight.sum(), rel=1e-14)


@pytest.mark.parametrize("infinity", [-INF, INF])
def test_infinite_utilities_stand_elsewhere_without_weight(infinity):
    scores, q = problem(infinite=[(0, infinity), (7, -infinity)])
    population = Population.of(scores, q)
    assert population.infinite
    assert population.scores is scores
    placed = np.where(np.isinf(scores), scores[1], scores)
    assert_array_equal(population.points.scores, placed)
    assert (population.points.grid.nats[0], population.points.grid.nats[-1]) == (
        math.floor(placed.min() - 1.0), math.floor(placed.max() + 1.0)
    )  # fmt: skip
    for table, weight in zip(population.tables, (q.b, q.a), strict=True):
        assert table.sum() == pytest.approx(np.delete(weight, [0, 7]).sum(), rel=1e-14)


def test_nobody_has_a_finite_utility():
    population = Population.of(np.array([-INF, INF]), product_factors(pb.ProductProposal([1, 3]), 2))
    assert_array_equal(population.points.scores, [0.0, 0.0])
    assert_array_equal(population.tables[0], 0.0)
    # Half of ¼ to the first when it meets itself; the second beats the first and half of itself.
    assert_allclose(gathered(weighted_sums([(1.0, population)]), 2), [2 * 0.25 * 0.125, 2 * 0.75 * 0.625], rtol=1e-15)
    assert population.entropy() == pytest.approx(math.log(2.0) * (1 / 16 + 9 / 16), rel=1e-15)


@pytest.mark.parametrize(
    ("scores", "name", "message"),
    [
        ([0.0, math.nan], None, "`the annotator's utility` must be free of NaN; got nan at index 1"),
        ([math.nan, -INF], "omega", "`omega` must be free of NaN; got nan at index 0"),
        ([0.0, 1e300], None, r"`the annotator's utility` must be below 1e300 in size, or .*; got 1e\+300 at index 1"),
        ([-1e300, -INF], "omega", r"`omega` must be below 1e300 in size, or infinite; got -1e\+300 at index 0"),
        ([-INF, -INF], "omega", r"`omega` must not be the same infinity .*; got -inf at indices 0 and 1"),
        ([INF, INF], None, r"`the annotator's utility` must not be the same infinity .*; got inf at indices 0 and 1"),
    ],
)  # fmt: skip
def test_what_has_no_place(scores, name, message):
    q = product_factors(pb.ProductProposal([1, 1]), 2)
    with pytest.raises(ValueError, match=message):
        Population.of(np.array(scores), q, name)


def test_scores_just_below_the_largest_have_a_place():
    below = np.nextafter(1e300, 0.0)
    for scores in ([below, -below, 0.0], [below, -INF, 0.0], [INF, 0.0, -below]):
        population = Population.of(np.array(scores), product_factors(pb.ProductProposal([1, 1, 1]), 3))
        expected = np.array(scores)
        assert_allclose(
            gathered(weighted_sums([(1.0, population)]), 3), 2 / 9 * wins(expected).sum(axis=1), rtol=1e-14
        )


def test_equal_infinities_are_refused_where_the_proposal_compares_them():
    """As indices of the first such pair; not if one of them is never A, and the other never B."""
    scores = np.array([-INF, 0.0, -INF, INF, INF])

    def of(a, b, **options):
        return Population.of(scores, product_factors(pb.ProductProposal(a, b), 5), "u", **options)

    for a, b, where in (
        ([1, 1, 1, 0, 0], [1, 1, 1, 0, 0], "-inf at indices 0 and 2"),
        ([0, 1, 1, 0, 0], [1, 1, 1, 0, 0], "-inf at indices 2 and 0"),
        ([1, 1, 0, 0, 0], [0, 1, 1, 0, 0], "-inf at indices 0 and 2"),
        ([0, 1, 0, 1, 1], [0, 1, 0, 0, 1], "got inf at indices 3 and 4"),
        ([0, 1, 0, 0, 1], [0, 1, 0, 1, 1], "got inf at indices 4 and 3"),
        ([1e-300, 1, 0, 0, 1], [0, 1, 1e-300, 1, 0], "-inf at indices 0 and 2"),
    ):
        with pytest.raises(ValueError, match=where):
            of(a, b)
        assert of(a, b, refuse=False).infinite
    for a, b in (
        ([1, 1, 1, 1, 1], [0, 1, 0, 0, 0]), ([1, 1, 0, 0, 0], [1, 1, 0, 0, 0]), ([0, 1, 1, 1, 0], [0, 1, 1, 1, 0]),
        ([1, 0, 1, 0, 0], [0, 0, 0, 1, 1]),
    ):  # fmt: skip
        assert of(a, b).infinite


# --- Sums ---


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("infinite", [(), [(3, -INF)], [(3, INF), (5, -INF)]])
def test_sums_entropy_and_center_are_double_loops(same, infinite):
    scores, q = problem(same=same, infinite=infinite)
    population = Population.of(scores, q)
    p = wins(scores)
    expected = q.a * (p @ q.b) + q.b * (p @ q.a)
    for weight in (1.0, -0.25):
        found = gathered(weighted_sums([(weight, population)]), 40)
        assert_allclose(found, weight * expected, rtol=0, atol=1e-15)
    for scale in (1.0, 3.0):
        sums = population.sums(scale)(slice(0, 40), (np.empty(40, dtype=np.intp), np.empty(40), np.empty(40)))
        for found, opponents in zip(sums, population.opponents, strict=True):
            assert_allclose(found, scale * (p @ opponents), rtol=0, atol=1e-14)
    both = entropy(p) + entropy(1.0 - p)
    assert population.entropy() == pytest.approx(q.a @ both @ q.b, rel=1e-13)
    finite = np.isfinite(scores)
    mean = (q.a * np.where(finite, scores, 0.0)).sum() / q.a[finite].sum()
    # Each utility is taken to be that of its nat's beginning.
    assert mean - 1.0 <= population.center() <= mean
    a, b = (np.where(finite, side, 0.0) for side in (q.a, q.b))
    distance = np.abs(np.floor(np.where(finite, scores, 0.0)) - population.center()) + 1.0
    assert population.mean_deviation() == pytest.approx(((a + b) * distance).sum(), rel=0.03)
    exact = np.abs(np.where(finite, scores, 0.0) - population.center())
    assert population.mean_deviation() >= ((a + b) * exact).sum()


def test_center_and_deviation_by_hand():
    """Utilities in the middle of panels 0, 3 and 7: no rounding is left."""
    scores = np.array([0.5, 3.5, 7.5])
    population = Population.of(scores, pb.ProductProposal([1, 1, 2], [2, 1, 1]))
    assert population.center() == pytest.approx((0 + 3 + 2 * 7) / 4, rel=1e-14)
    weights = (3 / 4, 2 / 4, 3 / 4)
    expected = sum(w * (abs(nat - 4.25) + 1.0) for w, nat in zip(weights, (0, 3, 7), strict=True))
    assert population.mean_deviation() == pytest.approx(expected, rel=1e-14)
    alone = Population.of(scores, product_factors(pb.ProductProposal([1, 1, 2]), 3))
    expected = sum(w * (abs(nat - 4.25) + 1.0) for w, nat in zip((2 / 4, 2 / 4, 4 / 4), (0, 3, 7), strict=True))
    assert alone.mean_deviation() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("same", [True, False])
def test_weights_of_several_populations(same):
    """Over more outcomes than one slice holds: the sum of what each contributes alone."""
    size, rng = 33_000, np.random.default_rng(1)
    a = rng.random(size)
    q = pb.ProductProposal(a) if same else pb.ProductProposal(a, rng.random(size))
    populations = [Population.of(rng.normal(0.0, s, size), q) for s in (1.0, 3.0, 9.0)]
    shares = list(zip((1.0, -0.5, 0.25), populations, strict=True))
    pieces = [(part, terms.copy()) for part, terms in weighted_sums(shares)]
    assert [part for part, _ in pieces] == [slice(0, 32_768), slice(32_768, size)]
    found = gathered(pieces, size)
    some = [0, 5, 32_767, 32_768, size - 1]
    expected = np.zeros(len(some))
    for weight, population in shares:
        p = sigmoid(np.subtract.outer(population.scores[some], population.scores))
        expected += weight * (q.a[some] * (p @ q.b) + q.b[some] * (p @ q.a))
    assert_allclose(found[some], expected, rtol=0, atol=1e-13 / size)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("infinite", [(), [(0, -INF)], [(3, INF), (5, -INF)]])
def test_curvature_is_the_dense_hessian(same, infinite):
    """Infinite utilities are flat: the derivative of σ vanishes there."""
    scores, q = problem(same=same, infinite=infinite)
    curvature = Curvature(Population.of(scores, q))
    slope = wins(scores) * wins(scores).T
    slope[np.isinf(scores)] = slope[:, np.isinf(scores)] = 0.0
    pairs = (np.multiply.outer(q.a, q.b) + np.multiply.outer(q.b, q.a)) * slope
    assert_allclose(curvature.degrees, pairs.sum(axis=1), rtol=0, atol=1e-15)
    direction = np.random.default_rng(2).normal(size=40) + 1e3
    given = direction.copy()
    expected = pairs.sum(axis=1) * direction - pairs @ direction
    # Relative to the direction without its mean, which is in the null space.
    assert_allclose(curvature(direction), expected, rtol=0, atol=1e-12)
    assert_allclose(curvature(direction), curvature(direction - direction.mean()), rtol=0, atol=1e-15)
    assert_array_equal(direction, given)


# --- Annotators and proposals ---


def test_single_annotators_of_mixtures_of_mixtures():
    """Weights multiply; who has no weight is not asked, whoever it is."""
    one, two, three = (pb.Annotator(pb.FiniteDistribution([0.0, x]), pb.luce()) for x in (1.0, 2.0, 3.0))
    found = list(single_annotators(one))
    assert [weight for weight, _ in found] == [1.0]
    assert found[0][1] is one.utility
    inner = pb.AnnotatorMixture([1, 4], [one, two])
    nobody = pb.PreferenceMatrix([[0.5, 0.5], [0.5, 0.5]])
    found = list(single_annotators(pb.AnnotatorMixture([3, 0, 5], [inner, nobody, three])))
    assert [weight for weight, _ in found] == pytest.approx([3 / 40, 12 / 40, 25 / 40], rel=1e-15)
    assert [id(chi) for _, chi in found] == [id(x.utility) for x in (one, two, three)]
    with pytest.raises(ValueError, match=r"`annotator` must be a single .* or a mixture .*; got PreferenceMatrix"):
        list(single_annotators(pb.AnnotatorMixture([1, 1], [one, nobody])))


def test_equal_factors_are_one_array():
    given = pb.ProductProposal([1, 2, 3])
    assert product_factors(given, 3) is given
    different = pb.ProductProposal([1, 2, 3], [3, 2, 1])
    assert product_factors(different, 3) is different
    twice = pb.ProductProposal([1, 2, 3], [2, 4, 6])
    assert twice.a is not twice.b
    same = product_factors(twice, 3)
    assert isinstance(same, pb.ProductProposal)
    assert same.a is same.b is twice.a
    with pytest.raises(ValueError, match=r"`proposal` must have 2 outcomes, one .*; got 3"):
        product_factors(given, 2)
    with pytest.raises(ValueError, match=r"`proposal` must be a product of two factors .*; got JointProposal"):
        product_factors(pb.JointProposal(np.ones((2, 2))), 2)
