"""``pbde-ref comparisons`` prints what the functions say."""

import pytest

import pbde_ref as pb
from pbde_ref.cli import main


def test_paper_problem(capsys):
    problem = pb.paper_problem(64)
    p, pairs = problem.implicit_preference_distribution, pb.ProductProposal(problem.reference)
    assert main(["comparisons", "--total-variation", "0.05"]) == 0
    needed = pb.comparisons_needed(p.log_pmf, pairs, total_variation=0.05)
    assert f"{needed:,}  " in capsys.readouterr().out


def test_own_weights_and_a_table(capsys):
    assert main(["comparisons", "--weights", "3,1", "--number", "500"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["500", "0.02185", "0.002"]
    assert main(["comparisons", "--weights", "3,1", "--pairs", "preference"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--weights", "3,-1"], "--weights: must be"),
        (["--weights", "a"], "--weights: must be"),
        (["--weights", "1,2", "--pairs", "reference"], "--pairs must be uniform or preference"),
        (["--nats", "0"], "`nats` must be positive"),
        (["--nats", "1", "--number", "2"], "not allowed with"),
    ],
)
def test_bad_options(given, complaint, capsys):
    """Status 2, and a line that says what is wrong."""
    try:
        status = main(["comparisons", *given])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert complaint in capsys.readouterr().err
