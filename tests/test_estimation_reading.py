"""Files of comparisons: what they may look like, and what an error says about what they may not."""

import csv
import gzip
import io
import json
import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbde_ref.estimation import DataError, comparison_table, formats, read_comparisons, stigler_citations, stigler_file
from pbde_ref.estimation.aggregation import Accumulator, Labels

ARENA = {"left": "model_a", "right": "model_b", "winner": "winner"}


@pytest.fixture
def write(tmp_path):
    """A file with this content, as bytes or text."""

    def make(content, name="file.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def counted(table):
    """Comparisons by name, with how often each happened."""
    names = table.items.tolist()
    rows = zip(table.winner.tolist(), table.loser.tolist(), table.weights.tolist(), strict=True)
    return {(names[a], names[b]): weight for a, b, weight in rows}


def read(path, **options):
    return counted(read_comparisons(path, **options))


AB = '{"chosen": "a", "rejected": "b"}'
PLAIN = {("a", "b"): 2.0, ("b", "c"): 1.0}


# --- Formats ---


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "chosen,rejected\na,b\nb,c\na,b\n"),
        ("x.csv", "chosen;rejected\na;b\nb;c\na;b\n"),
        ("x.csv", "chosen\trejected\na\tb\nb\tc\na\tb\n"),
        ("x.tsv", "chosen\trejected\na\tb\nb\tc\na\tb\n"),
        ("x.TAB", "chosen\trejected\na\tb\nb\tc\na\tb\n"),
        ("x", "chosen,rejected\na,b\nb,c\na,b\n"),
        ("x.csv", "chosen,rejected\r\na,b\r\nb,c\r\na,b"),
        ("x.csv", "chosen,rejected\ra,b\rb,c\ra,b\r"),
        ("x.csv", "\n\n chosen , rejected \n\na,b\n\n  ,\nb , c\n a,\tb\n\n"),
        ("x.csv", '"chosen","rejected"\n"a","b"\n"b", "c"\n"a",b\n'),
        ("x.csv", "id,rejected,more,chosen\n1,b,x,a\n2,c,,b\n3,b,\"two\nlines, and a \"\"quote\"\"\",a\n"),
        ("x.csv", "chosen,rejected\na,b,,\nb,c\na,b,\n"),
        ("x.csv", "chosen,rejected\na,b\n,\n , \nb,c\na,b\n,\n"),
        ("x.jsonl", AB + '\n\n{"rejected": "c", "chosen": "b"}\n{"chosen": "a", "rejected": "b", "x": []}'),
        ("x.ndjson", AB + '\n{"rejected": "c", "chosen": "b"}\n' + AB + "\n"),
    ],
)  # fmt: skip
def test_formats(write, name, content):
    """The same three comparisons in many dresses, also gzipped and with byte order marks."""
    assert read(write(content, name)) == PLAIN
    assert read(write("\ufeff" + content, name)) == PLAIN
    assert read(write(("\ufeff" + content).encode("utf-16-le"), name)) == PLAIN
    assert read(write(gzip.compress(content.encode()), name + ".gz")) == PLAIN
    assert read(write(gzip.compress(content.encode()), name)) == PLAIN


def test_standard_input(monkeypatch):
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"chosen,rejected\na,b\nb,c\na,b\n")))
    monkeypatch.setattr("sys.stdin", stdin)
    assert read("-") == PLAIN


def test_options_override_what_is_guessed(write):
    assert read(write("chosen|rejected\na|b\nb|c\na|b\n"), delimiter="|") == PLAIN
    assert read(write("chosen\trejected\na\tb\nb\tc\na\tb\n", "x.csv"), form="tsv") == PLAIN
    assert read(write("chosen,rejected\nM\xfc,b\n".encode("latin-1")), encoding="latin-1") == {("Mü", "b"): 1.0}
    assert read(write('chosen,rejected\n5" disk,"b\n'), quotes=False) == {('5" disk', '"b'): 1.0}
    assert read(write("x,y\na,b\nb,c\na,b\n"), chosen="x", rejected="y") == PLAIN


def test_shipped_example():
    """The file of citations has the matrix that the function returns."""
    table = read_comparisons(stigler_file(), chosen="cited", rejected="citing", weight="citations")
    journals, counts = stigler_citations()
    assert table.items.tolist() == journals
    assert counts.sum() == table.weights.sum() == 3727
    np.testing.assert_array_equal(counts[table.winner, table.loser], table.weights)
    expected = [[0, 730, 498, 221], [33, 0, 68, 17], [320, 813, 0, 142], [284, 276, 325, 0]]
    np.testing.assert_array_equal(counts, expected)


# --- Winners and ties ---


@pytest.mark.parametrize(
    ("said", "winner"),
    [
        ("x", "x"), ("y", "y"), ("model_a", "x"), ("MODEL_B", "y"), ("left", "x"), ("Right", "y"), ("A", "x"),
        ("b", "y"), (" l ", "x"), ("r", "y"),
    ],
)  # fmt: skip
def test_words_for_winners(write, said, winner):
    content = f"model_a,model_b,winner\nx,y,{said}\n"
    assert read(write(content), **ARENA) == {(winner, "y" if winner == "x" else "x"): 1.0}


@pytest.mark.parametrize("said", ["tie", "draw", "both", "equal", " TIE ", "1/2-1/2", "A=B"])
def test_words_for_ties(write, said):
    path = write(f"model_a,model_b,winner\nx,y,model_a\nx,y,{said}\n")
    with pytest.raises(DataError, match=r'line 3: a tie; say what ties count for: ties="half" .* or ties="drop"'):
        read(path, **ARENA)
    with pytest.raises(DataError, match="line 3: a tie"):  # skipping bad lines does not decide it either
        read(path, **ARENA, bad_lines="skip")
    assert read(path, **ARENA, ties="half") == {("x", "y"): 1.5, ("y", "x"): 0.5}
    assert read(path, **ARENA, ties="drop") == {("x", "y"): 1.0}
    table = read_comparisons(path, **ARENA, ties="half")
    assert (table.n_rows, table.n_ties) == (2, 1)


def test_names_come_before_words(write):
    """Items that are called a and b, the other way round."""
    assert read(write("left,right,winner\nb,a,a\nb,a,b\n")) == {("a", "b"): 1.0, ("b", "a"): 1.0}


def test_declared_values_come_first(write):
    path = write("left,right,winner\nx,y,1\nx,y,0\nx,y,0.5\nx,y,x\n")
    options = {"left_wins": ["1"], "right_wins": ["0", "x"], "tie_values": ["0.5"]}
    assert read(path, ties="half", **options) == {("x", "y"): 1.5, ("y", "x"): 2.5}
    with pytest.raises(ValueError, match="must differ; got '1' twice"):
        read(path, left_wins=["1"], right_wins=["1"])


def test_weights(write):
    content = "chosen,rejected,n\na,b,2\nb,a,0.5\na,b,1e1\nb,c,0\n"
    table = read_comparisons(write(content), weight="n")
    assert counted(table) == {("a", "b"): 12.0, ("b", "a"): 0.5}
    assert table.items.tolist() == ["a", "b"]  # c takes part in nothing


def test_labels_are_the_same_however_they_are_written(write):
    """Space around, composed and combined accents; letters' case and inner space do matter."""
    content = "chosen,rejected\nM\u00fcller, b\nMu\u0308ller ,b\nm\u00fcller,b\n M\u00fcller\u00a0,b\u200b\n"
    assert read(write(content)) == {("Müller", "b"): 3.0, ("müller", "b"): 1.0}


# --- What is wrong, and where ---


ERRORS = [
    ("chosen,rejected\na,b\na,a\n", "line 3: 'a' is compared with itself"),
    ("chosen,rejected\na,b\n,a\n", "line 3: 'chosen' is empty"),
    ("chosen,rejected\na,b\n\n\na,  \n", "line 5: 'rejected' is empty"),
    ("chosen,rejected\na,b,c\n", "line 2: 3 cells where the header has 2"),
    ("chosen,rejected,x\na,b,c\na,b\n", "line 3: 2 cells where the header has 3"),
    ('chosen,rejected\na,b\n"a\n\n,b\n', "line 3: a quotation mark opens here and is never closed"),
    ('chosen,rejected\n"a"x,b\n', "line 2: text follows a closing quotation mark"),
    (
        'chosen,rejected\na,b\n"a\n b",c\nb,c\n',
        "line 3: a cell has several lines; it spans 2 lines, perhaps for a stray",
    ),
    ('chosen,rejected\na,b\n"a\n,b\n",c,d\nb,c\n', "line 3: 3 cells .*; it spans 3 lines"),
    ('chosen,rejected,note\na,b,"1\n2\n3"\nb,b,\n', "line 5: 'b' is compared"),
    ("chosen,rejected\n", ": no comparisons"),
    ("", ": the file is empty"),
    ("\n\n", ": the file is empty"),
    ("chosen,loser\na,b\n", ": say which columns hold the comparisons .* the file has 'chosen', 'loser'"),
    ("chosen,chosen,rejected\na,b,c\n", "line 1: 2 columns are named 'chosen'"),
    (b"chosen,rejected\na,b\nM\xfc,b\n", "line 3: byte 0xfc is not utf-8 text; name the file's encoding"),
]


@pytest.mark.parametrize(("content", "message"), ERRORS)
def test_bad_lines(write, content, message):
    """The message has the line in the file, and why."""
    with pytest.raises(DataError, match=r"file\.csv(, )?" + message):
        read(write(content))


@pytest.mark.parametrize(("content", "message"), [case for case in ERRORS if re.match("line [2-9]", case[1])])
def test_bad_lines_far_below(write, content, message, monkeypatch):
    """The same in the middle of a file that is read in many chunks."""
    monkeypatch.setattr(formats, "CHUNK_ROWS", 7)
    monkeypatch.setattr(formats, "BLOCK", 50)
    content = content if isinstance(content, bytes) else content.encode()
    header, rest = content.split(b"\n", 1)
    more = 1000
    number = int(message.split("line ")[1].split(":")[0])
    message = message.replace(f"line {number}", f"line {number + more}")
    filler = b",".join([b"p", b"q", b""][: header.count(b",") + 1]) + b"\n"
    with pytest.raises(DataError, match=message):
        read(write(header + b"\n" + filler * more + rest))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (AB + '\n{"chosen": "a"}\n', "line 2: 'rejected' must be text or a number; got nothing"),
        ('{"chosen": "a", "rejected": "b"}\n{"chosen": "a", "rejected": null}\n', "line 2: .* got null"),
        ('{"chosen": "a", "rejected": "b"}\n\n{"chosen": "a", "rejected": true}\n', "line 3: .* got true"),
        ('{"chosen": "a", "rejected": "b"}\n{"chosen": "a",\n', r"line 2: not JSON \(Expecting"),
        (AB + '\n[{"chosen": "a", "rejected": "b"}]\n', "line 2: a JSON list where an object should be"),
        ('["a", "b"]\n', "line 1: a JSON list where an object should be"),
        ('[{"chosen": "a", "rejected": "b"},\n{"chosen": "a"', "line 2: not JSON"),
        ('{"chosen": "a"}\n', ": say which columns"),
        ("", ": the file is empty"),
        ("\n\n", ": no comparisons"),
    ],
)  # fmt: skip
def test_bad_json_lines(write, content, message):
    with pytest.raises(DataError, match=message):
        read(write(content, "x.jsonl"))


def test_json_numbers_are_labels(write):
    """A number is one label however it is written: whole columns come as floats where one value is missing."""
    assert read(write('{"chosen": 1, "rejected": 2.5}\n', "x.jsonl")) == {("1", "2.5"): 1.0}
    assert read(write('{"chosen": 1.0, "rejected": 2}\n', "x.jsonl")) == {("1", "2"): 1.0}
    assert read(write('{"chosen": 1e300, "rejected": -0.0}\n', "x.jsonl")) == {("1e+300", "0"): 1.0}


@pytest.mark.parametrize("weight", ["-1", "nan", "inf", "", "1,5", "many"])
def test_bad_weights(write, weight):
    with pytest.raises(DataError, match="line 2: 'n' must be a finite non-negative number; got"):
        read(write(f'chosen,rejected,n\na,b,"{weight}"\n'), weight="n")


def test_bad_winner_and_annotator(write):
    with pytest.raises(DataError, match="line 3: 'winner' says 'z', which is neither 'y' nor 'x' nor a tie"):
        read(write("model_a,model_b,winner\nx,y,x\ny,x,z\n"), **ARENA)
    with pytest.raises(DataError, match="line 2: 'who' is empty"):
        read(write("chosen,rejected,who\na,b,\n"), annotator="who")


def test_first_bad_line_is_reported(write):
    """Whatever is wrong with it; with ties undeclared too."""
    content = "left,right,winner\na,b,a\na,b,q\na,a,a\na,b,tie\n"
    with pytest.raises(DataError, match="line 3"):
        read(write(content))


def test_every_second_line_is_bad_and_cells_have_lines(write):
    """Lines are counted on from error to error; anew at each, 19 KB of such took twenty seconds."""
    rows = ['a,"b"x\n', "a,b\n", 'a,"x\ny"\n', "b,a\n"] * 3000
    table = read_comparisons(write("chosen,rejected\n" + "".join(rows)), bad_lines="skip")
    # Of five lines each: one with text behind a quotation mark, and one whose cell has two lines.
    assert table.n_bad == 6000
    assert [bad.line for bad in table.bad_lines][:4] == [2, 4, 7, 9]
    assert table.weights.sum() == 6000


def test_skipping_bad_lines(write):
    """Bad lines are left out and counted; what is left is as if they were not there."""
    content = 'chosen,rejected\na,b\na,a\n"x"y,b\n,b\na\nb,c\na,b\n'
    table = read_comparisons(write(content), bad_lines="skip")
    assert counted(table) == PLAIN
    assert (table.n_rows, table.n_bad) == (3, 4)
    assert [bad.line for bad in table.bad_lines] == [3, 4, 5, 6]
    assert str(table.bad_lines[0]) == "line 3: 'a' is compared with itself"


def test_open_quotation_mark_is_never_skipped(write):
    """It would take the rest of the file with it."""
    with pytest.raises(DataError, match="line 3: a quotation mark opens here"):
        read(write('chosen,rejected\na,b\n"a,b\nb,a\n'), bad_lines="skip")


def test_damaged_gzip(write):
    whole = gzip.compress("".join(["chosen,rejected\n", *(f"a{i},b{i}\n" for i in range(20_000))]).encode())
    with pytest.raises(DataError, match=r"line \d+: the compressed file is damaged or ends early"):
        read(write(whole[: len(whole) // 2], "x.csv.gz"))
    with pytest.raises(DataError, match="the compressed file is damaged"):
        read(write(b"\x1f\x8b" + b"nonsense" * 9, "x.csv.gz"))


def test_a_single_word_is_not_taken_letter_by_letter(write):
    """Control: the letters of `bad` would be words of their own, and every win of b a loss."""
    path = write(b"left,right,winner\nx,y,bad\nx,y,b\n", "x.csv")
    with pytest.raises(DataError, match="'winner' says 'b'"):
        read_comparisons(path, left="left", right="right", winner="winner", left_wins="bad", right_wins=["good"])
    table = read_comparisons(path, left="left", right="right", winner="winner", left_wins="bad", right_wins="b")
    assert table.items[table.winner].tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"chosen": "x", "rejected": "rejected"}, DataError, "there is no column 'x' for `chosen`; the file has 'ch"),
        ({"chosen": "x", "left": "y"}, ValueError, "columns must be .*; got chosen, left"),
        ({"weight": "n"}, DataError, "there is no column 'n' for `weight`"),
        ({"annotator": "n"}, DataError, "there is no column 'n' for `annotator`"),
        ({"ties": "ignore"}, ValueError, "`ties` must be 'error', 'half', 'drop' or 'keep'; got 'ignore'"),
        ({"bad_lines": "keep"}, ValueError, "`bad_lines` must be 'error' or 'skip'"),
        ({"held_out": 1.0}, ValueError, r"`held_out` must be in \[0, 1\); got 1.0"),
        ({"form": "xlsx"}, ValueError, "`form` must be 'csv', 'tsv', 'jsonl', 'parquet' or 'preflib'; got 'xlsx'"),
        ({"delimiter": "||"}, ValueError, "`delimiter` must be one character"),
        ({"encoding": "klingon"}, ValueError, "`encoding` must be one that Python knows; got 'klingon'"),
        ({"weight": 1}, TypeError, "`weight` must be a word"),
        ({"left_wins": 1}, TypeError, "`left_wins` must be words; got 1"),
        ({"covariates": ["style", 1]}, TypeError, r"`covariates` must be words; got \['style', 1\]"),
        ({"limits": 2**20}, TypeError, "`limits` must be Limits; got int"),
        ({"progress": 1}, TypeError, "`progress` must be a function; got 1"),
    ],
)  # fmt: skip
def test_wrong_options(write, options, error, match):
    with pytest.raises(error, match=match):
        read(write("chosen,rejected\na,b\n"), **options)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing.csv")


# --- Adding up ---


CELLS = st.sampled_from(["a", "b", "c d", 'qu"ote', "co,mma", "Zürich", "日本", "x;y", "t\tab"])


@given(st.lists(st.tuples(CELLS, CELLS, st.integers(0, 3), st.sampled_from("AB"))), st.integers(1, 9))
def test_any_table_survives(rows, chunk):
    """What csv and json write is read back and adds up as a Counter does, whatever the size of chunks."""
    rows = [row for row in rows if row[0] != row[1]]
    expected = Counter()
    for won, lost, weight, _ in rows:
        expected[won, lost] += weight
    expected = {pair: float(weight) for pair, weight in expected.items() if weight}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["chosen", "rejected", "n", "who"])
    writer.writerows(rows)
    lines = [json.dumps(dict(zip(("chosen", "rejected", "n", "who"), row, strict=True))) for row in rows]
    before = formats.CHUNK_ROWS, formats.BLOCK
    try:
        formats.CHUNK_ROWS, formats.BLOCK = chunk, 10 * chunk
        for content, form in ((text.getvalue(), "csv"), ("\n".join(lines), "jsonl")):
            with pytest.MonkeyPatch.context() as patch:
                stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content.encode())))
                patch.setattr("sys.stdin", stdin)
                if expected:
                    table = read_comparisons("-", weight="n", annotator="who", form=form, held_out=0.5, rng=0)
                    total = Counter()
                    names = table.items.tolist()
                    for a, b, weight in zip(table.winner, table.loser, table.weights, strict=True):
                        total[names[a], names[b]] += weight
                    assert total == expected
                    assert table.n_rows == len(rows)
                else:
                    with pytest.raises(DataError, match=r"no comparisons|is empty"):
                        read_comparisons("-", weight="n", form=form)
    finally:
        formats.CHUNK_ROWS, formats.BLOCK = before


def test_held_out_split(write):
    """Equal seeds give equal splits, of about the share asked for; nothing is lost; a tie stays on one side."""
    rng = np.random.default_rng(0)
    pairs = [(a, b) for a, b in rng.integers(0, 5, (4000, 2)) if a != b]
    path = write("left,right,winner\n" + "".join(f"m{a},m{b},tie\n" for a, b in pairs))
    one, two, other = (read_comparisons(path, ties="half", held_out=0.25, rng=seed) for seed in (1, 1, 2))
    for name in ("winner", "loser", "weights", "held_out"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.weights.sum() == len(pairs)
    share = one.weights[one.held_out].sum() / len(pairs)
    # Five standard deviations of a binomial share.
    assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / len(pairs))
    assert share != other.weights[other.held_out].sum() / len(pairs)
    held = one.held_out
    wins = Counter(dict(zip(zip(one.winner[held], one.loser[held], strict=True), one.weights[held], strict=True)))
    assert all(wins[a, b] == wins[b, a] for a, b in wins)


def test_annotators(write):
    table = read_comparisons(write("chosen,rejected,who\na,b,Eve\nb,a,Ann\na,b,Eve\n"), annotator="who")
    assert table.annotators.tolist() == ["Eve", "Ann"]
    np.testing.assert_array_equal(table.annotator, [0, 1])
    np.testing.assert_array_equal(table.weights, [2, 1])
    assert table.held_out is None


def test_progress_is_in_bytes_on_disk(write):
    seen = []
    path = write("chosen,rejected\n" + "a,b\n" * 100_000)
    read(path, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == path.stat().st_size


@pytest.mark.parametrize("cells", [0, 32, 1 << 22])
def test_accumulator_merges_often(monkeypatch, cells):
    """Many small pieces with merges in between add up to the sum of all; too large a number is refused."""
    monkeypatch.setattr("pbde_ref.estimation.aggregation.PENDING", 5)
    monkeypatch.setattr("pbde_ref.estimation.aggregation.MOST_CELLS", cells)
    rng = np.random.default_rng(0)
    sums, expected = Accumulator((3, 4)), np.zeros((8, 16))
    for _ in range(50):
        a, b, weight = rng.integers(0, 8, 7), rng.integers(0, 16, 7), rng.random(7)
        sums.add(weight, a, b)
        np.add.at(expected, (a, b), weight)
    weights, (a, b) = sums.result()
    np.testing.assert_allclose(expected[a, b], weights, rtol=1e-14)
    assert weights.size == np.count_nonzero(expected)
    with pytest.raises(ValueError, match="at most 8 different labels"):
        sums.add(np.ones(1), np.array([8]), np.array([0]))


def test_labels_are_numbered_in_order():
    labels = Labels()
    np.testing.assert_array_equal(labels.numbers(["b", "a", " b", "", "\t", "a"], 6), [0, 1, 0, -1, -1, 1])
    assert labels.names == ["b", "a"]
    assert (labels.known("a "), labels.known("c")) == (1, -1)
    assert labels.names == ["b", "a"]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"loser": [1, 2]}, ValueError, "`loser` must have one entry for each winner, 1; got 2"),
        ({"weights": [-1.0]}, ValueError, "`weights` must be non-negative"),
        ({"weights": [math.inf]}, ValueError, "`weights` must be finite"),
        ({"annotator": [0, 1]}, ValueError, "`annotator` must have one entry for each winner"),
        ({"items": ["a"]}, ValueError, "`items` must have a label for each index, 2; got 1"),
        ({"annotator": [1], "annotators": ["a"]}, ValueError, "`annotators` must have a label for each"),
        ({"held_out": -0.1}, ValueError, r"`held_out` must be in \[0, 1\)"),
        ({"winner": [0.5]}, TypeError, "`winner` must be a vector of whole numbers"),
    ],
)  # fmt: skip
def test_wrong_tables(arguments, error, match):
    with pytest.raises(error, match=match):
        comparison_table(**{"winner": [0], "loser": [1], **arguments})


def test_a_weight_that_is_none_is_no_number(tmp_path):
    """NaN of a parquet file comes as None."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    content = {"chosen": ["a", "b"], "rejected": ["b", "a"], "weight": [float("nan"), float("inf")]}
    parquet.write_table(arrow.table(content), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="'weight' must be a finite non-negative number; got ''"):
        read_comparisons(tmp_path / "x.parquet", weight="weight")
