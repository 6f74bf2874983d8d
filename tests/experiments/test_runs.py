"""Records and the runner: what is stored, what is taken up again, and that the number of processes changes nothing."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pbde_ref.cli import main
from pbde_ref.experiments.records import Record, read_record, write_record
from pbde_ref.experiments.runs import Experiment, Reporter, Run, execute, execute_all, runs_folder
from pbde_ref.threads import one_blas_thread

RECORD = Record(
    "a", {"seed": 1}, {"loss": 0.1, "kl": None}, {"policy.p": np.array([0.25, 0.75]), "grid": np.array([-1.0, 1 / 3])},
    {"sentences": ["Ça va ."]},
)  # fmt: skip


def square(settings, needed, progress, *, number):
    """A run for the tests: deterministic, and found by other processes."""
    progress(1, float(number))
    total = sum(record.numbers["result"] for record in needed.values())
    return Record("", {}, {"result": number**2 + settings + total}, {"x": np.arange(float(number))})


def fail(settings, needed, progress):
    """A run that goes wrong."""
    raise ArithmeticError("the loss must stay finite")


RUNS = [
    Run("three", partial(square, number=3), ("one", "two")),
    Run("one", partial(square, number=1)),
    Run("two", partial(square, number=2), ("one",), steps=5),
]


class Log(Reporter):
    """Remembers what it was told."""

    def __init__(self):
        self.events, self.steps = [], 0

    def start(self, steps):
        self.events.append(("start", steps))

    def advance(self, name, steps, loss):
        self.steps += steps

    def finished(self, record):
        self.events.append(("finished", record.name))

    def kept(self, name):
        self.events.append(("kept", name))

    def outdated(self, name):
        self.events.append(("outdated", name))


def test_a_record_survives_the_round_trip(tmp_path):
    write_record(tmp_path / "a.json", RECORD)
    back = read_record(tmp_path / "a.json")
    assert (back.name, back.settings, back.numbers, back.texts) == ("a", RECORD.settings, RECORD.numbers, RECORD.texts)
    for name, array in RECORD.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
    assert back.policy("p").pmf.tolist() == [0.25, 0.75]
    assert back.policy("p").support.tolist() == [-1.0, 1 / 3]
    write_record(tmp_path / "b.json", back)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"format": 2}', b"\xff\xfe", b'{"format": 1}'])
def test_other_files_are_refused_as_records(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"`path` must be a record of an experiment; got '.*a.json'"):
        read_record(tmp_path / "a.json")


def test_infinities_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_record(tmp_path / "a.json", Record("a", {}, {"loss": float("inf")}, {}))
    assert list(tmp_path.iterdir()) == []


def test_runs_come_in_the_order_of_their_needs(tmp_path):
    log = Log()
    found = execute(RUNS, 10, tmp_path, identity={"seed": 0}, reporter=log)
    assert {name: record.numbers["result"] for name, record in found.items()} == {"three": 55, "one": 11, "two": 25}
    assert log.events == [("start", 7), ("finished", "one"), ("finished", "two"), ("finished", "three")]
    assert log.steps == 7


def test_finished_runs_are_kept_and_others_computed_again(tmp_path):
    first = execute(RUNS, 10, tmp_path, identity={"seed": 0})
    (tmp_path / "two.json").unlink()
    (tmp_path / "three.json").write_bytes(b"half a fi")
    log = Log()
    second = execute(RUNS, 10, tmp_path, identity={"seed": 0}, reporter=log)
    assert log.events == [
        ("outdated", "three"), ("kept", "one"), ("start", 6), ("finished", "two"), ("finished", "three"),
    ]  # fmt: skip
    assert {n: r.numbers for n, r in first.items()} == {n: r.numbers for n, r in second.items()}


def test_other_settings_or_another_version_make_a_result_outdated(tmp_path):
    execute(RUNS, 10, tmp_path, identity={"seed": 0})
    log = Log()
    execute(RUNS, 11, tmp_path, identity={"seed": 1}, reporter=log)
    assert [event for event, _ in log.events].count("outdated") == 3
    content = json.loads((tmp_path / "one.json").read_text())
    assert content["settings"] == {"seed": 1, "version": content["settings"]["version"]}
    content["settings"]["version"] = "0"
    (tmp_path / "one.json").write_text(json.dumps(content))
    log = Log()
    execute(RUNS, 11, tmp_path, identity={"seed": 1}, reporter=log)
    assert ("outdated", "one") in log.events


@pytest.mark.parametrize("place", ["processes", "threads", "dask"])
def test_the_files_are_the_same_whoever_computes_them(tmp_path, place, request):
    log = Log()
    execute(RUNS, 10, tmp_path / "one", identity={"seed": 0})
    places = {
        "processes": lambda: nullcontext(2),
        "threads": lambda: ThreadPoolExecutor(3),
        "dask": lambda: nullcontext(request.getfixturevalue("dask_executor")),
    }
    with places[place]() as executor:
        execute(RUNS, 10, tmp_path / "several", identity={"seed": 0}, executor=executor, reporter=log)
    assert log.steps == 7
    assert files_of(tmp_path / "several") == files_of(tmp_path / "one")


def test_several_experiments_at_once(tmp_path):
    """Each has its own folder; runs of both wait for their own needs; names say which."""
    log = Log()
    experiments = [Experiment(RUNS, n, tmp_path / str(n), {"seed": n}, name=f"n-{n}") for n in (10, 20)]
    found = execute_all(experiments, executor=2, reporter=log)
    assert [each["three"].numbers["result"] for each in found] == [55, 95]
    assert {name for event, name in log.events if event == "finished"} == {
        f"n-{n}/{name}" for n in (10, 20) for name in ("one", "two", "three")
    }
    assert log.steps == 14
    for n in (10, 20):
        execute(RUNS, n, tmp_path / "alone" / str(n), identity={"seed": n})
        assert files_of(tmp_path / str(n)) == files_of(tmp_path / "alone" / str(n))


@pytest.mark.parametrize("executor", [1, 2])
def test_an_error_ends_the_work_and_keeps_what_is_finished(tmp_path, executor):
    runs = [*RUNS[1:], Run("bad", fail, ("two",)), Run("worse", fail, ("two",))]
    with pytest.raises(ArithmeticError, match="the loss must stay finite"):
        execute(runs, 10, tmp_path, identity={}, executor=executor)
    assert {path.name for path in tmp_path.iterdir()} == {"one.json", "two.json"}


def test_a_missing_need_is_named(tmp_path):
    with pytest.raises(ValueError, match="must hold what 'three' needs, 'one'; got three, two"):
        execute([RUNS[0], RUNS[2]], 10, tmp_path, identity={})


TINY = ["reproduce", "figure-8", "--preset", "quick", *(f"--set={s}" for s in (
    "grid=32", "comparisons=512", "width=8", "layers=2", "pretraining_steps=32", "steps=50",
))]  # fmt: skip


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_killed_command_ends_with_the_files_of_an_undisturbed_one(tmp_path, capsys):
    """SIGKILL after the first finished panel, then the same command again, here, where the package is loaded."""
    root = Path(__file__).parents[2]
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pbde_ref", *TINY, "--workers=2", f"--out={killed}"], cwd=root, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120.0
    while len(list(killed.glob("runs/*/*-*.json"))) < 1:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    # Its processes hold the other end of the pipe: they end with it.
    process.communicate(timeout=60.0)
    assert not (killed / "README.md").exists()
    for folder in (killed, undisturbed):
        with one_blas_thread():
            assert main([*TINY, "--workers=1", f"--out={folder}"]) == 0
        assert ("found finished" in capsys.readouterr().err) == (folder is killed)
    # What a killed writer leaves behind are temporary files, whose names begin with a dot.
    left = {name: content for name, content in files_of(killed).items() if "/." not in name}
    assert left == files_of(undisturbed)


def flipped(content):
    """One bit, in a digit of the arrays."""
    place = content.rindex(b'"arrays"') + 20
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def resigned(change):
    """Somebody computes the digest anew."""

    def damaged(content):
        parts = json.loads(content)
        del parts["digest"]
        change(parts)
        text = json.dumps(parts, sort_keys=True)
        return json.dumps(parts | {"digest": hashlib.sha256(text.encode()).hexdigest()}).encode()

    return damaged


DAMAGES = {
    "emptied": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "flipped bit": flipped,
    "altered": lambda content: content.replace(b'"result": 11', b'"result": 12').replace(b"11.0", b"12.0"),
    "NaN": lambda content: content.replace(b"11", b"NaN"),
    "deep": lambda content: b"[" * 100_000,
    "zeros": lambda content: bytes(len(content)),
    "list": lambda content: b"[1]",
    "numbers are text": resigned(lambda parts: parts["numbers"].update(result="11")),
    "numbers are a list": resigned(lambda parts: parts.update(numbers=[])),
    "arrays are a list": resigned(lambda parts: parts.update(arrays=[])),
    "arrays are ragged": resigned(lambda parts: parts["arrays"].update(x=[[1.0], []])),
    "texts are numbers": resigned(lambda parts: parts.update(texts={"a": 1})),
    "settings are none": resigned(lambda parts: parts.update(settings=None)),
    "no name": resigned(lambda parts: parts.update(name=None)),
    "huge number": resigned(lambda parts: parts["arrays"].update(x=[10**400])),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_records_are_computed_again(tmp_path, damage):
    """Each was "found finished", or a traceback."""
    execute(RUNS, 10, tmp_path, identity={"seed": 0})
    before = files_of(tmp_path)
    content = DAMAGES[damage](before["one.json"])
    assert content != before["one.json"]
    (tmp_path / "one.json").write_bytes(content)
    log = Log()
    execute(RUNS, 10, tmp_path, identity={"seed": 0}, reporter=log)
    assert log.events == [
        ("outdated", "one"), ("start", 7), ("finished", "one"), ("kept", "two"), ("kept", "three")
    ]  # fmt: skip
    assert log.steps == 7
    assert files_of(tmp_path) == before


def test_swapped_and_renamed_records_are_computed_again(tmp_path):
    execute(RUNS, 10, tmp_path, identity={"seed": 0})
    before = files_of(tmp_path)
    (tmp_path / "one.json").write_bytes(before["two.json"])
    (tmp_path / "two.json").write_bytes(before["one.json"])
    (tmp_path / "three.json").rename(tmp_path / "four.json")
    log = Log()
    execute(RUNS, 10, tmp_path, identity={"seed": 0}, reporter=log)
    assert {event for event in log.events if event[0] != "start"} == {
        ("outdated", "one"), ("outdated", "two"), *(("finished", name) for name in ("one", "two", "three"))
    }  # fmt: skip
    (tmp_path / "four.json").unlink()
    assert files_of(tmp_path) == before


def test_a_result_belongs_to_what_it_was_computed_from(tmp_path):
    """The same settings, but another "one", as another machine's rounding makes it: what needs it is computed again."""
    execute(RUNS, 10, tmp_path, identity={"seed": 0})
    before = files_of(tmp_path)
    change = resigned(lambda parts: parts["numbers"].update(result=11.5))
    (tmp_path / "one.json").write_bytes(change(before["one.json"]))
    log = Log()
    found = execute(RUNS, 10, tmp_path, identity={"seed": 0}, reporter=log)
    assert [event for event in log.events if event[0] == "outdated"] == [("outdated", "two"), ("outdated", "three")]
    assert found["three"].numbers["result"] == 9 + 10 + 11.5 + found["two"].numbers["result"]


def write_file(settings, needed, progress, *, folder):
    """A run with a file besides its record."""
    (folder / "weights.bin").write_bytes(bytes([settings] * 8))
    return Record("", {}, {"result": float(settings)}, {})


def read_file(settings, needed, progress, *, folder):
    return Record("", {}, {"sum": float(sum((folder / "weights.bin").read_bytes()))}, {})


def runs_with_files(folder):
    return [
        Run("weights", partial(write_file, folder=folder), files=("weights.bin",)),
        Run("sum", partial(read_file, folder=folder), ("weights",)),
    ]


@pytest.mark.parametrize("damage", ["missing", "flipped", "of another run"])
def test_a_file_belongs_to_its_record(tmp_path, damage):
    folder = tmp_path
    runs = runs_with_files(folder)
    first = execute(runs, 3, tmp_path, identity={"n": 3})
    before = files_of(tmp_path)
    path = folder / "weights.bin"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"\x03\x03\x03\x03\x03\x03\x03\x02" if damage == "flipped" else bytes([4] * 8))
    log = Log()
    again = execute(runs, 3, tmp_path, identity={"n": 3}, reporter=log)
    assert log.events == [("outdated", "weights"), ("start", 2), ("finished", "weights"), ("kept", "sum")]
    assert files_of(tmp_path) == before
    assert first["sum"].numbers == again["sum"].numbers == {"sum": 24.0}


def test_two_runs_share_a_folder(tmp_path):
    """A finished a piece; B, with other settings, was stopped between its file and its record; A goes on."""
    places = {n: runs_folder(tmp_path, {"n": n}) for n in (3, 4)}
    alone = execute(runs_with_files(tmp_path / "alone"), 3, tmp_path / "alone", identity={"n": 3})
    execute(runs_with_files(places[3])[:1], 3, places[3], identity={"n": 3})
    places[4].mkdir()
    write_file(4, {}, None, folder=places[4])
    log = Log()
    found = execute(runs_with_files(places[3]), 3, places[3], identity={"n": 3}, reporter=log)
    assert ("kept", "weights") in log.events
    assert found["sum"].numbers == alone["sum"].numbers
    other = execute(runs_with_files(places[4]), 4, places[4], identity={"n": 4})
    assert other["sum"].numbers == {"sum": 32.0}


def test_a_folder_in_a_records_place_is_refused(tmp_path):
    (tmp_path / "one.json").mkdir()
    with pytest.raises(ValueError, match=r"`folder` must hold files alone; got something else in '.*one\.json'"):
        execute(RUNS, 10, tmp_path, identity={})
