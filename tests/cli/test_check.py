"""The subcommand `check`: subjects named from outside, exit status, table and JSON."""

import argparse
import json
import sys
from xml.etree import ElementTree

import pytest

from pbde_ref.cli import check
from pbde_ref.cli.check import add_arguments, check_there, run
from pbde_ref.foreign import Answer
from pbde_ref.oracle.conformance import junit_xml
from pbde_ref.oracle.report import CheckResult, Report

SUBJECTS = """
import os
import sys
import time
import numpy as np

def right(chosen, rejected):
    return np.logaddexp(0.0, rejected - chosen).mean()

def inverted(chosen, rejected):
    return -right(chosen, rejected)

def with_beta(policy_chosen, policy_rejected, beta):
    return right(beta * policy_chosen, beta * policy_rejected)

def logistic(margin, beta):
    return np.logaddexp(0.0, -beta * margin)

def means(part, counts):
    return (part.losses * part.mask).sum() / counts.sequences / counts.micro_batches

def of_part(part, counts):
    return (part.losses * part.mask).sum() / counts.all_sequences

def ranking(*arrays):
    policy, lengths, scores = arrays[:3]
    p = policy / lengths
    gaps = np.maximum(p[:, None, :] - p[:, :, None], 0.0)
    return np.where(scores[:, :, None] > scores[:, None, :], gaps, 0.0).sum((1, 2)).mean()

def warm(logits, labels, mask):
    z = logits[:, :-1] / 0.5
    z = z - z.max(-1, keepdims=True)
    z = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return np.where(mask[:, 1:] != 0, np.take_along_axis(z, labels[:, 1:, None], -1)[..., 0], 0.0).sum(-1)

def at_the_end(scores, mask):
    return scores[:, -1]

def exits(chosen, rejected):
    sys.exit(0)

def exits_at_once(chosen, rejected):
    os._exit(0)

def loops(chosen, rejected):
    while True:
        time.sleep(1)

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


@pytest.fixture
def here(subjects, monkeypatch):
    """The subjects without a process for each, where a process is not what the test is about."""

    def ask(task, request, *, timeout):
        assert task == "pbde_ref.cli.check:check_there"
        try:
            report = check_there(json.loads(json.dumps(request)), lambda stage: None)
            return Answer(value=json.loads(json.dumps(report)))
        except (ValueError, TypeError, OSError, ImportError) as error:
            return Answer(refused=str(error))

    monkeypatch.setattr(check, "ask_child", ask)
    monkeypatch.delitem(sys.modules, "subjects_of_this_test", raising=False)
    yield
    sys.modules.pop("subjects_of_this_test", None)


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


@pytest.mark.usefixtures("here")
def test_several_subjects_make_a_table(capsys, tmp_path):
    path = tmp_path / "reports.json"
    names = ["subjects_of_this_test:right", "subjects_of_this_test:inverted"]
    assert status(*names, "--loss", "reward", "--json", str(path)) == 1
    out = capsys.readouterr().out
    assert all(name in out for name in (*names, "batch_independence", "FAILED", "sign inverted"))
    reports = json.loads(path.read_text("utf-8"))["reports"]
    assert [report["passed"] for report in reports] == [True, False]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "declared"),
    [
        (["--loss", "rrhf", "--likelihood-weight", "0"], "likelihood_weight=0.0"),
        (["--loss", "dpo", "--beta", "0.3", "--label-smoothing", "0"], "label_smoothing=0.0"),
        (["--loss", "slic", "--delta", "0", "--lambda", "0"], "delta=0.0, lambda_=0.0"),
    ],
)
def test_zero_is_a_number_like_any_other(arguments, declared, capsys):
    """An option that is given as 0 reaches the check; RRHF without the likelihood is right."""
    expected = 0 if "rrhf" in arguments else 1
    assert status("subjects_of_this_test:ranking", *arguments) == expected
    assert declared in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("loss", ["dpo", "hinge"])
def test_a_beta_of_zero_is_refused(loss):
    """It is not replaced by another."""
    with pytest.raises(ValueError, match="`beta` must be positive; got 0"):
        status("subjects_of_this_test:with_beta", "--loss", loss, "--beta", "0")


@pytest.mark.usefixtures("here")
def test_switches_and_pinned_counts(capsys):
    """A loss of the policy alone, its number of checks, rewards, and half precision."""
    arguments = ("subjects_of_this_test:with_beta", "--loss", "dpo", "--beta", "0.3", "--reference-free")
    assert status(*arguments) == 0
    held = int(capsys.readouterr().out.splitlines()[-1].split()[0])
    assert status(*arguments, "--expect-checks", str(held), "--dtype", "float16") == 0
    capsys.readouterr()
    assert status(*arguments, "--expect-checks", str(held + 1)) == 1
    assert f"{held} checks held something, {held + 1} were expected to" in capsys.readouterr().out
    assert status(*arguments, "--returns-rewards") == 1
    assert "no rewards came beside the loss" in capsys.readouterr().out
    assert status(*arguments[:-1]) == 1
    assert "declare reference_free=True" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ValueError, match="`expect_checks` must be"):
        status(*arguments, "--expect-checks", "0")


@pytest.mark.usefixtures("here")
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


@pytest.mark.usefixtures("here")
def test_functions_of_tokens(capsys):
    """A temperature can be declared; where a reward is read can be checked."""
    warm = ("subjects_of_this_test:warm", "--loss", "sequence_log_probs")
    assert status(*warm, "--temperature", "0.5") == 0
    assert status(*warm) == 1
    assert "temperature=0.5" in capsys.readouterr().out
    read = ("subjects_of_this_test:at_the_end", "--loss", "sequence_rewards")
    assert status(*read) == 1
    assert "reward read at the last position" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--no-shift belongs to sequence_log_probs"):
        status(*read, "--no-shift")
    with pytest.raises(ValueError, match="temperature"):
        status(*read, "--temperature", "0.5")


@pytest.mark.usefixtures("subjects")
def test_a_subject_that_ends_its_process_hides_nobody(capsys, tmp_path):
    """Each of them ended the command with status 0, and the wrong loss behind it was never looked at."""
    names = [f"subjects_of_this_test:{n}" for n in ("exits", "exits_at_once", "seeds", "inverted", "right")]
    names.append("exits_when_imported:f")
    path = tmp_path / "reports.json"
    assert status(*names, "--loss", "reward", "--json", str(path)) == 1
    out = capsys.readouterr().out
    passed = [report["passed"] for report in json.loads(path.read_text("utf-8"))["reports"]]
    assert passed == [False, False, True, False, True, False]
    for line in (
        "it ended the process with exit status 0 while it was checked",
        "it called sys.exit(0) while its module was imported",
        "note: it changed NumPy's global generator (np.random)",
        "note: it changed NumPy's error settings (np.seterr)",
        "sign inverted",
    ):
        assert line in out


@pytest.mark.usefixtures("subjects")
def test_a_subject_that_does_not_end_hides_nobody(capsys, tmp_path):
    path = tmp_path / "reports.json"
    names = [f"subjects_of_this_test:{n}" for n in ("loops", "inverted")]
    assert status(*names, "--loss", "reward", "--timeout", "3", "--json", str(path)) == 1
    assert "it did not end within 3 s" in capsys.readouterr().out
    reports = json.loads(path.read_text("utf-8"))["reports"]
    assert [report["passed"] for report in reports] == [False, False]


@pytest.mark.usefixtures("subjects")
def test_one_that_cannot_be_found_hides_nobody(capsys):
    with pytest.raises(ValueError, match="'nowhere:f' cannot be found"):
        status("nowhere:f", "subjects_of_this_test:inverted", "--loss", "reward")
    assert "sign inverted" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_a_formula_of_ones_own_and_the_files_beside_the_terminal(capsys, tmp_path):
    """`--objective` with its numbers; JUnit's XML and a Markdown table of the same reports."""
    arguments = ("subjects_of_this_test:with_beta", "--objective", "subjects_of_this_test:logistic", "--reference-free")
    junit, table = tmp_path / "junit.xml", tmp_path / "table.md"
    files = ("--junit", str(junit), "--markdown", str(table))
    assert status(*arguments, "--set", "beta=0.3", *files) == 0
    suite = ElementTree.parse(junit).getroot()[0]
    assert suite.get("failures") == "0"
    assert suite.get("tests") == str(len(suite)) == "23"
    assert "| with_beta  | logistic (beta=0.3, reference_free=True, reduction=mean)" in table.read_text("utf-8")
    assert status("subjects_of_this_test:inverted", "--loss", "reward", *files) == 1
    suite = ElementTree.parse(junit).getroot()[0]
    assert int(suite.get("failures")) == sum(case.find("failure") is not None for case in suite) > 3
    assert "Diagnosis: matches a known bug: sign inverted" in suite.find("testcase/failure").text
    assert "matches a known bug: sign inverted" in table.read_text("utf-8")
    for wrong, says in ((("--set", "beta"), "NAME=NUMBER"), (("--over", "tokens"), "belong to reduction")):
        with pytest.raises((ValueError, TypeError), match=says):
            status(*arguments, *wrong)


def test_xml_has_no_control_characters():
    """Colours, and halves of surrogate pairs, in messages and names: no reader of XML took the file."""
    results = (CheckResult("val\x00ue", "failed", "\x1b[31mshapes\ud800 differ\x1b[0m\nat 1"),)
    xml = junit_xml([Report("\x1bmine", "dpo", {}, results, "numpy", "float64")])
    case = ElementTree.fromstring(xml).find("testsuite/testcase")
    assert case.get("name") == "val?ue"
    assert case.find("failure").get("message") == "?[31mshapes? differ?[0m"


@pytest.mark.usefixtures("here")
def test_losses_of_parts(capsys):
    """Pairs are sequences; who averages micro-batches is named."""
    subject = ("subjects_of_this_test:means", "--loss", "reduction", "--over", "sequences")
    assert status(*subject) == 1
    assert "mean of micro-batch means" in capsys.readouterr().out
    assert status("subjects_of_this_test:of_part", *subject[1:], "--across", "sum") == 0
