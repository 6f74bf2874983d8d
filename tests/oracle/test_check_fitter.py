"""`check_fitter`: right fitters pass whatever the seed, planted bugs are found and named."""

import json
import math
import sys

import numpy as np
import pytest
from scipy.optimize import minimize

from pbde_ref.cli import main
from pbde_ref.estimation.priors import PseudoCounts
from pbde_ref.oracle import LossCheckError, check_fitter
from pbde_ref.oracle.fitters.bench import Bench
from pbde_ref.oracle.fitters.definition import Declared, optimum, score_residual
from pbde_ref.oracle.fitters.laws import CHECKS
from pbde_ref.oracle.fitters.votes import CASES, TIE, Votes, with_ties
from tests.oracle import planted_fitters as fitters
from tests.seeds import drawn_seed


@pytest.mark.parametrize("name", fitters.RIGHT)
def test_right_fitters_pass(name):
    """Fitters that are right to working precision raise no alarm, on a seed that nobody chose, at 1e-7 nats."""
    seed = drawn_seed()
    subject = fitters.RIGHT[name]
    report = check_fitter(fitters.build(subject), **subject.declared, seed=seed, tolerance=1e-7, on_failure="report",
                          repetitions=60)  # fmt: skip
    assert report.passed, f"seed {seed}\n{report}"
    assert report.held >= 16


@pytest.mark.parametrize(
    "place", [pytest.param(i, marks=[pytest.mark.slow] * (i % 3 > 0)) for i in range(len(fitters.PLANTED))]
)
def test_planted_bugs_are_found(place):
    """Each is found, and named if the catalogue knows it."""
    bug = fitters.PLANTED[place]
    with np.errstate(all="ignore"):
        report = fitters.held(bug.subject, 0, bug.old, bug.new)
    assert not report.passed
    assert any(bug.says in line for line in report.diagnoses) or not bug.says, report


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ridge", [0.0, 0.4, "pseudo:0.3"])
def test_optimum_by_another_path(case, ridge):
    """A quasi-Newton method on the transcribed likelihood ends at the same differences; so does the score equation."""
    votes = CASES[case](np.random.default_rng(drawn_seed()))
    prior, wins = Declared(ridge=ridge).prior, votes.wins

    def cost(at):
        d = np.subtract.outer(at, at)
        lost = -float((wins * np.minimum(d, 0)).sum() - (wins * np.log1p(np.exp(-np.abs(d)))).sum())
        if ridge == 0.4:
            return lost + 0.2 * float(at @ at)
        return lost + (0.3 * float(np.log(2 + 2 * np.cosh(at)).sum()) if ridge else 0.0)

    found = minimize(cost, np.zeros(len(votes.names)), method="BFGS", options={"gtol": 1e-7}).x
    right = optimum(votes, prior=prior).utilities
    assert cost(right) <= cost(found) + 1e-9 * abs(cost(found))
    np.testing.assert_allclose(found - found.mean(), right - right.mean(), atol=2e-3)
    assert np.abs(score_residual(votes, right, prior)).max() < 1e-9
    assert np.abs(score_residual(votes, right + np.eye(len(right))[0], prior)).max() > 1e-3


def test_votes_keep_their_meaning():
    """Turned, reordered and named otherwise they have the same table of wins."""
    votes = with_ties(np.random.default_rng(drawn_seed()))
    rng = np.random.default_rng(1)
    turned = votes.turned(rng.random(votes.left.size) < 0.5)
    np.testing.assert_array_equal(turned.wins, votes.wins)
    assert (turned.left != votes.left).any()
    assert (turned.outcome == TIE).sum() == (votes.outcome == TIE).sum()
    np.testing.assert_array_equal(votes.rows(rng.permutation(votes.left.size)).wins, votes.wins)
    assert votes.wins.sum() == votes.left.size


def right(left, right, outcome, weights=None):
    return fitters.build(fitters.RIGHT["Newton, nats"])(left, right, outcome, weights)


def test_a_call_that_can_be_pasted_is_one():
    """What stands behind the first failure runs, and gives the wrong number again."""
    calls = []

    def wrong(left, right_, outcome, weights=None):
        calls.append((tuple(left), tuple(right_), tuple(outcome)))
        return {name: 2.0 * score for name, score in right(left, right_, outcome, weights)[0].items()}

    report = check_fitter(wrong, on_failure="report")
    failure = next(result for result in report.results if result.status == "failed")
    source, first = failure.message.split("\n\n", 1)[1], calls[0]
    exec(source, {"function": wrong})
    assert calls[-1] == first


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda *rows: [1.0, 2.0], "scores must be a mapping from labels to numbers; got list"),
        (lambda *rows: {"nobody": 1.0}, "scores must be of the labels that were compared; got 'nobody'"),
        (lambda *rows: dict.fromkeys(rows[0], "high"), "scores must be numbers; got the text 'high'"),
        (lambda *rows: dict.fromkeys(rows[0], "1.5"), "scores must be numbers; got the text '1.5'"),
        (lambda *rows: {name: np.array(b"1.5") for name in rows[0]}, "scores must be numbers; got the text b'1.5'"),
        (lambda *rows: 1 / 0, "the function raised ZeroDivisionError"),
        (lambda *rows: {name: [1.0, 2.0] for name in rows[0]}, "each score must be one number; got 2"),
    ],
)
def test_what_cannot_be_called_fails_once(function, match):
    with pytest.raises(LossCheckError, match=match) as failure:
        check_fitter(function)
    assert [result.status for result in failure.value.report.results].count("failed") == 1
    assert failure.value.report.held == 1


@pytest.mark.parametrize("scores", [{}, {"moved": 1e5}], ids=["none", "far from zero"])
def test_scores_that_a_prior_has_no_slope_for_are_judged(scores):
    """The residual is sought from where the scores are, and none is sought where there are no scores."""
    votes = Bench(right, Declared()).votes("generic")
    utilities = np.arange(float(len(votes.names))) + scores.get("moved", np.nan)
    residual = score_residual(votes, utilities, PseudoCounts(0.5))
    assert np.isnan(residual).all() if not scores else np.allclose(
        residual, score_residual(votes, utilities - 1e5, PseudoCounts(0.5)), rtol=0.0, atol=1e-9
    )  # fmt: skip
    assert not check_fitter(lambda *rows: {}, ridge="pseudo:0.5", on_failure="report").passed


@pytest.mark.parametrize("end", [np.inf, -np.inf])
def test_infinite_scores_are_judged_without_a_warning(end):
    report = check_fitter(lambda *rows: dict.fromkeys({*rows[0], *rows[1]}, end), on_failure="report")
    assert not report.passed


def test_what_a_fitter_changes_for_everybody_is_put_back_and_told():
    def fitter(*rows):
        np.seterr(all="ignore")
        return {}

    with np.errstate(over="raise"):
        report = check_fitter(fitter, on_failure="report")
        assert np.geterr()["over"] == "raise"
    assert report.changes == ("changed NumPy's error settings (np.seterr)",)


@pytest.mark.parametrize(
    ("declared", "match"),
    [
        ({"ties": "quarter"}, "`ties` must be 'drop'"),
        ({"scale": 0.0}, "`scale` must be positive"),
        ({"ridge": -1.0}, "`ridge` must be non-negative"),
        ({"ridge": "pseudo:many"}, "`ridge` must be such as pseudo:0.5"),
        ({"expect_checks": np.ones(2)}, "`expect_checks` must be a whole number"),
        ({"anchor": "mean"}, "`anchor` must be such as mean:0"),
        ({"tolerance": 1e-12}, "`tolerance` must be from 1e-9"),
        ({"model": "thurstone"}, "`model` must be"),
        ({"expected_failed_checks": {"nothing": ""}}, "`expected_failed_checks` must be"),
    ],
)
def test_declarations_are_checked(declared, match):
    with pytest.raises((ValueError, TypeError), match=match):
        check_fitter(right, **declared)


def test_expected_failures_and_the_number_of_checks():
    def winless_finite(left, right_, outcome):
        votes = fitters.build(fitters.RIGHT["Newton, ridge"])
        return votes(left, right_, outcome)[0]

    report = check_fitter(winless_finite, ridge=0.7, expect_checks=3, on_failure="report")
    assert not report.passed
    assert report.results[-1].name == "expect_checks"
    expected = {"anchor": "known"}
    report = check_fitter(lambda *rows: {k: v + 1 for k, v in right(*rows)[0].items()}, anchor="mean:0",
                          expected_failed_checks=expected)  # fmt: skip
    assert {r.name: r.status for r in report.results}["anchor"] == "expected failure"
    assert set(CHECKS) < {r.name for r in report.results}


def test_two_items_by_hand():
    """Three wins of four: log 3 between them, an error of √(1/3 + 1)."""
    votes = Votes(("a", "b"), *np.array([[0, 0, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0]]))
    fit = optimum(votes)
    assert fit.utilities[0] - fit.utilities[1] == pytest.approx(math.log(3.0), abs=1e-9)
    assert fit.standard_errors(relative_to=1)[0] == pytest.approx(math.sqrt(4.0 / 3.0), rel=1e-9)


def test_the_command(tmp_path, monkeypatch, capsys):
    """One subject's report, two subjects' table, JSON, exit statuses, and wrong usage in a line."""
    source = fitters._ROWS + fitters.SOURCES["newton"]
    text = "import numpy as np\nfrom scipy.special import expit\nridge, zero, unit = 0.0, 0.0, 1.0\n" + source
    (tmp_path / "subject_of_test.py").write_text(
        text + "\ndef doubled(left, right, outcome):\n    scores, _ = fit(left, right, outcome)\n"
        "    return {name: 2 * score for name, score in scores.items()}\n", "utf-8",
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "report.json"
    assert main(["check-fitter", "subject_of_test:fit", "--anchor", "mean:0", "--json", str(out)]) == 0
    assert "fit held against bradley_terry (ties=None, scale=1.0" in capsys.readouterr().out
    assert json.loads(out.read_text("utf-8"))["reports"][0]["passed"]
    assert main(["check-fitter", "subject_of_test:fit", "subject_of_test:doubled"]) == 1
    assert "all differences times 2 (scale=2)" in capsys.readouterr().out
    assert main(["check-fitter", "subject_of_test:fit", "--anchor", "nowhere"]) == 2
    assert "`anchor` must be such as mean:0" in capsys.readouterr().err


def with_intervals(z):
    """Wald intervals, so many standard errors to either side."""
    def fitter(left, right_, outcome, weights=None):
        scores, errors = right(left, right_, outcome, weights)
        return scores, {name: (score - z * errors[name], score + z * errors[name]) for name, score in scores.items()}

    return fitter


@pytest.mark.parametrize(("z", "passes"), [(1.645, False), (1.96, True), (2.576, False), (8.0, False)])
def test_widths_of_intervals_are_held(z, passes):
    """Intervals of 90 % hold the truth nearly as often as those of 95 %, and too wide ones oftener."""
    report = check_fitter(with_intervals(z), repetitions=60, on_failure="report")
    assert [result.name for result in report.results if result.status == "failed"] == ([] if passes else ["coverage"])


def left_alone(left, right_, outcome, weights=None):
    scores = right(left, right_, outcome, weights)[0]
    return {name: score for name, score in scores.items() if name in set(left)}


def lower(left, right_, outcome, weights=None):
    scores = right([x.lower() for x in left], [x.lower() for x in right_], outcome, weights)[0]
    return {name: scores[name.lower()] for name in (*left, *right_)}


@pytest.mark.parametrize(("function", "check"), [(left_alone, "sides"), (lower, "renaming")])
def test_items_on_the_right_alone_and_names_in_capitals_are_tried(function, check):
    report = check_fitter(function, on_failure="report")
    assert check in [result.name for result in report.results if result.status == "failed"]


def test_numbers_in_arrays_are_numbers():
    """Each is looked up by what is declared, which an array cannot be."""
    subject = fitters.RIGHT[next(iter(fitters.RIGHT))]
    declared = {n: np.array(v) if isinstance(v, float) else v for n, v in subject.declared.items()}
    numbers = {"scale": np.array(1.0), "ridge": np.array(0.0), "tolerance": np.array(1e-5)}
    assert check_fitter(fitters.build(subject), **numbers | declared).passed


@pytest.mark.parametrize(("ends", "name"), [(sys.exit, "SystemExit"), (pytest.skip, "Skipped")])
def test_a_fitter_that_exits_fails(ends, name):
    with pytest.raises(LossCheckError, match=f"the function raised {name}"):
        check_fitter(lambda *rows: ends("no"))
