"""`check_reduction`: parts must come to the whole, however it is cut; who does not is named."""

import importlib.util
import sys
import time

import numpy as np
import pytest

import pbde_ref as pb
from pbde_ref.oracle import Counts, LossCheckError, check_reduction, iter_checks, run_check
from pbde_ref.oracle.reduction.bugs import REDUCTION_BUGS, right
from pbde_ref.oracle.reduction.check import CUTS
from pbde_ref.oracle.reduction.parts import OVER, draw_batch, pieces, weights
from tests.oracle.selftest.reductions import CORRECT_REDUCTIONS, PLANTED_REDUCTIONS, reports
from tests.seeds import drawn_seed

FRAMEWORKS = ["numpy", *(["torch"] if importlib.util.find_spec("torch") else [])]


def fixed(part, counts):
    return (part.losses * part.mask).sum() / counts.all_tokens * counts.ranks * counts.shards


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_right_reductions_pass(framework):
    for one, report in reports(framework, CORRECT_REDUCTIONS):
        assert report.passed, one
        assert report.held == (8 if one.over == "tokens" else 6)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_planted_bugs_are_found_and_named(framework):
    for one, report in reports(framework, PLANTED_REDUCTIONS):
        assert not report.passed, one
        assert any(f": {one.bug}" in line for line in report.diagnoses), (one, report.diagnoses)
    assert {bug.name for bug in REDUCTION_BUGS} >= {one.bug for one in PLANTED_REDUCTIONS}


@pytest.mark.parametrize("over", OVER)
def test_parts_hold_each_token_once(over):
    """Whatever the cut: weights add up to those of the whole batch, by an independent count."""
    rng = np.random.default_rng(drawn_seed())
    for cut in (cut for cuts in CUTS.values() for cut in cuts if cut.shards == 1 or over == "tokens"):
        batch = draw_batch(rng, cut.ranks * cut.micro_batches + 4)
        found = np.zeros(batch.losses.size + 1)
        for part, counts, places in pieces(batch, cut, rng):
            np.add.at(found, places, right(part, counts, over, 1))
            assert counts.tokens == weights(part, "tokens").sum()
        lengths = {s: int(batch.mask[batch.sequences == s].sum()) for s in set(batch.sequences.tolist())}
        count = sum(lengths.values()) if over == "tokens" else len(lengths)
        wanted = [
            counted / count / (lengths[sequence] if over == "sequence_means" else 1)
            for counted, sequence in zip(batch.mask.tolist(), batch.sequences.tolist(), strict=True)
        ]
        np.testing.assert_allclose(found, [*wanted, 0.0], rtol=1e-12)


def test_the_first_step_of_dpo_on_four_devices():
    """log 2 for each pair, added up over ranks: 2.77 on four, as in torchtune #2275."""
    rng = np.random.default_rng(0)
    batch = draw_batch(rng, 8)._replace(losses=np.full(8, np.log(2.0)), mask=np.ones(8, bool), sequences=np.arange(8))
    summed = next(bug for bug in REDUCTION_BUGS if bug.name == "summed over ranks")
    cut = CUTS["ranks"][0]._replace(ranks=4)
    logged = sum(np.sum(summed.weighting(part, counts, "sequences", 1) * part.losses) for part, counts, _ in
                 pieces(batch, cut, rng))  # fmt: skip
    assert logged == pytest.approx(4.0 * np.log(2.0))


def test_it_takes_less_than_a_second():
    began = time.process_time()
    assert pb.oracle.check_reduction(fixed).passed
    assert time.process_time() - began < 1.0


def test_a_gradient_of_padding_and_an_unknown_bug_fail_without_a_name():
    def padded(part, counts):
        return (part.mask + 1e-4) / counts.all_tokens * counts.ranks * counts.shards

    report = check_reduction(padded, on_failure="report")
    assert not report.passed
    assert report.diagnoses == ()
    assert "the gradient at" in str(report)


def test_a_value_that_is_logged_and_not_differentiated():
    torch = pytest.importorskip("torch")

    def logged(part, counts):
        return torch.as_tensor(fixed(part, counts).item())

    assert not check_reduction(logged, framework="torch", on_failure="report").passed
    assert check_reduction(logged, framework="torch", gradients=False).passed


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda part, counts: None, "it must return a number"),
        (lambda part, counts: part.losses.sum(axis=1), "it must return a number"),
        (lambda part, counts: fixed(part, counts) if counts.ranks == 1 else part.mask / 1.0, "differs|instead of|same"),
        (lambda part, counts: 1 // 0, "it raised ZeroDivisionError"),
        (lambda part, counts: fixed(part, counts) * np.nan, "the loss is nan"),
    ],
)
def test_what_is_no_loss_fails(function, says):
    with pytest.raises(LossCheckError, match=says):
        check_reduction(function)


@pytest.mark.parametrize("wrong", [{"over": "pairs"}, {"across": "max"}, {"seed": -1}, {"on_failure": "pass"}])
def test_arguments_are_checked(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
        check_reduction(fixed, **wrong)
    with pytest.raises(TypeError, match="`function` must be callable"):
        check_reduction(3)


def test_its_checks_have_names_for_pytest():
    assert list(iter_checks("reduction")) == list(CUTS)
    assert run_check("packing", fixed, "reduction").status == "passed"
    assert run_check("shards", lambda part, counts: fixed(part, counts) / counts.shards, "reduction").status == "failed"
    assert Counts(1, 1, 1, 1, 1, 1, 1, 1, 1).all_tokens == 1


WRONG = {
    "absolute values": lambda part, counts: (abs(part.losses) * part.mask).sum() / counts.all_tokens,
    "clamped above": lambda part, counts: (np.minimum(part.losses, 50.0) * part.mask).sum() / counts.all_tokens,
    "clamped below": lambda part, counts: (np.maximum(part.losses, 0.0) * part.mask).sum() / counts.all_tokens,
    "a count with a grain": lambda part, counts: (part.losses * part.mask).sum() / (counts.all_tokens + 1e-4),
    "a least count": lambda part, counts: (part.losses * part.mask).sum() / max(counts.all_tokens, 10),
    "exits": lambda part, counts: sys.exit(0),
    "skips": lambda part, counts: pytest.skip("no"),
}


@pytest.mark.parametrize("case", WRONG)
def test_losses_of_either_sign_and_batches_of_few_tokens_are_tried(case):
    def function(part, counts):
        return WRONG[case](part, counts) * counts.ranks * counts.shards

    report = check_reduction(function, on_failure="report")
    assert "whole" in [result.name for result in report.results if result.status == "failed"]
