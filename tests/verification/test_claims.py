"""The claims that `pbde-ref verify` checks, the problems that it checks them on, and what becomes of a fault."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pbde_ref.exact.identifiability import comparison_components
from pbde_ref.files import content_digest
from pbde_ref.verification import CLAIMS, check, joined, problem_named, problem_names, problems
from pbde_ref.verification.campaigns import Campaign, verdicts_by_seed
from pbde_ref.verification.claims import MARGIN
from pbde_ref.verification.problems import FAMILIES
from tests.seeds import drawn_seed

ROOT = Path(__file__).parents[2]
CASES = problems(24, seed=11, repetitions=1)
BY_FAMILY = {problem.name.rpartition(" ")[0]: problem for problem in CASES}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_and_its_control_is_caught(name):
    (verdict,) = check([CLAIMS[name]], CASES)
    assert verdict.holds, verdict.failures
    assert verdict.control_caught, verdict.missed
    assert verdict.cases >= 1
    # What a control breaks is broken by a margin, not by chance.
    assert verdict.control_error > 0.1 * MARGIN


def test_a_control_is_tried_where_its_own_numbers_are_wrong():
    """Lengths compared instead of sentences: nearly the same here, once both distributions are cut to six lengths."""
    (verdict,) = check([CLAIMS["length_bias"]], [problem_named("log p to -1,000 2", 24, 1059140)])
    assert verdict.holds
    assert verdict.control_cases == 0


def proof_of(name):
    """The page that says so; a page may prove several claims."""
    pages = [page for page in (ROOT / "proofs").glob("*.md") if name in claims_of(page)]
    assert len(pages) == 1, (name, pages)
    return pages[0].name


def claims_of(page):
    found = re.search(r"Verified by: `pbde-ref verify --claims ([\w,]+)`", page.read_text(encoding="utf-8"))
    return found[1].split(",") if found else []


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("place", ["pbde_ref", "tests"])
def test_code_and_tests_lead_to_the_proof(name, place):
    """One proof names the claim; it is named in the package and in the tests."""
    page = f"proofs/{proof_of(name)}"
    assert any(page in path.read_text(encoding="utf-8") for path in (ROOT / place).rglob("*.py"))


def test_the_families_are_nasty():
    assert BY_FAMILY["one outcome"].size == 1
    assert BY_FAMILY["two outcomes"].size == 2
    assert BY_FAMILY["forty outcomes"].size == 40
    assert BY_FAMILY["log p to -1,000"].preference.log_pmf.min() < -500
    assert np.isneginf(BY_FAMILY["zero probabilities"].preference.log_pmf).any()
    far = [problem_named(f"utilities to 340 {index}", 24, 11) for index in range(1, 9)]
    assert 600 < max(np.ptp(annotator.utility) for p in far for annotator in (p.luce, p.annotator, *p.members)) < 700
    assert np.log10(np.ptp(BY_FAMILY["f over four decades"].process.f)) > 1
    assert np.ptp(np.log10(BY_FAMILY["weights over 30 decades"].proposal.weights)) > 20
    assert np.ptp(BY_FAMILY["weights over 30 decades"].reference.log_pmf) > 10 * np.log(10)
    assert np.unique(BY_FAMILY["ties"].preference.log_pmf).size < BY_FAMILY["ties"].size
    first, second = (a.utility for a in BY_FAMILY["near agreement"].members)
    assert 0 < np.abs(first - second).max() < 1e-6


@pytest.mark.parametrize(
    ("family", "edges", "components"),
    [
        ("tree", lambda n: n - 1, 1),
        ("star", lambda n: n - 1, 1),
        ("bipartite", lambda n: (n // 2) * ((n + 1) // 2), 1),
        ("two components", lambda n: n - 2, 2),
        ("diagonal only", lambda n: 0, None),
    ],
)
def test_the_graphs_are_what_their_names_say(family, edges, components):
    for seed in range(8):
        problem = problem_named(f"{family} 1", 8, seed)
        q = problem.proposal.matrix(problem.size)
        assert np.count_nonzero(np.triu(q + q.T, 1)) == edges(problem.size)
        found = comparison_components(problem.proposal, problem.size).max() + 1
        assert found == (problem.size if components is None else components)


def test_a_nearly_disconnected_graph_hangs_by_one_rare_pair():
    problem = BY_FAMILY["nearly disconnected"]
    q = problem.proposal.matrix(problem.size)
    components = [
        comparison_components(type(problem.proposal)(*np.nonzero(q > cut), q[q > cut]), problem.size).max()
        for cut in (0.0, 1e-11)
    ]
    assert components == [0, 1]


def numbers(problem):
    q = problem.proposal.matrix(problem.size)
    mixed = [annotator.utility for annotator in problem.members]
    vectors = [problem.preference.log_pmf, problem.reference.log_pmf, problem.rewards, q.ravel(), *mixed]
    processes = [part for process in (problem.process, problem.other_process) for part in (process.f, process.g)]
    return np.concatenate([*vectors, *map(np.ravel, processes), [problem.beta, problem.alpha, problem.seed]])


@pytest.mark.parametrize("name", problem_names(1))
def test_a_problem_can_be_drawn_without_the_others(name):
    """Its stream is its own: neither the number of repetitions nor the other families change it."""
    (among_others,) = [problem for problem in problems(24, seed=5, repetitions=3) if problem.name == name]
    assert np.array_equal(numbers(problem_named(name, 24, seed=5)), numbers(among_others))


def test_other_seeds_families_and_indices_give_other_problems():
    names = [name for name in problem_names(2)[1:] if name.rpartition(" ")[0] != "one outcome"]
    drawn = [numbers(problem_named(name, 24, seed)).tobytes() for seed in (0, 1) for name in names]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("name", ["ordinary", "ordinary 0", "ordinary -1", "Eq. (10) 1", "family 1", "ordinary ¹", ""])
def test_a_problem_that_no_family_has_is_refused(name):
    with pytest.raises(ValueError, match="`problem` must be"):
        problem_named(name, 24, seed=0)


def test_eq_10_does_not_depend_on_the_seed():
    assert np.array_equal(numbers(problem_named("Eq. (10)", 24, 0)), numbers(problem_named("Eq. (10)", 24, 99)))


def raising(problem):
    raise ZeroDivisionError(f"on {problem.name}")


def only_on(name, function, otherwise):
    return lambda problem: function(problem) if problem.name == name else otherwise(problem)


def test_a_check_that_raises_is_a_row_and_the_others_are_still_computed():
    claim = CLAIMS["winners"]
    broken = replace(claim, error=only_on("tree 1", raising, claim.error))
    verdict, other = check([broken, CLAIMS["connected_proposals"]], CASES)
    (row,) = verdict.failures
    assert (row.problem, row.seed, row.raised, row.error) == ("tree 1", 11, "ZeroDivisionError: on tree 1", np.inf)
    assert not verdict.holds
    assert verdict.cases == len(CASES)
    assert verdict.control_caught
    assert other.holds


def test_a_control_that_raises_is_not_caught():
    claim = CLAIMS["winners"]
    (verdict,) = check([replace(claim, control=only_on("tree 1", raising, claim.control))], CASES)
    (row,) = verdict.missed
    assert (row.problem, row.control_raised, row.control_error) == ("tree 1", "ZeroDivisionError: on tree 1", 0.0)
    assert verdict.holds
    assert not verdict.control_caught


def test_a_rounding_that_raises_or_is_no_number_allows_nothing():
    for rounding in (raising, lambda problem: float("nan")):
        (verdict,) = check([replace(CLAIMS["winners"], rounding=rounding)], CASES[:1])
        (row,) = verdict.failures
        assert row.allowed == CLAIMS["winners"].tolerance
        assert row.raised


def test_what_is_tried_nowhere_does_not_hold():
    (verdict,) = check([replace(CLAIMS["winners"], error=lambda p: None, control=lambda p: None)], CASES)
    assert verdict.cases == verdict.control_cases == 0
    assert not verdict.holds
    assert not verdict.control_caught


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_error_that_is_not_a_number_is_no_evidence(value):
    (verdict,) = check([replace(CLAIMS["winners"], error=lambda p: value, control=lambda p: float("nan"))], CASES)
    assert len(verdict.failures) == len(verdict.missed) == len(CASES)


def test_an_error_is_measured_by_what_is_allowed_there():
    """The worst row is not the one with the largest error where rounding allows more."""
    claim = replace(
        CLAIMS["winners"],
        error=lambda p: 5e-12 if p.size == 40 else 1e-12,
        rounding=lambda p: 1e-10 if p.size == 40 else 0.0,
        tolerance=1e-12,
    )
    (verdict,) = check([claim], CASES)
    assert verdict.holds
    assert verdict.worst.problem != "forty outcomes 1"
    assert verdict.error == 1e-12


def test_joined_verdicts_count_everything_once():
    claim = replace(CLAIMS["winners"], error=only_on("tree 1", raising, CLAIMS["winners"].error))
    (whole,) = check([claim], CASES)
    parts = [next(iter(check([claim], [case]))) for case in CASES]
    together = joined(parts)
    assert replace(together, seconds=0.0) == replace(whole, seconds=0.0)


def two_claims(seeds):
    return Campaign({name: CLAIMS[name] for name in ("winners", "connected_proposals")}, seeds, 16, 1)


def plain(found):
    return {seed: [replace(v, seconds=0.0) for v in verdicts] for seed, verdicts in found}


def test_many_seeds_find_what_each_finds_alone():
    found = plain(verdicts_by_seed(two_claims(range(3, 5)), executor=1))
    assert set(found) == {None, 3, 4}
    for seed in (3, 4):
        alone = check([CLAIMS["winners"], CLAIMS["connected_proposals"]], problems(16, seed, 1)[1:])
        assert found[seed] == [replace(v, seconds=0.0) for v in alone]


def test_processes_find_the_same():
    campaign = two_claims(range(2))
    assert plain(verdicts_by_seed(campaign, executor=2)) == plain(verdicts_by_seed(campaign, executor=1))


@pytest.fixture
def computed(monkeypatch):
    """The seeds that were computed."""
    from pbde_ref.verification import campaigns

    seeds, original = [], campaigns._seed_records
    monkeypatch.setattr(campaigns, "_seed_records", lambda seed, *rest: (seeds.append(seed), original(seed, *rest))[1])
    return seeds


DAMAGES = {
    "cut while it was written": lambda line: line[:40],
    "a digit": lambda line: line.replace('"cases": ', '"cases": 1'),
    "another seed": lambda line: line.replace('"seed": 1', '"seed": 7'),
    "no line": lambda line: "[" * 100_000,
    "a number": lambda line: "7",
    "of another state of the package": lambda line: signed(line, campaign="0"),
    "without verdicts, but signed": lambda line: signed(line, verdicts=[{}]),
    "no mappings, but signed": lambda line: signed(line, verdicts=3),
}


def signed(line, **changes):
    record = json.loads(line) | changes
    del record["digest"]
    return json.dumps(record | {"digest": content_digest(record)})


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_journal_takes_up_what_is_whole(tmp_path, computed, damage):
    journal, said = tmp_path / "journal.jsonl", []
    campaign = two_claims(range(3))
    whole = plain(verdicts_by_seed(campaign, 1, journal))
    lines = journal.read_text().splitlines()
    lines[2] = DAMAGES[damage](lines[2])
    journal.write_text("\n".join(lines[:2] + lines[3:] + lines[2:3]))
    computed.clear()
    assert plain(verdicts_by_seed(campaign, 1, journal, said.append)) == whole
    assert computed == [1]
    assert plain(verdicts_by_seed(campaign, 1, journal)) == whole
    assert computed == [1]
    assert said == [f"{journal}: 1 lines of another campaign (settings, version, sources) or damaged, left alone"]


@pytest.mark.parametrize("change", [{"repetitions": 2}, {"support": 17}, {"claims": {"winners": CLAIMS["winners"]}}])
def test_campaigns_share_a_journal(tmp_path, computed, change):
    journal, campaigns = tmp_path / "journal.jsonl", (two_claims([]), replace(two_claims([]), **change))
    alone = [plain(verdicts_by_seed(campaign, 1)) for campaign in campaigns]
    for _ in range(2):
        assert [plain(verdicts_by_seed(campaign, 1, journal)) for campaign in campaigns] == alone
    assert len(computed) == 4


@pytest.mark.parametrize(
    ("module", "literal"), [("second_paths", 0), ("exact_flows", 0), ("exact_fits", 0), ("paper_in_decimals", 1)]
)
def test_second_paths_share_no_code_with_the_package(module, literal):
    text = (ROOT / "pbde_ref" / "verification" / f"{module}.py").read_text(encoding="utf-8")
    imports = [line for line in text.splitlines() if line.startswith(("from pbde_ref", "import pbde_ref"))]
    assert imports == ["from pbde_ref import paper"] * literal + ["from pbde_ref.validation import FloatArray"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_seeds_of_a_family_that_nobody_chose(family):
    seed = drawn_seed()
    cases = [problem_named(f"{family} {index}", 24, seed) for index in range(1, 21)]
    for verdict in check(list(CLAIMS.values()), cases):
        assert not verdict.failures
        assert not verdict.missed
