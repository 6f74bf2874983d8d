"""``pbde-ref fit``, models of several annotators, and what they print, write and draw."""

import argparse
import gzip
import json
import math

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.cli.fit import add_arguments, run
from pbde_ref.cli.fit_report import item_table, label, model_table
from pbde_ref.estimation import (
    GaussianPrior,
    PseudoCounts,
    compare_annotator_models,
    comparison_table,
    fit_comparisons,
    stigler_citations,
)
from pbde_ref.estimation.annotator_models import held_out_score
from pbde_ref.estimation.processes import read_process
from pbde_ref.estimation.ranking import ranking
from tests.seeds import drawn_seed


@pytest.fixture
def fit(capsys):
    """Run the command and return its status, stdout and stderr."""

    def call(*arguments):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        status = run(parser.parse_args([str(argument) for argument in arguments]))
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def write(tmp_path):
    def make(content, name="file.csv"):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return make


def rows(*arrows):
    return "chosen,rejected\n" + "".join(f"{a},{b}\n" for a, b in arrows)


def judged(opinions, m, seed, names=None):
    """Comparisons by annotators with these utilities, shape (k, n)."""
    rng = np.random.default_rng(seed)
    k, n = opinions.shape
    who, a = rng.integers(k, size=m), rng.integers(n, size=m)
    b = (a + rng.integers(1, n, size=m)) % n
    won = rng.random(m) < 1 / (1 + np.exp(opinions[who, b] - opinions[who, a]))
    return np.where(won, a, b), np.where(won, b, a), who


# --- The command ---


def test_example(fit, tmp_path):
    """The worked example: the published numbers in the table and in JSON, and a picture that is one."""
    record, picture = tmp_path / "x.json", tmp_path / "x.png"
    status, out, _ = fit("--example", "--reference", "Biometrika", "--json", record, "--plot", picture)
    assert status == 0
    for number in ("0.2690", "-0.4796", "-2.9491", "[0.130, 0.408]"):
        assert number in out
    assert max(map(len, out.splitlines())) <= 80
    result = json.loads(record.read_text("utf-8"))
    items = {item["item"]: item for item in result["items"]}
    assert [item["item"] for item in result["items"]] == ["JRSS-B", "Biometrika", "JASA", "Comm. Statist."]
    assert items["JASA"]["utility"] == pytest.approx(-0.4796, abs=5e-5)
    assert items["JASA"]["standard_error"] == pytest.approx(0.0606, abs=5e-5)
    assert sum(item["probability"] for item in result["items"]) == pytest.approx(1.0)
    assert result["converged"] is True
    assert result["comparisons"] == 3727
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    before = picture.read_bytes()
    fit("--example", "--reference", "Biometrika", "--plot", picture)
    assert picture.read_bytes() == before


def test_messy_file(fit, write):
    """Quotes, ties, blank lines, unknown columns, names that are not ASCII, a byte order mark."""
    content = (
        "\ufeffid;Modell A;Modell B;Sieger;Notiz\r\n"
        '1;"Größe ""XL""";Straße;Modell A;"mit; Semikolon"\r\n'
        "\r\n"
        '2;Straße;"Größe ""XL""";model\r\n'
        ";;;;\r\n"
        '3; Straße ;"Größe ""XL""";tie;"zwei\r\nZeilen"\r\n'
        '4;Straße;日本語;日本語;\r\n5;日本語;Straße;Straße;\r\n6;日本語;"Größe ""XL""";B;\r\n'
    )
    columns = ("--left", "Modell A", "--right", "Modell B", "--winner", "Sieger")
    with pytest.raises(ValueError, match="line 4: 4 cells where the header has 5"):
        fit(write(content), *columns, "--ties", "half")
    good = content.replace(";model\r", ";Modell A;\r")
    status, out, _ = fit(write(good), *columns, "--ties", "half")
    assert status == 0
    assert "6 rows, 1 of them ties; 6 comparisons of 3 items" in out
    assert 'Größe "XL"' in out
    status, out, err = fit(write(content), *columns, "--ties", "half", "--bad-lines", "skip")
    assert status == 0
    assert "1 lines skipped" in err
    assert "line 4: 4 cells" in err


def test_no_finite_estimate(fit, write):
    """The error names the items and the command's own remedies, which then help."""
    path = write(rows("ab", "bc", "ca", "da", "ae"))
    with pytest.raises(ValueError, match=r"'d' won .*; 'e' lost .* \(--incomparable drop\).* --prior pseudo:1$"):
        fit(path)
    status, out, _ = fit(path, "--incomparable", "drop")
    assert status == 0
    assert "left out for having no finite estimate: d, e" in out
    for prior in ("pseudo:1", "gaussian:2"):
        status, out, _ = fit(path, "--prior", prior)
        assert status == 0
        assert "posterior mode" in out
    status, out, _ = fit(write(rows("ab", "ba", "cd", "dc")), "--incomparable", "separate")
    assert "2 groups without a comparison between them: utilities have mean 0 in each" in out


def test_json_agrees_with_the_function(fit, write, tmp_path):
    """Options reach the fit: prior, process, level, weights."""
    journals, counts = stigler_citations()
    lines = [
        f"{a},{b},{counts[i, j]}\n" for i, a in enumerate(journals) for j, b in enumerate(journals) if counts[i, j]
    ]
    path = write("chosen,rejected,n\n" + "".join(lines))
    process = write(
        "f,item,g,x\n" + "".join(f"{i + 1},{name},{0.1 * i},\n" for i, name in enumerate(journals)), "p.csv"
    )
    record = tmp_path / "x.json"
    status, *_ = fit(
        path, "--weight", "n", "--prior", "gaussian:1", "--pbde", process, "--level", "0.5", "--json", record
    )
    assert status == 0
    pbde = pb.PBDE([1, 2, 3, 4], [0.0, 0.1, 0.2, 0.3])
    expected = fit_comparisons(counts=counts, support=journals, prior=GaussianPrior(1.0), pbde=pbde)
    found = {item["item"]: item for item in json.loads(record.read_text("utf-8"))["items"]}
    intervals = expected.confidence_intervals(0.5)
    for i, name in enumerate(journals):
        assert found[name]["utility"] == pytest.approx(expected.utilities[i] - expected.utilities.mean(), abs=1e-12)
        assert found[name]["probability"] == pytest.approx(expected.distribution.pmf[i], rel=1e-10)
        np.testing.assert_allclose([found[name]["low"], found[name]["high"]], intervals[i], rtol=1e-9)


def test_scalar_process(fit, tmp_path):
    record = tmp_path / "x.json"
    fit("--example", "--f", "2", "--json", record)
    counts = stigler_citations()[1]
    expected = fit_comparisons(counts=counts, pbde=pb.PBDE(2.0)).distribution.pmf
    found = sorted(item["probability"] for item in json.loads(record.read_text("utf-8"))["items"])
    np.testing.assert_allclose(found, np.sort(expected), rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "give either a FILE or --example"),
        (["x.csv", "--example"], "give either a FILE or --example"),
        (["--example", "--f", "2", "--pbde", "p.csv"], "give either --f or --pbde"),
        (["--example", "--reference", "Nature"], "`--reference` must be an item of the file; got 'Nature'"),
        (["--example", "--annotator", "cited", "--prior", "none"], "`--prior` must not be none with --annotator"),
    ],
)
def test_wrong_usage(fit, arguments, match):
    with pytest.raises(ValueError, match=match):
        fit(*arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--prior", "flat"], "must be none, gaussian:SCALE or pseudo:COUNT; got 'flat'"),
        (["--prior", "pseudo:-1"], "must be positive and finite; got -1"),
        (["--level", "95"], "must be between 0 and 1; got 95"),
        (["--level", "high"], "must be a number; got 'high'"),
        (["--top", "-1"], "must be from 0 to 9223372036854775807; got -1"),
        (["--seed", "x"], "must be a whole number; got 'x'"),
        (["--mixture", "0"], "must be from 1 to 9223372036854775807; got 0"),
        (["--delimiter", "ab"], "must be one character, or tab"),
        (["--plot", "x.pdf"], "must end in one of .png; got 'x.pdf'"),
        (["--json", "no/such/folder/x.json"], "the folder does not exist: 'no/such/folder/x.json'"),
        (["--ties", "ignore"], "invalid choice: 'ignore'"),
    ],
)
def test_wrong_options(capsys, arguments, match):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["x.csv", *arguments])
    assert match in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("item,f\na,1\n", "there is no column 'g'"),
        ("item,f,g\na,1,x\n", "line 2: f and g must be numbers; got '1' and 'x'"),
        ("item,f,g\na,1,0\na,2,0\n", "line 3: 'a' has other values than before"),
        ("item,f,g\na,1,0\n", "there is no line for 'b' and 0 other items"),
        ("item,f,g\na,1,0\nb,0,0\n", "`f` must be positive"),
        ("item,f,g\na,1\n", "line 2: 2 cells where the header has 3"),
    ],
)
def test_wrong_processes(write, content, match):
    with pytest.raises(ValueError, match=match):
        read_process(write(content), np.array(["a", "b"]))


def test_large_gzipped_file(fit, tmp_path):
    """Forty thousand rows in a few chunks; the estimate is that of the arrays."""
    truth = np.random.default_rng(0).normal(size=(1, 50))
    winner, loser, _ = judged(truth, 40_000, 1)
    lines = "".join(f"item {a}\titem {b}\tleft\n" for a, b in zip(winner, loser, strict=True))
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress(("left\tright\twinner\n" + lines).encode(), 1))
    record = tmp_path / "x.json"
    status, out, err = fit(path, "--json", record, "--top", "3")
    assert status == 0
    assert "40,000 comparisons of 50 items" in out
    assert "47 more items; --top 0 shows all" in out
    assert err == ""
    expected = fit_comparisons(winner, loser)
    for item in json.loads(record.read_text("utf-8"))["items"]:
        assert item["utility"] == pytest.approx(expected.utilities[int(item["item"].split()[1])], abs=1e-9)


def test_not_converged_is_a_failed_check(fit, write):
    path = write("chosen,rejected,n\na,b,1e15\nb,a,1e-3\n")
    status, out, _ = fit(path, "--weight", "n")
    assert status == 1
    assert "NOT CONVERGED" in out


def test_labels_do_not_command_the_terminal():
    assert label("\x1b[31mred\x07") == "�[31mred�"
    assert label("x" * 30) == "x" * 21 + "…"


def test_many_items_have_errors_where_they_are_shown():
    """Beyond 4,096 items only what the table shows is solved for; the others' errors are unknown, not zero."""
    a = np.arange(4500)
    fit = fit_comparisons(np.concatenate([a, a]), np.concatenate([(a + 1) % 4500, (a + 7) % 4500]))
    ranked = ranking(fit, 0.95, None, 3)
    assert np.isfinite(ranked.errors[:3]).all()
    assert np.isnan(ranked.errors[3:]).all()
    np.testing.assert_allclose(ranked.errors[:3], fit.standard_errors(ranked.order[:3]), rtol=1e-9)
    assert len(item_table(fit, ranked, 3).splitlines()) == 9


def test_drawing_any_label(tmp_path):
    """Dollar signs are no formulas, letters that the font lacks no warning; many items make a curve."""
    from pbde_ref.figures.ranking import draw_ranking, save_ranking

    names = ["$x^2$", "$", "日本語", "_", "\\alpha"]
    counts = np.ones((5, 5))
    fit = fit_comparisons(counts=counts, support=names)
    figure = draw_ranking(fit, ranking(fit, 0.95, 0, 5))
    save_ranking(figure, tmp_path / "a.png")
    shown = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert sorted(shown) == sorted([r"\$x^2\$", r"\$", "日本語", "_", "\\alpha"])
    many = fit_comparisons(counts=np.ones((80, 80)))
    save_ranking(draw_ranking(many, ranking(many, 0.95, None, 80)), tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 5000


# --- Several annotators ---


def test_score_by_hand():
    """Three comparisons at 0.8 of which one was lost, one at ½: losses, and how far sureness is from hits."""
    score = held_out_score(-np.log([0.8, 0.2, 0.5]), np.array([2.0, 1.0, 1.0]))
    assert score.log_loss == pytest.approx(-(2 * math.log(0.8) + math.log(0.2) + math.log(0.5)) / 4)
    assert score.calibration_error == pytest.approx(0.75 * (0.8 - 2 / 3))
    assert score.share.sum() == pytest.approx(1.0)
    assert score.confidence[0] == score.hit_rate[0] == 0.5
    values = -np.log([0.8, 0.8, 0.2, 0.5])
    assert score.standard_error == pytest.approx(values.std() / 2)


def test_a_calibrated_model_is_told_from_an_overconfident_one():
    rng = np.random.default_rng(0)
    margin = rng.normal(size=40_000)
    won = rng.random(margin.size) < 1 / (1 + np.exp(-margin))
    signed = np.where(won, margin, -margin)
    right, sure = (held_out_score(np.log1p(np.exp(-c * signed)), np.ones(margin.size)) for c in (1.0, 2.0))
    assert right.calibration_error < 0.01
    assert sure.calibration_error > 0.05
    assert sure.log_loss > right.log_loss + 5 * right.standard_error


SHARED = np.linspace(-1.5, 1.5, 7)


def test_shared_taste_is_told_from_own_tastes():
    """With one utility for all the pooled model predicts best; with opposite ones each annotator's own."""
    for opinions, best in ((np.stack([SHARED] * 4), "pooled"), (np.stack([SHARED, -SHARED, SHARED[::-1]]), "each")):
        winner, loser, who = judged(opinions, 6000, 0)
        table = comparison_table(winner, loser, annotator=who, held_out=0.3, rng=1)
        models = compare_annotator_models(table, prior=PseudoCounts(0.5), rng=0)
        assert models.best == best
        assert models.clear or models.runner_up == "mixture"  # two equal annotators in a mixture are one
        other = {"pooled": "each", "each": "pooled"}[best]
        assert models.scores[other].log_loss > models.scores[best].log_loss
        assert models.n_train + models.n_held_out == 6000
        assert models.parameters == {"pooled": 7, "each": 7 * len(opinions), "mixture": 15}
        held = table.held_out
        pooled = fit_comparisons(
            table.winner[~held], table.loser[~held], table.weights[~held], prior=PseudoCounts(0.5)
        ).utilities
        margin = pooled[table.winner[held]] - pooled[table.loser[held]]
        weights = table.weights[held]
        expected = (weights * np.log1p(np.exp(-margin))).sum() / weights.sum()
        assert models.scores["pooled"].log_loss == pytest.approx(expected, rel=1e-12)


def test_hidden_types_are_found_by_the_mixture():
    """Two kinds of people, nobody knows who is which: one utility for all does worse than the mixture, which predicts
    about as well as the truth.
    """
    taste = 3.0 * np.array([SHARED, np.roll(SHARED, 3)])
    winner, loser, who = judged(np.tile(taste, (20, 1)), 40_000, 2)
    table = comparison_table(winner, loser, annotator=who, held_out=0.2, rng=0)
    models = compare_annotator_models(table, prior=PseudoCounts(0.5), rng=0)
    assert models.scores["mixture"].log_loss < models.scores["pooled"].log_loss
    truth = pb.AnnotatorMixture([0.5, 0.5], [pb.Annotator(pb.FiniteDistribution(row), pb.luce()) for row in taste])
    chance = truth.preference_probabilities()[table.winner, table.loser][table.held_out]
    best = (table.weights[table.held_out] * -np.log(chance)).sum() / models.n_held_out
    assert models.scores["mixture"].log_loss == pytest.approx(best, abs=5e-3)


def test_a_mixture_of_one_is_the_pooled_model():
    """Its pseudo-comparisons are then exactly the prior's, also for an item that never lost."""
    winner, loser, who = judged(np.stack([SHARED] * 2), 400, 0)
    winner, loser, who = np.append(winner, [7] * 9), np.append(loser, [0] * 9), np.append(who, [0] * 9)
    table = comparison_table(winner, loser, annotator=who, held_out=0.3, rng=1)
    with pytest.raises(TypeError, match="`callback` must be a function; got 3"):
        compare_annotator_models(table, prior=PseudoCounts(0.5), callback=3)
    models = compare_annotator_models(table, prior=PseudoCounts(0.5), n_mixture=1, rng=0)
    one, pooled = models.mixture.utilities[0, :8], models.pooled.utilities
    # The mixture stops at a gradient of 1e-6, here of an item with few comparisons.
    np.testing.assert_allclose(one - one.mean(), pooled - pooled.mean(), atol=1e-3)
    assert models.scores["mixture"].log_loss == pytest.approx(models.scores["pooled"].log_loss, abs=1e-4)


def test_annotators_who_appear_in_the_test_alone():
    """Nothing is known about them: a coin."""
    table = comparison_table([0, 1, 0, 1], [1, 0, 1, 0], annotator=[0, 0, 0, 1], held_out=0.5, rng=3)
    held = table.held_out
    assert 0 < np.count_nonzero(held) < held.size
    models = compare_annotator_models(table, prior=PseudoCounts(0.5), rng=0)
    assert models.scores["each"].log_loss > 0


def test_equal_seeds_give_equal_models():
    winner, loser, who = judged(np.stack([SHARED, -SHARED]), 1000, 0)
    table = comparison_table(winner, loser, annotator=who, held_out=0.3, rng=1)
    one, two = (compare_annotator_models(table, prior=GaussianPrior(2.0), rng=5) for _ in range(2))
    np.testing.assert_array_equal(one.mixture.utilities, two.mixture.utilities)
    assert one.scores["each"].log_loss == two.scores["each"].log_loss


def test_wrong_tables_for_models():
    winner, loser, who = judged(np.stack([SHARED, -SHARED]), 100, 0)
    with pytest.raises(ValueError, match="`table` must name annotators"):
        compare_annotator_models(comparison_table(winner, loser, held_out=0.5), prior=PseudoCounts(1.0))
    with pytest.raises(ValueError, match="`table` must have comparisons both held out and not"):
        compare_annotator_models(comparison_table(winner, loser, annotator=who), prior=PseudoCounts(1.0))
    with pytest.raises(TypeError, match="`prior` must be a GaussianPrior or PseudoCounts; got NoneType"):
        compare_annotator_models(comparison_table(winner, loser, annotator=who, held_out=0.5), prior=None)
    with pytest.raises(TypeError, match="`table` must be a ComparisonTable"):
        compare_annotator_models([0, 1], prior=PseudoCounts(1.0))


def test_command_with_annotators(fit, write, tmp_path):
    winner, loser, who = judged(np.stack([SHARED, -SHARED]), 2000, 0)
    path = write(
        "chosen,rejected,judge\n"
        + "".join(f"i{a},i{b},judge {c}\n" for a, b, c in zip(winner, loser, who, strict=True))
    )
    record = tmp_path / "x.json"
    status, out, _ = fit(path, "--annotator", "judge", "--json", record, "--seed", "3")
    assert status == 0
    assert "'each' describes them best" in out
    assert "seed 3" in out
    assert max(map(len, out.splitlines())) <= 90
    result = json.loads(record.read_text("utf-8"))["annotators"]
    assert result["best"] == "each"
    assert set(result["scores"]) == {"pooled", "each", "mixture"}
    assert set(result["each"]) == {"judge 0", "judge 1"}
    assert len(result["mixture"]["utilities"][0]) == len(result["mixture"]["items"]) == 7
    _, again, _ = fit(path, "--annotator", "judge", "--json", record, "--seed", "3")
    assert again == out


# --- What people type first ---


ARENA = "".join(
    json.dumps({"model_a": a, "model_b": b, "winner": said, "judge": f"J{i % 3}"}) + "\n"
    for i, (a, b, said) in enumerate(
        [("m", "n", "model_a"), ("n", "o", "model_b"), ("m", "o", "tie"), ("o", "m", "model_a"), ("n", "m", "tie"),
         ("m", "o", "both_bad"), ("n", "o", "model_a"), ("n", "m", "model_a")] * 3
    )
)  # fmt: skip


def test_ties_are_ties_unless_told_otherwise(fit, write):
    """The first guess loads; what ties count for is said, and what half wins do to utilities."""
    path = write(ARENA, "x.jsonl")
    status, out, err = fit(path)
    assert status == 0
    assert "looks like Chatbot Arena battles: model_a, model_b, winner" in out
    assert "ties: Davidson's model" in out
    assert "errors: Fisher information" in out
    assert "3 rows left out: both_bad is nobody's win and no tie; to count them as ties say --tie-values both_b" in err
    assert "rows with equal 'judge' are taken as independent of each other; if they are not say --cluster judge" in err
    status, out, _ = fit(path, "--ties", "half")
    assert "pulls utilities together\n  utilities span " in out
    assert "errors: sandwich" in out
    _, out, err = fit(path, "--ties", "rao-kupper", "--order", "--cluster", "judge", "--elo")
    for piece in ("Rao and Kupper", "standing on the left", "threshold", "added up by cluster", "in units of Elo"):
        assert piece in out
    assert "--cluster" not in err
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("model", ["half", "davidson", "rao-kupper"])
@pytest.mark.parametrize("more", [[], ["--cluster", "judge"], ["--prior", "gaussian:1"]], ids=" ".join)
def test_every_model_of_ties_can_be_written_down(fit, write, tmp_path, model, more):
    record = tmp_path / "fit.json"
    status, _, err = fit(write(ARENA, "votes.jsonl"), "--ties", model, "--json", str(record), *more)
    assert status == 0, err
    assert json.loads(record.read_text())["converged"] is True


def test_elo_is_a_unit(fit, write, tmp_path):
    """400 points are odds of 10 to 1, and the reference has 1000."""
    path = write("chosen,rejected,n\na,b,10\nb,a,1\n")
    _, out, _ = fit(path, "--weight", "n", "--elo", "--reference", "b")
    assert "(b at 1000)" in out
    assert "1400.0" in out


def test_dry_run(fit, write):
    status, out, _ = fit(write(ARENA, "x.jsonl"), "--dry-run")
    assert status == 0
    assert out == (
        "looks like Chatbot Arena battles: model_a, model_b, winner\n  m beats n\n  n loses to o\n  m ties with o\n"
        "  o beats m\n  n ties with m\n  … 19 more rows\n24 rows, 6 of them ties; 3 items\n"
    )


def test_lists_may_begin_with_a_minus(fit, write):
    """`--left-wins -3,-2,-1` is no option."""
    path = write("response1,response2,said\nm,n,-3\nm,n,2\nm,n,-1\nn,m,-1\n")
    columns = ("--left", "response1", "--right", "response2", "--winner", "said")
    status, out, _ = fit(path, *columns, "--left-wins", "-3,-2,-1", "--right-wins", "1,2,3")
    assert status == 0
    assert "4 rows; 4 comparisons of 2 items" in out


@pytest.mark.parametrize(
    ("content", "options", "match"),
    [
        ("left,right,winner\nx,y,home\n", [], r"--left-wins home or --right-wins home or --tie-values home$"),
        ("left,right,winner\nx,y,7\n", [], r"--counts A,B or --scores A,B; "),
        ("left,right,winner\nx,y,tie\n", ["--ties", "error"], r"--ties half \(to either side\) or --ties drop$"),
        ("left,right,winner\nx,x,y\n", [], r"--bad-lines skip$"),
        ("x,y\na,b\n", [], r"--chosen COLUMN --rejected COLUMN$"),
        ("chosen,rejected\na,b\nc,d\n", [], r"--incomparable drop\), or add --prior pseudo:1$"),
        ("chosen,rejected\na,b\n", ["--incomparable", "drop"], r"or add --prior pseudo:1$"),
        ("prompt,chosen,rejected\np,a,b\n", [], r"--prompt none .* --prior pseudo:1"),
        ("chosen,rejected\na,b\nb,a\n", ["--plackett-luce"], r"`--plackett-luce` must come with rankings"),
    ],
)  # fmt: skip
def test_errors_are_spelled_for_the_command_line(fit, write, content, options, match):
    with pytest.raises(ValueError, match=match) as caught:
        fit(write(content), *options)
    assert '="' not in str(caught.value)
    assert "PseudoCounts" not in str(caught.value)


def test_rankings_as_pairs_or_as_choices(fit, write):
    path = write("ranking,weight\na > b > c,3\nc > b > a,2\nb > c > a,1\n")
    _, out, _ = fit(path)
    assert "18 comparisons of 3 items" in out
    assert "sandwich of scores added up by row" in out
    _, out, _ = fit(path, "--plackett-luce")
    assert "6 comparisons of 3 items" in out


def test_ties_in_rankings_are_told(fit, write):
    """A tie before the last place of a row was lost from the count, and `--ties error` let it pass."""
    path = write("ranking,weight\na > b = c,3\na = c > b,2\nc > b > a,2\nb > c > a,1\n")
    _, out, _ = fit(path)
    assert "4 rows, 2 of them with ties; 24 comparisons of 3 items" in out
    assert "ties: half a win of either side" in out
    with pytest.raises(ValueError, match="line 2: a tie"):
        fit(path, "--ties", "error")
    with pytest.raises(ValueError, match=r"one item at each place but the last .*; got several at place 1"):
        fit(path, "--plackett-luce")
    _, out, _ = fit(write("ranking,weight\na > b = c,3\nc > b > a,2\nb > c > a,1\n"), "--plackett-luce")
    assert "3 rows, 1 of them with ties; 6 comparisons of 3 items" in out
    assert "ties: the order of those that come last together is left open" in out


def test_a_pair_that_occurs_once_gets_a_fit(fit, write):
    """Ten thousand pairs of items that occur once ended in a traceback."""
    path = write("chosen,rejected\n" + "".join(f"good {i},bad {i}\n" for i in range(3000)))
    status, out, _ = fit(path, "--prior", "pseudo:1", "--top", "1")
    assert status == 0
    # By hand: 2 σ(-2u) ... one win, c = 1: σ(-2u) = tanh(u / 2).
    assert "0.5280" in out


def test_sparse_annotators_have_a_prior():
    """Three annotators of whom each compared little: the mixture predicted 32 nats off; a useless model is named."""
    rng = np.random.default_rng(drawn_seed())
    utilities = rng.normal(size=120)
    a = rng.integers(0, 120, 900)
    b = (a + rng.integers(1, 120, 900)) % 120
    won = rng.random(900) < 1 / (1 + np.exp(utilities[b] - utilities[a]))
    table = comparison_table(
        np.where(won, a, b), np.where(won, b, a), annotator=rng.integers(0, 3, 900), held_out=0.2, rng=0
    )
    models = compare_annotator_models(table, prior=PseudoCounts(0.5), rng=0)
    assert models.mixture.converged
    assert models.scores["mixture"].log_loss < models.scores["pooled"].log_loss + 0.05
    coin = compare_annotator_models(
        comparison_table(np.where(won, b, a)[:9] % 119, a[:9] * 0 + 119, annotator=np.arange(9), held_out=0.5, rng=1),
        prior=PseudoCounts(0.5), rng=0,
    )  # fmt: skip
    for name, score in coin.scores.items():
        assert (f"{name!r} is of no use" in model_table(coin, 9)) == (score.log_loss > math.log(2))


# --- Pictures, each annotator, profile likelihood ---


@pytest.fixture
def two_judges(write):
    """Two judges who want the opposite."""
    won, lost, who = judged(np.array([[0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0]]), 800, drawn_seed())
    rows = "".join(f"i{a},i{b},j{k}\n" for a, b, k in zip(won, lost, who, strict=True))
    return write(f"winner,loser,judge\n{rows}")


@pytest.mark.parametrize("kind", ["ranking", "wins", "calibration", "annotators"])
def test_every_picture_is_one(fit, tmp_path, two_judges, kind):
    """A PNG, the same bytes again, and not that of another kind."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths[:2]:
        assert fit(two_judges, "--annotator", "judge", "--plot", path, "--picture", kind)[0] == 0
    fit(two_judges, "--annotator", "judge", "--plot", paths[2], "--picture", "wins" if kind == "ranking" else "ranking")
    first, second, other = (path.read_bytes() for path in paths)
    assert first[:4] == b"\x89PNG"
    assert first == second != other


def test_each_annotator_is_shown_where_each_is_best(fit, two_judges):
    out = fit(two_judges, "--annotator", "judge")[1]
    assert "'each' describes them best" in out
    assert max(map(len, out.splitlines())) <= 80
    for judge, first in (("j0", "i3"), ("j1", "i0")):
        assert any(line.startswith(judge) and f"  {first} " in line for line in out.splitlines())
    assert "1 more annotators" in fit(two_judges, "--annotator", "judge", "--top", 1)[1]


def test_profile_and_its_limits(fit, two_judges, write):
    """The interval of two items by hand, and an error where it does not apply."""
    out = fit(write(rows(*[("a", "b")] * 5, ("b", "a")), "few.csv"), "--profile", "--reference", "b")[1]
    assert "[-0.215, 4.562]" in out
    assert "errors: profile likelihood" in out
    for more in (["--cluster", "judge"], ["--bootstrap", "3"]):
        with pytest.raises(ValueError, match="`--profile` must come without"):
            fit(two_judges, "--profile", *more)
    with pytest.raises(ValueError, match="must come with --annotator"):
        fit(two_judges, "--picture", "calibration")


@pytest.mark.parametrize("option", ["cluster", "annotator", "weight", "prompt", "encoding", "left", "winner"])
def test_a_column_without_a_name_is_refused(fit, write, option):
    """A shell's empty variable: `--weight ''` was no weights, without a word, and `--cluster ''` a traceback."""
    path = write("left,right,winner\na,b,left\nb,a,left\n")
    with pytest.raises(ValueError, match=f"`{option}` must have a letter; got ''"):
        fit(path, f"--{option}", "")


def test_words_without_a_letter_are_refused(fit, write):
    path = write("left,right,winner\na,b,left\nb,a,left\n")
    with pytest.raises(ValueError, match=r"`tie_values` must be words with a letter; got \[''\]"):
        fit(path, "--tie-values", "")
    with pytest.raises(SystemExit):
        fit(path, "--prior", "")


def test_a_process_of_a_file_is_finite(fit, write):
    path = write("left,right,winner\na,b,left\nb,a,left\n")
    process = write("item,f,g\na,1,0\nb,2,nan\n", "process.csv")
    with pytest.raises(ValueError, match=r"process\.csv, line 3: f and g must be finite; got 2 and nan"):
        fit(path, "--pbde", process)
