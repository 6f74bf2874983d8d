"""A small draw of each fuzzer, with controls; the thorough draws are ``python -m tests.fuzz.<name>``."""

from types import SimpleNamespace

import numpy as np
import pytest

import pbde_ref as pb
from tests.fuzz import api, files, trees
from tests.seeds import drawn_seed


def test_a_draw_of_calls():
    assert api.fuzz(1500, seed=0) == {}


def test_every_function_is_called_rightly():
    rng = np.random.default_rng(0)
    for name, function in api.functions().items():
        arguments = api.arguments_for(name, function, rng)
        assert arguments or name == "luce", name
        assert api.fault(function, arguments, arguments) is None, name
        function(**arguments)


def test_nothing_public_is_forgotten():
    known = api.NOT_CALLED | set(api.functions())
    assert set(pb.__all__) == known


def test_a_draw_of_trees():
    """No changed loss crashes the oracle, or passes though it is wrong; most are found."""
    counts, faults = trees.fuzz(40, seed=drawn_seed())
    assert faults == {}
    assert counts["found"] > 20


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
    monkeypatch.setattr(api, "SECONDS", 0.2)

    def hangs(x):
        while True:
            pass

    assert api.fault(hangs, {"x": 1}, {"x"}) == "hung"


def test_a_draw_of_files():
    assert files.fuzz(160, seed=0) == {}


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
