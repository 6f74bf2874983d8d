"""Files as people have them: what their columns are taken for, and what is said where that is not clear."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbde_ref.estimation import DataError, fit_comparisons, outcomes, read_comparisons
from pbde_ref.estimation.layouts import LAYOUTS, PLAIN, Columns, roles_of


@pytest.fixture
def write(tmp_path):
    def make(content, name="file.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def counted(table):
    names, total = table.items.tolist(), Counter()
    for a, b, weight in zip(table.winner.tolist(), table.loser.tolist(), table.weights.tolist(), strict=True):
        total[names[a], names[b]] += weight
    return total


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


CHAT = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
# Layout, file, and the comparisons in it; a tie is half a win of either side.
FILES = {
    "Chatbot Arena battles": ("x.jsonl", lines(
        {"model_a": "m", "model_b": "n", "winner": "model_a", "turn": 1, "conv": {"a": [1]}},
        {"model_a": "m", "model_b": "n", "winner": "tie"},
        {"model_a": "n", "model_b": "m", "winner": "tie (bothbad)"},
        {"model_a": "n", "model_b": "m", "winner": "both_bad"},
    ), {("m", "n"): 1.5, ("n", "m"): 0.5}),
    "Kaggle LMSYS battles": ("x.csv",
        "id,model_a,model_b,prompt,winner_model_a,winner_model_b,winner_tie\n"
        '1,m,n,"[""a\nb""]",1,0,0\n2,m,n,p,0,0,1\n3,n,m,p,0,1,0\n',
        {("m", "n"): 2.5, ("n", "m"): 0.5}),
    "Arena-Hard verdicts": ("x.jsonl", lines(
        *({"model_a": "m", "model_b": "n", "score": said} for said in ("A>B", "B>>A", "A=B", "A>>B"))),
        {("m", "n"): 2.5, ("n", "m"): 1.5}),
    "MT-Bench judgments of pairs": ("x.jsonl", lines(
        {"model_1": "m", "model_2": "n", "g1_winner": "model_1", "g2_winner": "tie", "judge": ["gpt", "v2"]},
        {"model_1": "m", "model_2": "n", "g1_winner": "model_2", "g2_winner": "error", "judge": ["gpt", "v2"]}),
        {("m", "n"): 1.5, ("n", "m"): 1.5}),
    "AlpacaEval annotations": ("x.json", json.dumps([
        {"generator_1": "m", "generator_2": "n", "preference": 1.25},
        {"generator_1": "m", "generator_2": "n", "preference": 2.0}], indent=1),
        {("m", "n"): 0.75, ("n", "m"): 1.25}),
    "RewardBench": ("x.jsonl", lines(
        {"prompt": "p", "chosen": "c", "chosen_model": "m", "rejected": "r", "rejected_model": "n"},
        {"prompt": "p", "chosen": "c", "chosen_model": "m", "rejected": "r", "rejected_model": "m"}),
        {("m", "n"): 1.0}),
    "HelpSteer3 preferences": ("x.jsonl", lines(
        *({"response1": "m", "response2": "n", "overall_preference": said} for said in (-3, -1, 0, 2))),
        {("m", "n"): 2.5, ("n", "m"): 1.5}),
    "SHP": ("x.jsonl", lines(
        {"history": "h", "human_ref_A": "m", "human_ref_B": "n", "labels": 1, "score_A": 5, "score_B": 9},
        {"history": "h", "human_ref_A": "n", "human_ref_B": "m", "labels": 0}), {("m | h", "n | h"): 2.0}),
    "UltraFeedback, binarized": ("x.jsonl", lines(
        {"prompt": "p", "prompt_id": "7", "chosen": CHAT, "rejected": "n"}), {("Q\nA | 7", "n | 7"): 1.0}),
    "TRL's preference format": ("x.jsonl", lines(
        {"prompt": "one?", "chosen": "Yes.", "rejected": "No."},
        {"prompt": "two?", "chosen": "No.", "rejected": "Yes."}),
        {("Yes. | one?", "No. | one?"): 1.0, ("No. | two?", "Yes. | two?"): 1.0}),
    "football-data.co.uk": ("x.csv", "Div,HomeTeam,AwayTeam,FTHG,FTAG,FTR\nE,m,n,2,0,H\nE,m,n,1,1,D\nE,n,m,0,1,A\n",
        {("m", "n"): 2.5, ("n", "m"): 0.5}),
    "chess results": ("x.csv", "White,Black,Result\nm,n,1-0\nn,m,0-1\nm,n,1/2-1/2\nm,n,*\n",
        {("m", "n"): 2.5, ("n", "m"): 0.5}),
    "Nectar's ranked answers": ("x.jsonl", lines(
        {"answers": [{"answer": "x", "model": "n", "rank": 2}, {"answer": "y", "model": "m", "rank": 1}]}),
        {("m", "n"): 1.0}),
    "rankings": ("x.soc", "# TYPE: soc\n# ALTERNATIVE NAME 1: m\n# ALTERNATIVE NAME 2: n\n# ALTERNATIVE NAME 3: o\n"
        "2: 1,2,3\n3: 3,{1,2}\n",
        {("m", "n"): 3.5, ("m", "o"): 2.0, ("n", "o"): 2.0, ("n", "m"): 1.5, ("o", "m"): 3.0, ("o", "n"): 3.0}),
    "a matrix of wins, each row's over each column's": ("x.csv", ",m,n\nm,0,2\nn,1,\n",
        {("m", "n"): 2.0, ("n", "m"): 1.0}),
    "": ("x.csv", "date,home_team,away_team,home_score,away_score,neutral\n1,m,n,2,1,FALSE\n1,m,n,1,1,TRUE\n",
        {("m", "n"): 1.5, ("n", "m"): 0.5}),
}  # fmt: skip
MORE = {
    "counts": ("x.csv", "player1,player2,win1,win2\nm,n,7,2\nn,m,1,0\n", {("m", "n"): 7.0, ("n", "m"): 3.0}),
    "graph": ("x.wmg", "# ALTERNATIVE NAME 1: m\n# ALTERNATIVE NAME 2: n\n18,2,1\n", {("n", "m"): 18.0}),
    "German": ("x.csv", "\ufeffsieger;verlierer;anzahl\nÄ;B;1,5\nB;Ä;2\n", {("Ä", "B"): 1.5, ("B", "Ä"): 2.0}),
    "numbers": ("x.csv", "left,right,winner\n1,0,0\n0,1,1\n0,1,0\n", {("0", "1"): 2.0, ("1", "0"): 1.0}),
    "texts": ("x.csv", 'ranking,weight\n"m > n = o",2\n',
        {("m", "n"): 2.0, ("m", "o"): 2.0, ("n", "o"): 1.0, ("o", "n"): 1.0}),
}  # fmt: skip


@pytest.mark.parametrize("layout", FILES)
def test_layouts(write, layout):
    """The first guess has the comparisons, and the layout's name."""
    name, content, expected = FILES[layout]
    table = read_comparisons(write(content, name), ties="half")
    assert counted(table) == expected
    assert table.roles.layout == layout
    assert table.sample


@pytest.mark.parametrize("kind", MORE)
def test_more_files(write, kind):
    name, content, expected = MORE[kind]
    assert counted(read_comparisons(write(content, name), ties="half")) == expected


def test_each_layout_has_a_file():
    """Those without one are a row of the same kind as another."""
    assert {layout.layout for layout in LAYOUTS} - set(FILES) == {"HelpSteer2 preferences"}


@pytest.mark.parametrize("layout", [*LAYOUTS, *PLAIN], ids=str)
def test_layouts_do_not_hide_each_other(layout):
    """A file with a layout's columns alone is taken for that layout, whatever the letters' case."""
    columns = [*layout.items, *layout.says, *([layout.prompt] if layout.answers else [])]
    found = roles_of("file", ["id", *(name.upper() for name in columns)], Columns())
    assert found.outcome == layout.outcome
    assert found.layout == layout.layout or layout in PLAIN
    assert [name.casefold() for name in found.items] == [name.casefold() for name in layout.items]


def test_packed_files(write):
    name, content, expected = FILES["chess results"]
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        assert counted(read_comparisons(write(pack(content.encode()), name), ties="half")) == expected
        with pytest.raises(DataError, match="the compressed file is damaged"):
            read_comparisons(write(pack(content.encode() * 500)[:-20], name), ties="half")
    zstandard = pytest.importorskip("zstandard")
    assert counted(read_comparisons(write(zstandard.compress(content.encode()), name), ties="half")) == expected


def test_parquet_and_frames(write, tmp_path):
    """The same comparisons from columns as from rows, with long and nested texts among them."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    records = [json.loads(line) for line in FILES["Chatbot Arena battles"][1].splitlines()]
    frame = pandas.DataFrame(records)[["model_a", "model_b", "winner"]]
    frame.to_parquet(tmp_path / "x.parquet")
    (tmp_path / "x").write_bytes((tmp_path / "x.parquet").read_bytes())
    expected = FILES["Chatbot Arena battles"][2]
    for given_as in (tmp_path / "x.parquet", tmp_path / "x", frame, polars.DataFrame(frame.to_dict("list"))):
        table = read_comparisons(given_as, ties="half")
        assert counted(table) == expected
        fitted = fit_comparisons(table, prior=None)
        assert fitted.distribution.support.tolist() == ["m", "n"]
    both = frame.assign(winner=["model_a", "model_b", "model_a", "model_b"])
    assert fit_comparisons(both).utilities == pytest.approx([0.0, 0.0], abs=1e-9)
    chats = pandas.DataFrame({"prompt": ["p"], "chosen": [CHAT], "rejected": [CHAT[:1]]})
    chats.to_parquet(tmp_path / "chats.parquet")
    assert counted(read_comparisons(tmp_path / "chats.parquet")) == {("Q\nA | p", "Q | p"): 1.0}
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:200])
    with pytest.raises(DataError, match="the parquet file is damaged"):
        read_comparisons(tmp_path / "cut.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 and so on", "this is a zip archive or a spreadsheet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "this is an old spreadsheet"),
        (b"SQLite format 3\x00", "this is a database"),
        (b"<!DOCTYPE html><html>", "this is a web page or XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\x01\x02\xff\xfe\x00rubbish", "these bytes are no text"),
    ],
)
def test_other_files_are_called_by_their_names(write, content, message):
    with pytest.raises(DataError, match=message):
        read_comparisons(write(content))


@given(st.integers(1, 40), st.booleans(), st.randoms(use_true_random=False))
def test_json_however_it_is_laid_out(size, indent, chance):
    """Objects one a line, in an array on one line or on many, or one after the other over many lines."""
    records = [{"chosen": f"m{chance.randrange(9)}", "rejected": f"n{chance.randrange(9)}", "x": [{"y": "]},{"}]}
               for _ in range(size)]  # fmt: skip
    layouts = [
        "\n".join(json.dumps(record) for record in records),
        json.dumps(records, indent=2 if indent else None),
        "\n".join(json.dumps(record, indent=2) for record in records),
    ]
    found = []
    for content in layouts:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content.encode()))))
            found.append(counted(read_comparisons("-", form="jsonl")))
    assert found[0] == found[1] == found[2]
    assert sum(found[0].values()) == size


# --- One side declared ---


FTR = "HomeTeam,AwayTeam,FTR\nm,n,H\nm,n,A\nn,m,A\nm,n,D\n"


def test_once_a_side_is_declared_only_declared_words_count(write):
    """A, an away win, is no win of the left one; nor is any other word, or an item's name, what it used to be."""
    path = write(FTR)
    columns = {"left": "HomeTeam", "right": "AwayTeam", "winner": "FTR"}
    for more in ({}, columns):
        with pytest.raises(DataError, match=r"line 3: 'FTR' says 'A', and only declared words count, H \(left\)"):
            read_comparisons(path, left_wins=["H"], tie_values=["D"], ties="half", **more)
        table = read_comparisons(path, left_wins=["H"], right_wins=["A"], tie_values=["D"], ties="half", **more)
        assert counted(table) == {("m", "n"): 2.5, ("n", "m"): 1.5}
    for said in ("left", "a", "x", "tie", "1-0"):
        with pytest.raises(DataError, match="only declared words count"):
            read_comparisons(write(f"left,right,winner\nx,y,1\nx,y,{said}\n"), left_wins=["1"], ties="drop")
    # To declare ties leaves the sides as they are.
    assert counted(read_comparisons(write("left,right,winner\nx,y,a\nx,y,0\n"), tie_values=["0"], ties="drop")) == {
        ("x", "y"): 1.0
    }


@pytest.mark.parametrize("said", ["Tiefling", "tied up", "drawing", "tie-break", "bothersome"])
def test_what_merely_begins_with_a_tie_is_none(write, said):
    with pytest.raises(DataError, match=f"line 2: 'winner' says '{said}', which is neither 'Elf' nor 'Orc' nor a tie"):
        read_comparisons(write(f"left,right,winner\nElf,Orc,{said}\n"), ties="half")
    assert counted(read_comparisons(write(f"left,right,winner\nElf,{said},{said}\n"))) == {(said, "Elf"): 1.0}


@pytest.mark.parametrize("said", ["tie (bothbad)", "both_bad", "bothbad", "Both are bad", "tie (both bad)"])
def test_both_bad_is_no_tie_unless_declared(write, said):
    path = write(f"left,right,winner\nx,y,a\nx,y,{said}\n")
    table = read_comparisons(path)
    assert (counted(table), table.n_ties) == ({("x", "y"): 1.0}, 0)
    assert str(table.notes[0]).startswith(f"1 rows left out: {said} is nobody's win and no tie; to count them as ties")
    assert counted(read_comparisons(path, tie_values=[said], ties="half")) == {("x", "y"): 1.5, ("y", "x"): 0.5}


def test_one_column_of_three_is_no_winner(write):
    """With 1 and 0 declared for the sides, ties would be wins of the right one."""
    path = write(FILES["Kaggle LMSYS battles"][1])
    columns = {"left": "model_a", "right": "model_b", "winner": "winner_model_a"}
    with pytest.raises(DataError, match='one_hot="winner_model_a,winner_model_b,winner_tie"'):
        read_comparisons(path, **columns, left_wins=["1"], right_wins=["0"])
    table = read_comparisons(path, left_wins=["1"], right_wins=["0"], ties="half")
    assert counted(table) == FILES["Kaggle LMSYS battles"][2]


def test_one_hot_winners(write):
    columns = {"left": "a", "right": "b", "one_hot": ["l", "r", "t"]}
    path = write("a,b,l,r,t\nx,y,1,0,0\nx,y,0,1,0\nx,y,False,FALSE,true\n")
    assert counted(read_comparisons(path, ties="drop", **columns)) == {("x", "y"): 1.0, ("y", "x"): 1.0}
    assert read_comparisons(path, ties="half", **columns).n_ties == 1
    for wrong, message in (("1,0,1", "one of l, r, t must be 1; got 2"), ("0,0,0", "got 0"), ("2,0,0", "be 0 or 1")):
        with pytest.raises(DataError, match=f"line 2: .*{message}"):
            read_comparisons(write(f"a,b,l,r,t\nx,y,{wrong}\n"), **columns)


# --- Joined files ---


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_repeated_headers_are_no_comparisons(write, mark, delimiter):
    """`cat *.csv`, with byte order marks in the middle, quoted or not; the lines' numbers stay right."""
    text = f"{mark}chosen,rejected\na,b\n" * 3 + '"chosen", "rejected"\nb,a\n'
    table = read_comparisons(write(text.replace(",", delimiter)))
    assert counted(table) == {("a", "b"): 3.0, ("b", "a"): 1.0}
    assert "chosen" not in table.items.tolist()
    assert [str(note) for note in table.notes] == ["3 repeated header lines left out"]
    with pytest.raises(DataError, match="line 5: 'a' is compared with itself"):
        read_comparisons(write("chosen,rejected\na,b\nchosen,rejected\nb,a\na,a\n"))


# --- Memory ---


def test_memory_follows_the_file():
    """One text of 60,000 characters among 4,000 short ones: not 4,000 times that."""
    rows = [{"chosen": f"good {i}" + " word" * 12_000 * (i == 0), "rejected": f"bad {i}"} for i in range(2000)]
    content = lines(*rows).encode()
    peaks = []
    for _ in range(3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
            tracemalloc.start()
            try:
                table = read_comparisons("-", form="jsonl")
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    # Threads that other tests left behind are counted too.
    assert min(peaks) < 40 * len(content)
    assert len(table.items[0]) > 60_000
    assert table.items.dtype == object
    assert read_comparisons(io_table({"chosen": ["a"], "rejected": ["b"]})).items.dtype.kind == "U"


def io_table(columns):
    """A table in memory, as little of a DataFrame as is needed."""

    class Column(list):
        def to_list(self):
            return list(self)

    class Frame(dict):
        @property
        def columns(self):
            return list(self)

        def __len__(self):
            return len(next(iter(self.values())))

    return Frame({name: Column(values) for name, values in columns.items()})


# --- Prompts ---


def test_an_answer_belongs_to_its_prompt(write):
    """Equal answers of different prompts are different items, unless told otherwise."""
    path = write(FILES["TRL's preference format"][1], "x.jsonl")
    assert len(read_comparisons(path).items) == 4
    assert counted(read_comparisons(path, prompt="none")) == {("Yes.", "No."): 1.0, ("No.", "Yes."): 1.0}
    other = write(lines({"q": "one", "chosen": "Yes.", "rejected": "No."}), "x.jsonl")
    assert read_comparisons(other).items.tolist() == ["Yes.", "No."]
    assert read_comparisons(other, prompt="q").items.tolist() == ["Yes. | one", "No. | one"]


def test_long_prompts_are_named_by_their_number(write):
    """They keep answers apart without being part of every label."""
    prompts = ["long " * 100 + str(i) for i in range(3)]
    records = [{"prompt": p, "chosen": "Yes.", "rejected": "No."} for p in [*prompts, prompts[0]]]
    path = write(lines(*records), "x.jsonl")
    table = read_comparisons(path)
    assert counted(table)["Yes. | prompt 1", "No. | prompt 1"] == 2.0
    assert max(map(len, table.items.tolist())) < 30


# --- Messages ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("player1,player2,winner\nx,y,7\n", 'counts="A,B" or scores="A,B"'),
        ("left,right,winner\nx,y,home\n", 'left_wins="home" or right_wins="home" or tie_values="home"'),
        ("left,right,winner\nx,y,tie\n", 'ties="half" .* ties="drop"'),
        ("left,right,winner\nx,x,a\n", 'bad_lines="skip"'),
        ("x,y\n1,2\n", 'chosen="COLUMN" rejected="COLUMN"'),
        (b"chosen,rejected\nM\xfc,b\n", 'encoding="cp1252"'),
    ],
)
def test_errors_name_the_option_that_helps(write, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_comparisons(write(content))
    spelled = caught.value.note.spelled(command_line=True)
    assert "--" in spelled
    assert '="' not in spelled


@settings(max_examples=40)
@given(st.text(min_size=1, max_size=20), st.integers(1, 4000))
def test_no_message_is_long(text, times):
    """Whatever stands in a cell, an error has at most 300 characters beside the file's name, and one line."""
    cell = text * times
    contents = [
        [["left", "right", "winner"], [cell, cell + "x", "neither"]],
        [["left", "right", "winner"], ["x", "y", cell + "z"]],
        [["chosen", "rejected"], [cell, cell]],
        [["chosen", "rejected", "weight"], ["x", "y", cell + "z"]],
        [[cell, cell + "y"], ["x", "y"]],
    ]
    for rows in contents:
        file = io.StringIO()
        csv.writer(file).writerows(rows)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(
                file.getvalue().encode("utf-8", "surrogatepass")))))  # fmt: skip
            with pytest.raises(ValueError, match=r".") as caught:
                read_comparisons("-")
        assert len(str(caught.value)) <= 301
        assert len(str(caught.value).splitlines()) == 1


def test_long_labels_without_an_estimate_are_cut():
    """A conversation is no name."""
    chance = random.Random(0)
    names = ["".join(chance.choices("abc ", k=5000)) for _ in range(6)]
    with pytest.raises(ValueError, match="must lead from each item") as caught:
        fit_comparisons([names[0], names[2], names[4]], [names[1], names[3], names[5]])
    assert len(str(caught.value)) <= 300


def test_numbers_as_labels_are_said_to_be_taken_so(write):
    table = read_comparisons(write("left,right,winner\n1,2,2\n2,1,1\n1,2,2\n"))
    assert str(table.notes[0]) == (
        '1 and 2 are taken for items that won; if they are sides say left_wins="1" right_wins="2"'
    )
    sides = read_comparisons(write("left,right,winner\n1,2,2\n2,1,1\n1,2,2\n"), left_wins=["1"], right_wins=["2"])
    assert counted(sides) == {("2", "1"): 3.0}


# --- What models need ---


def test_order_clusters_and_covariates(write):
    path = write("left,right,winner,judge,dx\nx,y,a,J,1.5\ny,x,b,K,-1\nx,y,tie,J,2\n")
    table = read_comparisons(path, sides=True, cluster="judge", covariates=["dx"], ties="keep")
    columns = (table.winner, table.loser, table.weights, table.ties, table.first, table.clusters)
    rows = zip(*columns, table.covariates["dx"], strict=True)
    # The second row's winner stood on the right, for whom 1 speaks.
    assert sorted((int(w), int(lo), n, t, bool(f), int(c), x) for w, lo, n, t, f, c, x in rows) == [
        (0, 1, 1.0, 0.0, False, 1, 1.0), (0, 1, 1.0, 0.0, True, 0, 1.5), (0, 1, 1.0, 1.0, True, 0, 2.0),
    ]  # fmt: skip
    nested = write(lines({"left": "x", "right": "y", "winner": "a", "meta": {"d": 2}}), "x.jsonl")
    assert read_comparisons(nested, covariates=["meta.d"]).covariates["meta.d"].tolist() == [2.0]


def test_a_row_that_says_more_than_one_thing_is_one_observation(write):
    """Rankings, soft preferences and pairs of games: what a row says counts together in standard errors."""
    path = write("left,right,p\nx,y,0.75\nx,y,0.25\n")
    table = read_comparisons(path, left="left", right="right", probability="p")
    assert sorted(zip(table.clusters.tolist(), table.weights.tolist(), strict=True)) == [
        (0, 0.25), (0, 0.75), (1, 0.25), (1, 0.75)]  # fmt: skip
    # By hand: p = 1/2, information 2/4, scores ±1/4 of x − y; each error is half of the difference's, √(2/16)/(1/2).
    errors = fit_comparisons(table).standard_errors()
    np.testing.assert_allclose(errors, 0.5 * np.sqrt(2.0) * np.sqrt(2 / 16) / 0.5, rtol=1e-9)


def test_a_ranking_has_a_limit(tmp_path, monkeypatch):
    """Any two items are a pair: 13,000 items in 80 KB took gigabytes, even to look at."""
    path = tmp_path / "long.csv"
    path.write_text("ranking\n" + ">".join(map(str, range(1001))) + "\na>b\nb>a\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: a ranking of more than 1,000 items, the limit"):
        read_comparisons(path)
    assert read_comparisons(path, bad_lines="skip").n_rows == 2
    monkeypatch.setattr(outcomes, "MOST_PAIRS", 5)
    path.write_text("ranking\n" + "a>b>c\n" * 2, encoding="utf-8")
    with pytest.raises(DataError, match="rankings hold more than 5 pairs"):
        read_comparisons(path)
