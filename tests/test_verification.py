"""The claims that `pbde-ref verify` checks, and the problems that it checks them on."""

from pathlib import Path

import numpy as np
import pytest

from pbde_ref.exact.identifiability import comparison_components
from pbde_ref.verification import CLAIMS, check, problems

ROOT = Path(__file__).parents[1]
CASES = problems(24, seed=11, repetitions=2)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_and_its_control_is_caught(name):
    (verdict,) = check([CLAIMS[name]], CASES)
    assert verdict.holds, (verdict.error, verdict.worst)
    assert verdict.control_caught, verdict.control_error
    assert verdict.cases >= 1


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_has_a_proof_that_names_it(name):
    assert f"pbde-ref verify --claims {name}`" in (ROOT / "proofs" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("place", ["pbde_ref", "tests"])
def test_code_and_tests_lead_to_the_proof(name, place):
    assert any(f"proofs/{name}.md" in path.read_text(encoding="utf-8") for path in (ROOT / place).rglob("*.py"))


def test_the_family_includes_the_nasty_problems():
    by_name = {problem.name: problem for problem in CASES}
    assert by_name["two outcomes"].size == 2
    assert by_name["log-probabilities to -1,000"].preference.log_pmf.min() < -500
    assert np.isneginf(by_name["outcomes of probability zero"].preference.log_pmf).any()
    assert comparison_components(by_name["two components"].proposal, by_name["two components"].size).max() == 1
    f = np.concatenate([problem.process.f for problem in CASES if problem.name == "f over four decades"])
    assert np.log10(f.max() / f.min()) > 3
    sparse = by_name["comparisons form a tree"]
    assert len(sparse.proposal.weights) == sparse.size - 1


def test_equal_seeds_give_equal_problems_and_other_seeds_others():
    again, other = problems(24, seed=11, repetitions=2), problems(24, seed=12, repetitions=2)
    assert all(np.array_equal(a.rewards, b.rewards) for a, b in zip(CASES, again, strict=True))
    assert any(not np.array_equal(a.rewards, b.rewards) for a, b in zip(CASES[1:], other[1:], strict=True))


def test_transcriptions_share_no_code_with_the_package():
    text = (ROOT / "pbde_ref" / "verification" / "transcriptions.py").read_text(encoding="utf-8")
    imports = [line for line in text.splitlines() if line.startswith(("from pbde_ref", "import pbde_ref"))]
    assert imports == ["from pbde_ref.validation import FloatArray"]
