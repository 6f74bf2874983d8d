"""Maximum likelihood from comparisons: against hand, loops, scipy's minimiser, the population's solver and choix."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

import pbde_ref as pb
from pbde_ref.estimation import (
    GaussianPrior,
    NoFiniteEstimateError,
    PseudoCounts,
    fit_comparisons,
    stigler_citations,
)
from pbde_ref.estimation.connectivity import groups, strongly_connected
from pbde_ref.estimation.dense_tally import dense_tally
from pbde_ref.estimation.newton import maximize
from pbde_ref.estimation.sparse_tally import sparse_tally

NAN, INF = math.nan, math.inf
PRIORS = [None, GaussianPrior(1.5), PseudoCounts(0.75)]


def softplus(z):
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def cost_by_loop(utilities, counts, prior=None):
    """−log-likelihood − log-prior, transcribed."""
    total = 0.0
    for a, b in itertools.permutations(range(len(counts)), 2):
        total += counts[a][b] * softplus(utilities[b] - utilities[a])
    if isinstance(prior, GaussianPrior):
        total += sum(u * u / (2 * prior.scale**2) for u in utilities)
    if isinstance(prior, PseudoCounts):
        total += sum(prior.count * (softplus(u) + softplus(-u)) for u in utilities)
    return total


def by_scipy(counts, prior=None):
    """Utilities by a quasi-Newton method that knows the cost alone; mean zero without a prior."""
    found = minimize(cost_by_loop, np.zeros(len(counts)), (counts, prior), method="BFGS", options={"gtol": 1e-9})
    return found.x - (found.x.mean() if prior is None else 0.0)


def random_counts(seed, n=5, most=6):
    """Integer counts of wins, with a cycle through all items so that an estimate exists."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, most, (n, n)) * (rng.random((n, n)) < 0.6)
    counts[np.arange(n), (np.arange(n) + 1) % n] += 1
    np.fill_diagonal(counts, 0)
    return counts


def as_list(counts):
    """Winner and loser of every single comparison."""
    winner, loser = np.nonzero(counts)
    times = np.asarray(counts)[winner, loser].astype(int)
    return np.repeat(winner, times), np.repeat(loser, times)


def drawn(n, m, seed, spread=1.0):
    """Comparisons of random pairs with normal utilities."""
    rng = np.random.default_rng(seed)
    truth = spread * rng.normal(size=n)
    a = rng.integers(0, n, m)
    b = (a + rng.integers(1, n, m)) % n
    won = rng.random(m) < 1 / (1 + np.exp(truth[b] - truth[a]))
    return np.where(won, a, b), np.where(won, b, a), truth


def criterion_by_loop(utilities, counts):
    gradient, games = np.zeros(len(counts)), np.zeros(len(counts))
    for a, b in itertools.permutations(range(len(counts)), 2):
        lost = 1 / (1 + math.exp(utilities[a] - utilities[b]))
        gradient[a] -= counts[a][b] * lost
        gradient[b] += counts[a][b] * lost
        games[[a, b]] += counts[a][b]
    return np.max(np.abs(gradient) / games)


# --- By hand ---


def test_two_items_by_hand():
    """3 wins to 1: ω = ±½ log 3, p = (3/4, 1/4), log-likelihood 3 log ¾ + log ¼, se of the difference √(1/3 + 1)."""
    fit = fit_comparisons([0, 0, 1, 0], [1, 1, 0, 1])
    assert fit.converged
    # The criterion of 1e-10 leaves about that much of a utility, and its square of the likelihood.
    np.testing.assert_allclose(fit.utilities, [0.5 * math.log(3), -0.5 * math.log(3)], rtol=1e-9)
    np.testing.assert_allclose(fit.distribution.pmf, [0.75, 0.25], rtol=1e-9)
    assert fit.log_likelihood == pytest.approx(3 * math.log(0.75) + math.log(0.25), rel=1e-14)
    assert fit.standard_errors(relative_to=1)[0] == pytest.approx(math.sqrt(4 / 3), rel=1e-9)
    assert fit.n_comparisons == 4
    np.testing.assert_array_equal(fit.comparisons, [4, 4])
    np.testing.assert_array_equal(fit.wins, [3, 1])


def test_stigler_citations():
    """The published estimates, and the standard errors that textbooks give for differences from Biometrika."""
    journals, counts = stigler_citations()
    fit = fit_comparisons(counts=counts, support=journals)
    np.testing.assert_allclose(fit.relative_utilities(0), [0, -2.9491, -0.4796, 0.2690], atol=5e-5)
    np.testing.assert_allclose(fit.standard_errors(relative_to=0), [0, 0.10255, 0.06059, 0.07083], atol=5e-5)
    assert fit.distribution.support.tolist() == ["Biometrika", "Comm. Statist.", "JASA", "JRSS-B"]


def test_stigler_control():
    """Control: citing for cited turns every sign."""
    fit = fit_comparisons(counts=stigler_citations()[1].T)
    np.testing.assert_allclose(fit.relative_utilities(0), [0, 2.9491, 0.4796, -0.2690], atol=5e-5)


def test_tree_by_hand():
    """Without cycles each pair's proportion is met: utilities add up along the edges."""
    counts = np.zeros((4, 4))
    for a, b, won, lost in ((0, 1, 2, 1), (1, 2, 3, 1), (1, 3, 1, 5)):
        counts[a, b], counts[b, a] = won, lost
    expected = np.array([math.log(2), 0, -math.log(3), math.log(5)])
    np.testing.assert_allclose(fit_comparisons(counts=counts).relative_utilities(1), expected, rtol=1e-11, atol=1e-12)


def test_cycle_by_hand():
    """A beats B beats C beats A as often: nobody is better."""
    fit = fit_comparisons([0, 1, 2], [1, 2, 0])
    np.testing.assert_allclose(fit.utilities, 0.0, atol=1e-15)
    assert fit.log_likelihood == pytest.approx(3 * math.log(0.5))


@pytest.mark.parametrize(
    ("prior", "slope"),
    [(GaussianPrior(2.0), lambda u: u / 4), (PseudoCounts(0.5), lambda u: 0.5 * math.tanh(u / 2))],
)
def test_prior_by_hand(prior, slope):
    """One item that always wins, 7 times: by symmetry ω = (u, −u) with 7 σ(−2u) = the prior's slope at u."""
    u = brentq(lambda u: 7 / (1 + math.exp(2 * u)) - slope(u), 0, 20, xtol=1e-14)
    fit = fit_comparisons([0] * 7, [1] * 7, prior=prior)
    np.testing.assert_allclose(fit.utilities, [u, -u], rtol=1e-9)
    assert fit.converged


@given(st.floats(0.01, 100))
def test_priors_of_equal_curvature(scale):
    """`pseudo_count` is the number of pseudo-counts that bend as much at zero; the slope is the density's."""
    prior, zero = GaussianPrior(scale), np.zeros(1)
    assert PseudoCounts(prior.pseudo_count).curvature(zero)[0] == pytest.approx(prior.curvature(zero)[0])
    assert PseudoCounts(scale).pseudo_count == scale
    u, h = np.array([0.7]), 1e-5
    for each in (prior, PseudoCounts(scale)):
        slope = -(each.log_density(u + h) - each.log_density(u - h)) / (2 * h)
        assert each.slope(u)[0] == pytest.approx(slope, rel=1e-6)
        bend = (each.slope(u + h) - each.slope(u - h)) / (2 * h)
        assert each.curvature(u)[0] == pytest.approx(bend[0], rel=1e-6)


def test_never_compared_item_has_the_priors_mode():
    fit = fit_comparisons([0, 1], [1, 0], support=["a", "b", "c"], prior=GaussianPrior(3.0))
    assert fit.utilities[2] == 0.0
    np.testing.assert_array_equal(fit.components, [0, 0, 1])


# --- Independent paths ---


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scipy(seed, prior):
    """A quasi-Newton method on the transcribed cost finds the same utilities and cost."""
    counts = random_counts(seed)
    fit = fit_comparisons(counts=counts, prior=prior)
    # BFGS with numerical gradients leaves some 1e-6.
    np.testing.assert_allclose(fit.utilities, by_scipy(counts, prior), atol=3e-5)
    assert -(fit.log_likelihood + fit.log_prior) == pytest.approx(cost_by_loop(fit.utilities, counts, prior), rel=1e-13)
    if prior is None:
        assert criterion_by_loop(fit.utilities, counts) <= 1e-10
        assert criterion_by_loop(fit.utilities + np.eye(5)[0] * 1e-6, counts) > 1e-8  # control


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_population_solver(seed):
    """The estimate is the projection of the observed proportions, each pair drawn as often as it was compared."""
    counts = random_counts(seed, 7).astype(float)
    total = counts + counts.T
    share = np.where(total > 0, counts / np.where(total > 0, total, 1), 0.5)
    a, b = np.nonzero(np.triu(total))
    proposal = pb.PairListProposal(a, b, total[a, b])
    solution = pb.minimize_expected_loss("bradley_terry", pb.PreferenceMatrix(share), proposal)
    fit = fit_comparisons(counts=counts)
    np.testing.assert_allclose(fit.utilities, solution.value, atol=1e-9)
    assert -fit.log_likelihood / fit.n_comparisons == pytest.approx(solution.loss, rel=1e-12)
    covariance = pb.asymptotic_covariance(fit.utilities, proposal, int(total.sum() / 2))
    np.testing.assert_allclose(fit.standard_errors(), np.sqrt(np.diag(covariance)), rtol=1e-9)


def test_agrees_with_choix():
    choix = pytest.importorskip("choix")
    winner, loser, _ = drawn(20, 2000, 0)
    theirs = choix.ilsr_pairwise(20, list(zip(winner.tolist(), loser.tolist(), strict=True)), tol=1e-12)
    np.testing.assert_allclose(fit_comparisons(winner, loser).utilities, theirs - theirs.mean(), atol=1e-7)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_both_tallies_agree(prior, spread):
    """A matrix of pairs and a list of pairs: same derivatives, likelihood and maximum; weights may be fractions."""
    rng = np.random.default_rng(5)
    winner, loser, _ = drawn(40, 3000, 1, spread)
    keep = np.concatenate([winner, np.arange(40)]), np.concatenate([loser, (np.arange(40) + 1) % 40])
    weights = rng.random(keep[0].size) * rng.integers(1, 4, keep[0].size)
    wins, losses = (np.bincount(index, weights, 40) for index in keep)
    dense, sparse = (make(*keep, weights, wins, wins + losses) for make in (dense_tally, sparse_tally))
    for scale in (1.0, 30.0, 2000.0):  # beyond 600 nats exponentials overflow, and another formula takes over
        utilities = scale * rng.normal(size=40)
        (g1, h1), (g2, h2) = (tally.derivatives(utilities, tally.room()) for tally in (dense, sparse))
        np.testing.assert_allclose(g1, g2, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(h1.dense(), h2.dense(), rtol=1e-9, atol=1e-200)
        np.testing.assert_allclose(h1.sparse().toarray(), h2.dense(), rtol=1e-9, atol=1e-200)
        values = rng.normal(size=40)
        np.testing.assert_allclose(h1.neighbours(values), h2.dense() @ values, rtol=1e-9, atol=1e-12)
        assert dense.log_likelihood(utilities) == pytest.approx(sparse.log_likelihood(utilities), rel=1e-12)
    components = None if prior is not None else np.zeros(40, dtype=int)
    one, other = (maximize(tally, prior, components, 1e-10, 100) for tally in (dense, sparse))
    assert one.converged
    assert other.converged
    np.testing.assert_allclose(one.utilities, other.utilities, atol=1e-9)


def test_gradient_is_the_derivative():
    """Central differences of the log-likelihood, and of the gradient."""
    winner, loser, _ = drawn(6, 100, 2)
    wins, losses = (np.bincount(index, minlength=6).astype(float) for index in (winner, loser))
    rng = np.random.default_rng(0)
    for make in (dense_tally, sparse_tally):
        tally = make(winner, loser, None, wins, wins + losses)
        utilities, direction = rng.normal(size=6), rng.normal(size=6)
        gradient, curvature = tally.derivatives(utilities, tally.room())
        ahead, behind = utilities + 1e-5 * direction, utilities - 1e-5 * direction
        slope = (tally.log_likelihood(ahead) - tally.log_likelihood(behind)) / 2e-5
        assert -slope == pytest.approx(gradient @ direction, rel=1e-7)
        bend = (tally.derivatives(ahead, tally.room())[0] - tally.derivatives(behind, tally.room())[0]) / 2e-5
        product = curvature.degree * direction - curvature.neighbours(direction)
        np.testing.assert_allclose(bend, product, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("n", "m"), [(50, 3000), (400, 20_000), (1500, 90_000)])
def test_sizes_between_small_and_large(n, m):
    """Factorised, conjugate gradients on a matrix, on a list: all meet the criterion, computed here once more."""
    winner, loser, truth = drawn(n, m, 3)
    fit = fit_comparisons(winner, loser, support=range(n))
    margin = fit.utilities[winner] - fit.utilities[loser]
    surprise = 1 / (1 + np.exp(margin))
    gradient = np.bincount(winner, surprise, n) - np.bincount(loser, surprise, n)
    games = np.bincount(winner, minlength=n) + np.bincount(loser, minlength=n)
    assert np.max(np.abs(gradient) / games) <= 1e-9
    assert fit.converged
    assert fit.log_likelihood == pytest.approx(-np.log1p(np.exp(-margin)).sum(), rel=1e-12)
    assert np.corrcoef(fit.utilities, truth)[0, 1] > 0.9


@pytest.mark.parametrize("n", [100, 2000, 20_000])
def test_long_chain(n):
    """Neighbours won 2 to 1: log 2 apart, over up to 14,000 nats, where conjugate gradients alone would be lost."""
    a = np.arange(n - 1)
    fit = fit_comparisons(np.concatenate([a, a, a + 1]), np.concatenate([a + 1, a + 1, a]))
    assert fit.converged
    np.testing.assert_allclose(np.diff(fit.utilities), -math.log(2), rtol=1e-8)


def test_star_and_lopsided_weights():
    """Weights from 0.01 to 10,000 on a star: every proportion is met."""
    rng = np.random.default_rng(0)
    won, lost = 10.0 ** rng.uniform(-2, 4, (2, 300))
    outer = np.arange(1, 301)
    hub = np.zeros(300, dtype=int)
    fit = fit_comparisons(
        np.concatenate([hub, outer]), np.concatenate([outer, hub]), np.concatenate([won, lost]), max_steps=200
    )
    np.testing.assert_allclose(fit.relative_utilities(0)[1:], np.log(lost / won), atol=1e-9)


def test_what_cannot_be_resolved_is_not_called_converged():
    """One loss in 10^18 disappears when it is added to the wins."""
    assert not fit_comparisons([0, 1], [1, 0], [1e15, 1e-3]).converged


# --- What an estimate is ---


def test_any_process_has_the_same_utilities():
    """The process turns the same utilities into another distribution, whose preferences are the same."""
    counts = random_counts(1)
    plain = fit_comparisons(counts=counts)
    reference = pb.FiniteDistribution.from_weights([1, 2, 3, 4, 5])
    for process in (
        pb.dpo(0.5, reference),
        pb.geometric_average(0.3, reference),
        pb.length_normalized([1, 2, 3, 4, 5]),
    ):
        fit = fit_comparisons(counts=counts, pbde=process)
        np.testing.assert_allclose(fit.utilities, plain.utilities, atol=1e-12)
        back = pb.Annotator(fit.distribution, process).utility
        np.testing.assert_allclose(back - back.mean(), fit.utilities, atol=1e-10)
        assert pb.total_variation(fit.distribution, plain.distribution) > 0.01
        assert fit.distribution.pmf.sum() == pytest.approx(1.0, abs=1e-12)


def test_ways_to_say_the_same():
    """A list, a weighted list in another order, a matrix with a diagonal, comparisons with itself and zero weights."""
    counts = random_counts(2)
    winner, loser = as_list(counts)
    expected = fit_comparisons(winner, loser).utilities
    a, b = np.nonzero(counts)
    with_more = counts + np.diag([5, 0, 0, 0, 1])
    rows = [
        fit_comparisons(a[::-1], b[::-1], counts[a, b][::-1]),
        fit_comparisons(counts=with_more),
        fit_comparisons(
            np.append(winner, [1, 2]), np.append(loser, [1, 4]), np.append(np.ones(winner.size), [9.0, 0.0])
        ),
        fit_comparisons(winner.astype(np.uint8), loser.astype(np.int16)),
        fit_comparisons(winner.tolist(), loser.tolist()),
    ]
    for fit in rows:
        np.testing.assert_allclose(fit.utilities, expected, atol=1e-12)
        assert fit.n_comparisons == winner.size


def test_small_integer_types_do_not_overflow():
    winner, loser, _ = drawn(200, 4000, 0)
    expected = fit_comparisons(winner, loser).utilities
    np.testing.assert_array_equal(fit_comparisons(winner.astype(np.uint8), loser.astype(np.uint8)).utilities, expected)


@given(st.integers(0, 1 << 30))
def test_relabelling_changes_nothing_but_the_labels(seed):
    """Items in another order have the same utilities in that order."""
    counts, order = random_counts(seed), np.random.default_rng(seed).permutation(5)
    one, other = fit_comparisons(counts=counts), fit_comparisons(counts=counts[np.ix_(order, order)])
    np.testing.assert_allclose(one.utilities[order], other.utilities, atol=1e-9)


@given(st.integers(0, 1 << 30))
def test_scaling_all_weights_scales_only_the_errors(seed):
    """Every comparison four times: same utilities, standard errors halved."""
    counts = random_counts(seed)
    one, four = fit_comparisons(counts=counts), fit_comparisons(counts=4 * counts)
    np.testing.assert_allclose(one.utilities, four.utilities, atol=1e-9)
    np.testing.assert_allclose(one.standard_errors(), 2 * four.standard_errors(), rtol=1e-7)


def test_result_is_read_only():
    fit = fit_comparisons([0, 1], [1, 0])
    for name in ("utilities", "components", "comparisons", "wins"):
        assert not getattr(fit, name).flags.writeable, name
    with pytest.raises(AttributeError):
        fit.converged = False


# --- Errors and intervals ---


def test_intervals_cover_the_truth():
    """Of 400 × 6 intervals at 95 %, 95 % contain the centred truth; control: half as long ones contain 67 %."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=6)
    truth -= truth.mean()
    annotator, proposal = pb.Annotator(pb.FiniteDistribution(truth), pb.luce()), pb.ProductProposal(np.ones(6))
    inside = half = 0
    for child in rng.spawn(400):
        fit = fit_comparisons(counts=pb.sample_counts(annotator, proposal, 600, rng=child))
        low, high = fit.confidence_intervals().T
        inside += np.count_nonzero((low < truth) & (truth < high))
        half += np.count_nonzero(np.abs(truth - fit.utilities) < 0.25 * (high - low))
    # Intervals of one sample are dependent: five standard deviations of 400 independent ones.
    assert abs(inside / 2400 - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 400)
    assert abs(half / 2400 - 0.673) < 5 * math.sqrt(0.67 * 0.33 / 400)


def test_interval_levels():
    fit = fit_comparisons([0, 0, 1], [1, 1, 0])
    for level, z in ((0.95, 1.959963984540054), (0.5, 0.6744897501960817)):
        low, high = fit.confidence_intervals(level)[0]
        np.testing.assert_allclose(
            [low, high], fit.utilities[0] + fit.standard_errors()[0] * np.array([-z, z]), rtol=1e-12
        )


@pytest.mark.parametrize("prior", PRIORS)
def test_single_solves_agree_with_the_whole_covariance(prior):
    """For few of 300 items linear solves are used, for all of them the inverse."""
    winner, loser, _ = drawn(300, 12_000, 4)
    fit = fit_comparisons(winner, loser, prior=prior)
    some = [0, 7, 299]
    np.testing.assert_allclose(fit.standard_errors(some), fit.standard_errors()[some], rtol=1e-6)
    one, all_ = fit.standard_errors(some, relative_to=7), fit.standard_errors(relative_to=7)
    np.testing.assert_allclose(one, all_[some], rtol=1e-6)
    assert one[1] == 0.0
    np.testing.assert_allclose(fit.confidence_intervals(0.9, some), fit.confidence_intervals(0.9)[some], rtol=1e-6)


@pytest.mark.parametrize("prior", PRIORS[1:])
def test_standard_errors_with_a_prior(prior):
    """Inverse of the Hessian by numerical differences of the transcribed cost, seen from the mean."""
    counts = random_counts(3)
    fit = fit_comparisons(counts=counts, prior=prior)
    step, eye = 1e-3, np.eye(5)
    hessian = np.array(
        [
            [
                sum(
                    s * t * cost_by_loop(fit.utilities + step * (s * eye[i] + t * eye[j]), counts, prior)
                    for s in (1, -1) for t in (1, -1)
                ) / (4 * step * step)
                for j in range(5)
            ]
            for i in range(5)
        ]
    )  # fmt: skip
    centre = eye - 0.2
    covariance = centre @ np.linalg.inv(hessian) @ centre
    np.testing.assert_allclose(fit.standard_errors(), np.sqrt(np.diag(covariance)), rtol=1e-4)


def test_standard_errors_of_near_and_far_items():
    """10^16 answers about 0–1, four about 1–2, half of them each way: 1/√(N/4), also where that is small."""
    counts = np.array([[0, 5e15, 0], [5e15, 0, 2], [0, 2, 0]])
    fit = fit_comparisons(counts=counts)
    np.testing.assert_allclose(fit.standard_errors(relative_to=0), [0.0, 2e-8, 1.0], rtol=1e-12)
    np.testing.assert_allclose(fit.standard_errors(relative_to=2), [1.0, 1.0, 0.0], rtol=1e-12)


def test_many_items_want_a_choice():
    a = np.arange(5000)
    fit = fit_comparisons(np.append(a, a), np.append((a + 1) % 5000, (a + 2) % 5000))
    with pytest.raises(ValueError, match=r"`items` must be given beyond 4096 items.*got 5000 items"):
        fit.standard_errors()
    assert fit.standard_errors([0, 1]).shape == (2,)


# --- Existence ---


def reachable(arrows, n):
    """Transitive closure by Warshall's algorithm."""
    closure = np.eye(n, dtype=bool)
    closure[tuple(np.array(arrows).T)] = True
    for k in range(n):
        closure |= closure[:, [k]] & closure[[k], :]
    return closure


ARROWS = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(
            st.tuples(st.integers(0, n - 1), st.integers(1, n - 1)).map(lambda t: (t[0], (t[0] + t[1]) % n)),
            min_size=1, max_size=14,
        ),
    )
)  # fmt: skip


@given(ARROWS)
def test_estimate_exists_exactly_when_all_items_reach_each_other(problem):
    """Ford's condition, by another algorithm; and the error names exactly the items outside the largest group."""
    n, arrows = problem
    closure = reachable(arrows, n)
    mutual = closure & closure.T
    winner, loser = np.array(arrows).T
    decided = strongly_connected(winner, loser, n)
    assert decided in (None, bool(mutual.all()))
    if mutual.all():
        assert fit_comparisons(winner, loser, support=range(n)).converged
        return
    with pytest.raises(NoFiniteEstimateError) as caught:
        fit_comparisons(winner, loser, support=range(n))
    error = caught.value
    joined = reachable([*arrows, *((b, a) for a, b in arrows)], n)
    named = {*error.winners, *error.losers, *error.between}
    for group in {tuple(np.flatnonzero(row)) for row in joined}:
        inside = [set(np.flatnonzero(mutual[i]).tolist()) for i in group]
        assert len(set(group) - named) == max(map(len, inside))
    for item in error.winners:
        assert not any(b == item and not mutual[a, item] for a, b in arrows)
    for item in error.losers:
        assert not any(a == item and not mutual[b, item] for a, b in arrows)
    weak = sorted({tuple(np.flatnonzero(row).tolist()) for row in joined})
    assert sorted(map(tuple, error.groups)) == (weak if len(weak) > 1 else [])


@given(ARROWS)
def test_dropping_leaves_a_finite_estimate(problem):
    """What is kept is one largest group of items that reach each other; a prior keeps everything."""
    n, arrows = problem
    winner, loser = np.array(arrows).T
    mutual = reachable(arrows, n) & reachable(arrows, n).T
    largest = int(mutual.sum(axis=1).max())
    assert fit_comparisons(winner, loser, support=range(n), prior=PseudoCounts(1.0)).converged
    if largest == 1:
        with pytest.raises(ValueError, match="got none that do; add a prior"):
            fit_comparisons(winner, loser, support=range(n), incomparable="drop")
        return
    fit = fit_comparisons(winner, loser, support=range(n), incomparable="drop")
    assert fit.converged
    assert fit.utilities.size == largest
    assert sorted([*fit.dropped, *fit.distribution.support.tolist()]) == list(range(n))


def test_error_names_the_items():
    arrows = [(0, 1), (1, 2), (2, 0), (3, 0), (3, 1), (0, 4), (5, 3)]
    winner, loser = np.array(arrows).T
    with pytest.raises(NoFiniteEstimateError) as caught:
        fit_comparisons(winner, loser, support=list("ABCdef"))
    assert "'f' won every comparison with the others; 'e' lost every comparison with the others" in str(caught.value)
    assert "'d' met some of the others only as winner and the rest only as loser" in str(caught.value)
    assert 'incomparable="drop"' in str(caught.value)
    assert "prior=PseudoCounts(1)" in str(caught.value)
    assert (caught.value.winners, caught.value.losers, caught.value.between) == (["f"], ["e"], ["d"])


def test_error_names_the_groups():
    with pytest.raises(NoFiniteEstimateError, match=r"got 3 groups .*\('a', 'b', 'c' \| 'd', 'e' \| 'f'\)"):
        fit_comparisons([0, 1, 2, 3, 4], [1, 2, 0, 4, 3], support=list("abcdef"))


def test_error_does_not_list_a_thousand_names():
    winner = np.append(np.arange(1000), 0)
    loser = np.append((np.arange(1000) + 1) % 1000, 0)
    many = np.append(winner, np.zeros(500, dtype=int)), np.append(loser, np.arange(1000, 1500))
    with pytest.raises(NoFiniteEstimateError, match="1003, 1004 and 495 more lost every") as caught:
        fit_comparisons(*many)
    assert len(caught.value.losers) == 500
    assert len(str(caught.value)) < 500


def test_separate_groups():
    """Each group is fitted as if it were alone, with mean zero; between groups nothing is said."""
    one, other = random_counts(0, 4), random_counts(1, 3)
    counts = np.zeros((7, 7))
    counts[:4, :4], counts[4:, 4:] = one, other
    fit = fit_comparisons(counts=counts, incomparable="separate")
    expected = np.concatenate([fit_comparisons(counts=part).utilities for part in (one, other)])
    np.testing.assert_allclose(fit.utilities, expected, atol=1e-9)
    np.testing.assert_array_equal(fit.components, [0, 0, 0, 0, 1, 1, 1])
    errors = np.concatenate([fit_comparisons(counts=part).standard_errors() for part in (one, other)])
    np.testing.assert_allclose(fit.standard_errors(), errors, rtol=1e-8)
    with pytest.raises(ValueError, match="must be in its component"):
        fit.standard_errors(relative_to=0)
    assert fit.standard_errors([4], relative_to=5).shape == (1,)


def test_dropping_keeps_the_right_f_and_g():
    process = pb.PBDE([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0])
    fit = fit_comparisons([0, 1, 3, 2, 3, 1], [1, 3, 0, 0, 1, 0], pbde=process, incomparable="drop")
    assert fit.dropped == (2,)
    np.testing.assert_array_equal(fit.pbde.f, [1, 2, 4])
    np.testing.assert_array_equal(fit.pbde.g, [0, 1, 3])


def test_long_path_back_is_found():
    """A ring in the worst order for passes over the list is left to the graph search, and found connected."""
    a = np.arange(3000)[::-1].copy()
    winner, loser = a, (a + 1) % 3000
    assert strongly_connected(winner, loser, 3000) is None
    assert groups(winner, loser, 3000).strong.max() == 0
    assert fit_comparisons(winner, loser).converged


# --- Wrong arguments ---


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, TypeError, "`winner` must be given, or `counts` instead"),
        ({"winner": [0]}, TypeError, "`loser` must be given"),
        ({"winner": [0.0], "loser": [1]}, TypeError, "`winner` must be a vector of whole numbers; got .*float64"),
        ({"winner": [True], "loser": [False]}, TypeError, "`winner` must be a vector of whole numbers; got .*bool"),
        ({"winner": [[0]], "loser": [1]}, TypeError, r"`winner` must be a vector .* shape \(1, 1\)"),
        ({"winner": [0, -1], "loser": [1, 0]}, ValueError, "`winner` must be non-negative; got -1 at index 1"),
        ({"winner": [0], "loser": [1, 0]}, ValueError, "`loser` must have one entry for each winner, 1; got 2"),
        ({"winner": [], "loser": []}, TypeError, "whole numbers"),
        ({"winner": [1], "loser": [1]}, ValueError, "`comparisons` must hold one of different items"),
        ({"winner": [0], "loser": [10**9]}, ValueError, r"number the items from 0 .* got 1 comparisons and index 10"),
        ({"winner": [0], "loser": [1], "weights": [0.0]}, ValueError, "different items with positive weight; got none"),
        ({"winner": [0], "loser": [1], "weights": [-1]}, ValueError, "`weights` must be non-negative; got -1.0"),
        ({"winner": [0], "loser": [1], "weights": [INF]}, ValueError, "`weights` must be finite; got inf"),
        ({"winner": [0], "loser": [1], "weights": [NAN]}, ValueError, "`weights` must be free of NaN"),
        ({"winner": [0], "loser": [1], "weights": [1, 2]}, ValueError, "`weights` must have one entry for each winner"),
        ({"counts": [[0, 1], [-1, 0]]}, ValueError, r"`counts` must be non-negative; got -1.0 at index \(1, 0\)"),
        ({"counts": [[0, INF], [1, 0]]}, ValueError, "`counts` must be finite"),
        ({"counts": [0, 1]}, ValueError, "`counts` must be a square matrix"),
        ({"counts": [[3]]}, ValueError, "got none"),
        ({"counts": np.ones((2, 2)), "winner": [0]}, TypeError, "`counts` must come alone"),
        ({"counts": np.ones((2, 2)), "support": "abc"}, ValueError, "`support` .* row of counts, 2; got 3"),
        ({"winner": [0], "loser": [2], "support": "ab"}, ValueError, "`support` .* each index, 3; got 2"),
        ({"winner": ["a", {}], "loser": ["b", "c"]}, TypeError, "`winner` must hold hashable labels; got {}"),
        ({"winner": ["a"], "loser": ["b"], "support": [{}, "b"]}, TypeError, "`support` must hold hashable labels"),
        ({"counts": np.ones((2, 2)), "support": "aa"}, ValueError, "`support` must hold distinct labels"),
        ({"counts": np.ones((2, 2)), "pbde": 1.0}, TypeError, "`pbde` must be a PBDE; got float"),
        ({"counts": np.ones((2, 2)), "pbde": pb.PBDE([1, 2, 3])}, ValueError, "`f` must have 2 outcomes"),
        ({"counts": np.ones((2, 2)), "prior": 1.0}, TypeError, "`prior` must be a GaussianPrior"),
        ({"counts": np.ones((2, 2)), "incomparable": "ignore"}, ValueError, "`incomparable` must be .* got 'ignore'"),
        ({"counts": np.ones((2, 2)), "tolerance": 0}, ValueError, "`tolerance` must be positive"),
        ({"counts": np.ones((2, 2)), "max_steps": 0}, ValueError, "`max_steps` must be at least 1"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments, error, match):
    """The message names the argument, the rule and what came."""
    with pytest.raises(error, match=match):
        fit_comparisons(**arguments)


@pytest.mark.parametrize("value", [0, -1, INF, NAN])
@pytest.mark.parametrize(("make", "name"), [(GaussianPrior, "scale"), (PseudoCounts, "count")])
def test_wrong_priors(make, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        make(value)


def test_wrong_questions():
    fit = fit_comparisons([0, 1], [1, 0])
    for arguments, match in (
        ({"items": [2]}, "`items` must be an index below the number of items, 2; got 2"),
        ({"relative_to": 5}, "`relative_to` must be at most 1; got 5"),
        ({"relative_to": -1}, "`relative_to` must be at least 0"),
    ):
        with pytest.raises(ValueError, match=match):
            fit.standard_errors(**arguments)
    for level in (0.0, 1.0, 95):
        with pytest.raises(ValueError, match=r"`level` must be in \(0, 1\)"):
            fit.confidence_intervals(level)


def test_steps_run_out():
    """One step is not enough, and the result says so."""
    fit = fit_comparisons(counts=random_counts(0), max_steps=1)
    assert not fit.converged
    assert fit.steps == 1
    assert fit.remaining > 1e-6


@pytest.mark.parametrize("prior", [None, "GaussianPrior", "PseudoCounts"])
@pytest.mark.parametrize("ties", ["half", "davidson"])
def test_the_covariance_is_that_of_utilities_relative_to_their_mean(prior, ties):
    """Where a prior has its mode says nothing of the items, and does not enter."""
    prior = prior and getattr(pb.estimation, prior)(10.0)
    winner, loser, weights = [0, 0, 1, 1, 2, 2, 0, 1], [1, 2, 0, 2, 0, 1, 1, 2], [5, 3, 2, 1, 4, 2, 1, 2]
    fit = pb.estimation.fit_comparisons(winner, loser, weights, ties=np.arange(8) > 5, tie_model=ties, prior=prior)
    covariance = fit.covariance()
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)[:3]), fit.standard_errors(), rtol=1e-12)
    np.testing.assert_allclose(covariance[:, :3].sum(axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-14)


@pytest.mark.parametrize("support", [[2, 1, 0], [3, 2, 1, 0], np.array([1, 2, 3])], ids=str)
def test_numbers_that_could_be_labels_or_indices_are_refused(support):
    """Item 2 won most, and label 2 came out last."""
    with pytest.raises(ValueError, match="`support` must hold no whole numbers but 0, 1, …, in order"):
        pb.fit_comparisons([2, 2, 2, 1, 0, 1], [1, 1, 0, 2, 2, 0], support=support)


def test_numbers_that_no_label_is_are_indices():
    named = pb.fit_comparisons([2, 2, 2, 1, 0, 1], [1, 1, 0, 2, 2, 0], support=[10, 20, 30])
    plain = pb.fit_comparisons([2, 2, 2, 1, 0, 1], [1, 1, 0, 2, 2, 0], support=range(3))
    np.testing.assert_array_equal(named.utilities, plain.utilities)
    table = pb.estimation.comparison_table([2, 1, 0, 1, 0], [1, 2, 1, 0, 2], items=[2, 1, 0])
    assert pb.fit_comparisons(table).distribution.support.tolist() == [2, 1, 0]


def test_labels_may_be_tuples():
    first, second = ("poem?", 1), ("poem?", 2)
    for support in (None, [first, second]):
        fit = pb.fit_comparisons([first, second, first], [second, first, second], support=support)
        assert fit.distribution[first] == pytest.approx(2 / 3)


def test_durations_are_no_indices():
    with pytest.raises(TypeError, match=r"`winner` must be a vector of whole numbers; got .* dtype timedelta64"):
        pb.fit_comparisons(np.array([1, 2], "m8[s]"), np.array([2, 1], "m8[s]"))
