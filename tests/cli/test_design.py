"""``pbde-ref design`` prints what the functions say."""

import json

import pytest

import pbde_ref as pb
from pbde_ref.cli import main


def test_paper_problem(tmp_path, capsys):
    """Numbers needed are those of `comparisons_needed` for the same divergence."""
    path = tmp_path / "design.json"
    assert main(["design", "--support", "16", "--error", "0.01", "--top", "2", "--json", str(path)]) == 0
    printed, record = capsys.readouterr().out, json.loads(path.read_text())
    problem = pb.paper_problem(16)
    p = problem.implicit_preference_distribution
    design = pb.optimal_design(pb.Annotator(p, pb.luce()))
    assert record["values"]["the design"] == design.value
    assert record["gap"] == design.gap
    assert len(record["pairs"]) == design.proposal.weights.size
    assert record["comparisons"] == {
        "the design": pb.comparisons_needed(p.log_pmf, design.proposal, nats=0.01),
        "all pairs alike": 4691,
        "two from the reference": pb.comparisons_needed(p.log_pmf, pb.ProductProposal(problem.reference), nats=0.01),
    }
    assert f"{record['comparisons']['two from the reference']:,}  " in printed
    assert len(printed.splitlines()) == 14
    assert max(map(len, printed.splitlines())) <= 80


def test_own_weights(tmp_path, capsys):
    path = tmp_path / "design.json"
    assert main(["design", "--weights", "1,1,1", "--criterion", "D", "--top", "0", "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    assert record["comparisons"] == {"the design": 100, "all pairs alike": 100}
    assert [(pair["a"], pair["b"]) for pair in record["pairs"]]
    assert "share" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--weights", "3,0"], "`annotator.utility` must be finite"),
        (["--weights", "3"], "must have at least two outcomes"),
        (["--error", "0"], "`--error` must be positive"),
        (["--criterion", "E"], "--criterion: invalid choice"),
    ],
)
def test_bad_options(given, complaint, capsys):
    """Status 2, and a line that says what is wrong."""
    try:
        status = main(["design", *given])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert complaint in capsys.readouterr().err
