"""Files that announce or hold more than anybody should read: an error that names the limit, at once."""

import gzip
import io
import json
import os
import stat
import struct
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from pbde_ref.benchmarking.documents import split_at_marks
from pbde_ref.estimation import read_comparisons
from pbde_ref.estimation.processes import read_process
from pbde_ref.estimation.sources import DataError, Limits
from pbde_ref.files import read_arrays, read_bytes, read_json
from pbde_ref.language import lm1b
from pbde_ref.language.corpora import open_corpus
from pbde_ref.language.lines import LimitedBytes, read_lines
from pbde_ref.language.tokenizers import load_tokenizer
from pbde_ref.models.flax_checkpoint import read_flax_checkpoint

SHARD = "root/training-monolingual.tokenized.shuffled/news.en-00001-of-00100"


@pytest.fixture
def zeros(tmp_path):
    """A private copy of /dev/zero, which never ends; elsewhere a file of holes."""
    path = tmp_path / "zeros"
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        path.open("rb").close()
    except OSError:
        path.unlink(missing_ok=True)
        with path.open("wb") as file:
            file.truncate(2**40)
    return path


@pytest.fixture
def holes(tmp_path):
    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.truncate(2**42)
    return path


READERS = {
    "fit": read_comparisons,
    "--pbde": lambda path: read_process(path, np.array(["a"])),
    "--corpus": open_corpus,
    "--checkpoints": read_flax_checkpoint,
    "tokenizer": load_tokenizer,
    "--markdown": split_at_marks,
    "arrays": read_arrays,
    "json": read_json,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["zeros", "holes"])
def test_endless_files_are_refused(request, reader, kind):
    path = request.getfixturevalue(kind)
    with pytest.raises(ValueError, match=r".") as caught:
        READERS[reader](path)
    assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize("reader", ["fit", "--pbde", "--corpus"])
def test_a_gzip_bomb_is_refused(tmp_path, reader):
    """10 MB that hold 10 GB: sixteen members of 640 MB without a line's end, one after the other."""
    member = io.BytesIO()
    with gzip.GzipFile(fileobj=member, mode="wb", mtime=0) as file:
        for _ in range(64):
            file.write(bytes(2**20))
    (tmp_path / "bomb.csv.gz").write_bytes(member.getvalue() * 160)
    with pytest.raises(ValueError, match=r"the limit of a line|lines of at most 1 MiB"):
        READERS[reader](tmp_path / "bomb.csv.gz")


def test_the_limits_of_comparisons_can_be_set(tmp_path):
    path = tmp_path / "votes.csv"
    path.write_text("chosen,rejected\na,b\n" + "b,a" + " " * 100 + "\n", encoding="utf-8")
    assert read_comparisons(path).n_rows == 2
    with pytest.raises(DataError, match=r"votes\.csv, line \d: longer than 50 bytes, the limit of a line"):
        read_comparisons(path, limits=Limits(line=50))
    with pytest.raises(DataError, match=r"votes\.csv: longer than 60 bytes, the limit of a file"):
        read_comparisons(path, limits=Limits(total=60))
    path.write_text(f"chosen,rejected\na,{'b' * 200_000}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a cell of more than 131,072 characters, the limit"):
        read_comparisons(path)


def test_deep_json_is_a_bad_line(tmp_path):
    path = tmp_path / "votes.jsonl"
    good = json.dumps({"chosen": "a", "rejected": "b"})
    path.write_text(f"{good}\n{'[' * 100_000}\n{good}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: JSON nested deeper than Python can follow"):
        read_comparisons(path)
    table = read_comparisons(path, bad_lines="skip")
    assert (table.n_bad, table.n_rows) == (1, 2)


def tar_of(*members):
    """An archive of headers, each with a name, the size that it announces, and what follows."""
    content = b""
    for name, size, data in members:
        header = tarfile.TarInfo(name)
        header.size = size
        content += header.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)
    return content + bytes(1024)


@pytest.mark.parametrize("size", [2**60, 2**40, -1])
@pytest.mark.parametrize("name", [SHARD, "root/README"])
def test_a_member_that_announces_too_much_is_refused(tmp_path, size, name):
    """10 KB that took for ever."""
    path = tmp_path / "bomb.tar"
    path.write_bytes(tar_of((name, size, b"text\n")))
    with pytest.raises(ValueError, match=r"`path` must (be|have)"):
        open_corpus(path)


def test_extended_headers_change_no_limit(tmp_path):
    path = tmp_path / "bomb.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("root/README")
        member.pax_headers = {"size": str(2**60)}
        archive.addfile(member)
    with pytest.raises(ValueError, match=r"`path` must have members of at most 17,179,869,184 bytes"):
        open_corpus(path)


def test_many_members_and_long_archives_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lm1b, "MAX_MEMBERS", 5)
    path = tmp_path / "many.tar"
    path.write_bytes(tar_of(*[(f"root/{i}", 0, b"") for i in range(6)]))
    with pytest.raises(ValueError, match="`path` must have at most 5 members; got more"):
        open_corpus(path)
    with pytest.raises(ValueError, match="`path` must hold at most 10 bytes; got more in text"):
        list(read_lines(LimitedBytes(io.BytesIO(b"abc\n" * 3), "text", 10), "text"))
    with pytest.raises(ValueError, match="`path` must have at most 2 lines; got more in text"):
        list(read_lines(io.BytesIO(b"\n" * 3), "text", most=2))
    with pytest.raises(ValueError, match=r"lines of at most 4 bytes; got a longer one in text, line 1"):
        list(read_lines(io.BytesIO(b"abcde"), "text", longest=4))


def test_arrays_that_announce_too_much_are_refused(tmp_path):
    """A compressed gigabyte of zeros, and a header that declares 2^60 numbers."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy_header((2**17,)) + bytes(2**20))
    assert read_arrays(path)["x"].size == 2**17
    with pytest.raises(ValueError, match=r"it holds 1,048,704 bytes, more than the limit of 1,000,000"):
        read_arrays(path, limit=10**6)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy_header((2**60,)))
    with pytest.raises(ValueError, match=r"`path` must be a whole \.npz file"):
        read_arrays(path)


def npy_header(shape):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def test_whole_files_have_a_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    assert read_bytes(path, limit=100) == bytes(100)
    with pytest.raises(ValueError, match=r"`path` must hold at most 99 bytes; got more in '.*a'"):
        read_bytes(path, limit=99)
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(ValueError, match="`path` must be nested less deeply"):
        read_json(path)
    path.write_bytes(b"[NaN]")
    with pytest.raises(ValueError, match="JSON has no NaN"):
        read_json(path)


def test_json_that_is_none_names_its_file(tmp_path):
    for content in (b"9" * 5000, b"{", b"\xff", b"NaN"):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"`path` must be JSON; got '.*x\.json'"):
            read_json(tmp_path / "x.json")


def test_the_map_of_a_sparse_member_that_is_none_names_the_archive(tmp_path):
    member = tarfile.TarInfo("r/training-monolingual.tokenized.shuffled/news.en-00001-of-00100")
    member.size = 12
    member.pax_headers = {f"GNU.sparse.{name}": "1" for name in ("major", "minor", "realsize")}
    member.pax_headers["GNU.sparse.minor"] = "0"
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(b"A cat sat .\n"))
    with pytest.raises(ValueError, match=r"`path` must be an archive of plain files; got '.*x\.tar'"):
        open_corpus(tmp_path / "x.tar", limit=10)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [("utf-16", "x.csv: this is not utf-16 text"), ("utf-8\0", "`encoding` must be one that Python knows; got 'utf-8")],
)
def test_a_wrong_encoding_is_named(tmp_path, encoding, message):
    path = tmp_path / "x.csv"
    path.write_text("chosen,rejected\na,b\nb,a\n")
    with pytest.raises(ValueError, match=message):
        read_comparisons(path, encoding=encoding)


def test_an_archive_that_leads_nowhere_is_named(tmp_path):
    """The directory's place is off, so that a member begins before the file: an error of the system without a name."""
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(3.0))
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    place = int.from_bytes(data[end + 16 : end + 20], "little")
    data[end + 16 : end + 20] = (place + 100).to_bytes(4, "little")
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(OSError, match="Invalid argument"):
        np.load(file)["a"]
    with pytest.raises(ValueError, match=r"`path` must be a whole \.npz file of plain arrays; got .*x\.npz"):
        read_arrays(path)


def test_an_entry_that_is_refused_is_of_a_named_archive(tmp_path):
    path = tmp_path / "1-billion.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("x" * 100_000))
    rule = r"`path` must be an archive of plain files; got an entry .* of '.*1-billion\.tar'"
    with pytest.raises(ValueError, match=rule):
        lm1b.lm1b_sentences(path)


def test_braces_that_are_never_closed_are_looked_through_once(tmp_path):
    """A line of 2.5 MB would have taken twenty minutes: each brace's end was looked for to the end of the line."""
    path = tmp_path / "x.soc"
    path.write_bytes(b"# ALTERNATIVE NAME 1: tea\n3: " + b'{"a":' * 200_000 + b"\n")
    with pytest.raises(DataError, match="line 2: a ranking needs two or more different items"):
        read_comparisons(path)
    path.write_bytes(b"# ALTERNATIVE NAME 1: tea\n# ALTERNATIVE NAME 2: milk\n3: 1,{2,x}\n")
    assert read_comparisons(path, ties="drop").n_rows == 1


def test_standard_input_that_is_closed_is_named(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(OSError, match="standard input is closed"):
        read_comparisons("-")


def test_a_name_that_no_file_can_have_is_named():
    with pytest.raises(ValueError, match=r"`path` must be the name of a file; got '.ud800'"):
        read_comparisons("\ud800")
