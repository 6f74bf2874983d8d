"""Which process comparisons follow: the regression, its tests, what it refuses, and how often it is right.

What can be told apart at all: proofs/process_identified.md.
"""

import json

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import chi2

import pbde_ref as pb
from pbde_ref.cli import main
from pbde_ref.estimation import NoFiniteEstimateError
from pbde_ref.estimation.identification import COLUMNS, PROCESSES
from pbde_ref.experiments.process_simulation import TRUTHS, simulate_processes, simulated_pairs
from tests.refusals import pattern
from tests.seeds import drawn_seed


def design(data):
    """Differences of the four columns, transcribed."""
    p, r, n = data["log_p"], data["log_reference"], data["lengths"]
    return np.column_stack([v[0] - v[1] for v in (p, p / n, r, n)])


def likelihood(x, theta):
    return -np.logaddexp(0, -(x @ theta)).sum()


RESTRICTED = {
    "Luce": (lambda t: [1, 0, 0, 0], 0),
    "DPO": (lambda t: [t[0], 0, -t[0], 0], 1),
    "length-normalised": (lambda t: [0, t[0], 0, 0], 1),
    "geometric": (lambda t: [1 / t[0], 0, 1 - 1 / t[0], 0], 1),
}


@pytest.mark.parametrize("truth", TRUTHS)
def test_likelihoods_are_a_quasi_newton_methods(truth):
    """The full regression and each process, by BFGS on the transcribed likelihood; tests and AIC follow from those."""
    data = simulated_pairs(truth, 300, np.random.default_rng([drawn_seed(), len(truth)]))
    x, found = design(data), pb.identify_process(**data)
    full = minimize(lambda theta: -likelihood(x, theta), np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    assert found.converged
    assert found.columns == COLUMNS
    np.testing.assert_allclose(found.coefficients, full.x, atol=1e-5)
    assert found.log_likelihood == pytest.approx(-full.fun, abs=1e-8)
    s = 1 / (1 + np.exp(-x @ found.coefficients))
    np.testing.assert_allclose(found.covariance, np.linalg.inv(x.T @ ((s * (1 - s))[:, None] * x)), rtol=1e-6)
    for test in found.processes:
        at, free = RESTRICTED[test.name]
        value = likelihood(x, at([1.0]))
        if free:
            best = minimize_scalar(lambda t, at=at: -likelihood(x, at([t])), bounds=(0.05, 40.0), method="bounded",
                                   options={"xatol": 1e-9})  # fmt: skip
            value = -best.fun
            assert test.parameter == pytest.approx(best.x, rel=1e-4) or not 0.06 < test.parameter < 39.0
        assert test.log_likelihood == pytest.approx(value, abs=1e-6)
        assert test.statistic == pytest.approx(2 * (found.log_likelihood - value), abs=1e-5)
        assert test.degrees == 4 - free
        assert test.p_value == pytest.approx(chi2.sf(test.statistic, 4 - free), abs=1e-6)
        assert test.aic == pytest.approx(2 * free - 2 * value, abs=1e-5)


@pytest.mark.parametrize("truth", TRUTHS)
def test_exact_answers_name_the_process_exactly(truth):
    """Each pair in both directions, weighted by its probability: the estimate is the truth, and every other process is
    rejected or, with weights of a million, never kept. Luce lies inside the geometric process at α = 1.
    """
    rng = np.random.default_rng([drawn_seed(), len(truth)])
    data = simulated_pairs(truth, 40, rng)
    both = {key: np.concatenate([value, value[::-1]], axis=1) for key, value in data.items()}
    parameter = TRUTHS[truth]
    theta = np.array(RESTRICTED[truth][0]([parameter]), dtype=float)
    p = 1 / (1 + np.exp(-design(both) @ theta))
    found = pb.identify_process(**both, weights=1e6 * p)
    np.testing.assert_allclose(found.coefficients, theta, atol=1e-6)
    kept = {test.name for test in found.processes if not test.rejected}
    assert kept == ({"Luce", "geometric"} if truth == "Luce" else {truth})
    assert found.best.name == truth
    assert found.link > 0.99
    if parameter is not None:
        assert found.best.parameter == pytest.approx(parameter, rel=1e-6)
    assert truth in found.sentence()


def test_the_geometric_error_is_that_of_alpha():
    """By the delta method: numerically, from the curvature of the likelihood in α."""
    data = simulated_pairs("geometric", 400, drawn_seed())
    x, test = design(data), pb.identify_process(**data).processes[3]
    h = 1e-3
    values = [likelihood(x, RESTRICTED["geometric"][0]([test.parameter + k * h])) for k in (-1, 0, 1)]
    assert test.error == pytest.approx((-(values[0] - 2 * values[1] + values[2]) / h**2) ** -0.5, rel=1e-3)


def test_clusters_widen_errors_and_weaken_tests():
    """Every comparison counted three times under one number: errors, and what is rejected, are those of one third."""
    data = simulated_pairs("DPO", 200, drawn_seed())
    thrice = {key: np.repeat(value, 3, axis=1) for key, value in data.items()}
    one = pb.identify_process(**data, clusters=np.arange(200))
    three = pb.identify_process(**thrice, clusters=np.repeat(np.arange(200), 3))
    plain, taken = pb.identify_process(**data), pb.identify_process(**thrice)
    np.testing.assert_allclose(three.covariance, one.covariance, rtol=1e-9)
    assert [test.p_value for test in three.processes] == pytest.approx([test.p_value for test in one.processes])
    np.testing.assert_allclose(taken.covariance, plain.covariance / 3, rtol=1e-6)
    assert (np.abs(np.log(one.errors / plain.errors)) < 0.5).all()
    assert (three.error_kind, taken.error_kind) == ("clustered", "fisher")


def test_columns_that_are_missing_leave_out_processes():
    data = simulated_pairs("DPO", 300, drawn_seed())
    assert [t.name for t in pb.identify_process(log_p=data["log_p"]).processes] == ["Luce"]
    found = pb.identify_process(log_p=data["log_p"], log_reference=data["log_reference"])
    assert [test.name for test in found.processes] == ["Luce", "DPO", "geometric"]
    without = pb.identify_process(log_reference=data["log_reference"], lengths=data["lengths"])
    assert [test.name for test in without.processes] == ["a coin", "the reference alone", "length alone"]
    assert "no preference process can be named" in without.sentence()
    order = np.where(np.arange(300) % 2, 1.0, -1.0)
    found = pb.identify_process(**data, covariates={"order": order})
    assert found.columns == (*COLUMNS, "order")
    assert [t.n_parameters for t in found.processes] == [1, 2, 2, 2]
    assert [test.degrees for test in found.processes] == [4, 3, 3, 3]


def test_a_wrong_curve_is_noticed():
    """Answers by a step with a floor of errors, not by the logistic curve: the link test sees 5,000 of them."""
    rng = np.random.default_rng(drawn_seed())
    data = simulated_pairs("DPO", 5000, rng)
    flip = rng.random(5000) < np.where(np.abs(data["log_p"][0] - data["log_p"][1]) > 4.0, 0.4, 0.0)
    data = {key: np.where(flip, value[::-1], value) for key, value in data.items()}
    assert pb.identify_process(**data).link < 1e-3
    total, expected, won = pb.identify_process(**data, bins=5).calibration.T
    assert total.sum() == 5000
    assert (np.diff(expected) > 0).all()
    assert won.shape == (5,)


DATA = simulated_pairs("Luce", 60, 3)


def changed(key, index, value):
    array = DATA[key].copy()
    array[index] = value
    return {**DATA, key: array}


BAD = {
    "missing": (changed("log_p", (0, 7), np.nan), "`log_p` must be free of missing values; got nan at index (0, 7)"),
    "positive": (changed("log_reference", (1, 2), 0.5), "`log_reference` must be at most 0,*; got 0.5 at index (1, 2)"),
    "zero probability": (changed("log_p", (0, 0), -np.inf), "`log_p` must be finite; got -inf at index (0, 0)"),
    "length": (changed("lengths", (1, 4), 0.0), "`lengths` must be positive; got 0.0 at index (1, 4)"),
    "rows": ({"log_p": DATA["log_p"][0]}, "`log_p` must have two rows, *; got shape (60,)"),
    "shape": ({**DATA, "lengths": DATA["lengths"][:, :9]},
              "`lengths` must have the shape of `log_p`, (2, 60); got (2, 9)"),
    "another shape": ({"log_reference": DATA["log_p"], "lengths": DATA["lengths"][:, :9]},
                      "`lengths` must have the shape of `log_reference`, (2, 60); got (2, 9)"),
    "clusters": ({**DATA, "clusters": [0, 1]}, "`clusters` must have one entry for each comparison, 60; got 2"),
    "few clusters": (
        {**DATA, "clusters": np.arange(60) % 4},
        "`clusters` must be more than the columns, 4; got 4",
    ),
    "same": (
        {**DATA, "log_reference": DATA["log_p"] - 1.0},
        "columns must not be collinear within pairs, *; got 'log p', 'log π_pre': leave one out",
    ),
    "one length": (
        {**DATA, "lengths": np.full((2, 60), 8.0)},
        "columns must differ between chosen and rejected answers; got no difference in '|x|'",
    ),
    "covariate": ({**DATA, "covariates": {"order": np.full(60, np.inf)}}, "`covariates['order']` must be finite*"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=pattern(message)):
        pb.identify_process(**arguments)


def test_separation_is_named_with_what_helps():
    """All answers go with the reference; adding one to the contrary helps."""
    order = DATA["log_reference"][0] > DATA["log_reference"][1]
    data = {key: np.where(order, value, value[::-1]) for key, value in DATA.items()}
    with pytest.raises(NoFiniteEstimateError, match=r"exceptions to every rule; got 60 .*'log π_pre'.*leave out"):
        pb.identify_process(**data)
    with pytest.raises(TypeError, match="one of `log_p`, `log_reference` and `lengths` must be given"):
        pb.identify_process()


def written(path, data, names=("chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps")):
    rows = [
        {"prompt": f"q{i // 4}", **dict(zip(names, map(float, (*p, *r)), strict=True)), "chosen_tokens": int(n[0]),
         "rejected_tokens": int(n[1])}
        for i, (p, r, n) in enumerate(zip(data["log_p"].T, data["log_reference"].T, data["lengths"].T, strict=True))
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_the_command_reads_trl_files(tmp_path, capsys):
    """Columns by their well-known names or as named; the same numbers as in Python; 80 columns wide."""
    data = simulated_pairs("DPO", 200, drawn_seed())
    file, out = written(tmp_path / "pairs.jsonl", data), tmp_path / "found.json"
    assert main(["process", file, "--cluster", "prompt", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "log_reference: ref_chosen_logps, ref_rejected_logps" in printed
    assert max(map(len, printed.splitlines())) <= 80
    found = pb.identify_process(**data, clusters=np.arange(200) // 4)
    record = json.loads(out.read_text())
    assert record["sentence"] == found.sentence()
    assert found.sentence() in printed
    np.testing.assert_allclose(list(record["coefficients"].values()), found.coefficients, rtol=1e-9)
    other = written(tmp_path / "other.jsonl", data, ("a", "b", "c", "d"))
    assert main(["process", other, "--log-p", "a,b", "--log-reference", "c,d"]) == 0
    assert found.columns[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a FILE or --simulate N"),
        (["FILE", "--log-p", "x,y"], "there is no column 'x'"),
        (["FILE", "--log-p", "prompt,chosen_tokens"], "line 1: prompt must be a number; got 'q0'"),
        (["FILE", "--log-p", "x"], "must be two columns, CHOSEN,REJECTED"),
        (["--simulate", "1", "--seed", "x"], '`--seed` must be a whole number or "random"'),
    ],
)
def test_wrong_usage_of_the_command(arguments, message, tmp_path, capsys):
    file = written(tmp_path / "pairs.jsonl", DATA)
    try:
        status = main(["process", *(file if part == "FILE" else part for part in arguments)])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_a_column_that_explains_all_is_named_alone():
    """A winner that p* always prefers: no other column takes part."""
    data = simulated_pairs("DPO", 200, rng=drawn_seed())
    sure = np.sort(np.array(data["log_p"]), axis=0)[::-1]
    with pytest.raises(ValueError, match="got 200 that 'log p' explains without one; add comparisons of answers that"):
        pb.identify_process(**{**data, "log_p": sure})


def test_half_a_pair_of_columns_is_not_passed_over(tmp_path, capsys):
    """Without the column that was forgotten, log p would silently not be part of the regression."""
    half = written(tmp_path / "half.jsonl", DATA, ("chosen_logps", "other", "ref_chosen_logps", "ref_rejected_logps"))
    assert main(["process", half]) == 2
    assert "there is no column 'rejected_logps'" in capsys.readouterr().err


def test_size_power_and_coverage():
    """40 data sets of each process: wrong ones rejected, the right one mostly kept, intervals that mostly cover; the
    bounds are those that 40 binomial draws leave with odds of 10,000 to 1. The table of 2,000 is in docs/process.md.
    """
    for found in simulate_processes(40, rng=drawn_seed()):
        wrong = set(PROCESSES) - {found.name} - ({"geometric"} if found.name == "Luce" else set())
        assert all(found.rejected[name] > 0.9 for name in wrong), found
        assert found.rejected[found.name] < 0.25
        assert (found.coefficients_covered > 0.75).all()
        assert found.chosen[found.name] > (0.55 if found.name == "Luce" else 0.9)
        assert found.covered is None or found.covered > 0.75


def test_the_simulation_prints_its_table(capsys):
    assert main(["process", "--simulate", "2", "--pairs", "200", "--seed", "7"]) == 0
    first = capsys.readouterr().out
    assert main(["process", "--simulate", "2", "--pairs", "200", "--seed", "7"]) == 0
    assert first == capsys.readouterr().out
    assert "seed 7: 2 data sets" in first
    assert max(map(len, first.splitlines())) <= 80


def test_fit_says_that_votes_alone_do_not_tell_processes_apart(tmp_path, capsys):
    """Where a process is given or items are texts; not for matches, where nobody asked."""
    file = tmp_path / "votes.csv"
    file.write_text("chosen,rejected\ntea,coffee\ncoffee,tea\ntea,coffee\n")
    assert main(["fit", str(file)]) == 0
    assert "pbde-ref process" not in capsys.readouterr().err
    assert main(["fit", str(file), "--f", "2"]) == 0
    assert "every process f·log p + g fits these comparisons equally well" in capsys.readouterr().err
