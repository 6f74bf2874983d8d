"""Sweeps: the grid, what is kept, the table and the figure, and that they are the same whoever computes them."""

import csv
import importlib
import subprocess
import sys

import numpy as np
import pytest

from pbde_ref.cli import main
from pbde_ref.experiments.atlas import atlas_row
from pbde_ref.experiments.sweep import SUBJECTS, identification, optimum, sweep, two_annotators
from pbde_ref.figures.sweep import draw_sweep
from tests.lethal import shares
from tests.seeds import drawn_seed


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_grid_is_the_product(tmp_path):
    """Against a loop over the atlas."""
    found = sweep(optimum, {"size": [32, 48], "beta": [0.5, 2.0]}, tmp_path, settings={"loss": "dpo"})
    assert found.varied == ("size", "beta")
    assert found.settings == {"loss": ["dpo"] * 4, "size": [32, 32, 48, 48], "beta": [0.5, 2.0, 0.5, 2.0]}
    expected = [atlas_row("dpo", size=n, beta=b).distances["kl_preference"] for n in (32, 48) for b in (0.5, 2.0)]
    assert found.numbers["kl_preference"] == expected
    assert [row["kl_preference"] for row in rows_of(found.write(tmp_path / "table"))] == list(map(repr, expected))


def test_the_grid_as_a_dataset(tmp_path):
    xarray = pytest.importorskip("xarray")
    found = sweep(optimum, {"size": [32, 48], "beta": [0.5, 2.0]}, tmp_path, settings={"loss": "dpo"}).to_xarray()
    assert isinstance(found, xarray.Dataset)
    assert found.attrs == {"loss": "dpo"}
    expected = atlas_row("dpo", size=48, beta=0.5).distances["kl_preference"]
    assert float(found["kl_preference"].sel(size=48, beta=0.5)) == expected


def test_a_grid_with_a_point_twice_is_no_dataset(tmp_path):
    pytest.importorskip("xarray")
    twice = sweep(identification, {"seed": [0, 0, 1]}, tmp_path, settings={"items": 3})
    with pytest.raises(ValueError, match="each value once; got 'seed'"):
        twice.to_xarray()


def test_numbers_of_numpy_are_numbers(tmp_path):
    given = sweep(optimum, {"size": np.arange(16, 18)}, tmp_path, settings={"beta": 1.0})
    assert given == sweep(optimum, {"size": [16, 17]}, tmp_path, settings={"beta": 1.0})


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"subject": "share"}, "`subject` must be a Subject or a function"),
        ({"over": [1]}, "`over` must be a mapping"),
        ({"over": {"size": 3}}, "`over` must be lists of values"),
        ({"over": {"size": [object()]}}, "`over` and `settings` must be numbers"),
        ({"settings": 1}, "`settings` must be a mapping"),
        ({"folder": 1}, "`folder` must be a path"),
        ({"folder": "a\0b"}, r"must be the name of a folder; got 'a\\x00b'"),
        ({"executor": 0}, "`executor` must be at least 1"),
        ({"reporter": 1}, "`reporter` must be a Reporter"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, changed, says):
    with pytest.raises((TypeError, ValueError), match=says):
        sweep(**{"subject": optimum, "over": {"size": [16]}, "folder": tmp_path} | changed)


class OwnError(BaseException):
    """Not an Exception."""


def wrong(size):
    """As somebody's own experiment may be."""
    if size == 1:
        raise SystemExit(0)
    if size == 2:
        raise OwnError("two")
    return [{}, None, None, {3: 1.0}, {"\ud800": 1.0}, {"a": "x"}, []][size]


@pytest.mark.parametrize(
    ("size", "says"),
    [(0, "it returned {}"), (1, "it raised SystemExit: 0"), (2, "it raised OwnError: two"), (3, "it returned {3: 1.0}"),
     (4, "it returned {'.ud800': 1.0}"), (5, "it raised ValueError: could not"), (6, "it raised AttributeError")],
)  # fmt: skip
def test_a_function_without_numbers_is_no_finished_sweep(tmp_path, size, says):
    with pytest.raises(ValueError, match=f"`subject` must return numbers by name; {says}"):
        sweep(wrong, {"size": [size]}, tmp_path)


ENDS = {
    "when called": ("import os\ndef f(size):\n    os._exit(0)\n", "a process ended while it computed"),
    "when imported": ("import os\nos._exit(0)\n", "m:f cannot be loaded: it ended the process with exit status 0"),
    "by sys.exit": ("import sys\nsys.exit(0)\n", "m:f cannot be loaded: it called sys.exit(0)"),
    "without stdout": ("import sys\nsys.stdout.close()\ndef f(size):\n    return {'x': 1.0}\n",
                       "pbde-ref sweep: I/O operation on closed file."),
    "not there": ("", "the subject 'm:f' cannot be found"),
}


# What would end these tests' own process; the others are errors like any other.
IN_A_PROCESS = ("when called", "when imported", "without stdout")


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.slow] * (c == "without stdout")) for c in ENDS])
def test_a_function_that_ends_its_process_is_no_finished_command(tmp_path, case, monkeypatch, capsys):
    """With one worker such a command ended with status 0, without a word."""
    source, says = ENDS[case]
    (tmp_path / "m.py").write_text(source, encoding="utf-8")
    words = ["sweep", "m:f", "--over", "size=1,2"]
    if case in IN_A_PROCESS:
        command = [sys.executable, "-m", "pbde_ref", *words]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        status, error = ended.returncode, ended.stderr
    else:
        monkeypatch.chdir(tmp_path)
        status, error = main(words), capsys.readouterr().err
    assert status == 2
    assert says in error
    assert len(error.splitlines()) == 1


IMPORTS = {
    "package, relative": ("swept/a.py", "from .b import K", "swept/b.py"),
    "package, by way of another": ("swept/a.py", "from swept.c import K", "swept/b.py"),
    "package, when called": ("swept/a.py", "import sys\ndef other():\n    import swept.b", "swept/b.py"),
    "folder": ("swept_a.py", "import swept_b\nfrom swept_b import K", "swept_b.py"),
}


@pytest.mark.parametrize("case", IMPORTS)
def test_what_a_function_imports_from_beside_is_its_source_too(tmp_path, monkeypatch, case):
    """A changed module beside the function's own left the numbers of the old one, without a word."""
    own, imports, other = IMPORTS[case]
    (tmp_path / "swept").mkdir()
    (tmp_path / "swept/__init__.py").touch()
    (tmp_path / "swept/c.py").write_text("from . import b\nfrom .b import K\n", encoding="utf-8")
    value = "K" if "K" in imports else "__import__('swept.b').b.K"
    (tmp_path / own).write_text(f"{imports}\ndef f(x):\n    return {{'y': x * {value}}}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for constant in (2, 50):
        (tmp_path / other).write_text(f"K = {constant}\n", encoding="utf-8")
        for name in [name for name in sys.modules if name.startswith("swept")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        function = importlib.import_module(own.removesuffix(".py").replace("/", ".")).f
        assert sweep(function, {"x": [1]}, tmp_path / "out").numbers == {"y": [float(constant)]}


def test_a_larger_grid_takes_over_what_is_there(tmp_path):
    sweep(identification, {"seed": range(2)}, tmp_path, settings={"items": 5})
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert len(first) == 2
    sweep(identification, {"seed": range(4)}, tmp_path, settings={"items": 5})
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert len(list(tmp_path.rglob("result.json"))) == 4


def test_the_bytes_do_not_depend_on_who_computes(tmp_path, dask_executor):
    """A Dask cluster of two, one of whose workers is killed on the way; two processes, one killed; this process."""
    (tmp_path / "dask").mkdir()
    (tmp_path / "processes").mkdir()
    seed = drawn_seed()
    over = {"number": range(8), "seed": [seed, seed + 1]}

    def files(name, marks, executor):
        found = sweep(shares, over, tmp_path / name / "points", settings={"folder": str(marks)}, executor=executor)
        # The one setting in which they differ.
        del found.settings["folder"]
        found.write(tmp_path / name / "sweep")
        return {path.suffix: path.read_bytes() for path in (tmp_path / name).glob("sweep.*")}

    processes = files("two", tmp_path / "processes", 2)
    assert (tmp_path / "processes" / "killed").exists()
    alone = files("one", tmp_path / "processes", 1)
    assert alone == processes
    assert set(alone) >= {".csv"}
    assert files("dask-points", tmp_path / "dask", dask_executor) == alone
    assert (tmp_path / "dask" / "killed").exists()


def test_the_command_on_a_cluster(tmp_path, capsys, dask_cluster):
    """`--scheduler` and this process write the same table, parquet file and figure."""
    options = ["sweep", "identification", "--over", "comparisons=10,30,90", "--over", "spread=1,2,4", "--over",
               "seed=0-2", "--set", "items=6", "--show", "largest"]  # fmt: skip
    assert main([*options, "--out", str(tmp_path / "dask"), "--scheduler", dask_cluster.scheduler_address]) == 0
    assert main([*options, "--out", str(tmp_path / "one")]) == 0
    assert "27 points" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "one").glob("sweep.*"))
    assert {"sweep.csv", "sweep.png"} <= set(names)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "dask" / name).read_bytes()


def test_infinities_are_empty_cells(tmp_path):
    (tmp_path / "killed").touch()
    found = sweep(shares, {"number": [1]}, tmp_path / "points", settings={"folder": str(tmp_path), "above": 1e9})
    assert found.numbers["bounded"] == [None]
    assert rows_of(found.write(tmp_path / "table"))[0]["bounded"] == ""


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_experiment_has_a_tiny_run(tmp_path, name):
    """One point of each, from settings that its table of settings has."""
    tiny = {
        "optimum": {"size": 32, "beta": 1.0},
        "two-annotators": {"outcomes": 12},
        "identification": {"items": 4, "comparisons": 30},
        "toy": {"preset": "quick", "figure": "figure-8", "grid": 16, "comparisons": 64, "width": 4, "layers": 1,
                "steps": 8, "pretraining_steps": 8, "alphas": 0.5},
    }  # fmt: skip
    if name not in tiny:
        pytest.skip("models are trained in the tests of the language experiments")
    found = sweep(SUBJECTS[name], {"seed": [3]} if name not in ("optimum",) else {}, tmp_path, settings=tiny[name])
    assert found.numbers
    assert all(len(column) == 1 for column in found.numbers.values())
    assert any(column[0] is not None and np.isfinite(column[0]) for column in found.numbers.values())


def test_two_annotators_far_apart_are_told_apart():
    """Control: identical ones are not, whatever the densities are called."""
    assert two_annotators(outcomes=24, distance=6.0, seed=1)["worst_component"] < 0.02
    alike = two_annotators(outcomes=24, distance=0.0, seed=1)
    assert alike["total_variation"] < 1e-3


def test_identification_by_hand():
    """Two items: a finite estimate exists if each has won once. Of 40 games of equals one of 10^12 is won by one."""
    found = [identification(items=2, comparisons=n, spread=0.0, seed=s) for n in (1, 40) for s in range(4)]
    assert [each["finite"] for each in found[:4]] == [0.0] * 4
    assert all(each["finite"] == 1.0 and each["largest"] == 1.0 for each in found[4:])


WRONG = {
    "unknown experiment": (["nothing"], "`EXPERIMENT` must be one of optimum, two-annotators"),
    "unknown setting": (["identification", "--over", "itms=3"], "NAME one of items, comparisons, spread, seed"),
    "not a number": (["identification", "--over", "items=many"], "items must be a whole number; got 'many'"),
    "twice": (["identification", "--over", "seed=1,2", "--set", "seed=3"], "`over` must have values of seed"),
    "nothing to show": (["identification", "--over", "seed=1-2", "--show", "x"], "`--show` must be one of finite"),
    "unknown figure": (["toy", "--set", "figure=figure-6"], "`figure` must be one of figure-1"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_gets_one_line(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, message = WRONG[case]
    assert main(["sweep", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_figures_are_lines_or_maps(tmp_path):
    over = {"comparisons": [5, 50], "spread": [1.0, 2.0], "seed": [0, 1]}
    found = sweep(identification, over, tmp_path, settings={"items": 4})
    axis = draw_sweep(found, "largest").axes[0]
    assert [line.get_label() for line in axis.lines] == ["spread = 1.0", "spread = 2.0"]
    means = np.reshape(found.numbers["largest"], (2, 2, 2)).mean(axis=2)
    np.testing.assert_array_equal([line.get_ydata() for line in axis.lines], means.T)
    assert axis.get_title() == "largest, mean over 2 seeds"
    with pytest.raises(ValueError, match="a setting with several values; got none"):
        draw_sweep(sweep(identification, {"seed": [0]}, tmp_path, settings={"items": 4}), "largest")
