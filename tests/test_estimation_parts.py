"""Files in several parts: added up as one, by whomever, to the same bytes."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.cli import main
from pbde_ref.estimation import DataError, read_comparisons
from tests.seeds import drawn_seed

HEADER = "left,right,winner,weight,who,match,height\n"
LAYOUTS = {
    "plain": {},
    "ties": {"ties": "half", "weight": "weight"},
    "sides": {"ties": "keep", "sides": True, "weight": "weight"},
    "annotators": {"ties": "drop", "annotator": "who", "weight": "weight"},
    "clusters": {"ties": "keep", "annotator": "who", "cluster": "match", "covariates": ["height"]},
    "probabilities": {"winner": None, "probability": "weight", "annotator": "who"},
    "held out": {"ties": "half", "held_out": 0.3, "rng": 5},
}


def rows_of(rng, count):
    """Items of a part's own beside common ones; a third of the rows are ties."""
    names = np.array(["tea", "coffee", "water", f"item {rng.integers(1000)}", f"item {rng.integers(1000)}"])
    for _ in range(count):
        left, right = rng.choice(len(names), 2, replace=False)
        said, who, match = rng.choice(["left", "right", "tie"]), rng.choice(["Ann", "Bob", "Eve"]), rng.integers(5)
        yield f"{names[left]},{names[right]},{said},{rng.random():.3f},{who},m{match},{rng.integers(3) / 4}\n"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    rng, folder = np.random.default_rng(drawn_seed()), tmp_path_factory.mktemp("parts")
    texts = ["".join(rows_of(rng, int(rng.integers(1, 60)))) for _ in range(6)]
    (folder / "whole.csv").write_text(HEADER + "".join(texts))
    for number, text in enumerate(texts):
        (folder / f"{number}.csv").write_text(HEADER + text)
    return folder / "whole.csv", [folder / f"{number}.csv" for number in range(6)]


def read(path, name, **options):
    ties = {"ties": "drop"} if "ties" not in LAYOUTS[name] else {}
    return read_comparisons(path, left="left", right="right", **{"winner": "winner"} | ties | LAYOUTS[name] | options)


def content(table):
    """All that a table holds, as bytes where it is numbers."""
    arrays = (table.winner, table.loser, table.weights, table.annotator, table.ties, table.first, table.clusters,
              table.repeats, table.held_out, *table.covariates.values())  # fmt: skip
    names = [None if names is None else names.tolist() for names in (table.items, table.annotators)]
    return names, [a if a is None else a.tobytes() for a in arrays], table.n_rows, table.n_ties, table.sample


def by_name(table):
    """Weight by what a row says, clusters apart: how these are numbered is a convention."""
    columns = [table.items[table.winner], table.items[table.loser]]
    columns += [] if table.annotator is None else [table.annotators[table.annotator]]
    columns += [column for column in (table.first, *table.covariates.values()) if column is not None]
    found = {}
    for row, weight in zip(zip(*(c.tolist() for c in columns), strict=True), table.weights, strict=True):
        found[row] = found.get(row, 0.0) + weight
    return found


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "held out"])
def test_parts_are_their_whole(parts, name):
    """Read in six parts, or as one file."""
    whole, several = (read(path, name) for path in parts)
    assert whole.items.tolist() == several.items.tolist()
    assert by_name(several) == pytest.approx(by_name(whole), rel=1e-14)
    assert (whole.n_rows, whole.n_ties) == (several.n_rows, several.n_ties)
    if whole.clusters is not None:
        assert np.unique(whole.clusters).size == np.unique(several.clusters).size


@pytest.mark.parametrize("place", ["processes", "threads", "dask"])
def test_the_sums_do_not_depend_on_who_reads(parts, place, request):
    found = {name: content(read(parts[1], name)) for name in LAYOUTS}
    if place == "processes":
        for name in ("ties", "held out"):
            assert content(read(parts[1], name, executor=2)) == found[name]
        return
    dask = place == "dask"
    with nullcontext(request.getfixturevalue("dask_executor")) if dask else ThreadPoolExecutor(3) as executor:
        assert {name: content(read(parts[1], name, executor=executor)) for name in LAYOUTS} == found


def test_what_is_wrong_names_the_part(parts, tmp_path):
    """Its advice survives the way from another process."""
    other = tmp_path / "other.csv"
    other.write_text("chosen,rejected\na,b\n")
    with pytest.raises(DataError, match=r"other\.csv"):
        read_comparisons([parts[1][0], other], ties="drop")
    bad = tmp_path / "bad.csv"
    bad.write_text(HEADER + "a,b,tie,1,Ann,m,0\n")
    with pytest.raises(DataError, match=r"bad\.csv, line 2: a tie; say what ties count for: ties=\"half\"") as found:
        read_comparisons([bad, parts[1][0]], left="left", right="right", winner="winner", executor=2)
    assert "--ties half" in found.value.note.spelled(command_line=True)
    bad.write_text(HEADER + "a,b,nobody,1,Ann,m,0\n")
    skipped = read([parts[1][0], bad], "plain", bad_lines="skip")
    assert [str(line) for line in skipped.bad_lines] == [
        f"line 2: 'winner' says 'nobody', which is neither 'a' nor 'b' nor a tie ({bad})"
    ]


def test_answers_to_prompts_stay_in_one_file(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("prompt,chosen,rejected\nWhy?,so,not so\n")
    with pytest.raises(DataError, match="answers to prompts must be in one file"):
        read_comparisons([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_fit_takes_several_files(parts, capsys):
    files = list(map(str, parts[1]))
    options = ["--left", "left", "--right", "right", "--winner", "winner", "--ties", "half", "--prior", "pseudo:1"]
    printed = []
    for more in ([str(parts[0])], files, [*files, "--workers", "2"]):
        assert main(["fit", *more, *options]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == printed[2]
    assert main(["fit", *files, *options, "--scheduler", "nowhere"]) == 2


@pytest.mark.parametrize("weight", [1e5, 1e15, 1e40])
def test_where_zero_is_belongs_to_what_converges(weight):
    """By symmetry the mode is (d, −d); large weights drown what the prior says in the likelihood's rounding errors."""
    fit = pb.fit_comparisons([0, 1], [1, 0], [weight, 1.0], support=range(2), prior=pb.PseudoCounts(1.0))
    assert fit.converged == (weight == 1e5)
    assert not fit.converged or abs(fit.utilities.sum()) < 2e-6


@pytest.mark.parametrize("converged", [True, False])
def test_a_mixture_that_did_not_converge_is_never_best(tmp_path, monkeypatch, converged):
    """A prior holds the others at a coin's loss; the mixture would lead, and does if it converged."""
    from pbde_ref.cli.fit_report import model_table
    from pbde_ref.estimation import annotator_models as models

    path = tmp_path / "judged.csv"
    path.write_text("chosen,rejected,judge\n" + "a,b,x\na,b,y\n" * 30, encoding="utf-8")
    table = pb.read_comparisons(path, annotator="judge", held_out=0.2, rng=0)
    fit = models.fit_mixture

    def sure(*arguments):
        sign = np.where(table.items == "a", 3.0, -3.0)
        return replace(fit(*arguments), utilities=np.stack([sign, sign]), converged=converged)

    monkeypatch.setattr(models, "fit_mixture", sure)
    found = pb.compare_annotator_models(table, prior=pb.GaussianPrior(1e-3), rng=0)
    said = model_table(found, 2)
    assert (found.best == "mixture") == converged
    assert ("'mixture' describes them best" in said) == converged
    assert ("'mixture' did not converge" in said) != converged


def test_a_long_list_of_spoilers_is_counted_in_a_short_message():
    """Two that only won, one that only lost, one between, in two groups: 351 characters before."""
    said = "2 items only won; 1 items only lost; 1 items only won or only lost to each"
    with pytest.raises(pb.NoFiniteEstimateError, match=said) as caught:
        pb.fit_comparisons(["a", "b", "c", "d", "e", "g"], ["b", "a", "a", "c", "c", "h"])
    assert len(str(caught.value)) <= 300
    assert (len(caught.value.winners), len(caught.value.losers), len(caught.value.between)) == (2, 1, 1)
