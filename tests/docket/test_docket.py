"""Every claim of the docket comes out as documented; what is planted wrong does not."""

import functools
import json
import math
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from pbde_ref.cli import main
from pbde_ref.docket import DOCKET, FAILS, HOLDS, HOLDS_IF, finding, settle
from tests.seeds import drawn_seed

ROOT = Path(__file__).parents[2]
NAME = "best_of_n_kl_bound"
FAILING = [claim for claim in DOCKET.values() if claim.expected == FAILS]


@functools.cache
def settled_once(name):
    """On a seed nobody chose; whoever asks again has the same answer."""
    (settled,) = settle([DOCKET[name]], drawn_seed())
    return settled


@pytest.mark.parametrize("name", DOCKET)
def test_a_claim_comes_out_as_documented_and_its_control_is_noticed(name):
    settled = settled_once(name)
    assert settled.as_expected, settled
    assert settled.control_caught, settled


@pytest.mark.parametrize("name", DOCKET)
def test_a_record_says_everything_in_few_words(name):
    claim = DOCKET[name]
    assert claim.name == name
    assert len(name) <= 26
    assert claim.expected in (HOLDS, HOLDS_IF, FAILS)
    for text in (claim.source, claim.seen, claim.printed, claim.read, claim.hypothesis, claim.instance):
        assert 5 < len(text) < 600
    assert f"## {name}\n" in (ROOT / "docs" / "docket.md").read_text("utf-8")


def test_the_page_has_no_claim_too_many():
    page = (ROOT / "docs" / "docket.md").read_text("utf-8")
    assert page.count("\n## ") == len(DOCKET)
    for claim in DOCKET.values():
        assert f"- **Verdict.** {claim.expected} (" in page.split(f"## {claim.name}\n")[1].split("\n## ")[0]


def test_claims_works_and_failures_are_counted_from_the_records():
    """A work is an arXiv number; the one without is on OpenReview. What fails has a witness in fractions and is no
    question of ours; what raises or errs does not count."""
    numbers = {found for claim in DOCKET.values() for found in re.findall(r"\d{4}\.\d{5}", claim.source)}
    others = {claim.source for claim in DOCKET.values() if not re.search(r"\d{4}\.\d{5}", claim.source)}
    assert all("OpenReview" in source for source in others)
    works, failing = len(numbers) + len(others), [c for c in FAILING if "our question" not in c.read.lower()]
    print(len(DOCKET), "claims of", works, "works;", len(failing), "fail as printed")
    assert len(DOCKET) >= 30
    assert works >= 20
    assert len({c.arxiv for c in failing}) >= 5
    for settled in map(settled_once, [claim.name for claim in failing]):
        assert re.search(r"\d+/\d+", settled.finding.witness)
        assert settled.finding.error > settled.finding.tolerance


@pytest.mark.parametrize("claim", FAILING, ids=lambda claim: claim.name)
def test_what_fails_was_printed_and_has_a_witness(claim):
    """A question of ours may be answered by no, where it is marked as read; nobody printed it."""
    settled = settled_once(claim.name)
    assert settled.finding.verdict == FAILS
    assert len(settled.finding.witness) > 20
    assert "our question" not in claim.printed.lower()


def test_a_question_of_ours_is_no_failing_sentence():
    assert "our question" in DOCKET["dpo_rlhf_conditional"].read.lower()


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ({"printed": 0.0}, HOLDS),
        ({"printed": 1.0, "supposing": 0.0}, HOLDS_IF),
        ({"printed": 1.0, "supposing": 0.1}, FAILS),
        ({"printed": 1.0}, FAILS),
        ({"printed": math.inf}, FAILS),
    ],
)
def test_the_verdict_follows_from_the_errors(errors, verdict):
    found = finding(**errors, tolerance=1e-9, certificate="", witness="1/2")
    assert found.verdict == verdict
    assert found.error == (0.0 if verdict != FAILS else errors["printed"])


@pytest.mark.parametrize("errors", [{"printed": math.nan}, {"printed": 1.0, "supposing": math.nan}, {"printed": 1.0}])
def test_no_verdict_without_numbers_or_witness(errors):
    with pytest.raises(ValueError, match="must"):
        finding(**errors, tolerance=1e-9, certificate="")


def raising(rng):
    raise ZeroDivisionError("division by\nzero " + "again " * 99)


def wrong(rng):
    """The bound of N - 1, on two outcomes and N = 2."""
    return finding(float(Fraction(1, 8)), 1e-9, "by hand", witness="(1/2, 1/2)")


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ({"check": wrong}, "'fails' was found (error 1.2e-01), 'holds' is documented"),
        ({"check": raising}, "its check raised ZeroDivisionError: division by zero again"),
        ({"control": lambda rng: 0.0}, "its control was not noticed: error 0.0e+00"),
        ({"control": lambda rng: math.nan}, "its control was not noticed"),
        ({"control": raising}, "its control was not noticed: ZeroDivisionError"),
        ({"expected": FAILS}, "'holds' was found"),
        ({"check": lambda rng: finding(0.0, 1e-9, "", instead=0.5)}, "to be true instead has error 5.0e-01"),
    ],
)
def test_what_is_planted_wrong_gives_exit_status_1(planted, said, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(DOCKET, NAME, replace(DOCKET[NAME], **planted))
    path = tmp_path / "docket.json"
    assert main(["docket", "--claim", NAME, "--json", str(path)]) == 1
    output = capsys.readouterr().out
    assert said in " ".join(output.split())
    assert "0 of 1 as documented" in output
    assert max(map(len, output.splitlines())) <= 80
    (record,) = json.loads(path.read_text())["claims"]
    assert not (record["as_documented"] and record["control"]["noticed"])


def test_the_table_fits_and_files_are_written(monkeypatch, capsys, tmp_path):
    for name in list(DOCKET):
        if not name.startswith("best_of_n_kl"):
            monkeypatch.delitem(DOCKET, name)
    json_path, page = tmp_path / "docket.json", tmp_path / "docket.md"
    assert main(["docket", "--seed", "7", "--json", str(json_path), "--page", str(page)]) == 0
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    assert all(f"\n{name} " in output for name in DOCKET)
    record = json.loads(json_path.read_text())
    assert record["seed"] == 7
    assert [claim["name"] for claim in record["claims"]] == list(DOCKET)
    assert page.read_text("utf-8").count("\n## ") == len(DOCKET)


def test_one_claim_alone_gives_the_same_numbers(tmp_path, monkeypatch):
    together = {s.claim.name: s for s in settle(list(DOCKET.values())[:3], 5)}
    (alone,) = settle([DOCKET[NAME]], 5)
    assert alone.finding.error == together[NAME].finding.error
    assert alone.control_error == together[NAME].control_error


def test_an_unknown_claim_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["docket", "--claim", "nothing"])
    assert stop.value.code == 2
