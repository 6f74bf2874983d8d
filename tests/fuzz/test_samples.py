"""A small draw of each fuzzer, with controls; the thorough draws are ``python -m tests.fuzz.<name>``."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.cli import COMMANDS
from tests.fuzz import api, commands, files, harness, kills, trees
from tests.seeds import drawn_seed


def test_a_draw_of_calls():
    assert api.fuzz(250, seed=drawn_seed()) == {}


def test_every_function_is_called_rightly():
    rng = np.random.default_rng(0)
    for name, function in api.functions().items():
        arguments = api.arguments_for(name, function, rng)
        assert arguments or name == "luce", name
        assert api.fault(function, arguments, arguments) is None, name
        function(**arguments)


def test_nothing_public_is_forgotten():
    known = api.NOT_CALLED | set(api.functions())
    assert set(pb.__all__) <= known


def test_a_draw_of_trees():
    """No changed loss crashes the oracle, or passes though it is wrong; most are found."""
    counts, faults = trees.fuzz(12, seed=drawn_seed())
    assert faults == {}
    assert counts["found"] > 4


def test_an_oracle_that_holds_nothing_is_noticed(monkeypatch):
    """Control: without checks wrong trees pass, and 50 digits tell."""
    monkeypatch.setattr(trees, "bench_for", lambda *_: SimpleNamespace(checks=(), run=lambda names: ()))
    counts, _ = trees.fuzz(8, seed=0)
    assert counts["PASSED though wrong"] >= 4


def changes_its_input(x):
    x[0] = 7.0


def says_much(x):
    raise ValueError(f"`x` {'y' * 300}")


FAULTY = {
    "changed its input": changes_its_input,
    "message of more than 300 characters": says_much,
    "names no argument": lambda x: int("a"),
    "KeyError": lambda x: {}[0],
    "RuntimeWarning": lambda x: np.array(1.0) / np.array(0.0),
    "NaN in the result": lambda x: [{"a": float("nan")}],
    "SystemExit": lambda x: exit(0),
}


@pytest.mark.parametrize("kind", FAULTY)
def test_each_kind_of_fault_is_seen(kind):
    """Control."""
    arguments = {"x": np.zeros(3)}
    assert api.fault(FAULTY[kind], arguments, arguments).startswith(kind)


def test_what_hangs_is_seen(monkeypatch):
    """Control."""
    monkeypatch.setattr(harness, "SECONDS", 0.2)

    def hangs(x):
        while True:
            pass

    assert api.fault(hangs, {"x": 1}, {"x"}) == "hung"


def test_a_draw_of_files():
    assert files.fuzz(40, seed=drawn_seed()) == {}


def test_right_files_are_read_and_faults_of_readers_seen(tmp_path):
    for name, (content, ending, read) in files.kinds().items():
        path = tmp_path / f"right{ending}"
        path.write_bytes(content)
        read(path)
        assert files.fault(read, path) is None, name

    def eats(path):
        return bytes(files.MOST_MEMORY + 1)

    def says_where(path):
        raise OSError(f"{path.parent}/.tmp123")

    for read, kind in ((eats, "more than 512 MiB"), (says_where, "names a temporary file"), (dict, "TypeError")):
        assert files.fault(read, tmp_path / "right.csv").startswith(kind)


def test_every_command_is_fuzzed():
    assert {words[0] for words in commands.BASES} == set(COMMANDS)


def test_a_draw_of_commands():
    assert commands.fuzz(3, seed=drawn_seed(), only=["list", "fit", "check"]) == {}


ENDINGS = {
    "traceback": (1, False, "Traceback (most recent call last):\nKeyError: 0\n", 0),
    "warning": (0, False, "RuntimeWarning: divide by zero\n", 0),
    "status 3": (3, False, "", 0),
    "a line of 400 characters": (2, False, "x" * 400, 0),
    "2 lines for a wrong use": (2, False, "one\ntwo\n", 0),
    "does not name --level": (2, False, "pbde-ref fit: wrong\n", 0),
    "1 processes stay behind": (0, False, "", 1),
    "does not end at Ctrl-C": (None, True, "", 0),
    "hung": (130, True, "interrupted\n", 0),
}


@pytest.mark.parametrize("kind", ENDINGS)
def test_faults_of_commands_are_seen(monkeypatch, kind):
    """Control."""
    monkeypatch.setattr(commands, "ended", lambda *_: ENDINGS[kind])
    assert commands.fault(["fit", "votes.csv", "--level=7"], ["--level"], {}).startswith(kind)


def test_a_wrong_loss_that_passes_and_files_that_stay_are_seen(monkeypatch):
    """Control."""
    monkeypatch.setattr(commands, "ended", lambda *_: (0, False, "", 0))
    assert commands.fault(["check", "subjects:exits"], ["subjects"], {}) == "a wrong loss passes"
    monkeypatch.setattr(commands, "ended", lambda words, folder, *_: ((folder / ".x.1").touch(), (0, False, "", 0))[1])
    assert commands.fault(["list"], [], {}) == "temporary files stay: ['.x.1']"


def test_the_page_on_trust_names_what_exists():
    page = Path(__file__).parents[2] / "docs" / "trust.md"
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
    assert len(links) > 15
    assert all((page.parent / link).exists() for link in links)


def test_a_process_that_stays_is_seen():
    """Control."""
    with commands.adopting():
        ours = frozenset(commands.orphans(session=-1))
        process = subprocess.Popen(["sh", "-c", "sleep 100 & exit"], start_new_session=True)
        process.wait()
        assert commands.leftovers(process.pid, ours, patience=0.2) == 1
        assert commands.leftovers(process.pid, ours) == 0


def test_a_draw_of_kills():
    assert kills.fuzz(1, seed=drawn_seed(), only=["verify"], most=1) == {}


def test_other_bytes_than_undisturbed_are_seen(tmp_path, monkeypatch):
    """Control: a command that does nothing, against one that printed something."""
    monkeypatch.setattr(kills, "Given", lambda *_: SimpleNamespace(end=lambda: (0, "", "")))
    work = kills.Work(("list",), ((), ()), "*")
    for right, wrong in (("", None), ("x", "other bytes than undisturbed: ['stdout']")):
        found = kills.disturbed(work, [{"stdout": right}] * 2, 0.0, 0, tmp_path, np.random.default_rng(0))
        assert found == (wrong, [], 0)
