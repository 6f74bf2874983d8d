"""Samplers against the exact distributions that their docstrings name.

False alarms: each goodness-of-fit comparison fails with probability at most `ALARM` = 1e-6 if the sampler is right, and
the file makes fewer than 200. Seeds are fixed, so a run that passes passes again; for a change that moves the random
stream (another order of draws, another NumPy) the whole file raises a false alarm with probability below 2e-4. Controls
show that each kind of comparison notices a bias of the size that it is there for.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import pbde_ref as pb
from pbde_ref.sampling.counts import draw_binomial, draw_multinomial
from pbde_ref.sampling.outcomes import CHUNK, AliasTable

ALARM = 1e-6
NAN, INF = math.nan, math.inf


def p_value(observed, probabilities):
    """Chi-square test of counts against probabilities; cells that expect fewer than 20 are pooled.

    Zero where something impossible happened.
    """
    observed, expected = np.ravel(observed), np.ravel(probabilities) * np.sum(observed)
    if observed[expected == 0.0].any():
        return 0.0
    small = expected < 20.0
    observed = np.append(observed[~small], observed[small].sum())
    expected = np.append(expected[~small], expected[small].sum())
    if expected[-1] < 20.0:  # what is still too small joins another cell
        observed, expected = (np.append(x[:-2], x[-2:].sum()) for x in (observed, expected))
    return stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), observed.size - 1) if observed.size > 1 else 1.0


def fits(observed, probabilities):
    return p_value(observed, probabilities) > ALARM


def normal_p_value(values, mean, deviation):
    """Kolmogorov–Smirnov test against a normal distribution."""
    return stats.kstest((np.asarray(values, dtype=float) - float(mean)) / deviation, "norm").pvalue


def luce(weights):
    return pb.Annotator(pb.FiniteDistribution.from_weights(weights), pb.luce())


def tally(size, *indices):
    """How often each tuple of indices occurs, shape (size, …)."""
    return np.bincount(np.ravel_multi_index(indices, (size,) * len(indices)), minlength=size ** len(indices))


def implied(table):
    """The distribution that an alias table draws from, in exact fractions."""
    n = table.keep.size
    result = [Fraction(0)] * n
    for cell, (keep, alias) in enumerate(zip(table.keep.tolist(), table.alias.tolist(), strict=True)):
        result[cell] += Fraction(keep) / n
        result[alias] += (1 - Fraction(keep)) / n
    return result


def exact_counts_pmf(cells, size):
    """All tables of `size` comparisons over cells with these probabilities, and the multinomial probability of each."""
    result = {}
    for cut in itertools.combinations(range(size + len(cells) - 1), len(cells) - 1):
        edges = [-1, *cut, size + len(cells) - 1]
        table = tuple(b - a - 1 for a, b in itertools.pairwise(edges))
        ways = math.factorial(size) // math.prod(math.factorial(k) for k in table)
        result[table] = ways * math.prod(p**k for p, k in zip(cells, table, strict=True))
    return result


def win_cells(annotator, proposal):
    """Prob(a comparison is one of A and B, in either order, and A wins), by the definition, shape (n, n)."""
    q, p = proposal.matrix(annotator.size), annotator.preference_probabilities()
    cells = (q + q.T) * p
    np.fill_diagonal(cells, q.diagonal())
    return cells


PROPOSALS = {
    "product": pb.ProductProposal([1, 2, 0, 3]),
    "two products": pb.ProductProposal([1, 2, 0, 3], [2, 0, 1, 1]),
    "joint": pb.JointProposal([[0, 1, 2, 0], [3, 4, 0, 0], [0, 1, 0, 0], [2, 0, 1, 0]]),
    "pair list": pb.PairListProposal([0, 1, 0, 0, 2, 3, 1, 0], [1, 0, 1, 3, 2, 0, 3, 3], [1, 2, 3, 1, 2, 1, 0, 2]),
}
MIXTURE = pb.AnnotatorMixture([0.3, 0.7], [luce([1, 2, 3, 4]), luce([9, 1, 1, 5])])
MODELS = {
    "single": luce([1, 2, 3, 4]),
    "mixture": MIXTURE,
    "matrix": pb.PreferenceMatrix(
        [[0.5, 1.0, 0.2, 0.7], [0.0, 0.5, 0.9, 0.5], [0.8, 0.1, 0.5, 0.6], [0.3, 0.5, 0.4, 0.5]]
    ),
}


# --- the test of goodness of fit itself ---


def test_goodness_of_fit_has_the_level_that_it_states():
    """Control: p-values of a right sampler are uniform, small ones included, so `ALARM` is what it says."""
    rng = np.random.default_rng(1)
    pmf = np.array([0.5, 0.3, 0.1, 0.0999, 0.0001])
    values = np.array([p_value(draw, pmf) for draw in rng.multinomial(5000, pmf, size=8_000)])
    assert stats.kstest(values, "uniform").pvalue > ALARM
    assert np.mean(values < 1e-3) < 3e-3


@pytest.mark.parametrize("shift", [0.01, -0.01])
def test_goodness_of_fit_notices_a_shift_of_one_percent(shift):
    """Control: 200,000 draws of which one outcome's probability is wrong by 0.01 do not fit."""
    wrong = np.array([0.3 + shift, 0.3, 0.4 - shift])
    assert not fits(np.random.default_rng(2).multinomial(200_000, wrong), [0.3, 0.3, 0.4])


def test_goodness_of_fit_notices_the_impossible():
    """Control: a single draw of an outcome of probability zero does not fit."""
    assert not fits([10**6, 1], [1.0, 0.0])


# --- outcomes ---

WEIGHTS = {
    "one outcome": [2.0],
    "one of three": [0, 5, 0],
    "ties that empty a cell": [1, 1, 3, 3],
    "small integers": [1, 2, 3, 4, 5],
    "zeros at the ends": [0, 0, 1, 2, 0, 3, 0, 0],
    "equal, n/n not 1 in rounding": [1] * 49,
    "tiny beside large": [1e-300, 1, 1e-12, 3],
    "huge": [1e308, 1e308, 5e307],
    "geometric": [0.7**k for k in range(60)],
    "random": np.random.default_rng(3).dirichlet(np.full(500, 0.2)),
}


@pytest.mark.parametrize("size", [1000, 200_000])
@pytest.mark.parametrize("name", WEIGHTS)
def test_outcomes_fit(name, size):
    """Outcomes have the probabilities of their weights, whether looked up (1,000 draws at a time) or from a table."""
    weights = np.array(WEIGHTS[name], dtype=float)
    rng = np.random.default_rng(4)
    drawn = np.concatenate([pb.sample_outcomes(weights, size, rng=rng) for _ in range(200_000 // size)])
    assert drawn.dtype == np.intp
    assert fits(np.bincount(drawn, minlength=weights.size), (weights / weights.max()) / (weights / weights.max()).sum())


def test_outcomes_of_a_distribution_fit():
    """A FiniteDistribution may be given; an outcome whose probability underflows is not drawn."""
    p = pb.FiniteDistribution([0.0, -1000.0, math.log(3), -INF], support=list("abcd"))
    assert fits(np.bincount(pb.sample_outcomes(p, 100_000, rng=5), minlength=4), [0.25, 0, 0.75, 0])


@pytest.mark.parametrize("n", [3, 2000])
def test_outcomes_are_independent(n):
    """Consecutive draws, across chunks too, have the product distribution."""
    weights = np.zeros(n)
    weights[-3:] = [1, 2, 3]
    drawn = pb.sample_outcomes(weights, 20 * CHUNK, rng=6) - (n - 3)
    pmf = np.array([1, 2, 3]) / 6
    assert fits(tally(3, drawn[:-1:2], drawn[1::2]), np.multiply.outer(pmf, pmf))
    at_edges = np.arange(CHUNK - 1, drawn.size - 1, CHUNK)
    assert not np.array_equal(drawn[at_edges - 1], drawn[at_edges])
    assert not np.array_equal(drawn[:CHUNK], drawn[CHUNK : 2 * CHUNK])


def test_outcomes_of_a_large_support_fit_in_bulk():
    """10^5 outcomes, 2·10^6 draws: sums over 100 groups fit, and so do 100 outcomes by themselves."""
    rng = np.random.default_rng(7)
    pmf = rng.dirichlet(np.full(100_000, 0.5))
    counts = np.bincount(pb.sample_outcomes(pmf, 2_000_000, rng=8), minlength=pmf.size)
    assert fits(counts.reshape(100, 1000).sum(axis=1), pmf.reshape(100, 1000).sum(axis=1))
    assert fits(counts.reshape(100, 1000).sum(axis=0), pmf.reshape(100, 1000).sum(axis=0))
    largest = np.argsort(pmf)[-100:]
    assert fits(np.append(counts[largest], 2_000_000 - counts[largest].sum()),
                np.append(pmf[largest], 1 - pmf[largest].sum()))  # fmt: skip


class Edge(np.random.Generator):
    """A generator whose uniform numbers are all the same."""

    def __init__(self, value):
        super().__init__(np.random.PCG64(0))
        self.value = value

    def random(self, size=None, out=None):
        if out is None:
            return np.full(size, self.value)
        out[...] = self.value
        return out


@pytest.mark.parametrize("size", [3, 20_000])
@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-53])
def test_extreme_uniform_numbers_stay_in_the_support(size, uniform):
    """The least and the largest number that a generator returns do not lead to an outcome of weight 0, or beyond."""
    for weights in ([0, 1, 2, 0], [0, 0.1, 0.2, 0.7, 0], [0] * 50 + [1] * 49 + [0]):
        drawn = set(pb.sample_outcomes(weights, size, rng=Edge(uniform)).tolist())
        assert all(weights[outcome] > 0 for outcome in drawn)
    state = pb.sample_barker_chain(luce([1, 9, 1]), np.tile([0.0, 1.0, 0.0], (3, 1)), 1, start=0, rng=Edge(uniform))
    assert state[1, 0] == (1 if uniform == 0.0 else 0)  # proposed 1 either way, accepted with probability 0.9


# --- alias tables ---


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_alias_table_is_exact_for_small_integers(n):
    """All weights from 0 to 4 (to 2 for n = 5): the table's distribution is that of the weights within rounding."""
    for weights in itertools.product(range(5 if n < 5 else 3), repeat=n):
        total = sum(weights)
        if total == 0:
            continue
        table = AliasTable.of(np.array(weights) / total)
        # Rounding of w/total and of the shares; each outcome is in at most n cells.
        error = max(abs(float(p - Fraction(w, total))) for p, w in zip(implied(table), weights, strict=True))
        assert error <= n * 2.0**-53, weights
        assert sum(implied(table)) == 1


@given(
    st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=60).filter(any)
    | st.lists(st.floats(-300, 0), min_size=1, max_size=60).map(lambda logs: [10.0**x for x in logs])
)
def test_alias_table_is_exact(weights):
    """Whatever the weights: each outcome's probability is right to 1e-15, that of a rare one to its last digits."""
    pmf = np.array(weights) / max(weights)
    pmf = pmf / pmf.sum()
    table = AliasTable.of(pmf)
    assert np.all((table.keep >= 0.0) & (table.keep <= 1.0))
    error = np.array([abs(float(p - Fraction(w))) for p, w in zip(implied(table), pmf.tolist(), strict=True)])
    assert error.max() <= 1e-15
    rare = pmf * pmf.size < 1.0
    assert np.all(error[rare] <= 4e-16 * pmf[rare])


@pytest.mark.parametrize("concentration", [0.01, 1.0, 100.0])
def test_large_alias_table_is_exact(concentration):
    """10^5 outcomes: absolute errors stay at 1e-15, because the long sums are exact in their coarse part."""
    pmf = np.random.default_rng(9).dirichlet(np.full(100_000, concentration))
    pmf /= pmf.sum()
    table = AliasTable.of(pmf)
    found = table.keep / pmf.size + np.bincount(table.alias, (1.0 - table.keep) / pmf.size, pmf.size)
    np.testing.assert_allclose(found, pmf, rtol=1e-15, atol=1e-15)


def test_alias_table_draws_what_it_says():
    """A table made by hand: cell 0 keeps 1/4 and gives the rest to 2, cell 1 gives all to 0."""
    table = AliasTable(np.array([0.25, 0.0, 1.0]), np.array([2, 0, 2]))
    counts = np.bincount(table.draw(300_000, np.random.default_rng(10)), minlength=3)
    assert fits(counts, [0.25 / 3 + 1 / 3, 0.0, 0.75 / 3 + 1 / 3])
    broken = AliasTable(np.array([0.24, 0.0, 1.0]), table.alias)
    assert not fits(np.bincount(broken.draw(3_000_000, np.random.default_rng(11)), minlength=3),
                    [float(p) for p in implied(table)])  # fmt: skip


# --- pairs and preferences ---


@pytest.mark.parametrize("size", [900, 180_000])
@pytest.mark.parametrize("name", PROPOSALS)
def test_pairs_fit(name, size):
    """Ordered pairs have the probabilities of the proposal's matrix, repeated, reversed and diagonal ones included."""
    rng = np.random.default_rng(12)
    drawn = [pb.sample_pairs(PROPOSALS[name], 4, size, rng=rng) for _ in range(180_000 // size)]
    x_a, x_b = (np.concatenate(part) for part in zip(*drawn, strict=True))
    assert fits(tally(4, x_a, x_b), PROPOSALS[name].matrix(4))


def test_pairs_of_a_list_may_leave_outcomes_out():
    """The support may be larger than what the list names."""
    x_a, x_b = pb.sample_pairs(pb.PairListProposal([3], [3]), 100, 5, rng=0)
    assert x_a.tolist() == x_b.tolist() == [3] * 5


@pytest.mark.parametrize("name", MODELS)
def test_preferences_fit(name):
    """Every pair, 20,000 times: the shares of wins are the annotator's probabilities; certain ones are certain."""
    model = MODELS[name]
    a, b = np.divmod(np.tile(np.arange(16), 20_000), 4)
    won = pb.sample_preferences(model, a, b, rng=13)
    wins = tally(4, a[won], b[won]).reshape(4, 4)
    probabilities = model.preference_probabilities()
    assert all(fits([w, 20_000 - w], [p, 1.0 - p]) for w, p in zip(wins.ravel(), probabilities.ravel(), strict=True))


def test_many_answers_are_those_of_few():
    """Looked up in a table or computed, answers are the same bytes; an undefined pair that nobody asks does no harm."""
    rng = np.random.default_rng(41)
    a, b = rng.integers(20, size=(2, 40_000))
    for model in (luce(rng.exponential(size=20)), luce([*rng.exponential(size=18), 0.0, 0.0])):
        asked = (a < 18) | (b < 18)
        together = pb.sample_preferences(model, a[asked], b[asked], rng=42)
        generator = np.random.default_rng(42)
        parts = [slice(k, k + 350) for k in range(0, together.size, 350)]  # fewer questions than there are pairs
        apart = [pb.sample_preferences(model, a[asked][part], b[asked][part], rng=generator) for part in parts]
        assert np.array_equal(together, np.concatenate(apart))


def test_preferences_are_independent():
    """Answers to the same question, asked twice in a row, have the product distribution."""
    won = pb.sample_preferences(MODELS["single"], np.zeros(200_000, int), np.full(200_000, 3), rng=14).astype(int)
    assert fits(tally(2, won[::2], won[1::2]), np.multiply.outer([0.8, 0.2], [0.8, 0.2]))


def test_preferences_notice_a_biased_annotator():
    """Control: wins drawn with the odds 1.02 : 4 do not fit 1 : 4."""
    won = pb.sample_preferences(luce([1.02, 4]), np.zeros(800_000, int), np.ones(800_000, int), rng=15)
    assert not fits([won.sum(), (~won).sum()], [0.2, 0.8])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", PROPOSALS)
def test_comparisons_fit(name, model):
    """Pairs and answers together: (A, B, y) has probability q(A, B) P(A, B)."""
    drawn = pb.sample_comparisons(MODELS[model], PROPOSALS[name], 60_000, rng=16)
    p, q = MODELS[model].preference_probabilities(), PROPOSALS[name].matrix(4)
    cells = np.stack([q * (1.0 - p), q * p])
    observed = np.bincount(16 * drawn.y + 4 * drawn.x_a + drawn.x_b, minlength=32)
    assert fits(observed, cells)


def test_comparisons_name_chosen_and_rejected():
    """`chosen` is x_a where y is true, `rejected` the other one."""
    drawn = pb.Comparisons(np.array([0, 1]), np.array([2, 3]), np.array([True, False]))
    assert drawn.chosen.tolist() == [0, 3]
    assert drawn.rejected.tolist() == [2, 1]


# --- aggregated counts ---


@pytest.mark.parametrize("name", PROPOSALS)
def test_counts_have_the_exact_distribution(name):
    """Two comparisons of four outcomes: each of the possible tables occurs as often as enumeration says."""
    cells = win_cells(MODELS["matrix"], PROPOSALS[name])
    pmf = exact_counts_pmf(cells.ravel().tolist(), 2)
    rng, seen = np.random.default_rng(17), dict.fromkeys(pmf, 0)
    for _ in range(4000):
        seen[tuple(pb.sample_counts(MODELS["matrix"], PROPOSALS[name], 2, rng=rng).ravel().tolist())] += 1
    assert fits(list(seen.values()), list(pmf.values()))


@pytest.mark.parametrize("draw", ["counts", "comparisons"])
def test_counts_and_counted_comparisons_agree(draw):
    """Five comparisons of two outcomes: both ways to the table have the enumerated distribution of all 56 tables."""
    annotator, proposal = luce([3, 1]), pb.JointProposal([[1, 3], [4, 2]])
    pmf = exact_counts_pmf(win_cells(annotator, proposal).ravel().tolist(), 5)
    rng, seen = np.random.default_rng(18), dict.fromkeys(pmf, 0)
    for _ in range(4000):
        if draw == "counts":
            table = pb.sample_counts(annotator, proposal, 5, rng=rng).ravel()
        else:
            drawn = pb.sample_comparisons(annotator, proposal, 5, rng=rng)
            table = tally(2, drawn.chosen, drawn.rejected)
        seen[tuple(table.tolist())] += 1
    assert len(pmf) == 56
    assert fits(list(seen.values()), list(pmf.values()))


def test_enumeration_notices_a_wrong_dependence():
    """Control: tables with the right means but drawn cell by cell (independent Poisson) do not fit."""
    cells = win_cells(luce([3, 1]), pb.JointProposal([[1, 3], [4, 2]])).ravel()
    pmf = exact_counts_pmf(cells.tolist(), 5)
    rng = np.random.default_rng(19)
    drawn = (tuple(row) for row in rng.poisson(5 * cells, size=(4000, 4)).tolist())
    seen = dict.fromkeys(pmf, 0)
    for table in drawn:
        if sum(table) == 5:
            seen[table] += 1
    assert fits(list(seen.values()), list(pmf.values()))  # a Poisson table of the right sum is multinomial, …
    rounded = dict.fromkeys(pmf, 0)
    for row in rng.binomial(5, cells, size=(4000, 4)).tolist():
        if sum(row) == 5:
            rounded[tuple(row)] += 1
    assert not fits(list(rounded.values()), list(pmf.values()))  # … one of independent binomials is not


@pytest.mark.parametrize("size", [10**6, 10**12])
def test_counts_have_the_right_moments(size):
    """Means, variances and covariances over 4,000 tables; each entry's distribution is normal at this size."""
    annotator, proposal = luce([3, 1, 2]), pb.JointProposal([[1, 3, 0], [4, 0, 1], [0, 2, 1]])
    cells = win_cells(annotator, proposal).ravel()
    rng = np.random.default_rng(20)
    tables = np.array([pb.sample_counts(annotator, proposal, size, rng=rng).ravel() for _ in range(4000)])
    assert np.all(tables.sum(axis=1) == size)
    deviation = np.sqrt(size * cells * (1.0 - cells))
    for column, p, s in zip(tables.T, cells, deviation, strict=True):
        assert np.all(column == 0) if p == 0.0 else normal_p_value(column, size * p, s) > ALARM
    used = cells > 0.0
    covariance = np.cov(tables[:, used].T) / size
    expected = np.diag(cells[used]) - np.multiply.outer(cells[used], cells[used])
    # The standard deviation of a sample covariance is √((ΣᵢᵢΣⱼⱼ + Σᵢⱼ²) / draws); 49 entries at 1e-6 are 5.7 of them.
    noise = np.sqrt((np.multiply.outer(expected.diagonal(), expected.diagonal()) + expected**2) / 4000)
    assert np.all(np.abs(covariance - expected) <= 5.7 * noise)


def test_counts_of_many_blocks_fit():
    """600 outcomes are several blocks of pairs: the outcomes' numbers of wins and of appearances fit."""
    rng = np.random.default_rng(21)
    annotator, proposal = luce(rng.exponential(size=600)), pb.ProductProposal(rng.exponential(size=600))
    assert sum(1 for _ in proposal.blocks(600)) > 2
    counts = pb.sample_counts(annotator, proposal, 10**7, rng=22)
    cells = win_cells(annotator, proposal)
    for axis in (0, 1):
        assert fits(counts.sum(axis=axis), cells.sum(axis=axis))
    assert fits(counts, cells)


def test_huge_counts_are_exact():
    """2^62 comparisons: the sum is exact, entries are normal, and their last twelve bits are uniform."""
    annotator, proposal = luce([2, 1]), pb.JointProposal([[0, 1], [2, 0]])
    rng = np.random.default_rng(23)
    tables = np.array([pb.sample_counts(annotator, proposal, 2**62, rng=rng).ravel() for _ in range(60)])
    assert all(sum(row) == 2**62 for row in tables.tolist())
    assert np.all(tables[:, [0, 3]] == 0)
    from_mean = [value - 2 * 2**62 // 3 for value in tables[:, 1].tolist()]
    assert normal_p_value(from_mean, 0, math.sqrt(2**62 * 2 / 9)) > ALARM
    bits = np.concatenate([(tables[:, 1] >> shift) & 7 for shift in (0, 3, 6, 9)])
    assert fits(np.bincount(bits, minlength=8), np.full(8, 1 / 8))


def test_huge_counts_keep_zero_weights_at_zero():
    """2^62 comparisons and pairs of weight 0 at the end: rounding does not reach them."""
    weights = np.diag([0.1] * 10, k=1)
    counts = pb.sample_counts(luce(np.ones(11)), pb.JointProposal(weights), 2**62, rng=24)
    asked = (weights + weights.T) > 0.0
    assert np.all(counts[~asked] == 0)
    assert np.all(counts[asked] > 0)
    drawn = draw_multinomial(2**62, np.array([0.1] * 10 + [0.0]), np.random.default_rng(25))
    assert drawn[-1] == 0
    assert sum(drawn.tolist()) == 2**62
    deviations = (drawn[:10] / 2**62 - 0.1) * 2**31 / 0.3
    assert np.all(np.abs(deviations) < 6)


@pytest.mark.parametrize(("n", "p"), [(7, 0.3), (40, 0.9), (1000, 0.25), (10**6, 2e-6), (2**62, 10 * 2.0**-62)])
def test_binomials_are_exact(n, p):
    """Draws with odds p : 1 − p have the binomial probabilities, for rare successes and rare failures, at any n."""
    rng = np.random.default_rng(26)
    repeats = 100_000 if n < 2**40 else 40
    pmf = stats.binom(n, p).pmf(np.arange(1001)) if n < 2**40 else stats.poisson(n * p).pmf(np.arange(1001))
    won, lost = np.full(repeats, p), np.full(repeats, 1.0 - p)
    drawn = draw_binomial(np.full(repeats, n), won, lost, rng)
    assert fits(np.bincount(drawn, minlength=1001), pmf)
    failures = n - draw_binomial(np.full(repeats, n), lost, won, rng)
    assert fits(np.bincount(failures, minlength=1001), pmf)


def test_binomials_of_rare_losses_keep_their_digits():
    """Odds 1 : 1e-17 at n = 2^62 are 46 losses on average, although 1 − 1e-17 is 1."""
    n, rng = np.full(60, 2**62), np.random.default_rng(27)
    losses = 2**62 - draw_binomial(n, np.ones(60), np.full(60, 1e-17), rng)
    assert stats.kstest((losses + rng.random(60) - 0.5 - 46.1168) / math.sqrt(46.1168), "norm").pvalue > 1e-4
    assert abs(losses.mean() - 46.1168) < 5 * math.sqrt(46.1168 / 60)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9).filter(any), st.integers(0, 2**62), st.integers(0, 99))
def test_multinomials_add_up(weights, count, seed):
    """Counts are non-negative, sum to the total exactly, and are zero where the weight is."""
    drawn = draw_multinomial(count, np.array(weights, dtype=float), np.random.default_rng(seed)).tolist()
    assert sum(drawn) == count
    assert min(drawn) >= 0
    assert all(k == 0 for k, w in zip(drawn, weights, strict=True) if w == 0)


# --- optimal policies by rejection ---

REFERENCE = pb.FiniteDistribution.from_weights([4, 3, 2, 1, 0])


@pytest.mark.parametrize(
    ("rewards", "beta"),
    [
        ([0.0, 1.0, -1.0, 2.0, 0.0], 1.0),
        ([0.0, 1.0, -1.0, 2.0, 9.0], 0.5),  # the largest reward where the reference has nothing
        ([0.0, -INF, 0.0, 1.0, 0.0], 2.0),
        ([1e308, -1e308, 1e308, -INF, 0.0], 1e-3),
        ([5.0] * 5, 1e-300),
    ],
)
def test_policies_fit(rewards, beta):
    """Accepted draws have the distribution of Eq. (13), and the acceptance is the share it should be."""
    sample = pb.sample_optimal_policy(REFERENCE, rewards, beta, 50_000, rng=28)
    with np.errstate(over="ignore"):
        lift = np.where(REFERENCE.pmf > 0, (np.array(rewards) - np.max(rewards[:4])) / beta, -INF)
    weights = REFERENCE.pmf * np.exp(lift)
    assert sample.outcomes.size == 50_000
    assert fits(np.bincount(sample.outcomes, minlength=5), weights / weights.sum())
    assert math.isclose(sample.acceptance, weights.sum(), rel_tol=1e-14)
    # The number of rejections before the 50,000th acceptance is negative binomial.
    rejections = stats.nbinom(50_000, min(weights.sum(), 1.0))
    if weights.sum() < 1.0 - 1e-12:
        assert ALARM < rejections.cdf(sample.proposed - 50_000) < 1.0 - ALARM
    else:
        assert sample.proposed == 50_000


def test_policy_agrees_with_tilt():
    """The same distribution as `tilt`; control: that of another beta does not fit."""
    rewards = [0.0, 1.0, -1.0, 2.0, 0.0]
    counts = np.bincount(pb.sample_optimal_policy(REFERENCE, rewards, 2.0, 100_000, rng=29).outcomes, minlength=5)
    assert fits(counts, pb.tilt(REFERENCE, rewards, 2.0).pmf)
    assert not fits(counts, pb.tilt(REFERENCE, rewards, 2.2).pmf)


def test_number_of_proposals_is_negative_binomial():
    """3,000 samples of 3 draws: `proposed` has the exact distribution of a waiting time."""
    rng, p = np.random.default_rng(30), pb.uniform("ab")
    proposed = [pb.sample_optimal_policy(p, [0.0, -INF], 1.0, 3, rng=rng).proposed for _ in range(3000)]
    assert fits(np.bincount(proposed, minlength=80)[3:80], stats.nbinom(3, 0.5).pmf(np.arange(77)))


def test_policy_that_the_reference_hardly_reaches_is_refused():
    """An outcome of log-probability −1,000 that carries all of the optimal policy is not silently left out."""
    reference = pb.FiniteDistribution([0.0, -1000.0])
    with pytest.raises(ValueError, match=r"must leave an acceptance of at least 1e-8; got exp\(-1000\) for beta"):
        pb.sample_optimal_policy(reference, [0.0, 3000.0], 1.0, 1, rng=0)
    assert pb.sample_optimal_policy(reference, [0.0, 1.0], 1.0, 3, rng=0).outcomes.tolist() == [0, 0, 0]


# --- Barker's chain ---

KERNEL = np.array([[0.2, 0.8, 0.0, 0.0], [0.3, 0.0, 0.3, 0.4], [0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])


@pytest.mark.parametrize("name", MODELS)
def test_chain_steps_fit_the_transition_matrix(name):
    """60,000 chains from each state: after one step and after three, the exact transition probabilities."""
    transition = pb.barker_transition_matrix(MODELS[name], KERNEL)
    start = np.repeat(np.arange(4), 60_000)
    states = pb.sample_barker_chain(MODELS[name], KERNEL, 3, start=start, rng=31)
    assert states.shape == (4, 240_000)
    assert np.array_equal(states[0], start)
    for steps in (1, 3):
        counts = tally(4, start, states[steps]).reshape(4, 4)
        power = np.linalg.matrix_power(transition, steps)
        assert all(fits(row, p) for row, p in zip(counts, np.where(power < 1e-15, 0.0, power), strict=True))


def test_chain_is_markov():
    """Two steps of one chain are independent given the state between them."""
    transition = pb.barker_transition_matrix(MODELS["single"], KERNEL)
    _, first, second = pb.sample_barker_chain(MODELS["single"], KERNEL, 2, start=np.zeros(200_000, int), rng=32)
    assert fits(tally(4, first, second), transition[0][:, None] * transition)


def test_chain_samples_the_preference_distribution():
    """A symmetric kernel and a Luce annotator: p* after 60 steps; control: not with a kernel that is not symmetric."""
    annotator, start = luce([4, 3, 2, 1]), np.zeros(60_000, int)
    uniform = np.full((4, 4), 0.25)
    last = pb.sample_barker_chain(annotator, uniform, 60, start=start, rng=33)[-1]
    assert fits(np.bincount(last, minlength=4), [0.4, 0.3, 0.2, 0.1])
    lopsided = np.tile([0.4, 0.2, 0.2, 0.2], (4, 1))
    last = pb.sample_barker_chain(annotator, lopsided, 60, start=start, rng=34)[-1]
    assert not fits(np.bincount(last, minlength=4), [0.4, 0.3, 0.2, 0.1])


# --- seeds and sizes ---

SAMPLERS = {
    "few outcomes": lambda size, rng: pb.sample_outcomes([1, 2, 3], size, rng=rng),
    "many outcomes": lambda size, rng: pb.sample_outcomes([1, 2, 3], 1000 * size, rng=rng),
    "product": lambda size, rng: pb.sample_pairs(PROPOSALS["product"], 4, size, rng=rng),
    "two products": lambda size, rng: pb.sample_pairs(PROPOSALS["two products"], 4, size, rng=rng),
    "joint": lambda size, rng: pb.sample_pairs(PROPOSALS["joint"], 4, size, rng=rng),
    "pair list": lambda size, rng: pb.sample_pairs(PROPOSALS["pair list"], 4, size, rng=rng),
    "preferences": lambda size, rng: pb.sample_preferences(MIXTURE, [0] * size, [1] * size, rng=rng),
    "comparisons": lambda size, rng: list(
        vars(pb.sample_comparisons(MIXTURE, PROPOSALS["product"], size, rng=rng)).values()
    ),
    "policy": lambda size, rng: pb.sample_optimal_policy(REFERENCE, [0, 1, 2, 3, 4], 1.0, size, rng=rng).outcomes,
    "chain": lambda size, rng: pb.sample_barker_chain(MIXTURE, KERNEL, size, start=[0, 3], rng=rng)[1:],
}


def as_bytes(drawn):
    return b"".join(np.asarray(part).tobytes() for part in (drawn if isinstance(drawn, (tuple, list)) else [drawn]))


def counts_bytes(rng):
    return pb.sample_counts(MIXTURE, PROPOSALS["pair list"], 10**15, rng=rng).tobytes()


@pytest.mark.parametrize("name", SAMPLERS)
def test_equal_seeds_give_equal_bytes(name):
    """A seed, and a generator with that seed, give the same bytes every time; other seeds do not; the next draws of
    one generator are new.
    """
    draw = SAMPLERS[name]
    first = as_bytes(draw(64, 7))
    assert first == as_bytes(draw(64, 7)) == as_bytes(draw(64, np.random.default_rng(7)))
    assert first != as_bytes(draw(64, 8))
    assert first != as_bytes(draw(64, None))
    generator = np.random.default_rng(7)
    assert as_bytes(draw(64, generator)) != as_bytes(draw(64, generator))


def test_equal_seeds_give_equal_counts():
    """The same for aggregated counts, of a size where they are put together from parts."""
    assert counts_bytes(7) == counts_bytes(7) == counts_bytes(np.random.default_rng(7))
    assert len({counts_bytes(8), counts_bytes(7), counts_bytes(None)}) == 3


def test_global_generator_is_left_alone():
    """No sampler reads or moves NumPy's global generator."""
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for draw in SAMPLERS.values():
        draw(3, 0)
    counts_bytes(0)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", SAMPLERS)
def test_nothing_may_be_drawn(name):
    """Size 0 gives empty arrays of the usual dtype."""
    drawn, usual = SAMPLERS[name](0, 0), SAMPLERS[name](1, 0)
    parts, others = (p if isinstance(p, (tuple, list)) else [p] for p in (drawn, usual))
    assert all(part.size == 0 and part.dtype == other.dtype for part, other in zip(parts, others, strict=True))


def test_no_comparisons_count_nothing():
    """Size 0 gives a table of zeros; a size of 1 has a single 1."""
    assert pb.sample_counts(MIXTURE, PROPOSALS["joint"], 0, rng=0).tolist() == np.zeros((4, 4), int).tolist()
    assert sorted(pb.sample_counts(MIXTURE, PROPOSALS["joint"], 1, rng=0).ravel().tolist()) == [0] * 15 + [1]


def test_one_outcome():
    """A support of one outcome: it is all that is ever drawn, and comparisons with itself are coin flips."""
    alone = luce([1.0])
    proposal = pb.ProductProposal([1.0])
    assert pb.sample_counts(alone, proposal, 2**62, rng=0).tolist() == [[2**62]]
    drawn = pb.sample_comparisons(alone, proposal, 10_000, rng=0)
    assert not drawn.x_a.any()
    assert not drawn.x_b.any()
    assert fits([drawn.y.sum(), (~drawn.y).sum()], [0.5, 0.5])
    assert pb.sample_barker_chain(alone, [[1.0]], 4, rng=0).tolist() == [[0]] * 5
    assert pb.sample_optimal_policy(pb.uniform(["x"]), [3.0], 1.0, 2, rng=0).outcomes.tolist() == [0, 0]


def test_pairs_of_weight_zero_are_never_asked():
    """An undefined preference does no harm where the proposal does not draw it, and is an error where it does."""
    annotator = luce([1, 0, 0])
    counts = pb.sample_counts(annotator, pb.JointProposal([[0, 1, 1], [0, 0, 0], [0, 0, 0]]), 100, rng=0)
    assert counts.tolist() == [[0, *counts[0, 1:].tolist()], [0, 0, 0], [0, 0, 0]]
    assert counts[0].sum() == 100
    with pytest.raises(ValueError, match=r"must not be the same infinity at both outcomes of a pair"):
        pb.sample_counts(annotator, pb.JointProposal([[0, 0, 0], [0, 0, 1], [0, 0, 0]]), 100, rng=0)
    with pytest.raises(ValueError, match=r"must not be the same infinity .* got -inf at indices 1 and 2"):
        pb.sample_preferences(annotator, [0, 1], [1, 2], rng=0)


def test_results_do_not_share_memory_with_the_proposal():
    """Drawn pairs may be written to without changing the proposal."""
    proposal = pb.PairListProposal([0], [1])
    x_a, _ = pb.sample_pairs(proposal, 2, 3, rng=0)
    x_a[:] = 9
    assert proposal.x_a.tolist() == [0]


# --- wrong arguments ---

JOINT, LUCE2 = pb.JointProposal([[0, 1], [1, 0]]), luce([1, 2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pb.sample_outcomes([], 1), ValueError, r"`weights` must be a vector with at least one entry"),
        (lambda: pb.sample_outcomes([[1.0]], 1), ValueError, r"`weights` must be a vector .* got shape \(1, 1\)"),
        (lambda: pb.sample_outcomes([1, -1], 1), ValueError, r"`weights` must be non-negative; got -1.0 at index 1"),
        (lambda: pb.sample_outcomes([1, NAN], 1), ValueError, r"`weights` must be free of NaN; got nan at index 1"),
        (lambda: pb.sample_outcomes([1, INF], 1), ValueError, r"`weights` must be finite; got inf at index 1"),
        (lambda: pb.sample_outcomes([0, 0], 1), ValueError, r"`weights` must have positive mass"),
        (lambda: pb.sample_outcomes("ab", 1), TypeError, r"`weights` must be an array of real numbers"),
        (lambda: pb.sample_outcomes([1], -1), ValueError, r"`size` must be at least 0; got -1"),
        (lambda: pb.sample_outcomes([1], 1.5), TypeError, r"`size` must be a whole number; got 1.5"),
        (lambda: pb.sample_outcomes([1], 1, rng="x"), TypeError, r"`rng` must be .* a seed; got 'x'"),
        (lambda: pb.sample_outcomes([1], 1, rng=-1), ValueError, r"`rng` must be .* a seed; got -1"),
        (lambda: pb.sample_pairs([[1]], 1, 1), TypeError, r"`proposal` must be a proposal; got list"),
        (lambda: pb.sample_pairs(JOINT, 3, 1), ValueError, r"`proposal` must have 3 outcomes, .* got 2"),
        (lambda: pb.sample_pairs(JOINT, 0, 1), ValueError, r"`support_size` must be at least 1; got 0"),
        (lambda: pb.sample_pairs(JOINT, 2, -1), ValueError, r"`size` must be at least 0; got -1"),
        (lambda: pb.sample_pairs(pb.ProductProposal([1, 1]), 3, 1), ValueError, r"`proposal` must have 3 outcomes"),
        (lambda: pb.sample_pairs(pb.PairListProposal([0], [5]), 2, 1), ValueError,
         r"`proposal.x_b` must be an index below the number of outcomes, 2; got 5 at index 0"),
        (lambda: pb.sample_preferences(None, [0], [0]), TypeError, r"`annotator` must be an annotator; got NoneType"),
        (lambda: pb.sample_preferences(LUCE2, [0], [0, 1]), ValueError, r"`x_b` must have one entry for each .* got 2"),
        (lambda: pb.sample_preferences(LUCE2, [0, 2], [0, 1]), ValueError, r"`x_a` must be an index below .* 2; got 2"),
        (lambda: pb.sample_preferences(LUCE2, [0], [-1]), ValueError, r"`x_b` must be non-negative; got -1 at index 0"),
        (lambda: pb.sample_preferences(LUCE2, [0.0], [1.0]), TypeError, r"`x_a` must be a vector of whole numbers"),
        (lambda: pb.sample_preferences(LUCE2, [[0]], [[1]]), TypeError, r"`x_a` must be a vector of whole numbers"),
        (lambda: pb.sample_comparisons("x", JOINT, 1), TypeError, r"`annotator` must be an annotator; got str"),
        (lambda: pb.sample_comparisons(LUCE2, "x", 1), TypeError, r"`proposal` must be a proposal; got str"),
        (lambda: pb.sample_comparisons(LUCE2, JOINT, -3), ValueError, r"`size` must be at least 0; got -3"),
        (lambda: pb.sample_comparisons(LUCE2, JOINT, 1, rng="x"), TypeError, r"`rng` must be"),
        (lambda: pb.sample_counts("x", JOINT, 1), TypeError, r"`annotator` must be an annotator; got str"),
        (lambda: pb.sample_counts(LUCE2, [[1]], 1), TypeError, r"`proposal` must be a proposal; got list"),
        (lambda: pb.sample_counts(LUCE2, JOINT, 2**62 + 1), ValueError, r"`size` must be at most 2\*\*62; got 4611"),
        (lambda: pb.sample_counts(LUCE2, JOINT, 1e9), TypeError, r"`size` must be a whole number; got 1000000000.0"),
        (lambda: pb.sample_counts(MIXTURE, JOINT, 1), ValueError, r"`proposal` must have 4 outcomes, .* got 2"),
        (lambda: pb.sample_optimal_policy([1], [1], 1.0, 1), TypeError, r"`reference` must be a FiniteDistribution"),
        (lambda: pb.sample_optimal_policy(REFERENCE, [1], 1.0, 1), ValueError, r"`rewards` must have 5 outcomes"),
        (lambda: pb.sample_optimal_policy(REFERENCE, [INF, 0, 0, 0, 0], 1.0, 1), ValueError,
         r"`rewards` must be below \+inf; got inf at index 0"),
        (lambda: pb.sample_optimal_policy(REFERENCE, [-INF] * 4 + [0.0], 1.0, 1), ValueError,
         r"`rewards` must be finite at an outcome of positive probability; got -inf"),
        (lambda: pb.sample_optimal_policy(REFERENCE, [0] * 5, 0.0, 1), ValueError, r"`beta` must be positive; got 0"),
        (lambda: pb.sample_optimal_policy(pb.FiniteDistribution([0.0, -20.0]), [0.0, 99.0], 1.0, 1), ValueError,
         r"`beta` must leave an acceptance of at least 1e-8; got 2.1e-09 for beta = 1.0"),
        (lambda: pb.sample_barker_chain("x", [[1]], 1), TypeError, r"`annotator` must be an annotator; got str"),
        (lambda: pb.sample_barker_chain(LUCE2, [[1]], 1), ValueError, r"`kernel` must have 2 outcomes, .* got 1"),
        (lambda: pb.sample_barker_chain(LUCE2, [[2, -1], [0, 1]], 1), ValueError,
         r"`kernel` must be non-negative; got -1.0 at index \(0, 1\)"),
        (lambda: pb.sample_barker_chain(LUCE2, [[1, 1], [0, 1]], 1), ValueError,
         r"`row sums of kernel` must be 1 within 1e-12; got 2.0 at index 0"),
        (lambda: pb.sample_barker_chain(LUCE2, np.eye(2), -1), ValueError, r"`steps` must be at least 0; got -1"),
        (lambda: pb.sample_barker_chain(LUCE2, np.eye(2), 1, start=2), ValueError, r"`start` must be an index below"),
        (lambda: pb.sample_barker_chain(LUCE2, np.eye(2), 1, start=-1), ValueError, r"`start` must be non-negative"),
        (lambda: pb.sample_barker_chain(LUCE2, np.eye(2), 1, start=0.0), TypeError, r"`start` must be a vector of"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(call, error, message):
    """The message names the argument, the rule and what came; before anything is drawn."""
    with pytest.raises(error, match=message):
        call()
