"""Sentences from the benchmark, from text files and from Python's own documentation, and what is refused."""

import gzip
import hashlib
import io
import json
import os
import py_compile
import re
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
from itertools import combinations
from pathlib import Path

import pytest

import pbde_ref as pb
from pbde_ref.language.corpora import Corpus, is_held_out, is_test, open_corpus
from pbde_ref.language.lm1b import lm1b_sentences
from pbde_ref.language.python_documentation import python_sentences, sentences_of
from pbde_ref.language.tokenizers import train_tokenizer

ROOT = "1-billion-word-language-modeling-benchmark-r13output"
TRAINING = "training-monolingual.tokenized.shuffled"
HELD_OUT = "heldout-monolingual.tokenized.shuffled"
# The numbers of the lines tell which shards were read, and in which order.
FILES = {
    f"{TRAINING}/news.en-00002-of-00100": "three\u2028still three\nfour\n",
    f"{TRAINING}/news.en-00001-of-00100": "one\n\ntwo\r\n",
    f"{TRAINING}/notes.txt": "not a shard\n",
    f"{HELD_OUT}/news.en-00000-of-00100": "test one\ntest two\n",
    f"{HELD_OUT}/news.en.heldout-00000-of-00050": "test one\n",
    f"{HELD_OUT}/news.en.heldout-00001-of-00050": "test two\n",
}
EXPECTED = (("one", "two", "three\u2028still three", "four"), ("test one", "test two"))


def folder_of(files, parent):
    for name, text in files.items():
        path = parent / ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return parent


def plain_members(files):
    return [(tarfile.TarInfo(f"{ROOT}/{name}"), text.encode()) for name, text in files.items()]


def archive_of(members, path):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def test_benchmark_is_the_same_from_folder_and_archive(tmp_path):
    """Shards in the order of their names, lines split at \\n alone, the held-out text once."""
    folder = folder_of(FILES, tmp_path)
    assert lm1b_sentences(folder) == lm1b_sentences(folder / ROOT) == EXPECTED
    for name in ("benchmark.tar.gz", "benchmark.tar", "renamed.bin"):
        for order in (1, -1):
            archive = archive_of(plain_members(FILES)[::order], tmp_path / name)
            corpus = open_corpus(archive)
            assert (corpus.training, corpus.name) == (EXPECTED[0], name)
            assert sorted(corpus.held_out + corpus.test) == list(EXPECTED[1])
    assert open_corpus(folder).training == EXPECTED[0]


@pytest.mark.parametrize("limit", range(1, 6))
def test_a_limit_keeps_the_first_sentences(tmp_path, limit):
    """In whatever order an archive brings them."""
    expected = tuple(part[:limit] for part in EXPECTED)
    assert lm1b_sentences(folder_of(FILES, tmp_path), limit=limit) == expected
    for order in (1, -1):
        archive = archive_of(plain_members(FILES)[::order], tmp_path / "a.tar")
        assert lm1b_sentences(archive, limit=limit) == expected


def test_archive_members_stay_inside_and_on_the_stream(tmp_path, monkeypatch):
    """Links, devices and paths that lead out are not followed, and nothing is written."""
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    monkeypatch.chdir(tmp_path)
    trap = f"{TRAINING}/news.en-0000%d-of-00100"
    extra = [
        special(f"{ROOT}/{trap % 3}", tarfile.SYMTYPE, str(secret)),
        special(f"{ROOT}/{trap % 4}", tarfile.LNKTYPE, f"{ROOT}/{TRAINING}/news.en-00001-of-00100"),
        special(f"{ROOT}/{trap % 5}", tarfile.FIFOTYPE),
        special(f"{ROOT}/{trap % 6}", tarfile.CHRTYPE),
        special(f"{ROOT}/{TRAINING}", tarfile.DIRTYPE),
        (tarfile.TarInfo(f"../{trap % 7}"), b"outside\n"),
        (tarfile.TarInfo(f"/{trap % 8}"), b"outside\n"),
    ]
    archive = archive_of([*extra, *plain_members(FILES)], tmp_path / "trap.tar.gz")
    assert lm1b_sentences(archive) == EXPECTED
    assert sorted(os.listdir(tmp_path)) == ["secret", "trap.tar.gz"]


def with_header_size(kind, size):
    """A tar whose first header announces `size` bytes; what follows is a good archive."""
    member = tarfile.TarInfo("header")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
def test_no_announced_size_is_believed(tmp_path, kind):
    """An extended header of 4 GB would be read into memory; it is refused by its announcement."""
    good = archive_of(plain_members(FILES), tmp_path / "good.tar").read_bytes()
    path = tmp_path / "bad.tar"
    path.write_bytes(with_header_size(kind, 2**32) + good)
    with pytest.raises(ValueError, match=r"`path` must be an archive of plain files; got .* 4294967296 bytes"):
        lm1b_sentences(path)


@pytest.mark.parametrize("size", [-1, -512, -1024, -(2**40)])
def test_a_negative_size_is_refused(tmp_path, size):
    path = tmp_path / "bad.tar"
    path.write_bytes(with_header_size(tarfile.REGTYPE, size) + with_header_size(tarfile.REGTYPE, 0) * 3)
    with pytest.raises(ValueError, match=f"`path` must be an archive of plain files; got an entry of {size} bytes"):
        lm1b_sentences(path)


def test_a_shard_that_ends_early_is_refused(tmp_path):
    """A plain file of announced 8 GB costs no more memory than is there, and is not taken for a whole one."""
    path = tmp_path / "bad.tar"
    member = tarfile.TarInfo(f"{ROOT}/{TRAINING}/news.en-00001-of-00100")
    member.size = 2**33
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + b"one\ntwo\n" * 100)
    with pytest.raises(ValueError, match=r"`path` must be a whole \.tar"):
        lm1b_sentences(path)


@pytest.mark.parametrize("part", [0.2, 0.6, 0.99])
def test_a_cut_or_corrupted_archive_is_refused(tmp_path, part):
    noise = "".join(f"{hashlib.sha256(bytes([i % 256, i // 256])).hexdigest()}\n" for i in range(3000))
    whole = archive_of(plain_members({f"{TRAINING}/news.en-00001-of-00100": noise, **FILES}), tmp_path / "a.tar.gz")
    content = whole.read_bytes()
    place = int(part * len(content))
    for damaged in (content[:place], content[:place] + bytes(50) + content[place + 50 :]):
        whole.write_bytes(damaged)
        with pytest.raises(ValueError, match="`path` must"):
            open_corpus(whole)


def without(name):
    return {key: text for key, text in FILES.items() if name not in key}


BAD_ARCHIVES = {
    "no training shards": (plain_members(without(TRAINING)), f"must hold sentences in {TRAINING}/news.en-*"),
    "no held-out shards": (plain_members(without("en.heldout")), f"must hold sentences in {HELD_OUT}/news.en.held"),
    "foreign": ([(tarfile.TarInfo("a.txt"), b"Hello.\n")], "must hold sentences in"),
    "a shard twice": (plain_members(FILES) + plain_members(FILES), "must hold each shard once"),
    "not UTF-8": (
        [*plain_members(FILES), (tarfile.TarInfo(f"{ROOT}/{TRAINING}/news.en-00003-of-00100"), b"ok\n\xff\n")],
        "must be UTF-8; got .*news.en-00003-of-00100, line 2",
    ),
    "one endless line": (
        [*plain_members(FILES), (tarfile.TarInfo(f"{ROOT}/{TRAINING}/news.en-00003-of-00100"), bytes(2**21))],
        "lines of at most 1 MiB",
    ),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_wrong_archives_are_refused(tmp_path, case):
    members, message = BAD_ARCHIVES[case]
    with pytest.raises(ValueError, match=message):
        open_corpus(archive_of(members, tmp_path / "a.tar.gz"))


LINES = tuple(f"Sentence number {i}." for i in range(200))


def test_text_files_plain_and_compressed(tmp_path):
    plain, packed = tmp_path / "text.txt", tmp_path / "no suffix"
    plain.write_text("\n".join(LINES) + "\n\n", encoding="utf-8")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    corpus = open_corpus(plain)
    held, test = ([line for line in LINES if chosen(line)] for chosen in (is_held_out, is_test))
    assert (corpus.held_out, corpus.test) == (tuple(held), tuple(test))
    assert corpus.training == tuple(line for line in LINES if line not in held + test)
    assert (open_corpus(packed).training, open_corpus(packed).name) == (corpus.training, "no suffix")
    assert len(open_corpus(plain, limit=100).training) < 100 <= 100 + len(held)


def sides(corpus):
    return [set(part) for part in (corpus.training, corpus.held_out, corpus.test)]


TYPESETTINGS = {
    "as it is": lambda line: line,
    "doubled blanks": lambda line: line.replace(" ", "  "),
    "no-break spaces": lambda line: line.replace(" ", "\u00a0"),
    "zero-width spaces": lambda line: line.replace(" ", " \u200b"),
    "a byte order mark": lambda line: f"\ufeff{line}",
    "full-width digits": lambda line: line.translate({ord("0") + i: ord("\uff10") + i for i in range(10)}),
    "capitals": str.upper,
}


@pytest.mark.parametrize("name", TYPESETTINGS)
def test_a_sentence_is_on_one_side_however_it_is_typeset(tmp_path, name):
    """Wherever it stands and however often; none is lost."""
    lines = [*LINES, *(TYPESETTINGS[name](line) for line in LINES[::-1])]
    path = tmp_path / "twice.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    corpus = open_corpus(path)
    for one, other in combinations(sides(corpus), 2):
        assert not {said(line) for line in one} & {said(line) for line in other}
    assert len(corpus.training) + len(corpus.held_out) + len(corpus.test) == 2 * len(LINES)
    assert min(map(len, sides(corpus))) > 0


def said(line):
    return "".join(re.findall(r"\w", unicodedata.normalize("NFKC", line).lower()))


def unsalted(line):
    return hashlib.sha256(line.encode()).digest()[0] < 16


def test_the_split_knows_nothing_of_the_order_of_a_file(tmp_path):
    """In a file sorted by the digest of its lines, its head is split as its whole; control: by the digest it is not."""
    lines = [f"Sentence number {i}, said by {i * i}." for i in range(8000)]
    path = tmp_path / "sorted.txt"
    path.write_text("\n".join(sorted(lines, key=lambda line: hashlib.sha256(line.encode()).digest())), encoding="utf-8")
    assert all(map(unsalted, open_corpus(path, limit=400).training))
    for limit in (400, 2000, 8000):
        corpus = open_corpus(path, limit=limit)
        for part in (corpus.held_out, corpus.test):
            # Five standard deviations of a binomial count.
            assert abs(len(part) - limit / 16) < 5.0 * (limit * 15 / 256) ** 0.5


@pytest.mark.parametrize("line", ["\u00a0", "\u200b", "\ufeff", " \u3000\u2028 ", "\u2581", "\x0b\x01", "\ufffd"])
def test_lines_that_show_nothing_are_passed_over(tmp_path, line):
    """A tokenizer would leave the end piece of them, an empty sentence."""
    path = tmp_path / "blank.txt"
    path.write_text("\n".join([line, *LINES, line]), encoding="utf-8")
    corpus = open_corpus(path)
    assert set.union(*sides(corpus)) == set(LINES)
    assert train_tokenizer(LINES, vocabulary_size=30).encode([line])[0].size == 1


def test_the_benchmarks_held_out_sentences_choose_and_test(tmp_path):
    """About half of them each; a single one chooses."""
    held_out = [f"Said {i}." for i in range(200)]
    shard = f"{HELD_OUT}/news.en.heldout-00000-of-00050"
    corpus = open_corpus(folder_of({**FILES, shard: "\n".join(held_out)}, tmp_path / "many"))
    assert set(corpus.held_out) | set(corpus.test) == {*held_out, "test two"}
    assert 60 < len(corpus.test) < 140
    assert not set(corpus.held_out) & set(corpus.test)
    one = {name: text for name, text in FILES.items() if "heldout-00001" not in name and "news.en-00000" not in name}
    for sentence in held_out[:8]:
        corpus = open_corpus(folder_of({**one, shard: sentence}, tmp_path / sentence))
        assert (corpus.held_out, corpus.test) == ((sentence,), ())


BAD_TEXTS = {
    "empty": (b"\n \n", r"must have at least one sentence; got none in a\.txt"),
    "latin-1": ("Ein süßer Satz.\n".encode("latin-1"), r"must be UTF-8; got .* a\.txt, line 1"),
    "one sentence": (b"Sentence number 0.\n", r"must have at least one sentence; got none of 1 in a\.txt"),
    "cut gzip": (gzip.compress("\n".join(LINES).encode())[:-20], "must be a whole gzip"),
    "cut gzip header": (b"\x1f\x8b\x08", "must be a whole gzip"),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_wrong_texts_are_refused(tmp_path, case):
    content, message = BAD_TEXTS[case]
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_corpus(path)


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_corpus(tmp_path / "missing.txt")
    with pytest.raises(FileNotFoundError):
        open_corpus(tmp_path / "missing.tar.gz")
    with pytest.raises(ValueError, match="must be a file or a folder of the One Billion Word benchmark"):
        open_corpus(tmp_path)
    with pytest.raises(ValueError, match="`limit` must be at least 1"):
        open_corpus(limit=0)
    with pytest.raises(ValueError, match="`training` must have"):
        Corpus("nothing", (), ("A sentence.",))


def test_paragraphs_bullets_and_sentences():
    """A sentence goes on over lines of one indentation, and ends at a bullet or where the indentation changes."""
    text = """Return the
    first line.

    * The first
      bullet is here.  It has (e.g. in this one) two sentences, see Mr. Smith.
    * The second is here!

    1. A number
       may lead it?
    name
        Description of the name. lower case goes
        on here. "Quoted" is the last.
    """
    assert sentences_of(text) == [
        "The first bullet is here.",
        "It has (e.g. in this one) two sentences, see Mr. Smith.",
        "The second is here!",
        "A number may lead it?",
        "Description of the name. lower case goes on here.",
        '"Quoted" is the last.',
    ]


@pytest.mark.parametrize(
    "text",
    [
        ">>> print('It is not a sentence.')", "it begins in lower case.", "It has no end", "It is a list:",
        "It is x = 3 * y.", "The sum(a, b) and the_other_name and a_third.", "It (is open.", 'It is "open.',
        "The end...", "It is [1, 2].", "Too short.", "XML HTML THE RFC TCP is.", "The 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5.",
        "See the page https://example.org/page.", "Subwidget class widget.", "A word " * 41 + "more.", "",
    ],
)  # fmt: skip
def test_what_is_no_sentence(text):
    assert sentences_of(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "It's a sentence.", "The sum() of this list is then 2.5!", 'Is "x" an end-of-line character?', "I know that.",
        "A name such as the_name.of_it is allowed once.", "See RFC 2822 for what it is.",
    ],
)  # fmt: skip
def test_what_is_a_sentence(text):
    """Control: the rules do not refuse everything."""
    assert sentences_of(text) == [text]


LIBRARY = {
    "json/__init__.py": '"""The package has a sentence."""\nraise SystemExit("must not run")\n',
    "json/decoder.py": 'def f():\n    """The function has a sentence, too."""\n    """This is no docstring."""\n',
    "json/tests/__init__.py": '"""This is only a test."""\n',
    "string.py": '"""This one cannot be parsed."""\n)\n',
    "shlex.py": 'class A:\n    r"""The class has a \\sentence. It is good."""\n    async def f(): "Is this one?"\n',
    "pydoc_data/__init__.py": "",
    "pydoc_data/topics.py": 'topics = {"if": "Statements\\n****\\n\\nThe “if” statement is\\nused here.\\n", "x": 1}\n',
    "mine.py": '"""This is not of the standard library."""\n',
}
SENTENCES = {
    "The package has a sentence.", "The function has a sentence, too.", "It is good.", "Is this one?",
    'The "if" statement is used here.',
}  # fmt: skip


def write_library(folder):
    for name, source in LIBRARY.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source, encoding="utf-8")


def test_a_standard_library_is_parsed_not_run(tmp_path):
    """Folder and zip archive give the same; sources that cannot be parsed, tests and other modules are passed over."""
    folder, packed = tmp_path / "library", tmp_path / "library.zip"
    write_library(folder)
    with zipfile.ZipFile(packed, "w") as archive:
        for name, source in LIBRARY.items():
            archive.writestr(name, source)
    sentences = python_sentences(folder)
    assert set(sentences) == SENTENCES
    assert list(sentences) == sorted(SENTENCES, key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    assert python_sentences(packed) == sentences


def test_a_library_without_sources_is_an_error(tmp_path):
    write_library(tmp_path)
    for path in list(tmp_path.rglob("*.py")):
        if path.name != "string.py":
            py_compile.compile(str(path), cfile=str(path.with_suffix(".pyc")))
        path.unlink()
    with pytest.raises(ValueError, match="`location` must hold Python sources with documentation; found none"):
        python_sentences(tmp_path)


def test_sentences_do_not_depend_on_the_process(tmp_path):
    """Another process with another hash seed finds the same in a part of the library, and imports nothing of it."""
    for name in ("json", "email", "logging", "unittest", "argparse.py", "pydoc_data"):
        (tmp_path / name).symlink_to(Path(os.__file__).parent / name)
    script = """if True:
        import json, sys
        from pbde_ref.language.python_documentation import python_sentences
        before = set(sys.modules)
        print(json.dumps([python_sentences(sys.argv[1]), sorted(set(sys.modules) - before)]))
    """
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=Path(pb.__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    sentences, imported = json.loads(run.stdout)
    assert tuple(sentences) == python_sentences(tmp_path)
    assert len(sentences) > 1000
    # A source in another encoding brings in that encoding.
    assert [name for name in imported if not name.startswith("encodings.")] == []


def test_the_embedded_corpus_is_large():
    corpus = open_corpus()
    # Distributions that leave out IDLE and tkinter have 12,000.
    assert len(corpus.training) + len(corpus.held_out) > 11_000
    assert len(corpus.training) > 10 * len(corpus.held_out) > 1000 < 10 * len(corpus.test)
    assert corpus.held_out == tuple(sentence for sentence in python_sentences() if is_held_out(sentence))
    assert all(re.fullmatch(r"""["'(]?[A-Z].*[.!?]["')]?""", sentence) for sentence in corpus.training)
    assert "Return a list of all non-overlapping matches in the string." in corpus.training + corpus.test


def test_pythons_documentation_has_a_limit(tmp_path):
    """The first sentences of the same list."""
    small, whole = open_corpus(limit=500), open_corpus()
    assert sum(map(len, sides(small))) == 500
    assert set(python_sentences()[:500]) == set.union(*sides(small))
    assert small.training == whole.training[: len(small.training)]
