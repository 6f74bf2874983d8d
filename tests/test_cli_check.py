"""The subcommand `check`: subjects named from outside, exit status, table and JSON."""

import argparse
import json

import pytest

from pbde_ref.cli.check import add_arguments, run

SUBJECTS = """
import numpy as np

def right(chosen, rejected):
    return np.logaddexp(0.0, rejected - chosen).mean()

def inverted(chosen, rejected):
    return -right(chosen, rejected)
"""


@pytest.fixture
def subjects(tmp_path, monkeypatch):
    (tmp_path / "subjects_of_this_test.py").write_text(SUBJECTS, encoding="utf-8")
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
    ],
)
def test_wrong_usage_is_a_value_error(arguments):
    """Which the command line turns into one line and exit status 2."""
    with pytest.raises(ValueError, match=r".+"):
        status(*arguments)
