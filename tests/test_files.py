"""Files arrive whole or not at all."""

import json
import os
import stat

import numpy as np
import pytest

from pbde_ref.files import read_arrays, write_arrays, write_atomically, write_json


def test_content_arrives_and_nothing_else_stays(tmp_path):
    write_atomically(tmp_path / "a.bin", b"\x00\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def refuse(*arguments):
        raise OSError("no")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no"):
        write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_new_file_has_the_users_permissions(tmp_path):
    (tmp_path / "ordinary").write_text("")
    write_atomically(tmp_path / "atomic", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "atomic")]
    assert modes[0] == modes[1]


def test_numbers_survive_json_bit_for_bit(tmp_path):
    numbers = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-300, 200, 0.5)
    write_json(tmp_path / "x.json", {"numbers": numbers.tolist()})
    assert json.loads((tmp_path / "x.json").read_text())["numbers"] == numbers.tolist()


def test_json_refuses_what_it_has_no_word_for(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", [float("nan")])
    assert os.listdir(tmp_path) == []


def test_arrays_arrive_and_equal_arrays_are_equal_bytes(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "text": np.array("α and more"), "n": np.array(3)}
    write_arrays(tmp_path / "a.npz", arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, value in arrays.items():
        assert found[name].dtype == value.dtype
        assert found[name].tobytes() == value.tobytes()
    write_arrays(tmp_path / "b.npz", found)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_objects_are_neither_written_nor_read(tmp_path):
    with pytest.raises(TypeError, match="`arrays` must hold numbers or text; got dtype object for 'a'"):
        write_arrays(tmp_path / "a.npz", {"a": np.array([{}])})
    np.savez(tmp_path / "objects.npz", a=np.array([{}]))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("objects.npz", "single.npy", "text.npz"):
        with pytest.raises(ValueError, match=r"`path` must be a whole \.npz file of plain arrays; got .*" + name):
            read_arrays(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "missing.npz")
