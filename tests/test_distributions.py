"""Finite distributions and their constructors: cases by hand, laws, independent references, bad input."""

import dataclasses
import math
import warnings
from math import inf, log, nan
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import pbde_ref as pb
from tests.refusals import pattern
from tests.strategies import distributions, vectors

EPS = np.finfo(float).eps
from_weights = pb.FiniteDistribution.from_weights

pairs = st.integers(1, 40).flatmap(lambda n: st.tuples(distributions(n), distributions(n)))
any_distribution = st.booleans().flatmap(lambda extremes: distributions(zeros=True, extremes=extremes))


def exact_log_pmf(distribution):
    """Log-probabilities as 60-digit numbers, normalised exactly."""
    logs = [mpmath.mpf(float(x)) for x in distribution.log_pmf]
    total = mpmath.log(mpmath.fsum(mpmath.exp(x) for x in logs))
    return [x - total for x in logs]


# Cases by hand


def test_weights_become_exact_fractions():
    p = from_weights([3, 1, 0, 4])
    np.testing.assert_allclose(p.pmf, [3 / 8, 1 / 8, 0, 1 / 2], rtol=4 * EPS)  # through a logarithm and back
    assert p.pmf[2] == 0
    np.testing.assert_allclose(p.log_pmf[[0, 1, 3]], [log(3 / 8), log(1 / 8), log(1 / 2)], rtol=4 * EPS)
    assert p.log_pmf[2] == -inf


def test_log_weights_need_not_be_normalised():
    np.testing.assert_allclose(pb.FiniteDistribution(np.log([6.0, 2.0]) + 500).pmf, [3 / 4, 1 / 4], rtol=1000 * EPS)


def test_weights_at_the_ends_of_the_range_of_floats():
    np.testing.assert_allclose(from_weights([1e308, 1e308]).pmf, [0.5, 0.5], rtol=4 * EPS)
    assert from_weights([1e-320, 1.0]).log_pmf[0] == pytest.approx(math.log(1e-320), rel=4 * EPS)


def test_entropy_by_hand():
    assert from_weights([2, 1, 1, 0]).entropy() == pytest.approx(1.5 * log(2), rel=4 * EPS)
    assert from_weights([0, 7]).entropy() == 0.0


def test_expectation_by_hand():
    assert from_weights([3, 1, 0]).expectation([4, 8, 5]) == pytest.approx(5.0, rel=4 * EPS)
    assert from_weights([1, 0]).expectation([2, inf]) == 2.0
    assert from_weights([1, 1]).expectation([2, -inf]) == -inf
    assert from_weights([1, 1]).expectation([inf, 2]) == inf
    assert from_weights([1, 1, 0]).expectation([inf, 2, -inf]) == inf
    assert from_weights([1, 0, 1]).expectation([-inf, inf, 2]) == -inf


def test_total_variation_and_kl_divergence_by_hand():
    p, r = from_weights([3, 1]), from_weights([1, 3])
    assert pb.total_variation(p, r) == pytest.approx(1 / 2, rel=4 * EPS)
    assert pb.kl_divergence(p, r) == pytest.approx(log(3) / 2, rel=8 * EPS)
    assert pb.total_variation(from_weights([1, 0]), from_weights([0, 1])) == 1.0
    assert pb.kl_divergence(from_weights([1, 0]), from_weights([0, 1])) == inf
    assert pb.kl_divergence(from_weights([1, 0]), from_weights([1, 1])) == pytest.approx(log(2), rel=4 * EPS)


def test_mixture_by_hand():
    """Eq. (10) in small: 2/5 · (1/2, 1/2, 0) + 3/5 · (0, 1/3, 2/3) = (1/5, 2/5, 2/5)."""
    m = pb.mixture([2, 3], [from_weights([1, 1, 0]), from_weights([0, 1, 2])])
    np.testing.assert_allclose(m.pmf, [1 / 5, 2 / 5, 2 / 5], rtol=8 * EPS)


def test_geometric_mean_by_hand():
    """Eq. (18): √(16·4) : √(1·9) = 8 : 3."""
    g = pb.geometric_mean(from_weights([16, 1]), from_weights([4, 9]), 0.5)
    np.testing.assert_allclose(g.pmf, [8 / 11, 3 / 11], rtol=8 * EPS)


def test_geometric_mean_with_zero_probabilities():
    p, r = from_weights([1, 1, 0]), from_weights([1, 0, 1])
    assert pb.geometric_mean(p, r, 0.5).pmf.tolist() == [1.0, 0.0, 0.0]
    assert pb.geometric_mean(p, r, 1.0).pmf.tolist() == p.pmf.tolist()
    assert pb.geometric_mean(p, r, 0.0).pmf.tolist() == r.pmf.tolist()
    assert pb.geometric_mean(from_weights([1, 1, 0]), from_weights([1, 2, 1]), 2.0).pmf[2] == 0.0


def test_geometric_mean_outside_the_unit_interval_keeps_a_zero_of_both_factors():
    """A probability of zero in both factors is no outcome of either, whatever the exponents."""
    p = from_weights([1, 3, 0])
    np.testing.assert_allclose(pb.geometric_mean(p, p, 2.0).pmf, [1 / 4, 3 / 4, 0.0], rtol=8 * EPS)


def test_tilt_by_hand():
    """Eq. (13): (1/4)·9 : (3/4)·1 = 3 : 1 for rewards (2 log 9, 0) and β = 2; a reward of −∞ excludes."""
    np.testing.assert_allclose(pb.tilt(from_weights([1, 3]), [2 * log(9), 0], 2.0).pmf, [3 / 4, 1 / 4], rtol=16 * EPS)
    assert pb.tilt(from_weights([1, 3]), [0, -inf], 1.0).pmf.tolist() == [1.0, 0.0]


def test_uniform_and_its_labels():
    u = pb.uniform(["x", "y", "z"])
    assert u.support.tolist() == ["x", "y", "z"]
    np.testing.assert_allclose(u.pmf, 1 / 3, rtol=4 * EPS)
    assert len(u) == 3


@pytest.mark.parametrize("given", [[1, "a"], ["a", 1], [(1, 2), (3, 4)], [(1,), "a"], [1, 2.5], [True, "a"]])
def test_labels_are_not_converted_to_a_common_type(given):
    found = pb.uniform(given).support
    assert found.shape == (2,)
    assert list(map(type, found)) == list(map(type, given))
    assert list(found) == given


def test_labels_of_any_hashable_kind():
    labels = [(1, 2), "tea", 3, None]
    assert pb.uniform(labels).support.tolist() == labels
    assert pb.FiniteDistribution([0.0, 0.0]).support.tolist() == [0, 1]


def test_one_outcome():
    p = pb.FiniteDistribution([-1000.0])
    assert (p.pmf.tolist(), p.log_pmf.tolist(), p.entropy()) == ([1.0], [0.0], 0.0)


# Laws


@given(any_distribution)
def test_probabilities_sum_to_one(p):
    """Σ p = 1 to the rounding of forty terms, p = e^log p, and zero exactly where log p = −∞."""
    assert math.fsum(p.pmf) == pytest.approx(1.0, rel=40 * EPS)
    np.testing.assert_allclose(p.pmf, np.exp(p.log_pmf), rtol=8 * EPS)
    assert not np.isnan(p.log_pmf).any()
    assert (p.log_pmf <= 0).all()


@given(any_distribution)
def test_entropy_is_that_of_fifty_digits(p):
    """H(p) = −Σ p log p: terms of one sign, so right to 1e-12 relatively; and at most log n.

    A probability that is nearly one has −log p of the size of what the others leave over, which log p holds relatively.
    """
    with mpmath.workdps(60):
        logs = [mpmath.mpf(float(x)) for x in p.log_pmf if x > -inf]
        exact = float(mpmath.fsum(-mpmath.exp(x) * x for x in logs))
    assert p.entropy() == pytest.approx(exact, rel=1e-12, abs=1e-300)
    assert 0 <= p.entropy() <= log(len(p)) * (1 + 8 * EPS)


@given(pairs)
def test_kl_divergence_is_that_of_fifty_digits(pair):
    """D(p ‖ r) = Σ p log(p/r), right but for the rounding of log p and log r themselves.

    Errors δ of log p and log r, at most 16 eps for logs down to -14, change Σ p (t + e^−t − 1) by
    Σ p |1 − e^−t| δ ≤ √(2D) δ (Pinsker), and by δ² where D vanishes.
    """
    p, r = pair
    with mpmath.workdps(60):
        logs = zip(exact_log_pmf(p), exact_log_pmf(r), strict=True)
        exact = float(mpmath.fsum(mpmath.exp(x) * (x - y) for x, y in logs))
    delta = 32 * EPS
    actual = pb.kl_divergence(p, r)
    assert actual >= 0
    assert abs(actual - exact) <= 1e-12 * exact + 4 * delta * (math.sqrt(2 * exact) + delta)


def test_kl_divergence_of_neighbours_keeps_its_digits():
    """D is 1e-17 for log-weights 1e-8 apart: a difference of p and r would leave none of its digits."""
    p, r = pb.FiniteDistribution([1.0, 2.0]), pb.FiniteDistribution([1.0, 2.0 + 1e-8])
    with mpmath.workdps(60):
        logs = zip(exact_log_pmf(p), exact_log_pmf(r), strict=True)
        exact = float(mpmath.fsum(mpmath.exp(x) * (x - y) for x, y in logs))
    # As in the law above: rounding of the log-probabilities moves D by √(2D) δ, a few parts in 1e7 of it.
    assert pb.kl_divergence(p, r) == pytest.approx(exact, rel=2e-6, abs=0.0)


@pytest.mark.parametrize("gap", [-29.5, -30.5, -33.0])
def test_kl_divergence_of_an_outcome_that_nearly_vanishes(gap):
    """About log p − log r = −30 the formula changes; a wrong sign there would add 1e-13 of the whole."""
    p = pb.FiniteDistribution([gap, 0.0])
    with mpmath.workdps(50):
        lost = mpmath.exp(mpmath.mpf(gap))
        exact = float(sum(x * mpmath.log(2 * x) for x in (lost / (1 + lost), 1 / (1 + lost))))
    assert pb.kl_divergence(p, pb.uniform([0, 1])) == pytest.approx(exact, rel=2e-15, abs=0.0)


def test_kl_divergence_where_the_ratio_overflows():
    """r / p is e^740 at one outcome; D = p log(p/r) at the other, without a warning."""
    p, r = pb.FiniteDistribution([-740.0, 0.0]), pb.FiniteDistribution([0.0, -740.0])
    assert pb.kl_divergence(p, r) == pytest.approx(740.0, rel=4 * EPS)


@given(distributions(zeros=True))
def test_a_distribution_is_at_distance_zero_from_itself(p):
    assert pb.kl_divergence(p, p) == 0
    assert pb.total_variation(p, p) == 0


@given(pairs)
def test_total_variation_is_half_the_sum_of_differences(pair):
    """TV is symmetric, within [0, 1], the reference sum, and bounded by √(KL/2) (Pinsker)."""
    p, r = pair
    distance = pb.total_variation(p, r)
    expected = math.fsum(abs(x - y) for x, y in zip(p.pmf, r.pmf, strict=True)) / 2
    assert distance == pytest.approx(expected, abs=40 * EPS)  # a rounding for each of forty terms
    assert distance == pb.total_variation(r, p)
    assert 0 <= distance <= 1
    assert distance <= math.sqrt(pb.kl_divergence(p, r) / 2) + 40 * EPS


@given(pairs, st.floats(0.0, 1.0))
def test_mixture_is_the_weighted_sum_of_probabilities(pair, weight):
    """Σ w_i p_i, Eq. (24); all terms positive, so a few roundings relatively."""
    p, r = pair
    actual = pb.mixture([weight, 1 - weight], [p, r])
    np.testing.assert_allclose(actual.pmf, weight * p.pmf + (1 - weight) * r.pmf, rtol=200 * EPS)


def test_mixture_keeps_probabilities_that_underflow():
    """Log space: e^-1000 and e^-1001 in equal parts have log-probability log((e^-1000 + e^-1001)/2)."""
    p, r = pb.FiniteDistribution([0.0, -1000.0]), pb.FiniteDistribution([0.0, -1001.0])
    expected = -1000 + log((1 + math.exp(-1)) / 2)
    assert pb.mixture([1, 1], [p, r]).log_pmf[1] == pytest.approx(expected, rel=4 * EPS)


@given(pairs, st.floats(-2.0, 3.0))
def test_geometric_mean_is_additive_in_logs(pair, alpha):
    """log π = (1 − α) log r + α log p − log Z, Eq. (18), in 60 digits."""
    p, r = pair
    actual = pb.geometric_mean(p, r, alpha).log_pmf
    with mpmath.workdps(60):
        a = mpmath.mpf(alpha)
        logs = [
            a * mpmath.mpf(float(x)) + (1 - a) * mpmath.mpf(float(y)) for x, y in zip(p.log_pmf, r.log_pmf, strict=True)
        ]
        total = mpmath.log(mpmath.fsum(mpmath.exp(x) for x in logs))
        expected = [float(x - total) for x in logs]
    # logs reach 14 in size, times |α| + |1 − α| ≤ 5, two terms and a normaliser: some 100 roundings of 70
    np.testing.assert_allclose(actual, expected, atol=100 * 70 * EPS)


@given(
    st.integers(1, 40).flatmap(lambda n: st.tuples(distributions(n), vectors(n, -9, 9), vectors(n, -9, 9))),
    st.floats(0.1, 10.0),
)
def test_tilts_compose_by_adding_rewards(case, beta):
    """tilt(tilt(p, r, β), s, β) = tilt(p, r + s, β); logs up to 14 + 18/0.1 in size, a few roundings each."""
    p, r, s = case
    once = pb.tilt(p, r + s, beta)
    twice = pb.tilt(pb.tilt(p, r, beta), s, beta)
    np.testing.assert_allclose(twice.log_pmf, once.log_pmf, atol=32 * 200 * EPS)
    np.testing.assert_allclose(pb.tilt(p, np.full(len(p), 3.0), beta).log_pmf, p.log_pmf, atol=32 * 50 * EPS)


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(distributions(n, zeros=True), vectors(n, -100, 100))))
def test_expectation_is_the_sum_over_outcomes(case):
    """E_p[v] = Σ p v, to one rounding of the largest value for each of forty terms."""
    p, values = case
    expected = math.fsum(x * v for x, v in zip(p.pmf, values, strict=True))
    assert p.expectation(values) == pytest.approx(expected, abs=40 * 100 * EPS)


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 5.0), (-2.5, 0.25), (12.0, 3.0)])
def test_truncated_normal_is_scipys_density_on_a_grid(loc, scale):
    """Ratios of probabilities are ratios of truncnorm's densities; the logs reach 1,250 in size."""
    grid = np.linspace(-10.0, 10.0, 101)
    p = pb.truncated_normal(grid, loc, scale)
    density = scipy.stats.truncnorm((-10 - loc) / scale, (10 - loc) / scale, loc=loc, scale=scale)
    log_density = density.logpdf(grid)
    top = int(np.argmax(log_density))
    np.testing.assert_allclose(p.log_pmf - p.log_pmf[top], log_density - log_density[top], atol=16 * 1250 * EPS)
    assert p.support.tolist() == grid.tolist()


def test_truncated_normal_approaches_the_density_with_the_grid():
    """p_i / h is the density up to the error of the sum that normalises: (f(−10) + f(10)) h/2 and O(h²) beyond."""
    grid = np.linspace(-10.0, 10.0, 4001)
    step = grid[1] - grid[0]
    density = scipy.stats.truncnorm(-2.0, 2.0, loc=0.0, scale=5.0).pdf(grid)
    ends = (density[0] + density[-1]) * step / 2
    np.testing.assert_allclose(pb.truncated_normal(grid, 0.0, 5.0).pmf / step * (1 + ends), density, rtol=1e-6)


def test_truncated_normal_by_hand():
    """Points at 0 and ±1 with scale 1/√(2 log 2) have weights 1 and 1/2."""
    p = pb.truncated_normal([-1.0, 0.0, 1.0], 0.0, 1 / math.sqrt(2 * log(2)))
    np.testing.assert_allclose(p.pmf, [1 / 4, 1 / 2, 1 / 4], rtol=16 * EPS)


def test_truncated_normal_much_narrower_than_the_grid_is_a_point():
    assert pb.truncated_normal([-1.0, 0.0, 1.0], 0.1, 1e-100).pmf.tolist() == [0.0, 1.0, 0.0]


# Sampling

SKEWED = from_weights([1, 2, 3, 4, 0, 10], support=list("abcdef"))


def chi_square_p_value(sample, distribution):
    """p-value of Pearson's test, over the outcomes of positive probability."""
    positive = distribution.pmf > 0
    counts = np.array([(sample == label).sum() for label in distribution.support])
    assert counts[~positive].sum() == 0
    return scipy.stats.chisquare(counts[positive], distribution.pmf[positive] * sample.size).pvalue


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_samples_follow_the_distribution(seed):
    """Goodness of fit at level 1e-6: that is the chance of a false alarm for a new seed; the seeds here are fixed."""
    assert chi_square_p_value(SKEWED.sample(20_000, rng=seed), SKEWED) > 1e-6


def test_the_goodness_of_fit_test_sees_a_wrong_distribution():
    """Negative control: a twentieth of one outcome's probability moved to another is found."""
    wrong = from_weights([2, 2, 3, 4, 0, 9], support=list("abcdef"))
    assert chi_square_p_value(SKEWED.sample(20_000, rng=0), wrong) < 1e-6


def test_equal_seeds_give_equal_samples():
    first, second = SKEWED.sample(100, rng=7), SKEWED.sample(100, rng=7)
    assert first.tobytes() == second.tobytes()
    assert SKEWED.sample(100, rng=np.random.default_rng(7)).tobytes() == first.tobytes()
    assert SKEWED.sample(100, rng=8).tobytes() != first.tobytes()


def test_a_generator_moves_on():
    rng = np.random.default_rng(0)
    assert SKEWED.sample(100, rng=rng).tobytes() != SKEWED.sample(100, rng=rng).tobytes()


def test_sampling_leaves_numpys_global_generator_alone():
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    SKEWED.sample(100)
    SKEWED.sample(100, rng=0)
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002


@pytest.mark.parametrize(("size", "shape"), [(None, ()), (0, (0,)), (5, (5,)), ((2, 3), (2, 3))])
def test_samples_have_the_shape_asked_for(size, shape):
    assert np.shape(SKEWED.sample(size, rng=0)) == shape


@given(distributions(zeros=True, extremes=True), st.integers(0, 100))
def test_samples_are_labels_of_positive_probability(p, seed):
    assert set(p.sample(20, rng=seed).tolist()) <= set(p.support[p.pmf > 0].tolist())


# Values that do not change


def test_inputs_are_copied():
    log_weights, support = np.log([1.0, 3.0]), np.array([10, 20])
    p = pb.FiniteDistribution(log_weights, support)
    log_weights[0], support[0] = 99.0, 99
    np.testing.assert_allclose(p.pmf, [1 / 4, 3 / 4], rtol=4 * EPS)
    assert p.support.tolist() == [10, 20]
    weights = np.array([1.0, 3.0])
    q = from_weights(weights)
    weights[0] = 99.0
    np.testing.assert_allclose(q.pmf, [1 / 4, 3 / 4], rtol=4 * EPS)


@pytest.mark.parametrize("name", ["log_pmf", "pmf", "support"])
def test_arrays_are_read_only(name):
    p = from_weights([1, 3])
    with pytest.raises(ValueError, match="read-only"):
        getattr(p, name)[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(p, name, np.zeros(2))


@pytest.mark.parametrize("support", [[0, 1], ["a", "b"], [(0, 1), "a"]])
def test_labels_are_read_only(support):
    with pytest.raises(ValueError, match="read-only"):
        pb.uniform(support).support[0] = support[1]


def test_probability_by_label():
    """p[label] is the probability; what is not in the support is a KeyError, whatever it is."""
    p = pb.FiniteDistribution.from_weights([3, 1], support=["tea", ("a", 1)])
    assert (p["tea"], p["a", 1]) == (0.75, 0.25)
    for label in ("water", 0, None):
        with pytest.raises(KeyError):
            p[label]


@pytest.mark.parametrize("use", [list, iter, np.asarray, np.exp])
def test_a_distribution_is_no_array(use):
    """Nothing says whether its probabilities or their logarithms are meant, so neither is taken."""
    with pytest.raises(TypeError):
        use(pb.uniform("ab"))


def test_a_policy_for_utilities_is_told_what_to_take():
    """Its probabilities would be taken, and mean something else."""
    p = pb.FiniteDistribution.from_weights([1, 3])
    annotator, pairs = pb.Annotator(p, pb.luce()), pb.ProductProposal(p)
    with pytest.raises(TypeError, match="`utilities` must be an array of real numbers, such as its `log_pmf`; got"):
        pb.expected_kl(annotator, p, pairs)
    with pytest.raises(TypeError, match="`utilities` must be an array of real numbers, such as its `utility`; got Ann"):
        pb.comparisons_needed(annotator, pairs, nats=0.1)
    with pytest.raises(TypeError, match="`rewards` must be an array of real numbers, such as its `log_pmf`; got"):
        pb.tilt(p, p, 1.0)
    with pytest.raises(TypeError, match="`values` must be an array of real numbers, such as its `log_pmf` or `pmf`"):
        p.expectation(p)
    assert pb.expected_kl(annotator, p.log_pmf, pairs).value == 0.0
    assert pb.expected_kl(annotator, p.pmf, pairs).value > 0.01


@pytest.mark.parametrize("weights", [[0.7, 0.2, 0.1], [0.0, 0.4, 0.6], np.full(7, 1 / 7)])
def test_probabilities_as_log_weights_are_doubted(weights):
    """They remain valid log-weights."""
    with pytest.warns(UserWarning, match=r"look like probabilities; these go to FiniteDistribution\.from_weights"):
        p = pb.FiniteDistribution(weights)
    np.testing.assert_allclose(p.pmf, np.exp(weights) / np.exp(weights).sum(), rtol=1e-15)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 1.0], [0.7, 0.2], [-0.5, 1.5], [0.3, 0.3, 0.3]])
def test_other_log_weights_are_not_doubted(weights):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(pb.FiniteDistribution(weights)) == len(weights)


class Series:
    """As little of a pandas Series as is needed."""

    def __init__(self, values, index):
        self.values, self.index = np.array(values), SimpleNamespace(to_numpy=lambda: np.array(index, object))

    def to_numpy(self):
        return self.values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def test_the_index_of_a_series_is_kept():
    """Unless a support is given."""
    index = ["tea", "coffee"]
    weights, log_weights = Series([3.0, 1.0], index), Series(np.log([3.0, 1.0]), index)
    for p in (pb.FiniteDistribution.from_weights(weights), pb.FiniteDistribution(log_weights)):
        assert p["tea"] == pytest.approx(0.75)
    assert pb.FiniteDistribution.from_weights(weights, "ab")["a"] == 0.75


def test_plot_returns_axes():
    """A line over numbers, bars over labels, into axes that are given."""
    from matplotlib import pyplot

    axes = pb.uniform([1.0, 2.0]).plot(color="black")
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1.0, 0.5], [2.0, 0.5]])
    assert pb.uniform("ab").plot(axes) is axes
    assert [bar.get_height() for bar in axes.patches] == [0.5, 0.5]
    pyplot.close("all")


# Bad input

UNIFORM = pb.uniform([0, 1])
LETTERS = pb.uniform("ab")
THREE = pb.uniform([0, 1, 2])

BAD_VALUES = {
    "log weight NaN": (
        lambda: pb.FiniteDistribution([0, nan]),
        "`log_weights` must be free of NaN; got nan at index 1",
    ),
    "log weight +inf": (
        lambda: pb.FiniteDistribution([0, inf]),
        "`log_weights` must be below +inf; got inf at index 1",
    ),
    "all −inf": (
        lambda: pb.FiniteDistribution([-inf, -inf]),
        "`log_weights` must have positive mass; got -inf everywhere",
    ),
    "empty": (
        lambda: pb.FiniteDistribution([]),
        "`log_weights` must be a vector with at least one entry; got shape (0,)",
    ),
    "matrix": (lambda: pb.FiniteDistribution([[0, 1]]), "`log_weights` must be a vector * got shape (1, 2)"),
    "scalar": (lambda: pb.FiniteDistribution(0.0), "`log_weights` must be a vector * got shape ()"),
    "support size": (lambda: pb.FiniteDistribution([0, 0], ["a"]), "`support` must have 2 outcomes*; got 1"),
    "label twice": (
        lambda: pb.FiniteDistribution([0, 0, 0], ["a", "b", "a"]),
        "`support` must hold distinct labels; got 'a' again at index 2",
    ),
    "negative weight": (lambda: from_weights([1, -2]), "`weights` must be non-negative; got -2.0 at index 1"),
    "weight NaN": (lambda: from_weights([nan, 1]), "`weights` must be free of NaN; got nan at index 0"),
    "weight inf": (lambda: from_weights([1, inf]), "`weights` must be finite; got inf at index 1"),
    "no mass": (lambda: from_weights([0, 0]), "`weights` must have positive mass; got weights that are all 0"),
    "no weights": (lambda: from_weights([]), "`weights` must be a vector with at least one entry; got shape (0,)"),
    "uniform on nothing": (lambda: pb.uniform([]), "must *at least one"),
    "uniform twice": (lambda: pb.uniform("aa"), "`support` must hold distinct labels; got 'a' again at index 1"),
    "expectation size": (lambda: UNIFORM.expectation([1, 2, 3]), "`values` must have 2 outcomes*; got 3"),
    "expectation NaN": (lambda: UNIFORM.expectation([1, nan]), "`values` must be free of NaN; got nan at index 1"),
    "expectation ∞ − ∞": (
        lambda: UNIFORM.expectation([inf, -inf]),
        "`values` must be above -inf where another is +inf; got -inf at index 1",
    ),
    "grid empty": (
        lambda: pb.truncated_normal([], 0, 1),
        "`grid` must be a vector with at least one entry; got shape (0,)",
    ),
    "grid NaN": (lambda: pb.truncated_normal([0, nan], 0, 1), "`grid` must be free of NaN; got nan at index 1"),
    "grid inf": (lambda: pb.truncated_normal([0, inf], 0, 1), "`grid` must be finite; got inf at index 1"),
    "grid twice": (lambda: pb.truncated_normal([1.0, 1.0], 0, 1), "must *distinct*got *1.0*at index 1"),
    "loc NaN": (lambda: pb.truncated_normal([0, 1], nan, 1), "`loc` must be free of NaN; got nan"),
    "loc inf": (lambda: pb.truncated_normal([0, 1], inf, 1), "`loc` must be finite; got inf"),
    "scale 0": (lambda: pb.truncated_normal([0, 1], 0, 0), "`scale` must be positive; got 0.0"),
    "scale < 0": (lambda: pb.truncated_normal([0, 1], 0, -1), "`scale` must be positive; got -1.0"),
    "scale inf": (lambda: pb.truncated_normal([0, 1], 0, inf), "`scale` must be finite; got inf"),
    "mixture sizes": (
        lambda: pb.mixture([1, 1], [UNIFORM]),
        "`distributions` must have one entry for each weight, 2; got 1",
    ),
    "mixture empty": (lambda: pb.mixture([], []), "`weights` must be a vector with at least one entry; got shape (0,)"),
    "mixture negative": (
        lambda: pb.mixture([1, -1], [UNIFORM] * 2),
        "`weights` must be non-negative; got -1.0 at index 1",
    ),
    "mixture NaN": (lambda: pb.mixture([nan, 1], [UNIFORM] * 2), "`weights` must be free of NaN; got nan at index 0"),
    "mixture no mass": (lambda: pb.mixture([0, 0], [UNIFORM] * 2), "`weights` must have positive mass; got *all 0"),
    "mixture supports": (
        lambda: pb.mixture([1, 1], [UNIFORM, THREE]),
        "`distributions[1]` must have 2 outcomes*; got 3",
    ),
    "mixture labels": (
        lambda: pb.mixture([1, 1], [UNIFORM, LETTERS]),
        "`distributions[1]` must have the support of `distributions[0]`; got *'a'*0*at index 0",
    ),
    "geometric sizes": (lambda: pb.geometric_mean(UNIFORM, THREE, 0.5), "`r` must have 2 outcomes*; got 3"),
    "geometric labels": (
        lambda: pb.geometric_mean(UNIFORM, LETTERS, 0.5),
        "`r` must have the support of `p`; got *at index 0",
    ),
    "geometric alpha NaN": (lambda: pb.geometric_mean(UNIFORM, UNIFORM, nan), "`alpha` must be free of NaN; got nan"),
    "geometric alpha inf": (lambda: pb.geometric_mean(UNIFORM, UNIFORM, inf), "`alpha` must be finite; got inf"),
    "geometric 0 to a negative power": (
        lambda: pb.geometric_mean(from_weights([1, 1]), from_weights([1, 0]), 2),
        "`alpha` must leave every weight finite; got alpha = 2.0 * at index 1",
    ),
    "geometric disjoint": (
        lambda: pb.geometric_mean(from_weights([1, 0]), from_weights([0, 1]), 0.5),
        "`p` and `r` must share an outcome of positive probability; got none",
    ),
    "tilt beta 0": (lambda: pb.tilt(UNIFORM, [0, 1], 0), "`beta` must be positive; got 0.0"),
    "tilt beta < 0": (lambda: pb.tilt(UNIFORM, [0, 1], -1), "`beta` must be positive; got -1.0"),
    "tilt beta NaN": (lambda: pb.tilt(UNIFORM, [0, 1], nan), "`beta` must be free of NaN; got nan"),
    "tilt reward NaN": (lambda: pb.tilt(UNIFORM, [0, nan], 1), "`rewards` must be free of NaN; got nan at index 1"),
    "tilt reward +inf": (lambda: pb.tilt(UNIFORM, [0, inf], 1), "`rewards` must be below +inf; got inf at index 1"),
    "tilt size": (lambda: pb.tilt(UNIFORM, [0, 1, 2], 1), "`rewards` must have 2 outcomes*; got 3"),
    "tilt excludes all": (lambda: pb.tilt(from_weights([1, 0]), [-inf, 0], 1), "`rewards` must be finite *; got -inf"),
    "TV sizes": (lambda: pb.total_variation(UNIFORM, THREE), "`r` must have 2 outcomes*; got 3"),
    "TV labels": (
        lambda: pb.total_variation(UNIFORM, LETTERS),
        "`r` must have the support of `p`; got *'a'*at index 0",
    ),
    "KL sizes": (lambda: pb.kl_divergence(UNIFORM, THREE), "`r` must have 2 outcomes*; got 3"),
    "KL labels": (lambda: pb.kl_divergence(UNIFORM, LETTERS), "`r` must have the support of `p`; got *'a'*at index 0"),
    "sample of negative size": (lambda: UNIFORM.sample(-1, rng=0), "`size` must be at least 0; got -1"),
}

BAD_TYPES = {
    "text": (lambda: pb.FiniteDistribution("ab"), "`log_weights` must be an array of real numbers; got 'ab'"),
    "texts": (lambda: pb.FiniteDistribution(["a"]), "`log_weights` must be an array of real numbers; got ['a']"),
    "complex": (lambda: pb.FiniteDistribution([1j]), "`log_weights` must be an array of real numbers; got [1j]"),
    "ragged": (lambda: pb.FiniteDistribution([[1], [1, 2]]), "`log_weights` must be an array of real numbers; got "),
    "support no sequence": (lambda: pb.FiniteDistribution([0, 0], 5), "`support` must "),
    "label not hashable": (
        lambda: pb.FiniteDistribution([0, 0], [[1], [2]]),
        "`support` must hold hashable labels; got [1] at index 0",
    ),
    "values": (lambda: UNIFORM.expectation("a"), "`values` must be an array of real numbers; got 'a'"),
    "mixture member": (lambda: pb.mixture([1], [3]), "`distributions[0]` must be a FiniteDistribution; got int"),
    "geometric factor": (lambda: pb.geometric_mean(UNIFORM, 3, 1), "`r` must be a FiniteDistribution; got int"),
    "tilt beta": (lambda: pb.tilt(UNIFORM, [0, 1], "x"), "`beta` must be *; got 'x'"),
    "TV": (lambda: pb.total_variation(UNIFORM, [0.5, 0.5]), "`r` must be a FiniteDistribution; got list"),
    "KL": (lambda: pb.kl_divergence([0.5, 0.5], UNIFORM), "`p` must be a FiniteDistribution; got list"),
    "rng": (lambda: UNIFORM.sample(1, rng="x"), "x"),
}


@pytest.mark.parametrize("case", [*BAD_VALUES, *BAD_TYPES])
def test_bad_input_is_named(case):
    error, (call, message) = (ValueError, BAD_VALUES[case]) if case in BAD_VALUES else (TypeError, BAD_TYPES[case])
    with pytest.raises(error, match=pattern(message)):
        call()


def test_a_label_may_be_anything_that_has_a_hash():
    """Also what refuses to be an array, and what would become a row of one."""
    first, second = pb.uniform("ab"), pb.uniform("ab")
    for support in ([first, None], [first, second], [(1, 2), (3, 4)], [frozenset("a"), "a"]):
        assert pb.uniform(support).support.tolist() == support
