"""One regression for comparisons: ties as ties, order, covariates, rankings; and errors that hold."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from pbde_ref.distributions import FiniteDistribution
from pbde_ref.estimation import (
    NoFiniteEstimateError,
    PseudoCounts,
    bootstrap_utilities,
    comparison_table,
    fit_comparisons,
    fit_rankings,
    profile_intervals,
)
from pbde_ref.estimation.bootstrap import _fitted, drawn_again
from pbde_ref.estimation.ranking import rank_intervals
from pbde_ref.pbde import dpo
from tests.seeds import drawn_seed


def chances(d, tie, model):
    """Of a win, a loss and a tie at a lead d, transcribed."""
    if model == "davidson":
        parts = [math.exp(d / 2), math.exp(-d / 2), math.exp(tie)]
        return [part / sum(parts) for part in parts]
    win, loss = 1 / (1 + math.exp(tie - d)), 1 / (1 + math.exp(tie + d))
    return [win, loss, 1 - win - loss]


def drawn(seed, n=4, m=150, tie=0.3, order=0.4, slope=0.7, model="davidson", utilities=None):
    """Comparisons of a model with order and one covariate."""
    rng = np.random.default_rng(seed)
    utilities = rng.normal(size=n) if utilities is None else utilities
    a = rng.integers(0, n, m)
    b = (a + rng.integers(1, n, m)) % n
    x = rng.normal(size=m)
    result = []
    for left, right, value in zip(a.tolist(), b.tolist(), x.tolist(), strict=True):
        d = utilities[left] - utilities[right] + order + slope * value
        said = rng.choice(3, p=chances(d, tie, model))
        won = (right, left) if said == 1 else (left, right)
        result.append((*won, said == 2, said != 1, -value if said == 1 else value))
    winner, loser, tied, first, column = map(np.array, zip(*result, strict=True))
    return winner, loser, tied, first, column


def by_scipy(rows, n, model):
    """A quasi-Newton method that knows the transcribed likelihood alone."""

    def cost(at):
        utilities, order, slope, tie = at[:n], at[n], at[n + 1], at[n + 2]
        total = 0.0
        for winner, loser, tied, first, x in zip(*rows, strict=True):
            d = utilities[winner] - utilities[loser] + (order if first else -order) + slope * x
            total -= math.log(max(chances(d, tie, model)[2 if tied else 0], 1e-300))
        return total

    found = minimize(cost, np.r_[np.zeros(n + 2), 0.5], method="BFGS", options={"gtol": 1e-6})
    return found.x - np.r_[np.full(n, found.x[:n].mean()), np.zeros(3)], -found.fun


@pytest.mark.parametrize("model", ["davidson", "rao-kupper"])
@pytest.mark.parametrize("seed", range(2))
def test_agrees_with_scipy(seed, model):
    rows = drawn(seed, model=model)
    winner, loser, tied, first, x = rows
    fit = fit_comparisons(winner, loser, ties=tied, first=first, covariates={"x": x}, tie_model=model)
    expected, likelihood = by_scipy(rows, 4, model)
    assert fit.converged
    assert fit.log_likelihood == pytest.approx(likelihood, rel=1e-9)
    found = np.append(fit.utilities, [fit.effects["order"], fit.effects["x"], [*fit.effects.values()][-1]])
    np.testing.assert_allclose(found, expected, atol=2e-4)
    # Fisher information against differences of the transcribed likelihood's gradient is by the certificate; control:
    other = fit_comparisons(winner, loser, ties=tied, first=~first, covariates={"x": x}, tie_model=model)
    assert other.effects["order"] == pytest.approx(-fit.effects["order"], abs=1e-9)


@pytest.mark.parametrize(("wins", "losses", "ties"), [(5, 2, 3), (1, 7, 1), (40, 40, 1)])
def test_ties_of_two_items_by_hand(wins, losses, ties):
    """Three shares and two parameters: each model meets the shares."""
    total = wins + losses + ties
    fits = {
        model: fit_comparisons([0, 1, 0], [1, 0, 1], [wins, losses, ties], ties=[0, 0, ties], tie_model=model)
        for model in ("davidson", "rao-kupper")
    }
    lead = {model: float(-np.diff(fit.utilities)[0]) for model, fit in fits.items()}
    assert lead["davidson"] == pytest.approx(math.log(wins / losses), abs=1e-8)
    assert fits["davidson"].effects["tie"] == pytest.approx(math.log(ties / math.sqrt(wins * losses)), abs=1e-8)
    logits = [math.log(part / (total - part)) for part in (wins, losses)]
    assert lead["rao-kupper"] == pytest.approx((logits[0] - logits[1]) / 2, abs=1e-8)
    assert fits["rao-kupper"].effects["threshold"] == pytest.approx(-sum(logits) / 2, abs=1e-8)
    expected = sum(part * math.log(part / total) for part in (wins, losses, ties))
    for fit in fits.values():
        assert fit.log_likelihood == pytest.approx(expected, rel=1e-12)
    # The delta method on the multinomial shares: var log(a / b) = 1/a + 1/b.
    error = fits["davidson"].standard_errors(relative_to=1)[0]
    assert error == pytest.approx(math.sqrt(1 / wins + 1 / losses), rel=1e-6)


def test_half_wins_pull_utilities_together():
    """What Davidson's model draws it finds; half wins find 0.40 to 0.79 of the range, the less the more ties."""
    utilities = np.array([-1.2, -0.4, 0.3, 1.3])
    shares = []
    for tie in (-0.5, 0.5, 1.5):
        winner, loser, tied, *_ = drawn(7, m=6000, tie=tie, order=0.0, slope=0.0, utilities=utilities)
        fits = [fit_comparisons(winner, loser, ties=tied, tie_model=model) for model in ("davidson", "half")]
        np.testing.assert_allclose(fits[0].utilities, utilities, atol=4 * fits[0].standard_errors().max())
        shares.append(np.ptp(fits[1].utilities) / np.ptp(fits[0].utilities))
    assert 0.9 > shares[0] > shares[1] > shares[2] > 0.3


@pytest.mark.parametrize(("wins", "losses", "ties"), [(5, 2, 3), (1, 7, 12), (30, 40, 0)])
def test_errors_of_half_wins_by_hand(wins, losses, ties):
    """A mean of ones, halves and zeros: its variance by the plain formula, then the delta method on the logit."""
    fit = fit_comparisons([0, 1, 1], [1, 0, 0], [wins, losses, max(ties, 1e-9)], ties=[0, 0, ties])
    results = np.repeat([1.0, 0.5, 0.0], [wins, ties, losses])
    mean = results.mean()
    expected = math.sqrt(results.var() / results.size) / (mean * (1 - mean))
    assert fit.standard_errors(relative_to=1)[0] == pytest.approx(expected, rel=1e-6)
    coin = math.sqrt(1 / (results.size * mean * (1 - mean)))
    assert fit.error_kind == ("sandwich" if ties else "fisher")
    assert expected == pytest.approx(coin, rel=1e-9) if not ties else expected < coin
    by_one = fit.standard_errors([0])
    assert by_one[0] == pytest.approx(expected / 2, rel=1e-6)


@pytest.mark.parametrize("model", ["half", "davidson"])
def test_clustered_errors_by_loop(model):
    """The sandwich with each cluster's score in the middle, transcribed for scores by differences."""
    rng = np.random.default_rng(3)
    winner, loser, tied, *_ = drawn(5, m=60)
    clusters = rng.integers(0, 12, 60)
    fit = fit_comparisons(winner, loser, ties=tied, tie_model=model, clusters=clusters)
    parameters = np.append(fit.utilities, [*fit.effects.values()])

    def one(at, i):
        d = at[winner[i]] - at[loser[i]]
        if model == "davidson":
            return math.log(chances(d, at[-1], model)[2 if tied[i] else 0])
        return -math.log1p(math.exp(-d)) if not tied[i] else -(math.log1p(math.exp(-d)) + math.log1p(math.exp(d))) / 2

    h, size = 1e-4, parameters.size
    unit = h * np.eye(size)
    scores = np.array([[(one(parameters + e, i) - one(parameters - e, i)) / (2 * h) for e in unit] for i in range(60)])
    hessian = np.array([
        [sum(one(parameters + a + b, i) - one(parameters + a - b, i) - one(parameters - a + b, i)
             + one(parameters - a - b, i) for i in range(60)) / (4 * h * h) for b in unit] for a in unit
    ])  # fmt: skip
    groups = np.array([scores[clusters == c].sum(axis=0) for c in np.unique(clusters)])
    inverse = np.linalg.pinv(-hessian, rcond=1e-5)
    count = len(groups)
    expected = np.sqrt(np.diag(inverse @ (groups.T @ groups) @ inverse) * count / (count - 1))
    np.testing.assert_allclose(fit.standard_errors(), expected[:4], rtol=1e-4)
    assert fit.error_kind == "clustered"
    if model == "davidson":
        assert fit.effect_errors()["tie"] == pytest.approx(expected[-1], rel=1e-4)


def test_clusters_of_one_are_the_plain_sandwich():
    """But for the factor G / (G − 1), whichever way the comparisons are fitted."""
    winner, loser, tied, *_ = drawn(2, m=80)
    plain = fit_comparisons(winner, loser, ties=tied).standard_errors()
    alone = fit_comparisons(winner, loser, ties=tied, clusters=np.arange(80)).standard_errors()
    np.testing.assert_allclose(alone, plain * math.sqrt(80 / 79), rtol=1e-9)
    column = {"x": np.sin(np.arange(80.0))}
    ordered = fit_comparisons(winner, loser, ties=tied, clusters=np.arange(80), covariates=column)
    assert np.isfinite(ordered.standard_errors()).all()


def test_repeated_clusters_are_that_many():
    """A cluster that happened 3 times is three clusters."""
    winner, loser, clusters = np.array([0, 1, 0, 1, 2]), np.array([1, 2, 2, 0, 0]), np.array([0, 0, 1, 2, 2])
    times = np.array([3.0, 2.0, 4.0])
    once = fit_comparisons(winner, loser, times[clusters], clusters=clusters, repeats=times)
    row = np.repeat(np.arange(5), times[clusters].astype(int))
    number = np.concatenate([np.arange(int(times[c])) for c in clusters]) * 10 + clusters[row]
    again = fit_comparisons(winner[row], loser[row], clusters=number)
    np.testing.assert_allclose(once.standard_errors(), again.standard_errors(), rtol=1e-9)


COMPARISONS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.booleans(), st.booleans()), min_size=1, max_size=12
)


@settings(max_examples=50)
@given(COMPARISONS, st.sampled_from(["davidson", "rao-kupper"]), st.permutations(range(4)))
def test_any_comparisons(rows, model, order):
    """An estimate is certified, or there is a reason against it; names and the sides of ties do not matter."""
    winner = np.array([a for a, *_ in rows])
    loser = np.array([(a + k) % 4 for a, k, *_ in rows])
    tied, turned = (np.array([row[k] for row in rows]) for k in (2, 3))
    try:
        fit = fit_comparisons(winner, loser, ties=tied, tie_model=model, support=range(4))
    except NoFiniteEstimateError:
        prior = fit_comparisons(winner, loser, ties=tied, tie_model="half", support=range(4), prior=PseudoCounts(1.0))
        assert prior.converged
        return
    assert fit.converged
    turned = turned & tied
    place = np.argsort(order)
    one, other = place[np.where(turned, loser, winner)], place[np.where(turned, winner, loser)]
    again = fit_comparisons(one, other, ties=tied, tie_model=model, support=range(4))
    np.testing.assert_allclose(again.utilities[place], fit.utilities, atol=1e-6)


def test_without_ties_all_models_are_one():
    winner, loser, *_ = drawn(0, tie=-50.0)
    plain = fit_comparisons(winner, loser)
    for model in ("davidson", "rao-kupper"):
        np.testing.assert_array_equal(
            fit_comparisons(winner, loser, ties=np.zeros(winner.size, bool), tie_model=model).utilities, plain.utilities
        )
    np.testing.assert_allclose(
        fit_comparisons(winner, loser, covariates={"x": np.sin(np.arange(winner.size))}).effects["x"], 0.0, atol=1.5
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        # The same covariate for the same pair is a difference of utilities.
        ({"covariates": {"length": [1.0, -1.0, -1.0, 1.0]}}, "none of that in 'length'"),
        ({"covariates": {"x": [1.0, 2.0, 0.5, 3.0], "y": [2.0, 4.0, 1.0, 6.0]}}, "none of that in 'x', 'y'"),
        ({"covariates": {"x": [1.0]}}, "`x` must have one entry for each winner, 4; got 1"),
        ({"covariates": {"x": [1.0, 2.0, 0.5, math.inf]}}, r"`covariates\['x'\]` must be finite"),
        ({"ties": [0.0, 0.0, 0.0, 2.0]}, "`ties` must be from 0 to the comparison's weight; got 2.0 at index 3"),
        ({"tie_model": "glicko"}, "`tie_model` must be 'half', 'davidson' or 'rao-kupper'; got 'glicko'"),
        ({"clusters": [0]}, "`clusters` must have one entry for each winner"),
    ],
)
def test_what_cannot_be_estimated(arguments, match):
    with pytest.raises(ValueError, match=match):
        fit_comparisons([0, 1, 1, 0], [1, 0, 0, 1], **arguments)


def test_rules_without_exceptions_have_no_estimate():
    """The longer answer always won; a win and a tie alone; ties alone."""
    rng = np.random.default_rng(0)
    winner, loser = rng.integers(0, 3, 40), rng.integers(0, 3, 40)
    with pytest.raises(NoFiniteEstimateError, match="involves the effect 'length'"):
        fit_comparisons(winner, (winner + 1 + loser % 2) % 3, covariates={"length": rng.random(40) + 0.1})
    for model in ("davidson", "rao-kupper"):
        for tied in ([False, True], [True, True]):
            with pytest.raises(NoFiniteEstimateError, match="must be unexplained by any rule without exceptions"):
                fit_comparisons([0, 0], [1, 1], ties=tied, tie_model=model)


def test_labels_are_items():
    fit = fit_comparisons(["tea", "coffee", "tea"], ["coffee", "tea", "coffee"])
    assert fit.distribution.support.tolist() == ["tea", "coffee"]
    np.testing.assert_allclose(fit.utilities, [0.5 * math.log(2), -0.5 * math.log(2)], rtol=1e-9)
    again = fit_comparisons(["tea", "coffee", "tea"], ["coffee", "tea", "coffee"], support=["coffee", "tea"])
    np.testing.assert_allclose(again.utilities, fit.utilities[::-1], rtol=1e-9)
    with pytest.raises(ValueError, match="`loser` must hold labels of `support`; got 'water'"):
        fit_comparisons(["tea"], ["water"], support=["tea"])


@pytest.mark.parametrize(("one", "other"), [(1, "1"), ("a", "a\0"), (2**70, "b"), (1.5, "1.5")])
def test_labels_of_different_kinds_are_different_items(one, other):
    fit = fit_comparisons([one, other, one], [other, one, other])
    assert fit.distribution.support.tolist() == [one, other]
    assert fit.wins.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan"), np.datetime64("NaT")])
def test_a_missing_label_is_no_item(missing):
    with pytest.raises(ValueError, match=r"`loser` must hold labels.*; got .* at index 1"):
        fit_comparisons(["a", "b"], ["b", missing])


def test_missing_labels_of_pandas_are_no_items():
    pandas = pytest.importorskip("pandas")
    for missing in (pandas.NA, pandas.NaT, None):
        with pytest.raises(ValueError, match=r"`winner` must hold labels.*; got .* at index 0"):
            fit_comparisons(pandas.Series([missing, "a"]), pandas.Series(["b", "b"]))


def test_a_process_belongs_to_the_items_of_its_reference():
    process = dpo(0.5, FiniteDistribution.from_weights([3, 1], support=["tea", "coffee"]))
    fit = fit_comparisons(["tea", "coffee"], ["coffee", "tea"], pbde=process)
    np.testing.assert_allclose(fit.distribution.pmf, [0.75, 0.25])
    with pytest.raises(ValueError, match=r"`pbde` must have .* of `support`; got .*tea.* where that has .*coffee"):
        fit_comparisons(["coffee", "tea"], ["tea", "coffee"], pbde=process)


# --- Rankings ---


@pytest.mark.parametrize("seed", range(3))
def test_rankings_by_scipy(seed):
    """The product over stages, transcribed, with a quasi-Newton method."""
    rng = np.random.default_rng(seed)
    orders = [tuple(rng.permutation(4)[: rng.integers(2, 5)].tolist()) for _ in range(30)]
    weights = rng.random(30)

    def cost(at):
        total = 0.0
        for order, weight in zip(orders, weights, strict=True):
            for stage in range(len(order) - 1):
                total -= weight * (at[order[stage]] - math.log(sum(math.exp(at[one]) for one in order[stage:])))
        return total

    ranked = [tuple((one,) for one in order) for order in orders]
    rankings = list(zip(ranked, weights.tolist(), strict=True))
    fit = fit_rankings(rankings, range(4))
    found = minimize(cost, np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(fit.utilities, found.x - found.x.mean(), atol=1e-5)
    assert fit.log_likelihood == pytest.approx(-found.fun, rel=1e-9)


def test_rankings_of_two_are_comparisons():
    winner, loser, *_ = drawn(1, tie=-50.0)
    pairs = [(((int(a),), (int(b),)), 1.0) for a, b in zip(winner, loser, strict=True)]
    one, other = fit_rankings(pairs, range(4)), fit_comparisons(winner, loser)
    np.testing.assert_allclose(one.utilities, other.utilities, atol=1e-8)
    np.testing.assert_allclose(one.standard_errors(), other.standard_errors(), rtol=1e-7)
    with pytest.raises(ValueError, match="one item at each place"):
        fit_rankings([(((0, 1), (2,)), 1.0), (((2,), (0,), (1,)), 1.0)], range(3), prior=PseudoCounts(1.0))
    with pytest.raises(ValueError, match="two or more places; got none"):
        fit_rankings([(((0, 1, 2),), 1.0)], range(3))
    with pytest.raises(NoFiniteEstimateError):
        fit_rankings([(((0,), (1,), (2,)), 1.0)], range(3))


def test_those_who_come_last_together_were_not_ranked():
    """By hand: who is first alone is a choice among three, P = 2/6, 3/6, 1/6; a ranking of one place says nothing."""
    firsts = [(((0,), (1, 2)), 2.0), (((1,), (2, 0)), 3.0), (((2,), (0, 1)), 1.0), (((0, 1, 2),), 5.0)]
    fit = fit_rankings(firsts, range(3))
    np.testing.assert_allclose(fit.distribution.pmf, [2 / 6, 3 / 6, 1 / 6], atol=1e-9)
    assert fit.log_likelihood == pytest.approx(2 * math.log(2 / 6) + 3 * math.log(3 / 6) + math.log(1 / 6), rel=1e-12)
    assert fit.n_comparisons == 6.0



# --- The bootstrap ---


@pytest.mark.parametrize("prior", [None, PseudoCounts(0.5)])
def test_each_draw_is_a_fit(prior):
    """Steps with the inverse Hessian of all end where Newton's method does; a draw without an estimate is no number."""
    rng = np.random.default_rng(drawn_seed())
    first, second = np.triu_indices(5, 1)
    total = rng.integers(5, 30, (10, 8)).astype(float)
    won = rng.binomial(total.astype(int), 0.5).astype(float)
    won[:, 0] = total[:, 0]  # the first of each pair won always
    won[:4, 1] = [1.0, 0.0, 0.0, 0.0]  # far from the start
    start = fit_comparisons(np.r_[first, second], np.r_[second, first], prior=prior)
    inverse, found = start.information.covariance(), np.empty((5, 8))
    for draw in range(8):
        found[:, draw] = _fitted(total[:, draw], won[:, draw], first, second, start.utilities, inverse, prior)
        weights = np.r_[won[:, draw], total[:, draw] - won[:, draw]]
        try:
            alone = fit_comparisons(np.r_[first, second], np.r_[second, first], weights, prior=prior, support=range(5))
        except NoFiniteEstimateError:
            assert np.isnan(found[:, draw]).all()
        else:
            np.testing.assert_allclose(found[:, draw], alone.utilities, atol=1e-7)
    assert np.isnan(found[:, 0]).all() == (prior is None)


@pytest.mark.parametrize("weights", [[3.0] * 9 + [40.0] * 3, [900.0, 100.0, 900.0, 1.0, 1.0] * 3])
def test_drawn_again_is_multinomial(weights):
    """Sums are the total, always; means and covariances those of a multinomial, within five of their own errors."""
    seed, draws, weights = drawn_seed(), 20000, np.array(weights)
    found = drawn_again(weights, draws, np.random.default_rng(seed))
    total, chances = weights.sum(), weights / weights.sum()
    np.testing.assert_array_equal(found.sum(axis=0), total)
    covariance = total * (np.diag(chances) - np.outer(chances, chances))
    deviation = np.sqrt(covariance.diagonal())
    np.testing.assert_array_less(np.abs(found.mean(axis=1) - weights), 5 * deviation / math.sqrt(draws), f"seed {seed}")
    allowed = 5 * np.sqrt((np.outer(deviation, deviation) ** 2 + covariance**2 + covariance.diagonal()) / draws)
    np.testing.assert_array_less(np.abs(np.cov(found) - covariance), allowed, err_msg=f"seed {seed}")


def test_bootstrap_has_the_sandwichs_errors():
    """With ties as half wins and with clusters; where neither applies, those of the Fisher information."""
    winner, loser, tied, *_ = drawn(4, m=1500)
    clusters = np.arange(1500) // 5
    for options in ({}, {"ties": tied}, {"ties": tied, "clusters": clusters}):
        seed = drawn_seed()
        found = bootstrap_utilities(winner, loser, **options, draws=1500, rng=seed)
        errors = fit_comparisons(winner, loser, **options).standard_errors()
        # The standard deviation of a standard deviation from 1,500 draws is 1.8 %; five of them, and 3 % of bias.
        np.testing.assert_allclose(found.std(axis=0), errors, rtol=0.12, err_msg=f"seed {seed}")
    np.testing.assert_array_equal(*(bootstrap_utilities(winner, loser, draws=3, rng=1) for _ in range(2)))
    with pytest.raises(ValueError, match=r"`weights` must be whole numbers; got 0\.5"):
        bootstrap_utilities([0, 1], [1, 0], [0.5, 1.0])


# --- Coverage ---


def coverage(design, repetitions, seed):
    """How often 95 % intervals of utilities relative to their mean cover the truth, and the share of ranks covered."""
    rng = np.random.default_rng(seed)
    utilities = np.linspace(-0.8, 0.8, 5)
    a, b = map(np.array, zip(*itertools.combinations(range(5), 2), strict=True))
    hits = total = ranked = 0
    for _ in range(repetitions):
        pairs = rng.integers(0, a.size, 400)
        one, other = a[pairs], b[pairs]
        options = {}
        if design == "clustered":
            # Eight rows of a prompt share the pair and what the prompt does to it.
            one, other = np.repeat(one[:120], 8), np.repeat(other[:120], 8)
            options["clusters"] = np.repeat(np.arange(120), 8)
            shift = np.repeat(rng.choice([-1.0, 1.0], 120), 8)
            p = 1 / (1 + np.exp(-(utilities[one] - utilities[other]) - shift))
        else:
            p = 1 / (1 + np.exp(-(utilities[one] - utilities[other])))
        tied = np.zeros(one.size, dtype=bool)
        truth = utilities
        if design in ("half wins", "davidson"):
            lead = utilities[one] - utilities[other]
            parts = np.stack([np.exp(lead / 2), np.exp(-lead / 2), np.full(lead.size, math.exp(0.5))])
            said = (rng.random(lead.size) > np.cumsum(parts / parts.sum(axis=0), axis=0)).sum(axis=0)
            tied, won = said == 2, said != 1
            options["tie_model"] = "half" if design == "half wins" else "davidson"
            if design == "half wins":
                truth = HALF_WINS
        else:
            won = rng.random(one.size) < p
            if design == "clustered":
                truth = CLUSTERED
        winner, loser = np.where(won, one, other), np.where(won, other, one)
        fit = fit_comparisons(winner, loser, ties=tied, **options)
        intervals = fit.confidence_intervals()
        hits += int(((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).sum())
        total += 5
        ranks = rank_intervals(fit, 0.95, np.arange(5))
        ranked += int(((ranks[:, 0] <= np.arange(5, 0, -1)) & (np.arange(5, 0, -1) <= ranks[:, 1])).sum())
    return hits / total, ranked / total


def projected(chance):
    """What Bradley and Terry's model estimates of these expected shares of the first item of each pair."""
    counts = np.zeros((5, 5))
    for i, j in itertools.combinations(range(5), 2):
        counts[i, j] = chance(np.linspace(-0.8, 0.8, 5)[i] - np.linspace(-0.8, 0.8, 5)[j])
        counts[j, i] = 1 - counts[i, j]
    return fit_comparisons(counts=counts).utilities


def with_ties(d):
    win, _, tie = chances(d, 0.5, "davidson")
    return win + tie / 2


HALF_WINS = projected(with_ties)
CLUSTERED = projected(lambda d: sum(0.5 / (1 + math.exp(-d - s)) for s in (-1, 1)))
DESIGNS = ["independent", "half wins", "davidson", "clustered"]


@pytest.mark.parametrize("design", DESIGNS)
def test_coverage(design):
    """40 repetitions: within five standard deviations of 0.95, an interval's repetitions being dependent."""
    seed = drawn_seed()
    found, ranked = coverage(design, 40, seed)
    print(design, found, ranked, "seed", seed)
    assert abs(found - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 40)
    assert ranked > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_coverage_with_many_repetitions(design):
    """10,000 repetitions from a drawn seed: 0.94 to 0.96; ranks at least 0.95."""
    seed = drawn_seed()
    found, ranked = coverage(design, 10_000, seed)
    print(design, found, ranked, "seed", seed)
    assert 0.94 <= found <= 0.96
    assert ranked >= 0.95


# --- Numbers of others ---

# American League East 1987, wins of the home team and of the visitors (Agresti 2002, page 438), in the order Baltimore,
# Boston, Cleveland, Detroit, Milwaukee, New York, Toronto.
BASEBALL = [
    ",1-6,3-4,1-5,2-5,2-4,1-6",
    "6-0,,5-2,2-5,5-1,4-2,3-3",
    "2-4,4-2,,3-3,2-5,4-3,3-4",
    "4-3,6-0,6-1,,3-3,4-3,4-2",
    "6-0,6-1,4-2,4-3,,4-3,4-2",
    "6-1,4-3,4-2,5-1,3-3,,2-5",
    "6-0,4-3,4-2,4-3,2-5,2-4,",
]


def test_baseball_as_bradleyterry2_has_it():
    """Its vignette: playing at home is worth 0.3023 with a standard error of 0.1309; and Agresti's table 10.11."""
    games = [(home, away, *map(int, cell.split("-"))) for home, row in enumerate(BASEBALL)
             for away, cell in enumerate(row.split(",")) if cell.strip()]  # fmt: skip
    home, away, won, lost = np.array(games).T
    first = np.repeat([True, False], home.size)
    fit = fit_comparisons(np.append(home, away), np.append(away, home), np.append(won, lost), first=first)
    assert fit.effects["order"] == pytest.approx(0.3023, abs=5e-5)
    assert fit.effect_errors()["order"] == pytest.approx(0.1309, abs=5e-5)
    plain = fit_comparisons(np.append(home, away), np.append(away, home), np.append(won, lost))
    np.testing.assert_allclose((plain.utilities - plain.utilities[0])[[4, 3]], [1.581, 1.436], atol=5e-4)


# --- Profile likelihood ---


@pytest.mark.parametrize(("wins", "losses"), [(5, 1), (2, 9), (30, 31)])
def test_profile_of_two_items_by_hand(wins, losses):
    """Where twice the logarithm of the ratio of likelihoods is the square of 1.96."""
    found = profile_intervals([0, 1], [1, 0], [wins, losses], items=[0], relative_to=1)[0]

    def lost(d):
        return 2 * (best + wins * np.logaddexp(0, -d) + losses * np.logaddexp(0, d)) - 1.959963984540054**2

    top = math.log(wins / losses)
    best = -wins * np.logaddexp(0, -top) - losses * np.logaddexp(0, top)
    np.testing.assert_allclose(found, [brentq(lost, top - 20, top), brentq(lost, top, top + 20)], atol=1e-5)


@pytest.mark.parametrize("prior", [None, PseudoCounts(0.7)])
def test_profile_by_a_constrained_optimiser(prior):
    """At each end the best utilities with that contrast, by SLSQP, lose what is allowed, and less inside."""
    winner, loser, *_ = drawn(11, n=4, m=60, tie=-50.0)
    fit = fit_comparisons(winner, loser, prior=prior)
    ends = profile_intervals(winner, loser, items=[2], prior=prior)[0]

    def cost(at):
        lost = np.logaddexp(0, at[loser] - at[winner]).sum()
        return lost if prior is None else lost - prior.log_density(at)

    for value, wanted in ((ends[0], 1.0), (ends[1], 1.0), (ends.mean(), 0.2)):
        rule = {"type": "eq", "fun": lambda at, value=value: at[2] - at.mean() - value}
        found = minimize(cost, fit.utilities, constraints=[rule], method="SLSQP", options={"ftol": 1e-13}).fun
        share = 2 * (found - cost(fit.utilities)) / 1.959963984540054**2
        assert share == pytest.approx(1.0, abs=1e-3) if wanted == 1.0 else share < wanted
    with pytest.raises(ValueError, match="without ties"):
        profile_intervals(comparison_table_with_ties())


def comparison_table_with_ties():
    table = comparison_table([0, 1, 0], [1, 0, 1])
    return replace(table, ties=np.array([1.0, 0.0]))


def test_win_probabilities():
    """Of items in order; unknown between groups unless a prior compares them."""
    fit = fit_comparisons([0, 1, 2, 3], [1, 0, 3, 2], [3, 1, 1, 1], incomparable="separate")
    chances = fit.win_probabilities()
    assert chances[0, 1] == pytest.approx(0.75)
    np.testing.assert_allclose(chances[:2, :2] + chances[:2, :2].T, 1.0)
    assert np.isnan(chances[:2, 2:]).all()
    assert np.isfinite(fit_comparisons([0, 2], [1, 3], prior=PseudoCounts(1.0)).win_probabilities()).all()
