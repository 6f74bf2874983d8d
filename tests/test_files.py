"""Files arrive whole or not at all."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

from pbde_ref.files import check_folder, check_writable, read_arrays, write_arrays, write_atomically, write_json


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


def test_links_lead_to_their_target(tmp_path):
    (tmp_path / "target").write_text("old")
    os.chmod(tmp_path / "target", 0o640)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to("../target")
    (tmp_path / "second").symlink_to("folder/link")
    (tmp_path / "dangling").symlink_to("folder/new")
    write_atomically(tmp_path / "second", b"new")
    write_atomically(tmp_path / "dangling", b"made")
    assert (tmp_path / "target").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o640
    assert (tmp_path / "folder" / "new").read_bytes() == b"made"
    assert [(tmp_path / n).is_symlink() for n in ("folder/link", "second", "dangling")] == [True] * 3


def test_a_pipe_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_json(tmp_path / "pipe", [1])
    reader.join(60)
    assert received == [b"[\n  1\n]\n"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize(("minor", "fails"), [(3, False), (7, True)])
def test_a_device_stays_a_device(tmp_path, minor, fails):
    """A private copy of /dev/null, and of /dev/full, which has no room: root replaced it by a file."""
    try:
        os.mknod(tmp_path / "device", 0o600 | stat.S_IFCHR, os.makedev(1, minor))
        (tmp_path / "device").open("wb").close()
    except PermissionError:
        pytest.skip("only root makes devices, where the file system allows them")
    if fails:
        with pytest.raises(OSError, match=r"No space left on device: '.*/device'"):
            write_atomically(tmp_path / "device", b"x")
    else:
        write_atomically(tmp_path / "device", b"x")
    assert stat.S_ISCHR((tmp_path / "device").stat().st_mode)
    assert os.listdir(tmp_path) == ["device"]


def test_other_things_are_refused_under_their_own_name(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    before = sorted(os.listdir(tmp_path))
    for name in ("folder", "loop", "socket", "missing/file", "file/inside", "new/", "n" * 300):
        for function in (check_writable, lambda path: write_atomically(path, b"x")):
            if function is check_writable and name == "n" * 300:
                continue
            with pytest.raises(OSError) as caught:  # noqa: PT011
                function(f"{tmp_path}/{name}")
            assert caught.value.filename == f"{tmp_path}/{name}"
    for name in ("", "a\0b"):
        with pytest.raises(ValueError, match="`path` must be the name of a file"):
            write_atomically(name, b"x")
    with pytest.raises(ValueError, match=r"`path` must end in one of \.png; got 'a\.txt'"):
        check_writable("a.txt", (".png",))
    listener.close()
    assert sorted(os.listdir(tmp_path)) == before


def test_folders_are_tried_before_the_work(tmp_path, monkeypatch):
    """New ones may be made in what is there; not in a file, nor where nothing may be written."""
    (tmp_path / "file").write_text("")
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "deeper")
    for name in ("file", "file/inside"):
        with pytest.raises(NotADirectoryError) as caught:
            check_folder(f"{tmp_path}/{name}")
        assert caught.value.filename == f"{tmp_path}/{name}"
    for name in ("", "a\0b", "\ud800"):
        with pytest.raises(ValueError, match="`path` must be the name of a folder"):
            check_folder(name)
        with pytest.raises(ValueError, match="`path` must be the name of a file"):
            check_writable(name)
    # Whoever runs the tests may be allowed everything.
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(tmp_path))
    for function, name in ((check_folder, "new/deeper"), (check_folder, ""), (check_writable, "file")):
        with pytest.raises(PermissionError):
            function(tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]


def test_the_file_that_stdout_goes_to_keeps_what_was_printed(tmp_path):
    script = "from pbde_ref.files import write_json; print('first'); write_json({!r}, 1); print('last')"
    for name in ("/dev/stdout", str(tmp_path / "out")):
        with (tmp_path / "out").open("wb") as out:
            subprocess.run([sys.executable, "-c", script.format(name)], stdout=out, check=True)
        assert (tmp_path / "out").read_text() == "first\n1\nlast\n"
    found = subprocess.run([sys.executable, "-c", script.format("/dev/stdout")], capture_output=True, check=True)
    assert found.stdout == b"first\n1\nlast\n"


def test_half_a_surrogate_pair_is_spelt(tmp_path):
    """UTF-8 has no place for it; what is written reads back the same."""
    write_json(tmp_path / "a.json", {"label": "a\ud800", "other": "é"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"label": "a\ud800", "other": "é"}
