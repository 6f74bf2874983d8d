"""The numbers of ``proofs/errata.md`` that no other test computes, and that each row's test exists.

Also ``proofs/claims.md``: the functions, claims, files and statuses that it names are there.
"""

import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.exact.lengths.length_bias import IdealizedLanguageModel, least_scale, length_bias_table
from pbde_ref.verification import CLAIMS

ROOT = Path(__file__).parents[1]
PROOFS = ROOT / "proofs"


def rows(name):
    """Cells of the rows of a page's tables."""
    lines = (PROOFS / name).read_text(encoding="utf-8").splitlines()
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| ")][1:]


def missing_tests(text):
    """Tests named as `file.py::function` that do not exist."""
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", text)
    return [test for file, test in named if f"def {test}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8")]


def test_every_row_of_the_errata_has_a_test_and_a_number():
    for place, _, read, tests in rows("errata.md"):
        assert re.search(r"`[\w/]+\.py::test_\w+`", tests), place
        assert missing_tests(tests) == [], place
        assert re.search(r"\d|½", read), place
    assert len(rows("errata.md")) >= 21
    assert missing_tests("`test_errata.py::test_no_such_thing`") == ["test_no_such_thing"]


def test_a_product_of_experts_is_no_mixture():
    problem = pb.paper_problem(256)
    p, reference = problem.implicit_preference_distribution, problem.reference
    experts, mixed = pb.product_of_experts(reference, p, 1.0), pb.mixture([0.5, 0.5], [reference, p])
    assert pb.total_variation(experts, mixed) == pytest.approx(0.31, abs=0.005)


def test_figures_pairs_change_a_misspecified_fit_and_no_other():
    problem = pb.paper_problem(256)
    members = [pb.Annotator(p, pb.luce()) for p in problem.annotator_distributions]
    pool = pb.AnnotatorMixture(problem.annotator_weights, members)
    fits = [
        pb.FiniteDistribution(pb.minimize_expected_loss("bradley_terry", pool, pb.ProductProposal(law)).value)
        for law in (problem.reference, np.ones(256))
    ]
    assert pb.total_variation(*fits) == pytest.approx(0.028, abs=0.001)
    one = pb.Annotator(pb.FiniteDistribution.from_weights([3, 2, 1]), pb.luce())
    same = [
        pb.FiniteDistribution(pb.minimize_expected_loss("bradley_terry", one, pb.ProductProposal(law)).value)
        for law in ([5, 1, 1], [1, 1, 1])
    ]
    assert pb.total_variation(*same) < 1e-10


def test_the_margin_of_eq_21_is_one_over_gamma():
    for gamma in (0.5, 2.0):
        for m in (-1.0, 0.3, 5.0):
            assert pb.hinge(1 / gamma).value(m) == pytest.approx(max(0.0, 1 - gamma * m) / gamma, rel=1e-15)


def test_figure_4_has_plateaus_at_the_weights():
    problem = pb.paper_problem(64)
    members = [pb.Annotator(p, pb.luce()) for p in problem.annotator_distributions]
    p = pb.AnnotatorMixture(problem.annotator_weights, members).preference_probabilities()
    p = p[~np.eye(64, dtype=bool)]
    plateau = (abs(p - 0.4) < 1e-3) | (abs(p - 0.6) < 1e-3)
    assert plateau.mean() == pytest.approx(0.325, abs=0.001)
    assert (abs(p - 0.5) < 0.01).mean() == pytest.approx(0.0045, abs=0.0005)


def test_delta_bounds_no_range():
    """χ = (4, 0, −4), uniform q, δ = 1: 0.3495 at (0, −1, −2); the best scores within 1 of each other have 0.5637."""
    annotator, even = pb.Annotator(pb.FiniteDistribution([4.0, 0.0, -4.0]), pb.luce()), pb.uniform(range(3))
    pairs = pb.ProductProposal([1, 1, 1])

    def loss(scores):
        return pb.expected_slic(annotator, scores, pairs, delta=1.0, lambda_=0.0, reference=even).value

    steps = np.linspace(-1.0, 0.0, 11)
    bounded = min(loss([a, b, c]) for a in steps for b in steps for c in steps)
    assert (loss([0.0, -1.0, -2.0]), bounded) == (pytest.approx(0.3495, abs=5e-5), pytest.approx(0.5637, abs=5e-5))


def test_equation_26_is_biased_by_length():
    lengths, found = np.arange(1, 51), []
    for v in (20.0, 200.0):
        flat = IdealizedLanguageModel(pb.uniform(lengths), v)
        table = length_bias_table([flat.annotator(pb.length_normalized(lengths, scale=50))], flat.class_pmf, lengths)
        found.append(table[0, 1])
    assert found == [pytest.approx(0.08, abs=0.005), pytest.approx(0.96, abs=0.005)]


def test_table_2_takes_fewer_nats_at_scale_50():
    assert least_scale(0.99995, 1.0) == pytest.approx(9.9, abs=0.01)
    assert least_scale(0.99995, 50.0) == pytest.approx(0.2, abs=0.01)


# --- proofs/claims.md ---

STATES = {"complete", "outside", "open"}


def unknown_names(text):
    """Functions, claims of `verify` and files that a row names and that are not there."""
    found = []
    for name in re.findall(r"`(pbde_ref(?:\.\w+)+)`", text):
        try:
            pkgutil.resolve_name(name)
        except (AttributeError, ImportError):
            found.append(name)
    found += [name for name in re.findall(r"verify `(\w+)`", text) if name not in CLAIMS]
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not (PROOFS / target).is_file():
            found.append(target)
    return found + missing_tests(text)


def test_every_sentence_has_a_row_and_every_row_names_what_exists():
    found = rows("claims.md")
    assert [int(row[0]) for row in found] == list(range(1, 82))
    for number, claim, state, where, _ in found:
        assert state.strip() in STATES, number
        assert len(claim.strip()) >= 7, number
        if state.strip() == "complete":
            assert "](" in where or "`pbde_ref" in where or "verify `" in where, number
    assert unknown_names((PROOFS / "claims.md").read_text(encoding="utf-8")) == []


def test_every_claim_that_verify_checks_has_a_sentence_or_goes_beyond():
    named = set(re.findall(r"verify `(\w+)`", (PROOFS / "claims.md").read_text(encoding="utf-8")))
    assert {name for name, claim in CLAIMS.items() if claim.place not in ("–", "beyond")} <= named <= set(CLAIMS)


def test_a_wrong_name_would_be_seen():
    """Control."""
    for text in ("`pbde_ref.nothing`", "verify `nothing`", "[x](nothing.md)", "`test_errata.py::test_nothing`"):
        assert len(unknown_names(text)) == 1, text
    assert importlib.import_module("pbde_ref").expected_kl
