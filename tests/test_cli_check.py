"""The subcommand `check`: subjects named from outside, exit status, table and JSON."""

import argparse
import json

import pytest

from pbde_ref.cli.check import add_arguments, run

SUBJECTS = """
import os
import sys
import numpy as np

def right(chosen, rejected):
    return np.logaddexp(0.0, rejected - chosen).mean()

def inverted(chosen, rejected):
    return -right(chosen, rejected)

def exits(chosen, rejected):
    sys.exit(0)

def exits_at_once(chosen, rejected):
    os._exit(0)

def loops(chosen, rejected):
    while True:
        pass

def seeds(chosen, rejected):
    np.random.seed(0)
    np.seterr(all="warn")
    return right(chosen, rejected)
"""


@pytest.fixture
def subjects(tmp_path, monkeypatch):
    (tmp_path / "subjects_of_this_test.py").write_text(SUBJECTS, encoding="utf-8")
    (tmp_path / "exits_when_imported.py").write_text("import sys; sys.exit(0)", encoding="utf-8")
    (tmp_path / "is_no_python.py").write_text("def f(: pass", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def status(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(arguments))


@pytest.mark.usefixtures("subjects")
def test_one_subject_prints_its_report(capsys):
    assert status("subjects_of_this_test:right", "--loss", "reward") == 0
    assert "right held against bradley_terry" in capsys.readouterr().out
    assert status("subjects_of_this_test:inverted", "--loss", "reward") == 1
    assert "sign inverted" in capsys.readouterr().out


@pytest.mark.usefixtures("subjects")
def test_several_subjects_make_a_table(capsys, tmp_path):
    path = tmp_path / "reports.json"
    names = ["subjects_of_this_test:right", "subjects_of_this_test:inverted"]
    assert status(*names, "--loss", "reward", "--json", str(path)) == 1
    out = capsys.readouterr().out
    assert all(name in out for name in (*names, "batch_independence", "FAILED", "sign inverted"))
    reports = json.loads(path.read_text("utf-8"))["reports"]
    assert [report["passed"] for report in reports] == [True, False]


@pytest.mark.usefixtures("subjects")
@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere:function", "--loss", "reward"],
        ["subjects_of_this_test", "--loss", "reward"],
        ["subjects_of_this_test:missing", "--loss", "reward"],
        ["subjects_of_this_test:right", "--loss", "reward", "--beta", "1"],
        ["subjects_of_this_test:right", "--loss", "dpo"],
        ["is_no_python:f", "--loss", "reward"],
    ],
)
def test_wrong_usage_is_a_value_error(arguments):
    """Which the command line turns into one line and exit status 2."""
    with pytest.raises(ValueError, match=r".+"):
        status(*arguments)


@pytest.mark.usefixtures("subjects")
def test_a_subject_that_ends_its_process_hides_nobody(capsys, tmp_path):
    """Each of them ended the command with status 0, and the wrong loss behind it was never looked at."""
    names = [f"subjects_of_this_test:{n}" for n in ("exits", "exits_at_once", "loops", "seeds", "inverted", "right")]
    names.append("exits_when_imported:f")
    path = tmp_path / "reports.json"
    assert status(*names, "--loss", "reward", "--timeout", "20", "--json", str(path)) == 1
    out = capsys.readouterr().out
    passed = [report["passed"] for report in json.loads(path.read_text("utf-8"))["reports"]]
    assert passed == [False, False, False, True, False, True, False]
    for line in (
        "it ended the process with exit status 0 while it was checked",
        "it did not end within 20 s while it was checked",
        "it called sys.exit(0) while its module was imported",
        "note: it changed NumPy's global generator (np.random)",
        "note: it changed NumPy's error settings (np.seterr)",
        "sign inverted",
    ):
        assert line in out


@pytest.mark.usefixtures("subjects")
def test_one_that_cannot_be_found_hides_nobody(capsys):
    with pytest.raises(ValueError, match="'nowhere:f' cannot be found"):
        status("nowhere:f", "subjects_of_this_test:inverted", "--loss", "reward")
    assert "sign inverted" in capsys.readouterr().out
